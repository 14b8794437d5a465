/* GraphSAGE (Hamilton et al. 2017, algorithm 1):
 *     mean   H' = relu(H Wself + mean(H) Wneigh + b)
 *     pool   H' = relu(H Wself + pool(H) Wneigh + b),
 *            pool(H)[v] = max over in-edges of relu(H[u] Wpool + bpool)
 * The last layer without relu. With residual: + H where the widths are equal (Wself is the linear
 * skip already). */
#include "internal.h"

static void sage_add(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    int32_t width = k->in;
    if (model->p.pool) {
        width = model->p.pool_width > 0 ? model->p.pool_width : k->in;
        k->w_pool = model_add(params, "Wpool", l, k->in, width, FLIP_INIT_UNIFORM_FAN_IN);
        k->b_pool = model_add(params, "bpool", l, 1, width, FLIP_INIT_ZERO);
    }
    k->w_self = model_add(params, "Wself", l, k->in, k->out, FLIP_INIT_UNIFORM_FAN_IN);
    k->w_neigh = model_add(params, "Wneigh", l, width, k->out, FLIP_INIT_UNIFORM_FAN_IN);
    k->b = model_add_bias(model, params, "b", l);
}

/* max over in-edges of relu(H Wpool + bpool) */
static flip_var pool(const pass *p) {
    const layer *k = layer_of(p);
    flip_var q = flip_linear(p->tape, p->h, k->w_pool, k->b_pool, FLIP_ACT_RELU);
    flip_var z = flip_max_pool(p->tape, p->adjacency, q);
    flip_tape_release(p->tape, q);
    return z;
}

static flip_var convolve(const pass *p, flip_act act) {
    flip_tape *tape = p->tape;
    const layer *k = layer_of(p);
    if (!p->model->p.pool && model_multiply_first(p)) /* H Wself + mean(H Wneigh) + b */
        return flip_linear_aggregate(tape, p->adjacency, p->h, k->w_self, k->w_neigh, k->b, act);
    flip_var z = p->model->p.pool ? pool(p) : model_aggregate(p), h = model_self(p);
    flip_var y = flip_linear2(tape, h, k->w_self, z, k->w_neigh, k->b, act);
    flip_tape_release(tape, z);
    model_done_with_self(p, h);
    return y;
}

static flip_var sage_layer(const pass *p) {
    const layer *k = layer_of(p);
    if (!p->model->p.residual || k->in != k->out || is_last(p)) return convolve(p, model_act(p));
    flip_var y = convolve(p, FLIP_ACT_NONE), h = model_self(p);
    y = flip_add(p->tape, y, h, model_act(p));
    model_done_with_self(p, h);
    return y;
}

const model_row model_sage = {.name = "sage",
                              .add = sage_add,
                              .layer = sage_layer,
                              .aggregates_input = true,
                              .reads_input = true};
