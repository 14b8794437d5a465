/* The exchange plan: who sends which rows to whom.
 *
 * Built from "the ids I need": the ids go to their owners once; from then on both sides know rows
 * and order, and only ranks that share rows (neighbours) ever talk. Messages are packed rows in the
 * order the receiver asked for. Ids asked for in ascending order arrive in place, without a copy.
 *
 * (plan_run.c, and plan_device.c where the rows lie on GPUs)
 *     forward   pack own[row[i]] ─▶ halo[place[i]]
 *     backward  pack halo[place[i]] ─▶ own[row[i]] += , one neighbour after the other in rank order
 */
#include "comm/plan.h"

#include <string.h>

/* ---- building ---- */

/* Owner of every needed id, and how many of each. */
static flip_status count_owners(const flip_plan *plan, const flip_gid *rank_first,
                                const flip_gid *need, int32_t n_need, int32_t *owner,
                                int64_t *count) {
    int size = plan->comm->size;
    for (int32_t i = 0; i < n_need; i++) {
        if (need[i] < 0 || need[i] >= rank_first[size])
            return FLIP_FAIL(FLIP_ERROR_INPUT, "node %lld is needed; nodes are 0 to %lld",
                             (long long)need[i], (long long)rank_first[size] - 1);
        owner[i] = flip_owner_in(rank_first, size, need[i]);
        if (owner[i] == plan->comm->rank)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rank %d plans to receive its own node %lld",
                             owner[i], (long long)need[i]);
        count[owner[i]]++;
    }
    return FLIP_OK;
}

/* Neighbours of one side from counts by rank. */
static flip_status set_peers(flip_side *s, const int64_t *count, int size) {
    int n = 0;
    for (int r = 0; r < size; r++)
        n += count[r] > 0;
    FLIP_TRY(flip_alloc(&s->peer, (size_t)n, sizeof *s->peer, "neighbours"));
    for (int r = 0; r < size; r++) {
        if (count[r] == 0) continue;
        s->peer[s->n_peers++] = (flip_neighbour){.rank = r, .first = s->n_rows, .n = count[r]};
        s->n_rows += count[r];
    }
    return FLIP_OK;
}

/* Halo rows grouped by owner; ids grouped likewise. Ascending ids are grouped already. */
static flip_status group_by_owner(flip_plan *plan, const flip_gid *need, const int32_t *owner,
                                  const int64_t *count, flip_gid *grouped) {
    int64_t *cursor, n = 0;
    bool in_place = true;
    FLIP_TRY(flip_alloc(&cursor, (size_t)plan->comm->size, sizeof *cursor, "exchange plan"));
    for (int r = 0; r < plan->comm->size; r++) {
        cursor[r] = n;
        n += count[r];
    }
    flip_status status = flip_alloc(&plan->copies.row, (size_t)plan->n_halo,
                                    sizeof *plan->copies.row, "exchange plan");
    for (int32_t i = 0; status == FLIP_OK && i < plan->n_halo; i++) {
        int64_t at = cursor[owner[i]]++;
        plan->copies.row[at] = i;
        grouped[at] = need[i];
        in_place = in_place && at == i;
    }
    if (in_place) {
        flip_free(plan->copies.row);
        plan->copies.row = NULL;
    }
    flip_free(cursor);
    return status;
}

/* The ids others asked me for become rows of mine. */
static flip_status set_owner_rows(flip_plan *plan, const flip_gid *asked, flip_gid first,
                                  flip_gid last) {
    FLIP_TRY(flip_alloc(&plan->owner.row, (size_t)plan->owner.n_rows, sizeof *plan->owner.row,
                        "exchange plan"));
    for (int64_t i = 0; i < plan->owner.n_rows; i++) {
        if (asked[i] < first || asked[i] >= last)
            return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                             "asked for node %lld; this rank owns %lld to %lld (excluded)",
                             (long long)asked[i], (long long)first, (long long)last);
        plan->owner.row[i] = (int32_t)(asked[i] - first);
    }
    return FLIP_OK;
}

typedef struct scratch {
    int32_t *owner;
    int64_t *need_count, *asked_count, *ones;
    flip_gid *grouped, *asked;
} scratch;

static flip_status prepare(flip_plan *plan, scratch *s, const flip_gid *rank_first,
                           const flip_gid *need) {
    size_t size = (size_t)plan->comm->size, n = (size_t)plan->n_halo;
    FLIP_TRY(flip_alloc(&s->owner, n, sizeof *s->owner, "exchange plan"));
    FLIP_TRY(flip_alloc(&s->grouped, n, sizeof *s->grouped, "exchange plan"));
    FLIP_TRY(flip_alloc_zero(&s->need_count, 3 * size, sizeof *s->need_count, "exchange plan"));
    s->asked_count = s->need_count + size;
    s->ones = s->asked_count + size;
    for (size_t r = 0; r < size; r++)
        s->ones[r] = 1;
    FLIP_TRY(count_owners(plan, rank_first, need, plan->n_halo, s->owner, s->need_count));
    FLIP_TRY(group_by_owner(plan, need, s->owner, s->need_count, s->grouped));
    return set_peers(&plan->copies, s->need_count, plan->comm->size);
}

static flip_status prepare_answers(flip_plan *plan, scratch *s) {
    FLIP_TRY(set_peers(&plan->owner, s->asked_count, plan->comm->size));
    return flip_alloc(&s->asked, (size_t)plan->owner.n_rows, sizeof *s->asked, "exchange plan");
}

static flip_status build(flip_plan *plan, scratch *s, const flip_gid *rank_first,
                         const flip_gid *need) {
    flip_comm *c = plan->comm;
    FLIP_TRY(flip_comm_agree(c, prepare(plan, s, rank_first, need)));
    FLIP_TRY(
        flip_comm_all_to_all(c, s->need_count, s->ones, s->asked_count, s->ones, sizeof(int64_t)));
    FLIP_TRY(flip_comm_agree(c, prepare_answers(plan, s)));
    FLIP_TRY(flip_comm_all_to_all(c, s->grouped, s->need_count, s->asked, s->asked_count,
                                  sizeof(flip_gid)));
    return flip_comm_agree(
        c, set_owner_rows(plan, s->asked, rank_first[c->rank], rank_first[c->rank + 1]));
}

flip_status flip_plan_create(flip_plan **plan, flip_comm *comm, const flip_gid *rank_first,
                             const flip_gid *need, int32_t n_need, flip_bytes counted_as) {
    flip_status status;
    flip_plan *p;
    scratch s = {0};
    *plan = NULL;
    if (!comm) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a plan needs a communicator");
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_alloc_zero(&p, 1, sizeof *p, "exchange plan")));
    *plan = p;
    *p = (flip_plan){.comm = comm,
                     .counted_as = counted_as,
                     .n_halo = n_need,
                     .tag = comm->next_tag,
                     .requests = {.comm = comm}};
    comm->next_tag = comm->next_tag < FLIP_TAG_LAST ? comm->next_tag + 1 : FLIP_TAG_FIRST;
    status = build(p, &s, rank_first, need);
    if (status != FLIP_OK) flip_plan_destroy(plan);
done:
    flip_free(s.owner);
    flip_free(s.grouped);
    flip_free(s.need_count);
    flip_free(s.asked);
    return status;
}

static void finish_side(flip_side *s) {
    flip_free(s->peer);
    flip_free(s->row);
    flip_free(s->buffer);
    flip_free(s->coded);
}

void flip_plan_destroy(flip_plan **plan) {
    if (!*plan) return;
    finish_side(&(*plan)->owner);
    finish_side(&(*plan)->copies);
    flip_mpi_requests_finish(&(*plan)->requests);
    flip_plan_device_finish(*plan);
    flip_free(*plan);
    *plan = NULL;
}

int32_t flip_plan_n_halo(const flip_plan *plan) {
    return plan ? plan->n_halo : 0;
}
int64_t flip_plan_rows_sent(const flip_plan *plan) {
    return plan ? plan->owner.n_rows : 0;
}
int64_t flip_plan_rows_received(const flip_plan *plan) {
    return plan ? plan->copies.n_rows : 0;
}
int flip_plan_neighbours(const flip_plan *plan) {
    int n = 0;
    for (int i = 0, j = 0; plan && (i < plan->owner.n_peers || j < plan->copies.n_peers); n++) {
        int a = i < plan->owner.n_peers ? plan->owner.peer[i].rank : plan->comm->size;
        int b = j < plan->copies.n_peers ? plan->copies.peer[j].rank : plan->comm->size;
        i += a <= b;
        j += b <= a;
    }
    return n;
}
size_t flip_plan_bytes(const flip_plan *plan) {
    if (!plan) return 0;
    return sizeof *plan +
           (size_t)(plan->owner.n_peers + plan->copies.n_peers) * sizeof(flip_neighbour) +
           (size_t)plan->owner.n_rows * sizeof(int32_t) +
           (plan->copies.row ? (size_t)plan->copies.n_rows * sizeof(int32_t) : 0) +
           plan->owner.capacity + plan->copies.capacity + plan->owner.coded_capacity +
           plan->copies.coded_capacity;
}
