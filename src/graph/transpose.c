/* The transpose of an adjacency for the backward pass: own rows first, then halo rows, in a row
 * ascending by original id of the destination.
 *
 * Where all columns are own and the matrix is its own transpose (an undirected graph on one rank)
 * the arrays are shared: half the memory, and half the cache misses of a training step. */
#include "graph/internal.h"

#include <string.h>

typedef struct transposer {
    const flip_csr *a;
    int64_t *row_ptr; /* [n_cols + 1] of the transpose */
    int64_t *cursor;  /* [n_cols] */
    int32_t *rows;    /* [n_own] a's rows by ascending original id */
} transposer;

static void rewind_cursor(transposer *t) {
    memcpy(t->cursor, t->row_ptr, (size_t)t->a->n_cols * sizeof *t->cursor);
}

static bool same_runs(const flip_csr *a, int64_t e, int64_t p) {
    if (!a->run_ptr) return !a->value || a->value[e] == a->value[p];
    int64_t n = a->run_ptr[e + 1] - a->run_ptr[e];
    if (n != a->run_ptr[p + 1] - a->run_ptr[p]) return false;
    for (int64_t i = 0; i < n; i++) {
        int64_t r = a->run_ptr[e] + i, q = a->run_ptr[p] + i;
        int64_t length = a->value_ptr[r + 1] - a->value_ptr[r];
        if (a->run_first[r] != a->run_first[q] || length != a->value_ptr[q + 1] - a->value_ptr[q] ||
            (a->value && memcmp(a->value + a->value_ptr[r], a->value + a->value_ptr[q],
                                (size_t)length * sizeof *a->value) != 0))
            return false;
    }
    return true;
}

/* Would the transpose have the very arrays of a? */
static bool symmetric(transposer *t) {
    const flip_csr *a = t->a;
    if (a->n_cols != a->n_rows ||
        memcmp(a->row_ptr, t->row_ptr, ((size_t)a->n_rows + 1) * sizeof *a->row_ptr) != 0)
        return false;
    rewind_cursor(t);
    for (int32_t i = 0; i < a->n_rows; i++) {
        int32_t v = t->rows[i];
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            int64_t p = t->cursor[a->col[e]]++;
            if (a->col[p] != v || !same_runs(a, e, p)) return false;
        }
    }
    return true;
}

/* place[e] = where entry e of a stands in the transpose. */
static void place_entries(transposer *t, int64_t *place) {
    rewind_cursor(t);
    for (int32_t i = 0; i < t->a->n_rows; i++)
        for (int64_t e = t->a->row_ptr[t->rows[i]]; e < t->a->row_ptr[t->rows[i] + 1]; e++)
            place[e] = t->cursor[t->a->col[e]]++;
}

static flip_status fill_static(transposer *t, flip_arena *arena, flip_csr *at) {
    const flip_csr *a = t->a;
    int32_t *col;
    flip_real *value = NULL;
    FLIP_TRY(flip_arena_alloc(arena, &col, (size_t)a->n_entries, sizeof *col));
    if (a->value) FLIP_TRY(flip_arena_alloc(arena, &value, (size_t)a->n_entries, sizeof *value));
    rewind_cursor(t);
    for (int32_t i = 0; i < a->n_rows; i++) {
        int32_t v = t->rows[i];
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            int64_t p = t->cursor[a->col[e]]++;
            col[p] = v;
            if (value) value[p] = a->value[e];
        }
    }
    at->col = col;
    at->value = value;
    return FLIP_OK;
}

/* Runs and values of entry e follow it to its place. */
static flip_status fill_runs(transposer *t, flip_arena *arena, const int64_t *place, flip_csr *at) {
    const flip_csr *a = t->a;
    int64_t n_runs = a->run_ptr[a->n_entries];
    int32_t *col, *run_first;
    uint32_t *run_ptr, *value_ptr;
    flip_real *value = NULL;
    FLIP_TRY(flip_arena_alloc(arena, &col, (size_t)a->n_entries, sizeof *col));
    FLIP_TRY(flip_arena_alloc(arena, &run_ptr, (size_t)a->n_entries + 1, sizeof *run_ptr));
    FLIP_TRY(flip_arena_alloc(arena, &run_first, (size_t)n_runs, sizeof *run_first));
    FLIP_TRY(flip_arena_alloc(arena, &value_ptr, (size_t)n_runs + 1, sizeof *value_ptr));
    if (a->value) FLIP_TRY(flip_arena_alloc(arena, &value, (size_t)a->n_values, sizeof *value));
    run_ptr[0] = 0;
    for (int32_t v = 0; v < a->n_rows; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            col[place[e]] = v;
            run_ptr[place[e] + 1] = a->run_ptr[e + 1] - a->run_ptr[e];
        }
    for (int64_t p = 0; p < a->n_entries; p++)
        run_ptr[p + 1] += run_ptr[p];
    value_ptr[0] = 0;
    for (int64_t e = 0; e < a->n_entries; e++)
        for (int64_t r = a->run_ptr[e], q = run_ptr[place[e]]; r < a->run_ptr[e + 1]; r++, q++) {
            run_first[q] = a->run_first[r];
            value_ptr[q + 1] = a->value_ptr[r + 1] - a->value_ptr[r];
        }
    for (int64_t q = 0; q < n_runs; q++)
        value_ptr[q + 1] += value_ptr[q];
    for (int64_t e = 0; value && e < a->n_entries; e++) /* an entry's runs are contiguous in both */
        memcpy(value + value_ptr[run_ptr[place[e]]], a->value + a->value_ptr[a->run_ptr[e]],
               (size_t)(a->value_ptr[a->run_ptr[e + 1]] - a->value_ptr[a->run_ptr[e]]) *
                   sizeof *value);
    at->col = col;
    at->run_ptr = run_ptr;
    at->run_first = run_first;
    at->value_ptr = value_ptr;
    at->value = value;
    return FLIP_OK;
}

static flip_status transposer_init(transposer *t, const flip_build *b) {
    const flip_csr *a = t->a;
    FLIP_TRY(flip_alloc_zero(&t->row_ptr, (size_t)a->n_cols + 1, sizeof *t->row_ptr, "transpose"));
    FLIP_TRY(flip_alloc(&t->cursor, (size_t)a->n_cols, sizeof *t->cursor, "transpose"));
    FLIP_TRY(flip_alloc(&t->rows, (size_t)a->n_rows, sizeof *t->rows, "transpose"));
    for (int32_t i = 0, n = 0; i < b->n_cols; i++)
        if (b->order[i] < b->n_own) t->rows[n++] = b->order[i];
    for (int64_t e = 0; e < a->n_entries; e++)
        t->row_ptr[a->col[e] + 1]++;
    for (int32_t u = 0; u < a->n_cols; u++)
        t->row_ptr[u + 1] += t->row_ptr[u];
    return FLIP_OK;
}

/* Which arrays the transpose has: a's own, or new ones. */
static flip_status fill(transposer *t, flip_adjacency *out, bool shared, const int64_t *place) {
    const flip_csr *a = t->a;
    flip_csr *at = &out->at;
    *at = *a;
    at->n_rows = a->n_cols;
    at->n_cols = at->n_own = a->n_rows;
    at->row_scale = a->col_scale;
    at->col_scale = a->row_scale;
    if (shared) return FLIP_OK;
    int64_t *row_ptr;
    FLIP_TRY(flip_arena_alloc(out->arena, &row_ptr, (size_t)a->n_cols + 1, sizeof *row_ptr));
    memcpy(row_ptr, t->row_ptr, ((size_t)a->n_cols + 1) * sizeof *row_ptr);
    at->row_ptr = row_ptr;
    return a->run_ptr ? fill_runs(t, out->arena, place, at) : fill_static(t, out->arena, at);
}

flip_status flip_build_transpose(flip_build *b) {
    flip_status status;
    flip_adjacency *out = b->out;
    transposer t = {.a = &out->a};
    int64_t *place = NULL, *scratch = NULL;
    FLIP_TRY_GOTO(transposer_init(&t, b));
    bool shared = symmetric(&t), bare = flip_kind_bare(b->params.kind);
    if (bare)
        FLIP_TRY_GOTO(flip_arena_alloc(out->arena, &place, (size_t)t.a->n_entries, sizeof *place));
    else if (t.a->run_ptr && !shared)
        FLIP_TRY_GOTO(flip_alloc(&scratch, (size_t)t.a->n_entries, sizeof *scratch, "transpose"));
    if (bare || scratch) place_entries(&t, bare ? place : scratch);
    out->to_transposed = place;
    status = fill(&t, out, shared, bare ? place : scratch);
done:
    flip_free(t.row_ptr);
    flip_free(t.cursor);
    flip_free(t.rows);
    flip_free(scratch);
    return status;
}
