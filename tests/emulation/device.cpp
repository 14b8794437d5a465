/* The emulated device itself: what it is, what it was told, how it ends a run. */
#include "emulation.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "(folder/file.cu:12)" becomes "(file.cu:12)". */
static void drop_folders(char *line) {
    for (char *open = line; (open = strchr(open, '(')); open++) {
        char *end = open + strcspn(open, ": )"), *slash = end;
        while (slash > open && *slash != '/')
            slash--;
        if (slash > open) memmove(open + 1, slash + 1, strlen(slash + 1) + 1);
    }
}

void flip_emulated_fail(const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    drop_folders(line);
    fprintf(stderr, "emulated device: %s\n", line);
    abort();
}

/* FLIP_EMULATION=bytes=N,eager,aware,orders=0|1|2,nccl=R:N,tell */
static flip_emulated_options read_options(void) {
    flip_emulated_options o = {(size_t)4 << 30, false, false, 1, -1, -1, false};
    const char *given = getenv("FLIP_EMULATION");
    char words[256];
    snprintf(words, sizeof words, "%s", given ? given : "");
    char *rest = words;
    for (char *word; (word = strsep(&rest, ","));) {
        if (strncmp(word, "bytes=", 6) == 0)
            o.bytes = strtoull(word + 6, NULL, 10);
        else if (strncmp(word, "orders=", 7) == 0)
            o.orders = atoi(word + 7);
        else if (sscanf(word, "nccl=%d:%d", &o.nccl_rank, &o.nccl_group) == 2)
            continue;
        else if (strcmp(word, "eager") == 0)
            o.eager = true;
        else if (strcmp(word, "aware") == 0)
            o.aware = true;
        else if (strcmp(word, "tell") == 0)
            o.tell = true;
        else if (*word)
            flip_emulated_fail(
                "FLIP_EMULATION knows no '%s': bytes=N, eager, aware, orders=0|1|2, nccl=R:N, tell",
                word);
    }
    return o;
}

const flip_emulated_options *flip_emulated_options_get(void) {
    static const flip_emulated_options options = read_options();
    return &options;
}

cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int) {
    snprintf(out->name, sizeof out->name, "emulated device");
    return cudaSuccess;
}

/* Every process has a device of its own. */
cudaError_t cudaDeviceGetPCIBusId(char *out, int bytes, int) {
    snprintf(out, (size_t)bytes, "process %d", (int)getpid());
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void) {
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory"
           : error == cudaErrorInvalidValue   ? "invalid argument"
           : error == cudaErrorNotReady       ? "not ready"
           : error >= cudaErrorStreamCaptureUnsupported && error <= cudaErrorCapturedEvent
               ? "not permitted in a capture"
               : "no error";
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    flip_emulated_device_memory(free_bytes, total);
    return cudaSuccess;
}
