/* Sampled batches on the GPU. A row's draws are one thread's, which walks through the row's own
 * sequence, but for LABOR's and those by weight (cuda_picks.cu); entries are filled in by as many
 * lanes as there may be. Numbers and transposes follow from where an entry stands, not from
 * which thread came first: the bits are the CPU's. */
#include "kernels/cuda_draws.h"
#include "kernels/cuda_sort.h"
#include "kernels/cuda_warp.h"

/* ---- how many ---- */

__global__ static void chances_kernel(int64_t n, const int64_t *original, uint64_t seed,
                                      uint64_t draw, float *chance) {
    FLIP_EACH(u, n)
    chance[u] =
        flip_draws_chance(flip_cuda_random(seed, FLIP_STREAM_SAMPLE, draw, (uint64_t)original[u]));
}

static void share_chances(int64_t n, const int64_t *original, uint64_t seed, uint64_t draw,
                          float *chance) {
    FLIP_LAUNCH_EACH(chances_kernel, n, n, original, seed, draw, chance);
}

__global__ static void count_kernel(flip_draws d, flip_draw_pieces p, int32_t *count) {
    FLIP_EACH(i, d.n) {
        const flip_candidates c = flip_draws_candidates_at(&d, (int32_t)i);
        count[i] = flip_draws_own(&d, d.row[i], c) + flip_drawn_by(d, p, i, c.n);
    }
}

/* Of a timeline with loops: whether one is alive is looked for by a warp, hubs have many
 * candidates. */
__global__ static void count_looped_kernel(flip_draws d, flip_draw_pieces p, int32_t *count) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, d.n) {
        const int32_t row = d.row[i];
        const flip_candidates c = flip_draws_candidates_at(&d, (int32_t)i);
        bool found = false;
        for (uint32_t from = 0; d.looped[row] && from < c.n && !found; from += FLIP_WARP) {
            const uint32_t j = from + (uint32_t)lane;
            found = __ballot_sync(FLIP_ALL_LANES, j < c.n && d.col[c.begin + j] == row) != 0;
        }
        if (lane == 0) count[i] = !found + flip_drawn_by(d, p, i, c.n);
    }
}

__global__ static void widen_kernel(int64_t n, const int32_t *narrow, int64_t *wide) {
    FLIP_EACH(i, n) wide[i] = narrow[i];
}

static void count_draws(const flip_draws *d, int64_t *first, void *work) {
    char *rest = static_cast<char *>(work);
    const flip_draw_pieces pieces = flip_cuda_pieces(d, &rest);
    int32_t *count = flip_deal<int32_t>(&rest, (int64_t)d->n + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of((int64_t)d->n + 1, FLIP_SCAN));
    if (pieces.drawn) flip_cuda_count_shared(d, &pieces);
    if (d->looped && d->step)
        FLIP_LAUNCH_WARPS(count_looped_kernel, d->n, *d, pieces, count);
    else
        FLIP_LAUNCH_EACH(count_kernel, d->n, *d, pieces, count);
    flip_sum_all_before(d->n, count, sums);
    FLIP_LAUNCH_EACH(widen_kernel, (int64_t)d->n + 1, (int64_t)d->n + 1, count, first);
}

/* ---- which ---- */

/* Positions among a row's candidates, in the columns until they become those. */
__global__ static void pick_kernel(flip_draws d, flip_drawn out) {
    FLIP_EACH(i, d.n) {
        const uint32_t n = flip_draws_candidates_at(&d, (int32_t)i).n;
        if (flip_draws_all(&d, n)) continue;
        uint32_t *pick = reinterpret_cast<uint32_t *>(out.col + out.first[i + 1] - d.fanout);
        flip_luck l = flip_luck_from(
            flip_cuda_random(d.seed, FLIP_STREAM_SAMPLE, d.draw, (uint64_t)d.original[d.row[i]]));
        if (d.recent)
            flip_pick_last(pick, d.fanout, n);
        else
            flip_pick(&l, d.replace, pick, d.fanout, n);
    }
}

/* How many of a whole row's candidates, which ascend, have a lower original id than the row: its
 * own entry's place. */
__device__ static int64_t own_place(const flip_draws &d, int32_t row, int64_t begin, int64_t n) {
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (d.original[d.col[begin + middle]] < d.original[row])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* `lanes` threads a row. */
__global__ static void fill_kernel(flip_draws d, flip_draw_pieces p, flip_drawn out, int lanes) {
    FLIP_EACH(t, (int64_t)d.n * lanes) {
        const int64_t i = t / lanes, first = out.first[i];
        const int32_t row = d.row[i];
        const flip_candidates c = flip_draws_candidates_at(&d, (int32_t)i);
        const int64_t n = flip_drawn_by(d, p, i, c.n), own = out.first[i + 1] - first - n;
        const bool all = flip_draws_all(&d, c.n);
        const double boost = all ? 1 : (double)c.n / (double)(d.chance ? d.fanout : n);
        const int64_t place = own && all && !d.step ? own_place(d, row, c.begin, n) : 0;
        for (int64_t j = t % lanes; j < n; j += lanes) {
            const int64_t to = first + j + (own && j >= place);
            const int64_t e = c.begin + (all ? j : (int64_t)out.col[to]);
            const int32_t col = d.col[e];
            out.col[to] = col;
            if (!out.value) continue;
            const double weight = d.weight ? (double)d.weight[e] : 1;
            out.value[to] =
                (flip_real)(weight * (double)d.factor_v[row] * (double)d.factor[col] * boost);
        }
        if (t % lanes > 0) continue;
        if (own) out.col[first + place] = row;
        if (own && out.value) out.value[first + place] = d.factor_v[row] * d.factor[row];
        if (out.scale) out.scale[i] = (flip_real)(d.sums ? boost : n > 0 ? 1.0 / (double)n : 0);
    }
}

/* Of a row's entries at steps: whole rows by original id, others as they stand; those behind all
 * rows' stay there. */
__global__ static void key_kernel(flip_draws d, flip_drawn out, int lanes, uint64_t *key) {
    FLIP_EACH(t, ((int64_t)d.n + 1) * lanes) {
        const int64_t i = t / lanes, end = i < d.n ? out.first[i + 1] : out.most;
        const bool by_original =
            i < d.n && flip_draws_all(&d, flip_draws_candidates_at(&d, (int32_t)i).n);
        for (int64_t e = out.first[i] + t % lanes; e < end; e += lanes)
            key[e] = (uint64_t)i << d.original_bits |
                     (by_original ? (uint64_t)d.original[out.col[e]] : 0);
    }
}

/* Entries of whole rows stand by step; they are to stand by original id, as in the whole graph. */
static void order_steps(const flip_draws *d, const flip_drawn *out, int lanes) {
    char *rest = static_cast<char *>(out->work);
    uint64_t *key[2] = {flip_deal<uint64_t>(&rest, out->most),
                        flip_deal<uint64_t>(&rest, out->most)};
    int32_t *col[2] = {out->col, flip_deal<int32_t>(&rest, out->most)};
    FLIP_LAUNCH_EACH(key_kernel, ((int64_t)d->n + 1) * lanes, *d, *out, lanes, key[0]);
    flip_sort_pairs(out->most, d->original_bits + flip_bits_telling((int64_t)d->n + 1), key, col);
}

static void draw_entries(const flip_draws *d, const flip_drawn *out, void *work) {
    char *rest = static_cast<char *>(work);
    const flip_draw_pieces pieces = flip_cuda_pieces(d, &rest);
    const int lanes = flip_lanes_for(d->fanout < 0 ? (int64_t)FLIP_WARP : d->fanout);
    if (pieces.drawn)
        flip_cuda_pick_shared(d, &pieces, out);
    else if (pieces.time)
        flip_cuda_pick_heavy(d, &pieces, out);
    else if (d->fanout >= 0 && d->weight_sums)
        flip_cuda_pick_again(d, out);
    else if (d->fanout >= 0)
        FLIP_LAUNCH_EACH(pick_kernel, d->n, *d, *out);
    FLIP_LAUNCH_EACH(fill_kernel, (int64_t)d->n * lanes, *d, pieces, *out, lanes);
    if (d->step) order_steps(d, out, lanes);
}

/* ---- the rows that entries name ---- */

/* A column without a number is claimed by its first entry: base + e is above every number. */
__global__ static void claim_kernel(int32_t base, int64_t most, const int64_t *n_entries,
                                    const int32_t *col, int32_t *slot) {
    const int64_t n = n_entries ? *n_entries : most;
    FLIP_EACH(e, n) atomicMin(&slot[col[e]], base + (int32_t)e);
}

__global__ static void claimed_kernel(int32_t base, int64_t most, const int64_t *n_entries,
                                      const int32_t *col, const int32_t *slot, int32_t *rank) {
    const int64_t n = n_entries ? *n_entries : most;
    FLIP_EACH(e, most) rank[e] = e < n && slot[col[e]] == base + (int32_t)e;
}

__global__ static void put_rows_kernel(flip_numbering r, int32_t base, int64_t most,
                                       const int32_t *col, const int32_t *rank, int64_t *n_rows) {
    FLIP_EACH(e, most + 1) {
        if (e == most) *n_rows = (int64_t)base + rank[most];
        if (e == most || rank[e] == rank[e + 1]) continue;
        const int32_t u = col[e], number = base + rank[e];
        const int32_t node = r.steps ? u / r.steps : u;
        r.row[number] = u;
        r.key[number] = r.original[node];
        r.slot[u] = number;
        if (!r.steps) continue;
        r.node[number] = node;
        r.step[number] = u - node * r.steps;
    }
}

__global__ static void relabel_kernel(int64_t most, const int64_t *n_entries, const int32_t *slot,
                                      int32_t *col) {
    const int64_t n = n_entries ? *n_entries : most;
    FLIP_EACH(e, n) col[e] = slot[col[e]];
}

static void number_rows(const flip_numbering *r, int32_t n, int64_t most, const int64_t *n_entries,
                        int32_t *col, int64_t *n_rows, void *work) {
    char *rest = static_cast<char *>(work);
    int32_t *rank = flip_deal<int32_t>(&rest, most + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(most + 1, FLIP_SCAN));
    FLIP_LAUNCH_EACH(claim_kernel, most, n, most, n_entries, col, r->slot);
    FLIP_LAUNCH_EACH(claimed_kernel, most, n, most, n_entries, col, r->slot, rank);
    flip_sum_all_before(most, rank, sums);
    FLIP_LAUNCH_EACH(put_rows_kernel, most + 1, *r, n, most, col, rank, n_rows);
    FLIP_LAUNCH_EACH(relabel_kernel, most, most, n_entries, r->slot, col);
}

/* `lanes` threads a row. */
__global__ static void at_steps_kernel(int32_t n, const int64_t *first, const int32_t *before,
                                       int32_t steps, int32_t *col, int lanes) {
    FLIP_EACH(t, (int64_t)n * lanes) {
        const int64_t i = t / lanes;
        for (int64_t e = first[i] + t % lanes; e < first[i + 1]; e += lanes)
            col[e] = col[e] * steps + before[i];
    }
}

static void set_at_steps(int32_t n, const int64_t *first, const int32_t *before, int32_t steps,
                         int32_t *col) {
    enum { LANES = 8 };
    FLIP_LAUNCH_EACH(at_steps_kernel, (int64_t)n * LANES, n, first, before, steps, col, LANES);
}

__global__ static void step_rows_kernel(int64_t n, flip_step_rows r, const int32_t *node,
                                        const int32_t *before, const int64_t *original,
                                        int32_t *index, int64_t *key) {
    FLIP_EACH(i, n) {
        const int32_t t = before[i] - 1;
        if (index) index[i] = r.start[t] + node[i] * r.width[t];
        if (key) key[i] = original[i] * r.steps + t;
    }
}

static void find_step_rows(int64_t n, const flip_step_rows *r, const int32_t *node,
                           const int32_t *before, const int64_t *original, int32_t *index,
                           int64_t *key) {
    FLIP_LAUNCH_EACH(step_rows_kernel, n, n, *r, node, before, original, index, key);
}

__global__ static void forget_kernel(int64_t n, const int32_t *row, int32_t *slot) {
    FLIP_EACH(i, n) slot[row[i]] = FLIP_NO_SLOT;
}

static void forget_rows(int64_t n, const int32_t *row, int32_t *slot) {
    FLIP_LAUNCH_EACH(forget_kernel, n, n, row, slot);
}

/* ---- the transpose: entries sorted by column, DIGITS at a time, those of a column as they stand
 *      ---- */

enum {
    THREADS = FLIP_SCAN_THREADS,
    DIGIT_BITS = 8,
    DIGITS = 1 << DIGIT_BITS, /* one a thread */
    ROUNDS = 4,
    TILE = THREADS * ROUNDS
};

/* How often each digit is in each tile: count [DIGITS, tiles]. */
__global__ static void digits_kernel(int64_t n, const int32_t *key, int shift, int64_t tiles,
                                     int32_t *count) {
    __shared__ int32_t mine[DIGITS];
    mine[threadIdx.x] = 0;
    __syncthreads();
    for (int r = 0; r < ROUNDS; r++) {
        const int64_t e = (int64_t)blockIdx.x * TILE + r * THREADS + threadIdx.x;
        if (e < n) atomicAdd(&mine[key[e] >> shift & (DIGITS - 1)], 1);
    }
    __syncthreads();
    count[threadIdx.x * tiles + blockIdx.x] = mine[threadIdx.x];
}

/* entry NULL: they stand as they are. */
__global__ static void deal_digits_kernel(int64_t n, const int32_t *key, const int32_t *entry,
                                          int shift, int64_t tiles, const int32_t *count,
                                          int32_t *to_key, int32_t *to_entry) {
    __shared__ int32_t next[DIGITS], digit[THREADS];
    const int me = (int)threadIdx.x;
    next[me] = count[me * tiles + blockIdx.x];
    for (int r = 0; r < ROUNDS; r++) {
        const int64_t e = (int64_t)blockIdx.x * TILE + r * THREADS + me;
        const int32_t k = e < n ? key[e] : 0;
        digit[me] = e < n ? k >> shift & (DIGITS - 1) : -1;
        __syncthreads();
        int32_t before = 0;
        for (int i = 0; e < n && i < me; i++)
            before += digit[i] == digit[me];
        if (e < n) {
            const int64_t at = next[digit[me]] + before;
            to_key[at] = k;
            to_entry[at] = entry ? entry[e] : (int32_t)e;
        }
        __syncthreads(); /* before `next` goes on */
        if (e < n) atomicAdd(&next[digit[me]], 1);
        __syncthreads();
    }
}

/* The first of sorted key[n] that is not below u. */
__device__ static int64_t first_of(const int32_t *key, int64_t n, int64_t u) {
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (key[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

__global__ static void turned_rows_kernel(int64_t n_rows, int64_t n, const int32_t *key,
                                          int64_t *ptr) {
    FLIP_EACH(u, n_rows + 2) ptr[u] = first_of(key, n, u);
}

__global__ static void turned_entries_kernel(flip_csr a, const int32_t *entry, int32_t *col,
                                             flip_real *value, int64_t *place) {
    FLIP_EACH(i, a.n_entries) {
        const int32_t e = entry[i];
        col[i] = flip_row_at(a.row_ptr, a.n_rows, e);
        if (value) value[i] = a.value[e];
        if (place) place[e] = i;
    }
}

static void turn_entries(const flip_csr *a, int64_t *ptr, int32_t *col, flip_real *value,
                         int64_t *place, void *work) {
    const int64_t n = a->n_entries, tiles = flip_tiles_of(n, TILE), counts = tiles * DIGITS;
    char *rest = static_cast<char *>(work);
    int32_t *key[2] = {flip_deal<int32_t>(&rest, n), flip_deal<int32_t>(&rest, n)};
    int32_t *entry[2] = {flip_deal<int32_t>(&rest, n), flip_deal<int32_t>(&rest, n)};
    int32_t *count = flip_deal<int32_t>(&rest, counts + 1);
    int32_t *sums = flip_deal<int32_t>(&rest, flip_tiles_of(counts + 1, FLIP_SCAN));
    const int32_t *from = a->col, *which = nullptr;
    int to = 0;
    for (int shift = 0; shift == 0 || (a->n_cols - 1) >> shift > 0; shift += DIGIT_BITS, to = !to) {
        FLIP_LAUNCH(digits_kernel, tiles, THREADS, 0, n, from, shift, tiles, count);
        flip_sum_all_before(counts, count, sums);
        FLIP_LAUNCH(deal_digits_kernel, tiles, THREADS, 0, n, from, which, shift, tiles, count,
                    key[to], entry[to]);
        from = key[to];
        which = entry[to];
    }
    FLIP_LAUNCH_EACH(turned_rows_kernel, (int64_t)a->n_cols + 2, a->n_cols, n, from, ptr);
    FLIP_LAUNCH_EACH(turned_entries_kernel, n, *a, which, col, value, place);
}

void flip_use_cuda_draws(flip_kernels *table) {
    table->share_chances = share_chances;
    table->count_draws = count_draws;
    table->draw_entries = draw_entries;
    table->number_rows = number_rows;
    table->set_at_steps = set_at_steps;
    table->find_step_rows = find_step_rows;
    table->forget_rows = forget_rows;
    table->turn_entries = turn_entries;
}
