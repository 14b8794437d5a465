/* Product quantisation (Jegou, Douze, Schmid 2011): a codebook for each block of columns, by L2 or,
 * as BiFeat does, by cosine. */
#include "codec/kmeans.h"

#include <cblas.h>
#include <stdio.h>

enum { PER_ENTRY = 256, LEAST_ROWS = 32768, ROUNDS = 25, BIFEAT_ROUNDS = 1000 };

static flip_status create(flip_codec **codec, const char *name, int32_t dim, int32_t width,
                          int32_t length, bool cosine) {
    if (width > dim)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "codec %s: blocks of %d columns, the rows have %d", name,
                         width, dim);
    FLIP_TRY(flip_codec_create(codec, name, dim, FLIP_PACKING_PRODUCT,
                               cosine ? FLIP_RULE_COSINE : FLIP_RULE_L2));
    flip_codec *c = *codec;
    flip_packing *p = &c->packing;
    p->width = width;
    p->length = length;
    p->blocks = (dim + width - 1) / width;
    p->bits = length <= 16 ? 4 : length <= 256 ? 8 : 16;
    size_t n = (size_t)p->blocks * (size_t)length * (size_t)width;
    FLIP_TRY(flip_alloc_zero(&c->codebook, n, sizeof(float), "codebooks"));
    if (cosine)
        FLIP_TRY(flip_alloc_zero(&c->near_zero, (size_t)p->blocks, sizeof(float), "margins"));
    return FLIP_OK;
}

flip_status flip_codec_of_codebook(flip_codec **codec, int32_t dim, int32_t width, int32_t length,
                                   bool cosine, const float *codebook) {
    char name[FLIP_CODEC_NAME];
    snprintf(name, sizeof name, "%s:%dx%d", cosine ? "bifeat-vq" : "pq", width, length);
    FLIP_TRY(create(codec, name, dim, width, length, cosine));
    size_t n = (size_t)(*codec)->packing.blocks * (size_t)length * (size_t)width;
    memcpy((*codec)->codebook, codebook, n * sizeof(float));
    return flip_codec_finish(*codec);
}

/* Columns first … of every step-th row, contiguous. */
static flip_status gather(float **x, const flip_codec_sample *s, int32_t first, int32_t width,
                          int64_t n) {
    FLIP_TRY(flip_alloc(x, (size_t)n * (size_t)width, sizeof **x, "a block of columns"));
    for (int64_t i = 0; i < n; i++)
        memcpy(*x + i * width, s->x + i * s->n / n * s->dim + first, (size_t)width * sizeof **x);
    return FLIP_OK;
}

static double norm_of(const float *x, int32_t width) {
    double square = 0;
    for (int32_t j = 0; j < width; j++)
        square += (double)x[j] * (double)x[j];
    return sqrt(square);
}

/* BiFeat leaves out blocks whose norm is below the (0.3 / length) quantile, and all that are zero:
 * they get the last entry, a constant 1e-4. Returns the rows kept. */
static flip_status leave_out(float *margin, int64_t *kept, float *x, int64_t n, int32_t width,
                             int32_t length) {
    float *norm;
    FLIP_TRY(flip_alloc(&norm, (size_t)n, sizeof *norm, "norms"));
    for (int64_t i = 0; i < n; i++)
        norm[i] = (float)norm_of(x + i * width, width);
    double bound = flip_percentile(norm, (size_t)n, 30.0 / length);
    *margin = (float)fmax(bound, 1e-30);
    int64_t to = 0;
    for (int64_t i = 0; i < n; i++)
        if (norm[i] >= *margin) memmove(x + to++ * width, x + i * width, (size_t)width * sizeof *x);
    *kept = to;
    flip_free(norm);
    return FLIP_OK;
}

static flip_status too_few(const char *name, int64_t n, int32_t length, int32_t block) {
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "codec %s learns %d entries from %lld rows of block %d; take fewer entries",
                     name, length, (long long)n, block);
}

static flip_status learn_block(flip_codec *c, const flip_codec_sample *s, int32_t b) {
    const flip_packing *p = &c->packing;
    bool cosine = c->rule == FLIP_RULE_COSINE;
    int32_t first = b * p->width, width = (int32_t)flip_codec_min(p->width, s->dim - first);
    int32_t length = cosine ? p->length - 1 : p->length;
    int64_t most = cosine ? INT64_MAX : (int64_t)PER_ENTRY * length;
    int64_t n = flip_codec_min(s->n, most > LEAST_ROWS ? most : LEAST_ROWS);
    float *x = NULL, *entry = c->codebook + (size_t)b * (size_t)p->length * (size_t)p->width;
    flip_status status = FLIP_OK;
    flip_kmeans_params k = {.width = width,
                            .length = length,
                            .ld = p->width,
                            .rounds = cosine ? BIFEAT_ROUNDS : ROUNDS,
                            .cosine = cosine,
                            .tiring = cosine,
                            .seed = s->seed,
                            .block = (uint64_t)b};
    FLIP_TRY_GOTO(gather(&x, s, first, width, n));
    if (cosine) FLIP_TRY_GOTO(leave_out(&c->near_zero[b], &n, x, n, width, p->length));
    for (int32_t j = 0; cosine && j < width; j++)
        entry[(size_t)length * (size_t)p->width + (size_t)j] = 1e-4f;
    if (n < length)
        status = too_few(c->name, n, length, b);
    else
        status = flip_kmeans(entry, &k, n, x, NULL);
done:
    flip_free(x);
    return status;
}

static bool whole_column(const flip_codec *c, int32_t j, float *offset, float *scale) {
    const flip_packing *p = &c->packing;
    const float *entry =
        c->codebook + (size_t)(j / p->width) * (size_t)p->length * (size_t)p->width;
    double low = INFINITY, high = -INFINITY, sum = 0, square = 0;
    for (int32_t e = 0; e < p->length; e++) {
        double x = (double)entry[(int64_t)e * p->width + j % p->width];
        low = fmin(low, x);
        high = fmax(high, x);
        sum += x;
        square += x * x;
    }
    double spread = square / p->length - sum / p->length * (sum / p->length);
    double step = (high - low) / 255;
    *scale = (float)step;
    *offset = (float)(low + 128 * step);
    return step * step / 12 <= 1e-3 * spread || high == low;
}

/* Entries as whole numbers -128 … 127 of a column's own scale, which fast kernels read as bytes:
 * the step is a 255th of the column's range, its error a step squared / 12. Left alone where that
 * is more than a thousandth of the spread of a column's entries (heavy tails). */
static flip_status whole_entries(flip_codec *c) {
    const flip_packing *p = &c->packing;
    size_t n = (size_t)p->blocks * (size_t)p->length * (size_t)p->width;
    float *offset = NULL, *scale = NULL;
    flip_status status = flip_alloc_zero(&offset, (size_t)p->dim, sizeof *offset, "offsets");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&scale, (size_t)p->dim, sizeof *scale, "scales");
    bool whole = status == FLIP_OK;
    for (int32_t j = 0; j < p->dim && whole; j++)
        whole = whole_column(c, j, &offset[j], &scale[j]);
    if (!whole) {
        flip_free(offset);
        flip_free(scale);
        flip_halves(c->codebook, n, (size_t)p->length * (size_t)p->width);
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        size_t j = i / (size_t)p->width / (size_t)p->length * (size_t)p->width;
        j += i % (size_t)p->width;
        if (j >= (size_t)p->dim) continue; /* behind a narrower last block: 0 */
        float at = scale[j] > 0 ? roundf((c->codebook[i] - offset[j]) / scale[j]) : 0;
        c->codebook[i] = at == 0 ? 0 : fminf(fmaxf(at, -128), 127); /* no -0 */
    }
    c->offset = offset;
    c->scale = scale;
    return FLIP_OK;
}

flip_status flip_codec_make_product(flip_codec **codec, const char *name,
                                    const flip_codec_spec *spec, const flip_codec_sample *s) {
    bool cosine = spec->family == FLIP_CODEC_BIFEAT_VQ;
    FLIP_TRY(create(codec, name, s->dim, spec->width, spec->length, cosine));
    flip_codec *c = *codec;
    const flip_packing *p = &c->packing;
    for (int32_t b = 0; b < p->blocks; b++) {
        flip_codec_tell(s, "k-means", (double)b / p->blocks);
        FLIP_TRY(learn_block(c, s, b));
    }
    if (!cosine) FLIP_TRY(whole_entries(c)); /* BiFeat's stay as they are */
    return flip_codec_finish(c);
}

/* ---- OPQ ------------------------------------------------------------------------------------
 * min over rotations R and codebooks of |R x - decoded|^2 (Ge, He, Ke, Sun 2013): R first from the
 * principal axes, dealt to the blocks so that the products of their variances are alike; then in
 * turn a round of k-means on R x and the R nearest to the decoded rows (Procrustes). */

enum { OPQ_ROUNDS = 30, OPQ_ROWS = 65536, TURNED = 512 /* rows a product */ };

typedef struct opq {
    flip_codec *c;
    int64_t n;
    float *x, *y;               /* [n, dim] rows, turned rows */
    float *z;                   /* [n, width] a block of y */
    float *turned;              /* [dim, dim] */
    double *rotation, *product; /* [dim, dim] */
    int32_t *code;
} opq;

/* The next axis goes to the block with room whose variances have the smallest product. */
static void deal_axes(opq *o, const double *value, const double *axis) {
    const flip_packing *p = &o->c->packing;
    int32_t dim = p->dim, used[p->blocks];
    double weight[p->blocks];
    for (int32_t b = 0; b < p->blocks; b++) {
        used[b] = 0;
        weight[b] = 0;
    }
    for (int32_t k = 0; k < dim; k++) {
        int32_t to = -1;
        for (int32_t b = 0; b < p->blocks; b++) {
            int32_t width = (int32_t)flip_codec_min(p->width, dim - (int64_t)b * p->width);
            if (used[b] < width && (to < 0 || weight[b] < weight[to])) to = b;
        }
        memcpy(o->rotation + ((size_t)to * (size_t)p->width + (size_t)used[to]++) * (size_t)dim,
               axis + (size_t)k * (size_t)dim, (size_t)dim * sizeof *axis);
        /* in units of the least variance worth a name, so that every axis adds weight */
        weight[to] += log(fmax(value[k], 1e-10 * value[0] + 1e-300) / (1e-11 * value[0] + 1e-301));
    }
}

static flip_status first_rotation(opq *o) {
    int32_t dim = o->c->packing.dim;
    double *mean = NULL, *value = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&mean, (size_t)dim, sizeof *mean, "means"));
    FLIP_TRY_GOTO(flip_alloc(&value, (size_t)dim, sizeof *value, "eigenvalues"));
    FLIP_TRY_GOTO(flip_moments(mean, o->product, o->x, o->n, dim));
    FLIP_TRY_GOTO(flip_eigen(value, o->product, dim));
    deal_axes(o, value, o->product);
done:
    flip_free(mean);
    flip_free(value);
    return status;
}

static void turn(opq *o) {
    int32_t dim = o->c->packing.dim;
    for (size_t i = 0; i < (size_t)dim * (size_t)dim; i++)
        o->turned[i] = (float)o->rotation[i];
    openblas_set_num_threads(1);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < o->n; first += TURNED) {
        int64_t n = flip_codec_min(TURNED, o->n - first);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, dim, dim, 1,
                    o->x + first * dim, dim, o->turned, dim, 0, o->y + first * dim, dim);
    }
}

/* k-means on every block of y; y becomes the decoded rows where `decode`. */
static flip_status learn(opq *o, const flip_codec_sample *s, int32_t rounds, bool warm,
                         bool decode) {
    const flip_packing *p = &o->c->packing;
    for (int32_t b = 0; b < p->blocks; b++) {
        int32_t first = b * p->width, width = (int32_t)flip_codec_min(p->width, p->dim - first);
        float *entry = o->c->codebook + (size_t)b * (size_t)p->length * (size_t)p->width;
        flip_kmeans_params k = {.width = width,
                                .length = p->length,
                                .ld = p->width,
                                .rounds = rounds,
                                .warm = warm,
                                .seed = s->seed,
                                .block = (uint64_t)b};
        for (int64_t i = 0; i < o->n; i++)
            memcpy(o->z + i * width, o->y + i * p->dim + first, (size_t)width * sizeof *o->z);
        FLIP_TRY(flip_kmeans(entry, &k, o->n, o->z, o->code));
        for (int64_t i = 0; i < o->n && decode; i++)
            memcpy(o->y + i * p->dim + first, entry + (int64_t)o->code[i] * p->width,
                   (size_t)width * sizeof *o->y);
    }
    return FLIP_OK;
}

static flip_status alternate(opq *o, const flip_codec_sample *s) {
    int32_t dim = o->c->packing.dim;
    for (int32_t round = 0; round < OPQ_ROUNDS; round++) {
        flip_codec_tell(s, "rotation", (double)round / (OPQ_ROUNDS + 10));
        turn(o);
        FLIP_TRY(learn(o, s, round == 0 ? 5 : 1, round > 0, true));
        FLIP_TRY(flip_products(o->product, o->x, o->y, o->n, dim));
        FLIP_TRY(flip_procrustes(o->rotation, o->product, dim));
    }
    return FLIP_OK;
}

static flip_status opq_room(opq *o, const flip_codec_sample *s) {
    size_t dim = (size_t)s->dim, n = (size_t)o->n;
    FLIP_TRY(flip_alloc(&o->x, n * dim, sizeof(float), "sample rows"));
    FLIP_TRY(flip_alloc(&o->y, n * dim, sizeof(float), "turned rows"));
    FLIP_TRY(flip_alloc(&o->z, n * (size_t)o->c->packing.width, sizeof(float), "a block"));
    FLIP_TRY(flip_alloc(&o->turned, dim * dim, sizeof(float), "a rotation"));
    FLIP_TRY(flip_alloc(&o->rotation, dim * dim, sizeof(double), "a rotation"));
    FLIP_TRY(flip_alloc(&o->product, dim * dim, sizeof(double), "a rotation"));
    FLIP_TRY(flip_alloc(&o->code, n, sizeof(int32_t), "codes"));
    for (size_t i = 0; i < n; i++)
        memcpy(o->x + i * dim, s->x + (int64_t)i * s->n / o->n * s->dim, dim * sizeof(float));
    return FLIP_OK;
}

static flip_status opq_learn(opq *o, const flip_codec_sample *s) {
    size_t dim = (size_t)s->dim;
    flip_codec *c = o->c;
    FLIP_TRY(opq_room(o, s));
    FLIP_TRY(first_rotation(o));
    FLIP_TRY(alternate(o, s));
    FLIP_TRY(flip_alloc(&c->rotation, dim * dim, sizeof(float), "a rotation"));
    for (size_t i = 0; i < dim * dim; i++)
        c->rotation[i] = (float)o->rotation[i];
    flip_halves(c->rotation, dim * dim, dim * dim);
    for (size_t i = 0; i < dim * dim; i++) /* codebooks see the rotation as it is kept */
        o->rotation[i] = (double)c->rotation[i];
    turn(o);
    flip_codec_tell(s, "k-means", (double)OPQ_ROUNDS / (OPQ_ROUNDS + 10));
    return learn(o, s, ROUNDS, true, false);
}

flip_status flip_codec_make_opq(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                                const flip_codec_sample *s) {
    if (s->dim > FLIP_CODEC_SQUARE)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s learns a rotation of at most %d columns, the rows have %d; pq "
                         "takes any",
                         name, FLIP_CODEC_SQUARE, s->dim);
    FLIP_TRY(create(codec, name, s->dim, spec->width, spec->length, false));
    opq o = {.c = *codec, .n = flip_codec_min(s->n, OPQ_ROWS)};
    flip_status status = o.n < spec->length ? too_few(name, o.n, spec->length, 0) : FLIP_OK;
    if (status == FLIP_OK) status = opq_learn(&o, s);
    flip_free(o.x);
    flip_free(o.y);
    flip_free(o.z);
    flip_free(o.turned);
    flip_free(o.rotation);
    flip_free(o.product);
    flip_free(o.code);
    FLIP_TRY(status);
    FLIP_TRY(whole_entries(*codec));
    return flip_codec_finish(*codec);
}
