/* Pinned non-edges of link prediction: lines `step source destination`, or a .npy [R, 3] of them,
 * ids as in the edge list, steps counted from 0 as in the container. Every pair (source,
 * destination) of a step is one candidate of that source, however often it stands in the file. */
#include "datasets/import_private.h"
#include "datasets/npy.h"
#include "datasets/read_number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* [step, source, destination], nodes by their number */
typedef struct triple {
    int64_t at[3];
} triple;

typedef struct reading {
    flip_import_state *s;
    const char *path;
    triple *list;
    int64_t n, room;
} reading;

static int ascending(const void *a, const void *b) {
    const triple *x = a, *y = b;
    for (int k = 0; k < 3; k++)
        if (x->at[k] != y->at[k]) return x->at[k] < y->at[k] ? -1 : 1;
    return 0;
}

/* ---- ids ---- */

/* The node called so, or -1. */
static int64_t named(const flip_numbering *n, const char *text, size_t length) {
    int64_t low = 0, high = n->n_nodes;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        size_t size = (size_t)(n->name_ptr[middle + 1] - n->name_ptr[middle]);
        int order = memcmp(n->name + n->name_ptr[middle], text, size < length ? size : length);
        if (order == 0 && size == length) return middle;
        if (order < 0 || (order == 0 && size < length))
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static int64_t numbered(const flip_numbering *n, int64_t id) {
    if (!n->number) return id >= 0 && id < n->n_nodes ? id : -1;
    int64_t low = 0, high = n->n_nodes;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (n->number[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n->n_nodes && n->number[low] == id ? low : -1;
}

static int64_t node_called(const flip_numbering *n, const char *text, size_t length) {
    int64_t id;
    if (n->name_ptr) return named(n, text, length);
    return flip_parse_integer(text, length, &id) == FLIP_NUMBER_OK ? numbered(n, id) : -1;
}

/* ---- rows ---- */

static flip_status unknown(const reading *r, const char *what, int64_t row, const char *text,
                           size_t length) {
    if (strcmp(what, "step") == 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "--negatives '%s' %s %" PRId64 ": step '%.*s' is not one of 0 to %" PRId64,
                         r->path, flip_ends_with(r->path, ".npy") ? "row" : "line", row,
                         (int)(length < 40 ? length : 40), text, r->s->n_steps - 1);
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "--negatives '%s' %s %" PRId64 ": %s '%.*s' is no node of the edge list",
                     r->path, flip_ends_with(r->path, ".npy") ? "row" : "line", row, what,
                     (int)(length < 40 ? length : 40), text);
}

static flip_status add(reading *r, const triple *t) {
    if (r->n == r->room) {
        int64_t more = r->room ? 2 * r->room : 4096;
        FLIP_TRY(flip_grow(&r->list, (size_t)r->n, (size_t)more, sizeof *r->list, "negatives"));
        r->room = more;
    }
    r->list[r->n++] = *t;
    return FLIP_OK;
}

static const char *const columns[] = {"step", "source", "destination"};

static flip_status read_line(reading *r, char *at, char *end, char delimiter, int64_t line) {
    flip_field field[4];
    int32_t n;
    triple t;
    if (!flip_split(at, end, delimiter, field, 4, &n) || n < 3)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "--negatives '%s' line %" PRId64 ": expected step, source, destination",
                         r->path, line);
    if (flip_parse_integer(field[0].at, field[0].length, &t.at[0]) != FLIP_NUMBER_OK ||
        t.at[0] < 0 || t.at[0] >= r->s->n_steps)
        return unknown(r, columns[0], line, field[0].at, field[0].length);
    for (int k = 1; k < 3; k++) {
        t.at[k] = node_called(&r->s->numbering, field[k].at, field[k].length);
        if (t.at[k] < 0) return unknown(r, columns[k], line, field[k].at, field[k].length);
    }
    return add(r, &t);
}

static flip_status read_text(reading *r) {
    flip_text text = {0};
    flip_layout layout = {0};
    flip_status status;
    bool comment;
    FLIP_TRY(flip_text_open(&text, r->path));
    FLIP_TRY_GOTO(flip_layout_detect(&layout, &text, &(flip_layout_params){0}));
    for (;;) {
        if (text.begin == text.limit) FLIP_TRY_GOTO(flip_text_fill(&text));
        if (text.begin == text.limit) break;
        char *at = text.buffer + text.begin, *next, *end = flip_line_end(at, &next);
        if (text.line >= layout.first_line && !flip_line_skipped(&layout, at, end, &comment))
            FLIP_TRY_GOTO(read_line(r, at, end, layout.delimiter, text.line));
        text.begin = (size_t)(next - text.buffer);
        text.line++;
    }
done:
    flip_layout_finish(&layout);
    flip_text_close(&text);
    return status;
}

static flip_status read_npy(reading *r) {
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS], *values = NULL;
    char text[24];
    flip_status status;
    if (r->s->numbering.name_ptr)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--negatives '%s' holds numbers, but the edge list's ids are text; give "
                         "lines of step, source, destination",
                         r->path);
    FLIP_TRY(flip_npy_load(r->path, FLIP_TYPE_I64, &values, &n_dims, shape));
    status = n_dims == 2 && shape[1] == 3
                 ? FLIP_OK
                 : FLIP_FAIL(FLIP_ERROR_INPUT,
                             "--negatives '%s': expected an array [rows, 3] of step, source, "
                             "destination",
                             r->path);
    for (int64_t i = 0; i < shape[0] && status == FLIP_OK; i++) {
        triple t = {{values[3 * i], -1, -1}};
        for (int k = 0; k < 3 && status == FLIP_OK; k++) {
            if (k > 0) t.at[k] = numbered(&r->s->numbering, values[3 * i + k]);
            if (t.at[k] >= 0 && (k > 0 || t.at[0] < r->s->n_steps)) continue;
            snprintf(text, sizeof text, "%" PRId64, values[3 * i + k]);
            status = unknown(r, columns[k], i, text, strlen(text));
        }
        if (status == FLIP_OK) status = add(r, &t);
    }
    flip_free(values);
    return status;
}

/* ---- into the container ---- */

static flip_status write_column(flip_import_state *s, const reading *r, const char *name, int k) {
    enum { WINDOW = 1 << 18 };
    int64_t *column;
    flip_status status = FLIP_OK;
    flip_type type = k == 0 ? FLIP_TYPE_I32 : FLIP_TYPE_I64;
    FLIP_TRY(flip_alloc(&column, WINDOW, sizeof *column, "negatives"));
    for (int64_t first = 0; first < r->n && status == FLIP_OK; first += WINDOW) {
        int64_t n = r->n - first < WINDOW ? r->n - first : WINDOW;
        for (int64_t i = 0; i < n; i++)
            column[i] = r->list[first + i].at[k];
        status = flip_writer_rows(s->writer, name, type, FLIP_TYPE_I64, n, 0, 0, column);
    }
    flip_free(column);
    return status;
}

flip_status flip_import_write_negatives(flip_import_state *s) {
    reading r = {.s = s, .path = s->p->negatives};
    flip_status status;
    int64_t kept = 0;
    if (!r.path) return FLIP_OK;
    FLIP_TRY_GOTO(flip_ends_with(r.path, ".npy") ? read_npy(&r) : read_text(&r));
    if (r.n == 0) FLIP_TRY_GOTO(FLIP_FAIL(FLIP_ERROR_INPUT, "--negatives '%s' is empty", r.path));
    qsort(r.list, (size_t)r.n, sizeof *r.list, ascending);
    for (int64_t i = 0; i < r.n; i++)
        if (kept == 0 || ascending(&r.list[kept - 1], &r.list[i]) != 0) r.list[kept++] = r.list[i];
    snprintf(s->report->negatives, sizeof s->report->negatives,
             "%" PRId64 " pinned pairs in steps %" PRId64 " to %" PRId64 " (%" PRId64
             " stood more than once)",
             kept, r.list[0].at[0], r.list[kept - 1].at[0], r.n - kept);
    r.n = kept;
    FLIP_TRY_GOTO(write_column(s, &r, "negatives/step", 0));
    FLIP_TRY_GOTO(write_column(s, &r, "negatives/source", 1));
    FLIP_TRY_GOTO(write_column(s, &r, "negatives/destination", 2));
done:
    flip_free(r.list);
    return status;
}
