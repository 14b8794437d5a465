/* Inside the graph stage: how snapshots reach the device. */
#ifndef FLIPBOOK_GRAPH_SNAPSHOTS_H
#define FLIPBOOK_GRAPH_SNAPSHOTS_H

#include "graph/device.h"

/* Remote sources of a block's snapshots: found when the block is there first, then kept. */
typedef struct flip_block_halo {
    bool known;
    int32_t n;
    int32_t *column; /* [n] columns of the timeline, ascending */
    flip_plan *plan; /* owned; the block's adjacency borrows it; NULL on one rank */
} flip_block_halo;

/* Arrays of a matrix, in the order of their rooms. */
enum {
    FLIP_LAID_ROW,
    FLIP_LAID_ROW_PTR,
    FLIP_LAID_COL,
    FLIP_LAID_RUN_PTR,
    FLIP_LAID_RUN_FIRST,
    FLIP_LAID_VALUE_PTR,
    FLIP_LAID_VALUE,
    FLIP_LAID_ARRAYS
};
/* What a table makes of a block's snapshots in its own memory, which stays from block to block. The
 * transpose has no rows of entries; of a window, whose matrix has the steps before the block's,
 * too, runs and values of the block's alone lie apart. */
enum {
    FLIP_LAID_WORK,
    FLIP_LAID_A,
    FLIP_LAID_AT = FLIP_LAID_A + FLIP_LAID_ARRAYS,
    FLIP_LAID_CUT = FLIP_LAID_AT + FLIP_LAID_ARRAYS,
    FLIP_LAID_TURNED = FLIP_LAID_CUT + FLIP_LAID_ARRAYS, /* each entry's place in the transpose */
    FLIP_LAID_ROOMS
};
typedef struct flip_laid {
    const flip_kernels *kernels; /* NULL: matrices are the host's (snapshots_assemble.c) */
    int32_t *order, *place;      /* [n_cols] column at each place, place of each column */
    void *memory[FLIP_LAID_ROOMS];
    size_t bytes[FLIP_LAID_ROOMS];
    flip_changes *changes; /* [steps of the timeline] the host's */
} flip_laid;

struct flip_snapshots {
    flip_layout *layout; /* borrowed */
    flip_adjacency_params params;
    flip_transfer transfer;
    int32_t block;              /* asked for last; -1 none */
    uint64_t forward, backward; /* bytes sent */
    /* resident */
    flip_adjacency **adjacency; /* [n_blocks] */
    /* full, delta */
    bool is_static;                           /* a graph without steps */
    flip_timeline timeline;                   /* host */
    flip_packet packet[FLIP_SNAPSHOTS_AHEAD]; /* those on their way come first */
    int64_t sent, arrived;                    /* so many were */
    flip_device device;                       /* device, with all that follows */
    flip_laid laid;
    flip_pieces pieces;      /* of the block last made by the host */
    flip_block_halo *halo;   /* [n_blocks] */
    flip_adjacency *current; /* of `block` */
    bool plan_borrowed;      /* current's */
    flip_arena *spare;       /* with one block: the arrays' memory from pass to pass */
};

/* params of this rank's steps of a block; without steps one step without events. */
flip_adjacency_params flip_snapshots_params(const flip_snapshots *s, int32_t block);
/* Steps before a block's own that its window needs. */
static inline int32_t flip_steps_before(const flip_adjacency_params *p) {
    const int32_t band = p->window > 1 ? p->window - 1 : 0;
    return p->first_step < band ? p->first_step : band;
}
/* No block has more mentions (flip_mentions_of), nor values before its window is taken. An entry
 * has a value at each of its steps, attention's an event. */
flip_status flip_snapshots_most(const flip_snapshots *s, int64_t *mentions, int64_t *values);
/* Bytes towards the device, in the direction of the walk. */
void flip_snapshots_count(flip_snapshots *s, uint64_t bytes, bool backward);

/* snapshots_resident.c. Collective over layout->space. */
flip_status flip_resident_build(flip_snapshots *s, const flip_events *events);
/* snapshots_send.c: the device holds the snapshots that the steps of params need. Local.
 * towards_earlier: this block lies before the one asked for last. */
flip_status flip_snapshots_send(flip_snapshots *s, const flip_adjacency_params *params,
                                bool towards_earlier);
/* Packets lie in these kernels' pinned memory. */
void flip_packets_use(flip_snapshots *s, const flip_kernels *kernels);
/* snapshots_assemble.c: current, from what the device holds. Collective over layout->space. */
flip_status flip_snapshots_assemble(flip_snapshots *s, int32_t block,
                                    const flip_adjacency_params *params);
void flip_snapshots_drop(flip_snapshots *s); /* current */
/* snapshots_lay.c: current, by the kernels of s->laid. Local. */
flip_status flip_snapshots_lay(flip_snapshots *s, const flip_adjacency_params *params);
void flip_laid_finish(flip_laid *laid);

#endif
