/* Items of an epoch — labelled nodes at their steps, labelled events, true pairs with their
 * non-edges — and the seeds of a batch. */
#include "graph/internal.h"
#include "train/batch.h"

#include <stdlib.h>
#include <string.h>

/* ---- items ---- */

flip_batch_kind flip_batch_kind_of(const flip_data *data) {
    return data->s.task == FLIP_TASK_LINK   ? FLIP_BATCH_LINKS
           : data->s.task == FLIP_TASK_EDGE ? FLIP_BATCH_EDGES
                                            : FLIP_BATCH_NODES;
}

static flip_status check_product(const flip_data *data, int64_t other, int64_t steps) {
    int64_t product = data->info->n_nodes;
    if (!__builtin_mul_overflow(product, other, &product) &&
        !__builtin_mul_overflow(product, steps, &product))
        return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "%lld nodes times %lld times %lld overflow the 64 bits that batches number "
                     "their items by",
                     (long long)data->info->n_nodes, (long long)other, (long long)steps);
}

static flip_status alloc_items(flip_batching *b, int64_t n, int64_t **key) {
    b->n_items = n;
    flip_free(b->item);
    FLIP_TRY(flip_alloc(&b->item, (size_t)n + 1, sizeof *b->item, "seeds"));
    return flip_alloc(key, (size_t)n, sizeof **key, "seeds");
}

/* Own nodes at the steps at which they are trained on; key: the same of original ids. */
static flip_status node_items(flip_batching *b, const flip_data *data, int64_t **key) {
    const uint8_t *mask = data->mask[FLIP_PART_TRAIN];
    const int32_t steps = data->steps, first = data->layout->block_first[0];
    int64_t n = 0, rows = flip_data_rows(data);
    for (int64_t i = 0; i < rows; i++)
        n += mask[i];
    FLIP_TRY(check_product(data, 1, steps));
    FLIP_TRY(alloc_items(b, n, key));
    n = 0;
    for (int32_t v = 0; v < data->n_own; v++)
        for (int32_t t = first; t < steps; t++) {
            if (!mask[flip_data_row_of(data, v, t)]) continue;
            (*key)[n] = data->original[v] * steps + t;
            b->item[n++] = (int64_t)v * steps + t;
        }
    return FLIP_OK;
}

/* A labelled event; two that are alike in all of this may change places. */
typedef struct event {
    int64_t u, v; /* original ids */
    int32_t step, label;
    int64_t at; /* in the set */
} event;

static int by_end(const void *a, const void *b) {
    const event *x = a, *y = b;
    if (x->v != y->v) return x->v < y->v ? -1 : 1;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    if (x->u != y->u) return x->u < y->u ? -1 : 1;
    return (x->label > y->label) - (x->label < y->label);
}

/* The labelled events of the set; key: the event's number among those of its destination, all of
 * which are here. */
static flip_status edge_items(flip_batching *b, const flip_data *data, int64_t **key) {
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    const int64_t most = data->info->n_events;
    event *sorted;
    FLIP_TRY(check_product(data, most, 1));
    FLIP_TRY(alloc_items(b, set->n, key));
    FLIP_TRY(flip_alloc(&sorted, (size_t)set->n, sizeof *sorted, "order of events"));
    for (int64_t i = 0; i < set->n; i++)
        sorted[i] = (event){.u = set->u_original[i],
                            .v = set->v_original[i],
                            .step = set->step[i],
                            .label = set->label[i],
                            .at = i};
    qsort(sorted, (size_t)set->n, sizeof *sorted, by_end);
    for (int64_t i = 0, first = 0; i < set->n; i++) {
        if (sorted[i].v != sorted[first].v) first = i;
        (*key)[sorted[i].at] = sorted[i].v * most + (i - first);
    }
    for (int64_t i = 0; i <= set->n; i++)
        b->item[i] = i;
    flip_free(sorted);
    return FLIP_OK;
}

/* Link prediction: the true pairs of the set, each with the non-edges behind it; key: the pair's.
 */
static flip_status link_items(flip_batching *b, const flip_data *data, int64_t **key) {
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    int64_t n = 0, n_nodes = data->info->n_nodes;
    FLIP_TRY(check_product(data, n_nodes, data->steps));
    for (int64_t i = 0; i < set->n; i++)
        n += set->label[i];
    FLIP_TRY(alloc_items(b, n, key));
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
    return flip_batch_kind_of(data) != FLIP_BATCH_NODES;
}

static flip_status make_items(flip_batching *b, const flip_data *data, int64_t **key) {
    switch (flip_batch_kind_of(data)) {
    case FLIP_BATCH_NODES:
        return node_items(b, data, key);
    case FLIP_BATCH_EDGES:
        return edge_items(b, data, key);
    default:
        return link_items(b, data, key);
    }
}

/* Collective. */
static flip_status order_items(flip_batching *b, const flip_data *data) {
    int64_t *key = NULL, batch = strtoll(data->s.batch, NULL, 10);
    flip_status status = flip_comm_agree(data->comm, make_items(b, data, &key));
    flip_batches_finish(&b->order);
    if (status == FLIP_OK)
        status = flip_batches_create(&b->order, data->comm, b->n_items, key, batch);
    flip_free(key);
    return status;
}

flip_status flip_batch_items(flip_batching *b, const flip_data *data) {
    return flip_batch_kind_of(data) == FLIP_BATCH_LINKS ? FLIP_OK : order_items(b, data);
}

flip_status flip_batch_epoch(flip_batching *b, const flip_data *data, int64_t epoch) {
    if (flip_batch_kind_of(data) == FLIP_BATCH_LINKS) FLIP_TRY(order_items(b, data));
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
        int64_t item = b->item[b->order.item[first + i]], node = item / data->steps;
        int32_t step = (int32_t)(item % data->steps);
        int64_t row = flip_data_row_of(data, node, step);
        slot->seed[i] = own + node;
        slot->original[i] = data->original[node];
        if (slot->step) slot->step[i] = step + 1; /* events up to the step are read */
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
