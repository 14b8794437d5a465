/* Features of a batch: rows of other ranks are asked of their owners; the first layer's sum reads
 * own rows where they stand, or all rows side by side where the layer wants them so. On a timeline
 * a row is a node at a step. */
#include "train/batch.h"

#include <string.h>

void flip_batch_rows_finish(flip_batch_rows *rows, const flip_kernels *placed) {
    void (*give_back)(void *) = placed ? placed->give_back : flip_free;
    give_back(rows->input);
    give_back(rows->self);
    give_back(rows->aggregated);
    give_back(rows->key);
    flip_free(rows->codes);
    flip_free(rows->fine.at);
    flip_free(rows->fine.id);
    flip_free(rows->fine.key);
    flip_free(rows->fine.codes);
    *rows = (flip_batch_rows){0};
}

flip_status flip_batch_room(void *pointer, size_t *room, int64_t n, size_t bytes) {
    if (*(void **)pointer && (size_t)n <= *room) return FLIP_OK;
    flip_free(*(void **)pointer);
    *(void **)pointer = NULL;
    *room = (size_t)n + (size_t)n / 8;
    return flip_alloc(pointer, *room, bytes, "features of a batch");
}

/* n items of `size` bytes in the memory where batches lie; there `room` counts bytes. */
static flip_status make_items(const flip_batching *b, void *items, size_t *room, int64_t n,
                              size_t size) {
    size_t bytes = (size_t)n * size;
    if (!b->placed) return flip_batch_room(items, room, n, size);
    if (bytes > *room) bytes += bytes / 8;
    return flip_kernels_reserve(b->placed, items, room, bytes, "features of a batch");
}

static flip_status make_room(const flip_batching *b, flip_real **rows, size_t *room, int64_t n,
                             int32_t dim) {
    return make_items(b, rows, room, n, (size_t)dim * sizeof **rows);
}

static const flip_kernels *kernels_of(const flip_batching *b) {
    return b->placed ? b->placed : flip_kernels_get();
}

/* ---- rows of other ranks ---- */

static int owner_of(const flip_data *data, flip_gid id) {
    return flip_owner_in(data->rank_first, flip_comm_size(data->comm), id);
}

/* What travels for one batch. */
typedef struct talk {
    int64_t *to, *from; /* [size] rows asked for and given */
    int32_t *place;     /* [n] of a question, the row it is for */
    int32_t *asked, *received;
    int64_t n, n_received;
    size_t bytes; /* of a row: numbers, or codes */
    char *given, *rows;
} talk;

/* The batch's rows know the step behind theirs (sample.h: events before it are drawn). */
static int32_t step_of(const flip_batch *batch, int32_t i) {
    return batch->step ? batch->step[i] - 1 : 0;
}

/* An own node's numbers, or codes, at a step. */
static void copy_row(const flip_data *data, int64_t node, int32_t step, void *to) {
    const size_t stride = data->packed.packing ? data->packed.packing->stride : 0;
    flip_runs runs = flip_data_code_runs(data);
    if (stride > 0)
        memcpy(to, data->packed.codes + (size_t)flip_runs_row(&runs, node, step) * stride, stride);
    else if (data->steps > 1)
        flip_data_row(data, node, step, to);
    else
        memcpy(to, data->features + node * data->in_dim, (size_t)data->in_dim * sizeof(flip_real));
}

/* Own rows of the input, `bytes` each, to where they belong among all [n_input]. */
static void copy_own(const flip_data *data, const flip_batch *batch, void *rows, size_t bytes) {
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < batch->n_input; i++) {
        flip_gid own = batch->input[i] - first;
        if (own < 0 || own >= data->n_own) continue;
        copy_row(data, own, step_of(batch, i), (char *)rows + (size_t)i * bytes);
    }
}

/* Questions, by owner: rows of the owner, step beside step. Own ids of the input are left out. */
static flip_status make_questions(talk *t, const flip_data *data, const flip_batch *batch) {
    const int32_t n_input = batch->n_input;
    const flip_gid *input = batch->input;
    size_t size = (size_t)flip_comm_size(data->comm);
    int rank = flip_comm_rank(data->comm);
    int64_t *at;
    FLIP_TRY(flip_alloc_zero(&t->to, 3 * size, sizeof *t->to, "rows of a batch"));
    t->from = t->to + size;
    at = t->from + size;
    for (int32_t i = 0; i < n_input; i++)
        t->to[owner_of(data, input[i])]++;
    t->to[rank] = 0;
    for (size_t r = 0; r < size; r++) {
        at[r] = t->n;
        t->n += t->to[r];
    }
    FLIP_TRY(flip_alloc(&t->asked, (size_t)t->n, sizeof *t->asked, "rows of a batch"));
    FLIP_TRY(flip_alloc(&t->place, (size_t)t->n, sizeof *t->place, "rows of a batch"));
    for (int32_t i = 0; i < n_input; i++) {
        int owner = owner_of(data, input[i]);
        if (owner == rank) continue;
        t->place[at[owner]] = i;
        t->asked[at[owner]++] =
            (int32_t)(input[i] - data->rank_first[owner]) * data->steps + step_of(batch, i);
    }
    return FLIP_OK;
}

static flip_status give(talk *t, const flip_data *data) {
    int32_t steps = data->steps;
    FLIP_TRY(flip_alloc(&t->given, (size_t)t->n_received, t->bytes, "rows of a batch"));
    FLIP_TRY(flip_alloc(&t->rows, (size_t)t->n, t->bytes, "rows of a batch"));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->n_received; i++)
        copy_row(data, t->received[i] / steps, t->received[i] % steps,
                 t->given + (size_t)i * t->bytes);
    return FLIP_OK;
}

/* rows [n_input] of `bytes`: those of other ranks are filled. Collective. */
static flip_status fetch_remote(flip_batching *b, const flip_data *data, const flip_batch *batch,
                                void *rows, size_t bytes) {
    flip_status status;
    talk t = {.bytes = bytes};
    if (flip_comm_size(data->comm) == 1) return FLIP_OK;
    FLIP_TRY_GOTO(make_questions(&t, data, batch));
    FLIP_TRY_GOTO(flip_comm_deal(b->comm, &t.received, &t.n_received, t.from, t.asked, t.to,
                                 sizeof *t.asked));
    FLIP_TRY_GOTO(give(&t, data));
    FLIP_TRY_GOTO(flip_comm_all_to_all(b->comm, t.given, t.from, t.rows, t.to, bytes));
    b->meter->bytes[FLIP_BYTES_REMOTE_FEATURES] += (uint64_t)t.n_received * bytes;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t.n; i++)
        memcpy((char *)rows + (size_t)t.place[i] * bytes, (char *)t.rows + (size_t)i * bytes,
               bytes);
done:
    flip_free(t.to);
    flip_free(t.place);
    flip_free(t.asked);
    flip_free(t.received);
    flip_free(t.given);
    flip_free(t.rows);
    return status;
}

/* ---- rows of the first layer ---- */

enum { AHEAD = 4 }; /* rows that are asked for before they are copied */

/* Rows by number, of own nodes and behind them of `input`. */
static void gather(flip_real *out, int64_t n, const int32_t *column, const flip_data *data,
                   const flip_real *input) {
    int32_t dim = data->in_dim, n_own = data->n_own;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int32_t c = column[i];
        if (i + AHEAD < n && column[i + AHEAD] < n_own) {
            const char *next = (const char *)(data->features + (int64_t)column[i + AHEAD] * dim);
            for (size_t b = 0; b < (size_t)dim * sizeof(flip_real); b += 64)
                __builtin_prefetch(next + b);
        }
        const flip_real *row =
            c < n_own ? data->features + (int64_t)c * dim : input + (int64_t)(c - n_own) * dim;
        memcpy(out + i * dim, row, (size_t)dim * sizeof *out);
    }
}

static flip_status decode(const flip_batching *b, const flip_packed_rows *packed, int64_t n,
                          const int32_t *index, flip_real *out) {
    flip_packed_rows rows = *packed;
    rows.index = index;
    return flip_packed_rows_decode(&rows, kernels_of(b), 0, n, out);
}

/* What mfg[0]'s sums are made of. */
typedef struct summing {
    const flip_real *x, *far; /* plain: rows, and behind them others */
    flip_packed_rows packed;
} summing;

static flip_status aggregate(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                             const summing *of) {
    const flip_adjacency *g = &slot->batch->mfg[0].adjacency;
    int32_t n = slot->batch->mfg[0].n_dst, dim = data->in_dim;
    flip_batch_rows *r = &slot->rows;
    uint64_t read =
        of->packed.packing ? of->packed.packing->stride : (size_t)dim * sizeof(flip_real);
    FLIP_TRY(make_room(b, &r->aggregated, &r->room[2], n, dim));
    flip_meter *meter = b->meter;
    flip_meter_begin(meter, FLIP_STAGE_AGGREGATE);
    flip_status status = FLIP_OK;
    if (of->packed.packing)
        status = flip_packed_rows_sum(&of->packed, kernels_of(b), &g->a, r->aggregated);
    else
        kernels_of(b)->spmm(&g->a, NULL, n, dim, r->aggregated, of->x, of->far, false);
    flip_meter_end(meter);
    meter->traffic[FLIP_STAGE_AGGREGATE] +=
        (uint64_t)g->a.n_entries * read + (uint64_t)n * (uint64_t)dim * sizeof(flip_real);
    meter->flops[FLIP_STAGE_AGGREGATE] += 2 * (uint64_t)g->a.n_entries * (uint64_t)dim;
    return status;
}

/* ---- the ways a batch gets its rows ---- */

/* Own rows where they stand, others as they come. Packed ones stand all here, on one rank. */
static flip_status fetch_in_place(flip_batching *b, flip_batch_slot *slot, const flip_data *data) {
    const flip_batch *batch = slot->batch;
    int32_t n = batch->mfg[0].n_dst, dim = data->in_dim;
    flip_batch_rows *r = &slot->rows;
    FLIP_TRY(make_room(b, &r->self, &r->room[1], n, dim));
    r->x = r->self;
    if (data->packed.packing) {
        FLIP_TRY(decode(b, &data->packed, n, batch->column, r->self));
        return aggregate(b, slot, data, &(summing){.packed = data->packed});
    }
    FLIP_TRY(make_room(b, &r->input, &r->room[0], batch->n_input, dim));
    FLIP_TRY(fetch_remote(b, data, batch, r->input, (size_t)dim * sizeof *r->input));
    gather(r->self, n, batch->column, data, r->input);
    return aggregate(b, slot, data, &(summing){.x = data->features, .far = r->input});
}

/* Rows of the GPU's own features. */
static flip_status fetch_placed(flip_batching *b, flip_batch_slot *slot, const flip_data *data) {
    const flip_batch *batch = slot->batch;
    const int32_t n = b->aggregates ? batch->mfg[0].n_dst : batch->n_input;
    flip_batch_rows *r = &slot->rows;
    summing of = {0};
    FLIP_TRY(flip_batching_reach(b, data, &of.x, &of.packed));
    FLIP_TRY(make_room(b, &r->self, &r->room[1], n, data->in_dim));
    r->x = r->self;
    if (of.packed.packing)
        FLIP_TRY(decode(b, &of.packed, n, batch->column, r->self));
    else
        b->placed->gather_rows(n, data->in_dim, r->self, data->in_dim, batch->column, of.x, NULL);
    return b->aggregates ? aggregate(b, slot, data, &of) : FLIP_OK;
}

/* Rows of its timeline. */
static flip_status fetch_placed_steps(flip_batching *b, flip_batch_slot *slot,
                                      const flip_data *data) {
    const flip_batch *batch = slot->batch;
    flip_batch_rows *r = &slot->rows;
    FLIP_TRY(make_room(b, &r->input, &r->room[0], batch->n_input, data->in_dim));
    FLIP_TRY(make_items(b, &r->key, &r->room[4], batch->n_input, sizeof *r->key));
    FLIP_TRY(flip_batching_gather(b, batch, data, r->input, r->key));
    r->x = r->input; /* the destinations' rows are the first */
    return b->aggregates ? aggregate(b, slot, data, &(summing){.x = r->input}) : FLIP_OK;
}

/* All rows side by side. */
static flip_status fetch_side_by_side(flip_batching *b, flip_batch_slot *slot,
                                      const flip_data *data) {
    const flip_batch *batch = slot->batch;
    flip_batch_rows *r = &slot->rows;
    size_t bytes = (size_t)data->in_dim * sizeof *r->input;
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    FLIP_TRY(make_room(b, &r->input, &r->room[0], batch->n_input, data->in_dim));
    r->x = r->input;
    if (data->packed.packing) { /* on one rank */
        int32_t *row = NULL;
        FLIP_TRY(flip_alloc(&row, (size_t)batch->n_input, sizeof *row, "rows of a batch"));
        for (int32_t i = 0; i < batch->n_input; i++)
            row[i] = (int32_t)(batch->input[i] - first);
        flip_status status = decode(b, &data->packed, batch->n_input, row, r->input);
        flip_free(row);
        return status;
    }
    FLIP_TRY(fetch_remote(b, data, batch, r->input, bytes));
    copy_own(data, batch, r->input, bytes);
    /* the destinations' rows are the first */
    return b->aggregates ? aggregate(b, slot, data, &(summing){.x = r->input}) : FLIP_OK;
}

/* Out of the store. */
static flip_status fetch_stored(flip_batching *b, flip_batch_slot *slot, const flip_data *data) {
    flip_batch_rows *r = &slot->rows;
    FLIP_TRY(make_room(b, &r->input, &r->room[0], slot->batch->n_input, data->in_dim));
    FLIP_TRY(flip_batch_store_fetch(b, slot, data, r->input));
    r->x = r->input; /* the destinations' rows are the first */
    return b->aggregates ? aggregate(b, slot, data, &(summing){.x = r->input}) : FLIP_OK;
}

/* Packed rows side by side, out of the store where there is one, decoded where they are read. */
static flip_status fetch_codes(flip_batching *b, flip_batch_slot *slot, const flip_data *data) {
    const flip_batch *batch = slot->batch;
    int32_t n = b->aggregates ? batch->mfg[0].n_dst : batch->n_input;
    size_t stride = data->packed.packing->stride;
    flip_batch_rows *r = &slot->rows;
    FLIP_TRY(flip_batch_room(&r->codes, &r->room[3], batch->n_input, stride));
    if (b->store) {
        FLIP_TRY(flip_batch_store_fetch(b, slot, data, r->codes));
    } else {
        FLIP_TRY(fetch_remote(b, data, batch, r->codes, stride));
        copy_own(data, batch, r->codes, stride);
    }
    FLIP_TRY(make_room(b, &r->self, &r->room[1], n, data->in_dim));
    flip_packed_rows packed = {.packing = data->packed.packing,
                               .codes = r->codes,
                               .key = batch->original,
                               .norm = data->packed.norm};
    if (b->fine)
        packed.fine = (flip_refinement){.packing = data->packed.fine.packing,
                                        .codes = r->fine.codes,
                                        .key = data->refined ? r->fine.key : batch->original,
                                        .at = r->fine.at};
    FLIP_TRY(decode(b, &packed, n, NULL, r->self));
    r->x = r->self;
    return b->aggregates ? aggregate(b, slot, data, &(summing){.packed = packed}) : FLIP_OK;
}

/* Dropout's keys are those of the whole timeline's rows. */
static flip_status make_keys(flip_batch_slot *slot, const flip_data *data) {
    const flip_batch *batch = slot->batch;
    flip_batch_rows *r = &slot->rows;
    if (!batch->step) return FLIP_OK;
    FLIP_TRY(flip_batch_room(&r->key, &r->room[4], batch->n_input, sizeof *r->key));
    for (int32_t i = 0; i < batch->n_input; i++)
        r->key[i] = batch->original[i] * data->steps + step_of(batch, i);
    return FLIP_OK;
}

flip_status flip_batch_rows_fetch(flip_batching *b, flip_batch_slot *slot, const flip_data *data) {
    flip_meter_begin(b->meter, FLIP_STAGE_FETCH);
    flip_status status =
        b->placed ? (slot->batch->step ? fetch_placed_steps : fetch_placed)(b, slot, data)
        : flip_batch_codes(data) ? fetch_codes(b, slot, data)
        : b->store               ? fetch_stored(b, slot, data)
        : b->in_place            ? fetch_in_place(b, slot, data)
                                 : fetch_side_by_side(b, slot, data);
    if (status == FLIP_OK && !b->placed) status = make_keys(slot, data);
    flip_meter_end(b->meter);
    return status;
}
