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

/* ---- number.c ---- */

/* place[p]: the number part p gets. graph [n, n]: events between parts, symmetric. */
flip_status flip_partition_number(int32_t *place, const int64_t *graph, int32_t n);
enum { FLIP_NUMBER_MOST = 2048 }; /* more parts keep the partitioner's order */

#endif
