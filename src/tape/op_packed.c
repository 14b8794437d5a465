/* Linear maps of packed rows: decoded some hundred at a time beside the product that reads them, in
 * forward and again in backward, so that no full-width table ever stands in memory.
 *     Y = decode(X) W,   dW = decode(X)^T dY
 * Product-quantised rows of few entries are multiplied in the space of their codebooks: block b's
 * entries times the weight's rows of that block are taken once, a row of Y is a sum of such rows.
 * Of several steps, rows that stay the same for a run of them are multiplied once:
 *     Y[i] = decode(X[k]) W for i in run k,   dW = Σ_k decode(X[k])^T Σ_{i in run k} dY[i]
 */
#include "internal.h"

#include <string.h>

enum { CHUNK_VALUES = 128 << 10, LEAST_ROWS = 64, MOST_ROWS = 1024 };

/* Rows decoded at once, about half a megabyte: a function of the width alone, so that the sums of
 * weight gradients do not depend on threads. */
static int64_t chunk_rows(int64_t dim) {
    int64_t rows = CHUNK_VALUES / dim / 32 * 32;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

static flip_status decode(flip_tape *tape, const variable *x, int64_t first, int64_t n,
                          flip_real *out) {
    const flip_packed_rows *c = &x->coded;
    flip_meter_begin(tape->meter, FLIP_STAGE_AGGREGATE);
    flip_status status = flip_packed_rows_decode(c, tape->kernels, first, n, out);
    flip_meter_end(tape->meter);
    tape_traffic(tape, FLIP_STAGE_AGGREGATE,
                 (uint64_t)n * (c->packing->stride + (uint64_t)x->dim * sizeof(flip_real)), 0);
    return status;
}

static flip_status chunk_begin(flip_tape *tape, const variable *x, flip_real **chunk) {
    size_t rows = (size_t)chunk_rows(x->dim);
    return pool_alloc(tape->pool, chunk, rows * (size_t)x->dim * sizeof(flip_real));
}

/* ---- products in codebook space ---- */

/* Pays where a code stands for four columns or more, tables stay in the second-level cache, and
 * rows are many beside entries. Products rounded to bfloat16 go the other way. */
static bool by_tables(const flip_tape *tape, const flip_packed_rows *rows, int64_t m,
                      const flip_epilogue *e) {
    const flip_packing *p = rows->packing;
    enum { MOST_TABLE = 1 << 20, LEAST_WIDTH = 4, ROWS_AN_ENTRY = 4 };
    const size_t table = (size_t)p->blocks * (size_t)p->length * FLIP_TABLE_COLUMNS * sizeof(float);
    return !rows->fine.packing && !rows->norm && p->kind == FLIP_PACKING_PRODUCT && p->bits == 8 &&
           p->width >= LEAST_WIDTH && table <= MOST_TABLE && m >= ROWS_AN_ENTRY * p->length &&
           tape->gemm_nn == tape->kernels->gemm_nn && (!e || !(e->relu || e->dropout > 0));
}

/* entries [length, dim]: row k is what code k of every block decodes to. */
static flip_status decode_entries(flip_tape *tape, const flip_packing *p, flip_real *entries) {
    const size_t bytes = (size_t)p->length * p->stride;
    uint8_t *codes, *host;
    FLIP_TRY(pool_alloc(tape->pool, &codes, bytes));
    FLIP_TRY(flip_alloc(&host, bytes, 1, "entries of codebooks"));
    for (int32_t k = 0; k < p->length; k++)
        memset(host + (size_t)k * p->stride, k, p->stride);
    tape->kernels->send(codes, host, bytes);
    tape->kernels->decode_rows(p, codes, NULL, p->length, NULL, entries, p->dim);
    flip_free(host);
    pool_free(tape->pool, codes);
    return FLIP_OK;
}

/* table [blocks, length, FLIP_TABLE_COLUMNS]: entries times columns j … of the weight [dim, n]. */
static void multiply_entries(flip_tape *tape, const flip_packing *p, const flip_real *entries,
                             const flip_real *w, int64_t n, int64_t j, flip_real *table) {
    int64_t columns = n - j < FLIP_TABLE_COLUMNS ? n - j : FLIP_TABLE_COLUMNS;
    for (int64_t b = 0; b < p->blocks; b++) {
        int64_t first = b * p->width, width = p->dim - first < p->width ? p->dim - first : p->width;
        tape->gemm_nn(p->length, columns, width, entries + first, p->dim, w + first * n + j, n,
                      table + b * p->length * FLIP_TABLE_COLUMNS, FLIP_TABLE_COLUMNS, NULL);
    }
}

static flip_status multiply_by_tables(flip_tape *tape, const flip_packed_rows *x, int64_t m,
                                      int64_t n, flip_param weight, flip_real *y,
                                      const flip_epilogue *e) {
    const flip_packing *p = x->packing;
    const size_t table_bytes =
        (size_t)p->blocks * (size_t)p->length * FLIP_TABLE_COLUMNS * sizeof(flip_real);
    const flip_real *w = tape_weight(tape, weight), *bias = e ? e->bias : NULL;
    flip_real *entries, *table;
    FLIP_TRY(
        pool_alloc(tape->pool, &entries, (size_t)p->length * (size_t)p->dim * sizeof *entries));
    FLIP_TRY(pool_alloc(tape->pool, &table, table_bytes));
    if (n < FLIP_TABLE_COLUMNS)
        tape->kernels->clear(table, table_bytes); /* sums read columns behind n, too */
    FLIP_TRY(decode_entries(tape, p, entries));
    flip_meter_begin(tape->meter, FLIP_STAGE_DENSE);
    for (int64_t j = 0; j < n; j += FLIP_TABLE_COLUMNS) {
        int64_t columns = n - j < FLIP_TABLE_COLUMNS ? n - j : FLIP_TABLE_COLUMNS;
        multiply_entries(tape, p, entries, w, n, j, table);
        tape->kernels->sum_entries(m, p->blocks, p->length, x->codes, p->stride, x->index, table,
                                   bias ? bias + j : NULL, (int32_t)columns, y + j, n,
                                   e && e->accumulate);
    }
    flip_meter_end(tape->meter);
    tape_traffic(tape, FLIP_STAGE_DENSE,
                 (uint64_t)m * (p->stride + (uint64_t)n * sizeof(flip_real)),
                 (uint64_t)n * (2 * (uint64_t)p->length * (uint64_t)p->dim +
                                (uint64_t)m * (uint64_t)p->blocks));
    pool_free(tape->pool, table);
    pool_free(tape->pool, entries);
    return FLIP_OK;
}

/* ---- runs of steps ---- */

/* y's rows of the runs first … first+count-1 (+)= z's row of each. */
static void spread(const flip_packed_rows *c, int64_t first, int64_t count, int64_t n,
                   const flip_real *z, flip_real *y, bool add) {
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < count; k++)
        for (int64_t i = c->run[first + k]; i < c->run[first + k + 1]; i++)
            for (int64_t j = 0; j < n; j++)
                y[i * n + j] = z[k * n + j] + (add ? y[i * n + j] : 0);
}

/* z's rows = sums of dy's over each of these runs. */
static void gather(const flip_packed_rows *c, int64_t first, int64_t count, int64_t n,
                   const flip_real *dy, flip_real *z) {
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < count; k++) {
        memcpy(z + k * n, dy + c->run[first + k] * n, (size_t)n * sizeof *z);
        for (int64_t i = c->run[first + k] + 1; i < c->run[first + k + 1]; i++)
            for (int64_t j = 0; j < n; j++)
                z[k * n + j] += dy[i * n + j];
    }
}

static flip_status multiply_runs(flip_tape *tape, const variable *x, int64_t n, flip_param w,
                                 flip_real *y, const flip_epilogue *e) {
    const flip_packed_rows *c = &x->coded;
    const bool tables = by_tables(tape, c, c->n_runs, e);
    const bool add = e && e->accumulate;
    const flip_epilogue own = {.bias = e ? e->bias : NULL};
    int64_t rows = tables ? c->n_runs : chunk_rows(x->dim);
    flip_real *chunk = NULL, *z;
    if (c->n_runs == 0) return FLIP_OK;
    FLIP_TRY(pool_alloc(tape->pool, &z, (size_t)(rows * n) * sizeof *z));
    if (!tables) FLIP_TRY(chunk_begin(tape, x, &chunk));
    for (int64_t first = 0; first < c->n_runs; first += rows) {
        int64_t count = c->n_runs - first < rows ? c->n_runs - first : rows;
        if (tables)
            FLIP_TRY(multiply_by_tables(tape, c, count, n, w, z, &own));
        else
            FLIP_TRY(decode(tape, x, first, count, chunk));
        if (!tables) tape_product(tape, count, n, x->dim, chunk, w, z, &own);
        spread(c, first, count, n, z, y, add);
    }
    pool_free(tape->pool, chunk);
    pool_free(tape->pool, z);
    return FLIP_OK;
}

/* ---- products ---- */

static flip_status whole_runs(const variable *x, int64_t m) {
    if (m == rows_of(x)) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the first %lld rows of runs of steps", (long long)m);
}

flip_status tape_multiply(flip_tape *tape, const variable *x, int64_t m, int64_t n, flip_param w,
                          flip_real *y, const flip_epilogue *e) {
    int64_t rows = chunk_rows(x->dim);
    flip_real *chunk;
    if (!x->coded.packing) {
        tape_product(tape, m, n, x->dim, x->value, w, y, e);
        return FLIP_OK;
    }
    if (x->coded.run) {
        FLIP_TRY(whole_runs(x, m));
        return multiply_runs(tape, x, n, w, y, e);
    }
    if (by_tables(tape, &x->coded, m, e)) return multiply_by_tables(tape, &x->coded, m, n, w, y, e);
    FLIP_TRY(chunk_begin(tape, x, &chunk));
    for (int64_t first = 0; first < m; first += rows) {
        int64_t count = m - first < rows ? m - first : rows;
        FLIP_TRY(decode(tape, x, first, count, chunk));
        tape_product(tape, count, n, x->dim, chunk, w, y + first * n, e);
    }
    pool_free(tape->pool, chunk);
    return FLIP_OK;
}

flip_status tape_multiply_weight(flip_tape *tape, const variable *x, int64_t m, int64_t n,
                                 const flip_real *dy, flip_param w) {
    const flip_packed_rows *c = &x->coded;
    int64_t rows = chunk_rows(x->dim), all = c->run ? c->n_runs : m;
    flip_real *chunk, *sums = NULL;
    if (!c->packing) {
        tape_product_weight(tape, m, n, x->dim, x->value, dy, w);
        return FLIP_OK;
    }
    if (c->run) {
        FLIP_TRY(whole_runs(x, m));
        FLIP_TRY(pool_alloc(tape->pool, &sums, (size_t)(rows * n) * sizeof *sums));
    }
    FLIP_TRY(chunk_begin(tape, x, &chunk));
    for (int64_t first = 0; first < all; first += rows) {
        int64_t count = all - first < rows ? all - first : rows;
        FLIP_TRY(decode(tape, x, first, count, chunk));
        if (c->run) gather(c, first, count, n, dy, sums);
        tape_product_weight(tape, count, n, x->dim, chunk, c->run ? sums : dy + first * n, w);
    }
    pool_free(tape->pool, chunk);
    pool_free(tape->pool, sums);
    return FLIP_OK;
}
