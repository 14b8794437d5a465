/* Inside the layout: what is on its way between the chunks of a part. */
#ifndef FLIPBOOK_GRAPH_LAYOUT_H
#define FLIPBOOK_GRAPH_LAYOUT_H

#include <flipbook/kernels.h>
#include <flipbook/layout.h>

/* A slice in flight, in one direction. */
typedef struct flip_flight {
    int32_t block, slice, dim;
    const flip_real *x;      /* to nodes: where own rows come from */
    flip_messages *messages; /* one object for each slice: they end one after the other */
    flip_real *buffer;       /* to nodes: what comes; to time: what goes */
    size_t capacity;         /* bytes */
} flip_flight;

/* A ring: begun - ended are in flight. */
typedef struct flip_route {
    flip_flight flight[FLIP_LAYOUT_FLYING];
    uint64_t begun, ended;
} flip_route;

typedef struct flip_travel {
    flip_route to_nodes, to_time;
    flip_messages *state[2]; /* backward, forward */
    flip_messages *arriving[2];
    flip_messages *
        *wrap[2]; /* [n_wrap] … between the ends of the part, block to block: by ticket */
    int32_t n_wrap[2];
    flip_messages *window;
    flip_real *buffer[2];        /* the window's: what goes, what comes */
    size_t capacity[2];          /* bytes */
    const flip_kernels *kernels; /* whose memory the buffers are: as exchanges begin */
} flip_travel;

flip_status flip_travel_create(flip_travel **travel, flip_comm *time);
void flip_travel_destroy(flip_travel **travel);

/* Nodes of the rank with this chunk of my part, and where they begin among the part's. */
static inline int32_t flip_layout_nodes(const flip_layout *l, int32_t chunk) {
    const flip_gid *first = l->rank_first + (int64_t)l->part * l->n_time + chunk;
    return (int32_t)(first[1] - first[0]);
}
static inline int64_t flip_layout_nodes_first(const flip_layout *l, int32_t chunk) {
    return l->rank_first[(int64_t)l->part * l->n_time + chunk] - l->part_first[l->part];
}
/* Steps of a chunk: where its first stands in the block, and how many. */
static inline int32_t flip_layout_chunk(const flip_layout *l, int32_t block, int32_t chunk,
                                        int32_t *n) {
    const int32_t *first = l->chunk_first + (int64_t)block * (l->n_time + 1) + chunk;
    *n = first[1] - first[0];
    return first[0] - l->block_first[block];
}
static inline int32_t flip_layout_block_steps(const flip_layout *l, int32_t block) {
    return l->block_first[block + 1] - l->block_first[block];
}

#endif
