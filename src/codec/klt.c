/* Transform coding: rows in their principal axes, each axis with as many bits as its variance earns
 * (reverse water-filling; Huang and Schultheiss 1963), 0, 1, 2, 4 or 8, and a Lloyd-Max table for
 * all axes of the same bits, brought to deviation 1.
 * near:B is the same of other axes, which near.c finds. */
#include "codec/internal.h"

#include <stdlib.h>

enum {
    GROUPS = FLIP_MIXED_GROUPS,
    POOL = 1 << 20,  /* numbers a table is learned from */
    SAMPLES = 16384, /* rows that wide covariances are learned from */
    WIDE = 1024
};

/* ---- how many columns get 8, 4, 2, 1 bits ---------------------------------------------------
 * A row is `bytes` bytes; group g takes whole bytes, 1 << g columns each. Axes stand in order of
 * falling variance, so a choice is four numbers of bytes, and its error a sum over running sums of
 * variances. */

/* What a Lloyd-Max table leaves of variance 1 (Max 1960; 8 bits: Panter and Dite). */
static const double leaves[GROUPS] = {0.0000416, 0.009497, 0.1175, 0.3634};

typedef struct choice {
    int32_t bytes[GROUPS];
} choice;

static void columns_of(const choice *c, int32_t dim, int32_t columns[GROUPS]) {
    int32_t left = dim;
    for (int g = 0; g < GROUPS; g++) {
        columns[g] = (int32_t)flip_codec_min(left, (int64_t)c->bytes[g] << g);
        left -= columns[g];
    }
}

/* sum [dim + 1]: running sums of variances */
static double error_of(const choice *c, const double *sum, int32_t dim) {
    int32_t columns[GROUPS], at = 0;
    double error = 0;
    columns_of(c, dim, columns);
    for (int g = 0; g < GROUPS; g++) {
        error += leaves[g] * (sum[at + columns[g]] - sum[at]);
        at += columns[g];
    }
    return error + sum[dim] - sum[at];
}

/* Bytes go from group to group as long as that takes error away. */
static choice choose(const double *sum, int32_t dim, int32_t bytes) {
    choice best = {{0, 0, 0, bytes}};
    double error = error_of(&best, sum, dim);
    for (bool better = true; better;) {
        better = false;
        for (int i = 0; i < GROUPS * GROUPS * 12; i++) {
            int from = i % GROUPS, to = i / GROUPS % GROUPS, many = 1 << i / (GROUPS * GROUPS);
            choice next = best;
            if (from == to || best.bytes[from] < many) continue;
            next.bytes[from] -= many;
            next.bytes[to] += many;
            double here = error_of(&next, sum, dim);
            if (here >= error * (1 - 1e-12)) continue;
            best = next;
            error = here;
            better = true;
        }
    }
    return best;
}

/* ---- learning -------------------------------------------------------------------------------
 */

typedef struct klt {
    flip_codec *c;
    int64_t n;
    float *x, *y;                /* [n, dim_in] sample rows, [n, dim] in principal axes */
    float *beside;               /* [n, dim_in] near: means of neighbours' rows */
    double *mean, *value, *axis; /* [dim_in], [dim_in], [dim_in, dim_in] */
    double *sum;                 /* [dim_in + 1] */
} klt;

/* n of the sample's rows, evenly apart. */
static flip_status take_rows(float **out, int64_t n, const flip_codec_sample *s,
                             const float *from) {
    size_t dim = (size_t)s->dim;
    FLIP_TRY(flip_alloc(out, (size_t)n * dim, sizeof(float), "sample rows"));
    for (int64_t i = 0; i < n; i++)
        memcpy(*out + i * s->dim, from + i * s->n / n * s->dim, dim * sizeof(float));
    return FLIP_OK;
}

static flip_status room(klt *k, const flip_codec_sample *s) {
    size_t dim = (size_t)s->dim;
    FLIP_TRY(take_rows(&k->x, k->n, s, s->x));
    FLIP_TRY(flip_alloc(&k->mean, dim, sizeof(double), "means"));
    FLIP_TRY(flip_alloc(&k->value, dim, sizeof(double), "eigenvalues"));
    FLIP_TRY(flip_alloc(&k->axis, dim * dim, sizeof(double), "principal axes"));
    FLIP_TRY(flip_alloc(&k->sum, dim + 1, sizeof(double), "eigenvalues"));
    return s->beside ? take_rows(&k->beside, k->n, s, s->beside) : FLIP_OK;
}

/* What the axes left out hold of the mean, a constant that sums along edges would miss: where it is
 * more than the last axis earns, its direction takes that axis' place. */
static void keep_mean(klt *k, int32_t dim, int32_t dim_in) {
    double *last = k->axis + (int64_t)(dim - 1) * dim_in, square = 0;
    double *rest = k->mean; /* not needed after this */
    if (dim == dim_in) return;
    for (int32_t j = 0; j < dim - 1; j++) {
        const double *axis = k->axis + (int64_t)j * dim_in;
        double along = 0;
        for (int32_t i = 0; i < dim_in; i++)
            along += axis[i] * rest[i];
        for (int32_t i = 0; i < dim_in; i++)
            rest[i] -= along * axis[i];
    }
    for (int32_t i = 0; i < dim_in; i++)
        square += rest[i] * rest[i];
    if (square <= k->value[dim - 1]) return;
    for (int32_t i = 0; i < dim_in; i++)
        last[i] = rest[i] / sqrt(square);
}

/* The first `dim` axes become the rotation. */
static flip_status turn_onto(klt *k, int32_t dim, int32_t dim_in) {
    flip_codec *c = k->c;
    size_t n = (size_t)dim * (size_t)dim_in;
    c->packing.dim = dim;
    keep_mean(k, dim, dim_in);
    FLIP_TRY(flip_alloc(&c->rotation, n, sizeof(float), "a rotation"));
    FLIP_TRY(flip_alloc(&c->turned, n, sizeof(float), "a rotation"));
    for (size_t i = 0; i < n; i++)
        c->rotation[i] = (float)k->axis[i];
    flip_halves(c->rotation, n, n);
    for (int32_t j = 0; j < dim; j++)
        for (int32_t i = 0; i < dim_in; i++)
            c->turned[(int64_t)i * dim + j] = c->rotation[(int64_t)j * dim_in + i];
    return FLIP_OK;
}

/* Principal axes: bits, and the columns that have any. */
static flip_status axes(klt *k, const flip_codec_sample *s, int32_t bytes) {
    flip_codec *c = k->c;
    int32_t dim = 0;
    flip_codec_tell(s, "principal axes", 0);
    FLIP_TRY(flip_moments(k->mean, k->axis, k->x, k->n, s->dim));
    flip_codec_tell(s, "principal axes", 0.2);
    FLIP_TRY(flip_eigen(k->value, k->axis, s->dim));
    k->sum[0] = 0;
    for (int32_t j = 0; j < s->dim; j++)
        k->sum[j + 1] = k->sum[j] + fmax(k->value[j], 0);
    choice best = choose(k->sum, s->dim, bytes);
    columns_of(&best, s->dim, c->packing.mixed);
    for (int g = 0; g < GROUPS; g++)
        dim += c->packing.mixed[g];
    return turn_onto(k, dim, s->dim);
}

/* Axes that neighbours share, 4 bits each: a hundredth of an axis' variance lost matters as little
 * to what is large as to what is small there, so none earns more. */
static flip_status near_axes(klt *k, flip_codec_sample *s, int32_t bytes) {
    int32_t dim = (int32_t)flip_codec_min(2 * (int64_t)bytes, s->dim);
    flip_codec_tell(s, "axes of neighbours", 0);
    FLIP_TRY(flip_near_axes(k->axis, k->value, k->mean, &dim, &s->strength, k->x, k->beside, k->n,
                            s->dim));
    k->c->packing.mixed[1] = dim;
    return turn_onto(k, dim, s->dim);
}

static void deviations(klt *k) {
    flip_codec *c = k->c;
    int32_t dim = c->packing.dim;
    for (int32_t j = 0; j < dim; j++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < k->n; i++)
            mean += (double)k->y[i * dim + j];
        mean /= (double)k->n;
        for (int64_t i = 0; i < k->n; i++) {
            double apart = (double)k->y[i * dim + j] - mean;
            square += apart * apart;
        }
        c->offset[j] = (float)mean;
        c->scale[j] = (float)sqrt(square / (double)k->n);
    }
}

/* The table of the columns first … of 8 >> g bits. */
static flip_status group_table(klt *k, int g, int32_t first, float *level) {
    flip_codec *c = k->c;
    int32_t dim = c->packing.dim, columns = c->packing.mixed[g], length = 1 << (8 >> g);
    int64_t all = k->n * columns, step = (all + POOL - 1) / POOL, n = 0;
    float *pool;
    if (step > 1 && columns % step == 0) step++;
    FLIP_TRY(flip_alloc(&pool, (size_t)(all / step + 1) * 2, sizeof *pool, "a pool of numbers"));
    for (int64_t i = 0; i < all; i += step) {
        int64_t j = first + i % columns;
        if (c->scale[j] > 0) pool[n++] = (k->y[i / columns * dim + j] - c->offset[j]) / c->scale[j];
    }
    if (n == 0) pool[n++] = 0;
    flip_sort_floats(pool, pool + n, (size_t)n);
    double start = 0, unit = 1;
    flip_status status = flip_lloyd(level, length, pool, n);
    if (status == FLIP_OK && length <= 16) flip_whole_levels(level, length, pool, n, &start, &unit);
    if (start == 0 && unit == 1) flip_halves(level, (size_t)length, (size_t)length);
    for (int32_t j = first; j < first + columns; j++) {
        c->offset[j] = (float)((double)c->offset[j] + (double)c->scale[j] * start);
        c->scale[j] = (float)((double)c->scale[j] * unit);
    }
    flip_free(pool);
    return status;
}

static flip_status tables(klt *k, const flip_codec_sample *s) {
    flip_codec *c = k->c;
    int32_t dim = c->packing.dim, first = 0;
    FLIP_TRY(flip_alloc(&k->y, (size_t)k->n * (size_t)dim, sizeof(float), "turned rows"));
    FLIP_TRY(flip_alloc(&c->offset, (size_t)dim, sizeof(float), "offsets"));
    FLIP_TRY(flip_alloc(&c->scale, (size_t)dim, sizeof(float), "scales"));
    FLIP_TRY(flip_alloc_zero(&c->level, FLIP_MIXED_LEVELS, sizeof(float), "levels"));
    flip_codec_tell(s, "tables", 0.7);
    flip_turn(k->y, k->x, k->n, c->turned, s->dim, dim);
    deviations(k);
    float *level = c->level;
    for (int g = 0; g < GROUPS; g++) {
        if (c->packing.mixed[g] > 0) FLIP_TRY(group_table(k, g, first, level));
        first += c->packing.mixed[g];
        level += (size_t)1 << (8 >> g);
    }
    flip_free(c->turned); /* finish makes it again */
    c->turned = NULL;
    return FLIP_OK;
}

flip_status flip_codec_make_klt(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                                flip_codec_sample *s) {
    bool near = spec->family == FLIP_CODEC_NEAR;
    int32_t bytes = (int32_t)(spec->average * s->dim / 8 + 1e-9);
    if (s->dim > FLIP_CODEC_SQUARE)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s learns a rotation of at most %d columns, the rows have %d; "
                         "lloyd, pq and sparse take any",
                         name, FLIP_CODEC_SQUARE, s->dim);
    if (bytes < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s: %g bits a value of %d columns are less than a byte a row", name,
                         spec->average, s->dim);
    if (near && !s->beside)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s learns from rows and their neighbours' means, and there are "
                         "none here; flipbook compress has them, klt needs none",
                         name);
    FLIP_TRY(flip_codec_create(codec, name, s->dim, FLIP_PACKING_MIXED, FLIP_RULE_NEAREST));
    klt k = {.c = *codec, .n = s->dim > WIDE ? flip_codec_min(s->n, SAMPLES) : s->n};
    flip_status status = room(&k, s);
    if (status == FLIP_OK) status = near ? near_axes(&k, s, bytes) : axes(&k, s, bytes);
    if (status == FLIP_OK) status = tables(&k, s);
    flip_free(k.x);
    flip_free(k.y);
    flip_free(k.beside);
    flip_free(k.mean);
    flip_free(k.value);
    flip_free(k.axis);
    flip_free(k.sum);
    FLIP_TRY(status);
    return flip_codec_finish(*codec);
}
