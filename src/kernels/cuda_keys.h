/* Sorted keys, and the bits of values that may be absent, for the CUDA kernels. */
#ifndef FLIPBOOK_KERNELS_CUDA_KEYS_H
#define FLIPBOOK_KERNELS_CUDA_KEYS_H

#include "kernels/cuda_scan.h"

#include <type_traits>

using flip_pattern = std::conditional<sizeof(flip_real) == 4, uint32_t, uint64_t>::type;

__device__ static inline flip_pattern flip_bits_of(flip_real x) {
    flip_pattern bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline flip_pattern flip_absent_bits() {
    const flip_real x = flip_absent();
    flip_pattern bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

__device__ static inline flip_real flip_real_of(flip_pattern bits) {
    flip_real x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* First of list[low … high-1] whose upper bits are not below key (or, above: that is above it). */
__device__ static inline int64_t flip_find_key(const uint64_t *list, int64_t low, int64_t high,
                                               uint64_t key, int shift, bool above) {
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        const uint64_t x = list[mid] >> shift;
        if (x < key || (above && x == key))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ptr[v]: how many entries stand before the first key of row v or behind it; numbered by `entries`,
 * or, NULL, as the keys are. A block's rows search between its first and its last. */
__global__ static void flip_find_rows_kernel(int64_t n, const uint64_t *key, int row_shift,
                                             const int32_t *entries, int32_t n_rows, int64_t *ptr) {
    __shared__ int64_t bound[2];
    const int64_t first = (int64_t)blockIdx.x * FLIP_SCAN_THREADS,
                  last =
                      first + FLIP_SCAN_THREADS <= n_rows ? first + FLIP_SCAN_THREADS - 1 : n_rows;
    if (threadIdx.x < 2)
        bound[threadIdx.x] =
            flip_find_key(key, 0, n, (uint64_t)(threadIdx.x ? last : first), row_shift, false);
    __syncthreads();
    const int64_t v = first + threadIdx.x;
    if (v > last) return;
    const int64_t i = flip_find_key(key, bound[0], bound[1], (uint64_t)v, row_shift, false);
    ptr[v] = entries ? (int64_t)entries[i] : i;
}

/* ptr [n_rows + 1] of n ascending keys, whose rows are the bits from row_shift on. */
static void flip_find_rows(int64_t n, const uint64_t *key, int row_shift, const int32_t *entries,
                           int32_t n_rows, int64_t *ptr) {
    FLIP_LAUNCH(flip_find_rows_kernel, flip_tiles_of((int64_t)n_rows + 1, FLIP_SCAN_THREADS),
                FLIP_SCAN_THREADS, 0, n, key, row_shift, entries, n_rows, ptr);
}

#endif
