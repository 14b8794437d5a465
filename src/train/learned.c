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

flip_status flip_learned_add(flip_learned *learned, const flip_tape *tape, flip_var x) {
    const flip_real *g = flip_tape_gradient(tape, x);
    int32_t steps;
    if (values_of(learned) == 0) return FLIP_OK;
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

/* ---- in a checkpoint ---- */

flip_status flip_learned_write(const flip_learned *learned, flip_writer *writer, flip_type type,
                               const int64_t *original) {
    int64_t n = learned->n_own, dim = learned->dim;
    size_t half = values_of(learned);
    FLIP_TRY(flip_writer_rows(writer, "embedding/original", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0,
                              original));
    FLIP_TRY(flip_writer_rows(writer, "embedding/current", type, type, n, dim, 0, learned->values));
    FLIP_TRY(flip_writer_rows(writer, "embedding/best", type, type, n, dim, 0, learned->best));
    FLIP_TRY(
        flip_writer_rows(writer, "embedding/moment1", type, type, n, dim, 0, learned->moments));
    return flip_writer_rows(writer, "embedding/moment2", type, type, n, dim, 0,
                            learned->moments + half);
}

/* Where the rows of this rank's slab of the file go: rows [n] in the order of their new ids. */
typedef struct route {
    int64_t first, n, n_in;  /* slab of the file; rows that arrive */
    int64_t *order;          /* [n] slab row to send i-th */
    int64_t *send, *receive; /* [size] rows */
    int64_t *at;             /* [n_in] own row of the i-th arrival */
} route;

static void route_finish(route *r) {
    flip_free(r->order);
    flip_free(r->send);
    flip_free(r->at);
}

typedef struct place {
    flip_gid gid;
    int64_t row;
} place;

static int by_gid(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->gid > y->gid) - (x->gid < y->gid);
}

/* places [n] sorted by new id, then counts and own rows exchanged. */
static flip_status fill_route(route *r, const flip_data *data, place *places) {
    int size = flip_comm_size(data->comm);
    flip_gid mine = data->rank_first[flip_comm_rank(data->comm)], *gid = NULL;
    int64_t *one = r->send + 2 * size;
    flip_status status;
    qsort(places, (size_t)r->n, sizeof *places, by_gid);
    FLIP_TRY_GOTO(flip_alloc(&gid, (size_t)r->n, sizeof *gid, "learned features"));
    for (int64_t i = 0, to = 0; i < r->n; i++) {
        while (places[i].gid >= data->rank_first[to + 1])
            to++;
        r->send[to]++;
        r->order[i] = places[i].row;
        gid[i] = places[i].gid;
    }
    for (int k = 0; k < size; k++)
        one[k] = 1;
    if (size == 1)
        r->receive[0] = r->send[0];
    else
        FLIP_TRY_GOTO(flip_comm_all_to_all(data->comm, r->send, one, r->receive, one, sizeof *one));
    for (int k = 0; k < size; k++)
        r->n_in += r->receive[k];
    FLIP_TRY_GOTO(flip_alloc(&r->at, (size_t)r->n_in, sizeof *r->at, "learned features"));
    if (size == 1)
        memcpy(r->at, gid, (size_t)r->n * sizeof *gid);
    else
        FLIP_TRY_GOTO(
            flip_comm_all_to_all(data->comm, gid, r->send, r->at, r->receive, sizeof *gid));
    for (int64_t i = 0; i < r->n_in; i++)
        r->at[i] -= mine;
done:
    flip_free(gid);
    return status;
}

static flip_status make_route(route *r, const flip_data *data, const flip_reader *reader) {
    int size = flip_comm_size(data->comm), rank = flip_comm_rank(data->comm);
    int64_t *original = NULL, n_nodes = data->info->n_nodes;
    flip_directory directory = {0};
    flip_gid *gid = NULL;
    place *places = NULL;
    flip_status status;
    r->first = n_nodes * rank / size;
    r->n = n_nodes * (rank + 1) / size - r->first;
    FLIP_TRY_GOTO(flip_alloc(&original, (size_t)r->n, sizeof *original, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&gid, (size_t)r->n, sizeof *gid, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&places, (size_t)r->n, sizeof *places, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&r->order, (size_t)r->n, sizeof *r->order, "learned features"));
    FLIP_TRY_GOTO(flip_alloc_zero(&r->send, 3 * (size_t)size, sizeof *r->send, "counts"));
    r->receive = r->send + size;
    FLIP_TRY_GOTO(
        flip_reader_rows(reader, "embedding/original", FLIP_TYPE_I64, r->first, r->n, original));
    for (int64_t i = 0; i < r->n; i++)
        if (original[i] < 0 || original[i] >= n_nodes) {
            status = FLIP_FAIL(FLIP_ERROR_INPUT, "checkpoint '%s', embedding/original: found %lld",
                               flip_reader_path(reader), (long long)original[i]);
            goto done;
        }
    FLIP_TRY_GOTO(flip_directory_create(&directory, data->comm, data->graph));
    FLIP_TRY_GOTO(flip_directory_find(&directory, r->n, original, gid));
    for (int64_t i = 0; i < r->n; i++)
        places[i] = (place){gid[i], i};
    FLIP_TRY_GOTO(fill_route(r, data, places));
done:
    flip_directory_finish(&directory);
    flip_free(original);
    flip_free(gid);
    flip_free(places);
    return status;
}

/* Rows of one dataset into out [n_own, dim]. */
static flip_status fetch_rows(const route *r, const flip_data *data, const flip_reader *reader,
                              const char *name, flip_type type, int32_t dim, flip_real *out) {
    size_t width = (size_t)dim * sizeof *out;
    flip_real *slab = NULL, *sorted = NULL, *received = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&slab, (size_t)r->n, width, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&sorted, (size_t)r->n, width, "learned features"));
    FLIP_TRY_GOTO(flip_alloc(&received, (size_t)r->n_in, width, "learned features"));
    FLIP_TRY_GOTO(flip_reader_rows(reader, name, type, r->first, r->n, slab));
    for (int64_t i = 0; i < r->n; i++)
        memcpy(sorted + i * dim, slab + r->order[i] * dim, width);
    if (flip_comm_size(data->comm) == 1)
        memcpy(received, sorted, (size_t)r->n * width);
    else
        FLIP_TRY_GOTO(
            flip_comm_all_to_all(data->comm, sorted, r->send, received, r->receive, width));
    for (int64_t i = 0; i < r->n_in; i++)
        memcpy(out + r->at[i] * dim, received + i * dim, width);
done:
    flip_free(slab);
    flip_free(sorted);
    flip_free(received);
    return status;
}

flip_status flip_learned_read(flip_learned *learned, const flip_data *data,
                              const flip_reader *reader, flip_type type, bool state) {
    int64_t dims[3];
    flip_type stored;
    route r = {0};
    flip_status status;
    if (!flip_reader_has(reader, "embedding/current"))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "checkpoint '%s' has no learned features",
                         flip_reader_path(reader));
    FLIP_TRY(flip_reader_shape(reader, "embedding/current", dims, &stored));
    if (dims[0] != data->info->n_nodes || dims[1] != learned->dim)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "checkpoint '%s' has learned features of %lld nodes x %lld, '%s' needs "
                         "%lld x %d; learned features belong to the nodes they were trained on",
                         flip_reader_path(reader), (long long)dims[0], (long long)dims[1],
                         data->s.graph, (long long)data->info->n_nodes, learned->dim);
    size_t half = values_of(learned);
    int32_t dim = learned->dim;
    FLIP_TRY_GOTO(make_route(&r, data, reader));
    FLIP_TRY_GOTO(fetch_rows(&r, data, reader, "embedding/best", type, dim, learned->best));
    if (!state) {
        memcpy(learned->values, learned->best, half * sizeof *learned->best);
        goto done;
    }
    FLIP_TRY_GOTO(fetch_rows(&r, data, reader, "embedding/current", type, dim, learned->values));
    FLIP_TRY_GOTO(fetch_rows(&r, data, reader, "embedding/moment1", type, dim, learned->moments));
    FLIP_TRY_GOTO(
        fetch_rows(&r, data, reader, "embedding/moment2", type, dim, learned->moments + half));
done:
    route_finish(&r);
    return status;
}
