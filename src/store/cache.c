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

/* What own rows are chosen by, [n_own]. */
static flip_status make_keys(uint64_t *key, const flip_store_params *p, flip_gid first,
                             int64_t n_own) {
    flip_status status;
    double *sum = NULL;
    int64_t *run = NULL;
    for (int64_t i = 0; p->anywhere && i < n_own; i++)
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

/* How many rows fit, all ranks alike; sets *index where they need one. */
static flip_status fitting(int64_t *k, bool *index, flip_comm *comm, const flip_store_params *p,
                           size_t stride, int64_t n_nodes) {
    int64_t least = p->cache_bytes > INT64_MAX ? -INT64_MAX : -(int64_t)p->cache_bytes;
    FLIP_TRY(flip_comm_max_i64(comm, &least, 1));
    uint64_t budget = (uint64_t)-least, map = flip_store_index_bytes(n_nodes);
    *index = p->anywhere && budget / stride < (uint64_t)n_nodes;
    if (*index) budget = budget > map ? budget - map : 0;
    uint64_t rows = stride ? budget / stride : 0;
    *k = rows < (uint64_t)n_nodes ? (int64_t)rows : n_nodes;
    if (*k == 0) *index = false;
    if (*index && *k > UINT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "a cache of %lld rows, most with an index %lld",
                         (long long)*k, (long long)UINT32_MAX);
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

static flip_status set_index(flip_cache *c, flip_comm *comm, const uint8_t *mine, flip_gid first,
                             int64_t n_own) {
    size_t n = (size_t)c->words;
    flip_status status = flip_alloc_zero(&c->bit, n, sizeof *c->bit, "index of the cache");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&c->ahead, n, sizeof *c->ahead, "index of the cache");
    FLIP_TRY(flip_comm_agree(comm, status));
    for (int64_t i = 0; i < n_own; i++)
        if (mine[i]) c->bit[(first + i) >> 6] |= 1ull << ((first + i) & 63);
    FLIP_TRY(flip_comm_or_u64(comm, c->bit, n));
    for (size_t w = 0; w + 1 < n; w++)
        c->ahead[w + 1] = c->ahead[w] + (uint32_t)__builtin_popcountll(c->bit[w]);
    return FLIP_OK;
}

/* mine [n_own]: is an own row chosen? */
static flip_status choose(uint8_t *mine, flip_comm *comm, const flip_store_params *p,
                          flip_gid first, int64_t n_own, int64_t k) {
    flip_status status;
    uint64_t *key = NULL;
    flip_chosen chosen;
    status = flip_alloc(&key, (size_t)n_own, sizeof *key, "heat of rows");
    if (status == FLIP_OK) status = make_keys(key, p, first, n_own);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_choose_largest(&chosen, comm, n_own, key, k));
    for (int64_t i = 0; i < n_own; i++)
        mine[i] = flip_chosen_next(&chosen, key[i]);
done:
    flip_free(key);
    return status;
}

/* ---- filling ---- */

/* Own chosen rows to where they stand in the cache, then each rank's to all. */
static flip_status fill(flip_cache *c, flip_comm *comm, const flip_store_params *p, size_t stride,
                        const uint8_t *mine, flip_gid first, int64_t n_own) {
    flip_status status;
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    int64_t *count = NULL, n = 0, at = 0;
    for (int64_t i = 0; i < n_own; i++)
        n += mine[i];
    status = flip_alloc(&count, (size_t)size, sizeof *count, "cached rows of ranks");
    if (status == FLIP_OK) status = flip_alloc(&c->row, (size_t)c->n_rows, stride, "the cache");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_comm_gather_all(comm, count, &n, sizeof n));
    for (int r = 0; r < rank; r++)
        at += count[r];
    for (int64_t i = 0; i < n_own; i++)
        if (mine[i])
            memcpy(c->row + (size_t)flip_cache_row(c, first + i) * stride,
                   p->rows + (size_t)i * stride, stride);
    at = 0;
    for (int r = 0; r < size; at += count[r++])
        FLIP_TRY_GOTO(
            flip_comm_broadcast(comm, c->row + (size_t)at * stride, (size_t)count[r] * stride, r));
    flip_meter *meter = flip_comm_meter(comm);
    if (meter) {
        meter->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] += (uint64_t)c->n_rows * stride;
        meter->bytes[FLIP_BYTES_REMOTE_FEATURES] += (uint64_t)(size - 1) * (uint64_t)n * stride;
    }
done:
    flip_free(count);
    return status;
}

flip_status flip_cache_create(flip_cache *c, flip_comm *comm, const flip_store_params *p,
                              size_t stride) {
    flip_status status;
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    flip_gid first = p->rank_first[rank], n_nodes = p->rank_first[size];
    int64_t n_own = p->rank_first[rank + 1] - first, k;
    uint8_t *mine = NULL;
    bool index;
    *c = (flip_cache){.part_first = p->part_first, .n_parts = p->n_parts};
    FLIP_TRY(fitting(&k, &index, comm, p, stride, n_nodes));
    if (k == 0) return FLIP_OK;
    status = flip_alloc_zero(&mine, (size_t)n_own, sizeof *mine, "cached rows");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    if (k == n_nodes)
        memset(mine, 1, (size_t)n_own);
    else
        FLIP_TRY_GOTO(choose(mine, comm, p, first, n_own, k));
    c->words = (n_nodes + 63) / 64;
    c->n_rows = k;
    FLIP_TRY_GOTO(index ? set_index(c, comm, mine, first, n_own)
                        : set_prefixes(c, comm, mine, first, n_own));
    status = fill(c, comm, p, stride, mine, first, n_own);
done:
    flip_free(mine);
    return status;
}

void flip_cache_finish(flip_cache *c) {
    flip_free(c->count);
    flip_free(c->before);
    flip_free(c->bit);
    flip_free(c->ahead);
    flip_free(c->row);
    *c = (flip_cache){0};
}

size_t flip_cache_index_bytes(const flip_cache *c) {
    return c->bit ? (size_t)c->words * (sizeof *c->bit + sizeof *c->ahead) : 0;
}
