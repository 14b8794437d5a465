/* The adjacency of a block made where the snapshots lie: by a table's kernels, in its memory. All
 * columns are the rank's own, so that there is nothing to ask of other ranks, and what a host makes
 * of the same snapshots (snapshots_assemble.c) has the same bits. The host waits for the numbers of
 * entries, runs and values: of differences once a block, of more than FLIP_SNAPSHOTS_AHEAD steps
 * once for each so many; of snapshots in full once a step; and where memory must grow. */
#include "graph/snapshots.h"

/* ---- whether ---- */

/* before [n_steps + 1]: events of earlier steps. */
static flip_status count_before(const flip_timeline *x, int64_t **out) {
    int64_t *before;
    FLIP_TRY(flip_alloc_zero(&before, (size_t)x->n_steps + 1, sizeof *before, "events of steps"));
    for (int64_t e = 0; e < x->n_events; e++)
        before[x->step[e] + 1]++;
    for (int32_t t = 0; t < x->n_steps; t++)
        before[t + 1] += before[t];
    *out = before;
    return FLIP_OK;
}

flip_status flip_snapshots_most(const flip_snapshots *s, int64_t *most_mentions,
                                int64_t *most_values) {
    const flip_timeline *x = &s->timeline;
    int64_t *before;
    *most_mentions = *most_values = 0;
    FLIP_TRY(count_before(x, &before));
    for (int32_t k = 0; k < s->layout->n_blocks; k++) {
        const flip_adjacency_params p = flip_snapshots_params(s, k);
        const int32_t low = p.first_step - flip_steps_before(&p), end = p.first_step + p.n_steps;
        int64_t mentions = x->n_rows, values = (int64_t)x->n_rows * (end - low), most = 0;
        for (int32_t t = low; t < end; t++) {
            const flip_difference *d = &x->difference[t];
            if (t > low) mentions += flip_difference_changes(d);
            if (t > low && p.window > 1) /* what goes stays */
                values += d->removed * (p.window - 1 < end - t ? p.window - 1 : end - t);
            values += p.kind == FLIP_ADJACENCY_ATTENTION
                          ? before[t + 1] - before[t + 1 > x->life ? t + 1 - x->life : 0]
                          : d->entries;
            most = d->entries > most ? d->entries : most;
        }
        if (mentions + most > *most_mentions) *most_mentions = mentions + most;
        if (values > *most_values) *most_values = values;
    }
    flip_free(before);
    return FLIP_OK;
}

const char *flip_snapshots_by_host(flip_transfer transfer, int32_t n_space) {
    if (transfer == FLIP_TRANSFER_RESIDENT) return "the events are resident";
    if (n_space > 1) return "ranks share the nodes";
    return NULL;
}

static flip_status find_why(const flip_snapshots *s, const char **why) {
    int64_t mentions, values;
    *why = s->is_static ? "the graph has no steps"
                        : flip_snapshots_by_host(s->transfer, s->layout->n_space);
    if (*why) return FLIP_OK;
    FLIP_TRY(flip_snapshots_most(s, &mentions, &values));
    if (mentions >= INT32_MAX || values >= INT32_MAX)
        *why = "a block has 2^31 values or changes, or more";
    return FLIP_OK;
}

/* ---- memory ---- */

static flip_status send_columns(flip_laid *l, const flip_timeline *x) {
    const size_t n = (size_t)x->n_cols;
    int32_t *place;
    FLIP_TRY(l->kernels->take(&l->order, n * sizeof *l->order, "order of columns"));
    FLIP_TRY(l->kernels->take(&l->place, n * sizeof *l->place, "order of columns"));
    FLIP_TRY(flip_alloc(&place, n, sizeof *place, "order of columns"));
    for (int32_t i = 0; i < x->n_cols; i++)
        place[x->order[i]] = i;
    l->kernels->send(l->order, x->order, n * sizeof *l->order);
    l->kernels->send(l->place, place, n * sizeof *l->place);
    const flip_status status = l->kernels->wait();
    flip_free(place);
    return status;
}

flip_status flip_snapshots_use(flip_snapshots *s, const flip_kernels *kernels, const char **why) {
    flip_device *d = &s->device;
    int64_t changes; /* each record has its own room */
    FLIP_TRY(find_why(s, why));
    if (*why) return FLIP_OK;
    flip_snapshots_begin(s);
    flip_packets_use(s, kernels);
    flip_device_finish(d);
    FLIP_TRY(flip_device_init(d, kernels, s->params.n_steps, s->timeline.form));
    flip_timeline_most(&s->timeline, &d->most_entries, &changes);
    d->later = kernels->on_device;
    flip_laid_finish(&s->laid);
    FLIP_TRY(flip_alloc_zero(&s->laid.changes, (size_t)s->params.n_steps, sizeof *s->laid.changes,
                             "changes of a block"));
    s->laid.kernels = kernels;
    return send_columns(&s->laid, &s->timeline);
}

void flip_laid_finish(flip_laid *l) {
    flip_free(l->changes);
    if (l->kernels) {
        l->kernels->give_back(l->order);
        l->kernels->give_back(l->place);
        for (int i = 0; i < FLIP_LAID_ROOMS; i++)
            l->kernels->give_back(l->memory[i]);
    }
    *l = (flip_laid){0};
}

static flip_status room(flip_laid *l, int number, size_t bytes) {
    return flip_kernels_reserve(l->kernels, &l->memory[number], &l->bytes[number], bytes,
                                "matrix of a block");
}

/* A matrix's. */
typedef struct counts {
    int64_t entries, runs, values;
    bool bare; /* values are counted, no more */
} counts;

/* Arrays of a matrix [n_rows, n_rows], those from `from` on: the others are as they are. */
static flip_status make_arrays(flip_laid *l, int matrix, int from, int32_t n_rows,
                               const counts *count, flip_csr_arrays *out) {
    const size_t entries = (size_t)count->entries, runs = (size_t)count->runs;
    const size_t bytes[FLIP_LAID_ARRAYS] = {
        [FLIP_LAID_ROW] = entries * sizeof *out->row,
        [FLIP_LAID_ROW_PTR] = ((size_t)n_rows + 1) * sizeof *out->row_ptr,
        [FLIP_LAID_COL] = entries * sizeof *out->col,
        [FLIP_LAID_RUN_PTR] = (entries + 1) * sizeof *out->run_ptr,
        [FLIP_LAID_RUN_FIRST] = runs * sizeof *out->run_first,
        [FLIP_LAID_VALUE_PTR] = (runs + 1) * sizeof *out->value_ptr,
        [FLIP_LAID_VALUE] = (size_t)count->values * sizeof *out->value};
    for (int i = from; i < (count->bare ? FLIP_LAID_VALUE : FLIP_LAID_ARRAYS); i++)
        FLIP_TRY(room(l, matrix + i, bytes[i] ? bytes[i] : 1));
    void **memory = l->memory + matrix;
    if (from <= FLIP_LAID_ROW) out->row = memory[FLIP_LAID_ROW];
    if (from <= FLIP_LAID_ROW_PTR) {
        out->row_ptr = memory[FLIP_LAID_ROW_PTR];
        out->col = memory[FLIP_LAID_COL];
        out->run_ptr = memory[FLIP_LAID_RUN_PTR];
    }
    out->run_first = memory[FLIP_LAID_RUN_FIRST];
    out->value_ptr = memory[FLIP_LAID_VALUE_PTR];
    out->value = count->bare ? NULL : memory[FLIP_LAID_VALUE];
    return FLIP_OK;
}

/* ---- a block ---- */

static flip_block_entries entries_of(const flip_snapshots *s, const flip_adjacency_params *p) {
    const flip_device *d = &s->device;
    const flip_laid *l = &s->laid;
    for (int32_t t = d->low + 1; t <= d->high; t++)
        l->changes[t - d->low - 1] = (flip_changes){.n = d->record[t].n,
                                                    .key = d->record[t].key,
                                                    .was = d->record[t].before,
                                                    .is = d->record[t].after};
    return (flip_block_entries){.n_rows = s->timeline.n_rows,
                                .n_steps = d->high - d->low + 1,
                                .stay = p->window > 1 ? p->window - 1 : 0,
                                .before = p->first_step - d->low,
                                .levels = p->kind == FLIP_ADJACENCY_ATTENTION,
                                .place_bits = d->form.place_bits,
                                .order = l->order,
                                .own_place = flip_kind_loops(p) ? l->place : NULL,
                                .now = {.n = d->n, .key = d->key[0], .value = d->value[0]},
                                .changes = l->changes};
}

static flip_csr matrix_of(const flip_csr_arrays *x, int32_t n_rows, int32_t n_steps,
                          const counts *count) {
    return (flip_csr){.n_rows = n_rows,
                      .n_cols = n_rows,
                      .n_own = n_rows,
                      .n_steps = n_steps,
                      .n_entries = count->entries,
                      .n_values = count->values,
                      .row_ptr = x->row_ptr,
                      .col = x->col,
                      .run_ptr = x->run_ptr,
                      .run_first = x->run_first,
                      .value_ptr = x->value_ptr,
                      .value = x->value,
                      .placed = true};
}

/* Of one step an entry's run is its one value. */
static void drop_runs(flip_csr *a) {
    if (a->n_steps > 1) return;
    a->run_ptr = NULL;
    a->run_first = NULL;
    a->value_ptr = NULL;
}

static flip_run_scale scaling_of(flip_adjacency_kind kind) {
    if (kind == FLIP_ADJACENCY_GCN_INOUT) return FLIP_RUNS_INOUT;
    if (flip_kind_diagonal(kind)) return FLIP_RUNS_SYMMETRIC;
    return flip_kind_mean(kind) ? FLIP_RUNS_MEAN : FLIP_RUNS_PLAIN;
}

/* Columns as rows, before anything is scaled, where the transpose will lie: a host adds a column's
 * values row after row by their own numbers. */
static flip_status turn_for_sums(flip_laid *l, const flip_block_entries *block, const counts *count,
                                 const flip_csr *all, const int32_t *row, flip_csr *out) {
    flip_csr_arrays x = {0};
    FLIP_TRY(make_arrays(l, FLIP_LAID_AT, FLIP_LAID_ROW_PTR, block->n_rows, count, &x));
    l->kernels->turn_runs(all, row, NULL, block->place_bits, &x, NULL, l->memory[FLIP_LAID_WORK]);
    *out = matrix_of(&x, block->n_rows, block->n_steps, count);
    return FLIP_OK;
}

/* The block's steps of a matrix that has those before them, too, scaled and averaged; its number of
 * values is the block's then. */
static flip_status scale(flip_laid *l, const flip_adjacency_params *p,
                         const flip_block_entries *block, counts *count, int64_t kept,
                         flip_csr_arrays *a) {
    const flip_csr all = matrix_of(a, block->n_rows, block->n_steps, count);
    flip_csr turned;
    const flip_run_scaling scaling = {.how = scaling_of(p->kind),
                                      .window = p->window,
                                      .first = p->first_step - block->before,
                                      .before = block->before,
                                      .n_runs = count->runs,
                                      .turned = &turned};
    if (scaling.how == FLIP_RUNS_PLAIN && p->window <= 1) return FLIP_OK;
    if (scaling.how == FLIP_RUNS_INOUT)
        FLIP_TRY(turn_for_sums(l, block, count, &all, a->row, &turned));
    count->values = kept;
    if (p->window > 1)
        FLIP_TRY(make_arrays(l, FLIP_LAID_CUT, FLIP_LAID_RUN_FIRST, block->n_rows, count, a));
    l->kernels->scale_runs(&all, a->row, &scaling, a, l->memory[FLIP_LAID_WORK]);
    return FLIP_OK;
}

/* The transpose; of kinds without values entries are told where they stand there. */
static flip_status turn(flip_laid *l, const flip_adjacency_params *p, int place_bits,
                        const counts *count, const flip_csr_arrays *a, flip_adjacency *out) {
    const size_t entries = (size_t)count->entries;
    const int32_t n = out->a.n_rows;
    flip_csr_arrays at = {0};
    FLIP_TRY(make_arrays(l, FLIP_LAID_AT, FLIP_LAID_ROW_PTR, n, count, &at));
    FLIP_TRY(room(l, FLIP_LAID_WORK, flip_runs_work(count->entries, n, 1)));
    if (count->bare)
        FLIP_TRY(room(l, FLIP_LAID_TURNED, (entries + 1) * sizeof *out->to_transposed));
    int64_t *turned = count->bare ? l->memory[FLIP_LAID_TURNED] : NULL;
    l->kernels->turn_runs(&out->a, a->row, l->place, place_bits, &at, turned,
                          l->memory[FLIP_LAID_WORK]);
    out->at = matrix_of(&at, n, p->n_steps, count);
    out->to_transposed = turned;
    return FLIP_OK;
}

/* The matrix, scaled, and its transpose. */
static flip_status make_matrices(flip_snapshots *s, const flip_adjacency_params *p,
                                 flip_adjacency *out) {
    flip_laid *l = &s->laid;
    const flip_kernels *k = l->kernels;
    const flip_block_entries block = entries_of(s, p);
    const int32_t n = block.n_rows;
    flip_csr_arrays a = {0};
    uint64_t found[6] = {0};
    FLIP_TRY(room(l, FLIP_LAID_WORK, flip_runs_work(flip_mentions_of(&block), n, block.n_steps)));
    void *work = l->memory[FLIP_LAID_WORK];
    k->count_runs(&block, (int64_t *)(s->device.found + 2), work);
    FLIP_TRY(flip_device_settle(&s->device, found, 6));
    s->arrived = s->sent;
    counts count = {.entries = (int64_t)found[2],
                    .runs = (int64_t)found[3],
                    .values = (int64_t)found[4],
                    .bare = flip_kind_bare(p->kind)};
    FLIP_TRY(make_arrays(l, FLIP_LAID_A, FLIP_LAID_ROW, n, &count, &a));
    k->lay_runs(&block, &a, work);
    FLIP_TRY(scale(l, p, &block, &count, (int64_t)found[5], &a));
    out->a = matrix_of(&a, n, p->n_steps, &count);
    if (!p->forward_only || count.bare) FLIP_TRY(turn(l, p, block.place_bits, &count, &a, out));
    drop_runs(&out->a);
    drop_runs(&out->at);
    return FLIP_OK;
}

flip_status flip_snapshots_lay(flip_snapshots *s, const flip_adjacency_params *params) {
    FLIP_TRY(flip_alloc_zero(&s->current, 1, sizeof *s->current, "adjacency"));
    s->current->comm = s->layout->space;
    s->current->n_own = s->current->n_interior = s->timeline.n_rows;
    const flip_status status = make_matrices(s, params, s->current);
    if (status != FLIP_OK) flip_snapshots_drop(s);
    return status;
}
