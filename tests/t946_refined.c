/* t946: rows of two levels in training — all refined by what float32 keeps is training on the plain
 * file, none refined on the coarse one; some refined is the same on any number of ranks, in full
 * batches and sampled ones, ahead or not, whatever the cache; rows, hits and bytes of each level
 * are those of the formula in store.h, the cache stays in its budget; a checkpoint knows what was
 * refined. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

enum { EPOCHS = 3, NODES = 96, FEATURES = 10, COARSE = 2, FINE = 5 }; /* bytes of a row */

static void train(int ranks, const char *file, const char *arguments, const char *name) {
    pipeline_good(ranks, "train %s --task node --epochs %d --hidden 16 --seed 3 %s --report %s",
                  file, EPOCHS, arguments, name);
}

/* Of the store's first level, or of its second. */
static double of_level(const report *r, int level, const char *key) {
    char path[64];
    snprintf(path, sizeof path, "store.%s%s", level ? "refinement." : "", key);
    return pipeline_number(r, path);
}

/* ---- what is known otherwise ---- */

static double apart(const char *a, const char *b) {
    return pipeline_apart(a, b, EPOCHS);
}

static void refine(const char *file, const char *arguments, const char *how, const char *name) {
    char words[192];
    snprintf(words, sizeof words, "%s --refine %s", arguments, how);
    train(0, file, words, name);
}

static void ends_of_the_scale(void **state) {
    (void)state;
    static const char *const models[] = {"--model sage", "--model gcn",
                                         "--model sage --batch 16 --fanout 3,2",
                                         "--model gat --batch 16 --fanout 3,4 --heads 4"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        train(0, "still.h5 --feature-norm none --input-dropout 0", models[m], "plain");
        refine("exact.h5", models[m], "all", "exact");
        assert_true(apart("exact", "plain") < 1e-5);
        train(0, "coarse.h5", models[m], "coarse");
        refine("two.h5", models[m], "none", "none");
        assert_true(apart("none", "coarse") == 0);
        refine("two.h5", models[m], "all", "all");
        assert_true(apart("all", "plain") > 1e-5); /* 4 bits are not exact */
        assert_true(apart("all", "plain") < apart("none", "plain"));
        refine("two.h5", models[m], "hot:1", "hot");
        assert_true(apart("hot", "all") == 0); /* a set that has all */
        refine("two.h5", models[m], "hot:0.3", "some");
        assert_true(apart("some", "all") > 1e-5 && apart("some", "none") > 1e-5);
    }
}

/* ---- ranks, threads ahead, caches ---- */

/* Of all ranks: K rows cached on each, of both levels. */
static void check_counts(const report *r, int ranks, double budget) {
    double size = ranks ? ranks : 1, to_device = 0, over_wire = 0;
    double stride[] = {COARSE, FINE};
    for (int level = 0; level < 2; level++) {
        double cached = of_level(r, level, "cached_rows");
        double own = of_level(r, level, "own");
        double remote = of_level(r, level, "remote");
        double hits = of_level(r, level, "hits");
        double rows = of_level(r, level, "rows");
        assert_true(hits + own + remote == rows);
        to_device += (size * cached + own + remote) * stride[level];
        over_wire += ((size - 1) * cached + remote) * stride[level];
        if (budget == 0) assert_true(cached == 0 && hits == 0);
        if (budget >= 1e9) assert_true(own == 0 && remote == 0 && hits == rows);
    }
    assert_true(pipeline_number(r, "bytes_run.features_to_device") == to_device);
    assert_true(pipeline_number(r, "bytes_run.remote_features") == over_wire);
    assert_true(of_level(r, 0, "cache_bytes") <= budget);
    assert_true(of_level(r, 0, "cache_bytes") == of_level(r, 0, "row_bytes") +
                                                     of_level(r, 0, "list_bytes") +
                                                     of_level(r, 1, "cache_bytes"));
    assert_true(of_level(r, 1, "rows") > 0 && of_level(r, 1, "rows") < of_level(r, 0, "rows"));
}

/* The bits do not know of the cache; both levels have a part of one that is large enough. */
static void cached(const char *arguments, int ranks) {
    static const struct {
        const char *words;
        double bytes;
    } budgets[] = {{"", 0},
                   {"--cache-bytes 1", 1},
                   {"--cache-bytes 30", 30}, /* an index, no row */
                   {"--cache-bytes 41", 41},
                   {"--cache-bytes 300", 300},
                   {"--cache-bytes 300 --hot presample --prefetch 2", 300},
                   {"--cache-bytes 300 --hot degree", 300},
                   {"--cache-bytes 1G", 1e9}};
    char words[256];
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        snprintf(words, sizeof words, "%s %s", arguments, budgets[b].words);
        train(ranks, "two.h5", words, b == 0 ? "first" : "cached");
        report r = pipeline_report(b == 0 ? "first" : "cached");
        if (b > 0) assert_true(apart("cached", "first") == 0);
        if (b > 0 || ranks > 1) check_counts(&r, ranks, budgets[b].bytes);
        if (budgets[b].bytes == 300)
            assert_true(of_level(&r, 1, "cached_rows") > 0 && of_level(&r, 0, "cached_rows") > 0);
        pipeline_drop(&r);
    }
}

static void some_refined(void **state) {
    (void)state;
    static const char sage[] = "--model sage --batch 16 --fanout 3,2 --refine hot:0.3",
                      gat[] = "--model gat --batch 16 --fanout 3,4 --heads 4 --refine hot:0.3",
                      whole[] = "--model sage --refine hot:0.3";
    train(0, "two.h5", whole, "alone");
    train(3, "two.h5", whole, "more");
    assert_true(apart("more", "alone") < 1e-5);
    train(0, "two.h5", gat, "alone");
    train(2, "two.h5", gat, "more");
    assert_true(apart("more", "alone") < 1e-5);
    train(0, "two.h5", sage, "alone");
    cached(sage, 0);
    assert_true(apart("first", "alone") == 0);
    cached(sage, 3);
    assert_true(apart("first", "alone") < 1e-5);
    train(4, "two.h5 --threads 2", sage, "more");
    assert_true(apart("more", "alone") < 1e-5);
}

/* ---- afterwards ---- */

static void checkpoints(void **state) {
    (void)state;
    train(0, "two.h5", "--model sage --refine hot:0.3 --checkpoint model.h5", "r");
    report r = pipeline_report("r");
    double test = pipeline_number(&r, "test");
    pipeline_drop(&r);
    pipeline_good(2, "evaluate two.h5 --checkpoint model.h5 --report r");
    r = pipeline_report("r");
    assert_true(fabs(pipeline_number(&r, "test") - test) < 1e-9);
    pipeline_drop(&r);
    assert_int_equal(pipeline_run(0, "train two.h5 --task node --model sage --refine all --resume "
                                     "model.h5 --epochs 5"),
                     2);
    assert_true(pipeline_said("refine"));
}

static void refusals(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"still.h5 --task node --refine seeds", "have no second level"},
        {"coarse.h5 --task node --refine hot:0.1", "have no second level"},
        {"two.h5 --task node --refine hot:0", "refine"},
        {"two.h5 --task node --refine hot:1.5", "refine"},
        {"two.h5 --task node --refine some", "refine"},
        {"two.h5 --task link --model sage --refine hot:0.2", "tasks of pairs do not have"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        pipeline_refused(wrong[i][0], wrong[i][1]);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(ends_of_the_scale),
                                       cmocka_unit_test(some_refined),
                                       cmocka_unit_test(checkpoints), cmocka_unit_test(refusals)};
    pipeline_graphs();
    pipeline_good(0, "compress still.h5 --codec pq:5x20 -o coarse.h5");
    pipeline_good(0, "compress still.h5 --codec pq:5x20+lloyd:4 -o two.h5");
    pipeline_good(0, "compress still.h5 --codec pq:5x20+fp32 -o exact.h5");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed != 0;
}
