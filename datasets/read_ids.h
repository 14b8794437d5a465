/* From the ids in a file to node numbers 0 … N-1.
 *
 * Reading gives every id a code at once; finish gives every code its number, in ascending order of
 * the ids (numbers by value, texts by their bytes), so the order of the lines does not matter:
 *
 *   direct   every id so far is an integer in [0, 2^31): the code is the id
 *   number   other integers (negative, large): codes by an open-addressing map
 *   text     an id that is not a plain integer (007, +1 and 1.0 are text) makes all of them text
 *
 * Integers 0 … N-1, all of them used, are their own numbers. */
#ifndef FLIPBOOK_READ_IDS_H
#define FLIPBOOK_READ_IDS_H

#include "datasets/edges.h"
#include "datasets/read_names.h"

typedef enum flip_id_kind { FLIP_IDS_DIRECT, FLIP_IDS_NUMBER, FLIP_IDS_TEXT } flip_id_kind;

typedef struct flip_id_slot {
    int64_t id;
    int64_t code; /* + 1; 0 = empty */
} flip_id_slot;

typedef struct flip_ids {
    flip_id_kind kind;
    int64_t n;           /* codes given (number, text) */
    int64_t direct_most; /* greatest id in direct mode, -1 = none */
    flip_id_slot *slot;  /* owned, [n_slots] a power of two */
    size_t n_slots;
    flip_names names;  /* text */
    flip_edges *edges; /* borrowed: codes there change when direct mode ends */
} flip_ids;

enum { FLIP_NODES_MOST = 0x7FFFFFFF };

void flip_ids_init(flip_ids *ids, flip_edges *edges);
void flip_ids_finish(flip_ids *ids);
/* Codes of n integers (n <= 1024); turns to number mode when one is not in [0, 2^31). */
flip_status flip_ids_map(flip_ids *ids, const int64_t *id, int64_t n, uint32_t *code);
flip_status flip_ids_to_number(flip_ids *ids);
flip_status flip_ids_to_text(flip_ids *ids);
/* The id of every code, [n] (number mode). */
flip_status flip_ids_list(const flip_ids *ids, int64_t **id);
flip_status flip_ids_text(flip_ids *ids, const char *text, size_t length, uint32_t *code);

typedef struct flip_numbering {
    int64_t n_nodes;
    uint32_t *node;    /* [codes] owned: number of a code; NULL = the code is the number */
    int64_t *number;   /* [n_nodes] owned: ids as given where they are other integers; or NULL */
    char *name;        /* [name_bytes] owned, or NULL */
    int64_t *name_ptr; /* [n_nodes + 1] owned, or NULL */
    size_t name_bytes;
} flip_numbering;

/* n_known >= 0: the number of nodes as another file tells it (rows of features, labels …); ids in
 * [0, n_known) are then kept as they are, and other ids need exactly n_known different values.
 * `who` names that file. */
typedef struct flip_number_params {
    int64_t n_known; /* see above; -1 = not known */
    const char *who; /* tells it */
    int64_t n_edges; /* of all ranks */
    /* Several ranks: the bitwise or of `bits` [n_words] over them; NULL = one process. Codes must
     * be the same on all ranks already where ids are not direct. */
    flip_status (*join)(void *user, uint64_t *bits, size_t n_words);
    void *user;
} flip_number_params;
flip_status flip_ids_number(flip_ids *ids, flip_numbering *numbering,
                            const flip_number_params *params);
/* Direct ids so far apart that a table of all of them would be larger than the edges. */
bool flip_ids_far_apart(const flip_ids *ids, const flip_number_params *params);
void flip_numbering_finish(flip_numbering *numbering);

#endif
