/* Which codec? Each candidate is learned from a sample and measured on rows held out. Where
 * neighbours' rows go together and the budget leaves no room for all axes, near:B wins: it keeps
 * what sums along edges are made of. Else the least error within the budget, and of errors within a
 * hundredth the fewest bytes. */
#include "store/compress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TRIAL_ROWS = 16384, OPQ_ROWS = 8192, OPQ_COLUMNS = 512 };

static void say(flip_compress_trial *trial, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(flip_compress_trial *trial, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(trial->why, sizeof trial->why, format, arguments);
    va_end(arguments);
}

/* ---- one trial ------------------------------------------------------------------------------
 */

/* sparse has its sizes from all rows, not from the sample. */
static void full_name(const flip_feature_rows *r, const char *name, char *out, size_t size) {
    bool ones = r->n_values == 0 || (r->n_values == 1 && r->value[0] == 1);
    if (strcmp(name, "sparse") == 0)
        snprintf(out, size, "sparse:%d:%d", r->widest > 0 ? r->widest : 1,
                 ones                             ? 0
                 : r->n_values <= FLIP_FEW_VALUES ? 8
                                                  : 32);
    else
        snprintf(out, size, "%s", name);
}

/* Its sample has every value there is, one a row. */
static flip_status learn_sparse(const flip_trials *t, const char *name, flip_codec **codec) {
    const flip_feature_rows *r = t->rows;
    bool few = r->n_values >= 1 && r->n_values <= FLIP_FEW_VALUES;
    int64_t n = few ? r->n_values : 1;
    float *rows;
    FLIP_TRY(flip_alloc_zero(&rows, (size_t)n * (size_t)r->dim, sizeof *rows, "values"));
    for (int64_t i = 0; i < n && few; i++)
        rows[i * r->dim] = r->value[i];
    flip_status status =
        flip_codec_train(codec, name, r->dim, n, rows, t->params->seed, NULL, NULL);
    flip_free(rows);
    return status;
}

/* Progress of a codec under its name. */
typedef struct named {
    const flip_compress_params *params;
    const char *name;
} named;

static void tell_named(void *data, const char *what, double share) {
    const named *n = data;
    (void)what;
    if (n->params->progress) n->params->progress(n->params->progress_data, n->name, share);
}

static bool is_near(const char *name) {
    return strncmp(name, "near:", 5) == 0;
}

/* From rows beside the means of their neighbours, read when first asked for. */
static flip_status learn_near(flip_trials *t, const char *name, flip_codec **codec) {
    named progress = {t->params, name};
    if (t->rows->n_steps > 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s learns from neighbours, which '%s' has others of at every step; "
                         "features that change are packed by the other codecs",
                         name, flip_reader_path(t->rows->reader));
    if (!t->near.x) FLIP_TRY(flip_neighbour_rows_read(&t->near, t->rows, t->params->sample));
    if (t->near.n == 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s learns from neighbours, and no node of '%s' has one", name,
                         flip_reader_path(t->rows->reader));
    return flip_codec_train_near(codec, &t->strength, name, t->rows->dim, t->near.n, t->near.x,
                                 t->near.beside, tell_named, &progress);
}

/* From n of the rows, evenly apart. */
static flip_status learn(flip_trials *t, const char *name, int64_t n, flip_codec **codec) {
    named progress = {t->params, name};
    uint64_t seed = t->params->seed;
    int32_t dim = t->rows->dim;
    float *some;
    if (strncmp(name, "sparse:", 7) == 0) return learn_sparse(t, name, codec);
    if (is_near(name)) return learn_near(t, name, codec);
    if (n >= t->n)
        return flip_codec_train(codec, name, dim, t->n, t->learn, seed, tell_named, &progress);
    FLIP_TRY(flip_alloc(&some, (size_t)n * (size_t)dim, sizeof *some, "sample rows"));
    for (int64_t i = 0; i < n; i++)
        memcpy(some + i * dim, t->learn + i * t->n / n * dim, (size_t)dim * sizeof *some);
    flip_status status = flip_codec_train(codec, name, dim, n, some, seed, tell_named, &progress);
    flip_free(some);
    return status;
}

/* Of features that change every row is counted, those that will be left out too. */
static double stored(const flip_trials *t, const flip_compress_trial *trial) {
    double row = (double)trial->row_bytes + (double)t->rows->beside;
    return (double)t->rows->n_rows * row + (double)trial->table_bytes;
}

static flip_compress_trial *new_trial(flip_trials *t, const char *name) {
    flip_compressed *out = t->out;
    if (out->n_trials == FLIP_COMPRESS_TRIALS) return NULL;
    flip_compress_trial *trial = &out->trial[out->n_trials++];
    *trial = (flip_compress_trial){.error = NAN};
    full_name(t->rows, name, trial->codec, sizeof trial->codec);
    return trial;
}

/* As they will stand in the file: with the rotation or without. */
static flip_status count_tables(const flip_trials *t, const flip_codec *codec, size_t *n) {
    flip_codec *copy;
    uint8_t *bytes;
    FLIP_TRY(flip_codec_to_bytes(codec, &bytes, n));
    flip_status status = flip_codec_from_bytes(&copy, bytes, *n);
    flip_free(bytes);
    FLIP_TRY(status);
    if (!t->params->keep_rotation) flip_codec_drop_rotation(copy);
    *n = flip_codec_table_bytes(copy);
    flip_codec_destroy(&copy);
    return FLIP_OK;
}

static flip_status try_codec(flip_trials *t, flip_compress_trial *trial, int64_t n,
                             flip_codec **codec) {
    double begin = flip_seconds();
    *codec = NULL;
    FLIP_TRY(learn(t, trial->codec, n, codec));
    FLIP_TRY(flip_trial_measure(&trial->error, t, *codec, NULL));
    FLIP_TRY(count_tables(t, *codec, &trial->table_bytes));
    trial->row_bytes = flip_codec_stride(*codec);
    trial->ratio = (double)t->out->native_bytes / fmax(stored(t, trial), 1);
    trial->seconds = flip_seconds() - begin;
    return FLIP_OK;
}

/* ---- the search -----------------------------------------------------------------------------
 */

static bool product(const flip_compress_trial *trial) {
    return strncmp(trial->codec, "pq:", 3) == 0 || strncmp(trial->codec, "opq:", 4) == 0;
}

/* Codebooks must take a twentieth of the error away to be preferred to codes of single columns:
 * amazon-photo's 128 components at 1/32 or less, 5 seeds of sage: klt .902, opq .894 (float32
 * .900), with 3 % less error. */
static bool better(const flip_trials *t, const flip_compress_trial *a,
                   const flip_compress_trial *b) {
    if (product(a) && !product(b)) return a->error < 0.95 * b->error;
    if (a->error < 0.99 * b->error) return true;
    return a->error <= 1.01 * b->error && stored(t, a) < stored(t, b);
}

/* A codec that cannot be learned here (too few rows, too many columns) is no failure of the search.
 */
static flip_status consider(flip_trials *t, const char *name) {
    flip_compressed *out = t->out;
    flip_codec *codec = NULL;
    flip_compress_trial *trial = new_trial(t, name);
    if (!trial) return FLIP_OK;
    bool turns = strncmp(name, "opq", 3) == 0; /* slow, and its rotation needs fewer */
    flip_status status = try_codec(t, trial, turns ? OPQ_ROWS : TRIAL_ROWS, &codec);
    flip_codec_destroy(&codec);
    if (status == FLIP_ERROR_USAGE || status == FLIP_ERROR_INPUT) {
        say(trial, "%s", flip_error_message());
        flip_error_clear();
        return FLIP_OK;
    }
    FLIP_TRY(status);
    trial->fits = trial->ratio >= t->params->budget;
    if (trial->fits && (out->chosen < 0 || better(t, trial, &out->trial[out->chosen])))
        out->chosen = (int32_t)(trial - out->trial);
    return FLIP_OK;
}

/* The most bytes a row may have beside tables of `tables` bytes. */
static int64_t room(const flip_trials *t, double tables) {
    double bytes = (double)t->out->native_bytes / t->params->budget - tables;
    int64_t n = t->rows->n_rows;
    return bytes > 0 && n > 0 ? (int64_t)(bytes / (double)n) - t->rows->beside : 0;
}

/* klt or near with as many bytes a row as there is room for beside its own tables. */
static flip_status consider_axes(flip_trials *t, const char *word, int64_t most) {
    int32_t dim = t->rows->dim, tries = 4;
    double per_axis = 8 + (t->params->keep_rotation ? 2. * dim : 0);
    int64_t bytes = room(t, 200 + per_axis);
    if (bytes > most) bytes = most;
    for (; bytes > 0 && tries > 0; bytes--) {
        char name[FLIP_CODEC_NAME];
        double axes = fmin(dim, 2 * (double)bytes); /* 4 bits an axis: a guess from below */
        if (room(t, 200 + axes * per_axis) < bytes) continue;
        snprintf(name, sizeof name, "%s:%.9g", word, 8. * (double)bytes / dim);
        FLIP_TRY(consider(t, name));
        if (t->out->trial[t->out->n_trials - 1].fits) break;
        tries--;
    }
    return FLIP_OK;
}

/* Do neighbours' rows go together by more than chance? Of independent rows a mean of d has
 * variance 1/d, a covariance with it over n rows sum(1/d) / n^2, and the largest of `dim`
 * correlations is at most about 2 sqrt(dim) of its deviation (Wigner's semicircle). What a few rows
 * have beyond 1 is no correlation (a mean varies more than a row): with too few of them none is
 * more than chance. */
static bool alike(const flip_trials *t) {
    double chance = 2 * sqrt(t->rows->dim * t->near.spread) / fmax((double)t->near.n, 1);
    return fmin(t->strength, 1) > 1.5 * chance;
}

/* near:B where it must choose: 4 bits an axis are not enough for three quarters of them. Least
 * error keeps what is large, and codes of that lose what is common to neighbours and small: 1/16
 * and 1/32 of a planted graph whose 16 classes lie in all 128 axes alike, sage, 3 seeds: klt -8.7
 * and -23.3 points, near +4.5 and +5.5 (128 components of amazon-computers: klt -.5 and -1.2, near
 * +3.3 and +4.4; amazon-photo +.2 and +.3, near -.6 and +.1; pubmed's words -.3 and -1.8, near -.4
 * and -1.0, against pq's -1.8 and -5.2). */
static flip_status consider_near(flip_trials *t) {
    flip_compressed *out = t->out;
    int32_t before = out->chosen, dim = t->rows->dim;
    if (t->rows->n_steps > 0 || 8 * room(t, 208) > 3 * (int64_t)dim) return FLIP_OK;
    FLIP_TRY(consider_axes(t, "near", dim / 2));
    out->chosen = out->n_trials > 0 && out->trial[out->n_trials - 1].fits &&
                          is_near(out->trial[out->n_trials - 1].codec) && alike(t)
                      ? out->n_trials - 1
                      : before;
    return FLIP_OK;
}

/* Do blocks of this width fit, tables included? */
static bool blocks_fit(const flip_trials *t, int32_t width, int32_t length) {
    int64_t dim = t->rows->dim, blocks = (dim + width - 1) / width;
    double tables = (double)length * (double)(blocks * width) + 9. * (double)dim + 200;
    return (blocks * (length <= 16 ? 4 : 8) + 7) / 8 <= room(t, tables);
}

/* The narrowest blocks that fit, of any width and of one that kernels like: the most bytes a row.
 */
static flip_status consider_products(flip_trials *t) {
    static const int32_t lengths[] = {16, 64, 128, 256};
    int32_t dim = t->rows->dim;
    for (int i = 0; i < 4; i++) {
        int32_t length = lengths[i], narrow = 2, even = 2;
        char name[FLIP_CODEC_NAME];
        while (narrow <= dim && !blocks_fit(t, narrow, length))
            narrow++;
        while (even < narrow)
            even *= 2;
        if (narrow > dim) continue;
        snprintf(name, sizeof name, "pq:%dx%d", narrow, length);
        FLIP_TRY(consider(t, name));
        if (length != 16 && length != 256) continue;
        snprintf(name, sizeof name, "pq:%dx%d", even, length);
        if (even > narrow && even <= dim) FLIP_TRY(consider(t, name));
        snprintf(name, sizeof name, "opq:%dx%d", narrow, length);
        if (dim <= OPQ_COLUMNS) FLIP_TRY(consider(t, name));
    }
    return FLIP_OK;
}

/* The widest codes that fit, and none narrower once one did. */
static flip_status consider_scalars(flip_trials *t) {
    static const char *const forms[] = {"lloyd:%d", "lloyd:%d:shared", "uniform:%d:column",
                                        "dither:%d", "bifeat:%d"};
    bool fits = false;
    for (int bits = 8; bits >= 1 && !fits; bits /= 2) {
        if (((int64_t)t->rows->dim * bits + 7) / 8 > room(t, 140)) continue;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            char name[FLIP_CODEC_NAME];
            snprintf(name, sizeof name, forms[i], bits);
            FLIP_TRY(consider(t, name));
            fits |= t->out->trial[t->out->n_trials - 1].fits;
        }
    }
    return FLIP_OK;
}

static flip_status consider_all(flip_trials *t) {
    const flip_compressed *out = t->out;
    if (4 * (int64_t)t->rows->dim <= room(t, 132)) FLIP_TRY(consider(t, "fp32"));
    if (2 * (int64_t)t->rows->dim <= room(t, 132)) FLIP_TRY(consider(t, "fp16"));
    if (2 * (int64_t)t->rows->widest <= room(t, 132)) FLIP_TRY(consider(t, "sparse"));
    FLIP_TRY(consider_scalars(t));
    FLIP_TRY(consider_axes(t, "klt", t->rows->dim));
    FLIP_TRY(consider_near(t));
    if (out->chosen >= 0 && is_near(out->trial[out->chosen].codec)) return FLIP_OK;
    return consider_products(t);
}

/* Tells what is possible. */
static flip_status nothing_fits(const flip_trials *t) {
    const flip_compressed *out = t->out;
    double best = 0;
    const char *name = "none that could be tried";
    for (int32_t k = 0; k < out->n_trials; k++)
        if (out->trial[k].ratio > best) {
            best = out->trial[k].ratio;
            name = out->trial[k].codec;
        }
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "no codec reaches 1/%g of the features' %lld bytes (%lld rows of %d "
                     "columns%s); the nearest was %s at 1/%.2f",
                     t->params->budget, (long long)out->native_bytes, (long long)out->given_rows,
                     t->rows->dim, t->rows->sparse ? ", sparse" : "", name, best);
}

static void explain(flip_compressed *out) {
    for (int32_t k = 0; k < out->n_trials; k++) {
        flip_compress_trial *trial = &out->trial[k];
        if (k == out->chosen && is_near(trial->codec))
            say(trial, "chosen: keeps what neighbours share (their rows go together)");
        else if (k == out->chosen)
            say(trial, "chosen: least error in the budget (a codebook must win by 5 %%)");
        else if (!isnan(trial->error) && !trial->fits)
            say(trial, "above the budget");
        else if (!isnan(trial->error) && out->trial[out->chosen].error > 0)
            say(trial, "%.2f times the error", trial->error / out->trial[out->chosen].error);
        else if (!isnan(trial->error))
            say(trial, "more error or bytes");
    }
}

/* ---- all of it ------------------------------------------------------------------------------
 */

/* The chosen codec from all learned rows; its measures replace those of its trial. */
static flip_status settle(flip_trials *t, flip_codec **codec) {
    flip_compress_trial *trial = &t->out->trial[t->out->chosen];
    flip_status status = try_codec(t, trial, t->n, codec);
    trial->chosen = trial->fits = true;
    if (status == FLIP_OK && t->params->budget > 0 && trial->ratio < t->params->budget)
        status = FLIP_FAIL(FLIP_ERROR_INTERNAL,
                           "codec %s learned from all rows takes 1/%.3f, more than the budget",
                           trial->codec, trial->ratio);
    if (status != FLIP_OK) flip_codec_destroy(codec);
    return status;
}

/* The second level, learned from what the first leaves of the learned rows; its error is that of
 * both. */
static flip_status refine(flip_trials *t, const flip_codec *codec, const char *name,
                          flip_codec **refinement) {
    flip_status status;
    double begin = flip_seconds();
    const flip_compress_trial *coarse = &t->out->trial[t->out->chosen];
    flip_compress_trial *trial = new_trial(t, name);
    named progress = {t->params, name};
    float *left = NULL;
    FLIP_TRY_GOTO(flip_trial_residual(&left, codec, t->n, t->learn));
    FLIP_TRY_GOTO(flip_codec_train(refinement, name, flip_codec_packing(codec)->dim, t->n, left,
                                   t->params->seed, tell_named, &progress));
    FLIP_TRY_GOTO(flip_trial_measure(&trial->error, t, codec, *refinement));
    trial->row_bytes = flip_codec_stride(*refinement);
    trial->table_bytes = flip_codec_table_bytes(*refinement);
    trial->ratio = (double)t->out->native_bytes / fmax(stored(t, coarse) + stored(t, trial), 1);
    trial->seconds = flip_seconds() - begin;
    trial->fits = trial->chosen = true;
    say(trial, "refines %s", coarse->codec);
    t->out->refinement = (int32_t)(trial - t->out->trial);
done:
    flip_free(left);
    return status;
}

/* The codec asked for, of one level or two. */
static flip_status asked_for(flip_trials *t, flip_codec **codec, flip_codec **refinement) {
    char coarse[FLIP_CODEC_NAME], fine[FLIP_CODEC_NAME];
    FLIP_TRY(flip_codec_split(t->params->codec, coarse, fine));
    new_trial(t, coarse);
    t->out->chosen = 0;
    FLIP_TRY(settle(t, codec));
    say(&t->out->trial[0], "asked for");
    return fine[0] ? refine(t, *codec, fine, refinement) : FLIP_OK;
}

static flip_status search(flip_trials *t, flip_codec **codec, flip_codec **refinement) {
    flip_compressed *out = t->out;
    *codec = NULL;
    FLIP_TRY(flip_trial_spread(t));
    FLIP_TRY(flip_codec_spectrum(out->spectrum, FLIP_COMPRESS_AXES, t->learn,
                                 t->n < TRIAL_ROWS ? t->n : TRIAL_ROWS, t->rows->dim));
    out->chosen = -1;
    if (t->params->codec) return asked_for(t, codec, refinement);
    FLIP_TRY(consider_all(t));
    if (out->chosen < 0) return nothing_fits(t);
    FLIP_TRY(settle(t, codec));
    explain(out);
    return FLIP_OK;
}

flip_status flip_trials_run(flip_trials *t, flip_codec **codec, flip_codec **refinement) {
    *refinement = NULL;
    flip_status status = search(t, codec, refinement);
    flip_neighbour_rows_finish(&t->near);
    if (status == FLIP_OK) return FLIP_OK;
    flip_codec_destroy(codec);
    flip_codec_destroy(refinement);
    return status;
}
