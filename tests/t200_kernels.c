/* kernels: the checker walks the whole table (products: t205). The reference is held against sums
 * taken in double here, every other table against the same, and every table against itself on
 * another number of threads (a GPU: called again), bit for bit. */
#include "kernels_check.h"

/* ---- sparse --------------------------------------------------------------------------------- */

typedef struct sparse {
    flip_csr a;
    int64_t *row_ptr;
    uint32_t *run_ptr, *value_ptr;
    int32_t *col, *run_first;
    flip_real *value, *row_scale, *col_scale;
} sparse;

typedef struct sparse_case {
    const char *name;
    int32_t rows, cols, halo, steps;
    int hub;  /* entries of row 0; others have 0 … 2 * mean */
    int mean; /* -1: every row empty */
    bool weighted, scaled;
} sparse_case;

static const sparse_case sparse_cases[] = {
    {"no rows", 0, 5, 2, 1, 0, 3, true, false},
    {"empty rows", 9, 5, 2, 1, 0, -1, true, false},
    {"one row", 1, 40, 10, 1, 17, 3, true, false},
    {"ones", 70, 50, 0, 1, 3, 5, false, false},
    {"weights, halo", 70, 50, 20, 1, 3, 5, true, false},
    {"scales", 70, 50, 20, 1, 3, 5, false, true},
    {"weights, scales, all halo", 40, 30, 30, 1, 3, 5, true, true},
    {"hub", 50, 900, 100, 1, 2500, 9, true, false},
    {"hub of ones", 50, 900, 100, 1, 2500, 9, false, true},
    {"steps", 30, 40, 10, 6, 12, 5, true, false},
    {"steps of ones", 30, 40, 0, 6, 12, 5, false, false},
    {"long rows", 9, 700, 300, 1, 0, 600, true, true}, /* cut where a GPU does */
    {"steps, hub", 8, 60, 20, 11, 300, 4, true, false},
    {"steps, long rows", 5, 60, 20, 7, 1500, 500, true, false},
};
enum { N_SPARSE = sizeof sparse_cases / sizeof *sparse_cases };

/* Runs of one entry: starts and lengths drawn, never overlapping. Returns how many. */
static int draw_runs(const sparse_case *c, uint64_t seed, int64_t e, int32_t *first,
                     int32_t *length) {
    int n = 0;
    for (int32_t t = (int32_t)chance(seed, 1, (uint64_t)e, (uint64_t)c->steps); t < c->steps;) {
        int32_t most = c->steps - t;
        length[n] = 1 + (int32_t)chance(seed, 2, (uint64_t)(e * 64 + t), (uint64_t)most);
        first[n] = t;
        t += length[n++] + 1 + (int32_t)chance(seed, 3, (uint64_t)(e * 64 + t), 2);
    }
    return n;
}

static void draw_sparse(sparse *s, const sparse_case *c, uint64_t seed) {
    int64_t most = c->hub + (int64_t)c->rows * (2 * abs(c->mean) + 1) + 1;
    memset(s, 0, sizeof *s);
    s->row_ptr = get((size_t)c->rows + 1, sizeof *s->row_ptr);
    s->col = get((size_t)most, sizeof *s->col);
    s->run_ptr = get((size_t)most + 1, sizeof *s->run_ptr);
    s->run_first = get((size_t)(most * c->steps), sizeof *s->run_first);
    s->value_ptr = get((size_t)(most * c->steps) + 1, sizeof *s->value_ptr);
    int64_t n = 0, runs = 0, values = 0;
    for (int32_t v = 0; v < c->rows; v++) {
        int64_t degree = v == 0 && c->hub ? c->hub
                         : c->mean < 0
                             ? 0
                             : (int64_t)chance(seed, 4, (uint64_t)v, (uint64_t)(2 * c->mean + 1));
        for (int64_t d = 0; d < degree; d++, n++) {
            int32_t first[64], length[64];
            s->col[n] = (int32_t)chance(seed, 5, (uint64_t)n, (uint64_t)c->cols);
            s->run_ptr[n] = runs;
            int found = draw_runs(c, seed, n, first, length);
            for (int r = 0; r < found; r++) {
                s->run_first[runs] = first[r];
                s->value_ptr[runs++] = values;
                values += length[r];
            }
        }
        s->row_ptr[v + 1] = n;
    }
    s->run_ptr[n] = runs;
    s->value_ptr[runs] = values;
    int64_t n_values = c->steps > 1 ? values : n;
    s->value = noise(n_values + 1, seed + 1);
    s->row_scale = noise(c->rows + 1, seed + 2);
    s->col_scale = noise(c->cols + 1, seed + 3);
    s->a = (flip_csr){.n_rows = c->rows,
                      .n_cols = c->cols,
                      .n_own = c->cols - c->halo,
                      .n_steps = c->steps,
                      .n_entries = n,
                      .n_values = n_values,
                      .row_ptr = s->row_ptr,
                      .col = s->col,
                      .value = c->weighted ? s->value : NULL,
                      .row_scale = c->scaled ? s->row_scale : NULL,
                      .col_scale = c->scaled ? s->col_scale : NULL};
    if (c->steps > 1) {
        s->a.run_ptr = s->run_ptr;
        s->a.run_first = s->run_first;
        s->a.value_ptr = s->value_ptr;
    }
}

static void free_sparse(sparse *s) {
    RELEASE(s->row_ptr, s->run_ptr, s->value_ptr, s->col, s->run_first, s->value, s->row_scale,
            s->col_scale);
}

/* The same sums in double, by way of a dense matrix a step: y += D x. */
static void dense_spmm(const flip_csr *a, int64_t v, int32_t dim, double *y, const flip_real *own,
                       const flip_real *halo) {
    double *weight = get((size_t)a->n_cols + 1, sizeof *weight);
    for (int32_t t = 0; t < a->n_steps; t++) {
        memset(weight, 0, (size_t)a->n_cols * sizeof *weight);
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            int64_t first = a->run_ptr ? a->run_ptr[e] : 0,
                    last = a->run_ptr ? a->run_ptr[e + 1] : 1;
            for (int64_t r = first; r < last; r++) {
                int64_t start = a->run_ptr ? a->run_first[r] : 0;
                int64_t at = a->run_ptr ? a->value_ptr[r] : e;
                int64_t length = a->run_ptr ? a->value_ptr[r + 1] - at : 1;
                if (t >= start && t < start + length)
                    weight[a->col[e]] += a->value ? (double)a->value[at + t - start] : 1;
            }
        }
        for (int32_t u = 0; u < a->n_cols; u++) {
            const flip_real *x = u < a->n_own ? own + (int64_t)u * a->n_steps * dim
                                              : halo + (int64_t)(u - a->n_own) * a->n_steps * dim;
            double w = weight[u] * (a->row_scale ? (double)a->row_scale[v] : 1) *
                       (a->col_scale ? (double)a->col_scale[u] : 1);
            for (int32_t j = 0; w != 0 && j < dim; j++)
                y[t * dim + j] += w * (double)x[t * dim + j];
        }
    }
    release(weight);
}

/* Every third row when listed, backwards. */
static int32_t list_rows(int32_t *rows, int32_t n) {
    int32_t count = 0;
    for (int32_t v = n - 1; v >= 0; v -= 3)
        rows[count++] = v;
    return count;
}

static void check_spmm(const sparse_case *c, int32_t dim, bool listed, bool accumulate) {
    sparse s;
    draw_sparse(&s, c, (uint64_t)dim);
    int64_t width = (int64_t)c->steps * dim, size = c->rows * width;
    flip_real *own = noise((c->cols - c->halo) * width + 1, 7),
              *halo = noise(c->halo * width + 1, 8);
    flip_real *before = noise(size + 1, 9);
    int32_t *rows = get((size_t)c->rows + 1, sizeof *rows);
    int32_t n = listed ? list_rows(rows, c->rows) : c->rows;
    double tolerance = ROUNDING * (c->hub + abs(c->mean) * 2 + 30) * 2;

    flip_real *expected = copy_of(before, size);
    double *sum = get((size_t)width + 1, sizeof *sum);
    for (int32_t i = 0; i < n; i++) {
        int64_t v = listed ? rows[i] : i;
        for (int64_t j = 0; j < width; j++)
            sum[j] = accumulate ? (double)before[v * width + j] : 0;
        dense_spmm(&s.a, v, dim, sum, own, halo);
        for (int64_t j = 0; j < width; j++)
            expected[v * width + j] = (flip_real)sum[j];
    }
    flip_real *other = copy_of(before, size);
    for (int t = 0; t < n_tables; t++) {
        flip_real *y = copy_of(before, size);
        CALL(list[t], spmm, &s.a, listed ? rows : NULL, n, dim, y, own, halo, accumulate);
        near(list[t]->name, y, expected, size, tolerance);
        memcpy(other, before, (size_t)size * sizeof *other);
        omp_set_num_threads(2);
        CALL(list[t], spmm, &s.a, listed ? rows : NULL, n, dim, other, own, halo, accumulate);
        omp_set_num_threads(1);
        assert_memory_equal(y, other, (size_t)size * sizeof *y);
        release(y);
    }
    RELEASE(other, sum, expected, rows, before, own, halo);
    free_sparse(&s);
}

static void spmm_cases(void **state) {
    (void)state;
    for (int c = 0; c < N_SPARSE; c++)
        for (int w = 0; w < N_WIDTHS; w++)
            for (int way = 0; way < 4; way++)
                check_spmm(&sparse_cases[c], widths[w], way & 1, way & 2);
}

/* ---- rows and columns ----------------------------------------------------------------------- */

static void check_columns(int64_t m, int64_t n, int64_t ld) {
    flip_real *y = noise(m * ld + 1, 61);
    double *expected = get((size_t)n, sizeof *expected);
    double *g = get((size_t)n, sizeof *g), *other = get((size_t)n, sizeof *g);
    for (int64_t j = 0; j < n; j++) {
        expected[j] = 0.5;
        for (int64_t i = 0; i < m; i++)
            expected[j] += (double)y[i * ld + j];
    }
    for (int t = 0; t < n_tables; t++) {
        for (int64_t j = 0; j < n; j++)
            g[j] = other[j] = 0.5;
        CALL(list[t], column_sums, m, n, y, ld, g);
        omp_set_num_threads(2);
        CALL(list[t], column_sums, m, n, y, ld, other);
        omp_set_num_threads(1);
        near_double(list[t]->name, g, expected, n, ROUNDING * (20 + 100 * sqrt((double)m)));
        assert_memory_equal(g, other, (size_t)n * sizeof *g);
    }
    RELEASE(y, expected, g, other);
}

static void columns(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        check_columns(0, widths[w], widths[w]);
        check_columns(3001, widths[w], widths[w] + w % 3);
    }
    check_columns(40, 1100, 1100);
}

static void check_softmax(int64_t n, double spread, bool in_place) {
    int64_t m = 29, ld = n + n % 3;
    flip_real *x = noise(m * ld + 1, 71);
    double expected[300], *sums = get(29, sizeof *sums);
    for (int64_t i = 0; i < m * ld; i++)
        x[i] *= (flip_real)spread;
    for (int t = 0; t < n_tables; t++) {
        flip_real *p = copy_of(x, m * ld);
        CALL(list[t], softmax, m, n, in_place ? p : x, ld, p, ld, sums);
        for (int64_t i = 0; i < m; i++) {
            double most = -1e300, sum = 0;
            for (int64_t j = 0; j < n; j++)
                most = fmax(most, (double)x[i * ld + j]);
            for (int64_t j = 0; j < n; j++)
                sum += expected[j] = exp((double)x[i * ld + j] - most);
            for (int64_t j = 0; j < n; j++) {
                double got = (double)p[i * ld + j], want = expected[j] / sum;
                double least = ROUNDING * (10 + log(1 / (want + 1e-37))); /* x - max rounds */
                if (!(fabs(got - want) <= least * want + 1e-37))
                    fail_msg("%s softmax of %lld: %.9g, not %.9g", list[t]->name, (long long)n, got,
                             want);
            }
            assert_true(fabs(sums[i] - (most + log(sum))) <= 10 * ROUNDING * (1 + fabs(most)));
        }
        release(p);
    }
    x[n / 2] = (flip_real)NAN; /* must be seen, not swallowed */
    for (int t = 0; t < n_tables; t++) {
        flip_real *p = copy_of(x, m * ld);
        CALL(list[t], softmax, m, n, x, ld, p, ld, sums);
        assert_true(isnan(p[n / 2]) && isnan(sums[0]) && !isnan(sums[1]));
        release(p);
    }
    RELEASE(sums, x);
}

static void softmaxes(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++)
        for (int in_place = 0; in_place < 2; in_place++) {
            check_softmax(widths[w], 3, in_place);
            check_softmax(widths[w], 60, in_place);
        }
}

/* ---- all pairs ------------------------------------------------------------------------------ */

static double plain_score(const flip_real *a, const flip_real *b, int64_t ldb, int64_t width,
                          const flip_real *w, double bias, double *size) {
    double sum = bias;
    *size = fabs(bias);
    for (int64_t k = 0; k < width; k++) {
        double both = (double)a[k] + (double)b[k * ldb];
        double term = w ? (double)w[k] * fmax(both, 0) : (double)a[k] * (double)b[k * ldb];
        sum += term;
        *size += fabs(term) + (w ? fabs((double)w[k]) * fabs(both) : 0);
    }
    return sum;
}

/* m rows against n columns; and a pair alone has the same bits as among the others. */
static void check_pairs(int64_t m, int64_t n, int64_t width, bool mlp) {
    int64_t ldb = n + 5, lds = n + 3;
    flip_real *a = noise(m * width + 1, 81), *b = noise(width * ldb + 1, 82);
    flip_real *w = noise(width + 1, 83), *s = get((size_t)(m * lds) + 1, sizeof *s),
              *one = get(1, sizeof *one);
    const flip_real *weights = mlp ? w : NULL;
    for (int t = 0; t < n_tables; t++) {
        for (int64_t i = 0; i < m * lds; i++)
            s[i] = 77;
        CALL(list[t], pair_scores, m, n, width, a, b, ldb, weights, (flip_real)0.25, s, lds);
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j++) {
                double size;
                double want = plain_score(a + i * width, b + j, ldb, width, weights, 0.25, &size);
                double got = (double)s[i * lds + j];
                if (!(fabs(got - want) <= ROUNDING * (double)(width + 2) * size))
                    fail_msg("%s pair %lld, %lld of width %lld: %.9g, not %.9g", list[t]->name,
                             (long long)i, (long long)j, (long long)width, got, want);
                CALL(list[t], pair_scores, 1, 1, width, a + i * width, b + j, ldb, weights,
                     (flip_real)0.25, one, 1);
                assert_true(memcmp(one, &s[i * lds + j], sizeof *one) == 0);
            }
            for (int64_t j = n; j < lds; j++)
                assert_true(s[i * lds + j] == 77); /* nothing behind the row */
        }
    }
    if (m * n * width > 0) { /* a NaN must be seen, not swallowed */
        a[0] = (flip_real)NAN;
        for (int t = 0; t < n_tables; t++) {
            CALL(list[t], pair_scores, m, n, width, a, b, ldb, weights, 0, s, lds);
            assert_true(isnan(s[0]) && isnan(s[n - 1]) && (m == 1 || !isnan(s[lds])));
        }
    }
    RELEASE(a, b, w, s, one);
}

static void all_pairs(void **state) {
    (void)state;
    static const int64_t columns_of[] = {0, 1, 7, 8, 16, 31, 32, 33, 70};
    for (size_t c = 0; c < sizeof columns_of / sizeof *columns_of; c++)
        for (int mlp = 0; mlp < 2; mlp++) {
            check_pairs(1, columns_of[c], 13, mlp);
            check_pairs(6, columns_of[c], 1, mlp);
            check_pairs(11, columns_of[c], 100, mlp);
            check_pairs(0, columns_of[c], 3, mlp);
        }
}

/* ---- element by element --------------------------------------------------------------------- */

static void dropouts(void **state) {
    (void)state;
    static const double chances[] = {0, 0.1, 0.5, 0.999999, 1 - 1e-16};
    for (size_t c = 0; c < sizeof chances / sizeof *chances; c++)
        for (int w = 0; w < WITH_WIDE; w++)
            for (int keyed = 0; keyed < 2; keyed++) {
                int64_t m = 37, n = widths[w];
                double p = chances[c];
                flip_real *x = noise(m * n, 31);
                int64_t *key = get(37, sizeof *key);
                for (int64_t i = 0; i < m; i++)
                    key[i] = (int64_t)chance(32, 0, (uint64_t)i, 1u << 20) << 16;
                for (int t = 0; t < n_tables; t++)
                    for (int threads = 1; threads <= 2; threads++) {
                        flip_real *y = threads == 1 ? copy_of(x, m * n) : noise(m * n, 33);
                        omp_set_num_threads(threads);
                        CALL(list[t], dropout, m, n, y, threads == 1 ? y : x, p, 77, 1u << 9,
                             keyed ? key : NULL);
                        omp_set_num_threads(1);
                        for (int64_t i = 0; i < m * n; i++) {
                            int64_t row = keyed ? key[i / n] : i / n;
                            bool kept = flip_dropout_keep(77, 1u << 9, row, n, i % n, p);
                            flip_real expected = kept ? x[i] * (flip_real)(1 / (1 - p)) : 0;
                            if (y[i] != expected)
                                fail_msg("%s dropout %g, width %d: element %lld is %g, not %g",
                                         list[t]->name, p, widths[w], (long long)i, (double)y[i],
                                         (double)expected);
                        }
                        release(y);
                    }
                RELEASE(x, key);
            }
}

static void masks(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        int64_t m = 41, n = widths[w], bytes = (n + 7) / 8;
        flip_real *x = noise(m * n, 41), *y = get((size_t)(m * n), sizeof *y);
        uint8_t *bits = get((size_t)(m * bytes), 1);
        for (int64_t i = 0; i < m * bytes; i++)
            bits[i] = (uint8_t)chance(42, 0, (uint64_t)i, 256);
        for (int t = 0; t < n_tables; t++)
            for (int in_place = 0; in_place < 2; in_place++) {
                memcpy(y, x, (size_t)(m * n) * sizeof *y);
                CALL(list[t], mask_bits, m, n, y, in_place ? y : x, bits, (flip_real)1.5);
                for (int64_t i = 0; i < m * n; i++) {
                    bool kept = bits[i / n * bytes + i % n / 8] >> (i % n % 8) & 1;
                    assert_true(y[i] == (kept ? x[i] * (flip_real)1.5 : 0));
                }
            }
        RELEASE(x, y, bits);
    }
}

/* Adam in double, from the paper. */
static void check_adam(int64_t n, bool decoupled, double decay) {
    flip_real *p = noise(n, 51), *m = noise(n, 52), *v = noise(n, 53);
    double *g = get((size_t)n, sizeof *g);
    for (int64_t i = 0; i < n; i++) {
        v[i] *= v[i];
        g[i] = flip_random_normal(54, FLIP_STREAM_TEST, 0, (uint64_t)i);
    }
    g[0] = 0;
    m[0] = v[0] = 0; /* the step of an untouched parameter is 0, not NaN */
    flip_adam_step s = {.lr = 0.01,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-8,
                        .weight_decay = decay,
                        .decoupled = decoupled,
                        .correct1 = 1 - pow(0.9, 3),
                        .correct2 = 1 - pow(0.999, 3),
                        .grad_scale = 0.5};
    flip_real *p2 = copy_of(p, n), *m2 = copy_of(m, n), *v2 = copy_of(v, n);
    for (int64_t i = 0; i < n; i++) {
        double slope = g[i] * 0.5 + (decoupled ? 0 : decay * (double)p[i]);
        double m1 = 0.9 * (double)m[i] + 0.1 * slope,
               v1 = 0.999 * (double)v[i] + 0.001 * slope * slope;
        double step = 0.01 * (m1 / s.correct1) / (sqrt(v1 / s.correct2) + 1e-8);
        p2[i] = (flip_real)((double)p[i] * (decoupled ? 1 - 0.01 * decay : 1) - step);
        m2[i] = (flip_real)m1;
        v2[i] = (flip_real)v1;
    }
    for (int t = 0; t < n_tables; t++) {
        flip_real *a = copy_of(p, n), *b = copy_of(m, n), *c = copy_of(v, n);
        CALL(list[t], adam, n, a, g, b, c, &s);
        near(list[t]->name, a, p2, n, 4 * ROUNDING);
        near(list[t]->name, b, m2, n, 8 * ROUNDING);
        near(list[t]->name, c, v2, n, 8 * ROUNDING);
        RELEASE(a, b, c);
    }
    RELEASE(p, m, v, g, p2, m2, v2);
}

static void adams(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        check_adam(widths[w], false, 0);
        check_adam(widths[w], false, 5e-2);
        check_adam(widths[w], true, 5e-2);
    }
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Bytes go there, are copied and cleared within, and come back; in the order of the calls. */
static void check_memory(const flip_kernels *k, size_t n) {
    uint8_t *host = NULL, *back = get(n + 1, 1), *device[2] = {NULL}, *pinned = NULL;
    assert_int_equal(flip_alloc_zero(&host, n + 1, 1, "test"), FLIP_OK); /* pageable */
    assert_int_equal(k->take(&device[0], n, "test"), FLIP_OK);
    assert_int_equal(k->take(&device[1], n, "test"), FLIP_OK);
    assert_int_equal(k->take_pinned(&pinned, n, "test"), FLIP_OK);
    assert_true(device[0] && device[1] && pinned && device[0] != device[1]);
    assert_true((uintptr_t)device[0] % 64 == 0);
    for (size_t i = 0; i < n; i++)
        host[i] = (uint8_t)chance(91, 0, i, 256);
    k->send(device[0], host, n);
    if (n > 0) host[0] ^= 255; /* sent already, though perhaps not there */
    k->copy(device[1], device[0], n);
    k->clear(device[0], n / 2);
    k->receive(back, device[1], n);
    if (n > 0) host[0] ^= 255;
    assert_memory_equal(back, host, n);
    k->receive(back, device[0], n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(back[i], i < n / 2 ? 0 : host[i]);
    memcpy(pinned, host, n);
    k->send(device[0], pinned, n);
    done(k);
    k->receive(back, device[0], n);
    assert_memory_equal(back, host, n);
    k->give_back(device[0]);
    k->give_back(device[1]);
    k->give_back_pinned(pinned);
    flip_free(host);
    release(back);
}

static void memories(void **state) {
    (void)state;
    for (int t = 0; t < n_tables; t++) {
        void *memory = NULL;
        for (size_t n = 0; n < 4; n++)
            check_memory(list[t], n * n * n * 1237);
        assert_true(list[t]->available() > 1 << 20);
        list[t]->give_back(NULL);
        list[t]->give_back_pinned(NULL);
        assert_int_equal(list[t]->take(&memory, (size_t)1 << 50, "far too much"),
                         FLIP_ERROR_MEMORY);
        assert_null(memory);
        assert_non_null(strstr(flip_error_message(), "far too much"));
        flip_error_clear();
        done(list[t]); /* a refusal is told where it happens, not again here */
    }
}

static void table_is_full(void **state) {
    (void)state;
    assert_ptr_equal(flip_kernels_get(), list[n_tables - (gpu ? 2 : 1)]);
    assert_string_equal(list[0]->name, "reference");
    for (int t = 0; t < n_tables; t++) {
        const flip_kernels *k = list[t];
        assert_true(k->name && k->spmm && k->gemm_nn && k->gemm_nt && k->gemm_tn &&
                    k->gemm_nn_bf16 && k->gemm_nt_bf16 && k->gemm_tn_bf16 && k->dropout &&
                    k->mask_bits && k->adam && k->epilogue && k->column_sums && k->softmax &&
                    k->lstm_forward && k->lstm_backward && k->gru_forward && k->gru_backward &&
                    k->pair_scores);
    }
}

static void limits_are_sane(void **state) {
    (void)state;
    flip_limits limits = flip_kernels_limits();
    assert_true(limits.copy_gbs > 0.1 && limits.copy_gbs < 1e4);
    assert_true(limits.multiply_gflops > 0.1 && limits.multiply_gflops < 1e6);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_full),   cmocka_unit_test(spmm_cases), cmocka_unit_test(columns),
        cmocka_unit_test(softmaxes),       cmocka_unit_test(all_pairs),  cmocka_unit_test(dropouts),
        cmocka_unit_test(masks),           cmocka_unit_test(adams),      cmocka_unit_test(memories),
        cmocka_unit_test(limits_are_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
