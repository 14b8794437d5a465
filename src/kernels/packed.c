/* Packed rows decoded and summed: the definition, plain C upon codec's flip_unpack_columns; values
 * in few bits are the codec's own. */
#include "kernels/internal.h"

#include "codec/groups.h"

enum { COLUMNS = 512 }; /* decoded at once */

/* COLUMNS columns from j on of row `at` of codes. */
static void decode(const flip_packing *packing, const uint8_t *codes, const int64_t *key,
                   int64_t at, int32_t j, int32_t n, float *out) {
    flip_unpack_columns(packing, codes + (size_t)at * packing->stride, key ? key[at] : at, j, n,
                        out);
}

/* out[i,:] = row index[i] of codes */
static void decode_rows(const flip_packing *packing, const uint8_t *codes, const int64_t *key,
                        int64_t n, const int32_t *index, flip_real *out, int64_t ld) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < packing->dim; j += COLUMNS) {
            float values[COLUMNS];
            int32_t columns = (int32_t)flip_min64(COLUMNS, packing->dim - j);
            decode(packing, codes, key, index ? index[i] : i, j, columns, values);
            for (int32_t c = 0; c < columns; c++)
                out[i * ld + j + c] = values[c];
        }
}

/* y[v, first …] = row_scale[v] * sum_e value[e] * col_scale[col[e]] * decoded row of col[e] */
static void row_part(const flip_csr *a, int64_t v, const flip_packing *packing,
                     const uint8_t *codes, const int64_t *key, const int32_t *index, int32_t first,
                     flip_real *y, bool accumulate) {
    int32_t columns = (int32_t)flip_min64(COLUMNS, packing->dim - first);
    flip_real sum[COLUMNS] = {0};
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        float x[COLUMNS];
        int32_t col = a->col[e];
        flip_real weight = a->value ? a->value[e] : 1;
        if (a->col_scale) weight *= a->col_scale[col];
        decode(packing, codes, key, index ? index[col] : col, first, columns, x);
        for (int32_t c = 0; c < columns; c++)
            sum[c] += weight * x[c];
    }
    flip_real scale = a->row_scale ? a->row_scale[v] : 1;
    for (int32_t c = 0; c < columns; c++)
        y[first + c] = (accumulate ? y[first + c] : 0) + scale * sum[c];
}

static void spmm_packed(const flip_csr *a, const flip_packing *packing, const uint8_t *codes,
                        const int64_t *key, const int32_t *index, flip_real *y, int64_t ld,
                        bool accumulate) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t v = 0; v < a->n_rows; v++)
        for (int32_t first = 0; first < packing->dim; first += COLUMNS)
            row_part(a, v, packing, codes, key, index, first, y + v * ld, accumulate);
}

static void sum_entries(int64_t n, int32_t blocks, int32_t length, const uint8_t *codes,
                        size_t stride, const int32_t *index, const flip_real *table,
                        const flip_real *bias, int32_t columns, flip_real *out, int64_t ld,
                        bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *code = codes + (size_t)(index ? index[i] : i) * stride;
        for (int32_t j = 0; j < columns; j++) {
            flip_real sum = bias ? bias[j] : 0;
            for (int32_t b = 0; b < blocks; b++)
                sum += table[((int64_t)b * length + code[b]) * FLIP_TABLE_COLUMNS + j];
            out[i * ld + j] = sum + (accumulate ? out[i * ld + j] : 0);
        }
    }
}

void flip_kernels_use_packed(flip_kernels *table) {
    table->decode_rows = decode_rows;
    table->spmm_packed = spmm_packed;
    table->sum_entries = sum_entries;
    table->encode_groups = flip_groups_encode;
    table->decode_groups = flip_groups_decode;
}
