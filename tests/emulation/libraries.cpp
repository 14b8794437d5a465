/* CUDA's libraries in the emulated device: functions that are linked, found by their names. */
#include "kernels/internal.h"

#include "cublas_v2.h"
#include "nccl.h"

#include <string.h>

static const struct {
    const char *name;
    void *function;
} functions_here[] = {
    {"cublasCreate_v2", (void *)cublasCreate},
    {"cublasSetStream_v2", (void *)cublasSetStream},
    {"cublasSetWorkspace_v2", (void *)cublasSetWorkspace},
    {"cublasGemmEx", (void *)cublasGemmEx},
    {"cublasGemmStridedBatchedEx", (void *)cublasGemmStridedBatchedEx},
    {"ncclGetUniqueId", (void *)ncclGetUniqueId},
    {"ncclCommInitRankConfig", (void *)ncclCommInitRankConfig},
    {"ncclCommGetAsyncError", (void *)ncclCommGetAsyncError},
    {"ncclCommFinalize", (void *)ncclCommFinalize},
    {"ncclCommDestroy", (void *)ncclCommDestroy},
    {"ncclCommAbort", (void *)ncclCommAbort},
    {"ncclGroupStart", (void *)ncclGroupStart},
    {"ncclGroupEnd", (void *)ncclGroupEnd},
    {"ncclSend", (void *)ncclSend},
    {"ncclRecv", (void *)ncclRecv},
    {"ncclGetErrorString", (void *)ncclGetErrorString},
    {"ncclGetLastError", (void *)ncclGetLastError},
};

flip_status flip_cuda_library(const char *name, const flip_cuda_file *, const char *const *symbols,
                              void **functions) {
    for (; *symbols; symbols++, functions++) {
        *functions = nullptr;
        for (const auto &here : functions_here)
            if (strcmp(here.name, *symbols) == 0) *functions = here.function;
        if (!*functions)
            return FLIP_FAIL(FLIP_ERROR_LIBRARY, "the emulated %s has no %s", name, *symbols);
    }
    return FLIP_OK;
}
