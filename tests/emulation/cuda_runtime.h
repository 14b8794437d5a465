/* The emulated CUDA device: what the *.cu files use of the runtime, run by the CPU. A kernel's
 * blocks are run one after the other; the threads of a block are fibers, which take turns only
 * where they wait for each other (device_functions.h). */
#ifndef FLIPBOOK_EMULATION_CUDA_RUNTIME_H
#define FLIPBOOK_EMULATION_CUDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include <tuple>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
/* One section holds them all, so that a block finds none of the values of the one before. */
#define __shared__ static __attribute__((section("flip_shared"), aligned(16)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
#define FLIP_EMULATED_HIDDEN __attribute__((visibility("hidden")))
extern FLIP_EMULATED_HIDDEN uint3 threadIdx, blockIdx;
extern FLIP_EMULATED_HIDDEN dim3 blockDim, gridDim;

/* ---- the runtime ---- */
typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNotReady = 600,
    cudaErrorUnknown = 999
} cudaError_t;
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
typedef struct flip_emulated_stream *cudaStream_t;
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaStreamNonBlocking = 1 };
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
struct cudaDeviceProp {
    char name[256];
};
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char *address, int size, int device);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorString(cudaError_t error);
template <typename kernel_type>
static inline cudaError_t cudaFuncSetAttribute(kernel_type *, cudaFuncAttribute, int) {
    return cudaSuccess;
}
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
/* `arguments` are copied. */
void flip_emulated_launch(const char *name, int64_t blocks, dim3 threads, size_t shared,
                          flip_emulated_thread thread, const void *arguments, size_t bytes);
extern FLIP_EMULATED_HIDDEN unsigned char *flip_emulated_shared;

/* A kernel and its arguments, converted and copied at the launch as CUDA does. */
template <typename... parameters> struct flip_emulated_call {
    void (*kernel)(parameters...);
    std::tuple<parameters...> arguments;
    static void run(void *memory) {
        const flip_emulated_call *call = static_cast<flip_emulated_call *>(memory);
        std::apply(call->kernel, call->arguments);
    }
};

template <typename... parameters, typename... values>
static void flip_emulated_grid(const char *name, void (*kernel)(parameters...), int64_t blocks,
                               dim3 threads, size_t shared, values... arguments) {
    typedef flip_emulated_call<parameters...> call_type;
    call_type call = {kernel, std::tuple<parameters...>(static_cast<parameters>(arguments)...)};
    flip_emulated_launch(name, blocks, threads, shared, call_type::run, &call, sizeof call);
}

#define FLIP_EMULATED_WORDS(line) #line
#define FLIP_EMULATED_LINE(file, line) file ":" FLIP_EMULATED_WORDS(line)
#define FLIP_LAUNCH(kernel, blocks, threads, shared, ...)                                          \
    do {                                                                                           \
        if ((blocks) == 0) break;                                                                  \
        flip_emulated_grid(#kernel " (" FLIP_EMULATED_LINE(__FILE__, __LINE__) ")", kernel,        \
                           (int64_t)(blocks), (threads), (size_t)(shared), __VA_ARGS__);           \
    } while (0)
#define FLIP_SHARED(type, name) type *name = reinterpret_cast<type *>(flip_emulated_shared)

#include "device_functions.h"

#endif
