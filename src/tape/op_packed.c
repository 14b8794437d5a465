/* Linear maps of packed rows: decoded some hundred at a time beside the product that reads them, in
 * forward and again in backward, so that no full-width table ever stands in memory.
 *     Y = decode(X) W,   dW = decode(X)^T dY */
#include "internal.h"

enum { CHUNK_VALUES = 128 << 10, LEAST_ROWS = 64, MOST_ROWS = 1024 };

/* Rows decoded at once, about half a megabyte: a function of the width alone, so that the sums of
 * weight gradients do not depend on threads. */
static int64_t chunk_rows(int64_t dim) {
    int64_t rows = CHUNK_VALUES / dim / 32 * 32;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

static void decode(flip_tape *tape, const variable *x, int64_t first, int64_t n, flip_real *out) {
    const flip_packed_rows *c = &x->coded;
    int64_t skip = c->index ? 0 : first; /* rows of codes */
    const uint8_t *codes = c->codes + (size_t)skip * c->packing->stride;
    flip_meter_begin(tape->meter, FLIP_STAGE_AGGREGATE);
    tape->kernels->decode_rows(c->packing, codes, c->key ? c->key + skip : NULL, n,
                               c->index ? c->index + first : NULL, out, x->dim);
    flip_meter_end(tape->meter);
    tape_traffic(tape, FLIP_STAGE_AGGREGATE,
                 (uint64_t)n * (c->packing->stride + (uint64_t)x->dim * sizeof(flip_real)), 0);
}

static flip_status chunk_begin(flip_tape *tape, const variable *x, flip_real **chunk) {
    size_t rows = (size_t)chunk_rows(x->dim);
    return pool_alloc(tape->pool, chunk, rows * (size_t)x->dim * sizeof(flip_real));
}

flip_status tape_multiply(flip_tape *tape, const variable *x, int64_t m, int64_t n, flip_param w,
                          flip_real *y, const flip_epilogue *e) {
    int64_t rows = chunk_rows(x->dim);
    flip_real *chunk;
    if (!x->coded.packing) {
        tape_product(tape, m, n, x->dim, x->value, w, y, e);
        return FLIP_OK;
    }
    FLIP_TRY(chunk_begin(tape, x, &chunk));
    for (int64_t first = 0; first < m; first += rows) {
        int64_t count = m - first < rows ? m - first : rows;
        decode(tape, x, first, count, chunk);
        tape_product(tape, count, n, x->dim, chunk, w, y + first * n, e);
    }
    pool_free(tape->pool, chunk);
    return FLIP_OK;
}

flip_status tape_multiply_weight(flip_tape *tape, const variable *x, int64_t m, int64_t n,
                                 const flip_real *dy, flip_param w) {
    int64_t rows = chunk_rows(x->dim);
    flip_real *chunk;
    if (!x->coded.packing) {
        tape_product_weight(tape, m, n, x->dim, x->value, dy, w);
        return FLIP_OK;
    }
    FLIP_TRY(chunk_begin(tape, x, &chunk));
    for (int64_t first = 0; first < m; first += rows) {
        int64_t count = m - first < rows ? m - first : rows;
        decode(tape, x, first, count, chunk);
        tape_product_weight(tape, count, n, x->dim, chunk, dy + first * n, w);
    }
    pool_free(tape->pool, chunk);
    return FLIP_OK;
}
