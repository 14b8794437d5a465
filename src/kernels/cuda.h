/* What the CUDA kernels share: the stream, errors, launching. The same files are compiled by nvcc
 * and, against tests/emulation, by a C++ compiler: kernels are launched through FLIP_LAUNCH alone,
 * dynamic shared memory is named by FLIP_SHARED, and there is no inline PTX and no cooperative
 * group.
 */
#ifndef FLIPBOOK_KERNELS_CUDA_H
#define FLIPBOOK_KERNELS_CUDA_H

#include "kernels/internal.h"

#include <cuda_runtime.h>

/* All work of the table goes through this stream, but for what is sent ahead (cuda_ahead.cu); NCCL
 * has one of its own, too (comm/nccl.cu). */
extern cudaStream_t flip_cuda_stream;

/* *event (NULL at first) stands for the end of all that the stream was given so far. */
void flip_cuda_mark(void **event, cudaStream_t stream);
void flip_cuda_drop(void **event); /* waits for nothing */

/* The first failure stands until `wait` reports it. */
void flip_cuda_note(cudaError_t error, const char *what);
#define FLIP_CUDA_DO(call) flip_cuda_note((call), #call)

/* What else may have failed while the host waits for the device: asked again and again meanwhile,
 * it ends what can no longer end by itself and gives its words, which every `wait` reports from
 * then on; NULL where nothing failed. NULL itself: nobody is asked. */
extern const char *(*flip_cuda_watch)(void);
/* The host waits until the event has happened, or somebody who watches gave up. */
void flip_cuda_wait_event(void *event);
/* How often the host waited for all of the stream's work. */
extern uint64_t flip_cuda_waits, flip_cuda_sent, flip_cuda_received; /* flip_device_counts */

/* How often memory of the device was given back: its address may be another's since. */
extern uint64_t flip_cuda_given_back;

/* What differs from pass to pass while all else of a recorded one is repeated (cuda_graphs.cu).
 * Kernels that need it are given flip_cuda_recorded_now: memory of the device while a pass is
 * recorded, else NULL. */
typedef struct flip_cuda_now {
    uint64_t draws;       /* are added to those of the recorded pass */
    flip_real rate, root; /* Adam's, in the place of the step's own */
} flip_cuda_now;
extern const flip_cuda_now *flip_cuda_recorded_now;
__device__ static inline uint64_t flip_cuda_draw(uint64_t draw, const flip_cuda_now *now) {
    return now ? draw + now->draws : draw;
}
static inline flip_real flip_cuda_adam_rate(const flip_adam_step *s) {
    return (flip_real)(s->lr / s->correct1);
}
static inline flip_real flip_cuda_adam_root(const flip_adam_step *s) {
    return (flip_real)(1 / sqrt(s->correct2));
}
/* Is a pass being recorded? Then it is spoiled: the caller can be neither kept nor repeated, and
 * does nothing. */
bool flip_cuda_spoil(void);
/* Passes that were replayed, and the kernels, copies and sets in them. */
extern uint64_t flip_cuda_replays, flip_cuda_replayed;

/* Memory of the device that grows with what is asked for and keeps nothing when it does; NULL,
 * noted as `what`, where nothing is left. */
typedef struct flip_cuda_room {
    void *memory;
    size_t bytes;
} flip_cuda_room;
void *flip_cuda_reserve(flip_cuda_room *room, size_t bytes, const char *what);

/* Such memory for what lives inside one call, the same for every call: kernels of one stream follow
 * each other. */
enum { FLIP_CUDA_SCRATCH = 32 << 20 }; /* bytes that are there without growing: L2 holds them */
void *flip_cuda_scratch(size_t bytes);

/* Rows first … first + m - 1 of C finished: what flip_epilogue_apply does. `c` is row `first`'s;
 * empty: C holds nothing yet and is taken as 0. */
void flip_cuda_epilogue(const flip_epilogue *e, int64_t first, int64_t m, int64_t n, flip_real *c,
                        int64_t ldc, bool empty);

/* g[l, j] += sum over b < count of part[b, l, j] in double, in an order that the shape fixes. */
void flip_cuda_sum_parts(int64_t count, int64_t k, int64_t n, const flip_real *part, double *g,
                         int64_t ldg);

/* Rows of a weight gradient's block on a device: enough blocks to fill it, from fewer rows on than
 * flip_gradient_block's, and a function of the shape alone like that. */
static inline int64_t flip_cuda_gradient_block(int64_t m) {
    int64_t rows = (m / 512 + 31) / 32 * 32;
    return rows < 128 ? 128 : rows > 1024 ? 1024 : rows;
}

#ifndef FLIP_LAUNCH
/* kernel<<<blocks, threads, shared bytes>>>(...); nothing where there are no blocks */
#define FLIP_LAUNCH(kernel, blocks, threads, shared, ...)                                          \
    do {                                                                                           \
        if ((blocks) == 0) break;                                                                  \
        kernel<<<(unsigned)(blocks), (threads), (shared), flip_cuda_stream>>>(__VA_ARGS__);        \
        flip_cuda_note(cudaPeekAtLastError(), #kernel);                                            \
    } while (0)
/* what the emulated device's messages call an allocation */
#define FLIP_NAME_MEMORY(memory, what) ((void)(memory), (void)(what))
/* `type *name`: the launch's dynamic shared memory */
#define FLIP_SHARED(type, name)                                                                    \
    extern __shared__ __align__(16) unsigned char flip_shared_memory_[];                           \
    type *name = reinterpret_cast<type *>(flip_shared_memory_)
#endif

/* Blocks of `each` threads for n items, one item a thread; grids beyond 2^31 - 1 are not reached:
 * kernels over many items walk on by the grid's width. */
static inline int64_t flip_cuda_blocks(int64_t n, int64_t each) {
    const int64_t most = 1 << 20;
    int64_t blocks = (n + each - 1) / each;
    return blocks < most ? blocks : most;
}

/* for (i of this thread; i < n; by the whole grid) */
#define FLIP_EACH(i, n)                                                                            \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                      \
         i += (int64_t)gridDim.x * blockDim.x)
/* A kernel whose items are FLIP_EACH of n. */
enum { FLIP_EACH_THREADS = 256 };
#define FLIP_LAUNCH_EACH(kernel, n, ...)                                                           \
    FLIP_LAUNCH(kernel, flip_cuda_blocks((n), FLIP_EACH_THREADS), FLIP_EACH_THREADS, 0, __VA_ARGS__)

__device__ static inline flip_real flip_logistic(flip_real x) {
    return 1 / (1 + exp(-x));
}

#endif
