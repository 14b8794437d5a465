/* t944: hits of the feature cache in whole runs — with a fifth of the bytes of float32 rows, at
 * least 90 % of the hits of the best set of as many rows that there is for the counts of all
 * epochs, summed over ranks, which nobody can know beforehand. With rows of two levels and a fifth
 * of their bytes: of the bytes that the best set of rows and second levels saves; the nodes that
 * have a second one are those of the definition. Batches are drawn as training draws them, nothing
 * is learned.
 *
 *     t944_hits                                    a graph with the shape of ogbn-products
 *     t944_hits FILE [--hot presample …]           a file, measured and not judged */
#include "ranks.h"

#include "cli/settings.h"
#include "train/batch.h"

#include <flipbook/compress.h>
#include <flipbook/generate.h>
#include <flipbook/partition.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static flip_comm *comm;
static int size, rank;
static const char *file;
static int n_words;
static char **words;

/* ---- a graph ---- */

static void cut_graph(const char *plain, const char *to) {
    flip_partition_params how = FLIP_PARTITION_DEFAULTS;
    flip_reader *reader;
    flip_partition *partition;
    CHECK_OK(flip_reader_open(&reader, comm, plain, NULL));
    CHECK_OK(flip_partition_compute(&partition, comm, reader, &how));
    CHECK_OK(flip_partition_write(comm, reader, partition, &how, to));
    flip_partition_destroy(&partition);
    flip_reader_close(&reader);
}

static void make_payments(const char *plain, const char *to) {
    flip_payments_params p = FLIP_PAYMENTS_DEFAULTS;
    flip_generate_counts counts;
    p.common.n_nodes = 1000;
    p.common.n_steps = 24;
    p.common.seed = 4;
    CHECK_OK(flip_generate_payments(comm, plain, &p, &counts));
    cut_graph(plain, to);
}

static void make_graph(const char *plain, const char *to) {
    flip_rmat_params p = FLIP_RMAT_DEFAULTS;
    flip_generate_counts counts;
    p.common.n_nodes = 9796; /* products, a 250th */
    p.n_edges = 247437;
    p.n_classes = 47;
    p.common.n_features = 20;
    p.common.train = .0803;
    p.common.valid = .0161;
    p.common.seed = 4;
    CHECK_OK(flip_generate_rmat(comm, plain, &p, &counts));
    cut_graph(plain, to);
}

/* ---- reads of a run ---- */

typedef struct reads {
    double *count;   /* [own rows] readings of own rows by all ranks */
    int64_t n, hits; /* of all ranks */
    int64_t fine, fine_hits;
} reads;

static flip_settings settings_of(int argc, char **argv) {
    flip_settings s;
    flip_settings_default(&s);
    CHECK_OK(flip_settings_parse(&s, argc, argv, FLIP_FOR_TRAIN));
    s.threads = 1;
    return s;
}

static void open_trainer(flip_trainer *t, const flip_settings *s) {
    memset(t, 0, sizeof *t);
    CHECK_OK(flip_data_open(&t->data, comm, s));
    CHECK_OK(flip_trainer_distribute(t, 0));
    CHECK_OK(flip_data_place(&t->data));
    CHECK_OK(flip_batching_create(&t->batching, &t->data));
}

/* Of nodes at steps to rows, one for the steps it holds for. */
static void gather_rows(const flip_batching *b, const flip_data *data, reads *r) {
    double *rows = calloc((size_t)data->n_own * (size_t)data->steps + 1, sizeof *rows);
    for (int64_t v = 0; v < data->n_own; v++)
        for (int32_t t = 0; t < data->steps; t++)
            rows[flip_runs_row(&b->runs, v, t)] += r->count[v * data->steps + t];
    free(r->count);
    r->count = rows;
}

/* The batches of all epochs, read through the store as training reads them. */
static void read_epochs(flip_trainer *t, int64_t epochs, reads *r) {
    flip_batching *b = t->batching;
    flip_batch_slot *slot = b->pipe.slot;
    flip_data *data = &t->data;
    uint8_t *out = NULL;
    size_t room = 0, stride = flip_store_stride(b->store);
    r->count = calloc((size_t)data->n_own * (size_t)data->steps + 1, sizeof *r->count);
    for (int64_t epoch = 1; epoch <= epochs; epoch++) {
        if (data->s.task == FLIP_TASK_LINK)
            CHECK_OK(flip_data_sample(data, FLIP_PART_TRAIN, (uint64_t)epoch));
        CHECK_OK(flip_batch_epoch(b, data, epoch));
        for (int64_t k = 0; k < b->order.n_batches; k++) {
            CHECK_OK(flip_batch_draw(b, slot, data, epoch, k));
            CHECK_OK(flip_sampler_count(b->sampler, slot->batch, data->steps, r->count));
            if ((size_t)slot->batch->n_input * stride > room) {
                room = 2 * (size_t)slot->batch->n_input * stride;
                out = realloc(out, room);
            }
            CHECK_OK(flip_batch_store_fetch(b, slot, data, out));
        }
    }
    free(out);
    gather_rows(b, data, r);
    flip_store_counts c = flip_store_counted(b->store);
    flip_store_counts f = b->fine ? flip_store_counted(b->fine) : (flip_store_counts){0};
    int64_t all[4] = {c.rows, c.hits, f.rows, f.hits};
    CHECK_OK(flip_comm_sum_i64(comm, all, 4));
    r->n = all[0];
    r->hits = all[1];
    r->fine = all[2];
    r->fine_hits = all[3];
}

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Readings of the k rows that were read most. */
static double best_hits(const flip_trainer *t, const reads *r, int64_t k) {
    const flip_runs *runs = &t->batching->runs;
    int64_t mine = runs->first ? runs->first[t->data.n_own] : t->data.n_own, at = 0;
    int64_t *each = calloc((size_t)size, sizeof *each);
    size_t n = 0;
    CHECK_OK(flip_comm_gather_all(comm, each, &mine, sizeof mine));
    for (int i = 0; i < size; i++) {
        n += (size_t)each[i];
        at += i < rank ? each[i] : 0;
    }
    free(each);
    double *all = calloc(n, sizeof *all), best = 0, sum = 0;
    memcpy(all + at, r->count, (size_t)mine * sizeof *all);
    CHECK_OK(flip_comm_sum_f64(comm, all, n));
    qsort(all, n, sizeof *all, falling);
    for (size_t i = 0; i < n; i++) {
        sum += all[i];
        if (i < (size_t)k) best += all[i];
    }
    CHECK(sum == (double)r->n, "%lld rows read, %g counted", (long long)r->n, sum);
    free(all);
    return best;
}

/* Rows and second levels as items: what one saves a byte is how often it is read. */
typedef struct item {
    double count;
    int64_t bytes;
} item;

static int falling_items(const void *a, const void *b) {
    return falling(&((const item *)a)->count, &((const item *)b)->count);
}

/* Bytes that the best set of so many bytes saves: the densest items, the last one a part of which
 * fits counted whole. */
static double best_saved(const flip_trainer *t, const reads *r, int64_t budget) {
    const flip_data *data = &t->data;
    size_t n = (size_t)data->info->n_nodes;
    double *all = calloc(n, sizeof *all), saved = 0, read = 0;
    item *items = calloc(2 * n, sizeof *items);
    memcpy(all + data->rank_first[rank], r->count, (size_t)data->n_own * sizeof *all);
    CHECK_OK(flip_comm_sum_f64(comm, all, n));
    for (size_t i = 0; i < n; i++) {
        bool fine = !data->refined || (data->refined[i >> 6] >> (i & 63) & 1);
        items[2 * i] = (item){all[i], (int64_t)flip_store_stride(t->batching->store)};
        items[2 * i + 1] = (item){fine ? all[i] : 0, (int64_t)flip_store_stride(t->batching->fine)};
        read += items[2 * i + 1].count;
    }
    CHECK(read == (double)r->fine, "%lld second levels read, %g counted", (long long)r->fine, read);
    qsort(items, 2 * n, sizeof *items, falling_items);
    for (size_t i = 0; i < 2 * n && budget > 0; i++) {
        saved += items[i].count * (double)items[i].bytes;
        budget -= items[i].bytes;
    }
    free(all);
    free(items);
    return saved;
}

/* Share of the best set's hits, with a fifth of the bytes of float32 rows. */
static double share_of_best(int argc, char **argv, const char *what) {
    flip_settings s = settings_of(argc, argv);
    flip_trainer t;
    reads r = {0};
    flip_data probe = {0};
    if (s.cache_bytes == 0) { /* how many bytes are a fifth? */
        s.cache_bytes = 1;
        CHECK_OK(flip_data_open(&probe, comm, &s));
        s.cache_bytes = probe.info->n_nodes * probe.in_dim * (int64_t)sizeof(float) / 5;
        flip_data_close(&probe);
    }
    if (sizeof(flip_real) == sizeof(double)) s.cache_bytes *= 2;
    open_trainer(&t, &s);
    read_epochs(&t, s.epochs, &r);
    int64_t k = flip_store_cached_rows(t.batching->store);
    int64_t fifth = s.cache_bytes / (int64_t)flip_store_stride(t.batching->store);
    if (fifth > t.data.info->n_nodes) fifth = t.data.info->n_nodes;
    if (t.batching->runs.first) fifth = k; /* a rank has more rows than nodes, and a larger index */
    double best = best_hits(&t, &r, fifth), n = (double)r.n, share = (double)r.hits / best;
    if (rank == 0)
        printf("# %s: %lld rows of %lld, %.0f read, hits %.4f, best %.4f: share %.4f\n", what,
               (long long)k, (long long)t.data.info->n_nodes, n, (double)r.hits / n, best / n,
               share);
    CHECK((double)r.hits <= best || k > fifth, "more hits than the best set has");
    free(r.count);
    flip_trainer_close(&t);
    return share;
}

/* The set of --refine hot:F against the definition (train/refine.c): the share of all nodes of
 * largest s. */
static void check_refined(const flip_data *data) {
    const flip_events *e = &data->events;
    const int64_t n = data->info->n_nodes, first = data->rank_first[rank];
    double *s = calloc((size_t)n, sizeof *s), least = INFINITY, most = 0, share;
    int64_t *degree = calloc((size_t)data->n_own + 1, sizeof *degree), chosen = 0;
    bool *labelled = calloc((size_t)data->n_own + 1, sizeof *labelled);
    for (int64_t v = 0; v < data->n_own; v++) {
        for (int p = 0; p < FLIP_PARTS; p++)
            labelled[v] |= data->mask[p][v];
        s[first + v] = labelled[v];
    }
    for (int64_t i = 0; i < e->n; i++)
        degree[e->dst[i] - first]++;
    for (int64_t i = 0; i < e->n; i++)
        if (labelled[e->dst[i] - first]) s[e->src[i]] += pow((double)degree[e->dst[i] - first], -2);
    CHECK_OK(flip_comm_sum_f64(comm, s, (size_t)n));
    for (int64_t u = 0; u < n; u++) {
        bool in = data->refined[u >> 6] >> (u & 63) & 1;
        chosen += in;
        if (in)
            least = fmin(least, s[u]);
        else
            most = fmax(most, s[u]);
    }
    CHECK(flip_refine_share(data->s.refine, &share) && share > 0, "--refine %s", data->s.refine);
    CHECK(chosen == (int64_t)ceil(share * (double)n), "%lld nodes refined", (long long)chosen);
    CHECK(least > most - 2e-6, "%g is refined, %g is not", least, most); /* s to a 2^-20th */
    free(s);
    free(degree);
    free(labelled);
}

/* Share of the bytes that the best set saves, with a fifth of those of all rows of two levels. */
static double share_of_saved(int argc, char **argv, const char *what) {
    flip_settings s = settings_of(argc, argv);
    flip_trainer t;
    reads r = {0};
    flip_data probe = {0};
    s.cache_bytes = 1;
    CHECK_OK(flip_data_open(&probe, comm, &s));
    s.cache_bytes =
        probe.info->n_nodes * (probe.info->code_bytes + probe.info->refinement_bytes) / 5;
    if (probe.refined) check_refined(&probe);
    flip_data_close(&probe);
    open_trainer(&t, &s);
    read_epochs(&t, s.epochs, &r);
    const flip_store *rows = t.batching->store, *fine = t.batching->fine;
    int64_t bytes = (int64_t)(flip_store_cache_bytes(rows) + flip_store_cache_bytes(fine)) +
                    (int64_t)flip_sampler_counted(t.batching->sampler).list_bytes;
    double saved = (double)r.hits * (double)flip_store_stride(rows) +
                   (double)r.fine_hits * (double)flip_store_stride(fine);
    double share = saved / best_saved(&t, &r, s.cache_bytes);
    if (rank == 0)
        printf(
            "# %s: %lld rows and %lld second levels of %lld in %lld bytes of %lld, hits %.4f and "
            "%.4f: share %.4f\n",
            what, (long long)flip_store_cached_rows(rows), (long long)flip_store_cached_rows(fine),
            (long long)t.data.info->n_nodes, (long long)bytes, (long long)s.cache_bytes,
            (double)r.hits / (double)r.n, (double)r.fine_hits / (double)r.fine, share);
    CHECK(bytes <= s.cache_bytes && share <= 1, "%lld bytes, share %g", (long long)bytes, share);
    free(r.count);
    flip_trainer_close(&t);
    return share;
}

/* ---- tests ---- */

static char cut[64], packed[64], payments[64];

static void a_fifth(void **state) {
    (void)state;
    static const char *const cases[][4] = {
        {"--hot", "expected"},
        {"--hot", "presample"},
        {"--hot", "degree"},
        {"--hot", "expected", "--replace", "on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char what[64],
            *argv[20] = {"train", cut,      "--batch", "64",       "--fanout", "10,10",  "--model",
                         "sage",  "--task", "node",    "--epochs", "10",       "--seed", "3"};
        int n = 14;
        for (int k = 0; k < 4 && cases[i][k]; k++)
            argv[n++] = (char *)cases[i][k];
        snprintf(what, sizeof what, "%s %s", cases[i][1], cases[i][2] ? cases[i][2] : "");
        double share = share_of_best(n, argv, what);
        CHECK(share >= .9, "%s: %.4f of the best set's hits", what, share);
    }
}

/* Rows that change from step to step: the best set of as many rows. */
static void timeline(void **state) {
    (void)state;
    static const char *const hot[] = {"expected", "presample"};
    for (int i = 0; i < 2; i++) {
        char *argv[] = {"train",    payments,      "--batch", "200",         "--fanout",
                        "5,5",      "--model",     "sage",    "--task",      "edge",
                        "--epochs", "5",           "--seed",  "3",           "--cache-bytes",
                        "24K",      "--features",  "degree",  "--edge-life", "4",
                        "--hot",    (char *)hot[i]};
        double share = share_of_best(sizeof argv / sizeof *argv, argv, hot[i]);
        CHECK(share >= .9, "%s: %.4f of the best set's hits", hot[i], share);
    }
}

static void two_levels(void **state) {
    (void)state;
    static const char *const cases[][4] = {{"--hot", "expected", "--refine", "hot:0.1"},
                                           {"--hot", "presample", "--refine", "all"}};
    flip_compress_params how = FLIP_COMPRESS_DEFAULTS;
    flip_compressed out;
    flip_reader *reader;
    how.codec = "uniform:8+uniform:8"; /* of 20 columns: 20 bytes and 20 more */
    CHECK_OK(flip_reader_open(&reader, comm, cut, NULL));
    CHECK_OK(flip_compress(&out, comm, reader, packed, &how));
    flip_reader_close(&reader);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char what[64],
            *argv[20] = {"train", packed,   "--batch", "64",       "--fanout", "10,10",  "--model",
                         "sage",  "--task", "node",    "--epochs", "10",       "--seed", "3"};
        for (int k = 0; k < 4; k++)
            argv[14 + k] = (char *)cases[i][k];
        snprintf(what, sizeof what, "%s %s", cases[i][1], cases[i][3]);
        double share = share_of_saved(18, argv, what);
        CHECK(share >= .9, "%s: %.4f of what the best set saves", what, share);
    }
}

static void given(void **state) {
    (void)state;
    char *argv[64] = {"train", (char *)file};
    for (int i = 0; i < n_words && i < 62; i++)
        argv[2 + i] = words[i];
    share_of_best(2 + n_words, argv, file);
}

int main(int argc, char **argv) {
    int provided, failed;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    size = flip_comm_size(comm);
    rank = flip_comm_rank(comm);
    if (argc > 1) {
        file = argv[1];
        n_words = argc - 2;
        words = argv + 2;
        const struct CMUnitTest tests[] = {cmocka_unit_test(given)};
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    } else {
        char plain[64];
        int id = (int)getpid();
        CHECK_OK(flip_comm_broadcast(comm, &id, sizeof id, 0));
        snprintf(plain, sizeof plain, "t944_%d.h5", id);
        snprintf(cut, sizeof cut, "t944_%d_cut.h5", id);
        snprintf(packed, sizeof packed, "t944_%d_packed.h5", id);
        snprintf(payments, sizeof payments, "t944_%d_payments.h5", id);
        make_graph(plain, cut);
        make_payments(plain, payments);
        const struct CMUnitTest tests[] = {cmocka_unit_test(a_fifth), cmocka_unit_test(two_levels),
                                           cmocka_unit_test(timeline)};
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        if (rank == 0) {
            unlink(plain);
            unlink(cut);
            unlink(packed);
            unlink(payments);
        }
    }
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed != 0;
}
