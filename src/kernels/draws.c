/* Sampled batches: how many entries each row draws, which, and their values; the rows they name;
 * the transpose of what was drawn. Rows are drawn by any thread. */
#include "kernels/draws.h"
#include "kernels/internal.h"

#include <omp.h>
#include <stdlib.h>

/* ---- which positions of n candidates ---- */

/* The k least times so far, which ascend in key; of equal ones the earlier stays before. */
static inline int32_t keep_least(double *key, uint32_t *pick, int32_t found, int32_t k, double mine,
                                 uint32_t i) {
    if (found == k && !(mine < key[k - 1])) return found;
    int32_t at = found < k ? found++ : k - 1;
    for (; at > 0 && key[at - 1] > mine; at--) {
        key[at] = key[at - 1];
        pick[at] = pick[at - 1];
    }
    key[at] = mine;
    pick[at] = i;
    return found;
}

/* By weight: the k least times. Several are worked out at once, those that are late aside. */
static void pick_heavy(flip_luck *l, uint32_t *pick, double *key, int32_t k, uint32_t n,
                       const flip_real *weight) {
    enum { AT_ONCE = 16 };
    int32_t found = 0;
    for (uint32_t from = 0; from < n; from += AT_ONCE) {
        const uint32_t end = n - from < AT_ONCE ? n : from + AT_ONCE;
        const double last = found < k ? INFINITY : key[k - 1];
        uint32_t which[AT_ONCE];
        uint64_t x[AT_ONCE];
        double time[AT_ONCE];
        int32_t some = 0;
        for (uint32_t i = from; i < end; i++) {
            x[some] = flip_luck_unit(l);
            which[some] = i;
            some += !flip_luck_late(x[some], weight[i], last);
        }
        for (int32_t j = 0; j < some; j++)
            time[j] = flip_luck_time(x[j], weight[which[j]]);
        for (int32_t j = 0; j < some; j++)
            found = keep_least(key, pick, found, k, time[j], which[j]);
    }
}

void flip_draws_sums(int64_t n, const flip_real *weight, double *sums) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sums[i] = sum;
        sum += (double)weight[i];
    }
}

void flip_draws_pick(const flip_draws *d, int64_t original, uint32_t n, const flip_real *weight,
                     const double *sums, int32_t k, uint32_t *pick, double *key) {
    flip_luck l =
        flip_luck_from(flip_random(d->seed, FLIP_STREAM_SAMPLE, d->draw, (uint64_t)original));
    if (d->recent)
        flip_pick_last(pick, k, n);
    else if (!weight)
        flip_pick(&l, d->replace, pick, k, n);
    else if (d->replace)
        for (int32_t i = 0; i < k; i++)
            pick[i] = flip_pick_again(flip_luck_unit(&l), sums, n, weight[n - 1]);
    else
        pick_heavy(&l, pick, key, k, n, weight);
}

/* ---- one row ---- */

static int32_t count_drawn(const flip_draws *d, flip_candidates c) {
    if (flip_draws_all(d, c.n)) return (int32_t)c.n;
    if (!d->chance) return d->fanout;
    int32_t count = 0;
    for (uint32_t i = 0; i < c.n; i++)
        count += flip_draws_shared(d, d->col[c.begin + i], c.n);
    return count;
}

/* What a drawn entry of a sum stands for: itself and those that were not drawn. */
static double boost_of(const flip_draws *d, flip_candidates c, int32_t n) {
    if (flip_draws_all(d, c.n)) return 1;
    return (double)c.n / (d->chance ? d->fanout : n);
}

/* Positions of all n drawn entries of a row, which stand in its columns until they become those. */
static void pick_row(const flip_draws *d, int32_t row, flip_candidates c, uint32_t *pick, int32_t n,
                     double *key) {
    if (flip_draws_all(d, c.n)) {
        for (int32_t i = 0; i < n; i++)
            pick[i] = (uint32_t)i;
    } else if (d->chance) {
        for (uint32_t i = 0, at = 0; i < c.n; i++)
            if (flip_draws_shared(d, d->col[c.begin + i], c.n)) pick[at++] = i;
    } else {
        const flip_real *weight = d->by_weight && d->weight ? d->weight + c.begin : NULL;
        const double *sums = d->weight_sums ? d->weight_sums + c.begin : NULL;
        flip_draws_pick(d, d->original[row], c.n, weight, sums, n, pick, key);
    }
}

static int by_original(const void *a, const void *b, void *of) {
    const int64_t *original = of, x = original[*(const int32_t *)a],
                  y = original[*(const int32_t *)b];
    return (x > y) - (x < y);
}

/* The own entry in front of n others goes to its place in the order of original ids, where they
 * stand in it: a whole row is then summed, and dropped from, as in the whole graph. */
static void sink_own(const flip_draws *d, int32_t *col, flip_real *value, int32_t n) {
    int32_t row = col[0], j = 0;
    flip_real mine = value ? value[0] : 0;
    for (; j < n && d->original[col[j + 1]] < d->original[row]; j++) {
        col[j] = col[j + 1];
        if (value) value[j] = value[j + 1];
    }
    col[j] = row;
    if (value) value[j] = mine;
}

static void fill_row(const flip_draws *d, const flip_drawn *out, int32_t i, double *key) {
    flip_candidates c = flip_draws_candidates_at(d, i);
    const int64_t first = out->first[i];
    int32_t row = d->row[i], own = flip_draws_own(d, row, c), *col = out->col + first + own;
    flip_real *value = out->value ? out->value + first + own : NULL;
    int32_t n = (int32_t)(out->first[i + 1] - first) - own;
    pick_row(d, row, c, (uint32_t *)col, n, key);
    double boost = boost_of(d, c, n);
    for (int32_t j = 0; j < n; j++) {
        int64_t e = c.begin + col[j];
        col[j] = d->col[e];
        if (!value) continue;
        double weight = d->weight ? (double)d->weight[e] : 1;
        value[j] =
            (flip_real)(weight * (double)d->factor_v[row] * (double)d->factor[col[j]] * boost);
    }
    const bool all = flip_draws_all(d, c.n);
    if (all && d->step && !value) /* stand by step; a whole row is in the order of original ids */
        qsort_r(col, (size_t)n, sizeof *col, by_original, (void *)d->original);
    if (own) {
        col[-1] = row;
        if (value) value[-1] = d->factor_v[row] * d->factor[row];
        if (all) sink_own(d, col - 1, value ? value - 1 : NULL, n);
    }
    if (out->scale) out->scale[i] = (flip_real)(d->sums ? boost : n > 0 ? 1.0 / n : 0);
}

/* ---- all rows ---- */

enum { AHEAD = 16 }; /* rows whose pointers, and after half the way columns, are asked for */

FLIP_INLINE void ask_ahead(const flip_draws *d, int32_t i) {
    if (i + AHEAD < d->n) __builtin_prefetch(d->row_ptr + d->row[i + AHEAD]);
    if (i + AHEAD / 2 >= d->n) return;
    const int32_t *col = d->col + d->row_ptr[d->row[i + AHEAD / 2]];
    __builtin_prefetch(col);
    __builtin_prefetch(col + 16);
}

static void share_chances(int64_t n, const int64_t *original, uint64_t seed, uint64_t draw,
                          float *chance) {
#pragma omp parallel for schedule(static)
    for (int64_t u = 0; u < n; u++)
        chance[u] =
            flip_draws_chance(flip_random(seed, FLIP_STREAM_SAMPLE, draw, (uint64_t)original[u]));
}

static void count_draws(const flip_draws *d, int64_t *first, void *work) {
    (void)work;
    first[0] = 0;
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < d->n; i++) {
        ask_ahead(d, i);
        flip_candidates c = flip_draws_candidates_at(d, i);
        first[i + 1] = count_drawn(d, c) + flip_draws_own(d, d->row[i], c);
    }
    for (int32_t i = 0; i < d->n; i++)
        first[i + 1] += first[i];
}

static void draw_entries(const flip_draws *d, const flip_drawn *out, void *work) {
    (void)work;
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < d->n; i++) {
        ask_ahead(d, i);
        double *key = out->key;
        fill_row(d, out, i, key ? key + (size_t)omp_get_thread_num() * (size_t)d->fanout : NULL);
    }
}

/* ---- the rows that entries name ---- */

static void put_row(const flip_numbering *r, int32_t n, int32_t u) {
    const int32_t node = r->steps ? u / r->steps : u;
    r->row[n] = u;
    r->key[n] = r->original[node];
    if (!r->steps) return;
    r->node[n] = node;
    r->step[n] = u % r->steps;
}

static void number_rows(const flip_numbering *r, int32_t n, int64_t most, const int64_t *n_entries,
                        int32_t *col, int64_t *n_rows, void *work) {
    (void)work;
    for (int64_t e = 0; e < (n_entries ? *n_entries : most); e++) {
        int32_t *slot = &r->slot[col[e]];
        if (*slot == FLIP_NO_SLOT) {
            put_row(r, n, col[e]);
            *slot = n++;
        }
        col[e] = *slot;
    }
    *n_rows = n;
}

static void set_at_steps(int32_t n, const int64_t *first, const int32_t *before, int32_t steps,
                         int32_t *col) {
    for (int32_t i = 0; i < n; i++)
        for (int64_t e = first[i]; e < first[i + 1]; e++)
            col[e] = col[e] * steps + before[i];
}

static void find_step_rows(int64_t n, const flip_step_rows *r, const int32_t *node,
                           const int32_t *before, const int64_t *original, int32_t *index,
                           int64_t *key) {
    for (int64_t i = 0; i < n; i++) {
        const int32_t t = before[i] - 1;
        if (index) index[i] = r->start[t] + node[i] * r->width[t];
        if (key) key[i] = original[i] * r->steps + t;
    }
}

static void forget_rows(int64_t n, const int32_t *row, int32_t *slot) {
    for (int64_t i = 0; i < n; i++)
        slot[row[i]] = FLIP_NO_SLOT;
}

static void turn_entries(const flip_csr *a, int64_t *ptr, int32_t *col, flip_real *value,
                         int64_t *place, void *work) {
    (void)work;
    int64_t *cursor = ptr + 1; /* ends up as the row pointers themselves */
    memset(ptr, 0, ((size_t)a->n_cols + 2) * sizeof *ptr);
    for (int64_t e = 0; e < a->n_entries; e++)
        cursor[a->col[e] + 1]++;
    for (int32_t u = 0; u < a->n_cols; u++)
        cursor[u + 1] += cursor[u];
    for (int32_t v = 0; v < a->n_rows; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            int64_t at = cursor[a->col[e]]++;
            col[at] = v;
            if (value) value[at] = a->value[e];
            if (place) place[e] = at;
        }
}

void flip_kernels_use_draws(flip_kernels *table) {
    table->share_chances = share_chances;
    table->count_draws = count_draws;
    table->draw_entries = draw_entries;
    table->number_rows = number_rows;
    table->set_at_steps = set_at_steps;
    table->find_step_rows = find_step_rows;
    table->forget_rows = forget_rows;
    table->turn_entries = turn_entries;
}
