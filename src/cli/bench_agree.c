/* Is what a device computed what the CPU's table computes on the same operands? */
#include "cli/bench_calls.h"

#include <math.h>
#include <string.h>

enum { SAMPLE = 64, WIDEST = 256 };

/* The same operands; the host's stay as they were drawn. */
typedef struct both {
    flip_bench_case host, *there;
} both;

size_t flip_bench_width(const flip_bench_call *call, const flip_bench_case *c) {
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
static void put_back(both *d, const flip_bench_call *call) {
    flip_bench_case *t = d->there, *h = &d->host;
    size_t m = (size_t)t->m, gathered = call->a_n + call->a_k ? 0 : (size_t)t->graph.n_cols;
    size_t parts = 0;
    for (int i = 0; call->parts[i]; i++)
        parts += (size_t)call->parts[i];
    t->table->send(t->a, h->a,
                   (m * flip_bench_width(call, t) + gathered * (size_t)t->n) * sizeof *t->a);
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
    size_t rows_cut = (size_t)m, width = flip_bench_width(call, from), at = (size_t)first,
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
static double rows_differ(both *d, const flip_bench_call *call, piece *got, piece *want,
                          int64_t first, int64_t m) {
    flip_bench_case *t = d->there;
    double error = 0;
    cut(got, call, t, first, m);
    flip_bench_case host = d->host;
    host.m = t->m, host.n = t->n, host.k = t->k;
    cut(want, call, &host, first, m);
    flip_bench_case c = want->c;
    c.table = d->host.table;
    c.b = d->host.b;
    c.key = want->key;
    c.packing = d->host.packing;
    if (call->a_n + call->a_k == 0) {
        c.a = d->host.a;
        c.graph = d->host.graph;
        c.graph.row_ptr += first;
        c.graph.n_rows = (int32_t)m;
    } else if (call->packed)
        c.a = (flip_real *)((uint8_t *)d->host.a + (size_t)first * c.packing.stride);
    call->run(&c);
    if (!call->packed)
        error = difference(got->c.a, want->c.a, (size_t)m * flip_bench_width(call, t));
    flip_real *x = got->c.c, *y = want->c.c;
    for (int i = 0; call->parts[i]; i++) {
        size_t values = (size_t)m * (size_t)call->parts[i] * (size_t)t->n;
        error = fmax(error, difference(x, y, values));
        x += values, y += values;
    }
    return fmax(error, difference(got->c.v, want->c.v, (size_t)m));
}

static double sums_differ(both *d, const flip_bench_call *call) {
    size_t n = sums_of(call, d->there);
    double *got = NULL, *want = NULL, most = 1e-30, apart = 0;
    if (flip_alloc(&got, n, sizeof *got, "sums") != FLIP_OK ||
        flip_alloc(&want, n, sizeof *want, "sums") != FLIP_OK)
        apart = INFINITY;
    else {
        d->there->table->receive(got, d->there->g, n * sizeof *got);
        memcpy(want, d->host.g, n * sizeof *want);
        flip_bench_case c = d->host;
        c.m = d->there->m, c.n = d->there->n, c.k = d->there->k;
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

flip_status flip_bench_agree(const flip_bench_call *call, flip_bench_case *there,
                             const flip_bench_case *on_host, double *error) {
    both pair = {*on_host, there}, *d = &pair;
    int64_t m = d->there->m, n = m < SAMPLE ? m : SAMPLE;
    int64_t first[] = {0, (m - n) / 2, m - n};
    piece got = {0}, want = {0};
    flip_status status;
    *error = 0;
    put_back(d, call);
    call->run(d->there);
    FLIP_TRY(d->there->table->wait());
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
