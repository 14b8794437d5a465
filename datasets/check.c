/* Is a file whole, and does it mean what its schema says? One pass over every dataset, in windows
 * of a few MiB; only the bits of nodes/original (one a node) are held.
 *
 * The first thing that is wrong ends the check: what, where, what was expected, what mends it. */
#include "column.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct check {
    flip_reader *reader;
    const char *path;
    int64_t n_nodes, n_steps, n_events, n_classes;
    flip_check_report report; /* may be NULL */
    void *data;
    int64_t n_checks;
} check;

#define REMEDY "make the file again (`flipbook import`, `generate` or `partition`)"

static void passed(check *c, const char *what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void passed(check *c, const char *what, const char *format, ...) {
    char found[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found, sizeof found, format, arguments);
    va_end(arguments);
    c->n_checks++;
    if (c->report) c->report(c->data, what, found);
}

static bool has(const check *c, const char *name) {
    return flip_reader_has(c->reader, name);
}

/* ---- the schema ---- */

/* Sizes by letter: N nodes, M nodes + 1, E events, T steps, * anything, 0 absent. `or_type`: a
 * second type allowed. `with`: a dataset that must be there too. */
static const struct rule {
    const char *name;
    flip_type type, or_type;
    char dims[4];
    const char *with;
} schema[] = {
    {"events/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, "M00", "events/src"},
    {"events/src", FLIP_TYPE_I32, FLIP_TYPE_I64, "E00", "events/indptr"},
    {"events/step", FLIP_TYPE_I32, FLIP_TYPE_I32, "E00", "events/src"},
    {"events/weight", FLIP_TYPE_F32, FLIP_TYPE_F32, "E00", "events/src"},
    {"events/label", FLIP_TYPE_I32, FLIP_TYPE_I32, "E00", "events/src"},
    {"events/label_names", FLIP_TYPE_U8, FLIP_TYPE_U8, "*00", "events/label"},
    {"features/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, "M00", "features/indices"},
    {"features/indices", FLIP_TYPE_I32, FLIP_TYPE_I32, "*00", "features/indptr"},
    {"features/node", FLIP_TYPE_I64, FLIP_TYPE_I64, "*00", "features/step"},
    {"features/step", FLIP_TYPE_I32, FLIP_TYPE_I32, "*00", "features/node"},
    {"features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, "***", NULL},
    {"features/codes", FLIP_TYPE_U8, FLIP_TYPE_U8, "**0", "features/codec"},
    {"features/codec", FLIP_TYPE_U8, FLIP_TYPE_U8, "*00", "features/codes"},
    {"features/refinement", FLIP_TYPE_U8, FLIP_TYPE_U8, "N*0", "features/refinement_codec"},
    {"features/refinement_codec", FLIP_TYPE_U8, FLIP_TYPE_U8, "*00", "features/refinement"},
    {"labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, "*00", NULL},
    {"labels/node", FLIP_TYPE_I64, FLIP_TYPE_I64, "*00", "labels/step"},
    {"labels/step", FLIP_TYPE_I32, FLIP_TYPE_I32, "*00", "labels/node"},
    {"labels/names", FLIP_TYPE_U8, FLIP_TYPE_U8, "*00", NULL},
    {"targets/node", FLIP_TYPE_I64, FLIP_TYPE_I64, "*00", "targets/step"},
    {"targets/step", FLIP_TYPE_I32, FLIP_TYPE_I32, "*00", "targets/node"},
    {"targets/values", FLIP_TYPE_F32, FLIP_TYPE_F32, "***", NULL},
    {"splits", FLIP_TYPE_I8, FLIP_TYPE_I8, "*N0", NULL},
    {"negatives/step", FLIP_TYPE_I32, FLIP_TYPE_I32, "*00", "negatives/source"},
    {"negatives/source", FLIP_TYPE_I64, FLIP_TYPE_I64, "*00", "negatives/destination"},
    {"negatives/destination", FLIP_TYPE_I64, FLIP_TYPE_I64, "*00", "negatives/step"},
    {"nodes/original", FLIP_TYPE_I64, FLIP_TYPE_I64, "N00", NULL},
    {"nodes/number", FLIP_TYPE_I64, FLIP_TYPE_I64, "N00", NULL},
    {"nodes/name_ptr", FLIP_TYPE_I64, FLIP_TYPE_I64, "M00", "nodes/name"},
    {"nodes/name", FLIP_TYPE_U8, FLIP_TYPE_U8, "*00", "nodes/name_ptr"},
    {"parts/first", FLIP_TYPE_I64, FLIP_TYPE_I64, "*00", NULL},
};

static flip_status wrong_size(const check *c, const char *name, int dim, int64_t found,
                              int64_t expected) {
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "'%s' dataset %s: dimension %d is %lld; expected %lld (%lld nodes, %lld "
                     "events, %lld steps); " REMEDY,
                     c->path, name, dim + 1, (long long)found, (long long)expected,
                     (long long)c->n_nodes, (long long)c->n_events, (long long)c->n_steps);
}

static flip_status expect_rows(const check *c, const char *name, int64_t expected) {
    int64_t dims[3];
    FLIP_TRY(flip_reader_shape(c->reader, name, dims, NULL));
    return dims[0] == expected ? FLIP_OK : wrong_size(c, name, 0, dims[0], expected);
}

static flip_status check_rule(check *c, const struct rule *rule) {
    int64_t dims[3];
    flip_type type;
    FLIP_TRY(flip_reader_shape(c->reader, rule->name, dims, &type));
    if (type != rule->type && type != rule->or_type)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' dataset %s is %s; expected %s%s%s; " REMEDY,
                         c->path, rule->name, flip_type_name(type), flip_type_name(rule->type),
                         rule->or_type != rule->type ? " or " : "",
                         rule->or_type != rule->type ? flip_type_name(rule->or_type) : "");
    if (rule->with && !has(c, rule->with))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has dataset %s but not %s; " REMEDY, c->path,
                         rule->name, rule->with);
    for (int i = 0; i < 3; i++) {
        int64_t expected = rule->dims[i] == 'N'   ? c->n_nodes
                           : rule->dims[i] == 'M' ? c->n_nodes + 1
                           : rule->dims[i] == 'E' ? c->n_events
                           : rule->dims[i] == '0' ? 0
                                                  : dims[i];
        if (dims[i] != expected) return wrong_size(c, rule->name, i, dims[i], expected);
    }
    return FLIP_OK;
}

static flip_status check_schema(check *c) {
    int32_t n = flip_reader_n_datasets(c->reader);
    for (int32_t i = 0; i < n; i++) {
        const char *name = flip_reader_dataset(c->reader, i);
        const struct rule *rule = NULL;
        for (size_t k = 0; k < sizeof schema / sizeof *schema; k++)
            if (strcmp(schema[k].name, name) == 0) rule = &schema[k];
        if (!rule)
            return FLIP_FAIL(
                FLIP_ERROR_INPUT,
                "'%s' has a dataset %s that a graph of version 1 does not have; " REMEDY, c->path,
                name);
        FLIP_TRY(check_rule(c, rule));
    }
    passed(c, "schema", "%d datasets, types and sizes agree", (int)n);
    return FLIP_OK;
}

static flip_status whole_attribute(check *c, const char *name, int64_t *value, int64_t least,
                                   int64_t most) {
    FLIP_TRY(flip_reader_attribute_i64(c->reader, "/", name, value));
    if (*value < least || *value > most)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' attribute %s is %lld; expected %lld … %lld; " REMEDY, c->path, name,
                         (long long)*value, (long long)least, (long long)most);
    return FLIP_OK;
}

static flip_status check_attributes(check *c) {
    int64_t undirected, dims[3];
    double zero = 0, width = 1;
    FLIP_TRY(whole_attribute(c, "n_nodes", &c->n_nodes, 0, (int64_t)1 << 40));
    FLIP_TRY(whole_attribute(c, "n_steps", &c->n_steps, 1, INT32_MAX));
    FLIP_TRY(whole_attribute(c, "n_classes", &c->n_classes, 0, INT32_MAX));
    FLIP_TRY(whole_attribute(c, "undirected", &undirected, 0, 1));
    if (flip_reader_has_attribute(c->reader, "/", "step_zero"))
        FLIP_TRY(flip_reader_attribute_f64(c->reader, "/", "step_zero", &zero));
    if (flip_reader_has_attribute(c->reader, "/", "step_width"))
        FLIP_TRY(flip_reader_attribute_f64(c->reader, "/", "step_width", &width));
    if (!isfinite(zero) || !isfinite(width) || width <= 0)
        return FLIP_FAIL(
            FLIP_ERROR_INPUT,
            "'%s' attributes step_zero %g, step_width %g; expected finite numbers, the "
            "width above 0; " REMEDY,
            c->path, zero, width);
    if (!has(c, "events/indptr") || !has(c, "events/src"))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has no events/indptr and events/src; " REMEDY,
                         c->path);
    FLIP_TRY(flip_reader_shape(c->reader, "events/src", dims, NULL));
    c->n_events = dims[0];
    passed(c, "attributes", "%lld nodes, %lld steps, %lld events", (long long)c->n_nodes,
           (long long)c->n_steps, (long long)c->n_events);
    return FLIP_OK;
}

/* ---- columns of whole numbers ---- */

/* at: index into all values, width of them a row */
static flip_status out_of_range(const check *c, const char *name, int64_t at, int64_t width,
                                int64_t found, int64_t least, int64_t most) {
    int64_t row = at / width;
    if (width > 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' dataset %s, row %lld, column %lld: found %lld, expected %lld … "
                         "%lld; " REMEDY,
                         c->path, name, (long long)row, (long long)(at % width), (long long)found,
                         (long long)least, (long long)most);
    return FLIP_FAIL(
        FLIP_ERROR_INPUT, "'%s' dataset %s, row %lld: found %lld, expected %lld … %lld; " REMEDY,
        c->path, name, (long long)row, (long long)found, (long long)least, (long long)most);
}

static flip_status check_range(check *c, const char *name, int64_t least, int64_t most,
                               const char *what) {
    flip_column column;
    flip_status status = FLIP_OK;
    int64_t value = 0;
    FLIP_TRY(flip_column_open(&column, c->reader, name, FLIP_TYPE_I64));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &value));
        if (value >= least && value <= most) continue;
        status = out_of_range(c, name, i, column.width, value, least, most);
        goto done;
    }
    passed(c, name, "%lld %s, all in %lld … %lld", (long long)column.n, what, (long long)least,
           (long long)most);
done:
    flip_column_close(&column);
    return status;
}

/* Pointers: from 0, never down, to `last`. */
static flip_status check_pointers(check *c, const char *name, int64_t last) {
    flip_column column;
    flip_status status = FLIP_OK;
    int64_t value = 0, before = 0;
    FLIP_TRY(flip_column_open(&column, c->reader, name, FLIP_TYPE_I64));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &value));
        if (i == 0 && value != 0)
            status = out_of_range(c, name, 0, 1, value, 0, 0);
        else if (value < before || value > last)
            status = out_of_range(c, name, i, 1, value, before, last);
        if (status != FLIP_OK) goto done;
        before = value;
    }
    if (column.n < 1 || before != last)
        status = out_of_range(c, name, column.n - 1, 1, before, last, last);
    else
        passed(c, name, "%lld pointers ascend from 0 to %lld", (long long)column.n,
               (long long)last);
done:
    flip_column_close(&column);
    return status;
}

/* ---- columns of real numbers ---- */

static flip_status check_reals(check *c, const char *name, bool nan_means_none) {
    flip_column column;
    flip_status status = FLIP_OK;
    double value = 0;
    int64_t n_bad = 0, first = -1, n_none = 0;
    double first_value = 0;
    FLIP_TRY(flip_column_open(&column, c->reader, name, FLIP_TYPE_F64));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_f64(&column, i, &value));
        if (isfinite(value)) continue;
        if (isnan(value) && nan_means_none) {
            n_none++;
            continue;
        }
        if (n_bad++ == 0) first = i, first_value = value;
    }
    if (n_bad > 0)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s, row %lld, column %lld: found %s, expected a finite "
                           "number; %lld of %lld values are like that: mend the raw data (fill or "
                           "leave out the rows) and import again",
                           c->path, name, (long long)(first / column.width),
                           (long long)(first % column.width), isnan(first_value) ? "nan" : "inf",
                           (long long)n_bad, (long long)column.n);
    else if (n_none > 0)
        passed(c, name, "%lld numbers, %lld absent", (long long)column.n, (long long)n_none);
    else
        passed(c, name, "%lld finite numbers", (long long)column.n);
done:
    flip_column_close(&column);
    return status;
}

/* ---- events ---- */

static uint64_t mix(uint64_t x) { /* splitmix64's finaliser */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Order by (step, source) inside a destination, and, in an undirected graph, a mirror image for
 * every event: the sums of a hash of (lower, higher, step) over both directions must agree. */
static flip_status check_order(check *c) {
    flip_column pointer = {.n = 0}, source = {.n = 0}, step = {.n = 0};
    flip_status status = FLIP_OK;
    bool timed = has(c, "events/step");
    int64_t undirected, begin = 0, end = 0;
    uint64_t up = 0, down = 0;
    FLIP_TRY_GOTO(flip_reader_attribute_i64(c->reader, "/", "undirected", &undirected));
    FLIP_TRY_GOTO(flip_column_open(&pointer, c->reader, "events/indptr", FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_column_open(&source, c->reader, "events/src", FLIP_TYPE_I64));
    if (timed) FLIP_TRY_GOTO(flip_column_open(&step, c->reader, "events/step", FLIP_TYPE_I64));
    for (int64_t v = 0; v < c->n_nodes; v++) {
        int64_t s_before = -1, u_before = -1;
        FLIP_TRY_GOTO(flip_column_i64(&pointer, v + 1, &end));
        for (int64_t e = begin; e < end; e++) {
            int64_t u = 0, s = 0;
            FLIP_TRY_GOTO(flip_column_i64(&source, e, &u));
            if (timed) FLIP_TRY_GOTO(flip_column_i64(&step, e, &s));
            if (s < s_before || (s == s_before && u < u_before)) {
                status = FLIP_FAIL(
                    FLIP_ERROR_INPUT,
                    "'%s' dataset events/src, row %lld (destination %lld): found step %lld, source "
                    "%lld after step %lld, source %lld; expected ascending (step, source); " REMEDY,
                    c->path, (long long)e, (long long)v, (long long)s, (long long)u,
                    (long long)s_before, (long long)u_before);
                goto done;
            }
            s_before = s;
            u_before = u;
            uint64_t low = (uint64_t)(u < v ? u : v), high = (uint64_t)(u < v ? v : u);
            uint64_t h = mix(mix(mix(low) + high) + (uint64_t)s);
            if (u < v) up += h;
            if (u > v) down += h;
        }
        begin = end;
    }
    passed(c, "events order", "by destination, step, source");
    if (undirected && up != down)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' says it is undirected, but some events have no mirror image "
                           "(source and destination exchanged, same step); " REMEDY,
                           c->path);
    else if (undirected)
        passed(c, "events symmetry", "every event has its mirror image");
done:
    flip_column_close(&pointer);
    flip_column_close(&source);
    flip_column_close(&step);
    return status;
}

static flip_status check_events(check *c) {
    FLIP_TRY(check_pointers(c, "events/indptr", c->n_events));
    FLIP_TRY(check_range(c, "events/src", 0, c->n_nodes - 1, "sources"));
    if (has(c, "events/step"))
        FLIP_TRY(check_range(c, "events/step", 0, c->n_steps - 1, "steps"));
    else if (c->n_steps > 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has %lld steps but no dataset events/step; " REMEDY, c->path,
                         (long long)c->n_steps);
    if (has(c, "events/weight")) FLIP_TRY(check_reals(c, "events/weight", false));
    return check_order(c);
}

/* ---- names ---- */

static flip_status count_lines(const check *c, const char *name, int64_t *lines) {
    flip_column column;
    flip_status status = FLIP_OK;
    int64_t byte = '\n';
    *lines = 0;
    FLIP_TRY(flip_column_open(&column, c->reader, name, FLIP_TYPE_I64));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &byte));
        *lines += byte == '\n';
    }
    *lines += byte != '\n'; /* the last one may go without */
done:
    flip_column_close(&column);
    return status;
}

static flip_status check_names(check *c, const char *name, int64_t expected) {
    int64_t lines;
    FLIP_TRY(count_lines(c, name, &lines));
    if (lines != expected)
        return FLIP_FAIL(
            FLIP_ERROR_INPUT,
            "'%s' dataset %s has %lld lines; expected one for each of %lld classes; " REMEDY,
            c->path, name, (long long)lines, (long long)expected);
    passed(c, name, "%lld names", (long long)lines);
    return FLIP_OK;
}

static flip_status check_event_labels(check *c) {
    int64_t n = c->n_classes;
    if (!has(c, "events/label")) return FLIP_OK;
    if (has(c, "events/label_names")) {
        FLIP_TRY(count_lines(c, "events/label_names", &n));
        passed(c, "events/label_names", "%lld names", (long long)n);
    } else if (has(c, "labels/class") || n == 0) {
        n = INT32_MAX; /* n_classes speaks of the nodes */
    }
    return check_range(c, "events/label", -1, n - 1, "classes of events");
}

/* ---- rows that change ---- */

/* (node, step) strictly ascending, in range; the companion has as many rows. */
static flip_status check_changes(check *c, const char *node_name, const char *step_name,
                                 const char *values_name) {
    flip_column node = {.n = 0}, step = {.n = 0};
    flip_status status = FLIP_OK;
    int64_t v = 0, s = 0, v_before = -1, s_before = -1;
    FLIP_TRY_GOTO(flip_column_open(&node, c->reader, node_name, FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_column_open(&step, c->reader, step_name, FLIP_TYPE_I64));
    FLIP_TRY_GOTO(expect_rows(c, step_name, node.n));
    if (!has(c, values_name)) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has dataset %s but not %s; " REMEDY, c->path,
                           node_name, values_name);
        goto done;
    }
    FLIP_TRY_GOTO(expect_rows(c, values_name, node.n));
    for (int64_t i = 0; i < node.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&node, i, &v));
        FLIP_TRY_GOTO(flip_column_i64(&step, i, &s));
        if (v < 0 || v >= c->n_nodes)
            status = out_of_range(c, node_name, i, 1, v, 0, c->n_nodes - 1);
        else if (s < 0 || s >= c->n_steps)
            status = out_of_range(c, step_name, i, 1, s, 0, c->n_steps - 1);
        else if (v < v_before || (v == v_before && s <= s_before))
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' dataset %s, row %lld: found node %lld, step %lld after node "
                               "%lld, step %lld; expected ascending (node, step); " REMEDY,
                               c->path, node_name, (long long)i, (long long)v, (long long)s,
                               (long long)v_before, (long long)s_before);
        if (status != FLIP_OK) goto done;
        v_before = v;
        s_before = s;
    }
    passed(c, node_name, "%lld rows by node and step", (long long)node.n);
done:
    flip_column_close(&node);
    flip_column_close(&step);
    return status;
}

/* ---- features, labels, targets ---- */

/* Columns strictly ascend inside a row and stay below n_columns. */
static flip_status check_sparse(check *c) {
    flip_column pointer = {.n = 0}, index = {.n = 0};
    flip_status status = FLIP_OK;
    int64_t n_columns, begin = 0, end = 0, dims[3];
    FLIP_TRY(flip_reader_attribute_i64(c->reader, "features", "n_columns", &n_columns));
    FLIP_TRY(flip_reader_shape(c->reader, "features/indices", dims, NULL));
    FLIP_TRY(check_pointers(c, "features/indptr", dims[0]));
    if (has(c, "features/values")) FLIP_TRY(expect_rows(c, "features/values", dims[0]));
    FLIP_TRY_GOTO(flip_column_open(&pointer, c->reader, "features/indptr", FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_column_open(&index, c->reader, "features/indices", FLIP_TYPE_I64));
    for (int64_t v = 0; v < c->n_nodes; v++) {
        int64_t before = -1, column = 0;
        FLIP_TRY_GOTO(flip_column_i64(&pointer, v + 1, &end));
        for (int64_t i = begin; i < end; i++) {
            FLIP_TRY_GOTO(flip_column_i64(&index, i, &column));
            if (column <= before || column >= n_columns) {
                status =
                    out_of_range(c, "features/indices", i, 1, column, before + 1, n_columns - 1);
                goto done;
            }
            before = column;
        }
        begin = end;
    }
    passed(c, "features/indices", "%lld columns ascend inside their rows, below %lld",
           (long long)index.n, (long long)n_columns);
done:
    flip_column_close(&pointer);
    flip_column_close(&index);
    return status;
}

/* Packed rows that change begin at step 0, of every node. */
static flip_status check_begin(check *c) {
    flip_column node = {.n = 0}, step = {.n = 0};
    flip_status status = FLIP_OK;
    int64_t v = -1, s = 0, before = -1;
    FLIP_TRY_GOTO(flip_column_open(&node, c->reader, "features/node", FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_column_open(&step, c->reader, "features/step", FLIP_TYPE_I64));
    for (int64_t i = 0; i <= node.n; i++, before = v) {
        v = c->n_nodes;
        if (i < node.n) FLIP_TRY_GOTO(flip_column_i64(&node, i, &v));
        if (i < node.n) FLIP_TRY_GOTO(flip_column_i64(&step, i, &s));
        if (v <= before + 1 && (v == before || s == 0 || i == node.n)) continue;
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset features/node: node %lld has no packed row at step 0; "
                           "compress it again",
                           c->path, (long long)(v > before + 1 ? before + 1 : v));
        goto done;
    }
    passed(c, "features/step", "every node has a packed row at step 0");
done:
    flip_column_close(&node);
    flip_column_close(&step);
    return status;
}

/* Every code has a place in the codec's tables. */
static flip_status check_level(check *c, const flip_codec *codec, const char *name) {
    uint8_t *window = NULL;
    flip_status status;
    int64_t dims[3];
    size_t stride = flip_codec_stride(codec);
    const int64_t most = (int64_t)((1 << 21) / stride) + 1;
    FLIP_TRY_GOTO(flip_reader_shape(c->reader, name, dims, NULL));
    if (!has(c, "features/node")) FLIP_TRY_GOTO(expect_rows(c, name, c->n_nodes));
    FLIP_TRY_GOTO(flip_alloc(&window, (size_t)most, stride, "packed rows"));
    for (int64_t first = 0; first < dims[0]; first += most) {
        int64_t n = dims[0] - first < most ? dims[0] - first : most;
        FLIP_TRY_GOTO(flip_reader_rows(c->reader, name, FLIP_TYPE_U8, first, n, window));
        FLIP_TRY_GOTO(flip_codec_check_codes(codec, n, window, first));
    }
    passed(c, name, "%lld rows of %zu bytes fit codec %s", (long long)dims[0], stride,
           flip_codec_name(codec));
done:
    flip_free(window);
    return status;
}

static flip_status check_codes(check *c) {
    flip_codec *codec = NULL, *refinement = NULL;
    flip_status status;
    if (has(c, "features/values") || has(c, "features/indptr"))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has features both packed and as values; expected one kind; " REMEDY,
                         c->path);
    FLIP_TRY_GOTO(flip_container_codec(&codec, c->reader));
    FLIP_TRY_GOTO(flip_container_refinement(&refinement, c->reader, codec));
    if (has(c, "features/node")) {
        FLIP_TRY_GOTO(check_changes(c, "features/node", "features/step", "features/codes"));
        FLIP_TRY_GOTO(check_begin(c));
    }
    status = check_level(c, codec, "features/codes");
    if (status == FLIP_OK && refinement) status = check_level(c, refinement, "features/refinement");
done:
    flip_codec_destroy(&codec);
    flip_codec_destroy(&refinement);
    return status;
}

static flip_status check_features(check *c) {
    if (has(c, "features/codes") || has(c, "features/refinement")) return check_codes(c);
    bool sparse = has(c, "features/indices"), changing = has(c, "features/node");
    if (sparse && changing)
        return FLIP_FAIL(
            FLIP_ERROR_INPUT,
            "'%s' has features both as CSR and as changing rows; expected one kind; " REMEDY,
            c->path);
    if (sparse) FLIP_TRY(check_sparse(c));
    if (changing) FLIP_TRY(check_changes(c, "features/node", "features/step", "features/values"));
    if (!has(c, "features/values")) return FLIP_OK;
    if (!sparse && !changing) FLIP_TRY(expect_rows(c, "features/values", c->n_nodes));
    if (flip_reader_has_attribute(c->reader, "features", "allow_nan")) {
        passed(c, "features/values", "not searched for NaN (imported with --allow-nan)");
        return FLIP_OK;
    }
    return check_reals(c, "features/values", false);
}

static flip_status check_labels(check *c) {
    if (has(c, "labels/node") && !has(c, "labels/class"))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has labels/node but not labels/class; " REMEDY,
                         c->path);
    if (has(c, "labels/class")) {
        if (has(c, "labels/node"))
            FLIP_TRY(check_changes(c, "labels/node", "labels/step", "labels/class"));
        else
            FLIP_TRY(expect_rows(c, "labels/class", c->n_nodes));
        FLIP_TRY(check_range(c, "labels/class", -1, c->n_classes - 1, "classes of nodes"));
    }
    if (has(c, "labels/names")) FLIP_TRY(check_names(c, "labels/names", c->n_classes));
    FLIP_TRY(check_event_labels(c));
    if (has(c, "targets/node"))
        FLIP_TRY(check_changes(c, "targets/node", "targets/step", "targets/values"));
    if (!has(c, "targets/values")) return FLIP_OK;
    if (!has(c, "targets/node")) {
        int64_t dims[3];
        FLIP_TRY(flip_reader_shape(c->reader, "targets/values", dims, NULL));
        if (dims[0] != c->n_nodes) return wrong_size(c, "targets/values", 0, dims[0], c->n_nodes);
        if (dims[1] != c->n_steps) return wrong_size(c, "targets/values", 1, dims[1], c->n_steps);
    }
    return check_reals(c, "targets/values", true);
}

/* ---- nodes and parts ---- */

/* Every dense id once. */
static flip_status check_permutation(check *c) {
    flip_column column;
    flip_status status = FLIP_OK;
    uint8_t *seen = NULL; /* [n_nodes] bits */
    int64_t id = 0;
    FLIP_TRY(flip_column_open(&column, c->reader, "nodes/original", FLIP_TYPE_I64));
    FLIP_TRY_GOTO(flip_alloc_zero(&seen, (size_t)c->n_nodes / 8 + 1, 1, "the ids seen"));
    for (int64_t i = 0; i < column.n; i++) {
        FLIP_TRY_GOTO(flip_column_i64(&column, i, &id));
        if (id < 0 || id >= c->n_nodes) {
            status = out_of_range(c, "nodes/original", i, 1, id, 0, c->n_nodes - 1);
            goto done;
        }
        if (seen[id / 8] >> (id % 8) & 1) {
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' dataset nodes/original, row %lld: found %lld a second time; "
                               "expected every id once; " REMEDY,
                               c->path, (long long)i, (long long)id);
            goto done;
        }
        seen[id / 8] |= (uint8_t)(1 << (id % 8));
    }
    passed(c, "nodes/original", "%lld ids, each once", (long long)column.n);
done:
    flip_free(seen);
    flip_column_close(&column);
    return status;
}

/* Pinned non-edges: equal columns, ranges, strictly ascending (step, source, destination). */
static flip_status check_negatives(check *c) {
    static const char *const name[] = {"negatives/step", "negatives/source",
                                       "negatives/destination"};
    flip_column column[3] = {{.n = 0}, {.n = 0}, {.n = 0}};
    int64_t before[3] = {-1, -1, -1}, dims[3];
    flip_status status;
    FLIP_TRY(flip_reader_shape(c->reader, name[0], dims, NULL));
    for (int k = 0; k < 3; k++) {
        FLIP_TRY(expect_rows(c, name[k], dims[0]));
        FLIP_TRY(
            check_range(c, name[k], 0, k ? c->n_nodes - 1 : c->n_steps - 1, k ? "nodes" : "steps"));
    }
    for (int k = 0; k < 3; k++)
        FLIP_TRY_GOTO(flip_column_open(&column[k], c->reader, name[k], FLIP_TYPE_I64));
    for (int64_t i = 0; i < dims[0]; i++) {
        int64_t now[3];
        int order = 0;
        for (int k = 0; k < 3; k++) {
            FLIP_TRY_GOTO(flip_column_i64(&column[k], i, &now[k]));
            if (order == 0) order = (now[k] > before[k]) - (now[k] < before[k]);
            before[k] = now[k];
        }
        if (order > 0) continue;
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset negatives/step, row %lld: expected strictly ascending "
                           "(step, source, destination); " REMEDY,
                           c->path, (long long)i);
        goto done;
    }
    passed(c, "negatives", "%lld pinned pairs, each once", (long long)dims[0]);
done:
    for (int k = 0; k < 3; k++)
        flip_column_close(&column[k]);
    return status;
}

static flip_status check_nodes(check *c) {
    int64_t dims[3];
    if (has(c, "negatives/step")) FLIP_TRY(check_negatives(c));
    if (has(c, "splits")) FLIP_TRY(check_range(c, "splits", -1, 2, "roles in splits"));
    if (has(c, "nodes/original")) FLIP_TRY(check_permutation(c));
    if (has(c, "nodes/name_ptr")) {
        FLIP_TRY(flip_reader_shape(c->reader, "nodes/name", dims, NULL));
        FLIP_TRY(check_pointers(c, "nodes/name_ptr", dims[0]));
    }
    if (has(c, "parts/first")) FLIP_TRY(check_pointers(c, "parts/first", c->n_nodes));
    return FLIP_OK;
}

/* ---- */

/* Other kinds (checkpoints) have no schema here: every value is read once. */
static flip_status check_readable(check *c) {
    for (int32_t i = 0; i < flip_reader_n_datasets(c->reader); i++) {
        const char *name = flip_reader_dataset(c->reader, i);
        flip_column column;
        double value;
        flip_status status = FLIP_OK;
        FLIP_TRY(flip_column_open(&column, c->reader, name, FLIP_TYPE_F64));
        for (int64_t at = 0; at < column.n && status == FLIP_OK; at += column.count)
            status = flip_column_f64(&column, at, &value);
        flip_column_close(&column);
        FLIP_TRY(status);
        passed(c, name, "%lld values can be read", (long long)column.n);
    }
    return FLIP_OK;
}

static flip_status check_graph(check *c) {
    FLIP_TRY(check_attributes(c));
    FLIP_TRY(check_schema(c));
    FLIP_TRY(check_events(c));
    FLIP_TRY(check_features(c));
    FLIP_TRY(check_labels(c));
    return check_nodes(c);
}

flip_status flip_container_check_each(const char *path, flip_check_report report, void *data,
                                      int64_t *n_checks) {
    check c = {.path = path, .report = report, .data = data};
    char kind[64];
    flip_status status;
    FLIP_TRY_GOTO(flip_reader_open(&c.reader, NULL, path, NULL));
    passed(&c, "hashes", "%lld bytes match their hashes, structure is plain",
           (long long)flip_reader_bytes(c.reader));
    FLIP_TRY_GOTO(flip_reader_attribute_text(c.reader, "/", "kind", kind, sizeof kind));
    status = strcmp(kind, "graph") == 0 ? check_graph(&c) : check_readable(&c);
done:
    flip_reader_close(&c.reader);
    if (n_checks) *n_checks = c.n_checks;
    return status;
}

flip_status flip_container_check(const char *path, int64_t *n_checks) {
    return flip_container_check_each(path, NULL, NULL, n_checks);
}
