/* Small linear-time tools of the graph stage: distinct ids, radix order, sliding sums. */
#include "graph/internal.h"

#include <string.h>

/* ---- distinct ids ---- */

static size_t slot_of(const flip_gid_map *map, flip_gid key) {
    uint64_t h = (uint64_t)key * 0x9E3779B97F4A7C15u;
    size_t slot = (size_t)(h ^ (h >> 29)) & map->mask;
    while (map->value[slot] >= 0 && map->key[slot] != key)
        slot = (slot + 1) & map->mask;
    return slot;
}

flip_status flip_gid_map_init(flip_gid_map *map, size_t expected) {
    size_t size = 1024;
    while (size < 2 * expected)
        size *= 2;
    *map = (flip_gid_map){.mask = size - 1};
    FLIP_TRY(flip_alloc(&map->key, size, sizeof *map->key, "table of remote nodes"));
    FLIP_TRY(flip_alloc(&map->value, size, sizeof *map->value, "table of remote nodes"));
    memset(map->value, 0xff, size * sizeof *map->value);
    return FLIP_OK;
}

void flip_gid_map_finish(flip_gid_map *map) {
    flip_free(map->key);
    flip_free(map->value);
    *map = (flip_gid_map){0};
}

static flip_status grow(flip_gid_map *map) {
    flip_gid_map bigger;
    flip_status status = flip_gid_map_init(&bigger, map->mask + 1);
    if (status == FLIP_OK) {
        for (size_t i = 0; i <= map->mask; i++) {
            if (map->value[i] < 0) continue;
            size_t slot = slot_of(&bigger, map->key[i]);
            bigger.key[slot] = map->key[i];
            bigger.value[slot] = map->value[i];
        }
        bigger.n = map->n;
        flip_gid_map_finish(map);
        *map = bigger;
    } else {
        flip_gid_map_finish(&bigger);
    }
    return status;
}

flip_status flip_gid_map_add(flip_gid_map *map, flip_gid key, int32_t *number) {
    size_t slot = slot_of(map, key);
    if (map->value[slot] < 0) {
        if (2 * ((size_t)map->n + 1) > map->mask + 1) {
            FLIP_TRY(grow(map));
            slot = slot_of(map, key);
        }
        if (map->n == INT32_MAX)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "a rank needs more than 2147483647 remote nodes; use more ranks");
        map->key[slot] = key;
        map->value[slot] = map->n++;
    }
    *number = map->value[slot];
    return FLIP_OK;
}

int32_t flip_gid_map_find(const flip_gid_map *map, flip_gid key) {
    return map->value[slot_of(map, key)];
}

/* ---- order ---- */

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

/* One stable counting pass by the digit at `shift`. */
static void radix_pass(int32_t *to, const int32_t *from, const int64_t *key, int32_t n, int shift) {
    int32_t start[RADIX + 1] = {0};
    for (int32_t i = 0; i < n; i++)
        start[((key[i] >> shift) & (RADIX - 1)) + 1]++;
    for (int32_t d = 0; d < RADIX; d++)
        start[d + 1] += start[d];
    for (int32_t i = 0; i < n; i++)
        to[start[(key[from[i]] >> shift) & (RADIX - 1)]++] = from[i];
}

flip_status flip_order_by_key(int32_t *order, const int64_t *key, int32_t n) {
    int64_t largest = 0;
    bool sorted = true;
    for (int32_t i = 0; i < n; i++) {
        order[i] = i;
        if (key[i] > largest) largest = key[i];
        if (i > 0 && key[i] < key[i - 1]) sorted = false;
    }
    if (sorted) return FLIP_OK;
    int32_t *other, *from = order;
    FLIP_TRY(flip_alloc(&other, (size_t)n, sizeof *other, "order of nodes"));
    int32_t *to = other;
    for (int shift = 0; shift < 63 && largest >> shift > 0; shift += RADIX_BITS) {
        radix_pass(to, from, key, n, shift);
        int32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order) memcpy(order, from, (size_t)n * sizeof *order);
    flip_free(other);
    return FLIP_OK;
}

/* ---- sliding sums ---- */

/* Blocks of `length`: a window is the tail of one block and the head of the next (van Herk 1992),
 * so nothing is ever subtracted and a large weight that leaves takes no digits along. Blocks begin
 * at multiples of `length` of the timeline, so that a sum has the same bits wherever s begins. */
void flip_window_sum(double *s, int32_t n, int32_t first, int32_t length, double *scratch) {
    double *mine = scratch, *tail = scratch + length;
    if (length <= 1) return;
    bool before = false; /* there is a block before this one */
    for (int32_t start = -(first % length); start < n; start += length, before = true) {
        int32_t from = start > 0 ? 0 : -start, until = n - start < length ? n - start : length;
        double head = 0, sum = 0;
        for (int32_t k = from; k < until; k++) {
            mine[k] = s[start + k];
            head += mine[k];
            s[start + k] = before && k + 1 < length ? tail[k + 1] + head : head;
        }
        for (int32_t k = until - 1; k >= 0; k--)
            tail[k] = k >= from ? (sum += mine[k]) : sum;
    }
}
