/* kernels: one checker walks the whole table. The reference is held against sums taken in double
 * here, every other table against the reference, and every table against itself on another number
 * of threads, bit for bit. */
#include <flipbook/kernels.h>

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROUNDING (sizeof(flip_real) == 4 ? 1.2e-7 : 2.3e-16)

static const int widths[] = {1, 2, 3, 7, 16, 17, 32, 33, 64, 100, 128, 256, 4150};
enum { N_WIDTHS = sizeof widths / sizeof *widths - 1, WITH_WIDE };

static const flip_kernels *list[FLIP_KERNEL_TABLES];
static int n_tables;

static void *get(size_t count, size_t size) {
    void *memory = NULL;
    assert_int_equal(flip_alloc_zero(&memory, count, size, "test"), FLIP_OK);
    return memory;
}

/* Values in (-1, 1), a function of the seed. */
static flip_real *noise(int64_t n, uint64_t seed) {
    flip_real *x = get((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (flip_real)(2 * flip_random_uniform(seed, FLIP_STREAM_TEST, 1, (uint64_t)i) - 1);
    return x;
}

static flip_real *copy_of(const flip_real *x, int64_t n) {
    flip_real *y = get((size_t)n, sizeof *y);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

/* |x - y| <= tolerance everywhere, NaN nowhere. */
static void near(const char *what, const flip_real *x, const flip_real *y, int64_t n,
                 double tolerance) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= tolerance))
            fail_msg("%s: element %lld is %.9g, expected %.9g (tolerance %.3g)", what, (long long)i,
                     (double)x[i], (double)y[i], tolerance);
}

static void near_double(const char *what, const double *x, const double *y, int64_t n,
                        double tolerance) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance))
            fail_msg("%s: element %lld is %.12g, expected %.12g (tolerance %.3g)", what,
                     (long long)i, x[i], y[i], tolerance);
}

static uint64_t chance(uint64_t seed, uint64_t a, uint64_t b, uint64_t below) {
    return flip_random_below(seed, FLIP_STREAM_TEST, 100 + a, b, below);
}

/* ---- sparse --------------------------------------------------------------------------------- */

typedef struct sparse {
    flip_csr a;
    int64_t *row_ptr, *run_ptr, *value_ptr;
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
    {"steps, hub", 8, 60, 20, 11, 300, 4, true, false},
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
    flip_free(s->row_ptr);
    flip_free(s->run_ptr);
    flip_free(s->value_ptr);
    flip_free(s->col);
    flip_free(s->run_first);
    flip_free(s->value);
    flip_free(s->row_scale);
    flip_free(s->col_scale);
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
    flip_free(weight);
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
    double tolerance = ROUNDING * (c->hub + 30) * 2;

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
        list[t]->spmm(&s.a, listed ? rows : NULL, n, dim, y, own, halo, accumulate);
        near(list[t]->name, y, expected, size, tolerance);
        memcpy(other, before, (size_t)size * sizeof *other);
        omp_set_num_threads(2);
        list[t]->spmm(&s.a, listed ? rows : NULL, n, dim, other, own, halo, accumulate);
        omp_set_num_threads(1);
        assert_memory_equal(y, other, (size_t)size * sizeof *y);
        flip_free(y);
    }
    flip_free(other);
    flip_free(sum);
    flip_free(expected);
    flip_free(rows);
    flip_free(before);
    flip_free(own);
    flip_free(halo);
    free_sparse(&s);
}

static void spmm_cases(void **state) {
    (void)state;
    for (int c = 0; c < N_SPARSE; c++)
        for (int w = 0; w < N_WIDTHS; w++)
            for (int way = 0; way < 4; way++)
                check_spmm(&sparse_cases[c], widths[w], way & 1, way & 2);
}

/* ---- products ------------------------------------------------------------------------------- */

typedef struct product_case {
    int64_t m, n, k, more; /* more: how much wider than needed the rows stand in memory */
} product_case;

/* A, B and C with rows set apart by `more`, and what an epilogue needs. */
typedef struct product_data {
    product_case shape;
    int64_t lda, ldb, ldc;
    flip_real *a, *b, *c;
    flip_real *bias;
    uint8_t *mask;
    int64_t *key;
} product_data;

static void draw_product(product_data *d, product_case shape, bool transposed) {
    *d = (product_data){.shape = shape};
    int64_t rows = transposed ? shape.n : shape.k, cols = transposed ? shape.k : shape.n;
    d->lda = shape.k + shape.more;
    d->ldb = cols + shape.more;
    d->ldc = shape.n + shape.more;
    d->a = noise(shape.m * d->lda + 1, 11);
    d->b = noise(rows * d->ldb + 1, 12);
    d->c = noise(shape.m * d->ldc + 1, 13);
    d->bias = noise(shape.n, 14);
    d->mask = get((size_t)(shape.m * ((shape.n + 7) / 8) + 1), 1);
    d->key = get((size_t)shape.m + 1, sizeof *d->key);
    for (int64_t i = 0; i < shape.m * ((shape.n + 7) / 8); i++)
        d->mask[i] = (uint8_t)chance(15, 0, (uint64_t)i, 256);
    for (int64_t i = 0; i < shape.m; i++)
        d->key[i] = (int64_t)chance(16, 0, (uint64_t)i, 1u << 30) << 8;
}

static void free_product(product_data *d) {
    flip_free(d->a);
    flip_free(d->b);
    flip_free(d->c);
    flip_free(d->bias);
    flip_free(d->mask);
    flip_free(d->key);
}

enum { WAYS = 12 };

/* Twice the same operands, seen as another product: A2 the first half of A's columns. */
static void plus(const product_data *d, flip_epilogue *e) {
    e->plus_a = d->a;
    e->plus_b = d->b;
    e->plus_k = d->shape.k / 2;
    e->plus_lda = d->lda;
    e->plus_ldb = d->ldb;
}

/* The ways a product can end. */
static const flip_epilogue *epilogue_way(int way, const product_data *d, uint8_t *bits,
                                         flip_epilogue *e) {
    *e = (flip_epilogue){.seed = 5, .draw = (3u << 8) | 7};
    switch (way) {
    case 0:
        return NULL;
    case 1:
        e->accumulate = true;
        break;
    case 2:
        e->bias = d->bias;
        break;
    case 3:
        e->relu = true;
        break;
    case 4:
        *e = (flip_epilogue){.bias = d->bias, .relu = true, .relu_bits = bits};
        break;
    case 5:
        e->dropout = 0.5;
        break;
    case 6:
        e->accumulate = e->relu = true;
        e->bias = d->bias;
        e->dropout = 0.3;
        e->relu_bits = bits;
        e->key = d->key;
        break;
    case 7:
        e->mask = d->mask;
        e->mask_scale = (flip_real)1.25;
        break;
    case 8:
        e->mask = d->mask;
        e->mask_scale = 2;
        e->accumulate = true;
        break;
    case 9:
        e->dropout = 0.9;
        e->relu_bits = bits;
        break;
    case 10:
        plus(d, e);
        break;
    case 11:
        plus(d, e);
        e->accumulate = e->relu = true;
        e->bias = d->bias;
        e->dropout = 0.2;
        break;
    default:
        break;
    }
    return e;
}

typedef void (*product_function)(int64_t, int64_t, int64_t, const flip_real *, int64_t,
                                 const flip_real *, int64_t, flip_real *, int64_t,
                                 const flip_epilogue *);

static product_function product_of(const flip_kernels *k, bool transposed, bool bf16) {
    if (bf16) return transposed ? k->gemm_nt_bf16 : k->gemm_nn_bf16;
    return transposed ? k->gemm_nt : k->gemm_nn;
}

static double bf16(double x) {
    if (x == 0) return 0;
    int exponent;
    double f = frexp((double)(float)x, &exponent);
    return ldexp(rint(ldexp(f, 8)), exponent - 8);
}

static double *in_double(const flip_real *x, int64_t n, bool rounded) {
    double *y = get((size_t)n + 1, sizeof *y);
    for (int64_t i = 0; i < n; i++)
        y[i] = rounded ? bf16((double)x[i]) : (double)x[i];
    return y;
}

/* The oracle: sums in double, bit tests by flip_dropout_keep. Marks in `loose` what lies so close
 * to zero that relu may go either way. */
static void plain_product(const product_data *d, bool transposed, bool rounded,
                          const flip_epilogue *e, flip_real *c, uint8_t *bits, uint8_t *loose) {
    int64_t n = d->shape.n, bytes = (n + 7) / 8;
    memset(bits, 0, (size_t)(d->shape.m * bytes));
    int64_t b_rows = transposed ? n : d->shape.k;
    double *a = in_double(d->a, d->shape.m * d->lda, rounded);
    double *b = in_double(d->b, b_rows * d->ldb, rounded);
    int64_t down = transposed ? 1 : d->ldb, right = transposed ? d->ldb : 1;
    for (int64_t i = 0; i < d->shape.m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < d->shape.k; l++)
                sum += (e && l < e->plus_k ? 2 : 1) * a[i * d->lda + l] * b[l * down + j * right];
            flip_real *out = &c[i * d->ldc + j];
            if (e && e->accumulate) sum += (double)*out;
            bool alive = true;
            if (e && e->bias) sum += (double)e->bias[j];
            loose[i * n + j] = fabs(sum) < 1e-4;
            if (e && e->relu) alive = sum > 0;
            if (e && e->relu && !alive) sum = 0;
            if (e && e->mask)
                sum = e->mask[i * bytes + j / 8] >> (j % 8) & 1 ? sum * (double)e->mask_scale : 0;
            if (e && e->dropout > 0) {
                bool kept =
                    flip_dropout_keep(e->seed, e->draw, e->key ? e->key[i] : i, n, j, e->dropout);
                sum = kept ? sum / (1 - e->dropout) : 0;
                alive = alive && kept;
            }
            bits[i * bytes + j / 8] |= (uint8_t)(alive << (j % 8));
            *out = (flip_real)sum;
        }
    flip_free(a);
    flip_free(b);
}

static void same_bits(const char *what, const uint8_t *x, const uint8_t *y, const uint8_t *loose,
                      int64_t m, int64_t n) {
    int64_t bytes = (n + 7) / 8;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < bytes * 8; j++) {
            bool differ = (x[i * bytes + j / 8] ^ y[i * bytes + j / 8]) >> (j % 8) & 1;
            if (differ && (j >= n || !loose[i * n + j]))
                fail_msg("%s: bit (%lld, %lld) differs", what, (long long)i, (long long)j);
        }
}

static void check_product(product_case shape, bool transposed, bool rounded, int way) {
    product_data d;
    draw_product(&d, shape, transposed);
    int64_t size = shape.m * d.ldc, bytes = shape.m * ((shape.n + 7) / 8);
    uint8_t *bits = get((size_t)bytes + 1, 1), *expected_bits = get((size_t)bytes + 1, 1);
    uint8_t *loose = get((size_t)(shape.m * shape.n) + 1, 1),
            *other_bits = get((size_t)bytes + 1, 1);
    flip_real *expected = copy_of(d.c, size);
    flip_epilogue e;
    const flip_epilogue *epilogue = epilogue_way(way, &d, bits, &e);
    plain_product(&d, transposed, rounded, epilogue, expected, expected_bits, loose);
    double tolerance = ROUNDING * (10 + (double)shape.k) * (way == 9 ? 10 : 2);
    for (int t = 0; t < n_tables; t++) {
        char what[80];
        snprintf(what, sizeof what, "%s %s%s %lldx%lldx%lld way %d", list[t]->name,
                 transposed ? "nt" : "nn", rounded ? "_bf16" : "", (long long)shape.m,
                 (long long)shape.n, (long long)shape.k, way);
        product_function run = product_of(list[t], transposed, rounded);
        flip_real *c = copy_of(d.c, size), *other = copy_of(d.c, size);
        memset(bits, 0xee, (size_t)bytes);
        run(shape.m, shape.n, shape.k, d.a, d.lda, d.b, d.ldb, c, d.ldc, epilogue);
        near(what, c, expected, size, tolerance);
        if (epilogue && epilogue->relu_bits)
            same_bits(what, bits, expected_bits, loose, shape.m, shape.n);
        memcpy(other_bits, bits, (size_t)bytes);
        omp_set_num_threads(2);
        run(shape.m, shape.n, shape.k, d.a, d.lda, d.b, d.ldb, other, d.ldc, epilogue);
        omp_set_num_threads(1);
        assert_memory_equal(c, other, (size_t)size * sizeof *c);
        assert_memory_equal(bits, other_bits, (size_t)bytes);
        flip_free(c);
        flip_free(other);
    }
    flip_free(bits);
    flip_free(expected_bits);
    flip_free(other_bits);
    flip_free(loose);
    flip_free(expected);
    free_product(&d);
}

static const product_case small_products[] = {
    {0, 5, 3, 0},      {1, 1, 1, 0},     {1, 7, 3, 2},      {5, 16, 0, 0},    {2, 100, 17, 1},
    {61, 32, 33, 0},   {61, 33, 16, 3},  {97, 64, 7, 0},    {40, 128, 64, 0}, {29, 256, 100, 5},
    {300, 16, 128, 0}, {45, 17, 256, 0}, {15, 130, 515, 0},
};
enum { N_PRODUCTS = sizeof small_products / sizeof *small_products };

static void products(bool transposed, bool rounded) {
    for (int way = 0; way < WAYS; way++) {
        for (int p = 0; p < N_PRODUCTS; p++)
            check_product(small_products[p], transposed, rounded, way);
        for (int w = 0; w < N_WIDTHS; w++)
            check_product((product_case){53, widths[w], widths[(w * 5) % N_WIDTHS], w % 3},
                          transposed, rounded, way);
    }
    check_product((product_case){1500, 32, 40, 0}, transposed, rounded, 6);
    check_product((product_case){17, 4150, 3, 1}, transposed, rounded, 6);
}

static void products_nn(void **state) {
    (void)state;
    products(false, false);
}

static void products_nt(void **state) {
    (void)state;
    products(true, false);
}

static void products_nn_bf16(void **state) {
    (void)state;
    products(false, true);
}

static void products_nt_bf16(void **state) {
    (void)state;
    products(true, true);
}

/* ---- weight gradients ----------------------------------------------------------------------- */

static void check_gradient(product_case shape, bool rounded) {
    int64_t lda = shape.k + shape.more, ldb = shape.n + shape.more, ldg = shape.n + 2 * shape.more;
    flip_real *a = noise(shape.m * lda + 1, 21), *b = noise(shape.m * ldb + 1, 22);
    int64_t size = shape.k * ldg;
    double *expected = get((size_t)size + 1, sizeof *expected);
    double *g = get((size_t)size + 1, sizeof *g), *other = get((size_t)size + 1, sizeof *g);
    for (int64_t i = 0; i < size; i++)
        expected[i] = 0.25;
    double *x = in_double(a, shape.m * lda, rounded), *y = in_double(b, shape.m * ldb, rounded);
    for (int64_t i = 0; i < shape.m; i++)
        for (int64_t l = 0; l < shape.k; l++)
            for (int64_t j = 0; j < shape.n; j++)
                expected[l * ldg + j] += x[i * lda + l] * y[i * ldb + j];
    flip_free(x);
    flip_free(y);
    for (int t = 0; t < n_tables; t++) {
        char what[80];
        snprintf(what, sizeof what, "%s tn%s %lldx%lldx%lld", list[t]->name, rounded ? "_bf16" : "",
                 (long long)shape.m, (long long)shape.n, (long long)shape.k);
        for (int threads = 1; threads <= 2; threads++) {
            double *out = threads == 1 ? g : other;
            for (int64_t i = 0; i < size; i++)
                out[i] = 0.25;
            omp_set_num_threads(threads);
            (rounded ? list[t]->gemm_tn_bf16 : list[t]->gemm_tn)(shape.m, shape.n, shape.k, a, lda,
                                                                 b, ldb, out, ldg);
        }
        omp_set_num_threads(1);
        near_double(what, g, expected, size, ROUNDING * (20 + sqrt((double)shape.m) * 20));
        assert_memory_equal(g, other, (size_t)size * sizeof *g);
    }
    flip_free(a);
    flip_free(b);
    flip_free(g);
    flip_free(other);
    flip_free(expected);
}

static void gradients(void **state) {
    (void)state;
    static const product_case cases[] = {
        {0, 5, 3, 0},      {1, 1, 1, 0},       {1, 7, 3, 2},       {3000, 3, 5, 0},
        {777, 16, 100, 1}, {129, 33, 14, 0},   {2000, 32, 128, 0}, {500, 64, 17, 3},
        {33, 300, 270, 0}, {130, 130, 515, 0},
    };
    for (int rounded = 0; rounded < 2; rounded++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            check_gradient(cases[c], rounded);
        for (int w = 0; w < N_WIDTHS; w++)
            check_gradient((product_case){201, widths[w], widths[(w * 5) % N_WIDTHS], w % 3},
                           rounded);
    }
}

/* ---- rows and columns ----------------------------------------------------------------------- */

/* The epilogue alone does what it does after a product with nothing. */
static void epilogues_alone(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (int w = 0; w < WITH_WIDE; w++) {
            product_data d;
            product_case shape = {33, widths[w], 0, w % 3};
            draw_product(&d, shape, false);
            int64_t size = shape.m * d.ldc, bytes = shape.m * ((shape.n + 7) / 8);
            uint8_t *bits = get((size_t)bytes, 1), *expected_bits = get((size_t)bytes, 1);
            uint8_t *loose = get((size_t)(shape.m * shape.n), 1);
            flip_epilogue e;
            const flip_epilogue *epilogue = epilogue_way(way, &d, bits, &e);
            e.plus_a = NULL;
            e.plus_k = 0;
            e.accumulate = true;
            flip_real *expected = copy_of(d.c, size);
            plain_product(&d, false, false, epilogue ? &e : &(flip_epilogue){.accumulate = true},
                          expected, expected_bits, loose);
            for (int t = 0; t < n_tables; t++)
                for (int product = 0; product < 2; product++) {
                    flip_real *c = copy_of(d.c, size);
                    omp_set_num_threads(1 + product);
                    if (product)
                        list[t]->gemm_nn(shape.m, shape.n, 0, NULL, 0, NULL, 0, c, d.ldc,
                                         epilogue ? &e : &(flip_epilogue){.accumulate = true});
                    else
                        list[t]->epilogue(shape.m, shape.n, c, d.ldc, epilogue);
                    omp_set_num_threads(1);
                    near(list[t]->name, c, expected, size, 20 * ROUNDING);
                    if (epilogue && e.relu_bits)
                        same_bits(list[t]->name, bits, expected_bits, loose, shape.m, shape.n);
                    flip_free(c);
                }
            flip_free(bits);
            flip_free(expected_bits);
            flip_free(loose);
            flip_free(expected);
            free_product(&d);
        }
}

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
        list[t]->column_sums(m, n, y, ld, g);
        omp_set_num_threads(2);
        list[t]->column_sums(m, n, y, ld, other);
        omp_set_num_threads(1);
        near_double(list[t]->name, g, expected, n, ROUNDING * (20 + 100 * sqrt((double)m)));
        assert_memory_equal(g, other, (size_t)n * sizeof *g);
    }
    flip_free(y);
    flip_free(expected);
    flip_free(g);
    flip_free(other);
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
    double expected[300], sums[29];
    for (int64_t i = 0; i < m * ld; i++)
        x[i] *= (flip_real)spread;
    for (int t = 0; t < n_tables; t++) {
        flip_real *p = copy_of(x, m * ld);
        list[t]->softmax(m, n, in_place ? p : x, ld, p, ld, sums);
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
        flip_free(p);
    }
    x[n / 2] = (flip_real)NAN; /* must be seen, not swallowed */
    for (int t = 0; t < n_tables; t++) {
        flip_real *p = copy_of(x, m * ld);
        list[t]->softmax(m, n, x, ld, p, ld, sums);
        assert_true(isnan(p[n / 2]) && isnan(sums[0]) && !isnan(sums[1]));
        flip_free(p);
    }
    flip_free(x);
}

static void softmaxes(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++)
        for (int in_place = 0; in_place < 2; in_place++) {
            check_softmax(widths[w], 3, in_place);
            check_softmax(widths[w], 60, in_place);
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
                int64_t key[37];
                for (int64_t i = 0; i < m; i++)
                    key[i] = (int64_t)chance(32, 0, (uint64_t)i, 1u << 20) << 16;
                for (int t = 0; t < n_tables; t++)
                    for (int threads = 1; threads <= 2; threads++) {
                        flip_real *y = threads == 1 ? copy_of(x, m * n) : noise(m * n, 33);
                        omp_set_num_threads(threads);
                        list[t]->dropout(m, n, y, threads == 1 ? y : x, p, 77, 1u << 9,
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
                        flip_free(y);
                    }
                flip_free(x);
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
                list[t]->mask_bits(m, n, y, in_place ? y : x, bits, (flip_real)1.5);
                for (int64_t i = 0; i < m * n; i++) {
                    bool kept = bits[i / n * bytes + i % n / 8] >> (i % n % 8) & 1;
                    assert_true(y[i] == (kept ? x[i] * (flip_real)1.5 : 0));
                }
            }
        flip_free(x);
        flip_free(y);
        flip_free(bits);
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
        list[t]->adam(n, a, g, b, c, &s);
        near(list[t]->name, a, p2, n, 4 * ROUNDING);
        near(list[t]->name, b, m2, n, 8 * ROUNDING);
        near(list[t]->name, c, v2, n, 8 * ROUNDING);
        flip_free(a);
        flip_free(b);
        flip_free(c);
    }
    flip_free(p);
    flip_free(m);
    flip_free(v);
    flip_free(g);
    flip_free(p2);
    flip_free(m2);
    flip_free(v2);
}

static void adams(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        check_adam(widths[w], false, 0);
        check_adam(widths[w], false, 5e-2);
        check_adam(widths[w], true, 5e-2);
    }
}

static void table_is_full(void **state) {
    (void)state;
    assert_ptr_equal(flip_kernels_get(), list[n_tables - 1]);
    assert_string_equal(list[0]->name, "reference");
    for (int t = 0; t < n_tables; t++) {
        const flip_kernels *k = list[t];
        assert_true(k->name && k->spmm && k->gemm_nn && k->gemm_nt && k->gemm_tn &&
                    k->gemm_nn_bf16 && k->gemm_nt_bf16 && k->gemm_tn_bf16 && k->dropout &&
                    k->mask_bits && k->adam && k->epilogue && k->column_sums && k->softmax);
    }
}

static void limits_are_sane(void **state) {
    (void)state;
    flip_limits limits = flip_kernels_limits();
    assert_true(limits.copy_gbs > 0.1 && limits.copy_gbs < 1e4);
    assert_true(limits.multiply_gflops > 0.1 && limits.multiply_gflops < 1e6);
}

int main(void) {
    n_tables = flip_kernels_list(list);
    omp_set_num_threads(1);
    printf("# tables:");
    for (int t = 0; t < n_tables; t++)
        printf(" %s", list[t]->name);
    printf("\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_full),
        cmocka_unit_test(spmm_cases),
        cmocka_unit_test(products_nn),
        cmocka_unit_test(products_nt),
        cmocka_unit_test(products_nn_bf16),
        cmocka_unit_test(products_nt_bf16),
        cmocka_unit_test(gradients),
        cmocka_unit_test(epilogues_alone),
        cmocka_unit_test(columns),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(dropouts),
        cmocka_unit_test(masks),
        cmocka_unit_test(adams),
        cmocka_unit_test(limits_are_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
