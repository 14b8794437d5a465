/* kernels: losses, their gradients, and what acts element by element, of every table, against the
 * formulas taken here in double, a row at a time. */
#include "kernels_check.h"

enum { MOST = 5000, CLASSES = 7 };
static const int64_t sizes[] = {0, 1, 31, 1023, 1024, 1025, MOST};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

typedef struct rows_case {
    flip_loss_rows rows;
    int32_t *label;
    uint8_t *mask;
    double *weight;
} rows_case;

/* Labels of `classes`, some negative; way: bit 0 a mask, bit 1 weights, bit 2 the mean of samples.
 */
static rows_case draw_rows(int64_t m, int32_t classes, int way) {
    rows_case c = {.label = get((size_t)m + 1, sizeof *c.label),
                   .mask = get((size_t)m + 1, 1),
                   .weight = get((size_t)classes, sizeof *c.weight)};
    for (int64_t i = 0; i < m; i++) {
        c.label[i] = (int32_t)chance(3, 1, (uint64_t)i, (uint64_t)classes + 1) - 1;
        c.mask[i] = chance(3, 2, (uint64_t)i, 3) > 0;
    }
    for (int32_t k = 0; k < classes; k++)
        c.weight[k] = 0.5 + k;
    c.rows = (flip_loss_rows){.label = c.label,
                              .mask = way & 1 ? c.mask : NULL,
                              .class_weight = way & 2 ? c.weight : NULL,
                              .sample_mean = way & 4};
    return c;
}

static void release_rows(rows_case *c) {
    RELEASE(c->label, c->mask, c->weight);
}

/* The row's weight and its share of the denominator. */
static double weight_here(const flip_loss_rows *rows, int64_t i, double *share) {
    bool counts = rows->label[i] >= 0 && (!rows->mask || rows->mask[i]);
    double w = !counts ? 0 : rows->class_weight ? rows->class_weight[rows->label[i]] : 1;
    *share = !counts ? 0 : rows->sample_mean ? 1 : w;
    return w;
}

static void sums_near(const flip_kernels *k, const char *what, const double *sums, double top,
                      double bottom, double scale) {
    char text[80];
    snprintf(text, sizeof text, "%s of %s", what, k->name);
    near_double(text, &sums[0], &top, 1, 1e-12 * (1 + fabs(top) + scale));
    near_double(text, &sums[1], &bottom, 1, 1e-12 * (1 + bottom));
}

static void check_entropy(const flip_kernels *k, int64_t m, int way) {
    rows_case c = draw_rows(m, CLASSES, way);
    flip_real *x = noise(m * CLASSES + 1, 11), *p = copy_of(x, m * CLASSES + 1);
    double *log_sum = get((size_t)m + 1, sizeof *log_sum), *sums = get(2, sizeof *sums);
    double top = 0, bottom = 0;
    for (int64_t i = 0; i < m; i++) {
        double sum = 0, share;
        for (int j = 0; j < CLASSES; j++)
            sum += exp((double)x[i * CLASSES + j]);
        log_sum[i] = log(sum);
        for (int j = 0; j < CLASSES; j++)
            p[i * CLASSES + j] = (flip_real)(exp((double)x[i * CLASSES + j]) / sum);
        double w = weight_here(&c.rows, i, &share);
        if (w > 0) top += w * (log_sum[i] - (double)x[i * CLASSES + c.label[i]]);
        bottom += share;
    }
    CALL(k, cross_entropy, m, CLASSES, x, log_sum, &c.rows, sums);
    sums_near(k, "cross-entropy", sums, top, bottom, (double)m);
    flip_real *g = copy_of(p, m * CLASSES + 1);
    CALL(k, cross_entropy_gradient, m, CLASSES, g, &c.rows, 0.25);
    for (int64_t i = 0; i < m; i++) {
        double share, w = weight_here(&c.rows, i, &share);
        for (int j = 0; j < CLASSES; j++) {
            int64_t at = i * CLASSES + j;
            p[at] = (flip_real)(w * 0.25 * ((double)p[at] - (c.label[i] == j)));
        }
    }
    near("its gradient", g, p, m * CLASSES, 8 * ROUNDING);
    release_rows(&c);
    RELEASE(x, p, g, log_sum, sums);
}

static void check_binary(const flip_kernels *k, int64_t m, int way) {
    rows_case c = draw_rows(m, 2, way);
    flip_real *x = noise(m + 1, 12), *g = noise(m + 1, 13), *want = copy_of(g, m + 1);
    double *sums = get(2, sizeof *sums), top = 0, bottom = 0;
    for (int64_t i = 0; i < m; i++) {
        x[i] *= i % 3 ? 1 : 60; /* far out, too */
        double s = (double)x[i], share, w = weight_here(&c.rows, i, &share);
        top += w * (fmax(s, 0) - s * c.label[i] + log1p(exp(-fabs(s))));
        bottom += share;
        want[i] = (flip_real)((double)want[i] + w * 0.5 * (1 / (1 + exp(-s)) - c.label[i]));
    }
    CALL(k, binary, m, x, &c.rows, sums);
    sums_near(k, "binary cross-entropy", sums, top, bottom, 60 * (double)m);
    CALL(k, binary_gradient, m, x, &c.rows, 0.5, g, true);
    near("its gradient", g, want, m, 8 * ROUNDING);
    release_rows(&c);
    RELEASE(x, g, want, sums);
}

static void check_error(const flip_kernels *k, int64_t m, int way) {
    enum { N = 3 };
    flip_real *x = noise(m * N + 1, 14), *y = noise(m * N + 1, 15), *g = noise(m * N + 1, 16);
    flip_real *want = copy_of(g, m * N + 1);
    uint8_t *mask = get((size_t)m + 1, 1);
    double *sums = get(2, sizeof *sums), top = 0, bottom = 0, products = 0;
    for (int64_t i = 0; i < m * N; i++) {
        products += (double)x[i] * (double)y[i];
        mask[i / N] = chance(4, 2, (uint64_t)(i / N), 3) > 0;
    }
    CALL(k, inner, m, N, x, y, sums);
    near_double("inner product", sums, &products, 1, 1e-12 * (1 + (double)m));
    for (int64_t i = 0; i < m * N; i++) {
        if (i % 5 == 0) y[i] = (flip_real)NAN;
        bool counts = i % 5 && (!(way & 1) || mask[i / N]);
        double error = counts ? (double)x[i] - (double)y[i] : 0;
        top += error * error;
        bottom += counts;
        want[i] = (flip_real)(2 * error + (way & 2 ? (double)want[i] : 0));
    }
    const uint8_t *masked = way & 1 ? mask : NULL;
    CALL(k, squared_error, m, N, x, y, masked, sums);
    sums_near(k, "squared error", sums, top, bottom, (double)m);
    CALL(k, squared_error_gradient, m, N, x, y, masked, 2, g, way & 2);
    near("its gradient", g, want, m * N, 8 * ROUNDING);
    RELEASE(x, y, g, want, mask, sums);
}

static void losses(void **state) {
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (int s = 0; s < N_SIZES; s++)
            for (int way = 0; way < 8; way++) {
                check_entropy(list[t], sizes[s], way);
                check_binary(list[t], sizes[s], way);
                if (way < 4) check_error(list[t], sizes[s], way);
            }
}

/* ---- element by element ---- */

static void check_elements(const flip_kernels *k, int64_t n) {
    flip_real *x = noise(n + 1, 21), *y = noise(n + 1, 22), *got = copy_of(x, n + 1);
    flip_real *want = copy_of(x, n + 1), *e = noise(1, 23);
    uint8_t *mask = get((size_t)n + 1, 1);
    double *sum = get(1, sizeof *sum), dot = 0.5;
    for (int64_t i = 0; i < n; i++) {
        mask[i] = i % 3 > 0;
        want[i] = (flip_real)(x[i] > 0 ? (double)x[i] : expm1((double)x[i]));
        dot += (double)x[i] * (double)y[i];
    }
    CALL(k, elu, n, got);
    near("elu", got, want, n, 4 * ROUNDING);
    for (int64_t i = 0; i < n; i++)
        want[i] = (flip_real)((double)y[i] * (got[i] > 0 ? 1 : (double)got[i] + 1));
    flip_real *slope = copy_of(y, n + 1);
    CALL(k, elu_gradient, n, slope, got);
    near("its gradient", slope, want, n, 4 * ROUNDING);
    CALL(k, mask_bytes, n, slope, mask, 2);
    for (int64_t i = 0; i < n; i++)
        want[i] = mask[i] ? 2 * want[i] : 0;
    near("mask", slope, want, n, 8 * ROUNDING);
    for (int64_t i = 0; i < n; i++)
        want[i] = (flip_real)((double)slope[i] + (1 + (double)e[0]) * (double)x[i]);
    CALL(k, add_scaled, n, slope, x, e, true);
    near("scaled sum", slope, want, n, 8 * ROUNDING);
    sum[0] = 0.5;
    CALL(k, dot, n, x, y, sum);
    near_double("dot", sum, &dot, 1, 1e-12 * (1 + (double)n));
    RELEASE(x, y, got, want, slope, e, mask, sum);
}

/* m = momentum m + g + decay p;  p -= lr m, and rows with gaps between them */
static void check_rows(const flip_kernels *k, int64_t m) {
    enum { N = 5, LD = 8 };
    flip_real *x = noise(m * LD + 1, 31), *y = noise(m * LD + 1, 32),
              *want = copy_of(y, m * LD + 1);
    for (int64_t i = 0; i < m; i++)
        for (int j = 0; j < N; j++)
            want[i * LD + j] += 3 * x[i * LD + j];
    CALL(k, scaled, m, N, y, LD, x, LD, 3, true);
    near("scaled", y, want, m * LD, 4 * ROUNDING);
    CALL(k, scaled, m, LD, y, LD, x, LD, 1, false);
    near("copied", y, x, m * LD, 0);
    double *g = get((size_t)(m * LD) + 1, sizeof *g);
    flip_real *p = noise(m * LD + 1, 33);
    for (int64_t i = 0; i < m * LD; i++) {
        g[i] = sin((double)i);
        double step = 0.9 * (double)x[i] + 2 * g[i] + 0.01 * (double)p[i];
        want[i] = (flip_real)((double)p[i] - 0.1 * step);
    }
    flip_sgd_step step = {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .grad_scale = 2};
    CALL(k, sgd, m * LD, p, g, x, &step);
    near("sgd", p, want, m * LD, 8 * ROUNDING);
    RELEASE(x, y, want, g, p);
}

static void elements(void **state) {
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (int s = 0; s < N_SIZES; s++) {
            check_elements(list[t], sizes[s]);
            check_rows(list[t], sizes[s]);
        }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses), cmocka_unit_test(elements)};
    check_begin(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
