/* Flipbook: model — graph neural networks as short functions over the tape.
 *
 * A model maps features [n_own, steps, in_dim] to embeddings [n_own, steps, out_dim]; for node
 * tasks out_dim is the classes or targets. Edge tasks put a head on pairs of embeddings.
 */
#ifndef FLIPBOOK_MODEL_H
#define FLIPBOOK_MODEL_H

#include <flipbook/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_model_kind {
    FLIP_MODEL_GCN,
    FLIP_MODEL_SAGE,
    FLIP_MODEL_GAT,
    FLIP_MODEL_GIN,
    FLIP_MODEL_TMGCN
} flip_model_kind;
typedef enum flip_norm { FLIP_NORM_NONE, FLIP_NORM_LAYER, FLIP_NORM_BATCH } flip_norm;

typedef struct flip_model_params {
    flip_model_kind kind;
    int32_t layers, hidden, heads, in_dim, out_dim;
    bool pool; /* SAGE: max pooling instead of mean */
    bool residual;
    flip_norm norm;
    double dropout, input_dropout;
    bool precompute; /* first-layer aggregation of constant features is taken once */
} flip_model_params;

typedef struct flip_model flip_model;
/* Registers the parameters; call before flip_params_finish. */
flip_status flip_model_create(flip_model **model, flip_params *params, const flip_model_params *p);
void flip_model_destroy(flip_model **model);
/* The adjacency this model aggregates over. */
flip_adjacency_kind flip_model_adjacency(const flip_model_params *p);
/* Collective. features: borrowed, must stay in place while the model caches its first aggregation.
 */
flip_var flip_model_forward(flip_model *model, flip_tape *tape, const flip_adjacency *adjacency,
                            const flip_real *features, int32_t steps);

#ifdef __cplusplus
}
#endif
#endif
