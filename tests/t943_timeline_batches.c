/* t943: sampled batches of a timeline, of links, classes of events and nodes, and targets — with
 * every neighbour and all items at once the curve and the scores are those of full batches,
 * whatever the life of edges and wherever the features come from; drawn neighbours give the same
 * curve on 1 to 4 ranks, of a cut file and an uncut one, with batches made ahead or not; the ways
 * of drawing give different ones; with a feature cache the bits are the same and its counts exact;
 * what such batches do not go with is refused in words. */
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
                  "train moving.h5 --eval-negatives 10 --epochs %d --hidden 16 --seed 3 %s %s "
                  "--report %s",
                  EPOCHS, arguments, more, name);
}

static void check_same(const char *a, const char *b, const char *what, int ranks) {
    double d = pipeline_apart(a, b, EPOCHS);
    if (!(d <= tolerance)) fprintf(stderr, "# %s on %d ranks: %g\n", what, ranks, d);
    assert_true(d <= tolerance);
}

/* Measured with every neighbour, however training was: equal parameters have equal scores. */
static void check_scores(const char *a, const char *b, const char *what) {
    report one = pipeline_report(a), other = pipeline_report(b);
    static const char *const keys[] = {"train", "valid", "test"};
    for (int k = 0; k < 3; k++) {
        double x = pipeline_number(&one, keys[k]), y = pipeline_number(&other, keys[k]);
        if (!(fabs(x - y) <= 1e-3)) fprintf(stderr, "# %s: %s %g, %g\n", what, keys[k], x, y);
        assert_true(fabs(x - y) <= 1e-3);
    }
    pipeline_drop(&one);
    pipeline_drop(&other);
}

static void whole_batches(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--task link --model sage --features given --dropout 0.3",
        "--task link --model sage --features degree --edge-life 3",
        ("--task link --model sage --aggregator pool --features given+degree --edge-life 2 "
         "--blocks 3"),
        "--task link --model gat --heads 4 --features given --edge-life 2 --direction out",
        "--task link --model gin --lr 0.001 --features given --edge-life 6 --edge-head mlp",
        ("--task edge --model sage --features given+degree --edge-life 2 --blocks 3 "
         "--class-weights auto --dropout 0.3"),
        "--task edge --model gat --heads 4 --features degree --edge-head mlp",
        ("--task node --model sage --features given+degree --edge-life 3 --blocks 2 "
         "--class-weights auto --dropout 0.3"),
        "--task node --model gat --heads 4 --features degree --split-steps 4,1,1",
        "--task regression --model gin --lr 0.0003 --features given --edge-life 2 --blocks 3",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "", "full");
        train(0, cases[i], "--batch 1000000", "batch");
        check_same("full", "batch", cases[i], 1);
        check_scores("full", "batch", cases[i]);
    }
}

static void same_curve_on_ranks(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--task link --model sage --features given+degree --batch 64 --fanout 3,2 --edge-life 3",
        ("--task link --model gat --heads 4 --features degree --batch 100 --fanout 3 "
         "--sampling recent"),
        ("--task edge --model sage --features given+degree --batch 200 --fanout 3,2 --edge-life 2 "
         "--class-weights auto --blocks 3"),
        "--task node --model gat --heads 4 --features degree --batch 50 --fanout 3,2",
        ("--task regression --model sage --lr 0.001 --features given --batch 50 --fanout 3 "
         "--edge-life 3 --sampling recent --blocks 2"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train(0, cases[i], "--prefetch 0", "one");
        train(0, cases[i], "--prefetch 2", "ahead");
        assert_true(pipeline_apart("one", "ahead", EPOCHS) == 0);
        for (int ranks = 2; ranks <= 4; ranks++) {
            if (ranks == 2 + (int)i % 3) continue;
            train(ranks, cases[i], "", "many");
            check_same("one", "many", cases[i], ranks);
        }
        report r = pipeline_report("many");
        json_t *bytes = json_object_get(r.summary, "bytes_run");
        assert_true(json_number_value(json_object_get(bytes, "remote_features")) > 0);
        pipeline_drop(&r);
    }
}

/* Events that are repeated within a step, in a file whose cut numbers their sources otherwise. */
static void same_curve_of_cuts(void **state) {
    (void)state;
    const char *edges = "--task edge --model sage --batch 100 --fanout 3,2 --epochs 5 --hidden 8";
    pipeline_good(0, "generate payments -o uncut.h5 --nodes 200 --steps 8");
    pipeline_good(0, "partition uncut.h5 -o cut.h5 --parts 5");
    pipeline_good(0, "info uncut.h5");
    assert_true(pipeline_said("29 repeated in a step"));
    pipeline_good(0, "train uncut.h5 %s --report one", edges);
    pipeline_good(3, "train cut.h5 %s --report many", edges);
    check_same("one", "many", edges, 3);
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
        train(0, "--task link --model sage --features given --batch 64 --fanout 3,2", ways[i],
              name[i]);
        for (int k = 0; k < i; k++) {
            double d = pipeline_apart(name[k], name[i], EPOCHS);
            if (!(d > 1e-4)) fprintf(stderr, "# %s is %s: %g\n", ways[i], ways[k], d);
            assert_true(d > 1e-4);
        }
    }
}

/* With a cache the same bits, whatever it holds; what it counts is what the formulas of store.h
 * make of it. `columns` of features. */
static void check_cached(int ranks, const char *words, const char *cache, double budget,
                         double columns) {
    double size = ranks ? ranks : 1, stride = columns * (double)sizeof(flip_real);
    train(ranks, words, cache, "cached");
    assert_true(pipeline_apart("plain", "cached", EPOCHS) == 0);
    report plain = pipeline_report("plain"), r = pipeline_report("cached");
    double row = pipeline_number(&r, "store.cached_rows"), hits = pipeline_number(&r, "store.hits");
    double own = pipeline_number(&r, "store.own"), remote = pipeline_number(&r, "store.remote");
    double asked = pipeline_number(&plain, "bytes_run.remote_features") / stride;
    assert_true(hits + own + remote == pipeline_number(&r, "store.rows"));
    assert_true(pipeline_number(&r, "bytes_run.features_to_device") ==
                (size * row + own + remote) * stride);
    assert_true(pipeline_number(&r, "bytes_run.remote_features") ==
                ((size - 1) * row + remote) * stride);
    assert_true(pipeline_number(&r, "store.cache_bytes") <= budget);
    assert_true(remote <= asked && asked - remote <= hits);
    if (budget < stride) assert_true(row == 0 && hits == 0 && remote == asked);
    if (budget >= 1000) assert_true(row > 0 && hits > 0 && (ranks == 0 || remote < asked));
    if (budget >= 1e9) assert_true(own == 0 && remote == 0);
    pipeline_drop(&plain);
    pipeline_drop(&r);
}

static void cached(void **state) {
    (void)state;
    static const struct {
        const char *words;
        double columns;
    } cases[] = {
        /* of constant and changing columns, of changing ones alone, of constant ones alone */
        {("--task link --model sage --features given+degree --batch 64 --fanout 3,2 "
          "--edge-life 3"),
         12},
        {("--task link --model gat --heads 4 --features degree --batch 100 --fanout 3 "
          "--sampling recent"),
         2},
        {("--task edge --model sage --features given --batch 200 --fanout 3,2 --edge-life 2 "
          "--blocks 3"),
         10},
    };
    static const struct {
        const char *words;
        double bytes;
    } budgets[] = {{"--cache-bytes 1", 1},
                   {"--cache-bytes 30", 30},
                   {"--cache-bytes 1500", 1500},
                   {"--cache-bytes 1500 --hot degree", 1500},
                   {"--cache-bytes 1500 --hot presample --prefetch 2 --threads 2", 1500},
                   {"--cache-bytes 1G", 1e9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int ranks = 0; ranks <= 3; ranks += 3) {
            train(ranks, cases[i].words, "", "plain");
            for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++)
                if (ranks ? b % 3 != i : b == 2)
                    check_cached(ranks, cases[i].words, budgets[b].words, budgets[b].bytes,
                                 cases[i].columns);
        }
}

static void resumed_bits(void **state) {
    (void)state;
    const char *sage =
        "--task link --model sage --features given --batch 64 --fanout 3,2 --checkpoint c.h5";
    train(0, sage, "", "whole");
    pipeline_good(0,
                  "train moving.h5 --eval-negatives 10 --epochs 2 --hidden 16 --seed 3 %s "
                  "--report rest",
                  sage);
    train(0, sage, "--resume c.h5", "rest");
    assert_true(pipeline_apart("whole", "rest", EPOCHS) == 0);
}

static void refusals(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"moving.h5 --batch 8 --model gcn --task edge", "degrees differ from step to step"},
        {"moving.h5 --batch 8 --task link --model gcn", "degrees differ from step to step"},
        {"moving.h5 --batch 8 --task link --model sage --distribute time", "--distribute nodes"},
        {"moving.h5 --batch 8 --task link --model sage --history 2", "--protocol whole"},
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
                                       cmocka_unit_test(same_curve_of_cuts),
                                       cmocka_unit_test(settings_count),
                                       cmocka_unit_test(cached),
                                       cmocka_unit_test(resumed_bits),
                                       cmocka_unit_test(refusals)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
