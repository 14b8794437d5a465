/* The events of a container in blocks of whole rows. */
#include "partition/internal.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ROWS = 1 << 17, BLOCK_EVENTS = 1 << 20 };

static flip_status pointer_at(const flip_reader *reader, int64_t row, int64_t *out) {
    return flip_reader_rows(reader, "events/indptr", FLIP_TYPE_I64, row, 1, out);
}

/* First row that begins at or behind event `target`. */
static flip_status row_of_event(const flip_scan *s, int64_t target, flip_gid *row) {
    flip_gid low = 0, high = s->n_nodes;
    while (low < high) {
        flip_gid middle = low + (high - low) / 2;
        int64_t at = 0;
        FLIP_TRY(pointer_at(s->reader, middle, &at));
        if (at < target)
            low = middle + 1;
        else
            high = middle;
    }
    *row = low;
    return FLIP_OK;
}

flip_status flip_scan_open(flip_scan *s, const flip_reader *reader, int rank, int size) {
    flip_status status = FLIP_OK;
    int64_t dims[3], rows[3];
    *s = (flip_scan){.reader = reader};
    FLIP_TRY(flip_reader_shape(reader, "events/indptr", rows, NULL));
    FLIP_TRY(flip_reader_shape(reader, "events/src", dims, NULL));
    s->n_nodes = rows[0] - 1;
    s->n_events = dims[0];
    if (s->n_nodes < 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': events/indptr is empty",
                         flip_reader_path(reader));
    if (rank > 0) FLIP_TRY(row_of_event(s, flip_share(s->n_events, rank, size), &s->next));
    s->last = s->n_nodes;
    if (rank + 1 < size)
        FLIP_TRY(row_of_event(s, flip_share(s->n_events, rank + 1, size), &s->last));
    FLIP_TRY_GOTO(flip_alloc(&s->ptr, BLOCK_ROWS + 1, sizeof *s->ptr, "a block of rows"));
    FLIP_TRY_GOTO(flip_alloc(&s->src, BLOCK_EVENTS, sizeof *s->src, "a block of events"));
    if (flip_reader_has(reader, "events/step"))
        FLIP_TRY_GOTO(flip_alloc(&s->step, BLOCK_EVENTS, sizeof *s->step, "a block of events"));
    s->capacity = BLOCK_EVENTS;
done:
    if (status != FLIP_OK) flip_scan_close(s);
    return status;
}

void flip_scan_close(flip_scan *s) {
    flip_free(s->ptr);
    flip_free(s->src);
    flip_free(s->step);
    *s = (flip_scan){0};
}

/* Row pointers of the block, made to start at 0; *begin is the first event. */
static flip_status read_pointers(flip_scan *s, int64_t *begin) {
    int64_t rows = s->last - s->next < BLOCK_ROWS ? s->last - s->next : BLOCK_ROWS, kept = 1;
    FLIP_TRY(
        flip_reader_rows(s->reader, "events/indptr", FLIP_TYPE_I64, s->next, rows + 1, s->ptr));
    *begin = s->ptr[0];
    for (int64_t i = 0; i <= rows; i++) {
        int64_t before = i ? s->ptr[i - 1] + *begin : *begin;
        if (s->ptr[i] < before || s->ptr[i] > s->n_events)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': events/indptr[%lld] is %lld after %lld, of %lld events",
                             flip_reader_path(s->reader), (long long)(s->next + i),
                             (long long)s->ptr[i], (long long)before, (long long)s->n_events);
        s->ptr[i] -= *begin;
    }
    while (kept < rows && s->ptr[kept + 1] <= BLOCK_EVENTS)
        kept++;
    s->n_rows = kept;
    return FLIP_OK;
}

flip_status flip_scan_next(flip_scan *s) {
    int64_t begin = 0;
    s->n_rows = 0;
    s->first = s->next;
    if (s->next >= s->last) return FLIP_OK;
    FLIP_TRY(read_pointers(s, &begin));
    int64_t n = s->ptr[s->n_rows];
    if (n > s->capacity) { /* one row longer than a block */
        FLIP_TRY(flip_grow(&s->src, 0, (size_t)n, sizeof *s->src, "a long row"));
        if (s->step) FLIP_TRY(flip_grow(&s->step, 0, (size_t)n, sizeof *s->step, "a long row"));
        s->capacity = n;
    }
    FLIP_TRY(flip_reader_rows(s->reader, "events/src", FLIP_TYPE_I64, begin, n, s->src));
    if (s->step)
        FLIP_TRY(flip_reader_rows(s->reader, "events/step", FLIP_TYPE_I32, begin, n, s->step));
    for (int64_t e = 0; e < n; e++)
        if (s->src[e] < 0 || s->src[e] >= s->n_nodes)
            return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': events/src[%lld] is %lld; ids are 0 to %lld",
                             flip_reader_path(s->reader), (long long)(begin + e),
                             (long long)s->src[e], (long long)s->n_nodes - 1);
    s->next += s->n_rows;
    return FLIP_OK;
}

static int ascending(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

int64_t flip_scan_collapse(int64_t *src, const int32_t *step, int64_t n, int32_t *count) {
    int64_t kept = 0, distinct = 0;
    bool sorted = true;
    for (int64_t e = 0; e < n; e++) { /* doubled events of a step are neighbours */
        if (kept > 0 && src[kept - 1] == src[e] && (!step || step[e] == step[e - 1])) continue;
        sorted &= kept == 0 || src[kept - 1] <= src[e];
        src[kept++] = src[e];
    }
    if (!sorted) qsort(src, (size_t)kept, sizeof *src, ascending);
    for (int64_t e = 0; e < kept; e++) {
        if (distinct > 0 && src[distinct - 1] == src[e]) {
            count[distinct - 1]++;
            continue;
        }
        src[distinct] = src[e];
        count[distinct++] = 1;
    }
    return distinct;
}

/* ---- loads ------------------------------------------------------------------------------------
 */

static flip_status read_edges(int64_t *load, const flip_reader *reader, int64_t n) {
    int64_t before = 0;
    FLIP_TRY(pointer_at(reader, 0, &before));
    FLIP_TRY(flip_reader_rows(reader, "events/indptr", FLIP_TYPE_I64, 1, n, load));
    for (int64_t v = 0; v < n; v++) {
        int64_t end = load[v];
        load[v] = end - before;
        before = end;
    }
    return FLIP_OK;
}

flip_status flip_scan_walk(const flip_reader *reader, int rank, int size, flip_scan_visit each,
                           void *user) {
    flip_status status = FLIP_OK;
    flip_scan scan = {0};
    int32_t *count = NULL;
    int64_t capacity = 0;
    FLIP_TRY_GOTO(flip_scan_open(&scan, reader, rank, size));
    for (;;) {
        FLIP_TRY_GOTO(flip_scan_next(&scan));
        if (scan.n_rows == 0) break;
        if (scan.ptr[scan.n_rows] > capacity) {
            capacity = scan.ptr[scan.n_rows];
            FLIP_TRY_GOTO(flip_grow(&count, 0, (size_t)capacity, sizeof *count, "a block of rows"));
        }
        for (int64_t i = 0; i < scan.n_rows; i++) {
            int64_t *src = scan.src + scan.ptr[i];
            int64_t n = flip_scan_collapse(src, scan.step ? scan.step + scan.ptr[i] : NULL,
                                           scan.ptr[i + 1] - scan.ptr[i], count);
            FLIP_TRY_GOTO(each(user, scan.first + i, src, count, n));
        }
    }
done:
    flip_scan_close(&scan);
    flip_free(count);
    return status;
}

/* Training nodes of the first split; none without splits. */
static flip_status read_train(int64_t *load, const flip_reader *reader, int64_t n) {
    int64_t dims[3];
    memset(load, 0, sizeof *load * (size_t)n);
    if (!flip_reader_has(reader, "splits")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(reader, "splits", dims, NULL));
    if (dims[0] < 1 || dims[1] != n) return FLIP_OK;
    FLIP_TRY(flip_reader_rows(reader, "splits", FLIP_TYPE_I64, 0, 1, load));
    for (int64_t v = 0; v < n; v++)
        load[v] = load[v] == 0;
    return FLIP_OK;
}

flip_status flip_loads_read(flip_loads *loads, const flip_reader *reader, int64_t n,
                            const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    bool wanted[3] = {p->balance_nodes, p->balance_edges, p->balance_train};
    *loads = (flip_loads){0};
    if (!wanted[1] && !wanted[2]) wanted[0] = true;
    for (int c = 0; c < 3; c++) {
        if (!wanted[c]) continue;
        int64_t *load = NULL;
        FLIP_TRY_GOTO(flip_alloc(&load, (size_t)n + 1, sizeof *load, "loads of nodes"));
        loads->load[loads->n++] = load;
        for (int64_t v = 0; v < n && c == 0; v++)
            load[v] = 1;
        if (c == 1) FLIP_TRY_GOTO(read_edges(load, reader, n));
        if (c == 2) FLIP_TRY_GOTO(read_train(load, reader, n));
    }
done:
    if (status != FLIP_OK) flip_loads_free(loads);
    return status;
}

void flip_loads_free(flip_loads *loads) {
    for (int c = 0; c < 3; c++)
        flip_free(loads->load[c]);
    *loads = (flip_loads){0};
}
