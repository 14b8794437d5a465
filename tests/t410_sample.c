/* t410: sampled batches against plain references — which entries may be drawn and how often, the
 * whole neighbourhood against the adjacency, values against expectation, rows' numbering; the same
 * batches on 1 to 4 ranks, on 1 and 2 threads, and in a device's memory; what is refused. */
#include "sample_world.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- batches in a table's memory ---- */

/* The table's array is the host's, to the last bit. */
static void same_array(const flip_kernels *k, const char *what, int layer, const void *want,
                       const void *there, size_t bytes) {
    static char room[1 << 16];
    CHECK(bytes <= sizeof room && !want == !there, "%s of layer %d: %zu bytes, %d there", what,
          layer, bytes, there != NULL);
    if (!want || bytes == 0) return;
    k->receive(room, there, bytes);
    CHECK_OK(k->wait());
    CHECK(memcmp(room, want, bytes) == 0, "%s of layer %d differs", what, layer);
}

static void same_matrix(const flip_kernels *k, int layer, const flip_csr *want,
                        const flip_csr *got) {
    const size_t n = (size_t)want->n_entries, rows = (size_t)want->n_rows;
    const size_t cols = (size_t)want->n_cols, real = sizeof(flip_real);
    CHECK(want->n_rows == got->n_rows && want->n_cols == got->n_cols && want->n_own == got->n_own &&
              want->n_entries == got->n_entries && want->n_values == got->n_values,
          "layer %d: %d x %d, not %d x %d", layer, got->n_rows, got->n_cols, want->n_rows,
          want->n_cols);
    if (!want->row_ptr && !got->row_ptr) return; /* no transpose */
    same_array(k, "row_ptr", layer, want->row_ptr, got->row_ptr, (rows + 1) * 8);
    same_array(k, "col", layer, want->col, got->col, n * 4);
    same_array(k, "value", layer, want->value, got->value, n * real);
    same_array(k, "row_scale", layer, want->row_scale, got->row_scale, rows * real);
    same_array(k, "col_scale", layer, want->col_scale, got->col_scale, cols * real);
}

static void same_batch(const flip_kernels *k, const flip_batch *want, const flip_batch *got) {
    int32_t n = want->column ? want->mfg[0].n_dst : want->n_input, row[NODES * (STEPS + 1)];
    CHECK(got->n_input == want->n_input && got->n_seeds == want->n_seeds && !got->input, "%d rows",
          got->n_input);
    for (int32_t l = 0; l < want->layers; l++) {
        const flip_mfg *a = &want->mfg[l], *b = &got->mfg[l];
        CHECK(a->n_dst == b->n_dst && a->n_src == b->n_src, "layer %d", l);
        same_matrix(k, l, &a->adjacency.a, &b->adjacency.a);
        same_matrix(k, l, &a->adjacency.at, &b->adjacency.at);
        same_array(k, "to_transposed", l, a->adjacency.to_transposed, b->adjacency.to_transposed,
                   (size_t)a->adjacency.a.n_entries * 8);
    }
    for (int32_t i = 0; i < n; i++)
        row[i] = want->column ? want->column[i] : (int32_t)want->input[i];
    same_array(k, "original", 0, want->original, got->original, (size_t)n * sizeof *got->original);
    same_array(k, "rows", 0, row, got->column, (size_t)n * sizeof *row);
    same_array(k, "steps", 0, want->step, got->step, (size_t)n * sizeof *row);
}

/* One rank's; of a timeline every second node is there at two steps. */
static void take_placed(flip_sampler *s, flip_batch *b, const flip_gid *node, int32_t n,
                        bool steps) {
    flip_gid seeds[SEEDS];
    int64_t ids[SEEDS];
    int32_t when[SEEDS];
    for (int32_t i = 0; i < n; i++) {
        seeds[i] = node[steps ? i / 2 * 2 : i];
        ids[i] = original[seeds[i]];
        when[i] = (i * 3 + 1) % (STEPS + 1);
    }
    CHECK_OK(flip_sampler_draw(s, b, n, seeds, ids, steps ? when : NULL, n));
}

/* The table takes memory of its own to sort in. */
static void warm(const flip_kernels *k) {
    static const flip_gid seed[] = {3};
    flip_sampler *s = make_sampler(
        (flip_sampler_params){
            .fanout = {1, 1}, .adjacency = FLIP_ADJACENCY_MEAN, .temporal = true, .steps = STEPS},
        true);
    flip_batch *b;
    CHECK_OK(flip_batch_create(&b));
    CHECK_OK(flip_sampler_place(s, k));
    take_placed(s, b, seed, 1, true);
    flip_batch_destroy(&b);
    flip_sampler_destroy(&s);
}

static size_t placed_bytes(const flip_sampler_params *params) {
    flip_sampler_params p = *params;
    p.layers = LAYERS;
    return flip_sampler_placed_bytes_of(NODES, EVENTS, true, &p) +
           flip_batch_placed_bytes_of(NODES, SEEDS, EVENTS, &p);
}

/* Those that take least come first: peaks are never lower again. */
static void by_bytes(const flip_sampler_params *cases, int n, int *order) {
    size_t bytes[64];
    for (int i = 0; i < n; i++) {
        flip_sampler_params p = cases[i];
        p.steps = STEPS;
        bytes[i] = placed_bytes(&p);
        int at = i;
        for (; at > 0 && bytes[order[at - 1]] > bytes[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static void placed_batches(void **state) {
    (void)state;
    static const flip_gid seeds[SEEDS] = {0, 3, 7, 20, 21, 40, 58, 59, 33};
    static const flip_sampler_params cases[] = {
        {.fanout = {3, 5}, .adjacency = FLIP_ADJACENCY_MEAN, .in_place = true},
        {.fanout = {60, 2}, .adjacency = FLIP_ADJACENCY_MEAN, .input_gradient = true},
        {.fanout = {4, -1}, .adjacency = FLIP_ADJACENCY_SUM, .in_place = true},
        {.fanout = {3, 50}, .adjacency = FLIP_ADJACENCY_SUM, .replace = true, .in_place = true},
        {.fanout = {4, 3}, .adjacency = FLIP_ADJACENCY_GCN, .in_place = true},
        {.fanout = {-1, 7}, .adjacency = FLIP_ADJACENCY_GCN_INOUT},
        {.fanout = {6, 2}, .adjacency = FLIP_ADJACENCY_ATTENTION},
        {.fanout = {-1, -1}, .adjacency = FLIP_ADJACENCY_ATTENTION},
        {.fanout = {2, 9}, .adjacency = FLIP_ADJACENCY_PATTERN},
        {.fanout = {3, 5}, .adjacency = FLIP_ADJACENCY_SUM, .kind = FLIP_SAMPLE_LABOR},
        {.fanout = {-1, 1},
         .adjacency = FLIP_ADJACENCY_GCN,
         .kind = FLIP_SAMPLE_LABOR,
         .in_place = true},
        {.fanout = {2, 40}, .adjacency = FLIP_ADJACENCY_ATTENTION, .kind = FLIP_SAMPLE_LABOR},
        {.fanout = {3, 4}, .adjacency = FLIP_ADJACENCY_MEAN, .temporal = true},
        {.fanout = {60, 2}, .adjacency = FLIP_ADJACENCY_SUM, .temporal = true, .life = 2},
        {.fanout = {4, 5}, .adjacency = FLIP_ADJACENCY_PATTERN, .temporal = true, .recent = true},
        {.fanout = {-1, 3}, .adjacency = FLIP_ADJACENCY_ATTENTION, .temporal = true, .life = 3},
        {.fanout = {5, -1}, .adjacency = FLIP_ADJACENCY_ATTENTION, .temporal = true},
        {.fanout = {3, 2}, .adjacency = FLIP_ADJACENCY_SUM, .temporal = true, .replace = true},
        {.fanout = {3, 4},
         .adjacency = FLIP_ADJACENCY_ATTENTION,
         .temporal = true,
         .kind = FLIP_SAMPLE_LABOR},
        {.fanout = {3, 5}, .adjacency = FLIP_ADJACENCY_MEAN, .kind = FLIP_SAMPLE_WEIGHTED},
        {.fanout = {-1, 1}, .adjacency = FLIP_ADJACENCY_PATTERN, .kind = FLIP_SAMPLE_WEIGHTED},
        {.fanout = {40, 7}, .adjacency = FLIP_ADJACENCY_ATTENTION, .kind = FLIP_SAMPLE_WEIGHTED},
        {.fanout = {3, 2},
         .adjacency = FLIP_ADJACENCY_MEAN,
         .temporal = true,
         .life = 3,
         .kind = FLIP_SAMPLE_WEIGHTED},
        {.fanout = {3, 5},
         .adjacency = FLIP_ADJACENCY_MEAN,
         .kind = FLIP_SAMPLE_WEIGHTED,
         .replace = true},
        {.fanout = {-1, 4},
         .adjacency = FLIP_ADJACENCY_ATTENTION,
         .temporal = true,
         .life = 2,
         .kind = FLIP_SAMPLE_WEIGHTED,
         .replace = true}};
    enum { N_CASES = sizeof cases / sizeof *cases };
    int order[N_CASES];
    const flip_kernels *tables[2] = {flip_kernels_get(), NULL};
    size_t foreseen = 0, own = 0;
    if (size > 1) return; /* refused below */
    if (flip_kernels_cuda_devices() > 0) {
        CHECK_OK(flip_kernels_cuda(&tables[1], 0));
        warm(tables[1]);
        own = tables[1]->peak(); /* the table's, and a seed's batch */
    }
#ifdef FLIP_TEST_EMULATED
    CHECK(tables[1] != NULL, "no device is emulated");
#endif
    by_bytes(cases, N_CASES, order);
    for (int i = 0; i < 2 * N_CASES; i++) {
        const flip_kernels *k = tables[i % 2];
        if (!k) continue;
        flip_sampler_params p = cases[order[i / 2]];
        p.steps = STEPS;
        flip_sampler *host = make_sampler(p, true), *placed = make_sampler(p, true);
        flip_batch *want, *got;
        CHECK_OK(flip_batch_create(&want));
        CHECK_OK(flip_batch_create(&got));
        if (placed_bytes(&p) > foreseen) foreseen = placed_bytes(&p);
        CHECK_OK(flip_sampler_place(placed, k));
        for (int32_t n = 0; n <= SEEDS; n += n ? 4 : 1) { /* none, few, more: memory grows */
            take_placed(host, want, seeds, n, p.temporal);
            take_placed(placed, got, seeds, n, p.temporal);
            same_batch(k, want, got);
        }
        for (int64_t epoch = 28; epoch <= 47; epoch += 19) { /* LABOR: more than is counted on */
            take(host, want, seeds, 1, epoch);
            take(placed, got, seeds, 1, epoch);
            same_batch(k, want, got);
        }
        CHECK(k->peak() <= own + foreseen, "case %d: %zu bytes at once, not %zu", order[i / 2],
              k->peak(), own + foreseen);
        flip_batch_destroy(&want);
        flip_batch_destroy(&got);
        flip_sampler_destroy(&host);
        flip_sampler_destroy(&placed);
    }
}

/* LABOR may draw more than is foreseen: of node 0's hundred candidates more than four, now and
 * then. What was numbered before stands in the wider room. */
static void more_than_foreseen(void **state) {
    (void)state;
    const flip_gid seed = 0;
    const int32_t when = STEPS;
    if (size > 1) return; /* refused below */
    for (int i = 0; i < 4; i++) {
        const flip_kernels *k = flip_kernels_get();
        if (i % 2 && flip_kernels_cuda_devices() == 0) continue;
        if (i % 2) CHECK_OK(flip_kernels_cuda(&k, 0));
        const bool temporal = i / 2;
        flip_sampler_params p = {.fanout = {1},
                                 .layers = 1,
                                 .adjacency = FLIP_ADJACENCY_SUM,
                                 .kind = FLIP_SAMPLE_LABOR,
                                 .temporal = temporal,
                                 .steps = STEPS};
        flip_sampler *host = make_sampler(p, true), *placed = make_sampler(p, true);
        CHECK_OK(flip_sampler_place(placed, k));
        p.rank_first = first;
        const int64_t foreseen = flip_batch_most_rows(NODES, 1, EVENTS, &p, 1);
        int more = 0;
        flip_batch *want, *got;
        CHECK_OK(flip_batch_create(&want));
        for (int64_t epoch = 1; epoch <= 20000 && more < 2; epoch++) {
            const int32_t *step = temporal ? &when : NULL;
            CHECK_OK(flip_sampler_draw(host, want, 1, &seed, original, step, epoch));
            if (want->n_input <= foreseen) continue;
            CHECK_OK(flip_batch_create(&got)); /* with no room of batches before */
            CHECK_OK(flip_sampler_draw(placed, got, 1, &seed, original, step, epoch));
            same_batch(k, want, got);
            flip_batch_destroy(&got);
            more++;
        }
        flip_batch_destroy(&want);
        CHECK(more == 2, "%d batches of more than %lld rows", more, (long long)foreseen);
        flip_sampler_destroy(&host);
        flip_sampler_destroy(&placed);
    }
}

/* Is what numbers entries in 32 bits asked before? A timeline's rows read entries again. */
static void too_many(void **state) {
    (void)state;
    static const struct {
        flip_sampler_params p;
        int64_t n_seeds, n_events;
        bool fits;
    } cases[] = {
        {{.fanout = {10, 10}, .layers = 2, .temporal = true, .steps = 30}, 1000, 100000000, true},
        {{.fanout = {10, -1}, .layers = 2, .temporal = true, .steps = 30}, 1000, 100000000, false},
        {{.fanout = {10, -1}, .layers = 2, .temporal = true, .steps = 30, .life = 9},
         1000,
         100000000,
         true},
        {{.fanout = {10, 10},
          .layers = 2,
          .temporal = true,
          .steps = 30,
          .kind = FLIP_SAMPLE_LABOR},
         1000,
         100000000,
         false},
        {{.fanout = {-1, -1}, .layers = 2}, 1000, 2000000000, true},
        {{.fanout = {-1, -1}, .layers = 2}, 1000, 2140000000, false},
        {{.fanout = {3000, 3000}, .layers = 2, .replace = true}, 200, 2000000000, true},
        {{.fanout = {3000, 3000}, .layers = 2, .replace = true}, 2000, 2000000000, false},
        {{.fanout = {3000, 3000}, .layers = 2}, 2000, 2000000000, true},
    };
    static const flip_gid nodes[] = {0, 10000000};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flip_sampler_params p = cases[i].p;
        p.rank_first = nodes;
        const bool fits = !flip_sampler_unplaced(&p, 1, cases[i].n_seeds, cases[i].n_events);
        CHECK(fits == cases[i].fits, "case %zu", i);
    }
}

/* What is drawn on the host alone says so. */
static void unplaced(void **state) {
    (void)state;
    /* several ranks; more nodes at steps than have numbers */
    const flip_sampler_params p = {.fanout = {3, 5},
                                   .adjacency = FLIP_ADJACENCY_MEAN,
                                   .temporal = size == 1,
                                   .steps = FLIP_NO_SLOT / NODES};
    flip_sampler *s = make_sampler(p, true);
    CHECK(flip_sampler_place(s, flip_kernels_get()) != FLIP_OK, "it is placed");
    CHECK(strstr(flip_error_message(), "stay on the host"), "%s", flip_error_message());
    flip_error_clear();
    flip_sampler_destroy(&s);
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
    begin_world();
    epochs = size == 1 ? 4000 : 100;
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_neighbourhoods),
                                       cmocka_unit_test(drawn_entries),
                                       cmocka_unit_test(uniform_draws),
                                       cmocka_unit_test(weighted_again),
                                       cmocka_unit_test(weighted_once),
                                       cmocka_unit_test(gcn_draws),
                                       cmocka_unit_test(temporal_draws),
                                       cmocka_unit_test(labor_shares),
                                       cmocka_unit_test(same_batches),
                                       cmocka_unit_test(placed_batches),
                                       cmocka_unit_test(more_than_foreseen),
                                       cmocka_unit_test(too_many),
                                       cmocka_unit_test(unplaced),
                                       cmocka_unit_test(refusals)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
