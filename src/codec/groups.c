/* Groups of values in few bits, stochastically rounded: see groups.h. */
#include "codec/groups.h"
#include "base/floats.h"
#include "codec/group_numbers.h"

#include <math.h>
#include <string.h>

static size_t group_bytes(int n, int32_t bits) {
    return (size_t)flip_group_head(n, bits) + ((size_t)n * (size_t)bits + 7) / 8;
}

size_t flip_groups_bytes(int64_t n, int32_t bits) {
    if (bits == 16) return 2 * (size_t)n;
    const int rest = (int)(n % FLIP_GROUP);
    return (size_t)(n / FLIP_GROUP) * group_bytes(FLIP_GROUP, bits) +
           (rest > 0 ? group_bytes(rest, bits) : 0);
}

/* ---- one range ---- */

typedef struct range {
    uint16_t low, high;
    float from, up; /* (x - from) * up counts steps; 0 where all values are one */
    bool sound;
} range;

static range range_of(const flip_real *x, int n, float steps) {
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
    r.up = r.sound && span > 0 ? steps / span : 0;
    if (!isfinite(r.up)) r.up = 0; /* a span of denormals: low stands for all */
    return r;
}

static void put_range(uint8_t *out, const range *r) {
    memcpy(out, &r->low, 2);
    memcpy(out + 2, &r->high, 2);
}

/* Its first value, and how far `steps` steps are apart. */
static float get_range(const uint8_t *in, float steps, float *step) {
    uint16_t low, high;
    memcpy(&low, in, 2);
    memcpy(&high, in + 2, 2);
    *step = (flip_brief_wide(high) - flip_brief_wide(low)) / steps;
    return flip_brief_wide(low);
}

/* ---- a group in 2 bits ---- */

/* Of the values of a group in 2 bits: tops of the quarters; values by the sixteenth of their
 * quarter's range that they lie in, each as often as its top squared. */
typedef struct places {
    int32_t top[FLIP_GROUP / FLIP_QUARTER];
    uint64_t n[FLIP_PLACES], sum[FLIP_PLACES]; /* sum of positions in 256ths */
} places;

static int quarter_values(int n, int quarter) {
    const int rest = n - quarter * FLIP_QUARTER;
    return rest < FLIP_QUARTER ? rest : FLIP_QUARTER;
}

static float place_of(flip_real x, const range *r, float stretch) {
    return ((float)x - r->from) * r->up * stretch;
}

static void add_quarter(places *all, int quarter, const flip_real *x, int n, const range *r) {
    float high = r->from;
    for (int i = 0; i < n; i++)
        high = (float)x[i] > high ? (float)x[i] : high;
    const int32_t top = all->top[quarter] = flip_quarter_top(high, r->from, r->up);
    const uint64_t weight = (uint64_t)top * (uint64_t)top;
    const float stretch = flip_quarter_stretch(top);
    uint32_t count[FLIP_PLACES] = {0}, sum[FLIP_PLACES] = {0};
    for (int i = 0; i < n; i++) {
        const uint32_t q = flip_place_position(place_of(x[i], r, stretch));
        const uint32_t k = flip_position_place(q);
        count[k]++;
        sum[k] += q;
    }
    for (int k = 0; k < FLIP_PLACES; k++) {
        all->n[k] += weight * count[k];
        all->sum[k] += weight * sum[k];
    }
}

/* The inner levels: a byte. */
static uint8_t choose_levels(const places *all) {
    uint64_t n[FLIP_PLACES + 1] = {0}, sum[FLIP_PLACES + 1] = {0}, last[FLIP_PLACES];
    uint64_t best = UINT64_MAX;
    for (int k = 0; k < FLIP_PLACES; k++) {
        n[k + 1] = n[k] + all->n[k];
        sum[k + 1] = sum[k] + all->sum[k];
    }
    for (uint32_t b = 0; b < FLIP_PLACES; b++)
        last[b] =
            flip_level_error(b, FLIP_PLACES, n[FLIP_PLACES] - n[b], sum[FLIP_PLACES] - sum[b]);
    for (uint32_t a = 1; a < FLIP_PLACES - 1; a++) {
        const uint64_t first = flip_level_error(0, a, n[a], sum[a]);
        for (uint32_t b = a + 1; b < FLIP_PLACES; b++) {
            const uint64_t middle = flip_level_error(a, b, n[b] - n[a], sum[b] - sum[a]);
            const uint64_t choice = flip_level_choice(first + middle + last[b], a, b);
            best = choice < best ? choice : best;
        }
    }
    return (uint8_t)(best & 255);
}

static places places_of(const flip_real *x, int n, const range *r) {
    places all = {0};
    for (int k = 0; k < flip_group_quarters(n); k++)
        add_quarter(&all, k, x + k * FLIP_QUARTER, quarter_values(n, k), r);
    return all;
}

static void encode_two(uint8_t *out, const flip_real *x, int n, uint32_t key) {
    const range r = range_of(x, n, FLIP_TOPS);
    const int quarters = flip_group_quarters(n);
    uint8_t code[FLIP_GROUP] = {0};
    put_range(out, &r);
    memset(out + 4, 0, (size_t)quarters + 1);
    if (r.sound) {
        const places all = places_of(x, n, &r);
        const uint8_t inner = out[4 + quarters] = choose_levels(&all);
        for (int k = 0; k < quarters; k++)
            out[4 + k] = (uint8_t)all.top[k];
        const float a = flip_level_place(1, inner), b = flip_level_place(2, inner);
        for (int k = 0; k < quarters; k++) {
            const int first = k * FLIP_QUARTER, last = first + quarter_values(n, k);
            const float stretch = flip_quarter_stretch(all.top[k]);
            for (int i = first; i < last; i++)
                code[i] = (uint8_t)flip_level_code(place_of(x[i], &r, stretch), a, b,
                                                   flip_group_draw(key, (uint32_t)i));
        }
    }
    out += flip_group_head(n, 2);
    for (int i = 0; i < (n + 3) / 4; i++)
        out[i] = (uint8_t)(code[4 * i] | code[4 * i + 1] << 2 | code[4 * i + 2] << 4 |
                           code[4 * i + 3] << 6);
}

static void decode_two(flip_real *x, const uint8_t *in, int n) {
    const int quarters = flip_group_quarters(n);
    const uint8_t *codes = in + flip_group_head(n, 2);
    float unit, level[4];
    const float from = get_range(in, FLIP_TOPS * FLIP_PLACES, &unit);
    for (int k = 0; k < quarters; k++) {
        for (int c = 0; c < 4; c++)
            level[c] = from + unit * ((float)in[4 + k] * flip_level_place(c, in[4 + quarters]));
        for (int j = 0; j < quarter_values(n, k); j++) {
            const int i = k * FLIP_QUARTER + j;
            x[i] = (flip_real)level[codes[i / 4] >> (i % 4 * 2) & 3];
        }
    }
}

/* Between two levels a value errs by (to - p)(p - from) on average. */
static double error_of_two(const flip_real *x, int n, const range *r) {
    const places all = places_of(x, n, r);
    const uint8_t inner = choose_levels(&all);
    const float a = flip_level_place(1, inner), b = flip_level_place(2, inner);
    double error = 0;
    for (int k = 0; k < flip_group_quarters(n); k++) {
        const float stretch = flip_quarter_stretch(all.top[k]);
        const double unit = (double)all.top[k] / FLIP_PLACES / (double)r->up; /* a sixteenth */
        const int first = k * FLIP_QUARTER, last = first + quarter_values(n, k);
        double sum = 0;
        for (int i = first; i < last; i++) {
            const float p = place_of(x[i], r, stretch);
            const int32_t code = flip_level_code(p, a, b, 1); /* the lower level's */
            const double from = (double)flip_level_place(code, inner);
            const double to = (double)flip_level_place(code + 1, inner);
            sum += (to - (double)p) * ((double)p - from);
        }
        error += sum * unit * unit;
    }
    return error;
}

/* ---- a group ---- */

static void encode_group(uint8_t *out, const flip_real *x, int n, int32_t bits, uint32_t key) {
    const float most = (float)((1 << bits) - 1);
    const range r = range_of(x, n, most);
    uint8_t code[FLIP_GROUP] = {0};
    put_range(out, &r);
    out += 4;
    if (r.sound) {
        for (int i = 0; i < n; i++) {
            float c = floorf(((float)x[i] - r.from) * r.up + flip_group_draw(key, (uint32_t)i));
            code[i] = (uint8_t)(int32_t)(c < 0 ? 0 : c > most ? most : c);
        }
    }
    if (bits == 8) {
        memcpy(out, code, (size_t)n);
    } else {
        for (int i = 0; i < (n + 1) / 2; i++)
            out[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
    }
}

static void decode_group(flip_real *x, const uint8_t *in, int n, int32_t bits) {
    uint8_t code[FLIP_GROUP];
    float step;
    const float from = get_range(in, (float)((1 << bits) - 1), &step);
    in += 4;
    if (bits == 8) {
        memcpy(code, in, (size_t)n);
    } else {
        for (int i = 0; i < n; i++)
            code[i] = in[i / 2] >> (i % 2 * 4) & 15;
    }
    for (int i = 0; i < n; i++)
        x[i] = (flip_real)(from + step * (float)code[i]);
}

double flip_groups_error(const flip_real *x, int n, int32_t bits) {
    const range r = range_of(x, n, bits == 2 ? FLIP_TOPS : (float)((1 << bits) - 1));
    double error = 0;
    if (!r.sound || r.up == 0) return 0;
    if (bits == 2) return error_of_two(x, n, &r);
    for (int i = 0; i < n; i++) {
        const double c = (double)(((float)x[i] - r.from) * r.up), part = c - floor(c);
        error += part * (1 - part);
    }
    return error / ((double)r.up * (double)r.up);
}

/* ---- all groups ---- */

static int group_values(int64_t n, int64_t group) {
    int64_t rest = n - group * FLIP_GROUP;
    return rest < FLIP_GROUP ? (int)rest : FLIP_GROUP;
}

void flip_groups_encode(uint8_t *out, const flip_real *x, int64_t n, int32_t bits, uint64_t key) {
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    const size_t bytes = group_bytes(FLIP_GROUP, bits);
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
    for (int64_t g = 0; g < groups; g++) {
        const flip_real *values = x + g * FLIP_GROUP;
        if (bits == 2)
            encode_two(out + (size_t)g * bytes, values, group_values(n, g),
                       flip_group_key(keys, g));
        else
            encode_group(out + (size_t)g * bytes, values, group_values(n, g), bits,
                         flip_group_key(keys, g));
    }
}

void flip_groups_decode(flip_real *x, const uint8_t *in, int64_t n, int32_t bits) {
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    const size_t bytes = group_bytes(FLIP_GROUP, bits);
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
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t *from = in + (size_t)g * bytes;
        if (bits == 2)
            decode_two(x + g * FLIP_GROUP, from, group_values(n, g));
        else
            decode_group(x + g * FLIP_GROUP, from, group_values(n, g), bits);
    }
}
