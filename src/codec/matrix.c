/* Moments, eigenvectors and rotations. LAPACK comes with OpenBLAS. */
#include "codec/internal.h"

#include <cblas.h>

enum { ROWS = 256 };

void dsyevd_(const char *job, const char *half, const int *n, double *a, const int *lda,
             double *value, double *work, const int *n_work, int *iwork, const int *n_iwork,
             int *info);
void dgesdd_(const char *job, const int *m, const int *n, double *a, const int *lda, double *s,
             double *u, const int *ldu, double *vt, const int *ldvt, double *work,
             const int *n_work, int *iwork, int *info);

/* rows first … in double, less the mean */
static void widen(double *block, const float *x, int64_t n, int32_t dim, const double *mean) {
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < dim; j++)
            block[i * dim + j] = (double)x[i * dim + j] - (mean ? mean[j] : 0);
}

flip_status flip_moments(double *mean, double *covariance, const float *x, int64_t n, int32_t dim) {
    double *block;
    memset(mean, 0, (size_t)dim * sizeof *mean);
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < dim; j++)
            mean[j] += (double)x[i * dim + j];
    for (int32_t j = 0; j < dim; j++)
        mean[j] /= (double)n;
    if (!covariance) return FLIP_OK;
    FLIP_TRY(flip_alloc(&block, ROWS * (size_t)dim, sizeof *block, "a block of rows"));
    openblas_set_num_threads(1); /* the order of sums must not depend on threads */
    memset(covariance, 0, (size_t)dim * (size_t)dim * sizeof *covariance);
    for (int64_t first = 0; first < n; first += ROWS) {
        int64_t rows = flip_codec_min(ROWS, n - first);
        widen(block, x + first * dim, rows, dim, mean);
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, dim, (int)rows, 1 / (double)n, block,
                    dim, 1, covariance, dim);
    }
    for (int64_t i = 0; i < dim; i++)
        for (int64_t j = i + 1; j < dim; j++)
            covariance[i * dim + j] = covariance[j * dim + i];
    flip_free(block);
    return FLIP_OK;
}

flip_status flip_products(double *product, const float *x, const float *y, int64_t n, int32_t dim) {
    openblas_set_num_threads(1);
    memset(product, 0, (size_t)dim * (size_t)dim * sizeof *product);
    double *a, *b;
    FLIP_TRY(flip_alloc(&a, ROWS * (size_t)dim * 2, sizeof *a, "a block of rows"));
    b = a + ROWS * (size_t)dim;
    for (int64_t first = 0; first < n; first += ROWS) {
        int64_t rows = flip_codec_min(ROWS, n - first);
        widen(a, x + first * dim, rows, dim, NULL);
        widen(b, y + first * dim, rows, dim, NULL);
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, dim, dim, (int)rows, 1, a, dim, b, dim,
                    1, product, dim);
    }
    flip_free(a);
    return FLIP_OK;
}

/* Fortran's columns are our rows, so the eigenvectors come out as rows. */
flip_status flip_eigen(double *value, double *matrix, int32_t dim) {
    int n = dim, info = 0, iwork_size = 0, size = -1, isize = -1;
    double want = 0, *work = NULL;
    int *iwork = NULL;
    openblas_set_num_threads(1);
    dsyevd_("V", "U", &n, matrix, &n, value, &want, &size, &iwork_size, &isize, &info);
    size = (int)want;
    isize = iwork_size;
    flip_status status = flip_alloc(&work, (size_t)size, sizeof *work, "eigenvectors");
    if (status == FLIP_OK)
        status = flip_alloc(&iwork, (size_t)isize, sizeof *iwork, "eigenvectors");
    if (status == FLIP_OK)
        dsyevd_("V", "U", &n, matrix, &n, value, work, &size, iwork, &isize, &info);
    flip_free(work);
    flip_free(iwork);
    FLIP_TRY(status);
    if (info != 0) return FLIP_FAIL(FLIP_ERROR_LIBRARY, "LAPACK's dsyevd ended with %d", info);
    /* descending, and the sign such that the largest number of a vector is positive */
    for (int64_t i = 0; i < dim / 2; i++) {
        double swap = value[i];
        value[i] = value[dim - 1 - i];
        value[dim - 1 - i] = swap;
        for (int64_t j = 0; j < dim; j++) {
            swap = matrix[i * dim + j];
            matrix[i * dim + j] = matrix[(dim - 1 - i) * dim + j];
            matrix[(dim - 1 - i) * dim + j] = swap;
        }
    }
    for (int64_t i = 0; i < dim; i++) {
        int64_t largest = 0;
        for (int64_t j = 1; j < dim; j++)
            if (fabs(matrix[i * dim + j]) > fabs(matrix[i * dim + largest]) * (1 + 1e-9))
                largest = j;
        for (int64_t j = 0; matrix[i * dim + largest] < 0 && j < dim; j++)
            matrix[i * dim + j] = j == largest ? matrix[i * dim + j] : -matrix[i * dim + j];
        matrix[i * dim + largest] = fabs(matrix[i * dim + largest]);
    }
    return FLIP_OK;
}

flip_status flip_codec_spectrum(double *share, int32_t n_shares, const float *x, int64_t n,
                                int32_t dim) {
    enum { WIDEST = 1024 };
    double *room, sum = 0, all = 0;
    for (int32_t i = 0; i < n_shares; i++)
        share[i] = NAN;
    if (dim > WIDEST || n < 1) return FLIP_OK;
    size_t square = (size_t)dim * (size_t)dim;
    FLIP_TRY(flip_alloc(&room, square + 2 * (size_t)dim, sizeof *room, "a covariance"));
    double *value = room + square;
    flip_status status = flip_moments(value + dim, room, x, n, dim);
    if (status == FLIP_OK) status = flip_eigen(value, room, dim);
    for (int32_t j = 0; j < dim && status == FLIP_OK; j++)
        all += fmax(value[j], 0);
    for (int32_t j = 0, i = 0; j < dim && i < n_shares && status == FLIP_OK; j++) {
        sum += fmax(value[j], 0);
        if (j + 1 == 1 << i) share[i++] = all > 0 ? sum / all : 1;
    }
    flip_free(room);
    return status;
}

/* c = sum x y^T in our rows is its transpose in Fortran's columns: c^T = U S V^T there means
 * c = V S U^T, so the R of max tr(R c) is U V^T of Fortran's factors, written as our rows. */
flip_status flip_procrustes(double *rotation, double *c, int32_t dim) {
    int n = dim, info = 0, size = -1;
    size_t square = (size_t)dim * (size_t)dim;
    double want = 0, *room = NULL;
    int *iwork = NULL;
    openblas_set_num_threads(1);
    dgesdd_("A", &n, &n, c, &n, NULL, NULL, &n, NULL, &n, &want, &size, NULL, &info);
    size = (int)want;
    FLIP_TRY(flip_alloc(&room, 2 * square + (size_t)dim + (size_t)size, sizeof *room, "factors"));
    double *u = room, *vt = u + square, *s = vt + square, *work = s + dim;
    flip_status status = flip_alloc(&iwork, 8 * (size_t)dim, sizeof *iwork, "factors");
    if (status == FLIP_OK) dgesdd_("A", &n, &n, c, &n, s, u, &n, vt, &n, work, &size, iwork, &info);
    if (status == FLIP_OK && info != 0)
        status = FLIP_FAIL(FLIP_ERROR_LIBRARY, "LAPACK's dgesdd ended with %d", info);
    if (status == FLIP_OK) /* row-major R = U V^T; u and vt are column-major */
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasTrans, dim, dim, dim, 1, u, dim, vt, dim, 0,
                    rotation, dim);
    flip_free(room);
    flip_free(iwork);
    return status;
}

void flip_turn(float *y, const float *x, int64_t n, const float *turned, int32_t dim_in,
               int32_t dim) {
    enum { COLUMNS = 256 };
#pragma omp parallel for schedule(static) if (n > 512)
    for (int64_t i = 0; i < n; i++)
        for (int32_t first = 0; first < dim; first += COLUMNS) {
            double sum[COLUMNS] = {0};
            int32_t columns = (int32_t)flip_codec_min(COLUMNS, dim - first);
            for (int32_t k = 0; k < dim_in; k++) {
                double value = (double)x[i * dim_in + k];
                const float *row = turned + (int64_t)k * dim + first;
                if (value == 0) continue; /* sparse rows */
                for (int32_t j = 0; j < columns; j++)
                    sum[j] += value * (double)row[j];
            }
            for (int32_t j = 0; j < columns; j++)
                y[i * dim + first + j] = (float)sum[j];
        }
}
