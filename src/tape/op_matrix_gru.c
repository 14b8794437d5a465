/* EvolveGCN's matrix GRU; what it shares with the matrix LSTM is in op_matrix.c. */
#include "matrix.h"

/* ---- GRU: R = sig(Wg0 X + Ug0 W + B0);  Z = sig(Wg1 X + Ug1 W + B1);
 *           C = tanh(Wg2 X + Ug2 (R W) + B2);  W' = (1-Z) W + Z C;  X the input, or W itself ----
 */

static flip_status gru_shape(const flip_tape *tape, const record *r, shape *out) {
    return matrix_shape(tape, r, 3, out);
}

/* One step. gates [F', 3F] holds X Wg^T + B^T; out: the activated gates and W'. */
static void gru_step(flip_tape *tape, const matrix *s, flip_real *gates, const flip_real *h,
                     flip_real *next, flip_real *reset) {
    int64_t f = s->f, width = 3 * f;
    matrix_multiply(tape, true, s->k, 2 * f, f, h, f, s->ug, gates, width, true);
    tape->kernels->reset_gru_open(s->k, f, gates, h, reset);
    matrix_multiply(tape, true, s->k, f, f, reset, f, s->ug + 2 * f * f, gates + 2 * f, width,
                    true);
    tape->kernels->reset_gru_close(s->k, f, gates, h, next);
}

/* The input of every step, transposed, where there is one. */
static flip_status save_inputs(flip_tape *tape, record *r, const matrix *s) {
    if (r->in[0] == FLIP_VAR_NONE) return FLIP_OK;
    FLIP_TRY(matrix_save(tape, r, INPUTS, s->steps * s->n));
    flip_real *x = r->saved[INPUTS];
    for (int32_t t = 0; t < s->steps; t++)
        matrix_turn(tape, s->f, s->k, x + t * s->n, tape_in(tape, r, 0)->value + t * s->n);
    return FLIP_OK;
}

static flip_status gru_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, -1));
    matrix s = matrix_sizes(tape, r, 3);
    int64_t width = 3 * s.f, n = s.n;
    FLIP_TRY(matrix_save(tape, r, STATES, (s.steps + 1) * n));
    FLIP_TRY(matrix_save(tape, r, GATES, s.steps * 3 * n));
    FLIP_TRY(save_inputs(tape, r, &s));
    flip_real *h = r->saved[STATES], *gates = r->saved[GATES], *x = r->saved[INPUTS], *bias, *reset;
    FLIP_TRY(matrix_begin(tape, r, &s, h, NULL));
    FLIP_TRY(pool_alloc(tape->pool, &bias, (size_t)(s.k * width) * sizeof *bias));
    FLIP_TRY(pool_alloc(tape->pool, &reset, (size_t)n * sizeof *reset));
    matrix_turn(tape, width, s.k, bias, s.bg);
    for (int32_t t = 0; t < s.steps; t++, h += n, gates += 3 * n) {
        tape->kernels->copy(gates, bias, (size_t)(3 * n) * sizeof *gates);
        matrix_multiply(tape, true, s.k, width, s.f, x ? x + t * n : h, s.f, s.wg, gates, width,
                        true);
        gru_step(tape, &s, gates, h, h + n, reset);
        matrix_turn(tape, s.k, s.f, tape_out(tape, r)->value + t * n, h + n);
    }
    matrix_end(tape, r, &s, h, NULL);
    pool_free(tape->pool, reset);
    pool_free(tape->pool, bias);
    tape_drop_saved(tape, r);
    return FLIP_OK;
}

/* dh, of W', in: out: of W but for what passes through Wg. gates: out their gradients. reset: out
 * R W, d: room. */
static void gru_step_back(flip_tape *tape, const matrix *s, flip_real *gates, const flip_real *h,
                          flip_real *dh, flip_real *reset, flip_real *d) {
    int64_t f = s->f, width = 3 * f;
    tape->kernels->reset_gru_close_back(s->k, f, gates, h, dh, reset);
    matrix_multiply(tape, false, s->k, f, f, gates + 2 * f, width, s->ug + 2 * f * f, d, f, false);
    tape->kernels->reset_gru_open_back(s->k, f, gates, h, d, dh);
    matrix_multiply(tape, false, s->k, f, 2 * f, gates, width, s->ug, dh, f, true);
}

/* dX_t = (dgates_t Wg)^T, added to the input's gradient */
static flip_status input_gradient(flip_tape *tape, record *r, const matrix *s,
                                  const flip_real *gates) {
    int64_t n = s->n, width = 3 * s->f;
    flip_real *dx, *turned;
    if (r->in[0] == FLIP_VAR_NONE) return FLIP_OK;
    FLIP_TRY(pool_alloc(tape->pool, &turned, (size_t)n * sizeof *turned));
    FLIP_TRY(pool_alloc(tape->pool, &dx, (size_t)(s->steps * n) * sizeof *dx));
    for (int32_t t = 0; t < s->steps; t++) {
        matrix_multiply(tape, false, s->k, s->f, width, gates + t * 3 * n, width, s->wg, turned,
                        s->f, false);
        matrix_turn(tape, s->k, s->f, dx + t * n, turned);
    }
    pool_free(tape->pool, turned);
    return tape_give_gradient(tape, r, 0, dx);
}

static flip_status gru_backward(flip_tape *tape, record *r) {
    matrix s = matrix_sizes(tape, r, 3);
    int64_t f = s.f, width = 3 * f, n = s.n;
    flip_real *h = r->saved[STATES], *gates = r->saved[GATES], *x = r->saved[INPUTS];
    const flip_real *up = tape_out(tape, r)->gradient;
    flip_real *dh, *d, *reset; /* reset [steps, n]: R W */
    FLIP_TRY(pool_alloc(tape->pool, &dh, (size_t)n * sizeof *dh));
    FLIP_TRY(pool_alloc(tape->pool, &d, (size_t)n * sizeof *d));
    FLIP_TRY(pool_alloc(tape->pool, &reset, (size_t)(s.steps * n) * sizeof *reset));
    matrix_begin_gradient(tape, r, &s, dh, NULL);
    for (int32_t t = s.steps - 1; t >= 0; t--) {
        flip_real *g = gates + t * 3 * n;
        matrix_add_chain_gradient(tape, &s, dh, up + t * n);
        gru_step_back(tape, &s, g, h + t * n, dh, reset + t * n, d);
        if (!x) matrix_multiply(tape, false, s.k, f, width, g, width, s.wg, dh, f, true);
    }
    matrix_end_gradient(tape, r, &s, dh, NULL);
    matrix_bias_gradient(tape, r, &s, gates);
    double *du = tape_weight_gradient(tape, r->param[UG]);
    matrix_weight_gradient(tape, &s, gates, width, x ? x : h,
                           tape_weight_gradient(tape, r->param[WG]));
    matrix_weight_gradient(tape, &s, gates, 2 * f, h, du);
    matrix_weight_gradient(tape, &s, gates + 2 * f, f, reset, du + 2 * f * f);
    pool_free(tape->pool, reset);
    pool_free(tape->pool, d);
    pool_free(tape->pool, dh);
    return input_gradient(tape, r, &s, gates);
}

const operator_row op_matrix_gru = {.name = "matrix gru",
                                    .stage = FLIP_STAGE_DENSE,
                                    .carries = true,
                                    .shape = gru_shape,
                                    .forward = gru_forward,
                                    .backward = gru_backward};

flip_var flip_matrix_gru(flip_tape *tape, int32_t steps, flip_var input, flip_param w0,
                         flip_param wg, flip_param ug, flip_param bg) {
    record r = tape_record(OP_MATRIX_GRU);
    r.in[0] = input;
    r.param[W0] = w0;
    r.param[WG] = wg;
    r.param[UG] = ug;
    r.param[BG] = bg;
    r.count = steps;
    return tape_apply(tape, &r);
}
