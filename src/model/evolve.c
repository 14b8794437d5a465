/* EvolveGCN (Pareja et al. 2020): a GCN whose weights are the states of a recurrence,
 *     H'_t = relu(Â_t H_t W_t);  the last layer without relu
 *     -O  W_t = LSTM(W_{t-1}), the weight is state and input; --cell gru: as its authors' code
 *     -H  W_t = GRU(S_t, W_{t-1}), S_t the top-k summary of the layer's input, k = columns of W
 * No node's value travels through time: the chains are the same on every rank. */
#include "internal.h"

#include <stdio.h>

static bool by_nodes(const flip_model *model) {
    return model->p.kind == FLIP_MODEL_EVOLVEGCN_H;
}

static bool by_lstm(const flip_model *model) {
    return !by_nodes(model) && model->p.cell != FLIP_CELL_GRU;
}

static void evolve_add(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    int32_t gates = (by_lstm(model) ? 4 : 3) * k->in;
    char name[32];
    snprintf(name, sizeof name, "W0_%d", l + 1);
    k->w0 = flip_params_add(params, name, k->in, k->out, FLIP_INIT_GLOROT);
    k->wg = model_add(params, "Wg", l, gates, k->in, FLIP_INIT_GLOROT);
    k->ug = model_add(params, "Ug", l, gates, k->in, FLIP_INIT_GLOROT);
    k->bg = model_add(params, "Bg", l, gates, k->out, FLIP_INIT_ZERO);
    if (by_nodes(model)) k->p = model_add(params, "p", l, 1, k->in, FLIP_INIT_GLOROT);
}

/* W_t of every step of the block. */
static flip_var chain(const pass *p) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    int32_t steps;
    flip_tape_shape(tape, p->h, NULL, &steps, NULL);
    if (by_lstm(p->model)) return flip_matrix_lstm(tape, steps, k->w0, k->wg, k->ug, k->bg);
    flip_var s = FLIP_VAR_NONE;
    if (by_nodes(p->model)) s = flip_topk_summary(tape, p->h, k->p, k->out);
    flip_var w = flip_matrix_gru(tape, steps, s, k->w0, k->wg, k->ug, k->bg);
    flip_tape_release(tape, s);
    return w;
}

static flip_var evolve_layer(const pass *p) {
    flip_tape *tape = p->tape;
    int32_t out = layer_of(p)->out;
    flip_var w = chain(p), y, z;
    if (model_multiply_first(p)) { /* Â (H W_t) */
        z = flip_linear_steps(tape, p->h, w, out, FLIP_ACT_NONE);
        model_done_with_input(p);
        y = flip_aggregate(tape, p->adjacency, z, FLIP_VAR_NONE, FLIP_PARAM_NONE, model_act(p));
    } else { /* (Â H) W_t */
        z = model_aggregate(p);
        model_done_with_input(p);
        y = flip_linear_steps(tape, z, w, out, model_act(p));
    }
    flip_tape_release(tape, z);
    flip_tape_release(tape, w);
    return y;
}

static void evolve_states(const pass *p) {
    flip_tape_release(p->tape, chain(p));
}

const model_row model_evolve_o = {.name = "evolvegcn-o",
                                  .add = evolve_add,
                                  .layer = evolve_layer,
                                  .states = evolve_states,
                                  .aggregates_input = true,
                                  .local_states = true};
const model_row model_evolve_h = {.name = "evolvegcn-h",
                                  .add = evolve_add,
                                  .layer = evolve_layer,
                                  .states = evolve_states,
                                  .aggregates_input = true,
                                  .reads_input = true};
