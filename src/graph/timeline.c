/* A rank's events sorted by (row, column, step), and by step the pairs that have one. */
#include "graph/timeline.h"

/* Pairs and their events out of the build's sorted rows. */
static void take_pairs(flip_timeline *x, const flip_build *b, const int32_t *place) {
    x->n_pairs = 0;
    for (int32_t v = 0; v < b->n_own; v++)
        for (int64_t i = b->row_start[v]; i < b->row_start[v + 1]; i++) {
            const uint32_t event = b->by_row[i];
            const int32_t column = b->column[event];
            if (i == b->row_start[v] || column != b->column[b->by_row[i - 1]]) {
                x->key[x->n_pairs] = (uint64_t)v << 32 | (uint64_t)place[column];
                x->event_ptr[x->n_pairs++] = i;
            }
            x->step[i] = flip_event_step(b, event);
            if (x->weight) x->weight[i] = (flip_real)flip_event_weight(b, event);
        }
    x->event_ptr[x->n_pairs] = x->n_events;
}

static bool first_of_step(const flip_timeline *x, int64_t pair, int64_t i) {
    return i == x->event_ptr[pair] || x->step[i] != x->step[i - 1];
}

static void take_steps(flip_timeline *x) {
    for (int64_t pair = 0; pair < x->n_pairs; pair++)
        for (int64_t i = x->event_ptr[pair]; i < x->event_ptr[pair + 1]; i++)
            if (first_of_step(x, pair, i)) x->step_ptr[x->step[i] + 1]++;
    for (int32_t t = 0; t < x->n_steps; t++)
        x->step_ptr[t + 1] += x->step_ptr[t];
    for (int64_t pair = 0; pair < x->n_pairs; pair++)
        for (int64_t i = x->event_ptr[pair]; i < x->event_ptr[pair + 1]; i++)
            if (first_of_step(x, pair, i)) x->step_pair[x->step_ptr[x->step[i]]++] = (uint32_t)pair;
    memmove(x->step_ptr + 1, x->step_ptr, (size_t)x->n_steps * sizeof *x->step_ptr);
    x->step_ptr[0] = 0;
}

static int shares_of(int64_t n_pairs) {
    enum { LEAST = 1 << 12 }; /* pairs of a share */
    const int64_t shares = n_pairs / LEAST + 1;
    return shares < FLIP_TIMELINE_SHARES ? (int)shares : FLIP_TIMELINE_SHARES;
}

size_t flip_snapshots_steps_bytes(int32_t n_steps, int64_t n_events) {
    const size_t shares = (size_t)shares_of(n_events);
    return (size_t)n_steps *
           (shares * sizeof(flip_share) + sizeof(flip_difference) + 3 * sizeof(int64_t));
}

static flip_status allocate(flip_timeline *x, int64_t n_pairs, bool weighted) {
    const char *what = "events of snapshots";
    const size_t n = (size_t)x->n_events, pairs = (size_t)n_pairs, steps = (size_t)x->n_steps;
    x->n_shares = shares_of(n_pairs);
    FLIP_TRY(flip_alloc(&x->key, pairs, sizeof *x->key, what));
    FLIP_TRY(flip_alloc(&x->event_ptr, pairs + 1, sizeof *x->event_ptr, what));
    FLIP_TRY(flip_alloc(&x->step, n, sizeof *x->step, what));
    if (weighted) FLIP_TRY(flip_alloc(&x->weight, n, sizeof *x->weight, what));
    FLIP_TRY(flip_alloc_zero(&x->step_ptr, steps + 2, sizeof *x->step_ptr, what));
    FLIP_TRY(flip_alloc(&x->step_pair, n, sizeof *x->step_pair, what));
    FLIP_TRY(flip_alloc_zero(&x->mark, pairs / 64 + 1, sizeof *x->mark, what));
    FLIP_TRY(flip_alloc_zero(&x->difference, steps, sizeof *x->difference, what));
    FLIP_TRY(flip_alloc_zero(&x->share, steps * (size_t)x->n_shares, sizeof *x->share, what));
    return flip_alloc_zero(&x->extra, 2 * steps, sizeof *x->extra, what);
}

static int64_t count_pairs(const flip_build *b) {
    int64_t n = 0;
    for (int32_t v = 0; v < b->n_own; v++)
        for (int64_t i = b->row_start[v]; i < b->row_start[v + 1]; i++)
            n += i == b->row_start[v] || b->column[b->by_row[i]] != b->column[b->by_row[i - 1]];
    return n;
}

static flip_status take_build(flip_timeline *x, flip_build *b) {
    flip_status status;
    int32_t *place = NULL;
    x->n_cols = b->n_cols;
    x->n_events = b->n_alive;
    x->form = flip_word_form_of(x->n_rows, x->n_cols);
    FLIP_TRY_GOTO(flip_alloc(&x->halo, (size_t)b->n_halo, sizeof *x->halo, "halo of all steps"));
    if (b->n_halo > 0) memcpy(x->halo, b->out->halo, (size_t)b->n_halo * sizeof *x->halo);
    FLIP_TRY_GOTO(flip_alloc(&place, (size_t)b->n_cols, sizeof *place, "order of columns"));
    for (int32_t i = 0; i < b->n_cols; i++)
        place[b->order[i]] = i;
    FLIP_TRY_GOTO(
        allocate(x, count_pairs(b), b->events->weight && flip_kind_weighted(b->params.kind)));
    take_pairs(x, b, place);
    take_steps(x);
    flip_timeline_count(x);
    x->original = b->original;
    x->order = b->order;
    b->original = NULL;
    b->order = NULL;
done:
    flip_free(place);
    return status;
}

flip_status flip_timeline_init(flip_timeline *x, flip_comm *comm, const flip_gid *rank_first,
                               const int64_t *original, const flip_events *events,
                               const flip_adjacency_params *params) {
    flip_status status;
    const int rank = flip_comm_rank(comm);
    flip_adjacency out = {0};
    flip_build b = {
        .comm = comm, .events = events, .params = *params, .out = &out, .first = rank_first[rank]};
    *x = (flip_timeline){0};
    b.params.window = 1;
    FLIP_TRY_GOTO(flip_narrow(&b.n_own, rank_first[rank + 1] - rank_first[rank],
                              "the number of nodes of a rank"));
    FLIP_TRY_GOTO(flip_build_steps(&b));
    x->n_rows = b.n_own;
    x->n_steps = b.last + 1;
    x->life = b.params.edge_life;
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_arena_create(&out.arena, "events of snapshots")));
    FLIP_TRY_GOTO(flip_build_columns(&b, rank_first, original));
    FLIP_TRY_GOTO(flip_comm_agree(comm, take_build(x, &b)));
done:
    flip_build_free(&b);
    flip_plan_destroy(&out.plan);
    flip_arena_destroy(&out.arena);
    if (status != FLIP_OK) flip_timeline_finish(x);
    return status;
}

void flip_timeline_finish(flip_timeline *x) {
    flip_free(x->halo);
    flip_free(x->original);
    flip_free(x->order);
    flip_free(x->key);
    flip_free(x->event_ptr);
    flip_free(x->step);
    flip_free(x->weight);
    flip_free(x->step_ptr);
    flip_free(x->step_pair);
    flip_free(x->mark);
    flip_free(x->difference);
    flip_free(x->share);
    flip_free(x->extra);
    *x = (flip_timeline){0};
}

flip_status flip_snapshots_differences(flip_difference *differences, const flip_events *events,
                                       const flip_adjacency_params *params) {
    flip_timeline x;
    flip_gid range[2] = {0, 1};
    for (int64_t i = 0; i < events->n; i++) {
        if (events->dst[i] >= range[1]) range[1] = events->dst[i] + 1;
        if (events->src[i] >= range[1]) range[1] = events->src[i] + 1;
    }
    FLIP_TRY(flip_timeline_init(&x, NULL, range, NULL, events, params));
    memcpy(differences, x.difference, (size_t)x.n_steps * sizeof *differences);
    flip_timeline_finish(&x);
    return FLIP_OK;
}
