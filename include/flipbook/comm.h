/* Flipbook: comm — ranks, and the one exchange plan.
 *
 * A plan says who sends which rows to whom. It is built once from "the rows I need" and then runs
 * forward (owner to copies) and backward (copies to owner, summed in rank order):
 *
 *     own rows [n_own, width] ──begin/end──▶ halo rows [n_halo, width]      forward
 *     own grads += Σ over ranks  ◀──begin/end── halo grads [n_halo, width]  backward
 *
 * Between begin and end the caller works on rows that need no halo. Bytes sent are counted in the
 * communicator's meter: forward and backward both Σ over peers of rows · width · sizeof(flip_real),
 * or of what that becomes on a coded wire.
 */
#ifndef FLIPBOOK_COMM_H
#define FLIPBOOK_COMM_H

#include <flipbook/base.h>
#include <mpi.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flip_comm flip_comm;

/* Collective. Duplicates `parent`; MPI must be initialised. */
flip_status flip_comm_create(flip_comm **comm, MPI_Comm parent);
/* Collective over `comm`. The ranks with the same colour, in the order of their keys; counts in
 * comm's meter; the place on the node is that among the part's ranks. comm must outlive it. A NULL
 * comm gives a NULL part. */
flip_status flip_comm_split(flip_comm **part, flip_comm *comm, int colour, int key);
void flip_comm_destroy(flip_comm **comm);       /* collective */
int flip_comm_rank(const flip_comm *comm);      /* a NULL comm is one rank: 0 */
int flip_comm_size(const flip_comm *comm);      /* … of 1 */
int flip_comm_node_rank(const flip_comm *comm); /* among the ranks of this machine */
int flip_comm_node_size(const flip_comm *comm);
flip_meter *flip_comm_meter(flip_comm *comm); /* owned by comm; NULL for a NULL comm */
/* Counts go into this meter from now on (a thread's own, say); NULL: into the one it counted in at
 * first. Those of communicators split from it before stay where they were. */
void flip_comm_count_in(flip_comm *comm, flip_meter *meter);
/* May a second thread exchange over a communicator split from this one meanwhile? On one rank, and
 * where MPI was initialised with MPI_THREAD_MULTIPLE and gave it. Local. */
bool flip_comm_threaded(const flip_comm *comm);
MPI_Comm flip_comm_mpi(const flip_comm *comm);

/* How the numbers of plans and messages travel, those of communicators split from this one too. All
 * but EXACT are lossy: rounded stochastically, so that their expectation is exact, in groups of 256
 * with their own range (codec/groups.h): 8 or 4 bits and 4 bytes a group, or, ADAPTIVE, 2, 4 or 8
 * bits a group, 4 on average, by its share of the error (codec/mixed.h); BF16 to nearest. Ids,
 * degrees, sums over ranks, and the states of wavefronts stay exact. */
typedef enum flip_wire {
    FLIP_WIRE_EXACT,
    FLIP_WIRE_BF16,
    FLIP_WIRE_INT8,
    FLIP_WIRE_INT4,
    FLIP_WIRE_ADAPTIVE
} flip_wire;
/* From here on; the same on all ranks, while nothing is in flight. Draws are keyed by (seed, epoch,
 * number of the message since this call). Local; a NULL comm has no wire. */
void flip_comm_wire(flip_comm *comm, flip_wire wire, uint64_t seed, int64_t epoch);
/* Between the two calls numbers travel exactly. */
void flip_comm_wire_pause(flip_comm *comm, bool paused);

/* All collective, safe beyond 2^31 elements, and do nothing on one rank (or a NULL comm). */
flip_status flip_comm_sum_f64(flip_comm *comm, double *values,
                              size_t count); /* same bits on every rank */
/* What flip_comm_sum_f64 adds to the meter (FLIP_BYTES_ALLREDUCE) on this rank: up to 2048 values
 * 8 count (P-1); above, with m the rank's share count/P: 8 (count - m + m (P-1)). */
uint64_t flip_comm_sum_bytes(const flip_comm *comm, size_t count);
flip_status flip_comm_sum_i64(flip_comm *comm, int64_t *values, size_t count);
flip_status flip_comm_max_i64(flip_comm *comm, int64_t *values, size_t count);
flip_status flip_comm_or_u64(flip_comm *comm, uint64_t *values, size_t count); /* bit by bit */
flip_status flip_comm_broadcast(flip_comm *comm, void *data, size_t bytes, int root);
flip_status flip_comm_gather_all(flip_comm *comm, void *all, const void *mine, size_t bytes_each);
/* Items of `item` bytes; counts and displacements in items, [size] each. */
flip_status flip_comm_all_to_all(flip_comm *comm, const void *send, const int64_t *send_count,
                                 void *receive, const int64_t *receive_count, size_t item);
/* Items that stand in the order of the ranks they go to, send_count [size] for each rank. *received
 * (owned by the caller, flip_free) has those that come, by sender, *n_received of them;
 * receive_count [size] from each, or NULL. */
flip_status flip_comm_deal(flip_comm *comm, void *received_pointer, int64_t *n_received,
                           int64_t *receive_count, const void *items, const int64_t *send_count,
                           size_t item);
/* Worst status of all ranks, so that an error anywhere is an error everywhere (message: lowest
 * failing rank's). */
flip_status flip_comm_agree(flip_comm *comm, flip_status mine);

/* ---- between devices ----
 * What lies in the memories of GPUs goes from one to the other without staging: NCCL moves it, for
 * ranks with a GPU each, or a CUDA-aware MPI, once the device has done what it was given. Attached
 * to a communicator, either carries the rows of its plans, the slices, windows and states of
 * layouts over it, and flip_comm_sum_placed: all of these then take the device's memory, and add
 * to what the kernels were called for. The same rows, bytes in the meter and, of sums, bits. Ids
 * and counts stay with MPI on the host. */
struct flip_kernels;
typedef enum flip_direct { FLIP_DIRECT_NONE, FLIP_DIRECT_NCCL, FLIP_DIRECT_MPI } flip_direct;
/* Collective; do it before the first exchange of numbers. `kernels` are the device's. same: NULL,
 * or an attached communicator whose ranks are these in this order where it has as many: one NCCL
 * serves both, and `same` is destroyed last. FLIP_ERROR_LIBRARY, on all ranks, where NCCL or a
 * connection is not to be had, or where MPI does not say that it takes a GPU's memory. Does nothing
 * on one rank. An attached communicator has no ADAPTIVE wire. */
flip_status flip_comm_attach(flip_comm *comm, flip_direct by, const struct flip_kernels *kernels,
                             flip_comm *same);
flip_direct flip_comm_direct(const flip_comm *comm); /* by whom it is attached; NONE: it is not */
const struct flip_kernels *flip_comm_kernels(const flip_comm *comm); /* its, or the CPU's */
/* flip_comm_sum_f64 of device memory, and what that adds to the meter. Attached only; on one rank
 * it does nothing. */
flip_status flip_comm_sum_placed(flip_comm *comm, double *values, size_t count);

/* Messages between two ranks, of any length, in flight while the caller works. Those between the
 * same two ranks arrive in the order they were sent; nobody else may use the tag (2 … 15) on this
 * communicator. Memory stays untouched until wait. */
typedef struct flip_messages flip_messages;
flip_status flip_messages_create(flip_messages **messages, flip_comm *comm, int tag);
void flip_messages_destroy(flip_messages **messages); /* after wait */
flip_status flip_messages_send(flip_messages *messages, const void *data, size_t bytes, int peer,
                               flip_bytes counted_as);
flip_status flip_messages_receive(flip_messages *messages, void *data, size_t bytes, int peer);
/* The same for numbers, in what the wire makes of them; of the device's memory where the
 * communicator is attached: they set out together. */
flip_status flip_messages_send_values(flip_messages *messages, const flip_real *values, size_t n,
                                      int peer, flip_bytes counted_as);
flip_status flip_messages_receive_values(flip_messages *messages, flip_real *values, size_t n,
                                         int peer);
/* The same as they are, whatever the wire. */
flip_status flip_messages_send_exact(flip_messages *messages, const flip_real *values, size_t n,
                                     int peer, flip_bytes counted_as);
flip_status flip_messages_receive_exact(flip_messages *messages, flip_real *values, size_t n,
                                        int peer);
/* All that were given since the last wait or set_out may go now. */
flip_status flip_messages_set_out(flip_messages *messages);
flip_status flip_messages_wait(flip_messages *messages); /* for all of them */
/* Lets long messages move on; between wait and the first send there is nothing to do. */
flip_status flip_messages_progress(flip_messages *messages);

/* Which of n runs of ids has this one: the last whose first [n] is not above it, so that empty runs
 * own nothing. Ranks by rank_first, parts by part_first; local. */
static inline int flip_owner_in(const flip_gid *first, int n, flip_gid id) {
    int low = 0, high = n - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (first[middle] <= id)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

typedef struct flip_plan flip_plan;

/* Collective. rank_first [size+1]: rank r owns ids rank_first[r] … rank_first[r+1]-1. need
 * [n_need]: distinct ids of other ranks (any order kept as given: halo row i is id need[i]).
 * Refuses own ids. */
flip_status flip_plan_create(flip_plan **plan, flip_comm *comm, const flip_gid *rank_first,
                             const flip_gid *need, int32_t n_need, flip_bytes counted_as);
void flip_plan_destroy(flip_plan **plan);
int32_t flip_plan_n_halo(const flip_plan *plan);
int64_t flip_plan_rows_sent(const flip_plan *plan);     /* by this rank, one forward pass */
int64_t flip_plan_rows_received(const flip_plan *plan); /* … which is what backward sends */
int flip_plan_neighbours(const flip_plan *plan);        /* ranks this one talks to */
size_t flip_plan_bytes(const flip_plan *plan);          /* held now, packing buffers included */
/* width: flip_reals a row. One exchange at a time a plan. Collective. Where the communicator is
 * attached, own and halo are the device's, and an `own` of NULL takes nothing. */
flip_status flip_plan_forward_begin(flip_plan *plan, const flip_real *own, size_t width,
                                    flip_real *halo);
flip_status flip_plan_forward_end(flip_plan *plan);
flip_status flip_plan_backward_begin(flip_plan *plan, const flip_real *halo, size_t width);
flip_status flip_plan_backward_end(flip_plan *plan, flip_real *own); /* own += received */
/* Forward for rows of any `bytes` a row (ids, labels): not counted. */
flip_status flip_plan_fetch(flip_plan *plan, const void *own, size_t bytes, void *halo);
/* Backward for rows of `width` doubles (degrees): own += received, in rank order; not counted. */
flip_status flip_plan_reduce_f64(flip_plan *plan, const double *halo, size_t width, double *own);

#ifdef __cplusplus
}
#endif
#endif
