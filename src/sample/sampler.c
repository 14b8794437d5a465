/* A sampler's rows: the in-edges of own nodes in the order of original ids. */
#include "internal.h"

#include "kernels/draws.h"

#include <math.h>
#include <string.h>

/* ---- what can be drawn ---- */

static flip_status check_params(const flip_sampler_params *p) {
    flip_adjacency_kind k = p->adjacency;
    bool sums = flip_kind_diagonal(k) || k == FLIP_ADJACENCY_SUM;
    if (p->layers < 1 || p->layers > FLIP_SAMPLE_LAYERS)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "a batch has 1 to %d layers, not %d", FLIP_SAMPLE_LAYERS,
                         p->layers);
    for (int32_t l = 0; l < p->layers; l++)
        if (p->fanout[l] < -1 || p->fanout[l] == 0)
            return FLIP_FAIL(FLIP_ERROR_USAGE, "fanout %d: it is at least 1, or -1 for all",
                             p->fanout[l]);
    if (k == FLIP_ADJACENCY_WSUM || k == FLIP_ADJACENCY_WMEAN)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "sums of weights have no sampled form");
    if (p->kind == FLIP_SAMPLE_WEIGHTED && sums)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "weighted sampling is of means, pooling and attention: the sums of gcn "
                         "and gin have their weights already; use --sampling uniform or labor");
    if (p->kind == FLIP_SAMPLE_LABOR && p->replace)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "labor draws each source once; it has no --replace");
    if (p->temporal && flip_kind_diagonal(k))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "gcn's degrees are those of the whole graph; temporal sampling has sage, "
                         "gat and gin");
    if (p->recent && (!p->temporal || p->kind != FLIP_SAMPLE_UNIFORM || p->replace))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "the most recent neighbours are not drawn by weight, "
                                           "again or shared, and need steps");
    if (p->in_place && (flip_kind_bare(k) || p->input_gradient))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "attention, pooling and gradients of the input need "
                                              "distinct rows, not rows in place");
    return FLIP_OK;
}

static flip_status check_weights(const flip_sampler_params *p) {
    const flip_events *ev = p->events;
    bool read = p->kind == FLIP_SAMPLE_WEIGHTED && ev->weight;
    for (int64_t i = 0; read && i < ev->n; i++)
        if (!(ev->weight[i] >= 0) || isinf(ev->weight[i]))
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "event %lld has weight %g; weighted sampling needs weights >= 0: "
                             "import signed weights as labels (--label sign)",
                             (long long)i, ev->weight[i]);
    return FLIP_OK;
}

/* ---- rows ---- */

static bool keeps(const flip_sampler *s, const flip_build *b, int64_t k) {
    uint32_t event = b->by_row[k];
    if (s->p.kind == FLIP_SAMPLE_WEIGHTED && s->p.events->weight)
        return s->p.events->weight[event] > 0;
    if (s->p.adjacency != FLIP_ADJACENCY_PATTERN || s->p.temporal || k == 0) return true;
    /* distinct sources: the first of equal neighbours in a row */
    uint32_t before = b->by_row[k - 1];
    return b->column[before] != b->column[event] ||
           s->p.events->dst[before] != s->p.events->dst[event];
}

/* Entries of a row by step, those of a step as they stand (an insertion sort: files come sorted by
 * source, and a source's events by step). */
static void sort_by_step(const flip_events *ev, uint32_t *row, int64_t n, uint32_t *other) {
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t low = 0; low < n; low += 2 * width) {
            int64_t mid = low + width < n ? low + width : n;
            int64_t high = low + 2 * width < n ? low + 2 * width : n, l = low, r = mid;
            for (int64_t k = low; k < high; k++)
                other[k] = l < mid && (r >= high || ev->step[row[l]] <= ev->step[row[r]])
                               ? row[l++]
                               : row[r++];
        }
        memcpy(row, other, (size_t)n * sizeof *row);
    }
}

static flip_status order_steps(const flip_sampler *s, flip_build *b) {
    uint32_t *other;
    if (!s->p.temporal || !s->p.events->step) return FLIP_OK;
    FLIP_TRY(flip_alloc(&other, (size_t)b->n_alive, sizeof *other, "order of events"));
    for (int32_t v = 0; v < s->n_own; v++)
        sort_by_step(s->p.events, b->by_row + b->row_start[v],
                     b->row_start[v + 1] - b->row_start[v], other);
    flip_free(other);
    return FLIP_OK;
}

static flip_status allocate_rows(flip_sampler *s, int64_t n) {
    const flip_events *ev = s->p.events;
    bool weighted =
        ev->weight && (s->p.kind == FLIP_SAMPLE_WEIGHTED || flip_kind_diagonal(s->p.adjacency));
    FLIP_TRY(
        flip_alloc(&s->row_ptr, (size_t)s->n_own + 1, sizeof *s->row_ptr, "rows of the sampler"));
    FLIP_TRY(flip_alloc(&s->col, (size_t)n, sizeof *s->col, "neighbours of the sampler"));
    if (weighted)
        FLIP_TRY(flip_alloc(&s->weight, (size_t)n, sizeof *s->weight, "weights of the sampler"));
    if (weighted && s->p.kind == FLIP_SAMPLE_WEIGHTED && s->p.replace)
        FLIP_TRY(flip_alloc(&s->weight_sums, (size_t)n, sizeof *s->weight_sums,
                            "weights of the sampler"));
    if (s->p.temporal)
        FLIP_TRY(flip_alloc(&s->step, (size_t)n, sizeof *s->step, "steps of the sampler"));
    if (s->p.adjacency == FLIP_ADJACENCY_ATTENTION)
        FLIP_TRY(flip_alloc_zero(&s->looped, (size_t)s->n_own, 1, "self-loops"));
    return FLIP_OK;
}

static flip_status fill_rows(flip_sampler *s, flip_build *b) {
    const flip_events *ev = s->p.events;
    int64_t n = 0;
    FLIP_TRY(order_steps(s, b));
    for (int64_t k = 0; k < b->n_alive; k++)
        n += keeps(s, b, k);
    FLIP_TRY(allocate_rows(s, n));
    n = 0;
    for (int32_t v = 0; v < s->n_own; v++) {
        s->row_ptr[v] = n;
        for (int64_t k = b->row_start[v]; k < b->row_start[v + 1]; k++) {
            uint32_t event = b->by_row[k];
            if (!keeps(s, b, k)) continue;
            if (s->weight) s->weight[n] = (flip_real)ev->weight[event];
            if (s->step) s->step[n] = flip_event_step(b, event);
            if (s->looped && b->column[event] == v) s->looped[v] = 1;
            s->col[n++] = b->column[event];
        }
        const int64_t first = s->row_ptr[v];
        if (s->weight_sums) flip_draws_sums(n - first, s->weight + first, s->weight_sums + first);
    }
    s->row_ptr[s->n_own] = n;
    return FLIP_OK;
}

/* The sampler takes over what an adjacency would have been made of. */
static flip_status take(flip_sampler *s, flip_build *b) {
    FLIP_TRY(fill_rows(s, b));
    s->n_cols = b->n_cols;
    s->original = b->original;
    b->original = NULL;
    s->factor = b->factor;
    s->factor_v = b->factor_v;
    b->factor = b->factor_v = NULL;
    FLIP_TRY(flip_alloc(&s->halo, (size_t)b->n_halo, sizeof *s->halo, "halo"));
    memcpy(s->halo, b->out->halo, (size_t)b->n_halo * sizeof *s->halo);
    FLIP_TRY(flip_gid_map_init(&s->far, 0));
    if (s->p.temporal) return FLIP_OK;
    FLIP_TRY(flip_alloc(&s->slot, (size_t)s->n_own, sizeof *s->slot, "numbers of own nodes"));
    memset(s->slot, 0xff, (size_t)s->n_own * sizeof *s->slot);
    return FLIP_OK;
}

/* ---- life ---- */

static flip_status begin(flip_sampler **out, flip_build *b, const flip_sampler_params *p) {
    FLIP_TRY(check_params(p));
    FLIP_TRY(check_weights(p));
    if (p->temporal && p->rank_first[flip_comm_size(b->comm)] >> 32)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "temporal sampling has at most 4294967296 nodes");
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "sampler"));
    flip_sampler *s = *out;
    s->p = *p;
    s->size = flip_comm_size(b->comm);
    size_t ranks = (size_t)s->size + 1;
    FLIP_TRY(flip_alloc(&s->rank_first, ranks, sizeof *s->rank_first, "ranks"));
    memcpy(s->rank_first, p->rank_first, ranks * sizeof *s->rank_first);
    s->first = b->first;
    FLIP_TRY(flip_narrow(&s->n_own, p->rank_first[flip_comm_rank(b->comm) + 1] - b->first,
                         "the number of nodes of a rank"));
    FLIP_TRY(flip_build_steps(b));
    if (p->temporal) { /* every event, whatever its step */
        b->base = 0;
        b->last = INT32_MAX;
    }
    b->is_static = true;
    b->n_own = s->n_own;
    FLIP_TRY(flip_alloc_zero(&b->out, 1, sizeof *b->out, "adjacency"));
    FLIP_TRY(flip_arena_create(&b->out->arena, "adjacency"));
    b->out->comm = b->comm;
    b->out->n_own = b->n_own;
    return FLIP_OK;
}

flip_status flip_sampler_create(flip_sampler **out, flip_comm *comm, const flip_sampler_params *p) {
    flip_status status;
    flip_build b = {.comm = comm,
                    .events = p->events,
                    .params = {.kind = p->adjacency, .n_steps = 1},
                    .first = p->rank_first[flip_comm_rank(comm)]};
    *out = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(comm, begin(out, &b, p)));
    FLIP_TRY_GOTO(flip_build_columns(&b, p->rank_first, p->original));
    FLIP_TRY_GOTO(flip_build_factors(&b));
    FLIP_TRY_GOTO(flip_comm_agree(comm, take(*out, &b)));
    (*out)->p.events = NULL;
    (*out)->p.rank_first = NULL;
    (*out)->p.original = NULL;
    if ((*out)->size > 1)
        FLIP_TRY_GOTO(flip_comm_split(&(*out)->comm, comm, 0, flip_comm_rank(comm)));
done:
    flip_build_free(&b);
    flip_adjacency_destroy(&b.out);
    if (status != FLIP_OK) flip_sampler_destroy(out);
    return status;
}

void flip_sampler_destroy(flip_sampler **sampler) {
    flip_sampler *s = *sampler;
    if (!s) return;
    if (s->factor_v != s->factor) flip_free(s->factor_v);
    flip_free(s->factor);
    flip_free(s->rank_first);
    flip_free(s->row_ptr);
    flip_free(s->col);
    flip_free(s->weight);
    flip_free(s->weight_sums);
    flip_free(s->step);
    flip_free(s->original);
    flip_free(s->halo);
    flip_free(s->looped);
    flip_free(s->chance);
    flip_free(s->slot);
    sample_lists_finish(&s->lists);
    flip_gid_map_finish(&s->far);
    sample_placed_free(&s->placed);
    flip_comm_destroy(&s->comm);
    flip_free(s);
    *sampler = NULL;
}

size_t flip_sampler_bytes_of(int64_t n_own, int64_t n_halo, int64_t n_events, bool weighted,
                             const flip_sampler_params *p) {
    size_t own = (size_t)n_own, cols = (size_t)(n_own + n_halo), entries = (size_t)n_events;
    bool diagonal = flip_kind_diagonal(p->adjacency);
    size_t bytes = (own + 1) * 8 + entries * sizeof(int32_t) + cols * 8 + (size_t)n_halo * 8;
    if (weighted && (p->kind == FLIP_SAMPLE_WEIGHTED || diagonal))
        bytes += entries * sizeof(flip_real);
    if (weighted && p->kind == FLIP_SAMPLE_WEIGHTED && p->replace)
        bytes += entries * sizeof(double);
    if (diagonal)
        bytes += (cols + (p->adjacency == FLIP_ADJACENCY_GCN_INOUT ? own : 0)) * sizeof(flip_real);
    if (p->adjacency == FLIP_ADJACENCY_ATTENTION) bytes += own;
    if (p->kind == FLIP_SAMPLE_LABOR) bytes += (size_t)p->layers * cols * sizeof(float);
    return bytes + (p->temporal ? entries : own) * sizeof(int32_t);
}

void flip_sampler_meter(flip_sampler *s, flip_meter *meter) {
    flip_comm_count_in(s->comm, meter);
}

flip_sampler_counts flip_sampler_counted(const flip_sampler *s) {
    flip_sampler_counts c = s->counts;
    c.lists = s->lists.n;
    c.list_bytes = sample_lists_bytes(s, c.lists, s->lists.n_entries);
    return c;
}

size_t flip_sampler_bytes(const flip_sampler *s) {
    size_t far = (s->far.mask + 1) * (sizeof(flip_gid) + sizeof(int32_t));
    return far + flip_sampler_bytes_of(s->n_own, s->n_cols - s->n_own, s->row_ptr[s->n_own],
                                       s->weight != NULL, &s->p);
}
