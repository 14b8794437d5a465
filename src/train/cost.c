/* Which distribution is the cheapest: bytes that it exchanges in an epoch and work that it leaves
 * unevenly shared, from counts alone. Bytes a value, one direction, one layer: nodes w halo F, time
 * w T N F (P-1)/P, wavefront w (P-1) N S; the seconds are a model, printed beside what was
 * measured.
 */
#include "train/internal.h"
#include "train/simulate.h"

/* A rank's share of a machine, roughly: what matters is the order of the choices. */
static const double network_bytes = 4e9, multiply_flops = 3e10, memory_bytes = 8e9;

/* Counts of all ranks. */
typedef struct counts {
    double nodes, steps, entries; /* entries of all snapshots */
    double halo;                  /* rows sent by all ranks under `nodes`, one step */
    int size;
} counts;

static flip_status count(counts *c, const flip_data *data) {
    const flip_events *events = &data->events;
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    int64_t sums[2] = {0, 0}, stay = data->s.edge_life + data->s.window - 1;
    for (int64_t e = 0; e < events->n; e++) {
        int64_t rest = data->steps - (events->step ? events->step[e] : 0);
        sums[0] += rest < stay ? rest : stay;
    }
    FLIP_TRY(flip_data_count_halo(data, first, first + data->n_own, &sums[1]));
    FLIP_TRY(flip_comm_sum_i64(data->comm, sums, 2));
    *c = (counts){.nodes = (double)data->info->n_nodes,
                  .steps = data->steps - (double)data->s.first_step,
                  .entries = (double)sums[0],
                  .halo = (double)sums[1],
                  .size = flip_comm_size(data->comm)};
    return FLIP_OK;
}

/* Width of what layer l aggregates, in or out, whichever is narrower; the first is kept. */
static double halo_width(const flip_model_params *m, int32_t l) {
    int32_t in, out, state;
    flip_model_widths(m, l, &in, &out, &state);
    if (l == 0 && m->precompute && m->kind != FLIP_MODEL_GAT && !m->pool) return 0;
    return in < out ? in : out;
}

/* One epoch of one block: a pass forward and one back. */
static flip_cost cost_of(const counts *c, const flip_model_params *m, int32_t distribute) {
    const bool recurrent = flip_model_recurrent(m), gru = m->temporal == FLIP_TEMPORAL_GRU;
    const double w = sizeof(flip_real), p = c->size, wide = m->hidden;
    const double gates = !recurrent ? 0 : gru ? 3 : 4;
    double work = 0, bubble = 0;
    flip_cost out = {.distribute = distribute};
    for (int32_t l = 0; l < m->layers; l++) {
        double in = l == 0 ? m->in_dim : wide;
        double dense = 2 * c->nodes * c->steps * wide * (in + gates * (in + 2 * wide));
        work += 3 * dense / multiply_flops;
        work += 2 * 2 * c->entries * halo_width(m, l) * w / memory_bytes;
        if (distribute == FLIP_DISTRIBUTE_NODES)
            out.bytes += 2 * w * c->halo * c->steps * halo_width(m, l);
        if (!recurrent) continue;
        if (distribute == FLIP_DISTRIBUTE_TIME)
            out.bytes += w * c->steps * c->nodes * flip_simulated_redistributed(m, l) * (p - 1) / p;
        if (distribute == FLIP_DISTRIBUTE_WAVEFRONT) {
            out.bytes += 2 * w * (p - 1) * c->nodes * wide * (gru ? 1 : 2);
            bubble = (p - 1) / FLIP_LAYOUT_SLICES;
        }
    }
    /* wavefront: ranks wait for the first slice, and at the end for the last; random parts of nodes
     * and equal sums of edges are both even enough to leave out */
    out.seconds = work / p * (1 + bubble / 2) + out.bytes / p / network_bytes;
    return out;
}

flip_status flip_cost_choose(flip_trainer *trainer) {
    static const int32_t tried[] = {FLIP_DISTRIBUTE_NODES, FLIP_DISTRIBUTE_TIME,
                                    FLIP_DISTRIBUTE_WAVEFRONT};
    flip_data *data = &trainer->data;
    flip_model_params model = flip_data_model_params(data);
    counts c;
    int size = flip_comm_size(data->comm);
    bool windows = flip_data_pieces(data);
    data->s.distribute = FLIP_DISTRIBUTE_NODES;
    FLIP_TRY(count(&c, data));
    trainer->cost = cost_of(&c, &model, FLIP_DISTRIBUTE_NODES);
    if (size == 1 || data->steps < size || windows || data->s.features == FLIP_FEATURES_LEARNED)
        return FLIP_OK;
    for (size_t i = 1; i < sizeof tried / sizeof *tried; i++) {
        if (tried[i] == FLIP_DISTRIBUTE_WAVEFRONT && !flip_model_recurrent(&model)) continue;
        flip_cost cost = cost_of(&c, &model, tried[i]);
        if (cost.seconds < trainer->cost.seconds) trainer->cost = cost;
    }
    data->s.distribute = trainer->cost.distribute;
    return FLIP_OK;
}
