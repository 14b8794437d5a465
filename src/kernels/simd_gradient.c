/* Weight gradients G += A^T B of tall matrices in vectors.
 *
 * Rows go in blocks (flip_gradient_block), a thread a block; a block goes in parts of PART rows
 * that fit the second-level cache. A part of B is packed panel by panel, a tile of STRIP columns of
 * A by two vectors of B stays in registers over the part's rows, and is added to the block's sum
 * [k, n] in float. Blocks are added to G in double, in ascending order.
 */
#include "kernels/simd.h"

#include <omp.h>

#ifdef __AVX512F__
enum { STRIP = 14 };
#else
enum { STRIP = 6 };
#endif
enum { PANEL = 2 * LANES, PART = 128, WIDE = 256 /* rows and columns of G at once */ };

/* A tile's operands: columns of A and B from here on, `words` of rows; and where the same columns
 * of the next part's rows stand, asked for from memory on the way. */
typedef struct corner {
    const float *a, *b;
    int64_t words, lda, ldb;
    const float *next_a, *next_b; /* or NULL */
    int64_t next_lda, next_ldb;
} corner;

/* sum[r, :] (+)= sum_i a[i,r] b[i,:] */
INLINE void tile_sums(const int columns, const int vectors, const corner *at, float *sum,
                      int64_t ldsum, bool add) {
    vec s[STRIP][2];
    const float *a = at->a, *b = at->b;
    const float *next_a = at->next_a, *next_b = at->next_b;
    int64_t lda = at->lda, ldb = at->ldb;
    UNROLL for (int r = 0; r < columns; r++) {
        UNROLL for (int c = 0; c < vectors; c++) s[r][c] = v_zero();
    }
    for (int64_t i = at->words; i > 0; i--, a += lda, b += ldb) {
        vec right[2];
        UNROLL for (int c = 0; c < vectors; c++) right[c] = v_load(b + c * LANES);
        UNROLL for (int r = 0; r < columns; r++) {
            vec left = v_set(a[r]);
            UNROLL for (int c = 0; c < vectors; c++) s[r][c] =
                v_multiply_add(left, right[c], s[r][c]);
        }
        UNROLL for (int p = 0; next_a && p < PAIR; p++, next_a += at->next_lda)
            _mm_prefetch((const char *)next_a, _MM_HINT_T1);
        UNROLL for (int p = 0; next_b && p < PAIR; p++, next_b += at->next_ldb) {
            UNROLL for (int c = 0; c < vectors * LANES; c += 16)
                _mm_prefetch((const char *)(next_b + c), _MM_HINT_T1);
        }
    }
    UNROLL for (int r = 0; r < columns; r++) {
        UNROLL for (int c = 0; c < vectors; c++) {
            float *out = sum + r * ldsum + c * LANES;
            v_store(out, add ? v_add(v_load(out), s[r][c]) : s[r][c]);
        }
    }
}

typedef void (*tile_function)(const corner *, float *, int64_t, bool);
#define TILE(columns, vectors)                                                                     \
    static void tile_##columns##_##vectors(const corner *at, float *sum, int64_t ldsum,            \
                                           bool add) {                                             \
        tile_sums(columns, vectors, at, sum, ldsum, add);                                          \
    }
#define TILES(columns) TILE(columns, 1) TILE(columns, 2)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
#ifdef __AVX512F__
TILES(8)
TILES(10)
TILES(12)
TILES(14)
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

/* Words [ceil(rows / PAIR), width] of from[rows, real]: rows, rounded when asked, or pairs of rows;
 * zero past `real` and `rows`. */
static void copy_part(float *to, int64_t width, const float *from, int64_t step, int64_t rows,
                      int64_t real, bool rounded) {
    for (int64_t i = 0; i < rows; i += PAIR, from += PAIR * step, to += width)
        for (int64_t c = 0; c < width; c += LANES)
            v_store(to + c, load_words(rounded, from + c, step, i + 1 < rows, real - c));
}

/* sum [k, ldsum] (+)= A^T B over rows first … first+rows-1. Operands in floats stay where they are,
 * but for a last panel that is not whole. */
static void add_part(const pair *p, int64_t first, int64_t rows, float *sum, int64_t ldsum,
                     bool add) {
    float right[PART / PAIR * PANEL] __attribute__((aligned(64)));
    float left[PART / PAIR * WIDE] __attribute__((aligned(64)));
    const float *a = p->a + first * p->lda, *b = p->b + first * p->ldb;
    bool more = first + 2 * PART <= p->m;
    corner at = {
        .words = (rows + PAIR - 1) / PAIR, .lda = p->lda, .next_lda = p->lda, .next_ldb = p->ldb};
    if (p->rounded) {
        at.lda = (p->k + LANES - 1) / LANES * LANES;
        copy_part(left, at.lda, a, p->lda, rows, p->k, true);
        a = left;
    }
    for (int64_t j = 0; j < p->n; j += PANEL) {
        int64_t real = flip_min64(PANEL, p->n - j), width = real > LANES ? PANEL : LANES;
        bool copied = p->rounded || real < width;
        if (copied) copy_part(right, width, b + j, p->ldb, rows, real, p->rounded);
        at.b = copied ? right : b + j;
        at.ldb = copied ? width : p->ldb;
        at.next_b = more ? b + PART * p->ldb + j : NULL;
        for (int64_t l = 0; l < p->k; at.next_b = NULL) {
            tile_function run;
            int columns = choose_tile(p->k - l, width > LANES ? 2 : 1, &run);
            at.a = a + l;
            at.next_a = more && j == 0 ? p->a + (first + PART) * p->lda + l : NULL;
            run(&at, sum + l * ldsum + j, ldsum, add);
            l += columns;
        }
    }
}

typedef struct block_sum {
    float at[WIDE * WIDE] __attribute__((aligned(64)));
} block_sum;

static void sum_block(const pair *p, int64_t first, int64_t rows, block_sum *sum, int64_t ldsum) {
    for (int64_t i = 0; i < rows; i += PART)
        add_part(p, first + i, flip_min64(PART, rows - i), sum->at, ldsum, i > 0);
}

static void add_block(const pair *p, double *g, int64_t ldg, const block_sum *sum, int64_t ldsum) {
    for (int64_t l = 0; l < p->k; l++)
        for (int64_t j = 0; j < p->n; j++)
            g[l * ldg + j] += (double)sum->at[l * ldsum + j];
}

static void piece(const pair *p, double *g, int64_t ldg) {
    int64_t block = flip_gradient_block(p->m), ldsum = (p->n + LANES - 1) / LANES * LANES;
    if (p->m <= block || omp_in_parallel()) {
        for (int64_t first = 0; first < p->m; first += block) {
            block_sum sum;
            sum_block(p, first, flip_min64(block, p->m - first), &sum, ldsum);
            add_block(p, g, ldg, &sum, ldsum);
        }
        return;
    }
#pragma omp parallel for ordered schedule(static, 1)
    for (int64_t first = 0; first < p->m; first += block) {
        block_sum sum;
        sum_block(p, first, flip_min64(block, p->m - first), &sum, ldsum);
#pragma omp ordered
        add_block(p, g, ldg, &sum, ldsum);
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
