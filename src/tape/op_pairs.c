/* Pairs of nodes at a step: [h_u, h_v] and h_u . h_v. Rows of other ranks come by an exchange plan,
 * their gradients go back by it. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct flip_pairs {
    int32_t n;      /* pairs */
    int32_t n_own;  /* nodes of this rank */
    int32_t n_halo; /* distinct nodes of other ranks */
    flip_plan *plan;
    int32_t *end;    /* [n, 2] local node of each end: own, then halo */
    int32_t *step;   /* [n] */
    int64_t *ptr;    /* [n_own + n_halo + 1]: ends of a local node, ascending */
    int32_t *end_of; /* [2 n] pair * 2 + side */
};

static int by_id(const void *a, const void *b) {
    flip_gid x = *(const flip_gid *)a, y = *(const flip_gid *)b;
    return (x > y) - (x < y);
}

/* The distinct ids of [u, v] that lie outside first … end-1, ascending. */
static flip_status remote_ids(int64_t n, const flip_gid *u, const flip_gid *v, flip_gid first,
                              flip_gid end, flip_gid **ids, int32_t *n_ids) {
    int64_t count = 0, distinct = 0;
    FLIP_TRY(flip_alloc(ids, (size_t)(2 * n), sizeof(flip_gid), "pairs' remote nodes"));
    for (int64_t i = 0; i < 2 * n; i++) {
        flip_gid id = i < n ? u[i] : v[i - n];
        if (id < first || id >= end) (*ids)[count++] = id;
    }
    qsort(*ids, (size_t)count, sizeof(flip_gid), by_id);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || (*ids)[i] != (*ids)[i - 1]) (*ids)[distinct++] = (*ids)[i];
    return flip_narrow(n_ids, distinct, "the number of remote nodes in pairs");
}

static int32_t local_of(flip_gid id, flip_gid first, flip_gid end, const flip_gid *halo,
                        int32_t n_halo) {
    if (id >= first && id < end) return (int32_t)(id - first);
    int32_t low = 0, high = n_halo - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (halo[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return (int32_t)(end - first) + low;
}

/* Lists the ends of each local node, so that the backward pass pulls. */
static flip_status list_ends(flip_pairs *p) {
    size_t n_local = (size_t)p->n_own + (size_t)p->n_halo;
    FLIP_TRY(flip_alloc_zero(&p->ptr, n_local + 2, sizeof(int64_t), "pairs"));
    FLIP_TRY(flip_alloc(&p->end_of, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    for (int64_t i = 0; i < 2 * (int64_t)p->n; i++)
        p->ptr[p->end[i] + 2]++;
    for (size_t i = 2; i < n_local + 2; i++)
        p->ptr[i] += p->ptr[i - 1];
    for (int64_t i = 0; i < 2 * (int64_t)p->n; i++)
        p->end_of[p->ptr[p->end[i] + 1]++] = (int32_t)i;
    return FLIP_OK;
}

static flip_status fill(flip_pairs *p, flip_comm *comm, const flip_gid *rank_first,
                        const flip_gid *u, const flip_gid *v, const int32_t *step,
                        const flip_gid *halo) {
    flip_gid first = rank_first[flip_comm_rank(comm)], end = rank_first[flip_comm_rank(comm) + 1];
    FLIP_TRY(flip_alloc(&p->end, 2 * (size_t)p->n, sizeof(int32_t), "pairs"));
    FLIP_TRY(flip_alloc_zero(&p->step, (size_t)p->n, sizeof(int32_t), "pairs"));
    for (int64_t i = 0; i < p->n; i++) {
        p->end[2 * i] = local_of(u[i], first, end, halo, p->n_halo);
        p->end[2 * i + 1] = local_of(v[i], first, end, halo, p->n_halo);
        if (step) p->step[i] = step[i];
    }
    return list_ends(p);
}

static flip_status check_ids(flip_comm *comm, const flip_gid *rank_first, int64_t n,
                             const flip_gid *u, const flip_gid *v) {
    flip_gid n_nodes = rank_first[flip_comm_size(comm)];
    for (int64_t i = 0; i < n; i++)
        if (u[i] < 0 || v[i] < 0 || u[i] >= n_nodes || v[i] >= n_nodes)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "pair %lld is (%lld, %lld), the graph has %lld nodes", (long long)i,
                             (long long)u[i], (long long)v[i], (long long)n_nodes);
    return FLIP_OK;
}

flip_status flip_pairs_create(flip_pairs **pairs, flip_comm *comm, const flip_gid *rank_first,
                              int64_t n, const flip_gid *u, const flip_gid *v,
                              const int32_t *step) {
    flip_gid *halo = NULL;
    FLIP_TRY(flip_alloc_zero(pairs, 1, sizeof **pairs, "pairs"));
    flip_pairs *p = *pairs;
    flip_gid first = rank_first[flip_comm_rank(comm)], end = rank_first[flip_comm_rank(comm) + 1];
    flip_status status = check_ids(comm, rank_first, n, u, v);
    if (status == FLIP_OK && n > INT32_MAX / 2) status = flip_narrow(&p->n, 2 * n, "pair ends");
    if (status == FLIP_OK) status = flip_narrow(&p->n, n, "the number of pairs");
    if (status == FLIP_OK) status = flip_narrow(&p->n_own, end - first, "the number of own nodes");
    if (status == FLIP_OK) status = remote_ids(n, u, v, first, end, &halo, &p->n_halo);
    if (status == FLIP_OK) status = fill(p, comm, rank_first, u, v, step, halo);
    status = flip_comm_agree(comm, status); /* the plan is collective: all or none */
    if (status == FLIP_OK && flip_comm_size(comm) > 1)
        status = flip_plan_create(&p->plan, comm, rank_first, halo, p->n_halo, FLIP_BYTES_HALO);
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
    for (int32_t i = 0; i < p->n; i++)
        if (p->step[i] < 0 || p->step[i] >= h->steps)
            return FLIP_FAIL(FLIP_ERROR_INPUT, "pair %d is of step %d, there are %d steps", i,
                             p->step[i], h->steps);
    *out = (shape){p->n, 1, 2 * h->dim};
    return FLIP_OK;
}

static flip_status gather_forward(flip_tape *tape, record *r) {
    const variable *h = tape_in(tape, r, 0);
    const flip_pairs *p = r->pairs;
    int64_t dim = h->dim, width = h->steps * dim;
    flip_real *halo = NULL;
    if (p->plan) {
        FLIP_TRY(pool_alloc(tape->pool, &halo, (size_t)(p->n_halo * width) * sizeof(flip_real)));
        FLIP_TRY(flip_plan_forward_begin(p->plan, h->value, (size_t)width, halo));
    }
    FLIP_TRY(tape_output(tape, r, -1));
    if (p->plan) FLIP_TRY(flip_plan_forward_end(p->plan));
    flip_real *z = tape_out(tape, r)->value;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < 2 * (int64_t)p->n; i++) {
        int64_t node = p->end[i];
        const flip_real *row =
            node < p->n_own ? h->value + node * width : halo + (node - p->n_own) * width;
        memcpy(z + i * dim, row + p->step[i / 2] * dim, (size_t)dim * sizeof(flip_real));
    }
    pool_free(tape->pool, halo);
    tape_traffic(tape, FLIP_STAGE_EXCHANGE, 4 * (uint64_t)p->n * (uint64_t)dim * sizeof(flip_real),
                 0);
    return FLIP_OK;
}

/* dh[node, step] += its ends' gradients, in pair order */
static void pull_ends(const flip_pairs *p, int64_t node, int64_t dim, const flip_real *dz,
                      flip_real *dh) {
    for (int64_t i = p->ptr[node]; i < p->ptr[node + 1]; i++) {
        int64_t end = p->end_of[i];
        flip_real *to = dh + p->step[end / 2] * dim;
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
        size_t bytes = (size_t)(p->n_halo * width) * sizeof(flip_real);
        FLIP_TRY(pool_alloc(tape->pool, &halo, bytes));
        memset(halo, 0, bytes);
        for (int64_t i = 0; i < p->n_halo; i++)
            pull_ends(p, p->n_own + i, dim, dz, halo + i * width);
        FLIP_TRY(flip_plan_backward_begin(p->plan, halo, (size_t)width));
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
