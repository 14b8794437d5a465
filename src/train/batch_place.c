/* Batches on a GPU: where the graph and the features lie there beside the model, a batch is drawn,
 * its rows are gathered and it is trained on without the host's having any of it. */
#include "train/batch.h"

#include <stdlib.h>

/* What keeps batches on the host; NULL: nothing. */
static const char *against(const flip_data *data) {
    flip_sampler_params p = flip_batch_sampler_params(data);
    if (flip_batch_read_fanout(&data->s, p.fanout) != FLIP_OK) return ""; /* refused elsewhere */
    if (data->packed.fine.packing) return "which rows have a second level is worked out there";
    if (flip_batch_stored(data)) return "--cache-bytes holds rows there";
    if (data->packed.packing && data->steps > 1)
        return "packed features of several steps are unpacked there";
    if (data->s.prefetch > 0 && !data->s.prefetch_chosen)
        return "--prefetch is a thread that makes them";
    return flip_sampler_unplaced(&p, flip_comm_size(data->comm), flip_batch_most_seeds(data),
                                 data->info->n_events);
}

/* Of a timeline: the features, and what a batch's rows are found by. */
static size_t steps_bytes(const flip_data *data, int64_t rows) {
    const size_t n = (size_t)data->n_own, steps = (size_t)data->steps;
    const size_t values =
        n * ((size_t)data->fixed.dim + steps * (size_t)data->moving.dim) * sizeof(flip_real);
    if (steps == 1) return 0;
    return values + 2 * steps * sizeof(int32_t) +
           (size_t)rows * (sizeof(int32_t) + sizeof(int64_t)) / 8 * 9;
}

/* Sampler, batch and the rows of its first layer; the features of one step are counted with all
 * inputs. */
static size_t placed_bytes(const flip_data *data, const flip_sampler_params *p) {
    const flip_model_params model = flip_data_model_params(data);
    const int64_t seeds = flip_batch_most_seeds(data), n = data->n_own, e = data->events.n;
    const bool sums = flip_model_takes_aggregated(&model);
    const int64_t inner = flip_batch_most_rows(n, seeds, e, p, p->layers - sums);
    const int64_t all = flip_batch_most_rows(n, seeds, e, p, p->layers);
    const size_t values =
        (size_t)((p->temporal ? all : inner) + (sums ? inner : 0)) * (size_t)data->in_dim;
    return flip_sampler_placed_bytes_of(n, e, data->events.weight != NULL, p) +
           flip_batch_placed_bytes_of(n, seeds, e, p) + values * sizeof(flip_real) / 8 * 9 +
           steps_bytes(data, all);
}

void flip_batch_estimate_place(flip_estimate *e, const flip_data *data) {
    flip_sampler_params p = flip_batch_sampler_params(data);
    e->draws_on_device = false;
    if (e->device_available == 0 || !flip_settings_batched(&data->s) || against(data)) return;
    if (flip_batch_read_fanout(&data->s, p.fanout) != FLIP_OK) return;
    const size_t more = placed_bytes(data, &p);
    if ((e->device + more) * (size_t)e->ranks_of_device > e->device_available) return;
    e->draws_on_device = true;
    e->device += more;
}

void flip_batch_settle_place(flip_trainer *trainer) {
    flip_data *data = &trainer->data;
    const flip_estimate *e = &trainer->estimate;
    if (e->device_available == 0 || !flip_settings_batched(&data->s)) return;
    const char *why = against(data);
    if (e->draws_on_device) {
        data->s.prefetch = 0; /* there is nothing that a thread would do */
        flip_data_note(data, "batches are drawn on the GPU, where graph and features lie");
    } else {
        flip_data_note(data, "batches are drawn on the CPU and sent to the GPU: %s",
                       why ? why : "it has no room for the graph beside the model");
    }
}

/* ---- a timeline's features ---- */

/* Where rows of changing columns are, step by step: starts, then widths. */
static flip_status send_step_rows(flip_placed_features *f, const flip_kernels *k,
                                  const flip_data *data) {
    const int32_t steps = data->steps, first = data->layout->block_first[0];
    int32_t *rows;
    FLIP_TRY(flip_alloc_zero(&rows, 2 * (size_t)steps, sizeof *rows, "rows of steps"));
    for (int32_t t = first; t < steps; t++) {
        rows[t] = (int32_t)flip_data_row_of(data, 0, t);
        rows[steps + t] = data->n_own > 1 ? (int32_t)flip_data_row_of(data, 1, t) - rows[t] : 0;
    }
    flip_status status = flip_kernels_copy_of(k, &f->step_rows, rows,
                                              2 * (size_t)steps * sizeof *rows, "rows of steps");
    if (status == FLIP_OK) status = k->wait();
    flip_free(rows);
    f->rows = (flip_step_rows){
        .steps = steps, .start = f->step_rows, .width = f->step_rows ? f->step_rows + steps : NULL};
    return status;
}

static flip_status send_features(flip_placed_features *f, const flip_kernels *k,
                                 const flip_data *data) {
    const size_t fixed = (size_t)data->n_own * (size_t)data->fixed.dim,
                 moving = (size_t)flip_data_rows(data) * (size_t)data->moving.dim;
    FLIP_TRY(flip_kernels_copy_of(k, &f->fixed, data->fixed.values, fixed * sizeof(flip_real),
                                  "features"));
    FLIP_TRY(flip_kernels_copy_of(k, &f->moving, data->moving.values, moving * sizeof(flip_real),
                                  "features"));
    return send_step_rows(f, k, data);
}

flip_status flip_batching_gather(flip_batching *b, const flip_batch *batch, const flip_data *data,
                                 flip_real *rows, int64_t *key) {
    const flip_kernels *k = b->placed;
    flip_placed_features *f = &b->there;
    const int64_t n = batch->n_input;
    const int32_t fixed = data->fixed.dim, moving = data->moving.dim;
    size_t bytes = moving > 0 ? (size_t)n * sizeof *f->index : 0;
    if (bytes > f->room) bytes += bytes / 8;
    FLIP_TRY(flip_kernels_reserve(k, &f->index, &f->room, bytes, "features of a batch"));
    k->find_step_rows(n, &f->rows, batch->column, batch->step, batch->original,
                      moving > 0 ? f->index : NULL, key);
    if (fixed > 0) k->gather_rows(n, fixed, rows, data->in_dim, batch->column, f->fixed, NULL);
    if (moving > 0)
        k->gather_rows(n, moving, rows + fixed, data->in_dim, f->index, f->moving, NULL);
    return FLIP_OK;
}

void flip_batching_unplace(flip_batching *b) {
    flip_placed_features *f = &b->there;
    if (!b->placed) return;
    b->placed->give_back(f->fixed);
    b->placed->give_back(f->moving);
    b->placed->give_back(f->step_rows);
    b->placed->give_back(f->index);
    *f = (flip_placed_features){0};
}

/* ---- life ---- */

flip_status flip_batching_place(flip_trainer *trainer) {
    flip_batching *b = trainer->batching;
    const flip_data *data = &trainer->data;
    const size_t n = (size_t)data->n_own;
    const flip_packing *packing = data->packed.packing;
    if (!trainer->estimate.draws_on_device) return FLIP_OK;
    b->placed = trainer->kernels;
    b->tape = trainer->tape;
    FLIP_TRY(flip_sampler_place(b->sampler, b->placed));
    if (data->steps > 1) return send_features(&b->there, b->placed, data);
    if (packing) {
        FLIP_TRY(flip_tape_hold(b->tape, data->packed.codes, n * packing->stride));
        return flip_tape_hold(b->tape, data->packed.key, n * sizeof *data->packed.key);
    }
    trainer->features = data->features; /* an evaluation finds them there */
    return flip_tape_hold(b->tape, data->features,
                          n * (size_t)data->in_dim * sizeof *data->features);
}

flip_status flip_batching_reach(flip_batching *b, const flip_data *data, const flip_real **features,
                                flip_packed_rows *packed) {
    if (data->packed.packing) {
        flip_packed_rows all = data->packed;
        all.index = NULL;
        return flip_tape_reach_packed(b->tape, data->n_own, &all, packed);
    }
    return flip_tape_reach(b->tape, data->features,
                           (size_t)data->n_own * (size_t)data->in_dim * sizeof **features,
                           features);
}

flip_status flip_batching_lend(const flip_batching *b, const flip_batch_slot *slot,
                               const flip_data *data) {
    const flip_batch *batch = slot->batch;
    const int32_t rows = b->aggregates ? batch->mfg[0].n_dst : batch->n_input;
    const size_t bytes = (size_t)rows * (size_t)data->in_dim * sizeof(flip_real);
    if (!b->placed) return FLIP_OK;
    for (int32_t l = 0; l < batch->layers; l++)
        FLIP_TRY(flip_tape_lend_adjacency(b->tape, &batch->mfg[l].adjacency));
    FLIP_TRY(flip_tape_lend(b->tape, batch->original, (size_t)rows * sizeof *batch->original));
    if (slot->rows.key)
        FLIP_TRY(flip_tape_lend(b->tape, slot->rows.key, (size_t)rows * sizeof *slot->rows.key));
    FLIP_TRY(flip_tape_lend(b->tape, slot->rows.x, bytes));
    return b->aggregates ? flip_tape_lend(b->tape, slot->rows.aggregated, bytes) : FLIP_OK;
}
