/* Rows as sums of table entries in vectors; packed.c is the definition. A row's sums stand in
 * registers while its codes name one entry after the other. */
#include "kernels/simd.h"

enum { VECTORS = FLIP_TABLE_COLUMNS / LANES, AHEAD = 8 /* rows whose codes are asked for */ };

/* The last vector may be partly there, those behind it not at all. */
static void finish(const vec *sum, const float *bias, int32_t columns, float *out,
                   bool accumulate) {
    for (int v = 0; v * LANES < columns; v++) {
        const lanes_mask some = v_first(flip_min64(LANES, columns - v * LANES));
        vec x = sum[v];
        if (bias) x = v_add(x, v_load_some(bias + v * LANES, some));
        if (accumulate) x = v_add(x, v_load_some(out + v * LANES, some));
        v_store_some(out + v * LANES, some, x);
    }
}

static void sum_entries(int64_t n, int32_t blocks, int32_t length, const uint8_t *codes,
                        size_t stride, const int32_t *index, const float *table, const float *bias,
                        int32_t columns, float *out, int64_t ld, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *code = codes + (size_t)(index ? index[i] : i) * stride;
        const float *from = table;
        vec sum[VECTORS];
        if (index && i + AHEAD < n)
            _mm_prefetch((const char *)(codes + (size_t)index[i + AHEAD] * stride), _MM_HINT_T0);
        UNROLL for (int v = 0; v < VECTORS; v++) sum[v] = v_zero();
        for (int32_t b = 0; b < blocks; b++, from += (int64_t)length * FLIP_TABLE_COLUMNS) {
            const float *entry = from + (int64_t)code[b] * FLIP_TABLE_COLUMNS;
            UNROLL for (int v = 0; v < VECTORS; v++) sum[v] =
                v_add(sum[v], v_load(entry + v * LANES));
        }
        finish(sum, bias, columns, out + i * ld, accumulate);
    }
}

void SIMD_NAME(flip_use_tables)(flip_kernels *table) {
    table->sum_entries = sum_entries;
}
