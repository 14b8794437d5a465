/* A product with a weight of its own at every step: y_t = act(x_t W_t), the weights out of a chain
 * that evolves (EvolveGCN).
 *
 * A step of x [rows, steps, dim] is a matrix whose rows stand far apart. Rows go in chunks that
 * stay near while every step's product passes over them. */
#include "internal.h"

#include <omp.h>

enum { CHUNK_BYTES = 16 << 20, CHUNK_LEAST = 28 };

/* The rows of a product and their cut into chunks, on a GPU one of all; own steps stand `first`
 * steps into the chain. */
typedef struct extent {
    int64_t rows, steps, in, out, chunk, first;
} extent;

static extent extent_of(const flip_tape *tape, const record *r) {
    const variable *x = tape_in(tape, r, 0);
    extent e = {.rows = x->rows,
                .steps = x->steps,
                .in = x->dim,
                .out = r->count,
                .first = tape_block_offset(tape)};
    int64_t row = e.steps * (e.in + e.out) * (int64_t)sizeof(flip_real);
    e.chunk = row > 0 ? CHUNK_BYTES / row : 1;
    if (e.chunk < CHUNK_LEAST) e.chunk = CHUNK_LEAST;
    if (tape->kernels->on_device && e.rows > e.chunk) e.chunk = e.rows;
    return e;
}

static int64_t rows_from(const extent *e, int64_t first) {
    return e->rows - first < e->chunk ? e->rows - first : e->chunk;
}

static flip_status steps_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *x = tape_in(tape, r, 0), *chain = tape_in(tape, r, 1);
    if (chain->rows != 1 || chain->dim != x->dim * r->count ||
        chain->steps != tape_block_steps(tape, x->steps))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "%d steps of %d columns meet a chain [%d, %d, %d] of %d columns", x->steps,
                         x->dim, chain->rows, chain->steps, chain->dim, r->count);
    *out = (shape){x->rows, x->steps, r->count};
    return FLIP_OK;
}

static void meter_products(flip_tape *tape, const extent *e) {
    uint64_t rows = (uint64_t)(e->rows * e->steps), in = (uint64_t)e->in, out = (uint64_t)e->out;
    tape_traffic(tape, FLIP_STAGE_DENSE, rows * (in + out) * sizeof(flip_real),
                 2 * rows * in * out);
}

/* What follows the product of step t on the rows from `first` on, out of what follows all. */
static flip_epilogue step_of(const extent *e, const flip_epilogue *all, int64_t first, int64_t t,
                             int64_t columns) {
    flip_epilogue one = *all;
    int64_t at = first * e->steps + t, bytes = at * ((columns + 7) / 8);
    one.apart = e->steps;
    if (one.relu_bits) one.relu_bits += bytes;
    if (one.mask) one.mask += bytes;
    if (one.key) one.key += at;
    return one;
}

static flip_status steps_forward(flip_tape *tape, record *r) {
    extent e = extent_of(tape, r);
    flip_epilogue act = {.relu = false};
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_epilogue(tape, r, &act));
    const flip_real *x = tape_in(tape, r, 0)->value;
    const flip_real *w = tape_in(tape, r, 1)->value + e.first * e.in * e.out;
    flip_real *y = tape_out(tape, r)->value;
#pragma omp parallel for schedule(static) if (!tape->kernels->on_device)
    for (int64_t v = 0; v < e.rows; v += e.chunk)
        for (int64_t t = 0; t < e.steps; t++) {
            flip_epilogue step = step_of(&e, &act, v, t, e.out);
            tape->gemm_nn(rows_from(&e, v), e.out, e.in, x + (v * e.steps + t) * e.in,
                          e.steps * e.in, w + t * e.in * e.out, e.out,
                          y + (v * e.steps + t) * e.out, e.steps * e.out, &step);
        }
    meter_products(tape, &e);
    return FLIP_OK;
}

/* dW_t = x_t^T dy_t in double. A thread has steps of its own, so that a step's sum runs over the
 * chunks in ascending order whatever the threads. */
static void chain_products(const flip_tape *tape, const extent *e, const flip_real *x,
                           const flip_real *dy, double *dw) {
    tape->kernels->clear(dw, (size_t)(e->steps * e->in * e->out) * sizeof *dw);
#pragma omp parallel if (!tape->kernels->on_device)
    {
        int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
        int64_t from = e->steps * thread / threads, to = e->steps * (thread + 1) / threads;
        for (int64_t v = 0; v < e->rows; v += e->chunk)
            for (int64_t t = from; t < to; t++)
                tape->gemm_tn(rows_from(e, v), e->out, e->in, x + (v * e->steps + t) * e->in,
                              e->steps * e->in, dy + (v * e->steps + t) * e->out, e->steps * e->out,
                              dw + t * e->in * e->out, e->out);
    }
    meter_products((flip_tape *)tape, e);
}

static flip_status chain_gradient(flip_tape *tape, record *r, const extent *e) {
    int64_t n = e->steps * e->in * e->out, first = e->first * e->in * e->out;
    double *dw;
    target to;
    FLIP_TRY(pool_alloc(tape->pool, &dw, (size_t)n * sizeof *dw));
    chain_products(tape, e, tape_in(tape, r, 0)->value, tape_out(tape, r)->gradient, dw);
    FLIP_TRY(tape_gradient(tape, r, 1, &to));
    if (to.gradient && !to.accumulate)
        tape->kernels->clear(to.gradient,
                             (size_t)size_of(tape_in(tape, r, 1)) * sizeof *to.gradient);
    if (to.gradient) tape->kernels->add_rounded(n, to.gradient + first, dw);
    pool_free(tape->pool, dw);
    return FLIP_OK;
}

/* dx_t = dy_t W_t^T, and through the ReLU and dropout that made x when no other share is missing */
static flip_status input_gradient(flip_tape *tape, record *r, const extent *e) {
    target to;
    FLIP_TRY(tape_gradient_in_place(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
    flip_epilogue act = {.accumulate = to.accumulate};
    tape_producer_mask(tape, r, 0, &to, &act.mask, &act.mask_scale);
    const flip_real *w = tape_in(tape, r, 1)->value + e->first * e->in * e->out;
    const flip_real *dy = tape_out(tape, r)->gradient;
#pragma omp parallel for schedule(static) if (!tape->kernels->on_device)
    for (int64_t v = 0; v < e->rows; v += e->chunk)
        for (int64_t t = 0; t < e->steps; t++) {
            flip_epilogue step = step_of(e, &act, v, t, e->in);
            tape->gemm_nt(rows_from(e, v), e->in, e->out, dy + (v * e->steps + t) * e->out,
                          e->steps * e->out, w + t * e->in * e->out, e->out,
                          to.gradient + (v * e->steps + t) * e->in, e->steps * e->in, &step);
        }
    meter_products(tape, e);
    return FLIP_OK;
}

static flip_status steps_backward(flip_tape *tape, record *r) {
    extent e = extent_of(tape, r);
    FLIP_TRY(chain_gradient(tape, r, &e));
    return input_gradient(tape, r, &e);
}

const operator_row op_linear_steps = {.name = "linear, a weight a step",
                                      .stage = FLIP_STAGE_DENSE,
                                      .inputs = 2,
                                      .saves = SAVES_IN0 | SAVES_IN1,
                                      .acts = true,
                                      .shape = steps_shape,
                                      .forward = steps_forward,
                                      .backward = steps_backward};

flip_var flip_linear_steps(flip_tape *tape, flip_var x, flip_var chain, int32_t columns,
                           flip_act act) {
    record r = tape_record(OP_LINEAR_STEPS);
    r.in[0] = x;
    r.in[1] = chain;
    r.count = columns;
    r.act = act;
    return tape_apply(tape, &r);
}
