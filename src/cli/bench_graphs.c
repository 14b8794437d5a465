/* Graphs for the benchmarks. Every entry is a function of the seed and its number, so threads draw
 * them in any order. */
#include "cli/bench_graphs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 1, COMMUNITY = 1000 };

/* What is drawn: entries of a row in any order, columns in doubt twice. */
typedef struct drawn {
    int64_t *start; /* [rows + 1] */
    int32_t *col;
} drawn;

static int ascending(const void *x, const void *y) {
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

static int64_t sort_row(int32_t *col, int64_t n) {
    int64_t kept = 0;
    qsort(col, (size_t)n, sizeof *col, ascending);
    for (int64_t e = 0; e < n; e++)
        if (kept == 0 || col[kept - 1] != col[e]) col[kept++] = col[e];
    return kept;
}

/* Sorted rows without repetitions, moved together, with values. */
static flip_status finish(flip_csr *graph, drawn *d, int64_t rows) {
    int64_t *row_ptr = NULL;
    flip_real *value = NULL;
    FLIP_TRY(flip_alloc(&row_ptr, (size_t)rows + 1, sizeof *row_ptr, "row starts"));
    *graph = (flip_csr){.n_steps = 1, .row_ptr = row_ptr, .col = d->col};
    row_ptr[0] = 0;
#pragma omp parallel for schedule(dynamic, 256)
    for (int64_t v = 0; v < rows; v++)
        row_ptr[v + 1] = sort_row(d->col + d->start[v], d->start[v + 1] - d->start[v]);
    for (int64_t v = 0; v < rows; v++) {
        int64_t n = row_ptr[v + 1];
        memmove(d->col + row_ptr[v], d->col + d->start[v], (size_t)n * sizeof *d->col);
        row_ptr[v + 1] = row_ptr[v] + n;
    }
    d->col = NULL; /* the graph's */
    graph->n_entries = graph->n_values = row_ptr[rows];
    FLIP_TRY(flip_alloc(&value, (size_t)graph->n_entries + 1, sizeof *value, "values"));
    graph->value = value;
#pragma omp parallel for schedule(dynamic, 4096)
    for (int64_t v = 0; v < rows; v++)
        for (int64_t e = row_ptr[v]; e < row_ptr[v + 1]; e++)
            value[e] =
                (flip_real)((flip_random_uniform(SEED, FLIP_STREAM_TEST, 9, (uint64_t)e) + 0.5) /
                            (double)(row_ptr[v + 1] - row_ptr[v]));
    FLIP_TRY(flip_narrow(&graph->n_rows, rows, "rows"));
    graph->n_cols = graph->n_own = graph->n_rows;
    return FLIP_OK;
}

/* ---- recursive matrix --------------------------------------------------------------------------
 */

/* One walk down the quarters: 16 bits of chance a level, eight levels a draw. */
static void descend(int levels, int64_t edge, int64_t *row, int64_t *column) {
    enum { A = 37356, B = 49807, C = 62259 }; /* .57, .76, .95 of 65536 */
    flip_random4 r = {{0}};
    *row = *column = 0;
    for (int level = 0; level < levels; level++) {
        if (level % 8 == 0)
            r = flip_random(SEED, FLIP_STREAM_TEST, 10 + (uint64_t)level, (uint64_t)edge);
        uint32_t u = r.v[level % 8 / 2] >> level % 2 * 16 & 65535;
        *row = *row << 1 | (u >= B);
        *column = *column << 1 | ((u >= A && u < B) || u >= C);
    }
}

/* Entries counted by rows into start, then put there. */
static flip_status by_rows(drawn *d, int64_t rows, const int32_t *row, const int32_t *column,
                           int64_t n) {
    FLIP_TRY(flip_alloc_zero(&d->start, (size_t)rows + 2, sizeof *d->start, "drawn rows"));
    FLIP_TRY(flip_alloc(&d->col, (size_t)n + 1, sizeof *d->col, "columns"));
    for (int64_t e = 0; e < n; e++)
        d->start[row[e] + 2]++;
    for (int64_t v = 0; v < rows; v++)
        d->start[v + 2] += d->start[v + 1];
    for (int64_t e = 0; e < n; e++) /* start[v + 1] walks to its own end */
        d->col[d->start[row[e] + 1]++] = column[e];
    return FLIP_OK;
}

flip_status flip_bench_rmat(flip_csr *graph, int64_t rows, int64_t degree) {
    int levels = 0;
    while ((int64_t)2 << levels <= rows)
        levels++;
    int64_t size = (int64_t)1 << levels, n = size * degree;
    drawn d = {0};
    int32_t *row = NULL, *column = NULL;
    flip_status status;
    *graph = (flip_csr){0};
    FLIP_TRY_GOTO(flip_alloc(&row, (size_t)n + 1, sizeof *row, "drawn rows"));
    FLIP_TRY_GOTO(flip_alloc(&column, (size_t)n + 1, sizeof *column, "drawn columns"));
#pragma omp parallel for
    for (int64_t e = 0; e < n; e++) {
        int64_t v, u;
        descend(levels, e, &v, &u);
        row[e] = (int32_t)flip_random_permute(SEED, FLIP_STREAM_TEST, size, v);
        column[e] = (int32_t)flip_random_permute(SEED, FLIP_STREAM_TEST, size, u);
    }
    FLIP_TRY_GOTO(by_rows(&d, size, row, column, n));
    FLIP_TRY_GOTO(finish(graph, &d, size));
done:
    flip_free(row);
    flip_free(column);
    flip_free(d.start);
    flip_free(d.col);
    if (status != FLIP_OK) flip_bench_graph_free(graph);
    return status;
}

/* ---- skewed ------------------------------------------------------------------------------------
 */

flip_status flip_bench_skewed(flip_csr *graph, int64_t n, int64_t degree) {
    int64_t *row_ptr = NULL, entries = 0, most = n / 50 + 1;
    int32_t *col = NULL;
    FLIP_TRY(flip_alloc(&row_ptr, (size_t)n + 1, sizeof *row_ptr, "row starts"));
    *graph = (flip_csr){.n_steps = 1, .row_ptr = row_ptr};
    FLIP_TRY(flip_narrow(&graph->n_rows, n, "rows"));
    for (int64_t v = 0; v < n; v++) {
        double u = flip_random_uniform(1, FLIP_STREAM_TEST, 0, (uint64_t)v) + 1e-9;
        row_ptr[v] = entries;
        entries += (int64_t)fmin((double)most, (double)degree / 2 / sqrt(u));
    }
    row_ptr[n] = entries;
    FLIP_TRY(flip_alloc(&col, (size_t)entries + 1, sizeof *col, "columns"));
    graph->col = col;
    uint64_t turn = 0x9E3779B97F4A7C15u;
    for (int64_t v = 0; v < n; v++) {
        for (int64_t e = row_ptr[v]; e < row_ptr[v + 1]; e++) {
            double u = flip_random_uniform(1, FLIP_STREAM_TEST, 1, (uint64_t)e);
            uint64_t hot = (uint64_t)((double)n * u * u);
            col[e] = (int32_t)((unsigned __int128)(hot * turn) * (uint64_t)n >> 64);
        }
        qsort(col + row_ptr[v], (size_t)(row_ptr[v + 1] - row_ptr[v]), sizeof *col, ascending);
    }
    graph->n_cols = graph->n_own = graph->n_rows;
    graph->n_entries = graph->n_values = entries;
    return FLIP_OK;
}

/* ---- communities -------------------------------------------------------------------------------
 */

static int32_t neighbour(int64_t rows, int64_t v, int64_t e) {
    int64_t first = v / COMMUNITY * COMMUNITY,
            n = rows - first < COMMUNITY ? rows - first : COMMUNITY;
    flip_random4 r = flip_random(SEED, FLIP_STREAM_TEST, 20, (uint64_t)e);
    if (r.v[0] < UINT32_MAX / 5 * 4) return (int32_t)(first + (int64_t)(r.v[1] % (uint64_t)n));
    return (int32_t)(((uint64_t)r.v[1] << 32 | r.v[2]) % (uint64_t)rows);
}

flip_status flip_bench_communities(flip_csr *graph, int64_t rows, int64_t degree) {
    drawn d = {0};
    flip_status status;
    *graph = (flip_csr){0};
    FLIP_TRY_GOTO(flip_alloc(&d.start, (size_t)rows + 1, sizeof *d.start, "drawn rows"));
    d.start[0] = 0;
    for (int64_t v = 0; v < rows; v++) { /* degree / 2 / sqrt(u): mean `degree`, a power law */
        double u = flip_random_uniform(SEED, FLIP_STREAM_TEST, 21, (uint64_t)v) + 1e-9;
        double n = fmin((double)degree / 2 / sqrt(u), (double)rows / 2 + 1);
        d.start[v + 1] = d.start[v] + (int64_t)n;
    }
    FLIP_TRY_GOTO(flip_alloc(&d.col, (size_t)d.start[rows] + 1, sizeof *d.col, "columns"));
#pragma omp parallel for schedule(dynamic, 4096)
    for (int64_t v = 0; v < rows; v++)
        for (int64_t e = d.start[v]; e < d.start[v + 1]; e++)
            d.col[e] = neighbour(rows, v, e);
    FLIP_TRY_GOTO(finish(graph, &d, rows));
done:
    flip_free(d.start);
    flip_free(d.col);
    if (status != FLIP_OK) flip_bench_graph_free(graph);
    return status;
}

flip_status flip_bench_lives(flip_csr *graph, int64_t rows, int64_t degree, int32_t steps) {
    uint32_t *run_ptr = NULL, *value_ptr = NULL;
    int32_t *run_first = NULL;
    flip_real *value = NULL;
    flip_status status;
    FLIP_TRY(flip_bench_communities(graph, rows, degree));
    int64_t n = graph->n_entries;
    FLIP_TRY_GOTO(flip_alloc(&run_ptr, (size_t)n + 1, sizeof *run_ptr, "runs"));
    graph->run_ptr = run_ptr;
    FLIP_TRY_GOTO(flip_alloc(&run_first, (size_t)n + 1, sizeof *run_first, "first steps"));
    graph->run_first = run_first;
    FLIP_TRY_GOTO(flip_alloc(&value_ptr, (size_t)n + 1, sizeof *value_ptr, "value starts"));
    graph->value_ptr = value_ptr;
    graph->n_steps = steps;
    graph->n_values = 0;
    for (int64_t e = 0; e < n; e++) {
        flip_random4 r = flip_random(SEED, FLIP_STREAM_TEST, 22, (uint64_t)e);
        int32_t life = 1 + (int32_t)(r.v[0] % (uint32_t)steps);
        run_ptr[e] = (uint32_t)e;
        run_first[e] = (int32_t)(r.v[1] % (uint32_t)(steps - life + 1));
        value_ptr[e] = (uint32_t)graph->n_values;
        graph->n_values += life;
    }
    run_ptr[n] = (uint32_t)n;
    value_ptr[n] = (uint32_t)graph->n_values;
    if (graph->n_values > UINT32_MAX)
        FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_USAGE, "%lld values over %d steps are more than 2^32",
                                (long long)graph->n_values, steps));
    FLIP_TRY_GOTO(flip_alloc(&value, (size_t)graph->n_values + 1, sizeof *value, "values"));
    flip_free((void *)graph->value);
    graph->value = value;
#pragma omp parallel for
    for (int64_t i = 0; i < graph->n_values; i++)
        value[i] = (flip_real)(flip_random_uniform(SEED, FLIP_STREAM_TEST, 23, (uint64_t)i) /
                               (double)degree);
done:
    if (status != FLIP_OK) flip_bench_graph_free(graph);
    return status;
}

void flip_bench_graph_free(flip_csr *graph) {
    flip_free((void *)graph->run_ptr);
    flip_free((void *)graph->run_first);
    flip_free((void *)graph->value_ptr);
    flip_free((void *)graph->row_ptr);
    flip_free((void *)graph->col);
    flip_free((void *)graph->value);
    *graph = (flip_csr){0};
}
