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

enum { WIDEST = 256, SAMPLE = 64, ROUNDS = 3, MOST_RUNS = 200, LARGEST_SIDE = 8192 };
enum { RMAT = 1, COMMUNITIES, N_GRAPHS = COMMUNITIES };
static const char *const graph_names[] = {"", "rmat", "sbm"};

typedef struct device_row {
    const char *kernel;
    int64_t n, k;
    int graph;
} device_row;

static const device_row rows[] = {
    {"spmm", 64, 0, RMAT},         {"spmm", 128, 0, RMAT},
    {"spmm", 256, 0, RMAT},        {"spmm", 64, 0, COMMUNITIES},
    {"spmm", 128, 0, COMMUNITIES}, {"spmm", 256, 0, COMMUNITIES},
    {"gemm_nn", 64, 64, 0},        {"gemm_nn", 32, 128, 0},
    {"gemm_nn", 128, 128, 0},      {"gemm_nn", 256, 256, 0},
    {"gemm_nn+relu", 128, 128, 0}, {"gemm_nn+relu", 256, 256, 0},
    {"gemm_nt+mask", 128, 128, 0}, {"gemm_nt+mask", 256, 256, 0},
    {"gemm_tn", 64, 64, 0},        {"gemm_tn", 128, 128, 0},
    {"gemm_tn", 256, 256, 0},      {"gemm_nn_bf16", 128, 128, 0},
    {"gemm_nn_bf16", 256, 256, 0}, {"gemm_tn_bf16", 128, 128, 0},
    {"column_sums", 128, 0, 0},    {"softmax", 32, 0, 0},
    {"scaled", 128, 0, 0},         {"dropout", 128, 0, 0},
    {"mask_bits", 128, 0, 0},      {"adam", 1, 0, 0},
    {"lstm_forward", 64, 0, 0},    {"lstm_backward", 64, 0, 0},
    {"gru_forward", 64, 0, 0},     {"gru_backward", 64, 0, 0},
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
    FLIP_TRY(flip_bench_rmat(&d->graphs[RMAT], m, 30));
    return flip_bench_communities(&d->graphs[COMMUNITIES], m, 25);
}

static flip_status send_copy(const flip_kernels *table, void *out_pointer, const void *from,
                             size_t bytes, const char *what) {
    void **out = out_pointer;
    FLIP_TRY(table->take(out, bytes, what));
    table->send(*out, from, bytes);
    return FLIP_OK;
}

static flip_status send_graph(const flip_kernels *table, flip_csr *to, const flip_csr *from) {
    *to = *from;
    to->row_ptr = NULL, to->col = NULL, to->value = NULL;
    FLIP_TRY(send_copy(table, &to->row_ptr, from->row_ptr,
                       ((size_t)from->n_rows + 1) * sizeof *from->row_ptr, "row starts"));
    FLIP_TRY(send_copy(table, &to->col, from->col, (size_t)from->n_entries * sizeof *from->col,
                       "columns"));
    return send_copy(table, &to->value, from->value, (size_t)from->n_entries * sizeof *from->value,
                     "values");
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
    FLIP_TRY(table->take(&t->v, (size_t)m * sizeof *t->v, "second moments"));
    FLIP_TRY(table->take(&t->bits, (size_t)d->tall / 8, "bits"));
    FLIP_TRY(table->take(&t->g, ((size_t)m + WIDEST * WIDEST) * sizeof *t->g, "gradient"));
    return table->wait();
}

static void free_operands(device_bench *d) {
    flip_bench_case *h = &d->host, *t = &d->there;
    void *of_host[] = {h->a, h->b, h->c, h->v, h->bits, h->g};
    void *of_device[] = {t->a, t->b, t->c, t->v, t->bits, t->g};
    for (size_t i = 0; i < sizeof of_host / sizeof *of_host; i++) {
        flip_free(of_host[i]);
        t->table->give_back(of_device[i]);
    }
    for (int g = 1; g <= N_GRAPHS; g++) {
        flip_bench_graph_free(&d->graphs[g]);
        t->table->give_back((void *)d->sent[g].row_ptr);
        t->table->give_back((void *)d->sent[g].col);
        t->table->give_back((void *)d->sent[g].value);
    }
}

/* ---- the result, beside the CPU's ---------------------------------------------------------------
 */

static size_t width_of(const flip_bench_call *call, const flip_bench_case *c) {
    return (size_t)(call->a_n * c->n + call->a_k * c->k);
}

static size_t bit_bytes(const flip_bench_case *c) {
    return (size_t)(c->n + 7) / 8;
}

static size_t sums_of(const flip_bench_call *call, const flip_bench_case *c) {
    return call->sums == FLIP_BENCH_ROW_SUMS     ? (size_t)c->m
           : call->sums == FLIP_BENCH_WHOLE_SUMS ? (size_t)(c->k ? c->k * c->n : c->n)
                                                 : 0;
}

/* The device's operands as they were drawn. */
static void put_back(device_bench *d, const flip_bench_call *call) {
    flip_bench_case *t = &d->there, *h = &d->host;
    size_t m = (size_t)t->m, gathered = call->a_n + call->a_k ? 0 : (size_t)t->graph.n_cols;
    size_t parts = 0;
    for (int i = 0; call->parts[i]; i++)
        parts += (size_t)call->parts[i];
    t->table->send(t->a, h->a, (m * width_of(call, t) + gathered * (size_t)t->n) * sizeof *t->a);
    t->table->send(t->c, h->c, m * parts * (size_t)t->n * sizeof *t->c);
    t->table->send(t->v, h->v, m * sizeof *t->v);
    if (call->bits) t->table->send(t->bits, h->bits, m * bit_bytes(t));
    t->table->send(t->g, h->g, sums_of(call, t) * sizeof *t->g);
}

typedef struct piece { /* rows first … first + m - 1 of a case, in the host's memory */
    flip_bench_case c;
    int64_t key[SAMPLE];
} piece;

static flip_status make_piece(piece *p) {
    size_t most = SAMPLE * 5 * WIDEST;
    FLIP_TRY(flip_alloc_zero(&p->c.a, most, sizeof *p->c.a, "sampled rows"));
    FLIP_TRY(flip_alloc_zero(&p->c.c, most, sizeof *p->c.c, "sampled rows"));
    FLIP_TRY(flip_alloc_zero(&p->c.v, SAMPLE, sizeof *p->c.v, "sampled rows"));
    FLIP_TRY(flip_alloc_zero(&p->c.bits, most / 8, 1, "sampled rows"));
    return flip_alloc_zero(&p->c.g, SAMPLE, sizeof *p->c.g, "sampled rows");
}

static void free_piece(piece *p) {
    flip_free(p->c.a);
    flip_free(p->c.c);
    flip_free(p->c.v);
    flip_free(p->c.bits);
    flip_free(p->c.g);
}

static void cut(piece *p, const flip_bench_call *call, const flip_bench_case *from, int64_t first,
                int64_t m) {
    void (*get)(void *, const void *, size_t) = from->table->receive;
    size_t rows_cut = (size_t)m, width = width_of(call, from), at = (size_t)first,
           n = (size_t)from->n;
    flip_real *to = p->c.c;
    p->c.m = m, p->c.n = from->n, p->c.k = from->k;
    get(p->c.a, from->a + at * width, rows_cut * width * sizeof *from->a);
    for (size_t i = 0, before = 0; call->parts[i]; i++) {
        size_t wide = (size_t)call->parts[i] * n;
        get(to, from->c + before * (size_t)from->m + at * wide, rows_cut * wide * sizeof *to);
        before += wide;
        to += rows_cut * wide;
    }
    get(p->c.v, from->v + at, rows_cut * sizeof *from->v);
    if (call->bits) get(p->c.bits, from->bits + at * bit_bytes(from), rows_cut * bit_bytes(from));
    if (call->sums == FLIP_BENCH_ROW_SUMS) get(p->c.g, from->g + at, rows_cut * sizeof *from->g);
    for (int64_t i = 0; i < m; i++)
        p->key[i] = first + i;
}

/* The largest difference over the largest value; infinite where one is no number. */
static double difference(const flip_real *x, const flip_real *y, size_t n) {
    double most = 1e-30, apart = 0;
    for (size_t i = 0; i < n; i++) {
        double value = fabs((double)y[i]), diff = fabs((double)x[i] - (double)y[i]);
        if (!(diff <= 1e30)) return INFINITY;
        if (value > most) most = value;
        if (diff > apart) apart = diff;
    }
    return apart / most;
}

/* Rows first … of the device's result and of the CPU's on the same operands. */
static double rows_differ(device_bench *d, const flip_bench_call *call, piece *got, piece *want,
                          int64_t first, int64_t m) {
    flip_bench_case *t = &d->there;
    double error = 0;
    cut(got, call, t, first, m);
    flip_bench_case host = d->host;
    host.m = t->m, host.n = t->n, host.k = t->k;
    cut(want, call, &host, first, m);
    flip_bench_case c = want->c;
    c.table = d->host.table;
    c.b = d->host.b;
    c.key = want->key;
    if (call->a_n + call->a_k == 0) {
        c.a = d->host.a;
        c.graph = d->host.graph;
        c.graph.row_ptr += first;
        c.graph.n_rows = (int32_t)m;
    }
    call->run(&c);
    error = difference(got->c.a, want->c.a, (size_t)m * width_of(call, t));
    flip_real *x = got->c.c, *y = want->c.c;
    for (int i = 0; call->parts[i]; i++) {
        size_t values = (size_t)m * (size_t)call->parts[i] * (size_t)t->n;
        error = fmax(error, difference(x, y, values));
        x += values, y += values;
    }
    return fmax(error, difference(got->c.v, want->c.v, (size_t)m));
}

static double sums_differ(device_bench *d, const flip_bench_call *call) {
    size_t n = sums_of(call, &d->there);
    double *got = NULL, *want = NULL, most = 1e-30, apart = 0;
    if (flip_alloc(&got, n, sizeof *got, "sums") != FLIP_OK ||
        flip_alloc(&want, n, sizeof *want, "sums") != FLIP_OK)
        apart = INFINITY;
    else {
        d->there.table->receive(got, d->there.g, n * sizeof *got);
        memcpy(want, d->host.g, n * sizeof *want);
        flip_bench_case c = d->host;
        c.m = d->there.m, c.n = d->there.n, c.k = d->there.k;
        c.g = want;
        call->run(&c);
        for (size_t i = 0; i < n; i++) {
            most = fmax(most, fabs(want[i]));
            apart = got[i] == got[i] ? fmax(apart, fabs(got[i] - want[i])) : INFINITY;
        }
    }
    flip_free(got);
    flip_free(want);
    return apart / most;
}

static flip_status check(device_bench *d, const flip_bench_call *call, double *error) {
    int64_t m = d->there.m, n = m < SAMPLE ? m : SAMPLE;
    int64_t first[] = {0, (m - n) / 2, m - n};
    piece got = {0}, want = {0};
    flip_status status;
    *error = 0;
    put_back(d, call);
    call->run(&d->there);
    FLIP_TRY(d->there.table->wait());
    if (call->sums == FLIP_BENCH_WHOLE_SUMS) {
        *error = sums_differ(d, call);
        return FLIP_OK;
    }
    FLIP_TRY_GOTO(make_piece(&got));
    FLIP_TRY_GOTO(make_piece(&want));
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        *error = fmax(*error, rows_differ(d, call, &got, &want, first[i], n));
done:
    free_piece(&got);
    free_piece(&want);
    return status;
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
               "%.0f: %.1f GFLOP/s, bf16 %.1f\n%-13s %-22s %-5s %10s %10s %-8s %8s %10s\n",
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
    double least = fmax(flops / ((call->bf16 ? d->gflops_bf16 : d->gflops) * 1e9),
                        bytes / (d->copy_gbs * 1e9));
    if (d->b->json) {
        printf("{\"bench\": \"kernels\", \"device\": \"%s\", \"kernel\": \"%s\", \"graph\": "
               "\"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, \"entries\": %lld, \"seconds\": "
               "%.4e, \"gflops\": %.2f, \"bytes\": %.0f, \"gb_per_second\": %.2f, "
               "\"of_copy_rate\": %.3f, \"limit_seconds\": %.4e, \"fraction\": %.3f, \"error\": "
               "%.2e, \"agrees\": %s}\n",
               c->table->name, row->kernel, graph_names[row->graph], (long long)c->m,
               (long long)c->n, (long long)c->k, row->graph ? (long long)c->graph.n_entries : 0LL,
               seconds, flops / seconds * 1e-9, bytes, bytes / seconds * 1e-9,
               bytes / seconds * 1e-9 / d->copy_gbs, least, least / seconds,
               isfinite(error) ? error : 1e30, differs ? "false" : "true");
        return;
    }
    char shape[48];
    snprintf(shape, sizeof shape, call->product ? "%lld x %lld x %lld" : "%lld x %lld",
             (long long)c->m, (long long)c->n, (long long)c->k);
    printf("%-13s %-22s %-5s %10.3e %10.1f %-8s %6.0f %% %10.1e%s\n", row->kernel, shape,
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
    t->m = at_most(at_most(row->graph ? t->graph.n_rows : m, d->tall, parts * t->n), d->tall,
                   (int64_t)width_of(call, t));
    FLIP_TRY(check(d, call, &error));
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
