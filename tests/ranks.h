/* For tests on several ranks: a failed check ends the job at once, so that no rank waits for one
 * that has left its test. */
#ifndef FLIPBOOK_TESTS_RANKS_H
#define FLIPBOOK_TESTS_RANKS_H

#include <flipbook/comm.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            int check_rank_, check_size_;                                                          \
            MPI_Comm_rank(MPI_COMM_WORLD, &check_rank_);                                           \
            MPI_Comm_size(MPI_COMM_WORLD, &check_size_);                                           \
            fprintf(stderr, "%s:%d: [rank %d] %s: ", __FILE__, __LINE__, check_rank_, #condition); \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n");                                                                 \
            if (check_size_ > 1) MPI_Abort(MPI_COMM_WORLD, 1);                                     \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        flip_status check_status_ = (call);                                                        \
        CHECK(check_status_ == FLIP_OK, "%s: %s at %s", #call, flip_error_message(),               \
              flip_error_where());                                                                 \
    } while (0)

#endif
