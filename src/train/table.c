/* Where the time and the bytes went. */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

/* What a rank tells at the end. */
typedef struct rank_counts {
    flip_meter train, evaluate, rest, first;
    double total_seconds;
    uint64_t graph[2];                 /* bytes to the device, forward and backward */
    uint64_t peak_bytes, loaded_bytes; /* resident: the most, and before the first epoch */
    uint64_t device_bytes;             /* of a GPU: the most */
    flip_device_counts device, device_first, device_run;
    uint64_t halo_rows, pair_rows; /* rows sent in one forward pass */
    uint64_t saved_bytes;          /* most that waited for a backward walk */
    flip_store_use store;
    flip_meter ahead; /* of the thread that made batches; its bytes are in train */
} rank_counts;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *list, int64_t n) {
    if (n == 0) return 0;
    qsort(list, (size_t)n, sizeof *list, ascending);
    return n % 2 ? list[n / 2] : 0.5 * (list[n / 2 - 1] + list[n / 2]);
}

/* Counts of all ranks [size], from flip_alloc. Collective. */
static flip_status gather(rank_counts **all, const flip_tally *tally, const flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    rank_counts mine = {.train = tally->train,
                        .evaluate = tally->evaluate,
                        .rest = tally->rest,
                        .first = tally->first,
                        .total_seconds = tally->total_seconds,
                        .peak_bytes = flip_memory_peak(),
                        .device_bytes = trainer->kernels->peak(),
                        .device = tally->device,
                        .device_first = tally->device_first,
                        .loaded_bytes = tally->loaded_bytes,
                        .saved_bytes = flip_tape_saved(trainer->tape),
                        .store = flip_batching_store(trainer->batching),
                        .ahead = flip_batching_ahead(trainer->batching)};
    const flip_device_counts now = trainer->kernels->counts();
    flip_device_counts_add(&mine.device_run, &now, &trainer->counted_before);
    for (int32_t k = 0; k < data->layout->n_blocks; k++)
        mine.halo_rows += (uint64_t)data->halo_rows[k];
    mine.graph[0] = tally->graph[0];
    mine.graph[1] = tally->graph[1];
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    for (int32_t k = 0; set->pairs && k < set->piece[set->n_blocks]; k++)
        if (set->pairs[k]) mine.pair_rows += (uint64_t)flip_pairs_rows_sent(set->pairs[k]);
    FLIP_TRY(flip_alloc(all, (size_t)flip_comm_size(data->comm), sizeof mine, "counts of ranks"));
    (*all)[0] = mine;
    flip_status status = flip_comm_gather_all(data->comm, *all, &mine, sizeof mine);
    if (status != FLIP_OK) flip_free(*all);
    return status;
}

/* ---- JSON ---- */

/* Whole numbers stay whole: bytes an epoch are the same every epoch unless pairs are sampled. */
static json_t *share(uint64_t total, int64_t n) {
    if (n == 0) return json_integer(0);
    if (total % (uint64_t)n == 0) return json_integer((json_int_t)(total / (uint64_t)n));
    return json_real((double)total / (double)n);
}

/* Bytes of all epochs and of one. The first epoch of a run also aggregates the constant first
 * layer, so an epoch is what the others did; what the first did more is told as "bytes_once". */
static void epoch_bytes(const rank_counts *all, int size, int64_t epochs, int kind,
                        uint64_t *others, int64_t *n_others, uint64_t *first) {
    *others = *first = 0;
    for (int r = 0; r < size; r++) {
        *first += all[r].first.bytes[kind];
        *others += all[r].train.bytes[kind] - all[r].first.bytes[kind];
    }
    *n_others = epochs - 1;
    if (epochs > 1 || kind == FLIP_BYTES_CHECKPOINT) return;
    *others = *first;
    *n_others = epochs;
}

static json_t *bytes_json(const rank_counts *all, int size, int64_t epochs) {
    json_t *object = json_object();
    for (int k = 0; k < FLIP_BYTES_COUNT; k++) {
        uint64_t others, first;
        int64_t n;
        epoch_bytes(all, size, epochs, k, &others, &n, &first);
        if (k == FLIP_BYTES_CHECKPOINT) others += first;
        json_object_set_new(object, flip_bytes_name((flip_bytes)k),
                            share(others, k == FLIP_BYTES_CHECKPOINT ? epochs : n));
    }
    return object;
}

static json_t *once_bytes_json(const rank_counts *all, int size, int64_t epochs) {
    json_t *object = json_object();
    for (int k = 0; k < FLIP_BYTES_COUNT; k++) {
        uint64_t others, first;
        int64_t n;
        epoch_bytes(all, size, epochs, k, &others, &n, &first);
        uint64_t usual = n > 0 ? others / (uint64_t)n : 0;
        bool more = epochs > 1 && k != FLIP_BYTES_CHECKPOINT && first > usual;
        json_object_set_new(object, flip_bytes_name((flip_bytes)k),
                            json_integer(more ? (json_int_t)(first - usual) : 0));
    }
    return object;
}

static json_t *evaluation_bytes_json(const rank_counts *all, int size, int64_t n) {
    json_t *object = json_object();
    for (int k = 0; k < FLIP_BYTES_COUNT; k++) {
        uint64_t sum = 0;
        for (int r = 0; r < size; r++)
            sum += all[r].evaluate.bytes[k];
        json_object_set_new(object, flip_bytes_name((flip_bytes)k), share(sum, n));
    }
    return object;
}

static json_t *run_bytes_json(const rank_counts *all, int size) {
    json_t *object = json_object();
    for (int k = 0; k < FLIP_BYTES_COUNT; k++) {
        uint64_t sum = 0;
        for (int r = 0; r < size; r++)
            sum += all[r].evaluate.bytes[k] + all[r].train.bytes[k] + all[r].rest.bytes[k];
        json_object_set_new(object, flip_bytes_name((flip_bytes)k), json_integer((json_int_t)sum));
    }
    return object;
}

/* Seconds of an epoch in each stage, mean over the ranks and the epochs; ahead: of the thread that
 * made batches. */
static json_t *stages_json(const rank_counts *all, int size, int64_t epochs, bool ahead) {
    json_t *object = json_object();
    for (int k = 0; k < FLIP_STAGE_COUNT; k++) {
        double sum = 0;
        for (int r = 0; r < size; r++)
            sum += ahead ? all[r].ahead.seconds[k] : all[r].train.seconds[k];
        if (ahead && sum == 0) continue;
        json_object_set_new(object, flip_stage_name((flip_stage)k),
                            json_real(epochs ? sum / (double)(epochs * size) : 0));
    }
    return object;
}

/* Median seconds of an epoch (rank 0's clock) and median processor seconds summed over ranks. */
static flip_status epoch_times(json_t *counts, const flip_tally *tally,
                               const flip_trainer *trainer) {
    int64_t n = tally->epochs;
    double *cpu = NULL, *seconds = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&cpu, (size_t)n, sizeof *cpu, "epoch times"));
    FLIP_TRY_GOTO(flip_alloc(&seconds, (size_t)n, sizeof *seconds, "epoch times"));
    memcpy(cpu, tally->cpu, (size_t)n * sizeof *cpu);
    memcpy(seconds, tally->seconds, (size_t)n * sizeof *seconds);
    FLIP_TRY_GOTO(flip_comm_sum_f64(trainer->data.comm, cpu, (size_t)n));
    if (counts) {
        json_object_set_new(counts, "seconds_per_epoch", json_real(median(seconds, n)));
        json_object_set_new(counts, "cpu_seconds_per_epoch", json_real(median(cpu, n)));
        json_object_set_new(counts, "seconds", json_real(tally->total_seconds));
    }
done:
    flip_free(cpu);
    flip_free(seconds);
    return status;
}

/* Passes over the timeline in an epoch, counted in blocks. */
static json_t *passes(int64_t blocks, const flip_tally *tally, const flip_trainer *trainer) {
    int64_t all = tally->epochs * trainer->data.layout->n_blocks;
    if (all == 0) return json_integer(0);
    if (blocks % all == 0) return json_integer((json_int_t)(blocks / all));
    return json_real((double)blocks / (double)all);
}

static const char *const distributions[] = {"auto", "nodes", "time", "wavefront", "window", "grid"};

static json_t *cost_json(const flip_cost *cost) {
    return json_pack("{s:s, s:f, s:f}", "distribution", distributions[cost->distribute], "bytes",
                     cost->bytes, "seconds", cost->seconds);
}

/* How the run was spread out, and what that cost. */
static void spread_json(json_t *counts, const rank_counts *all, int size, const flip_tally *tally,
                        const flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    const flip_passes *p = &trainer->passes;
    uint64_t graph[2] = {0, 0};
    json_t *each = json_object();
    json_object_set_new(each, "forward", passes(p->forward, tally, trainer));
    json_object_set_new(each, "backward", passes(p->backward, tally, trainer));
    json_object_set_new(each, "recomputation", passes(p->recomputation, tally, trainer));
    json_object_set_new(counts, "passes", each);
    json_object_set_new(counts, "distribution", json_string(distributions[data->s.distribute]));
    json_object_set_new(counts, "blocks", json_integer(data->layout->n_blocks));
    json_object_set_new(counts, "parts", json_integer(data->layout->n_space));
    json_object_set_new(counts, "chunks", json_integer(data->layout->n_time));
    for (int r = 0; r < size; r++)
        for (int k = 0; k < 2; k++)
            graph[k] += all[r].graph[k];
    each = json_object();
    json_object_set_new(each, "forward", share(graph[0], tally->epochs));
    json_object_set_new(each, "backward", share(graph[1], tally->epochs));
    json_object_set_new(counts, "graph_to_device", each);
    size_t carried = trainer->carry ? flip_carry_bytes(trainer->carry) : 0;
    json_object_set_new(counts, "carry_bytes", json_integer((json_int_t)carried));
    if (trainer->n_considered == 0) return;
    json_object_set_new(counts, "predicted", cost_json(&trainer->cost));
    json_t *considered = json_array();
    for (int32_t i = 0; i < trainer->n_considered; i++)
        json_array_append_new(considered, cost_json(&trainer->considered[i]));
    json_object_set_new(counts, "considered", considered);
}

static void add_counts(flip_store_counts *sum, const flip_store_counts *one) {
    sum->rows += one->rows;
    sum->hits += one->hits;
    sum->own += one->own;
    sum->remote += one->remote;
}

/* Rows and neighbours that batches asked for in the whole run, of all ranks; what rank 0's cache
 * holds. */
static json_t *store_json(const rank_counts *all, int size) {
    flip_store_counts sum = {0}, fine = {0};
    flip_sampler_counts asked = {0};
    const flip_store_use *first = &all[0].store;
    for (int r = 0; r < size; r++) {
        add_counts(&sum, &all[r].store.counts);
        add_counts(&fine, &all[r].store.fine);
        asked.asked += all[r].store.sampler.asked;
        asked.listed += all[r].store.sampler.listed;
        asked.bytes += all[r].store.sampler.bytes;
    }
    json_t *second = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "rows", (json_int_t)fine.rows,
                               "hits", (json_int_t)fine.hits, "own", (json_int_t)fine.own, "remote",
                               (json_int_t)fine.remote, "cached_rows", (json_int_t)first->fine_rows,
                               "cache_bytes", (json_int_t)first->fine_bytes);
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "rows",
        (json_int_t)sum.rows, "hits", (json_int_t)sum.hits, "own", (json_int_t)sum.own, "remote",
        (json_int_t)sum.remote, "cache_bytes", (json_int_t)first->cache_bytes, "cached_rows",
        (json_int_t)first->cached_rows, "row_bytes",
        (json_int_t)(first->cache_bytes - first->fine_bytes - (int64_t)first->sampler.list_bytes),
        "lists", (json_int_t)first->sampler.lists, "list_bytes",
        (json_int_t)first->sampler.list_bytes, "asked", (json_int_t)asked.asked, "listed",
        (json_int_t)asked.listed, "sample_bytes", (json_int_t)asked.bytes, "refinement", second);
}

/* Of an epoch, as epoch_bytes: what the first did is what it had to. */
static json_t *usual(uint64_t total, uint64_t first, int64_t epochs) {
    return epochs > 1 ? share(total - first, epochs - 1) : share(first, epochs);
}

/* Of all ranks: in epochs, in the first of them, and in the run. */
typedef struct device_sums {
    flip_device_counts epochs, first, run;
} device_sums;

static device_sums sum_devices(const rank_counts *all, int size) {
    const flip_device_counts none = {0};
    device_sums s = {0};
    for (int r = 0; r < size; r++) {
        flip_device_counts_add(&s.epochs, &all[r].device, &none);
        flip_device_counts_add(&s.first, &all[r].device_first, &none);
        flip_device_counts_add(&s.run, &all[r].device_run, &none);
    }
    return s;
}

static void device_json(json_t *counts, const rank_counts *all, int size, int64_t epochs,
                        const flip_estimate *e) {
    const size_t each = e->device_together / (size_t)e->ranks_of_device;
    const device_sums d = sum_devices(all, size);
    const flip_device_counts sum = d.epochs, first = d.first;
    json_t *peaks = json_array();
    for (int r = 0; r < size; r++)
        json_array_append_new(peaks, json_integer((json_int_t)all[r].device_bytes));
    json_object_set_new(counts, "peak_device_bytes_of_ranks", peaks);
    json_object_set_new(counts, "estimated_device_bytes", json_integer((json_int_t)each));
    json_object_set_new(counts, "device_waits", usual(sum.waits, first.waits, epochs));
    json_object_set_new(counts, "device_bytes_ahead", usual(sum.ahead, first.ahead, epochs));
    json_object_set_new(counts, "device_bytes_sent", usual(sum.sent, first.sent, epochs));
    json_object_set_new(counts, "device_bytes_received",
                        usual(sum.received, first.received, epochs));
    json_object_set_new(counts, "device_bytes_sent_run", json_integer((json_int_t)d.run.sent));
    json_object_set_new(counts, "device_bytes_received_run",
                        json_integer((json_int_t)d.run.received));
    json_object_set_new(counts, "device_replays", json_integer((json_int_t)sum.replays));
    json_object_set_new(counts, "device_replayed", json_integer((json_int_t)sum.replayed));
}

flip_status flip_tally_json(json_t **counts, const flip_tally *tally, const flip_trainer *trainer) {
    rank_counts *all;
    int size = flip_comm_size(trainer->data.comm);
    bool first = flip_comm_rank(trainer->data.comm) == 0;
    FLIP_TRY(gather(&all, tally, trainer));
    *counts = first ? json_object() : NULL;
    flip_status status = epoch_times(*counts, tally, trainer);
    if (first) {
        uint64_t peak = 0, loaded = 0, rows = 0, pair_rows = 0, saved = 0;
        json_t *peaks = json_array();
        for (int r = 0; r < size; r++) {
            peak = all[r].peak_bytes > peak ? all[r].peak_bytes : peak;
            loaded = all[r].loaded_bytes > loaded ? all[r].loaded_bytes : loaded;
            rows += all[r].halo_rows;
            pair_rows += all[r].pair_rows;
            saved += all[r].saved_bytes;
            json_array_append_new(peaks, json_integer((json_int_t)all[r].peak_bytes));
        }
        json_object_set_new(*counts, "peak_rss_bytes", json_integer((json_int_t)peak));
        json_object_set_new(*counts, "peak_rss_bytes_of_ranks", peaks);
        if (trainer->kernels->on_device)
            device_json(*counts, all, size, tally->epochs, &trainer->estimate);
        json_object_set_new(*counts, "loaded_rss_bytes", json_integer((json_int_t)loaded));
        json_object_set_new(*counts, "saved_bytes", json_integer((json_int_t)saved));
        json_object_set_new(*counts, "stage_seconds", stages_json(all, size, tally->epochs, false));
        json_object_set_new(*counts, "stage_seconds_ahead",
                            stages_json(all, size, tally->epochs, true));
        json_object_set_new(*counts, "halo_rows", json_integer((json_int_t)rows));
        json_object_set_new(*counts, "pair_rows", json_integer((json_int_t)pair_rows));
        spread_json(*counts, all, size, tally, trainer);
        if (trainer->batching) json_object_set_new(*counts, "store", store_json(all, size));
        json_object_set_new(*counts, "bytes", bytes_json(all, size, tally->epochs));
        json_object_set_new(*counts, "bytes_once", once_bytes_json(all, size, tally->epochs));
        json_object_set_new(*counts, "bytes_evaluation",
                            evaluation_bytes_json(all, size, tally->evaluations));
        json_object_set_new(*counts, "bytes_run", run_bytes_json(all, size));
    }
    flip_free(all);
    return status;
}

/* ---- text ---- */

static void human_bytes(char *text, size_t size, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) {
        bytes /= 1024;
        u++;
    }
    snprintf(text, size, bytes < 10 && u ? "%.2f %s" : "%.0f %s", bytes, units[u]);
}

/* One row: seconds min/avg/max over ranks, share, and the rate reached beside the limit. */
static void print_stage(FILE *out, const char *name, const double *seconds, int size, double total,
                        double traffic, double flops, const flip_limits *limits) {
    double low = seconds[0], high = 0, sum = 0;
    for (int r = 0; r < size; r++) {
        low = seconds[r] < low ? seconds[r] : low;
        high = seconds[r] > high ? seconds[r] : high;
        sum += seconds[r];
    }
    if (high < 5e-5) return;
    fprintf(out, "  %-12s %9.3f %9.3f %9.3f %6.1f %%", name, low, sum / size, high,
            100 * sum / size / total);
    if (flops > 0)
        fprintf(out, "   %7.1f GFLOP/s %4.0f %%", flops / sum * 1e-9,
                100 * flops / sum * 1e-9 / limits->multiply_gflops);
    else if (traffic > 0)
        fprintf(out, "   %7.1f GB/s    %4.0f %%", traffic / sum * 1e-9,
                100 * traffic / sum * 1e-9 / limits->copy_gbs);
    fprintf(out, "\n");
}

static void print_times(FILE *out, const rank_counts *all, int size, const flip_limits *limits) {
    double total = 0, seconds[size], counted[size], evaluate[size];
    for (int r = 0; r < size; r++)
        total += all[r].total_seconds / size;
    memset(counted, 0, sizeof counted);
    memset(evaluate, 0, sizeof evaluate);
    fprintf(out, "seconds            min       avg       max    share   reached, share of this "
                 "machine's limit\n");
    for (int k = 0; k < FLIP_STAGE_COUNT; k++) {
        double traffic = 0, flops = 0;
        for (int r = 0; r < size; r++) {
            seconds[r] = all[r].train.seconds[k] + all[r].rest.seconds[k];
            counted[r] += seconds[r] + all[r].evaluate.seconds[k];
            evaluate[r] += all[r].evaluate.seconds[k];
            traffic += (double)(all[r].train.traffic[k] + all[r].rest.traffic[k]);
            flops += (double)(all[r].train.flops[k] + all[r].rest.flops[k]);
        }
        if (k == FLIP_STAGE_EVALUATE) continue;
        print_stage(out, flip_stage_name((flip_stage)k), seconds, size, total, traffic, flops,
                    limits);
    }
    print_stage(out, "evaluate", evaluate, size, total, 0, 0, limits);
    for (int r = 0; r < size; r++)
        seconds[r] = all[r].total_seconds - counted[r];
    print_stage(out, "other", seconds, size, total, 0, 0, limits);
    for (int r = 0; r < size; r++)
        seconds[r] = all[r].total_seconds;
    print_stage(out, "total", seconds, size, total, 0, 0, limits);
}

/* What a thread beside the trainer did meanwhile. */
static void print_ahead(FILE *out, const rank_counts *all, int size, int64_t prefetch,
                        const flip_limits *limits) {
    double seconds[size], total = 0;
    if (prefetch == 0) return;
    for (int r = 0; r < size; r++)
        total += all[r].total_seconds / size;
    fprintf(out,
            "at the same time, by the thread that makes batches (--prefetch %lld; wait: for a "
            "free place)\n",
            (long long)prefetch);
    for (int k = 0; k < FLIP_STAGE_COUNT; k++) {
        double traffic = 0, flops = 0;
        for (int r = 0; r < size; r++) {
            seconds[r] = all[r].ahead.seconds[k];
            traffic += (double)all[r].ahead.traffic[k];
            flops += (double)all[r].ahead.flops[k];
        }
        print_stage(out, flip_stage_name((flip_stage)k), seconds, size, total, traffic, flops,
                    limits);
    }
}

/* All that went to GPUs and came back, what the rows above name among it. */
static void print_bus(FILE *out, const rank_counts *all, int size, int64_t epochs) {
    const device_sums d = sum_devices(all, size);
    char to[2][32], from[2][32];
    if (d.run.sent == 0) return;
    const bool several = epochs > 1; /* the first sends what stays, too */
    const double n = several ? (double)(epochs - 1) : 1;
    human_bytes(to[0], sizeof to[0], (double)(d.epochs.sent - several * d.first.sent) / n);
    human_bytes(from[0], sizeof from[0],
                (double)(d.epochs.received - several * d.first.received) / n);
    human_bytes(to[1], sizeof to[1], (double)d.run.sent);
    human_bytes(from[1], sizeof from[1], (double)d.run.received);
    fprintf(out, "over the bus     an epoch    the run\n");
    fprintf(out, "  %-15s %10s %10s\n  %-15s %10s %10s\n", "to_gpu", to[0], to[1], "from_gpu",
            from[0], from[1]);
}

static void print_bytes(FILE *out, const rank_counts *all, int size, int64_t epochs) {
    char text[32], run[32];
    bool any = false;
    for (int k = 0; k < FLIP_BYTES_COUNT; k++) {
        uint64_t others, first;
        int64_t n;
        double whole = 0;
        epoch_bytes(all, size, epochs, k, &others, &n, &first);
        double sum = n > 0 ? (double)others / (double)n : 0;
        for (int r = 0; r < size; r++)
            whole +=
                (double)(all[r].train.bytes[k] + all[r].evaluate.bytes[k] + all[r].rest.bytes[k]);
        if (whole == 0) continue;
        if (!any) fprintf(out, "bytes, all ranks   an epoch   the run\n");
        any = true;
        human_bytes(text, sizeof text, sum);
        human_bytes(run, sizeof run, whole);
        fprintf(out, "  %-15s %10s %10s\n", flip_bytes_name((flip_bytes)k), text, run);
    }
    print_bus(out, all, size, epochs);
    fprintf(out, "peak memory of rank");
    for (int r = 0; r < size && r < 8; r++) {
        human_bytes(text, sizeof text, (double)all[r].peak_bytes);
        fprintf(out, "%s %d: %s", r ? "," : "", r, text);
        if (all[r].device_bytes == 0) continue;
        human_bytes(text, sizeof text, (double)all[r].device_bytes);
        fprintf(out, " and %s of its GPU", text);
    }
    fprintf(out, "%s\n", size > 8 ? ", …" : "");
}

/* What `auto` foresaw beside what came. */
static void print_choice(FILE *out, const rank_counts *all, int size, const flip_tally *tally,
                         const flip_trainer *trainer) {
    static const flip_bytes kinds[] = {FLIP_BYTES_HALO, FLIP_BYTES_REDISTRIBUTE, FLIP_BYTES_STATE,
                                       FLIP_BYTES_WINDOW};
    char foreseen[32], came[32];
    double bytes = 0, seconds = 0;
    if (trainer->n_considered == 0 || tally->epochs == 0) return;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t others, first;
        int64_t n;
        epoch_bytes(all, size, tally->epochs, kinds[i], &others, &n, &first);
        bytes += n > 0 ? (double)others / (double)n : 0;
    }
    for (int64_t i = 0; i < tally->epochs; i++)
        seconds += tally->seconds[i] / (double)tally->epochs;
    human_bytes(foreseen, sizeof foreseen, trainer->cost.bytes);
    human_bytes(came, sizeof came, bytes);
    fprintf(out,
            "distributed by %s (auto): predicted %.3g s and %s exchanged an epoch, measured %.3g s "
            "and %s%s\n",
            distributions[trainer->cost.distribute], trainer->cost.seconds, foreseen, seconds, came,
            trainer->data.n_pairs > 0 ? ", pairs' rows included" : "");
    for (int32_t i = 0; i < trainer->n_considered && trainer->n_considered > 1; i++) {
        const flip_cost *c = &trainer->considered[i];
        human_bytes(foreseen, sizeof foreseen, c->bytes);
        fprintf(out, "%s%s %.3g s and %s", i == 0 ? "  considered: " : ", ",
                distributions[c->distribute], c->seconds, foreseen);
    }
    if (trainer->n_considered > 1) fprintf(out, "\n");
}

flip_status flip_tally_print(const flip_tally *tally, const flip_trainer *trainer, FILE *out) {
    rank_counts *all;
    int size = flip_comm_size(trainer->data.comm);
    FLIP_TRY(gather(&all, tally, trainer));
    if (out) {
        flip_limits limits = flip_kernels_limits();
        limits.copy_gbs = limits.copy_gbs > 0 ? limits.copy_gbs : 1;
        limits.multiply_gflops = limits.multiply_gflops > 0 ? limits.multiply_gflops : 1;
        print_times(out, all, size, &limits);
        print_ahead(out, all, size, trainer->data.s.prefetch, &limits);
        print_bytes(out, all, size, tally->epochs);
        print_choice(out, all, size, tally, trainer);
    }
    flip_free(all);
    return FLIP_OK;
}
