/* What the CUDA kernels share: the stream, errors, launching. The same files are compiled by nvcc
 * and, against tests/emulation, by a C++ compiler: kernels are launched through FLIP_LAUNCH alone,
 * dynamic shared memory is named by FLIP_SHARED, and there is no inline PTX and no cooperative
 * group.
 */
#ifndef FLIPBOOK_KERNELS_CUDA_H
#define FLIPBOOK_KERNELS_CUDA_H

#include "kernels/internal.h"

#include <cuda_runtime.h>

/* All work of the table goes through this stream. */
extern cudaStream_t flip_cuda_stream;

/* The first failure stands until `wait` reports it. */
void flip_cuda_note(cudaError_t error, const char *what);
#define FLIP_CUDA_DO(call) flip_cuda_note((call), #call)

#ifndef FLIP_LAUNCH
/* kernel<<<blocks, threads, shared bytes>>>(...); nothing where there are no blocks */
#define FLIP_LAUNCH(kernel, blocks, threads, shared, ...)                                          \
    do {                                                                                           \
        if ((blocks) == 0) break;                                                                  \
        kernel<<<(unsigned)(blocks), (threads), (shared), flip_cuda_stream>>>(__VA_ARGS__);        \
        flip_cuda_note(cudaPeekAtLastError(), #kernel);                                            \
    } while (0)
/* `type *name`: the launch's dynamic shared memory */
#define FLIP_SHARED(type, name)                                                                    \
    extern __shared__ __align__(16) unsigned char flip_shared_memory_[];                           \
    type *name = reinterpret_cast<type *>(flip_shared_memory_)
#endif

/* Blocks of `each` threads for n items, one item a thread; grids beyond 2^31 - 1 are not reached:
 * kernels over many items walk on by the grid's width. */
static inline int64_t flip_cuda_blocks(int64_t n, int64_t each) {
    const int64_t most = 1 << 20;
    int64_t blocks = (n + each - 1) / each;
    return blocks < most ? blocks : most;
}

/* for (i of this thread; i < n; by the whole grid) */
#define FLIP_EACH(i, n)                                                                            \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                      \
         i += (int64_t)gridDim.x * blockDim.x)

#endif
