/* One budget of rows, second levels and lists of neighbours, against a plain oracle. */
#include "store_world.h"

enum { FINE = 11 }; /* bytes of a second level */

/* What a budget is spent on: rows of a heat, lists that save so much and cost so many bytes. */
typedef struct goods {
    double heat[NODES], saved[NODES];
    double fine[NODES];       /* heat of second levels, of some */
    bool two;                 /* … which there are */
    int64_t cost[NODES], all; /* all: bytes of everything */
} goods;

static void draw_goods(goods *g, const world *w) {
    g->all = 0;
    for (int v = 0; v < NODES; v++) {
        double u = flip_random_uniform(5, FLIP_STREAM_TEST, 2, (uint64_t)v);
        g->heat[v] = floor(10 * u * u);
        g->cost[v] = v % 7 == 0 ? 0 : 30 + (int64_t)draw(9, (uint64_t)v, 400);
        g->saved[v] = v % 5 == 0 ? 0 : 3 * u * (double)g->cost[v] * (double)(v % 3);
        g->fine[v] = v % 3 == 1 ? g->heat[v] : 0;
        g->all += (int64_t)w->stride + g->cost[v] + (g->fine[v] > 0 ? FINE : 0);
    }
}

static double density(const goods *g, int64_t v) {
    return g->cost[v] ? g->saved[v] / (double)g->cost[v] : 0;
}

/* Bytes of the lists taken, on the rank that has fewest of its own. */
static int64_t list_bytes(const world *w, const goods *g, const int64_t *taken) {
    int64_t sum = 0, fewest = INT64_MAX;
    for (int r = 0; r < size; r++) {
        int64_t own = 0;
        for (flip_gid v = w->rank_first[r]; v < w->rank_first[r + 1]; v++)
            own += taken[v] ? g->cost[v] : 0;
        sum += own;
        if (own < fewest) fewest = own;
    }
    return sum - fewest;
}

/* Second levels of more than no heat and at least this. */
static int64_t refined(const goods *g, double least) {
    int64_t n = 0;
    for (int v = 0; v < NODES && g->two; v++)
        n += g->fine[v] > 0 && g->fine[v] >= least;
    return n;
}

/* Of rows, second levels and lists as dense. */
static int64_t bytes_above(const world *w, const goods *g, double least) {
    int64_t taken[NODES], rows = 0;
    for (int v = 0; v < NODES; v++) {
        rows += g->heat[v] >= least;
        taken[v] = g->cost[v] && density(g, v) >= least;
    }
    return rows * (int64_t)w->stride + refined(g, least) * FINE + list_bytes(w, g, taken);
}

/* The lists taken on all ranks, and the bytes of second levels and those left for rows. */
static flip_budget_shares split(const world *w, const goods *g, int64_t bytes, int64_t *taken) {
    uint8_t list[NODES] = {0};
    flip_budget_shares shares;
    flip_gid from = w->rank_first[rank], n = w->rank_first[rank + 1] - from;
    flip_budget_params p = {.bytes = (uint64_t)bytes,
                            .n = n,
                            .stride = w->stride,
                            .heat = g->heat + from,
                            .fine_stride = FINE,
                            .fine_heat = g->two ? g->fine + from : NULL,
                            .saved = g->saved + from,
                            .list_bytes = g->cost + from};
    CHECK_OK(flip_budget_split(list, &shares, comm, &p));
    memset(taken, 0, NODES * sizeof *taken);
    for (flip_gid v = 0; v < n; v++)
        taken[from + v] = list[v];
    CHECK_OK(flip_comm_sum_i64(comm, taken, NODES));
    return shares;
}

/* The heat of the coldest second level taken and of the hottest left out: as many have a place as
 * there is heat of a threshold, none of an equal is left out. */
static void check_refined(const goods *g, uint64_t bytes, double *least, double *most) {
    int64_t n = (int64_t)bytes / FINE, all = refined(g, 0);
    CHECK(bytes % FINE == 0 && n <= all, "%llu bytes of second levels", (unsigned long long)bytes);
    *least = INFINITY;
    *most = 0;
    for (int v = 0; v < NODES && g->two; v++) {
        if (g->fine[v] <= 0) continue;
        if (refined(g, g->fine[v]) <= n)
            *least = fmin(*least, g->fine[v]);
        else
            *most = fmax(*most, g->fine[v]);
    }
    CHECK(n == (isinf(*least) ? 0 : refined(g, *least)), "%lld second levels, ties are parted",
          (long long)n);
}

static void check_split(const world *w, const goods *g, int64_t budget) {
    int64_t taken[NODES], some = 0, hot = 0;
    flip_budget_shares shares = split(w, g, budget, taken);
    uint64_t rows = shares.row_bytes, fine = shares.fine_bytes;
    double least, most; /* density of lists and second levels: taken, left out */
    check_refined(g, fine, &least, &most);
    some = fine > 0;
    for (int v = 0; v < NODES; v++) {
        CHECK(!taken[v] || density(g, v) > 0, "a list that saves nothing");
        some += taken[v];
        if (taken[v]) least = fmin(least, density(g, v));
        if (!taken[v]) most = fmax(most, density(g, v));
    }
    for (int v = 0; v < NODES; v++)
        hot += g->heat[v] > least;
    int64_t lists = list_bytes(w, g, taken);
    CHECK(lists <= budget && rows + fine == (uint64_t)(budget - lists),
          "budget %lld: lists %lld, rows %llu, second levels %llu", (long long)budget,
          (long long)lists, (unsigned long long)rows, (unsigned long long)fine);
    CHECK(size == 1 || some == 0 || least >= most, "budget %lld: %g taken, %g left out",
          (long long)budget, least, most);
    CHECK(some == 0 || (uint64_t)hot * w->stride <= rows, "rows denser than lists have no room");
    CHECK(most == 0 || bytes_above(w, g, most) > budget,
          "budget %lld: the densest list left out, %g, would fit", (long long)budget, most);
    CHECK(budget < g->all || (most == 0 && rows >= NODES * w->stride), "all does not fit");
}

/* Whatever the budget: what is taken fits, no list left out is denser than one taken, rows denser
 * than the last list taken fit too, and all that is as dense as the first list left out does not.
 */
static void budgets(void **state) {
    (void)state;
    goods g;
    world w;
    make_world(&w, false);
    draw_goods(&g, &w);
    const int64_t stride = (int64_t)w.stride,
                  tries[] = {0,         1,         stride - 1, stride, 500,      g.all / 20,
                             g.all / 5, g.all / 2, g.all - 1,  g.all,  INT64_MAX};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        for (int two = 0; two < 2; two++) {
            g.two = two;
            check_split(&w, &g, tries[i]);
        }
    end_world(&w);
}

int main(int argc, char **argv) {
    if (!begin_ranks(argc, argv)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(budgets)};
    return end_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
