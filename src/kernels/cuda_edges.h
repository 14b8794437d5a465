/* Entries of a sparse matrix, for the CUDA kernels that walk along rows. */
#ifndef FLIPBOOK_KERNELS_CUDA_EDGES_H
#define FLIPBOOK_KERNELS_CUDA_EDGES_H

#include "kernels/cuda_warp.h"

/* The row of x of entry e's column. */
__device__ static inline const flip_real *flip_entry_row(const flip_csr &a, int64_t e,
                                                         int64_t width, const flip_real *x_own,
                                                         const flip_real *x_halo) {
    const int32_t col = a.col[e];
    return col < a.n_own ? x_own + col * width : x_halo + (int64_t)(col - a.n_own) * width;
}

/* Does entry e live at step t? */
__device__ static inline bool flip_lives(const flip_csr &a, int64_t e, int32_t t) {
    if (!a.run_ptr) return true;
    for (int64_t r = a.run_ptr[e]; r < a.run_ptr[e + 1]; r++) {
        const int32_t since = t - a.run_first[r];
        if (since >= 0 && since < (int32_t)(a.value_ptr[r + 1] - a.value_ptr[r])) return true;
    }
    return false;
}

#endif
