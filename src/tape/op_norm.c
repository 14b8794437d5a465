/* Norms: layer norm (Ba et al. 2016), batch norm (Ioffe and Szegedy 2015) over the rows of all
 * ranks, L2 normalisation of rows. Variances divide by the count and have eps inside the root. */
#include "internal.h"

enum { GAMMA, BETA, RUNNING_MEAN, RUNNING_VAR }; /* r->param */
enum { EPS, MOMENTUM, COUNT };                   /* r->number */

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
    int64_t m = rows_of(x), n = x->dim;
    double *room;
    FLIP_TRY(pool_alloc(tape->pool, &room, flip_room(m, 2 * n) * sizeof *room));
    tape->kernels->norm_gradients(m, n, x->value, y->gradient, by_row, mean, rstd, dgamma, dbeta,
                                  room);
    pool_free(tape->pool, room);
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
    double *mean = r->saved[0];
    tape->kernels->layer_norm(m, n, tape_out(tape, r)->value, x->value, gamma, beta, r->number[EPS],
                              mean, mean + m);
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
    tape->kernels->layer_norm_back(m, n, to.gradient, x->value, y->gradient, gamma, means, rstds,
                                   to.accumulate);
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
    r.number[EPS] = eps;
    r.act = act;
    return tape_apply(tape, &r);
}

/* ---- batch norm: per column over the rows of all ranks ---- */

/* sum[j] = Σ_i (x[i,j] - centre[j])^power over this rank's rows */
static flip_status column_moments(flip_tape *tape, const variable *x, const double *centre,
                                  int power, double *sum) {
    double *room;
    FLIP_TRY(pool_alloc(tape->pool, &room, flip_room(rows_of(x), x->dim) * sizeof *room));
    tape->kernels->column_moments(rows_of(x), x->dim, x->value, centre, power, sum, room);
    pool_free(tape->pool, room);
    return FLIP_OK;
}

/* saved[0]: mean [dim], rstd [dim]; number[COUNT]: rows of all ranks */
static flip_status batch_statistics(flip_tape *tape, record *r) {
    const flip_kernels *use = tape->kernels;
    const variable *x = tape_in(tape, r, 0);
    int64_t n = x->dim;
    double *mean = r->saved[0], *rstd = mean + n, *sum, count = (double)rows_of(x);
    /* what runs along is state: written here alone */
    flip_real *running_mean = (flip_real *)tape_weight(tape, r->param[RUNNING_MEAN]),
              *running_var = (flip_real *)tape_weight(tape, r->param[RUNNING_VAR]);
    if (!tape->training) {
        use->batch_given(n, mean, rstd, running_mean, running_var, r->number[EPS]);
        return FLIP_OK;
    }
    FLIP_TRY(pool_alloc(tape->pool, &sum, (size_t)n * sizeof *sum));
    FLIP_TRY(column_moments(tape, x, NULL, 1, sum));
    FLIP_TRY(tape_sum_ranks(tape, tape->comm, sum, (size_t)n, &count));
    if (!(count > 0)) count = 1;
    use->batch_mean(n, mean, sum, count);
    FLIP_TRY(column_moments(tape, x, mean, 2, sum));
    FLIP_TRY(tape_sum_ranks(tape, tape->comm, sum, (size_t)n, NULL));
    use->batch_spread(n, rstd, sum, mean, count, r->number[EPS], r->number[MOMENTUM],
                      tape->recording ? running_mean : NULL, running_var);
    r->number[COUNT] = count;
    pool_free(tape->pool, sum);
    return FLIP_OK;
}

static flip_status batch_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), n = x->dim;
    const flip_real *gamma = tape_weight(tape, r->param[GAMMA]),
                    *beta = tape_weight(tape, r->param[BETA]);
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_save(tape, r, 0, (size_t)(2 * n) * sizeof(double)));
    FLIP_TRY(batch_statistics(tape, r));
    const double *mean = r->saved[0];
    tape->kernels->batch_norm(m, n, tape_out(tape, r)->value, x->value, gamma, beta, mean,
                              mean + n);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, 4 * (uint64_t)size_of(x) * sizeof(flip_real), 0);
    return FLIP_OK;
}

/* dx = gamma rstd (dy - mean(dy) - xhat mean(dy xhat)), means over the rows of all ranks */
static flip_status batch_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int64_t m = rows_of(x), n = x->dim;
    const flip_real *gamma = tape_weight(tape, r->param[GAMMA]);
    const double *mean = r->saved[0], *rstd = mean + n;
    double *sum; /* Σ dy xhat [dim], Σ dy [dim] */
    FLIP_TRY(pool_alloc(tape->pool, &sum, (size_t)(2 * n) * sizeof(double)));
    tape->kernels->clear(sum, (size_t)(2 * n) * sizeof(double));
    FLIP_TRY(affine_gradients(tape, r, false, mean, rstd, sum, sum + n));
    tape->kernels->add_doubles(n, tape_weight_gradient(tape, r->param[GAMMA]), sum);
    tape->kernels->add_doubles(n, tape_weight_gradient(tape, r->param[BETA]), sum + n);
    FLIP_TRY(tape_sum_ranks(tape, tape->comm, sum, (size_t)(2 * n), NULL));
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient)
        tape->kernels->batch_norm_back(m, n, to.gradient, x->value, y->gradient, gamma, mean, rstd,
                                       sum, r->number[COUNT], to.accumulate);
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
    r.number[EPS] = eps;
    r.number[MOMENTUM] = momentum;
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
    tape->kernels->unit_rows(m, n, y->value, r->saved[0]);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, 2 * (uint64_t)size_of(y) * sizeof(flip_real), 0);
    return FLIP_OK;
}

static flip_status l2_backward(flip_tape *tape, record *r) {
    variable *y = tape_out(tape, r);
    int64_t m = rows_of(y), n = y->dim;
    tape->kernels->unit_rows_back(m, n, y->gradient, y->value, r->saved[0]);
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
