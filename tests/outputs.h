/* What a kernel table gave, kept to be compared: every table against the definition, twice with the
 * same bits, and the definition against plain loops in double. */
#ifndef FLIPBOOK_TESTS_OUTPUTS_H
#define FLIPBOOK_TESTS_OUTPUTS_H

#include "kernels_check.h"

enum { MOST_OUTPUTS = 16 };

typedef struct outputs {
    int n;
    const char *name[MOST_OUTPUTS];
    double *value[MOST_OUTPUTS];
    int64_t size[MOST_OUTPUTS];
} outputs;

static inline double *add_output(outputs *o, const char *name, int64_t n) {
    assert_true(o->n < MOST_OUTPUTS);
    o->name[o->n] = name;
    o->size[o->n] = n;
    o->value[o->n] = calloc((size_t)n + 1, sizeof(double));
    assert_non_null(o->value[o->n]);
    return o->value[o->n++];
}

static inline void keep(outputs *o, const char *name, const flip_real *x, int64_t n) {
    double *to = add_output(o, name, n);
    for (int64_t i = 0; i < n; i++)
        to[i] = (double)x[i];
}

static inline void keep_double(outputs *o, const char *name, const double *x, int64_t n) {
    memcpy(add_output(o, name, n), x, (size_t)n * sizeof *x);
}

static inline void free_outputs(outputs *o) {
    for (int i = 0; i < o->n; i++)
        free(o->value[i]);
    o->n = 0;
}

/* To `units` of rounding of the largest value that is wanted; 0: the same bits. */
static inline void compare(const char *what, const outputs *got, const outputs *want,
                           double units) {
    assert_int_equal(got->n, want->n);
    for (int k = 0; k < got->n; k++) {
        double most = 1;
        for (int64_t i = 0; i < want->size[k]; i++)
            most = fmax(most, fabs(want->value[k][i]));
        for (int64_t i = 0; i < want->size[k]; i++)
            if (!(fabs(got->value[k][i] - want->value[k][i]) <= units * ROUNDING * most))
                fail_msg("%s: %s[%lld] is %.9g, expected %.9g", what, got->name[k], (long long)i,
                         got->value[k][i], want->value[k][i]);
    }
}

typedef void (*run_of)(const flip_kernels *table, const void *c, outputs *out);

/* `plain` may be NULL where another test holds the definition against plain loops. */
static inline void every_table(run_of run, const void *c,
                               void (*plain)(const void *c, outputs *out)) {
    outputs want = {0}, expected = {0};
    run(list[0], c, &want);
    if (plain) {
        plain(c, &expected);
        compare("plain loops", &want, &expected, 400);
        free_outputs(&expected);
    }
    for (int t = 0; t < n_tables; t++) {
        outputs once = {0}, again = {0};
        run(list[t], c, &once);
        omp_set_num_threads(2);
        run(list[t], c, &again);
        omp_set_num_threads(1);
        compare(list[t]->name, &again, &once, 0);
        compare(list[t]->name, &once, &want, 400);
        free_outputs(&once);
        free_outputs(&again);
    }
    free_outputs(&want);
}

/* Every table gives the definition's bits. */
static inline void same_bits(run_of run, const void *c) {
    outputs want = {0};
    run(list[0], c, &want);
    for (int t = 0; t < n_tables; t++) {
        outputs got = {0};
        omp_set_num_threads(2);
        run(list[t], c, &got);
        omp_set_num_threads(1);
        compare(list[t]->name, &got, &want, 0);
        free_outputs(&got);
    }
    free_outputs(&want);
}

static inline double *noise_double(int64_t n, uint64_t seed) {
    double *x = get((size_t)n + 1, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 2 * flip_random_uniform(seed, FLIP_STREAM_TEST, 2, (uint64_t)i) - 1;
    return x;
}

#endif
