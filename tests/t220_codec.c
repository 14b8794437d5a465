/* codec: every codec against what its name promises: bounds of the error, nearest entries by a
 * plain search, the same bits for any threads, bytes there and back, damaged bytes and codes
 * refused by name, and the distortions that the project asks for. */
#include <flipbook/codec.h>

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 600, DIM = 21, SEED = 5 };

static const char *const codecs[] = {
    "fp32",           "fp16",           "bf16",
    "bifeat:1",       "bifeat:2",       "bifeat:4",
    "bifeat:8",       "bifeat-hack:1",  "uniform:1",
    "uniform:4",      "uniform:8",      "uniform:2:column",
    "dither:1",       "dither:4",       "lloyd:1",
    "lloyd:4",        "lloyd:8",        "lloyd:2:shared",
    "lloyd:8:shared", "bifeat-vq:4x16", "bifeat-vq:6x300",
    "pq:4x16",        "pq:4x11",        "pq:8x64",
    "pq:21x300",      "opq:5x16",       "klt:0.4",
    "klt:2",          "klt:5.3",        "sparse",
};
enum { N_CODECS = sizeof codecs / sizeof *codecs };

static void *get(size_t n, size_t size) {
    void *p = NULL;
    assert_int_equal(flip_alloc_zero(&p, n, size, "test"), FLIP_OK);
    return p;
}

static double normal(uint64_t a, uint64_t b) {
    return flip_random_normal(SEED, FLIP_STREAM_TEST, a, b);
}

/* Correlated columns with means and deviations of their own, some exact zeros. */
static float *draw_rows(int64_t n, int32_t dim, uint64_t stream) {
    float *x = get((size_t)(n * dim), sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        double common = normal(stream, (uint64_t)(i * (dim + 1)));
        for (int32_t j = 0; j < dim; j++) {
            double own = normal(stream, (uint64_t)(i * (dim + 1) + j + 1));
            double value =
                (0.3 + 0.1 * j) * (0.8 * common * (j % 3 - 1) + 0.6 * own) + 0.2 * (j % 4);
            x[i * dim + j] = (i + j) % 17 == 0 ? 0 : (float)value;
        }
    }
    return x;
}

static int64_t *draw_keys(int64_t n) {
    int64_t *key = get((size_t)n, sizeof *key);
    for (int64_t i = 0; i < n; i++)
        key[i] = 3 * i + 1;
    return key;
}

static flip_codec *train(const char *name, int32_t dim, int64_t n, const float *x) {
    flip_codec *codec = NULL;
    flip_status status = flip_codec_train(&codec, name, dim, n, x, SEED, NULL, NULL);
    if (status != FLIP_OK) print_message("%s: %s\n", name, flip_error_message());
    assert_int_equal(status, FLIP_OK);
    return codec;
}

static uint8_t *encode(const flip_codec *codec, int64_t n, const float *x, const int64_t *key) {
    uint8_t *codes = get((size_t)n * flip_codec_stride(codec) + 1, 1);
    assert_int_equal(flip_codec_encode(codec, n, x, key, codes), FLIP_OK);
    return codes;
}

static float *decode(const flip_codec *codec, int64_t n, const uint8_t *codes, const int64_t *key) {
    float *rows = get((size_t)n * (size_t)flip_codec_packing(codec)->dim, sizeof *rows);
    assert_int_equal(flip_codec_decode(codec, n, codes, key, rows), FLIP_OK);
    return rows;
}

/* Rows as the codec sees them: turned, by sums of its own. */
static float *seen(const flip_codec *codec, int64_t n, const float *x) {
    int32_t dim_in, dim = flip_codec_packing(codec)->dim;
    const float *r = flip_codec_rotation(codec, &dim_in);
    float *y = get((size_t)(n * dim), sizeof *y);
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < dim; j++) {
            double sum = r ? 0 : (double)x[i * dim_in + j];
            for (int32_t k = 0; r && k < dim_in; k++)
                sum += (double)r[j * dim_in + k] * (double)x[i * dim_in + k];
            y[i * dim + j] = (float)sum;
        }
    return y;
}

/* ---- bounds ---------------------------------------------------------------------------------
 */

/* The least |x - value| over a column's levels. */
static double level_error(const flip_packing *p, const float *level, int n, int32_t j, double x) {
    double least = INFINITY, offset = p->offset ? (double)p->offset[j] : 0;
    for (int l = 0; l < n; l++)
        least =
            fmin(least, fabs(offset + (p->scale ? (double)p->scale[j] : 1) * (double)level[l] - x));
    return least;
}

static double mixed_error(const flip_packing *p, int32_t j, double x) {
    const float *level = p->level;
    int32_t end = 0;
    for (int g = 0; g < FLIP_MIXED_GROUPS; g++) {
        end += p->mixed[g];
        if (j < end) return level_error(p, level, 1 << (8 >> g), j, x);
        level += 1 << (8 >> g);
    }
    return 0;
}

/* Half a bin where the value lies inside the range, what lies outside beyond it. */
static double affine_error(const flip_packing *p, int32_t j, double x) {
    double scale = (double)p->scale[j], low = (double)p->offset[j];
    double room = p->dither ? scale / 2 : 0, high = low + scale * (1 << p->bits);
    double outside = fmax(fmax(low + room - x, x - high + room), 0);
    return scale / 2 + outside;
}

/* BiFeat's log bins: the nearest level in log |x|, half a bin away at most, clipped outside. */
static double log_error(const flip_packing *p, double x) {
    double half = log2((double)p->level[(1 << p->bits) - 1] / (double)p->level[1 << (p->bits - 1)]);
    half /= 2 * ((1 << (p->bits - 1)) - 1);
    double low = (double)p->level[1 << (p->bits - 1)] * exp2(-half);
    double high = (double)p->level[(1 << p->bits) - 1] * exp2(half), size = fabs(x);
    if (size < low) return low * exp2(half) + size;
    if (size > high) return size - high * exp2(-half);
    return size * (exp2(half) - 1);
}

static double bound(const flip_codec *codec, int32_t j, double x) {
    const flip_packing *p = flip_codec_packing(codec);
    bool column = p->column_levels;
    switch (p->kind) {
    case FLIP_PACKING_HALF:
        return fmax(fabs(x) * 0x1p-11, 0x1p-25);
    case FLIP_PACKING_BFLOAT:
        return fabs(x) * 0x1p-8;
    case FLIP_PACKING_MIXED:
        return mixed_error(p, j, x);
    case FLIP_PACKING_SCALAR:
        if (!p->level) return affine_error(p, j, x);
        if (strncmp(flip_codec_name(codec), "bifeat", 6) == 0 && p->bits > 1)
            return log_error(p, x);
        return level_error(p, p->level + (column ? (size_t)j << p->bits : 0), 1 << p->bits, j, x);
    default:
        return 0; /* FLOAT, SPARSE: exact */
    }
}

static void check_bounds(const flip_codec *codec, const float *y, const float *back) {
    int32_t dim = flip_codec_packing(codec)->dim;
    for (int64_t i = 0; i < ROWS * dim; i++) {
        double x = (double)y[i], most = bound(codec, (int32_t)(i % dim), x);
        double slack =
            flip_codec_packing(codec)->kind < FLIP_PACKING_BFLOAT ? 0 : 2e-6 * (1 + fabs(x));
        if (flip_codec_packing(codec)->kind == FLIP_PACKING_SPARSE) slack = 0;
        if (fabs((double)back[i] - x) > most + slack) {
            print_message("%s: %g became %g, bound %g\n", flip_codec_name(codec), x,
                          (double)back[i], most);
            assert_true(false);
        }
    }
}

/* Entry e of block b as it decodes against row x of it. */
static double entry_score(const flip_packing *p, int32_t b, int32_t e, const float *x,
                          bool cosine) {
    double sum = 0, square = 0;
    for (int32_t c = 0; c < p->width && b * p->width + c < p->dim; c++) {
        int32_t j = b * p->width + c;
        double entry = (double)p->codebook[((int64_t)b * p->length + e) * p->width + c];
        if (p->offset) entry = (double)(p->offset[j] + p->scale[j] * (float)entry);
        sum += cosine ? entry * (double)x[j] : -(entry - (double)x[j]) * (entry - (double)x[j]);
        square += entry * entry;
    }
    return cosine ? sum / sqrt(square) : sum;
}

static void check_nearest(const flip_codec *codec, const float *y, const uint8_t *codes) {
    const flip_packing *p = flip_codec_packing(codec);
    bool cosine = strncmp(flip_codec_name(codec), "bifeat", 6) == 0;
    for (int64_t i = 0; i < ROWS; i += 7)
        for (int32_t b = 0; b < p->blocks; b++) {
            const uint8_t *row = codes + (size_t)i * p->stride;
            int32_t code = p->bits == 4   ? row[b / 2] >> (b % 2 * 4) & 15
                           : p->bits == 8 ? row[b]
                                          : row[2 * b] | row[2 * b + 1] << 8;
            if (cosine && code == p->length - 1) continue; /* blocks near zero */
            double got = entry_score(p, b, code, y + i * p->dim, cosine);
            for (int32_t e = 0; e < p->length - cosine; e++)
                assert_true(entry_score(p, b, e, y + i * p->dim, cosine) <= got + 1e-6);
        }
}

static void bounds(void **state) {
    (void)state;
    float *x = draw_rows(ROWS, DIM, 1);
    int64_t *key = draw_keys(ROWS);
    for (int c = 0; c < N_CODECS; c++) {
        flip_codec *codec = train(codecs[c], DIM, ROWS, x);
        uint8_t *codes = encode(codec, ROWS, x, key);
        float *back = decode(codec, ROWS, codes, key), *y = seen(codec, ROWS, x);
        if (flip_codec_packing(codec)->kind == FLIP_PACKING_PRODUCT)
            check_nearest(codec, y, codes);
        else
            check_bounds(codec, y, back);
        flip_free(codes);
        flip_free(back);
        flip_free(y);
        flip_codec_destroy(&codec);
    }
    flip_free(x);
    flip_free(key);
}

/* ---- the same bits --------------------------------------------------------------------------
 */

static void same_bits(void **state) {
    (void)state;
    float *x = draw_rows(ROWS, DIM, 1);
    int64_t *key = draw_keys(ROWS);
    for (int c = 0; c < N_CODECS; c++) {
        uint8_t *bytes[2], *codes[2];
        size_t n[2], stride = 0;
        flip_codec *codec = NULL;
        for (int t = 0; t < 2; t++) {
            flip_codec_destroy(&codec);
            omp_set_num_threads(t + 1);
            codec = train(codecs[c], DIM, ROWS, x);
            stride = flip_codec_stride(codec);
            codes[t] = encode(codec, ROWS, x, key);
            assert_int_equal(flip_codec_to_bytes(codec, &bytes[t], &n[t]), FLIP_OK);
            assert_int_equal(n[t], flip_codec_table_bytes(codec));
        }
        omp_set_num_threads(1);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        assert_memory_equal(codes[0], codes[1], ROWS * stride);
        for (int64_t i = 0; i < ROWS; i += 13) { /* a row alone has the codes it has among others */
            uint8_t *alone = encode(codec, 1, x + i * DIM, key + i);
            assert_memory_equal(alone, codes[0] + (size_t)i * stride, stride);
            flip_free(alone);
        }
        for (int t = 0; t < 2; t++) {
            flip_free(bytes[t]);
            flip_free(codes[t]);
        }
        flip_codec_destroy(&codec);
    }
    flip_free(x);
    flip_free(key);
}

/* ---- bytes ----------------------------------------------------------------------------------
 */

static void refused(const uint8_t *bytes, size_t n) {
    flip_codec *codec = NULL;
    flip_status status = flip_codec_from_bytes(&codec, bytes, n);
    assert_true(status == FLIP_ERROR_INPUT || status == FLIP_ERROR_USAGE);
    assert_null(codec);
    assert_true(strlen(flip_error_message()) > 20);
    flip_error_clear();
}

/* A damaged blob is refused, or it is a codec as good as any: its own bytes again, rows encoded. */
static void survives(const uint8_t *bytes, size_t n, const float *x, const int64_t *key) {
    flip_codec *codec = NULL;
    if (flip_codec_from_bytes(&codec, bytes, n) != FLIP_OK) {
        flip_error_clear();
        return;
    }
    uint8_t *again = NULL, *codes = get(4 * flip_codec_stride(codec) + 1, 1);
    float *back = get(4 * (size_t)flip_codec_packing(codec)->dim, sizeof *back);
    size_t length = 0;
    int32_t dim_in = 0;
    flip_codec_rotation(codec, &dim_in);
    assert_int_equal(flip_codec_to_bytes(codec, &again, &length), FLIP_OK);
    assert_int_equal(length, n);
    if (dim_in == DIM && flip_codec_encode(codec, 4, x, key, codes) == FLIP_OK)
        assert_int_equal(flip_codec_decode(codec, 4, codes, key, back), FLIP_OK);
    flip_error_clear();
    flip_free(again);
    flip_free(codes);
    flip_free(back);
    flip_codec_destroy(&codec);
}

static void damage(const uint8_t *bytes, size_t n, const float *x, const int64_t *key) {
    uint8_t *worn = get(n + 8, 1);
    for (size_t cut = 0; cut < n; cut += cut < 150 ? 1 : 1 + n / 97)
        refused(bytes, cut);
    memcpy(worn, bytes, n);
    refused(worn, n + 1);
    for (size_t at = 0; at < n; at += at < 300 ? 1 : 1 + n / 97)
        for (int bit = 0; bit < 8; bit += 1 + at / 150) {
            worn[at] ^= (uint8_t)(1 << bit);
            survives(worn, n, x, key);
            worn[at] = bytes[at];
        }
    flip_free(worn);
}

static void bytes_there_and_back(void **state) {
    (void)state;
    float *x = draw_rows(ROWS, DIM, 1);
    int64_t *key = draw_keys(ROWS);
    for (int c = 0; c < N_CODECS; c++) {
        flip_codec *codec = train(codecs[c], DIM, ROWS, x), *copy = NULL;
        uint8_t *bytes = NULL, *again = NULL;
        size_t n = 0, m = 0;
        assert_int_equal(flip_codec_to_bytes(codec, &bytes, &n), FLIP_OK);
        assert_int_equal(flip_codec_from_bytes(&copy, bytes, n), FLIP_OK);
        assert_int_equal(flip_codec_to_bytes(copy, &again, &m), FLIP_OK);
        assert_int_equal(n, m);
        assert_memory_equal(bytes, again, n);
        uint8_t *here = encode(codec, ROWS, x, key), *there = encode(copy, ROWS, x, key);
        assert_memory_equal(here, there, ROWS * flip_codec_stride(codec));
        float *a = decode(codec, ROWS, here, key), *b = decode(copy, ROWS, here, key);
        assert_memory_equal(a, b, (size_t)flip_codec_packing(codec)->dim * ROWS * sizeof *a);
        damage(bytes, n, x, key);
        flip_free(bytes);
        flip_free(again);
        flip_free(here);
        flip_free(there);
        flip_free(a);
        flip_free(b);
        flip_codec_destroy(&codec);
        flip_codec_destroy(&copy);
    }
    flip_free(x);
    flip_free(key);
}

/* Without its rotation a codec decodes as before and refuses to encode. */
static void rotation_dropped(void **state) {
    (void)state;
    float *x = draw_rows(ROWS, DIM, 1);
    flip_codec *codec = train("klt:2", DIM, ROWS, x), *copy = NULL;
    uint8_t *codes = encode(codec, ROWS, x, NULL), *bytes = NULL;
    float *a = decode(codec, ROWS, codes, NULL);
    size_t n = 0, before = flip_codec_table_bytes(codec);
    flip_codec_drop_rotation(codec);
    size_t halves = 2 * DIM * (size_t)flip_codec_packing(codec)->dim;
    assert_int_equal(flip_codec_table_bytes(codec) + 4 + halves, before);
    assert_int_equal(flip_codec_to_bytes(codec, &bytes, &n), FLIP_OK);
    assert_int_equal(flip_codec_from_bytes(&copy, bytes, n), FLIP_OK);
    float *b = decode(copy, ROWS, codes, NULL);
    assert_memory_equal(a, b, (size_t)flip_codec_packing(codec)->dim * ROWS * sizeof *a);
    assert_int_equal(flip_codec_encode(copy, ROWS, x, NULL, codes), FLIP_ERROR_USAGE);
    flip_error_clear();
    flip_free(x);
    flip_free(codes);
    flip_free(bytes);
    flip_free(a);
    flip_free(b);
    flip_codec_destroy(&codec);
    flip_codec_destroy(&copy);
}

/* ---- refusals -------------------------------------------------------------------------------
 */

static void names(void **state) {
    (void)state;
    static const char *const bad[] = {"",       "lloyd",      "lloyd:3",   "lloyd:4:column",
                                      "pq:16",  "pq:0x16",    "pq:4x1",    "pq:4x65537",
                                      "klt:",   "klt:nan",    "klt:9",     "sparse:0",
                                      "fp32:1", "uniform:44", "bifeat:16", "bifeat-hack:2",
                                      "loyd:4", "klt:-1",     "sparse:3:4"};
    for (int c = 0; c < N_CODECS; c++)
        assert_int_equal(flip_codec_check_name(codecs[c]), FLIP_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(flip_codec_check_name(bad[i]), FLIP_ERROR_USAGE);
        if (strcmp(bad[i], "loyd:4") == 0) assert_non_null(strstr(flip_error_message(), "'lloyd'"));
        flip_error_clear();
    }
}

static void expect_refusal(flip_status status, const char *words) {
    assert_true(status == FLIP_ERROR_INPUT || status == FLIP_ERROR_USAGE);
    if (!strstr(flip_error_message(), words)) print_message("%s\n", flip_error_message());
    assert_non_null(strstr(flip_error_message(), words));
    flip_error_clear();
}

static void refusals(void **state) {
    (void)state;
    float *x = draw_rows(ROWS, DIM, 1);
    flip_codec *codec = NULL;
    uint8_t codes[ROWS * 64] = {0};
    expect_refusal(flip_codec_train(&codec, "pq:22x16", DIM, ROWS, x, 1, NULL, NULL), "22 columns");
    expect_refusal(flip_codec_train(&codec, "pq:8x1024", DIM, ROWS, x, 1, NULL, NULL),
                   "1024 entries from 600 rows");
    expect_refusal(flip_codec_train(&codec, "lloyd:4", DIM, 0, x, 1, NULL, NULL), "no row");
    expect_refusal(flip_codec_train(&codec, "klt:0.1", DIM, ROWS, x, 1, NULL, NULL),
                   "a byte a row");
    expect_refusal(flip_codec_train(&codec, "near:1", DIM, ROWS, x, 1, NULL, NULL),
                   "neighbours' means");
    codec = train("lloyd:4", DIM, ROWS, x);
    x[5 * DIM + 3] = NAN;
    expect_refusal(flip_codec_encode(codec, ROWS, x, NULL, codes), "row 5, column 3");
    flip_codec_destroy(&codec);
    expect_refusal(flip_codec_train(&codec, "lloyd:4", DIM, ROWS, x, 1, NULL, NULL), "cannot hold");
    x[5 * DIM + 3] = 1;
    codec = train("sparse:2:32", DIM, ROWS, x);
    expect_refusal(flip_codec_encode(codec, ROWS, x, NULL, codes), "row 0, column 3");
    flip_codec_destroy(&codec);
    codec = train("pq:4x11", DIM, ROWS, x);
    memset(codes, 0, sizeof codes);
    codes[7 * flip_codec_stride(codec) + 1] = 0xb0; /* block 3: entry 11 of 11 */
    expect_refusal(flip_codec_check_codes(codec, ROWS, codes, 1000), "row 1007");
    codes[7 * flip_codec_stride(codec) + 1] = 0xa0;
    assert_int_equal(flip_codec_check_codes(codec, ROWS, codes, 0), FLIP_OK);
    flip_codec_destroy(&codec);
    codec = train("lloyd:1", DIM, ROWS, x);
    memset(codes, 0, sizeof codes);
    codes[3 * flip_codec_stride(codec) + 2] = 0x20; /* bit 21 of 21 */
    expect_refusal(flip_codec_check_codes(codec, ROWS, codes, 0), "row 3");
    flip_codec_destroy(&codec);
    flip_free(x);
}

/* Columns that are all the same, one row, one column, zeros. */
static void odd_shapes(void **state) {
    (void)state;
    for (int c = 0; c < N_CODECS; c++) {
        if (strchr(codecs[c], 'x')) continue; /* entries need rows, blocks columns */
        for (int constant = 0; constant < 2; constant++) {
            int32_t dim = strcmp(codecs[c], "klt:0.4") == 0 ? 20 : constant ? 9 : 1;
            if (strncmp(codecs[c], "klt", 3) == 0 && dim == 1) continue;
            float *x = get(4 * (size_t)dim, sizeof *x);
            int64_t key[4] = {0, 1, 2, 3};
            for (int32_t i = 0; i < 4 * dim; i++)
                x[i] = constant ? 0.25f * (float)(i % dim) : (float)i;
            flip_codec *codec = train(codecs[c], dim, 4, x);
            uint8_t *codes = encode(codec, 4, x, key);
            float *back = decode(codec, 4, codes, key);
            for (int32_t i = 0; i < 4 * flip_codec_packing(codec)->dim; i++)
                assert_true(isfinite(back[i]));
            for (int32_t i = 0; constant && strncmp(codecs[c], "lloyd", 5) == 0 && i < 4 * dim; i++)
                assert_true(back[i] == x[i]);
            flip_free(x);
            flip_free(codes);
            flip_free(back);
            flip_codec_destroy(&codec);
        }
    }
}

/* ---- distortion -----------------------------------------------------------------------------
 * Gaussian rows of 128 columns whose principal axes have deviations i^-0.7, turned at random. */

enum { BIG = 128, LEARN = 10000, HELD = 2000 };

static float *gaussian(void) {
    double *q = get(BIG * BIG, sizeof *q);
    float *x = get((LEARN + HELD) * BIG, sizeof *x);
    for (int i = 0; i < BIG; i++) {
        double *a = q + i * BIG, norm = 0;
        for (int j = 0; j < BIG; j++)
            a[j] = normal(2, (uint64_t)(i * BIG + j));
        for (int k = 0; k < i; k++) {
            double along = 0;
            for (int j = 0; j < BIG; j++)
                along += a[j] * q[k * BIG + j];
            for (int j = 0; j < BIG; j++)
                a[j] -= along * q[k * BIG + j];
        }
        for (int j = 0; j < BIG; j++)
            norm += a[j] * a[j];
        for (int j = 0; j < BIG; j++)
            a[j] /= sqrt(norm);
    }
    for (int64_t i = 0; i < LEARN + HELD; i++) {
        double row[BIG] = {0};
        for (int k = 0; k < BIG; k++) {
            double z = pow(k + 1, -0.7) * normal(3, (uint64_t)(i * BIG + k));
            for (int j = 0; j < BIG; j++)
                row[j] += z * q[k * BIG + j];
        }
        for (int j = 0; j < BIG; j++)
            x[i * BIG + j] = (float)row[j];
    }
    flip_free(q);
    return x;
}

/* Squared error in the original columns over the squared size, on rows not learned from. */
static double distortion(const char *name, const float *x, size_t stride) {
    const float *held = x + LEARN * BIG;
    int64_t *key = draw_keys(HELD);
    flip_codec *codec = train(name, BIG, LEARN, x);
    assert_true(flip_codec_stride(codec) <= stride);
    uint8_t *codes = encode(codec, HELD, held, key);
    float *y = decode(codec, HELD, codes, key);
    const float *r = flip_codec_rotation(codec, NULL);
    int32_t dim = flip_codec_packing(codec)->dim;
    double error = 0, size = 0;
    for (int64_t i = 0; i < HELD; i++)
        for (int j = 0; j < BIG; j++) {
            double sum = r ? 0 : (double)y[i * dim + j], want = (double)held[i * BIG + j];
            for (int32_t k = 0; r && k < dim; k++)
                sum += (double)r[k * BIG + j] * (double)y[i * dim + k];
            error += (sum - want) * (sum - want);
            size += want * want;
        }
    print_message("# %-16s %3zu bytes a row, tables %6zu: %.5f\n", name, flip_codec_stride(codec),
                  flip_codec_table_bytes(codec), error / size);
    flip_free(key);
    flip_free(codes);
    flip_free(y);
    flip_codec_destroy(&codec);
    return error / size;
}

static void distortions(void **state) {
    (void)state;
    static const struct {
        const char *bifeat, *ours[2];
        size_t stride;
        double share;
    } bars[] = {{"bifeat:1", {"klt:1", NULL}, 16, 0.5},
                {"bifeat:2", {"lloyd:2", "klt:2"}, 32, 0.5},
                {"bifeat:4", {"lloyd:4:shared", "uniform:4:column"}, 64, 0.5},
                {"bifeat:8", {"lloyd:8", "uniform:8:column"}, 128, 0.5},
                {"bifeat-vq:16x256", {"klt:0.5", "opq:16x256"}, 8, 0.55}};
    float *x = gaussian();
    for (size_t i = 0; i < sizeof bars / sizeof *bars; i++) {
        double theirs = distortion(bars[i].bifeat, x, bars[i].stride);
        for (int k = 0; k < 2 && bars[i].ours[k]; k++)
            assert_true(distortion(bars[i].ours[k], x, bars[i].stride) <= bars[i].share * theirs);
    }
    flip_free(x);
}

/* Subtractive dither: errors of equal rows are independent, so their mean shrinks with the rows;
 * without dither it stays. */
static void dither_averages_out(void **state) {
    (void)state;
    enum { ALIKE = 400 };
    float *x = draw_rows(ROWS, DIM, 1), *same = get(ALIKE * DIM, sizeof *same);
    int64_t *key = draw_keys(ALIKE);
    double error[2] = {0, 0};
    for (int64_t i = 0; i < ALIKE * DIM; i++)
        same[i] = 0.1f + 0.02f * (float)(i % DIM);
    for (int t = 0; t < 2; t++) {
        flip_codec *codec = train(t ? "dither:2" : "uniform:2:column", DIM, ROWS, x);
        uint8_t *codes = encode(codec, ALIKE, same, key);
        float *back = decode(codec, ALIKE, codes, key);
        for (int32_t j = 0; j < DIM; j++) {
            double mean = 0;
            for (int64_t i = 0; i < ALIKE; i++)
                mean += ((double)back[i * DIM + j] - (double)same[j]) / ALIKE;
            error[t] += mean * mean;
        }
        flip_free(codes);
        flip_free(back);
        flip_codec_destroy(&codec);
    }
    assert_true(error[1] < 0.05 * error[0]);
    flip_free(x);
    flip_free(same);
    flip_free(key);
}

/* Column 5 is what a row and its neighbours' mean have in common, with a hundredth of the others'
 * variance: near keeps it in a byte a row, least squared error does not. */
static void shared_axis(void **state) {
    (void)state;
    enum { N = 4000, WIDE = 12, COMMON = 5 };
    float *x = get(N * WIDE, sizeof *x), *beside = get(N * WIDE, sizeof *beside);
    flip_codec *both[2] = {NULL};
    double strength = 0, kept[2] = {0};
    for (uint64_t i = 0; i < N; i++)
        for (uint64_t j = 0; j < WIDE; j++) {
            float own = (float)normal(77, 2 * (i * WIDE + j));
            float theirs = (float)normal(77, 2 * (i * WIDE + j) + 1);
            x[i * WIDE + j] = j == COMMON ? own / 10 : own;
            beside[i * WIDE + j] = j == COMMON ? (own + theirs) / 10 : theirs;
        }
    assert_int_equal(
        flip_codec_train_near(&both[0], &strength, "near:0.7", WIDE, N, x, beside, NULL, NULL),
        FLIP_OK);
    both[1] = train("klt:0.7", WIDE, N, x);
    for (int c = 0; c < 2; c++) {
        int32_t dim_in, dim = flip_codec_packing(both[c])->dim;
        const float *r = flip_codec_rotation(both[c], &dim_in);
        for (int32_t j = 0; j < dim; j++)
            kept[c] += (double)r[j * WIDE + COMMON] * (double)r[j * WIDE + COMMON];
        flip_codec_destroy(&both[c]);
    }
    assert_true(kept[0] > 0.9 && kept[1] < 0.5);
    assert_true(strength > 0.9 && strength < 1.1); /* cov(x, b) / var(x) of the column */
    flip_free(x);
    flip_free(beside);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(bounds),
        cmocka_unit_test(same_bits),
        cmocka_unit_test(bytes_there_and_back),
        cmocka_unit_test(rotation_dropped),
        cmocka_unit_test(refusals),
        cmocka_unit_test(odd_shapes),
        cmocka_unit_test(dither_averages_out),
        cmocka_unit_test(shared_axis),
        cmocka_unit_test(distortions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
