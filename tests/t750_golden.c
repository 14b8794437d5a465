/* golden: every case of a golden folder that Flipbook has an operator for, through the tape, the
 * models and the adjacencies as training uses them. FLIP_GOLDEN names the folder; else
 * $FLIP_SHARED/golden. Sizes and settings come from case.json. */
#include "golden.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- dense and row operators ---- */

static void case_linear(golden *g) {
    flip_param w = golden_param(g, "W"), b = golden_param(g, "b");
    golden_begin(g);
    golden_backward_up(g, flip_linear(g->tape, golden_input(g, "X"), w, b, FLIP_ACT_NONE));
}

static void case_layer_norm(golden *g) {
    flip_param gamma = golden_param(g, "gamma"), beta = golden_param(g, "beta");
    golden_begin(g);
    golden_backward_up(g, flip_layer_norm(g->tape, golden_input(g, "X"), gamma, beta,
                                          golden_setting(g, "eps"), FLIP_ACT_NONE));
}

static void case_batch_norm(golden *g) {
    flip_param gamma = golden_param(g, "gamma"), beta = golden_param(g, "beta");
    int32_t d = (int32_t)golden_dim(g, "d");
    flip_param mean = flip_params_add_state(g->params, "running_mean", 1, d, FLIP_INIT_ZERO),
               var = flip_params_add_state(g->params, "running_var", 1, d, FLIP_INIT_ZERO);
    golden_begin(g);
    flip_var y =
        flip_batch_norm(g->tape, golden_input(g, "X"), gamma, beta, mean, var,
                        golden_setting(g, "momentum"), golden_setting(g, "eps"), FLIP_ACT_NONE);
    int64_t offset[2];
    flip_params_shape(g->params, mean, NULL, NULL, &offset[0]);
    flip_params_shape(g->params, var, NULL, NULL, &offset[1]);
    golden_compare_real(g, "running_mean_new", flip_params_values(g->params) + offset[0], d);
    golden_compare_real(g, "running_var_new", flip_params_values(g->params) + offset[1], d);
    golden_backward_up(g, y);
}

static void case_dropout(golden *g) {
    golden_begin(g);
    golden_backward_up(g, flip_mask(g->tape, golden_input(g, "X"), golden_mask(g, "mask"),
                                    golden_setting(g, "p")));
}

static void case_l2_normalise(golden *g) {
    golden_begin(g);
    flip_var x = golden_input(g, "X");
    golden_backward_up(g, flip_l2_normalise(g->tape, x));
}

static void cross_entropy(golden *g, bool sample_mean) {
    golden_begin(g);
    flip_labels labels = {.label = golden_int(g, "label"),
                          .mask = golden_mask(g, "mask"),
                          .class_weight = golden_load(g, "class_weight").value,
                          .sample_mean = sample_mean};
    golden_backward(g, flip_cross_entropy(g->tape, golden_input(g, "logits"), &labels));
}

static void case_ce_weighted_mean(golden *g) {
    cross_entropy(g, false);
}

static void case_ce_sample_mean(golden *g) {
    cross_entropy(g, true);
}

/* ---- aggregation ---- */

static void compare_dense(golden *g, const char *tensor, const flip_csr *a) {
    int64_t n = a->n_rows;
    double *dense = golden_memory(g, (size_t)(n * n), sizeof(double));
    for (int64_t v = 0; v < n; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            double value = a->value ? (double)a->value[e] : 1;
            if (a->row_scale) value *= (double)a->row_scale[v];
            if (a->col_scale) value *= (double)a->col_scale[a->col[e]];
            dense[v * n + a->col[e]] += value;
        }
    golden_compare(g, tensor, dense, n * n);
}

static void spmm(golden *g, flip_adjacency_kind kind) {
    flip_adjacency_params params = {.kind = kind, .n_steps = 1};
    flip_adjacency *adjacency = golden_adjacency(g, &params);
    golden_begin(g);
    if (g->failures) return;
    if (golden_has(g, "Ahat")) compare_dense(g, "Ahat", &adjacency->a);
    flip_var x = golden_input(g, "X");
    golden_backward_up(
        g, flip_aggregate(g->tape, adjacency, x, FLIP_VAR_NONE, FLIP_PARAM_NONE, FLIP_ACT_NONE));
    flip_adjacency_destroy(&adjacency);
}

/* The entry of each edge of the list: rows keep the order of the list among doubled edges. */
static int64_t *entries_of_edges(golden *g, const flip_adjacency *adjacency) {
    const int64_t *src = golden_long(g, "src"), *dst = golden_long(g, "dst");
    int64_t n = golden_load(g, "src").n;
    int64_t *entry = golden_memory(g, (size_t)n, sizeof *entry);
    bool *taken = golden_memory(g, (size_t)adjacency->a.n_entries + 1, sizeof *taken);
    for (int64_t i = 0; i < n; i++) {
        int64_t e = adjacency->a.row_ptr[dst[i]], end = adjacency->a.row_ptr[dst[i] + 1];
        while (e < end && (taken[e] || adjacency->a.col[e] != src[i]))
            e++;
        if (e == end) golden_fail(g, "edge %lld is not in the adjacency", (long long)i);
        entry[i] = e;
        if (e < end) taken[e] = true;
    }
    return entry;
}

/* Summing with weights that learn: Y and both gradients; then the adjacency that sums weights. */
static void case_spmm_sum(golden *g) {
    flip_adjacency_params bare = {
        .kind = FLIP_ADJACENCY_ATTENTION, .n_steps = 1, .without_loops = true};
    flip_adjacency *adjacency = golden_adjacency(g, &bare);
    golden_begin(g);
    if (g->failures) return;
    int64_t *entry = entries_of_edges(g, adjacency), n = adjacency->a.n_entries;
    flip_real *w = golden_real(g, "w"), *by_entry = golden_memory(g, (size_t)n, sizeof *w);
    for (int64_t i = 0; i < n; i++)
        by_entry[entry[i]] = w[i];
    flip_var weights = flip_tape_input(g->tape, (int32_t)n, 1, 1, by_entry, true);
    flip_var y = flip_aggregate_edges(g->tape, adjacency, weights, golden_input(g, "X"));
    golden_backward_up(g, y);
    const flip_real *gradient = flip_tape_gradient(g->tape, weights);
    double *by_edge = golden_memory(g, (size_t)n, sizeof *by_edge);
    for (int64_t i = 0; gradient && i < n; i++)
        by_edge[i] = (double)gradient[entry[i]];
    golden_compare(g, "grad_w", by_edge, n);
    flip_adjacency_destroy(&adjacency);

    flip_adjacency_params sum = {.kind = FLIP_ADJACENCY_WSUM, .n_steps = 1};
    adjacency = golden_adjacency(g, &sum);
    flip_tape_reset(g->tape, true, 0);
    g->n_vars = 0;
    y = flip_aggregate(g->tape, adjacency, golden_input(g, "X"), FLIP_VAR_NONE, FLIP_PARAM_NONE,
                       FLIP_ACT_NONE);
    golden_compare_var(g, "Y", y);
    golden_try(g, flip_tape_backward(g->tape, flip_inner(g->tape, y, golden_real(g, "up_Y"))));
    golden_compare_real(g, "grad_X", flip_tape_gradient(g->tape, g->var[0]), golden_load(g, "X").n);
    flip_adjacency_destroy(&adjacency);
}

static void case_spmm_mean(golden *g) {
    spmm(g, FLIP_ADJACENCY_MEAN);
}

static void case_spmm_wmean(golden *g) {
    spmm(g, FLIP_ADJACENCY_WMEAN);
}

static void case_spmm_gcn(golden *g) {
    spmm(g, FLIP_ADJACENCY_GCN);
}

static void case_spmm_gcn_inout(golden *g) {
    spmm(g, FLIP_ADJACENCY_GCN_INOUT);
}

static void case_maxpool(golden *g) {
    flip_adjacency_params params = {.kind = FLIP_ADJACENCY_PATTERN, .n_steps = 1};
    flip_adjacency *adjacency = golden_adjacency(g, &params);
    golden_begin(g);
    if (g->failures) return;
    golden_backward_up(g, flip_max_pool(g->tape, adjacency, golden_input(g, "X")));
    flip_adjacency_destroy(&adjacency);
}

static void case_gat_attention(golden *g) {
    flip_adjacency_params params = {
        .kind = FLIP_ADJACENCY_ATTENTION, .n_steps = 1, .without_loops = true};
    flip_adjacency *adjacency = golden_adjacency(g, &params);
    flip_param a_src = golden_param(g, "a_src"), a_dst = golden_param(g, "a_dst");
    int32_t heads = (int32_t)golden_dim(g, "heads");
    golden_begin(g);
    if (g->failures) return;
    flip_var y = flip_attention(g->tape, adjacency, golden_input(g, "Z"), a_src, a_dst, heads, 0);
    golden_try(g, flip_tape_status(g->tape));
    if (g->failures) return;
    int64_t *entry = entries_of_edges(g, adjacency), n = adjacency->a.n_entries;
    const flip_real *weights = flip_attention_weights(g->tape, y);
    double *alpha = golden_memory(g, (size_t)(n * heads), sizeof *alpha);
    for (int64_t i = 0; i < n * heads; i++)
        alpha[i] = (double)weights[entry[i / heads] * heads + i % heads];
    golden_compare(g, "alpha", alpha, n * heads);
    golden_backward_up(g, y);
    flip_adjacency_destroy(&adjacency);
}

/* ---- pairs ---- */

static flip_pairs *pairs_of(golden *g) {
    flip_pairs *pairs = NULL;
    flip_gid rank_first[2] = {0, golden_dim(g, "nodes")};
    golden_try(g,
               flip_pairs_create(&pairs, NULL, rank_first, golden_load(g, "pair_u").n,
                                 golden_long(g, "pair_u"), golden_long(g, "pair_v"),
                                 golden_has(g, "pair_step") ? golden_int(g, "pair_step") : NULL));
    return pairs;
}

static flip_var link_loss(golden *g, flip_var score) {
    flip_labels labels = {.label = golden_int(g, "pair_label")};
    return flip_binary_cross_entropy(g->tape, score, &labels);
}

static void case_link_dot(golden *g) {
    flip_head *head = NULL;
    flip_head_params params = {.kind = FLIP_HEAD_DOT, .in_dim = 1, .out_dim = 1};
    golden_try(g, flip_params_create(&g->params));
    golden_try(g, flip_head_create(&head, g->params, &params));
    golden_begin(g);
    flip_pairs *pairs = pairs_of(g);
    if (g->failures) return;
    flip_var score = flip_head_forward(head, g->tape, golden_input(g, "H"), pairs);
    golden_compare_var(g, "score", score);
    golden_backward(g, link_loss(g, score));
    flip_pairs_destroy(&pairs);
    flip_head_destroy(&head);
}

/* The head's MLP, under the case's names. */
static void case_link_mlp(golden *g) {
    flip_param w1 = golden_param(g, "W1"), b1 = golden_param(g, "b1"), w2 = golden_param(g, "W2"),
               b2 = golden_param(g, "b2");
    golden_begin(g);
    flip_pairs *pairs = pairs_of(g);
    if (g->failures) return;
    flip_var z = flip_gather_pairs(g->tape, golden_input(g, "H"), pairs);
    flip_var s =
        flip_linear(g->tape, flip_linear(g->tape, z, w1, b1, FLIP_ACT_RELU), w2, b2, FLIP_ACT_NONE);
    golden_compare_var(g, "score", s);
    golden_backward(g, link_loss(g, s));
    flip_pairs_destroy(&pairs);
}

/* ---- optimisers ---- */

static double optional(golden *g, const char *name, double otherwise) {
    json_t *value = json_object_get(json_object_get(g->json, "settings"), name);
    return value ? json_number_value(value) : otherwise;
}

static void optimise(golden *g, flip_optimiser_params settings) {
    golden_param(g, "p0");
    golden_begin(g);
    flip_optimiser *optimiser = NULL;
    golden_try(g, flip_optimiser_create(&optimiser, g->params, &settings));
    if (g->failures) return;
    golden_tensor gradients = golden_load(g, "g"), p = golden_load(g, "p");
    int64_t n = flip_params_size(g->params), steps = gradients.shape[0], n_moments;
    double *path = golden_memory(g, (size_t)p.n, sizeof *path);
    for (int64_t t = 0; t < steps; t++) {
        memcpy(flip_params_gradients(g->params), gradients.value + t * n,
               (size_t)n * sizeof(double));
        golden_try(g, flip_optimiser_step(optimiser));
        for (int64_t i = 0; i < n; i++)
            path[t * n + i] = (double)flip_params_values(g->params)[i];
    }
    golden_compare(g, "p", path, p.n);
    const flip_real *moments = flip_optimiser_moments(optimiser, &n_moments);
    golden_compare_real(g, "m_last", moments, n);
    if (golden_has(g, "v_last")) golden_compare_real(g, "v_last", moments + n, n);
    flip_optimiser_destroy(&optimiser);
}

static flip_optimiser_params settings_of(golden *g, flip_optimiser_kind kind) {
    flip_optimiser_params s = FLIP_OPTIMISER_DEFAULTS;
    s.kind = kind;
    s.lr = golden_setting(g, "lr");
    s.beta1 = optional(g, "beta1", s.beta1);
    s.beta2 = optional(g, "beta2", s.beta2);
    s.epsilon = optional(g, "eps", s.epsilon);
    s.momentum = optional(g, "momentum", 0);
    s.weight_decay = optional(g, "l2", optional(g, "decay", 0));
    return s;
}

static void case_adam(golden *g) {
    optimise(g, settings_of(g, FLIP_OPTIMISER_ADAM));
}

static void case_adamw(golden *g) {
    optimise(g, settings_of(g, FLIP_OPTIMISER_ADAMW));
}

static void case_sgd(golden *g) {
    optimise(g, settings_of(g, FLIP_OPTIMISER_SGD));
}

/* Gradients of the slab against tensors "<prefix>g1", "<prefix>g2", … */
static void compare_slab(golden *g, const char *prefix) {
    for (flip_param p = 0; p < flip_params_count(g->params); p++) {
        char name[64];
        int32_t rows, cols;
        int64_t offset;
        flip_params_shape(g->params, p, &rows, &cols, &offset);
        snprintf(name, sizeof name, "%s%s", prefix, flip_params_name(g->params, p));
        golden_compare(g, name, flip_params_gradients(g->params) + offset, (int64_t)rows * cols);
    }
}

static void load_gradients(golden *g) {
    for (flip_param p = 0; p < flip_params_count(g->params); p++) {
        int64_t offset;
        golden_tensor t = golden_load(g, flip_params_name(g->params, p));
        flip_params_shape(g->params, p, NULL, NULL, &offset);
        memcpy(flip_params_gradients(g->params) + offset, t.value, (size_t)t.n * sizeof(double));
    }
}

static void case_clip_norm(golden *g) {
    char name[16];
    for (int i = 1; snprintf(name, sizeof name, "g%d", i) > 0 && golden_has(g, name); i++)
        golden_param(g, name);
    golden_begin(g);
    if (g->failures) return;
    const char *bounds[] = {"max_norm", "max_norm_loose"}, *prefixes[] = {"clipped_", "kept_"};
    for (size_t i = 0; i < COUNT(bounds); i++) {
        load_gradients(g);
        double norm = flip_params_norm(g->params);
        golden_compare(g, "norm", &norm, 1);
        flip_params_scale_gradients(g->params,
                                    flip_clip_factor(norm, golden_setting(g, bounds[i])));
        compare_slab(g, prefixes[i]);
    }
}

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
        logits = flip_model_forward(model, g->tape, adjacency, features, 1);
        golden_compare_var(g, "logits", logits);
    }
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
}

static void case_gcn(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_GCN, .precompute = true});
}

static void case_sage_mean(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_SAGE, .precompute = true});
}

static void case_sage_pool(golden *g) {
    node_model(g, (flip_model_params){
                      .kind = FLIP_MODEL_SAGE, .pool = true, .pool_width = columns(g, "Wpool1")});
}

static void case_gin(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_GIN, .precompute = true});
}

static void case_gat(golden *g) {
    node_model(g, (flip_model_params){.kind = FLIP_MODEL_GAT,
                                      .heads = (int32_t)golden_load(g, "asrc1").shape[0],
                                      .heads_last = (int32_t)golden_load(g, "asrc2").shape[0]});
}

static void case_sage_mean_l2(golden *g) {
    flip_model_params p = {.kind = FLIP_MODEL_SAGE,
                           .layers = 2,
                           .in_dim = columns(g, "X"),
                           .hidden = columns(g, "H"),
                           .out_dim = columns(g, "Z"),
                           .l2_normalise = true};
    flip_model *model = model_begin(g, &p);
    flip_adjacency *adjacency = adjacency_of(g, &p);
    flip_pairs *pairs = pairs_of(g);
    if (g->failures) return;
    flip_var z = flip_model_apply(model, g->tape, adjacency, golden_input(g, "X"));
    golden_compare_var(g, "H", flip_model_hidden(model, 1));
    golden_compare_var(g, "Z", z);
    flip_var score = flip_pair_dot(g->tape, flip_gather_pairs(g->tape, z, pairs));
    golden_backward(g, link_loss(g, score));
    flip_pairs_destroy(&pairs);
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
}

static void case_train_sage(golden *g) {
    flip_model_params p = {.kind = FLIP_MODEL_SAGE,
                           .layers = 2,
                           .in_dim = columns(g, "X"),
                           .hidden = columns(g, "Wself1"),
                           .out_dim = columns(g, "Wself2"),
                           .precompute = true};
    flip_model *model = model_begin(g, &p);
    flip_adjacency *adjacency = adjacency_of(g, &p);
    flip_optimiser_params settings = settings_of(g, FLIP_OPTIMISER_ADAM);
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
        flip_var logits = flip_model_forward(model, g->tape, adjacency, features, 1);
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
    golden_compare_var(g, "final_logits",
                       flip_model_forward(model, g->tape, adjacency, features, 1));
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

static void case_tmgcn(golden *g) {
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
    flip_pairs *pairs = pairs_of(g);
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
        z = flip_model_forward(model, g->tape, adjacency, x, steps);
        compare_steps(g, "Z", flip_tape_value(g->tape, z));
    }
    flip_pairs_destroy(&pairs);
    flip_adjacency_destroy(&adjacency);
    flip_model_destroy(&model);
    flip_head_destroy(&head);
}

/* ---- preprocessing: the adjacency's entries a step against sorted lists ---- */

typedef struct entries {
    int64_t *ptr; /* [steps + 1] */
    int64_t *src, *dst;
    double *value, *old; /* old: `changed` alone */
    int64_t n;
} entries;

static entries entries_new(golden *g, int32_t steps, int64_t most) {
    size_t n = (size_t)most + 1;
    return (entries){.ptr = golden_memory(g, (size_t)steps + 1, sizeof(int64_t)),
                     .src = golden_memory(g, n, sizeof(int64_t)),
                     .dst = golden_memory(g, n, sizeof(int64_t)),
                     .value = golden_memory(g, n, sizeof(double)),
                     .old = golden_memory(g, n, sizeof(double))};
}

static void entries_add(entries *list, int64_t dst, int64_t src, double value, double old) {
    list->dst[list->n] = dst;
    list->src[list->n] = src;
    list->old[list->n] = old;
    list->value[list->n++] = value;
}

/* Value of entry e at step t; false where it is not alive. */
static bool value_at(const flip_csr *a, int64_t e, int32_t t, double *value) {
    for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++) {
        int64_t i = a->value_ptr[r] + t - a->run_first[r];
        if (t < a->run_first[r] || i >= a->value_ptr[r + 1]) continue;
        *value = a->value ? (double)a->value[i] : 1;
        return true;
    }
    return false;
}

static void compare_longs(golden *g, const char *prefix, const char *name, const int64_t *got,
                          int64_t n) {
    char tensor[64];
    double *wide = golden_memory(g, (size_t)n + 1, sizeof *wide);
    snprintf(tensor, sizeof tensor, "%s_%s", prefix, name);
    for (int64_t i = 0; i < n; i++)
        wide[i] = (double)got[i];
    golden_compare(g, tensor, wide, n);
}

static void compare_entries(golden *g, const char *prefix, const entries *list, int32_t steps,
                            const char *values) {
    char tensor[64];
    compare_longs(g, prefix, "ptr", list->ptr, steps + 1);
    compare_longs(g, prefix, "src", list->src, list->n);
    compare_longs(g, prefix, "dst", list->dst, list->n);
    snprintf(tensor, sizeof tensor, "%s_%s", prefix, values);
    golden_compare(g, tensor, list->value, list->n);
}

static entries entries_of(golden *g, const flip_csr *a) {
    entries list = entries_new(g, a->n_steps, a->n_values);
    for (int32_t t = 0; t < a->n_steps; t++) {
        for (int64_t v = 0; v < a->n_rows; v++)
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
                double value;
                if (value_at(a, e, t, &value)) entries_add(&list, v, a->col[e], value, 0);
            }
        list.ptr[t + 1] = list.n;
    }
    return list;
}

/* What a step adds to, removes from and changes in the step before. */
static void compare_differences(golden *g, const flip_csr *a) {
    entries added = entries_new(g, a->n_steps, a->n_values),
            removed = entries_new(g, a->n_steps, a->n_values),
            changed = entries_new(g, a->n_steps, a->n_values);
    for (int32_t t = 0; t < a->n_steps; t++) {
        for (int64_t v = 0; v < a->n_rows; v++)
            for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
                double now = 0, old = 0;
                bool is = value_at(a, e, t, &now), was = t > 0 && value_at(a, e, t - 1, &old);
                if (is && !was) entries_add(&added, v, a->col[e], now, 0);
                if (was && !is) entries_add(&removed, v, a->col[e], old, 0);
                if (is && was && now != old) entries_add(&changed, v, a->col[e], now, old);
            }
        added.ptr[t + 1] = added.n;
        removed.ptr[t + 1] = removed.n;
        changed.ptr[t + 1] = changed.n;
    }
    compare_entries(g, "added", &added, a->n_steps, "w");
    compare_entries(g, "removed", &removed, a->n_steps, "w");
    compare_entries(g, "changed", &changed, a->n_steps, "w");
    golden_compare(g, "changed_w_old", changed.old, changed.n);
}

static void compare_band(golden *g, int32_t steps, int32_t window) {
    size_t n = (size_t)steps * (size_t)steps;
    flip_real *identity = golden_memory(g, n, sizeof *identity),
              *band = golden_memory(g, n, sizeof *band);
    for (int32_t t = 0; t < steps; t++)
        identity[t * steps + t] = 1;
    flip_band_average(1, steps, steps, window, band, identity);
    golden_compare_real(g, "M", band, (int64_t)n);
}

static void case_prep(golden *g) {
    int32_t steps = (int32_t)golden_dim(g, "steps"), life = (int32_t)golden_setting(g, "edge_life"),
            window = (int32_t)golden_setting(g, "bandwidth");
    const struct {
        flip_adjacency_kind kind;
        int32_t window;
        const char *prefix, *values;
    } rows[] = {{FLIP_ADJACENCY_SUM, 0, "life", "mult"},
                {FLIP_ADJACENCY_WSUM, 0, "life", "w"},
                {FLIP_ADJACENCY_GCN, 0, "norm", "w"},
                {FLIP_ADJACENCY_GCN, window, "mtr", "w"}};
    compare_band(g, steps, window);
    for (size_t i = 0; i < COUNT(rows); i++) {
        flip_adjacency_params params = {
            .kind = rows[i].kind, .n_steps = steps, .edge_life = life, .window = rows[i].window};
        flip_adjacency *adjacency = golden_adjacency(g, &params);
        if (!adjacency) return;
        entries list = entries_of(g, &adjacency->a);
        compare_entries(g, rows[i].prefix, &list, steps, rows[i].values);
        if (rows[i].kind == FLIP_ADJACENCY_WSUM) compare_differences(g, &adjacency->a);
        flip_adjacency_destroy(&adjacency);
    }
}

/* ---- the table and the run ---- */

static const struct {
    const char *name; /* a trailing * matches the rest */
    void (*run)(golden *g);
    const char *later; /* why it is skipped */
} cases[] = {
    {"op_linear", case_linear, NULL},
    {"op_spmm_sum", case_spmm_sum, NULL},
    {"op_spmm_mean", case_spmm_mean, NULL},
    {"op_spmm_wmean", case_spmm_wmean, NULL},
    {"op_spmm_gcn", case_spmm_gcn, NULL},
    {"op_spmm_gcn_inout", case_spmm_gcn_inout, NULL},
    {"op_maxpool", case_maxpool, NULL},
    {"op_gat_attention", case_gat_attention, NULL},
    {"op_layer_norm", case_layer_norm, NULL},
    {"op_batch_norm", case_batch_norm, NULL},
    {"op_dropout", case_dropout, NULL},
    {"op_ce_weighted_mean", case_ce_weighted_mean, NULL},
    {"op_ce_sample_mean", case_ce_sample_mean, NULL},
    {"op_link_dot", case_link_dot, NULL},
    {"op_link_mlp", case_link_mlp, NULL},
    {"op_l2_normalise", case_l2_normalise, NULL},
    {"opt_adam", case_adam, NULL},
    {"opt_adam_l2", case_adam, NULL},
    {"opt_adamw", case_adamw, NULL},
    {"opt_sgd_momentum", case_sgd, NULL},
    {"opt_clip_norm", case_clip_norm, NULL},
    {"model_gcn", case_gcn, NULL},
    {"model_sage_mean", case_sage_mean, NULL},
    {"model_sage_mean_l2", case_sage_mean_l2, NULL},
    {"model_sage_pool", case_sage_pool, NULL},
    {"model_gin", case_gin, NULL},
    {"model_gat", case_gat, NULL},
    {"dyn_tmgcn", case_tmgcn, NULL},
    {"prep_*", case_prep, NULL},
    {"train_sage_sbm", case_train_sage, NULL},
    {"op_lstm", NULL, "recurrent operators"},
    {"op_gru", NULL, "recurrent operators"},
    {"op_mat_*", NULL, "recurrent operators"},
    {"op_topk_summary", NULL, "EvolveGCN-H"},
    {"dyn_cdgcn", NULL, "CD-GCN"},
    {"dyn_evolvegcn_*", NULL, "EvolveGCN"},
    {"train_cdgcn", NULL, "CD-GCN"},
    {"codec_*", NULL, "codecs"},
};

static bool matches(const char *pattern, const char *name) {
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '*') return strncmp(pattern, name, n - 1) == 0;
    return strcmp(pattern, name) == 0;
}

/* Every tensor that is not an input must have been compared. */
static void check_complete(golden *g) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(g->json, "tensors"), i, entry) {
        const char *role = json_string_value(json_object_get(entry, "role"));
        if (g->checked[i] || strcmp(role, "input") == 0 || strcmp(role, "parameter") == 0) continue;
        golden_fail(g, "%s was not compared", json_string_value(json_object_get(entry, "name")));
    }
}

typedef struct tally {
    int passed, failed, skipped;
} tally;

static void run_case(const char *folder, const char *name, tally *sum) {
    golden g;
    size_t i = 0;
    while (i < COUNT(cases) && !matches(cases[i].name, name))
        i++;
    if (i < COUNT(cases) && !cases[i].run) {
        printf("skipped %s: not available yet (%s)\n", name, cases[i].later);
        sum->skipped++;
        return;
    }
    if (!golden_open(&g, folder, name)) {
        printf("FAILED  %s: case.json cannot be read\n", name);
        sum->failed++;
        return;
    }
    if (i == COUNT(cases))
        golden_fail(&g, "no operator runs this case");
    else
        cases[i].run(&g);
    if (g.failures == 0) check_complete(&g);
    if (g.failures)
        printf("FAILED  %s: %s\n", name, g.why);
    else
        printf("passed  %s: %d comparisons\n", name, g.compared);
    sum->passed += g.failures == 0;
    sum->failed += g.failures != 0;
    golden_close(&g);
}

static int is_case(const struct dirent *entry) {
    return entry->d_name[0] != '.' && !strchr(entry->d_name, '.');
}

int main(void) {
    char folder[4000];
    const char *given = getenv("FLIP_GOLDEN"), *shared = getenv("FLIP_SHARED");
    snprintf(folder, sizeof folder, "%s%s",
             given    ? given
             : shared ? shared
                      : "../shared",
             given ? "" : "/golden");
    struct dirent **names = NULL;
    int n = scandir(folder, &names, is_case, alphasort);
    if (n < 1) {
        printf("skipped: no golden cases in '%s'; set FLIP_GOLDEN to their folder\n", folder);
        return 77;
    }
    tally sum = {0, 0, 0};
    printf("%s build, %s\n", FLIP_REAL_NAME, folder);
    for (int i = 0; i < n; i++) {
        run_case(folder, names[i]->d_name, &sum);
        free(names[i]);
    }
    free(names);
    printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped);
    return sum.failed == 0 && sum.passed > 0 ? 0 : 1;
}
