/* An LSTM walked back a step, in vectors.
 *
 * A tile of BACK rows: the cells' dG, which is stored and stays in the first cache, meets Wh^T,
 * whose packed panels do too. What the next tile reads is asked for meanwhile. */
#include "kernels/simd_lstm.h"

#ifdef __AVX512F__
enum { BACK = 14 }; /* 28 sums, 1 of A, 2 of B in 32 registers */
#else
enum { BACK = 6 }; /* 12 sums, 1 of A, 2 of B in 16 registers */
#endif

/* ---- cells ---------------------------------------------------------------------------------- */

typedef struct row_back {
    const float *gates, *before, *c, *dy, *dh;
    float *dgates, *dc, *sum;
} row_back;

INLINE void cell_back(bool whole, lanes_mask some, int64_t n, int64_t j, const row_back *r) {
    vec gate[GATES], d[GATES];
    UNROLL for (int k = 0; k < GATES; k++) gate[k] = v_load_of(whole, some, r->gates + k * n + j);
    vec old = r->before ? v_load_of(whole, some, r->before + j) : v_zero();
    vec slope = v_add(v_load_of(whole, some, r->dh + j), v_load_of(whole, some, r->dy + j));
    vec to_before = v_lstm_back(gate, v_load_of(whole, some, r->c + j), old, slope,
                                v_load_of(whole, some, r->dc + j), d);
    UNROLL for (int k = 0; k < GATES; k++) {
        const int64_t at = k * n + j;
        v_store_of(whole, some, r->dgates + at, d[k]);
        if (r->sum)
            v_store_of(whole, some, r->sum + at, v_add(v_load_of(whole, some, r->sum + at), d[k]));
    }
    v_store_of(whole, some, r->dc + j, to_before);
}

/* ---- weights -------------------------------------------------------------------------------- */

static int64_t back_panel_values(int64_t hidden, int64_t j) {
    return words_of(GATES * hidden) * (hidden - j > LANES ? 2 : 1) * LANES;
}

int64_t lstm_back_values(int64_t hidden) {
    return words_of(GATES * hidden) * ((hidden + LANES - 1) / LANES) * LANES;
}

void lstm_pack_back(int64_t hidden, const float *turned, int64_t row, float *to, bool rounded) {
    const int64_t k = GATES * hidden;
    for (int64_t j = 0; j < hidden; j += 2 * LANES)
        for (int64_t l = 0; l < k; l += PAIR)
            for (int64_t c = j; c < hidden && c < j + 2 * LANES; c += LANES, to += LANES)
                v_store(to, load_words(rounded, turned + l * row + c, row, l + 1 < k, hidden - c));
}

/* From row to row of a staged tile. */
static int64_t back_step(int64_t hidden) {
    return (words_of(GATES * hidden) + LANES - 1) / LANES * LANES + APART;
}

int64_t lstm_back_work(int64_t hidden) {
    return BACK * back_step(hidden);
}

/* ---- tiles ---------------------------------------------------------------------------------- */

/* dh rows, at most two vectors of them, = dG Wh^T. next: what is asked for, a line a column of dG,
 * or NULL. */
INLINE void meet_back(const int rows, const int vectors, const term *dgates, const float *panel,
                      const float *next, float *dh, int64_t row, lanes_mask some) {
    vec sum[BACK][2];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int c = 0; c < vectors; c++) sum[r][c] = v_zero();
    }
    const float *a = dgates->at;
    for (int64_t l = dgates->words; l > 0; l--, a++, panel += vectors * LANES) {
        vec right[2];
        UNROLL for (int c = 0; c < vectors; c++) right[c] = v_load(panel + c * LANES);
        UNROLL for (int r = 0; r < rows; r++) {
            vec left = v_set(a[r * dgates->row]);
            UNROLL for (int c = 0; c < vectors; c++) sum[r][c] =
                v_multiply_add(left, right[c], sum[r][c]);
        }
        UNROLL for (int p = 0; next && p < PAIR; p++, next += LINE)
            _mm_prefetch((const char *)next, _MM_HINT_T1);
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int c = 0; c < vectors - 1; c++) v_store(dh + r * row + c * LANES, sum[r][c]);
        v_store_some(dh + r * row + (vectors - 1) * LANES, some, sum[r][vectors - 1]);
    }
}

typedef void (*back_tile)(const term *, const float *, const float *, float *, int64_t, lanes_mask);
#define BACK_TILE(rows, vectors)                                                                   \
    static void back_##rows##_##vectors(const term *dgates, const float *panel, const float *next, \
                                        float *dh, int64_t row, lanes_mask some) {                 \
        meet_back(rows, vectors, dgates, panel, next, dh, row, some);                              \
    }
#define BACK_TILES(rows) BACK_TILE(rows, 1) BACK_TILE(rows, 2)
BACK_TILES(1)
BACK_TILES(3)
BACK_TILES(6)
#ifdef __AVX512F__
BACK_TILES(14)
#endif

/* The tallest tile of at most `rows` rows. */
static int64_t choose_back(int64_t rows, back_tile tile[2]) {
#define TALL(height)                                                                               \
    if (rows >= height) {                                                                          \
        tile[0] = back_##height##_1;                                                               \
        tile[1] = back_##height##_2;                                                               \
        return height;                                                                             \
    }
#ifdef __AVX512F__
    TALL(14)
#endif
    TALL(6)
    TALL(3)
    TALL(1)
    return 0;
}

/* Always inlined, as all that only asks for memory is: a compiler takes such a function for one
 * without effect, and leaves its calls out. */
INLINE void ask(const float *from, int64_t values) {
    for (int64_t i = 0; i < values; i += LINE)
        _mm_prefetch((const char *)(from + i), _MM_HINT_T1);
}

/* What row i reads beside its gates; past the last row, that of the step before. */
INLINE void ask_row(const flip_lstm_cells *p, int64_t i) {
    int64_t t = 0;
    if (i >= p->m) {
        if (!p->more) return;
        i -= p->m;
        t = -1;
    }
    ask(at_step(&p->dy, i, t), p->hidden);
    if (p->c_before.at) ask(at_step(&p->c_before, i, t), p->hidden);
    if (p->soon.at) ask(at_step(&p->soon, i, t), p->hidden);
}

static void row_cells(const flip_lstm_cells *p, int64_t i) {
    const int64_t n = p->hidden;
    const row_back r = {.gates = at_step(&p->gates, i, 0),
                        .before = p->c_before.at ? at_step(&p->c_before, i, 0) : NULL,
                        .c = at_step(&p->c, i, 0),
                        .dy = at_step(&p->dy, i, 0),
                        .dh = p->dh + i * n,
                        .dgates = p->dgates.at + i * p->dgates.row,
                        .dc = p->dc + i * n,
                        .sum = p->sum ? p->sum + i * GATES * n : NULL};
    int64_t j = 0;
    ask_row(p, i + BACK);
    for (; j + LANES <= n; j += LANES)
        cell_back(true, v_first(LANES), n, j, &r);
    if (j < n) cell_back(false, v_first(n - j), n, j, &r);
}

void lstm_back(const flip_lstm_cells *p, bool rounded) {
    const int64_t n = p->hidden, k = GATES * n, step = back_step(n);
    const bool staged = rounded || p->dgates.row % SAME_SET == 0;
    back_tile tile[2];
    for (int64_t i = 0, height; i < p->m; i += height) {
        height = choose_back(p->m - i, tile);
        term dgates = {p->dgates.at + i * p->dgates.row, p->dgates.row, k};
        for (int64_t r = 0; r < height; r++) {
            row_cells(p, i + r);
            if (staged) stage_words(rounded, p->work + r * step, dgates.at + r * dgates.row, k);
        }
        if (staged) dgates = (term){p->work, step, words_of(k)};
        const float *panel = p->back, *next = NULL;
        if (i + height < p->m)
            next = at_step(&p->gates, i + height, 0);
        else if (p->more)
            next = at_step(&p->gates, 0, -1);
        for (int64_t j = 0; j < n; j += 2 * LANES, next = NULL) {
            const int64_t lanes = flip_min64(n - j, 2 * LANES);
            tile[lanes > LANES](&dgates, panel, next, p->dh + i * n + j, n,
                                v_first(lanes > LANES ? lanes - LANES : lanes));
            panel += back_panel_values(n, j);
        }
    }
}
