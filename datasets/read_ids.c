/* Ids to codes while reading, codes to numbers afterwards. */
#include "datasets/read_ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void flip_ids_init(flip_ids *ids, flip_edges *edges) {
    *ids = (flip_ids){.kind = FLIP_IDS_DIRECT, .direct_most = -1, .edges = edges};
}

void flip_ids_finish(flip_ids *ids) {
    flip_free(ids->slot);
    flip_names_finish(&ids->names);
    *ids = (flip_ids){0};
}

/* ---- the map of integers ---- */

static size_t home(const flip_ids *ids, int64_t id) {
    uint64_t x = (uint64_t)id * 0x9E3779B97F4A7C15u; /* Fibonacci hashing */
    return (x ^ x >> 32) & (ids->n_slots - 1);
}

static flip_status grow_slots(flip_ids *ids) {
    flip_id_slot *old = ids->slot;
    size_t n_old = ids->n_slots;
    ids->n_slots = n_old ? 2 * n_old : 4096;
    flip_status status = flip_alloc_zero(&ids->slot, ids->n_slots, sizeof *ids->slot, "map of ids");
    if (status != FLIP_OK) {
        ids->slot = old;
        ids->n_slots = n_old;
        return status;
    }
    for (size_t i = 0; i < n_old; i++) {
        if (!old[i].code) continue;
        size_t at = home(ids, old[i].id);
        while (ids->slot[at].code)
            at = (at + 1) & (ids->n_slots - 1);
        ids->slot[at] = old[i];
    }
    flip_free(old);
    return FLIP_OK;
}

static flip_status add_number(flip_ids *ids, int64_t id, uint32_t *code) {
    size_t at = home(ids, id);
    while (ids->slot[at].code && ids->slot[at].id != id)
        at = (at + 1) & (ids->n_slots - 1);
    if (!ids->slot[at].code) {
        if (ids->n >= FLIP_NODES_MOST)
            return FLIP_FAIL(FLIP_ERROR_INPUT, "more than %d different node ids", FLIP_NODES_MOST);
        ids->slot[at] = (flip_id_slot){id, ++ids->n};
    }
    *code = (uint32_t)(ids->slot[at].code - 1);
    return FLIP_OK;
}

static flip_status map_numbers(flip_ids *ids, const int64_t *id, int64_t n, uint32_t *code) {
    enum { AHEAD = 8 };
    while ((ids->n + (size_t)n) * 10 > ids->n_slots * 6)
        FLIP_TRY(grow_slots(ids));
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n) __builtin_prefetch(&ids->slot[home(ids, id[i + AHEAD])]);
        FLIP_TRY(add_number(ids, id[i], &code[i]));
    }
    return FLIP_OK;
}

/* Codes of edges that were their ids. */
static flip_status recode(flip_ids *ids, uint32_t *code, int64_t n) {
    enum { BATCH = 1024 };
    int64_t id[BATCH];
    for (int64_t first = 0; first < n; first += BATCH) {
        int64_t some = n - first < BATCH ? n - first : BATCH;
        for (int64_t i = 0; i < some; i++)
            id[i] = code[first + i];
        FLIP_TRY(map_numbers(ids, id, some, code + first));
    }
    return FLIP_OK;
}

flip_status flip_ids_to_number(flip_ids *ids) {
    if (ids->kind != FLIP_IDS_DIRECT) return FLIP_OK;
    ids->kind = FLIP_IDS_NUMBER;
    for (int32_t c = 0; c < ids->edges->n_chunks; c++) {
        flip_edge_chunk *chunk = &ids->edges->chunk[c];
        FLIP_TRY(recode(ids, chunk->src, chunk->n));
        FLIP_TRY(recode(ids, chunk->dst, chunk->n));
    }
    return FLIP_OK;
}

flip_status flip_ids_map(flip_ids *ids, const int64_t *id, int64_t n, uint32_t *code) {
    if (ids->kind == FLIP_IDS_DIRECT) {
        uint64_t all = 0;
        int64_t most = ids->direct_most;
        for (int64_t i = 0; i < n; i++) {
            all |= (uint64_t)id[i];
            most = id[i] > most ? id[i] : most;
            code[i] = (uint32_t)id[i];
        }
        if (all < (uint64_t)FLIP_NODES_MOST + 1) {
            ids->direct_most = most;
            return FLIP_OK;
        }
        FLIP_TRY(flip_ids_to_number(ids));
    }
    return map_numbers(ids, id, n, code);
}

/* ---- text ---- */

flip_status flip_ids_list(const flip_ids *ids, int64_t **id) {
    FLIP_TRY(flip_alloc(id, (size_t)ids->n, sizeof **id, "ids of codes"));
    for (size_t i = 0; i < ids->n_slots; i++)
        if (ids->slot[i].code) (*id)[ids->slot[i].code - 1] = ids->slot[i].id;
    return FLIP_OK;
}

flip_status flip_ids_to_text(flip_ids *ids) {
    if (ids->kind == FLIP_IDS_TEXT) return FLIP_OK;
    int64_t *id;
    flip_status status = FLIP_OK;
    FLIP_TRY(flip_ids_to_number(ids));
    FLIP_TRY(flip_ids_list(ids, &id));
    for (int64_t code = 0; code < ids->n && status == FLIP_OK; code++) {
        char text[24];
        uint32_t same; /* codes stay */
        int length = snprintf(text, sizeof text, "%lld", (long long)id[code]);
        status = flip_names_add(&ids->names, text, (size_t)length, FLIP_NODES_MOST, &same);
    }
    flip_free(id);
    flip_free(ids->slot);
    ids->slot = NULL;
    ids->n_slots = 0;
    ids->kind = FLIP_IDS_TEXT;
    return status;
}

flip_status flip_ids_text(flip_ids *ids, const char *text, size_t length, uint32_t *code) {
    FLIP_TRY(flip_names_add(&ids->names, text, length, FLIP_NODES_MOST, code));
    ids->n = ids->names.n;
    return FLIP_OK;
}

/* ---- codes to numbers ---- */

void flip_numbering_finish(flip_numbering *numbering) {
    flip_free(numbering->node);
    flip_free(numbering->number);
    flip_free(numbering->name);
    flip_free(numbering->name_ptr);
    *numbering = (flip_numbering){0};
}

static flip_status wrong_count(const flip_ids *ids, int64_t n, const flip_number_params *p) {
    if (ids->kind == FLIP_IDS_DIRECT)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "the edges have %lld different ids up to %lld, but %s has %lld rows; row "
                         "i belongs to id i, so ids must be below %lld (or there must be exactly "
                         "as many ids as rows, in ascending order)",
                         (long long)n, (long long)ids->direct_most, p->who, (long long)p->n_known,
                         (long long)p->n_known);
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "the edges have %lld different ids, but %s has %lld rows; rows stand for the "
                     "ids in ascending order, so the two must be equal",
                     (long long)n, p->who, (long long)p->n_known);
}

/* Direct mode: which ids occur, and how many lie before each 64. */
static flip_status mark_seen(const flip_ids *ids, uint64_t *seen, size_t n_words,
                             const flip_number_params *p) {
    for (int32_t c = 0; c < ids->edges->n_chunks; c++) {
        const flip_edge_chunk *chunk = &ids->edges->chunk[c];
        for (int64_t i = 0; i < chunk->n; i++) {
            seen[chunk->src[i] / 64] |= 1ull << chunk->src[i] % 64;
            seen[chunk->dst[i] / 64] |= 1ull << chunk->dst[i] % 64;
        }
    }
    return p->join ? p->join(p->user, seen, n_words) : FLIP_OK;
}

static flip_status number_seen(const flip_ids *ids, flip_numbering *out, const uint64_t *seen) {
    size_t n_ids = (size_t)ids->direct_most + 1;
    FLIP_TRY(flip_alloc(&out->number, (size_t)out->n_nodes, sizeof *out->number, "ids of nodes"));
    FLIP_TRY(flip_alloc(&out->node, n_ids, sizeof *out->node, "numbers of ids"));
    int64_t n = 0;
    for (int64_t id = 0; id <= ids->direct_most; id++)
        if (seen[id / 64] >> id % 64 & 1) {
            out->number[n] = id;
            out->node[id] = (uint32_t)n++;
        }
    return FLIP_OK;
}

static flip_status number_direct(flip_ids *ids, flip_numbering *out, const flip_number_params *p) {
    size_t n_words = (size_t)(ids->direct_most + 1 + 63) / 64;
    uint64_t *seen;
    FLIP_TRY(flip_alloc_zero(&seen, n_words, sizeof *seen, "ids seen"));
    flip_status status = mark_seen(ids, seen, n_words, p);
    for (size_t w = 0; w < n_words; w++)
        out->n_nodes += __builtin_popcountll(seen[w]);
    if (status == FLIP_OK && p->n_known >= 0 && out->n_nodes != p->n_known)
        status = wrong_count(ids, out->n_nodes, p);
    else if (status == FLIP_OK && out->n_nodes != ids->direct_most + 1)
        status = number_seen(ids, out, seen);
    flip_free(seen);
    return status;
}

typedef struct pair {
    int64_t id;
    uint32_t code;
} pair;

static int by_id(const void *a, const void *b) {
    int64_t x = ((const pair *)a)->id, y = ((const pair *)b)->id;
    return (x > y) - (x < y);
}

static flip_status number_integers(flip_ids *ids, flip_numbering *out) {
    pair *pairs;
    FLIP_TRY(flip_alloc(&pairs, (size_t)ids->n, sizeof *pairs, "ids"));
    for (size_t i = 0; i < ids->n_slots; i++)
        if (ids->slot[i].code) {
            int64_t code = ids->slot[i].code - 1;
            pairs[code] = (pair){ids->slot[i].id, (uint32_t)code};
        }
    flip_free(ids->slot);
    ids->slot = NULL;
    ids->n_slots = 0;
    if (ids->n > 1) qsort(pairs, (size_t)ids->n, sizeof *pairs, by_id);
    flip_status status =
        flip_alloc(&out->node, (size_t)ids->n, sizeof *out->node, "numbers of ids");
    bool own = ids->n > 0 && pairs[0].id == 0 && pairs[ids->n - 1].id == ids->n - 1;
    if (status == FLIP_OK && !own)
        status = flip_alloc(&out->number, (size_t)ids->n, sizeof *out->number, "ids of nodes");
    for (int64_t i = 0; i < ids->n && status == FLIP_OK; i++) {
        out->node[pairs[i].code] = (uint32_t)i;
        if (out->number) out->number[i] = pairs[i].id;
    }
    flip_free(pairs);
    return status;
}

static flip_status number_text(flip_ids *ids, flip_numbering *out) {
    uint32_t *order;
    bool integers;
    FLIP_TRY(flip_alloc(&order, (size_t)ids->n, sizeof *order, "order of names"));
    flip_status status = flip_names_order(&ids->names, order, &integers);
    if (status == FLIP_OK)
        status = flip_alloc(&out->node, (size_t)ids->n, sizeof *out->node, "numbers of ids");
    for (int64_t i = 0; i < ids->n && status == FLIP_OK; i++)
        out->node[order[i]] = (uint32_t)i;
    if (status == FLIP_OK)
        status =
            flip_names_join(&ids->names, order, 0, &out->name, &out->name_ptr, &out->name_bytes);
    flip_free(order);
    return status;
}

bool flip_ids_far_apart(const flip_ids *ids, const flip_number_params *p) {
    return ids->kind == FLIP_IDS_DIRECT && ids->direct_most >= p->n_known &&
           ids->direct_most > 2 * p->n_edges + (1 << 20);
}

flip_status flip_ids_number(flip_ids *ids, flip_numbering *out, const flip_number_params *p) {
    *out = (flip_numbering){0};
    if (ids->kind == FLIP_IDS_DIRECT && ids->direct_most < p->n_known) {
        out->n_nodes = p->n_known; /* ids are row numbers, some perhaps without an edge */
        return FLIP_OK;
    }
    if (flip_ids_far_apart(ids, p)) FLIP_TRY(flip_ids_to_number(ids));
    if (ids->kind == FLIP_IDS_DIRECT) return number_direct(ids, out, p);
    if (p->n_known >= 0 && ids->n != p->n_known) return wrong_count(ids, ids->n, p);
    out->n_nodes = ids->n;
    return ids->kind == FLIP_IDS_NUMBER ? number_integers(ids, out) : number_text(ids, out);
}
