/* Dense products: linear maps with bias, ReLU and dropout in the product's epilogue. */
#include "internal.h"

flip_status tape_weight_shape(const flip_tape *tape, const record *r, int i, int32_t columns,
                              int32_t *out) {
    int32_t rows, bias_cols;
    flip_params_shape(tape->params, r->param[i], &rows, out, NULL);
    if (rows != columns)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' is %d x %d but its input has %d columns",
                         flip_params_name(tape->params, r->param[i]), rows, *out, columns);
    if (r->param[2] == FLIP_PARAM_NONE) return FLIP_OK;
    flip_params_shape(tape->params, r->param[2], NULL, &bias_cols, NULL);
    if (bias_cols != *out)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' has %d columns, expected %d",
                         flip_params_name(tape->params, r->param[2]), bias_cols, *out);
    return FLIP_OK;
}

static void meter_product(flip_tape *tape, int64_t m, int64_t n, int64_t k) {
    uint64_t values = (uint64_t)(m * k + m * n + k * n);
    tape_traffic(tape, FLIP_STAGE_DENSE, values * sizeof(flip_real),
                 2 * (uint64_t)m * (uint64_t)n * (uint64_t)k);
}

void tape_product(flip_tape *tape, int64_t m, int64_t n, int64_t k, const flip_real *x,
                  flip_param w, flip_real *y, const flip_epilogue *e) {
    flip_meter_begin(tape->meter, FLIP_STAGE_DENSE);
    tape->gemm_nn(m, n, k, x, k, tape_weight(tape, w), n, y, n, e);
    flip_meter_end(tape->meter);
    meter_product(tape, m, n, k);
    if (e && e->plus_a) meter_product(tape, m, n, e->plus_k);
}

void tape_product_weight(flip_tape *tape, int64_t m, int64_t n, int64_t k, const flip_real *x,
                         const flip_real *dy, flip_param w) {
    flip_meter_begin(tape->meter, FLIP_STAGE_DENSE);
    tape->gemm_tn(m, n, k, x, k, dy, n, tape_weight_gradient(tape, w), n);
    flip_meter_end(tape->meter);
    meter_product(tape, m, n, k);
}

void tape_producer_mask(flip_tape *tape, const record *r, int i, const target *to,
                        const uint8_t **bits, flip_real *scale) {
    int32_t producer = tape_in(tape, r, i)->producer;
    record *made = to->last && producer >= 0 ? &tape->records[producer] : NULL;
    *bits = made ? made->bits : NULL;
    if (!*bits) return;
    *scale = (flip_real)(1 / (1 - made->act.dropout));
    made->masked = true;
}

flip_status tape_product_input(flip_tape *tape, record *r, int i, const flip_real *dy, flip_param w,
                               const flip_real *dy2, flip_param w2) {
    target to;
    FLIP_TRY(tape_gradient_in_place(tape, r, i, &to));
    if (!to.gradient) return FLIP_OK;
    const variable *x = tape_in(tape, r, i);
    int64_t m = rows_of(x), k = x->dim, n = tape_out(tape, r)->dim;
    int64_t both = dy2 ? rows_of(tape_out(tape, r)) : m; /* a batch's destinations, first of x */
    flip_epilogue e = {.accumulate = to.accumulate};
    tape_producer_mask(tape, r, i, &to, &e.mask, &e.mask_scale);
    flip_meter_begin(tape->meter, FLIP_STAGE_DENSE);
    if (both < m) {
        flip_epilogue rest = e;
        if (e.mask) rest.mask += both * ((k + 7) / 8);
        tape->gemm_nt(m - both, k, n, dy + both * n, n, tape_weight(tape, w), n,
                      to.gradient + both * k, k, &rest);
    }
    if (dy2) {
        e.plus_a = dy2;
        e.plus_b = tape_weight(tape, w2);
        e.plus_k = e.plus_lda = e.plus_ldb = n;
        meter_product(tape, both, k, n);
    }
    tape->gemm_nt(both, k, n, dy, n, tape_weight(tape, w), n, to.gradient, k, &e);
    flip_meter_end(tape->meter);
    meter_product(tape, m, k, n);
    return FLIP_OK;
}

static bool acts(const record *r) {
    return r->act.relu || r->act.dropout > 0;
}

/* Y = act(X1 W1 (+ X2 W2) + b) where rows are packed: one product after the other, then act. */
static flip_status packed_forward(flip_tape *tape, record *r) {
    const variable *x1 = tape_in(tape, r, 0);
    variable *y = tape_out(tape, r);
    flip_epilogue first = {.bias = tape_weight(tape, r->param[2])}, second = {.accumulate = true};
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_multiply(tape, x1, rows_of(x1), y->dim, r->param[0], y->value, &first));
    if (r->in[1] != FLIP_VAR_NONE)
        FLIP_TRY(tape_multiply(tape, tape_in(tape, r, 1), rows_of(x1), y->dim, r->param[1],
                               y->value, &second));
    return acts(r) ? tape_act_in_place(tape, r, NULL) : FLIP_OK;
}

/* dW_i += X_i^T dY;  dX_i = dY W_i^T. X_i's memory serves dX_i where nobody else needs it. */
static flip_status product_backward(flip_tape *tape, record *r, int i) {
    const variable *x = tape_in(tape, r, i), *y = tape_out(tape, r);
    FLIP_TRY(tape_multiply_weight(tape, x, rows_of(x), y->dim, y->gradient, r->param[i]));
    return tape_product_input(tape, r, i, y->gradient, r->param[i], NULL, FLIP_PARAM_NONE);
}

flip_status tape_bias_gradient(flip_tape *tape, const record *r, flip_param b) {
    if (b == FLIP_PARAM_NONE) return FLIP_OK;
    const variable *out = tape_out(tape, r);
    flip_meter_begin(tape->meter, FLIP_STAGE_POINTWISE);
    tape->kernels->column_sums(rows_of(out), out->dim, out->gradient, out->dim,
                               tape_weight_gradient(tape, b));
    flip_meter_end(tape->meter);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, (uint64_t)size_of(out) * sizeof(flip_real), 0);
    return FLIP_OK;
}

/* ---- Y = act(X W + b) ---- */

static flip_status linear_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(shape_same(tape, r, out));
    return tape_weight_shape(tape, r, 0, out->dim, &out->dim);
}

static flip_status linear_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    variable *y = tape_out(tape, r);
    flip_epilogue e = {.bias = tape_weight(tape, r->param[2])};
    if (x->coded.packing) return packed_forward(tape, r);
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_epilogue(tape, r, &e));
    tape_product(tape, rows_of(x), y->dim, x->dim, x->value, r->param[0], y->value, &e);
    return FLIP_OK;
}

static flip_status linear_backward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_bias_gradient(tape, r, r->param[2]));
    return product_backward(tape, r, 0);
}

const operator_row op_linear = {.name = "linear",
                                .stage = FLIP_STAGE_DENSE,
                                .inputs = 1,
                                .saves = SAVES_IN0,
                                .acts = true,
                                .decodes = DECODES_IN0,
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
    FLIP_TRY(tape_weight_shape(tape, r, 0, x1->dim, &out->dim));
    FLIP_TRY(tape_weight_shape(tape, r, 1, x2->dim, &cols));
    if (cols != out->dim || x1->rows != x2->rows || x1->steps != x2->steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the two products are [%d, %d, %d] and [%d, %d, %d]",
                         x1->rows, x1->steps, out->dim, x2->rows, x2->steps, cols);
    return FLIP_OK;
}

static flip_status linear2_forward(flip_tape *tape, record *r) {
    const variable *x1 = tape_in(tape, r, 0), *x2 = tape_in(tape, r, 1);
    variable *y = tape_out(tape, r);
    flip_epilogue e = {.plus_a = x2->value,
                       .plus_b = tape_weight(tape, r->param[1]),
                       .plus_k = x2->dim,
                       .plus_lda = x2->dim,
                       .plus_ldb = y->dim,
                       .bias = tape_weight(tape, r->param[2])};
    if (x1->coded.packing || x2->coded.packing) return packed_forward(tape, r);
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_epilogue(tape, r, &e));
    tape_product(tape, rows_of(x1), y->dim, x1->dim, x1->value, r->param[0], y->value, &e);
    return FLIP_OK;
}

static flip_status linear2_backward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_bias_gradient(tape, r, r->param[2]));
    FLIP_TRY(product_backward(tape, r, 0));
    return product_backward(tape, r, 1);
}

const operator_row op_linear2 = {.name = "linear2",
                                 .stage = FLIP_STAGE_DENSE,
                                 .inputs = 2,
                                 .saves = SAVES_IN0 | SAVES_IN1,
                                 .acts = true,
                                 .decodes = DECODES_IN0 | DECODES_IN1,
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
