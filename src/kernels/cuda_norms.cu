/* Norms on the GPU: norms.c is the definition. A warp has a row; sums over rows go by
 * flip_columns. */
#include "kernels/cuda_columns.h"

/* ---- layer norm ---- */

__global__ static void layer_norm_kernel(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                                         const flip_real *gamma, const flip_real *beta, double eps,
                                         double *means, double *rstds) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, m) {
        const flip_real *row = x + i * n;
        double mean = 0, var = 0;
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            mean += (double)row[j];
        mean = flip_lanes_sum(mean) / (double)n;
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            var += ((double)row[j] - mean) * ((double)row[j] - mean);
        const double rstd = 1 / sqrt(flip_lanes_sum(var) / (double)n + eps);
        if (lane == 0) {
            means[i] = mean;
            rstds[i] = rstd;
        }
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            y[i * n + j] = gamma[j] * (flip_real)(((double)row[j] - mean) * rstd) + beta[j];
    }
}

static void layer_norm(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                       const flip_real *gamma, const flip_real *beta, double eps, double *mean,
                       double *rstd) {
    FLIP_LAUNCH_WARPS(layer_norm_kernel, m, m, n, y, x, gamma, beta, eps, mean, rstd);
}

__global__ static void layer_norm_back_kernel(int64_t m, int64_t n, flip_real *dx,
                                              const flip_real *x, const flip_real *dy,
                                              const flip_real *gamma, const double *means,
                                              const double *rstds, bool accumulate) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, m) {
        const flip_real *row = x + i * n, *slope = dy + i * n;
        flip_real *out = dx + i * n;
        const double mean = means[i], rstd = rstds[i];
        double mean_g = 0, mean_gx = 0;
        for (int64_t j = lane; j < n; j += FLIP_WARP) {
            double g = (double)slope[j] * (double)gamma[j];
            mean_g += g;
            mean_gx += g * ((double)row[j] - mean) * rstd;
        }
        mean_g = flip_lanes_sum(mean_g) / (double)n;
        mean_gx = flip_lanes_sum(mean_gx) / (double)n;
        for (int64_t j = lane; j < n; j += FLIP_WARP) {
            double g = (double)slope[j] * (double)gamma[j], hat = ((double)row[j] - mean) * rstd;
            out[j] = (accumulate ? out[j] : 0) + (flip_real)(rstd * (g - mean_g - hat * mean_gx));
        }
    }
}

static void layer_norm_back(int64_t m, int64_t n, flip_real *dx, const flip_real *x,
                            const flip_real *dy, const flip_real *gamma, const double *mean,
                            const double *rstd, bool accumulate) {
    FLIP_LAUNCH_WARPS(layer_norm_back_kernel, m, m, n, dx, x, dy, gamma, mean, rstd, accumulate);
}

/* ---- sums over rows ---- */

struct affine_term {
    int64_t n;
    const flip_real *x, *dy;
    const double *mean, *rstd;
    bool by_row;
    __device__ void operator()(int64_t i, int64_t j, double *sums) const {
        const int64_t s = by_row ? i : j;
        const double slope = (double)dy[i * n + j];
        sums[0] += slope * ((double)x[i * n + j] - mean[s]) * rstd[s];
        sums[1] += slope;
    }
};

/* dgamma and dbeta += the blocks' [2, n] */
__global__ static void affine_sums_kernel(int64_t blocks, int64_t n, const double *room,
                                          double *dgamma, double *dbeta) {
    FLIP_EACH(at, 2 * n) {
        double *to = at < n ? dgamma + at : dbeta + (at - n);
        double total = *to;
        for (int64_t b = 0; b < blocks; b++)
            total += room[b * 2 * n + at];
        *to = total;
    }
}

static void norm_gradients(int64_t m, int64_t n, const flip_real *x, const flip_real *dy,
                           bool by_row, const double *mean, const double *rstd, double *dgamma,
                           double *dbeta, double *room) {
    const affine_term term = {n, x, dy, mean, rstd, by_row};
    flip_columns<2>(m, n, FLIP_ROOM_ROWS, term, room);
    FLIP_LAUNCH(affine_sums_kernel, flip_cuda_blocks(2 * n, FLIP_WARP), FLIP_WARP, 0,
                (int64_t)flip_room(m, 1), n, room, dgamma, dbeta);
}

struct moment_term {
    int64_t n;
    const flip_real *x;
    const double *centre;
    int power;
    __device__ void operator()(int64_t i, int64_t j, double *sums) const {
        const double value = (double)x[i * n + j] - (centre ? centre[j] : 0);
        sums[0] += power == 1 ? value : value * value;
    }
};

static void column_moments(int64_t m, int64_t n, const flip_real *x, const double *centre,
                           int power, double *sum, double *room) {
    const moment_term term = {n, x, centre, power};
    flip_columns<1>(m, n, FLIP_ROOM_ROWS, term, room);
    FLIP_LAUNCH(flip_column_sums_kernel, flip_cuda_blocks(n, FLIP_WARP), FLIP_WARP, 0,
                (int64_t)flip_room(m, 1), n, room, sum, false);
}

/* ---- batch norm ---- */

__global__ static void batch_mean_kernel(int64_t n, double *mean, const double *sum, double count) {
    FLIP_EACH(j, n) mean[j] = sum[j] / count;
}

static void batch_mean(int64_t n, double *mean, const double *sum, double count) {
    FLIP_LAUNCH(batch_mean_kernel, flip_cuda_blocks(n, FLIP_WARP), FLIP_WARP, 0, n, mean, sum,
                count);
}

__global__ static void batch_spread_kernel(int64_t n, double *rstd, const double *sum,
                                           const double *mean, double count, double eps,
                                           double momentum, flip_real *running_mean,
                                           flip_real *running_var) {
    const double keep = 1 - momentum, unbiased = count > 1 ? count / (count - 1) : 1;
    FLIP_EACH(j, n) {
        const double var = sum[j] / count;
        rstd[j] = 1 / sqrt(var + eps);
        if (!running_mean) continue;
        running_mean[j] = (flip_real)(keep * (double)running_mean[j] + momentum * mean[j]);
        running_var[j] = (flip_real)(keep * (double)running_var[j] + momentum * var * unbiased);
    }
}

static void batch_spread(int64_t n, double *rstd, const double *sum, const double *mean,
                         double count, double eps, double momentum, flip_real *running_mean,
                         flip_real *running_var) {
    FLIP_LAUNCH(batch_spread_kernel, flip_cuda_blocks(n, FLIP_WARP), FLIP_WARP, 0, n, rstd, sum,
                mean, count, eps, momentum, running_mean, running_var);
}

__global__ static void batch_given_kernel(int64_t n, double *mean, double *rstd,
                                          const flip_real *running_mean,
                                          const flip_real *running_var, double eps) {
    FLIP_EACH(j, n) {
        mean[j] = (double)running_mean[j];
        rstd[j] = 1 / sqrt((double)running_var[j] + eps);
    }
}

static void batch_given(int64_t n, double *mean, double *rstd, const flip_real *running_mean,
                        const flip_real *running_var, double eps) {
    FLIP_LAUNCH(batch_given_kernel, flip_cuda_blocks(n, FLIP_WARP), FLIP_WARP, 0, n, mean, rstd,
                running_mean, running_var, eps);
}

__global__ static void batch_norm_kernel(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                                         const flip_real *gamma, const flip_real *beta,
                                         const double *mean, const double *rstd) {
    FLIP_EACH(at, m * n) {
        const int64_t j = at % n;
        y[at] = gamma[j] * (flip_real)(((double)x[at] - mean[j]) * rstd[j]) + beta[j];
    }
}

static void batch_norm(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                       const flip_real *gamma, const flip_real *beta, const double *mean,
                       const double *rstd) {
    FLIP_LAUNCH_EACH(batch_norm_kernel, m * n, m, n, y, x, gamma, beta, mean, rstd);
}

__global__ static void batch_norm_back_kernel(int64_t m, int64_t n, flip_real *dx,
                                              const flip_real *x, const flip_real *dy,
                                              const flip_real *gamma, const double *mean,
                                              const double *rstd, const double *sum, double count,
                                              bool accumulate) {
    FLIP_EACH(at, m * n) {
        const int64_t j = at % n;
        const double hat = ((double)x[at] - mean[j]) * rstd[j];
        const double d = (double)gamma[j] * rstd[j] *
                         ((double)dy[at] - sum[n + j] / count - hat * sum[j] / count);
        dx[at] = (accumulate ? dx[at] : 0) + (flip_real)d;
    }
}

static void batch_norm_back(int64_t m, int64_t n, flip_real *dx, const flip_real *x,
                            const flip_real *dy, const flip_real *gamma, const double *mean,
                            const double *rstd, const double *sum, double count, bool accumulate) {
    FLIP_LAUNCH_EACH(batch_norm_back_kernel, m * n, m, n, dx, x, dy, gamma, mean, rstd, sum, count,
                     accumulate);
}

/* ---- rows of length 1 ---- */

__global__ static void unit_rows_kernel(int64_t m, int64_t n, flip_real *y, double *inverses) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, m) {
        flip_real *row = y + i * n;
        double square = 0;
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            square += (double)row[j] * (double)row[j];
        square = flip_lanes_sum(square);
        const double inverse = sqrt(square) > 1e-12 ? 1 / sqrt(square) : 0;
        if (lane == 0) inverses[i] = inverse;
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            row[j] = (flip_real)((double)row[j] * inverse);
    }
}

static void unit_rows(int64_t m, int64_t n, flip_real *y, double *inverse) {
    FLIP_LAUNCH_WARPS(unit_rows_kernel, m, m, n, y, inverse);
}

__global__ static void unit_rows_back_kernel(int64_t m, int64_t n, flip_real *dy,
                                             const flip_real *y, const double *inverse) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, m) {
        flip_real *slope = dy + i * n;
        const flip_real *row = y + i * n;
        double dot = 0;
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            dot += (double)row[j] * (double)slope[j];
        dot = flip_lanes_sum(dot);
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            slope[j] = (flip_real)(((double)slope[j] - (double)row[j] * dot) * inverse[i]);
    }
}

static void unit_rows_back(int64_t m, int64_t n, flip_real *dy, const flip_real *y,
                           const double *inverse) {
    FLIP_LAUNCH_WARPS(unit_rows_back_kernel, m, m, n, dy, y, inverse);
}

void flip_use_cuda_norms(flip_kernels *table) {
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
