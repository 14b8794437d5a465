/* The matrix of a block of snapshots, from what the snapshots are told by. Lists of keys are walked
 * side by side, one entry of the matrix after the other. */
#include "kernels/internal.h"

static const uint64_t NO_KEY = UINT64_MAX;

/* ---- entries ---- */

typedef struct walker {
    const flip_block_entries *b;
    int64_t now;      /* the snapshot's next entry */
    int32_t own;      /* the next row's own column */
    int64_t *at;      /* [n_steps - 1] the next change of each */
    flip_real *value; /* [n_steps] of the entry; flip_absent where it is not */
    uint64_t key;
    bool is_own;
    int32_t most; /* levels: the largest value */
} walker;

static walker begin_walk(const flip_block_entries *b, void *work) {
    walker w = {.b = b, .at = work};
    w.value = (flip_real *)(w.at + b->n_steps);
    memset(w.at, 0, (size_t)b->n_steps * sizeof *w.at);
    return w;
}

static uint64_t own_key(const walker *w) {
    const flip_block_entries *b = w->b;
    if (!b->own_place || w->own == b->n_rows) return NO_KEY;
    return (uint64_t)w->own << 32 | (uint64_t)b->own_place[w->own];
}

static uint64_t key_at(int64_t n, const uint64_t *key, int64_t at) {
    return at < n ? key[at] : NO_KEY;
}

/* The entry's value at every step: the snapshot's where nothing changes; else what the first change
 * replaces, then what each of them leads to. */
static void read_entry(walker *w) {
    const flip_block_entries *b = w->b;
    bool changed = false;
    flip_real value = flip_absent();
    if (key_at(b->now.n, b->now.key, w->now) == w->key) value = b->now.value[w->now++];
    for (int32_t t = 0; t < b->n_steps; t++)
        w->value[t] = value;
    for (int32_t t = 0; t + 1 < b->n_steps; t++) {
        const flip_changes *c = &b->changes[t];
        if (key_at(c->n, c->key, w->at[t]) != w->key) continue;
        for (int32_t before = 0; !changed && before <= t; before++)
            w->value[before] = c->was[w->at[t]];
        changed = true;
        for (int32_t after = t + 1; after < b->n_steps; after++)
            w->value[after] = c->is[w->at[t]];
        w->at[t]++;
    }
    w->most = 0;
    for (int32_t t = 0; b->levels && t < b->n_steps; t++)
        if (w->value[t] > (flip_real)w->most) w->most = (int32_t)w->value[t];
}

/* false: there are no more. */
static bool next_entry(walker *w) {
    const flip_block_entries *b = w->b;
    const uint64_t own = own_key(w), now = key_at(b->now.n, b->now.key, w->now);
    w->key = own < now ? own : now;
    for (int32_t t = 0; t + 1 < b->n_steps; t++) {
        const uint64_t key = key_at(b->changes[t].n, b->changes[t].key, w->at[t]);
        if (key < w->key) w->key = key;
    }
    if (w->key == NO_KEY) return false;
    w->is_own = w->key == own;
    w->own += w->is_own;
    read_entry(w);
    return true;
}

/* Entries of the matrix that the entry of the snapshots is: of levels one for each, and one where
 * nothing is. */
static int32_t n_lines(const walker *w) {
    bool missing = false;
    if (!w->b->levels) return 1;
    for (int32_t t = 0; t < w->b->n_steps; t++)
        missing = missing || flip_is_absent(w->value[t]);
    return w->most + (w->is_own && missing);
}

static bool lives(const walker *w, int32_t line, int32_t t) {
    bool any = w->is_own;
    if (w->b->levels && line == w->most) return flip_is_absent(w->value[t]);
    if (w->b->levels) return w->value[t] > (flip_real)line;
    for (int32_t s = t > w->b->stay ? t - w->b->stay : 0; s <= t; s++)
        any = any || !flip_is_absent(w->value[s]);
    return any;
}

static void count_runs(const flip_block_entries *b, int64_t *count, void *work) {
    walker w = begin_walk(b, work);
    memset(count, 0, 4 * sizeof *count);
    while (next_entry(&w)) {
        const int32_t n = n_lines(&w);
        count[0] += n;
        for (int32_t i = 0; i < n; i++)
            for (int32_t t = 0; t < b->n_steps; t++) {
                count[1] += lives(&w, i, t) && (t == 0 || !lives(&w, i, t - 1));
                count[2] += lives(&w, i, t);
                count[3] += t >= b->before && lives(&w, i, t);
            }
    }
}

/* The next places of entries, runs and values. */
typedef struct places {
    int64_t entries;
    uint32_t runs, values;
} places;

static void lay_line(const walker *w, int32_t line, const flip_csr_arrays *to, places *at) {
    to->row[at->entries] = (int32_t)(w->key >> 32);
    to->col[at->entries] = w->b->order[w->key & 0xffffffff];
    to->run_ptr[at->entries++] = at->runs;
    for (int32_t t = 0; t < w->b->n_steps; t++) {
        if (!lives(w, line, t)) continue;
        if (t == 0 || !lives(w, line, t - 1)) {
            to->run_first[at->runs] = t;
            to->value_ptr[at->runs++] = at->values;
        }
        if (to->value) to->value[at->values] = flip_is_absent(w->value[t]) ? 0 : w->value[t];
        at->values++;
    }
}

static void lay_runs(const flip_block_entries *b, const flip_csr_arrays *to, void *work) {
    walker w = begin_walk(b, work);
    places at = {0};
    int32_t row = 0; /* whose row_ptr comes next */
    while (next_entry(&w)) {
        for (; row <= (int32_t)(w.key >> 32); row++)
            to->row_ptr[row] = at.entries;
        for (int32_t i = 0, n = n_lines(&w); i < n; i++)
            lay_line(&w, i, to, &at);
    }
    for (; row <= b->n_rows; row++)
        to->row_ptr[row] = at.entries;
    to->run_ptr[at.entries] = at.runs;
    to->value_ptr[at.runs] = at.values;
}

/* ---- values ---- */

/* sums [n_steps] of row v. */
static void row_sums(const flip_csr *a, int32_t v, double *sums) {
    memset(sums, 0, (size_t)a->n_steps * sizeof *sums);
    for (int64_t r = a->run_ptr[a->row_ptr[v]]; r < a->run_ptr[a->row_ptr[v + 1]]; r++)
        for (uint32_t i = a->value_ptr[r]; i < a->value_ptr[r + 1]; i++)
            sums[a->run_first[r] + (int32_t)(i - a->value_ptr[r])] += (double)a->value[i];
}

/* What values are scaled by. */
typedef struct scales {
    flip_run_scale how;
    double *sum;             /* [n_rows, n_steps] MEAN */
    flip_real *row, *column; /* [n_rows, n_steps] SYMMETRIC, where they are one, and INOUT */
} scales;

static void make_factors(const flip_csr *a, double *sums, flip_real *factors) {
    for (int32_t v = 0; v < a->n_rows; v++) {
        row_sums(a, v, sums);
        for (int32_t t = 0; t < a->n_steps; t++)
            *factors++ = (flip_real)(1.0 / sqrt(1.0 + sums[t]));
    }
}

/* sums: room [n_steps]. */
static scales make_scales(const flip_csr *a, const flip_run_scaling *p, double *sums, void *rest) {
    scales s = {.how = p->how, .sum = rest, .row = rest, .column = rest};
    const int64_t steps = a->n_steps;
    if (p->how == FLIP_RUNS_SYMMETRIC || p->how == FLIP_RUNS_INOUT) make_factors(a, sums, s.row);
    if (p->how == FLIP_RUNS_INOUT) s.column += a->n_rows * steps;
    if (p->how == FLIP_RUNS_INOUT) make_factors(p->turned, sums, s.column);
    for (int32_t v = 0; p->how == FLIP_RUNS_MEAN && v < a->n_rows; v++)
        row_sums(a, v, s.sum + v * steps);
    return s;
}

/* x of [v, u]; mine, other: of v and u, at its step. */
static double scale_value(const scales *s, double x, bool own, int64_t mine, int64_t other) {
    if (s->how == FLIP_RUNS_PLAIN) return x;
    if (s->how == FLIP_RUNS_MEAN) return s->sum[mine] != 0 ? x / s->sum[mine] : 0;
    return (own ? x + 1 : x) * ((double)s->row[mine] * (double)s->column[other]);
}

/* The average at a run's step k; the run begins at step `first` of the timeline. */
static double average(const double *run, int32_t k, int32_t first, int32_t window) {
    const int32_t t = first + k, lowest = k < window ? 0 : k - window + 1;
    const int32_t middle = t % window < k ? k - t % window : 0;
    double head = 0, tail = 0;
    for (int32_t i = middle; i <= k; i++)
        head += run[i];
    for (int32_t i = middle - 1; i >= lowest; i--)
        tail += run[i];
    return (tail + head) / (t + 1 < window ? t + 1 : window);
}

/* Those of a run of n that begins at step `from` go to where its own begin: the next place. */
static int64_t write_averages(const double *run, int32_t from, int32_t n, const flip_run_scaling *p,
                              int64_t r, const flip_csr_arrays *to, int64_t at) {
    const int32_t left_out = p->before > from ? p->before - from : 0;
    to->run_first[r] = from + left_out - p->before;
    to->value_ptr[r] = (uint32_t)at;
    for (int32_t k = left_out; k < n; k++)
        to->value[at++] = (flip_real)average(run, k, p->first + from, p->window);
    to->value_ptr[r + 1] = (uint32_t)at;
    return at;
}

static void scale_runs(const flip_csr *a, const int32_t *row, const flip_run_scaling *p,
                       const flip_csr_arrays *to, void *work) {
    const int64_t steps = a->n_steps;
    double *x = work; /* [n_steps] of a run */
    const scales s = make_scales(a, p, x, x + steps);
    int64_t at = 0;
    for (int64_t e = 0; e < a->n_entries; e++)
        for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++) {
            const int64_t begin = a->value_ptr[r], n = a->value_ptr[r + 1] - begin;
            const int64_t mine = row[e] * steps + a->run_first[r],
                          other = a->col[e] * steps + a->run_first[r];
            for (int64_t k = 0; k < n; k++) {
                x[k] = scale_value(&s, (double)a->value[begin + k], a->col[e] == row[e], mine + k,
                                   other + k);
                if (p->window <= 1) to->value[begin + k] = (flip_real)x[k];
            }
            if (p->window > 1) at = write_averages(x, a->run_first[r], (int32_t)n, p, r, to, at);
        }
}

/* ---- the transpose ---- */

/* Entry e becomes entry p. */
static void turn_entry(const flip_csr *a, int64_t e, int32_t row, int64_t p,
                       const flip_csr_arrays *to) {
    uint32_t q = to->run_ptr[p];
    to->col[p] = row;
    for (uint32_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++, q++) {
        const uint32_t n = a->value_ptr[r + 1] - a->value_ptr[r];
        to->run_first[q] = a->run_first[r];
        to->value_ptr[q + 1] = to->value_ptr[q] + n;
        if (a->value)
            memcpy(to->value + to->value_ptr[q], a->value + a->value_ptr[r], n * sizeof *to->value);
    }
    to->run_ptr[p + 1] = q;
}

/* entry [n_entries]: those of a column follow each other by their rows' places. */
static void order_entries(const flip_csr *a, const int32_t *place, const flip_csr_arrays *to,
                          int32_t *entry, int32_t *row_at, int64_t *next) {
    memset(to->row_ptr, 0, ((size_t)a->n_cols + 1) * sizeof *to->row_ptr);
    for (int64_t e = 0; e < a->n_entries; e++)
        to->row_ptr[a->col[e] + 1]++;
    for (int32_t u = 0; u < a->n_cols; u++) {
        next[u] = to->row_ptr[u];
        to->row_ptr[u + 1] += to->row_ptr[u];
    }
    for (int32_t v = 0; v < a->n_rows; v++)
        row_at[place ? place[v] : v] = v;
    for (int32_t i = 0; i < a->n_rows; i++)
        for (int64_t e = a->row_ptr[row_at[i]]; e < a->row_ptr[row_at[i] + 1]; e++)
            entry[next[a->col[e]]++] = (int32_t)e;
}

static void turn_runs(const flip_csr *a, const int32_t *row, const int32_t *place, int place_bits,
                      const flip_csr_arrays *to, int64_t *turned, void *work) {
    (void)place_bits;
    int64_t *next = work;                            /* [n_cols] */
    int32_t *row_at = (int32_t *)(next + a->n_cols); /* [n_rows] */
    int32_t *entry = row_at + a->n_rows;
    order_entries(a, place, to, entry, row_at, next);
    to->run_ptr[0] = to->value_ptr[0] = 0;
    for (int64_t p = 0; p < a->n_entries; p++) {
        turn_entry(a, entry[p], row[entry[p]], p, to);
        if (turned) turned[entry[p]] = p;
    }
}

void flip_kernels_use_runs(flip_kernels *table) {
    table->count_runs = count_runs;
    table->lay_runs = lay_runs;
    table->scale_runs = scale_runs;
    table->turn_runs = turn_runs;
}
