/* Products of tall matrices in vectors.
 *
 * C = A B: B is packed into panels of two vectors' width that stay in the second-level cache; a
 * strip of STRIP rows of A meets one panel after the other in registers:
 *
 *        B     | panel 0 | panel 1 | …            while strip s meets panel 0, the rows of strip
 *   A  strip s |  tile   |  tile   | …            s+1 are asked for from memory
 *
 * A tile is finished (bias, relu, mask, dropout, bits) before it is stored; large results go past
 * the caches. Every element's sum runs over k upwards, whatever the strip or thread.
 */
#include "kernels/simd.h"

#ifdef __AVX512F__
enum { STRIP = 14 }; /* 28 sums, 2 of B, 1 of A in 32 registers */
#else
enum { STRIP = 6 }; /* 12 sums of 16 registers */
#endif
enum {
    PANEL = 2 * LANES,
    DEEP = 1024,      /* of k at once: bounds a packed B */
    WORDS = 32,       /* dropout words a row: up to 2048 columns in one go */
    STREAM = 8 << 20, /* bytes of C from which stores go past the caches */
    LINE = 16
};

/* ---- tiles ---------------------------------------------------------------------------------- */

/* tile[r, :] = sum_l a[r,l] b[l,:], b a packed panel of `vectors` vectors; asks for the STRIP rows
 * from `next` on, when not NULL. */
INLINE void tile_sums(const int rows, const int vectors, int64_t k, const float *a, int64_t lda,
                      const float *b, float *tile, const float *next) {
    vec sum[STRIP][2];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int c = 0; c < vectors; c++) sum[r][c] = v_zero();
    }
    for (int64_t l = 0; l < k; l++) {
        vec right[2];
        UNROLL for (int c = 0; c < vectors; c++) right[c] = v_load(b + (l * vectors + c) * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            vec left = v_set(a[r * lda + l]);
            UNROLL for (int c = 0; c < vectors; c++) sum[r][c] = v_fma(left, right[c], sum[r][c]);
        }
        if (next && l % LINE < STRIP)
            _mm_prefetch((const char *)(next + l % LINE * lda + l / LINE * LINE), _MM_HINT_T1);
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int c = 0; c < vectors; c++) v_store(tile + r * PANEL + c * LANES, sum[r][c]);
    }
}

typedef void (*tile_function)(int64_t, const float *, int64_t, const float *, float *,
                              const float *);
#define TILE(rows)                                                                                 \
    static void tile_##rows##_1(int64_t k, const float *a, int64_t lda, const float *b,            \
                                float *tile, const float *next) {                                  \
        tile_sums(rows, 1, k, a, lda, b, tile, next);                                              \
    }                                                                                              \
    static void tile_##rows##_2(int64_t k, const float *a, int64_t lda, const float *b,            \
                                float *tile, const float *next) {                                  \
        tile_sums(rows, 2, k, a, lda, b, tile, next);                                              \
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

/* The tallest tile of at most `rows` rows. */
static int choose_tile(int64_t rows, int vectors, tile_function *run) {
#define TALL(height)                                                                               \
    if (rows >= height) {                                                                          \
        *run = vectors == 1 ? tile_##height##_1 : tile_##height##_2;                               \
        return height;                                                                             \
    }
#ifdef __AVX512F__
    TALL(14)
    TALL(12)
    TALL(10)
    TALL(8)
#endif
    TALL(6)
    TALL(5)
    TALL(4)
    TALL(3)
    TALL(2)
    *run = vectors == 1 ? tile_1_1 : tile_1_2;
    return 1;
}

/* ---- packing -------------------------------------------------------------------------------- */

INLINE vec rounded_if(vec x, bool rounded) {
    return rounded ? v_round_bf16(x) : x;
}

/* Panels of B[k,n], element (l,j) at l*down + j*right: panel p holds [k, width] with width one or
 * two vectors, zero past n. */
static void pack(float *packed, int64_t k, int64_t n, const float *b, int64_t down, int64_t right,
                 bool rounded) {
    for (int64_t j = 0; j < n; j += PANEL) {
        int64_t width = n - j > LANES ? PANEL : LANES, real = flip_min64(width, n - j);
        for (int64_t l = 0; l < k; l++)
            for (int64_t c = 0; c < width; c++)
                packed[l * width + c] = c < real ? b[l * down + (j + c) * right] : 0;
        packed += k * width;
    }
    if (!rounded) return;
    packed -= k * ((n + LANES - 1) / LANES * LANES);
    for (int64_t i = 0; i < k * ((n + LANES - 1) / LANES * LANES); i += LANES)
        v_store(packed + i, v_round_bf16(v_load(packed + i)));
}

/* Memory a thread keeps for packed operands; NULL when there is none. */
static float *scratch(size_t floats) {
    static _Thread_local float *kept;
    static _Thread_local size_t size;
    if (floats > size) {
        flip_free(kept);
        size = 0;
        if (flip_alloc(&kept, floats, sizeof *kept, "packed operands") != FLIP_OK) {
            flip_error_clear();
            return NULL;
        }
        size = floats;
    }
    return kept;
}

/* ---- the end of a tile ---------------------------------------------------------------------- */

typedef struct finish {
    const flip_epilogue *e; /* never NULL */
    int64_t n, ldc;
    float *c;
    keep_draw keep;
    bool stream, accumulate, last; /* last: bias and the rest follow; else more of k comes */
} finish;

INLINE vec finish_vector(const finish *f, int64_t i, int64_t j, int64_t lanes, vec x,
                         uint64_t kept_word, lanes_mask some) {
    const flip_epilogue *e = f->e;
    int64_t bytes = (f->n + 7) / 8;
    unsigned alive = (1u << LANES) - 1;
    if (e->bias) x = v_add(x, v_load_some(e->bias + j, some));
    if (e->relu) {
        alive = v_alive(x);
        x = v_keep(x, alive);
    }
    if (e->mask)
        x = v_keep(v_mul(x, v_set(e->mask_scale)), bits_get(e->mask + i * bytes, j, lanes));
    if (e->dropout > 0) {
        unsigned kept = (unsigned)(kept_word >> (j % 64)) & ((1u << LANES) - 1);
        alive &= kept;
        x = v_keep(v_mul(x, v_set((float)(1 / (1 - e->dropout)))), kept);
    }
    if (e->relu_bits) bits_put(e->relu_bits + i * bytes, j, lanes, alive);
    return x;
}

/* Rows i … i+rows-1, columns from j on: at most PANEL. keep: WORDS a row. */
static void finish_tile(const finish *f, int64_t i, int rows, int64_t j, const float *tile,
                        const uint64_t *keep) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 2 && j + c * LANES < f->n; c++) {
            int64_t at = j + c * LANES, lanes = flip_min64(LANES, f->n - at);
            float *out = f->c + (i + r) * f->ldc + at;
            lanes_mask some = v_first(lanes);
            vec x = v_load(tile + r * PANEL + c * LANES);
            if (f->accumulate) x = v_add(v_load_some(out, some), x);
            if (f->last) x = finish_vector(f, i + r, at, lanes, x, keep[r * WORDS + at / 64], some);
            if (f->stream && lanes == LANES)
                v_stream(out, x);
            else if (lanes == LANES)
                v_store(out, x);
            else
                v_store_some(out, some, x);
        }
}

/* ---- C = A B -------------------------------------------------------------------------------- */

typedef struct left {
    const float *a;
    int64_t lda, m, k;
    bool staged, rounded; /* staged: a strip is copied first (rounded, or rows 4 KB apart) */
} left;

/* A strip's rows beside one another, off the cache sets that rows 4 KB apart share. */
static void stage(float *to, int64_t step, const left *x, int64_t i, int64_t rows) {
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x->a + (i + r) * x->lda;
        int64_t l = 0;
        for (; l + LANES <= x->k; l += LANES)
            v_store(to + r * step + l, rounded_if(v_load(row + l), x->rounded));
        if (l < x->k) {
            lanes_mask some = v_first(x->k - l);
            v_store_some(to + r * step + l, some,
                         rounded_if(v_load_some(row + l, some), x->rounded));
        }
    }
}

/* Rows i … i+rows-1 (at most STRIP) against every panel. */
static void strip(const left *x, const finish *f, const float *packed, int64_t i, int64_t rows) {
    float tile[STRIP * PANEL] __attribute__((aligned(64)));
    float staged[STRIP * (DEEP + LINE)] __attribute__((aligned(64)));
    uint64_t keep[STRIP * WORDS];
    const float *a = x->a + i * x->lda;
    int64_t lda = x->lda;
    if (x->staged) {
        lda = (x->k + LINE - 1) / LINE * LINE + LINE;
        stage(staged, lda, x, i, rows);
        a = staged;
    }
    if (f->last && f->e->dropout > 0)
        for (int64_t r = 0; r < rows; r++)
            keep_row(&f->keep, f->e->key ? f->e->key[i + r] : i + r, keep + r * WORDS);
    const float *next = i + 2 * STRIP <= x->m ? x->a + (i + STRIP) * x->lda : NULL;
    for (int64_t j = 0; j < f->n; j += PANEL) {
        int vectors = f->n - j > LANES ? 2 : 1;
        for (int64_t r = 0; r < rows;) {
            tile_function run;
            int height = choose_tile(rows - r, vectors, &run);
            run(x->k, a + r * lda, lda, packed, tile, j == 0 && !x->staged ? next : NULL);
            finish_tile(f, i + r, height, j, tile, keep + r * WORDS);
            r += height;
        }
        packed += x->k * vectors * LANES;
    }
}

static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t down, int64_t right, float *c, int64_t ldc, const flip_epilogue *e,
                    bool rounded) {
    static const flip_epilogue nothing;
    finish f = {.e = e ? e : &nothing, .n = n, .ldc = ldc, .c = c};
    f.keep = keep_begin(f.e->seed, f.e->draw, n, f.e->dropout);
    f.stream = ldc % LANES == 0 && (uintptr_t)c % (LANES * sizeof *c) == 0 &&
               m * n * (int64_t)sizeof *c >= STREAM;
    int64_t deep = k <= DEEP ? k : (k + (k - 1) / DEEP) / ((k - 1) / DEEP + 1);
    float *packed = scratch((size_t)((n + LANES) * (deep + 1)));
    for (int64_t first = 0; first == 0 || first < k; first += deep) {
        left x = {a + first, lda, m, flip_min64(deep, k - first), rounded || lda % 1024 == 0,
                  rounded};
        pack(packed, x.k, n, b + first * down, down, right, rounded);
        f.accumulate = f.e->accumulate || first > 0;
        f.last = first + x.k >= k;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < m; i += STRIP)
            strip(&x, &f, packed, i, flip_min64(STRIP, m - i));
        if (x.k == 0) break;
    }
    if (f.stream) _mm_sfence();
}

/* Wide dropout rows and lack of memory are left to the reference. */
static bool fits(int64_t m, int64_t n, int64_t k, const flip_epilogue *e) {
    if (m == 0 || n == 0) return true;
    if (e && e->dropout > 0 && n > 64 * WORDS) return false;
    return scratch((size_t)((n + LANES) * (flip_min64(k, DEEP) + 1))) != NULL;
}

#define PRODUCT(name, down, right, rounded)                                                        \
    static void name(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, \
                     int64_t ldb, float *c, int64_t ldc, const flip_epilogue *e) {                 \
        if (!fits(m, n, k, e))                                                                     \
            flip_kernels_reference()->name(m, n, k, a, lda, b, ldb, c, ldc, e);                    \
        else if (m > 0 && n > 0)                                                                   \
            product(m, n, k, a, lda, b, down, right, c, ldc, e, rounded);                          \
    }
PRODUCT(gemm_nn, ldb, 1, false)
PRODUCT(gemm_nt, 1, ldb, false)
PRODUCT(gemm_nn_bf16, ldb, 1, true)
PRODUCT(gemm_nt_bf16, 1, ldb, true)

void SIMD_NAME(flip_use_gemm)(flip_kernels *table) {
    table->gemm_nn = gemm_nn;
    table->gemm_nt = gemm_nt;
    table->gemm_nn_bf16 = gemm_nn_bf16;
    table->gemm_nt_bf16 = gemm_nt_bf16;
}
