/* Element by element on the GPU. */
#include "kernels/cuda_four.h"

/* y (+)= alpha x */
__global__ static void scaled_kernel(unsigned count, unsigned quads, int64_t n, flip_real *y,
                                     int64_t ldy, const flip_real *x, int64_t ldx, flip_real alpha,
                                     bool accumulate, bool whole) {
    FLIP_EACH_ITEM(item, count) {
        const int64_t i = item / quads, j = (int64_t)(item % quads) * FLIP_FOUR, left = n - j;
        flip_four from = flip_load_four(x + i * ldx + j, left, whole), to = {};
        if (accumulate) to = flip_load_four(y + i * ldy + j, left, whole);
        for (int b = 0; b < FLIP_FOUR; b++)
            to.v[b] = accumulate ? to.v[b] + alpha * from.v[b] : alpha * from.v[b];
        flip_store_four(y + i * ldy + j, to, left, whole);
    }
}

static void scaled(int64_t m, int64_t n, flip_real *y, int64_t ldy, const flip_real *x, int64_t ldx,
                   flip_real alpha, bool accumulate) {
    if (ldx == n && ldy == n && n % FLIP_FOUR != 0 && m * n < (int64_t)1 << 31) {
        n *= m; /* rows that follow each other are one row */
        m = 1;
        ldx = ldy = (n + FLIP_FOUR - 1) / FLIP_FOUR * FLIP_FOUR;
    }
    const int64_t quads = (n + FLIP_FOUR - 1) / FLIP_FOUR, most = flip_fours_rows(quads);
    const bool whole = flip_fours_whole(n, ldx, x) && flip_fours_whole(n, ldy, y);
    for (int64_t done = 0; n > 0 && done < m; done += most) {
        const int64_t count = flip_min64(most, m - done) * quads;
        FLIP_LAUNCH_EACH(scaled_kernel, count, (unsigned)count, (unsigned)quads, n, y + done * ldy,
                         ldy, x + done * ldx, ldx, alpha, accumulate, whole);
    }
}

/* dx = bit ? dy * scale : 0 */
__global__ static void mask_bits_kernel(unsigned count, unsigned quads, int64_t n, flip_real *dx,
                                        const flip_real *dy, const uint8_t *bits, flip_real scale,
                                        bool whole) {
    const int64_t row_bytes = (n + 7) / 8;
    FLIP_EACH_ITEM(item, count) {
        const int64_t i = item / quads, j = (int64_t)(item % quads) * FLIP_FOUR, left = n - j;
        const unsigned kept = bits[i * row_bytes + j / 8] >> (j % 8);
        flip_four x = flip_load_four(dy + i * n + j, left, whole);
        for (int b = 0; b < FLIP_FOUR; b++)
            x.v[b] = kept >> b & 1 ? x.v[b] * scale : 0;
        flip_store_four(dx + i * n + j, x, left, whole);
    }
}

static void mask_bits(int64_t m, int64_t n, flip_real *dx, const flip_real *dy, const uint8_t *bits,
                      flip_real scale) {
    const int64_t quads = (n + FLIP_FOUR - 1) / FLIP_FOUR, most = flip_fours_rows(quads);
    const bool whole = flip_fours_whole(n, n, dx) && flip_fours_whole(n, n, dy);
    for (int64_t done = 0; n > 0 && done < m; done += most) {
        const int64_t count = flip_min64(most, m - done) * quads;
        FLIP_LAUNCH_EACH(mask_bits_kernel, count, (unsigned)count, (unsigned)quads, n,
                         dx + done * n, dy + done * n, bits + done * ((n + 7) / 8), scale, whole);
    }
}

/* Kingma and Ba, algorithm 1; the constants as the reference rounds them. */
typedef struct adam_constants {
    double grad_scale;
    flip_real beta1, rest1, beta2, rest2, decay, shrink, rate, root, epsilon;
} adam_constants;

__global__ static void adam_kernel(int64_t n, flip_real *p, const double *g, flip_real *m,
                                   flip_real *v, const adam_constants s, const flip_cuda_now *now) {
    const flip_real rate = now ? now->rate : s.rate, root = now ? now->root : s.root;
    FLIP_EACH(i, n) {
        const flip_real slope = (flip_real)(g[i] * s.grad_scale) + s.decay * p[i];
        const flip_real mean = s.beta1 * m[i] + s.rest1 * slope;
        const flip_real square = s.beta2 * v[i] + s.rest2 * slope * slope;
        m[i] = mean;
        v[i] = square;
        p[i] = s.shrink * p[i] - rate * mean / (sqrt(square) * root + s.epsilon);
    }
}

static void adam(int64_t n, flip_real *p, const double *g, flip_real *m, flip_real *v,
                 const flip_adam_step *s) {
    const adam_constants constants = {s->grad_scale,
                                      (flip_real)s->beta1,
                                      (flip_real)(1 - s->beta1),
                                      (flip_real)s->beta2,
                                      (flip_real)(1 - s->beta2),
                                      (flip_real)(s->decoupled ? 0 : s->weight_decay),
                                      (flip_real)(s->decoupled ? 1 - s->lr * s->weight_decay : 1),
                                      flip_cuda_adam_rate(s),
                                      flip_cuda_adam_root(s),
                                      (flip_real)s->epsilon};
    FLIP_LAUNCH_EACH(adam_kernel, n, n, p, g, m, v, constants, flip_cuda_recorded_now);
}

void flip_use_cuda_pointwise(flip_kernels *table) {
    table->scaled = scaled;
    table->mask_bits = mask_bits;
    table->adam = adam;
}
