/* Events of one (row, source) -> what the snapshots hold of it.
 *
 * An event of step s lives in steps s … s+life-1. A snapshot's value is what is sent to a device: a
 * flip_real. Degrees are sums of such values, so that a device that has only snapshots finds the
 * same ones. */
#include "graph/device.h"

/* Sum of weights, in the order of events: the same events give the same bits at every step. */
static double sum_weights(const flip_build *b, const uint32_t *events, int64_t n) {
    if (!b->events->weight || !flip_kind_weighted(b->params.kind)) return (double)n;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += flip_event_weight(b, events[i]);
    return (double)(flip_real)sum;
}

/* Values at steps first … end: a sum is taken anew where an event comes or goes. */
static void sum_lives(const flip_build *b, double *value, int32_t first, int32_t end,
                      const uint32_t *events, int64_t n_events) {
    const int32_t life = b->params.edge_life;
    int64_t low = 0, high = 0;
    double sum = 0;
    for (int32_t t = first; t <= end; t++) {
        const int64_t was_low = low, was_high = high;
        while (high < n_events && flip_event_step(b, events[high]) <= t)
            high++;
        while (low < high && flip_event_step(b, events[low]) <= t - life)
            low++;
        if (low != was_low || high != was_high) sum = sum_weights(b, events + low, high - low);
        *value++ = sum;
    }
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
        sum_lives(b, value, from, end, events + i, j - i);
        value += end - from + 1;
    }
}

/* The same from the values of a block's snapshots. */
static void read_pieces(const flip_build *b, flip_raw *raw, const flip_piece *piece, int32_t n,
                        bool values) {
    double *value = raw->value;
    int32_t runs = 0;
    for (int32_t k = 0; k < n; k++) {
        const int32_t first = piece[k].step, end = k + 1 < n ? piece[k + 1].step : b->last + 1;
        if (flip_is_absent(piece[k].value)) continue;
        if (runs > 0 && raw->first[runs - 1] + raw->length[runs - 1] == first) {
            raw->length[runs - 1] += end - first;
        } else {
            raw->first[runs] = first;
            raw->length[runs++] = end - first;
        }
        for (int32_t t = first; values && t < end; t++)
            *value++ = (double)piece[k].value;
    }
    raw->n_runs = runs;
}

static void walk_pieces(const flip_build *b, int32_t v, bool values, flip_row_scratch *scratch,
                        flip_raw_visit *visit, void *to) {
    const flip_pieces *p = b->pieces;
    for (int64_t e = p->row_begin[v]; e < p->row_begin[v] + p->row_n[v]; e++) {
        read_pieces(b, &scratch->raw, p->piece + p->begin[e], p->n[e], values);
        visit(to, p->column[e], &scratch->raw);
    }
}

void flip_build_walk(const flip_build *b, int32_t v, bool values, flip_row_scratch *scratch,
                     flip_raw_visit *visit, void *to) {
    const uint32_t *events = b->by_row;
    if (b->pieces) {
        walk_pieces(b, v, values, scratch, visit, to);
        return;
    }
    for (int64_t i = b->row_start[v], j; i < b->row_start[v + 1]; i = j) {
        const int32_t column = b->column[events[i]];
        for (j = i + 1; j < b->row_start[v + 1] && b->column[events[j]] == column; j++) {
        }
        read_events(b, scratch, events + i, j - i, values);
        visit(to, column, &scratch->raw);
    }
}
