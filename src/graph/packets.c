/* What is sent of a timeline's snapshots, and how much.
 *
 * Only a pair with an event at t (which arrives) or at t-life (which leaves) can differ between the
 * snapshots t-1 and t. Pairs are cut into shares of equal numbers: threads count what each has at
 * every step once, and so know where they write it. */
#include "graph/timeline.h"

enum { ENTRY_BYTES = 12, WORD_BYTES = 8, VALUE_BYTES = 4, SHARES = FLIP_TIMELINE_SHARES };

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

/* Where the pairs from `pair` on begin among those of step t. */
static int64_t from_pair(const flip_timeline *x, int32_t t, int64_t pair) {
    int64_t low = x->step_ptr[t], high = x->step_ptr[t + 1];
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        if (x->step_pair[mid] < pair)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Of pairs first … end - 1. */
static changes changes_at(const flip_timeline *x, int32_t t, int64_t first, int64_t end) {
    changes c = {.x = x, .t = t};
    c.arrive = from_pair(x, t, first);
    c.arrive_end = from_pair(x, t, end);
    if (t >= x->life) {
        c.leave = from_pair(x, t - x->life, first);
        c.leave_end = from_pair(x, t - x->life, end);
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

static void tally(flip_difference *d, const changes *c) {
    const bool add = flip_is_absent(c->before), remove = flip_is_absent(c->after);
    d->added += add;
    d->removed += remove;
    d->changed += !add && !remove;
}

/* ---- shares ---- */

/* Words of marks before share k: no word is of two. */
static int64_t first_word(const flip_timeline *x, int k) {
    return (x->n_pairs / 64 + 1) * k / x->n_shares;
}

static int64_t first_pair(const flip_timeline *x, int k) {
    const int64_t pair = 64 * first_word(x, k);
    return pair < x->n_pairs ? pair : x->n_pairs;
}

static changes share_changes(const flip_timeline *x, int32_t t, int k) {
    return changes_at(x, t, first_pair(x, k), first_pair(x, k + 1));
}

/* Does the value follow its word? */
static bool value_follows(const flip_timeline *x, uint64_t key, flip_real value) {
    uint64_t word;
    return !flip_word_pack(&x->form, key, value, &word);
}

static void count_share(flip_timeline *x, int32_t t, int k) {
    flip_share share = {0};
    flip_difference d = {0};
    changes c = share_changes(x, t, k);
    while (next_change(&c)) {
        tally(&d, &c);
        if (flip_is_absent(c.before)) {
            share.extra[0] += !flip_word_fits(&x->form, c.after);
            share.follow[0] += value_follows(x, c.key, c.after);
        } else if (flip_is_absent(c.after)) {
            share.extra[1] += !flip_word_fits(&x->form, c.before);
            share.follow[1] += value_follows(x, c.key, c.before);
        }
    }
    share.added = (int32_t)d.added;
    share.removed = (int32_t)d.removed;
    share.changed = (int32_t)d.changed;
    x->share[(int64_t)t * x->n_shares + k] = share;
}

void flip_timeline_count(flip_timeline *x) {
    memset(x->difference, 0, (size_t)x->n_steps * sizeof *x->difference);
    memset(x->extra, 0, 2 * (size_t)x->n_steps * sizeof *x->extra);
#pragma omp parallel for collapse(2) schedule(dynamic, 1) if (x->n_shares > 1)
    for (int32_t t = 0; t < x->n_steps; t++)
        for (int k = 0; k < x->n_shares; k++)
            count_share(x, t, k);
    for (int32_t t = 0; t < x->n_steps; t++) {
        flip_difference *d = &x->difference[t];
        for (int k = 0; k < x->n_shares; k++) {
            flip_share *share = &x->share[(int64_t)t * x->n_shares + k];
            share->entries =
                (t > 0 ? share[-x->n_shares].entries : 0) + share->added - share->removed;
            d->added += share->added;
            d->removed += share->removed;
            d->changed += share->changed;
            for (int back = 0; back < 2; back++)
                x->extra[2 * t + back] += share->extra[back];
        }
        d->entries = (t > 0 ? d[-1].entries : 0) + d->added - d->removed;
    }
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

void flip_timeline_most(const flip_timeline *x, int64_t *entries, int64_t *changes) {
    *entries = *changes = 1;
    for (int32_t t = 0; t < x->n_steps; t++) {
        const flip_difference *d = &x->difference[t];
        const int64_t n = flip_difference_changes(d), before = t > 0 ? d[-1].entries : 0;
        const int64_t room = n + (before > d->entries ? before : d->entries); /* either way */
        if (n > *changes) *changes = n;
        if (room > *entries) *entries = room;
    }
}

static flip_status make_room(flip_packet *p, int64_t n) {
    if (n <= p->room) return FLIP_OK;
    if (p->room > 0) n += n / 8;
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

/* Share k's entries of snapshot t, from `at` on. */
static void write_entries(flip_timeline *x, int32_t t, int k, int64_t at, flip_packet *p) {
    const int64_t first = first_pair(x, k), end = first_pair(x, k + 1);
    for (int32_t s = t - x->life + 1 > 0 ? t - x->life + 1 : 0; s <= t; s++)
        for (int64_t i = from_pair(x, s, first), last = from_pair(x, s, end); i < last; i++)
            x->mark[x->step_pair[i] / 64] |= (uint64_t)1 << x->step_pair[i] % 64;
    for (int64_t w = first_word(x, k); w < first_word(x, k + 1); w++) {
        for (uint64_t left = x->mark[w]; left; left &= left - 1) {
            const int64_t pair = 64 * w + __builtin_ctzll(left);
            p->word[at] = x->key[pair];
            p->value[at++] = value_at(x, pair, t);
        }
        x->mark[w] = 0;
    }
}

flip_status flip_timeline_snapshot(flip_timeline *x, int32_t t, flip_packet *p) {
    const flip_share *share = x->share + (int64_t)t * x->n_shares;
    int64_t at[SHARES];
    FLIP_TRY(make_room(p, x->difference[t].entries));
    p->n_removed = p->n_added = p->n_changed = p->n_extra = 0;
    p->n_between = -1;
    for (int k = 0; k < x->n_shares; k++) {
        at[k] = p->n_added;
        p->n_added += share[k].entries;
    }
#pragma omp parallel for schedule(dynamic, 1) if (x->n_shares > 1)
    for (int k = 0; k < x->n_shares; k++)
        write_entries(x, t, k, at[k], p);
    return FLIP_OK;
}

/* Where words and values of a difference are written. */
typedef struct places {
    uint64_t *removed, *added, *changed;
    flip_real *extra, *value;
} places;

static void write_changes(const flip_timeline *x, int32_t t, int k, bool backward, places to) {
    changes c = share_changes(x, t, k);
    while (next_change(&c)) {
        const flip_real from = backward ? c.after : c.before, is = backward ? c.before : c.after;
        if (flip_is_absent(is)) {
            flip_word_pack(&x->form, c.key, 0, to.removed++);
        } else if (flip_is_absent(from)) {
            if (!flip_word_pack(&x->form, c.key, is, to.added++)) *to.extra++ = is;
        } else {
            flip_word_pack(&x->form, c.key, 0, to.changed++);
            *to.value++ = is;
        }
    }
}

/* Behind what a share writes. */
static places behind_share(places to, const flip_share *share, bool backward) {
    to.removed += backward ? share->added : share->removed;
    to.added += backward ? share->removed : share->added;
    to.changed += share->changed;
    to.extra += share->follow[backward];
    to.value += share->changed;
    return to;
}

flip_status flip_timeline_difference(const flip_timeline *x, int32_t t, bool backward,
                                     flip_packet *p) {
    const flip_difference *d = &x->difference[t];
    const flip_share *share = x->share + (int64_t)t * x->n_shares;
    places at[SHARES];
    FLIP_TRY(make_room(p, flip_difference_changes(d)));
    p->n_added = backward ? d->removed : d->added;
    p->n_removed = backward ? d->added : d->removed;
    p->n_changed = d->changed;
    p->n_extra = 0;
    for (int k = 0; k < x->n_shares; k++)
        p->n_extra += share[k].follow[backward];
    at[0] = (places){.removed = p->word,
                     .added = p->word + p->n_removed,
                     .changed = p->word + p->n_removed + p->n_added,
                     .extra = p->value,
                     .value = p->value + p->n_extra};
    for (int k = 1; k < x->n_shares; k++)
        at[k] = behind_share(at[k - 1], &share[k - 1], backward);
#pragma omp parallel for schedule(dynamic, 1) if (x->n_shares > 1)
    for (int k = 0; k < x->n_shares; k++)
        write_changes(x, t, k, backward, at[k]);
    return FLIP_OK;
}

/* ---- of parts of the rows ---- */

void flip_timeline_count_parts(const flip_timeline *x, int32_t n_parts, const flip_gid *part_first,
                               flip_difference *difference, int64_t *extra) {
    for (int32_t t = 0; t < x->n_steps; t++) {
        changes c = changes_at(x, t, 0, x->n_pairs);
        int32_t part = 0; /* keys ascend, and rows with them */
        while (next_change(&c)) {
            while (flip_key_row(c.key) >= part_first[part + 1])
                part++;
            const int64_t at = (int64_t)part * x->n_steps + t;
            tally(&difference[at], &c);
            if (flip_is_absent(c.before)) extra[at] += !flip_word_fits(&x->form, c.after);
        }
        for (int32_t k = 0; k < n_parts; k++) {
            flip_difference *d = &difference[(int64_t)k * x->n_steps + t];
            d->entries = (t > 0 ? d[-1].entries : 0) + d->added - d->removed;
        }
    }
}
