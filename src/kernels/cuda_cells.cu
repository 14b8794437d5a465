/* Recurrent cells on the GPU (equations: cells.c): a thread one element of h, whose gates stand n
 * apart, so that neighbours read neighbours. Double in, double out would halve the speed of what
 * memory bounds; flip_real's own functions keep the checker's bounds. */
#include "kernels/cuda.h"

__device__ static inline flip_real at_or_zero(const flip_real *block, int64_t ld, int64_t i,
                                              int64_t j) {
    return block ? block[i * ld + j] : 0;
}

__global__ static void lstm_forward_kernel(int64_t m, int64_t n, flip_real *gates,
                                           const flip_real *c_before, int64_t ld_before,
                                           flip_real *c, flip_real *h, int64_t ld) {
    FLIP_EACH(at, m * n) {
        const int64_t i = at / n, j = at % n;
        flip_real *g = gates + i * 4 * n + j;
        const flip_real in = flip_logistic(g[0]), forget = flip_logistic(g[n]),
                        cell = tanh(g[2 * n]);
        const flip_real out = flip_logistic(g[3 * n]);
        const flip_real next = forget * at_or_zero(c_before, ld_before, i, j) + in * cell;
        g[0] = in;
        g[n] = forget;
        g[2 * n] = cell;
        g[3 * n] = out;
        c[i * ld + j] = next;
        h[i * ld + j] = out * tanh(next);
    }
}

static void lstm_forward(int64_t m, int64_t n, flip_real *gates, const flip_real *c_before,
                         int64_t ld_before, flip_real *c, flip_real *h, int64_t ld) {
    FLIP_LAUNCH_EACH(lstm_forward_kernel, m * n, m, n, gates, c_before, ld_before, c, h, ld);
}

__global__ static void lstm_backward_kernel(int64_t m, int64_t n, flip_real *gates,
                                            const flip_real *c_before, int64_t ld_before,
                                            const flip_real *c, int64_t ld, const flip_real *dh,
                                            int64_t ld_dh, flip_real *dc) {
    FLIP_EACH(at, m * n) {
        const int64_t i = at / n, j = at % n;
        flip_real *g = gates + i * 4 * n + j;
        const flip_real in = g[0], forget = g[n], cell = g[2 * n], out = g[3 * n];
        const flip_real bent = tanh(c[i * ld + j]), slope = dh[i * ld_dh + j];
        const flip_real d = dc[at] + slope * out * (1 - bent * bent);
        g[0] = d * cell * in * (1 - in);
        g[n] = d * at_or_zero(c_before, ld_before, i, j) * forget * (1 - forget);
        g[2 * n] = d * in * (1 - cell * cell);
        g[3 * n] = slope * bent * out * (1 - out);
        dc[at] = d * forget;
    }
}

static void lstm_backward(int64_t m, int64_t n, flip_real *gates, const flip_real *c_before,
                          int64_t ld_before, const flip_real *c, int64_t ld, const flip_real *dh,
                          int64_t ld_dh, flip_real *dc) {
    FLIP_LAUNCH_EACH(lstm_backward_kernel, m * n, m, n, gates, c_before, ld_before, c, ld, dh,
                     ld_dh, dc);
}

__global__ static void gru_forward_kernel(int64_t m, int64_t n, flip_real *gates,
                                          const flip_real *hidden, const flip_real *h_before,
                                          int64_t ld_before, flip_real *h, int64_t ld) {
    FLIP_EACH(at, m * n) {
        const int64_t i = at / n, j = at % n;
        flip_real *g = gates + i * 3 * n + j;
        const flip_real *k = hidden + i * 3 * n + j;
        const flip_real reset = flip_logistic(g[0] + k[0]), keep = flip_logistic(g[n] + k[n]);
        const flip_real next = tanh(g[2 * n] + reset * k[2 * n]);
        g[0] = reset;
        g[n] = keep;
        g[2 * n] = next;
        h[i * ld + j] = (1 - keep) * next + keep * at_or_zero(h_before, ld_before, i, j);
    }
}

static void gru_forward(int64_t m, int64_t n, flip_real *gates, const flip_real *hidden,
                        const flip_real *h_before, int64_t ld_before, flip_real *h, int64_t ld) {
    FLIP_LAUNCH_EACH(gru_forward_kernel, m * n, m, n, gates, hidden, h_before, ld_before, h, ld);
}

__global__ static void gru_backward_kernel(int64_t m, int64_t n, flip_real *gates,
                                           flip_real *hidden, const flip_real *h_before,
                                           int64_t ld_before, flip_real *dh) {
    FLIP_EACH(at, m * n) {
        const int64_t i = at / n, j = at % n;
        flip_real *g = gates + i * 3 * n + j, *k = hidden + i * 3 * n + j;
        const flip_real reset = g[0], keep = g[n], next = g[2 * n], slope = dh[at];
        const flip_real d_next = slope * (1 - keep) * (1 - next * next);
        const flip_real d_keep =
            slope * (at_or_zero(h_before, ld_before, i, j) - next) * keep * (1 - keep);
        const flip_real d_reset = d_next * k[2 * n] * reset * (1 - reset);
        g[0] = k[0] = d_reset;
        g[n] = k[n] = d_keep;
        g[2 * n] = d_next;
        k[2 * n] = d_next * reset;
        dh[at] = slope * keep;
    }
}

static void gru_backward(int64_t m, int64_t n, flip_real *gates, flip_real *hidden,
                         const flip_real *h_before, int64_t ld_before, flip_real *dh) {
    FLIP_LAUNCH_EACH(gru_backward_kernel, m * n, m, n, gates, hidden, h_before, ld_before, dh);
}

void flip_use_cuda_cells(flip_kernels *table) {
    table->lstm_forward = lstm_forward;
    table->lstm_backward = lstm_backward;
    table->gru_forward = gru_forward;
    table->gru_backward = gru_backward;
}
