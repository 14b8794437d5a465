/* t410: sampled batches against plain references — which entries may be drawn and how often, the
 * whole neighbourhood against the adjacency, values against expectation, rows' numbering, the order
 * of seeds; the same batches on 1 to 4 ranks and on 1 and 2 threads. */
#include <flipbook/sample.h>

#include "ranks.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 60, EVENTS = 900, STEPS = 7, LAYERS = 2, SEEDS = 9 };

static flip_comm *comm;
static int rank, size;
static flip_gid dst[EVENTS], src[EVENTS], first[8];
static int32_t step_of[EVENTS];
static double weight_of[EVENTS];
static int64_t original[NODES];
static int64_t times[NODES][NODES]; /* events of (destination, source) */

static uint64_t draw(uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(99, FLIP_STREAM_TEST, what, i, below);
}

/* Node NODES-1 has no in-edges, node 0 a hundred; edges are doubled; with three ranks or more rank
 * 1 owns nothing. Weights grow with the source. */
static void make_world(void) {
    for (uint64_t i = 0; i < EVENTS; i++) {
        dst[i] = i < 100 ? 0 : (flip_gid)draw(1, i, NODES - 1);
        src[i] = i % 5 == 4 ? src[i - 1] : (flip_gid)draw(2, i, NODES);
        if (i % 5 == 4) dst[i] = dst[i - 1];
        step_of[i] = (int32_t)draw(3, i, STEPS);
        weight_of[i] = i % 31 == 0 ? 0 : 0.25 + (double)src[i] / NODES;
        times[dst[i]][src[i]]++;
    }
    for (int32_t v = 0; v < NODES; v++)
        original[v] = (v * 11 + 5) % NODES;
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r * r / ((flip_gid)size * size);
    if (size >= 3) first[2] = first[1];
}

/* This rank's events; arrays by the caller. */
static flip_events own_events(flip_gid *d, flip_gid *s, int32_t *t, double *w, bool steps,
                              bool weighted) {
    int64_t n = 0;
    for (int i = 0; i < EVENTS; i++) {
        if (dst[i] < first[rank] || dst[i] >= first[rank + 1]) continue;
        d[n] = dst[i];
        s[n] = src[i];
        t[n] = step_of[i];
        w[n++] = weight_of[i];
    }
    return (flip_events){
        .n = n, .dst = d, .src = s, .step = steps ? t : NULL, .weight = weighted ? w : NULL};
}

static flip_sampler *make_sampler(flip_sampler_params p, bool weighted) {
    static flip_gid d[EVENTS], s[EVENTS];
    static int32_t t[EVENTS];
    static double w[EVENTS];
    flip_events events = own_events(d, s, t, w, p.temporal, weighted);
    flip_sampler *sampler;
    p.rank_first = first;
    p.original = original + first[rank];
    p.events = &events;
    if (p.layers == 0) p.layers = LAYERS;
    CHECK_OK(flip_sampler_create(&sampler, comm, &p));
    return sampler;
}

/* Seeds of this rank in the batch whose seeds, of all ranks, are node[n]. */
static int32_t own_seeds(flip_gid *mine, int64_t *ids, const flip_gid *node, int32_t n) {
    int32_t k = 0;
    for (int32_t i = 0; i < n; i++)
        if (node[i] >= first[rank] && node[i] < first[rank + 1]) {
            ids[k] = original[node[i]];
            mine[k++] = node[i];
        }
    return k;
}

static void take(flip_sampler *s, flip_batch *b, const flip_gid *node, int32_t n, int64_t epoch) {
    flip_gid mine[NODES];
    int64_t ids[NODES];
    int32_t k = own_seeds(mine, ids, node, n);
    CHECK_OK(flip_sampler_draw(s, b, k, mine, ids, NULL, epoch));
}

static flip_gid id_of_original(int64_t o) {
    for (int32_t v = 0; v < NODES; v++)
        if (original[v] == o) return v;
    return -1;
}

/* Global id of row i of any layer. */
static flip_gid row_id(const flip_batch *b, int32_t i) {
    return id_of_original(b->original[i]);
}

/* ---- rows and numbering ---- */

static void check_rows(const flip_batch *b) {
    for (int32_t l = 0; l < b->layers; l++) {
        const flip_mfg *m = &b->mfg[l];
        int32_t n_dst = l + 1 < b->layers ? b->mfg[l + 1].n_src : b->n_seeds;
        CHECK(m->n_dst == n_dst && m->adjacency.n_own == n_dst && m->adjacency.a.n_rows == n_dst,
              "layer %d has %d destinations, not %d", l, m->n_dst, n_dst);
        CHECK(m->n_src >= n_dst, "layer %d", l);
        for (int64_t e = 0; e < m->adjacency.a.n_entries; e++)
            CHECK(m->adjacency.a.col[e] >= 0 && m->adjacency.a.col[e] < m->n_src, "entry %lld",
                  (long long)e);
    }
    bool seen[NODES] = {false};
    for (int32_t i = 0; i < b->n_input && !b->column; i++) {
        CHECK(b->input[i] == row_id(b, i), "row %d", i);
        CHECK(!seen[b->input[i]], "row %d stands twice", i);
        seen[b->input[i]] = true;
    }
}

/* The transpose of a layer is its transpose. */
static void check_transpose(const flip_mfg *m) {
    double d[NODES][NODES] = {{0}};
    const flip_csr *a = &m->adjacency.a, *t = &m->adjacency.at;
    if (!t->row_ptr) return;
    for (int32_t v = 0; v < m->n_dst; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++)
            d[v][a->col[e]] +=
                (a->value ? (double)a->value[e] : 1) * (a->row_scale ? (double)a->row_scale[v] : 1);
    for (int32_t u = 0; u < m->n_src; u++)
        for (int64_t e = t->row_ptr[u]; e < t->row_ptr[u + 1]; e++)
            d[t->col[e]][u] -= (t->value ? (double)t->value[e] : 1) *
                               (t->col_scale ? (double)t->col_scale[t->col[e]] : 1);
    for (int32_t v = 0; v < m->n_dst; v++)
        for (int32_t u = 0; u < m->n_src; u++)
            CHECK(fabs(d[v][u]) < 1e-6, "(%d, %d) differs by %g", v, u, d[v][u]);
}

/* Row v of layer l as a dense row over all nodes. */
static void dense_row(const flip_batch *b, int32_t l, int32_t v, double *row) {
    const flip_csr *a = &b->mfg[l].adjacency.a;
    memset(row, 0, NODES * sizeof *row);
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        int32_t c = a->col[e];
        flip_gid u = l == 0 && b->column ? (c < a->n_own ? first[rank] + c : b->input[c - a->n_own])
                                         : row_id(b, c);
        row[u] +=
            (a->value ? (double)a->value[e] : 1) * (a->row_scale ? (double)a->row_scale[v] : 1);
    }
}

/* ---- fanout -1: the adjacency itself ---- */

static double entry_of(const flip_adjacency *g, int32_t v, flip_gid u) {
    double sum = 0;
    for (int64_t e = g->a.row_ptr[v]; e < g->a.row_ptr[v + 1]; e++) {
        int32_t c = g->a.col[e];
        flip_gid id = c < g->n_own ? first[rank] + c : g->halo[c - g->n_own];
        if (id != u) continue;
        sum += (g->a.value ? (double)g->a.value[e] : 1) *
               (g->a.row_scale ? (double)g->a.row_scale[v] : 1) *
               (g->a.col_scale ? (double)g->a.col_scale[c] : 1);
    }
    return sum;
}

static void whole_neighbourhoods(void **state) {
    (void)state;
    static const flip_adjacency_kind kinds[] = {FLIP_ADJACENCY_MEAN,      FLIP_ADJACENCY_SUM,
                                                FLIP_ADJACENCY_GCN,       FLIP_ADJACENCY_GCN_INOUT,
                                                FLIP_ADJACENCY_ATTENTION, FLIP_ADJACENCY_PATTERN};
    static const flip_gid seeds[SEEDS] = {0, 3, 7, 20, 21, 40, 58, 59, 33};
    static flip_gid d[EVENTS], s[EVENTS];
    static int32_t t[EVENTS];
    static double w[EVENTS];
    flip_batch *b;
    CHECK_OK(flip_batch_create(&b));
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int in_place = 0; in_place <= (kinds[k] < FLIP_ADJACENCY_PATTERN); in_place++) {
            flip_sampler *sampler = make_sampler((flip_sampler_params){.fanout = {-1, -1},
                                                                       .adjacency = kinds[k],
                                                                       .in_place = in_place},
                                                 true);
            flip_adjacency_params params = {.kind = kinds[k], .n_steps = 1};
            flip_events events = own_events(d, s, t, w, false, true);
            flip_adjacency *g;
            CHECK_OK(
                flip_adjacency_create(&g, comm, first, original + first[rank], &events, &params));
            take(sampler, b, seeds, SEEDS, 1);
            check_rows(b);
            for (int32_t l = 0; l < LAYERS; l++)
                for (int32_t v = 0; v < b->mfg[l].n_dst; v++) {
                    double row[NODES];
                    flip_gid id = row_id(b, v);
                    dense_row(b, l, v, row);
                    if (id < first[rank] || id >= first[rank + 1]) continue;
                    for (flip_gid u = 0; u < NODES; u++) {
                        double want = entry_of(g, (int32_t)(id - first[rank]), u);
                        CHECK(fabs(row[u] - want) <= 1e-6 * (1 + fabs(want)),
                              "kind %d, layer %d, (%lld, %lld): %g, not %g", (int)kinds[k], l,
                              (long long)id, (long long)u, row[u], want);
                    }
                }
            for (int32_t l = in_place; l < LAYERS; l++)
                check_transpose(&b->mfg[l]);
            flip_adjacency_destroy(&g);
            flip_sampler_destroy(&sampler);
        }
    flip_batch_destroy(&b);
}

/* ---- how often ---- */

/* On several ranks fewer: that they draw the same is tested below. */
static int epochs;

/* Mean over epochs of each entry of node 0's row (one hop), on the rank that has it. */
static bool mean_row(flip_sampler_params p, bool weighted, double *mean, double *count) {
    static const flip_gid seed[1] = {0};
    double row[NODES];
    flip_batch *b;
    bool mine = first[rank + 1] > first[rank] && first[rank] == 0;
    p.layers = 1;
    flip_sampler *s = make_sampler(p, weighted);
    CHECK_OK(flip_batch_create(&b));
    memset(mean, 0, NODES * sizeof *mean);
    *count = 0;
    for (int64_t epoch = 1; epoch <= epochs; epoch++) {
        take(s, b, seed, 1, epoch);
        if (!mine) continue;
        dense_row(b, 0, 0, row);
        *count += (double)b->mfg[0].adjacency.a.n_entries / epochs;
        for (int u = 0; u < NODES; u++)
            mean[u] += row[u] / epochs;
    }
    flip_batch_destroy(&b);
    flip_sampler_destroy(&s);
    return mine;
}

static double degree_of(flip_gid v) {
    double sum = 0;
    for (int u = 0; u < NODES; u++)
        sum += (double)times[v][u];
    return sum;
}

/* Within 5 standard errors. */
static void near(double got, double want, double error, const char *what, int u) {
    CHECK(fabs(got - want) <= 5 * error + 1e-6, "%s, source %d: %g, expected %g", what, u, got,
          want);
}

/* Means and sums of drawn rows are, on average, those of the whole row: each event is drawn as
 * often as any other. */
static void uniform_draws(void **state) {
    (void)state;
    double mean[NODES], count, n = degree_of(0);
    for (int replace = 0; replace <= 1; replace++)
        for (int kind = 0; kind <= 2; kind += 2)
            for (int sum = 0; sum <= 1; sum++) {
                /* LABOR's mean is that of a random number of entries: no share's expectation */
                if (kind && (replace || !sum)) continue;
                flip_sampler_params p = {.fanout = {8},
                                         .kind = (flip_sample_kind)kind,
                                         .replace = replace,
                                         .adjacency =
                                             sum ? FLIP_ADJACENCY_SUM : FLIP_ADJACENCY_MEAN};
                if (!mean_row(p, false, mean, &count)) continue;
                near(count, 8, kind ? sqrt(8.0 / epochs) : 0, "draws", -1);
                for (int u = 0; u < NODES; u++) {
                    double share = (double)times[0][u] / n, want = sum ? share * n : share;
                    /* a source's events are drawn apart: at most the error of independent ones; a
                     * doubled edge under LABOR is drawn or not as one */
                    double error =
                        sqrt(share / 8 / epochs) * (kind ? sqrt((double)times[0][u]) : 1);
                    near(mean[u], want, sum ? error * n : error, kind ? "labor" : "uniform", u);
                }
            }
}

/* By weight with replacement: a draw is source u with its share of the weight. */
static void weighted_again(void **state) {
    (void)state;
    double mean[NODES], count, share[NODES] = {0}, all = 0;
    for (int i = 0; i < EVENTS; i++)
        if (dst[i] == 0) {
            share[src[i]] += weight_of[i];
            all += weight_of[i];
        }
    flip_sampler_params p = {.fanout = {8},
                             .kind = FLIP_SAMPLE_WEIGHTED,
                             .replace = true,
                             .adjacency = FLIP_ADJACENCY_MEAN};
    if (!mean_row(p, true, mean, &count)) return;
    for (int u = 0; u < NODES; u++)
        near(mean[u], share[u] / all, sqrt(share[u] / all / 8 / epochs), "weighted", u);
}

/* Without: fanout 1 is one draw by weight (Efraimidis & Spirakis 2006, section 3). */
static void weighted_once(void **state) {
    (void)state;
    double mean[NODES], count, share[NODES] = {0}, all = 0;
    for (int i = 0; i < EVENTS; i++)
        if (dst[i] == 0) {
            share[src[i]] += weight_of[i];
            all += weight_of[i];
        }
    flip_sampler_params p = {
        .fanout = {1}, .kind = FLIP_SAMPLE_WEIGHTED, .adjacency = FLIP_ADJACENCY_MEAN};
    bool mine = mean_row(p, true, mean, &count);
    for (int u = 0; u < NODES && mine; u++)
        near(mean[u], share[u] / all, sqrt(share[u] / all / epochs), "weighted", u);
    p.fanout[0] = 90;
    if (mean_row(p, true, mean, &count)) near(count, 90, 0, "draws", -1);
}

/* GCN's sums: on average the whole row's. */
static void gcn_draws(void **state) {
    (void)state;
    double mean[NODES], count, whole[NODES], other;
    flip_sampler_params p = {.fanout = {8}, .adjacency = FLIP_ADJACENCY_GCN}, all = p;
    all.fanout[0] = -1;
    bool mine = mean_row(p, false, mean, &count);
    mean_row(all, false, whole, &other);
    if (!mine) return;
    near(count, 9, 0, "draws", -1);
    for (int u = 1; u < NODES; u++)
        near(mean[u], whole[u], whole[u] * sqrt(degree_of(0) / 8 / epochs), "gcn", u);
}

/* ---- what may be drawn ---- */

/* Without replacement no event is drawn twice; with fewer events than the fanout all are; a node
 * without in-edges has none; draws of another epoch or hop differ. */
static void drawn_entries(void **state) {
    (void)state;
    flip_gid seeds[NODES];
    for (int v = 0; v < NODES; v++)
        seeds[v] = v;
    static const int32_t fanouts[] = {1, 3, 10, 60, 99, 1000};
    for (size_t f = 0; f < sizeof fanouts / sizeof *fanouts; f++) {
        flip_sampler *s = make_sampler(
            (flip_sampler_params){.fanout = {fanouts[f], 2}, .adjacency = FLIP_ADJACENCY_SUM},
            false);
        flip_batch *b;
        CHECK_OK(flip_batch_create(&b));
        take(s, b, seeds, NODES, 3);
        check_rows(b);
        const flip_csr *a = &b->mfg[1].adjacency.a;
        for (int32_t v = 0; v < b->n_seeds; v++) {
            flip_gid id = row_id(b, v);
            int64_t n = a->row_ptr[v + 1] - a->row_ptr[v], seen[NODES] = {0};
            double degree = degree_of(id);
            CHECK(n == (degree < fanouts[f] ? (int64_t)degree : fanouts[f]), "node %lld: %lld",
                  (long long)id, (long long)n);
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++)
                seen[row_id(b, a->col[e])]++;
            for (int u = 0; u < NODES; u++)
                CHECK(seen[u] <= times[id][u], "(%lld, %d) drawn %lld times", (long long)id, u,
                      (long long)seen[u]);
        }
        flip_batch_destroy(&b);
        flip_sampler_destroy(&s);
    }
}

/* Temporal: only events before the seed's step (and not older than a life), at every hop; the most
 * recent are the last. */
static void temporal_draws(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        const int recent = way % 2, life = way / 2 * 2;
        flip_sampler *s = make_sampler((flip_sampler_params){.fanout = {4, 4},
                                                             .temporal = true,
                                                             .recent = recent,
                                                             .life = life,
                                                             .adjacency = FLIP_ADJACENCY_MEAN},
                                       false);
        flip_batch *b;
        flip_gid mine[2 * SEEDS];
        int64_t ids[2 * SEEDS];
        int32_t when[2 * SEEDS], n = 0;
        CHECK_OK(flip_batch_create(&b));
        for (int i = 0; i < 2 * SEEDS; i++) { /* the same nodes at two times, and behind the end */
            flip_gid v = (flip_gid)(i % SEEDS) * 3;
            if (v < first[rank] || v >= first[rank + 1]) continue;
            ids[n] = original[v];
            when[n] = i < SEEDS ? 1 + i % STEPS : STEPS + 5;
            mine[n++] = v;
        }
        CHECK_OK(flip_sampler_draw(s, b, n, mine, ids, when, 1));
        for (int32_t v = 0; v < n; v++)
            CHECK(b->step[v] == when[v], "row %d is of step %d", v, b->step[v]);
        const flip_csr *a = &b->mfg[1].adjacency.a;
        for (int32_t v = 0; v < n; v++) {
            int before[NODES] = {0}, total = 0, latest[STEPS] = {0};
            for (int i = 0; i < EVENTS; i++)
                if (dst[i] == mine[v] && step_of[i] < when[v] &&
                    (life == 0 || step_of[i] >= when[v] - life)) {
                    before[src[i]]++;
                    latest[step_of[i]]++;
                    total++;
                }
            int64_t k = a->row_ptr[v + 1] - a->row_ptr[v];
            CHECK(k == (total < 4 ? total : 4), "seed %d has %lld of %d", v, (long long)k, total);
            int cut = STEPS, left = (int)k; /* recent: no event older than the k-th latest */
            while (cut > 0 && left > 0)
                left -= latest[--cut];
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
                flip_gid u = row_id(b, a->col[e]);
                CHECK(before[u]-- > 0, "seed %d at %d drew %lld", v, when[v], (long long)u);
                bool fresh = false;
                for (int i = 0; i < EVENTS; i++)
                    fresh = fresh || (dst[i] == mine[v] && src[i] == u && step_of[i] >= cut &&
                                      step_of[i] < when[v]);
                CHECK(!recent || fresh, "seed %d drew an old event", v);
            }
        }
        flip_batch_destroy(&b);
        flip_sampler_destroy(&s);
    }
}

/* LABOR: destinations share sources, so a hop reads fewer rows than with draws of their own. */
static void labor_shares(void **state) {
    (void)state;
    flip_gid seeds[NODES];
    double rows[2] = {0, 0};
    for (int v = 0; v < NODES; v++)
        seeds[v] = v;
    for (int kind = 0; kind <= 1; kind++) {
        flip_sampler *s = make_sampler(
            (flip_sampler_params){.layers = 1,
                                  .fanout = {2},
                                  .kind = kind ? FLIP_SAMPLE_LABOR : FLIP_SAMPLE_UNIFORM,
                                  .adjacency = FLIP_ADJACENCY_MEAN},
            false);
        flip_batch *b;
        CHECK_OK(flip_batch_create(&b));
        for (int64_t epoch = 1; epoch <= 50; epoch++) {
            bool read[NODES] = {false};
            take(s, b, seeds, NODES, epoch);
            const flip_csr *a = &b->mfg[0].adjacency.a;
            for (int64_t e = 0; e < a->n_entries; e++)
                read[row_id(b, a->col[e])] = true;
            for (int u = 0; u < NODES; u++)
                rows[kind] += read[u];
        }
        flip_batch_destroy(&b);
        flip_sampler_destroy(&s);
    }
    CHECK(size > 1 || rows[1] < 0.85 * rows[0], "%g rows, %g", rows[1], rows[0]);
}

/* ---- the same everywhere ---- */

/* A number of a batch that does not depend on where its rows stand: of all ranks, the sum over the
 * entries of a hash of (layer, destination, source, value). Rows of layers below the seeds' stand
 * on each rank that wants them: they are counted once a rank and destination, by its seeds' reach.
 */
static uint64_t mix(uint64_t h) {
    h ^= h >> 31;
    return h * 0x9E3779B97F4A7C15u;
}

static uint64_t hash_of_row(const flip_batch *b, int32_t l, int32_t v) {
    double row[NODES];
    uint64_t sum = 0;
    dense_row(b, l, v, row);
    for (uint64_t u = 0; u < NODES; u++)
        sum += mix(mix((uint64_t)original[u] + 7) ^ (uint64_t)llround(row[u] * 1e5));
    return mix(sum ^ mix((uint64_t)l * 1000 + (uint64_t)b->original[v]));
}

/* hash[l][v] of every destination of any rank; ranks that share one agree. */
static void hashes(const flip_batch *b, uint64_t hash[LAYERS][NODES]) {
    memset(hash, 0, LAYERS * NODES * sizeof hash[0][0]);
    for (int32_t l = 0; l < LAYERS; l++)
        for (int32_t v = 0; v < b->mfg[l].n_dst; v++)
            hash[l][b->original[v]] = hash_of_row(b, l, v);
    uint64_t mine[LAYERS][NODES];
    memcpy(mine, hash, sizeof mine);
    CHECK_OK(flip_comm_or_u64(comm, &hash[0][0], LAYERS * NODES));
    for (int l = 0; l < LAYERS; l++)
        for (int v = 0; v < NODES; v++)
            CHECK(!mine[l][v] || mine[l][v] == hash[l][v], "layer %d of node %d differs", l, v);
}

/* The hashes of one rank and one thread, found by the plain run of make_expected. */
static uint64_t expected[4][LAYERS][NODES];
static const flip_sampler_params modes[4] = {
    {.fanout = {3, 5}, .adjacency = FLIP_ADJACENCY_MEAN, .in_place = true},
    {.fanout = {3, 2}, .adjacency = FLIP_ADJACENCY_MEAN, .kind = FLIP_SAMPLE_WEIGHTED},
    {.fanout = {4, 3}, .adjacency = FLIP_ADJACENCY_GCN, .kind = FLIP_SAMPLE_LABOR},
    {.fanout = {3, 3}, .adjacency = FLIP_ADJACENCY_SUM, .replace = true, .in_place = true}};

static void same_batches(void **state) {
    (void)state;
    static const flip_gid seeds[SEEDS] = {0, 3, 7, 20, 21, 40, 58, 59, 33};
    int threads = omp_get_max_threads();
    /* one rank for itself: the world with all nodes on it */
    flip_comm *all = comm;
    int my_rank = rank, my_size = size;
    flip_gid cut[8];
    memcpy(cut, first, sizeof cut);
    for (int turn = 0; turn < 3; turn++) {
        bool alone = turn == 0;
        comm = alone ? NULL : all;
        rank = alone ? 0 : my_rank;
        size = alone ? 1 : my_size;
        memcpy(first, cut, sizeof cut);
        if (alone) first[1] = NODES;
        omp_set_num_threads(turn == 2 ? 2 : 1);
        for (int m = 0; m < 4; m++) {
            uint64_t got[LAYERS][NODES];
            flip_batch *b;
            flip_sampler *s = make_sampler(modes[m], true);
            CHECK_OK(flip_batch_create(&b));
            take(s, b, seeds, SEEDS, 4); /* forgotten by the next */
            take(s, b, seeds, SEEDS, 5);
            hashes(b, alone ? expected[m] : got);
            if (!alone)
                CHECK(memcmp(got, expected[m], sizeof got) == 0, "mode %d, %d threads", m,
                      turn == 2 ? 2 : 1);
            flip_batch_destroy(&b);
            flip_sampler_destroy(&s);
        }
    }
    omp_set_num_threads(threads);
}

/* ---- the order of seeds ---- */

static void order_of_seeds(void **state) {
    (void)state;
    enum { N = 47, BATCH = 10 };
    int64_t key[N], mine[N], n = 0, place[N], before[N];
    flip_batches b;
    for (int i = 0; i < N; i++)
        key[i] = i * 977 - 5000;
    for (int i = 0; i < N; i++)
        if (i % size == rank) mine[n++] = key[i];
    CHECK_OK(flip_batches_create(&b, comm, n, mine, BATCH));
    CHECK(b.n == N && b.n_batches == 5 && b.n_mine == n, "%lld batches", (long long)b.n_batches);
    for (int64_t epoch = 1; epoch <= 3; epoch++) {
        int64_t in_batch[5] = {0};
        CHECK_OK(flip_batches_shuffle(&b, 17, epoch));
        memset(place, 0, sizeof place);
        for (int64_t k = 0; k < b.n_batches; k++) {
            for (int64_t i = b.first[k]; i < b.first[k + 1]; i++)
                place[(mine[b.item[i]] + 5000) / 977] = k + 1;
            in_batch[k] = b.first[k + 1] - b.first[k];
        }
        CHECK_OK(flip_comm_sum_i64(comm, place, N));
        CHECK_OK(flip_comm_sum_i64(comm, in_batch, 5));
        for (int k = 0; k < 5; k++)
            CHECK(in_batch[k] == (k < 4 ? BATCH : N - 4 * BATCH), "batch %d", k);
        int moved = 0;
        for (int i = 0; i < N; i++) {
            CHECK(place[i] >= 1 && place[i] <= 5, "item %d", i);
            moved += epoch > 1 && place[i] != before[i];
        }
        CHECK(epoch == 1 || moved > N / 2, "%d items moved", moved);
        memcpy(before, place, sizeof before);
    }
    flip_batches alone; /* the same batches as on one rank */
    CHECK_OK(flip_batches_create(&alone, NULL, N, key, BATCH));
    CHECK_OK(flip_batches_shuffle(&alone, 17, 3));
    for (int64_t k = 0; k < alone.n_batches; k++)
        for (int64_t i = alone.first[k]; i < alone.first[k + 1]; i++)
            CHECK(before[alone.item[i]] == k + 1, "item %lld", (long long)alone.item[i]);
    flip_batches_finish(&alone);
    flip_batches_finish(&b);
}

/* Heat: of an epoch of one hop with every neighbour, a row is read once in each batch that has it
 * or a node it is a source of. */
static void heat_of_rows(void **state) {
    (void)state;
    flip_sampler *s = make_sampler(
        (flip_sampler_params){.layers = 1, .fanout = {-1}, .adjacency = FLIP_ADJACENCY_MEAN},
        false);
    int32_t n = (int32_t)(first[rank + 1] - first[rank]);
    double heat[NODES], all[NODES], expected[NODES];
    int64_t key[NODES];
    flip_gid seed[NODES];
    flip_batches b;
    for (int32_t i = 0; i < n; i++) {
        seed[i] = first[rank] + i;
        key[i] = original[seed[i]];
        all[i] = 1;
    }
    CHECK_OK(flip_batches_create(&b, comm, n, key, 0));
    CHECK_OK(flip_sampler_heat(s, &b, seed, 1, heat));
    CHECK_OK(flip_sampler_expect(s, all, expected, NULL)); /* nothing is left to chance */
    for (int32_t i = 0; i < n; i++) {
        double want = 0;
        for (int r = 0; r < size; r++) { /* once for each rank whose nodes have it as a source */
            bool reads = r == rank;
            for (flip_gid v = first[r]; v < first[r + 1]; v++)
                reads = reads || times[v][seed[i]] > 0;
            want += reads;
        }
        CHECK(heat[i] == want, "node %lld: %g, not %g", (long long)seed[i], heat[i], want);
        CHECK(expected[i] == want, "node %lld: %g expected", (long long)seed[i], expected[i]);
    }
    flip_batches_finish(&b);
    flip_sampler_destroy(&s);
}

/* What is expected beside what is drawn, on average over epochs of batches of six seeds: node by
 * node after one hop, in sum and in order of heat (correlation) after two. */
static void expected_heat(void **state) {
    (void)state;
    static const flip_sampler_params kinds[] = {
        {.layers = 1, .fanout = {3}},
        {.layers = 1, .fanout = {3}, .replace = true},
        {.layers = 1, .fanout = {3}, .kind = FLIP_SAMPLE_WEIGHTED},
        {.layers = 2, .fanout = {3, 2}},
    };
    int32_t n = (int32_t)(first[rank + 1] - first[rank]);
    flip_gid seed[NODES];
    int64_t key[NODES];
    flip_batches b;
    for (int32_t i = 0; i < n; i++) {
        seed[i] = first[rank] + i;
        key[i] = original[seed[i]];
    }
    CHECK_OK(flip_batches_create(&b, comm, n, key, 6));
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        flip_sampler_params p = kinds[k];
        double mean[NODES] = {0}, heat[NODES], share[NODES], sum[5] = {0};
        p.adjacency = FLIP_ADJACENCY_MEAN;
        flip_sampler *s = make_sampler(p, p.kind == FLIP_SAMPLE_WEIGHTED);
        for (int32_t i = 0; i < n; i++)
            share[i] = 1 / (double)b.n_batches;
        CHECK_OK(flip_sampler_expect(s, share, heat, NULL));
        for (int64_t epoch = 1; epoch <= 400; epoch++) {
            double one[NODES];
            CHECK_OK(flip_sampler_heat(s, &b, seed, epoch, one));
            for (int32_t i = 0; i < n; i++)
                mean[i] += one[i] / 400;
        }
        for (int32_t i = 0; i < n; i++) {
            double x = heat[i] * (double)b.n_batches, y = mean[i];
            CHECK(p.layers > 1 || fabs(x - y) < 0.15 * y + 0.1, "kind %zu, node %lld: %g, drawn %g",
                  k, (long long)seed[i], x, y);
            double terms[] = {x, y, x * x, y * y, x * y};
            for (int j = 0; j < 5; j++)
                sum[j] += terms[j];
        }
        CHECK_OK(flip_comm_sum_f64(comm, sum, 5));
        double cov = sum[4] - sum[0] * sum[1] / NODES, vx = sum[2] - sum[0] * sum[0] / NODES;
        double alike = cov / sqrt(vx * (sum[3] - sum[1] * sum[1] / NODES));
        if (rank == 0)
            printf("# kind %zu: %.3f of what is drawn, correlation %.4f\n", k, sum[0] / sum[1],
                   alike);
        CHECK(fabs(sum[0] / sum[1] - 1) < .1 && alike > .95, "kind %zu: %g expected, %g drawn, %g",
              k, sum[0], sum[1], alike);
        flip_sampler_destroy(&s);
    }
    flip_batches_finish(&b);
}

/* ---- lists of other ranks ---- */

static bool is_own(flip_gid v) {
    return v >= first[rank] && v < first[rank + 1];
}

/* Two batches of this rank, bit by bit. */
static void check_equal(const flip_batch *a, const flip_batch *b) {
    CHECK(a->n_input == b->n_input &&
              memcmp(a->input, b->input, (size_t)a->n_input * sizeof *a->input) == 0,
          "other rows");
    for (int32_t l = 0; l < a->layers; l++) {
        const flip_csr *x = &a->mfg[l].adjacency.a, *y = &b->mfg[l].adjacency.a;
        size_t n = (size_t)x->n_entries;
        CHECK(x->n_rows == y->n_rows && x->n_entries == y->n_entries &&
                  memcmp(x->row_ptr, y->row_ptr, ((size_t)x->n_rows + 1) * 8) == 0 &&
                  memcmp(x->col, y->col, n * sizeof *x->col) == 0,
              "layer %d has other entries", l);
        CHECK(!x->value || memcmp(x->value, y->value, n * sizeof *x->value) == 0, "values");
        CHECK(!x->row_scale ||
                  memcmp(x->row_scale, y->row_scale, (size_t)x->n_rows * sizeof *x->row_scale) == 0,
              "layer %d has other scales", l);
    }
}

/* Nodes of others that a batch asks for where lists of `keep` [NODES] are here, and the bytes. */
static void count_questions(const flip_batch *b, const bool *keep, int64_t *asked, int64_t *listed,
                            int64_t *bytes) {
    for (int32_t l = 0; l < b->layers; l++)
        for (int32_t v = 0; v < b->mfg[l].n_dst; v++) {
            const int64_t *ptr = b->mfg[l].adjacency.a.row_ptr;
            if (is_own(row_id(b, v))) continue;
            if (keep[row_id(b, v)]) {
                ++*listed;
                continue;
            }
            ++*asked;
            *bytes += 8 + 2 * (int64_t)sizeof(flip_real) + 24 * (ptr[v + 1] - ptr[v]);
        }
}

static void keep_some(flip_sampler *s, bool *keep, int some) {
    uint8_t mine[NODES] = {0};
    for (int v = 0; v < NODES; v++) {
        keep[v] = some == 2 || (some == 1 && v % 3 != 1);
        if (is_own(v)) mine[v - first[rank]] = keep[v];
    }
    CHECK_OK(flip_sampler_keep(s, mine));
}

/* With lists of no, some and all nodes batches are the same; who is asked, and the bytes. */
static void lists_kept(void **state) {
    (void)state;
    static const flip_sampler_params kinds[] = {
        {.fanout = {3, 5}, .adjacency = FLIP_ADJACENCY_MEAN},
        {.fanout = {-1, 2}, .adjacency = FLIP_ADJACENCY_SUM},
        {.fanout = {3, 2}, .adjacency = FLIP_ADJACENCY_MEAN, .kind = FLIP_SAMPLE_WEIGHTED},
        {.fanout = {3, 3}, .adjacency = FLIP_ADJACENCY_SUM, .replace = true},
        {.fanout = {2, 40}, .adjacency = FLIP_ADJACENCY_ATTENTION},
        {.fanout = {3, 2}, .adjacency = FLIP_ADJACENCY_PATTERN},
        {.fanout = {3, 2}, .adjacency = FLIP_ADJACENCY_GCN},
        {.fanout = {3, 2}, .adjacency = FLIP_ADJACENCY_MEAN, .kind = FLIP_SAMPLE_LABOR}};
    static const flip_gid seeds[SEEDS] = {0, 3, 7, 12, 25, 31, 44, 58, 59};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int some = 0; some < 3; some++) {
            bool weighted = kinds[k].kind == FLIP_SAMPLE_WEIGHTED, keep[NODES];
            flip_sampler *plain = make_sampler(kinds[k], weighted);
            flip_sampler *kept = make_sampler(kinds[k], weighted);
            flip_batch *a, *b;
            int64_t asked = 0, listed = 0, bytes = 0;
            keep_some(kept, keep, some);
            for (int v = 0; v < NODES && k >= 6; v++)
                keep[v] = false; /* these keep none */
            CHECK_OK(flip_batch_create(&a));
            CHECK_OK(flip_batch_create(&b));
            for (int64_t epoch = 1; epoch < 6; epoch++) {
                take(plain, a, seeds, SEEDS, epoch);
                take(kept, b, seeds, SEEDS, epoch);
                check_equal(a, b);
                count_questions(b, keep, &asked, &listed, &bytes);
            }
            flip_sampler_counts c = flip_sampler_counted(kept);
            int64_t sent[2] = {(int64_t)c.bytes, bytes};
            CHECK(c.asked == asked && c.listed == listed, "kind %zu: %lld asked, %lld listed", k,
                  (long long)c.asked, (long long)c.listed);
            CHECK_OK(flip_comm_sum_i64(comm, sent, 2));
            CHECK(sent[0] == sent[1], "kind %zu: %lld bytes, not %lld", k, (long long)sent[0],
                  (long long)sent[1]);
            flip_batch_destroy(&a);
            flip_batch_destroy(&b);
            flip_sampler_destroy(&plain);
            flip_sampler_destroy(&kept);
        }
}

static void refusals(void **state) {
    (void)state;
    static const flip_sampler_params wrong[] = {
        {.layers = 9, .fanout = {1}, .adjacency = FLIP_ADJACENCY_MEAN},
        {.layers = 1, .fanout = {0}, .adjacency = FLIP_ADJACENCY_MEAN},
        {.layers = 1, .fanout = {2}, .adjacency = FLIP_ADJACENCY_WSUM},
        {.layers = 1, .fanout = {2}, .kind = FLIP_SAMPLE_WEIGHTED, .adjacency = FLIP_ADJACENCY_GCN},
        {.layers = 1,
         .fanout = {2},
         .kind = FLIP_SAMPLE_LABOR,
         .replace = true,
         .adjacency = FLIP_ADJACENCY_MEAN},
        {.layers = 1, .fanout = {2}, .recent = true, .adjacency = FLIP_ADJACENCY_MEAN},
        {.layers = 1, .fanout = {2}, .in_place = true, .adjacency = FLIP_ADJACENCY_PATTERN}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        flip_events none = {.n = 0};
        flip_sampler_params p = wrong[i];
        flip_sampler *s;
        p.rank_first = first;
        p.events = &none;
        CHECK(flip_sampler_create(&s, comm, &p) != FLIP_OK && !s, "case %zu", i);
        flip_error_clear();
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int failed = flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK;
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    epochs = size == 1 ? 4000 : 100;
    make_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_neighbourhoods), cmocka_unit_test(drawn_entries),
        cmocka_unit_test(uniform_draws),        cmocka_unit_test(weighted_again),
        cmocka_unit_test(weighted_once),        cmocka_unit_test(gcn_draws),
        cmocka_unit_test(temporal_draws),       cmocka_unit_test(labor_shares),
        cmocka_unit_test(same_batches),         cmocka_unit_test(order_of_seeds),
        cmocka_unit_test(heat_of_rows),         cmocka_unit_test(expected_heat),
        cmocka_unit_test(lists_kept),           cmocka_unit_test(refusals)};
    if (!failed) failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
