/* Messages between two ranks, in flight while the caller works: what exchanges over time, which
 * know by themselves who sends what, are made of. */
#include "comm/internal.h"

struct flip_messages {
    flip_comm *comm; /* borrowed */
    int tag;
    flip_mpi_requests requests;
};

flip_status flip_messages_create(flip_messages **out, flip_comm *comm, int tag) {
    *out = NULL;
    if (tag <= TAG_ALL_TO_ALL || tag >= FLIP_TAG_FIRST)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "tag %d, expected %d to %d", tag, TAG_ALL_TO_ALL + 1,
                         FLIP_TAG_FIRST - 1);
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "messages"));
    (*out)->comm = comm;
    (*out)->tag = tag;
    (*out)->requests.comm = comm;
    return FLIP_OK;
}

void flip_messages_destroy(flip_messages **messages) {
    if (!*messages) return;
    flip_mpi_requests_finish(&(*messages)->requests);
    flip_free(*messages);
    *messages = NULL;
}

flip_status flip_messages_send(flip_messages *m, const void *data, size_t bytes, int peer,
                               flip_bytes counted_as) {
    m->comm->meter->bytes[counted_as] += bytes;
    return flip_transport_mpi.send(&m->requests, data, bytes, peer, m->tag);
}

flip_status flip_messages_receive(flip_messages *m, void *data, size_t bytes, int peer) {
    return flip_transport_mpi.receive(&m->requests, data, bytes, peer, m->tag);
}

flip_status flip_messages_wait(flip_messages *m) {
    if (m->requests.n == 0) return FLIP_OK;
    flip_meter_begin(m->comm->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_transport_mpi.wait(&m->requests);
    flip_meter_end(m->comm->meter);
    return status;
}

/* MPI moves long messages only while it is called. */
flip_status flip_messages_progress(flip_messages *m) {
    int done;
    if (m->requests.n == 0) return FLIP_OK;
    return FLIP_MPI(MPI_Testall(m->requests.n, m->requests.request, &done, MPI_STATUSES_IGNORE));
}
