/* Patching: the device's snapshot is merged with a record of changes into another buffer, forward
 * or back, by the kernels of the table in whose memory it lies. Nothing here knows events. */
#include "graph/device.h"

static const uint64_t NO_KEY = UINT64_MAX;

flip_status flip_device_init(flip_device *d, const flip_kernels *kernels, int32_t n_steps,
                             flip_word_form form) {
    *d = (flip_device){
        .kernels = kernels, .form = form, .n_steps = n_steps, .low = -1, .now = -1, .high = -1};
    FLIP_TRY(flip_alloc_zero(&d->record, (size_t)n_steps, sizeof *d->record, "records of changes"));
    FLIP_TRY(flip_alloc_zero(&d->spare, (size_t)n_steps, sizeof *d->spare, "records of changes"));
    FLIP_TRY(kernels->take(&d->found, 6 * sizeof *d->found, "records of changes"));
    kernels->send(d->found, &NO_KEY, sizeof NO_KEY);
    return FLIP_OK;
}

/* ---- memory ---- */

/* A GPU's memory is slow to take and to give back: records wait for the next. */
static void free_record(flip_device *d, flip_record *r) {
    if (r->key && d->kernels->on_device && d->n_spare < d->n_steps)
        d->spare[d->n_spare++] = *r;
    else
        d->kernels->give_back(r->key);
    *r = (flip_record){0};
}

/* A quarter more at most, or up to 64: what one step leaves fits others. */
static int64_t rounded(int64_t n) {
    int64_t unit = 64;
    while (unit < n / 8)
        unit *= 2;
    return (n + unit - 1) / unit * unit;
}

/* The smallest of the spare ones that has room for n; -1: none. */
static int32_t find_spare(const flip_device *d, int64_t n) {
    int32_t best = -1;
    for (int32_t i = 0; i < d->n_spare; i++)
        if (d->spare[i].room >= n && (best < 0 || d->spare[i].room < d->spare[best].room)) best = i;
    return best;
}

static flip_status make_record(flip_device *d, flip_record *r, int64_t n) {
    free_record(d, r);
    const int32_t spare = find_spare(d, n);
    if (spare >= 0) {
        *r = d->spare[spare];
        d->spare[spare] = d->spare[--d->n_spare];
        return FLIP_OK;
    }
    if (d->n_spare > 0) d->kernels->give_back(d->spare[--d->n_spare].key); /* too small, all */
    if (d->kernels->on_device) n = rounded(n);
    const int64_t room = n < d->most_changes ? d->most_changes : n;
    FLIP_TRY(d->kernels->take(&r->key, (size_t)room * (sizeof *r->key + 2 * sizeof *r->before),
                              "record of changes"));
    r->before = (flip_real *)(r->key + room);
    r->after = r->before + room;
    r->room = room;
    return FLIP_OK;
}

/* A record found by comparing was sized for the worst: what it did not take is given back. */
static flip_status trim_record(flip_device *d, flip_record *r) {
    flip_record less = {0};
    if (d->n_between >= 0 || r->room - r->n < r->n / 4 + 64 || r->room <= d->most_changes)
        return FLIP_OK;
    FLIP_TRY(make_record(d, &less, r->n));
    d->kernels->copy(less.key, r->key, (size_t)r->n * sizeof *r->key);
    d->kernels->copy(less.before, r->before, (size_t)r->n * sizeof *r->before);
    d->kernels->copy(less.after, r->after, (size_t)r->n * sizeof *r->after);
    less.n = r->n;
    less.more = r->more;
    d->kernels->give_back(r->key);
    *r = less;
    return FLIP_OK;
}

void flip_device_finish(flip_device *d) {
    if (!d->kernels) return;
    const flip_kernels *kernels = d->kernels;
    for (int i = 0; i < 2; i++) {
        kernels->give_back(d->key[i]);
        kernels->give_back(d->value[i]);
    }
    for (int32_t t = 0; d->record && t < d->n_steps; t++)
        kernels->give_back(d->record[t].key);
    for (int32_t i = 0; i < d->n_spare; i++)
        kernels->give_back(d->spare[i].key);
    kernels->give_back(d->word);
    kernels->give_back(d->extra);
    kernels->give_back(d->work);
    kernels->give_back(d->found);
    flip_free(d->record);
    flip_free(d->spare);
    *d = (flip_device){0};
}

void flip_device_forget(flip_device *d) {
    for (int32_t t = 0; t < d->n_steps; t++)
        free_record(d, &d->record[t]);
    d->low = d->now = d->high = -1;
    d->n = 0;
}

static flip_status make_room(flip_device *d, int buffer, int64_t n) {
    if (n <= d->room[buffer]) return FLIP_OK;
    d->kernels->give_back(d->key[buffer]);
    d->kernels->give_back(d->value[buffer]);
    d->key[buffer] = NULL;
    d->value[buffer] = NULL;
    d->room[buffer] = 0;
    n += n / 8;
    if (n < d->most_entries) n = d->most_entries;
    FLIP_TRY(
        d->kernels->take(&d->key[buffer], (size_t)n * sizeof **d->key, "snapshot on the device"));
    FLIP_TRY(d->kernels->take(&d->value[buffer], (size_t)n * sizeof **d->value,
                              "snapshot on the device"));
    d->room[buffer] = n;
    return FLIP_OK;
}

/* Room for a difference that arrives; a CPU reads it where it is. */
static flip_status make_words(flip_device *d, int64_t n) {
    if (n <= d->room_words) return FLIP_OK;
    d->kernels->give_back(d->word);
    d->kernels->give_back(d->extra);
    d->word = NULL;
    d->extra = NULL;
    d->room_words = 0;
    n += n / 8;
    if (n < d->most_changes) n = d->most_changes;
    FLIP_TRY(d->kernels->take(&d->word, (size_t)n * sizeof *d->word, "difference that arrives"));
    FLIP_TRY(d->kernels->take(&d->extra, (size_t)n * sizeof *d->extra, "difference that arrives"));
    d->room_words = n;
    return FLIP_OK;
}

static flip_status make_work(flip_device *d, int64_t n, int64_t changes) {
    const int64_t most = d->most_changes < changes ? changes : d->most_changes;
    const size_t bytes = flip_changes_work(n < d->most_entries ? d->most_entries : n, most);
    if (!d->kernels->on_device || flip_changes_work(n, changes) <= d->room_work) return FLIP_OK;
    return flip_kernels_reserve(d->kernels, &d->work, &d->room_work, bytes, "work of a merge");
}

static void swap_buffers(flip_device *d, int64_t n) {
    uint64_t *key = d->key[0];
    flip_real *value = d->value[0];
    int64_t room = d->room[0];
    d->key[0] = d->key[1];
    d->value[0] = d->value[1];
    d->room[0] = d->room[1];
    d->key[1] = key;
    d->value[1] = value;
    d->room[1] = room;
    d->n = n;
}

/* ---- patching ---- */

static flip_changes changes_of(const flip_record *r, bool backward) {
    return (flip_changes){.n = r->n,
                          .key = r->key,
                          .was = backward ? r->after : r->before,
                          .is = backward ? r->before : r->after};
}

/* The snapshot after a record's changes; what they replace goes to the record, or, where the record
 * has it already, must be what is found. */
static flip_status patch(flip_device *d, const flip_record *r, bool backward, bool learn) {
    const flip_changes c = changes_of(r, backward);
    const int64_t n = backward ? d->n - r->more : d->n + r->more;
    FLIP_TRY(make_room(d, 1, d->n + r->n));
    FLIP_TRY(make_work(d, d->n, r->n));
    const flip_entries from = {.n = d->n, .key = d->key[0], .value = d->value[0]},
                       to = {.n = n, .key = d->key[1], .value = d->value[1]};
    d->kernels->merge_changes(&to, &from, &c, learn, d->work, d->found);
    swap_buffers(d, n);
    return FLIP_OK;
}

flip_status flip_device_settle(flip_device *d, uint64_t *found, int n) {
    d->kernels->receive(found, d->found, (size_t)n * sizeof *found);
    FLIP_TRY(d->kernels->wait());
    if (found[0] == NO_KEY) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                     "a change of row %d, column %d does not fit the device's snapshot",
                     flip_key_row(found[0]), flip_key_place(found[0]));
}

static flip_status settle(flip_device *d) {
    uint64_t key = NO_KEY;
    return d->later ? FLIP_OK : flip_device_settle(d, &key, 1);
}

static flip_status walk(flip_device *d, int32_t t) {
    for (; d->now < t; d->now++)
        FLIP_TRY(patch(d, &d->record[d->now + 1], false, false));
    for (; d->now > t; d->now--)
        FLIP_TRY(patch(d, &d->record[d->now], true, false));
    return FLIP_OK;
}

flip_status flip_device_move(flip_device *d, int32_t t) {
    if (t == d->now) return FLIP_OK;
    FLIP_TRY(walk(d, t));
    return settle(d);
}

/* ---- what arrives ---- */

/* A snapshot goes to the other buffer at once; a difference waits apart. */
flip_status flip_device_send(flip_device *d, int32_t t, const flip_packet *p, bool whole) {
    const flip_kernels *kernels = d->kernels;
    if (d->low >= 0) FLIP_TRY(walk(d, t < d->low ? d->low : d->high));
    d->whole = whole;
    d->n_between = p->n_between;
    d->words = (flip_graph_words){.form = d->form,
                                  .n_removed = p->n_removed,
                                  .n_added = p->n_added,
                                  .n_changed = p->n_changed,
                                  .n_extra = p->n_extra,
                                  .word = p->word,
                                  .value = p->value};
    const int64_t words = p->n_removed + p->n_added + p->n_changed;
    if (whole) {
        FLIP_TRY(make_room(d, 1, p->n_added));
        kernels->send(d->key[1], p->word, (size_t)p->n_added * sizeof *p->word);
        kernels->send(d->value[1], p->value, (size_t)p->n_added * sizeof *p->value);
    } else if (kernels->on_device) {
        FLIP_TRY(make_words(d, words));
        kernels->send(d->word, p->word, (size_t)words * sizeof *p->word);
        kernels->send(d->extra, p->value, (size_t)(p->n_extra + p->n_changed) * sizeof *p->value);
        d->words.word = d->word;
        d->words.value = d->extra;
    }
    return FLIP_OK;
}

/* Beside what is held: the record tells the way between the two. */
static flip_status take_whole(flip_device *d, flip_record *r, bool backward) {
    const int64_t n = d->words.n_added, told = d->n_between;
    const flip_entries from = {.n = d->n, .key = d->key[0], .value = d->value[0]},
                       to = {.n = n, .key = d->key[1], .value = d->value[1]};
    FLIP_TRY(make_record(d, r, told >= 0 ? told : d->n + n));
    FLIP_TRY(make_work(d, 0, d->n + n));
    r->n = told >= 0 ? told : d->n + n; /* no more are written */
    const flip_changes c = changes_of(r, backward);
    int64_t *count = (int64_t *)(d->found + 1);
    d->kernels->find_changes(&c, count, &from, &to, d->work);
    d->kernels->receive(&r->n, count, sizeof r->n);
    FLIP_TRY(d->kernels->wait());
    if (told >= 0 && r->n != told) {
        const long long n_found = (long long)r->n;
        free_record(d, r);
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%lld changes lead to a snapshot, not %lld", n_found,
                         (long long)told);
    }
    r->more = backward ? d->n - n : n - d->n;
    return trim_record(d, r);
}

/* The three lists as one record; what the changes replace is not known yet. */
static flip_status take_words(flip_device *d, flip_record *r, bool backward) {
    const flip_graph_words *w = &d->words;
    const int64_t n = w->n_removed + w->n_added + w->n_changed, more = w->n_added - w->n_removed;
    FLIP_TRY(make_record(d, r, n));
    FLIP_TRY(make_work(d, d->n, n));
    r->n = n;
    r->more = backward ? -more : more;
    const flip_changes c = changes_of(r, backward);
    d->kernels->unpack_words(&c, w, d->work, d->found);
    return patch(d, r, backward, true);
}

flip_status flip_device_take(flip_device *d, int32_t t) {
    const bool first = d->low < 0, backward = !first && t < d->low;
    flip_record *r = first ? NULL : &d->record[backward ? t + 1 : t];
    if (d->whole && !first) FLIP_TRY(take_whole(d, r, backward));
    if (d->whole)
        swap_buffers(d, d->words.n_added);
    else
        FLIP_TRY(take_words(d, r, backward));
    if (first || backward) d->low = t;
    if (first || !backward) d->high = t;
    d->now = t;
    return settle(d);
}

void flip_device_keep(flip_device *d, int32_t low, int32_t high) {
    for (int32_t t = d->low + 1; t <= d->high; t++)
        if (t <= low || t > high) free_record(d, &d->record[t]);
    d->low = low;
    d->high = high;
}
