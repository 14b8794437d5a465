/* Element by element on the GPU. */
#include "kernels/cuda.h"

enum { THREADS = 256 };

/* y (+)= alpha x */
__global__ static void scaled_kernel(int64_t m, int64_t n, flip_real *y, int64_t ldy,
                                     const flip_real *x, int64_t ldx, flip_real alpha,
                                     bool accumulate) {
    FLIP_EACH(at, m * n) {
        int64_t i = at / n, j = at % n;
        flip_real value = alpha * x[i * ldx + j];
        y[i * ldy + j] = accumulate ? y[i * ldy + j] + value : value;
    }
}

static void scaled(int64_t m, int64_t n, flip_real *y, int64_t ldy, const flip_real *x, int64_t ldx,
                   flip_real alpha, bool accumulate) {
    FLIP_LAUNCH(scaled_kernel, flip_cuda_blocks(m * n, THREADS), THREADS, 0, m, n, y, ldy, x, ldx,
                alpha, accumulate);
}

/* dx = bit ? dy * scale : 0 */
__global__ static void mask_bits_kernel(int64_t m, int64_t n, flip_real *dx, const flip_real *dy,
                                        const uint8_t *bits, flip_real scale) {
    const int64_t row_bytes = (n + 7) / 8;
    FLIP_EACH(at, m * n) {
        int64_t i = at / n, j = at % n;
        bool kept = bits[i * row_bytes + j / 8] >> (j % 8) & 1;
        dx[at] = kept ? dy[at] * scale : 0;
    }
}

static void mask_bits(int64_t m, int64_t n, flip_real *dx, const flip_real *dy, const uint8_t *bits,
                      flip_real scale) {
    FLIP_LAUNCH(mask_bits_kernel, flip_cuda_blocks(m * n, THREADS), THREADS, 0, m, n, dx, dy, bits,
                scale);
}

/* Kingma and Ba, algorithm 1; the constants as the reference rounds them. */
typedef struct adam_constants {
    double grad_scale;
    flip_real beta1, rest1, beta2, rest2, decay, shrink, rate, root, epsilon;
} adam_constants;

__global__ static void adam_kernel(int64_t n, flip_real *p, const double *g, flip_real *m,
                                   flip_real *v, const adam_constants s) {
    FLIP_EACH(i, n) {
        const flip_real slope = (flip_real)(g[i] * s.grad_scale) + s.decay * p[i];
        const flip_real mean = s.beta1 * m[i] + s.rest1 * slope;
        const flip_real square = s.beta2 * v[i] + s.rest2 * slope * slope;
        m[i] = mean;
        v[i] = square;
        p[i] = s.shrink * p[i] - s.rate * mean / (sqrt(square) * s.root + s.epsilon);
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
                                      (flip_real)(s->lr / s->correct1),
                                      (flip_real)(1 / sqrt(s->correct2)),
                                      (flip_real)s->epsilon};
    FLIP_LAUNCH(adam_kernel, flip_cuda_blocks(n, THREADS), THREADS, 0, n, p, g, m, v, constants);
}

void flip_use_cuda_pointwise(flip_kernels *table) {
    table->scaled = scaled;
    table->mask_bits = mask_bits;
    table->adam = adam;
}
