#include "survey.h"

#include <flipbook/partition.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "column.h"

static const int32_t lives[FLIP_SURVEY_LIVES] = {1, 10};

/* ---- degrees ---- */

static void add_degree(flip_survey_degrees *d, int64_t degree) {
    int bin = degree == 0 ? 0 : 64 - __builtin_clzll((unsigned long long)degree);
    d->bins[bin < FLIP_SURVEY_DEGREES ? bin : FLIP_SURVEY_DEGREES - 1]++;
    if (degree > d->most) d->most = degree;
    d->mean += (double)degree;
}

/* ---- overlap of snapshots ---- */

/* Counts of a timeline as differences: a run of steps costs two additions. */
typedef struct timeline {
    int64_t *alive; /* [n_steps + 1] owned: distinct edges in a snapshot */
    int64_t *stays; /* [n_steps + 1] owned: … that are in the next one too */
} timeline;

static void add_run(timeline *t, int64_t first, int64_t last) {
    t->alive[first]++;
    t->alive[last + 1]--;
    t->stays[first]++;
    t->stays[last]--;
}

/* One edge with its ascending steps: each event lives `life` steps; runs that touch are one. */
static void add_edge(timeline *t, const int64_t *step, int64_t n, int32_t life, int64_t n_steps) {
    int64_t first = step[0], last = step[0] + life - 1;
    for (int64_t i = 1; i < n; i++) {
        if (step[i] <= last + 1) {
            last = step[i] + life - 1;
            continue;
        }
        add_run(t, first, last);
        first = step[i];
        last = first + life - 1;
    }
    add_run(t, first, last < n_steps ? last : n_steps - 1);
}

static void finish_overlap(flip_survey_overlap *o, const timeline *t, int64_t n_steps) {
    int64_t alive = 0, stays = 0, before = 0, stayed = 0;
    for (int64_t s = 0; s < n_steps; s++) {
        alive += t->alive[s];
        o->edges += (double)alive / (double)n_steps;
        int64_t either = before + alive - stayed;
        if (s > 0 && either > 0) {
            double share = (double)stayed / (double)either;
            int bin = (int)(share * FLIP_SURVEY_TENTHS);
            o->bins[bin < FLIP_SURVEY_TENTHS ? bin : FLIP_SURVEY_TENTHS - 1]++;
            o->mean += share;
            o->n++;
        }
        stays += t->stays[s];
        before = alive;
        stayed = stays;
    }
    if (o->n) o->mean /= (double)o->n;
}

/* ---- events ---- */

typedef struct walk {
    flip_survey *s;
    const flip_reader *reader;
    flip_column pointer, source, step;
    bool timed, pairs; /* pairs: (source, step) fits 64 bits */
    int64_t *out;      /* [n_nodes] */
    uint64_t *edges;   /* [capacity] one node's events: source * n_steps + step */
    int64_t *steps;    /* [capacity] */
    int64_t capacity;
    timeline timelines[FLIP_SURVEY_LIVES];
    int64_t *rank_first[FLIP_SURVEY_RANKS]; /* [ranks + 1] */
    uint8_t *seen[FLIP_SURVEY_RANKS];       /* [n_nodes]: last rank (+ 1) that needs the node */
    int at[FLIP_SURVEY_RANKS];              /* rank of the current node */
    int64_t halo[FLIP_SURVEY_RANKS], events[FLIP_SURVEY_RANKS];
    int32_t part;
} walk;

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The distinct edges into one node. */
static void count_pairs(walk *w, int64_t n) {
    flip_survey *s = w->s;
    uint64_t steps = (uint64_t)s->n_steps;
    if (w->timed) qsort(w->edges, (size_t)n, sizeof *w->edges, ascending);
    for (int64_t i = 0; i < n;) {
        uint64_t source = w->edges[i] / steps;
        int64_t k = 0;
        for (; i < n && w->edges[i] / steps == source; i++) {
            int64_t step = (int64_t)(w->edges[i] % steps);
            if (k > 0 && w->steps[k - 1] == step)
                s->n_doubled++;
            else
                w->steps[k++] = step;
        }
        s->n_pairs++;
        for (int l = 0; l < s->n_overlaps; l++)
            add_edge(&w->timelines[l], w->steps, k, lives[l], s->n_steps);
    }
}

/* `ranks` own runs of nodes; the rows of others that each needs. */
static void enter_node(walk *w, int64_t v) {
    flip_survey *s = w->s;
    while (w->part + 1 < s->n_parts && v >= s->part_first[w->part + 1])
        w->part++;
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++) {
        while (v >= w->rank_first[i][w->at[i] + 1]) {
            w->at[i]++;
            w->halo[i] = w->events[i] = 0;
        }
    }
}

static void count_halo(walk *w, int64_t u) {
    flip_survey *s = w->s;
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++) {
        const int64_t *first = w->rank_first[i];
        int r = w->at[i];
        if (++w->events[i] > s->rank_events[i]) s->rank_events[i] = w->events[i];
        if (i == 0 || (u >= first[r] && u < first[r + 1]) || w->seen[i][u] == r + 1) continue;
        w->seen[i][u] = (uint8_t)(r + 1);
        if (++w->halo[i] > s->rank_halo[i]) s->rank_halo[i] = w->halo[i];
    }
}

static flip_status walk_node(walk *w, int64_t v, int64_t begin, int64_t end) {
    flip_survey *s = w->s;
    if (w->pairs && end - begin > w->capacity) {
        int64_t capacity = 2 * (end - begin);
        FLIP_TRY(flip_grow(&w->edges, 0, (size_t)capacity, sizeof *w->edges, "a node's events"));
        FLIP_TRY(flip_grow(&w->steps, 0, (size_t)capacity, sizeof *w->steps, "a node's events"));
        w->capacity = capacity;
    }
    enter_node(w, v);
    for (int64_t e = begin; e < end; e++) {
        int64_t u, step = 0;
        FLIP_TRY(flip_column_i64(&w->source, e, &u));
        if (w->timed) FLIP_TRY(flip_column_i64(&w->step, e, &step));
        if (u < 0 || u >= s->n_nodes || step < 0 || step >= s->n_steps)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' event %lld has source %lld and step %lld; expected 0 … %lld and "
                             "0 … %lld: `flipbook check` tells more",
                             flip_reader_path(w->reader), (long long)e, (long long)u,
                             (long long)step, (long long)s->n_nodes - 1, (long long)s->n_steps - 1);
        w->out[u]++;
        s->step_events[step]++;
        s->n_loops += u == v;
        if (w->pairs) w->edges[e - begin] = (uint64_t)u * (uint64_t)s->n_steps + (uint64_t)step;
        count_halo(w, u);
        if (s->n_parts == 0) continue;
        s->part_events[w->part]++;
        s->cut += u < s->part_first[w->part] || u >= s->part_first[w->part + 1];
    }
    if (w->pairs) count_pairs(w, end - begin);
    return FLIP_OK;
}

static flip_status walk_events(walk *w) {
    flip_survey *s = w->s;
    int64_t begin = 0, end = 0;
    for (int64_t v = 0; v < s->n_nodes; v++) {
        FLIP_TRY(flip_column_i64(&w->pointer, v + 1, &end));
        if (end < begin || end > s->n_events)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' dataset events/indptr, row %lld: found %lld, expected %lld … "
                             "%lld: `flipbook check` tells more",
                             flip_reader_path(w->reader), (long long)v + 1, (long long)end,
                             (long long)begin, (long long)s->n_events);
        FLIP_TRY(walk_node(w, v, begin, end));
        add_degree(&s->in, end - begin);
        begin = end;
    }
    begin = end = 0;
    for (int64_t v = 0; v < s->n_nodes; v++) {
        FLIP_TRY(flip_column_i64(&w->pointer, v + 1, &end));
        add_degree(&s->out, w->out[v]);
        add_degree(&s->both, w->out[v] + end - begin);
        begin = end;
    }
    return FLIP_OK;
}

static flip_status prepare_ranks(walk *w) {
    flip_survey *s = w->s;
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++) {
        int ranks = 1 << i;
        FLIP_TRY(flip_alloc(&w->rank_first[i], (size_t)ranks + 1, sizeof(int64_t), "ranks"));
        FLIP_TRY(flip_alloc_zero(&w->seen[i], (size_t)(i ? s->n_nodes : 1), 1, "nodes seen"));
        if (s->n_parts > 0)
            flip_partition_ranks(s->n_parts, s->part_first, ranks, w->rank_first[i]);
        for (int r = 0; s->n_parts == 0 && r <= ranks; r++)
            w->rank_first[i][r] = s->n_nodes * r / ranks;
        for (int r = 0; r < ranks; r++)
            if (w->rank_first[i][r + 1] - w->rank_first[i][r] > s->rank_nodes[i])
                s->rank_nodes[i] = w->rank_first[i][r + 1] - w->rank_first[i][r];
    }
    return FLIP_OK;
}

static flip_status survey_events(flip_survey *s, const flip_reader *reader) {
    walk w = {.s = s, .reader = reader};
    flip_status status = FLIP_OK;
    w.timed = flip_reader_has(reader, "events/step");
    w.pairs = s->n_nodes == 0 || s->n_steps < INT64_MAX / (s->n_nodes + 1);
    s->n_overlaps = w.timed && w.pairs && s->n_steps > 1 ? FLIP_SURVEY_LIVES : 0;
    FLIP_TRY_GOTO(flip_column_open(&w.pointer, reader, "events/indptr", FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_column_open(&w.source, reader, "events/src", FLIP_TYPE_I64));
    if (w.timed) FLIP_TRY_GOTO(flip_column_open(&w.step, reader, "events/step", FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_alloc_zero(&w.out, (size_t)s->n_nodes, sizeof *w.out, "degrees"));
    FLIP_TRY_GOTO(
        flip_alloc_zero(&s->step_events, (size_t)s->n_steps, sizeof(int64_t), "events a step"));
    for (int l = 0; l < s->n_overlaps; l++) {
        size_t n = (size_t)s->n_steps + 1;
        FLIP_TRY_GOTO(flip_alloc_zero(&w.timelines[l].alive, n, sizeof(int64_t), "a timeline"));
        FLIP_TRY_GOTO(flip_alloc_zero(&w.timelines[l].stays, n, sizeof(int64_t), "a timeline"));
    }
    FLIP_TRY_GOTO(prepare_ranks(&w));
    FLIP_TRY_GOTO(walk_events(&w));
    for (int l = 0; l < s->n_overlaps; l++) {
        s->overlap[l].life = lives[l];
        finish_overlap(&s->overlap[l], &w.timelines[l], s->n_steps);
    }
    double nodes = s->n_nodes ? (double)s->n_nodes : 1;
    s->in.mean /= nodes, s->out.mean /= nodes, s->both.mean /= nodes;
done:
    flip_column_close(&w.pointer);
    flip_column_close(&w.source);
    flip_column_close(&w.step);
    flip_free(w.out);
    flip_free(w.edges);
    flip_free(w.steps);
    for (int l = 0; l < FLIP_SURVEY_LIVES; l++)
        flip_free(w.timelines[l].alive), flip_free(w.timelines[l].stays);
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++)
        flip_free(w.rank_first[i]), flip_free(w.seen[i]);
    return status;
}

static flip_status survey_weights(flip_survey *s, const flip_reader *reader) {
    flip_column column;
    flip_status status = FLIP_OK;
    double value = 0;
    if (!flip_reader_has(reader, "events/weight")) return FLIP_OK;
    FLIP_TRY(flip_column_open(&column, reader, "events/weight", FLIP_TYPE_F64));
    s->weighted = true;
    s->weight_least = INFINITY;
    s->weight_most = -INFINITY;
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_f64(&column, i, &value));
        if (value < s->weight_least) s->weight_least = value;
        if (value > s->weight_most) s->weight_most = value;
        s->weight_mean += value / (double)column.n;
        s->n_negative += value < 0;
    }
done:
    flip_column_close(&column);
    return status;
}

/* ---- features ---- */

static flip_status survey_codes(flip_survey *s, const flip_reader *reader) {
    flip_codec *codec, *refinement;
    int64_t dims[3];
    FLIP_TRY(flip_container_codec(&codec, reader));
    flip_status status = flip_container_refinement(&refinement, reader, codec);
    if (status != FLIP_OK) {
        flip_codec_destroy(&codec);
        return status;
    }
    s->features = FLIP_SURVEY_PACKED;
    snprintf(s->codec, sizeof s->codec, "%s", flip_codec_name(codec));
    s->code_bytes = (int64_t)flip_codec_stride(codec);
    s->table_bytes = (int64_t)flip_codec_table_bytes(codec);
    s->decoded_columns = flip_codec_packing(codec)->dim;
    if (refinement) {
        snprintf(s->codec, sizeof s->codec, "%s+%s", flip_codec_name(codec),
                 flip_codec_name(refinement));
        s->refinement_bytes = (int64_t)flip_codec_stride(refinement);
        s->table_bytes += (int64_t)flip_codec_table_bytes(refinement);
    }
    flip_codec_destroy(&codec);
    flip_codec_destroy(&refinement);
    if (s->refinement_bytes > 0)
        FLIP_TRY(flip_reader_attribute_f64(reader, "features", "refined_error", &s->refined_error));
    FLIP_TRY(flip_reader_shape(reader, "features/codes", dims, NULL));
    s->n_feature_rows = dims[0];
    if (flip_reader_has(reader, "features/node")) {
        FLIP_TRY(flip_reader_attribute_i64(reader, "features", "learned_first", &s->learned_first));
        FLIP_TRY(flip_reader_attribute_i64(reader, "features", "learned_steps", &s->learned_steps));
    }
    FLIP_TRY(flip_reader_attribute_i64(reader, "features", "n_columns", &s->n_features));
    FLIP_TRY(flip_reader_attribute_i64(reader, "features", "native_bytes", &s->native_bytes));
    FLIP_TRY(flip_reader_attribute_f64(reader, "features", "relative_error", &s->relative_error));
    return flip_reader_attribute_text(reader, "features", "norm", s->feature_norm,
                                      sizeof s->feature_norm);
}

static flip_status survey_features(flip_survey *s, const flip_reader *reader) {
    if (flip_reader_has(reader, "features/codes")) return survey_codes(s, reader);
    flip_column column;
    flip_status status = FLIP_OK;
    int64_t dims[3];
    double value = 0;
    s->features = flip_reader_has(reader, "features/indices")  ? FLIP_SURVEY_SPARSE
                  : flip_reader_has(reader, "features/node")   ? FLIP_SURVEY_CHANGING
                  : flip_reader_has(reader, "features/values") ? FLIP_SURVEY_DENSE
                                                               : FLIP_SURVEY_NONE;
    if (s->features == FLIP_SURVEY_NONE) return FLIP_OK;
    if (s->features == FLIP_SURVEY_SPARSE) {
        FLIP_TRY(flip_reader_attribute_i64(reader, "features", "n_columns", &s->n_features));
        FLIP_TRY(flip_reader_shape(reader, "features/indices", dims, NULL));
        s->n_feature_rows = s->n_nodes;
        s->n_feature_values = s->n_nonzero = dims[0];
        s->feature_ones = !flip_reader_has(reader, "features/values");
        s->feature_least = s->feature_most = 1;
        if (s->feature_ones) return FLIP_OK;
    }
    FLIP_TRY(flip_reader_shape(reader, "features/values", dims, NULL));
    FLIP_TRY(flip_column_open(&column, reader, "features/values", FLIP_TYPE_F64));
    if (s->features != FLIP_SURVEY_SPARSE) {
        s->n_features = column.width;
        s->n_feature_rows = dims[0];
        s->n_feature_values = column.n;
        s->n_nonzero = 0;
    }
    s->feature_least = INFINITY;
    s->feature_most = -INFINITY;
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_f64(&column, i, &value));
        if (value < s->feature_least) s->feature_least = value;
        if (value > s->feature_most) s->feature_most = value;
        if (s->features != FLIP_SURVEY_SPARSE) s->n_nonzero += value != 0;
    }
done:
    flip_column_close(&column);
    return status;
}

/* ---- classes, splits ---- */

static flip_status read_text(char **out, const flip_reader *reader, const char *name) {
    int64_t dims[3];
    if (!flip_reader_has(reader, name)) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(reader, name, dims, NULL));
    FLIP_TRY(flip_alloc_zero(out, (size_t)dims[0] + 1, 1, "names of classes"));
    return flip_reader_rows(reader, name, FLIP_TYPE_U8, 0, dims[0], *out);
}

/* Counts classes 0 … n-1 and, last, everything below; finds n where it is not known (n < 0). */
static flip_status count_classes(int64_t **out, int64_t *n, const flip_reader *reader,
                                 const char *name) {
    flip_column column;
    flip_status status = FLIP_OK;
    int64_t value = 0, most = *n - 1, *count = NULL;
    FLIP_TRY(flip_column_open(&column, reader, name, FLIP_TYPE_I64));
    for (int64_t i = 0; *n < 0 && i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &value));
        if (value > most) most = value;
    }
    if (*n < 0) *n = most + 1 > 0 ? most + 1 : 0;
    FLIP_TRY_GOTO(flip_alloc_zero(&count, (size_t)*n + 1, sizeof *count, "classes"));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &value));
        count[value >= 0 && value < *n ? value : *n]++;
    }
done:
    flip_column_close(&column);
    if (status != FLIP_OK) flip_free(count), count = NULL;
    *out = count;
    return status;
}

static flip_status survey_classes(flip_survey *s, const flip_reader *reader) {
    int64_t dims[3];
    if (flip_reader_has(reader, "labels/class")) {
        s->labelled = true;
        s->labels_change = flip_reader_has(reader, "labels/node");
        FLIP_TRY(count_classes(&s->class_count, &s->n_classes, reader, "labels/class"));
    }
    FLIP_TRY(read_text(&s->class_names, reader, "labels/names"));
    if (flip_reader_has(reader, "events/label")) {
        s->n_edge_classes = -1;
        FLIP_TRY(count_classes(&s->edge_class_count, &s->n_edge_classes, reader, "events/label"));
        s->n_edge_none = s->edge_class_count[s->n_edge_classes];
    }
    FLIP_TRY(read_text(&s->edge_class_names, reader, "events/label_names"));
    if (flip_reader_has(reader, "targets/values")) {
        FLIP_TRY(flip_reader_shape(reader, "targets/values", dims, NULL));
        s->n_targets = dims[2] ? dims[2] : dims[1] ? dims[1] : 1;
    }
    return FLIP_OK;
}

static flip_status survey_splits(flip_survey *s, const flip_reader *reader) {
    flip_column column;
    flip_status status = FLIP_OK;
    int64_t dims[3], role = 0;
    if (!flip_reader_has(reader, "splits")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(reader, "splits", dims, NULL));
    FLIP_TRY(flip_alloc_zero(&s->split, (size_t)dims[0], sizeof *s->split, "splits"));
    s->n_splits = dims[0];
    FLIP_TRY(flip_column_open(&column, reader, "splits", FLIP_TYPE_I64));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &role));
        s->split[i / column.width][role >= 0 && role < 3 ? role : 3]++;
    }
done:
    flip_column_close(&column);
    return status;
}

/* ---- */

static flip_status survey_parts(flip_survey *s, const flip_reader *reader) {
    int64_t dims[3];
    s->text_names = flip_reader_has(reader, "nodes/name");
    s->number_names = flip_reader_has(reader, "nodes/number");
    s->renumbered = flip_reader_has(reader, "nodes/original");
    if (!flip_reader_has(reader, "parts/first")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(reader, "parts/first", dims, NULL));
    FLIP_TRY(flip_narrow(&s->n_parts, dims[0] - 1, "the number of parts"));
    FLIP_TRY(flip_alloc(&s->part_first, (size_t)dims[0] + 1, sizeof(int64_t), "parts"));
    FLIP_TRY(flip_alloc_zero(&s->part_events, (size_t)dims[0], sizeof(int64_t), "parts"));
    FLIP_TRY(flip_reader_rows(reader, "parts/first", FLIP_TYPE_I64, 0, dims[0], s->part_first));
    bool ranges = s->part_first[0] == 0 && s->part_first[s->n_parts] == s->n_nodes;
    for (int32_t p = 0; p < s->n_parts; p++)
        ranges = ranges && s->part_first[p] <= s->part_first[p + 1];
    return ranges ? FLIP_OK
                  : FLIP_FAIL(FLIP_ERROR_INPUT,
                              "'%s' dataset parts/first does not ascend from 0 to %lld: `flipbook "
                              "check` tells more",
                              flip_reader_path(reader), (long long)s->n_nodes);
}

static flip_status survey_attributes(flip_survey *s, const flip_reader *reader) {
    int64_t undirected, dims[3];
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "n_nodes", &s->n_nodes));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "n_steps", &s->n_steps));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "n_classes", &s->n_classes));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "undirected", &undirected));
    s->undirected = undirected != 0;
    s->has_time = flip_reader_has_attribute(reader, "/", "step_zero") &&
                  flip_reader_has_attribute(reader, "/", "step_width");
    if (s->has_time) {
        FLIP_TRY(flip_reader_attribute_f64(reader, "/", "step_zero", &s->step_zero));
        FLIP_TRY(flip_reader_attribute_f64(reader, "/", "step_width", &s->step_width));
    }
    if (flip_reader_has_attribute(reader, "/", "creator"))
        FLIP_TRY(flip_reader_attribute_text(reader, "/", "creator", s->creator, sizeof s->creator));
    s->bytes = flip_reader_bytes(reader);
    FLIP_TRY(flip_reader_shape(reader, "events/src", dims, NULL));
    s->n_events = dims[0];
    FLIP_TRY(flip_reader_shape(reader, "events/indptr", dims, NULL));
    if (s->n_nodes != dims[0] - 1 || s->n_steps < 1 || s->n_steps > INT32_MAX || s->n_classes < 0 ||
        s->n_classes > INT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' says %lld nodes (events/indptr: %lld), %lld steps, %lld classes: "
                         "`flipbook check` tells more",
                         flip_reader_path(reader), (long long)s->n_nodes, (long long)dims[0] - 1,
                         (long long)s->n_steps, (long long)s->n_classes);
    return FLIP_OK;
}

flip_status flip_survey_make(flip_survey *survey, const flip_reader *reader) {
    *survey = (flip_survey){.bytes = 0};
    FLIP_TRY(survey_attributes(survey, reader));
    FLIP_TRY(survey_parts(survey, reader));
    FLIP_TRY(survey_events(survey, reader));
    FLIP_TRY(survey_weights(survey, reader));
    FLIP_TRY(survey_features(survey, reader));
    FLIP_TRY(survey_classes(survey, reader));
    return survey_splits(survey, reader);
}

void flip_survey_finish(flip_survey *survey) {
    flip_free(survey->step_events);
    flip_free(survey->class_count);
    flip_free(survey->class_names);
    flip_free(survey->edge_class_count);
    flip_free(survey->edge_class_names);
    flip_free(survey->split);
    flip_free(survey->part_first);
    flip_free(survey->part_events);
    *survey = (flip_survey){.bytes = 0};
}
