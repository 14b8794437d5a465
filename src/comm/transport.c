/* The transports: nonblocking messages of MPI between host buffers, cut into chunks; NCCL's between
 * the memories of GPUs, whose counts need no chunks; and the first between such memories, where MPI
 * takes them. */
#include "comm/internal.h"

/* Room for n_messages more; a message longer than a chunk asks for more when it is posted. */
static flip_status reserve(flip_mpi_requests *r, int64_t more) {
    int64_t needed = r->n + more;
    if (needed <= r->capacity) return FLIP_OK;
    int64_t capacity = needed > 2 * (int64_t)r->capacity ? needed : 2 * (int64_t)r->capacity;
    int32_t narrow;
    FLIP_TRY(flip_narrow(&narrow, capacity, "the number of messages of one exchange"));
    FLIP_TRY(flip_grow(&r->request, (size_t)r->n, (size_t)narrow, sizeof *r->request,
                       "requests of an exchange"));
    r->capacity = narrow;
    return FLIP_OK;
}

flip_status flip_mpi_requests_begin(flip_mpi_requests *r, int n_messages) {
    if (r->n != 0)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "an exchange begins while another is in flight");
    return reserve(r, n_messages);
}

flip_status flip_mpi_requests_send(flip_mpi_requests *r, const void *data, size_t bytes, int peer,
                                   int tag) {
    FLIP_TRY(reserve(r, flip_chunks(r->comm, bytes)));
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < r->comm->chunk ? bytes - at : r->comm->chunk;
        FLIP_TRY(FLIP_MPI(MPI_Isend((const char *)data + at, (int)n, MPI_BYTE, peer, tag,
                                    r->comm->mpi, &r->request[r->n])));
        r->n++;
    }
    return FLIP_OK;
}

flip_status flip_mpi_requests_receive(flip_mpi_requests *r, void *data, size_t bytes, int peer,
                                      int tag) {
    FLIP_TRY(reserve(r, flip_chunks(r->comm, bytes)));
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < r->comm->chunk ? bytes - at : r->comm->chunk;
        FLIP_TRY(FLIP_MPI(MPI_Irecv((char *)data + at, (int)n, MPI_BYTE, peer, tag, r->comm->mpi,
                                    &r->request[r->n])));
        r->n++;
    }
    return FLIP_OK;
}

flip_status flip_mpi_requests_wait(flip_mpi_requests *r) {
    int n = r->n;
    r->n = 0;
    return FLIP_MPI(MPI_Waitall(n, r->request, MPI_STATUSES_IGNORE));
}

flip_status flip_mpi_requests_progress(flip_mpi_requests *r) {
    int done;
    if (r->n == 0) return FLIP_OK;
    return FLIP_MPI(MPI_Testall(r->n, r->request, &done, MPI_STATUSES_IGNORE));
}

void flip_mpi_requests_finish(flip_mpi_requests *requests) {
    flip_free(requests->request);
    *requests = (flip_mpi_requests){0};
}

/* ---- between GPUs ---- */

static flip_status add(flip_direct_requests *r, flip_nccl_message message) {
    if (message.bytes == 0) return FLIP_OK;
    if (r->n == r->capacity) {
        const int more = r->capacity ? 2 * r->capacity : 8;
        FLIP_TRY(flip_grow(&r->message, (size_t)r->n, (size_t)more, sizeof *r->message,
                           "messages of an exchange"));
        r->capacity = more;
    }
    r->message[r->n++] = message;
    return FLIP_OK;
}

flip_status flip_direct_requests_send(flip_direct_requests *r, const void *data, size_t bytes,
                                      int peer) {
    return add(r, (flip_nccl_message){
                      .memory = (void *)data, .bytes = bytes, .peer = peer, .sends = true});
}

flip_status flip_direct_requests_receive(flip_direct_requests *r, void *data, size_t bytes,
                                         int peer) {
    return add(r, (flip_nccl_message){.memory = data, .bytes = bytes, .peer = peer});
}

/* MPI knows of no stream: what is sent must be there, and nobody may still use what is received. */
static flip_status set_out_by_mpi(flip_direct_requests *r, int n) {
    FLIP_TRY(r->comm->kernels->wait());
    r->mpi.comm = r->comm;
    for (const flip_nccl_message *m = r->message; m < r->message + n; m++)
        FLIP_TRY(
            m->sends
                ? flip_mpi_requests_send(&r->mpi, m->memory, m->bytes, m->peer, TAG_DIRECT)
                : flip_mpi_requests_receive(&r->mpi, m->memory, m->bytes, m->peer, TAG_DIRECT));
    return FLIP_OK;
}

flip_status flip_direct_requests_set_out(flip_direct_requests *r) {
    const int n = r->n;
    if (n == 0) return FLIP_OK;
    r->n = 0;
    r->out = true;
    return r->comm->direct == FLIP_DIRECT_MPI
               ? set_out_by_mpi(r, n)
               : flip_nccl_exchange(r->comm->nccl, r->message, n, &r->event);
}

flip_status flip_direct_requests_wait(flip_direct_requests *r) {
    if (!r->out) return FLIP_OK;
    r->out = false;
    return r->comm->direct == FLIP_DIRECT_MPI ? flip_mpi_requests_wait(&r->mpi)
                                              : flip_nccl_wait(r->event);
}

void flip_direct_requests_finish(flip_direct_requests *requests) {
    flip_nccl_drop(&requests->event);
    flip_mpi_requests_finish(&requests->mpi);
    flip_free(requests->message);
    *requests = (flip_direct_requests){0};
}
