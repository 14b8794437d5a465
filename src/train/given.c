/* What non-edges are made of beside chance: active nodes, and those that the file pins (import
 * --negatives). */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- nodes that are active in a step ---- */

typedef struct active {
    int64_t node; /* original id */
    int32_t step;
} active;

static int by_step(const void *a, const void *b) {
    const active *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

/* Own nodes and their steps with in-events; events of a node and step stand together. */
static flip_status own_active(const flip_data *data, active **list, int64_t *n) {
    const flip_events *events = flip_graph_events(data->graph);
    int64_t first = data->rank_first[flip_comm_rank(data->comm)];
    FLIP_TRY(flip_alloc(list, (size_t)events->n, sizeof **list, "active nodes"));
    *n = 0;
    for (int64_t e = 0; e < events->n; e++) {
        active x = {data->original[events->dst[e] - first], events->step ? events->step[e] : 0};
        if (*n == 0 || by_step(&(*list)[*n - 1], &x) != 0) (*list)[(*n)++] = x;
    }
    return FLIP_OK;
}

flip_status flip_data_active(flip_data *data) {
    int size = flip_comm_size(data->comm);
    active *mine = NULL, *all = NULL;
    int64_t n = 0, total = 0, *counts = NULL;
    flip_links *links = &data->links;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&counts, (size_t)size, sizeof *counts, "active nodes"));
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, own_active(data, &mine, &n)));
    counts[0] = n;
    if (size > 1) FLIP_TRY_GOTO(flip_comm_gather_all(data->comm, counts, &n, sizeof n));
    for (int r = 0; r < size; r++)
        total += counts[r];
    status = flip_alloc(&all, (size_t)total, sizeof *all, "active nodes");
    if (status == FLIP_OK)
        status = flip_alloc(&links->active, (size_t)total, sizeof(int64_t), "active nodes");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&links->active_first, (size_t)data->steps + 1, sizeof(int64_t),
                                 "active nodes");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    int64_t at = 0;
    for (int r = 0; r < size; at += counts[r++]) {
        if (r == flip_comm_rank(data->comm) && n > 0)
            memcpy(all + at, mine, (size_t)n * sizeof *all);
        FLIP_TRY_GOTO(
            flip_comm_broadcast(data->comm, all + at, (size_t)counts[r] * sizeof *all, r));
    }
    qsort(all, (size_t)total, sizeof *all, by_step);
    for (int64_t i = 0; i < total; i++) {
        links->active[i] = all[i].node;
        links->active_first[all[i].step + 1]++;
    }
    for (int32_t t = 0; t < data->steps; t++)
        links->active_first[t + 1] += links->active_first[t];
done:
    flip_free(mine);
    flip_free(all);
    flip_free(counts);
    return status;
}

/* ---- pinned non-edges ---- */

enum { N_COLUMNS = 3 };
static const char *const names[N_COLUMNS] = {"negatives/step", "negatives/source",
                                             "negatives/destination"};

/* This rank's share of the rows: columns [n] each. */
static flip_status read_share(const flip_data *data, int64_t *column[N_COLUMNS], int64_t *n) {
    const flip_reader *reader = flip_graph_reader(data->graph);
    int64_t dims[3], size = flip_comm_size(data->comm), rank = flip_comm_rank(data->comm);
    FLIP_TRY(flip_reader_shape(reader, names[0], dims, NULL));
    int64_t first = dims[0] / size * rank + (rank < dims[0] % size ? rank : dims[0] % size);
    *n = dims[0] / size + (rank < dims[0] % size);
    for (int k = 0; k < N_COLUMNS; k++) {
        FLIP_TRY(flip_alloc(&column[k], (size_t)*n, sizeof *column[k], "pinned non-edges"));
        if (*n > 0)
            FLIP_TRY(flip_reader_rows(reader, names[k], FLIP_TYPE_I64, first, *n, column[k]));
        int64_t most = k == 0 ? INT32_MAX : data->info->n_nodes - 1;
        for (int64_t i = 0; i < *n; i++)
            if (column[k][i] < 0 || column[k][i] > most)
                return FLIP_FAIL(FLIP_ERROR_INPUT,
                                 "'%s' %s: item %lld is %lld, expected 0 to %lld; import it again",
                                 data->s.graph, names[k], (long long)(first + i),
                                 (long long)column[k][i], (long long)most);
    }
    return FLIP_OK;
}

flip_status flip_data_given(flip_data *data) {
    int64_t *column[N_COLUMNS] = {NULL, NULL, NULL}, sizes[3], n = 0, before = data->n_pairs;
    int64_t pinned[FLIP_PARTS] = {0, 0, 0};
    flip_gid *u = NULL, *v = NULL;
    flip_status status;
    if (!data->lead || !flip_reader_has(flip_graph_reader(data->graph), names[0]))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--eval-negatives given: '%s' %s; import it with --negatives FILE",
                         data->s.graph,
                         data->lead ? "pins no non-edges"
                                    : "has one step, pinned non-edges belong "
                                      "to graphs of several");
    FLIP_TRY(flip_data_step_split(data, sizes));
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, read_share(data, column, &n)));
    status = flip_alloc(&u, (size_t)n, sizeof *u, "pinned non-edges");
    if (status == FLIP_OK) status = flip_alloc(&v, (size_t)n, sizeof *v, "pinned non-edges");
    if (status == FLIP_OK)
        status = flip_grow(&data->pairs, (size_t)before, (size_t)(before + n), sizeof *data->pairs,
                           "pinned non-edges");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(flip_directory_find(&data->links.directory, n, column[1], u));
    FLIP_TRY_GOTO(flip_directory_find(&data->links.directory, n, column[2], v));
    for (int64_t i = 0; i < n; i++) {
        int64_t t = column[0][i], at = t - data->s.first_step; /* splits count from there */
        int part = at < sizes[0]              ? FLIP_PART_TRAIN
                   : at < sizes[0] + sizes[1] ? FLIP_PART_VALID
                                              : FLIP_PART_TEST;
        if (at < data->lead || part == FLIP_PART_TRAIN || t >= data->steps ||
            at >= sizes[0] + sizes[1] + sizes[2])
            continue;
        pinned[part]++;
        data->pairs[data->n_pairs++] = (flip_pair_item){.u = u[i],
                                                        .v = v[i],
                                                        .u_original = column[1][i],
                                                        .v_original = column[2][i],
                                                        .step = (int32_t)t,
                                                        .part = part,
                                                        .given = true};
    }
    FLIP_TRY_GOTO(flip_comm_sum_i64(data->comm, pinned, FLIP_PARTS));
    flip_data_note(data, "pinned non-edges of the file: %lld in valid, %lld in test",
                   (long long)pinned[FLIP_PART_VALID], (long long)pinned[FLIP_PART_TEST]);
done:
    for (int k = 0; k < N_COLUMNS; k++)
        flip_free(column[k]);
    flip_free(u);
    flip_free(v);
    return status;
}
