/* Features of a batch out of the store: --cache-bytes and --hot. Then a batch reads all its rows
 * side by side, since own rows may be in the cache or not. */
#include "train/batch.h"

#include <string.h>

/* Epochs drawn to find what is hot: one alone leaves most counts at 0 or 1. They are none of
 * training's, which begin with 1; draws of non-edges have 24 bits for theirs. What is expected
 * without drawing counts as FORESEEN times as many more. */
enum { DRAWN = 4, DRAWN_FIRST = 0xFFFF00, FORESEEN = 4 };

/* An epoch's items as training has them: links have other non-edges in each. */
static flip_status begin_epoch(flip_batching *b, flip_data *data, int64_t epoch) {
    if (data->s.task == FLIP_TASK_LINK)
        FLIP_TRY(flip_data_sample(data, FLIP_PART_TRAIN, (uint64_t)epoch));
    return flip_batch_epoch(b, data, epoch);
}

/* How often an own node is a seed of an epoch's batches, of all ranks. */
static flip_status count_seeds(flip_batching *b, flip_data *data, double *seed) {
    memset(seed, 0, (size_t)data->n_own * sizeof *seed);
    flip_batch_slot *slot = b->pipe.slot;
    FLIP_TRY(begin_epoch(b, data, DRAWN_FIRST));
    for (int64_t k = 0; k < b->order.n_batches; k++) {
        FLIP_TRY(flip_batch_seeds(b, slot, data, k));
        flip_batch seeds = {.n_input = slot->n_seeds, .input = slot->seed};
        FLIP_TRY(flip_sampler_count(b->sampler, &seeds, seed));
    }
    return FLIP_OK;
}

/* What is expected of an epoch without drawing: readings of rows, bytes that lists save. */
static flip_status foresee(flip_batching *b, flip_data *data, double *heat, double *saved) {
    double *seed = NULL;
    flip_status status =
        flip_alloc(&seed, (size_t)data->n_own, sizeof *seed, "how often nodes are seeds");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(count_seeds(b, data, seed));
    double batches = (double)b->order.n_batches;
    for (int32_t v = 0; v < data->n_own; v++)
        seed[v] /= batches;
    FLIP_TRY_GOTO(flip_sampler_expect(b->sampler, seed, heat, saved));
    for (int32_t v = 0; v < data->n_own; v++) {
        heat[v] *= batches;
        saved[v] *= batches;
    }
done:
    flip_free(seed);
    return status;
}

/* How often a row is read in epochs drawn beforehand without training (GNNLab, EuroSys'22). */
static flip_status presample(flip_batching *b, flip_data *data, double *heat) {
    flip_batch_slot *slot = b->pipe.slot;
    memset(heat, 0, (size_t)data->n_own * sizeof *heat);
    for (int64_t epoch = DRAWN_FIRST; epoch < DRAWN_FIRST + DRAWN; epoch++) {
        FLIP_TRY(begin_epoch(b, data, epoch));
        for (int64_t k = 0; k < b->order.n_batches; k++) {
            FLIP_TRY(flip_batch_draw(b, slot, data, epoch, k));
            FLIP_TRY(flip_sampler_count(b->sampler, slot->batch, heat));
        }
    }
    for (int32_t v = 0; v < data->n_own; v++)
        heat[v] /= DRAWN;
    return FLIP_OK;
}

/* How many nodes would read it: its out-degree. */
static flip_status out_degrees(const flip_data *data, double *heat) {
    flip_real *degree = NULL;
    flip_status status = flip_alloc(&degree, (size_t)data->n_own, 2 * sizeof *degree, "degrees");
    status = flip_comm_agree(data->comm, status);
    if (status == FLIP_OK) status = flip_graph_degrees(data->graph, &data->events, 1, degree);
    for (int32_t v = 0; status == FLIP_OK && v < data->n_own; v++)
        heat[v] = (double)degree[2 * v + 1];
    flip_free(degree);
    return status;
}

bool flip_batch_stored(const flip_data *data) {
    return data->s.cache_bytes > 0 || (data->packed.packing && flip_comm_size(data->comm) > 1);
}

/* Heat of rows as --hot wants it, and what lists save; room: [3, n_own]. */
static flip_status find_heat(flip_batching *b, flip_data *data, double **heat, double **saved,
                             double *room) {
    *heat = room;
    *saved = room + data->n_own;
    if (data->s.hot == FLIP_HOT_DEGREE) return out_degrees(data, *heat);
    FLIP_TRY(foresee(b, data, *heat, *saved));
    if (data->s.hot == FLIP_HOT_EXPECTED) return FLIP_OK;
    double *expected = *heat;
    *heat = room + 2 * (size_t)data->n_own;
    FLIP_TRY(presample(b, data, *heat));
    FLIP_TRY(flip_heat_smooth(data->comm, data->n_own, *heat, expected, FORESEEN));
    for (int32_t v = 0; v < data->n_own; v++)
        (*heat)[v] /= 1 + FORESEEN; /* of one epoch, as saved */
    return FLIP_OK;
}

/* Lists of neighbours take their part of the budget. The degree says nothing of what they save. */
static flip_status keep_lists(flip_batching *b, const flip_data *data, flip_store_params *p,
                              size_t stride, const double *saved) {
    flip_status status;
    size_t n = (size_t)data->n_own;
    uint8_t *keep = NULL;
    int64_t *bytes = NULL;
    uint64_t index = p->anywhere ? flip_store_index_bytes(data->info->n_nodes) : 0;
    if (flip_comm_size(data->comm) == 1 || data->s.hot == FLIP_HOT_DEGREE) return FLIP_OK;
    flip_budget_params budget = {.bytes = p->cache_bytes > index ? p->cache_bytes - index : 0,
                                 .n = data->n_own,
                                 .stride = stride,
                                 .heat = p->heat,
                                 .saved = saved};
    status = flip_alloc(&keep, n, sizeof *keep, "lists that are kept");
    if (status == FLIP_OK) status = flip_alloc(&bytes, n, sizeof *bytes, "lists that are kept");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    for (int32_t v = 0; v < data->n_own; v++)
        bytes[v] = (int64_t)flip_sampler_list_bytes(b->sampler, v);
    budget.list_bytes = bytes;
    FLIP_TRY_GOTO(flip_budget_split(keep, &p->cache_bytes, data->comm, &budget));
    p->cache_bytes += (uint64_t)data->s.cache_bytes - budget.bytes; /* the index is the rows' */
    status = flip_sampler_keep(b->sampler, keep);
done:
    flip_free(keep);
    flip_free(bytes);
    return status;
}

flip_status flip_batch_store_create(flip_batching *b, flip_data *data) {
    flip_status status;
    double *room = NULL, *heat = NULL, *saved = NULL;
    const flip_settings *s = &data->s;
    if (!flip_batch_stored(data)) return FLIP_OK;
    flip_store_params p = {
        .rank_first = data->rank_first,
        .codec = data->packed.packing ? flip_graph_codec(data->graph) : NULL,
        .dim = data->in_dim * (int32_t)(sizeof(flip_real) / sizeof(float)), /* bytes alone count */
        .rows = data->packed.packing ? data->packed.codes : (const uint8_t *)data->features,
        .cache_bytes = (uint64_t)s->cache_bytes};
    size_t stride = data->packed.packing ? data->packed.packing->stride
                                         : (size_t)data->in_dim * sizeof(flip_real);
    p.part_first = flip_graph_part_first(data->graph, &p.n_parts);
    if (s->cache_bytes == 0) return flip_store_create(&b->store, data->comm, &p);
    /* parts are in the order of their degrees; a file that nobody cut is in no order */
    p.anywhere = s->hot != FLIP_HOT_DEGREE || data->info->n_parts == 0;
    status = flip_alloc(&room, 3 * (size_t)data->n_own, sizeof *room, "heat of rows");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(find_heat(b, data, &heat, &saved, room));
    p.heat = heat;
    FLIP_TRY_GOTO(keep_lists(b, data, &p, stride, saved));
    status = flip_store_create(&b->store, data->comm, &p);
done:
    flip_free(room);
    return status;
}

flip_status flip_batch_store_fetch(flip_batching *b, const flip_batch *batch, void *rows) {
    FLIP_TRY(flip_store_fetch_begin(b->store, batch->n_input, batch->input, rows));
    return flip_store_fetch_end(b->store);
}

flip_store_use flip_batching_store(const flip_batching *b) {
    if (!b) return (flip_store_use){0};
    flip_store_use use = {.sampler = flip_sampler_counted(b->sampler)};
    use.cache_bytes = (int64_t)use.sampler.list_bytes;
    if (!b->store) return use;
    use.counts = flip_store_counted(b->store);
    use.cached_rows = flip_store_cached_rows(b->store);
    use.cache_bytes += (int64_t)flip_store_cache_bytes(b->store);
    return use;
}
