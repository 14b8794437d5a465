/* What a codec, or two levels of one, loses of the rows held out. */
#include "store/compress.h"

#include <math.h>

/* Numbers of rows, which serve as keys for dither. */
static flip_status number_rows(int64_t n, int64_t **key) {
    FLIP_TRY(flip_alloc(key, (size_t)n, sizeof **key, "keys"));
    for (int64_t i = 0; i < n; i++)
        (*key)[i] = i;
    return FLIP_OK;
}

flip_status flip_trial_residual(float **left, const flip_codec *codec, int64_t n, const float *x) {
    flip_status status;
    size_t dim = (size_t)flip_codec_packing(codec)->dim;
    uint8_t *codes = NULL;
    int64_t *key = NULL;
    *left = NULL;
    FLIP_TRY_GOTO(number_rows(n, &key));
    FLIP_TRY_GOTO(flip_alloc(&codes, (size_t)n, flip_codec_stride(codec), "codes"));
    FLIP_TRY_GOTO(flip_alloc(left, (size_t)n * dim, sizeof **left, "residuals"));
    FLIP_TRY_GOTO(flip_codec_encode(codec, n, x, key, codes));
    status = flip_codec_residual(codec, n, x, key, codes, *left);
done:
    flip_free(key);
    flip_free(codes);
    return status;
}

/* decoded [n_held, dim] += what the refinement keeps of what the codec's codes leave. */
static flip_status add_refinement(const flip_trials *t, const flip_codec *codec,
                                  const flip_codec *refinement, const int64_t *key,
                                  const uint8_t *codes, float *decoded) {
    flip_status status;
    int64_t n = t->n_held, dim = flip_codec_packing(codec)->dim;
    uint8_t *fine = NULL;
    float *left = NULL;
    FLIP_TRY_GOTO(flip_alloc(&fine, (size_t)n, flip_codec_stride(refinement), "codes"));
    FLIP_TRY_GOTO(flip_alloc(&left, (size_t)(n * dim), sizeof *left, "residuals"));
    FLIP_TRY_GOTO(flip_codec_residual(codec, n, t->held, key, codes, left));
    FLIP_TRY_GOTO(flip_codec_encode(refinement, n, left, key, fine));
    FLIP_TRY_GOTO(flip_codec_decode(refinement, n, fine, key, left));
    for (int64_t i = 0; i < n * dim; i++)
        decoded[i] += left[i];
done:
    flip_free(fine);
    flip_free(left);
    return status;
}

/* Codes and back, in the original columns. */
static flip_status there_and_back(const flip_trials *t, const flip_codec *codec,
                                  const flip_codec *refinement, float *back) {
    flip_status status;
    size_t n = (size_t)t->n_held, dim = (size_t)flip_codec_packing(codec)->dim;
    uint8_t *codes = NULL;
    float *decoded = NULL;
    int64_t *key = NULL;
    FLIP_TRY_GOTO(flip_alloc(&codes, n, flip_codec_stride(codec), "codes"));
    FLIP_TRY_GOTO(flip_alloc(&decoded, n * dim, sizeof *decoded, "decoded rows"));
    FLIP_TRY_GOTO(number_rows(t->n_held, &key));
    FLIP_TRY_GOTO(flip_codec_encode(codec, t->n_held, t->held, key, codes));
    FLIP_TRY_GOTO(flip_codec_decode(codec, t->n_held, codes, key, decoded));
    if (refinement) FLIP_TRY_GOTO(add_refinement(t, codec, refinement, key, codes, decoded));
    FLIP_TRY_GOTO(flip_codec_restore(codec, t->n_held, decoded, back));
done:
    flip_free(codes);
    flip_free(decoded);
    flip_free(key);
    return status;
}

flip_status flip_trial_measure(double *error, const flip_trials *t, const flip_codec *codec,
                               const flip_codec *refinement) {
    size_t n = (size_t)t->n_held * (size_t)t->rows->dim;
    float *back;
    double sum = 0;
    FLIP_TRY(flip_alloc(&back, n, sizeof *back, "decoded rows"));
    flip_status status = there_and_back(t, codec, refinement, back);
    for (size_t i = 0; i < n && status == FLIP_OK; i++) {
        double apart = (double)back[i] - (double)t->held[i];
        sum += apart * apart;
    }
    *error = t->spread > 0 ? sum / t->spread : sum > 0 ? INFINITY : 0;
    flip_free(back);
    return status;
}

flip_status flip_trial_spread(flip_trials *t) {
    int32_t dim = t->rows->dim;
    double *mean;
    FLIP_TRY(flip_alloc_zero(&mean, (size_t)dim, sizeof *mean, "means"));
    for (int64_t i = 0; i < t->n_held * dim; i++)
        mean[i % dim] += (double)t->held[i] / (double)t->n_held;
    t->spread = 0;
    for (int64_t i = 0; i < t->n_held * dim; i++) {
        double apart = (double)t->held[i] - mean[i % dim];
        t->spread += apart * apart;
    }
    flip_free(mean);
    return FLIP_OK;
}
