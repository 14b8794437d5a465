/* Rows to codes and back. A row's codes depend on the codec and the row alone: not on the rows
 * beside it, on threads, or on the machine's products. */
#include "base/floats.h"
#include "codec/internal.h"

#include <omp.h>

enum { BLOCK = 256 }; /* rows a thread takes at once */

/* ---- a code in its place --------------------------------------------------------------------
 */

static void put_little(uint8_t *p, uint32_t value, int bytes) {
    for (int b = 0; b < bytes; b++)
        p[b] = (uint8_t)(value >> (8 * b));
}

static void put_code(uint8_t *row, int32_t bits, int64_t j, uint32_t code) {
    if (bits >= 8)
        put_little(row + j * (bits / 8), code, bits / 8);
    else
        row[j * bits / 8] |= (uint8_t)(code << (j * bits % 8));
}

/* ---- scalars --------------------------------------------------------------------------------
 */

/* The nearest of ascending levels, ties and equal levels to the lower. */
static uint32_t nearest(const float *level, int32_t bits, double x) {
    uint32_t low = 0, high = (1u << bits) - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (x > ((double)level[middle] + (double)level[middle + 1]) / 2)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0 && level[low - 1] == level[low])
        low--;
    return low;
}

static double standard(const flip_packing *p, float x, int32_t j) {
    double scale = p->scale ? (double)p->scale[j] : 1;
    return scale != 0 ? ((double)x - (p->offset ? (double)p->offset[j] : 0)) / scale : 0;
}

static void by_levels(const flip_packing *p, const float *x, uint8_t *row) {
    for (int32_t j = 0; j < p->dim; j++) {
        const float *level = p->level + (p->column_levels ? (size_t)j << p->bits : 0);
        put_code(row, p->bits, j, nearest(level, p->bits, standard(p, x[j], j)));
    }
}

static void by_floor(const flip_packing *p, const float *x, int64_t key, uint8_t *row) {
    double top = (double)((1u << p->bits) - 1);
    uint32_t seed = p->dither ? flip_dither_row(p->dither_seed, key) : 0;
    for (int32_t j = 0; j < p->dim; j++) {
        double u = 0;
        if (p->dither) u = (double)(flip_dither_mix(seed + (uint32_t)j) >> 8) * 0x1p-24 - 0.5;
        double code = floor(standard(p, x[j], j) + u);
        put_code(row, p->bits, j, (uint32_t)fmin(fmax(code, 0), top));
    }
}

static void by_log(const flip_codec *c, const float *x, uint8_t *row) {
    const flip_packing *p = &c->packing;
    int32_t sizes = 1 << (p->bits - 1);
    double low = log2(c->least), high = log2(c->most) + 1e-5;
    for (int32_t j = 0; j < p->dim; j++) {
        double size = fmin(fmax(fabs((double)x[j]), c->least), c->most);
        double at = floor((log2(size) - low) / (high - low) * sizes);
        int32_t level = (int32_t)fmin(fmax(at, 0), sizes - 1);
        put_code(row, p->bits, j, (uint32_t)(sizes + (x[j] > 0 ? level : -1 - level)));
    }
}

static void copied(const flip_packing *p, const float *x, uint8_t *row) {
    for (int32_t j = 0; j < p->dim; j++) {
        if (p->kind == FLIP_PACKING_FLOAT)
            put_little(row + 4 * (size_t)j, flip_float_bits(x[j]), 4);
        else if (p->kind == FLIP_PACKING_HALF)
            put_little(row + 2 * (size_t)j, flip_half_of(x[j]), 2);
        else
            put_little(row + 2 * (size_t)j, flip_brief_nearest(x[j]), 2);
    }
}

/* ---- whole rows -----------------------------------------------------------------------------
 */

static void mixed_row(const flip_packing *p, const float *x, uint8_t *row) {
    for (int32_t i = 0; i < FLIP_MIXED_GROUPS; i++) {
        flip_packing part;
        int32_t first;
        size_t byte;
        if (flip_packing_part(p, i, &part, &first, &byte)) by_levels(&part, x + first, row + byte);
    }
}

/* The first column whose value the row has no room or no level for, -1 if none. */
static int32_t sparse_row(const flip_packing *p, const float *x, uint8_t *row) {
    int id_bytes = p->dim > 65535 ? 4 : 2;
    uint8_t *values = row + (size_t)p->length * (size_t)id_bytes;
    int32_t n = 0;
    for (int32_t j = 0; j < p->dim; j++) {
        if (x[j] == 0) continue;
        uint32_t code = p->bits == 8 ? nearest(p->level, 8, (double)x[j]) : 0;
        float held = p->bits == 0 ? 1 : p->bits == 8 ? p->level[code] : x[j];
        if (n == p->length || held != x[j]) return j;
        put_little(row + (size_t)n * (size_t)id_bytes, (uint32_t)j, id_bytes);
        memcpy(&code, p->bits == 32 ? (const void *)&x[j] : &code, sizeof code);
        put_little(values + (size_t)n * (size_t)(p->bits / 8), code, p->bits / 8);
        n++;
    }
    for (; n < p->length; n++)
        put_little(row + (size_t)n * (size_t)id_bytes, id_bytes == 4 ? UINT32_MAX : 65535,
                   id_bytes);
    return -1;
}

/* Rows of a block against each codebook in turn. */
static void product_rows(const flip_codec *c, int64_t n, const float *x, uint8_t *codes,
                         float *scores) {
    const flip_packing *p = &c->packing;
    for (int32_t b = 0; b < p->blocks; b++) {
        size_t first = (size_t)b * (size_t)p->length, at = first * (size_t)p->width;
        flip_matcher m = {.width =
                              (int32_t)flip_codec_min(p->width, p->dim - (int64_t)b * p->width),
                          .length = p->length,
                          .ld = p->width,
                          .entry = c->real + at,
                          .match = c->match + at,
                          .half = c->half + first,
                          .cosine = c->rule == FLIP_RULE_COSINE,
                          .near_zero = c->near_zero ? c->near_zero[b] : 0};
        int32_t code[BLOCK];
        flip_match(&m, n, x + (size_t)b * (size_t)p->width, p->dim, code, scores);
        for (int64_t i = 0; i < n; i++)
            put_code(codes + (size_t)i * p->stride, p->bits, b, (uint32_t)code[i]);
    }
}

/* ---- encode ---------------------------------------------------------------------------------
 */

/* What went wrong first: the smallest row, so that the message is the same for any threads. */
typedef struct refusal {
    int64_t row;
    int32_t column;
    float value;
} refusal;

static void encode_block(const flip_codec *c, int64_t first, int64_t n, const float *x,
                         const int64_t *key, uint8_t *codes, float *scores, refusal *bad) {
    const flip_packing *p = &c->packing;
    memset(codes, 0, (size_t)n * p->stride);
    if (p->kind == FLIP_PACKING_PRODUCT) product_rows(c, n, x, codes, scores);
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * p->dim;
        uint8_t *out = codes + (size_t)i * p->stride;
        if (c->rule == FLIP_RULE_COPY)
            copied(p, row, out);
        else if (p->kind == FLIP_PACKING_MIXED)
            mixed_row(p, row, out);
        else if (c->rule == FLIP_RULE_NEAREST)
            by_levels(p, row, out);
        else if (c->rule == FLIP_RULE_FLOOR)
            by_floor(p, row, key ? key[i] : first + i, out);
        else if (c->rule == FLIP_RULE_LOG)
            by_log(c, row, out);
        else if (c->rule == FLIP_RULE_SPARSE) {
            int32_t j = sparse_row(p, row, out);
            if (j >= 0 && first + i < bad->row) *bad = (refusal){first + i, j, row[j]};
        }
    }
}

static bool finite_rows(const flip_codec *c, int64_t first, int64_t n, const float *x,
                        refusal *bad) {
    if (c->rule == FLIP_RULE_COPY) return true;
    for (int64_t i = 0; i < n * c->dim_in; i++)
        if (!isfinite(x[i])) {
            if (first + i / c->dim_in < bad->row)
                *bad = (refusal){first + i / c->dim_in, (int32_t)(i % c->dim_in), x[i]};
            return false;
        }
    return true;
}

static flip_status refuse(const flip_codec *c, const refusal *bad) {
    if (c->rule == FLIP_RULE_SPARSE && isfinite(bad->value))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "codec %s has no place for %g (row %lld, column %d): %d non-zero columns "
                         "a row, %s",
                         c->name, (double)bad->value, (long long)bad->row, bad->column,
                         c->packing.length,
                         c->packing.bits == 0   ? "all of them 1"
                         : c->packing.bits == 8 ? "values of its table"
                                                : "any value");
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "codec %s cannot hold %g (row %lld, column %d); fp32, fp16 and bf16 can",
                     c->name, (double)bad->value, (long long)bad->row, bad->column);
}

/* Room of one thread. */
typedef struct room {
    float *turned, *scores;
} room;

static flip_status room_create(room *r, const flip_codec *c) {
    const flip_packing *p = &c->packing;
    *r = (room){NULL, NULL};
    FLIP_TRY(flip_alloc(&r->turned, c->rotation ? (size_t)BLOCK * (size_t)p->dim : 1, sizeof(float),
                        "turned rows"));
    return flip_alloc(&r->scores,
                      p->kind == FLIP_PACKING_PRODUCT ? FLIP_MATCH_ROWS * (size_t)p->length : 1,
                      sizeof(float), "scores of entries");
}

static void encode_some(const flip_codec *c, room *r, int64_t first, int64_t n, const float *rows,
                        const int64_t *key, uint8_t *codes, refusal *bad) {
    const float *x = rows + first * c->dim_in;
    if (!finite_rows(c, first, n, x, bad)) return;
    if (c->rotation) {
        flip_turn(r->turned, x, n, c->turned, c->dim_in, c->packing.dim);
        x = r->turned;
    }
    encode_block(c, first, n, x, key ? key + first : NULL,
                 codes + (size_t)first * c->packing.stride, r->scores, bad);
}

flip_status flip_codec_encode(const flip_codec *c, int64_t n, const float *rows, const int64_t *key,
                              uint8_t *codes) {
    flip_status status = FLIP_OK;
    refusal bad = {.row = INT64_MAX};
    if (c->dropped)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "codec %s has lost its rotation (it was stored without): new rows cannot "
                         "be encoded; compress with --rotation keep",
                         c->name);
    if (c->packing.dither && !key)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "codec %s dithers by the rows' keys", c->name);
#pragma omp parallel
    {
        room r;
        refusal mine = {.row = INT64_MAX};
        flip_status made = room_create(&r, c);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < n; first += BLOCK)
            if (made == FLIP_OK)
                encode_some(c, &r, first, flip_codec_min(BLOCK, n - first), rows, key, codes,
                            &mine);
        flip_free(r.turned);
        flip_free(r.scores);
#pragma omp critical
        {
            if (made != FLIP_OK) status = made;
            if (mine.row < bad.row) bad = mine;
        }
    }
    if (status == FLIP_OK && bad.row < INT64_MAX) status = refuse(c, &bad);
    return status;
}

/* ---- decode and check -----------------------------------------------------------------------
 */

flip_status flip_codec_decode(const flip_codec *c, int64_t n, const uint8_t *codes,
                              const int64_t *key, float *rows) {
    const flip_packing *p = &c->packing;
    FLIP_TRY(flip_codec_check_codes(c, n, codes, 0));
    if (p->dither && !key)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "codec %s dithers by the rows' keys", c->name);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        flip_unpack_row(p, codes + (size_t)i * p->stride, key ? key[i] : i, rows + i * p->dim);
    return FLIP_OK;
}

static uint32_t take_little(const uint8_t *p, int bytes) {
    uint32_t value = 0;
    for (int b = 0; b < bytes; b++)
        value |= (uint32_t)p[b] << (8 * b);
    return value;
}

/* Words on what is wrong with a row, NULL if nothing; *at: the block or column. */
static const char *wrong_product(const flip_packing *p, const uint8_t *row, int64_t *at) {
    for (int32_t b = 0; b < p->blocks; b++) {
        int64_t bit = (int64_t)b * p->bits;
        uint32_t code = p->bits >= 8 ? take_little(row + bit / 8, p->bits / 8)
                                     : (uint32_t)row[bit / 8] >> (bit % 8) & 15;
        *at = b;
        if (code >= (uint32_t)p->length) return "names an entry that its codebook does not have";
    }
    return NULL;
}

static const char *wrong_sparse(const flip_packing *p, const uint8_t *row, int64_t *at) {
    int id_bytes = p->dim > 65535 ? 4 : 2;
    const uint8_t *values = row + (size_t)p->length * (size_t)id_bytes;
    int64_t before = -1;
    bool ended = false;
    for (int32_t i = 0; i < p->length; i++) {
        int64_t j = take_little(row + (size_t)i * (size_t)id_bytes, id_bytes);
        *at = i;
        if (j < p->dim && (ended || j <= before)) return "has columns out of order";
        uint32_t value = take_little(values + (size_t)i * (size_t)(p->bits / 8), p->bits / 8);
        ended = j >= p->dim;
        if (ended && value != 0) return "has a value without a column";
        before = j;
    }
    return NULL;
}

/* Bits behind the last code of a group of n codes must be 0. */
static bool loose_bits(const uint8_t *row, int64_t n, int32_t bits) {
    int64_t used = n * bits;
    return used % 8 != 0 && row[used / 8] >> (used % 8) != 0;
}

static const char *wrong_row(const flip_packing *p, const uint8_t *row, int64_t *at) {
    flip_packing part;
    int32_t first;
    size_t byte;
    *at = 0;
    switch (p->kind) {
    case FLIP_PACKING_PRODUCT:
        if (loose_bits(row, p->blocks, p->bits)) return "has bits behind its last code";
        return wrong_product(p, row, at);
    case FLIP_PACKING_SCALAR:
        return loose_bits(row, p->dim, p->bits) ? "has bits behind its last code" : NULL;
    case FLIP_PACKING_MIXED:
        for (int32_t i = 0; i < FLIP_MIXED_GROUPS; i++)
            if (flip_packing_part(p, i, &part, &first, &byte) &&
                loose_bits(row + byte, part.dim, part.bits))
                return "has bits behind its last code";
        return NULL;
    case FLIP_PACKING_SPARSE:
        return wrong_sparse(p, row, at);
    default:
        return NULL;
    }
}

flip_status flip_codec_check_codes(const flip_codec *c, int64_t n, const uint8_t *codes,
                                   int64_t first_row) {
    int64_t at = 0, worst = INT64_MAX;
#pragma omp parallel for schedule(static) private(at) reduction(min : worst)
    for (int64_t i = 0; i < n; i++)
        if (i < worst && wrong_row(&c->packing, codes + (size_t)i * c->packing.stride, &at))
            worst = i;
    if (worst == INT64_MAX) return FLIP_OK;
    const char *why = wrong_row(&c->packing, codes + (size_t)worst * c->packing.stride, &at);
    return FLIP_FAIL(FLIP_ERROR_INPUT, "codes of row %lld do not fit codec %s: code %lld %s",
                     (long long)(first_row + worst), c->name, (long long)at, why);
}
