/* What the kernels that sum along the rows of a sparse matrix share: vectors of values, and long
 * rows cut into segments.
 *
 * A row of a skewed graph may have a million entries, and one warp would be a long time at it. So
 * rows of more than `length` entries are cut into segments of `length`, each summed like a row into
 * a partial sum of its own, and a second kernel adds a row's partial sums in a fixed order. Which
 * rows are long the device finds out itself (the host does not read row_ptr); no float is added by
 * an atomic, so that results are the same bits every run:
 *
 *     find     long row h ─▶ row[h], first[h] (its segments first[h] … first[h] + pieces[h] - 1),
 *              segment s ─▶ of[s] = h           (places are claimed by integer atomics: where a
 *     sum      partial[s, :]                     row's segments lie changes no sum)
 *     combine  y[row[h], :] = scale * (partial[first[h], :] + …)
 */
#ifndef FLIPBOOK_KERNELS_CUDA_ROWS_H
#define FLIPBOOK_KERNELS_CUDA_ROWS_H

#include "kernels/cuda.h"

enum {
    FLIP_ROW_THREADS = 256,
    FLIP_SEGMENT = 256,        /* entries, at least */
    FLIP_SEGMENT_BLOCKS = 528, /* blocks that go through the segments, at most: 4 for each SM */
    FLIP_COMBINE_BLOCKS = 1056
};

/* V values read or written at once; their address is a multiple of their size. */
template <int V> struct alignas(V * sizeof(flip_real)) flip_pack { flip_real v[V]; };

typedef struct flip_segments {
    int64_t length;     /* rows of more entries are cut */
    int32_t capacity;   /* segments at most; 0: no row can be that long */
    int32_t *count;     /* [2] long rows, segments */
    int32_t *row;       /* [capacity] of long rows */
    int32_t *first;     /* [capacity] */
    int32_t *pieces;    /* [capacity] */
    int32_t *of;        /* [capacity] of segments */
    flip_real *partial; /* [capacity, width] */
} flip_segments;

/* Starts finding the long rows among `rows` (NULL = 0 … n_rows-1); the memory is the library's, in
 * use until the next call. */
void flip_segments_find(flip_segments *s, const flip_csr *a, const int32_t *rows, int32_t n_rows,
                        int64_t width);
/* y[row, 0 … width) (+)= row_scale[row] (NULL = 1) * sum of the row's partial sums; rows of y stand
 * ld apart. */
void flip_segments_combine(const flip_segments *s, const flip_real *row_scale, int64_t width,
                           flip_real *y, int64_t ld, bool accumulate);

/* What one group of lanes sums: entries first … last-1 of row v, whole into y (segment -1) or into
 * partial[segment]; of several tiles of columns the one that is named. */
typedef struct flip_stretch {
    int64_t v, first, last, segment;
    int32_t tile;
} flip_stretch;

/* A launch over rows and segments: blocks 0 … segment_blocks-1 go through the segments, which take
 * longest and so begin first, the others through the rows. */
typedef struct flip_walk {
    const int64_t *row_ptr;
    const int32_t *rows; /* [n_rows] or NULL */
    int32_t n_rows, tiles, segment_blocks;
    int64_t blocks; /* of the launch */
    flip_segments segments;
} flip_walk;

/* Finds the long rows; blocks of `groups` groups. */
static inline flip_walk flip_walk_begin(const flip_csr *a, const int32_t *rows, int32_t n_rows,
                                        int64_t width, int64_t tiles, int64_t groups) {
    flip_walk w = {a->row_ptr, rows, n_rows, (int32_t)tiles, 0, 0, {}};
    flip_segments_find(&w.segments, a, rows, n_rows, width);
    int64_t blocks = (w.segments.capacity * tiles + groups - 1) / groups;
    w.segment_blocks = (int32_t)flip_min64(blocks, FLIP_SEGMENT_BLOCKS);
    blocks = (n_rows * tiles + groups - 1) / groups;
    w.blocks = w.segment_blocks + flip_min64(blocks, (int64_t)1 << 30);
    return w;
}

/* The stretches of one group: for (flip_steps at(walk, group, groups); at.next(&stretch);) */
struct flip_steps {
    const flip_walk &walk;
    int64_t at, end, step;
    bool cut;

    __device__ flip_steps(const flip_walk &w, int64_t group, int64_t groups) : walk(w) {
        cut = blockIdx.x < (unsigned)w.segment_blocks;
        int64_t block = cut ? blockIdx.x : blockIdx.x - w.segment_blocks;
        at = block * groups + group;
        end = (cut ? w.segments.count[1] : w.n_rows) * (int64_t)w.tiles;
        step = (cut ? w.segment_blocks : gridDim.x - w.segment_blocks) * groups;
    }

    __device__ bool next(flip_stretch *s) {
        const flip_segments &cuts = walk.segments;
        for (; at < end; at += step) {
            int64_t item = walk.tiles == 1 ? at : at / walk.tiles;
            s->tile = (int32_t)(at - item * walk.tiles);
            s->segment = cut ? item : -1;
            int32_t h = cut ? cuts.of[item] : 0;
            s->v = cut ? cuts.row[h] : walk.rows ? walk.rows[item] : item;
            s->first = walk.row_ptr[s->v];
            s->last = walk.row_ptr[s->v + 1];
            if (cut) {
                s->first += (item - cuts.first[h]) * cuts.length;
                if (s->first + cuts.length < s->last) s->last = s->first + cuts.length;
            } else if (s->last - s->first > cuts.length)
                continue;
            at += step;
            return true;
        }
        return false;
    }
};

#endif
