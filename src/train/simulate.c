/* The exchanges of an epoch, operator by operator. F and B: of the forward and the backward pass.
 *
 *   aggregation   layer 1 is kept (A X of constant features): none in an epoch. Others F and B, of
 *                 the narrower of input and output: w (halo rows x steps) width each
 *   recurrent     time and grid, F: input (and skip) to nodes, state back; B: the same reversed,
 *                 gradients of constant features left out: w sum_p T_p (N - N_p) width each
 *                 wavefront, F and B: w (P-1) N S, S = 2 H of an LSTM, H of a GRU
 *   band          of TM-GCN: part of what layer 1 keeps: none in an epoch
 *   gradients     summed over ranks (flip_comm_sum_f64)
 */
#include "train/simulate.h"

const char *const flip_simulated_names[] = {"nodes", "time", "wavefront", "window", "grid"};

/* One layer: widths. */
typedef struct widths {
    double in, out, state, skip;
    int states; /* of a node handed over, in widths */
    bool first;
} widths;

static widths layer_of(const flip_model_params *m, int32_t l) {
    int32_t in, out, state;
    flip_model_widths(m, l, &in, &out, &state);
    return (widths){.in = in,
                    .out = out,
                    .state = state,
                    .skip = m->kind == FLIP_MODEL_CDGCN ? in : 0,
                    .states = state == 0                         ? 0
                              : m->temporal == FLIP_TEMPORAL_GRU ? 1
                                                                 : 2,
                    .first = l == 0};
}

/* Columns aggregated in one direction; the first layer's are kept. */
static double aggregated(const widths *w) {
    return w->first ? 0 : w->out < w->in ? w->out : w->in;
}

static double redistributed(const widths *w) {
    if (w->state == 0) return 0;
    return 2 * (w->out + w->state) + (w->first ? 1 : 2) * w->skip;
}

double flip_simulated_redistributed(const flip_model_params *m, int32_t l) {
    const widths w = layer_of(m, l);
    return redistributed(&w);
}

int32_t flip_grid_chunks(int32_t ranks) {
    int32_t chunks = 0;
    for (int32_t k = 2; k * k <= ranks; k++)
        if (ranks % k == 0) chunks = k;
    return chunks;
}

/* Multiply-adds x 2 a row and step, all passes: forward, weights, inputs (none of constants). */
static double structure_flops(const widths *w) {
    return (w->first ? 2 : 3) * 2 * w->in * w->out;
}

static double recurrent_flops(const widths *w) {
    const double gates = w->states == 1 ? 3 : 4;
    return 3 * 2 * (w->out + w->skip + w->state) * gates * w->state;
}

/* EvolveGCN's chain of weights, a step: the same on every rank. */
static double chain_flops(const flip_model_params *m, const widths *w) {
    if (m->kind != FLIP_MODEL_EVOLVEGCN_O) return 0;
    return 3 * 2 * (m->cell == FLIP_CELL_GRU ? 3 : 4) * 2 * w->in * w->in * w->out;
}

/* flip_comm_sum_bytes over all ranks. */
static uint64_t sum_bytes(uint64_t count, uint64_t ranks) {
    return count <= 2048 ? 8 * count * (ranks - 1) * ranks : 16 * count * (ranks - 1);
}

static flip_status count_gradients(const flip_model_params *m, uint64_t *count) {
    flip_status status;
    flip_params *params = NULL;
    flip_model *model = NULL;
    FLIP_TRY_GOTO(flip_params_create(&params));
    FLIP_TRY_GOTO(flip_model_create(&model, params, m));
    FLIP_TRY_GOTO(flip_params_finish(params, 0));
    *count = (uint64_t)flip_params_size(params);
done:
    flip_model_destroy(&model);
    flip_params_destroy(&params);
    return status;
}

/* Chunks of time, or 0: there is no such distribution. */
static int32_t chunks_of(const flip_model_params *m, flip_simulated d, int32_t ranks) {
    if (d == FLIP_SIMULATED_NODES) return 1;
    if (d == FLIP_SIMULATED_WAVEFRONT && !flip_model_recurrent(m)) return 0;
    if (d == FLIP_SIMULATED_WINDOW && m->kind != FLIP_MODEL_TMGCN) return 0;
    return d == FLIP_SIMULATED_GRID ? flip_grid_chunks(ranks) : ranks;
}

static flip_status check(const flip_model_params *m) {
    const bool known = m->kind == FLIP_MODEL_GCN || m->kind == FLIP_MODEL_TMGCN ||
                       m->kind == FLIP_MODEL_CDGCN || m->kind == FLIP_MODEL_EVOLVEGCN_O;
    if (!known || m->residual || m->norm != FLIP_NORM_NONE)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "simulate knows the exchanges of gcn, tmgcn, cdgcn and evolvegcn-o, "
                         "without norms and residuals");
    return FLIP_OK;
}

static void add_layer(flip_simulation *s, const flip_model_params *m, const widths *w,
                      double n_nodes, double n_steps) {
    const flip_volume_counts *c = &s->counts;
    const double real = sizeof(flip_real), cells = n_nodes * n_steps;
    const bool moved = s->n_time > 1 && s->distribute != FLIP_SIMULATED_WAVEFRONT;
    s->halo += (uint64_t)(2 * real * (double)c->halo * aggregated(w));
    if (moved) s->redistribute += (uint64_t)(real * (double)c->moved * redistributed(w));
    if (s->distribute == FLIP_SIMULATED_WAVEFRONT)
        s->state += (uint64_t)(2 * real * (double)c->handed * w->states * w->state);
    s->values_most += 2 * (double)c->values_most * aggregated(w);
    s->values_all += 2 * (double)c->values_all * aggregated(w);
    s->flops_most += (double)c->cells_most * structure_flops(w) +
                     (double)(moved ? c->own_most : c->cells_most) * recurrent_flops(w) +
                     c->steps_most * chain_flops(m, w);
    s->flops_all += cells * (structure_flops(w) + recurrent_flops(w)) +
                    s->ranks * (double)c->steps_most * chain_flops(m, w);
}

/* Ranks work, then exchange; nothing is overlapped. A wavefront's ranks wait for the first of 8
 * slices to reach them. Every exchange costs a message to every other rank. */
static double seconds_of(const flip_simulation *s, const flip_model_params *m,
                         const flip_machine *x) {
    const double others = s->ranks - 1;
    const double bytes = (double)(s->halo + s->redistribute + s->state + s->window + s->allreduce);
    double work = s->values_most * x->seconds_a_value + s->flops_most / x->flops, messages = 2;
    if (s->halo) messages += 2 * (m->layers - 1);
    if (s->redistribute) messages += 4 * FLIP_LAYOUT_SLICES * m->layers;
    if (s->distribute == FLIP_SIMULATED_WAVEFRONT) work *= 1 + others / FLIP_LAYOUT_SLICES;
    return work + bytes / s->ranks / x->bandwidth + messages * others * x->latency;
}

flip_status flip_simulate(flip_simulation *out, bool *has, const flip_volume *volume,
                          const flip_model_params *m, flip_simulated distribute, int32_t ranks,
                          int32_t n_steps, int64_t n_nodes, const flip_machine *machine) {
    uint64_t gradients = 0;
    *out = (flip_simulation){.distribute = distribute, .ranks = ranks};
    FLIP_TRY(check(m));
    FLIP_TRY(count_gradients(m, &gradients));
    out->n_time = chunks_of(m, distribute, ranks);
    *has = out->n_time > 0;
    if (!*has) return FLIP_OK;
    FLIP_TRY(flip_volume_count(volume, ranks, out->n_time, &out->counts));
    for (int32_t l = 0; l < m->layers; l++) {
        const widths w = layer_of(m, l);
        add_layer(out, m, &w, (double)n_nodes, n_steps);
    }
    out->allreduce = sum_bytes(gradients, (uint64_t)ranks);
    out->seconds = seconds_of(out, m, machine);
    return FLIP_OK;
}
