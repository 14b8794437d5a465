/* Kernels over the entries of rows: every table against the definition, and twice with the same
 * bits. */
#include "outputs.h"

enum { ROWS = 60, OWN = ROWS, HALO = 13, COLUMNS = OWN + HALO };

typedef struct edge_case {
    int32_t steps, heads, d;
    bool dynamic, accumulate;
    double dropout;
} edge_case;

typedef struct graph {
    flip_csr a, at;
    int64_t *place;
} graph;

static flip_csr matrix(int32_t n_rows, int32_t n_cols, const int64_t *ptr, const int32_t *col) {
    return (flip_csr){.n_rows = n_rows,
                      .n_cols = n_cols,
                      .n_own = OWN,
                      .n_steps = 1,
                      .n_entries = ptr[n_rows],
                      .n_values = ptr[n_rows],
                      .row_ptr = ptr,
                      .col = col};
}

static int64_t degree_of(int64_t v) {
    return v % 5 == 0 ? 0 : v == 3 ? 180 : (int64_t)chance(41, 1, (uint64_t)v, 14);
}

/* Rows without entries, one of many, doubled entries; columns ascend. */
static void draw_rows(graph *g) {
    int64_t *ptr = get(ROWS + 1, sizeof *ptr), n = 0;
    for (int64_t v = 0; v < ROWS; v++)
        ptr[v + 1] = n += degree_of(v);
    int32_t *col = get((size_t)n + 1, sizeof *col);
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            int32_t c = (int32_t)chance(42, 2, (uint64_t)e, COLUMNS);
            int64_t at = e;
            for (; at > ptr[v] && col[at - 1] > c; at--)
                col[at] = col[at - 1];
            col[at] = c;
        }
    g->a = matrix(ROWS, COLUMNS, ptr, col);
}

/* One or two lives an entry. */
static void draw_lives(graph *g, int32_t steps) {
    int64_t n = g->a.n_entries, runs = 0, values = 0;
    uint32_t *run_ptr = get((size_t)n + 1, sizeof *run_ptr);
    uint32_t *value_ptr = get((size_t)(2 * n) + 1, sizeof *value_ptr);
    int32_t *first = get((size_t)(2 * n) + 1, sizeof *first);
    for (int64_t e = 0; e < n; e++) {
        int32_t begin = (int32_t)chance(43, 3, (uint64_t)e, (uint64_t)steps);
        for (int life = 0; life < 2 && begin < steps; life++) {
            int32_t length =
                1 + (int32_t)chance(44, 4, (uint64_t)(2 * e + life), (uint64_t)(steps - begin));
            first[runs] = begin;
            value_ptr[++runs] = (uint32_t)(values += length);
            begin += length + 1;
        }
        run_ptr[e + 1] = (uint32_t)runs;
    }
    g->a.n_steps = steps;
    g->a.n_values = values;
    g->a.run_ptr = run_ptr;
    g->a.run_first = first;
    g->a.value_ptr = value_ptr;
}

static void turn_rows(graph *g) {
    int64_t n = g->a.n_entries, *ptr = get(COLUMNS + 2, sizeof *ptr);
    int32_t *col = get((size_t)n + 1, sizeof *col);
    g->place = get((size_t)n + 1, sizeof *g->place);
    for (int64_t e = 0; e < n; e++)
        ptr[g->a.col[e] + 2]++;
    for (int64_t u = 0; u < COLUMNS; u++)
        ptr[u + 2] += ptr[u + 1];
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t e = g->a.row_ptr[v]; e < g->a.row_ptr[v + 1]; e++) {
            g->place[e] = ptr[g->a.col[e] + 1]++;
            col[g->place[e]] = (int32_t)v;
        }
    g->at = matrix(COLUMNS, ROWS, ptr, col); /* all ROWS are own */
}

static graph draw_graph(const edge_case *c) {
    graph g;
    draw_rows(&g);
    turn_rows(&g);
    if (c->dynamic) draw_lives(&g, c->steps);
    return g;
}

static void free_graph(graph *g) {
    RELEASE((void *)g->a.row_ptr, (void *)g->a.col, (void *)g->a.run_ptr, (void *)g->a.run_first,
            (void *)g->a.value_ptr, (void *)g->at.row_ptr, (void *)g->at.col, g->place);
}

static flip_heads heads_of(const edge_case *c) {
    int64_t *key = get((size_t)(ROWS * c->steps), sizeof *key);
    for (int64_t i = 0; i < (int64_t)ROWS * c->steps; i++)
        key[i] = i * 7 + 1;
    return (flip_heads){.steps = c->steps,
                        .heads = c->heads,
                        .d = c->d,
                        .dropout = c->dropout,
                        .seed = 51,
                        .draw = 52,
                        .key = key,
                        .count = get((size_t)(ROWS * c->steps), sizeof(int32_t))};
}

static void run_attention(const flip_kernels *table, const void *of, outputs *out) {
    const edge_case *c = of;
    graph g = draw_graph(c);
    flip_heads h = heads_of(c);
    int64_t scores = (int64_t)c->steps * c->heads, width = scores * c->d, e = g.a.n_entries;
    int64_t vector = (int64_t)c->heads * c->d;
    flip_real *x = noise(OWN * width, 61), *halo = noise(HALO * width, 62);
    flip_real *a_src = noise(vector, 63), *a_dst = noise(vector, 64), *dy = noise(ROWS * width, 65);
    flip_real *src = get((size_t)(COLUMNS * scores), sizeof *src), *y = noise(ROWS * width, 66);
    flip_real *dst = get((size_t)(ROWS * scores), sizeof *dst), *alpha = noise(e * scores, 67);
    flip_real *room = get((size_t)(2 * ROWS * scores), sizeof *room);
    flip_real *ds_t = noise(e * scores, 68), *alpha_t = noise(e * scores, 69);
    flip_real *dst_sum = noise(ROWS * scores, 70), *src_sum = noise(COLUMNS * scores, 71);
    flip_real *dx = noise(COLUMNS * width, 72);
    double *vectors = noise_double(vector, 73);
    double *parts = get(flip_room(ROWS, vector) + 1, sizeof *parts);
    CALL(table, head_dots, OWN * scores, c->heads, c->d, a_src, x, src);
    CALL(table, head_dots, HALO * scores, c->heads, c->d, a_src, halo, src + OWN * scores);
    CALL(table, head_dots, ROWS * scores, c->heads, c->d, a_dst, x, dst);
    keep(out, "src", src, COLUMNS * scores);
    CALL(table, attention, &g.a, &h, src, dst, x, halo, alpha, y, room);
    keep(out, "alpha", alpha, e * scores);
    keep(out, "y", y, ROWS * width);
    CALL(table, attention_back, &g.a, &h, src, dst, x, halo, alpha, dy, g.place, ds_t, alpha_t,
         dst_sum, room);
    keep(out, "ds", ds_t, e * scores);
    keep(out, "alpha transposed", alpha_t, e * scores);
    keep(out, "dst_sum", dst_sum, ROWS * scores);
    CALL(table, attention_pull, &g.at, &h, dy, ds_t, alpha_t, a_src, src_sum, a_dst, dst_sum,
         ROWS - 4, dx, c->accumulate);
    keep(out, "src_sum", src_sum, COLUMNS * scores);
    keep(out, "dx", dx, COLUMNS * width);
    CALL(table, head_gradients, ROWS, c->steps, c->heads, c->d, dst_sum, x, vectors, parts);
    keep_double(out, "da_dst", vectors, vector);
    free_graph(&g);
    RELEASE((void *)h.key, h.count, x, halo, a_src, a_dst, dy, src, y, dst, alpha, room, ds_t,
            alpha_t, dst_sum, src_sum, dx, vectors, parts);
}

/* The weights of a row sum to one at a step and head that has an entry, and what dropout keeps of
 * them is what flip_dropout_keep says. */
static void weights_of_rows(const edge_case *c) {
    outputs out = {0};
    graph g = draw_graph(c);
    run_attention(list[0], c, &out);
    const double *alpha = out.value[1], *kept = out.value[4];
    int64_t scores = (int64_t)c->steps * c->heads;
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t i = 0; i < scores; i++) {
            double sum = 0;
            int64_t t = i / c->heads, alive = 0;
            for (int64_t e = g.a.row_ptr[v]; e < g.a.row_ptr[v + 1]; e++) {
                double weight = alpha[e * scores + i], left = kept[g.place[e] * scores + i];
                bool keeps = c->dropout == 0 ||
                             flip_dropout_keep(51, 52, (v * c->steps + t) * 7 + 1, FLIP_WEIGHT_KEYS,
                                               alive * c->heads + i % c->heads, c->dropout);
                double want = keeps ? weight / (1 - c->dropout) : 0;
                if (fabs(left - want) > 8 * ROUNDING)
                    fail_msg("row %lld, score %lld: %.9g is kept, expected %.9g", (long long)v,
                             (long long)i, left, want);
                sum += weight;
                alive += weight > 0;
            }
            assert_true(alive == 0 ? sum == 0 : fabs(sum - 1) < 200 * ROUNDING);
            if (!c->dynamic) assert_true(alive == g.a.row_ptr[v + 1] - g.a.row_ptr[v]);
        }
    free_graph(&g);
    free_outputs(&out);
}

static void attends(void **state) {
    (void)state;
    static const edge_case cases[] = {
        {1, 1, 1, false, false, 0},  {1, 1, 64, false, true, 0.4},  {1, 8, 8, false, false, 0.6},
        {1, 3, 7, false, true, 0.5}, {3, 2, 5, false, false, 0},    {4, 2, 16, true, true, 0.3},
        {5, 8, 3, true, false, 0.5}, {2, 40, 2, true, false, 0.25}, {1, 2, 50, false, false, 0.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        every_table(run_attention, &cases[i], NULL); /* t500 has plain loops and differences */
        weights_of_rows(&cases[i]);
    }
}

static void run_pool(const flip_kernels *table, const void *of, outputs *out) {
    const edge_case *c = of;
    graph g = draw_graph(c);
    int32_t dim = c->heads * c->d;
    int64_t width = (int64_t)c->steps * dim, e = g.a.n_entries;
    flip_real *x = noise(OWN * width, 81), *halo = noise(HALO * width, 82);
    flip_real *y = noise(ROWS * width, 83), *dy = noise(ROWS * width, 84);
    flip_real *dx = noise(COLUMNS * width, 85), *dw = noise(e, 86), *w = noise(e, 87);
    flip_real *turned = get((size_t)e, sizeof *turned), *mean = noise(OWN * c->steps * c->d, 88);
    int32_t *from = get((size_t)(ROWS * width), sizeof *from), *rows = get(ROWS, sizeof *rows);
    for (int32_t v = 0; v < ROWS; v++)
        rows[v] = (v * 7 + 5) % ROWS;
    for (int64_t i = 0; i < OWN * width; i++) /* some attain the maximum together */
        x[i] = (flip_real)(round((double)x[i] * 8) / 8);
    CALL(table, max_pool, &g.a, rows, 20, c->steps, dim, y, from, x, halo);
    CALL(table, max_pool, &g.a, rows + 20, ROWS - 20, c->steps, dim, y, from, x, halo);
    keep(out, "max", y, ROWS * width);
    double *who = add_output(out, "from", ROWS * width);
    for (int64_t i = 0; i < ROWS * width; i++)
        who[i] = from[i];
    CALL(table, max_pool_back, &g.at, 0, width, dy, from, dx, c->accumulate);
    keep(out, "dx", dx, COLUMNS * width);
    CALL(table, entry_dots, &g.a, width, dy, x, halo, dw, c->accumulate);
    keep(out, "dw", dw, e);
    CALL(table, place_values, e, g.place, w, turned);
    keep(out, "placed", turned, e);
    CALL(table, head_mean, (int64_t)OWN * c->steps, c->heads, c->d, x, mean);
    keep(out, "mean", mean, (int64_t)OWN * c->steps * c->d);
    CALL(table, head_mean_back, (int64_t)OWN * c->steps, c->heads, c->d, mean, dx, c->accumulate);
    keep(out, "mean back", dx, OWN * width);
    free_graph(&g);
    RELEASE(x, halo, y, dy, dx, dw, w, turned, mean, from, rows);
}

static void pools(void **state) {
    (void)state;
    static const edge_case cases[] = {{1, 1, 1, false, false, 0},
                                      {1, 1, 33, false, true, 0},
                                      {3, 2, 20, false, false, 0},
                                      {4, 3, 3, true, true, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        every_table(run_pool, &cases[i], NULL); /* t500 has plain loops */
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attends),
        cmocka_unit_test(pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
