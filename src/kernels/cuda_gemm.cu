/* Products by cuBLAS. Row-major C = A B is, seen by its columns, C^T = B^T A^T: the operands change
 * places and nothing is transposed in memory. What follows a product is one pass over C. */
#include "kernels/cuda_four.h"

#include <cublas_v2.h>

#include <type_traits>

static const size_t WORKSPACE = 32 << 20;    /* as cuBLAS advises on Hopper; taken here, so that no
                                                call takes memory and bits repeat */
static const int64_t PIECE_BYTES = 16 << 20; /* of A rounded: L2 keeps it until it is read */
static const int64_t MOST_ROWS = 1 << 22,
                     MOST_BATCHES = 1 << 15; /* a call: below a grid's limits */
static const int64_t TILE = 2048; /* rows and columns of a weight gradient summed at once */

/* ---- cuBLAS, opened ------------------------------------------------------------------------- */

typedef cublasStatus_t (*gemm_function)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int,
                                        int, int, const void *, const void *, cudaDataType, int,
                                        const void *, cudaDataType, int, const void *, void *,
                                        cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
typedef cublasStatus_t (*batches_function)(cublasHandle_t, cublasOperation_t, cublasOperation_t,
                                           int, int, int, const void *, const void *, cudaDataType,
                                           int, long long, const void *, cudaDataType, int,
                                           long long, const void *, void *, cudaDataType, int,
                                           long long, int, cublasComputeType_t, cublasGemmAlgo_t);
static struct {
    decltype(&cublasCreate) create;
    decltype(&cublasSetStream) set_stream;
    decltype(&cublasSetWorkspace) set_workspace;
    gemm_function gemm;
    batches_function batches;
} blas;
static cublasHandle_t handle;

static flip_status open_blas(void) {
    static const flip_cuda_file files[] = {{"libcublas.so.13", "libcublasLt.so.13"},
                                           {"libcublas.so.12", "libcublasLt.so.12"},
                                           {"libcublas.so", "libcublasLt.so"},
                                           {NULL, NULL}};
    static const char *const symbols[] = {
        "cublasCreate_v2", "cublasSetStream_v2",         "cublasSetWorkspace_v2",
        "cublasGemmEx",    "cublasGemmStridedBatchedEx", NULL};
    void *functions[5];
    FLIP_TRY(flip_cuda_library("cuBLAS", files, symbols, functions));
    static_assert(sizeof functions == sizeof blas, "a function for each symbol");
    memcpy(&blas, functions, sizeof blas);
    static flip_cuda_room workspace;
    if (blas.create(&handle) != CUBLAS_STATUS_SUCCESS ||
        blas.set_stream(handle, flip_cuda_stream) != CUBLAS_STATUS_SUCCESS ||
        !flip_cuda_reserve(&workspace, WORKSPACE, "cuBLAS's workspace") ||
        blas.set_workspace(handle, workspace.memory, WORKSPACE) != CUBLAS_STATUS_SUCCESS)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "cuBLAS cannot start on this GPU: it needs about "
                                             "100 MB of its memory");
    return FLIP_OK;
}

static void note(cublasStatus_t status, const char *what) {
    if (status != CUBLAS_STATUS_SUCCESS) flip_cuda_note(cudaErrorUnknown, what);
}

/* ---- operands ------------------------------------------------------------------------------- */

/* A number of an operand as cuBLAS reads it: flip_real, or a bfloat16. The double build has none
 * that sums in double, and multiplies rounded numbers held in double. */
static const bool in_float = sizeof(flip_real) == sizeof(float);
typedef std::conditional<in_float, uint16_t, flip_real>::type bfloat;
static const cudaDataType real_type = in_float ? CUDA_R_32F : CUDA_R_64F;
static const cudaDataType bfloat_type = in_float ? CUDA_R_16BF : CUDA_R_64F;
static const cublasComputeType_t compute = in_float ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_64F;

typedef struct operand {
    const void *at;
    int64_t ld;
    cudaDataType type;
} operand;

static operand plain(const flip_real *x, int64_t ld) {
    return operand{x, ld, real_type};
}

/* To nearest even, NaN stays NaN: flip_bf16_bits. */
__device__ static inline uint32_t bf16_bits(flip_real value) {
    const float f = (float)value;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (u >> 16) | 0x40u;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

template <typename number> __device__ static inline void put_rounded(number *to, flip_real value) {
    const uint32_t bits = bf16_bits(value);
    if constexpr (sizeof(number) == sizeof(uint16_t)) {
        *to = (number)bits;
    } else {
        const uint32_t u = bits << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        *to = (number)f;
    }
}

typedef struct alignas(FLIP_FOUR * sizeof(bfloat) < 16 ? FLIP_FOUR * sizeof(bfloat)
                                                       : 16) four_bfloats {
    bfloat v[FLIP_FOUR];
} four_bfloats;

/* Rows of y are padded to eights: whole fours are written. */
__global__ static void round_kernel(unsigned count, unsigned quads, int64_t n, const flip_real *x,
                                    int64_t ldx, bfloat *y, int64_t ldy, bool whole) {
    FLIP_EACH_ITEM(item, count) {
        const int64_t i = item / quads, j = (int64_t)(item % quads) * FLIP_FOUR;
        const flip_four from = flip_load_four(x + i * ldx + j, n - j, whole);
        four_bfloats to;
        for (int b = 0; b < FLIP_FOUR; b++)
            put_rounded(&to.v[b], from.v[b]);
        *reinterpret_cast<four_bfloats *>(y + i * ldy + j) = to;
    }
}

/* Rows of rounded operands stand on 16 bytes: what tensor cores ask for. */
static int64_t rounded_ld(int64_t n) {
    return (n + 7) / 8 * 8;
}

static size_t rounded_bytes(int64_t m, int64_t n) {
    return ((size_t)(m * rounded_ld(n)) * sizeof(bfloat) + 255) / 256 * 256;
}

static operand rounded(int64_t m, int64_t n, const flip_real *x, int64_t ldx, void *to) {
    const int64_t ld = rounded_ld(n), quads = (n + FLIP_FOUR - 1) / FLIP_FOUR;
    const int64_t most = flip_fours_rows(quads);
    const bool whole = flip_fours_whole(n, ldx, x);
    for (int64_t done = 0; done < m; done += most) {
        const int64_t count = flip_min64(most, m - done) * quads;
        FLIP_LAUNCH_EACH(round_kernel, count, (unsigned)count, (unsigned)quads, n, x + done * ldx,
                         ldx, (bfloat *)to + done * ld, ld, whole);
    }
    return operand{to, ld, bfloat_type};
}

/* ---- C = A B, C = A B^T --------------------------------------------------------------------- */

/* C = beta C + A B of m rows, k > 0. */
static void multiply(int64_t m, int64_t n, int64_t k, operand a, operand b, bool transposed,
                     bool add, flip_real *c, int64_t ldc) {
    const flip_real one = 1, beta = add ? 1 : 0;
    note(blas.gemm(handle, transposed ? CUBLAS_OP_T : CUBLAS_OP_N, CUBLAS_OP_N, (int)n, (int)m,
                   (int)k, &one, b.at, b.type, (int)b.ld, a.at, a.type, (int)a.ld, &beta, c,
                   real_type, (int)ldc, compute, CUBLAS_GEMM_DEFAULT),
         "a product by cuBLAS");
}

/* One product of the sum: A [m, k] and B; `kept` is B rounded, or as it is. */
typedef struct factor {
    const flip_real *a, *b;
    int64_t k, lda, ldb;
    operand kept;
} factor;

/* B's shape in memory */
static int64_t b_rows(const factor *f, int64_t n, bool transposed) {
    return transposed ? n : f->k;
}

static int64_t b_columns(const factor *f, int64_t n, bool transposed) {
    return transposed ? f->k : n;
}

/* Products that are there (k > 0) of the one or two; returns how many. */
static int list_factors(factor factors[2], int64_t k, const flip_real *a, int64_t lda,
                        const flip_real *b, int64_t ldb, const flip_epilogue *e) {
    int n = 0;
    if (k > 0) factors[n++] = factor{a, b, k, lda, ldb, plain(b, ldb)};
    if (e && e->plus_a && e->plus_k > 0)
        factors[n++] = factor{e->plus_a,   e->plus_b,   e->plus_k,
                              e->plus_lda, e->plus_ldb, plain(e->plus_b, e->plus_ldb)};
    return n;
}

/* Rows of a piece: as many as a call takes, or whose A, rounded, is PIECE_BYTES. Pieces of C that
 * L2 holds until the epilogue gain nothing: what they save of memory they lose at their ends. */
static int64_t piece_rows(const factor *factors, int count, bool rounding) {
    int64_t rows = MOST_ROWS;
    for (int f = 0; f < count && rounding; f++)
        rows = flip_min64(rows, PIECE_BYTES / (int64_t)(rounded_ld(factors[f].k) * sizeof(bfloat)));
    return rows < 256 ? 256 : rows / 256 * 256;
}

/* B's of all factors rounded, one behind the other from the scratch memory on; then A's place. */
static void *round_factors(factor *factors, int count, int64_t n, bool transposed, int64_t rows) {
    size_t bytes = 0, most = 0;
    for (int f = 0; f < count; f++) {
        const size_t a_bytes = rounded_bytes(rows, factors[f].k);
        bytes += rounded_bytes(b_rows(&factors[f], n, transposed),
                               b_columns(&factors[f], n, transposed));
        most = a_bytes > most ? a_bytes : most;
    }
    char *to = (char *)flip_cuda_scratch(bytes + most);
    for (int f = 0; to && f < count; f++) {
        const int64_t down = b_rows(&factors[f], n, transposed);
        const int64_t across = b_columns(&factors[f], n, transposed);
        factors[f].kept = rounded(down, across, factors[f].b, factors[f].ldb, to);
        to += rounded_bytes(down, across);
    }
    return to;
}

static void product(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, bool transposed, flip_real *c, int64_t ldc,
                    const flip_epilogue *e, bool rounding) {
    factor factors[2];
    const int count = list_factors(factors, k, a, lda, b, ldb, e);
    const bool add = e && e->accumulate;
    if (m == 0 || n == 0) return;
    const int64_t rows = flip_min64(m, piece_rows(factors, count, rounding));
    void *place = NULL;
    if (rounding && count > 0) {
        place = round_factors(factors, count, n, transposed, rows);
        if (!place) return;
    }
    for (int64_t first = 0; first < m; first += rows) {
        const int64_t now = flip_min64(rows, m - first);
        flip_real *out = c + first * ldc;
        for (int f = 0; f < count; f++) {
            const flip_real *from = factors[f].a + first * factors[f].lda;
            const operand left = rounding ? rounded(now, factors[f].k, from, factors[f].lda, place)
                                          : plain(from, factors[f].lda);
            multiply(now, n, factors[f].k, left, factors[f].kept, transposed, add || f > 0, out,
                     ldc);
        }
        flip_cuda_epilogue(e, first, now, n, out, ldc, count == 0 && !add);
    }
}

static void gemm_nn(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *e) {
    product(m, n, k, a, lda, b, ldb, false, c, ldc, e, false);
}

static void gemm_nt(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *e) {
    product(m, n, k, a, lda, b, ldb, true, c, ldc, e, false);
}

static void gemm_nn_bf16(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                         const flip_epilogue *e) {
    product(m, n, k, a, lda, b, ldb, false, c, ldc, e, true);
}

static void gemm_nt_bf16(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                         const flip_epilogue *e) {
    product(m, n, k, a, lda, b, ldb, true, c, ldc, e, true);
}

/* ---- G += A^T B ----------------------------------------------------------------------------- */

/* `count` products [k, n] of `rows` rows each, one behind the other. */
static void multiply_blocks(int64_t count, int64_t rows, int64_t n, int64_t k, operand a, operand b,
                            flip_real *part) {
    const flip_real one = 1, zero = 0;
    note(blas.batches(handle, CUBLAS_OP_N, CUBLAS_OP_T, (int)n, (int)k, (int)rows, &one, b.at,
                      b.type, (int)b.ld, rows * b.ld, a.at, a.type, (int)a.ld, rows * a.ld, &zero,
                      part, real_type, (int)n, k * n, (int)count, compute, CUBLAS_GEMM_DEFAULT),
         "a weight gradient by cuBLAS");
}

static operand skip(operand x, int64_t rows) {
    const int64_t size = x.type == real_type ? sizeof(flip_real) : sizeof(bfloat);
    return operand{(const char *)x.at + rows * x.ld * size, x.ld, x.type};
}

/* Blocks of rows at a time: their parts, and their operands rounded, in the scratch memory. */
static void gradient_tile(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                          const flip_real *b, int64_t ldb, double *g, int64_t ldg, bool rounding) {
    const int64_t block = flip_cuda_gradient_block(m);
    const size_t part_bytes = (size_t)(k * n) * sizeof(flip_real);
    const size_t a_bytes = rounding ? rounded_bytes(block, k) : 0;
    const size_t b_bytes = rounding ? rounded_bytes(block, n) : 0,
                 each = part_bytes + a_bytes + b_bytes;
    int64_t most =
        FLIP_CUDA_SCRATCH / (int64_t)each * (rounding ? 2 : 1); /* enough blocks a call */
    most = most < 1 ? 1 : most > MOST_BATCHES ? MOST_BATCHES : most;
    char *at = (char *)flip_cuda_scratch((size_t)most * each);
    flip_real *part = (flip_real *)(at + (size_t)most * (a_bytes + b_bytes));
    for (int64_t first = 0; at && first < m; first += most * block) {
        const int64_t rows = flip_min64(most * block, m - first), full = rows / block;
        const int64_t rest = rows - full * block;
        operand x = plain(a + first * lda, lda), y = plain(b + first * ldb, ldb);
        if (rounding) {
            x = rounded(rows, k, a + first * lda, lda, at);
            y = rounded(rows, n, b + first * ldb, ldb, at + (size_t)most * a_bytes);
        }
        if (full > 0) multiply_blocks(full, block, n, k, x, y, part);
        if (rest > 0)
            multiply_blocks(1, rest, n, k, skip(x, full * block), skip(y, full * block),
                            part + full * k * n);
        flip_cuda_sum_parts(full + (rest > 0), k, n, part, g, ldg);
    }
}

static void gradient(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                     const flip_real *b, int64_t ldb, double *g, int64_t ldg, bool rounding) {
    for (int64_t l = 0; l < k; l += TILE)
        for (int64_t j = 0; j < n; j += TILE)
            gradient_tile(m, flip_min64(TILE, n - j), flip_min64(TILE, k - l), a + l, lda, b + j,
                          ldb, g + l * ldg + j, ldg, rounding);
}

static void gemm_tn(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, double *g, int64_t ldg) {
    gradient(m, n, k, a, lda, b, ldb, g, ldg, false);
}

static void gemm_tn_bf16(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, double *g, int64_t ldg) {
    gradient(m, n, k, a, lda, b, ldb, g, ldg, true);
}

flip_status flip_use_cuda_gemm(flip_kernels *table) {
    table->gemm_nn = gemm_nn;
    table->gemm_nt = gemm_nt;
    table->gemm_tn = gemm_tn;
    table->gemm_nn_bf16 = gemm_nn_bf16;
    table->gemm_nt_bf16 = gemm_nt_bf16;
    table->gemm_tn_bf16 = gemm_tn_bf16;
    return open_blas();
}
