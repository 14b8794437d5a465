/* The draws of groups.h, and its choice of levels, on the CPU and on a device. */
#ifndef FLIPBOOK_CODEC_GROUP_NUMBERS_H
#define FLIPBOOK_CODEC_GROUP_NUMBERS_H

#include "codec/groups.h"

#include <flipbook/codec.h>

#include <math.h>

/* Of all groups of a call; of group g; of value i of it, in [0, 1). */
typedef struct flip_group_keys {
    uint32_t base, above;
} flip_group_keys;

FLIP_EITHER flip_group_keys flip_group_keys_of(uint64_t key) {
    flip_group_keys k;
    k.above = flip_dither_mix((uint32_t)(key >> 32) ^ 0x5bd1e995u);
    k.base = flip_dither_mix((uint32_t)key ^ k.above);
    return k;
}

FLIP_EITHER uint32_t flip_group_key(flip_group_keys k, int64_t g) {
    return flip_dither_mix(k.base + (uint32_t)g) ^ flip_dither_mix(k.above + (uint32_t)(g >> 32));
}

FLIP_EITHER float flip_group_draw(uint32_t group_key, uint32_t i) {
    return (float)(flip_dither_mix(group_key + i * 0x9e3779b9u) >> 8) * 0x1p-24f;
}

/* ---- the head of a group of n values ---- */

FLIP_EITHER int32_t flip_group_quarters(int64_t n) {
    return n < FLIP_GROUP ? (int32_t)(n + FLIP_QUARTER - 1) / FLIP_QUARTER
                          : FLIP_GROUP / FLIP_QUARTER;
}

/* Bytes before its codes: low and high; in 2 bits a top for each quarter and the levels. */
FLIP_EITHER int32_t flip_group_head(int64_t n, int32_t bits) {
    return bits == 2 ? 5 + flip_group_quarters(n) : 4;
}

/* ---- levels of 2 bits: places are sixteenths of a quarter's range ---- */

enum { FLIP_PLACES = 16, FLIP_TOPS = 255 };

/* What a quarter's range is, in FLIP_TOPS-ths of the group's; up counts these. */
FLIP_EITHER int32_t flip_quarter_top(float high, float from, float up) {
    const float top = ceilf((high - from) * up);
    return top < FLIP_TOPS ? (int32_t)top : FLIP_TOPS;
}

/* (x - from) * up * this is a value's place in a quarter; product by product, since up times this
 * can be more than a float where a quarter's range is below 1e-35. */
FLIP_EITHER float flip_quarter_stretch(int32_t top) {
    return top > 0 ? (float)FLIP_PLACES / (float)top : 0;
}

/* A place's position in 256ths of the range, and which of the sixteenths that is in. */
FLIP_EITHER uint32_t flip_place_position(float place) {
    const float at = place * 16 + 0.5f;
    return at < 256 ? (uint32_t)(int32_t)at : 256;
}

FLIP_EITHER uint32_t flip_position_place(uint32_t position) {
    return position < 256 ? position / 16 : FLIP_PLACES - 1;
}

/* Values between places a and b, of which n and the sum of positions are known, each times its
 * quarter's top squared: their expected squared error between these two levels and the sum of the
 * squares of the positions, which no choice of levels changes: with A = 16 a and B = 16 b,
 * sum (B - q)(q - A) = (A + B) sum q - A B n - sum q^2. Of a group below 2^47. */
FLIP_EITHER uint64_t flip_level_error(uint32_t a, uint32_t b, uint64_t n, uint64_t sum) {
    return 16 * (a + b) * sum - 256 * a * b * n;
}

/* The choice is the least of these: the least error, then the least b, then the least a. */
FLIP_EITHER uint64_t flip_level_choice(uint64_t error, uint32_t a, uint32_t b) {
    return error << 8 | a | b << 4;
}

FLIP_EITHER float flip_level_place(int32_t code, int32_t inner) {
    return (float)(code == 0 ? 0 : code == 1 ? inner & 15 : code == 2 ? inner >> 4 : FLIP_PLACES);
}

/* The code of a value at a place, with inner levels at a < b; draw: flip_group_draw. */
FLIP_EITHER int32_t flip_level_code(float place, float a, float b, float draw) {
    const float from = place >= b ? b : place >= a ? a : 0;
    const float to = place >= b ? (float)FLIP_PLACES : place >= a ? b : a;
    return (place >= a) + (place >= b) + ((to - from) * draw < place - from);
}

#endif
