/* check: a good graph passes; one thing wrong at a time is refused with its exact message. */
#include <flipbook/container.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[256];

/* Four nodes, three steps, two classes, mirrored events, in two parts; every optional dataset that
 * can stand beside the others. A fault changes one number of it. */
typedef struct sample {
    int64_t n_nodes, n_steps, n_classes, undirected, n_columns;
    double step_width;
    int64_t indptr[5], src[6];
    int32_t step[6], event_label[6];
    double weight[6];
    int64_t feature_ptr[5];
    int32_t feature_index[5];
    double feature_value[5], targets[4][3][2];
    int32_t label[4];
    int8_t splits[2][4];
    int64_t original[4], name_ptr[5], parts[3];
    const char *names, *event_names, *node_names, *extra, *without;
    int64_t feature_rows, split_nodes, n_changes, change_node[3];
    int32_t change_step[3];
    flip_type step_type;
} sample;

static const sample good = {
    .n_nodes = 4,
    .n_steps = 3,
    .n_classes = 2,
    .undirected = 1,
    .n_columns = 7,
    .step_width = 86400,
    .indptr = {0, 2, 4, 6, 6},
    .src = {1, 2, 0, 2, 0, 1},
    .step = {0, 1, 0, 2, 1, 2},
    .event_label = {0, 1, -1, 0, 1, 0},
    .weight = {1, 2, 1, 0.5, 2, 0.5},
    .feature_ptr = {0, 1, 3, 3, 5},
    .feature_index = {6, 0, 3, 2, 4},
    .feature_value = {1, 1, 2, 3, 1},
    .label = {0, 1, -1, 1},
    .splits = {{0, 1, 2, -1}, {-1, 2, 1, 0}},
    .original = {3, 1, 0, 2},
    .name_ptr = {0, 1, 3, 3, 4},
    .parts = {0, 3, 4},
    .names = "spam\nham\n",
    .event_names = "-1\n1",
    .node_names = "abcd",
    .feature_rows = 5,
    .split_nodes = 4,
    .n_changes = 0,
    .step_type = FLIP_TYPE_I32,
};

static bool with(const sample *g, const char *name) {
    return !g->without || strcmp(g->without, name) != 0;
}

static void rows(flip_writer *w, const sample *g, const char *name, flip_type disk,
                 flip_type memory, int64_t n, int64_t dim2, int64_t dim3, const void *data) {
    if (with(g, name))
        assert_int_equal(flip_writer_rows(w, name, disk, memory, n, dim2, dim3, data), FLIP_OK);
}

static void write_labels(flip_writer *w, const sample *g) {
    if (g->n_changes) {
        rows(w, g, "labels/node", FLIP_TYPE_I64, FLIP_TYPE_I64, g->n_changes, 0, 0, g->change_node);
        rows(w, g, "labels/step", FLIP_TYPE_I32, FLIP_TYPE_I32, g->n_changes, 0, 0, g->change_step);
    }
    rows(w, g, "labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, g->n_changes ? g->n_changes : 4, 0, 0,
         g->label);
    rows(w, g, "labels/names", FLIP_TYPE_U8, FLIP_TYPE_U8, (int64_t)strlen(g->names), 0, 0,
         g->names);
    rows(w, g, "targets/values", FLIP_TYPE_F32, FLIP_TYPE_F64, 4, 3, 2, g->targets);
    rows(w, g, "splits", FLIP_TYPE_I8, FLIP_TYPE_I8, 2, g->split_nodes, 0, g->splits);
}

static void write_events(flip_writer *w, const sample *g) {
    rows(w, g, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, 5, 0, 0, g->indptr);
    rows(w, g, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I64, 6, 0, 0, g->src);
    rows(w, g, "events/step", g->step_type, FLIP_TYPE_I32, 6, 0, 0, g->step);
    rows(w, g, "events/weight", FLIP_TYPE_F32, FLIP_TYPE_F64, 6, 0, 0, g->weight);
    rows(w, g, "events/label", FLIP_TYPE_I32, FLIP_TYPE_I32, 6, 0, 0, g->event_label);
    rows(w, g, "events/label_names", FLIP_TYPE_U8, FLIP_TYPE_U8, (int64_t)strlen(g->event_names), 0,
         0, g->event_names);
}

static void write_sample(const sample *g) {
    flip_writer *w;
    assert_int_equal(flip_writer_create(&w, NULL, "g.h5", "graph"), FLIP_OK);
    flip_writer_attribute_i64(w, "/", "n_nodes", g->n_nodes);
    flip_writer_attribute_i64(w, "/", "n_steps", g->n_steps);
    flip_writer_attribute_i64(w, "/", "n_classes", g->n_classes);
    if (with(g, "undirected")) flip_writer_attribute_i64(w, "/", "undirected", g->undirected);
    flip_writer_attribute_f64(w, "/", "step_zero", -3.5);
    flip_writer_attribute_f64(w, "/", "step_width", g->step_width);
    write_events(w, g);
    rows(w, g, "features/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, 5, 0, 0, g->feature_ptr);
    rows(w, g, "features/indices", FLIP_TYPE_I32, FLIP_TYPE_I32, 5, 0, 0, g->feature_index);
    rows(w, g, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F64, g->feature_rows, 0, 0,
         g->feature_value);
    flip_writer_attribute_i64(w, "features", "n_columns", g->n_columns);
    write_labels(w, g);
    rows(w, g, "nodes/original", FLIP_TYPE_I64, FLIP_TYPE_I64, 4, 0, 0, g->original);
    rows(w, g, "nodes/name_ptr", FLIP_TYPE_I64, FLIP_TYPE_I64, 5, 0, 0, g->name_ptr);
    rows(w, g, "nodes/name", FLIP_TYPE_U8, FLIP_TYPE_U8, 4, 0, 0, g->node_names);
    rows(w, g, "parts/first", FLIP_TYPE_I64, FLIP_TYPE_I64, 3, 0, 0, g->parts);
    if (g->extra) rows(w, g, g->extra, FLIP_TYPE_I8, FLIP_TYPE_I8, 4, 0, 0, g->splits);
    assert_int_equal(flip_writer_commit(w), FLIP_OK);
    flip_writer_destroy(&w);
}

static void good_passes(void **state) {
    (void)state;
    int64_t n = 0;
    sample g = good;
    g.targets[3][2][1] = NAN; /* no target there */
    write_sample(&g);
    if (flip_container_check("g.h5", &n) != FLIP_OK) fail_msg("%s", flip_error_message());
    assert_true(n >= 15);
    g.n_changes = 3;
    memcpy(g.change_node, (int64_t[]){0, 0, 2}, sizeof g.change_node);
    memcpy(g.change_step, (int32_t[]){0, 2, 1}, sizeof g.change_step);
    write_sample(&g);
    if (flip_container_check("g.h5", &n) != FLIP_OK) fail_msg("%s", flip_error_message());
}

#define REMEDY "; make the file again (`flipbook import`, `generate` or `partition`)"
#define REFUSED(change, ...)                                                                       \
    do {                                                                                           \
        sample g = good;                                                                           \
        change;                                                                                    \
        write_sample(&g);                                                                          \
        flip_error_clear();                                                                        \
        assert_int_equal(flip_container_check("g.h5", NULL), FLIP_ERROR_INPUT);                    \
        assert_string_equal(flip_error_message(), "'g.h5' " __VA_ARGS__);                          \
        flip_error_clear();                                                                        \
    } while (0)

static void schema(void **state) {
    (void)state;
    REFUSED(g.n_steps = 0, "attribute n_steps is 0; expected 1 … 2147483647" REMEDY);
    REFUSED(g.undirected = 2, "attribute undirected is 2; expected 0 … 1" REMEDY);
    REFUSED(g.without = "undirected", "has no attribute 'undirected' on /");
    REFUSED(g.step_width = 0, "attributes step_zero -3.5, step_width 0; expected finite numbers, "
                              "the width above 0" REMEDY);
    REFUSED(g.n_nodes = 5, "dataset events/indptr: dimension 1 is 5; expected 6 (5 nodes, 6 "
                           "events, 3 steps)" REMEDY);
    REFUSED(g.step_type = FLIP_TYPE_I64, "dataset events/step is int64; expected int32" REMEDY);
    REFUSED(g.extra = "events/colour",
            "has a dataset events/colour that a graph of version 1 does not have" REMEDY);
    REFUSED(g.without = "events/src", "has no events/indptr and events/src" REMEDY);
    REFUSED(g.without = "events/step", "has 3 steps but no dataset events/step" REMEDY);
    REFUSED(g.without = "nodes/name", "has dataset nodes/name_ptr but not nodes/name" REMEDY);
    REFUSED(g.split_nodes = 2, "dataset splits: dimension 2 is 2; expected 4 (4 nodes, 6 events, "
                               "3 steps)" REMEDY);
}

static void events(void **state) {
    (void)state;
    REFUSED(g.indptr[0] = 1, "dataset events/indptr, row 0: found 1, expected 0 … 0" REMEDY);
    REFUSED(g.indptr[2] = 1, "dataset events/indptr, row 2: found 1, expected 2 … 6" REMEDY);
    REFUSED(g.indptr[3] = 7, "dataset events/indptr, row 3: found 7, expected 4 … 6" REMEDY);
    REFUSED(g.indptr[3] = g.indptr[4] = 5,
            "dataset events/indptr, row 4: found 5, expected 6 … 6" REMEDY);
    REFUSED(g.src[4] = 4, "dataset events/src, row 4: found 4, expected 0 … 3" REMEDY);
    REFUSED(g.src[0] = -1, "dataset events/src, row 0: found -1, expected 0 … 3" REMEDY);
    REFUSED(g.step[3] = 3, "dataset events/step, row 3: found 3, expected 0 … 2" REMEDY);
    REFUSED(g.step[0] = 2,
            "dataset events/src, row 1 (destination 0): found step 1, source 2 after step 2, "
            "source 1; expected ascending (step, source)" REMEDY);
    REFUSED(g.step[1] = 0;
            g.src[0] = 3,
            "dataset events/src, row 1 (destination 0): found step 0, source 2 after step 0, "
            "source 3; expected ascending (step, source)" REMEDY);
    REFUSED(g.src[5] = 3;
            g.step[5] = 2,
            "says it is undirected, but some events have no mirror image (source and destination "
            "exchanged, same step)" REMEDY);
    REFUSED(g.weight[2] = NAN,
            "dataset events/weight, row 2, column 0: found nan, expected a finite number; 1 of 6 "
            "values are like that: mend the raw data (fill or leave out the rows) and import "
            "again");
    REFUSED(g.event_label[5] = 2, "dataset events/label, row 5: found 2, expected -1 … 1" REMEDY);
}

static void nodes(void **state) {
    (void)state;
    REFUSED(g.feature_index[0] = 7,
            "dataset features/indices, row 0: found 7, expected 0 … 6" REMEDY);
    REFUSED(g.feature_index[2] = 0,
            "dataset features/indices, row 2: found 0, expected 1 … 6" REMEDY);
    REFUSED(g.feature_ptr[4] = 4, "dataset features/indptr, row 4: found 4, expected 5 … 5" REMEDY);
    REFUSED(g.feature_rows = 4, "dataset features/values: dimension 1 is 4; expected 5 (4 nodes, "
                                "6 events, 3 steps)" REMEDY);
    REFUSED(g.feature_value[3] = g.feature_value[4] = INFINITY,
            "dataset features/values, row 3, column 0: found inf, expected a finite number; 2 of 5 "
            "values are like that: mend the raw data (fill or leave out the rows) and import "
            "again");
    REFUSED(g.targets[1][2][0] = INFINITY,
            "dataset targets/values, row 1, column 4: found inf, expected a finite number; 1 of 24 "
            "values are like that: mend the raw data (fill or leave out the rows) and import "
            "again");
    REFUSED(g.label[1] = 2, "dataset labels/class, row 1: found 2, expected -1 … 1" REMEDY);
    REFUSED(g.label[1] = -2, "dataset labels/class, row 1: found -2, expected -1 … 1" REMEDY);
    REFUSED(g.names = "spam", "dataset labels/names has 1 lines; expected one for each of 2 "
                              "classes" REMEDY);
    REFUSED(g.splits[1][2] = 3, "dataset splits, row 1, column 2: found 3, expected -1 … 2" REMEDY);
    REFUSED(g.original[2] = 4, "dataset nodes/original, row 2: found 4, expected 0 … 3" REMEDY);
    REFUSED(g.original[2] = 1, "dataset nodes/original, row 2: found 1 a second time; expected "
                               "every id once" REMEDY);
    REFUSED(g.name_ptr[1] = 4, "dataset nodes/name_ptr, row 2: found 3, expected 4 … 4" REMEDY);
    REFUSED(g.parts[1] = 5, "dataset parts/first, row 1: found 5, expected 0 … 4" REMEDY);
    REFUSED(g.parts[2] = 3, "dataset parts/first, row 2: found 3, expected 4 … 4" REMEDY);
    REFUSED(g.n_changes = 2;
            g.change_node[0] = 1,
            "dataset labels/node, row 1: found node 0, step 0 after node 1, step 0; expected "
            "ascending (node, step)" REMEDY);
    REFUSED(g.n_changes = 2,
            "dataset labels/node, row 1: found node 0, step 0 after node 0, step 0; expected "
            "ascending (node, step)" REMEDY);
    REFUSED(g.n_changes = 1;
            g.change_step[0] = 3, "dataset labels/step, row 0: found 3, expected 0 … 2" REMEDY);
    REFUSED(g.n_changes = 1;
            g.without = "labels/class", "has labels/node but not labels/class" REMEDY);
}

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/flipbook-t107-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    unlink("g.h5");
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_passes),
        cmocka_unit_test(schema),
        cmocka_unit_test(events),
        cmocka_unit_test(nodes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
