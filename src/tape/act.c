/* Dropout's keys and draws, and the epilogue that applies a record's act. */
#include "internal.h"

/* Keys of a timeline's rows; made anew where they change. */
static flip_status timeline_keys(flip_tape *tape, int32_t rows, int32_t steps, int32_t timeline,
                                 int32_t first) {
    if (tape->key && tape->key_rows == rows && tape->key_steps == steps && tape->key_first == first)
        return FLIP_OK;
    flip_tape_let_go(tape, tape->key);
    flip_free(tape->key);
    tape->key = NULL;
    FLIP_TRY(flip_alloc(&tape->key, (size_t)rows * (size_t)steps, sizeof(int64_t), "dropout keys"));
    tape->key_rows = rows;
    tape->key_steps = steps;
    tape->key_first = first;
    for (int64_t i = 0; i < rows; i++)
        for (int32_t t = 0; t < steps; t++)
            tape->key[i * steps + t] =
                (tape->given_key ? tape->given_key[i] : i) * timeline + first + t;
    const bool stays = !tape->layout || tape->layout->n_blocks == 1; /* from pass to pass */
    const size_t bytes = (size_t)rows * (size_t)steps * sizeof *tape->key;
    return stays ? flip_tape_hold(tape, tape->key, bytes) : FLIP_OK;
}

/* The keys in the host's memory. */
static flip_status find_keys(flip_tape *tape, int32_t rows, int32_t steps, const int64_t **key) {
    if (tape->batch_key) {
        *key = tape->batch_key;
        return rows <= tape->n_batch && steps == 1
                   ? FLIP_OK
                   : FLIP_FAIL(FLIP_ERROR_INTERNAL,
                               "dropout on %d rows of %d steps of a batch with keys for %d", rows,
                               steps, tape->n_batch);
    }
    if (tape->given_key && rows != tape->n_own)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "dropout on %d rows with keys for %d", rows,
                         tape->n_own);
    int32_t timeline = steps, first = 0;
    if (tape->layout) {
        timeline = tape->layout->n_steps;
        first = flip_layout_first(tape->layout, tape->block);
        if (steps != flip_layout_steps(tape->layout, tape->block))
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "dropout on %d steps; this block has %d here",
                             steps, flip_layout_steps(tape->layout, tape->block));
    }
    *key = tape->given_key;
    if (timeline == 1 && tape->given_key) return FLIP_OK;
    FLIP_TRY(timeline_keys(tape, rows, steps, timeline, first));
    *key = tape->key;
    return FLIP_OK;
}

flip_status tape_keys(flip_tape *tape, int32_t rows, int32_t steps, const int64_t **key) {
    const int64_t *host = NULL;
    FLIP_TRY(find_keys(tape, rows, steps, &host));
    return tape_reach(tape, host, (size_t)rows * (size_t)steps * sizeof *host, key);
}

uint64_t tape_draw(flip_tape *tape) {
    const uint64_t most = 1 << FLIP_EPOCH_DRAWS;
    return (uint64_t)tape->epoch << FLIP_EPOCH_DRAWS | (tape->n_draws++ % most);
}

flip_status tape_epilogue(flip_tape *tape, record *r, flip_epilogue *e) {
    variable *out = tape_out(tape, r);
    if (!tape->training) r->act.dropout = 0;
    e->relu = r->act.relu;
    e->dropout = r->act.dropout;
    if (e->dropout > 0) {
        r->draw = tape_draw(tape);
        e->seed = tape->seed;
        e->draw = r->draw;
        FLIP_TRY(tape_keys(tape, out->rows, out->steps, &e->key));
    }
    if (r->recorded && (e->relu || e->dropout > 0)) {
        FLIP_TRY(
            pool_alloc(tape->pool, &r->bits, (size_t)rows_of(out) * (size_t)((out->dim + 7) / 8)));
        e->relu_bits = r->bits;
    }
    return FLIP_OK;
}

flip_status tape_act_in_place(flip_tape *tape, record *r, const flip_real *bias) {
    variable *out = tape_out(tape, r);
    flip_epilogue e = {.bias = bias};
    FLIP_TRY(tape_epilogue(tape, r, &e));
    flip_meter_begin(tape->meter, FLIP_STAGE_POINTWISE);
    tape->kernels->epilogue(rows_of(out), out->dim, out->value, out->dim, &e);
    flip_meter_end(tape->meter);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, (uint64_t)size_of(out) * 2 * sizeof(flip_real), 0);
    return FLIP_OK;
}
