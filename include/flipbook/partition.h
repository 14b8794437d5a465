/* Flipbook: partition — which rank owns which node.
 *
 * A partition is a new numbering of the nodes in which each part is a range:
 *
 *     order[new] = old      │ part 0 │ part 1 │ … │ part K-1 │
 *     part_first[K+1]       0        a        b   …          N
 *
 * Parts outnumber ranks and are numbered by recursive bisection of the part graph, so that any run
 * of parts is compact; inside a part hot nodes (most events) come first. A rank owns a run of
 * parts, so the same file runs on any number of ranks, even more ranks than parts (some are then
 * empty).
 *
 * What is cut is the union over time: an edge weighs the steps in which it lives (both directions
 * together), a node weighs 1 (nodes), its in-events (edges), or 1 where it is a training node.
 *
 * Memory: every rank holds a few numbers a node (32 bytes a node at most); events and features are
 * read in slabs of bounded size, the union graph is built in shares and gathered on rank 0 only for
 * METIS. Where METIS cannot be used (too many nodes or entries for its 32-bit indices, too little
 * memory, or it fails) a streaming method takes its place and `reason` says so.
 */
#ifndef FLIPBOOK_PARTITION_H
#define FLIPBOOK_PARTITION_H

#include <flipbook/container.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_partition_method {
    FLIP_PARTITION_METIS, /* multilevel k-way (Karypis, Kumar 1998) */
    FLIP_PARTITION_LDG, /* linear deterministic greedy (Stanton, Kliot, KDD 2012), streamed 5 times
                         */
    FLIP_PARTITION_FENNEL, /* Fennel (Tsourakakis et al., WSDM 2014), streamed 5 times */
    FLIP_PARTITION_BLOCK,  /* ranges of the ids as they are */
    FLIP_PARTITION_RANDOM
} flip_partition_method;
const char *flip_partition_method_name(flip_partition_method method);

enum { FLIP_PARTITION_MOST_PARTS = 16384 };

typedef struct flip_partition_params {
    int32_t n_parts; /* 1 … 16384; more parts than nodes leave parts empty */
    flip_partition_method method;
    bool volume; /* METIS's objective: communication volume instead of cut */
    bool balance_nodes, balance_edges, balance_train;
    double imbalance; /* largest part / mean that is allowed, e.g. 1.05 */
    uint64_t seed;
} flip_partition_params;
#define FLIP_PARTITION_DEFAULTS                                                                    \
    {                                                                                              \
        .n_parts = 8, .method = FLIP_PARTITION_METIS, .balance_nodes = true,                       \
        .balance_edges = true, .imbalance = 1.05, .seed = 0                                        \
    }

typedef struct flip_partition {
    int64_t n_nodes, n_events;
    int32_t n_parts;
    flip_gid *order;                   /* [n_nodes] owned: old id of new id */
    flip_gid *part_first;              /* [n_parts + 1] owned: in new ids */
    int64_t cut;                       /* events whose ends lie in different parts */
    double node_balance, edge_balance; /* largest part / mean: nodes, in-events */
    flip_partition_method method;      /* what really ran */
    char reason[192];                  /* why not the method asked for, or what was mended; "" */
} flip_partition;

/* Collective; METIS and the streams run on rank 0. The result is on every rank and does not depend
 * on the number of ranks. FLIP_ERROR_USAGE: parameters out of range. */
flip_status flip_partition_compute(flip_partition **partition, flip_comm *comm,
                                   const flip_reader *graph, const flip_partition_params *params);
void flip_partition_destroy(flip_partition **partition);
/* Bytes METIS and the union graph will need on rank 0, at most. n_union_entries: neighbours summed
 * over nodes, at most 2 n_events (n_events where both directions are stored). */
size_t flip_partition_bytes(int64_t n_nodes, int64_t n_union_entries,
                            const flip_partition_params *params);
/* Runs of parts for `size` ranks balanced by node counts: rank_first [size+1] in new node ids. No
 * rank is empty while there are as many parts as ranks and no part is empty. */
void flip_partition_ranks(int32_t n_parts, const flip_gid *part_first, int size,
                          flip_gid *rank_first);

/* What a number of ranks would exchange. A halo row is a node that a rank needs of another. */
typedef struct flip_partition_row {
    int32_t ranks;
    int64_t halo_max; /* of a rank */
    int64_t halo_sum; /* of all ranks: rows sent in one exchange */
    double node_balance, edge_balance;
} flip_partition_row;
enum { FLIP_PARTITION_ROWS = 16 };

/* Collective. rows for 1, 2, 4 … n_parts ranks. Reads the events once for each 64 parts. The
 * partition's graph must be open, in its old numbering. */
flip_status flip_partition_measure(flip_partition_row rows[FLIP_PARTITION_ROWS], int32_t *n_rows,
                                   flip_comm *comm, const flip_reader *graph,
                                   const flip_partition *partition);

/* Collective. Writes the graph in the new numbering: same schema, with nodes/original, parts/first
 * and the attributes of group "partition". Holds a share of a window of the data at a time. */
flip_status flip_partition_write(flip_comm *comm, const flip_reader *graph,
                                 const flip_partition *partition,
                                 const flip_partition_params *params, const char *path);

#ifdef __cplusplus
}
#endif
#endif
