/* Halves, percentiles, sorting: small tools of the codecs. */
#include "base/floats.h"
#include "codec/internal.h"

/* ---- halves ---------------------------------------------------------------------------------
 * IEEE binary16: sign, 5 bits of exponent (bias 15), 10 of fraction. */

uint16_t flip_half_of(float x) {
    uint32_t u = flip_float_bits(x), sign = u >> 16 & 0x8000u;
    float size = fabsf(x);
    if (size != size) return (uint16_t)(sign | 0x7e00u);
    if (size > 65504) return (uint16_t)(sign | (isinf(x) ? 0x7c00u : 0x7bffu));
    if (size < 0x1p-14f) /* fractions of 2^-24; nearbyint ties to even */
        return (uint16_t)(sign | (uint32_t)nearbyintf(size * 0x1p24f));
    u = (u & 0x7fffffffu) + 0xfffu + (u >> 13 & 1); /* half a unit up, ties to even */
    return (uint16_t)(sign | ((u - (112u << 23)) >> 13));
}

float flip_half_value(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ffu;
    if (exponent == 31) return flip_bits_float(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return flip_bits_float(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return sign ? -small : small;
}

bool flip_half_exact(float x) {
    return flip_half_value(flip_half_of(x)) == x;
}

static bool group_fits(const float *x, size_t n) {
    double low = (double)x[0], high = (double)x[0], most = 0;
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, (double)x[i]);
        high = fmax(high, (double)x[i]);
        most = fmax(most, fabs((double)flip_half_value(flip_half_of(x[i])) - (double)x[i]));
    }
    return most <= 0x1p-11 * (high - low);
}

void flip_halves(float *table, size_t n, size_t group) {
    for (size_t i = 0; i < n; i += group)
        if (!group_fits(table + i, group < n - i ? group : n - i)) return;
    for (size_t i = 0; i < n; i++)
        table[i] = flip_half_value(flip_half_of(table[i]));
}

/* ---- percentiles ----------------------------------------------------------------------------
 * The bits of |x| ascend with |x|, so the k-th is found by counting the upper 16 bits, then the
 * lower. */

typedef struct column {
    const float *x;
    int64_t n, stride;
    double centre;
} column;

static uint32_t size_bits(const column *c, int64_t i) {
    return flip_float_bits(fabsf((float)((double)c->x[i * c->stride] - c->centre)));
}

static float kth(const column *c, int64_t k) {
    static _Thread_local int64_t count[65536];
    uint32_t high = 0, low = 0;
    memset(count, 0, sizeof count);
    for (int64_t i = 0; i < c->n; i++)
        count[size_bits(c, i) >> 16]++;
    while (k >= count[high])
        k -= count[high++];
    memset(count, 0, sizeof count);
    for (int64_t i = 0; i < c->n; i++)
        if (size_bits(c, i) >> 16 == high) count[size_bits(c, i) & 0xffff]++;
    while (k >= count[low])
        k -= count[low++];
    return flip_bits_float(high << 16 | low);
}

double flip_percentile_column(const float *x, int64_t n, int64_t stride, double centre, double p) {
    const column c = {.x = x, .n = n, .stride = stride, .centre = centre};
    double position = p / 100 * (double)(n - 1);
    int64_t below = (int64_t)position;
    double low = (double)kth(&c, below);
    if (below + 1 >= n) return low;
    return low + (position - (double)below) * ((double)kth(&c, below + 1) - low);
}

double flip_percentile(const float *x, size_t n, double p) {
    return flip_percentile_column(x, (int64_t)n, 1, 0, p);
}

/* ---- sorting --------------------------------------------------------------------------------
 * Four passes of a byte each over bits that ascend with the value. */

static uint32_t ascending(uint32_t u) {
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

void flip_sort_floats(float *x, float *room, size_t n) {
    for (int shift = 0; shift < 32; shift += 8) {
        size_t start[257] = {0};
        for (size_t i = 0; i < n; i++)
            start[(ascending(flip_float_bits(x[i])) >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            start[b + 1] += start[b];
        for (size_t i = 0; i < n; i++)
            room[start[ascending(flip_float_bits(x[i])) >> shift & 255]++] = x[i];
        float *swap = x;
        x = room;
        room = swap;
    }
}
