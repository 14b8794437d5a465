/* Sums of packed rows as whole numbers: the fastest form, for entries that weigh 1.
 *
 * Codes of 8 bits, levels of 4 bits that are 0 … 127 (or the codes themselves), and codebooks of
 * bytes are added up in 16-bit lanes, at most TURN rows before they go on as floats; 4-bit levels
 * are added in bytes first, two rows at a time. The sums are exact. */
#include "kernels/simd_packed.h"

enum { TURN = 255, NEAR = 12 };

/* ---- one vocabulary for bytes ------------------------------------------------------------------
 */
#ifdef __AVX512F__
typedef __m512i bytes;
INLINE bytes b_zero(void) {
    return _mm512_setzero_si512();
}
INLINE bytes b_load(const void *p) {
    return _mm512_loadu_si512(p);
}
INLINE bytes b_and(bytes a, bytes b) {
    return _mm512_and_si512(a, b);
}
INLINE bytes b_set(int x) {
    return _mm512_set1_epi8((char)x);
}
INLINE bytes b_down(bytes a, int bits) { /* of 16-bit words */
    return _mm512_srli_epi16(a, (unsigned)bits);
}
INLINE bytes b_up(bytes a, int bits) {
    return _mm512_slli_epi16(a, (unsigned)bits);
}
INLINE bytes b_add(bytes a, bytes b) {
    return _mm512_add_epi8(a, b);
}
INLINE bytes b_less_words(bytes a, bytes b) {
    return _mm512_sub_epi16(a, b);
}
INLINE bytes b_add_words(bytes a, bytes b) {
    return _mm512_add_epi16(a, b);
}
INLINE bytes b_pick(bytes table, bytes at) {
    return _mm512_shuffle_epi8(table, at);
}
INLINE bytes b_table(const uint8_t *sixteen) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)sixteen));
}
INLINE bytes b_widen(const uint8_t *p) { /* bytes to words */
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vec b_first(bytes words) { /* the first half of the words, as numbers */
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)));
}
INLINE vec b_second(bytes words) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1)));
}
INLINE bytes b_low(const int size, bytes a, bytes b) { /* interleaved within 16 bytes */
    return size == 2 ? _mm512_unpacklo_epi16(a, b) : _mm512_unpacklo_epi32(a, b);
}
INLINE bytes b_high(const int size, bytes a, bytes b) {
    return size == 2 ? _mm512_unpackhi_epi16(a, b) : _mm512_unpackhi_epi32(a, b);
}
/* The 16 bytes i of a, b, c and d side by side in result i: x[0] … x[3]. */
INLINE void b_turn(bytes x[4], bytes a, bytes b, bytes c, bytes d) {
    bytes ab = _mm512_shuffle_i32x4(a, b, 0x44), cd = _mm512_shuffle_i32x4(c, d, 0x44);
    x[0] = _mm512_shuffle_i32x4(ab, cd, 0x88);
    x[1] = _mm512_shuffle_i32x4(ab, cd, 0xdd);
    ab = _mm512_shuffle_i32x4(a, b, 0xee);
    cd = _mm512_shuffle_i32x4(c, d, 0xee);
    x[2] = _mm512_shuffle_i32x4(ab, cd, 0x88);
    x[3] = _mm512_shuffle_i32x4(ab, cd, 0xdd);
}
/* 16 signed words as numbers */
INLINE void b_signed(__m256i words, vec *x) {
    x[0] = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(words));
}
#else
typedef __m256i bytes;
INLINE bytes b_zero(void) {
    return _mm256_setzero_si256();
}
INLINE bytes b_load(const void *p) {
    return _mm256_loadu_si256(p);
}
INLINE bytes b_and(bytes a, bytes b) {
    return _mm256_and_si256(a, b);
}
INLINE bytes b_set(int x) {
    return _mm256_set1_epi8((char)x);
}
INLINE bytes b_down(bytes a, int bits) {
    return _mm256_srli_epi16(a, bits);
}
INLINE bytes b_up(bytes a, int bits) {
    return _mm256_slli_epi16(a, bits);
}
INLINE bytes b_add(bytes a, bytes b) {
    return _mm256_add_epi8(a, b);
}
INLINE bytes b_less_words(bytes a, bytes b) {
    return _mm256_sub_epi16(a, b);
}
INLINE bytes b_add_words(bytes a, bytes b) {
    return _mm256_add_epi16(a, b);
}
INLINE bytes b_pick(bytes table, bytes at) {
    return _mm256_shuffle_epi8(table, at);
}
INLINE bytes b_table(const uint8_t *sixteen) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)sixteen));
}
INLINE bytes b_widen(const uint8_t *p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}
INLINE vec b_first(bytes words) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)));
}
INLINE vec b_second(bytes words) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1)));
}
INLINE bytes b_low(const int size, bytes a, bytes b) {
    return size == 2 ? _mm256_unpacklo_epi16(a, b) : _mm256_unpacklo_epi32(a, b);
}
INLINE bytes b_high(const int size, bytes a, bytes b) {
    return size == 2 ? _mm256_unpackhi_epi16(a, b) : _mm256_unpackhi_epi32(a, b);
}
INLINE void b_turn(bytes x[4], bytes a, bytes b, bytes c, bytes d) {
    x[0] = _mm256_permute2x128_si256(a, b, 0x20);
    x[1] = _mm256_permute2x128_si256(c, d, 0x20);
    x[2] = _mm256_permute2x128_si256(a, b, 0x31);
    x[3] = _mm256_permute2x128_si256(c, d, 0x31);
}
INLINE void b_signed(__m256i words, vec *x) {
    x[0] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(words)));
    x[1] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1)));
}
#endif
enum {
    BYTES = 4 * LANES,               /* in a vector */
    WORD_VECTORS = 2 * SPAN / BYTES, /* SPAN sums in words … */
    VECTORS = SPAN / LANES,          /* … and in numbers */
    HALF_SPANS = SPAN / 2 / BYTES,   /* vectors of SPAN 4-bit codes */
    BLOCKS = SPAN / 16,              /* of a codebook 16 columns wide */
    BLOCK_VECTORS = 16 / LANES
};

/* Which rows a sum takes: entries first … last-1. */
typedef struct stretch {
    const int32_t *col;
    int64_t first, last;
    bool ask;
} stretch;

/* Entry e's packed row; one further on is asked for, and one not so far is brought into the first
 * cache: a load that came to the second would wait behind the reads under way, and hold up all that
 * follows. */
INLINE const uint8_t *next_row(const reader *r, const stretch *s, int64_t e) {
    if (s->ask) {
        ask_early(r, s->col[e + r->ahead]);
        if (r->one_line && !r->past) ask_row(r, s->col[e + NEAR], FIRST);
    }
    return r->codes + place_of(r, s->col[e]) * r->stride;
}

/* ---- sums of a stretch, columns j … j+SPAN-1 --------------------------------------------------
 */

INLINE void add_bytes(const reader *r, const stretch *s, int64_t j, vec *x) {
    bytes sum[WORD_VECTORS];
    UNROLL for (int c = 0; c < WORD_VECTORS; c++) sum[c] = b_zero();
    for (int64_t e = s->first; e < s->last; e++) {
        const uint8_t *p = next_row(r, s, e) + j;
        UNROLL for (int c = 0; c < WORD_VECTORS; c++) sum[c] =
            b_add_words(sum[c], b_widen(p + c * BYTES / 2));
    }
    UNROLL for (int c = 0; c < WORD_VECTORS; c++) {
        x[2 * c] = b_first(sum[c]);
        x[2 * c + 1] = b_second(sum[c]);
    }
}

/* Words of both halves of the codes, columns 4i, 4i+2 and 4i+1, 4i+3. The first of each hold their
 * neighbours' sums as well, 256 times, until part_words takes them away. */
INLINE void widen_bytes(bytes sum[4], bytes low, bytes high) {
    sum[0] = b_add_words(sum[0], low);
    sum[1] = b_add_words(sum[1], b_down(low, 8));
    sum[2] = b_add_words(sum[2], high);
    sum[3] = b_add_words(sum[3], b_down(high, 8));
}

INLINE void part_words(bytes sum[4]) {
    sum[0] = b_less_words(sum[0], b_up(sum[1], 8));
    sum[2] = b_less_words(sum[2], b_up(sum[3], 8));
}

/* Back in order: first within every 16 bytes of codes, whose 32 columns are 8 a vector, … */
INLINE void order_halves(const bytes sum[4], vec *x) {
    bytes even = b_low(2, sum[0], sum[2]), odd = b_low(2, sum[1], sum[3]), words[4];
    bytes even2 = b_high(2, sum[0], sum[2]), odd2 = b_high(2, sum[1], sum[3]);
    b_turn(words, b_low(4, even, odd), b_high(4, even, odd), b_low(4, even2, odd2),
           b_high(4, even2, odd2));
    UNROLL for (int c = 0; c < 4; c++) {
        x[2 * c] = b_first(words[c]);
        x[2 * c + 1] = b_second(words[c]);
    }
}

/* Levels of 4-bit codes, themselves or looked up in the table: of the low and of the high halves.
 */
INLINE void pick_halves(const bool looked_up, bytes table, const uint8_t *p, bytes *low,
                        bytes *high) {
    const bytes nibble = b_set(15);
    bytes codes = b_load(p), a = b_and(codes, nibble), b = b_and(b_down(codes, 4), nibble);
    *low = looked_up ? b_pick(table, a) : a;
    *high = looked_up ? b_pick(table, b) : b;
}

/* A byte holds two levels up to 127: rows go in pairs. */
INLINE void add_halves(const bool looked_up, bytes table, const reader *r, const stretch *s,
                       int64_t j, vec *x) {
    bytes sum[HALF_SPANS][4], low[2], high[2];
    UNROLL for (int c = 0; c < HALF_SPANS; c++) sum[c][0] = sum[c][1] = sum[c][2] = sum[c][3] =
        b_zero();
    int64_t e = s->first;
    for (; e + 2 <= s->last; e += 2) {
        const uint8_t *p = next_row(r, s, e) + j / 2, *q = next_row(r, s, e + 1) + j / 2;
        UNROLL for (int c = 0; c < HALF_SPANS; c++) {
            pick_halves(looked_up, table, p + c * BYTES, &low[0], &high[0]);
            pick_halves(looked_up, table, q + c * BYTES, &low[1], &high[1]);
            widen_bytes(sum[c], b_add(low[0], low[1]), b_add(high[0], high[1]));
        }
    }
    if (e < s->last) {
        const uint8_t *p = next_row(r, s, e) + j / 2;
        UNROLL for (int c = 0; c < HALF_SPANS; c++) {
            pick_halves(looked_up, table, p + c * BYTES, &low[0], &high[0]);
            widen_bytes(sum[c], low[0], high[0]);
        }
    }
    UNROLL for (int c = 0; c < HALF_SPANS; c++) {
        part_words(sum[c]);
        order_halves(sum[c], x + c * 8);
    }
}

/* Entries of 16 bytes, one a block; `book` bytes a block. */
INLINE void add_entries(const int64_t book, const reader *r, const stretch *s, int64_t j, vec *x) {
    const int64_t block = j / 16;
    const int8_t *books = r->p->codebook8 + block * book;
    __m256i sum[BLOCKS];
    UNROLL for (int b = 0; b < BLOCKS; b++) sum[b] = _mm256_setzero_si256();
    for (int64_t e = s->first; e < s->last; e++) {
        uint64_t codes; /* BLOCKS of them */
        memcpy(&codes, next_row(r, s, e) + block, sizeof codes);
        UNROLL for (int b = 0; b < BLOCKS; b++) {
            uint64_t at = b == 0 ? codes << 4 : codes >> (8 * b - 4);
            __m128i entry = _mm_loadu_si128((const __m128i *)(books + b * book + (at & 0xff0)));
            sum[b] = _mm256_add_epi16(sum[b], _mm256_cvtepi8_epi16(entry));
        }
    }
    UNROLL for (int b = 0; b < BLOCKS; b++) b_signed(sum[b], x + b * BLOCK_VECTORS);
}

/* ---- rows -------------------------------------------------------------------------------------
 */

typedef enum whole { CODES_8, CODES_4, LEVELS_4, ENTRIES, ENTRIES_256 } whole;

INLINE void add(const whole w, const reader *r, const stretch *s, int64_t j, bytes table, vec *x) {
    if (w == CODES_8) add_bytes(r, s, j, x);
    if (w == CODES_4 || w == LEVELS_4) add_halves(w == LEVELS_4, table, r, s, j, x);
    if (w == ENTRIES) add_entries((int64_t)r->p->length * 16, r, s, j, x);
    if (w == ENTRIES_256) add_entries(4096, r, s, j, x);
}

/* y[j …] (+)= row_scale (offset n + scale (sums + half n)), n entries; half for affine codes */
INLINE void store_row(const whole w, const reader *r, float scale, int64_t n, int64_t j,
                      const vec *x, float *y, bool accumulate) {
    const float *scales = r->p->scale, *offsets = r->p->offset;
    vec total = v_set((float)n), by = v_set(scale);
    vec middle = v_set(w == CODES_8 || w == CODES_4 ? 0.5f * (float)n : 0);
    UNROLL for (int c = 0; c < VECTORS; c++) {
        int64_t at = j + c * LANES;
        vec z = v_add(x[c], middle);
        if (scales) z = v_mul(z, v_load(scales + at));
        if (offsets) z = v_fma(v_load(offsets + at), total, z);
        z = accumulate ? v_fma(by, z, v_load(y + at)) : v_mul(by, z);
        v_put(r, y + at, z);
    }
}

INLINE void whole_row(const whole w, const bool ask, const reader *r, const flip_csr *a, int64_t v,
                      int64_t j, bytes table, float *y, bool accumulate) {
    vec x[VECTORS];
    int64_t first = a->row_ptr[v], last = a->row_ptr[v + 1];
    stretch s = {a->col, first, flip_min64(last, first + TURN), ask};
    add(w, r, &s, j, table, x);
    while (s.last < last) { /* hubs */
        vec more[VECTORS];
        s.first = s.last;
        s.last = flip_min64(last, s.first + TURN);
        add(w, r, &s, j, table, more);
        for (int c = 0; c < VECTORS; c++)
            x[c] = v_add(x[c], more[c]);
    }
    store_row(w, r, a->row_scale ? a->row_scale[v] : 1, last - first, j, x, y, accumulate);
}

/* Rows are taken in one function, so that nothing but their sums stands between the prefetches of
 * one row and the next. The last rows' entries have been asked for by those before them. */
INLINE void whole_rows(const whole w, const reader here, const flip_csr *a, int64_t first,
                       int64_t last, float *y, int64_t ld, bool accumulate) {
    const bytes table = b_table(here.whole);
    const flip_csr matrix = *a;
    const int64_t dim = here.p->dim, end = a->row_ptr[a->n_rows] - here.ahead; /* NEAR < ahead */
    int64_t v = first;
    for (; v < last && a->row_ptr[v + 1] <= end; v++) {
        whole_row(w, true, &here, &matrix, v, 0, table, y + v * ld, accumulate);
        for (int64_t j = SPAN; j + SPAN <= dim; j += SPAN)
            whole_row(w, false, &here, &matrix, v, j, table, y + v * ld, accumulate);
    }
    for (; v < last; v++)
        for (int64_t j = 0; j + SPAN <= dim; j += SPAN)
            whole_row(w, false, &here, &matrix, v, j, table, y + v * ld, accumulate);
}

/* Rows of one SPAN, whose bytes are known when compiling, and any others. */
INLINE void choose_rows(const whole w, const int64_t bytes_of_span, const reader *r,
                        const flip_csr *a, int64_t first, int64_t last, float *y, int64_t ld,
                        bool accumulate) {
    reader here = *r;
    bool plain = here.stride == bytes_of_span && (uintptr_t)here.codes % CACHE_LINE == 0;
    if (plain) {
        here.stride = bytes_of_span;
        here.one_line = bytes_of_span <= CACHE_LINE;
        here.aligned = bytes_of_span >= CACHE_LINE;
    }
    if (plain && !here.index) {
        here.index = NULL;
        whole_rows(w, here, a, first, last, y, ld, accumulate);
    } else if (plain)
        whole_rows(w, here, a, first, last, y, ld, accumulate);
    else
        whole_rows(w, *r, a, first, last, y, ld, accumulate);
}

#define WHOLE(name, which, bytes_of_span)                                                          \
    static void name(const reader *r, const flip_csr *a, int64_t first, int64_t last, float *y,    \
                     int64_t ld, bool accumulate) {                                                \
        choose_rows(which, bytes_of_span, r, a, first, last, y, ld, accumulate);                   \
    }
WHOLE(sum_bytes, CODES_8, SPAN)
WHOLE(sum_codes, CODES_4, SPAN / 2)
WHOLE(sum_levels, LEVELS_4, SPAN / 2)
WHOLE(sum_entries, ENTRIES, BLOCKS)
WHOLE(sum_entries_256, ENTRIES_256, BLOCKS)

static bool whole_levels(const float *level) {
    for (int i = 0; i < 16; i++)
        if (!(level[i] >= 0 && level[i] <= 127 && level[i] == floorf(level[i]))) return false;
    return true;
}

whole_sum SIMD_NAME(flip_whole_sum)(const flip_packing *p) {
    if (p->dim < SPAN) return NULL;
    if (p->kind == FLIP_PACKING_PRODUCT)
        return !p->codebook8 || p->width != 16 || p->bits != 8 ? NULL
               : p->length == 256                              ? sum_entries_256
                                                               : sum_entries;
    if (p->kind != FLIP_PACKING_SCALAR || p->dither || p->column_levels) return NULL;
    if (!p->level) return p->bits == 8 ? sum_bytes : p->bits == 4 ? sum_codes : NULL;
    return p->bits == 4 && whole_levels(p->level) ? sum_levels : NULL;
}
