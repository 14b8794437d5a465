/* Dealing out, once: rows and events from the ranks that own nodes to those that have steps. */
#include "layout.h"

#include <string.h>

enum { WINDOW = 8 << 20 }; /* bytes that a rank sends at once */

static int32_t chunk_steps(const flip_layout *l, int32_t chunk) {
    int32_t sum = 0, n;
    for (int32_t k = 0; k < l->n_blocks; k++, sum += n)
        flip_layout_chunk(l, k, chunk, &n);
    return sum;
}

/* ---- rows ---- */

typedef struct deal {
    const flip_layout *l;
    size_t bytes;
    bool constant;
    int64_t pieces;          /* windows of own rows */
    int64_t *send, *receive; /* [n_time] rows */
    char *out, *in;          /* buffers */
} deal;

/* Rows of a chunk's rank in piece i. */
static int32_t piece_rows(const deal *d, int32_t chunk, int64_t i, int32_t *first) {
    int64_t n = flip_layout_nodes(d->l, chunk);
    *first = (int32_t)(n * i / d->pieces);
    return (int32_t)(n * (i + 1) / d->pieces) - *first;
}

static int64_t row_items(const deal *d, int32_t chunk) {
    return d->constant ? 1 : chunk_steps(d->l, chunk);
}

/* All ranks' longest: known to everybody. */
static int64_t count_pieces(const deal *d) {
    int64_t most = 1;
    for (int32_t c = 0; c < d->l->n_time; c++) {
        int64_t steps = d->constant ? d->l->n_time : d->l->n_steps;
        int64_t bytes = (int64_t)flip_layout_nodes(d->l, c) * steps * (int64_t)d->bytes;
        int64_t pieces = (bytes + WINDOW - 1) / WINDOW;
        if (pieces > flip_layout_nodes(d->l, c)) pieces = flip_layout_nodes(d->l, c);
        if (pieces > most) most = pieces;
    }
    return most;
}

static flip_status open_deal(deal *d) {
    int64_t own = 0, coming = 0;
    int32_t first;
    FLIP_TRY(flip_alloc(&d->send, 2 * (size_t)d->l->n_time, sizeof *d->send, "rows by step"));
    d->receive = d->send + d->l->n_time;
    for (int64_t i = 0; i < d->pieces; i++) {
        int64_t out = 0, in = 0;
        for (int32_t c = 0; c < d->l->n_time; c++) {
            out += piece_rows(d, d->l->chunk, i, &first) * row_items(d, c);
            in += piece_rows(d, c, i, &first) * row_items(d, d->l->chunk);
        }
        own = out > own ? out : own;
        coming = in > coming ? in : coming;
    }
    FLIP_TRY(flip_alloc(&d->out, (size_t)own, d->bytes, "rows by step"));
    return flip_alloc(&d->in, (size_t)coming, d->bytes, "rows by step");
}

static void pack_piece(const deal *d, int64_t piece, const char *own) {
    const flip_layout *l = d->l;
    int32_t first, n = piece_rows(d, l->chunk, piece, &first);
    char *to = d->out;
    for (int32_t c = 0; c < l->n_time; c++) {
        d->send[c] = n * row_items(d, c);
        for (int64_t i = first; i < first + n; i++) {
            int32_t steps;
            if (d->constant) {
                memcpy(to, own + (size_t)i * d->bytes, d->bytes);
                to += d->bytes;
                continue;
            }
            for (int32_t k = 0; k < l->n_blocks; k++) {
                int32_t at = l->block_first[k] + flip_layout_chunk(l, k, c, &steps);
                size_t bytes = (size_t)steps * d->bytes;
                memcpy(to, own + (size_t)(i * l->n_steps + at) * d->bytes, bytes);
                to += bytes;
            }
        }
    }
}

/* One row into its place, of its steps in every block. */
static const char *place_row(const deal *d, int64_t row, const char *from, char *out) {
    const flip_layout *l = d->l;
    if (d->constant) {
        memcpy(out + (size_t)row * d->bytes, from, d->bytes);
        return from + d->bytes;
    }
    for (int32_t k = 0; k < l->n_blocks; k++) {
        int64_t before = l->own_before[k], steps = l->own_before[k + 1] - before;
        memcpy(out + (size_t)(before * l->n_rows + row * steps) * d->bytes, from,
               (size_t)steps * d->bytes);
        from += (size_t)steps * d->bytes;
    }
    return from;
}

static void unpack_piece(const deal *d, int64_t piece, char *out) {
    const char *from = d->in;
    for (int32_t c = 0; c < d->l->n_time; c++) {
        int32_t first, n = piece_rows(d, c, piece, &first);
        int64_t row = flip_layout_nodes_first(d->l, c) + first;
        for (int32_t i = 0; i < n; i++)
            from = place_row(d, row + i, from, out);
    }
}

flip_status flip_layout_deal_rows(const flip_layout *layout, const void *own, size_t bytes,
                                  bool constant, void *out) {
    flip_status status;
    int32_t first;
    deal d = {.l = layout, .bytes = bytes, .constant = constant};
    d.pieces = count_pieces(&d);
    FLIP_TRY_GOTO(flip_comm_agree(layout->time, open_deal(&d)));
    for (int64_t i = 0; i < d.pieces; i++) {
        pack_piece(&d, i, own);
        for (int32_t c = 0; c < layout->n_time; c++)
            d.receive[c] = piece_rows(&d, c, i, &first) * row_items(&d, layout->chunk);
        FLIP_TRY_GOTO(flip_comm_all_to_all(layout->time, d.out, d.send, d.in, d.receive, bytes));
        unpack_piece(&d, i, out);
    }
done:
    flip_free(d.send);
    flip_free(d.out);
    flip_free(d.in);
    return status;
}

/* ---- columns of what goes to some chunks ---- */

/* `item` bytes each, order [sum of counts] tells whose: those that go to chunk 0, then to 1, … */
static flip_status deal_column(const flip_layout *l, const char *column, size_t item,
                               const int64_t *count, const int64_t *order, void *dealt,
                               int64_t *n_dealt) {
    flip_status status;
    char *sent = NULL;
    int64_t total = 0;
    for (int32_t c = 0; c < l->n_time; c++)
        total += count[c];
    status = flip_alloc(&sent, (size_t)total, item, "rows by step");
    FLIP_TRY_GOTO(flip_comm_agree(l->time, status));
    for (int64_t i = 0; i < total; i++)
        memcpy(sent + (size_t)i * item, column + (size_t)order[i] * item, item);
    status = flip_comm_deal(l->time, dealt, n_dealt, NULL, sent, count, item);
done:
    flip_free(sent);
    return status;
}

/* ---- rows that change ---- */

/* Does chunk c read a row of steps from … end-1? */
static bool reads(const flip_layout *l, int32_t c, int32_t from, int32_t end) {
    for (int32_t k = 0; k < l->n_blocks; k++) {
        int32_t n, first = l->block_first[k] + flip_layout_chunk(l, k, c, &n);
        if (n > 0 && from < first + n && end > first) return true;
    }
    return false;
}

/* Own rows that chunk c reads, to order where it is not NULL; how many. */
static int64_t rows_of_chunk(const flip_layout *l, const flip_lasting_rows *own, int32_t c,
                             int64_t *order) {
    int64_t n = 0;
    for (int32_t v = 0; v < l->n_own; v++)
        for (int64_t i = own->first[v]; i < own->first[v + 1]; i++) {
            int32_t end = i + 1 < own->first[v + 1] ? own->step[i + 1] : l->n_steps;
            if (!reads(l, c, own->step[i], end)) continue;
            if (order) order[n] = i;
            n++;
        }
    return n;
}

/* count [n_time]; order: rows that go to chunk 0, then to chunk 1, …; node: of rows, in the part.
 */
static flip_status list_changes(const flip_layout *l, const flip_lasting_rows *own, int64_t *count,
                                int64_t **order, int32_t **node) {
    const int32_t here = (int32_t)flip_layout_nodes_first(l, l->chunk);
    int64_t total = 0;
    for (int32_t c = 0; c < l->n_time; c++)
        total += count[c] = rows_of_chunk(l, own, c, NULL);
    FLIP_TRY(flip_alloc(order, (size_t)total, sizeof **order, "rows by step"));
    total = 0;
    for (int32_t c = 0; c < l->n_time; c++)
        total += rows_of_chunk(l, own, c, *order + total);
    FLIP_TRY(flip_alloc(node, (size_t)own->first[l->n_own], sizeof **node, "rows by step"));
    for (int32_t v = 0; v < l->n_own; v++)
        for (int64_t i = own->first[v]; i < own->first[v + 1]; i++)
            (*node)[i] = here + v;
    return FLIP_OK;
}

/* first [n_rows + 1] of rows that stand by node. */
static flip_status find_first(const flip_layout *l, int64_t n, const int32_t *node,
                              int64_t **first) {
    FLIP_TRY(flip_alloc_zero(first, (size_t)l->n_rows + 1, sizeof **first, "rows by step"));
    for (int64_t i = 0; i < n; i++)
        (*first)[node[i] + 1]++;
    for (int32_t v = 0; v < l->n_rows; v++)
        (*first)[v + 1] += (*first)[v];
    return FLIP_OK;
}

flip_status flip_layout_deal_lasting(const flip_layout *layout, const flip_lasting_rows *own,
                                     size_t bytes, flip_lasting_rows *dealt) {
    flip_status status;
    int64_t *count = NULL, *order = NULL, *first = NULL, n = 0;
    int32_t *node = NULL, *placed = NULL;
    *dealt = (flip_lasting_rows){.rows = NULL};
    status = flip_alloc(&count, (size_t)layout->n_time, sizeof *count, "rows by step");
    if (status == FLIP_OK) status = list_changes(layout, own, count, &order, &node);
    FLIP_TRY_GOTO(flip_comm_agree(layout->time, status));
    FLIP_TRY_GOTO(deal_column(layout, (const char *)node, sizeof *node, count, order, &placed, &n));
    FLIP_TRY_GOTO(deal_column(layout, (const char *)own->step, sizeof *own->step, count, order,
                              &dealt->step, &n));
    FLIP_TRY_GOTO(deal_column(layout, own->rows, bytes, count, order, &dealt->rows, &n));
    FLIP_TRY_GOTO(flip_comm_agree(layout->time, find_first(layout, n, placed, &first)));
    dealt->first = first;
done:
    flip_free(count);
    flip_free(order);
    flip_free(node);
    flip_free(placed);
    if (status != FLIP_OK) {
        flip_free((void *)dealt->step);
        flip_free((void *)dealt->rows);
        *dealt = (flip_lasting_rows){.rows = NULL};
    }
    return status;
}

/* ---- events ---- */

/* touches[s * n_time + c]: chunk c has a step in s … s + stay. */
static void mark_touches(const flip_layout *l, int32_t stay, bool *touches) {
    int32_t n = l->n_time;
    memset(touches, 0, (size_t)l->n_steps * (size_t)n * sizeof *touches);
    for (int32_t t = l->block_first[0]; t < l->n_steps; t++) {
        int32_t c = flip_layout_chunk_of(l, t, NULL);
        for (int32_t s = t - stay < 0 ? 0 : t - stay; s <= t; s++)
            touches[(int64_t)s * n + c] = true;
    }
}

static int32_t step_of(const flip_events *events, int64_t i) {
    return events->step ? events->step[i] : 0;
}

/* order: the events that go to chunk 0, then to chunk 1, … */
static flip_status list_events(const flip_layout *l, const flip_events *own, const bool *touches,
                               int64_t *count, int64_t **order) {
    int64_t total = 0;
    for (int32_t c = 0; c < l->n_time; c++)
        count[c] = 0;
    for (int64_t i = 0; i < own->n; i++) {
        int32_t s = step_of(own, i);
        if (s < 0) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "an event at step %d", s);
        for (int32_t c = 0; s < l->n_steps && c < l->n_time; c++)
            count[c] += touches[(int64_t)s * l->n_time + c];
    }
    for (int32_t c = 0; c < l->n_time; c++)
        total += count[c];
    FLIP_TRY(flip_alloc(order, (size_t)total, sizeof **order, "events by step"));
    int64_t *to = *order;
    for (int32_t c = 0; c < l->n_time; c++)
        for (int64_t i = 0; i < own->n; i++) {
            int32_t s = step_of(own, i);
            if (s < l->n_steps && touches[(int64_t)s * l->n_time + c]) *to++ = i;
        }
    return FLIP_OK;
}

static flip_status prepare_events(const flip_layout *l, const flip_events *own, int32_t stay,
                                  int64_t **count, int64_t **order) {
    bool *touches;
    FLIP_TRY(flip_alloc(count, (size_t)l->n_time, sizeof **count, "events by step"));
    FLIP_TRY(flip_alloc(&touches, (size_t)l->n_steps * (size_t)l->n_time, sizeof *touches,
                        "events by step"));
    mark_touches(l, stay, touches);
    flip_status status = list_events(l, own, touches, *count, order);
    flip_free(touches);
    return status;
}

flip_status flip_layout_deal_events(const flip_layout *layout, const flip_events *own, int32_t stay,
                                    flip_events *dealt) {
    flip_status status;
    int64_t *count = NULL, *order = NULL, weighted = own->weight != NULL, timed = own->step != NULL;
    *dealt = (flip_events){.n = 0};
    FLIP_TRY_GOTO(flip_comm_agree(layout->time, prepare_events(layout, own, stay, &count, &order)));
    FLIP_TRY_GOTO(flip_comm_max_i64(layout->time, &weighted, 1));
    FLIP_TRY_GOTO(flip_comm_max_i64(layout->time, &timed, 1));
    if ((weighted && !own->weight && own->n > 0) || (timed && !own->step && own->n > 0))
        status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "some ranks' events have columns that others lack");
    FLIP_TRY_GOTO(flip_comm_agree(layout->time, status));
    FLIP_TRY_GOTO(deal_column(layout, (const char *)own->dst, sizeof *own->dst, count, order,
                              &dealt->dst, &dealt->n));
    FLIP_TRY_GOTO(deal_column(layout, (const char *)own->src, sizeof *own->src, count, order,
                              &dealt->src, &dealt->n));
    if (timed)
        FLIP_TRY_GOTO(deal_column(layout, (const char *)own->step, sizeof *own->step, count, order,
                                  &dealt->step, &dealt->n));
    if (weighted)
        FLIP_TRY_GOTO(deal_column(layout, (const char *)own->weight, sizeof *own->weight, count,
                                  order, &dealt->weight, &dealt->n));
done:
    flip_free(count);
    flip_free(order);
    if (status != FLIP_OK) {
        flip_free((void *)dealt->dst);
        flip_free((void *)dealt->src);
        flip_free((void *)dealt->step);
        flip_free((void *)dealt->weight);
        *dealt = (flip_events){.n = 0};
    }
    return status;
}
