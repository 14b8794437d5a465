/* resident: the events travel once; the device makes the adjacency of every block of them and keeps
 * it. Snapshots are runs of its entries, never a list of their own. */
#include "graph/snapshots.h"

#include <string.h>

/* What of an event is sent: source, step and weight; rows are told by counts. */
enum { EVENT_BYTES = 12 };

/* Events in the order of their steps, so that a block reads its own alone. */
typedef struct by_step {
    int64_t *start; /* [n_steps + 1] */
    flip_gid *dst, *src;
    int32_t *step;
    double *weight; /* or NULL */
} by_step;

static void by_step_finish(by_step *sorted) {
    flip_free(sorted->start);
    flip_free(sorted->dst);
    flip_free(sorted->src);
    flip_free(sorted->step);
    flip_free(sorted->weight);
}

/* Stable: doubled events keep the order in which their weights are summed. */
static void place_events(by_step *sorted, const flip_events *events, int32_t n_steps) {
    for (int64_t i = 0; i < events->n; i++) {
        if (events->step[i] >= n_steps) continue;
        const int64_t to = sorted->start[events->step[i]]++;
        sorted->dst[to] = events->dst[i];
        sorted->src[to] = events->src[i];
        sorted->step[to] = events->step[i];
        if (events->weight) sorted->weight[to] = events->weight[i];
    }
    memmove(sorted->start + 1, sorted->start, (size_t)n_steps * sizeof *sorted->start);
    sorted->start[0] = 0;
}

static flip_status by_step_init(by_step *sorted, const flip_events *events, int32_t n_steps) {
    const size_t n = (size_t)events->n;
    FLIP_TRY(flip_alloc_zero(&sorted->start, (size_t)n_steps + 1, sizeof *sorted->start,
                             "steps of events"));
    FLIP_TRY(flip_alloc(&sorted->dst, n, sizeof *sorted->dst, "events by step"));
    FLIP_TRY(flip_alloc(&sorted->src, n, sizeof *sorted->src, "events by step"));
    FLIP_TRY(flip_alloc(&sorted->step, n, sizeof *sorted->step, "events by step"));
    if (events->weight)
        FLIP_TRY(flip_alloc(&sorted->weight, n, sizeof *sorted->weight, "events by step"));
    for (int64_t i = 0; i < events->n; i++) {
        if (events->step[i] < 0)
            return FLIP_FAIL(FLIP_ERROR_INPUT, "event %lld has step %d; steps count from 0",
                             (long long)i, events->step[i]);
        if (events->step[i] < n_steps) sorted->start[events->step[i]]++;
    }
    int64_t at = 0;
    for (int32_t t = 0; t <= n_steps; t++) {
        const int64_t count = sorted->start[t];
        sorted->start[t] = at;
        at += count;
    }
    place_events(sorted, events, n_steps);
    return FLIP_OK;
}

/* Events that are alive somewhere in steps first … first + n - 1 or the band before them. */
static flip_events events_of(const by_step *sorted, const flip_adjacency_params *p) {
    const int64_t back =
        (int64_t)(p->edge_life > 1 ? p->edge_life - 1 : 0) + (p->window > 1 ? p->window - 1 : 0);
    const int64_t base = p->first_step > back ? p->first_step - back : 0;
    const int64_t from = sorted->start[base], until = sorted->start[p->first_step + p->n_steps];
    return (flip_events){.n = until - from,
                         .dst = sorted->dst + from,
                         .src = sorted->src + from,
                         .step = sorted->step + from,
                         .weight = sorted->weight ? sorted->weight + from : NULL};
}

static flip_status build_block(flip_snapshots *s, int32_t block, const flip_events *events) {
    const flip_adjacency_params params = flip_snapshots_params(s, block);
    const flip_layout *l = s->layout;
    return flip_adjacency_create(&s->adjacency[block], l->space, l->part_first, l->original, events,
                                 &params);
}

flip_status flip_resident_build(flip_snapshots *s, const flip_events *events) {
    flip_status status = FLIP_OK;
    const flip_layout *l = s->layout;
    by_step sorted = {0};
    static const int32_t no_steps[1];
    const bool whole = l->n_blocks == 1 && flip_layout_steps(l, 0) > 0;
    if (!whole && events->step)
        FLIP_TRY_GOTO(flip_comm_agree(l->space, by_step_init(&sorted, events, s->params.n_steps)));
    for (int32_t k = 0; k < l->n_blocks; k++) {
        const flip_adjacency_params params = flip_snapshots_params(s, k);
        flip_events mine = events->step && !whole ? events_of(&sorted, &params) : *events;
        if (flip_layout_steps(l, k) == 0) mine = (flip_events){.step = no_steps};
        FLIP_TRY_GOTO(build_block(s, k, &mine));
    }
    flip_snapshots_count(s, EVENT_BYTES * (size_t)events->n, false);
done:
    by_step_finish(&sorted);
    return status;
}
