/* The store: its life, and what it tells of itself. */
#include "store/internal.h"

#include <math.h>
#include <string.h>

/* Does this rank's run of parts begin and end where its nodes do? */
static flip_status check_parts(const flip_store *s) {
    const flip_store_params *p = &s->p;
    bool begins = s->n_own == 0, ends = s->n_own == 0;
    if (p->n_parts < 1 || p->part_first[0] != p->rank_first[0] ||
        p->part_first[p->n_parts] != p->rank_first[s->size])
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%d parts do not cover the nodes of %d ranks",
                         p->n_parts, s->size);
    for (int32_t k = 0; k <= p->n_parts; k++) {
        begins |= p->part_first[k] == s->first;
        ends |= p->part_first[k] == s->first + s->n_own;
    }
    if (!begins || !ends)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a part crosses the ids of rank %d, %lld to %lld",
                         s->rank, (long long)s->first, (long long)(s->first + s->n_own));
    return FLIP_OK;
}

static flip_status check(const flip_store *s) {
    const flip_store_params *p = &s->p;
    int32_t narrow;
    FLIP_TRY(
        flip_narrow(&narrow, s->n_own * s->steps, "the number of nodes of a rank, times steps"));
    FLIP_TRY(check_parts(s));
    if (s->stride == 0) return FLIP_FAIL(FLIP_ERROR_INPUT, "rows of 0 bytes have no store");
    if (p->anywhere && !p->heat)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "rows from anywhere are chosen by heat, none is given");
    if (p->runs.first && (!p->anywhere || p->steps < 1))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "rows that change, of %d steps, are chosen one by one", p->steps);
    for (int64_t i = 0; p->heat && i < flip_store_before(p, s->n_own); i++)
        if (!(p->heat[i] >= 0) || isinf(p->heat[i]))
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "heat of own row %lld is %g", (long long)i,
                             p->heat[i]);
    return FLIP_OK;
}

static void set_up(flip_store *s, flip_comm *comm, const flip_store_params *params) {
    s->p = *params;
    s->size = flip_comm_size(comm);
    s->rank = flip_comm_rank(comm);
    s->first = params->rank_first[s->rank];
    s->n_own = params->rank_first[s->rank + 1] - s->first;
    s->steps = params->runs.first ? params->steps : 1;
    s->plain = (flip_packing){.kind = FLIP_PACKING_FLOAT,
                              .dim = params->dim,
                              .stride = (size_t)params->dim * sizeof(float),
                              .bits = 32};
    s->packing = params->codec ? flip_codec_packing(params->codec) : &s->plain;
    s->stride = s->packing->stride;
    s->meter = s->first_meter = flip_comm_meter(comm);
}

static flip_status allocate(flip_store *s) {
    flip_store_talk *t = &s->talk;
    size_t size = (size_t)s->size;
    FLIP_TRY(flip_alloc_zero(&t->to, 3 * size, sizeof *t->to, "counts of rows"));
    t->from = t->to + size;
    t->at = t->from + size;
    return s->comm ? flip_messages_create(&s->messages, s->comm, 2) : FLIP_OK;
}

flip_status flip_store_create(flip_store **store, flip_comm *comm,
                              const flip_store_params *params) {
    flip_status status;
    *store = NULL;
    FLIP_TRY(flip_comm_agree(comm, flip_alloc_zero(store, 1, sizeof **store, "store")));
    flip_store *s = *store;
    set_up(s, comm, params);
    FLIP_TRY_GOTO(flip_comm_agree(comm, check(s)));
    FLIP_TRY_GOTO(flip_comm_split(&s->comm, comm, 0, s->rank));
    FLIP_TRY_GOTO(flip_comm_agree(comm, allocate(s)));
    status = flip_cache_create(&s->cache, s->comm, &s->p, s->stride);
    s->p.heat = NULL; /* it was read */
done:
    if (status != FLIP_OK) flip_store_destroy(store);
    return status;
}

void flip_store_destroy(flip_store **store) {
    flip_store *s = *store;
    if (!s) return;
    flip_messages_destroy(&s->messages);
    flip_comm_destroy(&s->comm);
    flip_cache_finish(&s->cache);
    flip_store_talk_finish(&s->talk);
    flip_free(s->source);
    flip_free(s);
    *store = NULL;
}

size_t flip_store_stride(const flip_store *s) {
    return s->stride;
}

const flip_packing *flip_store_packing(const flip_store *s) {
    return s->packing;
}

int64_t flip_store_cached_rows(const flip_store *s) {
    return s->cache.n_rows;
}

bool flip_store_is_cached(const flip_store *s, flip_gid id, int32_t step) {
    return flip_cache_row(&s->cache, id, step) >= 0;
}

size_t flip_store_cache_bytes(const flip_store *s) {
    return (size_t)s->cache.n_rows * s->stride + flip_cache_index_bytes(&s->cache);
}

size_t flip_store_bytes(const flip_store *s) {
    const flip_store_talk *t = &s->talk;
    size_t parts = s->cache.count ? (2 * (size_t)s->cache.n_parts + 1) * sizeof(int64_t) : 0;
    return sizeof *s + flip_store_cache_bytes(s) + parts + 3 * (size_t)s->size * sizeof *t->to +
           (t->asked_room + t->place_room + t->received_room) * sizeof(int32_t) +
           (t->given_room + t->come_room) * s->stride + s->source_room * sizeof *s->source;
}

flip_store_counts flip_store_counted(const flip_store *s) {
    return s->counts;
}

void flip_store_meter(flip_store *s, flip_meter *meter) {
    s->meter = meter ? meter : s->first_meter;
    flip_comm_count_in(s->comm, meter);
}
