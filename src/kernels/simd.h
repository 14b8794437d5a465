/* One vocabulary for AVX-512 and AVX2: the simd_*.c files are compiled once for each, with that
 * instruction set's flags, and their entries carry its name. Float only. */
#ifndef FLIPBOOK_KERNELS_SIMD_H
#define FLIPBOOK_KERNELS_SIMD_H

#include "kernels/internal.h"

#include <immintrin.h>

#define INLINE FLIP_INLINE
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#ifdef __AVX512F__
#ifdef __AVX512BF16__
#define SIMD_NAME(name) name##_bf16
#else
#define SIMD_NAME(name) name##_avx512
#endif
#define keep_row flip_keep_row_avx512
enum { LANES = 16 };
typedef __m512 vec;
typedef __mmask16 lanes_mask;

INLINE vec v_zero(void) {
    return _mm512_setzero_ps();
}
INLINE vec v_set(float x) {
    return _mm512_set1_ps(x);
}
INLINE vec v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE void v_store(float *p, vec x) {
    _mm512_storeu_ps(p, x);
}
INLINE void v_stream(float *p, vec x) { /* p aligned to the vector */
    _mm512_stream_ps(p, x);
}
INLINE vec v_fma(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* The first n lanes, 0 <= n <= LANES. */
INLINE lanes_mask v_first(int64_t n) {
    return (lanes_mask)((1u << n) - 1);
}
INLINE vec v_load_some(const float *p, lanes_mask m) {
    return _mm512_maskz_loadu_ps(m, p);
}
INLINE void v_store_some(float *p, lanes_mask m, vec x) {
    _mm512_mask_storeu_ps(p, m, x);
}
/* A bit a lane: not <= 0, so that a NaN passes relu. */
INLINE unsigned v_alive(vec x) {
    return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NLE_UQ);
}
/* Lanes whose bit is 0 become 0. */
INLINE vec v_keep(vec x, unsigned bits) {
    return _mm512_maskz_mov_ps((__mmask16)bits, x);
}
INLINE float v_sum(vec x) {
    return _mm512_reduce_add_ps(x);
}
INLINE float v_largest(vec x) {
    return _mm512_reduce_max_ps(x);
}
INLINE vec v_max(vec a, vec b) { /* b where either is NaN */
    return _mm512_max_ps(a, b);
}
INLINE vec v_whole(vec x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vec v_times_power(vec x, vec n) { /* x 2^n, n whole */
    return _mm512_scalef_ps(x, n);
}
INLINE vec v_raise(vec x, vec n) { /* x 2^n, n in the last bits of a vector */
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}
/* a / b for 1 <= b <= 2 to about one unit in the last place: a step of Newton's from 14 bits, half
 * of a division's time. */
INLINE vec v_quotient(vec a, vec b) {
    vec about = _mm512_rcp14_ps(b);
    vec error = _mm512_fnmadd_ps(b, about, _mm512_set1_ps(1.0f));
    return a * _mm512_fmadd_ps(about, error, about);
}
INLINE vec v_minus_abs(vec x) {
    return _mm512_or_ps(x, _mm512_set1_ps(-0.0f));
}
INLINE vec v_with_sign(vec x, vec sign) { /* x >= 0 with the sign of the other */
    return _mm512_or_ps(x, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
INLINE vec v_by_sign(vec x, vec negative, vec other) {
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), other, negative);
}
INLINE vec v_pick(vec x, const int32_t *lane) { /* x[lane[0]], x[lane[1]], … */
    return _mm512_permutexvar_ps(_mm512_loadu_si512(lane), x);
}
INLINE vec v_round_bf16(vec x) {
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32((int)0xffff0000)));
}

#else
#define SIMD_NAME(name) name##_avx2
#define keep_row flip_keep_row_avx2
enum { LANES = 8 };
typedef __m256 vec;
typedef __m256i lanes_mask;

INLINE vec v_zero(void) {
    return _mm256_setzero_ps();
}
INLINE vec v_set(float x) {
    return _mm256_set1_ps(x);
}
INLINE vec v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE void v_store(float *p, vec x) {
    _mm256_storeu_ps(p, x);
}
INLINE void v_stream(float *p, vec x) {
    _mm256_stream_ps(p, x);
}
INLINE vec v_fma(vec a, vec b, vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE lanes_mask v_first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec v_load_some(const float *p, lanes_mask m) {
    return _mm256_maskload_ps(p, m);
}
INLINE void v_store_some(float *p, lanes_mask m, vec x) {
    _mm256_maskstore_ps(p, m, x);
}
INLINE unsigned v_alive(vec x) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NLE_UQ));
}
INLINE vec v_keep(vec x, unsigned bits) {
    __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i on = _mm256_and_si256(_mm256_set1_epi32((int)bits), each);
    return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_cmpeq_epi32(on, each)));
}
INLINE float v_sum(vec x) {
    __m128 y = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
    y += _mm_movehl_ps(y, y);
    return y[0] + y[1];
}
INLINE float v_largest(vec x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return y[0] > y[1] ? y[0] : y[1];
}
INLINE vec v_max(vec a, vec b) {
    return _mm256_max_ps(a, b);
}
INLINE vec v_whole(vec x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vec v_times_power(vec x, vec n) { /* x 2^n, n whole, -126 … 127 */
    __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return x * _mm256_castsi256_ps(power);
}
INLINE vec v_raise(vec x, vec n) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
INLINE vec v_quotient(vec a, vec b) { /* reciprocals of 12 bits differ between makers */
    return a / b;
}
INLINE vec v_minus_abs(vec x) {
    return _mm256_or_ps(x, _mm256_set1_ps(-0.0f));
}
INLINE vec v_with_sign(vec x, vec sign) {
    return _mm256_or_ps(x, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
INLINE vec v_by_sign(vec x, vec negative, vec other) {
    return _mm256_blendv_ps(other, negative, x);
}
INLINE vec v_pick(vec x, const int32_t *lane) {
    return _mm256_permutevar8x32_ps(x, _mm256_loadu_si256((const __m256i *)lane));
}
INLINE vec v_round_bf16(vec x) {
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    up = _mm256_blendv_epi8(up, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
    return _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32((int)0xffff0000)));
}
#endif

INLINE vec v_add(vec a, vec b) {
    return a + b;
}
INLINE vec v_mul(vec a, vec b) {
    return a * b;
}

/* A vector, or the lanes of it that are there; `whole` is known when compiling. */
INLINE vec v_load_of(bool whole, lanes_mask some, const float *p) {
    return whole ? v_load(p) : v_load_some(p, some);
}
INLINE void v_store_of(bool whole, lanes_mask some, float *p, vec x) {
    if (whole)
        v_store(p, x);
    else
        v_store_some(p, some, x);
}

/* ---- bits ----------------------------------------------------------------------------------- */

/* LANES bits from column j on (a multiple of LANES) of a row of packed bits, `lanes` of them real.
 */
INLINE unsigned bits_get(const uint8_t *row, int64_t j, int64_t lanes) {
    unsigned bits = row[j / 8];
    if (LANES == 16 && lanes > 8) bits |= (unsigned)row[j / 8 + 1] << 8;
    return bits;
}
INLINE void bits_put(uint8_t *row, int64_t j, int64_t lanes, unsigned bits) {
    bits &= (1u << lanes) - 1;
    row[j / 8] = (uint8_t)bits;
    if (LANES == 16 && lanes > 8) row[j / 8 + 1] = (uint8_t)(bits >> 8);
}

/* ---- operands of products ------------------------------------------------------------------- */

/* Products multiply words: a float each, or, where the machine multiplies bfloat16, a pair of
 * neighbours along the sum. Elsewhere --precision bf16 means floats rounded to bfloat16. */
#ifdef __AVX512BF16__
enum { PAIR = 2 };
INLINE vec v_multiply_add(vec a, vec b, vec sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(a),
                            (__m512bh)_mm512_castps_si512(b));
}
/* Words (low[i], high[i]). */
INLINE vec v_pairs(vec low, vec high) {
    __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                     23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both));
}
#else
enum { PAIR = 1 };
INLINE vec v_multiply_add(vec a, vec b, vec sum) {
    return v_fma(a, b, sum);
}
#endif

INLINE vec load_up_to(const float *p, int64_t lanes) {
    return lanes >= LANES ? v_load(p) : lanes > 0 ? v_load_some(p, v_first(lanes)) : v_zero();
}

/* Columns of a row as words: rounded when asked, or, where words are pairs, with the row `step`
 * behind it, which may not be there. */
INLINE vec load_words(bool rounded, const float *row, int64_t step, bool second, int64_t lanes) {
    vec x = load_up_to(row, lanes);
#ifdef __AVX512BF16__
    (void)rounded;
    return v_pairs(x, second ? load_up_to(row + step, lanes) : v_zero());
#else
    (void)step, (void)second;
    return rounded ? v_round_bf16(x) : x;
#endif
}

/* A row as words; the last may be half real. Writes whole vectors. */
INLINE void stage_words(bool rounded, float *to, const float *row, int64_t k) {
#ifdef __AVX512BF16__
    (void)rounded;
    for (int64_t l = 0; l < k; l += 2 * LANES, to += LANES) {
        vec low = load_up_to(row + l, k - l), high = load_up_to(row + l + LANES, k - l - LANES);
        v_store(to, _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(high, low)));
    }
#else
    for (int64_t l = 0; l < k; l += LANES, to += LANES) {
        vec x = load_up_to(row + l, k - l);
        v_store(to, rounded ? v_round_bf16(x) : x);
    }
#endif
}

/* ---- dropout -------------------------------------------------------------------------------- */

typedef struct keep_draw {
    uint64_t key0[10], key1[10]; /* Philox's round keys */
    uint64_t draw, from;
    int64_t fours; /* draws a row: ceil(n/4) */
} keep_draw;

INLINE keep_draw keep_begin(uint64_t seed, uint64_t draw, int64_t n, double p) {
    keep_draw d = {.draw = draw, .from = flip_keep_from(p), .fours = (n + 3) / 4};
    uint32_t key0 = (uint32_t)seed;
    uint32_t key1 = (uint32_t)(seed >> 32) ^ ((uint32_t)FLIP_STREAM_DROPOUT << 24);
    for (int round = 0; round < 10; round++) {
        d.key0[round] = key0 + (uint32_t)round * 0x9E3779B9u;
        d.key1[round] = key1 + (uint32_t)round * 0xBB67AE85u;
    }
    return d;
}
/* Which columns of a row dropout keeps, 64 a word: words first … first+count-1. */
void keep_row(const keep_draw *d, int64_t key, int64_t first, int64_t count, uint64_t *words);

#endif
