/* Sorted keys, and the bits of values that may be absent, for the CUDA kernels. */
#ifndef FLIPBOOK_KERNELS_CUDA_KEYS_H
#define FLIPBOOK_KERNELS_CUDA_KEYS_H

#include "kernels/cuda.h"

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

#endif
