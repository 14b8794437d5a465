/* Warps and columns at work together, for the CUDA kernels: sums whose order is fixed. */
#ifndef FLIPBOOK_KERNELS_CUDA_WARP_H
#define FLIPBOOK_KERNELS_CUDA_WARP_H

#include "kernels/cuda.h"

enum { FLIP_WARP = 32, FLIP_WARPS_THREADS = 256 };
static const unsigned FLIP_ALL_LANES = 0xffffffffu;

/* for (i of this thread's warp; i < n; by the whole grid): a warp's lanes stay together */
#define FLIP_EACH_WARP(i, n)                                                                       \
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / FLIP_WARP; i < (n);        \
         i += (int64_t)gridDim.x * blockDim.x / FLIP_WARP)
#define FLIP_LAUNCH_WARPS(kernel, n, ...)                                                          \
    FLIP_LAUNCH(kernel, flip_cuda_blocks((n), FLIP_WARPS_THREADS / FLIP_WARP), FLIP_WARPS_THREADS, \
                0, __VA_ARGS__)

/* Of lanes that stand `from`, 2 from, … apart, up to `below` lanes: every lane gets the result. */
template <typename value>
__device__ static inline value flip_lanes_sum(value x, int from = 1, int below = FLIP_WARP) {
    for (int apart = from; apart < below; apart *= 2)
        x += __shfl_xor_sync(FLIP_ALL_LANES, x, apart);
    return x;
}

template <typename value>
__device__ static inline value flip_lanes_max(value x, int from = 1, int below = FLIP_WARP) {
    for (int apart = from; apart < below; apart *= 2) {
        value other = __shfl_xor_sync(FLIP_ALL_LANES, x, apart);
        x = other > x ? other : x;
    }
    return x;
}

/* The least power of two that holds n, at most a warp. */
static inline int flip_lanes_for(int64_t n) {
    int lanes = 1;
    while (lanes < n && lanes < FLIP_WARP)
        lanes *= 2;
    return lanes;
}

/* ---- K sums of each of n columns over m rows ----
 * A block has 32 columns of `each` rows; its 8 lines of threads take every eighth row, and are
 * summed in ascending order, as then the blocks are. term(i, j, sums): row i adds to sums[K] of
 * column j. room [blocks, K, n]. */
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
