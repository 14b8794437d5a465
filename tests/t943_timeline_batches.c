/* t943: sampled batches of a timeline — with every neighbour and all pairs at once the curve is
 * that of full batches, whatever the life of edges and wherever the features come from; drawn
 * neighbours give the same curve on 1, 2 and 3 ranks, with batches made ahead or not; the ways of
 * drawing give different ones; what such batches do not go with is refused in words. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

#ifdef FLIP_REAL_DOUBLE
static const double tolerance = 1e-9;
#else
static const double tolerance = 1e-5;
#endif
enum { EPOCHS = 5 };

static void train(int ranks, const char *arguments, const char *more, const char *name) {
    pipeline_good(ranks,
                  "train moving.h5 --task link --eval-negatives 10 --epochs %d --hidden 16 "
                  "--seed 3 %s %s --report %s",
                  EPOCHS, arguments, more, name);
}

static void check_same(const char *a, const char *b, const char *what, int ranks) {
    double d = pipeline_apart(a, b, EPOCHS);
    if (!(d <= tolerance)) fprintf(stderr, "# %s on %d ranks: %g\n", what, ranks, d);
    assert_true(d <= tolerance);
}

static void whole_batches(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model sage --features given --dropout 0.3",
        "--model sage --features degree --edge-life 3",
        "--model sage --aggregator pool --features given+degree --edge-life 2 --blocks 3",
        "--model gat --heads 4 --features given --edge-life 2 --direction out",
        "--model gin --lr 0.001 --features given --edge-life 6 --edge-head mlp",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "", "full");
        train(0, cases[i], "--batch 1000000", "batch");
        check_same("full", "batch", cases[i], 1);
    }
}

static void same_curve_on_ranks(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model sage --features given+degree --batch 64 --fanout 3,2 --edge-life 3",
        "--model gat --heads 4 --features degree --batch 100 --fanout 3 --sampling recent",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "--prefetch 0", "one");
        train(0, cases[i], "--prefetch 2", "ahead");
        assert_true(pipeline_apart("one", "ahead", EPOCHS) == 0);
        for (int ranks = 2; ranks <= 3; ranks++) {
            train(ranks, cases[i], "", "many");
            check_same("one", "many", cases[i], ranks);
        }
        report r = pipeline_report("many");
        json_t *bytes = json_object_get(r.summary, "bytes_run");
        assert_true(json_number_value(json_object_get(bytes, "remote_features")) > 0);
        pipeline_drop(&r);
    }
}

/* The life of an edge and the way of drawing reach the sampler. */
static void settings_count(void **state) {
    (void)state;
    static const char *const ways[] = {"--edge-life 1", "--edge-life 3",
                                       "--edge-life 3 --sampling recent",
                                       "--edge-life 3 --sampling labor"};
    enum { WAYS = sizeof ways / sizeof *ways };
    char name[WAYS][8];
    for (int i = 0; i < WAYS; i++) {
        snprintf(name[i], sizeof name[i], "way%d", i);
        train(0, "--model sage --features given --batch 64 --fanout 3,2", ways[i], name[i]);
        for (int k = 0; k < i; k++) {
            double d = pipeline_apart(name[k], name[i], EPOCHS);
            if (!(d > 1e-4)) fprintf(stderr, "# %s is %s: %g\n", ways[i], ways[k], d);
            assert_true(d > 1e-4);
        }
    }
}

static void resumed_bits(void **state) {
    (void)state;
    const char *sage = "--model sage --features given --batch 64 --fanout 3,2 --checkpoint c.h5";
    train(0, sage, "", "whole");
    pipeline_good(0,
                  "train moving.h5 --task link --eval-negatives 10 --epochs 2 --hidden 16 --seed 3 "
                  "%s --report rest",
                  sage);
    train(0, sage, "--resume c.h5", "rest");
    assert_true(pipeline_apart("whole", "rest", EPOCHS) == 0);
}

static void refusals(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"moving.h5 --batch 8", "use --task link"},
        {"moving.h5 --batch 8 --task link --model gcn", "degrees differ from step to step"},
        {"moving.h5 --batch 8 --task link --model sage --distribute time", "--distribute nodes"},
        {"moving.h5 --batch 8 --task link --model sage --history 2", "--protocol whole"},
        {"moving.h5 --batch 8 --task link --model sage --cache-bytes 1000",
         "leave out --cache-bytes"},
        {"still.h5 --batch 8 --model sage --sampling recent", "has one step"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        pipeline_refused(wrong[i][0], wrong[i][1]);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_batches),
                                       cmocka_unit_test(same_curve_on_ranks),
                                       cmocka_unit_test(settings_count),
                                       cmocka_unit_test(resumed_bits), cmocka_unit_test(refusals)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
