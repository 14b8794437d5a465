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
    int32_t *end;    /* [n, 2] of each end: own node, or n_own + row of the halo */
    int32_t *step;   /* [n] */
    int64_t *ptr;    /* [n_own + n_halo + 1]: ends of an own node or halo row, ascending */
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

/* The place of an end: its own node, or its row behind them. */
static int32_t place_of(const flip_pairs *p, const asked *a, const flip_gid *halo, flip_gid id,
                        int64_t i) {
    if (is_own(a, id)) return (int32_t)(id - a->first);
    flip_gid row = row_of(a, p->steps, id, i);
    int32_t low = 0, high = p->n_halo - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (halo[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return p->n_own + low;
}

/* Lists the ends of each place, so that the backward pass pulls. */
static flip_status list_ends(flip_pairs *p) {
    size_t n_places = (size_t)p->n_own + (size_t)p->n_halo;
    FLIP_TRY(flip_alloc_zero(&p->ptr, n_places + 2, sizeof(int64_t), "pairs"));
    FLIP_TRY(flip_alloc(&p->end_of, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    for (int64_t i = 0; i < 2 * (int64_t)p->n; i++)
        p->ptr[p->end[i] + 2]++;
    for (size_t i = 2; i < n_places + 2; i++)
        p->ptr[i] += p->ptr[i - 1];
    for (int64_t i = 0; i < 2 * (int64_t)p->n; i++)
        p->end_of[p->ptr[p->end[i] + 1]++] = (int32_t)i;
    return FLIP_OK;
}

static flip_status fill(flip_pairs *p, const asked *a, const flip_gid *halo) {
    FLIP_TRY(flip_alloc(&p->end, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    FLIP_TRY(flip_alloc_zero(&p->step, (size_t)p->n, sizeof(int32_t), "pairs"));
    for (int64_t i = 0; i < p->n; i++) {
        p->end[2 * i] = place_of(p, a, halo, a->u[i], i);
        p->end[2 * i + 1] = place_of(p, a, halo, a->v[i], i);
        if (a->step) p->step[i] = a->step[i];
    }
    return list_ends(p);
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
    flip_free((*pairs)->step);
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
    int64_t dim = h->dim, width = h->steps * dim;
    flip_real *halo = NULL;
    if (p->plan) {
        FLIP_TRY(pool_alloc(tape->pool, &halo, (size_t)(p->n_halo * dim) * sizeof(flip_real)));
        FLIP_TRY(flip_plan_forward_begin(p->plan, h->value, (size_t)dim, halo));
    }
    FLIP_TRY(tape_output(tape, r, -1));
    if (p->plan) FLIP_TRY(flip_plan_forward_end(p->plan));
    flip_real *z = tape_out(tape, r)->value;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < 2 * (int64_t)p->n; i++) {
        int64_t at = p->end[i];
        const flip_real *row = at < p->n_own ? h->value + at * width + p->step[i / 2] * dim
                                             : halo + (at - p->n_own) * dim;
        memcpy(z + i * dim, row, (size_t)dim * sizeof(flip_real));
    }
    pool_free(tape->pool, halo);
    tape_traffic(tape, FLIP_STAGE_EXCHANGE, 4 * (uint64_t)p->n * (uint64_t)dim * sizeof(flip_real),
                 0);
    return FLIP_OK;
}

/* dh += the gradients of a place's ends, in pair order: an own node's at each end's step, a halo
 * row's at its own. */
static void pull_ends(const flip_pairs *p, int64_t place, int64_t dim, const flip_real *dz,
                      flip_real *dh) {
    for (int64_t i = p->ptr[place]; i < p->ptr[place + 1]; i++) {
        int64_t end = p->end_of[i];
        flip_real *to = place < p->n_own ? dh + p->step[end / 2] * dim : dh;
        for (int64_t j = 0; j < dim; j++)
            to[j] += dz[end * dim + j];
    }
}

static flip_status gather_backward(flip_tape *tape, record *r) {
    const variable *h = tape_in(tape, r, 0);
    const flip_pairs *p = r->pairs;
    int64_t dim = h->dim, width = h->steps * dim;
    const flip_real *dz = tape_out(tape, r)->gradient;
    flip_real *halo = NULL;
    if (p->plan) {
        size_t bytes = (size_t)(p->n_halo * dim) * sizeof(flip_real);
        FLIP_TRY(pool_alloc(tape->pool, &halo, bytes));
        memset(halo, 0, bytes);
        for (int64_t i = 0; i < p->n_halo; i++)
            pull_ends(p, p->n_own + i, dim, dz, halo + i * dim);
        FLIP_TRY(flip_plan_backward_begin(p->plan, halo, (size_t)dim));
    }
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient && !to.accumulate)
        memset(to.gradient, 0, (size_t)size_of(h) * sizeof(flip_real));
    if (to.gradient) {
#pragma omp parallel for schedule(dynamic, 64)
        for (int32_t node = 0; node < p->n_own; node++)
            pull_ends(p, node, dim, dz, to.gradient + node * width);
    }
    if (p->plan) FLIP_TRY(flip_plan_backward_end(p->plan, to.gradient));
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
    int64_t m = rows_of(z), d = z->dim / 2;
    FLIP_TRY(tape_output(tape, r, -1));
    flip_real *s = tape_out(tape, r)->value;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *u = z->value + i * 2 * d, *v = u + d;
        flip_real sum = 0;
        for (int64_t j = 0; j < d; j++)
            sum += u[j] * v[j];
        s[i] = sum;
    }
    return FLIP_OK;
}

static flip_status dot_backward(flip_tape *tape, record *r) {
    const variable *z = tape_in(tape, r, 0);
    int64_t m = rows_of(z), d = z->dim / 2;
    const flip_real *ds = tape_out(tape, r)->gradient;
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < 2 * d; j++) {
            flip_real other = z->value[i * 2 * d + (j < d ? j + d : j - d)];
            flip_real *dz = to.gradient + i * 2 * d + j;
            *dz = (to.accumulate ? *dz : 0) + ds[i] * other;
        }
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
