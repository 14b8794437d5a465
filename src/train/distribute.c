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

/* ---- blocks ---- */

/* Collective: the largest rank times the ranks of a node. Nodes may differ in ranks and memory:
 * largest (of a node) and fits (on every node) are the same on all ranks. */
static flip_status put_together(flip_estimate *e, const flip_data *data, size_t *largest,
                                bool *fits) {
    const size_t training = e->device_available ? 0 : e->training;
    const size_t more = training > e->building ? training : e->building;
    int64_t mine[2] = {(int64_t)(e->base + e->held + e->placed + e->adjacency + more),
                       e->device_available ? (int64_t)e->device : 0};
    FLIP_TRY(flip_comm_max_i64(data->comm, mine, 2));
    e->together = (size_t)mine[0] * (size_t)e->ranks_here;
    e->device_together = (size_t)mine[1] * (size_t)e->ranks_of_device;
    int64_t of_all[2] = {(int64_t)(e->together + e->device_together), !flip_estimate_fits(e, 1)};
    FLIP_TRY(flip_comm_max_i64(data->comm, of_all, 2));
    *largest = (size_t)of_all[0];
    *fits = of_all[1] == 0;
    return FLIP_OK;
}

/* The fewest blocks that fit; where none does, the number that takes least. */
static flip_status choose_blocks(flip_trainer *trainer, const flip_shares *s, flip_estimate *e) {
    flip_data *data = &trainer->data;
    int32_t best = 1, most = data->s.norm == FLIP_NORM_BATCH ? 1 : s->steps;
    size_t least = SIZE_MAX, largest;
    bool told = data->s.blocks != FLIP_UNSET, fits;
    for (int32_t k = told ? (int32_t)data->s.blocks : 1; k <= (told ? k : most); k++) {
        int32_t steps = (s->steps + k - 1) / k;
        if (!told && k > 1 && (s->steps + k - 2) / (k - 1) == steps)
            continue; /* no shorter block */
        flip_estimate_blocks(e, trainer, s, k);
        FLIP_TRY(put_together(e, data, &largest, &fits));
        if (largest < least) {
            least = largest;
            best = k;
        }
        if (told || fits) break;
    }
    data->s.blocks = best;
    flip_estimate_blocks(e, trainer, s, best);
    return put_together(e, data, &largest, &fits);
}

/* ---- the choice ---- */

/* What the ranks of this node may take together: as told, or 80 % of the machine; and those of a
 * GPU: 90 % of what it has free. */
static void find_available(flip_estimate *e, const flip_trainer *trainer) {
    const flip_settings *s = &trainer->data.s;
    const flip_kernels *k = trainer->kernels;
    e->ranks_here = flip_comm_node_size(trainer->data.comm);
    e->available = s->memory != FLIP_UNSET ? (size_t)s->memory : flip_memory_available() / 5 * 4;
    e->ranks_of_device = 1;
    if (!k->on_device) return;
    const int gpus = flip_kernels_cuda_devices();
    if (s->device == FLIP_DEVICE_CUDA_SHARED)
        e->ranks_of_device = (e->ranks_here + gpus - 1) / gpus;
    e->device_available = k->available() / 10 * 9;
}

flip_status flip_trainer_distribute(flip_trainer *trainer, size_t base) {
    flip_data *data = &trainer->data;
    flip_estimate *e = &trainer->estimate;
    flip_settings *s = &data->s;
    int size = flip_comm_size(data->comm);
    flip_shares mine;
    if (s->first_step >= data->steps)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--first-step %lld: '%s' has %d step%s",
                         (long long)s->first_step, s->graph, data->steps,
                         data->steps == 1 ? "" : "s");
    FLIP_TRY(flip_trainer_declare(trainer));
    e->base = base;
    e->held = flip_memory_now() > base ? flip_memory_now() - base : 0;
    FLIP_TRY(flip_device_choose(data, &trainer->kernels));
    trainer->counted_before = trainer->kernels->counts();
    find_available(e, trainer);
    if (s->distribute == FLIP_DISTRIBUTE_AUTO && (flip_settings_batched(s) || data->packed.packing))
        s->distribute = FLIP_DISTRIBUTE_NODES; /* a batch draws on all steps of its nodes */
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
    flip_status status = flip_shares_find(&mine, data);
    if (status == FLIP_OK) status = choose_blocks(trainer, &mine, e);
    flip_shares_finish(&mine);
    if (status == FLIP_OK) flip_batch_settle_place(trainer);
    return status;
}
