/* The generators' common machine: windows of destinations, all-to-all, sort, append. */
#include "datasets/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A window is the same whatever the number of ranks, so that the calls that append, and with them
 * the bytes of the file, are too. */
int64_t flip_generate_window = 4 << 20;
enum { WINDOW_VALUES = 8 << 20 };

/* ---- draws ------------------------------------------------------------------------------------
 */

double flip_draw_uniform(uint64_t seed, flip_draw use, int64_t step, int64_t item, int64_t k) {
    return flip_random_uniform(seed, FLIP_STREAM_GENERATE, flip_draw_a(use, step),
                               flip_draw_b(item, k));
}

double flip_draw_normal(uint64_t seed, flip_draw use, int64_t step, int64_t item, int64_t k) {
    return flip_random_normal(seed, FLIP_STREAM_GENERATE, flip_draw_a(use, step),
                              flip_draw_b(item, k));
}

int64_t flip_draw_below(uint64_t seed, flip_draw use, int64_t step, int64_t item, int64_t k,
                        int64_t n) {
    return (int64_t)flip_random_below(seed, FLIP_STREAM_GENERATE, flip_draw_a(use, step),
                                      flip_draw_b(item, k), (uint64_t)n);
}

int32_t flip_draw_round(uint64_t seed, flip_draw use, int64_t step, int64_t item, double mean) {
    double whole = floor(mean);
    return (int32_t)whole + (flip_draw_uniform(seed, use, step, item, 0) < mean - whole);
}

/* Knuth's product of uniforms (TAOCP 2, 3.4.1); a large mean is cut into pieces of 16. */
int32_t flip_draw_poisson(uint64_t seed, flip_draw use, int64_t step, int64_t item, double mean) {
    int32_t n = 0;
    int64_t k = 0;
    for (; mean > 0; mean -= 16) {
        double limit = exp(-fmin(mean, 16)), product = 1;
        for (;;) {
            product *= 1 - flip_draw_uniform(seed, use, step, item, k++);
            if (product <= limit) break;
            n++;
        }
    }
    return n;
}

/* x becomes R x, R orthogonal: pairs of columns at all distances that are powers of two are turned
 * by 45 degrees, up and down again, with seeded signs before (a randomised Hadamard transform, for
 * any n). */
static void mix_columns(uint64_t seed, int32_t n, float *x) {
    const float half = sqrtf(0.5f);
    int32_t far = 1;
    while (2 * far < n)
        far *= 2;
    for (int round = 0; round < 2; round++) {
        for (int32_t j = 0; j < n; j += 32) {
            uint64_t sign = flip_random(seed, FLIP_STREAM_GENERATE, FLIP_DRAW_AXIS,
                                        (uint64_t)round << 32 | (uint64_t)j)
                                .v[0];
            for (int32_t i = j; i < n && i < j + 32; i++, sign >>= 1)
                x[i] = sign & 1 ? -x[i] : x[i];
        }
        for (int32_t s = round ? far : 1; s >= 1 && s <= far; s = round ? s / 2 : 2 * s)
            for (int32_t j = 0; j + s < n; j++) {
                if (j & s) continue;
                float p = x[j], q = x[j + s];
                x[j] = half * (p + q);
                x[j + s] = half * (p - q);
            }
    }
}

void flip_class_features(const flip_generate_common *common, flip_gid node, int32_t class_index,
                         float *out) {
    const int32_t n = common->n_features;
    double total = 0;
    for (int32_t j = 0; j < n; j++) {
        out[j] = (float)(common->signal *
                             flip_draw_normal(common->seed, FLIP_DRAW_CENTRE, 0, class_index, j) +
                         flip_draw_normal(common->seed, FLIP_DRAW_NOISE, 0, node, j));
        total += pow(j + 1, -common->spectrum);
    }
    if (common->spectrum == 0) return;
    for (int32_t j = 0; j < n; j++)
        out[j] *= (float)sqrt(pow(j + 1, -common->spectrum) * n / total);
    mix_columns(common->seed, n, out);
}

/* ---- parameters -------------------------------------------------------------------------------
 */

flip_status flip_generate_range(const char *option, double value, double low, double high) {
    if (value >= low && value <= high) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE, "--%s is %.15g; it must be from %.15g to %.15g", option,
                     value, low, high);
}

flip_status flip_generate_check(const flip_generate_common *c, const char *name) {
    (void)name;
    FLIP_TRY(flip_generate_range("nodes", (double)c->n_nodes, 2, 0x1p40));
    FLIP_TRY(flip_generate_range("steps", c->n_steps, 1, 1 << 20));
    FLIP_TRY(flip_generate_range("features", c->n_features, 0, 1 << 16));
    FLIP_TRY(flip_generate_range("splits", c->n_splits, 0, 1000));
    FLIP_TRY(flip_generate_range("train", c->train, 0, 1));
    FLIP_TRY(flip_generate_range("valid", c->valid, 0, 1));
    FLIP_TRY(flip_generate_range("signal", c->signal, 0, 100));
    FLIP_TRY(flip_generate_range("spectrum", c->spectrum, 0, 10));
    if (c->train + c->valid > 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--train %g and --valid %g add up to more than 1",
                         c->train, c->valid);
    return FLIP_OK;
}

/* ---- the stream of events ---------------------------------------------------------------------
 */

void flip_made_push(flip_made_sink *sink, const flip_made_event *event) {
    if (event->dst < sink->first || event->dst >= sink->last || sink->status != FLIP_OK) return;
    if (sink->n == sink->capacity) {
        int64_t capacity = sink->capacity ? sink->capacity * 2 : 4096;
        sink->status = flip_grow(&sink->events, (size_t)sink->n, (size_t)capacity,
                                 sizeof *sink->events, "generated events");
        if (sink->status != FLIP_OK) return;
        sink->capacity = capacity;
    }
    sink->events[sink->n++] = *event;
}

/* First of n things that belongs to rank r of size. */
static int64_t share(int64_t n, int rank, int size) {
    return n / size * rank + n % size * rank / size;
}

static int owner_of(flip_gid node, flip_gid first, int64_t n, int size) {
    int rank = (int)((double)(node - first) / (double)n * size);
    if (rank >= size) rank = size - 1;
    while (rank > 0 && node - first < share(n, rank, size))
        rank--;
    while (rank + 1 < size && node - first >= share(n, rank + 1, size))
        rank++;
    return rank;
}

/* This rank's items of every step, for destinations of the window. */
static flip_status emit_window(const flip_generator *g, flip_made_sink *sink, int rank, int size) {
    sink->n = 0;
    sink->status = FLIP_OK;
    for (int32_t step = 0; step < g->common->n_steps; step++) {
        if (g->begin_step) FLIP_TRY(g->begin_step(g->self, step));
        int64_t n = g->n_items(g->self, step);
        for (int64_t i = share(n, rank, size); i < share(n, rank + 1, size); i++)
            g->emit(g->self, step, i, sink);
        FLIP_TRY(sink->status);
    }
    return FLIP_OK;
}

/* Moves the sink's events to the ranks that own their destinations; *out is owned by the caller. */
static flip_status exchange(flip_comm *comm, const flip_made_sink *sink, flip_made_event **out,
                            int64_t *n_out) {
    int size = flip_comm_size(comm);
    int64_t *send = NULL, *receive = NULL, *next = NULL, *table = NULL;
    flip_made_event *packed = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc_zero(&send, (size_t)size, sizeof *send, "send counts"));
    FLIP_TRY_GOTO(flip_alloc_zero(&receive, (size_t)size, sizeof *receive, "receive counts"));
    FLIP_TRY_GOTO(flip_alloc_zero(&next, (size_t)size, sizeof *next, "send places"));
    FLIP_TRY_GOTO(
        flip_alloc_zero(&table, (size_t)size * (size_t)size, sizeof *table, "count table"));
    FLIP_TRY_GOTO(flip_alloc(&packed, (size_t)sink->n, sizeof *packed, "events to send"));
    int64_t n = sink->last - sink->first;
    for (int64_t i = 0; i < sink->n; i++)
        send[owner_of(sink->events[i].dst, sink->first, n, size)]++;
    for (int r = 1; r < size; r++)
        next[r] = next[r - 1] + send[r - 1];
    for (int64_t i = 0; i < sink->n; i++)
        packed[next[owner_of(sink->events[i].dst, sink->first, n, size)]++] = sink->events[i];
    FLIP_TRY_GOTO(flip_comm_gather_all(comm, table, send, sizeof *send * (size_t)size));
    *n_out = 0;
    for (int r = 0; r < size; r++)
        *n_out += receive[r] = size == 1 ? send[0] : table[r * size + flip_comm_rank(comm)];
    if (size == 1) {
        *out = packed;
        packed = NULL;
        goto done;
    }
    FLIP_TRY_GOTO(flip_alloc(out, (size_t)*n_out, sizeof **out, "received events"));
    FLIP_TRY_GOTO(flip_comm_all_to_all(comm, packed, send, *out, receive, sizeof **out));
done:
    flip_free(send);
    flip_free(receive);
    flip_free(next);
    flip_free(table);
    flip_free(packed);
    return status;
}

/* The whole event is the key, so that equal sets are equal lists whoever sent them first. */
static int compare_events(const void *left, const void *right) {
    const flip_made_event *a = left, *b = right;
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    if (a->src != b->src) return a->src < b->src ? -1 : 1;
    if (a->weight != b->weight) return a->weight < b->weight ? -1 : 1;
    return (a->label > b->label) - (a->label < b->label);
}

typedef struct rows {
    int64_t *end;            /* [n] events of row i end here, within this rank's list */
    flip_made_event *events; /* [n_events] */
    int64_t n, n_events;
} rows;

/* Counting sort by destination, then each row by (step, source). */
static flip_status sort_rows(rows *out, flip_gid first, int64_t n, const flip_made_event *events,
                             int64_t n_events, bool merge) {
    int64_t *place = NULL;
    flip_status status = FLIP_OK;
    memset(out, 0, sizeof *out);
    out->n = n;
    FLIP_TRY_GOTO(flip_alloc_zero(&place, (size_t)n + 1, sizeof *place, "row places"));
    FLIP_TRY_GOTO(flip_alloc(&out->end, (size_t)n, sizeof *out->end, "row ends"));
    FLIP_TRY_GOTO(flip_alloc(&out->events, (size_t)n_events, sizeof *out->events, "sorted events"));
    for (int64_t i = 0; i < n_events; i++)
        place[events[i].dst - first + 1]++;
    for (int64_t v = 0; v < n; v++)
        place[v + 1] += place[v];
    for (int64_t i = 0; i < n_events; i++)
        out->events[place[events[i].dst - first]++] = events[i];
    /* place[v] is now the end of row v */
    for (int64_t v = 0, begin = 0, kept = 0; v < n; begin = place[v++]) {
        flip_made_event *row = out->events + begin;
        int64_t count = place[v] - begin;
        if (count > 1) qsort(row, (size_t)count, sizeof *row, compare_events);
        for (int64_t i = 0; i < count; i++)
            if (!merge || i == 0 || row[i].step != row[i - 1].step || row[i].src != row[i - 1].src)
                out->events[kept++] = row[i];
        out->end[v] = out->n_events = kept;
    }
done:
    flip_free(place);
    return status;
}

/* One column of the sorted events, copied out and appended. */
#define WRITE_COLUMN(name, disk, memory, ctype, field)                                             \
    do {                                                                                           \
        ctype *column_ = scratch;                                                                  \
        for (int64_t i_ = 0; i_ < r->n_events; i_++)                                               \
            column_[i_] = r->events[i_].field;                                                     \
        FLIP_TRY_GOTO(                                                                             \
            flip_writer_rows(writer, "events/" name, disk, memory, r->n_events, 0, 0, column_));   \
    } while (0)

/* Appends one window; *written is the number of events before it, moved on by all ranks' events. */
static flip_status write_window(const flip_generator *g, flip_comm *comm, flip_writer *writer,
                                const rows *r, bool first_window, int64_t *written) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    int64_t *counts = NULL, *indptr = NULL;
    void *scratch = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&counts, (size_t)size, sizeof *counts, "event counts"));
    FLIP_TRY_GOTO(flip_alloc(&indptr, (size_t)r->n + 1, sizeof *indptr, "indptr"));
    FLIP_TRY_GOTO(flip_alloc(&scratch, (size_t)r->n_events, sizeof(int64_t), "event column"));
    counts[0] = r->n_events;
    if (size > 1) FLIP_TRY_GOTO(flip_comm_gather_all(comm, counts, &r->n_events, sizeof *counts));
    int64_t before = *written, leading = first_window && rank == 0;
    for (int i = 0; i < size; i++) {
        before += i < rank ? counts[i] : 0;
        *written += counts[i];
    }
    indptr[0] = 0;
    for (int64_t v = 0; v < r->n; v++)
        indptr[leading + v] = before + r->end[v];
    FLIP_TRY_GOTO(flip_writer_rows(writer, "events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64,
                                   leading + r->n, 0, 0, indptr));
    flip_type ids = g->common->n_nodes <= INT32_MAX ? FLIP_TYPE_I32 : FLIP_TYPE_I64;
    WRITE_COLUMN("src", ids, FLIP_TYPE_I64, int64_t, src);
    if (g->common->n_steps > 1) WRITE_COLUMN("step", FLIP_TYPE_I32, FLIP_TYPE_I32, int32_t, step);
    if (g->weighted) WRITE_COLUMN("weight", FLIP_TYPE_F32, FLIP_TYPE_F32, float, weight);
    if (g->event_label_names) WRITE_COLUMN("label", FLIP_TYPE_I32, FLIP_TYPE_I32, int32_t, label);
done:
    flip_free(counts);
    flip_free(indptr);
    flip_free(scratch);
    return status;
}

static flip_status write_events(const flip_generator *g, flip_comm *comm, flip_writer *writer,
                                int64_t *n_events) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    int64_t n = g->common->n_nodes;
    int64_t windows = 1 + (int64_t)(g->expected_events / (double)flip_generate_window);
    if (windows > n) windows = n;
    flip_made_sink sink = {0};
    flip_made_event *mine = NULL;
    rows r = {0};
    flip_status status = FLIP_OK;
    *n_events = 0;
    for (int64_t w = 0; w < windows; w++) {
        int64_t n_mine = 0;
        sink.first = share(n, (int)w, (int)windows);
        sink.last = share(n, (int)w + 1, (int)windows);
        int64_t width = sink.last - sink.first, low = share(width, rank, size);
        FLIP_TRY_GOTO(flip_comm_agree(comm, emit_window(g, &sink, rank, size)));
        FLIP_TRY_GOTO(exchange(comm, &sink, &mine, &n_mine));
        FLIP_TRY_GOTO(sort_rows(&r, sink.first + low, share(width, rank + 1, size) - low, mine,
                                n_mine, g->merge_duplicates));
        FLIP_TRY_GOTO(write_window(g, comm, writer, &r, w == 0, n_events));
        flip_free(mine);
        flip_free(r.end);
        flip_free(r.events);
        mine = NULL;
        r = (rows){0};
    }
done:
    flip_free(sink.events);
    flip_free(mine);
    flip_free(r.end);
    flip_free(r.events);
    return status;
}

/* ---- node columns -----------------------------------------------------------------------------
 */

static flip_status write_features(const flip_generator *g, flip_comm *comm, flip_writer *writer) {
    int32_t width = g->common->n_features;
    if (width == 0) return FLIP_OK;
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    int64_t n = g->common->n_nodes, window = 1 + WINDOW_VALUES / width;
    float *values = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&values,
                             (size_t)((n < window ? n : window) / size + 1) * (size_t)width,
                             sizeof *values, "features"));
    for (int64_t first = 0; first < n; first += window) {
        int64_t count = n - first < window ? n - first : window;
        int64_t low = share(count, rank, size), high = share(count, rank + 1, size);
        for (int64_t i = low; i < high; i++)
            g->features(g->self, first + i, values + (i - low) * width);
        FLIP_TRY_GOTO(flip_writer_rows(writer, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32,
                                       high - low, width, 0, values));
    }
done:
    flip_free(values);
    return status;
}

/* Constant labels: one class a node. */
static flip_status write_labels(const flip_generator *g, flip_comm *comm, flip_writer *writer) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    int64_t n = g->common->n_nodes;
    int32_t *label = NULL;
    flip_status status = FLIP_OK;
    int64_t window = n < WINDOW_VALUES ? n : WINDOW_VALUES;
    FLIP_TRY_GOTO(flip_alloc(&label, (size_t)(window / size + 1), sizeof *label, "labels"));
    for (int64_t first = 0; first < n; first += window) {
        int64_t count = n - first < window ? n - first : window;
        int64_t low = share(count, rank, size), high = share(count, rank + 1, size);
        for (int64_t i = low; i < high; i++)
            label[i - low] = g->label(g->self, first + i, g->common->n_steps - 1);
        FLIP_TRY_GOTO(flip_writer_rows(writer, "labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32,
                                       high - low, 0, 0, label));
    }
done:
    flip_free(label);
    return status;
}

/* Labels that change: a row at step 0 and at each step that brings another class. */
static flip_status write_label_rows(const flip_generator *g, flip_comm *comm, flip_writer *writer) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    int64_t n = g->common->n_nodes, steps = g->common->n_steps;
    int64_t window = 1 + WINDOW_VALUES / steps;
    int64_t most = (window / size + 1) * steps;
    int64_t *node = NULL;
    int32_t *step = NULL, *label = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&node, (size_t)most, sizeof *node, "label rows"));
    FLIP_TRY_GOTO(flip_alloc(&step, (size_t)most, sizeof *step, "label rows"));
    FLIP_TRY_GOTO(flip_alloc(&label, (size_t)most, sizeof *label, "label rows"));
    for (int64_t first = 0; first < n; first += window) {
        int64_t count = n - first < window ? n - first : window, k = 0;
        for (int64_t i = share(count, rank, size); i < share(count, rank + 1, size); i++)
            for (int32_t t = 0, before = -1; t < steps; t++) {
                int32_t now = g->label(g->self, first + i, t);
                if (now == before) continue;
                node[k] = first + i;
                step[k] = t;
                label[k++] = before = now;
            }
        FLIP_TRY_GOTO(
            flip_writer_rows(writer, "labels/node", FLIP_TYPE_I64, FLIP_TYPE_I64, k, 0, 0, node));
        FLIP_TRY_GOTO(
            flip_writer_rows(writer, "labels/step", FLIP_TYPE_I32, FLIP_TYPE_I32, k, 0, 0, step));
        FLIP_TRY_GOTO(
            flip_writer_rows(writer, "labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, k, 0, 0, label));
    }
done:
    flip_free(node);
    flip_free(step);
    flip_free(label);
    return status;
}

/* splits [S, N]: row k is drawn anew; rank 0 makes one row at a time. */
static flip_status write_splits(const flip_generator *g, flip_comm *comm, flip_writer *writer) {
    const flip_generate_common *c = g->common;
    int64_t mine = flip_comm_rank(comm) == 0;
    int8_t *row = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc(&row, mine ? (size_t)c->n_nodes : 1, 1, "splits"));
    for (int32_t k = 0; k < c->n_splits; k++) {
        for (int64_t v = 0; v < c->n_nodes && mine; v++) {
            double u = flip_random_uniform(c->seed, FLIP_STREAM_SPLIT, (uint64_t)k, (uint64_t)v);
            row[v] = (int8_t)(u < c->train ? 0 : u < c->train + c->valid ? 1 : 2);
        }
        FLIP_TRY_GOTO(flip_writer_rows(writer, "splits", FLIP_TYPE_I8, FLIP_TYPE_I8, mine,
                                       c->n_nodes, 0, row));
    }
done:
    flip_free(row);
    return status;
}

static flip_status write_text(flip_comm *comm, flip_writer *writer, const char *name,
                              const char *text) {
    int64_t mine = flip_comm_rank(comm) == 0 ? (int64_t)strlen(text) : 0;
    return flip_writer_rows(writer, name, FLIP_TYPE_U8, FLIP_TYPE_U8, mine, 0, 0, text);
}

static flip_status write_attributes(const flip_generator *g, flip_writer *writer) {
    char creator[96];
    snprintf(creator, sizeof creator, "flipbook generate %s --seed %llu", g->name,
             (unsigned long long)g->common->seed);
    FLIP_TRY(flip_writer_attribute_i64(writer, "/", "n_nodes", g->common->n_nodes));
    FLIP_TRY(flip_writer_attribute_i64(writer, "/", "n_steps", g->common->n_steps));
    FLIP_TRY(flip_writer_attribute_i64(writer, "/", "n_classes", g->n_classes));
    FLIP_TRY(flip_writer_attribute_i64(writer, "/", "undirected", g->undirected));
    return flip_writer_attribute_text(writer, "/", "creator", creator);
}

flip_status flip_generator_run(const flip_generator *g, flip_comm *comm, const char *path,
                               flip_generate_counts *counts) {
    flip_writer *writer = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_writer_create(&writer, comm, path, "graph"));
    FLIP_TRY_GOTO(write_attributes(g, writer));
    FLIP_TRY_GOTO(write_events(g, comm, writer, &counts->n_events));
    FLIP_TRY_GOTO(write_features(g, comm, writer));
    if (g->labels_change)
        FLIP_TRY_GOTO(write_label_rows(g, comm, writer));
    else
        FLIP_TRY_GOTO(write_labels(g, comm, writer));
    FLIP_TRY_GOTO(write_splits(g, comm, writer));
    if (g->class_names) FLIP_TRY_GOTO(write_text(comm, writer, "labels/names", g->class_names));
    if (g->event_label_names)
        FLIP_TRY_GOTO(write_text(comm, writer, "events/label_names", g->event_label_names));
    counts->n_nodes = g->common->n_nodes;
    counts->n_steps = g->common->n_steps;
    FLIP_TRY_GOTO(flip_writer_commit(writer));
done:
    flip_writer_destroy(&writer);
    return status;
}
