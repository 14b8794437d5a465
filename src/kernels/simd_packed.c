/* Packed rows decoded and summed in vectors. Memory is what a gather waits for, and a packed row is
 * a few lines of it or a part of one: rows that come AHEAD entries later are asked for early, and
 * decoding hides behind that. Offsets and scales of columns are applied to the sum,
 *     sum_e w_e (offset + scale level[code_e]) = offset W + scale sum_e w_e level[code_e],
 * W = sum_e w_e; half a step and one-bit levels likewise. */
#include "kernels/simd_packed.h"

enum {
    MOST = 8,  /* vectors of a row summed at once */
    CHUNK = 64 /* rows a thread takes at once */
};
static const size_t large = 16u << 20; /* bytes of a result that no cache keeps */

/* ---- how codes are read -----------------------------------------------------------------------
 */

typedef enum form {
    ONE_BIT, /* levels are applied to the sum of bits */
    TABLE,   /* shared levels of 2 or 4 bits */
    LOOK_UP, /* shared levels of 8 or 16 bits */
    COLUMN,  /* levels of each column */
    NUMBER,  /* affine: half a step is added to the sum */
    DITHER,  /* affine, less u: a step is added to the sum */
    WHOLE,
    HALF,
    BRIEF, /* bfloat16 */
    ENTRY  /* of codebooks whose width is `width` */
} form;

/* What a row part is made for: known when compiling. */
typedef struct kind {
    form form;
    int bits, width;
} kind;

/* Uniform in [0, 1) by flip_dither; `lane` holds the columns' numbers. */
INLINE vec dither_of(uint32_t row, codes_vec lane) {
    codes_vec x = c_add(c_set(row), lane);
    x = c_mul(c_xor_shifted(x, 16), c_set(0x7feb352du));
    x = c_mul(c_xor_shifted(x, 15), c_set(0x846ca68bu));
    x = c_xor_shifted(x, 16);
    return v_mul(c_numbers(c_down(x, 8)), v_set(0x1p-24f));
}

INLINE int64_t code_of(const kind k, const uint8_t *row, int64_t block) {
    uint16_t code = row[block * k.bits / 8];
    if (k.bits == 16) memcpy(&code, row + block * 2, sizeof code);
    return code;
}

/* Columns j … of their blocks' entries. A last, narrower block has whole entries, too. */
INLINE vec entry_of(const kind k, const flip_packing *p, const uint8_t *row, int64_t j,
                    int64_t lanes) {
    int64_t block = j / k.width, book = (int64_t)p->length * k.width;
    const float *at = p->codebook + block * book + j % k.width;
    const float *entry = at + code_of(k, row, block) * k.width;
#ifdef __AVX512F__
    if (k.width == 8 && lanes <= 8) return _mm512_castps256_ps512(_mm256_loadu_ps(entry));
    if (k.width == 8) return v_two_halves(entry, at + book + code_of(k, row, block + 1) * k.width);
#endif
    (void)lanes;
    return v_load(entry);
}

/* Levels at hand: those that all columns share, or those of the columns now summed. */
typedef struct look {
    table16 shared;
    vec column[16];
} look;

/* Choosing among a column's few levels is faster than gathering them, in AVX-512. */
INLINE bool by_columns(const kind k) {
    return LANES == 16 && k.form == COLUMN && k.bits <= 4;
}

/* COLUMN: columns behind the last have the last one's levels. */
INLINE codes_vec levels_at(const kind k, const reader *r, int64_t j) {
    codes_vec lane = c_add(c_set((uint32_t)j), lane_order(k.bits));
    return c_up(c_least(lane, c_set((uint32_t)r->p->dim - 1)), k.bits);
}

INLINE void look_up(const kind k, const reader *r, int64_t j, look *l) {
    l->shared = t_load(r->table);
    if (!by_columns(k)) return;
    codes_vec at = levels_at(k, r, j);
    for (int i = 0; i < 1 << k.bits; i++)
        l->column[i] = c_gather(r->p->level, c_add(at, c_set((uint32_t)i)));
}

/* The levels of `lanes` columns from j on, in lane_order; their codes begin at p (ENTRY: at the
 * row). */
INLINE vec levels(const kind k, const reader *r, const look *l, const uint8_t *p, uint32_t dither,
                  int64_t j, int64_t lanes) {
    if (k.form == ENTRY) return entry_of(k, r->p, p, j, lanes);
    uint8_t part[CACHE_LINE];
    if (lanes < LANES) { /* nothing behind the row is read */
        memset(part, 0, sizeof part);
        memcpy(part, p, (size_t)(lanes * k.bits + 7) / 8);
        p = part;
    }
    if (by_columns(k)) return pick_of_columns(k.bits, l->column, c_small(k.bits, p));
    switch (k.form) {
    case ONE_BIT:
        return v_add_bits(v_zero(), p, v_set(1));
    case TABLE:
        return t_pick(k.bits, &l->shared, c_small(k.bits, p));
    case LOOK_UP:
        return c_gather(r->p->level, c_clean(k.bits, p));
    case COLUMN:
        return c_gather(r->p->level, c_add(levels_at(k, r, j), c_clean(k.bits, p)));
    case NUMBER:
        return c_numbers(c_clean(k.bits, p));
    case DITHER:
        return c_numbers(c_clean(k.bits, p)) -
               dither_of(dither, c_add(c_set((uint32_t)j), lane_order(k.bits)));
    case WHOLE:
        return v_load((const float *)p);
    case HALF:
        return c_halves(p);
    case BRIEF:
        return c_floats(c_up(c_shorts(p), 16));
    default:
        return v_zero();
    }
}

INLINE uint32_t dither_row(const kind k, const reader *r, int64_t at) {
    return k.form == DITHER ? flip_dither_row(r->p->dither_seed, r->key ? r->key[at] : at) : 0;
}

/* Where the codes of column j stand, as levels wants it. */
INLINE const uint8_t *codes_at(const kind k, const uint8_t *row, int64_t j) {
    return k.form == ENTRY ? row : row + j * k.bits / 8;
}

INLINE vec add_levels(const kind k, const reader *r, const look *l, const uint8_t *p,
                      uint32_t dither, int64_t j, int64_t lanes, vec w, vec sum) {
    if (k.form == ONE_BIT && lanes == LANES) return v_add_bits(sum, p, w);
    return v_fma(w, levels(k, r, l, p, dither, j, lanes), sum);
}

/* offset W + scale sum, from the sum of levels and of weights. */
INLINE vec finish(const kind k, const reader *r, int64_t j, int64_t lanes, vec sum, vec total) {
    const flip_packing *p = r->p;
    lanes_mask some = v_first(lanes);
    if (k.bits == SHUFFLED_BITS && k.form != ENTRY) sum = v_in_order(sum);
    if (k.form == NUMBER) sum = v_fma(v_set(0.5f), total, sum);
    if (k.form == DITHER) sum = v_add(total, sum);
    if (k.form == ONE_BIT) {
        vec low = v_set(r->table[0]), high = v_set(r->table[1]);
        if (p->column_levels) {
            codes_vec at = levels_at(k, r, j);
            low = c_gather(p->level, at);
            high = c_gather(p->level, c_add(at, c_set(1)));
        }
        sum = v_fma(high - low, sum, v_mul(low, total));
    }
    if (p->scale) sum = v_mul(sum, v_load_some(p->scale + j, some));
    if (p->offset) sum = v_fma(v_load_some(p->offset + j, some), total, sum);
    return sum;
}

/* ---- sums -------------------------------------------------------------------------------------
 */

/* y[j …] (+)= scale (offset total + scales of columns * sums) */
INLINE void store_sums(const kind k, const reader *r, int64_t j, int64_t lanes, int count,
                       const float *sums, float total, float scale, float *y, bool accumulate) {
    lanes_mask some = v_first(lanes);
#pragma GCC unroll 1
    for (int c = 0; c < count; c++, j += LANES) {
        vec whole = finish(k, r, j, lanes, v_load(sums + c * LANES), v_set(total));
        vec old = accumulate ? v_load_some(y + j, some) : v_zero();
        whole = v_fma(v_set(scale), whole, old);
        if (lanes == LANES)
            v_put(r, y + j, whole);
        else
            v_store_some(y + j, some, whole);
    }
}

/* `count` vectors of one row's sum from column j on, or, with lanes < LANES, the first `lanes`
 * columns of one. */
INLINE void sum_part(const kind k, const int count, const reader *r, const look *l,
                     const flip_csr *a, int64_t v, int64_t j, int64_t lanes, bool ask, float *y,
                     bool accumulate) {
    vec sum[MOST];
    float total = 0;
    UNROLL for (int c = 0; c < count; c++) sum[c] = v_zero();
    int64_t last = a->row_ptr[v + 1], end = a->row_ptr[a->n_rows] - 1;
    for (int64_t e = a->row_ptr[v]; e < last; e++) {
        if (ask) ask_early(r, a->col[e + r->ahead < end ? e + r->ahead : end]);
        int64_t at = place_of(r, a->col[e]);
        const uint8_t *p = codes_at(k, r->codes + at * r->stride, j);
        float weight = a->value ? a->value[e] : 1;
        if (a->col_scale) weight *= a->col_scale[a->col[e]];
        uint32_t dither = dither_row(k, r, at);
        vec w = v_set(weight);
        total += weight;
        UNROLL for (int c = 0; c < count; c++) sum[c] =
            add_levels(k, r, l, codes_at(k, p, c * LANES), dither, j + c * LANES, lanes, w, sum[c]);
    }
    float sums[MOST * LANES]; /* through memory, so that what follows is compiled once */
    UNROLL for (int c = 0; c < count; c++) v_store(sums + c * LANES, sum[c]);
    store_sums(k, r, j, lanes, count, sums, total, a->row_scale ? a->row_scale[v] : 1, y,
               accumulate);
}

#define SUM_CASE(count)                                                                            \
    case count:                                                                                    \
        sum_part(k, count, r, l, a, v, j, LANES, j == from, y, accumulate);                        \
        break;

/* A row from a column on in parts of at most MOST vectors, the last columns apart. */
INLINE void sum_row(const kind k, const reader *r, const look *l, const flip_csr *a, int64_t v,
                    int64_t from, float *y, bool accumulate) {
    int64_t dim = r->p->dim, j = from;
    while (dim - j >= LANES) {
        int64_t count = flip_min64((dim - j) / LANES, MOST);
        switch (count) {
            SUM_CASE(1)
            SUM_CASE(2)
            SUM_CASE(3)
            SUM_CASE(4)
            SUM_CASE(5)
            SUM_CASE(6)
            SUM_CASE(7)
            SUM_CASE(8)
        }
        j += count * LANES;
    }
    if (j < dim) sum_part(k, 1, r, l, a, v, j, dim - j, j == from, y, accumulate);
}

/* Rows first … last-1 from a column on. Where columns have levels of their own, those of LANES
 * columns serve all these rows before the next columns come. */
INLINE void sum_rows(const kind k, const reader *r, const flip_csr *a, int64_t first, int64_t last,
                     int64_t from, float *y, int64_t ld, bool accumulate) {
    const int64_t dim = r->p->dim, step = by_columns(k) ? LANES : dim;
    look l;
    for (int64_t j = from; j < dim; j += step) {
        look_up(k, r, j, &l);
        for (int64_t v = first; v < last; v++) {
            float *row = y + v * ld;
            if (!by_columns(k))
                sum_row(k, r, &l, a, v, from, row, accumulate);
            else if (dim - j >= LANES)
                sum_part(k, 1, r, &l, a, v, j, LANES, j == from, row, accumulate);
            else
                sum_part(k, 1, r, &l, a, v, j, dim - j, j == from, row, accumulate);
        }
    }
}

/* ---- rows by themselves -----------------------------------------------------------------------
 */

/* Columns from … end-1 of the row that stands at `at`. */
INLINE void decode_part(const kind k, const reader *r, const look *l, int64_t at, int64_t from,
                        int64_t end, float *out) {
    const uint8_t *row = r->codes + at * r->stride;
    uint32_t dither = dither_row(k, r, at);
    int64_t j = from;
    for (; j + LANES <= end; j += LANES) {
        vec x = levels(k, r, l, codes_at(k, row, j), dither, j, LANES);
        v_store(out + j, finish(k, r, j, LANES, x, v_set(1)));
    }
    if (j == end) return;
    vec x = levels(k, r, l, codes_at(k, row, j), dither, j, end - j);
    v_store_some(out + j, v_first(end - j), finish(k, r, j, end - j, x, v_set(1)));
}

/* Rows first … last-1 of n. */
INLINE void decode_some(const kind k, const reader *r, int64_t first, int64_t last, int64_t n,
                        float *out, int64_t ld) {
    const int64_t dim = r->p->dim, step = by_columns(k) ? LANES : dim;
    look l;
    for (int64_t j = 0; j < dim; j += step) {
        look_up(k, r, j, &l);
        for (int64_t i = first; i < last; i++) {
            if (j == 0 && i + r->ahead < n) ask_early(r, i + r->ahead);
            decode_part(k, r, &l, place_of(r, i), j, flip_min64(j + step, dim), out + i * ld);
        }
    }
}

/* ---- one set of functions a kind --------------------------------------------------------------
 */

typedef struct kind_row {
    kind kind;
    void (*sum)(const reader *, const flip_csr *, int64_t, int64_t, int64_t, float *, int64_t,
                bool);
    void (*decode)(const reader *, int64_t, int64_t, int64_t, float *, int64_t);
} kind_row;

#define KINDS(X)                                                                                   \
    X(one_bit, ONE_BIT, 1, 0)                                                                      \
    X(table_2, TABLE, 2, 0)                                                                        \
    X(table_4, TABLE, 4, 0)                                                                        \
    X(look_up_8, LOOK_UP, 8, 0)                                                                    \
    X(look_up_16, LOOK_UP, 16, 0)                                                                  \
    X(column_2, COLUMN, 2, 0)                                                                      \
    X(column_4, COLUMN, 4, 0)                                                                      \
    X(column_8, COLUMN, 8, 0)                                                                      \
    X(number_2, NUMBER, 2, 0)                                                                      \
    X(number_4, NUMBER, 4, 0)                                                                      \
    X(number_8, NUMBER, 8, 0)                                                                      \
    X(number_16, NUMBER, 16, 0)                                                                    \
    X(dither_1, DITHER, 1, 0)                                                                      \
    X(dither_2, DITHER, 2, 0)                                                                      \
    X(dither_4, DITHER, 4, 0)                                                                      \
    X(dither_8, DITHER, 8, 0)                                                                      \
    X(whole, WHOLE, 32, 0)                                                                         \
    X(half, HALF, 16, 0)                                                                           \
    X(brief, BRIEF, 16, 0)                                                                         \
    X(entry_8, ENTRY, 8, 8)                                                                        \
    X(entry_16, ENTRY, 8, 16)                                                                      \
    X(entry_16_long, ENTRY, 16, 16)

#define FUNCTIONS(name, form, bits, width)                                                         \
    static void sum_##name(const reader *r, const flip_csr *a, int64_t first, int64_t last,        \
                           int64_t from, float *y, int64_t ld, bool add) {                         \
        sum_rows((kind){form, bits, width}, r, a, first, last, from, y, ld, add);                  \
    }                                                                                              \
    static void decode_##name(const reader *r, int64_t first, int64_t last, int64_t n, float *out, \
                              int64_t ld) {                                                        \
        decode_some((kind){form, bits, width}, r, first, last, n, out, ld);                        \
    }
KINDS(FUNCTIONS)

#define ROW(name, form, bits, width) {{form, bits, width}, sum_##name, decode_##name},
static const kind_row kinds[] = {KINDS(ROW)};

static form form_of(const flip_packing *p) {
    switch (p->kind) {
    case FLIP_PACKING_FLOAT:
        return WHOLE;
    case FLIP_PACKING_HALF:
        return HALF;
    case FLIP_PACKING_BFLOAT:
        return BRIEF;
    case FLIP_PACKING_PRODUCT:
        return ENTRY;
    default:
        return p->dither                      ? DITHER
               : p->bits == 1                 ? ONE_BIT
               : p->level && p->column_levels ? COLUMN
               : p->level && p->bits >= 8     ? LOOK_UP
               : p->level                     ? TABLE
                                              : NUMBER;
    }
}

/* NULL: only the definition reads such rows (SPARSE, dithered levels, blocks of odd widths). */
static const kind_row *kind_of(const flip_packing *p) {
    form form = form_of(p);
    int bits = p->kind == FLIP_PACKING_FLOAT                                    ? 32
               : p->kind == FLIP_PACKING_HALF || p->kind == FLIP_PACKING_BFLOAT ? 16
                                                                                : p->bits;
    if (p->kind == FLIP_PACKING_SPARSE || p->kind == FLIP_PACKING_MIXED ||
        (form == DITHER && p->level))
        return NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind.form == form && kinds[i].kind.bits == bits &&
            (form != ENTRY || kinds[i].kind.width == p->width))
            return &kinds[i];
    return NULL;
}

static reader begin(const flip_packing *p, const uint8_t *codes, const int64_t *key,
                    const int32_t *index) {
    reader r = {.p = p, .codes = codes, .key = key, .index = index, .stride = (int64_t)p->stride};
    r.ahead = LINES_AHEAD / ((r.stride - 1) / CACHE_LINE + 1) + 8;
    r.aligned = r.stride % CACHE_LINE == 0 && (uintptr_t)codes % CACHE_LINE == 0;
    r.one_line = CACHE_LINE % r.stride == 0 && (uintptr_t)codes % CACHE_LINE == 0;
    /* rows that fill a line and are read once pass the cache that would fetch each one's pair */
    r.past = r.stride == CACHE_LINE && r.aligned && !p->column_levels && flip_cpu_pairs_lines();
    if (r.past) r.ahead = PAST_AHEAD;
    if (p->kind != FLIP_PACKING_SCALAR || p->bits > 4 || p->column_levels) return r;
    for (int i = 0; i < 16; i++) {
        int code = i & ((1 << p->bits) - 1);
        r.table[i] = p->level ? p->level[code] : (float)code + 0.5f;
        if (r.table[i] >= 0 && r.table[i] < 256) r.whole[i] = (uint8_t)r.table[i];
    }
    return r;
}

static void decode_rows(const flip_packing *p, const uint8_t *codes, const int64_t *key, int64_t n,
                        const int32_t *index, float *out, int64_t ld) {
    const kind_row *k = kind_of(p);
    flip_packing part;
    int32_t column;
    size_t byte;
    for (int i = 0; p->kind == FLIP_PACKING_MIXED && i < FLIP_MIXED_GROUPS; i++)
        if (flip_packing_part(p, i, &part, &column, &byte))
            decode_rows(&part, codes + byte, key, n, index, out + column, ld);
    if (p->kind == FLIP_PACKING_MIXED) return;
    if (!k) {
        flip_kernels_reference()->decode_rows(p, codes, key, n, index, out, ld);
        return;
    }
    const reader r = begin(p, codes, key, index);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < n; first += CHUNK)
        k->decode(&r, first, flip_min64(n, first + CHUNK), n, out, ld);
}

/* Full lines only, and none that a cache would have kept. */
static bool streams(const flip_csr *a, const float *y, int64_t ld, bool accumulate) {
    size_t bytes = (size_t)a->n_rows * (size_t)ld * sizeof *y;
    return !accumulate && bytes >= large && ld % 16 == 0 && (uintptr_t)y % CACHE_LINE == 0;
}

static void spmm_packed(const flip_csr *a, const flip_packing *p, const uint8_t *codes,
                        const int64_t *key, const int32_t *index, float *y, int64_t ld,
                        bool accumulate) {
    const kind_row *k = kind_of(p);
    flip_packing part;
    int32_t column;
    size_t byte;
    for (int i = 0; p->kind == FLIP_PACKING_MIXED && i < FLIP_MIXED_GROUPS; i++)
        if (flip_packing_part(p, i, &part, &column, &byte))
            spmm_packed(a, &part, codes + byte, key, index, y + column, ld, accumulate);
    if (p->kind == FLIP_PACKING_MIXED) return;
    if (!k) {
        flip_kernels_reference()->spmm_packed(a, p, codes, key, index, y, ld, accumulate);
        return;
    }
    reader r = begin(p, codes, key, index);
    r.stream = streams(a, y, ld, accumulate);
    whole_sum whole = a->value || a->col_scale ? NULL : SIMD_NAME(flip_whole_sum)(p);
    int64_t wholes = whole ? p->dim / SPAN * SPAN : 0;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic) nowait
        for (int32_t first = 0; first < a->n_rows; first += CHUNK) {
            int64_t last = flip_min64(a->n_rows, (int64_t)first + CHUNK);
            if (whole) whole(&r, a, first, last, y, ld, accumulate);
            if (wholes < p->dim) k->sum(&r, a, first, last, wholes, y, ld, accumulate);
        }
        _mm_sfence(); /* streamed results are in place when the kernel returns */
    }
}

void SIMD_NAME(flip_use_packed)(flip_kernels *table) {
    table->decode_rows = decode_rows;
    table->spmm_packed = spmm_packed;
}
