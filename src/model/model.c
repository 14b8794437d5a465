/* Models: what they share — registering parameters, the loop over layers, norms, and the first
 * layer's aggregation of constant features, taken once. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static const model_row *const table[] = {
    [FLIP_MODEL_GCN] = &model_gcn,
    [FLIP_MODEL_SAGE] = &model_sage,
    [FLIP_MODEL_GAT] = &model_gat,
    [FLIP_MODEL_GIN] = &model_gin,
    [FLIP_MODEL_TMGCN] = &model_tmgcn,
    [FLIP_MODEL_EVOLVEGCN_O] = &model_evolve_o,
    [FLIP_MODEL_EVOLVEGCN_H] = &model_evolve_h,
    [FLIP_MODEL_CDGCN] = &model_cdgcn,
};

static const double norm_eps = 1e-5, norm_momentum = 0.1;

flip_adjacency_kind flip_model_adjacency(const flip_model_params *p) {
    switch (p->kind) {
    case FLIP_MODEL_SAGE:
        return p->pool ? FLIP_ADJACENCY_PATTERN : FLIP_ADJACENCY_MEAN;
    case FLIP_MODEL_GAT:
        return FLIP_ADJACENCY_ATTENTION;
    case FLIP_MODEL_GIN:
        return FLIP_ADJACENCY_SUM;
    default:
        return FLIP_ADJACENCY_GCN;
    }
}

/* ---- creation ---- */

static bool evolves(const flip_model_params *p) {
    return p->kind == FLIP_MODEL_EVOLVEGCN_O || p->kind == FLIP_MODEL_EVOLVEGCN_H;
}

/* What belongs to time. */
static flip_status check_time(const flip_model_params *p, const char *name) {
    bool structure = p->kind <= FLIP_MODEL_GIN;
    if (p->temporal != FLIP_TEMPORAL_NONE && !structure &&
        !(p->kind == FLIP_MODEL_CDGCN && p->temporal == FLIP_TEMPORAL_LSTM))
        return FLIP_FAIL(
            FLIP_ERROR_USAGE,
            "%s has its own way through time%s; --temporal is of gcn, sage, gat and gin", name,
            p->kind == FLIP_MODEL_CDGCN ? ", an LSTM" : "");
    if (p->cell != FLIP_CELL_AUTO && !evolves(p))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%s has no --cell, which is of evolvegcn-o; see --temporal", name);
    if (p->cell == FLIP_CELL_LSTM && p->kind == FLIP_MODEL_EVOLVEGCN_H)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "evolvegcn-h evolves by a GRU; --cell lstm is of "
                                           "evolvegcn-o");
    if (p->residual && (evolves(p) || p->kind == FLIP_MODEL_CDGCN))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s has no --residual%s", name,
                         p->kind == FLIP_MODEL_CDGCN ? "; its LSTM reads the layer's input already"
                                                     : "");
    if (p->output && !flip_model_recurrent(p))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: its last layer gives the outputs", name);
    if (flip_model_recurrent(p) && p->hidden < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: hidden %d must be at least 1", name, p->hidden);
    return FLIP_OK;
}

static flip_status check(const flip_model_params *p) {
    if (p->kind < 0 || p->kind >= (int)(sizeof table / sizeof *table) || !table[p->kind])
        return FLIP_FAIL(FLIP_ERROR_USAGE, "model %d is not available", (int)p->kind);
    const char *name = table[p->kind]->name;
    if (p->layers < 1 || p->in_dim < 1 || p->out_dim < 1 || (p->layers > 1 && p->hidden < 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%s: layers %d, hidden %d, %d features, %d outputs: each must be at least "
                         "1",
                         name, p->layers, p->hidden, p->in_dim, p->out_dim);
    if (p->pool && p->kind != FLIP_MODEL_SAGE)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s has no pooling; --aggregator pool is of sage", name);
    if (p->l2_normalise && p->kind != FLIP_MODEL_SAGE)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s does not normalise its embeddings; sage does", name);
    if (p->kind == FLIP_MODEL_GAT && (p->heads < 1 || (p->layers > 1 && p->hidden % p->heads != 0)))
        return FLIP_FAIL(
            FLIP_ERROR_USAGE,
            "gat: hidden width %d is not a multiple of %d heads; --hidden is the width "
            "of all heads together",
            p->hidden, p->heads);
    if (p->dropout < 0 || p->dropout >= 1 || p->input_dropout < 0 || p->input_dropout >= 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "dropout %g and input dropout %g must be in [0, 1)",
                         p->dropout, p->input_dropout);
    return check_time(p, name);
}

flip_status flip_model_distribution_fits(const flip_model_params *p, int n_time,
                                         flip_temporal_exchange exchange) {
    FLIP_TRY(check(p));
    const char *name = table[p->kind]->name;
    if (n_time > 1 && exchange == FLIP_EXCHANGE_WAVEFRONT && !flip_model_recurrent(p))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%s has no state of nodes to hand over; --distribute wavefront is of "
                         "cdgcn and --temporal lstm or gru; use --distribute time or nodes",
                         name);
    if (n_time > 1 && exchange == FLIP_EXCHANGE_WINDOW && p->kind != FLIP_MODEL_TMGCN)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%s has no window; --distribute window is of tmgcn; use --distribute time "
                         "or nodes",
                         name);
    return FLIP_OK;
}

flip_param model_add(flip_params *params, const char *letters, int32_t l, int32_t rows,
                     int32_t cols, flip_init init) {
    char name[32];
    snprintf(name, sizeof name, "%s%d", letters, l + 1);
    return flip_params_add(params, name, rows, cols, init);
}

/* Batch norm subtracts each column's mean, and with it a bias: the gradient of such a bias is
 * nothing but rounding, of which Adam makes whole steps, and the running mean of evaluation trails
 * behind it. So there is none. */
flip_param model_add_bias(flip_model *model, flip_params *params, const char *letters, int32_t l) {
    bool subtracted = model->p.norm == FLIP_NORM_BATCH && !gives_output(&model->p, l);
    if (subtracted) return FLIP_PARAM_NONE;
    return model_add(params, letters, l, 1, model->layers[l].out, FLIP_INIT_ZERO);
}

static flip_param add_state(flip_params *params, const char *letters, int32_t l, int32_t cols,
                            flip_init init) {
    char name[32];
    snprintf(name, sizeof name, "%s%d", letters, l + 1);
    return flip_params_add_state(params, name, 1, cols, init);
}

void flip_model_widths(const flip_model_params *p, int32_t l, int32_t *in, int32_t *out,
                       int32_t *state) {
    *in = l == 0 ? p->in_dim : p->hidden;
    *out = gives_output(p, l) ? p->out_dim : p->hidden;
    *state = 0;
    if (p->kind == FLIP_MODEL_CDGCN && p->structure_width > 0) *out = p->structure_width;
    if (flip_model_recurrent(p)) *state = l == p->layers - 1 && !p->output ? p->out_dim : p->hidden;
}

static void add_layer(flip_model *model, flip_params *params, int32_t l) {
    const flip_model_params *p = &model->p;
    layer *k = &model->layers[l];
    bool last = gives_output(p, l);
    memset(k, -1, sizeof *k); /* every parameter is FLIP_PARAM_NONE */
    flip_model_widths(p, l, &k->in, &k->out, &k->state);
    k->heads = !last ? p->heads : p->heads_last > 0 ? p->heads_last : 1;
    model->row->add(model, params, l);
    if (p->residual && p->kind != FLIP_MODEL_SAGE)
        k->w_residual = model_add(params, "Wres", l, k->in, k->out, FLIP_INIT_GLOROT);
    if (k->state > 0) model_add_recurrent(model, params, l);
    if (p->norm == FLIP_NORM_NONE || last) return;
    k->gamma = model_add(params, "gamma", l, 1, k->out, FLIP_INIT_ONE);
    k->beta = model_add(params, "beta", l, 1, k->out, FLIP_INIT_ZERO);
    if (p->norm == FLIP_NORM_LAYER) return;
    k->mean = add_state(params, "mean", l, k->out, FLIP_INIT_ZERO);
    k->var = add_state(params, "var", l, k->out, FLIP_INIT_ONE);
}

flip_status flip_model_create(flip_model **out, flip_params *params, const flip_model_params *p) {
    flip_status status;
    *out = NULL;
    FLIP_TRY(check(p));
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "model"));
    flip_model *model = *out;
    model->p = *p;
    model->row = table[p->kind];
    FLIP_TRY_GOTO(flip_alloc(&model->layers, (size_t)p->layers, sizeof(layer), "model"));
    FLIP_TRY_GOTO(flip_alloc(&model->hidden, (size_t)p->layers, sizeof(flip_var), "model"));
    memset(model->hidden, -1, (size_t)p->layers * sizeof(flip_var));
    for (int32_t l = 0; l < p->layers; l++)
        add_layer(model, params, l);
    model->w_out = model->b_out = FLIP_PARAM_NONE;
    if (p->output) {
        model->w_out = flip_params_add(params, "Wout", p->hidden, p->out_dim, FLIP_INIT_GLOROT);
        model->b_out = flip_params_add(params, "bout", 1, p->out_dim, FLIP_INIT_ZERO);
    }
done:
    if (status != FLIP_OK) flip_model_destroy(out);
    return status;
}

void flip_model_destroy(flip_model **model) {
    if (!*model) return;
    flip_model_forget(*model);
    flip_free((*model)->layers);
    flip_free((*model)->hidden);
    flip_free(*model);
    *model = NULL;
}

/* ---- what layers call ---- */

flip_act model_act(const pass *p) {
    const flip_model_params *m = &p->model->p;
    if (is_last(p) || m->norm != FLIP_NORM_NONE) return FLIP_ACT_NONE;
    return (flip_act){.relu = true, .dropout = m->dropout};
}

flip_var model_self(const pass *p) {
    int32_t rows;
    flip_tape_shape(p->tape, p->h, &rows, NULL, NULL);
    if (flip_tape_status(p->tape) != FLIP_OK || rows == p->adjacency->n_own) return p->h;
    return flip_first_rows(p->tape, p->h, p->adjacency->n_own);
}

flip_var model_aggregate(const pass *p) {
    if (p->first != FLIP_VAR_NONE) return p->first;
    return flip_aggregate(p->tape, p->adjacency, p->h, FLIP_VAR_NONE, FLIP_PARAM_NONE,
                          FLIP_ACT_NONE);
}

bool model_multiply_first(const pass *p) {
    bool packed = flip_tape_is_packed(p->tape, p->h); /* A X would be as wide as the features */
    return (packed || layer_of(p)->out < layer_of(p)->in) && p->first == FLIP_VAR_NONE;
}

/* ---- the first aggregation of constant features ---- */

static void drop_kept(kept_aggregation *kept) {
    if (kept->tape) flip_tape_let_go(kept->tape, kept->aggregated);
    flip_free(kept->aggregated);
    kept->aggregated = NULL;
    kept->tape = NULL;
}

void flip_model_forget(flip_model *model) {
    for (int32_t k = 0; k < model->n_kept; k++)
        drop_kept(&model->kept[k]);
    flip_free(model->kept);
    model->kept = NULL;
    model->n_kept = 0;
}

static bool keeps_aggregation(const flip_model *model) {
    return model->p.precompute && model->row->aggregates_input && !model->p.pool;
}

bool flip_model_done_with_features(const flip_model *model) {
    if (!keeps_aggregation(model) || model->row->reads_input || model->p.residual) return false;
    for (int32_t k = 0; k < model->n_kept; k++)
        if (!model->kept[k].aggregated) return false;
    return model->n_kept > 0;
}

flip_var model_transform(const flip_model *model, flip_tape *tape, flip_var x) {
    bool band = model->p.kind == FLIP_MODEL_TMGCN && model->p.window > 1;
    return band ? flip_band(tape, x, model->p.window) : x;
}

/* A X (TM-GCN: A' (M X)), an intermediate of this pass. *x becomes M X where the layer reads it:
 * one band, and so one state, a block, as states_alone leaves it. once: it will be kept, and nobody
 * makes the block's M X again, nor asks for the steps that it looked back at. */
static flip_var aggregate_features(const flip_model *model, flip_tape *tape,
                                   const flip_adjacency *adjacency, flip_var *x, bool once) {
    flip_var m = model_transform(model, tape, *x);
    if (once) flip_tape_drop_carried(tape);
    flip_var z = flip_aggregate(tape, adjacency, m, FLIP_VAR_NONE, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    if (model->p.residual)
        *x = m;
    else if (m != *x)
        flip_tape_release(tape, m);
    return z;
}

/* model->kept[block->index] is of this block's features. */
static flip_status keep_aggregation(flip_model *model, flip_tape *tape, const flip_block *block,
                                    flip_var x) {
    int32_t rows, steps, dim, n_blocks = block->n_blocks > 0 ? block->n_blocks : 1;
    flip_tape_shape(tape, x, &rows, &steps, &dim);
    if (model->n_kept != n_blocks) {
        flip_model_forget(model);
        FLIP_TRY(flip_alloc_zero(&model->kept, (size_t)n_blocks, sizeof *model->kept,
                                 "aggregated features"));
        model->n_kept = n_blocks;
    }
    kept_aggregation *kept = &model->kept[block->index];
    bool same = !block->features || kept->features == block->features;
    if (kept->aggregated && same && kept->steps == steps) return FLIP_OK;
    if (!block->features)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "block %d has no features, nor their aggregation",
                         block->index);
    drop_kept(kept);
    flip_var z = aggregate_features(model, tape, block->adjacency, &x, !model->p.residual);
    if (flip_tape_status(tape) != FLIP_OK) return flip_tape_status(tape);
    size_t n = (size_t)rows * (size_t)steps * (size_t)dim;
    FLIP_TRY(flip_alloc(&kept->aggregated, n, sizeof(flip_real), "aggregated features"));
    const flip_real *value = flip_tape_value(tape, z);
    FLIP_TRY(flip_tape_status(tape));
    memcpy(kept->aggregated, value, n * sizeof(flip_real));
    kept->tape = flip_tape_on_device(tape) ? tape : NULL; /* else nothing is held */
    FLIP_TRY(flip_tape_hold(tape, kept->aggregated, n * sizeof(flip_real)));
    flip_tape_release(tape, z);
    kept->features = block->features;
    kept->steps = steps;
    return FLIP_OK;
}

/* ---- forward ---- */

static flip_var drop(flip_tape *tape, flip_var x, double p) {
    return p > 0 ? flip_activate(tape, x, (flip_act){.dropout = p}) : x;
}

/* The hidden layers' norm, activation and dropout, as far as the layer has not applied them. */
static flip_var finish_layer(const pass *p, flip_var y) {
    const flip_model_params *m = &p->model->p;
    const layer *k = layer_of(p);
    bool gat = m->kind == FLIP_MODEL_GAT;
    if (is_last(p)) return y;
    if (m->norm != FLIP_NORM_NONE) {
        flip_act act = {.relu = !gat, .dropout = gat ? 0 : m->dropout};
        flip_var z = m->norm == FLIP_NORM_LAYER
                         ? flip_layer_norm(p->tape, y, k->gamma, k->beta, norm_eps, act)
                         : flip_batch_norm(p->tape, y, k->gamma, k->beta, k->mean, k->var,
                                           norm_momentum, norm_eps, act);
        flip_tape_release(p->tape, y);
        y = z;
    }
    return gat ? drop(p->tape, flip_elu(p->tape, y), m->dropout) : y;
}

/* One layer: the structural part couples nodes, the recurrent part steps. */
static flip_var run_layer(const pass *p) {
    flip_var y = finish_layer(p, p->model->row->layer(p));
    if (layer_of(p)->state == 0) return y;
    flip_var h = model_recur(p, y);
    flip_tape_release(p->tape, y);
    return h;
}

/* Only the states at the block's end are wanted, and this layer's do not need its values. */
static bool states_suffice(const pass *p, bool states_only) {
    const flip_model *model = p->model;
    bool last = p->l == model->p.layers - 1;
    return states_only && model->row->states && (last || model->row->local_states);
}

/* first: A x, or FLIP_VAR_NONE where the layer aggregates as it likes. batch: whose adjacencies are
 * read, layer l mfg l's; or NULL. */
static flip_var run(flip_model *model, flip_tape *tape, const flip_adjacency *adjacency,
                    const flip_batch *batch, flip_var x, flip_var first, bool states_only) {
    pass p = {.model = model, .tape = tape, .adjacency = adjacency, .h = x, .first = first};
    double rate = model->p.input_dropout;
    bool reads_x = first == FLIP_VAR_NONE || model->p.residual || model->row->reads_input;
    if (first != FLIP_VAR_NONE) p.first = drop(tape, first, rate);
    if (reads_x) p.h = drop(tape, x, rate);
    for (p.l = 0; p.l < model->p.layers; p.l++) {
        model->hidden[p.l] = FLIP_VAR_NONE;
        if (batch) p.adjacency = &batch->mfg[p.l].adjacency;
        if (states_suffice(&p, states_only)) {
            model->row->states(&p);
            continue;
        }
        flip_var y = run_layer(&p);
        flip_tape_release(tape, p.h);
        p.first = FLIP_VAR_NONE;
        if (model->p.keep_hidden) flip_tape_keep(tape, y);
        p.h = model->hidden[p.l] = y;
    }
    if (states_only) return FLIP_VAR_NONE;
    if (model->w_out != FLIP_PARAM_NONE) {
        flip_var y = flip_linear(tape, p.h, model->w_out, model->b_out, FLIP_ACT_NONE);
        flip_tape_release(tape, p.h);
        p.h = y;
    }
    return model->p.l2_normalise ? flip_l2_normalise(tape, p.h) : p.h;
}

flip_var flip_model_apply(flip_model *model, flip_tape *tape, const flip_adjacency *adjacency,
                          flip_var x) {
    bool aggregates = model->row->aggregates_input && !model->p.pool;
    x = model_transform(model, tape, x);
    flip_var first = FLIP_VAR_NONE;
    if (aggregates && model->p.input_dropout > 0) /* it acts on the aggregated input */
        first = flip_aggregate(tape, adjacency, x, FLIP_VAR_NONE, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    return run(model, tape, adjacency, NULL, x, first, false);
}

bool flip_model_takes_aggregated(const flip_model_params *p) {
    return table[p->kind]->aggregates_input && !p->pool;
}

flip_var flip_model_forward_batch(flip_model *model, flip_tape *tape, const flip_batch *batch,
                                  flip_var x, flip_var aggregated) {
    bool aggregates = flip_model_takes_aggregated(&model->p);
    if (aggregated == FLIP_VAR_NONE && aggregates && model->p.input_dropout > 0) {
        pass p = {.model = model, .tape = tape, .adjacency = &batch->mfg[0].adjacency, .h = x};
        aggregated =
            flip_aggregate(tape, p.adjacency, x, FLIP_VAR_NONE, FLIP_PARAM_NONE, FLIP_ACT_NONE);
        x = model_self(&p);
    }
    return run(model, tape, &batch->mfg[0].adjacency, batch, x, aggregated, false);
}

/* The block's features; where they are gone, something of their shape, which is all that is read.
 */
static flip_var features_of(const flip_model *model, flip_tape *tape, const flip_block *block) {
    const flip_real *features = block->features;
    if (block->packed) return flip_tape_packed_input(tape, block->adjacency->n_own, block->packed);
    if (!features && model->n_kept > block->index) features = model->kept[block->index].aggregated;
    flip_var x = flip_tape_input(tape, block->adjacency->n_own, block->steps, model->p.in_dim,
                                 features, false);
    if (features == block->features) flip_tape_constant(tape, x, block->constant);
    return x;
}

flip_status flip_model_prepare(flip_model *model, flip_tape *tape, const flip_block *block) {
    if (!keeps_aggregation(model) || block->packed) return FLIP_OK;
    flip_var x = features_of(model, tape, block);
    FLIP_TRY(flip_tape_status(tape));
    return keep_aggregation(model, tape, block, x);
}

/* Does the state at a block's end need the layers' values? */
static bool states_need_layers(const flip_model *model) {
    return flip_model_recurrent(&model->p) || (model->row->states && !model->row->local_states);
}

/* The states of a block whose embeddings nobody wants, where they need no layer's values: chains of
 * weights, the steps that TM-GCN's band will want of the features. */
static flip_var states_alone(flip_model *model, flip_tape *tape, const flip_block *block,
                             flip_var x) {
    bool kept = model->p.precompute && model->n_kept == block->n_blocks;
    if (model->p.kind == FLIP_MODEL_TMGCN && block->packed) {
        const pass p = {.model = model, .tape = tape, .adjacency = block->adjacency, .h = x};
        flip_var z, residual;
        model_transform_products(&p, &z, &residual);
        flip_tape_release(tape, z);
        flip_tape_release(tape, residual);
        return FLIP_VAR_NONE;
    }
    if (model->p.kind == FLIP_MODEL_TMGCN && (!kept || model->p.residual))
        flip_tape_release(tape, model_transform(model, tape, x));
    return model->row->states ? run(model, tape, block->adjacency, NULL, x, FLIP_VAR_NONE, true)
                              : FLIP_VAR_NONE;
}

flip_var flip_model_forward(flip_model *model, flip_tape *tape, const flip_block *block) {
    const flip_adjacency *adjacency = block->adjacency;
    int32_t rows = adjacency->n_own, steps = block->steps, dim = model->p.in_dim;
    flip_var x = features_of(model, tape, block), first = FLIP_VAR_NONE;
    if (block->states_only && !states_need_layers(model))
        return states_alone(model, tape, block, x);
    if (!model->row->aggregates_input || model->p.pool || block->packed)
        return run(model, tape, adjacency, NULL, x, FLIP_VAR_NONE, block->states_only);
    if (!model->p.precompute)
        first = aggregate_features(model, tape, adjacency, &x, false);
    else if (flip_tape_status(tape) == FLIP_OK &&
             keep_aggregation(model, tape, block, x) == FLIP_OK)
        first =
            flip_tape_input(tape, rows, steps, dim, model->kept[block->index].aggregated, false);
    if (first == FLIP_VAR_NONE) return FLIP_VAR_NONE;
    if (model->p.precompute && model->p.residual)
        x = model_transform(model, tape, x); /* the layer's input is X' = M X */
    return run(model, tape, adjacency, NULL, x, first, block->states_only);
}

flip_var flip_model_hidden(const flip_model *model, int32_t l) {
    return l >= 1 && l <= model->p.layers ? model->hidden[l - 1] : FLIP_VAR_NONE;
}
