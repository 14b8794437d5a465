/* A batch: hop after hop, what was drawn becomes rows, and rows' entries a matrix. */
#include "internal.h"

#include <string.h>

flip_status flip_batch_create(flip_batch **batch) {
    FLIP_TRY(flip_alloc_zero(batch, 1, sizeof **batch, "batch"));
    flip_status status = flip_arena_create(&(*batch)->arena, "batch");
    if (status != FLIP_OK) flip_batch_destroy(batch);
    return status;
}

void flip_batch_destroy(flip_batch **batch) {
    if (!*batch) return;
    flip_arena_destroy(&(*batch)->arena);
    sample_free_memory(&(*batch)->memory);
    flip_free(*batch);
    *batch = NULL;
}

/* ---- rows of the batch ---- */

/* Numbered as they come; far [n] numbers of the sampler's table `far` to rows. */
typedef struct rows {
    int32_t n, n_far;
    flip_gid *id;
    int64_t *original;
    int32_t *step; /* temporal, else NULL */
    int32_t *far;  /* NULL on one rank without steps */
} rows;

/* Room for n_more rows. */
static flip_status make_room(const flip_sampler *s, flip_arena *arena, rows *r, int64_t n_more) {
    int32_t all;
    rows bigger = {.n = r->n, .n_far = r->n_far};
    FLIP_TRY(flip_narrow(&all, r->n + n_more, "rows of a batch"));
    FLIP_TRY(flip_arena_alloc(arena, &bigger.id, (size_t)all, sizeof *bigger.id));
    FLIP_TRY(flip_arena_alloc(arena, &bigger.original, (size_t)all, sizeof *bigger.original));
    if (s->p.temporal)
        FLIP_TRY(flip_arena_alloc(arena, &bigger.step, (size_t)all, sizeof *bigger.step));
    if (s->p.temporal || s->size > 1)
        FLIP_TRY(flip_arena_alloc(arena, &bigger.far, (size_t)all, sizeof *bigger.far));
    if (r->n > 0) {
        memcpy(bigger.id, r->id, (size_t)r->n * sizeof *r->id);
        memcpy(bigger.original, r->original, (size_t)r->n * sizeof *r->original);
        if (r->step) memcpy(bigger.step, r->step, (size_t)r->n * sizeof *r->step);
        if (r->far) memcpy(bigger.far, r->far, (size_t)r->n_far * sizeof *r->far);
    }
    *r = bigger;
    return FLIP_OK;
}

static inline int32_t push(rows *r, flip_gid id, int64_t original, int32_t step) {
    r->id[r->n] = id;
    r->original[r->n] = original;
    if (r->step) r->step[r->n] = step;
    return r->n++;
}

/* The row of a node (temporal: at a step), a new one where it has none. */
static inline flip_status row_of(flip_sampler *s, rows *r, flip_gid id, int64_t original,
                                 int32_t step, int32_t *row) {
    uint64_t own = (uint64_t)(id - s->first);
    if (s->slot && own < (uint64_t)s->n_own) {
        if (s->slot[own] < 0) s->slot[own] = push(r, id, original, step);
        *row = s->slot[own];
        return FLIP_OK;
    }
    int32_t number;
    FLIP_TRY(flip_gid_map_add(&s->far, s->p.temporal ? id << 31 | step : id, &number));
    if (number == r->n_far) r->far[r->n_far++] = push(r, id, original, step);
    *row = r->far[number];
    return FLIP_OK;
}

void sample_forget_far(flip_sampler *s) {
    if (s->far.n == 0) return;
    memset(s->far.value, 0xff, (s->far.mask + 1) * sizeof *s->far.value);
    s->far.n = 0;
}

/* The sampler forgets the batch's numbers. */
static void forget(flip_sampler *s, const rows *r) {
    for (int32_t i = 0; s->slot && i < r->n; i++) {
        uint64_t own = (uint64_t)(r->id[i] - s->first);
        if (own < (uint64_t)s->n_own) s->slot[own] = -1;
    }
    sample_forget_far(s);
}

/* ---- columns ---- */

/* Drawn nodes become rows of the batch; d->col their numbers. */
static flip_status number_distinct(flip_sampler *s, flip_arena *arena, rows *r, drawn *d) {
    int32_t n = r->n;
    FLIP_TRY(make_room(s, arena, r, d->first[n]));
    for (int32_t i = 0; i < n; i++) {
        int32_t step = r->step ? r->step[i] : 0;
        for (int64_t e = d->first[i]; e < d->first[i + 1]; e++) {
            flip_gid id = d->id ? d->id[e] : s->first + d->col[e];
            int64_t original = d->id ? d->original[e] : s->original[d->col[e]];
            FLIP_TRY(row_of(s, r, id, original, step, &d->col[e]));
        }
    }
    return FLIP_OK;
}

/* Own rows where they stand, then remote ones as they come. */
static flip_status place(flip_sampler *s, flip_gid id, int32_t *column) {
    uint64_t own = (uint64_t)(id - s->first);
    if (own < (uint64_t)s->n_own) {
        *column = (int32_t)own;
        return FLIP_OK;
    }
    FLIP_TRY(flip_gid_map_add(&s->far, id, column));
    return flip_narrow(column, (int64_t)s->n_own + *column, "own and remote nodes");
}

static flip_status number_in_place(flip_sampler *s, flip_batch *b, const rows *r, drawn *d) {
    int32_t *column, n = r->n;
    flip_gid *input;
    sample_forget_far(s);
    FLIP_TRY(flip_arena_alloc(b->arena, &column, (size_t)n, sizeof *column));
    for (int32_t i = 0; i < n; i++)
        FLIP_TRY(place(s, r->id[i], &column[i]));
    for (int64_t e = 0; d->id && e < d->first[n]; e++) /* without ids col is what it is to be */
        FLIP_TRY(place(s, d->id[e], &d->col[e]));
    FLIP_TRY(flip_arena_alloc(b->arena, &input, (size_t)s->far.n, sizeof *input));
    for (size_t i = 0; s->far.n > 0 && i <= s->far.mask; i++)
        if (s->far.value[i] >= 0) input[s->far.value[i]] = s->far.key[i];
    b->column = column;
    b->input = input;
    b->n_input = s->far.n;
    return FLIP_OK;
}

/* ---- the matrix and its transpose ---- */

void sample_set_mfg(const flip_sampler *s, flip_batch *b, int32_t layer, const drawn *d,
                    int64_t n_entries, int32_t n_dst, int32_t n_src) {
    flip_mfg *m = &b->mfg[layer];
    bool in_place = layer == 0 && s->p.in_place;
    *m = (flip_mfg){.n_dst = n_dst, .n_src = n_src};
    m->adjacency.n_own = n_dst;
    m->adjacency.n_src = n_src;
    m->adjacency.n_interior = n_dst;
    m->adjacency.a = (flip_csr){.n_rows = n_dst,
                                .n_cols = n_src,
                                .n_own = in_place ? s->n_own : n_src,
                                .n_steps = 1,
                                .n_entries = n_entries,
                                .n_values = n_entries,
                                .row_ptr = d->first,
                                .col = d->col,
                                .value = d->value,
                                .row_scale = d->scale};
}

void sample_set_transpose(flip_adjacency *g, const turned *t) {
    const flip_csr *a = &g->a;
    g->at = (flip_csr){.n_rows = a->n_cols,
                       .n_cols = a->n_rows,
                       .n_own = a->n_rows,
                       .n_steps = 1,
                       .n_entries = a->n_entries,
                       .n_values = a->n_values,
                       .row_ptr = t->ptr,
                       .col = t->col,
                       .value = t->value,
                       .col_scale = a->row_scale};
    g->to_transposed = t->place;
}

static flip_status transpose(const flip_sampler *s, flip_arena *arena, flip_adjacency *g) {
    const flip_csr *a = &g->a;
    turned t = {0};
    FLIP_TRY(flip_arena_alloc(arena, &t.ptr, (size_t)a->n_cols + 2, sizeof *t.ptr));
    FLIP_TRY(flip_arena_alloc(arena, &t.col, (size_t)a->n_entries, sizeof *t.col));
    if (a->value)
        FLIP_TRY(flip_arena_alloc(arena, &t.value, (size_t)a->n_entries, sizeof *t.value));
    if (flip_kind_bare(s->p.adjacency))
        FLIP_TRY(flip_arena_alloc(arena, &t.place, (size_t)a->n_entries, sizeof *t.place));
    flip_kernels_get()->turn_entries(a, t.ptr, t.col, t.value, t.place, NULL);
    sample_set_transpose(g, &t);
    return FLIP_OK;
}

static flip_status make_mfg(const flip_sampler *s, flip_batch *b, int32_t layer, const drawn *d,
                            int32_t n_dst, int32_t n_src) {
    sample_set_mfg(s, b, layer, d, d->first[n_dst], n_dst, n_src);
    return sample_turns(s, layer) ? transpose(s, b->arena, &b->mfg[layer].adjacency) : FLIP_OK;
}

/* ---- hops ---- */

static flip_status add_hop(flip_sampler *s, flip_batch *b, rows *r, int32_t hop, int64_t epoch) {
    int32_t layer = b->layers - 1 - hop, n_dst = r->n;
    drawn d;
    FLIP_TRY(sample_nodes(s, b->arena, &d, n_dst, r->id, r->step, hop, epoch));
    if (layer > 0 || !s->p.in_place) {
        FLIP_TRY(number_distinct(s, b->arena, r, &d));
        return make_mfg(s, b, layer, &d, n_dst, r->n);
    }
    FLIP_TRY(number_in_place(s, b, r, &d));
    return make_mfg(s, b, layer, &d, n_dst, s->n_own + b->n_input);
}

static flip_status draw(flip_sampler *s, flip_batch *b, rows *r, int32_t n_seeds,
                        const flip_gid *seeds, const int32_t *step, const int64_t *original,
                        int64_t epoch) {
    int32_t row;
    FLIP_TRY(make_room(s, b->arena, r, n_seeds));
    for (int32_t i = 0; i < n_seeds; i++) {
        int32_t when = step && step[i] > 0 ? step[i] : 0;
        FLIP_TRY(row_of(s, r, seeds[i], original[i], when, &row));
        if (row != i)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "seed %d of a batch is seed %d once more", i,
                             row);
    }
    for (int32_t hop = 0; hop < b->layers; hop++)
        FLIP_TRY(add_hop(s, b, r, hop, epoch));
    b->original = r->original;
    b->step = r->step;
    if (s->p.in_place) return FLIP_OK;
    b->input = r->id;
    b->n_input = r->n;
    return FLIP_OK;
}

flip_status flip_sampler_draw(flip_sampler *s, flip_batch *b, int32_t n_seeds,
                              const flip_gid *seeds, const int64_t *original, const int32_t *step,
                              int64_t epoch) {
    rows r = {0};
    flip_arena *arena = b->arena;
    flip_arena_reset(arena, (flip_mark){0});
    *b = (flip_batch){
        .layers = s->p.layers, .n_seeds = n_seeds, .arena = arena, .memory = b->memory};
    if (s->placed) return sample_placed(s, b, n_seeds, seeds, step, epoch);
    flip_status status = draw(s, b, &r, n_seeds, seeds, step, original, epoch);
    forget(s, &r);
    return status;
}
