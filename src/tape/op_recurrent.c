/* LSTM and GRU of every node along time (CD-GCN, Manessi et al. 2020; SC'21 section 4.2).
 *
 * Where the steps of a node lie on one rank the rows are worked through as they are. Otherwise
 *
 *   redistribute  slice s of the nodes travels to its owners while slice s-1 is worked on, and the
 *                 result travels back likewise; the inputs stay in the node layout for backward
 *   wavefront     rows stay where they are; the state of slice s comes from the chunk before and
 *                 goes to the chunk behind, so that chunk c works on slice s while chunk c+1 works
 *                 on slice s-1; gradients of states go the other way. The last chunk's state is the
 *                 next block's first: it goes to chunk 0, which keeps it. */
#include "recurrent.h"

enum { WX, WH, BX, BH }; /* parameters */

typedef enum way { LOCAL, MOVED, WAVE } way;

static way way_of(const flip_tape *tape) {
    if (!tape->layout || tape->layout->n_time == 1) return LOCAL;
    return tape->layout->exchange == FLIP_EXCHANGE_WAVEFRONT ? WAVE : MOVED;
}

static bool is_gru(const record *r) {
    return r->op == OP_GRU || r->op == OP_GRU_MOVED;
}

static bool first_chunk(const flip_tape *tape) {
    return tape->layout->chunk == 0;
}
static bool last_chunk(const flip_tape *tape) {
    return tape->layout->chunk == tape->layout->n_time - 1;
}

/* ---- shape ---- */

static flip_status check_bias(const flip_tape *tape, flip_param b, int32_t columns) {
    int32_t rows, cols;
    if (b == FLIP_PARAM_NONE) return FLIP_OK;
    flip_params_shape(tape->params, b, &rows, &cols, NULL);
    if (rows != 1 || cols != columns)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' is %d x %d, expected 1 x %d",
                         flip_params_name(tape->params, b), rows, cols, columns);
    return FLIP_OK;
}

static flip_status recurrent_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *x = tape_in(tape, r, 0);
    const variable *x2 = r->in[1] == FLIP_VAR_NONE ? NULL : tape_in(tape, r, 1);
    int32_t gates = is_gru(r) ? 3 : 4, inputs = x->dim + (x2 ? x2->dim : 0), rows, cols, h, h_cols;
    const flip_layout *l = tape->layout;
    flip_params_shape(tape->params, r->param[WX], &rows, &cols, NULL);
    flip_params_shape(tape->params, r->param[WH], &h, &h_cols, NULL);
    if (rows != inputs || cols != gates * h || h_cols != cols)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "'%s' is %d x %d and '%s' %d x %d, for %d columns and %d gates",
                         flip_params_name(tape->params, r->param[WX]), rows, cols,
                         flip_params_name(tape->params, r->param[WH]), h, h_cols, inputs, gates);
    if (x2 && (x2->rows != x->rows || x2->steps != x->steps))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rows of [%d, %d] beside rows of [%d, %d]", x->rows,
                         x->steps, x2->rows, x2->steps);
    if (l && (x->rows != l->n_rows || x->steps != flip_layout_steps(l, tape->block)))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "[%d, %d] is not this block's [%d, %d]", x->rows,
                         x->steps, l->n_rows, flip_layout_steps(l, tape->block));
    if (l && l->n_time > 1 && l->exchange == FLIP_EXCHANGE_WINDOW)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "a recurrent layer looks back to the first step: no window of steps is "
                         "enough; use --distribute time, wavefront, grid or nodes");
    if (x2 && x2->coded.packing && way_of(tape) == MOVED && !x2->coded.nodes)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "packed rows are not there in the node layout");
    FLIP_TRY(check_bias(tape, r->param[BX], cols));
    FLIP_TRY(check_bias(tape, r->param[BH], cols));
    *out = (shape){x->rows, x->steps, h};
    return FLIP_OK;
}

/* ---- the work of a record ---- */

/* Rows and steps in the layout in which the work is done. */
static int32_t work_rows(const flip_tape *tape, const record *r) {
    return way_of(tape) == MOVED ? tape->layout->n_own : tape_in(tape, r, 0)->rows;
}
static int32_t work_steps(const flip_tape *tape, const record *r) {
    const flip_layout *l = tape->layout;
    return way_of(tape) == MOVED ? l->block_first[tape->block + 1] - l->block_first[tape->block]
                                 : tape_in(tape, r, 0)->steps;
}

static recurrent work_of(flip_tape *tape, record *r) {
    recurrent j = {.tape = tape,
                   .gru = is_gru(r),
                   .rows = work_rows(tape, r),
                   .steps = work_steps(tape, r),
                   .hidden = tape_out(tape, r)->dim,
                   .gates = r->saved[GATES],
                   .cells = r->saved[CELLS],
                   .layout = way_of(tape) == LOCAL ? NULL : tape->layout};
    for (int i = 0; i < 2 && r->in[i] != FLIP_VAR_NONE; i++)
        j.dim[i] = tape_in(tape, r, i)->dim;
    if (way_of(tape) == LOCAL && !j.gru && j.steps > 1 && j.dim[1] > 0 &&
        !tape_in(tape, r, 1)->needs_gradient) {
        j.constant = tape_in(tape, r, 1)->constant;
        j.dim[1] -= j.constant;
    }
    if (j.dim[1] > 0 && tape_in(tape, r, 1)->coded.packing) {
        const flip_packed_rows *coded = &tape_in(tape, r, 1)->coded;
        j.coded = way_of(tape) == MOVED ? coded->nodes : coded;
    }
    j.inputs = j.dim[0] + j.dim[1];
    j.k = j.inputs + j.hidden;
    j.width = (j.gru ? 3 : 4) * j.hidden;
    j.weight = tape_weight(tape, r->param[WX]); /* in two pieces, until opened */
    j.turned = tape_weight(tape, r->param[WH]);
    j.bias[0] = tape_weight(tape, r->param[BX]);
    j.bias[1] = tape_weight(tape, r->param[BH]);
    if (!j.gru && j.steps > 0) j.fused = tape->kernels->lstm[tape->bf16];
    return j;
}

static int states_of(const recurrent *j) {
    return j->gru ? 1 : 2;
}

void recurrent_set_state(const recurrent *j, flip_real *state, int64_t rows, flip_real *part[2]) {
    part[0] = state;
    part[1] = state && !j->gru ? state + rows * j->hidden : NULL;
}

/* What a product of m rows and the cells cost, for the closing table. */
static void meter(flip_tape *tape, const recurrent *j, int64_t rows, int products) {
    uint64_t m = (uint64_t)(rows * j->steps), k = (uint64_t)j->k, w = (uint64_t)j->width;
    uint64_t once = (uint64_t)(rows * j->constant);
    tape_traffic(tape, FLIP_STAGE_RECURRENT,
                 m * (k + w + 2 * (uint64_t)j->hidden) * sizeof(flip_real) * (products > 1 ? 2 : 1),
                 2 * (m * k + once) * w * (uint64_t)products);
}

/* ---- a state handed over ---- */

/* Values of a state of so many rows. */
static size_t state_size(const recurrent *j, int64_t rows) {
    return (size_t)(rows * states_of(j) * j->hidden);
}

/* Where part i of rows first … of a state begins. */
static size_t part_at(const recurrent *j, int i, int64_t first) {
    return (size_t)((i * j->rows + first) * j->hidden);
}

/* Rows first … first+n-1 of both parts of a state. */
static flip_status hand_over(const recurrent *j, int32_t chunk, bool forward, bool send,
                             const mirror *state, int64_t first, int64_t n) {
    const size_t values = (size_t)(n * j->hidden);
    for (int i = 0; i < states_of(j); i++) {
        const size_t at = part_at(j, i, first);
        if (send) {
            mirror_receive(j->tape, state, at, values);
            FLIP_TRY(flip_layout_send_state(j->layout, chunk, forward, state->host + at, values));
        } else {
            FLIP_TRY(
                flip_layout_receive_state(j->layout, chunk, forward, state->host + at, values));
            mirror_send(j->tape, state, at, values);
        }
    }
    return FLIP_OK;
}

/* The ticket of slice s of a layer's states between blocks. The slice comes round once a block:
 * when this rank is about to make the next block's, what it sent of the last was received by the
 * chunk at the other end, whose slice the one that came was made from; so the wait is short, and
 * after the last block nothing is in flight. */
static int32_t ticket(const flip_tape *tape, const record *r, int32_t s) {
    return r->slot * tape->layout->slices + s;
}

/* What comes round from the other end of the part, from the block before. */
static flip_status wrap_arrives(const recurrent *j, bool forward, const mirror *state,
                                int64_t first, int64_t n) {
    const size_t values = (size_t)(n * j->hidden);
    for (int i = 0; i < states_of(j); i++) {
        const size_t at = part_at(j, i, first);
        FLIP_TRY(flip_layout_receive_wrap(j->layout, forward, state->host + at, values));
        mirror_send(j->tape, state, at, values);
    }
    return FLIP_OK;
}

static flip_status wrap_around(const recurrent *j, int32_t ticket, bool forward,
                               const mirror *state, int64_t first, int64_t n) {
    const size_t values = (size_t)(n * j->hidden);
    for (int i = 0; i < states_of(j); i++) {
        const size_t at = part_at(j, i, first);
        mirror_receive(j->tape, state, at, values);
        FLIP_TRY(flip_layout_send_wrap(j->layout, ticket, forward, state->host + at, values));
    }
    return FLIP_OK;
}

/* NCCL's messages follow each other in one order, in which none may wait for a later block: there
 * the whole state of a layer goes round when both ends have come to the next block (backward: the
 * one before). The end that sends has kept it; its kernels wait, too, for they write there next. */
static bool wraps_late(const recurrent *j) {
    return flip_comm_direct(j->layout->time) == FLIP_DIRECT_NCCL;
}

static flip_status wrap_late(const recurrent *j, bool forward, const flip_real *state) {
    flip_layout *l = j->layout;
    const size_t n = state_size(j, l->n_rows);
    const int32_t chunks[2] = {0, l->n_time - 1}, to = chunks[!forward], from = chunks[forward];
    if (!state || !wraps_late(j)) return FLIP_OK;
    if (l->chunk == to) return flip_layout_receive_state(l, from, forward, (flip_real *)state, n);
    if (l->chunk != from) return FLIP_OK;
    FLIP_TRY(flip_layout_send_state(l, to, forward, state, n));
    return flip_layout_state_end(l);
}

/* ---- forward ---- */

static flip_status forward_local(flip_tape *tape, record *r, recurrent *j) {
    const int64_t rows = j->rows;
    recurrent_set_state(j, (flip_real *)tape_carry_state(tape, r), rows, (flip_real **)j->begin);
    recurrent_set_state(j, tape_carry_next(tape, r), rows, j->end);
    for (int i = 0; i < 2 && r->in[i] != FLIP_VAR_NONE; i++)
        j->x[i] = tape_in(tape, r, i)->value;
    j->y = tape_out(tape, r)->value;
    return recurrent_forward(j, 0, rows);
}

/* The state at the block's beginning comes from the chunk before; at chunk 0 from the carry, where
 * the last chunk's state of the block before arrives when the block is run for the first time. */
static flip_status wave_begin(flip_tape *tape, recurrent *j, bool arrives, const mirror *begin,
                              int32_t first, int32_t n) {
    if (!first_chunk(tape))
        return hand_over(j, tape->layout->chunk - 1, true, false, begin, first, n);
    return arrives && !wraps_late(j) ? wrap_arrives(j, true, begin, first, n) : FLIP_OK;
}

static flip_status forward_wave(flip_tape *tape, record *r, recurrent *j) {
    flip_layout *l = tape->layout;
    int32_t rows = l->n_rows, first, n;
    const size_t state = state_size(j, rows);
    flip_real *next = tape_carry_next(tape, r), *end;
    const bool last = last_chunk(tape), anew = next != NULL;
    mirror from, to;
    if (anew && tape->block > 0) FLIP_TRY(wrap_late(j, true, tape_carry_state(tape, r)));
    recurrent_set_state(j, (flip_real *)tape_carry_state(tape, r), rows, (flip_real **)j->begin);
    if (!first_chunk(tape)) {
        FLIP_TRY(tape_save(tape, r, BEGIN, state * sizeof *end));
        recurrent_set_state(j, r->saved[BEGIN], rows, (flip_real **)j->begin);
    }
    FLIP_TRY(pool_alloc(tape->pool, &end, last ? 0 : state * sizeof *end));
    recurrent_set_state(j, last ? next : end, rows, j->end);
    FLIP_TRY(mirror_open(tape, &from, j->begin[0], state));
    FLIP_TRY(last ? tape_carry_mirror(tape, r, true, next, &to)
                  : mirror_open(tape, &to, end, state));
    for (int i = 0; i < 2 && r->in[i] != FLIP_VAR_NONE; i++)
        j->x[i] = tape_in(tape, r, i)->value;
    j->y = tape_out(tape, r)->value;
    for (int32_t s = 0; s < l->slices; s++) {
        flip_layout_slice(l, s, rows, &first, &n);
        FLIP_TRY(wave_begin(tape, j, anew && tape->block > 0, &from, first, n));
        if (last && anew) FLIP_TRY(flip_layout_wrap_end(l, ticket(tape, r, s), true));
        FLIP_TRY(recurrent_forward(j, first, n));
        if (!last)
            FLIP_TRY(hand_over(j, l->chunk + 1, true, true, &to, first, n));
        else if (anew && !tape_carry_last(tape) && !wraps_late(j))
            FLIP_TRY(wrap_around(j, ticket(tape, r, s), true, &to, first, n));
    }
    FLIP_TRY(flip_layout_state_end(l));
    mirror_close(tape, &from);
    if (!last) mirror_close(tape, &to);
    pool_free(tape->pool, end);
    return FLIP_OK;
}

/* Values of a state that this rank keeps between blocks. */
static size_t carried(const flip_tape *tape, const recurrent *j, int64_t rows) {
    if (way_of(tape) == WAVE && !first_chunk(tape) && !last_chunk(tape)) return 0;
    return state_size(j, rows);
}

static flip_status recurrent_record_forward(flip_tape *tape, record *r) {
    int64_t rows = work_rows(tape, r), cells = rows * work_steps(tape, r);
    int32_t hidden = tape_out(tape, r)->dim;
    FLIP_TRY(tape_output(tape, r, -1));
    if (r->recorded && !tape->recompute)
        FLIP_TRY(tape_save(tape, r, GATES,
                           (size_t)(cells * hidden * (is_gru(r) ? 3 : 4)) * sizeof(flip_real)));
    if (r->recorded && !(is_gru(r) && tape->recompute))
        FLIP_TRY(tape_save(tape, r, CELLS, (size_t)(cells * hidden) * sizeof(flip_real)));
    recurrent j = work_of(tape, r);
    FLIP_TRY(tape_carry(tape, r, carried(tape, &j, rows)));
    FLIP_TRY(recurrent_open(&j, false));
    flip_status status = way_of(tape) == LOCAL   ? forward_local(tape, r, &j)
                         : way_of(tape) == MOVED ? recurrent_forward_moved(tape, r, &j)
                                                 : forward_wave(tape, r, &j);
    recurrent_close(&j);
    meter(tape, &j, rows, 1);
    tape_drop_saved(tape, r);
    return status;
}

/* ---- backward ---- */

/* Where gradients of the inputs are made: in place of the inputs where nobody else reads them. */
static flip_status open_gradients(flip_tape *tape, record *r, recurrent *j) {
    for (int i = 0; i < 2 && r->in[i] != FLIP_VAR_NONE; i++) {
        target to;
        j->x[i] = tape_in(tape, r, i)->value;
        FLIP_TRY(tape_gradient_in_place(tape, r, i, &to));
        j->dx[i] = to.gradient;
        j->add[i] = to.accumulate;
    }
    return FLIP_OK;
}

static flip_status backward_local(flip_tape *tape, record *r, recurrent *j) {
    const int64_t rows = j->rows;
    recurrent_set_state(j, (flip_real *)tape_carry_state(tape, r), rows, (flip_real **)j->begin);
    recurrent_set_state(j, (flip_real *)tape_carry_gradient(tape, r), rows, (flip_real **)j->dend);
    recurrent_set_state(j, tape_carry_give(tape, r), rows, j->dbegin);
    j->y = tape_out(tape, r)->value;
    j->dy = tape_out(tape, r)->gradient;
    FLIP_TRY(open_gradients(tape, r, j));
    return recurrent_backward(j, 0, rows);
}

/* Gradients of states: from the chunk behind to the one before; from chunk 0 to the last of the
 * block before, which that one's backward waits for. */
static flip_status backward_wave(flip_tape *tape, record *r, recurrent *j) {
    flip_layout *l = tape->layout;
    int32_t rows = l->n_rows, first, n;
    const size_t state = state_size(j, rows);
    const bool begins = first_chunk(tape), ends = last_chunk(tape);
    flip_real *carried_end = (flip_real *)tape_carry_gradient(tape, r), *given, *own;
    mirror from, to;
    FLIP_TRY(wrap_late(j, false, carried_end));
    given = tape_carry_give(tape, r);
    FLIP_TRY(pool_alloc(tape->pool, &own, state * sizeof *own));
    recurrent_set_state(j, ends ? carried_end : own, rows, (flip_real **)j->dend);
    recurrent_set_state(j, begins ? given : own, rows, j->dbegin);
    recurrent_set_state(j, begins ? (flip_real *)tape_carry_state(tape, r) : r->saved[BEGIN], rows,
                        (flip_real **)j->begin);
    FLIP_TRY(mirror_open(tape, &from, j->dend[0], state));
    FLIP_TRY(begins ? tape_carry_mirror(tape, r, false, given, &to)
                    : mirror_open(tape, &to, own, state));
    j->y = tape_out(tape, r)->value;
    j->dy = tape_out(tape, r)->gradient;
    FLIP_TRY(open_gradients(tape, r, j));
    for (int32_t s = 0; s < l->slices; s++) {
        flip_layout_slice(l, s, rows, &first, &n);
        if (!ends)
            FLIP_TRY(hand_over(j, l->chunk + 1, false, false, &from, first, n));
        else if (carried_end && !wraps_late(j))
            FLIP_TRY(wrap_arrives(j, false, &from, first, n));
        if (begins) FLIP_TRY(flip_layout_wrap_end(l, ticket(tape, r, s), false));
        FLIP_TRY(recurrent_backward(j, first, n));
        if (!begins)
            FLIP_TRY(hand_over(j, l->chunk - 1, false, true, &to, first, n));
        else if (given && tape->block > 0 && !wraps_late(j))
            FLIP_TRY(wrap_around(j, ticket(tape, r, s), false, &to, first, n));
    }
    FLIP_TRY(flip_layout_state_end(l));
    mirror_close(tape, &from);
    if (!begins) mirror_close(tape, &to);
    pool_free(tape->pool, own);
    return FLIP_OK;
}

static flip_status recurrent_record_backward(flip_tape *tape, record *r) {
    recurrent j = work_of(tape, r);
    for (int i = 0; i < 2; i++) {
        j.dweight[i] = tape_weight_gradient(tape, r->param[WX + i]);
        if (r->param[BX + i] != FLIP_PARAM_NONE)
            j.dbias[i] = tape_weight_gradient(tape, r->param[BX + i]);
    }
    FLIP_TRY(recurrent_open(&j, true));
    flip_status status = way_of(tape) == LOCAL   ? backward_local(tape, r, &j)
                         : way_of(tape) == MOVED ? recurrent_backward_moved(tape, r, &j)
                                                 : backward_wave(tape, r, &j);
    recurrent_close(&j);
    meter(tape, &j, work_rows(tape, r), j.gates ? 2 : 3);
    return status;
}

/* ---- the operators: where rows were moved, what was moved is kept instead ---- */

#define RECURRENT(row_name, words, saved)                                                          \
    const operator_row row_name = {.name = words,                                                  \
                                   .stage = FLIP_STAGE_RECURRENT,                                  \
                                   .inputs = 1,                                                    \
                                   .saves = saved,                                                 \
                                   .decodes = DECODES_IN1 | DECODES_ON_HOST,                       \
                                   .carries = true,                                                \
                                   .shape = recurrent_shape,                                       \
                                   .forward = recurrent_record_forward,                            \
                                   .backward = recurrent_record_backward}
RECURRENT(op_lstm, "lstm", SAVES_IN0 | SAVES_IN1 | SAVES_OUT);
RECURRENT(op_lstm_moved, "lstm", 0);
RECURRENT(op_gru, "gru", SAVES_IN0 | SAVES_IN1 | SAVES_OUT);
RECURRENT(op_gru_moved, "gru", 0);

flip_var flip_lstm(flip_tape *tape, flip_var x, flip_var x2, flip_param wx, flip_param wh,
                   flip_param b) {
    record r = tape_record(way_of(tape) == MOVED ? OP_LSTM_MOVED : OP_LSTM);
    r.in[0] = x;
    r.in[1] = x2;
    r.param[WX] = wx;
    r.param[WH] = wh;
    r.param[BX] = b;
    return tape_apply(tape, &r);
}

flip_var flip_gru(flip_tape *tape, flip_var x, flip_var x2, flip_param wx, flip_param wh,
                  flip_param bx, flip_param bh) {
    record r = tape_record(way_of(tape) == MOVED ? OP_GRU_MOVED : OP_GRU);
    r.in[0] = x;
    r.in[1] = x2;
    r.param[WX] = wx;
    r.param[WH] = wh;
    r.param[BX] = bx;
    r.param[BH] = bh;
    return tape_apply(tape, &r);
}
