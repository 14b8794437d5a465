/* golden cases: models of graphs that change. */
#include "golden.h"

#include <stdio.h>

/* ---- what they share ---- */

/* A case at work: its model over its snapshots. */
typedef struct dynamic {
    flip_model_params p;
    int32_t steps, rows;
    flip_model *model;
    flip_head *head;
    flip_adjacency *adjacency;
    flip_pairs *pairs;
    flip_real *x; /* [nodes, steps, dim] */
} dynamic;

/* Fills in the features' width; head NULL: none. */
static bool dynamic_open(golden *g, dynamic *d, const flip_model_params *p,
                         const flip_head_params *head) {
    golden_tensor t = golden_load(g, "X");
    *d = (dynamic){.p = *p, .steps = (int32_t)t.shape[0], .rows = (int32_t)t.shape[1]};
    d->p.in_dim = (int32_t)t.shape[2];
    d->p.precompute = d->p.keep_hidden = true;
    golden_try(g, flip_params_create(&g->params));
    if (head) golden_try(g, flip_head_create(&d->head, g->params, head));
    golden_try(g, flip_model_create(&d->model, g->params, &d->p));
    golden_begin(g);
    flip_adjacency_params a = {.kind = flip_model_adjacency(p),
                               .n_steps = d->steps,
                               .edge_life = (int32_t)golden_setting(g, "edge_life"),
                               .window = p->window};
    d->adjacency = golden_adjacency(g, &a);
    if (golden_has(g, "pair_u")) d->pairs = golden_pairs(g);
    d->x = golden_memory(g, (size_t)t.n, sizeof *d->x);
    golden_swap_axes(t.shape[0], t.shape[1], t.shape[2], golden_real(g, "X"), d->x);
    return g->failures == 0;
}

static void dynamic_close(dynamic *d) {
    flip_pairs_destroy(&d->pairs);
    flip_adjacency_destroy(&d->adjacency);
    flip_model_destroy(&d->model);
    flip_head_destroy(&d->head);
}

/* The model on features that need a gradient. */
static flip_var dynamic_apply(golden *g, dynamic *d, flip_var *x) {
    flip_tape_reset(g->tape, true, 0);
    *x = flip_tape_input(g->tape, d->rows, d->steps, d->p.in_dim, d->x, true);
    flip_var z = flip_model_apply(d->model, g->tape, d->adjacency, *x);
    golden_try(g, flip_tape_status(g->tape));
    return z;
}

/* The way of training: A X (TM-GCN: A' X') kept; twice. */
static void compare_kept(golden *g, dynamic *d, const char *tensor) {
    for (int again = 0; again < 2 && !g->failures; again++) {
        flip_tape_reset(g->tape, true, 0);
        flip_block block = {
            .adjacency = d->adjacency, .features = d->x, .steps = d->steps, .n_blocks = 1};
        flip_var z = flip_model_forward(d->model, g->tape, &block);
        golden_try(g, flip_tape_status(g->tape));
        golden_compare_steps(g, tensor, flip_tape_value(g->tape, z));
    }
}

static void compare_hidden(golden *g, const dynamic *d, const char *tensor, int32_t layer) {
    golden_compare_steps(g, tensor, flip_tape_value(g->tape, flip_model_hidden(d->model, layer)));
}

/* ---- TM-GCN ---- */

void case_tmgcn(golden *g) {
    flip_model_params p = {.kind = FLIP_MODEL_TMGCN,
                           .layers = 2,
                           .hidden = golden_columns(g, "W1"),
                           .out_dim = golden_columns(g, "W2"),
                           .window = (int32_t)golden_setting(g, "bandwidth")};
    flip_head_params q = {
        .kind = FLIP_HEAD_LINEAR, .in_dim = p.out_dim, .out_dim = golden_columns(g, "U")};
    dynamic d;
    flip_var x;
    if (dynamic_open(g, &d, &p, &q)) {
        flip_var z = dynamic_apply(g, &d, &x);
        compare_hidden(g, &d, "Y", 1);
        golden_compare_steps(g, "Z", flip_tape_value(g->tape, z));
        flip_var logits = flip_head_forward(d.head, g->tape, z, d.pairs);
        golden_compare_var(g, "logits", logits);
        flip_labels labels = {.label = golden_int(g, "pair_label"),
                              .class_weight = golden_load(g, "class_weight").value};
        golden_backward(g, flip_cross_entropy(g->tape, logits, &labels));
        golden_compare_steps(g, "grad_X", flip_tape_gradient(g->tape, x));
        compare_kept(g, &d, "Z");
    }
    dynamic_close(&d);
}

/* ---- EvolveGCN ---- */

static flip_model_params evolve_params(golden *g, flip_model_kind kind, flip_cell cell) {
    return (flip_model_params){.kind = kind,
                               .layers = 2,
                               .hidden = golden_columns(g, "W0_1"),
                               .out_dim = golden_columns(g, "W0_2"),
                               .cell = cell};
}

static flip_param find(golden *g, const char *letters, int layer) {
    char name[16];
    snprintf(name, sizeof name, "%s%d", letters, layer);
    return flip_params_find(g->params, name);
}

/* Of layer l with input x: its chosen nodes against topk_<l>. */
static flip_var compare_choice(golden *g, int layer, flip_var x, int32_t k) {
    char tensor[16];
    snprintf(tensor, sizeof tensor, "topk_%d", layer);
    flip_var s = flip_topk_summary(g->tape, x, find(g, "p", layer), k);
    golden_compare_nodes(g, tensor, s);
    return s;
}

/* The chains of both layers by themselves against W_<l>. */
static void compare_chains(golden *g, dynamic *d) {
    flip_var x;
    dynamic_apply(g, d, &x);
    for (int l = 1; l <= 2 && !g->failures; l++) {
        char tensor[16];
        flip_param w0 = find(g, "W0_", l), wg = find(g, "Wg", l), ug = find(g, "Ug", l),
                   bg = find(g, "Bg", l);
        flip_var in = FLIP_VAR_NONE, w;
        if (d->p.kind == FLIP_MODEL_EVOLVEGCN_H)
            in = compare_choice(g, l, l == 1 ? x : flip_model_hidden(d->model, 1),
                                l == 1 ? d->p.hidden : d->p.out_dim);
        if (d->p.kind == FLIP_MODEL_EVOLVEGCN_O && d->p.cell != FLIP_CELL_GRU)
            w = flip_matrix_lstm(g->tape, d->steps, w0, wg, ug, bg);
        else
            w = flip_matrix_gru(g->tape, d->steps, in, w0, wg, ug, bg);
        snprintf(tensor, sizeof tensor, "W_%d", l);
        golden_compare_var(g, tensor, w);
    }
}

void case_evolve_o(golden *g) {
    flip_model_params p = evolve_params(g, FLIP_MODEL_EVOLVEGCN_O, FLIP_CELL_AUTO);
    flip_head_params q = {.kind = FLIP_HEAD_MLP,
                          .in_dim = p.out_dim,
                          .hidden = golden_columns(g, "V1"),
                          .out_dim = 1};
    dynamic d;
    flip_var x;
    if (dynamic_open(g, &d, &p, &q)) {
        flip_var z = dynamic_apply(g, &d, &x);
        golden_compare_steps(g, "Z", flip_tape_value(g->tape, z));
        flip_var score = flip_head_forward(d.head, g->tape, z, d.pairs);
        golden_compare_var(g, "score", score);
        golden_backward(g, golden_link_loss(g, score));
        golden_compare_steps(g, "grad_X", flip_tape_gradient(g->tape, x));
        compare_kept(g, &d, "Z");
        compare_chains(g, &d);
    }
    dynamic_close(&d);
}

void case_evolve_o_code(golden *g) {
    flip_model_params p = evolve_params(g, FLIP_MODEL_EVOLVEGCN_O, FLIP_CELL_GRU);
    flip_head_params q = {.kind = FLIP_HEAD_MLP,
                          .in_dim = p.out_dim,
                          .hidden = golden_columns(g, "V1"),
                          .out_dim = golden_columns(g, "V2")};
    dynamic d;
    flip_var x;
    if (dynamic_open(g, &d, &p, &q)) {
        flip_var z = dynamic_apply(g, &d, &x);
        golden_compare_steps(g, "Z", flip_tape_value(g->tape, z));
        flip_var logits = flip_head_forward(d.head, g->tape, z, d.pairs);
        golden_compare_var(g, "logits", logits);
        flip_labels labels = {.label = golden_int(g, "pair_label"),
                              .class_weight = golden_load(g, "class_weight").value,
                              .sample_mean = true};
        golden_backward(g, flip_cross_entropy(g->tape, logits, &labels));
        golden_compare_steps(g, "grad_X", flip_tape_gradient(g->tape, x));
        compare_kept(g, &d, "Z");
        compare_chains(g, &d);
    }
    dynamic_close(&d);
}

void case_evolve_h(golden *g) {
    flip_model_params p = evolve_params(g, FLIP_MODEL_EVOLVEGCN_H, FLIP_CELL_AUTO);
    dynamic d;
    flip_var x;
    if (dynamic_open(g, &d, &p, NULL)) {
        flip_var z = dynamic_apply(g, &d, &x);
        golden_compare_steps(g, "Z", flip_tape_value(g->tape, z));
        flip_var score = flip_pair_dot(g->tape, flip_gather_pairs(g->tape, z, d.pairs));
        golden_compare_var(g, "score", score);
        golden_backward(g, golden_link_loss(g, score));
        golden_compare_steps(g, "grad_X", flip_tape_gradient(g->tape, x));
        compare_kept(g, &d, "Z");
        compare_chains(g, &d);
    }
    dynamic_close(&d);
}

/* ---- CD-GCN ---- */

static flip_model_params cdgcn_params(golden *g) {
    return (flip_model_params){.kind = FLIP_MODEL_CDGCN,
                               .layers = 2,
                               .structure_width = golden_columns(g, "W1"),
                               .hidden = (int32_t)golden_load(g, "Wh1").shape[0],
                               .out_dim = golden_columns(g, "Wout"),
                               .output = true};
}

/* Labels and mask [steps, nodes] turned to [nodes, steps]. */
static flip_labels turned_labels(golden *g) {
    golden_tensor t = golden_load(g, "label");
    const int32_t *label = golden_int(g, "label");
    const uint8_t *mask = golden_mask(g, "mask");
    int32_t *labels = golden_memory(g, (size_t)t.n, sizeof *labels);
    uint8_t *masks = golden_memory(g, (size_t)t.n, 1);
    for (int64_t i = 0; i < t.n; i++) {
        int64_t to = i % t.shape[1] * t.shape[0] + i / t.shape[1];
        labels[to] = label[i];
        masks[to] = mask[i];
    }
    return (flip_labels){.label = labels, .mask = masks};
}

void case_cdgcn(golden *g) {
    flip_model_params p = cdgcn_params(g);
    dynamic d;
    flip_var x;
    if (dynamic_open(g, &d, &p, NULL)) {
        flip_var logits = dynamic_apply(g, &d, &x);
        compare_hidden(g, &d, "H1", 1);
        compare_hidden(g, &d, "H2", 2);
        golden_compare_steps(g, "logits", flip_tape_value(g->tape, logits));
        flip_labels labels = turned_labels(g);
        golden_backward(g, flip_cross_entropy(g->tape, logits, &labels));
        golden_compare_steps(g, "grad_X", flip_tape_gradient(g->tape, x));
        compare_kept(g, &d, "logits");
    }
    dynamic_close(&d);
}

void case_train_cdgcn(golden *g) {
    flip_model_params p = cdgcn_params(g);
    flip_optimiser *optimiser = NULL;
    dynamic d;
    if (dynamic_open(g, &d, &p, NULL)) {
        int64_t updates = golden_load(g, "losses").n;
        double *losses = golden_memory(g, (size_t)updates, sizeof *losses);
        flip_optimiser_params settings = golden_optimiser(g, FLIP_OPTIMISER_ADAM);
        golden_try(g, flip_optimiser_create(&optimiser, g->params, &settings));
        flip_block block = {
            .adjacency = d.adjacency, .features = d.x, .steps = d.steps, .n_blocks = 1};
        flip_labels labels = turned_labels(g);
        for (int64_t i = 0; i < updates; i++) {
            flip_tape_reset(g->tape, true, i);
            flip_params_clear_gradients(g->params);
            flip_var logits = flip_model_forward(d.model, g->tape, &block);
            flip_var loss = flip_cross_entropy(g->tape, logits, &labels);
            losses[i] = flip_tape_scalar(g->tape, loss);
            golden_try(g, flip_tape_backward(g->tape, loss));
            golden_try(g, flip_optimiser_step(optimiser));
        }
        golden_compare(g, "losses", losses, updates);
        golden_compare_final(g);
        flip_tape_reset(g->tape, false, updates);
        flip_var logits = flip_model_forward(d.model, g->tape, &block);
        golden_compare_steps(g, "final_logits", flip_tape_value(g->tape, logits));
        flip_optimiser_destroy(&optimiser);
    }
    dynamic_close(&d);
}
