/* Norms, EvolveGCN's kernels and those over the entries of rows: every table against the
 * definition, twice with the same bits, and the definition against plain loops in double. */
#include "kernels_check.h"

/* ---- what a table gave ---- */

enum { MOST_OUTPUTS = 12 };

typedef struct outputs {
    int n;
    const char *name[MOST_OUTPUTS];
    double *value[MOST_OUTPUTS];
    int64_t size[MOST_OUTPUTS];
} outputs;

static double *add_output(outputs *o, const char *name, int64_t n) {
    assert_true(o->n < MOST_OUTPUTS);
    o->name[o->n] = name;
    o->size[o->n] = n;
    o->value[o->n] = calloc((size_t)n + 1, sizeof(double));
    assert_non_null(o->value[o->n]);
    return o->value[o->n++];
}

static void keep(outputs *o, const char *name, const flip_real *x, int64_t n) {
    double *to = add_output(o, name, n);
    for (int64_t i = 0; i < n; i++)
        to[i] = (double)x[i];
}

static void keep_double(outputs *o, const char *name, const double *x, int64_t n) {
    memcpy(add_output(o, name, n), x, (size_t)n * sizeof *x);
}

static void free_outputs(outputs *o) {
    for (int i = 0; i < o->n; i++)
        free(o->value[i]);
    o->n = 0;
}

/* To `units` of rounding of the largest value that is wanted; 0: the same bits. */
static void compare(const char *what, const outputs *got, const outputs *want, double units) {
    assert_int_equal(got->n, want->n);
    for (int k = 0; k < got->n; k++) {
        double most = 1;
        for (int64_t i = 0; i < want->size[k]; i++)
            most = fmax(most, fabs(want->value[k][i]));
        for (int64_t i = 0; i < want->size[k]; i++)
            if (!(fabs(got->value[k][i] - want->value[k][i]) <= units * ROUNDING * most))
                fail_msg("%s: %s[%lld] is %.9g, expected %.9g", what, got->name[k], (long long)i,
                         got->value[k][i], want->value[k][i]);
    }
}

typedef void (*run_of)(const flip_kernels *table, const void *c, outputs *out);

/* `plain` may be NULL where another test holds the definition against plain loops. */
static void every_table(run_of run, const void *c, void (*plain)(const void *c, outputs *out)) {
    outputs want = {0}, expected = {0};
    run(list[0], c, &want);
    if (plain) {
        plain(c, &expected);
        compare("plain loops", &want, &expected, 400);
        free_outputs(&expected);
    }
    for (int t = 0; t < n_tables; t++) {
        outputs once = {0}, again = {0};
        run(list[t], c, &once);
        omp_set_num_threads(2);
        run(list[t], c, &again);
        omp_set_num_threads(1);
        compare(list[t]->name, &again, &once, 0);
        compare(list[t]->name, &once, &want, 400);
        free_outputs(&once);
        free_outputs(&again);
    }
    free_outputs(&want);
}

static void release_all(void **memory, int n) {
    for (int i = 0; i < n; i++)
        release(memory[i]);
}
#define RELEASE(...)                                                                               \
    do {                                                                                           \
        void *all_[] = {__VA_ARGS__};                                                              \
        release_all(all_, (int)(sizeof all_ / sizeof *all_));                                      \
    } while (0)

static double *noise_double(int64_t n, uint64_t seed) {
    double *x = get((size_t)n + 1, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 2 * flip_random_uniform(seed, FLIP_STREAM_TEST, 2, (uint64_t)i) - 1;
    return x;
}

/* ---- norms ---- */

typedef struct norm_case {
    int64_t m, n;
    bool accumulate;
} norm_case;
static const double eps = 1e-3;

static void run_layer(const flip_kernels *table, const void *of, outputs *out) {
    const norm_case *c = of;
    int64_t m = c->m, n = c->n;
    flip_real *x = noise(m * n + 1, 1), *gamma = noise(n, 2), *beta = noise(n, 3);
    flip_real *y = get((size_t)(m * n + 1), sizeof *y), *dy = noise(m * n + 1, 4);
    flip_real *dx = noise(m * n + 1, 5);
    double *mean = get((size_t)(2 * m + 1), sizeof *mean), *sums = noise_double(2 * n, 6);
    double *room = get(flip_room(m, 2 * n) + 1, sizeof *room), *inverse = mean;
    CALL(table, layer_norm, m, n, y, x, gamma, beta, eps, mean, mean + m);
    keep(out, "y", y, m * n);
    keep_double(out, "mean, rstd", mean, 2 * m);
    CALL(table, layer_norm_back, m, n, dx, x, dy, gamma, mean, mean + m, c->accumulate);
    CALL(table, norm_gradients, m, n, x, dy, true, mean, mean + m, sums, sums + n, room);
    keep(out, "dx", dx, m * n);
    keep_double(out, "dgamma, dbeta", sums, 2 * n);
    if (m > 1) memset(x + n, 0, (size_t)n * sizeof *x); /* a row without length */
    CALL(table, unit_rows, m, n, x, inverse);
    keep(out, "unit rows", x, m * n);
    CALL(table, unit_rows_back, m, n, dy, x, inverse);
    keep(out, "unit rows back", dy, m * n);
    RELEASE(x, gamma, beta, y, dy, dx, mean, sums, room);
}

/* One row's mean and 1 / sqrt(variance + eps) */
static void moments(const flip_real *row, int64_t n, double *mean, double *rstd) {
    double sum = 0, square = 0;
    for (int64_t j = 0; j < n; j++)
        sum += (double)row[j];
    *mean = sum / (double)n;
    for (int64_t j = 0; j < n; j++)
        square += pow((double)row[j] - *mean, 2);
    *rstd = 1 / sqrt(square / (double)n + eps);
}

static void plain_layer(const void *of, outputs *out) {
    const norm_case *c = of;
    int64_t m = c->m, n = c->n;
    flip_real *x = noise(m * n + 1, 1), *gamma = noise(n, 2), *beta = noise(n, 3);
    flip_real *slope = noise(m * n + 1, 4), *before = noise(m * n + 1, 5);
    double *sums = noise_double(2 * n, 6);
    double *y = add_output(out, "y", m * n), *mean = add_output(out, "mean, rstd", 2 * m);
    double *dx = add_output(out, "dx", m * n), *dsums = add_output(out, "dgamma, dbeta", 2 * n);
    double *unit = add_output(out, "unit rows", m * n);
    double *back = add_output(out, "unit rows back", m * n);
    memcpy(dsums, sums, (size_t)(2 * n) * sizeof *sums);
    for (int64_t i = 0; i < m; i++) {
        const flip_real *row = x + i * n, *dy = slope + i * n;
        double g = 0, gx = 0, length = 0, dot = 0;
        moments(row, n, &mean[i], &mean[m + i]);
        for (int64_t j = 0; j < n; j++) {
            double hat = ((double)row[j] - mean[i]) * mean[m + i];
            y[i * n + j] = (double)gamma[j] * hat + (double)beta[j];
            g += (double)dy[j] * (double)gamma[j] / (double)n;
            gx += (double)dy[j] * (double)gamma[j] * hat / (double)n;
            dsums[j] += (double)dy[j] * hat;
            dsums[n + j] += (double)dy[j];
            length += i == 1 ? 0 : (double)row[j] * (double)row[j];
        }
        double inverse = length > 0 ? 1 / sqrt(length) : 0;
        for (int64_t j = 0; j < n; j++)
            dot += (double)row[j] * inverse * (double)dy[j];
        for (int64_t j = 0; j < n; j++) {
            double hat = ((double)row[j] - mean[i]) * mean[m + i];
            dx[i * n + j] = (c->accumulate ? (double)before[i * n + j] : 0) +
                            mean[m + i] * ((double)dy[j] * (double)gamma[j] - g - hat * gx);
            unit[i * n + j] = (double)row[j] * inverse;
            back[i * n + j] = ((double)dy[j] - (double)row[j] * inverse * dot) * inverse;
        }
    }
    RELEASE(x, gamma, beta, slope, before, sums);
}

static void run_batch(const flip_kernels *table, const void *of, outputs *out) {
    const norm_case *c = of;
    int64_t m = c->m, n = c->n;
    flip_real *x = noise(m * n + 1, 11), *gamma = noise(n, 12), *beta = noise(n, 13);
    flip_real *dy = noise(m * n + 1, 14), *dx = noise(m * n + 1, 15), *y = copy_of(x, m * n + 1);
    flip_real *running = noise(2 * n, 16);
    for (int64_t j = 0; j < n; j++)
        running[n + j] = 1 + running[n + j];
    double *sum = get((size_t)(2 * n), sizeof *sum), *mean = get((size_t)(2 * n), sizeof *mean);
    double *room = get(flip_room(m, 2 * n) + 1, sizeof *room), count = m > 0 ? (double)m : 1;
    CALL(table, column_moments, m, n, x, NULL, 1, sum, room);
    CALL(table, batch_mean, n, mean, sum, count);
    CALL(table, column_moments, m, n, x, mean, 2, sum, room);
    CALL(table, batch_spread, n, mean + n, sum, mean, count, eps, 0.1, running, running + n);
    CALL(table, batch_norm, m, n, y, x, gamma, beta, mean, mean + n);
    keep(out, "y", y, m * n);
    keep_double(out, "mean, rstd", mean, 2 * n);
    keep(out, "running", running, 2 * n);
    memset(sum, 0, (size_t)(2 * n) * sizeof *sum);
    CALL(table, norm_gradients, m, n, x, dy, false, mean, mean + n, sum, sum + n, room);
    CALL(table, batch_norm_back, m, n, dx, x, dy, gamma, mean, mean + n, sum, count, c->accumulate);
    keep(out, "dx", dx, m * n);
    CALL(table, batch_given, n, mean, mean + n, running, running + n, eps);
    keep_double(out, "given", mean, 2 * n);
    RELEASE(x, gamma, beta, dy, dx, y, running, sum, mean, room);
}

static void plain_batch(const void *of, outputs *out) {
    const norm_case *c = of;
    int64_t m = c->m, n = c->n;
    double count = m > 0 ? (double)m : 1;
    flip_real *x = noise(m * n + 1, 11), *gamma = noise(n, 12), *beta = noise(n, 13);
    flip_real *dy = noise(m * n + 1, 14), *before = noise(m * n + 1, 15), *old = noise(2 * n, 16);
    double *y = add_output(out, "y", m * n), *mean = add_output(out, "mean, rstd", 2 * n);
    double *run = add_output(out, "running", 2 * n), *dx = add_output(out, "dx", m * n);
    double *given = add_output(out, "given", 2 * n);
    for (int64_t j = 0; j < n; j++) {
        double sum = 0, square = 0, d = 0, dh = 0;
        for (int64_t i = 0; i < m; i++)
            sum += (double)x[i * n + j] / count;
        for (int64_t i = 0; i < m; i++)
            square += pow((double)x[i * n + j] - sum, 2) / count;
        mean[j] = sum;
        mean[n + j] = 1 / sqrt(square + eps);
        run[j] = 0.9 * (double)old[j] + 0.1 * sum;
        run[n + j] = 0.9 * (1 + (double)old[n + j]) + 0.1 * square * count / fmax(count - 1, 1);
        given[j] = run[j];
        given[n + j] = 1 / sqrt(run[n + j] + eps);
        for (int64_t i = 0; i < m; i++) {
            double hat = ((double)x[i * n + j] - sum) * mean[n + j];
            y[i * n + j] = (double)gamma[j] * hat + (double)beta[j];
            d += (double)dy[i * n + j] / count;
            dh += (double)dy[i * n + j] * hat / count;
        }
        for (int64_t i = 0; i < m; i++) {
            double hat = ((double)x[i * n + j] - sum) * mean[n + j];
            dx[i * n + j] = (c->accumulate ? (double)before[i * n + j] : 0) +
                            (double)gamma[j] * mean[n + j] * ((double)dy[i * n + j] - d - hat * dh);
        }
    }
    RELEASE(x, gamma, beta, dy, before, old);
}

static void norms(void **state) {
    (void)state;
    static const norm_case cases[] = {{0, 5, false},   {1, 1, false},    {3, 1, true},
                                      {5, 33, true},   {70, 16, false},  {64, 100, true},
                                      {9, 257, false}, {2100, 7, false}, {1030, 40, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        every_table(run_layer, &cases[i], plain_layer);
        every_table(run_batch, &cases[i], plain_batch);
    }
}

/* ---- EvolveGCN ---- */

typedef struct evolve_case {
    int64_t steps, k, f; /* rows: 2 k + 3 */
} evolve_case;

static void run_gru(const flip_kernels *table, const void *of, outputs *out) {
    const evolve_case *c = of;
    int64_t m = c->k, n = c->f;
    flip_real *gates = noise(m * 3 * n, 21), *h = noise(m * n, 22), *reset = noise(m * n, 23);
    flip_real *next = noise(m * n, 24), *d = noise(m * n, 25), *dh = noise(m * n, 26);
    CALL(table, reset_gru_open, m, n, gates, h, reset);
    keep(out, "r, z", gates, m * 3 * n);
    keep(out, "r h", reset, m * n);
    CALL(table, reset_gru_close, m, n, gates, h, next);
    keep(out, "r, z, c", gates, m * 3 * n);
    keep(out, "next", next, m * n);
    memset(reset, 0, (size_t)(m * n) * sizeof *reset);
    CALL(table, reset_gru_close_back, m, n, gates, h, dh, reset);
    CALL(table, reset_gru_open_back, m, n, gates, h, d, dh);
    keep(out, "gates' gradients", gates, m * 3 * n);
    keep(out, "r h anew", reset, m * n);
    keep(out, "dh", dh, m * n);
    RELEASE(gates, h, reset, next, d, dh);
}

static void plain_gru(const void *of, outputs *out) {
    const evolve_case *c = of;
    int64_t m = c->k, n = c->f;
    flip_real *gates = noise(m * 3 * n, 21), *h = noise(m * n, 22), *d = noise(m * n, 25);
    flip_real *slope = noise(m * n, 26);
    double *open = add_output(out, "r, z", m * 3 * n), *reset = add_output(out, "r h", m * n);
    double *closed = add_output(out, "r, z, c", m * 3 * n), *next = add_output(out, "next", m * n);
    double *back = add_output(out, "gates' gradients", m * 3 * n);
    double *anew = add_output(out, "r h anew", m * n), *dh = add_output(out, "dh", m * n);
    for (int64_t i = 0; i < m * n; i++) {
        int64_t g = i / n * 3 * n + i % n;
        double r = 1 / (1 + exp(-(double)gates[g])), z = 1 / (1 + exp(-(double)gates[g + n]));
        double candidate = tanh((double)gates[g + 2 * n]), old = (double)h[i];
        open[g] = closed[g] = r;
        open[g + n] = closed[g + n] = z;
        open[g + 2 * n] = (double)gates[g + 2 * n];
        closed[g + 2 * n] = candidate;
        reset[i] = anew[i] = r * old;
        next[i] = (1 - z) * old + z * candidate;
        back[g] = (double)d[i] * old * r * (1 - r);
        back[g + n] = (double)slope[i] * (candidate - old) * z * (1 - z);
        back[g + 2 * n] = (double)slope[i] * z * (1 - candidate * candidate);
        dh[i] = (double)slope[i] * (1 - z) + (double)d[i] * r;
    }
    RELEASE(gates, h, d, slope);
}

static void run_topk(const flip_kernels *table, const void *of, outputs *out) {
    const evolve_case *c = of;
    int64_t rows = 2 * c->k + 3, n = c->steps * c->k, f = c->f;
    flip_real *x = noise(rows * c->steps * f, 31), *p = noise(f, 32), *values = noise(n * f, 33);
    flip_real *dx = noise(rows * c->steps * f, 34);
    double *unit = get((size_t)f + 1, sizeof *unit), *dp = noise_double(f, 35);
    double *scores = get((size_t)(rows * c->steps), sizeof *scores), *chosen = noise_double(n, 36);
    double *summary = noise_double(n * f, 37), *up = noise_double(n * f, 38);
    double *room = get((size_t)n, sizeof *room), *turned = noise_double(rows * f, 39);
    int32_t *row = get((size_t)n, sizeof *row);
    for (int64_t i = 0; i < n; i++) /* distinct in a step; every fifth is elsewhere */
        row[i] = i % 5 == 4 ? -1 : (int32_t)((i % c->k * 2 + i / c->k) % rows);
    CALL(table, unit_vector, f, p, unit);
    keep_double(out, "unit", unit, f + 1);
    CALL(table, row_dots, rows * c->steps, f, x, unit, scores);
    keep_double(out, "scores", scores, rows * c->steps);
    CALL(table, topk_take, c->steps, c->k, f, row, chosen, x, values, summary);
    keep(out, "values", values, n * f);
    keep_double(out, "summary", summary, n * f);
    CALL(table, topk_back, c->steps, c->k, f, row, chosen, values, up, unit, dx, dp, room);
    keep(out, "dx", dx, rows * c->steps * f);
    keep_double(out, "dp", dp, f);
    CALL(table, topk_back, c->steps, c->k, f, row, chosen, values, up, unit, NULL, dp, room);
    keep_double(out, "dp alone", dp, f);
    CALL(table, turn_sum, rows, f, c->steps, x, turned);
    keep_double(out, "turned", turned, rows * f);
    RELEASE(x, p, values, dx, unit, dp, scores, chosen, summary, up, room, turned, row);
}

static void evolve(void **state) {
    (void)state;
    static const evolve_case cases[] = {{1, 1, 1}, {3, 4, 7}, {2, 40, 33}, {5, 17, 100}, {0, 3, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        every_table(run_gru, &cases[i], plain_gru);
        every_table(run_topk, &cases[i], NULL); /* t500 has plain loops */
    }
}

/* ---- entries ---- */

enum { ROWS = 60, OWN = 60, HALO = 13, COLUMNS = OWN + HALO };

typedef struct edge_case {
    int32_t steps, heads, d;
    bool dynamic, accumulate;
    double dropout;
} edge_case;

typedef struct graph {
    flip_csr a, at;
    int64_t *place;
} graph;

static int64_t degree_of(int64_t v) {
    return v % 5 == 0 ? 0 : v == 3 ? 180 : (int64_t)chance(41, 1, (uint64_t)v, 14);
}

/* Rows without entries, one of many, doubled entries; columns ascend. */
static void draw_rows(graph *g) {
    int64_t *ptr = get(ROWS + 1, sizeof *ptr), n = 0;
    for (int64_t v = 0; v < ROWS; v++)
        ptr[v + 1] = n += degree_of(v);
    int32_t *col = get((size_t)n + 1, sizeof *col);
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            int32_t c = (int32_t)chance(42, 2, (uint64_t)e, COLUMNS);
            int64_t at = e;
            for (; at > ptr[v] && col[at - 1] > c; at--)
                col[at] = col[at - 1];
            col[at] = c;
        }
    g->a = (flip_csr){.n_rows = ROWS,
                      .n_cols = COLUMNS,
                      .n_own = OWN,
                      .n_steps = 1,
                      .n_entries = n,
                      .n_values = n,
                      .row_ptr = ptr,
                      .col = col};
}

/* One or two lives an entry. */
static void draw_lives(graph *g, int32_t steps) {
    int64_t n = g->a.n_entries, runs = 0, values = 0;
    uint32_t *run_ptr = get((size_t)n + 1, sizeof *run_ptr);
    uint32_t *value_ptr = get((size_t)(2 * n) + 1, sizeof *value_ptr);
    int32_t *first = get((size_t)(2 * n) + 1, sizeof *first);
    for (int64_t e = 0; e < n; e++) {
        int32_t begin = (int32_t)chance(43, 3, (uint64_t)e, (uint64_t)steps);
        for (int life = 0; life < 2 && begin < steps; life++) {
            int32_t length =
                1 + (int32_t)chance(44, 4, (uint64_t)(2 * e + life), (uint64_t)(steps - begin));
            first[runs] = begin;
            value_ptr[++runs] = (uint32_t)(values += length);
            begin += length + 1;
        }
        run_ptr[e + 1] = (uint32_t)runs;
    }
    g->a.n_steps = steps;
    g->a.n_values = values;
    g->a.run_ptr = run_ptr;
    g->a.run_first = first;
    g->a.value_ptr = value_ptr;
}

static void turn_rows(graph *g) {
    int64_t n = g->a.n_entries, *ptr = get(COLUMNS + 2, sizeof *ptr);
    int32_t *col = get((size_t)n + 1, sizeof *col);
    g->place = get((size_t)n + 1, sizeof *g->place);
    for (int64_t e = 0; e < n; e++)
        ptr[g->a.col[e] + 2]++;
    for (int64_t u = 0; u < COLUMNS; u++)
        ptr[u + 2] += ptr[u + 1];
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t e = g->a.row_ptr[v]; e < g->a.row_ptr[v + 1]; e++) {
            g->place[e] = ptr[g->a.col[e] + 1]++;
            col[g->place[e]] = (int32_t)v;
        }
    g->at = (flip_csr){.n_rows = COLUMNS,
                       .n_cols = ROWS,
                       .n_own = ROWS,
                       .n_steps = 1,
                       .n_entries = n,
                       .n_values = n,
                       .row_ptr = ptr,
                       .col = col};
}

static graph draw_graph(const edge_case *c) {
    graph g;
    draw_rows(&g);
    turn_rows(&g);
    if (c->dynamic) draw_lives(&g, c->steps);
    return g;
}

static void free_graph(graph *g) {
    RELEASE((void *)g->a.row_ptr, (void *)g->a.col, (void *)g->a.run_ptr, (void *)g->a.run_first,
            (void *)g->a.value_ptr, (void *)g->at.row_ptr, (void *)g->at.col, g->place);
}

static flip_heads heads_of(const edge_case *c) {
    int64_t *key = get((size_t)(ROWS * c->steps), sizeof *key);
    for (int64_t i = 0; i < (int64_t)ROWS * c->steps; i++)
        key[i] = i * 7 + 1;
    return (flip_heads){.steps = c->steps,
                        .heads = c->heads,
                        .d = c->d,
                        .dropout = c->dropout,
                        .seed = 51,
                        .draw = 52,
                        .key = key,
                        .count = get((size_t)(ROWS * c->steps), sizeof(int32_t))};
}

static void run_attention(const flip_kernels *table, const void *of, outputs *out) {
    const edge_case *c = of;
    graph g = draw_graph(c);
    flip_heads h = heads_of(c);
    int64_t scores = (int64_t)c->steps * c->heads, width = scores * c->d, e = g.a.n_entries;
    int64_t vector = (int64_t)c->heads * c->d;
    flip_real *x = noise(OWN * width, 61), *halo = noise(HALO * width, 62);
    flip_real *a_src = noise(vector, 63), *a_dst = noise(vector, 64), *dy = noise(ROWS * width, 65);
    flip_real *src = get((size_t)(COLUMNS * scores), sizeof *src), *y = noise(ROWS * width, 66);
    flip_real *dst = get((size_t)(ROWS * scores), sizeof *dst), *alpha = noise(e * scores, 67);
    flip_real *room = get((size_t)(2 * ROWS * scores), sizeof *room);
    flip_real *ds_t = noise(e * scores, 68), *alpha_t = noise(e * scores, 69);
    flip_real *dst_sum = noise(ROWS * scores, 70), *src_sum = noise(COLUMNS * scores, 71);
    flip_real *dx = noise(COLUMNS * width, 72);
    double *vectors = noise_double(vector, 73);
    double *parts = get(flip_room(ROWS, vector) + 1, sizeof *parts);
    CALL(table, head_dots, OWN * scores, c->heads, c->d, a_src, x, src);
    CALL(table, head_dots, HALO * scores, c->heads, c->d, a_src, halo, src + OWN * scores);
    CALL(table, head_dots, ROWS * scores, c->heads, c->d, a_dst, x, dst);
    keep(out, "src", src, COLUMNS * scores);
    CALL(table, attention, &g.a, &h, src, dst, x, halo, alpha, y, room);
    keep(out, "alpha", alpha, e * scores);
    keep(out, "y", y, ROWS * width);
    CALL(table, attention_back, &g.a, &h, src, dst, x, halo, alpha, dy, g.place, ds_t, alpha_t,
         dst_sum, room);
    keep(out, "ds", ds_t, e * scores);
    keep(out, "alpha transposed", alpha_t, e * scores);
    keep(out, "dst_sum", dst_sum, ROWS * scores);
    CALL(table, attention_pull, &g.at, &h, dy, ds_t, alpha_t, a_src, src_sum, a_dst, dst_sum,
         ROWS - 4, dx, c->accumulate);
    keep(out, "src_sum", src_sum, COLUMNS * scores);
    keep(out, "dx", dx, COLUMNS * width);
    CALL(table, head_gradients, ROWS, c->steps, c->heads, c->d, dst_sum, x, vectors, parts);
    keep_double(out, "da_dst", vectors, vector);
    free_graph(&g);
    RELEASE((void *)h.key, h.count, x, halo, a_src, a_dst, dy, src, y, dst, alpha, room, ds_t,
            alpha_t, dst_sum, src_sum, dx, vectors, parts);
}

/* The weights of a row sum to one at a step and head that has an entry, and what dropout keeps of
 * them is what flip_dropout_keep says. */
static void weights_of_rows(const edge_case *c) {
    outputs out = {0};
    graph g = draw_graph(c);
    run_attention(list[0], c, &out);
    const double *alpha = out.value[1], *kept = out.value[4];
    int64_t scores = (int64_t)c->steps * c->heads;
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t i = 0; i < scores; i++) {
            double sum = 0;
            int64_t t = i / c->heads, count = 0, alive = 0;
            for (int64_t e = g.a.row_ptr[v]; e < g.a.row_ptr[v + 1]; e++) {
                double weight = alpha[e * scores + i], left = kept[g.place[e] * scores + i];
                bool keeps = c->dropout == 0 ||
                             flip_dropout_keep(51, 52, (v * c->steps + t) * 7 + 1, FLIP_WEIGHT_KEYS,
                                               count * c->heads + i % c->heads, c->dropout);
                double want = keeps ? weight / (1 - c->dropout) : 0;
                if (fabs(left - want) > 8 * ROUNDING)
                    fail_msg("row %lld, score %lld: %.9g is kept, expected %.9g", (long long)v,
                             (long long)i, left, want);
                sum += weight;
                count += weight > 0;
                alive += weight > 0;
            }
            assert_true(alive == 0 ? sum == 0 : fabs(sum - 1) < 200 * ROUNDING);
            if (!c->dynamic) assert_true(alive == g.a.row_ptr[v + 1] - g.a.row_ptr[v]);
        }
    free_graph(&g);
    free_outputs(&out);
}

static void attends(void **state) {
    (void)state;
    static const edge_case cases[] = {
        {1, 1, 1, false, false, 0},  {1, 1, 64, false, true, 0.4},  {1, 8, 8, false, false, 0.6},
        {1, 3, 7, false, true, 0.5}, {3, 2, 5, false, false, 0},    {4, 2, 16, true, true, 0.3},
        {5, 8, 3, true, false, 0.5}, {2, 40, 2, true, false, 0.25}, {1, 2, 50, false, false, 0.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        every_table(run_attention, &cases[i], NULL); /* t500 has plain loops and differences */
        weights_of_rows(&cases[i]);
    }
}

static void run_pool(const flip_kernels *table, const void *of, outputs *out) {
    const edge_case *c = of;
    graph g = draw_graph(c);
    int32_t dim = c->heads * c->d;
    int64_t width = (int64_t)c->steps * dim, e = g.a.n_entries;
    flip_real *x = noise(OWN * width, 81), *halo = noise(HALO * width, 82);
    flip_real *y = noise(ROWS * width, 83), *dy = noise(ROWS * width, 84);
    flip_real *dx = noise(COLUMNS * width, 85), *dw = noise(e, 86), *w = noise(e, 87);
    flip_real *turned = get((size_t)e, sizeof *turned), *mean = noise(OWN * c->steps * c->d, 88);
    int32_t *from = get((size_t)(ROWS * width), sizeof *from), *rows = get(ROWS, sizeof *rows);
    for (int32_t v = 0; v < ROWS; v++)
        rows[v] = (v * 7 + 5) % ROWS;
    for (int64_t i = 0; i < OWN * width; i++) /* some attain the maximum together */
        x[i] = (flip_real)(round((double)x[i] * 8) / 8);
    CALL(table, max_pool, &g.a, rows, 20, c->steps, dim, y, from, x, halo);
    CALL(table, max_pool, &g.a, rows + 20, ROWS - 20, c->steps, dim, y, from, x, halo);
    keep(out, "max", y, ROWS * width);
    double *who = add_output(out, "from", ROWS * width);
    for (int64_t i = 0; i < ROWS * width; i++)
        who[i] = from[i];
    CALL(table, max_pool_back, &g.at, 0, width, dy, from, dx, c->accumulate);
    keep(out, "dx", dx, COLUMNS * width);
    CALL(table, entry_dots, &g.a, width, dy, x, halo, dw, c->accumulate);
    keep(out, "dw", dw, e);
    CALL(table, place_values, e, g.place, w, turned);
    keep(out, "placed", turned, e);
    CALL(table, head_mean, (int64_t)OWN * c->steps, c->heads, c->d, x, mean);
    keep(out, "mean", mean, (int64_t)OWN * c->steps * c->d);
    CALL(table, head_mean_back, (int64_t)OWN * c->steps, c->heads, c->d, mean, dx, c->accumulate);
    keep(out, "mean back", dx, OWN * width);
    free_graph(&g);
    RELEASE(x, halo, y, dy, dx, dw, w, turned, mean, from, rows);
}

static void pools(void **state) {
    (void)state;
    static const edge_case cases[] = {{1, 1, 1, false, false, 0},
                                      {1, 1, 33, false, true, 0},
                                      {3, 2, 20, false, false, 0},
                                      {4, 3, 3, true, true, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        every_table(run_pool, &cases[i], NULL); /* t500 has plain loops */
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms),
        cmocka_unit_test(evolve),
        cmocka_unit_test(attends),
        cmocka_unit_test(pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
