/* The emulated CUDA device: what the *.cu files use of the runtime, run by the CPU. A kernel's
 * blocks are run one after the other; the threads of a block are fibers, which take turns only
 * where they wait for each other (device_functions.h). */
#ifndef FLIPBOOK_EMULATION_CUDA_RUNTIME_H
#define FLIPBOOK_EMULATION_CUDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include <tuple>
#include <type_traits>

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
    cudaErrorIllegalState = 401,
    cudaErrorNotReady = 600,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureIsolation = 905,
    cudaErrorCapturedEvent = 907,
    cudaErrorUnknown = 999
} cudaError_t;
typedef struct flip_emulated_stream *cudaStream_t;
typedef struct flip_emulated_event *cudaEvent_t;
typedef struct flip_emulated_graph *cudaGraph_t, *cudaGraphExec_t;
typedef struct flip_emulated_node *cudaGraphNode_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
enum { cudaStreamNonBlocking = 1 };
enum { cudaEventDisableTiming = 2 };
struct cudaDeviceProp {
    char name[256];
};

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device);
cudaError_t cudaDeviceGetPCIBusId(char *out, int bytes, int device);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMallocHost(void **out, size_t bytes);
cudaError_t cudaFreeHost(void *memory);

/* Work waits in its stream until something asks for it: a copy from pinned memory reads what is
 * there then. */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = NULL);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = NULL);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream = NULL);
/* Graphs (graphs.cpp): all modes of a capture are the strictest. */
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
/* What messages call an allocation; `what` is copied. */
void flip_emulated_name(const void *memory, const char *what);
#define FLIP_NAME_MEMORY(memory, what) flip_emulated_name((memory), (what))

/* ---- launching ---- */
extern FLIP_EMULATED_HIDDEN unsigned char *flip_emulated_shared;

enum flip_emulated_argument_kind {
    FLIP_EMULATED_NUMBER,
    FLIP_EMULATED_POINTER,
    FLIP_EMULATED_STRUCT /* looked through for pointers */
};
struct flip_emulated_argument {
    flip_emulated_argument_kind kind;
    bool writes; /* through a pointer that is not to const, or some pointer of a struct */
    const void *value;
    size_t bytes;
};
typedef void (*flip_emulated_thread)(void *call);
/* `call` is copied. */
void flip_emulated_launch(cudaStream_t stream, const char *name, int64_t blocks, dim3 threads,
                          size_t shared, flip_emulated_thread thread, const void *call,
                          size_t bytes, const flip_emulated_argument *arguments, int n_arguments);

/* A kernel and its arguments, converted and copied at the launch as CUDA does. */
template <typename... parameters> struct flip_emulated_call {
    void (*kernel)(parameters...);
    std::tuple<parameters...> arguments;
    static void run(void *memory) {
        const flip_emulated_call *call = static_cast<flip_emulated_call *>(memory);
        std::apply(call->kernel, call->arguments);
    }
};

/* Padding may hold the rest of a pointer. Where the compiler cannot clear it, structs are not
 * searched for pointers to host memory. */
#ifdef __has_builtin
#if __has_builtin(__builtin_clear_padding)
#define FLIP_EMULATED_CLEAR_PADDING(memory) __builtin_clear_padding(memory)
#endif
#endif
#ifndef FLIP_EMULATED_CLEAR_PADDING
#define FLIP_EMULATED_CLEAR_PADDING(memory) ((void)(memory))
#define FLIP_EMULATED_PADDING_STAYS
#endif

template <typename type> static flip_emulated_argument flip_emulated_tell(type &value) {
    typedef std::remove_pointer_t<type> pointed;
    const bool pointer = std::is_pointer_v<type> && !std::is_function_v<pointed>;
    FLIP_EMULATED_CLEAR_PADDING(&value);
    return {pointer                 ? FLIP_EMULATED_POINTER
            : std::is_class_v<type> ? FLIP_EMULATED_STRUCT
                                    : FLIP_EMULATED_NUMBER,
            !std::is_const_v<pointed>, &value, sizeof value};
}

template <typename... parameters, typename... values>
static void flip_emulated_grid(cudaStream_t stream, const char *name, void (*kernel)(parameters...),
                               int64_t blocks, dim3 threads, size_t shared, values... arguments) {
    typedef flip_emulated_call<parameters...> call_type;
    static_assert((std::is_trivially_copyable_v<parameters> && ...), "arguments are copied");
    const call_type call = {kernel,
                            std::tuple<parameters...>(static_cast<parameters>(arguments)...)};
    std::apply(
        [&](parameters... each) {
            const flip_emulated_argument told[] = {flip_emulated_tell(each)...};
            flip_emulated_launch(stream, name, blocks, threads, shared, call_type::run, &call,
                                 sizeof call, told, (int)sizeof...(parameters));
        },
        call.arguments);
}

#define FLIP_EMULATED_WORDS(line) #line
#define FLIP_EMULATED_LINE(file, line) file ":" FLIP_EMULATED_WORDS(line)
#define FLIP_LAUNCH(kernel, blocks, threads, shared, ...)                                          \
    do {                                                                                           \
        if ((blocks) == 0) break;                                                                  \
        flip_emulated_grid(flip_cuda_stream,                                                       \
                           #kernel " (" FLIP_EMULATED_LINE(__FILE__, __LINE__) ")", kernel,        \
                           (int64_t)(blocks), (threads), (size_t)(shared), __VA_ARGS__);           \
    } while (0)
#define FLIP_SHARED(type, name) type *name = reinterpret_cast<type *>(flip_emulated_shared)

#include "device_functions.h"

#endif
