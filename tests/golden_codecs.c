/* golden cases: codecs. Rows, tables and decoded values are float32 in every build, so the float
 * tolerance holds; codes are compared as integers. */
#include "golden.h"

#include "codec/internal.h"

#include <stdio.h>

static float *floats(golden *g, const char *tensor) {
    golden_tensor t = golden_load(g, tensor);
    float *out = golden_memory(g, (size_t)t.n, sizeof *out);
    for (int64_t i = 0; i < t.n; i++)
        out[i] = (float)t.value[i];
    return out;
}

/* Code j of a row, read by its bits alone. */
static double code_of(const uint8_t *row, int32_t bits, int64_t j) {
    int64_t value = 0;
    for (int32_t b = 0; b < bits; b++)
        value |= (int64_t)(row[(j * bits + b) / 8] >> ((j * bits + b) % 8) & 1) << b;
    return (double)value;
}

/* Rows through the codec, its bytes and back: [rows, n_codes] codes less `zero`, decoded rows. */
static void compare_codec(golden *g, flip_codec *codec, const char *codes, const char *decoded,
                          int64_t n_codes, double zero) {
    int64_t rows = golden_dim(g, "rows"), d = golden_dim(g, "d");
    uint8_t *bytes = NULL;
    size_t n = 0;
    flip_codec *copy = NULL;
    golden_try(g, flip_codec_to_bytes(codec, &bytes, &n));
    golden_try(g, flip_codec_from_bytes(&copy, bytes, n));
    flip_free(bytes);
    if (!copy) return;
    size_t stride = flip_codec_stride(copy);
    uint8_t *packed = golden_memory(g, (size_t)rows * stride, 1);
    float *x = floats(g, "X"), *back = golden_memory(g, (size_t)(rows * d), sizeof *back);
    double *code = golden_memory(g, (size_t)(rows * n_codes), sizeof *code);
    double *value = golden_memory(g, (size_t)(rows * d), sizeof *value);
    golden_try(g, flip_codec_encode(copy, rows, x, NULL, packed));
    golden_try(g, flip_codec_decode(copy, rows, packed, NULL, back));
    for (int64_t i = 0; i < rows * n_codes; i++)
        code[i] = code_of(packed + (size_t)(i / n_codes) * stride, flip_codec_packing(copy)->bits,
                          i % n_codes) -
                  zero;
    for (int64_t i = 0; i < rows * d; i++)
        value[i] = (double)back[i];
    if (codes) golden_compare(g, codes, code, rows * n_codes);
    golden_compare(g, decoded, value, rows * d);
    flip_codec_destroy(&copy);
}

static flip_codec *learned(golden *g, const char *name) {
    flip_codec *codec = NULL;
    float *x = floats(g, "X");
    golden_try(g, flip_codec_train(&codec, name, (int32_t)golden_dim(g, "d"), golden_dim(g, "rows"),
                                   x, 1, NULL, NULL));
    return codec;
}

static void compare_learned(golden *g, const char *family, int bits) {
    char name[32], codes[32], decoded[32];
    snprintf(name, sizeof name, "%s:%d", family, bits);
    snprintf(codes, sizeof codes, "codes_%d", bits);
    snprintf(decoded, sizeof decoded, "decoded_%d", bits);
    flip_codec *codec = learned(g, name);
    /* the case writes BiFeat's 8-bit codes as signed numbers */
    double zero = codec && codec->rule == FLIP_RULE_LOG && bits == 8 ? 128 : 0;
    if (codec) compare_codec(g, codec, codes, decoded, golden_dim(g, "d"), zero);
    flip_codec_destroy(&codec);
}

void case_codec_bifeat(golden *g) {
    g->tolerance = 1e-4;
    for (int bits = 1; bits <= 8; bits *= 2)
        compare_learned(g, "bifeat", bits);
    flip_codec *log_form = learned(g, "bifeat:4"), *sign = learned(g, "bifeat:1");
    flip_codec *hack = learned(g, "bifeat-hack:1");
    if (log_form && sign && hack) {
        const double range[] = {log_form->least, log_form->most, log2(log_form->least),
                                log2(log_form->most) + 1e-5, (double)sign->level[1]};
        golden_compare(g, "range", range, 5);
        compare_codec(g, hack, NULL, "decoded_1_hack", golden_dim(g, "d"), 0);
    }
    flip_codec_destroy(&log_form);
    flip_codec_destroy(&sign);
    flip_codec_destroy(&hack);
}

void case_codec_uniform(golden *g) {
    g->tolerance = 1e-4;
    for (int bits = 1; bits <= 8; bits *= 2)
        compare_learned(g, "uniform", bits);
    flip_codec *codec = learned(g, "uniform:1");
    if (codec) {
        const double m = -(double)codec->offset[0];
        golden_compare(g, "range", &m, 1);
    }
    flip_codec_destroy(&codec);
}

void case_codec_lloyd(golden *g) {
    g->tolerance = 1e-4;
    for (int32_t bits = 1; bits <= 4; bits *= 2) {
        char table[16], codes[16], decoded[16];
        flip_codec *codec = NULL;
        snprintf(table, sizeof table, "table_%d", bits);
        snprintf(codes, sizeof codes, "codes_%d", bits);
        snprintf(decoded, sizeof decoded, "decoded_%d", bits);
        golden_try(
            g, flip_codec_of_levels(&codec, (int32_t)golden_dim(g, "d"), bits, floats(g, table)));
        if (codec) compare_codec(g, codec, codes, decoded, golden_dim(g, "d"), 0);
        flip_codec_destroy(&codec);
    }
}

void case_codec_pq(golden *g) {
    g->tolerance = 1e-4;
    for (int cosine = 0; cosine < 2; cosine++) {
        flip_codec *codec = NULL;
        golden_try(g, flip_codec_of_codebook(
                          &codec, (int32_t)golden_dim(g, "d"), (int32_t)golden_dim(g, "width"),
                          (int32_t)golden_dim(g, "length"), cosine, floats(g, "codebook")));
        if (codec)
            compare_codec(g, codec, cosine ? "codes_cosine" : "codes_l2",
                          cosine ? "decoded_cosine" : "decoded_l2", golden_dim(g, "blocks"), 0);
        flip_codec_destroy(&codec);
    }
}
