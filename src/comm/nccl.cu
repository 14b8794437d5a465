/* NCCL between the GPUs of ranks: communicators that never block, and polling in the place of
 * waiting (NCCL user guide, "Error handling and communicator abort").
 *
 * Only ncclSend and ncclRecv are used. Sums over ranks are made of them and of the kernels' own
 * additions, in rank order, so that NCCL_ALGO and NCCL_PROTO have no say in any bit. */
#include "comm/nccl.h"

#include "kernels/cuda.h"

#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static_assert(sizeof(ncclUniqueId) == FLIP_NCCL_ID_BYTES, "an id travels as so many bytes");

/* In the order of `symbols`. */
static struct {
    ncclResult_t (*get_id)(ncclUniqueId *);
    ncclResult_t (*init)(ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
    ncclResult_t (*async_error)(ncclComm_t, ncclResult_t *);
    ncclResult_t (*finalize)(ncclComm_t);
    ncclResult_t (*destroy)(ncclComm_t);
    ncclResult_t (*abort)(ncclComm_t);
    ncclResult_t (*group_start)(void);
    ncclResult_t (*group_end)(void);
    ncclResult_t (*send)(const void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
    ncclResult_t (*receive)(void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
    const char *(*words)(ncclResult_t);
    const char *(*last_words)(ncclComm_t);
} library;
static const char *const symbols[] = {"ncclGetUniqueId",
                                      "ncclCommInitRankConfig",
                                      "ncclCommGetAsyncError",
                                      "ncclCommFinalize",
                                      "ncclCommDestroy",
                                      "ncclCommAbort",
                                      "ncclGroupStart",
                                      "ncclGroupEnd",
                                      "ncclSend",
                                      "ncclRecv",
                                      "ncclGetErrorString",
                                      "ncclGetLastError",
                                      NULL};

/* Seconds that ranks may take to come together, and to part. An exchange may take as long as the
 * other rank's work before it. */
static const double meeting = 120, parting = 5, patience = INFINITY;

struct flip_nccl {
    ncclComm_t comm; /* NULL: aborted */
    flip_nccl *next; /* of all there are */
};
static flip_nccl *communicators;
static cudaStream_t stream; /* of all exchanges: they follow each other in the order they are called
                               in, which is the same on all ranks */
static void *ready;         /* the end of what the kernels were given before an exchange */
static char failure[512];   /* the first; nothing is exchanged after it */

/* ---- results ---- */

static void rest(void) {
    const struct timespec moment = {0, 20000};
    nanosleep(&moment, NULL);
}

static void abort_all(void) {
    for (flip_nccl *n = communicators; n; n = n->next) {
        if (n->comm) library.abort(n->comm);
        n->comm = NULL;
    }
}

static void fail(ncclComm_t comm, ncclResult_t result, const char *what) {
    const char *more = comm ? library.last_words(comm) : NULL;
    if (!failure[0])
        snprintf(failure, sizeof failure, "NCCL failed while %s: %s%s%.300s", what,
                 library.words(result), more && *more ? ": " : "", more ? more : "");
    abort_all();
}

static flip_status failed(void) {
    return FLIP_FAIL(FLIP_ERROR_LIBRARY, "%s", failure);
}

/* A call of a communicator that does not block has ended when its state says so. */
static flip_status settle(ncclComm_t comm, ncclResult_t result, double seconds, const char *what) {
    const double until = flip_seconds() + seconds;
    while (result == ncclInProgress && flip_seconds() < until) {
        rest();
        const ncclResult_t asked = library.async_error(comm, &result);
        if (asked != ncclSuccess) result = asked;
    }
    if (result == ncclSuccess) return FLIP_OK;
    if (result == ncclInProgress)
        snprintf(failure, sizeof failure,
                 "NCCL did not end in %.0f seconds: %s; do all ranks reach each other?", seconds,
                 what);
    fail(comm, result, what);
    return failed();
}

/* Asked while the host waits for the device. */
static const char *watch(void) {
    for (flip_nccl *n = communicators; n && !failure[0]; n = n->next) {
        ncclResult_t state = ncclSuccess, asked = library.async_error(n->comm, &state);
        if (asked != ncclSuccess) state = asked;
        if (state != ncclSuccess && state != ncclInProgress)
            fail(n->comm, state, "ranks exchanged rows");
    }
    return failure[0] ? failure : NULL;
}

/* ---- life ---- */

/* RAS, on by default, listens on a port of this machine: not unless somebody asks for it. */
flip_status flip_nccl_open(void) {
    static const flip_cuda_file files[] = {{"libnccl.so.2", NULL}, {NULL, NULL}};
    if (stream) return FLIP_OK;
    FLIP_TRY(flip_cuda_library("NCCL", files, symbols, (void **)&library));
    setenv("NCCL_RAS_ENABLE", "0", 0);
    const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (error != cudaSuccess)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "no stream for NCCL: %s", cudaGetErrorString(error));
    return FLIP_OK;
}

flip_status flip_nccl_id(char id[FLIP_NCCL_ID_BYTES]) {
    ncclUniqueId made;
    const ncclResult_t result = library.get_id(&made);
    if (result != ncclSuccess)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "NCCL makes no id: %s", library.words(result));
    memcpy(id, &made, sizeof made);
    return FLIP_OK;
}

flip_status flip_nccl_create(flip_nccl **nccl, const char id[FLIP_NCCL_ID_BYTES], int rank,
                             int size) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId given;
    *nccl = NULL;
    if (failure[0]) return failed();
    flip_nccl *n;
    FLIP_TRY(flip_alloc_zero(&n, 1, sizeof *n, "NCCL communicator"));
    config.blocking = 0;
    memcpy(&given, id, sizeof given);
    const ncclResult_t result = library.init(&n->comm, size, given, rank, &config);
    n->next = communicators;
    communicators = n;
    *nccl = n;
    flip_cuda_watch = watch;
    return settle(n->comm, result, meeting, "ranks came together");
}

static void leave(flip_nccl *n, bool failing) {
    if (!n->comm) return;
    bool peace = !failing && !failure[0];
    if (peace)
        peace = settle(n->comm, library.finalize(n->comm), parting, "ranks parted") == FLIP_OK;
    if (!n->comm) return; /* aborted by then */
    if (peace)
        library.destroy(n->comm);
    else
        library.abort(n->comm);
}

void flip_nccl_destroy(flip_nccl **nccl, bool failing) {
    if (!*nccl) return;
    leave(*nccl, failing);
    for (flip_nccl **at = &communicators; *at; at = &(*at)->next)
        if (*at == *nccl) {
            *at = (*nccl)->next;
            break;
        }
    if (!communicators) flip_cuda_watch = NULL;
    flip_free(*nccl);
    *nccl = NULL;
}

/* ---- exchanges ---- */

static ncclResult_t enqueue(ncclComm_t comm, const flip_nccl_message *m) {
    const ncclResult_t result =
        m->sends ? library.send(m->memory, m->bytes, ncclInt8, m->peer, comm, stream)
                 : library.receive(m->memory, m->bytes, ncclInt8, m->peer, comm, stream);
    return result == ncclInProgress ? ncclSuccess : result;
}

flip_status flip_nccl_exchange(flip_nccl *nccl, const flip_nccl_message *messages, int n,
                               void **event) {
    if (watch()) return failed();
    flip_cuda_mark(&ready, flip_cuda_stream);
    FLIP_CUDA_DO(cudaStreamWaitEvent(stream, (cudaEvent_t)ready, 0));
    ncclResult_t result = library.group_start();
    for (int i = 0; i < n && result == ncclSuccess; i++)
        result = enqueue(nccl->comm, &messages[i]);
    const ncclResult_t end = library.group_end();
    if (result == ncclSuccess) result = end;
    FLIP_TRY(settle(nccl->comm, result, patience, "rows set out"));
    flip_cuda_mark(event, stream);
    return FLIP_OK;
}

flip_status flip_nccl_wait(void *event) {
    if (failure[0]) return failed();
    FLIP_CUDA_DO(cudaStreamWaitEvent(flip_cuda_stream, (cudaEvent_t)event, 0));
    return FLIP_OK;
}

void flip_nccl_drop(void **event) {
    flip_cuda_drop(event);
}
