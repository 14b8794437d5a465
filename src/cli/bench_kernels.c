/* flipbook bench kernels: the calls of training, timed on tall matrices and a skewed random graph.
 *
 * A kernel cannot go faster than the slower of two limits: its multiply-adds at the machine's
 * multiply rate, its bytes (each operand once) at the copy rate. The last column is the part of
 * that limit which is reached. For SpMM the bytes are those of no reuse at all (every entry reads
 * its row), so a graph that fits the caches may pass the limit.
 */
#include "cli/bench.h"
#include "cli/bench_calls.h"
#include "cli/bench_graphs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct bench_row {
    const char *kernel;
    int64_t n, k;
} bench_row;

static const bench_row rows[] = {
    {"spmm", 16, 0},
    {"spmm", 32, 0},
    {"spmm", 64, 0},
    {"spmm", 128, 0},
    {"spmm", 256, 0},
    {"gemm_nn", 16, 128},
    {"gemm_nn", 32, 128},
    {"gemm_nn", 128, 128},
    {"gemm_nn", 256, 128},
    {"gemm_nn", 256, 256},
    {"gemm_nn+relu", 128, 128},
    {"gemm_nt+mask", 128, 32},
    {"gemm_nt+mask", 128, 128},
    {"gemm_tn", 16, 128},
    {"gemm_tn", 32, 128},
    {"gemm_tn", 128, 128},
    {"gemm_tn", 256, 128},
    {"gemm_nn_bf16", 32, 128},
    {"gemm_nn_bf16", 128, 128},
    {"gemm_nn_bf16", 256, 256},
    {"gemm_tn_bf16", 128, 128},
    {"dropout", 128, 0},
    {"mask_bits", 128, 0},
    {"adam", 1, 0},
    {"encode_groups", 128, 8},
    {"decode_groups", 128, 8},
    {"encode_groups", 128, 4},
    {"decode_groups", 128, 4},
    {"encode_groups", 128, 2},
    {"decode_groups", 128, 2},
    {"lstm_forward", 32, 0},
    {"lstm_backward", 32, 0},
    {"gru_forward", 32, 0},
    {"gru_backward", 32, 0},
};

/* ---- operands -----------------------------------------------------------------------------------
 */

enum { WIDEST = 256 };

static flip_status operands(flip_bench_case *c, int64_t m) {
    size_t tall = (size_t)m * WIDEST;
    FLIP_TRY(flip_bench_skewed(&c->graph, m, 20));
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

static void free_operands(flip_bench_case *c) {
    flip_bench_graph_free(&c->graph);
    flip_free(c->a);
    flip_free(c->b);
    flip_free(c->c);
    flip_free(c->v);
    flip_free(c->bits);
    flip_free(c->g);
}

/* ---- lines
 * ---------------------------------------------------------------------------------------- */

static void tell(const flip_bench *b, const flip_bench_call *call, const flip_bench_case *c,
                 double seconds) {
    bool own_bf16 = call->bf16 && strcmp(c->table->name, "avx512+bf16") == 0;
    double flops = call->flops(c), bytes = call->bytes(c);
    double multiply = b->limits.multiply_gflops * 1e9 * (own_bf16 ? 2 : 1);
    double least = fmax(flops / multiply, bytes / (b->limits.copy_gbs * 1e9));
    double rate = (call->product ? flops : bytes) / seconds * 1e-9, limit = rate * seconds / least;
    if (b->json) {
        printf(
            "{\"bench\": \"kernels\", \"kernel\": \"%s\", \"table\": \"%s\", \"m\": %lld, \"n\": "
            "%lld, \"k\": %lld, \"entries\": %lld, \"threads\": %d, \"seconds\": %.4e, "
            "\"gflops\": %.2f, \"gb_per_second\": %.2f, \"limit_seconds\": %.4e, "
            "\"fraction\": %.3f}\n",
            call->kernel, c->table->name, (long long)c->m, (long long)c->n, (long long)c->k,
            call->product ? 0 : (long long)c->graph.n_entries, b->threads, seconds,
            flops / seconds * 1e-9, bytes / seconds * 1e-9, least, least / seconds);
        return;
    }
    char shape[48];
    snprintf(shape, sizeof shape, c->k ? "%lld x %lld x %lld" : "%lld x %lld", (long long)c->m,
             (long long)c->n, (long long)c->k);
    printf("%-13s %-19s %-12s %10.4f %9.1f %-8s %9.1f %6.0f %%\n", call->kernel, shape,
           c->table->name, seconds, rate, call->product ? "GFLOP/s" : "GB/s", limit,
           100 * least / seconds);
}

/* The plain C definition is slow: it gets a fiftieth of the rows. */
static void measure(const flip_bench *b, const bench_row *row, flip_bench_case *c, int64_t m) {
    const flip_bench_call *call = flip_bench_call_find(row->kernel);
    c->m = strcmp(c->table->name, "reference") == 0 ? m / 50 + 1 : m;
    c->n = row->n;
    c->k = row->k;
    flip_csr whole = c->graph;
    c->graph.n_rows = (int32_t)c->m;
    c->graph.n_entries = c->graph.row_ptr[c->m];
    tell(b, call, c, flip_bench_time(b, call->run, c));
    c->graph = whole;
}

/* Has this table an entry of its own, or one of the table before it? */
static bool own_entry(const char *table, const bench_row *row) {
    bool bf16 = strstr(row->kernel, "bf16") != NULL;
    if (strstr(row->kernel, "_groups")) return strcmp(table, "c") == 0; /* one for all */
    if (strcmp(table, "c") == 0) return strncmp(row->kernel, "gemm", 4) == 0 && !bf16;
    return bf16 || strcmp(table, "avx512+bf16") != 0;
}

flip_status flip_bench_kernels(const flip_bench *b) {
    const flip_kernels *tables[FLIP_KERNEL_TABLES];
    int n_tables = flip_kernels_list(tables);
    int64_t m = b->rows ? b->rows : 200000;
    flip_bench_case c = {0};
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
