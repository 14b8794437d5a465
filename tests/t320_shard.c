/* Shards of a file that has everything, on 1-4 ranks: read in place from parts, and partitioned in
 * memory; every array against what was written, by original id. */
#include "ranks.h"

#include <flipbook/generate.h>
#include <flipbook/graph.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 61, T = 5, E = 400, F = 3, K = 2, S = 2, CLASSES = 4 };

static flip_comm *comm;
static int rank, size;
static char folder[256];

typedef struct event {
    int64_t dst, src;
    int32_t step, label;
    float weight;
} event;

/* The whole truth by original id; every rank has it. */
static event events[E];
static float dense[N][F], changing[N][T][F], targets[N][T][K];
static bool feature_row[N][T], label_row[N][T];
static int32_t label_constant[N], label_changing[N][T];
static int8_t splits[S][N];
static int64_t number[N];
static char name[N][24];

/* What the next file lies about; the seal is whole. */
static const char *lie = "";
static bool lies(const char *what) {
    return strcmp(lie, what) == 0;
}

static uint64_t draw(uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(11, FLIP_STREAM_TEST, what, i, below);
}

static void make_truth(void) {
    for (uint64_t i = 0; i < E; i++) {
        events[i] = (event){.dst = (int64_t)(draw(1, i, 3) == 0 ? 7 : draw(2, i, N)),
                            .src = (int64_t)draw(3, i, N),
                            .step = (int32_t)draw(4, i, T),
                            .label = (int32_t)draw(5, i, 3) - 1,
                            .weight = (float)draw(6, i, 100) / 8 + 0.125f};
        if (i > 0 && draw(7, i, 8) == 0) events[i] = events[i - 1];
    }
    for (uint64_t v = 0; v < N; v++) {
        label_constant[v] = (int32_t)draw(8, v, CLASSES + 1) - 1;
        number[v] = (int64_t)draw(9, v, 1u << 30) * 1000 + (int64_t)v;
        snprintf(name[v], sizeof name[v], "%s%llu", v % 3 ? "account-" : "",
                 (unsigned long long)(v * v));
        if (v == 5) name[v][0] = 0;
        for (uint64_t k = 0; k < S; k++)
            splits[k][v] = (int8_t)((int)draw(10 + k, v, 4) - 1);
        for (uint64_t j = 0; j < F; j++)
            dense[v][j] = draw(12, v * F + j, 3) ? (float)draw(13, v * F + j, 50) / 4 : 0;
        for (uint64_t t = 0; t < T; t++) {
            feature_row[v][t] = draw(14, v * T + t, 3) == 0;
            label_row[v][t] = draw(15, v * T + t, 3) == 0;
            label_changing[v][t] = label_row[v][t] ? (int32_t)draw(16, v * T + t, CLASSES)
                                   : t > 0         ? label_changing[v][t - 1]
                                                   : -1;
            for (uint64_t j = 0; j < F; j++)
                changing[v][t][j] = feature_row[v][t] ? (float)draw(17, (v * T + t) * F + j, 99)
                                    : t > 0           ? changing[v][t - 1][j]
                                                      : 0;
            for (uint64_t j = 0; j < K; j++)
                targets[v][t][j] = draw(18, (v * T + t) * K + j, 4)
                                       ? (float)draw(19, (v * T + t) * K + j, 999)
                                       : NAN;
        }
    }
}

/* ---- writing it ---- */

typedef struct shape {
    const char *name;
    int parts; /* 0 = as it is; else renumbered at random into this many parts */
    enum features { DENSE, SPARSE, CHANGING } features;
    bool labels_change, target_rows, text, plain; /* plain: one step, no weights, labels, numbers */
} shape;

static const int64_t *sort_new_id; /* for compare_events */
static int compare_events(const void *x, const void *y) {
    const event *a = x, *b = y;
    int64_t da = sort_new_id[a->dst], db = sort_new_id[b->dst];
    if (da != db) return da < db ? -1 : 1;
    if (a->step != b->step) return a->step < b->step ? -1 : 1;
    int64_t sa = sort_new_id[a->src], sb = sort_new_id[b->src];
    return sa < sb ? -1 : sa > sb;
}

#define ROWS(name, disk, memory, n, d2, d3, data)                                                  \
    CHECK_OK(flip_writer_rows(w, name, disk, memory, rank == 0 ? (n) : 0, d2, d3, data))

static void write_events(flip_writer *w, const shape *s, const int64_t *new_id) {
    static event sorted[E];
    static int64_t indptr[N + 1], src[E];
    static int32_t step[E], label[E];
    static float weight[E];
    memcpy(sorted, events, sizeof sorted);
    sort_new_id = new_id;
    for (int i = 0; s->plain && i < E; i++)
        sorted[i].step = 0;
    qsort(sorted, E, sizeof *sorted, compare_events);
    memset(indptr, 0, sizeof indptr);
    for (int i = 0; i < E; i++) {
        indptr[new_id[sorted[i].dst] + 1]++;
        src[i] = new_id[sorted[i].src];
        step[i] = sorted[i].step;
        label[i] = sorted[i].label;
        weight[i] = sorted[i].weight;
    }
    for (int v = 0; v < N; v++)
        indptr[v + 1] += indptr[v];
    if (lies("indptr falls")) indptr[20] = indptr[19] - 1;
    if (lies("indptr beyond")) indptr[N] = E + 1;
    if (lies("src")) src[11] = N;
    if (lies("src negative")) src[11] = -1;
    if (lies("step")) step[300] = T;
    if (lies("label")) label[5] = -2;
    ROWS("events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, N + 1, 0, 0, indptr);
    ROWS("events/src", s->plain ? FLIP_TYPE_I32 : FLIP_TYPE_I64, FLIP_TYPE_I64, E, 0, 0, src);
    if (s->plain) return;
    ROWS("events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, E, 0, 0, step);
    ROWS("events/weight", FLIP_TYPE_F32, FLIP_TYPE_F32, lies("weights") ? E - 1 : E, 0, 0, weight);
    ROWS("events/label", FLIP_TYPE_I32, FLIP_TYPE_I32, E, 0, 0, label);
}

static void write_features(flip_writer *w, const shape *s, const int64_t *old_id) {
    static float rows[N * T][F], values[N * F];
    static int64_t node[N * T], indptr[N + 1];
    static int32_t step[N * T], index[N * F];
    int64_t n = 0;
    if (s->features == CHANGING) {
        for (int v = 0; v < N; v++)
            for (int t = 0; t < T; t++) {
                if (!feature_row[old_id[v]][t]) continue;
                memcpy(rows[n], changing[old_id[v]][t], sizeof rows[n]);
                node[n] = v;
                step[n++] = t;
            }
        if (lies("feature node")) node[40] = N;
        if (lies("feature step")) step[40] = T;
        ROWS("features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0, node);
        ROWS("features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, step);
        ROWS("features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, n, F, 0, rows);
        return;
    }
    if (s->features == DENSE) {
        for (int v = 0; v < N; v++)
            memcpy(rows[v], dense[old_id[v]], sizeof rows[v]);
        ROWS("features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, N, F, 0, rows);
        return;
    }
    for (int v = 0; v < N; v++) {
        for (int j = 0; j < F; j++) {
            if (dense[old_id[v]][j] == 0) continue;
            index[n] = j;
            values[n++] = dense[old_id[v]][j];
        }
        indptr[v + 1] = n;
    }
    if (lies("feature column")) index[9] = F;
    if (lies("feature indptr")) indptr[9] = indptr[12];
    ROWS("features/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, N + 1, 0, 0, indptr);
    ROWS("features/indices", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, index);
    ROWS("features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, n, 0, 0, values);
    CHECK_OK(flip_writer_attribute_i64(w, "features", "n_columns", F));
}

static void write_labels(flip_writer *w, const shape *s, const int64_t *old_id) {
    static int64_t node[N * T];
    static int32_t step[N * T], class[N * T];
    int64_t n = 0;
    for (int v = 0; v < N; v++)
        for (int t = 0; t < (s->labels_change ? T : 1); t++) {
            if (s->labels_change && !label_row[old_id[v]][t]) continue;
            node[n] = v;
            step[n] = t;
            class[n++] =
                s->labels_change ? label_changing[old_id[v]][t] : label_constant[old_id[v]];
        }
    if (lies("class")) class[17] = CLASSES;
    if (s->labels_change) {
        ROWS("labels/node", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0, node);
        ROWS("labels/step", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, step);
    }
    ROWS("labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, class);
}

static void write_targets(flip_writer *w, const shape *s, const int64_t *old_id) {
    static float all[N][T][K], rows[N * T][K];
    static int64_t node[N * T];
    static int32_t step[N * T];
    int64_t n = 0;
    for (int v = 0; v < N; v++)
        for (int t = 0; t < T; t++) {
            memcpy(all[v][t], targets[old_id[v]][t], sizeof all[v][t]);
            if (isnan(targets[old_id[v]][t][0]) && isnan(targets[old_id[v]][t][1])) continue;
            memcpy(rows[n], targets[old_id[v]][t], sizeof rows[n]);
            node[n] = v;
            step[n++] = t;
        }
    if (!s->target_rows) {
        ROWS("targets/values", FLIP_TYPE_F32, FLIP_TYPE_F32, N, T, K, all);
        return;
    }
    ROWS("targets/node", FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0, node);
    ROWS("targets/step", FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, step);
    ROWS("targets/values", FLIP_TYPE_F32, FLIP_TYPE_F32, n, K, 0, rows);
}

static void write_names(flip_writer *w, const shape *s, const int64_t *old_id) {
    static int64_t at[N + 1], numbers[N];
    static uint8_t text[N * 24];
    for (int v = 0; v < N; v++) {
        size_t length = strlen(name[old_id[v]]);
        memcpy(text + at[v], name[old_id[v]], length);
        at[v + 1] = at[v] + (int64_t)length;
        numbers[v] = number[old_id[v]];
    }
    if (s->text) {
        ROWS("nodes/name_ptr", FLIP_TYPE_I64, FLIP_TYPE_I64, N + 1, 0, 0, at);
        ROWS("nodes/name", FLIP_TYPE_U8, FLIP_TYPE_U8, at[N], 0, 0, text);
    } else {
        ROWS("nodes/number", FLIP_TYPE_I64, FLIP_TYPE_I64, N, 0, 0, numbers);
    }
}

/* old_id[new], new_id[old] and the ranges of the parts; one part is empty. */
static void renumber(const shape *s, int64_t *old_id, int64_t *new_id, int64_t *first) {
    for (int64_t v = 0; v < N; v++)
        old_id[v] = v;
    for (uint64_t v = N - 1; s->parts > 0 && v > 0; v--) {
        uint64_t u = draw(30 + (uint64_t)s->parts, v, v + 1);
        int64_t swap = old_id[v];
        old_id[v] = old_id[u];
        old_id[u] = swap;
    }
    for (int64_t v = 0; v < N; v++)
        new_id[old_id[v]] = v;
    for (int k = 0; k <= s->parts; k++)
        first[k] = s->parts > 0 ? (int64_t)N * k / s->parts : 0;
    if (s->parts > 2) first[2] = first[1];
}

static void write_file(const char *path, const shape *s) {
    static int64_t old_id[N], new_id[N], first[64], two[S * N];
    static int8_t split[S][N];
    flip_writer *w;
    renumber(s, old_id, new_id, first);
    CHECK_OK(flip_writer_create(&w, comm, path, "graph"));
    flip_writer_attribute_i64(w, "/", "version", 1);
    flip_writer_attribute_i64(w, "/", "n_nodes", N);
    flip_writer_attribute_i64(w, "/", "n_steps", lies("steps") ? 0 : s->plain ? 1 : T);
    flip_writer_attribute_i64(w, "/", "n_classes", CLASSES);
    flip_writer_attribute_i64(w, "/", "undirected", 0);
    write_events(w, s, new_id);
    write_features(w, s, old_id);
    write_labels(w, s, old_id);
    if (!s->plain) write_targets(w, s, old_id);
    if (!s->plain) write_names(w, s, old_id);
    for (int k = 0; k < S; k++)
        for (int v = 0; v < N; v++)
            split[k][v] = splits[k][old_id[v]];
    ROWS("splits", FLIP_TYPE_I8, FLIP_TYPE_I8, S, N, 0, split);
    if (s->parts > 0) {
        memcpy(two, old_id, sizeof old_id);
        if (lies("original")) two[3] = N;
        if (lies("parts fall")) first[1] = N;
        if (lies("parts short")) first[s->parts] = N - 1;
        ROWS("nodes/original", FLIP_TYPE_I64, FLIP_TYPE_I64, N, 0, 0, two);
        ROWS("parts/first", FLIP_TYPE_I64, FLIP_TYPE_I64, s->parts + 1, 0, 0, first);
    }
    CHECK_OK(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

/* ---- comparing ---- */

/* Parts cover the nodes, and every rank's nodes are a run of them. */
static void check_parts(const flip_graph *g) {
    int32_t n, at = 0;
    const flip_gid *part = flip_graph_part_first(g, &n), *first = flip_graph_rank_first(g);
    CHECK(n == (flip_graph_about(g)->n_parts > 0 ? flip_graph_about(g)->n_parts : 1), "%d parts",
          n);
    CHECK(part[0] == 0 && part[n] == N, "parts cover %lld to %lld", (long long)part[0],
          (long long)part[n]);
    for (int r = 0; r <= size; r++) {
        while (at < n && part[at] < first[r])
            at++;
        CHECK(part[at] == first[r], "rank %d begins inside part %d", r, at - 1);
    }
}

/* Owner's original id of any node: gathered from all ranks by hand. */
static void gather_original(const flip_graph *g, int64_t *original) {
    memset(original, 0, N * sizeof *original);
    for (int32_t v = 0; v < flip_graph_n_own(g); v++)
        original[flip_graph_rank_first(g)[rank] + v] = flip_graph_original(g)[v] + 1;
    CHECK_OK(flip_comm_sum_i64(comm, original, N));
    bool seen[N] = {false};
    for (int v = 0; v < N; v++) {
        CHECK(original[v] >= 1 && original[v] <= N && !seen[original[v] - 1],
              "node %d has original id %lld", v, (long long)original[v] - 1);
        seen[--original[v]] = true;
    }
}

/* Each event of the truth is on the owner of its destination exactly once. */
static void check_events(const flip_graph *g, const shape *s, int32_t steps) {
    int64_t original[N], found = 0;
    bool taken[E] = {false};
    const flip_events *ev = flip_graph_events(g);
    const flip_gid *first = flip_graph_rank_first(g);
    const int32_t *label = flip_graph_event_labels(g);
    check_parts(g);
    gather_original(g, original);
    CHECK((ev->weight == NULL) == s->plain && (label == NULL) == s->plain, "columns");
    for (int64_t i = 0; i < ev->n; i++) {
        CHECK(ev->dst[i] >= first[rank] && ev->dst[i] < first[rank + 1], "dst %lld",
              (long long)ev->dst[i]);
        int match = -1;
        for (int k = 0; k < E && match < 0; k++)
            if (!taken[k] && events[k].dst == original[ev->dst[i]] &&
                events[k].src == original[ev->src[i]] &&
                (!ev->step || events[k].step == ev->step[i]) &&
                (!ev->weight || events[k].weight == (float)ev->weight[i]) &&
                (!label || events[k].label == label[i]))
                match = k;
        CHECK(match >= 0, "event %lld: %lld -> %lld was never written", (long long)i,
              (long long)original[ev->src[i]], (long long)original[ev->dst[i]]);
        taken[match] = true;
        found++;
    }
    int64_t expected = 0;
    for (int k = 0; k < E; k++)
        expected += s->plain || events[k].step < steps;
    CHECK_OK(flip_comm_sum_i64(comm, &found, 1));
    CHECK(found == expected && flip_graph_about(g)->n_events == expected, "%lld events of %lld",
          (long long)found, (long long)expected);
}

static void check_rows(const flip_graph *g, const shape *s, int32_t steps) {
    const flip_graph_info *info = flip_graph_about(g);
    CHECK(info->n_features == F && info->n_classes == CLASSES && info->n_splits == S &&
              info->n_steps == steps && info->n_targets == (s->plain ? 0 : K) &&
              info->n_edge_classes == (s->plain ? 0 : 2) &&
              info->features_change == (s->features == CHANGING) &&
              info->labels_change == s->labels_change && !info->features_binary,
          "info");
    for (int32_t v = 0; v < flip_graph_n_own(g); v++) {
        int64_t o = flip_graph_original(g)[v];
        for (int32_t t = 0; t < steps; t++) {
            for (int j = 0; j < F; j++) {
                flip_real x = info->features_change
                                  ? flip_graph_features(g)[(v * steps + t) * F + j]
                                  : flip_graph_features(g)[v * F + j];
                CHECK(x == (info->features_change ? changing[o][t][j] : dense[o][j]),
                      "feature [%lld,%d,%d] is %g", (long long)o, t, j, (double)x);
            }
            int32_t y = flip_graph_labels(g)[s->labels_change ? v * steps + t : v];
            CHECK(y == (s->labels_change ? label_changing[o][t] : label_constant[o]),
                  "label [%lld,%d] is %d", (long long)o, t, y);
            for (int j = 0; j < info->n_targets; j++) {
                double x = flip_graph_targets(g)[(v * steps + t) * K + j], want = targets[o][t][j];
                CHECK(x == want || (isnan(x) && isnan(want)), "target [%lld,%d,%d] is %g",
                      (long long)o, t, j, x);
            }
        }
        for (int k = 0; k < S; k++)
            CHECK(flip_graph_split(g, k)[v] == splits[k][o], "split %d of %lld", k, (long long)o);
        char got[64], want[64];
        CHECK_OK(flip_graph_node_name(g, v, got, sizeof got));
        if (s->plain)
            snprintf(want, sizeof want, "%lld", (long long)o);
        else if (s->text)
            snprintf(want, sizeof want, "%s", name[o]);
        else
            snprintf(want, sizeof want, "%lld", (long long)number[o]);
        CHECK(strcmp(got, want) == 0, "name of %lld is '%s', want '%s'", (long long)o, got, want);
    }
}

static void check_degrees(const flip_graph *g, int32_t steps, int32_t life, bool plain) {
    size_t n = (size_t)flip_graph_n_own(g) * (size_t)steps * 2;
    flip_real *got = calloc(n + 1, sizeof *got);
    CHECK_OK(flip_graph_degrees(g, NULL, life, got));
    for (int32_t v = 0; v < flip_graph_n_own(g); v++)
        for (int32_t t = 0; t < steps; t++) {
            int in = 0, out = 0;
            for (int k = 0; k < E; k++) {
                int32_t step = plain ? 0 : events[k].step;
                if (step > t || step <= t - life) continue;
                in += events[k].dst == flip_graph_original(g)[v];
                out += events[k].src == flip_graph_original(g)[v];
            }
            CHECK(got[(v * steps + t) * 2] == in && got[(v * steps + t) * 2 + 1] == out,
                  "degrees of node %d at %d: %g %g, want %d %d", v, t,
                  (double)got[(v * steps + t) * 2], (double)got[(v * steps + t) * 2 + 1], in, out);
        }
    free(got);
}

/* Every other event alone: what is left out is in neither degree. */
static void check_degrees_of_some(const flip_graph *g) {
    const flip_events *all = flip_graph_events(g);
    int32_t n_own = flip_graph_n_own(g), steps = flip_graph_about(g)->n_steps;
    flip_gid first = flip_graph_rank_first(g)[flip_comm_rank(comm)];
    flip_gid *dst = calloc((size_t)all->n + 1, sizeof *dst),
             *src = calloc((size_t)all->n + 1, sizeof *src);
    int32_t *step = calloc((size_t)all->n + 1, sizeof *step);
    flip_real *got = calloc((size_t)n_own * (size_t)steps * 2 + 1, sizeof *got);
    flip_events some = {.dst = dst, .src = src, .step = all->step ? step : NULL};
    double sums[2] = {0, 0};
    for (int64_t i = 0; i < all->n; i += 2, some.n++) {
        dst[some.n] = all->dst[i];
        src[some.n] = all->src[i];
        step[some.n] = all->step ? all->step[i] : 0;
    }
    CHECK_OK(flip_graph_degrees(g, &some, 1, got));
    for (int32_t v = 0; v < n_own; v++)
        for (int32_t t = 0; t < steps; t++) {
            int in = 0;
            for (int64_t i = 0; i < some.n; i++)
                in += dst[i] == first + v && step[i] == t;
            CHECK(got[(v * steps + t) * 2] == in, "in-degree of some is %g, want %d",
                  (double)got[(v * steps + t) * 2], in);
            sums[0] += in;
            sums[1] += (double)got[(v * steps + t) * 2 + 1];
        }
    CHECK_OK(flip_comm_sum_f64(comm, sums, 2));
    CHECK(sums[0] == sums[1], "%g ends and %g beginnings of events", sums[0], sums[1]);
    free(dst);
    free(src);
    free(step);
    free(got);
}

static const shape shapes[] = {
    {.name = "plain", .plain = true},
    {.name = "plain-parts", .plain = true, .parts = 7},
    {.name = "dense", .text = true},
    {.name = "dense-parts", .parts = 5, .text = true},
    {.name = "sparse", .features = SPARSE, .labels_change = true, .target_rows = true},
    {.name = "sparse-parts",
     .features = SPARSE,
     .labels_change = true,
     .target_rows = true,
     .parts = 9},
    {.name = "changing", .features = CHANGING, .labels_change = true},
    {.name = "changing-one-part", .features = CHANGING, .labels_change = true, .parts = 1},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void shape_path(const shape *s, char *path, size_t n) {
    snprintf(path, n, "%s/%s.h5", folder, s->name);
}

static uint64_t open_and_check(const shape *s, int32_t last_step) {
    char path[512];
    flip_graph *g;
    int32_t steps = s->plain ? 1 : last_step > 0 ? last_step : T;
    flip_graph_params p = {.last_step = last_step};
    shape_path(s, path, sizeof path);
    CHECK_OK(flip_graph_open(&g, comm, path, &p));
    CHECK(flip_graph_partitioned_here(g) == (size > 1 && s->parts == 0), "partitioned here");
    CHECK(flip_graph_file_steps(g) == (s->plain ? 1 : T), "steps of the file");
    check_events(g, s, steps);
    check_rows(g, s, steps);
    check_degrees(g, steps, 1, s->plain);
    check_degrees(g, steps, 3, s->plain);
    check_degrees_of_some(g);
    uint64_t print = flip_graph_fingerprint(g);
    int64_t same[2] = {(int64_t)(print >> 1), -(int64_t)(print >> 1)};
    CHECK_OK(flip_comm_max_i64(comm, same, 2));
    CHECK(same[0] == -same[1], "ranks differ in their fingerprint");
    flip_graph_close(&g);
    CHECK(g == NULL, "closed");
    return print;
}

static void test_shapes(void **state) {
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        char path[512];
        shape_path(&shapes[i], path, sizeof path);
        write_file(path, &shapes[i]);
    }
    uint64_t print[N_SHAPES];
    for (int i = 0; i < N_SHAPES; i++)
        print[i] = open_and_check(&shapes[i], 0);
    for (int i = 0; i < N_SHAPES; i += 2) /* the same graph, renumbered and not */
        CHECK(print[i] == print[i + 1], "%s: fingerprint depends on the partition", shapes[i].name);
    CHECK(print[0] != print[2] && print[4] != print[6], "different graphs, one fingerprint");
    flip_comm *alone = NULL; /* as one rank sees it */
    CHECK_OK(flip_comm_create(&alone, MPI_COMM_SELF));
    for (int i = 0; i < N_SHAPES; i++) {
        char path[512];
        flip_graph *g;
        shape_path(&shapes[i], path, sizeof path);
        CHECK_OK(flip_graph_open(&g, alone, path, NULL));
        CHECK(flip_graph_fingerprint(g) == print[i], "%s: fingerprint depends on the ranks",
              shapes[i].name);
        flip_graph_close(&g);
    }
    flip_comm_destroy(&alone);
}

/* Many windows: a few rows each. */
static void test_windows(void **state) {
    (void)state;
    setenv("FLIP_WINDOW_BYTES", "200", 1);
    for (int i = 0; i < N_SHAPES; i++)
        open_and_check(&shapes[i], 0);
    unsetenv("FLIP_WINDOW_BYTES");
}

static void test_last_step(void **state) {
    (void)state;
    for (int i = 2; i < N_SHAPES; i++) {
        open_and_check(&shapes[i], 3);
        open_and_check(&shapes[i], 1);
    }
    char path[512];
    flip_graph *g;
    flip_graph_params p = {.last_step = T + 1};
    shape_path(&shapes[2], path, sizeof path);
    flip_error_clear();
    CHECK(flip_graph_open(&g, comm, path, &p) == FLIP_ERROR_USAGE && !g &&
              strstr(flip_error_message(), "has 5 steps; the first 6 were asked for"),
          "message: %s", flip_error_message());
    flip_error_clear();
}

/* Files that are whole and wrong: the same refusal on every rank, in words. */
static void test_lies(void **state) {
    (void)state;
    static const struct {
        const char *lie, *message;
        int features; /* -1: any */
    } cases[] = {
        {"indptr falls", "events/indptr: item 20 is ", -1},
        {"indptr beyond", "events/indptr: item 61 is 401, expected 0 to 400", -1},
        {"src", "events/src: item 11 is 61, expected 0 to 60", -1},
        {"src negative", "events/src: item 11 is -1, expected 0 to 60", -1},
        {"step", "events/step: item 300 is 5, expected 0 to 4", -1},
        {"label", "events/label: -2, expected -1 or a class from 0", -1},
        {"weights", "events/weight has 399 rows, expected 400", -1},
        {"feature node", "features/node: row 40 is node 61 at step ", CHANGING},
        {"feature step", "features/node: row 40 is node ", CHANGING},
        {"feature column", "features/indices of node ", SPARSE},
        {"feature indptr", "features/indptr falls", SPARSE},
        {"class", "labels/class: 4, expected -1 to 3", -1},
        {"original", "nodes/original: 61, expected 0 to 60", -1},
        {"parts fall", "a bound of parts/first is ", -1},
        {"parts short", "a bound of parts/first is ", -1},
        {"steps", "n_steps is 0, expected 1 or more", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512];
        flip_graph *g;
        shape s = {.name = "lie", .parts = 6, .features = DENSE};
        if (cases[i].features >= 0) s.features = (enum features)cases[i].features;
        shape_path(&s, path, sizeof path);
        lie = cases[i].lie;
        write_file(path, &s);
        lie = "";
        flip_error_clear();
        flip_status status = flip_graph_open(&g, comm, path, NULL);
        CHECK(status == FLIP_ERROR_INPUT && !g, "%s: status %d, %s", cases[i].lie, status,
              flip_error_message());
        CHECK(strstr(flip_error_message(), cases[i].message) &&
                  strstr(flip_error_message(), "it again"),
              "%s: %s", cases[i].lie, flip_error_message());
        flip_error_clear();
        if (rank == 0) unlink(path);
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

/* The same adjacency from the shard of any form: row sums of A x by original id. */
static void test_adjacency(void **state) {
    (void)state;
    double sum[2][N];
    for (int k = 0; k < 2; k++) {
        char path[512];
        flip_graph *g;
        flip_adjacency *a;
        flip_adjacency_params p = {
            .kind = FLIP_ADJACENCY_GCN, .n_steps = T, .edge_life = 2, .window = 2};
        shape_path(&shapes[2 + k], path, sizeof path);
        CHECK_OK(flip_graph_open(&g, comm, path, NULL));
        CHECK_OK(flip_adjacency_create(&a, comm, flip_graph_rank_first(g), flip_graph_original(g),
                                       flip_graph_events(g), &p));
        memset(sum[k], 0, sizeof sum[k]);
        for (int32_t v = 0; v < a->n_own; v++)
            for (int64_t e = a->a.row_ptr[v]; e < a->a.row_ptr[v + 1]; e++)
                for (int64_t i = a->a.value_ptr[a->a.run_ptr[e]];
                     i < a->a.value_ptr[a->a.run_ptr[e + 1]]; i++)
                    sum[k][flip_graph_original(g)[v]] += a->a.value[i];
        CHECK_OK(flip_comm_sum_f64(comm, sum[k], N));
        flip_adjacency_destroy(&a);
        flip_graph_close(&g);
    }
    for (int v = 0; v < N; v++) /* the order of summation is that of original ids: the same bits */
        CHECK(sum[0][v] == sum[1][v], "row %d: %.17g, %.17g", v, sum[0][v], sum[1][v]);
}

/* Fewer nodes than ranks, and none at all. */
static void test_small(void **state) {
    (void)state;
    for (int64_t n = 0; n <= 2; n++) {
        char path[512];
        flip_writer *w;
        flip_graph *g;
        int64_t indptr[3] = {0, 0, 0};
        snprintf(path, sizeof path, "%s/small.h5", folder);
        CHECK_OK(flip_writer_create(&w, comm, path, "graph"));
        flip_writer_attribute_i64(w, "/", "version", 1);
        flip_writer_attribute_i64(w, "/", "n_nodes", n);
        flip_writer_attribute_i64(w, "/", "n_steps", 1);
        ROWS("events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, n + 1, 0, 0, indptr);
        ROWS("events/src", FLIP_TYPE_I64, FLIP_TYPE_I64, 0, 0, 0, indptr);
        CHECK_OK(flip_writer_commit(w));
        flip_writer_destroy(&w);
        CHECK_OK(flip_graph_open(&g, comm, path, NULL));
        int64_t own = flip_graph_n_own(g);
        CHECK_OK(flip_comm_sum_i64(comm, &own, 1));
        CHECK(own == n, "%lld nodes of %lld", (long long)own, (long long)n);
        flip_graph_close(&g);
    }
}

/* A generated file, and memory: no rank holds much more than its share. */
static void test_generated(void **state) {
    (void)state;
    char path[512];
    flip_graph *g;
    flip_generate_counts counts;
    flip_payments_params p = FLIP_PAYMENTS_DEFAULTS;
    p.common.n_nodes = 3000;
    p.common.n_steps = 8;
    snprintf(path, sizeof path, "%s/payments.h5", folder);
    CHECK_OK(flip_generate_payments(comm, path, &p, &counts));
    CHECK_OK(flip_graph_open(&g, comm, path, NULL));
    const flip_graph_info *info = flip_graph_about(g);
    CHECK(info->n_nodes == counts.n_nodes && info->n_events == counts.n_events &&
              info->n_steps == 8 && info->weighted && info->edge_labels,
          "info of a generated file");
    int64_t own[2] = {flip_graph_n_own(g), flip_graph_events(g)->n};
    CHECK_OK(flip_comm_sum_i64(comm, own, 2));
    CHECK(own[0] == counts.n_nodes && own[1] == counts.n_events, "sums over ranks");
    flip_graph_close(&g);
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    snprintf(folder, sizeof folder, "%s/flipbook-t320-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (rank == 0 && !mkdtemp(folder)) return 1;
    if (flip_comm_broadcast(comm, folder, sizeof folder, 0) != FLIP_OK) return 1;
    make_truth();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),    cmocka_unit_test(test_windows),
        cmocka_unit_test(test_last_step), cmocka_unit_test(test_adjacency),
        cmocka_unit_test(test_lies),      cmocka_unit_test(test_small),
        cmocka_unit_test(test_generated),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; rank == 0 && i < N_SHAPES; i++) {
        char path[512];
        shape_path(&shapes[i], path, sizeof path);
        unlink(path);
    }
    if (rank == 0) {
        char path[512];
        snprintf(path, sizeof path, "%s/small.h5", folder);
        unlink(path);
        snprintf(path, sizeof path, "%s/payments.h5", folder);
        unlink(path);
        rmdir(folder);
    }
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
