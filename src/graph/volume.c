/* Counting what ranks would exchange: entries and differences of every (part, step) once, then sums
 * over runs of parts and chunks of steps for each number of ranks. */
#include "graph/timeline.h"
#include <flipbook/partition.h>
#include <flipbook/volume.h>

struct flip_volume {
    int32_t n_parts, n_steps, stay; /* stay: steps an event counts after its own, band included */
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

/* Aggregated entries: an event counts from its step on for stay + 1 steps, overlaps once; every row
 * has its diagonal at every step. */
static void count_values(flip_volume *x) {
    const flip_timeline *t = &x->timeline;
    int32_t part = 0;
    for (int64_t p = 0; p < t->n_pairs; p++) {
        const int32_t row = flip_key_row(t->key[p]), column = t->order[flip_key_place(t->key[p])];
        part = part_of(x, row, part);
        int64_t *values = x->values + (int64_t)part * x->n_steps;
        for (int64_t i = t->event_ptr[p]; i < t->event_ptr[p + 1]; i++)
            x->events[(int64_t)part * x->n_steps + t->step[i]]++;
        if (row == column) continue;
        for (int64_t i = t->event_ptr[p], j; i < t->event_ptr[p + 1]; i = j) {
            int32_t last = t->step[i];
            for (j = i + 1; j < t->event_ptr[p + 1] && t->step[j] - last <= x->stay + 1; j++)
                last = t->step[j];
            add_steps(values, x->n_steps, t->step[i],
                      x->n_steps - last > x->stay ? last + x->stay + 1 : x->n_steps, 1);
        }
    }
    for (int32_t k = 0; k < x->n_parts; k++) {
        int64_t *values = x->values + (int64_t)k * x->n_steps;
        for (int32_t s = 1; s < x->n_steps; s++)
            values[s] += values[s - 1];
        for (int32_t s = 0; s < x->n_steps; s++)
            values[s] += x->part_first[k + 1] - x->part_first[k];
    }
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

static flip_status fill(flip_volume *x, const flip_events *events, const flip_gid *part_first,
                        const flip_adjacency_params *params) {
    const size_t parts = (size_t)x->n_parts, cells = parts * (size_t)params->n_steps;
    const flip_gid all[2] = {0, part_first[x->n_parts]};
    flip_adjacency_params p = *params;
    p.window = 1;
    FLIP_TRY(flip_alloc(&x->part_first, parts + 1, sizeof *x->part_first, "parts"));
    memcpy(x->part_first, part_first, (parts + 1) * sizeof *part_first);
    FLIP_TRY(flip_timeline_init(&x->timeline, NULL, all, NULL, events, &p));
    x->n_steps = x->timeline.n_steps;
    x->stay = x->timeline.life - 1 + (params->window > 1 ? params->window - 1 : 0);
    FLIP_TRY(flip_alloc_zero(&x->raw, cells, sizeof *x->raw, "counts of parts"));
    FLIP_TRY(flip_alloc_zero(&x->extra, cells, sizeof *x->extra, "counts of parts"));
    FLIP_TRY(flip_alloc_zero(&x->values, cells, sizeof *x->values, "counts of parts"));
    FLIP_TRY(flip_alloc_zero(&x->events, cells, sizeof *x->events, "counts of parts"));
    flip_timeline_count_parts(&x->timeline, x->n_parts, x->part_first, x->raw, x->extra);
    count_values(x);
    FLIP_TRY(flip_alloc(&x->work, (size_t)x->n_steps, sizeof *x->work, "work of steps"));
    count_work(x);
    return FLIP_OK;
}

flip_status flip_volume_create(flip_volume **volume, const flip_events *events, int32_t n_parts,
                               const flip_gid *part_first, const flip_adjacency_params *params) {
    FLIP_TRY(flip_alloc_zero(volume, 1, sizeof **volume, "volume"));
    (*volume)->n_parts = n_parts;
    flip_status status = fill(*volume, events, part_first, params);
    if (status != FLIP_OK) flip_volume_destroy(volume);
    return status;
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
        c->delta += t == low || full < delta ? full : delta;
    }
    c->resident +=
        12 * (uint64_t)sum(x, x->events, s, s->first > x->stay ? s->first - x->stay : 0, s->last);
}

static void count_shard(const flip_volume *x, const shard *s, int32_t *stamp, int32_t number,
                        flip_volume_counts *c) {
    const int64_t steps = s->last - s->first + 1, rows = s->end - s->begin;
    if (steps == 0) return;
    const int64_t values = sum(x, x->values, s, s->first, s->last);
    c->halo += halo_rows(x, s, stamp, number) * steps;
    c->values_all += values;
    if (values > c->values_most) c->values_most = values;
    if (rows * steps > c->cells_most) c->cells_most = rows * steps;
    if (steps > c->steps_most) c->steps_most = (int32_t)steps;
    count_transfers(x, s, x->stay - (x->timeline.life - 1), c);
}

flip_status flip_volume_count(const flip_volume *x, int32_t ranks, int32_t n_time,
                              flip_volume_counts *c) {
    flip_gid *rank_first;
    int32_t *stamp, *border = NULL, from = 0;
    *c = (flip_volume_counts){0};
    if (ranks < 1 || n_time < 1 || ranks % n_time)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%d ranks are not a multiple of %d chunks of time",
                         ranks, n_time);
    FLIP_TRY(flip_alloc(&rank_first, (size_t)ranks + 1, sizeof *rank_first, "ranks"));
    flip_status status = flip_alloc(&stamp, (size_t)x->timeline.n_cols, sizeof *stamp, "halo");
    if (status == FLIP_OK) {
        memset(stamp, 0xff, (size_t)x->timeline.n_cols * sizeof *stamp);
        flip_partition_ranks(x->n_parts, x->part_first, ranks, rank_first);
        status = flip_alloc(&border, (size_t)n_time + 1, sizeof *border, "chunks");
    }
    if (status == FLIP_OK) flip_layout_cut(border, 0, x->n_steps, n_time, x->work);
    for (int32_t r = 0; status == FLIP_OK && r < ranks; r++) {
        const int32_t space = r / n_time * n_time, chunk = r % n_time;
        shard s = {.begin = rank_first[space],
                   .end = rank_first[space + n_time],
                   .first = border[chunk],
                   .last = border[chunk + 1] - 1};
        while (from < x->n_parts && x->part_first[from] < s.begin)
            from++;
        s.from = s.until = from;
        while (s.until < x->n_parts && x->part_first[s.until + 1] <= s.end)
            s.until++;
        const int64_t own = rank_first[r + 1] - rank_first[r], steps = s.last - s.first + 1;
        c->moved += steps * (s.end - s.begin - own);
        if (own * x->n_steps > c->own_most) c->own_most = own * x->n_steps;
        if (chunk > 0) c->handed += s.end - s.begin;
        count_shard(x, &s, stamp, r, c);
    }
    flip_free(rank_first);
    flip_free(stamp);
    flip_free(border);
    return status;
}
