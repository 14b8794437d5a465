/* Draws that look at every candidate, on the GPU. Which lane looks at one follows from where it
 * stands, and so does the place of what is drawn: the bits are the CPU's. */
#include "kernels/cuda_draws.h"
#include "kernels/cuda_warp.h"

/* ---- pieces ---- */

flip_pieces flip_cuda_pieces(const flip_draws *d, char **work) {
    flip_pieces p = {};
    if (!flip_draws_in_pieces(d)) return p;
    p.each = flip_draws_piece(d->fanout);
    p.most = flip_draws_pieces(d->n, d->n_entries, d->fanout);
    const int64_t more = p.most > d->n ? p.most : (int64_t)d->n;
    p.first = flip_deal<int32_t>(work, (int64_t)d->n + 1);
    p.drawn = flip_deal<int32_t>(work, p.most + 1);
    p.sums = flip_deal<int32_t>(work, flip_tiles_of(more + 1, FLIP_SCAN));
    return p;
}

__global__ static void pieces_kernel(flip_draws d, int32_t each, int32_t *count) {
    FLIP_EACH(i, d.n) {
        const uint32_t n = flip_draws_candidates_at(&d, (int32_t)i).n;
        count[i] = flip_draws_all(&d, n) ? 0 : (int32_t)((n + (uint32_t)each - 1) / (uint32_t)each);
    }
}

static void cut(const flip_draws *d, const flip_pieces *p) {
    FLIP_LAUNCH_EACH(pieces_kernel, d->n, *d, p->each, p->first);
    flip_sum_all_before(d->n, p->first, p->sums);
}

typedef struct piece {
    int32_t i;   /* the row that draws, … */
    uint32_t of; /* its candidates, */
    uint32_t at; /* the first of the piece's among them */
    int32_t n;
    const int32_t *col; /* [n] */
} piece;

__device__ static inline piece piece_at(const flip_draws &d, const flip_pieces &p, int64_t t) {
    piece q;
    q.i = flip_row_at(p.first, d.n, t);
    const flip_candidates c = flip_draws_candidates_at(&d, q.i);
    q.of = c.n;
    q.at = (uint32_t)(t - p.first[q.i]) * (uint32_t)p.each;
    q.n = (int32_t)(q.of - q.at < (uint32_t)p.each ? q.of - q.at : (uint32_t)p.each);
    q.col = d.col + c.begin + q.at;
    return q;
}

/* ---- LABOR ---- */

__global__ static void count_shared_kernel(flip_draws d, flip_pieces p) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(t, p.most) {
        int32_t drawn = 0;
        if (t < p.first[d.n]) {
            const piece q = piece_at(d, p, t);
            for (int32_t j = lane; j < q.n; j += FLIP_WARP)
                drawn += flip_draws_shared(&d, q.col[j], q.of);
            drawn = flip_lanes_sum(drawn);
        }
        if (lane == 0) p.drawn[t] = drawn;
    }
}

void flip_cuda_count_shared(const flip_draws *d, const flip_pieces *p) {
    cut(d, p);
    FLIP_LAUNCH_WARPS(count_shared_kernel, p->most, *d, *p);
    flip_sum_all_before(p->most, p->drawn, p->sums);
}

__global__ static void pick_shared_kernel(flip_draws d, flip_pieces p, flip_drawn out) {
    const int lane = (int)threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(t, p.first[d.n]) {
        const piece q = piece_at(d, p, t);
        int32_t *to = out.col + out.first[q.i + 1] + p.drawn[t] - p.drawn[p.first[q.i + 1]];
        for (int32_t from = 0; from < q.n; from += FLIP_WARP) {
            const int32_t j = from + lane;
            const bool mine = j < q.n && flip_draws_shared(&d, q.col[j], q.of);
            const unsigned all = __ballot_sync(FLIP_ALL_LANES, mine);
            if (mine) to[__popc(all & ((1u << lane) - 1))] = (int32_t)q.at + j;
            to += __popc(all);
        }
    }
}

void flip_cuda_pick_shared(const flip_draws *d, const flip_pieces *p, const flip_drawn *out) {
    FLIP_LAUNCH_WARPS(pick_shared_kernel, p->most, *d, *p, *out);
}
