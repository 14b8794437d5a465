/* Inside the comm stage: the communicator's insides, and how messages travel. */
#ifndef FLIPBOOK_COMM_INTERNAL_H
#define FLIPBOOK_COMM_INTERNAL_H

#include "comm/nccl.h"

#include <flipbook/comm.h>
#include <flipbook/kernels.h>

/* How messages travel (transport.c): between buffers of the host by MPI, cut into chunks, or
 * between the memories of GPUs, by NCCL or by an MPI that takes them. Buffers stay untouched
 * between send/receive and wait; those of a device, by the kernels called between set_out and wait.
 */

/* Requests of the exchange in flight; one for each plan. */
typedef struct flip_mpi_requests {
    flip_comm *comm; /* borrowed */
    MPI_Request *request;
    int n, capacity;
} flip_mpi_requests;

flip_status flip_mpi_requests_begin(flip_mpi_requests *requests, int n_messages);
flip_status flip_mpi_requests_send(flip_mpi_requests *requests, const void *data, size_t bytes,
                                   int peer, int tag);
flip_status flip_mpi_requests_receive(flip_mpi_requests *requests, void *data, size_t bytes,
                                      int peer, int tag);
/* For all sent and received since begin. */
flip_status flip_mpi_requests_wait(flip_mpi_requests *requests);
flip_status flip_mpi_requests_progress(flip_mpi_requests *requests);
void flip_mpi_requests_finish(flip_mpi_requests *requests);

/* The same between GPUs; they set out together. Messages between two ranks meet in the order they
 * are posted: there are no tags. */
typedef struct flip_direct_requests {
    flip_comm *comm; /* borrowed */
    flip_nccl_message *message;
    int n, capacity; /* that have not set out */
    bool out;        /* some have: */
    void *event;     /* NCCL's: their end */
    flip_mpi_requests mpi;
} flip_direct_requests;

flip_status flip_direct_requests_send(flip_direct_requests *requests, const void *data,
                                      size_t bytes, int peer);
flip_status flip_direct_requests_receive(flip_direct_requests *requests, void *data, size_t bytes,
                                         int peer);
flip_status flip_direct_requests_set_out(flip_direct_requests *requests);
/* For NCCL the kernels wait, not the host; for MPI the host. */
flip_status flip_direct_requests_wait(flip_direct_requests *requests);
void flip_direct_requests_finish(flip_direct_requests *requests);

/* May messages be a device's memory? FLIP_ERROR_LIBRARY, with words, unless this MPI itself says so
 * (aware.c). Local. */
flip_status flip_mpi_takes_devices(MPI_Comm comm);

/* Tags: of all-to-all, of messages (callers choose), of plans, of what lies on devices; MPI
 * promises at least 32767. */
enum { TAG_ALL_TO_ALL = 1, FLIP_TAG_FIRST = 16, FLIP_TAG_LAST = 32000, TAG_DIRECT };

/* What travels in few bits (wire.c): the setting, and the messages since it was made. */
typedef struct flip_wire_state {
    flip_wire wire;
    uint64_t seed, messages;
    int64_t epoch;
    bool paused;
} flip_wire_state;
static inline flip_wire flip_wire_now(const flip_wire_state *s) {
    return s->paused ? FLIP_WIRE_EXACT : s->wire;
}
/* Bytes of a message of so many numbers. */
size_t flip_wire_bytes(flip_wire wire, size_t values);
/* Not for EXACT. In the memory of the communicator's kernels; a device's codes on whole words. */
flip_status flip_wire_encode(flip_comm *comm, flip_wire wire, uint8_t *out, const flip_real *x,
                             size_t values);
flip_status flip_wire_decode(const flip_comm *comm, flip_wire wire, flip_real *x, const uint8_t *in,
                             size_t values);

struct flip_comm {
    MPI_Comm mpi; /* owned duplicate */
    int rank, size, node_rank, node_size;
    size_t chunk;            /* most bytes of one message, equal on all ranks */
    int next_tag;            /* tags of plans, equal on all ranks */
    int outer_rank;          /* in the communicator this one was split from: for messages */
    flip_meter *meter;       /* own_meter, or that of the communicator this one was split from */
    flip_meter *split_meter; /* what it counted in first */
    flip_meter own_meter;
    flip_wire_state *wire; /* own_wire, or that of the communicator this one was split from */
    flip_wire_state own_wire;
    flip_direct direct;          /* who moves rows between devices */
    const flip_kernels *kernels; /* those of the device; NULL: rows lie with the host */
    flip_nccl *nccl;             /* or NULL */
    bool nccl_shared;            /* it is that of another communicator of the same ranks */
    flip_direct_requests sums;   /* what sums over its ranks send … */
    void *room;                  /* … and the device's memory for them */
    size_t room_bytes;
};

/* Gives up NCCL, and what the device has of this communicator. */
void flip_comm_detach(flip_comm *comm);

flip_status flip_mpi_check(int code, const char *call, const char *function, const char *file,
                           int line);
/* FLIP_TRY(FLIP_MPI(MPI_Wait(…))) */
#define FLIP_MPI(call) flip_mpi_check((call), #call, __func__, __FILE__, __LINE__)

/* Doubles up to which a sum is one all-gather; above, each rank sums a slice: the first element of
 * rank r's of `count`. */
enum { FLIP_COMM_SMALL_SUM = 2048 };
size_t flip_comm_slice(const flip_comm *c, size_t count, int r);

/* Messages of at most comm->chunk bytes that `bytes` need. */
static inline int64_t flip_chunks(const flip_comm *comm, size_t bytes) {
    return (int64_t)((bytes + comm->chunk - 1) / comm->chunk);
}

#endif
