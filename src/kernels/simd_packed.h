/* Codes of packed rows in vectors: LANES columns at a time, by the number of bits. */
#ifndef FLIPBOOK_KERNELS_SIMD_PACKED_H
#define FLIPBOOK_KERNELS_SIMD_PACKED_H

#include "kernels/simd.h"

/* Lane l of a group of LANES columns holds column lane_order(bits)[l]: for 4-bit codes AVX-512
 * takes the group's 8 bytes to every pair of lanes, so that one shift brings out the codes. Other
 * widths are in order. */
#ifdef __AVX512F__
typedef __m512i codes_vec;
enum { SHUFFLED_BITS = 4 };

INLINE codes_vec c_set(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}
INLINE codes_vec c_add(codes_vec a, codes_vec b) {
    return _mm512_add_epi32(a, b);
}
INLINE codes_vec c_and(codes_vec a, codes_vec b) {
    return _mm512_and_si512(a, b);
}
INLINE codes_vec c_mul(codes_vec a, codes_vec b) {
    return _mm512_mullo_epi32(a, b);
}
INLINE codes_vec c_xor_shifted(codes_vec a, int bits) {
    return _mm512_xor_si512(a, _mm512_srli_epi32(a, (unsigned)bits));
}
INLINE codes_vec c_down(codes_vec a, int bits) {
    return _mm512_srli_epi32(a, (unsigned)bits);
}
INLINE codes_vec c_up(codes_vec a, int bits) {
    return _mm512_slli_epi32(a, (unsigned)bits);
}
INLINE vec c_numbers(codes_vec a) {
    return _mm512_cvtepi32_ps(a);
}
INLINE vec c_floats(codes_vec a) { /* the same bits */
    return _mm512_castsi512_ps(a);
}
INLINE vec c_gather(const float *p, codes_vec at) {
    return _mm512_i32gather_ps(at, p, 4);
}
INLINE codes_vec c_least(codes_vec a, codes_vec b) {
    return _mm512_min_epi32(a, b);
}
INLINE vec c_halves(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE codes_vec c_bytes(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE codes_vec c_shorts(const uint8_t *p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}
/* Codes of 1, 2 or 4 bits; above them stand others' bits. */
INLINE codes_vec c_small(const int bits, const uint8_t *p) {
    const codes_vec lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    if (bits == 4) {
        uint64_t eight;
        memcpy(&eight, p, sizeof eight);
        codes_vec shift = _mm512_slli_epi32(_mm512_srli_epi32(lane, 1), 2);
        return _mm512_srlv_epi32(_mm512_set1_epi64((long long)eight), shift);
    }
    uint32_t four = 0;
    memcpy(&four, p, bits == 2 ? 4 : 2);
    return _mm512_srlv_epi32(c_set(four), bits == 2 ? _mm512_slli_epi32(lane, 1) : lane);
}
INLINE vec v_in_order(vec x) { /* shuffled lanes back */
    const codes_vec from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm512_permutexvar_ps(from, x);
}
INLINE codes_vec lane_order(const int bits) {
    return bits == SHUFFLED_BITS
               ? _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)
               : _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* A table of 16 numbers in registers; the bits of a code above the fourth do not matter. */
typedef struct table16 {
    vec all;
} table16;
INLINE table16 t_load(const float *sixteen) {
    return (table16){v_load(sixteen)};
}
INLINE vec t_pick(const int bits, const table16 *t, codes_vec code) {
    (void)bits;
    return _mm512_permutexvar_ps(code, t->all);
}
/* Bit b of every code: which of two numbers? */
typedef __mmask16 c_choice;
INLINE c_choice c_bit(codes_vec code, int b) {
    return _mm512_test_epi32_mask(code, c_set(1u << b));
}
INLINE vec v_choose(c_choice second, vec a, vec b) {
    return _mm512_mask_blend_ps(second, a, b);
}
/* sum + (bit ? w : 0) */
INLINE vec v_add_bits(vec sum, const uint8_t *p, vec w) {
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm512_mask_add_ps(sum, bits, sum, w);
}
INLINE vec v_two_halves(const float *low, const float *high) {
    __m512 x = _mm512_castps256_ps512(_mm256_loadu_ps(low));
    return _mm512_insertf32x8(x, _mm256_loadu_ps(high), 1);
}

#else
typedef __m256i codes_vec;
enum { SHUFFLED_BITS = 0 };

INLINE codes_vec c_set(uint32_t x) {
    return _mm256_set1_epi32((int)x);
}
INLINE codes_vec c_add(codes_vec a, codes_vec b) {
    return _mm256_add_epi32(a, b);
}
INLINE codes_vec c_and(codes_vec a, codes_vec b) {
    return _mm256_and_si256(a, b);
}
INLINE codes_vec c_mul(codes_vec a, codes_vec b) {
    return _mm256_mullo_epi32(a, b);
}
INLINE codes_vec c_xor_shifted(codes_vec a, int bits) {
    return _mm256_xor_si256(a, _mm256_srli_epi32(a, bits));
}
INLINE codes_vec c_down(codes_vec a, int bits) {
    return _mm256_srli_epi32(a, bits);
}
INLINE codes_vec c_up(codes_vec a, int bits) {
    return _mm256_slli_epi32(a, bits);
}
INLINE vec c_numbers(codes_vec a) {
    return _mm256_cvtepi32_ps(a);
}
INLINE vec c_floats(codes_vec a) {
    return _mm256_castsi256_ps(a);
}
INLINE vec c_gather(const float *p, codes_vec at) {
    return _mm256_i32gather_ps(p, at, 4);
}
INLINE codes_vec c_least(codes_vec a, codes_vec b) {
    return _mm256_min_epi32(a, b);
}
INLINE vec c_halves(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
INLINE codes_vec c_bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
INLINE codes_vec c_shorts(const uint8_t *p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE codes_vec c_small(const int bits, const uint8_t *p) {
    const codes_vec lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    uint32_t four = 0;
    memcpy(&four, p, (size_t)bits);
    return _mm256_srlv_epi32(c_set(four), bits == 4   ? _mm256_slli_epi32(lane, 2)
                                          : bits == 2 ? _mm256_slli_epi32(lane, 1)
                                                      : lane);
}
INLINE vec v_in_order(vec x) {
    return x;
}
INLINE codes_vec lane_order(const int bits) {
    (void)bits;
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}

typedef struct table16 {
    vec low, high;
} table16;
INLINE table16 t_load(const float *sixteen) {
    return (table16){v_load(sixteen), v_load(sixteen + 8)};
}
INLINE vec t_pick(const int bits, const table16 *t, codes_vec code) {
    vec low = _mm256_permutevar8x32_ps(t->low, code);
    if (bits < 4) return low; /* the table repeats itself */
    vec high = _mm256_permutevar8x32_ps(t->high, code);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
}
typedef __m256 c_choice;
INLINE c_choice c_bit(codes_vec code, int b) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(code, 31 - b));
}
INLINE vec v_choose(c_choice second, vec a, vec b) {
    return _mm256_blendv_ps(a, b, second);
}
INLINE vec v_add_bits(vec sum, const uint8_t *p, vec w) {
    return v_add(sum, v_keep(w, *p));
}
#endif

/* Codes of any width without others' bits. */
INLINE codes_vec c_clean(const int bits, const uint8_t *p) {
    if (bits == 8) return c_bytes(p);
    if (bits == 16) return c_shorts(p);
    return c_and(c_small(bits, p), c_set((1u << bits) - 1));
}

/* The level of each lane's code, of lanes that have levels of their own: level[code][lane]. */
INLINE vec pick_of_columns(const int bits, const vec *level, codes_vec code) {
    vec x[8];
    UNROLL for (int i = 0; i < 1 << (bits - 1); i++) x[i] =
        v_choose(c_bit(code, 0), level[2 * i], level[2 * i + 1]);
    UNROLL for (int b = 1; b < bits; b++) {
        UNROLL for (int i = 0; i < 1 << (bits - 1 - b); i++) x[i] =
            v_choose(c_bit(code, b), x[2 * i], x[2 * i + 1]);
    }
    return x[0];
}

/* ---- rows ------------------------------------------------------------------------------------
 */

enum {
    LINES_AHEAD = 96, /* cache lines asked for early: as many as the second-level cache takes */
    PAST_AHEAD = 32,  /* and as many as the first one keeps of those that pass the second */
    CACHE_LINE = 64
};

typedef struct reader {
    const flip_packing *p;
    const uint8_t *codes;
    const int64_t *key;
    const int32_t *index;
    int64_t stride, ahead; /* bytes of a row; entries asked for early */
    bool one_line;         /* no row stands in two cache lines */
    bool aligned;          /* rows begin where cache lines do */
    bool past;             /* rows are asked for past the second-level cache */
    bool stream;           /* results go past the caches */
    uint8_t whole[16];     /* table, where it is of whole numbers */
    float table[16];       /* shared levels of 1, 2 or 4 bits, repeated */
} reader;

INLINE int64_t place_of(const reader *r, int64_t i) {
    return r->index ? r->index[i] : i;
}

/* Where a line is asked for. The second-level cache has about twice as many reads under way as the
 * first. */
typedef enum level { FIRST, SECOND, PAST } level;
INLINE void ask(const char *line, level where) {
    if (where == FIRST)
        _mm_prefetch(line, _MM_HINT_T0);
    else if (where == SECOND)
        _mm_prefetch(line, _MM_HINT_T1);
    else
        _mm_prefetch(line, _MM_HINT_NTA);
}
INLINE void ask_row(const reader *r, int64_t i, level where) {
    const char *row = (const char *)r->codes + place_of(r, i) * r->stride;
    ask(row, where);
    if (r->one_line) return;
    for (int64_t b = CACHE_LINE; b < r->stride; b += CACHE_LINE)
        ask(row + b, where);
    if (!r->aligned) ask(row + r->stride - 1, where);
}
/* A row that is read `ahead` entries later. */
INLINE void ask_early(const reader *r, int64_t i) {
    if (r->past)
        ask_row(r, i, PAST);
    else
        ask_row(r, i, SECOND);
}

INLINE void v_put(const reader *r, float *y, vec x) {
    if (r->stream)
        v_stream(y, x);
    else
        v_store(y, x);
}

/* ---- simd_whole.c: sums of whole numbers in 16 bits, of entries that weigh 1 ------------------
 */
enum { SPAN = 128 }; /* columns at once */
typedef void (*whole_sum)(const reader *r, const flip_csr *a, int64_t first, int64_t last, float *y,
                          int64_t ld, bool accumulate);
/* Rows first … last-1, columns up to the last whole SPAN; NULL: the packing is not of whole
 * numbers. */
whole_sum SIMD_NAME(flip_whole_sum)(const flip_packing *p);

#endif
