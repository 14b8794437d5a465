/* t942: training with a feature cache — the bits of the loss do not know of it, whatever its size,
 * order and ranks; rows and bytes are those of the formula in store.h; what it does not go with is
 * refused in words. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

enum { EPOCHS = 3, NODES = 96, FEATURES = 10 };

static void train(int ranks, const char *arguments, const char *more, const char *name) {
    pipeline_good(ranks, "train still.h5 --epochs %d --hidden 16 --seed 3 %s %s --report %s",
                  EPOCHS, arguments, more, name);
}

/* Of all ranks together: K cached rows are brought to each, those of others over the wire. */
static void check_counts(const report *r, int ranks, double budget) {
    double row = pipeline_number(r, "store.cached_rows"), hits = pipeline_number(r, "store.hits");
    double own = pipeline_number(r, "store.own"), remote = pipeline_number(r, "store.remote");
    double size = ranks ? ranks : 1, stride = FEATURES * (double)sizeof(flip_real);
    assert_true(hits + own + remote == pipeline_number(r, "store.rows"));
    assert_true(pipeline_number(r, "bytes_run.features_to_device") ==
                (size * row + own + remote) * stride);
    assert_true(pipeline_number(r, "bytes_run.remote_features") ==
                ((size - 1) * row + remote) * stride);
    assert_true(pipeline_number(r, "store.cache_bytes") <= budget);
    if (budget >= NODES * stride) assert_true(row == NODES && own == 0 && remote == 0);
    if (budget < stride) assert_true(row == 0 && hits == 0);
    if (budget >= 1e9 && ranks > 1)
        assert_true(pipeline_number(r, "store.lists") > 0 &&
                    pipeline_number(r, "store.asked") == 0 &&
                    pipeline_number(r, "store.sample_bytes") == 0);
    if (budget >= 10 * stride) assert_true(row > 0 && hits > 0);
}

static void same_bits(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model sage --batch 16 --fanout 3,2",
        "--model gat --batch 16 --fanout 3,4 --heads 4",
        "--model sage --batch 20 --fanout 3 --task link --negatives 2 --eval-negatives 10",
    };
    static const struct {
        const char *words;
        double bytes;
    } budgets[] = {{"--cache-bytes 1", 1},
                   {"--cache-bytes 2000 --hot degree", 2000},
                   {"--cache-bytes 2000", 2000},
                   {"--cache-bytes 2000 --hot presample", 2000},
                   {"--cache-bytes 1G", 1e9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int ranks = 1; ranks <= 3; ranks++) {
            if (ranks == 2 && i > 0) continue;
            train(ranks, cases[i], "", "plain");
            report plain = pipeline_report("plain");
            for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
                if (i > 0 && b != 2) continue;
                train(ranks, cases[i], budgets[b].words, "cached");
                report cached = pipeline_report("cached");
                assert_int_equal(cached.n, EPOCHS);
                assert_memory_equal(cached.loss, plain.loss, EPOCHS * sizeof *plain.loss);
                check_counts(&cached, ranks, budgets[b].bytes);
                assert_true(pipeline_number(&cached, "store.asked") +
                                pipeline_number(&cached, "store.listed") ==
                            pipeline_number(&plain, "store.asked"));
                pipeline_drop(&cached);
            }
            pipeline_drop(&plain);
        }
}

/* Packed rows, whose dither goes by original ids: from the store of one rank or three, cached or
 * not, as where they stand. Fewer bytes a row, so more of them in the cache. */
static void packed_rows(void **state) {
    (void)state;
    static const char *const cases[] = {"--model sage --batch 16 --fanout 3,2",
                                        "--model gat --batch 16 --fanout 3,4 --heads 4"};
    assert_int_equal(pipeline_run(0, "compress still.h5 --codec dither:4 -o packed.h5"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        report r[4];
        for (int k = 0; k < 4; k++) {
            const char *cache = k % 2 ? "--cache-bytes 200 --hot presample" : "";
            pipeline_good(k < 2 ? 0 : 3,
                          "train packed.h5 --epochs %d --hidden 16 --seed 3 %s %s --report r",
                          EPOCHS, cases[i], cache);
            r[k] = pipeline_report("r");
            assert_int_equal(r[k].n, EPOCHS);
        }
        assert_memory_equal(r[0].loss, r[1].loss, EPOCHS * sizeof *r[0].loss);
        assert_memory_equal(r[2].loss, r[3].loss, EPOCHS * sizeof *r[0].loss);
        assert_true(pipeline_difference(&r[0], &r[2], EPOCHS) < 1e-5);
        assert_true(pipeline_number(&r[2], "store.rows") > 0 &&
                    pipeline_number(&r[2], "store.hits") == 0);
        assert_true(pipeline_number(&r[3], "store.cached_rows") > 200 / (4 * FEATURES));
        double stride = pipeline_number(&r[2], "bytes_run.remote_features") /
                        pipeline_number(&r[2], "store.remote");
        assert_true(stride == (FEATURES + 1) / 2); /* codes are what travels */
        for (int k = 0; k < 4; k++)
            pipeline_drop(&r[k]);
    }
}

static void refusals(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"still.h5 --cache-bytes 1M", "belong to sampled batches"},
        {"still.h5 --hot degree", "belong to sampled batches"},
        {"still.h5 --batch 8 --hot presample", "there is none without --cache-bytes"},
        {"still.h5 --batch 8 --cache-bytes -1", "cache-bytes"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        pipeline_refused(wrong[i][0], wrong[i][1]);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(packed_rows),
                                       cmocka_unit_test(refusals)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed != 0;
}
