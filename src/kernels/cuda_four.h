/* Values read and written several at once. Rows taken four columns at a time: 16 bytes a thread
 * where they are aligned, and one division in 32 bits for four elements, so that memory sets the
 * pace. Launches take so many rows that their items are counted in 32 bits. */
#ifndef FLIPBOOK_KERNELS_CUDA_FOUR_H
#define FLIPBOOK_KERNELS_CUDA_FOUR_H

#include "kernels/cuda.h"

enum { FLIP_FOUR = 4 };

/* V values; their address is a multiple of their size. */
template <int V> struct alignas(V * sizeof(flip_real)) flip_pack { flip_real v[V]; };
typedef flip_pack<FLIP_FOUR> flip_four;

/* Columns from `from` on, `left` of them there; `whole`: four, aligned. */
__device__ static inline flip_four flip_load_four(const flip_real *from, int64_t left, bool whole) {
    if (whole) return *reinterpret_cast<const flip_four *>(from);
    flip_four x = {};
    for (int b = 0; b < FLIP_FOUR; b++)
        if (b < left) x.v[b] = from[b];
    return x;
}

__device__ static inline void flip_store_four(flip_real *to, flip_four x, int64_t left,
                                              bool whole) {
    if (whole) {
        *reinterpret_cast<flip_four *>(to) = x;
        return;
    }
    for (int b = 0; b < FLIP_FOUR; b++)
        if (b < left) to[b] = x.v[b];
}

/* Do rows of n columns, ld apart, consist of whole fours that are aligned? */
static inline bool flip_fours_whole(int64_t n, int64_t ld, const void *block) {
    return n % FLIP_FOUR == 0 && ld % FLIP_FOUR == 0 && (uintptr_t)block % alignof(flip_four) == 0;
}

/* Rows a launch when a row is `quads` items. */
static inline int64_t flip_fours_rows(int64_t quads) {
    return ((int64_t)1 << 30) / (quads + 1) + 1;
}

/* for (item of this thread; item < n; by the whole grid), 32 bits: n < 2^31, grids < 2^28 */
#define FLIP_EACH_ITEM(item, n)                                                                    \
    for (unsigned item = blockIdx.x * blockDim.x + threadIdx.x; item < (n);                        \
         item += gridDim.x * blockDim.x)

#endif
