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
    const size_t blocks = (size_t)layout->n_blocks;
    FLIP_TRY(flip_alloc_zero(&s->halo, blocks, sizeof *s->halo, "halos of blocks"));
    return flip_alloc_zero(&s->adjacency, blocks, sizeof *s->adjacency, "adjacencies of blocks");
}

/* full, delta: the host keeps the events, the device has nothing yet. */
static flip_status build(flip_snapshots *s, const flip_events *events) {
    const flip_layout *l = s->layout;
    if (s->transfer == FLIP_TRANSFER_RESIDENT) return flip_resident_build(s, events);
    flip_packets_use(s, flip_kernels_get());
    s->is_static = s->params.n_steps == 1 && !events->step;
    FLIP_TRY(
        flip_timeline_init(&s->timeline, l->space, l->part_first, l->original, events, &s->params));
    return flip_comm_agree(l->space, flip_device_init(&s->device, flip_kernels_get(),
                                                      s->params.n_steps, s->timeline.form));
}

flip_status flip_snapshots_create(flip_snapshots **snapshots, flip_layout *layout,
                                  const flip_events *events, const flip_adjacency_params *params,
                                  flip_transfer transfer) {
    flip_status status;
    *snapshots = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(layout->world, allocate(snapshots, layout, params, transfer)));
    FLIP_TRY_GOTO(flip_comm_agree(layout->world, build(*snapshots, events)));
done:
    if (status != FLIP_OK) flip_snapshots_destroy(snapshots);
    return status;
}

void flip_snapshots_destroy(flip_snapshots **snapshots) {
    flip_snapshots *s = *snapshots;
    if (!s) return;
    for (int32_t k = 0; s->adjacency && k < s->layout->n_blocks; k++)
        flip_adjacency_destroy(&s->adjacency[k]);
    flip_snapshots_drop(s);
    flip_arena_destroy(&s->spare);
    for (int32_t k = 0; s->halo && k < s->layout->n_blocks; k++) {
        flip_free(s->halo[k].column);
        flip_plan_destroy(&s->halo[k].plan);
    }
    flip_free(s->halo);
    flip_free(s->adjacency);
    flip_timeline_finish(&s->timeline);
    for (int i = 0; i < FLIP_SNAPSHOTS_AHEAD; i++)
        flip_packet_finish(&s->packet[i]);
    flip_device_finish(&s->device);
    flip_pieces_finish(&s->pieces);
    flip_laid_finish(&s->laid);
    flip_free(s);
    *snapshots = NULL;
}

void flip_snapshots_begin(flip_snapshots *s) {
    if (s->transfer == FLIP_TRANSFER_RESIDENT) return;
    flip_snapshots_drop(s);
    flip_device_forget(&s->device);
    s->block = -1;
}

/* Where a rank has no steps of a block nobody aggregates: a matrix of no events. */
static flip_status make_block(flip_snapshots *s, int32_t block) {
    const flip_layout *l = s->layout;
    const flip_adjacency_params params = flip_snapshots_params(s, block);
    static const int32_t no_steps[1];
    if (flip_layout_steps(l, block) == 0)
        return flip_adjacency_create(&s->current, l->space, l->part_first, l->original,
                                     &(flip_events){.step = no_steps}, &params);
    FLIP_TRY(flip_comm_agree(l->space, flip_snapshots_send(s, &params, block < s->block)));
    if (s->laid.kernels) return flip_snapshots_lay(s, &params);
    return flip_snapshots_assemble(s, block, &params);
}

flip_status flip_snapshots_block(flip_snapshots *s, int32_t block,
                                 const flip_adjacency **adjacency) {
    *adjacency = NULL;
    if (block < 0 || block >= s->layout->n_blocks)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "block %d of %d", block, s->layout->n_blocks);
    if (s->transfer == FLIP_TRANSFER_RESIDENT) {
        *adjacency = s->adjacency[block];
        return FLIP_OK;
    }
    if (!s->current || block != s->block) {
        flip_snapshots_drop(s);
        FLIP_TRY(make_block(s, block));
        s->block = block;
    }
    *adjacency = s->current;
    return FLIP_OK;
}

void flip_snapshots_sent(const flip_snapshots *s, uint64_t *forward, uint64_t *backward) {
    *forward = s->forward;
    *backward = s->backward;
}
