/* SIEVE: a linked queue of slots, and a table of ids by open addressing. */
#include "store/sieve.h"

#include <string.h>

struct flip_sieve {
    int32_t capacity, n;
    int32_t newest, oldest, hand; /* slots, -1 = none */
    flip_gid *id;                 /* [capacity] */
    int32_t *newer, *older;       /* [capacity] neighbours in the queue */
    uint8_t *marked;              /* [capacity] */
    int32_t *table;               /* [mask + 1] slot or -1 */
    uint32_t mask;
};

/* At most half full. */
static uint32_t table_size(int32_t capacity) {
    uint32_t size = 4;
    while (size / 2 < (uint32_t)capacity)
        size *= 2;
    return size;
}

size_t flip_sieve_bytes(int32_t capacity) {
    return sizeof(flip_sieve) + (size_t)capacity * (sizeof(flip_gid) + 2 * sizeof(int32_t) + 1) +
           table_size(capacity) * sizeof(int32_t);
}

flip_status flip_sieve_create(flip_sieve **sieve, int32_t capacity) {
    flip_status status;
    size_t n = (size_t)capacity;
    *sieve = NULL;
    if (capacity < 1 || capacity > 1 << 29)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a sieve of %d ids", capacity);
    FLIP_TRY(flip_alloc_zero(sieve, 1, sizeof **sieve, "a cache of rows"));
    flip_sieve *s = *sieve;
    s->capacity = capacity;
    s->newest = s->oldest = s->hand = -1;
    s->mask = table_size(capacity) - 1;
    FLIP_TRY_GOTO(flip_alloc(&s->id, n, sizeof *s->id, "a cache of rows"));
    FLIP_TRY_GOTO(flip_alloc(&s->newer, n, sizeof *s->newer, "a cache of rows"));
    FLIP_TRY_GOTO(flip_alloc(&s->older, n, sizeof *s->older, "a cache of rows"));
    FLIP_TRY_GOTO(flip_alloc_zero(&s->marked, n, sizeof *s->marked, "a cache of rows"));
    FLIP_TRY_GOTO(flip_alloc(&s->table, (size_t)s->mask + 1, sizeof *s->table, "a cache of rows"));
    memset(s->table, 0xFF, ((size_t)s->mask + 1) * sizeof *s->table);
done:
    if (status != FLIP_OK) flip_sieve_destroy(sieve);
    return status;
}

void flip_sieve_destroy(flip_sieve **sieve) {
    flip_sieve *s = *sieve;
    if (!s) return;
    flip_free(s->id);
    flip_free(s->newer);
    flip_free(s->older);
    flip_free(s->marked);
    flip_free(s->table);
    flip_free(s);
    *sieve = NULL;
}

/* ---- the table ---- */

static uint32_t home(const flip_sieve *s, flip_gid id) {
    return (uint32_t)((uint64_t)id * 0x9E3779B97F4A7C15u >> 32) & s->mask;
}

/* Where the id stands, or the free place where it would. */
static uint32_t place_of(const flip_sieve *s, flip_gid id) {
    uint32_t at = home(s, id);
    while (s->table[at] >= 0 && s->id[s->table[at]] != id)
        at = (at + 1) & s->mask;
    return at;
}

/* Later ids of the run move up, so that no gap cuts them off from their homes. */
static void forget(flip_sieve *s, flip_gid id) {
    uint32_t gap = place_of(s, id), at = gap;
    for (;;) {
        at = (at + 1) & s->mask;
        if (s->table[at] < 0) break;
        uint32_t want = home(s, s->id[s->table[at]]);
        if (((at - want) & s->mask) < ((at - gap) & s->mask)) continue;
        s->table[gap] = s->table[at];
        gap = at;
    }
    s->table[gap] = -1;
}

/* ---- the queue ---- */

static void unlink_slot(flip_sieve *s, int32_t slot) {
    int32_t newer = s->newer[slot], older = s->older[slot];
    if (newer >= 0)
        s->older[newer] = older;
    else
        s->newest = older;
    if (older >= 0)
        s->newer[older] = newer;
    else
        s->oldest = newer;
}

static int32_t evict(flip_sieve *s) {
    int32_t slot = s->hand >= 0 ? s->hand : s->oldest;
    while (s->marked[slot]) {
        s->marked[slot] = 0;
        slot = s->newer[slot] >= 0 ? s->newer[slot] : s->oldest;
    }
    s->hand = s->newer[slot]; /* past the newest it begins anew with the oldest */
    unlink_slot(s, slot);
    forget(s, s->id[slot]);
    return slot;
}

int32_t flip_sieve_find(flip_sieve *s, flip_gid id) {
    int32_t slot = s->table[place_of(s, id)];
    if (slot >= 0) s->marked[slot] = 1;
    return slot;
}

int32_t flip_sieve_insert(flip_sieve *s, flip_gid id, bool *fresh) {
    int32_t slot = s->table[place_of(s, id)];
    *fresh = slot < 0;
    if (slot >= 0) return slot;
    slot = s->n < s->capacity ? s->n++ : evict(s);
    s->id[slot] = id;
    s->marked[slot] = 0;
    s->older[slot] = s->newest;
    s->newer[slot] = -1;
    if (s->newest >= 0)
        s->newer[s->newest] = slot;
    else
        s->oldest = slot;
    s->newest = slot;
    s->table[place_of(s, id)] = slot;
    return slot;
}
