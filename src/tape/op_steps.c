/* A product with a weight of its own at every step: y_t = act(x_t W_t), the weights out of a chain
 * that evolves (EvolveGCN).
 *
 * A step of x [rows, steps, dim] is a matrix whose rows stand far apart. Rows go in chunks that
 * stay near while every step's product passes over them. Of packed rows a chunk's step is decoded
 * beside its product, in forward and again in backward. */
#include "internal.h"

#include <omp.h>

enum { CHUNK_BYTES = 16 << 20, CHUNK_LEAST = 28, DECODED = 64 << 10 /* values at once */ };

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
    if (x->coded.packing && e.chunk > DECODED / e.in)
        e.chunk = DECODED / e.in > CHUNK_LEAST ? DECODED / e.in : CHUNK_LEAST;
    return e;
}

static int64_t rows_from(const extent *e, int64_t first) {
    return e->rows - first < e->chunk ? e->rows - first : e->chunk;
}

/* Memory for a step of a chunk a thread, where x is packed. */
static flip_status decoded_open(flip_tape *tape, const extent *e, const variable *x,
                                flip_real **room) {
    const size_t threads = (size_t)omp_get_max_threads();
    *room = NULL;
    if (!x->coded.packing) return FLIP_OK;
    return pool_alloc(tape->pool, room, threads * (size_t)(e->chunk * e->in) * sizeof **room);
}

/* Rows first … of the chunk at step t, *ld apart: where they lie, or decoded to this thread's room.
 */
static flip_status step_rows(const flip_tape *tape, const extent *e, const variable *x,
                             int64_t first, int64_t t, flip_real *room, const flip_real **from,
                             int64_t *ld) {
    if (!x->coded.packing) {
        *ld = e->steps * e->in;
        *from = x->value + (first * e->steps + t) * e->in;
        return FLIP_OK;
    }
    *ld = e->in;
    *from = room += omp_get_thread_num() * e->chunk * e->in;
    return tape_decode_steps(&x->coded, tape->kernels, first, rows_from(e, first), t, 1, room);
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

static flip_status forward_products(flip_tape *tape, const record *r, const extent *e,
                                    const flip_epilogue *act, flip_real *room) {
    const variable *x = tape_in(tape, r, 0);
    const flip_real *w = tape_in(tape, r, 1)->value + e->first * e->in * e->out;
    flip_real *y = tape_out(tape, r)->value;
    flip_status status = FLIP_OK;
#pragma omp parallel for schedule(static) if (!tape->kernels->on_device)
    for (int64_t v = 0; v < e->rows; v += e->chunk)
        for (int64_t t = 0; t < e->steps; t++) {
            flip_epilogue step = step_of(e, act, v, t, e->out);
            const flip_real *from;
            int64_t ld;
            if (step_rows(tape, e, x, v, t, room, &from, &ld) != FLIP_OK) {
#pragma omp atomic write
                status = FLIP_ERROR_MEMORY;
                continue;
            }
            tape->gemm_nn(rows_from(e, v), e->out, e->in, from, ld, w + t * e->in * e->out, e->out,
                          y + (v * e->steps + t) * e->out, e->steps * e->out, &step);
        }
    return status;
}

static flip_status steps_forward(flip_tape *tape, record *r) {
    extent e = extent_of(tape, r);
    flip_epilogue act = {.relu = false};
    flip_real *room;
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_epilogue(tape, r, &act));
    FLIP_TRY(decoded_open(tape, &e, tape_in(tape, r, 0), &room));
    FLIP_TRY(forward_products(tape, r, &e, &act, room));
    pool_free(tape->pool, room);
    meter_products(tape, &e);
    return FLIP_OK;
}

/* dW_t = x_t^T dy_t in double. A thread has steps of its own, so that a step's sum runs over the
 * chunks in ascending order whatever the threads. */
static flip_status chain_products(flip_tape *tape, const extent *e, const variable *x,
                                  const flip_real *dy, flip_real *room, double *dw) {
    flip_status status = FLIP_OK;
    tape->kernels->clear(dw, (size_t)(e->steps * e->in * e->out) * sizeof *dw);
#pragma omp parallel if (!tape->kernels->on_device)
    {
        int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num(), ld;
        int64_t from = e->steps * thread / threads, to = e->steps * (thread + 1) / threads;
        const flip_real *rows;
        for (int64_t v = 0; v < e->rows; v += e->chunk)
            for (int64_t t = from; t < to; t++) {
                if (step_rows(tape, e, x, v, t, room, &rows, &ld) != FLIP_OK) {
#pragma omp atomic write
                    status = FLIP_ERROR_MEMORY;
                    continue;
                }
                tape->gemm_tn(rows_from(e, v), e->out, e->in, rows, ld,
                              dy + (v * e->steps + t) * e->out, e->steps * e->out,
                              dw + t * e->in * e->out, e->out);
            }
    }
    meter_products(tape, e);
    return status;
}

static flip_status chain_gradient(flip_tape *tape, record *r, const extent *e) {
    int64_t n = e->steps * e->in * e->out, first = e->first * e->in * e->out;
    const variable *x = tape_in(tape, r, 0);
    flip_real *room;
    double *dw;
    target to;
    FLIP_TRY(pool_alloc(tape->pool, &dw, (size_t)n * sizeof *dw));
    FLIP_TRY(decoded_open(tape, e, x, &room));
    FLIP_TRY(chain_products(tape, e, x, tape_out(tape, r)->gradient, room, dw));
    pool_free(tape->pool, room);
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
                                      .decodes = DECODES_IN0 | DECODES_ON_HOST,
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
