/* Sums of all before, for the CUDA kernels: x[i] becomes x[0] + … + x[i-1], x[n] the sum of all. */
#ifndef FLIPBOOK_KERNELS_CUDA_SCAN_H
#define FLIPBOOK_KERNELS_CUDA_SCAN_H

#include "kernels/cuda.h"

/* FLIP_SCAN: numbers that a block sums up. */
enum {
    FLIP_SCAN_THREADS = 256,
    FLIP_SCAN_EACH = 8,
    FLIP_SCAN = FLIP_SCAN_THREADS * FLIP_SCAN_EACH
};

/* Inclusive, over a block's threads. */
__device__ static int32_t flip_sum_up(int32_t mine) {
    __shared__ int32_t sums[FLIP_SCAN_THREADS];
    const int me = (int)threadIdx.x;
    sums[me] = mine;
    __syncthreads();
    for (int apart = 1; apart < FLIP_SCAN_THREADS; apart *= 2) {
        const int32_t other = me >= apart ? sums[me - apart] : 0;
        __syncthreads();
        sums[me] += other;
        __syncthreads();
    }
    const int32_t sum = sums[me];
    __syncthreads();
    return sum;
}

__global__ static void flip_tile_sums_kernel(int64_t n, const int32_t *x, int32_t *sums) {
    const int64_t first = (int64_t)blockIdx.x * FLIP_SCAN + (int64_t)threadIdx.x * FLIP_SCAN_EACH;
    int32_t sum = 0;
    for (int i = 0; i < FLIP_SCAN_EACH; i++)
        if (first + i < n) sum += x[first + i];
    sum = flip_sum_up(sum);
    if (threadIdx.x == FLIP_SCAN_THREADS - 1) sums[blockIdx.x] = sum;
}

/* One block: the tiles' sums. */
__global__ static void flip_tiles_before_kernel(int64_t n, int32_t *sums) {
    int32_t before = 0;
    __shared__ int32_t all;
    for (int64_t at = 0; at < n; at += FLIP_SCAN_THREADS) {
        const int64_t i = at + threadIdx.x;
        const int32_t mine = i < n ? sums[i] : 0, sum = flip_sum_up(mine);
        if (i < n) sums[i] = before + sum - mine;
        if (threadIdx.x == FLIP_SCAN_THREADS - 1) all = sum;
        __syncthreads();
        before += all;
        __syncthreads();
    }
}

__global__ static void flip_sums_before_kernel(int64_t n, int32_t *x, const int32_t *sums) {
    const int64_t first = (int64_t)blockIdx.x * FLIP_SCAN + (int64_t)threadIdx.x * FLIP_SCAN_EACH;
    int32_t mine[FLIP_SCAN_EACH], sum = 0;
    for (int i = 0; i < FLIP_SCAN_EACH; i++) {
        mine[i] = first + i < n ? x[first + i] : 0;
        sum += mine[i];
    }
    int32_t at = sums[blockIdx.x] + flip_sum_up(sum) - sum;
    for (int i = 0; i < FLIP_SCAN_EACH; i++) {
        if (first + i <= n) x[first + i] = at;
        at += mine[i];
    }
}

static inline int64_t flip_tiles_of(int64_t n, int64_t tile) {
    return (n + tile - 1) / tile;
}

/* x has room for n + 1, sums for one a tile of them. */
static void flip_sum_all_before(int64_t n, int32_t *x, int32_t *sums) {
    const int64_t tiles = flip_tiles_of(n + 1, FLIP_SCAN);
    FLIP_LAUNCH(flip_tile_sums_kernel, tiles, FLIP_SCAN_THREADS, 0, n, x, sums);
    FLIP_LAUNCH(flip_tiles_before_kernel, 1, FLIP_SCAN_THREADS, 0, tiles, sums);
    FLIP_LAUNCH(flip_sums_before_kernel, tiles, FLIP_SCAN_THREADS, 0, n, x, sums);
}

/* The caller's work, dealt out. */
template <typename type> static type *flip_deal(char **work, int64_t n) {
    type *memory = reinterpret_cast<type *>(*work);
    *work += ((size_t)n * sizeof(type) + 15) / 16 * 16;
    return memory;
}

#endif
