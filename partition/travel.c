/* Items of a window on their way: who owns which new ids, what goes to whom, and the order in which
 * it is put down. What is picked stands in move.c. */
#include "partition/move.h"

#include <stdlib.h>
#include <string.h>

typedef flip_mover mover;
typedef flip_table table;
typedef flip_move_header header;

/* ---- settling ---------------------------------------------------------------------------------
 */

/* Where a packed event has its source and step. */
typedef struct event_layout {
    bool wide; /* int64 sources */
    bool steps;
    size_t step_at;
} event_layout;

static int64_t source_of(const char *event, const event_layout *layout) {
    int64_t wide;
    int32_t narrow;
    memcpy(&wide, event, layout->wide ? sizeof wide : 0);
    memcpy(&narrow, event, layout->wide ? 0 : sizeof narrow);
    return layout->wide ? wide : narrow;
}

static int by_step_and_source(const void *left, const void *right, void *context) {
    const event_layout *layout = context;
    const char *a = *(const char *const *)left, *b = *(const char *const *)right;
    int32_t step_a = 0, step_b = 0;
    if (layout->steps) {
        memcpy(&step_a, a + layout->step_at, sizeof step_a);
        memcpy(&step_b, b + layout->step_at, sizeof step_b);
    }
    if (step_a != step_b) return step_a < step_b ? -1 : 1;
    int64_t src_a = source_of(a, layout), src_b = source_of(b, layout);
    if (src_a != src_b) return src_a < src_b ? -1 : 1;
    return (a > b) - (a < b); /* doubled events keep their order */
}

/* Each own row of events by (step, source). */
static flip_status sort_events(mover *m, const table *t) {
    flip_status status = FLIP_OK;
    flip_gid first = m->bound[m->rank], last = m->bound[m->rank + 1];
    int64_t longest = 0, base = m->new_ptr[first];
    const char **order = NULL;
    char *row = NULL;
    for (flip_gid id = first; id < last; id++)
        if (m->new_ptr[id + 1] - m->new_ptr[id] > longest)
            longest = m->new_ptr[id + 1] - m->new_ptr[id];
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)longest, sizeof *order, "a row of events"));
    FLIP_TRY_GOTO(flip_alloc(&row, (size_t)longest, t->item_bytes, "a row of events"));
    event_layout layout = {.wide = t->columns[0].type == FLIP_TYPE_I64,
                           .steps =
                               t->n_columns > 1 && strcmp(t->columns[1].name, "events/step") == 0,
                           .step_at = t->columns[1].offset};
    for (flip_gid id = first; id < last; id++) {
        int64_t n = m->new_ptr[id + 1] - m->new_ptr[id];
        char *events = m->own + (size_t)(m->new_ptr[id] - base) * t->item_bytes;
        for (int64_t i = 0; i < n; i++)
            order[i] = events + (size_t)i * t->item_bytes;
        qsort_r(order, (size_t)n, sizeof *order, by_step_and_source, &layout);
        for (int64_t i = 0; i < n; i++)
            memcpy(row + (size_t)i * t->item_bytes, order[i], t->item_bytes);
        memcpy(events, row, (size_t)n * t->item_bytes);
    }
done:
    flip_free(order);
    flip_free(row);
    return status;
}

/* ---- travelling -------------------------------------------------------------------------------
 */

/* Ranges of the window with about equal items. */
void flip_move_bounds(mover *m, flip_gid low, flip_gid high) {
    int64_t first = m->new_ptr[low], total = m->new_ptr[high] - first;
    m->bound[0] = low;
    for (int r = 1; r < m->size; r++) {
        int64_t item = first + flip_share(total, r, m->size);
        flip_gid id = low + flip_move_row(m->new_ptr + low, high - low, item);
        m->bound[r] = id > m->bound[r - 1] ? id : m->bound[r - 1];
    }
    m->bound[m->size] = high;
}

static int owner_of(const mover *m, flip_gid id) {
    int low = 0, high = m->size - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (m->bound[middle + 1] <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Puts stretches of items where they belong in m->own. next: [own ids] where each id's next item
 * goes. */
static void settle(mover *m, const table *t, int64_t *next, const header *headers, int64_t n,
                   const char *items) {
    flip_gid first = m->bound[m->rank];
    for (int64_t i = 0; i < n; i++) {
        size_t bytes = (size_t)headers[i].count * t->item_bytes;
        memcpy(m->own + (size_t)next[headers[i].id - first] * t->item_bytes, items, bytes);
        next[headers[i].id - first] += headers[i].count;
        items += bytes;
    }
}

typedef struct parcel {
    int64_t *headers, *items;       /* [size] to each rank */
    int64_t *headers_in, *items_in; /* [size] from each */
    int64_t *table;                 /* [size, 2 size] */
    header *sorted, *received;
    char *sorted_items, *received_items;
} parcel;

static void parcel_free(parcel *a) {
    void *all[] = {a->headers, a->items,        a->headers_in,     a->items_in, a->table,
                   a->sorted,  a->sorted_items, a->received_items, a->received};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        flip_free(all[i]);
}

static flip_status parcel_pack(parcel *a, mover *m, const table *t) {
    size_t size = (size_t)m->size;
    FLIP_TRY(flip_alloc_zero(&a->headers, size, 8, "counts"));
    FLIP_TRY(flip_alloc_zero(&a->items, size, 8, "counts"));
    FLIP_TRY(flip_alloc_zero(&a->headers_in, size, 8, "counts"));
    FLIP_TRY(flip_alloc_zero(&a->items_in, size, 8, "counts"));
    FLIP_TRY(flip_alloc(&a->table, size * size * 2, 8, "counts"));
    FLIP_TRY(flip_alloc(&a->sorted, (size_t)m->n_headers, sizeof *a->sorted, "items to send"));
    FLIP_TRY(flip_alloc(&a->sorted_items, (size_t)m->n_picked, t->item_bytes, "items to send"));
    for (int64_t i = 0; i < m->n_headers; i++) {
        int r = owner_of(m, m->headers[i].id);
        a->headers[r]++;
        a->items[r] += m->headers[i].count;
    }
    /* headers_in and items_in serve as places while packing */
    for (int r = 1; r < m->size; r++) {
        a->headers_in[r] = a->headers_in[r - 1] + a->headers[r - 1];
        a->items_in[r] = a->items_in[r - 1] + a->items[r - 1];
    }
    const char *items = m->items;
    for (int64_t i = 0; i < m->n_headers; i++) {
        int r = owner_of(m, m->headers[i].id);
        size_t bytes = (size_t)m->headers[i].count * t->item_bytes;
        memcpy(a->sorted_items + (size_t)a->items_in[r] * t->item_bytes, items, bytes);
        a->sorted[a->headers_in[r]++] = m->headers[i];
        a->items_in[r] += m->headers[i].count;
        items += bytes;
    }
    return FLIP_OK;
}

static flip_status parcel_trade(parcel *a, mover *m, const table *t, int64_t *n_received) {
    flip_status status = FLIP_OK;
    int64_t n_items = 0, *pair = NULL;
    size_t size = (size_t)m->size;
    FLIP_TRY(flip_comm_agree(m->comm, flip_alloc(&pair, size * 2, sizeof *pair, "counts")));
    for (size_t r = 0; r < size; r++) {
        pair[2 * r] = a->headers[r];
        pair[2 * r + 1] = a->items[r];
    }
    FLIP_TRY_GOTO(flip_comm_gather_all(m->comm, a->table, pair, sizeof *pair * size * 2));
    *n_received = 0;
    for (size_t r = 0; r < size; r++) {
        const int64_t *from = a->table + (r * size + (size_t)m->rank) * 2;
        *n_received += a->headers_in[r] = from[0];
        n_items += a->items_in[r] = from[1];
    }
    status = flip_alloc(&a->received, (size_t)*n_received, sizeof *a->received, "items received");
    if (status == FLIP_OK)
        status = flip_alloc(&a->received_items, (size_t)n_items, t->item_bytes, "items received");
    FLIP_TRY_GOTO(flip_comm_agree(m->comm, status));
    FLIP_TRY_GOTO(flip_comm_all_to_all(m->comm, a->sorted, a->headers, a->received, a->headers_in,
                                       sizeof *a->sorted));
    FLIP_TRY_GOTO(flip_comm_all_to_all(m->comm, a->sorted_items, a->items, a->received_items,
                                       a->items_in, t->item_bytes));
done:
    flip_free(pair);
    return status;
}

flip_status flip_move_travel(mover *m, const table *t) {
    flip_status status = FLIP_OK;
    flip_gid first = m->bound[m->rank], last = m->bound[m->rank + 1];
    int64_t *next = NULL, n_received = m->n_headers;
    parcel a = {0};
    m->n_own = m->new_ptr[last] - m->new_ptr[first];
    status = flip_alloc(&m->own, (size_t)m->n_own, t->item_bytes, "items of the window");
    if (status == FLIP_OK)
        status = flip_alloc(&next, (size_t)(last - first), sizeof *next, "places of items");
    if (status == FLIP_OK && m->size > 1) status = parcel_pack(&a, m, t);
    FLIP_TRY_GOTO(flip_comm_agree(m->comm, status));
    for (flip_gid id = first; id < last; id++)
        next[id - first] = m->new_ptr[id] - m->new_ptr[first];
    if (m->size == 1) {
        settle(m, t, next, m->headers, m->n_headers, m->items);
    } else {
        FLIP_TRY_GOTO(parcel_trade(&a, m, t, &n_received));
        settle(m, t, next, a.received, n_received, a.received_items);
    }
    if (t->events) FLIP_TRY_GOTO(flip_comm_agree(m->comm, sort_events(m, t)));
done:
    parcel_free(&a);
    flip_free(next);
    return status;
}
