/* Dense products: linear maps with bias, ReLU and dropout in the product's epilogue. */
#include "internal.h"

static flip_status weight_shape(const flip_tape *tape, const record *r, int i, int32_t *cols) {
    int32_t rows, bias_cols;
    flip_params_shape(tape->params, r->param[i], &rows, cols, NULL);
    const variable *x = tape_in(tape, r, i);
    if (rows != x->dim)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' is %d x %d but its input has %d columns",
                         flip_params_name(tape->params, r->param[i]), rows, *cols, x->dim);
    if (r->param[2] == FLIP_PARAM_NONE) return FLIP_OK;
    flip_params_shape(tape->params, r->param[2], NULL, &bias_cols, NULL);
    if (bias_cols != *cols)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' has %d columns, expected %d",
                         flip_params_name(tape->params, r->param[2]), bias_cols, *cols);
    return FLIP_OK;
}

static void meter_product(flip_tape *tape, int64_t m, int64_t n, int64_t k) {
    uint64_t values = (uint64_t)(m * k + m * n + k * n);
    tape_traffic(tape, FLIP_STAGE_DENSE, values * sizeof(flip_real),
                 2 * (uint64_t)m * (uint64_t)n * (uint64_t)k);
}

/* dW_i += X_i^T dY;  dX_i = dY W_i^T, masked by the ReLU and dropout that made X_i when no other
 * share of its gradient is missing. X_i's memory serves dX_i where nobody else needs it. */
static flip_status product_backward(flip_tape *tape, record *r, int i) {
    const variable *out = tape_out(tape, r);
    int64_t m = rows_of(out), n = out->dim, k = tape_in(tape, r, i)->dim;
    tape->gemm_tn(m, n, k, tape_in(tape, r, i)->value, k, out->gradient, n,
                  tape_weight_gradient(tape, r->param[i]), n);
    meter_product(tape, m, n, k);
    tape_done_with(tape, r, i);
    target to;
    FLIP_TRY(tape_gradient(tape, r, i, &to));
    if (!to.gradient) return FLIP_OK;
    flip_epilogue e = {.accumulate = to.accumulate};
    int32_t producer = tape_in(tape, r, i)->producer;
    record *made = to.last && producer >= 0 ? &tape->records[producer] : NULL;
    if (made && made->bits) {
        e.mask = made->bits;
        e.mask_scale = (flip_real)(1 / (1 - made->act.dropout));
        made->masked = true;
    }
    tape->gemm_nt(m, k, n, out->gradient, n, tape_weight(tape, r->param[i]), n, to.gradient, k, &e);
    meter_product(tape, m, k, n);
    return FLIP_OK;
}

/* db += Σ_rows dY */
static flip_status bias_backward(flip_tape *tape, record *r) {
    if (r->param[2] == FLIP_PARAM_NONE) return FLIP_OK;
    const variable *out = tape_out(tape, r);
    return tape_column_sums(tape, rows_of(out), out->dim, out->gradient,
                            tape_weight_gradient(tape, r->param[2]));
}

/* ---- Y = act(X W + b) ---- */

static flip_status linear_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(shape_same(tape, r, out));
    return weight_shape(tape, r, 0, &out->dim);
}

static flip_status linear_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    variable *y = tape_out(tape, r);
    flip_epilogue e = {.bias = tape_weight(tape, r->param[2])};
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_epilogue(tape, r, &e));
    tape->gemm_nn(rows_of(x), y->dim, x->dim, x->value, x->dim, tape_weight(tape, r->param[0]),
                  y->dim, y->value, y->dim, &e);
    meter_product(tape, rows_of(x), y->dim, x->dim);
    return FLIP_OK;
}

static flip_status linear_backward(flip_tape *tape, record *r) {
    FLIP_TRY(bias_backward(tape, r));
    return product_backward(tape, r, 0);
}

const operator_row op_linear = {.name = "linear",
                                .stage = FLIP_STAGE_DENSE,
                                .inputs = 1,
                                .saves = SAVES_IN0,
                                .acts = true,
                                .shape = linear_shape,
                                .forward = linear_forward,
                                .backward = linear_backward};

flip_var flip_linear(flip_tape *tape, flip_var x, flip_param w, flip_param b, flip_act act) {
    record r = tape_record(OP_LINEAR);
    r.in[0] = x;
    r.param[0] = w;
    r.param[2] = b;
    r.act = act;
    return tape_apply(tape, &r);
}

/* ---- Y = act(X1 W1 + X2 W2 + b) ---- */

static flip_status linear2_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *x1 = tape_in(tape, r, 0), *x2 = tape_in(tape, r, 1);
    int32_t cols;
    FLIP_TRY(shape_same(tape, r, out));
    FLIP_TRY(weight_shape(tape, r, 0, &out->dim));
    FLIP_TRY(weight_shape(tape, r, 1, &cols));
    if (cols != out->dim || x1->rows != x2->rows || x1->steps != x2->steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the two products are [%d, %d, %d] and [%d, %d, %d]",
                         x1->rows, x1->steps, out->dim, x2->rows, x2->steps, cols);
    return FLIP_OK;
}

static flip_status linear2_forward(flip_tape *tape, record *r) {
    const variable *x1 = tape_in(tape, r, 0), *x2 = tape_in(tape, r, 1);
    variable *y = tape_out(tape, r);
    flip_epilogue e = {.accumulate = true, .bias = tape_weight(tape, r->param[2])};
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_epilogue(tape, r, &e));
    tape->gemm_nn(rows_of(x1), y->dim, x1->dim, x1->value, x1->dim, tape_weight(tape, r->param[0]),
                  y->dim, y->value, y->dim, NULL);
    tape->gemm_nn(rows_of(x2), y->dim, x2->dim, x2->value, x2->dim, tape_weight(tape, r->param[1]),
                  y->dim, y->value, y->dim, &e);
    meter_product(tape, rows_of(x1), y->dim, x1->dim);
    meter_product(tape, rows_of(x2), y->dim, x2->dim);
    return FLIP_OK;
}

static flip_status linear2_backward(flip_tape *tape, record *r) {
    FLIP_TRY(bias_backward(tape, r));
    FLIP_TRY(product_backward(tape, r, 0));
    return product_backward(tape, r, 1);
}

const operator_row op_linear2 = {.name = "linear2",
                                 .stage = FLIP_STAGE_DENSE,
                                 .inputs = 2,
                                 .saves = SAVES_IN0 | SAVES_IN1,
                                 .acts = true,
                                 .shape = linear2_shape,
                                 .forward = linear2_forward,
                                 .backward = linear2_backward};

flip_var flip_linear2(flip_tape *tape, flip_var x1, flip_param w1, flip_var x2, flip_param w2,
                      flip_param b, flip_act act) {
    record r = tape_record(OP_LINEAR2);
    r.in[0] = x1;
    r.in[1] = x2;
    r.param[0] = w1;
    r.param[1] = w2;
    r.param[2] = b;
    r.act = act;
    return tape_apply(tape, &r);
}
