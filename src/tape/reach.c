/* What the tape's device has of the host's arrays. On a CPU they are one. On a device an array is
 * copied when it is first asked for: until the tape is reset, or, held, until it is let go, for
 * arrays that stay as they are from pass to pass. What was made on the device is lent for a pass,
 * and is its own copy.
 *
 * A block's adjacency and inputs lie in rooms that the next block's take over, and there are two
 * sets of these: while kernels read one block's, the next one's are sent ahead to the other set, as
 * much of them as was asked for of the last that was walked the same way. What is asked for beyond
 * that is sent then. */
#include "internal.h"

#include <string.h>

/* Arrays of a block by their numbers, from 1 on. */
enum { CSR_ARRAYS = 8, ADJACENCY_ARRAYS = 2 * CSR_ARRAYS + 2, INPUTS, ROOMS };

typedef struct copy {
    const void *host;
    void *device; /* NULL: held, but not asked for yet */
    size_t bytes;
    bool held;      /* in memory of its own, or a room; else in the pool … */
    bool lent;      /* … or the caller's */
    int32_t number; /* of a block's array, which has a room; 0: of another */
    bool ahead;     /* it may still be on its way */
} copy;

typedef struct rooms {
    void *memory[ROOMS];
    size_t bytes[ROOMS];
    void *left; /* the end of what read the last block here; NULL: there was none */
} rooms;

/* Packings whose pointers are the device's. */
typedef struct packings {
    flip_packing packing;
    struct packings *next;
} packings;

struct reach {
    copy *copies;
    int32_t n, capacity;
    packings *packings;
    rooms rooms[2];
    int current;       /* the block's rooms */
    bool backward;     /* it is walked back, too */
    uint32_t asked[2]; /* bits of the arrays that were asked for, of blocks not and so */
    flip_real *host;   /* what flip_tape_value received last */
    size_t host_bytes;
};

flip_status reach_create(reach **out) {
    return flip_alloc_zero(out, 1, sizeof **out, "device copies");
}

static void free_packings(reach *r) {
    for (packings *p = r->packings, *next; p; p = next) {
        next = p->next;
        flip_free(p);
    }
    r->packings = NULL;
}

static void free_rooms(rooms *a, const flip_kernels *kernels) {
    for (int i = 1; i < ROOMS; i++)
        kernels->give_back(a->memory[i]);
    kernels->drop_end(&a->left);
}

void reach_destroy(reach **out, const flip_kernels *kernels) {
    reach *r = *out;
    if (!r) return;
    for (int32_t i = 0; i < r->n; i++)
        if (r->copies[i].held && !r->copies[i].number) kernels->give_back(r->copies[i].device);
    for (int i = 0; i < 2; i++)
        free_rooms(&r->rooms[i], kernels);
    free_packings(r);
    flip_free(r->copies);
    flip_free(r->host);
    flip_free(r);
    *out = NULL;
}

/* The pool is reset: held copies are what stays. */
void reach_reset(reach *r) {
    int32_t kept = 0;
    free_packings(r);
    for (int32_t i = 0; i < r->n; i++)
        if (r->copies[i].held) r->copies[kept++] = r->copies[i];
    r->n = kept;
}

static copy *find(reach *r, const void *host) {
    for (int32_t i = 0; i < r->n; i++)
        if (r->copies[i].host == host) return &r->copies[i];
    return NULL;
}

static flip_status add(reach *r, copy c, copy **out) {
    if (r->n == r->capacity) {
        int32_t more = r->capacity ? 2 * r->capacity : 32;
        FLIP_TRY(flip_grow(&r->copies, (size_t)r->n, (size_t)more, sizeof(copy), "device copies"));
        r->capacity = more;
    }
    r->copies[r->n] = c;
    *out = &r->copies[r->n++];
    return FLIP_OK;
}

static flip_status find_room(flip_tape *tape, copy *c) {
    rooms *a = &tape->reach->rooms[tape->reach->current];
    FLIP_TRY(flip_kernels_reserve(tape->kernels, &a->memory[c->number], &a->bytes[c->number],
                                  c->bytes ? c->bytes : 1, "a block on the device"));
    c->device = a->memory[c->number];
    return FLIP_OK;
}

static flip_status make(flip_tape *tape, copy *c) {
    if (c->number)
        FLIP_TRY(find_room(tape, c));
    else if (c->held)
        FLIP_TRY(tape->kernels->take(&c->device, c->bytes, "arrays held on the device"));
    else
        FLIP_TRY(pool_alloc(tape->pool, &c->device, c->bytes));
    tape->kernels->send(c->device, c->host, c->bytes);
    return FLIP_OK;
}

/* What the kernels are given from now on comes after all that is on its way. */
static void join(flip_tape *tape) {
    reach *r = tape->reach;
    tape->kernels->join_ahead();
    for (int32_t i = 0; i < r->n; i++)
        r->copies[i].ahead = false;
}

flip_status tape_reach(flip_tape *tape, const void *host, size_t bytes, const void *out_pointer) {
    const void **out = (const void **)out_pointer;
    reach *r = tape->reach;
    *out = host;
    if (!tape->kernels->on_device || !host) return FLIP_OK;
    copy *c = find(r, host);
    if (!c) FLIP_TRY(add(r, (copy){.host = host, .bytes = bytes}, &c));
    if (c->bytes < bytes && (c->held || c->lent))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%zu bytes of an array of %zu on the device", bytes,
                         c->bytes);
    if (c->bytes < bytes) { /* more of it: who has the first copy reads that until the reset */
        c->bytes = bytes;
        c->device = NULL;
    }
    if (!c->device) FLIP_TRY(make(tape, c));
    if (c->ahead) join(tape);
    if (c->number) r->asked[r->backward] |= 1u << c->number;
    *out = c->device;
    return FLIP_OK;
}

/* An array that the host has, where its pointer stands and how long it is. */
typedef struct array {
    const void **pointer;
    size_t bytes;
} array;

/* The arrays of a matrix that has entries, whose pointers are `a`'s. */
static void arrays_of(flip_csr *a, array out[CSR_ARRAYS]) {
    const size_t entries = (size_t)a->n_entries, rows = (size_t)a->n_rows;
    const size_t runs = a->run_ptr ? a->run_ptr[entries] : 0;
    const array all[CSR_ARRAYS] = {
        {(const void **)&a->row_ptr, (rows + 1) * sizeof *a->row_ptr},
        {(const void **)&a->col, entries * sizeof *a->col},
        {(const void **)&a->run_ptr, (entries + 1) * sizeof *a->run_ptr},
        {(const void **)&a->run_first, runs * sizeof *a->run_first},
        {(const void **)&a->value_ptr, (runs + 1) * sizeof *a->value_ptr},
        {(const void **)&a->value, (size_t)a->n_values * sizeof *a->value},
        {(const void **)&a->row_scale, rows * sizeof *a->row_scale},
        {(const void **)&a->col_scale, (size_t)a->n_cols * sizeof *a->col_scale}};
    memcpy(out, all, sizeof all);
}

flip_status tape_csr(flip_tape *tape, const flip_csr *a, flip_csr *out) {
    array all[CSR_ARRAYS];
    *out = *a;
    if (!tape->kernels->on_device || a->placed || !a->row_ptr) return FLIP_OK;
    arrays_of(out, all);
    for (int i = 0; i < CSR_ARRAYS; i++)
        FLIP_TRY(tape_reach(tape, *all[i].pointer, all[i].bytes, all[i].pointer));
    return FLIP_OK;
}

flip_status tape_turned(flip_tape *tape, const flip_adjacency *g, const int64_t **out) {
    *out = g->to_transposed;
    if (g->a.placed) return FLIP_OK;
    return tape_reach(tape, g->to_transposed, (size_t)g->a.n_entries * sizeof **out, out);
}

/* Values of a packing's `level`. */
static size_t levels_of(const flip_packing *p) {
    if (p->kind == FLIP_PACKING_MIXED) return FLIP_MIXED_LEVELS;
    if (p->kind == FLIP_PACKING_SPARSE) return 256;
    return (size_t)(p->column_levels ? p->dim : 1) << p->bits;
}

flip_status tape_packing(flip_tape *tape, const flip_packing *packing, const flip_packing **out) {
    const size_t dim = (size_t)packing->dim;
    const size_t book = (size_t)packing->blocks * (size_t)packing->length * (size_t)packing->width;
    *out = packing;
    if (!tape->kernels->on_device) return FLIP_OK;
    packings *mine;
    FLIP_TRY(flip_alloc(&mine, 1, sizeof *mine, "packing"));
    *mine = (packings){.packing = *packing, .next = tape->reach->packings};
    tape->reach->packings = mine;
    flip_packing *p = &mine->packing;
    *out = p;
    FLIP_TRY(tape_reach(tape, p->offset, dim * sizeof *p->offset, &p->offset));
    FLIP_TRY(tape_reach(tape, p->scale, dim * sizeof *p->scale, &p->scale));
    if (p->level)
        FLIP_TRY(tape_reach(tape, p->level, levels_of(packing) * sizeof *p->level, &p->level));
    FLIP_TRY(tape_reach(tape, p->codebook, book * sizeof *p->codebook, &p->codebook));
    return tape_reach(tape, p->codebook8, book, &p->codebook8);
}

/* Held again, it is sent again; what reads it may differ in how much of it they read (the scales of
 * a matrix and of its transpose are one array). */
flip_status flip_tape_hold(flip_tape *tape, const void *host, size_t bytes) {
    copy *c;
    if (!tape->kernels->on_device || !host) return FLIP_OK;
    c = find(tape->reach, host);
    if (c && c->held && c->bytes > bytes) bytes = c->bytes;
    flip_tape_let_go(tape, host);
    return add(tape->reach, (copy){.host = host, .bytes = bytes, .held = true}, &c);
}

flip_status flip_tape_reach(flip_tape *tape, const void *host, size_t bytes, void *out_pointer) {
    return tape_reach(tape, host, bytes, out_pointer);
}

flip_status flip_tape_lend(flip_tape *tape, const void *memory, size_t bytes) {
    copy *c;
    if (!tape->kernels->on_device || !memory) return FLIP_OK;
    c = find(tape->reach, memory);
    if (c && c->bytes >= bytes) return FLIP_OK;
    flip_tape_let_go(tape, memory);
    return add(tape->reach,
               (copy){.host = memory, .device = (void *)memory, .bytes = bytes, .lent = true}, &c);
}

bool flip_tape_on_device(const flip_tape *tape) {
    return tape->kernels->on_device;
}

void flip_tape_let_go(flip_tape *tape, const void *host) {
    copy *c = host ? find(tape->reach, host) : NULL;
    if (!c) return;
    if (c->ahead) join(tape);
    if (c->held && !c->number)
        tape->kernels->give_back(c->device);
    else if (!c->held && !c->lent)
        pool_free(tape->pool, c->device);
    *c = tape->reach->copies[--tape->reach->n];
}

/* ---- a block ---- */

/* Its arrays in the order of their numbers, less one; those that it does not have are NULL. `of`
 * keeps the pointers. */
static void adjacency_arrays(flip_adjacency *of, array out[ADJACENCY_ARRAYS]) {
    if (of->a.row_ptr) arrays_of(&of->a, out);
    if (of->at.row_ptr) arrays_of(&of->at, out + CSR_ARRAYS);
    out[2 * CSR_ARRAYS] = (array){(const void **)&of->to_transposed,
                                  (size_t)of->a.n_entries * sizeof *of->to_transposed};
    out[2 * CSR_ARRAYS + 1] =
        (array){(const void **)&of->row_order, (size_t)of->n_own * sizeof *of->row_order};
}

flip_status flip_tape_lend_adjacency(flip_tape *tape, const flip_adjacency *g) {
    flip_adjacency of = *g;
    array all[ADJACENCY_ARRAYS] = {{NULL, 0}};
    if (g->a.run_ptr || g->at.run_ptr) /* how many runs there are is not for the host to read */
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a matrix of %d steps is lent", g->a.n_steps);
    adjacency_arrays(&of, all);
    for (int i = 0; i < ADJACENCY_ARRAYS; i++)
        if (all[i].pointer) FLIP_TRY(flip_tape_lend(tape, *all[i].pointer, all[i].bytes));
    return FLIP_OK;
}

/* Two arrays may be one, and have the first one's room. */
static flip_status hold_array(flip_tape *tape, const array *a, int32_t number) {
    const void *host = a->pointer ? *a->pointer : NULL;
    copy *c = host ? find(tape->reach, host) : NULL;
    if (c && c->number) {
        c->bytes = a->bytes > c->bytes ? a->bytes : c->bytes;
        return FLIP_OK;
    }
    FLIP_TRY(flip_tape_hold(tape, host, a->bytes));
    c = host ? find(tape->reach, host) : NULL;
    if (c) c->number = number;
    return FLIP_OK;
}

flip_status flip_tape_hold_block(flip_tape *tape, const flip_adjacency *g, bool backward,
                                 bool ahead) {
    array all[ADJACENCY_ARRAYS] = {{NULL, 0}};
    reach *r = tape->reach;
    if (!tape->kernels->on_device) return FLIP_OK;
    r->backward = backward;
    if (ahead) r->current = !r->current;
    if (!g || g->a.placed) return FLIP_OK;
    flip_adjacency of = *g;
    adjacency_arrays(&of, all);
    for (int i = 0; i < ADJACENCY_ARRAYS; i++)
        FLIP_TRY(hold_array(tape, &all[i], i + 1));
    return FLIP_OK;
}

flip_status flip_tape_hold_inputs(flip_tape *tape, const flip_real *values, size_t bytes) {
    const void *host = values;
    if (!tape->kernels->on_device) return FLIP_OK;
    return hold_array(tape, &(array){.pointer = &host, .bytes = bytes}, INPUTS);
}

flip_status flip_tape_send_ahead(flip_tape *tape) {
    reach *r = tape->reach;
    for (int32_t i = 0; i < r->n; i++) {
        copy *c = &r->copies[i];
        if (c->device || !(r->asked[r->backward] >> c->number & 1)) continue;
        FLIP_TRY(find_room(tape, c));
        tape->kernels->send_ahead(c->device, c->host, c->bytes, r->rooms[r->current].left);
        c->ahead = true;
    }
    return FLIP_OK;
}

/* What nobody asked for may still be on its way: the rooms' next arrays come after it. */
void flip_tape_let_block_go(flip_tape *tape) {
    reach *r = tape->reach;
    int32_t kept = 0;
    if (!tape->kernels->on_device) return;
    for (int32_t i = 0; i < r->n; i++)
        if (r->copies[i].ahead) join(tape);
    for (int32_t i = 0; i < r->n; i++)
        if (!r->copies[i].number) r->copies[kept++] = r->copies[i];
    r->n = kept;
    tape->kernels->mark_end(&r->rooms[r->current].left);
}

const flip_real *reach_host(flip_tape *tape, const flip_real *value, size_t bytes) {
    reach *r = tape->reach;
    if (!tape->kernels->on_device || !value) return value;
    if (bytes > r->host_bytes) {
        flip_free(r->host);
        r->host = NULL;
        r->host_bytes = 0;
        flip_status status = flip_alloc(&r->host, bytes, 1, "values from the device");
        if (status != FLIP_OK && tape->status == FLIP_OK) tape->status = status;
        if (status != FLIP_OK) return NULL;
        r->host_bytes = bytes;
    }
    tape->kernels->receive(r->host, value, bytes);
    flip_status status = tape->kernels->wait();
    if (status != FLIP_OK && tape->status == FLIP_OK) tape->status = status;
    return status == FLIP_OK ? r->host : NULL;
}
