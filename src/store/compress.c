/* A graph with its features packed: sample, codec, codes, and the rest of the file as it is. */
#include "store/compress.h"

#include <math.h>
#include <string.h>

enum { WINDOW_BYTES = 4 << 20, HOLD = 8, MOST_HELD = 8192 };

/* ---- sample ---------------------------------------------------------------------------------
 */

/* Every eighth row is held out, 8192 at most: `sample` [n, dim] becomes learned rows, then held
 * ones. Where there are fewer than 16 rows all are learned and measured on. */
static flip_status hold_out(flip_trials *t, float **sample, int64_t n) {
    int64_t dim = t->rows->dim, n_held = n < 2 * HOLD ? 0 : n / HOLD, held = 0, learned = 0;
    size_t bytes = (size_t)dim * sizeof(float);
    float *parted;
    if (n_held > MOST_HELD) n_held = MOST_HELD;
    if (n_held == 0) {
        t->learn = t->held = *sample;
        t->n = t->n_held = n;
        return FLIP_OK;
    }
    FLIP_TRY(flip_alloc(&parted, (size_t)n, bytes, "a sample of rows"));
    for (int64_t i = 0; i < n; i++) {
        bool out = held < n_held && i % (n / n_held) == n / n_held / 2;
        int64_t to = out ? n - n_held + held++ : learned++;
        memcpy(parted + to * dim, *sample + i * dim, bytes);
    }
    flip_free(*sample);
    *sample = parted;
    t->learn = parted;
    t->held = parted + (n - n_held) * dim;
    t->n = learned;
    t->n_held = held;
    return FLIP_OK;
}

static void take_figures(flip_compressed *out, const flip_feature_rows *r) {
    out->n_nodes = r->n_nodes;
    out->n_columns = r->dim;
    out->nonzeros = r->nonzeros;
    out->row_normalised = r->row_normalised;
    out->given_rows = r->n_rows;
    out->dense_bytes = r->n_rows * (r->dim * (int64_t)sizeof(float) + r->beside);
    out->csr_bytes = r->nonzeros * (r->ones ? 4 : 8) + (r->n_nodes + 1) * 8;
    if (r->n_steps > 0) out->csr_bytes = out->dense_bytes; /* rows that change have no such form */
    out->native_bytes = out->csr_bytes < out->dense_bytes ? out->csr_bytes : out->dense_bytes;
}

void flip_levels_finish(flip_levels *l) {
    flip_codec_destroy(&l->coarse);
    flip_codec_destroy(&l->refinement);
}

flip_status flip_compress_learn(flip_compressed *out, const flip_feature_rows *r,
                                const flip_compress_params *p, float **sample, int64_t n,
                                flip_levels *l) {
    flip_trials t = {.rows = r, .params = p, .out = out};
    FLIP_TRY(hold_out(&t, sample, n));
    out->learned = t.n;
    out->held = t.n_held;
    FLIP_TRY(flip_trials_run(&t, &l->coarse, &l->refinement));
    l->variance = t.spread / (double)t.n_held;
    return FLIP_OK;
}

/* On rank 0: the codecs. */
static flip_status choose(flip_compressed *out, const flip_feature_rows *r,
                          const flip_compress_params *p, float **sample, int64_t n,
                          flip_levels *l) {
    if (n < 1 && r->n_steps > 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' has no rows of features at steps %d to %d: nothing to learn from; "
                         "choose other steps",
                         flip_reader_path(r->reader), out->learned_first,
                         out->learned_first + out->learned_steps - 1);
    if (n < 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has no nodes: nothing to pack",
                         flip_reader_path(r->reader));
    return flip_compress_learn(out, r, p, sample, n, l);
}

/* Rank 0's codec on every rank, from the same bytes; with its rotation, which encoding needs. */
static flip_status spread_codec(flip_comm *comm, flip_codec **codec) {
    flip_status status = FLIP_OK;
    uint8_t *bytes = NULL;
    size_t n = 0;
    if (*codec) status = flip_codec_to_bytes(*codec, &bytes, &n);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_comm_broadcast(comm, &n, sizeof n, 0));
    if (n == 0) goto done; /* rank 0 has none */
    if (!bytes) status = flip_alloc(&bytes, n, 1, "a codec's bytes");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_comm_broadcast(comm, bytes, n, 0));
    flip_codec_destroy(codec);
    status = flip_comm_agree(comm, flip_codec_from_bytes(codec, bytes, n));
done:
    flip_free(bytes);
    return status;
}

static flip_status agree_on_codecs(flip_compressed *out, const flip_feature_rows *r,
                                   const flip_compress_params *p, flip_levels *l) {
    flip_status status;
    float *sample = NULL;
    int64_t n = 0;
    FLIP_TRY_GOTO(flip_feature_rows_draw(&sample, &n, r, out->learned_first,
                                         out->learned_first + out->learned_steps, p));
    status = flip_comm_rank(r->comm) == 0 ? choose(out, r, p, &sample, n, l) : FLIP_OK;
    FLIP_TRY_GOTO(flip_comm_agree(r->comm, status));
    FLIP_TRY_GOTO(flip_comm_broadcast(r->comm, &l->variance, sizeof l->variance, 0));
    FLIP_TRY_GOTO(spread_codec(r->comm, &l->coarse));
    status = spread_codec(r->comm, &l->refinement);
done:
    flip_free(sample);
    return status;
}

/* ---- the rest of the file -------------------------------------------------------------------
 */

typedef struct copier {
    flip_comm *comm;
    const flip_reader *reader;
    flip_writer *writer;
} copier;

static flip_status copy_rest(copier *c) {
    FLIP_TRY(flip_container_copy_attributes(c->writer, c->reader, "/"));
    FLIP_TRY(flip_container_copy_attributes(c->writer, c->reader, "partition"));
    for (int32_t i = 0; i < flip_reader_n_datasets(c->reader); i++) {
        const char *name = flip_reader_dataset(c->reader, i);
        if (strncmp(name, "features/", 9) != 0)
            FLIP_TRY(flip_container_copy_dataset(c->writer, c->reader, c->comm, name));
    }
    return FLIP_OK;
}

/* ---- codes ----------------------------------------------------------------------------------
 */

/* A window of rows, and what becomes of them. */
typedef struct window {
    float *rows, *left; /* [most, dim], [most, columns of the coarse codec] */
    uint8_t *codes, *refined;
    int64_t *key;
} window;

static flip_status make_window(window *w, int64_t most, int32_t dim, const flip_levels *l,
                               bool refined) {
    size_t n = (size_t)most, columns = (size_t)flip_codec_packing(l->coarse)->dim;
    FLIP_TRY(flip_alloc(&w->key, n, sizeof *w->key, "original ids"));
    FLIP_TRY(flip_alloc(&w->rows, n * (size_t)dim, sizeof *w->rows, "rows"));
    FLIP_TRY(flip_alloc(&w->codes, n, flip_codec_stride(l->coarse), "codes"));
    if (!refined) return FLIP_OK;
    FLIP_TRY(flip_alloc(&w->left, n * columns, sizeof *w->left, "residuals"));
    return flip_alloc(&w->refined, n, flip_codec_stride(l->refinement), "codes");
}

static flip_status encode(window *w, const flip_feature_rows *r, int64_t first, int64_t n,
                          const flip_levels *l, bool refined) {
    FLIP_TRY(flip_feature_rows_read(r, first, n, w->rows));
    FLIP_TRY(flip_feature_rows_keys(r, first, n, w->key));
    FLIP_TRY(flip_codec_encode(l->coarse, n, w->rows, w->key, w->codes));
    if (!refined) return FLIP_OK;
    FLIP_TRY(flip_codec_residual(l->coarse, n, w->rows, w->key, w->codes, w->left));
    return flip_codec_encode(l->refinement, n, w->left, w->key, w->refined);
}

/* Codes of the first level or of the second: one dataset after the other, for the file's bytes to
 * be the same. In each round rank r has the r-th run of `most` rows, so that rows are written in
 * order for any number of ranks. */
static flip_status write_codes(copier *c, const flip_feature_rows *r, const flip_levels *l,
                               bool refined, const flip_compress_params *p) {
    int rank = flip_comm_rank(c->comm), size = flip_comm_size(c->comm);
    const char *name = refined ? "features/refinement" : "features/codes";
    int64_t stride = (int64_t)flip_codec_stride(refined ? l->refinement : l->coarse);
    int64_t most = WINDOW_BYTES / ((int64_t)r->dim * (int64_t)sizeof(float)) + 1;
    window w = {0};
    flip_status status = make_window(&w, most, r->dim, l, refined);
    FLIP_TRY_GOTO(flip_comm_agree(c->comm, status));
    for (int64_t round = 0; round < r->n_nodes; round += most * size) {
        int64_t first = round + most * rank, n = r->n_nodes - first;
        n = n < 0 ? 0 : n < most ? n : most;
        if (p->progress && rank == 0)
            p->progress(p->progress_data, "encoding", (double)round / (double)r->n_nodes);
        status = encode(&w, r, first, n, l, refined);
        FLIP_TRY_GOTO(flip_comm_agree(c->comm, status));
        FLIP_TRY_GOTO(flip_writer_rows(c->writer, name, FLIP_TYPE_U8, FLIP_TYPE_U8, n, stride, 0,
                                       refined ? w.refined : w.codes));
    }
done:
    flip_free(w.rows);
    flip_free(w.left);
    flip_free(w.codes);
    flip_free(w.refined);
    flip_free(w.key);
    return status;
}

static flip_status write_tables(copier *c, const flip_codec *codec, const char *name) {
    bool mine = flip_comm_rank(c->comm) == 0;
    uint8_t *bytes = NULL;
    size_t n = 0;
    FLIP_TRY(flip_comm_agree(c->comm, flip_codec_to_bytes(codec, &bytes, &n)));
    flip_status status = flip_writer_rows(c->writer, name, FLIP_TYPE_U8, FLIP_TYPE_U8,
                                          mine ? (int64_t)n : 0, 0, 0, bytes);
    flip_free(bytes);
    return status;
}

/* The codecs as they are kept, and what was done to the features. */
static flip_status write_codecs(copier *c, const flip_compressed *out, flip_levels *l,
                                const flip_compress_params *p) {
    bool mine = flip_comm_rank(c->comm) == 0;
    if (!p->keep_rotation) flip_codec_drop_rotation(l->coarse);
    FLIP_TRY(write_tables(c, l->coarse, "features/codec"));
    if (l->refinement) {
        FLIP_TRY(write_tables(c, l->refinement, "features/refinement_codec"));
        FLIP_TRY(flip_writer_attribute_f64(c->writer, "features", "refined_error",
                                           mine ? out->trial[out->refinement].error : 0));
    }
    FLIP_TRY(flip_writer_attribute_i64(c->writer, "features", "n_columns", out->n_columns));
    FLIP_TRY(flip_writer_attribute_text(c->writer, "features", "norm",
                                        out->row_normalised ? "row" : "none"));
    FLIP_TRY(flip_writer_attribute_i64(c->writer, "features", "native_bytes", out->native_bytes));
    if (out->n_steps > 0) {
        FLIP_TRY(
            flip_writer_attribute_i64(c->writer, "features", "learned_first", out->learned_first));
        FLIP_TRY(
            flip_writer_attribute_i64(c->writer, "features", "learned_steps", out->learned_steps));
    }
    return flip_writer_attribute_f64(c->writer, "features", "relative_error",
                                     mine ? out->trial[out->chosen].error : 0);
}

static flip_status write_all(copier *c, flip_compressed *out, const flip_feature_rows *r,
                             flip_levels *l, const char *path, const flip_compress_params *p) {
    FLIP_TRY(flip_writer_create(&c->writer, c->comm, path, "graph"));
    FLIP_TRY(copy_rest(c));
    FLIP_TRY(r->n_steps > 0 ? flip_compress_changes(out, c->writer, r, l->coarse, l->variance, p)
                            : write_codes(c, r, l, false, p));
    if (l->refinement) FLIP_TRY(write_codes(c, r, l, true, p));
    FLIP_TRY(write_codecs(c, out, l, p));
    return flip_writer_commit(c->writer);
}

static flip_status check_params(const flip_compress_params *p) {
    if (p->codec) FLIP_TRY(flip_codec_check_name(p->codec));
    if (!p->codec && !(p->budget >= 1 && p->budget <= 1e6))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "a budget of 1/%g of the native bytes; it must be from 1 to 1,000,000 "
                         "(16x is 1/16), or name a codec",
                         p->budget);
    if (p->codec && p->budget != 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "either a codec or a budget is given, not both");
    if (p->sample < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "a sample of %lld rows; at least 1 is needed",
                         (long long)p->sample);
    return FLIP_OK;
}

/* The steps to learn from. */
static flip_status choose_steps(flip_compressed *out, const flip_feature_rows *r,
                                const flip_compress_params *p) {
    enum { SHARE = 8 };
    char coarse[FLIP_CODEC_NAME], fine[FLIP_CODEC_NAME] = "";
    const char *path = flip_reader_path(r->reader);
    if (r->n_steps == 0 && (p->first_step != 0 || p->n_steps != 0 || p->retrain != 0))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' has features that are the same at every step: codebooks are learned "
                         "from all rows, not from steps",
                         path);
    if (r->n_steps == 0) return FLIP_OK;
    if (p->codec) FLIP_TRY(flip_codec_split(p->codec, coarse, fine));
    if (fine[0])
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s has two levels; features that change, as those of '%s', are "
                         "packed by one: --codec %s",
                         p->codec, path, coarse);
    int32_t n = p->n_steps > 0 ? p->n_steps : (r->n_steps + SHARE - 1) / SHARE;
    int32_t left = r->n_steps - p->first_step;
    if (p->n_steps == 0 && n > left) n = left;
    if (p->first_step < 0 || p->n_steps < 0 || p->retrain < 0 || n < 1 || n > left)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%d steps from step %d on to learn from, compared every %d; '%s' has %d "
                         "steps",
                         p->n_steps, p->first_step, p->retrain, path, r->n_steps);
    out->n_steps = r->n_steps;
    out->learned_first = p->first_step;
    out->learned_steps = n;
    return FLIP_OK;
}

void flip_compressed_finish(flip_compressed *c) {
    flip_free(c->drift);
    c->drift = NULL;
}

static int64_t stored_bytes(const flip_compressed *out, const flip_feature_rows *r,
                            const flip_codec *codec) {
    return out->stored_rows * ((int64_t)flip_codec_stride(codec) + r->beside) +
           (int64_t)flip_codec_table_bytes(codec);
}

flip_status flip_compress(flip_compressed *out, flip_comm *comm, const flip_reader *graph,
                          const char *path, const flip_compress_params *params) {
    flip_status status;
    flip_feature_rows rows = {0};
    flip_levels l = {0};
    copier c = {.comm = comm, .reader = graph};
    *out = (flip_compressed){0};
    FLIP_TRY_GOTO(flip_comm_agree(comm, check_params(params)));
    double begin = flip_seconds();
    FLIP_TRY_GOTO(flip_feature_rows_open(&rows, comm, graph, params->norm));
    take_figures(out, &rows);
    FLIP_TRY_GOTO(flip_comm_agree(comm, choose_steps(out, &rows, params)));
    FLIP_TRY_GOTO(agree_on_codecs(out, &rows, params, &l));
    out->learn_seconds = flip_seconds() - begin;
    FLIP_TRY_GOTO(write_all(&c, out, &rows, &l, path, params));
    out->encode_seconds = flip_seconds() - begin - out->learn_seconds;
    if (rows.n_steps == 0) out->stored_rows = out->n_nodes;
    out->stored_bytes = stored_bytes(out, &rows, l.coarse);
    if (l.refinement) out->stored_bytes += stored_bytes(out, &rows, l.refinement);
done:
    flip_writer_destroy(&c.writer);
    flip_levels_finish(&l);
    flip_feature_rows_finish(&rows);
    return status;
}
