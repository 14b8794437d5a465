/* An adjacency from the events of own rows: columns, normalisation, rows, transpose, row order. */
#include "graph/internal.h"

#include <string.h>

static flip_status check_params(const flip_adjacency_params *p) {
    if (p->n_steps < 1 || p->first_step < 0 || p->edge_life < 0 || p->window < 0 ||
        p->n_steps > INT32_MAX - p->first_step)
        return FLIP_FAIL(
            FLIP_ERROR_USAGE,
            "%d steps from step %d on, edge life %d, window %d: the number of steps must be >= 1, "
            "the others >= 0, and the last step below 2147483647",
            p->n_steps, p->first_step, p->edge_life, p->window);
    if (p->window > 1 && flip_kind_bare(p->kind))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "attention and max pooling have no values to average over a window of %d",
                         p->window);
    return FLIP_OK;
}

/* 0 means the default; more than the timeline is the timeline. */
static int32_t between(int32_t value, int32_t most) {
    return value < 1 ? 1 : value > most ? most : value;
}

/* Interior rows (no halo column) first, each kind ascending. */
static flip_status order_rows(flip_adjacency *out) {
    int32_t *order, n = 0, boundary = 0;
    FLIP_TRY(flip_arena_alloc(out->arena, &order, (size_t)out->n_own, sizeof *order));
    for (int32_t v = 0; v < out->n_own; v++) {
        bool halo = false;
        for (int64_t e = out->a.row_ptr[v]; e < out->a.row_ptr[v + 1] && !halo; e++)
            halo = out->a.col[e] >= out->n_own;
        if (halo)
            order[out->n_own - ++boundary] = v;
        else
            order[n++] = v;
    }
    for (int32_t i = n, j = out->n_own - 1; i < j; i++, j--) {
        int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    out->row_order = order;
    out->n_interior = n;
    return FLIP_OK;
}

void flip_build_free(flip_build *b) {
    if (b->factor_v != b->factor) flip_free(b->factor_v);
    flip_free(b->factor);
    flip_free(b->column);
    flip_free(b->original);
    flip_free(b->row_start);
    flip_free(b->by_row);
    flip_free(b->order);
}

/* After the rows are written only the order of columns is needed. */
static void drop_events(flip_build *b) {
    flip_free(b->column);
    flip_free(b->row_start);
    flip_free(b->by_row);
    b->column = NULL;
    b->row_start = NULL;
    b->by_row = NULL;
}

flip_status flip_build_finish(flip_build *b) {
    FLIP_TRY(flip_build_rows(b));
    drop_events(b);
    if (!b->params.forward_only || flip_kind_bare(b->params.kind))
        FLIP_TRY(flip_build_transpose(b));
    return order_rows(b->out);
}

/* Which steps of the timeline matter. */
flip_status flip_build_steps(flip_build *b) {
    flip_adjacency_params *p = &b->params;
    b->last = p->first_step + p->n_steps - 1;
    p->edge_life = between(p->edge_life, b->last + 1);
    p->window = between(p->window, b->last + 1);
    b->low = p->first_step > p->window - 1 ? p->first_step - (p->window - 1) : 0;
    b->base = b->low > p->edge_life - 1 ? b->low - (p->edge_life - 1) : 0;
    b->n_low = b->last - b->low + 1;
    return FLIP_OK;
}

flip_status flip_row_scratch_init(flip_row_scratch *s, const flip_build *b) {
    const size_t n = (size_t)b->n_low, window = (size_t)b->params.window;
    *s = (flip_row_scratch){0};
    FLIP_TRY(flip_alloc(&s->raw.first, n, sizeof *s->raw.first, "steps of a row"));
    FLIP_TRY(flip_alloc(&s->raw.length, n, sizeof *s->raw.length, "steps of a row"));
    FLIP_TRY(flip_alloc(&s->raw.value, n, sizeof *s->raw.value, "steps of a row"));
    FLIP_TRY(flip_alloc(&s->values, n, sizeof *s->values, "steps of a row"));
    FLIP_TRY(flip_alloc(&s->sums, n, sizeof *s->sums, "steps of a row"));
    return flip_alloc(&s->window, 2 * window, sizeof *s->window, "steps of a row");
}

void flip_row_scratch_finish(flip_row_scratch *s) {
    flip_free(s->raw.first);
    flip_free(s->raw.length);
    flip_free(s->raw.value);
    flip_free(s->values);
    flip_free(s->sums);
    flip_free(s->window);
    *s = (flip_row_scratch){0};
}

static flip_status begin(flip_adjacency **adjacency, flip_build *b, flip_gid n_own) {
    FLIP_TRY(check_params(&b->params));
    FLIP_TRY(flip_build_steps(b));
    b->is_static = b->params.n_steps == 1 && b->params.first_step == 0 && !b->events->step;
    FLIP_TRY(flip_narrow(&b->n_own, n_own, "the number of nodes of a rank"));
    FLIP_TRY(flip_alloc_zero(adjacency, 1, sizeof **adjacency, "adjacency"));
    FLIP_TRY(flip_arena_create(&(*adjacency)->arena, "adjacency"));
    b->out = *adjacency;
    b->out->comm = b->comm;
    b->out->n_own = b->n_own;
    return FLIP_OK;
}

flip_status flip_adjacency_create(flip_adjacency **adjacency, flip_comm *comm,
                                  const flip_gid *rank_first, const int64_t *original,
                                  const flip_events *events, const flip_adjacency_params *params) {
    flip_status status;
    int rank = flip_comm_rank(comm);
    *adjacency = NULL;
    flip_build b = {.comm = comm, .events = events, .params = *params, .first = rank_first[rank]};
    FLIP_TRY_GOTO(
        flip_comm_agree(comm, begin(adjacency, &b, rank_first[rank + 1] - rank_first[rank])));
    FLIP_TRY_GOTO(flip_build_columns(&b, rank_first, original));
    FLIP_TRY_GOTO(flip_build_factors(&b));
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_build_finish(&b)));
done:
    flip_build_free(&b);
    if (status != FLIP_OK) flip_adjacency_destroy(adjacency);
    return status;
}

void flip_adjacency_destroy(flip_adjacency **adjacency) {
    if (!*adjacency) return;
    flip_plan_destroy(&(*adjacency)->plan);
    flip_arena_destroy(&(*adjacency)->arena);
    flip_free(*adjacency);
    *adjacency = NULL;
}

size_t flip_adjacency_bytes(int64_t n_own, int64_t n_halo, int64_t n_events, bool weighted,
                            const flip_adjacency_params *params) {
    const int32_t steps = params->n_steps;
    const int32_t stay = between(params->edge_life, steps) + between(params->window, steps) - 1;
    const int64_t values = n_events * (stay < steps ? stay : steps);
    return flip_adjacency_bytes_of(n_own, n_halo, n_events, values, weighted, params);
}

size_t flip_adjacency_build_bytes(int64_t n_own, int64_t n_halo, int64_t n_events,
                                  const flip_adjacency_params *params) {
    const size_t own = (size_t)n_own, cols = (size_t)(n_own + n_halo), events = (size_t)n_events;
    const size_t band = params->window > 1 ? (size_t)params->window - 1 : 0;
    const size_t steps = (size_t)params->n_steps + (params->n_steps > 1 ? band : 0);
    size_t bytes = events * (sizeof(int32_t) + sizeof(uint32_t)) + own * 8 + cols * 12;
    bytes += (events + own) * 8 + cols * 8; /* the transpose's places */
    if (!flip_kind_diagonal(params->kind)) return bytes;
    bytes += cols * steps * sizeof(flip_real);
    if (params->kind == FLIP_ADJACENCY_GCN_INOUT)
        bytes += own * steps * sizeof(flip_real) + cols * steps * sizeof(double);
    return bytes;
}

size_t flip_adjacency_bytes_of(int64_t n_own, int64_t n_halo, int64_t n_events, int64_t n_values,
                               bool weighted, const flip_adjacency_params *params) {
    const flip_adjacency_kind kind = params->kind;
    const bool bare = flip_kind_bare(kind), diagonal = flip_kind_diagonal(kind);
    const size_t own = (size_t)n_own, cols = (size_t)(n_own + n_halo), real = sizeof(flip_real);
    const size_t loops = diagonal || kind == FLIP_ADJACENCY_ATTENTION ? own : 0;
    const size_t entries = (size_t)n_events + loops, steps = (size_t)params->n_steps;
    size_t one = entries * sizeof(int32_t); /* columns, each direction */
    size_t once =
        (own + 1 + cols + 1) * 8 + own * 4 + (size_t)n_halo * 8; /* pointers, order, halo */
    if (params->n_steps > 1) {
        const size_t values = (size_t)n_values + loops * steps;
        one += 2 * (entries + 1) * 4 + entries * 4 + (bare ? 0 : values * real);
    } else {
        if (weighted && flip_kind_weighted(kind)) one += entries * real;
        if (diagonal) once += cols * real + (kind == FLIP_ADJACENCY_GCN_INOUT ? own * real : 0);
        if (flip_kind_mean(kind)) once += own * real;
    }
    if (bare) once += entries * 8;
    if (params->forward_only && !bare) return one + once - (cols + 1) * 8;
    return 2 * one + once;
}
