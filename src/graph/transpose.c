/* The transpose of an adjacency for the backward pass: own rows first, then halo rows, in a row
 * ascending by original id of the destination.
 *
 * Where all columns are own and the matrix is its own transpose (an undirected graph on one rank)
 * the arrays are shared: half the memory, and half the cache misses of a training step. */
#include "graph/internal.h"

#include <omp.h>
#include <string.h>

typedef struct transposer {
    const flip_csr *a;
    int64_t *row_ptr; /* [n_cols + 1] of the transpose */
    int64_t *cursor;  /* [n_cols] */
    int32_t *rows;    /* [n_own] a's rows by ascending original id */
    int n_shares;     /* of the columns, one a thread: each looks through all entries for its own */
    int32_t *share;   /* [n_shares + 1] first column; about as many entries each */
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

/* Is the column one of share k's? */
static inline bool shares(const transposer *t, int k, int32_t column) {
    return column >= t->share[k] && column < t->share[k + 1];
}

/* place[e] = where entry e of a stands in the transpose. */
static void place_entries(transposer *t, int64_t *place) {
    const flip_csr *a = t->a;
    rewind_cursor(t);
#pragma omp parallel for schedule(static) num_threads(t->n_shares)
    for (int k = 0; k < t->n_shares; k++)
        for (int32_t i = 0; i < a->n_rows; i++)
            for (int64_t e = a->row_ptr[t->rows[i]]; e < a->row_ptr[t->rows[i] + 1]; e++)
                if (shares(t, k, a->col[e])) place[e] = t->cursor[a->col[e]]++;
}

static flip_status fill_static(transposer *t, flip_arena *arena, flip_csr *at) {
    const flip_csr *a = t->a;
    int32_t *col;
    flip_real *value = NULL;
    FLIP_TRY(flip_arena_alloc(arena, &col, (size_t)a->n_entries, sizeof *col));
    if (a->value) FLIP_TRY(flip_arena_alloc(arena, &value, (size_t)a->n_entries, sizeof *value));
    rewind_cursor(t);
#pragma omp parallel for schedule(static) num_threads(t->n_shares)
    for (int k = 0; k < t->n_shares; k++)
        for (int32_t i = 0; i < a->n_rows; i++) {
            const int32_t v = t->rows[i];
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
                if (!shares(t, k, a->col[e])) continue;
                const int64_t p = t->cursor[a->col[e]]++;
                col[p] = v;
                if (value) value[p] = a->value[e];
            }
        }
    at->col = col;
    at->value = value;
    return FLIP_OK;
}

/* ---- with runs ---- */

/* What stands at a place of the transpose. */
typedef struct source {
    uint32_t entry;
    int32_t row;
} source;

/* What stands before a share's first entry, or, counted, in it. */
typedef struct before {
    uint32_t runs, values;
} before;

static void find_sources(transposer *t, int k, source *from) {
    const flip_csr *a = t->a;
    for (int32_t i = 0; i < a->n_rows; i++) {
        const int32_t v = t->rows[i];
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++)
            if (shares(t, k, a->col[e]))
                from[t->cursor[a->col[e]]++] = (source){.entry = (uint32_t)e, .row = v};
    }
}

static before count_runs(const transposer *t, int k, const source *from) {
    const flip_csr *a = t->a;
    before n = {0};
    for (int64_t p = t->row_ptr[t->share[k]]; p < t->row_ptr[t->share[k + 1]]; p++) {
        const uint32_t first = a->run_ptr[from[p].entry], end = a->run_ptr[from[p].entry + 1];
        n.runs += end - first;
        n.values += a->value_ptr[end] - a->value_ptr[first];
    }
    return n;
}

/* A share's entries one after the other, with their runs and values. */
static void write_share(const transposer *t, int k, const source *from, before n,
                        const flip_csr_arrays *to) {
    const flip_csr *a = t->a;
    for (int64_t p = t->row_ptr[t->share[k]]; p < t->row_ptr[t->share[k + 1]]; p++) {
        const uint32_t first = a->run_ptr[from[p].entry], end = a->run_ptr[from[p].entry + 1];
        const uint32_t begin = n.values;
        to->col[p] = from[p].row;
        to->run_ptr[p] = n.runs;
        for (uint32_t r = first; r < end; r++, n.runs++) {
            to->run_first[n.runs] = a->run_first[r];
            to->value_ptr[n.runs] = n.values;
            n.values += a->value_ptr[r + 1] - a->value_ptr[r];
        }
        if (to->value) /* an entry's runs are contiguous in both */
            memcpy(to->value + begin, a->value + a->value_ptr[first],
                   (size_t)(n.values - begin) * sizeof *to->value);
    }
}

static flip_status take_arrays(flip_arena *arena, const flip_csr *a, flip_csr_arrays *to) {
    const size_t entries = (size_t)a->n_entries, runs = a->run_ptr[a->n_entries];
    *to = (flip_csr_arrays){0};
    FLIP_TRY(flip_arena_alloc(arena, &to->col, entries, sizeof *to->col));
    FLIP_TRY(flip_arena_alloc(arena, &to->run_ptr, entries + 1, sizeof *to->run_ptr));
    FLIP_TRY(flip_arena_alloc(arena, &to->run_first, runs, sizeof *to->run_first));
    FLIP_TRY(flip_arena_alloc(arena, &to->value_ptr, runs + 1, sizeof *to->value_ptr));
    if (!a->value) return FLIP_OK;
    return flip_arena_alloc(arena, &to->value, (size_t)a->n_values, sizeof *to->value);
}

static flip_status fill_runs(transposer *t, flip_arena *arena, source *from, flip_csr *at) {
    const flip_csr *a = t->a;
    before *shares;
    flip_csr_arrays to;
    FLIP_TRY(take_arrays(arena, a, &to));
    FLIP_TRY(flip_alloc(&shares, (size_t)t->n_shares + 1, sizeof *shares, "transpose"));
    rewind_cursor(t);
#pragma omp parallel for schedule(static) num_threads(t->n_shares)
    for (int k = 0; k < t->n_shares; k++) {
        find_sources(t, k, from);
        if (k + 1 < t->n_shares) shares[k + 1] = count_runs(t, k, from);
    }
    shares[0] = (before){0};
    for (int k = 1; k < t->n_shares; k++) {
        shares[k].runs += shares[k - 1].runs;
        shares[k].values += shares[k - 1].values;
    }
#pragma omp parallel for schedule(static) num_threads(t->n_shares)
    for (int k = 0; k < t->n_shares; k++)
        write_share(t, k, from, shares[k], &to);
    flip_free(shares);
    to.run_ptr[a->n_entries] = a->run_ptr[a->n_entries];
    to.value_ptr[a->run_ptr[a->n_entries]] = a->value_ptr[a->run_ptr[a->n_entries]];
    at->col = to.col;
    at->run_ptr = to.run_ptr;
    at->run_first = to.run_first;
    at->value_ptr = to.value_ptr;
    at->value = to.value;
    return FLIP_OK;
}

/* ---- a transpose ---- */

static void share_columns(transposer *t) {
    int32_t u = 0;
    for (int k = 0; k < t->n_shares; k++) {
        while (u < t->a->n_cols && t->row_ptr[u] < t->a->n_entries / t->n_shares * k)
            u++;
        t->share[k] = u;
    }
    t->share[t->n_shares] = t->a->n_cols;
}

enum { MANY = 1 << 14 }; /* entries that are worth several threads */

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
    t->n_shares = a->n_entries < MANY ? 1 : omp_get_max_threads();
    FLIP_TRY(flip_alloc(&t->share, (size_t)t->n_shares + 1, sizeof *t->share, "transpose"));
    share_columns(t);
    return FLIP_OK;
}

/* Which arrays the transpose has: a's own, or new ones. */
static flip_status fill(transposer *t, flip_adjacency *out, bool shared, source *from) {
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
    return a->run_ptr ? fill_runs(t, out->arena, from, at) : fill_static(t, out->arena, at);
}

flip_status flip_build_transpose(flip_build *b) {
    flip_status status;
    flip_adjacency *out = b->out;
    transposer t = {.a = &out->a};
    int64_t *place = NULL;
    source *from = NULL;
    FLIP_TRY_GOTO(transposer_init(&t, b));
    const bool shared = symmetric(&t);
    if (flip_kind_bare(b->params.kind)) {
        FLIP_TRY_GOTO(flip_arena_alloc(out->arena, &place, (size_t)t.a->n_entries, sizeof *place));
        place_entries(&t, place);
    }
    if (t.a->run_ptr && !shared)
        FLIP_TRY_GOTO(flip_alloc(&from, (size_t)t.a->n_entries, sizeof *from, "transpose"));
    out->to_transposed = place;
    status = fill(&t, out, shared, from);
done:
    flip_free(t.row_ptr);
    flip_free(t.cursor);
    flip_free(t.rows);
    flip_free(t.share);
    flip_free(from);
    return status;
}
