/* What EvolveGCN's operators need beside products and cells (Pareja et al. 2020, section 3), in
 * plain C: the definition. */
#include "kernels/internal.h"

#include <omp.h>
#include <tgmath.h>

/* ---- the matrix GRU: its reset gate acts before the product ---- */

static flip_real logistic(flip_real x) {
    return 1 / (1 + exp(-x));
}

static void reset_gru_open(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                           flip_real *reset) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *g = gates + i * 3 * n;
        for (int64_t j = 0; j < 2 * n; j++)
            g[j] = logistic(g[j]);
        for (int64_t j = 0; j < n; j++)
            reset[i * n + j] = g[j] * h[i * n + j];
    }
}

static void reset_gru_close(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                            flip_real *next) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            flip_real *g = gates + i * 3 * n + j, c = tanh(g[2 * n]);
            g[2 * n] = c;
            next[i * n + j] = (1 - g[n]) * h[i * n + j] + g[n] * c;
        }
}

static void reset_gru_close_back(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                 flip_real *dh, flip_real *reset) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            flip_real *g = gates + i * 3 * n + j, z = g[n], c = g[2 * n], slope = dh[i * n + j];
            reset[i * n + j] = g[0] * h[i * n + j];
            g[n] = slope * (c - h[i * n + j]) * z * (1 - z);
            g[2 * n] = slope * z * (1 - c * c);
            dh[i * n + j] = slope * (1 - z);
        }
}

static void reset_gru_open_back(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                const flip_real *d, flip_real *dh) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            flip_real *g = gates + i * 3 * n + j, gate = g[0], slope = d[i * n + j];
            g[0] = slope * h[i * n + j] * gate * (1 - gate);
            dh[i * n + j] += slope * gate;
        }
}

static void turn_sum(int64_t rows, int64_t cols, int64_t steps, const flip_real *x, double *g) {
    enum { SOME = 64 };
    for (int64_t i = 0; i < rows; i++)
        for (int64_t first = 0; first < cols; first += SOME) {
            double sum[SOME] = {0};
            int64_t n = flip_min64(SOME, cols - first);
            for (int64_t t = 0; t < steps; t++)
                for (int64_t j = 0; j < n; j++)
                    sum[j] += (double)x[(t * rows + i) * cols + first + j];
            for (int64_t j = 0; j < n; j++)
                g[(first + j) * rows + i] += sum[j];
        }
}

/* ---- the summary by the best scores ---- */

static void unit_vector(int64_t n, const flip_real *p, double *unit) {
    double norm = 0;
    for (int64_t j = 0; j < n; j++)
        norm += (double)p[j] * (double)p[j];
    norm = sqrt(norm);
    for (int64_t j = 0; j < n; j++)
        unit[j] = (double)p[j] / norm;
    unit[n] = norm;
}

static double dot(int64_t n, const flip_real *x, const double *p) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += (double)x[j] * p[j];
    return sum;
}

/* In a team already, no other is made: some dozens of rows are not worth it. */
static void row_dots(int64_t m, int64_t n, const flip_real *x, const double *p, double *s) {
    if (omp_in_parallel()) {
        for (int64_t i = 0; i < m; i++)
            s[i] = dot(n, x + i * n, p);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        s[i] = dot(n, x + i * n, p);
}

static void topk_take(int64_t steps, int64_t k, int64_t f, const int32_t *row, const double *score,
                      const flip_real *x, flip_real *values, double *summary) {
    for (int64_t i = 0; i < steps * k; i++) {
        int64_t t = i / k;
        double bent = tanh(score[i]);
        if (row[i] < 0) continue;
        const flip_real *from = x + (row[i] * steps + t) * f;
        memcpy(values + i * f, from, (size_t)f * sizeof *from);
        for (int64_t j = 0; j < f; j++)
            summary[t * f * k + j * k + i % k] = (double)from[j] * bent;
    }
}

/* One choice; returns a. */
static double chosen_back(int64_t f, int64_t k, const flip_real *x, double y, const double *g,
                          const double *unit, flip_real *dx) {
    double bent = tanh(y), a = 0;
    for (int64_t j = 0; j < f; j++)
        a += g[j * k] * (double)x[j];
    a *= 1 - bent * bent;
    for (int64_t j = 0; dx && j < f; j++)
        dx[j] += (flip_real)(g[j * k] * bent + a * unit[j]);
    return a;
}

static void topk_back(int64_t steps, int64_t k, int64_t f, const int32_t *row, const double *score,
                      const flip_real *values, const double *up, const double *unit, flip_real *dx,
                      double *dp, double *room) {
    (void)room;
    for (int64_t i = 0; i < steps * k; i++) {
        int64_t t = i / k;
        if (row[i] < 0) continue;
        const flip_real *x = values + i * f;
        double a = chosen_back(f, k, x, score[i], up + t * f * k + i % k, unit,
                               dx ? dx + (row[i] * steps + t) * f : NULL);
        for (int64_t j = 0; j < f; j++)
            dp[j] += a * ((double)x[j] - score[i] * unit[j]) / unit[f];
    }
}

void flip_kernels_use_evolve(flip_kernels *table) {
    table->reset_gru_open = reset_gru_open;
    table->reset_gru_close = reset_gru_close;
    table->reset_gru_close_back = reset_gru_close_back;
    table->reset_gru_open_back = reset_gru_open_back;
    table->turn_sum = turn_sum;
    table->unit_vector = unit_vector;
    table->row_dots = row_dots;
    table->topk_take = topk_take;
    table->topk_back = topk_back;
}
