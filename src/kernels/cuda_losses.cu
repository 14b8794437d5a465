/* Losses and what acts element by element behind the layers, on the GPU. Sums are taken in double:
 * a block's rows by a fixed tree, the blocks' sums by another. */
#include "kernels/cuda.h"

enum { THREADS = 256, ROWS = 1024, VALUES = 2048 };

struct pair_of_sums {
    double top, bottom;
};

static double *scratch(size_t values) {
    return static_cast<double *>(flip_cuda_scratch(values * sizeof(double)));
}

/* The block's sums of one value a thread; all threads call it, thread 0 has the result. */
__device__ static pair_of_sums block_sum(pair_of_sums mine) {
    __shared__ double top[THREADS], bottom[THREADS];
    const unsigned t = threadIdx.x;
    top[t] = mine.top;
    bottom[t] = mine.bottom;
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) {
            top[t] += top[t + half];
            bottom[t] += bottom[t + half];
        }
        __syncthreads();
    }
    return {top[0], bottom[0]};
}

/* sums (+)= the sums of n pairs, by one block. */
__global__ static void finish_kernel(int64_t n, const double *partial, double *sums, int width,
                                     bool accumulate) {
    pair_of_sums mine = {0, 0};
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        mine.top += partial[i * width];
        if (width == 2) mine.bottom += partial[i * width + 1];
    }
    pair_of_sums all = block_sum(mine);
    if (threadIdx.x > 0) return;
    sums[0] = accumulate ? sums[0] + all.top : all.top;
    if (width == 2) sums[1] = all.bottom;
}

/* Blocks of ROWS rows; `term` gives a row's pair. */
template <typename row_term>
__global__ static void sum_rows_kernel(int64_t m, row_term term, double *partial) {
    const int64_t blocks = (m + ROWS - 1) / ROWS;
    for (int64_t b = blockIdx.x; b < blocks; b += gridDim.x) {
        pair_of_sums mine = {0, 0};
        for (int64_t i = b * ROWS + threadIdx.x; i < m && i < (b + 1) * ROWS; i += THREADS) {
            pair_of_sums one = term(i);
            mine.top += one.top;
            mine.bottom += one.bottom;
        }
        pair_of_sums all = block_sum(mine);
        if (threadIdx.x == 0) {
            partial[2 * b] = all.top;
            partial[2 * b + 1] = all.bottom;
        }
        __syncthreads();
    }
}

template <typename row_term> static void sum_rows(int64_t m, row_term term, double *sums) {
    const int64_t blocks = (m + ROWS - 1) / ROWS;
    double *partial = scratch(2 * (size_t)blocks + 2);
    if (!partial) return;
    FLIP_LAUNCH(sum_rows_kernel<row_term>, flip_cuda_blocks(m, ROWS), THREADS, 0, m, term, partial);
    FLIP_LAUNCH(finish_kernel, 1, THREADS, 0, blocks, partial, sums, 2, false);
}

__device__ static bool counted(const flip_loss_rows &rows, int64_t i) {
    return rows.label[i] >= 0 && (!rows.mask || rows.mask[i]);
}

__device__ static double weight_of(const flip_loss_rows &rows, int64_t i) {
    if (!counted(rows, i)) return 0;
    return rows.class_weight ? rows.class_weight[rows.label[i]] : 1;
}

struct entropy_term {
    int64_t n;
    const flip_real *x;
    const double *log_sum_exp;
    flip_loss_rows rows;
    __device__ pair_of_sums operator()(int64_t i) const {
        if (!counted(rows, i)) return {0, 0};
        double w = weight_of(rows, i);
        return {w * (log_sum_exp[i] - (double)x[i * n + rows.label[i]]), rows.sample_mean ? 1 : w};
    }
};

static void cross_entropy(int64_t m, int64_t n, const flip_real *x, const double *log_sum_exp,
                          const flip_loss_rows *rows, double *sums) {
    sum_rows(m, entropy_term{n, x, log_sum_exp, *rows}, sums);
}

__global__ static void entropy_gradient_kernel(int64_t m, int64_t n, flip_real *softmax,
                                               flip_loss_rows rows, double scale) {
    FLIP_EACH(at, m * n) {
        int64_t i = at / n, j = at % n;
        flip_real w = (flip_real)(weight_of(rows, i) * scale);
        flip_real slope = rows.label[i] == j ? softmax[at] - 1 : softmax[at];
        softmax[at] = counted(rows, i) ? slope * w : 0;
    }
}

static void cross_entropy_gradient(int64_t m, int64_t n, flip_real *softmax,
                                   const flip_loss_rows *rows, double scale) {
    FLIP_LAUNCH_EACH(entropy_gradient_kernel, m * n, m, n, softmax, *rows, scale);
}

struct binary_term {
    const flip_real *x;
    flip_loss_rows rows;
    __device__ pair_of_sums operator()(int64_t i) const {
        if (!counted(rows, i)) return {0, 0};
        double s = (double)x[i], w = weight_of(rows, i);
        double value = fmax(s, 0.0) - s * rows.label[i] + log1p(exp(-fabs(s)));
        return {w * value, rows.sample_mean ? 1 : w};
    }
};

static void binary(int64_t m, const flip_real *x, const flip_loss_rows *rows, double *sums) {
    sum_rows(m, binary_term{x, *rows}, sums);
}

__global__ static void binary_gradient_kernel(int64_t m, const flip_real *x, flip_loss_rows rows,
                                              double scale, flip_real *dx, bool accumulate) {
    FLIP_EACH(i, m) {
        double s = (double)x[i], e = exp(-fabs(s));
        double sigmoid = s >= 0 ? 1 / (1 + e) : e / (1 + e);
        double ds = counted(rows, i) ? weight_of(rows, i) * scale * (sigmoid - rows.label[i]) : 0;
        dx[i] = (accumulate ? dx[i] : 0) + (flip_real)ds;
    }
}

static void binary_gradient(int64_t m, const flip_real *x, const flip_loss_rows *rows, double scale,
                            flip_real *dx, bool accumulate) {
    FLIP_LAUNCH_EACH(binary_gradient_kernel, m, m, x, *rows, scale, dx, accumulate);
}

struct error_term {
    int64_t n;
    const flip_real *x, *target;
    const uint8_t *mask;
    __device__ pair_of_sums operator()(int64_t i) const {
        pair_of_sums sum = {0, 0};
        if (mask && !mask[i]) return sum;
        for (int64_t j = i * n; j < (i + 1) * n; j++) {
            double goal = (double)target[j], error = (double)x[j] - goal;
            if (isnan(goal)) continue;
            sum.top += error * error;
            sum.bottom += 1;
        }
        return sum;
    }
};

static void squared_error(int64_t m, int64_t n, const flip_real *x, const flip_real *target,
                          const uint8_t *mask, double *sums) {
    sum_rows(m, error_term{n, x, target, mask}, sums);
}

__global__ static void error_gradient_kernel(int64_t m, int64_t n, const flip_real *x,
                                             const flip_real *target, const uint8_t *mask,
                                             double scale, flip_real *dx, bool accumulate) {
    FLIP_EACH(at, m * n) {
        bool none = (mask && !mask[at / n]) || isnan((double)target[at]);
        double d = none ? 0 : scale * ((double)x[at] - (double)target[at]);
        dx[at] = (accumulate ? dx[at] : 0) + (flip_real)d;
    }
}

static void squared_error_gradient(int64_t m, int64_t n, const flip_real *x,
                                   const flip_real *target, const uint8_t *mask, double scale,
                                   flip_real *dx, bool accumulate) {
    FLIP_LAUNCH_EACH(error_gradient_kernel, m * n, m, n, x, target, mask, scale, dx, accumulate);
}

struct inner_term {
    int64_t n;
    const flip_real *x, *weight;
    __device__ pair_of_sums operator()(int64_t i) const {
        pair_of_sums sum = {0, 0};
        for (int64_t j = i * n; j < (i + 1) * n; j++)
            sum.top += (double)weight[j] * (double)x[j];
        return sum;
    }
};

static void inner(int64_t m, int64_t n, const flip_real *x, const flip_real *weight, double *sums) {
    sum_rows(m, inner_term{n, x, weight}, sums);
}

/* ---- element by element ---- */

__global__ static void elu_kernel(int64_t n, flip_real *y) {
    FLIP_EACH(i, n) if (!(y[i] > 0)) y[i] = expm1(y[i]);
}

static void elu(int64_t n, flip_real *y) {
    FLIP_LAUNCH_EACH(elu_kernel, n, n, y);
}

__global__ static void elu_gradient_kernel(int64_t n, flip_real *dy, const flip_real *y) {
    FLIP_EACH(i, n) if (!(y[i] > 0)) dy[i] *= y[i] + 1;
}

static void elu_gradient(int64_t n, flip_real *dy, const flip_real *y) {
    FLIP_LAUNCH_EACH(elu_gradient_kernel, n, n, dy, y);
}

__global__ static void mask_bytes_kernel(int64_t n, flip_real *x, const uint8_t *mask,
                                         flip_real scale) {
    FLIP_EACH(i, n) x[i] = mask[i] ? x[i] * scale : 0;
}

static void mask_bytes(int64_t n, flip_real *x, const uint8_t *mask, flip_real scale) {
    FLIP_LAUNCH_EACH(mask_bytes_kernel, n, n, x, mask, scale);
}

__global__ static void add_scaled_kernel(int64_t n, flip_real *y, const flip_real *x,
                                         const flip_real *e, bool accumulate) {
    const flip_real scale = 1 + *e;
    FLIP_EACH(i, n) y[i] = (accumulate ? y[i] : 0) + scale * x[i];
}

static void add_scaled(int64_t n, flip_real *y, const flip_real *x, const flip_real *e,
                       bool accumulate) {
    FLIP_LAUNCH_EACH(add_scaled_kernel, n, n, y, x, e, accumulate);
}

__global__ static void dot_kernel(int64_t n, const flip_real *x, const flip_real *y,
                                  double *partial) {
    const int64_t blocks = (n + VALUES - 1) / VALUES;
    for (int64_t b = blockIdx.x; b < blocks; b += gridDim.x) {
        pair_of_sums mine = {0, 0};
        for (int64_t i = b * VALUES + threadIdx.x; i < n && i < (b + 1) * VALUES; i += THREADS)
            mine.top += (double)x[i] * (double)y[i];
        pair_of_sums all = block_sum(mine);
        if (threadIdx.x == 0) partial[b] = all.top;
        __syncthreads();
    }
}

static void dot(int64_t n, const flip_real *x, const flip_real *y, double *sum) {
    const int64_t blocks = (n + VALUES - 1) / VALUES;
    double *partial = scratch((size_t)blocks + 1);
    if (!partial) return;
    FLIP_LAUNCH(dot_kernel, flip_cuda_blocks(n, VALUES), THREADS, 0, n, x, y, partial);
    FLIP_LAUNCH(finish_kernel, 1, THREADS, 0, blocks, partial, sum, 1, true);
}

__global__ static void sgd_kernel(int64_t n, flip_real *p, const double *g, flip_real *m,
                                  flip_sgd_step s) {
    FLIP_EACH(i, n) {
        double step =
            s.momentum * (double)m[i] + g[i] * s.grad_scale + s.weight_decay * (double)p[i];
        m[i] = (flip_real)step;
        p[i] = (flip_real)((double)p[i] - s.lr * step);
    }
}

static void sgd(int64_t n, flip_real *p, const double *g, flip_real *m, const flip_sgd_step *step) {
    FLIP_LAUNCH_EACH(sgd_kernel, n, n, p, g, m, *step);
}

void flip_use_cuda_losses(flip_kernels *table) {
    table->cross_entropy = cross_entropy;
    table->cross_entropy_gradient = cross_entropy_gradient;
    table->binary = binary;
    table->binary_gradient = binary_gradient;
    table->squared_error = squared_error;
    table->squared_error_gradient = squared_error_gradient;
    table->inner = inner;
    table->elu = elu;
    table->elu_gradient = elu_gradient;
    table->mask_bytes = mask_bytes;
    table->add_scaled = add_scaled;
    table->dot = dot;
    table->sgd = sgd;
}
