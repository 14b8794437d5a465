/* What the kernel files share: tables, the epilogue's scalar form, bfloat16, dropout's threshold.
 */
#ifndef FLIPBOOK_KERNELS_INTERNAL_H
#define FLIPBOOK_KERNELS_INTERNAL_H

#include <flipbook/kernels.h>

#include <math.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Each overrides entries of the table it is given. The simd ones exist in the float build. */
void flip_kernels_use_blas(flip_kernels *table);
void flip_kernels_use_changes(flip_kernels *table); /* likewise */
void flip_kernels_use_cells(flip_kernels *table);   /* the reference's own */
void flip_kernels_use_packed(flip_kernels *table);  /* likewise */
void flip_kernels_use_memory(flip_kernels *table);  /* likewise */
void flip_kernels_use_steps(flip_kernels *table);   /* likewise */
void flip_kernels_use_losses(flip_kernels *table);  /* likewise */
void flip_kernels_use_norms(flip_kernels *table);   /* likewise */
void flip_kernels_use_evolve(flip_kernels *table);  /* likewise */
void flip_kernels_use_edges(flip_kernels *table);   /* likewise */
void flip_kernels_use_draws(flip_kernels *table);   /* likewise */
void flip_kernels_use_runs(flip_kernels *table);    /* likewise */
#define FLIP_SIMD_USES(isa)                                                                        \
    void flip_use_pointwise_##isa(flip_kernels *table);                                            \
    void flip_use_cells_##isa(flip_kernels *table);                                                \
    void flip_use_pairs_##isa(flip_kernels *table);                                                \
    void flip_use_spmm_##isa(flip_kernels *table);                                                 \
    void flip_use_packed_##isa(flip_kernels *table);                                               \
    void flip_use_tables_##isa(flip_kernels *table);                                               \
    void flip_use_gemm_##isa(flip_kernels *table);                                                 \
    void flip_use_gradient_##isa(flip_kernels *table);                                             \
    void flip_use_lstm_##isa(flip_kernels *table);
FLIP_SIMD_USES(avx2)
FLIP_SIMD_USES(avx512)
FLIP_SIMD_USES(bf16) /* gemm, gradient and lstm only: AVX512_BF16's own products */

/* The device and its libraries; its name goes to `name`. */
flip_status flip_cuda_open(int device, char *name, size_t size);
int flip_cuda_devices(void);
/* Each sets entries of the CUDA table; a table with an entry unset is refused. */
void flip_use_cuda_memory(flip_kernels *table);
void flip_use_cuda_ahead(flip_kernels *table);
void flip_use_cuda_graphs(flip_kernels *table);
void flip_use_cuda_pointwise(flip_kernels *table);
void flip_use_cuda_steps(flip_kernels *table);
void flip_use_cuda_losses(flip_kernels *table);
void flip_use_cuda_spmm(flip_kernels *table);
void flip_use_cuda_packed(flip_kernels *table);
void flip_use_cuda_tables(flip_kernels *table);
void flip_use_cuda_changes(flip_kernels *table);
void flip_use_cuda_draws(flip_kernels *table);
void flip_use_cuda_runs(flip_kernels *table);
flip_status flip_use_cuda_gemm(flip_kernels *table); /* opens cuBLAS */
void flip_use_cuda_epilogue(flip_kernels *table);
void flip_use_cuda_sums(flip_kernels *table);
void flip_use_cuda_cells(flip_kernels *table);
void flip_use_cuda_norms(flip_kernels *table);
void flip_use_cuda_evolve(flip_kernels *table);
void flip_use_cuda_edges(flip_kernels *table);
void flip_use_cuda_attention(flip_kernels *table);
void flip_use_cuda_groups(flip_kernels *table);

/* Functions of a library that is not linked. `files` ends with a name NULL and is tried in order:
 * in the folders of FLIP_CUDA_LIBRARIES, $CUDA_HOME/lib64, the loader's own, /usr/local/cuda.
 * symbols ends with NULL; functions [symbols] out. */
typedef struct flip_cuda_file {
    const char *name, *companion; /* companion: loaded from the same folder before it, or NULL */
} flip_cuda_file;
flip_status flip_cuda_library(const char *name, const flip_cuda_file *files,
                              const char *const *symbols, void **functions);

/* Has anything to be done to sums that are there? */
static inline bool flip_epilogue_needed(const flip_epilogue *e) {
    return e && (e->bias || e->relu || e->relu_bits || e->mask || e->dropout > 0);
}

/* Rows of C = A B finished in one go by the epilogue; C holds the sums already. */
void flip_epilogue_apply(const flip_epilogue *e, int64_t first_row, int64_t n_rows, int64_t n,
                         flip_real *c, int64_t ldc);

/* A word w is kept when w >= p * 2^32, that is w >= ceil(p * 2^32). */
static inline uint64_t flip_keep_from(double p) {
    return (uint64_t)ceil(p * 4294967296.0);
}

/* Round to nearest even bfloat16; NaN stays NaN. Through float in the double build. */
static inline uint16_t flip_bf16_bits(flip_real value) {
    float f = (float)value;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline flip_real flip_bf16_round(flip_real value) {
    uint32_t u = (uint32_t)flip_bf16_bits(value) << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* The row of x of entry e's column. */
static inline const flip_real *flip_csr_row(const flip_csr *a, int64_t e, int64_t width,
                                            const flip_real *x_own, const flip_real *x_halo) {
    int32_t col = a->col[e];
    return col < a->n_own ? x_own + col * width : x_halo + (int64_t)(col - a->n_own) * width;
}

static inline int64_t flip_min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Rows of a weight gradient's block: a function of the shape alone, so that sums do not depend on
 * threads. Between 128 and 1024, a multiple of 32, about m / 16. */
static inline int64_t flip_gradient_block(int64_t m) {
    int64_t rows = (m / 16 + 31) / 32 * 32;
    return rows < 128 ? 128 : rows > 1024 ? 1024 : rows;
}

#ifdef __cplusplus
}
#endif
#endif
