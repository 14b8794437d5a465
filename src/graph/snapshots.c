/* Snapshots: the adjacency of a block of steps, whatever way its graph takes to the device. */
#include "graph/snapshots.h"

flip_adjacency_params flip_snapshots_params(const flip_snapshots *s, int32_t block) {
    flip_adjacency_params params = s->params;
    params.first_step = flip_layout_first(s->layout, block);
    params.n_steps = flip_layout_steps(s->layout, block);
    if (params.n_steps == 0) { /* a chunk may be empty at the very end of the timeline */
        params.n_steps = 1;
        if (params.first_step == s->params.n_steps) params.first_step--;
    }
    return params;
}

void flip_snapshots_count(flip_snapshots *s, uint64_t bytes, bool backward) {
    flip_meter *meter = flip_comm_meter(s->layout->world);
    if (meter) meter->bytes[FLIP_BYTES_GRAPH_TO_DEVICE] += bytes;
    *(backward ? &s->backward : &s->forward) += bytes;
}

static flip_status check(const flip_snapshots *s) {
    if (s->params.first_step != 0 || s->params.n_steps != s->layout->n_steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "snapshots of steps %d … %d, the layout has %d steps",
                         s->params.first_step, s->params.first_step + s->params.n_steps - 1,
                         s->layout->n_steps);
    if (s->transfer != FLIP_TRANSFER_RESIDENT)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--transfer full and delta are not available yet; use resident");
    return FLIP_OK;
}

static flip_status allocate(flip_snapshots **snapshots, flip_layout *layout,
                            const flip_adjacency_params *params, flip_transfer transfer) {
    FLIP_TRY(flip_alloc_zero(snapshots, 1, sizeof **snapshots, "snapshots"));
    flip_snapshots *s = *snapshots;
    s->layout = layout;
    s->params = *params;
    s->transfer = transfer;
    s->block = -1;
    FLIP_TRY(check(s));
    return flip_alloc_zero(&s->adjacency, (size_t)layout->n_blocks, sizeof *s->adjacency,
                           "adjacencies of blocks");
}

flip_status flip_snapshots_create(flip_snapshots **snapshots, flip_layout *layout,
                                  const flip_events *events, const flip_adjacency_params *params,
                                  flip_transfer transfer) {
    flip_status status;
    *snapshots = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(layout->world, allocate(snapshots, layout, params, transfer)));
    FLIP_TRY_GOTO(flip_comm_agree(layout->world, flip_resident_build(*snapshots, events)));
done:
    if (status != FLIP_OK) flip_snapshots_destroy(snapshots);
    return status;
}

void flip_snapshots_destroy(flip_snapshots **snapshots) {
    flip_snapshots *s = *snapshots;
    if (!s) return;
    for (int32_t k = 0; s->adjacency && k < s->layout->n_blocks; k++)
        flip_adjacency_destroy(&s->adjacency[k]);
    flip_free(s->adjacency);
    flip_free(s);
    *snapshots = NULL;
}

void flip_snapshots_begin(flip_snapshots *s) {
    s->block = -1;
}

flip_status flip_snapshots_block(flip_snapshots *s, int32_t block,
                                 const flip_adjacency **adjacency) {
    *adjacency = NULL;
    if (block < 0 || block >= s->layout->n_blocks)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "block %d of %d", block, s->layout->n_blocks);
    s->block = block;
    *adjacency = s->adjacency[block];
    return FLIP_OK;
}

void flip_snapshots_sent(const flip_snapshots *s, uint64_t *forward, uint64_t *backward) {
    *forward = s->forward;
    *backward = s->backward;
}

void flip_snapshots_bytes(const flip_snapshots *s, size_t *host, size_t *device) {
    *host = 0;
    *device = s->event_bytes;
    for (int32_t k = 0; k < s->layout->n_blocks; k++)
        if (s->adjacency[k])
            *device += flip_arena_used(s->adjacency[k]->arena) +
                       (s->adjacency[k]->plan ? flip_plan_bytes(s->adjacency[k]->plan) : 0);
}
