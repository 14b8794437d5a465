/* In the place of nccl.cu in a build without it: there is nothing to be found. */
#include "comm/nccl.h"

flip_status flip_nccl_open(void) {
    return FLIP_FAIL(FLIP_ERROR_LIBRARY, "this build has no NCCL: configure with -Dcuda=enabled "
                                         "-Dnccl=enabled where nvcc and nccl.h are");
}

flip_status flip_nccl_id(char id[FLIP_NCCL_ID_BYTES]) {
    (void)id;
    return flip_nccl_open();
}

flip_status flip_nccl_create(flip_nccl **nccl, const char id[FLIP_NCCL_ID_BYTES], int rank,
                             int size) {
    (void)id;
    (void)rank;
    (void)size;
    *nccl = NULL;
    return flip_nccl_open();
}

void flip_nccl_destroy(flip_nccl **nccl, bool failing) {
    (void)failing;
    *nccl = NULL;
}

flip_status flip_nccl_exchange(flip_nccl *nccl, const flip_nccl_message *messages, int n,
                               void **event) {
    (void)nccl;
    (void)messages;
    (void)n;
    (void)event;
    return flip_nccl_open();
}

flip_status flip_nccl_wait(void *event) {
    (void)event;
    return flip_nccl_open();
}

void flip_nccl_drop(void **event) {
    (void)event;
}
