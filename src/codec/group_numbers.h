/* The draws of groups.h, on the CPU and on a device. */
#ifndef FLIPBOOK_CODEC_GROUP_NUMBERS_H
#define FLIPBOOK_CODEC_GROUP_NUMBERS_H

#include <flipbook/codec.h>

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

#endif
