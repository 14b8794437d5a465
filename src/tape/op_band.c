/* TM-GCN's M (Malik et al. 2021, section 2): y_t = Σ_k M[t,k] x_k;  dx_k = Σ_t M[t,k] dy_t,
 * M[t,k] = 1 / min(b, t+1) for t-b < k <= t; steps count from the timeline's first.
 *
 * A node's first steps of a block look back at up to b-1 steps before it:
 *
 *     earlier [rows, e, dim]   x [rows, steps, dim]
 *     ──────────────────────┬───────────────────────
 *          t-b+1 … ─────────┼──▶ t
 *
 * Where a rank has all steps of its nodes (one chunk, or redistributed slice by slice) the steps
 * before the block are carried from block to block. In a window they come from the ranks of the
 * part that have them, and a rank carries its own ones. Gradients go the same ways back. */
#include "internal.h"

typedef struct band {
    flip_tape *tape;
    flip_layout *layout;
    int32_t window, dim;
    int64_t rows;  /* in the layout in which the work is done */
    int32_t steps; /* of the block */
    int32_t step;  /* the first of them, counted from the timeline's first */
    int32_t e;     /* steps before them that this rank's first ones look back at */
    /* steps of the rank that are carried: [rows, n, dim], numbered as the rank's own steps */
    int32_t block_at, kept, kept_at, next, next_at;
} band;

static bool in_window(const flip_tape *tape) {
    return tape->layout && tape->layout->n_time > 1 &&
           tape->layout->exchange == FLIP_EXCHANGE_WINDOW;
}
static bool is_moved(const flip_tape *tape) {
    return tape->layout && tape->layout->n_time > 1 && !in_window(tape);
}

static band band_of(flip_tape *tape, const record *r) {
    flip_layout *l = tape->layout;
    const variable *x = tape_in(tape, r, 0);
    band b = {.tape = tape, .layout = l, .window = r->count < 1 ? 1 : r->count, .dim = x->dim};
    b.rows = x->rows;
    b.steps = x->steps;
    if (!l) return b;
    int32_t before = b.window - 1, origin = l->block_first[0];
    if (in_window(tape)) {
        flip_window here = flip_layout_window_of(l, tape->block, before);
        flip_window then = {.n = 0};
        if (tape->block + 1 < l->n_blocks) then = flip_layout_window_of(l, tape->block + 1, before);
        b.step = flip_layout_first(l, tape->block) - origin;
        b.e = here.n;
        b.block_at = l->own_before[tape->block];
        b.kept = here.n_kept;
        b.kept_at = here.kept_from;
        b.next = then.n_kept;
        b.next_at = then.kept_from;
        return b;
    }
    b.rows = l->n_own;
    b.step = b.block_at = l->block_first[tape->block] - origin;
    b.steps = l->block_first[tape->block + 1] - l->block_first[tape->block];
    b.e = b.kept = b.step < before ? b.step : before;
    b.kept_at = b.step - b.kept;
    if (tape->block + 1 == l->n_blocks) return b;
    int32_t end = b.step + b.steps;
    b.next = end < before ? end : before;
    b.next_at = end - b.next;
    return b;
}

/* Values between blocks: what the longest look back needs. */
static size_t carried(const band *b) {
    int32_t most = b->layout ? b->layout->n_steps - b->layout->block_first[0] : 0;
    int32_t n = b->window - 1 < most ? b->window - 1 : most;
    return (size_t)b->rows * (size_t)n * (size_t)b->dim;
}

/* ---- sums ---- */

static flip_band_steps steps_of(const band *b, int64_t rows) {
    return (flip_band_steps){.rows = rows,
                             .steps = b->steps,
                             .dim = b->dim,
                             .first = b->step,
                             .earlier = b->e,
                             .window = b->window};
}

/* Rows first … first+n-1. */
static void sum_rows(const band *b, int64_t first, int64_t n, const flip_real *earlier,
                     const flip_real *x, flip_real *y) {
    const flip_band_steps steps = steps_of(b, n);
    const int64_t own = first * b->steps * b->dim;
    if (earlier) earlier += first * b->e * b->dim;
    b->tape->kernels->band_sums(&steps, y + own, earlier, x + own);
}

/* dearlier: written; dx: written or added to. */
static void sum_rows_back(const band *b, int64_t first, int64_t n, const flip_real *dy,
                          flip_real *dearlier, flip_real *dx, bool accumulate) {
    const flip_band_steps steps = steps_of(b, n);
    const int64_t own = first * b->steps * b->dim;
    if (dearlier) dearlier += first * b->e * b->dim;
    b->tape->kernels->band_sums_back(&steps, dy + own, dearlier, dx + own, accumulate);
}

/* ---- what is carried ---- */

/* Of the steps that the next block is left, so many are of the kept ones; the others are own. */
static int32_t left_of_kept(const band *b) {
    int32_t n = b->block_at - b->next_at;
    return n < 0 ? 0 : n < b->next ? n : b->next;
}

/* Where rows of the kept steps and of x begin with what is left. */
static int64_t kept_from(const band *b) {
    return (int64_t)(b->next_at - b->kept_at) * b->dim;
}
static int64_t own_from(const band *b) {
    return (int64_t)(b->next_at + left_of_kept(b) - b->block_at) * b->dim;
}

static void leave(const band *b, const flip_real *kept, const flip_real *x, flip_real *next) {
    const flip_kernels *kernels = b->tape->kernels;
    const int64_t d = b->dim, n = left_of_kept(b), own = b->next - n;
    if (n > 0)
        kernels->move(b->rows, n, d, next, b->next * d, d, kept + kept_from(b), b->kept * d, d,
                      false);
    if (own > 0)
        kernels->move(b->rows, own, d, next + n * d, b->next * d, d, x + own_from(b), b->steps * d,
                      d, false);
}

/* The next block's gradients of what it was left. */
static void take_back(const band *b, const flip_real *dnext, flip_real *dkept, flip_real *dx) {
    const flip_kernels *kernels = b->tape->kernels;
    const int64_t d = b->dim, n = left_of_kept(b), own = b->next - n;
    if (n > 0)
        kernels->move(b->rows, n, d, dkept + kept_from(b), b->kept * d, d, dnext, b->next * d, d,
                      true);
    if (own > 0)
        kernels->move(b->rows, own, d, dx + own_from(b), b->steps * d, d, dnext + n * d,
                      b->next * d, d, true);
}

/* ---- shape ---- */

static flip_status band_shape(const flip_tape *tape, const record *r, shape *out) {
    const flip_layout *l = tape->layout;
    FLIP_TRY(shape_same(tape, r, out));
    if (l && l->n_time > 1 && l->exchange == FLIP_EXCHANGE_WAVEFRONT)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "TM-GCN's band has no state to hand over; use "
                                           "--distribute window, time, grid or nodes");
    if (l && (out->rows != l->n_rows || out->steps != flip_layout_steps(l, tape->block)))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "[%d, %d] is not this block's [%d, %d]", out->rows,
                         out->steps, l->n_rows, flip_layout_steps(l, tape->block));
    return FLIP_OK;
}

/* ---- between the time layout and the node layout, slice by slice ---- */

/* Values of rows and steps in the node layout, of so many rows. */
static size_t of_rows(const band *b, int64_t rows) {
    return (size_t)(rows * b->steps * b->dim);
}

/* What is worked on, and what is made of it. */
typedef struct journey {
    flip_real *in, *out; /* in the node layout, pool memory */
    mirror from, arrived, made, to;
    size_t n; /* values of from and to */
} journey;

static flip_status begin_slice(const band *b, const journey *j, int32_t s) {
    return flip_layout_to_nodes_begin(b->layout, b->tape->block, s, b->dim, j->from.host);
}

/* from [n] sets out, of which `to` [n] shall be made. */
static flip_status journey_begin(const band *b, const flip_real *from, const flip_real *to,
                                 size_t n, journey *j) {
    flip_tape *tape = b->tape;
    const size_t all = of_rows(b, b->rows);
    j->n = n;
    FLIP_TRY(pool_alloc(tape->pool, &j->in, all * sizeof *j->in));
    FLIP_TRY(pool_alloc(tape->pool, &j->out, all * sizeof *j->out));
    FLIP_TRY(mirror_open(tape, &j->from, from, n));
    FLIP_TRY(mirror_open(tape, &j->arrived, j->in, all));
    FLIP_TRY(mirror_open(tape, &j->made, j->out, all));
    FLIP_TRY(mirror_open(tape, &j->to, to, n));
    mirror_receive(tape, &j->from, 0, n);
    return begin_slice(b, j, 0);
}

/* Slice s is there, rows *first … *first + *n - 1; the next one is on its way. */
static flip_status slice_arrives(const band *b, const journey *j, int32_t s, int32_t *first,
                                 int32_t *n) {
    flip_layout *l = b->layout;
    if (s + 1 < l->slices) FLIP_TRY(begin_slice(b, j, s + 1));
    FLIP_TRY(flip_layout_to_nodes_end(l, j->arrived.host));
    flip_layout_slice(l, s, l->n_own, first, n);
    mirror_send(b->tape, &j->arrived, of_rows(b, *first), of_rows(b, *n));
    return FLIP_OK;
}

/* What was made of slice s, which the host has, sets out once the slice before has come home. */
static flip_status slice_returns(const band *b, const journey *j, int32_t s) {
    flip_layout *l = b->layout;
    if (s > 0) FLIP_TRY(flip_layout_to_time_end(l));
    return flip_layout_to_time_begin(l, b->tape->block, s, b->dim, j->made.host, j->to.host);
}

static flip_status journey_end(const band *b, journey *j) {
    flip_tape *tape = b->tape;
    FLIP_TRY(flip_layout_to_time_end(b->layout));
    mirror_send(tape, &j->to, 0, j->n);
    mirror_close(tape, &j->from);
    mirror_close(tape, &j->arrived);
    mirror_close(tape, &j->made);
    mirror_close(tape, &j->to);
    return FLIP_OK;
}

static void journey_finish(const band *b, journey *j) {
    pool_free(b->tape->pool, j->in);
    pool_free(b->tape->pool, j->out);
}

/* ---- forward ---- */

/* x and y travel slice by slice; what the next block looks back at is taken from x on the way. */
static flip_status forward_moved(const band *b, const variable *x, const flip_real *earlier,
                                 flip_real *next, variable *out) {
    int32_t first, n;
    journey j;
    FLIP_TRY(journey_begin(b, x->value, out->value, (size_t)size_of(x), &j));
    for (int32_t s = 0; s < b->layout->slices; s++) {
        FLIP_TRY(slice_arrives(b, &j, s, &first, &n));
        sum_rows(b, first, n, earlier, j.in, j.out);
        mirror_receive(b->tape, &j.made, of_rows(b, first), of_rows(b, n));
        FLIP_TRY(slice_returns(b, &j, s));
    }
    FLIP_TRY(journey_end(b, &j));
    if (next) leave(b, earlier, j.in, next);
    journey_finish(b, &j);
    return FLIP_OK;
}

static flip_status forward_window(const band *b, const variable *x, const flip_real *kept,
                                  flip_real *next, variable *out) {
    flip_tape *tape = b->tape;
    const size_t n = (size_t)(b->rows * b->e * b->dim), size = (size_t)size_of(x);
    const size_t n_kept = (size_t)(b->rows * b->kept * b->dim);
    flip_real *earlier;
    mirror from, old, to;
    FLIP_TRY(pool_alloc(tape->pool, &earlier, n * sizeof *earlier));
    FLIP_TRY(mirror_open(tape, &from, x->value, size));
    FLIP_TRY(mirror_open(tape, &old, kept, n_kept));
    FLIP_TRY(mirror_open(tape, &to, earlier, n));
    mirror_receive(tape, &from, 0, size);
    mirror_receive(tape, &old, 0, n_kept);
    FLIP_TRY(flip_layout_window(b->layout, tape->block, b->window - 1, b->dim, old.host, from.host,
                                to.host));
    mirror_send(tape, &to, 0, n);
    sum_rows(b, 0, b->rows, earlier, x->value, out->value);
    mirror_close(tape, &from);
    mirror_close(tape, &old);
    mirror_close(tape, &to);
    pool_free(tape->pool, earlier);
    if (next) leave(b, kept, x->value, next);
    return FLIP_OK;
}

static flip_status band_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    band b = band_of(tape, r);
    FLIP_TRY(tape_output(tape, r, -1));
    FLIP_TRY(tape_carry(tape, r, carried(&b)));
    const flip_real *kept = tape_carry_state(tape, r);
    flip_real *next = tape_carry_next(tape, r);
    if (b.kept > 0 && !kept)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the steps before block %d were not carried",
                         tape->block);
    tape_traffic(tape, FLIP_STAGE_POINTWISE, (uint64_t)size_of(x) * 2 * sizeof(flip_real), 0);
    if (in_window(tape)) return forward_window(&b, x, kept, next, tape_out(tape, r));
    if (is_moved(tape)) return forward_moved(&b, x, kept, next, tape_out(tape, r));
    sum_rows(&b, 0, b.rows, kept, x->value, tape_out(tape, r)->value);
    if (next) leave(&b, kept, x->value, next);
    return FLIP_OK;
}

/* ---- backward ---- */

/* Gradients of the steps before the block: carried on when they were a block's. */
static flip_status backward_moved(const band *b, record *r, const flip_real *dnext,
                                  flip_real *dearlier) {
    const variable *out = tape_out(b->tape, r);
    const size_t size = (size_t)size_of(out);
    int32_t first, n;
    flip_real *back;
    journey j;
    FLIP_TRY(pool_alloc(b->tape->pool, &back, size * sizeof *back));
    FLIP_TRY(journey_begin(b, out->gradient, back, size, &j));
    for (int32_t s = 0; s < b->layout->slices; s++) {
        FLIP_TRY(slice_arrives(b, &j, s, &first, &n));
        sum_rows_back(b, first, n, j.in, dearlier, j.out, false);
    }
    if (dnext) take_back(b, dnext, dearlier, j.out);
    mirror_receive(b->tape, &j.made, 0, of_rows(b, b->rows));
    for (int32_t s = 0; s < b->layout->slices; s++)
        FLIP_TRY(slice_returns(b, &j, s));
    FLIP_TRY(journey_end(b, &j));
    journey_finish(b, &j);
    return tape_give_gradient(b->tape, r, 0, back);
}

/* What comes back is added to x's and the kept steps' gradients, on the host. */
static flip_status window_back(const band *b, const flip_real *dearlier, flip_real *dkept,
                               flip_real *dx) {
    flip_tape *tape = b->tape;
    const size_t n = (size_t)(b->rows * b->e * b->dim), size = of_rows(b, b->rows);
    const size_t n_kept = (size_t)(b->rows * b->kept * b->dim);
    mirror from, old, to;
    FLIP_TRY(mirror_open(tape, &from, dearlier, n));
    FLIP_TRY(mirror_open(tape, &old, dkept, n_kept));
    FLIP_TRY(mirror_open(tape, &to, dx, size));
    mirror_receive(tape, &from, 0, n);
    mirror_receive(tape, &old, 0, n_kept);
    mirror_receive(tape, &to, 0, size);
    FLIP_TRY(flip_layout_window_back(b->layout, tape->block, b->window - 1, b->dim, from.host,
                                     old.host, to.host));
    mirror_send(tape, &old, 0, n_kept);
    mirror_send(tape, &to, 0, size);
    mirror_close(tape, &from);
    mirror_close(tape, &old);
    mirror_close(tape, &to);
    return FLIP_OK;
}

static flip_status backward_window(const band *b, record *r, const flip_real *dnext,
                                   flip_real *dkept) {
    pool *p = b->tape->pool;
    flip_real *earlier;
    target to;
    FLIP_TRY(tape_gradient(b->tape, r, 0, &to));
    FLIP_TRY(pool_alloc(p, &earlier, (size_t)(b->rows * b->e * b->dim) * sizeof *earlier));
    b->tape->kernels->clear(dkept, (size_t)(b->rows * b->kept * b->dim) * sizeof *dkept);
    sum_rows_back(b, 0, b->rows, tape_out(b->tape, r)->gradient, earlier, to.gradient,
                  to.accumulate);
    if (dnext) take_back(b, dnext, dkept, to.gradient);
    FLIP_TRY(window_back(b, earlier, dkept, to.gradient));
    pool_free(p, earlier);
    return FLIP_OK;
}

static flip_status band_walk(const band *b, record *r, const flip_real *dnext, flip_real *dkept) {
    target to;
    if (in_window(b->tape)) return backward_window(b, r, dnext, dkept);
    if (is_moved(b->tape)) return backward_moved(b, r, dnext, dkept);
    FLIP_TRY(tape_gradient(b->tape, r, 0, &to));
    sum_rows_back(b, 0, b->rows, tape_out(b->tape, r)->gradient, dkept, to.gradient, to.accumulate);
    if (dnext) take_back(b, dnext, dkept, to.gradient);
    return FLIP_OK;
}

static flip_status band_backward(flip_tape *tape, record *r) {
    band b = band_of(tape, r);
    const flip_real *dnext = tape_carry_gradient(tape, r);
    flip_real *given = tape_carry_give(tape, r), *dkept;
    size_t bytes = (size_t)(b.rows * b.kept * b.dim) * sizeof *dkept;
    if (!tape_in(tape, r, 0)->needs_gradient) return FLIP_OK;
    FLIP_TRY(pool_alloc(tape->pool, &dkept, bytes)); /* given is dnext's memory */
    FLIP_TRY(band_walk(&b, r, dnext, dkept));
    if (given) tape->kernels->copy(given, dkept, bytes);
    pool_free(tape->pool, dkept);
    return FLIP_OK;
}

const operator_row op_band = {.name = "band",
                              .stage = FLIP_STAGE_POINTWISE,
                              .inputs = 1,
                              .carries = true,
                              .shape = band_shape,
                              .forward = band_forward,
                              .backward = band_backward};

flip_var flip_band(flip_tape *tape, flip_var x, int32_t window) {
    record r = tape_record(OP_BAND);
    r.in[0] = x;
    r.count = window;
    return tape_apply(tape, &r);
}
