/* GIN (Xu et al. 2019, equation 4.1):
 *     S = (1 + eps) H + sum over in-edges of H[u];  H' = relu(relu(S Wa + ba) Wb + bb)
 * eps is learned; the last layer without the outer relu. With residual: + H Wres inside it. */
#include "internal.h"

static void gin_add(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    int32_t width = model->p.hidden > 0 ? model->p.hidden : k->out;
    k->eps = model_add(params, "eps", l, 1, 1, FLIP_INIT_ZERO);
    k->wa = model_add(params, "Wa", l, k->in, width, FLIP_INIT_UNIFORM_FAN_IN);
    k->ba = model_add(params, "ba", l, 1, width, FLIP_INIT_ZERO);
    k->wb = model_add(params, "Wb", l, width, k->out, FLIP_INIT_UNIFORM_FAN_IN);
    k->bb = model_add_bias(model, params, "bb", l);
}

/* relu(S Wa + ba) */
static flip_var inner(const pass *p, flip_var h) {
    const layer *k = layer_of(p);
    flip_var s = flip_scaled_add(p->tape, k->eps, h, model_aggregate(p));
    flip_var u = flip_linear(p->tape, s, k->wa, k->ba, FLIP_ACT_RELU);
    flip_tape_release(p->tape, s);
    return u;
}

/* The same of packed rows, S Wa = (1 + eps) H Wa + sum over in-edges of (H Wa)[u] */
static flip_var inner_packed(const pass *p) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    pass q = *p;
    q.h = flip_linear(tape, p->h, k->wa, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    flip_var z = model_aggregate(&q), h = model_self(&q);
    flip_var s = flip_scaled_add(tape, k->eps, h, z);
    flip_tape_release(tape, q.h);
    flip_var u = flip_bias(tape, s, k->ba, FLIP_ACT_RELU);
    flip_tape_release(tape, s);
    return u;
}

static flip_var gin_layer(const pass *p) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    flip_var h = model_self(p), y;
    flip_var u = flip_tape_is_packed(tape, p->h) ? inner_packed(p) : inner(p, h);
    if (k->w_residual != FLIP_PARAM_NONE)
        y = flip_linear2(tape, u, k->wb, h, k->w_residual, k->bb, model_act(p));
    else
        y = flip_linear(tape, u, k->wb, k->bb, model_act(p));
    flip_tape_release(tape, u);
    model_done_with_self(p, h);
    return y;
}

const model_row model_gin = {.name = "gin",
                             .add = gin_add,
                             .layer = gin_layer,
                             .aggregates_input = true,
                             .reads_input = true};
