/* Edges as they are read (columns in chunks), and as they are kept (events sorted by destination,
 * step, source).
 *
 *   chunk:   src[n] dst[n] time[n] weight[n] label[n]      one appended after the other, each
 * column chunk:   src[n] dst[n] …                               its own memory, absent columns NULL
 *       │  node numbers, time → step, count per destination
 *       ▼  scatter (chunks are freed as they empty), then sort inside each destination
 *   events:  indptr[N + 1], key[E] = step << 32 | source, weight[E], label[E]
 *
 * Peak: 8 bytes an edge for the ends, 4 each for step, weight and label (8 for the time while
 * reading), and 8 to 16 for each event. Equal (destination, step, source) keep the order of the
 * input. */
#ifndef FLIPBOOK_EDGES_H
#define FLIPBOOK_EDGES_H

#include <flipbook/base.h>

typedef struct flip_edge_chunk {
    int64_t n, capacity;
    uint32_t *src, *dst; /* [capacity] codes of nodes */
    int64_t *time;       /* [capacity] integers, or doubles in the same bytes; NULL once steps */
    int32_t *step;       /* [n] once times are steps */
    float *weight;       /* [capacity] */
    int32_t *label;      /* [capacity] */
} flip_edge_chunk;

typedef struct flip_edges {
    int64_t n;
    flip_edge_chunk *chunk; /* [n_chunks] owned */
    int32_t n_chunks, chunk_capacity;
    bool has_time, has_weight, has_label;
    bool time_double;              /* times are doubles */
    int64_t time_least, time_most; /* of integer times */
    double double_least, double_most;
} flip_edges;

/* A chunk with room for at least `room` edges more: the last, or a new one. */
flip_status flip_edges_room(flip_edges *edges, int64_t room, flip_edge_chunk **chunk);
/* An empty chunk behind the last one. */
flip_status flip_edges_adopt(flip_edges *edges, flip_edge_chunk **chunk);
void flip_edge_chunk_free(flip_edge_chunk *chunk);
void flip_edges_finish(flip_edges *edges);
/* Integer times become doubles; false if one is not exact as a double (beyond 2^53). */
bool flip_edges_times_to_double(flip_edges *edges);

/* How time becomes steps: step = floor((time - start) / width). */
typedef struct flip_binning {
    bool in_double;        /* times are doubles */
    int64_t start_integer; /* of integer times */
    double start, width;   /* of step 0; in the file's unit */
    int64_t whole_width;   /* width as an integer, 0 if it is none */
    int64_t span, count;   /* count > 0: `count` equal bins over `span` integer units, exactly */
    int64_t n_steps;
} flip_binning;
int64_t flip_binning_step(const flip_binning *binning, int64_t time);

typedef struct flip_event_rows {
    int64_t n_nodes, n;
    int64_t *indptr; /* [n_nodes + 1] owned */
    uint64_t *key;   /* [n] owned: step << 32 | source */
    float *weight;   /* [n] owned, NULL = all 1 */
    int32_t *label;  /* [n] owned, NULL = none */
    int64_t n_self_loops, n_duplicates;
    /* 0: every event has its reverse at the same step; so had the edges before they were stored
     * both ways (1 where they were not). Sums over ranks tell it of all. */
    uint64_t balance, balance_before;
    int64_t degree_most;
} flip_event_rows;

typedef struct flip_sort_params {
    int64_t n_nodes; /* rows: destinations first_node … first_node + n_nodes - 1 */
    int64_t first_node;
    uint32_t **node; /* [codes] number of a code, freed once used; *node NULL = the code itself */
    const flip_binning *binning; /* NULL = one step, or times are steps already */
    const int32_t *label_class;  /* [codes] class of a label's code; NULL = the code */
    bool both_ways;              /* store every edge in both directions, self loops once */
    void (*progress)(void *user, double fraction);
    void *user;
} flip_sort_params;

/* Codes become numbers, times steps, labels classes, in place. */
flip_status flip_edges_settle(flip_edges *edges, const flip_sort_params *params);
uint64_t flip_pair_balance(uint64_t src, uint64_t dst, uint64_t step);
/* Takes the edges, settled (they are empty afterwards). */
flip_status flip_event_rows_sort(flip_event_rows *events, flip_edges *edges,
                                 const flip_sort_params *params);
void flip_events_release(flip_event_rows *events); /* the arrays; counts stay */
void flip_event_rows_finish(flip_event_rows *events);

#endif
