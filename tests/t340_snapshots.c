/* Snapshots on the device against adjacencies made of all events, on 1-4 ranks in space and time.
 */
#include "ranks.h"

#include <flipbook/snapshots.h>

#include <stdlib.h>
#include <string.h>

static flip_comm *comm;
static int rank, size;

/* ---- a random stream that every rank knows whole ---- */

enum { MOST_STEPS = 16 };

typedef struct stream {
    int32_t n, steps, life, window;
    int64_t events;
    flip_gid *dst, *src;
    int32_t *step;
    double *weight; /* or NULL */
    int64_t *original;
    uint64_t seed;
} stream;

static uint64_t draw(const stream *g, uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(g->seed, FLIP_STREAM_TEST, what, i, below);
}

/* Few pairs, so that edges come back while they live and after; doubled ones within a step; steps
 * without any event; weights that cancel where they may be negative. */
static stream make_stream(uint64_t seed, int32_t n, int32_t steps, int64_t events, int weights) {
    stream g = {.seed = seed, .n = n, .steps = steps, .events = events};
    const size_t e = (size_t)events + 1;
    g.dst = calloc(e, sizeof *g.dst);
    g.src = calloc(e, sizeof *g.src);
    g.step = calloc(e, sizeof *g.step);
    g.weight = weights ? calloc(e, sizeof *g.weight) : NULL;
    g.original = calloc((size_t)n + 1, sizeof *g.original);
    const int32_t quiet = (int32_t)draw(&g, 1, 0, (uint64_t)steps);
    for (int64_t i = 0; i < events; i++) {
        const uint64_t k = (uint64_t)i, pair = draw(&g, 2, k, 2 * (uint64_t)n);
        g.dst[i] = (flip_gid)draw(&g, 3, pair, (uint64_t)n);
        g.src[i] = draw(&g, 4, pair, 7) == 0 ? g.dst[i] : (flip_gid)draw(&g, 5, pair, (uint64_t)n);
        g.step[i] = (int32_t)draw(&g, 6, k, (uint64_t)steps);
        if (g.step[i] == quiet) g.step[i] = (quiet + 1) % steps;
        if (i > 0 && draw(&g, 7, k, 5) == 0) {
            g.dst[i] = g.dst[i - 1];
            g.src[i] = g.src[i - 1];
            if (draw(&g, 8, k, 2)) g.step[i] = g.step[i - 1];
        }
        if (weights)
            g.weight[i] =
                draw(&g, 9, k, 3) ? flip_random_uniform(seed, FLIP_STREAM_TEST, 10, k) : 1;
        if (weights == 2 && draw(&g, 11, k, 3) == 0) g.weight[i] = -1;
    }
    for (int32_t v = 0; v < n; v++)
        g.original[v] = flip_random_permute(seed, FLIP_STREAM_TEST, n, v);
    return g;
}

static void free_stream(stream *g) {
    free(g->dst);
    free(g->src);
    free(g->step);
    free(g->weight);
    free(g->original);
}

/* ---- a layout by hand: uneven ranges of nodes, equal chunks ---- */

typedef struct grid {
    flip_layout layout;
    flip_gid *rank_first, *part_first;
    int32_t *block_first, *chunk_first, *own_before;
} grid;

static grid make_grid(const stream *g, int32_t n_time, int32_t n_blocks) {
    const int32_t n_space = size / n_time;
    grid x = {.rank_first = calloc((size_t)size + 1, sizeof *x.rank_first),
              .part_first = calloc((size_t)n_space + 1, sizeof *x.part_first),
              .block_first = calloc((size_t)n_blocks + 1, sizeof *x.block_first),
              .chunk_first = calloc((size_t)(n_blocks * (n_time + 1)), sizeof *x.chunk_first),
              .own_before = calloc((size_t)n_blocks + 1, sizeof *x.own_before)};
    for (int r = 0; r <= size; r++)
        x.rank_first[r] = (flip_gid)g->n * r * r / ((flip_gid)size * size);
    if (n_space >= 3) x.rank_first[2 * n_time] = x.rank_first[n_time]; /* an empty part */
    for (int32_t p = 0; p <= n_space; p++)
        x.part_first[p] = x.rank_first[p * n_time];
    const int32_t part = rank / n_time, chunk = rank % n_time;
    for (int32_t k = 0; k <= n_blocks; k++)
        x.block_first[k] = g->steps * k / n_blocks;
    for (int32_t k = 0; k < n_blocks; k++) {
        const int32_t first = x.block_first[k], n = x.block_first[k + 1] - first;
        int32_t *chunks = x.chunk_first + k * (n_time + 1);
        for (int32_t c = 0; c <= n_time; c++)
            chunks[c] = first + n * c / n_time;
        x.own_before[k + 1] = x.own_before[k] + chunks[chunk + 1] - chunks[chunk];
    }
    x.layout = (flip_layout){.world = comm,
                             .n_space = n_space,
                             .n_time = n_time,
                             .part = part,
                             .chunk = chunk,
                             .rank_first = x.rank_first,
                             .part_first = x.part_first,
                             .n_own = (int32_t)(x.rank_first[rank + 1] - x.rank_first[rank]),
                             .n_rows = (int32_t)(x.part_first[part + 1] - x.part_first[part]),
                             .original = g->original + x.part_first[part],
                             .n_steps = g->steps,
                             .n_blocks = n_blocks,
                             .block_first = x.block_first,
                             .chunk_first = x.chunk_first,
                             .own_steps = x.own_before[n_blocks],
                             .own_before = x.own_before};
    CHECK_OK(flip_comm_split(&x.layout.space, comm, chunk, part));
    return x;
}

static void free_grid(grid *x) {
    flip_comm_destroy(&x->layout.space);
    free(x->rank_first);
    free(x->part_first);
    free(x->block_first);
    free(x->chunk_first);
    free(x->own_before);
}

/* Is the event alive in one of this rank's steps (or the band before them)? */
static bool touches(const grid *x, int32_t step, int32_t stay) {
    for (int32_t k = 0; k < x->layout.n_blocks; k++)
        for (int32_t i = 0; i < flip_layout_steps(&x->layout, k); i++) {
            const int32_t t = flip_layout_first(&x->layout, k) + i;
            if (t >= step && t - step <= stay) return true;
        }
    return false;
}

/* Events of this rank's part: dealt, those of its chunks; else all. */
typedef struct mine {
    flip_events events;
    flip_gid *dst, *src;
    int32_t *step;
    double *weight;
} mine;

static mine take(const stream *g, const grid *x, bool dealt) {
    const size_t e = (size_t)g->events + 1;
    mine m = {
        .dst = calloc(e, 8), .src = calloc(e, 8), .step = calloc(e, 4), .weight = calloc(e, 8)};
    const int32_t stay = (g->life > 1 ? g->life : 1) + (g->window > 1 ? g->window : 1) - 2;
    int64_t n = 0;
    for (int64_t i = 0; i < g->events; i++) {
        const flip_gid *first = x->part_first + x->layout.part;
        if (g->dst[i] < first[0] || g->dst[i] >= first[1]) continue;
        if (dealt && !touches(x, g->step[i], stay)) continue;
        m.dst[n] = g->dst[i];
        m.src[n] = g->src[i];
        m.step[n] = g->step[i];
        m.weight[n++] = g->weight ? g->weight[i] : 1;
    }
    m.events = (flip_events){
        .n = n, .dst = m.dst, .src = m.src, .step = m.step, .weight = g->weight ? m.weight : NULL};
    return m;
}

static void free_mine(mine *m) {
    free(m->dst);
    free(m->src);
    free(m->step);
    free(m->weight);
}

/* ---- the same adjacency, array by array ---- */

static void same(const char *what, const char *array, const void *a, const void *b, size_t bytes) {
    CHECK((a == NULL) == (b == NULL) && (!a || memcmp(a, b, bytes) == 0), "%s: %s differs", what,
          array);
}

static void same_csr(const char *what, const flip_csr *a, const flip_csr *b) {
    CHECK(a->n_rows == b->n_rows && a->n_cols == b->n_cols && a->n_own == b->n_own &&
              a->n_steps == b->n_steps && a->n_entries == b->n_entries &&
              a->n_values == b->n_values,
          "%s: %d x %d, %lld entries, %lld values; %d x %d, %lld, %lld", what, a->n_rows, a->n_cols,
          (long long)a->n_entries, (long long)a->n_values, b->n_rows, b->n_cols,
          (long long)b->n_entries, (long long)b->n_values);
    const size_t entries = (size_t)a->n_entries;
    same(what, "row_ptr", a->row_ptr, b->row_ptr, ((size_t)a->n_rows + 1) * 8);
    same(what, "col", a->col, b->col, entries * 4);
    same(what, "run_ptr", a->run_ptr, b->run_ptr, (entries + 1) * 8);
    same(what, "value", a->value, b->value, (size_t)a->n_values * sizeof *a->value);
    if (!a->run_ptr) return;
    const size_t runs = (size_t)a->run_ptr[entries];
    same(what, "run_first", a->run_first, b->run_first, runs * 4);
    same(what, "value_ptr", a->value_ptr, b->value_ptr, (runs + 1) * 8);
}

static void same_adjacency(const char *what, const flip_adjacency *a, const flip_adjacency *b) {
    CHECK(a->n_own == b->n_own && a->n_halo == b->n_halo && a->n_interior == b->n_interior,
          "%s: %d own, %d halo, %d interior; %d, %d, %d", what, a->n_own, a->n_halo, a->n_interior,
          b->n_own, b->n_halo, b->n_interior);
    same(what, "halo", a->halo, b->halo, (size_t)a->n_halo * 8);
    same_csr(what, &a->a, &b->a);
    same_csr(what, &a->at, &b->at);
    same(what, "row_order", a->row_order, b->row_order, (size_t)a->n_own * 4);
    same(what, "to_transposed", a->to_transposed, b->to_transposed, (size_t)a->a.n_entries * 8);
}

/* What the block's adjacency is by definition: made of all events of the part. */
static flip_adjacency *definition(const stream *g, const grid *x, flip_adjacency_params p,
                                  int32_t block) {
    mine m = take(g, x, false);
    flip_adjacency *a;
    p.first_step = flip_layout_first(&x->layout, block);
    p.n_steps = flip_layout_steps(&x->layout, block);
    if (p.n_steps == 0) {
        p.n_steps = 1;
        p.first_step = p.first_step < g->steps ? p.first_step : g->steps - 1;
        m.events.n = 0;
    }
    CHECK_OK(flip_adjacency_create(&a, x->layout.space, x->part_first, x->layout.original,
                                   &m.events, &p));
    free_mine(&m);
    return a;
}

static void check_walk(const stream *g, grid *x, const flip_adjacency_params *p,
                       flip_transfer transfer) {
    char what[128];
    flip_snapshots *s;
    mine m = take(g, x, true);
    CHECK_OK(flip_snapshots_create(&s, &x->layout, &m.events, p, transfer));
    if (transfer == FLIP_TRANSFER_RESIDENT) {
        free_mine(&m); /* borrowed no longer */
        m = (mine){0};
    }
    const int32_t n = x->layout.n_blocks;
    for (int pass = 0; pass < 2; pass++) {
        flip_snapshots_begin(s);
        for (int32_t i = 0; i < 2 * n; i++) {
            const int32_t k = i < n ? i : 2 * n - 1 - i;
            const flip_adjacency *got;
            flip_adjacency *want = definition(g, x, *p, k);
            snprintf(what, sizeof what, "kind %d life %d window %d, block %d of %d, transfer %d",
                     p->kind, p->edge_life, p->window, k, n, transfer);
            CHECK_OK(flip_snapshots_block(s, k, &got));
            same_adjacency(what, got, want);
            flip_adjacency_destroy(&want);
        }
    }
    flip_snapshots_destroy(&s);
    assert_null(s);
    free_mine(&m);
}

static void test_walks(void **state) {
    (void)state;
    static const int32_t lives[] = {1, 2, 4, 16}, windows[] = {0, 3};
    for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++)
        for (int i = 0; i < 8; i++) {
            const bool gcn = kind == FLIP_ADJACENCY_GCN || kind == FLIP_ADJACENCY_GCN_INOUT;
            if (kind >= FLIP_ADJACENCY_PATTERN && i % 2) continue;
            const int32_t steps = i % 3 == 0 ? MOST_STEPS : 7 + i;
            stream g = make_stream((uint64_t)(kind * 8 + i), 19, steps, 140, gcn ? i % 2 : i % 3);
            flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind,
                                       .n_steps = steps,
                                       .edge_life = lives[i / 2],
                                       .window = windows[i % 2]};
            g.life = p.edge_life;
            g.window = p.window;
            for (int32_t n_time = 1; n_time <= size; n_time++) {
                if (size % n_time) continue;
                const int32_t blocks[] = {1, 3, steps};
                grid x = make_grid(&g, n_time, blocks[(i + n_time) % 3]);
                check_walk(&g, &x, &p, FLIP_TRANSFER_RESIDENT);
                free_grid(&x);
            }
            free_stream(&g);
        }
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
