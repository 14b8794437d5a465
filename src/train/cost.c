/* --distribute auto: the cheapest of the distributions that the model has, by the model of bytes
 * and flops that `flipbook simulate` uses (simulate.c), on the counts of this graph and these
 * ranks. The machine is a constant, so that the same command always chooses the same; the
 * prediction is printed beside what was measured. */
#include "train/internal.h"
#include "train/simulate.h"

/* A rank's share of a machine, roughly: what matters is the order of the choices. */
static const flip_machine machine = {.seconds_a_value = sizeof(flip_real) / 8e9,
                                     .flops = 3e10,
                                     .copy = 8e9,
                                     .bandwidth = 4e9,
                                     .latency = 2e-6};

static const int32_t distribution[FLIP_SIMULATED_COUNT] = {
    [FLIP_SIMULATED_NODES] = FLIP_DISTRIBUTE_NODES,
    [FLIP_SIMULATED_TIME] = FLIP_DISTRIBUTE_TIME,
    [FLIP_SIMULATED_WAVEFRONT] = FLIP_DISTRIBUTE_WAVEFRONT,
    [FLIP_SIMULATED_WINDOW] = FLIP_DISTRIBUTE_WINDOW,
    [FLIP_SIMULATED_GRID] = FLIP_DISTRIBUTE_GRID,
};

static flip_cost cost_of(const flip_simulation *s) {
    return (flip_cost){.distribute = distribution[s->distribute],
                       .bytes = (double)(s->halo + s->redistribute + s->state + s->window),
                       .seconds = s->seconds};
}

/* The distributions that can be chosen: sliding windows and learned features stay with their nodes,
 * and a rank without steps would idle. */
static bool only_nodes(const flip_data *data, int32_t steps) {
    return steps < flip_comm_size(data->comm) || flip_data_pieces(data) ||
           data->s.features == FLIP_FEATURES_LEARNED;
}

static flip_status compare(flip_trainer *trainer, const flip_volume *volume, bool only) {
    const flip_data *data = &trainer->data;
    const flip_model_params model = flip_data_model_params(data);
    const int size = flip_comm_size(data->comm);
    for (int d = 0; d < (only ? 1 : FLIP_SIMULATED_COUNT); d++) {
        flip_simulation s;
        bool has;
        FLIP_TRY(flip_simulate(&s, &has, volume, &model, (flip_simulated)d, size, &machine));
        if (!has) continue;
        const flip_cost cost = cost_of(&s);
        trainer->considered[trainer->n_considered++] = cost;
        if (trainer->n_considered == 1 || cost.seconds < trainer->cost.seconds)
            trainer->cost = cost;
    }
    return FLIP_OK;
}

flip_status flip_cost_choose(flip_trainer *trainer) {
    flip_data *data = &trainer->data;
    const int32_t first = (int32_t)data->s.first_step, steps = data->steps - first;
    flip_adjacency_params params = flip_data_adjacency_params(data);
    flip_volume *volume = NULL;
    data->s.distribute = FLIP_DISTRIBUTE_NODES;
    if (flip_comm_size(data->comm) == 1) return FLIP_OK; /* nothing to choose or to exchange */
    params.first_step = first;
    params.n_steps = steps;
    FLIP_TRY(
        flip_volume_create_shared(&volume, data->comm, data->rank_first, &data->events, &params));
    flip_status status = compare(trainer, volume, only_nodes(data, steps));
    flip_volume_destroy(&volume);
    if (status == FLIP_OK) data->s.distribute = trainer->cost.distribute;
    return status;
}
