/* EvolveGCN-H's summary of a layer's input (Pareja et al. 2020, section 3.3): of every step the k
 * nodes of the largest score, each weighed by it,
 *
 *     y = X p / |p|;  idx = the k largest, largest first;  S = (X[idx] * tanh(y[idx]))^T  [F, k]
 *
 * Nodes are compared over all ranks (equal scores: the smaller original id first), and every rank
 * holds the S of all the block's steps. The choice is a constant in backward: S's gradient is
 * summed over the ranks, and a chosen node's owner passes its share on. Packed rows are decoded
 * beside their scores, the chosen ones once more. */
#include "internal.h"

#include <omp.h>

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
    double *unit;                            /* p / |p|, then |p|: the kernels' */
} summary;

static flip_status summary_of(flip_tape *tape, const record *r, summary *s) {
    const variable *x = tape_in(tape, r, 0);
    *s = (summary){.steps = x->steps,
                   .f = x->dim,
                   .k = r->count,
                   .block_steps = tape_out(tape, r)->steps,
                   .first = tape_block_offset(tape)};
    FLIP_TRY(pool_alloc(tape->pool, &s->unit, (size_t)(s->f + 1) * sizeof *s->unit));
    tape->kernels->unit_vector(s->f, tape_weight(tape, r->param[0]), s->unit);
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

/* Rows from … to-1 and their scores [to - from, steps] enter heaps [steps, k], n [steps] in each.
 */
static void offer_rows(const flip_tape *tape, const summary *s, int64_t from, int64_t to,
                       const double *score, choice *heaps, int32_t *n) {
    int32_t part = flip_comm_rank(tape_space(tape));
    for (int64_t v = from; v < to; v++)
        for (int64_t t = 0; t < s->steps; t++) {
            choice c = {.score = *score++,
                        .original = tape->given_key ? tape->given_key[v] : v,
                        .row = (int32_t)v,
                        .part = part};
            offer(heaps + t * s->k, &n[t], (int32_t)s->k, &c);
        }
}

/* Rows whose scores are held at a time, so that they stay in the cache. A rank may have no steps.
 */
static int64_t rows_at_once(const summary *s) {
    enum { SCORES_HELD = 64 };
    return s->steps > SCORES_HELD ? 1 : SCORES_HELD / (s->steps > 0 ? s->steps : 1);
}

/* This thread's rows. */
static flip_status choose_rows(const flip_tape *tape, const summary *s, const variable *x,
                               int64_t from, int64_t to, double *score, flip_real *decoded,
                               choice *heaps, int32_t *n) {
    for (int64_t v = from; v < to; v += rows_at_once(s)) {
        int64_t end = v + rows_at_once(s) < to ? v + rows_at_once(s) : to;
        const flip_real *rows = x->coded.packing ? decoded : x->value + v * s->steps * s->f;
        if (x->coded.packing)
            FLIP_TRY(tape_decode_steps(&x->coded, tape->kernels, v, end - v, 0, s->steps, decoded));
        tape->kernels->row_dots((end - v) * s->steps, s->f, rows, s->unit, score);
        offer_rows(tape, s, v, end, score, heaps, n);
    }
    return FLIP_OK;
}

/* On a device all rows are scored at once, and the scores received, one number a row: a heap of the
 * few hundred best takes them on the host. */
static flip_status choose_received(flip_tape *tape, const summary *s, const variable *x,
                                   choice *heaps, int32_t *n) {
    size_t bytes = (size_t)rows_of(x) * sizeof(double);
    double *score, *host;
    FLIP_TRY(pool_alloc(tape->pool, &score, bytes));
    FLIP_TRY(flip_alloc(&host, bytes, 1, "scores of nodes"));
    tape->kernels->row_dots(rows_of(x), s->f, x->value, s->unit, score);
    tape->kernels->receive(host, score, bytes);
    offer_rows(tape, s, 0, x->rows, host, heaps, n);
    flip_free(host);
    pool_free(tape->pool, score);
    return FLIP_OK;
}

/* The host's: a heap [steps, k] a thread, n [steps] in each; scores of a thread's rows at once. */
typedef struct heaps {
    int64_t threads;
    choice *all;
    int32_t *n;
    double *scores;
    flip_real *decoded; /* … and rows, where they are packed */
} heaps;

static flip_status heaps_init(heaps *h, const summary *s, const variable *x) {
    h->threads = omp_get_max_threads();
    size_t n = (size_t)(h->threads * s->steps);
    FLIP_TRY(flip_alloc_zero(&h->n, n, sizeof *h->n, "the best nodes"));
    FLIP_TRY(flip_alloc(&h->scores, n * (size_t)rows_at_once(s), sizeof *h->scores, "scores"));
    if (x->coded.packing)
        FLIP_TRY(flip_alloc(&h->decoded, n * (size_t)rows_at_once(s),
                            (size_t)s->f * sizeof *h->decoded, "rows to score"));
    return flip_alloc(&h->all, n * (size_t)s->k, sizeof *h->all, "the best nodes");
}

static void heaps_finish(heaps *h) {
    flip_free(h->all);
    flip_free(h->n);
    flip_free(h->scores);
    flip_free(h->decoded);
}

static flip_status fill_heaps(flip_tape *tape, const summary *s, const variable *x, heaps *h) {
    flip_status status = FLIP_OK;
    if (tape->kernels->on_device) return choose_received(tape, s, x, h->all, h->n);
#pragma omp parallel
    {
        int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
        const int64_t held = thread * rows_at_once(s) * s->steps;
        flip_status mine =
            choose_rows(tape, s, x, x->rows * thread / all, x->rows * (thread + 1) / all,
                        h->scores + held, h->decoded ? h->decoded + held * s->f : NULL,
                        h->all + thread * s->steps * s->k, h->n + thread * s->steps);
#pragma omp critical
        if (mine != FLIP_OK) status = mine;
    }
    return status;
}

/* best [steps, k] of own rows, in order; missing ones have row -1 and part -1. */
static flip_status choose_own(flip_tape *tape, const summary *s, const variable *x, choice *best) {
    heaps h = {.threads = 0};
    flip_status status = heaps_init(&h, s, x);
    if (status == FLIP_OK) status = fill_heaps(tape, s, x, &h);
    for (int64_t t = 0; status == FLIP_OK && t < s->steps; t++) {
        choice *into = best + t * s->k;
        int32_t kept = 0;
        for (int64_t i = 0; i < h.threads; i++)
            for (int32_t j = 0; j < h.n[i * s->steps + t]; j++)
                offer(into, &kept, (int32_t)s->k, &h.all[(i * s->steps + t) * s->k + j]);
        order(into, kept);
        for (int64_t j = kept; j < s->k; j++)
            into[j] = (choice){.row = -1, .part = -1};
    }
    heaps_finish(&h);
    return status;
}

/* best becomes that of all parts. */
static flip_status choose_all(flip_tape *tape, const summary *s, choice *best) {
    flip_comm *space = tape_space(tape);
    int64_t parts = flip_comm_size(space), each = s->steps * s->k;
    size_t bytes = (size_t)each * sizeof *best;
    choice *all;
    if (parts == 1) return FLIP_OK;
    FLIP_TRY(flip_alloc(&all, (size_t)parts, bytes, "the best nodes of all parts"));
    flip_status status = flip_comm_gather_all(space, all, best, bytes);
    if (tape->meter) tape->meter->bytes[FLIP_BYTES_STATE] += bytes * (size_t)(parts - 1);
    for (int64_t t = 0; status == FLIP_OK && t < s->steps; t++) {
        int32_t kept = 0;
        for (int64_t i = 0; i < parts * s->k; i++) {
            const choice *c = &all[i / s->k * each + t * s->k + i % s->k];
            if (c->part >= 0) offer(best + t * s->k, &kept, (int32_t)s->k, c);
        }
        order(best + t * s->k, kept);
    }
    flip_free(all);
    return status;
}

static flip_status choose(flip_tape *tape, const summary *s, const variable *x, choice *best) {
    FLIP_TRY(choose_own(tape, s, x, best));
    FLIP_TRY(choose_all(tape, s, best));
    for (int64_t i = 0; i < s->steps * s->k; i++)
        if (best[i].part < 0)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "the summary of a step takes %lld nodes, but the graph has only %lld; "
                             "use --hidden of at most that",
                             (long long)s->k, (long long)(i % s->k));
    return FLIP_OK;
}

/* A sum over all ranks, counted as state that travels. */
static flip_status sum_state(flip_tape *tape, double *values, size_t n) {
    flip_comm *world = tape_world(tape);
    uint64_t bytes = flip_comm_sum_bytes(world, n);
    FLIP_TRY(tape_sum_ranks(tape, world, values, n, NULL));
    if (!tape->meter) return FLIP_OK;
    tape->meter->bytes[FLIP_BYTES_ALLREDUCE] -= bytes;
    tape->meter->bytes[FLIP_BYTES_STATE] += bytes;
    return FLIP_OK;
}

/* best, as backward and the kernels read it. */
static flip_status save_choice(flip_tape *tape, record *r, const summary *s, const choice *best) {
    size_t n = (size_t)(s->steps * s->k);
    int32_t part = flip_comm_rank(tape_space(tape));
    struct {
        int64_t *nodes;
        double *scores;
        int32_t *rows;
    } host;
    FLIP_TRY(tape_save(tape, r, NODES, n * sizeof *host.nodes));
    FLIP_TRY(tape_save(tape, r, ROWS, n * sizeof *host.rows));
    FLIP_TRY(tape_save(tape, r, SCORES, n * sizeof *host.scores));
    FLIP_TRY(tape_save(tape, r, VALUES, n * (size_t)s->f * sizeof(flip_real)));
    FLIP_TRY(flip_alloc(&host.nodes, n,
                        sizeof *host.nodes + sizeof *host.scores + sizeof *host.rows,
                        "the chosen nodes"));
    host.scores = (double *)(host.nodes + n);
    host.rows = (int32_t *)(host.scores + n);
    for (size_t i = 0; i < n; i++) {
        host.nodes[i] = best[i].original;
        host.scores[i] = best[i].score;
        host.rows[i] = best[i].part == part ? best[i].row : -1;
    }
    tape->kernels->send(r->saved[NODES], host.nodes, n * sizeof *host.nodes);
    tape->kernels->send(r->saved[SCORES], host.scores, n * sizeof *host.scores);
    tape->kernels->send(r->saved[ROWS], host.rows, n * sizeof *host.rows);
    flip_free(host.nodes);
    return FLIP_OK;
}

static flip_status choose_and_save(flip_tape *tape, record *r, const summary *s) {
    choice *best;
    FLIP_TRY(flip_alloc(&best, (size_t)(s->steps * s->k), sizeof *best, "the best nodes"));
    flip_status status = choose(tape, s, tape_in(tape, r, 0), best);
    if (status == FLIP_OK) status = save_choice(tape, r, s, best);
    flip_free(best);
    return status;
}

/* The chosen rows, into r's values and the sum [f, k] of each step. Of packed rows, row i % k of
 * `rows` is decoded for choice i, of its step. */
static flip_status take_chosen(flip_tape *tape, record *r, const summary *s, double *sum) {
    const variable *x = tape_in(tape, r, 0);
    const int64_t n = s->steps * s->k;
    const int32_t *row = r->saved[ROWS];
    flip_real *rows;
    int32_t *place;
    if (!x->coded.packing) {
        tape->kernels->topk_take(s->steps, s->k, s->f, row, r->saved[SCORES], x->value,
                                 r->saved[VALUES], sum);
        return FLIP_OK;
    }
    FLIP_TRY(pool_alloc(tape->pool, &rows, (size_t)(n * s->f) * sizeof *rows));
    FLIP_TRY(pool_alloc(tape->pool, &place, (size_t)n * sizeof *place));
    for (int64_t i = 0; i < n; i++) {
        const int64_t t = i / s->k, j = i % s->k;
        place[i] = row[i] < 0 ? -1 : (int32_t)j;
        if (row[i] >= 0)
            FLIP_TRY(tape_decode_steps(&x->coded, tape->kernels, row[i], 1, t, 1,
                                       rows + (j * s->steps + t) * s->f));
    }
    tape->kernels->topk_take(s->steps, s->k, s->f, place, r->saved[SCORES], rows, r->saved[VALUES],
                             sum);
    pool_free(tape->pool, place);
    pool_free(tape->pool, rows);
    return FLIP_OK;
}

static flip_status topk_forward(flip_tape *tape, record *r) {
    FLIP_TRY(tape_output(tape, r, -1));
    variable *out = tape_out(tape, r);
    size_t n = (size_t)size_of(out);
    summary s;
    double *sum;
    FLIP_TRY(summary_of(tape, r, &s));
    FLIP_TRY(choose_and_save(tape, r, &s));
    FLIP_TRY(pool_alloc(tape->pool, &sum, n * sizeof *sum));
    tape->kernels->clear(sum, n * sizeof *sum);
    FLIP_TRY(take_chosen(tape, r, &s, sum + s.first * s.f * s.k));
    FLIP_TRY(sum_state(tape, sum, n));
    tape->kernels->clear(out->value, n * sizeof(flip_real));
    tape->kernels->add_rounded((int64_t)n, out->value, sum);
    pool_free(tape->pool, sum);
    pool_free(tape->pool, s.unit);
    tape_drop_saved(tape, r);
    return FLIP_OK;
}

/* ---- backward: with b = tanh(y), g = dS's column, a = (1 - b^2) (g . x):
 *      dx = g b + a p / |p|;  dp = a (x - y p / |p|) / |p| ---- */

static flip_status topk_backward(flip_tape *tape, record *r) {
    variable *x = tape_in(tape, r, 0), *out = tape_out(tape, r);
    size_t n = (size_t)size_of(out);
    summary s;
    target to;
    double *up, *room;
    FLIP_TRY(summary_of(tape, r, &s));
    FLIP_TRY(pool_alloc(tape->pool, &up, n * sizeof *up));
    FLIP_TRY(pool_alloc(tape->pool, &room, (size_t)(s.steps * s.k) * sizeof *room));
    tape->kernels->clear(up, n * sizeof *up);
    tape->kernels->turn_sum(1, (int64_t)n, 1, out->gradient, up);
    FLIP_TRY(sum_state(tape, up, n));
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (to.gradient && !to.accumulate)
        tape->kernels->clear(to.gradient, (size_t)size_of(x) * sizeof *to.gradient);
    tape->kernels->topk_back(s.steps, s.k, s.f, r->saved[ROWS], r->saved[SCORES], r->saved[VALUES],
                             up + s.first * s.f * s.k, s.unit, to.gradient,
                             tape_weight_gradient(tape, r->param[0]), room);
    pool_free(tape->pool, room);
    pool_free(tape->pool, up);
    pool_free(tape->pool, s.unit);
    return FLIP_OK;
}

const operator_row op_topk_summary = {.name = "top-k summary",
                                      .stage = FLIP_STAGE_POINTWISE,
                                      .inputs = 1,
                                      .decodes = DECODES_IN0 | DECODES_ON_HOST,
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

const int64_t *flip_topk_nodes(flip_tape *tape, flip_var summary) {
    if (!tape_has(tape, summary) || tape->vars[summary].producer < 0) return NULL;
    const record *r = &tape->records[tape->vars[summary].producer];
    if (r->op != OP_TOPK_SUMMARY) return NULL;
    size_t n = (size_t)tape_in(tape, r, 0)->steps * (size_t)r->count;
    return (const int64_t *)(const void *)reach_host(tape, r->saved[NODES], n * sizeof(int64_t));
}
