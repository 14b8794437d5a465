/* Row by row, without parameters to multiply: bias, ELU, masks, sums, concatenation. */
#include "internal.h"

#include <string.h>
#include <tgmath.h>

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
    int64_t n = size_of(y);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        if (!(y->value[i] > 0)) y->value[i] = expm1(y->value[i]);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(y, 2), 0);
    return FLIP_OK;
}

static flip_status elu_backward(flip_tape *tape, record *r) {
    variable *y = tape_out(tape, r);
    int64_t n = size_of(y);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        if (!(y->value[i] > 0)) y->gradient[i] *= y->value[i] + 1;
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

static void mask_values(const record *r, int64_t n, flip_real *x) {
    flip_real scale = (flip_real)(1 / (1 - r->number[0]));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        x[i] = r->mask[i] ? x[i] * scale : 0;
}

static flip_status mask_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, 0));
    mask_values(r, size_of(tape_out(tape, r)), tape_out(tape, r)->value);
    return FLIP_OK;
}

static flip_status mask_backward(flip_tape *tape, record *r) {
    mask_values(r, size_of(tape_out(tape, r)), tape_out(tape, r)->gradient);
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
    const flip_real *y = tape_in(tape, r, 1)->value;
    int64_t n = size_of(z);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        z->value[i] += y[i];
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(z, 3), 0);
    return FLIP_OK;
}

/* dx = dy = dz: y's share is copied, x takes the memory over */
static flip_status copy_gradient(flip_tape *tape, record *r, int i, const flip_real *from) {
    target to;
    FLIP_TRY(tape_gradient(tape, r, i, &to));
    if (!to.gradient) return FLIP_OK;
    int64_t n = size_of(tape_in(tape, r, i));
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j++)
        to.gradient[j] = (to.accumulate ? to.gradient[j] : 0) + from[j];
    return FLIP_OK;
}

static flip_status add_backward(flip_tape *tape, record *r) {
    FLIP_TRY(copy_gradient(tape, r, 1, tape_out(tape, r)->gradient));
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

enum { SUM_BLOCK = 2048 }; /* values; fixed, so that the sum does not depend on threads */

static flip_status scaled_add_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    flip_real scale = 1 + tape_weight(tape, r->param[0])[0];
    FLIP_TRY(tape_output(tape, r, 1));
    variable *z = tape_out(tape, r);
    int64_t n = size_of(z);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        z->value[i] += scale * x->value[i];
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(z, 3), 2 * (uint64_t)n);
    return FLIP_OK;
}

static flip_status scaled_add_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *z = tape_out(tape, r);
    int64_t n = size_of(z), blocks = (n + SUM_BLOCK - 1) / SUM_BLOCK;
    flip_real scale = 1 + tape_weight(tape, r->param[0])[0];
    double *partial, *total = tape_weight_gradient(tape, r->param[0]);
    FLIP_TRY(pool_alloc(tape->pool, &partial, (size_t)blocks * sizeof(double)));
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        partial[b] = 0;
        for (int64_t i = b * SUM_BLOCK; i < n && i < (b + 1) * SUM_BLOCK; i++)
            partial[b] += (double)z->gradient[i] * (double)x->value[i];
    }
    for (int64_t b = 0; b < blocks; b++)
        *total += partial[b];
    pool_free(tape->pool, partial);
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i++)
            to.gradient[i] = (to.accumulate ? to.gradient[i] : 0) + scale * z->gradient[i];
    }
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
    const variable *x = tape_in(tape, r, 0), *y = tape_in(tape, r, 1);
    FLIP_TRY(tape_output(tape, r, -1));
    variable *z = tape_out(tape, r);
    int64_t m = rows_of(z);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        memcpy(z->value + i * z->dim, x->value + i * x->dim, (size_t)x->dim * sizeof(flip_real));
        memcpy(z->value + i * z->dim + x->dim, y->value + i * y->dim,
               (size_t)y->dim * sizeof(flip_real));
    }
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(z, 2), 0);
    return FLIP_OK;
}

static flip_status concat_backward(flip_tape *tape, record *r) {
    const variable *z = tape_out(tape, r);
    int64_t m = rows_of(z), first = 0;
    for (int i = 0; i < 2; i++) {
        int64_t dim = tape_in(tape, r, i)->dim;
        target to;
        FLIP_TRY(tape_gradient(tape, r, i, &to));
        if (to.gradient) {
#pragma omp parallel for schedule(static)
            for (int64_t row = 0; row < m; row++)
                for (int64_t j = 0; j < dim; j++)
                    to.gradient[row * dim + j] = (to.accumulate ? to.gradient[row * dim + j] : 0) +
                                                 z->gradient[row * z->dim + first + j];
        }
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
    if (size_of(y) > 0)
        memcpy(y->value, tape_in(tape, r, 0)->value, (size_t)size_of(y) * sizeof(flip_real));
    tape_traffic(tape, FLIP_STAGE_POINTWISE, traffic_of(y, 2), 0);
    return FLIP_OK;
}

static flip_status first_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    int64_t n = size_of(y);
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        to.gradient[i] = (to.accumulate ? to.gradient[i] : 0) + y->gradient[i];
    if (!to.accumulate) memset(to.gradient + n, 0, (size_t)(size_of(x) - n) * sizeof(flip_real));
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
