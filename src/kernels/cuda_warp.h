/* Lanes at work together, for the CUDA kernels: sums whose order is fixed. */
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

#endif
