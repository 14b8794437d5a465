/* Columns of an adjacency: own nodes, then the remote sources (halo), and the order of summation.
 *
 * Entries of a row stand in ascending original id, whatever the ranks and the partition. Two
 * counting sorts give that in linear time: events by column, columns taken in order of original id,
 * then by row. */
#include "graph/internal.h"

#include <string.h>

/* Where an event is wrong, say which. */
static flip_status check_event(const flip_build *b, int64_t i, flip_gid n_nodes) {
    const flip_events *ev = b->events;
    if (ev->dst[i] < b->first || ev->dst[i] >= b->first + b->n_own)
        return FLIP_FAIL(
            FLIP_ERROR_INTERNAL,
            "event %lld has destination %lld; this rank owns nodes %lld to %lld (excluded)",
            (long long)i, (long long)ev->dst[i], (long long)b->first,
            (long long)(b->first + b->n_own));
    if (ev->src[i] < 0 || ev->src[i] >= n_nodes)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "event %lld has source %lld; nodes are 0 to %lld",
                         (long long)i, (long long)ev->src[i], (long long)n_nodes - 1);
    if (ev->step && ev->step[i] < 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "event %lld has step %d; steps count from 0",
                         (long long)i, ev->step[i]);
    if (ev->weight && flip_kind_diagonal(b->params.kind) && !(ev->weight[i] >= 0))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "event %lld has weight %g; GCN normalisation needs weights >= 0: import "
                         "signed weights as labels (--label sign)",
                         (long long)i, ev->weight[i]);
    return FLIP_OK;
}

static bool event_fits(const flip_build *b, int64_t i, flip_gid n_nodes) {
    const flip_events *ev = b->events;
    return (uint64_t)(ev->dst[i] - b->first) < (uint64_t)b->n_own &&
           (uint64_t)ev->src[i] < (uint64_t)n_nodes && (!ev->step || ev->step[i] >= 0) &&
           (!ev->weight || !flip_kind_diagonal(b->params.kind) || ev->weight[i] >= 0);
}

/* Column of every event; remote sources get n_own + their number of arrival for now. */
static flip_status number_columns(flip_build *b, flip_gid_map *remote, flip_gid n_nodes) {
    const flip_events *ev = b->events;
    if (ev->n > (int64_t)UINT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "a rank would hold %lld events, more than 4294967295; use more ranks",
                         (long long)ev->n);
    FLIP_TRY(flip_alloc(&b->column, (size_t)ev->n, sizeof *b->column, "columns of events"));
    for (int64_t i = 0; i < ev->n; i++) {
        if (!event_fits(b, i, n_nodes)) return check_event(b, i, n_nodes);
        const int32_t step = flip_event_step(b, (uint32_t)i);
        b->column[i] = -1;
        if (step < b->base || step > b->last) continue;
        b->n_alive++;
        int64_t local = ev->src[i] - b->first;
        int32_t number;
        if ((uint64_t)local >= (uint64_t)b->n_own) {
            FLIP_TRY(flip_gid_map_add(remote, ev->src[i], &number));
            local = (int64_t)b->n_own + number;
            if (local > INT32_MAX) FLIP_TRY(flip_narrow(&number, local, "own and remote nodes"));
        }
        b->column[i] = (int32_t)local;
    }
    return FLIP_OK;
}

/* Halo ids ascending; columns renumbered to match. */
static flip_status sort_halo(flip_build *b, const flip_gid_map *remote, flip_gid *halo) {
    flip_status status;
    int32_t n = remote->n, *order = NULL, *place = NULL;
    flip_gid *arrival = NULL;
    FLIP_TRY_GOTO(flip_alloc(&arrival, (size_t)n, sizeof *arrival, "remote nodes"));
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)n, sizeof *order, "remote nodes"));
    FLIP_TRY_GOTO(flip_alloc(&place, (size_t)n, sizeof *place, "remote nodes"));
    for (size_t i = 0; i <= remote->mask; i++)
        if (remote->value[i] >= 0) arrival[remote->value[i]] = remote->key[i];
    FLIP_TRY_GOTO(flip_order_by_key(order, arrival, n));
    for (int32_t i = 0; i < n; i++) {
        halo[i] = arrival[order[i]];
        place[order[i]] = i;
    }
    for (int64_t i = 0; n > 0 && i < b->events->n; i++)
        if (b->column[i] >= b->n_own) b->column[i] = b->n_own + place[b->column[i] - b->n_own];
done:
    flip_free(arrival);
    flip_free(order);
    flip_free(place);
    return status;
}

static flip_status find_halo(flip_build *b, const flip_gid *rank_first) {
    flip_status status;
    flip_gid_map remote = {0};
    flip_gid *halo = NULL;
    FLIP_TRY_GOTO(flip_gid_map_init(&remote, 0));
    FLIP_TRY_GOTO(number_columns(b, &remote, rank_first[flip_comm_size(b->comm)]));
    FLIP_TRY_GOTO(flip_arena_alloc(b->out->arena, &halo, (size_t)remote.n, sizeof *halo));
    FLIP_TRY_GOTO(sort_halo(b, &remote, halo));
    b->n_halo = remote.n;
    b->n_cols = b->n_own + b->n_halo;
    b->out->halo = halo;
    b->out->n_halo = b->n_halo;
done:
    flip_gid_map_finish(&remote);
    return status;
}

static flip_status keep_original(flip_build *b, const int64_t *original) {
    FLIP_TRY(flip_alloc(&b->original, (size_t)b->n_cols, sizeof *b->original, "original ids"));
    for (int32_t i = 0; i < b->n_own; i++)
        b->original[i] = original ? original[i] : b->first + i;
    return FLIP_OK;
}

/* Steps of one (row, source) group ascending; stable. Files come sorted, so this rarely moves
 * anything; large unsorted groups fall back to a bottom-up merge. */
static flip_status sort_steps(const flip_build *b, uint32_t *group, int64_t n) {
    const int32_t *step = b->events->step;
    int64_t i = 1;
    while (i < n && step[group[i - 1]] <= step[group[i]])
        i++;
    if (i >= n) return FLIP_OK;
    uint32_t *other;
    FLIP_TRY(flip_alloc(&other, (size_t)n, sizeof *other, "order of events"));
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t low = 0; low < n; low += 2 * width) {
            int64_t mid = low + width < n ? low + width : n;
            int64_t high = low + 2 * width < n ? low + 2 * width : n;
            int64_t l = low, r = mid;
            for (int64_t k = low; k < high; k++)
                other[k] = l < mid && (r >= high || step[group[l]] <= step[group[r]]) ? group[l++]
                                                                                      : group[r++];
        }
        memcpy(group, other, (size_t)n * sizeof *group);
    }
    flip_free(other);
    return FLIP_OK;
}

static flip_status sort_groups(const flip_build *b) {
    if (!b->events->step) return FLIP_OK;
    for (int32_t v = 0; v < b->n_own; v++)
        for (int64_t i = b->row_start[v], j; i < b->row_start[v + 1]; i = j) {
            j = i + 1;
            while (j < b->row_start[v + 1] && b->column[b->by_row[j]] == b->column[b->by_row[i]])
                j++;
            if (j - i > 1) FLIP_TRY(sort_steps(b, b->by_row + i, j - i));
        }
    return FLIP_OK;
}

/* An event with its row at hand: rows of events that stand by column are all over the file. */
typedef struct placed_event {
    uint32_t event;
    int32_t row;
} placed_event;

/* Events by column, columns in order of original id. */
static flip_status sort_by_column(const flip_build *b, placed_event *by_column) {
    const flip_events *ev = b->events;
    int64_t *start, n = 0;
    FLIP_TRY(flip_alloc_zero(&start, (size_t)b->n_cols, sizeof *start, "column counts"));
    for (int64_t i = 0; i < ev->n; i++)
        if (b->column[i] >= 0) start[b->column[i]]++;
    for (int32_t i = 0; i < b->n_cols; i++) {
        int64_t count = start[b->order[i]];
        start[b->order[i]] = n;
        n += count;
    }
    for (int64_t i = 0; i < ev->n; i++)
        if (b->column[i] >= 0)
            by_column[start[b->column[i]]++] =
                (placed_event){.event = (uint32_t)i, .row = (int32_t)(ev->dst[i] - b->first)};
    flip_free(start);
    return FLIP_OK;
}

static flip_status sort_by_row(flip_build *b) {
    flip_status status;
    placed_event *by_column = NULL;
    FLIP_TRY_GOTO(
        flip_alloc(&by_column, (size_t)b->n_alive, sizeof *by_column, "events sorted by source"));
    FLIP_TRY_GOTO(sort_by_column(b, by_column));
    FLIP_TRY_GOTO(
        flip_alloc(&b->by_row, (size_t)b->n_alive, sizeof *b->by_row, "events sorted by row"));
    FLIP_TRY_GOTO(
        flip_alloc_zero(&b->row_start, (size_t)b->n_own + 2, sizeof *b->row_start, "row pointers"));
    int64_t *cursor = b->row_start + 1; /* ends up as the row pointers themselves */
    for (int64_t k = 0; k < b->n_alive; k++)
        cursor[by_column[k].row + 1]++;
    for (int32_t v = 0; v < b->n_own; v++)
        cursor[v + 1] += cursor[v];
    for (int64_t k = 0; k < b->n_alive; k++)
        b->by_row[cursor[by_column[k].row]++] = by_column[k].event;
    status = sort_groups(b);
done:
    flip_free(by_column);
    return status;
}

static flip_status sort_events(flip_build *b) {
    FLIP_TRY(flip_alloc(&b->order, (size_t)b->n_cols, sizeof *b->order, "order of columns"));
    FLIP_TRY(flip_order_by_key(b->order, b->original, b->n_cols));
    return sort_by_row(b);
}

flip_status flip_build_columns(flip_build *b, const flip_gid *rank_first, const int64_t *original) {
    FLIP_TRY(flip_comm_agree(b->comm, find_halo(b, rank_first)));
    if (flip_comm_size(b->comm) > 1)
        FLIP_TRY(flip_plan_create(&b->out->plan, b->comm, rank_first, b->out->halo, b->n_halo,
                                  FLIP_BYTES_HALO));
    FLIP_TRY(flip_comm_agree(b->comm, keep_original(b, original)));
    if (b->out->plan)
        FLIP_TRY(flip_plan_fetch(b->out->plan, b->original, sizeof *b->original,
                                 b->original + b->n_own));
    return flip_comm_agree(b->comm, sort_events(b));
}
