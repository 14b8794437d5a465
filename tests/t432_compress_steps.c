/* t432: compress of features that change — the same bytes for any ranks and threads, over several
 * windows of rows; a node's codes at every step are those of its row there, stored where they
 * differ and nowhere else, in the file, in shards and through a partition; codebooks know the steps
 * they were learned from alone; the drift is what plain sums of errors are, tells the step at which
 * rows change their distribution and how to mend it; wrong steps, orders and damaged files are
 * refused by name. */
#include "compress_files.h"

#include <math.h>
#include <omp.h>

enum { NODES = 4400, STEPS = 16, DIM = 96, DRIFT = 11, LEARNED = 3 };
#include "changing.h"

static int64_t given;

static void write_graph(const char *name, double drift) {
    flip_writer *w = NULL;
    CHECK_OK(flip_writer_create(&w, world, path_of(name), "graph"));
    write_head(w, world, NODES, STEPS);
    given = changing_write(w, world, drift);
    CHECK_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

static flip_compress_params named(const char *codec) {
    flip_compress_params p = FLIP_COMPRESS_DEFAULTS;
    p.codec = codec;
    p.n_steps = LEARNED;
    p.sample = 1500;
    return p;
}

static void same_bytes(void **state) {
    (void)state;
    static const char *const codecs[] = {"lloyd:2", "dither:4", "pq:8x16", "klt:1"};
    CHECK(given * DIM * (int64_t)sizeof(float) > 1 << 22, "%lld rows fill one window",
          (long long)given);
    for (int k = 0; k < 4; k++) {
        flip_compress_params p = named(codecs[k]);
        p.retrain = k == 0 ? 6 : 0;
        flip_compressed here = compress(world, "graph", "here", p), other = {0};
        if (rank == 0) {
            omp_set_num_threads(2);
            other = compress(alone, "graph", "alone", p);
            omp_set_num_threads(1);
            expect_same_file("here", "alone");
            CHECK(here.stored_bytes == other.stored_bytes && here.stored_rows == other.stored_rows,
                  "figures of %s", codecs[k]);
            CHECK(memcmp(here.drift, other.drift, STEPS * sizeof *here.drift) == 0, "drift of %s",
                  codecs[k]);
            flip_compressed_finish(&other);
        }
        flip_compressed_finish(&here);
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

/* Own nodes of `name`: at every step the codes of the plain row, rows only where they differ. */
static void check_shard(const char *name) {
    flip_graph *graph = NULL;
    CHECK_OK(flip_graph_open(&graph, world, path_of(name), NULL));
    const flip_codec *codec = flip_graph_codec(graph);
    const uint8_t *codes = flip_graph_codes(graph);
    const int64_t *first = flip_graph_code_first(graph);
    const int32_t *step = flip_graph_code_steps(graph);
    size_t stride = flip_codec_stride(codec);
    CHECK(flip_graph_about(graph)->features_change && first && !flip_graph_features(graph),
          "codes alone");
    uint8_t *wanted = malloc(stride), *before = malloc(stride);
    for (int32_t v = 0; v < flip_graph_n_own(graph); v++) {
        int64_t node = flip_graph_original(graph)[v], at = first[v];
        float row[DIM] = {0};
        for (int t = 0; t < STEPS; t++) {
            changing_row(node, t, 3, row);
            CHECK_OK(flip_codec_encode(codec, 1, row, &node, wanted));
            bool differs = t == 0 || memcmp(wanted, before, stride) != 0;
            bool stored = at < first[v + 1] && step[at] == t;
            CHECK(differs == stored, "node %lld, step %d: a row%s", (long long)node, t,
                  stored ? " as before" : " is missing");
            if (stored) at++;
            CHECK(memcmp(codes + (size_t)(at - 1) * stride, wanted, stride) == 0,
                  "node %lld, step %d", (long long)node, t);
            memcpy(before, wanted, stride);
        }
        CHECK(at == first[v + 1], "node %lld has rows left", (long long)node);
    }
    free(wanted);
    free(before);
    flip_graph_close(&graph);
}

static void shards(void **state) {
    (void)state;
    flip_compress_params keep = named("dither:2");
    flip_compressed out = compress(world, "graph", "packed", keep);
    int64_t dims[3];
    flip_reader *reader = NULL;
    CHECK_OK(flip_reader_open(&reader, world, path_of("packed"), "graph"));
    CHECK_OK(flip_reader_shape(reader, "features/codes", dims, NULL));
    CHECK(dims[0] == out.stored_rows && dims[0] < given + NODES / 41 + NODES / 97 + 2 &&
              out.given_rows == given,
          "%lld rows of %lld", (long long)dims[0], (long long)given);
    int64_t tables[3];
    CHECK_OK(flip_reader_shape(reader, "features/codec", tables, NULL));
    CHECK(out.stored_bytes == dims[0] * (dims[1] + 12) + tables[0], "%lld bytes",
          (long long)out.stored_bytes);
    CHECK(out.native_bytes == given * (4 * DIM + 12), "%lld native", (long long)out.native_bytes);
    flip_reader_close(&reader);
    check_shard("packed");
    cut("packed", "parts", 5);
    check_shard("parts");
    if (rank == 0) {
        CHECK_OK(flip_container_check(path_of("packed"), NULL));
        CHECK_OK(flip_container_check(path_of("parts"), NULL));
    }
    flip_compressed_finish(&out);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* ---- codebooks and drift --------------------------------------------------------------------
 */

static uint8_t *codec_bytes(const char *name, int64_t *n) {
    flip_reader *reader = NULL;
    int64_t dims[3];
    CHECK_OK(flip_reader_open(&reader, alone, path_of(name), "graph"));
    CHECK_OK(flip_reader_shape(reader, "features/codec", dims, NULL));
    uint8_t *bytes = malloc((size_t)dims[0]);
    CHECK_OK(flip_reader_rows(reader, "features/codec", FLIP_TYPE_U8, 0, dims[0], bytes));
    flip_reader_close(&reader);
    *n = dims[0];
    return bytes;
}

/* Later steps do not reach the codebooks, and steps asked for do. */
static void frozen(void **state) {
    (void)state;
    flip_compress_params p = named("lloyd:2"), later = p;
    later.first_step = DRIFT;
    p.retrain = DRIFT - LEARNED;
    flip_compressed a = compress(world, "graph", "here", p);
    flip_compressed b = compress(world, "calm", "packed", p);
    flip_compressed c = compress(world, "graph", "again", later);
    if (rank == 0) {
        int64_t n, m, k;
        uint8_t *x = codec_bytes("here", &n), *y = codec_bytes("packed", &m),
                *z = codec_bytes("again", &k);
        CHECK(n == m && memcmp(x, y, (size_t)n) == 0, "later steps reach the codebooks");
        CHECK(n == k && memcmp(x, z, (size_t)n) != 0, "the first step counts");
        free(x);
        free(y);
        free(z);
    }
    CHECK(flip_compressed_drifted(&a, 1.5) == DRIFT, "drifted at %d",
          flip_compressed_drifted(&a, 1.5));
    CHECK(a.drift[DRIFT].error > 1.2 * a.drift[DRIFT].retrained, "learned again: %g, %g",
          a.drift[DRIFT].error, a.drift[DRIFT].retrained);
    /* five of six rows of that step are three times as wide, and no row before it */
    CHECK(a.drift[DRIFT].retrained > 4 * b.drift[DRIFT].retrained, "learned again: %g, %g",
          a.drift[DRIFT].retrained, b.drift[DRIFT].retrained);
    CHECK(fabs(b.drift[LEARNED].error / b.drift[LEARNED].retrained - 1) < 0.2, "%g, again %g",
          b.drift[LEARNED].error, b.drift[LEARNED].retrained);
    CHECK(flip_compressed_drifted(&b, 1.5) < 0, "a calm graph drifts");
    CHECK(flip_compressed_drifted(&a, 1e6) < 0, "below any limit");
    CHECK(flip_compressed_drifted(&c, 1.5) < 0, "learned again, drifted at %d",
          flip_compressed_drifted(&c, 1.5));
    flip_compressed_finish(&a);
    flip_compressed_finish(&b);
    flip_compressed_finish(&c);
}

/* The errors of steps, row by row, but for one factor: the variance. */
static void plain_errors(const flip_codec *codec, double error[STEPS], int64_t rows[STEPS]) {
    const flip_packing *packing = flip_codec_packing(codec);
    uint8_t *codes = malloc(packing->stride);
    float *decoded = malloc((size_t)packing->dim * sizeof *decoded);
    for (int64_t v = 0; v < NODES; v++) {
        float row[DIM] = {0}, back[DIM];
        for (int t = 0; t < STEPS; t++) {
            if (!changing_row(v, t, 3, row)) continue;
            CHECK_OK(flip_codec_encode(codec, 1, row, &v, codes));
            CHECK_OK(flip_codec_decode(codec, 1, codes, &v, decoded));
            CHECK_OK(flip_codec_restore(codec, 1, decoded, back));
            rows[t]++;
            for (int j = 0; j < DIM; j++)
                error[t] += ((double)back[j] - (double)row[j]) * ((double)back[j] - (double)row[j]);
        }
    }
    free(codes);
    free(decoded);
}

static void drift(void **state) {
    (void)state;
    flip_compress_params p = named("klt:2");
    p.keep_rotation = true;
    p.retrain = DRIFT - LEARNED;
    flip_compressed out = compress(world, "graph", "packed", p);
    flip_reader *reader = NULL;
    flip_codec *codec = NULL;
    double error[STEPS] = {0}, learned = 0, count = 0;
    int64_t rows[STEPS] = {0}, given_rows = 0, stored = 0;
    if (rank != 0) {
        flip_compressed_finish(&out);
        return;
    }
    CHECK_OK(flip_reader_open(&reader, alone, path_of("packed"), "graph"));
    CHECK_OK(flip_container_codec(&codec, reader));
    flip_reader_close(&reader);
    plain_errors(codec, error, rows);
    for (int t = 0; t < LEARNED; t++) {
        learned += error[t];
        count += (double)rows[t];
    }
    for (int t = 0; t < STEPS; t++) {
        const flip_compress_drift *d = &out.drift[t];
        double ratio = error[t] / (double)rows[t] / (learned / count);
        CHECK(d->given == rows[t], "step %d: %lld rows", t, (long long)d->given);
        CHECK(fabs(d->error / out.learned_error - ratio) < 1e-5 * ratio, "step %d: %g, not %g", t,
              d->error / out.learned_error, ratio);
        CHECK(isnan(d->retrained) == (t != LEARNED && t != DRIFT), "step %d learned again", t);
        given_rows += d->given;
        stored += d->stored;
    }
    CHECK(given_rows == given && stored == out.stored_rows, "sums of rows");
    /* normal rows: the variance of a row is DIM */
    CHECK(fabs(out.learned_error * count * DIM / learned - 1) < 0.05, "variance %g",
          learned / count / out.learned_error);
    flip_codec_destroy(&codec);
    flip_compressed_finish(&out);
}

static void budget(void **state) {
    (void)state;
    flip_compress_params p = FLIP_COMPRESS_DEFAULTS;
    p.budget = 12;
    p.n_steps = LEARNED;
    p.sample = 600;
    flip_compressed out = compress(world, "graph", "packed", p);
    CHECK(out.stored_bytes * 12 <= out.native_bytes, "%lld of %lld bytes",
          (long long)out.stored_bytes, (long long)out.native_bytes);
    for (int32_t i = 0; rank == 0 && i < out.n_trials; i++)
        CHECK(strncmp(out.trial[i].codec, "near:", 5) != 0, "near:B was tried");
    flip_compressed_finish(&out);
}

/* ---- refusals -------------------------------------------------------------------------------
 */

/* A level of one byte a row: its number. */
static void write_level(flip_writer *w, const flip_codec *codec, const char *codes,
                        const char *tables, int64_t n) {
    static const uint8_t numbers[] = {0, 1, 2, 3, 4};
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    CHECK_OK(flip_codec_to_bytes(codec, &bytes, &n_bytes));
    CHECK_OK(flip_writer_rows(w, codes, FLIP_TYPE_U8, FLIP_TYPE_U8, n, 1, 0, numbers));
    CHECK_OK(
        flip_writer_rows(w, tables, FLIP_TYPE_U8, FLIP_TYPE_U8, (int64_t)n_bytes, 0, 0, bytes));
    flip_free(bytes);
}

enum { VALUES, CODES, TWO_LEVELS };

/* Rows (node, step) of a file of 4 nodes and 3 steps, 5 at most, of values or, on one rank, codes.
 */
static void write_rows(const char *name, flip_comm *comm, int64_t n, const int64_t *node,
                       const int32_t *step, int kind) {
    flip_writer *w = NULL;
    static const float values[16 * 5];
    int64_t mine = flip_comm_rank(comm) == 0 ? n : 0;
    CHECK_OK(flip_writer_create(&w, comm, path_of(name), "graph"));
    write_head(w, comm, 4, 3);
    CHECK_OK(flip_writer_rows(w, "features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, mine, 0, 0, node));
    CHECK_OK(flip_writer_rows(w, "features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, mine, 0, 0, step));
    if (kind == VALUES) {
        CHECK_OK(flip_writer_rows(w, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, mine, 5, 0,
                                  values));
    } else {
        flip_codec *codec = small_codec("pq:3x11", 5);
        CHECK_OK(flip_writer_attribute_i64(w, "features", "n_columns", 5));
        write_level(w, codec, "features/codes", "features/codec", n);
        if (kind == TWO_LEVELS)
            write_level(w, codec, "features/refinement", "features/refinement_codec", 4);
        flip_codec_destroy(&codec);
    }
    CHECK_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

static void wrong_steps(void **state) {
    (void)state;
    flip_compress_params p = named("lloyd:2");
    static const int64_t node[] = {0, 1, 2, 3, 3}, turned[] = {0, 2, 1, 3, 3};
    static const int32_t step[] = {0, 0, 0, 0, 1}, late[] = {1, 1, 1, 0, 1};
    p.first_step = STEPS - 1;
    p.n_steps = 2;
    expect_compress_refused(world, "graph", p, FLIP_ERROR_USAGE, "has 16 steps");
    p.first_step = -1;
    expect_compress_refused(world, "graph", p, FLIP_ERROR_USAGE, "has 16 steps");
    p = named("near:1");
    expect_compress_refused(world, "graph", p, FLIP_ERROR_USAGE,
                            "features that change are packed by the other codecs");
    write_rows("once", world, 5, node, step, VALUES);
    p = named("fp16");
    p.first_step = 2;
    p.n_steps = 1;
    expect_compress_refused(world, "once", p, FLIP_ERROR_USAGE,
                            "has no rows of features at steps 2 to 2");
    p.first_step = 0;
    write_rows("once", world, 5, turned, step, VALUES);
    expect_compress_refused(world, "once", p, FLIP_ERROR_INPUT,
                            "row 2 is node 1 at step 0; expected rows by (node, step)");
    write_rows("once", world, 5, node, late, VALUES); /* rows of zeros at step 0 */
    flip_compressed out = compress(world, "once", "packed", p);
    CHECK(out.stored_rows == 4, "%lld rows stored", (long long)out.stored_rows);
    flip_compressed_finish(&out);
}

static void damaged(void **state) {
    (void)state;
    if (rank != 0) return;
    static const int64_t whole[] = {0, 1, 2, 3, 3}, hole[] = {0, 1, 3, 3, 3};
    static const int32_t step[] = {0, 0, 0, 0, 1}, late[] = {0, 0, 1, 0, 1},
                         far[] = {0, 0, 0, 0, 3}, twice[] = {0, 0, 0, 0, 0},
                         three[] = {0, 0, 0, 1, 2};
    write_rows("bad", alone, 5, whole, step, CODES);
    CHECK_OK(flip_container_check(path_of("bad"), NULL));
    write_rows("bad", alone, 5, hole, three, CODES);
    expect_refused("node 2 has no packed row at step 0", "id 2 has no packed row at step 0");
    write_rows("bad", alone, 5, whole, late, CODES);
    expect_refused("node 2 has no packed row at step 0", "id 2 has no packed row at step 0");
    write_rows("bad", alone, 3, whole, step, CODES);
    expect_refused("node 3 has no packed row at step 0", "id 3 has no packed row at step 0");
    write_rows("bad", alone, 5, whole, twice, CODES);
    expect_refused("expected ascending (node, step)", "id 3 has two packed rows at step 0");
    write_rows("bad", alone, 5, whole, far, CODES);
    expect_refused("features/step", "node 3 at step 3");
    write_rows("bad", alone, 5, whole, step, TWO_LEVELS);
    expect_refused("rows that change and a second level", "rows that change and a second level");
    /* opened, steps of a node are put in order (they are where windows of two ranks meet) */
    static const int32_t turned[] = {0, 0, 0, 1, 0};
    flip_graph *graph = NULL;
    write_rows("bad", alone, 5, whole, turned, CODES);
    CHECK_OK(flip_graph_open(&graph, alone, path_of("bad"), NULL));
    const uint8_t *codes = flip_graph_codes(graph);
    CHECK(flip_graph_code_steps(graph)[3] == 0 && flip_graph_code_steps(graph)[4] == 1, "order");
    CHECK(codes[2] == 2 && codes[3] == 4 && codes[4] == 3, "codes go with their steps");
    flip_graph_close(&graph);
}

int main(int argc, char **argv) {
    begin_files(&argc, &argv);
    write_graph("calm", 1);
    write_graph("graph", 3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes), cmocka_unit_test(shards), cmocka_unit_test(frozen),
        cmocka_unit_test(drift),      cmocka_unit_test(budget), cmocka_unit_test(wrong_steps),
        cmocka_unit_test(damaged),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const names[] = {"graph",  "calm",  "here", "alone", "again",
                                        "packed", "parts", "once", "bad"};
    end_files(names, sizeof names / sizeof *names);
    return failed;
}
