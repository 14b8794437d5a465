/* Sums over in-edges with weights that learn: y[v] = Σ w_e x[u] over the entries e = (v, u);
 *     dw_e = dy[v] . x[u],  dx = A_w^T dy */
#include "edges.h"
#include "internal.h"

static flip_status weighted_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *w = tape_in(tape, r, 0);
    const flip_adjacency *g = r->adjacency;
    FLIP_TRY(edges_shape(tape, r, 1, out));
    if (!g->to_transposed || g->a.run_ptr || w->rows != g->a.n_entries || w->dim != 1)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "weights of edges need a static adjacency of kind ATTENTION with %d "
                         "entries, got %lld",
                         w->rows, (long long)g->a.n_entries);
    return FLIP_OK;
}

/* saved[0]: the halo's rows, which dw reads */
static flip_status weighted_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *w = tape_in(tape, r, 0), *x = tape_in(tape, r, 1);
    int64_t width = (int64_t)x->steps * x->dim;
    edges_trip trip;
    FLIP_TRY(edges_halo_begin(tape, g, x->value, (size_t)width, &trip));
    r->saved[0] = trip.halo;
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(edges_halo_end(tape, g, &trip));
    flip_real *y = tape_out(tape, r)->value;
    flip_csr weighted;
    FLIP_TRY(tape_csr(tape, &g->a, &weighted));
    weighted.value = w->value;
    weighted.n_values = weighted.n_entries;
    weighted.row_scale = weighted.col_scale = NULL;
    tape->kernels->spmm(&weighted, NULL, g->n_own, (int32_t)width, y, x->value, trip.halo, false);
    edges_meter(tape, &weighted, width, g->n_own);
    return FLIP_OK;
}

/* dw_e = dy[v] . x[u] */
static flip_status weight_gradients(flip_tape *tape, const record *r, int64_t width,
                                    const target *to) {
    flip_csr a;
    FLIP_TRY(tape_csr(tape, &r->adjacency->a, &a));
    a.n_own = edges_sources(r->adjacency);
    tape->kernels->entry_dots(&a, width, tape_out(tape, r)->gradient, tape_in(tape, r, 1)->value,
                              r->saved[0], to->gradient, to->accumulate);
    return FLIP_OK;
}

/* The transpose with weights w; value: its room. */
static flip_status transpose_weights(flip_tape *tape, const flip_adjacency *g, const flip_real *w,
                                     flip_real *value, flip_csr *out) {
    const int64_t *place;
    FLIP_TRY(tape_turned(tape, g, &place));
    FLIP_TRY(tape_csr(tape, &g->at, out));
    tape->kernels->place_values(g->a.n_entries, place, w, value);
    out->value = value;
    out->n_values = out->n_entries;
    out->row_scale = out->col_scale = NULL;
    return FLIP_OK;
}

static flip_status weighted_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    variable *w = tape_in(tape, r, 0), *x = tape_in(tape, r, 1), *y = tape_out(tape, r);
    int64_t width = (int64_t)x->steps * x->dim;
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient) FLIP_TRY(weight_gradients(tape, r, width, &to));
    if (!x->needs_gradient) return FLIP_OK;
    flip_real *value;
    edges_trip trip;
    FLIP_TRY(pool_alloc(tape->pool, &value, (size_t)g->a.n_entries * sizeof *value));
    flip_csr transposed;
    FLIP_TRY(transpose_weights(tape, g, w->value, value, &transposed));
    int32_t n_src = edges_sources(g);
    flip_csr own = edges_rows(&transposed, 0, n_src),
             copies = edges_rows(&transposed, n_src, g->n_halo);
    FLIP_TRY(edges_trip_open(tape, g, (size_t)width, &trip));
    if (g->plan)
        tape->kernels->spmm(&copies, NULL, g->n_halo, (int32_t)width, trip.halo, y->gradient, NULL,
                            false);
    FLIP_TRY(edges_return_begin(tape, g, &trip));
    FLIP_TRY(tape_gradient(tape, r, 1, &to));
    tape->kernels->spmm(&own, NULL, n_src, (int32_t)width, to.gradient, y->gradient, NULL,
                        to.accumulate);
    FLIP_TRY(edges_return_end(tape, g, &trip, to.gradient));
    pool_free(tape->pool, trip.halo);
    pool_free(tape->pool, value);
    return FLIP_OK;
}

const operator_row op_aggregate_edges = {.name = "aggregate edges",
                                         .stage = FLIP_STAGE_AGGREGATE,
                                         .inputs = 2,
                                         .saves = SAVES_IN0 | SAVES_IN1,
                                         .shape = weighted_shape,
                                         .forward = weighted_forward,
                                         .backward = weighted_backward};

flip_var flip_aggregate_edges(flip_tape *tape, const flip_adjacency *adjacency, flip_var w,
                              flip_var x) {
    record r = tape_record(OP_AGGREGATE_EDGES);
    r.in[0] = w;
    r.in[1] = x;
    r.adjacency = adjacency;
    return tape_apply(tape, &r);
}
