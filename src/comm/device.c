/* Numbers that ranks exchange without staging: who moves a communicator's, and sums over its ranks
 * with the very bits of flip_comm_sum_f64: the same additions in the same order. */
#include "comm/internal.h"

#include <string.h>

static flip_status make_id(flip_comm *comm, char id[FLIP_NCCL_ID_BYTES]) {
    FLIP_TRY(flip_comm_agree(comm, flip_nccl_open()));
    flip_status status = comm->rank == 0 ? flip_nccl_id(id) : FLIP_OK;
    FLIP_TRY(flip_comm_agree(comm, status));
    return flip_comm_broadcast(comm, id, FLIP_NCCL_ID_BYTES, 0);
}

static flip_status attach_nccl(flip_comm *comm, flip_comm *same) {
    char id[FLIP_NCCL_ID_BYTES] = "";
    if (same && same->nccl && same->size == comm->size) {
        comm->nccl = same->nccl;
        comm->nccl_shared = true;
        return FLIP_OK;
    }
    FLIP_TRY(make_id(comm, id));
    return flip_comm_agree(comm, flip_nccl_create(&comm->nccl, id, comm->rank, comm->size));
}

flip_status flip_comm_attach(flip_comm *comm, flip_direct by, const flip_kernels *kernels,
                             flip_comm *same) {
    if (by == FLIP_DIRECT_NONE || !comm || comm->size == 1 || comm->direct) return FLIP_OK;
    if (!kernels->on_device)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "an attached communicator moves a device's rows");
    FLIP_TRY(by == FLIP_DIRECT_NCCL ? attach_nccl(comm, same)
                                    : flip_comm_agree(comm, flip_mpi_takes_devices(comm->mpi)));
    comm->direct = by;
    comm->kernels = kernels;
    comm->sums.comm = comm;
    return FLIP_OK;
}

void flip_comm_detach(flip_comm *comm) {
    if (comm->room) comm->kernels->give_back(comm->room);
    comm->room = NULL;
    flip_direct_requests_finish(&comm->sums);
    if (comm->nccl && !comm->nccl_shared) flip_nccl_destroy(&comm->nccl, flip_error_message()[0]);
    comm->nccl = NULL;
    comm->direct = FLIP_DIRECT_NONE;
}

flip_direct flip_comm_direct(const flip_comm *comm) {
    return comm ? comm->direct : FLIP_DIRECT_NONE;
}

const flip_kernels *flip_comm_kernels(const flip_comm *comm) {
    return flip_comm_direct(comm) ? comm->kernels : flip_kernels_get();
}

/* ---- sums ---- */

/* Every rank's run of `out` to that rank, in the order of the ranks, or (`same`) all of it to each;
 * what comes stands in `in` by the rank it comes from. */
static flip_status turn(flip_comm *c, const double *out, const size_t *out_n, bool same, double *in,
                        const size_t *in_n) {
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank) {
            c->kernels->copy(in, out, in_n[r] * sizeof *in);
        } else {
            FLIP_TRY(flip_direct_requests_receive(&c->sums, in, in_n[r] * sizeof *in, r));
            FLIP_TRY(flip_direct_requests_send(&c->sums, out, out_n[r] * sizeof *out, r));
        }
        in += in_n[r];
        out += same ? 0 : out_n[r];
    }
    FLIP_TRY(flip_direct_requests_set_out(&c->sums));
    return flip_direct_requests_wait(&c->sums);
}

/* Parts [size, n] are added to the first one, in rank order. */
static void add_parts(const flip_comm *c, double *parts, size_t n) {
    for (int r = 1; r < c->size; r++)
        c->kernels->add_doubles((int64_t)n, parts, parts + (size_t)r * n);
}

/* As flip_comm_sum_f64: few values are gathered by all; of many, each rank sums its slice. */
static flip_status sum_placed(flip_comm *c, double *values, size_t count, size_t *slice) {
    const bool small = count <= FLIP_COMM_SMALL_SUM;
    size_t *mine = slice + c->size, n;
    double *parts;
    for (int r = 0; r < c->size; r++)
        slice[r] = small ? count : flip_comm_slice(c, count, r + 1) - flip_comm_slice(c, count, r);
    n = slice[c->rank];
    for (int r = 0; r < c->size; r++)
        mine[r] = n;
    FLIP_TRY(flip_kernels_reserve(c->kernels, &c->room, &c->room_bytes,
                                  n * (size_t)c->size * sizeof *parts, "sum over ranks"));
    parts = c->room;
    FLIP_TRY(turn(c, values, slice, small, parts, mine));
    add_parts(c, parts, n);
    if (!small) return turn(c, parts, mine, true, values, slice);
    c->kernels->copy(values, parts, n * sizeof *values);
    return FLIP_OK;
}

flip_status flip_comm_sum_placed(flip_comm *comm, double *values, size_t count) {
    size_t *slices;
    if (!flip_comm_direct(comm) || count == 0) return FLIP_OK;
    flip_meter_begin(comm->meter, FLIP_STAGE_ALLREDUCE);
    flip_status status =
        flip_alloc(&slices, 2 * (size_t)comm->size, sizeof *slices, "sum over ranks");
    if (status == FLIP_OK) {
        status = sum_placed(comm, values, count, slices);
        flip_free(slices);
    }
    comm->meter->bytes[FLIP_BYTES_ALLREDUCE] += flip_comm_sum_bytes(comm, count);
    flip_meter_end(comm->meter);
    return status;
}
