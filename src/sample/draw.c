/* Draws for own rows: how many, which, and their values.
 *
 * A row's draws are a function of (seed, epoch, hop, its original id): one Philox call gives the
 * row a start, from which a splitmix sequence runs. Rows are drawn by any thread. */
#include "internal.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

/* ---- chance ---- */

typedef struct luck {
    uint64_t state;
} luck;

static luck luck_of(const flip_sampler *s, int64_t original, int32_t hop, int64_t epoch) {
    flip_random4 r = flip_random(s->p.seed, FLIP_STREAM_SAMPLE,
                                 (uint64_t)epoch << 8 | (uint64_t)hop, (uint64_t)original);
    return (luck){.state = (uint64_t)r.v[0] << 32 | r.v[1]};
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static inline uint64_t next(luck *l) {
    uint64_t z = l->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* [0, n), n < 2^32: off from uniform by less than n / 2^64 */
static inline uint32_t below(luck *l, uint32_t n) {
    return (uint32_t)(((unsigned __int128)next(l) * n) >> 64);
}

/* (0, 1] */
static inline double unit(luck *l) {
    return (double)((next(l) >> 11) + 1) * 0x1p-53;
}

/* ---- which positions of n candidates ---- */

enum { LINEAR_MOST = 48 }; /* drawn positions that are looked through one by one */

static bool among(const uint32_t *pick, int32_t k, uint32_t position) {
    for (int32_t i = 0; i < k; i++)
        if (pick[i] == position) return true;
    return false;
}

/* k of n without replacement, k < n (Floyd; Bentley & Floyd 1987). */
static void pick_few(luck *l, uint32_t *pick, int32_t k, uint32_t n) {
    for (int32_t i = 0; i < k; i++) {
        uint32_t most = n - (uint32_t)k + (uint32_t)i, position = below(l, most + 1);
        pick[i] = among(pick, i, position) ? most : position;
    }
}

/* The same for large k: each candidate in turn, with the chance that it must have (Knuth 3.4.2
 * S). */
static void pick_many(luck *l, uint32_t *pick, int32_t k, uint32_t n) {
    int32_t found = 0;
    for (uint32_t i = 0; found < k; i++)
        if (below(l, n - i) < (uint32_t)(k - found)) pick[found++] = i;
}

/* By weight: the k largest log(u) / w, which are the largest u^(1/w). pick ends up in descending
 * order of keys. */
static void pick_heavy(luck *l, uint32_t *pick, double *key, int32_t k, uint32_t n,
                       const flip_real *weight) {
    int32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        double mine = log(unit(l)) / (double)weight[i];
        if (found == k && mine <= key[k - 1]) continue;
        int32_t at = found < k ? found++ : k - 1;
        for (; at > 0 && key[at - 1] < mine; at--) {
            key[at] = key[at - 1];
            pick[at] = pick[at - 1];
        }
        key[at] = mine;
        pick[at] = i;
    }
}

static void pick_again(luck *l, uint32_t *pick, int32_t k, uint32_t n, const flip_real *weight) {
    double all = 0;
    for (uint32_t i = 0; weight && i < n; i++)
        all += (double)weight[i];
    for (int32_t j = 0; j < k; j++) {
        if (!weight) {
            pick[j] = below(l, n);
            continue;
        }
        double left = unit(l) * all;
        uint32_t i = 0;
        while (i + 1 < n && left > (double)weight[i])
            left -= (double)weight[i++];
        pick[j] = i;
    }
}

/* ---- one row ---- */

/* The first entry from low on whose step is not before; `high` where all are. */
static int64_t first_from(const flip_sampler *s, int64_t low, int64_t high, int32_t before) {
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (s->step[middle] < before)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

sample_range sample_candidates(const flip_sampler *s, int32_t row, int32_t before) {
    int64_t begin = s->row_ptr[row], end = s->row_ptr[row + 1];
    if (s->step) {
        end = first_from(s, begin, end, before);
        if (s->p.life > 0) begin = first_from(s, begin, end, before - s->p.life);
    }
    return (sample_range){.begin = begin, .n = (uint32_t)(end - begin)};
}

/* LABOR: is the entry drawn of n candidates? */
static inline bool shares(const float *chance, int32_t col, int32_t fanout, uint32_t n) {
    return (double)chance[col] * n < fanout;
}

bool sample_takes_all(const flip_sampler *s, int32_t fanout, uint32_t n) {
    return fanout < 0 || n == 0 || (!s->p.replace && n <= (uint32_t)fanout);
}

static int32_t count_drawn(const flip_sampler *s, sample_range c, int32_t fanout,
                           const float *chance) {
    if (sample_takes_all(s, fanout, c.n)) return (int32_t)c.n;
    if (!chance) return fanout;
    int32_t count = 0;
    for (uint32_t i = 0; i < c.n; i++)
        count += shares(chance, s->col[c.begin + i], fanout, c.n);
    return count;
}

/* The row's own entry, in front: GCN's always, attention's where no event makes one. */
static int own_entry(const flip_sampler *s, int32_t row, sample_range c) {
    bool looped = s->looped && s->looped[row];
    if (looped && s->step) { /* at any time: at this one? */
        looped = false;
        for (uint32_t i = 0; i < c.n; i++)
            looped = looped || s->col[c.begin + i] == row;
    }
    return flip_kind_diagonal(s->p.adjacency) || (s->looped && !looped);
}

void sample_pick(const flip_sampler *s, int64_t original, int32_t hop, int64_t epoch,
                 uint32_t n_candidates, const flip_real *weight, int32_t n, uint32_t *pick,
                 double *key) {
    luck l = luck_of(s, original, hop, epoch);
    if (s->p.recent)
        for (int32_t i = 0; i < n; i++)
            pick[i] = n_candidates - (uint32_t)n + (uint32_t)i;
    else if (s->p.replace)
        pick_again(&l, pick, n, n_candidates, weight);
    else if (weight)
        pick_heavy(&l, pick, key, n, n_candidates, weight);
    else if (n <= LINEAR_MOST)
        pick_few(&l, pick, n, n_candidates);
    else
        pick_many(&l, pick, n, n_candidates);
}

/* What a drawn entry of a sum stands for: itself and those that were not drawn. */
static double boost_of(const flip_sampler *s, sample_range c, int32_t fanout, int32_t n,
                       const float *chance) {
    if (sample_takes_all(s, fanout, c.n)) return 1;
    return (double)c.n / (chance ? fanout : n);
}

typedef struct request {
    const flip_sampler *s;
    const int32_t *row, *step;
    int32_t n, hop, fanout;
    int64_t epoch;
    const float *chance;
} request;

static sample_range candidates_at(const request *r, int32_t i) {
    return sample_candidates(r->s, r->row[i], r->step ? r->step[i] : 0);
}

/* Positions of all n drawn entries of a row, which stand in its columns until they become those. */
static void pick_row(const request *r, int32_t row, sample_range c, uint32_t *pick, int32_t n,
                     double *key) {
    const flip_sampler *s = r->s;
    if (sample_takes_all(s, r->fanout, c.n)) {
        for (int32_t i = 0; i < n; i++)
            pick[i] = (uint32_t)i;
    } else if (r->chance) {
        for (uint32_t i = 0, at = 0; i < c.n; i++)
            if (shares(r->chance, s->col[c.begin + i], r->fanout, c.n)) pick[at++] = i;
    } else {
        const flip_real *weight =
            s->p.kind == FLIP_SAMPLE_WEIGHTED && s->weight ? s->weight + c.begin : NULL;
        sample_pick(s, s->original[row], r->hop, r->epoch, c.n, weight, n, pick, key);
    }
}

static int by_original(const void *a, const void *b, void *of) {
    const int64_t *original = of, x = original[*(const int32_t *)a],
                  y = original[*(const int32_t *)b];
    return (x > y) - (x < y);
}

/* The own entry in front of n others goes to its place in the order of original ids, where they
 * stand in it: a whole row is then summed, and dropped from, as in the whole graph. */
static void sink_own(const flip_sampler *s, int32_t *col, flip_real *value, int32_t n) {
    int32_t row = col[0], j = 0;
    flip_real mine = value ? value[0] : 0;
    for (; j < n && s->original[col[j + 1]] < s->original[row]; j++) {
        col[j] = col[j + 1];
        if (value) value[j] = value[j + 1];
    }
    col[j] = row;
    if (value) value[j] = mine;
}

static void fill_row(const request *r, drawn *out, int32_t i, double *key) {
    const flip_sampler *s = r->s;
    sample_range c = candidates_at(r, i);
    int32_t row = r->row[i], own = own_entry(s, row, c), *col = out->col + out->first[i] + own;
    flip_real *value = out->value ? out->value + out->first[i] + own : NULL;
    int32_t n = (int32_t)(out->first[i + 1] - out->first[i]) - own;
    pick_row(r, row, c, (uint32_t *)col, n, key);
    double boost = boost_of(s, c, r->fanout, n, r->chance);
    for (int32_t j = 0; j < n; j++) {
        int64_t e = c.begin + col[j];
        col[j] = s->col[e];
        if (!value) continue;
        double weight = s->weight ? (double)s->weight[e] : 1;
        value[j] =
            (flip_real)(weight * (double)s->factor_v[row] * (double)s->factor[col[j]] * boost);
    }
    const bool all = sample_takes_all(s, r->fanout, c.n);
    if (all && s->step && !value) /* stand by step; a whole row is in the order of original ids */
        qsort_r(col, (size_t)n, sizeof *col, by_original, s->original);
    if (own) {
        col[-1] = row;
        if (value) value[-1] = s->factor_v[row] * s->factor[row];
        if (all) sink_own(s, col - 1, value ? value - 1 : NULL, n);
    }
    if (out->scale)
        out->scale[i] = (flip_real)(s->p.adjacency == FLIP_ADJACENCY_SUM ? boost
                                    : n > 0                              ? 1.0 / n
                                                                         : 0);
}

/* ---- all rows ---- */

/* r_u of every column at every hop of this epoch. */
static flip_status share_chances(flip_sampler *s, int64_t epoch) {
    size_t n = (size_t)s->n_cols;
    if (s->chance && s->chance_epoch == epoch) return FLIP_OK;
    if (!s->chance)
        FLIP_TRY(
            flip_alloc(&s->chance, (size_t)s->p.layers * n, sizeof *s->chance, "draws of sources"));
    s->chance_epoch = epoch;
    for (int32_t hop = 0; hop < s->p.layers; hop++) {
        uint64_t a = (uint64_t)epoch << 8 | 128 | (uint64_t)hop;
        float *chance = s->chance + (size_t)hop * n;
#pragma omp parallel for schedule(static)
        for (size_t u = 0; u < n; u++)
            chance[u] =
                (float)(flip_random(s->p.seed, FLIP_STREAM_SAMPLE, a, (uint64_t)s->original[u])
                            .v[0] >>
                        8) *
                0x1p-24f;
    }
    return FLIP_OK;
}

enum { AHEAD = 16 }; /* rows whose pointers, and after half the way columns, are asked for */

static inline void ask_ahead(const request *r, int32_t i) {
    const flip_sampler *s = r->s;
    if (i + AHEAD < r->n) __builtin_prefetch(s->row_ptr + r->row[i + AHEAD]);
    if (i + AHEAD / 2 >= r->n) return;
    const int32_t *col = s->col + s->row_ptr[r->row[i + AHEAD / 2]];
    __builtin_prefetch(col);
    __builtin_prefetch(col + 16);
}

static void count_rows(const request *r, drawn *out) {
    out->first[0] = 0;
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < r->n; i++) {
        ask_ahead(r, i);
        sample_range c = candidates_at(r, i);
        out->first[i + 1] =
            count_drawn(r->s, c, r->fanout, r->chance) + own_entry(r->s, r->row[i], c);
    }
    for (int32_t i = 0; i < r->n; i++)
        out->first[i + 1] += out->first[i];
}

static void fill_rows(const request *r, drawn *out, double *keys, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int32_t i = 0; i < r->n; i++) {
        ask_ahead(r, i);
        fill_row(r, out, i, keys ? keys + (size_t)omp_get_thread_num() * (size_t)r->fanout : NULL);
    }
}

flip_status sample_rows(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                        const int32_t *row, const int32_t *step, int32_t hop, int64_t epoch) {
    request r = {.s = s,
                 .row = row,
                 .step = step,
                 .n = n,
                 .hop = hop,
                 .fanout = s->p.fanout[hop],
                 .epoch = epoch};
    int threads = omp_get_max_threads();
    double *keys = NULL;
    *out = (drawn){0};
    if (s->p.kind == FLIP_SAMPLE_LABOR) {
        FLIP_TRY(share_chances(s, epoch));
        r.chance = s->chance + (size_t)hop * (size_t)s->n_cols;
    }
    FLIP_TRY(flip_arena_alloc(arena, &out->first, (size_t)n + 1, sizeof *out->first));
    count_rows(&r, out);
    size_t entries = (size_t)out->first[n];
    FLIP_TRY(flip_arena_alloc(arena, &out->col, entries, sizeof *out->col));
    if (sample_has_values(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->value, entries, sizeof *out->value));
    if (sample_has_scales(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->scale, (size_t)n, sizeof *out->scale));
    if (s->p.kind == FLIP_SAMPLE_WEIGHTED && r.fanout > 0)
        FLIP_TRY(flip_arena_alloc(arena, &keys, (size_t)threads * (size_t)r.fanout, sizeof *keys));
    fill_rows(&r, out, keys, threads);
    return FLIP_OK;
}
