/* What the files of partition/ share. Private. */
#ifndef FLIPBOOK_PARTITION_INTERNAL_H
#define FLIPBOOK_PARTITION_INTERNAL_H

#include <flipbook/partition.h>

/* ---- scan.c: the events in blocks of whole rows, in order of destination ---- */

typedef struct flip_scan {
    const flip_reader *reader; /* borrowed */
    int64_t n_nodes, n_events;
    flip_gid next, last; /* rows still to come: next … last-1 */
    /* the block */
    flip_gid first;
    int64_t n_rows; /* 0 = the end */
    int64_t *ptr;   /* [n_rows + 1] owned: row i has events ptr[i] … ptr[i+1]-1 of the block */
    int64_t *src; /* [ptr[n_rows]] owned, checked to be 0 … n_nodes-1; the caller may change it */
    int32_t *step; /* likewise; NULL = one step */
    int64_t capacity;
} flip_scan;

/* Rows whose events are about the rank-th of `size` equal shares; whole rows. Local. */
flip_status flip_scan_open(flip_scan *scan, const flip_reader *reader, int rank, int size);
flip_status flip_scan_next(flip_scan *scan);
void flip_scan_close(flip_scan *scan);
/* A row's events to its distinct sources, ascending: src [n] is overwritten, count [n] becomes the
 * number of steps in which each lives. Returns how many. */
int64_t flip_scan_collapse(int64_t *src, const int32_t *step, int64_t n, int32_t *count);
/* Each row of this rank's share of the file, collapsed: the distinct neighbours and how often each.
 */
typedef flip_status (*flip_scan_visit)(void *user, int64_t row, const int64_t *src,
                                       const int32_t *count, int64_t n);
flip_status flip_scan_walk(const flip_reader *reader, int rank, int size, flip_scan_visit each,
                           void *user);

/* First of n things that belong to `rank` of `size`. */
static inline int64_t flip_share(int64_t n, int rank, int size) {
    return n / size * rank + n % size * rank / size;
}

/* ---- loads of nodes ---- */

typedef struct flip_loads {
    int n;            /* constraints in use */
    int64_t *load[3]; /* [n_nodes] each, owned */
} flip_loads;
flip_status flip_loads_read(flip_loads *loads, const flip_reader *reader, int64_t n_nodes,
                            const flip_partition_params *params);
void flip_loads_free(flip_loads *loads);

/* ---- balance.c: what parts hold ---- */

typedef struct flip_balance {
    int32_t n_parts, leaves;
    flip_loads loads;
    double total[3], heaviest[3], allowance[3]; /* of all nodes, of a node, of a part */
    double *held;                               /* [n_parts, 3] owned */
    int32_t *tree; /* [2 * leaves] owned: the lighter part of each pair; tree[1] the lightest */
} flip_balance;

/* part [n_nodes]: -1 is not held yet. */
flip_status flip_balance_init(flip_balance *balance, const int32_t *part, const flip_reader *reader,
                              int64_t n_nodes, const flip_partition_params *params);
void flip_balance_free(flip_balance *balance);
/* sign 1: node v comes to the part; -1: it leaves. */
void flip_balance_hold(flip_balance *balance, int64_t v, int32_t part, double sign);
bool flip_balance_room(const flip_balance *balance, int64_t v, int32_t part);
double flip_balance_fullness(const flip_balance *balance, int32_t part);
int32_t flip_balance_lightest(const flip_balance *balance);
int32_t flip_balance_lighter(const flip_balance *balance, int32_t left, int32_t right);

/* ---- union.c ---- */

typedef struct flip_union {
    int64_t n;
    int64_t *ptr;    /* [n + 1] owned */
    int32_t *adj;    /* [ptr[n]] owned: ascending, symmetric, no self loops */
    int32_t *weight; /* [ptr[n]] owned: steps alive, both directions */
} flip_union;

/* Collective; filled on rank 0. *refusal is "" or why METIS could not take it (then it is empty).
 */
flip_status flip_union_build(flip_union *graph, flip_comm *comm, const flip_reader *reader,
                             const flip_partition_params *params, char refusal[160]);
void flip_union_free(flip_union *graph);

/* ---- stream.c, block.c: part [n_nodes] ---- */
flip_status flip_partition_stream(int32_t *part, const flip_reader *reader, int64_t n_nodes,
                                  const flip_partition_params *params);
/* Places the nodes whose part is -1 by LDG; the others stay. */
flip_status flip_partition_place(int32_t *part, const flip_reader *reader, int64_t n_nodes,
                                 const flip_partition_params *params);
void flip_partition_block(int32_t *part, int64_t n_nodes, int32_t n_parts);
void flip_partition_random(int32_t *part, int64_t n_nodes, int32_t n_parts, uint64_t seed);

/* ---- partition.c: the steps of a computation ---- */

/* Collective. An empty result for a graph. */
flip_status flip_partition_create(flip_partition **partition, flip_comm *comm,
                                  const flip_reader *graph, int32_t n_parts);
/* Collective. The method asked for, or what takes its place: part [n_nodes] on rank 0. */
flip_status flip_partition_choose(int32_t *part, flip_partition *out, flip_comm *comm,
                                  const flip_reader *reader, const flip_partition_params *params);
/* Collective. Numbers nodes, and parts unless they keep their numbers; cut and balances. */
flip_status flip_partition_assign(flip_partition *out, flip_comm *comm, const flip_reader *reader,
                                  const int32_t *part, bool keep);

/* ---- match.c, local.c, spread.c: for repartition.c ---- */

typedef struct flip_match {
    int64_t n_known, n_new, n_vanished;
    int32_t n_parts; /* of the old container */
} flip_match;
/* Local. home [n_nodes of graph]: the node's part in the old container, -1 = new. */
flip_status flip_match_nodes(flip_match *match, int32_t *home, int64_t n_nodes,
                             const flip_reader *graph, const flip_reader *old);

/* Local. Mends part [n_nodes] in place: balance first, then (gains) the cut. budget: old nodes that
 * may be away from home [n_nodes]. graph: empty or NULL = rows from the reader. *worst: the largest
 * part over the mean where one is above its allowance, less the heaviest node; else 0. */
flip_status flip_partition_local(int32_t *part, double *worst, const int32_t *home, int64_t n_nodes,
                                 int64_t budget, bool gains, const flip_union *graph,
                                 const flip_reader *reader, const flip_partition_params *params);

enum { FLIP_SPREAD_MOST = 1 << 16 };
typedef struct flip_spread {
    int32_t n_parts;
    int32_t most;                    /* no node has more destinations */
    int64_t nodes[FLIP_SPREAD_MOST]; /* with so many distinct destinations; the last: or more */
} flip_spread;
/* Collective. */
flip_status flip_spread_count(flip_spread *spread, flip_comm *comm, const flip_reader *reader,
                              int64_t n_nodes, int32_t n_parts);
/* Halo rows where this share of the pairs crosses; and the share that gives so many rows. */
double flip_spread_halo(const flip_spread *spread, double crossing);
double flip_spread_crossing(const flip_spread *spread, int64_t halo);

/* ---- number.c ---- */

/* place[p]: the number part p gets. graph [n, n]: events between parts, symmetric. */
flip_status flip_partition_number(int32_t *place, const int64_t *graph, int32_t n);
enum { FLIP_NUMBER_MOST = 2048 }; /* more parts keep the partitioner's order */

#endif
