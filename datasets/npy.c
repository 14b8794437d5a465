/* .npy reader: header, conversion, memory order. Format: NumPy enhancement proposal 1. */
#include "datasets/npy.h"
#include "datasets/read_source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MOST = 1 << 20, CONVERT_AT_ONCE = 8192 };

const char *flip_npy_path(const flip_npy *npy) {
    return flip_source_path(npy->source);
}

static flip_status bad_header(const flip_npy *npy, const char *what) {
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' is not a usable .npy file: %s", flip_npy_path(npy),
                     what);
}

/* The text after 'key': in the header's dictionary, or NULL. */
static const char *header_value(const char *header, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *at = strstr(header, quoted);
    if (!at) return NULL;
    at += strlen(quoted);
    while (*at == ' ' || *at == ':')
        at++;
    return at;
}

static flip_status parse_descr(flip_npy *npy, const char *text) {
    if (!text || *text != '\'')
        return bad_header(npy,
                          "it holds records or no type ('descr'); save one plain array of numbers");
    char order = text[1], kind = text[2];
    npy->width = atoi(text + 3);
    npy->kind = kind;
    npy->swap = order == '>';
    bool fits = (kind == 'b' && npy->width == 1) ||
                ((kind == 'i' || kind == 'u') &&
                 (npy->width == 1 || npy->width == 2 || npy->width == 4 || npy->width == 8)) ||
                (kind == 'f' && (npy->width == 2 || npy->width == 4 || npy->width == 8));
    if (kind == 'O')
        return bad_header(npy, "it holds Python objects (a pickle); save it with a numeric dtype");
    if (!strchr("<>|=", order) || !order || !fits) {
        char what[96];
        snprintf(what, sizeof what,
                 "its type is %.12s, expected i1..i8, u1..u8, f2, f4, f8 or bool", text);
        return bad_header(npy, what);
    }
    return FLIP_OK;
}

static flip_status parse_shape(flip_npy *npy, const char *text) {
    if (!text || *text != '(') return bad_header(npy, "no shape");
    npy->n_values = 1;
    for (text++; *text && *text != ')';) {
        if (*text == ' ' || *text == ',') {
            text++;
            continue;
        }
        if (*text < '0' || *text > '9') return bad_header(npy, "a shape that is not numbers");
        char *end;
        unsigned long long extent = strtoull(text, &end, 10);
        if (npy->n_dims == FLIP_NPY_DIMS) return bad_header(npy, "more than 4 dimensions");
        if (extent > INT64_MAX / 16 ||
            __builtin_mul_overflow(npy->n_values, (int64_t)extent, &npy->n_values))
            return bad_header(npy, "a shape beyond any memory");
        npy->shape[npy->n_dims++] = (int64_t)extent;
        text = *end == 'L' ? end + 1 : end;
    }
    if (npy->n_values > INT64_MAX / 16) return bad_header(npy, "a shape beyond any memory");
    return *text == ')' ? FLIP_OK : bad_header(npy, "a shape without end");
}

static flip_status read_exactly(flip_npy *npy, void *out, size_t bytes) {
    size_t got;
    FLIP_TRY(flip_source_read(npy->source, out, bytes, &got));
    if (got == bytes) return FLIP_OK;
    return FLIP_FAIL(
        FLIP_ERROR_INPUT,
        "'%s' ends too early: value %lld of %lld is missing; copy or write the file again",
        flip_npy_path(npy), (long long)npy->done, (long long)npy->n_values);
}

/* A header may promise anything: hold it against the file's size and this machine's memory. */
static flip_status check_size(flip_npy *npy, size_t header_bytes) {
    double bytes = (double)npy->n_values * npy->width;
    if (bytes > (double)flip_memory_available())
        return FLIP_FAIL(FLIP_ERROR_MEMORY,
                         "'%s' declares %.3g bytes, more than this machine's %.3g",
                         flip_npy_path(npy), bytes, (double)flip_memory_available());
    if (flip_source_wrapping(npy->source) != FLIP_WRAPPING_PLAIN ||
        flip_source_size(npy->source) < 0)
        return FLIP_OK;
    int64_t want = (int64_t)header_bytes + npy->n_values * npy->width;
    if (flip_source_size(npy->source) != want)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has %lld bytes, but its header (shape and type) needs %lld; copy or "
                         "write the file again",
                         flip_npy_path(npy), (long long)flip_source_size(npy->source),
                         (long long)want);
    return FLIP_OK;
}

static flip_status read_header(flip_npy *npy) {
    uint8_t head[12];
    size_t got;
    FLIP_TRY(flip_source_read(npy->source, head, 10, &got));
    if (got != 10 || memcmp(head, "\x93NUMPY", 6) != 0)
        return bad_header(npy, "it does not begin with \\x93NUMPY");
    size_t prefix = head[6] == 1 ? 10 : 12;
    size_t length = head[8] | (size_t)head[9] << 8;
    if (head[6] < 1 || head[6] > 3) return bad_header(npy, "format version above 3");
    if (prefix == 12) {
        FLIP_TRY(read_exactly(npy, head + 10, 2));
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    if (length > HEADER_MOST) return bad_header(npy, "a header over 1 MiB");
    char *header;
    FLIP_TRY(flip_alloc(&header, length + 1, 1, ".npy header"));
    header[length] = '\0';
    flip_status status = read_exactly(npy, header, length);
    if (status == FLIP_OK) status = parse_descr(npy, header_value(header, "descr"));
    if (status == FLIP_OK) status = parse_shape(npy, header_value(header, "shape"));
    const char *order = header_value(header, "fortran_order");
    npy->fortran = order && !strncmp(order, "True", 4) && npy->n_dims > 1;
    flip_free(header);
    FLIP_TRY(status);
    return check_size(npy, prefix + length);
}

flip_status flip_npy_open(flip_npy **npy, const char *path) {
    flip_status status;
    FLIP_TRY(flip_alloc_zero(npy, 1, sizeof **npy, ".npy reader"));
    FLIP_TRY_GOTO(flip_source_open(&(*npy)->source, path));
    FLIP_TRY_GOTO(read_header(*npy));
    for (int32_t i = (*npy)->n_dims; i < FLIP_NPY_DIMS; i++)
        (*npy)->shape[i] = 1;
    return FLIP_OK;
done:
    flip_npy_close(npy);
    return status;
}

void flip_npy_close(flip_npy **npy) {
    if (!*npy) return;
    flip_source_close(&(*npy)->source);
    flip_free(*npy);
    *npy = NULL;
}

/* ---- values ---- */

static uint64_t raw_bits(const uint8_t *bytes, int32_t width, bool swap) {
    uint64_t bits = 0;
    for (int32_t i = 0; i < width; i++)
        bits |= (uint64_t)bytes[swap ? width - 1 - i : i] << (8 * i);
    return bits;
}

static double half_to_double(uint32_t bits) {
    int exponent = (int)(bits >> 10 & 31);
    double fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31) return fraction > 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, -24);
    return sign * ldexp(1024 + fraction, exponent - 25);
}

static double raw_double(const flip_npy *npy, uint64_t bits) {
    if (npy->width == 8) {
        double value;
        memcpy(&value, &bits, 8);
        return value;
    }
    if (npy->width == 4) {
        float value;
        uint32_t low = (uint32_t)bits;
        memcpy(&value, &low, 4);
        return value;
    }
    return half_to_double((uint32_t)bits);
}

static int64_t raw_integer(const flip_npy *npy, uint64_t bits) {
    int shift = 64 - 8 * npy->width;
    return npy->kind == 'i' ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
}

static flip_status does_not_fit(const flip_npy *npy, int64_t index, double value, const char *as) {
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': element %lld (counted from 0) is %.17g, expected %s",
                     flip_npy_path(npy), (long long)index, value, as);
}

static flip_status store_integer(const flip_npy *npy, flip_type memory, int64_t index,
                                 int64_t value, void *out, int64_t i) {
    switch (memory) {
    case FLIP_TYPE_I8:
        if (value < INT8_MIN || value > INT8_MAX)
            return does_not_fit(npy, index, (double)value, "a number from -128 to 127");
        ((int8_t *)out)[i] = (int8_t)value;
        return FLIP_OK;
    case FLIP_TYPE_U8:
        if (value < 0 || value > UINT8_MAX)
            return does_not_fit(npy, index, (double)value, "a number from 0 to 255");
        ((uint8_t *)out)[i] = (uint8_t)value;
        return FLIP_OK;
    case FLIP_TYPE_I32:
        if (value < INT32_MIN || value > INT32_MAX)
            return does_not_fit(npy, index, (double)value, "a 32-bit integer");
        ((int32_t *)out)[i] = (int32_t)value;
        return FLIP_OK;
    case FLIP_TYPE_I64:
        ((int64_t *)out)[i] = value;
        return FLIP_OK;
    case FLIP_TYPE_F32:
        ((float *)out)[i] = (float)value;
        return FLIP_OK;
    default:
        ((double *)out)[i] = (double)value;
        return FLIP_OK;
    }
}

static flip_status store_double(const flip_npy *npy, flip_type memory, int64_t index, double value,
                                void *out, int64_t i) {
    if (memory == FLIP_TYPE_F64) {
        ((double *)out)[i] = value;
        return FLIP_OK;
    }
    if (memory == FLIP_TYPE_F32) {
        if (isfinite(value) && fabs(value) > 3.4028235677973366e38)
            return does_not_fit(npy, index, value, "a 32-bit float");
        ((float *)out)[i] = (float)value;
        return FLIP_OK;
    }
    if (!(value >= -9.2e18 && value <= 9.2e18) || value != floor(value))
        return does_not_fit(npy, index, value, "an integer");
    return store_integer(npy, memory, index, (int64_t)value, out, i);
}

static bool same_type(const flip_npy *npy, flip_type memory) {
    if (npy->swap && npy->width > 1) return false;
    switch (memory) {
    case FLIP_TYPE_I8:
        return npy->kind == 'i' && npy->width == 1;
    case FLIP_TYPE_U8:
        return (npy->kind == 'u' || npy->kind == 'b') && npy->width == 1;
    case FLIP_TYPE_I32:
        return npy->kind == 'i' && npy->width == 4;
    case FLIP_TYPE_I64:
        return npy->kind == 'i' && npy->width == 8;
    case FLIP_TYPE_F32:
        return npy->kind == 'f' && npy->width == 4;
    default:
        return npy->kind == 'f' && npy->width == 8;
    }
}

static flip_status convert(flip_npy *npy, flip_type memory, const uint8_t *bytes, int64_t count,
                           void *out, int64_t at) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = raw_bits(bytes + i * npy->width, npy->width, npy->swap);
        if (npy->kind == 'f')
            FLIP_TRY(store_double(npy, memory, npy->done + i, raw_double(npy, bits), out, at + i));
        else if (npy->kind == 'u' && npy->width == 8 && bits > INT64_MAX)
            return does_not_fit(npy, npy->done + i, (double)bits, "an integer below 2^63");
        else
            FLIP_TRY(
                store_integer(npy, memory, npy->done + i, raw_integer(npy, bits), out, at + i));
    }
    return FLIP_OK;
}

static flip_status expect_end(flip_npy *npy) {
    char more;
    size_t got;
    FLIP_TRY(flip_source_read(npy->source, &more, 1, &got));
    if (got == 0) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "'%s' goes on after its %lld values; copy or write the file again",
                     flip_npy_path(npy), (long long)npy->n_values);
}

flip_status flip_npy_read(flip_npy *npy, flip_type memory, int64_t count, void *out) {
    uint8_t block[CONVERT_AT_ONCE];
    if (count < 0 || count > npy->n_values - npy->done)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s': asked for values beyond the last",
                         flip_npy_path(npy));
    if (same_type(npy, memory)) {
        FLIP_TRY(read_exactly(npy, out, (size_t)count * (size_t)npy->width));
        npy->done += count;
    } else {
        for (int64_t at = 0; at < count;) {
            int64_t n = CONVERT_AT_ONCE / npy->width;
            if (n > count - at) n = count - at;
            FLIP_TRY(read_exactly(npy, block, (size_t)(n * npy->width)));
            FLIP_TRY(convert(npy, memory, block, n, out, at));
            at += n;
            npy->done += n;
        }
    }
    return npy->done == npy->n_values ? expect_end(npy) : FLIP_OK;
}

/* Fortran order to C order, up to 4 dimensions. */
static void transpose(uint8_t *out, const uint8_t *in, const int64_t *shape, size_t size) {
    int64_t i[FLIP_NPY_DIMS] = {0}, n = shape[0] * shape[1] * shape[2] * shape[3];
    for (int64_t c = 0; c < n; c++) {
        int64_t f = i[0] + shape[0] * (i[1] + shape[1] * (i[2] + shape[2] * i[3]));
        memcpy(out + (size_t)c * size, in + (size_t)f * size, size);
        for (int32_t d = FLIP_NPY_DIMS - 1; d >= 0 && ++i[d] == shape[d]; d--)
            i[d] = 0;
    }
}

flip_status flip_npy_load(const char *path, flip_type memory, void *data, int32_t *n_dims,
                          int64_t *shape) {
    flip_status status;
    flip_npy *npy = NULL;
    void *values = NULL, *turned = NULL;
    FLIP_TRY(flip_npy_open(&npy, path));
    size_t size = flip_type_size(memory), count = (size_t)npy->n_values;
    FLIP_TRY_GOTO(flip_alloc(&values, count, size, path));
    FLIP_TRY_GOTO(flip_npy_read(npy, memory, npy->n_values, values));
    if (npy->fortran) {
        FLIP_TRY_GOTO(flip_alloc(&turned, count, size, path));
        transpose(turned, values, npy->shape, size);
        flip_free(values);
        values = turned;
        turned = NULL;
    }
    *(void **)data = values;
    values = NULL;
    *n_dims = npy->n_dims;
    memcpy(shape, npy->shape, sizeof npy->shape);
done:
    flip_free(values);
    flip_npy_close(&npy);
    return status;
}
