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

INLINE vec get_or_zero(bool whole, lanes_mask some, const float *row, int64_t j) {
    return row ? v_load_of(whole, some, row + j) : v_zero();
}

static const float *row_or_null(const float *block, int64_t ld, int64_t i) {
    return block ? block + i * ld : NULL;
}

/* ---- LSTM ----------------------------------------------------------------------------------- */

INLINE void lstm_step(bool whole, lanes_mask some, int64_t n, int64_t j, float *gates,
                      const float *before, float *c, float *h) {
    float *g = gates + j;
    vec in = v_sigmoid(v_load_of(whole, some, g)),
        forget = v_sigmoid(v_load_of(whole, some, g + n));
    vec cell = v_tanh(v_load_of(whole, some, g + 2 * n)),
        out = v_sigmoid(v_load_of(whole, some, g + 3 * n));
    vec next = v_fma(forget, get_or_zero(whole, some, before, j), v_mul(in, cell));
    v_store_of(whole, some, g, in);
    v_store_of(whole, some, g + n, forget);
    v_store_of(whole, some, g + 2 * n, cell);
    v_store_of(whole, some, g + 3 * n, out);
    v_store_of(whole, some, c + j, next);
    v_store_of(whole, some, h + j, v_mul(out, v_tanh(next)));
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
    vec gate[4], d[4];
    UNROLL for (int k = 0; k < 4; k++) gate[k] = v_load_of(whole, some, g + k * n);
    vec to_before =
        v_lstm_back(gate, v_load_of(whole, some, c + j), get_or_zero(whole, some, before, j),
                    v_load_of(whole, some, dh + j), v_load_of(whole, some, dc + j), d);
    UNROLL for (int k = 0; k < 4; k++) v_store_of(whole, some, g + k * n, d[k]);
    v_store_of(whole, some, dc + j, to_before);
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
    vec reset = v_sigmoid(v_load_of(whole, some, g) + v_load_of(whole, some, k));
    vec keep = v_sigmoid(v_load_of(whole, some, g + n) + v_load_of(whole, some, k + n));
    vec next =
        v_tanh(v_fma(reset, v_load_of(whole, some, k + 2 * n), v_load_of(whole, some, g + 2 * n)));
    vec old = get_or_zero(whole, some, before, j);
    v_store_of(whole, some, g, reset);
    v_store_of(whole, some, g + n, keep);
    v_store_of(whole, some, g + 2 * n, next);
    v_store_of(whole, some, h + j, v_fma(keep, old, v_mul(v_set(1.0f) - keep, next)));
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
    vec reset = v_load_of(whole, some, g), keep = v_load_of(whole, some, g + n);
    vec next = v_load_of(whole, some, g + 2 * n), slope = v_load_of(whole, some, dh + j);
    vec d_next = v_mul(v_mul(slope, v_set(1.0f) - keep), v_bend_tanh(next));
    vec d_keep = v_mul(v_mul(slope, get_or_zero(whole, some, before, j) - next), v_bend(keep));
    vec d_reset = v_mul(v_mul(d_next, v_load_of(whole, some, k + 2 * n)), v_bend(reset));
    v_store_of(whole, some, g, d_reset);
    v_store_of(whole, some, k, d_reset);
    v_store_of(whole, some, g + n, d_keep);
    v_store_of(whole, some, k + n, d_keep);
    v_store_of(whole, some, g + 2 * n, d_next);
    v_store_of(whole, some, k + 2 * n, v_mul(d_next, reset));
    v_store_of(whole, some, dh + j, v_mul(slope, keep));
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
