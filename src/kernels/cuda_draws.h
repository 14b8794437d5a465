/* Rows that draw, for the CUDA kernels of sampled batches. */
#ifndef FLIPBOOK_KERNELS_CUDA_DRAWS_H
#define FLIPBOOK_KERNELS_CUDA_DRAWS_H

#include "kernels/cuda_random.h"
#include "kernels/cuda_scan.h"
#include "kernels/draws.h"

/* The last of n rows that begins at or before e: first [n] ascends, and first[0] <= e. */
template <typename number>
__device__ static inline int32_t flip_row_at(const number *first, int32_t n, int64_t e) {
    int32_t low = 0, high = n;
    while (high - low > 1) {
        const int32_t middle = low + (high - low) / 2;
        if (first[middle] <= e)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Candidates that are all looked at, in pieces of at most `each`, those of a row side by side. */
typedef struct flip_draw_pieces {
    int64_t most; /* pieces, and those that would not come */
    int32_t each;
    int32_t *first; /* [n + 1] of each row's; rows that draw all of theirs have none */
    int32_t *drawn; /* [most + 1] LABOR: entries drawn in pieces before this one */
    int32_t *sums;  /* room for sums of either */
    double *time;   /* by weight [most, fanout]: the least of each piece … */
    uint32_t *pick; /* … and where they stand in their row */
} flip_draw_pieces;

/* Does the draw look at every candidate? */
static inline bool flip_draws_in_pieces(const flip_draws *d) {
    return d->fanout >= 0 && (d->chance || (d->by_weight && d->weight && !d->weight_sums));
}
/* Their room, taken from the front of *work, without pieces where none are looked at. */
flip_draw_pieces flip_cuda_pieces(const flip_draws *draws, char **work);
/* LABOR: pieces and what is drawn of each; then which, in out->col until they become columns. */
void flip_cuda_count_shared(const flip_draws *draws, const flip_draw_pieces *pieces);
void flip_cuda_pick_shared(const flip_draws *draws, const flip_draw_pieces *pieces,
                           const flip_drawn *out);
/* By weight without replacement: likewise. */
void flip_cuda_pick_heavy(const flip_draws *draws, const flip_draw_pieces *pieces,
                          const flip_drawn *out);
/* By weight with replacement: likewise, without pieces. */
void flip_cuda_pick_again(const flip_draws *draws, const flip_drawn *out);
/* LABOR: entries that row i draws of its candidates, unless all, once they are counted. */
__device__ static inline int32_t flip_shared_by(const flip_draw_pieces &p, int64_t i) {
    return p.drawn[p.first[i + 1]] - p.drawn[p.first[i]];
}

/* Entries that row i draws of its n candidates. */
__device__ static inline int32_t flip_drawn_by(const flip_draws &d, const flip_draw_pieces &p,
                                               int64_t i, uint32_t n) {
    return flip_draws_all(&d, n) ? (int32_t)n : p.drawn ? flip_shared_by(p, i) : d.fanout;
}

#endif
