/* Inside the models: a layer's parameters, and the steps that all models share. */
#ifndef FLIP_MODEL_INTERNAL_H
#define FLIP_MODEL_INTERNAL_H

#include <flipbook/model.h>

/* Parameters of one layer; those a model does not have are FLIP_PARAM_NONE. */
typedef struct layer {
    int32_t in, out; /* widths, of the structural part */
    int32_t state; /* width of the recurrent part's state, which is the layer's output; 0 = none */
    int32_t heads;
    flip_param w, b;                /* GCN, GAT, TM-GCN, CD-GCN's W */
    flip_param w_self, w_neigh;     /* SAGE */
    flip_param w_pool, b_pool;      /* SAGE pooling */
    flip_param eps, wa, ba, wb, bb; /* GIN */
    flip_param a_src, a_dst;        /* GAT */
    flip_param w_residual;          /* [in, out] */
    flip_param gamma, beta, mean, var;
    flip_param w0, wg, ug, bg,
        p;                     /* EvolveGCN: the chain's first weight, its gates; -H: the score */
    flip_param wx, wh, bx, bh; /* the recurrent part; bh: GRU */
} layer;

/* One forward pass. */
typedef struct pass {
    flip_model *model;
    flip_tape *tape;
    const flip_adjacency *adjacency;
    int32_t l;  /* layer, from 0 */
    flip_var h; /* the layer's input; of layer 0 with input dropout */
    flip_var
        first; /* layer 0: the aggregated input with input dropout, where it is taken already */
} pass;

/* A model's row in the table: the parameters of a layer, its equation, what is aggregated first. */
typedef struct model_row {
    const char *name;
    void (*add)(flip_model *model, flip_params *params, int32_t l);
    flip_var (*layer)(const pass *p);
    /* A layer of which only the states at the block's end are wanted: runs the chain alone; NULL:
     * the layer has no states but its recurrent part's. */
    void (*states)(const pass *p);
    bool aggregates_input; /* the first layer aggregates the features themselves, */
    bool reads_input;      /* and reads them beside their aggregation */
    bool skip;             /* the recurrent part reads the layer's input too */
    bool local_states;     /* states do not depend on the layers' values */
} model_row;

extern const model_row model_gcn, model_sage, model_gat, model_gin, model_tmgcn, model_cdgcn,
    model_evolve_o, model_evolve_h;

/* A block's first aggregation of constant features. */
typedef struct kept_aggregation {
    const flip_real *features;
    int32_t steps;
    flip_real *aggregated;
    flip_tape *tape; /* whose device holds them too */
} kept_aggregation;

struct flip_model {
    flip_model_params p;
    const model_row *row;
    layer *layers;           /* [p.layers] */
    flip_param w_out, b_out; /* recurrent models: the last state's map to the outputs */
    flip_var *hidden;        /* [p.layers] of the last forward */
    kept_aggregation *kept;  /* [n_kept], one a block */
    int32_t n_kept;
};

static inline const layer *layer_of(const pass *p) {
    return &p->model->layers[p->l];
}
/* Is there an RNN behind every layer's structural part? */
/* Does layer l give the model's outputs as they are (no norm, no ReLU)? Behind a recurrent layer's
 * structural part there is always an RNN. */
static inline bool gives_output(const flip_model_params *p, int32_t l) {
    return l == p->layers - 1 && !flip_model_recurrent(p);
}
static inline bool is_last(const pass *p) {
    return gives_output(&p->model->p, p->l);
}
/* Adds parameter "<letters><layer from 1>". */
flip_param model_add(flip_params *params, const char *letters, int32_t l, int32_t rows,
                     int32_t cols, flip_init init);
/* The bias of layer l's sum; FLIP_PARAM_NONE where batch norm would take it away again. */
flip_param model_add_bias(flip_model *model, flip_params *params, const char *letters, int32_t l);
/* What the layer's last product or sum applies: ReLU and dropout, nothing in the last layer or
 * where a norm comes first. */
flip_act model_act(const pass *p);
/* H of the destinations: of a batch the first rows of the layer's input, else all of it. */
flip_var model_self(const pass *p);
/* model_self's is read no more. */
static inline void model_done_with_self(const pass *p, flip_var self) {
    if (self != p->h) flip_tape_release(p->tape, self);
}
/* A H: taken already, or aggregated now. */
flip_var model_aggregate(const pass *p);
/* M X of TM-GCN, which a window of one step leaves as it is: no state then, either. */
flip_var model_transform(const flip_model *model, flip_tape *tape, flip_var x);
/* M (X W) and, with residual, M (X Wres) (else FLIP_VAR_NONE), of packed rows X (gcn.c). */
void model_transform_products(const pass *p, flip_var *z, flip_var *residual);
/* The recurrent part (recurrent.c): its parameters; h = RNN(y), or RNN([y, input]) with a skip. */
void model_add_recurrent(flip_model *model, flip_params *params, int32_t l);
flip_var model_recur(const pass *p, flip_var y);
/* The structural part reads its input no more: its memory is free, unless the recurrent part will
 * read it too. */
static inline void model_done_with_input(const pass *p) {
    if (!p->model->row->skip) flip_tape_release(p->tape, p->h);
}
/* Is A (H W) cheaper than (A H) W? */
bool model_multiply_first(const pass *p);

#endif
