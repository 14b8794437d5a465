/* The store against plain oracles: which rows are cached, what a fetch brings, what it counts; rows
 * drawn to learn from. */
#include "store_world.h"

#include <flipbook/sample.h>

static void check_row(const world *w, const uint8_t *row, flip_gid id) {
    uint8_t coded[DIM * sizeof(float)];
    float plain[DIM];
    for (int32_t c = 0; c < DIM; c++)
        plain[c] = value(id, c);
    memcpy(coded, plain, sizeof plain);
    if (w->codec) CHECK_OK(flip_codec_encode(w->codec, 1, plain, NULL, coded));
    CHECK(memcmp(row, coded, w->stride) == 0, "row %lld is another", (long long)id);
}

/* ---- which rows are cached ---- */

/* Mean heat of the run of part p, from `taken` on, that has the largest, and its length. */
static double best_run(const world *w, int32_t p, int64_t taken, int64_t *length) {
    double sum = 0, best = -1;
    int64_t n = w->part_first[p + 1] - w->part_first[p];
    for (int64_t i = taken; i < n; i++) {
        sum += w->heat[w->part_first[p] + i];
        if (sum / (double)(i + 1 - taken) > best) {
            best = sum / (double)(i + 1 - taken);
            *length = i + 1 - taken;
        }
    }
    return best;
}

/* Prefixes by the best run of any part, again and again. */
static void hottest_prefixes(const world *w, int64_t k, bool *in) {
    int64_t taken[PARTS] = {0};
    memset(in, 0, NODES * sizeof *in);
    while (k > 0) {
        int64_t length = 0, at = 0;
        int32_t best = -1;
        double most = -1;
        for (int32_t p = 0; p < PARTS; p++) {
            double mean = best_run(w, p, taken[p], &at);
            if (mean <= most) continue;
            most = mean;
            best = p;
            length = at;
        }
        for (int64_t i = 0; i < length && k > 0; i++, k--)
            in[w->part_first[best] + taken[best]++] = true;
    }
}

static void check_cached(const world *w, const bool *in, const char *what) {
    for (int64_t v = 0; v < NODES; v++)
        CHECK(flip_store_is_cached(w->store, v, 0) == in[v], "%s: node %lld %s cached", what,
              (long long)v, in[v] ? "is not" : "is");
}

static int64_t rows_of(const world *w, bool index, uint64_t bytes) {
    uint64_t map = (NODES + 63) / 64 * 12;
    if (bytes / w->stride >= NODES) return NODES;
    if (index) bytes = bytes > map ? bytes - map : 0;
    return (int64_t)(bytes / w->stride);
}

static void cached_rows(void **state) {
    (void)state;
    world w;
    bool in[NODES];
    for (int coded = 0; coded < 2; coded++) {
        make_world(&w, coded);
        uint64_t all = NODES * w.stride;
        uint64_t budgets[] = {0,       1,       w.stride - 1, w.stride, 5 * w.stride + 1, all / 5,
                              all / 2, all - 1, all,          all + 1,  UINT64_MAX};
        for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++)
            for (int kind = 0; kind < 4; kind++) {
                bool anywhere = kind >= 2;
                set_heat(&w, kind == 1, anywhere && kind == 3);
                open_store(&w, true, anywhere, budgets[b]);
                int64_t k = rows_of(&w, anywhere, budgets[b]);
                CHECK(flip_store_cached_rows(w.store) == k, "kind %d, %llu bytes: %lld rows", kind,
                      (unsigned long long)budgets[b], (long long)flip_store_cached_rows(w.store));
                CHECK(k == NODES || flip_store_cache_bytes(w.store) <= budgets[b],
                      "%zu bytes cached, %llu allowed", flip_store_cache_bytes(w.store),
                      (unsigned long long)budgets[b]);
                anywhere || kind == 1 ? hottest(w.heat, NODES, k, in) : hottest_prefixes(&w, k, in);
                check_cached(&w, in, kind == 1 ? "falling" : anywhere ? "anywhere" : "prefixes");
            }
        end_world(&w);
    }
}

/* Without heat parts get rows by their sizes. */
static void shares_by_size(void **state) {
    (void)state;
    world w;
    make_world(&w, false);
    open_store(&w, false, false, NODES * w.stride / 4);
    for (int32_t p = 0; p < PARTS; p++) {
        int64_t n = w.part_first[p + 1] - w.part_first[p], cached = 0;
        for (flip_gid v = w.part_first[p]; v < w.part_first[p + 1]; v++)
            cached += flip_store_is_cached(w.store, v, 0);
        CHECK(llabs(cached - n / 4) <= 1, "part %d: %lld of %lld", p, (long long)cached,
              (long long)n);
    }
    end_world(&w);
}

/* ---- fetching ---- */

static void check_fetch(world *w, int kind, uint64_t turn, flip_store_counts *sum) {
    flip_gid ids[MOST], own = w->rank_first[rank], end = w->rank_first[rank + 1];
    int64_t n = pattern(w, kind, turn, ids);
    uint8_t *out = malloc((size_t)n * w->stride + 1);
    out[(size_t)n * w->stride] = 0xA5;
    flip_gid kept[MOST];
    memcpy(kept, ids, (size_t)n * sizeof *ids);
    CHECK_OK(flip_store_fetch_begin(w->store, n, ids, NULL, n ? out : NULL));
    memset(ids, 0, sizeof ids); /* begin has read them */
    CHECK_OK(flip_store_fetch_end(w->store));
    for (int64_t i = 0; i < n; i++) {
        check_row(w, out + (size_t)i * w->stride, kept[i]);
        if (flip_store_is_cached(w->store, kept[i], 0))
            sum->hits++;
        else if (kept[i] >= own && kept[i] < end)
            sum->own++;
        else
            sum->remote++;
    }
    sum->rows += n;
    CHECK(out[(size_t)n * w->stride] == 0xA5, "written past the end");
    free(out);
}

/* Remote misses of this rank by who owns them: what the owner has sent is what all asked of it. */
static void check_counters(world *w, const flip_meter *before, const flip_store_counts *sum) {
    const flip_meter *meter = flip_comm_meter(comm);
    flip_store_counts c = flip_store_counted(w->store);
    int64_t k = flip_store_cached_rows(w->store), mine = 0, sent;
    for (flip_gid v = w->rank_first[rank]; v < w->rank_first[rank + 1]; v++)
        mine += flip_store_is_cached(w->store, v, 0);
    CHECK(c.rows == sum->rows && c.hits == sum->hits && c.own == sum->own &&
              c.remote == sum->remote,
          "counted %lld %lld %lld %lld", (long long)c.rows, (long long)c.hits, (long long)c.own,
          (long long)c.remote);
    uint64_t device =
        meter->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] - before->bytes[FLIP_BYTES_FEATURES_TO_DEVICE];
    uint64_t remote =
        meter->bytes[FLIP_BYTES_REMOTE_FEATURES] - before->bytes[FLIP_BYTES_REMOTE_FEATURES];
    CHECK(device == (uint64_t)(k + sum->own + sum->remote) * w->stride, "%llu bytes to the device",
          (unsigned long long)device);
    sent = (int64_t)(remote / w->stride) - (size - 1) * mine;
    int64_t both[2] = {sent, sum->remote};
    CHECK(remote % w->stride == 0 && sent >= 0, "%llu bytes sent", (unsigned long long)remote);
    CHECK_OK(flip_comm_sum_i64(comm, both, 2));
    CHECK(both[0] == both[1], "%lld rows sent, %lld asked for", (long long)both[0],
          (long long)both[1]);
}

static void fetches(void **state) {
    (void)state;
    world w;
    for (int coded = 0; coded < 2; coded++) {
        make_world(&w, coded);
        set_heat(&w, false, false);
        uint64_t all = NODES * w.stride, budgets[] = {0, w.stride - 1, all / 5, all};
        for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++)
            for (int anywhere = 0; anywhere < 2; anywhere++) {
                flip_meter before = *flip_comm_meter(comm);
                flip_store_counts sum = {0};
                open_store(&w, true, anywhere, budgets[b]);
                for (int turn = 0; turn < 14; turn++)
                    check_fetch(&w, turn % 7, (uint64_t)turn * 7 + b, &sum);
                check_counters(&w, &before, &sum);
            }
        end_world(&w);
    }
}

/* What only one rank gets wrong is an error everywhere, and the store goes on after it. */
static void refusals(void **state) {
    (void)state;
    world w;
    flip_gid ids[] = {1, NODES, 2}, low[] = {-1};
    uint8_t out[3 * DIM * sizeof(float)];
    flip_store_counts sum = {0};
    make_world(&w, false);
    set_heat(&w, true, false);
    open_store(&w, true, false, 10 * w.stride);
    bool wrong = rank == size - 1;
    CHECK(flip_store_fetch_begin(w.store, wrong ? 3 : 1, ids, NULL, out) == FLIP_ERROR_INTERNAL,
          "taken: an id too large");
    CHECK(strstr(flip_error_message(), "row 403 was asked for, there are 403"), "%s",
          flip_error_message());
    flip_error_clear();
    CHECK(flip_store_fetch_begin(w.store, 1, wrong ? low : ids, NULL, out) != FLIP_OK, "taken: -1");
    flip_error_clear();
    CHECK(flip_store_fetch_end(w.store) != FLIP_OK, "ended what had not begun");
    flip_error_clear();
    CHECK(flip_store_counted(w.store).rows == 0, "refused fetches are counted");
    for (int turn = 0; turn < 7; turn++)
        check_fetch(&w, turn, (uint64_t)turn, &sum);
    if (wrong) w.heat[w.rank_first[rank]] = NAN;
    flip_store_params p = params_of(&w, true, false, 100);
    flip_store *store;
    flip_status status = flip_store_create(&store, comm, &p);
    CHECK(status != FLIP_OK && !store, "heat that is no number");
    flip_error_clear();
    p = params_of(&w, true, false, 100);
    p.n_parts = 2;
    CHECK(flip_store_create(&store, comm, &p) != FLIP_OK && !store, "parts that end too early");
    flip_error_clear();
    end_world(&w);
}

/* A meter of one's own takes the bytes, and gives them back. */
static void meters(void **state) {
    (void)state;
    world w;
    flip_meter mine = {0}, before;
    flip_store_counts sum = {0};
    make_world(&w, true);
    open_store(&w, false, false, 0);
    before = *flip_comm_meter(comm);
    flip_store_meter(w.store, &mine);
    check_fetch(&w, 2, 1, &sum);
    CHECK(memcmp(before.bytes, flip_comm_meter(comm)->bytes, sizeof before.bytes) == 0,
          "counted in the communicator's meter");
    int64_t own = w.rank_first[rank + 1] - w.rank_first[rank];
    CHECK(mine.bytes[FLIP_BYTES_FEATURES_TO_DEVICE] == NODES * w.stride, "to the device");
    CHECK(mine.bytes[FLIP_BYTES_REMOTE_FEATURES] == (uint64_t)(size - 1) * (uint64_t)own * w.stride,
          "%llu bytes sent", (unsigned long long)mine.bytes[FLIP_BYTES_REMOTE_FEATURES]);
    flip_store_meter(w.store, NULL);
    check_fetch(&w, 2, 1, &sum);
    CHECK(flip_comm_meter(comm)->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] ==
              before.bytes[FLIP_BYTES_FEATURES_TO_DEVICE] + NODES * w.stride,
          "not given back");
    end_world(&w);
}

/* ---- hits of sampled batches ---- */

enum { BIG = 3000, EDGES = 36000, SEEDS = 240, EPOCHS = 6 };

typedef struct big_world {
    flip_gid rank_first[5], dst[EDGES], src[EDGES], seed[SEEDS];
    int64_t key[SEEDS];
    double degree[BIG], heat[BIG], read[BIG]; /* of own rows */
    int64_t n_seeds;
    uint8_t rows[BIG * sizeof(float)];
    flip_events events;
    flip_sampler *sampler;
    flip_batches batches;
} big_world;

/* Sources are skewed: the square of a uniform number. */
static void make_big(big_world *w) {
    for (int r = 0; r <= size; r++)
        w->rank_first[r] = (flip_gid)BIG * r / size;
    flip_gid first = w->rank_first[rank], end = w->rank_first[rank + 1];
    for (uint64_t e = 0; e < EDGES; e++) {
        double u = flip_random_uniform(9, FLIP_STREAM_TEST, 2, e);
        flip_gid dst = (flip_gid)draw(3, e, BIG), src = (flip_gid)(u * u * u * BIG) * 7 % BIG;
        if (src >= first && src < end) w->degree[src - first]++;
        if (dst < first || dst >= end) continue;
        w->dst[w->events.n] = dst;
        w->src[w->events.n++] = src;
    }
    w->events.dst = w->dst;
    w->events.src = w->src;
    for (int64_t i = 0; i < SEEDS; i++) {
        flip_gid v = i * 12 + 5;
        if (v < first || v >= end) continue;
        w->seed[w->n_seeds] = v;
        w->key[w->n_seeds++] = v;
    }
    flip_sampler_params p = {.rank_first = w->rank_first,
                             .events = &w->events,
                             .layers = 2,
                             .fanout = {5, 5},
                             .adjacency = FLIP_ADJACENCY_MEAN,
                             .seed = 1};
    CHECK_OK(flip_sampler_create(&w->sampler, comm, &p));
    CHECK_OK(flip_batches_create(&w->batches, comm, w->n_seeds, w->key, 40));
}

/* An epoch's batches are fetched; how often each row was read is added to w->read. */
static void read_epoch(big_world *w, flip_store *store, flip_batch *batch, int64_t epoch) {
    static uint8_t out[BIG * sizeof(float)];
    flip_gid ids[SEEDS];
    CHECK_OK(flip_batches_shuffle(&w->batches, 1, epoch));
    for (int64_t k = 0; k < w->batches.n_batches; k++) {
        int64_t n = w->batches.first[k + 1] - w->batches.first[k];
        for (int64_t i = 0; i < n; i++)
            ids[i] = w->seed[w->batches.item[w->batches.first[k] + i]];
        CHECK_OK(flip_sampler_draw(w->sampler, batch, (int32_t)n, ids, ids, NULL, epoch));
        CHECK_OK(flip_sampler_count(w->sampler, batch, 1, w->read));
        CHECK_OK(flip_store_fetch_begin(store, batch->n_input, batch->input, NULL, out));
        CHECK_OK(flip_store_fetch_end(store));
    }
}

static int falling_order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Presampling finds at least 90 % of the hits of the best set that there is for the counts of all
 * epochs, with a fifth of the rows. */
static void hits(void **state) {
    (void)state;
    static big_world w;
    flip_store *store;
    flip_batch *batch;
    memset(&w, 0, sizeof w);
    make_big(&w);
    int64_t n_own = w.rank_first[rank + 1] - w.rank_first[rank];
    CHECK_OK(flip_sampler_heat(w.sampler, &w.batches, w.seed, 0, w.heat));
    CHECK_OK(flip_heat_smooth(comm, n_own, w.heat, w.degree, 1));
    uint64_t index = (BIG + 63) / 64 * 12;
    flip_store_params p = {.rank_first = w.rank_first,
                           .part_first = w.rank_first,
                           .n_parts = size,
                           .dim = 1,
                           .rows = w.rows,
                           .heat = w.heat,
                           .anywhere = true,
                           .cache_bytes = BIG / 5 * sizeof(float) + index};
    CHECK_OK(flip_store_create(&store, comm, &p));
    CHECK_OK(flip_batch_create(&batch));
    for (int64_t epoch = 1; epoch <= EPOCHS; epoch++)
        read_epoch(&w, store, batch, epoch);
    double all[BIG] = {0}, best = 0, sum = 0;
    memcpy(all + w.rank_first[rank], w.read, (size_t)n_own * sizeof *all);
    CHECK_OK(flip_comm_sum_f64(comm, all, BIG));
    qsort(all, BIG, sizeof *all, falling_order);
    for (int64_t i = 0; i < BIG; i++) {
        sum += all[i];
        if (i < BIG / 5) best += all[i];
    }
    flip_store_counts c = flip_store_counted(store);
    int64_t both[2] = {c.rows, c.hits};
    CHECK_OK(flip_comm_sum_i64(comm, both, 2));
    CHECK((double)both[0] == sum, "%lld rows, counted %g", (long long)both[0], sum);
    if (rank == 0)
        printf("# %lld rows read, %.3f hits, the best set %.3f\n", (long long)both[0],
               (double)both[1] / sum, best / sum);
    CHECK((double)both[1] >= 0.9 * best && (double)both[1] <= best, "%lld hits, the best set %g",
          (long long)both[1], best);
    flip_batch_destroy(&batch);
    flip_store_destroy(&store);
    flip_batches_finish(&w.batches);
    flip_sampler_destroy(&w.sampler);
}

/* ---- rows to learn from ---- */

typedef struct table {
    int64_t key[NODES];
    int64_t most; /* rows of one reading */
} table;

static flip_status give_rows(void *data, int64_t first, int64_t count, float *out) {
    table *t = data;
    if (count > t->most) t->most = count;
    for (int64_t i = 0; i < count; i++)
        for (int32_t c = 0; c < DIM; c++)
            out[i * DIM + c] = value(t->key[first + i], c);
    return FLIP_OK;
}

static flip_status give_none(void *data, int64_t first, int64_t count, float *out) {
    (void)data;
    (void)out;
    return FLIP_FAIL(FLIP_ERROR_IO, "rows %lld, %lld have gone", (long long)first,
                     (long long)count);
}

static void rows_drawn(void **state) {
    (void)state;
    world w;
    table mine = {0}, whole = {0};
    make_world(&w, false);
    for (int64_t i = 0; i < NODES; i++) /* keys in an order that is nobody's */
        whole.key[i] = i * 37 % NODES * 3 + 1;
    int64_t first = w.rank_first[rank], n_own = w.rank_first[rank + 1] - first;
    memcpy(mine.key, whole.key + first, (size_t)n_own * sizeof *mine.key);
    static const int64_t wants[] = {0, 1, 50, NODES - 1, NODES, 10 * NODES};
    uint64_t together = 0;
    for (size_t k = 0; k < sizeof wants / sizeof *wants; k++)
        for (uint64_t seed = 1; seed < 3; seed++) {
            flip_row_source here = {n_own, DIM, mine.key, give_rows, &mine};
            flip_row_source all = {NODES, DIM, whole.key, give_rows, &whole};
            int64_t n, n_plain, want = wants[k] < NODES ? wants[k] : NODES;
            float *sample, *plain;
            CHECK_OK(flip_rows_draw(&sample, &n, comm, &here, wants[k], seed));
            CHECK_OK(flip_rows_draw(&plain, &n_plain, NULL, &all, wants[k], seed));
            CHECK(n == (rank == 0 ? want : 0) && n_plain == want, "%lld rows of %lld", (long long)n,
                  (long long)want);
            CHECK((sample != NULL) == (rank == 0), "the sample is rank 0's");
            for (int64_t i = 0; i < n; i++) {
                CHECK(memcmp(sample + i * DIM, plain + i * DIM, DIM * sizeof *plain) == 0,
                      "row %lld is another than on one rank", (long long)i);
                CHECK(i == 0 || sample[(i - 1) * DIM] < sample[i * DIM], "keys do not ascend");
                CHECK(((int64_t)sample[i * DIM] / 10 - 1) % 3 == 0, "no key");
            }
            if (wants[k] == 50)
                for (int64_t i = 0; i < n_plain; i++)
                    together += seed == 1 ? (uint64_t)plain[i * DIM] : -(uint64_t)plain[i * DIM];
            flip_free(sample);
            flip_free(plain);
        }
    CHECK(together != 0, "two seeds draw the same");
    flip_row_source broken = {n_own, DIM, mine.key, rank == size - 1 ? give_none : give_rows,
                              &mine};
    float *sample;
    int64_t n;
    CHECK(flip_rows_draw(&sample, &n, comm, &broken, NODES, 1) == FLIP_ERROR_IO && !sample,
          "a source that fails");
    flip_error_clear();
    end_world(&w);
}

int main(int argc, char **argv) {
    if (!begin_ranks(argc, argv)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_rows), cmocka_unit_test(shares_by_size), cmocka_unit_test(fetches),
        cmocka_unit_test(refusals),    cmocka_unit_test(hits),           cmocka_unit_test(meters),
        cmocka_unit_test(rows_drawn)};
    return end_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
