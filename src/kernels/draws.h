/* Which of a row's candidates a sampler draws: the same on a CPU and on a device.
 *
 * A row's draws are a function of (seed, draw, its original id): one Philox call gives the row a
 * start, from which a splitmix sequence runs. */
#ifndef FLIPBOOK_KERNELS_DRAWS_H
#define FLIPBOOK_KERNELS_DRAWS_H

#include <flipbook/kernels.h>

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
 * or NULL; key: room for k where draws are by weight. */
void flip_draws_pick(const flip_draws *draws, int64_t original, uint32_t n, const flip_real *weight,
                     int32_t k, uint32_t *pick, double *key);
#ifdef __cplusplus
}
#endif

#endif
