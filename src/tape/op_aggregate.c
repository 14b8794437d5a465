/* Aggregation over in-edges: y = act(A x + y0 + b), and sums with weights that learn.
 *
 * Forward pulls: the halo travels while rows without halo columns are summed. Backward pulls too,
 * through the transpose: the halo's gradients first, which travel to their owners while the own
 * rows are summed; the owners add what arrives in rank order. Nothing is kept. */
#include "internal.h"
#include "edges.h"

#include <string.h>

/* ---- what the edge operators share ---- */

flip_status edges_shape(const flip_tape *tape, const record *r, int input, shape *out) {
    const variable *x = tape_in(tape, r, input);
    const flip_adjacency *g = r->adjacency;
    if (x->rows != g->n_own)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "aggregating %d rows over an adjacency of %d",
                         x->rows, g->n_own);
    if (g->a.n_steps > 1 && g->a.n_steps != x->steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "aggregating %d steps over an adjacency of %d snapshots", x->steps,
                         g->a.n_steps);
    *out = (shape){x->rows, x->steps, x->dim};
    return FLIP_OK;
}

flip_csr edges_rows(const flip_csr *a, int32_t first, int32_t n) {
    flip_csr part = *a;
    part.n_rows = n;
    part.row_ptr += first;
    if (part.row_scale) part.row_scale += first;
    return part;
}

flip_status edges_halo_begin(flip_tape *tape, const flip_adjacency *g, const flip_real *x,
                             size_t width, flip_real **halo) {
    *halo = NULL;
    if (!g->plan) return FLIP_OK;
    FLIP_TRY(pool_alloc(tape->pool, halo, (size_t)g->n_halo * width * sizeof(flip_real)));
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_plan_forward_begin(g->plan, x, width, *halo);
    flip_meter_end(tape->meter);
    return status;
}

flip_status edges_halo_end(flip_tape *tape, const flip_adjacency *g) {
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_plan_forward_end(g->plan);
    flip_meter_end(tape->meter);
    return status;
}

flip_status edges_return_begin(flip_tape *tape, const flip_adjacency *g, const flip_real *halo,
                               size_t width) {
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_plan_backward_begin(g->plan, halo, width);
    flip_meter_end(tape->meter);
    return status;
}

flip_status edges_return_end(flip_tape *tape, const flip_adjacency *g, flip_real *own) {
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_plan_backward_end(g->plan, own);
    flip_meter_end(tape->meter);
    return status;
}

void edges_meter(flip_tape *tape, const flip_csr *a, int64_t dim, int64_t rows) {
    uint64_t values = (uint64_t)a->n_values > (uint64_t)a->n_entries ? (uint64_t)a->n_values
                                                                     : (uint64_t)a->n_entries;
    uint64_t bytes = (uint64_t)a->n_entries * sizeof(int32_t) +
                     (a->value ? values * sizeof(flip_real) : 0) +
                     (values + (uint64_t)rows) * (uint64_t)dim * sizeof(flip_real);
    tape_traffic(tape, FLIP_STAGE_AGGREGATE, bytes, 2 * values * (uint64_t)dim);
}

/* ---- y = act(A x + y0 + b) ---- */

static flip_status aggregate_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(edges_shape(tape, r, 0, out));
    return r->in[1] == FLIP_VAR_NONE ? FLIP_OK : shape_equal(tape, r, out);
}

/* Columns of one snapshot; a static matrix takes all steps of a row as one wide row. */
static int32_t columns_of(const flip_adjacency *g, const variable *x) {
    return g->a.n_steps > 1 ? x->dim : x->steps * x->dim;
}

static flip_status aggregate_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0);
    size_t width = (size_t)x->steps * (size_t)x->dim;
    int32_t dim = columns_of(g, x), n_interior = g->plan ? g->n_interior : g->n_own;
    bool add = r->in[1] != FLIP_VAR_NONE;
    flip_real *halo;
    FLIP_TRY(edges_halo_begin(tape, g, x->value, width, &halo));
    FLIP_TRY(tape_output(tape, r, add ? 1 : -1));
    variable *y = tape_out(tape, r);
    tape->kernels->spmm(&g->a, g->plan ? g->row_order : NULL, n_interior, dim, y->value, x->value,
                        NULL, add);
    FLIP_TRY(edges_halo_end(tape, g));
    if (g->plan)
        tape->kernels->spmm(&g->a, g->row_order + n_interior, g->n_own - n_interior, dim, y->value,
                            x->value, halo, add);
    pool_free(tape->pool, halo);
    edges_meter(tape, &g->a, dim, g->n_own);
    if (r->param[2] == FLIP_PARAM_NONE && !r->act.relu && !(r->act.dropout > 0)) return FLIP_OK;
    flip_epilogue e = {.accumulate = true, .bias = tape_weight(tape, r->param[2])};
    FLIP_TRY(tape_epilogue(tape, r, &e));
    flip_meter_begin(tape->meter, FLIP_STAGE_POINTWISE);
    tape->kernels->gemm_nn(rows_of(y), y->dim, 0, NULL, 1, NULL, y->dim, y->value, y->dim, &e);
    flip_meter_end(tape->meter);
    return FLIP_OK;
}

/* dx = A^T dy;  dy0 = dy;  db = Σ dy */
static flip_status aggregate_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int32_t dim = columns_of(g, x);
    size_t width = (size_t)x->steps * (size_t)x->dim;
    if (r->param[2] != FLIP_PARAM_NONE)
        FLIP_TRY(tape_column_sums(tape, rows_of(y), y->dim, y->gradient,
                                  tape_weight_gradient(tape, r->param[2])));
    if (x->needs_gradient) {
        target to;
        flip_real *halo = NULL;
        flip_csr own = edges_rows(&g->at, 0, g->n_own),
                 copies = edges_rows(&g->at, g->n_own, g->n_halo);
        if (g->plan) {
            FLIP_TRY(pool_alloc(tape->pool, &halo, (size_t)g->n_halo * width * sizeof(flip_real)));
            tape->kernels->spmm(&copies, NULL, g->n_halo, dim, halo, y->gradient, NULL, false);
        }
        FLIP_TRY(edges_return_begin(tape, g, halo, width));
        FLIP_TRY(tape_gradient(tape, r, 0, &to));
        tape->kernels->spmm(&own, NULL, g->n_own, dim, to.gradient, y->gradient, NULL,
                            to.accumulate);
        FLIP_TRY(edges_return_end(tape, g, to.gradient));
        pool_free(tape->pool, halo);
        edges_meter(tape, &g->at, dim, g->n_own + g->n_halo);
    }
    return r->in[1] == FLIP_VAR_NONE ? FLIP_OK : tape_pass_gradient(tape, r, 1);
}

const operator_row op_aggregate = {.name = "aggregate",
                                   .stage = FLIP_STAGE_AGGREGATE,
                                   .inputs = 1,
                                   .acts = true,
                                   .shape = aggregate_shape,
                                   .forward = aggregate_forward,
                                   .backward = aggregate_backward};

flip_var flip_aggregate(flip_tape *tape, const flip_adjacency *adjacency, flip_var x, flip_var y,
                        flip_param b, flip_act act) {
    record r = tape_record(OP_AGGREGATE);
    r.in[0] = x;
    r.in[1] = y;
    r.param[2] = b;
    r.act = act;
    r.adjacency = adjacency;
    return tape_apply(tape, &r);
}

/* ---- y[v] = Σ w_e x[u] with weights that need gradients ---- */

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
    flip_csr own = edges_rows(&transposed, 0, g->n_own),
             copies = edges_rows(&transposed, g->n_own, g->n_halo);
    if (g->plan) {
        FLIP_TRY(
            pool_alloc(tape->pool, &halo, (size_t)g->n_halo * (size_t)width * sizeof(flip_real)));
        tape->kernels->spmm(&copies, NULL, g->n_halo, (int32_t)width, halo, y->gradient, NULL,
                            false);
    }
    FLIP_TRY(edges_return_begin(tape, g, halo, (size_t)width));
    FLIP_TRY(tape_gradient(tape, r, 1, &to));
    tape->kernels->spmm(&own, NULL, g->n_own, (int32_t)width, to.gradient, y->gradient, NULL,
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
