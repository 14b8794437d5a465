/* The exchange plan: who sends which rows to whom.
 *
 * Built from "the ids I need": the ids go to their owners once; from then on both sides know rows
 * and order, and only ranks that share rows (neighbours) ever talk. Messages are packed rows in the
 * order the receiver asked for. Ids asked for in ascending order arrive in place, without a copy.
 *
 *     forward   pack own[row[i]] ─▶ halo[place[i]]
 *     backward  pack halo[place[i]] ─▶ own[row[i]] += , one neighbour after the other in rank order
 */
#include "comm/internal.h"

#include <string.h>

typedef struct neighbour {
    int rank;
    int64_t first, n; /* rows first … first+n-1 of the list */
} neighbour;

/* One side of the plan: rows grouped by neighbour. */
typedef struct side {
    neighbour *peer; /* [n_peers] ascending rank */
    int n_peers;
    int64_t n_rows;
    int32_t *row; /* [n_rows] local row of each; NULL = row i is i */
    char *buffer; /* packed rows */
    size_t capacity;
    uint8_t *coded; /* the same on a coded wire, one neighbour's message after the other's */
    size_t coded_capacity;
} side;

struct flip_plan {
    flip_comm *comm; /* borrowed */
    flip_bytes counted_as;
    int32_t n_halo;
    int tag;
    side owner;  /* own rows other ranks hold copies of */
    side copies; /* halo rows */
    const flip_transport *transport;
    flip_mpi_requests requests;
    /* the exchange in flight */
    enum { IDLE, FORWARD, BACKWARD } state;
    size_t row_bytes;
    flip_wire wire; /* how its rows travel */
    void *halo;     /* forward: where received rows go */
};

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
static flip_status set_peers(side *s, const int64_t *count, int size) {
    int n = 0;
    for (int r = 0; r < size; r++)
        n += count[r] > 0;
    FLIP_TRY(flip_alloc(&s->peer, (size_t)n, sizeof *s->peer, "neighbours"));
    for (int r = 0; r < size; r++) {
        if (count[r] == 0) continue;
        s->peer[s->n_peers++] = (neighbour){.rank = r, .first = s->n_rows, .n = count[r]};
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
                     .transport = &flip_transport_mpi,
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

static void finish_side(side *s) {
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
    return sizeof *plan + (size_t)(plan->owner.n_peers + plan->copies.n_peers) * sizeof(neighbour) +
           (size_t)plan->owner.n_rows * sizeof(int32_t) +
           (plan->copies.row ? (size_t)plan->copies.n_rows * sizeof(int32_t) : 0) +
           plan->owner.capacity + plan->copies.capacity + plan->owner.coded_capacity +
           plan->copies.coded_capacity;
}

/* ---- running ---- */

static flip_status reserve_buffer(side *s, size_t row_bytes) {
    size_t needed = (size_t)s->n_rows * row_bytes;
    if (needed <= s->capacity) return FLIP_OK;
    flip_free(s->buffer);
    s->buffer = NULL;
    s->capacity = 0;
    FLIP_TRY(flip_alloc(&s->buffer, needed, 1, "buffer of an exchange"));
    s->capacity = needed;
    return FLIP_OK;
}

static void pack(const side *s, const char *rows, size_t row_bytes) {
    for (int64_t i = 0; i < s->n_rows; i++)
        memcpy(s->buffer + (size_t)i * row_bytes, rows + (size_t)s->row[i] * row_bytes, row_bytes);
}

/* Bytes of the message of one neighbour, and of all of a side. */
static size_t message_bytes(const flip_plan *plan, const neighbour *peer) {
    size_t bytes = (size_t)peer->n * plan->row_bytes;
    return plan->wire == FLIP_WIRE_EXACT ? bytes
                                         : flip_wire_bytes(plan->wire, bytes / sizeof(flip_real));
}

static size_t side_bytes(const flip_plan *plan, const side *s) {
    size_t bytes = 0;
    for (int i = 0; i < s->n_peers; i++)
        bytes += message_bytes(plan, &s->peer[i]);
    return bytes;
}

static flip_status reserve_coded(const flip_plan *plan, side *s) {
    size_t needed = side_bytes(plan, s);
    if (plan->wire == FLIP_WIRE_EXACT || needed <= s->coded_capacity) return FLIP_OK;
    flip_free(s->coded);
    s->coded = NULL;
    s->coded_capacity = 0;
    FLIP_TRY(flip_alloc(&s->coded, needed, 1, "buffer of a coded exchange"));
    s->coded_capacity = needed;
    return FLIP_OK;
}

static flip_status post_receives(flip_plan *plan, side *s, char *into) {
    FLIP_TRY(reserve_coded(plan, s));
    uint8_t *coded = s->coded;
    for (int i = 0; i < s->n_peers; i++) {
        size_t bytes = message_bytes(plan, &s->peer[i]);
        char *rows = into + (size_t)s->peer[i].first * plan->row_bytes;
        FLIP_TRY(plan->transport->receive(&plan->requests,
                                          plan->wire == FLIP_WIRE_EXACT ? rows : (void *)coded,
                                          bytes, s->peer[i].rank, plan->tag));
        coded += plan->wire == FLIP_WIRE_EXACT ? 0 : bytes;
    }
    return FLIP_OK;
}

static flip_status post_sends(flip_plan *plan, side *s, const char *from) {
    FLIP_TRY(reserve_coded(plan, s));
    uint8_t *coded = s->coded;
    for (int i = 0; i < s->n_peers; i++) {
        size_t bytes = message_bytes(plan, &s->peer[i]);
        const void *rows = from + (size_t)s->peer[i].first * plan->row_bytes;
        if (plan->wire != FLIP_WIRE_EXACT) {
            FLIP_TRY(flip_wire_encode(plan->comm, plan->wire, coded, rows,
                                      (size_t)s->peer[i].n * plan->row_bytes / sizeof(flip_real)));
            rows = coded;
            coded += bytes;
        }
        FLIP_TRY(plan->transport->send(&plan->requests, rows, bytes, s->peer[i].rank, plan->tag));
    }
    return FLIP_OK;
}

/* What came on a coded wire becomes rows again. */
static flip_status decode_received(const flip_plan *plan, const side *s, char *into) {
    const uint8_t *coded = s->coded;
    for (int i = 0; plan->wire != FLIP_WIRE_EXACT && i < s->n_peers; i++) {
        flip_real *rows = (flip_real *)(into + (size_t)s->peer[i].first * plan->row_bytes);
        size_t values = (size_t)s->peer[i].n * plan->row_bytes / sizeof *rows;
        FLIP_TRY(flip_wire_decode(plan->wire, rows, coded, values));
        coded += message_bytes(plan, &s->peer[i]);
    }
    return FLIP_OK;
}

static flip_status start(flip_plan *plan, int state, size_t row_bytes) {
    if (plan->state != IDLE)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a plan's exchange begins before the last one ended");
    FLIP_TRY(plan->transport->begin(&plan->requests, plan->owner.n_peers + plan->copies.n_peers));
    plan->state = state;
    plan->row_bytes = row_bytes;
    return FLIP_OK;
}

static flip_status forward_begin(flip_plan *plan, const void *own, size_t row_bytes, void *halo) {
    FLIP_TRY(start(plan, FORWARD, row_bytes));
    char *into = halo;
    plan->halo = halo;
    if (plan->copies.row) {
        FLIP_TRY(reserve_buffer(&plan->copies, row_bytes));
        into = plan->copies.buffer;
    }
    FLIP_TRY(post_receives(plan, &plan->copies, into));
    FLIP_TRY(reserve_buffer(&plan->owner, row_bytes));
    pack(&plan->owner, own, row_bytes);
    return post_sends(plan, &plan->owner, plan->owner.buffer);
}

static flip_status forward_end(flip_plan *plan) {
    if (plan->state != FORWARD)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a forward exchange ends that has not begun");
    plan->state = IDLE;
    FLIP_TRY(plan->transport->wait(&plan->requests));
    const side *s = &plan->copies;
    FLIP_TRY(decode_received(plan, s, s->row ? s->buffer : plan->halo));
    for (int64_t i = 0; s->row && i < s->n_rows; i++)
        memcpy((char *)plan->halo + (size_t)s->row[i] * plan->row_bytes,
               s->buffer + (size_t)i * plan->row_bytes, plan->row_bytes);
    return FLIP_OK;
}

static flip_status backward_begin(flip_plan *plan, const void *halo, size_t row_bytes) {
    FLIP_TRY(start(plan, BACKWARD, row_bytes));
    const char *from = halo;
    FLIP_TRY(reserve_buffer(&plan->owner, row_bytes));
    FLIP_TRY(post_receives(plan, &plan->owner, plan->owner.buffer));
    if (plan->copies.row) {
        FLIP_TRY(reserve_buffer(&plan->copies, row_bytes));
        pack(&plan->copies, halo, row_bytes);
        from = plan->copies.buffer;
    }
    return post_sends(plan, &plan->copies, from);
}

static flip_status backward_wait(flip_plan *plan) {
    if (plan->state != BACKWARD)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "a backward exchange ends that has not begun");
    plan->state = IDLE;
    FLIP_TRY(plan->transport->wait(&plan->requests));
    return decode_received(plan, &plan->owner, plan->owner.buffer);
}

/* The stage's clock round one step of an exchange. */
#define TIMED(plan, call)                                                                          \
    flip_meter_begin((plan)->comm->meter, FLIP_STAGE_EXCHANGE);                                    \
    flip_status status = (call);                                                                   \
    flip_meter_end((plan)->comm->meter)

flip_status flip_plan_forward_begin(flip_plan *plan, const flip_real *own, size_t width,
                                    flip_real *halo) {
    plan->wire = flip_wire_now(plan->comm->wire);
    TIMED(plan, forward_begin(plan, own, width * sizeof(flip_real), halo));
    plan->comm->meter->bytes[plan->counted_as] += side_bytes(plan, &plan->owner);
    return status;
}

flip_status flip_plan_forward_end(flip_plan *plan) {
    TIMED(plan, forward_end(plan));
    return status;
}

flip_status flip_plan_backward_begin(flip_plan *plan, const flip_real *halo, size_t width) {
    plan->wire = flip_wire_now(plan->comm->wire);
    TIMED(plan, backward_begin(plan, halo, width * sizeof(flip_real)));
    plan->comm->meter->bytes[plan->counted_as] += side_bytes(plan, &plan->copies);
    return status;
}

/* Rows of one neighbour after the other: the order of a row's sum is that of the ranks. */
static flip_status backward_end(flip_plan *plan, flip_real *own) {
    FLIP_TRY(backward_wait(plan));
    const size_t width = plan->row_bytes / sizeof(flip_real);
    const flip_real *buffer = (const flip_real *)plan->owner.buffer;
    for (int64_t i = 0; i < plan->owner.n_rows; i++) {
        flip_real *to = own + (size_t)plan->owner.row[i] * width;
        const flip_real *from = buffer + (size_t)i * width;
        for (size_t j = 0; j < width; j++)
            to[j] += from[j];
    }
    return FLIP_OK;
}

flip_status flip_plan_backward_end(flip_plan *plan, flip_real *own) {
    TIMED(plan, backward_end(plan, own));
    return status;
}

flip_status flip_plan_fetch(flip_plan *plan, const void *own, size_t bytes, void *halo) {
    plan->wire = FLIP_WIRE_EXACT;
    FLIP_TRY(forward_begin(plan, own, bytes, halo));
    return forward_end(plan);
}

flip_status flip_plan_reduce_f64(flip_plan *plan, const double *halo, size_t width, double *own) {
    plan->wire = FLIP_WIRE_EXACT;
    FLIP_TRY(backward_begin(plan, halo, width * sizeof *halo));
    FLIP_TRY(backward_wait(plan));
    const double *buffer = (const double *)plan->owner.buffer;
    for (int64_t i = 0; i < plan->owner.n_rows; i++)
        for (size_t j = 0; j < width; j++)
            own[(size_t)plan->owner.row[i] * width + j] += buffer[(size_t)i * width + j];
    return FLIP_OK;
}
