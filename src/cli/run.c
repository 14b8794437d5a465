#include "cli/run.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

static MPI_Comm farewell = MPI_COMM_NULL;

void flip_run_begin(int *argc, char ***argv, bool threads) {
    int provided;
    MPI_Init_thread(argc, argv, threads ? MPI_THREAD_MULTIPLE : MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_dup(MPI_COMM_WORLD, &farewell);
}

flip_status flip_run_same_command(const char *name) {
    int64_t mine = (int64_t)XXH3_64bits(name, strlen(name)), lowest, highest;
    MPI_Allreduce(&mine, &lowest, 1, MPI_INT64_T, MPI_MIN, farewell);
    MPI_Allreduce(&mine, &highest, 1, MPI_INT64_T, MPI_MAX, farewell);
    if (lowest == highest) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE, "the ranks run different commands of flipbook; give mpirun "
                                       "the same command for all of them");
}

/* All ranks' (code, message hash), or false when they did not all come in time. */
static bool meet(const int64_t mine[2], int64_t lowest[2], int64_t highest[2]) {
    MPI_Request requests[2];
    MPI_Iallreduce(mine, lowest, 2, MPI_INT64_T, MPI_MIN, farewell, &requests[0]);
    MPI_Iallreduce(mine, highest, 2, MPI_INT64_T, MPI_MAX, farewell, &requests[1]);
    double until = flip_seconds() + 2.0;
    for (;;) {
        int done = 0;
        MPI_Testall(2, requests, &done, MPI_STATUSES_IGNORE);
        if (done) return true;
        if (mine[0] != 0 && flip_seconds() > until) return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* A message that came from another rank begins with it: "rank 3: …" (flip_comm_agree). */
static const char *bare(const char *message, int *rank) {
    int length = 0;
    if (sscanf(message, "rank %d: %n", rank, &length) == 1 && length > 0) return message + length;
    return message;
}

int flip_run_end(int code) {
    int running = 0, finished = 0, rank = 0, size = 1, origin = -1;
    const char *message = bare(flip_error_message(), &origin);
    MPI_Initialized(&running);
    if (running) MPI_Finalized(&finished);
    running = running && !finished;
    if (running) {
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &size);
    }
    bool together = true, same = true;
    if (running && size > 1) {
        int64_t mine[2] = {code, (int64_t)XXH3_64bits(message, strlen(message))};
        int64_t lowest[2], highest[2];
        together = meet(mine, lowest, highest);
        same = together && lowest[0] == highest[0] && lowest[1] == highest[1];
        if (together && highest[0] > code) code = (int)highest[0];
    }
    if (message[0]) {
        bool one_voice = size == 1 || same;
        if (one_voice && rank == 0 && origin < 0) fprintf(stderr, "flipbook: %s\n", message);
        if (!one_voice || (rank == 0 && origin >= 0))
            fprintf(stderr, "flipbook: [rank %d] %s\n", origin < 0 ? rank : origin, message);
    }
    fflush(stdout);
    fflush(stderr);
    if (!running) return code;
    if (!together) MPI_Abort(MPI_COMM_WORLD, code);
    MPI_Comm_free(&farewell);
    MPI_Finalize();
    return code;
}
