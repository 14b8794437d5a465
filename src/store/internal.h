/* Inside the store: which rows are cached and where, and what a fetch has in flight. */
#ifndef FLIPBOOK_STORE_INTERNAL_H
#define FLIPBOOK_STORE_INTERNAL_H

#include <flipbook/store.h>

#include <string.h>

/* The cache, the same on every rank. Rows stand in the order of their ids, those of a node in that
 * of their steps. */
typedef struct flip_cache {
    const flip_gid *part_first; /* [n_parts + 1] borrowed */
    int32_t n_parts;
    int64_t *count;  /* [n_parts] C(p): rows of the part's prefix; NULL with an index */
    int64_t *before; /* [n_parts + 1] cached rows of parts before; NULL with an index */
    uint64_t *bit;   /* [words] node i is cached; NULL = prefixes */
    uint32_t *ahead; /* [words] cached nodes before word i's nodes */
    int64_t words;
    /* rows that change, else NULL: */
    int64_t n_nodes;    /* with rows in the cache */
    int32_t *run;       /* [n_nodes + 1] rows of the i-th of them */
    int32_t *from, *to; /* [n_rows] a row holds for steps from … to-1 */
    int64_t n_rows;
    uint8_t *row; /* [n_rows, stride] */
} flip_cache;

/* Collective. Which rows, and where; brings them. Bytes are counted in the meter of comm. */
flip_status flip_cache_create(flip_cache *cache, flip_comm *comm, const flip_store_params *params,
                              size_t stride);
void flip_cache_finish(flip_cache *cache);
size_t flip_cache_index_bytes(const flip_cache *cache);

/* Part of an id. */
static inline int32_t flip_cache_part(const flip_cache *c, flip_gid id) {
    return flip_owner_in(c->part_first, c->n_parts, id);
}

/* Which of the index's nodes the id is, -1 = none of them. */
static inline int64_t flip_cache_node(const flip_cache *c, flip_gid id) {
    uint64_t word = c->bit[id >> 6], here = 1ull << (id & 63);
    if (!(word & here)) return -1;
    return (int64_t)c->ahead[id >> 6] + __builtin_popcountll(word & (here - 1));
}

/* Of cached node i the row that holds at the step, -1 = none. */
static inline int64_t flip_cache_run(const flip_cache *c, int64_t i, int32_t step) {
    int64_t row = flip_runs_last(c->from, c->run[i], c->run[i + 1], step);
    return c->from[row] <= step && step < c->to[row] ? row : -1;
}

/* The row of the cache that the id has at a step, -1 = none. */
static inline int64_t flip_cache_row(const flip_cache *c, flip_gid id, int32_t step) {
    if (c->n_rows == 0) return -1;
    if (c->bit) {
        int64_t node = flip_cache_node(c, id);
        return node >= 0 && c->run ? flip_cache_run(c, node, step) : node;
    }
    int32_t part = flip_cache_part(c, id);
    int64_t at = id - c->part_first[part];
    return at < c->count[part] ? c->before[part] + at : -1;
}

/* Rows of other ranks, asked for and given. Buffers are kept from fetch to fetch. */
typedef struct flip_store_talk {
    int64_t *to, *from, *at; /* [size] rows asked of each rank, and by each */
    int32_t *asked, *place;  /* [n] row of the owner; which of the ids it is */
    int32_t *received;       /* [n_received] own rows that others want */
    uint8_t *given, *come;   /* [n_received, stride], [n, stride] */
    int64_t n, n_received;
    size_t asked_room, place_room, received_room, given_room, come_room;
} flip_store_talk;

struct flip_store {
    flip_comm *comm; /* owned; NULL = one rank */
    flip_messages *messages;
    flip_meter *meter; /* where bytes count; may be NULL */
    flip_meter *first_meter;
    flip_store_params p;
    flip_packing plain; /* of float32 rows */
    const flip_packing *packing;
    size_t stride;
    int size, rank;
    flip_gid first; /* own ids first … first + n_own - 1 */
    int64_t n_own;
    int32_t steps; /* that rows are asked for by; 1 = they do not change */
    flip_cache cache;
    flip_store_counts counts;
    flip_store_talk talk;
    const uint8_t **source; /* [n] where a row is copied from; NULL = another rank's */
    size_t source_room;
    uint8_t *out; /* of the fetch that began */
    bool fetching;
};

void flip_store_talk_finish(flip_store_talk *talk);

/* Own rows of the nodes before own node i: its first; before n_own: how many there are. */
static inline int64_t flip_store_before(const flip_store_params *p, int64_t i) {
    return p->runs.first ? p->runs.first[i] : i;
}

/* An own node's row of a step. */
static inline void flip_store_write(const flip_store_params *p, size_t stride, int64_t node,
                                    int32_t step, uint8_t *to) {
    if (p->write)
        p->write(p->writes, node, step, to);
    else
        memcpy(to, p->rows + (size_t)flip_runs_row(&p->runs, node, step) * stride, stride);
}

#endif
