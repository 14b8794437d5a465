/* Text to code by open addressing; the texts themselves stand in one block. */
#include "datasets/read_names.h"
#include "datasets/read_number.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* short texts: the call would cost as much as the hash */
#include <xxhash.h>

void flip_names_finish(flip_names *names) {
    flip_free(names->bytes);
    flip_free(names->ptr);
    flip_free(names->slot);
    *names = (flip_names){0};
}

static flip_status grow_slots(flip_names *names) {
    size_t n_slots = names->n_slots ? 2 * names->n_slots : 1024;
    uint64_t *slot;
    FLIP_TRY(flip_alloc_zero(&slot, n_slots, sizeof *slot, "table of names"));
    for (int64_t code = 0; code < names->n; code++) {
        size_t length;
        const char *text = flip_names_text(names, code, &length);
        uint64_t hash = XXH3_64bits(text, length);
        size_t at = hash & (n_slots - 1);
        while (slot[at])
            at = (at + 1) & (n_slots - 1);
        slot[at] = (hash & 0xFFFFFFFF00000000u) | (uint64_t)(code + 1);
    }
    flip_free(names->slot);
    names->slot = slot;
    names->n_slots = n_slots;
    return FLIP_OK;
}

static flip_status reserve(flip_names *names, size_t length) {
    size_t used = names->n ? (size_t)names->ptr[names->n] : 0;
    if (used + length > names->bytes_capacity) {
        size_t capacity = (used + length) + (used + length) / 2 + 4096;
        FLIP_TRY(flip_grow(&names->bytes, used, capacity, 1, "names"));
        names->bytes_capacity = capacity;
    }
    if ((size_t)names->n + 2 > names->ptr_capacity) {
        size_t kept = names->ptr ? (size_t)names->n + 1 : 0,
               capacity = (size_t)names->n * 3 / 2 + 512;
        FLIP_TRY(flip_grow(&names->ptr, kept, capacity, sizeof *names->ptr, "names"));
        names->ptr_capacity = capacity;
        names->ptr[0] = 0;
    }
    return FLIP_OK;
}

/* The slot that holds the text, or the empty one where it belongs. */
static size_t seek(const flip_names *names, const char *text, size_t length, uint64_t hash) {
    size_t at = hash & (names->n_slots - 1);
    for (uint64_t slot; (slot = names->slot[at]); at = (at + 1) & (names->n_slots - 1)) {
        size_t other;
        if ((slot ^ hash) >> 32) continue;
        const char *known = flip_names_text(names, (int64_t)(uint32_t)slot - 1, &other);
        if (other == length && !memcmp(known, text, length)) break;
    }
    return at;
}

bool flip_names_find(const flip_names *names, const char *text, size_t length, uint32_t *code) {
    if (names->n == 0) return false;
    uint64_t slot = names->slot[seek(names, text, length, XXH3_64bits(text, length))];
    *code = (uint32_t)slot - 1;
    return slot != 0;
}

flip_status flip_names_add(flip_names *names, const char *text, size_t length, int64_t most,
                           uint32_t *code) {
    if ((size_t)names->n * 10 >= names->n_slots * 6) FLIP_TRY(grow_slots(names));
    uint64_t hash = XXH3_64bits(text, length);
    size_t at = seek(names, text, length, hash);
    if (names->slot[at]) {
        *code = (uint32_t)names->slot[at] - 1;
        return FLIP_OK;
    }
    if (names->n >= most)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "more than %lld different names", (long long)most);
    FLIP_TRY(reserve(names, length));
    *code = (uint32_t)names->n;
    memcpy(names->bytes + names->ptr[names->n], text, length);
    names->ptr[names->n + 1] = names->ptr[names->n] + (int64_t)length;
    names->n++;
    names->slot[at] = (hash & 0xFFFFFFFF00000000u) | (uint64_t)names->n;
    return FLIP_OK;
}

/* ---- order ---- */

static int by_value(const void *a, const void *b, void *values) {
    int64_t x = ((int64_t *)values)[*(const uint32_t *)a],
            y = ((int64_t *)values)[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

static int by_bytes(const void *a, const void *b, void *context) {
    const flip_names *names = context;
    size_t n, m;
    const char *x = flip_names_text(names, *(const uint32_t *)a, &n);
    const char *y = flip_names_text(names, *(const uint32_t *)b, &m);
    int order = memcmp(x, y, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

flip_status flip_names_order(const flip_names *names, uint32_t *order, bool *integers) {
    int64_t *values;
    FLIP_TRY(flip_alloc(&values, (size_t)names->n, sizeof *values, "values of names"));
    *integers = true;
    for (int64_t code = 0; code < names->n; code++) {
        size_t length;
        const char *text = flip_names_text(names, code, &length);
        order[code] = (uint32_t)code;
        *integers = *integers && flip_is_plain_integer(text, length) &&
                    flip_parse_integer(text, length, &values[code]) == FLIP_NUMBER_OK;
    }
    if (names->n > 1)
        qsort_r(order, (size_t)names->n, sizeof *order, *integers ? by_value : by_bytes,
                *integers ? (void *)values : (void *)names);
    flip_free(values);
    return FLIP_OK;
}

flip_status flip_names_join(const flip_names *names, const uint32_t *order, char separator,
                            char **out, int64_t **ptr, size_t *bytes) {
    size_t total =
        (names->n ? (size_t)names->ptr[names->n] : 0) + (separator ? (size_t)names->n : 0);
    FLIP_TRY(flip_alloc(out, total, 1, "names"));
    flip_status status =
        ptr ? flip_alloc(ptr, (size_t)names->n + 1, sizeof **ptr, "names") : FLIP_OK;
    if (status != FLIP_OK) {
        flip_free(*out);
        return status;
    }
    *bytes = 0;
    for (int64_t i = 0; i < names->n; i++) {
        size_t length;
        const char *text = flip_names_text(names, order[i], &length);
        if (ptr) (*ptr)[i] = (int64_t)*bytes;
        memcpy(*out + *bytes, text, length);
        *bytes += length;
        if (separator) (*out)[(*bytes)++] = separator;
    }
    if (ptr) (*ptr)[names->n] = (int64_t)*bytes;
    return FLIP_OK;
}
