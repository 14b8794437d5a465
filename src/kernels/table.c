/* Which kernels run: the reference, overridden step by step by what the machine has. */
#include "kernels/internal.h"

#include <pthread.h>

static flip_kernels tables[FLIP_KERNEL_TABLES];
static int n_tables;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static flip_kernels *add_table(void) {
    tables[n_tables] = tables[n_tables - 1];
    return &tables[n_tables++];
}

#ifdef FLIP_REAL_DOUBLE
static void fill_simd(void) {}
#else
#define USE_SIMD(isa, label)                                                                       \
    static void use_##isa(flip_kernels *table) {                                                   \
        table->name = label;                                                                       \
        flip_use_pointwise_##isa(table);                                                           \
        flip_use_cells_##isa(table);                                                               \
        flip_use_pairs_##isa(table);                                                               \
        flip_use_spmm_##isa(table);                                                                \
        flip_use_packed_##isa(table);                                                              \
        flip_use_tables_##isa(table);                                                              \
        flip_use_gemm_##isa(table);                                                                \
        flip_use_gradient_##isa(table);                                                            \
        flip_use_lstm_##isa(table);                                                                \
    }
USE_SIMD(avx2, "avx2")
USE_SIMD(avx512, "avx512")

/* On top of the AVX-512 table. */
static void use_bf16(flip_kernels *table) {
    table->name = "avx512+bf16";
    flip_use_gemm_bf16(table);
    flip_use_gradient_bf16(table);
    flip_use_lstm_bf16(table);
}

static void fill_simd(void) {
    flip_isa isa = flip_isa_detect();
    if (isa >= FLIP_ISA_AVX2) use_avx2(add_table());
    if (isa >= FLIP_ISA_AVX512) use_avx512(add_table());
    if (isa >= FLIP_ISA_AVX512_BF16) use_bf16(add_table());
}
#endif

static void fill(void) {
    tables[0] = *flip_kernels_reference();
    n_tables = 1;
    flip_kernels_use_blas(add_table());
    fill_simd();
}

int flip_kernels_list(const flip_kernels *list[FLIP_KERNEL_TABLES]) {
    pthread_once(&once, fill);
    for (int i = 0; i < n_tables; i++)
        list[i] = &tables[i];
    return n_tables;
}

const flip_kernels *flip_kernels_get(void) {
    pthread_once(&once, fill);
    return &tables[n_tables - 1];
}

/* What is held is given back first: the two together need not fit. */
flip_status flip_kernels_reserve(const flip_kernels *kernels, void *room_pointer, size_t *held,
                                 size_t bytes, const char *what) {
    void **room = room_pointer;
    if (bytes <= *held) return FLIP_OK;
    kernels->give_back(*room);
    *room = NULL;
    *held = 0;
    FLIP_TRY(kernels->take(room, bytes, what));
    *held = bytes;
    return FLIP_OK;
}

flip_status flip_kernels_copy_of(const flip_kernels *kernels, void *out_pointer, const void *host,
                                 size_t bytes, const char *what) {
    void *memory = NULL;
    if (bytes > 0) {
        FLIP_TRY(kernels->take(&memory, bytes, what));
        kernels->send(memory, host, bytes);
    }
    memcpy(out_pointer, &memory, sizeof memory);
    return FLIP_OK;
}

/* ---- CUDA: the one place that knows whether this build has it ---- */

#ifdef FLIP_CUDA
static flip_kernels cuda = {.name = "cuda", .on_device = true};
static flip_status cuda_status;
static pthread_once_t cuda_once = PTHREAD_ONCE_INIT;
static int cuda_device;

/* There is no falling back to the CPU: a table with an entry unset is not handed out. The entries
 * are the pointers from `take` on. */
static flip_status check_entries(const flip_kernels *table) {
    void (*const *entry)(void) = (void (*const *)(void)) & table->take;
    const size_t n = (sizeof *table - offsetof(flip_kernels, take)) / sizeof *entry;
    for (size_t i = 0; i < n; i++)
        if (!entry[i])
            return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                             "entry %zu of %zu of the kernel table has no CUDA kernel", i + 1, n);
    return FLIP_OK;
}

static void open_cuda(void) {
    cuda_status = flip_cuda_open(cuda_device, cuda.device, sizeof cuda.device);
    if (cuda_status != FLIP_OK) return;
    flip_use_cuda_memory(&cuda);
    flip_use_cuda_ahead(&cuda);
    flip_use_cuda_graphs(&cuda);
    flip_use_cuda_pointwise(&cuda);
    flip_use_cuda_steps(&cuda);
    flip_use_cuda_losses(&cuda);
    flip_use_cuda_spmm(&cuda);
    flip_use_cuda_packed(&cuda);
    flip_use_cuda_tables(&cuda);
    flip_use_cuda_changes(&cuda);
    flip_use_cuda_runs(&cuda);
    flip_use_cuda_draws(&cuda);
    flip_use_cuda_epilogue(&cuda);
    flip_use_cuda_sums(&cuda);
    flip_use_cuda_cells(&cuda);
    cuda_status = flip_use_cuda_gemm(&cuda);
    if (cuda_status != FLIP_OK) return;
    flip_use_cuda_norms(&cuda);
    flip_use_cuda_evolve(&cuda);
    flip_use_cuda_edges(&cuda);
    flip_use_cuda_attention(&cuda);
    flip_use_cuda_groups(&cuda);
    cuda_status = check_entries(&cuda);
}

flip_status flip_kernels_cuda(const flip_kernels **table, int device) {
    if (flip_cuda_devices() == 0)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "no CUDA device is at hand: no driver, or no GPU is "
                                             "visible to this process (CUDA_VISIBLE_DEVICES)");
    cuda_device = device;
    pthread_once(&cuda_once, open_cuda);
    *table = &cuda;
    return cuda_status;
}

int flip_kernels_cuda_devices(void) {
    return flip_cuda_devices();
}
#else
flip_status flip_kernels_cuda(const flip_kernels **table, int device) {
    (void)device;
    *table = NULL;
    return FLIP_FAIL(FLIP_ERROR_LIBRARY, "this build has no CUDA: configure with -Dcuda=enabled "
                                         "where nvcc is");
}

int flip_kernels_cuda_devices(void) {
    return 0;
}
#endif
