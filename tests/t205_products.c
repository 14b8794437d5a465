/* kernels: every product of every table, with every epilogue, against sums taken in double, and
 * against itself on another number of threads (a GPU: called again), bit for bit. */
#include "kernels_check.h"

/* ---- products ------------------------------------------------------------------------------- */

enum { APART = 3 }; /* how far apart bits, masks and keys stand in the ways that say so */

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
    d->bias = noise((shape.m + 1) * shape.n, 14); /* a row, or every row its own */
    int64_t far = APART * shape.m;
    d->mask = get((size_t)(far * ((shape.n + 7) / 8) + 1), 1);
    d->key = get((size_t)far + 1, sizeof *d->key);
    for (int64_t i = 0; i < far * ((shape.n + 7) / 8); i++)
        d->mask[i] = (uint8_t)chance(15, 0, (uint64_t)i, 256);
    for (int64_t i = 0; i < far; i++)
        d->key[i] = (int64_t)chance(16, 0, (uint64_t)i, 1u << 30) << 8;
}

static void free_product(product_data *d) {
    RELEASE(d->a, d->b, d->c, d->bias, d->mask, d->key);
}

enum { WAYS = 17 };

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
    case 12:
        *e = (flip_epilogue){.mask = d->mask, .mask_scale = 3, .apart = APART};
        break;
    case 13:
        e->relu = true;
        e->dropout = 0.4;
        e->relu_bits = bits;
        e->key = d->key;
        e->apart = APART;
        break;
    case 14:
        *e = (flip_epilogue){.bias = d->bias, .bias_step = d->shape.n};
        break;
    case 15:
        *e = (flip_epilogue){
            .accumulate = true, .bias = d->bias, .bias_step = d->shape.n, .relu = true};
        break;
    case 16: /* neither a bias alone nor a mask alone */
        *e = (flip_epilogue){.bias = d->bias, .mask = d->mask, .mask_scale = 2};
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
    int64_t n = d->shape.n, apart = e && e->apart > 0 ? e->apart : 1, bytes = (n + 7) / 8 * apart;
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
            if (e && e->bias) sum += (double)e->bias[i * e->bias_step + j];
            loose[i * n + j] = fabs(sum) < 1e-4;
            if (e && e->relu) alive = sum > 0;
            if (e && e->relu && !alive) sum = 0;
            if (e && e->mask)
                sum = e->mask[i * bytes + j / 8] >> (j % 8) & 1 ? sum * (double)e->mask_scale : 0;
            if (e && e->dropout > 0) {
                bool kept = flip_dropout_keep(e->seed, e->draw, e->key ? e->key[i * apart] : i, n,
                                              j, e->dropout);
                sum = kept ? sum / (1 - e->dropout) : 0;
                alive = alive && kept;
            }
            bits[i * bytes + j / 8] |= (uint8_t)(alive << (j % 8));
            *out = (flip_real)sum;
        }
    RELEASE(a, b);
}

static void same_bits(const char *what, const uint8_t *x, const uint8_t *y, const uint8_t *loose,
                      int64_t m, int64_t n, int64_t apart) {
    int64_t bytes = (n + 7) / 8 * apart;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < (n + 7) / 8 * 8; j++) {
            bool differ = (x[i * bytes + j / 8] ^ y[i * bytes + j / 8]) >> (j % 8) & 1;
            if (differ && (j >= n || !loose[i * n + j]))
                fail_msg("%s: bit (%lld, %lld) differs", what, (long long)i, (long long)j);
        }
}

static void check_product(product_case shape, bool transposed, bool rounded, int way) {
    product_data d;
    draw_product(&d, shape, transposed);
    int64_t size = shape.m * d.ldc, bytes = APART * shape.m * ((shape.n + 7) / 8);
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
        done(list[t]);
        near(what, c, expected, size, tolerance);
        if (epilogue && epilogue->relu_bits)
            same_bits(what, bits, expected_bits, loose, shape.m, shape.n,
                      epilogue->apart > 0 ? epilogue->apart : 1);
        memcpy(other_bits, bits, (size_t)bytes);
        omp_set_num_threads(2);
        run(shape.m, shape.n, shape.k, d.a, d.lda, d.b, d.ldb, other, d.ldc, epilogue);
        done(list[t]);
        omp_set_num_threads(1);
        assert_memory_equal(c, other, (size_t)size * sizeof *c);
        assert_memory_equal(bits, other_bits, (size_t)bytes);
        RELEASE(c, other);
    }
    RELEASE(bits, expected_bits, other_bits, loose, expected);
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

/* ---- epilogues alone ----------------------------------------------------------------------- */

/* The epilogue alone does what it does after a product with nothing. */
static void epilogues_alone(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (int w = 0; w < WITH_WIDE; w++) {
            product_data d;
            product_case shape = {33, widths[w], 0, w % 3};
            draw_product(&d, shape, false);
            int64_t size = shape.m * d.ldc, bytes = APART * shape.m * ((shape.n + 7) / 8);
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
                        CALL(list[t], gemm_nn, shape.m, shape.n, 0, NULL, 0, NULL, 0, c, d.ldc,
                             epilogue ? &e : &(flip_epilogue){.accumulate = true});
                    else
                        CALL(list[t], epilogue, shape.m, shape.n, c, d.ldc, epilogue);
                    omp_set_num_threads(1);
                    near(list[t]->name, c, expected, size, 20 * ROUNDING);
                    if (epilogue && e.relu_bits)
                        same_bits(list[t]->name, bits, expected_bits, loose, shape.m, shape.n,
                                  e.apart > 0 ? e.apart : 1);
                    release(c);
                }
            RELEASE(bits, expected_bits, loose, expected);
            free_product(&d);
        }
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
    RELEASE(x, y);
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
            done(list[t]);
        }
        omp_set_num_threads(1);
        near_double(what, g, expected, size, ROUNDING * (20 + sqrt((double)shape.m) * 20));
        assert_memory_equal(g, other, (size_t)size * sizeof *g);
    }
    RELEASE(a, b, g, other, expected);
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

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_nn),      cmocka_unit_test(products_nt),
        cmocka_unit_test(products_nn_bf16), cmocka_unit_test(products_nt_bf16),
        cmocka_unit_test(epilogues_alone),  cmocka_unit_test(gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
