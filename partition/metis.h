/* METIS behind a wall: the one seam to the library. Private. */
#ifndef FLIPBOOK_PARTITION_METIS_H
#define FLIPBOOK_PARTITION_METIS_H

#include <flipbook/base.h>

enum { FLIP_METIS_CONSTRAINTS = 3, FLIP_METIS_REASON = 160 };

/* A graph as METIS takes it. All arrays borrowed and only read. */
typedef struct flip_metis_graph {
    int64_t n;
    const int64_t *ptr;    /* [n + 1] */
    const int32_t *adj;    /* [ptr[n]] ascending in a row, symmetric, no self loops or doubles */
    const int32_t *weight; /* [ptr[n]] > 0, equal both ways; NULL = all 1 */
    int n_constraints;     /* 0 = balance the number of nodes */
    const int64_t *load[FLIP_METIS_CONSTRAINTS]; /* [n] each, >= 0 */
} flip_metis_graph;

typedef struct flip_metis_params {
    int32_t n_parts;
    bool volume;
    double imbalance; /* 1.05 = five per cent more than the mean */
    uint64_t seed;
} flip_metis_params;

/* part [n], each 0 … n_parts-1, no part empty while n >= n_parts. Local, one process.
 *
 * FLIP_OK: part is valid (checked here, not believed); `reason` is "" or tells what was mended.
 * Otherwise the graph or the parameters cannot be given to METIS, or METIS failed: part is
 * undefined, `reason` says why in words, no error is recorded, and the caller uses another method.
 * FLIP_ERROR_USAGE: bad parameters. FLIP_ERROR_INPUT: the graph breaks a rule above.
 * FLIP_ERROR_MEMORY, FLIP_ERROR_LIBRARY: METIS did not fit or failed. */
flip_status flip_metis_partition(int32_t *part, const flip_metis_graph *graph,
                                 const flip_metis_params *params, char reason[FLIP_METIS_REASON]);

/* METIS without a child, as where no process can be forked; for tests. */
extern bool flip_metis_here;

/* Where a part is empty and another can spare a node, moves nodes (of the largest parts first,
 * those with the fewest entries) until that holds no more; returns how many moved. ptr may be NULL.
 */
int64_t flip_partition_fill_empty(int32_t *part, int64_t n, int32_t n_parts, const int64_t *ptr);

/* Bytes METIS and its copies take beside the union graph, measured: see metis.c. */
size_t flip_metis_bytes(int64_t n, int64_t n_entries, int n_constraints);

#endif
