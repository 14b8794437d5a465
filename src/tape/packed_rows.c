/* Packed rows of two levels, decoded and summed: what the first level's codes stand for, and beside
 * it what the second level's do where a row has one.
 *     row i = decode(codes[i]) + decode(fine.codes[fine.at[i]])
 * Sums along a matrix are taken of one level and then of the other, so that every row is decoded
 * where it is added up, as with one level. */
#include "internal.h"

#include <omp.h>
#include <string.h>

enum { AT_ONCE = 256 }; /* rows by number, decoded at once */

/* The row of second-level codes that belongs to row c of the codes, -1 = none. */
static int32_t second_of(const flip_refinement *fine, int32_t c) {
    return fine->at ? fine->at[c] : c;
}

/* ---- rows: the second level's are a matrix times its codes, of one entry a row or none ---- */

void tape_second_rows(const flip_packed_rows *rows, int64_t first, int64_t n, int64_t *row_ptr,
                      int32_t *at) {
    row_ptr[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t c = rows->index ? rows->index[first + i] : (int32_t)(first + i);
        int32_t second = second_of(&rows->fine, c);
        if (second >= 0) at[row_ptr[i]] = second;
        row_ptr[i + 1] = row_ptr[i] + (second >= 0);
    }
}

/* out [n, dim] += what the entries name. */
static void add_second(const flip_refinement *fine, const flip_kernels *kernels, int64_t n,
                       const int64_t *row_ptr, const int32_t *at, flip_real *out) {
    const flip_csr entries = {
        .n_rows = (int32_t)n, .n_steps = 1, .n_entries = n, .row_ptr = row_ptr, .col = at};
    kernels->spmm_packed(&entries, fine->packing, fine->codes, fine->key, NULL, out,
                         fine->packing->dim, true);
}

static flip_status decode_levels(const flip_packed_rows *rows, const flip_kernels *kernels,
                                 int64_t first, int64_t n, flip_real *out) {
    const flip_packing *p = rows->packing;
    const flip_refinement *fine = &rows->fine;
    const int64_t skip = rows->index ? 0 : first; /* rows of codes */
    int64_t *row_ptr = NULL;
    int32_t *at = NULL;
    kernels->decode_rows(p, rows->codes + (size_t)skip * p->stride,
                         rows->key ? rows->key + skip : NULL, n,
                         rows->index ? rows->index + first : NULL, out, p->dim);
    if (!fine->packing) return FLIP_OK;
    if (fine->row_ptr) {
        add_second(fine, kernels, n, fine->row_ptr + first, fine->at, out);
        return FLIP_OK;
    }
    flip_status status = flip_alloc(&row_ptr, (size_t)n + 1, sizeof *row_ptr, "second levels");
    if (status == FLIP_OK) status = flip_alloc(&at, (size_t)n, sizeof *at, "second levels");
    if (status == FLIP_OK) {
        tape_second_rows(rows, first, n, row_ptr, at);
        add_second(fine, kernels, n, row_ptr, at, out);
    }
    flip_free(row_ptr);
    flip_free(at);
    return status;
}

flip_status flip_packed_rows_decode(const flip_packed_rows *rows, const flip_kernels *kernels,
                                    int64_t first, int64_t n, flip_real *out) {
    FLIP_TRY(decode_levels(rows, kernels, first, n, out));
    if (rows->norm) rows->norm->apply(rows->norm, n, out);
    return FLIP_OK;
}

/* Where row * steps + step `at` is decoded from: the run that has it, looked for from run k on. */
static int64_t run_of(const flip_packed_rows *rows, int64_t k, int64_t at) {
    int64_t end = rows->n_runs;
    if (!rows->run) return at;
    if (at < rows->run[k + 1]) return k;
    if (k + 2 <= end && at < rows->run[k + 2]) return k + 1;
    while (end - k > 1) {
        int64_t middle = k + (end - k) / 2;
        if (rows->run[middle] <= at)
            k = middle;
        else
            end = middle;
    }
    return k;
}

flip_status tape_decode_steps(const flip_packed_rows *rows, const flip_kernels *kernels,
                              int64_t first, int64_t m, int64_t begin, int64_t n, flip_real *out) {
    const int64_t steps = rows->run ? rows->steps : 1, dim = rows->packing->dim;
    int32_t index[AT_ONCE];
    flip_packed_rows some = *rows;
    some.index = index;
    for (int64_t done = 0, k = 0; done < m * n; done += AT_ONCE) {
        const int64_t many = m * n - done < AT_ONCE ? m * n - done : AT_ONCE;
        for (int64_t i = 0; i < many; i++) {
            k = run_of(rows, k, (first + (done + i) / n) * steps + begin + (done + i) % n);
            index[i] = rows->index ? rows->index[k] : (int32_t)k;
        }
        FLIP_TRY(flip_packed_rows_decode(&some, kernels, 0, many, out + done * dim));
    }
    return FLIP_OK;
}

/* ---- sums ---- */

/* The entries of a matrix whose columns have a second level. */
typedef struct entries {
    int64_t *row_ptr;
    int32_t *col;
    flip_real *value; /* NULL = 1 */
} entries;

static flip_status pick(entries *e, const flip_csr *a, const flip_packed_rows *rows) {
    const flip_refinement *fine = &rows->fine;
    int64_t n = 0;
    FLIP_TRY(flip_alloc(&e->row_ptr, (size_t)a->n_rows + 1, sizeof *e->row_ptr, "second levels"));
    FLIP_TRY(flip_alloc(&e->col, (size_t)a->n_entries, sizeof *e->col, "second levels"));
    if (a->value)
        FLIP_TRY(flip_alloc(&e->value, (size_t)a->n_entries, sizeof *e->value, "second levels"));
    e->row_ptr[0] = 0;
    for (int32_t v = 0; v < a->n_rows; v++) {
        for (int64_t i = a->row_ptr[v]; i < a->row_ptr[v + 1]; i++) {
            int32_t c = a->col[i];
            if (second_of(fine, rows->index ? rows->index[c] : c) < 0) continue;
            if (e->value) e->value[n] = a->value[i];
            e->col[n++] = c;
        }
        e->row_ptr[v + 1] = n;
    }
    return FLIP_OK;
}

/* index [n_cols]: columns' rows of the second level. */
static flip_status number_columns(int32_t **index, const flip_csr *a,
                                  const flip_packed_rows *rows) {
    FLIP_TRY(flip_alloc(index, (size_t)a->n_cols, sizeof **index, "second levels"));
    for (int32_t c = 0; c < a->n_cols; c++) {
        int32_t at = second_of(&rows->fine, rows->index ? rows->index[c] : c);
        (*index)[c] = at < 0 ? 0 : at; /* no entry has such a column */
    }
    return FLIP_OK;
}

/* Row v of y, of rows that are more than what codes stand for: decoded some at a time into room. */
static flip_status sum_row(const flip_packed_rows *rows, const flip_kernels *kernels,
                           const flip_csr *a, int32_t v, flip_real *room, flip_real *y) {
    const int64_t dim = rows->packing->dim, end = a->row_ptr[v + 1];
    int32_t index[AT_ONCE];
    flip_packed_rows some = *rows;
    some.index = index;
    memset(y, 0, (size_t)dim * sizeof *y);
    for (int64_t e = a->row_ptr[v]; e < end; e += AT_ONCE) {
        const int64_t n = end - e < AT_ONCE ? end - e : AT_ONCE;
        for (int64_t i = 0; i < n; i++)
            index[i] = rows->index ? rows->index[a->col[e + i]] : a->col[e + i];
        FLIP_TRY(flip_packed_rows_decode(&some, kernels, 0, n, room));
        for (int64_t i = 0; i < n; i++) {
            flip_real weight = a->value ? a->value[e + i] : 1;
            if (a->col_scale) weight *= a->col_scale[a->col[e + i]];
            for (int64_t j = 0; j < dim; j++)
                y[j] += weight * room[i * dim + j];
        }
    }
    for (int64_t j = 0; a->row_scale && j < dim; j++)
        y[j] *= a->row_scale[v];
    return FLIP_OK;
}

static flip_status sum_decoded(const flip_packed_rows *rows, const flip_kernels *kernels,
                               const flip_csr *a, flip_real *y) {
    const int64_t dim = rows->packing->dim;
    flip_real *room;
    flip_status status = FLIP_OK;
    FLIP_TRY(flip_alloc(&room, (size_t)omp_get_max_threads() * AT_ONCE, (size_t)dim * sizeof *room,
                        "decoded rows"));
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t v = 0; v < a->n_rows; v++) {
        flip_status one =
            sum_row(rows, kernels, a, v, room + omp_get_thread_num() * AT_ONCE * dim, y + v * dim);
        if (one == FLIP_OK) continue;
#pragma omp atomic write
        status = one;
    }
    flip_free(room);
    return status;
}

flip_status flip_packed_rows_sum(const flip_packed_rows *rows, const flip_kernels *kernels,
                                 const flip_csr *a, flip_real *y) {
    flip_status status;
    const flip_refinement *fine = &rows->fine;
    entries some = {0};
    int32_t *index = NULL;
    if (rows->norm) return sum_decoded(rows, kernels, a, y);
    kernels->spmm_packed(a, rows->packing, rows->codes, rows->key, rows->index, y,
                         rows->packing->dim, false);
    if (!fine->packing) return FLIP_OK;
    flip_csr part = *a;
    if (fine->at) {
        FLIP_TRY_GOTO(pick(&some, a, rows));
        part.row_ptr = some.row_ptr;
        part.col = some.col;
        part.value = some.value;
        part.n_entries = some.row_ptr[a->n_rows];
        part.n_values = some.value ? part.n_entries : 0;
    }
    if (fine->at || rows->index) FLIP_TRY_GOTO(number_columns(&index, a, rows));
    kernels->spmm_packed(&part, fine->packing, fine->codes, fine->key, index, y, fine->packing->dim,
                         true);
    status = FLIP_OK;
done:
    flip_free(some.row_ptr);
    flip_free(some.col);
    flip_free(some.value);
    flip_free(index);
    return status;
}
