/* EvolveGCN's weights that evolve (Pareja et al. 2020, section 3): an LSTM or a GRU whose state is
 * a matrix W [F, F'], multiplied from the left.
 *
 * The gates act on every column of W alike, so inside everything is transposed: the F' columns are
 * the rows of a batch, of width F,
 *
 *     H [F', F] = W^T,    gates [F', gates F] = H (Wg + Ug)^T + B^T
 *
 * and a step is one of the recurrent cells of kernels.h. Every rank computes the same chain from
 * the same parameters; its gradient on a rank is that rank's share, and all that follows is linear
 * in it, so that the sum over ranks of the parameters' gradients is the whole. */
#include "matrix.h"

matrix matrix_sizes(const flip_tape *tape, const record *r, int64_t gates) {
    int32_t f, k;
    flip_params_shape(tape->params, r->param[W0], &f, &k, NULL);
    return (matrix){.f = f,
                    .k = k,
                    .n = (int64_t)f * k,
                    .gates = gates,
                    .steps = tape_out(tape, r)->steps,
                    .w0 = tape_weight(tape, r->param[W0]),
                    .wg = tape_weight(tape, r->param[WG]),
                    .ug = tape_weight(tape, r->param[UG]),
                    .bg = tape_weight(tape, r->param[BG])};
}

static flip_status expect(const flip_tape *tape, flip_param p, int64_t rows, int64_t cols) {
    int32_t has_rows, has_cols;
    flip_params_shape(tape->params, p, &has_rows, &has_cols, NULL);
    if (has_rows != rows || has_cols != cols)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' is %d x %d, expected %lld x %lld",
                         flip_params_name(tape->params, p), has_rows, has_cols, (long long)rows,
                         (long long)cols);
    return FLIP_OK;
}

flip_status matrix_shape(const flip_tape *tape, const record *r, int64_t gates, shape *out) {
    int32_t f, k;
    flip_params_shape(tape->params, r->param[W0], &f, &k, NULL);
    FLIP_TRY(expect(tape, r->param[WG], gates * f, f));
    FLIP_TRY(expect(tape, r->param[UG], gates * f, f));
    FLIP_TRY(expect(tape, r->param[BG], gates * f, k));
    *out = (shape){1, tape_block_steps(tape, r->count), f * k};
    if (r->in[0] == FLIP_VAR_NONE) return FLIP_OK;
    const variable *x = tape_in(tape, r, 0);
    if (x->rows != 1 || x->steps != out->steps || x->dim != out->dim)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "input [%d, %d, %d] of a chain [1, %d, %d]", x->rows,
                         x->steps, x->dim, out->steps, out->dim);
    return FLIP_OK;
}

/* to [cols, rows] = from [rows, cols]^T */
void matrix_turn(const flip_tape *tape, int64_t rows, int64_t cols, flip_real *to,
                 const flip_real *from) {
    tape->kernels->move(rows, cols, 1, to, 1, rows, from, cols, 1, false);
}

/* The state before the block, transposed: what the block before left, or W0; of an LSTM also c. */
flip_status matrix_begin(flip_tape *tape, record *r, const matrix *s, flip_real *h, flip_real *c) {
    size_t n = (size_t)s->n;
    FLIP_TRY(tape_carry(tape, r, c ? 2 * n : n));
    const flip_real *state = tape_carry_state(tape, r);
    if (state)
        tape->kernels->copy(h, state, n * sizeof *h);
    else
        matrix_turn(tape, s->f, s->k, h, s->w0);
    if (c && state)
        tape->kernels->copy(c, state + n, n * sizeof *c);
    else if (c)
        tape->kernels->clear(c, n * sizeof *c);
    return FLIP_OK;
}

/* … and behind it. */
void matrix_end(flip_tape *tape, record *r, const matrix *s, const flip_real *h,
                const flip_real *c) {
    size_t n = (size_t)s->n;
    flip_real *next = tape_carry_next(tape, r);
    if (next) tape->kernels->copy(next, h, n * sizeof *h);
    if (next && c) tape->kernels->copy(next + n, c, n * sizeof *c);
}

/* Memory of `values` reals that lives until backward is done. */
flip_status matrix_save(flip_tape *tape, record *r, int slot, int64_t values) {
    return tape_save(tape, r, slot, (size_t)values * sizeof(flip_real));
}

/* c [m, n] (+)= a [m, k] b [n, k]^T (transposed) or b [k, n] */
void matrix_multiply(flip_tape *tape, bool transposed, int64_t m, int64_t n, int64_t k,
                     const flip_real *a, int64_t lda, const flip_real *b, flip_real *c, int64_t ldc,
                     bool add) {
    const flip_kernels *use = tape->kernels; /* the chain stays exact: weights feed every node */
    flip_epilogue e = {.accumulate = add};
    (transposed ? use->gemm_nt : use->gemm_nn)(m, n, k, a, lda, b, transposed ? k : n, c, ldc, &e);
    tape_traffic(tape, FLIP_STAGE_DENSE, (uint64_t)(m * k + k * n + m * n) * sizeof(flip_real),
                 2 * (uint64_t)(m * n * k));
}

/* ---- what both have in backward ---- */

/* Gradients of Wg, Ug or parts of them: g [columns of d, F] += d^T x over all steps' rows. */
void matrix_weight_gradient(flip_tape *tape, const matrix *s, const flip_real *d, int64_t columns,
                            const flip_real *x, double *g) {
    int64_t m = s->steps * s->k;
    tape->kernels->gemm_tn(m, s->f, columns, d, s->gates * s->f, x, s->f, g, s->f);
    tape_traffic(tape, FLIP_STAGE_DENSE, (uint64_t)(m * (columns + s->f)) * sizeof(flip_real),
                 2 * (uint64_t)(m * columns * s->f));
}

/* Bg's gradient [gates F, F'] += sum over steps of the gates' [F', gates F]^T */
void matrix_bias_gradient(flip_tape *tape, const record *r, const matrix *s,
                          const flip_real *gates) {
    tape->kernels->turn_sum(s->k, s->gates * s->f, s->steps, gates,
                            tape_weight_gradient(tape, r->param[BG]));
}

/* The gradients of the states behind the block, as the next block left them; else 0. */
void matrix_begin_gradient(flip_tape *tape, record *r, const matrix *s, flip_real *dh,
                           flip_real *dc) {
    size_t n = (size_t)s->n;
    const flip_real *carried = tape_carry_gradient(tape, r);
    if (carried) {
        tape->kernels->copy(dh, carried, n * sizeof *dh);
        if (dc) tape->kernels->copy(dc, carried + n, n * sizeof *dc);
    } else {
        tape->kernels->clear(dh, n * sizeof *dh);
        if (dc) tape->kernels->clear(dc, n * sizeof *dc);
    }
}

/* … and before it: to the block before, or to W0. */
void matrix_end_gradient(flip_tape *tape, record *r, const matrix *s, const flip_real *dh,
                         const flip_real *dc) {
    size_t n = (size_t)s->n;
    flip_real *give = tape_carry_give(tape, r);
    if (give) tape->kernels->copy(give, dh, n * sizeof *dh);
    if (give && dc) tape->kernels->copy(give + n, dc, n * sizeof *dc);
    if (!give) tape->kernels->turn_sum(s->k, s->f, 1, dh, tape_weight_gradient(tape, r->param[W0]));
}

/* dh += the chain's gradient of a step, transposed */
void matrix_add_chain_gradient(const flip_tape *tape, const matrix *s, flip_real *dh,
                               const flip_real *chain) {
    tape->kernels->move(s->f, s->k, 1, dh, 1, s->f, chain, s->k, 1, true);
}

/* ---- LSTM: a_k = Wg_k W + Ug_k W + B_k, k in (i f g o);  C' = f C + i g;  W' = o tanh(C') ---- */

static flip_status lstm_shape(const flip_tape *tape, const record *r, shape *out) {
    return matrix_shape(tape, r, 4, out);
}

/* m [4F, F] = Wg + Ug: input and state are the same matrix */
static flip_status both_weights(flip_tape *tape, const matrix *s, flip_real **m) {
    int64_t n = s->gates * s->f * s->f;
    FLIP_TRY(pool_alloc(tape->pool, m, (size_t)n * sizeof **m));
    tape->kernels->copy(*m, s->wg, (size_t)n * sizeof **m);
    tape->kernels->scaled(1, n, *m, n, s->ug, n, 1, true);
    return FLIP_OK;
}

static flip_status lstm_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, -1));
    matrix s = matrix_sizes(tape, r, 4);
    int64_t width = 4 * s.f, n = s.n;
    FLIP_TRY(matrix_save(tape, r, STATES, (s.steps + 1) * n));
    FLIP_TRY(matrix_save(tape, r, GATES, s.steps * 4 * n));
    FLIP_TRY(matrix_save(tape, r, CELLS, (s.steps + 1) * n));
    flip_real *h = r->saved[STATES], *gates = r->saved[GATES], *c = r->saved[CELLS], *m, *bias;
    FLIP_TRY(matrix_begin(tape, r, &s, h, c));
    FLIP_TRY(both_weights(tape, &s, &m));
    FLIP_TRY(pool_alloc(tape->pool, &bias, (size_t)(s.k * width) * sizeof *bias));
    matrix_turn(tape, width, s.k, bias, s.bg);
    for (int32_t t = 0; t < s.steps; t++, h += n, c += n, gates += 4 * n) {
        tape->kernels->copy(gates, bias, (size_t)(4 * n) * sizeof *gates);
        matrix_multiply(tape, true, s.k, width, s.f, h, s.f, m, gates, width, true);
        tape->kernels->lstm_forward(s.k, s.f, gates, c, s.f, c + n, h + n, s.f);
        matrix_turn(tape, s.k, s.f, tape_out(tape, r)->value + t * n, h + n);
    }
    matrix_end(tape, r, &s, h, c);
    pool_free(tape->pool, bias);
    pool_free(tape->pool, m);
    tape_drop_saved(tape, r);
    return FLIP_OK;
}

/* The gates' gradients take the gates' place; then dWg = dUg = Σ_t dgates_t^T H_t. */
static flip_status lstm_backward(flip_tape *tape, record *r) {
    matrix s = matrix_sizes(tape, r, 4);
    int64_t width = 4 * s.f, n = s.n, all = s.gates * s.f * s.f;
    flip_real *h = r->saved[STATES], *gates = r->saved[GATES], *c = r->saved[CELLS];
    const flip_real *up = tape_out(tape, r)->gradient;
    flip_real *m, *dh, *dc;
    FLIP_TRY(both_weights(tape, &s, &m));
    FLIP_TRY(pool_alloc(tape->pool, &dh, (size_t)n * sizeof *dh));
    FLIP_TRY(pool_alloc(tape->pool, &dc, (size_t)n * sizeof *dc));
    matrix_begin_gradient(tape, r, &s, dh, dc);
    for (int32_t t = s.steps - 1; t >= 0; t--) {
        flip_real *g = gates + t * 4 * n;
        matrix_add_chain_gradient(tape, &s, dh, up + t * n);
        tape->kernels->lstm_backward(s.k, s.f, g, c + t * n, s.f, c + (t + 1) * n, s.f, dh, s.f,
                                     dc);
        matrix_multiply(tape, false, s.k, s.f, width, g, width, m, dh, s.f, false);
    }
    matrix_end_gradient(tape, r, &s, dh, dc);
    matrix_bias_gradient(tape, r, &s, gates);
    double *dm;
    FLIP_TRY(pool_alloc(tape->pool, &dm, (size_t)all * sizeof *dm));
    tape->kernels->clear(dm, (size_t)all * sizeof *dm);
    matrix_weight_gradient(tape, &s, gates, width, h, dm);
    tape->kernels->add_doubles(all, tape_weight_gradient(tape, r->param[WG]), dm);
    tape->kernels->add_doubles(all, tape_weight_gradient(tape, r->param[UG]), dm);
    pool_free(tape->pool, dm);
    pool_free(tape->pool, dc);
    pool_free(tape->pool, dh);
    pool_free(tape->pool, m);
    return FLIP_OK;
}

const operator_row op_matrix_lstm = {.name = "matrix lstm",
                                     .stage = FLIP_STAGE_DENSE,
                                     .carries = true,
                                     .shape = lstm_shape,
                                     .forward = lstm_forward,
                                     .backward = lstm_backward};

flip_var flip_matrix_lstm(flip_tape *tape, int32_t steps, flip_param w0, flip_param wg,
                          flip_param ug, flip_param bg) {
    record r = tape_record(OP_MATRIX_LSTM);
    r.param[W0] = w0;
    r.param[WG] = wg;
    r.param[UG] = ug;
    r.param[BG] = bg;
    r.count = steps;
    return tape_apply(tape, &r);
}
