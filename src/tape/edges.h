/* What the operators over in-edges share: the halo's journey both ways, entries alive at a step. */
#ifndef FLIP_TAPE_EDGES_H
#define FLIP_TAPE_EDGES_H

#include "internal.h"

/* Rows of the input: own nodes, or a batch's sources. */
static inline int32_t edges_sources(const flip_adjacency *g) {
    return g->n_src > 0 ? g->n_src : g->n_own;
}
/* Input `input` has the adjacency's sources and steps (any number over a static one); out has its
 * destinations. */
flip_status edges_shape(const flip_tape *tape, const record *r, int input, shape *out);
/* Rows first … first+n-1 of a as a matrix of its own. */
flip_csr edges_rows(const flip_csr *a, int32_t first, int32_t n);
/* Own rows x [n_own, width] set out for the halo [n_halo, width] (pool memory; NULL on one rank).
 */
flip_status edges_halo_begin(flip_tape *tape, const flip_adjacency *g, const flip_real *x,
                             size_t width, flip_real **halo);
flip_status edges_halo_end(flip_tape *tape, const flip_adjacency *g);
/* The halo's gradients go home and are added to own. */
flip_status edges_return_begin(flip_tape *tape, const flip_adjacency *g, const flip_real *halo,
                               size_t width);
flip_status edges_return_end(flip_tape *tape, const flip_adjacency *g, flip_real *own);
/* Counts the bytes and multiply-adds of a sweep over a that writes `rows` rows. */
void edges_meter(flip_tape *tape, const flip_csr *a, int64_t dim, int64_t rows);

/* Row of column `col`: an own row of x or a halo row. */
static inline const flip_real *edges_row(const flip_adjacency *g, int32_t col, int64_t width,
                                         const flip_real *x, const flip_real *halo) {
    int32_t own = edges_sources(g);
    return col < own ? x + col * width : halo + (int64_t)(col - own) * width;
}

/* Steps at which entry e lives, run by run:
 *     for (edges_run run = edges_first(a, e, steps); run.more; run = edges_next(a, run))
 *         for (int32_t t = run.first; t < run.end; t++) …
 * An entry of a static matrix lives in all `steps`. */
typedef struct edges_run {
    int64_t run, last;
    int32_t first, end;
    bool more;
} edges_run;

static inline edges_run edges_at(const flip_csr *a, int64_t run, int64_t last) {
    edges_run out = {.run = run, .last = last, .more = run < last};
    if (!out.more) return out;
    out.first = a->run_first[run];
    out.end = out.first + (int32_t)(a->value_ptr[run + 1] - a->value_ptr[run]);
    return out;
}
static inline edges_run edges_first(const flip_csr *a, int64_t e, int32_t steps) {
    if (!a->run_ptr) return (edges_run){.first = 0, .end = steps, .more = true};
    return edges_at(a, a->run_ptr[e], a->run_ptr[e + 1]);
}
static inline edges_run edges_next(const flip_csr *a, edges_run run) {
    if (!a->run_ptr) return (edges_run){.more = false};
    return edges_at(a, run.run + 1, run.last);
}

#endif
