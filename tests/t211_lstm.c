/* kernels: an LSTM in one pass (flip_lstm_kernels) against products and cells one after the other:
 * every step from the state that the pass itself left before it, exact and with operands rounded to
 * bfloat16, blocks apart and together; bit for bit whatever rows go with a row. */
#include "kernels_check.h"

enum { MOST_STEPS = 3, GAP = 5, SET_ROW = 2048 };

/* Columns of x and x2, 0 where one is absent. */
typedef struct lstm_case {
    int64_t m, steps, hidden, dim[2];
    bool first;       /* no state before */
    int bias;         /* 0 none, 1 one for all, 2 a row's own */
    bool rounded;     /* operands rounded to bfloat16 */
    int64_t even_row; /* rows of x that far apart; 0: a gap behind each */
} lstm_case;

typedef struct block {
    flip_lstm_block b;
    int64_t values;
} block;

/* A block [m, steps, n] with gaps between steps and rows. */
static block draw_block(int64_t m, int64_t steps, int64_t n, int64_t row, uint64_t seed) {
    block x = {.b = {NULL, row ? row : steps * (n + GAP) + 1, n + GAP}};
    x.values = m * x.b.row + 1;
    if (n > 0) x.b.at = noise(x.values, seed);
    return x;
}

static flip_real *at(const flip_lstm_block *b, int64_t i, int64_t t) {
    return b->at ? b->at + i * b->row + t * b->step : NULL;
}

/* [m, n] of step t, row behind row. */
static flip_real *gathered(const flip_lstm_block *b, int64_t m, int64_t t, int64_t n) {
    flip_real *x = get((size_t)(m * n + 1), sizeof *x);
    for (int64_t i = 0; b->at && i < m; i++)
        memcpy(x + i * n, at(b, i, t), (size_t)n * sizeof *x);
    return x;
}

/* What lies between the rows and steps is what was drawn. */
static void gaps_stay(const block *x, int64_t m, int64_t steps, int64_t n, uint64_t seed) {
    flip_real *drawn = noise(x->values, seed);
    for (int64_t i = 0; i < m; i++)
        for (int64_t t = 0; t < steps; t++)
            memcpy(drawn + i * x->b.row + t * x->b.step, at(&x->b, i, t),
                   (size_t)n * sizeof *drawn);
    assert_memory_equal(drawn, x->b.at, (size_t)x->values * sizeof *drawn);
    release(drawn);
}

/* ---- a case's memory ---- */

typedef struct lstm_world {
    const lstm_case *k;
    const flip_kernels *table;
    const flip_lstm_kernels *fused;
    block x[2], h_before, c_before, y, c;
    flip_real *weight, *bias, *packed, *back, *work, *gates;
    flip_lstm_rows rows;
} lstm_world;

enum { SEED_Y = 15, SEED_C = 16 };

/* Gates stand step by step. */
static flip_real *gates_of(const lstm_world *w, int64_t i, int64_t t) {
    return w->gates + (t * w->k->m + i) * 4 * w->k->hidden;
}

/* Wh^T, its rows apart, packed for the walk back. */
static void pack_back(lstm_world *w, int64_t first, int64_t h) {
    const int64_t width = 4 * h, row = h + GAP;
    flip_real *turned = noise(width * row, 19);
    for (int64_t l = 0; l < width; l++)
        for (int64_t j = 0; j < h; j++)
            turned[l * row + j] = w->weight[(first + j) * width + l];
    w->back = get((size_t)w->fused->packed_back_values(h), sizeof *w->back);
    w->fused->pack_back(h, turned, row, w->back);
    release(turned);
}

static lstm_world world_of(const lstm_case *k, const flip_kernels *table) {
    const int64_t m = k->m, h = k->hidden, columns = k->dim[0] + k->dim[1] + h;
    lstm_world w = {.k = k, .table = table, .fused = table->lstm[k->rounded]};
    for (int s = 0; s < 2; s++)
        w.x[s] = draw_block(m, k->steps, k->dim[s], k->dim[s] ? k->even_row : 0, 11 + (uint64_t)s);
    w.h_before = draw_block(m, 1, k->first ? 0 : h, 0, 13);
    w.c_before = draw_block(m, 1, k->first ? 0 : h, 0, 14);
    w.y = draw_block(m, k->steps, h, 0, SEED_Y);
    w.c = draw_block(m, k->steps, h, 0, SEED_C);
    w.weight = noise(columns * 4 * h, 17);
    w.bias = noise((k->bias == 2 ? m : 1) * 4 * h + 1, 18);
    w.packed = get((size_t)w.fused->packed_values(k->dim, h), sizeof *w.packed);
    w.work = get((size_t)w.fused->work_values(k->dim, h), sizeof *w.work);
    w.gates = get((size_t)(m * k->steps * 4 * h + 1), sizeof *w.gates);
    w.fused->pack(k->dim, h, w.weight, w.packed);
    pack_back(&w, columns - h, h);
    w.rows = (flip_lstm_rows){.m = m,
                              .steps = k->steps,
                              .hidden = h,
                              .dim = {k->dim[0], k->dim[1]},
                              .x = {w.x[0].b, w.x[1].b},
                              .packed = w.packed,
                              .bias = k->bias ? w.bias : NULL,
                              .bias_step = k->bias == 2 ? 4 * h : 0,
                              .h_before = w.h_before.b,
                              .c_before = w.c_before.b,
                              .y = w.y.b,
                              .c = w.c.b,
                              .gates = {w.gates, 4 * h, m * 4 * h},
                              .work = w.work};
    return w;
}

static void world_free(lstm_world *w) {
    flip_real *all[] = {w->x[0].b.at, w->x[1].b.at, w->h_before.b.at, w->c_before.b.at,
                        w->y.b.at,    w->c.b.at,    w->weight,        w->bias,
                        w->packed,    w->back,      w->work,          w->gates};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
}

/* ---- forward ---- */

/* gates (+)= operand weight, by the definition's product; `row` the weight's first. */
static void add_product(const lstm_world *w, flip_real *gates, const flip_lstm_block *b, int64_t t,
                        int64_t n, int64_t row) {
    const flip_kernels *plain = list[0];
    const int64_t m = w->k->m, width = 4 * w->k->hidden;
    const flip_epilogue e = {.accumulate = true};
    flip_real *operand = gathered(b, m, t, n);
    (w->k->rounded ? plain->gemm_nn_bf16 : plain->gemm_nn)(
        m, width, n, operand, n, w->weight + row * width, width, gates, width, &e);
    release(operand);
}

/* Step t by products and cells, from what the pass left of the step before. */
static void check_step(const lstm_world *w, int64_t t) {
    const lstm_case *k = w->k;
    const int64_t m = k->m, h = k->hidden, width = 4 * h;
    const flip_lstm_block *h_old = t > 0 ? &w->y.b : &w->h_before.b;
    const flip_lstm_block *c_old = t > 0 ? &w->c.b : &w->c_before.b;
    flip_real *gates = get((size_t)(m * width + 1), sizeof *gates);
    flip_real *got_gates = get((size_t)(m * width + 1), sizeof *gates);
    flip_real *c = get((size_t)(m * h + 1), sizeof *c), *y = get((size_t)(m * h + 1), sizeof *y);
    for (int64_t i = 0; i < m; i++) {
        if (k->bias)
            memcpy(gates + i * width, w->bias + i * w->rows.bias_step, (size_t)width * sizeof *c);
        memcpy(got_gates + i * width, gates_of(w, i, t), (size_t)width * sizeof *c);
    }
    add_product(w, gates, &w->x[0].b, t, k->dim[0], 0);
    add_product(w, gates, &w->x[1].b, t, k->dim[1], k->dim[0]);
    add_product(w, gates, h_old, t > 0 ? t - 1 : 0, h, k->dim[0] + k->dim[1]);
    flip_real *before = gathered(c_old, m, t > 0 ? t - 1 : 0, h);
    list[0]->lstm_forward(m, h, gates, before, h, c, y, h);
    flip_real *got_c = gathered(&w->c.b, m, t, h), *got_y = gathered(&w->y.b, m, t, h);
    const double bound = (20 + 2 * (double)(k->dim[0] + k->dim[1] + h)) * ROUNDING;
    near(w->table->name, got_gates, gates, m * width, bound);
    near(w->table->name, got_c, c, m * h, 2 * bound);
    near(w->table->name, got_y, y, m * h, 2 * bound);
    flip_real *all[] = {gates, got_gates, c, y, before, got_c, got_y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
}

/* Rows `first` … alone, gates row by row and past the caches, of the cells the last step's alone:
 * the same bits. */
static void check_alone(const lstm_world *w, int64_t first) {
    const lstm_case *k = w->k;
    const int64_t h = k->hidden, m = k->m - first;
    block y = draw_block(m, k->steps, h, 0, SEED_Y), c = draw_block(m, 1, h, 0, SEED_C);
    flip_real *gates = get((size_t)(m * k->steps * 4 * h + 1), sizeof *gates);
    flip_lstm_rows rows = w->rows;
    flip_lstm_block *moved[] = {&rows.x[0], &rows.x[1], &rows.h_before, &rows.c_before};
    for (int i = 0; i < 4; i++)
        moved[i]->at = at(moved[i], first, 0);
    if (rows.bias) rows.bias += first * rows.bias_step;
    rows.m = m;
    rows.y = y.b;
    rows.c = c.b;
    rows.c.step = 0;
    rows.gates = (flip_lstm_block){gates, k->steps * 4 * h, 4 * h};
    rows.stream = true;
    w->fused->forward(&rows);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t t = 0; t < k->steps; t++) {
            assert_memory_equal(at(&y.b, i, t), at(&w->y.b, first + i, t),
                                (size_t)h * sizeof *gates);
            assert_memory_equal(at(&rows.gates, i, t), gates_of(w, first + i, t),
                                (size_t)(4 * h) * sizeof *gates);
        }
        assert_memory_equal(at(&c.b, i, 0), at(&w->c.b, first + i, k->steps - 1),
                            (size_t)h * sizeof *gates);
    }
    gaps_stay(&c, m, 1, h, SEED_C);
    release(y.b.at);
    release(c.b.at);
    release(gates);
}

/* ---- backward ---- */

/* What step t's walk back leaves, and what was there before. */
typedef struct back_values {
    block d, dy;
    flip_real *dh, *dc, *sum;
} back_values;

static back_values draw_back(const lstm_case *k) {
    const int64_t m = k->m, h = k->hidden, width = 4 * h;
    return (back_values){draw_block(m, 1, width, k->even_row, 21), draw_block(m, 1, h, 0, 22),
                         noise(m * h + 1, 23), noise(m * h + 1, 24), noise(m * width + 1, 25)};
}

static void back_free(back_values *v) {
    flip_real *all[] = {v->d.b.at, v->dy.b.at, v->dh, v->dc, v->sum};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
}

static void walk_back(const lstm_world *w, int64_t t, back_values *v) {
    const lstm_case *k = w->k;
    const flip_lstm_block *c_old = t > 0 ? &w->c.b : &w->c_before.b;
    flip_lstm_cells cells = {.m = k->m,
                             .hidden = k->hidden,
                             .back = w->back,
                             .gates = w->rows.gates,
                             .dgates = v->d.b,
                             .c_before = *c_old,
                             .c = w->c.b,
                             .dy = v->dy.b,
                             .dh = v->dh,
                             .dc = v->dc,
                             .sum = k->bias == 2 ? v->sum : NULL,
                             .work = w->work};
    cells.gates.at = gates_of(w, 0, t);
    if (t > 0) cells.c_before.at = at(c_old, 0, t - 1);
    cells.c.at = at(&w->c.b, 0, t);
    w->fused->backward(&cells);
}

/* dh = dG Wh^T by the definition's product, of the dG that was left. */
static void check_product_back(const lstm_world *w, const flip_real *dgates, const flip_real *dh) {
    const int64_t m = w->k->m, h = w->k->hidden, width = 4 * h;
    const flip_real *weight = w->weight + (w->k->dim[0] + w->k->dim[1]) * width;
    flip_real *want = get((size_t)(m * h + 1), sizeof *want);
    (w->k->rounded ? list[0]->gemm_nt_bf16 : list[0]->gemm_nt)(m, h, width, dgates, width, weight,
                                                               width, want, h, NULL);
    near(w->table->name, dh, want, m * h, (20 + 2 * (double)width) * ROUNDING);
    release(want);
}

/* Step t back, of cells as the pass left them: the cells' own walk back, with the sum of both
 * gradients of h, and the product. */
static void check_back(const lstm_world *w, int64_t t) {
    const lstm_case *k = w->k;
    const int64_t m = k->m, h = k->hidden, width = 4 * h, all = m * k->steps * width;
    const flip_lstm_block *c_old = t > 0 ? &w->c.b : &w->c_before.b;
    back_values v = draw_back(k), was = draw_back(k);
    flip_real *kept = copy_of(w->gates, all), *before = gathered(c_old, m, t > 0 ? t - 1 : 0, h);
    flip_real *c = gathered(&w->c.b, m, t, h), *slope = gathered(&v.dy.b, m, 0, h);
    flip_real *want = copy_of(kept + t * m * width, m * width);
    walk_back(w, t, &v);
    for (int64_t i = 0; i < m * h; i++)
        slope[i] += was.dh[i];
    list[0]->lstm_backward(m, h, want, before, h, c, h, slope, h, was.dc);
    flip_real *got = gathered(&v.d.b, m, 0, width);
    near(w->table->name, got, want, m * width, 80 * ROUNDING);
    near(w->table->name, v.dc, was.dc, m * h, 80 * ROUNDING);
    for (int64_t i = 0; i < m * width; i++)
        was.sum[i] += k->bias == 2 ? want[i] : 0;
    near(w->table->name, v.sum, was.sum, m * width, 80 * ROUNDING);
    check_product_back(w, got, v.dh);
    assert_memory_equal(kept, w->gates, (size_t)all * sizeof *kept);
    gaps_stay(&v.d, m, 1, width, 21);
    back_free(&v);
    back_free(&was);
    flip_real *held[] = {kept, before, c, slope, want, got};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        release(held[i]);
}

/* ---- cases ---- */

static void check_case(lstm_case k) {
    for (int t = 0; t < n_tables; t++)
        for (int rounded = 0; rounded < 2; rounded++) {
            k.rounded = rounded;
            if (!list[t]->lstm[rounded]) continue;
            lstm_world w = world_of(&k, list[t]);
            w.fused->forward(&w.rows);
            for (int64_t step = 0; step < k.steps; step++) {
                check_step(&w, step);
                check_back(&w, step);
            }
            gaps_stay(&w.y, k.m, k.steps, k.hidden, SEED_Y);
            gaps_stay(&w.c, k.m, k.steps, k.hidden, SEED_C);
            for (int64_t first = 0; first < 8 && first < k.m; first += 7)
                check_alone(&w, first);
            world_free(&w);
        }
}

/* Every table of vectors has both; another, and all of the double build, has none. */
static bool is_vector(const flip_kernels *table) {
    return strncmp(table->name, "avx", 3) == 0;
}

static bool any_vector(void) {
    for (int t = 0; t < n_tables; t++)
        if (is_vector(list[t])) return true;
    return false;
}

static void vector_tables_have_it(void **state) {
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (int rounded = 0; rounded < 2; rounded++)
            if (!list[t]->lstm[rounded] == is_vector(list[t]))
                fail_msg("%s: lstm[%d] is %s", list[t]->name, rounded,
                         list[t]->lstm[rounded] ? "set" : "not set");
}

static void steps_in_one_pass(void **state) {
    (void)state;
    static const int64_t hidden[] = {1, 7, 16, 17, 32, 40}, dims[][2] = {{5, 0}, {0, 9}, {33, 4}};
    static const int64_t rows[] = {1, 5, 24, 61};
    for (int h = 0; h < 6; h++)
        for (int d = 0; d < 3; d++)
            for (int m = 0; m < 4; m++)
                check_case((lstm_case){.m = rows[m],
                                       .steps = 1 + (h + m) % MOST_STEPS,
                                       .hidden = hidden[h],
                                       .dim = {dims[d][0], dims[d][1]},
                                       .first = (h + d + m) % 2,
                                       .bias = (h + m) % 3});
}

/* Rows of x at the distance at which they share cache sets are copied together first. */
static void rows_that_share_sets(void **state) {
    (void)state;
    for (int64_t m = 30; m <= 31; m++)
        check_case((lstm_case){
            .m = m, .steps = 2, .hidden = 24, .dim = {19, 3}, .bias = 1, .even_row = SET_ROW});
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    if (!any_vector()) {
        printf("1..0 # SKIP no table here has an LSTM in one pass\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_tables_have_it),
        cmocka_unit_test(steps_in_one_pass),
        cmocka_unit_test(rows_that_share_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
