/* Sums of columns over many rows, for the CUDA kernels: their order is fixed. */
#ifndef FLIPBOOK_KERNELS_CUDA_COLUMNS_H
#define FLIPBOOK_KERNELS_CUDA_COLUMNS_H

#include "kernels/cuda_warp.h"

/* K sums of each of n columns over m rows. A block has 32 columns of `each` rows; its 8 lines of
 * threads take every eighth row, and are summed in ascending order, as then the blocks are. term(i,
 * j, sums): row i adds to sums[K] of column j. room [blocks, K, n]. */
enum { FLIP_LINES = FLIP_WARPS_THREADS / FLIP_WARP };

template <int K, typename term>
__global__ static void flip_column_kernel(int64_t m, int64_t n, int64_t each, int64_t tiles,
                                          term add, double *room) {
    __shared__ double part[K][FLIP_LINES][FLIP_WARP];
    const int column = threadIdx.x % FLIP_WARP, line = threadIdx.x / FLIP_WARP;
    const int64_t b = blockIdx.x / tiles, j = blockIdx.x % tiles * FLIP_WARP + column;
    const int64_t end = (b + 1) * each < m ? (b + 1) * each : m;
    double sums[K] = {};
    for (int64_t i = b * each + line; j < n && i < end; i += FLIP_LINES)
        add(i, j, sums);
    for (int k = 0; k < K; k++)
        part[k][line][column] = sums[k];
    __syncthreads();
    if (line == 0 && j < n)
        for (int k = 0; k < K; k++) {
            double sum = part[k][0][column];
            for (int l = 1; l < FLIP_LINES; l++)
                sum += part[k][l][column];
            room[(b * K + k) * n + j] = sum;
        }
}

/* sum[k, j] (+)= the blocks' */
__global__ static void flip_column_sums_kernel(int64_t blocks, int64_t columns, const double *room,
                                               double *sum, bool accumulate) {
    FLIP_EACH(j, columns) {
        double total = accumulate ? sum[j] : 0;
        for (int64_t b = 0; b < blocks; b++)
            total += room[b * columns + j];
        sum[j] = total;
    }
}

template <int K, typename term>
static void flip_columns(int64_t m, int64_t n, int64_t each, const term &add, double *room) {
    const int64_t tiles = (n + FLIP_WARP - 1) / FLIP_WARP, blocks = (m + each - 1) / each;
    FLIP_LAUNCH((flip_column_kernel<K, term>), blocks * tiles, FLIP_WARPS_THREADS, 0, m, n, each,
                tiles, add, room);
}

#endif
