/* Norms in plain C: the definition. Layer norm (Ba et al. 2016), batch norm (Ioffe and Szegedy
 * 2015), rows of length 1. Variances divide by the count and have eps inside the root. */
#include "kernels/internal.h"

/* ---- layer norm ---- */

static void layer_norm(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                       const flip_real *gamma, const flip_real *beta, double eps, double *means,
                       double *rstds) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *row = x + i * n;
        double mean = 0, var = 0;
        for (int64_t j = 0; j < n; j++)
            mean += (double)row[j];
        mean /= (double)n;
        for (int64_t j = 0; j < n; j++)
            var += ((double)row[j] - mean) * ((double)row[j] - mean);
        double rstd = 1 / sqrt(var / (double)n + eps);
        means[i] = mean;
        rstds[i] = rstd;
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] = gamma[j] * (flip_real)(((double)row[j] - mean) * rstd) + beta[j];
    }
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma, means over the row */
static void layer_norm_back(int64_t m, int64_t n, flip_real *dx, const flip_real *x,
                            const flip_real *dy, const flip_real *gamma, const double *means,
                            const double *rstds, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *row = x + i * n, *slope = dy + i * n;
        flip_real *out = dx + i * n;
        double mean_g = 0, mean_gx = 0;
        for (int64_t j = 0; j < n; j++) {
            double g = (double)slope[j] * (double)gamma[j];
            mean_g += g;
            mean_gx += g * ((double)row[j] - means[i]) * rstds[i];
        }
        mean_g /= (double)n;
        mean_gx /= (double)n;
        for (int64_t j = 0; j < n; j++) {
            double g = (double)slope[j] * (double)gamma[j],
                   hat = ((double)row[j] - means[i]) * rstds[i];
            out[j] =
                (accumulate ? out[j] : 0) + (flip_real)(rstds[i] * (g - mean_g - hat * mean_gx));
        }
    }
}

/* ---- sums over rows, in fixed blocks of them ---- */

static void norm_gradients(int64_t m, int64_t n, const flip_real *x, const flip_real *dy,
                           bool by_row, const double *mean, const double *rstd, double *dgamma,
                           double *dbeta, double *room) {
    int64_t blocks = (m + FLIP_ROOM_ROWS - 1) / FLIP_ROOM_ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *gamma = room + b * 2 * n, *beta = gamma + n;
        memset(gamma, 0, (size_t)(2 * n) * sizeof(double));
        for (int64_t i = b * FLIP_ROOM_ROWS; i < m && i < (b + 1) * FLIP_ROOM_ROWS; i++)
            for (int64_t j = 0; j < n; j++) {
                int64_t s = by_row ? i : j;
                double slope = (double)dy[i * n + j];
                gamma[j] += slope * ((double)x[i * n + j] - mean[s]) * rstd[s];
                beta[j] += slope;
            }
    }
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < n; j++) {
            dgamma[j] += room[b * 2 * n + j];
            dbeta[j] += room[b * 2 * n + n + j];
        }
}

static void column_moments(int64_t m, int64_t n, const flip_real *x, const double *centre,
                           int power, double *sum, double *room) {
    int64_t blocks = (m + FLIP_ROOM_ROWS - 1) / FLIP_ROOM_ROWS;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *mine = room + b * n;
        memset(mine, 0, (size_t)n * sizeof(double));
        for (int64_t i = b * FLIP_ROOM_ROWS; i < m && i < (b + 1) * FLIP_ROOM_ROWS; i++)
            for (int64_t j = 0; j < n; j++) {
                double value = (double)x[i * n + j] - (centre ? centre[j] : 0);
                mine[j] += power == 1 ? value : value * value;
            }
    }
    memset(sum, 0, (size_t)n * sizeof(double));
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < n; j++)
            sum[j] += room[b * n + j];
}

/* ---- batch norm ---- */

static void batch_mean(int64_t n, double *mean, const double *sum, double count) {
    for (int64_t j = 0; j < n; j++)
        mean[j] = sum[j] / count;
}

static void batch_spread(int64_t n, double *rstd, const double *sum, const double *mean,
                         double count, double eps, double momentum, flip_real *running_mean,
                         flip_real *running_var) {
    double keep = 1 - momentum, unbiased = count > 1 ? count / (count - 1) : 1;
    for (int64_t j = 0; j < n; j++) {
        double var = sum[j] / count;
        rstd[j] = 1 / sqrt(var + eps);
        if (!running_mean) continue;
        running_mean[j] = (flip_real)(keep * (double)running_mean[j] + momentum * mean[j]);
        running_var[j] = (flip_real)(keep * (double)running_var[j] + momentum * var * unbiased);
    }
}

static void batch_given(int64_t n, double *mean, double *rstd, const flip_real *running_mean,
                        const flip_real *running_var, double eps) {
    for (int64_t j = 0; j < n; j++) {
        mean[j] = (double)running_mean[j];
        rstd[j] = 1 / sqrt((double)running_var[j] + eps);
    }
}

static void batch_norm(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                       const flip_real *gamma, const flip_real *beta, const double *mean,
                       const double *rstd) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] =
                gamma[j] * (flip_real)(((double)x[i * n + j] - mean[j]) * rstd[j]) + beta[j];
}

/* dx = gamma rstd (dy - mean(dy) - xhat mean(dy xhat)) */
static void batch_norm_back(int64_t m, int64_t n, flip_real *dx, const flip_real *x,
                            const flip_real *dy, const flip_real *gamma, const double *mean,
                            const double *rstd, const double *sum, double count, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double hat = ((double)x[i * n + j] - mean[j]) * rstd[j];
            double d = (double)gamma[j] * rstd[j] *
                       ((double)dy[i * n + j] - sum[n + j] / count - hat * sum[j] / count);
            dx[i * n + j] = (accumulate ? dx[i * n + j] : 0) + (flip_real)d;
        }
}

/* ---- rows of length 1 ---- */

static void unit_rows(int64_t m, int64_t n, flip_real *y, double *inverse) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        double square = 0;
        for (int64_t j = 0; j < n; j++)
            square += (double)y[i * n + j] * (double)y[i * n + j];
        inverse[i] = sqrt(square) > 1e-12 ? 1 / sqrt(square) : 0;
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] = (flip_real)((double)y[i * n + j] * inverse[i]);
    }
}

static void unit_rows_back(int64_t m, int64_t n, flip_real *dy, const flip_real *y,
                           const double *inverse) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        flip_real *slope = dy + i * n;
        const flip_real *row = y + i * n;
        double dot = 0;
        for (int64_t j = 0; j < n; j++)
            dot += (double)row[j] * (double)slope[j];
        for (int64_t j = 0; j < n; j++)
            slope[j] = (flip_real)(((double)slope[j] - (double)row[j] * dot) * inverse[i]);
    }
}

void flip_kernels_use_norms(flip_kernels *table) {
    table->layer_norm = layer_norm;
    table->layer_norm_back = layer_norm_back;
    table->norm_gradients = norm_gradients;
    table->column_moments = column_moments;
    table->batch_mean = batch_mean;
    table->batch_spread = batch_spread;
    table->batch_given = batch_given;
    table->batch_norm = batch_norm;
    table->batch_norm_back = batch_norm_back;
    table->unit_rows = unit_rows;
    table->unit_rows_back = unit_rows_back;
}
