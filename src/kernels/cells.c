/* Recurrent cells in plain C: the definition. Hochreiter and Schmidhuber 1997 with forget gates
 * (Gers et al. 2000); Cho et al. 2014 in the form whose reset gate acts after the product. */
#include "kernels/internal.h"

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double at_or_zero(const flip_real *block, int64_t ld, int64_t i, int64_t j) {
    return block ? (double)block[i * ld + j] : 0;
}

static void lstm_forward(int64_t m, int64_t n, flip_real *gates, const flip_real *c_before,
                         int64_t ld_before, flip_real *c, flip_real *h, int64_t ld) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *g = gates + i * 4 * n;
        for (int64_t j = 0; j < n; j++) {
            double in = sigmoid((double)g[j]), forget = sigmoid((double)g[n + j]);
            double cell = tanh((double)g[2 * n + j]), out = sigmoid((double)g[3 * n + j]);
            double next = forget * at_or_zero(c_before, ld_before, i, j) + in * cell;
            g[j] = (flip_real)in;
            g[n + j] = (flip_real)forget;
            g[2 * n + j] = (flip_real)cell;
            g[3 * n + j] = (flip_real)out;
            c[i * ld + j] = (flip_real)next;
            h[i * ld + j] = (flip_real)(out * tanh(next));
        }
    }
}

static void lstm_backward(int64_t m, int64_t n, flip_real *gates, const flip_real *c_before,
                          int64_t ld_before, const flip_real *c, int64_t ld, const flip_real *dh,
                          int64_t ld_dh, flip_real *dc) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *g = gates + i * 4 * n;
        for (int64_t j = 0; j < n; j++) {
            double in = (double)g[j], forget = (double)g[n + j], cell = (double)g[2 * n + j];
            double out = (double)g[3 * n + j], bent = tanh((double)c[i * ld + j]);
            double slope = (double)dh[i * ld_dh + j];
            double d = (double)dc[i * n + j] + slope * out * (1 - bent * bent);
            g[j] = (flip_real)(d * cell * in * (1 - in));
            g[n + j] =
                (flip_real)(d * at_or_zero(c_before, ld_before, i, j) * forget * (1 - forget));
            g[2 * n + j] = (flip_real)(d * in * (1 - cell * cell));
            g[3 * n + j] = (flip_real)(slope * bent * out * (1 - out));
            dc[i * n + j] = (flip_real)(d * forget);
        }
    }
}

static void gru_forward(int64_t m, int64_t n, flip_real *gates, const flip_real *hidden,
                        const flip_real *h_before, int64_t ld_before, flip_real *h, int64_t ld) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *g = gates + i * 3 * n;
        const flip_real *k = hidden + i * 3 * n;
        for (int64_t j = 0; j < n; j++) {
            double reset = sigmoid((double)g[j] + (double)k[j]);
            double keep = sigmoid((double)g[n + j] + (double)k[n + j]);
            double next = tanh((double)g[2 * n + j] + reset * (double)k[2 * n + j]);
            g[j] = (flip_real)reset;
            g[n + j] = (flip_real)keep;
            g[2 * n + j] = (flip_real)next;
            h[i * ld + j] =
                (flip_real)((1 - keep) * next + keep * at_or_zero(h_before, ld_before, i, j));
        }
    }
}

static void gru_backward(int64_t m, int64_t n, flip_real *gates, flip_real *hidden,
                         const flip_real *h_before, int64_t ld_before, flip_real *dh) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *g = gates + i * 3 * n, *k = hidden + i * 3 * n;
        for (int64_t j = 0; j < n; j++) {
            double reset = (double)g[j], keep = (double)g[n + j], next = (double)g[2 * n + j];
            double slope = (double)dh[i * n + j];
            double d_next = slope * (1 - keep) * (1 - next * next);
            double d_keep =
                slope * (at_or_zero(h_before, ld_before, i, j) - next) * keep * (1 - keep);
            double d_reset = d_next * (double)k[2 * n + j] * reset * (1 - reset);
            g[j] = k[j] = (flip_real)d_reset;
            g[n + j] = k[n + j] = (flip_real)d_keep;
            g[2 * n + j] = (flip_real)d_next;
            k[2 * n + j] = (flip_real)(d_next * reset);
            dh[i * n + j] = (flip_real)(slope * keep);
        }
    }
}

void flip_kernels_use_cells(flip_kernels *table) {
    table->lstm_forward = lstm_forward;
    table->lstm_backward = lstm_backward;
    table->gru_forward = gru_forward;
    table->gru_backward = gru_backward;
}
