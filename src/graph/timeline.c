/* A rank's events sorted by (row, column, step), and by step the pairs that have one.
 *
 * Only a pair with an event at t (which arrives) or at t-life (which leaves) can differ between the
 * snapshots t-1 and t. */
#include "graph/timeline.h"

enum { ENTRY_BYTES = 12, WORD_BYTES = 8, VALUE_BYTES = 4 };

/* ---- what a step holds ---- */

/* First event of the pair behind step t. */
static int64_t behind(const flip_timeline *x, int64_t pair, int32_t t) {
    int64_t low = x->event_ptr[pair], high = x->event_ptr[pair + 1];
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        if (x->step[mid] <= t)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The pair's value in snapshot t, summed as for an adjacency made of events. */
static flip_real value_at(const flip_timeline *x, int64_t pair, int32_t t) {
    const int64_t end = behind(x, pair, t);
    int64_t low = end;
    while (low > x->event_ptr[pair] && x->step[low - 1] > t - x->life)
        low--;
    if (low == end) return flip_absent();
    if (!x->weight) return (flip_real)(end - low);
    double sum = 0;
    for (int64_t i = low; i < end; i++)
        sum += (double)x->weight[i];
    return (flip_real)sum;
}

/* Walks the pairs that may differ between t-1 and t. */
typedef struct changes {
    const flip_timeline *x;
    int32_t t;
    int64_t arrive, arrive_end, leave, leave_end;
    /* what next_change has found */
    uint64_t key;
    flip_real before, after;
} changes;

static changes changes_at(const flip_timeline *x, int32_t t) {
    changes c = {.x = x, .t = t, .arrive = x->step_ptr[t], .arrive_end = x->step_ptr[t + 1]};
    if (t >= x->life) {
        c.leave = x->step_ptr[t - x->life];
        c.leave_end = x->step_ptr[t - x->life + 1];
    }
    return c;
}

static bool next_change(changes *c) {
    const uint32_t *pairs = c->x->step_pair;
    while (c->arrive < c->arrive_end || c->leave < c->leave_end) {
        const uint32_t a = c->arrive < c->arrive_end ? pairs[c->arrive] : UINT32_MAX;
        const uint32_t l = c->leave < c->leave_end ? pairs[c->leave] : UINT32_MAX;
        const uint32_t pair = a < l ? a : l;
        c->arrive += a == pair;
        c->leave += l == pair;
        c->key = c->x->key[pair];
        c->before = c->t > 0 ? value_at(c->x, pair, c->t - 1) : flip_absent();
        c->after = value_at(c->x, pair, c->t);
        if (!flip_same_bits(c->before, c->after)) return true;
    }
    return false;
}

/* ---- what is sent ---- */

uint64_t flip_timeline_full_bytes(const flip_timeline *x, int32_t t) {
    return ENTRY_BYTES * (uint64_t)x->difference[t].entries;
}

uint64_t flip_timeline_delta_bytes(const flip_timeline *x, int32_t t, bool backward) {
    const flip_difference *d = &x->difference[t];
    return WORD_BYTES * (uint64_t)(d->added + d->removed) + ENTRY_BYTES * (uint64_t)d->changed +
           VALUE_BYTES * (uint64_t)x->extra[2 * t + backward];
}

static flip_status make_room(flip_packet *p, int64_t n) {
    if (n <= p->room) return FLIP_OK;
    flip_packet_finish(p);
    FLIP_TRY(
        p->kernels->take_pinned(&p->word, (size_t)n * sizeof *p->word, "snapshots on their way"));
    FLIP_TRY(
        p->kernels->take_pinned(&p->value, (size_t)n * sizeof *p->value, "snapshots on their way"));
    p->room = n;
    return FLIP_OK;
}

void flip_packet_finish(flip_packet *p) {
    if (!p->kernels) return;
    p->kernels->give_back_pinned(p->word);
    p->kernels->give_back_pinned(p->value);
    *p = (flip_packet){.kernels = p->kernels};
}

flip_status flip_timeline_snapshot(flip_timeline *x, int32_t t, flip_packet *p) {
    const int32_t first = t - x->life + 1 > 0 ? t - x->life + 1 : 0;
    FLIP_TRY(make_room(p, x->difference[t].entries));
    p->n_removed = p->n_added = p->n_changed = p->n_extra = 0;
    for (int64_t i = x->step_ptr[first]; i < x->step_ptr[t + 1]; i++)
        x->mark[x->step_pair[i] / 64] |= (uint64_t)1 << x->step_pair[i] % 64;
    for (int64_t w = 0; w <= x->n_pairs / 64; w++) {
        for (uint64_t left = x->mark[w]; left; left &= left - 1) {
            const int64_t pair = 64 * w + __builtin_ctzll(left);
            p->word[p->n_added] = x->key[pair];
            p->value[p->n_added++] = value_at(x, pair, t);
        }
        x->mark[w] = 0;
    }
    return FLIP_OK;
}

flip_status flip_timeline_difference(const flip_timeline *x, int32_t t, bool backward,
                                     flip_packet *p) {
    const flip_difference *d = &x->difference[t];
    const int64_t n_added = backward ? d->removed : d->added,
                  n_removed = backward ? d->added : d->removed;
    FLIP_TRY(make_room(p, n_added + n_removed + d->changed));
    uint64_t *removed = p->word, *added = removed + n_removed, *changed = added + n_added;
    flip_real *new_value = p->value + n_added; /* changed ones; moved up behind n_extra */
    p->n_extra = 0;
    changes c = changes_at(x, t);
    while (next_change(&c)) {
        const flip_real from = backward ? c.after : c.before, to = backward ? c.before : c.after;
        if (flip_is_absent(to)) {
            flip_word_pack(&x->form, c.key, 0, removed++);
        } else if (flip_is_absent(from)) {
            if (!flip_word_pack(&x->form, c.key, to, added++)) p->value[p->n_extra++] = to;
        } else {
            flip_word_pack(&x->form, c.key, 0, changed++);
            *new_value++ = to;
        }
    }
    if (d->changed > 0)
        memmove(p->value + p->n_extra, p->value + n_added, (size_t)d->changed * sizeof *p->value);
    p->n_removed = n_removed;
    p->n_added = n_added;
    p->n_changed = d->changed;
    return FLIP_OK;
}

/* ---- from events ---- */

void flip_timeline_count(flip_timeline *x) {
    memset(x->difference, 0, (size_t)x->n_steps * sizeof *x->difference);
    memset(x->extra, 0, 2 * (size_t)x->n_steps * sizeof *x->extra);
    for (int32_t t = 0; t < x->n_steps; t++) {
        flip_difference *d = &x->difference[t];
        changes c = changes_at(x, t);
        while (next_change(&c)) {
            const bool add = flip_is_absent(c.before), remove = flip_is_absent(c.after);
            d->added += add;
            d->removed += remove;
            d->changed += !add && !remove;
            if (add) x->extra[2 * t] += !flip_word_fits(&x->form, c.after);
            if (remove) x->extra[2 * t + 1] += !flip_word_fits(&x->form, c.before);
        }
        d->entries = (t > 0 ? d[-1].entries : 0) + d->added - d->removed;
    }
}

void flip_timeline_count_parts(const flip_timeline *x, int32_t n_parts, const flip_gid *part_first,
                               flip_difference *difference, int64_t *extra) {
    for (int32_t t = 0; t < x->n_steps; t++) {
        changes c = changes_at(x, t);
        int32_t part = 0; /* keys ascend, and rows with them */
        while (next_change(&c)) {
            while (flip_key_row(c.key) >= part_first[part + 1])
                part++;
            flip_difference *d = &difference[(int64_t)part * x->n_steps + t];
            const bool add = flip_is_absent(c.before), remove = flip_is_absent(c.after);
            d->added += add;
            d->removed += remove;
            d->changed += !add && !remove;
            if (add) extra[(int64_t)part * x->n_steps + t] += !flip_word_fits(&x->form, c.after);
        }
        for (int32_t k = 0; k < n_parts; k++) {
            flip_difference *d = &difference[(int64_t)k * x->n_steps + t];
            d->entries = (t > 0 ? d[-1].entries : 0) + d->added - d->removed;
        }
    }
}

/* Pairs and their events out of the build's sorted rows. */
static void take_pairs(flip_timeline *x, const flip_build *b, const int32_t *place) {
    x->n_pairs = 0;
    for (int32_t v = 0; v < b->n_own; v++)
        for (int64_t i = b->row_start[v]; i < b->row_start[v + 1]; i++) {
            const uint32_t event = b->by_row[i];
            const int32_t column = b->column[event];
            if (i == b->row_start[v] || column != b->column[b->by_row[i - 1]]) {
                x->key[x->n_pairs] = (uint64_t)v << 32 | (uint64_t)place[column];
                x->event_ptr[x->n_pairs++] = i;
            }
            x->step[i] = flip_event_step(b, event);
            if (x->weight) x->weight[i] = (flip_real)flip_event_weight(b, event);
        }
    x->event_ptr[x->n_pairs] = x->n_events;
}

static bool first_of_step(const flip_timeline *x, int64_t pair, int64_t i) {
    return i == x->event_ptr[pair] || x->step[i] != x->step[i - 1];
}

static void take_steps(flip_timeline *x) {
    for (int64_t pair = 0; pair < x->n_pairs; pair++)
        for (int64_t i = x->event_ptr[pair]; i < x->event_ptr[pair + 1]; i++)
            if (first_of_step(x, pair, i)) x->step_ptr[x->step[i] + 1]++;
    for (int32_t t = 0; t < x->n_steps; t++)
        x->step_ptr[t + 1] += x->step_ptr[t];
    for (int64_t pair = 0; pair < x->n_pairs; pair++)
        for (int64_t i = x->event_ptr[pair]; i < x->event_ptr[pair + 1]; i++)
            if (first_of_step(x, pair, i)) x->step_pair[x->step_ptr[x->step[i]]++] = (uint32_t)pair;
    memmove(x->step_ptr + 1, x->step_ptr, (size_t)x->n_steps * sizeof *x->step_ptr);
    x->step_ptr[0] = 0;
}

static flip_status allocate(flip_timeline *x, int64_t n_pairs, bool weighted) {
    const char *what = "events of snapshots";
    const size_t n = (size_t)x->n_events, pairs = (size_t)n_pairs, steps = (size_t)x->n_steps;
    FLIP_TRY(flip_alloc(&x->key, pairs, sizeof *x->key, what));
    FLIP_TRY(flip_alloc(&x->event_ptr, pairs + 1, sizeof *x->event_ptr, what));
    FLIP_TRY(flip_alloc(&x->step, n, sizeof *x->step, what));
    if (weighted) FLIP_TRY(flip_alloc(&x->weight, n, sizeof *x->weight, what));
    FLIP_TRY(flip_alloc_zero(&x->step_ptr, steps + 2, sizeof *x->step_ptr, what));
    FLIP_TRY(flip_alloc(&x->step_pair, n, sizeof *x->step_pair, what));
    FLIP_TRY(flip_alloc_zero(&x->mark, pairs / 64 + 1, sizeof *x->mark, what));
    FLIP_TRY(flip_alloc_zero(&x->difference, steps, sizeof *x->difference, what));
    return flip_alloc_zero(&x->extra, 2 * steps, sizeof *x->extra, what);
}

static int64_t count_pairs(const flip_build *b) {
    int64_t n = 0;
    for (int32_t v = 0; v < b->n_own; v++)
        for (int64_t i = b->row_start[v]; i < b->row_start[v + 1]; i++)
            n += i == b->row_start[v] || b->column[b->by_row[i]] != b->column[b->by_row[i - 1]];
    return n;
}

static flip_status take_build(flip_timeline *x, flip_build *b) {
    flip_status status;
    int32_t *place = NULL;
    x->n_cols = b->n_cols;
    x->n_events = b->n_alive;
    x->form = flip_word_form_of(x->n_rows, x->n_cols);
    FLIP_TRY_GOTO(flip_alloc(&x->halo, (size_t)b->n_halo, sizeof *x->halo, "halo of all steps"));
    if (b->n_halo > 0) memcpy(x->halo, b->out->halo, (size_t)b->n_halo * sizeof *x->halo);
    FLIP_TRY_GOTO(flip_alloc(&place, (size_t)b->n_cols, sizeof *place, "order of columns"));
    for (int32_t i = 0; i < b->n_cols; i++)
        place[b->order[i]] = i;
    FLIP_TRY_GOTO(
        allocate(x, count_pairs(b), b->events->weight && flip_kind_weighted(b->params.kind)));
    take_pairs(x, b, place);
    take_steps(x);
    flip_timeline_count(x);
    x->original = b->original;
    x->order = b->order;
    b->original = NULL;
    b->order = NULL;
done:
    flip_free(place);
    return status;
}

flip_status flip_timeline_init(flip_timeline *x, flip_comm *comm, const flip_gid *rank_first,
                               const int64_t *original, const flip_events *events,
                               const flip_adjacency_params *params) {
    flip_status status;
    const int rank = flip_comm_rank(comm);
    flip_adjacency out = {0};
    flip_build b = {
        .comm = comm, .events = events, .params = *params, .out = &out, .first = rank_first[rank]};
    *x = (flip_timeline){0};
    b.params.window = 1;
    FLIP_TRY_GOTO(flip_narrow(&b.n_own, rank_first[rank + 1] - rank_first[rank],
                              "the number of nodes of a rank"));
    FLIP_TRY_GOTO(flip_build_steps(&b));
    x->n_rows = b.n_own;
    x->n_steps = b.last + 1;
    x->life = b.params.edge_life;
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_arena_create(&out.arena, "events of snapshots")));
    FLIP_TRY_GOTO(flip_build_columns(&b, rank_first, original));
    FLIP_TRY_GOTO(flip_comm_agree(comm, take_build(x, &b)));
done:
    flip_build_free(&b);
    flip_plan_destroy(&out.plan);
    flip_arena_destroy(&out.arena);
    if (status != FLIP_OK) flip_timeline_finish(x);
    return status;
}

void flip_timeline_finish(flip_timeline *x) {
    flip_free(x->halo);
    flip_free(x->original);
    flip_free(x->order);
    flip_free(x->key);
    flip_free(x->event_ptr);
    flip_free(x->step);
    flip_free(x->weight);
    flip_free(x->step_ptr);
    flip_free(x->step_pair);
    flip_free(x->mark);
    flip_free(x->difference);
    flip_free(x->extra);
    *x = (flip_timeline){0};
}

flip_status flip_snapshots_differences(flip_difference *differences, const flip_events *events,
                                       const flip_adjacency_params *params) {
    flip_timeline x;
    flip_gid range[2] = {0, 1};
    for (int64_t i = 0; i < events->n; i++) {
        if (events->dst[i] >= range[1]) range[1] = events->dst[i] + 1;
        if (events->src[i] >= range[1]) range[1] = events->src[i] + 1;
    }
    FLIP_TRY(flip_timeline_init(&x, NULL, range, NULL, events, params));
    memcpy(differences, x.difference, (size_t)x.n_steps * sizeof *differences);
    flip_timeline_finish(&x);
    return FLIP_OK;
}
