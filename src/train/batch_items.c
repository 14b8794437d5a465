/* Items of an epoch — labelled nodes, true pairs with their non-edges — and the seeds of a batch.
 */
#include "graph/internal.h"
#include "train/batch.h"

#include <stdlib.h>
#include <string.h>

/* ---- items ---- */

/* Node tasks: own labelled nodes; key: their original ids. */
static flip_status node_items(flip_batching *b, const flip_data *data, int64_t **key) {
    const uint8_t *mask = data->mask[FLIP_PART_TRAIN];
    int64_t n = 0;
    for (int32_t v = 0; v < data->n_own; v++)
        n += mask[v];
    b->n_items = n;
    FLIP_TRY(flip_alloc(&b->item, (size_t)n, sizeof *b->item, "seeds"));
    FLIP_TRY(flip_alloc(key, (size_t)n, sizeof **key, "seeds"));
    n = 0;
    for (int32_t v = 0; v < data->n_own; v++) {
        if (!mask[v]) continue;
        (*key)[n] = data->original[v];
        b->item[n++] = v;
    }
    return FLIP_OK;
}

/* Link prediction: the true pairs of the set, each with the non-edges behind it; key: the pair's.
 */
static flip_status pair_items(flip_batching *b, const flip_data *data, int64_t **key) {
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    int64_t n = 0, n_nodes = data->info->n_nodes, most;
    if (__builtin_mul_overflow(n_nodes, n_nodes, &most) ||
        __builtin_mul_overflow(most, (int64_t)data->steps, &most))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "%lld nodes squared times %d steps overflow 64 bits",
                         (long long)n_nodes, data->steps);
    for (int64_t i = 0; i < set->n; i++)
        n += set->label[i];
    b->n_items = n;
    flip_free(b->item);
    FLIP_TRY(flip_alloc(&b->item, (size_t)n + 1, sizeof *b->item, "seeds"));
    FLIP_TRY(flip_alloc(key, (size_t)n, sizeof **key, "seeds"));
    n = 0;
    for (int64_t i = 0; i < set->n; i++) {
        if (!set->label[i]) continue;
        (*key)[n] =
            (set->u_original[i] * n_nodes + set->v_original[i]) * data->steps + set->step[i];
        b->item[n++] = i;
    }
    b->item[n] = set->n;
    return FLIP_OK;
}

static bool on_pairs(const flip_data *data) {
    return data->s.task == FLIP_TASK_LINK;
}

/* Collective. */
static flip_status order_items(flip_batching *b, const flip_data *data) {
    int64_t *key = NULL, batch = strtoll(data->s.batch, NULL, 10);
    flip_status status = flip_comm_agree(data->comm, on_pairs(data) ? pair_items(b, data, &key)
                                                                    : node_items(b, data, &key));
    flip_batches_finish(&b->order);
    if (status == FLIP_OK)
        status = flip_batches_create(&b->order, data->comm, b->n_items, key, batch);
    flip_free(key);
    return status;
}

flip_status flip_batch_items(flip_batching *b, const flip_data *data) {
    return on_pairs(data) ? FLIP_OK : order_items(b, data); /* pairs are drawn each epoch */
}

flip_status flip_batch_epoch(flip_batching *b, const flip_data *data, int64_t epoch) {
    if (on_pairs(data)) FLIP_TRY(order_items(b, data));
    return flip_comm_agree(data->comm,
                           flip_batches_shuffle(&b->order, (uint64_t)data->s.seed, epoch));
}

/* ---- seeds of a batch ---- */

void flip_batch_seeds_finish(flip_batch_slot *slot) {
    flip_free(slot->seed);
    flip_free(slot->original);
    flip_free(slot->step);
    flip_free(slot->label);
    flip_free(slot->target);
    flip_free(slot->end);
    slot->seed = slot->end = NULL;
    slot->original = NULL;
    slot->step = NULL;
    slot->label = NULL;
    slot->target = NULL;
}

/* Room for n items, with some to spare: the shares of a rank differ little. */
static flip_status make_room(flip_batch_slot *slot, const flip_data *data, size_t n) {
    size_t dim = (size_t)data->n_classes, ends = on_pairs(data) ? 2 : 1;
    if (slot->seed && n <= slot->room) return FLIP_OK;
    flip_batch_seeds_finish(slot);
    slot->room = n + n / 8;
    FLIP_TRY(flip_alloc(&slot->seed, ends * slot->room, sizeof *slot->seed, "seeds of a batch"));
    FLIP_TRY(
        flip_alloc(&slot->original, ends * slot->room, sizeof *slot->original, "seeds of a batch"));
    FLIP_TRY(flip_alloc(&slot->label, slot->room, sizeof *slot->label, "labels of a batch"));
    if (data->steps > 1)
        FLIP_TRY(
            flip_alloc(&slot->step, ends * slot->room, sizeof *slot->step, "steps of a batch"));
    if (on_pairs(data))
        return flip_alloc(&slot->end, 2 * slot->room, sizeof *slot->end, "pairs of a batch");
    if (!data->target) return FLIP_OK;
    return flip_alloc(&slot->target, slot->room * dim, sizeof *slot->target, "targets of a batch");
}

static flip_status node_seeds(const flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                              int64_t k) {
    int64_t first = b->order.first[k], n = b->order.first[k + 1] - first;
    flip_gid own = data->rank_first[flip_comm_rank(data->comm)];
    size_t dim = (size_t)data->n_classes;
    FLIP_TRY(make_room(slot, data, (size_t)n));
    for (int64_t i = 0; i < n; i++) {
        int64_t row = b->item[b->order.item[first + i]];
        slot->seed[i] = own + row;
        slot->original[i] = data->original[row];
        if (data->label) slot->label[i] = data->label[row];
        if (data->target)
            memcpy(slot->target + (size_t)i * dim, data->target + (size_t)row * dim,
                   dim * sizeof *slot->target);
    }
    slot->n_seeds = (int32_t)n;
    return FLIP_OK;
}

/* The row of a pair's end among the seeds, a new one where it is none yet. Embeddings of a step
 * read the events up to it: those before the next. */
static flip_status add_end(flip_batch_slot *slot, flip_gid_map *seen, const flip_data *data,
                           flip_gid id, int64_t original, int32_t step, flip_gid *end) {
    int32_t row;
    FLIP_TRY(flip_gid_map_add(seen, id * data->steps + step, &row));
    if (row == slot->n_seeds) {
        slot->seed[row] = id;
        slot->original[row] = original;
        if (slot->step) slot->step[row] = step + 1;
        slot->n_seeds++;
    }
    *end = row;
    return FLIP_OK;
}

/* Seeds are the distinct ends of the batch's pairs, each at its step; u stand in end[0 … n-1], v
 * behind them. */
static flip_status pair_seeds(const flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                              int64_t k) {
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    int64_t first = b->order.first[k], end = b->order.first[k + 1], n = 0, at = 0;
    flip_status status;
    flip_gid_map seen = {0};
    for (int64_t i = first; i < end; i++)
        n += b->item[b->order.item[i] + 1] - b->item[b->order.item[i]];
    FLIP_TRY_GOTO(flip_gid_map_init(&seen, 2 * (size_t)n));
    FLIP_TRY_GOTO(make_room(slot, data, (size_t)n));
    slot->n_seeds = 0;
    for (int64_t i = first; i < end; i++)
        for (int64_t p = b->item[b->order.item[i]]; p < b->item[b->order.item[i] + 1]; p++, at++) {
            FLIP_TRY_GOTO(add_end(slot, &seen, data, set->u[p], set->u_original[p], set->step[p],
                                  &slot->end[at]));
            FLIP_TRY_GOTO(add_end(slot, &seen, data, set->v[p], set->v_original[p], set->step[p],
                                  &slot->end[n + at]));
            slot->label[at] = set->label[p];
        }
    flip_gid rows[2] = {0, slot->n_seeds};
    flip_pairs_destroy(&slot->pairs);
    status = flip_pairs_create(&slot->pairs, NULL, rows, 1, n, slot->end, slot->end + n, NULL);
done:
    flip_gid_map_finish(&seen);
    return status;
}

flip_status flip_batch_seeds(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                             int64_t k) {
    return on_pairs(data) ? pair_seeds(b, slot, data, k) : node_seeds(b, slot, data, k);
}
