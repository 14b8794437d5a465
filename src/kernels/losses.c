/* Losses, and what acts element by element behind the layers: the definition. Each row's term and
 * all sums are in double. */
#include "kernels/internal.h"

#include <tgmath.h>

enum { LOSS_BLOCK = 1024, SUM_BLOCK = 2048 }; /* rows; values */

/* A row's share of the two sums. */
typedef struct term {
    double top, bottom;
} term;

typedef struct loss {
    int64_t m, n;
    const flip_real *x, *other; /* target, weight */
    const double *log_sum_exp;
    const uint8_t *mask;
    const flip_loss_rows *rows;
    term (*of)(const struct loss *l, int64_t i);
} loss;

/* Blocks of rows side by side, their sums in ascending order. A wave of blocks at a time, so that
 * no memory is asked for. */
static void sum_rows(const loss *l, double *sums) {
    enum { WAVE = 256 };
    const int64_t blocks = (l->m + LOSS_BLOCK - 1) / LOSS_BLOCK;
    sums[0] = sums[1] = 0;
    for (int64_t first = 0; first < blocks; first += WAVE) {
        const int64_t end = flip_min64(blocks, first + WAVE);
        term partial[WAVE];
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t b = first; b < end; b++) {
            term sum = {0, 0};
            for (int64_t i = b * LOSS_BLOCK; i < flip_min64(l->m, (b + 1) * LOSS_BLOCK); i++) {
                term one = l->of(l, i);
                sum.top += one.top;
                sum.bottom += one.bottom;
            }
            partial[b - first] = sum;
        }
        for (int64_t b = first; b < end; b++) {
            sums[0] += partial[b - first].top;
            sums[1] += partial[b - first].bottom;
        }
    }
}

static bool counted(const flip_loss_rows *rows, int64_t i) {
    return rows->label[i] >= 0 && (!rows->mask || rows->mask[i]);
}

/* 0 where the row is not counted. */
static double weight_of(const flip_loss_rows *rows, int64_t i) {
    if (!counted(rows, i)) return 0;
    return rows->class_weight ? rows->class_weight[rows->label[i]] : 1;
}

static term entropy_term(const loss *l, int64_t i) {
    if (!counted(l->rows, i)) return (term){0, 0};
    double w = weight_of(l->rows, i);
    return (term){w * (l->log_sum_exp[i] - (double)l->x[i * l->n + l->rows->label[i]]),
                  l->rows->sample_mean ? 1 : w};
}

static void cross_entropy(int64_t m, int64_t n, const flip_real *x, const double *log_sum_exp,
                          const flip_loss_rows *rows, double *sums) {
    loss l = {m, n, x, NULL, log_sum_exp, NULL, rows, entropy_term};
    sum_rows(&l, sums);
}

/* weight (softmax(x) - onehot(y)) scale */
static void cross_entropy_gradient(int64_t m, int64_t n, flip_real *softmax,
                                   const flip_loss_rows *rows, double scale) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        flip_real *dx = softmax + i * n, w = (flip_real)(weight_of(rows, i) * scale);
        if (!counted(rows, i)) {
            memset(dx, 0, (size_t)n * sizeof *dx);
            continue;
        }
        dx[rows->label[i]] -= 1;
        for (int64_t j = 0; j < n; j++)
            dx[j] *= w;
    }
}

static term binary_term(const loss *l, int64_t i) {
    if (!counted(l->rows, i)) return (term){0, 0};
    double s = (double)l->x[i], w = weight_of(l->rows, i);
    double value = fmax(s, 0) - s * l->rows->label[i] + log1p(exp(-fabs(s)));
    return (term){w * value, l->rows->sample_mean ? 1 : w};
}

static void binary(int64_t m, const flip_real *x, const flip_loss_rows *rows, double *sums) {
    loss l = {m, 1, x, NULL, NULL, NULL, rows, binary_term};
    sum_rows(&l, sums);
}

/* weight (sigmoid(s) - y) scale */
static void binary_gradient(int64_t m, const flip_real *x, const flip_loss_rows *rows, double scale,
                            flip_real *dx, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        double s = (double)x[i], e = exp(-fabs(s));
        double sigmoid = s >= 0 ? 1 / (1 + e) : e / (1 + e);
        double ds = counted(rows, i) ? weight_of(rows, i) * scale * (sigmoid - rows->label[i]) : 0;
        dx[i] = (accumulate ? dx[i] : 0) + (flip_real)ds;
    }
}

static term error_term(const loss *l, int64_t i) {
    term sum = {0, 0};
    if (l->mask && !l->mask[i]) return sum;
    for (int64_t j = i * l->n; j < (i + 1) * l->n; j++) {
        double error = (double)l->x[j] - (double)l->other[j];
        if (isnan((double)l->other[j])) continue;
        sum.top += error * error;
        sum.bottom += 1;
    }
    return sum;
}

static void squared_error(int64_t m, int64_t n, const flip_real *x, const flip_real *target,
                          const uint8_t *mask, double *sums) {
    loss l = {m, n, x, target, NULL, mask, NULL, error_term};
    sum_rows(&l, sums);
}

/* (x - target) scale; the caller's scale has the 2 */
static void squared_error_gradient(int64_t m, int64_t n, const flip_real *x,
                                   const flip_real *target, const uint8_t *mask, double scale,
                                   flip_real *dx, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = i * n; j < (i + 1) * n; j++) {
            bool none = (mask && !mask[i]) || isnan((double)target[j]);
            double d = none ? 0 : scale * ((double)x[j] - (double)target[j]);
            dx[j] = (accumulate ? dx[j] : 0) + (flip_real)d;
        }
}

static term inner_term(const loss *l, int64_t i) {
    term sum = {0, 0};
    for (int64_t j = i * l->n; j < (i + 1) * l->n; j++)
        sum.top += (double)l->other[j] * (double)l->x[j];
    return sum;
}

static void inner(int64_t m, int64_t n, const flip_real *x, const flip_real *weight, double *sums) {
    loss l = {m, n, x, weight, NULL, NULL, NULL, inner_term};
    sum_rows(&l, sums);
}

/* ---- element by element ---- */

static void elu(int64_t n, flip_real *y) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        if (!(y[i] > 0)) y[i] = expm1(y[i]);
}

static void elu_gradient(int64_t n, flip_real *dy, const flip_real *y) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        if (!(y[i] > 0)) dy[i] *= y[i] + 1;
}

static void mask_bytes(int64_t n, flip_real *x, const uint8_t *mask, flip_real scale) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        x[i] = mask[i] ? x[i] * scale : 0;
}

static void add_scaled(int64_t n, flip_real *y, const flip_real *x, const flip_real *e,
                       bool accumulate) {
    flip_real scale = 1 + *e;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        y[i] = (accumulate ? y[i] : 0) + scale * x[i];
}

static void dot(int64_t n, const flip_real *x, const flip_real *y, double *sum) {
    enum { WAVE = 256 };
    const int64_t blocks = (n + SUM_BLOCK - 1) / SUM_BLOCK;
    for (int64_t first = 0; first < blocks; first += WAVE) {
        const int64_t end = flip_min64(blocks, first + WAVE);
        double partial[WAVE];
#pragma omp parallel for schedule(static)
        for (int64_t b = first; b < end; b++) {
            double part = 0;
            for (int64_t i = b * SUM_BLOCK; i < flip_min64(n, (b + 1) * SUM_BLOCK); i++)
                part += (double)x[i] * (double)y[i];
            partial[b - first] = part;
        }
        for (int64_t b = first; b < end; b++)
            *sum += partial[b - first];
    }
}

static void sgd(int64_t n, flip_real *p, const double *g, flip_real *m, const flip_sgd_step *s) {
    for (int64_t i = 0; i < n; i++) {
        double step =
            s->momentum * (double)m[i] + g[i] * s->grad_scale + s->weight_decay * (double)p[i];
        m[i] = (flip_real)step;
        p[i] = (flip_real)((double)p[i] - s->lr * step);
    }
}

void flip_kernels_use_losses(flip_kernels *table) {
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
