/* kernels: rows along time. Every table against plain sums in double taken here, and against itself
 * on another number of threads, bit for bit. */
#include "kernels_check.h"

/* The same call by every table on 1 and 3 threads: near `want`, and the same bits. */
typedef void (*call)(const flip_kernels *k, const void *how, flip_real *out);

static void all_tables(const char *what, call run, const void *how, const flip_real *begin,
                       const flip_real *want, int64_t n, double tolerance) {
    for (int t = 0; t < n_tables; t++) {
        flip_real *one = copy_of(begin, n), *three = copy_of(begin, n);
        run(list[t], how, one);
        done(list[t]);
        omp_set_num_threads(3);
        run(list[t], how, three);
        done(list[t]);
        omp_set_num_threads(1);
        char name[128];
        snprintf(name, sizeof name, "%s: %s", list[t]->name, what);
        near(name, one, want, n, tolerance);
        assert_memory_equal(one, three, (size_t)n * sizeof *one);
        RELEASE(one, three);
    }
}

/* ---- move ---- */

typedef struct moving {
    const char *name;
    int64_t m, n, d, y_row, y_step, x_row, x_step, y_at, x_at;
    bool zeros, accumulate;
    const flip_real *x;
} moving;

static const moving moves[] = {
    {.name = "nothing", .m = 0, .n = 3, .d = 4, .y_row = 12, .y_step = 4, .x_row = 12, .x_step = 4},
    {.name = "one value", .m = 1, .n = 1, .d = 1},
    {.name = "all of it", .m = 1, .n = 1, .d = 70000, .accumulate = true},
    {.name = "columns", .m = 37, .n = 1, .d = 5, .y_row = 9, .x_row = 7, .y_at = 2, .x_at = 1},
    {.name = "columns by four", .m = 37, .n = 1, .d = 8, .y_row = 16, .x_row = 12, .x_at = 4},
    {.name = "off by one", .m = 37, .n = 1, .d = 8, .y_row = 16, .x_row = 12, .x_at = 3},
    {.name = "steps to the front",
     .m = 41,
     .n = 6,
     .d = 12,
     .y_row = 20,
     .y_step = 41 * 20,
     .x_row = 9 * 16,
     .x_step = 16,
     .x_at = 36},
    {.name = "steps back",
     .m = 41,
     .n = 6,
     .d = 12,
     .y_row = 9 * 16,
     .y_step = 16,
     .x_row = 20,
     .x_step = 41 * 20,
     .y_at = 32,
     .accumulate = true},
    {.name = "odd steps",
     .m = 300,
     .n = 11,
     .d = 7,
     .y_row = 9,
     .y_step = 300 * 9,
     .x_row = 11 * 7,
     .x_step = 7,
     .accumulate = true},
    {.name = "turned",
     .m = 33,
     .n = 70,
     .d = 1,
     .y_row = 1,
     .y_step = 33,
     .x_row = 70,
     .x_step = 1},
    {.name = "one stretch",
     .m = 90,
     .n = 5,
     .d = 64,
     .y_row = 330,
     .y_step = 64,
     .x_row = 320,
     .x_step = 64},
    {.name = "zeros", .m = 19, .n = 3, .d = 5, .y_row = 30, .y_step = 7, .zeros = true},
    {.name = "zeros added", .m = 4, .n = 3, .d = 8, .y_row = 30, .zeros = true, .accumulate = true},
};

static void run_move(const flip_kernels *k, const void *how, flip_real *y) {
    const moving *c = how;
    k->move(c->m, c->n, c->d, y + c->y_at, c->y_row, c->y_step, c->x, c->x_row, c->x_step,
            c->accumulate);
}

static void moved(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        moving c = moves[i];
        int64_t n = c.y_at + c.m * c.y_row + c.n * c.y_step + c.d + 9;
        int64_t n_x = c.x_at + c.m * c.x_row + c.n * c.x_step + c.d + 1;
        flip_real *x = noise(n_x, 10 + i), *y = noise(n, 30 + i), *want = copy_of(y, n);
        c.x = c.zeros ? NULL : x + c.x_at;
        for (int64_t at = 0; at < c.m * c.n * c.d; at++) {
            int64_t row = at / c.d / c.n, t = at / c.d % c.n, j = at % c.d;
            flip_real from = c.x ? c.x[row * c.x_row + t * c.x_step + j] : 0;
            flip_real *to = want + c.y_at + row * c.y_row + t * c.y_step + j;
            *to = c.accumulate ? *to + from : from;
        }
        all_tables(c.name, run_move, &c, y, want, n, 0);
        RELEASE(x, y, want);
    }
}

static void doubles_added(void **state) {
    (void)state;
    enum { N = 1003 };
    for (int t = 0; t < n_tables; t++) {
        double *x = get(N, sizeof *x), *y = get(N, sizeof *y), *want = get(N, sizeof *want);
        flip_real *z = noise(N, 1), *sum = copy_of(z, N);
        for (int i = 0; i < N; i++) {
            x[i] = flip_random_uniform(3, FLIP_STREAM_TEST, 1, (uint64_t)i);
            y[i] = flip_random_uniform(4, FLIP_STREAM_TEST, 1, (uint64_t)i);
            want[i] = y[i] + x[i];
            sum[i] += (flip_real)x[i];
        }
        list[t]->add_doubles(N, y, x);
        list[t]->add_rounded(N, z, x);
        done(list[t]);
        near_double(list[t]->name, y, want, N, 0);
        near(list[t]->name, z, sum, N, 0);
        RELEASE(x, y, want, z, sum);
    }
}

/* ---- band ---- */

typedef struct banding {
    flip_band_steps band;
    bool accumulate;
    const flip_real *before, *x; /* back: dbefore stands in front of dx in what is written */
} banding;

static const flip_band_steps bands[] = {
    {.rows = 0, .steps = 3, .dim = 4, .window = 2},
    {.rows = 5, .steps = 0, .dim = 4, .window = 2},
    {.rows = 3, .steps = 1, .dim = 1, .window = 1},
    {.rows = 7, .steps = 9, .dim = 5, .window = 1, .first = 4},
    {.rows = 7, .steps = 9, .dim = 66, .window = 4},
    {.rows = 7, .steps = 9, .dim = 130, .window = 4, .first = 2, .earlier = 2},
    {.rows = 9, .steps = 5, .dim = 16, .window = 4, .first = 7, .earlier = 3},
    {.rows = 9, .steps = 2, .dim = 16, .window = 6, .first = 13, .earlier = 5},
    {.rows = 9, .steps = 11, .dim = 3, .window = 40},
    {.rows = 90, .steps = 11, .dim = 33, .window = 5, .first = 23, .earlier = 4},
};
enum { N_BANDS = sizeof bands / sizeof *bands };

/* M[t, k] of section 2. */
static double weight_of(const flip_band_steps *b, int32_t t, int32_t k) {
    return k <= t && k > t - b->window ? 1.0 / (b->window < t + 1 ? b->window : t + 1) : 0;
}

static void run_band(const flip_kernels *k, const void *how, flip_real *y) {
    const banding *c = how;
    k->band_sums(&c->band, y, c->before, c->x);
}

static void run_back(const flip_kernels *k, const void *how, flip_real *out) {
    const banding *c = how;
    k->band_sums_back(&c->band, c->x, out, out + c->band.rows * c->band.earlier * c->band.dim,
                      c->accumulate);
}

/* Column j of step k of row i: of the steps before, or of the band's own. */
static int64_t place(const flip_band_steps *b, int64_t i, int32_t k, int32_t j) {
    int32_t at = k - b->first;
    return at < 0 ? (i * b->earlier + at + b->earlier) * b->dim + j
                  : b->rows * b->earlier * b->dim + (i * b->steps + at) * b->dim + j;
}

static void check_band(const flip_band_steps *b, uint64_t seed) {
    const int64_t n_before = b->rows * b->earlier * b->dim, n = b->rows * b->steps * b->dim;
    flip_real *x = noise(n_before + n + 1, seed), *y = noise(n + 1, seed + 1);
    flip_real *want = get((size_t)n + 1, sizeof *want);
    want[n] = y[n];
    for (int64_t at = 0; at < n; at++) {
        int64_t i = at / b->dim / b->steps;
        int32_t t = b->first + (int32_t)(at / b->dim % b->steps), j = (int32_t)(at % b->dim);
        double sum = 0;
        for (int32_t k = b->first - b->earlier; k <= t; k++)
            sum += weight_of(b, t, k) * (double)x[place(b, i, k, j)];
        want[at] = (flip_real)sum;
    }
    banding c = {.band = *b, .before = b->earlier ? x : NULL, .x = x + n_before};
    all_tables("band", run_band, &c, y, want, n + 1, 20 * ROUNDING);
    RELEASE(x, y, want);
}

static void check_band_back(const flip_band_steps *b, bool accumulate, uint64_t seed) {
    const int64_t n_before = b->rows * b->earlier * b->dim, n = b->rows * b->steps * b->dim;
    flip_real *dy = noise(n + 1, seed), *dx = noise(n_before + n + 1, seed + 1);
    flip_real *want = copy_of(dx, n_before + n + 1);
    for (int64_t i = 0; i < b->rows; i++)
        for (int32_t k = b->first - b->earlier; k < b->first + b->steps; k++)
            for (int32_t j = 0; j < b->dim; j++) {
                flip_real *to = want + place(b, i, k, j);
                double sum = accumulate && k >= b->first ? (double)*to : 0;
                for (int32_t t = b->first; t < b->first + b->steps; t++)
                    sum +=
                        weight_of(b, t, k) * (double)dy[(i * b->steps + t - b->first) * b->dim + j];
                *to = (flip_real)sum;
            }
    banding c = {.band = *b, .accumulate = accumulate, .x = dy};
    all_tables("band's gradient", run_back, &c, dx, want, n_before + n + 1, 20 * ROUNDING);
    RELEASE(dy, dx, want);
}

static void banded(void **state) {
    (void)state;
    for (uint64_t i = 0; i < N_BANDS; i++) {
        check_band(&bands[i], 10 * i);
        check_band_back(&bands[i], false, 10 * i + 3);
        check_band_back(&bands[i], true, 10 * i + 6);
    }
}

/* ---- rows by number ---- */

typedef struct numbered {
    int64_t n, dim, ldz;
    const int32_t *index, *row, *ptr;
    const flip_real *x, *halo;
} numbered;

static void run_gather(const flip_kernels *k, const void *how, flip_real *z) {
    const numbered *c = how;
    k->gather_rows(c->n, c->dim, z, c->ldz, c->index, c->x, c->halo);
}

static void run_add(const flip_kernels *k, const void *how, flip_real *y) {
    const numbered *c = how;
    k->add_to_rows(c->n, c->dim, y, c->row, c->ptr, c->index, c->x);
}

static void check_gather(int64_t n, int64_t dim, int64_t ldz, uint64_t seed) {
    enum { OWN = 21, HALO = 5 };
    flip_real *x = noise(OWN * dim, seed), *halo = noise(HALO * dim, seed + 1);
    flip_real *z = noise(n * ldz + 1, seed + 2), *want = copy_of(z, n * ldz + 1);
    int32_t *index = get((size_t)n + 1, sizeof *index);
    for (int64_t i = 0; i < n; i++) {
        index[i] = (int32_t)chance(seed, 1, (uint64_t)i, OWN + HALO) - HALO;
        for (int64_t j = 0; j < dim; j++)
            want[i * ldz + j] =
                index[i] < 0 ? halo[(-1 - index[i]) * dim + j] : x[index[i] * dim + j];
    }
    numbered c = {.n = n, .dim = dim, .ldz = ldz, .index = index, .x = x, .halo = halo};
    all_tables("rows gathered", run_gather, &c, z, want, n * ldz + 1, 0);
    RELEASE(x, halo, z, want, index);
}

/* Lists of none, one, some and many; every second row of y is named. */
static void check_add(int64_t n, int64_t dim, uint64_t seed) {
    enum { FROM = 40, MOST = 200 };
    flip_real *x = noise(FROM * dim, seed);
    flip_real *y = noise(2 * n * dim + 1, seed + 2), *want = copy_of(y, 2 * n * dim + 1);
    int32_t *row = get((size_t)n + 1, sizeof *row), *ptr = get((size_t)n + 1, sizeof *ptr);
    int32_t *index = get((size_t)(n * MOST) + 1, sizeof *index);
    for (int64_t i = 0; i < n; i++) {
        int32_t length = i % 5 == 4 ? MOST : (int32_t)chance(seed, 2, (uint64_t)i, 4);
        row[i] = (int32_t)(2 * (n - 1 - i) + 1);
        ptr[i + 1] = ptr[i] + length;
        for (int32_t k = ptr[i]; k < ptr[i + 1]; k++) {
            index[k] = (int32_t)chance(seed, 3, (uint64_t)k, FROM);
            for (int64_t j = 0; j < dim; j++) /* the order is part of what is promised */
                want[row[i] * dim + j] += x[index[k] * dim + j];
        }
    }
    numbered c = {.n = n, .dim = dim, .row = row, .ptr = ptr, .index = index, .x = x};
    all_tables("rows added to", run_add, &c, y, want, 2 * n * dim + 1, 0);
    RELEASE(x, y, want, row, ptr, index);
}

static void rows_by_number(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++) {
        check_gather(83, widths[w], widths[w], (uint64_t)w);
        check_gather(31, widths[w], widths[w] + 4 - w % 2, (uint64_t)w);
        check_add(13, widths[w], 50 + (uint64_t)w);
    }
    check_gather(0, 3, 3, 1);
    check_add(0, 3, 2);
}

/* ---- pairs ---- */

typedef struct dotting {
    int64_t m, d;
    const flip_real *z, *ds;
    bool accumulate;
} dotting;

static void run_dot(const flip_kernels *k, const void *how, flip_real *s) {
    const dotting *c = how;
    k->pair_dot(c->m, c->d, c->z, s);
}

static void run_dot_back(const flip_kernels *k, const void *how, flip_real *dz) {
    const dotting *c = how;
    k->pair_dot_back(c->m, c->d, c->z, c->ds, dz, c->accumulate);
}

static void check_pairs(int64_t m, int64_t d, uint64_t seed) {
    flip_real *z = noise(m * 2 * d + 1, seed), *s = noise(m + 1, seed + 1),
              *want = copy_of(s, m + 1);
    flip_real *dz = noise(m * 2 * d + 1, seed + 2), *back = copy_of(dz, m * 2 * d + 1);
    for (int64_t i = 0; i < m; i++) {
        double sum = 0;
        for (int64_t j = 0; j < d; j++)
            sum += (double)z[i * 2 * d + j] * (double)z[i * 2 * d + d + j];
        want[i] = (flip_real)sum;
    }
    dotting c = {.m = m, .d = d, .z = z, .ds = s};
    all_tables("dots", run_dot, &c, s, want, m + 1, 4 * sqrt((double)d) * ROUNDING + ROUNDING);
    for (int add = 0; add < 2; add++) {
        for (int64_t at = 0; at < m * 2 * d; at++) {
            int64_t j = at % (2 * d);
            double share = (double)s[at / (2 * d)] * (double)z[j < d ? at + d : at - d];
            back[at] = (flip_real)((add ? (double)dz[at] : 0) + share);
        }
        c.accumulate = add;
        all_tables("dots' gradient", run_dot_back, &c, dz, back, m * 2 * d + 1, 4 * ROUNDING);
    }
    RELEASE(z, s, want, dz, back);
}

static void pairs(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++)
        check_pairs(37, widths[w], 10 * (uint64_t)w);
    check_pairs(0, 4, 1);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved),          cmocka_unit_test(doubles_added), cmocka_unit_test(banded),
        cmocka_unit_test(rows_by_number), cmocka_unit_test(pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
