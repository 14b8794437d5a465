/* Tape: the array of records, the operator table, the walk back. */
#include "internal.h"

static const operator_row *const table[] = {
    [OP_LINEAR] = &op_linear,
    [OP_LINEAR2] = &op_linear2,
    [OP_AGGREGATE] = &op_aggregate,
    [OP_LINEAR_AGGREGATE] = &op_linear_aggregate,
    [OP_AGGREGATE_EDGES] = &op_aggregate_edges,
    [OP_MAX_POOL] = &op_max_pool,
    [OP_ATTENTION] = &op_attention,
    [OP_HEAD_MEAN] = &op_head_mean,
    [OP_BIAS] = &op_bias,
    [OP_ELU] = &op_elu,
    [OP_MASK] = &op_mask,
    [OP_ADD] = &op_add,
    [OP_SCALED_ADD] = &op_scaled_add,
    [OP_CONCAT] = &op_concat,
    [OP_FIRST_ROWS] = &op_first_rows,
    [OP_LAYER_NORM] = &op_layer_norm,
    [OP_BATCH_NORM] = &op_batch_norm,
    [OP_L2_NORMALISE] = &op_l2_normalise,
    [OP_BAND] = &op_band,
    [OP_LSTM] = &op_lstm,
    [OP_LSTM_MOVED] = &op_lstm_moved,
    [OP_GRU] = &op_gru,
    [OP_GRU_MOVED] = &op_gru_moved,
    [OP_MATRIX_LSTM] = &op_matrix_lstm,
    [OP_MATRIX_GRU] = &op_matrix_gru,
    [OP_TOPK_SUMMARY] = &op_topk_summary,
    [OP_LINEAR_STEPS] = &op_linear_steps,
    [OP_GATHER_PAIRS] = &op_gather_pairs,
    [OP_PAIR_DOT] = &op_pair_dot,
    [OP_CROSS_ENTROPY] = &op_cross_entropy,
    [OP_BINARY_CROSS_ENTROPY] = &op_binary_cross_entropy,
    [OP_SQUARED_ERROR] = &op_squared_error,
    [OP_INNER] = &op_inner,
};
_Static_assert(sizeof table / sizeof *table == OP_COUNT, "one row an operator");

/* ---- life ---- */

flip_status flip_tape_create(flip_tape **out, const flip_tape_params *params) {
    if (params->saved == FLIP_SAVED_HOST)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "saved tensors can be kept, made anew or quantised; handing them to the "
                         "host is not available yet");
    if (params->weights != FLIP_WEIGHTS_PLAIN)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "only plain weights are available: masked, "
                                           "fake-quantised and low-bit weights are not");
    const flip_kernels *k = params->kernels ? params->kernels : flip_kernels_get();
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "tape"));
    flip_tape *tape = *out;
    tape->comm = params->comm;
    tape->meter = flip_comm_meter(params->comm);
    tape->params = params->params;
    tape->seed = params->seed;
    tape->given_key = params->key;
    tape->n_own = params->n_own;
    tape->kernels = k;
    tape->bf16 = params->bf16;
    tape->recompute = params->saved != FLIP_SAVED_KEEP;
    tape->saved_bits = params->saved == FLIP_SAVED_2BIT   ? 2
                       : params->saved == FLIP_SAVED_4BIT ? 4
                       : params->saved == FLIP_SAVED_8BIT ? 8
                                                          : 0;
    tape->gemm_nn = params->bf16 ? k->gemm_nn_bf16 : k->gemm_nn;
    tape->gemm_nt = params->bf16 ? k->gemm_nt_bf16 : k->gemm_nt;
    tape->gemm_tn = params->bf16 ? k->gemm_tn_bf16 : k->gemm_tn;
    tape->product_size = params->bf16 ? 2 : sizeof(flip_real);
    flip_status status = pool_create(&tape->pool, "activations", k);
    if (status == FLIP_OK) status = reach_create(&tape->reach);
    if (status == FLIP_OK) status = mirrors_create(&tape->mirrors, k);
    if (status == FLIP_OK && tape->params) status = flip_params_place(tape->params, k);
    if (status != FLIP_OK) flip_tape_destroy(out);
    return status;
}

void flip_tape_destroy(flip_tape **tape) {
    if (!*tape) return;
    reach_destroy(&(*tape)->reach, (*tape)->kernels);
    mirrors_destroy(&(*tape)->mirrors);
    (*tape)->kernels->give_back((*tape)->late_sums);
    pool_destroy(&(*tape)->pool);
    flip_free((*tape)->vars);
    flip_free((*tape)->records);
    flip_free((*tape)->key);
    flip_free(*tape);
    *tape = NULL;
}

void flip_tape_trim(flip_tape *tape) {
    pool_trim(tape->pool);
}

void flip_tape_reset(flip_tape *tape, bool training, int64_t epoch) {
    reach_reset(tape->reach);
    pool_reset(tape->pool);
    tape->n_vars = tape->n_records = 0;
    tape->n_draws = 0;
    tape->status = FLIP_OK;
    tape->training = tape->recording = training;
    tape->epoch = epoch;
    tape->layout = NULL;
    tape->carry = NULL;
    tape->block = tape->n_slots = 0;
    tape->batch_key = NULL;
    tape->n_batch = 0;
}

void flip_tape_block(flip_tape *tape, flip_layout *layout, flip_carry *carry, int32_t block,
                     bool recorded) {
    tape->layout = layout;
    tape->carry = carry;
    tape->block = block;
    tape->recording = tape->training && recorded;
}

void flip_tape_batch(flip_tape *tape, const int64_t *key, int32_t n) {
    tape->batch_key = key;
    tape->n_batch = n;
}

flip_status flip_tape_status(const flip_tape *tape) {
    return tape->status;
}

size_t flip_tape_peak(const flip_tape *tape) {
    return pool_peak(tape->pool);
}

/* ---- what operators call ---- */

record tape_record(op op) {
    record r = {.op = op, .out = FLIP_VAR_NONE};
    for (int i = 0; i < MAX_INPUTS; i++)
        r.in[i] = FLIP_VAR_NONE;
    for (int i = 0; i < MAX_PARAMS; i++)
        r.param[i] = FLIP_PARAM_NONE;
    return r;
}

flip_status tape_output(flip_tape *tape, record *r, int from) {
    variable *out = tape_out(tape, r);
    if (from >= 0) {
        variable *in = tape_in(tape, r, from);
        bool twice = r->in[0] == r->in[1];
        if (!in->input && !in->kept && !twice && in->saved_by == 0) {
            out->value = in->value;
            in->value = NULL;
            return FLIP_OK;
        }
    }
    size_t bytes = (size_t)size_of(out) * sizeof(flip_real);
    FLIP_TRY(pool_alloc(tape->pool, &out->value, bytes));
    if (from >= 0) tape->kernels->copy(out->value, tape_in(tape, r, from)->value, bytes);
    return FLIP_OK;
}

flip_status tape_save(flip_tape *tape, record *r, int slot, size_t bytes) {
    return pool_alloc(tape->pool, &r->saved[slot], bytes);
}

flip_status tape_gradient(flip_tape *tape, record *r, int i, target *to) {
    variable *in = tape_in(tape, r, i);
    *to = (target){.gradient = NULL};
    if (!in->needs_gradient) return FLIP_OK;
    to->accumulate = in->gradient != NULL;
    to->last = --in->readers == 0;
    if (!in->gradient)
        FLIP_TRY(pool_alloc(tape->pool, &in->gradient, (size_t)size_of(in) * sizeof(flip_real)));
    to->gradient = in->gradient;
    return FLIP_OK;
}

flip_status tape_gradient_in_place(flip_tape *tape, record *r, int i, target *to) {
    variable *in = tape_in(tape, r, i);
    bool mine = in->saved_by == 1 && (r->read_later & (1u << i)) && !in->input && !in->kept;
    if (!in->needs_gradient || in->gradient || !mine) return tape_gradient(tape, r, i, to);
    *to = (target){.gradient = in->value, .last = --in->readers == 0};
    in->gradient = in->value;
    in->value = NULL;
    return FLIP_OK;
}

void tape_add(flip_tape *tape, const variable *shape, flip_real *y, const flip_real *x) {
    tape->kernels->scaled(rows_of(shape), shape->dim, y, shape->dim, x, shape->dim, 1, true);
}

flip_status tape_copy_gradient(flip_tape *tape, record *r, int i, int64_t m, int64_t n,
                               const flip_real *from, int64_t ld) {
    target to;
    FLIP_TRY(tape_gradient(tape, r, i, &to));
    if (to.gradient) tape->kernels->scaled(m, n, to.gradient, n, from, ld, 1, to.accumulate);
    return FLIP_OK;
}

double tape_slope(const flip_tape *tape, const record *r) {
    flip_real slope = 0;
    if (r->out == tape->loss) return 1; /* the walk begins here */
    tape->kernels->receive(&slope, tape_out(tape, r)->gradient, sizeof slope);
    return (double)slope;
}

flip_status tape_give_gradient(flip_tape *tape, record *r, int i, flip_real *from) {
    variable *in = tape_in(tape, r, i);
    if (in->needs_gradient && !in->gradient) {
        in->readers--;
        in->gradient = from;
        return FLIP_OK;
    }
    target to;
    FLIP_TRY(tape_gradient(tape, r, i, &to));
    if (to.gradient) tape_add(tape, in, to.gradient, from);
    pool_free(tape->pool, from);
    return FLIP_OK;
}

flip_status tape_pass_gradient(flip_tape *tape, record *r, int i) {
    flip_real *gradient = tape_out(tape, r)->gradient;
    tape_out(tape, r)->gradient = NULL;
    return tape_give_gradient(tape, r, i, gradient);
}

void tape_done_with(flip_tape *tape, record *r, int i) {
    if (!(r->read_later & (1u << i))) return;
    r->read_later &= (uint8_t) ~(1u << i);
    variable *in = tape_in(tape, r, i);
    in->saved_by--;
    /* later readers have walked back already; earlier ones still count */
    if (in->saved_by == 0) tape_free_value(tape, in);
}

void tape_drop_saved(flip_tape *tape, record *r) {
    for (int i = 0; !r->recorded && i < MAX_SAVED; i++) {
        pool_free(tape->pool, r->saved[i]);
        r->saved[i] = NULL;
    }
}

const flip_real *tape_weight(const flip_tape *tape, flip_param p) {
    if (p == FLIP_PARAM_NONE) return NULL;
    int64_t offset;
    flip_params_shape(tape->params, p, NULL, NULL, &offset);
    return flip_params_placed_values(tape->params) + offset;
}

double *tape_weight_gradient(const flip_tape *tape, flip_param p) {
    int64_t offset;
    flip_params_shape(tape->params, p, NULL, NULL, &offset);
    return flip_params_placed_gradients(tape->params) + offset;
}

/* The same where the values stay on the device; `more` joins them there, so that it counts as it
 * does on the host. */
static flip_status sum_placed(flip_tape *tape, flip_comm *comm, double *values, size_t n,
                              double *more) {
    const flip_kernels *k = tape->kernels;
    double *all;
    if (!more) return flip_comm_sum_placed(comm, values, n);
    FLIP_TRY(pool_alloc(tape->pool, &all, (n + 1) * sizeof *all));
    k->copy(all, values, n * sizeof *all);
    k->send(all + n, more, sizeof *more);
    flip_status status = flip_comm_sum_placed(comm, all, n + 1);
    k->copy(values, all, n * sizeof *all);
    k->receive(more, all + n, sizeof *more);
    pool_free(tape->pool, all);
    return status;
}

flip_status tape_sum_ranks(flip_tape *tape, flip_comm *comm, double *values, size_t n,
                           double *more) {
    double *host;
    if (flip_comm_size(comm) == 1) return FLIP_OK;
    if (flip_comm_direct(comm)) return sum_placed(tape, comm, values, n, more);
    FLIP_TRY(flip_alloc(&host, n + 1, sizeof *host, "sums over ranks"));
    tape->kernels->receive(host, values, n * sizeof *host);
    host[n] = more ? *more : 0;
    flip_status status = flip_comm_sum_f64(comm, host, n + (more ? 1 : 0));
    if (status == FLIP_OK) tape->kernels->send(values, host, n * sizeof *host);
    if (more) *more = host[n];
    flip_free(host);
    return status;
}

flip_status shape_same(const flip_tape *tape, const record *r, shape *out) {
    const variable *x = tape_in(tape, r, 0);
    *out = (shape){x->rows, x->steps, x->dim};
    return FLIP_OK;
}

flip_status shape_equal(const flip_tape *tape, const record *r, shape *out) {
    const variable *x = tape_in(tape, r, 0), *y = tape_in(tape, r, 1);
    if (x->rows != y->rows || x->steps != y->steps || x->dim != y->dim)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "[%d, %d, %d] and [%d, %d, %d] have no sum", x->rows,
                         x->steps, x->dim, y->rows, y->steps, y->dim);
    return shape_same(tape, r, out);
}

void tape_traffic(flip_tape *tape, flip_stage stage, uint64_t bytes, uint64_t flops) {
    if (!tape->meter) return;
    tape->meter->traffic[stage] += bytes;
    tape->meter->flops[stage] += flops;
}

/* ---- forward: one record ---- */

static flip_status check_inputs(const flip_tape *tape, const record *r) {
    const operator_row *row = table[r->op];
    for (int i = 0; i < MAX_INPUTS; i++) {
        if (r->in[i] == FLIP_VAR_NONE && i >= row->inputs) continue;
        if (!tape_has(tape, r->in[i]))
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%s: input %d does not exist", row->name, i);
        bool coded = tape_in(tape, r, i)->coded.packing != NULL;
        if (coded && !(row->decodes & (1u << i)))
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "packed features cannot enter '%s'; train on the file they were made "
                             "from",
                             row->name);
        if (coded && tape->kernels->on_device && (row->decodes & DECODES_ON_HOST))
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "packed features enter '%s' on the CPU alone; use --device cpu",
                             row->name);
        if (coded && tape->kernels->on_device && tape_in(tape, r, i)->coded.norm)
            return FLIP_FAIL(FLIP_ERROR_USAGE, "packed features are normalised on the CPU alone; "
                                               "use --device cpu");
        if (!coded && !tape_in(tape, r, i)->value && size_of(tape_in(tape, r, i)) > 0)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%s: input %d was released", row->name, i);
    }
    return FLIP_OK;
}

static bool wants_gradient(const flip_tape *tape, const record *r) {
    for (int i = 0; i < MAX_INPUTS; i++)
        if (r->in[i] != FLIP_VAR_NONE && tape_in(tape, r, i)->needs_gradient) return true;
    for (int i = 0; i < MAX_PARAMS; i++)
        if (r->param[i] != FLIP_PARAM_NONE) return true;
    return false;
}

static flip_status add_record(flip_tape *tape, const record *r) {
    if (tape->n_records == tape->max_records) {
        int32_t more = tape->max_records ? 2 * tape->max_records : 64;
        FLIP_TRY(flip_grow(&tape->records, (size_t)tape->n_records, (size_t)more, sizeof(record),
                           "tape records"));
        tape->max_records = more;
    }
    tape->records[tape->n_records++] = *r;
    return FLIP_OK;
}

/* Count what backward will read and which gradients will come. */
static void count_readers(flip_tape *tape, record *r) {
    const operator_row *row = table[r->op];
    for (int i = 0; i < MAX_INPUTS; i++) {
        if (r->in[i] == FLIP_VAR_NONE) continue;
        variable *in = tape_in(tape, r, i);
        in->readers++;
        if (!(row->saves & (1u << i))) continue;
        in->saved_by++;
        r->read_later |= (uint8_t)(1u << i);
    }
    if (row->saves & SAVES_OUT) tape_out(tape, r)->saved_by++;
}

static flip_status apply(flip_tape *tape, record *r) {
    const operator_row *row = table[r->op];
    shape s;
    FLIP_TRY(check_inputs(tape, r));
    FLIP_TRY(row->shape(tape, r, &s));
    r->recorded = tape->recording && wants_gradient(tape, r);
    variable out = {.rows = s.rows,
                    .steps = s.steps,
                    .dim = s.dim,
                    .needs_gradient = r->recorded,
                    .producer = r->recorded ? tape->n_records : -1};
    FLIP_TRY(tape_add_variable(tape, out, &r->out));
    flip_meter_begin(tape->meter, row->stage);
    flip_status status = row->forward(tape, r);
    flip_meter_end(tape->meter);
    if (status == FLIP_OK && !row->acts && (r->act.relu || r->act.dropout > 0))
        status = tape_act_in_place(tape, r, NULL);
    if (status != FLIP_OK || !r->recorded) return status;
    count_readers(tape, r);
    return add_record(tape, r);
}

flip_var tape_apply(flip_tape *tape, record *r) {
    if (tape->status != FLIP_OK) return FLIP_VAR_NONE;
    tape->status = apply(tape, r);
    return tape->status == FLIP_OK ? r->out : FLIP_VAR_NONE;
}

/* ---- backward: the walk ---- */

/* What r's backward will read is there as numbers. */
static flip_status unpack_saved(flip_tape *tape, const record *r) {
    for (int i = 0; i < MAX_INPUTS; i++)
        if (r->read_later & (1u << i)) FLIP_TRY(tape_unpack(tape, tape_in(tape, r, i)));
    return table[r->op]->saves & SAVES_OUT ? tape_unpack(tape, tape_out(tape, r)) : FLIP_OK;
}

/* Bytes that layers have put aside for the walk back: values and records' own. The loss is walked
 * back at once and keeps nothing for long. */
static size_t saved_now(const flip_tape *tape) {
    size_t bytes = 0;
    for (int32_t i = 0; i < tape->n_vars; i++) {
        const variable *v = &tape->vars[i];
        if (v->saved_by == 0 || v->input) continue;
        bytes += pool_size(tape->pool, v->packed ? (void *)v->packed : v->value);
    }
    for (int32_t i = 0; i < tape->n_records; i++) {
        const record *r = &tape->records[i];
        if (table[r->op]->stage == FLIP_STAGE_LOSS) continue;
        bytes += pool_size(tape->pool, r->bits);
        for (int k = 0; k < MAX_SAVED; k++)
            bytes += pool_size(tape->pool, r->saved[k]);
    }
    return bytes;
}

size_t flip_tape_saved(const flip_tape *tape) {
    return tape->saved_bytes;
}

/* What r kept and made goes back to the pool. */
static void leave_record(flip_tape *tape, record *r) {
    variable *out = tape_out(tape, r);
    for (int i = 0; i < MAX_INPUTS; i++)
        if (r->in[i] != FLIP_VAR_NONE) tape_done_with(tape, r, i);
    for (int i = 0; i < MAX_SAVED; i++) {
        pool_free(tape->pool, r->saved[i]);
        r->saved[i] = NULL;
    }
    pool_free(tape->pool, r->bits);
    r->bits = NULL;
    pool_free(tape->pool, out->gradient);
    out->gradient = NULL;
    if (table[r->op]->saves & SAVES_OUT) out->saved_by--;
    tape_free_value(tape, out);
}

static flip_status walk_record(flip_tape *tape, record *r) {
    variable *out = tape_out(tape, r);
    const operator_row *row = table[r->op];
    if (!out->gradient && row->carries && tape_carry_gradient(tape, r)) { /* the next block's */
        FLIP_TRY(pool_alloc(tape->pool, &out->gradient, (size_t)size_of(out) * sizeof(flip_real)));
        tape->kernels->clear(out->gradient, (size_t)size_of(out) * sizeof(flip_real));
    }
    if (!out->gradient) return FLIP_OK; /* no path to the loss */
    if (r->bits && !r->masked) {
        flip_meter_begin(tape->meter, FLIP_STAGE_POINTWISE);
        tape->kernels->mask_bits(rows_of(out), out->dim, out->gradient, out->gradient, r->bits,
                                 (flip_real)(1 / (1 - r->act.dropout)));
        flip_meter_end(tape->meter);
        tape_traffic(tape, FLIP_STAGE_POINTWISE, (uint64_t)size_of(out) * 2 * sizeof(flip_real), 0);
    }
    tape_free_value(tape,
                    out); /* its readers have walked back; an operator that reads it has saved it */
    FLIP_TRY(unpack_saved(tape, r));
    flip_meter_begin(tape->meter, row->stage);
    flip_status status = row->backward(tape, r);
    flip_meter_end(tape->meter);
    return status;
}

flip_status flip_tape_backward(flip_tape *tape, flip_var loss) {
    if (tape->status != FLIP_OK) return tape->status;
    if (!tape->recording ||
        (loss != FLIP_VAR_NONE && (!tape_has(tape, loss) || size_of(&tape->vars[loss]) != 1)))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "backward starts at the loss of a recorded pass");
    tape->loss = loss;
    size_t saved = saved_now(tape);
    if (saved > tape->saved_bytes) tape->saved_bytes = saved;
    if (loss != FLIP_VAR_NONE && tape->vars[loss].needs_gradient) {
        variable *end = &tape->vars[loss];
        const bool knows =
            end->producer >= 0 && table[tape->records[end->producer].op]->stage == FLIP_STAGE_LOSS;
        FLIP_TRY(pool_alloc(tape->pool, &end->gradient, sizeof(flip_real)));
        const flip_real one = 1; /* a loss knows: tape_slope */
        if (!knows) tape->kernels->send(end->gradient, &one, sizeof one);
    }
    for (int32_t i = tape->n_records - 1; i >= 0 && tape->status == FLIP_OK; i--) {
        tape->status = walk_record(tape, &tape->records[i]);
        leave_record(tape, &tape->records[i]);
    }
    return tape->status;
}
