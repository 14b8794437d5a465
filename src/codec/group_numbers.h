/* The numbers of groups.h, on the CPU and on a device: bfloat16 and the draw of a value. */
#ifndef FLIPBOOK_CODEC_GROUP_NUMBERS_H
#define FLIPBOOK_CODEC_GROUP_NUMBERS_H

#include "base/either.h"

#include <stdint.h>
#include <string.h>

FLIP_EITHER float flip_brief_wide(uint16_t brief) {
    const uint32_t u = (uint32_t)brief << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* To bfloat16 towards minus infinity. NaN stays NaN. */
FLIP_EITHER uint16_t flip_brief_below(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if (x != x) return 0x7fc0;
    return (uint16_t)((u >> 16) + ((u & 0xffff) != 0 && u >> 31));
}

FLIP_EITHER uint16_t flip_brief_above(float x) {
    return (uint16_t)(flip_brief_below(-x) ^ 0x8000);
}

FLIP_EITHER uint16_t flip_brief_nearest(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)(x != x ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* An integer hash, one a value (lowbias32 of C. Wellons' prospecting). */
FLIP_EITHER uint32_t flip_group_mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* Of all groups of a call; of group g; of value i of it, in [0, 1). */
typedef struct flip_group_keys {
    uint32_t base, above;
} flip_group_keys;

FLIP_EITHER flip_group_keys flip_group_keys_of(uint64_t key) {
    flip_group_keys k;
    k.above = flip_group_mix((uint32_t)(key >> 32) ^ 0x5bd1e995u);
    k.base = flip_group_mix((uint32_t)key ^ k.above);
    return k;
}

FLIP_EITHER uint32_t flip_group_key(flip_group_keys k, int64_t g) {
    return flip_group_mix(k.base + (uint32_t)g) ^ flip_group_mix(k.above + (uint32_t)(g >> 32));
}

FLIP_EITHER float flip_group_draw(uint32_t group_key, uint32_t i) {
    return (float)(flip_group_mix(group_key + i * 0x9e3779b9u) >> 8) * 0x1p-24f;
}

#endif
