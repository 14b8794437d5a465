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
 * Memory: every rank holds a few numbers a node (32 bytes a node at most; rank 0 24
 * more for each old node while --from tells nodes by their names); events and features are
 * read in slabs of bounded size, the union graph is built in shares and gathered on rank 0 only for
 * METIS. Where METIS cannot be used (too many nodes or entries for its 32-bit indices, too little
 * memory, or it fails) a streaming method takes its place and `reason` says so.
 *
 * Repartitioning (flip_repartition_compute) starts from the parts of a container written before.
 * Nodes are told by their names; what is new goes to the part of most of its neighbours (LDG), what
 * vanished is gone, parts keep their numbers. One local pass then moves nodes: first out of parts
 * above their allowance, then at the boundary by gain, at most max_moved of the old nodes in all.
 *
 *     old parts │ 0 │ 1 │ … │ K-1 │ ──names──▶ grown graph ──local pass──▶ │ 0 │ 1 │ … │ K-1 │
 *
 * The measure of an aged partition is the halo that its last full run (METIS, or a streaming method
 * in its place) had; the container keeps it (attributes full_halo and full_crossing of "partition")
 * and hands it on from one repartitioning to the next. Growth alone makes halos grow, so that
 * number is not compared as it is: full_crossing is the share f of all distinct (source,
 * destination) pairs that crossed, if they crossed to all other parts alike, and with it the full
 * result's halo on the graph of today is expected to be
 *
 *     Σ over nodes  (K-1) (1 - (1 - f/(K-1))^d)      d: the node's distinct destinations today
 *
 * Above 1.2 times that (anew_above), or where the pass cannot reach the allowed balance, a full run
 * is made, its parts renumbered to share as many nodes as possible with the old ones, and taken
 * unless its halo is no smaller than the local one's.
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
    FLIP_PARTITION_RANDOM,
    FLIP_PARTITION_LOCAL /* what a repartitioning that stayed local says it is; not to be asked for
                          */
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
    double max_moved;  /* repartitioning: share of the old rows the local pass may move, 0 … 1 */
    double anew_above; /* … a full run is made beyond so many times the last; 0 = in any case */
} flip_partition_params;
#define FLIP_PARTITION_DEFAULTS                                                                    \
    {                                                                                              \
        .n_parts = 8, .method = FLIP_PARTITION_METIS, .balance_nodes = true,                       \
        .balance_edges = true, .imbalance = 1.05, .seed = 0, .max_moved = .1, .anew_above = 1.2    \
    }

typedef struct flip_partition {
    int64_t n_nodes, n_events;
    int32_t n_parts;
    flip_gid *order;                   /* [n_nodes] owned: old id of new id */
    flip_gid *part_first;              /* [n_parts + 1] owned: in new ids */
    int64_t cut;                       /* events whose ends lie in different parts */
    double node_balance, edge_balance; /* largest part / mean: nodes, in-events */
    int64_t full_halo;    /* halo rows of the last full run, n_parts ranks; -1 = there was none */
    double full_crossing; /* the share of pairs that crossed in it: see below */
    flip_partition_method method; /* what really ran */
    char reason[192];             /* why not the method asked for, or what was mended; "" */
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

/* Repartitioning: what happened. */
typedef struct flip_repartition {
    int64_t n_known, n_new, n_vanished; /* nodes of both, of the graph only, of the old one only */
    int32_t old_parts;
    /* as many ranks as parts: new nodes placed and nothing moved; after the local pass (not run
     * where the numbers of parts differ); of the full run, if any; of the result */
    flip_partition_row before, local, full, after;
    int64_t cut_before;
    int64_t moved, most_moved; /* known nodes in another part than before; local pass: at most */
    double expected;           /* halo rows of the last full result on this graph; 0 = unknown */
    bool anew;                 /* a full run was made … */
    char why[224];             /* … because */
    flip_partition_method full_method;
    bool kept; /* … but its halo was no smaller, so the local result stayed */
} flip_repartition;

/* Collective. The parts of `old` (a container that flip_partition_write wrote) carried over to
 * `graph`, and mended; params->n_parts other than the old number, or a halo above
 * params->anew_above times the last full result, means a full run by params->method (METIS, LDG
 * or Fennel). FLIP_ERROR_INPUT: old is not partitioned, or nodes cannot be told by their names. */
flip_status flip_repartition_compute(flip_partition **partition, flip_repartition *report,
                                     flip_comm *comm, const flip_reader *graph,
                                     const flip_reader *old, const flip_partition_params *params);

/* Collective. Writes the graph in the new numbering: same schema, with nodes/original, parts/first
 * and the attributes of group "partition". Holds a share of a window of the data at a time. */
flip_status flip_partition_write(flip_comm *comm, const flip_reader *graph,
                                 const flip_partition *partition,
                                 const flip_partition_params *params, const char *path);

#ifdef __cplusplus
}
#endif
#endif
