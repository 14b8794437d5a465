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

typedef struct adder {
    double *sums; /* [n_low], of every column or of the row */
    int32_t low, by_column;
} adder;

static void add_values(void *to, int32_t column, const flip_raw *raw) {
    const adder *a = to;
    double *sums = a->sums + (size_t)column * (size_t)a->by_column;
    const double *value = raw->value;
    for (int32_t r = 0; r < raw->n_runs; r++)
        for (int32_t i = 0; i < raw->length[r]; i++)
            sums[raw->first[r] - a->low + i] += *value++;
}

void flip_build_row_sums(const flip_build *b, int32_t v, flip_row_scratch *scratch, double *sums) {
    adder to = {.sums = sums, .low = b->low};
    memset(sums, 0, (size_t)b->n_low * sizeof *sums);
    flip_build_walk(b, v, true, scratch, add_values, &to);
}

/* A'_t = sum_{k = t-window+1 … t} Ahat_k / min(window, t+1), TM-GCN section 3. */
void flip_build_normalise(const flip_build *b, flip_real *out, double *values, int32_t first,
                          int32_t n, int32_t v, int32_t column, bool diagonal,
                          const double *row_sums, double *window_scratch) {
    const int32_t window = b->params.window, begin = b->params.first_step, last = first + n - 1;
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
    if (window == 1) { /* nothing to average, and no division a value */
        for (int32_t t = 0; t < n; t++)
            out[t] = (flip_real)values[t];
        return;
    }
    flip_window_sum(values, n, first, window, window_scratch);
    for (int32_t t = first > begin ? first : begin; t <= last; t++)
        *out++ = (flip_real)(values[t - first] / (t + 1 < window ? t + 1 : window));
}

static flip_real factor_of(double sum) {
    return (flip_real)(1.0 / sqrt(1.0 + sum));
}

/* Destination side: own rows of `factor`. */
static flip_status row_factors(const flip_build *b, flip_real *factor) {
    const size_t steps = (size_t)b->n_low;
    flip_status status = FLIP_OK;
#pragma omp parallel
    {
        flip_row_scratch scratch;
        const flip_status mine = flip_row_scratch_init(&scratch, b);
#pragma omp for schedule(dynamic, 256)
        for (int32_t v = 0; v < b->n_own; v++) {
            if (mine != FLIP_OK) continue;
            flip_build_row_sums(b, v, &scratch, scratch.sums);
            for (size_t t = 0; t < steps; t++)
                factor[(size_t)v * steps + t] = factor_of(scratch.sums[t]);
        }
        flip_row_scratch_finish(&scratch);
#pragma omp critical
        if (mine != FLIP_OK) status = mine;
    }
    return status;
}

static flip_status sum_columns(const flip_build *b, double **sums) {
    flip_row_scratch scratch = {0};
    adder to = {.low = b->low, .by_column = b->n_low};
    flip_status status =
        flip_alloc_zero(sums, (size_t)b->n_cols * (size_t)b->n_low, sizeof **sums, "out-degrees");
    if (status == FLIP_OK) status = flip_row_scratch_init(&scratch, b);
    to.sums = *sums;
    for (int32_t v = 0; status == FLIP_OK && v < b->n_own; v++)
        flip_build_walk(b, v, true, &scratch, add_values, &to);
    flip_row_scratch_finish(&scratch);
    return status;
}

/* Source side from column sums: partial sums here, total at the owner. */
static flip_status column_factors(const flip_build *b) {
    flip_status status;
    const size_t steps = (size_t)b->n_low;
    double *sums = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(b->comm, sum_columns(b, &sums)));
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
    FLIP_TRY(flip_comm_agree(b->comm, row_factors(b, b->factor_v)));
    if (b->params.kind == FLIP_ADJACENCY_GCN_INOUT) FLIP_TRY(column_factors(b));
    if (b->out->plan)
        FLIP_TRY(flip_plan_fetch(b->out->plan, b->factor, steps * sizeof *b->factor,
                                 b->factor + (size_t)b->n_own * steps));
    return FLIP_OK;
}
