/* Row by row, without parameters to multiply: bias, ELU, masks, sums, concatenation. */
#include "internal.h"

static uint64_t traffic_of(const variable *x, int passes) {
    return (uint64_t)size_of(x) * (uint64_t)passes * sizeof(flip_real);
}

/* ---- y = act(x + b); takes x's memory where it can ---- */

static flip_status bias_shape(const flip_tape *tape, const record *r, shape *out) {
    int32_t cols;
    FLIP_TRY(shape_same(tape, r, out));
    if (r->param[0] == FLIP_PARAM_NONE) return FLIP_OK;
    flip_params_shape(tape->params, r->param[0], NULL, &cols, NULL);
    if (cols != out->dim)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' has %d columns, expected %d",
                         flip_params_name(tape->params, r->param[0]), cols, out->dim);
    return FLIP_OK;
}

static flip_status bias_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, 0));
    return tape_act_in_place(tape, r, tape_weight(tape, r->param[0]));
}

static flip_status bias_backward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_bias_gradient(tape, r, r->param[0]));
    return tape_pass_gradient(tape, r, 0);
}

const operator_row op_bias = {.name = "bias",
                              .stage = FLIP_STAGE_POINTWISE,
                              .inputs = 1,
                              .acts = true,
                              .shape = bias_shape,
                              .forward = bias_forward,
                              .backward = bias_backward};

flip_var flip_bias(flip_tape *tape, flip_var x, flip_param b, flip_act act) {
    record r = tape_record(OP_BIAS);
    r.in[0] = x;
    r.param[0] = b;
    r.act = act;
    return tape_apply(tape, &r);
}

flip_var flip_activate(flip_tape *tape, flip_var x, flip_act act) {
    bool drops = act.dropout > 0 && tape->training;
    return act.relu || drops ? flip_bias(tape, x, FLIP_PARAM_NONE, act) : x;
}

/* ---- y = x > 0 ? x : exp(x) - 1;  dx = y > 0 ? dy : dy (y + 1) ---- */

static flip_status elu_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, 0));
    variable *y = tape_out(tape, r);
    tape->kernels->elu(size_of(y), y->value);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(y, 2), 0);
    return FLIP_OK;
}

static flip_status elu_backward(flip_tape *tape, record *r) {
    variable *y = tape_out(tape, r);
    tape->kernels->elu_gradient(size_of(y), y->gradient, y->value);
    return tape_pass_gradient(tape, r, 0);
}

const operator_row op_elu = {.name = "elu",
                             .stage = FLIP_STAGE_POINTWISE,
                             .inputs = 1,
                             .saves = SAVES_OUT,
                             .shape = shape_same,
                             .forward = elu_forward,
                             .backward = elu_backward};

flip_var flip_elu(flip_tape *tape, flip_var x) {
    record r = tape_record(OP_ELU);
    r.in[0] = x;
    return tape_apply(tape, &r);
}

/* ---- y = x mask / (1 - p) with a given mask ---- */

static flip_status mask_values(flip_tape *tape, const record *r, flip_real *x) {
    const int64_t n = size_of(tape_out(tape, r));
    const uint8_t *mask = NULL;
    FLIP_TRY(tape_reach(tape, r->mask, (size_t)n, &mask));
    tape->kernels->mask_bytes(n, x, mask, (flip_real)(1 / (1 - r->number[0])));
    return FLIP_OK;
}

static flip_status mask_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, 0));
    return mask_values(tape, r, tape_out(tape, r)->value);
}

static flip_status mask_backward(flip_tape *tape, record *r) {
    FLIP_TRY(mask_values(tape, r, tape_out(tape, r)->gradient));
    return tape_pass_gradient(tape, r, 0);
}

const operator_row op_mask = {.name = "mask",
                              .stage = FLIP_STAGE_POINTWISE,
                              .inputs = 1,
                              .shape = shape_same,
                              .forward = mask_forward,
                              .backward = mask_backward};

flip_var flip_mask(flip_tape *tape, flip_var x, const uint8_t *mask, double p) {
    record r = tape_record(OP_MASK);
    r.in[0] = x;
    r.mask = mask;
    r.number[0] = p;
    return tape_apply(tape, &r);
}

/* ---- z = act(x + y); takes x's memory where it can ---- */

static flip_status add_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, 0));
    variable *z = tape_out(tape, r);
    tape_add(tape, z, z->value, tape_in(tape, r, 1)->value);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(z, 3), 0);
    return FLIP_OK;
}

/* dx = dy = dz: y's share is copied, x takes the memory over */
static flip_status add_backward(flip_tape *tape, record *r) {
    const variable *z = tape_out(tape, r);
    FLIP_TRY(tape_copy_gradient(tape, r, 1, rows_of(z), z->dim, z->gradient, z->dim));
    return tape_pass_gradient(tape, r, 0);
}

const operator_row op_add = {.name = "add",
                             .stage = FLIP_STAGE_POINTWISE,
                             .inputs = 2,
                             .shape = shape_equal,
                             .forward = add_forward,
                             .backward = add_backward};

flip_var flip_add(flip_tape *tape, flip_var x, flip_var y, flip_act act) {
    record r = tape_record(OP_ADD);
    r.in[0] = x;
    r.in[1] = y;
    r.act = act;
    return tape_apply(tape, &r);
}

/* ---- z = (1 + e) x + y (GIN);  dx = (1 + e) dz,  de = Σ dz x,  dy = dz ---- */

static flip_status scaled_add_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    FLIP_TRY(tape_output(tape, r, 1));
    variable *z = tape_out(tape, r);
    tape->kernels->add_scaled(size_of(z), z->value, x->value, tape_weight(tape, r->param[0]), true);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(z, 3), 2 * (uint64_t)size_of(z));
    return FLIP_OK;
}

static flip_status scaled_add_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *z = tape_out(tape, r);
    tape->kernels->dot(size_of(z), z->gradient, x->value, tape_weight_gradient(tape, r->param[0]));
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient)
        tape->kernels->add_scaled(size_of(z), to.gradient, z->gradient,
                                  tape_weight(tape, r->param[0]), to.accumulate);
    return tape_pass_gradient(tape, r, 1);
}

const operator_row op_scaled_add = {.name = "scaled add",
                                    .stage = FLIP_STAGE_POINTWISE,
                                    .inputs = 2,
                                    .saves = SAVES_IN0,
                                    .shape = shape_equal,
                                    .forward = scaled_add_forward,
                                    .backward = scaled_add_backward};

flip_var flip_scaled_add(flip_tape *tape, flip_param e, flip_var x, flip_var y) {
    record r = tape_record(OP_SCALED_ADD);
    r.in[0] = x;
    r.in[1] = y;
    r.param[0] = e;
    return tape_apply(tape, &r);
}

/* ---- z = [x, y] ---- */

static flip_status concat_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *x = tape_in(tape, r, 0), *y = tape_in(tape, r, 1);
    FLIP_TRY(shape_same(tape, r, out));
    if (x->rows != y->rows || x->steps != y->steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rows of [%d, %d] beside rows of [%d, %d]", x->rows,
                         x->steps, y->rows, y->steps);
    out->dim += y->dim;
    return FLIP_OK;
}

static flip_status concat_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, -1));
    variable *z = tape_out(tape, r);
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const variable *x = tape_in(tape, r, i);
        tape->kernels->scaled(rows_of(x), x->dim, z->value + first, z->dim, x->value, x->dim, 1,
                              false);
        first += x->dim;
    }
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(z, 2), 0);
    return FLIP_OK;
}

static flip_status concat_backward(flip_tape *tape, record *r) {
    const variable *z = tape_out(tape, r);
    int64_t first = 0;
    for (int i = 0; i < 2; i++) {
        const int32_t dim = tape_in(tape, r, i)->dim;
        FLIP_TRY(tape_copy_gradient(tape, r, i, rows_of(z), dim, z->gradient + first, z->dim));
        first += dim;
    }
    return FLIP_OK;
}

const operator_row op_concat = {.name = "concat",
                                .stage = FLIP_STAGE_POINTWISE,
                                .inputs = 2,
                                .shape = concat_shape,
                                .forward = concat_forward,
                                .backward = concat_backward};

flip_var flip_concat(flip_tape *tape, flip_var x, flip_var y) {
    record r = tape_record(OP_CONCAT);
    r.in[0] = x;
    r.in[1] = y;
    return tape_apply(tape, &r);
}

/* ---- y = x[0 … rows-1] ---- */

static flip_status first_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(shape_same(tape, r, out));
    if (r->count < 0 || r->count > out->rows)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the first %d rows of %d", r->count, out->rows);
    out->rows = r->count;
    return FLIP_OK;
}

static flip_status first_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, -1));
    const variable *y = tape_out(tape, r);
    tape->kernels->copy(y->value, tape_in(tape, r, 0)->value,
                        (size_t)size_of(y) * sizeof(flip_real));
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(y, 2), 0);
    return FLIP_OK;
}

static flip_status first_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    const int64_t n = size_of(y);
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
    tape->kernels->scaled(rows_of(y), y->dim, to.gradient, y->dim, y->gradient, y->dim, 1,
                          to.accumulate);
    if (!to.accumulate)
        tape->kernels->clear(to.gradient + n, (size_t)(size_of(x) - n) * sizeof(flip_real));
    return FLIP_OK;
}

const operator_row op_first_rows = {.name = "first rows",
                                    .stage = FLIP_STAGE_POINTWISE,
                                    .inputs = 1,
                                    .shape = first_shape,
                                    .forward = first_forward,
                                    .backward = first_backward};

flip_var flip_first_rows(flip_tape *tape, flip_var x, int32_t rows) {
    record r = tape_record(OP_FIRST_ROWS);
    r.in[0] = x;
    r.count = rows;
    return tape_apply(tape, &r);
}
