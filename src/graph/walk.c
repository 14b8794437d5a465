/* Events of one (row, source) -> what the snapshots hold of it.
 *
 * An event of step s lives in steps s … s+life-1. A snapshot's value is what is sent to a device: a
 * flip_real. Degrees are sums of such values, so that a device that has only snapshots finds the
 * same ones. */
#include "graph/internal.h"

#include <string.h>

/* Sums of weights over the life at steps first … first+n-1. */
static void sum_weights(const flip_build *b, double *values, int32_t first, int32_t n,
                        const uint32_t *events, int64_t n_events, double *window) {
    memset(values, 0, (size_t)n * sizeof *values);
    for (int64_t i = 0; i < n_events; i++)
        values[flip_event_step(b, events[i]) - first] += flip_event_weight(b, events[i]);
    flip_window_sum(values, n, first, b->params.edge_life, window);
}

/* Overlapping and adjacent lives are one run. */
static void read_events(const flip_build *b, flip_row_scratch *s, const uint32_t *events,
                        int64_t n_events, bool values) {
    const int32_t life = b->params.edge_life;
    flip_raw *raw = &s->raw;
    double *value = raw->value;
    raw->n_runs = 0;
    for (int64_t i = 0, j; i < n_events; i = j) {
        const int32_t first = flip_event_step(b, events[i]);
        int32_t step = first;
        for (j = i + 1; j < n_events && flip_event_step(b, events[j]) - step <= life; j++)
            step = flip_event_step(b, events[j]);
        const int32_t end = b->last - step < life - 1 ? b->last : step + life - 1;
        const int32_t from = first > b->low ? first : b->low;
        raw->first[raw->n_runs] = from;
        raw->length[raw->n_runs++] = end - from + 1;
        if (!values) continue;
        sum_weights(b, s->values, first, end - first + 1, events + i, j - i, s->window);
        for (int32_t t = from; t <= end; t++)
            *value++ = (double)(flip_real)s->values[t - first];
    }
}

void flip_build_walk(const flip_build *b, int32_t v, bool values, flip_row_scratch *scratch,
                     flip_raw_visit *visit, void *to) {
    const uint32_t *events = b->by_row;
    for (int64_t i = b->row_start[v], j; i < b->row_start[v + 1]; i = j) {
        const int32_t column = b->column[events[i]];
        for (j = i + 1; j < b->row_start[v + 1] && b->column[events[j]] == column; j++) {
        }
        read_events(b, scratch, events + i, j - i, values);
        visit(to, column, &scratch->raw);
    }
}
