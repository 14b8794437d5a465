/* From the node layout, in which the file is read, to the time layout, in which models and losses
 * work: features, labels, masks, targets and pairs, block after block. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* ---- the layout ---- */

bool flip_data_pieces(const flip_data *data) {
    return data->s.protocol == FLIP_PROTOCOL_WINDOWS || data->s.protocol == FLIP_PROTOCOL_LIVE;
}

/* work [steps]: entries of the snapshots of all ranks, and a row each. Collective. */
static flip_status step_work(const flip_data *data, double *work) {
    const flip_events *events = &data->events;
    int64_t stay = data->s.edge_life + data->s.window - 1;
    for (int32_t t = 0; t < data->steps; t++)
        work[t] = 0;
    for (int64_t e = 0; e < events->n; e++) {
        int64_t t = events->step ? events->step[e] : 0;
        work[t] += 1;
        if (t + stay < data->steps) work[t + stay] -= 1;
    }
    for (int32_t t = 1; t < data->steps; t++)
        work[t] += work[t - 1];
    for (int32_t t = 0; t < data->steps; t++)
        work[t] += data->n_own;
    return flip_comm_sum_f64(data->comm, work, (size_t)data->steps);
}

static flip_status make_layout(flip_data *data) {
    int32_t first = (int32_t)data->s.first_step;
    double *work;
    FLIP_TRY(flip_alloc(&work, (size_t)data->steps, sizeof *work, "work of steps"));
    flip_status status = step_work(data, work);
    flip_layout_params params = {.n_time = data->n_time,
                                 .n_steps = data->steps,
                                 .first_step = first,
                                 .n_blocks = flip_data_pieces(data) ? data->steps - first
                                                                    : (int32_t)data->s.blocks,
                                 .exchange = data->exchange,
                                 .work = work};
    if (status == FLIP_OK)
        status = flip_layout_create(&data->layout, data->comm, data->rank_first, data->original,
                                    &params);
    flip_free(work);
    return status;
}

/* ---- rows of nodes ---- */

bool flip_data_same_rows(const flip_layout *l) {
    return l->n_time == 1 && l->n_blocks == 1 && l->block_first[0] == 0;
}

/* Rows of `bytes` in the node layout, [n_own, steps], to an array of the time layout, which takes
 * the place of *owned (a pointer; NULL where the rows are borrowed). */
static flip_status deal(const flip_data *data, void *owned, const void *rows, size_t bytes) {
    void **place = owned, *out;
    if (!rows || flip_data_same_rows(data->layout)) return FLIP_OK;
    FLIP_TRY(flip_alloc(&out, (size_t)flip_data_rows(data), bytes, "rows of this rank's steps"));
    flip_status status = flip_layout_deal_rows(data->layout, rows, bytes, false, out);
    if (status != FLIP_OK) {
        flip_free(out);
        return status;
    }
    flip_free(*place);
    *place = out;
    return FLIP_OK;
}

static flip_status place_nodes(flip_data *data) {
    FLIP_TRY(flip_data_place_inputs(data));
    FLIP_TRY(deal(data, &data->label, data->label, sizeof *data->label));
    FLIP_TRY(
        deal(data, &data->target_owned, data->target, (size_t)data->n_classes * sizeof(flip_real)));
    if (data->target_owned) data->target = data->target_owned;
    for (int p = 0; p < FLIP_PARTS; p++)
        FLIP_TRY(deal(data, &data->mask[p], data->mask[p], 1));
    return FLIP_OK;
}

/* train_items, and train_blocks: blocks of validation and test at the end of the timeline need no
 * walk in training. Under a wavefront they do: a block's states travel to the next; and TM-GCN's
 * first layer, kept from the first walk on, is kept of all blocks or of none: a block's band reads
 * the one before. */
static flip_status find_train_blocks(flip_data *data) {
    const flip_layout *l = data->layout;
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    const uint8_t *mask = data->mask[FLIP_PART_TRAIN];
    const flip_links *links = &data->links;
    int64_t *items;
    int32_t block;
    FLIP_TRY(flip_alloc_zero(&data->train_items, (size_t)l->n_blocks, sizeof *items, "items"));
    items = data->train_items;
    for (int32_t k = 0; k < l->n_blocks; k++) {
        if (set->first) items[k] += set->first[set->piece[k + 1]] - set->first[set->piece[k]];
        for (int64_t i = flip_data_block_row(data, k); mask && i < flip_data_block_row(data, k + 1);
             i++)
            items[k] += mask[i];
    }
    for (int64_t i = 0; i < links->n; i++) {
        if (links->part[i] != FLIP_PART_TRAIN) continue;
        flip_layout_chunk_of(l, links->target[i] - data->lead, &block);
        items[block]++;
    }
    FLIP_TRY(flip_comm_sum_i64(data->comm, items, (size_t)l->n_blocks));
    data->train_blocks = l->n_blocks;
    if ((l->n_time > 1 && l->exchange == FLIP_EXCHANGE_WAVEFRONT) ||
        (data->s.precompute && data->s.window > 1))
        return FLIP_OK;
    while (data->train_blocks > 1 && !items[data->train_blocks - 1])
        data->train_blocks--;
    return FLIP_OK;
}

flip_status flip_data_place(flip_data *data) {
    FLIP_TRY(make_layout(data));
    FLIP_TRY(place_nodes(data));
    if (data->pairs) FLIP_TRY(flip_data_place_pairs(data));
    FLIP_TRY(flip_data_check_items(data));
    FLIP_TRY(find_train_blocks(data));
    FLIP_TRY(flip_data_class_weights(data));
    return flip_data_loss_total(data);
}

/* ---- the loss's denominator, which blocks must know beforehand ---- */

static double weight(const flip_data *data, int32_t label) {
    return data->class_weight ? data->class_weight[label] : 1;
}

flip_status flip_data_loss_total(flip_data *data) {
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    const uint8_t *mask = data->mask[FLIP_PART_TRAIN];
    int64_t rows = flip_data_rows(data), dim = data->n_classes;
    double total = 0;
    data->loss_total = 0;
    if (data->layout->n_blocks == 1 || flip_data_pieces(data)) return FLIP_OK;
    for (int64_t i = 0; data->label && i < rows; i++)
        if (mask[i]) total += weight(data, data->label[i]);
    for (int64_t i = 0; data->target && i < rows * dim; i++)
        total += mask[i / dim] && !isnan((double)data->target[i]);
    for (int64_t i = 0; i < set->n; i++)
        total += weight(data, set->label[i]);
    FLIP_TRY(flip_comm_sum_f64(data->comm, &total, 1));
    data->loss_total = total;
    return FLIP_OK;
}

/* ---- the graph ---- */

flip_status flip_data_block(flip_data *data, int32_t block, const flip_adjacency **adjacency) {
    flip_meter *meter = flip_comm_meter(data->comm);
    *adjacency = data->adjacency;
    if (data->snapshots) {
        flip_meter_begin(meter, FLIP_STAGE_ADJACENCY);
        const flip_status status = flip_snapshots_block(data->snapshots, block, adjacency);
        flip_meter_end(meter);
        FLIP_TRY(status);
    }
    if ((*adjacency)->plan) data->halo_rows[block] = flip_plan_rows_sent((*adjacency)->plan);
    return FLIP_OK;
}
