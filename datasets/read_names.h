/* Different texts numbered by first appearance: ids that are text, names of classes.
 *
 *     bytes: a l i c e b o b …        ptr: 0 5 8 …        slot: open addressing, code + 1 and a tag
 */
#ifndef FLIPBOOK_READ_NAMES_H
#define FLIPBOOK_READ_NAMES_H

#include <flipbook/base.h>

typedef struct flip_names {
    int64_t n;
    char *bytes;  /* owned, all texts one after the other */
    int64_t *ptr; /* owned, [n + 1] */
    size_t bytes_capacity, ptr_capacity;
    uint64_t *slot; /* owned, [n_slots]: hash tag << 32 | code + 1; 0 = empty */
    size_t n_slots; /* a power of two */
} flip_names;

void flip_names_finish(flip_names *names);
/* The code of text[length]; a new one for a new text. At most `most` texts. */
flip_status flip_names_add(flip_names *names, const char *text, size_t length, int64_t most,
                           uint32_t *code);
bool flip_names_find(const flip_names *names, const char *text, size_t length, uint32_t *code);
static inline const char *flip_names_text(const flip_names *names, int64_t code, size_t *length) {
    *length = (size_t)(names->ptr[code + 1] - names->ptr[code]);
    return names->bytes + names->ptr[code];
}
/* order[n]: codes in ascending order: by value where all are integers, else by their bytes. */
flip_status flip_names_order(const flip_names *names, uint32_t *order, bool *integers);
/* The texts in that order, each followed by `separator` (0: none): *out is the caller's, *ptr too
 * where it is not NULL ([n + 1]). */
flip_status flip_names_join(const flip_names *names, const uint32_t *order, char separator,
                            char **out, int64_t **ptr, size_t *bytes);

#endif
