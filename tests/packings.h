/* Packed rows made by hand: every packing of codec.h with drawn tables and codes, and what they
 * mean, written down here a second time. */
#ifndef FLIPBOOK_TESTS_PACKINGS_H
#define FLIPBOOK_TESTS_PACKINGS_H

#include "kernels_check.h"

typedef struct packing_case {
    const char *name;
    flip_packing_kind kind;
    int bits;
    enum { LEVELS_AFFINE, LEVELS_SHARED, LEVELS_COLUMN } levels;
    bool moved; /* offset and scale */
    bool dither;
    int width, length;
    bool whole; /* levels 0 … 127, codebooks -128 … 127 */
} packing_case;

static const packing_case packing_cases[] = {
    {"fp32", FLIP_PACKING_FLOAT, 32, 0, false, false, 0, 0, false},
    {"fp16", FLIP_PACKING_HALF, 16, 0, false, false, 0, 0, false},
    {"fp16 moved", FLIP_PACKING_HALF, 16, 0, true, false, 0, 0, false},
    {"bf16", FLIP_PACKING_BFLOAT, 16, 0, false, false, 0, 0, false},
    {"affine:1", FLIP_PACKING_SCALAR, 1, LEVELS_AFFINE, true, false, 0, 0, false},
    {"affine:2", FLIP_PACKING_SCALAR, 2, LEVELS_AFFINE, true, false, 0, 0, false},
    {"affine:4", FLIP_PACKING_SCALAR, 4, LEVELS_AFFINE, true, false, 0, 0, false},
    {"affine:8", FLIP_PACKING_SCALAR, 8, LEVELS_AFFINE, true, false, 0, 0, false},
    {"affine:16", FLIP_PACKING_SCALAR, 16, LEVELS_AFFINE, true, false, 0, 0, false},
    {"affine:8 bare", FLIP_PACKING_SCALAR, 8, LEVELS_AFFINE, false, false, 0, 0, false},
    {"shared:1", FLIP_PACKING_SCALAR, 1, LEVELS_SHARED, true, false, 0, 0, false},
    {"shared:1 bare", FLIP_PACKING_SCALAR, 1, LEVELS_SHARED, false, false, 0, 0, false},
    {"shared:2", FLIP_PACKING_SCALAR, 2, LEVELS_SHARED, true, false, 0, 0, false},
    {"shared:4", FLIP_PACKING_SCALAR, 4, LEVELS_SHARED, true, false, 0, 0, false},
    {"shared:4 bare", FLIP_PACKING_SCALAR, 4, LEVELS_SHARED, false, false, 0, 0, false},
    {"shared:8", FLIP_PACKING_SCALAR, 8, LEVELS_SHARED, true, false, 0, 0, false},
    {"shared:16", FLIP_PACKING_SCALAR, 16, LEVELS_SHARED, true, false, 0, 0, false},
    {"column:1", FLIP_PACKING_SCALAR, 1, LEVELS_COLUMN, false, false, 0, 0, false},
    {"column:2", FLIP_PACKING_SCALAR, 2, LEVELS_COLUMN, false, false, 0, 0, false},
    {"column:4", FLIP_PACKING_SCALAR, 4, LEVELS_COLUMN, true, false, 0, 0, false},
    {"column:8", FLIP_PACKING_SCALAR, 8, LEVELS_COLUMN, false, false, 0, 0, false},
    {"dither:1", FLIP_PACKING_SCALAR, 1, LEVELS_AFFINE, true, true, 0, 0, false},
    {"dither:2", FLIP_PACKING_SCALAR, 2, LEVELS_AFFINE, true, true, 0, 0, false},
    {"dither:4", FLIP_PACKING_SCALAR, 4, LEVELS_AFFINE, true, true, 0, 0, false},
    {"dither:8", FLIP_PACKING_SCALAR, 8, LEVELS_AFFINE, true, true, 0, 0, false},
    {"pq:16x256", FLIP_PACKING_PRODUCT, 8, 0, false, false, 16, 256, false},
    {"pq:16x256 moved", FLIP_PACKING_PRODUCT, 8, 0, true, false, 16, 256, false},
    {"pq:16x2048", FLIP_PACKING_PRODUCT, 16, 0, false, false, 16, 2048, false},
    {"pq:16x16", FLIP_PACKING_PRODUCT, 4, 0, false, false, 16, 16, false},
    {"pq:32x256", FLIP_PACKING_PRODUCT, 8, 0, false, false, 32, 256, false},
    {"pq:8x256", FLIP_PACKING_PRODUCT, 8, 0, false, false, 8, 256, false},
    {"pq:4x16", FLIP_PACKING_PRODUCT, 4, 0, false, false, 4, 16, false},
    {"pq:5x32", FLIP_PACKING_PRODUCT, 8, 0, false, false, 5, 32, false},
    {"pq:1x9", FLIP_PACKING_PRODUCT, 4, 0, false, false, 1, 9, false},
    {"shared:4 whole", FLIP_PACKING_SCALAR, 4, LEVELS_SHARED, true, false, 0, 0, true},
    {"shared:4 whole, bare", FLIP_PACKING_SCALAR, 4, LEVELS_SHARED, false, false, 0, 0, true},
    {"pq:16x256 whole", FLIP_PACKING_PRODUCT, 8, 0, true, false, 16, 256, true},
    {"pq:16x100 whole, bare", FLIP_PACKING_PRODUCT, 8, 0, false, false, 16, 100, true},
    {"mixed", FLIP_PACKING_MIXED, 0, LEVELS_SHARED, true, false, 0, 0, false},
    {"sparse ones", FLIP_PACKING_SPARSE, 0, 0, false, false, 0, 5, false},
    {"sparse levels", FLIP_PACKING_SPARSE, 8, LEVELS_SHARED, false, false, 0, 5, false},
    {"sparse floats", FLIP_PACKING_SPARSE, 32, 0, false, false, 0, 9, false},
};
enum { N_PACKINGS = sizeof packing_cases / sizeof *packing_cases };

typedef struct packed {
    flip_packing packing;
    int64_t n;
    uint8_t *codes;
    int64_t *key;
    double *value; /* [n, dim] what the codes mean */
    double size;   /* the largest of them, at least 1 */
    float *offset, *scale, *level, *codebook;
    int8_t *codebook8;
} packed;

static inline float *floats(int64_t n, uint64_t seed) {
    float *x = get((size_t)n + 1, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(2 * flip_random_uniform(seed, FLIP_STREAM_TEST, 2, (uint64_t)i) - 1);
    return x;
}

/* `bits` bits at bit place `at`, little-endian. */
static inline void put_bits(uint8_t *row, int64_t at, int bits, uint32_t code) {
    for (int b = 0; b < bits; b++)
        if (code >> b & 1) row[(at + b) / 8] |= (uint8_t)(1 << (at + b) % 8);
}

/* What a 16-bit float means, from its parts. */
static inline double half_value(uint32_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h >> 15 ? -size : size;
}

static inline void draw_number(packed *s, const packing_case *c, int64_t i, int32_t j) {
    uint8_t *row = s->codes + i * (int64_t)s->packing.stride;
    uint32_t bits = (uint32_t)chance(31, 1, (uint64_t)(i * 5000 + j), 1 << 16);
    double value;
    if (c->kind == FLIP_PACKING_FLOAT) {
        float f = (float)bits * 1e-5f - 0.3f;
        memcpy(&bits, &f, sizeof f);
        put_bits(row, (int64_t)j * 32, 32, bits);
        value = (double)f;
    } else if (c->kind == FLIP_PACKING_HALF) {
        if ((bits >> 10 & 31) > 15) bits &= 0x83ffu; /* finite and at most 1; some subnormal */
        put_bits(row, (int64_t)j * 16, 16, bits);
        value = half_value(bits);
    } else {
        bits = (bits & 0x81ffu) | 0x3c00u;
        put_bits(row, (int64_t)j * 16, 16, bits);
        value = ldexp(128 + (bits & 127), (int)(bits >> 7 & 255) - 127 - 7);
        if (bits >> 15) value = -value;
    }
    s->value[i * s->packing.dim + j] = value;
}

static inline void draw_scalar(packed *s, const packing_case *c, int64_t i, int32_t j) {
    uint32_t code = (uint32_t)chance(31, 2, (uint64_t)(i * 5000 + j), (uint64_t)1 << c->bits);
    put_bits(s->codes + i * (int64_t)s->packing.stride, (int64_t)j * c->bits, c->bits, code);
    double value = c->levels == LEVELS_AFFINE   ? code + 0.5
                   : c->levels == LEVELS_SHARED ? (double)s->level[code]
                                                : (double)s->level[((int64_t)j << c->bits) + code];
    if (c->dither) value -= (double)flip_dither(s->packing.dither_seed, s->key[i], j) - 0.5;
    s->value[i * s->packing.dim + j] = value;
}

/* Columns of 8, 4, 2 and 1 bits: a fifth, a third, a fifth and the rest of them. */
static inline void draw_mixed(packed *s, int64_t i) {
    static const int bits[] = {8, 4, 2, 1}, table[] = {0, 256, 272, 276};
    int64_t at = i * (int64_t)s->packing.stride * 8;
    for (int32_t g = 0, j = 0; g < 4; g++, at = (at + 7) / 8 * 8)
        for (int32_t c = 0; c < s->packing.mixed[g]; c++, j++, at += bits[g]) {
            uint32_t code =
                (uint32_t)chance(31, 2, (uint64_t)(i * 5000 + j), (uint64_t)1 << bits[g]);
            put_bits(s->codes, at, bits[g], code);
            s->value[i * s->packing.dim + j] = (double)s->level[table[g] + (int)code];
        }
}

static inline void draw_product(packed *s, const packing_case *c, int64_t i, int32_t b) {
    uint32_t code = (uint32_t)chance(31, 3, (uint64_t)(i * 5000 + b), (uint64_t)c->length);
    put_bits(s->codes + i * (int64_t)s->packing.stride, (int64_t)b * c->bits, c->bits, code);
    for (int32_t j = b * c->width; j < (b + 1) * c->width && j < s->packing.dim; j++)
        s->value[i * s->packing.dim + j] =
            (double)s->codebook[((int64_t)b * c->length + code) * c->width + j % c->width];
}

static inline void draw_nonzeros(packed *s, const packing_case *c, int64_t i) {
    uint8_t *row = s->codes + i * (int64_t)s->packing.stride;
    int32_t j = -1;
    for (int32_t k = 0; k < c->length; k++) {
        uint64_t at = (uint64_t)(i * 16 + k);
        j += 1 + (int32_t)chance(31, 4, at, (uint64_t)s->packing.dim / 3 + 1);
        bool used = j < s->packing.dim;
        put_bits(row, k * 16, 16, used ? (uint32_t)j : 65535);
        if (!used) continue;
        uint32_t bits = (uint32_t)chance(31, 5, at, 256);
        double value = c->bits == 8 ? (double)s->level[bits] : 1;
        if (c->bits == 32) {
            float f = (float)bits - 100;
            memcpy(&bits, &f, sizeof f);
            value = (double)f;
        }
        put_bits(row, c->length * 16 + (int64_t)k * c->bits, c->bits, bits);
        s->value[i * s->packing.dim + j] = value;
    }
}

static inline void draw_tables(packed *s, const packing_case *c, int32_t dim) {
    flip_packing *p = &s->packing;
    int64_t levels = c->bits <= 16 ? (int64_t)1 << c->bits : 0;
    if (c->moved) {
        p->offset = s->offset = floats(dim, 41);
        p->scale = s->scale = floats(dim, 42);
        for (int32_t j = 0; j < dim && c->levels == LEVELS_AFFINE && levels; j++)
            s->scale[j] /= c->kind == FLIP_PACKING_SCALAR ? (float)levels : 1;
    }
    if (c->kind == FLIP_PACKING_MIXED) {
        int32_t shares[4] = {dim / 5, dim / 3, dim / 5, 0};
        shares[3] = dim - shares[0] - shares[1] - shares[2];
        memcpy(p->mixed, shares, sizeof shares);
        levels = FLIP_MIXED_LEVELS;
    }
    if (c->levels == LEVELS_SHARED) p->level = s->level = floats(levels, 43);
    for (int64_t i = 0; i < levels && s->level && c->whole; i++)
        s->level[i] = (float)(i == 0 ? 127 : chance(31, 6, (uint64_t)i, 128));
    if (c->levels == LEVELS_COLUMN) p->level = s->level = floats(levels * dim, 44);
    p->column_levels = c->levels == LEVELS_COLUMN;
    p->dither = c->dither;
    p->dither_seed = 99;
    p->length = c->length;
    if (c->kind != FLIP_PACKING_PRODUCT) return;
    p->width = c->width;
    p->blocks = (dim + c->width - 1) / c->width;
    int64_t entries = (int64_t)p->blocks * c->length * c->width;
    p->codebook = s->codebook = floats(entries, 45);
    if (!c->whole) return;
    p->codebook8 = s->codebook8 = get((size_t)entries, 1);
    for (int64_t i = 0; i < entries; i++) {
        s->codebook8[i] = (int8_t)((int)chance(31, 7, (uint64_t)i, 256) - 128);
        s->codebook[i] = s->codebook8[i];
    }
}

/* n rows of `dim` columns. */
static inline void packed_draw(packed *s, const packing_case *c, int64_t n, int32_t dim) {
    memset(s, 0, sizeof *s);
    s->n = n;
    s->packing = (flip_packing){.kind = c->kind, .dim = dim, .bits = c->bits};
    draw_tables(s, c, dim);
    int64_t items = c->kind == FLIP_PACKING_PRODUCT ? s->packing.blocks : dim;
    s->packing.stride = c->kind == FLIP_PACKING_SPARSE ? (size_t)(c->length * (16 + c->bits) / 8)
                                                       : (size_t)(items * c->bits + 7) / 8;
    const int32_t *mixed = s->packing.mixed;
    if (c->kind == FLIP_PACKING_MIXED)
        s->packing.stride =
            (size_t)(mixed[0] + (mixed[1] + 1) / 2 + (mixed[2] + 3) / 4 + (mixed[3] + 7) / 8);
    /* exactly so many bytes, so that the sanitizer sees a read behind the last row */
    s->codes = get((size_t)n * s->packing.stride, 1);
    s->key = get((size_t)n + 1, sizeof *s->key);
    s->value = get((size_t)(n * dim) + 1, sizeof *s->value);
    for (int64_t i = 0; i < n; i++) {
        s->key[i] = i * 7 + 3;
        if (c->kind == FLIP_PACKING_SPARSE) draw_nonzeros(s, c, i);
        if (c->kind == FLIP_PACKING_MIXED) draw_mixed(s, i);
        bool each = c->kind != FLIP_PACKING_SPARSE && c->kind != FLIP_PACKING_MIXED;
        for (int32_t j = 0; j < items && each; j++)
            if (c->kind == FLIP_PACKING_SCALAR)
                draw_scalar(s, c, i, j);
            else if (c->kind == FLIP_PACKING_PRODUCT)
                draw_product(s, c, i, j);
            else
                draw_number(s, c, i, j);
        for (int32_t j = 0; j < dim && c->moved; j++)
            s->value[i * dim + j] =
                (double)s->offset[j] + (double)s->scale[j] * s->value[i * dim + j];
    }
    s->size = 1;
    for (int64_t i = 0; i < n * dim; i++)
        s->size = fmax(s->size, fabs(s->value[i]));
}

static inline void packed_free(packed *s) {
    RELEASE(s->codes, s->key, s->value, s->offset, s->scale, s->level, s->codebook, s->codebook8);
}

#endif
