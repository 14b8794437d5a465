/* EvolveGCN-H's summary of a layer's input (Pareja et al. 2020, section 3.3): of every step the k
 * nodes of the largest score, each weighed by it,
 *
 *     y = X p / |p|;  idx = the k largest, largest first;  S = (X[idx] * tanh(y[idx]))^T  [F, k]
 *
 * Nodes are compared over all ranks (equal scores: the smaller original id first), and every rank
 * holds the S of all the block's steps. The choice is a constant in backward: S's gradient is
 * summed over the ranks, and a chosen node's owner passes its share on. */
#include "internal.h"

#include <math.h>
#include <omp.h>
#include <string.h>

typedef struct choice {
    double score;
    int64_t original;
    int32_t row, part;
} choice;
_Static_assert(sizeof(choice) == FLIP_TOPK_BYTES, "what a choice counts");

enum { NODES, ROWS, SCORES, VALUES }; /* saved of own steps: original ids [steps, k]; row or -1 */

static bool better(const choice *a, const choice *b) {
    return a->score > b->score || (a->score == b->score && a->original < b->original);
}

/* ---- the best of some: a heap with the worst at its root, at last in order ---- */

static void sink(choice *heap, int64_t n, int64_t i) {
    for (int64_t worst;; i = worst) {
        worst = i;
        for (int64_t c = 2 * i + 1; c <= 2 * i + 2 && c < n; c++)
            if (better(&heap[worst], &heap[c])) worst = c;
        if (worst == i) return;
        choice swap = heap[i];
        heap[i] = heap[worst];
        heap[worst] = swap;
    }
}

static void offer(choice *heap, int32_t *n, int32_t k, const choice *c) {
    if (*n < k) {
        int64_t i = (*n)++;
        for (heap[i] = *c; i > 0 && better(&heap[(i - 1) / 2], &heap[i]); i = (i - 1) / 2) {
            choice swap = heap[i];
            heap[i] = heap[(i - 1) / 2];
            heap[(i - 1) / 2] = swap;
        }
    } else if (better(c, &heap[0])) {
        heap[0] = *c;
        sink(heap, k, 0);
    }
}

static void order(choice *heap, int32_t n) {
    for (int32_t last = n - 1; last > 0; last--) { /* the worst goes to the end */
        choice swap = heap[0];
        heap[0] = heap[last];
        heap[last] = swap;
        sink(heap, last, 0);
    }
}

/* ---- forward ---- */

typedef struct summary {
    int64_t steps, f, k, block_steps, first; /* own steps stand `first` into the block */
    double *p;                               /* p / |p| */
    double norm;
} summary;

static flip_status summary_of(flip_tape *tape, const record *r, summary *s) {
    const variable *x = tape_in(tape, r, 0);
    const flip_real *p = tape_weight(tape, r->param[0]);
    *s = (summary){.steps = x->steps,
                   .f = x->dim,
                   .k = r->count,
                   .block_steps = tape_out(tape, r)->steps,
                   .first = tape_block_offset(tape)};
    FLIP_TRY(pool_alloc(tape->pool, &s->p, (size_t)s->f * sizeof *s->p));
    for (int64_t j = 0; j < s->f; j++)
        s->norm += (double)p[j] * (double)p[j];
    s->norm = sqrt(s->norm);
    for (int64_t j = 0; j < s->f; j++)
        s->p[j] = (double)p[j] / s->norm;
    return FLIP_OK;
}

static flip_status topk_shape(const flip_tape *tape, const record *r, shape *out) {
    const variable *x = tape_in(tape, r, 0);
    int32_t cols;
    flip_params_shape(tape->params, r->param[0], NULL, &cols, NULL);
    if (cols != x->dim || r->count < 1)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "'%s' has %d columns, its input %d; %d nodes wanted",
                         flip_params_name(tape->params, r->param[0]), cols, x->dim, r->count);
    *out = (shape){1, tape_block_steps(tape, x->steps), x->dim * r->count};
    return FLIP_OK;
}

static double dot(int64_t n, const flip_real *x, const double *p) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += (double)x[j] * p[j];
    return sum;
}

/* This thread's rows: heaps [steps, k] with n [steps] in each. */
static void choose_rows(const flip_tape *tape, const summary *s, const variable *x, int64_t from,
                        int64_t to, choice *heaps, int32_t *n) {
    int32_t part = flip_comm_rank(tape_space(tape));
    memset(n, 0, (size_t)s->steps * sizeof *n);
    for (int64_t v = from; v < to; v++)
        for (int64_t t = 0; t < s->steps; t++) {
            choice c = {.score = dot(s->f, x->value + (v * s->steps + t) * s->f, s->p),
                        .original = tape->given_key ? tape->given_key[v] : v,
                        .row = (int32_t)v,
                        .part = part};
            offer(heaps + t * s->k, &n[t], (int32_t)s->k, &c);
        }
}

/* best [steps, k] of own rows, in order; missing ones have row -1 and part -1. */
static flip_status choose_own(flip_tape *tape, const summary *s, const variable *x, choice *best) {
    int64_t threads = omp_get_max_threads(), each = s->steps * s->k;
    choice *heaps;
    int32_t *n;
    FLIP_TRY(pool_alloc(tape->pool, &heaps, (size_t)(threads * each) * sizeof *heaps));
    FLIP_TRY(pool_alloc(tape->pool, &n, (size_t)(threads * s->steps) * sizeof *n));
    memset(n, 0, (size_t)(threads * s->steps) * sizeof *n);
#pragma omp parallel
    {
        int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
        choose_rows(tape, s, x, x->rows * thread / all, x->rows * (thread + 1) / all,
                    heaps + thread * each, n + thread * s->steps);
    }
    for (int64_t t = 0; t < s->steps; t++) {
        choice *into = best + t * s->k;
        int32_t kept = 0;
        for (int64_t i = 0; i < threads; i++)
            for (int32_t j = 0; j < n[i * s->steps + t]; j++)
                offer(into, &kept, (int32_t)s->k, &heaps[i * each + t * s->k + j]);
        order(into, kept);
        for (int64_t j = kept; j < s->k; j++)
            into[j] = (choice){.row = -1, .part = -1};
    }
    pool_free(tape->pool, n);
    pool_free(tape->pool, heaps);
    return FLIP_OK;
}

/* best becomes that of all parts. */
static flip_status choose_all(flip_tape *tape, const summary *s, choice *best) {
    flip_comm *space = tape_space(tape);
    int64_t parts = flip_comm_size(space), each = s->steps * s->k;
    size_t bytes = (size_t)each * sizeof *best;
    choice *all;
    if (parts == 1) return FLIP_OK;
    FLIP_TRY(pool_alloc(tape->pool, &all, (size_t)parts * bytes));
    FLIP_TRY(flip_comm_gather_all(space, all, best, bytes));
    if (tape->meter) tape->meter->bytes[FLIP_BYTES_STATE] += bytes * (size_t)(parts - 1);
    for (int64_t t = 0; t < s->steps; t++) {
        int32_t kept = 0;
        for (int64_t i = 0; i < parts * s->k; i++) {
            const choice *c = &all[i / s->k * each + t * s->k + i % s->k];
            if (c->part >= 0) offer(best + t * s->k, &kept, (int32_t)s->k, c);
        }
        order(best + t * s->k, kept);
    }
    pool_free(tape->pool, all);
    return FLIP_OK;
}

/* A sum over all ranks, counted as state that travels. */
static flip_status sum_state(flip_tape *tape, double *values, size_t n) {
    flip_comm *world = tape_world(tape);
    uint64_t bytes = flip_comm_sum_bytes(world, n);
    FLIP_TRY(flip_comm_sum_f64(world, values, n));
    if (!tape->meter) return FLIP_OK;
    tape->meter->bytes[FLIP_BYTES_ALLREDUCE] -= bytes;
    tape->meter->bytes[FLIP_BYTES_STATE] += bytes;
    return FLIP_OK;
}

/* What backward needs of the chosen rows that are mine, and their columns of S. */
static void summarise_own(const flip_tape *tape, record *r, const summary *s, const choice *best,
                          double *out) {
    const flip_real *x = tape_in(tape, r, 0)->value;
    int64_t *nodes = r->saved[NODES];
    int32_t *rows = r->saved[ROWS], part = flip_comm_rank(tape_space(tape));
    double *scores = r->saved[SCORES];
    flip_real *values = r->saved[VALUES];
    for (int64_t i = 0; i < s->steps * s->k; i++) {
        int64_t t = i / s->k;
        double bent = tanh(best[i].score);
        nodes[i] = best[i].original;
        scores[i] = best[i].score;
        rows[i] = best[i].part == part ? best[i].row : -1;
        if (rows[i] < 0) continue;
        const flip_real *row = x + (rows[i] * s->steps + t) * s->f;
        memcpy(values + i * s->f, row, (size_t)s->f * sizeof *row);
        for (int64_t j = 0; j < s->f; j++)
            out[(s->first + t) * s->f * s->k + j * s->k + i % s->k] = (double)row[j] * bent;
    }
}

static flip_status save_choice(flip_tape *tape, record *r, const summary *s) {
    size_t n = (size_t)(s->steps * s->k);
    FLIP_TRY(tape_save(tape, r, NODES, n * sizeof(int64_t)));
    FLIP_TRY(tape_save(tape, r, ROWS, n * sizeof(int32_t)));
    FLIP_TRY(tape_save(tape, r, SCORES, n * sizeof(double)));
    return tape_save(tape, r, VALUES, n * (size_t)s->f * sizeof(flip_real));
}

static flip_status topk_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, -1));
    const variable *x = tape_in(tape, r, 0);
    variable *out = tape_out(tape, r);
    summary s;
    choice *best;
    double *sum;
    FLIP_TRY(summary_of(tape, r, &s));
    FLIP_TRY(save_choice(tape, r, &s));
    FLIP_TRY(pool_alloc(tape->pool, &best, (size_t)(s.steps * s.k) * sizeof *best));
    FLIP_TRY(choose_own(tape, &s, x, best));
    FLIP_TRY(choose_all(tape, &s, best));
    for (int64_t i = 0; i < s.steps * s.k; i++)
        if (best[i].part < 0)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "the summary of a step takes %lld nodes, but the graph has only %lld; "
                             "use --hidden of at most that",
                             (long long)s.k, (long long)(i % s.k));
    FLIP_TRY(pool_alloc(tape->pool, &sum, (size_t)size_of(out) * sizeof *sum));
    memset(sum, 0, (size_t)size_of(out) * sizeof *sum);
    summarise_own(tape, r, &s, best, sum);
    FLIP_TRY(sum_state(tape, sum, (size_t)size_of(out)));
    for (int64_t i = 0; i < size_of(out); i++)
        out->value[i] = (flip_real)sum[i];
    pool_free(tape->pool, sum);
    pool_free(tape->pool, best);
    pool_free(tape->pool, s.p);
    tape_drop_saved(tape, r);
    return FLIP_OK;
}

/* ---- backward: with b = tanh(y), g = dS's column, a = (1 - b^2) (g . x):
 *      dx = g b + a p / |p|;  dp = a (x - y p / |p|) / |p| ---- */

static void chosen_back(const summary *s, const flip_real *x, double y, const double *g,
                        flip_real *dx, double *dp) {
    double bent = tanh(y), a = 0;
    for (int64_t j = 0; j < s->f; j++)
        a += g[j * s->k] * (double)x[j];
    a *= 1 - bent * bent;
    for (int64_t j = 0; j < s->f; j++) {
        if (dx) dx[j] += (flip_real)(g[j * s->k] * bent + a * s->p[j]);
        dp[j] += a * ((double)x[j] - y * s->p[j]) / s->norm;
    }
}

static flip_status topk_backward(flip_tape *tape, record *r) {
    variable *x = tape_in(tape, r, 0), *out = tape_out(tape, r);
    const int32_t *rows = r->saved[ROWS];
    const double *scores = r->saved[SCORES];
    const flip_real *values = r->saved[VALUES];
    summary s;
    target to;
    double *up;
    FLIP_TRY(summary_of(tape, r, &s));
    FLIP_TRY(pool_alloc(tape->pool, &up, (size_t)size_of(out) * sizeof *up));
    for (int64_t i = 0; i < size_of(out); i++)
        up[i] = (double)out->gradient[i];
    FLIP_TRY(sum_state(tape, up, (size_t)size_of(out)));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient && !to.accumulate)
        memset(to.gradient, 0, (size_t)size_of(x) * sizeof *to.gradient);
    for (int64_t i = 0; i < s.steps * s.k; i++) {
        int64_t t = i / s.k;
        if (rows[i] < 0) continue;
        chosen_back(&s, values + i * s.f, scores[i], up + (s.first + t) * s.f * s.k + i % s.k,
                    to.gradient ? to.gradient + (rows[i] * s.steps + t) * s.f : NULL,
                    tape_weight_gradient(tape, r->param[0]));
    }
    pool_free(tape->pool, up);
    pool_free(tape->pool, s.p);
    return FLIP_OK;
}

const operator_row op_topk_summary = {.name = "top-k summary",
                                      .stage = FLIP_STAGE_POINTWISE,
                                      .inputs = 1,
                                      .shape = topk_shape,
                                      .forward = topk_forward,
                                      .backward = topk_backward};

flip_var flip_topk_summary(flip_tape *tape, flip_var x, flip_param p, int32_t k) {
    record r = tape_record(OP_TOPK_SUMMARY);
    r.in[0] = x;
    r.param[0] = p;
    r.count = k;
    return tape_apply(tape, &r);
}

const int64_t *flip_topk_nodes(const flip_tape *tape, flip_var summary) {
    if (summary < 0 || summary >= tape->n_vars || tape->vars[summary].producer < 0) return NULL;
    const record *r = &tape->records[tape->vars[summary].producer];
    return r->op == OP_TOPK_SUMMARY ? r->saved[NODES] : NULL;
}
