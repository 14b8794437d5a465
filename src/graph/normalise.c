/* Values of snapshots, degrees, and the factors made of them, each step by its own degrees.
 *
 *   GCN (Kipf & Welling 2017, eq. 2)   Ahat = D^-1/2 (A+I) D^-1/2,  D = row sums of A+I
 *   GCN_INOUT                          Ahat = Din^-1/2 (A+I) Dout^-1/2, Dout = column sums of A+I
 *
 * A source's D is its owner's to know, so halo factors are fetched through the plan; column sums
 * are partial on each rank and summed at the owner first. */
#include "graph/internal.h"

#include <math.h>
#include <string.h>

/* A snapshot's value is what is sent to a device: a flip_real. Degrees are sums of such values, so
 * that a device that has only snapshots finds the same ones. */
void flip_build_raw_values(const flip_build *b, double *values, int32_t first, int32_t n,
                           const uint32_t *events, int64_t n_events) {
    memset(values, 0, (size_t)n * sizeof *values);
    for (int64_t i = 0; i < n_events; i++)
        values[flip_event_step(b, events[i]) - first] += flip_event_weight(b, events[i]);
    flip_window_sum(values, n, first, b->params.edge_life, b->scratch);
    for (int32_t t = 0; t < n; t++)
        values[t] = (double)(flip_real)values[t];
}

/* The part of raw values that snapshots need: steps from low on, at most to `last`. */
static void add_values(const flip_build *b, double *sums, const uint32_t *events,
                       int64_t n_events) {
    const int32_t first = flip_event_step(b, events[0]);
    int32_t end = flip_event_step(b, events[n_events - 1]) + b->params.edge_life - 1;
    if (end > b->last) end = b->last;
    flip_build_raw_values(b, b->values, first, end - first + 1, events, n_events);
    for (int32_t t = first > b->low ? first : b->low; t <= end; t++)
        sums[t - b->low] += b->values[t - first];
}

/* First event behind the group of one source that begins at i. */
static int64_t group_end(const flip_build *b, int32_t v, int64_t i) {
    const int32_t column = b->column[b->by_row[i]];
    do
        i++;
    while (i < b->row_start[v + 1] && b->column[b->by_row[i]] == column);
    return i;
}

void flip_build_row_sums(const flip_build *b, int32_t v, double *sums) {
    memset(sums, 0, (size_t)b->n_low * sizeof *sums);
    for (int64_t i = b->row_start[v], j; i < b->row_start[v + 1]; i = j) {
        j = group_end(b, v, i);
        add_values(b, sums, b->by_row + i, j - i);
    }
}

/* A'_t = sum_{k = t-window+1 … t} Ahat_k / min(window, t+1), TM-GCN section 3. */
void flip_build_normalise(const flip_build *b, flip_real *out, double *values, int32_t first,
                          int32_t n, int32_t v, int32_t column, bool diagonal,
                          const double *row_sums) {
    const int32_t window = b->params.window, begin = b->params.first_step, last = first + n - 1;
    if (first < b->low) {
        values += b->low - first;
        first = b->low;
    }
    n = last - first + 1;
    if (diagonal)
        for (int32_t t = 0; t < n; t++)
            values[t] += 1;
    if (b->factor) {
        const size_t steps = (size_t)b->n_low, from = (size_t)(first - b->low);
        const flip_real *fv = b->factor_v + (size_t)v * steps + from;
        const flip_real *fu = b->factor + (size_t)column * steps + from;
        for (int32_t t = 0; t < n; t++)
            values[t] *= (double)fv[t] * (double)fu[t];
    } else if (row_sums) {
        for (int32_t t = 0; t < n; t++) {
            const double sum = row_sums[first - b->low + t];
            values[t] = sum != 0 ? values[t] / sum : 0;
        }
    }
    flip_window_sum(values, n, first, window, b->scratch);
    for (int32_t t = first > begin ? first : begin; t <= last; t++)
        *out++ = (flip_real)(values[t - first] / (t + 1 < window ? t + 1 : window));
}

static flip_real factor_of(double sum) {
    return (flip_real)(1.0 / sqrt(1.0 + sum));
}

/* Destination side: own rows of `factor`. */
static void row_factors(const flip_build *b, flip_real *factor) {
    const size_t steps = (size_t)b->n_low;
    for (int32_t v = 0; v < b->n_own; v++) {
        flip_build_row_sums(b, v, b->sums);
        for (size_t t = 0; t < steps; t++)
            factor[(size_t)v * steps + t] = factor_of(b->sums[t]);
    }
}

/* Source side from column sums: partial sums here, total at the owner. */
static flip_status column_factors(const flip_build *b) {
    flip_status status;
    const size_t steps = (size_t)b->n_low;
    double *sums = NULL;
    status = flip_alloc_zero(&sums, (size_t)b->n_cols * steps, sizeof *sums, "out-degrees");
    FLIP_TRY_GOTO(flip_comm_agree(b->comm, status));
    for (int32_t v = 0; v < b->n_own; v++)
        for (int64_t i = b->row_start[v], j; i < b->row_start[v + 1]; i = j) {
            j = group_end(b, v, i);
            add_values(b, sums + (size_t)b->column[b->by_row[i]] * steps, b->by_row + i, j - i);
        }
    if (b->out->plan)
        FLIP_TRY_GOTO(
            flip_plan_reduce_f64(b->out->plan, sums + (size_t)b->n_own * steps, steps, sums));
    for (size_t i = 0; i < (size_t)b->n_own * steps; i++)
        b->factor[i] = factor_of(sums[i]);
done:
    flip_free(sums);
    return status;
}

static flip_status allocate_factors(flip_build *b) {
    const size_t steps = (size_t)b->n_low;
    FLIP_TRY(flip_alloc(&b->factor, (size_t)b->n_cols * steps, sizeof *b->factor, "degrees"));
    b->factor_v = b->factor;
    if (b->params.kind == FLIP_ADJACENCY_GCN_INOUT)
        FLIP_TRY(
            flip_alloc(&b->factor_v, (size_t)b->n_own * steps, sizeof *b->factor_v, "in-degrees"));
    return FLIP_OK;
}

flip_status flip_build_factors(flip_build *b) {
    if (!flip_kind_diagonal(b->params.kind)) return FLIP_OK;
    const size_t steps = (size_t)b->n_low;
    FLIP_TRY(flip_comm_agree(b->comm, allocate_factors(b)));
    row_factors(b, b->factor_v);
    if (b->params.kind == FLIP_ADJACENCY_GCN_INOUT) FLIP_TRY(column_factors(b));
    if (b->out->plan)
        FLIP_TRY(flip_plan_fetch(b->out->plan, b->factor, steps * sizeof *b->factor,
                                 b->factor + (size_t)b->n_own * steps));
    return FLIP_OK;
}
