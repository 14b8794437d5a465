/* Patching: the device's snapshot is merged with a record of changes into another buffer, forward
 * or back. Nothing here knows events. */
#include "graph/device.h"

static const uint64_t NO_KEY = UINT64_MAX;

flip_status flip_device_init(flip_device *d, int32_t n_steps, flip_word_form form) {
    *d = (flip_device){.form = form, .n_steps = n_steps, .low = -1, .now = -1, .high = -1};
    return flip_alloc_zero(&d->record, (size_t)n_steps, sizeof *d->record, "records of changes");
}

static void free_record(flip_record *r) {
    flip_free(r->key);
    flip_free(r->before);
    flip_free(r->after);
    *r = (flip_record){0};
}

void flip_device_finish(flip_device *d) {
    for (int i = 0; i < 2; i++) {
        flip_free(d->key[i]);
        flip_free(d->value[i]);
    }
    for (int32_t t = 0; d->record && t < d->n_steps; t++)
        free_record(&d->record[t]);
    flip_free(d->record);
    *d = (flip_device){0};
}

void flip_device_forget(flip_device *d) {
    for (int32_t t = 0; t < d->n_steps; t++)
        free_record(&d->record[t]);
    d->low = d->now = d->high = -1;
    d->n = 0;
}

static flip_status make_room(flip_device *d, int buffer, int64_t n) {
    if (n <= d->room[buffer]) return FLIP_OK;
    flip_free(d->key[buffer]);
    flip_free(d->value[buffer]);
    d->key[buffer] = NULL;
    d->value[buffer] = NULL;
    d->room[buffer] = 0;
    n += n / 8;
    FLIP_TRY(flip_alloc(&d->key[buffer], (size_t)n, sizeof **d->key, "snapshot on the device"));
    FLIP_TRY(flip_alloc(&d->value[buffer], (size_t)n, sizeof **d->value, "snapshot on the device"));
    d->room[buffer] = n;
    return FLIP_OK;
}

static flip_status make_record(flip_record *r, int64_t n) {
    free_record(r);
    FLIP_TRY(flip_alloc(&r->key, (size_t)n, sizeof *r->key, "record of changes"));
    FLIP_TRY(flip_alloc(&r->before, (size_t)n, sizeof *r->before, "record of changes"));
    FLIP_TRY(flip_alloc(&r->after, (size_t)n, sizeof *r->after, "record of changes"));
    r->room = n;
    return FLIP_OK;
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

/* Entries i … of the snapshot below `key` are copied; returns the first that is not. */
static int64_t copy_below(const flip_device *d, int64_t i, uint64_t key, int64_t *to) {
    const uint64_t *from = d->key[0];
    const int64_t begin = i;
    while (i < d->n && from[i] < key)
        i++;
    if (i == begin) return i;
    memcpy(d->key[1] + *to, from + begin, (size_t)(i - begin) * sizeof *from);
    memcpy(d->value[1] + *to, d->value[0] + begin, (size_t)(i - begin) * sizeof **d->value);
    *to += i - begin;
    return i;
}

/* The snapshot after a record's changes; what they replace goes to `old`, or, where the record has
 * it already, must be what is found. */
static flip_status patch(flip_device *d, const flip_record *r, flip_real *old, const flip_real *new,
                         bool fill) {
    int64_t i = 0, n = 0;
    FLIP_TRY(make_room(d, 1, d->n + r->n));
    for (int64_t c = 0; c < r->n; c++) {
        i = copy_below(d, i, r->key[c], &n);
        const bool found = i < d->n && d->key[0][i] == r->key[c];
        const flip_real is = found ? d->value[0][i++] : flip_absent();
        if (fill && found != flip_is_absent(old[c]))
            old[c] = is;
        else if (fill || !flip_same_bits(old[c], is))
            return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                             "a change of row %d, column %d does not fit the device's snapshot",
                             flip_key_row(r->key[c]), flip_key_place(r->key[c]));
        if (flip_is_absent(new[c])) continue;
        d->key[1][n] = r->key[c];
        d->value[1][n++] = new[c];
    }
    copy_below(d, i, NO_KEY, &n);
    swap_buffers(d, n);
    return FLIP_OK;
}

flip_status flip_device_move(flip_device *d, int32_t t) {
    for (; d->now < t; d->now++) {
        flip_record *r = &d->record[d->now + 1];
        FLIP_TRY(patch(d, r, r->before, r->after, false));
    }
    for (; d->now > t; d->now--) {
        flip_record *r = &d->record[d->now];
        FLIP_TRY(patch(d, r, r->after, r->before, false));
    }
    return FLIP_OK;
}

/* The record that leads to step t, on whichever side of what is held it lies. */
static flip_record *record_towards(flip_device *d, int32_t t) {
    return &d->record[t > d->high ? t : t + 1];
}

static flip_status arrive(flip_device *d, int32_t t) {
    if (t > d->high)
        d->high = t;
    else
        d->low = t;
    d->now = t;
    return FLIP_OK;
}

/* Difference of two snapshots that are there. */
static flip_status compare(flip_record *r, const flip_device *d, const flip_packet *p,
                           bool backward) {
    FLIP_TRY(make_record(r, d->n + p->n_added));
    int64_t i = 0, j = 0, n = 0;
    while (i < d->n || j < p->n_added) {
        const uint64_t a = i < d->n ? d->key[0][i] : NO_KEY,
                       b = j < p->n_added ? p->word[j] : NO_KEY;
        const flip_real was = a <= b ? d->value[0][i] : flip_absent(),
                        is = b <= a ? p->value[j] : flip_absent();
        i += a <= b;
        j += b <= a;
        if (flip_same_bits(was, is)) continue;
        r->key[n] = a < b ? a : b;
        r->before[n] = backward ? is : was;
        r->after[n++] = backward ? was : is;
    }
    r->n = n;
    return FLIP_OK;
}

/* compare sizes a record for the worst; give back what it did not take. */
static flip_status trim_record(flip_record *r) {
    if (r->room - r->n < r->n / 4 + 64) return FLIP_OK;
    const size_t n = (size_t)r->n;
    FLIP_TRY(flip_grow(&r->key, n, n, sizeof *r->key, "record of changes"));
    FLIP_TRY(flip_grow(&r->before, n, n, sizeof *r->before, "record of changes"));
    FLIP_TRY(flip_grow(&r->after, n, n, sizeof *r->after, "record of changes"));
    r->room = r->n;
    return FLIP_OK;
}

flip_status flip_device_receive_full(flip_device *d, int32_t t, const flip_packet *p) {
    if (d->low >= 0) {
        const bool backward = t < d->low;
        flip_record *r = record_towards(d, t);
        FLIP_TRY(flip_device_move(d, backward ? d->low : d->high));
        FLIP_TRY(compare(r, d, p, backward));
        FLIP_TRY(trim_record(r));
    } else {
        d->low = d->high = t;
    }
    FLIP_TRY(make_room(d, 1, p->n_added));
    if (p->n_added > 0) {
        memcpy(d->key[1], p->word, (size_t)p->n_added * sizeof *p->word);
        memcpy(d->value[1], p->value, (size_t)p->n_added * sizeof *p->value);
    }
    swap_buffers(d, p->n_added);
    return arrive(d, t);
}

/* The three ascending lists of words as one record; what the changes replace is not known yet. */
static flip_status unpack(flip_record *r, const flip_packet *p, const flip_word_form *form,
                          bool backward) {
    FLIP_TRY(make_record(r, p->n_removed + p->n_added + p->n_changed));
    flip_real *old = backward ? r->after : r->before, *new = backward ? r->before : r->after;
    const uint64_t *word[3] = {p->word, p->word + p->n_removed,
                               p->word + p->n_removed + p->n_added};
    const int64_t count[3] = {p->n_removed, p->n_added, p->n_changed};
    const flip_real *extra = p->value, *value = p->value + p->n_extra;
    int64_t at[3] = {0};
    for (r->n = 0; r->n < r->room; r->n++) {
        int which = -1;
        uint64_t least = NO_KEY;
        for (int k = 0; k < 3; k++) {
            if (at[k] == count[k]) continue;
            const uint64_t key = flip_word_key(form, word[k][at[k]]);
            if (key < least) {
                least = key;
                which = k;
            }
        }
        if (which < 0) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a difference names an entry twice");
        r->key[r->n] = least;
        old[r->n] = which == 1 ? flip_absent() : 0;
        new[r->n] = flip_absent();
        if (which == 1 && !flip_word_value(form, word[1][at[1]], &new[r->n])) new[r->n] = *extra++;
        if (which == 2) new[r->n] = *value++;
        at[which]++;
    }
    return FLIP_OK;
}

flip_status flip_device_receive_delta(flip_device *d, int32_t t, const flip_packet *p) {
    const bool backward = t < d->low;
    flip_record *r = record_towards(d, t);
    FLIP_TRY(flip_device_move(d, backward ? d->low : d->high));
    FLIP_TRY(unpack(r, p, &d->form, backward));
    FLIP_TRY(patch(d, r, backward ? r->after : r->before, backward ? r->before : r->after, true));
    return arrive(d, t);
}

void flip_device_keep(flip_device *d, int32_t low, int32_t high) {
    for (int32_t t = d->low + 1; t <= d->high; t++)
        if (t <= low || t > high) free_record(&d->record[t]);
    d->low = low;
    d->high = high;
}
