/* Marks an inline function that the CPU and a device's kernels share: one definition, the same
 * bits. */
#ifndef FLIPBOOK_BASE_EITHER_H
#define FLIPBOOK_BASE_EITHER_H

#ifdef __CUDACC__
#define FLIP_EITHER __host__ __device__ static inline
#else
#define FLIP_EITHER static inline
#endif

#endif
