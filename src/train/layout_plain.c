/* One chunk of time and one block, as long as src/graph/layout.c and src/tape/carry.c are not
 * there: weak symbols, which those replace. */
#include <flipbook/tape.h>

#include <string.h>

#define WEAK __attribute__((weak))

WEAK flip_status flip_layout_create(flip_layout **out, flip_comm *world, const flip_gid *rank_first,
                                    const int64_t *original, const flip_layout_params *p) {
    int size = flip_comm_size(world), rank = flip_comm_rank(world);
    int32_t *first;
    if (p->n_time != 1) return FLIP_FAIL(FLIP_ERROR_USAGE, "only nodes are distributed so far");
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "layout"));
    flip_layout *l = *out;
    l->world = l->space = world;
    l->n_space = size;
    l->n_time = 1;
    l->part = rank;
    l->rank_first = l->part_first = rank_first;
    l->n_own = l->n_rows = (int32_t)(rank_first[rank + 1] - rank_first[rank]);
    l->original = original;
    l->n_steps = p->n_steps;
    l->n_blocks = p->n_blocks;
    FLIP_TRY(flip_arena_create(&l->arena, "layout"));
    FLIP_TRY(flip_arena_alloc(l->arena, &first, 4 * (size_t)p->n_blocks + 4, sizeof *first));
    int32_t *chunk = first + p->n_blocks + 1, *before = chunk + 2 * p->n_blocks;
    for (int32_t k = 0; k <= p->n_blocks; k++)
        before[k] = first[k] = (int32_t)((int64_t)p->n_steps * k / p->n_blocks);
    for (int32_t k = 0; k < p->n_blocks; k++) {
        chunk[2 * k] = first[k];
        chunk[2 * k + 1] = first[k + 1];
    }
    l->block_first = first;
    l->chunk_first = chunk;
    l->own_steps = p->n_steps;
    l->own_before = before;
    return FLIP_OK;
}

WEAK void flip_layout_destroy(flip_layout **l) {
    if (*l) flip_arena_destroy(&(*l)->arena);
    flip_free(*l);
    *l = NULL;
}

WEAK int32_t flip_layout_chunk_of(const flip_layout *layout, int32_t step, int32_t *block) {
    for (*block = 0; layout->block_first[*block + 1] <= step;)
        ++*block;
    return 0;
}

WEAK flip_status flip_layout_deal_rows(const flip_layout *l, const void *own, size_t bytes,
                                       bool constant, void *out) {
    char *to = out;
    for (int32_t k = 0; k < l->n_blocks; k++)
        for (int32_t v = 0; v < l->n_rows; v++)
            for (int32_t t = l->block_first[k]; t < l->block_first[k + 1]; t++, to += bytes)
                memcpy(to,
                       (const char *)own +
                           (size_t)(constant ? v : (int64_t)v * l->n_steps + t) * bytes,
                       bytes);
    return FLIP_OK;
}

WEAK flip_status flip_carry_create(flip_carry **carry, int32_t n_blocks) {
    *carry = NULL;
    return FLIP_FAIL(FLIP_ERROR_USAGE, "no %d blocks so far", n_blocks);
}

WEAK void flip_carry_destroy(flip_carry **carry) {
    *carry = NULL;
}

WEAK void flip_carry_clear(flip_carry *carry) {
    (void)carry;
}

WEAK void flip_tape_block(flip_tape *tape, flip_layout *layout, flip_carry *carry, int32_t block,
                          bool recorded) {
    (void)tape;
    (void)layout;
    (void)carry;
    (void)block;
    (void)recorded;
}
