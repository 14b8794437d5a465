/* Aggregation over in-edges: y = act(A x + y0 + b), and sums with weights that learn.
 *
 * Forward pulls: the halo travels while rows without halo columns are summed. Backward pulls too,
 * through the transpose: the halo's gradients first, which travel to their owners while the own
 * rows are summed; the owners add what arrives in rank order. Nothing is kept. */
#include "internal.h"
#include "edges.h"

/* ---- what the edge operators share ---- */

flip_status edges_shape(const flip_tape *tape, const record *r, int input, shape *out) {
    const variable *x = tape_in(tape, r, input);
    const flip_adjacency *g = r->adjacency;
    if (x->rows != edges_sources(g))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "aggregating %d rows over an adjacency of %d",
                         x->rows, edges_sources(g));
    if (g->a.n_steps > 1 && g->a.n_steps != x->steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "aggregating %d steps over an adjacency of %d snapshots", x->steps,
                         g->a.n_steps);
    *out = (shape){g->n_own, x->steps, x->dim};
    return FLIP_OK;
}

flip_csr edges_rows(const flip_csr *a, int32_t first, int32_t n) {
    flip_csr part = *a;
    part.n_rows = n;
    part.row_ptr += first;
    if (part.row_scale) part.row_scale += first;
    return part;
}

/* ---- rows between ranks: messages read and write the values' mirrors ---- */

/* Values of own rows, and of the halo's. */
static size_t own_values(const flip_adjacency *g, const edges_trip *t) {
    return (size_t)edges_sources(g) * t->width;
}
static size_t halo_values(const flip_adjacency *g, const edges_trip *t) {
    return (size_t)g->n_halo * t->width;
}

flip_status edges_trip_open(flip_tape *tape, const flip_adjacency *g, size_t width, edges_trip *t) {
    *t = (edges_trip){.width = width};
    if (!g->plan) return FLIP_OK;
    return pool_alloc(tape->pool, &t->halo, halo_values(g, t) * sizeof *t->halo);
}

static void close_trip(flip_tape *tape, edges_trip *t) {
    mirror_close(tape, &t->own);
    mirror_close(tape, &t->copies);
}

static flip_status send_rows(flip_tape *tape, const flip_adjacency *g, const flip_real *x,
                             edges_trip *t) {
    FLIP_TRY(mirror_open(tape, &t->own, x, own_values(g, t)));
    FLIP_TRY(mirror_open(tape, &t->copies, t->halo, halo_values(g, t)));
    mirror_receive(tape, &t->own, 0, own_values(g, t));
    return flip_plan_forward_begin(g->plan, t->own.host, t->width, t->copies.host);
}

flip_status edges_halo_begin(flip_tape *tape, const flip_adjacency *g, const flip_real *x,
                             size_t width, edges_trip *t) {
    FLIP_TRY(edges_trip_open(tape, g, width, t));
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = send_rows(tape, g, x, t);
    flip_meter_end(tape->meter);
    return status;
}

flip_status edges_halo_end(flip_tape *tape, const flip_adjacency *g, edges_trip *t) {
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = flip_plan_forward_end(g->plan);
    if (status == FLIP_OK) mirror_send(tape, &t->copies, 0, halo_values(g, t));
    close_trip(tape, t);
    flip_meter_end(tape->meter);
    return status;
}

static flip_status send_back(flip_tape *tape, const flip_adjacency *g, edges_trip *t) {
    FLIP_TRY(mirror_open(tape, &t->copies, t->halo, halo_values(g, t)));
    mirror_receive(tape, &t->copies, 0, halo_values(g, t));
    return flip_plan_backward_begin(g->plan, t->copies.host, t->width);
}

flip_status edges_return_begin(flip_tape *tape, const flip_adjacency *g, edges_trip *t) {
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = send_back(tape, g, t);
    flip_meter_end(tape->meter);
    return status;
}

/* Own rows have their own ranks' shares already: what arrives is added behind them. */
static flip_status add_returned(flip_tape *tape, const flip_adjacency *g, edges_trip *t,
                                flip_real *own) {
    FLIP_TRY(mirror_open(tape, &t->own, own, own_values(g, t)));
    mirror_receive(tape, &t->own, 0, own_values(g, t));
    FLIP_TRY(flip_plan_backward_end(g->plan, t->own.host));
    mirror_send(tape, &t->own, 0, own_values(g, t));
    return FLIP_OK;
}

flip_status edges_return_end(flip_tape *tape, const flip_adjacency *g, edges_trip *t,
                             flip_real *own) {
    if (!g->plan) return FLIP_OK;
    flip_meter_begin(tape->meter, FLIP_STAGE_EXCHANGE);
    flip_status status = add_returned(tape, g, t, own);
    close_trip(tape, t);
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
    if (r->in[1] == FLIP_VAR_NONE) return FLIP_OK;
    const variable *y = tape_in(tape, r, 1);
    if (y->rows != out->rows || y->steps != out->steps || y->dim != out->dim)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "[%d, %d, %d] and [%d, %d, %d] have no sum",
                         out->rows, out->steps, out->dim, y->rows, y->steps, y->dim);
    return FLIP_OK;
}

/* Columns of one snapshot; a static matrix takes all steps of a row as one wide row. */
static int32_t columns_of(const flip_adjacency *g, const variable *x) {
    return g->a.n_steps > 1 ? x->dim : x->steps * x->dim;
}

/* y (+)= A x. The caller has begun the halo's journey here. */
static flip_status pull(flip_tape *tape, const flip_adjacency *g, int32_t dim, flip_real *y,
                        const flip_real *x, edges_trip *trip, bool add) {
    int32_t n_interior = g->plan ? g->n_interior : g->n_own;
    const int32_t *order = NULL;
    flip_csr a;
    FLIP_TRY(tape_csr(tape, &g->a, &a));
    if (g->plan) FLIP_TRY(tape_reach(tape, g->row_order, (size_t)g->n_own * sizeof *order, &order));
    tape->kernels->spmm(&a, order, n_interior, dim, y, x, NULL, add);
    FLIP_TRY(edges_halo_end(tape, g, trip));
    if (g->plan)
        tape->kernels->spmm(&a, order + n_interior, g->n_own - n_interior, dim, y, x, trip->halo,
                            add);
    edges_meter(tape, &g->a, dim, g->n_own);
    return FLIP_OK;
}

/* x (+)= A^T y: the halo's rows first, which travel home while the own rows are summed. */
static flip_status pull_back(flip_tape *tape, const flip_adjacency *g, int32_t dim, size_t width,
                             flip_real *x, const flip_real *y, bool add) {
    edges_trip trip;
    int32_t n_src = edges_sources(g);
    if (!g->at.row_ptr)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "the gradient of a sum over a batch's inputs needs their transpose");
    flip_csr at;
    FLIP_TRY(tape_csr(tape, &g->at, &at));
    flip_csr own = edges_rows(&at, 0, n_src), copies = edges_rows(&at, n_src, g->n_halo);
    FLIP_TRY(edges_trip_open(tape, g, width, &trip));
    if (g->plan) tape->kernels->spmm(&copies, NULL, g->n_halo, dim, trip.halo, y, NULL, false);
    FLIP_TRY(edges_return_begin(tape, g, &trip));
    tape->kernels->spmm(&own, NULL, n_src, dim, x, y, NULL, add);
    FLIP_TRY(edges_return_end(tape, g, &trip, x));
    pool_free(tape->pool, trip.halo);
    edges_meter(tape, &g->at, dim, n_src + g->n_halo);
    return FLIP_OK;
}

static size_t width_of(const variable *x) {
    return (size_t)x->steps * (size_t)x->dim;
}

static bool acts(const record *r) {
    return r->act.relu || r->act.dropout > 0;
}

static flip_status aggregate_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0);
    bool add = r->in[1] != FLIP_VAR_NONE;
    edges_trip trip;
    FLIP_TRY(edges_halo_begin(tape, g, x->value, width_of(x), &trip));
    FLIP_TRY(tape_output(tape, r, add ? 1 : -1));
    variable *y = tape_out(tape, r);
    FLIP_TRY(pull(tape, g, columns_of(g, x), y->value, x->value, &trip, add));
    pool_free(tape->pool, trip.halo);
    return r->param[2] == FLIP_PARAM_NONE && !acts(r)
               ? FLIP_OK
               : tape_act_in_place(tape, r, tape_weight(tape, r->param[2]));
}

/* dx = A^T dy;  dy0 = dy;  db = Σ dy */
static flip_status aggregate_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    target to;
    FLIP_TRY(tape_bias_gradient(tape, r, r->param[2]));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient)
        FLIP_TRY(pull_back(tape, g, columns_of(g, x), width_of(x), to.gradient, y->gradient,
                           to.accumulate));
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

/* ---- y = act(x W0 + A (x W1) + b), the narrower way where W1 has fewer columns than rows ---- */

static flip_status narrow_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(edges_shape(tape, r, 0, out));
    FLIP_TRY(tape_weight_shape(tape, r, 1, out->dim, &out->dim));
    int32_t cols = out->dim;
    if (r->param[0] != FLIP_PARAM_NONE)
        FLIP_TRY(tape_weight_shape(tape, r, 0, tape_in(tape, r, 0)->dim, &cols));
    if (cols != out->dim)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the two products have %d and %d columns", cols,
                         out->dim);
    return FLIP_OK;
}

/* z = x W1 travels while x W0 + b is taken, of the rows that are destinations. */
static flip_status narrow_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0);
    FLIP_TRY(tape_output(tape, r, -1));
    variable *y = tape_out(tape, r);
    int64_t m = rows_of(x), n = y->dim;
    bool self = r->param[0] != FLIP_PARAM_NONE;
    flip_epilogue e = {.bias = tape_weight(tape, r->param[2])};
    flip_real *z;
    edges_trip trip;
    FLIP_TRY(pool_alloc(tape->pool, &z, (size_t)(m * n) * sizeof(flip_real)));
    FLIP_TRY(tape_multiply(tape, x, m, n, r->param[1], z, NULL));
    FLIP_TRY(edges_halo_begin(tape, g, z, width_of(y), &trip));
    if (self) FLIP_TRY(tape_multiply(tape, x, rows_of(y), n, r->param[0], y->value, &e));
    FLIP_TRY(pull(tape, g, columns_of(g, y), y->value, z, &trip, self));
    pool_free(tape->pool, trip.halo);
    pool_free(tape->pool, z);
    bool bias_later = !self && r->param[2] != FLIP_PARAM_NONE;
    return bias_later || acts(r)
               ? tape_act_in_place(tape, r, bias_later ? tape_weight(tape, r->param[2]) : NULL)
               : FLIP_OK;
}

/* dz = A^T dy;  dW0 = x^T dy,  dW1 = x^T dz,  dx = dy W0^T + dz W1^T in one pass; dy has a batch's
 * destinations alone, the first of x's rows */
static flip_status narrow_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    bool self = r->param[0] != FLIP_PARAM_NONE;
    flip_real *dz;
    FLIP_TRY(tape_bias_gradient(tape, r, r->param[2]));
    FLIP_TRY(pool_alloc(tape->pool, &dz, (size_t)(rows_of(x) * y->dim) * sizeof(flip_real)));
    FLIP_TRY(pull_back(tape, g, columns_of(g, y), width_of(y), dz, y->gradient, false));
    if (self) FLIP_TRY(tape_multiply_weight(tape, x, rows_of(y), y->dim, y->gradient, r->param[0]));
    FLIP_TRY(tape_multiply_weight(tape, x, rows_of(x), y->dim, dz, r->param[1]));
    FLIP_TRY(
        tape_product_input(tape, r, 0, dz, r->param[1], self ? y->gradient : NULL, r->param[0]));
    pool_free(tape->pool, dz);
    return FLIP_OK;
}

const operator_row op_linear_aggregate = {.name = "linear, then aggregate",
                                          .stage = FLIP_STAGE_AGGREGATE,
                                          .inputs = 1,
                                          .saves = SAVES_IN0,
                                          .acts = true,
                                          .decodes = DECODES_IN0,
                                          .shape = narrow_shape,
                                          .forward = narrow_forward,
                                          .backward = narrow_backward};

flip_var flip_linear_aggregate(flip_tape *tape, const flip_adjacency *adjacency, flip_var x,
                               flip_param w_self, flip_param w_neigh, flip_param b, flip_act act) {
    record r = tape_record(OP_LINEAR_AGGREGATE);
    r.in[0] = x;
    r.param[0] = w_self;
    r.param[1] = w_neigh;
    r.param[2] = b;
    r.act = act;
    r.adjacency = adjacency;
    return tape_apply(tape, &r);
}
