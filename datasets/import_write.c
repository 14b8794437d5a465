/* Sorted events and node ids into the container, in windows of a fixed number of rows. */
#include "datasets/import_private.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

enum { WINDOW = 1 << 20 }; /* events written at a time */

flip_status flip_import_write_text(flip_import_state *s, const char *name, const char *text,
                                   size_t bytes) {
    if (bytes == 0) return FLIP_OK;
    return flip_writer_rows(s->writer, name, FLIP_TYPE_U8, FLIP_TYPE_U8, (int64_t)bytes, 0, 0,
                            text);
}

typedef struct window {
    uint64_t *key;  /* [WINDOW] step << 32 | source */
    float *weight;  /* [WINDOW] */
    int32_t *label; /* [WINDOW] */
    int32_t *part;  /* [WINDOW] sources, then steps */
    int64_t *start; /* [WINDOW] */
} window;

static void window_free(window *w) {
    flip_free(w->key);
    flip_free(w->weight);
    flip_free(w->label);
    flip_free(w->part);
    flip_free(w->start);
}

static flip_status window_allocate(window *w) {
    FLIP_TRY(flip_alloc(&w->key, WINDOW, sizeof *w->key, "write buffer"));
    FLIP_TRY(flip_alloc(&w->weight, WINDOW, sizeof *w->weight, "write buffer"));
    FLIP_TRY(flip_alloc(&w->label, WINDOW, sizeof *w->label, "write buffer"));
    FLIP_TRY(flip_alloc(&w->part, WINDOW, sizeof *w->part, "write buffer"));
    return flip_alloc(&w->start, WINDOW, sizeof *w->start, "write buffer");
}

static bool writes(const flip_import_state *s) {
    return flip_comm_rank(s->p->comm) == 0;
}

/* On rank 0; the others only had to send. */
static flip_status write_rows(flip_import_state *s, const char *name, flip_type type, int64_t n,
                              const void *rows) {
    return writes(s) ? flip_writer_rows(s->writer, name, type, type, n, 0, 0, rows) : FLIP_OK;
}

static flip_status write_starts(flip_import_state *s, window *w) {
    int64_t n_nodes = s->numbering.n_nodes;
    for (int64_t first = 0; first < n_nodes; first += WINDOW) {
        int64_t n = n_nodes - first < WINDOW ? n_nodes - first : WINDOW;
        FLIP_TRY(flip_import_gather(s, s->node_first, s->events.indptr, sizeof *w->start, first, n,
                                    w->start));
        FLIP_TRY(write_rows(s, "events/indptr", FLIP_TYPE_I64, n, w->start));
    }
    return write_rows(s, "events/indptr", FLIP_TYPE_I64, 1, &s->n_events);
}

static flip_status write_window(flip_import_state *s, window *w, int64_t first, int64_t n) {
    const flip_event_rows *e = &s->events;
    FLIP_TRY(flip_import_gather(s, s->event_first, e->key, sizeof *w->key, first, n, w->key));
    for (int64_t i = 0; i < n && writes(s); i++)
        w->part[i] = (int32_t)(w->key[i] & UINT32_MAX);
    FLIP_TRY(write_rows(s, "events/src", FLIP_TYPE_I32, n, w->part));
    for (int64_t i = 0; i < n && writes(s); i++)
        w->part[i] = (int32_t)(w->key[i] >> 32);
    if (s->n_steps > 1) FLIP_TRY(write_rows(s, "events/step", FLIP_TYPE_I32, n, w->part));
    if (s->weighted) {
        FLIP_TRY(flip_import_gather(s, s->event_first, e->weight, sizeof *w->weight, first, n,
                                    w->weight));
        FLIP_TRY(write_rows(s, "events/weight", FLIP_TYPE_F32, n, w->weight));
    }
    if (s->labelled) {
        FLIP_TRY(
            flip_import_gather(s, s->event_first, e->label, sizeof *w->label, first, n, w->label));
        FLIP_TRY(write_rows(s, "events/label", FLIP_TYPE_I32, n, w->label));
    }
    flip_import_progress(s, "writing", (double)(first + n) / (double)s->n_events);
    return FLIP_OK;
}

static flip_status write_windows(flip_import_state *s) {
    window w = {0};
    flip_status status;
    FLIP_TRY_GOTO(window_allocate(&w));
    FLIP_TRY_GOTO(write_starts(s, &w));
    for (int64_t first = 0; first < s->n_events; first += WINDOW)
        FLIP_TRY_GOTO(write_window(s, &w, first,
                                   s->n_events - first < WINDOW ? s->n_events - first : WINDOW));
done:
    window_free(&w);
    return status;
}

static flip_status write_label_names(flip_import_state *s) {
    uint32_t *order;
    char *text;
    size_t bytes;
    bool integers;
    if (s->has_sign) return flip_import_write_text(s, "events/label_names", "-1\n1\n", 5);
    FLIP_TRY(flip_alloc(&order, (size_t)s->edge_labels.n, sizeof *order, "order of labels"));
    flip_status status = flip_names_order(&s->edge_labels, order, &integers);
    if (status == FLIP_OK)
        status = flip_names_join(&s->edge_labels, order, '\n', &text, NULL, &bytes);
    if (status == FLIP_OK) {
        status = flip_import_write_text(s, "events/label_names", text, bytes);
        flip_free(text);
    }
    flip_free(order);
    return status;
}

static flip_status write_ids(flip_import_state *s) {
    const flip_numbering *n = &s->numbering;
    if (n->number)
        FLIP_TRY(flip_writer_rows(s->writer, "nodes/number", FLIP_TYPE_I64, FLIP_TYPE_I64,
                                  n->n_nodes, 0, 0, n->number));
    if (!n->name_ptr) return FLIP_OK;
    FLIP_TRY(flip_writer_rows(s->writer, "nodes/name_ptr", FLIP_TYPE_I64, FLIP_TYPE_I64,
                              n->n_nodes + 1, 0, 0, n->name_ptr));
    return flip_import_write_text(s, "nodes/name", n->name, n->name_bytes);
}

/* ---- what the closing page tells of the events ---- */

static flip_status count_isolated(flip_import_state *s) {
    const flip_event_rows *e = &s->events;
    int64_t n_nodes = s->numbering.n_nodes, own = s->node_first[flip_comm_rank(s->p->comm)];
    size_t n_words = (size_t)n_nodes / 64 + 1;
    uint64_t *seen;
    FLIP_TRY(flip_alloc_zero(&seen, n_words, sizeof *seen, "nodes seen"));
    for (int64_t i = 0; i < e->n; i++) {
        uint64_t src = e->key[i] & UINT32_MAX;
        seen[src / 64] |= 1ull << src % 64;
    }
    for (int64_t v = 0; v < e->n_nodes; v++)
        if (e->indptr[v] < e->indptr[v + 1]) seen[(own + v) / 64] |= 1ull << (own + v) % 64;
    flip_status status = flip_import_or(s, seen, n_words);
    s->report->n_isolated = n_nodes;
    for (size_t w = 0; w < n_words; w++)
        s->report->n_isolated -= __builtin_popcountll(seen[w]);
    flip_free(seen);
    return status;
}

static flip_status count_per_step(flip_import_state *s) {
    const flip_event_rows *e = &s->events;
    enum { COUNTED = 1 << 24 }; /* longer timelines are not looked at step by step */
    int64_t *count;
    s->report->least_events = s->report->most_events = -1;
    if (s->n_steps > COUNTED) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&count, (size_t)s->n_steps, sizeof *count, "events a step"));
    for (int64_t i = 0; i < e->n; i++)
        count[e->key[i] >> 32]++;
    flip_status status = flip_comm_sum_i64(s->p->comm, count, (size_t)s->n_steps);
    s->report->least_events = s->report->most_events = count[0];
    s->report->n_empty_steps = 0;
    for (int64_t t = 0; t < s->n_steps; t++) {
        if (count[t] < s->report->least_events) s->report->least_events = count[t];
        if (count[t] > s->report->most_events) s->report->most_events = count[t];
        s->report->n_empty_steps += count[t] == 0;
    }
    flip_free(count);
    return status;
}

static flip_status describe_labels(flip_import_state *s) {
    const flip_event_rows *e = &s->events;
    int64_t n_classes = s->has_sign ? 2 : s->edge_labels.n;
    int64_t *count;
    uint32_t *order = NULL;
    bool integers;
    char *out = s->report->labels;
    size_t room = sizeof s->report->labels, used = 0;
    if (!s->labelled) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&count, (size_t)n_classes + 1, sizeof *count, "events a class"));
    for (int64_t i = 0; i < e->n; i++)
        count[e->label[i] < 0 ? n_classes : e->label[i]]++;
    flip_status status = flip_comm_sum_i64(s->p->comm, count, (size_t)n_classes + 1);
    if (status == FLIP_OK)
        status = flip_alloc(&order, (size_t)n_classes, sizeof *order, "order of labels");
    if (status == FLIP_OK && !s->has_sign)
        status = flip_names_order(&s->edge_labels, order, &integers);
    used += (size_t)snprintf(out, room, "%lld classes:", (long long)n_classes);
    for (int64_t c = 0; c < n_classes && c < 8 && status == FLIP_OK && used < room - 1; c++) {
        size_t length = 0;
        const char *name =
            s->has_sign ? (c ? "1" : "-1") : flip_names_text(&s->edge_labels, order[c], &length);
        if (s->has_sign) length = strlen(name);
        int wrote = snprintf(out + used, room - used, "%s '%.*s' %lld", c ? "," : "",
                             length < 24 ? (int)length : 24, name, (long long)count[c]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (n_classes > 8 && used < room) used += (size_t)snprintf(out + used, room - used, ", …");
    if (count[n_classes] && used < room)
        snprintf(out + used, room - used, "; %lld edges without a label",
                 (long long)count[n_classes]);
    flip_free(order);
    flip_free(count);
    return status;
}

static flip_status describe_weights(flip_import_state *s) {
    const flip_event_rows *e = &s->events;
    double least = FLT_MAX, most = -FLT_MAX;
    if (!s->weighted) return FLIP_OK;
    for (int64_t i = 0; i < e->n; i++) {
        if (e->weight[i] < least) least = e->weight[i];
        if (e->weight[i] > most) most = e->weight[i];
    }
    FLIP_TRY(flip_import_range_f64(s, &least, &most));
    s->report->negative_weights = least < 0;
    snprintf(s->report->weights, sizeof s->report->weights, "%g to %g", least, most);
    return FLIP_OK;
}

flip_status flip_import_write_events(flip_import_state *s) {
    FLIP_TRY(count_isolated(s));
    FLIP_TRY(count_per_step(s));
    FLIP_TRY(describe_labels(s));
    FLIP_TRY(describe_weights(s));
    FLIP_TRY(write_windows(s));
    if (!writes(s)) return FLIP_OK;
    if (s->labelled) FLIP_TRY(write_label_names(s));
    return write_ids(s);
}
