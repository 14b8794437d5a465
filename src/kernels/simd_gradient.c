/* Weight gradients G += A^T B of tall matrices in vectors.
 *
 * Rows go in blocks (flip_gradient_block), a thread a block; a block goes in parts of PART rows
 * that fit the second-level cache. A part of B is packed panel by panel, a tile of STRIP columns of
 * A by two vectors of B stays in registers over the part's rows, and is added to the block's sum
 * [k, n] in float. Blocks are added to G in double, in ascending order.
 */
#include "kernels/simd.h"

#ifdef __AVX512F__
enum { STRIP = 14 };
#else
enum { STRIP = 6 };
#endif
enum { PANEL = 2 * LANES, PART = 128, WIDE = 256 /* rows and columns of G at once */ };

/* sum[r, :] (+)= sum_i a[i,r] b[i,:] over a part's words of rows; asks for the same columns of A
 * `ahead` floats on, when that is not 0. */
INLINE void tile_sums(const int columns, const int vectors, int64_t words, const float *a,
                      int64_t lda, const float *b, float *sum, int64_t ldsum, bool add,
                      int64_t ahead) {
    vec s[STRIP][2];
    UNROLL for (int r = 0; r < columns; r++) {
        UNROLL for (int c = 0; c < vectors; c++) s[r][c] = v_zero();
    }
    for (int64_t i = 0; i < words; i++, a += lda, b += vectors * LANES) {
        vec right[2];
        UNROLL for (int c = 0; c < vectors; c++) right[c] = v_load(b + c * LANES);
        UNROLL for (int r = 0; r < columns; r++) {
            vec left = v_set(a[r]);
            UNROLL for (int c = 0; c < vectors; c++) s[r][c] =
                v_multiply_add(left, right[c], s[r][c]);
        }
        if (ahead) _mm_prefetch((const char *)(a + ahead), _MM_HINT_T1);
    }
    UNROLL for (int r = 0; r < columns; r++) {
        UNROLL for (int c = 0; c < vectors; c++) {
            float *out = sum + r * ldsum + c * LANES;
            v_store(out, add ? v_add(v_load(out), s[r][c]) : s[r][c]);
        }
    }
}

typedef void (*tile_function)(int64_t, const float *, int64_t, const float *, float *, int64_t,
                              bool, int64_t);
#define TILE(columns)                                                                              \
    static void tile_##columns##_1(int64_t rows, const float *a, int64_t lda, const float *b,      \
                                   float *sum, int64_t ldsum, bool add, int64_t ahead) {           \
        tile_sums(columns, 1, rows, a, lda, b, sum, ldsum, add, ahead);                            \
    }                                                                                              \
    static void tile_##columns##_2(int64_t rows, const float *a, int64_t lda, const float *b,      \
                                   float *sum, int64_t ldsum, bool add, int64_t ahead) {           \
        tile_sums(columns, 2, rows, a, lda, b, sum, ldsum, add, ahead);                            \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
#ifdef __AVX512F__
TILE(8)
TILE(10)
TILE(12)
TILE(14)
#endif

/* The widest tile of at most `columns` columns of A. */
static int choose_tile(int64_t columns, int vectors, tile_function *run) {
#define WIDEST(width)                                                                              \
    if (columns >= width) {                                                                        \
        *run = vectors == 1 ? tile_##width##_1 : tile_##width##_2;                                 \
        return width;                                                                              \
    }
#ifdef __AVX512F__
    WIDEST(14)
    WIDEST(12)
    WIDEST(10)
    WIDEST(8)
#endif
    WIDEST(6)
    WIDEST(5)
    WIDEST(4)
    WIDEST(3)
    WIDEST(2)
    *run = vectors == 1 ? tile_1_1 : tile_1_2;
    return 1;
}

typedef struct pair {
    int64_t m, n, k; /* of this piece of G: n, k <= WIDE */
    const float *a, *b;
    int64_t lda, ldb;
    bool rounded;
} pair;

static vec load_up_to(const float *p, int64_t lanes) {
    return lanes >= LANES ? v_load(p) : lanes > 0 ? v_load_some(p, v_first(lanes)) : v_zero();
}

/* Words [ceil(rows / PAIR), width] of from[rows, real]: rows, rounded when asked, or pairs of rows;
 * zero past `real` and `rows`. Asks for the rows of the next part. */
static void copy_part(float *to, int64_t width, const float *from, int64_t step, int64_t rows,
                      int64_t real, bool rounded) {
    for (int64_t i = 0; i < rows; i += PAIR, from += PAIR * step, to += width)
        for (int64_t c = 0; c < width; c += LANES) {
            vec x = load_up_to(from + c, real - c);
            _mm_prefetch((const char *)(from + PART * step + c), _MM_HINT_T1);
#ifdef __AVX512BF16__
            (void)rounded;
            _mm_prefetch((const char *)(from + (PART + 1) * step + c), _MM_HINT_T1);
            x = v_pairs(x, i + 1 < rows ? load_up_to(from + step + c, real - c) : v_zero());
#else
            if (rounded) x = v_round_bf16(x);
#endif
            v_store(to + c, x);
        }
}

/* sum [k, ldsum] (+)= A^T B over rows first … first+rows-1. */
static void add_part(const pair *p, int64_t first, int64_t rows, float *sum, int64_t ldsum,
                     bool add) {
    float panel[PART / PAIR * PANEL] __attribute__((aligned(64)));
    float left[PART / PAIR * WIDE] __attribute__((aligned(64)));
    const float *a = p->a + first * p->lda, *b = p->b + first * p->ldb;
    int64_t lda = p->lda, ahead = first + 2 * PART <= p->m ? PART * p->lda : 0;
    int64_t words = (rows + PAIR - 1) / PAIR;
    if (p->rounded) {
        lda = (p->k + LANES - 1) / LANES * LANES;
        copy_part(left, lda, a, p->lda, rows, p->k, true);
        a = left;
        ahead = 0;
    }
    for (int64_t j = 0; j < p->n; j += PANEL) {
        int vectors = p->n - j > LANES ? 2 : 1;
        copy_part(panel, vectors * LANES, b + j, p->ldb, rows, p->n - j, p->rounded);
        for (int64_t l = 0; l < p->k;) {
            tile_function run;
            int width = choose_tile(p->k - l, vectors, &run);
            run(words, a + l, lda, panel, sum + l * ldsum + j, ldsum, add, j == 0 ? ahead : 0);
            l += width;
        }
    }
}

static void piece(const pair *p, double *g, int64_t ldg) {
    int64_t block = flip_gradient_block(p->m), ldsum = (p->n + LANES - 1) / LANES * LANES;
#pragma omp parallel for ordered schedule(static, 1)
    for (int64_t first = 0; first < p->m; first += block) {
        float sum[WIDE * WIDE] __attribute__((aligned(64)));
        int64_t last = flip_min64(p->m, first + block);
        for (int64_t i = first; i < last; i += PART)
            add_part(p, i, flip_min64(PART, last - i), sum, ldsum, i > first);
#pragma omp ordered
        for (int64_t l = 0; l < p->k; l++)
            for (int64_t j = 0; j < p->n; j++)
                g[l * ldg + j] += (double)sum[l * ldsum + j];
    }
}

static void gradient(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                     int64_t ldb, double *g, int64_t ldg, bool rounded) {
    for (int64_t l = 0; l < k; l += WIDE)
        for (int64_t j = 0; j < n; j += WIDE) {
            pair p = {
                m,      flip_min64(WIDE, n - j), flip_min64(WIDE, k - l), a + l, b + j, lda, ldb,
                rounded};
            piece(&p, g + l * ldg + j, ldg);
        }
}

#ifndef __AVX512BF16__
static void gemm_tn(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t ldb, double *g, int64_t ldg) {
    gradient(m, n, k, a, lda, b, ldb, g, ldg, false);
}
#endif

static void gemm_tn_bf16(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                         const float *b, int64_t ldb, double *g, int64_t ldg) {
    gradient(m, n, k, a, lda, b, ldb, g, ldg, true);
}

void SIMD_NAME(flip_use_gradient)(flip_kernels *table) {
#ifndef __AVX512BF16__
    table->gemm_tn = gemm_tn;
#endif
    table->gemm_tn_bf16 = gemm_tn_bf16;
}
