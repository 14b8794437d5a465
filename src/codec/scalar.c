/* Scalar codecs with even or logarithmic levels: BiFeat's (arXiv 2207.14696 and its code), uniform
 * with clipping, and uniform with subtractive dither. */
#include "codec/internal.h"

/* ---- BiFeat ---------------------------------------------------------------------------------
 * fmin = max(P0.5 |x|, 1e-5), fmax = max(P99.5 |x|, 2e-5) of all entries, emin = log2 fmin, emax =
 * log2 fmax + 1e-5, D = 2^(K-1) sizes. Code D + c, c = floor((log2 clip |x| - emin) / (emax - emin)
 * D) for x > 0 and -1 - that otherwise; value = sign(c + 1/2) 2^(|c + 1/2| (emax - emin) / D +
 * emin). Zero has no code of its own. K = 1: the sign, value +-mean |x| of the first 10,000 rows;
 * its code adds 0.1 to a mean below 0.1 (bifeat-hack:1). */

enum { MEAN_ROWS = 10000 };

static double mean_size(const flip_codec_sample *s) {
    size_t n = (size_t)flip_codec_min(s->n, MEAN_ROWS) * (size_t)s->dim;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)s->x[i]);
    return sum / (double)n;
}

static flip_status make_bifeat(flip_codec *c, const flip_codec_spec *spec,
                               const flip_codec_sample *s) {
    size_t n = (size_t)s->n * (size_t)s->dim, levels = (size_t)1 << spec->bits;
    FLIP_TRY(flip_alloc(&c->level, levels, sizeof(float), "levels"));
    if (spec->bits == 1) {
        double m = mean_size(s);
        if (spec->hack && m < 0.1) m += 0.1;
        c->level[0] = (float)-m;
        c->level[1] = (float)m;
        return FLIP_OK;
    }
    c->rule = FLIP_RULE_LOG;
    c->least = fmax(flip_percentile(s->x, n, 0.5), 1e-5);
    c->most = fmax(flip_percentile(s->x, n, 99.5), 2e-5);
    double low = log2(c->least), high = log2(c->most) + 1e-5, sizes = (double)(levels / 2);
    for (size_t i = 0; i < levels; i++) {
        double at = (double)i - sizes + 0.5;
        c->level[i] = (float)copysign(exp2(fabs(at) * (high - low) / sizes + low), at);
    }
    return FLIP_OK;
}

/* ---- uniform --------------------------------------------------------------------------------
 * 2^K bins of equal width over -m … m, decoded to their middles: offset = -m, scale = 2m / 2^K. */

static void set_range(flip_codec *c, int32_t j, double centre, double m) {
    c->scale[j] = (float)(2 * m / (double)(1 << c->packing.bits));
    /* centred by the scale as it is stored, so that zero falls on a border exactly */
    c->offset[j] = (float)(centre - (double)c->scale[j] * (double)(1 << (c->packing.bits - 1)));
}

static double column_mean(const flip_codec_sample *s, int32_t j) {
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        sum += (double)s->x[i * s->dim + j];
    return sum / (double)s->n;
}

static void make_uniform(flip_codec *c, const flip_codec_spec *spec, const flip_codec_sample *s) {
    double all = spec->column ? 0 : flip_percentile(s->x, (size_t)s->n * (size_t)s->dim, 99.5);
#pragma omp parallel for schedule(dynamic)
    for (int32_t j = 0; j < s->dim; j++) {
        double centre = spec->column ? column_mean(s, j) : 0;
        set_range(c, j, centre,
                  spec->column ? flip_percentile_column(s->x + j, s->n, s->dim, centre, 99.5)
                               : all);
    }
}

/* ---- dither ---------------------------------------------------------------------------------
 * As uniform, a range a column; the range is the one, of a few shares of the column's P99.5, that
 * leaves the least squared error with the dither taken off again. */

static double dithered_error(const flip_codec *c, const flip_codec_sample *s, int32_t j) {
    double sum = 0, top = (double)((1 << c->packing.bits) - 1);
    for (int64_t i = 0; i < s->n; i++) {
        double x = (double)s->x[i * s->dim + j], u = (double)flip_dither(s->seed, i, j) - 0.5;
        double scale = (double)c->scale[j], at = (x - (double)c->offset[j]) / scale;
        double code = fmin(fmax(floor(at + u), 0), top);
        double error = (double)c->offset[j] + scale * (code + 0.5 - u) - x;
        sum += error * error;
    }
    return sum;
}

static void choose_range(flip_codec *c, const flip_codec_sample *s, int32_t j) {
    double centre = column_mean(s, j), best = INFINITY, best_m = 0;
    double m = flip_percentile_column(s->x + j, s->n, s->dim, centre, 99.5);
    if (m <= 0) m = flip_percentile_column(s->x + j, s->n, s->dim, centre, 100);
    for (double share = 0.3; m > 0 && share < 1.65; share += 0.1) {
        set_range(c, j, centre, share * m);
        double error = dithered_error(c, s, j);
        if (error < best) {
            best = error;
            best_m = share * m;
        }
    }
    set_range(c, j, centre, best_m);
}

static void make_dither(flip_codec *c, const flip_codec_sample *s) {
    c->packing.dither = true;
    c->packing.dither_seed = s->seed;
#pragma omp parallel for schedule(dynamic)
    for (int32_t j = 0; j < s->dim; j++)
        choose_range(c, s, j);
}

flip_status flip_codec_make_scalar(flip_codec **codec, const char *name,
                                   const flip_codec_spec *spec, const flip_codec_sample *s) {
    FLIP_TRY(flip_codec_create(codec, name, s->dim, FLIP_PACKING_SCALAR, FLIP_RULE_FLOOR));
    flip_codec *c = *codec;
    c->packing.bits = spec->bits;
    flip_codec_tell(s, "ranges", 0);
    if (spec->family == FLIP_CODEC_BIFEAT) {
        c->rule = FLIP_RULE_NEAREST;
        FLIP_TRY(make_bifeat(c, spec, s));
        return flip_codec_finish(c);
    }
    FLIP_TRY(flip_alloc(&c->offset, (size_t)s->dim, sizeof(float), "offsets"));
    FLIP_TRY(flip_alloc(&c->scale, (size_t)s->dim, sizeof(float), "scales"));
    if (spec->family == FLIP_CODEC_UNIFORM)
        make_uniform(c, spec, s);
    else
        make_dither(c, s);
    return flip_codec_finish(c);
}
