/* Max pooling over in-edges (GraphSAGE, Hamilton et al. 2017, equation 3):
 *     y[v,t,j] = max over entries (v, u) alive at t of x[u,t,j];  0 without
 * The gradient goes to the node that attained it; the first in the row where several did. */
#include "edges.h"
#include "internal.h"

#include <string.h>

static flip_status pool_shape(const flip_tape *tape, const record *r, shape *out) {
    return edges_shape(tape, r, 0, out);
}

/* Row v: y and the local column that attained it (-1: none). */
static void pool_row(const flip_adjacency *g, int32_t v, const variable *x, const flip_real *halo,
                     flip_real *y, int32_t *from) {
    int64_t dim = x->dim, width = x->steps * dim;
    memset(y, 0, (size_t)width * sizeof *y);
    memset(from, -1, (size_t)width * sizeof *from);
    for (int64_t e = g->a.row_ptr[v]; e < g->a.row_ptr[v + 1]; e++) {
        int32_t u = g->a.col[e];
        const flip_real *row = edges_row(g, u, width, x->value, halo);
        for (edges_run run = edges_first(&g->a, e, x->steps); run.more;
             run = edges_next(&g->a, run))
            for (int64_t j = run.first * dim; j < run.end * dim; j++) {
                bool more = from[j] < 0 || row[j] > y[j];
                y[j] = more ? row[j] : y[j];
                from[j] = more ? u : from[j];
            }
    }
}

/* saved[0]: who attained the maximum [n_own, steps, dim] */
static flip_status pool_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0);
    int64_t width = (int64_t)x->steps * x->dim;
    int32_t n_interior = g->plan ? g->n_interior : g->n_own;
    flip_real *halo;
    FLIP_TRY(edges_halo_begin(tape, g, x->value, (size_t)width, &halo));
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_save(tape, r, 0, (size_t)(g->n_own * width) * sizeof(int32_t)));
    flip_real *y = tape_out(tape, r)->value;
    int32_t *from = r->saved[0];
    for (int part = 0; part < 2; part++) {
        int32_t first = part ? n_interior : 0, end = part ? g->n_own : n_interior;
        if (part) FLIP_TRY(edges_halo_end(tape, g));
#pragma omp parallel for schedule(dynamic, 64)
        for (int32_t i = first; i < end; i++) {
            int32_t v = g->row_order ? g->row_order[i] : i;
            pool_row(g, v, x, halo, y + v * width, from + v * width);
        }
    }
    pool_free(tape->pool, halo);
    edges_meter(tape, &g->a, x->dim * (g->a.n_steps > 1 ? 1 : x->steps), g->n_own);
    if (!r->recorded) {
        pool_free(tape->pool, from);
        r->saved[0] = NULL;
    }
    return FLIP_OK;
}

/* Row u of the transpose: dx[u] (+)= Σ over v that took their maximum from u of dy[v]. A doubled
 * edge stands twice in the row and counts once. */
static void pull_row(const flip_adjacency *g, int32_t u, int32_t steps, int64_t dim,
                     const flip_real *dy, const int32_t *from, flip_real *dx) {
    int64_t width = steps * dim, before = -1;
    for (int64_t e = g->at.row_ptr[u]; e < g->at.row_ptr[u + 1]; e++) {
        int64_t v = g->at.col[e];
        if (v == before) continue;
        before = v;
        for (int64_t j = 0; j < width; j++)
            if (from[v * width + j] == u) dx[j] += dy[v * width + j];
    }
}

static flip_status pool_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int64_t dim = x->dim, width = x->steps * dim;
    const int32_t *from = r->saved[0];
    int32_t n_src = edges_sources(g);
    flip_real *halo = NULL;
    target to;
    if (g->plan) {
        size_t bytes = (size_t)(g->n_halo * width) * sizeof(flip_real);
        FLIP_TRY(pool_alloc(tape->pool, &halo, bytes));
        memset(halo, 0, bytes);
#pragma omp parallel for schedule(dynamic, 64)
        for (int32_t i = 0; i < g->n_halo; i++)
            pull_row(g, n_src + i, x->steps, dim, y->gradient, from, halo + i * width);
    }
    FLIP_TRY(edges_return_begin(tape, g, halo, (size_t)width));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.accumulate) memset(to.gradient, 0, (size_t)(n_src * width) * sizeof(flip_real));
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t u = 0; u < n_src; u++)
        pull_row(g, u, x->steps, dim, y->gradient, from, to.gradient + u * width);
    FLIP_TRY(edges_return_end(tape, g, to.gradient));
    pool_free(tape->pool, halo);
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
