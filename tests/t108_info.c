/* info: the survey of a random dynamic graph against counts made the slow way, from a dense table
 * of every (step, destination, source). */
#include <flipbook/base.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "datasets/survey.h"

enum { N = 37, T = 23, PARTS = 5 };
static const int64_t part_first[PARTS + 1] = {0, 9, 9, 20, 30, N};

static char path[256];
static int table[T][N][N]; /* events of (step, destination, source) */

static int chance(uint64_t a, uint64_t b, uint64_t percent) {
    return flip_random_below(5, FLIP_STREAM_TEST, a, b, 100) < percent;
}

/* Some pairs recur, some steps are empty, some events come twice. */
static void make_table(void) {
    for (int v = 0; v < N; v++)
        for (int u = 0; u < N; u++)
            for (int t = 0; t < T; t++) {
                uint64_t pair = (uint64_t)(v * N + u), at = pair * T + (uint64_t)t;
                table[t][v][u] =
                    t % 7 == 3 ? 0
                               : chance(1, pair, 20) * chance(2, at, 15) * (1 + chance(3, at, 10));
            }
}

static void write_table(void) {
    int64_t indptr[N + 1] = {0}, *src = malloc(sizeof(int64_t) * T * N * N * 2), n = 0;
    int32_t *step = malloc(sizeof(int32_t) * T * N * N * 2), *label = malloc(4 * T * N * N * 2);
    flip_writer *w;
    for (int v = 0; v < N; v++) {
        for (int t = 0; t < T; t++)
            for (int u = 0; u < N; u++)
                for (int k = 0; k < table[t][v][u]; k++) {
                    src[n] = u;
                    label[n] = t % 3 - 1;
                    step[n++] = t;
                }
        indptr[v + 1] = n;
    }
    assert_int_equal(flip_writer_create(&w, NULL, path, "graph"), FLIP_OK);
    flip_writer_attribute_i64(w, "/", "n_nodes", N);
    flip_writer_attribute_i64(w, "/", "n_steps", T);
    flip_writer_attribute_i64(w, "/", "n_classes", 0);
    flip_writer_attribute_i64(w, "/", "undirected", 0);
    flip_writer_rows(w, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, N + 1, 0, 0, indptr);
    flip_writer_rows(w, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I64, n, 0, 0, src);
    flip_writer_rows(w, "events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, step);
    flip_writer_rows(w, "events/label", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, label);
    flip_writer_rows(w, "parts/first", FLIP_TYPE_I64, FLIP_TYPE_I64, PARTS + 1, 0, 0, part_first);
    assert_int_equal(flip_writer_commit(w), FLIP_OK);
    flip_writer_destroy(&w);
    free(src);
    free(step);
    free(label);
}

static bool alive(int t, int v, int u, int life) {
    for (int k = 0; k < life && t - k >= 0; k++)
        if (table[t - k][v][u]) return true;
    return false;
}

static void check_overlap(const flip_survey_overlap *o) {
    int64_t bins[FLIP_SURVEY_TENTHS] = {0}, n = 0, edges = 0;
    double mean = 0;
    for (int t = 0; t < T; t++) {
        int64_t both = 0, either = 0;
        for (int v = 0; v < N; v++)
            for (int u = 0; u < N; u++) {
                bool now = alive(t, v, u, o->life), before = t && alive(t - 1, v, u, o->life);
                edges += now;
                both += now && before;
                either += now || before;
            }
        if (t == 0 || either == 0) continue;
        bins[10 * both / either < 10 ? 10 * both / either : 9]++;
        mean += (double)both / (double)either;
        n++;
    }
    assert_int_equal(o->n, n);
    assert_memory_equal(o->bins, bins, sizeof bins);
    assert_true(o->mean - mean / (double)n < 1e-12 && mean / (double)n - o->mean < 1e-12);
    assert_true(o->edges - (double)edges / T < 1e-9 && (double)edges / T - o->edges < 1e-9);
}

static int part_of(int v) {
    int p = 0;
    while (v >= part_first[p + 1])
        p++;
    return p;
}

static void check_counts(const flip_survey *s) {
    int64_t pairs = 0, doubled = 0, loops = 0, events = 0, cut = 0, steps[T] = {0},
            classes[3] = {0};
    int64_t in_bins[FLIP_SURVEY_DEGREES] = {0}, out_most = 0;
    for (int v = 0; v < N; v++) {
        int64_t in = 0, out = 0;
        for (int u = 0; u < N; u++) {
            bool any = false;
            for (int t = 0; t < T; t++) {
                int k = table[t][v][u];
                any = any || k;
                doubled += k > 1 ? k - 1 : 0;
                loops += u == v ? k : 0;
                steps[t] += k;
                classes[t % 3] += k;
                cut += part_of(v) != part_of(u) ? k : 0;
                in += k;
                out += table[t][u][v];
            }
            pairs += any;
        }
        int bin = 0;
        while (in >= (int64_t)1 << bin)
            bin++;
        in_bins[bin]++;
        events += in;
        if (out > out_most) out_most = out;
    }
    assert_int_equal(s->n_events, events);
    assert_int_equal(s->n_pairs, pairs);
    assert_int_equal(s->n_doubled, doubled);
    assert_int_equal(s->n_loops, loops);
    assert_int_equal(s->cut, cut);
    assert_int_equal(s->out.most, out_most);
    assert_memory_equal(s->step_events, steps, sizeof steps);
    assert_memory_equal(s->in.bins, in_bins, sizeof in_bins);
    assert_int_equal(s->n_edge_classes, 2);
    assert_int_equal(s->n_edge_none, classes[0]);
    assert_int_equal(s->edge_class_count[0], classes[1]);
    assert_int_equal(s->edge_class_count[1], classes[2]);
}

/* Two ranks: runs of parts balanced by nodes; here the parts 0 … 2 and 3, 4. */
static void check_halo(const flip_survey *s) {
    int64_t boundary = s->rank_nodes[1] == 20 ? 20 : N - s->rank_nodes[1], most = 0;
    for (int r = 0; r < 2; r++) {
        int64_t first = r ? boundary : 0, last = r ? N : boundary, halo = 0;
        for (int u = 0; u < N; u++) {
            bool needed = false;
            for (int64_t v = first; v < last; v++)
                for (int t = 0; t < T; t++)
                    needed = needed || table[t][v][u];
            halo += needed && (u < first || u >= last);
        }
        if (halo > most) most = halo;
    }
    assert_int_equal(s->rank_halo[0], 0);
    assert_int_equal(s->rank_halo[1], most);
    assert_int_equal(s->rank_nodes[0], N);
}

static void survey(void **state) {
    (void)state;
    flip_reader *reader;
    flip_survey s;
    make_table();
    write_table();
    assert_int_equal(flip_reader_open(&reader, NULL, path, "graph"), FLIP_OK);
    if (flip_survey_make(&s, reader) != FLIP_OK) fail_msg("%s", flip_error_message());
    assert_int_equal(s.n_overlaps, 2);
    check_overlap(&s.overlap[0]);
    check_overlap(&s.overlap[1]);
    check_counts(&s);
    check_halo(&s);
    flip_survey_finish(&s);
    flip_reader_close(&reader);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(survey)};
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/flipbook-t108-%ld.h5", base ? base : "/tmp", (long)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
