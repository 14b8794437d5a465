/* The exchanges of an epoch, operator by operator: one model of bytes and flops, for `flipbook
 * simulate` and for --distribute auto. F and B: of the forward and the backward pass.
 *
 *   aggregation   w (halo rows x steps) width, F and B, of the narrower of input and output; GIN of
 *                 its input, GAT of its heads, pooling of what is pooled. Layer 1 where A X of
 *                 constant features is kept: none in an epoch; where it is not: F, of the input
 *   recurrent     time and grid, F: input (and skip) to nodes, state back; B: the same reversed,
 *                 gradients of constant features left out: w sum_p T_p (N - N_p) width each
 *                 wavefront, F and B: w (P-1) N S, S = 2 H of an LSTM, H of a GRU
 *   band          of TM-GCN's features, F, where layer 1 is not kept or has a residual: time and
 *                 grid: to nodes and back; window: w N width sum_p min(b-1, steps before p)
 *   summaries     of EvolveGCN-H: each part's best k rows of a step to the other parts, F; the sum
 *                 of their values over all ranks, F and B
 *   norm          batch norm: column sums over all ranks, two F and one B
 *   gradients     summed over ranks (flip_comm_sum_f64)
 */
#include "train/simulate.h"

const char *const flip_simulated_names[] = {"nodes", "time", "wavefront", "window", "grid"};

/* One layer: widths. */
typedef struct widths {
    double in, out, state, skip;
    double forward, backward; /* columns aggregated either way */
    double band;              /* columns of TM-GCN's band in a pass */
    double dense;             /* multiply-adds of the structural part a row and step, forward */
    int states;               /* of a node handed over, in widths */
    bool first, last;
} widths;

static bool is_evolve(const flip_model_params *m) {
    return m->kind == FLIP_MODEL_EVOLVEGCN_O || m->kind == FLIP_MODEL_EVOLVEGCN_H;
}

/* Columns that travel to an aggregation and multiply-adds around it. */
static void structure_of(widths *w, const flip_model_params *m, int32_t l) {
    const double narrow = w->out < w->in ? w->out : w->in;
    w->forward = w->backward = narrow;
    w->dense = w->in * w->out;
    if (m->residual && m->kind != FLIP_MODEL_SAGE) w->dense += w->in * w->out;
    if (m->kind == FLIP_MODEL_SAGE) w->dense += w->in * w->out;
    if (m->output && l == m->layers - 1) w->dense += (double)m->hidden * m->out_dim;
    if (m->kind == FLIP_MODEL_GIN) {
        const double wide = m->hidden > 0 ? m->hidden : w->out;
        w->forward = w->backward = w->in;
        w->dense += w->in * wide + wide * w->out - w->in * w->out;
    }
    if (m->kind == FLIP_MODEL_SAGE && m->pool) {
        const double pooled = m->pool_width > 0 ? m->pool_width : w->in;
        w->forward = w->backward = pooled;
        w->dense = w->in * (pooled + w->out) + pooled * w->out;
    } else if (m->kind == FLIP_MODEL_GAT) {
        const double heads = m->heads_last > 0 ? m->heads_last : 1;
        w->forward = w->backward = w->last ? heads * w->out : w->out;
        w->dense = w->in * w->forward + (m->residual ? w->in * w->out : 0);
    } else if (l == 0) {
        w->forward = m->precompute ? 0 : w->in;
        w->backward = 0;
        if (m->kind == FLIP_MODEL_TMGCN)
            w->band = m->window > 1 && (!m->precompute || m->residual) ? w->in : 0;
    }
}

static widths layer_of(const flip_model_params *m, int32_t l) {
    int32_t in, out, state;
    flip_model_widths(m, l, &in, &out, &state);
    widths w = {.in = in,
                .out = out,
                .state = state,
                .skip = m->kind == FLIP_MODEL_CDGCN ? in : 0,
                .states = state == 0                         ? 0
                          : m->temporal == FLIP_TEMPORAL_GRU ? 1
                                                             : 2,
                .first = l == 0,
                .last = l == m->layers - 1 && !flip_model_recurrent(m)};
    structure_of(&w, m, l);
    return w;
}

/* Columns that change layout in an epoch. */
static double redistributed(const widths *w) {
    if (w->state == 0) return 2 * w->band;
    return 2 * (w->out + w->state) + (w->first ? 1 : 2) * w->skip;
}

int32_t flip_grid_chunks(int32_t ranks) {
    int32_t chunks = 0;
    for (int32_t k = 2; k * k <= ranks; k++)
        if (ranks % k == 0) chunks = k;
    return chunks;
}

/* Multiply-adds x 2 a row and step, all passes: forward, weights, inputs (none of constants). */
static double structure_flops(const widths *w) {
    return (w->first ? 2 : 3) * 2 * w->dense;
}

static double recurrent_flops(const widths *w) {
    const double gates = w->states == 1 ? 3 : 4;
    return 3 * 2 * (w->out + w->skip + w->state) * gates * w->state;
}

/* Values read or written a row and step, all passes: input, aggregation, output, activation; gates,
 * cells and states. Backward about twice of forward. */
static double touched(const widths *w) {
    const double structure =
                     (w->first ? 2 : 3) * w->in + 6 * w->out + 2 * (w->forward + w->backward),
                 gates = w->states == 1 ? 3 : 4;
    return structure + 3 * ((w->state > 0 ? gates + 3 : 0) * w->state + w->skip);
}

/* EvolveGCN's chain of weights, a step: the same on every rank. */
static double chain_flops(const flip_model_params *m, const widths *w) {
    const bool gru = m->kind == FLIP_MODEL_EVOLVEGCN_H || m->cell == FLIP_CELL_GRU;
    return is_evolve(m) ? 3 * 2 * (gru ? 3 : 4) * 2 * w->in * w->in * w->out : 0;
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
    *count = (uint64_t)flip_params_trainable(params);
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

static void add_summaries(flip_simulation *s, const widths *w, double n_steps) {
    const uint64_t parts = (uint64_t)(s->ranks / s->n_time), ranks = (uint64_t)s->ranks;
    s->state += parts * (parts - 1) * (uint64_t)(n_steps * w->out) * FLIP_TOPK_BYTES +
                2 * sum_bytes((uint64_t)(n_steps * w->in * w->out), ranks);
}

static void add_norm(flip_simulation *s, const widths *w) {
    const uint64_t columns = (uint64_t)w->out, ranks = (uint64_t)s->ranks;
    s->allreduce +=
        sum_bytes(columns + 1, ranks) + sum_bytes(columns, ranks) + sum_bytes(2 * columns, ranks);
}

static void add_layer(flip_simulation *s, const flip_model_params *m, const widths *w,
                      double n_nodes, double n_steps) {
    const flip_volume_counts *c = &s->counts;
    const double real = sizeof(flip_real), cells = n_nodes * n_steps,
                 aggregated = w->forward + w->backward;
    const bool moved = s->n_time > 1 && (s->distribute == FLIP_SIMULATED_TIME ||
                                         s->distribute == FLIP_SIMULATED_GRID);
    s->halo += (uint64_t)(real * (double)c->halo * aggregated);
    if (moved) s->redistribute += (uint64_t)(real * (double)c->moved * redistributed(w));
    if (s->distribute == FLIP_SIMULATED_WINDOW)
        s->window += (uint64_t)(real * (double)c->band * w->band);
    if (s->distribute == FLIP_SIMULATED_WAVEFRONT)
        s->state += (uint64_t)(2 * real * (double)c->handed * w->states * w->state);
    if (m->kind == FLIP_MODEL_EVOLVEGCN_H) add_summaries(s, w, n_steps);
    if (m->norm == FLIP_NORM_BATCH && !w->last) add_norm(s, w);
    s->values_most += (double)c->values_most * aggregated;
    s->values_all += (double)c->values_all * aggregated;
    s->recurrent_most += (double)(moved ? c->own_most : c->cells_most) * recurrent_flops(w);
    s->flops_most += (double)c->cells_most * structure_flops(w) +
                     (double)(moved ? c->own_most : c->cells_most) * recurrent_flops(w) +
                     c->steps_most * chain_flops(m, w);
    s->touched_most += real * (double)c->cells_most * touched(w);
    s->flops_all += cells * (structure_flops(w) + recurrent_flops(w)) +
                    s->ranks * (double)c->steps_most * chain_flops(m, w);
}

/* Ranks work, then exchange; nothing is overlapped. A wavefront's ranks wait for the first slice of
 * a layer's recurrent part to reach them. Every exchange costs a message to every other rank. */
static double seconds_of(const flip_simulation *s, const flip_model_params *m,
                         const flip_machine *x) {
    const double others = s->ranks - 1;
    const double bytes = (double)(s->halo + s->redistribute + s->state + s->window + s->allreduce);
    double work = s->values_most * x->seconds_a_value + s->flops_most / x->flops +
                  s->touched_most / x->copy,
           messages = 2;
    if (s->halo) messages += 2 * m->layers;
    if (s->redistribute) messages += 4 * FLIP_LAYOUT_SLICES * m->layers;
    if (s->window) messages += 1;
    if (s->distribute == FLIP_SIMULATED_WAVEFRONT)
        work += s->recurrent_most / x->flops * others / FLIP_LAYOUT_SLICES;
    return work + bytes / s->ranks / x->bandwidth + messages * others * x->latency;
}

flip_status flip_simulate(flip_simulation *out, bool *has, const flip_volume *volume,
                          const flip_model_params *m, flip_simulated distribute, int32_t ranks,
                          const flip_machine *machine) {
    uint64_t gradients = 0;
    *out = (flip_simulation){.distribute = distribute, .ranks = ranks};
    FLIP_TRY(count_gradients(m, &gradients)); /* refuses what is no model */
    out->n_time = chunks_of(m, distribute, ranks);
    *has = out->n_time > 0;
    if (!*has) return FLIP_OK;
    FLIP_TRY(flip_volume_count(volume, ranks, out->n_time, &out->counts));
    for (int32_t l = 0; l < m->layers; l++) {
        const widths w = layer_of(m, l);
        add_layer(out, m, &w, (double)flip_volume_nodes(volume), flip_volume_steps(volume));
    }
    out->allreduce += sum_bytes(gradients, (uint64_t)ranks);
    out->seconds = seconds_of(out, m, machine);
    return FLIP_OK;
}
