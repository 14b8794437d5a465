/* The emulated CUDA device: what the *.cu files use of the runtime, run by the CPU. A kernel's
 * blocks are run one after the other, and a block's threads one after the other. */
#ifndef FLIPBOOK_EMULATION_CUDA_RUNTIME_H
#define FLIPBOOK_EMULATION_CUDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static thread_local

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern thread_local uint3 threadIdx, blockIdx;
extern thread_local dim3 blockDim, gridDim;

typedef enum cudaError { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 } cudaError_t;
typedef struct flip_emulated_stream *cudaStream_t;
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
enum { cudaStreamNonBlocking = 1 };
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **out, size_t bytes);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);

/* ---- launching ---- */
typedef void (*flip_emulated_thread)(void *arguments);
void flip_emulated_launch(const char *name, unsigned blocks, unsigned threads, size_t shared,
                          flip_emulated_thread thread, void *arguments);
void *flip_emulated_shared(void);

template <typename call> static void flip_emulated_call(void *arguments) {
    (*static_cast<call *>(arguments))();
}

template <typename call>
static void flip_emulated_grid(const char *name, int64_t blocks, unsigned threads, size_t shared,
                               call &thread) {
    flip_emulated_launch(name, (unsigned)blocks, threads, shared, flip_emulated_call<call>,
                         &thread);
}

#define FLIP_LAUNCH(kernel, blocks, threads, shared, ...)                                          \
    do {                                                                                           \
        if ((blocks) == 0) break;                                                                  \
        auto flip_call_ = [=] { kernel(__VA_ARGS__); };                                            \
        flip_emulated_grid(#kernel, (blocks), (threads), (shared), flip_call_);                    \
    } while (0)
#define FLIP_SHARED(type, name) type *name = static_cast<type *>(flip_emulated_shared())

#endif
