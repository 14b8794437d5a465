/* Which node of an old container is which node of a grown one.
 *
 * A node is who its name says: text (nodes/name, by its 128-bit XXH3), or a number (nodes/number;
 * without it, nodes/original; without that, its place). Importing a grown file numbers the nodes
 * anew, names stay. */
#include "partition/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BLOCK = 1 << 16 };

typedef struct key {
    uint64_t high, low;
} key;

typedef struct known {
    key key;
    int64_t row;
} known;

/* The keys of a container's nodes, a block of rows at a time. */
typedef struct names {
    const flip_reader *reader; /* borrowed */
    const char *numbers;       /* dataset, or NULL */
    bool text;
    int64_t *ptr; /* [BLOCK + 1] owned */
    char *bytes;  /* [capacity] owned */
    int64_t capacity;
} names;

static flip_status names_open(names *s, const flip_reader *reader) {
    *s = (names){.reader = reader, .text = flip_reader_has(reader, "nodes/name_ptr")};
    if (flip_reader_has(reader, "nodes/number"))
        s->numbers = "nodes/number";
    else if (flip_reader_has(reader, "nodes/original"))
        s->numbers = "nodes/original";
    return flip_alloc(&s->ptr, BLOCK + 1, sizeof *s->ptr, "names of nodes");
}

static void names_close(names *s) {
    flip_free(s->ptr);
    flip_free(s->bytes);
    *s = (names){0};
}

static flip_status read_texts(names *s, int64_t first, int64_t n, key *out) {
    FLIP_TRY(flip_reader_rows(s->reader, "nodes/name_ptr", FLIP_TYPE_I64, first, n + 1, s->ptr));
    int64_t base = s->ptr[0], length = s->ptr[n] - base, dims[3];
    FLIP_TRY(flip_reader_shape(s->reader, "nodes/name", dims, NULL));
    for (int64_t i = 0; i < n; i++)
        if (s->ptr[i] < 0 || s->ptr[i + 1] < s->ptr[i] || s->ptr[i + 1] > dims[0])
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': nodes/name_ptr falls or leaves its table at %" PRId64,
                             flip_reader_path(s->reader), first + i + 1);
    if (length > s->capacity) {
        FLIP_TRY(flip_grow(&s->bytes, 0, (size_t)length, 1, "names of nodes"));
        s->capacity = length;
    }
    FLIP_TRY(flip_reader_rows(s->reader, "nodes/name", FLIP_TYPE_U8, base, length, s->bytes));
    for (int64_t i = 0; i < n; i++) {
        XXH128_hash_t h =
            XXH3_128bits(s->bytes + (s->ptr[i] - base), (size_t)(s->ptr[i + 1] - s->ptr[i]));
        out[i] = (key){h.high64, h.low64};
    }
    return FLIP_OK;
}

/* out [n], n at most BLOCK. */
static flip_status names_read(names *s, int64_t first, int64_t n, key *out) {
    if (n == 0) return FLIP_OK;
    if (s->text) return read_texts(s, first, n, out);
    if (s->numbers)
        FLIP_TRY(flip_reader_rows(s->reader, s->numbers, FLIP_TYPE_I64, first, n, s->ptr));
    for (int64_t i = 0; i < n; i++)
        out[i] = (key){0, (uint64_t)(s->numbers ? s->ptr[i] : first + i)};
    return FLIP_OK;
}

static int compare(key a, key b) {
    if (a.high != b.high) return a.high < b.high ? -1 : 1;
    return (a.low > b.low) - (a.low < b.low);
}

static int by_key(const void *left, const void *right) {
    const known *a = left, *b = right;
    int order = compare(a->key, b->key);
    return order ? order : (a->row > b->row) - (a->row < b->row);
}

/* all [n]: the old nodes by key. */
static flip_status read_old(known *all, int64_t n, names *s) {
    flip_status status = FLIP_OK;
    key *keys = NULL;
    FLIP_TRY_GOTO(flip_alloc(&keys, BLOCK, sizeof *keys, "names of nodes"));
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t count = n - first < BLOCK ? n - first : BLOCK;
        FLIP_TRY_GOTO(names_read(s, first, count, keys));
        for (int64_t i = 0; i < count; i++)
            all[first + i] = (known){keys[i], first + i};
    }
    qsort(all, (size_t)n, sizeof *all, by_key);
    for (int64_t i = 1; i < n; i++)
        if (compare(all[i - 1].key, all[i].key) == 0)
            FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT,
                                    "'%s': nodes %" PRId64 " and %" PRId64
                                    " have the same name; nodes cannot be told by it",
                                    flip_reader_path(s->reader), all[i - 1].row, all[i].row));
done:
    flip_free(keys);
    return status;
}

static known *find(known *all, int64_t n, key wanted) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (compare(all[middle].key, wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && compare(all[low].key, wanted) == 0 ? &all[low] : NULL;
}

static int32_t part_of(const int64_t *first, int32_t n_parts, int64_t row) {
    int32_t low = 0, high = n_parts - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (first[middle + 1] <= row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* home [n] of the grown graph's nodes. An old node that is found gives its row away (-1). */
static flip_status look_up(flip_match *m, int32_t *home, int64_t n, known *all, int64_t n_old,
                           const int64_t *first, names *s) {
    flip_status status = FLIP_OK;
    key *keys = NULL;
    FLIP_TRY_GOTO(flip_alloc(&keys, BLOCK, sizeof *keys, "names of nodes"));
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t count = n - at < BLOCK ? n - at : BLOCK;
        FLIP_TRY_GOTO(names_read(s, at, count, keys));
        for (int64_t i = 0; i < count; i++) {
            known *old = find(all, n_old, keys[i]);
            home[at + i] = -1;
            if (!old) continue;
            if (old->row < 0)
                FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT,
                                        "'%s': node %" PRId64
                                        " has the name of a node before it; nodes cannot be told",
                                        flip_reader_path(s->reader), at + i));
            home[at + i] = part_of(first, m->n_parts, old->row);
            old->row = -1;
            m->n_known++;
        }
    }
    m->n_new = n - m->n_known;
    m->n_vanished = n_old - m->n_known;
done:
    flip_free(keys);
    return status;
}

/* parts/first of a partitioned container: owned by the caller. */
static flip_status read_parts(int64_t **first, int32_t *n_parts, int64_t n,
                              const flip_reader *old) {
    int64_t dims[3];
    FLIP_TRY(flip_reader_shape(old, "parts/first", dims, NULL));
    if (dims[0] < 2 || dims[0] > FLIP_PARTITION_MOST_PARTS + 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': parts/first has %" PRId64 " entries",
                         flip_reader_path(old), dims[0]);
    *n_parts = (int32_t)(dims[0] - 1);
    FLIP_TRY(flip_alloc(first, (size_t)dims[0], sizeof **first, "parts"));
    FLIP_TRY(flip_reader_rows(old, "parts/first", FLIP_TYPE_I64, 0, dims[0], *first));
    for (int64_t k = 0; k < dims[0]; k++)
        if ((*first)[k] < (k ? (*first)[k - 1] : 0) || (*first)[k] > n ||
            (k == 0 && (*first)[0] != 0) || (k + 1 == dims[0] && (*first)[k] != n))
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': parts/first[%" PRId64 "] is %" PRId64 " of %" PRId64 " nodes",
                             flip_reader_path(old), k, (*first)[k], n);
    return FLIP_OK;
}

flip_status flip_match_nodes(flip_match *m, int32_t *home, int64_t n, const flip_reader *graph,
                             const flip_reader *old) {
    flip_status status = FLIP_OK;
    int64_t rows[3], *first = NULL;
    known *all = NULL;
    names before = {0}, now = {0};
    *m = (flip_match){0};
    FLIP_TRY(flip_reader_shape(old, "events/indptr", rows, NULL));
    int64_t n_old = rows[0] - 1;
    FLIP_TRY_GOTO(read_parts(&first, &m->n_parts, n_old, old));
    FLIP_TRY_GOTO(names_open(&before, old));
    FLIP_TRY_GOTO(names_open(&now, graph));
    if (before.text != now.text)
        FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT,
                                "nodes are named by text in '%s' and by numbers in '%s'; they "
                                "cannot be told; import both the same way (--ids)",
                                flip_reader_path(before.text ? old : graph),
                                flip_reader_path(before.text ? graph : old)));
    FLIP_TRY_GOTO(flip_alloc(&all, (size_t)n_old, sizeof *all, "names of nodes"));
    FLIP_TRY_GOTO(read_old(all, n_old, &before));
    FLIP_TRY_GOTO(look_up(m, home, n, all, n_old, first, &now));
done:
    names_close(&before);
    names_close(&now);
    flip_free(all);
    flip_free(first);
    return status;
}
