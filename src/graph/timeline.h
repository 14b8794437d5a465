/* Inside the graph stage: the host's side of snapshots — all events of a rank's rows, sorted, and
 * from them what a step holds and what changes on the way to it. */
#ifndef FLIPBOOK_GRAPH_TIMELINE_H
#define FLIPBOOK_GRAPH_TIMELINE_H

#include "graph/internal.h"
#include <flipbook/snapshots.h>

#include <string.h>

/* An entry is named by row << 32 | place of its column among all columns, ascending by original id:
 * the order of keys is the order of entries in a matrix. */
static inline int32_t flip_key_row(uint64_t key) {
    return (int32_t)(key >> 32);
}
static inline int32_t flip_key_place(uint64_t key) {
    return (int32_t)(key & 0xffffffff);
}

flip_word_form flip_word_form_of(int32_t n_rows, int32_t n_cols);
/* Does the value fit? What is counted: values of the product, floats; those of the oracle build may
 * need more and count the same. */
bool flip_word_fits(const flip_word_form *form, flip_real value);
/* false: the value must follow. */
bool flip_word_pack(const flip_word_form *form, uint64_t key, flip_real value, uint64_t *word);

/* What a share of the pairs has of a step, and changes on the way to it. */
enum { FLIP_TIMELINE_SHARES = 64 };
typedef struct flip_share {
    int32_t entries, added, removed, changed;
    int32_t extra[2];  /* values that do not fit, as they count: added, removed */
    int32_t follow[2]; /* values that follow their words: of differences forward, back */
} flip_share;

typedef struct flip_timeline {
    int32_t n_rows, n_cols, n_steps, life;
    flip_word_form form;
    flip_gid *halo;    /* [n_cols - n_rows] ascending: columns from n_rows on */
    int64_t *original; /* [n_cols] */
    int32_t *order;    /* [n_cols] column at each place */
    int64_t n_pairs, n_events;
    uint64_t *key;               /* [n_pairs] ascending */
    int64_t *event_ptr;          /* [n_pairs + 1] */
    int32_t *step;               /* [n_events] ascending in a pair */
    flip_real *weight;           /* [n_events] or NULL */
    int64_t *step_ptr;           /* [n_steps + 1] */
    uint32_t *step_pair;         /* pairs with an event at each step, ascending; no more pairs than
                                    events, which the columns' build limits to 2^32 */
    uint64_t *mark;              /* [n_pairs / 64 + 1] all 0 between calls */
    flip_difference *difference; /* [n_steps] */
    int64_t *extra;              /* [n_steps, 2] values that do not fit: added, removed */
    int n_shares;                /* of the pairs, at most FLIP_TIMELINE_SHARES */
    flip_share *share;           /* [n_steps, n_shares] */
} flip_timeline;

/* Collective. comm, rank_first, original, events as flip_adjacency_create. */
flip_status flip_timeline_init(flip_timeline *timeline, flip_comm *comm, const flip_gid *rank_first,
                               const int64_t *original, const flip_events *events,
                               const flip_adjacency_params *params);
void flip_timeline_finish(flip_timeline *timeline);
/* difference, extra and shares, from all the rest. */
void flip_timeline_count(flip_timeline *timeline);
/* The same for every part of the rows: difference, extra (added ones) [n_parts, n_steps], zero. */
void flip_timeline_count_parts(const flip_timeline *timeline, int32_t n_parts,
                               const flip_gid *part_first, flip_difference *difference,
                               int64_t *extra);

/* What the largest step needs: entries of a snapshot and all changes that lead from it to the next
 * one, or to the one before; changes. Both >= 1. */
void flip_timeline_most(const flip_timeline *timeline, int64_t *entries, int64_t *changes);
static inline int64_t flip_difference_changes(const flip_difference *d) {
    return d->added + d->removed + d->changed;
}

/* Bytes of a snapshot, and of the difference between t-1 and t, either way. */
uint64_t flip_timeline_full_bytes(const flip_timeline *timeline, int32_t t);
uint64_t flip_timeline_delta_bytes(const flip_timeline *timeline, int32_t t, bool backward);

/* What is sent for one step. */
typedef struct flip_packet {
    int64_t n_removed, n_added, n_changed, n_extra; /* of a difference */
    uint64_t *word;    /* removed, added, changed, each ascending; or a snapshot's keys, n_added */
    flip_real *value;  /* of those added that do not fit, then of those changed; or a snapshot's */
    int64_t room;      /* of word and value */
    int64_t n_between; /* of a snapshot: changes between it and the one that it arrives beside; -1:
                          they are not known */
    const flip_kernels *kernels; /* word and value lie in this table's pinned memory */
    /* What it holds, for who asks for the same again: a snapshot of a step, or the difference
     * between it and the step before. */
    bool made, whole, backward;
    int32_t step;
} flip_packet;
void flip_packet_finish(flip_packet *packet);
flip_status flip_timeline_snapshot(flip_timeline *timeline, int32_t t, flip_packet *packet);
/* From t-1 to t or, backward, from t to t-1. */
flip_status flip_timeline_difference(const flip_timeline *timeline, int32_t t, bool backward,
                                     flip_packet *packet);

#endif
