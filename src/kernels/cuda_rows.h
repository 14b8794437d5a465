/* What the kernels that sum along the rows of a sparse matrix share: long rows cut into
 * segments.
 *
 * A row of a skewed graph may have a million entries, and one warp would be a long time at it. So
 * rows of at least twice `length` entries are cut into segments of `length` (the last takes what is
 * left), each summed like a row into a partial sum of its own, and a second kernel adds a row's
 * partial sums in a fixed order. Which rows are long the device finds out itself: the host does not
 * read row_ptr. A segment that begins with entry e has place e / length, which is its own, since
 * the next one begins at least `length` entries later; so nothing is counted, and no float is added
 * by an atomic:
 *
 *     find     of[place] = row, or -1 where no segment is
 *     sum      partial[place, :] = the segment's sum
 *     combine  y[row, :] = scale * (partial[place of the row's first, :] + …)
 */
#ifndef FLIPBOOK_KERNELS_CUDA_ROWS_H
#define FLIPBOOK_KERNELS_CUDA_ROWS_H

#include "kernels/cuda_four.h"
#include "kernels/cuda_warp.h"

enum {
    FLIP_ROW_THREADS = 256,
    FLIP_SEGMENT = 256,       /* entries, at least */
    FLIP_SEGMENT_BLOCKS = 528 /* that go through the segments, at most: 4 for each SM */
};

typedef struct flip_segments {
    int64_t length;     /* rows of 2 length entries are cut */
    int64_t places;     /* of segments; 0: no row can be that long */
    int32_t *of;        /* [places] rows, or -1 */
    flip_real *partial; /* [places, width] */
} flip_segments;

/* Segments of a row that begins with entry `first`. */
static __device__ __forceinline__ int64_t flip_segments_of(const flip_segments &s, int64_t first,
                                                           int64_t last) {
    return last - first < 2 * s.length ? 1 : (last - first) / s.length;
}

/* Starts finding the long rows among `rows` (NULL = 0 … n_rows-1); the memory is the library's, in
 * use until the next call. */
void flip_segments_find(flip_segments *s, const flip_csr *a, const int32_t *rows, int32_t n_rows,
                        int64_t width);
/* y[row, 0 … width) (+)= a's row_scale[row] * sum of the row's partial sums; rows of y stand
 * ld apart. */
void flip_segments_combine(const flip_segments *s, const flip_csr *a, int64_t width, flip_real *y,
                           int64_t ld, bool accumulate);

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
    int64_t blocks = (w.segments.places * tiles + groups - 1) / groups;
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
        end = (cut ? w.segments.places : w.n_rows) * (int64_t)w.tiles;
        step = (cut ? w.segment_blocks : gridDim.x - w.segment_blocks) * groups;
    }

    __device__ bool next(flip_stretch *s) {
        const flip_segments &cuts = walk.segments;
        for (; at < end; at += step) {
            int64_t item = walk.tiles == 1 ? at : at / walk.tiles;
            s->tile = (int32_t)(at - item * walk.tiles);
            s->segment = cut ? item : -1;
            s->v = cut ? cuts.of[item] : walk.rows ? walk.rows[item] : item;
            if (s->v < 0) continue;
            s->first = walk.row_ptr[s->v];
            s->last = walk.row_ptr[s->v + 1];
            const int64_t pieces = flip_segments_of(cuts, s->first, s->last);
            if (cut) {
                const int64_t piece = item - s->first / cuts.length;
                s->first += piece * cuts.length;
                if (piece < pieces - 1) s->last = s->first + cuts.length;
            } else if (pieces > 1)
                continue;
            at += step;
            return true;
        }
        return false;
    }
};

#endif
