/* Products by OpenBLAS, one thread a call, from our own fixed row blocks: the plain table's speed
 * where no kernel of ours fits the machine, and every machine in the double build. */
#include "kernels/internal.h"

#include <cblas.h>

#ifdef FLIP_REAL_DOUBLE
#define BLAS_GEMM cblas_dgemm
#else
#define BLAS_GEMM cblas_sgemm
#endif

enum {
    BLOCK = 512, /* rows a call: an A and a C block of 128 columns fit a second-level cache */
    TILE = 256   /* rows and columns of a weight gradient summed at once, on the stack */
};

/* C = beta C + A B for a block of rows; BLAS refuses k = 0. */
static void multiply(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                     enum CBLAS_TRANSPOSE transpose, const flip_real *b, int64_t ldb,
                     flip_real beta, flip_real *c, int64_t ldc) {
    if (k > 0)
        BLAS_GEMM(CblasRowMajor, CblasNoTrans, transpose, (int)m, (int)n, (int)k, 1, a, (int)lda, b,
                  (int)ldb, beta, c, (int)ldc);
    for (int64_t i = 0; k == 0 && beta == 0 && i < m; i++)
        memset(c + i * ldc, 0, (size_t)n * sizeof *c);
}

static void product(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    enum CBLAS_TRANSPOSE transpose, const flip_real *b, int64_t ldb, flip_real *c,
                    int64_t ldc, const flip_epilogue *e) {
    flip_real beta = e && e->accumulate ? 1 : 0;
    if (n == 0) return;
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < m; first += BLOCK) {
        int64_t rows = flip_min64(BLOCK, m - first);
        flip_real *out = c + first * ldc;
        multiply(rows, n, k, k > 0 ? a + first * lda : a, lda, transpose, b, ldb, beta, out, ldc);
        if (e && e->plus_a)
            multiply(rows, n, e->plus_k, e->plus_a + first * e->plus_lda, e->plus_lda, transpose,
                     e->plus_b, e->plus_ldb, 1, out, ldc);
        flip_epilogue_apply(e, first, rows, n, out, ldc);
    }
}

static void gemm_nn(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *epilogue) {
    product(m, n, k, a, lda, CblasNoTrans, b, ldb, c, ldc, epilogue);
}

static void gemm_nt(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *epilogue) {
    product(m, n, k, a, lda, CblasTrans, b, ldb, c, ldc, epilogue);
}

/* A tile of g: each thread takes whole blocks of rows, the ordered part adds them in ascending
 * order. */
static void gradient_tile(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                          const flip_real *b, int64_t ldb, double *g, int64_t ldg) {
    int64_t block = flip_gradient_block(m);
#pragma omp parallel for ordered schedule(static, 1)
    for (int64_t first = 0; first < m; first += block) {
        flip_real sum[TILE * TILE];
        int64_t rows = flip_min64(block, m - first);
        BLAS_GEMM(CblasRowMajor, CblasTrans, CblasNoTrans, (int)k, (int)n, (int)rows, 1,
                  a + first * lda, (int)lda, b + first * ldb, (int)ldb, 0, sum, (int)n);
#pragma omp ordered
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++)
                g[l * ldg + j] += (double)sum[l * n + j];
    }
}

static void gemm_tn(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, double *g, int64_t ldg) {
    for (int64_t l = 0; l < k; l += TILE)
        for (int64_t j = 0; j < n; j += TILE)
            gradient_tile(m, flip_min64(TILE, n - j), flip_min64(TILE, k - l), a + l, lda, b + j,
                          ldb, g + l * ldg + j, ldg);
}

void flip_kernels_use_blas(flip_kernels *table) {
    openblas_set_num_threads(1);
    table->name = "c";
    table->gemm_nn = gemm_nn;
    table->gemm_nt = gemm_nt;
    table->gemm_tn = gemm_tn;
}
