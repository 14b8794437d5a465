/* Flipbook: layout — which rank holds what of nodes x steps.
 *
 * P ranks form a grid: the nodes are cut into n_space parts, the steps of a block into n_time
 * chunks, and rank = part * n_time + chunk. The timeline is cut into blocks (checkpointing along
 * the timeline, SC'21 section 3); each block is dealt out anew, so that every rank has a share of
 * it.
 *
 *                steps of block k ──▶
 *          ┌──────────┬──────────┬────┐   time layout   [n_rows, own steps of the block, dim]
 *   part 0 │ rank 0   │ rank 1   │ 2  │     all nodes of a part, some steps: what couples nodes
 *          ├──────────┼──────────┼────┤
 *   part 1 │ rank 3   │ rank 4   │ 5  │   node layout   [n_own, all steps of the block, dim]
 *          └──────────┴──────────┴────┘     some nodes of a part, all steps: what couples steps
 *
 * `nodes` is n_time = 1 (the two layouts are one), `time` is n_space = 1. Everything that models,
 * heads and losses see is in the time layout; temporal operators change to the node layout and back
 * inside. Node ids of a part are contiguous: a rank's own nodes in the node layout are the range
 * the file's partition gave it, and a part is the ranges of its n_time ranks, one after the other.
 */
#ifndef FLIPBOOK_LAYOUT_H
#define FLIPBOOK_LAYOUT_H

#include <flipbook/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How temporal operators couple the chunks of a block. */
typedef enum flip_temporal_exchange {
    FLIP_EXCHANGE_REDISTRIBUTE, /* all-to-all to the node layout and back (SC'21 section 4.2) */
    FLIP_EXCHANGE_WAVEFRONT,    /* state handed to the next chunk, slice of nodes by slice */
    FLIP_EXCHANGE_WINDOW        /* the window-1 steps before a chunk (TM-GCN's band) */
} flip_temporal_exchange;

typedef struct flip_layout_params {
    int32_t n_time;     /* chunks; must divide the ranks; 1 = nodes, size = time */
    int32_t n_steps;    /* of the timeline */
    int32_t first_step; /* steps before it only feed edge lives: no block has them */
    int32_t n_blocks;   /* 1 … n_steps - first_step */
    int32_t slices;     /* of nodes, in which exchanges overlap with work; 0 = default (8) */
    flip_temporal_exchange exchange;
    /* [n_steps], the same on all ranks: a block's steps are dealt to chunks in sums as equal as
     * they get; NULL = equal steps */
    const double *work;
} flip_layout_params;

/* Read by everybody, changed by nobody. */
typedef struct flip_layout {
    flip_comm *world; /* borrowed */
    flip_comm *space; /* ranks with my steps, by part; owned */
    flip_comm *time;  /* ranks with my part, by chunk; owned */
    int32_t n_space, n_time, part, chunk;
    flip_temporal_exchange exchange;
    const flip_gid *rank_first; /* [size + 1] node layout */
    const flip_gid *part_first; /* [n_space + 1] time layout: rank_first every n_time */
    int32_t n_own, n_rows;      /* nodes of this rank in the two layouts */
    const int64_t *original;    /* [n_rows] original ids of the part's nodes */
    int32_t n_steps, n_blocks, slices;
    const int32_t *block_first; /* [n_blocks + 1] steps */
    const int32_t *chunk_first; /* [n_blocks * (n_time + 1)]: of block k from k * (n_time + 1) on */
    int32_t own_steps;          /* of all blocks together */
    const int32_t *own_before;  /* [n_blocks + 1]: own steps in the blocks before */
    struct flip_travel *travel; /* slices and states on their way */
    flip_arena *arena;
} flip_layout;
enum { FLIP_LAYOUT_SLICES = 8 };

/* Collective. world NULL: one rank. original: [n_own of the node layout], NULL = global ids. A
 * block with fewer steps than chunks leaves chunks empty; otherwise each has a step at least. */
flip_status flip_layout_create(flip_layout **layout, flip_comm *world, const flip_gid *rank_first,
                               const int64_t *original, const flip_layout_params *params);
void flip_layout_destroy(flip_layout **layout); /* collective */
/* This rank's steps of a block: first and number (which may be 0). */
static inline int32_t flip_layout_first(const flip_layout *l, int32_t block) {
    return l->chunk_first[block * (l->n_time + 1) + l->chunk];
}
static inline int32_t flip_layout_steps(const flip_layout *l, int32_t block) {
    return l->chunk_first[block * (l->n_time + 1) + l->chunk + 1] - flip_layout_first(l, block);
}
/* How steps first … last-1 are cut into chunks: border [n_time + 1], work [last] as in the params
 * or NULL. */
void flip_layout_cut(int32_t *border, int32_t first, int32_t last, int32_t n_time,
                     const double *work);
/* Chunk whose steps of its block contain step t. */
int32_t flip_layout_chunk_of(const flip_layout *layout, int32_t step, int32_t *block);

/* ---- once, at the start; not counted in the meter ---- */

/* Rows of `bytes` from the node layout [n_own, n_steps] to the time layout, block after block:
 * block k stands from own_before[k] * n_rows rows on, each [n_rows, own steps of k]. out has n_rows
 * * own_steps rows. constant: rows [n_own] that are the same at every step, to [n_rows]. Collective
 * over layout->time. One chunk, and one block from step 0 on or constant rows: the two are the
 * same. */
flip_status flip_layout_deal_rows(const flip_layout *layout, const void *own, size_t bytes,
                                  bool constant, void *out);
/* Rows that stand for some steps of a node: node v has rows first[v] … first[v + 1] - 1, each from
 * step[i] on to the one before the next row's, the first from step 0. */
typedef struct flip_lasting_rows {
    const int64_t *first; /* [nodes + 1] */
    const int32_t *step;
    const void *rows; /* of `bytes` */
} flip_lasting_rows;
/* Those of the node layout [n_own] to the time layout [n_rows]: to a chunk go the rows that its
 * steps of any block read, and no others. *dealt arrays are owned by the caller (flip_free of the
 * three). Collective over layout->time. */
flip_status flip_layout_deal_lasting(const flip_layout *layout, const flip_lasting_rows *own,
                                     size_t bytes, flip_lasting_rows *dealt);
/* Events of the node layout to the ranks of the part whose steps they touch: an event of step s
 * goes to each chunk that has a step in s … s + stay. *dealt arrays are owned by the caller
 * (flip_free of the four pointers; weight may be NULL). Events of a destination keep their order.
 * Collective over layout->time. */
flip_status flip_layout_deal_events(const flip_layout *layout, const flip_events *own, int32_t stay,
                                    flip_events *dealt);

/* ---- in every pass ----
 * Redistribution. Slice i of `slices` takes rows i n_own / slices … of every rank's own nodes. Ends
 * come in the order of begins; up to FLIP_LAYOUT_FLYING slices of one direction may be in flight.
 * Counted as FLIP_BYTES_REDISTRIBUTE; of all slices and ranks: w dim sum over chunks of T_p (N -
 * N_p), T_p the chunk's steps, N_p the nodes of its rank, N those of the part. Collective over
 * layout->time. */
enum { FLIP_LAYOUT_FLYING = 8 };
/* x [n_rows, own steps, dim] untouched until the end. */
flip_status flip_layout_to_nodes_begin(flip_layout *layout, int32_t block, int32_t slice,
                                       int32_t dim, const flip_real *x);
/* y [n_own, block's steps, dim]: the oldest slice's rows are filled. */
flip_status flip_layout_to_nodes_end(flip_layout *layout, flip_real *y);
/* y's rows of the slice are read at once; x gets the rows of that slice of every rank, by the end.
 */
flip_status flip_layout_to_time_begin(flip_layout *layout, int32_t block, int32_t slice,
                                      int32_t dim, const flip_real *y, flip_real *x);
flip_status flip_layout_to_time_end(flip_layout *layout); /* of the oldest slice */
/* Lets long messages move on while the caller works. */
flip_status flip_layout_progress(flip_layout *layout);
/* Rows first … first + n of `rows` in a slice. */
static inline void flip_layout_slice(const flip_layout *l, int32_t slice, int32_t rows,
                                     int32_t *first, int32_t *n) {
    *first = (int32_t)((int64_t)rows * slice / l->slices);
    *n = (int32_t)((int64_t)rows * (slice + 1) / l->slices) - *first;
}

/* Wavefront: n values to the next chunk of the part (forward; backward: to the one before), in
 * flight until flip_layout_state_end, and from there, waited for. Messages between the same two
 * chunks arrive in order, forward's apart from backward's. Counted as FLIP_BYTES_STATE where they
 * are sent: with S values a node, w (n_time - 1) N S a block for the hand-overs, forward or
 * backward. */
flip_status flip_layout_send_state(flip_layout *layout, int32_t chunk, bool forward,
                                   const flip_real *state, size_t n);
flip_status flip_layout_receive_state(flip_layout *layout, int32_t chunk, bool forward,
                                      flip_real *state, size_t n);
flip_status flip_layout_state_end(flip_layout *layout);
/* From the last chunk to chunk 0 (backward: from 0 to the last), where the next block receives it,
 * by MPI: of a device where the communicator is attached. Refused with NCCL, whose exchanges follow
 * each other: none may wait for a later block; there both ends call send_state and receive_state
 * with all of a layer's state when they have come to the next block. w N S more between consecutive
 * blocks. In flight under a ticket (0, 1, …) until the end for that ticket, which is to be called
 * when the next block's same rows have come round: by then they were received. An end where nothing
 * is in flight does nothing. */
flip_status flip_layout_send_wrap(flip_layout *layout, int32_t ticket, bool forward,
                                  const flip_real *state, size_t n);
flip_status flip_layout_receive_wrap(flip_layout *layout, bool forward, flip_real *state, size_t n);
flip_status flip_layout_wrap_end(flip_layout *layout, int32_t ticket, bool forward);

/* Window: the `before` steps before this chunk's first of the block, or as many as the timeline
 * has, from the ranks of the part that have them. Counted as FLIP_BYTES_WINDOW: w N dim times the
 * sum over chunks of min(before, first step of p), less the steps that p has itself (of an earlier
 * block: none with one block); steps count from first_step. Collective over layout->time. */
typedef struct flip_window {
    int32_t n;         /* steps of this chunk's window */
    int32_t n_kept;    /* own steps among the `before` steps before the block */
    int32_t kept_from; /* … the first of them is own step kept_from (of all blocks together) */
} flip_window;
flip_window flip_layout_window_of(const flip_layout *layout, int32_t block, int32_t before);
/* x [n_rows, own steps, dim]; kept [n_rows, n_kept, dim] (what own steps of earlier blocks had);
 * earlier [n_rows, window's n, dim] out. */
flip_status flip_layout_window(flip_layout *layout, int32_t block, int32_t before, int32_t dim,
                               const flip_real *kept, const flip_real *x, flip_real *earlier);
/* Back: earlier's gradients are added to x's and to kept's (either may be NULL where it has no
 * steps), in the order of the chunks they come from. */
flip_status flip_layout_window_back(flip_layout *layout, int32_t block, int32_t before, int32_t dim,
                                    const flip_real *earlier, flip_real *kept, flip_real *x);

#ifdef __cplusplus
}
#endif
#endif
