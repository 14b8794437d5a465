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
static inline int __syncthreads_or(int value, FLIP_EMULATED_AT) {
    return flip_emulated_barrier("__syncthreads_or", value, file, line) != 0;
}
static inline int __syncthreads_and(int value, FLIP_EMULATED_AT) {
    return flip_emulated_barrier("__syncthreads_and", !value, file, line) == 0;
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

static inline void __threadfence(void) {}
static inline void __threadfence_block(void) {}

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
    }                                                                                              \
    static inline type atomicExch(type *at, type value) {                                          \
        type old = *at;                                                                            \
        *at = value;                                                                               \
        return old;                                                                                \
    }                                                                                              \
    static inline type atomicCAS(type *at, type expected, type value) {                            \
        type old = *at;                                                                            \
        if (old == expected) *at = value;                                                          \
        return old;                                                                                \
    }                                                                                              \
    static inline type atomicOr(type *at, type value) {                                            \
        type old = *at;                                                                            \
        *at = old | value;                                                                         \
        return old;                                                                                \
    }                                                                                              \
    static inline type atomicAnd(type *at, type value) {                                           \
        type old = *at;                                                                            \
        *at = old & value;                                                                         \
        return old;                                                                                \
    }
FLIP_EMULATED_ATOMICS(int)
FLIP_EMULATED_ATOMICS(unsigned)
FLIP_EMULATED_ATOMICS(unsigned long long)
#undef FLIP_EMULATED_ATOMICS
static inline int atomicSub(int *at, int value) {
    return atomicAdd(at, -value);
}
static inline unsigned atomicSub(unsigned *at, unsigned value) {
    return atomicAdd(at, 0u - value);
}

/* ---- numbers ---- */
template <typename type> static inline type __ldg(const type *at) {
    return *at;
}
template <typename type> static inline type __ldcs(const type *at) {
    return *at;
}
template <typename type> static inline void __stcs(type *at, type value) {
    *at = value;
}
static inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x) {
    return __builtin_popcountll(x);
}
static inline int __ffs(int x) {
    return __builtin_ffs(x);
}
static inline int __ffsll(long long x) {
    return __builtin_ffsll(x);
}
static inline int __clz(int x) {
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __clzll(long long x) {
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
#define FLIP_EMULATED_BITS(name, to, from)                                                         \
    static inline to name(from x) {                                                                \
        to y;                                                                                      \
        memcpy(&y, &x, sizeof y);                                                                  \
        return y;                                                                                  \
    }
FLIP_EMULATED_BITS(__float_as_uint, unsigned, float)
FLIP_EMULATED_BITS(__float_as_int, int, float)
FLIP_EMULATED_BITS(__uint_as_float, float, unsigned)
FLIP_EMULATED_BITS(__int_as_float, float, int)
FLIP_EMULATED_BITS(__double_as_longlong, long long, double)
FLIP_EMULATED_BITS(__longlong_as_double, double, long long)
#undef FLIP_EMULATED_BITS
static inline float rsqrtf(float x) {
    return 1 / sqrtf(x);
}
static inline double rsqrt(double x) {
    return 1 / sqrt(x);
}
static inline float __fdividef(float x, float y) {
    return x / y;
}
static inline float __fmaf_rn(float x, float y, float z) {
    return fmaf(x, y, z);
}
static inline double __fma_rn(double x, double y, double z) {
    return fma(x, y, z);
}
static inline float __fmul_rn(float x, float y) {
    return x * y;
}
static inline float __fadd_rn(float x, float y) {
    return x + y;
}
static inline double __dmul_rn(double x, double y) {
    return x * y;
}
static inline double __dadd_rn(double x, double y) {
    return x + y;
}
/* the C library has functions of these names of its own */
#define __expf(x) expf(x)
#define __logf(x) logf(x)
static inline float __saturatef(float x) {
    return x > 0 ? (x < 1 ? x : 1) : 0;
}
template <typename a, typename b> static inline auto min(a x, b y) -> decltype(x + y) {
    return x < y ? x : y;
}
template <typename a, typename b> static inline auto max(a x, b y) -> decltype(x + y) {
    return x > y ? x : y;
}

/* ---- vectors ---- */
#define FLIP_EMULATED_VECTORS(base, type)                                                          \
    struct __align__(2 * sizeof(type)) base##2 {                                                   \
        type x, y;                                                                                 \
    };                                                                                             \
    struct __align__(16) base##4 {                                                                 \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline base##2 make_##base##2(type x, type y) {                                         \
        return {x, y};                                                                             \
    }                                                                                              \
    static inline base##4 make_##base##4(type x, type y, type z, type w) {                         \
        return {x, y, z, w};                                                                       \
    }
FLIP_EMULATED_VECTORS(float, float)
FLIP_EMULATED_VECTORS(double, double)
FLIP_EMULATED_VECTORS(int, int)
FLIP_EMULATED_VECTORS(uint, unsigned)
#undef FLIP_EMULATED_VECTORS

#endif
