/* An MPI that takes the device's memory, where FLIP_EMULATION has `aware`: what the profiling
 * interface lets stand before the MPI there is. Messages of host memory go through untouched.
 *
 * MPI knows of no stream. So a message is a work of a stream of its own, which begins at the call,
 * after all that the host knows to be done and nothing else, and ends when the host has waited for
 * it: a kernel before it that was not waited for, and one after it that does not wait, are told by
 * the same check as two streams with no event between them. What is received is NaN until then. */
#define OMPI_SKIP_MPICXX
#include <memory> /* before CUDA's words */
#include <mpi.h>
#ifdef OPEN_MPI
#include <mpi-ext.h>
#endif

#include "emulation.h"

#include <map>
#include <mutex>
#include <string.h>

struct message {
    flip_emulated_span span; /* written: it is received */
    std::shared_ptr<std::vector<char>> host;
};

static std::mutex one_at_a_time;
static std::map<MPI_Request, message> under_way;

static cudaStream_t stream_of_messages(void) {
    static cudaStream_t stream;
    if (!stream) cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    return stream;
}

extern "C" int MPIX_Query_cuda_support(void) {
    return flip_emulated_options_get()->aware;
}

/* Is it the device's? Then the message begins, by way of host memory: `post` hands that to MPI. */
static bool set_out(const void *memory, int count, MPI_Datatype type, bool writes, const char *what,
                    MPI_Request *request, const std::function<void(void *)> &post) {
    const flip_emulated_allocation *a = count > 0 ? flip_emulated_near(memory) : NULL;
    if (!a || a->pinned) return false;
    if (!flip_emulated_options_get()->aware)
        flip_emulated_fail("%s: '%s' is the device's memory, and this MPI is not CUDA-aware", what,
                           a->name);
    if (type != MPI_BYTE) flip_emulated_fail("%s: of the device's memory it takes bytes", what);
    const message m = {{const_cast<void *>(memory), (size_t)count, writes},
                       std::make_shared<std::vector<char>>((size_t)count)};
    flip_emulated_library(
        stream_of_messages(), what, {m.span}, [] { return true; },
        [&m, &post] {
            if (m.span.writes)
                memset(m.span.memory, 0xff, m.span.bytes);
            else
                memcpy(m.host->data(), m.span.memory, m.span.bytes);
            post(m.host->data());
        });
    flip_emulated_go_on(stream_of_messages());
    std::lock_guard<std::mutex> entered(one_at_a_time);
    under_way[*request] = m;
    return true;
}

/* Weak: a test that counts messages (tests/sends.h) stands before MPI itself. A short message by
 * PMPI_Isend may be over at once, and then has no request of its own. */
extern "C" __attribute__((weak)) int MPI_Isend(const void *memory, int count, MPI_Datatype type,
                                               int peer, int tag, MPI_Comm comm,
                                               MPI_Request *request) {
    int code = MPI_SUCCESS;
    const auto post = [&](const void *from) {
        code = PMPI_Issend(from, count, type, peer, tag, comm, request);
    };
    return set_out(memory, count, type, false, "MPI_Isend", request, post)
               ? code
               : PMPI_Isend(memory, count, type, peer, tag, comm, request);
}

extern "C" __attribute__((weak)) int MPI_Irecv(void *memory, int count, MPI_Datatype type, int peer,
                                               int tag, MPI_Comm comm, MPI_Request *request) {
    int code = MPI_SUCCESS;
    const auto post = [&](void *into) {
        code = PMPI_Irecv(into, count, type, peer, tag, comm, request);
    };
    return set_out(memory, count, type, true, "MPI_Irecv", request, post)
               ? code
               : PMPI_Irecv(memory, count, type, peer, tag, comm, request);
}

/* Those of the device; taken out before MPI ends them, as it gives the same names anew. */
static std::map<MPI_Request, message> take(int n, const MPI_Request *requests) {
    std::lock_guard<std::mutex> entered(one_at_a_time);
    std::map<MPI_Request, message> taken;
    for (int i = 0; i < n && !under_way.empty(); i++) {
        const auto found = under_way.find(requests[i]);
        if (found == under_way.end()) continue;
        taken.insert(*found);
        under_way.erase(found);
    }
    return taken;
}

static void arrive(const std::map<MPI_Request, message> &taken) {
    for (const auto &one : taken)
        flip_emulated_ended(stream_of_messages(), one.second.span, one.second.host->data());
}

extern "C" __attribute__((weak)) int MPI_Waitall(int n, MPI_Request *requests,
                                                 MPI_Status *statuses) {
    const auto taken = take(n, requests);
    const int code = PMPI_Waitall(n, requests, statuses);
    arrive(taken);
    return code;
}

extern "C" __attribute__((weak)) int MPI_Testall(int n, MPI_Request *requests, int *done,
                                                 MPI_Status *statuses) {
    auto taken = take(n, requests);
    const int code = PMPI_Testall(n, requests, done, statuses);
    if (*done) {
        arrive(taken);
    } else {
        std::lock_guard<std::mutex> entered(one_at_a_time);
        under_way.merge(taken);
    }
    return code;
}
