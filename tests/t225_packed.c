/* kernels: packed rows decoded, and summed along a sparse matrix: every packing, every table,
 * against values written down when the codes were drawn. */
#include "packings.h"

/* Everything is float up to the sums of so many terms, whose running sums round, too. */
static double tolerance_of(const packed *p, double terms) {
    return 1.2e-7 * p->size * (8 + 4 * terms + terms * terms / 64);
}

/* Has table t an entry of its own? */
static bool own_entry(int t) {
    return t == 0 || list[t]->spmm_packed != list[t - 1]->spmm_packed;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void check_decode(const packing_case *c, int32_t dim, bool listed) {
    enum { ROWS = 41, MANY = 100 };
    packed s;
    packed_draw(&s, c, ROWS, dim);
    int64_t n = listed ? MANY : ROWS, ld = dim + dim % 4;
    int32_t *index = get(MANY, sizeof *index);
    for (int64_t i = 0; i < MANY; i++)
        index[i] = (int32_t)chance(5, 1, (uint64_t)i, ROWS);
    flip_real *out = get((size_t)(n * ld) + 1, sizeof *out);
    flip_real *want = get((size_t)dim + 1, sizeof *want);
    for (int t = 0; t < n_tables; t++) {
        char what[80];
        if (!own_entry(t)) continue;
        snprintf(what, sizeof what, "%s decodes %s, %d columns", list[t]->name, c->name, dim);
        for (int64_t i = 0; i < n * ld; i++)
            out[i] = 77;
        CALL(list[t], decode_rows, &s.packing, s.codes, c->dither ? s.key : NULL, n,
             listed ? index : NULL, out, ld);
        for (int64_t i = 0; i < n; i++) {
            for (int32_t j = 0; j < dim; j++)
                want[j] = (flip_real)s.value[(listed ? index[i] : i) * dim + j];
            near(what, out + i * ld, want, dim, tolerance_of(&s, 0));
            for (int64_t j = dim; j < ld; j++)
                assert_true(out[i * ld + j] == 77); /* nothing behind the row */
        }
    }
    RELEASE(index, out, want);
    packed_free(&s);
}

static void rows(void **state) {
    (void)state;
    for (int c = 0; c < N_PACKINGS; c++)
        for (int w = 0; w < WITH_WIDE; w++)
            for (int listed = 0; listed < 2; listed++)
                check_decode(&packing_cases[c], widths[w], listed);
}

/* ---- sums ----------------------------------------------------------------------------------- */

typedef struct sum_case {
    const char *name;
    int32_t rows;
    int hub, mean; /* entries of row 0; others have 0 … 2 * mean (-1: none) */
    bool weighted, scaled, listed, accumulate;
} sum_case;

static const sum_case sum_cases[] = {
    {"no rows", 0, 0, 3, true, false, false, false},
    {"empty rows", 9, 0, -1, true, true, false, false},
    {"empty rows, added", 9, 0, -1, false, false, false, true},
    {"ones", 40, 3, 5, false, false, false, false},
    {"weights, listed", 40, 3, 5, true, false, true, true},
    {"scales", 40, 3, 5, false, true, false, false},
    {"both, listed", 40, 3, 5, true, true, true, true},
    {"hub", 6, 1200, 9, true, false, false, false},
    {"hub of ones", 6, 1200, 9, false, true, true, false},
};
enum { N_SUMS = sizeof sum_cases / sizeof *sum_cases, COLS = 61 };

typedef struct sums {
    flip_csr a;
    int64_t row_ptr[64];
    int32_t col[4096], index[COLS];
    flip_real *value, *row_scale, *col_scale;
} sums;

static void draw_sums(sums *s, const sum_case *c, int64_t packed_rows) {
    int64_t n = 0;
    for (int32_t v = 0; v < c->rows; v++) {
        int64_t degree = v == 0 && c->hub ? c->hub
                         : c->mean < 0
                             ? 0
                             : (int64_t)chance(6, 1, (uint64_t)v, (uint64_t)(2 * c->mean + 1));
        for (int64_t d = 0; d < degree; d++, n++)
            s->col[n] = (int32_t)chance(6, 2, (uint64_t)n, COLS);
        s->row_ptr[v + 1] = n;
    }
    for (int32_t u = 0; u < COLS; u++)
        s->index[u] = c->listed ? (int32_t)chance(6, 3, (uint64_t)u, (uint64_t)packed_rows) : u;
    s->value = noise(n + 1, 51);
    s->row_scale = noise(c->rows + 1, 52);
    s->col_scale = noise(COLS, 53);
    s->a = (flip_csr){.n_rows = c->rows,
                      .n_cols = COLS,
                      .n_own = COLS,
                      .n_steps = 1,
                      .n_entries = n,
                      .n_values = n,
                      .row_ptr = s->row_ptr,
                      .col = s->col,
                      .value = c->weighted ? s->value : NULL,
                      .row_scale = c->scaled ? s->row_scale : NULL,
                      .col_scale = c->scaled ? s->col_scale : NULL};
}

/* The sum in double of what the codes mean. */
static double plain_sum(const sums *s, const packed *p, int32_t v, int32_t j, double before) {
    double sum = 0;
    for (int64_t e = s->row_ptr[v]; e < s->row_ptr[v + 1]; e++) {
        double w = s->a.value ? (double)s->a.value[e] : 1;
        if (s->a.col_scale) w *= (double)s->col_scale[s->col[e]];
        sum += w * p->value[(int64_t)s->index[s->col[e]] * p->packing.dim + j];
    }
    return before + sum * (s->a.row_scale ? (double)s->row_scale[v] : 1);
}

static void check_sum(const packing_case *c, const sum_case *how, int32_t dim) {
    packed p;
    packed_draw(&p, c, COLS + (how->listed ? 30 : 0), dim);
    sums *s = get(1, sizeof *s);
    draw_sums(s, how, p.n);
    int64_t ld = dim + dim % 4, size = how->rows * ld;
    flip_real *before = noise(size + 1, 54), *y = copy_of(before, size), *other = copy_of(y, size);
    flip_real *want = copy_of(before, size);
    for (int32_t v = 0; v < how->rows; v++)
        for (int32_t j = 0; j < dim; j++)
            want[v * ld + j] =
                (flip_real)plain_sum(s, &p, v, j, how->accumulate ? (double)before[v * ld + j] : 0);
    for (int t = 0; t < n_tables; t++) {
        char what[120];
        if (!own_entry(t)) continue;
        snprintf(what, sizeof what, "%s sums %s, %d columns, %s", list[t]->name, c->name, dim,
                 how->name);
        const int64_t *key = c->dither ? p.key : NULL;
        const int32_t *index = how->listed ? s->index : NULL;
        memcpy(y, before, (size_t)size * sizeof *y);
        CALL(list[t], spmm_packed, &s->a, &p.packing, p.codes, key, index, y, ld, how->accumulate);
        near(what, y, want, size, tolerance_of(&p, how->hub + 12));
        memcpy(other, before, (size_t)size * sizeof *other);
        omp_set_num_threads(2);
        CALL(list[t], spmm_packed, &s->a, &p.packing, p.codes, key, index, other, ld,
             how->accumulate);
        omp_set_num_threads(1);
        assert_memory_equal(y, other, (size_t)size * sizeof *y);
    }
    RELEASE(before, y, other, want, s->value, s->row_scale, s->col_scale, s);
    packed_free(&p);
}

static void sums_along(void **state) {
    (void)state;
    for (int c = 0; c < N_PACKINGS; c++)
        for (int h = 0; h < N_SUMS; h++)
            for (int w = 0; w < N_WIDTHS; w++)
                if (sum_cases[h].hub < 100 || w % 3 == 1)
                    check_sum(&packing_cases[c], &sum_cases[h], widths[w]);
    for (int c = 0; c < N_PACKINGS; c++)
        check_sum(&packing_cases[c], &sum_cases[4], 4150);
}

/* ---- dither --------------------------------------------------------------------------------- */

/* Uniform in [0, 1), and neither columns nor rows are alike: means, variances and the correlation
 * of neighbours over 64 x 4096 draws, each within five deviations of its estimate. */
static void dither(void **state) {
    (void)state;
    enum { ROWS = 4096, COLUMNS = 64 };
    double sum = 0, square = 0, along = 0, down = 0, n = (double)ROWS * COLUMNS;
    for (int64_t i = 0; i < ROWS; i++)
        for (int32_t j = 0; j < COLUMNS; j++) {
            double u = (double)flip_dither(3, i, j) - 0.5;
            assert_true(u >= -0.5 && u < 0.5);
            sum += u;
            square += u * u;
            along += u * ((double)flip_dither(3, i, j + 1) - 0.5);
            down += u * ((double)flip_dither(3, i + 1, j) - 0.5);
        }
    assert_true(fabs(sum / n) < 5 * sqrt(1 / 12.0 / n));
    assert_true(fabs(square / n - 1 / 12.0) < 5 * sqrt(1 / 180.0 / n));
    assert_true(fabs(along / n) < 5 / 12.0 / sqrt(n));
    assert_true(fabs(down / n) < 5 / 12.0 / sqrt(n));
    assert_true(flip_dither(3, 1, 1) != flip_dither(4, 1, 1));
}

/* ---- sums of table entries ------------------------------------------------------------------ */

static void check_entries(int32_t blocks, int32_t length, int32_t columns, int way) {
    enum { ROWS = 53, NAMED = 70 };
    const int64_t ld = columns + 3, entries = (int64_t)blocks * length;
    const int32_t stride = blocks + way % 3, n = way & 1 ? NAMED : ROWS;
    const bool accumulate = way & 2, biased = way & 4;
    flip_real *table = noise(entries * FLIP_TABLE_COLUMNS, 41), *bias = noise(columns, 42);
    uint8_t *codes = get((size_t)(ROWS * stride), 1);
    int32_t *index = get(NAMED, sizeof *index);
    for (int i = 0; i < ROWS * stride; i++)
        codes[i] = (uint8_t)chance(43, 1, (uint64_t)i, (uint64_t)length);
    for (int i = 0; i < NAMED; i++)
        index[i] = (int32_t)chance(43, 2, (uint64_t)i, ROWS);
    for (int t = 0; t < n_tables; t++) {
        flip_real *out = noise(n * ld, 44), *want = noise(n * ld, 44);
        for (int64_t i = 0; i < n; i++)
            for (int32_t j = 0; j < columns; j++) {
                double sum = biased ? (double)bias[j] : 0;
                for (int32_t b = 0; b < blocks; b++) {
                    int32_t code = codes[(way & 1 ? index[i] : i) * stride + b];
                    sum += (double)table[(b * length + code) * FLIP_TABLE_COLUMNS + j];
                }
                want[i * ld + j] = (flip_real)(sum + (accumulate ? (double)want[i * ld + j] : 0));
            }
        CALL(list[t], sum_entries, n, blocks, length, codes, (size_t)stride, way & 1 ? index : NULL,
             table, biased ? bias : NULL, columns, out, ld, accumulate);
        near(list[t]->name, out, want, n * ld,
             1.2e-7 * (blocks + 3) * 2); /* and what lies between */
        RELEASE(out, want);
    }
    RELEASE(table, bias, codes, index);
}

static void entries(void **state) {
    (void)state;
    static const int32_t shapes[][3] = {{1, 1, 1},    {16, 256, 32}, {5, 37, 31},
                                        {3, 256, 16}, {7, 2, 17},    {40, 9, 15}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int way = 0; way < 8; way++)
            check_entries(shapes[s][0], shapes[s][1], shapes[s][2], way);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(sums_along),
                                       cmocka_unit_test(dither), cmocka_unit_test(entries)};
    check_begin(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
