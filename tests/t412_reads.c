/* t412: what sampled batches read — the order of seeds; how often rows are read, as drawn and as
 * expected, against plain references; with lists of other ranks' neighbours kept or not the same
 * batches, and who is asked for how many bytes. */
#include "sample_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* This rank's nodes as seeds, and their keys. Returns how many. */
static int32_t own_nodes(flip_gid *seed, int64_t *key) {
    int32_t n = (int32_t)(first[rank + 1] - first[rank]);
    for (int32_t i = 0; i < n; i++) {
        seed[i] = first[rank] + i;
        key[i] = original[seed[i]];
    }
    return n;
}

/* Heat: of an epoch of one hop with every neighbour, a row is read once in each batch that has it
 * or a node it is a source of. */
static void heat_of_rows(void **state) {
    (void)state;
    flip_sampler *s = make_sampler(
        (flip_sampler_params){.layers = 1, .fanout = {-1}, .adjacency = FLIP_ADJACENCY_MEAN},
        false);
    double heat[NODES], all[NODES], expected[NODES];
    int64_t key[NODES];
    flip_gid seed[NODES];
    flip_batches b;
    int32_t n = own_nodes(seed, key);
    for (int32_t i = 0; i < n; i++)
        all[i] = 1;
    CHECK_OK(flip_batches_create(&b, comm, n, key, 0));
    CHECK_OK(flip_sampler_heat(s, &b, seed, 1, heat));
    CHECK_OK(flip_sampler_expect(s, all, 0, expected, NULL)); /* nothing is left to chance */
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

/* Expected x and drawn y [n] of own nodes: in sum and in order. */
static void check_alike(size_t k, int32_t n, const double *x, const double *y, double least) {
    double sum[5] = {0};
    for (int32_t i = 0; i < n; i++) {
        double terms[] = {x[i], y[i], x[i] * x[i], y[i] * y[i], x[i] * y[i]};
        for (int j = 0; j < 5; j++)
            sum[j] += terms[j];
    }
    CHECK_OK(flip_comm_sum_f64(comm, sum, 5));
    double cov = sum[4] - sum[0] * sum[1] / NODES, vx = sum[2] - sum[0] * sum[0] / NODES;
    double alike = cov / sqrt(vx * (sum[3] - sum[1] * sum[1] / NODES));
    if (rank == 0)
        printf("# kind %zu: %.3f of what is drawn, correlation %.4f\n", k, sum[0] / sum[1], alike);
    CHECK(fabs(sum[0] / sum[1] - 1) < .1 && alike > least, "kind %zu: %g expected, %g drawn, %g", k,
          sum[0], sum[1], alike);
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
    flip_gid seed[NODES];
    int64_t key[NODES];
    flip_batches b;
    int32_t n = own_nodes(seed, key);
    CHECK_OK(flip_batches_create(&b, comm, n, key, 6));
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        flip_sampler_params p = kinds[k];
        double mean[NODES] = {0}, heat[NODES], share[NODES];
        p.adjacency = FLIP_ADJACENCY_MEAN;
        flip_sampler *s = make_sampler(p, p.kind == FLIP_SAMPLE_WEIGHTED);
        for (int32_t i = 0; i < n; i++)
            share[i] = 1 / (double)b.n_batches;
        CHECK_OK(flip_sampler_expect(s, share, 0, heat, NULL));
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
            heat[i] = x;
        }
        check_alike(k, n, heat, mean, .95);
        flip_sampler_destroy(&s);
    }
    flip_batches_finish(&b);
}

/* ---- of a timeline ---- */

enum { BEFORE = 5 };

/* All own seeds of each batch at one step: readings of an epoch are added to read [n_own, STEPS].
 */
static void read_step(flip_sampler *s, flip_batches *b, const flip_gid *seed, int64_t epoch,
                      double *read) {
    flip_gid at[NODES];
    int64_t ids[NODES];
    int32_t step[NODES];
    flip_batch *batch;
    CHECK_OK(flip_batch_create(&batch));
    CHECK_OK(flip_batches_shuffle(b, 3, epoch));
    for (int64_t q = 0; q < b->n_batches; q++) {
        int32_t n = (int32_t)(b->first[q + 1] - b->first[q]);
        for (int32_t i = 0; i < n; i++) {
            at[i] = seed[b->item[b->first[q] + i]];
            ids[i] = original[at[i]];
            step[i] = BEFORE;
        }
        CHECK_OK(flip_sampler_draw(s, batch, n, at, ids, step, epoch));
        CHECK_OK(flip_sampler_count(s, batch, STEPS, read));
    }
    flip_batch_destroy(&batch);
}

/* Ranks with nodes that have u as a source at the step. */
static double readers(flip_gid u, int32_t life) {
    double n = 0;
    for (int r = 0; r < size; r++) {
        bool reads = u >= first[r] && u < first[r + 1];
        for (int i = 0; i < EVENTS; i++)
            reads = reads || (src[i] == u && dst[i] >= first[r] && dst[i] < first[r + 1] &&
                              step_of[i] < BEFORE && (life == 0 || step_of[i] >= BEFORE - life));
        n += reads;
    }
    return n;
}

/* With every neighbour of all nodes nothing is left to chance. */
static void whole_step(void **state) {
    (void)state;
    flip_gid seed[NODES];
    int64_t key[NODES];
    flip_batches b;
    int32_t n = own_nodes(seed, key);
    CHECK_OK(flip_batches_create(&b, comm, n, key, 0));
    for (int32_t life = 0; life < 4; life++) {
        double read[NODES * STEPS] = {0}, heat[NODES], all[NODES];
        flip_sampler *s = make_sampler((flip_sampler_params){.layers = 1,
                                                             .fanout = {-1},
                                                             .temporal = true,
                                                             .life = life,
                                                             .adjacency = FLIP_ADJACENCY_MEAN},
                                       false);
        for (int32_t i = 0; i < n; i++)
            all[i] = 1;
        CHECK_OK(flip_sampler_expect(s, all, BEFORE, heat, NULL));
        read_step(s, &b, seed, 1, read);
        for (int32_t i = 0; i < n; i++) {
            double want = readers(seed[i], life);
            CHECK(heat[i] == want, "life %d, node %lld: %g expected, not %g", life,
                  (long long)seed[i], heat[i], want);
            for (int t = 0; t < STEPS; t++)
                CHECK(read[i * STEPS + t] == (t == BEFORE - 1 ? want : 0),
                      "life %d, node %lld, step %d: %g read", life, (long long)seed[i], t,
                      read[i * STEPS + t]);
        }
        flip_sampler_destroy(&s);
    }
    flip_batches_finish(&b);
}

/* What is expected of a step beside what is drawn there, in sum and in order of heat. */
static void expected_at_a_step(void **state) {
    (void)state;
    enum { EPOCHS = 300 };
    static const flip_sampler_params kinds[] = {
        {.layers = 1, .fanout = {3}},
        {.layers = 1, .fanout = {3}, .life = 2},
        {.layers = 1, .fanout = {2}, .life = 4, .recent = true},
        {.layers = 2, .fanout = {3, 2}, .life = 3},
    };
    flip_gid seed[NODES];
    int64_t key[NODES];
    flip_batches b;
    int32_t n = own_nodes(seed, key);
    CHECK_OK(flip_batches_create(&b, comm, n, key, 6));
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        flip_sampler_params p = kinds[k];
        double read[NODES * STEPS] = {0}, heat[NODES], share[NODES], x[NODES], y[NODES];
        p.adjacency = FLIP_ADJACENCY_MEAN;
        p.temporal = true;
        flip_sampler *s = make_sampler(p, false);
        for (int32_t i = 0; i < n; i++)
            share[i] = 1 / (double)b.n_batches;
        CHECK_OK(flip_sampler_expect(s, share, BEFORE, heat, NULL));
        for (int64_t epoch = 1; epoch <= EPOCHS; epoch++)
            read_step(s, &b, seed, epoch, read);
        for (int32_t i = 0; i < n; i++) {
            x[i] = heat[i] * (double)b.n_batches;
            y[i] = read[i * STEPS + BEFORE - 1] / EPOCHS;
        }
        check_alike(k, n, x, y, .9);
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
        {.fanout = {4, 3},
         .adjacency = FLIP_ADJACENCY_MEAN,
         .kind = FLIP_SAMPLE_WEIGHTED,
         .replace = true},
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
            for (int v = 0; v < NODES && k >= 7; v++)
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

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    begin_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_seeds),     cmocka_unit_test(heat_of_rows),
        cmocka_unit_test(expected_heat),      cmocka_unit_test(whole_step),
        cmocka_unit_test(expected_at_a_step), cmocka_unit_test(lists_kept)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
