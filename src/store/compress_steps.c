/* Features that change from step to step, by a codec that stays as it is: of each node the rows
 * whose codes differ from those before, and how far the rows of every step are from their codes.
 *
 *     file: rows by (node, step) ─ windows that begin with a node ─▶ rank 0, 1, … in turn
 *     window: a row of zeros where a node has none at step 0, codes, those that differ ─▶ written
 *
 * Windows are the same for any number of ranks, and so are the sums of errors, window by window. */
#include "store/compress.h"

#include <math.h>
#include <string.h>

enum { WINDOW_BYTES = 4 << 20, LOOK = 4096 };

/* Rows of some nodes, all that these have. */
typedef struct window {
    int64_t n, given; /* rows; of those, of the file */
    int64_t *node, *key;
    int32_t *step;
    bool *made; /* of zeros, not of the file */
    float *rows, *back;
    uint8_t *codes;
} window;

/* Sums of a window, or of all: [n_steps] each. */
typedef struct sums {
    double *error, *given, *stored;
} sums;

static void window_finish(window *w) {
    flip_free(w->node);
    flip_free(w->key);
    flip_free(w->step);
    flip_free(w->made);
    flip_free(w->rows);
    flip_free(w->back);
    flip_free(w->codes);
    *w = (window){0};
}

static flip_status window_alloc(window *w, int64_t n, const flip_feature_rows *r,
                                const flip_codec *codec) {
    size_t all = (size_t)n, dim = (size_t)r->dim;
    size_t wide = (size_t)flip_codec_packing(codec)->dim;
    w->n = n;
    FLIP_TRY(flip_alloc(&w->node, all, sizeof *w->node, "rows that change"));
    FLIP_TRY(flip_alloc(&w->key, all, sizeof *w->key, "rows that change"));
    FLIP_TRY(flip_alloc(&w->step, all, sizeof *w->step, "rows that change"));
    FLIP_TRY(flip_alloc_zero(&w->made, all, sizeof *w->made, "rows that change"));
    FLIP_TRY(flip_alloc(&w->rows, all, dim * sizeof *w->rows, "rows that change"));
    FLIP_TRY(flip_alloc(&w->back, all, (dim + wide) * sizeof *w->back, "decoded rows"));
    return flip_alloc(&w->codes, all, flip_codec_stride(codec), "codes");
}

/* ---- a window's rows ---- */

/* The first row from `at` on that begins a node. */
static flip_status begin_of(const flip_feature_rows *r, int64_t at, int64_t *row) {
    int64_t node[LOOK], before = -1;
    *row = at < r->n_rows ? at : r->n_rows;
    if (at <= 0 || at >= r->n_rows) return FLIP_OK;
    for (int64_t first = at - 1; first < r->n_rows; first += LOOK) {
        int64_t n = r->n_rows - first < LOOK ? r->n_rows - first : LOOK;
        FLIP_TRY(flip_reader_rows(r->reader, "features/node", FLIP_TYPE_I64, first, n, node));
        for (int64_t i = 0; i < n; i++) {
            *row = first + i;
            if (*row >= at && node[i] != before) return FLIP_OK;
            before = node[i];
        }
    }
    *row = r->n_rows;
    return FLIP_OK;
}

/* The node behind those with rows before `row`: where a window's nodes begin. */
static flip_status node_at(const flip_feature_rows *r, int64_t row, int64_t *node) {
    *node = row >= r->n_rows ? r->n_nodes : 0;
    if (row <= 0 || row >= r->n_rows) return FLIP_OK;
    FLIP_TRY(flip_reader_rows(r->reader, "features/node", FLIP_TYPE_I64, row - 1, 1, node));
    ++*node;
    return FLIP_OK;
}

/* How many of the nodes first … end-1, with n rows at these steps, have none at step 0. */
static int64_t count_made(const int32_t *step, int64_t n, int64_t first, int64_t end) {
    int64_t with = 0;
    for (int64_t i = 0; i < n; i++)
        with += step[i] == 0;
    return end - first - with;
}

/* The file's rows, which stand at the window's end, and rows of zeros between them. */
static void mix(window *w, const flip_feature_rows *r, int64_t first, int64_t end,
                const int64_t *node, const int32_t *step) {
    size_t bytes = (size_t)r->dim * sizeof *w->rows;
    int64_t from = w->n - w->given, to = 0, i = 0;
    for (int64_t v = first; v < end; v++) {
        if (i == w->given || node[i] != v || step[i] != 0) {
            w->node[to] = v;
            w->step[to] = 0;
            w->made[to] = true;
            memset(w->rows + to * r->dim, 0, bytes);
            to++;
        }
        for (; i < w->given && node[i] == v; i++, to++) {
            w->node[to] = v;
            w->step[to] = step[i];
            memmove(w->rows + to * r->dim, w->rows + (from + i) * r->dim, bytes);
        }
    }
}

/* Rows row … row_end-1 of the file, of nodes first … end-1. */
static flip_status fill(window *w, const flip_feature_rows *r, const flip_codec *codec, int64_t row,
                        int64_t row_end, int64_t first, int64_t end) {
    flip_status status;
    int64_t n = row_end - row, *node = NULL, *original = NULL;
    int32_t *step = NULL;
    FLIP_TRY_GOTO(flip_alloc(&node, (size_t)n, sizeof *node, "rows that change"));
    FLIP_TRY_GOTO(flip_alloc(&step, (size_t)n, sizeof *step, "rows that change"));
    FLIP_TRY_GOTO(flip_alloc(&original, (size_t)(end - first), sizeof *original, "original ids"));
    if (n > 0) {
        FLIP_TRY_GOTO(flip_reader_rows(r->reader, "features/node", FLIP_TYPE_I64, row, n, node));
        FLIP_TRY_GOTO(flip_reader_rows(r->reader, "features/step", FLIP_TYPE_I32, row, n, step));
    }
    FLIP_TRY_GOTO(flip_feature_rows_keys(r, first, end - first, original));
    FLIP_TRY_GOTO(window_alloc(w, n + count_made(step, n, first, end), r, codec));
    w->given = n;
    FLIP_TRY_GOTO(flip_feature_rows_read(r, row, n, w->rows + (w->n - n) * r->dim));
    mix(w, r, first, end, node, step);
    for (int64_t i = 0; i < w->n; i++)
        w->key[i] = original[w->node[i] - first];
done:
    flip_free(node);
    flip_free(step);
    flip_free(original);
    return status;
}

/* ---- codes, errors, what differs ---- */

/* Squared errors of the file's rows, in the original columns. */
static flip_status measure(window *w, const flip_feature_rows *r, const flip_codec *codec,
                           sums *s) {
    float *decoded = w->back + w->n * r->dim;
    FLIP_TRY(flip_codec_decode(codec, w->n, w->codes, w->key, decoded));
    FLIP_TRY(flip_codec_restore(codec, w->n, decoded, w->back));
    for (int64_t i = 0; i < w->n; i++) {
        double sum = 0;
        if (w->made[i]) continue;
        for (int64_t k = i * r->dim; k < (i + 1) * r->dim; k++) {
            double apart = (double)w->back[k] - (double)w->rows[k];
            sum += apart * apart;
        }
        s->error[w->step[i]] += sum;
        s->given[w->step[i]]++;
    }
    return FLIP_OK;
}

/* Rows whose codes differ from the node's before move to the front; returns how many. */
static int64_t keep_changes(window *w, size_t stride, sums *s) {
    int64_t kept = 0;
    for (int64_t i = 0; i < w->n; i++) {
        const uint8_t *codes = w->codes + (size_t)i * stride;
        bool same = kept > 0 && w->node[kept - 1] == w->node[i] &&
                    memcmp(w->codes + (size_t)(kept - 1) * stride, codes, stride) == 0;
        if (same) continue;
        w->node[kept] = w->node[i];
        w->step[kept] = w->step[i];
        memmove(w->codes + (size_t)kept * stride, codes, stride);
        s->stored[w->step[i]]++;
        kept++;
    }
    return kept;
}

/* Window number k; *kept rows of it are to be written. */
static flip_status encode(window *w, const flip_feature_rows *r, const flip_codec *codec, int64_t k,
                          int64_t most, sums *s, int64_t *kept) {
    int64_t row, row_end, first, end;
    *kept = 0;
    if (k > 0 && k * most >= r->n_rows) return FLIP_OK;
    FLIP_TRY(begin_of(r, k * most, &row));
    FLIP_TRY(begin_of(r, (k + 1) * most, &row_end));
    if (row == row_end && r->n_rows > 0) return FLIP_OK;
    FLIP_TRY(node_at(r, row, &first));
    FLIP_TRY(node_at(r, row_end, &end));
    FLIP_TRY(fill(w, r, codec, row, row_end, row == 0 ? 0 : first, end));
    FLIP_TRY(flip_codec_encode(codec, w->n, w->rows, w->key, w->codes));
    FLIP_TRY(measure(w, r, codec, s));
    *kept = keep_changes(w, flip_codec_stride(codec), s);
    return FLIP_OK;
}

static flip_status write_window(flip_writer *writer, const window *w, int64_t kept, size_t stride) {
    FLIP_TRY(flip_writer_rows(writer, "features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, kept, 0, 0,
                              w->node));
    FLIP_TRY(flip_writer_rows(writer, "features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, kept, 0, 0,
                              w->step));
    return flip_writer_rows(writer, "features/codes", FLIP_TYPE_U8, FLIP_TYPE_U8, kept,
                            (int64_t)stride, 0, w->codes);
}

/* ---- all windows ---- */

static flip_status sums_alloc(sums *s, size_t n) {
    FLIP_TRY(flip_alloc_zero(&s->error, 3 * n, sizeof *s->error, "sums of steps"));
    s->given = s->error + n;
    s->stored = s->given + n;
    return FLIP_OK;
}

/* A round's windows, one a rank, in their order; of_ranks [ranks, 3, n] is room. */
static flip_status add_round(sums *all, const sums *mine, double *of_ranks, size_t n,
                             flip_comm *comm) {
    FLIP_TRY(flip_comm_gather_all(comm, of_ranks, mine->error, 3 * n * sizeof *of_ranks));
    for (size_t i = 0; i < 3 * n * (size_t)flip_comm_size(comm); i++)
        all->error[i % (3 * n)] += of_ranks[i];
    return FLIP_OK;
}

static flip_status encode_all(sums *all, flip_writer *writer, const flip_feature_rows *r,
                              const flip_codec *codec, const flip_compress_params *p) {
    flip_status status;
    sums mine = {0};
    double *of_ranks = NULL;
    size_t steps = (size_t)r->n_steps;
    int64_t size = flip_comm_size(r->comm), rank = flip_comm_rank(r->comm), kept;
    int64_t most = WINDOW_BYTES / ((int64_t)r->dim * (int64_t)sizeof(float)) + 1;
    status = sums_alloc(&mine, steps);
    if (status == FLIP_OK)
        status = flip_alloc(&of_ranks, 3 * steps * (size_t)size, sizeof *of_ranks, "sums of steps");
    FLIP_TRY_GOTO(flip_comm_agree(r->comm, status));
    for (int64_t k = 0; k == 0 || k * most < r->n_rows; k += size) {
        window w = {0};
        if (p->progress && rank == 0)
            p->progress(p->progress_data, "encoding",
                        (double)(k * most) / (double)(r->n_rows > 0 ? r->n_rows : 1));
        memset(mine.error, 0, 3 * steps * sizeof *mine.error);
        status = flip_comm_agree(r->comm, encode(&w, r, codec, k + rank, most, &mine, &kept));
        if (status == FLIP_OK) status = write_window(writer, &w, kept, flip_codec_stride(codec));
        window_finish(&w);
        FLIP_TRY_GOTO(status);
        FLIP_TRY_GOTO(add_round(all, &mine, of_ranks, steps, r->comm));
    }
done:
    flip_free(mine.error);
    flip_free(of_ranks);
    return status;
}

/* ---- the drift ---- */

/* Codebooks of the same kind learned from a step's rows: their error on rows held out. Collective;
 * the same on all ranks. */
static flip_status learn_again(double *error, const flip_feature_rows *r, const char *name,
                               int32_t step, double variance, const flip_compress_params *p) {
    flip_status status;
    flip_compress_params again = *p;
    flip_compressed out = {.learned_first = step, .learned_steps = 1};
    flip_levels own = {0};
    float *sample = NULL;
    int64_t n = 0;
    *error = NAN;
    again.codec = name;
    again.budget = 0;
    FLIP_TRY_GOTO(flip_feature_rows_draw(&sample, &n, r, step, step + 1, p));
    if (n > 0) {
        status = flip_compress_learn(&out, r, &again, &sample, n, &own);
        if (status == FLIP_OK) *error = out.trial[0].error * own.variance / variance;
        if (status == FLIP_ERROR_USAGE || status == FLIP_ERROR_INPUT) { /* too few rows */
            flip_error_clear();
            status = FLIP_OK;
        }
    }
    FLIP_TRY_GOTO(flip_comm_agree(r->comm, status));
    status = flip_comm_broadcast(r->comm, error, sizeof *error, 0);
done:
    flip_levels_finish(&own);
    flip_free(sample);
    return status;
}

/* Sums to errors; the steps that are learned again. Collective. */
static flip_status tell(flip_compressed *out, const sums *s, const flip_feature_rows *r,
                        const flip_codec *codec, double variance, const flip_compress_params *p) {
    const int32_t end = out->learned_first + out->learned_steps;
    double learned = 0, rows = 0;
    for (int32_t t = 0; t < out->n_steps; t++) {
        flip_compress_drift *d = &out->drift[t];
        *d = (flip_compress_drift){.given = (int64_t)s->given[t],
                                   .stored = (int64_t)s->stored[t],
                                   .error = s->error[t] / (s->given[t] * variance),
                                   .retrained = NAN};
        out->stored_rows += d->stored;
        if (t < out->learned_first || t >= end) continue;
        learned += s->error[t];
        rows += s->given[t];
    }
    out->learned_error = learned / (rows * variance);
    for (int32_t t = end; p->retrain > 0 && t < out->n_steps; t += p->retrain)
        FLIP_TRY(learn_again(&out->drift[t].retrained, r, flip_codec_name(codec), t, variance, p));
    return FLIP_OK;
}

bool flip_compressed_above(const flip_compressed *c, int32_t t, double limit) {
    return t >= c->learned_first + c->learned_steps && c->drift[t].given >= FLIP_DRIFT_LEAST &&
           c->drift[t].error > limit * c->learned_error;
}

int32_t flip_compressed_drifted(const flip_compressed *c, double limit) {
    for (int32_t t = 0; t < c->n_steps; t++)
        if (flip_compressed_above(c, t, limit)) return t;
    return -1;
}

flip_status flip_compress_changes(flip_compressed *out, flip_writer *writer,
                                  const flip_feature_rows *r, const flip_codec *codec,
                                  double variance, const flip_compress_params *p) {
    flip_status status;
    sums all = {0};
    status = sums_alloc(&all, (size_t)r->n_steps);
    if (status == FLIP_OK)
        status = flip_alloc(&out->drift, (size_t)r->n_steps, sizeof *out->drift, "drift of steps");
    FLIP_TRY_GOTO(flip_comm_agree(r->comm, status));
    FLIP_TRY_GOTO(encode_all(&all, writer, r, codec, p));
    status = tell(out, &all, r, codec, variance, p);
done:
    flip_free(all.error);
    return status;
}
