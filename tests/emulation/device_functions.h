/* The emulated CUDA device: what device code calls. Threads wait for each other in barriers,
 * shuffles and votes; between two such calls a thread runs alone, so that atomics are plain. There
 * are no atomics on floating-point numbers: their sums would depend on the order of the threads. */
#ifndef FLIPBOOK_EMULATION_DEVICE_FUNCTIONS_H
#define FLIPBOOK_EMULATION_DEVICE_FUNCTIONS_H

#include <math.h>
#include <string.h>

enum { warpSize = 32 };

/* ---- waiting ---- */
enum flip_emulated_kind {
    FLIP_EMULATED_BARRIER,
    FLIP_EMULATED_WARP, /* __syncwarp and votes: the result holds a bit a lane */
    FLIP_EMULATED_SHUFFLE
};
struct flip_emulated_wait {
    flip_emulated_kind kind;
    const char *name, *file; /* what is called, where */
    int line;
    unsigned mask;   /* lanes */
    unsigned source; /* SHUFFLE: the lane whose value is asked for */
    uint64_t value;
};
/* Returns when all that must come have come. BARRIER: the number of threads whose value is not 0;
 * WARP: the lanes whose value is not 0; SHUFFLE: the source's value. */
uint64_t flip_emulated_wait_for(const flip_emulated_wait *wait);
unsigned flip_emulated_lane(void);

#define FLIP_EMULATED_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline int flip_emulated_barrier(const char *name, int value, const char *file, int line) {
    flip_emulated_wait wait = {FLIP_EMULATED_BARRIER, name, file, line, 0, 0, value != 0};
    return (int)flip_emulated_wait_for(&wait);
}
static inline void __syncthreads(FLIP_EMULATED_AT) {
    flip_emulated_barrier("__syncthreads", 0, file, line);
}
static inline int __syncthreads_count(int value, FLIP_EMULATED_AT) {
    return flip_emulated_barrier("__syncthreads_count", value, file, line);
}

static inline unsigned flip_emulated_vote(const char *name, unsigned mask, int value,
                                          const char *file, int line) {
    flip_emulated_wait wait = {FLIP_EMULATED_WARP, name, file, line, mask, 0, value != 0};
    return (unsigned)flip_emulated_wait_for(&wait);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, FLIP_EMULATED_AT) {
    flip_emulated_vote("__syncwarp", mask, 0, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int value, FLIP_EMULATED_AT) {
    return flip_emulated_vote("__ballot_sync", mask, value, file, line);
}
static inline int __any_sync(unsigned mask, int value, FLIP_EMULATED_AT) {
    return flip_emulated_vote("__any_sync", mask, value, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int value, FLIP_EMULATED_AT) {
    return flip_emulated_vote("__all_sync", mask, !value, file, line) == 0;
}

template <typename type>
static inline type flip_emulated_shuffle(const char *name, unsigned mask, type value,
                                         unsigned source, const char *file, int line) {
    static_assert(sizeof(type) == 4 || sizeof(type) == 8, "numbers of 32 or 64 bits");
    flip_emulated_wait wait = {FLIP_EMULATED_SHUFFLE, name, file, line, mask, source, 0};
    memcpy(&wait.value, &value, sizeof value);
    uint64_t bits = flip_emulated_wait_for(&wait);
    memcpy(&value, &bits, sizeof value);
    return value;
}
/* Sources outside the lane's group of `width` lanes mean the lane itself. */
template <typename type>
static inline type __shfl_sync(unsigned mask, type value, int source, int width = warpSize,
                               FLIP_EMULATED_AT) {
    unsigned lane = flip_emulated_lane(), group = lane & ~(unsigned)(width - 1);
    return flip_emulated_shuffle("__shfl_sync", mask, value,
                                 group + ((unsigned)source & (unsigned)(width - 1)), file, line);
}
template <typename type>
static inline type __shfl_up_sync(unsigned mask, type value, unsigned by, int width = warpSize,
                                  FLIP_EMULATED_AT) {
    unsigned lane = flip_emulated_lane(), in_group = lane & (unsigned)(width - 1);
    return flip_emulated_shuffle("__shfl_up_sync", mask, value, in_group < by ? lane : lane - by,
                                 file, line);
}
template <typename type>
static inline type __shfl_down_sync(unsigned mask, type value, unsigned by, int width = warpSize,
                                    FLIP_EMULATED_AT) {
    unsigned lane = flip_emulated_lane(), in_group = lane & (unsigned)(width - 1);
    return flip_emulated_shuffle("__shfl_down_sync", mask, value,
                                 in_group + by >= (unsigned)width ? lane : lane + by, file, line);
}
template <typename type>
static inline type __shfl_xor_sync(unsigned mask, type value, int by, int width = warpSize,
                                   FLIP_EMULATED_AT) {
    unsigned lane = flip_emulated_lane(), source = lane ^ (unsigned)by;
    bool later_group = source / (unsigned)width > lane / (unsigned)width;
    return flip_emulated_shuffle("__shfl_xor_sync", mask, value, later_group ? lane : source, file,
                                 line);
}

/* ---- rounded by themselves, never as one with their neighbours ---- */
static inline float __fadd_rn(float a, float b) {
    return a + b;
}
static inline float __fmul_rn(float a, float b) {
    return a * b;
}
static inline double __dmul_rn(double a, double b) {
    return a * b;
}

/* ---- atomics on integers ---- */
#define FLIP_EMULATED_ATOMICS(type)                                                                \
    static inline type atomicAdd(type *at, type value) {                                           \
        type old = *at;                                                                            \
        *at = (type)(old + value);                                                                 \
        return old;                                                                                \
    }                                                                                              \
    static inline type atomicMax(type *at, type value) {                                           \
        type old = *at;                                                                            \
        *at = old > value ? old : value;                                                           \
        return old;                                                                                \
    }                                                                                              \
    static inline type atomicMin(type *at, type value) {                                           \
        type old = *at;                                                                            \
        *at = old < value ? old : value;                                                           \
        return old;                                                                                \
    }
FLIP_EMULATED_ATOMICS(int)
FLIP_EMULATED_ATOMICS(unsigned)
FLIP_EMULATED_ATOMICS(unsigned long long)
#undef FLIP_EMULATED_ATOMICS

/* ---- numbers ---- */
static inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
static inline int __ffs(int x) {
    return __builtin_ffs(x);
}
template <typename a, typename b> static inline auto min(a x, b y) -> decltype(x + y) {
    return x < y ? x : y;
}
template <typename a, typename b> static inline auto max(a x, b y) -> decltype(x + y) {
    return x > y ? x : y;
}

#endif
