/* Optimisers: one pass over the parameter slab. Adam (Kingma and Ba, 2015, algorithm 1), AdamW
 * (Loshchilov and Hutter, 2019), SGD with momentum. Gradients come in double. */
#include "slab.h"

#include <flipbook/tape.h>

#include <math.h>
#include <string.h>

struct flip_optimiser {
    flip_params *params; /* borrowed */
    flip_optimiser_params settings;
    slab moments; /* flip_real. Adam: m [n] then v [n]; SGD: m [n] */
    int64_t n, n_moments, steps;
    double norm;
};

/* The parameters may have been placed elsewhere since: their moments follow. */
static flip_status follow(flip_optimiser *o) {
    const flip_kernels *kernels = flip_params_kernels(o->params);
    return o->moments.kernels == kernels ? FLIP_OK
                                         : slab_place(&o->moments, kernels, "optimiser moments");
}

flip_status flip_optimiser_create(flip_optimiser **optimiser, flip_params *params,
                                  const flip_optimiser_params *settings) {
    FLIP_TRY(flip_alloc_zero(optimiser, 1, sizeof **optimiser, "optimiser"));
    flip_optimiser *o = *optimiser;
    o->params = params;
    o->settings = *settings;
    o->n = flip_params_trainable(params);
    o->n_moments = settings->kind == FLIP_OPTIMISER_SGD ? o->n : 2 * o->n;
    flip_status status =
        slab_init(&o->moments, (size_t)o->n_moments, sizeof(flip_real), "optimiser moments");
    if (status == FLIP_OK) status = follow(o);
    if (status != FLIP_OK) flip_optimiser_destroy(optimiser);
    return status;
}

void flip_optimiser_destroy(flip_optimiser **optimiser) {
    if (!*optimiser) return;
    slab_finish(&(*optimiser)->moments);
    flip_free(*optimiser);
    *optimiser = NULL;
}

static void sgd(flip_optimiser *o, double scale) {
    const flip_optimiser_params *s = &o->settings;
    flip_sgd_step step = {
        .lr = s->lr, .momentum = s->momentum, .weight_decay = s->weight_decay, .grad_scale = scale};
    o->moments.kernels->sgd(o->n, flip_params_placed_values(o->params),
                            flip_params_placed_gradients(o->params), slab_placed(&o->moments),
                            &step);
}

/* Of the optimiser's `number`-th step, from 1 on. */
static flip_adam_step adam_step(const flip_optimiser *o, int64_t number, double scale) {
    const flip_optimiser_params *s = &o->settings;
    return (flip_adam_step){.lr = s->lr,
                            .beta1 = s->beta1,
                            .beta2 = s->beta2,
                            .epsilon = s->epsilon,
                            .weight_decay = s->weight_decay,
                            .decoupled = s->kind == FLIP_OPTIMISER_ADAMW,
                            .correct1 = 1 - pow(s->beta1, (double)number),
                            .correct2 = 1 - pow(s->beta2, (double)number),
                            .grad_scale = scale};
}

static void adam(flip_optimiser *o, double scale) {
    const flip_adam_step step = adam_step(o, o->steps, scale);
    flip_real *m = slab_placed(&o->moments);
    o->moments.kernels->adam(o->n, flip_params_placed_values(o->params),
                             flip_params_placed_gradients(o->params), m, m + o->n, &step);
}

flip_status flip_optimiser_step(flip_optimiser *o) {
    double scale = 1;
    FLIP_TRY(follow(o));
    if (o->settings.clip > 0) {
        o->norm = flip_params_norm(o->params);
        if (!isfinite(o->norm))
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "gradients are not finite at update %lld; lower --lr or check the "
                             "features for huge values",
                             (long long)o->steps + 1);
        scale = flip_clip_factor(o->norm, o->settings.clip);
    }
    o->steps++;
    if (o->settings.kind == FLIP_OPTIMISER_SGD)
        sgd(o, scale);
    else
        adam(o, scale);
    return FLIP_OK;
}

flip_status flip_optimiser_next(flip_optimiser *o, flip_adam_step *step) {
    FLIP_TRY(follow(o));
    (void)flip_params_placed_values(o->params);
    (void)slab_placed(&o->moments);
    *step = adam_step(o, o->steps + 1, 1);
    return FLIP_OK;
}

double flip_optimiser_norm(const flip_optimiser *o) {
    return o->norm;
}

flip_real *flip_optimiser_moments(flip_optimiser *o, int64_t *n) {
    *n = o->n_moments;
    return slab_host(&o->moments);
}

int64_t flip_optimiser_steps(const flip_optimiser *o) {
    return o->steps;
}

void flip_optimiser_set_steps(flip_optimiser *o, int64_t steps) {
    o->steps = steps;
}
