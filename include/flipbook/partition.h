/* Flipbook: partition — which rank owns which node.
 *
 * A partition is a new numbering: order[new] = old, and part_first[K+1] ranges of new ids. Parts
 * are numbered by recursive bisection of the part graph, so that any run of parts is compact;
 * inside a part hot nodes (by degree) come first. A rank owns a run of parts.
 */
#ifndef FLIPBOOK_PARTITION_H
#define FLIPBOOK_PARTITION_H

#include <flipbook/container.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_partition_method {
    FLIP_PARTITION_METIS,
    FLIP_PARTITION_LDG,
    FLIP_PARTITION_FENNEL,
    FLIP_PARTITION_BLOCK,
    FLIP_PARTITION_RANDOM
} flip_partition_method;

typedef struct flip_partition_params {
    int32_t n_parts;
    flip_partition_method method;
    bool volume; /* objective: communication volume instead of cut */
    bool balance_nodes, balance_edges, balance_train;
    double imbalance; /* e.g. 1.03 */
    uint64_t seed;
} flip_partition_params;
#define FLIP_PARTITION_DEFAULTS                                                                    \
    {                                                                                              \
        .n_parts = 8, .method = FLIP_PARTITION_METIS, .balance_nodes = true,                       \
        .balance_edges = true, .imbalance = 1.05, .seed = 0                                        \
    }

typedef struct flip_partition {
    int64_t n_nodes;
    int32_t n_parts;
    flip_gid *order;                   /* [n_nodes] owned: old id of new id */
    flip_gid *part_first;              /* [n_parts + 1] owned: in new ids */
    int64_t cut;                       /* events whose ends lie in different parts */
    int64_t volume;                    /* sum over nodes of foreign parts that need them */
    double node_balance, edge_balance; /* largest part / mean */
    char method[16];                   /* what really ran (fallbacks) */
} flip_partition;

/* Collective; METIS runs on rank 0 on the union over time. The result is on every rank. */
flip_status flip_partition_compute(flip_partition **partition, flip_comm *comm,
                                   const flip_reader *graph, const flip_partition_params *params);
void flip_partition_destroy(flip_partition **partition);
/* Bytes METIS and the union graph will need on rank 0. */
size_t flip_partition_bytes(int64_t n_nodes, int64_t n_union_entries,
                            const flip_partition_params *params);
/* Runs of parts for `size` ranks balanced by node counts: rank_first [size+1] in new node ids. */
void flip_partition_ranks(int32_t n_parts, const flip_gid *part_first, int size,
                          flip_gid *rank_first);

#ifdef __cplusplus
}
#endif
#endif
