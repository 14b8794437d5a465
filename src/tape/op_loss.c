/* Losses: the kernels sum a rank's rows, in double and in fixed blocks; the ranks' sums are added
 * in rank order, denominators are of all ranks. */
#include "internal.h"

static flip_status loss_shape(const flip_tape *tape, const record *r, shape *out) {
    (void)tape;
    (void)r;
    *out = (shape){1, 1, 1};
    return FLIP_OK;
}

/* What a loss reads beside x, where the kernels reach it. */
typedef struct operands {
    flip_loss_rows rows;
    const flip_real *other; /* targets, weights */
    const uint8_t *mask;
} operands;

static flip_status reach_operands(flip_tape *tape, const record *r, operands *o) {
    const variable *x = tape_in(tape, r, 0);
    const flip_labels *l = &r->labels;
    const size_t m = (size_t)rows_of(x), classes = x->dim > 1 ? (size_t)x->dim : 2;
    o->rows.sample_mean = l->sample_mean;
    FLIP_TRY(tape_reach(tape, l->label, m * sizeof *l->label, &o->rows.label));
    FLIP_TRY(tape_reach(tape, l->mask, m, &o->rows.mask));
    FLIP_TRY(tape_reach(tape, l->class_weight, classes * sizeof *l->class_weight,
                        &o->rows.class_weight));
    FLIP_TRY(tape_reach(tape, r->real, (size_t)size_of(x) * sizeof *r->real, &o->other));
    return tape_reach(tape, r->mask, m, &o->mask);
}

typedef void (*loss_sums)(const flip_tape *tape, const record *r, const operands *o, double *sums);

/* number[0]: 1 / Σ bottom (0 where that is), or 1. number[1] > 0 takes the place of Σ bottom: told,
 * as the items of other blocks count too. */
static void set_scale(record *r, bool mean, double bottom) {
    if (r->number[1] > 0) bottom = r->number[1];
    r->number[0] = !mean ? 1 : bottom > 0 ? 1 / bottom : 0;
}

flip_status flip_tape_late_loss(flip_tape *tape, bool late) {
    tape->late = late;
    if (!late || tape->late_sums) return FLIP_OK;
    return tape->kernels->take(&tape->late_sums, 2 * sizeof *tape->late_sums, "a loss");
}

flip_status flip_tape_read_loss(flip_tape *tape, double *loss) {
    double total[2];
    tape->kernels->receive(total, tape->late_sums, sizeof total);
    FLIP_TRY(tape->kernels->wait());
    if (total[1] != tape->late_bottom)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a repeated pass weighs its items %g, not %g",
                         total[1], tape->late_bottom);
    *loss = total[0] * tape->late_scale;
    return FLIP_OK;
}

/* loss = Σ top / Σ bottom over all ranks, or Σ top alone. */
static flip_status sum_rows(flip_tape *tape, record *r, loss_sums of_rows, bool mean) {
    double *sums, total[2];
    operands o;
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(reach_operands(tape, r, &o));
    tape_traffic(tape, FLIP_STAGE_LOSS, (uint64_t)size_of(tape_in(tape, r, 0)) * sizeof(flip_real),
                 0);
    if (tape->late) { /* the host does not wait: Σ bottom is the last pass's */
        of_rows(tape, r, &o, tape->late_sums);
        tape->late_bottom = tape->bottom;
        set_scale(r, mean, tape->bottom);
        tape->late_scale = r->number[0];
        return FLIP_OK;
    }
    FLIP_TRY(pool_alloc(tape->pool, &sums, sizeof total));
    of_rows(tape, r, &o, sums);
    tape->kernels->receive(total, sums, sizeof total);
    pool_free(tape->pool, sums);
    FLIP_TRY(tape->kernels->wait());
    FLIP_TRY(flip_comm_sum_f64(tape->comm, total, 2));
    tape->bottom = total[1];
    set_scale(r, mean, total[1]);
    variable *out = tape_out(tape, r);
    out->scalar = total[0] * r->number[0];
    const flip_real value = (flip_real)out->scalar;
    tape->kernels->send(out->value, &value, sizeof value);
    return FLIP_OK;
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

static void entropy_sums(const flip_tape *tape, const record *r, const operands *o, double *sums) {
    const variable *x = tape_in(tape, r, 0);
    tape->kernels->cross_entropy(rows_of(x), x->dim, x->value, r->saved[SAVED_LOG_SUM], &o->rows,
                                 sums);
}

/* Keeps the softmax, whose memory becomes the gradient; the logits are not needed again. */
static flip_status entropy_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    int64_t m = rows_of(x), n = x->dim;
    FLIP_TRY(check_labels(r, m, x->dim));
    FLIP_TRY(tape_save(tape, r, SAVED_SOFTMAX, (size_t)(m * n) * sizeof(flip_real)));
    FLIP_TRY(tape_save(tape, r, SAVED_LOG_SUM, (size_t)m * sizeof(double)));
    tape->kernels->softmax(m, n, x->value, n, r->saved[SAVED_SOFTMAX], n, r->saved[SAVED_LOG_SUM]);
    return sum_rows(tape, r, entropy_sums, true);
}

/* dx = m w (softmax(x) - onehot(y)) / denominator */
static flip_status entropy_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    flip_real *softmax = r->saved[SAVED_SOFTMAX];
    operands o;
    FLIP_TRY(reach_operands(tape, r, &o));
    tape->kernels->cross_entropy_gradient(rows_of(x), x->dim, softmax, &o.rows,
                                          tape_slope(tape, r) * r->number[0]);
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

static void binary_sums(const flip_tape *tape, const record *r, const operands *o, double *sums) {
    const variable *x = tape_in(tape, r, 0);
    tape->kernels->binary(rows_of(x), x->value, &o->rows, sums);
}

static flip_status binary_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    if (x->dim != 1)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "binary cross-entropy of %d columns", x->dim);
    FLIP_TRY(check_labels(r, rows_of(x), 2));
    return sum_rows(tape, r, binary_sums, true);
}

/* ds = m w (sigmoid(s) - y) / denominator */
static flip_status binary_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    operands o;
    target to;
    FLIP_TRY(reach_operands(tape, r, &o));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    tape->kernels->binary_gradient(rows_of(x), x->value, &o.rows,
                                   tape_slope(tape, r) * r->number[0], to.gradient, to.accumulate);
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

static void error_sums(const flip_tape *tape, const record *r, const operands *o, double *sums) {
    const variable *x = tape_in(tape, r, 0);
    tape->kernels->squared_error(rows_of(x), x->dim, x->value, o->other, o->mask, sums);
}

static flip_status error_forward(flip_tape *tape, record *r) {
    return sum_rows(tape, r, error_sums, true);
}

/* dx = 2 (x - target) / count */
static flip_status error_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    operands o;
    target to;
    FLIP_TRY(reach_operands(tape, r, &o));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    tape->kernels->squared_error_gradient(rows_of(x), x->dim, x->value, o.other, o.mask,
                                          2 * tape_slope(tape, r) * r->number[0], to.gradient,
                                          to.accumulate);
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

static void inner_sums(const flip_tape *tape, const record *r, const operands *o, double *sums) {
    const variable *x = tape_in(tape, r, 0);
    tape->kernels->inner(rows_of(x), x->dim, x->value, o->other, sums);
}

static flip_status inner_forward(flip_tape *tape, record *r) {
    return sum_rows(tape, r, inner_sums, false);
}

static flip_status inner_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    operands o;
    target to;
    FLIP_TRY(reach_operands(tape, r, &o));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    tape->kernels->scaled(rows_of(x), x->dim, to.gradient, x->dim, o.other, x->dim,
                          (flip_real)tape_slope(tape, r), to.accumulate);
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
