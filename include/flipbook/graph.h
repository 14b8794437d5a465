/* Flipbook: graph — a rank's shard of a dynamic graph, and the matrices made of it.
 *
 * A rank owns a contiguous range of node ids. It holds the events whose destination it owns. From
 * them an adjacency is built: one multi-snapshot CSR (see kernels.h) with own rows, its transpose
 * for the backward pass, and the exchange plan of its halo.
 *
 *        own rows   [ n_own x (n_own | n_halo) ]   columns: own nodes first, then halo
 *        row_order  interior rows (no halo column) first, then boundary rows
 */
#ifndef FLIPBOOK_GRAPH_H
#define FLIPBOOK_GRAPH_H

#include <flipbook/comm.h>
#include <flipbook/container.h>
#include <flipbook/kernels.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Events of this rank's own destinations, in any order. */
typedef struct flip_events {
    int64_t n;
    const flip_gid *dst, *src;
    const int32_t *step;  /* NULL = all 0 */
    const double *weight; /* NULL = all 1 */
} flip_events;

typedef enum flip_adjacency_kind {
    FLIP_ADJACENCY_SUM,       /* GIN: number of events */
    FLIP_ADJACENCY_WSUM,      /* sum of weights */
    FLIP_ADJACENCY_MEAN,      /* GraphSAGE: 1/k over in-events, weights ignored */
    FLIP_ADJACENCY_WMEAN,     /* sum of w x / sum of w */
    FLIP_ADJACENCY_GCN,       /* D^-1/2 (A+I) D^-1/2, D row sums of A+I on both sides */
    FLIP_ADJACENCY_GCN_INOUT, /* Din^-1/2 (A+I) Dout^-1/2 */
    FLIP_ADJACENCY_PATTERN,   /* max pooling: one entry a distinct source, no values */
    FLIP_ADJACENCY_ATTENTION  /* GAT: one entry an event, no values, plus a self-loop in the steps
                                 in which a node has none */
} flip_adjacency_kind;

typedef struct flip_adjacency_params {
    flip_adjacency_kind kind;
    int32_t n_steps;    /* steps of the adjacency, >= 1 */
    int32_t first_step; /* … from this step of the timeline on; events carry steps of the timeline,
                           earlier ones count while they live (default 0) */
    int32_t edge_life;  /* snapshot t sums events of steps t-life+1 … t; default 1 */
    int32_t window;     /* TM-GCN's band b: A'_t = sum_k A_k / min(b, t+1), 0 and 1 = none */
    bool without_loops; /* ATTENTION: the events as they are, no self-loop added */
    bool forward_only;  /* no transpose (at is empty): nothing will be walked back; not of ATTENTION
                           and PATTERN */
} flip_adjacency_params;

typedef struct flip_adjacency {
    flip_csr a;  /* [n_own x (n_own + n_halo)] */
    flip_csr at; /* [(n_own + n_halo) x n_own]; a's transpose: own rows first, then halo rows */
    int32_t n_own, n_halo, n_interior;
    int32_t n_src; /* of a batch (sample.h): rows of the input, the destinations first; 0 = n_own */
    const int32_t *row_order;     /* [n_own]; NULL where a is placed: all rows are interior */
    const flip_gid *halo;         /* [n_halo] global ids, ascending */
    const int64_t *to_transposed; /* [n_entries]: entry e of a is entry to_transposed[e] of at;
                                     ATTENTION and PATTERN only, else NULL */
    flip_plan *plan;              /* NULL on one rank */
    flip_comm *comm;              /* borrowed */
    flip_arena *arena;            /* owns everything above */
} flip_adjacency;

/* Collective. rank_first [size+1]. original: [n_own] original ids of own nodes (order of
 * summation), NULL = global ids. */
flip_status flip_adjacency_create(flip_adjacency **adjacency, flip_comm *comm,
                                  const flip_gid *rank_first, const int64_t *original,
                                  const flip_events *events, const flip_adjacency_params *params);
void flip_adjacency_destroy(flip_adjacency **adjacency);
/* Bytes flip_adjacency_create will hold, from counts alone (memory estimate before allocation).
 * Exact to a few cache lines where all events join different pairs with non-overlapping lives and
 * the matrix is not symmetric; more than the truth otherwise. weighted: events carry weights. */
size_t flip_adjacency_bytes(int64_t n_own, int64_t n_halo, int64_t n_events, bool weighted,
                            const flip_adjacency_params *params);
/* The same of n_events events that are alive in n_values of the adjacency's snapshots, summed. */
size_t flip_adjacency_bytes_of(int64_t n_own, int64_t n_halo, int64_t n_events, int64_t n_values,
                               bool weighted, const flip_adjacency_params *params);
/* Bytes that flip_adjacency_create takes beside those while it builds: columns and order of events,
 * degrees and factors of normalisation, the transpose's places. */
size_t flip_adjacency_build_bytes(int64_t n_own, int64_t n_halo, int64_t n_events,
                                  const flip_adjacency_params *params);

/* ---- a shard read from a file ---- */

typedef struct flip_graph_info {
    int64_t n_nodes, n_events;
    int32_t n_steps, n_features, n_targets, n_splits, n_parts;
    int32_t n_classes;      /* of nodes */
    int32_t n_edge_classes; /* largest event label + 1 */
    bool weighted, undirected, edge_labels, features_sparse, features_change, labels_change;
    bool features_binary, features_negative; /* all 0 or 1; one is below 0 */
    int32_t code_bytes; /* of a packed row of features; 0 = they are not packed. n_features is then
                           the codec's dim: what a decoded row has */
    int32_t refinement_bytes; /* of its second level; 0 = there is one level */
    int64_t code_rows; /* packed rows of the file: n_nodes, or, features_change, as many as differ
                          from the node's before */
} flip_graph_info;

typedef struct flip_graph_params {
    int32_t parts_per_rank; /* when the file is not partitioned: METIS in memory into size * this;
                               default 4 */
    int32_t last_step;      /* read steps 0 … last_step-1; 0 = all */
    uint64_t seed;
} flip_graph_params;

typedef struct flip_graph flip_graph;

/* Collective. Verifies the file; a file in parts (or one rank) is read in place, each rank its own
 * rows; otherwise it is partitioned in memory first (partitioned_here tells), each rank reads an
 * equal slab, and windows of rows go to their owners. No rank ever holds more than its own rows,
 * one window of 8 MiB a column, and in the second case 8 bytes a node for the new ids. Ranks
 * without nodes are legal. params NULL = defaults. */
flip_status flip_graph_open(flip_graph **graph, flip_comm *comm, const char *path,
                            const flip_graph_params *params);
void flip_graph_close(flip_graph **graph);
/* Bytes a rank will hold of a graph, from counts alone. */
size_t flip_graph_bytes(const flip_graph_info *info, int64_t n_own, int64_t n_events);
/* What is no longer needed once matrices and first layers are made. Pointers into it end. */
void flip_graph_release_events(flip_graph *graph);
void flip_graph_release_features(flip_graph *graph);

const flip_graph_info *flip_graph_about(const flip_graph *graph);
bool flip_graph_partitioned_here(const flip_graph *graph);
/* The open file (borrowed): names of classes, attributes. Its rows are not in the order of own
 * nodes when partitioned_here. */
const flip_reader *flip_graph_reader(const flip_graph *graph);
int32_t flip_graph_file_steps(const flip_graph *graph); /* before last_step */
/* Of the contents read; equal for any rank count and partition. */
uint64_t flip_graph_fingerprint(const flip_graph *graph);
const flip_gid *flip_graph_rank_first(const flip_graph *graph); /* [size + 1] */
/* [*n + 1] bounds of parts, of the file or made here; none crosses a rank. A graph that nobody cut
 * is one part. */
const flip_gid *flip_graph_part_first(const flip_graph *graph, int32_t *n);
int32_t flip_graph_n_own(const flip_graph *graph);
/* [n_own] dense ids of the first import: order of summation and random keys. */
const int64_t *flip_graph_original(const flip_graph *graph);
const flip_events *flip_graph_events(const flip_graph *graph);
/* [events] class, -1 none; NULL */
const int32_t *flip_graph_event_labels(const flip_graph *graph);
/* Dense rows of own nodes: constant [n_own, F]; changing [n_own, steps, F], a row holding until
 * the next change and 0 before the first. NULL when the file has none. */
const flip_real *flip_graph_features(const flip_graph *graph);
/* Packed rows of own nodes [n_own, info.code_bytes], checked against the codec; their dither keys
 * are flip_graph_original. NULL where features are not packed; flip_graph_features is NULL where
 * they are. flip_graph_release_features frees the codes, the codec stays. */
const uint8_t *flip_graph_codes(const flip_graph *graph);
/* Packed rows that change: own node v's are codes first[v] … first[v + 1]-1 [first[n_own],
 * code_bytes], of these steps, ascending from 0 on: each holds until the next. NULL: one a node. */
const int64_t *flip_graph_code_first(const flip_graph *graph);
const int32_t *flip_graph_code_steps(const flip_graph *graph);
/* Rows that hold for runs of steps: node v's are rows first[v] … first[v + 1]-1, row i from step[i]
 * on until the node's next one, the first from 0 on. first NULL: one a node, for all steps. */
typedef struct flip_runs {
    const int64_t *first; /* [nodes + 1] */
    const int32_t *step;  /* [first[nodes]] */
} flip_runs;
/* The row that a node has at a step. */
int64_t flip_runs_row(const flip_runs *runs, int64_t node, int32_t step);
/* Of rows low … high-1 of one node, whose steps from [..] ascend, the last that begins by a step;
 * low where none does. */
int64_t flip_runs_last(const int32_t *from, int64_t low, int64_t high, int32_t step);
const flip_codec *flip_graph_codec(const flip_graph *graph);
/* Their second level [n_own, info.refinement_bytes], and its codec; NULL where there is one level.
 */
const uint8_t *flip_graph_refinement(const flip_graph *graph);
const flip_codec *flip_graph_refinement_codec(const flip_graph *graph);
/* [n_own], or [n_own, steps] where labels change (a label holds until the next); -1 none; NULL */
const int32_t *flip_graph_labels(const flip_graph *graph);
/* [n_own, steps, n_targets]; NaN none, nothing carried over; NULL */
const flip_real *flip_graph_targets(const flip_graph *graph);
/* [n_own] 0 train 1 valid 2 test -1 unused; NULL */
const int8_t *flip_graph_split(const flip_graph *graph, int32_t k);
/* In- and out-degree (events alive) of own nodes a step: [n_own, steps, 2]. events: those to count,
 * NULL = the graph's own. Collective; before flip_graph_release_events. */
flip_status flip_graph_degrees(const flip_graph *graph, const flip_events *events,
                               int32_t edge_life, flip_real *out);
/* Name of a node as the user gave it: text or number, into buffer. Own nodes only; a name that does
 * not fit is refused. Local; the first call reads the names of all own nodes. */
flip_status flip_graph_node_name(const flip_graph *graph, int32_t own, char *buffer, size_t size);
/* The size that holds the name of any own node. Local. */
flip_status flip_graph_name_size(const flip_graph *graph, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
