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
 *     Y_t = relu(A'_t X'_t W1),  Z_t = A'_t Y_t W2,  without biases. A' comes as the adjacency.
 * Packed rows are multiplied first, X' W1 = M (X W1): what the band reads, keeps and sends is as
 * wide as the layer, and no X' stands anywhere. */
static void add_weight(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    k->w = model_add(params, "W", l, k->in, k->out, FLIP_INIT_GLOROT);
}

static flip_var transformed_product(const pass *p, flip_param w) {
    flip_var u = flip_linear(p->tape, p->h, w, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    flip_var z = model_transform(p->model, p->tape, u);
    if (z != u) flip_tape_release(p->tape, u);
    return z;
}

void model_transform_products(const pass *p, flip_var *z, flip_var *residual) {
    const layer *k = layer_of(p);
    bool adds = k->w_residual != FLIP_PARAM_NONE;
    *z = transformed_product(p, k->w);
    *residual = adds ? transformed_product(p, k->w_residual) : FLIP_VAR_NONE;
}

static flip_var tmgcn_layer(const pass *p) {
    flip_var y, z, residual;
    if (!flip_tape_is_packed(p->tape, p->h)) return gcn_layer(p);
    model_transform_products(p, &z, &residual);
    y = flip_aggregate(p->tape, p->adjacency, z, residual, FLIP_PARAM_NONE, model_act(p));
    flip_tape_release(p->tape, residual);
    flip_tape_release(p->tape, z);
    return y;
}

const model_row model_tmgcn = {
    .name = "tmgcn", .add = add_weight, .layer = tmgcn_layer, .aggregates_input = true};

/* CD-GCN (Manessi et al. 2020): Z_t = [relu(Â_t X_t W), X_t]; H_t = LSTM(Z) of every node, whose
 * weights all nodes share. The concatenation is never made: the LSTM reads both halves. */
const model_row model_cdgcn = {.name = "cdgcn",
                               .add = add_weight,
                               .layer = gcn_layer,
                               .aggregates_input = true,
                               .reads_input = true,
                               .skip = true};
