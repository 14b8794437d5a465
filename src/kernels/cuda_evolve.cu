/* EvolveGCN's kernels on the GPU: evolve.c is the definition. */
#include "kernels/cuda_warp.h"

/* ---- the matrix GRU ---- */

__global__ static void open_kernel(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                   flip_real *reset) {
    FLIP_EACH(at, m * n) {
        flip_real *g = gates + at / n * 3 * n + at % n;
        g[0] = flip_logistic(g[0]);
        g[n] = flip_logistic(g[n]);
        reset[at] = g[0] * h[at];
    }
}

static void reset_gru_open(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                           flip_real *reset) {
    FLIP_LAUNCH_EACH(open_kernel, m * n, m, n, gates, h, reset);
}

__global__ static void close_kernel(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                    flip_real *next) {
    FLIP_EACH(at, m * n) {
        flip_real *g = gates + at / n * 3 * n + at % n;
        const flip_real c = tanh(g[2 * n]);
        g[2 * n] = c;
        next[at] = (1 - g[n]) * h[at] + g[n] * c;
    }
}

static void reset_gru_close(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                            flip_real *next) {
    FLIP_LAUNCH_EACH(close_kernel, m * n, m, n, gates, h, next);
}

__global__ static void close_back_kernel(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                         flip_real *dh, flip_real *reset) {
    FLIP_EACH(at, m * n) {
        flip_real *g = gates + at / n * 3 * n + at % n;
        const flip_real z = g[n], c = g[2 * n], slope = dh[at];
        reset[at] = g[0] * h[at];
        g[n] = slope * (c - h[at]) * z * (1 - z);
        g[2 * n] = slope * z * (1 - c * c);
        dh[at] = slope * (1 - z);
    }
}

static void reset_gru_close_back(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                 flip_real *dh, flip_real *reset) {
    FLIP_LAUNCH_EACH(close_back_kernel, m * n, m, n, gates, h, dh, reset);
}

__global__ static void open_back_kernel(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                        const flip_real *d, flip_real *dh) {
    FLIP_EACH(at, m * n) {
        flip_real *g = gates + at / n * 3 * n + at % n;
        const flip_real gate = g[0], slope = d[at];
        g[0] = slope * h[at] * gate * (1 - gate);
        dh[at] += slope * gate;
    }
}

static void reset_gru_open_back(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                const flip_real *d, flip_real *dh) {
    FLIP_LAUNCH_EACH(open_back_kernel, m * n, m, n, gates, h, d, dh);
}

__global__ static void turn_sum_kernel(int64_t rows, int64_t cols, int64_t steps,
                                       const flip_real *x, double *g) {
    FLIP_EACH(at, rows * cols) {
        double sum = 0;
        for (int64_t t = 0; t < steps; t++)
            sum += (double)x[t * rows * cols + at];
        g[at % cols * rows + at / cols] += sum;
    }
}

static void turn_sum(int64_t rows, int64_t cols, int64_t steps, const flip_real *x, double *g) {
    FLIP_LAUNCH_EACH(turn_sum_kernel, rows * cols, rows, cols, steps, x, g);
}

/* ---- the summary by the best scores ---- */

/* One warp. */
__global__ static void unit_kernel(int64_t n, const flip_real *p, double *unit) {
    const int lane = threadIdx.x;
    double norm = 0;
    for (int64_t j = lane; j < n; j += FLIP_WARP)
        norm += (double)p[j] * (double)p[j];
    norm = sqrt(flip_lanes_sum(norm));
    for (int64_t j = lane; j < n; j += FLIP_WARP)
        unit[j] = (double)p[j] / norm;
    if (lane == 0) unit[n] = norm;
}

static void unit_vector(int64_t n, const flip_real *p, double *unit) {
    FLIP_LAUNCH(unit_kernel, 1, FLIP_WARP, 0, n, p, unit);
}

__global__ static void row_dots_kernel(int64_t m, int64_t n, const flip_real *x, const double *p,
                                       double *s) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, m) {
        double sum = 0;
        for (int64_t j = lane; j < n; j += FLIP_WARP)
            sum += (double)x[i * n + j] * p[j];
        sum = flip_lanes_sum(sum);
        if (lane == 0) s[i] = sum;
    }
}

static void row_dots(int64_t m, int64_t n, const flip_real *x, const double *p, double *s) {
    FLIP_LAUNCH_WARPS(row_dots_kernel, m, m, n, x, p, s);
}

__global__ static void take_kernel(int64_t steps, int64_t k, int64_t f, const int32_t *row,
                                   const double *score, const flip_real *x, flip_real *values,
                                   double *summary) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, steps * k) {
        const int64_t t = i / k;
        if (row[i] < 0) continue;
        const double bent = tanh(score[i]);
        const flip_real *from = x + (row[i] * steps + t) * f;
        for (int64_t j = lane; j < f; j += FLIP_WARP) {
            values[i * f + j] = from[j];
            summary[t * f * k + j * k + i % k] = (double)from[j] * bent;
        }
    }
}

static void topk_take(int64_t steps, int64_t k, int64_t f, const int32_t *row, const double *score,
                      const flip_real *x, flip_real *values, double *summary) {
    FLIP_LAUNCH_WARPS(take_kernel, steps * k, steps, k, f, row, score, x, values, summary);
}

/* A warp has a choice: the rows of a step are distinct. */
__global__ static void chosen_kernel(int64_t steps, int64_t k, int64_t f, const int32_t *row,
                                     const double *score, const flip_real *values, const double *up,
                                     const double *unit, flip_real *dx, double *room) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, steps * k) {
        const int64_t t = i / k;
        if (row[i] < 0) continue;
        const double *g = up + t * f * k + i % k, bent = tanh(score[i]);
        double a = 0;
        for (int64_t j = lane; j < f; j += FLIP_WARP)
            a += g[j * k] * (double)values[i * f + j];
        a = flip_lanes_sum(a) * (1 - bent * bent);
        if (lane == 0) room[i] = a;
        flip_real *to = dx + (row[i] * steps + t) * f;
        for (int64_t j = lane; dx && j < f; j += FLIP_WARP)
            to[j] += (flip_real)(g[j * k] * bent + a * unit[j]);
    }
}

__global__ static void direction_kernel(int64_t choices, int64_t f, const int32_t *row,
                                        const double *score, const flip_real *values,
                                        const double *unit, const double *room, double *dp) {
    FLIP_EACH(j, f) {
        double sum = dp[j];
        for (int64_t i = 0; i < choices; i++)
            if (row[i] >= 0)
                sum += room[i] * ((double)values[i * f + j] - score[i] * unit[j]) / unit[f];
        dp[j] = sum;
    }
}

static void topk_back(int64_t steps, int64_t k, int64_t f, const int32_t *row, const double *score,
                      const flip_real *values, const double *up, const double *unit, flip_real *dx,
                      double *dp, double *room) {
    FLIP_LAUNCH_WARPS(chosen_kernel, steps * k, steps, k, f, row, score, values, up, unit, dx,
                      room);
    FLIP_LAUNCH(direction_kernel, flip_cuda_blocks(f, FLIP_WARP), FLIP_WARP, 0, steps * k, f, row,
                score, values, unit, room, dp);
}

void flip_use_cuda_evolve(flip_kernels *table) {
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
