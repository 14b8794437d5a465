/* What the snapshots of a block hold, as one matrix and its transpose: made by a table's kernels,
 * and held against sums and searches over dense arrays. */
#ifndef FLIPBOOK_TESTS_RUNS_CHECK_H
#define FLIPBOOK_TESTS_RUNS_CHECK_H

#include "kernels_check.h"

/* How a matrix is made of the snapshots. */
typedef struct making {
    flip_run_scale how;
    int32_t window;
    bool levels; /* of streams without weights; no values */
} making;

static const making makings[] = {
    {FLIP_RUNS_PLAIN, 1, false},     {FLIP_RUNS_SYMMETRIC, 1, false}, {FLIP_RUNS_MEAN, 1, false},
    {FLIP_RUNS_PLAIN, 3, false},     {FLIP_RUNS_MEAN, 2, false},      {FLIP_RUNS_PLAIN, 1, true},
    {FLIP_RUNS_SYMMETRIC, 4, false}, {FLIP_RUNS_INOUT, 1, false},     {FLIP_RUNS_INOUT, 3, false},
};
enum { MAKINGS = sizeof makings / sizeof *makings };

typedef struct matrix {
    making how;
    int64_t count[4]; /* entries, runs, values of all steps, of the last ones */
    int32_t n, first, before;
    flip_csr_arrays raw, a, at; /* raw: of all steps, a and at: of the last ones */
    int64_t *turned;            /* place of a's entries in at */
} matrix;

static flip_csr_arrays make_arrays(int32_t n, const int64_t count[4], int64_t n_values) {
    const size_t entries = (size_t)count[0], runs = (size_t)count[1], values = (size_t)n_values;
    return (flip_csr_arrays){.row_ptr = get((size_t)n + 1, sizeof(int64_t)),
                             .col = get(entries + 1, sizeof(int32_t)),
                             .run_first = get(runs + 1, sizeof(int32_t)),
                             .run_ptr = get(entries + 1, sizeof(uint32_t)),
                             .value_ptr = get(runs + 1, sizeof(uint32_t)),
                             .value = get(values + 1, sizeof(flip_real)),
                             .row = get(entries + 1, sizeof(int32_t))};
}

static void free_arrays(flip_csr_arrays *x) {
    RELEASE(x->row_ptr, x->col, x->run_first, x->run_ptr, x->value_ptr, x->value, x->row);
}

static flip_csr matrix_of(const flip_csr_arrays *x, int32_t n, int32_t steps,
                          const int64_t count[4], int64_t n_values) {
    return (flip_csr){.n_rows = n,
                      .n_cols = n,
                      .n_own = n,
                      .n_steps = steps,
                      .n_entries = count[0],
                      .n_values = n_values,
                      .row_ptr = x->row_ptr,
                      .col = x->col,
                      .run_ptr = x->run_ptr,
                      .run_first = x->run_first,
                      .value_ptr = x->value_ptr,
                      .value = x->value};
}

static void copy_entries(flip_csr_arrays *to, const flip_csr_arrays *from, int32_t n,
                         const int64_t count[4]) {
    memcpy(to->row_ptr, from->row_ptr, ((size_t)n + 1) * sizeof *to->row_ptr);
    memcpy(to->col, from->col, (size_t)count[0] * sizeof *to->col);
    memcpy(to->row, from->row, (size_t)count[0] * sizeof *to->row);
    memcpy(to->run_ptr, from->run_ptr, ((size_t)count[0] + 1) * sizeof *to->run_ptr);
}

/* By these kernels, of snapshots from step `first` on; they make places of rows out of `order`,
 * which is its own inverse. Without a window values are scaled where they are. */
static matrix make_matrix(const flip_kernels *k, const flip_block_entries *b, int32_t first,
                          making how) {
    matrix m = {.how = how, .n = b->n_rows, .first = first, .before = b->before};
    const int32_t n = b->n_rows;
    const bool in_place = how.window <= 1, bare = how.levels;
    int64_t *count = get(4, sizeof *count);
    void *work = get(flip_runs_work(flip_mentions_of(b), n, b->n_steps), 1);
    CALL(k, count_runs, b, count, work);
    memcpy(m.count, count, sizeof m.count);
    const int64_t values = m.count[2], kept = m.count[3];
    m.raw = make_arrays(n, count, values);
    m.a = make_arrays(n, count, kept);
    m.at = make_arrays(n, count, kept);
    m.turned = get((size_t)count[0] + 1, sizeof *m.turned);
    if (bare) RELEASE(m.raw.value, m.a.value, m.at.value);
    if (bare) m.raw.value = m.a.value = m.at.value = NULL;
    CALL(k, lay_runs, b, in_place ? &m.a : &m.raw, work);
    copy_entries(in_place ? &m.raw : &m.a, in_place ? &m.a : &m.raw, n, count);
    if (in_place) {
        memcpy(m.raw.run_first, m.a.run_first, (size_t)count[1] * sizeof *m.a.run_first);
        memcpy(m.raw.value_ptr, m.a.value_ptr, ((size_t)count[1] + 1) * sizeof *m.a.value_ptr);
        if (!bare) memcpy(m.raw.value, m.a.value, (size_t)values * sizeof *m.a.value);
    }
    const flip_csr all = matrix_of(in_place ? &m.a : &m.raw, n, b->n_steps, count, values);
    const flip_csr a = matrix_of(&m.a, n, b->n_steps - b->before, count, kept);
    flip_csr_arrays columns = make_arrays(n, count, how.how == FLIP_RUNS_INOUT ? values : 0);
    const flip_csr turned = matrix_of(&columns, n, b->n_steps, count, values);
    if (how.how == FLIP_RUNS_INOUT)
        CALL(k, turn_runs, &all, m.a.row, NULL, b->place_bits, &columns, NULL, work);
    const flip_run_scaling scaling = {.how = how.how,
                                      .window = how.window,
                                      .first = first,
                                      .before = b->before,
                                      .n_runs = count[1],
                                      .turned = &turned};
    if (!bare) CALL(k, scale_runs, &all, m.a.row, &scaling, &m.a, work);
    RELEASE(work);
    work = get(flip_runs_work(count[0], n, b->n_steps), 1);
    CALL(k, turn_runs, &a, m.a.row, b->order, b->place_bits, &m.at, m.turned, work);
    RELEASE(count, work);
    free_arrays(&columns);
    return m;
}

static void free_matrix(matrix *m) {
    if (!m->a.row_ptr) return;
    free_arrays(&m->a);
    free_arrays(&m->raw);
    free_arrays(&m->at);
    RELEASE(m->turned);
}

/* The value of [v, place] at step t of the snapshots; absent. */
static flip_real value_of(const flip_entries *s, int32_t v, int32_t place) {
    const uint64_t key = (uint64_t)v << 32 | (uint64_t)place;
    for (int64_t i = 0; i < s->n; i++)
        if (s->key[i] == key) return s->value[i];
    return flip_absent();
}

/* Is there a value at one of the window's steps, up to step t? */
static bool stays(const flip_block_entries *b, const flip_entries *want, int32_t v, int32_t place,
                  int32_t t) {
    for (int32_t s = t - b->stay; s <= t; s++)
        if (s >= 0 && !flip_is_absent(value_of(&want[s], v, place))) return true;
    return false;
}

/* The k-th of an entry's events lives where there are so many, line 0 where there is none. */
static bool level_lives(const flip_entries *want, int32_t v, int32_t place, int32_t k, int32_t t) {
    const flip_real value = value_of(&want[t], v, place);
    return k == 0 ? flip_is_absent(value) : !flip_is_absent(value) && value >= (flip_real)k;
}

/* An entry for each event of those of a pair that are there together; of a row's own column one
 * more, behind them. */
static void check_levels(const matrix *m, const flip_block_entries *b, const flip_entries *want) {
    enum { MOST = 64 };
    int64_t e = 0, r = 0, i = 0;
    for (int32_t v = 0; v < b->n_rows; v++) {
        assert_int_equal(m->a.row_ptr[v], e);
        for (int32_t place = 0; place < b->n_rows; place++)
            for (int32_t k = 1; k <= MOST; k++) {
                const int32_t line = k == MOST ? 0 : k;
                bool was = false, any = false;
                if (line == 0 && b->own_place[v] != place) continue;
                for (int32_t t = 0; t < b->n_steps; t++) {
                    const bool lives = level_lives(want, v, place, line, t);
                    if (lives && !any) {
                        assert_int_equal(m->a.row[e], v);
                        assert_int_equal(m->a.col[e], b->order[place]);
                        assert_int_equal(m->a.run_ptr[e++], r);
                    }
                    if (lives && !was) {
                        assert_int_equal(m->a.run_first[r], t);
                        assert_int_equal(m->a.value_ptr[r++], i);
                    }
                    i += lives;
                    any = any || lives;
                    was = lives;
                }
            }
    }
    assert_int_equal(m->a.row_ptr[b->n_rows], e);
    assert_int_equal(m->a.run_ptr[e], r);
    assert_int_equal(m->a.value_ptr[r], i);
    assert_int_equal(m->count[0], e);
    assert_int_equal(m->count[1], r);
    assert_int_equal(m->count[2], i);
    assert_int_equal(m->count[3], i);
}

/* Each of the raw matrix's numbers from the snapshots of its steps, one after the other. */
static void check_dense(const matrix *m, const flip_block_entries *b, const flip_entries *want) {
    const flip_csr_arrays *a = &m->raw;
    int64_t e = 0, r = 0, i = 0, kept = 0;
    for (int32_t v = 0; v < b->n_rows; v++) {
        assert_int_equal(a->row_ptr[v], e);
        for (int32_t place = 0; place < b->n_rows; place++) {
            const bool own = b->own_place && b->own_place[v] == place;
            bool any = own, was = false;
            for (int32_t t = 0; t < b->n_steps; t++)
                any = any || !flip_is_absent(value_of(&want[t], v, place));
            if (!any) continue;
            assert_int_equal(a->row[e], v);
            assert_int_equal(a->col[e], b->order[place]);
            assert_int_equal(a->run_ptr[e++], r);
            for (int32_t t = 0; t < b->n_steps; t++) {
                const flip_real value = value_of(&want[t], v, place);
                const bool lives = own || stays(b, want, v, place, t);
                if (lives && !was) {
                    assert_int_equal(a->run_first[r], t);
                    assert_int_equal(a->value_ptr[r++], i);
                }
                was = lives;
                if (!lives) continue;
                kept += t >= b->before;
                const flip_real there = flip_is_absent(value) ? 0 : value;
                if (!flip_same_bits(a->value[i++], there))
                    fail_msg("[%d, %d] at step %d: %g, want %g", v, place, t,
                             (double)a->value[i - 1], (double)there);
            }
        }
    }
    assert_int_equal(a->row_ptr[b->n_rows], e);
    assert_int_equal(a->run_ptr[e], r);
    assert_int_equal(a->value_ptr[r], i);
    assert_int_equal(m->count[0], e);
    assert_int_equal(m->count[1], r);
    assert_int_equal(m->count[2], i);
    assert_int_equal(m->count[3], kept);
}

/* What row v's raw values at step t add up to, entry after entry. */
static double sum_of(const matrix *m, int32_t v, int32_t t) {
    const flip_csr_arrays *a = &m->raw;
    double sum = 0;
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++)
        for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++) {
            const int64_t i = t - a->run_first[r], at = a->value_ptr[r];
            if (i >= 0 && i < a->value_ptr[r + 1] - at) sum += (double)a->value[at + i];
        }
    return sum;
}

/* The same of column u, row after row. */
static double column_sum(const matrix *m, int32_t n, int32_t u, int32_t t) {
    const flip_csr_arrays *a = &m->raw;
    double sum = 0;
    for (int64_t e = 0; e < a->row_ptr[n]; e++)
        for (int64_t r = a->run_ptr[e]; a->col[e] == u && r < a->run_ptr[e + 1]; r++) {
            const int64_t i = t - a->run_first[r], at = a->value_ptr[r];
            if (i >= 0 && i < a->value_ptr[r + 1] - at) sum += (double)a->value[at + i];
        }
    return sum;
}

static flip_real factor_of(double sum) {
    return (flip_real)(1.0 / sqrt(1.0 + sum));
}

/* Weights that cancel make factors that are no numbers, whose bits a machine chooses. */
static bool same_value(flip_real a, flip_real b) {
    return isnan(b) ? isnan(a) && flip_is_absent(a) == flip_is_absent(b) : flip_same_bits(a, b);
}

/* Raw run r of [v, u] at step t, scaled. */
static double scaled_at(const matrix *m, int32_t v, int32_t u, int64_t r, int32_t t) {
    const double x = (double)m->raw.value[m->raw.value_ptr[r] + (t - m->raw.run_first[r])];
    const double sum = m->how.how == FLIP_RUNS_MEAN ? sum_of(m, v, t) : 0;
    if (m->how.how == FLIP_RUNS_PLAIN) return x;
    if (m->how.how == FLIP_RUNS_MEAN) return sum != 0 ? x / sum : 0;
    const double other =
        m->how.how == FLIP_RUNS_INOUT ? column_sum(m, m->n, u, t) : sum_of(m, u, t);
    return (x + (u == v)) * ((double)factor_of(sum_of(m, v, t)) * (double)factor_of(other));
}

/* What an average is: steps of the same multiple of the window as t, then those of the one before.
 */
static double averaged_at(const matrix *m, int32_t v, int32_t u, int64_t r, int32_t t) {
    const int32_t w = m->how.window, now = m->first + t;
    double head = 0, tail = 0;
    if (w <= 1) return scaled_at(m, v, u, r, t);
    for (int32_t s = m->raw.run_first[r]; s <= t; s++)
        if ((m->first + s) / w == now / w) head += scaled_at(m, v, u, r, s);
    for (int32_t s = t; s >= m->raw.run_first[r] && s > t - w; s--)
        if ((m->first + s) / w != now / w) tail += scaled_at(m, v, u, r, s);
    return (tail + head) / (now + 1 < w ? now + 1 : w);
}

/* A run has those of its steps that are not before. */
static void check_scaled(const matrix *m, int32_t n) {
    int64_t at = 0;
    for (int32_t v = 0; v < n; v++)
        for (int64_t e = m->a.row_ptr[v]; e < m->a.row_ptr[v + 1]; e++)
            for (int64_t r = m->a.run_ptr[e]; r < m->a.run_ptr[e + 1]; r++) {
                const int32_t u = m->a.col[e], raw = m->raw.run_first[r],
                              from = raw > m->before ? raw : m->before,
                              end = raw + (int32_t)(m->raw.value_ptr[r + 1] - m->raw.value_ptr[r]);
                assert_int_equal(m->a.run_first[r], from - m->before);
                assert_int_equal(m->a.value_ptr[r], at);
                for (int32_t t = from; t < end; t++) {
                    const double x = averaged_at(m, v, u, r, t);
                    if (!same_value(m->a.value[at++], (flip_real)x))
                        fail_msg("scaled %d over %d: [%d, %d] at step %d: %.9g, want %.9g",
                                 m->how.how, m->how.window, v, u, t, (double)m->a.value[at - 1], x);
                }
            }
    assert_int_equal(m->a.value_ptr[m->count[1]], at);
    assert_int_equal(m->count[3], at);
}

/* The transpose has each entry once, in order, with its runs and values. */
static void check_turned(const matrix *m, int32_t n, const int32_t *place) {
    int64_t p = 0, q = 0, j = 0;
    for (int32_t u = 0; u < n; u++) {
        assert_int_equal(m->at.row_ptr[u], p);
        for (int32_t i = 0; i < n; i++) {
            const int32_t v = place[i]; /* the row at place i */
            for (int64_t e = m->a.row_ptr[v]; e < m->a.row_ptr[v + 1]; e++) {
                if (m->a.col[e] != u) continue;
                assert_int_equal(m->at.col[p], v);
                assert_int_equal(m->turned[e], p);
                assert_int_equal(m->at.run_ptr[p++], q);
                for (int64_t r = m->a.run_ptr[e]; r < m->a.run_ptr[e + 1]; r++) {
                    const int64_t at = m->a.value_ptr[r], length = m->a.value_ptr[r + 1] - at;
                    assert_int_equal(m->at.run_first[q], m->a.run_first[r]);
                    assert_int_equal(m->at.value_ptr[q++], j);
                    if (m->a.value)
                        assert_memory_equal(m->at.value + j, m->a.value + at,
                                            (size_t)length * sizeof *m->a.value);
                    j += length;
                }
            }
        }
    }
    assert_int_equal(m->at.row_ptr[n], p);
    assert_int_equal(p, m->count[0]);
    assert_int_equal(m->at.run_ptr[p], q);
    assert_int_equal(m->at.value_ptr[q], j);
}

#endif
