/* A codec as bytes, for files and broadcasts; whatever does not fit is refused by name.
 *
 *     "FLIPCODE"  version u32  kind u32  rule u32  flags u32  dim u32  dim_in u32  bits u32
 *     width u32  length u32  mixed 4 u32  dither seed u64  least f64  most f64  name 48 bytes
 *     then each table that there is, in order: u32 bytes of a number (1: whole, 2: half, 4: float),
 * the numbers
 *
 * A MIXED codec leaves out levels of groups that have no column. */
#include "codec/internal.h"

enum { VERSION = 1, WORDS = 13, HEAD = 8 + 4 * WORDS + 3 * 8 + FLIP_CODEC_NAME };
enum { COLUMN_LEVELS = 1, DITHER = 2, DROPPED = 4, FLAGS = 7, TABLE = 8 /* << table */ };

/* ---- which numbers of a table stand in the file ---------------------------------------------
 */

/* Levels of the MIXED groups in use, in order; others stand as they are. */
static size_t kept(const flip_packing *p, int32_t i, size_t n, size_t k) {
    if (p->kind != FLIP_PACKING_MIXED || i != 2) return k < n ? k : SIZE_MAX;
    size_t at = 0;
    for (int32_t g = 0; g < FLIP_MIXED_GROUPS; g++) {
        size_t levels = (size_t)1 << (8 >> g);
        if (p->mixed[g] > 0) {
            if (k < levels) return at + k;
            k -= levels;
        }
        at += levels;
    }
    return SIZE_MAX;
}

static size_t kept_count(const flip_packing *p, int32_t i, size_t n) {
    size_t k = 0;
    if (p->kind != FLIP_PACKING_MIXED || i != 2) return n;
    while (kept(p, i, n, k) != SIZE_MAX)
        k++;
    return k;
}

static bool byte_exact(float x) {
    return x >= -128 && x <= 127 && x == truncf(x) && !(x == 0 && signbit(x));
}

/* The fewest bytes that hold every number: 1 (whole, -128 … 127), 2 (halves) or 4. */
static int number_bytes(const flip_packing *p, int32_t i, const float *table, size_t n) {
    int bytes = 1;
    for (size_t k = 0, many = kept_count(p, i, n); k < many; k++) {
        float x = table[kept(p, i, n, k)];
        if (bytes == 1 && !byte_exact(x)) bytes = 2;
        if (bytes == 2 && !flip_half_exact(x)) return 4;
    }
    return bytes;
}

/* ---- out ------------------------------------------------------------------------------------
 */

static void put(uint8_t **at, uint64_t value, int bytes) {
    for (int b = 0; b < bytes; b++)
        *(*at)++ = (uint8_t)(value >> (8 * b));
}

static void put_double(uint8_t **at, double value) {
    uint64_t u;
    memcpy(&u, &value, sizeof u);
    put(at, u, 8);
}

static void put_table(uint8_t **at, const flip_packing *p, int32_t i, const float *table,
                      size_t n) {
    int bytes = number_bytes(p, i, table, n);
    put(at, (uint64_t)bytes, 4);
    for (size_t k = 0, many = kept_count(p, i, n); k < many; k++) {
        float x = table[kept(p, i, n, k)];
        uint32_t u;
        memcpy(&u, &x, sizeof u);
        if (bytes < 4) u = bytes == 2 ? flip_half_of(x) : (uint8_t)(int8_t)x;
        put(at, u, bytes);
    }
}

static size_t bytes_of(const flip_codec *codec) {
    flip_codec *c = (flip_codec *)codec; /* asked for its tables alone */
    float **table;
    size_t sum = HEAD;
    for (int32_t i = 0; i < FLIP_CODEC_TABLES; i++) {
        size_t n = flip_codec_table(c, i, &table);
        if (*table)
            sum +=
                4 + kept_count(&c->packing, i, n) * (size_t)number_bytes(&c->packing, i, *table, n);
    }
    return sum;
}

size_t flip_codec_table_bytes(const flip_codec *codec) {
    return bytes_of(codec);
}

flip_status flip_codec_to_bytes(const flip_codec *codec, uint8_t **out, size_t *n) {
    flip_codec *c = (flip_codec *)codec;
    const flip_packing *p = &c->packing;
    float **table;
    uint32_t flags = (p->column_levels ? COLUMN_LEVELS : 0) | (p->dither ? DITHER : 0) |
                     (c->dropped ? DROPPED : 0);
    *n = bytes_of(c);
    FLIP_TRY(flip_alloc_zero(out, *n, 1, "a codec's bytes"));
    for (int32_t i = 0; i < FLIP_CODEC_TABLES; i++) {
        flip_codec_table(c, i, &table);
        if (*table) flags |= (uint32_t)TABLE << i;
    }
    uint8_t *at = *out;
    memcpy(at, "FLIPCODE", 8);
    at += 8;
    const int64_t words[WORDS] = {VERSION,     p->kind,     c->rule,    flags,     p->dim,
                                  c->dim_in,   p->bits,     p->width,   p->length, p->mixed[0],
                                  p->mixed[1], p->mixed[2], p->mixed[3]};
    for (int i = 0; i < WORDS; i++)
        put(&at, (uint64_t)words[i], 4);
    put(&at, p->dither_seed, 8);
    put_double(&at, c->least);
    put_double(&at, c->most);
    memcpy(at, c->name, FLIP_CODEC_NAME);
    at += FLIP_CODEC_NAME;
    for (int32_t i = 0; i < FLIP_CODEC_TABLES; i++) {
        size_t count = flip_codec_table(c, i, &table);
        if (*table) put_table(&at, p, i, *table, count);
    }
    return FLIP_OK;
}

/* ---- in -------------------------------------------------------------------------------------
 */

typedef struct cursor {
    const uint8_t *at;
    size_t left;
} cursor;

static uint64_t take(cursor *in, int bytes) {
    uint64_t value = 0;
    for (int b = 0; b < bytes; b++)
        value |= (uint64_t)in->at[b] << (8 * b);
    in->at += bytes;
    in->left -= (size_t)bytes;
    return value;
}

static double take_double(cursor *in) {
    uint64_t u = take(in, 8);
    double value;
    memcpy(&value, &u, sizeof value);
    return value;
}

#define REFUSE(...) FLIP_FAIL(FLIP_ERROR_INPUT, "codec table: " __VA_ARGS__)

static flip_status take_head(flip_codec *c, uint32_t *flags, cursor *in) {
    uint32_t word[WORDS];
    for (int i = 0; i < WORDS; i++)
        word[i] = (uint32_t)take(in, 4);
    flip_packing *p = &c->packing;
    p->dither_seed = take(in, 8);
    c->least = take_double(in);
    c->most = take_double(in);
    memcpy(c->name, in->at, FLIP_CODEC_NAME);
    in->at += FLIP_CODEC_NAME;
    in->left -= FLIP_CODEC_NAME;
    if (word[0] != VERSION) return REFUSE("version %u, expected %d", word[0], VERSION);
    if (c->name[FLIP_CODEC_NAME - 1] != '\0') return REFUSE("its name has no end");
    for (size_t i = strlen(c->name); i < FLIP_CODEC_NAME; i++)
        if (c->name[i] != '\0') return REFUSE("bytes behind its name");
    if (word[1] > FLIP_PACKING_SPARSE) return REFUSE("packing %u is none", word[1]);
    if (word[2] >= FLIP_RULE_COUNT) return REFUSE("rule %u is none", word[2]);
    if (word[3] >> (3 + FLIP_CODEC_TABLES)) return REFUSE("flags %u are none", word[3]);
    for (int i = 4; i < WORDS; i++)
        if (word[i] > (uint32_t)INT32_MAX / 64) return REFUSE("size %u is out of range", word[i]);
    p->kind = (flip_packing_kind)word[1];
    c->rule = (flip_codec_rule)word[2];
    *flags = word[3];
    p->column_levels = (*flags & COLUMN_LEVELS) != 0;
    p->dither = (*flags & DITHER) != 0;
    c->dropped = (*flags & DROPPED) != 0;
    p->dim = (int32_t)word[4];
    c->dim_in = (int32_t)word[5];
    p->bits = (int32_t)word[6];
    p->width = (int32_t)word[7];
    p->length = (int32_t)word[8];
    for (int i = 0; i < 4; i++)
        p->mixed[i] = (int32_t)word[9 + i];
    return FLIP_OK;
}

/* What a family's codecs look like. */
static bool form_fits(const flip_codec *c, const flip_codec_spec *s) {
    const flip_packing *p = &c->packing;
    bool scalar = p->kind == FLIP_PACKING_SCALAR && p->bits == s->bits;
    bool product =
        p->kind == FLIP_PACKING_PRODUCT && p->width == s->width && p->length == s->length;
    switch (s->family) {
    case FLIP_CODEC_FLOAT:
        return p->kind == FLIP_PACKING_FLOAT && c->rule == FLIP_RULE_COPY && p->bits == 32;
    case FLIP_CODEC_HALF:
        return p->kind == FLIP_PACKING_HALF && c->rule == FLIP_RULE_COPY && p->bits == 16;
    case FLIP_CODEC_BFLOAT:
        return p->kind == FLIP_PACKING_BFLOAT && c->rule == FLIP_RULE_COPY && p->bits == 16;
    case FLIP_CODEC_BIFEAT:
        return scalar && c->rule == (s->bits == 1 ? FLIP_RULE_NEAREST : FLIP_RULE_LOG) &&
               !p->column_levels;
    case FLIP_CODEC_UNIFORM:
    case FLIP_CODEC_DITHER:
        return scalar && c->rule == FLIP_RULE_FLOOR &&
               p->dither == (s->family == FLIP_CODEC_DITHER);
    case FLIP_CODEC_LLOYD:
        return scalar && c->rule == FLIP_RULE_NEAREST && p->column_levels == !s->shared;
    case FLIP_CODEC_BIFEAT_VQ:
        return product && c->rule == FLIP_RULE_COSINE;
    case FLIP_CODEC_PQ:
    case FLIP_CODEC_OPQ:
        return product && c->rule == FLIP_RULE_L2;
    case FLIP_CODEC_KLT:
    case FLIP_CODEC_NEAR:
        return p->kind == FLIP_PACKING_MIXED && c->rule == FLIP_RULE_NEAREST;
    case FLIP_CODEC_SPARSE:
        return p->kind == FLIP_PACKING_SPARSE && c->rule == FLIP_RULE_SPARSE &&
               (s->length == 0 || s->length == p->length) && (s->bits < 0 || s->bits == p->bits);
    }
    return false;
}

static bool turns(const flip_codec *c) {
    return strncmp(c->name, "opq:", 4) == 0 || strncmp(c->name, "klt:", 4) == 0 ||
           strncmp(c->name, "near:", 5) == 0;
}

static flip_status check_form(flip_codec *c, uint32_t flags) {
    flip_codec_spec spec;
    flip_packing *p = &c->packing;
    FLIP_TRY(flip_codec_parse(&spec, c->name));
    if (p->dim < 1 || c->dim_in < p->dim || (!turns(c) && c->dim_in != p->dim))
        return REFUSE("%d columns of %d", p->dim, c->dim_in);
    if (!form_fits(c, &spec)) return REFUSE("its packing is not that of %s", c->name);
    if ((p->dither && spec.family != FLIP_CODEC_DITHER) ||
        (p->column_levels && spec.family != FLIP_CODEC_LLOYD))
        return REFUSE("flags that %s does not have", c->name);
    if (c->dropped && (!turns(c) || flags & (uint32_t)TABLE << 5))
        return REFUSE("a rotation that was left out and is there");
    int64_t sum = (int64_t)p->mixed[0] + p->mixed[1] + p->mixed[2] + p->mixed[3];
    if (sum != (p->kind == FLIP_PACKING_MIXED ? p->dim : 0))
        return REFUSE("groups of %lld columns, %d expected", (long long)sum, p->dim);
    if (p->kind == FLIP_PACKING_SPARSE &&
        (p->length < 1 || p->length > p->dim || (p->bits != 0 && p->bits != 8 && p->bits != 32)))
        return REFUSE("%d columns a row, %d bits a value", p->length, p->bits);
    if (p->kind != FLIP_PACKING_PRODUCT) return FLIP_OK;
    int32_t bits = p->length <= 16 ? 4 : p->length <= 256 ? 8 : 16;
    if (p->bits != bits) return REFUSE("codes of %d bits, %d expected", p->bits, bits);
    if (p->width > p->dim) return REFUSE("blocks of %d columns of %d", p->width, p->dim);
    p->blocks = (p->dim + p->width - 1) / p->width;
    return FLIP_OK;
}

/* Which tables a codec must and may have: offset and scale where they say something. */
static bool table_wanted(const flip_codec *c, int32_t i, bool there) {
    bool moved = c->packing.kind == FLIP_PACKING_MIXED || c->rule == FLIP_RULE_FLOOR ||
                 (c->rule == FLIP_RULE_NEAREST && !c->packing.column_levels &&
                  strncmp(c->name, "lloyd", 5) == 0);
    if (i < 2 && c->rule == FLIP_RULE_L2) return there == (c->offset || (i == 0 && there));
    if (i < 2) return there == moved;
    if (i == 5) return turns(c) ? there == !c->dropped : !there;
    return there;
}

static flip_status take_table(flip_codec *c, int32_t i, cursor *in, bool there) {
    static const char *const names[FLIP_CODEC_TABLES] = {"offsets",  "scales",  "levels",
                                                         "codebook", "margins", "rotation"};
    float **table;
    size_t n = flip_codec_table(c, i, &table), many = kept_count(&c->packing, i, n);
    if (n == 0 || !there) {
        if (there || (n > 0 && !table_wanted(c, i, false)))
            return REFUSE("%s: %s %s", c->name, names[i], there ? "it cannot have" : "missing");
        return FLIP_OK;
    }
    if (!table_wanted(c, i, true)) return REFUSE("%s: %s it cannot have", c->name, names[i]);
    if (in->left < 4) return REFUSE("%s: %s cut off", c->name, names[i]);
    int bytes = (int)take(in, 4);
    if (bytes != 1 && bytes != 2 && bytes != 4)
        return REFUSE("%s: %s of %d bytes", c->name, names[i], bytes);
    if (in->left / (size_t)bytes < many)
        return REFUSE("%s: %s of %zu numbers, %zu bytes left", c->name, names[i], many, in->left);
    FLIP_TRY(flip_alloc_zero(table, n, sizeof(float), names[i]));
    for (size_t k = 0; k < many; k++) {
        uint32_t u = (uint32_t)take(in, bytes);
        float x = bytes == 1 ? (float)(int8_t)u : flip_half_value((uint16_t)u);
        if (bytes == 4) memcpy(&x, &u, sizeof x);
        if (!isfinite(x))
            return REFUSE("%s: number %zu of the %s is %g", c->name, k, names[i], (double)x);
        (*table)[kept(&c->packing, i, n, k)] = x;
    }
    if (number_bytes(&c->packing, i, *table, n) != bytes)
        return REFUSE("%s: %s take %d bytes a number where fewer do", c->name, names[i], bytes);
    return FLIP_OK;
}

static flip_status check_levels(const flip_codec *c) {
    float **table;
    size_t n = flip_codec_table((flip_codec *)c, 2, &table), run = n;
    if (n == 0) return FLIP_OK;
    if (c->packing.kind == FLIP_PACKING_SCALAR) run = (size_t)1 << c->packing.bits;
    for (size_t k = 1; k < n && c->packing.kind != FLIP_PACKING_MIXED; k++)
        if (k % run != 0 && c->level[k] < c->level[k - 1])
            return REFUSE("%s: level %zu is below the one before", c->name, k);
    size_t at = 0;
    for (int32_t g = 0; g < 4 && c->packing.kind == FLIP_PACKING_MIXED; g++) {
        size_t levels = (size_t)1 << (8 >> g);
        for (size_t k = 1; k < levels; k++)
            if (c->level[at + k] < c->level[at + k - 1])
                return REFUSE("%s: level %zu is below the one before", c->name, at + k);
        at += levels;
    }
    return FLIP_OK;
}

static flip_status check_numbers(const flip_codec *c) {
    if (c->rule == FLIP_RULE_LOG &&
        (!isfinite(c->least) || !isfinite(c->most) || c->least < 1e-5 || c->most < c->least))
        return REFUSE("%s: range %g … %g", c->name, c->least, c->most);
    if (c->rule != FLIP_RULE_LOG && (c->least != 0 || c->most != 0))
        return REFUSE("%s has no range", c->name);
    if (!c->packing.dither && c->packing.dither_seed != 0)
        return REFUSE("%s has no dither", c->name);
    for (int32_t j = 0; c->scale && j < c->packing.dim; j++)
        if (c->scale[j] < 0) return REFUSE("%s: scale of column %d below 0", c->name, j);
    for (int32_t b = 0; c->near_zero && b < c->packing.blocks; b++)
        if (c->near_zero[b] < 0) return REFUSE("%s: margin of block %d below 0", c->name, b);
    return check_levels(c);
}

static flip_status take_all(flip_codec *c, const uint8_t *bytes, size_t n) {
    uint32_t flags = 0;
    cursor in = {bytes, n};
    if (n < HEAD) return REFUSE("%zu bytes, at least %d expected", n, (int)HEAD);
    if (memcmp(bytes, "FLIPCODE", 8) != 0) return REFUSE("it does not begin with FLIPCODE");
    in.at += 8;
    in.left -= 8;
    FLIP_TRY(take_head(c, &flags, &in));
    FLIP_TRY(check_form(c, flags));
    for (int32_t i = 0; i < FLIP_CODEC_TABLES; i++)
        FLIP_TRY(take_table(c, i, &in, (flags & (uint32_t)TABLE << i) != 0));
    if (in.left > 0) return REFUSE("%s: %zu bytes too many", c->name, in.left);
    FLIP_TRY(check_numbers(c));
    return flip_codec_finish(c);
}

flip_status flip_codec_from_bytes(flip_codec **codec, const uint8_t *bytes, size_t n) {
    FLIP_TRY(flip_alloc_zero(codec, 1, sizeof **codec, "a codec"));
    flip_status status = take_all(*codec, bytes, n);
    if (status != FLIP_OK) flip_codec_destroy(codec);
    return status;
}
