/* t915: a checkpoint follows its graph. Trained on old parts; then nodes and steps come, a node
 * goes, import numbers everything anew; `partition --from`, and training goes on with --grown:
 * every learned row is where its node is now, on any number of ranks. */
#include "pipeline.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 4, MOST = 256 };

/* Ids are scattered: new ones come between the old, so that dense ids shift. */
static int64_t id_of(int v) {
    return 1000 + (int64_t)flip_random_permute(3, FLIP_STREAM_TEST, 200, v);
}

/* Edges of `n` nodes over `steps` steps; `gone` is left out. A ring, and friends nearby. */
static void write_edges(const char *name, int n, int steps, int gone) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", pipeline_folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int t = 0; t < steps; t++)
        for (int v = 0; v < n; v++)
            for (int j = 0; j < 3; j++) {
                uint64_t far = 1 + flip_random_below(4, FLIP_STREAM_TEST, (uint64_t)t,
                                                     (uint64_t)(3 * v + j), 6);
                int u = j == 0 ? (v + 1) % n : (v + (int)far) % n;
                if (u == gone || v == gone) continue;
                fprintf(file, "%" PRId64 ",%" PRId64 ",%d\n", id_of(v), id_of(u), t);
            }
    fclose(file);
}

static void run(int ranks, const char *command) {
    assert_int_equal(pipeline_run(ranks, "%s", command), 0);
}

static const char train_old[] =
    "train p0.h5 --model gcn --task link --features learned --hidden 4 --epochs 5 --seed 2 "
    "--split-steps 3,1,2 --checkpoint c.h5 --report old.jsonl";
#define GOES_ON "--model gcn --task link --features learned --hidden 4 --seed 2 --resume c.h5 "

static void make(void **state) {
    (void)state;
    write_edges("old.csv", 120, 6, -1);
    write_edges("new.csv", 132, 8, 17);
    write_edges("same.csv", 121, 6, 17);
    run(0, "import same.csv -o g2.h5 --columns src,dst,time --steps 6");
    run(0, "import old.csv -o g0.h5 --columns src,dst,time --steps 6");
    run(0, "import new.csv -o g1.h5 --columns src,dst,time --steps 8");
    run(0, "partition g0.h5 -o p0.h5 --parts 4");
    run(0, "partition g1.h5 -o p1.h5 --from p0.h5");
    assert_true(pipeline_said("119 nodes known, 12 new, 1 vanished"));
    run(0, "partition g2.h5 -o p2.h5 --from p0.h5");
    run(2, train_old);
}

static void only_when_asked(void **state) {
    (void)state;
    assert_int_equal(pipeline_run(0, "train p1.h5 " GOES_ON "--epochs 8 --split-steps 3,1,2"), 2);
    assert_true(pipeline_said("'c.h5' was trained on 'p0.h5'"));
    assert_true(pipeline_said("--grown on takes what it has learned"));
    assert_int_equal(pipeline_run(2, "evaluate p1.h5 --checkpoint c.h5"), 1);
    assert_true(pipeline_said("learned features of 120 nodes x 4, 'p1.h5' needs 131 x 4"));
    /* as many nodes, but one of them another */
    assert_int_equal(pipeline_run(2, "evaluate p2.h5 --checkpoint c.h5"), 1);
    assert_true(pipeline_said("learned features of 119 nodes x 4, 'p2.h5' needs 120 x 4"));
    /* what else shapes a result must still agree; how the longer timeline is split need not */
    assert_int_equal(pipeline_run(0, "train p1.h5 " GOES_ON
                                     "--epochs 8 --grown on --lr 0.5 --split-steps 5,1,2"),
                     2);
    assert_true(pipeline_said("was trained with --lr"));
}

/* ---- the learned rows ---- */

typedef struct rows {
    int64_t n, name[MOST];
    double current[MOST][DIM], moment[MOST][DIM];
} rows;

static void read_rows(rows *out, const char *name) {
    flip_reader *reader = NULL;
    int64_t dims[3];
    char path[128];
    snprintf(path, sizeof path, "%s/%s", pipeline_folder, name);
    assert_int_equal(flip_reader_open(&reader, NULL, path, "checkpoint"), FLIP_OK);
    assert_int_equal(flip_reader_shape(reader, "embedding/current", dims, NULL), FLIP_OK);
    assert_true(dims[0] < MOST && dims[1] == DIM);
    out->n = dims[0];
    assert_int_equal(
        flip_reader_rows(reader, "embedding/name", FLIP_TYPE_I64, 0, out->n, out->name), FLIP_OK);
    assert_int_equal(
        flip_reader_rows(reader, "embedding/current", FLIP_TYPE_F64, 0, out->n, out->current),
        FLIP_OK);
    assert_int_equal(
        flip_reader_rows(reader, "embedding/moment1", FLIP_TYPE_F64, 0, out->n, out->moment),
        FLIP_OK);
    flip_reader_close(&reader);
}

/* Taken over and written again without an epoch: rows of known names are the same bits. */
static void rows_go_by_name(void **state) {
    (void)state;
    static rows before, after;
    read_rows(&before, "c.h5");
    for (int ranks = 0; ranks <= 3; ranks++) {
        if (ranks == 1) continue;
        assert_int_equal(pipeline_run(ranks, "train p1.h5 " GOES_ON
                                             "--grown on --epochs 5 --split-steps 5,1,2 "
                                             "--checkpoint d.h5"),
                         0);
        assert_true(pipeline_said("nodes 120 -> 131, events"));
        assert_true(pipeline_said("steps 6 -> 8; learned features of 119 nodes taken over"));
        read_rows(&after, "d.h5");
        int64_t known = 0, fresh = 0;
        for (int64_t i = 0; i < after.n; i++) {
            int64_t j = 0;
            while (j < before.n && before.name[j] != after.name[i])
                j++;
            if (j < before.n) {
                known++;
                assert_memory_equal(after.current[i], before.current[j], sizeof after.current[i]);
                assert_memory_equal(after.moment[i], before.moment[j], sizeof after.moment[i]);
            } else {
                fresh++;
                for (int k = 0; k < DIM; k++)
                    assert_true(after.moment[i][k] == 0 && after.current[i][k] != 0);
            }
        }
        assert_int_equal(known, 119);
        assert_int_equal(fresh, 12);
    }
}

/* A report to go on with: the epochs before. */
static void begin_report(const char *name) {
    char command[128];
    snprintf(command, sizeof command, "cp old.jsonl %s", name);
    assert_int_equal(system(command), 0);
}

/* The same curve from there, whatever the ranks and the parts. */
static void goes_on_alike(void **state) {
    (void)state;
    static const char *const more = GOES_ON "--grown on --epochs 12 --split-steps 5,1,2";
    begin_report("one.jsonl");
    assert_int_equal(pipeline_run(0, "train p1.h5 %s --report one.jsonl --checkpoint e.h5", more),
                     0);
    report one = pipeline_report("one.jsonl");
    assert_int_equal(one.n, 12);
    assert_true(pipeline_number(&one, "best_epoch") > 5); /* looked for anew */
    const double bound = sizeof(flip_real) == 8 ? 1e-9 : 1e-5;
    for (int ranks = 2; ranks <= 3; ranks++) {
        begin_report("many.jsonl");
        assert_int_equal(
            pipeline_run(ranks, "train p1.h5 %s --report many.jsonl --checkpoint f.h5", more), 0);
        report many = pipeline_report("many.jsonl");
        printf("# %d ranks: %g\n", ranks, pipeline_difference(&one, &many, 12));
        assert_true(pipeline_difference(&one, &many, 12) < bound);
        pipeline_drop(&many);
    }
    /* the grown graph itself, without --from: names are enough */
    begin_report("many.jsonl");
    assert_int_equal(pipeline_run(0, "train g1.h5 %s --report many.jsonl --checkpoint f.h5", more),
                     0);
    report many = pipeline_report("many.jsonl");
    printf("# without parts: %g\n", pipeline_difference(&one, &many, 12));
    assert_true(pipeline_difference(&one, &many, 12) < bound);
    pipeline_drop(&many);
    pipeline_drop(&one);
    /* from there on it is an ordinary checkpoint of the grown graph */
    run(2,
        "train p1.h5 --model gcn --task link --features learned --hidden 4 --seed 2 --resume e.h5 "
        "--epochs 13 --split-steps 5,1,2");
    run(0, "evaluate p1.h5 --checkpoint c.h5 --grown on");
    run(3, "evaluate p1.h5 --checkpoint e.h5");
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(make), cmocka_unit_test(only_when_asked),
                                       cmocka_unit_test(rows_go_by_name),
                                       cmocka_unit_test(goes_on_alike)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
