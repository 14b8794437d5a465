/* Groups of values in few bits, stochastically rounded: see groups.h. */
#include "codec/groups.h"
#include "base/floats.h"
#include "codec/group_numbers.h"

#include <math.h>
#include <string.h>

size_t flip_groups_bytes(int64_t n, int32_t bits) {
    size_t codes = ((size_t)n * (size_t)bits + 7) / 8;
    return bits == 16 ? codes : codes + 4 * (((size_t)n + FLIP_GROUP - 1) / FLIP_GROUP);
}

/* ---- one group ---- */

typedef struct range {
    uint16_t low, high;
    float from, up; /* (x - from) * up counts steps; 0 where the group is constant */
    bool sound;
} range;

static range range_of(const flip_real *x, int n, int32_t bits) {
    float low = INFINITY, high = -INFINITY, nothing = 0;
    for (int i = 0; i < n; i++) {
        float v = (float)x[i];
        low = v < low ? v : low;
        high = v > high ? v : high;
        nothing += v - v; /* NaN where v is not finite */
    }
    range r = {.sound = nothing == 0};
    if (!r.sound) {
        r.low = r.high = 0x7fc0;
        return r;
    }
    r.low = flip_brief_below(low);
    r.high = flip_brief_above(high);
    r.from = flip_brief_wide(r.low);
    float span = flip_brief_wide(r.high) - r.from;
    if (!isfinite(span)) r.low = r.high = 0x7fc0, r.sound = false;
    r.up = r.sound && span > 0 ? (float)((1 << bits) - 1) / span : 0;
    if (!isfinite(r.up)) r.up = 0; /* a span of denormals: low stands for all */
    return r;
}

static void encode_group(uint8_t *out, const flip_real *x, int n, int32_t bits, uint32_t key) {
    range r = range_of(x, n, bits);
    uint8_t code[FLIP_GROUP] = {0};
    const float most = (float)((1 << bits) - 1);
    memcpy(out, &r.low, 2);
    memcpy(out + 2, &r.high, 2);
    out += 4;
    if (r.sound) {
        for (int i = 0; i < n; i++) {
            float c = floorf(((float)x[i] - r.from) * r.up + flip_group_draw(key, (uint32_t)i));
            code[i] = (uint8_t)(int32_t)(c < 0 ? 0 : c > most ? most : c);
        }
    }
    if (bits == 8) {
        memcpy(out, code, (size_t)n);
    } else if (bits == 4) {
        for (int i = 0; i < (n + 1) / 2; i++)
            out[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
    } else {
        for (int i = 0; i < (n + 3) / 4; i++)
            out[i] = (uint8_t)(code[4 * i] | code[4 * i + 1] << 2 | code[4 * i + 2] << 4 |
                               code[4 * i + 3] << 6);
    }
}

static void decode_group(flip_real *x, const uint8_t *in, int n, int32_t bits) {
    uint16_t low, high;
    uint8_t code[FLIP_GROUP];
    memcpy(&low, in, 2);
    memcpy(&high, in + 2, 2);
    in += 4;
    float from = flip_brief_wide(low),
          step = (flip_brief_wide(high) - from) / (float)((1 << bits) - 1);
    if (bits == 8) {
        memcpy(code, in, (size_t)n);
    } else if (bits == 4) {
        for (int i = 0; i < n; i++)
            code[i] = in[i / 2] >> (i % 2 * 4) & 15;
    } else {
        for (int i = 0; i < n; i++)
            code[i] = in[i / 4] >> (i % 4 * 2) & 3;
    }
    for (int i = 0; i < n; i++)
        x[i] = (flip_real)(from + step * (float)code[i]);
}

/* ---- all groups ---- */

static size_t group_bytes(int32_t bits) {
    return 4 + (size_t)FLIP_GROUP * (size_t)bits / 8;
}

static int group_values(int64_t n, int64_t group) {
    int64_t rest = n - group * FLIP_GROUP;
    return rest < FLIP_GROUP ? (int)rest : FLIP_GROUP;
}

void flip_groups_encode(uint8_t *out, const flip_real *x, int64_t n, int32_t bits, uint64_t key) {
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    const size_t bytes = group_bytes(bits);
    if (bits == 16) {
#pragma omp parallel for schedule(static) if (n > 65536)
        for (int64_t i = 0; i < n; i++) {
            uint16_t b = flip_brief_nearest((float)x[i]);
            memcpy(out + 2 * i, &b, 2);
        }
        return;
    }
    const flip_group_keys keys = flip_group_keys_of(key);
#pragma omp parallel for schedule(static) if (n > 16384)
    for (int64_t g = 0; g < groups; g++)
        encode_group(out + (size_t)g * bytes, x + g * FLIP_GROUP, group_values(n, g), bits,
                     flip_group_key(keys, g));
}

void flip_groups_decode(flip_real *x, const uint8_t *in, int64_t n, int32_t bits) {
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    const size_t bytes = group_bytes(bits);
    if (bits == 16) {
#pragma omp parallel for schedule(static) if (n > 65536)
        for (int64_t i = 0; i < n; i++) {
            uint16_t b;
            memcpy(&b, in + 2 * i, 2);
            x[i] = (flip_real)flip_brief_wide(b);
        }
        return;
    }
#pragma omp parallel for schedule(static) if (n > 16384)
    for (int64_t g = 0; g < groups; g++)
        decode_group(x + g * FLIP_GROUP, in + (size_t)g * bytes, group_values(n, g), bits);
}
