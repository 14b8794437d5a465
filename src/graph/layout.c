/* The layout: ranks as parts x chunks, the timeline as blocks, a block's steps as chunks. */
#include "layout.h"

#include <string.h>

/* ---- cutting ---- */

/* Chunk borders of the steps first … last-1: border c stands where the work before it is nearest to
 * c shares; every chunk keeps a step where there are enough. */
void flip_layout_cut(int32_t *border, int32_t first, int32_t last, int32_t n_time,
                     const double *work) {
    int32_t steps = last - first;
    border[0] = first;
    border[n_time] = last;
    double total = 0, before = 0;
    for (int32_t t = first; work && t < last; t++)
        total += work[t];
    bool equal = !work || !(total > 0) || steps <= n_time;
    int32_t at = first;
    for (int32_t c = 1; c < n_time; c++) {
        if (equal) {
            border[c] = first + (int32_t)((int64_t)steps * c / n_time);
            continue;
        }
        double share = total * c / n_time;
        while (at < last && before + work[at] / 2 < share)
            before += work[at++];
        int32_t least = border[c - 1] + 1, most = last - (n_time - c);
        border[c] = at < least ? least : at > most ? most : at;
    }
}

static flip_status cut(flip_layout *l, const flip_layout_params *params) {
    int32_t *block, *chunk, *own;
    int32_t n_blocks = l->n_blocks, n_time = l->n_time, first = params->first_step;
    FLIP_TRY(flip_arena_alloc(l->arena, &block, (size_t)n_blocks + 1, sizeof *block));
    FLIP_TRY(flip_arena_alloc(l->arena, &own, (size_t)n_blocks + 1, sizeof *own));
    FLIP_TRY(
        flip_arena_alloc(l->arena, &chunk, (size_t)n_blocks * ((size_t)n_time + 1), sizeof *chunk));
    for (int32_t k = 0; k <= n_blocks; k++)
        block[k] = first + (int32_t)((int64_t)(l->n_steps - first) * k / n_blocks);
    own[0] = 0;
    for (int32_t k = 0; k < n_blocks; k++) {
        int32_t *border = chunk + (int64_t)k * (n_time + 1);
        flip_layout_cut(border, block[k], block[k + 1], n_time, params->work);
        own[k + 1] = own[k] + border[l->chunk + 1] - border[l->chunk];
    }
    l->block_first = block;
    l->chunk_first = chunk;
    l->own_before = own;
    l->own_steps = own[n_blocks];
    return FLIP_OK;
}

/* The last of n runs of steps that begins at or before this one (flip_owner_in, on steps): those
 * without steps come after. */
static int32_t run_of(const int32_t *first, int32_t n, int32_t step) {
    int32_t low = 0, high = n - 1;
    while (low < high) {
        int32_t middle = (low + high + 1) / 2;
        if (first[middle] <= step)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

int32_t flip_layout_chunk_of(const flip_layout *l, int32_t step, int32_t *block) {
    int32_t k = run_of(l->block_first, l->n_blocks, step);
    if (block) *block = k;
    return run_of(l->chunk_first + (int64_t)k * (l->n_time + 1), l->n_time, step);
}

/* ---- life ---- */

static flip_status check(const flip_layout_params *p, int size) {
    if (p->n_time < 1 || size % p->n_time != 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%d ranks are not a multiple of %d chunks of time", size,
                         p->n_time);
    if (p->first_step < 0 || p->n_steps <= p->first_step)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "steps %d to %d (excluded) are no timeline",
                         p->first_step, p->n_steps);
    if (p->n_blocks < 1 || p->n_blocks > p->n_steps - p->first_step)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "a timeline of %d steps cannot be cut into %d blocks",
                         p->n_steps - p->first_step, p->n_blocks);
    if (p->slices < 0) return FLIP_FAIL(FLIP_ERROR_USAGE, "%d slices of nodes", p->slices);
    return FLIP_OK;
}

static flip_status place(flip_layout *l, const flip_gid *rank_first) {
    int size = flip_comm_size(l->world), rank = flip_comm_rank(l->world);
    flip_gid *ranks, *parts;
    FLIP_TRY(flip_arena_alloc(l->arena, &ranks, (size_t)size + 1, sizeof *ranks));
    memcpy(ranks, rank_first, ((size_t)size + 1) * sizeof *ranks);
    l->n_space = size / l->n_time;
    l->part = rank / l->n_time;
    l->chunk = rank % l->n_time;
    FLIP_TRY(flip_arena_alloc(l->arena, &parts, (size_t)l->n_space + 1, sizeof *parts));
    for (int32_t p = 0; p <= l->n_space; p++)
        parts[p] = ranks[(int64_t)p * l->n_time];
    l->rank_first = ranks;
    l->part_first = parts;
    FLIP_TRY(flip_narrow(&l->n_own, ranks[rank + 1] - ranks[rank], "the nodes of a rank"));
    return flip_narrow(&l->n_rows, parts[l->part + 1] - parts[l->part], "the nodes of a part");
}

/* Original ids of the part: every chunk's rank tells its own to all. */
static flip_status gather_original(flip_layout *l, const int64_t *original) {
    flip_status status;
    int64_t *all, *copies = NULL, *count = NULL;
    size_t n = (size_t)l->n_own, chunks = (size_t)l->n_time;
    status = flip_arena_alloc(l->arena, &all, (size_t)l->n_rows, sizeof *all);
    if (status == FLIP_OK) status = flip_alloc(&count, 2 * chunks, sizeof *count, "original ids");
    if (status == FLIP_OK) status = flip_alloc(&copies, n * chunks, sizeof *copies, "original ids");
    FLIP_TRY_GOTO(flip_comm_agree(l->time, status));
    for (size_t i = 0; i < n * chunks; i++)
        copies[i] = original ? original[i % n]
                             : l->rank_first[flip_comm_rank(l->world)] + (flip_gid)(i % n);
    for (int32_t c = 0; c < l->n_time; c++) {
        count[c] = l->n_own;
        count[l->n_time + c] = flip_layout_nodes(l, c);
    }
    FLIP_TRY_GOTO(
        flip_comm_all_to_all(l->time, copies, count, all, count + l->n_time, sizeof *all));
    l->original = all;
done:
    flip_free(copies);
    flip_free(count);
    return status;
}

/* What can fail on one rank alone; agreed upon afterwards. */
static flip_status prepare(flip_layout *l, const flip_gid *rank_first,
                           const flip_layout_params *params) {
    FLIP_TRY(flip_arena_create(&l->arena, "layout"));
    FLIP_TRY(place(l, rank_first));
    FLIP_TRY(cut(l, params));
    return flip_travel_create(&l->travel, l->time);
}

flip_status flip_layout_create(flip_layout **layout, flip_comm *world, const flip_gid *rank_first,
                               const int64_t *original, const flip_layout_params *params) {
    flip_status status;
    flip_layout *l = NULL;
    *layout = NULL;
    FLIP_TRY(check(params, flip_comm_size(world))); /* alike on all ranks */
    status = flip_alloc_zero(&l, 1, sizeof *l, "layout");
    FLIP_TRY(flip_comm_agree(world, status));
    l->world = world;
    l->n_time = params->n_time;
    l->n_steps = params->n_steps;
    l->n_blocks = params->n_blocks;
    l->slices = params->slices ? params->slices : FLIP_LAYOUT_SLICES;
    l->exchange = params->exchange;
    int rank = flip_comm_rank(world);
    FLIP_TRY_GOTO(flip_comm_split(&l->space, world, rank % l->n_time, rank));
    FLIP_TRY_GOTO(flip_comm_split(&l->time, world, rank / l->n_time, rank));
    FLIP_TRY_GOTO(flip_comm_agree(world, prepare(l, rank_first, params)));
    FLIP_TRY_GOTO(flip_comm_agree(world, gather_original(l, original)));
    *layout = l;
done:
    if (status != FLIP_OK) flip_layout_destroy(&l);
    return status;
}

void flip_layout_destroy(flip_layout **layout) {
    if (!*layout) return;
    flip_layout *l = *layout;
    flip_travel_destroy(&l->travel);
    flip_comm_destroy(&l->space);
    flip_comm_destroy(&l->time);
    if (l->arena) flip_arena_destroy(&l->arena);
    flip_free(l);
    *layout = NULL;
}
