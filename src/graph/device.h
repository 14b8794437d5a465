/* Inside the graph stage: the device's side of snapshots — one raw snapshot, and the changes that
 * lead from it to the other steps of a block.
 *
 *     steps   low … … now … … high        now: the snapshot, entries ascending
 *     records    low+1 … … … high         record t: entries that differ between t-1 and t, with
 *                                         both values, so that it is walked either way
 */
#ifndef FLIPBOOK_GRAPH_DEVICE_H
#define FLIPBOOK_GRAPH_DEVICE_H

#include "graph/timeline.h"

/* What differs between t-1 and t, ascending by key; a value may be flip_absent. One piece of
 * memory, which begins at key. */
typedef struct flip_record {
    int64_t n, room, more; /* more: entries that t has beyond those of t-1 */
    uint64_t *key;
    flip_real *before, *after;
} flip_record;

/* All arrays lie in the table's memory. */
typedef struct flip_device {
    const flip_kernels *kernels;
    flip_word_form form;
    int64_t most_entries, most_changes; /* a GPU's memory is taken for so many at once; 0 = as they
                                           come */
    int32_t n_steps;
    int32_t low, now, high; /* -1: nothing held */
    int64_t n, room[2];     /* entries of the snapshot; room of the two buffers */
    uint64_t *key[2];       /* [0] the snapshot, [1] the one that is being made */
    flip_real *value[2];
    flip_record *record; /* [n_steps] of t-1 to t */
    /* on its way */
    bool whole;
    int64_t n_between;      /* of a snapshot: the packet's */
    flip_graph_words words; /* a difference; of a snapshot, n_added alone */
    uint64_t *word;         /* where a difference arrives, other than on a CPU */
    flip_real *extra;       /* … */
    int64_t room_words;     /* of word and extra */
    void *work;             /* the kernels' */
    size_t room_work;       /* bytes */
    uint64_t *found;        /* [6] a change that does not fit, or all ones; number of changes; of a
                               block's matrix (snapshots_lay.c): entries, runs, values, those kept */
    bool later;             /* what does not fit is told by flip_device_settle alone */
    flip_record *spare; /* [n_steps] of a GPU, whose memory is slow to take, those of records that
                           are gone: n_spare */
    int32_t n_spare;
} flip_device;

flip_status flip_device_init(flip_device *device, const flip_kernels *kernels, int32_t n_steps,
                             flip_word_form form);
void flip_device_finish(flip_device *device);
void flip_device_forget(flip_device *device);
/* Step t is sent, as a snapshot or a difference: the first one (nothing held; a snapshot), or the
 * next on either side of what is held. Taken, it is patched in, and the snapshot is that of step t.
 * The packet must stay as it is until it is taken; with `later`, until flip_device_settle, unless
 * it was a snapshot beside what is held, for which the host waits. */
flip_status flip_device_send(flip_device *device, int32_t t, const flip_packet *packet, bool whole);
flip_status flip_device_take(flip_device *device, int32_t t);
/* The snapshot becomes that of step t, low <= t <= high. */
flip_status flip_device_move(flip_device *device, int32_t t);
/* All is done that was called, and every change was one of the snapshot's; found [n <= 6] out: what
 * the device has. */
flip_status flip_device_settle(flip_device *device, uint64_t *found, int n);
/* Only steps low … high are needed from now on; the snapshot is one of them. */
void flip_device_keep(flip_device *device, int32_t low, int32_t high);

/* What a block's snapshots hold of every entry: the value from a step on, until the next piece. */
typedef struct flip_piece {
    int32_t step;
    flip_real value; /* or flip_absent */
} flip_piece;

typedef struct flip_pieces {
    int64_t *row_begin; /* [n_rows] into column */
    int32_t *row_n;     /* [n_rows] */
    int32_t *column;    /* place among all columns, until the block's columns are named */
    int64_t *begin;     /* of each entry into piece */
    int32_t *n;         /* pieces of each entry, the first at step low or later */
    flip_piece *piece;
    int64_t room_rows, room_entries, room_pieces;
} flip_pieces;

flip_status flip_pieces_take(flip_pieces *pieces, const flip_device *device, int32_t n_rows,
                             int32_t n_cols);
void flip_pieces_finish(flip_pieces *pieces);

#endif
