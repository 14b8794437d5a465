/* How a run is spread out: chunks of time, blocks of the timeline, and the memory that takes. */
#include "train/internal.h"
#include "train/simulate.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is possible ---- */

typedef struct choice {
    int n_time;
    flip_temporal_exchange exchange;
} choice;

static choice choice_of(int32_t distribute, int size) {
    switch (distribute) {
    case FLIP_DISTRIBUTE_TIME:
        return (choice){size, FLIP_EXCHANGE_REDISTRIBUTE};
    case FLIP_DISTRIBUTE_WAVEFRONT:
        return (choice){size, FLIP_EXCHANGE_WAVEFRONT};
    case FLIP_DISTRIBUTE_WINDOW:
        return (choice){size, FLIP_EXCHANGE_WINDOW};
    case FLIP_DISTRIBUTE_GRID: /* where ranks have no grid all share the time */
        return (choice){flip_grid_chunks(size) > 0 ? flip_grid_chunks(size) : size,
                        FLIP_EXCHANGE_REDISTRIBUTE};
    default:
        return (choice){1, FLIP_EXCHANGE_REDISTRIBUTE};
    }
}

/* More chunks than one, so that a model refuses on any number of ranks what it does not have. */
static flip_status check_distribution(const flip_data *data, int32_t distribute) {
    static const char *const names[] = {"auto", "nodes", "time", "wavefront", "window", "grid"};
    flip_model_params model = flip_data_model_params(data);
    if (distribute == FLIP_DISTRIBUTE_NODES) return FLIP_OK;
    if (data->steps == 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--distribute %s: '%s' has one step; use --distribute nodes",
                         names[distribute], data->s.graph);
    if (data->s.features == FLIP_FEATURES_LEARNED)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--distribute %s: --features learned live with their nodes; use "
                         "--distribute nodes",
                         names[distribute]);
    return flip_model_distribution_fits(&model, 2, choice_of(distribute, 2).exchange);
}

static flip_status check_blocks(const flip_data *data) {
    int32_t steps = data->steps - (int32_t)data->s.first_step;
    if (data->s.blocks > steps)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--blocks %lld: '%s' has %d step%s to cut",
                         (long long)data->s.blocks, data->s.graph, steps, steps == 1 ? "" : "s");
    return FLIP_OK;
}

/* ---- memory ---- */

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

/* What this rank holds, whatever the number of blocks. */
typedef struct shares {
    int32_t n_time;
    int64_t rows, n_halo, events; /* of the part */
    int64_t pairs;                /* sampled or labelled pairs of an epoch, of this rank */
    int32_t steps;                /* of the timeline that are trained */
} shares;

static flip_status find_shares(shares *s, const flip_data *data, int n_time) {
    int part = flip_comm_rank(data->comm) / n_time;
    flip_gid first = data->rank_first[part * n_time], end = data->rank_first[(part + 1) * n_time];
    int64_t alive = 0;
    *s = (shares){
        .n_time = n_time, .rows = end - first, .steps = data->steps - (int32_t)data->s.first_step};
    FLIP_TRY(flip_data_count_halo(data, first, end, &s->n_halo));
    s->n_halo *= n_time; /* of the part's other ranks, as many as of this one */
    if (s->n_halo > data->info->n_nodes - s->rows) s->n_halo = data->info->n_nodes - s->rows;
    s->events = data->events.n * n_time;
    for (int64_t i = 0; i < data->n_pairs; i++)
        alive += data->pairs[i].part == FLIP_PART_TRAIN;
    s->pairs = alive * (data->s.task == FLIP_TASK_LINK ? 1 + data->s.negatives : 1);
    return FLIP_OK;
}

/* States at the ends of blocks, and the gradients that go back: [n_own, state] a layer. */
static size_t carry_bytes(const flip_model_params *m, int64_t n_own, int32_t n_blocks) {
    int64_t width = 0;
    if (n_blocks == 1) return 0;
    if (m->kind == FLIP_MODEL_CDGCN || m->temporal == FLIP_TEMPORAL_LSTM) width = 2 * m->hidden;
    if (m->temporal == FLIP_TEMPORAL_GRU) width = m->hidden;
    return (size_t)(width * m->layers * n_own) * (size_t)(n_blocks + 1) * sizeof(flip_real);
}

static void estimate_blocks(flip_estimate *e, const flip_trainer *trainer, const shares *s,
                            int32_t n_blocks) {
    const flip_data *data = &trainer->data;
    flip_adjacency_params adjacency = flip_data_adjacency_params(data);
    flip_model_params model = flip_data_model_params(data);
    int32_t block = (s->steps + n_blocks - 1) / n_blocks, own = (block + s->n_time - 1) / s->n_time;
    int64_t timeline = s->rows * ((s->steps + s->n_time - 1) / s->n_time);
    /* an event stands in each block in which it lives */
    double stay = (double)(data->s.edge_life + data->s.window - 2) / s->steps;
    int64_t events = (int64_t)((double)s->events * (1 + stay * (n_blocks - 1)));
    if (s->n_time > 1) events = (int64_t)((double)events / s->n_time * (1 + stay * s->n_time));
    e->adjacency =
        flip_adjacency_bytes(s->rows, s->n_halo, events, data->events.weight != NULL, &adjacency);
    e->placed = s->n_time > 1 ? (size_t)s->rows * (size_t)data->fixed.dim * sizeof(flip_real) : 0;
    if (flip_data_sets_out(data, own))
        e->placed += (size_t)(s->rows * own * data->in_dim) * sizeof(flip_real);
    e->training = parameter_bytes(trainer) + carry_bytes(&model, data->n_own, n_blocks);
    e->training += flip_model_bytes(&model, s->rows, s->n_halo, events / n_blocks, own);
    if (model.precompute && n_blocks > 1) /* the other blocks' first aggregations */
        e->training += (size_t)((timeline - s->rows * own) * model.in_dim) * sizeof(flip_real);
    /* the first layer's halo, and rows packed for others (about as many as are received) */
    int64_t widest = model.in_dim > model.hidden ? model.in_dim : model.hidden;
    e->training +=
        (size_t)s->n_halo * (size_t)own * (size_t)(model.in_dim + widest) * sizeof(flip_real);
    /* gathered rows and their gradients; ids, steps, labels and places of all blocks' */
    e->training += (size_t)(s->pairs / n_blocks) * 4 * (size_t)model.out_dim * sizeof(flip_real);
    e->training += (size_t)s->pairs * 48;
}

/* Collective: the largest rank times the ranks of a node. Nodes may differ in ranks and memory:
 * largest (of a node) and fits (on every node) are the same on all ranks. */
static flip_status put_together(flip_estimate *e, const flip_data *data, size_t *largest,
                                bool *fits) {
    int64_t mine = (int64_t)(e->base + e->held + e->placed + e->adjacency + e->training);
    FLIP_TRY(flip_comm_max_i64(data->comm, &mine, 1));
    e->together = (size_t)mine * (size_t)e->ranks_here;
    int64_t of_all[2] = {(int64_t)e->together, e->together > e->available};
    FLIP_TRY(flip_comm_max_i64(data->comm, of_all, 2));
    *largest = (size_t)of_all[0];
    *fits = of_all[1] == 0;
    return FLIP_OK;
}

/* The fewest blocks that fit; where none does, the number that takes least. */
static flip_status choose_blocks(flip_trainer *trainer, const shares *s, flip_estimate *e) {
    flip_data *data = &trainer->data;
    int32_t best = 1, most = data->s.norm == FLIP_NORM_BATCH ? 1 : s->steps;
    size_t least = SIZE_MAX, largest;
    bool told = data->s.blocks != FLIP_UNSET, fits;
    for (int32_t k = told ? (int32_t)data->s.blocks : 1; k <= (told ? k : most); k++) {
        int32_t steps = (s->steps + k - 1) / k;
        if (!told && k > 1 && (s->steps + k - 2) / (k - 1) == steps)
            continue; /* no shorter block */
        estimate_blocks(e, trainer, s, k);
        FLIP_TRY(put_together(e, data, &largest, &fits));
        if (largest < least) {
            least = largest;
            best = k;
        }
        if (told || fits) break;
    }
    data->s.blocks = best;
    estimate_blocks(e, trainer, s, best);
    return put_together(e, data, &largest, &fits);
}

/* ---- the choice ---- */

flip_status flip_trainer_distribute(flip_trainer *trainer, size_t base) {
    flip_data *data = &trainer->data;
    flip_estimate *e = &trainer->estimate;
    flip_settings *s = &data->s;
    int size = flip_comm_size(data->comm);
    shares mine;
    if (s->first_step >= data->steps)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--first-step %lld: '%s' has %d step%s",
                         (long long)s->first_step, s->graph, data->steps,
                         data->steps == 1 ? "" : "s");
    FLIP_TRY(flip_trainer_declare(trainer));
    e->base = base;
    e->held = flip_memory_now() > base ? flip_memory_now() - base : 0;
    e->available = s->memory == FLIP_UNSET ? flip_memory_available() / 5 * 4 : (size_t)s->memory;
    e->ranks_here = flip_comm_node_size(data->comm);
    if (s->distribute == FLIP_DISTRIBUTE_AUTO) FLIP_TRY(flip_cost_choose(trainer));
    FLIP_TRY(check_distribution(data, s->distribute));
    if (flip_data_pieces(data)) s->blocks = data->steps - s->first_step;
    FLIP_TRY(check_blocks(data));
    choice c = choice_of(s->distribute, size);
    data->n_time = c.n_time;
    data->exchange = c.exchange;
    if (s->distribute == FLIP_DISTRIBUTE_GRID && c.n_time == size && size > 1)
        flip_data_note(data, "%d ranks have no grid of parts and chunks: 1 part x %d chunks", size,
                       size);
    FLIP_TRY(find_shares(&mine, data, c.n_time));
    return choose_blocks(trainer, &mine, e);
}
