/* Max pooling over in-edges (GraphSAGE, Hamilton et al. 2017, equation 3):
 *     y[v,t,j] = max over entries (v, u) alive at t of x[u,t,j];  0 without
 * The gradient goes to the node that attained it; the first in the row where several did. */
#include "edges.h"
#include "internal.h"

static flip_status pool_shape(const flip_tape *tape, const record *r, shape *out) {
    return edges_shape(tape, r, 0, out);
}

/* saved[0]: who attained the maximum [n_own, steps, dim] */
static flip_status pool_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0);
    int64_t width = (int64_t)x->steps * x->dim;
    int32_t n_interior = g->plan ? g->n_interior : g->n_own;
    const int32_t *order = NULL;
    edges_trip trip;
    flip_csr a;
    FLIP_TRY(tape_csr(tape, &g->a, &a));
    a.n_own = edges_sources(g);
    FLIP_TRY(tape_reach(tape, g->row_order, (size_t)g->n_own * sizeof *order, &order));
    FLIP_TRY(edges_halo_begin(tape, g, x->value, (size_t)width, &trip));
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_save(tape, r, 0, (size_t)(g->n_own * width) * sizeof(int32_t)));
    flip_real *y = tape_out(tape, r)->value;
    int32_t *from = r->saved[0];
    tape->kernels->max_pool(&a, order, n_interior, x->steps, x->dim, y, from, x->value, NULL);
    FLIP_TRY(edges_halo_end(tape, g, &trip));
    if (g->plan)
        tape->kernels->max_pool(&a, order + n_interior, g->n_own - n_interior, x->steps, x->dim, y,
                                from, x->value, trip.halo);
    pool_free(tape->pool, trip.halo);
    edges_meter(tape, &g->a, x->dim * (g->a.n_steps > 1 ? 1 : x->steps), g->n_own);
    if (!r->recorded) {
        pool_free(tape->pool, from);
        r->saved[0] = NULL;
    }
    return FLIP_OK;
}

/* Rows of the transpose: dx[u] (+)= Σ over v that took their maximum from u of dy[v]. */
static flip_status pool_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0);
    const flip_real *dy = tape_out(tape, r)->gradient;
    int64_t width = (int64_t)x->steps * x->dim;
    const int32_t *from = r->saved[0];
    int32_t n_src = edges_sources(g);
    edges_trip trip;
    flip_csr at;
    target to;
    FLIP_TRY(tape_csr(tape, &g->at, &at));
    flip_csr own = edges_rows(&at, 0, n_src), copies = edges_rows(&at, n_src, g->n_halo);
    FLIP_TRY(edges_trip_open(tape, g, (size_t)width, &trip));
    if (g->plan) tape->kernels->max_pool_back(&copies, n_src, width, dy, from, trip.halo, false);
    FLIP_TRY(edges_return_begin(tape, g, &trip));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    tape->kernels->max_pool_back(&own, 0, width, dy, from, to.gradient, to.accumulate);
    FLIP_TRY(edges_return_end(tape, g, &trip, to.gradient));
    pool_free(tape->pool, trip.halo);
    edges_meter(tape, &g->at, x->dim * (g->a.n_steps > 1 ? 1 : x->steps), n_src + g->n_halo);
    return FLIP_OK;
}

const operator_row op_max_pool = {.name = "max pool",
                                  .stage = FLIP_STAGE_AGGREGATE,
                                  .inputs = 1,
                                  .shape = pool_shape,
                                  .forward = pool_forward,
                                  .backward = pool_backward};

flip_var flip_max_pool(flip_tape *tape, const flip_adjacency *adjacency, flip_var x) {
    record r = tape_record(OP_MAX_POOL);
    r.in[0] = x;
    r.adjacency = adjacency;
    return tape_apply(tape, &r);
}
