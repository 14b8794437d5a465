/* Scores of all pairs of two lists of rows in vectors: lanes are columns, so a pair's sum is taken
 * in one order wherever the pair stands. */
#include "kernels/simd.h"

enum { ROWS = 4, VECTORS = 2 };

/* Rows a … a + rows (at most ROWS) against VECTORS * LANES columns; some: which of them exist. */
INLINE void tile(int rows, int64_t width, const float *a, const float *b, int64_t ldb,
                 const float *w, float bias, float *s, int64_t lds, const lanes_mask *some) {
    vec sum[ROWS][VECTORS];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < VECTORS; v++) sum[i][v] =
        v_set(bias);
    for (int64_t k = 0; k < width; k++) {
        vec from[VECTORS], weight = w ? v_set(w[k]) : v_zero();
        UNROLL for (int v = 0; v < VECTORS; v++) {
            const float *at = b + k * ldb + v * LANES;
            from[v] = some ? v_load_some(at, some[v]) : v_load(at);
        }
        UNROLL for (int i = 0; i < rows; i++) {
            vec mine = v_set(a[i * width + k]);
            UNROLL for (int v = 0; v < VECTORS; v++) {
                if (w) /* the zero first: a NaN passes relu */
                    sum[i][v] = v_fma(weight, v_max(v_zero(), v_add(mine, from[v])), sum[i][v]);
                else
                    sum[i][v] = v_fma(mine, from[v], sum[i][v]);
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < VECTORS; v++) {
        float *to = s + i * lds + v * LANES;
        if (some)
            v_store_some(to, some[v], sum[i][v]);
        else
            v_store(to, sum[i][v]);
    }
}

INLINE void rows_of_pairs(int rows, int64_t n, int64_t width, const float *a, const float *b,
                          int64_t ldb, const float *w, float bias, float *s, int64_t lds) {
    int64_t j = 0;
    for (; j + VECTORS * LANES <= n; j += VECTORS * LANES)
        tile(rows, width, a, b + j, ldb, w, bias, s + j, lds, NULL);
    if (j == n) return;
    lanes_mask some[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        int64_t left = n - j - v * LANES;
        some[v] = v_first(left < 0 ? 0 : left > LANES ? LANES : left);
    }
    tile(rows, width, a, b + j, ldb, w, bias, s + j, lds, some);
}

static void pair_scores(int64_t m, int64_t n, int64_t width, const float *a, const float *b,
                        int64_t ldb, const float *w, float bias, float *s, int64_t lds) {
    int64_t i = 0;
    for (; w && i + ROWS <= m; i += ROWS)
        rows_of_pairs(ROWS, n, width, a + i * width, b, ldb, w, bias, s + i * lds, lds);
    for (; !w && i + ROWS <= m; i += ROWS)
        rows_of_pairs(ROWS, n, width, a + i * width, b, ldb, NULL, bias, s + i * lds, lds);
    for (; i < m; i++)
        if (w)
            rows_of_pairs(1, n, width, a + i * width, b, ldb, w, bias, s + i * lds, lds);
        else
            rows_of_pairs(1, n, width, a + i * width, b, ldb, NULL, bias, s + i * lds, lds);
}

void SIMD_NAME(flip_use_pairs)(flip_kernels *table) {
    table->pair_scores = pair_scores;
}
