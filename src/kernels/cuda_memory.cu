/* The CUDA device of this process: its stream, its memory, its errors. */
#include "kernels/cuda.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

cudaStream_t flip_cuda_stream;
const char *(*flip_cuda_watch)(void);
uint64_t flip_cuda_waits, flip_cuda_sent, flip_cuda_received, flip_cuda_given_back;
static cudaError_t first_error = cudaSuccess;
static const char *first_what = "";

void flip_cuda_note(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    (void)cudaGetLastError(); /* told here: it is not the next launch's */
    if (flip_cuda_spoil() || first_error != cudaSuccess) return;
    first_error = error;
    first_what = what;
}

void flip_cuda_mark(void **event, cudaStream_t stream) {
    if (flip_cuda_spoil()) return;
    if (!*event)
        FLIP_CUDA_DO(cudaEventCreateWithFlags((cudaEvent_t *)event, cudaEventDisableTiming));
    FLIP_CUDA_DO(cudaEventRecord((cudaEvent_t)*event, stream));
}

void flip_cuda_drop(void **event) {
    if (*event) FLIP_CUDA_DO(cudaEventDestroy((cudaEvent_t)*event));
    *event = NULL;
}

void flip_cuda_wait_event(void *event) {
    cudaError_t error;
    while ((error = cudaEventQuery((cudaEvent_t)event)) == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* not a failure */
        if (flip_cuda_watch && flip_cuda_watch()) return;
        sched_yield();
    }
    flip_cuda_note(error, "waiting for a copy");
}

/* The host waits for the stream, alone or with somebody who watches: see cuda.h. Calls of CUDA that
 * wait by themselves do so after it. */
static void finish_stream(void) {
    cudaError_t error = cudaErrorNotReady;
    while (flip_cuda_watch && (error = cudaStreamQuery(flip_cuda_stream)) == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* not a failure */
        if (flip_cuda_watch()) break;
        sched_yield();
    }
    if (error == cudaErrorNotReady) error = cudaStreamSynchronize(flip_cuda_stream);
    flip_cuda_note(error, "waiting for its work");
}

static void watch_stream(void) {
    if (flip_cuda_watch) finish_stream();
}

int flip_cuda_devices(void) {
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

/* "NVIDIA H100, 0000:01:00.0" */
static cudaError_t describe(int device, char *name, size_t size) {
    cudaDeviceProp properties;
    char address[32] = "";
    cudaError_t error = cudaGetDeviceProperties(&properties, device);
    if (error == cudaSuccess) error = cudaDeviceGetPCIBusId(address, sizeof address, device);
    if (error == cudaSuccess) snprintf(name, size, "%.60s, %s", properties.name, address);
    return error;
}

flip_status flip_cuda_open(int device, char *name, size_t size) {
    int n = flip_cuda_devices();
    if (device < 0 || device >= n)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "CUDA device %d was asked for; this process sees %d",
                         device, n);
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = describe(device, name, size);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&flip_cuda_stream, cudaStreamNonBlocking);
    if (error != cudaSuccess)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "CUDA device %d cannot be used: %s", device,
                         cudaGetErrorString(error));
    return FLIP_OK;
}

/* ---- what is taken: the runtime tells no sizes when memory is given back ---- */

typedef struct taken {
    void *memory;
    size_t bytes;
} taken;

static taken *all_taken;
static size_t n_taken, room_taken, now_taken, most_taken;

/* cudaMalloc, counted. */
static cudaError_t take_bytes(void **out, size_t bytes, const char *what) {
    *out = NULL;
    if (flip_cuda_spoil()) return cudaErrorMemoryAllocation;
    if (n_taken == room_taken) {
        const size_t more = room_taken ? 2 * room_taken : 64;
        taken *wider = (taken *)realloc(all_taken, more * sizeof *wider);
        if (!wider) return cudaErrorMemoryAllocation;
        all_taken = wider;
        room_taken = more;
    }
    const cudaError_t error = cudaMalloc(out, bytes ? bytes : 1);
    if (error != cudaSuccess) {
        *out = NULL;
        return error;
    }
    FLIP_NAME_MEMORY(*out, what);
    all_taken[n_taken++] = taken{*out, bytes};
    now_taken += bytes;
    if (now_taken > most_taken) most_taken = now_taken;
    return cudaSuccess;
}

/* cudaFree waits for the kernels that still read it. While a pass is recorded nothing can be given
 * back: it stays taken. */
static void give_back(void *memory) {
    if (!memory || flip_cuda_spoil()) return;
    for (size_t i = 0; i < n_taken; i++)
        if (all_taken[i].memory == memory) {
            now_taken -= all_taken[i].bytes;
            all_taken[i] = all_taken[--n_taken];
            break;
        }
    flip_cuda_waits++;
    flip_cuda_given_back++;
    watch_stream();
    FLIP_CUDA_DO(cudaFree(memory));
}

static size_t peak(void) {
    return most_taken;
}

void *flip_cuda_reserve(flip_cuda_room *room, size_t bytes, const char *what) {
    if (bytes <= room->bytes) return room->memory;
    give_back(room->memory);
    *room = flip_cuda_room{NULL, 0};
    const cudaError_t error = take_bytes(&room->memory, bytes, what);
    if (error == cudaSuccess) room->bytes = bytes;
    flip_cuda_note(error, what);
    return room->memory;
}

void *flip_cuda_scratch(size_t bytes) {
    static flip_cuda_room scratch;
    const size_t least = FLIP_CUDA_SCRATCH;
    return flip_cuda_reserve(&scratch, bytes < least ? least : bytes, "taking scratch memory");
}

static size_t available(void) {
    size_t free_bytes = 0, total = 0;
    FLIP_CUDA_DO(cudaMemGetInfo(&free_bytes, &total));
    return free_bytes;
}

static flip_status take(void *out_pointer, size_t bytes, const char *what) {
    if (take_bytes((void **)out_pointer, bytes, what) == cudaSuccess) return FLIP_OK;
    (void)cudaGetLastError(); /* told here: it is not the next launch's */
    return FLIP_FAIL(FLIP_ERROR_MEMORY, "%s: %.1f MB do not fit the GPU, which has %.1f MB free",
                     what, (double)bytes / 1e6, (double)available() / 1e6);
}

static flip_status take_pinned(void *out_pointer, size_t bytes, const char *what) {
    void **out = (void **)out_pointer;
    *out = NULL;
    cudaError_t error = cudaErrorMemoryAllocation;
    if (!flip_cuda_spoil()) error = cudaMallocHost(out, bytes ? bytes : 1);
    if (error == cudaSuccess) {
        FLIP_NAME_MEMORY(*out, what);
        return FLIP_OK;
    }
    (void)cudaGetLastError();
    return FLIP_FAIL(FLIP_ERROR_MEMORY, "%s: %.1f MB of pinned memory: %s", what,
                     (double)bytes / 1e6, cudaGetErrorString(error));
}

static void give_back_pinned(void *memory) {
    if (!memory || flip_cuda_spoil()) return;
    flip_cuda_waits++;
    flip_cuda_given_back++;
    watch_stream();
    FLIP_CUDA_DO(cudaFreeHost(memory));
}

/* From pageable memory the copy is staged before the call returns (CUDA Runtime API, "API
 * synchronization behavior"). */
static void send(void *to, const void *host, size_t bytes) {
    if (bytes == 0 || flip_cuda_spoil()) return;
    FLIP_CUDA_DO(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, flip_cuda_stream));
    flip_cuda_sent += bytes;
}

static void receive(void *host, const void *from, size_t bytes) {
    if (flip_cuda_spoil()) {
        memset(host, 0, bytes); /* who goes on with it is called again */
        return;
    }
    flip_cuda_waits++;
    flip_cuda_received += bytes;
    watch_stream();
    if (bytes > 0)
        FLIP_CUDA_DO(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, flip_cuda_stream));
    finish_stream();
}

static void copy(void *to, const void *from, size_t bytes) {
    if (bytes > 0)
        FLIP_CUDA_DO(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, flip_cuda_stream));
}

static void clear(void *to, size_t bytes) {
    if (bytes > 0) FLIP_CUDA_DO(cudaMemsetAsync(to, 0, bytes, flip_cuda_stream));
}

static flip_status wait_for_all(void) {
    if (flip_cuda_spoil()) return FLIP_OK;
    flip_cuda_waits++;
    finish_stream();
    const char *watched = flip_cuda_watch ? flip_cuda_watch() : NULL;
    if (watched) return FLIP_FAIL(FLIP_ERROR_LIBRARY, "%s", watched);
    if (first_error == cudaSuccess) return FLIP_OK;
    flip_status status = FLIP_FAIL(FLIP_ERROR_LIBRARY, "the GPU failed at %s: %s", first_what,
                                   cudaGetErrorString(first_error));
    first_error = cudaSuccess;
    return status;
}

void flip_use_cuda_memory(flip_kernels *table) {
    table->take = take;
    table->give_back = give_back;
    table->take_pinned = take_pinned;
    table->give_back_pinned = give_back_pinned;
    table->available = available;
    table->peak = peak;
    table->send = send;
    table->receive = receive;
    table->copy = copy;
    table->clear = clear;
    table->wait = wait_for_all;
}
