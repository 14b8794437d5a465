/* Inside the store: which rows are cached and where, and what a fetch has in flight. */
#ifndef FLIPBOOK_STORE_INTERNAL_H
#define FLIPBOOK_STORE_INTERNAL_H

#include <flipbook/store.h>

/* The cache, the same on every rank. Rows stand in the order of their ids. */
typedef struct flip_cache {
    const flip_gid *part_first; /* [n_parts + 1] borrowed */
    int32_t n_parts;
    int64_t *count;  /* [n_parts] C(p): rows of the part's prefix; NULL with an index */
    int64_t *before; /* [n_parts + 1] cached rows of parts before; NULL with an index */
    uint64_t *bit;   /* [words] node i is cached; NULL = prefixes */
    uint32_t *ahead; /* [words] cached rows before word i's nodes */
    int64_t words;
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

/* The id's row of the cache, -1 = none. */
static inline int64_t flip_cache_row(const flip_cache *c, flip_gid id) {
    if (c->n_rows == 0) return -1;
    if (c->bit) {
        uint64_t word = c->bit[id >> 6], here = 1ull << (id & 63);
        if (!(word & here)) return -1;
        return (int64_t)c->ahead[id >> 6] + __builtin_popcountll(word & (here - 1));
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
    flip_cache cache;
    flip_store_counts counts;
    flip_store_talk talk;
    const uint8_t **source; /* [n] where a row is copied from; NULL = another rank's */
    size_t source_room;
    uint8_t *out; /* of the fetch that began */
    bool fetching;
};

void flip_store_talk_finish(flip_store_talk *talk);

#endif
