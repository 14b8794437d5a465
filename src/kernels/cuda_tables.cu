/* Sums of table entries on the GPU (definition: packed.c). */
#include "kernels/cuda.h"

enum { THREADS = 256 };

/* LANES lanes a row, one column each; the codes of a row are the same access for all of them. */
template <int LANES>
__global__ static void __launch_bounds__(THREADS)
    entries_kernel(int64_t n, int32_t blocks, int32_t length, const uint8_t *codes, size_t stride,
                   const int32_t *index, const flip_real *table, const flip_real *bias,
                   int32_t columns, flip_real *out, int64_t ld, bool accumulate) {
    const int32_t j = threadIdx.x % LANES;
    const int64_t groups = THREADS / LANES;
    if (j >= columns) return;
    for (int64_t i = blockIdx.x * groups + threadIdx.x / LANES; i < n; i += gridDim.x * groups) {
        const uint8_t *code = codes + (size_t)(index ? index[i] : i) * stride;
        flip_real sum = bias ? bias[j] : 0;
#pragma unroll 8
        for (int32_t b = 0; b < blocks; b++)
            sum += table[((int64_t)b * length + code[b]) * FLIP_TABLE_COLUMNS + j];
        out[i * ld + j] = sum + (accumulate ? out[i * ld + j] : 0);
    }
}

static void sum_entries(int64_t n, int32_t blocks, int32_t length, const uint8_t *codes,
                        size_t stride, const int32_t *index, const flip_real *table,
                        const flip_real *bias, int32_t columns, flip_real *out, int64_t ld,
                        bool accumulate) {
    const int64_t lanes = columns <= 8 ? 8 : columns <= 16 ? 16 : 32;
    auto kernel = lanes == 8    ? entries_kernel<8>
                  : lanes == 16 ? entries_kernel<16>
                                : entries_kernel<32>;
    FLIP_LAUNCH(kernel, flip_cuda_blocks(n * lanes, THREADS), THREADS, 0, n, blocks, length, codes,
                stride, index, table, bias, columns, out, ld, accumulate);
}

void flip_use_cuda_tables(flip_kernels *table) {
    table->sum_entries = sum_entries;
}
