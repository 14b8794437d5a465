/* The bits of floats, and bfloat16, on the CPU and on a device. */
#ifndef FLIPBOOK_BASE_FLOATS_H
#define FLIPBOOK_BASE_FLOATS_H

#include <flipbook/base.h>

#include <string.h>

FLIP_EITHER uint32_t flip_float_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

FLIP_EITHER float flip_bits_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

FLIP_EITHER float flip_brief_wide(uint16_t brief) {
    return flip_bits_float((uint32_t)brief << 16);
}

/* To bfloat16 towards minus infinity. NaN stays NaN. */
FLIP_EITHER uint16_t flip_brief_below(float x) {
    const uint32_t u = flip_float_bits(x);
    if (x != x) return 0x7fc0;
    return (uint16_t)((u >> 16) + ((u & 0xffff) != 0 && u >> 31));
}

FLIP_EITHER uint16_t flip_brief_above(float x) {
    return (uint16_t)(flip_brief_below(-x) ^ 0x8000);
}

/* … to the nearest, ties to even. */
FLIP_EITHER uint16_t flip_brief_nearest(float x) {
    const uint32_t u = flip_float_bits(x);
    return (uint16_t)(x != x ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#endif
