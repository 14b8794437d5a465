/* What memory a run will need, from counts alone and before anything of it is allocated. */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    flip_gid x = *(const flip_gid *)a, y = *(const flip_gid *)b;
    return (x > y) - (x < y);
}

flip_status flip_data_count_halo(const flip_data *data, flip_gid first, flip_gid end,
                                 int64_t *n_halo) {
    flip_gid *list;
    int64_t n = 0;
    FLIP_TRY(flip_alloc(&list, (size_t)data->events.n, sizeof *list, "sources"));
    for (int64_t e = 0; e < data->events.n; e++)
        if (data->events.src[e] < first || data->events.src[e] >= end)
            list[n++] = data->events.src[e];
    qsort(list, (size_t)n, sizeof *list, ascending);
    *n_halo = 0;
    for (int64_t i = 0; i < n; i++)
        *n_halo += i == 0 || list[i] != list[i - 1];
    flip_free(list);
    return FLIP_OK;
}

flip_status flip_data_fits(const flip_data *data, double count, const char *what) {
    const size_t told = data->s.memory == FLIP_UNSET ? 0 : (size_t)data->s.memory;
    const double allowed = (double)(told ? told : flip_memory_available());
    const double share = allowed / flip_comm_node_size(data->comm);
    const double needed = count * sizeof(flip_real) + (double)flip_memory_now();
    flip_status status = FLIP_OK;
    if (needed > share)
        status = FLIP_FAIL(FLIP_ERROR_MEMORY,
                           "%s need %.0f MiB on rank %d beside the %.0f MiB it holds, its share of "
                           "this node is %.0f MiB; use more nodes, other --features%s",
                           what, count * sizeof(flip_real) / (1 << 20), flip_comm_rank(data->comm),
                           (double)flip_memory_now() / (1 << 20), share / (1 << 20),
                           told ? ", or a larger --memory" : "");
    return flip_comm_agree(data->comm, status);
}

/* Values, the best so far, the optimiser's moments; gradients are summed in double. */
static size_t parameter_bytes(const flip_trainer *trainer) {
    double bytes = 0;
    int32_t moments = trainer->data.s.optimizer == FLIP_OPTIMISER_SGD ? 1 : 2;
    for (int32_t p = 0; p < flip_params_count(trainer->params); p++) {
        int32_t rows, cols;
        int64_t offset;
        flip_params_shape(trainer->params, p, &rows, &cols, &offset);
        bytes += (double)rows * cols * (double)((2 + moments) * sizeof(flip_real) + sizeof(double));
    }
    return bytes < 0x1p60 ? (size_t)bytes : (size_t)1 << 60;
}

/* ---- what is to be counted, whatever the number of blocks ---- */

/* Pairs that are only scored: with --eval-negatives candidates each, unless the file pins them. */
static int64_t candidates(const flip_data *data, const flip_pair_item *item) {
    if (data->s.task != FLIP_TASK_LINK || item->given || data->s.eval_negatives < 0) return 1;
    return 1 + data->s.eval_negatives;
}

/* Of training pairs an epoch draws --pairs a step, of all ranks. Collective. */
static flip_status count_pairs(flip_shares *s, const flip_data *data) {
    const bool links = data->s.task == FLIP_TASK_LINK;
    const size_t steps = (size_t)data->steps;
    int64_t *all;
    for (int64_t i = 0; i < data->n_pairs; i++) {
        const flip_pair_item *item = &data->pairs[i];
        if (item->part == FLIP_PART_TRAIN && !item->given)
            s->pairs[item->step]++;
        else if (item->part >= 0)
            s->scored += candidates(data, item);
    }
    if (!links || data->s.pairs == 0) return FLIP_OK;
    FLIP_TRY(flip_alloc(&all, steps, sizeof *all, "pairs of steps"));
    memcpy(all, s->pairs, steps * sizeof *all);
    flip_status status = flip_comm_sum_i64(data->comm, all, steps);
    for (size_t t = 0; status == FLIP_OK && t < steps; t++)
        if (all[t] > data->s.pairs)
            s->pairs[t] =
                (int64_t)((double)s->pairs[t] * (double)data->s.pairs / (double)all[t]) + 1;
    flip_free(all);
    return status;
}

flip_status flip_shares_find(flip_shares *s, const flip_data *data) {
    const int n_time = data->n_time, part = flip_comm_rank(data->comm) / n_time;
    const size_t steps = (size_t)data->steps;
    flip_gid first = data->rank_first[part * n_time], end = data->rank_first[(part + 1) * n_time];
    *s = (flip_shares){.rows = end - first, .steps = data->steps - (int32_t)data->s.first_step};
    FLIP_TRY(flip_alloc_zero(&s->before, steps + 1, sizeof *s->before, "events of steps"));
    FLIP_TRY(flip_alloc_zero(&s->pairs, steps, sizeof *s->pairs, "pairs of steps"));
    FLIP_TRY(flip_data_count_halo(data, first, end, &s->n_halo));
    s->n_halo *= n_time; /* of the part's other ranks, as many as of this one */
    if (s->n_halo > data->info->n_nodes - s->rows) s->n_halo = data->info->n_nodes - s->rows;
    for (int64_t e = 0; e < data->events.n; e++)
        s->before[1 + (data->events.step ? data->events.step[e] : 0)] += n_time;
    for (size_t t = 0; t < steps; t++)
        s->before[t + 1] += s->before[t];
    return count_pairs(s, data);
}

void flip_shares_finish(flip_shares *s) {
    flip_free(s->before);
    flip_free(s->pairs);
    *s = (flip_shares){0};
}

/* ---- a number of blocks ---- */

/* A block as long as the longest, as full as the fullest (of any rank of the part). */
typedef struct block {
    int32_t n, steps;     /* blocks; this rank's steps of one */
    double entries;       /* events alive in it: one alive in two blocks stands in both */
    double values;        /* … summed over its steps */
    double values_before; /* … and over those before it that its window needs */
    double arrivals;      /* events of its own steps */
    struct {              /* of all blocks of this rank, on average over the ranks of the part */
        double entries, values, arrivals;
    } all;
} block;

static double larger(double a, int64_t b) {
    return a > (double)b ? a : (double)b;
}

/* Events of steps from … to - 1. */
static int64_t arrived(const flip_shares *s, int64_t from, int64_t to) {
    return s->before[to] - s->before[from > 0 ? from : 0];
}

/* Steps before a block's own that its window needs. */
static int32_t band_of(const flip_data *data) {
    return data->s.window > 1 ? (int32_t)data->s.window - 1 : 0;
}

/* Block k of the part: steps k b->steps … A step's events come at its place, those before the first
 * step with that. */
static void fill_block(block *b, const flip_data *data, const flip_shares *s, int64_t k) {
    const int64_t first = data->s.first_step, stay = data->s.edge_life + data->s.window - 1;
    const int64_t from = k * b->steps, to = from + b->steps < s->steps ? from + b->steps : s->steps;
    const int64_t entries = arrived(s, first + from + 1 - stay, first + to);
    const int64_t arrivals = k == 0 ? entries : arrived(s, first + from, first + to);
    int64_t values = 0;
    for (int64_t t = first + from; t < first + to; t++)
        values += arrived(s, t + 1 - stay, t + 1); /* alive at t */
    b->entries = larger(b->entries, entries);
    b->values = larger(b->values, values);
    b->arrivals = larger(b->arrivals, arrivals);
    b->all.entries += (double)entries / data->n_time;
    b->all.values += (double)values / data->n_time;
    b->all.arrivals += (double)arrivals / data->n_time;
    for (int64_t t = first + from - 1; t >= 0 && t >= first + from - band_of(data); t--)
        values += arrived(s, t + 1 - stay, t + 1);
    b->values_before = larger(b->values_before, values);
}

static block block_of(const flip_data *data, const flip_shares *s, int32_t n_blocks) {
    const int32_t whole = (s->steps + n_blocks - 1) / n_blocks;
    block b = {.n = n_blocks, .steps = (whole + data->n_time - 1) / data->n_time};
    for (int64_t k = 0; k * b.steps < s->steps; k++)
        fill_block(&b, data, s, k);
    return b;
}

/* full, delta: sorted events, and, of each step, what shares of them have. */
static size_t events_bytes(const flip_data *data, const flip_shares *s, const block *b) {
    const double all = b->all.arrivals;
    const size_t real = data->events.weight ? sizeof(flip_real) : 0;
    return (size_t)(all * (double)(28 + real) + (double)(s->rows + s->n_halo) * 28) +
           flip_snapshots_steps_bytes(data->steps, (int64_t)all);
}

/* Entries of a snapshot; changes, with both values. */
enum { ENTRY = 8 + sizeof(flip_real), CHANGE = 8 + 2 * sizeof(flip_real) };

/* The changes of a block's steps. */
static double changes_bytes(const block *b) {
    return 2 * b->arrivals * CHANGE;
}

/* A packet on its way to the CPU's own copy, and what it is there: a snapshot, another that is
 * being made, changes. */
static size_t snapshot_bytes(const block *b) {
    return (size_t)(3 * b->values / b->steps * ENTRY + changes_bytes(b));
}

/* The pieces that the CPU makes a matrix of. */
static size_t pieces_bytes(const block *b) {
    const double alive = b->values / b->steps, changes = 2 * b->arrivals;
    return (size_t)(b->entries * 16 + (alive + 2 * changes) * 8);
}

/* ---- matrices that a GPU makes of snapshots ---- */

/* Of all steps, whose memory is taken once for the largest. */
typedef struct largest {
    int64_t entries, changes; /* of a snapshot; on the way to one */
    int64_t room;             /* entries with the changes on either side */
    int64_t compared;         /* entries of two snapshots between which changes are to be found */
    int64_t inside;           /* changes inside of a block */
} largest;

static int64_t alive_at(const flip_data *data, const flip_shares *s, int64_t t) {
    return t < 0 ? 0 : arrived(s, t + 1 - data->s.edge_life, t + 1);
}

/* What arrives at t or leaves. */
static int64_t changes_to(const flip_data *data, const flip_shares *s, int64_t t) {
    const int64_t left = t - data->s.edge_life;
    return arrived(s, t, t + 1) + (left < 0 ? 0 : arrived(s, left, left + 1));
}

static int64_t more(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* A difference gives way to a snapshot where it takes more bytes; counted are events, not pairs,
 * and so it is said to where it takes half as many. */
static largest find_largest(const flip_data *data, const flip_shares *s, const block *b) {
    const bool full = data->s.transfer == FLIP_TRANSFER_FULL;
    largest x = {0};
    for (int64_t t = 0, inside = 0; t < data->steps; t++) {
        const int64_t now = alive_at(data, s, t), before = alive_at(data, s, t - 1);
        const int64_t changes = changes_to(data, s, t), step = t - data->s.first_step;
        inside += changes;
        if (step % b->steps == 0) { /* to the first step that it needs: outside */
            inside = 0;
            for (int64_t k = t - band_of(data) + 1; k <= t; k++)
                inside += k > 0 ? changes_to(data, s, k) : 0;
        }
        x.entries = more(x.entries, now);
        x.changes = more(x.changes, changes);
        x.room = more(x.room, more(now, before) + changes);
        if (t > 0 && (full || 12 * now < 16 * changes)) x.compared = more(x.compared, now + before);
        if (step >= 0) x.inside = more(x.inside, inside);
    }
    return x;
}

/* Values of a block's matrix before its window is taken, if it has one: those of a row's own
 * column, and those of the steps before. */
static double values_before(const flip_data *data, const flip_shares *s, const block *b) {
    const double steps = b->steps + band_of(data);
    return (double)s->rows * steps + b->values_before;
}

/* Does a GPU make the matrices, and the CPU none? */
static bool made_by_device(const flip_data *data, const flip_shares *s, const block *b,
                           const flip_kernels *kernels) {
    if (!kernels->on_device || data->steps == 1 || flip_settings_batched(&data->s) ||
        flip_snapshots_by_host((flip_transfer)data->s.transfer,
                               flip_comm_size(data->comm) / data->n_time))
        return false;
    const largest x = find_largest(data, s, b);
    return s->rows + x.inside + x.entries < INT32_MAX && values_before(data, s, b) < INT32_MAX;
}

/* Pinned: two snapshots on their way, or one, and differences that wait. */
static size_t packet_bytes(const flip_data *data, const flip_shares *s, const block *b) {
    const int32_t steps = b->steps + band_of(data),
                  most = steps < FLIP_SNAPSHOTS_AHEAD ? steps : FLIP_SNAPSHOTS_AHEAD;
    const largest x = find_largest(data, s, b);
    if (data->s.transfer == FLIP_TRANSFER_FULL) return (size_t)(2 * x.entries) * ENTRY;
    return (size_t)(x.entries + most * (x.changes + x.changes / 8)) * ENTRY;
}

/* Snapshots, the changes of a block and of the one before it, whose memory is cut in steps, a
 * difference that arrives, the kernels' work, rows of entries, the order of columns; runs and
 * values that a window is taken of, and, of columns with degrees of their own, their transpose's.
 */
static size_t laid_bytes(const flip_data *data, const flip_shares *s, const block *b) {
    const largest x = find_largest(data, s, b);
    const double walked = b->n > 1 ? 2 : 1, inside = (double)x.inside;
    const int32_t steps = b->steps + band_of(data);
    const double records = walked * (inside + (double)x.changes + 64 * steps);
    const bool inout = flip_data_adjacency_params(data).kind == FLIP_ADJACENCY_GCN_INOUT;
    const double rows = (double)s->rows, averaged = band_of(data) == 0 ? 0 : inout ? 2 : 1;
    const int64_t difference = data->s.transfer == FLIP_TRANSFER_FULL ? 0 : x.changes;
    const int64_t mentions = s->rows + x.entries + x.inside, entries = (int64_t)(b->entries + rows);
    return (size_t)(2 * x.room + difference + difference / 8) * ENTRY +
           (size_t)((records + records / 4) * CHANGE) +
           flip_changes_work(x.room, more(x.compared, difference)) +
           flip_runs_work(more(mentions, entries), (int32_t)s->rows, steps) +
           (size_t)((b->entries + 3 * rows) * 4) +
           (size_t)(averaged * ((b->entries + rows) * 8 +
                                values_before(data, s, b) * (double)sizeof(flip_real)));
}

static flip_adjacency_params params_of(const flip_data *data, const block *b) {
    flip_adjacency_params p = flip_data_adjacency_params(data);
    p.n_steps = b->steps;
    return p;
}

/* A block's matrix. */
static size_t matrix_bytes(const flip_data *data, const flip_shares *s, const block *b,
                           double entries, double values) {
    const flip_adjacency_params p = params_of(data, b);
    return flip_adjacency_bytes_of(s->rows, s->n_halo, (int64_t)entries, (int64_t)values,
                                   data->events.weight != NULL, &p);
}

static void estimate_adjacency(flip_estimate *e, const flip_data *data, const flip_shares *s,
                               const block *b, bool by_device) {
    const flip_adjacency_params p = params_of(data, b);
    const bool sent = data->steps > 1 && data->s.transfer != FLIP_TRANSFER_RESIDENT;
    const bool weighted = data->events.weight != NULL;
    e->building = by_device /* events are sorted, no more */
                      ? (size_t)(b->all.arrivals * 8) + (size_t)(s->rows + s->n_halo) * 20
                      : flip_adjacency_build_bytes(s->rows, s->n_halo, (int64_t)b->entries, &p);
    if (by_device)
        e->adjacency = events_bytes(data, s, b) + packet_bytes(data, s, b);
    else if (sent)
        e->adjacency = matrix_bytes(data, s, b, b->entries, b->values) + events_bytes(data, s, b) +
                       snapshot_bytes(b) + pieces_bytes(b);
    else /* every block's stays */
        e->adjacency =
            matrix_bytes(data, s, b, b->all.entries / b->n, b->all.values / b->n) * (size_t)b->n;
    if (!sent && b->n > 1) /* events by step */
        e->building += (size_t)b->all.arrivals * (weighted ? 28 : 20);
}

/* States at the ends of blocks, and the gradients that go back. */
static size_t carry_bytes(const flip_data *data, const flip_model_params *m, const flip_shares *s,
                          int32_t n_blocks) {
    const bool wave = data->n_time > 1 && data->exchange == FLIP_EXCHANGE_WAVEFRONT;
    const bool window = data->n_time > 1 && data->exchange == FLIP_EXCHANGE_WINDOW;
    const int chunk = flip_comm_rank(data->comm) % data->n_time;
    const int64_t gates = m->temporal == FLIP_TEMPORAL_GRU ? 1 : 2;
    int64_t values = 0, copies = n_blocks == 1 ? 0 : n_blocks + 1;
    if (m->kind == FLIP_MODEL_TMGCN && n_blocks > 1) { /* kept: a block's and the next one's */
        int64_t back = m->window - 1 < s->steps ? m->window - 1 : s->steps;
        int64_t states = m->precompute && !m->residual ? 2 : n_blocks;
        int32_t in, width = m->in_dim, state;
        if (data->packed.packing) { /* of products, gradients beside them */
            flip_model_widths(m, 0, &in, &width, &state);
            width *= m->residual ? 4 : 2;
        }
        return (size_t)((window ? s->rows : data->n_own) * back * width * states) *
               sizeof(flip_real);
    }
    for (int32_t l = 0; l < m->layers; l++) {
        int32_t in, out, state;
        flip_model_widths(m, l, &in, &out, &state);
        values += gates * state;
    }
    if (!wave) return (size_t)(values * data->n_own * copies) * sizeof(flip_real);
    const bool end = chunk == 0 || chunk == data->n_time - 1;
    /* handed over in the pass: at the beginning and at the end */
    return (size_t)(values * s->rows * ((end ? copies : 0) + 2)) * sizeof(flip_real);
}

/* Gathered rows and their gradients, in the fullest block; of all: ids, steps, labels and places;
 * sorted lists where they are scored. */
static size_t pair_bytes(const flip_data *data, const flip_model_params *m, const flip_shares *s,
                         const block *b) {
    enum { PLANNED = 60, SCORED = 96 };
    const int64_t each = data->s.task == FLIP_TASK_LINK ? 1 + data->s.negatives : 1;
    int64_t all = 0, most = 0, inside = 0;
    for (int32_t t = 0, at = 0; t < data->steps; t++) {
        if (t - data->lead < data->s.first_step) continue;
        if (at++ % (b->steps * data->n_time) == 0) inside = 0;
        all += s->pairs[t] * each;
        inside += s->pairs[t] * each;
        most = inside > most ? inside : most;
    }
    size_t bytes = (size_t)(most * 4 * m->out_dim) * sizeof(flip_real);
    if (all + s->scored > 0) bytes += (size_t)(b->n * (s->rows + s->n_halo)) * 8 * FLIP_PARTS;
    return bytes + (size_t)all * PLANNED + (size_t)s->scored * SCORED;
}

/* Training on all of a block at once. */
static size_t whole_bytes(const flip_data *data, const flip_model_params *m, const flip_shares *s,
                          const block *b) {
    const int64_t timeline = s->rows * ((s->steps + data->n_time - 1) / data->n_time);
    size_t values = 0;
    if (m->precompute && b->n > 1) /* the other blocks' first aggregations */
        values += (size_t)((timeline - s->rows * b->steps) * m->in_dim);
    /* the first layer's halo, and rows packed for others (about as many as are received) */
    const int64_t widest = m->in_dim > m->hidden ? m->in_dim : m->hidden;
    values += (size_t)(s->n_halo * b->steps * (m->in_dim + widest));
    return flip_model_bytes(m, s->rows, s->n_halo, (int64_t)b->entries, b->steps) +
           values * sizeof(flip_real) + pair_bytes(data, m, s, b);
}

/* What a GPU holds: training, a block's matrix, inputs and labels, the next one's inputs and, of
 * matrices that the CPU makes, matrix; its pool takes pieces a quarter larger than what is asked of
 * them. */
static void estimate_device(flip_estimate *e, const flip_data *data, const flip_model_params *m,
                            const flip_shares *s, const block *b, bool by_device) {
    const size_t one = matrix_bytes(data, s, b, b->entries, b->values);
    const size_t matrix = by_device ? one + laid_bytes(data, s, b) : one;
    const double rows = (double)s->rows * b->steps;
    const double inputs = rows * (double)data->in_dim * sizeof(flip_real);
    const size_t next = (by_device ? 0 : one) + (size_t)inputs;
    const size_t ahead = data->steps > 1 && b->n > 1 ? next : 0;
    const double all = (double)e->training + inputs + rows * 16 +
                       (double)flip_model_device_work(m, s->rows, b->steps);
    e->device = matrix + ahead + FLIP_DEVICE_PIECE + FLIP_DEVICE_OWN + (size_t)(all + all / 4);
    flip_batch_estimate_place(e, data);
}

bool flip_estimate_fits(const flip_estimate *e, double times) {
    return (double)e->together <= times * (double)e->available &&
           (e->device_available == 0 ||
            (double)e->device_together <= times * (double)e->device_available);
}

void flip_estimate_blocks(flip_estimate *e, const flip_trainer *trainer, const flip_shares *s,
                          int32_t n_blocks) {
    const flip_data *data = &trainer->data;
    flip_model_params m = flip_data_model_params(data);
    const block b = block_of(data, s, n_blocks);
    const size_t real = sizeof(flip_real);
    const bool by_device = made_by_device(data, s, &b, trainer->kernels);
    estimate_adjacency(e, data, s, &b, by_device);
    e->placed = data->n_time > 1 ? (size_t)(s->rows * data->fixed.dim) * real : 0;
    if (flip_data_sets_out(data, b.steps))
        e->placed += (size_t)(s->rows * b.steps * data->in_dim) * real;
    if (trainer->kernels->on_device && data->steps > 1 && n_blocks > 1)
        e->placed += FLIP_STAGING_BYTES; /* pinned: what is sent ahead */
    e->training = parameter_bytes(trainer) + carry_bytes(data, &m, s, n_blocks);
    if (flip_settings_batched(&data->s))
        e->training += flip_batch_bytes(data, s->n_halo, b.steps);
    else
        e->training += whole_bytes(data, &m, s, &b);
    estimate_device(e, data, &m, s, &b, by_device);
}
