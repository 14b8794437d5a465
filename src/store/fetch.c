/* A batch's rows brought together. The owners are asked and answer while own and cached rows are
 * copied:
 *
 *     begin:  ids ──by owner──▶ questions ──▶ owner's rows on their way │ own, cached ones copied
 *     end:    the others' rows have come and go to their places
 */
#include "store/internal.h"

#include <string.h>

enum { AHEAD = 8 }; /* rows that are asked for before they are copied */

void flip_store_talk_finish(flip_store_talk *t) {
    flip_free(t->to);
    flip_free(t->asked);
    flip_free(t->place);
    flip_free(t->received);
    flip_free(t->given);
    flip_free(t->come);
    *t = (flip_store_talk){0};
}

/* Room for n items, with some to spare: batches differ little. */
static flip_status make_room(void *pointer, size_t *room, int64_t n, size_t item) {
    if (*(void **)pointer && (size_t)n <= *room) return FLIP_OK;
    flip_free(*(void **)pointer);
    *(void **)pointer = NULL;
    *room = 0;
    size_t more = (size_t)n + (size_t)n / 8;
    FLIP_TRY(flip_alloc(pointer, more, item, "rows of a batch"));
    *room = more;
    return FLIP_OK;
}

/* ---- who has what ---- */

/* In source: an own row that p.write makes. */
static const uint8_t written = 0;

/* Step of row i, where rows change. */
static int32_t step_of(const flip_store *s, const int32_t *before, int64_t i) {
    return s->steps > 1 ? before[i] - 1 : 0;
}

static const uint8_t *own_row(const flip_store *s, int64_t own, int32_t step) {
    if (s->p.write) return &written;
    return s->p.rows + (size_t)flip_runs_row(&s->p.runs, own, step) * s->stride;
}

/* source [n]: where a row stands on this rank, NULL = on another; to: how many on which. */
static flip_status find_rows(flip_store *s, int64_t n, const flip_gid *ids, const int32_t *before) {
    flip_store_talk *t = &s->talk;
    flip_store_counts *c = &s->counts;
    memset(t->to, 0, (size_t)s->size * sizeof *t->to);
    t->n = 0;
    FLIP_TRY(make_room(&s->source, &s->source_room, n, sizeof *s->source));
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= s->p.rank_first[s->size])
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "row %lld was asked for, there are %lld",
                             (long long)ids[i], (long long)s->p.rank_first[s->size]);
        int32_t step = step_of(s, before, i);
        if (step < 0 || step >= s->steps)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a row of step %d was asked for, there are %d",
                             step, s->steps);
        int64_t cached = flip_cache_row(&s->cache, ids[i], step), own = ids[i] - s->first;
        if (cached >= 0) {
            s->source[i] = s->cache.row + (size_t)cached * s->stride;
            c->hits++;
        } else if (own >= 0 && own < s->n_own) {
            s->source[i] = own_row(s, own, step);
            c->own++;
        } else {
            s->source[i] = NULL;
            t->to[flip_owner_in(s->p.rank_first, s->size, ids[i])]++;
            t->n++;
        }
    }
    c->rows += n;
    c->remote += t->n;
    return FLIP_OK;
}

/* asked: nodes of owners, by owner, step beside step; place: which id each is. */
static flip_status make_questions(flip_store *s, int64_t n, const flip_gid *ids,
                                  const int32_t *before) {
    flip_store_talk *t = &s->talk;
    FLIP_TRY(make_room(&t->asked, &t->asked_room, t->n, sizeof *t->asked));
    FLIP_TRY(make_room(&t->place, &t->place_room, t->n, sizeof *t->place));
    FLIP_TRY(make_room(&t->come, &t->come_room, t->n, s->stride));
    for (int64_t r = 0, sum = 0; r < s->size; sum += t->to[r++])
        t->at[r] = sum;
    for (int64_t i = 0; i < n; i++) {
        if (s->source[i]) continue;
        int owner = flip_owner_in(s->p.rank_first, s->size, ids[i]);
        t->place[t->at[owner]] = (int32_t)i;
        t->asked[t->at[owner]++] =
            (int32_t)(ids[i] - s->p.rank_first[owner]) * s->steps + step_of(s, before, i);
    }
    return FLIP_OK;
}

/* ---- between ranks ---- */

/* How many rows each rank wants of this one. A rank that failed says -1, and all know. */
static flip_status exchange_counts(flip_store *s, flip_status mine) {
    flip_store_talk *t = &s->talk;
    bool failed = false;
    for (int r = 0; r < s->size; r++) {
        t->at[r] = 1;
        if (mine != FLIP_OK) t->to[r] = -1;
    }
    FLIP_TRY(flip_comm_all_to_all(s->comm, t->to, t->at, t->from, t->at, sizeof *t->from));
    t->n_received = 0;
    for (int r = 0; r < s->size; r++) {
        failed |= t->from[r] < 0;
        t->n_received += t->from[r];
    }
    if (failed) return flip_comm_agree(s->comm, mine);
    flip_status status =
        make_room(&t->received, &t->received_room, t->n_received, sizeof *t->received);
    if (status == FLIP_OK) status = make_room(&t->given, &t->given_room, t->n_received, s->stride);
    return flip_comm_agree(s->comm, status);
}

static void pack(flip_store *s) {
    flip_store_talk *t = &s->talk;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->n_received; i++) {
        if (s->steps == 1 && !s->p.write && i + AHEAD < t->n_received)
            __builtin_prefetch(s->p.rows + (size_t)t->received[i + AHEAD] * s->stride);
        flip_store_write(&s->p, s->stride, t->received[i] / s->steps, t->received[i] % s->steps,
                         t->given + (size_t)i * s->stride);
    }
}

/* Asks, and sets rows on their way. */
static flip_status talk(flip_store *s) {
    flip_store_talk *t = &s->talk;
    FLIP_TRY(
        flip_comm_all_to_all(s->comm, t->asked, t->to, t->received, t->from, sizeof *t->asked));
    pack(s);
    for (int64_t r = 0, at = 0; r < s->size; at += t->to[r++])
        if (t->to[r] > 0)
            FLIP_TRY(flip_messages_receive(s->messages, t->come + (size_t)at * s->stride,
                                           (size_t)t->to[r] * s->stride, (int)r));
    for (int64_t r = 0, at = 0; r < s->size; at += t->from[r++])
        if (t->from[r] > 0)
            FLIP_TRY(flip_messages_send(s->messages, t->given + (size_t)at * s->stride,
                                        (size_t)t->from[r] * s->stride, (int)r,
                                        FLIP_BYTES_REMOTE_FEATURES));
    return FLIP_OK;
}

/* ---- fetching ---- */

static void copy_here(flip_store *s, int64_t n, const flip_gid *ids, const int32_t *before) {
    const uint8_t *const *source = s->source;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n && source[i + AHEAD] && source[i + AHEAD] != &written)
            for (size_t b = 0; b < s->stride; b += 64)
                __builtin_prefetch(source[i + AHEAD] + b);
        uint8_t *to = s->out + (size_t)i * s->stride;
        if (source[i] == &written)
            s->p.write(s->p.writes, ids[i] - s->first, step_of(s, before, i), to);
        else if (source[i])
            memcpy(to, source[i], s->stride);
    }
}

flip_status flip_store_fetch_begin(flip_store *s, int64_t n, const flip_gid *ids,
                                   const int32_t *before, uint8_t *out) {
    flip_store_counts was = s->counts;
    int32_t narrow;
    flip_status status = flip_narrow(&narrow, n, "the number of rows of a batch");
    if (status == FLIP_OK && s->fetching)
        status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "a fetch began before the last one ended");
    if (status == FLIP_OK) status = find_rows(s, n, ids, before);
    if (status == FLIP_OK) status = make_questions(s, n, ids, before);
    if (s->size > 1) status = exchange_counts(s, status);
    if (status != FLIP_OK) s->counts = was;
    FLIP_TRY(status);
    if (s->size > 1) FLIP_TRY(talk(s));
    s->out = out;
    s->fetching = true;
    copy_here(s, n, ids, before);
    if (s->meter) {
        int64_t misses = s->counts.own - was.own + s->counts.remote - was.remote;
        s->meter->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] += (uint64_t)misses * s->stride;
    }
    return FLIP_OK;
}

flip_status flip_store_fetch_end(flip_store *s) {
    flip_store_talk *t = &s->talk;
    uint8_t *out = s->out;
    if (!s->fetching) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a fetch ended that had not begun");
    s->fetching = false;
    if (s->size > 1) FLIP_TRY(flip_messages_wait(s->messages));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->n; i++)
        memcpy(out + (size_t)t->place[i] * s->stride, t->come + (size_t)i * s->stride, s->stride);
    return FLIP_OK;
}
