/* Events in row order -> entries, runs and values of the multi-snapshot CSR.
 *
 * One walk over a row emits its entries in order; it runs twice, first to count, then to fill.
 * An event of step s lives in steps s … s+life-1; TM-GCN's band keeps an entry window-1 steps
 * longer (A'_t averages the window steps up to t). Overlapping and adjacent lives are one run. */
#include "graph/internal.h"

#include <string.h>

typedef struct writer {
    const flip_build *b;
    bool fill, is_static, bare; /* is_static: a graph without steps, scales beside its values */
    bool ones;                  /* every static value so far is 1 */
    int64_t entries, runs, values;
    /* fill only */
    int32_t *col, *run_first;
    int64_t *run_ptr, *value_ptr;
    flip_real *value;
    const double *row_sums; /* [n_low] of the row being written, mean kinds only */
} writer;

/* A run of steps first … last, of which those from first_step on are written. */
static void emit_run(writer *w, int32_t v, int32_t column, int32_t first, int32_t last,
                     const uint32_t *events, int64_t n_events, bool diagonal) {
    const flip_build *b = w->b;
    const int32_t begin = b->params.first_step, from = first > begin ? first : begin;
    if (w->fill) {
        if (w->run_first) {
            w->run_first[w->runs] = from - begin;
            w->value_ptr[w->runs] = w->values;
        }
        if (!w->bare) {
            flip_build_raw_values(b, b->values, first, last - first + 1, events, n_events);
            flip_build_normalise(b, w->value + w->values, b->values, first, last - first + 1, v,
                                 column, diagonal, w->row_sums);
        }
    }
    w->runs++;
    w->values += last - from + 1;
}

static void emit_static(writer *w, int32_t column, const uint32_t *events, int64_t n_events,
                        bool diagonal) {
    double sum = diagonal ? 1 : 0;
    if (!w->bare) {
        for (int64_t i = 0; i < n_events; i++)
            sum += flip_event_weight(w->b, events[i]);
        w->ones = w->ones && sum == 1;
    }
    if (w->fill) {
        w->col[w->entries] = column;
        if (w->value) w->value[w->entries] = (flip_real)sum;
    }
    w->entries++;
    w->values++;
}

/* One entry: the events of one (row, source), steps ascending. */
static void emit(writer *w, int32_t v, int32_t column, const uint32_t *events, int64_t n_events,
                 bool diagonal) {
    const flip_build *b = w->b;
    const int32_t last_step = b->last;
    const int32_t stay = b->params.edge_life + b->params.window - 2; /* steps alive after its own */
    if (w->is_static) {
        emit_static(w, column, events, n_events, diagonal);
        return;
    }
    if (w->fill) {
        w->col[w->entries] = column;
        if (w->run_ptr) w->run_ptr[w->entries] = w->runs;
    }
    w->entries++;
    if (diagonal) {
        emit_run(w, v, column, b->base, last_step, events, n_events, true);
        return;
    }
    for (int64_t i = 0, j; i < n_events; i = j) {
        int32_t first = flip_event_step(b, events[i]), step = first;
        for (j = i + 1; j < n_events; j++) {
            int32_t next = flip_event_step(b, events[j]);
            if (next - step > stay + 1) break;
            step = next;
        }
        emit_run(w, v, column, first, last_step - step < stay ? last_step : step + stay, events + i,
                 j - i, false);
    }
}

/* GAT's self-loop: in the steps in which the node has none of its own (README of the golden
 * cases; GATConv of PyG does the same by remove_self_loops + add_self_loops up to doubled ones). */
static void emit_missing_loop(writer *w, int32_t v, const uint32_t *events, int64_t n_events) {
    const flip_build *b = w->b;
    if (w->is_static) {
        if (n_events == 0) emit_static(w, v, NULL, 0, false);
        return;
    }
    int32_t next = b->params.first_step; /* first step not yet covered */
    bool open = false;
    for (int64_t i = 0; i <= n_events; i++) {
        int32_t first = i < n_events ? flip_event_step(b, events[i]) : b->last + 1;
        if (first > next) {
            if (!open && w->fill) {
                w->col[w->entries] = v;
                if (w->run_ptr) w->run_ptr[w->entries] = w->runs;
            }
            open = true;
            emit_run(w, v, v, next, first - 1, NULL, 0, false);
        }
        if (i < n_events && first + b->params.edge_life > next) next = first + b->params.edge_life;
    }
    if (open) w->entries++;
}

/* All events of one (row, source), in the way the kind wants them. */
static void emit_group(writer *w, int32_t v, int32_t column, const uint32_t *events, int64_t n,
                       bool diagonal) {
    if (w->b->params.kind != FLIP_ADJACENCY_ATTENTION) {
        emit(w, v, column, events, n, diagonal);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        emit(w, v, column, events + i, 1, false);
    if (diagonal) emit_missing_loop(w, v, events, n);
}

static void walk_row(writer *w, int32_t v, double *row_sums) {
    const flip_build *b = w->b;
    const uint32_t *events = b->by_row;
    const bool loops = flip_kind_diagonal(b->params.kind) ||
                       (b->params.kind == FLIP_ADJACENCY_ATTENTION && !b->params.without_loops);
    bool pending = loops; /* the diagonal is still to be written */
    if (w->fill && !w->is_static && flip_kind_mean(b->params.kind)) {
        flip_build_row_sums(b, v, row_sums);
        w->row_sums = row_sums;
    }
    for (int64_t i = b->row_start[v], j; i < b->row_start[v + 1]; i = j) {
        int32_t column = b->column[events[i]];
        j = i + 1;
        while (j < b->row_start[v + 1] && b->column[events[j]] == column)
            j++;
        if (pending && column != v && b->original[column] > b->original[v]) {
            emit_group(w, v, v, NULL, 0, true);
            pending = false;
        }
        emit_group(w, v, column, events + i, j - i, loops && column == v);
        if (column == v) pending = false;
    }
    if (pending) emit_group(w, v, v, NULL, 0, true);
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
        FLIP_TRY(flip_arena_alloc(b->out->arena, &row, (size_t)b->n_own, sizeof *row));
        for (int32_t v = 0; v < b->n_own; v++) {
            double sum;
            flip_build_row_sums(b, v, &sum);
            row[v] = sum != 0 ? (flip_real)(1 / sum) : 0;
        }
    }
    a->row_scale = row;
    a->col_scale = column;
    return FLIP_OK;
}

static flip_status allocate(writer *w, const writer *counted, int64_t **row_ptr) {
    const flip_build *b = w->b;
    flip_arena *arena = b->out->arena;
    size_t runs = (size_t)counted->runs, values = (size_t)counted->values;
    FLIP_TRY(flip_arena_alloc(arena, row_ptr, (size_t)b->n_own + 1, sizeof **row_ptr));
    FLIP_TRY(flip_arena_alloc(arena, &w->col, (size_t)counted->entries, sizeof *w->col));
    if (b->params.n_steps > 1) {
        FLIP_TRY(
            flip_arena_alloc(arena, &w->run_ptr, (size_t)counted->entries + 1, sizeof *w->run_ptr));
        FLIP_TRY(flip_arena_alloc(arena, &w->run_first, runs, sizeof *w->run_first));
        FLIP_TRY(flip_arena_alloc(arena, &w->value_ptr, runs + 1, sizeof *w->value_ptr));
    }
    if (!w->bare && !(w->is_static && counted->ones))
        FLIP_TRY(flip_arena_alloc(arena, &w->value, values, sizeof *w->value));
    return FLIP_OK;
}

flip_status flip_build_rows(flip_build *b) {
    const bool bare = flip_kind_bare(b->params.kind);
    const bool is_static = b->params.n_steps == 1 && b->params.first_step == 0 && !b->events->step;
    writer count = {.b = b, .is_static = is_static, .bare = bare, .ones = true};
    for (int32_t v = 0; v < b->n_own; v++)
        walk_row(&count, v, NULL);
    writer fill = {.b = b, .is_static = is_static, .bare = bare, .fill = true};
    int64_t *row_ptr;
    FLIP_TRY(allocate(&fill, &count, &row_ptr));
    for (int32_t v = 0; v < b->n_own; v++) {
        row_ptr[v] = fill.entries;
        walk_row(&fill, v, b->sums);
    }
    row_ptr[b->n_own] = fill.entries;
    if (fill.run_ptr) {
        fill.run_ptr[fill.entries] = fill.runs;
        fill.value_ptr[fill.runs] = fill.values;
    }
    b->out->a = (flip_csr){.n_rows = b->n_own,
                           .n_cols = b->n_cols,
                           .n_own = b->n_own,
                           .n_steps = b->params.n_steps,
                           .n_entries = fill.entries,
                           .n_values = fill.values,
                           .row_ptr = row_ptr,
                           .col = fill.col,
                           .run_ptr = fill.run_ptr,
                           .run_first = fill.run_first,
                           .value_ptr = fill.value_ptr,
                           .value = fill.value};
    return is_static ? make_scales(b, &b->out->a) : FLIP_OK;
}
