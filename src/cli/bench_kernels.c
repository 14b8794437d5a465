/* flipbook bench kernels: the calls of training, timed on tall matrices and a skewed random graph.
 *
 * A kernel cannot go faster than the slower of two limits: its multiply-adds at the machine's
 * multiply rate, its bytes (each operand once) at the copy rate. The last column is the part of
 * that limit which is reached. For SpMM the bytes are those of no reuse at all (every entry reads
 * its row), so a graph that fits the caches may pass the limit.
 */
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_case {
    const flip_kernels *table;
    const char *kernel;
    int64_t m, n, k; /* spmm: n columns, k entries a row on average */
    flip_csr graph;
    flip_real *a, *b, *c, *v;
    uint8_t *bits;
    double *g;
} bench_case;

typedef struct bench_row {
    const char *kernel;
    int64_t n, k;
    void (*run)(void *);
    double (*flops)(const bench_case *);
    double (*bytes)(const bench_case *);
    bool bf16;
} bench_row;

/* ---- what is timed ------------------------------------------------------------------------------
 */

static void run_spmm(void *argument) {
    bench_case *c = argument;
    c->table->spmm(&c->graph, NULL, (int32_t)c->m, (int32_t)c->n, c->c, c->a, NULL, false);
}

static void run_nn(void *argument) {
    bench_case *c = argument;
    c->table->gemm_nn(c->m, c->n, c->k, c->a, c->k, c->b, c->n, c->c, c->n, NULL);
}

/* As a layer does: bias, relu and dropout, keeping their bits. */
static void run_nn_relu(void *argument) {
    bench_case *c = argument;
    flip_epilogue e = {.bias = c->b, .relu = true, .relu_bits = c->bits, .dropout = 0.5, .seed = 1};
    c->table->gemm_nn(c->m, c->n, c->k, c->a, c->k, c->b, c->n, c->c, c->n, &e);
}

static void run_nt(void *argument) {
    bench_case *c = argument;
    flip_epilogue e = {.mask = c->bits, .mask_scale = 2};
    c->table->gemm_nt(c->m, c->n, c->k, c->a, c->k, c->b, c->k, c->c, c->n, &e);
}

static void run_tn(void *argument) {
    bench_case *c = argument;
    c->table->gemm_tn(c->m, c->n, c->k, c->a, c->k, c->c, c->n, c->g, c->n);
}

static void run_nn_bf16(void *argument) {
    bench_case *c = argument;
    c->table->gemm_nn_bf16(c->m, c->n, c->k, c->a, c->k, c->b, c->n, c->c, c->n, NULL);
}

static void run_tn_bf16(void *argument) {
    bench_case *c = argument;
    c->table->gemm_tn_bf16(c->m, c->n, c->k, c->a, c->k, c->c, c->n, c->g, c->n);
}

static void run_dropout(void *argument) {
    bench_case *c = argument;
    c->table->dropout(c->m, c->n, c->c, c->a, 0.5, 1, 1, NULL);
}

static void run_mask(void *argument) {
    bench_case *c = argument;
    c->table->mask_bits(c->m, c->n, c->c, c->a, c->bits, 2);
}

static void run_adam(void *argument) {
    bench_case *c = argument;
    flip_adam_step s = {.lr = 1e-3,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-8,
                        .correct1 = 0.1,
                        .correct2 = 0.01,
                        .grad_scale = 1};
    c->table->adam(c->m, c->c, c->g, c->a, c->v, &s);
}

/* Recurrent cells of n hidden units: gates in a, every other block [m, n] a part of c. */
static flip_real *part(const bench_case *c, int64_t i) {
    return c->c + i * c->m * c->n;
}

static void run_lstm(void *argument) {
    bench_case *c = argument;
    c->table->lstm_forward(c->m, c->n, c->a, part(c, 0), c->n, part(c, 1), part(c, 2), c->n);
}

static void run_lstm_back(void *argument) {
    bench_case *c = argument;
    c->table->lstm_backward(c->m, c->n, c->a, part(c, 0), c->n, part(c, 1), c->n, part(c, 2), c->n,
                            part(c, 3));
}

static void run_gru(void *argument) {
    bench_case *c = argument;
    c->table->gru_forward(c->m, c->n, c->a, part(c, 0), part(c, 3), c->n, part(c, 4), c->n);
}

static void run_gru_back(void *argument) {
    bench_case *c = argument;
    c->table->gru_backward(c->m, c->n, c->a, part(c, 0), part(c, 3), c->n, part(c, 4));
}

/* ---- what it must at least do -------------------------------------------------------------------
 */

static double spmm_flops(const bench_case *c) {
    return 2.0 * (double)c->graph.n_entries * (double)c->n;
}

static double spmm_bytes(const bench_case *c) {
    double e = (double)c->graph.n_entries, row = (double)c->n * sizeof(flip_real);
    return e * (row + 4) + (double)c->m * (row + 8);
}

static double product_flops(const bench_case *c) {
    return 2.0 * (double)c->m * (double)c->n * (double)c->k;
}

static double product_bytes(const bench_case *c) {
    return (double)c->m * (double)(c->n + c->k) * sizeof(flip_real);
}

static double no_flops(const bench_case *c) {
    (void)c;
    return 0;
}

static double pointwise_bytes(const bench_case *c) {
    return 2.0 * (double)c->m * (double)c->n * sizeof(flip_real);
}

static double adam_bytes(const bench_case *c) { /* reads p, g, m, v; writes p, m, v */
    return (double)c->m * (6 * sizeof(flip_real) + sizeof(double));
}

/* Blocks [m, n] that a cell reads and writes. */
static double cell_bytes(const bench_case *c, int blocks) {
    return (double)blocks * (double)c->m * (double)c->n * sizeof(flip_real);
}

static double lstm_bytes(const bench_case *c) { /* gates twice, c before, c, h */
    return cell_bytes(c, 4 + 4 + 3);
}

static double lstm_back_bytes(const bench_case *c) { /* gates twice, c before, c, dh, dc twice */
    return cell_bytes(c, 4 + 4 + 5);
}

static double gru_bytes(const bench_case *c) { /* gates twice, hidden, h before, h */
    return cell_bytes(c, 3 + 3 + 3 + 2);
}

static double gru_back_bytes(const bench_case *c) { /* gates and hidden twice, h before, dh twice */
    return cell_bytes(c, 6 + 6 + 3);
}

static const bench_row rows[] = {
    {"spmm", 16, 0, run_spmm, spmm_flops, spmm_bytes, false},
    {"spmm", 32, 0, run_spmm, spmm_flops, spmm_bytes, false},
    {"spmm", 64, 0, run_spmm, spmm_flops, spmm_bytes, false},
    {"spmm", 128, 0, run_spmm, spmm_flops, spmm_bytes, false},
    {"spmm", 256, 0, run_spmm, spmm_flops, spmm_bytes, false},
    {"gemm_nn", 16, 128, run_nn, product_flops, product_bytes, false},
    {"gemm_nn", 32, 128, run_nn, product_flops, product_bytes, false},
    {"gemm_nn", 128, 128, run_nn, product_flops, product_bytes, false},
    {"gemm_nn", 256, 128, run_nn, product_flops, product_bytes, false},
    {"gemm_nn", 256, 256, run_nn, product_flops, product_bytes, false},
    {"gemm_nn+relu", 128, 128, run_nn_relu, product_flops, product_bytes, false},
    {"gemm_nt+mask", 128, 32, run_nt, product_flops, product_bytes, false},
    {"gemm_nt+mask", 128, 128, run_nt, product_flops, product_bytes, false},
    {"gemm_tn", 16, 128, run_tn, product_flops, product_bytes, false},
    {"gemm_tn", 32, 128, run_tn, product_flops, product_bytes, false},
    {"gemm_tn", 128, 128, run_tn, product_flops, product_bytes, false},
    {"gemm_tn", 256, 128, run_tn, product_flops, product_bytes, false},
    {"gemm_nn_bf16", 32, 128, run_nn_bf16, product_flops, product_bytes, true},
    {"gemm_nn_bf16", 128, 128, run_nn_bf16, product_flops, product_bytes, true},
    {"gemm_nn_bf16", 256, 256, run_nn_bf16, product_flops, product_bytes, true},
    {"gemm_tn_bf16", 128, 128, run_tn_bf16, product_flops, product_bytes, true},
    {"dropout", 128, 0, run_dropout, no_flops, pointwise_bytes, false},
    {"mask_bits", 128, 0, run_mask, no_flops, pointwise_bytes, false},
    {"adam", 1, 0, run_adam, no_flops, adam_bytes, false},
    {"lstm_forward", 32, 0, run_lstm, no_flops, lstm_bytes, false},
    {"lstm_backward", 32, 0, run_lstm_back, no_flops, lstm_back_bytes, false},
    {"gru_forward", 32, 0, run_gru, no_flops, gru_bytes, false},
    {"gru_backward", 32, 0, run_gru_back, no_flops, gru_back_bytes, false},
};

/* ---- operands -----------------------------------------------------------------------------------
 */

enum { WIDEST = 256, DEGREE = 20 };

static int ascending(const void *x, const void *y) {
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

/* Degrees and popularity fall as powers: degree about 10 / sqrt(u), neighbour n u^2 scrambled. */
static flip_status skewed_graph(flip_csr *graph, int64_t n) {
    int64_t *row_ptr = NULL, entries = 0, most = n / 50 + 1;
    int32_t *col = NULL;
    FLIP_TRY(flip_alloc(&row_ptr, (size_t)n + 1, sizeof *row_ptr, "row starts"));
    *graph = (flip_csr){.n_steps = 1, .row_ptr = row_ptr};
    FLIP_TRY(flip_narrow(&graph->n_rows, n, "rows"));
    for (int64_t v = 0; v < n; v++) {
        double u = flip_random_uniform(1, FLIP_STREAM_TEST, 0, (uint64_t)v) + 1e-9;
        row_ptr[v] = entries;
        entries += (int64_t)fmin((double)most, DEGREE / 2 / sqrt(u));
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

static flip_status operands(bench_case *c, int64_t m) {
    size_t tall = (size_t)m * WIDEST;
    FLIP_TRY(skewed_graph(&c->graph, m));
    FLIP_TRY(flip_alloc_zero(&c->a, tall, sizeof *c->a, "left operand"));
    FLIP_TRY(flip_alloc_zero(&c->b, WIDEST * WIDEST, sizeof *c->b, "right operand"));
    FLIP_TRY(flip_alloc_zero(&c->c, tall, sizeof *c->c, "result"));
    FLIP_TRY(flip_alloc_zero(&c->v, (size_t)m, sizeof *c->v, "second moments"));
    FLIP_TRY(flip_alloc_zero(&c->bits, tall / 8, 1, "bits"));
    FLIP_TRY(flip_alloc_zero(&c->g, (size_t)m + WIDEST * WIDEST, sizeof *c->g, "gradient"));
    for (size_t i = 0; i < tall; i++)
        c->a[i] = (flip_real)((double)(i % 13) / 13 - 0.5);
    for (size_t i = 0; i < WIDEST * WIDEST; i++)
        c->b[i] = (flip_real)((double)(i % 7) / 7 - 0.5);
    memset(c->bits, 0x5a, tall / 8);
    return FLIP_OK;
}

static void free_operands(bench_case *c) {
    flip_free((void *)c->graph.row_ptr);
    flip_free((void *)c->graph.col);
    flip_free(c->a);
    flip_free(c->b);
    flip_free(c->c);
    flip_free(c->v);
    flip_free(c->bits);
    flip_free(c->g);
}

/* ---- lines
 * ---------------------------------------------------------------------------------------- */

static void tell(const flip_bench *b, const bench_row *row, const bench_case *c, double seconds) {
    bool own_bf16 = row->bf16 && strcmp(c->table->name, "avx512+bf16") == 0;
    double flops = row->flops(c), bytes = row->bytes(c);
    double multiply = b->limits.multiply_gflops * 1e9 * (own_bf16 ? 2 : 1);
    double least = fmax(flops / multiply, bytes / (b->limits.copy_gbs * 1e9));
    bool dense = flops > 0 && strcmp(row->kernel, "spmm") != 0;
    double rate = (dense ? flops : bytes) / seconds * 1e-9, limit = rate * seconds / least;
    if (b->json) {
        printf(
            "{\"bench\": \"kernels\", \"kernel\": \"%s\", \"table\": \"%s\", \"m\": %lld, \"n\": "
            "%lld, \"k\": %lld, \"entries\": %lld, \"threads\": %d, \"seconds\": %.4e, "
            "\"gflops\": %.2f, \"gb_per_second\": %.2f, \"limit_seconds\": %.4e, "
            "\"fraction\": %.3f}\n",
            row->kernel, c->table->name, (long long)c->m, (long long)c->n, (long long)c->k,
            dense ? 0 : (long long)c->graph.n_entries, b->threads, seconds, flops / seconds * 1e-9,
            bytes / seconds * 1e-9, least, least / seconds);
        return;
    }
    char shape[48];
    snprintf(shape, sizeof shape, dense ? "%lld x %lld x %lld" : "%lld x %lld", (long long)c->m,
             (long long)c->n, (long long)c->k);
    printf("%-13s %-19s %-12s %10.4f %9.1f %-8s %9.1f %6.0f %%\n", row->kernel, shape,
           c->table->name, seconds, rate, dense ? "GFLOP/s" : "GB/s", limit, 100 * least / seconds);
}

/* The plain C definition is slow: it gets a fiftieth of the rows. */
static void measure(const flip_bench *b, const bench_row *row, bench_case *c, int64_t m) {
    c->m = strcmp(c->table->name, "reference") == 0 ? m / 50 + 1 : m;
    c->n = row->n;
    c->k = row->k;
    flip_csr whole = c->graph;
    c->graph.n_rows = (int32_t)c->m;
    c->graph.n_entries = c->graph.row_ptr[c->m];
    tell(b, row, c, flip_bench_time(b, row->run, c));
    c->graph = whole;
}

/* Has this table an entry of its own, or one of the table before it? */
static bool own_entry(const char *table, const bench_row *row) {
    if (strcmp(table, "c") == 0) return strncmp(row->kernel, "gemm", 4) == 0 && !row->bf16;
    return row->bf16 || strcmp(table, "avx512+bf16") != 0;
}

flip_status flip_bench_kernels(const flip_bench *b) {
    const flip_kernels *tables[FLIP_KERNEL_TABLES];
    int n_tables = flip_kernels_list(tables);
    int64_t m = b->rows ? b->rows : 200000;
    bench_case c = {0};
    flip_status status = operands(&c, m);
    if (status == FLIP_OK && b->json)
        printf("{\"bench\": \"limits\", \"threads\": %d, \"copy_gb_per_second\": %.2f, "
               "\"multiply_gflops\": %.2f, \"real\": \"%s\"}\n",
               b->threads, b->limits.copy_gbs, b->limits.multiply_gflops, FLIP_REAL_NAME);
    if (status == FLIP_OK && !b->json)
        printf("%d threads, %s: copy limit %.1f GB/s, multiply limit %.1f GFLOP/s; training runs "
               "'%s'\ngraph: %lld rows, %lld entries, largest row %lld\n%-13s %-19s %-12s %10s %9s "
               "%-8s %9s %8s\n",
               b->threads, FLIP_REAL_NAME, b->limits.copy_gbs, b->limits.multiply_gflops,
               flip_kernels_get()->name, (long long)m, (long long)c.graph.n_entries,
               (long long)(m / 50 + 1), "kernel", "shape", "table", "seconds", "rate", "", "limit",
               "reached");
    for (size_t r = 0; status == FLIP_OK && r < sizeof rows / sizeof *rows; r++)
        for (int t = 0; t < n_tables; t++) {
            c.table = tables[t];
            if (own_entry(tables[t]->name, &rows[r])) measure(b, &rows[r], &c, m);
        }
    free_operands(&c);
    return status;
}
