/* What snapshots hold -> entries, runs and values of the multi-snapshot CSR.
 *
 * One walk over a row emits its entries in order; it runs twice, first to count, then to fill.
 * TM-GCN's band keeps an entry window-1 steps longer than snapshots do (A'_t averages the window
 * steps up to t). Rows are taken in groups, each of which knows where its entries begin. */
#include "graph/internal.h"

#include <string.h>

enum { GROUP = 256 };

typedef struct counts {
    int64_t entries, runs, values;
} counts;

typedef struct writer {
    const flip_build *b;
    const flip_csr_arrays *out; /* NULL: counting */
    bool is_static, bare;       /* is_static: a graph without steps, scales beside its values */
    bool ones;                  /* every static value so far is 1 */
    counts at;                  /* next place */
    flip_row_scratch scratch;   /* of this thread */
    const double *row_sums;     /* [n_low] of the row being written, mean kinds only */
    int32_t v;                  /* the row */
    bool loops, pending;        /* the kind has a diagonal; it is still to be written */
} writer;

/* Room in values for the runs i … j-1 of raw, the first of which has values at `value`. */
static void spread(double *values, int32_t first, int32_t n, const flip_raw *raw, int32_t i,
                   int32_t j, const double *value) {
    memset(values, 0, (size_t)n * sizeof *values);
    for (; i < j; value += raw->length[i], i++)
        memcpy(values + (raw->first[i] - first), value, (size_t)raw->length[i] * sizeof *value);
}

/* A run of steps first … last, of which those from first_step on are written, made of the runs
 * i … j-1 of raw. */
static void emit_run(writer *w, int32_t column, int32_t first, int32_t last, const flip_raw *raw,
                     int32_t i, int32_t j, const double *value, bool diagonal) {
    const flip_build *b = w->b;
    const int32_t begin = b->params.first_step, from = first > begin ? first : begin;
    const int32_t n = last - first + 1;
    if (w->out) {
        if (w->out->run_first) {
            w->out->run_first[w->at.runs] = from - begin;
            w->out->value_ptr[w->at.runs] = (uint32_t)w->at.values;
        }
        if (!w->bare) {
            spread(w->scratch.values, first, n, raw, i, j, value);
            flip_build_normalise(b, w->out->value + w->at.values, w->scratch.values, first, n, w->v,
                                 column, diagonal, w->row_sums, w->scratch.window);
        }
    }
    w->at.runs++;
    w->at.values += last - from + 1;
}

static void begin_entry(writer *w, int32_t column) {
    if (w->out) {
        w->out->col[w->at.entries] = column;
        if (w->out->run_ptr) w->out->run_ptr[w->at.entries] = (uint32_t)w->at.runs;
    }
    w->at.entries++;
}

static void emit_static(writer *w, int32_t column, const flip_raw *raw, bool diagonal) {
    double sum = diagonal ? 1 : 0;
    begin_entry(w, column);
    if (!w->bare && raw->n_runs > 0) sum += raw->value[0];
    if (!w->bare) w->ones = w->ones && sum == 1;
    if (w->out && w->out->value) w->out->value[w->at.values] = (flip_real)sum;
    w->at.values++;
}

/* One entry; the band joins runs that lie less than its width apart. */
static void emit(writer *w, int32_t column, const flip_raw *raw, bool diagonal) {
    const int32_t last = w->b->last, window = w->b->params.window;
    const double *value = raw->value;
    if (w->is_static) {
        emit_static(w, column, raw, diagonal);
        return;
    }
    begin_entry(w, column);
    if (diagonal) {
        emit_run(w, column, w->b->low, last, raw, 0, raw->n_runs, value, true);
        return;
    }
    for (int32_t i = 0, j; i < raw->n_runs; i = j) {
        int32_t end = raw->first[i] + raw->length[i] - 1;
        const double *from = value;
        value += raw->length[i];
        for (j = i + 1; j < raw->n_runs && raw->first[j] - end <= window; j++) {
            end = raw->first[j] + raw->length[j] - 1;
            value += raw->length[j];
        }
        emit_run(w, column, raw->first[i], last - end < window - 1 ? last : end + window - 1, raw,
                 i, j, from, false);
    }
}

/* Attention has an entry for each of the events of one pair that are alive together: entry k lives
 * where more than k are. */
static void emit_levels(writer *w, int32_t column, const flip_raw *raw) {
    double most = 0;
    int64_t n = 0;
    for (int32_t r = 0; r < raw->n_runs; r++)
        n += raw->length[r];
    for (int64_t i = 0; i < n; i++)
        if (raw->value[i] > most) most = raw->value[i];
    for (double level = 1; level <= most; level++) {
        const double *value = raw->value;
        begin_entry(w, column);
        for (int32_t r = 0; r < raw->n_runs; value += raw->length[r], r++)
            for (int32_t i = 0, j; i < raw->length[r]; i = j) {
                for (j = i; j < raw->length[r] && value[j] >= level; j++) {
                }
                if (j > i)
                    emit_run(w, column, raw->first[r] + i, raw->first[r] + j - 1, raw, r, r, value,
                             false);
                else
                    j++;
            }
    }
}

/* GAT's self-loop: in the steps in which the node has none of its own (GATConv of PyG does the same
 * by remove_self_loops + add_self_loops up to doubled ones). */
static void emit_missing_loop(writer *w, const flip_raw *raw) {
    int32_t next = w->b->params.first_step; /* first step not yet covered */
    bool open = false;
    for (int32_t r = 0; r <= raw->n_runs; r++) {
        const int32_t first = r < raw->n_runs ? raw->first[r] : w->b->last + 1;
        if (first > next) {
            if (!open) begin_entry(w, w->v);
            open = true;
            emit_run(w, w->v, next, first - 1, raw, 0, 0, NULL, false);
        }
        if (r < raw->n_runs) next = first + raw->length[r];
    }
}

/* One source, in the way the kind wants it. */
static void emit_source(writer *w, int32_t column, const flip_raw *raw, bool diagonal) {
    if (w->b->params.kind != FLIP_ADJACENCY_ATTENTION) {
        emit(w, column, raw, diagonal);
        return;
    }
    emit_levels(w, column, raw);
    if (diagonal) emit_missing_loop(w, raw);
}

static void emit_diagonal(writer *w) {
    static const flip_raw nothing = {0};
    if (w->pending) emit_source(w, w->v, &nothing, true);
    w->pending = false;
}

static void visit(void *to, int32_t column, const flip_raw *raw) {
    writer *w = to;
    const flip_build *b = w->b;
    if (column == w->v)
        w->pending = false;
    else if (w->pending && b->original[column] > b->original[w->v])
        emit_diagonal(w);
    emit_source(w, column, raw, w->loops && column == w->v);
}

static void write_row(writer *w, int32_t v) {
    const flip_build *b = w->b;
    const bool levels = b->params.kind == FLIP_ADJACENCY_ATTENTION;
    w->v = v;
    w->pending = w->loops;
    if (w->out) w->out->row_ptr[v] = w->at.entries;
    if (w->out && !w->is_static && flip_kind_mean(b->params.kind)) {
        flip_build_row_sums(b, v, &w->scratch, w->scratch.sums);
        w->row_sums = w->scratch.sums;
    }
    flip_build_walk(b, v, levels || (!w->bare && (w->out || w->is_static)), &w->scratch, visit, w);
    emit_diagonal(w);
}

/* All rows, in groups: place[g] is where group g begins (filling) or what it has (counting). */
static flip_status write_rows(const flip_build *b, const flip_csr_arrays *out, counts *place,
                              bool *ones) {
    const int32_t groups = b->n_own / GROUP + (b->n_own % GROUP > 0);
    flip_status status = FLIP_OK;
    bool all = true;
#pragma omp parallel reduction(&& : all)
    {
        writer w = {.b = b,
                    .out = out,
                    .is_static = b->is_static,
                    .bare = flip_kind_bare(b->params.kind),
                    .ones = true,
                    .loops = flip_kind_loops(&b->params)};
        const flip_status mine = flip_row_scratch_init(&w.scratch, b);
#pragma omp for schedule(dynamic, 1)
        for (int32_t g = 0; g < groups; g++) {
            if (mine != FLIP_OK) continue;
            w.at = out ? place[g] : (counts){0};
            const int32_t end = b->n_own - g * GROUP < GROUP ? b->n_own : (g + 1) * GROUP;
            for (int32_t v = g * GROUP; v < end; v++)
                write_row(&w, v);
            if (!out) place[g] = w.at;
        }
        all = all && w.ones;
        flip_row_scratch_finish(&w.scratch);
#pragma omp critical
        if (mine != FLIP_OK) status = mine;
    }
    *ones = all;
    return status;
}

/* Row and column scales of a static matrix, so that its values may be left out. */
static flip_status make_scales(const flip_build *b, flip_csr *a) {
    flip_real *row = NULL, *column = NULL;
    if (flip_kind_diagonal(b->params.kind)) {
        FLIP_TRY(flip_arena_alloc(b->out->arena, &column, (size_t)b->n_cols, sizeof *column));
        memcpy(column, b->factor, (size_t)b->n_cols * sizeof *column);
        row = column; /* D on both sides: the own columns are the rows */
        if (b->factor_v != b->factor) {
            FLIP_TRY(flip_arena_alloc(b->out->arena, &row, (size_t)b->n_own, sizeof *row));
            memcpy(row, b->factor_v, (size_t)b->n_own * sizeof *row);
        }
    } else if (flip_kind_mean(b->params.kind)) {
        flip_row_scratch scratch;
        FLIP_TRY(flip_arena_alloc(b->out->arena, &row, (size_t)b->n_own, sizeof *row));
        flip_status status = flip_row_scratch_init(&scratch, b);
        for (int32_t v = 0; status == FLIP_OK && v < b->n_own; v++) {
            double sum;
            flip_build_row_sums(b, v, &scratch, &sum);
            row[v] = sum != 0 ? (flip_real)(1 / sum) : 0;
        }
        flip_row_scratch_finish(&scratch);
        FLIP_TRY(status);
    }
    a->row_scale = row;
    a->col_scale = column;
    return FLIP_OK;
}

static flip_status allocate(const flip_build *b, flip_csr_arrays *x, const counts *all,
                            bool values) {
    flip_arena *arena = b->out->arena;
    const size_t entries = (size_t)all->entries, runs = (size_t)all->runs;
    FLIP_TRY(flip_arena_alloc(arena, &x->row_ptr, (size_t)b->n_own + 1, sizeof *x->row_ptr));
    FLIP_TRY(flip_arena_alloc(arena, &x->col, entries, sizeof *x->col));
    if (b->params.n_steps > 1) {
        if (all->values > UINT32_MAX || all->runs > UINT32_MAX) /* runs of PATTERN, ATTENTION */
            return FLIP_FAIL(
                FLIP_ERROR_MEMORY,
                "%lld values of %d snapshots on one rank, at most %lld: use more ranks, "
                "or --blocks to hold fewer steps at once",
                (long long)all->values, b->params.n_steps, (long long)UINT32_MAX);
        FLIP_TRY(flip_arena_alloc(arena, &x->run_ptr, entries + 1, sizeof *x->run_ptr));
        FLIP_TRY(flip_arena_alloc(arena, &x->run_first, runs, sizeof *x->run_first));
        FLIP_TRY(flip_arena_alloc(arena, &x->value_ptr, runs + 1, sizeof *x->value_ptr));
        x->run_ptr[entries] = (uint32_t)all->runs;
        x->value_ptr[runs] = (uint32_t)all->values;
    }
    x->row_ptr[b->n_own] = all->entries;
    return values ? flip_arena_alloc(arena, &x->value, (size_t)all->values, sizeof *x->value)
                  : FLIP_OK;
}

/* What each group has -> where it begins. */
static counts add_up(counts *place, int32_t groups) {
    counts all = {0};
    for (int32_t g = 0; g < groups; g++) {
        const counts has = place[g];
        place[g] = all;
        all.entries += has.entries;
        all.runs += has.runs;
        all.values += has.values;
    }
    return all;
}

flip_status flip_build_rows(flip_build *b) {
    flip_status status;
    const int32_t groups = b->n_own / GROUP + (b->n_own % GROUP > 0);
    const bool scaled = b->is_static;
    flip_csr_arrays x = {0}; /* only pointers until they are allocated; no rows of entries */
    counts *place = NULL;
    bool ones;
    FLIP_TRY_GOTO(flip_alloc(&place, (size_t)groups, sizeof *place, "places of rows"));
    FLIP_TRY_GOTO(write_rows(b, NULL, place, &ones));
    const counts all = add_up(place, groups);
    const bool values = !flip_kind_bare(b->params.kind) && !(scaled && ones);
    FLIP_TRY_GOTO(allocate(b, &x, &all, values));
    FLIP_TRY_GOTO(write_rows(b, &x, place, &ones));
    b->out->a = (flip_csr){.n_rows = b->n_own,
                           .n_cols = b->n_cols,
                           .n_own = b->n_own,
                           .n_steps = b->params.n_steps,
                           .n_entries = all.entries,
                           .n_values = all.values,
                           .row_ptr = x.row_ptr,
                           .col = x.col,
                           .run_ptr = x.run_ptr,
                           .run_first = x.run_first,
                           .value_ptr = x.value_ptr,
                           .value = x.value};
    if (scaled) status = make_scales(b, &b->out->a);
done:
    flip_free(place);
    return status;
}
