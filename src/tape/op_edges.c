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
    flip_real *halo;
    FLIP_TRY(edges_halo_begin(tape, g, x->value, (size_t)width, &halo));
    r->saved[0] = halo;
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(edges_halo_end(tape, g));
    flip_real *y = tape_out(tape, r)->value;
    flip_csr weighted = g->a;
    weighted.value = w->value;
    weighted.n_values = weighted.n_entries;
    weighted.row_scale = weighted.col_scale = NULL;
    tape->kernels->spmm(&weighted, NULL, g->n_own, (int32_t)width, y, x->value, halo, false);
    edges_meter(tape, &weighted, width, g->n_own);
    return FLIP_OK;
}

/* dw_e = dy[v] . x[u] */
static void weight_gradients(const flip_adjacency *g, int64_t width, const flip_real *dy,
                             const flip_real *x, const flip_real *halo, target to) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t v = 0; v < g->n_own; v++)
        for (int64_t e = g->a.row_ptr[v]; e < g->a.row_ptr[v + 1]; e++) {
            const flip_real *row = edges_row(g, g->a.col[e], width, x, halo);
            flip_real sum = 0;
            for (int64_t j = 0; j < width; j++)
                sum += dy[v * width + j] * row[j];
            to.gradient[e] = (to.accumulate ? to.gradient[e] : 0) + sum;
        }
}

static flip_status weighted_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    variable *w = tape_in(tape, r, 0), *x = tape_in(tape, r, 1), *y = tape_out(tape, r);
    int64_t width = (int64_t)x->steps * x->dim;
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient) weight_gradients(g, width, y->gradient, x->value, r->saved[0], to);
    if (!x->needs_gradient) return FLIP_OK;
    flip_real *value, *halo = NULL;
    FLIP_TRY(pool_alloc(tape->pool, &value, (size_t)g->a.n_entries * sizeof *value));
    for (int64_t e = 0; e < g->a.n_entries; e++)
        value[g->to_transposed[e]] = w->value[e];
    flip_csr transposed = g->at;
    transposed.value = value;
    transposed.n_values = transposed.n_entries;
    transposed.row_scale = transposed.col_scale = NULL;
    int32_t n_src = edges_sources(g);
    flip_csr own = edges_rows(&transposed, 0, n_src),
             copies = edges_rows(&transposed, n_src, g->n_halo);
    if (g->plan) {
        FLIP_TRY(
            pool_alloc(tape->pool, &halo, (size_t)g->n_halo * (size_t)width * sizeof(flip_real)));
        tape->kernels->spmm(&copies, NULL, g->n_halo, (int32_t)width, halo, y->gradient, NULL,
                            false);
    }
    FLIP_TRY(edges_return_begin(tape, g, halo, (size_t)width));
    FLIP_TRY(tape_gradient(tape, r, 1, &to));
    tape->kernels->spmm(&own, NULL, n_src, (int32_t)width, to.gradient, y->gradient, NULL,
                        to.accumulate);
    FLIP_TRY(edges_return_end(tape, g, to.gradient));
    pool_free(tape->pool, halo);
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
