/* Variables: inputs out of the host's memory, what a caller asks of them, and values that wait in
 * few bits. */
#include "internal.h"

#include "codec/groups.h"

flip_status tape_add_variable(flip_tape *tape, variable v, flip_var *out) {
    if (tape->n_vars == tape->max_vars) {
        int32_t more = tape->max_vars ? 2 * tape->max_vars : 64;
        FLIP_TRY(flip_grow(&tape->vars, (size_t)tape->n_vars, (size_t)more, sizeof(variable),
                           "tape variables"));
        tape->max_vars = more;
    }
    *out = tape->n_vars;
    tape->vars[tape->n_vars++] = v;
    return FLIP_OK;
}

flip_var flip_tape_input(flip_tape *tape, int32_t rows, int32_t steps, int32_t dim,
                         const flip_real *data, bool needs_gradient) {
    if (tape->status != FLIP_OK) return FLIP_VAR_NONE;
    flip_var x = FLIP_VAR_NONE;
    variable v = {.rows = rows,
                  .steps = steps,
                  .dim = dim,
                  .value = (flip_real *)data,
                  .input = true,
                  .needs_gradient = needs_gradient,
                  .producer = -1};
    if (rows < 0 || steps < 0 || dim < 1 || (!data && size_of(&v) > 0))
        tape->status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "input has shape [%d, %d, %d]%s", rows, steps,
                                 dim, data ? "" : " and no data");
    else
        tape->status = tape_reach(tape, data, (size_t)size_of(&v) * sizeof *data, &v.value);
    if (tape->status == FLIP_OK) tape->status = tape_add_variable(tape, v, &x);
    return tape->status == FLIP_OK ? x : FLIP_VAR_NONE;
}

void flip_tape_constant(flip_tape *tape, flip_var x, int32_t columns) {
    if (tape->status != FLIP_OK || !tape_has(tape, x) || !tape->vars[x].input) return;
    if (columns < 0 || columns > tape->vars[x].dim)
        tape->status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "%d constant columns of an input of %d",
                                 columns, tape->vars[x].dim);
    else
        tape->vars[x].constant = columns;
}

/* As many rows as there are, told by the largest index. */
static size_t rows_named(int64_t n, const int32_t *index) {
    size_t rows = 0;
    for (int64_t i = 0; i < n; i++)
        if ((size_t)index[i] >= rows) rows = (size_t)index[i] + 1;
    return rows;
}

/* Codes and keys, and their packing's tables. */
static flip_status reach_codes(flip_tape *tape, size_t n, const flip_packing **packing,
                               const uint8_t **codes, const int64_t **key) {
    FLIP_TRY(tape_reach(tape, *codes, n * (*packing)->stride, codes));
    FLIP_TRY(tape_reach(tape, *key, n * sizeof **key, key));
    return tape_packing(tape, *packing, packing);
}

/* Which row has which of the second level is worked out here: the device gets a list. */
static flip_status reach_second(flip_tape *tape, int32_t rows, flip_packed_rows *c) {
    flip_refinement *fine = &c->fine;
    const size_t n = (size_t)rows;
    int64_t *row_ptr = NULL, *ptr_there;
    int32_t *at = NULL, *at_there;
    flip_status status;
    if (!fine->packing) return FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&row_ptr, n + 1, sizeof *row_ptr, "second levels"));
    FLIP_TRY_GOTO(flip_alloc(&at, n, sizeof *at, "second levels"));
    tape_second_rows(c, 0, rows, row_ptr, at);
    FLIP_TRY_GOTO(
        reach_codes(tape, rows_named(row_ptr[n], at), &fine->packing, &fine->codes, &fine->key));
    FLIP_TRY_GOTO(pool_alloc(tape->pool, &ptr_there, (n + 1) * sizeof *row_ptr));
    FLIP_TRY_GOTO(pool_alloc(tape->pool, &at_there, n * sizeof *at));
    tape->kernels->send(ptr_there, row_ptr, (n + 1) * sizeof *row_ptr);
    tape->kernels->send(at_there, at, (size_t)row_ptr[n] * sizeof *at);
    fine->row_ptr = ptr_there;
    fine->at = at_there;
    status = FLIP_OK;
done:
    flip_free(row_ptr);
    flip_free(at);
    return status;
}

static flip_status reach_packed(flip_tape *tape, int32_t rows, flip_packed_rows *c) {
    if (!tape->kernels->on_device) return FLIP_OK;
    const size_t n = c->index ? rows_named(rows, c->index) : (size_t)rows;
    FLIP_TRY(reach_second(tape, rows, c));
    FLIP_TRY(reach_codes(tape, n, &c->packing, &c->codes, &c->key));
    return tape_reach(tape, c->index, (size_t)rows * sizeof *c->index, &c->index);
}

flip_status flip_tape_reach_packed(flip_tape *tape, int32_t rows, const flip_packed_rows *packed,
                                   flip_packed_rows *out) {
    *out = *packed;
    return reach_packed(tape, rows, out);
}

flip_var flip_tape_packed_input(flip_tape *tape, int32_t rows, const flip_packed_rows *packed) {
    if (tape->status != FLIP_OK) return FLIP_VAR_NONE;
    flip_var x = FLIP_VAR_NONE;
    variable v = {.rows = rows,
                  .steps = packed->run || packed->steps > 1 ? packed->steps : 1,
                  .dim = packed->packing->dim,
                  .input = true,
                  .coded = *packed,
                  .producer = -1};
    const bool none = rows == 0 || (packed->run && packed->n_runs == 0);
    if (rows < 0 || (!packed->codes && !none))
        tape->status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "packed input of %d rows%s", rows,
                                 packed->codes ? "" : " without codes");
    else if (packed->run ? packed->run[packed->n_runs] != rows_of(&v) || !packed->index
                         : v.steps > 1)
        tape->status =
            FLIP_FAIL(FLIP_ERROR_INTERNAL, "packed input of %d rows and %d steps in %lld runs",
                      rows, v.steps, (long long)packed->n_runs);
    else if (packed->run && tape->kernels->on_device)
        tape->status = FLIP_FAIL(FLIP_ERROR_USAGE, "packed features of several steps are read by "
                                                   "the CPU; use --device cpu");
    else
        tape->status = reach_packed(tape, rows, &v.coded);
    if (tape->status == FLIP_OK) tape->status = tape_add_variable(tape, v, &x);
    return tape->status == FLIP_OK ? x : FLIP_VAR_NONE;
}

bool flip_tape_is_packed(const flip_tape *tape, flip_var x) {
    return tape_has(tape, x) && tape->vars[x].coded.packing;
}

void flip_tape_shape(const flip_tape *tape, flip_var x, int32_t *rows, int32_t *steps,
                     int32_t *dim) {
    variable none = {.rows = 0};
    const variable *v = tape_has(tape, x) ? &tape->vars[x] : &none;
    if (rows) *rows = v->rows;
    if (steps) *steps = v->steps;
    if (dim) *dim = v->dim;
}

const flip_real *flip_tape_value(flip_tape *tape, flip_var x) {
    if (!tape_has(tape, x)) return NULL;
    const variable *v = &tape->vars[x];
    return reach_host(tape, v->value, (size_t)size_of(v) * sizeof(flip_real));
}

const flip_real *flip_tape_gradient(flip_tape *tape, flip_var x) {
    if (!tape_has(tape, x)) return NULL;
    const variable *v = &tape->vars[x];
    return reach_host(tape, v->gradient, (size_t)size_of(v) * sizeof(flip_real));
}

double flip_tape_scalar(const flip_tape *tape, flip_var loss) {
    return tape_has(tape, loss) ? tape->vars[loss].scalar : 0;
}

void tape_free_value(flip_tape *tape, variable *v) {
    if (v->input || v->kept || v->saved_by > 0) return;
    pool_free(tape->pool, v->value);
    pool_free(tape->pool, v->packed);
    v->value = NULL;
    v->packed = NULL;
}

/* ---- values that wait in few bits ---- */

/* The value is read by nobody until backward: it waits packed. A draw is keyed by the run's seed,
 * the epoch, the block and the variable, which is the same in every run. */
static void pack_value(flip_tape *tape, flip_var x) {
    variable *v = &tape->vars[x];
    if (!tape->saved_bits || !tape->recording || !v->value || v->input || v->kept ||
        v->saved_by == 0)
        return;
    flip_random4 key = flip_random(tape->seed, FLIP_STREAM_ACTIVATION,
                                   (uint64_t)tape->epoch << 24 | (uint64_t)tape->block,
                                   (uint64_t)x << 16 | (uint64_t)flip_comm_rank(tape->comm));
    tape->status =
        pool_alloc(tape->pool, &v->packed, flip_groups_bytes(size_of(v), tape->saved_bits));
    if (tape->status != FLIP_OK) return;
    flip_meter_begin(tape->meter, FLIP_STAGE_POINTWISE);
    tape->kernels->encode_groups(v->packed, v->value, size_of(v), tape->saved_bits,
                                 (uint64_t)key.v[0] << 32 | key.v[1]);
    flip_meter_end(tape->meter);
    pool_free(tape->pool, v->value);
    v->value = NULL;
}

flip_status tape_unpack(flip_tape *tape, variable *v) {
    if (!v->packed) return FLIP_OK;
    FLIP_TRY(pool_alloc(tape->pool, &v->value, (size_t)size_of(v) * sizeof(flip_real)));
    flip_meter_begin(tape->meter, FLIP_STAGE_POINTWISE);
    tape->kernels->decode_groups(v->value, v->packed, size_of(v), tape->saved_bits);
    flip_meter_end(tape->meter);
    pool_free(tape->pool, v->packed);
    v->packed = NULL;
    return FLIP_OK;
}

void flip_tape_release(flip_tape *tape, flip_var x) {
    if (!tape_has(tape, x)) return;
    tape->vars[x].released = true;
    tape_free_value(tape, &tape->vars[x]);
    if (tape->status == FLIP_OK) pack_value(tape, x);
}

void flip_tape_keep(flip_tape *tape, flip_var x) {
    if (tape_has(tape, x)) tape->vars[x].kept = true;
}
