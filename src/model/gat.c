/* GAT (Veličković et al. 2018): Z = H W as heads side by side, Y = attention(Z),
 *     hidden layers  H' = elu(Y + b)
 *     last layer     mean over heads of Y, + b
 * With residual: + H Wres before b's sum is activated. Attention weights are dropped like features.
 */
#include "internal.h"

static void gat_add(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    bool last = gives_output(&model->p, l);
    int32_t d = last ? k->out : k->out / k->heads;
    k->w = model_add(params, "W", l, k->in, k->heads * d, FLIP_INIT_GLOROT);
    k->a_src = model_add(params, "asrc", l, k->heads, d, FLIP_INIT_GLOROT);
    k->a_dst = model_add(params, "adst", l, k->heads, d, FLIP_INIT_GLOROT);
    k->b = model_add_bias(model, params, "b", l);
}

/* Attention's output with the last layer's mean over heads. */
static flip_var attend(const pass *p) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    flip_var z = flip_linear(tape, p->h, k->w, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    flip_var y =
        flip_attention(tape, p->adjacency, z, k->a_src, k->a_dst, k->heads, p->model->p.dropout);
    flip_tape_release(tape, z);
    if (!is_last(p) || k->heads == 1) return y;
    flip_var mean = flip_head_mean(tape, y, k->heads);
    flip_tape_release(tape, y);
    return mean;
}

static flip_var gat_layer(const pass *p) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    flip_var y = attend(p);
    if (k->w_residual != FLIP_PARAM_NONE) {
        flip_var h = model_self(p);
        flip_var skip = flip_linear(tape, h, k->w_residual, FLIP_PARAM_NONE, FLIP_ACT_NONE);
        y = flip_add(tape, y, skip, FLIP_ACT_NONE);
        model_done_with_self(p, h);
    }
    if (k->b == FLIP_PARAM_NONE) return y;
    return flip_bias(tape, y, k->b, FLIP_ACT_NONE); /* elu: model.c, behind the norm */
}

const model_row model_gat = {
    .name = "gat", .add = gat_add, .layer = gat_layer, .reads_input = true};
