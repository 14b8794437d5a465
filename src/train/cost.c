/* Which distribution is the cheapest: bytes that it exchanges in an epoch and work that it leaves
 * unevenly shared, from counts alone. The bytes are those of design's formulas (section 4); the
 * seconds are a model, printed beside what was measured. */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

/* A rank's share of a machine, roughly: what matters is the order of the choices. */
static const double network_bytes = 4e9, multiply_flops = 3e10, memory_bytes = 8e9;
enum { SLICES = 8 };

/* Counts of all ranks. */
typedef struct counts {
    double nodes, steps, entries; /* entries of all snapshots */
    double halo;                  /* rows sent by all ranks under `nodes`, one step */
    int size;
} counts;

static int ascending(const void *a, const void *b) {
    flip_gid x = *(const flip_gid *)a, y = *(const flip_gid *)b;
    return (x > y) - (x < y);
}

static flip_status count(counts *c, const flip_data *data) {
    const flip_events *events = &data->events;
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)], *list;
    int64_t sums[2] = {0, 0}, n = 0, stay = data->s.edge_life + data->s.window - 1;
    FLIP_TRY(flip_alloc(&list, (size_t)events->n, sizeof *list, "sources"));
    for (int64_t e = 0; e < events->n; e++) {
        int64_t rest = data->steps - (events->step ? events->step[e] : 0);
        sums[0] += rest < stay ? rest : stay;
        if (events->src[e] < first || events->src[e] >= first + data->n_own)
            list[n++] = events->src[e];
    }
    qsort(list, (size_t)n, sizeof *list, ascending);
    for (int64_t i = 0; i < n; i++)
        sums[1] += i == 0 || list[i] != list[i - 1];
    flip_free(list);
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
    bool last = l == m->layers - 1 && !m->output;
    double in = l == 0 ? m->in_dim : m->hidden, out = last ? m->out_dim : m->hidden;
    if (l == 0 && m->precompute && m->kind != FLIP_MODEL_GAT && !m->pool) return 0;
    return in < out ? in : out;
}

static flip_cost cost_of(const counts *c, const flip_model_params *m, int32_t distribute,
                         double blocks) {
    bool lstm = m->kind == FLIP_MODEL_CDGCN || m->temporal == FLIP_TEMPORAL_LSTM;
    bool recurrent = lstm || m->temporal == FLIP_TEMPORAL_GRU;
    double w = sizeof(flip_real), p = c->size, wide = m->hidden, bubble = 0;
    double passes = blocks > 1 ? 3 - 1 / blocks : 2; /* forward, backward, forward again */
    double work = 0;
    flip_cost out = {.distribute = distribute};
    for (int32_t l = 0; l < m->layers; l++) {
        double in = l == 0 ? m->in_dim : wide, gates = !recurrent ? 0 : lstm ? 4 : 3;
        double dense = 2 * c->nodes * c->steps * wide * (in + gates * (in + 2 * wide));
        double sparse = 2 * c->entries * halo_width(m, l) * w;
        work += (passes + 1) * dense / multiply_flops + passes * sparse / memory_bytes;
        if (distribute == FLIP_DISTRIBUTE_NODES)
            out.bytes += passes * w * c->halo * c->steps * halo_width(m, l);
        if (!recurrent || distribute == FLIP_DISTRIBUTE_NODES) continue;
        if (distribute == FLIP_DISTRIBUTE_TIME) /* to nodes and back; there and here, each pass */
            out.bytes += passes * w * c->steps * c->nodes * (wide + in + wide) * (p - 1) / p;
        if (distribute == FLIP_DISTRIBUTE_WAVEFRONT) {
            out.bytes +=
                passes * w * ((p - 1) * blocks + blocks - 1) * c->nodes * wide * (lstm ? 2 : 1);
            bubble = (p - 1) / SLICES;
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
    trainer->cost = cost_of(&c, &model, FLIP_DISTRIBUTE_NODES, 1);
    if (size == 1 || data->steps < size || windows || data->s.features == FLIP_FEATURES_LEARNED)
        return FLIP_OK;
    bool recurrent = model.kind == FLIP_MODEL_CDGCN || model.temporal != FLIP_TEMPORAL_NONE;
    for (size_t i = 1; i < sizeof tried / sizeof *tried; i++) {
        if (tried[i] == FLIP_DISTRIBUTE_WAVEFRONT && !recurrent) continue;
        flip_cost cost = cost_of(&c, &model, tried[i], 1);
        if (cost.seconds < trainer->cost.seconds) trainer->cost = cost;
    }
    data->s.distribute = trainer->cost.distribute;
    return FLIP_OK;
}
