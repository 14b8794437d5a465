/* golden cases: models, training, TM-GCN. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

/* ---- static models ---- */

static int32_t columns(golden *g, const char *tensor) {
    return (int32_t)golden_load(g, tensor).shape[1];
}

static flip_labels labels_of(golden *g) {
    return (flip_labels){.label = golden_int(g, "label"), .mask = golden_mask(g, "mask")};
}

/* Model, parameters of the case, a training tape. NULL on failure. */
static flip_model *model_begin(golden *g, const flip_model_params *p) {
    flip_model *model = NULL;
    golden_try(g, flip_params_create(&g->params));
    golden_try(g, flip_model_create(&model, g->params, p));
    golden_begin(g);
    return model;
}

static flip_adjacency *adjacency_of(golden *g, const flip_model_params *p) {
    flip_adjacency_params params = {.kind = flip_model_adjacency(p), .n_steps = 1};
    return golden_adjacency(g, &params);
}

static void node_model(golden *g, flip_model_params p) {
    p.layers = 2;
    p.in_dim = columns(g, "X");
    p.hidden = columns(g, "H");
    p.out_dim = columns(g, "logits");
    flip_model *model = model_begin(g, &p);
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
        logits = flip_model_forward(model, g->tape, &(flip_block){adjacency, features, 1, 0, 1, false});
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
    node_model(g, (flip_model_params){
                      .kind = FLIP_MODEL_SAGE, .pool = true, .pool_width = columns(g, "Wpool1")});
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
                           .in_dim = columns(g, "X"),
                           .hidden = columns(g, "H"),
                           .out_dim = columns(g, "Z"),
                           .l2_normalise = true};
    flip_model *model = model_begin(g, &p);
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

void case_train_sage(golden *g) {
    flip_model_params p = {.kind = FLIP_MODEL_SAGE,
                           .layers = 2,
                           .in_dim = columns(g, "X"),
                           .hidden = columns(g, "Wself1"),
                           .out_dim = columns(g, "Wself2"),
                           .precompute = true};
    flip_model *model = model_begin(g, &p);
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
        flip_var logits =
            flip_model_forward(model, g->tape, &(flip_block){adjacency, features, 1, 0, 1, false});
        flip_var loss = flip_cross_entropy(g->tape, logits, &labels);
        losses[i] = flip_tape_scalar(g->tape, loss);
        golden_try(g, flip_tape_backward(g->tape, loss));
        golden_try(g, flip_params_reduce(g->params, NULL));
        golden_try(g, flip_optimiser_step(optimiser));
    }
    golden_compare(g, "losses", losses, updates);
    for (flip_param k = 0; k < flip_params_count(g->params); k++) {
        char name[64];
        int32_t rows, cols;
        int64_t offset;
        flip_params_shape(g->params, k, &rows, &cols, &offset);
        snprintf(name, sizeof name, "final_%s", flip_params_name(g->params, k));
        golden_compare_real(g, name, flip_params_values(g->params) + offset, (int64_t)rows * cols);
    }
    flip_tape_reset(g->tape, false, updates);
    golden_compare_var(
        g, "final_logits",
        flip_model_forward(model, g->tape, &(flip_block){adjacency, features, 1, 0, 1, false}));
    flip_optimiser_destroy(&optimiser);
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
}

/* ---- graphs that change ---- */

/* [a, b, dim] -> [b, a, dim] */
static void swap_axes(int64_t a, int64_t b, int64_t dim, const flip_real *x, flip_real *out) {
    for (int64_t i = 0; i < a; i++)
        for (int64_t j = 0; j < b; j++)
            memcpy(out + (j * a + i) * dim, x + (i * b + j) * dim, (size_t)dim * sizeof *x);
}

/* A block [nodes, steps, dim] against a tensor [steps, nodes, dim]. */
static void compare_steps(golden *g, const char *tensor, const flip_real *x) {
    golden_tensor t = golden_load(g, tensor);
    flip_real *turned = golden_memory(g, (size_t)t.n, sizeof *turned);
    if (x) swap_axes(t.shape[1], t.shape[0], t.shape[2], x, turned);
    golden_compare_real(g, tensor, x ? turned : NULL, t.n);
}

void case_tmgcn(golden *g) {
    int32_t steps = (int32_t)golden_dim(g, "steps"),
            window = (int32_t)golden_setting(g, "bandwidth");
    flip_model_params p = {.kind = FLIP_MODEL_TMGCN,
                           .layers = 2,
                           .in_dim = (int32_t)golden_load(g, "X").shape[2],
                           .hidden = columns(g, "W1"),
                           .out_dim = columns(g, "W2"),
                           .window = window,
                           .precompute = true};
    flip_head_params q = {
        .kind = FLIP_HEAD_LINEAR, .in_dim = p.out_dim, .out_dim = columns(g, "U")};
    flip_adjacency_params a = {.kind = flip_model_adjacency(&p),
                               .n_steps = steps,
                               .edge_life = (int32_t)golden_setting(g, "edge_life"),
                               .window = window};
    flip_head *head = NULL;
    golden_try(g, flip_params_create(&g->params));
    golden_try(g, flip_head_create(&head, g->params, &q));
    flip_model *model = NULL;
    golden_try(g, flip_model_create(&model, g->params, &p));
    golden_begin(g);
    flip_adjacency *adjacency = golden_adjacency(g, &a);
    flip_pairs *pairs = golden_pairs(g);
    if (g->failures) return;
    golden_tensor t = golden_load(g, "X");
    flip_real *x = golden_memory(g, (size_t)t.n, sizeof *x);
    swap_axes(t.shape[0], t.shape[1], t.shape[2], golden_real(g, "X"), x);
    flip_var in = flip_tape_input(g->tape, (int32_t)t.shape[1], steps, p.in_dim, x, true);
    flip_var z = flip_model_apply(model, g->tape, adjacency, in);
    golden_try(g, flip_tape_status(g->tape));
    compare_steps(g, "Y", flip_tape_value(g->tape, flip_model_hidden(model, 1)));
    compare_steps(g, "Z", flip_tape_value(g->tape, z));
    flip_var logits = flip_head_forward(head, g->tape, z, pairs);
    golden_compare_var(g, "logits", logits);
    flip_labels labels = {.label = golden_int(g, "pair_label"),
                          .class_weight = golden_load(g, "class_weight").value};
    golden_backward(g, flip_cross_entropy(g->tape, logits, &labels));
    compare_steps(g, "grad_X", flip_tape_gradient(g->tape, in));

    /* the way of training: A' X' kept */
    for (int again = 0; again < 2; again++) {
        flip_tape_reset(g->tape, true, 0);
        z = flip_model_forward(model, g->tape, &(flip_block){adjacency, x, steps, 0, 1, false});
        compare_steps(g, "Z", flip_tape_value(g->tape, z));
    }
    flip_pairs_destroy(&pairs);
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
    flip_head_destroy(&head);
}
