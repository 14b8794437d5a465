/* Values in few bits on the GPU (definition: codec/groups.c, whose bits these are). A warp encodes
 * a group: a lane has eight values that follow each other, and so whole bytes of codes. Products
 * and sums are rounded one by one, as the definition's are. */
#include "kernels/cuda_warp.h"

#include "codec/groups.h"

enum { EACH = FLIP_GROUP / FLIP_WARP, HEAD = 4 /* bytes of a group before its codes */ };

static __host__ __device__ __forceinline__ size_t group_bytes(int32_t bits) {
    return HEAD + (size_t)FLIP_GROUP * (size_t)bits / 8;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static __device__ __forceinline__ float widen(uint32_t brief) {
    const uint32_t u = brief << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* To bfloat16 towards minus infinity; to the other side by the negative. */
static __device__ __forceinline__ uint32_t narrow_down(float x) {
    const uint32_t u = bits_of(x);
    return (u >> 16) + ((u & 0xffff) != 0 && u >> 31);
}

static __device__ __forceinline__ uint32_t narrow_nearest(float x) {
    const uint32_t u = bits_of(x);
    return x != x ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

static __host__ __device__ __forceinline__ uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* ---- encoding -------------------------------------------------------------------------------- */

typedef struct range {
    uint32_t low, high; /* bfloat16 */
    float from, up;
    bool sound;
} range;

/* Of a warp's values, n of them this lane's; every lane gets it. Of equal ends (two zeros) the
 * first in order counts. */
static __device__ __forceinline__ range range_of(const float *x, int32_t n, int32_t bits) {
    const float infinity = widen(0x7f80);
    float low = infinity, high = -infinity, nothing = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (i >= n) continue;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        nothing += x[i] - x[i]; /* NaN where x is not finite */
    }
    for (int apart = 1; apart < FLIP_WARP; apart *= 2) { /* lane 0: of lanes 0 … 2 apart - 1 */
        const float lower = __shfl_down_sync(FLIP_ALL_LANES, low, apart);
        const float higher = __shfl_down_sync(FLIP_ALL_LANES, high, apart);
        low = lower < low ? lower : low;
        high = higher > high ? higher : high;
    }
    low = __shfl_sync(FLIP_ALL_LANES, low, 0);
    high = __shfl_sync(FLIP_ALL_LANES, high, 0);
    range r = {0x7fc0, 0x7fc0, 0, 0, false};
    if (!__all_sync(FLIP_ALL_LANES, nothing == 0)) return r;
    const uint32_t lowest = narrow_down(low), highest = narrow_down(-high) ^ 0x8000;
    const float span = widen(highest) - widen(lowest);
    if (span - span != 0) return r; /* not finite */
    r = range{lowest, highest, widen(lowest), 0, true};
    if (span > 0) r.up = (float)((1 << bits) - 1) / span;
    if (r.up - r.up != 0) r.up = 0; /* a span of denormals: low stands for all */
    return r;
}

/* Codes of a lane's values, the first in the lowest bits. */
static __device__ __forceinline__ uint64_t codes_of(const float *x, int32_t n, const range &r,
                                                    int32_t bits, uint32_t key) {
    const float most = (float)((1 << bits) - 1);
    uint64_t codes = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (!r.sound || i >= n) continue;
        const float u = __fmul_rn((float)(mix(key + (uint32_t)i * 0x9e3779b9u) >> 8), 0x1p-24f);
        const float c = floorf(__fadd_rn(__fmul_rn(x[i] - r.from, r.up), u));
        codes |= (uint64_t)(int32_t)(c < 0 ? 0 : c > most ? most : c) << (i * bits);
    }
    return codes;
}

/* A lane's, in as many bytes as they have: words where all are there. */
static __device__ __forceinline__ void put_codes(uint8_t *to, uint64_t codes, int32_t bytes,
                                                 bool words) {
    if (words)
        for (int32_t w = 0; w < bytes / 4; w++)
            reinterpret_cast<uint32_t *>(to)[w] = (uint32_t)(codes >> (32 * w));
    else
        for (int32_t b = 0; b < bytes; b++)
            to[b] = (uint8_t)(codes >> (8 * b));
}

__global__ static void encode_kernel(uint8_t *out, const flip_real *x, int64_t n, int32_t bits,
                                     uint32_t base, uint32_t above) {
    const int32_t lane = threadIdx.x % FLIP_WARP;
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    FLIP_EACH_WARP(g, groups) {
        const int64_t first = g * FLIP_GROUP + lane * EACH, left = n - first;
        const int32_t mine = left < 0 ? 0 : left < EACH ? (int32_t)left : EACH;
        float value[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++)
            value[i] = i < mine ? (float)x[first + i] : 0;
        const range r = range_of(value, mine, bits);
        const uint32_t at = mix(base + (uint32_t)g) ^ mix(above + (uint32_t)(g >> 32));
        const uint32_t key = at + (uint32_t)(lane * EACH) * 0x9e3779b9u;
        uint8_t *to = out + (size_t)g * group_bytes(bits);
        if (lane == 0) *reinterpret_cast<uint32_t *>(to) = r.low | r.high << 16;
        put_codes(to + HEAD + lane * bits, codes_of(value, mine, r, bits, key),
                  (mine * bits + 7) / 8, mine == EACH && bits % 4 == 0);
    }
}

/* 16 bits: no groups. */
__global__ static void narrow_kernel(uint16_t *out, const flip_real *x, int64_t n) {
    FLIP_EACH(i, n) {
        out[i] = (uint16_t)narrow_nearest((float)x[i]);
    }
}

static void encode_groups(uint8_t *codes, const flip_real *x, int64_t n, int32_t bits,
                          uint64_t key) {
    if (bits == 16) {
        FLIP_LAUNCH_EACH(narrow_kernel, n, reinterpret_cast<uint16_t *>(codes), x, n);
        return;
    }
    const uint32_t above = mix((uint32_t)(key >> 32) ^ 0x5bd1e995u);
    const uint32_t base = mix((uint32_t)key ^ above);
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    FLIP_LAUNCH_WARPS(encode_kernel, groups, codes, x, n, bits, base, above);
}

/* ---- decoding -------------------------------------------------------------------------------- */

__global__ static void decode_kernel(flip_real *x, const uint8_t *in, int64_t n, int32_t bits) {
    FLIP_EACH(i, n) {
        const uint8_t *group = in + (size_t)(i / FLIP_GROUP) * group_bytes(bits);
        const uint32_t ends = *reinterpret_cast<const uint32_t *>(group);
        const float from = widen(ends & 0xffff), most = (float)((1 << bits) - 1);
        const float step = (widen(ends >> 16) - from) / most;
        const int32_t bit = (int32_t)(i % FLIP_GROUP) * bits;
        const int32_t code = group[HEAD + bit / 8] >> (bit % 8) & ((1 << bits) - 1);
        x[i] = (flip_real)__fadd_rn(from, __fmul_rn(step, (float)code));
    }
}

__global__ static void widen_kernel(flip_real *x, const uint16_t *in, int64_t n) {
    FLIP_EACH(i, n) {
        x[i] = (flip_real)widen(in[i]);
    }
}

static void decode_groups(flip_real *x, const uint8_t *codes, int64_t n, int32_t bits) {
    if (bits == 16)
        FLIP_LAUNCH_EACH(widen_kernel, n, x, reinterpret_cast<const uint16_t *>(codes), n);
    else
        FLIP_LAUNCH_EACH(decode_kernel, n, x, codes, n, bits);
}

void flip_use_cuda_groups(flip_kernels *table) {
    table->encode_groups = encode_groups;
    table->decode_groups = decode_groups;
}
