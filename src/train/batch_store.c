/* Features of a batch out of the store: --cache-bytes and --hot. Then a batch reads all its rows
 * side by side, since own rows may be in the cache or not. */
#include "train/batch.h"

#include <string.h>

bool flip_batch_stored(const flip_data *data) {
    return data->s.cache_bytes > 0 ||
           (data->packed.packing && data->steps == 1 && flip_comm_size(data->comm) > 1);
}

bool flip_batch_codes(const flip_data *data) {
    return data->packed.packing && (data->steps > 1 || flip_batch_stored(data));
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

/* ---- rows of the store ---- */

/* Do the node's numbers at step t differ from those of the step before, by a bit? */
static bool differs(const flip_data *data, int64_t v, int32_t t) {
    const flip_columns *m = &data->moving;
    return memcmp(m->values + flip_data_row_of(data, v, t) * m->dim,
                  m->values + flip_data_row_of(data, v, t - 1) * m->dim,
                  (size_t)m->dim * sizeof *m->values) != 0;
}

/* Own rows of columns that change. */
static flip_status find_runs(flip_batching *b, const flip_data *data) {
    int64_t n = data->n_own;
    for (int32_t v = 0; v < data->n_own; v++)
        for (int32_t t = 1; t < data->steps; t++)
            n += differs(data, v, t);
    FLIP_TRY(flip_alloc(&b->run_first, (size_t)data->n_own + 1, sizeof *b->run_first, "rows"));
    FLIP_TRY(flip_alloc(&b->run_step, (size_t)n, sizeof *b->run_step, "steps of rows"));
    n = 0;
    for (int32_t v = 0; v < data->n_own; v++) {
        b->run_first[v] = n;
        for (int32_t t = 0; t < data->steps; t++)
            if (t == 0 || differs(data, v, t)) b->run_step[n++] = t;
    }
    b->run_first[data->n_own] = n;
    b->runs = (flip_runs){.first = b->run_first, .step = b->run_step};
    return FLIP_OK;
}

static void write_row(const void *data, int64_t node, int32_t step, void *to) {
    flip_data_row(data, node, step, to);
}

/* Where the store finds own rows. */
static flip_status set_rows(flip_batching *b, const flip_data *data, flip_store_params *p) {
    bool change = data->steps > 1 && data->moving.dim > 0;
    p->rows = (const uint8_t *)(data->steps > 1 ? data->fixed.values : data->features);
    if (data->packed.packing) {
        p->rows = data->packed.codes;
        if (data->steps > 1) b->runs = flip_data_code_runs(data);
    } else if (change) {
        FLIP_TRY(find_runs(b, data));
        p->rows = NULL;
        p->write = write_row;
        p->writes = data;
    }
    p->runs = b->runs;
    p->steps = data->steps;
    return FLIP_OK;
}

static flip_status create_stores(flip_batching *b, flip_data *data, const flip_store_params *p,
                                 const flip_store_params *fine) {
    FLIP_TRY(flip_store_create(&b->store, data->comm, p));
    return fine->codec ? flip_store_create(&b->fine, data->comm, fine) : FLIP_OK;
}

flip_status flip_batch_store_create(flip_batching *b, flip_data *data) {
    flip_status status;
    double *room = NULL, *saved, *fine_heat;
    size_t n = (size_t)data->n_own, n_heat = n * (size_t)data->steps;
    const flip_settings *s = &data->s;
    bool two = data->packed.fine.packing;
    if (!flip_batch_stored(data)) return FLIP_OK;
    flip_store_params p = {
        .rank_first = data->rank_first,
        .codec = data->packed.packing ? flip_graph_codec(data->graph) : NULL,
        .dim = data->in_dim * (int32_t)(sizeof(flip_real) / sizeof(float))}; /* bytes alone count */
    size_t stride = data->packed.packing ? data->packed.packing->stride
                                         : (size_t)data->in_dim * sizeof(flip_real);
    p.part_first = flip_graph_part_first(data->graph, &p.n_parts);
    FLIP_TRY(flip_comm_agree(data->comm, set_rows(b, data, &p)));
    flip_store_params fine = p;
    fine.codec = two ? flip_graph_refinement_codec(data->graph) : NULL;
    fine.rows = data->packed.fine.codes;
    if (s->cache_bytes == 0) return create_stores(b, data, &p, &fine);
    /* parts are in the order of their degrees; a file that nobody cut is in no order, nor are
     * labelled nodes */
    p.anywhere = s->hot != FLIP_HOT_DEGREE || data->info->n_parts == 0 || p.runs.first;
    fine.anywhere = p.anywhere || data->refined;
    status = flip_alloc(&room, n_heat + 2 * n, sizeof *room, "heat of rows");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    saved = room + n_heat;
    fine_heat = saved + n;
    FLIP_TRY_GOTO(flip_batch_heat(b, data, room, saved));
    p.heat = room;
    fine.heat = fine_heat;
    p.cache_bytes = (uint64_t)s->cache_bytes;
    if (two) refined_heat(data, room, fine_heat);
    if (data->steps == 1) /* of steps there are neither lists nor second levels */
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
    return flip_store_fetch_begin(b->fine, r->fine.n, id, NULL, r->fine.codes);
}

flip_status flip_batch_store_fetch(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                                   void *rows) {
    const flip_batch *batch = slot->batch;
    FLIP_TRY(flip_store_fetch_begin(b->store, batch->n_input, batch->input, batch->step, rows));
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
