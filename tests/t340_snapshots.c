/* Snapshots on the device against adjacencies made of all events, on 1-4 ranks in space and time.
 */
#include "device.h"
#include "ranks.h"
#include "stream.h"

#include "graph/snapshots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static flip_comm *comm;
static int rank, size;

enum { MOST_STEPS = 16 };

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
    const size_t e = (size_t)g->n_events + 1;
    mine m = {
        .dst = calloc(e, 8), .src = calloc(e, 8), .step = calloc(e, 4), .weight = calloc(e, 8)};
    const int32_t stay = (g->life > 1 ? g->life : 1) + (g->window > 1 ? g->window : 1) - 2;
    int64_t n = 0;
    for (int64_t i = 0; i < g->n_events; i++) {
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
    same(what, "run_ptr", a->run_ptr, b->run_ptr, (entries + 1) * sizeof *a->run_ptr);
    same(what, "value", a->value, b->value, (size_t)a->n_values * sizeof *a->value);
    if (!a->run_ptr) return;
    const size_t runs = (size_t)a->run_ptr[entries];
    same(what, "run_first", a->run_first, b->run_first, runs * 4);
    same(what, "value_ptr", a->value_ptr, b->value_ptr, (runs + 1) * sizeof *a->value_ptr);
}

/* ---- made by kernels, in their memory ---- */

static void *received(const flip_kernels *k, const void *from, size_t bytes) {
    void *host = malloc(bytes + 1);
    k->receive(host, from, bytes);
    return host;
}

/* The host's copy of a matrix. */
static flip_csr receive_csr(const flip_kernels *k, const flip_csr *a) {
    flip_csr x = *a;
    const size_t entries = (size_t)a->n_entries;
    CHECK(a->placed, "the matrix is the host's");
    x.row_ptr = received(k, a->row_ptr, ((size_t)a->n_rows + 1) * sizeof *a->row_ptr);
    x.col = received(k, a->col, entries * sizeof *a->col);
    if (a->value) x.value = received(k, a->value, (size_t)a->n_values * sizeof *a->value);
    if (!a->run_ptr) return x;
    x.run_ptr = received(k, a->run_ptr, (entries + 1) * sizeof *a->run_ptr);
    const size_t runs = (size_t)x.run_ptr[entries];
    x.run_first = received(k, a->run_first, runs * sizeof *a->run_first);
    x.value_ptr = received(k, a->value_ptr, (runs + 1) * sizeof *a->value_ptr);
    return x;
}

static void free_csr(const flip_csr *x) {
    free((void *)x->row_ptr);
    free((void *)x->col);
    free((void *)x->value);
    free((void *)x->run_ptr);
    free((void *)x->run_first);
    free((void *)x->value_ptr);
}

static void same_laid(const char *what, const flip_kernels *k, const flip_adjacency *got,
                      const flip_adjacency *want) {
    const flip_csr a = receive_csr(k, &got->a), at = receive_csr(k, &got->at);
    CHECK(got->n_own == want->n_own && got->n_halo == 0 && got->n_interior == got->n_own &&
              !got->plan,
          "%s: %d own, %d interior", what, got->n_own, got->n_interior);
    same_csr(what, &a, &want->a);
    same_csr(what, &at, &want->at);
    if (got->to_transposed) {
        const size_t bytes = (size_t)a.n_entries * sizeof *got->to_transposed;
        int64_t *turned = received(k, got->to_transposed, bytes);
        same(what, "to_transposed", turned, want->to_transposed, bytes);
        free(turned);
    }
    CHECK(!got->to_transposed == !want->to_transposed, "%s: places in the transpose", what);
    free_csr(&a);
    free_csr(&at);
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

/* ---- what a step holds and what it changes, dense ---- */

typedef struct dense {
    flip_real *value; /* [steps, rows, n] of the part, by place of the source's original id */
    flip_difference *difference; /* [steps] */
    int64_t *extra;              /* [steps, 2] added, removed values that do not fit */
    size_t cells;                /* rows * n */
} dense;

static bool fits(flip_real x, int bits) {
    return bits == 32 || (x >= 0 && x < (flip_real)((1 << bits) - 1) && x == (flip_real)(int)x);
}

static dense make_dense(const stream *g, const grid *x, bool weighted, int bits) {
    const flip_gid *first = x->part_first + x->layout.part;
    const int32_t life = g->life > 1 ? g->life : 1;
    dense d = {.cells = (size_t)(first[1] - first[0]) * (size_t)g->n};
    d.value = calloc(d.cells * (size_t)g->steps + 1, sizeof *d.value);
    d.difference = calloc((size_t)g->steps, sizeof *d.difference);
    d.extra = calloc(2 * (size_t)g->steps, sizeof *d.extra);
    for (int32_t t = 0; t < g->steps; t++) {
        flip_real *now = d.value + (size_t)t * d.cells, *before = t > 0 ? now - d.cells : NULL;
        double *sum = calloc(d.cells + 1, 8);
        bool *is = calloc(d.cells + 1, 1);
        for (int32_t step = t - life + 1; step <= t; step++)
            for (int64_t i = 0; i < g->n_events; i++) {
                if (g->step[i] != step || g->dst[i] < first[0] || g->dst[i] >= first[1]) continue;
                size_t cell =
                    (size_t)(g->dst[i] - first[0]) * (size_t)g->n + (size_t)g->original[g->src[i]];
                sum[cell] += weighted && g->weight ? (double)(flip_real)g->weight[i] : 1;
                is[cell] = true;
            }
        for (size_t c = 0; c < d.cells; c++) {
            const flip_real old = before ? before[c] : flip_absent();
            now[c] = is[c] ? (flip_real)sum[c] : flip_absent();
            d.difference[t].entries += is[c];
            d.difference[t].added += is[c] && flip_is_absent(old);
            d.difference[t].removed += !is[c] && !flip_is_absent(old);
            d.difference[t].changed += is[c] && !flip_is_absent(old) && old != now[c];
            if (is[c] && flip_is_absent(old)) d.extra[2 * t] += !fits(now[c], bits);
            if (!is[c] && !flip_is_absent(old)) d.extra[2 * t + 1] += !fits(old, bits);
        }
        free(sum);
        free(is);
    }
    return d;
}

static void free_dense(dense *d) {
    free(d->value);
    free(d->difference);
    free(d->extra);
}

/* ---- bytes: the header's formulas, walked as the header says ---- */

typedef struct accounts {
    flip_transfer transfer;
    const dense *d;
    int32_t low, high; /* steps the device holds; high < low: none */
    uint64_t forward, backward;
} accounts;

static uint64_t price(const accounts *a, int32_t t, bool back) {
    const flip_difference *d = &a->d->difference[back ? t + 1 : t];
    const uint64_t full = 12 * (uint64_t)a->d->difference[t].entries;
    const uint64_t delta = 8 * (uint64_t)(d->added + d->removed) + 12 * (uint64_t)d->changed +
                           4 * (uint64_t)a->d->extra[2 * (back ? t + 1 : t) + back];
    return a->transfer == FLIP_TRANSFER_FULL || full < delta ? full : delta;
}

static void account(accounts *a, int32_t first, int32_t n, int32_t window, bool back) {
    uint64_t *to = back ? &a->backward : &a->forward;
    const int32_t low = first > window - 1 ? first - (window - 1) : 0, high = first + n - 1;
    if (n == 0) return;
    if (a->high < a->low || low > a->high + 1 || high < a->low - 1) {
        *to += 12 * (uint64_t)a->d->difference[low].entries;
        a->low = a->high = low;
    }
    for (; a->high < high; a->high++)
        *to += price(a, a->high + 1, false);
    for (; a->low > low; a->low--)
        *to += price(a, a->low - 1, true);
    a->low = low;
    a->high = high;
}

/* ---- raw snapshots on the device ---- */

static void check_raw(const flip_snapshots *s, const dense *d, const stream *g, const grid *x) {
    const flip_device *on = &s->device;
    const flip_real *want = d->value + (size_t)on->now * d->cells;
    const size_t held = (size_t)on->n;
    uint64_t *key = received(on->kernels, on->key[0], held * sizeof *key);
    flip_real *value = received(on->kernels, on->value[0], held * sizeof *value);
    int64_t n = 0;
    for (size_t c = 0; c < d->cells; c++) {
        if (flip_is_absent(want[c])) continue;
        CHECK(n < on->n, "step %d has %lld entries", on->now, (long long)on->n);
        const int32_t column = s->timeline.order[flip_key_place(key[n])];
        const size_t row = (size_t)flip_key_row(key[n]);
        CHECK(row == c / (size_t)g->n &&
                  s->timeline.original[column] == (int64_t)(c % (size_t)g->n) &&
                  flip_same_bits(value[n], want[c]),
              "step %d: entry %lld is [%zu, %lld] %.17g, want [%zu, %zu] %.17g", on->now,
              (long long)n, row, (long long)s->timeline.original[column], (double)value[n],
              c / (size_t)g->n, c % (size_t)g->n, (double)want[c]);
        n++;
    }
    CHECK(n == on->n, "step %d has %lld entries, want %lld", on->now, (long long)on->n,
          (long long)n);
    free(key);
    free(value);
    (void)x;
}

/* Every snapshot of the block, up and down and up again. */
static void check_device(flip_snapshots *s, const dense *d, const stream *g, const grid *x) {
    const int32_t now = s->device.now;
    for (int32_t t = s->device.now; t <= s->device.high; t++) {
        CHECK_OK(flip_device_move(&s->device, t));
        check_raw(s, d, g, x);
    }
    for (int32_t t = s->device.high; t >= s->device.low; t--) {
        CHECK_OK(flip_device_move(&s->device, t));
        check_raw(s, d, g, x);
    }
    CHECK_OK(flip_device_move(&s->device, now));
    check_raw(s, d, g, x);
}

/* Blocks forward and back, as training does, then anyhow. */
static int32_t block_of_walk(const stream *g, int32_t n, int32_t i) {
    if (i < n) return i;
    if (i < 2 * n) return 2 * n - 1 - i;
    return (int32_t)draw(g, 20, (uint64_t)i, (uint64_t)n);
}

/* Are the matrices made by these kernels? Whether they can be is told by the settings alone. */
static bool use(flip_snapshots *s, const grid *x, const flip_adjacency_params *p,
                const flip_kernels *kernels) {
    const char *why = NULL;
    const bool can = x->layout.n_space == 1 && s->transfer != FLIP_TRANSFER_RESIDENT;
    if (!kernels) return false;
    CHECK_OK(flip_snapshots_use(s, kernels, &why));
    CHECK(can == !why, "kind %d window %d, %d parts, transfer %d: %s", p->kind, p->window,
          x->layout.n_space, s->transfer, why ? why : "the kernels make it");
    return can;
}

/* kernels: that make the matrices where they can, or NULL. */
static void check_walk(const stream *g, grid *x, const flip_adjacency_params *p,
                       flip_transfer transfer, int value_bits, const flip_kernels *kernels) {
    char what[128];
    flip_snapshots *s;
    mine m = take(g, x, true);
    const uint64_t before = flip_comm_meter(comm)->bytes[FLIP_BYTES_GRAPH_TO_DEVICE];
    const bool weighted = p->kind != FLIP_ADJACENCY_SUM && p->kind != FLIP_ADJACENCY_MEAN &&
                          p->kind < FLIP_ADJACENCY_PATTERN;
    dense d = make_dense(g, x, weighted, value_bits);
    accounts a = {.transfer = transfer, .d = &d, .high = -1};
    CHECK_OK(flip_snapshots_create(&s, &x->layout, &m.events, p, transfer));
    const bool laid = use(s, x, p, kernels);
    if (transfer == FLIP_TRANSFER_RESIDENT) {
        a.forward = 12 * (uint64_t)m.events.n;
        free_mine(&m); /* borrowed no longer */
        m = (mine){0};
    } else { /* a graph whose ids leave few bits to the value */
        s->timeline.form.value_bits = s->device.form.value_bits = value_bits;
        flip_timeline_count(&s->timeline);
    }
    const int32_t n = x->layout.n_blocks;
    int64_t most[2] = {0}, values = 0;
    int32_t longest = 0;
    if (laid) CHECK_OK(flip_snapshots_most(s, &most[0], &most[1]));
    for (int pass = 0, was = -1; pass < 2; pass++, was = -1) {
        flip_snapshots_begin(s);
        a.high = a.low - 1;
        for (int32_t i = 0; i < 2 * n + 5; i++) {
            const int32_t k = block_of_walk(g, n, i);
            const flip_adjacency *got;
            flip_adjacency *want = definition(g, x, *p, k);
            snprintf(what, sizeof what, "kind %d life %d window %d, block %d of %d, transfer %d",
                     p->kind, p->edge_life, p->window, k, n, transfer);
            CHECK_OK(flip_snapshots_block(s, k, &got));
            if (laid && flip_layout_steps(&x->layout, k) > 0)
                same_laid(what, kernels, got, want);
            else
                same_adjacency(what, got, want);
            flip_adjacency_destroy(&want);
            if (got->a.n_values > values) values = got->a.n_values;
            if (got->a.n_steps > longest) longest = got->a.n_steps;
            if (transfer == FLIP_TRANSFER_RESIDENT) continue;
            if (flip_layout_steps(&x->layout, k) > 0) check_device(s, &d, g, x);
            account(&a, flip_layout_first(&x->layout, k),
                    k == was ? 0 : flip_layout_steps(&x->layout, k), p->window > 1 ? p->window : 1,
                    k < was);
            was = k;
        }
    }
    if (laid) { /* what is counted beforehand: enough, and without a window no more than loops */
        const int64_t loops = p->window > 1 ? INT32_MAX : (int64_t)x->layout.n_rows * longest;
        CHECK(values <= most[1] && most[1] <= values + loops, "%s: %lld values, counted %lld", what,
              (long long)values, (long long)most[1]);
    }
    uint64_t forward, backward;
    flip_snapshots_sent(s, &forward, &backward);
    CHECK(forward == a.forward && backward == a.backward,
          "%s, %d value bits: %llu bytes forward, %llu back; want %llu and %llu", what, value_bits,
          (unsigned long long)forward, (unsigned long long)backward, (unsigned long long)a.forward,
          (unsigned long long)a.backward);
    CHECK(flip_comm_meter(comm)->bytes[FLIP_BYTES_GRAPH_TO_DEVICE] - before == forward + backward,
          "the meter differs");
    free_dense(&d);
    flip_snapshots_destroy(&s);
    assert_null(s);
    free_mine(&m);
}

static void test_walks(void **state) {
    (void)state;
    static const int32_t lives[] = {1, 2, 4, 16}, windows[] = {0, 3};
    const flip_kernels *kernels = test_kernels() ? test_kernels() : flip_kernels_reference();
    for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++)
        for (int i = 0; i < 8; i++) {
            const bool gcn = kind == FLIP_ADJACENCY_GCN || kind == FLIP_ADJACENCY_GCN_INOUT;
            if (kind >= FLIP_ADJACENCY_PATTERN && i % 2) continue;
            if (test_kernels() && i - 2 * (kind % 4) != (kind > 0 && i % 2))
                continue; /* an emulated GPU is slow */
            const int32_t steps = i % 3 == 0 ? MOST_STEPS : 7 + i;
            stream g =
                make_stream((uint64_t)(kind * 8 + i), 19, steps, 2 * 19, 140, gcn ? i % 2 : i % 3);
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
                for (int transfer = 0; transfer <= FLIP_TRANSFER_RESIDENT; transfer++)
                    for (int way = test_kernels() != NULL; way < 2; way++)
                        check_walk(&g, &x, &p, (flip_transfer)transfer, i % 4 == 1 ? 3 : 32,
                                   way ? kernels : NULL);
                free_grid(&x);
            }
            free_stream(&g);
        }
}

/* More steps of a block than packets wait for a device, by kernels that are told of at the end
 * alone: a GPU's, or plain ones that pass for one's. Edges live long: differences are few. */
static void test_many_steps(void **state) {
    (void)state;
    flip_kernels plain = *flip_kernels_reference();
    plain.on_device = true;
    const flip_kernels *kernels = test_kernels() ? test_kernels() : &plain;
    const int32_t steps = size * (FLIP_SNAPSHOTS_AHEAD + 12);
    stream g = make_stream(700, 11, steps, 3 * 11, 4 * steps, FRACTIONS);
    flip_adjacency_params p = {.kind = FLIP_ADJACENCY_WSUM, .n_steps = steps, .edge_life = 12};
    g.life = p.edge_life;
    grid x = make_grid(&g, size, 1);
    check_walk(&g, &x, &p, FLIP_TRANSFER_DELTA, 32, kernels);
    free_grid(&x);
    free_stream(&g);
}

static flip_real factor_of(double sum) {
    return (flip_real)(1.0 / sqrt(1.0 + sum));
}

/* A sum that half a unit in the last place does not move, but one does, and its factor with it. */
static double find_brink(double from, double unit) {
    for (;; from += 0.01) {
        double low = from, high = from + 0.005;
        while (high - low > unit) {
            const double mid = low + (high - low) / 2;
            *(factor_of(mid) == factor_of(low) ? &low : &high) = mid;
        }
        if (low + unit / 2 == low && factor_of(low) != factor_of(low + unit)) return low;
    }
}

/* The largest flip_real that is not above x. */
static double floor_real(double x) {
    const flip_real y = (flip_real)x;
    return (double)y <= x ? (double)y : (double)nextafterf((float)y, 0);
}

/* Sums of columns in the order of the rows' own numbers: in that of their original ids, the
 * reverse, the last column's would have another factor. */
static void test_column_order(void **state) {
    (void)state;
    enum { N = 6 };
    const double unit = ldexp(1, -51), sum = find_brink(2.1, unit), rest = sum - floor_real(sum);
    flip_gid dst[N - 1] = {0, 1, 2, 3, 4}, src[N - 1] = {5, 5, 5, 5, 5};
    double weight[N - 1] = {floor_real(sum), floor_real(rest), rest - floor_real(rest), unit / 2,
                            unit / 2};
    int32_t step[N - 1] = {0};
    int64_t original[N] = {4, 3, 2, 1, 0, 5};
    const stream g = {.n = N,
                      .steps = 4,
                      .life = 4,
                      .n_events = N - 1,
                      .dst = dst,
                      .src = src,
                      .step = step,
                      .weight = weight,
                      .original = original};
    const flip_adjacency_params p = {
        .kind = FLIP_ADJACENCY_GCN_INOUT, .n_steps = g.steps, .edge_life = g.life};
    grid x = make_grid(&g, size, 1);
    check_walk(&g, &x, &p, FLIP_TRANSFER_DELTA, 32,
               test_kernels() ? test_kernels() : flip_kernels_reference());
    free_grid(&x);
}

/* Words of every size of graph, and what does not fit them. */
static void test_words(void **state) {
    (void)state;
    static const int32_t sizes[] = {1, 2, 300, 65536, 100000, 5000000, INT32_MAX};
    static const flip_real values[] = {0,      1, 2, 3, 17, (flip_real)0.1, -1, (flip_real)1e30,
                                       1 << 20};
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 7; j++) {
            flip_word_form form = flip_word_form_of(sizes[i], sizes[j]);
            uint64_t key = (uint64_t)(sizes[i] - 1) << 32 | (uint64_t)(sizes[j] - 1), word;
            CHECK(form.value_bits >= 2 && form.value_bits <= 32, "%d bits", form.value_bits);
            for (int k = 0; k < 9; k++) {
                flip_real back = -7;
                bool packed = flip_word_pack(&form, key, values[k], &word);
                CHECK(flip_word_key(&form, word) == key, "key of %d x %d", sizes[i], sizes[j]);
                CHECK(flip_word_value(&form, word, &back) == packed, "value of %d x %d", sizes[i],
                      sizes[j]);
                CHECK(!packed || flip_same_bits(back, values[k]), "%g came back as %g",
                      (double)values[k], (double)back);
                CHECK(sizeof(flip_real) > 4 || packed == flip_word_fits(&form, values[k]),
                      "%g in %d bits", (double)values[k], form.value_bits);
            }
        }
}

/* The formula's numbers from the events alone. */
static void test_differences(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        stream g = make_stream(500 + (uint64_t)i, 13, 9, 2 * 13, 90, i % 3);
        g.life = i + 1;
        flip_adjacency_params p = {.kind = FLIP_ADJACENCY_WSUM,
                                   .n_steps = g.steps,
                                   .edge_life = g.life,
                                   .window = i % 2 * 3};
        grid x = make_grid(&g, 1, 1);
        mine m = take(&g, &x, false);
        dense d = make_dense(&g, &x, true, 32);
        flip_difference *got = calloc((size_t)g.steps, sizeof *got);
        CHECK_OK(flip_snapshots_differences(got, &m.events, &p));
        assert_memory_equal(got, d.difference, (size_t)g.steps * sizeof *got);
        free(got);
        free_dense(&d);
        free_mine(&m);
        free_grid(&x);
        free_stream(&g);
    }
}

/* A graph without steps: scales beside its values, whatever the transfer. */
static void test_static(void **state) {
    (void)state;
    for (int kind = 0; kind <= FLIP_ADJACENCY_ATTENTION; kind++)
        for (int transfer = 0; transfer <= FLIP_TRANSFER_RESIDENT; transfer++) {
            stream g = make_stream(900 + (uint64_t)kind, 23, 2, 2 * 23, 80, 1);
            g.steps = 1;
            grid x = make_grid(&g, 1, 1);
            mine m = take(&g, &x, false);
            flip_adjacency_params p = {.kind = (flip_adjacency_kind)kind, .n_steps = 1};
            flip_adjacency *want;
            const flip_adjacency *got;
            flip_snapshots *s;
            m.events.step = NULL;
            CHECK_OK(flip_adjacency_create(&want, x.layout.space, x.part_first, x.layout.original,
                                           &m.events, &p));
            CHECK_OK(flip_snapshots_create(&s, &x.layout, &m.events, &p, (flip_transfer)transfer));
            CHECK_OK(flip_snapshots_block(s, 0, &got));
            same_adjacency("static", got, want);
            same("static", "row_scale", got->a.row_scale, want->a.row_scale,
                 (size_t)got->n_own * sizeof(flip_real));
            flip_adjacency_destroy(&want);
            flip_snapshots_destroy(&s);
            free_mine(&m);
            free_grid(&x);
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
        cmocka_unit_test(test_words),  cmocka_unit_test(test_differences),
        cmocka_unit_test(test_walks),  cmocka_unit_test(test_many_steps),
        cmocka_unit_test(test_static), cmocka_unit_test(test_column_order),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
