/* Degrees and the factors made of them, each step by its own degrees.
 *
 *   GCN (Kipf & Welling 2017, eq. 2)   Ahat = D^-1/2 (A+I) D^-1/2,  D = row sums of A+I
 *   GCN_INOUT                          Ahat = Din^-1/2 (A+I) Dout^-1/2, Dout = column sums of A+I
 *
 * A source's D is its owner's to know, so halo factors are fetched through the plan; column sums
 * are partial on each rank and summed at the owner first. */
#include "graph/internal.h"

#include <math.h>
#include <string.h>

/* sums [steps]: sum of the weights (or the number) of the events alive in row v at each step. */
void flip_build_row_sums(const flip_build *b, int32_t v, double *sums) {
    memset(sums, 0, (size_t)b->params.n_steps * sizeof *sums);
    for (int64_t i = b->row_start[v]; i < b->row_start[v + 1]; i++)
        sums[flip_event_step(b, b->by_row[i])] += flip_event_weight(b, b->by_row[i]);
    flip_window_sum(sums, b->params.n_steps, b->params.edge_life,
                    b->scratch + 2 * (size_t)b->params.n_steps);
}

/* Destination side: own rows of `factor`. */
static void row_factors(const flip_build *b, flip_real *factor) {
    size_t steps = (size_t)b->params.n_steps;
    for (int32_t v = 0; v < b->n_own; v++) {
        flip_build_row_sums(b, v, b->scratch);
        for (size_t t = 0; t < steps; t++)
            factor[(size_t)v * steps + t] = (flip_real)(1.0 / sqrt(1.0 + b->scratch[t]));
    }
}

/* Source side from column sums: partial sums here, total at the owner. */
static flip_status column_factors(const flip_build *b) {
    flip_status status;
    size_t steps = (size_t)b->params.n_steps;
    double *sums = NULL;
    status = flip_alloc_zero(&sums, (size_t)b->n_cols * steps, sizeof *sums, "out-degrees");
    FLIP_TRY_GOTO(flip_comm_agree(b->comm, status));
    for (int64_t i = 0; i < b->events->n; i++)
        sums[(size_t)b->column[i] * steps + (size_t)flip_event_step(b, (uint32_t)i)] +=
            flip_event_weight(b, (uint32_t)i);
    if (b->out->plan)
        FLIP_TRY_GOTO(
            flip_plan_reduce_f64(b->out->plan, sums + (size_t)b->n_own * steps, steps, sums));
    for (int32_t v = 0; v < b->n_own; v++) {
        double *row = sums + (size_t)v * steps;
        flip_window_sum(row, b->params.n_steps, b->params.edge_life, b->scratch);
        for (size_t t = 0; t < steps; t++)
            b->factor[(size_t)v * steps + t] = (flip_real)(1.0 / sqrt(1.0 + row[t]));
    }
done:
    flip_free(sums);
    return status;
}

static flip_status allocate_factors(flip_build *b) {
    size_t steps = (size_t)b->params.n_steps;
    FLIP_TRY(flip_alloc(&b->factor, (size_t)b->n_cols * steps, sizeof *b->factor, "degrees"));
    b->factor_v = b->factor;
    if (b->params.kind == FLIP_ADJACENCY_GCN_INOUT)
        FLIP_TRY(
            flip_alloc(&b->factor_v, (size_t)b->n_own * steps, sizeof *b->factor_v, "in-degrees"));
    return FLIP_OK;
}

flip_status flip_build_factors(flip_build *b) {
    if (!flip_kind_diagonal(b->params.kind)) return FLIP_OK;
    size_t steps = (size_t)b->params.n_steps;
    FLIP_TRY(flip_comm_agree(b->comm, allocate_factors(b)));
    row_factors(b, b->factor_v);
    if (b->params.kind == FLIP_ADJACENCY_GCN_INOUT) FLIP_TRY(column_factors(b));
    if (b->out->plan)
        FLIP_TRY(flip_plan_fetch(b->out->plan, b->factor, steps * sizeof *b->factor,
                                 b->factor + (size_t)b->n_own * steps));
    return FLIP_OK;
}
