/* Products of tall matrices in vectors.
 *
 * C = A B + A2 B2: the Bs are packed into panels two vectors wide that stay in the second-level
 * cache; a strip of STRIP rows of A meets one panel after the other in registers:
 *
 *        B     | panel 0 | panel 1 | …            while strip s meets panel 0, the rows of strip
 *   A  strip s |  tile   |  tile   | …            s+1 are asked for from memory
 *
 * A tile is finished (bias, relu, mask, dropout, bits) before it is stored; large results go past
 * the caches. Every element's sum runs over k upwards, whatever the strip or thread.
 */
#include "kernels/simd.h"

#include <omp.h>
#include <pthread.h>

#ifdef __AVX512F__
enum { STRIP = 14 }; /* 28 sums, 2 of B, 1 of A in 32 registers */
#else
enum { STRIP = 6 }; /* 12 sums of 16 registers */
#endif
enum {
    PANEL = 2 * LANES,
    WORDS = 32,       /* of dropout bits drawn at once: 2048 columns of a row */
    STREAM = 8 << 20, /* bytes of C from which stores go past the caches */
    WINDOW = 64 * WORDS,
    LINE = 16,      /* floats in a cache line */
    SOME = 64,      /* words of a transposed row of B turned at once */
    ALONE = 1 << 17 /* multiply-adds of a product too small for a team of threads */
};

/* ---- tiles ---------------------------------------------------------------------------------- */

/* Rows of A wanted soon: STRIP rows from `rows` on, `step` floats apart; NULL = none. */
typedef struct soon {
    const float *rows;
    int64_t step;
} soon;

/* tile[r, :] (+)= sum_l a[r,l] b[l,:] over k words, b a packed panel of `vectors` vectors. */
INLINE void tile_sums(const int rows, const int vectors, int64_t k, const float *a, int64_t lda,
                      const float *b, float *tile, bool add, soon next) {
    vec sum[STRIP][2];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int c = 0; c < vectors; c++) sum[r][c] =
            add ? v_load(tile + r * PANEL + c * LANES) : v_zero();
    }
    for (int64_t l = 0; l < k; l++) {
        vec right[2];
        UNROLL for (int c = 0; c < vectors; c++) right[c] = v_load(b + (l * vectors + c) * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            vec left = v_set(a[r * lda + l]);
            UNROLL for (int c = 0; c < vectors; c++) sum[r][c] =
                v_multiply_add(left, right[c], sum[r][c]);
        }
        if (next.rows && l % LINE < STRIP) {
            const float *row = next.rows + l % LINE * next.step + l / LINE * LINE * PAIR;
            UNROLL for (int p = 0; p < PAIR; p++)
                _mm_prefetch((const char *)(row + p * LINE), _MM_HINT_T1);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int c = 0; c < vectors; c++) v_store(tile + r * PANEL + c * LANES, sum[r][c]);
    }
}

typedef void (*tile_function)(int64_t, const float *, int64_t, const float *, float *, bool, soon);
#define TILE(rows, vectors)                                                                        \
    static void tile_##rows##_##vectors(int64_t k, const float *a, int64_t lda, const float *b,    \
                                        float *tile, bool add, soon next) {                        \
        tile_sums(rows, vectors, k, a, lda, b, tile, add, next);                                   \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
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

/* ---- operands ------------------------------------------------------------------------------- */

typedef struct term {
    const float *a, *b;
    int64_t lda, ldb, k;
    int64_t words; /* of k: k, or pairs of it */
} term;

typedef struct operands {
    term terms[2];
    int n_terms;
    int64_t m, n;
    bool transposed; /* B's rows stand as [n, k] */
    bool rounded;    /* to bfloat16 */
    bool staged;     /* strips of A are copied first: rounded, or off cache sets 4 KB apart */
    int64_t step;    /* words in a row of a staged strip */
    float *packed;   /* panels of B, term after term in each */
    float *staging;  /* [threads, STRIP, step] */
} operands;

/* Columns j … of B's rows, at most a panel: word after word. */
static void pack_rows(const operands *o, const term *t, int64_t j, int vectors, float *to) {
    for (int64_t l = 0; l < t->k; l += PAIR)
        for (int c = 0; c < vectors; c++, to += LANES) {
            const int64_t at = j + c * LANES;
            v_store(to, load_words(o->rounded, t->b + l * t->ldb + at, t->ldb, l + 1 < t->k,
                                   o->n - at));
        }
}

/* to[c, r] = from[r, c] of 4 x 4 words. */
INLINE void turn(float *to, int64_t to_step, const float *from, int64_t from_step) {
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_step);
    __m128 c = _mm_loadu_ps(from + 2 * from_step), d = _mm_loadu_ps(from + 3 * from_step);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a);
    _mm_storeu_ps(to + to_step, b);
    _mm_storeu_ps(to + 2 * to_step, c);
    _mm_storeu_ps(to + 3 * to_step, d);
}

/* The same of a B that stands transposed, [n, k]: four of its rows as words, SOME at a time. */
static void pack_turned(const operands *o, const term *t, int64_t j, int vectors, float *to) {
    float words[4][SOME];
    int64_t width = vectors * LANES;
    for (int64_t c = 0; c < width; c += 4)
        for (int64_t first = 0; first < t->words; first += SOME) {
            int64_t n = flip_min64(SOME, t->words - first);
            for (int64_t r = 0; r < 4; r++)
                if (j + c + r < o->n)
                    stage_words(o->rounded, words[r], t->b + (j + c + r) * t->ldb + first * PAIR,
                                flip_min64(SOME * PAIR, t->k - first * PAIR));
                else
                    memset(words[r], 0, sizeof words[r]);
            int64_t l = 0;
            for (; l + 4 <= n; l += 4)
                turn(to + (first + l) * width + c, width, words[0] + l, SOME);
            for (; l < n; l++)
                for (int64_t r = 0; r < 4; r++)
                    to[(first + l) * width + c + r] = words[r][l];
        }
}

/* Panel after panel; in a panel term after term; in a term word after word, one or two vectors. */
static void pack(const operands *o) {
    float *to = o->packed;
    for (int64_t j = 0; j < o->n; j += PANEL)
        for (const term *t = o->terms; t < o->terms + o->n_terms; t++) {
            int vectors = o->n - j > LANES ? 2 : 1;
            (o->transposed ? pack_turned : pack_rows)(o, t, j, vectors, to);
            to += t->words * vectors * LANES;
        }
}

static pthread_key_t scratch_key; /* frees a thread's scratch when the thread ends */
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void make_scratch_key(void) {
    pthread_key_create(&scratch_key, flip_free);
}

/* Memory a thread keeps for packed operands; NULL when there is none. */
static float *scratch(size_t floats) {
    static _Thread_local float *kept;
    static _Thread_local size_t size;
    if (floats > size) {
        pthread_once(&scratch_once, make_scratch_key);
        flip_free(kept);
        kept = NULL;
        size = 0;
        bool there = flip_alloc(&kept, floats, sizeof *kept, "packed operands") == FLIP_OK;
        pthread_setspecific(scratch_key, kept);
        if (!there) {
            flip_error_clear();
            return NULL;
        }
        size = floats;
    }
    return kept;
}

static bool prepare(operands *o) {
    size_t words = 0, vectors = (size_t)((o->n + LANES - 1) / LANES);
    for (term *t = o->terms; t < o->terms + o->n_terms; t++) {
        t->words = (t->k + PAIR - 1) / PAIR;
        words += (size_t)t->words;
        o->step += (t->words + LANES - 1) / LANES * LANES;
        if (o->rounded || t->lda % 1024 == 0) o->staged = true;
    }
    o->step += LINE;
    size_t threads = omp_in_parallel() ? 1 : (size_t)omp_get_max_threads();
    o->packed = scratch(words * vectors * LANES + LANES +
                        (o->staged ? threads * STRIP * (size_t)o->step : 0));
    if (!o->packed) return false;
    o->staging = o->packed + words * vectors * LANES;
    pack(o);
    return true;
}

/* ---- the end of a tile ---------------------------------------------------------------------- */

typedef enum finish_kind { PLAIN, ONLY_MASK, ONLY_BIAS, ANYTHING } finish_kind;

static finish_kind kind_of(const flip_epilogue *e) {
    if (e->accumulate || e->relu || e->relu_bits || e->dropout > 0 || (e->bias && e->mask))
        return ANYTHING;
    return e->bias ? ONLY_BIAS : e->mask ? ONLY_MASK : PLAIN;
}

/* What follows a sum; a copy of the caller's epilogue, so that stores cannot be taken to change it.
 */
typedef struct finish {
    flip_epilogue e;
    int64_t n, ldc, bytes, apart; /* bytes: from row to row of bits; apart: … of keys */
    float *c;
    keep_draw keep;
    vec kept_scale; /* 1 / (1 - dropout) */
    finish_kind kind;
    bool stream;
} finish;

static finish finish_begin(const flip_epilogue *e, int64_t n, float *c, int64_t ldc) {
    finish f = {.n = n, .ldc = ldc, .c = c, .apart = 1};
    if (e) f.e = *e;
    if (f.e.apart > 0) f.apart = f.e.apart;
    f.bytes = (n + 7) / 8 * f.apart;
    f.kind = kind_of(&f.e);
    if (f.e.dropout > 0) {
        f.keep = keep_begin(f.e.seed, f.e.draw, n, f.e.dropout);
        f.kept_scale = v_set((float)(1 / (1 - f.e.dropout)));
    }
    return f;
}

/* Dropout's bits of rows i … i+rows-1 from column j, a multiple of WINDOW, on: WORDS a row. Zeros
 * where nothing is dropped: they are carried along, and not looked at. */
static void draw_window(const finish *f, int64_t i, int64_t rows, int64_t j, uint64_t *keep) {
    int64_t words = flip_min64(WORDS, (f->n - j + 63) / 64);
    for (int64_t r = 0; r < rows; r++)
        if (f->e.dropout > 0)
            keep_row(&f->keep, f->e.key ? f->e.key[(i + r) * f->apart] : (i + r) * f->apart, j / 64,
                     words, keep + r * WORDS);
        else
            memset(keep + r * WORDS, 0, (size_t)words * sizeof *keep);
}

INLINE vec finish_mask(const finish *f, int64_t i, int64_t j, int64_t lanes, vec x) {
    return v_keep(v_mul(x, v_set(f->e.mask_scale)), bits_get(f->e.mask + i * f->bytes, j, lanes));
}

INLINE vec finish_vector(const finish *f, int64_t i, int64_t j, int64_t lanes, vec x,
                         uint64_t kept_word, lanes_mask some) {
    const flip_epilogue *e = &f->e;
    unsigned alive = (1u << LANES) - 1;
    if (e->accumulate) x = v_add(v_load_some(f->c + i * f->ldc + j, some), x);
    if (e->bias) x = v_add(x, v_load_some(e->bias + i * e->bias_step + j, some));
    if (e->relu) {
        alive = v_alive(x);
        x = v_keep(x, alive);
    }
    if (e->mask) x = finish_mask(f, i, j, lanes, x);
    if (e->dropout > 0) {
        unsigned kept = (unsigned)(kept_word >> (j % 64)) & ((1u << LANES) - 1);
        alive &= kept;
        x = v_keep(v_mul(x, f->kept_scale), kept);
    }
    if (e->relu_bits) bits_put(e->relu_bits + i * f->bytes, j, lanes, alive);
    return x;
}

/* Rows i … i+rows-1, columns from j on: at most PANEL. keep: WORDS a row. `kind` is known when
 * compiling. */
INLINE void finish_as(const finish_kind kind, const finish *f, int64_t i, int rows, int64_t j,
                      const float *tile, const uint64_t *keep) {
    int64_t n = f->n, ldc = f->ldc;
    bool stream = f->stream;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 2 && j + c * LANES < n; c++) {
            int64_t at = j + c * LANES, lanes = flip_min64(LANES, n - at);
            float *out = f->c + (i + r) * ldc + at;
            vec x = v_load(tile + r * PANEL + c * LANES);
            if (kind == ONLY_MASK) x = finish_mask(f, i + r, at, lanes, x);
            if (kind == ANYTHING)
                x = finish_vector(f, i + r, at, lanes, x, keep[r * WORDS + at % WINDOW / 64],
                                  v_first(lanes));
            if (kind == ONLY_BIAS) {
                const float *bias = f->e.bias + (i + r) * f->e.bias_step + at;
                x = v_add(x, lanes < LANES ? v_load_some(bias, v_first(lanes)) : v_load(bias));
            }
            if (lanes < LANES)
                v_store_some(out, v_first(lanes), x);
            else if (stream)
                v_stream(out, x);
            else
                v_store(out, x);
        }
}

/* The same of a whole panel of a small product, by far the most tiles of a recurrent layer. */
static void finish_whole(const finish *f, int64_t i, int rows, int64_t j, const float *tile) {
    float *out = f->c + i * f->ldc + j;
    const float *bias = f->e.bias ? f->e.bias + i * f->e.bias_step + j : NULL;
    for (int r = 0; r < rows; r++, tile += PANEL, out += f->ldc) {
        vec low = v_load(tile), high = v_load(tile + LANES);
        if (bias) {
            low = v_add(low, v_load(bias));
            high = v_add(high, v_load(bias + LANES));
            bias += f->e.bias_step;
        }
        v_store(out, low);
        v_store(out + LANES, high);
    }
}

static void finish_tile(const finish *f, int64_t i, int rows, int64_t j, const float *tile,
                        const uint64_t *keep) {
    const bool simple = f->kind == PLAIN || f->kind == ONLY_BIAS;
    if (simple && !f->stream && j + PANEL <= f->n)
        finish_whole(f, i, rows, j, tile);
    else if (f->kind == PLAIN)
        finish_as(PLAIN, f, i, rows, j, tile, keep);
    else if (f->kind == ONLY_MASK)
        finish_as(ONLY_MASK, f, i, rows, j, tile, keep);
    else if (f->kind == ONLY_BIAS)
        finish_as(ONLY_BIAS, f, i, rows, j, tile, keep);
    else
        finish_as(ANYTHING, f, i, rows, j, tile, keep);
}

/* ---- C = A B -------------------------------------------------------------------------------- */

/* One panel against rows r … of the strip at row i. */
static const float *meet_panel(const operands *o, const finish *f, const float *panel, int64_t i,
                               int64_t rows, int64_t j, const float *staged, const uint64_t *keep) {
    float tile[STRIP * PANEL] __attribute__((aligned(64)));
    int vectors = o->n - j > LANES ? 2 : 1;
    bool ask = j == 0 && i + 2 * STRIP <= o->m;
    const float *after = panel;
    for (int64_t r = 0; r < rows;) {
        tile_function run;
        int height = choose_tile(rows - r, vectors, &run);
        const float *stage = staged ? staged + r * o->step : NULL;
        after = panel;
        for (int s = 0; s < o->n_terms; s++) {
            const term *t = &o->terms[s];
            soon next = {ask ? t->a + (i + STRIP) * t->lda : NULL, t->lda};
            const float *a = staged ? stage : t->a + (i + r) * t->lda;
            run(t->words, a, staged ? o->step : t->lda, after, tile, s > 0, next);
            stage += staged ? (t->words + LANES - 1) / LANES * LANES : 0;
            after += t->words * vectors * LANES;
        }
        finish_tile(f, i + r, height, j, tile, keep + r * WORDS);
        r += height;
    }
    return after;
}

/* Rows i … i+rows-1 (at most STRIP) against every panel. */
static void strip(const operands *o, const finish *f, int64_t i, int64_t rows, int thread) {
    uint64_t keep[STRIP * WORDS];
    float *staged = NULL;
    if (o->staged) {
        staged = o->staging + (int64_t)thread * STRIP * o->step;
        for (int64_t r = 0; r < rows; r++) {
            float *to = staged + r * o->step;
            for (const term *t = o->terms; t < o->terms + o->n_terms; t++) {
                stage_words(o->rounded, to, t->a + (i + r) * t->lda, t->k);
                to += (t->words + LANES - 1) / LANES * LANES;
            }
        }
    }
    const float *panel = o->packed;
    for (int64_t j = 0; j < o->n; j += PANEL) {
        if (j % WINDOW == 0 && f->kind == ANYTHING) draw_window(f, i, rows, j, keep);
        panel = meet_panel(o, f, panel, i, rows, j, staged, keep);
    }
}

/* False when there is no memory. */
static bool product(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t ldb, bool transposed, float *c, int64_t ldc, const flip_epilogue *e,
                    bool rounded) {
    if (m == 0 || n == 0) return true;
    operands o = {.n_terms = 1, .m = m, .n = n, .transposed = transposed, .rounded = rounded};
    o.terms[0] = (term){a, b, lda, ldb, k, 0};
    if (e && e->plus_a)
        o.terms[o.n_terms++] = (term){e->plus_a, e->plus_b, e->plus_lda, e->plus_ldb, e->plus_k, 0};
    if (!prepare(&o)) return false;
    finish f = finish_begin(e, n, c, ldc);
    f.stream = ldc % LANES == 0 && (uintptr_t)c % (LANES * sizeof *c) == 0 &&
               m * n * (int64_t)sizeof *c >= STREAM;
    if (m * n * (o.terms[0].k + 1) < ALONE || omp_in_parallel()) {
        for (int64_t i = 0; i < m; i += STRIP)
            strip(&o, &f, i, flip_min64(STRIP, m - i), 0);
    } else {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < m; i += STRIP)
            strip(&o, &f, i, flip_min64(STRIP, m - i), omp_get_thread_num());
    }
    if (f.stream) _mm_sfence();
    return true;
}

/* Rows finished in place, in vectors of columns. */
static void finish_rows(int64_t m, int64_t n, float *c, int64_t ldc, const flip_epilogue *e) {
    finish f = finish_begin(e, n, c, ldc);
    f.e.accumulate = false;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        uint64_t keep[WORDS];
        for (int64_t j = 0; j < n; j += LANES) {
            if (j % WINDOW == 0) draw_window(&f, i, 1, j, keep);
            int64_t lanes = flip_min64(LANES, n - j);
            float *out = c + i * ldc + j;
            vec x = finish_vector(&f, i, j, lanes, v_load_some(out, v_first(lanes)),
                                  keep[j % WINDOW / 64], v_first(lanes));
            v_store_some(out, v_first(lanes), x);
        }
    }
}

static void epilogue(int64_t m, int64_t n, float *c, int64_t ldc, const flip_epilogue *e) {
    if (e && kind_of(e) != PLAIN) finish_rows(m, n, c, ldc, e);
}

/* k = 0: what C held or nothing, finished. */
static void no_product(int64_t m, int64_t n, float *c, int64_t ldc, const flip_epilogue *e) {
    for (int64_t i = 0; !(e && e->accumulate) && i < m; i++)
        memset(c + i * ldc, 0, (size_t)n * sizeof *c);
    epilogue(m, n, c, ldc, e);
}

/* What does not fit is left to the reference. */
#define PRODUCT(name, entry, transposed, rounded)                                                  \
    static void name(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, \
                     int64_t ldb, float *c, int64_t ldc, const flip_epilogue *e) {                 \
        if (k == 0 && !(e && e->plus_a))                                                           \
            no_product(m, n, c, ldc, e);                                                           \
        else if (!product(m, n, k, a, lda, b, ldb, transposed, c, ldc, e, rounded))                \
            flip_kernels_reference()->entry(m, n, k, a, lda, b, ldb, c, ldc, e);                   \
    }
#ifndef __AVX512BF16__
PRODUCT(wide_nn, gemm_nn, false, false)
PRODUCT(wide_nt, gemm_nt, true, false)

/* One vector of columns costs a load of A a multiplication, more than AVX-512 loads: half vectors
 * of the table before do these in two columns. AVX2 itself has no table before it. */
static flip_kernels before;

static bool narrow(int64_t n) {
    return LANES == 16 && n <= LANES && before.gemm_nn;
}

static void gemm_nn(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float *c, int64_t ldc, const flip_epilogue *e) {
    (narrow(n) ? before.gemm_nn : wide_nn)(m, n, k, a, lda, b, ldb, c, ldc, e);
}

static void gemm_nt(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float *c, int64_t ldc, const flip_epilogue *e) {
    (narrow(n) ? before.gemm_nt : wide_nt)(m, n, k, a, lda, b, ldb, c, ldc, e);
}
#endif
PRODUCT(gemm_nn_bf16, gemm_nn_bf16, false, true)
PRODUCT(gemm_nt_bf16, gemm_nt_bf16, true, true)

void SIMD_NAME(flip_use_gemm)(flip_kernels *table) {
#ifndef __AVX512BF16__
    before = *table;
    table->gemm_nn = gemm_nn;
    table->gemm_nt = gemm_nt;
    table->epilogue = epilogue;
#endif
    table->gemm_nn_bf16 = gemm_nn_bf16;
    table->gemm_nt_bf16 = gemm_nt_bf16;
}
