/* Every send of the program under test, watched between MPI_Isend and its completion.
 *
 * The profiling interface of MPI lets a test stand between the library and MPI. Sends become
 * synchronous (where the test does not say otherwise, for speed), so that a wait that would only
 * end thanks to MPI's own buffers never ends here; a buffer that changes while its send is in
 * flight is found, whether or not the receiver has it already; and what was sent and never waited
 * for is left over in `sends_in_flight`. */
#ifndef FLIPBOOK_TESTS_SENDS_H
#define FLIPBOOK_TESTS_SENDS_H

#include "ranks.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SENDS_MOST = 1 << 14 };

static struct watched_send {
    MPI_Request request;
    const unsigned char *data;
    int bytes, peer, tag;
    uint64_t sum;
} sends_watched[SENDS_MOST];
static int sends_in_flight;
static bool sends_synchronous = true;
static uint64_t sends_done;

/* FNV-1a. */
static uint64_t sends_sum(const unsigned char *data, int bytes) {
    uint64_t sum = 14695981039346656037u;
    for (int i = 0; i < bytes; i++)
        sum = (sum ^ data[i]) * 1099511628211u;
    return sum;
}

int MPI_Isend(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm on,
              MPI_Request *request) {
    int size, code;
    if (!sends_synchronous) /* sends that are over at once may share one request: not watched */
        return PMPI_Isend(data, count, type, peer, tag, on, request);
    MPI_Type_size(type, &size);
    CHECK(sends_in_flight < SENDS_MOST, "%d sends in flight", sends_in_flight);
    struct watched_send *s = &sends_watched[sends_in_flight++];
    *s = (struct watched_send){
        .data = data, .bytes = count * size, .peer = peer, .tag = tag, .sum = 0};
    s->sum = sends_sum(s->data, s->bytes);
    code = PMPI_Issend(data, count, type, peer, tag, on, request);
    s->request = *request;
    return code;
}

/* Sends among these requests are over. */
static void sends_end(int n, const MPI_Request *requests) {
    for (int i = 0; i < n; i++)
        for (int k = sends_in_flight - 1; k >= 0; k--) {
            const struct watched_send s = sends_watched[k];
            if (requests[i] == MPI_REQUEST_NULL || s.request != requests[i]) continue;
            CHECK(sends_sum(s.data, s.bytes) == s.sum,
                  "%d bytes to rank %d (tag %d) changed while they were in flight", s.bytes, s.peer,
                  s.tag);
            sends_watched[k] = sends_watched[--sends_in_flight];
            sends_done++;
            break;
        }
}

int MPI_Waitall(int n, MPI_Request *requests, MPI_Status *statuses) {
    MPI_Request *before = n > 0 ? malloc((size_t)n * sizeof *before) : NULL;
    if (n > 0) memcpy(before, requests, (size_t)n * sizeof *before);
    int code = PMPI_Waitall(n, requests, statuses);
    sends_end(n, before);
    free(before);
    return code;
}

int MPI_Testall(int n, MPI_Request *requests, int *done, MPI_Status *statuses) {
    MPI_Request *before = n > 0 ? malloc((size_t)n * sizeof *before) : NULL;
    if (n > 0) memcpy(before, requests, (size_t)n * sizeof *before);
    int code = PMPI_Testall(n, requests, done, statuses);
    if (*done) sends_end(n, before);
    free(before);
    return code;
}

/* The last test: none is left. */
static void sends_over(void **state) {
    int size;
    (void)state;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(sends_in_flight == 0, "%d sends were never waited for", sends_in_flight);
    CHECK(size == 1 || sends_done > 0, "no send was seen");
}

#endif
