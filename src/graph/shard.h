/* Inside the graph stage: a shard, and what it takes to load one. */
#ifndef FLIPBOOK_GRAPH_SHARD_H
#define FLIPBOOK_GRAPH_SHARD_H

#include <flipbook/container.h>
#include <flipbook/graph.h>

#ifdef FLIP_REAL_DOUBLE
#define FLIP_TYPE_REAL FLIP_TYPE_F64
#else
#define FLIP_TYPE_REAL FLIP_TYPE_F32
#endif

struct flip_graph {
    flip_comm *comm;     /* borrowed */
    flip_reader *reader; /* owned; names are read on demand */
    flip_graph_info info;
    int32_t file_steps; /* of the file, before last_step */
    bool partitioned_here;
    flip_gid *rank_first; /* [size + 1] */
    flip_gid *part_first; /* [n_parts + 1], NULL where n_parts is 0 */
    flip_gid first;       /* first own id */
    int32_t n_own;
    int64_t *file_row; /* [n_own] row of the file of each own node; NULL = first + i */
    int64_t *original; /* [n_own] */
    flip_events events;
    flip_gid *dst, *src;  /* [events] owned, behind `events` */
    int32_t *step;        /* … or NULL */
    double *weight;       /* … or NULL */
    int32_t *event_label; /* … or NULL */
    uint8_t *codes;       /* [n_own, code_bytes], or of rows that change; or NULL */
    int64_t *code_first;  /* [n_own + 1] rows of codes that change, by node; else NULL */
    int32_t *code_step;   /* [code_first[n_own]] ascending for each node, from 0 on; else NULL */
    flip_codec *codec;    /* … of them */
    uint8_t *refinement;  /* [n_own, refinement_bytes] or NULL */
    flip_codec *refinement_codec;
    flip_real *features; /* [n_own, F] or [n_own, steps, F] or NULL */
    int32_t *labels;     /* [n_own] or [n_own, steps] or NULL */
    flip_real *targets;  /* [n_own, steps, n_targets] or NULL */
    int8_t *splits;      /* [n_splits, n_own] or NULL */
    uint64_t fingerprint;
    /* names of own nodes, read at the first question */
    bool names_read;
    int64_t *number;    /* [n_own] or NULL */
    int64_t *name_at;   /* [n_own] first byte in name, or NULL */
    int32_t *name_size; /* [n_own] */
    char *name;
};

/* A load in progress. In a file that is in parts (or with one rank) a rank's rows stand together
 * and are read in place; else every rank reads an equal slab and sends rows to their owners. */
typedef struct flip_loader {
    flip_graph *g;
    const flip_reader *reader; /* borrowed */
    int64_t n_nodes;
    bool in_place;
    flip_gid *new_id; /* [n_nodes] of the file's rows, NULL = the same */
} flip_loader;

static inline flip_gid flip_loader_id(const flip_loader *l, int64_t row) {
    return l->new_id ? l->new_id[row] : row;
}

/* First of rank's equal share of n rows; rank == size gives n. */
int64_t flip_slab_first(const flip_comm *comm, int64_t n, int rank);
int flip_owner_of(const flip_graph *g, flip_gid id);
/* Rows of `bytes` a window holds. */
int64_t flip_window_rows(size_t bytes);

/* Rows to their owners, window by window. All collective. */
typedef struct flip_route {
    flip_comm *comm;
    int64_t n_send, n_receive;
    int64_t *send_count, *receive_count, *ones; /* [size] */
    int64_t *place;                             /* [n_send] place of each row in the packed order */
    void *packed;
} flip_route;
/* owner [n]: rank of each row. mine: error of this rank so far, agreed upon here. */
flip_status flip_route_begin(flip_route *route, flip_comm *comm, flip_status mine,
                             const int32_t *owner, int64_t n);
/* rows [n_send, item bytes] -> out [n_receive, item bytes], by sender, in the sender's order. */
flip_status flip_route_move(flip_route *route, const void *rows, size_t item, void *out);
void flip_route_finish(flip_route *route);

/* load_events.c, load_rows.c: fill their part of loader->g. Collective. */
flip_status flip_load_events(flip_loader *loader);
flip_status flip_load_rows(flip_loader *loader);
/* One fixed-size row a node, read by `read`, to out [n_own, bytes]. */
typedef flip_status flip_row_read(const flip_loader *loader, const void *what, int64_t first,
                                  int64_t count, void *out);
flip_status flip_load_node_rows(flip_loader *loader, flip_row_read *read, const void *what,
                                size_t bytes, void *out);
/* Rows that change: "group/node", "group/step", "group/values": values of `type`, `width` a row.
 * Each of the steps that are read goes to the owner of its node, who takes it; those of one node
 * may come in another order than the file's. Collective. */
typedef struct flip_row_changes {
    const char *node, *step, *values;
    flip_type type;
    int64_t width;
} flip_row_changes;
typedef void flip_row_take(void *to, int32_t own_node, int32_t step, const void *row);
flip_status flip_load_changes(flip_loader *loader, const flip_row_changes *changes,
                              flip_row_take *take, void *to);
/* load_codes.c: packed features. Collective. */
flip_status flip_load_codes(flip_loader *loader);
/* Remote sources of this rank's events: plan, and column of each event (own | halo). Collective. */
flip_status flip_graph_sources(const flip_graph *g, flip_plan **plan, int32_t **column,
                               int32_t *n_halo);
/* fingerprint.c. Collective. */
flip_status flip_graph_take_fingerprint(flip_graph *g);

#endif
