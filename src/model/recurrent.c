/* The recurrent part of a layer, over every node's sequence of steps; all nodes share its weights:
 *     h_t = LSTM(y_t, h_{t-1})  or  GRU(y_t, h_{t-1});  with a skip of [y_t, x_t], x the layer's
 * input CD-GCN is a GCN with skip and LSTM; --structure S --temporal R makes the others. */
#include "internal.h"

static bool uses_gru(const flip_model_params *p) {
    return p->temporal == FLIP_TEMPORAL_GRU;
}

void model_add_recurrent(flip_model *model, flip_params *params, int32_t l) {
    layer *k = &model->layers[l];
    bool gru = uses_gru(&model->p);
    int32_t in = k->out + (model->row->skip ? k->in : 0), gates = (gru ? 3 : 4) * k->state;
    /* the letters of CD-GCN's equations; a structural part's own bias is b already */
    const char *bias = model->p.kind == FLIP_MODEL_CDGCN ? "b" : "bx";
    k->wx = model_add(params, "Wx", l, in, gates, FLIP_INIT_GLOROT);
    k->wh = model_add(params, "Wh", l, k->state, gates, FLIP_INIT_GLOROT);
    k->bx = model_add(params, bias, l, 1, gates, FLIP_INIT_ZERO);
    if (gru) k->bh = model_add(params, "bh", l, 1, gates, FLIP_INIT_ZERO);
}

flip_var model_recur(const pass *p, flip_var y) {
    const layer *k = layer_of(p);
    flip_var skip = p->model->row->skip ? p->h : FLIP_VAR_NONE;
    return uses_gru(&p->model->p) ? flip_gru(p->tape, y, skip, k->wx, k->wh, k->bx, k->bh)
                                  : flip_lstm(p->tape, y, skip, k->wx, k->wh, k->bx);
}
