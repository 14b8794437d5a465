/* --features given+degree: the file's rows and, of every step, log(1 + in-degree) and log(1 +
 * out-degree) in the snapshot: its distinct edges, each alive --edge-life steps after an event. */
#include "train/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An edge's stretch of life. */
typedef struct stretch {
    flip_gid dst, src;
    int32_t first, end; /* steps */
} stretch;

static int by_edge(const void *a, const void *b) {
    const stretch *x = a, *y = b;
    if (x->dst != y->dst) return x->dst < y->dst ? -1 : 1;
    if (x->src != y->src) return x->src < y->src ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static int by_source(const void *a, const void *b) {
    const stretch *x = a, *y = b;
    return (x->src > y->src) - (x->src < y->src);
}

/* The events' lives, those of one edge that touch made one. */
static flip_status list_stretches(const flip_data *data, stretch **list, int64_t *n) {
    const flip_events *events = &data->events;
    int64_t kept = 0;
    FLIP_TRY(flip_alloc(list, (size_t)events->n, sizeof **list, "lives of edges"));
    for (int64_t e = 0; e < events->n; e++) {
        int32_t t = events->step ? events->step[e] : 0;
        int64_t end = t + data->s.edge_life;
        (*list)[e] = (stretch){events->dst[e], events->src[e], t,
                               (int32_t)(end < data->steps ? end : data->steps)};
    }
    qsort(*list, (size_t)events->n, sizeof **list, by_edge);
    for (int64_t e = 0; e < events->n; e++) {
        stretch *last = kept > 0 ? &(*list)[kept - 1] : NULL, *next = &(*list)[e];
        bool joins =
            last && last->dst == next->dst && last->src == next->src && next->first <= last->end;
        if (joins && next->end > last->end) last->end = next->end;
        if (!joins) (*list)[kept++] = *next;
    }
    *n = kept;
    return FLIP_OK;
}

/* count [n_own, steps, 2]: one more in column `column` from `first` on, one less from `end` on. */
static void mark(const flip_data *data, int32_t *count, int64_t own, int column, const stretch *s) {
    int32_t *row = count + 2 * own * data->steps + column;
    row[2 * s->first]++;
    if (s->end < data->steps) row[2 * s->end]--;
}

/* Stretches to the ranks that own their sources. */
static flip_status to_sources(const flip_data *data, stretch *list, int64_t n, stretch **received,
                              int64_t *n_received) {
    int64_t *send;
    int r = 0;
    FLIP_TRY(flip_alloc_zero(&send, (size_t)flip_comm_size(data->comm), sizeof *send, "counts"));
    qsort(list, (size_t)n, sizeof *list, by_source);
    for (int64_t i = 0; i < n; i++) {
        while (list[i].src >= data->rank_first[r + 1])
            r++;
        send[r]++;
    }
    flip_status status =
        flip_comm_deal(data->comm, received, n_received, NULL, list, send, sizeof *list);
    flip_free(send);
    return status;
}

/* Running sums over the steps: the number of edges alive. */
static void add_up(const flip_data *data, int32_t *count) {
    for (int64_t v = 0; v < data->n_own; v++)
        for (int64_t i = 2; i < 2 * (int64_t)data->steps; i++)
            count[2 * v * data->steps + i] += count[2 * v * data->steps + i - 2];
}

/* count [n_own, steps, 2] of distinct in- and out-edges alive. Collective. */
static flip_status count_edges(const flip_data *data, int32_t *count) {
    flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    stretch *list = NULL, *received = NULL;
    int64_t n = 0, n_received = 0;
    flip_status status;
    FLIP_TRY_GOTO(list_stretches(data, &list, &n));
    for (int64_t i = 0; i < n; i++)
        mark(data, count, list[i].dst - first, 0, &list[i]);
    FLIP_TRY_GOTO(to_sources(data, list, n, &received, &n_received));
    for (int64_t i = 0; i < n_received; i++)
        mark(data, count, received[i].src - first, 1, &received[i]);
    add_up(data, count);
done:
    flip_free(list);
    flip_free(received);
    return status;
}

/* Rows [n_own, steps, dim] with two columns more. */
static void widen(const flip_columns *rows, int64_t n, flip_real *wide) {
    const size_t dim = (size_t)rows->dim;
    for (int64_t i = 0; i < n; i++)
        memcpy(wide + (size_t)i * (dim + 2), rows->values + (size_t)i * dim, dim * sizeof *wide);
}

flip_status flip_data_add_degrees(flip_data *data) {
    /* with one step nothing changes: the columns stand together */
    flip_columns *moving = &data->moving, *joined = data->steps == 1 ? &data->fixed : moving;
    int64_t dim = joined->dim, rows = (int64_t)data->n_own * data->steps;
    int32_t *count = NULL;
    flip_real *wide = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_data_fits(data, (double)rows * (double)(dim + 4), "degrees"));
    FLIP_TRY_GOTO(flip_alloc_zero(&count, 2 * (size_t)rows, sizeof *count, "degrees"));
    flip_meter_begin(flip_comm_meter(data->comm), FLIP_STAGE_ADJACENCY);
    status = count_edges(data, count);
    flip_meter_end(flip_comm_meter(data->comm));
    FLIP_TRY_GOTO(status);
    FLIP_TRY_GOTO(flip_alloc(&wide, (size_t)(rows * (dim + 2)), sizeof *wide, "degrees"));
    if (dim > 0) widen(joined, rows, wide);
    for (int64_t i = 0; i < 2 * rows; i++)
        wide[i / 2 * (dim + 2) + dim + i % 2] = (flip_real)log1p((double)count[i]);
    flip_free(joined->owned);
    *joined = (flip_columns){0};
    *moving = (flip_columns){.dim = (int32_t)dim + 2, .values = wide, .owned = wide};
    data->in_dim += 2;
    wide = NULL;
done:
    flip_free(count);
    flip_free(wide);
    return status;
}
