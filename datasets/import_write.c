/* Sorted events and node ids into the container, in windows of a fixed number of rows. */
#include "datasets/import_private.h"

#include <stdio.h>
#include <string.h>

enum { WINDOW = 1 << 20 }; /* events written at a time */

flip_status flip_import_write_text(flip_import_state *s, const char *name, const char *text,
                                   size_t bytes) {
    if (bytes == 0) return FLIP_OK;
    return flip_writer_rows(s->writer, name, FLIP_TYPE_U8, FLIP_TYPE_U8, (int64_t)bytes, 0, 0,
                            text);
}

/* key = step << 32 | source, taken apart window by window. */
static flip_status write_keys(flip_import_state *s, int32_t *buffer) {
    const flip_events *e = &s->events;
    for (int64_t first = 0; first < e->n; first += WINDOW) {
        int64_t n = e->n - first < WINDOW ? e->n - first : WINDOW;
        for (int64_t i = 0; i < n; i++)
            buffer[i] = (int32_t)(e->key[first + i] & UINT32_MAX);
        FLIP_TRY(flip_writer_rows(s->writer, "events/src", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0,
                                  buffer));
        if (s->n_steps > 1) {
            for (int64_t i = 0; i < n; i++)
                buffer[i] = (int32_t)(e->key[first + i] >> 32);
            FLIP_TRY(flip_writer_rows(s->writer, "events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0,
                                      0, buffer));
        }
        flip_import_progress(s, "writing", (double)(first + n) / (double)e->n);
    }
    return FLIP_OK;
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
    const flip_events *e = &s->events;
    uint64_t *seen;
    FLIP_TRY(flip_alloc_zero(&seen, (size_t)e->n_nodes / 64 + 1, sizeof *seen, "nodes seen"));
    for (int64_t i = 0; i < e->n; i++) {
        uint64_t src = e->key[i] & UINT32_MAX;
        seen[src / 64] |= 1ull << src % 64;
    }
    s->report->n_isolated = 0;
    for (int64_t v = 0; v < e->n_nodes; v++)
        s->report->n_isolated += !(seen[v / 64] >> v % 64 & 1) && e->indptr[v] == e->indptr[v + 1];
    flip_free(seen);
    return FLIP_OK;
}

static flip_status count_per_step(flip_import_state *s) {
    const flip_events *e = &s->events;
    enum { COUNTED = 1 << 24 }; /* longer timelines are not looked at step by step */
    int64_t *count;
    s->report->least_events = s->report->most_events = -1;
    if (s->n_steps > COUNTED) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&count, (size_t)s->n_steps, sizeof *count, "events a step"));
    for (int64_t i = 0; i < e->n; i++)
        count[e->key[i] >> 32]++;
    s->report->least_events = s->report->most_events = count[0];
    s->report->n_empty_steps = 0;
    for (int64_t t = 0; t < s->n_steps; t++) {
        if (count[t] < s->report->least_events) s->report->least_events = count[t];
        if (count[t] > s->report->most_events) s->report->most_events = count[t];
        s->report->n_empty_steps += count[t] == 0;
    }
    flip_free(count);
    return FLIP_OK;
}

static flip_status describe_labels(flip_import_state *s) {
    const flip_events *e = &s->events;
    int64_t n_classes = s->has_sign ? 2 : s->edge_labels.n;
    int64_t *count;
    uint32_t *order = NULL;
    bool integers;
    char *out = s->report->labels;
    size_t room = sizeof s->report->labels, used = 0;
    if (!e->label) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&count, (size_t)n_classes + 1, sizeof *count, "events a class"));
    for (int64_t i = 0; i < e->n; i++)
        count[e->label[i] < 0 ? n_classes : e->label[i]]++;
    flip_status status = flip_alloc(&order, (size_t)n_classes, sizeof *order, "order of labels");
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

static void describe_weights(flip_import_state *s) {
    const flip_events *e = &s->events;
    if (!e->weight) return;
    float least = e->weight[0], most = e->weight[0];
    for (int64_t i = 0; i < e->n; i++) {
        if (e->weight[i] < least) least = e->weight[i];
        if (e->weight[i] > most) most = e->weight[i];
    }
    s->report->negative_weights = least < 0;
    snprintf(s->report->weights, sizeof s->report->weights, "%g to %g", (double)least,
             (double)most);
}

flip_status flip_import_write_events(flip_import_state *s) {
    flip_events *e = &s->events;
    int32_t *buffer;
    FLIP_TRY(count_isolated(s));
    FLIP_TRY(count_per_step(s));
    FLIP_TRY(describe_labels(s));
    describe_weights(s);
    FLIP_TRY(flip_writer_rows(s->writer, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64,
                              e->n_nodes + 1, 0, 0, e->indptr));
    FLIP_TRY(flip_alloc(&buffer, WINDOW, sizeof *buffer, "write buffer"));
    flip_status status = write_keys(s, buffer);
    flip_free(buffer);
    FLIP_TRY(status);
    if (e->weight)
        FLIP_TRY(flip_writer_rows(s->writer, "events/weight", FLIP_TYPE_F32, FLIP_TYPE_F32, e->n, 0,
                                  0, e->weight));
    if (e->label) {
        FLIP_TRY(flip_writer_rows(s->writer, "events/label", FLIP_TYPE_I32, FLIP_TYPE_I32, e->n, 0,
                                  0, e->label));
        FLIP_TRY(write_label_names(s));
    }
    return write_ids(s);
}
