/* t910: a run that is killed, or stopped by a signal, and resumed ends with the bits of the
 * uninterrupted one; on another number of ranks it follows the same curve; a checkpoint of another
 * model or graph is refused. */
#include "pipeline.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EPOCHS = 400 };

static const char *const run[] = {
    "still.h5 --model sage --hidden 16 --norm batch --seed 5",
    "moving.h5 --task edge --model tmgcn --window 3 --hidden 8 --seed 5 --class-weights auto",
    "still.h5 --task link --model gcn --hidden 8 --seed 5 --eval-negatives 10",
    "still.h5 --model gin --features learned --hidden 8 --seed 5 --lr 0.003",
};

/* A slab of a checkpoint. */
static double *slab(const char *path, const char *name, int64_t *n) {
    flip_reader *reader = NULL;
    int64_t dims[3];
    flip_type type;
    assert_int_equal(flip_reader_open(&reader, NULL, path, "checkpoint"), FLIP_OK);
    assert_int_equal(flip_reader_shape(reader, name, dims, &type), FLIP_OK);
    double *values = malloc((size_t)dims[0] * sizeof *values);
    assert_int_equal(flip_reader_rows(reader, name, FLIP_TYPE_F64, 0, dims[0], values), FLIP_OK);
    *n = dims[0];
    flip_reader_close(&reader);
    return values;
}

static void same_bits(const char *one, const char *other) {
    static const char *const names[] = {"parameters/current", "parameters/best",
                                        "optimiser/moments"};
    for (int k = 0; k < 3; k++) {
        int64_t n, m;
        double *a = slab(one, names[k], &n), *b = slab(other, names[k], &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, (size_t)n * sizeof *a);
        free(a);
        free(b);
    }
}

static void whole_run(const char *arguments, int ranks, const char *tag) {
    assert_int_equal(pipeline_run(ranks,
                                  "train %s --epochs %d --report %s.jsonl --checkpoint %s.h5 "
                                  "--checkpoint-every 7",
                                  arguments, EPOCHS, tag, tag),
                     0);
}

/* Starts the run, waits for its epoch `when` (if it comes so far), sends the signal. */
static int interrupted_run(const char *arguments, int ranks, const char *tag, int when,
                           int signal) {
    char file[64];
    snprintf(file, sizeof file, "%s.jsonl", tag);
    unlink(file);
    pid_t process = pipeline_start(ranks,
                                   "train %s --epochs %d --report %s.jsonl --checkpoint %s.h5 "
                                   "--checkpoint-every 7",
                                   arguments, EPOCHS, tag, tag);
    for (int i = 0; i < 20000 && pipeline_epochs_done(file) < when; i++)
        usleep(500);
    pid_t target = signal == SIGKILL ? pipeline_rank(process, ranks) : process;
    if (target > 0) kill(target, signal);
    return pipeline_wait(process);
}

static int resumed_run(const char *arguments, int ranks, const char *tag) {
    return pipeline_run(ranks,
                        "train %s --epochs %d --report %s.jsonl --checkpoint %s.h5 "
                        "--checkpoint-every 7 --resume %s.h5",
                        arguments, EPOCHS, tag, tag, tag);
}

static void compare_runs(const char *a, const char *b) {
    char name[64];
    snprintf(name, sizeof name, "%s.jsonl", a);
    report one = pipeline_report(name);
    snprintf(name, sizeof name, "%s.jsonl", b);
    report other = pipeline_report(name);
    assert_int_equal(one.n, EPOCHS);
    assert_int_equal(other.n, EPOCHS);
    assert_memory_equal(one.loss, other.loss, EPOCHS * sizeof *one.loss);
    static const char *const keys[] = {"loss", "train", "valid", "test", "best_epoch"};
    for (int k = 0; k < 5; k++)
        assert_true(pipeline_number(&one, keys[k]) == pipeline_number(&other, keys[k]));
    pipeline_drop(&one);
    pipeline_drop(&other);
}

static void killed_and_resumed(void **state) {
    (void)state;
    uint64_t seed = (uint64_t)getpid();
    int killed = 0;
    print_message("# FLIP_STREAM_TEST seed of the moments: %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof run / sizeof *run; i++)
        for (int ranks = 0; ranks <= 2; ranks += 2) {
            whole_run(run[i], ranks, "whole");
            int when = 10 + (int)flip_random_below(seed, FLIP_STREAM_TEST, i, (uint64_t)ranks,
                                                   EPOCHS - 60);
            int code = interrupted_run(run[i], ranks, "broken", when, SIGKILL);
            killed += code != 0;
            assert_int_equal(resumed_run(run[i], ranks, "broken"), 0);
            compare_runs("whole", "broken");
            same_bits("whole.h5", "broken.h5");
        }
    assert_true(killed > 0); /* a run may end before its signal comes, but not all of them */
}

static void stopped_by_signal(void **state) {
    (void)state;
    static const int signals[] = {SIGUSR1, SIGTERM};
    for (int ranks = 0; ranks <= 2; ranks += 2)
        for (int k = 0; k < 2; k++) {
            if (ranks && signals[k] == SIGTERM) continue; /* mpirun kills the ranks at once */
            whole_run(run[0], ranks, "whole");
            int code = interrupted_run(run[0], ranks, "stopped", 25, signals[k]);
            assert_int_equal(code, 85);
            assert_true(pipeline_said("stopped by request after epoch"));
            assert_int_equal(resumed_run(run[0], ranks, "stopped"), 0);
            compare_runs("whole", "stopped");
            same_bits("whole.h5", "stopped.h5");
        }
}

static void on_other_ranks(const char *arguments) {
    static const int chain[] = {1, 3, 2, 4};
    assert_int_equal(
        pipeline_run(0, "train %s --epochs 40 --report w.jsonl --checkpoint w.h5", arguments), 0);
    for (int k = 0; k < 4; k++) {
        int code =
            pipeline_run(chain[k], "train %s --epochs %d --report p.jsonl --checkpoint p.h5 %s",
                         arguments, 10 * (k + 1), k ? "--resume p.h5" : "");
        assert_int_equal(code, 0);
    }
    report whole = pipeline_report("w.jsonl"), pieces = pipeline_report("p.jsonl");
    assert_int_equal(pieces.n, 40);
    assert_true(pipeline_difference(&whole, &pieces, 40) < 1e-4); /* 40 epochs */
    assert_true(pipeline_difference(&whole, &pieces, 10) < 1e-5);
    pipeline_drop(&whole);
    pipeline_drop(&pieces);
}

/* The second graph is cut in memory, differently for every number of ranks. */
static void ranks_may_change(void **state) {
    (void)state;
    on_other_ranks("still.h5 --model sage --hidden 16 --norm batch --seed 5");
    on_other_ranks("moving.h5 --model cdgcn --blocks 3 --hidden 8 --seed 5");
    on_other_ranks("still0.h5 --model sage --features learned --hidden 8 --seed 5");
}

/* Distribution and blocks that were left to the program stay as they were on as many ranks, to the
 * bit; on other ranks they are chosen anew. */
static void choices_kept(void **state) {
    (void)state;
    const char *model = "moving.h5 --model cdgcn --hidden 8 --seed 5", *asked =
                                                                           "--distribute "
                                                                           "wavefront --blocks 3";
    assert_int_equal(
        pipeline_run(2, "train %s %s --epochs 6 --report w.jsonl --checkpoint w.h5", model, asked),
        0);
    assert_int_equal(
        pipeline_run(2, "train %s %s --epochs 4 --checkpoint c.h5 --report c.jsonl", model, asked),
        0);
    assert_int_equal(pipeline_run(2,
                                  "train %s --epochs 6 --report c.jsonl --checkpoint c2.h5 "
                                  "--resume c.h5",
                                  model),
                     0);
    report whole = pipeline_report("w.jsonl"), kept = pipeline_report("c.jsonl");
    assert_string_equal(json_string_value(json_object_get(kept.summary, "distribution")),
                        "wavefront");
    assert_true(pipeline_number(&kept, "blocks") == 3);
    assert_true(kept.n == 6 && memcmp(whole.loss, kept.loss, 6 * sizeof *kept.loss) == 0);
    same_bits("w.h5", "c2.h5");
    pipeline_drop(&kept);
    assert_int_equal(pipeline_run(3,
                                  "train %s --epochs 6 --report c.jsonl --checkpoint c3.h5 "
                                  "--resume c.h5",
                                  model),
                     0);
    kept = pipeline_report("c.jsonl");
    assert_true(pipeline_number(&kept, "blocks") == 1);
    assert_true(pipeline_difference(&whole, &kept, 6) < 1e-5);
    pipeline_drop(&kept);
    pipeline_drop(&whole);
}

static void refused(void **state) {
    (void)state;
    const char *base = "--epochs 3 --hidden 8";
    assert_int_equal(pipeline_run(0, "train still.h5 --model gcn %s --checkpoint g.h5", base), 0);
    assert_int_equal(pipeline_run(0, "train still.h5 --model gin %s --resume g.h5", base), 2);
    assert_true(pipeline_said("'g.h5' was trained with --model gcn, this run has --model gin"));
    assert_int_equal(pipeline_run(2, "train still.h5 --model gcn --lr 0.2 %s --resume g.h5", base),
                     2);
    assert_true(pipeline_said("--lr 0.01, this run has --lr 0.2"));
    assert_int_equal(pipeline_run(0, "train moving.h5 --model gcn %s --resume g.h5", base), 2);
    assert_true(pipeline_said("'g.h5' was trained on 'still.h5'"));
    assert_true(pipeline_said("not on 'moving.h5'"));
    assert_int_equal(pipeline_run(0, "train still.h5 %s --resume still.h5", base), 1);
    assert_int_equal(pipeline_run(0, "train still.h5 %s --resume nowhere.h5", base), 1);
    /* the partitioned file and the one before partitioning are the same graph */
    assert_int_equal(pipeline_run(0, "train still0.h5 --model gcn %s --resume g.h5", base), 0);
}

/* evaluate measures what train reported; predict has a line for every node with its own id. */
static void evaluated_and_predicted(void **state) {
    (void)state;
    assert_int_equal(pipeline_run(2, "train still.h5 --model sage --epochs 20 --report e.jsonl "
                                     "--checkpoint e.h5"),
                     0);
    report r = pipeline_report("e.jsonl");
    for (int ranks = 1; ranks <= 3; ranks++) {
        assert_int_equal(pipeline_run(ranks, "evaluate still.h5 --checkpoint e.h5 --json"), 0);
        FILE *file = fopen("out", "r");
        json_t *object = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
        fclose(file);
        static const char *const keys[] = {"train", "valid", "test"};
        for (int k = 0; k < 3; k++)
            assert_true(json_real_value(json_object_get(object, keys[k])) ==
                        pipeline_number(&r, keys[k]));
        json_decref(object);
        assert_int_equal(
            pipeline_run(ranks, "predict still.h5 --checkpoint e.h5 -o p%d.csv", ranks), 0);
    }
    pipeline_drop(&r);
    FILE *file[3] = {fopen("p1.csv", "r"), fopen("p2.csv", "r"), fopen("p3.csv", "r")};
    char line[3][512];
    int rows = -1;
    while (fgets(line[0], sizeof line[0], file[0])) {
        int id[3], class[3];
        for (int k = 1; k < 3; k++)
            assert_non_null(fgets(line[k], sizeof line[k], file[k]));
        if (rows++ < 0) {
            assert_string_equal(line[0], "node,prediction,p(0),p(1),p(2)\n");
            continue;
        }
        for (int k = 0; k < 3; k++) /* in the order of the ids, the same class on any ranks */
            assert_int_equal(sscanf(line[k], "%d,%d", &id[k], &class[k]), 2);
        assert_true(id[0] == rows - 1 && id[1] == id[0] && id[2] == id[0]);
        assert_true(class[1] == class[0] && class[2] == class[0]);
    }
    assert_int_equal(rows, 96);
    for (int k = 0; k < 3; k++)
        fclose(file[k]);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_and_resumed),
                                       cmocka_unit_test(stopped_by_signal),
                                       cmocka_unit_test(ranks_may_change),
                                       cmocka_unit_test(choices_kept),
                                       cmocka_unit_test(refused),
                                       cmocka_unit_test(evaluated_and_predicted)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
