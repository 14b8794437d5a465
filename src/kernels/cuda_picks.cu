/* Draws that look at every candidate, and those by sums of weights, on the GPU. Which lane looks at
 * one follows from where it stands, and so does the place of what is drawn: the bits are the CPU's.
 */
#include "kernels/cuda_draws.h"
#include "kernels/cuda_warp.h"

/* ---- pieces ---- */

flip_draw_pieces flip_cuda_pieces(const flip_draws *d, char **work) {
    flip_draw_pieces p = {};
    if (!flip_draws_in_pieces(d)) return p;
    p.each = flip_draws_piece(d->fanout);
    p.most = flip_draws_pieces(d->n, d->n_entries, d->fanout);
    const int64_t more = p.most > d->n ? p.most : (int64_t)d->n;
    p.first = flip_deal<int32_t>(work, (int64_t)d->n + 1);
    if (d->chance) p.drawn = flip_deal<int32_t>(work, p.most + 1);
    if (!d->chance) p.time = flip_deal<double>(work, p.most * d->fanout);
    if (!d->chance) p.pick = flip_deal<uint32_t>(work, p.most * d->fanout);
    p.sums = flip_deal<int32_t>(work, flip_tiles_of(more + 1, FLIP_SCAN));
    return p;
}

__global__ static void pieces_kernel(flip_draws d, int32_t each, int32_t *count) {
    FLIP_EACH(i, d.n) {
        const uint32_t n = flip_draws_candidates_at(&d, (int32_t)i).n;
        count[i] = flip_draws_all(&d, n) ? 0 : (int32_t)((n + (uint32_t)each - 1) / (uint32_t)each);
    }
}

static void cut(const flip_draws *d, const flip_draw_pieces *p) {
    FLIP_LAUNCH_EACH(pieces_kernel, d->n, *d, p->each, p->first);
    flip_sum_all_before(d->n, p->first, p->sums);
}

typedef struct piece {
    int32_t i;   /* the row that draws, … */
    uint32_t of; /* its candidates, */
    uint32_t at; /* the first of the piece's among them */
    int32_t n;
    int64_t begin; /* its entry */
} piece;

__device__ static inline piece piece_at(const flip_draws &d, const flip_draw_pieces &p, int64_t t) {
    piece q;
    q.i = flip_row_at(p.first, d.n, t);
    const flip_candidates c = flip_draws_candidates_at(&d, q.i);
    q.of = c.n;
    q.at = (uint32_t)(t - p.first[q.i]) * (uint32_t)p.each;
    q.n = (int32_t)(q.of - q.at < (uint32_t)p.each ? q.of - q.at : (uint32_t)p.each);
    q.begin = c.begin + q.at;
    return q;
}

/* ---- LABOR ---- */

__global__ static void count_shared_kernel(flip_draws d, flip_draw_pieces p) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(t, p.most) {
        int32_t drawn = 0;
        if (t < p.first[d.n]) {
            const piece q = piece_at(d, p, t);
            for (int32_t j = lane; j < q.n; j += FLIP_WARP)
                drawn += flip_draws_shared(&d, d.col[q.begin + j], q.of);
            drawn = flip_lanes_sum(drawn);
        }
        if (lane == 0) p.drawn[t] = drawn;
    }
}

void flip_cuda_count_shared(const flip_draws *d, const flip_draw_pieces *p) {
    cut(d, p);
    FLIP_LAUNCH_WARPS(count_shared_kernel, p->most, *d, *p);
    flip_sum_all_before(p->most, p->drawn, p->sums);
}

__global__ static void pick_shared_kernel(flip_draws d, flip_draw_pieces p, flip_drawn out) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(t, p.first[d.n]) {
        const piece q = piece_at(d, p, t);
        int32_t *to = out.col + out.first[q.i + 1] + p.drawn[t] - p.drawn[p.first[q.i + 1]];
        for (int32_t from = 0; from < q.n; from += FLIP_WARP) {
            const int32_t j = from + lane;
            const bool mine = j < q.n && flip_draws_shared(&d, d.col[q.begin + j], q.of);
            const unsigned all = __ballot_sync(FLIP_ALL_LANES, mine);
            if (mine) to[__popc(all & ((1u << lane) - 1))] = (int32_t)q.at + j;
            to += __popc(all);
        }
    }
}

void flip_cuda_pick_shared(const flip_draws *d, const flip_draw_pieces *p, const flip_drawn *out) {
    FLIP_LAUNCH_WARPS(pick_shared_kernel, p->most, *d, *p, *out);
}

/* ---- by weight ---- */

/* The k least times so far, which ascend, and where they stand. A warp's; the memory is global. */
typedef struct least {
    double *time;   /* [k] */
    uint32_t *pick; /* [k] */
    int32_t found, k;
} least;

__device__ static inline bool is_among(const least &l, double time) {
    return l.found < l.k || time < l.time[l.k - 1];
}

/* One more, the same for all lanes; of equal ones the earlier stays before. */
__device__ static void keep_least(least *l, double time, uint32_t pick) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    if (!is_among(*l, time)) return;
    int32_t at = l->found < l->k ? l->found : l->k - 1;
    for (unsigned moved = FLIP_ALL_LANES; moved == FLIP_ALL_LANES; at -= __popc(moved)) {
        const int32_t to = at - lane;
        const bool moves = to > 0 && l->time[to - 1] > time;
        const double other = moves ? l->time[to - 1] : 0;
        const uint32_t others = moves ? l->pick[to - 1] : 0;
        moved = __ballot_sync(FLIP_ALL_LANES, moves);
        __syncwarp(); /* all have read */
        if (moves) l->time[to] = other;
        if (moves) l->pick[to] = others;
        __syncwarp();
    }
    if (lane == 0) l->time[at] = time;
    if (lane == 0) l->pick[at] = pick;
    if (l->found < l->k) l->found++;
    __syncwarp();
}

/* Those of the lanes that want it, one after the other. */
__device__ static void keep_lanes(least *l, bool wanted, double time, uint32_t pick) {
    for (unsigned left = __ballot_sync(FLIP_ALL_LANES, wanted); left; left &= left - 1) {
        const int lane = __ffs((int)left) - 1;
        keep_least(l, __shfl_sync(FLIP_ALL_LANES, time, lane),
                   __shfl_sync(FLIP_ALL_LANES, pick, lane));
    }
}

/* The first piece of a row has the row's own place in the columns. */
__device__ static least least_of(const flip_draws &d, const flip_draw_pieces &p,
                                 const flip_drawn &out, int64_t t, int32_t i, bool first) {
    least l;
    l.k = d.fanout;
    l.found = 0;
    l.time = p.time + t * l.k;
    l.pick =
        first ? reinterpret_cast<uint32_t *>(out.col + out.first[i + 1] - l.k) : p.pick + t * l.k;
    return l;
}

__global__ static void pick_heavy_kernel(flip_draws d, flip_draw_pieces p, flip_drawn out) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(t, p.first[d.n]) {
        const piece q = piece_at(d, p, t);
        least l = least_of(d, p, out, t, q.i, q.at == 0);
        const flip_luck luck = flip_luck_from(
            flip_cuda_random(d.seed, FLIP_STREAM_SAMPLE, d.draw, (uint64_t)d.original[d.row[q.i]]));
        for (int32_t from = 0; from < q.n; from += FLIP_WARP) {
            const int32_t j = from + lane;
            const uint32_t pick = q.at + (uint32_t)j;
            flip_luck mine = flip_luck_later(luck, pick);
            const uint64_t x = flip_luck_unit(&mine);
            const flip_real weight = j < q.n ? d.weight[q.begin + j] : 0;
            bool wanted =
                j < q.n && !(l.found == l.k && flip_luck_late(x, weight, l.time[l.k - 1]));
            const double time = wanted ? flip_luck_time(x, weight) : 0;
            wanted = wanted && is_among(l, time);
            keep_lanes(&l, wanted, time, pick);
        }
    }
}

/* A row of several pieces has the least of all. */
__global__ static void merge_heavy_kernel(flip_draws d, flip_draw_pieces p, flip_drawn out) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, d.n) {
        const int64_t first = p.first[i], end = p.first[i + 1];
        if (end - first < 2) continue;
        const uint32_t of = flip_draws_candidates_at(&d, (int32_t)i).n;
        least l = least_of(d, p, out, first, (int32_t)i, true);
        l.found = l.k; /* a piece that is not the last has more */
        for (int64_t t = first + 1; t < end; t++) {
            const int64_t left = (int64_t)of - (t - first) * p.each;
            const int32_t n = left < l.k ? (int32_t)left : l.k;
            for (int32_t from = 0; from < n; from += FLIP_WARP) {
                const int32_t j = from + lane;
                const double time = j < n ? p.time[t * l.k + j] : 0;
                const uint32_t pick = j < n ? p.pick[t * l.k + j] : 0;
                keep_lanes(&l, j < n && is_among(l, time), time, pick);
            }
        }
    }
}

void flip_cuda_pick_heavy(const flip_draws *d, const flip_draw_pieces *p, const flip_drawn *out) {
    cut(d, p);
    FLIP_LAUNCH_WARPS(pick_heavy_kernel, p->most, *d, *p, *out);
    if (d->n_entries > p->each) FLIP_LAUNCH_WARPS(merge_heavy_kernel, d->n, *d, *p, *out);
}

/* A thread a draw. */
__global__ static void pick_again_kernel(flip_draws d, flip_drawn out) {
    FLIP_EACH(t, (int64_t)d.n * d.fanout) {
        const int32_t i = (int32_t)(t / d.fanout), row = d.row[i];
        const flip_candidates c = flip_draws_candidates_at(&d, i);
        if (flip_draws_all(&d, c.n)) continue;
        const flip_luck luck = flip_luck_from(
            flip_cuda_random(d.seed, FLIP_STREAM_SAMPLE, d.draw, (uint64_t)d.original[row]));
        flip_luck mine = flip_luck_later(luck, (uint32_t)(t % d.fanout));
        out.col[out.first[i + 1] - d.fanout + t % d.fanout] = (int32_t)flip_pick_again(
            flip_luck_unit(&mine), d.weight_sums + c.begin, c.n, d.weight[c.begin + c.n - 1]);
    }
}

void flip_cuda_pick_again(const flip_draws *d, const flip_drawn *out) {
    FLIP_LAUNCH_EACH(pick_again_kernel, (int64_t)d->n * d->fanout, *d, *out);
}
