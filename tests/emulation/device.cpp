/* The emulated device: memory of the process, threads one after the other. */
#include "emulation.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
    strcpy(properties->name, "emulated device");
    return cudaSuccess;
}

/* Every process has a device of its own. */
cudaError_t cudaDeviceGetPCIBusId(char *address, int size, int) {
    snprintf(address, (size_t)size, "process %d", (int)getpid());
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void) {
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "no error";
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = nullptr;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *free_bytes = *total = (size_t)4 << 30;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
    return posix_memalign(out, 256, bytes) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void *memory) {
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **out, size_t bytes) {
    return cudaMalloc(out, bytes);
}

cudaError_t cudaFreeHost(void *memory) {
    return cudaFree(memory);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t) {
    memset(to, value, bytes);
    return cudaSuccess;
}

void flip_emulated_fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("emulated device: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    abort();
}

void flip_emulated_launch(const char *name, int64_t blocks, dim3 threads, size_t shared,
                          flip_emulated_thread thread, const void *arguments, size_t) {
    flip_emulated_kernel kernel = {name,   (unsigned)blocks, threads,
                                   shared, thread,           const_cast<void *>(arguments)};
    flip_emulated_run(&kernel, FLIP_EMULATED_FORWARD);
}
