/* Two levels: what a codec leaves of a row is the row of a second codec. A product code followed by
 * one of its residual is Juang and Gray's (1982) multi-stage quantiser, of two stages. */
#include "codec/internal.h"

#include <stdio.h>

/* Codecs whose decoded columns are the columns they were given, and that are not exact for sparse
 * rows alone: what a row lacks is neither sparse nor has principal axes that were not its own. */
static bool refines(const flip_codec_spec *s) {
    return s->family != FLIP_CODEC_OPQ && s->family != FLIP_CODEC_KLT &&
           s->family != FLIP_CODEC_NEAR && s->family != FLIP_CODEC_SPARSE;
}

flip_status flip_codec_split(const char *name, char coarse[FLIP_CODEC_NAME],
                             char refinement[FLIP_CODEC_NAME]) {
    flip_codec_spec spec;
    const char *plus = strchr(name, '+');
    size_t n = plus ? (size_t)(plus - name) : strlen(name);
    coarse[0] = refinement[0] = '\0';
    if (n >= FLIP_CODEC_NAME || (plus && strlen(plus + 1) >= FLIP_CODEC_NAME))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "unknown codec '%.60s'; a name has at most %d bytes",
                         name, FLIP_CODEC_NAME - 1);
    snprintf(coarse, FLIP_CODEC_NAME, "%.*s", (int)n, name);
    FLIP_TRY(flip_codec_parse(&spec, coarse));
    if (!plus) return FLIP_OK;
    if (spec.family == FLIP_CODEC_SPARSE)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "codec %s: sparse is exact and leaves nothing to refine",
                         name);
    FLIP_TRY(flip_codec_parse(&spec, plus + 1));
    if (!refines(&spec))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s: a refinement is added column by column, %s has columns of its "
                         "own; lloyd:K, uniform:K, dither:K, bifeat:K, pq:WxL, bifeat-vq:WxL, fp16 "
                         "and bf16 refine",
                         name, plus + 1);
    snprintf(refinement, FLIP_CODEC_NAME, "%s", plus + 1);
    return FLIP_OK;
}

flip_status flip_codec_check_refinement(const flip_codec *coarse, const flip_codec *refinement) {
    flip_codec_spec spec;
    FLIP_TRY(flip_codec_parse(&spec, refinement->name));
    if (!refines(&spec))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "codec table: %s cannot refine another codec",
                         refinement->name);
    if (refinement->packing.dim != coarse->packing.dim)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "codec table: %s refines %d columns, %s decodes to %d; compress it again",
                         refinement->name, refinement->packing.dim, coarse->name,
                         coarse->packing.dim);
    return FLIP_OK;
}

flip_status flip_codec_residual(const flip_codec *c, int64_t n, const float *rows,
                                const int64_t *key, const uint8_t *codes, float *out) {
    int32_t dim = c->packing.dim;
    float *decoded;
    if (c->dropped)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s has lost its rotation (it was stored without): what it leaves "
                         "of new rows is not known; compress with --rotation keep",
                         c->name);
    FLIP_TRY(flip_alloc(&decoded, (size_t)n * (size_t)dim, sizeof *decoded, "decoded rows"));
    flip_status status = flip_codec_decode(c, n, codes, key, decoded);
    if (status == FLIP_OK && c->rotation)
        flip_turn(out, rows, n, c->turned, c->dim_in, dim);
    else if (status == FLIP_OK && n > 0)
        memcpy(out, rows, (size_t)n * (size_t)dim * sizeof *out);
    for (int64_t i = 0; i < n * dim && status == FLIP_OK; i++)
        out[i] -= decoded[i];
    flip_free(decoded);
    return status;
}
