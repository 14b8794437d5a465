/* What the kernel checkers share: the tables, drawn operands, and comparisons that name what
 * differs. */
#ifndef FLIPBOOK_TESTS_KERNELS_CHECK_H
#define FLIPBOOK_TESTS_KERNELS_CHECK_H

#include <flipbook/kernels.h>

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROUNDING (sizeof(flip_real) == 4 ? 1.2e-7 : 2.3e-16)

static const int widths[] = {1, 2, 3, 7, 16, 17, 32, 33, 64, 100, 128, 256, 4150};
enum { N_WIDTHS = sizeof widths / sizeof *widths - 1, WITH_WIDE };

static const flip_kernels *list[FLIP_KERNEL_TABLES + 1]; /* a GPU's last */
static int n_tables;
static const flip_kernels *gpu; /* or NULL */

/* Zeros that the host and every table reach: operands lie nowhere else, not even on the stack. */
static inline void *get(size_t count, size_t size) {
    void *memory = NULL;
    if (gpu) {
        assert_int_equal(gpu->take_pinned(&memory, count * size, "test"), FLIP_OK);
        memset(memory, 0, count * size);
    } else {
        assert_int_equal(flip_alloc_zero(&memory, count, size, "test"), FLIP_OK);
    }
    return memory;
}

static inline void release(void *memory) {
    if (gpu)
        gpu->give_back_pinned(memory);
    else
        flip_free(memory);
}

static inline void release_all(void **memory, int n) {
    for (int i = 0; i < n; i++)
        release(memory[i]);
}

#define RELEASE(...)                                                                               \
    do {                                                                                           \
        void *all_[] = {__VA_ARGS__};                                                              \
        release_all(all_, (int)(sizeof all_ / sizeof *all_));                                      \
    } while (0)

/* What was called is done, and without a failure. */
static inline void done(const flip_kernels *table) {
    if (table->on_device && table->wait() != FLIP_OK) fail_msg("%s", flip_error_message());
}

#define CALL(table, entry, ...)                                                                    \
    do {                                                                                           \
        (table)->entry(__VA_ARGS__);                                                               \
        done(table);                                                                               \
    } while (0)

/* Values in (-1, 1), a function of the seed. */
static inline flip_real *noise(int64_t n, uint64_t seed) {
    flip_real *x = get((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (flip_real)(2 * flip_random_uniform(seed, FLIP_STREAM_TEST, 1, (uint64_t)i) - 1);
    return x;
}

static inline flip_real *copy_of(const flip_real *x, int64_t n) {
    flip_real *y = get((size_t)n, sizeof *y);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

/* |x - y| <= tolerance everywhere, NaN nowhere. */
static inline void near(const char *what, const flip_real *x, const flip_real *y, int64_t n,
                        double tolerance) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= tolerance))
            fail_msg("%s: element %lld is %.9g, expected %.9g (tolerance %.3g)", what, (long long)i,
                     (double)x[i], (double)y[i], tolerance);
}

static inline void near_double(const char *what, const double *x, const double *y, int64_t n,
                               double tolerance) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance))
            fail_msg("%s: element %lld is %.12g, expected %.12g (tolerance %.3g)", what,
                     (long long)i, x[i], y[i], tolerance);
}

static inline uint64_t chance(uint64_t seed, uint64_t a, uint64_t b, uint64_t below) {
    return flip_random_below(seed, FLIP_STREAM_TEST, 100 + a, b, below);
}

/* Before the tests: the tables, named; one thread. An argument names the tests to run (`cells*`).
 */
static inline void check_begin(int argc, char **argv) {
    n_tables = flip_kernels_list(list);
    if (flip_kernels_cuda_devices() > 0) {
        if (flip_kernels_cuda(&gpu, 0) != FLIP_OK) { /* an entry without a kernel, too */
            fprintf(stderr, "%s\n", flip_error_message());
            exit(1);
        }
        list[n_tables++] = gpu;
    }
#ifdef FLIP_TEST_EMULATED
    assert_non_null(gpu);
#endif
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    omp_set_num_threads(1);
    printf("# tables:");
    for (int t = 0; t < n_tables; t++)
        printf(" %s", list[t]->name);
    printf("\n");
}

#endif
