/* NCCL of the emulated devices, one a process, by way of MPI's point-to-point messages.
 *
 * A group is two works of its stream: what is sent is read once all before it is done, and sets out
 * at the call; what is received is written in the stream's turn, when all of the group has arrived.
 * A send ends when the other rank has called its receive, as NCCL's do. FLIP_EMULATION=nccl=R:N
 * plants a failure: from its group N on (0: the first), rank R of MPI_COMM_WORLD sends and receives
 * nothing, and is told so by ncclCommGetAsyncError alone. FLIP_EMULATION=tell: a process that ends
 * says how many bytes it sent. Its messages are MPI's own (PMPI): tests that watch what the program
 * sends (tests/sends.h) do not see them. */
#define OMPI_SKIP_MPICXX
#include <memory> /* before CUDA's words */
#include <mpi.h>

#include "emulation.h"
#include "nccl.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_TAG = 20000, MOST_TAGS = 12000, CHUNK = 1 << 30 };

struct flip_emulated_nccl {
    int rank, size, tag;
    std::vector<int> world; /* by rank: where it stands in MPI_COMM_WORLD */
    bool aborted, finalized;
    ncclResult_t async;
};

struct message {
    bool sends;
    char *memory;
    size_t bytes;
    int peer;
    std::vector<char> host;
};

/* The group that is being put together. */
static int depth;
static std::vector<message> pending;
static ncclComm_t pending_comm;
static cudaStream_t pending_stream;
static int groups;  /* of this process, so far … */
static size_t sent; /* … and bytes */

/* ---- communicators ---- */

static int world_rank(void) {
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static void tell(void) {
    fprintf(stderr, "emulated NCCL sent %zu bytes\n", sent);
}

/* Whom to tell that one is there, and under which tag: apart from those of other ids. */
struct identity {
    int root, tag;
};

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    static int made;
    const int root = world_rank();
    const identity i = {root, FIRST_TAG + (root * 64 + made++) % MOST_TAGS};
    memset(id, 0, sizeof *id);
    memcpy(id, &i, sizeof i);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    static const bool told = flip_emulated_options_get()->tell && atexit(tell) == 0;
    identity i;
    (void)told;
    memcpy(&i, &id, sizeof i);
    if (config->blocking != 0)
        flip_emulated_fail("NCCL: a communicator that blocks waits for lost ranks for ever");
    if (rank < 0 || rank >= size) return ncclInvalidArgument;
    flip_emulated_nccl *c = new flip_emulated_nccl();
    c->rank = rank;
    c->size = size;
    c->tag = i.tag;
    c->async = ncclInProgress; /* until it is asked */
    c->world.resize((size_t)size);
    int mine[2] = {rank, world_rank()};
    MPI_Request request;
    PMPI_Isend(mine, 2, MPI_INT, i.root, i.tag, MPI_COMM_WORLD, &request);
    for (int r = 0; mine[1] == i.root && r < size; r++) {
        int one[2];
        PMPI_Recv(one, 2, MPI_INT, MPI_ANY_SOURCE, i.tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        c->world[(size_t)one[0]] = one[1];
    }
    for (int r = 0; mine[1] == i.root && r < size; r++)
        if (c->world[(size_t)r] != i.root)
            PMPI_Send(c->world.data(), size, MPI_INT, c->world[(size_t)r], i.tag, MPI_COMM_WORLD);
    if (mine[1] != i.root)
        PMPI_Recv(c->world.data(), size, MPI_INT, i.root, i.tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    PMPI_Wait(&request, MPI_STATUS_IGNORE);
    *comm = c;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
    *error = comm->async;
    if (comm->async == ncclInProgress) comm->async = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    comm->finalized = true;
    comm->async = ncclInProgress;
    return ncclInProgress;
}

/* Kept: works of a stream may still name it. */
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm->finalized) flip_emulated_fail("NCCL: a communicator is destroyed, not finalized");
    comm->aborted = true;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    comm->aborted = true;
    return ncclSuccess;
}

/* ---- groups ---- */

static void check_usable(ncclComm_t comm, const char *what) {
    if (comm->aborted) flip_emulated_fail("%s on a communicator that was aborted", what);
    if (comm->async == ncclInProgress)
        flip_emulated_fail("%s while the call before is still in progress", what);
}

static ncclResult_t add(ncclComm_t comm, cudaStream_t stream, message m) {
    const char *what = m.sends ? "ncclSend" : "ncclRecv";
    if (depth == 0) flip_emulated_fail("%s outside a group: it could wait for itself", what);
    check_usable(comm, what);
    if (m.peer < 0 || m.peer >= comm->size || m.peer == comm->rank) return ncclInvalidArgument;
    if (pending_comm && (pending_comm != comm || pending_stream != stream))
        flip_emulated_fail("%s: one group on two communicators or streams", what);
    pending_comm = comm;
    pending_stream = stream;
    pending.push_back(std::move(m));
    return ncclSuccess;
}

ncclResult_t ncclGroupStart(void) {
    depth++;
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *memory, size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return add(comm, stream, {true, (char *)const_cast<void *>(memory), count, peer, {}});
}

ncclResult_t ncclRecv(void *memory, size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return add(comm, stream, {false, (char *)memory, count, peer, {}});
}

struct group {
    ncclComm_t comm;
    bool stuck; /* planted */
    std::vector<message> messages;
    std::vector<MPI_Request> requests;
};

static void post(group *g, message *m) {
    for (size_t at = 0, n; at < m->bytes; at += n) {
        MPI_Request request;
        n = m->bytes - at < CHUNK ? m->bytes - at : (size_t)CHUNK;
        const int peer = g->comm->world[(size_t)m->peer], tag = g->comm->tag;
        if (m->sends)
            PMPI_Issend(m->host.data() + at, (int)n, MPI_BYTE, peer, tag, MPI_COMM_WORLD, &request);
        else
            PMPI_Irecv(m->host.data() + at, (int)n, MPI_BYTE, peer, tag, MPI_COMM_WORLD, &request);
        g->requests.push_back(request);
    }
}

/* Its memory is open. */
static void set_out(group *g) {
    for (message &m : g->messages) {
        m.host.resize(m.bytes);
        if (m.sends) memcpy(m.host.data(), m.memory, m.bytes);
    }
    for (message &m : g->messages)
        if (!g->stuck) post(g, &m);
}

static bool arrived(group *g) {
    int done = 0;
    if (g->comm->aborted) return true;
    if (g->stuck) return false;
    PMPI_Testall((int)g->requests.size(), g->requests.data(), &done, MPI_STATUSES_IGNORE);
    return done != 0;
}

static void arrive(group *g) {
    for (message &m : g->messages)
        if (!m.sends && !g->comm->aborted) memcpy(m.memory, m.host.data(), m.bytes);
}

ncclResult_t ncclGroupEnd(void) {
    const flip_emulated_options *options = flip_emulated_options_get();
    if (--depth > 0 || pending.empty()) return ncclSuccess;
    auto g = std::make_shared<group>();
    g->comm = pending_comm;
    g->messages.swap(pending);
    g->stuck = options->nccl_rank == world_rank() && groups >= options->nccl_group;
    groups++;
    std::vector<flip_emulated_span> given, received;
    for (const message &m : g->messages) {
        (m.sends ? given : received).push_back({m.memory, m.bytes, !m.sends});
        sent += m.sends ? m.bytes : 0;
    }
    flip_emulated_library(
        pending_stream, "ncclSend", given, [] { return true; }, [g] { set_out(g.get()); });
    flip_emulated_go_on(pending_stream);
    flip_emulated_library(
        pending_stream, "ncclRecv", received, [g] { return arrived(g.get()); },
        [g] { arrive(g.get()); });
    g->comm->async = g->stuck ? ncclRemoteError : ncclInProgress;
    pending_comm = NULL;
    return g->stuck ? ncclSuccess : ncclInProgress;
}

const char *ncclGetErrorString(ncclResult_t result) {
    return result == ncclSuccess           ? "no error"
           : result == ncclInProgress      ? "in progress"
           : result == ncclRemoteError     ? "remote process exited or there was a network error"
           : result == ncclInvalidArgument ? "invalid argument"
                                           : "invalid usage";
}

const char *ncclGetLastError(ncclComm_t) {
    return "";
}
