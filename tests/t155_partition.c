/* partition: the same for any number of ranks; figures equal to brute force; the renumbered file is
 * the same graph under other names. */
#include "ranks.h"

#include <flipbook/import.h>
#include <flipbook/partition.h>
#include <partition/internal.h>
#include <partition/move.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static flip_comm *world;
static char folder[64];
static uint64_t counter;

static int64_t below(int64_t n) {
    return (int64_t)flip_random_below(5, FLIP_STREAM_TEST, 1, counter++, (uint64_t)n);
}

static void path_of(char out[128], const char *name) {
    snprintf(out, 128, "%s/%s.h5", folder, name);
}

/* ---- a small dynamic graph with everything a file may hold ---- */

enum { F = 3, K = 2, S = 2, MOST = 4000 };

typedef struct event {
    int64_t dst, src;
    int32_t step, label;
    float weight;
} event;

typedef struct toy {
    int64_t n, n_events;
    int32_t n_steps;
    event events[MOST];
    int sparse, changing, named; /* features CSR or rows that change; labels change; text names */
} toy;

static int by_row(const void *left, const void *right) {
    const event *a = left, *b = right;
    if (a->dst != b->dst) return a->dst < b->dst ? -1 : 1;
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    if (a->src != b->src) return a->src < b->src ? -1 : 1;
    return (a->weight > b->weight) - (a->weight < b->weight);
}

static void toy_make(toy *t, int64_t n, int64_t n_events, int32_t n_steps) {
    *t = (toy){.n = n, .n_events = n_events, .n_steps = n_steps};
    t->sparse = (int)below(2);
    t->changing = (int)below(2);
    t->named = (int)below(2);
    int64_t shape = below(3);
    for (int64_t e = 0; e < n_events; e++) {
        int64_t a = below(n), b = below(n);
        if (shape == 1 && below(3)) a = below(1 + n / 10); /* hubs */
        if (shape == 2) b = (a + below(5)) % n;            /* a band; self loops */
        t->events[e] =
            (event){a, b, (int32_t)below(n_steps), (int32_t)below(3) - 1, (float)below(1000) / 8};
        if (e > 0 && below(10) == 0) t->events[e] = t->events[e - 1]; /* doubled */
    }
    qsort(t->events, (size_t)n_events, sizeof *t->events, by_row);
}

/* Values are functions of the node, so that they can be told after renumbering. */
static float feature(int64_t v, int64_t j, int64_t step) {
    return (float)(v * 100 + j * 10 + step);
}
static int32_t class_of(int64_t v, int64_t step) {
    return (int32_t)((v * 7 + step) % 5) - 1;
}
static int32_t rows_of(const toy *t, int64_t v) {
    return (int32_t)(v % 3) < t->n_steps ? (int32_t)(v % 3) : t->n_steps;
}
static int64_t number_of(int64_t v) {
    return 1000000007LL * v - 5;
}

static void put(flip_writer *w, const char *name, flip_type type, int64_t n, int64_t d2, int64_t d3,
                const void *data) {
    CHECK_OK(flip_writer_rows(w, name, type, type, n, d2, d3, data));
}

static void write_events(const toy *t, flip_writer *w) {
    int64_t *ptr = calloc((size_t)t->n + 1, sizeof *ptr);
    int32_t *src = calloc(MOST, 4), *step = calloc(MOST, 4), *label = calloc(MOST, 4);
    float *weight = calloc(MOST, 4);
    for (int64_t e = 0; e < t->n_events; e++) {
        ptr[t->events[e].dst + 1]++;
        src[e] = (int32_t)t->events[e].src;
        step[e] = t->events[e].step;
        label[e] = t->events[e].label;
        weight[e] = t->events[e].weight;
    }
    for (int64_t v = 0; v < t->n; v++)
        ptr[v + 1] += ptr[v];
    put(w, "events/indptr", FLIP_TYPE_I64, t->n + 1, 0, 0, ptr);
    put(w, "events/src", FLIP_TYPE_I32, t->n_events, 0, 0, src);
    if (t->n_steps > 1) put(w, "events/step", FLIP_TYPE_I32, t->n_events, 0, 0, step);
    put(w, "events/weight", FLIP_TYPE_F32, t->n_events, 0, 0, weight);
    put(w, "events/label", FLIP_TYPE_I32, t->n_events, 0, 0, label);
    put(w, "events/label_names", FLIP_TYPE_U8, 5, 0, 0, "no\nye");
    void *all[] = {ptr, src, step, label, weight};
    for (size_t i = 0; i < 5; i++)
        free(all[i]);
}

static void write_features(const toy *t, flip_writer *w) {
    int64_t rows = 0, *ptr = calloc((size_t)t->n + 1, 8), *node = calloc((size_t)t->n * 3 + 1, 8);
    float *values = calloc((size_t)t->n * 3 * F + 1, 4);
    int32_t *step = calloc((size_t)t->n * 3 + 1, 4), *label = calloc((size_t)t->n * 3 + 1, 4);
    for (int64_t v = 0; v < t->n; v++) {
        for (int32_t r = 0; r < rows_of(t, v); r++, rows++) {
            node[rows] = v;
            step[rows] = r;
            label[rows] = class_of(v, r);
            for (int j = 0; j < F; j++)
                values[rows * (t->sparse ? 1 : F) + (t->sparse ? 0 : j)] = feature(v, j, r);
        }
        ptr[v + 1] = rows;
    }
    if (t->sparse) {
        put(w, "features/indptr", FLIP_TYPE_I64, t->n + 1, 0, 0, ptr);
        put(w, "features/indices", FLIP_TYPE_I32, rows, 0, 0, step);
        put(w, "features/values", FLIP_TYPE_F32, rows, 0, 0, values);
        CHECK_OK(flip_writer_attribute_i64(w, "features", "n_columns", F));
    } else if (t->changing) {
        put(w, "features/node", FLIP_TYPE_I64, rows, 0, 0, node);
        put(w, "features/step", FLIP_TYPE_I32, rows, 0, 0, step);
        put(w, "features/values", FLIP_TYPE_F32, rows, F, 0, values);
    } else {
        for (int64_t v = 0; v < t->n; v++)
            for (int j = 0; j < F; j++)
                values[v * F + j] = feature(v, j, 0);
        put(w, "features/values", FLIP_TYPE_F32, t->n, F, 0, values);
    }
    if (t->changing) {
        put(w, "labels/node", FLIP_TYPE_I64, rows, 0, 0, node);
        put(w, "labels/step", FLIP_TYPE_I32, rows, 0, 0, step);
        put(w, "labels/class", FLIP_TYPE_I32, rows, 0, 0, label);
    } else {
        for (int64_t v = 0; v < t->n; v++)
            label[v] = class_of(v, 0);
        put(w, "labels/class", FLIP_TYPE_I32, t->n, 0, 0, label);
    }
    put(w, "labels/names", FLIP_TYPE_U8, 7, 0, 0, "a\nb\nc\nd");
    void *all[] = {ptr, node, values, step, label};
    for (size_t i = 0; i < 5; i++)
        free(all[i]);
}

static void write_nodes(const toy *t, flip_writer *w) {
    int64_t *ptr = calloc((size_t)t->n + 1, 8), *number = calloc((size_t)t->n + 1, 8);
    int8_t *split = calloc((size_t)t->n * S + 1, 1);
    char *names = calloc((size_t)t->n + 1, 16);
    float *target = calloc((size_t)(t->n * t->n_steps) + 1, 4 * K);
    for (int64_t v = 0; v < t->n; v++) {
        number[v] = number_of(v);
        ptr[v + 1] = ptr[v] + sprintf(names + ptr[v], "n%lld", (long long)v);
        for (int s = 0; s < S; s++)
            split[s * t->n + v] = (int8_t)((v + s) % 4 - 1);
        for (int64_t i = 0; i < t->n_steps * K; i++)
            target[v * t->n_steps * K + i] = feature(v, i, 1);
    }
    put(w, "splits", FLIP_TYPE_I8, S, t->n, 0, split);
    put(w, "targets/values", FLIP_TYPE_F32, t->n, t->n_steps, K, target);
    if (t->named) {
        put(w, "nodes/name_ptr", FLIP_TYPE_I64, t->n + 1, 0, 0, ptr);
        put(w, "nodes/name", FLIP_TYPE_U8, ptr[t->n], 0, 0, names);
    } else {
        put(w, "nodes/number", FLIP_TYPE_I64, t->n, 0, 0, number);
    }
    void *all[] = {ptr, number, split, names, target};
    for (size_t i = 0; i < 5; i++)
        free(all[i]);
}

static void toy_write(const toy *t, const char *path) {
    flip_writer *w = NULL;
    CHECK_OK(flip_writer_create(&w, NULL, path, "graph"));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_nodes", t->n));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_steps", t->n_steps));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "n_classes", 4));
    CHECK_OK(flip_writer_attribute_i64(w, "/", "undirected", 0));
    CHECK_OK(flip_writer_attribute_f64(w, "/", "step_zero", 1.5));
    CHECK_OK(flip_writer_attribute_f64(w, "/", "step_width", 2.5));
    CHECK_OK(flip_writer_attribute_text(w, "/", "creator", "t155"));
    write_events(t, w);
    write_features(t, w);
    write_nodes(t, w);
    CHECK_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

/* ---- brute force ---- */

static void check_shape(const toy *t, const flip_partition *p, bool filled) {
    char *seen = calloc((size_t)t->n + 1, 1);
    CHECK(p->n_nodes == t->n && p->part_first[0] == 0 && p->part_first[p->n_parts] == t->n,
          "ranges of %d parts", p->n_parts);
    for (int64_t i = 0; i < t->n; i++) {
        CHECK(p->order[i] >= 0 && p->order[i] < t->n && !seen[p->order[i]], "order[%lld]",
              (long long)i);
        seen[p->order[i]] = 1;
    }
    for (int32_t k = 0; k < p->n_parts; k++)
        CHECK(p->part_first[k + 1] - p->part_first[k] >= (filled && t->n >= p->n_parts),
              "part %d of %d is empty", k, p->n_parts);
    free(seen);
}

static int32_t *parts_of(const flip_partition *p) {
    int32_t *part = malloc(sizeof *part * (size_t)(p->n_nodes + 1));
    for (int32_t k = 0; k < p->n_parts; k++)
        for (int64_t i = p->part_first[k]; i < p->part_first[k + 1]; i++)
            part[p->order[i]] = k;
    return part;
}

static void check_figures(const toy *t, const flip_partition *p, const flip_partition_row *rows,
                          int32_t n_rows) {
    int32_t *part = parts_of(p);
    int64_t cut = 0;
    for (int64_t e = 0; e < t->n_events; e++)
        cut += part[t->events[e].dst] != part[t->events[e].src];
    CHECK(cut == p->cut, "cut %lld, counted %lld", (long long)p->cut, (long long)cut);
    CHECK(rows[0].ranks == 1 && rows[n_rows - 1].ranks == p->n_parts, "rows");
    for (int32_t i = 0; i < n_rows; i++) {
        int ranks = rows[i].ranks;
        flip_gid *first = malloc(sizeof *first * (size_t)(ranks + 1));
        int64_t *halo = calloc((size_t)ranks, 8), *own = calloc((size_t)ranks, 8), sum = 0,
                most = 0;
        char *need = calloc((size_t)(ranks * (t->n + 1)), 1);
        int *rank_of = malloc(sizeof *rank_of * (size_t)(t->n + 1));
        double heaviest = 0;
        flip_partition_ranks(p->n_parts, p->part_first, ranks, first);
        for (int r = 0; r < ranks; r++)
            for (int64_t id = first[r]; id < first[r + 1]; id++)
                rank_of[p->order[id]] = r;
        for (int64_t e = 0; e < t->n_events; e++) {
            int at = rank_of[t->events[e].dst];
            int64_t u = t->events[e].src;
            own[at]++;
            if (rank_of[u] != at && !need[at * t->n + u]++) halo[at]++;
        }
        for (int r = 0; r < ranks; r++) {
            sum += halo[r];
            most = halo[r] > most ? halo[r] : most;
            heaviest = fmax(heaviest, (double)own[r]);
        }
        CHECK(sum == rows[i].halo_sum && most == rows[i].halo_max,
              "%d ranks: halo %lld, most %lld; counted %lld, %lld", ranks,
              (long long)rows[i].halo_sum, (long long)rows[i].halo_max, (long long)sum,
              (long long)most);
        if (t->n_events)
            CHECK(fabs(rows[i].edge_balance - heaviest * ranks / (double)t->n_events) < 1e-9,
                  "edge balance %g", rows[i].edge_balance);
        void *all[] = {first, halo, own, need, rank_of};
        for (size_t k = 0; k < 5; k++)
            free(all[k]);
    }
    free(part);
}

/* Inside a part degrees fall. */
static void check_hot(const toy *t, const flip_partition *p) {
    int64_t *degree = calloc((size_t)t->n + 1, 8);
    for (int64_t e = 0; e < t->n_events; e++) {
        degree[t->events[e].dst]++;
        degree[t->events[e].src]++;
    }
    for (int32_t k = 0; k < p->n_parts; k++)
        for (int64_t i = p->part_first[k] + 1; i < p->part_first[k + 1]; i++)
            CHECK(degree[p->order[i]] <= degree[p->order[i - 1]], "part %d is not hot first", k);
    free(degree);
}

/* ---- the file read back ---- */

static void *column(flip_reader *r, const char *name, flip_type type, int64_t *rows) {
    int64_t dims[3];
    void *out = NULL;
    CHECK(flip_reader_has(r, name), "%s is missing", name);
    CHECK_OK(flip_reader_shape(r, name, dims, NULL));
    size_t values =
        (size_t)dims[0] * (size_t)(dims[1] ? dims[1] : 1) * (size_t)(dims[2] ? dims[2] : 1);
    out = malloc(flip_type_size(type) * (values + 1));
    CHECK_OK(flip_reader_rows(r, name, type, 0, dims[0], out));
    if (rows) *rows = dims[0];
    return out;
}

static void check_events(const toy *t, flip_reader *r, const int64_t *original) {
    int64_t n = 0, *ptr = column(r, "events/indptr", FLIP_TYPE_I64, NULL);
    int64_t *src = column(r, "events/src", FLIP_TYPE_I64, &n);
    int32_t *label = column(r, "events/label", FLIP_TYPE_I32, NULL);
    int32_t *step = t->n_steps > 1 ? column(r, "events/step", FLIP_TYPE_I32, NULL) : NULL;
    float *weight = column(r, "events/weight", FLIP_TYPE_F32, NULL);
    event *back = calloc(MOST, sizeof *back);
    CHECK(n == t->n_events && ptr[t->n] == n, "%lld events", (long long)n);
    for (int64_t v = 0; v < t->n; v++)
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            back[e] =
                (event){original[v], original[src[e]], step ? step[e] : 0, label[e], weight[e]};
            if (e == ptr[v]) continue;
            int32_t now = step ? step[e] : 0, before = step ? step[e - 1] : 0;
            CHECK(now > before || (now == before && src[e] >= src[e - 1]),
                  "row %lld is not by (step, source)", (long long)v);
        }
    qsort(back, (size_t)n, sizeof *back, by_row);
    for (int64_t e = 0; e < n; e++)
        CHECK(by_row(&back[e], &t->events[e]) == 0, "event %lld differs", (long long)e);
    void *all[] = {ptr, src, label, step, weight, back};
    for (size_t i = 0; i < 6; i++)
        free(all[i]);
}

static void check_features(const toy *t, flip_reader *r, const int64_t *original) {
    float *values = column(r, "features/values", FLIP_TYPE_F32, NULL);
    if (t->sparse) {
        int64_t *ptr = column(r, "features/indptr", FLIP_TYPE_I64, NULL), n_columns = 0;
        int32_t *index = column(r, "features/indices", FLIP_TYPE_I32, NULL);
        for (int64_t v = 0; v < t->n; v++) {
            CHECK(ptr[v + 1] - ptr[v] == rows_of(t, original[v]), "features of %lld", (long long)v);
            for (int64_t i = ptr[v]; i < ptr[v + 1]; i++)
                CHECK(index[i] == i - ptr[v] &&
                          values[i] == feature(original[v], F - 1, i - ptr[v]),
                      "features of %lld", (long long)v);
        }
        CHECK_OK(flip_reader_attribute_i64(r, "features", "n_columns", &n_columns));
        CHECK(n_columns == F, "n_columns");
        free(ptr);
        free(index);
    } else if (t->changing) {
        int64_t n = 0, *node = column(r, "features/node", FLIP_TYPE_I64, &n);
        int32_t *step = column(r, "features/step", FLIP_TYPE_I32, NULL);
        for (int64_t i = 0; i < n; i++)
            CHECK(values[i * F + 1] == feature(original[node[i]], 1, step[i]) &&
                      (i == 0 || node[i] > node[i - 1] ||
                       (node[i] == node[i - 1] && step[i] > step[i - 1])),
                  "changing features, row %lld", (long long)i);
        free(node);
        free(step);
    } else {
        for (int64_t v = 0; v < t->n; v++)
            for (int j = 0; j < F; j++)
                CHECK(values[v * F + j] == feature(original[v], j, 0), "features of %lld",
                      (long long)v);
    }
    free(values);
}

static void check_nodes(const toy *t, flip_reader *r, const int64_t *original) {
    int64_t n = 0;
    int32_t *label = column(r, "labels/class", FLIP_TYPE_I32, &n);
    int8_t *split = column(r, "splits", FLIP_TYPE_I8, NULL);
    float *target = column(r, "targets/values", FLIP_TYPE_F32, NULL);
    if (t->changing) {
        int64_t *node = column(r, "labels/node", FLIP_TYPE_I64, NULL);
        int32_t *step = column(r, "labels/step", FLIP_TYPE_I32, NULL);
        for (int64_t i = 0; i < n; i++)
            CHECK(label[i] == class_of(original[node[i]], step[i]), "label row %lld", (long long)i);
        free(node);
        free(step);
    }
    for (int64_t v = 0; v < t->n; v++) {
        int64_t o = original[v];
        CHECK(t->changing || label[v] == class_of(o, 0), "label of %lld", (long long)v);
        for (int s = 0; s < S; s++)
            CHECK(split[s * t->n + v] == (o + s) % 4 - 1, "split of %lld", (long long)v);
        for (int64_t i = 0; i < t->n_steps * K; i++)
            CHECK(target[v * t->n_steps * K + i] == feature(o, i, 1), "target of %lld",
                  (long long)v);
    }
    if (t->named) {
        int64_t *ptr = column(r, "nodes/name_ptr", FLIP_TYPE_I64, NULL);
        char *names = column(r, "nodes/name", FLIP_TYPE_U8, NULL), want[16];
        for (int64_t v = 0; v < t->n; v++) {
            int length = sprintf(want, "n%lld", (long long)original[v]);
            CHECK(ptr[v + 1] - ptr[v] == length && !memcmp(names + ptr[v], want, (size_t)length),
                  "name of %lld", (long long)v);
        }
        free(ptr);
        free(names);
    } else {
        int64_t *number = column(r, "nodes/number", FLIP_TYPE_I64, NULL);
        for (int64_t v = 0; v < t->n; v++)
            CHECK(number[v] == number_of(original[v]), "number of %lld", (long long)v);
        free(number);
    }
    free(label);
    free(split);
    free(target);
}

static void check_file(const toy *t, const char *path, const flip_partition *p) {
    flip_reader *r = NULL;
    int64_t n = 0, whole = 0;
    double real = 0;
    char text[32];
    CHECK_OK(flip_reader_open(&r, NULL, path, "graph"));
    int64_t *original = column(r, "nodes/original", FLIP_TYPE_I64, &n);
    int64_t *first = column(r, "parts/first", FLIP_TYPE_I64, NULL);
    for (int64_t v = 0; v < t->n && p; v++)
        CHECK(original[v] == p->order[v], "original of %lld", (long long)v);
    for (int32_t k = 0; k <= (p ? p->n_parts : -1); k++)
        CHECK(first[k] == p->part_first[k], "parts/first[%d]", k);
    check_events(t, r, original);
    check_features(t, r, original);
    check_nodes(t, r, original);
    CHECK_OK(flip_reader_attribute_i64(r, "/", "n_classes", &whole));
    CHECK_OK(flip_reader_attribute_f64(r, "/", "step_width", &real));
    CHECK_OK(flip_reader_attribute_text(r, "/", "creator", text, sizeof text));
    CHECK(whole == 4 && real == 2.5 && strcmp(text, "t155") == 0, "attributes");
    free(original);
    free(first);
    flip_reader_close(&r);
}

static void check_same_bytes(const char *left, const char *right) {
    FILE *a = fopen(left, "rb"), *b = fopen(right, "rb");
    CHECK(a && b, "%s, %s", left, right);
    for (int x = 0, y = 0; x != EOF || y != EOF;) {
        x = fgetc(a);
        y = fgetc(b);
        CHECK(x == y, "%s and %s differ at byte %ld", left, right, ftell(a));
    }
    fclose(a);
    fclose(b);
}

/* ---- the tests ---- */

static uint64_t digest(const flip_partition *p) {
    uint64_t h = 1469598103934665603u;
    for (int64_t i = 0; i < p->n_nodes; i++)
        h = (h ^ (uint64_t)p->order[i]) * 1099511628211u;
    for (int32_t k = 0; k <= p->n_parts; k++)
        h = (h ^ (uint64_t)p->part_first[k]) * 1099511628211u;
    return h;
}

/* One graph and method on one rank and on `other`, more than one, where there are so many. */
static void try_graph(toy *t, const flip_partition_params *params, const char *in, int other) {
    int rank = flip_comm_rank(world);
    char one[128], many[128], again[128];
    uint64_t first = 0;
    path_of(one, "one");
    path_of(many, "many");
    path_of(again, "again");
    for (int size = 1; size <= flip_comm_size(world); size++) {
        MPI_Comm group;
        if (size > 1 && size != other) continue;
        MPI_Comm_split(flip_comm_mpi(world), rank < size ? 0 : MPI_UNDEFINED, rank, &group);
        if (group != MPI_COMM_NULL) {
            flip_comm *comm = NULL;
            flip_reader *reader = NULL;
            flip_partition *p = NULL, *second = NULL;
            flip_partition_row rows[FLIP_PARTITION_ROWS];
            int32_t n_rows = 0;
            const char *out = size == 1 ? one : many;
            CHECK_OK(flip_comm_create(&comm, group));
            CHECK_OK(flip_reader_open(&reader, comm, in, "graph"));
            CHECK_OK(flip_partition_compute(&p, comm, reader, params));
            check_shape(t, p, true);
            CHECK(p->method == params->method || t->n <= params->n_parts, "%s ran, not %s: %s",
                  flip_partition_method_name(p->method), flip_partition_method_name(params->method),
                  p->reason);
            CHECK_OK(flip_partition_measure(rows, &n_rows, comm, reader, p));
            CHECK_OK(flip_partition_write(comm, reader, p, params, out));
            if (size == 1) first = digest(p);
            if (rank == 0) {
                CHECK(digest(p) == first, "another partition on %d ranks", size);
                check_figures(t, p, rows, n_rows);
                check_hot(t, p);
                check_file(t, out, p);
                if (size > 1) check_same_bytes(one, many);
            }
            flip_reader_close(&reader);
            /* a partitioned file can be partitioned anew, and still knows its first ids */
            flip_partition_params block = {
                .n_parts = 3, .method = FLIP_PARTITION_RANDOM, .imbalance = 1.1, .seed = 9};
            CHECK_OK(flip_reader_open(&reader, comm, out, "graph"));
            CHECK_OK(flip_partition_compute(&second, comm, reader, &block));
            CHECK_OK(flip_partition_write(comm, reader, second, &block, again));
            flip_reader_close(&reader);
            if (rank == 0) check_file(t, again, NULL);
            flip_partition_destroy(&p);
            flip_partition_destroy(&second);
            flip_comm_destroy(&comm);
            MPI_Comm_free(&group);
        }
        MPI_Barrier(flip_comm_mpi(world));
    }
}

static void graphs(void **state) {
    (void)state;
    static toy t;
    char in[128];
    path_of(in, "in");
    static const struct {
        int64_t n, n_events;
        int32_t n_steps, n_parts;
    } cases[] = {{200, 2000, 5, 8}, {150, 1500, 1, 7},  {300, 600, 3, 16}, {100, 3000, 10, 70},
                 {40, 300, 2, 4},   {3, 20, 2, 4},      {1, 0, 1, 2},      {50, 0, 1, 5},
                 {90, 900, 4, 1},   {200, 1200, 2, 130}};
    int tried = 0; /* every method meets every number of ranks */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int method = 0; method < 5; method++) {
            if (flip_comm_size(world) > 1 && (i + (size_t)method) % 2) continue;
            flip_partition_params p = {.n_parts = cases[i].n_parts,
                                       .method = (flip_partition_method)method,
                                       .volume = method == 0 && i % 3 == 0,
                                       .balance_nodes = i % 2 == 0,
                                       .balance_edges = true,
                                       .balance_train = i % 3 == 1,
                                       .imbalance = 1.1,
                                       .seed = i};
            flip_move_window = tried % 2 == 1 ? 2000 : 0; /* several windows */
            toy_make(&t, cases[i].n, cases[i].n_events, cases[i].n_steps);
            if (flip_comm_rank(world) == 0) toy_write(&t, in);
            MPI_Barrier(flip_comm_mpi(world));
            try_graph(&t, &p, in, 2 + tried % 3);
            tried++;
        }
    flip_move_window = 0;
    if (flip_comm_rank(world) == 0) printf("# %d graphs and methods\n", tried);
}

/* A ring of parts must come out in ring order: every run of parts is then an arc. */
static void numbering_keeps_runs_compact(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    enum { N = 32 };
    static int64_t w[N * N];
    int32_t place[N], at[N];
    for (int shape = 0; shape < 2; shape++) { /* path, ring */
        memset(w, 0, sizeof w);
        for (int i = 0; i < N - 1 + shape; i++) {
            int a = i * 7 % N, b = (i + 1) * 7 % N; /* scattered names */
            w[a * N + b] = w[b * N + a] = 10;
        }
        CHECK_OK(flip_partition_number(place, w, N));
        for (int p = 0; p < N; p++)
            at[place[p]] = p;
        for (int first = 0; first < N; first += N / 4)
            for (int length = N / 4; length <= N / 2; length *= 2) {
                int64_t out = 0;
                if (first + length > N) continue;
                for (int i = 0; i < N; i++)
                    for (int j = 0; j < N; j++)
                        out +=
                            i >= first && i < first + length && (j < first || j >= first + length)
                                ? w[at[i] * N + at[j]]
                                : 0;
                CHECK(out <= 20, "run %d+%d of shape %d has %lld of weight around it", first,
                      length, shape, (long long)out);
            }
    }
}

static void ranks_own_runs(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    for (int trial = 0; trial < 2000; trial++) {
        int32_t n_parts = (int32_t)(1 + below(20));
        int size = (int)(1 + below(24)), empty = below(4) == 0;
        flip_gid first[32] = {0}, rank_first[32];
        double most = 0, largest = 0;
        for (int32_t k = 0; k < n_parts; k++) {
            int64_t part = empty ? below(3) : 50 + below(20);
            first[k + 1] = first[k] + part;
            largest = fmax(largest, (double)part);
        }
        flip_partition_ranks(n_parts, first, size, rank_first);
        CHECK(rank_first[0] == 0 && rank_first[size] == first[n_parts], "ends");
        for (int r = 0; r < size; r++) {
            bool boundary = false;
            CHECK(rank_first[r] <= rank_first[r + 1], "falls");
            for (int32_t k = 0; k <= n_parts; k++)
                boundary |= first[k] == rank_first[r];
            CHECK(boundary, "rank %d begins inside a part", r);
            if (!empty && n_parts >= size)
                CHECK(rank_first[r] < rank_first[r + 1], "rank %d of %d is empty", r, size);
            most = fmax(most, (double)(rank_first[r + 1] - rank_first[r]));
        }
        CHECK(most <= (double)first[n_parts] / size + 2 * largest, "balance");
    }
    flip_gid none[2] = {0, 0}, ranks[5];
    flip_partition_ranks(1, none, 4, ranks);
    CHECK(ranks[4] == 0, "no nodes");
}

static void bad_parameters_are_named(void **state) {
    (void)state;
    if (flip_comm_rank(world) != 0) return;
    static toy t;
    char in[128];
    flip_reader *reader = NULL;
    flip_partition *p = NULL;
    path_of(in, "bad");
    toy_make(&t, 10, 20, 1);
    toy_write(&t, in);
    CHECK_OK(flip_reader_open(&reader, NULL, in, "graph"));
    flip_partition_params q = FLIP_PARTITION_DEFAULTS;
    q.n_parts = 0;
    CHECK(flip_partition_compute(&p, NULL, reader, &q) == FLIP_ERROR_USAGE && !p, "0 parts");
    assert_string_equal(flip_error_message(), "0 parts asked for; it must be from 1 to 16384");
    flip_error_clear();
    q = (flip_partition_params)FLIP_PARTITION_DEFAULTS;
    q.imbalance = .5;
    CHECK(flip_partition_compute(&p, NULL, reader, &q) == FLIP_ERROR_USAGE && !p, "imbalance");
    flip_error_clear();
    q = (flip_partition_params)FLIP_PARTITION_DEFAULTS;
    q.method = FLIP_PARTITION_LDG;
    q.volume = true;
    CHECK(flip_partition_compute(&p, NULL, reader, &q) == FLIP_ERROR_USAGE && !p, "volume");
    assert_string_equal(flip_error_message(), "only METIS knows the objective volume, not ldg");
    flip_error_clear();
    flip_reader_close(&reader);
}

static int64_t cut_by(flip_reader *reader, flip_partition_method method, char *note) {
    flip_partition_params q = FLIP_PARTITION_DEFAULTS;
    flip_partition *p = NULL;
    q.method = method;
    CHECK_OK(flip_partition_compute(&p, NULL, reader, &q));
    int64_t cut = p->cut;
    snprintf(note, 64, "%s %lld (nodes %.2f, events %.2f)", flip_partition_method_name(p->method),
             (long long)cut, p->node_balance, p->edge_balance);
    flip_partition_destroy(&p);
    return cut;
}

static void metis_beats_random_on_real_graphs(void **state) {
    (void)state;
    const char *shared = getenv("FLIP_SHARED"), *names[] = {"cora", "citeseer", "pubmed"};
    char in[512], out[128], metis[64], ldg[64], random[64];
    if (flip_comm_rank(world) != 0) return;
    if (!shared) shared = FLIP_SHARED_DEFAULT;
    for (int i = 0; i < 3; i++) {
        flip_import_report report;
        flip_reader *reader = NULL;
        snprintf(in, sizeof in, "%s/data/%s", shared, names[i]);
        if (access(in, R_OK) != 0) {
            printf("# skipped: no %s (set FLIP_SHARED)\n", in);
            continue;
        }
        path_of(out, names[i]);
        const char *inputs[] = {in};
        flip_import_params q = {.inputs = inputs, .n_inputs = 1, .output = out};
        CHECK_OK(flip_import(&q, &report));
        CHECK_OK(flip_reader_open(&reader, NULL, out, "graph"));
        int64_t by_metis = cut_by(reader, FLIP_PARTITION_METIS, metis);
        int64_t by_random = cut_by(reader, FLIP_PARTITION_RANDOM, random);
        cut_by(reader, FLIP_PARTITION_LDG, ldg);
        printf("# %s, 8 parts, events cut: %s, %s, %s\n", names[i], metis, ldg, random);
        CHECK(3 * by_metis <= by_random, "%s", names[i]);
        flip_reader_close(&reader);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (flip_comm_create(&world, MPI_COMM_WORLD) != FLIP_OK) return 1;
    if (flip_comm_rank(world) == 0) {
        snprintf(folder, sizeof folder, "/tmp/flip_t155_XXXXXX");
        if (!mkdtemp(folder)) return 1;
    }
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, MPI_COMM_WORLD);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graphs),
        cmocka_unit_test(numbering_keeps_runs_compact),
        cmocka_unit_test(ranks_own_runs),
        cmocka_unit_test(bad_parameters_are_named),
        cmocka_unit_test(metis_beats_random_on_real_graphs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    MPI_Barrier(MPI_COMM_WORLD);
    if (flip_comm_rank(world) == 0) {
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        if (system(command) != 0) failed++;
    }
    flip_comm_destroy(&world);
    MPI_Finalize();
    return failed;
}
