/* Adjacencies against dense matrices computed plainly from the definition, on 1-4 ranks. */
#include "ranks.h"

#include <flipbook/graph.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static flip_comm *comm;
static int rank, size;

/* ---- a random dynamic graph that every rank knows whole ---- */

typedef struct whole {
    int32_t n, steps;
    int64_t events;
    flip_gid *dst, *src;
    int32_t *step;
    double *weight;
    int64_t *original;  /* [n] a permutation */
    flip_gid first[65]; /* [size + 1] */
} whole;

static uint64_t draw(uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(7, FLIP_STREAM_TEST, what, i, below);
}

static void split_nodes(whole *g) {
    for (int r = 0; r <= size; r++) /* uneven, and rank 1 of 3 or more is empty */
        g->first[r] = (flip_gid)g->n * r * r / ((flip_gid)size * size);
    if (size >= 3) g->first[2] = g->first[1];
    g->first[size] = g->n;
}

static whole make_whole(int32_t n, int64_t events, int32_t steps, bool weighted) {
    whole g = {.n = n, .events = events, .steps = steps};
    size_t e = (size_t)events;
    g.dst = calloc(e + 1, sizeof *g.dst);
    g.src = calloc(e + 1, sizeof *g.src);
    g.step = calloc(e + 1, sizeof *g.step);
    g.weight = weighted ? calloc(e + 1, sizeof *g.weight) : NULL;
    g.original = calloc((size_t)n + 1, sizeof *g.original);
    for (int64_t i = 0; i < events; i++) {
        uint64_t k = (uint64_t)i;
        g.dst[i] = (flip_gid)draw(1, k, (uint64_t)n - 1) + (draw(2, k, 5) == 0); /* n-1 is rare */
        g.src[i] = draw(3, k, 9) == 0 ? g.dst[i] : (flip_gid)draw(4, k, (uint64_t)n);
        g.step[i] = steps == 1 ? 0 : (int32_t)draw(5, k, (uint64_t)steps);
        if (i > 0 && draw(6, k, 6) == 0) { /* doubled */
            g.dst[i] = g.dst[i - 1];
            g.src[i] = g.src[i - 1];
            if (draw(7, k, 2)) g.step[i] = g.step[i - 1];
        }
        if (weighted) g.weight[i] = 0.25 + flip_random_uniform(7, FLIP_STREAM_TEST, 8, k);
    }
    for (int32_t v = 0; v < n; v++)
        g.original[v] = v;
    for (int32_t v = n - 1; v > 0; v--) {
        int32_t u = (int32_t)draw(9, (uint64_t)v, (uint64_t)v + 1);
        int64_t swap = g.original[v];
        g.original[v] = g.original[u];
        g.original[u] = swap;
    }
    split_nodes(&g);
    return g;
}

static void free_whole(whole *g) {
    free(g->dst);
    free(g->src);
    free(g->step);
    free(g->weight);
    free(g->original);
}

/* This rank's events, last one first: the order given must not matter to rows. */
typedef struct mine {
    flip_events events;
    flip_gid *dst, *src;
    int32_t *step;
    double *weight;
} mine;

static mine take_mine(const whole *g) {
    size_t e = (size_t)g->events + 1;
    mine m = {.dst = calloc(e, 8), .src = calloc(e, 8), .step = calloc(e, 4)};
    m.weight = g->weight ? calloc(e, 8) : NULL;
    int64_t n = 0;
    for (int64_t i = g->events - 1; i >= 0; i--) {
        if (g->dst[i] < g->first[rank] || g->dst[i] >= g->first[rank + 1]) continue;
        m.dst[n] = g->dst[i];
        m.src[n] = g->src[i];
        m.step[n] = g->step[i];
        if (g->weight) m.weight[n] = g->weight[i];
        n++;
    }
    m.events = (flip_events){.n = n,
                             .dst = m.dst,
                             .src = m.src,
                             .step = g->steps == 1 ? NULL : m.step,
                             .weight = m.weight};
    return m;
}

static void free_mine(mine *m) {
    free(m->dst);
    free(m->src);
    free(m->step);
    free(m->weight);
}

/* ---- the definition, dense ---- */

/* A_t [n, n] of one snapshot before normalisation. */
static void snapshot(const whole *g, const flip_adjacency_params *p, int32_t t, double *a) {
    bool weighted = p->kind == FLIP_ADJACENCY_WSUM || p->kind == FLIP_ADJACENCY_WMEAN ||
                    p->kind == FLIP_ADJACENCY_GCN || p->kind == FLIP_ADJACENCY_GCN_INOUT;
    int32_t life = p->edge_life > 0 ? p->edge_life : 1;
    memset(a, 0, (size_t)g->n * (size_t)g->n * sizeof *a);
    for (int64_t i = 0; i < g->events; i++)
        if (g->step[i] <= t && g->step[i] > t - life)
            a[g->dst[i] * g->n + g->src[i]] += weighted && g->weight ? g->weight[i] : 1;
}

static void normalise(const whole *g, flip_adjacency_kind kind, bool without_loops, double *a) {
    int32_t n = g->n;
    double *row = calloc((size_t)n, 8), *column = calloc((size_t)n, 8);
    bool gcn = kind == FLIP_ADJACENCY_GCN || kind == FLIP_ADJACENCY_GCN_INOUT;
    for (int32_t v = 0; v < n; v++) {
        if (gcn) a[v * n + v] += 1;
        if (kind == FLIP_ADJACENCY_ATTENTION && !without_loops && a[v * n + v] == 0)
            a[v * n + v] = 1;
    }
    for (int32_t v = 0; v < n; v++)
        for (int32_t u = 0; u < n; u++) {
            row[v] += a[v * n + u];
            column[u] += a[v * n + u];
        }
    for (int32_t v = 0; v < n; v++)
        for (int32_t u = 0; u < n; u++) {
            double *x = &a[v * n + u];
            if (kind == FLIP_ADJACENCY_MEAN || kind == FLIP_ADJACENCY_WMEAN)
                *x = row[v] != 0 ? *x / row[v] : 0;
            if (kind == FLIP_ADJACENCY_GCN) *x /= sqrt(row[v] * row[u]);
            if (kind == FLIP_ADJACENCY_GCN_INOUT) *x /= sqrt(row[v] * column[u]);
            if (kind == FLIP_ADJACENCY_PATTERN) *x = *x != 0;
        }
    free(row);
    free(column);
}

/* [steps, n, n] */
static double *dense_adjacency(const whole *g, const flip_adjacency_params *p) {
    size_t nn = (size_t)g->n * (size_t)g->n;
    double *all = calloc(nn * (size_t)g->steps, 8), *out = calloc(nn * (size_t)g->steps, 8);
    for (int32_t t = 0; t < g->steps; t++) {
        snapshot(g, p, t, all + (size_t)t * nn);
        normalise(g, p->kind, p->without_loops, all + (size_t)t * nn);
    }
    int32_t b = p->window > 0 ? p->window : 1;
    for (int32_t t = 0; t < g->steps; t++)
        for (int32_t k = t - b + 1 > 0 ? t - b + 1 : 0; k <= t; k++)
            for (size_t i = 0; i < nn; i++)
                out[(size_t)t * nn + i] += all[(size_t)k * nn + i] / (b < t + 1 ? b : t + 1);
    free(all);
    return out;
}

/* ---- reading a flip_csr back ---- */

/* out [steps, n_rows, n_cols] += entries */
static double *expand(const flip_csr *a) {
    size_t rows = (size_t)a->n_rows, cols = (size_t)a->n_cols;
    double *out = calloc(rows * cols * (size_t)a->n_steps + 1, 8);
    for (int32_t v = 0; v < a->n_rows; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            size_t at = (size_t)v * cols + (size_t)a->col[e];
            CHECK(a->col[e] >= 0 && a->col[e] < a->n_cols, "column %d of %d", a->col[e], a->n_cols);
            if (a->n_steps == 1) {
                double x = a->value ? a->value[e] : 1;
                if (a->row_scale) x *= a->row_scale[v];
                if (a->col_scale) x *= a->col_scale[a->col[e]];
                out[at] += x;
                continue;
            }
            CHECK(a->run_ptr[e + 1] > a->run_ptr[e], "an entry without a run");
            for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++) {
                int32_t n = (int32_t)(a->value_ptr[r + 1] - a->value_ptr[r]);
                CHECK(n > 0 && a->run_first[r] >= 0 && a->run_first[r] + n <= a->n_steps,
                      "run of %d from %d", n, a->run_first[r]);
                CHECK(r == a->run_ptr[e] ||
                          a->run_first[r] > a->run_first[r - 1] +
                                                (int32_t)(a->value_ptr[r] - a->value_ptr[r - 1]),
                      "runs of an entry touch or are out of order");
                for (int32_t i = 0; i < n; i++)
                    out[(size_t)(a->run_first[r] + i) * rows * cols + at] +=
                        a->value ? a->value[a->value_ptr[r] + i] : 1;
            }
        }
    return out;
}

static flip_gid global_column(const flip_adjacency *a, const whole *g, int32_t column) {
    return column < a->n_own ? g->first[rank] + column : a->halo[column - a->n_own];
}

static double tolerance(void) {
    return sizeof(flip_real) == 4 ? 3e-6 : 1e-12;
}

static void check_values(const flip_adjacency *a, const whole *g, const flip_adjacency_params *p) {
    double *want = dense_adjacency(g, p), *got = expand(&a->a);
    size_t nn = (size_t)g->n * (size_t)g->n;
    for (int32_t t = 0; t < g->steps; t++)
        for (int32_t v = 0; v < a->n_own; v++) {
            double *row = calloc((size_t)g->n, 8);
            for (int32_t c = 0; c < a->a.n_cols; c++)
                row[global_column(a, g, c)] =
                    got[((size_t)t * (size_t)a->n_own + (size_t)v) * (size_t)a->a.n_cols +
                        (size_t)c];
            for (int32_t u = 0; u < g->n; u++) {
                double x =
                    want[(size_t)t * nn + (size_t)(g->first[rank] + v) * (size_t)g->n + (size_t)u];
                CHECK(fabs(row[u] - x) <= tolerance() * (1 + fabs(x)),
                      "kind %d life %d window %d step %d: A[%lld,%d] is %.9g, want %.9g", p->kind,
                      p->edge_life, p->window, t, (long long)(g->first[rank] + v), u, row[u], x);
            }
            free(row);
        }
    free(want);
    free(got);
}

static void check_order(const flip_adjacency *a, const whole *g, bool repeats) {
    for (int32_t i = 1; i < a->n_halo; i++)
        CHECK(a->halo[i - 1] < a->halo[i], "halo ids are not ascending");
    for (int32_t v = 0; v < a->n_own; v++)
        for (int64_t e = a->a.row_ptr[v] + 1; e < a->a.row_ptr[v + 1]; e++) {
            int64_t x = g->original[global_column(a, g, a->a.col[e - 1])];
            int64_t y = g->original[global_column(a, g, a->a.col[e])];
            CHECK(x < y || (repeats && x == y), "row %d: %lld before %lld", v, (long long)x,
                  (long long)y);
        }
    for (int32_t u = 0; u < a->at.n_rows; u++)
        for (int64_t e = a->at.row_ptr[u] + 1; e < a->at.row_ptr[u + 1]; e++) {
            int64_t x = g->original[g->first[rank] + a->at.col[e - 1]];
            int64_t y = g->original[g->first[rank] + a->at.col[e]];
            CHECK(x < y || (repeats && x == y), "transposed row %d: %lld before %lld", u,
                  (long long)x, (long long)y);
        }
    bool *seen = calloc((size_t)a->n_own + 1, 1);
    for (int32_t i = 0; i < a->n_own; i++) {
        int32_t v = a->row_order[i];
        bool halo = false;
        CHECK(v >= 0 && v < a->n_own && !seen[v], "row %d twice", v);
        seen[v] = true;
        for (int64_t e = a->a.row_ptr[v]; e < a->a.row_ptr[v + 1]; e++)
            halo = halo || a->a.col[e] >= a->n_own;
        CHECK(halo == (i >= a->n_interior), "row %d at place %d of %d interior", v, i,
              a->n_interior);
    }
    free(seen);
}

static void check_transpose(const flip_adjacency *a, bool mapped) {
    size_t rows = (size_t)a->n_own, cols = (size_t)a->a.n_cols;
    double *x = expand(&a->a), *y = expand(&a->at);
    CHECK(a->at.n_rows == a->a.n_cols && a->at.n_cols == a->a.n_rows &&
              a->at.n_entries == a->a.n_entries && a->at.n_values == a->a.n_values,
          "shape of the transpose");
    for (size_t t = 0; t < (size_t)a->a.n_steps; t++)
        for (size_t v = 0; v < rows; v++)
            for (size_t u = 0; u < cols; u++)
                CHECK(fabs(x[(t * rows + v) * cols + u] - y[(t * cols + u) * rows + v]) <= 1e-7,
                      "transposed [%zu,%zu] at %zu", u, v, t);
    free(x);
    free(y);
    CHECK(mapped == (a->to_transposed != NULL), "map of entries");
    for (int32_t v = 0; mapped && v < a->n_own; v++)
        for (int64_t e = a->a.row_ptr[v]; e < a->a.row_ptr[v + 1]; e++) {
            int64_t p = a->to_transposed[e];
            int32_t u = a->a.col[e];
            CHECK(p >= a->at.row_ptr[u] && p < a->at.row_ptr[u + 1] && a->at.col[p] == v,
                  "entry %lld maps to %lld", (long long)e, (long long)p);
            if (a->a.run_ptr)
                CHECK(a->a.run_first[a->a.run_ptr[e]] == a->at.run_first[a->at.run_ptr[p]],
                      "runs of entry %lld", (long long)e);
        }
}

static flip_adjacency *create(const whole *g, const flip_adjacency_params *p) {
    mine m = take_mine(g);
    flip_adjacency *a;
    CHECK_OK(flip_adjacency_create(&a, comm, g->first, g->original + g->first[rank], &m.events, p));
    free_mine(&m);
    return a;
}

static void check_adjacency(const whole *g, const flip_adjacency_params *p) {
    flip_adjacency *a = create(g, p);
    bool bare = p->kind == FLIP_ADJACENCY_PATTERN || p->kind == FLIP_ADJACENCY_ATTENTION;
    CHECK((a->plan == NULL) == (size == 1) && a->n_halo == a->a.n_cols - a->n_own, "plan");
    check_values(a, g, p);
    check_order(a, g, p->kind == FLIP_ADJACENCY_ATTENTION);
    check_transpose(a, bare);
    if (size == 1) assert_int_equal(a->n_interior, a->n_own);
    flip_adjacency_destroy(&a);
    assert_null(a);
}

static void test_static(void **state) {
    (void)state;
    for (int weighted = 0; weighted < 2; weighted++)
        for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++) {
            whole g = make_whole(41, 230, 1, weighted);
            flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind, .n_steps = 1};
            check_adjacency(&g, &p);
            if (kind == FLIP_ADJACENCY_ATTENTION) {
                p.without_loops = true;
                check_adjacency(&g, &p);
            }
            free_whole(&g);
        }
}

static void test_dynamic(void **state) {
    (void)state;
    static const int lives[] = {1, 2, 3, 5, 100}, windows[] = {0, 2, 3, 4, 50};
    for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++)
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < 5; j++) {
                flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind,
                                           .n_steps = 9,
                                           .edge_life = lives[i],
                                           .window = windows[j]};
                if (kind >= FLIP_ADJACENCY_PATTERN ? j > 0 : (i + j + kind) % 3 > 0) continue;
                whole g = make_whole(23, 150, 9, (i + j) % 2 == 0);
                check_adjacency(&g, &p);
                p.without_loops = true;
                if (kind == FLIP_ADJACENCY_ATTENTION) check_adjacency(&g, &p);
                free_whole(&g);
            }
}

/* Values alive in steps first … first + n - 1. */
static int64_t count_values(const flip_csr *a, int32_t first, int32_t n) {
    int64_t count = 0;
    for (int64_t r = 0; r < a->run_ptr[a->n_entries]; r++)
        for (int64_t i = a->value_ptr[r]; i < a->value_ptr[r + 1]; i++) {
            int32_t t = a->run_first[r] + (int32_t)(i - a->value_ptr[r]);
            count += t >= first && t < first + n;
        }
    return count;
}

/* Steps first … of a timeline are the very bits of the timeline's adjacency. */
static void check_cut(const whole *g, const flip_adjacency *all, flip_adjacency_params p) {
    flip_adjacency *a = create(g, &p);
    double *want = expand(&all->a), *got = expand(&a->a);
    for (int32_t t = 0; t < p.n_steps; t++)
        for (int32_t v = 0; v < a->n_own; v++) {
            double *row = calloc((size_t)g->n, 8);
            const size_t one = (size_t)t * (size_t)a->n_own + (size_t)v,
                         other = (size_t)(t + p.first_step) * (size_t)a->n_own + (size_t)v;
            for (int32_t c = 0; c < a->a.n_cols; c++)
                row[global_column(a, g, c)] = got[one * (size_t)a->a.n_cols + (size_t)c];
            for (int32_t c = 0; c < all->a.n_cols; c++) {
                double x = want[other * (size_t)all->a.n_cols + (size_t)c];
                CHECK(x == row[global_column(all, g, c)],
                      "kind %d life %d window %d, step %d of %d from %d: %.17g, whole %.17g",
                      p.kind, p.edge_life, p.window, t, p.n_steps, p.first_step,
                      row[global_column(all, g, c)], x);
            }
            free(row);
        }
    int64_t n = count_values(&all->a, p.first_step, p.n_steps);
    CHECK(n == a->a.n_values, "%lld values, the whole has %lld", (long long)a->a.n_values,
          (long long)n);
    check_order(a, g, p.kind == FLIP_ADJACENCY_ATTENTION);
    free(want);
    free(got);
    flip_adjacency_destroy(&a);
}

static void test_cuts(void **state) {
    (void)state;
    static const int32_t lives[] = {1, 3, 5, 100}, windows[] = {0, 2, 4};
    static const int32_t cuts[][2] = {{0, 4}, {0, 1}, {3, 5}, {6, 1}, {8, 3}, {10, 1}};
    for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++)
        for (int i = 0; i < 12; i++) {
            flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind,
                                       .n_steps = 11,
                                       .edge_life = lives[i / 3],
                                       .window = windows[i % 3]};
            if (kind >= FLIP_ADJACENCY_PATTERN && i % 3 > 0) continue;
            whole g = make_whole(17, 130, 11, i % 2 == 0);
            flip_adjacency *all = create(&g, &p);
            for (int k = 0; k < 6; k++) {
                p.first_step = cuts[k][0];
                p.n_steps = cuts[k][1];
                check_cut(&g, all, p);
            }
            flip_adjacency_destroy(&all);
            free_whole(&g);
        }
}

/* No events: Ahat = I, sums are empty, attention is a self-loop. */
static void test_empty(void **state) {
    (void)state;
    for (int steps = 1; steps <= 4; steps += 3)
        for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++) {
            whole g = make_whole(5, 0, steps, false);
            flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind, .n_steps = steps};
            check_adjacency(&g, &p);
            free_whole(&g);
        }
}

/* An undirected graph on one rank is its own transpose: the arrays are the same. */
static void test_shared(void **state) {
    (void)state;
    for (int steps = 1; steps <= 4; steps += 3) {
        whole g = make_whole(31, 120, steps, false), h = make_whole(31, 240, steps, false);
        for (int64_t i = 0; i < g.events; i++) {
            h.dst[2 * i] = h.src[2 * i + 1] = g.dst[i];
            h.src[2 * i] = h.dst[2 * i + 1] = g.src[i];
            h.step[2 * i] = h.step[2 * i + 1] = g.step[i];
        }
        flip_adjacency_params p = {
            .kind = FLIP_ADJACENCY_GCN, .n_steps = steps, .edge_life = 2, .window = 2};
        check_adjacency(&h, &p);
        p.kind = FLIP_ADJACENCY_GCN_INOUT;
        check_adjacency(&h, &p);
        p.kind = FLIP_ADJACENCY_MEAN;
        check_adjacency(&h, &p);
        p.kind = FLIP_ADJACENCY_GCN;
        flip_adjacency *a = create(&h, &p);
        if (size == 1) assert_ptr_equal(a->a.col, a->at.col);
        flip_adjacency_destroy(&a);
        a = create(&g, &p);
        if (size == 1) assert_ptr_not_equal(a->a.col, a->at.col);
        flip_adjacency_destroy(&a);
        free_whole(&g);
        free_whole(&h);
    }
}

/* y = A x over own rows with the halo's x from the plan, and x's gradient back through the plan,
 * against the dense product and its transpose. */
static void multiply(const flip_csr *a, int32_t dim, double *y, const flip_real *own,
                     const flip_real *halo) {
    double *dense = expand(a);
    size_t rows = (size_t)a->n_rows, cols = (size_t)a->n_cols, steps = (size_t)a->n_steps,
           d = (size_t)dim;
    for (size_t t = 0; t < steps; t++)
        for (size_t v = 0; v < rows; v++)
            for (size_t u = 0; u < cols; u++) {
                const flip_real *x = u < (size_t)a->n_own
                                         ? own + u * steps * d
                                         : halo + (u - (size_t)a->n_own) * steps * d;
                for (size_t j = 0; j < d; j++)
                    y[(v * steps + t) * d + j] += dense[(t * rows + v) * cols + u] * x[t * d + j];
            }
    free(dense);
}

static void test_product(void **state) {
    (void)state;
    const int32_t steps = 5, dim = 3;
    const size_t width = (size_t)steps * (size_t)dim;
    whole g = make_whole(40, 260, steps, true);
    flip_adjacency_params p = {
        .kind = FLIP_ADJACENCY_GCN, .n_steps = steps, .edge_life = 2, .window = 3};
    flip_adjacency *a = create(&g, &p);
    size_t n = (size_t)g.n, nn = n * n, own = (size_t)a->n_own, halo = (size_t)a->n_halo;
    flip_real *x = calloc(n * width, sizeof *x), *x_halo = calloc(halo * width + 1, sizeof *x);
    flip_real *back = calloc((own + halo) * width + 1, sizeof *back);
    double *y = calloc(own * width + 1, 8), *dx = calloc((own + halo) * width + 1, 8);
    for (size_t i = 0; i < n * width; i++)
        x[i] = (flip_real)flip_random_normal(3, FLIP_STREAM_TEST, 11, i);
    const flip_real *mine = x + (size_t)g.first[rank] * width;
    if (a->plan) {
        CHECK_OK(flip_plan_forward_begin(a->plan, mine, width, x_halo));
        CHECK_OK(flip_plan_forward_end(a->plan));
    }
    multiply(&a->a, dim, y, mine, x_halo);
    multiply(&a->at, dim, dx, mine, NULL);
    for (size_t i = 0; i < (own + halo) * width; i++)
        back[i] = (flip_real)dx[i];
    if (a->plan) {
        CHECK_OK(flip_plan_backward_begin(a->plan, back + own * width, width));
        CHECK_OK(flip_plan_backward_end(a->plan, back));
    }
    double *dense = dense_adjacency(&g, &p);
    for (size_t v = 0; v < own; v++)
        for (size_t t = 0; t < (size_t)steps; t++)
            for (size_t j = 0; j < (size_t)dim; j++) {
                double forward = 0, backward = 0;
                size_t gv = v + (size_t)g.first[rank],
                       at = (v * (size_t)steps + t) * (size_t)dim + j;
                for (size_t u = 0; u < n; u++) {
                    double xu = x[(u * (size_t)steps + t) * (size_t)dim + j];
                    forward += dense[t * nn + gv * n + u] * xu;
                    backward += dense[t * nn + u * n + gv] * xu;
                }
                CHECK(fabs(y[at] - forward) < 1e-5, "y is %g, want %g", y[at], forward);
                CHECK(fabs(back[at] - backward) < 1e-5, "dx is %g, want %g", (double)back[at],
                      backward);
            }
    free(dense);
    free(x);
    free(x_halo);
    free(back);
    free(y);
    free(dx);
    flip_adjacency_destroy(&a);
    free_whole(&g);
}

/* The estimate from counts alone, where it promises to be exact: different pairs, lives apart. */
static void test_bytes(void **state) {
    (void)state;
    for (int steps = 1; steps <= 6; steps += 5)
        for (int weighted = 0; weighted < 2; weighted++)
            for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++) {
                int32_t n = 4000;
                whole g = make_whole(n, 5LL * n, steps, weighted);
                for (int64_t i = 0; i < g.events; i++) { /* v <- v + 1, v + 3, … v + 9 */
                    g.dst[i] = i / 5;
                    g.src[i] = (i / 5 + 1 + 2 * (i % 5)) % n;
                    g.step[i] =
                        (int32_t)draw(12, (uint64_t)i, (uint64_t)(steps > 2 ? steps - 2 : 1));
                }
                flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind, .n_steps = steps};
                if (kind < FLIP_ADJACENCY_PATTERN) p.window = 3;
                flip_adjacency *a = create(&g, &p);
                double truth = (double)flip_arena_used(a->arena);
                double said =
                    (double)flip_adjacency_bytes(a->n_own, a->n_halo, a->n_own * 5LL, weighted, &p);
                CHECK(a->n_own == 0 || fabs(said - truth) <= 0.05 * truth + 2048,
                      "kind %d, %d steps: said %.0f bytes, holds %.0f", kind, steps, said, truth);
                flip_adjacency_destroy(&a);
                free_whole(&g);
            }
}

static void test_refusals(void **state) {
    (void)state;
    whole g = make_whole(10, 40, 3, true);
    mine m = take_mine(&g);
    flip_adjacency_params p = {.kind = FLIP_ADJACENCY_GCN, .n_steps = 3};
    flip_adjacency *a = NULL;
    m.weight[0] = rank == size - 1 ? -1 : m.weight[0];
    flip_error_clear();
    CHECK(flip_adjacency_create(&a, comm, g.first, NULL, &m.events, &p) == FLIP_ERROR_INPUT,
          "a negative weight passed");
    CHECK(!a && strstr(flip_error_message(), "has weight -1; GCN normalisation needs weights >= 0"),
          "message: %s", flip_error_message());
    m.weight[0] = 1;
    m.src[0] = rank == size - 1 ? 10 : m.src[0];
    flip_error_clear();
    CHECK(flip_adjacency_create(&a, comm, g.first, NULL, &m.events, &p) == FLIP_ERROR_INPUT,
          "a source out of range passed");
    m.src[0] = 0;
    m.step[0] = rank == size - 1 ? -1 : 0;
    flip_error_clear();
    CHECK(flip_adjacency_create(&a, comm, g.first, NULL, &m.events, &p) == FLIP_ERROR_INPUT,
          "a step out of range passed");
    flip_error_clear();
    p.n_steps = 0;
    CHECK(flip_adjacency_create(&a, comm, g.first, NULL, &m.events, &p) == FLIP_ERROR_USAGE,
          "no steps passed");
    flip_error_clear();
    free_mine(&m);
    free_whole(&g);
}

/* ---- threads ---- */

static void same_bytes(const char *what, const void *a, const void *b, size_t bytes) {
    CHECK(!a == !b && (!a || memcmp(a, b, bytes) == 0), "%s of the transpose differ", what);
}

/* Columns are shared out among threads where there are many entries: the same arrays come out. */
static void test_threads(void **state) {
    (void)state;
    static const flip_adjacency_kind kinds[] = {FLIP_ADJACENCY_MEAN, FLIP_ADJACENCY_GCN,
                                                FLIP_ADJACENCY_ATTENTION};
    for (int i = 0; i < 6; i++) {
        const int32_t steps = i < 3 ? 1 : 5;
        whole g = make_whole(700, 60000, steps, true);
        flip_adjacency_params p = {.kind = kinds[i % 3], .n_steps = steps, .edge_life = 2};
        omp_set_num_threads(1);
        flip_adjacency *one = create(&g, &p);
        omp_set_num_threads(3);
        flip_adjacency *many = create(&g, &p);
        omp_set_num_threads(1);
        const flip_csr *a = &one->at, *b = &many->at;
        const size_t entries = (size_t)a->n_entries, runs = a->run_ptr ? a->run_ptr[entries] : 0;
        CHECK(size > 1 || entries > 30000, "%zu entries", entries);
        CHECK(a->n_entries == b->n_entries && a->n_rows == b->n_rows, "they differ in size");
        same_bytes("rows", a->row_ptr, b->row_ptr, ((size_t)a->n_rows + 1) * sizeof *a->row_ptr);
        same_bytes("columns", a->col, b->col, entries * sizeof *a->col);
        same_bytes("runs", a->run_ptr, b->run_ptr, (entries + 1) * sizeof *a->run_ptr);
        same_bytes("steps", a->run_first, b->run_first, runs * sizeof *a->run_first);
        same_bytes("places", a->value_ptr, b->value_ptr, (runs + 1) * sizeof *a->value_ptr);
        same_bytes("values", a->value, b->value, (size_t)a->n_values * sizeof *a->value);
        same_bytes("entries", one->to_transposed, many->to_transposed,
                   (size_t)one->a.n_entries * sizeof *one->to_transposed);
        flip_adjacency_destroy(&one);
        flip_adjacency_destroy(&many);
        free_whole(&g);
    }
}

/* ---- golden numbers ---- */

/* A .npy of any of the types the fixtures use, as doubles; NULL where there is none. */
static double *read_npy(const char *folder, const char *name, size_t *count) {
    char path[1024], header[4096] = "";
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    FILE *file = fopen(path, "rb");
    unsigned char magic[10];
    if (!file) return NULL;
    CHECK(fread(magic, 1, 10, file) == 10, "%s", path);
    size_t length = magic[8] + 256u * magic[9];
    CHECK(length < sizeof header && fread(header, 1, length, file) == length, "%s", path);
    size_t width = strstr(header, "i4") ? 4 : 8, n = 0;
    bool real = strstr(header, "f8") != NULL;
    double *out = NULL;
    char item[8];
    while (fread(item, width, 1, file) == 1) {
        out = realloc(out, (n + 1) * sizeof *out);
        double f;
        int64_t l;
        int32_t i;
        memcpy(&f, item, 8);
        memcpy(&l, item, 8);
        memcpy(&i, item, 4);
        out[n++] = real ? f : width == 4 ? i : (double)l;
    }
    fclose(file);
    *count = n;
    return out;
}

static whole golden_events(const char *folder, const char *prefix, int32_t n, int32_t steps) {
    char name[64];
    size_t count = 0, weights = 0;
    snprintf(name, sizeof name, "%ssrc", prefix);
    double *src = read_npy(folder, name, &count);
    snprintf(name, sizeof name, "%sdst", prefix);
    double *dst = read_npy(folder, name, &count);
    snprintf(name, sizeof name, "%sw", prefix);
    double *w = read_npy(folder, name, &weights);
    double *step = steps > 1 ? read_npy(folder, "ev_step", &count) : NULL;
    whole g = make_whole(n, (int64_t)count, steps, w != NULL);
    for (size_t i = 0; i < count; i++) {
        g.dst[i] = (flip_gid)dst[i];
        g.src[i] = (flip_gid)src[i];
        g.step[i] = step ? (int32_t)step[i] : 0;
        if (w) g.weight[i] = w[i];
    }
    free(src);
    free(dst);
    free(w);
    free(step);
    return g;
}

/* Own rows of got [steps, own, cols] against want [steps, n, n]. */
static void compare_golden(const whole *g, const flip_adjacency *a, const double *want,
                           const char *what) {
    double *got = expand(&a->a), largest = 0;
    size_t n = (size_t)g->n, cols = (size_t)a->a.n_cols, own = (size_t)a->n_own;
    for (size_t i = 0; i < n * n * (size_t)g->steps; i++)
        largest = fmax(largest, fabs(want[i]));
    for (size_t t = 0; t < (size_t)g->steps; t++)
        for (size_t v = 0; v < own; v++) {
            double row[64] = {0};
            for (size_t c = 0; c < cols; c++)
                row[global_column(a, g, (int32_t)c)] = got[(t * own + v) * cols + c];
            for (size_t u = 0; u < n; u++) {
                double x = want[(t * n + v + (size_t)g->first[rank]) * n + u];
                CHECK(fabs(row[u] - x) <= (sizeof(flip_real) == 4 ? 1e-6 : 1e-10) * largest,
                      "%s step %zu [%zu,%zu]: %.12g, want %.12g", what, t, v, u, row[u], x);
            }
        }
    free(got);
}

static void golden_matrix(const char *root, const char *name, flip_adjacency_kind kind) {
    char folder[900];
    size_t count = 0;
    snprintf(folder, sizeof folder, "%s/golden/%s", root, name);
    double *want = read_npy(folder, "Ahat", &count);
    if (!want) return;
    whole g = golden_events(folder, "", (int32_t)(sqrt((double)count) + 0.5), 1);
    flip_adjacency_params p = {.kind = kind, .n_steps = 1};
    flip_adjacency *a = create(&g, &p);
    compare_golden(&g, a, want, name);
    flip_adjacency_destroy(&a);
    free_whole(&g);
    free(want);
}

/* Lists over time (name_ptr, name_src, …) as dense [steps, n, n]. */
static double *golden_list(const char *folder, const char *name, const char *column, int32_t n,
                           int32_t steps) {
    char text[64];
    size_t count;
    double *data[4];
    const char *const parts[] = {"ptr", "src", "dst", column};
    for (int i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s_%s", name, parts[i]);
        data[i] = read_npy(folder, text, &count);
        CHECK(data[i], "%s/%s.npy is missing", folder, text);
    }
    double *out = calloc((size_t)steps * (size_t)n * (size_t)n, 8);
    for (int32_t t = 0; t < steps; t++)
        for (size_t i = (size_t)data[0][t]; i < (size_t)data[0][t + 1]; i++)
            out[((size_t)t * (size_t)n + (size_t)data[2][i]) * (size_t)n + (size_t)data[1][i]] =
                data[3][i];
    for (int i = 0; i < 4; i++)
        free(data[i]);
    return out;
}

static void golden_steps(const char *root, const char *name, int32_t n, int32_t steps, int32_t life,
                         int32_t window) {
    char folder[900];
    snprintf(folder, sizeof folder, "%s/golden/%s", root, name);
    const struct {
        const char *list, *column;
        flip_adjacency_kind kind;
        int32_t window;
    } cases[] = {{"life", "mult", FLIP_ADJACENCY_SUM, 1},
                 {"life", "w", FLIP_ADJACENCY_WSUM, 1},
                 {"norm", "w", FLIP_ADJACENCY_GCN, 1},
                 {"mtr", "w", FLIP_ADJACENCY_GCN, window}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        whole g = golden_events(folder, "ev_", n, steps);
        double *want = golden_list(folder, cases[i].list, cases[i].column, n, steps);
        flip_adjacency_params p = {
            .kind = cases[i].kind, .n_steps = steps, .edge_life = life, .window = cases[i].window};
        flip_adjacency *a = create(&g, &p);
        compare_golden(&g, a, want, cases[i].list);
        flip_adjacency_destroy(&a);
        free(want);
        free_whole(&g);
    }
}

static void test_golden(void **state) {
    (void)state;
    const char *given = getenv("FLIP_SHARED"),
               *root = given && *given ? given : FLIP_SHARED_DEFAULT;
    size_t count;
    char folder[900];
    snprintf(folder, sizeof folder, "%s/golden/prep_tiny", root);
    double *probe = read_npy(folder, "ev_src", &count);
    if (!probe) {
        if (rank == 0)
            fprintf(stderr, "# golden numbers: skipped, no %s (set FLIP_SHARED)\n", folder);
        skip();
    }
    free(probe);
    golden_matrix(root, "op_spmm_gcn", FLIP_ADJACENCY_GCN);
    golden_matrix(root, "op_spmm_gcn_inout", FLIP_ADJACENCY_GCN_INOUT);
    golden_steps(root, "prep_tiny", 12, 6, 2, 3);
    golden_steps(root, "prep_small", 30, 10, 3, 4);
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_static),  cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_cuts),    cmocka_unit_test(test_empty),
        cmocka_unit_test(test_shared),  cmocka_unit_test(test_product),
        cmocka_unit_test(test_bytes),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_golden),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
