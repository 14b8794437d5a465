/* Ranks: a duplicate communicator, its place on the machine, and collectives of any length.
 *
 * MPI counts are ints, so every message is cut into chunks of at most `chunk` bytes (1 GiB; the
 * environment variable FLIP_CHUNK_BYTES lowers it, tests do). Sums of doubles do not use MPI's
 * reduction: each rank sums one slice over the ranks in rank order and all gather the slices, so
 * that every rank has the same bits whatever the MPI library does. */
#include "comm/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t chunk_most = (size_t)1 << 30; /* bytes */

flip_status flip_mpi_check(int code, const char *call, const char *function, const char *file,
                           int line) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0, name = (int)strcspn(call, "(");
    if (code == MPI_SUCCESS) return FLIP_OK;
    MPI_Error_string(code, text, &length);
    return flip_error_set(FLIP_ERROR_LIBRARY, function, file, line, "%.*s failed: %s", name, call,
                          text);
}

/* The lowest limit any rank was given, so that all cut messages alike. */
static flip_status agree_chunk(flip_comm *c) {
    const char *wish = getenv("FLIP_CHUNK_BYTES");
    unsigned long long bytes = wish ? strtoull(wish, NULL, 10) : 0, least;
    if (bytes == 0 || bytes > chunk_most) bytes = chunk_most;
    if (bytes < 8) bytes = 8;
    FLIP_TRY(FLIP_MPI(MPI_Allreduce(&bytes, &least, 1, MPI_UNSIGNED_LONG_LONG, MPI_MIN, c->mpi)));
    c->chunk = (size_t)(least / 8 * 8);
    return FLIP_OK;
}

static flip_status find_node(flip_comm *c) {
    MPI_Comm node;
    FLIP_TRY(
        FLIP_MPI(MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &node)));
    FLIP_TRY(FLIP_MPI(MPI_Comm_rank(node, &c->node_rank)));
    FLIP_TRY(FLIP_MPI(MPI_Comm_size(node, &c->node_size)));
    return FLIP_MPI(MPI_Comm_free(&node));
}

/* What create and split share: *comm around `mpi`, which it owns from now on. */
static flip_status enter(flip_comm *c, MPI_Comm mpi) {
    c->mpi = mpi;
    FLIP_TRY(FLIP_MPI(MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN)));
    FLIP_TRY(FLIP_MPI(MPI_Comm_rank(mpi, &c->rank)));
    FLIP_TRY(FLIP_MPI(MPI_Comm_size(mpi, &c->size)));
    return find_node(c);
}

static flip_status new_comm(flip_comm **comm) {
    *comm = NULL;
    FLIP_TRY(flip_alloc_zero(comm, 1, sizeof **comm, "communicator"));
    (*comm)->mpi = MPI_COMM_NULL;
    (*comm)->next_tag = FLIP_TAG_FIRST;
    (*comm)->meter = (*comm)->split_meter = &(*comm)->own_meter;
    (*comm)->wire = &(*comm)->own_wire;
    return FLIP_OK;
}

flip_status flip_comm_create(flip_comm **comm, MPI_Comm parent) {
    flip_status status;
    MPI_Comm mpi;
    FLIP_TRY(new_comm(comm));
    FLIP_TRY_GOTO(FLIP_MPI(MPI_Comm_dup(parent, &mpi)));
    FLIP_TRY_GOTO(enter(*comm, mpi));
    FLIP_TRY_GOTO(agree_chunk(*comm));
    (*comm)->outer_rank = (*comm)->rank;
done:
    if (status != FLIP_OK) flip_comm_destroy(comm);
    return status;
}

flip_status flip_comm_split(flip_comm **part, flip_comm *comm, int colour, int key) {
    flip_status status;
    MPI_Comm mpi;
    *part = NULL;
    if (!comm) return FLIP_OK;
    FLIP_TRY(flip_comm_agree(comm, new_comm(part)));
    FLIP_TRY_GOTO(FLIP_MPI(MPI_Comm_split(comm->mpi, colour, key, &mpi)));
    FLIP_TRY_GOTO(enter(*part, mpi));
    (*part)->meter = (*part)->split_meter = comm->meter;
    (*part)->wire = comm->wire;
    (*part)->chunk = comm->chunk;
    (*part)->outer_rank = comm->outer_rank;
done:
    if (status != FLIP_OK) flip_comm_destroy(part);
    return status;
}

void flip_comm_destroy(flip_comm **comm) {
    if (!*comm) return;
    flip_comm_detach(*comm);
    if ((*comm)->mpi != MPI_COMM_NULL) MPI_Comm_free(&(*comm)->mpi);
    flip_free(*comm);
    *comm = NULL;
}

int flip_comm_rank(const flip_comm *comm) {
    return comm ? comm->rank : 0;
}
int flip_comm_size(const flip_comm *comm) {
    return comm ? comm->size : 1;
}
int flip_comm_node_rank(const flip_comm *comm) {
    return comm ? comm->node_rank : 0;
}
int flip_comm_node_size(const flip_comm *comm) {
    return comm ? comm->node_size : 1;
}
flip_meter *flip_comm_meter(flip_comm *comm) {
    return comm ? comm->meter : NULL;
}
void flip_comm_count_in(flip_comm *comm, flip_meter *meter) {
    if (comm) comm->meter = meter ? meter : comm->split_meter;
}
bool flip_comm_threaded(const flip_comm *comm) {
    int level = MPI_THREAD_SINGLE;
    return flip_comm_size(comm) == 1 ||
           (MPI_Query_thread(&level) == MPI_SUCCESS && level == MPI_THREAD_MULTIPLE);
}
MPI_Comm flip_comm_mpi(const flip_comm *comm) {
    return comm ? comm->mpi : MPI_COMM_SELF;
}

/* ---- sums ---- */

size_t flip_comm_slice(const flip_comm *c, size_t count, int r) {
    size_t size = (size_t)c->size, at = (size_t)r;
    return at * (count / size) + (at < count % size ? at : count % size);
}

static flip_status sum_small(flip_comm *c, double *values, size_t count) {
    flip_status status;
    double *all;
    FLIP_TRY(flip_alloc(&all, count * (size_t)c->size, sizeof *all, "sum over ranks"));
    FLIP_TRY_GOTO(flip_comm_gather_all(c, all, values, count * sizeof *all));
    memcpy(values, all, count * sizeof *values);
    for (int r = 1; r < c->size; r++)
        for (size_t i = 0; i < count; i++)
            values[i] += all[(size_t)r * count + i];
done:
    flip_free(all);
    return status;
}

/* Every rank sends slice r to rank r, sums its own slice in rank order, and all gather the sums. */
static flip_status sum_slices(flip_comm *c, double *values, size_t count) {
    flip_status status;
    size_t first = flip_comm_slice(c, count, c->rank),
           mine = flip_comm_slice(c, count, c->rank + 1) - first;
    double *parts = NULL;
    int64_t *send, *receive;
    FLIP_TRY(flip_alloc(&send, 2 * (size_t)c->size, sizeof *send, "sum over ranks"));
    receive = send + c->size;
    FLIP_TRY_GOTO(flip_alloc(&parts, mine * (size_t)c->size, sizeof *parts, "sum over ranks"));
    for (int r = 0; r < c->size; r++) {
        send[r] = (int64_t)(flip_comm_slice(c, count, r + 1) - flip_comm_slice(c, count, r));
        receive[r] = (int64_t)mine;
    }
    FLIP_TRY_GOTO(flip_comm_all_to_all(c, values, send, parts, receive, sizeof *values));
    for (int r = 1; r < c->size; r++)
        for (size_t i = 0; i < mine; i++)
            parts[i] += parts[(size_t)r * mine + i];
    for (int r = 0; r < c->size; r++) /* copies of my slice for everyone */
        if (r > 0) memcpy(parts + (size_t)r * mine, parts, mine * sizeof *parts);
    for (int r = 0; r < c->size; r++) {
        receive[r] = send[r];
        send[r] = (int64_t)mine;
    }
    status = flip_comm_all_to_all(c, parts, send, values, receive, sizeof *values);
done:
    flip_free(parts);
    flip_free(send);
    return status;
}

uint64_t flip_comm_sum_bytes(const flip_comm *comm, size_t count) {
    if (!comm || comm->size == 1) return 0;
    size_t others = (size_t)comm->size - 1;
    if (count <= FLIP_COMM_SMALL_SUM) return count * others * sizeof(double);
    size_t mine =
        flip_comm_slice(comm, count, comm->rank + 1) - flip_comm_slice(comm, count, comm->rank);
    return (count - mine + mine * others) * sizeof(double);
}

flip_status flip_comm_sum_f64(flip_comm *comm, double *values, size_t count) {
    if (!comm || comm->size == 1 || count == 0) return FLIP_OK;
    flip_meter_begin(comm->meter, FLIP_STAGE_ALLREDUCE);
    flip_status status = count <= FLIP_COMM_SMALL_SUM ? sum_small(comm, values, count)
                                                      : sum_slices(comm, values, count);
    comm->meter->bytes[FLIP_BYTES_ALLREDUCE] += flip_comm_sum_bytes(comm, count);
    flip_meter_end(comm->meter);
    return status;
}

/* values [count] of 8 bytes each. */
static flip_status reduce_whole(flip_comm *c, void *values, size_t count, MPI_Datatype type,
                                MPI_Op op) {
    if (!c || c->size == 1) return FLIP_OK;
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < c->chunk / 8 ? count - at : c->chunk / 8;
        FLIP_TRY(FLIP_MPI(
            MPI_Allreduce(MPI_IN_PLACE, (char *)values + at * 8, (int)n, type, op, c->mpi)));
    }
    return FLIP_OK;
}

flip_status flip_comm_sum_i64(flip_comm *comm, int64_t *values, size_t count) {
    return reduce_whole(comm, values, count, MPI_INT64_T, MPI_SUM);
}
flip_status flip_comm_max_i64(flip_comm *comm, int64_t *values, size_t count) {
    return reduce_whole(comm, values, count, MPI_INT64_T, MPI_MAX);
}
flip_status flip_comm_or_u64(flip_comm *comm, uint64_t *values, size_t count) {
    return reduce_whole(comm, values, count, MPI_UINT64_T, MPI_BOR);
}

/* ---- moving ---- */

flip_status flip_comm_broadcast(flip_comm *comm, void *data, size_t bytes, int root) {
    if (!comm || comm->size == 1) return FLIP_OK;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < comm->chunk ? bytes - at : comm->chunk;
        FLIP_TRY(FLIP_MPI(MPI_Bcast((char *)data + at, (int)n, MPI_BYTE, root, comm->mpi)));
    }
    return FLIP_OK;
}

flip_status flip_comm_gather_all(flip_comm *comm, void *all, const void *mine, size_t bytes_each) {
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    if (bytes_each == 0) return FLIP_OK;
    if (size == 1) {
        memmove(all, mine, bytes_each);
        return FLIP_OK;
    }
    if (bytes_each <= comm->chunk / (size_t)size)
        return FLIP_MPI(MPI_Allgather(mine, (int)bytes_each, MPI_BYTE, all, (int)bytes_each,
                                      MPI_BYTE, comm->mpi));
    memmove((char *)all + (size_t)rank * bytes_each, mine, bytes_each);
    for (int r = 0; r < size; r++)
        FLIP_TRY(flip_comm_broadcast(comm, (char *)all + (size_t)r * bytes_each, bytes_each, r));
    return FLIP_OK;
}

/* One round of all-to-all: to one rank, from another, in chunks both ways. */
static flip_status exchange(flip_comm *c, const char *send, size_t send_bytes, int to,
                            char *receive, size_t receive_bytes, int from) {
    size_t sent = 0, got = 0;
    while (sent < send_bytes || got < receive_bytes) {
        size_t s = send_bytes - sent < c->chunk ? send_bytes - sent : c->chunk;
        size_t g = receive_bytes - got < c->chunk ? receive_bytes - got : c->chunk;
        FLIP_TRY(FLIP_MPI(MPI_Sendrecv(send + sent, (int)s, MPI_BYTE, s > 0 ? to : MPI_PROC_NULL,
                                       TAG_ALL_TO_ALL, receive + got, (int)g, MPI_BYTE,
                                       g > 0 ? from : MPI_PROC_NULL, TAG_ALL_TO_ALL, c->mpi,
                                       MPI_STATUS_IGNORE)));
        sent += s;
        got += g;
    }
    return FLIP_OK;
}

/* P-1 rounds of pairs: no more than one partner at a time, no staging memory. */
flip_status flip_comm_all_to_all(flip_comm *comm, const void *send, const int64_t *send_count,
                                 void *receive, const int64_t *receive_count, size_t item) {
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    if (send_count[rank] != receive_count[rank])
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rank %d sends itself %lld items and expects %lld",
                         rank, (long long)send_count[rank], (long long)receive_count[rank]);
    for (int k = 0; k < size; k++) {
        int to = (rank + k) % size, from = (rank - k + size) % size;
        size_t s = 0, g = 0;
        for (int r = 0; r < to; r++)
            s += (size_t)send_count[r];
        for (int r = 0; r < from; r++)
            g += (size_t)receive_count[r];
        const char *out = (const char *)send + s * item;
        char *in = (char *)receive + g * item;
        size_t out_bytes = (size_t)send_count[to] * item,
               in_bytes = (size_t)receive_count[from] * item;
        if (k == 0) {
            if (out_bytes > 0) memcpy(in, out, out_bytes);
        } else {
            FLIP_TRY(exchange(comm, out, out_bytes, to, in, in_bytes, from));
        }
    }
    return FLIP_OK;
}

flip_status flip_comm_deal(flip_comm *comm, void *received_pointer, int64_t *n_received,
                           int64_t *receive_count, const void *items, const int64_t *send_count,
                           size_t item) {
    flip_status status;
    size_t size = (size_t)flip_comm_size(comm);
    int64_t *from = NULL, *one, total = 0;
    *(void **)received_pointer = NULL;
    status = flip_alloc(&from, 2 * size, sizeof *from, "counts of items");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    one = from + size;
    for (size_t r = 0; r < size; r++)
        one[r] = 1;
    FLIP_TRY_GOTO(flip_comm_all_to_all(comm, send_count, one, from, one, sizeof *from));
    for (size_t r = 0; r < size; r++)
        total += from[r];
    status = flip_alloc(received_pointer, (size_t)total, item, "items of other ranks");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(
        flip_comm_all_to_all(comm, items, send_count, *(void **)received_pointer, from, item));
    *n_received = total;
    if (receive_count) memcpy(receive_count, from, size * sizeof *from);
done:
    flip_free(from);
    return status;
}

/* ---- errors ---- */

/* "function (file:line)" back into its parts. */
static void record_foreign(flip_status status, int rank, const char *message, const char *where) {
    char function[128] = "", file[128] = "";
    int line = 0;
    if (sscanf(where, "%127[^ (] (%127[^:]:%d)", function, file, &line) != 3) line = 0;
    flip_error_clear();
    flip_error_set(status, function, file, line, "rank %d: %s", rank, message);
}

flip_status flip_comm_agree(flip_comm *comm, flip_status mine) {
    if (!comm || comm->size == 1) return mine;
    struct {
        char message[2048], where[256];
        int status, rank;
    } record = {.status = (int)mine, .rank = comm->outer_rank};
    int first = mine == FLIP_OK ? comm->size : comm->rank, lowest;
    FLIP_TRY(FLIP_MPI(MPI_Allreduce(&first, &lowest, 1, MPI_INT, MPI_MIN, comm->mpi)));
    if (lowest == comm->size) return FLIP_OK;
    snprintf(record.message, sizeof record.message, "%s", flip_error_message());
    snprintf(record.where, sizeof record.where, "%s", flip_error_where());
    FLIP_TRY(flip_comm_broadcast(comm, &record, sizeof record, lowest));
    if (comm->rank != lowest)
        record_foreign((flip_status)record.status, record.rank, record.message, record.where);
    return (flip_status)record.status;
}
