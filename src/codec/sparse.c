/* The exact codec of rows with few non-zero columns: their numbers, and the values unless all are
 * 1; up to 255 distinct values are kept as numbers of a table. */
#include "codec/internal.h"

/* The most non-zero columns of a row. */
static int32_t widest_row(const flip_codec_sample *s) {
    int32_t most = 1;
    for (int64_t i = 0; i < s->n; i++) {
        int32_t n = 0;
        for (int32_t j = 0; j < s->dim; j++)
            n += s->x[i * s->dim + j] != 0;
        most = n > most ? n : most;
    }
    return most;
}

/* Adds x to the ascending values [*n]; false where there are 255 others. */
static bool add_value(float *value, int32_t *n, float x) {
    int32_t at = 0;
    while (at < *n && value[at] < x)
        at++;
    if (at < *n && value[at] == x) return true;
    if (*n == 255) return false;
    memmove(value + at + 1, value + at, (size_t)(*n - at) * sizeof *value);
    value[at] = x;
    ++*n;
    return true;
}

/* 0: all non-zero values are 1; 8: value [256] has them all; 32: neither. */
static int32_t kind_of_values(float *value, const flip_codec_sample *s) {
    int32_t n = 0;
    for (int64_t i = 0; i < s->n * s->dim; i++)
        if (s->x[i] != 0 && !add_value(value, &n, s->x[i])) return 32;
    if (n == 0 || (n == 1 && value[0] == 1)) return 0;
    for (int32_t i = n; i < 256; i++)
        value[i] = value[n - 1];
    return 8;
}

flip_status flip_codec_make_sparse(flip_codec **codec, const char *name,
                                   const flip_codec_spec *spec, const flip_codec_sample *s) {
    float value[256] = {0};
    int32_t length = spec->length > 0 ? spec->length : widest_row(s);
    int32_t kind = spec->bits == 0 || spec->bits == 32 ? spec->bits : kind_of_values(value, s);
    if (length > s->dim)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "codec %s: %d non-zero columns of %d", name, length,
                         s->dim);
    if (spec->bits == 8 && kind == 32)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "codec %s: more than 255 values other than 0; sparse:%d:32 holds any",
                         name, length);
    if (spec->bits == 8) kind = 8;
    FLIP_TRY(flip_codec_create(codec, name, s->dim, FLIP_PACKING_SPARSE, FLIP_RULE_SPARSE));
    flip_codec *c = *codec;
    c->packing.length = length;
    c->packing.bits = kind;
    if (kind == 8) {
        for (int32_t i = 0; i < 256 && value[255] == 0; i++)
            value[i] = value[i] != 0 ? value[i] : 1; /* all are 1, or there is none */
        FLIP_TRY(flip_alloc(&c->level, 256, sizeof(float), "levels"));
        memcpy(c->level, value, sizeof value);
    }
    return flip_codec_finish(c);
}
