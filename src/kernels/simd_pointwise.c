/* Dropout, masks and Adam in vectors. */
#include "kernels/simd_math.h"

/* ---- Philox4x32-10 (Salmon et al., SC'11, section 5.3), a counter a 64-bit slot ---------------
 */

static const uint32_t multiply0 = 0xD2511F53u, multiply1 = 0xCD9E8D57u;

/* Each 64-bit slot holds a 32-bit word in its low half; the high half is never read. A slot's four
 * words are tested against `from` (up to 2^32 - 1); bits 4q … 4q+3 of the result are slot q's. */
#ifdef __AVX512F__
enum { SLOTS = 8 };
typedef __m512i slots;
INLINE slots s_set(uint64_t x) {
    return _mm512_set1_epi64((long long)x);
}
INLINE slots s_from(uint64_t first) {
    return _mm512_add_epi64(s_set(first), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE slots s_mul(slots a, slots b) {
    return _mm512_mul_epu32(a, b);
}
INLINE slots s_high(slots a) {
    return _mm512_srli_epi64(a, 32);
}
INLINE slots s_xor3(slots a, slots b, slots c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
INLINE unsigned s_pairs_from(slots even, slots odd, uint32_t from) {
    __m512i words = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    return _mm512_cmpge_epu32_mask(words, _mm512_set1_epi32((int)from));
}
#else
enum { SLOTS = 4 };
typedef __m256i slots;
INLINE slots s_set(uint64_t x) {
    return _mm256_set1_epi64x((long long)x);
}
INLINE slots s_from(uint64_t first) {
    return _mm256_add_epi64(s_set(first), _mm256_setr_epi64x(0, 1, 2, 3));
}
INLINE slots s_mul(slots a, slots b) {
    return _mm256_mul_epu32(a, b);
}
INLINE slots s_high(slots a) {
    return _mm256_srli_epi64(a, 32);
}
INLINE slots s_xor3(slots a, slots b, slots c) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}
INLINE unsigned s_pairs_from(slots even, slots odd, uint32_t from) {
    __m256i words = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    __m256i limit = _mm256_set1_epi32((int)from);
    __m256i least = _mm256_cmpeq_epi32(_mm256_max_epu32(words, limit), words);
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(least));
}
#endif

enum { BITS = 4 * SLOTS, SIDE = 64 / BITS }; /* SIDE vectors of slots give a word of bits */

INLINE uint64_t keep_word(const keep_draw *d, uint64_t first) {
    slots v0[SIDE], v1[SIDE], v2[SIDE], v3[SIDE];
    UNROLL for (int s = 0; s < SIDE; s++) {
        v0[s] = s_from(first + (uint64_t)(s * SLOTS));
        v1[s] = s_high(v0[s]);
        v2[s] = s_set(d->draw);
        v3[s] = s_set(d->draw >> 32);
    }
    UNROLL for (int round = 0; round < 10; round++) {
        slots key0 = s_set(d->key0[round]), key1 = s_set(d->key1[round]);
        UNROLL for (int s = 0; s < SIDE; s++) {
            slots p0 = s_mul(v0[s], s_set(multiply0)), p1 = s_mul(v2[s], s_set(multiply1));
            v0[s] = s_xor3(s_high(p1), v1[s], key0);
            v2[s] = s_xor3(s_high(p0), v3[s], key1);
            v1[s] = p1;
            v3[s] = p0;
        }
    }
    uint64_t word = 0;
    UNROLL for (int s = 0; s < SIDE; s++) {
        uint64_t low = s_pairs_from(v0[s], v1[s], (uint32_t)d->from);
        uint64_t high = s_pairs_from(v2[s], v3[s], (uint32_t)d->from);
        word |= (_pdep_u64(low, 0x33333333u) | _pdep_u64(high, 0xCCCCCCCCu)) << (s * BITS);
    }
    return word;
}

void keep_row(const keep_draw *d, int64_t key, int64_t first, int64_t count, uint64_t *words) {
    uint64_t counter = (uint64_t)key * (uint64_t)d->fours + (uint64_t)first * 16;
    for (int64_t w = 0; w < count; w++)
        words[w] = d->from > UINT32_MAX ? 0 : keep_word(d, counter + (uint64_t)w * 16);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* y = bit ? x * scale : 0 along a row; bits(j) gives LANES bits from column j on. */
#define MASK_ROW(bits)                                                                             \
    do {                                                                                           \
        int64_t j = 0;                                                                             \
        for (; j + LANES <= n; j += LANES)                                                         \
            v_store(y + j, v_keep(v_mul(v_load(x + j), scale), bits(j, LANES)));                   \
        if (j < n) {                                                                               \
            lanes_mask some = v_first(n - j);                                                      \
            v_store_some(y + j, some,                                                              \
                         v_keep(v_mul(v_load_some(x + j, some), scale), bits(j, n - j)));          \
        }                                                                                          \
    } while (0)

enum { WORDS = 32, WINDOW = 64 * WORDS }; /* columns drawn at once */

static void dropout_window(const uint64_t *words, int64_t n, float *y, const float *x, vec scale) {
#define WORD_BITS(j, lanes) ((unsigned)(words[(j) / 64] >> ((j) % 64)) & ((1u << LANES) - 1))
    MASK_ROW(WORD_BITS);
}

static void dropout(int64_t m, int64_t n, float *y, const float *x, double p, uint64_t seed,
                    uint64_t draw, const int64_t *key) {
    keep_draw d = keep_begin(seed, draw, n, p);
    vec scale = v_set((float)(1 / (1 - p)));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j += WINDOW) {
            uint64_t words[WORDS];
            int64_t columns = flip_min64(WINDOW, n - j);
            keep_row(&d, key ? key[i] : i, j / 64, (columns + 63) / 64, words);
            dropout_window(words, columns, y + i * n + j, x + i * n + j, scale);
        }
}

static void mask_row(int64_t n, float *y, const float *x, const uint8_t *row, vec scale) {
#define ROW_BITS(j, lanes) bits_get(row, j, lanes)
    MASK_ROW(ROW_BITS);
}

static void mask_bits(int64_t m, int64_t n, float *dx, const float *dy, const uint8_t *bits,
                      float scale) {
    int64_t bytes = (n + 7) / 8;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        mask_row(n, dx + i * n, dy + i * n, bits + i * bytes, v_set(scale));
}

/* ---- sums and softmax -------------------------------------------------------------------------
 */

enum { COLUMNS = 512 }; /* of Y summed at once */

static void sum_block(int64_t rows, int64_t n, const float *y, int64_t ldy, float *sum) {
    for (int64_t j = 0; j < n; j += LANES)
        v_store(sum + j, v_zero());
    for (int64_t i = 0; i < rows; i++, y += ldy) {
        int64_t j = 0;
        for (; j + LANES <= n; j += LANES)
            v_store(sum + j, v_add(v_load(sum + j), v_load(y + j)));
        if (j < n) v_store(sum + j, v_add(v_load(sum + j), v_load_some(y + j, v_first(n - j))));
    }
}

static void sum_columns(int64_t m, int64_t n, const float *y, int64_t ldy, double *g) {
    int64_t block = flip_gradient_block(m);
#pragma omp parallel for ordered schedule(static, 1)
    for (int64_t first = 0; first < m; first += block) {
        float sum[COLUMNS];
        sum_block(flip_min64(block, m - first), n, y + first * ldy, ldy, sum);
#pragma omp ordered
        for (int64_t j = 0; j < n; j++)
            g[j] += (double)sum[j];
    }
}

static void column_sums(int64_t m, int64_t n, const float *y, int64_t ldy, double *g) {
    for (int64_t j = 0; j < n; j += COLUMNS)
        sum_columns(m, flip_min64(COLUMNS, n - j), y + j, ldy, g + j);
}

static void softmax_row(int64_t n, const float *x, float *p, double *log_sum_exp) {
    int64_t whole = n / LANES * LANES;
    lanes_mask some = v_first(n - whole);
    unsigned bits = (1u << (n - whole)) - 1;
    vec most = v_set(x[0]), sum = v_zero();
    for (int64_t j = 0; j < whole; j += LANES)
        most = v_max(most, v_load(x + j));
    float top = v_largest(most);
    for (int64_t j = whole; j < n; j++)
        top = x[j] > top ? x[j] : top;
    for (int64_t j = 0; j < whole; j += LANES) {
        vec e = v_exp(v_load(x + j) - v_set(top));
        v_store(p + j, e);
        sum = v_add(sum, e);
    }
    if (bits) {
        vec e = v_keep(v_exp(v_load_some(x + whole, some) - v_set(top)), bits);
        v_store_some(p + whole, some, e);
        sum = v_add(sum, e);
    }
    float total = v_sum(sum);
    vec scale = v_set(1 / total);
    for (int64_t j = 0; j < whole; j += LANES)
        v_store(p + j, v_mul(v_load(p + j), scale));
    if (bits) v_store_some(p + whole, some, v_mul(v_load_some(p + whole, some), scale));
    if (log_sum_exp) *log_sum_exp = (double)top + log((double)total);
}

static void softmax(int64_t m, int64_t n, const float *x, int64_t ldx, float *p, int64_t ldp,
                    double *log_sum_exp) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        softmax_row(n, x + i * ldx, p + i * ldp, log_sum_exp ? log_sum_exp + i : NULL);
}

/* The reference's equations; the compiler's vectors are as good as ours. */
static void adam(int64_t n, float *p, const double *g, float *m, float *v,
                 const flip_adam_step *s) {
    float beta1 = (float)s->beta1, rest1 = (float)(1 - s->beta1);
    float beta2 = (float)s->beta2, rest2 = (float)(1 - s->beta2);
    float decay = (float)(s->decoupled ? 0 : s->weight_decay);
    float shrink = (float)(s->decoupled ? 1 - s->lr * s->weight_decay : 1);
    float rate = (float)(s->lr / s->correct1), root = (float)(1 / sqrt(s->correct2));
    float epsilon = (float)s->epsilon;
    double grad_scale = s->grad_scale;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float slope = (float)(g[i] * grad_scale) + decay * p[i];
        m[i] = beta1 * m[i] + rest1 * slope;
        v[i] = beta2 * v[i] + rest2 * slope * slope;
        p[i] = shrink * p[i] - rate * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

void SIMD_NAME(flip_use_pointwise)(flip_kernels *table) {
    table->column_sums = column_sums;
    table->softmax = softmax;
    table->dropout = dropout;
    table->mask_bits = mask_bits;
    table->adam = adam;
}
