/* What the cache holds: rows by value density, which for rows of one size is heat alone (DUCATI,
 * SIGMOD'23). A prefix cannot take a hot row without those before it, so that inside a part the
 * heat is first made to fall: neighbours that rise are pooled into their mean (Ayer et al. 1955:
 * pool adjacent violators), the slope of the concave hull of the heat gathered so far. */
#include "store/internal.h"

#include "store/choose.h"

#include <math.h>
#include <string.h>

/* Non-negative doubles are in the order of their bits. */
static uint64_t key_of(double heat) {
    uint64_t bits;
    memcpy(&bits, &heat, sizeof bits);
    return bits;
}

/* Heat [n] of a part made to fall: key [n]. sum, run [n]: of the runs so far. */
static void fall(uint64_t *key, double *sum, int64_t *run, const double *heat, int64_t n) {
    int64_t top = 0;
    for (int64_t i = 0; i < n; i++, top++) {
        sum[top] = heat[i];
        run[top] = 1;
        while (top > 0 && sum[top] * (double)run[top - 1] > sum[top - 1] * (double)run[top]) {
            sum[top - 1] += sum[top];
            run[top - 1] += run[top];
            top--;
        }
    }
    for (int64_t r = 0, at = 0; r < top; r++)
        for (int64_t i = 0; i < run[r]; i++)
            key[at++] = key_of(sum[r] / (double)run[r]);
}

/* What own rows are chosen by, [n_rows]. */
static flip_status make_keys(uint64_t *key, const flip_store_params *p, flip_gid first,
                             int64_t n_own) {
    flip_status status;
    double *sum = NULL;
    int64_t *run = NULL;
    for (int64_t i = 0, n = flip_store_before(p, n_own); p->anywhere && i < n; i++)
        key[i] = key_of(p->heat[i]);
    if (p->anywhere) return FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&sum, (size_t)n_own, sizeof *sum, "heat of rows"));
    FLIP_TRY_GOTO(flip_alloc(&run, (size_t)n_own, sizeof *run, "heat of rows"));
    for (int32_t part = 0; part < p->n_parts; part++) {
        flip_gid begin = p->part_first[part];
        int64_t n = p->part_first[part + 1] - begin, at = begin - first;
        if (begin < first || begin >= first + n_own) continue;
        if (p->heat) fall(key + at, sum, run, p->heat + at, n);
        for (int64_t i = 0; i < n && !p->heat; i++)
            key[at + i] = key_of((double)(n - i) / (double)n);
    }
done:
    flip_free(sum);
    flip_free(run);
    return status;
}

/* ---- which, and where ---- */

uint64_t flip_store_index_bytes(int64_t n_nodes) {
    return (uint64_t)(n_nodes + 63) / 64 * (sizeof(uint64_t) + sizeof(uint32_t));
}

/* How many rows of all n_rows fit, all ranks alike; sets *index where they need one. Rows that
 * change are each taken for their node's only one: `from`, `to` and its place in `run`. */
static flip_status fitting(int64_t *k, bool *index, flip_comm *comm, const flip_store_params *p,
                           size_t stride, int64_t n_nodes, int64_t n_rows) {
    const bool change = p->runs.first;
    int64_t least = p->cache_bytes > INT64_MAX ? -INT64_MAX : -(int64_t)p->cache_bytes;
    FLIP_TRY(flip_comm_max_i64(comm, &least, 1));
    uint64_t budget = (uint64_t)-least, map = flip_store_index_bytes(n_nodes);
    size_t each = stride + (change ? 3 * sizeof(int32_t) : 0);
    int64_t most = change ? INT32_MAX : UINT32_MAX;
    if (change) map += sizeof(int32_t);
    *index = change || (p->anywhere && budget / stride < (uint64_t)n_nodes);
    if (*index) budget = budget > map ? budget - map : 0;
    uint64_t rows = budget / each;
    *k = rows < (uint64_t)n_rows ? (int64_t)rows : n_rows;
    if (*k == 0) *index = false;
    if (*index && *k > most)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "a cache of %lld rows, most with an index %lld",
                         (long long)*k, (long long)most);
    return FLIP_OK;
}

static flip_status set_prefixes(flip_cache *c, flip_comm *comm, const uint8_t *mine, flip_gid first,
                                int64_t n_own) {
    size_t n = (size_t)c->n_parts;
    flip_status status = flip_alloc_zero(&c->count, n, sizeof *c->count, "cached rows of parts");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&c->before, n + 1, sizeof *c->before, "cached rows of parts");
    FLIP_TRY(flip_comm_agree(comm, status));
    for (int64_t i = 0; i < n_own; i++)
        if (mine[i]) c->count[flip_cache_part(c, first + i)]++;
    FLIP_TRY(flip_comm_sum_i64(comm, c->count, n));
    for (size_t p = 0; p < n; p++)
        c->before[p + 1] = c->before[p] + c->count[p];
    return FLIP_OK;
}

/* Nodes with chosen rows. */
static flip_status set_index(flip_cache *c, flip_comm *comm, const flip_store_params *p,
                             const uint8_t *mine, flip_gid first, int64_t n_own) {
    size_t n = (size_t)c->words;
    flip_status status = flip_alloc_zero(&c->bit, n, sizeof *c->bit, "index of the cache");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&c->ahead, n, sizeof *c->ahead, "index of the cache");
    FLIP_TRY(flip_comm_agree(comm, status));
    for (int64_t i = 0; i < n_own; i++)
        for (int64_t r = flip_store_before(p, i); r < flip_store_before(p, i + 1); r++)
            if (mine[r]) c->bit[(first + i) >> 6] |= 1ull << ((first + i) & 63);
    FLIP_TRY(flip_comm_or_u64(comm, c->bit, n));
    for (size_t w = 0; w + 1 < n; w++)
        c->ahead[w + 1] = c->ahead[w] + (uint32_t)__builtin_popcountll(c->bit[w]);
    return FLIP_OK;
}

/* mine [n_rows]: is an own row chosen? */
static flip_status choose(uint8_t *mine, flip_comm *comm, const flip_store_params *p,
                          flip_gid first, int64_t n_own, int64_t k) {
    flip_status status;
    uint64_t *key = NULL;
    flip_chosen chosen;
    int64_t n = flip_store_before(p, n_own);
    status = flip_alloc(&key, (size_t)n, sizeof *key, "heat of rows");
    if (status == FLIP_OK) status = make_keys(key, p, first, n_own);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_choose_largest(&chosen, comm, n, key, k));
    for (int64_t i = 0; i < n; i++)
        mine[i] = flip_chosen_next(&chosen, key[i]);
done:
    flip_free(key);
    return status;
}

/* ---- filling ---- */

/* Own chosen rows, and where they stand among those of all ranks. */
typedef struct chosen_rows {
    const flip_store_params *p;
    const uint8_t *mine; /* [n_rows] */
    flip_gid first;
    int64_t n_own;
    int64_t *count; /* [size] chosen rows of each rank */
    int64_t at;     /* place of this rank's first */
} chosen_rows;

static flip_status place_chosen(chosen_rows *w, flip_comm *comm) {
    int64_t n = 0;
    flip_status status =
        flip_alloc(&w->count, (size_t)flip_comm_size(comm), sizeof *w->count, "cached rows");
    FLIP_TRY(flip_comm_agree(comm, status));
    for (int64_t r = 0; r < flip_store_before(w->p, w->n_own); r++)
        n += w->mine[r];
    FLIP_TRY(flip_comm_gather_all(comm, w->count, &n, sizeof n));
    for (int r = 0; r < flip_comm_rank(comm); r++)
        w->at += w->count[r];
    return FLIP_OK;
}

/* items [n_rows] of which each rank has its own: all to all. */
static flip_status share_items(const chosen_rows *w, flip_comm *comm, void *items, size_t bytes) {
    char *at = items;
    for (int r = 0; r < flip_comm_size(comm); at += (size_t)w->count[r++] * bytes)
        FLIP_TRY(flip_comm_broadcast(comm, at, (size_t)w->count[r] * bytes, r));
    return FLIP_OK;
}

/* Own chosen rows to where they stand in the cache, then each rank's to all. */
static flip_status fill(flip_cache *c, flip_comm *comm, const chosen_rows *w, size_t stride) {
    const flip_store_params *p = w->p;
    int64_t at = w->at;
    flip_status status = flip_alloc(&c->row, (size_t)c->n_rows, stride, "the cache");
    FLIP_TRY(flip_comm_agree(comm, status));
    for (int64_t i = 0; i < w->n_own; i++)
        for (int64_t r = flip_store_before(p, i); r < flip_store_before(p, i + 1); r++)
            if (w->mine[r])
                flip_store_write(p, stride, i, p->runs.first ? p->runs.step[r] : 0,
                                 c->row + (size_t)at++ * stride);
    FLIP_TRY(share_items(w, comm, c->row, stride));
    flip_meter *meter = flip_comm_meter(comm);
    if (!meter) return FLIP_OK;
    uint64_t others = (uint64_t)flip_comm_size(comm) - 1, n = (uint64_t)(at - w->at);
    meter->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] += (uint64_t)c->n_rows * stride;
    meter->bytes[FLIP_BYTES_REMOTE_FEATURES] += others * n * stride;
    return FLIP_OK;
}

static flip_status alloc_runs(flip_cache *c, int32_t **node) {
    size_t n = (size_t)c->n_rows, last = (size_t)c->words - 1;
    c->n_nodes = (int64_t)c->ahead[last] + __builtin_popcountll(c->bit[last]);
    FLIP_TRY(flip_alloc(&c->from, n, sizeof *c->from, "steps of cached rows"));
    FLIP_TRY(flip_alloc(&c->to, n, sizeof *c->to, "steps of cached rows"));
    FLIP_TRY(flip_alloc(node, n, sizeof **node, "nodes of cached rows"));
    return flip_alloc_zero(&c->run, (size_t)c->n_nodes + 1, sizeof *c->run, "cached rows of nodes");
}

/* For which steps the rows are, and which are a node's. */
static flip_status set_runs(flip_cache *c, flip_comm *comm, const chosen_rows *w) {
    const flip_runs *runs = &w->p->runs;
    int32_t *node = NULL; /* [n_rows] */
    int64_t at = w->at;
    flip_status status = alloc_runs(c, &node);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    for (int64_t i = 0; i < w->n_own; i++)
        for (int64_t r = runs->first[i]; r < runs->first[i + 1]; r++) {
            if (!w->mine[r]) continue;
            c->from[at] = runs->step[r];
            c->to[at] = r + 1 < runs->first[i + 1] ? runs->step[r + 1] : w->p->steps;
            node[at++] = (int32_t)flip_cache_node(c, w->first + i);
        }
    FLIP_TRY_GOTO(share_items(w, comm, c->from, sizeof *c->from));
    FLIP_TRY_GOTO(share_items(w, comm, c->to, sizeof *c->to));
    FLIP_TRY_GOTO(share_items(w, comm, node, sizeof *node));
    for (int64_t r = 0; r < c->n_rows; r++)
        c->run[node[r] + 1]++;
    for (int64_t i = 0; i < c->n_nodes; i++)
        c->run[i + 1] += c->run[i];
done:
    flip_free(node);
    return status;
}

flip_status flip_cache_create(flip_cache *c, flip_comm *comm, const flip_store_params *p,
                              size_t stride) {
    flip_status status;
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    flip_gid first = p->rank_first[rank], n_nodes = p->rank_first[size];
    int64_t n_own = p->rank_first[rank + 1] - first, n_rows = flip_store_before(p, n_own), k;
    size_t n_mine = (size_t)n_rows;
    uint8_t *mine = NULL;
    bool index;
    chosen_rows w = {.p = p, .first = first, .n_own = n_own};
    *c = (flip_cache){.part_first = p->part_first, .n_parts = p->n_parts};
    FLIP_TRY(flip_comm_sum_i64(comm, &n_rows, 1));
    FLIP_TRY(fitting(&k, &index, comm, p, stride, n_nodes, n_rows));
    if (k == 0) return FLIP_OK;
    status = flip_alloc_zero(&mine, n_mine, sizeof *mine, "cached rows");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    if (k == n_rows)
        memset(mine, 1, n_mine);
    else
        FLIP_TRY_GOTO(choose(mine, comm, p, first, n_own, k));
    c->words = (n_nodes + 63) / 64;
    c->n_rows = k;
    w.mine = mine;
    FLIP_TRY_GOTO(index ? set_index(c, comm, p, mine, first, n_own)
                        : set_prefixes(c, comm, mine, first, n_own));
    FLIP_TRY_GOTO(place_chosen(&w, comm));
    if (p->runs.first) FLIP_TRY_GOTO(set_runs(c, comm, &w));
    status = fill(c, comm, &w, stride);
done:
    flip_free(w.count);
    flip_free(mine);
    return status;
}

void flip_cache_finish(flip_cache *c) {
    flip_free(c->count);
    flip_free(c->before);
    flip_free(c->bit);
    flip_free(c->ahead);
    flip_free(c->run);
    flip_free(c->from);
    flip_free(c->to);
    flip_free(c->row);
    *c = (flip_cache){0};
}

size_t flip_cache_index_bytes(const flip_cache *c) {
    size_t runs = c->run ? ((size_t)c->n_nodes + 1) * sizeof *c->run +
                               (size_t)c->n_rows * (sizeof *c->from + sizeof *c->to)
                         : 0;
    return (c->bit ? (size_t)c->words * (sizeof *c->bit + sizeof *c->ahead) : 0) + runs;
}
