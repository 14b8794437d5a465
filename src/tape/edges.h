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
/* The halo's rows on their way here, or their gradients on their way home. */
typedef struct edges_trip {
    flip_real *halo; /* [n_halo, width] pool memory, the caller's to free; NULL on one rank */
    size_t width;
    mirror own, copies; /* of own rows and of the halo's, which messages read and write */
} edges_trip;

/* Room for the halo; edges_halo_begin makes it itself. */
flip_status edges_trip_open(flip_tape *tape, const flip_adjacency *g, size_t width,
                            edges_trip *trip);
/* Own rows x [n_own, width] set out for the halo. */
flip_status edges_halo_begin(flip_tape *tape, const flip_adjacency *g, const flip_real *x,
                             size_t width, edges_trip *trip);
flip_status edges_halo_end(flip_tape *tape, const flip_adjacency *g, edges_trip *trip);
/* The gradients that stand in the halo go home and are added to own. */
flip_status edges_return_begin(flip_tape *tape, const flip_adjacency *g, edges_trip *trip);
flip_status edges_return_end(flip_tape *tape, const flip_adjacency *g, edges_trip *trip,
                             flip_real *own);
/* Counts the bytes and multiply-adds of a sweep over a that writes `rows` rows. */
void edges_meter(flip_tape *tape, const flip_csr *a, int64_t dim, int64_t rows);

#endif
