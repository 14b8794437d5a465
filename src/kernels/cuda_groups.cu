/* Values in few bits on the GPU (definition: codec/groups.c, whose bits these are). A warp encodes
 * a group: a lane has eight values that follow each other, and so whole bytes of codes. Products
 * and sums are rounded one by one, as the definition's are. */
#include "kernels/cuda_warp.h"

#include "base/floats.h"
#include "codec/group_numbers.h"
#include "codec/groups.h"

enum {
    EACH = FLIP_GROUP / FLIP_WARP,
    QUARTERS = FLIP_GROUP / FLIP_QUARTER,
    QUARTER_LANES = FLIP_QUARTER / EACH,
    ENDS = 4, /* bytes of low and high */
    WARPS = FLIP_WARPS_THREADS / FLIP_WARP
};

static __host__ __device__ __forceinline__ size_t group_bytes(int32_t bits) {
    return (size_t)flip_group_head(FLIP_GROUP, bits) + (size_t)FLIP_GROUP * (size_t)bits / 8;
}

/* ---- encoding -------------------------------------------------------------------------------- */

typedef struct range {
    uint16_t low, high; /* bfloat16 */
    float from, up;
    bool sound;
} range;

/* Of a warp's values, n of them this lane's; every lane gets it. Of equal ends (two zeros) the
 * first in order counts. */
static __device__ __forceinline__ range range_of(const float *x, int32_t n, float steps) {
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
    if (span > 0) r.up = steps / span;
    if (r.up - r.up != 0) r.up = 0; /* a span of denormals: low stands for all */
    return r;
}

/* This lane's values; how many they are. */
static __device__ __forceinline__ int32_t load(float *value, const flip_real *x, int64_t n,
                                               int64_t first) {
    const int64_t left = n - first;
    const int32_t mine = left < 0 ? 0 : left < EACH ? (int32_t)left : EACH;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        value[i] = i < mine ? (float)x[first + i] : 0;
    return mine;
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
        const int64_t first = g * FLIP_GROUP + lane * EACH;
        float value[EACH];
        const int32_t mine = load(value, x, n, first);
        const range r = range_of(value, mine, (float)((1 << bits) - 1));
        const uint64_t codes =
            codes_of(value, mine, r, bits, flip_group_key(keys, g), (uint32_t)(lane * EACH));
        uint8_t *to = out + (size_t)g * group_bytes(bits);
        if (lane == 0) *reinterpret_cast<uint32_t *>(to) = r.low | (uint32_t)r.high << 16;
        put_codes(to + ENDS + lane * bits, codes, (mine * bits + 7) / 8, mine == EACH);
    }
}

/* ---- encoding in 2 bits ---- */

/* The top of this lane's quarter. */
static __device__ __forceinline__ int32_t top_of(const float *x, int32_t n, const range &r) {
    float high = r.from;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (i < n) high = x[i] > high ? x[i] : high;
    return flip_quarter_top(flip_lanes_max(high, 1, QUARTER_LANES), r.from, r.up);
}

static __device__ __forceinline__ float place_of(float x, const range &r, float stretch) {
    return __fmul_rn(__fmul_rn(x - r.from, r.up), stretch);
}

/* Values by place, as the definition's `places`: lane k gets those of place k. place: [QUARTERS *
 * FLIP_PLACES] of this warp, number of values in the upper half of a word and sum of positions in
 * the lower. */
static __device__ __forceinline__ void places_of(uint64_t *count, uint64_t *sum, uint32_t *place,
                                                 const float *x, int32_t n, const range &r,
                                                 int32_t top, int32_t lane) {
    const float stretch = flip_quarter_stretch(top);
    for (int i = lane; i < QUARTERS * FLIP_PLACES; i += FLIP_WARP)
        place[i] = 0;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (i >= n) continue;
        const uint32_t q = flip_place_position(place_of(x[i], r, stretch));
        atomicAdd(&place[lane / QUARTER_LANES * FLIP_PLACES + flip_position_place(q)],
                  1u << 16 | q);
    }
    __syncwarp();
    *count = *sum = 0;
    for (int quarter = 0; quarter < QUARTERS; quarter++) {
        const uint64_t t = (uint64_t)__shfl_sync(FLIP_ALL_LANES, top, quarter * QUARTER_LANES);
        if (lane >= FLIP_PLACES) continue;
        const uint32_t word = place[quarter * FLIP_PLACES + lane];
        *count += t * t * (word >> 16);
        *sum += t * t * (word & 0xffff);
    }
    __syncwarp(); /* before the next group's */
}

/* The inner levels, from what lane k has of place k: it weighs all pairs that begin there. */
static __device__ __forceinline__ uint32_t choose_levels(uint64_t own_count, uint64_t own_sum,
                                                         int32_t lane) {
    uint64_t count = own_count, sum = own_sum, best = UINT64_MAX;
    for (int apart = 1; apart < FLIP_PLACES; apart *= 2) {
        const uint64_t c = __shfl_up_sync(FLIP_ALL_LANES, count, apart);
        const uint64_t s = __shfl_up_sync(FLIP_ALL_LANES, sum, apart);
        if (lane >= apart) count += c, sum += s;
    }
    const uint64_t all = __shfl_sync(FLIP_ALL_LANES, count, FLIP_PLACES - 1);
    const uint64_t all_sum = __shfl_sync(FLIP_ALL_LANES, sum, FLIP_PLACES - 1);
    count -= own_count; /* below the place */
    sum -= own_sum;
    for (uint32_t b = 2; b < FLIP_PLACES; b++) {
        const uint64_t below = __shfl_sync(FLIP_ALL_LANES, count, b);
        const uint64_t below_sum = __shfl_sync(FLIP_ALL_LANES, sum, b);
        if (lane < 1 || (uint32_t)lane >= b) continue;
        const uint64_t error = flip_level_error(0, lane, count, sum) +
                               flip_level_error(lane, b, below - count, below_sum - sum) +
                               flip_level_error(b, FLIP_PLACES, all - below, all_sum - below_sum);
        const uint64_t choice = flip_level_choice(error, lane, b);
        best = choice < best ? choice : best;
    }
    for (int apart = 1; apart < FLIP_WARP; apart *= 2) {
        const uint64_t other = __shfl_xor_sync(FLIP_ALL_LANES, best, apart);
        best = other < best ? other : best;
    }
    return (uint32_t)(best & 255);
}

__global__ static void encode_two_kernel(uint8_t *out, const flip_real *x, int64_t n,
                                         flip_group_keys keys) {
    __shared__ uint32_t place[WARPS][QUARTERS * FLIP_PLACES];
    const int32_t lane = threadIdx.x % FLIP_WARP, quarter = lane / QUARTER_LANES;
    const int64_t groups = (n + FLIP_GROUP - 1) / FLIP_GROUP;
    FLIP_EACH_WARP(g, groups) {
        const int64_t first = g * FLIP_GROUP + lane * EACH, left = n - g * FLIP_GROUP;
        const int32_t quarters = flip_group_quarters(left);
        float value[EACH];
        const int32_t mine = load(value, x, n, first);
        const range r = range_of(value, mine, FLIP_TOPS);
        int32_t top = 0;
        uint32_t inner = 0, codes = 0;
        if (r.sound) { /* of the whole warp */
            top = top_of(value, mine, r);
            uint64_t count, sum;
            places_of(&count, &sum, place[threadIdx.x / FLIP_WARP], value, mine, r, top, lane);
            inner = choose_levels(count, sum, lane);
            const uint32_t key = flip_group_key(keys, g);
            const float stretch = flip_quarter_stretch(top);
            const float a = flip_level_place(1, (int32_t)inner);
            const float b = flip_level_place(2, (int32_t)inner);
#pragma unroll
            for (int i = 0; i < EACH; i++)
                if (i < mine)
                    codes |=
                        (uint32_t)flip_level_code(place_of(value[i], r, stretch), a, b,
                                                  flip_group_draw(key, (uint32_t)(lane * EACH + i)))
                        << (2 * i);
        }
        uint8_t *to = out + (size_t)g * group_bytes(2);
        if (lane == 0) put_codes(to, r.low | (uint32_t)r.high << 16, ENDS, false);
        if (lane == 0) to[ENDS + quarters] = (uint8_t)inner;
        if (lane % QUARTER_LANES == 0 && quarter < quarters) to[ENDS + quarter] = (uint8_t)top;
        put_codes(to + flip_group_head(left, 2) + lane * 2, codes, (mine + 3) / 4, false);
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
    if (bits == 2)
        FLIP_LAUNCH_WARPS(encode_two_kernel, groups, codes, x, n, flip_group_keys_of(key));
    else
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
        const int32_t code = group[ENDS + bit / 8] >> (bit % 8) & ((1 << bits) - 1);
        x[i] = (flip_real)__fadd_rn(from, __fmul_rn(step, (float)code));
    }
}

__global__ static void decode_two_kernel(flip_real *x, const uint8_t *in, int64_t n) {
    FLIP_EACH(i, n) {
        const int64_t g = i / FLIP_GROUP, left = n - g * FLIP_GROUP;
        const uint8_t *group = in + (size_t)g * group_bytes(2);
        const int32_t at = (int32_t)(i % FLIP_GROUP);
        const float from = flip_brief_wide((uint16_t)(group[0] | group[1] << 8));
        const float high = flip_brief_wide((uint16_t)(group[2] | group[3] << 8));
        const float unit = (high - from) / (float)(FLIP_TOPS * FLIP_PLACES);
        const int32_t code = group[flip_group_head(left, 2) + at / 4] >> (at % 4 * 2) & 3;
        const float place = (float)group[ENDS + at / FLIP_QUARTER] *
                            flip_level_place(code, group[ENDS + flip_group_quarters(left)]);
        x[i] = (flip_real)__fadd_rn(from, __fmul_rn(unit, place));
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
    else if (bits == 2)
        FLIP_LAUNCH_EACH(decode_two_kernel, n, x, codes, n);
    else
        FLIP_LAUNCH_EACH(decode_kernel, n, x, codes, n, bits);
}

void flip_use_cuda_groups(flip_kernels *table) {
    table->encode_groups = encode_groups;
    table->decode_groups = decode_groups;
}
