/* Which of a row's candidates a sampler draws: the same on a CPU and on a device.
 *
 * A row's draws are a function of (seed, draw, its original id): one Philox call gives the row a
 * start, from which a splitmix sequence runs. */
#ifndef FLIPBOOK_KERNELS_DRAWS_H
#define FLIPBOOK_KERNELS_DRAWS_H

#include <flipbook/kernels.h>

#include <string.h>

typedef struct flip_luck {
    uint64_t state;
} flip_luck;

FLIP_EITHER flip_luck flip_luck_from(flip_random4 r) {
    flip_luck l;
    l.state = (uint64_t)r.v[0] << 32 | r.v[1];
    return l;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
FLIP_EITHER uint64_t flip_luck_next(flip_luck *l) {
    uint64_t z = l->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* [0, n), the upper half of a product of 64 and 32 bits: off from uniform by less than n / 2^64 */
FLIP_EITHER uint32_t flip_luck_below(flip_luck *l, uint32_t n) {
    const uint64_t x = flip_luck_next(l);
    return (uint32_t)(((x >> 32) * n + ((x & 0xffffffffu) * n >> 32)) >> 32);
}

/* What comes `times` numbers later, as next. */
FLIP_EITHER flip_luck flip_luck_later(flip_luck l, uint32_t times) {
    l.state += times * 0x9E3779B97F4A7C15u;
    return l;
}

/* 1 … 2^53: in units of 2^-53 a number of (0, 1] */
FLIP_EITHER uint64_t flip_luck_unit(flip_luck *l) {
    return (flip_luck_next(l) >> 11) + 1;
}

/* The upper half of a product. */
FLIP_EITHER uint64_t flip_high(uint64_t a, uint64_t b) {
    return (uint64_t)((unsigned __int128)a * b >> 64);
}

/* -log2(x / 2^53) of x = 1 … 2^53, in units of 2^-57 and off by at most 16 of them, with
 *
 *     x = m 2^e, m in [sqrt(1/2), sqrt(2)), s = (m-1) / (m+1),
 *     log2(m) = 2/ln2 s (1 + s^2/3 + s^4/5 + …),
 *
 * where what follows the 1 is a polynomial with the series' values at seven Chebyshev nodes of s^2,
 * all of it times 2^61. Products and sums are of integers, what is done in double is rounded once:
 * the bits are the same wherever it is done, whether or not a machine joins products and sums. */
FLIP_EITHER uint64_t flip_luck_log(uint64_t x) {
    const uint64_t mantissa = ((uint64_t)1 << 52) - 1;
    const double wide = (double)x;
    uint64_t bits;
    memcpy(&bits, &wide, sizeof bits);
    const uint64_t above = (bits & mantissa) > 0x6A09E667F3BCCu; /* sqrt(2) */
    const uint64_t e = (bits >> 52) - 1023 + above;
    bits = (bits & mantissa) | (1023 - above) << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const double ratio = (above ? 1 - m : m - 1) / (m + 1);
    const uint64_t s = (uint64_t)(int64_t)(ratio * 0x1p64), z = flip_high(s, s);
    uint64_t sum = 486234947945031506u;
    sum = 510029385725754207u + flip_high(z, sum);
    sum = 604877130754865502u + flip_high(z, sum);
    sum = 739250358820531688u + flip_high(z, sum);
    sum = 950465223089167511u + flip_high(z, sum);
    sum = 1330651309781089137u + flip_high(z, sum);
    sum = 2217752182974054753u + flip_high(z, sum);
    sum = 6653256548922161246u + flip_high(z, sum);
    const uint64_t log2_m = flip_high(s, sum) >> 4;
    const uint64_t whole = (53 - e) << 57;
    return above ? whole + log2_m : whole - log2_m;
}

/* By weight without replacement: the k candidates with the least -log(u) / w, which have the
 * largest u^(1/w); of equal ones the earlier. This is a candidate's, u = x / 2^53, in units of its
 * own … */
FLIP_EITHER double flip_luck_time(uint64_t x, flip_real weight) {
    return (double)flip_luck_log(x) / (double)weight;
}
/* … and certainly not below `time` where this is true, since -log2(u) >= (1 - u) / ln2, which is 23
 * (2^53 - x) units and more, and the logarithm at most 16 off, less near 1 (t219): most of many
 * candidates need no logarithm. */
FLIP_EITHER bool flip_luck_late(uint64_t x, flip_real weight, double time) {
    return (double)(((uint64_t)1 << 53) - x) * 22 > time * (double)weight;
}

/* By weight with replacement: the last of n candidates before which there is less than the share
 * x / 2^53 of all weights. sums [n]: of the row's weights before each; last: the last one's weight.
 */
FLIP_EITHER uint32_t flip_pick_again(uint64_t x, const double *sums, uint32_t n, flip_real last) {
    const double before = sums[0], all = sums[n - 1] - before + (double)last;
    const double share = (double)x * 0x1p-53 * all;
    uint32_t low = 0, high = n;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (sums[middle] - before < share)
            low = middle;
        else
            high = middle;
    }
    return low;
}

enum { FLIP_PICK_FEW = 48 }; /* drawn positions that are looked through one by one */

FLIP_EITHER bool flip_pick_has(const uint32_t *pick, int32_t k, uint32_t position) {
    for (int32_t i = 0; i < k; i++)
        if (pick[i] == position) return true;
    return false;
}

/* k of n without replacement, k < n (Floyd; Bentley & Floyd 1987). */
FLIP_EITHER void flip_pick_few(flip_luck *l, uint32_t *pick, int32_t k, uint32_t n) {
    for (int32_t i = 0; i < k; i++) {
        const uint32_t most = n - (uint32_t)k + (uint32_t)i,
                       position = flip_luck_below(l, most + 1);
        pick[i] = flip_pick_has(pick, i, position) ? most : position;
    }
}

/* The same for large k: each candidate in turn, with the chance that it must have (Knuth 3.4.2
 * S). */
FLIP_EITHER void flip_pick_many(flip_luck *l, uint32_t *pick, int32_t k, uint32_t n) {
    int32_t found = 0;
    for (uint32_t i = 0; found < k; i++)
        if (flip_luck_below(l, n - i) < (uint32_t)(k - found)) pick[found++] = i;
}

/* The last k of n. */
FLIP_EITHER void flip_pick_last(uint32_t *pick, int32_t k, uint32_t n) {
    for (int32_t i = 0; i < k; i++)
        pick[i] = n - (uint32_t)k + (uint32_t)i;
}

/* k of n, each as likely as any other. */
FLIP_EITHER void flip_pick(flip_luck *l, bool replace, uint32_t *pick, int32_t k, uint32_t n) {
    if (!replace && k <= FLIP_PICK_FEW)
        flip_pick_few(l, pick, k, n);
    else if (!replace)
        flip_pick_many(l, pick, k, n);
    for (int32_t j = 0; replace && j < k; j++)
        pick[j] = flip_luck_below(l, n);
}

/* Are all of n candidates drawn? */
FLIP_EITHER bool flip_draws_all(const flip_draws *d, uint32_t n) {
    return d->fanout < 0 || n == 0 || (!d->replace && n <= (uint32_t)d->fanout);
}

/* LABOR: a source's draw for all rows, [0, 1) in steps of 2^-24 … */
FLIP_EITHER float flip_draws_chance(flip_random4 r) {
    return (float)(r.v[0] >> 8) * 0x1p-24f;
}

/* … and is it drawn of n candidates? */
FLIP_EITHER bool flip_draws_shared(const flip_draws *d, int32_t col, uint32_t n) {
    return (double)d->chance[col] * n < d->fanout;
}

/* The first of entries low … high-1, which have steps, whose step is not before; `high` where all
 * are. */
FLIP_EITHER int64_t flip_draws_from(const flip_draws *d, int64_t low, int64_t high,
                                    int32_t before) {
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (d->step[middle] < before)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What of a row's entries may be drawn: begin … begin+n-1, of earlier steps than `before` where
 * they have steps. */
typedef struct flip_candidates {
    int64_t begin;
    uint32_t n;
} flip_candidates;

FLIP_EITHER flip_candidates flip_draws_candidates(const flip_draws *d, int32_t row,
                                                  int32_t before) {
    flip_candidates c;
    int64_t end = d->row_ptr[row + 1];
    c.begin = d->row_ptr[row];
    if (d->step) {
        end = flip_draws_from(d, c.begin, end, before);
        if (d->life > 0) c.begin = flip_draws_from(d, c.begin, end, before - d->life);
    }
    c.n = (uint32_t)(end - c.begin);
    return c;
}

/* Of the destination i. */
FLIP_EITHER flip_candidates flip_draws_candidates_at(const flip_draws *d, int32_t i) {
    return flip_draws_candidates(d, d->row[i], d->before ? d->before[i] : 0);
}

/* Has the row an entry of its own beside its candidates: GCN's always, attention's where no event
 * makes one. */
FLIP_EITHER bool flip_draws_own(const flip_draws *d, int32_t row, flip_candidates c) {
    bool looped = d->looped && d->looped[row];
    if (looped && d->step) { /* at any time: at this one? */
        looped = false;
        for (uint32_t i = 0; i < c.n && !looped; i++)
            looped = d->col[c.begin + i] == row;
    }
    return d->factor || (d->looped && !looped);
}

#ifdef __cplusplus
extern "C" {
#endif
/* If not all are drawn: k positions among n candidates, for a row of this original id. weight [n]
 * or NULL; with replacement sums [n] beside it; key: room for k where draws are by weight. */
void flip_draws_pick(const flip_draws *draws, int64_t original, uint32_t n, const flip_real *weight,
                     const double *sums, int32_t k, uint32_t *pick, double *key);
/* sums [n] of a row: of its weights before each. */
void flip_draws_sums(int64_t n, const flip_real *weight, double *sums);
#ifdef __cplusplus
}
#endif

#endif
