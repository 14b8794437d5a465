/* t432: compress of features that change — the same bytes for any ranks and threads, over several
 * windows of rows; a node's codes at every step are those of its row there, stored where they
 * differ and nowhere else, in the file, in shards and through a partition; codebooks know the steps
 * they were learned from alone; the drift is what plain sums of errors are, tells the step at which
 * rows change their distribution and how to mend it; wrong steps, orders and damaged files are
 * refused by name. */
#include "ranks.h"

#include <flipbook/compress.h>
#include <flipbook/graph.h>
#include <flipbook/partition.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NODES = 4400, STEPS = 16, DIM = 96, DRIFT = 11, LEARNED = 3 };
#include "changing.h"

static flip_comm *world, *alone;
static char folder[64];
static int rank;
static int64_t given;

static const char *path_of(const char *name) {
    static char paths[8][160];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s.h5", folder, name);
    return path;
}

/* Without events. */
static void write_head(flip_writer *w, flip_comm *comm, int64_t n_nodes, int64_t n_steps) {
    static int64_t zeros[NODES + 1];
    static int32_t none[1];
    int64_t mine = flip_comm_rank(comm) == 0 ? n_nodes + 1 : 0;
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_nodes", n_nodes));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_steps", n_steps));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_classes", 0));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "undirected", 0));
    CHECK_OK(flip_writer_rows(w, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, mine, 0, 0, zeros));
    CHECK_OK(flip_writer_rows(w, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I32, 0, 0, 0, none));
    CHECK_OK(flip_writer_rows(w, "events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, 0, 0, 0, none));
}

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

/* Collective over comm. */
static flip_compressed compress(flip_comm *comm, const char *from, const char *to,
                                flip_compress_params params) {
    flip_compressed out;
    flip_reader *reader = NULL;
    CHECK_OK(flip_reader_open(&reader, comm, path_of(from), "graph"));
    CHECK_OK(flip_compress(&out, comm, reader, path_of(to), &params));
    flip_reader_close(&reader);
    return out;
}

static void expect_same_file(const char *a, const char *b) {
    FILE *x = fopen(path_of(a), "rb"), *y = fopen(path_of(b), "rb");
    CHECK(x && y, "%s or %s is not there", a, b);
    for (int c = 0, d; c != EOF;) {
        c = fgetc(x);
        d = fgetc(y);
        CHECK(c == d, "%s and %s differ in byte %ld", a, b, ftell(x));
    }
    fclose(x);
    fclose(y);
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
    flip_partition *parts = NULL;
    flip_partition_params cut = FLIP_PARTITION_DEFAULTS;
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
    check_shard("packed");
    cut.n_parts = 5;
    CHECK_OK(flip_partition_compute(&parts, world, reader, &cut));
    CHECK_OK(flip_partition_write(world, reader, parts, &cut, path_of("parts")));
    flip_partition_destroy(&parts);
    flip_reader_close(&reader);
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

static void expect_compress_refused(const char *from, flip_compress_params p, const char *words) {
    flip_reader *reader = NULL;
    flip_compressed out;
    CHECK_OK(flip_reader_open(&reader, world, path_of(from), "graph"));
    flip_status status = flip_compress(&out, world, reader, path_of("bad"), &p);
    CHECK(status != FLIP_OK, "not refused: %s", words);
    if (rank == 0) CHECK(strstr(flip_error_message(), words), "%s", flip_error_message());
    flip_error_clear();
    flip_compressed_finish(&out);
    flip_reader_close(&reader);
}

/* Rows (node, step) of a file of 4 nodes and 3 steps; a byte of codes each, or values. */
static void write_rows(const char *name, flip_comm *comm, int64_t n, const int64_t *node,
                       const int32_t *step, const flip_codec *codec) {
    flip_writer *w = NULL;
    static const uint8_t codes[16];
    static const float values[16 * 5];
    int64_t mine = flip_comm_rank(comm) == 0 ? n : 0;
    CHECK_OK(flip_writer_create(&w, comm, path_of(name), "graph"));
    write_head(w, comm, 4, 3);
    CHECK_OK(flip_writer_rows(w, "features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, mine, 0, 0, node));
    CHECK_OK(flip_writer_rows(w, "features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, mine, 0, 0, step));
    if (codec) {
        uint8_t *bytes = NULL;
        size_t n_bytes = 0;
        CHECK_OK(flip_codec_to_bytes(codec, &bytes, &n_bytes));
        CHECK_OK(
            flip_writer_rows(w, "features/codes", FLIP_TYPE_U8, FLIP_TYPE_U8, mine, 1, 0, codes));
        CHECK_OK(flip_writer_rows(w, "features/codec", FLIP_TYPE_U8, FLIP_TYPE_U8, (int64_t)n_bytes,
                                  0, 0, bytes));
        CHECK_OK(flip_writer_attribute_i64(w, "features", "n_columns", 5));
        flip_free(bytes);
    } else {
        CHECK_OK(flip_writer_rows(w, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, mine, 5, 0,
                                  values));
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
    expect_compress_refused("graph", p, "has 16 steps");
    p.first_step = -1;
    expect_compress_refused("graph", p, "has 16 steps");
    p = named("near:1");
    expect_compress_refused("graph", p, "features that change are packed by the other codecs");
    write_rows("once", world, 5, node, step, NULL);
    p = named("fp16");
    p.first_step = 2;
    p.n_steps = 1;
    expect_compress_refused("once", p, "has no rows of features at steps 2 to 2");
    p.first_step = 0;
    write_rows("once", world, 5, turned, step, NULL);
    expect_compress_refused("once", p, "row 2 is node 1 at step 0; expected rows by (node, step)");
    write_rows("once", world, 5, node, late, NULL); /* rows of zeros at step 0 */
    flip_compressed out = compress(world, "once", "packed", p);
    CHECK(out.stored_rows == 4, "%lld rows stored", (long long)out.stored_rows);
    flip_compressed_finish(&out);
}

/* `check` and opening, on these ranks, refuse it with these words. */
static void expect_refused(const char *checked, const char *opened) {
    flip_graph *graph = NULL;
    flip_status status = flip_container_check(path_of("bad"), NULL);
    CHECK(status == FLIP_ERROR_INPUT && strstr(flip_error_message(), checked),
          "expected '%s', found '%s'", checked, flip_error_message());
    flip_error_clear();
    status = flip_graph_open(&graph, alone, path_of("bad"), NULL);
    CHECK(status == FLIP_ERROR_INPUT && strstr(flip_error_message(), opened),
          "expected '%s', found '%s'", opened, flip_error_message());
    flip_error_clear();
}

static void damaged(void **state) {
    (void)state;
    if (rank != 0) return;
    static const int64_t whole[] = {0, 1, 2, 3, 3}, hole[] = {0, 1, 3, 3, 3};
    static const int32_t step[] = {0, 0, 0, 0, 1}, late[] = {0, 0, 1, 0, 1},
                         far[] = {0, 0, 0, 0, 3}, twice[] = {0, 0, 0, 0, 0},
                         three[] = {0, 0, 0, 1, 2};
    float x[40 * 5];
    for (int i = 0; i < 200; i++)
        x[i] = (float)((i * 37) % 101);
    flip_codec *codec = NULL;
    CHECK_OK(flip_codec_train(&codec, "pq:3x11", 5, 40, x, 1, NULL, NULL));
    write_rows("bad", alone, 5, whole, step, codec);
    CHECK_OK(flip_container_check(path_of("bad"), NULL));
    write_rows("bad", alone, 5, hole, three, codec);
    expect_refused("node 2 has no packed row at step 0", "id 2 has no packed row at step 0");
    write_rows("bad", alone, 5, whole, late, codec);
    expect_refused("node 2 has no packed row at step 0", "id 2 has no packed row at step 0");
    write_rows("bad", alone, 3, whole, step, codec);
    expect_refused("node 3 has no packed row at step 0", "id 3 has no packed row at step 0");
    write_rows("bad", alone, 5, whole, twice, codec);
    expect_refused("expected ascending (node, step)", "id 3 has two packed rows at step 0");
    write_rows("bad", alone, 5, whole, far, codec);
    expect_refused("features/step", "node 3 at step 3");
    /* opened, steps of a node are put in order (they are where windows of two ranks meet) */
    static const int32_t turned[] = {0, 0, 0, 1, 0};
    flip_graph *graph = NULL;
    write_rows("bad", alone, 5, whole, turned, codec);
    CHECK_OK(flip_graph_open(&graph, alone, path_of("bad"), NULL));
    CHECK(flip_graph_code_steps(graph)[3] == 0 && flip_graph_code_steps(graph)[4] == 1, "order");
    flip_graph_close(&graph);
    flip_codec_destroy(&codec);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(flip_comm_create(&world, MPI_COMM_WORLD));
    CHECK_OK(flip_comm_create(&alone, MPI_COMM_SELF));
    rank = flip_comm_rank(world);
    if (rank == 0) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%.40s/flipXXXXXX", base ? base : "/tmp");
        CHECK(mkdtemp(folder), "no folder");
    }
    CHECK_OK(flip_comm_broadcast(world, folder, sizeof folder, 0));
    write_graph("calm", 1);
    write_graph("graph", 3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes), cmocka_unit_test(shards), cmocka_unit_test(frozen),
        cmocka_unit_test(drift),      cmocka_unit_test(budget), cmocka_unit_test(wrong_steps),
        cmocka_unit_test(damaged),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        static const char *const names[] = {"graph",  "calm",  "here", "alone", "again",
                                            "packed", "parts", "once", "bad"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            unlink(path_of(names[i]));
        rmdir(folder);
    }
    flip_comm_destroy(&alone);
    flip_comm_destroy(&world);
    MPI_Finalize();
    return failed;
}
