/* flipbook bench kernels --device cuda: the calls of training on tall matrices and two graphs in a
 * device's memory, beside the rate at which that device copies (bytes read and written) and its
 * largest product. Before a call is timed its result is held against the CPU's table on rows of the
 * beginning, the middle and the end (sums over all rows: whole).
 *
 * For spmm the bytes are those of no reuse at all: column, value and gathered row of every entry,
 * the rows' starts, and y once.
 */
#include "cli/bench.h"
#include "cli/bench_calls.h"
#include "cli/bench_graphs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDEST = 256, ROUNDS = 3, MOST_RUNS = 200, LARGEST_SIDE = 8192 };
enum { RMAT = 1, COMMUNITIES, LIVES, N_GRAPHS = LIVES, STEPS = 8 };
static const char *const graph_names[] = {"", "rmat", "sbm", "lives"};

typedef struct device_row {
    const char *kernel;
    int64_t n, k;
    int graph;
    int bits; /* of packed rows; 0 = a codebook */
} device_row;

static const device_row rows[] = {
    {"spmm", .n = 64, .graph = RMAT},
    {"spmm", .n = 128, .graph = RMAT},
    {"spmm", .n = 256, .graph = RMAT},
    {"spmm", .n = 64, .graph = COMMUNITIES},
    {"spmm", .n = 128, .graph = COMMUNITIES},
    {"spmm", .n = 256, .graph = COMMUNITIES},
    {"spmm_steps", .n = 256, .k = STEPS, .graph = LIVES},
    {"spmm_packed", .n = 128, .graph = RMAT, .bits = 8},
    {"spmm_packed", .n = 128, .graph = RMAT, .bits = 4},
    {"spmm_packed", .n = 128, .graph = RMAT, .bits = 2},
    {"spmm_packed", .n = 128, .graph = RMAT},
    {"decode_rows", .n = 128, .bits = 8},
    {"decode_rows", .n = 128, .bits = 2},
    {"gemm_nn", .n = 64, .k = 64},
    {"gemm_nn", .n = 32, .k = 128},
    {"gemm_nn", .n = 128, .k = 128},
    {"gemm_nn", .n = 256, .k = 256},
    {"gemm_nn+relu", .n = 128, .k = 128},
    {"gemm_nn+relu", .n = 256, .k = 256},
    {"gemm_nt+mask", .n = 128, .k = 128},
    {"gemm_nt+mask", .n = 256, .k = 256},
    {"gemm_tn", .n = 64, .k = 64},
    {"gemm_tn", .n = 128, .k = 128},
    {"gemm_tn", .n = 256, .k = 256},
    {"gemm_nn_bf16", .n = 128, .k = 128},
    {"gemm_nn_bf16", .n = 256, .k = 256},
    {"gemm_tn_bf16", .n = 128, .k = 128},
    {"column_sums", .n = 128},
    {"softmax", .n = 32},
    {"scaled", .n = 128},
    {"dropout", .n = 128},
    {"mask_bits", .n = 128},
    {"adam", .n = 1},
    {"lstm_forward", .n = 64},
    {"lstm_backward", .n = 64},
    {"gru_forward", .n = 64},
    {"gru_backward", .n = 64},
};

typedef struct device_bench {
    const flip_bench *b;
    int64_t tall;                /* values of a and of c */
    flip_bench_case host, there; /* the same operands; the host's stay as they were drawn */
    flip_csr graphs[N_GRAPHS + 1], sent[N_GRAPHS + 1];
    double copy_gbs, gflops, gflops_bf16;
    int n_differ;
} device_bench;

/* ---- operands -----------------------------------------------------------------------------------
 */

/* In (-1, 1), by a cheap hash of the place: gigabytes are drawn. */
static double drawn(uint64_t i, uint64_t what) {
    uint64_t z = (i + (what << 48) + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)(int64_t)(z ^ z >> 31) * 0x1p-63;
}

static flip_status draw(flip_real **out, int64_t n, uint64_t what, const char *name) {
    FLIP_TRY(flip_alloc(out, (size_t)n, sizeof **out, name));
    flip_real *x = *out;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        x[i] = (flip_real)drawn((uint64_t)i, what);
    return FLIP_OK;
}

static flip_status host_operands(device_bench *d, int64_t m) {
    flip_bench_case *h = &d->host;
    int64_t n_bits = d->tall / 8, n_sums = m + WIDEST * WIDEST;
    h->table = flip_kernels_get();
    FLIP_TRY(draw(&h->a, d->tall, 1, "left operand"));
    FLIP_TRY(draw(&h->b, WIDEST * WIDEST, 2, "right operand"));
    FLIP_TRY(draw(&h->c, d->tall, 3, "result"));
    FLIP_TRY(draw(&h->v, m, 4, "second moments"));
    for (int64_t i = 0; i < m; i++)
        h->v[i] = (flip_real)fabs((double)h->v[i]);
    FLIP_TRY(flip_alloc(&h->bits, (size_t)n_bits, 1, "bits"));
    for (int64_t i = 0; i < n_bits; i++)
        h->bits[i] = (uint8_t)(int)(128 + 127 * drawn((uint64_t)i, 5));
    FLIP_TRY(flip_alloc(&h->g, (size_t)n_sums, sizeof *h->g, "gradient"));
    for (int64_t i = 0; i < n_sums; i++)
        h->g[i] = drawn((uint64_t)i, 6);
    FLIP_TRY(flip_alloc(&h->numbers, FLIP_BENCH_NUMBERS, sizeof *h->numbers, "tables of codes"));
    for (int64_t i = 0; i < FLIP_BENCH_NUMBERS; i++)
        h->numbers[i] = (float)drawn((uint64_t)i, 7);
    FLIP_TRY(flip_bench_rmat(&d->graphs[RMAT], m, 30));
    FLIP_TRY(flip_bench_communities(&d->graphs[COMMUNITIES], m, 25));
    return flip_bench_lives(&d->graphs[LIVES], m / 4 + 1, 25, STEPS);
}

static flip_status send_copy(const flip_kernels *table, void *out_pointer, const void *from,
                             size_t bytes, const char *what) {
    void **out = out_pointer;
    FLIP_TRY(table->take(out, bytes, what));
    table->send(*out, from, bytes);
    return FLIP_OK;
}

/* Arrays that a graph has, their lengths and what they are; the pointers are those of `graph`. */
enum { GRAPH_ARRAYS = 6 };
typedef struct graph_array {
    const void **at;
    size_t bytes;
    const char *what;
} graph_array;

static void arrays_of(flip_csr *g, graph_array list[GRAPH_ARRAYS]) {
    size_t entries = (size_t)g->n_entries, values = (size_t)g->n_values;
    const graph_array all[GRAPH_ARRAYS] = {
        {(const void **)&g->row_ptr, ((size_t)g->n_rows + 1) * sizeof *g->row_ptr, "row starts"},
        {(const void **)&g->col, entries * sizeof *g->col, "columns"},
        {(const void **)&g->run_ptr, (entries + 1) * sizeof *g->run_ptr, "runs"},
        {(const void **)&g->run_first, entries * sizeof *g->run_first, "first steps"},
        {(const void **)&g->value_ptr, (entries + 1) * sizeof *g->value_ptr, "value starts"},
        {(const void **)&g->value, values * sizeof *g->value, "values"}};
    memcpy(list, all, sizeof all);
}

static flip_status send_graph(const flip_kernels *table, flip_csr *to, flip_csr *from) {
    graph_array here[GRAPH_ARRAYS], there[GRAPH_ARRAYS];
    *to = *from;
    arrays_of(from, here);
    arrays_of(to, there);
    for (int i = 0; i < GRAPH_ARRAYS; i++)
        *there[i].at = NULL;
    for (int i = 0; i < GRAPH_ARRAYS; i++)
        if (*here[i].at)
            FLIP_TRY(send_copy(table, there[i].at, *here[i].at, here[i].bytes, here[i].what));
    return FLIP_OK;
}

static flip_status operands(device_bench *d, int64_t m) {
    flip_bench_case *t = &d->there;
    const flip_kernels *table = t->table = d->b->device;
    size_t tall = (size_t)d->tall * sizeof(flip_real);
    FLIP_TRY(host_operands(d, m));
    for (int g = 1; g <= N_GRAPHS; g++)
        FLIP_TRY(send_graph(table, &d->sent[g], &d->graphs[g]));
    FLIP_TRY(send_copy(table, &t->a, d->host.a, tall, "left operand"));
    FLIP_TRY(send_copy(table, &t->b, d->host.b, WIDEST * WIDEST * sizeof *t->b, "right operand"));
    FLIP_TRY(send_copy(table, &t->c, d->host.c, tall, "result"));
    FLIP_TRY(send_copy(table, &t->numbers, d->host.numbers, FLIP_BENCH_NUMBERS * sizeof *t->numbers,
                       "tables of codes"));
    FLIP_TRY(table->take(&t->v, (size_t)m * sizeof *t->v, "second moments"));
    FLIP_TRY(table->take(&t->bits, (size_t)d->tall / 8, "bits"));
    FLIP_TRY(table->take(&t->g, ((size_t)m + WIDEST * WIDEST) * sizeof *t->g, "gradient"));
    return table->wait();
}

static void free_operands(device_bench *d) {
    flip_bench_case *h = &d->host, *t = &d->there;
    void *of_host[] = {h->a, h->b, h->c, h->v, h->bits, h->g, h->numbers};
    void *of_device[] = {t->a, t->b, t->c, t->v, t->bits, t->g, t->numbers};
    for (size_t i = 0; i < sizeof of_host / sizeof *of_host; i++) {
        flip_free(of_host[i]);
        t->table->give_back(of_device[i]);
    }
    for (int g = 1; g <= N_GRAPHS; g++) {
        flip_bench_graph_free(&d->graphs[g]);
        graph_array there[GRAPH_ARRAYS];
        arrays_of(&d->sent[g], there);
        for (int i = 0; i < GRAPH_ARRAYS; i++)
            t->table->give_back((void *)*there[i].at);
    }
}

/* ---- time ---------------------------------------------------------------------------------------
 */

/* Seconds of a run, of the fastest of ROUNDS; each is many runs and one wait. */
static flip_status time_runs(const flip_bench *b, void (*run)(void *), void *argument,
                             double *seconds) {
    double start = 0, once = 0;
    int64_t runs = 1;
    *seconds = 1e30;
    for (int round = -1; round < ROUNDS; round++) { /* the first only warms up */
        start = flip_seconds();
        for (int64_t i = 0; i < runs; i++)
            run(argument);
        FLIP_TRY(b->device->wait());
        once = (flip_seconds() - start) / (double)runs;
        if (round >= 0 && once < *seconds) *seconds = once;
        runs = (int64_t)fmin(MOST_RUNS, b->seconds / ROUNDS / fmax(once, 1e-9)) + 1;
    }
    return FLIP_OK;
}

static void run_copy(void *argument) {
    flip_bench_case *c = argument;
    c->table->copy(c->c, c->a, (size_t)c->m * sizeof *c->c);
}

/* m x m x m; the second operand lies behind the first. */
static void run_square(void *argument) {
    flip_bench_case *c = argument;
    c->table->gemm_nn(c->m, c->m, c->m, c->a, c->m, c->a + c->m * c->m, c->m, c->c, c->m, NULL);
}

static void run_square_bf16(void *argument) {
    flip_bench_case *c = argument;
    c->table->gemm_nn_bf16(c->m, c->m, c->m, c->a, c->m, c->a + c->m * c->m, c->m, c->c, c->m,
                           NULL);
}

static flip_status limits(device_bench *d) {
    flip_bench_case c = d->there;
    double seconds, side = fmin(LARGEST_SIDE, floor(sqrt((double)d->tall / 2)));
    c.m = d->tall;
    FLIP_TRY(time_runs(d->b, run_copy, &c, &seconds));
    d->copy_gbs = 2.0 * (double)d->tall * sizeof(flip_real) / seconds * 1e-9;
    c.m = (int64_t)side;
    FLIP_TRY(time_runs(d->b, run_square, &c, &seconds));
    d->gflops = 2 * side * side * side / seconds * 1e-9;
    FLIP_TRY(time_runs(d->b, run_square_bf16, &c, &seconds));
    d->gflops_bf16 = 2 * side * side * side / seconds * 1e-9;
    if (d->b->json)
        printf("{\"bench\": \"limits\", \"device\": \"%s\", \"copy_bytes\": %.0f, "
               "\"copy_gb_per_second\": %.2f, \"product_side\": %.0f, \"product_gflops\": %.2f, "
               "\"product_gflops_bf16\": %.2f, \"real\": \"%s\"}\n",
               d->b->device->name, (double)d->tall * sizeof(flip_real), d->copy_gbs, side,
               d->gflops, d->gflops_bf16, FLIP_REAL_NAME);
    else
        printf("%s, %s: a copy of %.2f GB moves %.1f GB/s (read and written); a product of side "
               "%.0f: %.1f GFLOP/s, bf16 %.1f\n%-14s %-22s %-5s %10s %10s %-8s %8s %10s\n",
               d->b->device->name, FLIP_REAL_NAME, (double)d->tall * sizeof(flip_real) * 1e-9,
               d->copy_gbs, side, d->gflops, d->gflops_bf16, "kernel", "shape", "graph", "seconds",
               "rate", "", "reached", "error");
    return FLIP_OK;
}

/* ---- lines --------------------------------------------------------------------------------------
 */

static void tell(const device_bench *d, const device_row *row, const flip_bench_call *call,
                 double seconds, double error, bool differs) {
    const flip_bench_case *c = &d->there;
    double flops = call->flops(c), bytes = call->bytes(c);
    char label[32], bits[16] = "";
    if (call->packed) snprintf(bits, sizeof bits, row->bits ? ":%d" : ":pq", row->bits);
    snprintf(label, sizeof label, "%s%s", row->kernel, bits);
    double least = fmax(flops / ((call->bf16 ? d->gflops_bf16 : d->gflops) * 1e9),
                        bytes / (d->copy_gbs * 1e9));
    if (d->b->json) {
        printf("{\"bench\": \"kernels\", \"device\": \"%s\", \"kernel\": \"%s\", \"graph\": "
               "\"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, \"entries\": %lld, \"seconds\": "
               "%.4e, \"gflops\": %.2f, \"bytes\": %.0f, \"gb_per_second\": %.2f, "
               "\"of_copy_rate\": %.3f, \"limit_seconds\": %.4e, \"fraction\": %.3f, \"error\": "
               "%.2e, \"agrees\": %s}\n",
               c->table->name, label, graph_names[row->graph], (long long)c->m, (long long)c->n,
               (long long)c->k, row->graph ? (long long)c->graph.n_entries : 0LL, seconds,
               flops / seconds * 1e-9, bytes, bytes / seconds * 1e-9,
               bytes / seconds * 1e-9 / d->copy_gbs, least, least / seconds,
               isfinite(error) ? error : 1e30, differs ? "false" : "true");
        return;
    }
    char shape[48];
    snprintf(shape, sizeof shape, call->product ? "%lld x %lld x %lld" : "%lld x %lld",
             (long long)c->m, (long long)c->n, (long long)c->k);
    printf("%-14s %-22s %-5s %10.3e %10.1f %-8s %6.0f %% %10.1e%s\n", label, shape,
           graph_names[row->graph], seconds, (call->product ? flops : bytes) / seconds * 1e-9,
           call->product ? "GFLOP/s" : "GB/s", 100 * least / seconds, error,
           differs ? "  DIFFERS" : "");
}

static int64_t at_most(int64_t m, int64_t tall, int64_t width) {
    return width > 0 && m > tall / width ? tall / width : m;
}

static flip_status measure(device_bench *d, const device_row *row, int64_t m) {
    const flip_bench_call *call = flip_bench_call_find(row->kernel);
    flip_bench_case *t = &d->there;
    int64_t parts = 0;
    double seconds, error;
    for (int i = 0; call->parts[i]; i++)
        parts += call->parts[i];
    t->n = row->n, t->k = row->k;
    t->graph = d->sent[row->graph];
    d->host.graph = d->graphs[row->graph];
    d->host.n = row->n;
    flip_bench_pack(&d->host, row->bits);
    flip_bench_pack(t, row->bits);
    t->m = at_most(at_most(row->graph ? t->graph.n_rows : m, d->tall, parts * t->n), d->tall,
                   (int64_t)flip_bench_width(call, t));
    FLIP_TRY(flip_bench_agree(call, t, &d->host, &error));
    bool differs = !(error <= (call->bf16 ? 1e-2 : 1e-4));
    d->n_differ += differs;
    FLIP_TRY(time_runs(d->b, call->run, t, &seconds));
    tell(d, row, call, seconds, error, differs);
    fflush(stdout);
    return FLIP_OK;
}

flip_status flip_bench_device(const flip_bench *b) {
    int64_t m = b->rows ? b->rows : 2000000;
    device_bench d = {.b = b, .tall = m * WIDEST, .there.table = b->device};
    flip_status status;
    FLIP_TRY_GOTO(operands(&d, m));
    FLIP_TRY_GOTO(limits(&d));
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        FLIP_TRY_GOTO(measure(&d, &rows[r], m));
    if (d.n_differ > 0)
        status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "%d of %zu calls on %s differ from the CPU's table",
                           d.n_differ, sizeof rows / sizeof *rows, b->device->name);
done:
    free_operands(&d);
    return status;
}
