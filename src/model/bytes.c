/* How much memory training a model takes, from counts alone. */
#include "internal.h"

#include <omp.h>

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Values a row that layer l keeps for its backward pass, besides its input (which is the kept
 * output of the layer before); `first`: its aggregation is an input of the pass. */
static int64_t kept_columns(const flip_model_params *p, int64_t in, int64_t out, bool first,
                            bool last, int64_t heads) {
    bool reads_input = p->residual || (p->kind != FLIP_MODEL_GCN && p->kind != FLIP_MODEL_TMGCN &&
                                       p->kind != FLIP_MODEL_EVOLVEGCN_O);
    bool multiply_first = out < in && !first && !p->pool;
    int64_t columns = 0;
    switch (p->kind) {
    case FLIP_MODEL_SAGE:
        if (p->pool) /* the pooled rows and who attained them (4 bytes) */
            columns = 2 * (p->pool_width > 0 ? p->pool_width : in);
        else
            columns = multiply_first || first ? 0 : in;
        break;
    case FLIP_MODEL_GAT: /* Z, its scores; Y before the mean over heads */
        columns = (last ? 2 * heads * out : out) + 2 * heads;
        break;
    case FLIP_MODEL_GIN: /* S, and the hidden rows of the MLP */
        columns = in + larger(p->hidden, 1);
        break;
    default: /* A H takes H's place; with a residual both stay; -H's summary keeps its k rows */
        columns = !multiply_first && !first && p->residual ? in : 0;
    }
    if (p->input_dropout > 0 && first) columns += in + (reads_input ? in : 0);
    if (p->norm != FLIP_NORM_NONE && !last) /* the norm's input, and a row's two statistics */
        columns += out + 4;
    return columns;
}

/* EvolveGCN: values a step of the block that layer l's chain holds: gates, states, the weights and
 * their gradients (one in double), the summary. */
static int64_t chain_values(const flip_model_params *p, int64_t in, int64_t out) {
    if (p->kind == FLIP_MODEL_EVOLVEGCN_O) return 12 * in * out;
    return p->kind == FLIP_MODEL_EVOLVEGCN_H ? 16 * in * out : 0;
}

/* Values a row that the recurrent part keeps: its state and, unless they are made anew in backward,
 * gates and cells (GRU: the candidate's share). */
static int64_t recurrent_columns(const flip_model_params *p, int64_t state) {
    int64_t gates = p->temporal == FLIP_TEMPORAL_GRU ? 3 : 4;
    return p->saved != FLIP_SAVED_KEEP ? state : (gates + 2) * state;
}

/* GCN, TM-GCN, EvolveGCN and SAGE by means, without norms and skips: layers of one product and one
 * aggregation, which can be followed pass by pass. */
static bool is_plain(const flip_model_params *p) {
    bool kind = p->kind == FLIP_MODEL_GCN || p->kind == FLIP_MODEL_TMGCN ||
                p->kind == FLIP_MODEL_EVOLVEGCN_O || p->kind == FLIP_MODEL_EVOLVEGCN_H ||
                (p->kind == FLIP_MODEL_SAGE && !p->pool);
    return kind && p->norm == FLIP_NORM_NONE && !p->residual && p->input_dropout == 0 &&
           !p->l2_normalise && !flip_model_recurrent(p);
}

/* The most values a row has at once. What a layer keeps: its input where it multiplies first, else
 * the aggregation (SAGE: both); the gradients of those take their places. */
static int64_t plain_peak(const flip_model_params *p) {
    int64_t aggregation = p->kind == FLIP_MODEL_TMGCN ? 2 : 1, kept = 0;
    int64_t peak = aggregation * p->in_dim; /* of the features, before the first epoch */
    for (int32_t l = 0; l < p->layers; l++) {
        int32_t in, out, state;
        flip_model_widths(p, l, &in, &out, &state);
        if (l > 0 && out < in) { /* h stays; its product and the aggregation of that */
            kept += in;
            peak = larger(peak, kept + 2 * out);
        } else if (l > 0) { /* h and z; then z and y, in backward their gradients */
            kept += in * (p->kind == FLIP_MODEL_SAGE ? 2 : 1);
            peak = larger(peak, kept + larger(in, out));
        }
        peak = larger(peak, kept + out + (l == p->layers - 1 ? out + 2 : 0)); /* softmax, log-sum */
    }
    return peak;
}

/* Values a thread works with in the recurrent part: a chunk of rows, the weights and what is summed
 * for them in double. */
static int64_t recurrent_work(const flip_model_params *p, int64_t inputs, int64_t state) {
    bool gru = p->temporal == FLIP_TEMPORAL_GRU;
    int64_t width = (gru ? 3 : 4) * state, k = inputs + state;
    int64_t group = FLIP_RECURRENT_GROUP / (int64_t)sizeof(flip_real), rows = FLIP_RECURRENT_CHUNK;
    return state == 0 ? 0
                      : (gru ? 1 : 2) * larger(group, rows * (k + state)) +
                            rows * (k + (gru ? 2 : 3) * width + 5 * state) + 4 * k * width;
}

/* The same on a GPU, which takes most rows, or all, through many steps at once. */
static int64_t device_work(const flip_model_params *p, int64_t n_own, int64_t steps, int64_t inputs,
                           int64_t state) {
    const int64_t width = (p->temporal == FLIP_TEMPORAL_GRU ? 3 : 4) * state, k = inputs + state;
    const int64_t most = FLIP_RECURRENT_DEVICE_CHUNK, rows = n_own < most ? n_own : most;
    const int64_t step = rows * (k + state);
    int64_t group = FLIP_RECURRENT_DEVICE_GROUP / (int64_t)sizeof(flip_real) / larger(step, 1);
    group = group < 1 ? 1 : group < steps ? group : steps;
    return state == 0 ? 0 : group * step + rows * (k + 3 * width + 5 * state) + 4 * k * width;
}

size_t flip_model_device_work(const flip_model_params *p, int64_t n_own, int32_t steps) {
    int64_t most = 0;
    for (int32_t l = 0; l < p->layers; l++) {
        int32_t in, out, state;
        flip_model_widths(p, l, &in, &out, &state);
        const int64_t inputs = out + (p->kind == FLIP_MODEL_CDGCN ? in : 0);
        most = larger(most, device_work(p, n_own, steps, inputs, state));
    }
    return (size_t)most * sizeof(flip_real);
}

size_t flip_model_bytes(const flip_model_params *p, int64_t n_own, int64_t n_halo,
                        int64_t n_entries, int32_t steps) {
    int64_t columns = 0, widest = larger(p->out_dim, 1), per_entry = 0, bits = 0, cache = 0,
            chains = 0, work = 0;
    bool aggregates = p->kind != FLIP_MODEL_GAT && !p->pool;
    for (int32_t l = 0; l < p->layers; l++) {
        int32_t in, out, state;
        flip_model_widths(p, l, &in, &out, &state);
        bool last = gives_output(p, l), first = l == 0 && aggregates;
        int64_t heads = !last ? larger(p->heads, 1) : larger(p->heads_last, 1);
        columns += kept_columns(p, in, out, first, last, heads) + out + recurrent_columns(p, state);
        if (p->kind == FLIP_MODEL_GAT) per_entry += heads;
        if (!last) bits += (out + 7) / 8;
        chains += chain_values(p, in, out);
        work = larger(work, recurrent_work(p, out + (p->kind == FLIP_MODEL_CDGCN ? in : 0), state));
        if (first) cache = in;
        widest =
            larger(larger(widest, state),
                   larger(l == 0 ? 0 : in, p->kind == FLIP_MODEL_GAT && last ? heads * out : out));
    }
    int64_t rows = n_own * steps;
    /* backward: the gradients of one output and one input; attention: two more values an entry */
    columns += p->out_dim + widest + cache;
    if (flip_model_recurrent(p)) columns += widest; /* of two inputs */
    if (p->pool || (p->kind == FLIP_MODEL_GAT && p->residual)) columns += widest;
    if (p->kind == FLIP_MODEL_TMGCN && p->residual) columns += p->in_dim; /* M X */
    if (p->kind == FLIP_MODEL_GAT) per_entry += 2 * larger(p->heads, p->heads_last);
    if (is_plain(p)) columns = plain_peak(p) + cache;
    int64_t values = rows * columns + n_halo * steps * widest + n_entries * steps * per_entry +
                     steps * chains + work * omp_get_max_threads();
    return (size_t)values * sizeof(flip_real) + (size_t)(rows * bits);
}
