/* A codec as an object: its name, how it is learned, what it tells of itself. */
#include "codec/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- names ----------------------------------------------------------------------------------
 */

typedef struct family_row {
    const char *word;
    flip_codec_family family;
    enum { FORM_BARE, FORM_BITS, FORM_BLOCKS, FORM_AVERAGE, FORM_SPARSE } form;
    const char *example;
} family_row;

static const family_row families[] = {
    {"fp32", FLIP_CODEC_FLOAT, FORM_BARE, "fp32"},
    {"fp16", FLIP_CODEC_HALF, FORM_BARE, "fp16"},
    {"bf16", FLIP_CODEC_BFLOAT, FORM_BARE, "bf16"},
    {"bifeat", FLIP_CODEC_BIFEAT, FORM_BITS, "bifeat:2"},
    {"bifeat-hack", FLIP_CODEC_BIFEAT, FORM_BITS, "bifeat-hack:1"},
    {"uniform", FLIP_CODEC_UNIFORM, FORM_BITS, "uniform:4 or uniform:4:column"},
    {"dither", FLIP_CODEC_DITHER, FORM_BITS, "dither:2"},
    {"lloyd", FLIP_CODEC_LLOYD, FORM_BITS, "lloyd:4 or lloyd:4:shared"},
    {"bifeat-vq", FLIP_CODEC_BIFEAT_VQ, FORM_BLOCKS, "bifeat-vq:16x256"},
    {"pq", FLIP_CODEC_PQ, FORM_BLOCKS, "pq:16x256"},
    {"opq", FLIP_CODEC_OPQ, FORM_BLOCKS, "opq:16x256"},
    {"klt", FLIP_CODEC_KLT, FORM_AVERAGE, "klt:1.5"},
    {"near", FLIP_CODEC_NEAR, FORM_AVERAGE, "near:1"},
    {"sparse", FLIP_CODEC_SPARSE, FORM_SPARSE, "sparse, sparse:60 or sparse:60:32"},
};
enum { FAMILIES = sizeof families / sizeof *families };

static flip_status unknown_name(const char *name, const char *word) {
    const char *words[FAMILIES];
    for (size_t i = 0; i < FAMILIES; i++)
        words[i] = families[i].word;
    const char *near = flip_suggest(word, words, FAMILIES);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "unknown codec '%.60s'; did you mean '%s'?", name, near);
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "unknown codec '%.60s'; known: fp32 fp16 bf16 bifeat:K uniform:K dither:K "
                     "lloyd:K bifeat-vq:WxL pq:WxL opq:WxL klt:B near:B sparse",
                     name);
}

/* A whole number from 0 on; false where there is none. */
static bool take_number(const char **at, int32_t *out) {
    char *end;
    if (**at < '0' || **at > '9') return false;
    long value = strtol(*at, &end, 10);
    if (value > INT32_MAX) return false;
    *out = (int32_t)value;
    *at = end;
    return true;
}

static bool take_bits(const char *at, flip_codec_spec *spec) {
    if (*at++ != ':' || !take_number(&at, &spec->bits)) return false;
    if (spec->bits != 1 && spec->bits != 2 && spec->bits != 4 && spec->bits != 8) return false;
    if (spec->family == FLIP_CODEC_UNIFORM && strcmp(at, ":column") == 0)
        spec->column = true;
    else if (spec->family == FLIP_CODEC_LLOYD && strcmp(at, ":shared") == 0)
        spec->shared = true;
    else if (*at != '\0')
        return false;
    return !spec->hack || spec->bits == 1;
}

static bool take_blocks(const char *at, flip_codec_spec *spec) {
    return *at++ == ':' && take_number(&at, &spec->width) && *at++ == 'x' &&
           take_number(&at, &spec->length) && *at == '\0' && spec->width >= 1 &&
           spec->length >= 2 && spec->length <= FLIP_CODEC_ENTRIES;
}

static bool take_average(const char *at, flip_codec_spec *spec) {
    char *end;
    if (*at++ != ':' || ((*at < '0' || *at > '9') && *at != '.')) return false;
    spec->average = strtod(at, &end);
    return *end == '\0' && spec->average > 0 && spec->average <= 8;
}

static bool take_sparse(const char *at, flip_codec_spec *spec) {
    spec->bits = -1;
    if (*at == '\0') return true;
    if (*at++ != ':' || !take_number(&at, &spec->length) || spec->length < 1) return false;
    if (*at == '\0') return true;
    return *at++ == ':' && take_number(&at, &spec->bits) && *at == '\0' &&
           (spec->bits == 0 || spec->bits == 8 || spec->bits == 32);
}

flip_status flip_codec_parse(flip_codec_spec *spec, const char *name) {
    size_t n = strcspn(name, ":");
    char word[FLIP_CODEC_NAME] = "";
    const family_row *row = NULL;
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), name);
    for (size_t i = 0; i < FAMILIES && !row; i++)
        if (strcmp(word, families[i].word) == 0) row = &families[i];
    if (!row) return unknown_name(name, word);
    *spec = (flip_codec_spec){.family = row->family, .hack = strcmp(word, "bifeat-hack") == 0};
    const char *rest = name + n;
    bool good = row->form == FORM_BARE      ? *rest == '\0'
                : row->form == FORM_BITS    ? take_bits(rest, spec)
                : row->form == FORM_BLOCKS  ? take_blocks(rest, spec)
                : row->form == FORM_AVERAGE ? take_average(rest, spec)
                                            : take_sparse(rest, spec);
    if (good && strlen(name) < FLIP_CODEC_NAME) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "codec '%.60s' is not well formed; expected for example %s (bits 1, 2, 4 or "
                     "8; codebooks of 2 to 65,536 entries; klt and near up to 8 bits a value)",
                     name, row->example);
}

flip_status flip_codec_check_name(const char *name) {
    char coarse[FLIP_CODEC_NAME], refinement[FLIP_CODEC_NAME];
    return flip_codec_split(name, coarse, refinement);
}

/* ---- the object -----------------------------------------------------------------------------
 */

flip_status flip_codec_create(flip_codec **codec, const char *name, int32_t dim,
                              flip_packing_kind kind, flip_codec_rule rule) {
    flip_codec *c;
    FLIP_TRY(flip_alloc_zero(&c, 1, sizeof *c, "a codec"));
    snprintf(c->name, sizeof c->name, "%s", name);
    c->packing.kind = kind;
    c->packing.dim = c->dim_in = dim;
    c->rule = rule;
    *codec = c;
    return FLIP_OK;
}

void flip_codec_destroy(flip_codec **codec) {
    flip_codec *c = *codec;
    if (!c) return;
    float *tables[] = {c->offset,   c->scale,  c->level, c->codebook, c->near_zero,
                       c->rotation, c->turned, c->match, c->half,     c->real};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        flip_free(tables[i]);
    flip_free(c->codebook8);
    flip_free(c);
    *codec = NULL;
}

size_t flip_codec_table(flip_codec *c, int32_t i, float ***table) {
    const flip_packing *p = &c->packing;
    size_t dim = (size_t)p->dim, levels = 0;
    size_t entries = (size_t)p->blocks * (size_t)p->length;
    if (p->kind == FLIP_PACKING_SCALAR && c->rule != FLIP_RULE_FLOOR)
        levels = (p->column_levels ? dim : 1) << p->bits;
    else if (p->kind == FLIP_PACKING_MIXED)
        levels = FLIP_MIXED_LEVELS;
    else if (p->kind == FLIP_PACKING_SPARSE && p->bits == 8)
        levels = 256;
    float **all[FLIP_CODEC_TABLES] = {&c->offset,   &c->scale,     &c->level,
                                      &c->codebook, &c->near_zero, &c->rotation};
    const size_t size[FLIP_CODEC_TABLES] = {
        dim,
        dim,
        levels,
        p->kind == FLIP_PACKING_PRODUCT ? entries * (size_t)p->width : 0,
        c->rule == FLIP_RULE_COSINE ? (size_t)p->blocks : 0,
        dim * (size_t)c->dim_in};
    *table = all[i];
    return size[i];
}

size_t flip_codec_stride_of(const flip_packing *p) {
    size_t dim = (size_t)p->dim, bytes = 0;
    switch (p->kind) {
    case FLIP_PACKING_FLOAT:
        return 4 * dim;
    case FLIP_PACKING_HALF:
    case FLIP_PACKING_BFLOAT:
        return 2 * dim;
    case FLIP_PACKING_SCALAR:
        return (dim * (size_t)p->bits + 7) / 8;
    case FLIP_PACKING_PRODUCT:
        return ((size_t)p->blocks * (size_t)p->bits + 7) / 8;
    case FLIP_PACKING_MIXED:
        for (int32_t i = 0; i < FLIP_MIXED_GROUPS; i++)
            bytes += ((size_t)p->mixed[i] * (size_t)(8 >> i) + 7) / 8;
        return bytes;
    case FLIP_PACKING_SPARSE:
        return (size_t)p->length * ((dim > 65535 ? 4u : 2u) + (size_t)p->bits / 8);
    }
    return 0;
}

/* Entries as they decode, what blocks are multiplied with, and whole numbers as bytes. */
static flip_status prepare_entries(flip_codec *c) {
    const flip_packing *p = &c->packing;
    size_t entries = (size_t)p->blocks * (size_t)p->length, n = entries * (size_t)p->width;
    bool whole = c->scale != NULL;
    FLIP_TRY(flip_alloc(&c->match, n, sizeof(float), "codebooks"));
    FLIP_TRY(flip_alloc(&c->half, entries, sizeof(float), "codebooks"));
    FLIP_TRY(flip_alloc(&c->real, n, sizeof(float), "codebooks"));
    for (size_t i = 0; i < n; i++) {
        size_t j = i / (size_t)p->width / (size_t)p->length * (size_t)p->width;
        j += i % (size_t)p->width;
        bool moved = c->scale && j < (size_t)p->dim;
        c->real[i] = moved ? c->offset[j] + c->scale[j] * c->codebook[i] : c->codebook[i];
        whole = whole && c->codebook[i] >= -128 && c->codebook[i] <= 127 &&
                c->codebook[i] == truncf(c->codebook[i]);
    }
    for (int32_t b = 0; b < p->blocks; b++) {
        size_t first = (size_t)b * (size_t)p->length, at = first * (size_t)p->width;
        int32_t width = (int32_t)flip_codec_min(p->width, p->dim - (int64_t)b * p->width);
        flip_matcher_prepare(c->match + at, c->half + first, c->real + at, p->length, width,
                             p->width, c->rule == FLIP_RULE_COSINE);
    }
    if (!whole) return FLIP_OK;
    FLIP_TRY(flip_alloc(&c->codebook8, n, 1, "codebooks"));
    for (size_t i = 0; i < n; i++)
        c->codebook8[i] = (int8_t)c->codebook[i];
    c->packing.codebook8 = c->codebook8;
    return FLIP_OK;
}

/* What rows are compared with when they are encoded. */
static flip_status prepare(flip_codec *c) {
    const flip_packing *p = &c->packing;
    size_t dim = (size_t)p->dim, dim_in = (size_t)c->dim_in;
    if (c->rotation) {
        FLIP_TRY(flip_alloc(&c->turned, dim * dim_in, sizeof(float), "a rotation"));
        for (size_t j = 0; j < dim; j++)
            for (size_t k = 0; k < dim_in; k++)
                c->turned[k * dim + j] = c->rotation[j * dim_in + k];
    }
    return c->codebook ? prepare_entries(c) : FLIP_OK;
}

flip_status flip_codec_finish(flip_codec *c) {
    flip_packing *p = &c->packing;
    p->offset = c->offset;
    p->scale = c->scale;
    p->level = c->level;
    p->codebook = c->codebook;
    p->stride = flip_codec_stride_of(p);
    return prepare(c);
}

const char *flip_codec_name(const flip_codec *codec) {
    return codec->name;
}

const flip_packing *flip_codec_packing(const flip_codec *codec) {
    return &codec->packing;
}

size_t flip_codec_stride(const flip_codec *codec) {
    return codec->packing.stride;
}

const float *flip_codec_rotation(const flip_codec *codec, int32_t *dim_in) {
    if (dim_in) *dim_in = codec->dim_in;
    return codec->rotation;
}

flip_status flip_codec_restore(const flip_codec *c, int64_t n, const float *rows, float *out) {
    size_t dim = (size_t)c->packing.dim, dim_in = (size_t)c->dim_in;
    if (c->dropped)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "codec %s has lost its rotation: no way back", c->name);
    if (c->rotation)
        flip_turn(out, rows, n, c->rotation, (int32_t)dim, (int32_t)dim_in);
    else
        memcpy(out, rows, (size_t)n * dim * sizeof *out);
    return FLIP_OK;
}

void flip_codec_drop_rotation(flip_codec *codec) {
    codec->dropped = codec->dropped || codec->rotation;
    flip_free(codec->rotation);
    flip_free(codec->turned);
    codec->rotation = codec->turned = NULL;
}

/* ---- learning -------------------------------------------------------------------------------
 */

void flip_codec_tell(const flip_codec_sample *sample, const char *what, double share) {
    if (sample->progress) sample->progress(sample->data, what, share);
}

static flip_status make_floats(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                               int32_t dim) {
    flip_packing_kind kind = spec->family == FLIP_CODEC_FLOAT  ? FLIP_PACKING_FLOAT
                             : spec->family == FLIP_CODEC_HALF ? FLIP_PACKING_HALF
                                                               : FLIP_PACKING_BFLOAT;
    FLIP_TRY(flip_codec_create(codec, name, dim, kind, FLIP_RULE_COPY));
    (*codec)->packing.bits = kind == FLIP_PACKING_FLOAT ? 32 : 16;
    return flip_codec_finish(*codec);
}

/* Every number of the sample is finite. */
static flip_status check_sample(const flip_codec_sample *s, const char *name) {
    if (s->n < 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "codec %s is to be learned from no row at all", name);
    for (int64_t i = 0; i < s->n; i++)
        for (int32_t j = 0; j < s->dim; j++)
            if (!isfinite(s->x[i * s->dim + j]))
                return FLIP_FAIL(FLIP_ERROR_INPUT,
                                 "codec %s cannot hold %g (sample row %lld, column %d); fp32, fp16 "
                                 "and bf16 can",
                                 name, (double)s->x[i * s->dim + j], (long long)i, j);
    return FLIP_OK;
}

static flip_status make(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                        flip_codec_sample *s) {
    if (spec->family > FLIP_CODEC_BFLOAT) FLIP_TRY(check_sample(s, name));
    switch (spec->family) {
    case FLIP_CODEC_FLOAT:
    case FLIP_CODEC_HALF:
    case FLIP_CODEC_BFLOAT:
        return make_floats(codec, name, spec, s->dim);
    case FLIP_CODEC_BIFEAT:
    case FLIP_CODEC_UNIFORM:
    case FLIP_CODEC_DITHER:
        return flip_codec_make_scalar(codec, name, spec, s);
    case FLIP_CODEC_LLOYD:
        return flip_codec_make_lloyd(codec, name, spec, s);
    case FLIP_CODEC_BIFEAT_VQ:
    case FLIP_CODEC_PQ:
        return flip_codec_make_product(codec, name, spec, s);
    case FLIP_CODEC_OPQ:
        return flip_codec_make_opq(codec, name, spec, s);
    case FLIP_CODEC_KLT:
    case FLIP_CODEC_NEAR:
        return flip_codec_make_klt(codec, name, spec, s);
    case FLIP_CODEC_SPARSE:
        return flip_codec_make_sparse(codec, name, spec, s);
    }
    return FLIP_FAIL(FLIP_ERROR_INTERNAL, "codec family %d", (int)spec->family);
}

static flip_status train(flip_codec **codec, const char *name, flip_codec_sample *s) {
    flip_codec_spec spec;
    *codec = NULL;
    FLIP_TRY(flip_codec_parse(&spec, name));
    if (s->dim < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "codec %s of rows with %d columns", name, s->dim);
    flip_status status = make(codec, name, &spec, s);
    if (status != FLIP_OK) flip_codec_destroy(codec);
    return status;
}

flip_status flip_codec_train(flip_codec **codec, const char *name, int32_t dim, int64_t n,
                             const float *sample, uint64_t seed, flip_codec_progress progress,
                             void *progress_data) {
    flip_codec_sample s = {
        .n = n, .dim = dim, .x = sample, .seed = seed, .progress = progress, .data = progress_data};
    return train(codec, name, &s);
}

flip_status flip_codec_train_near(flip_codec **codec, double *strength, const char *name,
                                  int32_t dim, int64_t n, const float *sample, const float *beside,
                                  flip_codec_progress progress, void *progress_data) {
    flip_codec_sample s = {.n = n,
                           .dim = dim,
                           .x = sample,
                           .beside = beside,
                           .progress = progress,
                           .data = progress_data};
    FLIP_TRY(train(codec, name, &s));
    *strength = s.strength;
    return FLIP_OK;
}
