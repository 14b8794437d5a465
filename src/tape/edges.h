/* What the operators over in-edges share: the halo's journey both ways. */
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

#endif
