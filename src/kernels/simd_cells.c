/* Recurrent cells in vectors; cells.c is the definition. A row's hidden units go a vector at a
 * time, the last one masked. */
#include "kernels/simd_math.h"

#include <omp.h>

enum { LEAST = 1 << 14 }; /* elements from which a team of threads pays */

/* Runs `row(i)` for every i below m, on the team where there is none yet and it pays. */
#define EVERY_ROW(m, n, row)                                                                       \
    do {                                                                                           \
        if ((m) * (n) < LEAST || omp_in_parallel()) {                                              \
            for (int64_t i = 0; i < (m); i++)                                                      \
                row;                                                                               \
        } else {                                                                                   \
            _Pragma("omp parallel for schedule(static)") for (int64_t i = 0; i < (m); i++) row;    \
        }                                                                                          \
    } while (0)

/* Runs `step` over a row: `some` the lanes of the vector at j, `whole` (known when compiling) all.
 */
#define EVERY_VECTOR(n, step)                                                                      \
    do {                                                                                           \
        int64_t j = 0;                                                                             \
        for (; j + LANES <= (n); j += LANES) {                                                     \
            const bool whole = true;                                                               \
            const lanes_mask some = v_first(LANES);                                                \
            step;                                                                                  \
        }                                                                                          \
        if (j < (n)) {                                                                             \
            const bool whole = false;                                                              \
            const lanes_mask some = v_first((n)-j);                                                \
            step;                                                                                  \
        }                                                                                          \
    } while (0)

INLINE vec get(bool whole, lanes_mask some, const float *p) {
    return whole ? v_load(p) : v_load_some(p, some);
}

INLINE vec get_or_zero(bool whole, lanes_mask some, const float *row, int64_t j) {
    return row ? get(whole, some, row + j) : v_zero();
}

INLINE void put(bool whole, lanes_mask some, float *p, vec x) {
    if (whole)
        v_store(p, x);
    else
        v_store_some(p, some, x);
}

/* y (1 - y), the slope of the logistic function whose value is y. */
INLINE vec bend(vec y) {
    return v_mul(y, v_set(1.0f) - y);
}

/* 1 - y^2, the slope of tanh whose value is y. */
INLINE vec bend_tanh(vec y) {
    return v_mul(v_set(1.0f) - y, v_set(1.0f) + y);
}

static const float *row_or_null(const float *block, int64_t ld, int64_t i) {
    return block ? block + i * ld : NULL;
}

/* ---- LSTM ----------------------------------------------------------------------------------- */

INLINE void lstm_step(bool whole, lanes_mask some, int64_t n, int64_t j, float *gates,
                      const float *before, float *c, float *h) {
    float *g = gates + j;
    vec in = v_sigmoid(get(whole, some, g)), forget = v_sigmoid(get(whole, some, g + n));
    vec cell = v_tanh(get(whole, some, g + 2 * n)), out = v_sigmoid(get(whole, some, g + 3 * n));
    vec next = v_fma(forget, get_or_zero(whole, some, before, j), v_mul(in, cell));
    put(whole, some, g, in);
    put(whole, some, g + n, forget);
    put(whole, some, g + 2 * n, cell);
    put(whole, some, g + 3 * n, out);
    put(whole, some, c + j, next);
    put(whole, some, h + j, v_mul(out, v_tanh(next)));
}

static void lstm_row(int64_t n, float *gates, const float *before, float *c, float *h) {
    EVERY_VECTOR(n, lstm_step(whole, some, n, j, gates, before, c, h));
}

static void lstm_forward(int64_t m, int64_t n, float *gates, const float *c_before,
                         int64_t ld_before, float *c, float *h, int64_t ld) {
    EVERY_ROW(m, n,
              lstm_row(n, gates + i * 4 * n, row_or_null(c_before, ld_before, i), c + i * ld,
                       h + i * ld));
}

INLINE void lstm_step_back(bool whole, lanes_mask some, int64_t n, int64_t j, float *gates,
                           const float *before, const float *c, const float *dh, float *dc) {
    float *g = gates + j;
    vec in = get(whole, some, g), forget = get(whole, some, g + n);
    vec cell = get(whole, some, g + 2 * n), out = get(whole, some, g + 3 * n);
    vec bent = v_tanh(get(whole, some, c + j)), slope = get(whole, some, dh + j);
    vec d = v_fma(v_mul(slope, out), bend_tanh(bent), get(whole, some, dc + j));
    put(whole, some, g, v_mul(v_mul(d, cell), bend(in)));
    put(whole, some, g + n, v_mul(v_mul(d, get_or_zero(whole, some, before, j)), bend(forget)));
    put(whole, some, g + 2 * n, v_mul(v_mul(d, in), bend_tanh(cell)));
    put(whole, some, g + 3 * n, v_mul(v_mul(slope, bent), bend(out)));
    put(whole, some, dc + j, v_mul(d, forget));
}

static void lstm_row_back(int64_t n, float *gates, const float *before, const float *c,
                          const float *dh, float *dc) {
    EVERY_VECTOR(n, lstm_step_back(whole, some, n, j, gates, before, c, dh, dc));
}

static void lstm_backward(int64_t m, int64_t n, float *gates, const float *c_before,
                          int64_t ld_before, const float *c, int64_t ld, const float *dh,
                          int64_t ld_dh, float *dc) {
    EVERY_ROW(m, n,
              lstm_row_back(n, gates + i * 4 * n, row_or_null(c_before, ld_before, i), c + i * ld,
                            dh + i * ld_dh, dc + i * n));
}

/* ---- GRU ------------------------------------------------------------------------------------ */

INLINE void gru_step(bool whole, lanes_mask some, int64_t n, int64_t j, float *gates,
                     const float *hidden, const float *before, float *h) {
    float *g = gates + j;
    const float *k = hidden + j;
    vec reset = v_sigmoid(get(whole, some, g) + get(whole, some, k));
    vec keep = v_sigmoid(get(whole, some, g + n) + get(whole, some, k + n));
    vec next = v_tanh(v_fma(reset, get(whole, some, k + 2 * n), get(whole, some, g + 2 * n)));
    vec old = get_or_zero(whole, some, before, j);
    put(whole, some, g, reset);
    put(whole, some, g + n, keep);
    put(whole, some, g + 2 * n, next);
    put(whole, some, h + j, v_fma(keep, old, v_mul(v_set(1.0f) - keep, next)));
}

static void gru_row(int64_t n, float *gates, const float *hidden, const float *before, float *h) {
    EVERY_VECTOR(n, gru_step(whole, some, n, j, gates, hidden, before, h));
}

static void gru_forward(int64_t m, int64_t n, float *gates, const float *hidden,
                        const float *h_before, int64_t ld_before, float *h, int64_t ld) {
    EVERY_ROW(m, n,
              gru_row(n, gates + i * 3 * n, hidden + i * 3 * n, row_or_null(h_before, ld_before, i),
                      h + i * ld));
}

INLINE void gru_step_back(bool whole, lanes_mask some, int64_t n, int64_t j, float *gates,
                          float *hidden, const float *before, float *dh) {
    float *g = gates + j, *k = hidden + j;
    vec reset = get(whole, some, g), keep = get(whole, some, g + n);
    vec next = get(whole, some, g + 2 * n), slope = get(whole, some, dh + j);
    vec d_next = v_mul(v_mul(slope, v_set(1.0f) - keep), bend_tanh(next));
    vec d_keep = v_mul(v_mul(slope, get_or_zero(whole, some, before, j) - next), bend(keep));
    vec d_reset = v_mul(v_mul(d_next, get(whole, some, k + 2 * n)), bend(reset));
    put(whole, some, g, d_reset);
    put(whole, some, k, d_reset);
    put(whole, some, g + n, d_keep);
    put(whole, some, k + n, d_keep);
    put(whole, some, g + 2 * n, d_next);
    put(whole, some, k + 2 * n, v_mul(d_next, reset));
    put(whole, some, dh + j, v_mul(slope, keep));
}

static void gru_row_back(int64_t n, float *gates, float *hidden, const float *before, float *dh) {
    EVERY_VECTOR(n, gru_step_back(whole, some, n, j, gates, hidden, before, dh));
}

static void gru_backward(int64_t m, int64_t n, float *gates, float *hidden, const float *h_before,
                         int64_t ld_before, float *dh) {
    EVERY_ROW(m, n,
              gru_row_back(n, gates + i * 3 * n, hidden + i * 3 * n,
                           row_or_null(h_before, ld_before, i), dh + i * n));
}

void SIMD_NAME(flip_use_cells)(flip_kernels *table) {
    table->lstm_forward = lstm_forward;
    table->lstm_backward = lstm_backward;
    table->gru_forward = gru_forward;
    table->gru_backward = gru_backward;
}
