/* golden cases: static models, training. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

/* ---- static models ---- */

int32_t golden_columns(golden *g, const char *tensor) {
    return (int32_t)golden_load(g, tensor).shape[1];
}

static flip_labels labels_of(golden *g) {
    return (flip_labels){.label = golden_int(g, "label"), .mask = golden_mask(g, "mask")};
}

/* Model, parameters of the case, a training tape. NULL on failure. */
flip_model *golden_model(golden *g, const flip_model_params *p) {
    flip_model *model = NULL;
    golden_try(g, flip_params_create(&g->params));
    flip_model_params kept = *p;
    kept.keep_hidden = true;
    golden_try(g, flip_model_create(&model, g->params, &kept));
    golden_begin(g);
    return model;
}

static flip_adjacency *adjacency_of(golden *g, const flip_model_params *p) {
    flip_adjacency_params params = {.kind = flip_model_adjacency(p), .n_steps = 1};
    return golden_adjacency(g, &params);
}

static void node_model(golden *g, flip_model_params p) {
    p.layers = 2;
    p.in_dim = golden_columns(g, "X");
    p.hidden = golden_columns(g, "H");
    p.out_dim = golden_columns(g, "logits");
    flip_model *model = golden_model(g, &p);
    flip_adjacency *adjacency = adjacency_of(g, &p);
    if (g->failures) return;
    flip_var logits = flip_model_apply(model, g->tape, adjacency, golden_input(g, "X"));
    golden_compare_var(g, "H", flip_model_hidden(model, 1));
    golden_compare_var(g, "logits", logits);
    flip_labels labels = labels_of(g);
    golden_backward(g, flip_cross_entropy(g->tape, logits, &labels));

    /* the way of training: constant features, their aggregation kept */
    p.precompute = true;
    flip_tape_reset(g->tape, true, 0);
    flip_real *features = golden_real(g, "X");
    for (int again = 0; again < 2; again++) {
        flip_tape_reset(g->tape, true, 0);
        logits = flip_model_forward(
            model, g->tape,
            &(flip_block){.adjacency = adjacency, .features = features, .steps = 1, .n_blocks = 1});
        golden_compare_var(g, "logits", logits);
    }
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
}

void case_gcn(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_GCN, .precompute = true});
}

void case_sage_mean(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_SAGE, .precompute = true});
}

void case_sage_pool(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_SAGE,
                                      .pool = true,
                                      .pool_width = golden_columns(g, "Wpool1")});
}

void case_gin(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_GIN, .precompute = true});
}

void case_gat(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_GAT,
                                      .heads = (int32_t)golden_load(g, "asrc1").shape[0],
                                      .heads_last = (int32_t)golden_load(g, "asrc2").shape[0]});
}

void case_sage_mean_l2(golden *g) {
    flip_model_params p = {.kind = FLIP_MODEL_SAGE,
                           .layers = 2,
                           .in_dim = golden_columns(g, "X"),
                           .hidden = golden_columns(g, "H"),
                           .out_dim = golden_columns(g, "Z"),
                           .l2_normalise = true};
    flip_model *model = golden_model(g, &p);
    flip_adjacency *adjacency = adjacency_of(g, &p);
    flip_pairs *pairs = golden_pairs(g);
    if (g->failures) return;
    flip_var z = flip_model_apply(model, g->tape, adjacency, golden_input(g, "X"));
    golden_compare_var(g, "H", flip_model_hidden(model, 1));
    golden_compare_var(g, "Z", z);
    flip_var score = flip_pair_dot(g->tape, flip_gather_pairs(g->tape, z, pairs));
    golden_backward(g, golden_link_loss(g, score));
    flip_pairs_destroy(&pairs);
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
}

void golden_compare_final(golden *g) {
    for (flip_param k = 0; k < flip_params_count(g->params); k++) {
        char name[64];
        int32_t rows, cols;
        int64_t offset;
        flip_params_shape(g->params, k, &rows, &cols, &offset);
        snprintf(name, sizeof name, "final_%s", flip_params_name(g->params, k));
        golden_compare_real(g, name, flip_params_values(g->params) + offset, (int64_t)rows * cols);
    }
}

void case_train_sage(golden *g) {
    flip_model_params p = {.kind = FLIP_MODEL_SAGE,
                           .layers = 2,
                           .in_dim = golden_columns(g, "X"),
                           .hidden = golden_columns(g, "Wself1"),
                           .out_dim = golden_columns(g, "Wself2"),
                           .precompute = true};
    flip_model *model = golden_model(g, &p);
    flip_adjacency *adjacency = adjacency_of(g, &p);
    flip_optimiser_params settings = golden_optimiser(g, FLIP_OPTIMISER_ADAM);
    flip_optimiser *optimiser = NULL;
    golden_try(g, flip_optimiser_create(&optimiser, g->params, &settings));
    if (g->failures) return;
    int64_t updates = golden_load(g, "losses").n;
    double *losses = golden_memory(g, (size_t)updates, sizeof *losses);
    flip_real *features = golden_real(g, "X");
    flip_labels labels = labels_of(g);
    for (int64_t i = 0; i < updates; i++) {
        flip_tape_reset(g->tape, true, i);
        flip_params_clear_gradients(g->params);
        flip_var logits = flip_model_forward(
            model, g->tape,
            &(flip_block){.adjacency = adjacency, .features = features, .steps = 1, .n_blocks = 1});
        flip_var loss = flip_cross_entropy(g->tape, logits, &labels);
        losses[i] = flip_tape_scalar(g->tape, loss);
        golden_try(g, flip_tape_backward(g->tape, loss));
        golden_try(g, flip_params_reduce(g->params, NULL));
        golden_try(g, flip_optimiser_step(optimiser));
    }
    golden_compare(g, "losses", losses, updates);
    golden_compare_final(g);
    flip_tape_reset(g->tape, false, updates);
    golden_compare_var(g, "final_logits",
                       flip_model_forward(model, g->tape,
                                          &(flip_block){.adjacency = adjacency,
                                                        .features = features,
                                                        .steps = 1,
                                                        .n_blocks = 1}));
    flip_optimiser_destroy(&optimiser);
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
}
