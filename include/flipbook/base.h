/* Flipbook: base — the words every other module uses: numbers, errors, memory, chance, counters.
 *
 * Numbers      flip_real is float in the product and double in the oracle build (-Dreal=double).
 *              flip_gid (int64) is a global node id; int32_t a local index; size_t counts bytes.
 * Errors       A function that can fail returns flip_status and leaves one message with function,
 *              file and line in a process-wide record. The library never exits and never prints.
 * Memory       Arenas hand out aligned memory; a mark taken now releases all that came later.
 * Chance       Counter-based (Philox4x32-10): a draw is a pure function of (seed, stream, a, b), so
 *              it does not depend on ranks, threads or order.
 * Counters     A meter adds up bytes by kind and seconds by stage; the report prints it.
 */
#ifndef FLIPBOOK_BASE_H
#define FLIPBOOK_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef FLIP_REAL_DOUBLE
typedef double flip_real;
#define FLIP_REAL_NAME "double"
#else
typedef float flip_real;
#define FLIP_REAL_NAME "float"
#endif

typedef int64_t flip_gid;

/* An inline function that the CPU and a device's kernels share: one definition, the same bits. */
#ifdef __CUDACC__
#define FLIP_EITHER __host__ __device__ static inline
#else
#define FLIP_EITHER static inline
#endif
/* One that is inlined wherever it is called. gcc takes a call that only prefetches for one without
 * effect, and drops it: such functions are of this kind. */
#define FLIP_INLINE static inline __attribute__((always_inline))

/* ---- errors ------------------------------------------------------------------------------- */

typedef enum flip_status {
    FLIP_OK = 0,
    FLIP_ERROR_INPUT,    /* a file or data is wrong: exit 1 */
    FLIP_ERROR_USAGE,    /* the call or command line is wrong: exit 2 */
    FLIP_ERROR_MEMORY,   /* it does not fit: exit 1 */
    FLIP_ERROR_IO,       /* the system refused to read or write: exit 1 */
    FLIP_ERROR_LIBRARY,  /* MPI, HDF5, METIS, … failed: exit 1 */
    FLIP_ERROR_INTERNAL, /* a bug in Flipbook: exit 1 */
    FLIP_STOPPED         /* stopped by request after a checkpoint: exit 85 */
} flip_status;

/* Exit code of a program that ends with this status: 0, 1, 2 or 85. */
int flip_exit_code(flip_status status);

/* Record an error and return its status. The first record stands until flip_error_clear. */
flip_status flip_error_set(flip_status status, const char *function, const char *file, int line,
                           const char *format, ...) __attribute__((format(printf, 5, 6)));
const char *flip_error_message(void); /* "" when there is none; valid until the next set or clear */
const char *flip_error_where(void);   /* "function (file:line)" */
void flip_error_clear(void);

/* return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' line %ld: found %s, expected an integer", …); */
#define FLIP_FAIL(status, ...) flip_error_set((status), __func__, __FILE__, __LINE__, __VA_ARGS__)

#define FLIP_TRY(call)                                                                             \
    do {                                                                                           \
        flip_status flip_try_ = (call);                                                            \
        if (flip_try_ != FLIP_OK) return flip_try_;                                                \
    } while (0)

/* Needs `flip_status status` and a label `done` in the function. */
#define FLIP_TRY_GOTO(call)                                                                        \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != FLIP_OK) goto done;                                                          \
    } while (0)

/* int64 -> int32 that refuses what does not fit; `what` names the number in the message. */
flip_status flip_narrow(int32_t *out, int64_t value, const char *what);

/* The choice nearest to `word` by edit distance (insert, delete, replace, swap of neighbours), or
 * NULL when none is near enough to be meant. */
const char *flip_suggest(const char *word, const char *const *choices, size_t n);

/* ---- memory ------------------------------------------------------------------------------- */

/* malloc that fails with a message naming `what` and the bytes. count * size is checked for
 * overflow; zero bytes give a valid pointer; memory is 64-byte aligned. Free with flip_free. */
flip_status flip_alloc(void *out_pointer, size_t count, size_t size, const char *what);
flip_status flip_alloc_zero(void *out_pointer, size_t count, size_t size, const char *what);
/* Grow *(void **)pointer to `count` items, keeping the first `kept` items. */
flip_status flip_grow(void *pointer, size_t kept, size_t count, size_t size, const char *what);
void flip_free(void *pointer); /* takes the pointer itself; NULL is fine */

typedef struct flip_arena flip_arena;
typedef struct flip_mark {
    size_t chunk, used; /* opaque position */
} flip_mark;

flip_status flip_arena_create(flip_arena **arena, const char *name);
void flip_arena_destroy(flip_arena **arena);
/* 64-byte aligned, not cleared; lives until the arena returns to an earlier mark. */
flip_status flip_arena_alloc(flip_arena *arena, void *out_pointer, size_t count, size_t size);
flip_mark flip_arena_mark(const flip_arena *arena);
void flip_arena_reset(flip_arena *arena, flip_mark mark); /* keeps the chunks for reuse */
size_t flip_arena_used(const flip_arena *arena);          /* bytes handed out now */
size_t flip_arena_peak(const flip_arena *arena);          /* most bytes handed out at once */

/* Resident memory of this process, bytes: now and the most so far (/proc/self/status). */
size_t flip_memory_now(void);
size_t flip_memory_peak(void);
/* Bytes this process may use: the smaller of the machine's memory and its cgroup's limit. */
size_t flip_memory_available(void);

/* ---- chance ------------------------------------------------------------------------------- */

/* Streams keep uses of one seed apart. */
typedef enum flip_stream {
    FLIP_STREAM_INIT,     /* a = parameter number, b = element */
    FLIP_STREAM_DROPOUT,  /* a = epoch << 8 | operator, b = original node id * width + column */
    FLIP_STREAM_NEGATIVE, /* a = step, b = pair */
    FLIP_STREAM_SPLIT,
    FLIP_STREAM_GENERATE, /* generators: a, b as each says */
    FLIP_STREAM_PARTITION,
    FLIP_STREAM_TEST,
    FLIP_STREAM_ACTIVATION, /* a = epoch << 24 | block, b = variable << 16 | rank */
    FLIP_STREAM_SAMPLE,     /* a = epoch << 8 | hop (128 | hop: LABOR's sources), b = original id */
    FLIP_STREAM_BATCH,      /* order of items: a = epoch */
    FLIP_STREAM_WIRE,       /* a = epoch, b = message << 16 | rank */
    FLIP_STREAM_CODEC       /* a = block of a codebook */
} flip_stream;

typedef struct flip_random4 {
    uint32_t v[4];
} flip_random4;

flip_random4 flip_random(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b);
double flip_random_uniform(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b); /* [0,1) */
double flip_random_normal(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b);
/* [0, n), n >= 1, unbiased enough for any n < 2^53 */
uint64_t flip_random_below(uint64_t seed, flip_stream stream, uint64_t a, uint64_t b, uint64_t n);
/* A seeded bijection of 0 … n-1 (n < 2^62), x to y, and its inverse. */
int64_t flip_random_permute(uint64_t seed, flip_stream stream, int64_t n, int64_t x);
int64_t flip_random_permute_back(uint64_t seed, flip_stream stream, int64_t n, int64_t y);

/* ---- counters ----------------------------------------------------------------------------- */

/* Bytes by kind; names as the report's "bytes" object. */
typedef enum flip_bytes {
    FLIP_BYTES_HALO,
    FLIP_BYTES_REDISTRIBUTE,
    FLIP_BYTES_STATE,
    FLIP_BYTES_WINDOW,
    FLIP_BYTES_ALLREDUCE,
    FLIP_BYTES_GRAPH_TO_DEVICE,
    FLIP_BYTES_FEATURES_TO_DEVICE,
    FLIP_BYTES_REMOTE_FEATURES,
    FLIP_BYTES_CHECKPOINT,
    FLIP_BYTES_COUNT
} flip_bytes;

/* Seconds by stage; rows of the closing table. */
typedef enum flip_stage {
    FLIP_STAGE_LOAD,
    FLIP_STAGE_PARTITION,
    FLIP_STAGE_ADJACENCY, /* the host's share in matrices and samplers' rows: events sorted,
                             snapshots patched and laid out, degrees counted; where a
                             GPU makes a matrix, waiting for what it did before, too */
    FLIP_STAGE_AGGREGATE,
    FLIP_STAGE_DENSE,
    FLIP_STAGE_RECURRENT, /* LSTM, GRU: products and cells */
    FLIP_STAGE_POINTWISE, /* activation, dropout, norms, concatenation */
    FLIP_STAGE_EXCHANGE,  /* waiting for halo rows; packing */
    FLIP_STAGE_SAMPLE,    /* drawing neighbours and non-edges, finding their owners */
    FLIP_STAGE_FETCH,     /* features of a batch: gathered, asked of other ranks */
    FLIP_STAGE_WAIT,      /* for the thread that makes batches ahead (its own: for the trainer) */
    FLIP_STAGE_LOSS,
    FLIP_STAGE_ALLREDUCE,
    FLIP_STAGE_OPTIMISER,
    FLIP_STAGE_EVALUATE,
    FLIP_STAGE_CHECKPOINT,
    FLIP_STAGE_COUNT
} flip_stage;

typedef struct flip_meter {
    uint64_t bytes[FLIP_BYTES_COUNT];   /* sent by this rank */
    uint64_t traffic[FLIP_STAGE_COUNT]; /* memory bytes a stage must touch at least (model) */
    uint64_t flops[FLIP_STAGE_COUNT];   /* multiply-adds * 2 */
    double seconds[FLIP_STAGE_COUNT];   /* self time: an inner stage pauses the outer one */
    int32_t stack[16], depth;           /* stages now open, innermost last */
    double since;                       /* start of the innermost stage's current stretch */
} flip_meter;

const char *flip_bytes_name(flip_bytes kind);
const char *flip_stage_name(flip_stage stage);
void flip_meter_begin(flip_meter *meter, flip_stage stage); /* meter may be NULL */
void flip_meter_end(flip_meter *meter);
/* sum += now - before, on everything that is counted. */
void flip_meter_add(flip_meter *sum, const flip_meter *now, const flip_meter *before);
double flip_seconds(void); /* monotonic clock */

/* ---- processor ---------------------------------------------------------------------------- */

typedef enum flip_isa { FLIP_ISA_C, FLIP_ISA_AVX2, FLIP_ISA_AVX512, FLIP_ISA_AVX512_BF16 } flip_isa;

/* Best instruction set of this CPU; the environment variable FLIP_ISA=c|avx2|avx512 lowers it. */
flip_isa flip_isa_detect(void);
const char *flip_isa_name(flip_isa isa);
/* Does a line that is asked for into the second-level cache bring the other line of its 128 bytes
 * along? Intel's do (spatial prefetcher; Optimization Reference Manual, "data prefetching"). */
bool flip_cpu_pairs_lines(void);
/* First thing in main: sets OPENBLAS_CORETYPE where OpenBLAS does not know the processor (0.3.21
 * and the newest AMD cores) and would fall back to SSE kernels, and OMP_WAIT_POLICY and
 * GOMP_SPINCOUNT where the user set neither, and runs the program again. */
void flip_start_mend(char **argv);
const char *flip_blas_core(void); /* the core type OpenBLAS runs now */

#ifdef __cplusplus
}
#endif
#endif
