/* golden cases: operators, losses, pairs, optimisers. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- dense and row operators ---- */

void case_linear(golden *g) {
    flip_param w = golden_param(g, "W"), b = golden_param(g, "b");
    golden_begin(g);
    golden_backward_up(g, flip_linear(g->tape, golden_input(g, "X"), w, b, FLIP_ACT_NONE));
}

void case_layer_norm(golden *g) {
    flip_param gamma = golden_param(g, "gamma"), beta = golden_param(g, "beta");
    golden_begin(g);
    golden_backward_up(g, flip_layer_norm(g->tape, golden_input(g, "X"), gamma, beta,
                                          golden_setting(g, "eps"), FLIP_ACT_NONE));
}

void case_batch_norm(golden *g) {
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

void case_dropout(golden *g) {
    golden_begin(g);
    golden_backward_up(g, flip_mask(g->tape, golden_input(g, "X"), golden_mask(g, "mask"),
                                    golden_setting(g, "p")));
}

void case_l2_normalise(golden *g) {
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

void case_ce_weighted_mean(golden *g) {
    cross_entropy(g, false);
}

void case_ce_sample_mean(golden *g) {
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
void case_spmm_sum(golden *g) {
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

void case_spmm_mean(golden *g) {
    spmm(g, FLIP_ADJACENCY_MEAN);
}

void case_spmm_wmean(golden *g) {
    spmm(g, FLIP_ADJACENCY_WMEAN);
}

void case_spmm_gcn(golden *g) {
    spmm(g, FLIP_ADJACENCY_GCN);
}

void case_spmm_gcn_inout(golden *g) {
    spmm(g, FLIP_ADJACENCY_GCN_INOUT);
}

void case_maxpool(golden *g) {
    flip_adjacency_params params = {.kind = FLIP_ADJACENCY_PATTERN, .n_steps = 1};
    flip_adjacency *adjacency = golden_adjacency(g, &params);
    golden_begin(g);
    if (g->failures) return;
    golden_backward_up(g, flip_max_pool(g->tape, adjacency, golden_input(g, "X")));
    flip_adjacency_destroy(&adjacency);
}

void case_gat_attention(golden *g) {
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

flip_pairs *golden_pairs(golden *g) {
    flip_pairs *pairs = NULL;
    flip_gid rank_first[2] = {0, golden_dim(g, "nodes")};
    golden_try(g,
               flip_pairs_create(&pairs, NULL, rank_first,
                                 golden_has(g, "pair_step") ? (int32_t)golden_dim(g, "steps") : 1,
                                 golden_load(g, "pair_u").n, golden_long(g, "pair_u"),
                                 golden_long(g, "pair_v"),
                                 golden_has(g, "pair_step") ? golden_int(g, "pair_step") : NULL));
    return pairs;
}

flip_var golden_link_loss(golden *g, flip_var score) {
    flip_labels labels = {.label = golden_int(g, "pair_label")};
    return flip_binary_cross_entropy(g->tape, score, &labels);
}

void case_link_dot(golden *g) {
    flip_head *head = NULL;
    flip_head_params params = {.kind = FLIP_HEAD_DOT, .in_dim = 1, .out_dim = 1};
    golden_try(g, flip_params_create(&g->params));
    golden_try(g, flip_head_create(&head, g->params, &params));
    golden_begin(g);
    flip_pairs *pairs = golden_pairs(g);
    if (g->failures) return;
    flip_var score = flip_head_forward(head, g->tape, golden_input(g, "H"), pairs);
    golden_compare_var(g, "score", score);
    golden_backward(g, golden_link_loss(g, score));
    flip_pairs_destroy(&pairs);
    flip_head_destroy(&head);
}

/* The head's MLP, under the case's names. */
void case_link_mlp(golden *g) {
    flip_param w1 = golden_param(g, "W1"), b1 = golden_param(g, "b1"), w2 = golden_param(g, "W2"),
               b2 = golden_param(g, "b2");
    golden_begin(g);
    flip_pairs *pairs = golden_pairs(g);
    if (g->failures) return;
    flip_var z = flip_gather_pairs(g->tape, golden_input(g, "H"), pairs);
    flip_var s =
        flip_linear(g->tape, flip_linear(g->tape, z, w1, b1, FLIP_ACT_RELU), w2, b2, FLIP_ACT_NONE);
    golden_compare_var(g, "score", s);
    golden_backward(g, golden_link_loss(g, s));
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

flip_optimiser_params golden_optimiser(golden *g, flip_optimiser_kind kind) {
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

void case_adam(golden *g) {
    optimise(g, golden_optimiser(g, FLIP_OPTIMISER_ADAM));
}

void case_adamw(golden *g) {
    optimise(g, golden_optimiser(g, FLIP_OPTIMISER_ADAMW));
}

void case_sgd(golden *g) {
    optimise(g, golden_optimiser(g, FLIP_OPTIMISER_SGD));
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

void case_clip_norm(golden *g) {
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
