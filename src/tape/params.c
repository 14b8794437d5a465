/* Parameters: one slab of values, one of gradients, and a table of names, shapes and offsets. */
#include "slab.h"

#include <flipbook/tape.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct entry {
    char name[32];
    int32_t rows, cols;
    int64_t offset;
    flip_init init;
    bool state;
} entry;

struct flip_params {
    entry *entries;
    int32_t n, capacity;
    slab values, gradients; /* flip_real, double */
    int64_t size, trainable;
    bool finished;
    flip_status status; /* of the adds so far */
};

flip_status flip_params_create(flip_params **params) {
    return flip_alloc_zero(params, 1, sizeof **params, "parameters");
}

void flip_params_destroy(flip_params **params) {
    if (!*params) return;
    flip_free((*params)->entries);
    slab_finish(&(*params)->values);
    slab_finish(&(*params)->gradients);
    flip_free(*params);
    *params = NULL;
}

static flip_status add(flip_params *params, const char *name, int32_t rows, int32_t cols,
                       flip_init init, bool state) {
    if (params->finished)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "parameter '%s' added after finish", name);
    if (rows < 1 || cols < 1 || strlen(name) >= sizeof params->entries->name)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "parameter '%s' has shape %d x %d", name, rows, cols);
    if (flip_params_find(params, name) != FLIP_PARAM_NONE)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "two parameters are named '%s'", name);
    if (params->n == params->capacity) {
        int32_t capacity = params->capacity ? 2 * params->capacity : 32;
        FLIP_TRY(flip_grow(&params->entries, (size_t)params->n, (size_t)capacity, sizeof(entry),
                           "parameter table"));
        params->capacity = capacity;
    }
    entry *e = &params->entries[params->n++];
    *e = (entry){.rows = rows, .cols = cols, .init = init, .state = state};
    snprintf(e->name, sizeof e->name, "%s", name);
    return FLIP_OK;
}

static flip_param add_sticky(flip_params *params, const char *name, int32_t rows, int32_t cols,
                             flip_init init, bool state) {
    if (params->status == FLIP_OK) params->status = add(params, name, rows, cols, init, state);
    return params->status == FLIP_OK ? params->n - 1 : FLIP_PARAM_NONE;
}

flip_param flip_params_add(flip_params *params, const char *name, int32_t rows, int32_t cols,
                           flip_init init) {
    return add_sticky(params, name, rows, cols, init, false);
}

flip_param flip_params_add_state(flip_params *params, const char *name, int32_t rows, int32_t cols,
                                 flip_init init) {
    return add_sticky(params, name, rows, cols, init, true);
}

static double bound_of(const entry *e) {
    if (e->init == FLIP_INIT_GLOROT) return sqrt(6.0 / ((double)e->rows + e->cols));
    return 1.0 / sqrt((double)e->rows);
}

static void draw(const flip_params *params, flip_param p, uint64_t seed) {
    const entry *e = &params->entries[p];
    flip_real *value = (flip_real *)params->values.host + e->offset;
    int64_t n = (int64_t)e->rows * e->cols;
    for (int64_t i = 0; i < n; i++) {
        if (e->init == FLIP_INIT_ZERO || e->init == FLIP_INIT_ONE) {
            value[i] = e->init == FLIP_INIT_ONE;
            continue;
        }
        double u = flip_random_uniform(seed, FLIP_STREAM_INIT, (uint64_t)p, (uint64_t)i);
        value[i] = (flip_real)((2 * u - 1) * bound_of(e));
    }
}

flip_status flip_params_finish(flip_params *params, uint64_t seed) {
    if (params->status != FLIP_OK) return params->status;
    if (params->finished) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "parameters finished twice");
    for (int state = 0; state < 2; state++) {
        for (flip_param p = 0; p < params->n; p++) {
            entry *e = &params->entries[p];
            if (e->state != (state == 1)) continue;
            e->offset = params->size;
            params->size += (int64_t)e->rows * e->cols;
        }
        if (state == 0) params->trainable = params->size;
    }
    size_t size = (size_t)params->size;
    FLIP_TRY(slab_init(&params->values, size, sizeof(flip_real), "parameters"));
    FLIP_TRY(slab_init(&params->gradients, size, sizeof(double), "parameter gradients"));
    for (flip_param p = 0; p < params->n; p++)
        draw(params, p, seed);
    params->finished = true;
    return flip_params_place(params, flip_kernels_get());
}

flip_status flip_params_place(flip_params *params, const flip_kernels *kernels) {
    if (!params->finished)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "parameters are placed before they are finished");
    FLIP_TRY(slab_place(&params->values, kernels, "parameters"));
    return slab_place(&params->gradients, kernels, "parameter gradients");
}

const flip_kernels *flip_params_kernels(const flip_params *params) {
    return params->values.kernels;
}

int32_t flip_params_count(const flip_params *params) {
    return params->n;
}

int64_t flip_params_size(const flip_params *params) {
    return params->size;
}

int64_t flip_params_trainable(const flip_params *params) {
    return params->trainable;
}

flip_real *flip_params_values(flip_params *params) {
    return slab_host(&params->values);
}

double *flip_params_gradients(flip_params *params) {
    return slab_host(&params->gradients);
}

flip_real *flip_params_placed_values(flip_params *params) {
    return slab_placed(&params->values);
}

double *flip_params_placed_gradients(flip_params *params) {
    return slab_placed(&params->gradients);
}

void flip_params_clear_gradients(flip_params *params) {
    slab *g = &params->gradients;
    g->out = false; /* whatever the host wrote */
    g->kernels->clear(g->placed, g->bytes);
}

const char *flip_params_name(const flip_params *params, flip_param p) {
    return params->entries[p].name;
}

void flip_params_shape(const flip_params *params, flip_param p, int32_t *rows, int32_t *cols,
                       int64_t *offset) {
    const entry *e = &params->entries[p];
    if (rows) *rows = e->rows;
    if (cols) *cols = e->cols;
    if (offset) *offset = e->offset;
}

flip_param flip_params_find(const flip_params *params, const char *name) {
    for (flip_param p = 0; p < params->n; p++)
        if (strcmp(params->entries[p].name, name) == 0) return p;
    return FLIP_PARAM_NONE;
}

flip_status flip_params_reduce(flip_params *params, flip_comm *comm) {
    flip_meter *meter = flip_comm_meter(comm);
    if (flip_comm_size(comm) == 1) return FLIP_OK;
    flip_meter_begin(meter, FLIP_STAGE_ALLREDUCE);
    const size_t n = (size_t)params->trainable;
    flip_status status = flip_comm_direct(comm)
                             ? flip_comm_sum_placed(comm, flip_params_placed_gradients(params), n)
                             : flip_comm_sum_f64(comm, flip_params_gradients(params), n);
    flip_meter_end(meter);
    return status;
}

double flip_params_norm(flip_params *params) {
    const double *g = flip_params_gradients(params);
    double sum = 0;
    for (int64_t i = 0; i < params->trainable; i++)
        sum += g[i] * g[i];
    return sqrt(sum);
}

double flip_clip_factor(double norm, double max_norm) {
    return fmin(1.0, max_norm / (norm + 1e-6));
}

void flip_params_scale_gradients(flip_params *params, double factor) {
    double *g = flip_params_gradients(params);
    for (int64_t i = 0; i < params->trainable; i++)
        g[i] *= factor;
}
