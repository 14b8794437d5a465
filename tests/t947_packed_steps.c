/* t947: training on packed features that change — the loss curve is that of the decoded features,
 * for every model that reads packed rows, in blocks and windows, whatever --transfer, on 1 to 4
 * ranks; constant packed features of a timeline likewise; evaluation, prediction and a resumed run
 * agree; bytes of features to the device are what the formula makes of the file's rows; a run never
 * has the table of all steps in memory; what such features do not go with is refused in words. */
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 96, STEPS = 6, DIM = 12, DRIFT = 100, EPOCHS = 3 };
#include "changing.h"
#include "packed_steps.h"

#ifdef FLIP_REAL_DOUBLE
static const double tolerance = 1e-9;
#else
static const double tolerance = 1e-5;
#endif

/* ---- files ---- */

/* packed.h5 and decoded.h5, cut alike. */
static void make_files(const char *from, const char *codec, const char *how) {
    pipeline_good(0, "compress %s -o packed0.h5 --codec %s %s", from, codec, how);
    decode("packed0.h5", "decoded0.h5");
    pipeline_good(0, "check packed0.h5");
    pipeline_good(0, "partition packed0.h5 -o packed.h5 --parts 6");
    pipeline_good(0, "partition decoded0.h5 -o decoded.h5 --parts 6");
}

static void begin(void) {
    flip_reader *r = NULL;
    pipeline_graphs();
    flip_writer *w = copy_of("moving0.h5", "changing.h5", &r);
    changing_write(w, NULL, 1);
    end_copy(w, r);
}

/* ---- curves ---- */

static void train(int ranks, const char *graph, const char *arguments, const char *name) {
    pipeline_good(ranks,
                  "train %s --epochs %d --hidden 8 --seed 3 --feature-norm none --input-dropout 0 "
                  "%s --report %s",
                  graph, EPOCHS, arguments, name);
}

static void check_same(const char *a, const char *b, double most, const char *what, int ranks) {
    double d = pipeline_apart(a, b, EPOCHS);
    if (!(d <= most)) fprintf(stderr, "# %s on %d ranks: %g\n", what, ranks, d);
    assert_true(d <= most);
}

static void same_as_decoded(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model gcn --task node --blocks 1",
        "--model gcn --task node --residual on --blocks 3 --transfer delta",
        "--model sage --task link --eval-negatives 10 --edge-life 3 --blocks 2 --dropout 0.3",
        "--model sage --aggregator pool --task edge --edge-life 2 --transfer full",
        "--model gat --heads 4 --task node --split-steps 4,1,1 --blocks 6 --transfer delta",
        "--model gin --lr 0.001 --task regression --residual on --blocks 2",
        "--model gcn --temporal lstm --task edge --blocks 3 --edge-head mlp",
        "--model sage --temporal gru --task edge --edge-life 2 --history 2 --transfer delta",
    };
    static const char *const codecs[] = {"lloyd:2", "dither:4", "klt:1.9", "pq:4x16"};
    for (int k = 0; k < 4; k++) {
        make_files("changing.h5", codecs[k], "--steps 2");
        for (size_t i = (size_t)k; i < sizeof cases / sizeof *cases; i += k < 2 ? 2 : 4) {
            train(0, "decoded.h5", cases[i], "decoded");
            train(0, "packed.h5", cases[i], "packed");
            check_same("decoded", "packed", tolerance, cases[i], 1);
            if (k > 1) continue;
            int ranks = 2 + (int)i % 3;
            train(ranks, "packed.h5", cases[i], "many");
            check_same("packed", "many", tolerance, cases[i], ranks);
        }
    }
    make_files("moving0.h5", "lloyd:4", "");
    train(0, "decoded.h5", cases[2], "decoded");
    train(3, "packed.h5", cases[2], "packed");
    check_same("decoded", "packed", tolerance, "constant features", 3);
}

static void same_on_transfers(void **state) {
    (void)state;
    static const char *const transfers[] = {"full", "delta", "resident"};
    make_files("changing.h5", "dither:4", "--steps 2");
    for (int k = 0; k < 3; k++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments,
                 "--model sage --task edge --blocks 3 --edge-life 2 --transfer %s", transfers[k]);
        train(0, "packed.h5", arguments, k ? "other" : "full");
        if (k) check_same("full", "other", 0, arguments, 1);
    }
}

/* Codes are what a cache of such rows holds; the bits are those without. Evaluation sends codes to
 * the device, too, in either run. */
static void check_cached(const report *plain, int ranks, const char *words) {
    static const char *const caches[] = {"--cache-bytes 40", "--cache-bytes 1500",
                                         "--cache-bytes 1500 --hot presample --prefetch 2",
                                         "--cache-bytes 1M --hot degree"};
    for (int i = 0; i < 4; i++) {
        char arguments[256];
        snprintf(arguments, sizeof arguments, "%s %s", words, caches[i]);
        train(ranks, "packed.h5", arguments, "cached");
        check_same("many", "cached", 0, arguments, ranks);
        report r = pipeline_report("cached");
        double row = pipeline_number(&r, "store.cached_rows");
        double own = pipeline_number(&r, "store.own"), remote = pipeline_number(&r, "store.remote");
        double device = pipeline_number(&r, "bytes_run.features_to_device") -
                        pipeline_number(plain, "bytes_run.features_to_device");
        assert_true(device == (ranks * row + own + remote) * DIM / 2); /* 4 bits a value */
        assert_true(pipeline_number(&r, "bytes_run.remote_features") ==
                    ((ranks - 1) * row + remote) * DIM / 2);
        assert_true(pipeline_number(&r, "store.hits") + own + remote ==
                    pipeline_number(&r, "store.rows"));
        assert_true(i == 0 ? row == 0 : row > 0 && pipeline_number(&r, "store.hits") > 0);
        if (i == 3) assert_true(row > NODES && own == 0 && remote == 0);
        pipeline_drop(&r);
    }
}

/* Sampled batches: codes travel in place of numbers. */
static void in_batches(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model sage --task node --batch 50 --fanout 3,2 --edge-life 2",
        "--model gat --heads 4 --task edge --batch 200 --fanout 3",
    };
    make_files("changing.h5", "dither:4", "--steps 2");
    for (int k = 0; k < 2; k++) {
        train(0, "decoded.h5", cases[k], "decoded");
        train(0, "packed.h5", cases[k], "packed");
        check_same("decoded", "packed", tolerance, cases[k], 1);
        train(3 - k, "packed.h5", cases[k], "many");
        check_same("packed", "many", tolerance, cases[k], 3 - k);
        train(3 - k, "decoded.h5", cases[k], "plain");
        report many = pipeline_report("many"), plain = pipeline_report("plain");
        double codes = pipeline_number(&many, "bytes_run.remote_features");
        double numbers = pipeline_number(&plain, "bytes_run.remote_features");
        assert_true(codes > 0); /* 4 bits a value */
        assert_true(codes * (2 * sizeof(flip_real)) == numbers);
        check_cached(&many, 3 - k, cases[k]);
        pipeline_drop(&many);
        pipeline_drop(&plain);
    }
}

/* A file of one step may have its codes by node and step, too: batches are those of the numbers. */
static void of_one_step(void **state) {
    (void)state;
    const char *words = "--model sage --task node --batch 30 --fanout 3,2";
    pipeline_good(0, "compress still.h5 -o by_node.h5 --codec lloyd:4");
    decode("by_node.h5", "numbers.h5");
    pipeline_good(0, "compress numbers.h5 -o by_step.h5 --codec lloyd:4");
    decode("by_step.h5", "numbers.h5");
    train(0, "numbers.h5", words, "decoded");
    train(2, "by_step.h5", words, "packed");
    check_same("decoded", "packed", tolerance, words, 2);
}

static void evaluated_and_resumed(void **state) {
    (void)state;
    const char *sage = "--model sage --task node --blocks 2 --checkpoint c.h5";
    make_files("changing.h5", "lloyd:4", "--steps 2");
    train(0, "packed.h5", sage, "whole");
    report r = pipeline_report("whole");
    char words[64];
    snprintf(words, sizeof words, "test %.4f", pipeline_number(&r, "test"));
    pipeline_good(2, "evaluate packed.h5 --checkpoint c.h5");
    assert_true(pipeline_said(words));
    pipeline_good(0, "evaluate decoded.h5 --checkpoint c.h5 --grown on");
    assert_true(pipeline_said(words));
    pipeline_good(2, "predict packed.h5 --checkpoint c.h5 --output p.csv");
    pipeline_good(0,
                  "train packed.h5 --epochs 2 --hidden 8 --seed 3 --feature-norm none "
                  "--input-dropout 0 %s --report rest",
                  sage);
    pipeline_good(2,
                  "train packed.h5 --epochs %d --hidden 8 --seed 3 --feature-norm none "
                  "--input-dropout 0 %s --resume c.h5 --report rest",
                  EPOCHS, sage);
    check_same("whole", "rest", tolerance, "a resumed run", 2);
    pipeline_drop(&r);
}

/* ---- bytes ---- */

enum { BLOCKS = 3, LONG = STEPS / BLOCKS };

/* Rows of block k: the first step's, and changes behind it; changes at its very first step. */
typedef struct rows_of_block {
    int64_t inside, at_first;
} rows_of_block;

/* Over blocks 0 … 2 forward, and back to 0 where a pass trains. */
static int64_t pass_bytes(const char *transfer, const rows_of_block rows[BLOCKS], int64_t stride,
                          bool trains) {
    int64_t bytes = 0, back = trains ? BLOCKS - 1 : 0;
    if (strcmp(transfer, "full") == 0) return (BLOCKS + back) * NODES * LONG * stride;
    bytes = NODES * stride + rows[0].inside * (stride + 8);
    for (int k = 1; k < BLOCKS; k++)
        bytes += (rows[k].inside + rows[k].at_first) * (stride + 8);
    for (int k = BLOCKS - 2; k >= 0 && trains; k--)
        bytes += (rows[k].inside + rows[k + 1].at_first) * (stride + 8);
    return bytes;
}

static void counted(void **state) {
    (void)state;
    static const char *const transfers[] = {"full", "delta", "resident"};
    flip_reader *r = NULL;
    rows_of_block rows[BLOCKS] = {{0}};
    make_files("changing.h5", "lloyd:2", "--steps 2");
    CHANGING_OK(flip_reader_open(&r, NULL, "packed0.h5", "graph"));
    packed p = read_packed(r);
    flip_reader_close(&r);
    for (int64_t i = 0; i < p.n; i++) {
        rows_of_block *b = &rows[p.step[i] / LONG];
        b->inside += p.step[i] % LONG > 0;
        b->at_first += p.step[i] % LONG == 0;
    }
    assert_int_equal(rows[0].at_first, NODES);
    assert_true(rows[1].at_first > 0 && rows[1].inside > 0);
    for (int ranks = 1; ranks <= 3; ranks += 2)
        for (int k = 0; k < 3; k++) {
            char arguments[128];
            snprintf(arguments, sizeof arguments,
                     "--model sage --task node --blocks 3 --split 0 --transfer %s", transfers[k]);
            train(ranks, "packed.h5", arguments, "r");
            report report = pipeline_report("r");
            /* every epoch trains and is validated; scores come last */
            int64_t wanted = k == 2 ? p.n * (p.stride + 8)
                                    : EPOCHS * (pass_bytes(transfers[k], rows, p.stride, true) +
                                                pass_bytes(transfers[k], rows, p.stride, false)) +
                                          pass_bytes(transfers[k], rows, p.stride, false);
            double found = pipeline_number(&report, "bytes_run.features_to_device");
            if (found != (double)wanted)
                fprintf(stderr, "# %s on %d ranks: %g bytes, not %lld\n", transfers[k], ranks,
                        found, (long long)wanted);
            assert_true(found == (double)wanted);
            pipeline_drop(&report);
        }
    drop_packed(&p);
}

/* Steps of rank 0 end before `a`, of rank 1 before b. Rows that the three ranks have. */
static int64_t rows_of_cut(const int64_t changes[STEPS], int a, int b) {
    int64_t n = 3 * NODES;
    for (int t = 1; t < STEPS; t++)
        n += t == a || t == b ? 0 : changes[t];
    return n;
}

/* Where time is distributed: a step's rows on one rank only, rows that stay on each that reads
 * them; CD-GCN's skip reads own nodes' rows, too, and they are not redistributed. */
static void counted_in_time(void **state) {
    (void)state;
    flip_reader *r = NULL;
    int64_t changes[STEPS] = {0};
    bool found = false;
    make_files("changing.h5", "lloyd:2", "--steps 2");
    CHANGING_OK(flip_reader_open(&r, NULL, "packed0.h5", "graph"));
    packed p = read_packed(r);
    flip_reader_close(&r);
    for (int64_t i = 0; i < p.n; i++)
        changes[p.step[i]]++;
    train(3, "packed.h5", "--model gcn --task node --blocks 1 --distribute time --transfer full",
          "full");
    report report = pipeline_report("full");
    double bytes = pipeline_number(&report, "bytes_run.features_to_device");
    assert_true(bytes == (double)((2 * EPOCHS + 1) * NODES * STEPS * p.stride));
    pipeline_drop(&report);
    train(3, "packed.h5",
          "--model gcn --task node --blocks 1 --distribute time --transfer resident", "resident");
    report = pipeline_report("resident");
    bytes = pipeline_number(&report, "bytes_run.features_to_device");
    for (int a = 1; a < STEPS - 1; a++)
        for (int b = a + 1; b < STEPS; b++)
            found = found || bytes == (double)(rows_of_cut(changes, a, b) * (p.stride + 8));
    assert_true(found);
    pipeline_drop(&report);

    const char *cdgcn = "--model cdgcn --task edge --blocks 1 --layers 2 --distribute time "
                        "--transfer resident";
    train(3, "packed.h5", cdgcn, "codes");
    train(3, "decoded.h5", cdgcn, "numbers");
    report = pipeline_report("codes");
    double codes = pipeline_number(&report, "bytes_run.redistribute");
    pipeline_drop(&report);
    report = pipeline_report("numbers");
    double numbers = pipeline_number(&report, "bytes_run.redistribute");
    pipeline_drop(&report);
    /* columns of a pass: forward [8, skip] + 8 and [8, 8] + 8, backward 8 + 8 and 8 + [8, 8] */
    enum { FORWARD = 40, BACKWARD = 40, PASSES = 2 * EPOCHS + 1 };
    assert_true(codes > 0);
    assert_true(numbers * (FORWARD * PASSES + BACKWARD * EPOCHS) ==
                codes * ((FORWARD + DIM) * PASSES + BACKWARD * EPOCHS));
    drop_packed(&p);
}

/* ---- memory ---- */

enum { WIDE_NODES = 8192, WIDE_STEPS = 32, WIDE = 256 };
static const double table = (double)sizeof(flip_real) * WIDE_NODES * WIDE_STEPS * WIDE;

/* Rows of step 0, and of each later step every 32nd node's. */
static void write_wide(void) {
    static float row[WIDE];
    flip_writer *w = NULL;
    int64_t *zeros = calloc(WIDE_NODES + 1, sizeof *zeros);
    int32_t *label = calloc(WIDE_NODES, sizeof *label), *src = calloc(WIDE_NODES, sizeof *src);
    for (int64_t v = 0; v < WIDE_NODES; v++) {
        label[v] = (int32_t)(v % 3);
        zeros[v + 1] = v + 1;
        src[v] = (int32_t)((v * 7 + 1) % WIDE_NODES);
    }
    CHANGING_OK(flip_writer_create(&w, NULL, "wide.h5", "graph"));
    CHANGING_OK(flip_writer_attribute_i64(w, "/", "n_nodes", WIDE_NODES));
    CHANGING_OK(flip_writer_attribute_i64(w, "/", "n_steps", WIDE_STEPS));
    CHANGING_OK(flip_writer_attribute_i64(w, "/", "n_classes", 3));
    CHANGING_OK(flip_writer_attribute_i64(w, "/", "undirected", 0));
    CHANGING_OK(flip_writer_rows(w, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, WIDE_NODES + 1,
                                 0, 0, zeros));
    CHANGING_OK(
        flip_writer_rows(w, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I32, WIDE_NODES, 0, 0, src));
    for (int64_t v = 0; v < WIDE_NODES; v++)
        src[v] = (int32_t)(v % WIDE_STEPS);
    CHANGING_OK(
        flip_writer_rows(w, "events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, WIDE_NODES, 0, 0, src));
    CHANGING_OK(
        flip_writer_rows(w, "labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, WIDE_NODES, 0, 0, label));
    for (int64_t v = 0; v < WIDE_NODES; v++)
        for (int32_t t = 0; t < WIDE_STEPS; t++) {
            if (t > 0 && (v + t) % 32 != 0) continue;
            for (int j = 0; j < WIDE; j++)
                row[j] = (float)(changing_uniform(t, v, j) - 0.5);
            CHANGING_OK(
                flip_writer_rows(w, "features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, 1, 0, 0, &v));
            CHANGING_OK(
                flip_writer_rows(w, "features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, 1, 0, 0, &t));
            CHANGING_OK(flip_writer_rows(w, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, 1,
                                         WIDE, 0, row));
        }
    CHANGING_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
    free(zeros);
    free(label);
    free(src);
}

static void below_the_table(void **state) {
    (void)state;
    write_wide();
    pipeline_good(0, "compress wide.h5 -o narrow.h5 --codec lloyd:2:shared --sample 4096");
    assert_true(pipeline_peak("narrow.h5", "--hidden 4 --model gcn --blocks 1", table) <
                0.75 * table);
    assert_true(pipeline_peak("narrow.h5", "--hidden 4 --model sage --blocks 4 --transfer full",
                              table) < 0.5 * table);
    assert_true(pipeline_peak("narrow.h5", "--hidden 4 --model cdgcn --blocks 4", table) <
                0.5 * table);
    assert_true(pipeline_peak("narrow.h5", "--hidden 4 --model tmgcn --window 3 --blocks 4",
                              table) < 0.5 * table);
    assert_true(pipeline_peak("narrow.h5", "--hidden 4 --model evolvegcn-h --blocks 4", table) <
                0.5 * table);
    assert_true(pipeline_peak("wide.h5", "--hidden 4 --model gcn --blocks 1 --feature-norm none",
                              table) > table);
}

static void refusals(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"packed.h5 --model cdgcn --device cuda", "read them on the CPU; use --device cpu"},
        {"packed.h5 --model gcn --feature-norm row --device cuda", "normalises them on the CPU"},
        {"packed.h5 --model gcn --device cuda", "of several steps they are read on the CPU"},
        {"packed.h5 --model sage --features given+degree", "needs them unpacked"},
    };
    make_files("changing.h5", "lloyd:2", "--steps 2");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        pipeline_refused(wrong[i][0], wrong[i][1]);
    assert_int_equal(pipeline_run(0, "compress changing.h5 -o p.h5 --codec lloyd:2+lloyd:4"), 2);
    assert_true(
        pipeline_said("features that change, as those of 'changing.h5', are packed by one"));
    pipeline_good(0, "compress moving0.h5 -o two.h5 --codec lloyd:2+lloyd:4");
    pipeline_refused("two.h5 --model sage", "of several steps they have one level");
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_one_step),
                                       cmocka_unit_test(same_as_decoded),
                                       cmocka_unit_test(same_on_transfers),
                                       cmocka_unit_test(in_batches),
                                       cmocka_unit_test(evaluated_and_resumed),
                                       cmocka_unit_test(counted),
                                       cmocka_unit_test(counted_in_time),
                                       cmocka_unit_test(below_the_table),
                                       cmocka_unit_test(refusals)};
    begin();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
