/* Flipbook: model — graph neural networks as short functions over the tape.
 *
 * A model maps features [n_own, steps, in_dim] to embeddings [n_own, steps, out_dim]; for node
 * tasks out_dim is the classes or targets. Edge tasks put a head on pairs of embeddings:
 *
 *     features ─model─▶ embeddings ─gather pairs─▶ [h_u, h_v] ─head─▶ logits [n_pairs, 1, out_dim]
 */
#ifndef FLIPBOOK_MODEL_H
#define FLIPBOOK_MODEL_H

#include <flipbook/sample.h>
#include <flipbook/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_model_kind {
    FLIP_MODEL_GCN,
    FLIP_MODEL_SAGE,
    FLIP_MODEL_GAT,
    FLIP_MODEL_GIN,
    FLIP_MODEL_TMGCN,
    FLIP_MODEL_EVOLVEGCN_O,
    FLIP_MODEL_EVOLVEGCN_H,
    FLIP_MODEL_CDGCN
} flip_model_kind;
typedef enum flip_temporal {
    FLIP_TEMPORAL_NONE,
    FLIP_TEMPORAL_LSTM,
    FLIP_TEMPORAL_GRU
} flip_temporal;
typedef enum flip_cell { FLIP_CELL_AUTO, FLIP_CELL_LSTM, FLIP_CELL_GRU } flip_cell;
typedef enum flip_norm { FLIP_NORM_NONE, FLIP_NORM_LAYER, FLIP_NORM_BATCH } flip_norm;

typedef struct flip_model_params {
    flip_model_kind kind;
    int32_t layers, hidden, in_dim, out_dim;
    int32_t heads;      /* GAT: of hidden layers; hidden is the width of all heads together */
    int32_t heads_last; /* GAT: of the last layer, averaged; 0 = 1 */
    bool pool;          /* SAGE: max pooling instead of mean */
    int32_t pool_width; /* SAGE pooling: width of the pooled rows; 0 = the layer's input width */
    bool l2_normalise;  /* SAGE: embeddings have length 1 (link prediction) */
    bool residual;  /* every layer adds a linear map of its input (SAGE: the input, widths equal) */
    flip_norm norm; /* after every layer but the last, before its ReLU */
    double dropout; /* hidden activations; GAT: attention weights too */
    double input_dropout;   /* the first layer's aggregated input */
    int32_t window;         /* TM-GCN: M's band; must equal the adjacency's */
    flip_temporal temporal; /* after each layer of gcn, sage, gat, gin; CD-GCN always has an LSTM */
    flip_cell cell;         /* EvolveGCN: -O auto is the paper's LSTM, -H has a GRU only */
    int32_t structure_width; /* CD-GCN: width of the GCN's output; 0 = hidden */
    bool output; /* recurrent models (CD-GCN, temporal): a linear map Wout, bout of the last state
                    to out_dim (node tasks); without it out_dim is the last state's width */
    bool keep_hidden; /* flip_model_hidden's values stay until the tape is reset */
    flip_saved saved; /* the tape's policy, for flip_model_bytes */
    bool precompute;  /* the first layer's aggregation of constant features is taken once */
} flip_model_params;
#define FLIP_MODEL_DEFAULTS                                                                        \
    { .kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 64, .heads = 1, .precompute = true }

/* Does a recurrent cell run along time behind the layers? CD-GCN's LSTM, or `temporal`. */
static inline bool flip_model_recurrent(const flip_model_params *p) {
    return p->kind == FLIP_MODEL_CDGCN || p->temporal != FLIP_TEMPORAL_NONE;
}

/* Layer l's widths: input, structural part, and the recurrent part's state (0 = there is none). */
void flip_model_widths(const flip_model_params *p, int32_t l, int32_t *in, int32_t *out,
                       int32_t *state);

typedef struct flip_model flip_model;
/* Registers the parameters ("W1", "b1", …: the letters of the equations and the layer); call before
 * flip_params_finish. Refuses settings that the model does not have. */
flip_status flip_model_create(flip_model **model, flip_params *params, const flip_model_params *p);
void flip_model_destroy(flip_model **model); /* on a device before its tape */
/* Can this model run with time cut into n_time chunks that are coupled so? Refuses plainly. */
flip_status flip_model_distribution_fits(const flip_model_params *p, int n_time,
                                         flip_temporal_exchange exchange);
/* The adjacency this model aggregates over. */
flip_adjacency_kind flip_model_adjacency(const flip_model_params *p);
/* One block of the timeline as a model sees it; static graphs have one, of one step. */
typedef struct flip_block {
    const flip_adjacency *adjacency; /* this rank's steps of the block */
    const flip_real *features;       /* [rows, steps, in_dim] in the time layout (layout.h) */
    int32_t steps;                   /* this rank's; may be 0 where time is distributed */
    int32_t constant;                /* first columns of features that are the same at every step */
    int32_t index, n_blocks;         /* of the block; 0, 1 = the whole timeline */
    bool states_only; /* the caller wants the states at the block's end and no embeddings: what does
                         not feed them is left out, and FLIP_VAR_NONE returned */
    /* The steps' features as packed rows, in place of `features`; NULL where they are not packed.
     * The first layer then multiplies before it aggregates, and nothing of it is kept. */
    const flip_packed_rows *packed;
} flip_block;
/* Collective; the tape is at the same block (flip_tape_block). Features: borrowed during the pass;
 * a block's are the same whenever it comes again: the model keeps its first aggregation. */
flip_var flip_model_forward(flip_model *model, flip_tape *tape, const flip_block *block);
/* The same on a variable, which may need a gradient; nothing is kept. Collective. */
flip_var flip_model_apply(flip_model *model, flip_tape *tape, const flip_adjacency *adjacency,
                          flip_var x);
/* Is the first layer's input the mean or sum of its neighbours' features as they are? Then it may
 * be taken beforehand. */
bool flip_model_takes_aggregated(const flip_model_params *p);
/* Embeddings of a batch's seeds [n_seeds, 1, out_dim], layer l over mfg l; the tape is at the batch
 * (flip_tape_batch). x: rows of mfg[0]'s sources; or, with `aggregated` (mfg[0] times the sources:
 * [mfg[0].n_dst, 1, in_dim]; FLIP_VAR_NONE = not taken), of its destinations alone, FLIP_VAR_NONE
 * where the first layer reads none beside. Not for recurrent and evolving models. Local. */
flip_var flip_model_forward_batch(flip_model *model, flip_tape *tape, const flip_batch *batch,
                                  flip_var x, flip_var aggregated);
/* Takes a block's first aggregation now, where it is kept, so that nothing else stands in memory
 * beside it. Collective; the tape is at the block, and to be reset behind. */
flip_status flip_model_prepare(flip_model *model, flip_tape *tape, const flip_block *block);
/* Every block's first aggregation is kept, and nothing else of the features is ever read: they may
 * be freed, and block.features be NULL from now on (until flip_model_forget). */
bool flip_model_done_with_features(const flip_model *model);
/* Forget the kept first aggregation (the features or the adjacency changed). */
void flip_model_forget(flip_model *model);
/* A variable inside the last forward: "H1" is the output of layer 1, …; FLIP_VAR_NONE if there is
 * none. Its value is there with keep_hidden; without, only where backward will read it. */
flip_var flip_model_hidden(const flip_model *model, int32_t layer);

/* Bytes of values, gradients and kept aggregations that training this model will hold at its peak
 * on this rank, from counts alone. */
size_t flip_model_bytes(const flip_model_params *p, int64_t n_own, int64_t n_halo,
                        int64_t n_entries, int32_t steps);
/* Bytes that its recurrent layers work with on a GPU, beside those. */
size_t flip_model_device_work(const flip_model_params *p, int64_t n_own, int32_t steps);

/* ---- heads on pairs ---- */
typedef enum flip_head_kind {
    FLIP_HEAD_DOT,    /* h_u . h_v; out_dim 1 */
    FLIP_HEAD_LINEAR, /* [h_u, h_v] U */
    FLIP_HEAD_MLP     /* relu([h_u, h_v] V1 + a1) V2 + a2 */
} flip_head_kind;
typedef struct flip_head_params {
    flip_head_kind kind;
    int32_t in_dim, hidden, out_dim; /* in_dim: width of one embedding */
} flip_head_params;
typedef struct flip_head flip_head;
/* Registers the parameters; call before flip_params_finish. */
flip_status flip_head_create(flip_head **head, flip_params *params, const flip_head_params *p);
void flip_head_destroy(flip_head **head);
/* A head of one output taken apart, so that all pairs of many nodes can be scored:
 *     score(u, v) = bias + sum_k w[k] relu(a_u[k] + b_v[k]), or with w NULL bias + sum_k a_u[k]
 * b_v[k]
 */
typedef struct flip_head_split {
    int32_t width;
    const flip_real *w; /* [width] or NULL; borrowed from the parameters */
    flip_real bias;
} flip_head_split;
/* Refuses heads of more outputs. */
flip_status flip_head_take_apart(flip_head_split *split, const flip_head *head,
                                 flip_params *params);
/* a, b [n, width] of n embeddings h that stand ld apart: as a source and as a destination. */
void flip_head_ends(const flip_head *head, flip_params *params, int64_t n, const flip_real *h,
                    int64_t ld, flip_real *a, flip_real *b);
/* Collective. Logits [n_pairs, 1, out_dim]. */
flip_var flip_head_forward(flip_head *head, flip_tape *tape, flip_var h, const flip_pairs *pairs);
/* The same of h's last reader: its memory serves the scores. */
flip_var flip_head_consume(flip_head *head, flip_tape *tape, flip_var h, const flip_pairs *pairs);

#ifdef __cplusplus
}
#endif
#endif
