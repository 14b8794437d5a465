/* Draws for nodes of any rank: each is drawn by its owner, which has its in-edges.
 *
 *     ids ──by owner──▶ owner draws ──▶ how many a node, scales; entries: id, original id, value
 */
#include "internal.h"

#include <assert.h>
#include <string.h>

typedef struct question {
    int32_t row, step; /* row of the owner */
} question;

typedef struct answer {
    int32_t n;
    flip_real scale;
} answer;

typedef struct answer_entry {
    flip_gid id;
    int64_t original;
    flip_real value;
} answer_entry;

static_assert(sizeof(question) == SAMPLE_QUESTION && sizeof(answer) == SAMPLE_ANSWER &&
                  sizeof(answer_entry) == SAMPLE_ENTRY,
              "sample.h and heat.c count these bytes");

/* What travels for one hop; heap memory from flip_comm_deal, the rest the batch's. */
typedef struct talk {
    int64_t *to, *from; /* [size] questions sent and received */
    int64_t *back;      /* [size] entries sent back */
    int32_t *place;     /* [n] of a foreign node its question's number, or -2 - that of its list
                           among those drawn from; -1: own */
    int64_t *list;      /* [n_listed] lists kept here */
    question *asked, *received;
    answer *given, *answers;
    answer_entry *sent, *entries;
    int32_t n_listed;
    int64_t n_asked, n_received, n_answers, n_entries;
} talk;

static bool is_own(const flip_sampler *s, flip_gid id) {
    return (uint64_t)(id - s->first) < (uint64_t)s->n_own;
}

/* Questions in the order of the ranks they go to. */
static flip_status make_questions(const flip_sampler *s, flip_arena *arena, talk *t, int32_t n,
                                  const flip_gid *node, const int32_t *step) {
    int64_t *at;
    FLIP_TRY(flip_arena_alloc(arena, &t->to, 4 * (size_t)s->size, sizeof *t->to));
    t->from = t->to + s->size;
    t->back = t->from + s->size;
    at = t->back + s->size;
    for (int r = 0; r < s->size; r++)
        t->to[r] = 0;
    FLIP_TRY(flip_arena_alloc(arena, &t->place, (size_t)n, sizeof *t->place));
    FLIP_TRY(flip_arena_alloc(arena, &t->list, (size_t)n, sizeof *t->list));
    for (int32_t i = 0; i < n; i++) {
        t->place[i] = -1;
        if (is_own(s, node[i])) continue;
        int64_t list = sample_list_of(s, node[i]);
        t->place[i] = list < 0 ? 0 : -2 - t->n_listed;
        if (list < 0)
            t->to[flip_owner_in(s->rank_first, s->size, node[i])]++;
        else
            t->list[t->n_listed++] = list;
    }
    for (int r = 0; r < s->size; r++) {
        at[r] = t->n_asked;
        t->n_asked += t->to[r];
    }
    FLIP_TRY(flip_arena_alloc(arena, &t->asked, (size_t)t->n_asked, sizeof *t->asked));
    for (int32_t i = 0; i < n; i++) {
        if (t->place[i] < 0) continue;
        int owner = flip_owner_in(s->rank_first, s->size, node[i]);
        t->place[i] = (int32_t)at[owner]++;
        t->asked[t->place[i]] = (question){.row = (int32_t)(node[i] - s->rank_first[owner]),
                                           .step = step ? step[i] : 0};
    }
    return FLIP_OK;
}

/* Own nodes, then those asked for, drawn together. */
static flip_status draw_both(flip_sampler *s, flip_arena *arena, drawn *out, int32_t *n_here,
                             const talk *t, int32_t n, const flip_gid *node, const int32_t *step,
                             int32_t hop, int64_t epoch) {
    int32_t *row, *when, all;
    FLIP_TRY(flip_narrow(&all, (int64_t)n + t->n_received, "destinations of a batch"));
    FLIP_TRY(flip_arena_alloc(arena, &row, (size_t)all, sizeof *row));
    FLIP_TRY(flip_arena_alloc(arena, &when, (size_t)all, sizeof *when));
    all = 0;
    for (int32_t i = 0; i < n; i++) {
        if (t->place[i] != -1) continue;
        when[all] = step ? step[i] : 0;
        row[all++] = (int32_t)(node[i] - s->first);
    }
    *n_here = all;
    for (int64_t i = 0; i < t->n_received; i++) {
        when[all] = t->received[i].step;
        row[all++] = t->received[i].row;
    }
    return sample_rows(s, arena, out, all, row, step ? when : NULL, hop, epoch);
}

/* Answers to what was received: rows n_here … of `mine`. */
static flip_status make_answers(const flip_sampler *s, flip_arena *arena, talk *t,
                                const drawn *mine, int32_t n_here) {
    int64_t first = mine->first[n_here], n = mine->first[n_here + t->n_received] - first;
    FLIP_TRY(flip_arena_alloc(arena, &t->given, (size_t)t->n_received, sizeof *t->given));
    FLIP_TRY(flip_arena_alloc(arena, &t->sent, (size_t)n, sizeof *t->sent));
    int64_t i = n_here;
    for (int r = 0; r < s->size; r++) {
        int64_t end = i + t->from[r];
        t->back[r] = mine->first[end] - mine->first[i];
        for (; i < end; i++)
            t->given[i - n_here] = (answer){.n = (int32_t)(mine->first[i + 1] - mine->first[i]),
                                            .scale = mine->scale ? mine->scale[i] : 0};
    }
    for (int64_t e = 0; e < n; e++) {
        int32_t col = mine->col[first + e];
        t->sent[e] = (answer_entry){.id = sample_id(s, col),
                                    .original = s->original[col],
                                    .value = mine->value ? mine->value[first + e] : 0};
    }
    return FLIP_OK;
}

static flip_status allocate_merged(const flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                                   size_t entries) {
    *out = (drawn){0};
    FLIP_TRY(flip_arena_alloc(arena, &out->first, (size_t)n + 1, sizeof *out->first));
    FLIP_TRY(flip_arena_alloc(arena, &out->col, entries, sizeof *out->col));
    FLIP_TRY(flip_arena_alloc(arena, &out->id, entries, sizeof *out->id));
    FLIP_TRY(flip_arena_alloc(arena, &out->original, entries, sizeof *out->original));
    if (sample_has_values(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->value, entries, sizeof *out->value));
    if (sample_has_scales(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->scale, (size_t)n, sizeof *out->scale));
    return FLIP_OK;
}

static void copy_own(const flip_sampler *s, drawn *out, int64_t at, const drawn *mine, int64_t from,
                     int64_t n) {
    for (int64_t e = 0; e < n; e++) {
        int32_t col = mine->col[from + e];
        out->id[at + e] = sample_id(s, col);
        out->original[at + e] = s->original[col];
        if (out->value) out->value[at + e] = mine->value[from + e];
    }
}

static void copy_answer(drawn *out, int64_t at, const answer_entry *entry, int64_t n) {
    for (int64_t e = 0; e < n; e++) {
        out->id[at + e] = entry[e].id;
        out->original[at + e] = entry[e].original;
        if (out->value) out->value[at + e] = entry[e].value;
    }
}

static void copy_listed(drawn *out, int64_t at, const drawn *listed, int64_t from, int64_t n) {
    memcpy(out->id + at, listed->id + from, (size_t)n * sizeof *out->id);
    memcpy(out->original + at, listed->original + from, (size_t)n * sizeof *out->original);
}

/* All in the order in which they were asked for. */
static flip_status merge(const flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                         const talk *t, const drawn *mine, int32_t n_here, const drawn *listed) {
    int64_t *begin, all = mine->first[n_here] + listed->first[t->n_listed], at = 0, answered = 0;
    int32_t here = 0;
    FLIP_TRY(flip_arena_alloc(arena, &begin, (size_t)t->n_asked, sizeof *begin));
    for (int64_t q = 0; q < t->n_asked; q++) {
        begin[q] = answered;
        answered += t->answers[q].n;
    }
    FLIP_TRY(allocate_merged(s, arena, out, n, (size_t)(all + answered)));
    for (int32_t i = 0; i < n; i++) {
        int32_t q = t->place[i];
        int64_t entries;
        out->first[i] = at;
        if (q >= 0) {
            entries = t->answers[q].n;
            copy_answer(out, at, t->entries + begin[q], entries);
        } else if (q == -1) {
            entries = mine->first[here + 1] - mine->first[here];
            copy_own(s, out, at, mine, mine->first[here], entries);
        } else {
            entries = listed->first[-1 - q] - listed->first[-2 - q];
            copy_listed(out, at, listed, listed->first[-2 - q], entries);
        }
        if (out->scale)
            out->scale[i] = q >= 0    ? t->answers[q].scale
                            : q == -1 ? mine->scale[here]
                                      : listed->scale[-2 - q];
        here += q == -1;
        at += entries;
    }
    out->first[n] = at;
    return FLIP_OK;
}

static void count(flip_sampler *s, const talk *t) {
    int64_t sent = 0;
    for (int r = 0; r < s->size; r++)
        sent += t->back[r];
    s->counts.asked += t->n_asked;
    s->counts.listed += t->n_listed;
    s->counts.bytes += (uint64_t)t->n_asked * SAMPLE_QUESTION +
                       (uint64_t)t->n_received * SAMPLE_ANSWER + (uint64_t)sent * SAMPLE_ENTRY;
}

static flip_status ask(flip_sampler *s, flip_arena *arena, drawn *out, talk *t, int32_t n,
                       const flip_gid *node, const int32_t *step, int32_t hop, int64_t epoch) {
    drawn mine, listed;
    int32_t n_here;
    FLIP_TRY(make_questions(s, arena, t, n, node, step));
    FLIP_TRY(flip_comm_deal(s->comm, &t->received, &t->n_received, t->from, t->asked, t->to,
                            sizeof *t->asked));
    FLIP_TRY(draw_both(s, arena, &mine, &n_here, t, n, node, step, hop, epoch));
    FLIP_TRY(make_answers(s, arena, t, &mine, n_here));
    FLIP_TRY(flip_comm_deal(s->comm, &t->answers, &t->n_answers, NULL, t->given, t->from,
                            sizeof *t->given));
    FLIP_TRY(flip_comm_deal(s->comm, &t->entries, &t->n_entries, NULL, t->sent, t->back,
                            sizeof *t->sent));
    FLIP_TRY(sample_lists(s, arena, &listed, t->n_listed, t->list, hop, epoch));
    count(s, t);
    return merge(s, arena, out, n, t, &mine, n_here, &listed);
}

flip_status sample_nodes(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                         const flip_gid *node, const int32_t *step, int32_t hop, int64_t epoch) {
    talk t = {0};
    int32_t *row;
    if (s->size > 1) {
        flip_status status = ask(s, arena, out, &t, n, node, step, hop, epoch);
        flip_free(t.received);
        flip_free(t.answers);
        flip_free(t.entries);
        return status;
    }
    FLIP_TRY(flip_arena_alloc(arena, &row, (size_t)n, sizeof *row));
    for (int32_t i = 0; i < n; i++)
        row[i] = (int32_t)(node[i] - s->first);
    return sample_rows(s, arena, out, n, row, step, hop, epoch);
}
