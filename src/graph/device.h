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

/* What differs between t-1 and t, ascending by key; a value may be flip_absent. */
typedef struct flip_record {
    int64_t n, room;
    uint64_t *key;
    flip_real *before, *after;
} flip_record;

typedef struct flip_device {
    flip_word_form form;
    int32_t n_steps;
    int32_t low, now, high; /* -1: nothing held */
    int64_t n, room[2];     /* entries of the snapshot; room of the two buffers */
    uint64_t *key[2];       /* [0] the snapshot, [1] the one that is being made */
    flip_real *value[2];
    flip_record *record; /* [n_steps] of t-1 to t */
} flip_device;

flip_status flip_device_init(flip_device *device, int32_t n_steps, flip_word_form form);
void flip_device_finish(flip_device *device);
void flip_device_forget(flip_device *device);
/* A snapshot is sent: the first one (nothing held), or the next on either side of what is held. */
flip_status flip_device_receive_full(flip_device *device, int32_t t, const flip_packet *packet);
/* A difference is sent that leads to the next step on either side. */
flip_status flip_device_receive_delta(flip_device *device, int32_t t, const flip_packet *packet);
/* The snapshot becomes that of step t, low <= t <= high. */
flip_status flip_device_move(flip_device *device, int32_t t);
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
