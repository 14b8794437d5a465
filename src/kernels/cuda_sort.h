/* Sorting, for the CUDA kernels: CUB's radix sort, in its scratch memory. */
#ifndef FLIPBOOK_KERNELS_CUDA_SORT_H
#define FLIPBOOK_KERNELS_CUDA_SORT_H

#include "kernels/cuda.h"

#include <cub/device/device_radix_sort.cuh>

/* key[0] and index[0] [n] by the keys' lower bits, equal ones as they stand; key[1] and index[1]
 * [n] are room. */
static void flip_sort_pairs(int64_t n, int bits, uint64_t *const key[2], int32_t *const index[2]) {
    cub::DoubleBuffer<uint64_t> keys(key[0], key[1]);
    cub::DoubleBuffer<int32_t> indices(index[0], index[1]);
    size_t bytes = 0;
    if (n == 0 || bits == 0) return; /* as they stand */
    FLIP_CUDA_DO(cub::DeviceRadixSort::SortPairs(nullptr, bytes, keys, indices, n, 0, bits,
                                                 flip_cuda_stream));
    void *scratch = flip_cuda_scratch(bytes);
    if (!scratch) return; /* noted */
    FLIP_CUDA_DO(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, indices, n, 0, bits,
                                                 flip_cuda_stream));
    if (keys.Current() == key[0]) return;
    FLIP_CUDA_DO(cudaMemcpyAsync(key[0], key[1], (size_t)n * sizeof **key, cudaMemcpyDeviceToDevice,
                                 flip_cuda_stream));
    FLIP_CUDA_DO(cudaMemcpyAsync(index[0], index[1], (size_t)n * sizeof **index,
                                 cudaMemcpyDeviceToDevice, flip_cuda_stream));
}

#endif
