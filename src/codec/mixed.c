/* Widths of groups by gain: see mixed.h. */
#include "codec/mixed.h"

#include "codec/groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int32_t bits_of[3] = {2, 4, 8};

static int64_t groups_of(int64_t n) {
    return (n + FLIP_GROUP - 1) / FLIP_GROUP;
}

static int64_t values_of(int64_t n, int64_t group) {
    int64_t rest = n - group * FLIP_GROUP;
    return rest < FLIP_GROUP ? rest : FLIP_GROUP;
}

size_t flip_mixed_bytes(int64_t n) {
    return (size_t)((groups_of(n) + 3) / 4) + flip_groups_bytes(n, 4);
}

/* A step of a group from one width to a larger one; 0, 1, 2: in 2, 4, 8 bits. */
typedef struct step {
    double gain; /* squared error that goes, a byte */
    int64_t group;
    int from, to;
} step;

static int by_gain(const void *a, const void *b) {
    const step *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    if (x->to != y->to) return x->to - y->to;
    return x->group < y->group ? -1 : x->group > y->group;
}

/* Of n values, a group's. */
static int64_t more_bytes(int64_t n, int from, int to) {
    return (int64_t)flip_groups_bytes(n, bits_of[to]) -
           (int64_t)flip_groups_bytes(n, bits_of[from]);
}

/* A group of ten values or less has no more bytes in four bits than in two: that comes first. */
static step step_of(const double error[3], int64_t n, int64_t group, int from, int to) {
    const int64_t more = more_bytes(n, from, to);
    const double gain = more > 0 ? (error[from] - error[to]) / (double)more : INFINITY;
    return (step){.gain = gain, .group = group, .from = from, .to = to};
}

/* A group's: to 4 bits and on to 8; or, where the second gains more a byte, at once to 8, which
 * then comes before 4 (less gain in 4 bits, even none, is not to keep it from 8). */
static void steps_of(step *steps, const flip_real *x, int64_t n, int64_t group) {
    double error[3];
    for (int l = 0; l < 3; l++)
        error[l] = flip_groups_error(x, (int)n, bits_of[l]);
    steps[0] = step_of(error, n, group, 0, 1);
    steps[1] = step_of(error, n, group, 1, 2);
    if (steps[1].gain > steps[0].gain) steps[1] = step_of(error, n, group, 0, 2);
}

/* level [groups]: 0, 1, 2. All begin with two bits; steps are taken in the order of their gain
 * while they fit and gain, each by a group that still has the width where it begins. */
static flip_status choose(uint8_t *level, const flip_real *x, int64_t n) {
    const int64_t groups = groups_of(n), n_steps = 2 * groups;
    int64_t used = (int64_t)flip_groups_bytes(n, 2), most = (int64_t)flip_groups_bytes(n, 4);
    step *steps;
    FLIP_TRY(flip_alloc(&steps, (size_t)n_steps, sizeof *steps, "widths of a message"));
#pragma omp parallel for schedule(static) if (groups > 64)
    for (int64_t g = 0; g < groups; g++)
        steps_of(steps + 2 * g, x + g * FLIP_GROUP, values_of(n, g), g);
    qsort(steps, (size_t)n_steps, sizeof *steps, by_gain);
    memset(level, 0, (size_t)groups);
    for (int64_t i = 0; i < n_steps; i++) {
        const step *s = &steps[i];
        int64_t m = values_of(n, s->group);
        int64_t more = more_bytes(m, s->from, s->to);
        if (level[s->group] != s->from || used + more > most || s->gain <= 0) continue;
        level[s->group] = (uint8_t)s->to;
        used += more;
    }
    flip_free(steps);
    return FLIP_OK;
}

flip_status flip_mixed_encode(uint8_t *out, const flip_real *x, int64_t n, uint64_t key) {
    int64_t groups = groups_of(n);
    uint8_t *level, *at = out + (groups + 3) / 4;
    FLIP_TRY(flip_alloc(&level, (size_t)groups, 1, "widths of a message"));
    flip_status status = choose(level, x, n);
    memset(out, 0, flip_mixed_bytes(n));
    for (int64_t g = 0; status == FLIP_OK && g < groups; g++) {
        int64_t m = values_of(n, g);
        out[g / 4] |= (uint8_t)(level[g] << g % 4 * 2);
        flip_groups_encode(at, x + g * FLIP_GROUP, m, bits_of[level[g]],
                           key + 0x9e3779b97f4a7c15u * (uint64_t)(g + 1));
        at += flip_groups_bytes(m, bits_of[level[g]]);
    }
    flip_free(level);
    return status;
}

flip_status flip_mixed_decode(flip_real *x, const uint8_t *in, int64_t n) {
    int64_t groups = groups_of(n);
    const uint8_t *at = in + (groups + 3) / 4, *end = in + flip_mixed_bytes(n);
    for (int64_t g = 0; g < groups; g++) {
        int64_t m = values_of(n, g);
        int level = in[g / 4] >> g % 4 * 2 & 3;
        size_t bytes = level < 3 ? flip_groups_bytes(m, bits_of[level]) : 0;
        if (level == 3 || bytes > (size_t)(end - at))
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "group %lld of a message has no width",
                             (long long)g);
        flip_groups_decode(x + g * FLIP_GROUP, at, m, bits_of[level]);
        at += bytes;
    }
    return FLIP_OK;
}
