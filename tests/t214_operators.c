/* Norms and EvolveGCN's kernels: every table against the definition, twice with the same bits, and
 * the definition against plain loops in double. */
#include "outputs.h"

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

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms),
        cmocka_unit_test(evolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
