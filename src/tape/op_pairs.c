/* Pairs of nodes at a step: [h_u, h_v] and h_u . h_v. Rows of other ranks come by an exchange plan,
 * their gradients go back by it: one row for each node and step that a pair names, not all steps of
 * the node. The plan knows such a row by node * steps + step. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct flip_pairs {
    int32_t n; /* pairs */
    int32_t steps;
    int32_t n_own;  /* nodes of this rank */
    int32_t n_halo; /* distinct (node, step) of other ranks */
    flip_plan *plan;
    int32_t *end; /* [n, 2] of each end: own node * steps + step, or -1 - row of the halo */
    int32_t n_rows, n_own_rows; /* distinct ones that ends name; the first are own */
    int32_t *row;    /* [n_rows] own node * steps + step, or row of the halo; ascending in both */
    int32_t *ptr;    /* [n_rows + 1]: a row's ends, ascending */
    int32_t *end_of; /* [2 n] pair * 2 + side */
};

static int by_id(const void *a, const void *b) {
    flip_gid x = *(const flip_gid *)a, y = *(const flip_gid *)b;
    return (x > y) - (x < y);
}

/* This rank's pairs as they are asked for. */
typedef struct asked {
    flip_gid first, end; /* own nodes */
    int64_t n;
    const flip_gid *u, *v;
    const int32_t *step; /* NULL = all 0 */
} asked;

static bool is_own(const asked *a, flip_gid id) {
    return id >= a->first && id < a->end;
}

static flip_gid row_of(const asked *a, int32_t steps, flip_gid id, int64_t i) {
    return id * steps + (a->step ? a->step[i] : 0);
}

/* The distinct rows that other ranks have, ascending. */
static flip_status remote_rows(const asked *a, int32_t steps, flip_gid **rows, int32_t *n_rows) {
    int64_t count = 0, distinct = 0;
    FLIP_TRY(flip_alloc(rows, (size_t)(2 * a->n), sizeof(flip_gid), "pairs' remote rows"));
    for (int64_t i = 0; i < a->n; i++) {
        if (!is_own(a, a->u[i])) (*rows)[count++] = row_of(a, steps, a->u[i], i);
        if (!is_own(a, a->v[i])) (*rows)[count++] = row_of(a, steps, a->v[i], i);
    }
    qsort(*rows, (size_t)count, sizeof(flip_gid), by_id);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || (*rows)[i] != (*rows)[i - 1]) (*rows)[distinct++] = (*rows)[i];
    return flip_narrow(n_rows, distinct, "the number of remote rows in pairs");
}

/* The place of an end: its own row, or one of the halo. */
static int32_t place_of(const flip_pairs *p, const asked *a, const flip_gid *halo, flip_gid id,
                        int64_t i) {
    flip_gid row = row_of(a, p->steps, id, i);
    if (is_own(a, id)) return (int32_t)(row - a->first * p->steps);
    int32_t low = 0, high = p->n_halo - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (halo[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return -1 - low;
}

/* The node of an end, behind own ones a row of the halo; and its step. */
static int64_t node_of(const flip_pairs *p, int32_t end) {
    int32_t at = p->end[end];
    return at < 0 ? p->n_own - 1 - (int64_t)at : at / p->steps;
}
static int64_t step_of(const flip_pairs *p, int32_t end) {
    return p->end[end] < 0 ? 0 : p->end[end] % p->steps;
}

/* to = the ends in `from` (NULL: in order) by `key`, below `keys`; of one key in their order. */
static flip_status sort_ends(const flip_pairs *p, int64_t (*key)(const flip_pairs *, int32_t),
                             size_t keys, const int32_t *from, int32_t *to) {
    int32_t *first;
    const int32_t n = 2 * p->n;
    FLIP_TRY(flip_alloc_zero(&first, keys + 1, sizeof *first, "pairs"));
    for (int32_t i = 0; i < n; i++)
        first[key(p, i) + 1]++;
    for (size_t k = 0; k < keys; k++)
        first[k + 1] += first[k];
    for (int32_t i = 0; i < n; i++) {
        int32_t end = from ? from[i] : i;
        to[first[key(p, end)]++] = end;
    }
    flip_free(first);
    return FLIP_OK;
}

/* Are the pairs asked for step by step? */
static bool ascending(const asked *a) {
    for (int64_t i = 1; a->step && i < a->n; i++)
        if (a->step[i] < a->step[i - 1]) return false;
    return true;
}

/* Ends by node, of a node by step, of a step in pair order: two sorts that keep the order, or one
 * where they come by step. */
static flip_status order_ends(flip_pairs *p, const asked *a) {
    const size_t nodes = (size_t)p->n_own + (size_t)p->n_halo;
    int32_t *by_step = NULL;
    FLIP_TRY(flip_alloc(&p->end_of, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    if (ascending(a)) return sort_ends(p, node_of, nodes, NULL, p->end_of);
    FLIP_TRY(flip_alloc(&by_step, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    flip_status status = sort_ends(p, step_of, (size_t)p->steps, NULL, by_step);
    if (status == FLIP_OK) status = sort_ends(p, node_of, nodes, by_step, p->end_of);
    flip_free(by_step);
    return status;
}

/* Lists the ends of each row that is named, so that the backward pass pulls. */
static flip_status list_ends(flip_pairs *p, const asked *a) {
    const int32_t n = 2 * p->n;
    FLIP_TRY(order_ends(p, a));
    for (int32_t i = 0; i < n; i++)
        p->n_rows += i == 0 || p->end[p->end_of[i]] != p->end[p->end_of[i - 1]];
    FLIP_TRY(flip_alloc(&p->row, (size_t)p->n_rows, sizeof(int32_t), "pairs"));
    FLIP_TRY(flip_alloc(&p->ptr, (size_t)p->n_rows + 1, sizeof(int32_t), "pairs"));
    int32_t rows = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t at = p->end[p->end_of[i]];
        if (i > 0 && at == p->end[p->end_of[i - 1]]) continue;
        p->n_own_rows += at >= 0;
        p->row[rows] = at < 0 ? -1 - at : at;
        p->ptr[rows++] = i;
    }
    p->ptr[rows] = n;
    return FLIP_OK;
}

static flip_status fill(flip_pairs *p, const asked *a, const flip_gid *halo) {
    FLIP_TRY(flip_alloc(&p->end, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    for (int64_t i = 0; i < p->n; i++) {
        p->end[2 * i] = place_of(p, a, halo, a->u[i], i);
        p->end[2 * i + 1] = place_of(p, a, halo, a->v[i], i);
    }
    return list_ends(p, a);
}

static flip_status check(const asked *a, flip_gid n_nodes, int32_t steps) {
    for (int64_t i = 0; i < a->n; i++) {
        if (a->u[i] < 0 || a->v[i] < 0 || a->u[i] >= n_nodes || a->v[i] >= n_nodes)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "pair %lld is (%lld, %lld), the graph has %lld nodes", (long long)i,
                             (long long)a->u[i], (long long)a->v[i], (long long)n_nodes);
        if (a->step && (a->step[i] < 0 || a->step[i] >= steps))
            return FLIP_FAIL(FLIP_ERROR_INPUT, "pair %lld is of step %d, there are %d steps",
                             (long long)i, a->step[i], steps);
    }
    return FLIP_OK;
}

static flip_status count(flip_pairs *p, const asked *a) {
    int32_t rows;
    if (a->n > INT32_MAX / 2) FLIP_TRY(flip_narrow(&p->n, 2 * a->n, "pair ends"));
    FLIP_TRY(flip_narrow(&p->n, a->n, "the number of pairs"));
    FLIP_TRY(flip_narrow(&p->n_own, a->end - a->first, "the number of own nodes"));
    return flip_narrow(&rows, (a->end - a->first) * p->steps,
                       "the number of own nodes times steps");
}

/* Collective: who sends which rows. */
static flip_status plan(flip_pairs *p, flip_comm *comm, const flip_gid *rank_first,
                        const flip_gid *halo) {
    int size = flip_comm_size(comm);
    flip_gid *row_first;
    flip_status status =
        flip_comm_agree(comm, flip_alloc(&row_first, (size_t)size + 1, sizeof *row_first, "pairs"));
    for (int r = 0; status == FLIP_OK && r <= size; r++)
        row_first[r] = rank_first[r] * p->steps;
    if (status == FLIP_OK)
        status = flip_plan_create(&p->plan, comm, row_first, halo, p->n_halo, FLIP_BYTES_HALO);
    flip_free(row_first);
    return status;
}

flip_status flip_pairs_create(flip_pairs **pairs, flip_comm *comm, const flip_gid *rank_first,
                              int32_t steps, int64_t n, const flip_gid *u, const flip_gid *v,
                              const int32_t *step) {
    flip_gid *halo = NULL;
    FLIP_TRY(flip_alloc_zero(pairs, 1, sizeof **pairs, "pairs"));
    flip_pairs *p = *pairs;
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    asked a = {rank_first[rank], rank_first[rank + 1], n, u, v, step};
    p->steps = steps;
    flip_status status = check(&a, rank_first[size], steps);
    if (status == FLIP_OK) status = count(p, &a);
    if (status == FLIP_OK) status = remote_rows(&a, steps, &halo, &p->n_halo);
    if (status == FLIP_OK) status = fill(p, &a, halo);
    status = flip_comm_agree(comm, status); /* the plan is collective: all or none */
    if (status == FLIP_OK && size > 1) status = plan(p, comm, rank_first, halo);
    flip_free(halo);
    if (status != FLIP_OK) flip_pairs_destroy(pairs);
    return status;
}

void flip_pairs_destroy(flip_pairs **pairs) {
    if (!*pairs) return;
    flip_plan_destroy(&(*pairs)->plan);
    flip_free((*pairs)->end);
    flip_free((*pairs)->row);
    flip_free((*pairs)->ptr);
    flip_free((*pairs)->end_of);
    flip_free(*pairs);
    *pairs = NULL;
}

int64_t flip_pairs_rows_sent(const flip_pairs *pairs) {
    return pairs->plan ? flip_plan_rows_sent(pairs->plan) : 0;
}

/* ---- z[p] = [h_u, h_v] at the pair's step ---- */

static flip_status gather_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *h = tape_in(tape, r, 0);
    const flip_pairs *p = r->pairs;
    if (h->rows != p->n_own)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "pairs of %d nodes gather from %d rows", p->n_own,
                         h->rows);
    if (h->steps != p->steps)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "pairs of %d steps gather from %d", p->steps,
                         h->steps);
    *out = (shape){p->n, 1, 2 * h->dim};
    return FLIP_OK;
}

static flip_status gather_forward(flip_tape *tape, record *r) {
    const variable *h = tape_in(tape, r, 0);
    const flip_pairs *p = r->pairs;
    int64_t dim = h->dim;
    flip_real *halo = NULL;
    const int32_t *end = NULL;
    const size_t own = (size_t)size_of(h), n_halo = (size_t)(p->n_halo * dim);
    mirror from = {.values = NULL}, arrive = from;
    FLIP_TRY(tape_reach(tape, p->end, 2 * (size_t)p->n * sizeof *end, &end));
    if (p->plan) {
        FLIP_TRY(pool_alloc(tape->pool, &halo, n_halo * sizeof(flip_real)));
        FLIP_TRY(mirror_open(tape, &from, h->value, own));
        FLIP_TRY(mirror_open(tape, &arrive, halo, n_halo));
        mirror_receive(tape, &from, 0, own);
        FLIP_TRY(flip_plan_forward_begin(p->plan, from.host, (size_t)dim, arrive.host));
    }
    FLIP_TRY(tape_output(tape, r, -1));
    if (p->plan) FLIP_TRY(flip_plan_forward_end(p->plan));
    mirror_send(tape, &arrive, 0, n_halo);
    tape->kernels->gather_rows(2 * (int64_t)p->n, dim, tape_out(tape, r)->value, dim, end, h->value,
                               halo);
    mirror_close(tape, &from);
    mirror_close(tape, &arrive);
    pool_free(tape->pool, halo);
    tape_traffic(tape, FLIP_STAGE_EXCHANGE, 4 * (uint64_t)p->n * (uint64_t)dim * sizeof(flip_real),
                 0);
    return FLIP_OK;
}

/* dh += the gradients of the ends of rows from … to-1, in pair order. */
static flip_status pull_ends(flip_tape *tape, const flip_pairs *p, int32_t from, int32_t to,
                             int64_t dim, const flip_real *dz, flip_real *dh) {
    const int32_t *row = NULL, *ptr = NULL, *end_of = NULL;
    FLIP_TRY(tape_reach(tape, p->row, (size_t)p->n_rows * sizeof *row, &row));
    FLIP_TRY(tape_reach(tape, p->ptr, ((size_t)p->n_rows + 1) * sizeof *ptr, &ptr));
    FLIP_TRY(tape_reach(tape, p->end_of, 2 * (size_t)p->n * sizeof *end_of, &end_of));
    tape->kernels->add_to_rows(to - from, dim, dh, row + from, ptr + from, end_of, dz);
    return FLIP_OK;
}

/* What other ranks' pairs add to own rows dh [n]: in place where the plan reaches them; else summed
 * on the host. */
static flip_status add_arrived(flip_tape *tape, const flip_pairs *p, flip_real *dh, size_t n) {
    flip_real *arrived;
    mirror m;
    if (!tape->kernels->on_device || flip_comm_direct(tape->comm))
        return flip_plan_backward_end(p->plan, dh);
    FLIP_TRY(pool_alloc(tape->pool, &arrived, n * sizeof *arrived));
    FLIP_TRY(mirror_open(tape, &m, arrived, n));
    if (n > 0) memset(m.host, 0, n * sizeof *arrived);
    FLIP_TRY(flip_plan_backward_end(p->plan, m.host));
    mirror_send(tape, &m, 0, n);
    if (dh) tape->kernels->move(1, 1, (int64_t)n, dh, 0, 0, arrived, 0, 0, true);
    mirror_close(tape, &m);
    pool_free(tape->pool, arrived);
    return FLIP_OK;
}

static flip_status gather_backward(flip_tape *tape, record *r) {
    const variable *h = tape_in(tape, r, 0);
    const flip_pairs *p = r->pairs;
    int64_t dim = h->dim;
    const flip_real *dz = tape_out(tape, r)->gradient;
    const size_t own = (size_t)size_of(h), n_halo = (size_t)(p->n_halo * dim);
    flip_real *halo = NULL;
    mirror leave = {.values = NULL};
    if (p->plan) {
        FLIP_TRY(pool_alloc(tape->pool, &halo, n_halo * sizeof *halo));
        tape->kernels->clear(halo, n_halo * sizeof *halo);
        FLIP_TRY(pull_ends(tape, p, p->n_own_rows, p->n_rows, dim, dz, halo));
        FLIP_TRY(mirror_open(tape, &leave, halo, n_halo));
        mirror_receive(tape, &leave, 0, n_halo);
        FLIP_TRY(flip_plan_backward_begin(p->plan, leave.host, (size_t)dim));
    }
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient && !to.accumulate) tape->kernels->clear(to.gradient, own * sizeof *halo);
    if (to.gradient) FLIP_TRY(pull_ends(tape, p, 0, p->n_own_rows, dim, dz, to.gradient));
    if (p->plan) FLIP_TRY(add_arrived(tape, p, to.gradient, own));
    mirror_close(tape, &leave);
    pool_free(tape->pool, halo);
    return FLIP_OK;
}

const operator_row op_gather_pairs = {.name = "gather pairs",
                                      .stage = FLIP_STAGE_EXCHANGE,
                                      .inputs = 1,
                                      .shape = gather_shape,
                                      .forward = gather_forward,
                                      .backward = gather_backward};

flip_var flip_gather_pairs(flip_tape *tape, flip_var h, const flip_pairs *pairs) {
    record r = tape_record(OP_GATHER_PAIRS);
    r.in[0] = h;
    r.pairs = pairs;
    return tape_apply(tape, &r);
}

/* ---- s = h_u . h_v of z = [h_u, h_v];  dh_u = ds h_v,  dh_v = ds h_u ---- */

static flip_status dot_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(shape_same(tape, r, out));
    if (out->dim % 2 != 0)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%d columns are not two halves", out->dim);
    out->dim = 1;
    return FLIP_OK;
}

static flip_status dot_forward(flip_tape *tape, record *r) {
    const variable *z = tape_in(tape, r, 0);
    FLIP_TRY(tape_output(tape, r, -1));
    tape->kernels->pair_dot(rows_of(z), z->dim / 2, z->value, tape_out(tape, r)->value);
    return FLIP_OK;
}

static flip_status dot_backward(flip_tape *tape, record *r) {
    const variable *z = tape_in(tape, r, 0);
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient)
        tape->kernels->pair_dot_back(rows_of(z), z->dim / 2, z->value, tape_out(tape, r)->gradient,
                                     to.gradient, to.accumulate);
    return FLIP_OK;
}

const operator_row op_pair_dot = {.name = "pair dot",
                                  .stage = FLIP_STAGE_POINTWISE,
                                  .inputs = 1,
                                  .saves = SAVES_IN0,
                                  .shape = dot_shape,
                                  .forward = dot_forward,
                                  .backward = dot_backward};

flip_var flip_pair_dot(flip_tape *tape, flip_var gathered) {
    record r = tape_record(OP_PAIR_DOT);
    r.in[0] = gathered;
    return tape_apply(tape, &r);
}
