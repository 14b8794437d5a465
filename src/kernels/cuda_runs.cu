/* The matrix of a block of snapshots on the GPU. What tells of the block's entries is laid into one
 * list of mentions and sorted by key: those of an entry follow each other, its own column first,
 * then what the snapshot has, then its changes, step after step. Each mention then knows from its
 * neighbours which steps it tells the value of, and so how many entries, runs and values begin with
 * it; sums of these tell it where they are written. */
#include "kernels/cuda_keys.h"
#include "kernels/cuda_scan.h"
#include "kernels/cuda_sort.h"
#include "kernels/cuda_warp.h"

enum { THREADS = FLIP_SCAN_THREADS, LANES = 8 };
/* Steps of mentions that are no change. */
enum { OWN_COLUMN = -2, SNAPSHOT = -1 };

/* Room of n mentions. Sorted, key[0] and mention[0] hold their keys and numbers, and what is the
 * other half's becomes the sums. */
typedef struct mentions {
    int64_t n;
    int32_t n_steps, place_bits, stay;
    const int32_t *own_place; /* [n_rows] or NULL */
    uint64_t *key[2];
    int32_t *number[2];
    flip_real *was, *is; /* by number */
    int32_t *step;       /* likewise */
    int32_t *entries, *runs, *values, *sums;
    flip_pattern absent;
} mentions;

static mentions deal_mentions(const flip_block_entries *b, void *work) {
    char *rest = static_cast<char *>(work);
    mentions p = {};
    p.n = flip_mentions_of(b);
    p.n_steps = b->n_steps;
    p.place_bits = b->place_bits;
    p.stay = b->stay;
    p.own_place = b->own_place;
    p.absent = flip_absent_bits();
    for (int i = 0; i < 2; i++) {
        p.key[i] = flip_deal<uint64_t>(&rest, p.n + 1);
        p.number[i] = flip_deal<int32_t>(&rest, p.n + 1);
    }
    p.was = flip_deal<flip_real>(&rest, p.n);
    p.is = flip_deal<flip_real>(&rest, p.n);
    p.step = flip_deal<int32_t>(&rest, p.n);
    p.sums = flip_deal<int32_t>(&rest, flip_tiles_of(p.n + 1, FLIP_SCAN));
    p.entries = p.number[1];
    p.runs = reinterpret_cast<int32_t *>(p.key[1]);
    p.values = p.runs + p.n + 1;
    return p;
}

/* ---- the list ---- */

__device__ static inline void put_mention(const mentions &p, int64_t i, uint64_t row,
                                          uint64_t place, int32_t step, flip_real was,
                                          flip_real is) {
    p.key[0][i] = row << p.place_bits | place;
    p.number[0][i] = (int32_t)i;
    p.step[i] = step;
    p.was[i] = was;
    p.is[i] = is;
}

__global__ static void own_mentions_kernel(mentions p, int32_t n_rows) {
    FLIP_EACH(v, n_rows) {
        const flip_real absent = flip_real_of(p.absent);
        put_mention(p, v, (uint64_t)v, (uint64_t)p.own_place[v], OWN_COLUMN, absent, absent);
    }
}

/* A list of n keys, as mentions from `at` on. */
__global__ static void list_mentions_kernel(mentions p, int64_t at, int32_t step, int64_t n,
                                            const uint64_t *key, const flip_real *was,
                                            const flip_real *is) {
    FLIP_EACH(i, n) {
        put_mention(p, at + i, key[i] >> 32, key[i] & 0xffffffff, step, was[i], is[i]);
    }
}

static void list_mentions(const flip_block_entries *b, const mentions *p) {
    int64_t at = b->own_place ? b->n_rows : 0;
    FLIP_LAUNCH_EACH(own_mentions_kernel, at, *p, b->n_rows);
    FLIP_LAUNCH_EACH(list_mentions_kernel, b->now.n, *p, at, SNAPSHOT, b->now.n, b->now.key,
                     b->now.value, b->now.value);
    at += b->now.n;
    for (int32_t t = 0; t + 1 < b->n_steps; at += b->changes[t++].n) {
        const flip_changes *c = &b->changes[t];
        FLIP_LAUNCH_EACH(list_mentions_kernel, c->n, *p, at, t + 1, c->n, c->key, c->was, c->is);
    }
}

/* ---- what a mention tells ---- */

/* Steps 0 … lead - 1 have `was`, steps from … from + n - 1 have `is`; 0 steps where nothing is to
 * be written. */
typedef struct mention {
    bool head, own; /* the entry's first; of a row's own column */
    bool opens_lead, opens;
    int32_t lead, from, n;
    flip_real was, is;
} mention;

__device__ static mention read_mention(const mentions &p, int64_t i) {
    const uint64_t key = p.key[0][i];
    const int32_t number = p.number[0][i], step = p.step[number];
    const bool head = i == 0 || p.key[0][i - 1] != key;
    const bool tail = i + 1 == p.n || p.key[0][i + 1] != key;
    const bool first =
        head || p.step[p.number[0][i - 1]] < 0; /* of the entry's changes, if it is one */
    const int32_t end = tail ? p.n_steps : p.step[p.number[0][i + 1]];
    mention x;
    x.was = p.was[number];
    x.is = p.is[number];
    const bool was = flip_bits_of(x.was) != p.absent, is = flip_bits_of(x.is) != p.absent;
    x.head = head;
    x.own = p.own_place && (uint64_t)p.own_place[key >> p.place_bits] ==
                               (key & (((uint64_t)1 << p.place_bits) - 1));
    x.from = step < 0 ? 0 : step;
    x.n = step < 0 && !tail ? 0 : end - x.from; /* changes tell all */
    x.lead = step >= 0 && first ? step : 0;
    if (x.own) {
        x.opens = head;
        x.opens_lead = false;
        if (!was) x.was = 0;
        if (!is) x.is = 0;
        return x;
    }
    const int32_t gone = first ? x.from : x.from - p.step[p.number[0][i - 1]];
    if (!was) x.lead = 0;
    if (!is) {
        x.n = x.n < p.stay ? x.n : p.stay;
        x.is = 0;
    }
    x.opens_lead = x.lead > 0;
    x.opens = is && x.n > 0 && (step < 0 || (!was && (first || gone > p.stay)));
    return x;
}

/* Of n steps from `from` on, those that are not before. */
__device__ static inline int32_t not_before(int32_t from, int32_t n, int32_t before) {
    const int32_t left = from + n - before;
    return left < 0 ? 0 : left < n ? left : n;
}

/* Values: of steps that are not before. */
__global__ static void count_kernel(mentions p, int32_t before) {
    FLIP_EACH(i, p.n) {
        const mention x = read_mention(p, i);
        p.entries[i] = x.head;
        p.runs[i] = (int)x.opens_lead + (int)x.opens;
        p.values[i] = not_before(0, x.lead, before) + not_before(x.from, x.n, before);
    }
}

__device__ static inline void open_run(const flip_csr_arrays &to, int64_t r, int32_t from,
                                       int64_t at) {
    to.run_first[r] = from;
    to.value_ptr[r] = (uint32_t)at;
}

/* ---- levels: what an entry's first mention tells of all of them ---- */

/* Numbers of entries, runs and values so far; they are written where there is room. */
typedef struct level_writer {
    int32_t entries, runs, values;
    int32_t row, col;
    bool writes;
    flip_csr_arrays to;
} level_writer;

/* see(value, from, end) for all steps of the entry that begins at mention i, in order. */
template <typename seer>
__device__ static void see_steps(const mentions &p, int64_t i, const seer &see) {
    const uint64_t key = p.key[0][i];
    flip_real value = flip_real_of(p.absent);
    int32_t from = 0;
    for (bool first = true; i < p.n && p.key[0][i] == key; i++) {
        const int32_t number = p.number[0][i], step = p.step[number];
        if (step >= 0) {
            see(first ? p.was[number] : value, from, step);
            first = false;
            from = step;
        }
        value = p.is[number];
    }
    see(value, from, p.n_steps);
}

/* Level k of the entry lives where its value is k or more, level 0 where it has none. */
__device__ static void write_level(const mentions &p, int64_t i, int32_t level, level_writer *w) {
    bool any = false, open = false;
    see_steps(p, i, [&](flip_real value, int32_t from, int32_t end) {
        const bool lives = level == 0 ? flip_bits_of(value) == p.absent : value >= (flip_real)level;
        if (lives && !any) {
            if (w->writes) {
                w->to.row[w->entries] = w->row;
                w->to.col[w->entries] = w->col;
                w->to.run_ptr[w->entries] = (uint32_t)w->runs;
            }
            w->entries++;
        }
        if (lives && !open) {
            if (w->writes) open_run(w->to, w->runs, from, w->values);
            w->runs++;
        }
        if (lives) w->values += end - from;
        any = any || lives;
        open = lives;
    });
}

__device__ static void write_levels(const mentions &p, int64_t i, bool own, level_writer *w) {
    flip_real most = 0;
    see_steps(p, i, [&](flip_real value, int32_t, int32_t) { most = value > most ? value : most; });
    for (int32_t level = 1; (flip_real)level <= most; level++)
        write_level(p, i, level, w);
    if (own) write_level(p, i, 0, w);
}

__global__ static void count_levels_kernel(mentions p) {
    FLIP_EACH(i, p.n) {
        const mention x = read_mention(p, i);
        level_writer w = {};
        if (x.head) write_levels(p, i, x.own, &w);
        p.entries[i] = w.entries;
        p.runs[i] = w.runs;
        p.values[i] = w.values;
    }
}

/* The item behind the last ends the lists. */
__global__ static void lay_levels_kernel(mentions p, const int32_t *order, flip_csr_arrays to) {
    FLIP_EACH(i, p.n + 1) {
        level_writer w = {p.entries[i], p.runs[i], p.values[i], 0, 0, true, to};
        if (i == p.n) {
            to.run_ptr[w.entries] = (uint32_t)w.runs;
            to.value_ptr[w.runs] = (uint32_t)w.values;
            continue;
        }
        const mention x = read_mention(p, i);
        const uint64_t key = p.key[0][i];
        w.row = (int32_t)(key >> p.place_bits);
        w.col = order[key & (((uint64_t)1 << p.place_bits) - 1)];
        if (x.head) write_levels(p, i, x.own, &w);
    }
}

/* ---- numbers ---- */

__global__ static void total_kernel(const int32_t *sum, int64_t *count) {
    *count = *sum;
}

static void total(const mentions *p, int32_t *x, int64_t *count) {
    flip_sum_all_before(p->n, x, p->sums);
    FLIP_LAUNCH(total_kernel, 1, 1, 0, x + p->n, count);
}

static void count_runs(const flip_block_entries *b, int64_t *count, void *work) {
    const mentions p = deal_mentions(b, work);
    list_mentions(b, &p);
    flip_sort_pairs(p.n, b->place_bits + flip_bits_telling(b->n_rows), p.key, p.number);
    if (b->levels)
        FLIP_LAUNCH_EACH(count_levels_kernel, p.n, p);
    else
        FLIP_LAUNCH_EACH(count_kernel, p.n, p, b->before);
    total(&p, p.values, count + 3);
    if (b->before > 0) FLIP_LAUNCH_EACH(count_kernel, p.n, p, 0);
    if (b->before > 0) flip_sum_all_before(p.n, p.values, p.sums);
    FLIP_LAUNCH(total_kernel, 1, 1, 0, p.values + p.n, count + 2);
    total(&p, p.entries, count);
    total(&p, p.runs, count + 1);
}

/* ---- all of it written ---- */

/* The item behind the last ends the lists. */
__global__ static void lay_kernel(mentions p, const int32_t *order, flip_csr_arrays to) {
    FLIP_EACH(i, p.n + 1) {
        const int32_t entries = p.entries[i];
        int64_t r = p.runs[i], at = p.values[i];
        if (i == p.n) {
            to.run_ptr[entries] = (uint32_t)r;
            to.value_ptr[r] = (uint32_t)at;
            continue;
        }
        const mention x = read_mention(p, i);
        if (x.head) {
            const uint64_t key = p.key[0][i];
            to.row[entries] = (int32_t)(key >> p.place_bits);
            to.col[entries] = order[key & (((uint64_t)1 << p.place_bits) - 1)];
            to.run_ptr[entries] = (uint32_t)r;
        }
        if (x.opens_lead) open_run(to, r++, 0, at);
        for (int32_t k = 0; k < x.lead && to.value; k++)
            to.value[at + k] = x.was;
        at += x.lead;
        if (x.opens) open_run(to, r, x.from, at);
        for (int32_t k = 0; k < x.n && to.value; k++)
            to.value[at + k] = x.is;
    }
}

static void lay_runs(const flip_block_entries *b, const flip_csr_arrays *to, void *work) {
    const mentions p = deal_mentions(b, work);
    if (b->levels)
        FLIP_LAUNCH_EACH(lay_levels_kernel, p.n + 1, p, b->order, *to);
    else
        FLIP_LAUNCH_EACH(lay_kernel, p.n + 1, p, b->order, *to);
    flip_find_rows(p.n, p.key[0], p.place_bits, p.entries, b->n_rows, to->row_ptr);
}

/* ---- values ---- */

/* The sum at step t of runs first … end - 1, one after the other; `ahead` of them are read at once,
 * so that a row of many entries does not wait for each. */
template <int ahead>
__device__ static double sum_runs(const flip_csr &a, int64_t first, int64_t end, int32_t t) {
    double sum = 0;
    for (int64_t r = first; r < end; r += ahead) {
        int64_t at[ahead];
        flip_real x[ahead];
#pragma unroll
        for (int k = 0; k < ahead; k++) {
            const int64_t run = r + k < end ? r + k : end - 1;
            const int64_t i = t - a.run_first[run], begin = a.value_ptr[run];
            at[k] = r + k < end && i >= 0 && i < a.value_ptr[run + 1] - begin ? begin + i : -1;
        }
#pragma unroll
        for (int k = 0; k < ahead; k++)
            x[k] = a.value[at[k] < 0 ? 0 : at[k]];
#pragma unroll
        for (int k = 0; k < ahead; k++)
            sum += at[k] < 0 ? 0 : (double)x[k];
    }
    return sum;
}

/* `lanes` threads a row, a step each. */
__global__ static void row_sums_kernel(flip_csr a, int lanes, double *sums, flip_real *factors) {
    enum { FEW = 64 };
    FLIP_EACH(i, (int64_t)a.n_rows * lanes) {
        const int64_t v = i / lanes;
        const int64_t first = a.run_ptr[a.row_ptr[v]], end = a.run_ptr[a.row_ptr[v + 1]];
        for (int32_t t = (int32_t)(i % lanes); t < a.n_steps; t += lanes) {
            const double sum =
                end - first < FEW ? sum_runs<8>(a, first, end, t) : sum_runs<32>(a, first, end, t);
            if (sums)
                sums[v * a.n_steps + t] = sum;
            else
                factors[v * a.n_steps + t] = (flip_real)(1.0 / sqrt(1.0 + sum));
        }
    }
}

/* What values are scaled by: [n_rows, n_steps], sums, factors of rows and columns, or nothing. */
typedef struct scales {
    const double *sums;
    const flip_real *row, *column;
} scales;

/* x of a run, whose step is `mine` in v's scales and `other` in u's. It is added to others: nothing
 * may be multiplied and added at once. */
__device__ static inline double scale_value(const scales &s, double x, bool own, int64_t mine,
                                            int64_t other) {
    if (s.sums) return s.sums[mine] != 0 ? x / s.sums[mine] : 0;
    if (!s.row) return x;
    return __dmul_rn(own ? x + 1 : x, __dmul_rn((double)s.row[mine], (double)s.column[other]));
}

/* `lanes` threads an entry. */
__global__ static void scale_kernel(flip_csr a, const int32_t *row, int lanes, scales s,
                                    flip_real *value) {
    FLIP_EACH(i, a.n_entries * lanes) {
        const int64_t e = i / lanes;
        const int32_t v = row[e], u = a.col[e];
        const uint32_t end = a.run_ptr[e + 1];
        for (uint32_t r = a.run_ptr[e]; r < end; r++) {
            const int64_t begin = a.value_ptr[r], n = a.value_ptr[r + 1] - begin;
            const int64_t mine = (int64_t)v * a.n_steps + a.run_first[r],
                          other = (int64_t)u * a.n_steps + a.run_first[r];
            for (int64_t k = i % lanes; k < n; k += lanes)
                value[begin + k] = (flip_real)scale_value(s, (double)a.value[begin + k], u == v,
                                                          mine + k, other + k);
        }
    }
}

/* What is left of each run. */
__global__ static void cut_kernel(flip_csr a, int64_t n_runs, int32_t before, int32_t *first,
                                  int32_t *length) {
    FLIP_EACH(r, n_runs) {
        const int32_t from = a.run_first[r], n = (int32_t)(a.value_ptr[r + 1] - a.value_ptr[r]);
        first[r] = from > before ? from - before : 0;
        length[r] = not_before(from, n, before);
    }
}

/* flip_run_scaling's, without what is the host's. */
typedef struct band {
    int32_t window, first, before;
} band;

/* `lanes` threads an entry. */
__global__ static void average_kernel(flip_csr a, const int32_t *row, int lanes, scales s, band p,
                                      const uint32_t *value_ptr, flip_real *value) {
    FLIP_EACH(i, a.n_entries * lanes) {
        const int64_t e = i / lanes;
        const int32_t v = row[e], u = a.col[e], w = p.window;
        const uint32_t end = a.run_ptr[e + 1];
        for (uint32_t r = a.run_ptr[e]; r < end; r++) {
            const int32_t from = a.run_first[r], out = p.before > from ? p.before - from : 0;
            const int64_t begin = a.value_ptr[r], to = value_ptr[r];
            const int32_t n = (int32_t)(a.value_ptr[r + 1] - begin);
            const int64_t mine = (int64_t)v * a.n_steps + from,
                          other = (int64_t)u * a.n_steps + from;
            for (int32_t k = out + (int32_t)(i % lanes); k < n; k += lanes) {
                const int32_t t = p.first + from + k, lowest = k < w ? 0 : k - w + 1;
                const int32_t middle = t % w < k ? k - t % w : 0;
                double head = 0, tail = 0;
                for (int32_t j = middle; j <= k; j++)
                    head += scale_value(s, (double)a.value[begin + j], u == v, mine + j, other + j);
                for (int32_t j = middle - 1; j >= lowest; j--)
                    tail += scale_value(s, (double)a.value[begin + j], u == v, mine + j, other + j);
                value[to + k - out] = (flip_real)((tail + head) / (t + 1 < w ? t + 1 : w));
            }
        }
    }
}

/* Sums of rows, or the factors made of them. */
static void sum_rows(const flip_csr *a, double *sums, flip_real *factors) {
    const int steps = flip_lanes_for(a->n_steps);
    FLIP_LAUNCH_EACH(row_sums_kernel, (int64_t)a->n_rows * steps, *a, steps, sums, factors);
}

static scales make_scales(const flip_csr *a, const flip_run_scaling *p, char **rest) {
    const int64_t n = (int64_t)a->n_rows * a->n_steps;
    if (p->how == FLIP_RUNS_PLAIN) return {nullptr, nullptr, nullptr};
    if (p->how == FLIP_RUNS_MEAN) {
        double *sums = flip_deal<double>(rest, n);
        sum_rows(a, sums, nullptr);
        return {sums, nullptr, nullptr};
    }
    flip_real *row = flip_deal<flip_real>(rest, n), *column = row;
    sum_rows(a, nullptr, row);
    if (p->how == FLIP_RUNS_INOUT) {
        column = flip_deal<flip_real>(rest, n);
        sum_rows(p->turned, nullptr, column);
    }
    return {nullptr, row, column};
}

static void scale_runs(const flip_csr *a, const int32_t *row, const flip_run_scaling *p,
                       const flip_csr_arrays *to, void *work) {
    char *rest = static_cast<char *>(work);
    const int steps = flip_lanes_for(a->n_steps), lanes = steps < LANES ? steps : LANES;
    const scales s = make_scales(a, p, &rest);
    if (p->window <= 1) {
        FLIP_LAUNCH_EACH(scale_kernel, a->n_entries * lanes, *a, row, lanes, s, to->value);
        return;
    }
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(p->n_runs + 1, FLIP_SCAN));
    int32_t *value_ptr = reinterpret_cast<int32_t *>(to->value_ptr);
    FLIP_LAUNCH_EACH(cut_kernel, p->n_runs, *a, p->n_runs, p->before, to->run_first, value_ptr);
    flip_sum_all_before(p->n_runs, value_ptr, sums);
    const band b = {p->window, p->first, p->before};
    FLIP_LAUNCH_EACH(average_kernel, a->n_entries * lanes, *a, row, lanes, s, b, to->value_ptr,
                     to->value);
}

/* ---- the transpose ---- */

__global__ static void turn_keys_kernel(flip_csr a, const int32_t *row, const int32_t *place,
                                        int place_bits, uint64_t *key, int32_t *entry) {
    FLIP_EACH(e, a.n_entries) {
        key[e] = (uint64_t)a.col[e] << place_bits | (uint64_t)(place ? place[row[e]] : row[e]);
        entry[e] = (int32_t)e;
    }
}

__global__ static void turn_counts_kernel(flip_csr a, const int32_t *row, const int32_t *entry,
                                          int32_t *col, int32_t *runs, int32_t *values) {
    FLIP_EACH(i, a.n_entries) {
        const int32_t e = entry[i];
        const uint32_t first = a.run_ptr[e], end = a.run_ptr[e + 1];
        col[i] = row[e];
        runs[i] = (int32_t)(end - first);
        values[i] = (int32_t)(a.value_ptr[end] - a.value_ptr[first]);
    }
}

/* `lanes` threads an entry; the one behind the last ends the lists. */
__global__ static void turn_kernel(flip_csr a, const int32_t *entry, int lanes, const int32_t *runs,
                                   const int32_t *values, flip_csr_arrays to, int64_t *turned) {
    FLIP_EACH(k, (a.n_entries + 1) * lanes) {
        const int64_t i = k / lanes;
        const int lane = (int)(k % lanes);
        const uint32_t to_run = (uint32_t)runs[i], to_value = (uint32_t)values[i];
        if (lane == 0) to.run_ptr[i] = to_run;
        if (i == a.n_entries) {
            if (lane == 0) to.value_ptr[to_run] = to_value;
            continue;
        }
        const int32_t e = entry[i];
        if (turned && lane == 0) turned[e] = i;
        const uint32_t first = a.run_ptr[e], end = a.run_ptr[e + 1];
        const uint32_t begin = a.value_ptr[first], n = a.value_ptr[end] - begin;
        for (uint32_t r = first + (uint32_t)lane; r < end; r += (uint32_t)lanes) {
            to.run_first[to_run + (r - first)] = a.run_first[r];
            to.value_ptr[to_run + (r - first)] = to_value + (a.value_ptr[r] - begin);
        }
        for (uint32_t j = (uint32_t)lane; j < n && a.value; j += (uint32_t)lanes)
            to.value[to_value + j] = a.value[begin + j];
    }
}

static void turn_runs(const flip_csr *a, const int32_t *row, const int32_t *place, int place_bits,
                      const flip_csr_arrays *to, int64_t *turned, void *work) {
    char *rest = static_cast<char *>(work);
    const int64_t n = a->n_entries;
    uint64_t *key[2];
    int32_t *entry[2];
    for (int i = 0; i < 2; i++) {
        key[i] = flip_deal<uint64_t>(&rest, n + 1);
        entry[i] = flip_deal<int32_t>(&rest, n + 1);
    }
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(n + 1, FLIP_SCAN));
    int32_t *runs = reinterpret_cast<int32_t *>(key[1]), *values = runs + n + 1;
    const int steps = flip_lanes_for(a->n_steps), lanes = steps < LANES ? steps : LANES;
    FLIP_LAUNCH_EACH(turn_keys_kernel, n, *a, row, place, place_bits, key[0], entry[0]);
    flip_sort_pairs(n, place_bits + flip_bits_telling(a->n_cols), key, entry);
    FLIP_LAUNCH_EACH(turn_counts_kernel, n, *a, row, entry[0], to->col, runs, values);
    flip_sum_all_before(n, runs, sums);
    flip_sum_all_before(n, values, sums);
    FLIP_LAUNCH_EACH(turn_kernel, (n + 1) * lanes, *a, entry[0], lanes, runs, values, *to, turned);
    flip_find_rows(n, key[0], place_bits, nullptr, a->n_cols, to->row_ptr);
}

void flip_use_cuda_runs(flip_kernels *table) {
    table->count_runs = count_runs;
    table->lay_runs = lay_runs;
    table->scale_runs = scale_runs;
    table->turn_runs = turn_runs;
}
