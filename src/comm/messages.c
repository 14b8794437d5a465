/* Messages between two ranks, in flight while the caller works: what exchanges over time, which
 * know by themselves who sends what, are made of. */
#include "comm/internal.h"

#include <string.h>

/* A message of numbers on a coded wire; its room serves later exchanges. */
typedef struct coded {
    uint8_t *bytes; /* owned, [capacity], the kernels' */
    size_t capacity;
    flip_real *into; /* where it is decoded to; NULL: it was sent */
    size_t n;        /* values */
    flip_wire wire;
} coded;

struct flip_messages {
    flip_comm *comm; /* borrowed */
    int tag;
    flip_mpi_requests requests;
    flip_direct_requests direct; /* between devices */
    coded *coded;                /* [max_coded], n_coded in flight */
    int n_coded, max_coded;
    const flip_kernels *kernels; /* borrowed: of the coded ones */
};

flip_status flip_messages_create(flip_messages **out, flip_comm *comm, int tag) {
    *out = NULL;
    if (tag <= TAG_ALL_TO_ALL || tag >= FLIP_TAG_FIRST)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "tag %d, expected %d to %d", tag, TAG_ALL_TO_ALL + 1,
                         FLIP_TAG_FIRST - 1);
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "messages"));
    (*out)->comm = comm;
    (*out)->tag = tag;
    (*out)->requests.comm = (*out)->direct.comm = comm;
    return FLIP_OK;
}

void flip_messages_destroy(flip_messages **messages) {
    if (!*messages) return;
    flip_mpi_requests_finish(&(*messages)->requests);
    flip_direct_requests_finish(&(*messages)->direct);
    for (int i = 0; i < (*messages)->max_coded; i++)
        (*messages)->kernels->give_back((*messages)->coded[i].bytes);
    flip_free((*messages)->coded);
    flip_free(*messages);
    *messages = NULL;
}

flip_status flip_messages_send(flip_messages *m, const void *data, size_t bytes, int peer,
                               flip_bytes counted_as) {
    m->comm->meter->bytes[counted_as] += bytes;
    return flip_mpi_requests_send(&m->requests, data, bytes, peer, m->tag);
}

flip_status flip_messages_receive(flip_messages *m, void *data, size_t bytes, int peer) {
    return flip_mpi_requests_receive(&m->requests, data, bytes, peer, m->tag);
}

/* ---- numbers ---- */

static flip_status add_coded(flip_messages *m, flip_real *into, size_t n, coded **out) {
    m->kernels = flip_comm_kernels(m->comm);
    if (m->n_coded == m->max_coded) {
        int more = m->max_coded ? 2 * m->max_coded : 8;
        FLIP_TRY(flip_grow(&m->coded, (size_t)m->n_coded, (size_t)more, sizeof *m->coded,
                           "coded messages"));
        memset(m->coded + m->n_coded, 0, (size_t)(more - m->n_coded) * sizeof *m->coded);
        m->max_coded = more;
    }
    coded *c = &m->coded[m->n_coded];
    c->into = into;
    c->n = n;
    c->wire = flip_wire_now(m->comm->wire);
    FLIP_TRY(flip_kernels_reserve(m->kernels, &c->bytes, &c->capacity, flip_wire_bytes(c->wire, n),
                                  "a coded message"));
    *out = c;
    m->n_coded++;
    return FLIP_OK;
}

static flip_status send(flip_messages *m, const void *data, size_t bytes, int peer,
                        flip_bytes counted_as) {
    if (!flip_comm_direct(m->comm)) return flip_messages_send(m, data, bytes, peer, counted_as);
    m->comm->meter->bytes[counted_as] += bytes;
    return flip_direct_requests_send(&m->direct, data, bytes, peer);
}

static flip_status receive(flip_messages *m, void *data, size_t bytes, int peer) {
    return flip_comm_direct(m->comm) ? flip_direct_requests_receive(&m->direct, data, bytes, peer)
                                     : flip_messages_receive(m, data, bytes, peer);
}

flip_status flip_messages_send_exact(flip_messages *m, const flip_real *values, size_t n, int peer,
                                     flip_bytes counted_as) {
    return send(m, values, n * sizeof *values, peer, counted_as);
}

flip_status flip_messages_receive_exact(flip_messages *m, flip_real *values, size_t n, int peer) {
    return receive(m, values, n * sizeof *values, peer);
}

flip_status flip_messages_send_values(flip_messages *m, const flip_real *values, size_t n, int peer,
                                      flip_bytes counted_as) {
    coded *c = NULL;
    if (flip_wire_now(m->comm->wire) == FLIP_WIRE_EXACT)
        return flip_messages_send_exact(m, values, n, peer, counted_as);
    FLIP_TRY(add_coded(m, NULL, n, &c));
    FLIP_TRY(flip_wire_encode(m->comm, c->wire, c->bytes, values, n));
    return send(m, c->bytes, flip_wire_bytes(c->wire, n), peer, counted_as);
}

flip_status flip_messages_receive_values(flip_messages *m, flip_real *values, size_t n, int peer) {
    coded *c = NULL;
    if (flip_wire_now(m->comm->wire) == FLIP_WIRE_EXACT)
        return flip_messages_receive_exact(m, values, n, peer);
    FLIP_TRY(add_coded(m, values, n, &c));
    return receive(m, c->bytes, flip_wire_bytes(c->wire, n), peer);
}

static flip_status decode_all(flip_messages *m) {
    flip_status status = FLIP_OK;
    for (int i = 0; i < m->n_coded; i++) {
        coded *c = &m->coded[i];
        if (status == FLIP_OK && c->into)
            status = flip_wire_decode(m->comm, c->wire, c->into, c->bytes, c->n);
    }
    m->n_coded = 0;
    return status;
}

/* The host's are on their way already. */
flip_status flip_messages_set_out(flip_messages *m) {
    return flip_direct_requests_set_out(&m->direct);
}

flip_status flip_messages_wait(flip_messages *m) {
    if (!m->direct.out && m->requests.n == 0 && m->n_coded == 0) return FLIP_OK;
    flip_meter_begin(m->comm->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_direct_requests_wait(&m->direct);
    if (status == FLIP_OK) status = flip_mpi_requests_wait(&m->requests);
    if (status == FLIP_OK) status = decode_all(m);
    flip_meter_end(m->comm->meter);
    return status;
}

/* MPI moves long messages only while it is called. */
flip_status flip_messages_progress(flip_messages *m) {
    FLIP_TRY(flip_mpi_requests_progress(&m->requests));
    return flip_mpi_requests_progress(&m->direct.mpi);
}
