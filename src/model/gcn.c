/* GCN (Kipf and Welling 2017, equation 2):
 *     H' = relu(Â H W + b),  Â = D^-1/2 (A + I) D^-1/2;  the last layer without relu
 * With residual: Â H W + H Wres + b. */
#include "internal.h"

static void gcn_add(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    k->w = model_add(params, "W", l, k->in, k->out, FLIP_INIT_GLOROT);
    k->b = model_add_bias(model, params, "b", l);
}

/* Also TM-GCN's and CD-GCN's, whose b is FLIP_PARAM_NONE. */
static flip_var gcn_layer(const pass *p) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    if (model_multiply_first(p)) /* Â (H W) + H Wres + b */
        return flip_linear_aggregate(tape, p->adjacency, p->h, k->w_residual, k->w, k->b,
                                     model_act(p));
    flip_var y, z = model_aggregate(p); /* (Â H) W + H Wres + b */
    if (k->w_residual != FLIP_PARAM_NONE) {
        flip_var h = model_self(p);
        y = flip_linear2(tape, z, k->w, h, k->w_residual, k->b, model_act(p));
        model_done_with_self(p, h);
    } else {
        model_done_with_input(p);
        y = flip_linear(tape, z, k->w, k->b, model_act(p));
    }
    flip_tape_release(tape, z);
    return y;
}

const model_row model_gcn = {
    .name = "gcn", .add = gcn_add, .layer = gcn_layer, .aggregates_input = true};

/* TM-GCN (Malik et al. 2021): X' = M X, A' = M A over time; the rest is a GCN on every step,
 *     Y_t = relu(A'_t X'_t W1),  Z_t = A'_t Y_t W2,  without biases. A' comes as the adjacency. */
static void add_weight(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    k->w = model_add(params, "W", l, k->in, k->out, FLIP_INIT_GLOROT);
}

const model_row model_tmgcn = {
    .name = "tmgcn", .add = add_weight, .layer = gcn_layer, .aggregates_input = true};

/* CD-GCN (Manessi et al. 2020): Z_t = [relu(Â_t X_t W), X_t]; H_t = LSTM(Z) of every node, whose
 * weights all nodes share. The concatenation is never made: the LSTM reads both halves. */
const model_row model_cdgcn = {.name = "cdgcn",
                               .add = add_weight,
                               .layer = gcn_layer,
                               .aggregates_input = true,
                               .reads_input = true,
                               .skip = true};
