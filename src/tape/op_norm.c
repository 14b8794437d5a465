/* Norms: layer norm (Ba et al. 2016), batch norm (Ioffe and Szegedy 2015) over the rows of all
 * ranks, L2 normalisation of rows. Variances divide by the count and have eps inside the root. */
#include "internal.h"

#include <math.h>
#include <string.h>

enum { GAMMA, BETA, RUNNING_MEAN, RUNNING_VAR }; /* r->param */
enum { ROW_BLOCK = 1024 }; /* rows; fixed, so that sums do not depend on threads */

static flip_status affine_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(shape_same(tape, r, out));
    for (int i = 0; i < MAX_PARAMS; i++) {
        int32_t cols = out->dim;
        if (r->param[i] != FLIP_PARAM_NONE)
            flip_params_shape(tape->params, r->param[i], NULL, &cols, NULL);
        if (cols != out->dim)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' has %d columns, expected %d",
                             flip_params_name(tape->params, r->param[i]), cols, out->dim);
    }
    return FLIP_OK;
}

/* dgamma += Σ dy xhat, dbeta += Σ dy over this rank's rows; xhat = (x - mean) rstd with mean and
 * rstd a row (by_row) or a column. */
static flip_status affine_gradients(flip_tape *tape, const record *r, bool by_row,
                                    const double *mean, const double *rstd, double *dgamma,
                                    double *dbeta) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int64_t m = rows_of(x), n = x->dim, blocks = (m + ROW_BLOCK - 1) / ROW_BLOCK;
    double *partial;
    FLIP_TRY(pool_alloc(tape->pool, &partial, (size_t)(blocks * 2 * n) * sizeof(double)));
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *gamma = partial + b * 2 * n, *beta = gamma + n;
        memset(gamma, 0, (size_t)(2 * n) * sizeof(double));
        for (int64_t i = b * ROW_BLOCK; i < m && i < (b + 1) * ROW_BLOCK; i++)
            for (int64_t j = 0; j < n; j++) {
                int64_t s = by_row ? i : j;
                double dy = (double)y->gradient[i * n + j];
                gamma[j] += dy * ((double)x->value[i * n + j] - mean[s]) * rstd[s];
                beta[j] += dy;
            }
    }
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < n; j++) {
            dgamma[j] += partial[b * 2 * n + j];
            dbeta[j] += partial[b * 2 * n + n + j];
        }
    pool_free(tape->pool, partial);
    return FLIP_OK;
}

/* ---- layer norm: per row y = gamma (x - mean) / sqrt(var + eps) + beta ---- */

/* saved[0]: mean [rows], then rstd [rows], double */
static flip_status layer_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), n = x->dim;
    const flip_real *gamma = tape_weight(tape, r->param[GAMMA]),
                    *beta = tape_weight(tape, r->param[BETA]);
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_save(tape, r, 0, (size_t)m * 2 * sizeof(double)));
    flip_real *y = tape_out(tape, r)->value;
    double *means = r->saved[0], *rstds = means + m;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *row = x->value + i * n;
        double mean = 0, var = 0;
        for (int64_t j = 0; j < n; j++)
            mean += (double)row[j];
        mean /= (double)n;
        for (int64_t j = 0; j < n; j++)
            var += ((double)row[j] - mean) * ((double)row[j] - mean);
        double rstd = 1 / sqrt(var / (double)n + r->number[0]);
        means[i] = mean;
        rstds[i] = rstd;
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] = gamma[j] * (flip_real)(((double)row[j] - mean) * rstd) + beta[j];
    }
    tape_traffic(tape, FLIP_STAGE_POINTWISE, 2 * (uint64_t)size_of(x) * sizeof(flip_real), 0);
    return FLIP_OK;
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma, means over the row */
static flip_status layer_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int64_t m = rows_of(x), n = x->dim;
    const flip_real *gamma = tape_weight(tape, r->param[GAMMA]);
    const double *means = r->saved[0], *rstds = means + m;
    FLIP_TRY(affine_gradients(tape, r, true, means, rstds,
                              tape_weight_gradient(tape, r->param[GAMMA]),
                              tape_weight_gradient(tape, r->param[BETA])));
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *row = x->value + i * n, *dy = y->gradient + i * n;
        flip_real *dx = to.gradient + i * n;
        double mean_g = 0, mean_gx = 0;
        for (int64_t j = 0; j < n; j++) {
            double g = (double)dy[j] * (double)gamma[j];
            mean_g += g;
            mean_gx += g * ((double)row[j] - means[i]) * rstds[i];
        }
        mean_g /= (double)n;
        mean_gx /= (double)n;
        for (int64_t j = 0; j < n; j++) {
            double g = (double)dy[j] * (double)gamma[j],
                   hat = ((double)row[j] - means[i]) * rstds[i];
            dx[j] =
                (to.accumulate ? dx[j] : 0) + (flip_real)(rstds[i] * (g - mean_g - hat * mean_gx));
        }
    }
    return FLIP_OK;
}

const operator_row op_layer_norm = {.name = "layer norm",
                                    .stage = FLIP_STAGE_POINTWISE,
                                    .inputs = 1,
                                    .saves = SAVES_IN0,
                                    .shape = affine_shape,
                                    .forward = layer_forward,
                                    .backward = layer_backward};

flip_var flip_layer_norm(flip_tape *tape, flip_var x, flip_param gamma, flip_param beta, double eps,
                         flip_act act) {
    record r = tape_record(OP_LAYER_NORM);
    r.in[0] = x;
    r.param[GAMMA] = gamma;
    r.param[BETA] = beta;
    r.number[0] = eps;
    r.act = act;
    return tape_apply(tape, &r);
}

/* ---- batch norm: per column over the rows of all ranks ---- */

/* sum[j] = Σ_i (x[i,j] - centre[j])^power over this rank's rows, in double, in fixed blocks */
static flip_status column_moments(flip_tape *tape, const variable *x, const double *centre,
                                  int power, double *sum) {
    int64_t m = rows_of(x), n = x->dim, blocks = (m + ROW_BLOCK - 1) / ROW_BLOCK;
    double *partial;
    FLIP_TRY(pool_alloc(tape->pool, &partial, (size_t)(blocks * n) * sizeof(double)));
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *mine = partial + b * n;
        memset(mine, 0, (size_t)n * sizeof(double));
        for (int64_t i = b * ROW_BLOCK; i < m && i < (b + 1) * ROW_BLOCK; i++)
            for (int64_t j = 0; j < n; j++) {
                double value = (double)x->value[i * n + j] - centre[j];
                mine[j] += power == 1 ? value : value * value;
            }
    }
    memset(sum, 0, (size_t)n * sizeof(double));
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < n; j++)
            sum[j] += partial[b * n + j];
    pool_free(tape->pool, partial);
    return FLIP_OK;
}

/* running = (1 - momentum) running + momentum batch; the variance's batch value divides by n-1 */
static void update_running(flip_tape *tape, const record *r, double count, const double *mean,
                           const double *var) {
    flip_real *running_mean = (flip_real *)tape_weight(tape, r->param[RUNNING_MEAN]),
              *running_var = (flip_real *)tape_weight(tape, r->param[RUNNING_VAR]);
    double keep = 1 - r->number[1], unbiased = count > 1 ? count / (count - 1) : 1;
    for (int32_t j = 0; j < tape_in(tape, r, 0)->dim; j++) {
        running_mean[j] = (flip_real)(keep * (double)running_mean[j] + r->number[1] * mean[j]);
        running_var[j] =
            (flip_real)(keep * (double)running_var[j] + r->number[1] * var[j] * unbiased);
    }
}

/* saved[0]: mean [dim], rstd [dim], then the count, double */
static flip_status batch_statistics(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t n = x->dim;
    double *mean = r->saved[0], *rstd = mean + n, *count = rstd + n;
    if (!tape->training) {
        for (int64_t j = 0; j < n; j++) {
            mean[j] = (double)tape_weight(tape, r->param[RUNNING_MEAN])[j];
            rstd[j] = 1 / sqrt((double)tape_weight(tape, r->param[RUNNING_VAR])[j] + r->number[0]);
        }
        return FLIP_OK;
    }
    double *sum;
    FLIP_TRY(pool_alloc(tape->pool, &sum, (size_t)(n + 1) * sizeof(double)));
    memset(mean, 0, (size_t)n * sizeof(double));
    FLIP_TRY(column_moments(tape, x, mean, 1, sum));
    sum[n] = (double)rows_of(x);
    FLIP_TRY(flip_comm_sum_f64(tape->comm, sum, (size_t)n + 1));
    *count = sum[n] > 0 ? sum[n] : 1;
    for (int64_t j = 0; j < n; j++)
        mean[j] = sum[j] / *count;
    FLIP_TRY(column_moments(tape, x, mean, 2, sum));
    FLIP_TRY(flip_comm_sum_f64(tape->comm, sum, (size_t)n));
    for (int64_t j = 0; j < n; j++)
        sum[j] /= *count;
    if (tape->recording) update_running(tape, r, *count, mean, sum);
    for (int64_t j = 0; j < n; j++)
        rstd[j] = 1 / sqrt(sum[j] + r->number[0]);
    pool_free(tape->pool, sum);
    return FLIP_OK;
}

static flip_status batch_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), n = x->dim;
    const flip_real *gamma = tape_weight(tape, r->param[GAMMA]),
                    *beta = tape_weight(tape, r->param[BETA]);
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_save(tape, r, 0, (size_t)(2 * n + 1) * sizeof(double)));
    FLIP_TRY(batch_statistics(tape, r));
    flip_real *y = tape_out(tape, r)->value;
    const double *mean = r->saved[0], *rstd = mean + n;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] =
                gamma[j] * (flip_real)(((double)x->value[i * n + j] - mean[j]) * rstd[j]) + beta[j];
    tape_traffic(tape, FLIP_STAGE_POINTWISE, 4 * (uint64_t)size_of(x) * sizeof(flip_real), 0);
    return FLIP_OK;
}

/* dx = gamma rstd (dy - mean(dy) - xhat mean(dy xhat)), means over the rows of all ranks */
static flip_status batch_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int64_t m = rows_of(x), n = x->dim;
    const flip_real *gamma = tape_weight(tape, r->param[GAMMA]);
    const double *mean = r->saved[0], *rstd = mean + n, count = rstd[n];
    double *sum; /* Σ dy xhat [dim], Σ dy [dim] */
    FLIP_TRY(pool_alloc(tape->pool, &sum, (size_t)(2 * n) * sizeof(double)));
    memset(sum, 0, (size_t)(2 * n) * sizeof(double));
    FLIP_TRY(affine_gradients(tape, r, false, mean, rstd, sum, sum + n));
    double *dgamma = tape_weight_gradient(tape, r->param[GAMMA]),
           *dbeta = tape_weight_gradient(tape, r->param[BETA]);
    for (int64_t j = 0; j < n; j++) {
        dgamma[j] += sum[j];
        dbeta[j] += sum[n + j];
    }
    FLIP_TRY(flip_comm_sum_f64(tape->comm, sum, (size_t)(2 * n)));
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double hat = ((double)x->value[i * n + j] - mean[j]) * rstd[j];
                double dx =
                    (double)gamma[j] * rstd[j] *
                    ((double)y->gradient[i * n + j] - sum[n + j] / count - hat * sum[j] / count);
                to.gradient[i * n + j] =
                    (to.accumulate ? to.gradient[i * n + j] : 0) + (flip_real)dx;
            }
    }
    pool_free(tape->pool, sum);
    return FLIP_OK;
}

const operator_row op_batch_norm = {.name = "batch norm",
                                    .stage = FLIP_STAGE_POINTWISE,
                                    .inputs = 1,
                                    .saves = SAVES_IN0,
                                    .shape = affine_shape,
                                    .forward = batch_forward,
                                    .backward = batch_backward};

flip_var flip_batch_norm(flip_tape *tape, flip_var x, flip_param gamma, flip_param beta,
                         flip_param running_mean, flip_param running_var, double momentum,
                         double eps, flip_act act) {
    record r = tape_record(OP_BATCH_NORM);
    r.in[0] = x;
    r.param[GAMMA] = gamma;
    r.param[BETA] = beta;
    r.param[RUNNING_MEAN] = running_mean;
    r.param[RUNNING_VAR] = running_var;
    r.number[0] = eps;
    r.number[1] = momentum;
    r.act = act;
    return tape_apply(tape, &r);
}

/* ---- y = x / |x| a row;  dx = (dy - y (y . dy)) / |x|;  0 where |x| <= 1e-12 ---- */

/* saved[0]: 1 / |x| a row, 0 for a row without length */
static flip_status l2_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, 0));
    variable *y = tape_out(tape, r);
    int64_t m = rows_of(y), n = y->dim;
    FLIP_TRY(tape_save(tape, r, 0, (size_t)m * sizeof(double)));
    double *inverse = r->saved[0];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        double square = 0;
        for (int64_t j = 0; j < n; j++)
            square += (double)y->value[i * n + j] * (double)y->value[i * n + j];
        inverse[i] = sqrt(square) > 1e-12 ? 1 / sqrt(square) : 0;
        for (int64_t j = 0; j < n; j++)
            y->value[i * n + j] = (flip_real)((double)y->value[i * n + j] * inverse[i]);
    }
    tape_traffic(tape, FLIP_STAGE_POINTWISE, 2 * (uint64_t)size_of(y) * sizeof(flip_real), 0);
    return FLIP_OK;
}

static flip_status l2_backward(flip_tape *tape, record *r) {
    variable *y = tape_out(tape, r);
    int64_t m = rows_of(y), n = y->dim;
    const double *inverse = r->saved[0];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        flip_real *dy = y->gradient + i * n;
        const flip_real *row = y->value + i * n;
        double dot = 0;
        for (int64_t j = 0; j < n; j++)
            dot += (double)row[j] * (double)dy[j];
        for (int64_t j = 0; j < n; j++)
            dy[j] = (flip_real)(((double)dy[j] - (double)row[j] * dot) * inverse[i]);
    }
    return tape_pass_gradient(tape, r, 0);
}

const operator_row op_l2_normalise = {.name = "l2 normalise",
                                      .stage = FLIP_STAGE_POINTWISE,
                                      .inputs = 1,
                                      .saves = SAVES_OUT,
                                      .shape = shape_same,
                                      .forward = l2_forward,
                                      .backward = l2_backward};

flip_var flip_l2_normalise(flip_tape *tape, flip_var x) {
    record r = tape_record(OP_L2_NORMALISE);
    r.in[0] = x;
    return tape_apply(tape, &r);
}
