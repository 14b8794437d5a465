/* Values in few bits on the GPU (definition: codec/groups.c, whose bits these are). A warp encodes
 * a group: a lane has eight values that follow each other, and so whole bytes of codes. Products
 * and sums are rounded one by one, as the definition's are. */
#include "kernels/cuda_warp.h"

#include "base/floats.h"
#include "codec/group_numbers.h"
#include "codec/groups.h"

enum { EACH = FLIP_GROUP / FLIP_WARP, HEAD = 4 /* bytes of a group before its codes */ };

static __host__ __device__ __forceinline__ size_t group_bytes(int32_t bits) {
    return HEAD + (size_t)FLIP_GROUP * (size_t)bits / 8;
}

/* ---- encoding -------------------------------------------------------------------------------- */

typedef struct range {
    uint16_t low, high; /* bfloat16 */
    float from, up;
    bool sound;
} range;

/* Of a warp's values, n of them this lane's; every lane gets it. Of equal ends (two zeros) the
 * first in order counts. */
static __device__ __forceinline__ range range_of(const float *x, int32_t n, int32_t bits) {
    const float infinity = flip_brief_wide(0x7f80);
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
    const uint16_t lowest = flip_brief_below(low), highest = flip_brief_above(high);
    const float span = flip_brief_wide(highest) - flip_brief_wide(lowest);
    if (span - span != 0) return r; /* not finite */
    r = range{lowest, highest, flip_brief_wide(lowest), 0, true};
    if (span > 0) r.up = (float)((1 << bits) - 1) / span;
    if (r.up - r.up != 0) r.up = 0; /* a span of denormals: low stands for all */
    return r;
}

/* Codes of a lane's values, the first in the lowest bits. */
static __device__ __forceinline__ uint64_t codes_of(const float *x, int32_t n, const range &r,
                                                    int32_t bits, uint32_t key, uint32_t first) {
    const float most = (float)((1 << bits) - 1);
    uint64_t codes = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (!r.sound || i >= n) continue;
        const float u = flip_group_draw(key, first + (uint32_t)i);
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
                                     flip_group_keys keys) {
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
        const uint64_t codes =
            codes_of(value, mine, r, bits, flip_group_key(keys, g), (uint32_t)(lane * EACH));
        uint8_t *to = out + (size_t)g * group_bytes(bits);
        if (lane == 0) *reinterpret_cast<uint32_t *>(to) = r.low | (uint32_t)r.high << 16;
        put_codes(to + HEAD + lane * bits, codes, (mine * bits + 7) / 8,
                  mine == EACH && bits % 4 == 0);
    }
}

/* 16 bits: no groups. */
__global__ static void narrow_kernel(uint16_t *out, const flip_real *x, int64_t n) {
    FLIP_EACH(i, n) {
        out[i] = flip_brief_nearest((float)x[i]);
    }
}

static void encode_groups(uint8_t *codes, const flip_real *x, int64_t n, int32_t bits,
                          uint64_t key) {
    if (flip_cuda_spoil()) return; /* another pass has another key */
    if (bits == 16) {
        FLIP_LAUNCH_EACH(narrow_kernel, n, reinterpret_cast<uint16_t *>(codes), x, n);
        return;
    }
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    FLIP_LAUNCH_WARPS(encode_kernel, groups, codes, x, n, bits, flip_group_keys_of(key));
}

/* ---- decoding -------------------------------------------------------------------------------- */

__global__ static void decode_kernel(flip_real *x, const uint8_t *in, int64_t n, int32_t bits) {
    FLIP_EACH(i, n) {
        const uint8_t *group = in + (size_t)(i / FLIP_GROUP) * group_bytes(bits);
        const uint32_t ends = *reinterpret_cast<const uint32_t *>(group);
        const float from = flip_brief_wide((uint16_t)ends), most = (float)((1 << bits) - 1);
        const float step = (flip_brief_wide((uint16_t)(ends >> 16)) - from) / most;
        const int32_t bit = (int32_t)(i % FLIP_GROUP) * bits;
        const int32_t code = group[HEAD + bit / 8] >> (bit % 8) & ((1 << bits) - 1);
        x[i] = (flip_real)__fadd_rn(from, __fmul_rn(step, (float)code));
    }
}

__global__ static void widen_kernel(flip_real *x, const uint16_t *in, int64_t n) {
    FLIP_EACH(i, n) {
        x[i] = (flip_real)flip_brief_wide(in[i]);
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
