/* The snapshots of a block, told by one of them and the records of changes, entry by entry: rows in
 * groups, each list read on from where the group begins. */
#include "graph/device.h"

#include <stdlib.h>

enum { GROUP = 256 };

/* One of a row's entries; the changes it has go to its place. */
typedef struct entry {
    int32_t place, n;
    int64_t at;
    flip_real now; /* the snapshot's value, or absent */
} entry;

typedef struct change {
    int32_t entry, step;
    flip_real before, after;
} change;

typedef struct row_work {
    int32_t *slot;   /* [n_cols] number of a place's entry in the row; -1 */
    int64_t *at;     /* [records] next change of each */
    entry *entries;  /* of the row */
    int64_t n, room; /* … */
    change *changes; /* of the row, steps ascending */
    int64_t n_changes, change_room;
    uint64_t *sorted; /* [room] place << 32 | entry */
} row_work;

static void finish_work(row_work *w) {
    flip_free(w->slot);
    flip_free(w->at);
    flip_free(w->entries);
    flip_free(w->changes);
    flip_free(w->sorted);
}

static flip_status init_work(row_work *w, int32_t n_cols, int32_t n_records) {
    *w = (row_work){0};
    FLIP_TRY(flip_alloc(&w->slot, (size_t)n_cols, sizeof *w->slot, "entries of a row"));
    memset(w->slot, 0xff, (size_t)n_cols * sizeof *w->slot);
    return flip_alloc(&w->at, (size_t)n_records + 1, sizeof *w->at, "changes of a row");
}

/* First key of the list that is not below `key`. */
static int64_t lower_bound(const uint64_t *list, int64_t n, uint64_t key) {
    int64_t low = 0;
    while (low < n) {
        const int64_t mid = low + (n - low) / 2;
        if (list[mid] < key)
            low = mid + 1;
        else
            n = mid;
    }
    return low;
}

static flip_status add_entry(row_work *w, int32_t place, flip_real now) {
    if (w->n == w->room) {
        const int64_t room = 2 * w->room + 64;
        FLIP_TRY(flip_grow(&w->entries, (size_t)w->n, (size_t)room, sizeof *w->entries,
                           "entries of a row"));
        FLIP_TRY(flip_grow(&w->sorted, 0, (size_t)room, sizeof *w->sorted, "entries of a row"));
        w->room = room;
    }
    w->entries[w->n++] = (entry){.place = place, .now = now};
    return FLIP_OK;
}

static flip_status add_change(row_work *w, uint64_t key, int32_t step, flip_real before,
                              flip_real after) {
    const int32_t place = flip_key_place(key);
    if (w->n_changes == w->change_room) {
        const int64_t room = 2 * w->change_room + 64;
        FLIP_TRY(flip_grow(&w->changes, (size_t)w->n_changes, (size_t)room, sizeof *w->changes,
                           "changes of a row"));
        w->change_room = room;
    }
    if (w->slot[place] < 0) {
        w->slot[place] = (int32_t)w->n;
        FLIP_TRY(add_entry(w, place, flip_absent()));
    }
    w->entries[w->slot[place]].n++;
    w->changes[w->n_changes++] =
        (change){.entry = w->slot[place], .step = step, .before = before, .after = after};
    return FLIP_OK;
}

static int by_number(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sort_numbers(uint64_t *list, int64_t n) {
    if (n > 24) {
        qsort(list, (size_t)n, sizeof *list, by_number);
        return;
    }
    for (int64_t i = 1; i < n; i++) {
        const uint64_t x = list[i];
        int64_t j = i;
        for (; j > 0 && list[j - 1] > x; j--)
            list[j] = list[j - 1];
        list[j] = x;
    }
}

/* Entries of the snapshot stand sorted; those that only changes name are sorted behind them, and
 * both are written in one order. */
static void write_entries(row_work *w, int64_t n_now, flip_pieces *p, int64_t at, int64_t piece_at,
                          int32_t low) {
    const int64_t n_new = w->n - n_now;
    for (int64_t i = 0; i < n_new; i++)
        w->sorted[i] = (uint64_t)w->entries[n_now + i].place << 32 | (uint64_t)(n_now + i);
    sort_numbers(w->sorted, n_new);
    for (int64_t i = 0, j = 0; i < n_now || j < n_new; at++) {
        const bool new =
            i == n_now || (j < n_new && (int32_t)(w->sorted[j] >> 32) < w->entries[i].place);
        entry *e = &w->entries[new ? (int64_t)(w->sorted[j] & 0xffffffff) : i];
        i += !new;
        j += new;
        p->column[at] = e->place;
        p->begin[at] = piece_at;
        p->n[at] = e->n == 0;
        if (e->n == 0) p->piece[piece_at] = (flip_piece){.step = low, .value = e->now};
        piece_at += e->n + 1;
        e->at = at;
    }
    for (int64_t i = 0; i < w->n_changes; i++) {
        const change *c = &w->changes[i];
        const int64_t to = w->entries[c->entry].at;
        flip_piece *piece = p->piece + p->begin[to];
        if (p->n[to] == 0 && !flip_is_absent(c->before))
            piece[p->n[to]++] = (flip_piece){.step = low, .value = c->before};
        piece[p->n[to]++] = (flip_piece){.step = c->step, .value = c->after};
    }
}

/* Row v, whose snapshot begins at *now. */
static flip_status take_row(row_work *w, flip_pieces *p, const flip_device *d, int32_t v,
                            int64_t *now, int64_t *at, int64_t *piece_at) {
    const uint64_t end = ((uint64_t)v + 1) << 32;
    w->n = w->n_changes = 0;
    int64_t first = *now;
    while (*now < d->n && d->key[0][*now] < end)
        (*now)++;
    const int64_t n_now = *now - first;
    bool changed = false;
    for (int32_t t = d->low + 1; t <= d->high && !changed; t++)
        changed = w->at[t - d->low] < d->record[t].n && d->record[t].key[w->at[t - d->low]] < end;
    for (int64_t i = first; i < *now; i++) {
        const int32_t place = flip_key_place(d->key[0][i]);
        if (changed) w->slot[place] = (int32_t)w->n;
        FLIP_TRY(add_entry(w, place, d->value[0][i]));
    }
    for (int32_t t = d->low + 1; changed && t <= d->high; t++) {
        const flip_record *r = &d->record[t];
        int64_t *i = &w->at[t - d->low];
        for (; *i < r->n && r->key[*i] < end; (*i)++)
            FLIP_TRY(add_change(w, r->key[*i], t, r->before[*i], r->after[*i]));
    }
    p->row_begin[v] = *at;
    p->row_n[v] = (int32_t)w->n;
    write_entries(w, n_now, p, *at, *piece_at, d->low);
    for (int64_t i = 0; changed && i < w->n; i++)
        w->slot[w->entries[i].place] = -1;
    *at += w->n;
    *piece_at += w->n + w->n_changes;
    return FLIP_OK;
}

/* A group's entries are written behind all that lists before it could need. */
static flip_status take_group(row_work *w, flip_pieces *p, const flip_device *d, int32_t begin,
                              int32_t end) {
    const uint64_t key = (uint64_t)begin << 32;
    int64_t now = lower_bound(d->key[0], d->n, key), at = now, piece_at = now;
    for (int32_t t = d->low + 1; t <= d->high; t++) {
        const int64_t i = lower_bound(d->record[t].key, d->record[t].n, key);
        w->at[t - d->low] = i;
        at += i;
        piece_at += 2 * i;
    }
    for (int32_t v = begin; v < end; v++)
        FLIP_TRY(take_row(w, p, d, v, &now, &at, &piece_at));
    return FLIP_OK;
}

static flip_status make_room(flip_pieces *p, int32_t n_rows, int64_t entries, int64_t pieces) {
    const char *what = "entries of a block";
    if (n_rows > p->room_rows || entries > p->room_entries || pieces > p->room_pieces) {
        flip_pieces_finish(p);
        FLIP_TRY(flip_alloc(&p->row_begin, (size_t)n_rows, sizeof *p->row_begin, what));
        FLIP_TRY(flip_alloc(&p->row_n, (size_t)n_rows, sizeof *p->row_n, what));
        FLIP_TRY(flip_alloc(&p->column, (size_t)entries, sizeof *p->column, what));
        FLIP_TRY(flip_alloc(&p->begin, (size_t)entries, sizeof *p->begin, what));
        FLIP_TRY(flip_alloc(&p->n, (size_t)entries, sizeof *p->n, what));
        FLIP_TRY(flip_alloc(&p->piece, (size_t)pieces, sizeof *p->piece, what));
        p->room_rows = n_rows;
        p->room_entries = entries;
        p->room_pieces = pieces;
    }
    return FLIP_OK;
}

flip_status flip_pieces_take(flip_pieces *p, const flip_device *d, int32_t n_rows, int32_t n_cols) {
    flip_status status = FLIP_OK;
    int64_t changes = 0;
    for (int32_t t = d->low + 1; t <= d->high; t++)
        changes += d->record[t].n;
    FLIP_TRY(make_room(p, n_rows, d->n + changes, d->n + 2 * changes));
#pragma omp parallel
    {
        row_work w;
        flip_status mine = init_work(&w, n_cols, d->high - d->low);
#pragma omp for schedule(dynamic, 1)
        for (int32_t g = 0; g < (n_rows + GROUP - 1) / GROUP; g++) {
            const int32_t end = n_rows - g * GROUP < GROUP ? n_rows : (g + 1) * GROUP;
            if (mine == FLIP_OK) mine = take_group(&w, p, d, g * GROUP, end);
        }
        finish_work(&w);
#pragma omp critical
        if (mine != FLIP_OK) status = mine;
    }
    return status;
}

void flip_pieces_finish(flip_pieces *p) {
    flip_free(p->row_begin);
    flip_free(p->row_n);
    flip_free(p->column);
    flip_free(p->begin);
    flip_free(p->n);
    flip_free(p->piece);
    *p = (flip_pieces){0};
}
