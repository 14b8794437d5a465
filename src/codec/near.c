/* Axes that neighbours share: what sums along edges keep. A row is a part that its neighbours have
 * too and a part of its own, which their mean averages away; least squared error keeps whatever is
 * large, these axes keep what is common. They are the canonical variates (Hotelling 1936) of a row
 * x and the mean b of its neighbours' rows: the axes a of largest |cov(a.x, a.b)| where var(a.x) =
 * 1, of the symmetric part of cov(x, b). Their span is given an orthonormal basis, the principal
 * axes inside it, so that a codec's columns are uncorrelated and its rotation is undone by its
 * transpose. */
#include "codec/internal.h"

#include <cblas.h>

static const double least_share = 1e-7; /* of the largest variance: axes below are left out */

/* out [m, n] = a [m, k] b [k, n], or a b^T where b is [n, k]; one thread, so the same bits */
static void multiply(double *out, const double *a, const double *b, int32_t m, int32_t k, int32_t n,
                     bool transposed) {
    openblas_set_num_threads(1);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, m, n, k, 1, a,
                k, b, transposed ? k : n, 0, out, n);
}

/* Rows of a [k, n] become orthonormal, in their order; twice, for the digits. */
static void orthonormalise(double *a, int32_t k, int32_t n) {
    for (int32_t i = 0; i < k; i++) {
        double *row = a + (int64_t)i * n;
        for (int again = 0; again < 3; again++) {
            for (int32_t j = 0; again > 0 && j < i; j++) {
                double along = cblas_ddot(n, row, 1, a + (int64_t)j * n, 1);
                cblas_daxpy(n, -along, a + (int64_t)j * n, 1, row, 1);
            }
            cblas_dscal(n, 1 / cblas_dnrm2(n, row, 1), row, 1);
        }
    }
}

typedef struct near {
    int32_t dim, rank;
    double *axis, *value;    /* [dim, dim], [dim] principal axes of x, a row each, and variances */
    double *white;           /* [rank, dim] axis / deviation */
    double *cross, *product; /* [dim, dim] */
    double *mean, *rho;      /* [dim] of b; [rank] */
} near;

/* cross = cov(x, b) in whitened columns, its symmetric part [rank, rank] */
static flip_status correlate(near *w, const double *mean, const float *x, const float *beside,
                             int64_t n) {
    int32_t dim = w->dim, rank = w->rank;
    FLIP_TRY(flip_moments(w->mean, NULL, beside, n, dim));
    FLIP_TRY(flip_products(w->cross, x, beside, n, dim));
    for (int64_t i = 0; i < dim; i++)
        for (int64_t j = 0; j < dim; j++)
            w->cross[i * dim + j] = w->cross[i * dim + j] / (double)n - mean[i] * w->mean[j];
    multiply(w->product, w->white, w->cross, rank, dim, dim, false);
    multiply(w->cross, w->product, w->white, rank, dim, rank, true);
    for (int64_t i = 0; i < rank; i++)
        for (int64_t j = 0; j <= i; j++) {
            double half = (w->cross[i * rank + j] + w->cross[j * rank + i]) / 2;
            w->cross[i * rank + j] = w->cross[j * rank + i] = half;
        }
    return FLIP_OK;
}

/* The k axes of largest |rho| from both ends of the descending list, as rows of `product`. */
static void strongest(near *w, int32_t k) {
    int32_t low = 0, high = w->rank - 1;
    for (int32_t i = 0; i < k; i++) {
        int32_t take = fabs(w->rho[low]) >= fabs(w->rho[high]) ? low++ : high--;
        memcpy(w->product + (int64_t)i * w->rank, w->cross + (int64_t)take * w->rank,
               (size_t)w->rank * sizeof *w->product);
    }
    memcpy(w->cross, w->product, (size_t)k * (size_t)w->rank * sizeof *w->cross);
    multiply(w->product, w->cross, w->white, k, w->rank, w->dim, false);
    orthonormalise(w->product, k, w->dim);
}

/* Principal axes within the span of `product` [k, dim], over w->axis and w->value. */
static flip_status inside(near *w, int32_t k) {
    multiply(w->cross, w->product, w->axis, k, w->dim, w->rank, true);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < w->rank; j++)
            w->cross[i * w->rank + j] *= sqrt(w->value[j]);
    multiply(w->white, w->cross, w->cross, k, w->rank, k, true);
    FLIP_TRY(flip_eigen(w->value, w->white, k));
    multiply(w->axis, w->white, w->product, k, k, w->dim, false);
    return FLIP_OK;
}

static flip_status find(near *w, int32_t *k, double *strength, const double *mean, const float *x,
                        const float *beside, int64_t n) {
    FLIP_TRY(flip_eigen(w->value, w->axis, w->dim));
    while (w->rank < w->dim && w->value[w->rank] > least_share * w->value[0])
        w->rank++;
    if (w->rank < 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "all rows with neighbours are equal: no axis to share, klt and lloyd do");
    for (int64_t i = 0; i < w->rank; i++)
        for (int64_t j = 0; j < w->dim; j++)
            w->white[i * w->dim + j] = w->axis[i * w->dim + j] / sqrt(w->value[i]);
    FLIP_TRY(correlate(w, mean, x, beside, n));
    FLIP_TRY(flip_eigen(w->rho, w->cross, w->rank));
    *strength = fmax(fabs(w->rho[0]), fabs(w->rho[w->rank - 1]));
    if (*k > w->rank) *k = w->rank;
    strongest(w, *k);
    return inside(w, *k);
}

flip_status flip_near_axes(double *axis, double *value, double *mean, int32_t *k, double *strength,
                           const float *x, const float *beside, int64_t n, int32_t dim) {
    size_t square = (size_t)dim * (size_t)dim;
    double *room;
    FLIP_TRY(flip_alloc(&room, 3 * square + 2 * (size_t)dim, sizeof *room, "axes of neighbours"));
    near w = {.dim = dim,
              .axis = axis,
              .value = value,
              .white = room,
              .cross = room + square,
              .product = room + 2 * square,
              .mean = room + 3 * square,
              .rho = room + 3 * square + dim};
    flip_status status = flip_moments(mean, axis, x, n, dim);
    if (status == FLIP_OK) status = find(&w, k, strength, mean, x, beside, n);
    flip_free(room);
    return status;
}
