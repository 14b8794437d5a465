/* t940: training on sampled batches — the loss curve is that of one rank on 2, 3 and 4 ranks and on
 * two threads, for every model and way of sampling; settings of sampling change the
 * curve; one batch of everything with every neighbour is full-batch training; a resumed run ends
 * with the same bits; what batches do not go with is refused in words. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

#ifdef FLIP_REAL_DOUBLE
enum { EPOCHS = 12 };
static const double tolerance = 1e-9;
#else
enum { EPOCHS = 6 };
static const double tolerance = 1e-5;
#endif

static void train(int ranks, const char *arguments, const char *more, const char *name) {
    pipeline_good(ranks, "train still.h5 --epochs %d --hidden 16 --seed 3 %s %s --report %s",
                  EPOCHS, arguments, more, name);
}

static void compare(const char *a, const char *b, double most, const char *what, int ranks) {
    double d = pipeline_apart(a, b, EPOCHS);
    if (!(d <= most)) fprintf(stderr, "# %s on %d ranks: %g\n", what, ranks, d);
    assert_true(d <= most);
}

static void same_curve_on_ranks(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model sage --batch 7 --fanout 3,2",
        ("--model sage --batch 16 --fanout 2 --layers 3 --residual on --norm layer --sampling "
         "labor"),
        "--model sage --batch 16 --fanout 3 --aggregator pool --sampling weighted",
        "--model gcn --batch 16 --fanout 3,4 --residual on --clip 0.5",
        "--model gat --batch 16 --fanout 3,4 --heads 4 --residual on",
        "--model gin --batch 16 --fanout 4 --replace on --class-weights auto --lr 0.001",
        "--model sage --batch 20 --fanout 3 --task link --negatives 2 --eval-negatives 10",
        "--model sage --batch 16 --fanout 3 --task regression --lr 0.001",
        "--model gat --batch 64 --fanout 3,2 --heads 4 --task edge --class-weights auto",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "", "one");
        report one = pipeline_report("one");
        double least = one.loss[1];
        for (int e = 2; e < EPOCHS; e++)
            least = fmin(least, one.loss[e]);
        if (!(least < one.loss[0])) fprintf(stderr, "# %s: nothing is learned\n", cases[i]);
        assert_true(least < one.loss[0]);
        pipeline_drop(&one);
        for (int ranks = 2; ranks <= 4; ranks++) {
            if (ranks == 3 && i > 1) continue;
            train(ranks, cases[i], "", "many");
            compare("one", "many", tolerance, cases[i], ranks);
        }
    }
}

/* Settings of sampling reach the sampler: each gives another curve than all others. (The graph's
 * events all weigh 1: what weights do is t410's.) */
static void settings_count(void **state) {
    (void)state;
    static const char *const ways[] = {
        "--batch 16 --fanout 3,2",
        "--batch 16 --fanout 3,1",
        "--batch 16 --fanout 2,2",
        "--batch 16",
        "--batch 16 --fanout 3,2 --replace on",
        "--batch 16 --fanout 3,2 --sampling labor",
        "--batch 7 --fanout 3,2",
    };
    enum { WAYS = sizeof ways / sizeof *ways };
    report r[WAYS];
    for (int i = 0; i < WAYS; i++) {
        train(0, "--model sage", ways[i], "way");
        r[i] = pipeline_report("way");
        for (int k = 0; k < i; k++) {
            double d = pipeline_difference(&r[k], &r[i], EPOCHS);
            if (!(d > 1e-4)) fprintf(stderr, "# %s is %s: %g\n", ways[i], ways[k], d);
            assert_true(d > 1e-4);
        }
    }
    for (int i = 0; i < WAYS; i++)
        pipeline_drop(&r[i]);
}

static void same_bits_on_threads(void **state) {
    (void)state;
    const char *sage = "--model sage --batch 16 --fanout 3,2 --sampling weighted";
    train(0, sage, "--threads 1", "one");
    train(0, sage, "--threads 2", "two");
    compare("one", "two", 0, sage, 1);
}

/* Fanout all and one batch: the same sums in the same order, up to how rows are cut into blocks. */
static void whole_batches(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model sage --norm layer --input-dropout 0.2",
        "--model sage --aggregator pool",
        "--model gcn --layers 3 --direction out",
        "--model gcn --gcn-norm inout --residual on",
        "--model gat --heads 4",
        "--model gin --lr 0.001 --optimizer sgd",
        "--model sage --task link --eval-negatives 10",
        "--model gcn --task regression --lr 0.001",
        "--model gcn --task edge --class-weights auto --edge-head mlp --residual on",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "", "full");
        train(0, cases[i], "--batch 1000000", "batch");
        compare("full", "batch", tolerance, cases[i], 1);
    }
}

static void resumed_bits(void **state) {
    (void)state;
    const char *sage = "--model sage --batch 16 --fanout 3,2 --checkpoint c.h5";
    train(0, sage, "", "whole");
    pipeline_good(0, "train still.h5 --epochs 3 --hidden 16 --seed 3 %s --report rest", sage);
    train(0, sage, "--resume c.h5", "rest");
    report whole = pipeline_report("whole"), rest = pipeline_report("rest");
    assert_int_equal(rest.n, EPOCHS);
    assert_memory_equal(rest.loss, whole.loss, EPOCHS * sizeof *rest.loss);
    assert_true(pipeline_number(&whole, "test") == pipeline_number(&rest, "test"));
    pipeline_drop(&whole);
    pipeline_drop(&rest);
}

/* Rows of other ranks are counted by who sends them: none on one rank, whole rows on two. */
static void counted_rows(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 2; ranks++) {
        train(ranks, "--model gat --heads 4 --batch 16 --fanout 3,2", "", "r");
        report r = pipeline_report("r");
        json_t *bytes = json_object_get(r.summary, "bytes_run");
        double remote = json_number_value(json_object_get(bytes, "remote_features"));
        assert_true(ranks == 1 ? remote == 0 : remote > 0);
        assert_int_equal((int64_t)remote % (int64_t)sizeof(flip_real), 0);
        pipeline_drop(&r);
    }
}

static void refusals(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"still.h5 --fanout 3", "belong to sampled batches"},
        {"still.h5 --batch 0", "--batch"},
        {"still.h5 --batch 8 --fanout 3,2,1", "has 3 numbers, --layers 2"},
        {"still.h5 --batch 8 --norm batch", "use --norm layer"},
        {"still.h5 --batch 8 --features learned", "--features learned"},
        {"still.h5 --batch 8 --model tmgcn", "models over time"},
        {"still.h5 --batch 8 --temporal lstm", "models over time"},
        {"still.h5 --batch 8 --layers 9", "at most 8 layers"},
        {"still.h5 --batch 8 --model gcn --sampling weighted", "weighted sampling is of means"},
        {"still.h5 --batch 8 --model sage --sampling labor --replace on", "no --replace"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        pipeline_refused(wrong[i][0], wrong[i][1]);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_curve_on_ranks),
                                       cmocka_unit_test(settings_count),
                                       cmocka_unit_test(same_bits_on_threads),
                                       cmocka_unit_test(whole_batches),
                                       cmocka_unit_test(resumed_bits),
                                       cmocka_unit_test(counted_rows),
                                       cmocka_unit_test(refusals)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
