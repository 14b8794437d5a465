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
    return data->s.cache_bytes > 0 ||
           (data->packed.packing && data->steps == 1 && flip_comm_size(data->comm) > 1);
}

bool flip_batch_codes(const flip_data *data) {
    return data->packed.packing && (data->steps > 1 || flip_batch_stored(data));
}

/* Heat of rows as --hot wants it, and what lists save; room: [3, n_own] of it. */
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

/* Lists that may be kept, [n_own] bytes of each. The degree says nothing of what they save. */
static void list_bytes_of(const flip_batching *b, const flip_data *data, int64_t *bytes) {
    bool none = flip_comm_size(data->comm) == 1 || data->s.hot == FLIP_HOT_DEGREE;
    for (int32_t v = 0; v < data->n_own; v++)
        bytes[v] = none ? 0 : (int64_t)flip_sampler_list_bytes(b->sampler, v);
}

static uint64_t index_bytes(const flip_data *data, const flip_store_params *p) {
    return p->anywhere ? flip_store_index_bytes(data->info->n_nodes) : 0;
}

/* The budget between lists of neighbours, rows and their second levels (NULL = there are none). */
static flip_status split_budget(flip_batching *b, const flip_data *data, flip_store_params *p,
                                flip_store_params *fine, size_t stride, const double *saved) {
    flip_status status;
    size_t n = (size_t)data->n_own;
    uint8_t *keep = NULL;
    int64_t *bytes = NULL;
    flip_budget_shares shares;
    uint64_t all = (uint64_t)data->s.cache_bytes, index = index_bytes(data, p);
    uint64_t fine_index = fine ? index_bytes(data, fine) : 0;
    flip_budget_params budget = {.n = data->n_own,
                                 .stride = stride,
                                 .heat = p->heat,
                                 .fine_stride = fine ? data->packed.fine.packing->stride : 0,
                                 .fine_heat = fine ? fine->heat : NULL,
                                 .saved = saved};
    budget.bytes = all > index + fine_index ? all - index - fine_index : 0;
    status = flip_alloc(&keep, n, sizeof *keep, "lists that are kept");
    if (status == FLIP_OK) status = flip_alloc(&bytes, n, sizeof *bytes, "lists that are kept");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    list_bytes_of(b, data, bytes);
    budget.list_bytes = bytes;
    FLIP_TRY_GOTO(flip_budget_split(keep, &shares, data->comm, &budget));
    p->cache_bytes = shares.row_bytes + all - budget.bytes; /* the index is the rows' */
    if (fine && shares.fine_bytes > 0) {
        fine->cache_bytes = shares.fine_bytes + fine_index;
        p->cache_bytes -= fine_index;
    }
    status = flip_sampler_keep(b->sampler, keep);
done:
    flip_free(keep);
    flip_free(bytes);
    return status;
}

/* Heat of rows that are read with their second level. */
static void refined_heat(const flip_data *data, const double *heat, double *fine) {
    const int32_t *at = data->packed.fine.at;
    for (int32_t v = 0; v < data->n_own; v++)
        fine[v] = !at || at[v] >= 0 ? heat[v] : 0;
}

static flip_status create_stores(flip_batching *b, flip_data *data, const flip_store_params *p,
                                 const flip_store_params *fine) {
    FLIP_TRY(flip_store_create(&b->store, data->comm, p));
    return fine->codec ? flip_store_create(&b->fine, data->comm, fine) : FLIP_OK;
}

flip_status flip_batch_store_create(flip_batching *b, flip_data *data) {
    flip_status status;
    double *room = NULL, *heat = NULL, *saved = NULL;
    const flip_settings *s = &data->s;
    bool two = data->packed.fine.packing;
    if (!flip_batch_stored(data)) return FLIP_OK;
    flip_store_params p = {
        .rank_first = data->rank_first,
        .codec = data->packed.packing ? flip_graph_codec(data->graph) : NULL,
        .dim = data->in_dim * (int32_t)(sizeof(flip_real) / sizeof(float)), /* bytes alone count */
        .rows = data->packed.packing ? data->packed.codes : (const uint8_t *)data->features};
    size_t stride = data->packed.packing ? data->packed.packing->stride
                                         : (size_t)data->in_dim * sizeof(flip_real);
    p.part_first = flip_graph_part_first(data->graph, &p.n_parts);
    flip_store_params fine = p;
    fine.codec = two ? flip_graph_refinement_codec(data->graph) : NULL;
    fine.rows = data->packed.fine.codes;
    if (s->cache_bytes == 0) return create_stores(b, data, &p, &fine);
    /* parts are in the order of their degrees; a file that nobody cut is in no order, nor are
     * labelled nodes */
    p.anywhere = s->hot != FLIP_HOT_DEGREE || data->info->n_parts == 0;
    fine.anywhere = p.anywhere || data->refined;
    status = flip_alloc(&room, 4 * (size_t)data->n_own, sizeof *room, "heat of rows");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(find_heat(b, data, &heat, &saved, room));
    p.heat = heat;
    fine.heat = room + 3 * (size_t)data->n_own;
    refined_heat(data, heat, room + 3 * (size_t)data->n_own);
    FLIP_TRY_GOTO(split_budget(b, data, &p, two ? &fine : NULL, stride, saved));
    status = create_stores(b, data, &p, &fine);
done:
    flip_free(room);
    return status;
}

/* ---- a batch's rows ---- */

/* Which rows have a second level, by the set that all ranks know. */
static flip_status find_refined(flip_batch_slot *slot, const flip_data *data) {
    const flip_batch *batch = slot->batch;
    flip_batch_rows *r = &slot->rows;
    int64_t n = batch->n_input;
    FLIP_TRY(flip_batch_room(&r->fine.at, &r->fine.room[0], n, sizeof *r->fine.at));
    FLIP_TRY(flip_batch_room(&r->fine.id, &r->fine.room[1], n, sizeof *r->fine.id));
    FLIP_TRY(flip_batch_room(&r->fine.key, &r->fine.room[2], n, sizeof *r->fine.key));
    r->fine.n = 0;
    for (int64_t i = 0; i < n; i++) {
        flip_gid id = batch->input[i];
        bool in = data->refined[id >> 6] >> (id & 63) & 1;
        r->fine.at[i] = in ? r->fine.n : -1;
        if (!in) continue;
        r->fine.id[r->fine.n] = id;
        r->fine.key[r->fine.n++] = batch->original[i];
    }
    return FLIP_OK;
}

static flip_status begin_refined(flip_batching *b, flip_batch_slot *slot, const flip_data *data) {
    flip_batch_rows *r = &slot->rows;
    const flip_gid *id = slot->batch->input;
    r->fine.n = slot->batch->n_input;
    if (data->refined) {
        FLIP_TRY(find_refined(slot, data));
        id = r->fine.id;
    }
    FLIP_TRY(
        flip_batch_room(&r->fine.codes, &r->fine.room[3], r->fine.n, flip_store_stride(b->fine)));
    return flip_store_fetch_begin(b->fine, r->fine.n, id, r->fine.codes);
}

flip_status flip_batch_store_fetch(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                                   void *rows) {
    const flip_batch *batch = slot->batch;
    FLIP_TRY(flip_store_fetch_begin(b->store, batch->n_input, batch->input, rows));
    if (b->fine) FLIP_TRY(begin_refined(b, slot, data));
    FLIP_TRY(flip_store_fetch_end(b->store));
    return b->fine ? flip_store_fetch_end(b->fine) : FLIP_OK;
}

flip_store_use flip_batching_store(const flip_batching *b) {
    if (!b) return (flip_store_use){0};
    flip_store_use use = {.sampler = flip_sampler_counted(b->sampler)};
    use.cache_bytes = (int64_t)use.sampler.list_bytes;
    if (!b->store) return use;
    use.counts = flip_store_counted(b->store);
    use.cached_rows = flip_store_cached_rows(b->store);
    use.cache_bytes += (int64_t)flip_store_cache_bytes(b->store);
    if (!b->fine) return use;
    use.fine = flip_store_counted(b->fine);
    use.fine_rows = flip_store_cached_rows(b->fine);
    use.fine_bytes = (int64_t)flip_store_cache_bytes(b->fine);
    use.cache_bytes += use.fine_bytes;
    return use;
}
