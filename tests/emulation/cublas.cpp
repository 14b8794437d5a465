/* Products on the emulated device, by columns as cuBLAS has them; its functions are given out by
 * name, in the place of the library that is opened on a real device. */
#include "kernels/cuda.h"

#include <cublas_v2.h>

/* ---- the product ---------------------------------------------------------------------------- */

typedef struct matrix {
    const void *at;
    cudaDataType type;
    int64_t down, right; /* steps from row to row, from column to column */
    bool turned;
} matrix;

static matrix seen(const void *at, cudaDataType type, int64_t ld, cublasOperation_t turned) {
    return turned == CUBLAS_OP_T ? matrix{at, type, ld, 1, true} : matrix{at, type, 1, ld, false};
}

template <typename real> static inline real number(real x) {
    return x;
}

template <typename real> static inline real number(uint16_t bits) {
    const uint32_t u = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return (real)f;
}

/* C = alpha A B + beta C; where beta is 0 C is not read. Inner loops run along memory. */
template <typename real, typename element>
static void multiply(int m, int n, int k, real alpha, matrix a, matrix b, real beta, real *c,
                     int ldc) {
    const element *x = static_cast<const element *>(a.at), *y = static_cast<const element *>(b.at);
    for (int64_t j = 0; j < n; j++) {
        real *out = c + j * ldc;
        for (int64_t i = 0; i < m; i++)
            out[i] = beta != 0 ? beta * out[i] : 0;
        for (int64_t l = 0; !a.turned && l < k; l++) {
            const real by = alpha * number<real>(y[l * b.down + j * b.right]);
            const element *from = x + l * a.right;
            for (int64_t i = 0; i < m; i++)
                out[i] += by * number<real>(from[i]);
        }
        for (int64_t i = 0; a.turned && i < m; i++) {
            const element *from = x + i * a.down;
            real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t l = 0; l < k; l++)
                sum += number<real>(from[l]) * number<real>(y[l * b.down + j * b.right]);
            out[i] += alpha * sum;
        }
    }
}

/* Inside a launch, where the device's memory can be reached; scalars are the host's. */
template <typename real, typename element>
static void launch(int m, int n, int k, const void *alpha, matrix a, matrix b, const void *beta,
                   void *c, int ldc) {
    const real one = *static_cast<const real *>(alpha), more = *static_cast<const real *>(beta);
    auto cublas_product = multiply<real, element>;
    FLIP_LAUNCH(cublas_product, 1, 1, 0, m, n, k, one, a, b, more, static_cast<real *>(c), ldc);
}

/* What cuBLAS refuses: shapes below 0, leading dimensions below the rows of a column, types that
 * do not go together. */
static bool refused(int m, int n, int k, matrix a, int lda, matrix b, int ldb, cudaDataType c_type,
                    int ldc, cublasComputeType_t compute) {
    const int a_rows = a.turned ? k : m, b_rows = b.turned ? n : k;
    const bool in_double = compute == CUBLAS_COMPUTE_64F;
    const cudaDataType real = in_double ? CUDA_R_64F : CUDA_R_32F;
    return m < 0 || n < 0 || k < 0 || lda < (a_rows > 1 ? a_rows : 1) ||
           ldb < (b_rows > 1 ? b_rows : 1) || ldc < (m > 1 ? m : 1) || a.type != b.type ||
           c_type != real || (a.type != real && (in_double || a.type != CUDA_R_16BF));
}

/* ---- its functions -------------------------------------------------------------------------- */

cublasStatus_t cublasCreate(cublasHandle_t *handle) {
    *handle = nullptr;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t) {
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t, cublasOperation_t transa, cublasOperation_t transb,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType a_type, int lda, const void *b, cudaDataType b_type,
                            int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
    const matrix x = seen(a, a_type, lda, transa), y = seen(b, b_type, ldb, transb);
    if (refused(m, n, k, x, lda, y, ldb, c_type, ldc, compute)) return CUBLAS_STATUS_INVALID_VALUE;
    if (c_type == CUDA_R_64F)
        launch<double, double>(m, n, k, alpha, x, y, beta, c, ldc);
    else if (a_type == CUDA_R_32F)
        launch<float, float>(m, n, k, alpha, x, y, beta, c, ldc);
    else
        launch<float, uint16_t>(m, n, k, alpha, x, y, beta, c, ldc);
    return CUBLAS_STATUS_SUCCESS;
}

static int64_t bytes_of(cudaDataType type) {
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa,
                                          cublasOperation_t transb, int m, int n, int k,
                                          const void *alpha, const void *a, cudaDataType a_type,
                                          int lda, long long stride_a, const void *b,
                                          cudaDataType b_type, int ldb, long long stride_b,
                                          const void *beta, void *c, cudaDataType c_type, int ldc,
                                          long long stride_c, int batches,
                                          cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
    for (int64_t i = 0; i < batches; i++) {
        const char *x = static_cast<const char *>(a) + i * stride_a * bytes_of(a_type);
        const char *y = static_cast<const char *>(b) + i * stride_b * bytes_of(b_type);
        char *z = static_cast<char *>(c) + i * stride_c * bytes_of(c_type);
        const cublasStatus_t status =
            cublasGemmEx(handle, transa, transb, m, n, k, alpha, x, a_type, lda, y, b_type, ldb,
                         beta, z, c_type, ldc, compute, algorithm);
        if (status != CUBLAS_STATUS_SUCCESS) return status;
    }
    return CUBLAS_STATUS_SUCCESS;
}
