/* Data, model, tape and optimiser together: one epoch, one forward, what memory they need. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

static bool on_pairs(const flip_trainer *trainer) {
    return trainer->data.s.task == FLIP_TASK_EDGE || trainer->data.s.task == FLIP_TASK_LINK;
}

/* EvolveGCN-H summarises a step by as many of its nodes as a layer is wide. */
static flip_status check_summaries(const flip_data *data, const flip_model_params *model) {
    int32_t in, out, state;
    for (int32_t l = 0; model->kind == FLIP_MODEL_EVOLVEGCN_H && l < model->layers; l++) {
        flip_model_widths(model, l, &in, &out, &state);
        if (out > data->info->n_nodes)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "evolvegcn-h summarises a step by as many nodes as a layer is wide: "
                             "layer %d has %d columns, '%s' has %lld nodes; use a smaller --hidden",
                             l + 1, out, data->s.graph, (long long)data->info->n_nodes);
    }
    return FLIP_OK;
}

/* The parameters' names and shapes: nothing large is allocated yet. */
flip_status flip_trainer_declare(flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    const flip_settings *s = &data->s;
    flip_model_params model = flip_data_model_params(data);
    if (trainer->params) return FLIP_OK;
    FLIP_TRY(check_summaries(data, &model));
    FLIP_TRY(flip_params_create(&trainer->params));
    FLIP_TRY(flip_model_create(&trainer->model, trainer->params, &model));
    if (on_pairs(trainer)) {
        flip_head_params head = {.kind = (flip_head_kind)(s->edge_head - FLIP_EDGE_HEAD_DOT),
                                 .in_dim = model.out_dim,
                                 .hidden = (int32_t)s->hidden,
                                 .out_dim = data->n_classes};
        FLIP_TRY(flip_head_create(&trainer->head, trainer->params, &head));
    }
    return FLIP_OK;
}

flip_status flip_trainer_restart(flip_trainer *trainer) {
    const flip_settings *s = &trainer->data.s;
    flip_optimiser_params optimiser = FLIP_OPTIMISER_DEFAULTS;
    optimiser.kind = (flip_optimiser_kind)s->optimizer;
    optimiser.lr = s->lr;
    optimiser.weight_decay = s->weight_decay;
    optimiser.momentum = s->momentum;
    optimiser.clip = s->clip;
    flip_optimiser_destroy(&trainer->optimiser);
    return flip_optimiser_create(&trainer->optimiser, trainer->params, &optimiser);
}

flip_status flip_trainer_build(flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    const flip_settings *s = &data->s;
    FLIP_TRY(flip_trainer_declare(trainer));
    FLIP_TRY(flip_params_finish(trainer->params, (uint64_t)s->seed));
    flip_tape_params tape = {.comm = data->comm,
                             .params = trainer->params,
                             .key = data->layout->original,
                             .n_own = data->layout->n_rows,
                             .seed = (uint64_t)s->seed,
                             .bf16 = s->precision == 1,
                             .kernels = trainer->kernels,
                             .saved = (flip_saved)s->activations};
    FLIP_TRY(flip_tape_create(&trainer->tape, &tape));
    FLIP_TRY(flip_trainer_restart(trainer));
    FLIP_TRY(flip_device_hold(trainer));
    if (s->features == FLIP_FEATURES_LEARNED)
        FLIP_TRY(flip_learned_create(&trainer->learned, data));
    if (data->layout->n_blocks > 1)
        FLIP_TRY(flip_carry_create(&trainer->carry, trainer->kernels, data->layout->n_blocks));
    size_t n = (size_t)flip_params_size(trainer->params);
    FLIP_TRY(flip_alloc(&trainer->best, n, sizeof *trainer->best, "best parameters"));
    memcpy(trainer->best, flip_params_values(trainer->params), n * sizeof *trainer->best);
    trainer->best_metric = trainer->best_loss = NAN;
    return FLIP_OK;
}

void flip_trainer_close(flip_trainer *trainer) {
    flip_repeat_finish(trainer);
    flip_free(trainer->best);
    flip_batching_destroy(&trainer->batching);
    flip_learned_destroy(&trainer->learned);
    flip_optimiser_destroy(&trainer->optimiser);
    flip_carry_destroy(&trainer->carry);
    flip_head_destroy(&trainer->head);
    flip_model_destroy(&trainer->model);
    flip_tape_destroy(&trainer->tape);
    flip_params_destroy(&trainer->params);
    flip_data_close(&trainer->data);
    memset(trainer, 0, sizeof *trainer);
}

/* ---- one pass ---- */

/* The training loss of a block, its share of the whole timeline's. */
static flip_var block_loss(flip_trainer *trainer, int32_t block, flip_var y) {
    const flip_data *data = &trainer->data;
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    int64_t row = flip_data_block_row(data, block);
    flip_labels labels = {.class_weight = data->class_weight, .total = data->loss_total};
    switch (data->s.task) {
    case FLIP_TASK_NODE:
        labels.label = data->label + row;
        labels.mask = data->mask[FLIP_PART_TRAIN] + row;
        return flip_cross_entropy(trainer->tape, y, &labels);
    case FLIP_TASK_REGRESSION:
        return flip_squared_error(trainer->tape, y, data->target + row * data->n_classes,
                                  data->mask[FLIP_PART_TRAIN] + row, data->loss_total);
    case FLIP_TASK_EDGE:
        labels.label = set->label + set->first[block];
        y = flip_head_consume(trainer->head, trainer->tape, y, set->pairs[block]);
        return flip_cross_entropy(trainer->tape, y, &labels);
    default:
        labels.label = set->label + set->first[block];
        y = flip_head_consume(trainer->head, trainer->tape, y, set->pairs[block]);
        return flip_binary_cross_entropy(trainer->tape, y, &labels);
    }
}

/* How a block is walked. */
enum {
    WALK_TRAIN = 1, /* dropout is on */
    WALK_KEEP = 2,  /* records stay for the backward pass */
    WALK_STATES = 4 /* for the states at the block's end alone */
};
enum {
    WALK_SCORE = 0,
    WALK_SWEEP = WALK_TRAIN | WALK_STATES,
    WALK_RECORD = WALK_TRAIN | WALK_KEEP
};

static void begin_block(flip_trainer *trainer, int32_t block, int walk) {
    bool training = walk & WALK_TRAIN;
    flip_tape_reset(trainer->tape, training, trainer->epoch + training);
    flip_tape_block(trainer->tape, trainer->data.layout, trainer->carry, block, walk & WALK_KEEP);
}

/* Rows and gradients of training travel as --wire-codec says, all others as they are. */
static void set_wire(flip_trainer *trainer, bool training) {
    const flip_settings *s = &trainer->data.s;
    flip_comm_wire(trainer->data.comm, training ? (flip_wire)s->wire_codec : FLIP_WIRE_EXACT,
                   (uint64_t)s->seed, trainer->epoch + 1);
}

/* The first aggregation of the block's features is taken, and the features freed with the last of
 * them where the model reads them no more. */
static flip_status prepare(flip_trainer *trainer, flip_block *b) {
    if (!b->features) return FLIP_OK;
    flip_comm_wire_pause(trainer->data.comm, true); /* an error here would stay for the whole run */
    flip_status status = flip_model_prepare(trainer->model, trainer->tape, b);
    flip_comm_wire_pause(trainer->data.comm, false);
    FLIP_TRY(status);
    if (!flip_model_done_with_features(trainer->model)) return FLIP_OK;
    flip_tape_let_go(trainer->tape, b->features);
    flip_data_release_inputs(&trainer->data);
    b->features = NULL;
    return FLIP_OK;
}

/* Features that every pass reads as they are stay on the device. */
static flip_status hold_features(flip_trainer *trainer, const flip_block *b) {
    const flip_data *data = &trainer->data;
    if (!b->features || data->layout->n_blocks > 1 || trainer->features == b->features)
        return FLIP_OK;
    trainer->features = b->features;
    return flip_tape_hold(trainer->tape, b->features,
                          (size_t)data->layout->n_rows * (size_t)b->steps * (size_t)data->in_dim *
                              sizeof *b->features);
}

/* The model on a block. x: the learned features' variable. */
static flip_status forward(flip_trainer *trainer, int32_t block, int walk, flip_var *x,
                           flip_var *y) {
    flip_data *data = &trainer->data;
    const flip_adjacency *adjacency;
    int32_t steps = flip_layout_steps(data->layout, block);
    *x = FLIP_VAR_NONE;
    FLIP_TRY(flip_device_enter(trainer, block, walk & WALK_KEEP, &adjacency));
    begin_block(trainer, block, walk);
    flip_packed_rows packed = data->packed;
    if (packed.packing) FLIP_TRY(flip_data_packed(data, block, &packed));
    flip_block b = {.adjacency = adjacency,
                    .packed = packed.packing ? &packed : NULL,
                    .steps = steps,
                    .constant = flip_data_sets_out(data, steps) ? data->fixed.dim : 0,
                    .index = block,
                    .n_blocks = data->layout->n_blocks,
                    .states_only = (walk & WALK_STATES) != 0};
    if (trainer->learned) {
        *x = flip_learned_input(trainer->learned, trainer->tape, steps);
        *y = flip_model_apply(trainer->model, trainer->tape, adjacency, *x);
    } else {
        FLIP_TRY(flip_device_inputs(trainer, block, &b.features));
        FLIP_TRY(prepare(trainer, &b));
        begin_block(trainer, block, walk);
        FLIP_TRY(hold_features(trainer, &b));
        *y = flip_model_forward(trainer->model, trainer->tape, &b);
    }
    return flip_tape_status(trainer->tape);
}

/* The snapshots of a sequence begin anew, and the adjacency that is there goes: first from the
 * device. Events that are resident leave it as it is. */
static void begin_snapshots(flip_trainer *trainer) {
    if (!trainer->data.snapshots || trainer->data.s.transfer == FLIP_TRANSFER_RESIDENT) return;
    flip_device_leave(trainer);
    flip_snapshots_begin(trainer->data.snapshots);
}

void flip_trainer_begin(flip_trainer *trainer) {
    if (trainer->carry) flip_carry_clear(trainer->carry);
    begin_snapshots(trainer);
    flip_data_packed_begin(&trainer->data);
}

/* The first step of the window that ends with block `block`, every step being a block: --history
 * steps before it, or as many as there are; without a state between steps none matters. */
static int32_t window_first(const flip_trainer *trainer, int32_t block) {
    const flip_settings *s = &trainer->data.s;
    bool states = s->model > FLIP_MODEL_GIN || s->temporal != FLIP_TEMPORAL_NONE;
    int64_t first = block - s->history;
    return !states ? block : first > 0 ? (int32_t)first : 0;
}

/* States restart and walk through the window's steps before the last. */
static flip_status sweep_window(flip_trainer *trainer, int32_t block, int walk) {
    int32_t first = window_first(trainer, block);
    flip_var x, y;
    if (trainer->carry) flip_carry_clear_at(trainer->carry, first);
    begin_snapshots(trainer);
    flip_data_packed_begin(&trainer->data);
    for (int32_t k = first; k < block; k++) {
        FLIP_TRY(forward(trainer, k, walk, &x, &y));
        FLIP_TRY(
            flip_device_look_ahead(trainer, k + 1, k + 1 == block && (walk & WALK_TRAIN) != 0));
    }
    return FLIP_OK;
}

flip_status flip_trainer_forward(flip_trainer *trainer, int32_t block, flip_var *y) {
    flip_var x;
    if (trainer->data.s.protocol == FLIP_PROTOCOL_WINDOWS)
        FLIP_TRY(sweep_window(trainer, block, WALK_SCORE | WALK_STATES));
    return forward(trainer, block, WALK_SCORE, &x, y);
}

/* ---- one epoch ---- */

/* Forward with records, loss and backward of one block: gradients are added, the loss too. */
static flip_status train_block(flip_trainer *trainer, int32_t block, double *loss) {
    flip_var x, y;
    FLIP_TRY(forward(trainer, block, WALK_RECORD, &x, &y));
    flip_var value = block_loss(trainer, block, y);
    FLIP_TRY(flip_tape_status(trainer->tape));
    *loss += flip_tape_scalar(trainer->tape, value);
    FLIP_TRY(flip_tape_backward(trainer->tape, value));
    trainer->passes.backward++;
    return trainer->learned ? flip_learned_add(trainer->learned, trainer->tape, x) : FLIP_OK;
}

/* Checkpointing along the timeline: forward over the blocks, of which only the states at their ends
 * stay, then back from the last block to the first; all but the last are walked forward again,
 * with records, before their backward (SC'21 section 3). */
static flip_status walk_blocks(flip_trainer *trainer, double *loss) {
    int32_t last = trainer->data.train_blocks - 1;
    flip_var x, y;
    flip_trainer_begin(trainer);
    for (int32_t k = 0; k < last; k++) {
        FLIP_TRY(forward(trainer, k, WALK_SWEEP, &x, &y));
        FLIP_TRY(flip_device_look_ahead(trainer, k + 1, k + 1 == last));
    }
    trainer->passes.forward += last + 1;
    for (int32_t k = last; k >= 0; k--) {
        FLIP_TRY(train_block(trainer, k, loss));
        if (k > 0) FLIP_TRY(flip_device_look_ahead(trainer, k - 1, true));
        trainer->passes.recomputation += k < last;
    }
    return FLIP_OK;
}

flip_status flip_trainer_check_loss(const flip_trainer *trainer, double loss) {
    if (isfinite(loss)) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "the loss of epoch %lld is %g: training diverged, or the features hold NaN; "
                     "try a smaller --lr, --clip 1, or --feature-norm row",
                     (long long)trainer->epoch + 1, loss);
}

/* Sliding windows (EvolveGCN's protocol): each step that has items is a sample, of which only the
 * last step is scored, and a step of the optimiser. The loss is their mean. */
static flip_status walk_windows(flip_trainer *trainer, double *loss) {
    flip_data *data = &trainer->data;
    int64_t samples = 0;
    flip_var x, y;
    for (int32_t last = 0; last < data->train_blocks; last++) {
        double one = 0;
        if (!data->train_items[last]) continue;
        int32_t first = window_first(trainer, last);
        flip_params_clear_gradients(trainer->params);
        FLIP_TRY(sweep_window(trainer, last, WALK_SWEEP));
        FLIP_TRY(train_block(trainer, last, &one));
        for (int32_t k = last - 1; k >= first; k--) {
            FLIP_TRY(flip_device_look_ahead(trainer, k, true));
            FLIP_TRY(forward(trainer, k, WALK_RECORD | WALK_STATES, &x, &y));
            FLIP_TRY(flip_tape_backward(trainer->tape, FLIP_VAR_NONE));
        }
        trainer->passes.forward += last - first + 1;
        trainer->passes.backward += last - first;
        trainer->passes.recomputation += last - first;
        FLIP_TRY(flip_trainer_check_loss(trainer, one));
        FLIP_TRY(flip_params_reduce(trainer->params, data->comm));
        FLIP_TRY(flip_optimiser_step(trainer->optimiser));
        *loss += one;
        samples++;
    }
    *loss /= (double)samples;
    trainer->loss = *loss;
    trainer->epoch++;
    return FLIP_OK;
}

flip_status flip_trainer_update(flip_trainer *trainer, int32_t block) {
    double loss = 0;
    flip_params_clear_gradients(trainer->params);
    set_wire(trainer, true);
    flip_status status = train_block(trainer, block, &loss);
    set_wire(trainer, false);
    FLIP_TRY(status);
    trainer->passes.forward++;
    FLIP_TRY(flip_trainer_check_loss(trainer, loss));
    FLIP_TRY(flip_params_reduce(trainer->params, trainer->data.comm));
    FLIP_TRY(flip_optimiser_step(trainer->optimiser));
    trainer->loss = loss;
    trainer->epoch++;
    return FLIP_OK;
}

flip_status flip_trainer_pass(flip_trainer *trainer, double *loss) {
    flip_params_clear_gradients(trainer->params);
    if (trainer->learned) flip_learned_clear(trainer->learned);
    FLIP_TRY(walk_blocks(trainer, loss));
    FLIP_TRY(flip_params_reduce(trainer->params, trainer->data.comm));
    FLIP_TRY(flip_trainer_check_loss(trainer, *loss));
    return flip_optimiser_step(trainer->optimiser);
}

static flip_status walk_epoch(flip_trainer *trainer) {
    flip_data *data = &trainer->data;
    int64_t epoch = trainer->epoch + 1;
    double loss = 0;
    bool repeated;
    if (data->s.task == FLIP_TASK_LINK) {
        FLIP_TRY(flip_data_sample(data, FLIP_PART_TRAIN, (uint64_t)epoch));
        if (!trainer->batching) FLIP_TRY(flip_data_loss_total(data));
    }
    if (data->s.protocol == FLIP_PROTOCOL_WINDOWS) return walk_windows(trainer, &loss);
    if (trainer->batching) {
        FLIP_TRY(flip_batching_epoch(trainer, &loss));
        trainer->loss = loss;
        trainer->epoch = epoch;
        return FLIP_OK;
    }
    FLIP_TRY(flip_repeat_pass(trainer, &loss, &repeated));
    if (!repeated) FLIP_TRY(flip_trainer_pass(trainer, &loss));
    if (trainer->learned) flip_learned_step(trainer->learned, &data->s, epoch);
    trainer->loss = loss;
    trainer->epoch = epoch;
    return FLIP_OK;
}

flip_status flip_trainer_epoch(flip_trainer *trainer) {
    set_wire(trainer, true);
    flip_status status = walk_epoch(trainer);
    set_wire(trainer, false);
    FLIP_TRY(status);
    return trainer->kernels->wait();
}

void flip_trainer_keep(flip_trainer *trainer) {
    flip_learned *l = trainer->learned;
    memcpy(trainer->best, flip_params_values(trainer->params),
           (size_t)flip_params_size(trainer->params) * sizeof *trainer->best);
    if (l) memcpy(l->best, l->values, (size_t)l->n_own * (size_t)l->dim * sizeof *l->best);
}

static void swap(flip_real *a, flip_real *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        flip_real value = a[i];
        a[i] = b[i];
        b[i] = value;
    }
}

void flip_trainer_swap(flip_trainer *trainer) {
    flip_learned *l = trainer->learned;
    swap(trainer->best, flip_params_values(trainer->params),
         (size_t)flip_params_size(trainer->params));
    if (l) swap(l->best, l->values, (size_t)l->n_own * (size_t)l->dim);
}
