/* Packed rows read one by one: plain C, the definition. */
#include "base/floats.h"
#include "codec/internal.h"

/* ---- dither ----------------------------------------------------------------------------------
 */

/* Steele, Lea and Flood's splitmix64 finaliser on seed and key, folded to 32 bits. */
uint32_t flip_dither_row(uint64_t seed, int64_t key) {
    uint64_t x = seed + ((uint64_t)key + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(x ^ x >> 32);
}

float flip_dither(uint64_t seed, int64_t key, int32_t column) {
    uint32_t bits = flip_dither_mix(flip_dither_row(seed, key) + (uint32_t)column);
    return (float)(bits >> 8) * 0x1p-24f;
}

/* ---- numbers in bytes -------------------------------------------------------------------------
 */

static uint32_t little(const uint8_t *p, int bytes) {
    uint32_t x = 0;
    for (int b = 0; b < bytes; b++)
        x |= (uint32_t)p[b] << (8 * b);
    return x;
}

/* The code of column (or block) j. */
static uint32_t code_at(const uint8_t *row, int bits, int64_t j) {
    if (bits >= 8) return little(row + j * (bits / 8), bits / 8);
    return (uint32_t)row[j * bits / 8] >> (j * bits % 8) & ((1u << bits) - 1);
}

/* ---- groups of a MIXED packing ---------------------------------------------------------------
 */

bool flip_packing_part(const flip_packing *p, int32_t i, flip_packing *part, int32_t *first_column,
                       size_t *first_byte) {
    const float *level = p->level;
    int32_t column = 0;
    size_t byte = 0;
    for (int32_t g = 0; g < i; g++) {
        column += p->mixed[g];
        byte += ((size_t)p->mixed[g] * (size_t)(8 >> g) + 7) / 8;
        level += (size_t)1 << (8 >> g);
    }
    *first_column = column;
    *first_byte = byte;
    *part = (flip_packing){.kind = FLIP_PACKING_SCALAR,
                           .dim = p->mixed[i],
                           .stride = p->stride,
                           .bits = 8 >> i,
                           .offset = p->offset ? p->offset + column : NULL,
                           .scale = p->scale ? p->scale + column : NULL,
                           .level = level};
    return p->mixed[i] > 0;
}

/* ---- rows -------------------------------------------------------------------------------------
 */

static float level_at(const flip_packing *p, const uint8_t *row, int64_t key, int32_t j) {
    uint32_t code = code_at(row, p->bits, j);
    float u = p->dither ? flip_dither(p->dither_seed, key, j) - 0.5f : 0;
    if (!p->level) return (float)code + 0.5f - u;
    return p->level[(p->column_levels ? (size_t)j << p->bits : 0) + code] - u;
}

static float mixed_at(const flip_packing *p, const uint8_t *row, int32_t j) {
    int32_t first = 0;
    size_t byte = 0;
    flip_packing part = {.dim = 0};
    for (int32_t i = 0; i < FLIP_MIXED_GROUPS; i++)
        if (flip_packing_part(p, i, &part, &first, &byte) && j < first + part.dim) break;
    return part.level[code_at(row + byte, part.bits, j - first)];
}

static float entry_at(const flip_packing *p, const uint8_t *row, int32_t j) {
    int32_t b = j / p->width;
    size_t entry = (size_t)b * (size_t)p->length + code_at(row, p->bits, b);
    return p->codebook[entry * (size_t)p->width + (size_t)(j % p->width)];
}

static float value_at(const flip_packing *p, const uint8_t *row, int64_t key, int32_t j) {
    switch (p->kind) {
    case FLIP_PACKING_FLOAT:
        return flip_bits_float(little(row + 4 * (size_t)j, 4));
    case FLIP_PACKING_HALF:
        return flip_half_value((uint16_t)little(row + 2 * (size_t)j, 2));
    case FLIP_PACKING_BFLOAT:
        return flip_brief_wide((uint16_t)little(row + 2 * (size_t)j, 2));
    case FLIP_PACKING_PRODUCT:
        return entry_at(p, row, j);
    case FLIP_PACKING_MIXED:
        return mixed_at(p, row, j);
    default:
        return level_at(p, row, key, j);
    }
}

static void unpack_sparse(const flip_packing *p, const uint8_t *row, int32_t first, int32_t n,
                          float *out) {
    int id_bytes = p->dim > 65535 ? 4 : 2;
    const uint8_t *values = row + (size_t)p->length * (size_t)id_bytes;
    memset(out, 0, (size_t)n * sizeof *out);
    for (int32_t i = 0; i < p->length; i++) {
        uint32_t j = little(row + (size_t)i * (size_t)id_bytes, id_bytes);
        if (j >= (uint32_t)(first + n)) break;
        if (j < (uint32_t)first) continue;
        out[j - (uint32_t)first] = p->bits == 0 ? 1
                                   : p->bits == 8
                                       ? p->level[values[i]]
                                       : flip_bits_float(little(values + 4 * (size_t)i, 4));
    }
}

void flip_unpack_columns(const flip_packing *p, const uint8_t *row, int64_t key, int32_t first,
                         int32_t n, float *out) {
    if (p->kind == FLIP_PACKING_SPARSE) {
        unpack_sparse(p, row, first, n, out);
        return;
    }
    for (int32_t j = first; j < first + n; j++)
        out[j - first] = (p->offset ? p->offset[j] : 0) +
                         (p->scale ? p->scale[j] : 1) * value_at(p, row, key, j);
}

void flip_unpack_row(const flip_packing *p, const uint8_t *row, int64_t key, float *out) {
    flip_unpack_columns(p, row, key, 0, p->dim, out);
}
