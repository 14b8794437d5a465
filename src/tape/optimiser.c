/* Optimisers: one pass over the parameter slab. Adam (Kingma and Ba, 2015, algorithm 1), AdamW
 * (Loshchilov and Hutter, 2019), SGD with momentum. Gradients come in double. */
#include <flipbook/tape.h>

#include <math.h>
#include <string.h>

struct flip_optimiser {
    flip_params *params; /* borrowed */
    flip_optimiser_params settings;
    const flip_kernels *kernels; /* the parameters', whose memory has `placed` */
    flip_real *moments, *placed; /* Adam: m [n] then v [n]; SGD: m [n]; on a CPU one */
    bool out;                    /* moments are in the host's hands */
    int64_t n, n_moments, steps;
    double norm;
};

flip_status flip_optimiser_create(flip_optimiser **optimiser, flip_params *params,
                                  const flip_optimiser_params *settings) {
    FLIP_TRY(flip_alloc_zero(optimiser, 1, sizeof **optimiser, "optimiser"));
    flip_optimiser *o = *optimiser;
    o->params = params;
    o->settings = *settings;
    o->n = flip_params_trainable(params);
    o->n_moments = settings->kind == FLIP_OPTIMISER_SGD ? o->n : 2 * o->n;
    flip_status status =
        flip_alloc_zero(&o->moments, (size_t)o->n_moments, sizeof(flip_real), "optimiser moments");
    o->placed = o->moments;
    o->kernels = flip_params_kernels(params);
    if (status == FLIP_OK && o->kernels->on_device) {
        o->out = true;
        status = o->kernels->take(&o->placed, (size_t)o->n_moments * sizeof(flip_real),
                                  "optimiser moments");
    }
    if (status != FLIP_OK) flip_optimiser_destroy(optimiser);
    return status;
}

void flip_optimiser_destroy(flip_optimiser **optimiser) {
    if (!*optimiser) return;
    if ((*optimiser)->placed != (*optimiser)->moments)
        (*optimiser)->kernels->give_back((*optimiser)->placed);
    flip_free((*optimiser)->moments);
    flip_free(*optimiser);
    *optimiser = NULL;
}

/* The moments where the kernels have them. */
static flip_real *placed(flip_optimiser *o) {
    if (o->out && o->placed != o->moments)
        o->kernels->send(o->placed, o->moments, (size_t)o->n_moments * sizeof(flip_real));
    o->out = false;
    return o->placed;
}

static void sgd(flip_optimiser *o, double scale) {
    const flip_optimiser_params *s = &o->settings;
    flip_sgd_step step = {
        .lr = s->lr, .momentum = s->momentum, .weight_decay = s->weight_decay, .grad_scale = scale};
    o->kernels->sgd(o->n, flip_params_placed_values(o->params),
                    flip_params_placed_gradients(o->params), placed(o), &step);
}

static void adam(flip_optimiser *o, double scale) {
    const flip_optimiser_params *s = &o->settings;
    flip_adam_step step = {.lr = s->lr,
                           .beta1 = s->beta1,
                           .beta2 = s->beta2,
                           .epsilon = s->epsilon,
                           .weight_decay = s->weight_decay,
                           .decoupled = s->kind == FLIP_OPTIMISER_ADAMW,
                           .correct1 = 1 - pow(s->beta1, (double)o->steps),
                           .correct2 = 1 - pow(s->beta2, (double)o->steps),
                           .grad_scale = scale};
    flip_real *m = placed(o);
    o->kernels->adam(o->n, flip_params_placed_values(o->params),
                     flip_params_placed_gradients(o->params), m, m + o->n, &step);
}

flip_status flip_optimiser_step(flip_optimiser *o) {
    double scale = 1;
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

double flip_optimiser_norm(const flip_optimiser *o) {
    return o->norm;
}

flip_real *flip_optimiser_moments(flip_optimiser *o, int64_t *n) {
    *n = o->n_moments;
    if (!o->out && o->placed != o->moments)
        o->kernels->receive(o->moments, o->placed, (size_t)o->n_moments * sizeof(flip_real));
    o->out = true;
    return o->moments;
}

int64_t flip_optimiser_steps(const flip_optimiser *o) {
    return o->steps;
}

void flip_optimiser_set_steps(flip_optimiser *o, int64_t steps) {
    o->steps = steps;
}
