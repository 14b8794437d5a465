/* Carry: the states that go from block to block of the timeline, and their gradients back.
 *
 * A slot keeps what stood at the beginning of every block (n_blocks: at the timeline's end), since
 * the walk back runs each block's forward again from there, and one gradient, which moves from
 * block to block against the timeline. Memory is the kernels', and kept from pass to pass. */
#include "internal.h"

#include <string.h>

typedef struct slot {
    size_t n;            /* values of a state */
    flip_real **state;   /* [n_blocks + 1] each [n], or NULL */
    bool *known;         /* [n_blocks + 1] */
    flip_real *gradient; /* [n] or NULL */
    flip_real *round[2]; /* [n] of the host: a device's gradients and states that go round staged */
    int32_t gradient_of; /* the block whose beginning it belongs to; -1 = none */
} slot;

struct flip_carry {
    const flip_kernels *kernels;
    int32_t n_blocks, n_slots;
    int32_t first; /* block at which the pass begins */
    slot *slots;
    flip_real *seen; /* what the host asked for last, of states on a device */
};

flip_status flip_carry_create(flip_carry **out, const flip_kernels *kernels, int32_t n_blocks) {
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "states between blocks"));
    (*out)->kernels = kernels ? kernels : flip_kernels_get();
    (*out)->n_blocks = n_blocks;
    return FLIP_OK;
}

static void finish_slot(const flip_carry *carry, slot *s) {
    for (int32_t k = 0; s->state && k <= carry->n_blocks; k++)
        carry->kernels->give_back(s->state[k]);
    carry->kernels->give_back(s->gradient);
    for (int i = 0; i < 2; i++)
        carry->kernels->give_back_pinned(s->round[i]);
    flip_free(s->state);
    flip_free(s->known);
    *s = (slot){.gradient_of = -1};
}

void flip_carry_destroy(flip_carry **out) {
    if (!*out) return;
    for (int32_t i = 0; i < (*out)->n_slots; i++)
        finish_slot(*out, &(*out)->slots[i]);
    flip_free((*out)->slots);
    flip_free((*out)->seen);
    flip_free(*out);
    *out = NULL;
}

void flip_carry_clear(flip_carry *carry) {
    flip_carry_clear_at(carry, 0);
}

void flip_carry_clear_at(flip_carry *carry, int32_t block) {
    carry->first = block;
    for (int32_t i = 0; i < carry->n_slots; i++) {
        slot *s = &carry->slots[i];
        if (s->known) memset(s->known, 0, ((size_t)carry->n_blocks + 1) * sizeof *s->known);
        s->gradient_of = -1;
    }
}

void flip_carry_forget(flip_carry *carry, int32_t block) {
    for (int32_t i = 0; i < carry->n_slots; i++)
        if (carry->slots[i].known) carry->slots[i].known[block] = false;
}

size_t flip_carry_bytes(const flip_carry *carry) {
    size_t bytes = 0;
    for (int32_t i = 0; carry && i < carry->n_slots; i++) {
        const slot *s = &carry->slots[i];
        for (int32_t k = 0; s->state && k <= carry->n_blocks; k++)
            bytes += s->state[k] ? s->n * sizeof(flip_real) : 0;
        bytes += s->gradient ? s->n * sizeof(flip_real) : 0;
    }
    return bytes;
}

/* Slot i for states of n values; what an earlier pass kept in another size is forgotten. */
static flip_status open_slot(flip_carry *carry, int32_t i, size_t n) {
    if (i >= carry->n_slots) {
        FLIP_TRY(flip_grow(&carry->slots, (size_t)carry->n_slots, (size_t)i + 1, sizeof(slot),
                           "states between blocks"));
        while (carry->n_slots <= i)
            carry->slots[carry->n_slots++] = (slot){.gradient_of = -1};
    }
    slot *s = &carry->slots[i];
    if (s->n != n) finish_slot(carry, s);
    s->n = n;
    if (s->known) return FLIP_OK;
    size_t ends = (size_t)carry->n_blocks + 1;
    FLIP_TRY(flip_alloc_zero(&s->state, ends, sizeof *s->state, "states between blocks"));
    return flip_alloc_zero(&s->known, ends, sizeof *s->known, "states between blocks");
}

static flip_status open_state(flip_carry *carry, int32_t i, int32_t block) {
    slot *s = &carry->slots[i];
    if (s->state[block]) return FLIP_OK;
    return carry->kernels->take(&s->state[block], s->n * sizeof(flip_real),
                                "a state between blocks");
}

flip_status flip_carry_begin_with(flip_carry *carry, int32_t i, const flip_real *state, size_t n) {
    FLIP_TRY(open_slot(carry, i, n));
    FLIP_TRY(open_state(carry, i, 0));
    carry->kernels->send(carry->slots[i].state[0], state, n * sizeof *state);
    carry->slots[i].known[0] = true;
    return FLIP_OK;
}

/* The state at a block's beginning, and its gradient, where the kernels have them; or NULL. */
static flip_real *state_at(const flip_carry *carry, int32_t i, int32_t block) {
    bool there = i < carry->n_slots && carry->slots[i].known && carry->slots[i].known[block];
    return there ? carry->slots[i].state[block] : NULL;
}
static flip_real *gradient_at(const flip_carry *carry, int32_t i, int32_t block) {
    bool there = i < carry->n_slots && carry->slots[i].gradient_of == block;
    return there ? carry->slots[i].gradient : NULL;
}

/* n values for the host to read. */
static const flip_real *show(flip_carry *carry, const flip_real *values, size_t n) {
    if (!values || !carry->kernels->on_device) return values;
    flip_free(carry->seen);
    carry->seen = NULL;
    if (flip_alloc(&carry->seen, n, sizeof *values, "a state to look at") != FLIP_OK) return NULL;
    carry->kernels->receive(carry->seen, values, n * sizeof *values);
    return carry->seen;
}

const flip_real *flip_carry_state(flip_carry *carry, int32_t i, int32_t block, size_t *n) {
    const flip_real *state = state_at(carry, i, block);
    if (n) *n = state ? carry->slots[i].n : 0;
    return show(carry, state, state ? carry->slots[i].n : 0);
}

const flip_real *flip_carry_gradient(flip_carry *carry, int32_t i, int32_t block, size_t *n) {
    const flip_real *gradient = gradient_at(carry, i, block);
    if (n) *n = gradient ? carry->slots[i].n : 0;
    return show(carry, gradient, gradient ? carry->slots[i].n : 0);
}

static void drop_state(const flip_carry *carry, slot *s, int32_t block) {
    carry->kernels->give_back(s->state[block]);
    s->state[block] = NULL;
    s->known[block] = false;
}

void flip_tape_drop_carried(flip_tape *tape) {
    flip_carry *carry = tape->carry;
    for (int32_t i = 0; carry && i < tape->n_slots && i < carry->n_slots; i++) {
        if (!carry->slots[i].state) continue;
        drop_state(carry, &carry->slots[i], tape->block);
        if (tape_carry_last(tape)) drop_state(carry, &carry->slots[i], tape->block + 1);
    }
}

/* ---- for operators ---- */

flip_status tape_carry(flip_tape *tape, record *r, size_t n) {
    flip_carry *carry = tape->carry;
    r->slot = tape->n_slots++;
    if (!carry) return FLIP_OK;
    if (tape->block >= carry->n_blocks)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "block %d of a carry of %d blocks", tape->block,
                         carry->n_blocks);
    FLIP_TRY(open_slot(carry, r->slot, n));
    slot *s = &carry->slots[r->slot];
    if (tape->block > carry->first && !s->known[tape->block])
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "block %d runs before block %d left its state",
                         tape->block, tape->block - 1);
    FLIP_TRY(open_state(carry, r->slot, tape->block + 1));
    if (r->recorded && s->known[tape->block] && !s->gradient)
        return carry->kernels->take(&s->gradient, n * sizeof(flip_real), "a state's gradient");
    return FLIP_OK;
}

const flip_real *tape_carry_state(const flip_tape *tape, const record *r) {
    return tape->carry ? state_at(tape->carry, r->slot, tape->block) : NULL;
}

flip_real *tape_carry_next(flip_tape *tape, const record *r) {
    if (!tape->carry) return NULL;
    slot *s = &tape->carry->slots[r->slot];
    if (s->known[tape->block + 1]) return NULL;
    s->known[tape->block + 1] = true;
    return s->state[tape->block + 1];
}

const flip_real *tape_carry_gradient(const flip_tape *tape, const record *r) {
    return tape->carry ? gradient_at(tape->carry, r->slot, tape->block + 1) : NULL;
}

flip_real *tape_carry_give(flip_tape *tape, const record *r) {
    if (!tape->carry) return NULL;
    slot *s = &tape->carry->slots[r->slot];
    if (!s->known[tape->block]) return NULL;
    s->gradient_of = tape->block;
    return s->gradient;
}

flip_status tape_carry_mirror(flip_tape *tape, const record *r, bool forward, flip_real *state,
                              mirror *m) {
    *m = (mirror){.values = state, .host = state};
    if (!state || !tape->kernels->on_device || flip_comm_direct(tape->comm)) return FLIP_OK;
    slot *s = &tape->carry->slots[r->slot];
    if (!s->round[forward])
        FLIP_TRY(tape->kernels->take_pinned(&s->round[forward], s->n * sizeof(flip_real),
                                            "a state between blocks"));
    m->host = s->round[forward];
    return FLIP_OK;
}

bool tape_carry_last(const flip_tape *tape) {
    return !tape->carry || tape->block + 1 == tape->carry->n_blocks;
}
