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

void flip_use_cuda_pointwise(flip_kernels *table) {
    table->scaled = scaled;
    table->mask_bits = mask_bits;
}
