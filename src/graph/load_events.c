/* Events of a file to the ranks that own their destinations.
 *
 * Slabs end between two destinations, so the events of a node come from one rank and in the order
 * of the file. How many a rank will own is counted first: memory is taken once and exactly. */
#include "graph/shard.h"

#include <string.h>

/* The slab this rank reads: file rows (destinations) first … last-1, events begin … end-1. */
typedef struct slab {
    int64_t first, last, begin, end;
    int64_t *indptr; /* [last - first + 1] */
    bool filter;     /* steps beyond the last are left out */
} slab;

/* A window of events on its way: src, step, weight, label as the file has them. */
typedef struct window {
    int64_t n;
    flip_gid *dst, *src;
    int32_t *step, *label;
    float *weight;
    int32_t *owner;
} window;

static flip_status event_error(const flip_loader *l, const char *what, int64_t at, int64_t found,
                               int64_t limit) {
    return FLIP_FAIL(
        FLIP_ERROR_INPUT, "'%s' events/%s: item %lld is %lld, expected 0 to %lld; import it again",
        flip_reader_path(l->reader), what, (long long)at, (long long)found, (long long)limit);
}

/* The first destination whose events begin at or after `event`. */
static flip_status find_row(const flip_loader *l, int64_t event, int64_t *row) {
    int64_t low = 0, high = l->n_nodes;
    while (low < high) {
        int64_t mid = low + (high - low) / 2, at;
        FLIP_TRY(flip_reader_rows(l->reader, "events/indptr", FLIP_TYPE_I64, mid, 1, &at));
        if (at < event)
            low = mid + 1;
        else
            high = mid;
    }
    *row = low;
    return FLIP_OK;
}

static flip_status open_slab(const flip_loader *l, slab *s) {
    flip_graph *g = l->g;
    int rank = flip_comm_rank(g->comm);
    s->first = g->first;
    s->last = g->first + g->n_own;
    if (!l->in_place) {
        int64_t n = g->info.n_events;
        FLIP_TRY(find_row(l, flip_slab_first(g->comm, n, rank), &s->first));
        s->last = l->n_nodes;
        if (rank + 1 < flip_comm_size(g->comm))
            FLIP_TRY(find_row(l, flip_slab_first(g->comm, n, rank + 1), &s->last));
        if (rank == 0) s->first = 0;
    }
    int64_t rows = s->last - s->first;
    FLIP_TRY(flip_alloc(&s->indptr, (size_t)rows + 1, sizeof *s->indptr, "event pointers"));
    FLIP_TRY(
        flip_reader_rows(l->reader, "events/indptr", FLIP_TYPE_I64, s->first, rows + 1, s->indptr));
    for (int64_t i = 0; i < rows; i++)
        if (s->indptr[i] < 0 || s->indptr[i + 1] < s->indptr[i] ||
            s->indptr[i + 1] > g->info.n_events)
            return event_error(l, "indptr", s->first + i + 1, s->indptr[i + 1], g->info.n_events);
    s->begin = s->indptr[0];
    s->end = s->indptr[rows];
    s->filter = g->info.n_steps < l->g->file_steps;
    return FLIP_OK;
}

/* counts [size] += events of this slab kept, by owner. */
static flip_status count_slab(const flip_loader *l, const slab *s, int64_t *counts) {
    const int32_t steps = l->g->info.n_steps;
    const int64_t most = flip_window_rows(sizeof(int32_t));
    int32_t *step = NULL;
    int64_t from = 0, until = 0; /* the window of steps in memory */
    if (s->filter) FLIP_TRY(flip_alloc(&step, (size_t)most, sizeof *step, "steps of events"));
    flip_status status = FLIP_OK;
    for (int64_t row = s->first; row < s->last && status == FLIP_OK; row++) {
        int64_t *count = &counts[flip_owner_of(l->g, flip_loader_id(l, row))];
        int64_t begin = s->indptr[row - s->first], end = s->indptr[row - s->first + 1];
        if (!s->filter) *count += end - begin;
        for (int64_t i = begin; s->filter && i < end; i++) {
            if (i >= until) {
                from = i;
                until = s->end - i < most ? s->end : i + most;
                FLIP_TRY_GOTO(flip_reader_rows(l->reader, "events/step", FLIP_TYPE_I32, from,
                                               until - from, step));
            }
            *count += step[i - from] < steps;
        }
    }
done:
    flip_free(step);
    return status;
}

/* Final arrays of the shard, exactly as large as needed. */
static flip_status allocate_events(flip_loader *l, int64_t n) {
    flip_graph *g = l->g;
    FLIP_TRY(flip_alloc(&g->dst, (size_t)n, sizeof *g->dst, "events"));
    FLIP_TRY(flip_alloc(&g->src, (size_t)n, sizeof *g->src, "events"));
    if (g->info.n_steps > 1)
        FLIP_TRY(flip_alloc(&g->step, (size_t)n, sizeof *g->step, "steps of events"));
    if (g->info.weighted)
        FLIP_TRY(flip_alloc(&g->weight, (size_t)n, sizeof *g->weight, "weights of events"));
    if (g->info.edge_labels)
        FLIP_TRY(
            flip_alloc(&g->event_label, (size_t)n, sizeof *g->event_label, "labels of events"));
    g->events =
        (flip_events){.n = n, .dst = g->dst, .src = g->src, .step = g->step, .weight = g->weight};
    return FLIP_OK;
}

static flip_status allocate_window(const flip_loader *l, window *w, int64_t n) {
    const flip_graph *g = l->g;
    size_t count = (size_t)n;
    FLIP_TRY(flip_alloc(&w->dst, count, sizeof *w->dst, "window of events"));
    FLIP_TRY(flip_alloc(&w->src, count, sizeof *w->src, "window of events"));
    FLIP_TRY(flip_alloc(&w->owner, count, sizeof *w->owner, "window of events"));
    if (l->g->file_steps > 1)
        FLIP_TRY(flip_alloc(&w->step, count, sizeof *w->step, "window of events"));
    if (g->info.weighted)
        FLIP_TRY(flip_alloc(&w->weight, count, sizeof *w->weight, "window of events"));
    if (g->info.edge_labels)
        FLIP_TRY(flip_alloc(&w->label, count, sizeof *w->label, "window of events"));
    return FLIP_OK;
}

static void free_window(window *w) {
    flip_free(w->dst);
    flip_free(w->src);
    flip_free(w->owner);
    flip_free(w->step);
    flip_free(w->weight);
    flip_free(w->label);
    *w = (window){0};
}

/* Events begin … begin+n-1 of the file, new ids, those of late steps left out. *row: where to go
 * on looking for the destination. */
static flip_status read_window(const flip_loader *l, const slab *s, int64_t begin, int64_t n,
                               int64_t *row, window *w) {
    const flip_graph *g = l->g;
    FLIP_TRY(flip_reader_rows(l->reader, "events/src", FLIP_TYPE_I64, begin, n, w->src));
    if (w->step)
        FLIP_TRY(flip_reader_rows(l->reader, "events/step", FLIP_TYPE_I32, begin, n, w->step));
    if (w->weight)
        FLIP_TRY(flip_reader_rows(l->reader, "events/weight", FLIP_TYPE_F32, begin, n, w->weight));
    if (w->label)
        FLIP_TRY(flip_reader_rows(l->reader, "events/label", FLIP_TYPE_I32, begin, n, w->label));
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        while (s->indptr[*row + 1] <= begin + i)
            ++*row;
        if (w->src[i] < 0 || w->src[i] >= l->n_nodes)
            return event_error(l, "src", begin + i, w->src[i], l->n_nodes - 1);
        if (w->step && (w->step[i] < 0 || w->step[i] >= g->file_steps))
            return event_error(l, "step", begin + i, w->step[i], g->file_steps - 1);
        if (w->step && w->step[i] >= g->info.n_steps) continue;
        w->dst[kept] = flip_loader_id(l, s->first + *row);
        w->src[kept] = flip_loader_id(l, w->src[i]);
        if (w->step) w->step[kept] = w->step[i];
        if (w->weight) w->weight[kept] = w->weight[i];
        if (w->label) w->label[kept] = w->label[i];
        kept++;
    }
    w->n = kept;
    return FLIP_OK;
}

static void append_weights(flip_graph *g, int64_t at, const float *weight, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        g->weight[at + i] = weight[i];
}

/* A window whose events are all mine. */
static void append(flip_graph *g, int64_t at, const window *w) {
    size_t n = (size_t)w->n;
    memcpy(g->dst + at, w->dst, n * sizeof *w->dst);
    memcpy(g->src + at, w->src, n * sizeof *w->src);
    if (g->step) memcpy(g->step + at, w->step, n * sizeof *w->step);
    if (g->event_label) memcpy(g->event_label + at, w->label, n * sizeof *w->label);
    if (g->weight) append_weights(g, at, w->weight, w->n);
}

/* A window to the owners; what comes back is appended. */
static flip_status exchange(flip_loader *l, flip_status mine, window *w, int64_t *at) {
    flip_status status;
    flip_graph *g = l->g;
    flip_route route;
    float *weight = NULL;
    for (int64_t i = 0; mine == FLIP_OK && i < w->n; i++)
        w->owner[i] = flip_owner_of(g, w->dst[i]);
    FLIP_TRY_GOTO(flip_route_begin(&route, g->comm, mine, w->owner, w->n));
    status = *at + route.n_receive <= g->events.n
                 ? FLIP_OK
                 : FLIP_FAIL(FLIP_ERROR_INTERNAL, "more events arrive than were counted");
    if (status == FLIP_OK && g->weight)
        status = flip_alloc(&weight, (size_t)route.n_receive, sizeof *weight, "window of events");
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, status));
    FLIP_TRY_GOTO(flip_route_move(&route, w->dst, sizeof *w->dst, g->dst + *at));
    FLIP_TRY_GOTO(flip_route_move(&route, w->src, sizeof *w->src, g->src + *at));
    if (g->step) FLIP_TRY_GOTO(flip_route_move(&route, w->step, sizeof *w->step, g->step + *at));
    if (g->event_label)
        FLIP_TRY_GOTO(flip_route_move(&route, w->label, sizeof *w->label, g->event_label + *at));
    if (g->weight) {
        FLIP_TRY_GOTO(flip_route_move(&route, w->weight, sizeof *w->weight, weight));
        append_weights(g, *at, weight, route.n_receive);
    }
    *at += route.n_receive;
done:
    flip_free(weight);
    flip_route_finish(&route);
    return status;
}

/* All windows of the slab; as many rounds on every rank. */
static flip_status move_events(flip_loader *l, const slab *s) {
    flip_graph *g = l->g;
    window w = {0};
    const int64_t most = flip_window_rows(2 * sizeof(flip_gid));
    int64_t length = s->end - s->begin, rounds = (length + most - 1) / most, row = 0, at = 0;
    if (!l->in_place) FLIP_TRY(flip_comm_max_i64(g->comm, &rounds, 1));
    flip_status mine = allocate_window(l, &w, length < most ? length : most), status = mine;
    for (int64_t k = 0; k < rounds; k++) {
        int64_t begin = s->begin + k * most, n = s->end - begin < most ? s->end - begin : most;
        w.n = 0;
        if (mine == FLIP_OK && n > 0) mine = read_window(l, s, begin, n, &row, &w);
        if (l->in_place) {
            if (mine != FLIP_OK) break;
            append(g, at, &w);
            at += w.n;
        } else {
            FLIP_TRY_GOTO(exchange(l, mine, &w, &at));
        }
    }
    status = mine;
    if (status == FLIP_OK && at != g->events.n)
        status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "%lld events were counted, %lld arrived",
                           (long long)g->events.n, (long long)at);
done:
    free_window(&w);
    return status;
}

/* Classes of the events' labels, from the labels themselves. */
static flip_status count_classes(flip_loader *l) {
    flip_graph *g = l->g;
    int64_t range[2] = {-1, 1}; /* largest, -smallest */
    for (int64_t i = 0; g->event_label && i < g->events.n; i++) {
        if (g->event_label[i] > range[0]) range[0] = g->event_label[i];
        if (-(int64_t)g->event_label[i] > range[1]) range[1] = -(int64_t)g->event_label[i];
    }
    FLIP_TRY(flip_comm_max_i64(g->comm, range, 2));
    if (range[1] > 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' events/label: %lld, expected -1 or a class from 0; import it again",
                         flip_reader_path(l->reader), -(long long)range[1]);
    g->info.n_edge_classes = (int32_t)(range[0] + 1);
    return FLIP_OK;
}

flip_status flip_load_events(flip_loader *l) {
    flip_status status;
    flip_comm *comm = l->g->comm;
    slab s = {0};
    int64_t *counts = NULL;
    status = flip_alloc_zero(&counts, (size_t)flip_comm_size(comm), sizeof *counts, "event counts");
    if (status == FLIP_OK) status = open_slab(l, &s);
    if (status == FLIP_OK) status = count_slab(l, &s, counts);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_comm_sum_i64(comm, counts, (size_t)flip_comm_size(comm)));
    l->g->info.n_events = 0;
    for (int r = 0; r < flip_comm_size(comm); r++)
        l->g->info.n_events += counts[r];
    FLIP_TRY_GOTO(flip_comm_agree(comm, allocate_events(l, counts[flip_comm_rank(comm)])));
    FLIP_TRY_GOTO(flip_comm_agree(comm, move_events(l, &s)));
    status = count_classes(l);
done:
    flip_free(s.indptr);
    flip_free(counts);
    return status;
}
