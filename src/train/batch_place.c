/* Batches on a GPU: where the graph and the features lie there beside the model, a batch is drawn,
 * its rows are gathered and it is trained on without the host's having any of it. */
#include "train/batch.h"

#include <stdlib.h>

/* What keeps batches on the host; NULL: nothing. */
static const char *against(const flip_data *data) {
    const flip_sampler_params p = flip_batch_sampler_params(data);
    if (data->packed.fine.packing) return "which rows have a second level is worked out there";
    if (flip_batch_stored(data)) return "--cache-bytes holds rows there";
    if (data->s.prefetch > 0 && !data->s.prefetch_chosen)
        return "--prefetch is a thread that makes them";
    return flip_sampler_unplaced(&p, flip_comm_size(data->comm), data->info->n_events);
}

/* Sampler, batch and the rows of its first layer; the features are counted with all inputs. */
static size_t placed_bytes(const flip_data *data, const flip_sampler_params *p) {
    const flip_model_params model = flip_data_model_params(data);
    const int64_t seeds = flip_batch_most_seeds(data), n = data->n_own, e = data->events.n;
    const bool sums = flip_model_takes_aggregated(&model);
    const int64_t rows = flip_batch_most_rows(n, seeds, e, p, p->layers - sums);
    const size_t values = (size_t)rows * (size_t)data->in_dim * (sums ? 2 : 1);
    return flip_sampler_placed_bytes_of(n, e, data->events.weight != NULL, p) +
           flip_batch_placed_bytes_of(n, seeds, e, p) + values * sizeof(flip_real) / 8 * 9;
}

void flip_batch_estimate_place(flip_estimate *e, const flip_data *data) {
    flip_sampler_params p = flip_batch_sampler_params(data);
    e->draws_on_device = false;
    if (e->device_available == 0 || !flip_settings_batched(&data->s) || against(data)) return;
    if (flip_batch_read_fanout(&data->s, p.fanout) != FLIP_OK) return; /* refused elsewhere */
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

flip_status flip_batching_place(flip_trainer *trainer) {
    flip_batching *b = trainer->batching;
    const flip_data *data = &trainer->data;
    const size_t n = (size_t)data->n_own;
    const flip_packing *packing = data->packed.packing;
    if (!trainer->estimate.draws_on_device) return FLIP_OK;
    b->placed = trainer->kernels;
    b->tape = trainer->tape;
    FLIP_TRY(flip_sampler_place(b->sampler, b->placed));
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
    FLIP_TRY(flip_tape_lend(b->tape, slot->rows.x, bytes));
    return b->aggregates ? flip_tape_lend(b->tape, slot->rows.aggregated, bytes) : FLIP_OK;
}
