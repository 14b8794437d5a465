/* What nodes carry, to their owners: features, labels, targets, splits, original ids.
 *
 * Two forms: one row for every node, and rows (node, step, values) that change. A feature row or a
 * label holds until the next change; targets are what was measured and do not carry over. */
#include "graph/shard.h"

#include <math.h>
#include <string.h>

/* ---- one row a node ---- */

static flip_status read_in_place(flip_loader *l, flip_row_read *read, const void *what,
                                 size_t bytes, char *out) {
    const flip_graph *g = l->g;
    const int64_t most = flip_window_rows(bytes);
    for (int64_t at = 0, n; at < g->n_own; at += n) {
        n = g->n_own - at < most ? g->n_own - at : most;
        FLIP_TRY(read(l, what, g->first + at, n, out + (size_t)at * bytes));
    }
    return FLIP_OK;
}

typedef struct buffers {
    char *rows, *arrived;
    flip_gid *id, *arrived_id;
    int32_t *owner, *step, *arrived_step;
} buffers;

static void free_buffers(buffers *b) {
    flip_free(b->rows);
    flip_free(b->arrived);
    flip_free(b->id);
    flip_free(b->arrived_id);
    flip_free(b->owner);
    flip_free(b->step);
    flip_free(b->arrived_step);
    *b = (buffers){0};
}

static flip_status allocate_window(buffers *b, int64_t n, size_t bytes) {
    FLIP_TRY(flip_alloc(&b->rows, (size_t)n, bytes, "window of rows"));
    FLIP_TRY(flip_alloc(&b->id, (size_t)n, sizeof *b->id, "window of rows"));
    FLIP_TRY(flip_alloc(&b->step, (size_t)n, sizeof *b->step, "window of rows"));
    return flip_alloc(&b->owner, (size_t)n, sizeof *b->owner, "window of rows");
}

static flip_status allocate_arrived(buffers *b, int64_t n, size_t bytes) {
    flip_free(b->arrived);
    flip_free(b->arrived_id);
    flip_free(b->arrived_step);
    b->arrived_id = NULL;
    b->arrived_step = NULL;
    FLIP_TRY(flip_alloc(&b->arrived, (size_t)n, bytes, "window of rows"));
    FLIP_TRY(flip_alloc(&b->arrived_id, (size_t)n, sizeof *b->arrived_id, "window of rows"));
    return flip_alloc(&b->arrived_step, (size_t)n, sizeof *b->arrived_step, "window of rows");
}

/* A window of rows with their ids (and steps) to the owners; *n is how many came. */
static flip_status exchange(flip_loader *l, flip_status mine, buffers *b, int64_t *n, size_t bytes,
                            bool steps) {
    flip_status status;
    flip_route route;
    flip_comm *comm = l->g->comm;
    for (int64_t i = 0; mine == FLIP_OK && i < *n; i++)
        b->owner[i] = flip_owner_of(l->g, b->id[i]);
    FLIP_TRY_GOTO(flip_route_begin(&route, comm, mine, b->owner, *n));
    FLIP_TRY_GOTO(flip_comm_agree(comm, allocate_arrived(b, route.n_receive, bytes)));
    FLIP_TRY_GOTO(flip_route_move(&route, b->id, sizeof *b->id, b->arrived_id));
    FLIP_TRY_GOTO(flip_route_move(&route, b->rows, bytes, b->arrived));
    if (steps) FLIP_TRY_GOTO(flip_route_move(&route, b->step, sizeof *b->step, b->arrived_step));
    *n = route.n_receive;
done:
    flip_route_finish(&route);
    return status;
}

flip_status flip_load_node_rows(flip_loader *l, flip_row_read *read, const void *what, size_t bytes,
                                void *out) {
    flip_graph *g = l->g;
    if (l->in_place) return flip_comm_agree(g->comm, read_in_place(l, read, what, bytes, out));
    int rank = flip_comm_rank(g->comm);
    const int64_t most = flip_window_rows(bytes + sizeof(flip_gid));
    int64_t first = flip_slab_first(g->comm, l->n_nodes, rank);
    int64_t last = flip_slab_first(g->comm, l->n_nodes, rank + 1);
    int64_t rounds = (flip_slab_first(g->comm, l->n_nodes, 1) + most - 1) / most;
    buffers b = {0};
    flip_status mine = allocate_window(&b, last - first < most ? last - first : most, bytes),
                status;
    for (int64_t k = 0; k < rounds; k++) {
        int64_t begin = first + k * most, n = last - begin < most ? last - begin : most;
        if (n < 0) n = 0;
        if (mine == FLIP_OK && n > 0) mine = read(l, what, begin, n, b.rows);
        for (int64_t i = 0; mine == FLIP_OK && i < n; i++)
            b.id[i] = flip_loader_id(l, begin + i);
        FLIP_TRY_GOTO(exchange(l, mine, &b, &n, bytes, false));
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)out + (size_t)(b.arrived_id[i] - g->first) * bytes,
                   b.arrived + (size_t)i * bytes, bytes);
    }
    status = flip_comm_agree(g->comm, mine);
done:
    free_buffers(&b);
    return status;
}

/* ---- rows that change ---- */

static flip_status read_changes(flip_loader *l, const flip_row_changes *c, int64_t first, int64_t n,
                                buffers *b, int64_t *kept) {
    const flip_graph *g = l->g;
    const size_t bytes = (size_t)c->width * flip_type_size(c->type);
    FLIP_TRY(flip_reader_rows(l->reader, c->node, FLIP_TYPE_I64, first, n, b->id));
    FLIP_TRY(flip_reader_rows(l->reader, c->step, FLIP_TYPE_I32, first, n, b->step));
    FLIP_TRY(flip_reader_rows(l->reader, c->values, c->type, first, n, b->rows));
    *kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (b->id[i] < 0 || b->id[i] >= l->n_nodes || b->step[i] < 0 || b->step[i] >= g->file_steps)
            return FLIP_FAIL(
                FLIP_ERROR_INPUT,
                "'%s' %s: row %lld is node %lld at step %d; nodes are 0 to %lld, steps "
                "0 to %d; import it again",
                flip_reader_path(l->reader), c->node, (long long)(first + i), (long long)b->id[i],
                b->step[i], (long long)l->n_nodes - 1, g->file_steps - 1);
        if (b->step[i] >= g->info.n_steps) continue;
        b->id[*kept] = flip_loader_id(l, b->id[i]);
        b->step[*kept] = b->step[i];
        memmove(b->rows + (size_t)*kept * bytes, b->rows + (size_t)i * bytes, bytes);
        ++*kept;
    }
    return FLIP_OK;
}

flip_status flip_load_changes(flip_loader *l, const flip_row_changes *c, flip_row_take *take,
                              void *to) {
    flip_graph *g = l->g;
    int64_t dims[3] = {0};
    FLIP_TRY(flip_reader_shape(l->reader, c->node, dims, NULL));
    const size_t bytes = (size_t)c->width * flip_type_size(c->type);
    const int64_t most = flip_window_rows(bytes + sizeof(flip_gid));
    int rank = flip_comm_rank(g->comm);
    int64_t first = flip_slab_first(g->comm, dims[0], rank);
    int64_t last = flip_slab_first(g->comm, dims[0], rank + 1);
    int64_t rounds = (flip_slab_first(g->comm, dims[0], 1) + most - 1) / most;
    buffers b = {0};
    flip_status mine = allocate_window(&b, last - first < most ? last - first : most, bytes),
                status;
    for (int64_t k = 0; k < rounds; k++) {
        int64_t begin = first + k * most, n = last - begin < most ? last - begin : most;
        if (n < 0) n = 0;
        if (mine == FLIP_OK && n > 0) mine = read_changes(l, c, begin, n, &b, &n);
        FLIP_TRY_GOTO(exchange(l, mine, &b, &n, bytes, true));
        for (int64_t i = 0; i < n; i++)
            take(to, (int32_t)(b.arrived_id[i] - g->first), b.arrived_step[i],
                 b.arrived + (size_t)i * bytes);
    }
    status = flip_comm_agree(g->comm, mine);
done:
    free_buffers(&b);
    return status;
}

/* rows [n_own, steps] of `bytes`; seen [n_own, steps], or NULL, marks those that came. */
typedef struct spread {
    char *rows;
    uint8_t *seen;
    size_t steps, bytes;
} spread;

static void take_spread(void *to, int32_t node, int32_t step, const void *row) {
    const spread *s = to;
    size_t at = (size_t)node * s->steps + (size_t)step;
    memcpy(s->rows + at * s->bytes, row, s->bytes);
    if (s->seen) s->seen[at] = 1;
}

static flip_status load_spread(flip_loader *l, const flip_row_changes *c, void *out,
                               uint8_t *seen) {
    spread s = {.rows = out,
                .seen = seen,
                .steps = (size_t)l->g->info.n_steps,
                .bytes = (size_t)c->width * flip_type_size(c->type)};
    return flip_load_changes(l, c, take_spread, &s);
}

/* A row holds until the next change. */
static void carry_forward(const flip_graph *g, const uint8_t *seen, char *rows, size_t bytes) {
    const size_t steps = (size_t)g->info.n_steps;
    for (size_t v = 0; v < (size_t)g->n_own; v++)
        for (size_t t = 1; t < steps; t++)
            if (!seen[v * steps + t])
                memcpy(rows + (v * steps + t) * bytes, rows + (v * steps + t - 1) * bytes, bytes);
}

static flip_status load_carried(flip_loader *l, const flip_row_changes *c, void *out) {
    flip_status status;
    flip_graph *g = l->g;
    uint8_t *seen = NULL;
    status = flip_alloc_zero(&seen, (size_t)g->n_own * (size_t)g->info.n_steps, 1, "changes");
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, status));
    FLIP_TRY_GOTO(load_spread(l, c, out, seen));
    carry_forward(g, seen, out, (size_t)c->width * flip_type_size(c->type));
done:
    flip_free(seen);
    return status;
}

/* ---- features ---- */

static flip_status read_dense(const flip_loader *l, const void *what, int64_t first, int64_t count,
                              void *out) {
    (void)what;
    return flip_reader_rows(l->reader, "features/values", FLIP_TYPE_REAL, first, count, out);
}

/* Sparse rows, made dense on the way. */
static flip_status read_sparse(const flip_loader *l, const void *what, int64_t first, int64_t count,
                               void *out) {
    (void)what;
    flip_status status;
    const int64_t width = l->g->info.n_features;
    int64_t *indptr = NULL, n;
    int32_t *index = NULL;
    flip_real *value = NULL, *rows = out;
    FLIP_TRY_GOTO(flip_alloc(&indptr, (size_t)count + 1, sizeof *indptr, "sparse features"));
    FLIP_TRY_GOTO(
        flip_reader_rows(l->reader, "features/indptr", FLIP_TYPE_I64, first, count + 1, indptr));
    n = indptr[count] - indptr[0];
    for (int64_t i = 0; i < count; i++)
        if (indptr[i + 1] < indptr[i]) n = -1;
    if (n < 0) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' features/indptr falls; import it again",
                           flip_reader_path(l->reader));
        goto done;
    }
    FLIP_TRY_GOTO(flip_alloc(&index, (size_t)n, sizeof *index, "sparse features"));
    FLIP_TRY_GOTO(
        flip_reader_rows(l->reader, "features/indices", FLIP_TYPE_I32, indptr[0], n, index));
    if (flip_reader_has(l->reader, "features/values")) {
        FLIP_TRY_GOTO(flip_alloc(&value, (size_t)n, sizeof *value, "sparse features"));
        FLIP_TRY_GOTO(
            flip_reader_rows(l->reader, "features/values", FLIP_TYPE_REAL, indptr[0], n, value));
    }
    memset(rows, 0, (size_t)count * (size_t)width * sizeof *rows);
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = indptr[i] - indptr[0]; k < indptr[i + 1] - indptr[0]; k++) {
            if (index[k] < 0 || index[k] >= width) {
                status = FLIP_FAIL(FLIP_ERROR_INPUT,
                                   "'%s' features/indices of node %lld: %d, expected 0 to %lld; "
                                   "import it again",
                                   flip_reader_path(l->reader), (long long)(first + i), index[k],
                                   (long long)width - 1);
                goto done;
            }
            rows[i * width + index[k]] += value ? value[k] : 1;
        }
done:
    flip_free(indptr);
    flip_free(index);
    flip_free(value);
    return status;
}

/* Of all ranks' values: are some neither 0 nor 1, are some below 0? */
static flip_status judge_values(flip_loader *l, size_t n) {
    flip_graph *g = l->g;
    int64_t some[2] = {0, 0};
    for (size_t i = 0; i < n; i++) {
        some[0] |= g->features[i] != 0 && g->features[i] != 1;
        some[1] |= g->features[i] < 0;
    }
    FLIP_TRY(flip_comm_max_i64(g->comm, some, 2));
    g->info.features_binary = !some[0];
    g->info.features_negative = some[1];
    return FLIP_OK;
}

static flip_status load_features(flip_loader *l) {
    flip_graph *g = l->g;
    if (g->codec) return flip_load_codes(l);
    const size_t width = (size_t)g->info.n_features;
    if (width == 0) return FLIP_OK;
    const size_t steps = g->info.features_change ? (size_t)g->info.n_steps : 1;
    const size_t n = (size_t)g->n_own * steps * width;
    flip_status status = flip_alloc(&g->features, n, sizeof *g->features, "features");
    FLIP_TRY(flip_comm_agree(g->comm, status));
    if (g->info.features_change) {
        flip_row_changes c = {.node = "features/node",
                              .step = "features/step",
                              .values = "features/values",
                              .type = FLIP_TYPE_REAL,
                              .width = (int64_t)width};
        memset(g->features, 0, n * sizeof *g->features);
        FLIP_TRY(load_carried(l, &c, g->features));
    } else {
        FLIP_TRY(flip_load_node_rows(l, g->info.features_sparse ? read_sparse : read_dense, NULL,
                                     width * sizeof *g->features, g->features));
    }
    return judge_values(l, n);
}

/* ---- labels, targets, splits ---- */

static flip_status read_labels(const flip_loader *l, const void *what, int64_t first, int64_t count,
                               void *out) {
    (void)what;
    return flip_reader_rows(l->reader, "labels/class", FLIP_TYPE_I32, first, count, out);
}

/* Also counts the classes of a file that does not say how many. */
static flip_status check_labels(const flip_loader *l, size_t n) {
    flip_graph *g = l->g;
    int64_t largest = -1;
    for (size_t i = 0; i < n; i++)
        if (g->labels[i] > largest) largest = g->labels[i];
    FLIP_TRY(flip_comm_max_i64(g->comm, &largest, 1));
    if (g->info.n_classes == 0) g->info.n_classes = (int32_t)(largest + 1);
    for (size_t i = 0; i < n; i++)
        if (g->labels[i] < -1 || g->labels[i] >= g->info.n_classes)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' labels/class: %d, expected -1 to %d; import it again",
                             flip_reader_path(l->reader), g->labels[i], g->info.n_classes - 1);
    return FLIP_OK;
}

static flip_status load_labels(flip_loader *l) {
    flip_graph *g = l->g;
    if (!flip_reader_has(l->reader, "labels/class")) return FLIP_OK;
    const size_t n = (size_t)g->n_own * (g->info.labels_change ? (size_t)g->info.n_steps : 1);
    FLIP_TRY(flip_comm_agree(g->comm, flip_alloc(&g->labels, n, sizeof *g->labels, "labels")));
    if (g->info.labels_change) {
        flip_row_changes c = {.node = "labels/node",
                              .step = "labels/step",
                              .values = "labels/class",
                              .type = FLIP_TYPE_I32,
                              .width = 1};
        memset(g->labels, 0xff, n * sizeof *g->labels); /* -1 */
        FLIP_TRY(load_carried(l, &c, g->labels));
    } else {
        FLIP_TRY(flip_load_node_rows(l, read_labels, NULL, sizeof *g->labels, g->labels));
    }
    return flip_comm_agree(g->comm, check_labels(l, n));
}

static flip_status read_targets(const flip_loader *l, const void *what, int64_t first,
                                int64_t count, void *out) {
    (void)what;
    return flip_reader_block(l->reader, "targets/values", FLIP_TYPE_REAL, first, count, 0,
                             l->g->info.n_steps, out);
}

static flip_status load_targets(flip_loader *l) {
    flip_graph *g = l->g;
    const size_t row = (size_t)g->info.n_steps * (size_t)g->info.n_targets;
    if (g->info.n_targets == 0) return FLIP_OK;
    flip_status status =
        flip_alloc(&g->targets, (size_t)g->n_own * row, sizeof *g->targets, "targets");
    FLIP_TRY(flip_comm_agree(g->comm, status));
    if (!flip_reader_has(l->reader, "targets/node"))
        return flip_load_node_rows(l, read_targets, NULL, row * sizeof *g->targets, g->targets);
    flip_row_changes c = {.node = "targets/node",
                          .step = "targets/step",
                          .values = "targets/values",
                          .type = FLIP_TYPE_REAL,
                          .width = g->info.n_targets};
    for (size_t i = 0; i < (size_t)g->n_own * row; i++)
        g->targets[i] = (flip_real)NAN;
    return load_spread(l, &c, g->targets, NULL);
}

static flip_status read_split(const flip_loader *l, const void *what, int64_t first, int64_t count,
                              void *out) {
    return flip_reader_block(l->reader, "splits", FLIP_TYPE_I8, *(const int32_t *)what, 1, first,
                             count, out);
}

static flip_status load_splits(flip_loader *l) {
    flip_graph *g = l->g;
    if (g->info.n_splits == 0) return FLIP_OK;
    flip_status status =
        flip_alloc(&g->splits, (size_t)g->info.n_splits, (size_t)g->n_own, "splits");
    FLIP_TRY(flip_comm_agree(g->comm, status));
    for (int32_t k = 0; k < g->info.n_splits; k++)
        FLIP_TRY(
            flip_load_node_rows(l, read_split, &k, 1, g->splits + (size_t)k * (size_t)g->n_own));
    return FLIP_OK;
}

/* ---- original ids ---- */

static flip_status read_original(const flip_loader *l, const void *what, int64_t first,
                                 int64_t count, void *out) {
    (void)what;
    if (flip_reader_has(l->reader, "nodes/original"))
        return flip_reader_rows(l->reader, "nodes/original", FLIP_TYPE_I64, first, count, out);
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)out)[i] = first + i;
    return FLIP_OK;
}

static flip_status load_original(flip_loader *l) {
    flip_graph *g = l->g;
    flip_status status =
        flip_alloc(&g->original, (size_t)g->n_own, sizeof *g->original, "original ids");
    FLIP_TRY(flip_comm_agree(g->comm, status));
    FLIP_TRY(flip_load_node_rows(l, read_original, NULL, sizeof *g->original, g->original));
    for (int32_t v = 0; v < g->n_own; v++)
        if (g->original[v] < 0 || g->original[v] >= l->n_nodes)
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' nodes/original: %lld, expected 0 to %lld; partition it again",
                               flip_reader_path(l->reader), (long long)g->original[v],
                               (long long)l->n_nodes - 1);
    return flip_comm_agree(g->comm, status);
}

flip_status flip_load_rows(flip_loader *l) {
    FLIP_TRY(load_original(l));
    FLIP_TRY(load_features(l));
    FLIP_TRY(load_labels(l));
    FLIP_TRY(load_targets(l));
    return load_splits(l);
}
