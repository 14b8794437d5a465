/* --features learned: one row of `hidden` numbers a node, trained with the model. A row lives with
 * its node's owner alone; its gradient arrives there complete, because the backward pass sums the
 * copies' gradients at the owner. So no reduction and no second copy is needed. First values depend
 * on (seed, original id, column), which makes them the same for any partition. */
#include "train/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A parameter number that no model has. */
#define INIT_KEY ((uint64_t)1 << 40)

static size_t values_of(const flip_learned *learned) {
    return (size_t)learned->n_own * (size_t)learned->dim;
}

/* Uniform within sqrt(3 / dim): rows of length about 1. */
static void draw_rows(flip_learned *learned, const int64_t *original, uint64_t seed) {
    double bound = sqrt(3.0 / learned->dim);
    for (int64_t v = 0; v < learned->n_own; v++)
        for (int32_t j = 0; j < learned->dim; j++) {
            uint64_t element = (uint64_t)original[v] * (uint64_t)learned->dim + (uint64_t)j;
            double u = flip_random_uniform(seed, FLIP_STREAM_INIT, INIT_KEY, element);
            learned->values[v * learned->dim + j] = (flip_real)((2 * u - 1) * bound);
        }
}

flip_status flip_learned_create(flip_learned **out, const flip_data *data) {
    flip_learned *learned;
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "learned features"));
    learned = *out;
    int32_t most = 1; /* steps of a block */
    for (int32_t k = 0; k < data->layout->n_blocks; k++)
        if (flip_layout_steps(data->layout, k) > most) most = flip_layout_steps(data->layout, k);
    learned->n_own = data->n_own;
    learned->dim = data->in_dim;
    size_t n = values_of(learned);
    FLIP_TRY(flip_alloc(&learned->values, n, sizeof(flip_real), "learned features"));
    FLIP_TRY(flip_alloc(&learned->best, n, sizeof(flip_real), "learned features"));
    FLIP_TRY(flip_alloc_zero(&learned->moments, 2 * n, sizeof(flip_real), "learned features"));
    FLIP_TRY(flip_alloc(&learned->gradient, n, sizeof(double), "learned features"));
    if (most > 1)
        FLIP_TRY(
            flip_alloc(&learned->input, n * (size_t)most, sizeof(flip_real), "learned features"));
    draw_rows(learned, data->original, (uint64_t)data->s.seed);
    memcpy(learned->best, learned->values, n * sizeof *learned->best);
    return FLIP_OK;
}

void flip_learned_destroy(flip_learned **learned) {
    if (!*learned) return;
    flip_free((*learned)->values);
    flip_free((*learned)->best);
    flip_free((*learned)->moments);
    flip_free((*learned)->gradient);
    flip_free((*learned)->input);
    flip_free((*learned)->name);
    flip_free(*learned);
    *learned = NULL;
}

flip_var flip_learned_input(flip_learned *learned, flip_tape *tape, int32_t steps) {
    const flip_real *rows = learned->values;
    size_t width = (size_t)learned->dim * sizeof *rows;
    if (steps > 1) {
        for (int64_t i = 0; i < (int64_t)learned->n_own * steps; i++)
            memcpy(learned->input + i * learned->dim, rows + i / steps * learned->dim, width);
        rows = learned->input;
    }
    return flip_tape_input(tape, learned->n_own, steps, learned->dim, rows, true);
}

void flip_learned_clear(flip_learned *learned) {
    memset(learned->gradient, 0, values_of(learned) * sizeof *learned->gradient);
}

flip_status flip_learned_add(flip_learned *learned, flip_tape *tape, flip_var x) {
    const flip_real *g = flip_tape_gradient(tape, x);
    int32_t steps;
    if (values_of(learned) == 0) return FLIP_OK;
    FLIP_TRY(flip_tape_status(tape));
    if (!g) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the learned features have no gradient");
    flip_tape_shape(tape, x, NULL, &steps, NULL);
    for (int64_t v = 0; v < learned->n_own; v++)
        for (int32_t j = 0; j < learned->dim; j++) {
            double sum = 0;
            for (int32_t t = 0; t < steps; t++)
                sum += (double)g[(v * steps + t) * learned->dim + j];
            learned->gradient[v * learned->dim + j] += sum;
        }
    return FLIP_OK;
}

static void step_sgd(flip_learned *learned, const flip_settings *s) {
    for (size_t i = 0; i < values_of(learned); i++) {
        double p = (double)learned->values[i];
        double m =
            s->momentum * (double)learned->moments[i] + learned->gradient[i] + s->weight_decay * p;
        learned->moments[i] = (flip_real)m;
        learned->values[i] = (flip_real)(p - s->lr * m);
    }
}

void flip_learned_step(flip_learned *learned, const flip_settings *s, int64_t epoch) {
    size_t n = values_of(learned);
    if (s->optimizer == FLIP_OPTIMISER_SGD) {
        step_sgd(learned, s);
        return;
    }
    flip_optimiser_params standard = FLIP_OPTIMISER_DEFAULTS;
    flip_adam_step step = {.lr = s->lr,
                           .beta1 = standard.beta1,
                           .beta2 = standard.beta2,
                           .epsilon = standard.epsilon,
                           .weight_decay = s->weight_decay,
                           .decoupled = s->optimizer == FLIP_OPTIMISER_ADAMW,
                           .correct1 = 1 - pow(standard.beta1, (double)epoch),
                           .correct2 = 1 - pow(standard.beta2, (double)epoch),
                           .grad_scale = 1};
    flip_kernels_get()->adam((int64_t)n, learned->values, learned->gradient, learned->moments,
                             learned->moments + n, &step);
}
