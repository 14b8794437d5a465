/* t900: the loss curve is the one-rank curve on 2, 3 and 4 ranks (in the double build, whose curves
 * are longer, on 3 and 4), for every model and task; the same run twice gives the same bits; a file
 * that was not partitioned gives the curve too. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

#ifdef FLIP_REAL_DOUBLE
enum { EPOCHS = 100, FEWEST = 3 };
static const double tolerance = 1e-9;
#else
enum { EPOCHS = 10, FEWEST = 2 };
static const double tolerance = 1e-5;
#endif

static const char *const cases[] = {
    "still.h5 --model gcn",
    "still.h5 --model gcn --layers 3 --residual --norm layer --optimizer adamw --clip 0.5",
    "still.h5 --model gcn --features onehot --gcn-norm inout",
    "still.h5 --model gcn --features identity",
    "moving.h5 --model gcn --features onehot-brief --edge-life 2",
    "still.h5 --model sage",
    "still.h5 --model sage --aggregator pool",
    "still.h5 --model sage --norm batch --precompute off --class-weights auto",
    "still.h5 --model gat --heads 4 --hidden 16",
    "still.h5 --model gin --optimizer sgd --lr 0.001",
    "still.h5 --model sage --features learned",
    "still.h5 --task edge --model gcn --edge-head mlp",
    "still.h5 --task link --model sage --negatives 2 --eval-negatives 10",
    "still.h5 --task regression --model gin --lr 0.001",
    "moving.h5 --model tmgcn --window 3 --edge-life 2",
    "moving.h5 --model gat --heads 4 --edge-life 2",
    "moving.h5 --model sage --aggregator pool",
    "moving.h5 --model gcn --edge-life 2 --split random:5/5@3",
    "moving.h5 --task edge --model tmgcn --window 3 --split-steps 3,1,1 --class-weights 3,1,1",
    "moving.h5 --task edge --model sage --direction out --features degree",
    "moving.h5 --task link --model tmgcn --window 2 --eval-negatives 10 --metric mrr",
    "moving.h5 --task link --model gcn --edge-head mlp --eval-negatives all --negatives 3",
    ("moving.h5 --task link --model gcn --pairs 30 --negatives 4 --negative-ends mixed "
     "--eval-negatives 5"),
    "moving.h5 --task link --model tmgcn --features learned --optimizer sgd --eval-negatives 5",
    "moving.h5 --task regression --model tmgcn --window 2 --split-steps 3,1,2",
    "moving.h5 --task regression --model gin --lr 0.001",
};

static void train(int ranks, const char *arguments, const char *name) {
    pipeline_good(ranks, "train %s --epochs %d --hidden 16 --seed 3 --report %s", arguments, EPOCHS,
                  name);
}

static void same_curve_on_ranks(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "one");
        report one = pipeline_report("one");
        assert_int_equal(one.n, EPOCHS);
        assert_true(one.loss[EPOCHS - 1] < one.loss[0]); /* it learns */
        for (int ranks = FEWEST; ranks <= 4; ranks++) {
            train(ranks, cases[i], "many");
            report many = pipeline_report("many");
            double d = pipeline_difference(&one, &many, EPOCHS);
            if (d > tolerance) fprintf(stderr, "# %s on %d ranks: %g\n", cases[i], ranks, d);
            assert_true(d <= tolerance);
            pipeline_drop(&many);
        }
        pipeline_drop(&one);
    }
}

/* The metric against all pairs is counted, so ranks change it by the embeddings' rounding alone. */
static void all_pairs_on_ranks(void **state) {
    (void)state;
    static const char *const heads[] = {"mlp --metric map", "linear --metric mrr",
                                        "dot --metric auc --mrr filtered"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char arguments[256];
        snprintf(arguments, sizeof arguments,
                 "moving.h5 --task link --model gcn --eval-negatives all --edge-head %s", heads[i]);
        train(0, arguments, "one");
        report one = pipeline_report("one");
        for (int ranks = FEWEST; ranks <= 4; ranks++) {
            train(ranks, arguments, "many");
            report many = pipeline_report("many");
            double a = pipeline_number(&one, "test"), b = pipeline_number(&many, "test");
            if (!(fabs(a - b) <= 1e-3 * a)) fprintf(stderr, "# %s: %g, %g\n", heads[i], a, b);
            assert_true(a > 0 && fabs(a - b) <= 1e-3 * a);
            pipeline_drop(&many);
        }
        pipeline_drop(&one);
    }
}

static void same_bits_twice(void **state) {
    (void)state;
    static const char *const twice[] = {"still.h5 --model sage", "still.h5 --model gat --heads 4",
                                        "still.h5 --task link --model gcn",
                                        "moving.h5 --task edge --model tmgcn --window 3"};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
        train(3, twice[i], "a");
        train(3, twice[i], "b");
        report a = pipeline_report("a"), b = pipeline_report("b");
        assert_int_equal(memcmp(a.loss, b.loss, EPOCHS * sizeof *a.loss), 0);
        assert_true(pipeline_number(&a, "train") == pipeline_number(&b, "train"));
        pipeline_drop(&a);
        pipeline_drop(&b);
    }
}

static void unpartitioned_files(void **state) {
    (void)state;
    train(0, "still.h5 --model sage", "one");
    train(3, "still0.h5 --model sage", "many");
    assert_true(pipeline_said("partitioned in memory"));
    report one = pipeline_report("one"), many = pipeline_report("many");
    assert_true(pipeline_difference(&one, &many, EPOCHS) <= tolerance);
    pipeline_drop(&one);
    pipeline_drop(&many);
}

static void wrong_usage(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int code;
        const char *message;
    } wrong[] = {
        {"", 2, "flipbook COMMAND --help"},
        {"trian x", 2, "unknown command 'trian'; did you mean 'train'?"},
        {"compress", 2, "flipbook compress needs the graph"},
        {"simulate", 2, "flipbook simulate needs the graph"},
        {"train", 2, "flipbook train needs a graph file"},
        {"train nowhere.h5", 1, "nowhere.h5"},
        {"train out", 1, "out"},
        {"train still.h5 --epoch 3", 2, "did you mean '--epochs'?"},
        {"train still.h5 --split 7", 2, "--split 7: 'still.h5' has 1 splits"},
        {"train still.h5 --task link --metric accuracy", 2, "does not measure"},
        {"train still.h5 --metric f1:9", 2, "no class '9'; 'still.h5' has 0 to 2"},
        {"train still.h5 --class-weights 0,0,0", 2, "at least one must be above 0"},
        {"train still.h5 --class-weights 1,2", 2, "gives 2 weights; 'still.h5' has 3 classes"},
        {"train moving.h5 --split-steps 5,1,1", 2,
         "'moving.h5' has 6 steps; the first 7 were asked for"},
        {"train moving.h5 --split 0 --split-steps 3,1,1", 2, "give one of them"},
        {"train moving.h5 --task link --split 0", 2, "split by --split-steps"},
        {"train still.h5 --task link --split random:80/30@1", 2, "split by percent"},
        {"train still.h5 --memory 1K", 1, "training needs about"},
        {"train still.h5 --memory 1K --features identity", 1, "identity features need"},
        {"evaluate still.h5", 2, "needs --checkpoint FILE"},
        {"evaluate still.h5 --lr 1 --checkpoint c", 2, "--lr belongs to flipbook train"},
        {"predict still.h5 --checkpoint still.h5", 1, "still.h5"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int code = pipeline_run(0, "%s", wrong[i].arguments);
        if (code != wrong[i].code) fprintf(stderr, "# %s: exit %d\n", wrong[i].arguments, code);
        assert_true(pipeline_said(wrong[i].message));
        assert_int_equal(code, wrong[i].code);
    }
    /* several ranks speak once, and the code comes through mpirun */
    assert_int_equal(pipeline_run(3, "train still.h5 --hiden 3"), 2);
    assert_true(pipeline_said("flipbook: unknown option '--hiden'"));
    assert_int_equal(pipeline_run(3, "train still.h5 --report nowhere/r.jsonl"), 1);
    assert_true(pipeline_said("flipbook: cannot write report 'nowhere/r.jsonl'"));
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_curve_on_ranks), cmocka_unit_test(all_pairs_on_ranks),
        cmocka_unit_test(same_bits_twice), cmocka_unit_test(unpartitioned_files),
        cmocka_unit_test(wrong_usage)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
