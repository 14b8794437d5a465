/* Inside the comm stage: NCCL, which moves bytes between the memories of the ranks' GPUs. Its
 * library is found at run time, as cuBLAS is (kernels/cuda_libraries.c); builds without CUDA, or
 * with -Dnccl=disabled, have nccl_none.c in the place of nccl.cu.
 *
 * Exchanges run in a stream of their own: one begins after all that the kernels were given before
 * it, and what they are given after flip_nccl_wait comes after it. The host waits for none of this.
 * Where it waits for the device, it asks NCCL meanwhile whether another rank was lost, and then
 * aborts NCCL's communicators, which ends what can never end by itself. */
#ifndef FLIPBOOK_COMM_NCCL_H
#define FLIPBOOK_COMM_NCCL_H

#include <flipbook/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flip_nccl flip_nccl;
enum { FLIP_NCCL_ID_BYTES = 128 };

/* Finds the library. FLIP_ERROR_LIBRARY, in one sentence, where it is not to be had. Local. */
flip_status flip_nccl_open(void);
/* What one rank makes and all give to flip_nccl_create. */
flip_status flip_nccl_id(char id[FLIP_NCCL_ID_BYTES]);
/* Collective over the `size` ranks; the device is the one that the kernels were opened on. */
flip_status flip_nccl_create(flip_nccl **nccl, const char id[FLIP_NCCL_ID_BYTES], int rank,
                             int size);
/* In peace with the other ranks, or, `failing`, at once. */
void flip_nccl_destroy(flip_nccl **nccl, bool failing);

typedef struct flip_nccl_message {
    void *memory; /* the device's; only read where it is sent */
    size_t bytes;
    int peer;
    bool sends;
} flip_nccl_message;

/* All of them set out together; *event (NULL at first; flip_nccl_drop) then stands for their end.
 */
flip_status flip_nccl_exchange(flip_nccl *nccl, const flip_nccl_message *messages, int n,
                               void **event);
flip_status flip_nccl_wait(void *event); /* the kernels', not the host's */
void flip_nccl_drop(void **event);

#ifdef __cplusplus
}
#endif
#endif
