/* Inside the graph stage: the state of one adjacency while it is built. */
#ifndef FLIPBOOK_GRAPH_INTERNAL_H
#define FLIPBOOK_GRAPH_INTERNAL_H

#include <flipbook/graph.h>

/* Distinct global ids, numbered in order of arrival (open addressing). */
typedef struct flip_gid_map {
    flip_gid *key;  /* [mask + 1] */
    int32_t *value; /* [mask + 1], -1 empty */
    size_t mask;
    int32_t n;
} flip_gid_map;

flip_status flip_gid_map_init(flip_gid_map *map, size_t expected);
void flip_gid_map_finish(flip_gid_map *map);
flip_status flip_gid_map_add(flip_gid_map *map, flip_gid key, int32_t *number);
int32_t flip_gid_map_find(const flip_gid_map *map, flip_gid key); /* -1: absent */

/* order[i] = index of the i-th smallest key; stable; linear in n (radix). Keys >= 0. */
flip_status flip_order_by_key(int32_t *order, const int64_t *key, int32_t n);

/* s holds steps first … first+n-1, zeros outside: s[t] <- s[t-length+1] + … + s[t]; linear in n and
 * without cancellation. The order of summation is told by the steps of the timeline alone, not by
 * where s begins. scratch: [2 * length]. */
void flip_window_sum(double *s, int32_t n, int32_t first, int32_t length, double *scratch);

/* Columns and order of one adjacency. Arrays are owned by the build and freed as soon as the next
 * stage needs them no more. */
typedef struct flip_build {
    flip_adjacency *out;
    flip_comm *comm;              /* borrowed */
    const flip_events *events;    /* borrowed */
    flip_adjacency_params params; /* life, window >= 1 */
    bool is_static;               /* a graph without steps */
    int32_t last;                 /* last step */
    int32_t low, n_low;           /* snapshots needed: low … last (the band looks back) */
    int32_t base;                 /* their events: steps base … last */
    flip_gid first;               /* first own id */
    int32_t n_own, n_halo, n_cols;
    int64_t n_alive;    /* events of steps base … last */
    int32_t *column;    /* [events] local column of each event's source; -1 not of these steps */
    int64_t *original;  /* [n_cols] */
    int32_t *order;     /* [n_cols] columns by ascending original id */
    int64_t *row_start; /* [n_own + 1] into by_row */
    uint32_t *by_row;   /* [n_alive] by (row, original id of source, step, as given) */
    const struct flip_pieces *pieces; /* in place of events: what a device's snapshots hold */
    flip_real *factor;   /* [n_cols, n_low] source side of GCN's normalisation, or NULL */
    flip_real *factor_v; /* [n_own, n_low] destination side; may be `factor` itself */
} flip_build;

static inline bool flip_kind_weighted(flip_adjacency_kind kind) {
    return kind == FLIP_ADJACENCY_WSUM || kind == FLIP_ADJACENCY_WMEAN ||
           kind == FLIP_ADJACENCY_GCN || kind == FLIP_ADJACENCY_GCN_INOUT;
}
static inline bool flip_kind_diagonal(flip_adjacency_kind kind) {
    return kind == FLIP_ADJACENCY_GCN || kind == FLIP_ADJACENCY_GCN_INOUT;
}
static inline bool flip_kind_mean(flip_adjacency_kind kind) {
    return kind == FLIP_ADJACENCY_MEAN || kind == FLIP_ADJACENCY_WMEAN;
}
/* Is there an entry in a row's own column? Attention's: in the steps in which no event is one. */
static inline bool flip_kind_loops(const flip_adjacency_params *p) {
    return flip_kind_diagonal(p->kind) ||
           (p->kind == FLIP_ADJACENCY_ATTENTION && !p->without_loops);
}
/* Entries only, no values. */
static inline bool flip_kind_bare(flip_adjacency_kind kind) {
    return kind == FLIP_ADJACENCY_PATTERN || kind == FLIP_ADJACENCY_ATTENTION;
}
static inline double flip_event_weight(const flip_build *b, uint32_t event) {
    return b->events->weight && flip_kind_weighted(b->params.kind)
               ? (double)(flip_real)b->events->weight[event]
               : 1.0;
}
static inline int32_t flip_event_step(const flip_build *b, uint32_t event) {
    return b->events->step ? b->events->step[event] : 0;
}

/* What snapshots hold of one (row, source): runs of steps within low … last that do not touch, with
 * a value at each step. */
typedef struct flip_raw {
    int32_t n_runs;
    int32_t *first, *length; /* [n_runs] */
    double *value;           /* run after run */
} flip_raw;

/* Room for one row's work; each thread has its own. */
typedef struct flip_row_scratch {
    flip_raw raw;   /* n_low steps at most */
    double *values; /* [n_low] */
    double *sums;   /* [n_low] */
    double *window; /* [2 * window] */
} flip_row_scratch;

flip_status flip_row_scratch_init(flip_row_scratch *scratch, const flip_build *b);
void flip_row_scratch_finish(flip_row_scratch *scratch);

/* adjacency.c: last, low, base; and all that follows once columns, factors and raw values are
 * there: rows, transpose, order of rows. */
flip_status flip_build_steps(flip_build *b);
flip_status flip_build_finish(flip_build *b);
void flip_build_free(flip_build *b);
/* halo.c: column, halo, plan, original, order, row_start, by_row. Collective. */
flip_status flip_build_columns(flip_build *b, const flip_gid *rank_first, const int64_t *original);
/* walk.c: calls visit for every source of row v, ascending by original id. values: false = runs
 * alone. raw stands in scratch. */
typedef void flip_raw_visit(void *to, int32_t column, const flip_raw *raw);
void flip_build_walk(const flip_build *b, int32_t v, bool values, flip_row_scratch *scratch,
                     flip_raw_visit *visit, void *to);
/* normalise.c: factor, factor_v; collective. And row v's sums of raw values at steps low … last. */
flip_status flip_build_factors(flip_build *b);
void flip_build_row_sums(const flip_build *b, int32_t v, flip_row_scratch *scratch, double *sums);
/* values: raw values at steps first … first+n-1 >= low, 0 where there is none; normalised and
 * averaged over the band into out, steps from first_step on. row_sums [n_low] or NULL. */
void flip_build_normalise(const flip_build *b, flip_real *out, double *values, int32_t first,
                          int32_t n, int32_t v, int32_t column, bool diagonal,
                          const double *row_sums, double *window);
/* rows.c: out->a. Local. */
flip_status flip_build_rows(flip_build *b);
/* transpose.c: out->at, out->to_transposed. Local. */
flip_status flip_build_transpose(flip_build *b);

#endif
