/* Sampled batches: what the settings mean, and an epoch of them. */
#include "train/batch.h"

#include <stdlib.h>
#include <string.h>

/* ---- settings ---- */

bool flip_settings_batched(const flip_settings *s) {
    return strcmp(s->batch, "full") != 0;
}

/* fanout [layers] of "10,10" or "all"; a list of one number is that of every layer. */
flip_status flip_batch_read_fanout(const flip_settings *s, int32_t *fanout) {
    const char *at = s->fanout;
    int64_t n = 0;
    for (int64_t l = 0; l < s->layers; l++)
        fanout[l] = -1;
    if (strcmp(at, "all") == 0) return FLIP_OK;
    while (*at) {
        char *end;
        long value = strtol(at, &end, 10);
        if (value < 1 || value > INT32_MAX)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--fanout %s: %ld is not a number of neighbours; expected at least 1",
                             s->fanout, value);
        if (n < s->layers) fanout[n] = (int32_t)value;
        n++;
        at = *end ? end + 1 : end;
    }
    for (int64_t l = 1; n == 1 && l < s->layers; l++)
        fanout[l] = fanout[0];
    if (n != 1 && n != s->layers)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--fanout %s has %lld numbers, --layers %lld: one a layer, from the seeds "
                         "outwards, or one for all",
                         s->fanout, (long long)n, (long long)s->layers);
    return FLIP_OK;
}

flip_status flip_batch_check(const flip_settings *s) {
    int32_t fanout[FLIP_SAMPLE_LAYERS];
    const char *why = NULL;
    if (!flip_settings_batched(s)) {
        if (s->cache_bytes > 0 || s->hot)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--cache-bytes and --hot belong to sampled batches; add --batch N");
        if (s->prefetch > 0)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--prefetch %lld belongs to sampled batches; add "
                             "--batch N",
                             (long long)s->prefetch);
        if (s->replace || s->sampling || strcmp(s->fanout, "all") != 0)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "--fanout, --sampling and --replace belong to sampled batches; add "
                             "--batch N");
        return FLIP_OK;
    }
    if (s->hot && s->cache_bytes == 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--hot says what a cache holds; there is none without "
                                           "--cache-bytes");
    if (s->model > FLIP_MODEL_GIN || s->temporal != FLIP_TEMPORAL_NONE)
        why = "it needs every node at every step: models over time have no sampled batches";
    else if (s->norm == FLIP_NORM_BATCH)
        why = "--norm batch takes its statistics over all nodes; use --norm layer";
    else if (s->features == FLIP_FEATURES_LEARNED)
        why = "--features learned are moved by whole epochs; use given features";
    else if (s->layers > FLIP_SAMPLE_LAYERS)
        why = "it has at most 8 layers";
    if (why)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--batch %s: %s; or use --batch full", s->batch, why);
    return flip_batch_read_fanout(s, fanout);
}

flip_status flip_batch_settle(flip_data *data) {
    flip_settings *s = &data->s;
    int64_t most = s->prefetch > 0 && flip_settings_batched(s) ? -s->prefetch : 0;
    FLIP_TRY(flip_comm_max_i64(data->comm, &most, 1)); /* the least of all ranks */
    s->prefetch = -most;
    if (most == 0 || flip_comm_threaded(data->comm)) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "--prefetch %lld: a thread that fetches beside the trainer needs an MPI that "
                     "may be called from several threads at once, and this one may not "
                     "(MPI_THREAD_MULTIPLE); use --prefetch 0",
                     (long long)s->prefetch);
}

/* ---- life ---- */

/* Embeddings of a step are made of the edges that live at it, as in full batches. */
flip_sampler_params flip_batch_sampler_params(const flip_data *data) {
    flip_model_params model = flip_data_model_params(data);
    bool recent = data->s.sampling == FLIP_SAMPLING_RECENT;
    flip_sampler_params p = {.rank_first = data->rank_first,
                             .original = data->original,
                             .events = &data->events,
                             .layers = model.layers,
                             .kind =
                                 recent ? FLIP_SAMPLE_UNIFORM : (flip_sample_kind)data->s.sampling,
                             .temporal = data->steps > 1,
                             .steps = data->steps,
                             .life = (int32_t)data->s.edge_life,
                             .recent = recent,
                             .replace = data->s.replace,
                             .adjacency = flip_data_adjacency_params(data).kind,
                             .in_place = data->steps == 1 && flip_model_takes_aggregated(&model),
                             .seed = (uint64_t)data->s.seed};
    return p;
}

/* What batches of a timeline do not go with. */
static flip_status check_timeline(const flip_data *data) {
    const flip_settings *s = &data->s;
    const char *why = NULL;
    if (data->steps == 1)
        return s->sampling != FLIP_SAMPLING_RECENT
                   ? FLIP_OK
                   : FLIP_FAIL(FLIP_ERROR_USAGE,
                               "--sampling recent: '%s' has one step, no neighbour is more recent "
                               "than another; use uniform",
                               s->graph);
    if (s->protocol != FLIP_PROTOCOL_WHOLE)
        why = "windows and live updates go step by step; use --protocol whole";
    else if (s->distribute != FLIP_DISTRIBUTE_NODES)
        why = "a batch has all steps; use --distribute nodes";
    else if (flip_data_adjacency_params(data).kind == FLIP_ADJACENCY_GCN ||
             flip_data_adjacency_params(data).kind == FLIP_ADJACENCY_GCN_INOUT)
        why = "gcn's degrees differ from step to step; use --model sage, gat or gin";
    if (why)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--batch %s: '%s' has %d steps: %s; or use --batch full",
                         s->batch, s->graph, data->steps, why);
    int32_t rows; /* are asked for by number */
    return flip_narrow(&rows, (int64_t)data->n_own * data->steps,
                       "the number of nodes times steps");
}

flip_status flip_batching_create(flip_batching **out, flip_data *data) {
    flip_sampler_params p = flip_batch_sampler_params(data);
    flip_model_params model = flip_data_model_params(data);
    *out = NULL;
    if (!flip_settings_batched(&data->s)) return FLIP_OK;
    FLIP_TRY(flip_batch_read_fanout(&data->s, p.fanout));
    FLIP_TRY(flip_comm_agree(data->comm, check_timeline(data)));
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "batches"));
    flip_batching *b = *out;
    b->aggregates = flip_model_takes_aggregated(&model);
    if (flip_batch_stored(data)) p.in_place = false;
    b->in_place = p.in_place;
    b->meter = flip_comm_meter(data->comm);
    FLIP_TRY(flip_comm_agree(data->comm, flip_pipeline_create(b, data)));
    flip_meter_begin(b->meter, FLIP_STAGE_ADJACENCY);
    const flip_status status = flip_sampler_create(&b->sampler, data->comm, &p);
    flip_meter_end(b->meter);
    FLIP_TRY(status);
    if (flip_comm_size(data->comm) > 1 && !flip_batch_stored(data))
        FLIP_TRY(flip_comm_split(&b->comm, data->comm, 0, flip_comm_rank(data->comm)));
    FLIP_TRY(flip_batch_items(b, data));
    return flip_batch_store_create(b, data);
}

void flip_batching_destroy(flip_batching **batching) {
    flip_batching *b = *batching;
    *batching = NULL;
    if (!b || b->pipe.lost) return; /* a thread still waits with all of this in its hands */
    flip_store_destroy(&b->store);
    flip_store_destroy(&b->fine);
    flip_batching_unplace(b);
    flip_sampler_destroy(&b->sampler);
    flip_comm_destroy(&b->comm);
    flip_pipeline_finish(b);
    flip_batches_finish(&b->order);
    flip_free(b->run_first);
    flip_free(b->run_step);
    flip_free(b->item);
    flip_free(b);
}

/* ---- memory ---- */

/* Values a node has at once in the whole graph's forward pass: a layer's input and, where it
 * multiplies first, the product and its sum, else the sum and its product; attention's logits
 * beside. */
static int64_t forward_columns(const flip_model_params *m) {
    int64_t most = 0;
    for (int32_t l = 0; l < m->layers; l++) {
        int32_t in, out, state;
        flip_model_widths(m, l, &in, &out, &state);
        int64_t heads = m->kind == FLIP_MODEL_GAT && l == m->layers - 1 ? m->heads : 1;
        bool narrow = m->kind == FLIP_MODEL_GAT || (l > 0 && out < in);
        int64_t columns = (l > 0 ? in : 0) + (narrow ? 2 * heads * out : in + out);
        most = columns > most ? columns : most;
    }
    return most + (m->kind == FLIP_MODEL_GAT ? 4 * m->heads : 0);
}

/* Counts of a batch: rows grow by the fanouts until they are all nodes. Hop h draws entries[h] for
 * rows[h] destinations; in the end there are rows[layers]. */
typedef struct growth {
    int64_t rows[FLIP_SAMPLE_LAYERS + 1], entries[FLIP_SAMPLE_LAYERS];
} growth;

int64_t flip_batch_most_seeds(const flip_data *data) {
    int64_t batch = strtoll(data->s.batch, NULL, 10), nodes = data->info->n_nodes * data->steps;
    int64_t items = batch < nodes ? batch : nodes;
    const int64_t ends_of[] = {[FLIP_BATCH_NODES] = 1,
                               [FLIP_BATCH_EDGES] = 2,
                               [FLIP_BATCH_LINKS] = 2 * (1 + data->s.negatives)};
    int64_t ends = ends_of[flip_batch_kind_of(data)];
    int64_t ranks = flip_comm_size(data->comm), rows = (items + ranks - 1) / ranks * ends;
    return rows < nodes ? rows : nodes;
}

static growth grow(const flip_data *data, int64_t layers, const int32_t *fanout) {
    growth g = {0};
    int64_t nodes = data->info->n_nodes * data->steps, most = data->events.n;
    double degree = data->n_own > 0 ? (double)data->events.n / data->n_own : 0;
    g.rows[0] = flip_batch_most_seeds(data);
    for (int64_t h = 0; h < layers; h++) {
        double drawn = fanout[h] > 0 && fanout[h] < degree ? fanout[h] : degree;
        int64_t entries = (int64_t)((double)g.rows[h] * drawn);
        g.entries[h] = fanout[h] < 0 && entries > most ? most : entries;
        int64_t all = g.rows[h] + g.entries[h];
        g.rows[h + 1] = all < nodes ? all : nodes;
    }
    return g;
}

/* Of a packed row, its second level counted. */
static int64_t packed_bytes(const flip_data *data) {
    const flip_packing *fine = data->packed.fine.packing;
    return (int64_t)(data->packed.packing->stride + (fine ? fine->stride : 0));
}

/* A slot: ids, entries both ways (between ranks with ids and what came), and the features. */
static int64_t slot_bytes_of(const flip_data *data, const flip_model_params *m, const growth *g) {
    const int64_t entry = flip_comm_size(data->comm) > 1 ? 64 : 24;
    const int64_t row = m->in_dim * (int64_t)sizeof(flip_real), input = g->rows[m->layers];
    int64_t bytes = 0;
    for (int32_t h = 0; h < m->layers; h++)
        bytes += g->entries[h] * entry + g->rows[h] * 32;
    bytes += flip_model_takes_aggregated(m) ? 2 * g->rows[m->layers - 1] * row : input * row;
    if (flip_batch_codes(data)) return bytes + input * packed_bytes(data);
    return flip_batch_stored(data) ? bytes + input * row : bytes;
}

/* Rows, their index and lists of neighbours, as far as --cache-bytes lets them. */
static size_t cache_bytes_of(const flip_data *data) {
    double row = data->packed.packing ? (double)packed_bytes(data)
                                      : data->in_dim * (double)sizeof(flip_real);
    double rows = data->packed.packing   ? (double)data->info->code_rows
                  : data->moving.dim > 0 ? (double)data->info->n_nodes * data->steps
                                         : (double)data->info->n_nodes;
    const bool sums = data->s.sampling == FLIP_SAMPLE_WEIGHTED && data->s.replace;
    double entry = 16 + sizeof(flip_real) + (sums ? sizeof(double) : 0);
    double most = rows * (row + 28) + (double)data->info->n_events * entry;
    return (size_t)(most < (double)data->s.cache_bytes ? most : (double)data->s.cache_bytes);
}

/* What the choice of a timeline's rows takes before the first epoch: heat of nodes at steps, and
 * what it is made of: degrees and their counts, or seeds and what is expected of one step. */
static size_t heat_bytes_of(const flip_data *data, int64_t n_halo) {
    const size_t own = (size_t)data->n_own, halo = (size_t)n_halo, steps = (size_t)data->steps;
    const size_t heat = own * (steps + 2) * sizeof(double);
    if (data->s.cache_bytes == 0 || data->steps == 1) return 0;
    if (data->s.hot == FLIP_HOT_DEGREE)
        return heat + own * steps * 2 * sizeof(flip_real) + (own + halo) * steps * sizeof(double) +
               (size_t)data->events.n * sizeof(int32_t);
    return 2 * heat + own * 3 * sizeof(double) +
           halo * (2 * sizeof(double) + sizeof(int32_t) +
                   4 * sizeof(int64_t)); /* its readings travel */
}

/* Steps of the rows of a store whose numbers change. */
static size_t runs_bytes_of(const flip_data *data) {
    if (data->s.cache_bytes == 0 || data->steps == 1 || data->moving.dim == 0) return 0;
    return (size_t)data->n_own * (sizeof(int64_t) + (size_t)data->steps * sizeof(int32_t));
}

/* A batch that is trained on: each layer's destinations have values, their gradients and a product
 * between, and its entries 24 bytes both ways. */
static int64_t batch_bytes_of(const flip_model_params *m, const growth *g) {
    int64_t bytes = 0;
    for (int32_t hop = 0; hop < m->layers; hop++) {
        int32_t in, out, state;
        flip_model_widths(m, m->layers - 1 - hop, &in, &out, &state);
        bytes += g->rows[hop] * 3 * (in + out) * (int64_t)sizeof(flip_real) + g->entries[hop] * 24;
    }
    if (!flip_model_takes_aggregated(m))
        bytes += g->rows[m->layers] * m->in_dim * (int64_t)sizeof(flip_real);
    return bytes;
}

size_t flip_batch_bytes(const flip_data *data, int64_t n_halo, int64_t steps) {
    flip_model_params model = flip_data_model_params(data);
    flip_sampler_params p = flip_batch_sampler_params(data);
    int64_t columns = forward_columns(&model), entries = 0;
    if (flip_batch_read_fanout(&data->s, p.fanout) != FLIP_OK)
        return 0; /* refused where it is used */
    const growth g = grow(data, model.layers, p.fanout);
    if (model.kind == FLIP_MODEL_GAT) entries = data->events.n * model.heads;
    size_t whole = (size_t)((data->n_own + n_halo) * columns * steps + entries) * sizeof(flip_real);
    size_t heat = heat_bytes_of(data, n_halo);
    return flip_sampler_bytes_of(data->n_own, n_halo, data->events.n, data->events.weight != NULL,
                                 &p) +
           (size_t)batch_bytes_of(&model, &g) + cache_bytes_of(data) + runs_bytes_of(data) +
           (size_t)(data->s.prefetch * slot_bytes_of(data, &model, &g)) +
           (heat > whole ? heat : whole);
}

/* ---- one batch ---- */

flip_status flip_batch_draw(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                            int64_t epoch, int64_t k) {
    flip_meter_begin(b->meter, FLIP_STAGE_SAMPLE);
    flip_status status = flip_batch_seeds(b, slot, data, k);
    if (status == FLIP_OK)
        status = flip_sampler_draw(b->sampler, slot->batch, slot->n_seeds, slot->seed,
                                   slot->original, slot->step, epoch);
    flip_meter_end(b->meter);
    return status;
}

static flip_var loss_of(flip_trainer *trainer, const flip_batch_slot *slot, flip_var y) {
    const flip_data *data = &trainer->data;
    flip_labels labels = {.label = slot->label, .class_weight = data->class_weight};
    if (data->s.task == FLIP_TASK_NODE) return flip_cross_entropy(trainer->tape, y, &labels);
    if (data->s.task == FLIP_TASK_REGRESSION)
        return flip_squared_error(trainer->tape, y, slot->target, NULL, 0);
    y = flip_head_consume(trainer->head, trainer->tape, y, slot->pairs);
    return data->s.task == FLIP_TASK_EDGE ? flip_cross_entropy(trainer->tape, y, &labels)
                                          : flip_binary_cross_entropy(trainer->tape, y, &labels);
}

static flip_var forward(flip_trainer *trainer, const flip_batch_slot *slot) {
    const flip_batch *batch = slot->batch;
    int32_t n = batch->mfg[0].n_dst, dim = trainer->data.in_dim;
    flip_var x, aggregated = FLIP_VAR_NONE;
    if (trainer->batching->aggregates) {
        x = flip_tape_input(trainer->tape, n, 1, dim, slot->rows.x, false);
        aggregated = flip_tape_input(trainer->tape, n, 1, dim, slot->rows.aggregated, false);
    } else {
        x = flip_tape_input(trainer->tape, batch->n_input, 1, dim, slot->rows.x, false);
    }
    return flip_model_forward_batch(trainer->model, trainer->tape, batch, x, aggregated);
}

static flip_status train_batch(flip_trainer *trainer, const flip_batch_slot *slot, int64_t k,
                               double *loss) {
    const flip_batching *b = trainer->batching;
    const flip_mfg *outer = &slot->batch->mfg[0];
    flip_params_clear_gradients(trainer->params);
    flip_tape_reset(trainer->tape, true, trainer->epoch * b->order.n_batches + k + 1);
    flip_tape_batch(trainer->tape, slot->rows.key ? slot->rows.key : slot->batch->original,
                    b->aggregates ? outer->n_dst : outer->n_src);
    FLIP_TRY(flip_batching_lend(b, slot, &trainer->data));
    flip_var value = loss_of(trainer, slot, forward(trainer, slot));
    FLIP_TRY(flip_tape_status(trainer->tape));
    *loss = flip_tape_scalar(trainer->tape, value);
    FLIP_TRY(flip_tape_backward(trainer->tape, value));
    FLIP_TRY(flip_params_reduce(trainer->params, trainer->data.comm));
    FLIP_TRY(flip_trainer_check_loss(trainer, *loss));
    FLIP_TRY(flip_optimiser_step(trainer->optimiser));
    trainer->passes.forward++;
    trainer->passes.backward++;
    return FLIP_OK;
}

static flip_status train_batches(flip_trainer *trainer, double *loss) {
    flip_batching *b = trainer->batching;
    for (int64_t k = 0; k < b->order.n_batches; k++) {
        flip_batch_slot *slot;
        double one;
        int64_t left = b->order.n - k * b->order.batch;
        FLIP_TRY(flip_pipeline_next(b, &slot));
        FLIP_TRY(train_batch(trainer, slot, k, &one));
        flip_pipeline_done(b);
        *loss += one * (double)(left < b->order.batch ? left : b->order.batch);
    }
    return FLIP_OK;
}

flip_status flip_batching_epoch(flip_trainer *trainer, double *loss) {
    flip_batching *b = trainer->batching;
    int64_t epoch = trainer->epoch + 1;
    *loss = 0;
    FLIP_TRY(flip_batch_epoch(b, &trainer->data, epoch));
    FLIP_TRY(flip_pipeline_begin(b, &trainer->data, epoch));
    FLIP_TRY(flip_pipeline_end(b, train_batches(trainer, loss)));
    *loss /= (double)b->order.n;
    return FLIP_OK;
}
