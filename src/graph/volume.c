/* Counting what ranks would exchange: entries and differences of every (part, step) once, then sums
 * over runs of parts and chunks of steps for each number of ranks. */
#include "graph/timeline.h"
#include <flipbook/partition.h>
#include <flipbook/volume.h>

#include <stdlib.h>

struct flip_volume {
    flip_comm *comm; /* borrowed; of a shared volume, else NULL: the timeline has all rows */
    int32_t n_parts, n_steps, stay; /* stay: steps an event counts after its own, band included */
    int32_t first_step;             /* steps before it are not walked */
    bool diagonal;                  /* every row has an entry of its own at every step */
    flip_gid *part_first;           /* [n_parts + 1] */
    flip_timeline timeline;
    flip_difference *raw; /* [n_parts, n_steps] */
    int64_t *extra;       /* [n_parts, n_steps] added values that do not fit their word */
    int64_t *values;      /* [n_parts, n_steps] aggregated entries, with the diagonal */
    int64_t *events;      /* [n_parts, n_steps] by their own step */
    double *work;         /* [n_steps] by which time is cut: events alive, and a row each */
};

/* The part of each row of the timeline, rows ascending. */
static int32_t part_of(const flip_volume *x, int32_t row, int32_t hint) {
    if (x->comm) return flip_comm_rank(x->comm);
    if (row < x->part_first[hint]) hint = 0;
    while (row >= x->part_first[hint + 1])
        hint++;
    return hint;
}

/* Steps first … end - 1 to which `add` is added, in a row of differences along steps. */
static void add_steps(int64_t *row, int32_t n_steps, int32_t first, int32_t end, int64_t add) {
    row[first] += add;
    if (end < n_steps) row[end] -= add;
}

/* Entries of a pair: an event counts from its step on for stay + 1 steps, overlaps once. */
static void count_pair(const flip_volume *x, int64_t pair, int64_t *values) {
    const flip_timeline *t = &x->timeline;
    for (int64_t i = t->event_ptr[pair], j; i < t->event_ptr[pair + 1]; i = j) {
        int32_t last = t->step[i];
        for (j = i + 1; j < t->event_ptr[pair + 1] && t->step[j] - last <= x->stay + 1; j++)
            last = t->step[j];
        add_steps(values, x->n_steps, t->step[i],
                  x->n_steps - last > x->stay ? last + x->stay + 1 : x->n_steps, 1);
    }
}

/* Aggregated entries and events, part by part; a self-loop falls on the diagonal where there is
 * one. */
static flip_status count_values(flip_volume *x) {
    const flip_timeline *t = &x->timeline;
    const size_t cells = (size_t)x->n_parts * (size_t)x->n_steps;
    int32_t part = 0;
    for (int64_t p = 0; p < t->n_pairs; p++) {
        const int32_t row = flip_key_row(t->key[p]), column = t->order[flip_key_place(t->key[p])];
        part = part_of(x, row, part);
        for (int64_t i = t->event_ptr[p]; i < t->event_ptr[p + 1]; i++)
            x->events[(int64_t)part * x->n_steps + t->step[i]]++;
        if (row != column || !x->diagonal) count_pair(x, p, x->values + (int64_t)part * x->n_steps);
    }
    FLIP_TRY(flip_comm_sum_i64(x->comm, x->values, cells));
    FLIP_TRY(flip_comm_sum_i64(x->comm, x->events, cells));
    for (int32_t k = 0; k < x->n_parts; k++) {
        int64_t *values = x->values + (int64_t)k * x->n_steps;
        for (int32_t s = 1; s < x->n_steps; s++)
            values[s] += values[s - 1];
        for (int32_t s = 0; s < x->n_steps && x->diagonal; s++)
            values[s] += x->part_first[k + 1] - x->part_first[k];
    }
    return FLIP_OK;
}

/* As train deals snapshots out: doubled events count each. */
static void count_work(flip_volume *x) {
    const double rows = (double)x->part_first[x->n_parts];
    for (int32_t t = 0; t < x->n_steps; t++) {
        x->work[t] = rows;
        for (int32_t s = t > x->stay ? t - x->stay : 0; s <= t; s++)
            for (int32_t k = 0; k < x->n_parts; k++)
                x->work[t] += (double)x->events[(int64_t)k * x->n_steps + s];
    }
}

static flip_status allocate(flip_volume *x, const flip_gid *part_first,
                            const flip_adjacency_params *p) {
    const size_t parts = (size_t)x->n_parts, steps = (size_t)(p->first_step + p->n_steps),
                 cells = parts * steps;
    x->n_steps = (int32_t)steps;
    x->first_step = p->first_step;
    x->diagonal = p->kind != FLIP_ADJACENCY_MEAN && p->kind != FLIP_ADJACENCY_SUM &&
                  p->kind != FLIP_ADJACENCY_PATTERN;
    FLIP_TRY(flip_alloc(&x->part_first, parts + 1, sizeof *x->part_first, "parts"));
    memcpy(x->part_first, part_first, (parts + 1) * sizeof *part_first);
    FLIP_TRY(flip_alloc_zero(&x->raw, cells, sizeof *x->raw, "counts of parts"));
    FLIP_TRY(flip_alloc_zero(&x->extra, cells, sizeof *x->extra, "counts of parts"));
    FLIP_TRY(flip_alloc_zero(&x->values, cells, sizeof *x->values, "counts of parts"));
    FLIP_TRY(flip_alloc_zero(&x->events, cells, sizeof *x->events, "counts of parts"));
    return flip_alloc(&x->work, steps, sizeof *x->work, "work of steps");
}

/* rows: of this process, as flip_timeline_init wants them. */
static flip_status fill(flip_volume *x, const flip_events *events, const flip_gid *part_first,
                        const flip_gid *rows, const flip_adjacency_params *params) {
    flip_adjacency_params p = *params;
    FLIP_TRY(flip_comm_agree(x->comm, allocate(x, part_first, params)));
    p.window = 1;
    p.n_steps = x->n_steps;
    p.first_step = 0;
    FLIP_TRY(flip_timeline_init(&x->timeline, x->comm, rows, NULL, events, &p));
    x->stay = x->timeline.life - 1 + (params->window > 1 ? params->window - 1 : 0);
    if (!x->comm)
        flip_timeline_count_parts(&x->timeline, x->n_parts, x->part_first, x->raw, x->extra);
    FLIP_TRY(count_values(x));
    count_work(x);
    return FLIP_OK;
}

flip_status flip_volume_create(flip_volume **volume, const flip_events *events, int32_t n_parts,
                               const flip_gid *part_first, const flip_adjacency_params *params) {
    const flip_gid all[2] = {0, part_first[n_parts]};
    FLIP_TRY(flip_alloc_zero(volume, 1, sizeof **volume, "volume"));
    (*volume)->n_parts = n_parts;
    flip_status status = fill(*volume, events, part_first, all, params);
    if (status != FLIP_OK) flip_volume_destroy(volume);
    return status;
}

flip_status flip_volume_create_shared(flip_volume **volume, flip_comm *comm,
                                      const flip_gid *rank_first, const flip_events *events,
                                      const flip_adjacency_params *params) {
    *volume = NULL;
    FLIP_TRY(flip_comm_agree(comm, flip_alloc_zero(volume, 1, sizeof **volume, "volume")));
    (*volume)->comm = comm;
    (*volume)->n_parts = flip_comm_size(comm);
    flip_status status = fill(*volume, events, rank_first, rank_first, params);
    if (status != FLIP_OK) flip_volume_destroy(volume);
    return status;
}

int64_t flip_volume_nodes(const flip_volume *x) {
    return x->part_first[x->n_parts];
}

int32_t flip_volume_steps(const flip_volume *x) {
    return x->n_steps - x->first_step;
}

void flip_volume_destroy(flip_volume **volume) {
    flip_volume *x = *volume;
    if (!x) return;
    flip_timeline_finish(&x->timeline);
    flip_free(x->part_first);
    flip_free(x->raw);
    flip_free(x->extra);
    flip_free(x->values);
    flip_free(x->events);
    flip_free(x->work);
    flip_free(x);
    *volume = NULL;
}

/* ---- one number of ranks ---- */

/* A part of the nodes (rows begin … end-1, parts from … until-1 of the file) and a chunk of steps
 * (first … last). */
typedef struct shard {
    flip_gid begin, end;
    int32_t from, until, first, last;
} shard;

/* Is the pair alive in the chunk? */
static bool alive(const flip_volume *x, int64_t pair, const shard *s) {
    const flip_timeline *t = &x->timeline;
    int64_t low = t->event_ptr[pair], high = t->event_ptr[pair + 1];
    const int64_t end = high;
    while (low < high) { /* first event that is not over before the chunk */
        const int64_t mid = low + (high - low) / 2;
        if (t->step[mid] + (int64_t)x->stay < s->first)
            low = mid + 1;
        else
            high = mid;
    }
    return low < end && t->step[low] <= s->last;
}

/* Pairs of rows from `begin` on. */
static int64_t pairs_from(const flip_timeline *t, flip_gid begin) {
    int64_t low = 0, high = t->n_pairs;
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        if (flip_key_row(t->key[mid]) < begin)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int64_t halo_rows(const flip_volume *x, const shard *s, int32_t *stamp, int32_t number) {
    const flip_timeline *t = &x->timeline;
    int64_t n = 0;
    for (int64_t p = pairs_from(t, s->begin); p < t->n_pairs && flip_key_row(t->key[p]) < s->end;
         p++) {
        const int32_t column = t->order[flip_key_place(t->key[p])];
        if ((column >= s->begin && column < s->end) || stamp[column] == number || !alive(x, p, s))
            continue;
        stamp[column] = number;
        n++;
    }
    return n;
}

/* Ascending ids outside the shard's nodes that this rank's rows read in its steps, into list. */
static int64_t own_halo(const flip_volume *x, const shard *s, int32_t *stamp, int32_t number,
                        flip_gid *list) {
    const flip_timeline *t = &x->timeline;
    int64_t n = 0;
    for (int64_t p = 0; p < t->n_pairs; p++) {
        const int32_t column = t->order[flip_key_place(t->key[p])];
        if (column >= t->n_rows && stamp[column] != number && alive(x, p, s))
            stamp[column] = number;
    }
    for (int32_t c = t->n_rows; c < t->n_cols; c++) {
        const flip_gid id = t->halo[c - t->n_rows];
        if (stamp[c] == number && (id < s->begin || id >= s->end)) list[n++] = id;
    }
    return n;
}

static int ascending(const void *a, const void *b) {
    const flip_gid x = *(const flip_gid *)a, y = *(const flip_gid *)b;
    return (x > y) - (x < y);
}

/* Of a shared volume: what the rows of a part read in a chunk comes together at the rank with this
 * chunk. Collective; *n_halo is this rank's. */
static flip_status shared_halo(const flip_volume *x, int32_t n_time, const int32_t *border,
                               int32_t *stamp, int64_t *n_halo) {
    const int32_t size = flip_comm_size(x->comm), rank = flip_comm_rank(x->comm),
                  space = rank / n_time * n_time;
    const int64_t most = x->timeline.n_cols - x->timeline.n_rows;
    flip_gid *list = NULL, *all = NULL;
    int64_t *count = NULL, n = 0, received = 0;
    flip_status status = flip_alloc_zero(&count, (size_t)size, sizeof *count, "halo");
    if (status == FLIP_OK)
        status = flip_alloc(&list, (size_t)most * (size_t)n_time, sizeof *list, "halo");
    FLIP_TRY_GOTO(flip_comm_agree(x->comm, status));
    for (int32_t c = 0; c < n_time; c++) {
        const shard s = {.begin = x->part_first[space],
                         .end = x->part_first[space + n_time],
                         .first = border[c],
                         .last = border[c + 1] - 1};
        if (s.first > s.last) continue;
        count[space + c] = own_halo(x, &s, stamp, c, list + n);
        n += count[space + c];
    }
    FLIP_TRY_GOTO(flip_comm_deal(x->comm, &all, &received, NULL, list, count, sizeof *list));
    qsort(all, (size_t)received, sizeof *all, ascending);
    *n_halo = 0;
    for (int64_t i = 0; i < received; i++)
        *n_halo += i == 0 || all[i] != all[i - 1];
done:
    flip_free(list);
    flip_free(all);
    flip_free(count);
    return status;
}

static int64_t sum(const flip_volume *x, const int64_t *counts, const shard *s, int32_t first,
                   int32_t last) {
    int64_t n = 0;
    for (int32_t k = s->from; k < s->until; k++)
        for (int32_t t = first; t <= last; t++)
            n += counts[(int64_t)k * x->n_steps + t];
    return n;
}

/* Bytes to one device, from the band's first step on: the first snapshot in full. */
static void count_transfers(const flip_volume *x, const shard *s, int32_t band,
                            flip_volume_counts *c) {
    const int32_t low = s->first > band ? s->first - band : 0;
    for (int32_t t = low; t <= s->last; t++) {
        flip_difference d = {0};
        int64_t extra = 0;
        for (int32_t k = s->from; k < s->until; k++) {
            const flip_difference *one = &x->raw[(int64_t)k * x->n_steps + t];
            d.entries += one->entries;
            d.added += one->added;
            d.removed += one->removed;
            d.changed += one->changed;
            extra += x->extra[(int64_t)k * x->n_steps + t];
        }
        const uint64_t full = 12 * (uint64_t)d.entries,
                       delta = 8 * (uint64_t)(d.added + d.removed) + 12 * (uint64_t)d.changed +
                               4 * (uint64_t)extra;
        c->full += full;
        c->differences += t == low ? full : delta;
        c->delta += t == low || full < delta ? full : delta;
    }
    c->resident +=
        12 * (uint64_t)sum(x, x->events, s, s->first > x->stay ? s->first - x->stay : 0, s->last);
}

static void count_shard(const flip_volume *x, const shard *s, int64_t halo, flip_volume_counts *c) {
    const int32_t band = x->stay - (x->timeline.life - 1), before = s->first - x->first_step;
    const int64_t steps = s->last - s->first + 1, rows = s->end - s->begin;
    if (steps == 0) return;
    const int64_t values = sum(x, x->values, s, s->first, s->last);
    c->halo += halo * steps;
    c->values_all += values;
    c->band += rows * (band < before ? band : before);
    if (values > c->values_most) c->values_most = values;
    if (rows * steps > c->cells_most) c->cells_most = rows * steps;
    if (steps > c->steps_most) c->steps_most = (int32_t)steps;
    count_transfers(x, s, band, c);
}

/* Parts of the file within the shard's nodes, from `hint` on. */
static void find_parts(const flip_volume *x, shard *s, int32_t hint) {
    while (hint < x->n_parts && x->part_first[hint] < s->begin)
        hint++;
    s->from = s->until = hint;
    while (s->until < x->n_parts && x->part_first[s->until + 1] <= s->end)
        s->until++;
}

static flip_status count_ranks(const flip_volume *x, int32_t ranks, int32_t n_time,
                               const flip_gid *rank_first, const int32_t *border, int32_t *stamp,
                               flip_volume_counts *c) {
    int64_t halo = 0;
    int32_t hint = 0;
    if (x->comm && n_time < ranks) FLIP_TRY(shared_halo(x, n_time, border, stamp, &halo));
    for (int32_t r = 0; r < ranks; r++) {
        const int32_t space = r / n_time * n_time, chunk = r % n_time;
        shard s = {.begin = rank_first[space],
                   .end = rank_first[space + n_time],
                   .first = border[chunk],
                   .last = border[chunk + 1] - 1};
        find_parts(x, &s, hint);
        hint = s.from;
        const int64_t own = rank_first[r + 1] - rank_first[r], steps = s.last - s.first + 1;
        c->moved += steps * (s.end - s.begin - own);
        if (own * flip_volume_steps(x) > c->own_most) c->own_most = own * flip_volume_steps(x);
        if (chunk > 0) c->handed += s.end - s.begin;
        count_shard(x, &s, x->comm ? 0 : halo_rows(x, &s, stamp, r), c);
    }
    if (!x->comm) return FLIP_OK;
    const int32_t mine = flip_comm_rank(x->comm) % n_time;
    c->halo = halo * (border[mine + 1] - border[mine]);
    return flip_comm_sum_i64(x->comm, &c->halo, 1);
}

flip_status flip_volume_count(const flip_volume *x, int32_t ranks, int32_t n_time,
                              flip_volume_counts *c) {
    flip_gid *rank_first = NULL;
    int32_t *stamp = NULL, *border = NULL;
    *c = (flip_volume_counts){0};
    if (ranks < 1 || n_time < 1 || ranks % n_time)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%d ranks are not a multiple of %d chunks of time",
                         ranks, n_time);
    if (x->comm && ranks != flip_comm_size(x->comm))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%d ranks of the %d that share a volume", ranks,
                         flip_comm_size(x->comm));
    flip_status status = flip_alloc(&rank_first, (size_t)ranks + 1, sizeof *rank_first, "ranks");
    if (status == FLIP_OK)
        status = flip_alloc(&stamp, (size_t)x->timeline.n_cols, sizeof *stamp, "halo");
    if (status == FLIP_OK)
        status = flip_alloc(&border, (size_t)n_time + 1, sizeof *border, "chunks");
    status = flip_comm_agree(x->comm, status);
    if (status == FLIP_OK) {
        memset(stamp, 0xff, (size_t)x->timeline.n_cols * sizeof *stamp);
        if (x->comm)
            memcpy(rank_first, x->part_first, ((size_t)ranks + 1) * sizeof *rank_first);
        else
            flip_partition_ranks(x->n_parts, x->part_first, ranks, rank_first);
        flip_layout_cut(border, x->first_step, x->n_steps, n_time, x->work);
        status = count_ranks(x, ranks, n_time, rank_first, border, stamp, c);
    }
    flip_free(rank_first);
    flip_free(stamp);
    flip_free(border);
    return status;
}
