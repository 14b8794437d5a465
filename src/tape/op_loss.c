/* Losses. Each row's term and all sums are in double; a rank sums its rows in fixed blocks, the
 * ranks' sums are added in rank order, denominators are of all ranks. */
#include "internal.h"

#include <math.h>
#include <string.h>

enum { LOSS_BLOCK = 1024 }; /* rows */

static flip_status loss_shape(const flip_tape *tape, const record *r, shape *out) {
    (void)tape;
    (void)r;
    *out = (shape){1, 1, 1};
    return FLIP_OK;
}

/* A row's share of the two sums: numerator and denominator. */
typedef struct term {
    double top, bottom;
} term;
typedef term (*row_term)(const record *r, const variable *x, int64_t i);

/* loss = Σ top / Σ bottom over all ranks (0 where the denominator is), or Σ top alone; number[0]
 * keeps 1 / Σ bottom, or 1. number[1] > 0 takes the place of Σ bottom. */
static flip_status sum_rows(flip_tape *tape, record *r, row_term of_row, bool mean) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), blocks = (m + LOSS_BLOCK - 1) / LOSS_BLOCK;
    term *partial;
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(pool_alloc(tape->pool, &partial, (size_t)blocks * sizeof(term)));
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t b = 0; b < blocks; b++) {
        term sum = {0, 0};
        for (int64_t i = b * LOSS_BLOCK; i < m && i < (b + 1) * LOSS_BLOCK; i++) {
            term one = of_row(r, x, i);
            sum.top += one.top;
            sum.bottom += one.bottom;
        }
        partial[b] = sum;
    }
    double total[2] = {0, 0};
    for (int64_t b = 0; b < blocks; b++) {
        total[0] += partial[b].top;
        total[1] += partial[b].bottom;
    }
    pool_free(tape->pool, partial);
    FLIP_TRY(flip_comm_sum_f64(tape->comm, total, 2));
    if (r->number[1] > 0) total[1] = r->number[1]; /* told: the items of other blocks count too */
    r->number[0] = !mean ? 1 : total[1] > 0 ? 1 / total[1] : 0;
    variable *out = tape_out(tape, r);
    out->scalar = total[0] * r->number[0];
    out->value[0] = (flip_real)out->scalar;
    tape_traffic(tape, FLIP_STAGE_LOSS, (uint64_t)size_of(x) * sizeof(flip_real), 0);
    return FLIP_OK;
}

/* The weight of row i, 0 where it is not counted. */
static double weight_of(const record *r, int64_t i) {
    const flip_labels *l = &r->labels;
    if (l->label[i] < 0 || (l->mask && !l->mask[i])) return 0;
    return l->class_weight ? l->class_weight[l->label[i]] : 1;
}

static bool counted(const record *r, int64_t i) {
    return r->labels.label[i] >= 0 && (!r->labels.mask || r->labels.mask[i]);
}

static flip_status check_labels(const record *r, int64_t m, int32_t classes) {
    for (int64_t i = 0; i < m; i++)
        if (counted(r, i) && r->labels.label[i] >= classes)
            return FLIP_FAIL(FLIP_ERROR_INPUT, "row %lld has label %d, the model has %d classes",
                             (long long)i, r->labels.label[i], classes);
    return FLIP_OK;
}

/* ---- cross-entropy: Σ m w[y] (logsumexp(x) - x[y]) / Σ m w[y] (or / Σ m) ---- */

enum { SAVED_SOFTMAX, SAVED_LOG_SUM };

static term entropy_term(const record *r, const variable *x, int64_t i) {
    if (!counted(r, i)) return (term){0, 0};
    const double *log_sum = r->saved[SAVED_LOG_SUM];
    double w = weight_of(r, i);
    return (term){w * (log_sum[i] - (double)x->value[i * x->dim + r->labels.label[i]]),
                  r->labels.sample_mean ? 1 : w};
}

/* Keeps the softmax, whose memory becomes the gradient; the logits are not needed again. */
static flip_status entropy_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), n = x->dim;
    FLIP_TRY(check_labels(r, m, x->dim));
    FLIP_TRY(tape_save(tape, r, SAVED_SOFTMAX, (size_t)(m * n) * sizeof(flip_real)));
    FLIP_TRY(tape_save(tape, r, SAVED_LOG_SUM, (size_t)m * sizeof(double)));
    tape->kernels->softmax(m, n, x->value, n, r->saved[SAVED_SOFTMAX], n, r->saved[SAVED_LOG_SUM]);
    return sum_rows(tape, r, entropy_term, true);
}

/* dx = m w (softmax(x) - onehot(y)) / denominator */
static flip_status entropy_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), n = x->dim;
    double scale = (double)tape_out(tape, r)->gradient[0] * r->number[0];
    flip_real *softmax = r->saved[SAVED_SOFTMAX];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        flip_real *dx = softmax + i * n, w = (flip_real)(weight_of(r, i) * scale);
        if (!counted(r, i)) {
            memset(dx, 0, (size_t)n * sizeof *dx);
            continue;
        }
        dx[r->labels.label[i]] -= 1;
        for (int64_t j = 0; j < n; j++)
            dx[j] *= w;
    }
    tape_traffic(tape, FLIP_STAGE_LOSS, 2 * (uint64_t)size_of(x) * sizeof(flip_real), 0);
    r->saved[SAVED_SOFTMAX] = NULL;
    return tape_give_gradient(tape, r, 0, softmax);
}

const operator_row op_cross_entropy = {.name = "cross-entropy",
                                       .stage = FLIP_STAGE_LOSS,
                                       .inputs = 1,
                                       .shape = loss_shape,
                                       .forward = entropy_forward,
                                       .backward = entropy_backward};

flip_var flip_cross_entropy(flip_tape *tape, flip_var logits, const flip_labels *labels) {
    record r = tape_record(OP_CROSS_ENTROPY);
    r.in[0] = logits;
    r.labels = *labels;
    r.number[1] = labels->total;
    return tape_apply(tape, &r);
}

/* ---- binary cross-entropy: mean of max(s,0) - s y + log(1 + exp(-|s|)) ---- */

static term binary_term(const record *r, const variable *x, int64_t i) {
    if (!counted(r, i)) return (term){0, 0};
    double s = (double)x->value[i], w = weight_of(r, i);
    double loss = fmax(s, 0) - s * r->labels.label[i] + log1p(exp(-fabs(s)));
    return (term){w * loss, r->labels.sample_mean ? 1 : w};
}

static flip_status binary_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    if (x->dim != 1)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "binary cross-entropy of %d columns", x->dim);
    FLIP_TRY(check_labels(r, rows_of(x), 2));
    return sum_rows(tape, r, binary_term, true);
}

/* ds = m w (sigmoid(s) - y) / denominator */
static flip_status binary_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x);
    double scale = (double)tape_out(tape, r)->gradient[0] * r->number[0];
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        double s = (double)x->value[i], e = exp(-fabs(s));
        double sigmoid = s >= 0 ? 1 / (1 + e) : e / (1 + e);
        double ds = counted(r, i) ? weight_of(r, i) * scale * (sigmoid - r->labels.label[i]) : 0;
        to.gradient[i] = (to.accumulate ? to.gradient[i] : 0) + (flip_real)ds;
    }
    return FLIP_OK;
}

const operator_row op_binary_cross_entropy = {.name = "binary cross-entropy",
                                              .stage = FLIP_STAGE_LOSS,
                                              .inputs = 1,
                                              .saves = SAVES_IN0,
                                              .shape = loss_shape,
                                              .forward = binary_forward,
                                              .backward = binary_backward};

flip_var flip_binary_cross_entropy(flip_tape *tape, flip_var logits, const flip_labels *labels) {
    record r = tape_record(OP_BINARY_CROSS_ENTROPY);
    r.in[0] = logits;
    r.labels = *labels;
    r.number[1] = labels->total;
    return tape_apply(tape, &r);
}

/* ---- squared error: mean of (x - target)^2 over the targets that are numbers ---- */

static bool masked_out(const record *r, int64_t i) {
    return r->mask && !r->mask[i];
}

static term error_term(const record *r, const variable *x, int64_t i) {
    term sum = {0, 0};
    if (masked_out(r, i)) return sum;
    for (int64_t j = i * x->dim; j < (i + 1) * x->dim; j++) {
        double error = (double)x->value[j] - (double)r->real[j];
        if (isnan((double)r->real[j])) continue;
        sum.top += error * error;
        sum.bottom += 1;
    }
    return sum;
}

static flip_status error_forward(flip_tape *tape, record *r) {
    return sum_rows(tape, r, error_term, true);
}

/* dx = 2 (x - target) / count */
static flip_status error_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x);
    double scale = 2 * (double)tape_out(tape, r)->gradient[0] * r->number[0];
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = i * x->dim; j < (i + 1) * x->dim; j++) {
            bool none = masked_out(r, i) || isnan((double)r->real[j]);
            double dx = none ? 0 : scale * ((double)x->value[j] - (double)r->real[j]);
            to.gradient[j] = (to.accumulate ? to.gradient[j] : 0) + (flip_real)dx;
        }
    return FLIP_OK;
}

const operator_row op_squared_error = {.name = "squared error",
                                       .stage = FLIP_STAGE_LOSS,
                                       .inputs = 1,
                                       .saves = SAVES_IN0,
                                       .shape = loss_shape,
                                       .forward = error_forward,
                                       .backward = error_backward};

flip_var flip_squared_error(flip_tape *tape, flip_var x, const flip_real *target,
                            const uint8_t *mask, double total) {
    record r = tape_record(OP_SQUARED_ERROR);
    r.number[1] = total;
    r.in[0] = x;
    r.real = target;
    r.mask = mask;
    return tape_apply(tape, &r);
}

/* ---- inner product with given weights: Σ weight x;  dx = weight ---- */

static term inner_term(const record *r, const variable *x, int64_t i) {
    term sum = {0, 0};
    for (int64_t j = i * x->dim; j < (i + 1) * x->dim; j++)
        sum.top += (double)r->real[j] * (double)x->value[j];
    return sum;
}

static flip_status inner_forward(flip_tape *tape, record *r) {
    return sum_rows(tape, r, inner_term, false);
}

static flip_status inner_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t n = size_of(x);
    flip_real scale = tape_out(tape, r)->gradient[0];
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    for (int64_t i = 0; i < n; i++)
        to.gradient[i] = (to.accumulate ? to.gradient[i] : 0) + scale * r->real[i];
    return FLIP_OK;
}

const operator_row op_inner = {.name = "inner product",
                               .stage = FLIP_STAGE_LOSS,
                               .inputs = 1,
                               .shape = loss_shape,
                               .forward = inner_forward,
                               .backward = inner_backward};

flip_var flip_inner(flip_tape *tape, flip_var x, const flip_real *weight) {
    record r = tape_record(OP_INNER);
    r.in[0] = x;
    r.real = weight;
    return tape_apply(tape, &r);
}
