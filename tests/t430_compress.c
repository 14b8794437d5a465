/* compress: the same bytes for any ranks and threads; codes that come back from the file, from a
 * rank's shard and through a partition are those of plain encoding; budgets hold with tables
 * counted; damaged and foreign codes are refused by name. */
#include "compress_files.h"

#include <flipbook/generate.h>

#include <math.h>
#include <omp.h>

enum { NODES = 1500, DIM = 24 };

static flip_compress_params named(const char *codec) {
    flip_compress_params p = FLIP_COMPRESS_DEFAULTS;
    p.codec = codec;
    return p;
}

/* Rows of `filled` words of `wide` (index, value), and node v's events from src[ptr[v]] …; rank 0
 * writes all of them. */
static void write_words(const char *name, int64_t n, int64_t wide, int64_t filled,
                        const int32_t *index, const float *value, const int64_t *ptr,
                        const int32_t *src) {
    flip_writer *w = NULL;
    int64_t mine = rank == 0 ? n : 0, ends = rank == 0 ? n + 1 : 0;
    int64_t *start = calloc((size_t)n + 1, sizeof *start);
    for (int64_t i = 0; i <= n; i++)
        start[i] = i * filled;
    CHECK_OK(flip_writer_create(&w, world, path_of(name), "graph"));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_nodes", n));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_steps", 1));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_classes", 0));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "undirected", 0));
    CHECK_OK(flip_writer_attribute_i64(w, "features", "n_columns", wide));
    CHECK_OK(flip_writer_rows(w, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, ends, 0, 0, ptr));
    CHECK_OK(flip_writer_rows(w, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I32, rank == 0 ? ptr[n] : 0,
                              0, 0, src));
    CHECK_OK(
        flip_writer_rows(w, "features/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, ends, 0, 0, start));
    CHECK_OK(flip_writer_rows(w, "features/indices", FLIP_TYPE_I32, FLIP_TYPE_I32, mine * filled, 0,
                              0, index));
    CHECK_OK(flip_writer_rows(w, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, mine * filled, 0,
                              0, value));
    CHECK_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
    free(start);
}

/* Nine words a row of 40, weights 1 … 3. */
static void write_sparse(const char *name) {
    enum { N = 300, FILLED = 9, WIDE = 40 };
    static int32_t index[N * FILLED], none[1];
    static float value[N * FILLED];
    int64_t ptr[N + 1] = {0};
    for (int64_t i = 0; i < N; i++)
        for (int32_t k = 0; k < FILLED; k++) {
            index[i * FILLED + k] = (int32_t)(4 * k + (i * (k + 3)) % 4);
            value[i * FILLED + k] = (float)(1 + (i + k) % 3);
        }
    write_words(name, N, WIDE, FILLED, index, value, ptr, none);
}

/* ---- the same bytes -------------------------------------------------------------------------
 */

static void same_bytes(void **state) {
    (void)state;
    static const char *const codecs[] = {"lloyd:4",         "dither:2",      "klt:1.9",
                                         "near:1",          "pq:5x16",       "opq:8x64",
                                         "pq:5x16+lloyd:2", "klt:2+dither:4"};
    for (int k = 0; k < 8; k++) {
        compress(world, "graph", "here", named(codecs[k]));
        if (rank == 0) {
            compress(alone, "graph", "alone", named(codecs[k]));
            expect_same_file("here", "alone");
            omp_set_num_threads(2);
            compress(alone, "graph", "threads", named(codecs[k]));
            omp_set_num_threads(1);
            expect_same_file("here", "threads");
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

/* ---- what a shard has -----------------------------------------------------------------------
 */

/* Every own row of `packed` decodes to what its codec makes of the row of `graph`. */
static void check_shard(const char *packed, const char *codec) {
    flip_graph *graph = NULL, *whole = NULL;
    CHECK_OK(flip_graph_open(&graph, world, path_of(packed), NULL));
    CHECK_OK(flip_graph_open(&whole, alone, path_of("graph"), NULL));
    const flip_codec *c = flip_graph_codec(graph);
    const uint8_t *codes = flip_graph_codes(graph);
    const flip_graph_info *about = flip_graph_about(graph);
    int32_t n = flip_graph_n_own(graph);
    CHECK(c && (codes || n == 0) && !flip_graph_features(graph), "codes alone are there");
    CHECK(strcmp(flip_codec_name(c), codec) == 0, "%s", flip_codec_name(c));
    CHECK(about->code_bytes == (int32_t)flip_codec_stride(c), "%d bytes a row", about->code_bytes);
    CHECK(about->n_features == flip_codec_packing(c)->dim, "%d columns", about->n_features);
    const int64_t *original = flip_graph_original(graph);
    uint8_t again[64];
    for (int32_t v = 0; v < n; v++) {
        float row[DIM];
        for (int32_t j = 0; j < DIM; j++)
            row[j] = (float)flip_graph_features(whole)[original[v] * DIM + j];
        CHECK_OK(flip_codec_encode(c, 1, row, original + v, again));
        CHECK(memcmp(again, codes + (size_t)v * flip_codec_stride(c), flip_codec_stride(c)) == 0,
              "%s: codes of node %lld", packed, (long long)original[v]);
    }
    flip_graph_close(&graph);
    flip_graph_close(&whole);
}

static void shards(void **state) {
    (void)state;
    flip_compress_params keep = named("klt:2");
    keep.keep_rotation = true;
    compress(world, "graph", "klt", keep);
    check_shard("klt", "klt:2");
    compress(world, "graph", "dither", named("dither:2"));
    check_shard("dither", "dither:2");
    cut("dither", "parts", 4);
    check_shard("parts", "dither:2"); /* dither by original ids: the same codes in parts */
    compress(world, "parts_plain", "parts_dither", named("dither:2"));
    check_shard("parts_dither", "dither:2"); /* compressed after it was cut */
    if (rank == 0) CHECK_OK(flip_container_check(path_of("parts"), NULL));
    MPI_Barrier(MPI_COMM_WORLD);
}

/* ---- two levels -----------------------------------------------------------------------------
 */

/* Own rows of `packed`, coarse and refined, against rows of `graph`: squared errors of both. */
static void errors_of(const char *packed, double error[2]) {
    flip_graph *graph = NULL, *whole = NULL;
    CHECK_OK(flip_graph_open(&graph, world, path_of(packed), NULL));
    CHECK_OK(flip_graph_open(&whole, alone, path_of("graph"), NULL));
    const flip_codec *c = flip_graph_codec(graph), *r = flip_graph_refinement_codec(graph);
    CHECK(c && r && flip_graph_about(graph)->refinement_bytes == (int32_t)flip_codec_stride(r),
          "%s has two levels", packed);
    int32_t n = flip_graph_n_own(graph);
    const int64_t *original = flip_graph_original(graph);
    float *x = malloc(sizeof *x * DIM * (size_t)(n + 1)), *left = malloc(sizeof *x * DIM),
          back[DIM], more[DIM];
    uint8_t again[64];
    error[0] = error[1] = 0;
    for (int32_t v = 0; v < n; v++) {
        const uint8_t *codes = flip_graph_codes(graph) + (size_t)v * flip_codec_stride(c);
        const uint8_t *fine = flip_graph_refinement(graph) + (size_t)v * flip_codec_stride(r);
        for (int32_t j = 0; j < DIM; j++)
            x[j] = (float)flip_graph_features(whole)[original[v] * DIM + j];
        CHECK_OK(flip_codec_decode(c, 1, codes, original + v, back));
        CHECK_OK(flip_codec_decode(r, 1, fine, original + v, more));
        CHECK_OK(flip_codec_residual(c, 1, x, original + v, codes, left));
        CHECK_OK(flip_codec_encode(r, 1, left, original + v, again));
        CHECK(memcmp(again, fine, flip_codec_stride(r)) == 0, "%s: refinement of node %lld", packed,
              (long long)original[v]);
        for (int32_t j = 0; j < DIM; j++) {
            CHECK(left[j] == x[j] - back[j], "what is left of column %d", j);
            error[0] += (double)left[j] * (double)left[j];
            error[1] += pow((double)x[j] - (double)back[j] - (double)more[j], 2);
        }
    }
    CHECK_OK(flip_comm_sum_f64(world, error, 2));
    free(x);
    free(left);
    flip_graph_close(&graph);
    flip_graph_close(&whole);
}

/* The second level is of what the first leaves, in every shard and through a partition; it takes
 * the error that was told, and the bytes. */
static void two_levels(void **state) {
    (void)state;
    flip_compressed out = compress(world, "graph", "levels", named("pq:4x16+dither:4"));
    double error[2], parts[2];
    errors_of("levels", error);
    CHECK(error[1] < error[0] / 20, "errors %g, %g", error[0], error[1]);
    if (rank == 0) {
        const flip_compress_trial *c = &out.trial[out.chosen], *r = &out.trial[out.refinement];
        double told = r->error / c->error, found = error[1] / error[0];
        CHECK(out.n_trials == 2 && out.refinement == 1, "%d trials", out.n_trials);
        CHECK(told < 2 * found && found < 2 * told, "told %g, found %g", told, found);
        CHECK(out.stored_bytes == NODES * (int64_t)(c->row_bytes + r->row_bytes) +
                                      (int64_t)(c->table_bytes + r->table_bytes),
              "%lld bytes", (long long)out.stored_bytes);
        CHECK_OK(flip_container_check(path_of("levels"), NULL));
    }
    compress(world, "parts_plain", "levels", named("pq:4x16+dither:4"));
    errors_of("levels", parts);
    CHECK(fabs(parts[1] - error[1]) < 1e-9 * error[1], "in parts %g, not %g", parts[1], error[1]);
    cut("levels", "parts", 8);
    errors_of("parts", parts);
    CHECK(fabs(parts[1] - error[1]) < 1e-9 * error[1], "cut again %g, not %g", parts[1], error[1]);
    if (rank == 0) CHECK_OK(flip_container_check(path_of("parts"), NULL));
    MPI_Barrier(MPI_COMM_WORLD);
}

/* ---- exact rows -----------------------------------------------------------------------------
 */

static void exact(void **state) {
    (void)state;
    flip_compress_params none = named("sparse"), row = named("sparse");
    none.norm = FLIP_COMPRESS_NORM_NONE;
    write_sparse("words");
    for (int normed = 0; normed < 2; normed++) {
        flip_compressed out = compress(world, "words", "packed", normed ? row : none);
        flip_graph *graph = NULL, *plain = NULL;
        CHECK_OK(flip_graph_open(&graph, alone, path_of("packed"), NULL));
        CHECK_OK(flip_graph_open(&plain, alone, path_of("words"), NULL));
        CHECK(out.row_normalised == normed, "words are divided by their sums");
        int32_t dim = flip_graph_about(plain)->n_features, n = flip_graph_n_own(plain);
        float *back = malloc((size_t)(n * dim) * sizeof *back);
        CHECK_OK(
            flip_codec_decode(flip_graph_codec(graph), n, flip_graph_codes(graph), NULL, back));
        for (int32_t i = 0; i < n; i++) {
            const flip_real *x = flip_graph_features(plain) + (int64_t)i * dim;
            double sum = 0;
            for (int32_t j = 0; j < dim; j++)
                sum += fabs((double)x[j]);
            for (int32_t j = 0; j < dim; j++)
                CHECK(back[i * dim + j] == (float)((double)x[j] / (normed ? sum : 1)),
                      "row %d, column %d: %g", i, j, (double)back[i * dim + j]);
        }
        if (rank == 0) CHECK(out.trial[0].error == 0, "error %g", out.trial[0].error);
        free(back);
        flip_graph_close(&graph);
        flip_graph_close(&plain);
    }
}

/* ---- budgets --------------------------------------------------------------------------------
 */

static void budgets(void **state) {
    (void)state;
    static const double ratios[] = {4, 8, 24};
    double before = 0;
    for (int k = 0; k < 3; k++) {
        flip_compress_params p = FLIP_COMPRESS_DEFAULTS;
        p.budget = ratios[k];
        flip_compressed out = compress(world, "graph", "budget", p);
        int64_t dims[3], tables[3];
        flip_reader *reader = NULL;
        CHECK_OK(flip_reader_open(&reader, world, path_of("budget"), "graph"));
        CHECK_OK(flip_reader_shape(reader, "features/codes", dims, NULL));
        CHECK_OK(flip_reader_shape(reader, "features/codec", tables, NULL));
        flip_reader_close(&reader);
        int64_t stored = dims[0] * dims[1] + tables[0];
        CHECK(stored == out.stored_bytes, "%lld bytes", (long long)stored);
        CHECK((double)stored * ratios[k] <= NODES * DIM * 4., "1/%g: %lld bytes", ratios[k],
              (long long)stored);
        if (rank == 0) {
            const flip_compress_trial *best = &out.trial[out.chosen];
            bool near = strncmp(best->codec, "near:", 5) == 0; /* other than by least error */
            CHECK(near == (ratios[k] == 24), "1/%g chose %s", ratios[k], best->codec);
            for (int32_t i = 0; i < out.n_trials && !near; i++)
                CHECK(!out.trial[i].fits || out.trial[i].error >= 0.94 * best->error,
                      "%s was better than %s", out.trial[i].codec, best->codec);
            CHECK(best->error > before, "a smaller budget, a smaller error");
            before = best->error;
        }
    }
    flip_compress_params p = FLIP_COMPRESS_DEFAULTS;
    p.budget = 5000;
    expect_compress_refused(world, "graph", p, FLIP_ERROR_USAGE, "no codec reaches 1/5000");
}

/* Too few rows for their columns: by chance alone correlations would be near 1. A star whose leaves
 * share a word, as its centre alone has one, has a covariance along edges of sqrt(leaves) / 2,
 * which is no correlation either; all others have one neighbour, of other words. */
static void few_rows(void **state) {
    (void)state;
    enum { N = 300, FILLED = 3, WIDE = 99, LEAVES = 60, WORDS = (WIDE - 2) / FILLED };
    static int32_t index[N * FILLED], src[N + LEAVES];
    static float value[N * FILLED];
    int64_t ptr[N + 1], at = 0;
    for (int32_t v = 0; v < N; v++) {
        for (int32_t k = 0; k < FILLED; k++) {
            index[v * FILLED + k] =
                k * WORDS + (int32_t)flip_random_below(1, FLIP_STREAM_TEST, (uint64_t)k,
                                                       (uint64_t)v, (uint64_t)WORDS);
            value[v * FILLED + k] = 1;
        }
        if (v <= LEAVES) index[v * FILLED + FILLED - 1] = v == 0 ? WIDE - 1 : WIDE - 2;
        ptr[v] = at;
        for (int32_t k = 1; v == 0 && k <= LEAVES; k++)
            src[at++] = k;
        if (v > 0) src[at++] = v <= LEAVES ? 0 : LEAVES + 1 + (v + 100 - LEAVES) % (N - LEAVES - 1);
    }
    ptr[N] = at;
    write_words("star", N, WIDE, FILLED, index, value, ptr, src);
    flip_compress_params p = FLIP_COMPRESS_DEFAULTS;
    p.budget = 8;
    flip_compressed out = compress(world, "star", "budget", p);
    int tried = 0;
    for (int32_t i = 0; i < out.n_trials; i++)
        tried += strncmp(out.trial[i].codec, "near:", 5) == 0 && out.trial[i].fits;
    CHECK(rank != 0 || (tried && strncmp(out.trial[out.chosen].codec, "near:", 5) != 0),
          "near:B was%s tried, %s chosen", tried ? "" : " not", out.trial[out.chosen].codec);
}

/* ---- refusals -------------------------------------------------------------------------------
 */

/* A second level for write_codes: codes [4, stride] and codec bytes, or none. */
static struct {
    int64_t stride, n_codec;
    const uint8_t *codes, *codec;
} refinement;

static void write_bytes(flip_writer *w, const char *name, int64_t n, int64_t width,
                        const uint8_t *bytes) {
    if (bytes) CHECK_OK(flip_writer_rows(w, name, FLIP_TYPE_U8, FLIP_TYPE_U8, n, width, 0, bytes));
}

/* A file of four nodes with these codes [4, stride] and codec bytes. */
static void write_codes(const char *name, int64_t stride, const uint8_t *codes,
                        const uint8_t *codec, int64_t n_codec, int64_t columns) {
    flip_writer *w = NULL;
    CHECK_OK(flip_writer_create(&w, alone, path_of(name), "graph"));
    write_head(w, alone, 4, 1);
    CHECK_OK(flip_writer_attribute_i64(w, "features", "n_columns", columns));
    write_bytes(w, "features/codes", 4, stride, codes);
    write_bytes(w, "features/codec", n_codec, 0, codec);
    write_bytes(w, "features/refinement", 4, refinement.stride, refinement.codes);
    write_bytes(w, "features/refinement_codec", refinement.n_codec, 0, refinement.codec);
    CHECK_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

static void expect_both(const char *words) {
    expect_refused(words, words);
}

static void refused(void **state) {
    (void)state;
    if (rank != 0) return;
    flip_codec *codec = small_codec("pq:3x11", 5); /* a byte a row */
    uint8_t codes[16] = {0}, *bytes = NULL;
    size_t n = 0;
    CHECK_OK(flip_codec_to_bytes(codec, &bytes, &n));
    write_codes("bad", 1, codes, bytes, (int64_t)n, 5);
    CHECK_OK(flip_container_check(path_of("bad"), NULL));
    codes[2] = 0x0b; /* entry 11 of 11 */
    write_codes("bad", 1, codes, bytes, (int64_t)n, 5);
    expect_both("codes of row 2 do not fit codec pq:3x11");
    codes[2] = 0;
    write_codes("bad", 2, codes, bytes, (int64_t)n, 5);
    expect_both("rows of 2 bytes, codec pq:3x11 makes 1");
    write_codes("bad", 1, codes, bytes, (int64_t)n, 6);
    expect_both("n_columns is 6");
    write_codes("bad", 1, codes, bytes, (int64_t)n - 1, 5);
    expect_both("codec table: pq:3x11: codebook");
    bytes[0] = 'X';
    write_codes("bad", 1, codes, bytes, (int64_t)n, 5);
    expect_both("does not begin with FLIPCODE");
    write_codes("bad", 1, codes, NULL, 0, 5);
    expect_both("not features/codec");
    flip_free(bytes);
    flip_codec_destroy(&codec);
    compress(alone, "graph", "once", named("lloyd:4"));
    expect_compress_refused(alone, "once", named("lloyd:4"), FLIP_ERROR_INPUT,
                            "packed features already");
}

/* A second level of other columns, of another width, of a rotating codec, cut off, alone, with
 * codes that its tables do not have. */
static void refused_levels(void **state) {
    (void)state;
    if (rank != 0) return;
    static const struct {
        const char *codec;
        int32_t dim;
        int64_t stride, cut;
        const char *words;
    } cases[] = {
        {"lloyd:4", 5, 3, 0, NULL},
        {"lloyd:4", 6, 3, 0, "lloyd:4 refines 6 columns, uniform:8 decodes to 5"},
        {"lloyd:4", 5, 2, 0, "features/refinement: rows of 2 bytes, codec lloyd:4 makes 3"},
        {"klt:4", 5, 2, 0, "klt:4 cannot refine another codec"},
        {"lloyd:4", 5, 3, 1, "codec table: lloyd:4: levels"},
        {"lloyd:4", 5, 3, -1, "has features/refinement but not features/codes"},
        {"lloyd:4", 5, 3, -2, "features/refinement but not features/refinement_codec"},
        {"lloyd:4", 5, 3, -3, "codes of row 1 do not fit codec lloyd:4"},
    };
    flip_codec *coarse = small_codec("uniform:8", 5);
    uint8_t codes[4 * 5] = {0}, *bytes = NULL;
    size_t n = 0;
    CHECK_OK(flip_codec_to_bytes(coarse, &bytes, &n));
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        flip_codec *fine = small_codec(cases[k].codec, cases[k].dim);
        uint8_t *more = NULL, zeros[4 * 8] = {0};
        size_t m = 0;
        int64_t how = cases[k].cut;
        CHECK_OK(flip_codec_to_bytes(fine, &more, &m));
        if (how == -3) zeros[5] = 0xf0; /* bits behind the fifth code of row 1 */
        refinement.codes = zeros;
        refinement.stride = cases[k].stride;
        refinement.codec = how == -2 ? NULL : more;
        refinement.n_codec = (int64_t)m - (how > 0 ? how : 0);
        write_codes("bad", 5, how == -1 ? NULL : codes, how == -1 ? NULL : bytes, (int64_t)n, 5);
        if (cases[k].words)
            expect_both(cases[k].words);
        else
            CHECK_OK(flip_container_check(path_of("bad"), NULL));
        flip_free(more);
        flip_codec_destroy(&fine);
    }
    memset(&refinement, 0, sizeof refinement);
    flip_free(bytes);
    flip_codec_destroy(&coarse);
}

int main(int argc, char **argv) {
    begin_files(&argc, &argv);
    flip_sbm_params sbm = FLIP_SBM_DEFAULTS;
    flip_generate_counts counts;
    sbm.common.n_nodes = NODES;
    sbm.common.n_features = DIM;
    sbm.common.spectrum = 1.4;
    CHECK_OK(flip_generate_sbm(world, path_of("graph"), &sbm, &counts));
    cut("graph", "parts_plain", 8);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes), cmocka_unit_test(shards),         cmocka_unit_test(exact),
        cmocka_unit_test(budgets),    cmocka_unit_test(few_rows),       cmocka_unit_test(refused),
        cmocka_unit_test(two_levels), cmocka_unit_test(refused_levels),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const names[] = {
        "graph",        "here",  "alone",  "threads", "klt", "dither", "parts",  "parts_plain",
        "parts_dither", "words", "packed", "budget",  "bad", "once",   "levels", "star"};
    end_files(names, sizeof names / sizeof *names);
    return failed;
}
