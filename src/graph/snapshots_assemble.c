/* The adjacency of a block made on the device from raw snapshots: columns, then degrees, values and
 * transpose as for an adjacency made of events. */
#include "graph/snapshots.h"

static void mark_columns(const flip_snapshots *s, uint8_t *used) {
    const flip_pieces *p = &s->pieces;
    for (int32_t v = 0; v < s->timeline.n_rows; v++)
        for (int64_t e = p->row_begin[v]; e < p->row_begin[v] + p->row_n[v]; e++)
            used[s->timeline.order[p->column[e]]] = 1;
}

static flip_status find_halo(const flip_snapshots *s, flip_block_halo *h) {
    const flip_timeline *x = &s->timeline;
    uint8_t *used;
    FLIP_TRY(flip_alloc_zero(&used, (size_t)x->n_cols, 1, "halo of a block"));
    mark_columns(s, used);
    for (int32_t u = x->n_rows; u < x->n_cols; u++)
        h->n += used[u];
    flip_status status = flip_alloc(&h->column, (size_t)h->n, sizeof *h->column, "halo of a block");
    for (int32_t u = x->n_rows, n = 0; status == FLIP_OK && u < x->n_cols; u++)
        if (used[u]) h->column[n++] = u;
    flip_free(used);
    return status;
}

/* Collective. halo: [h->n] global ids. */
static flip_status plan_halo(const flip_snapshots *s, flip_block_halo *h, const flip_gid *halo) {
    const flip_layout *l = s->layout;
    if (!h->known && l->n_space > 1)
        FLIP_TRY(flip_plan_create(&h->plan, l->space, l->part_first, halo, h->n, FLIP_BYTES_HALO));
    h->known = true;
    return FLIP_OK;
}

/* Columns of the block: own nodes, then its halo; the order of summation is the timeline's. */
static flip_status name_columns(flip_snapshots *s, const flip_block_halo *h, flip_build *b) {
    const flip_timeline *x = &s->timeline;
    int32_t *column; /* of the block, of each place */
    flip_gid *halo;
    const size_t n = (size_t)h->n;
    b->n_halo = h->n;
    b->n_cols = b->n_own + h->n;
    FLIP_TRY(flip_arena_alloc(b->out->arena, &halo, n, sizeof *halo));
    for (int32_t i = 0; i < h->n; i++)
        halo[i] = x->halo[h->column[i] - x->n_rows];
    b->out->halo = halo;
    b->out->n_halo = h->n;
    FLIP_TRY(flip_alloc(&b->order, (size_t)b->n_cols, sizeof *b->order, "order of columns"));
    FLIP_TRY(flip_alloc(&b->original, (size_t)b->n_cols, sizeof *b->original, "original ids"));
    FLIP_TRY(flip_alloc(&column, (size_t)x->n_cols, sizeof *column, "columns of a block"));
    int32_t *named = column; /* first by column of the timeline … */
    for (int32_t u = 0; u < x->n_cols; u++)
        named[u] = u < x->n_rows ? u : -1;
    for (int32_t i = 0; i < h->n; i++)
        named[h->column[i]] = x->n_rows + i;
    for (int32_t place = 0, i = 0; place < x->n_cols; place++) {
        const int32_t u = x->order[place];
        if (named[u] < 0) continue;
        b->order[i++] = named[u];
        b->original[named[u]] = x->original[u];
    }
    flip_pieces *p = &s->pieces;
    for (int32_t v = 0; v < x->n_rows; v++)
        for (int64_t e = p->row_begin[v]; e < p->row_begin[v] + p->row_n[v]; e++)
            p->column[e] = named[x->order[p->column[e]]];
    flip_free(column);
    return FLIP_OK;
}

static flip_status begin(flip_snapshots *s, flip_block_halo *h, flip_build *b) {
    FLIP_TRY(flip_pieces_take(&s->pieces, &s->device, s->timeline.n_rows, s->timeline.n_cols));
    FLIP_TRY(flip_alloc_zero(&s->current, 1, sizeof *s->current, "adjacency"));
    s->current->arena = s->spare;
    s->spare = NULL;
    if (!s->current->arena) FLIP_TRY(flip_arena_create(&s->current->arena, "adjacency"));
    b->out = s->current;
    b->out->comm = b->comm;
    b->out->n_own = b->n_own;
    FLIP_TRY(flip_build_steps(b));
    if (!h->known) FLIP_TRY(find_halo(s, h));
    return name_columns(s, h, b);
}

flip_status flip_snapshots_assemble(flip_snapshots *s, int32_t block,
                                    const flip_adjacency_params *params) {
    flip_status status;
    flip_block_halo *h = &s->halo[block];
    flip_build b = {.comm = s->layout->space,
                    .params = *params,
                    .is_static = s->is_static,
                    .n_own = s->timeline.n_rows,
                    .pieces = &s->pieces};
    FLIP_TRY_GOTO(flip_comm_agree(b.comm, begin(s, h, &b)));
    FLIP_TRY_GOTO(plan_halo(s, h, s->current->halo));
    s->current->plan = h->plan;
    s->plan_borrowed = true;
    FLIP_TRY_GOTO(flip_build_factors(&b));
    FLIP_TRY_GOTO(flip_comm_agree(b.comm, flip_build_finish(&b)));
done:
    flip_build_free(&b);
    if (status != FLIP_OK) flip_snapshots_drop(s);
    return status;
}

void flip_snapshots_drop(flip_snapshots *s) {
    if (s->plan_borrowed) s->current->plan = NULL;
    s->plan_borrowed = false;
    if (s->current && s->current->arena && !s->spare && s->layout->n_blocks == 1) {
        /* the same sizes again: no new pages */
        s->spare = s->current->arena;
        s->current->arena = NULL;
        flip_arena_reset(s->spare, (flip_mark){0});
    }
    flip_adjacency_destroy(&s->current);
}
