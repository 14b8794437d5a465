/* An LSTM chunk by chunk of rows, where the machine does a step's products and cells in one pass
 * (flip_lstm_kernels). Nothing is copied where all steps of a chunk are held at once:
 *
 *     forward   x, x2 and y are read and written where they lie
 *     backward  step by step dG = cells(gates), dh = dG Wh^T; then of all steps together, whose
 *               rows follow each other in x, x2, dG and a copy of h before,
 *               dW += [x x2 h]^T dG,  dx = dG Wx^T
 *
 * Where x2 is packed its rows are decoded beside them, a group at a time.
 *
 * More steps than a chunk holds go group by group, their x and dx through copies. Kept gates and
 * cells stand [chunk][step][rows]: a step reads one stretch. Gradients of weights are summed in
 * double over a span of chunks; spans are added in ascending order. */
#include "recurrent.h"

#include <omp.h>
#include <string.h>

/* Rows of a chunk: whole strips of products; chunks of a span: enough spans for all threads. */
enum { CHUNK = FLIP_LSTM_CHUNK, SPAN_MOST = 8, SPANS = 16 };

static int64_t span_rows(int64_t rows) {
    int64_t chunks = rows / (SPANS * CHUNK);
    return CHUNK * (chunks < 1 ? 1 : chunks > SPAN_MOST ? SPAN_MOST : chunks);
}

/* Steps of a group: their gates' gradients take half of a second-level cache, and no more do rows
 * that are decoded for it; groups are about equal. */
static int64_t group_steps(const recurrent *j) {
    const int64_t wide = j->coded && j->dim[1] > j->width ? j->dim[1] : j->width;
    int64_t most = FLIP_RECURRENT_GROUP / (CHUNK * wide * (int64_t)sizeof(flip_real));
    return recurrent_even_groups(j->steps, most);
}

/* ---- working memory ---- */

typedef struct scratch {
    flip_real *base;    /* [chunk, width] constant columns' product + b */
    flip_real *c;       /* [chunk, H] forward, where cells are not kept */
    flip_real *staging; /* of flip_lstm_kernels */
    flip_real *x2;      /* [chunk, group, dim[1]] where it is packed */
    /* backward */
    flip_real *gates;    /* [group, chunk, width] made anew */
    flip_real *dgates;   /* [chunk, group, width] */
    flip_real *h_before; /* [chunk, group, H] */
    flip_real *part[2];  /* [chunk, group, dim] of x or dx, where a group is not all steps */
    flip_real *sum;      /* [chunk, width] gates' gradients over all steps, for constant columns */
    flip_real *dh, *dc;  /* [chunk, H] */
    recurrent_sums sums;
} scratch;

static size_t lay_out(const recurrent *j, scratch *s, char *base, bool backward) {
    char *at = base;
    const int64_t h = j->hidden, group = CHUNK * group_steps(j), gates = CHUNK * j->width;
    const bool parts = group_steps(j) < j->steps;
    *s = (scratch){0};
    s->base = recurrent_carve(&at, j->constant > 0 ? gates : 0, sizeof *s->base);
    s->c = recurrent_carve(&at, CHUNK * h, sizeof *s->c);
    s->staging = recurrent_carve(&at, j->fused->work_values(j->dim, h), sizeof *s->staging);
    s->x2 = recurrent_carve(&at, j->coded ? group * j->dim[1] : 0, sizeof *s->x2);
    if (!backward) return (size_t)(at - base);
    s->gates = recurrent_carve(&at, j->gates ? 0 : group * j->width, sizeof *s->gates);
    s->dgates = recurrent_carve(&at, group * j->width, sizeof *s->dgates);
    s->h_before = recurrent_carve(&at, group * h, sizeof *s->h_before);
    for (int i = 0; i < 2; i++)
        s->part[i] = recurrent_carve(&at, parts ? group * j->dim[i] : 0, sizeof *s->part[i]);
    s->sum = recurrent_carve(&at, j->constant > 0 ? gates : 0, sizeof *s->sum);
    s->dh = recurrent_carve(&at, CHUNK * h, sizeof *s->dh);
    s->dc = recurrent_carve(&at, CHUNK * h, sizeof *s->dc);
    recurrent_carve_sums(j, &at, &s->sums);
    return (size_t)(at - base);
}

flip_status lstm_open(recurrent *j, bool backward) {
    scratch s;
    pool *p = j->tape->pool;
    const int64_t values = j->fused->packed_values(j->dim, j->hidden),
                  back = backward ? j->fused->packed_back_values(j->hidden) : 0;
    j->work_size = lay_out(j, &s, NULL, backward);
    FLIP_TRY(pool_alloc(p, &j->packed, (size_t)(values + back) * sizeof *j->packed));
    j->back = j->packed + values;
    j->fused->pack(j->dim, j->hidden, j->weight, j->packed);
    if (backward) j->fused->pack_back(j->hidden, j->turned + j->inputs, j->k, j->back);
    return pool_alloc(p, &j->work, (size_t)omp_get_max_threads() * j->work_size);
}

static scratch my_scratch(const recurrent *j, bool backward) {
    scratch s;
    lay_out(j, &s, (char *)j->work + (size_t)omp_get_thread_num() * j->work_size, backward);
    return s;
}

/* ---- rows of a group ---- */

static int64_t columns_of(const recurrent *j, int i) {
    return j->dim[i] + (i ? j->constant : 0);
}

/* The group in x or x2, without constant columns; packed rows are decoded already. */
static flip_lstm_block input_of(const recurrent *j, const scratch *s, const group *g, int i) {
    const int64_t wide = columns_of(j, i);
    if (i == 1 && j->coded) return (flip_lstm_block){s->x2, g->n * wide, wide};
    flip_lstm_block b = {.row = j->steps * wide, .step = wide};
    if (j->dim[i] > 0)
        b.at = (flip_real *)j->x[i] + g->first * b.row + g->begin * wide + wide - j->dim[i];
    return b;
}

/* The group in an array [rows, steps, H]. */
static flip_lstm_block states_of(const recurrent *j, const group *g, const flip_real *array) {
    const int64_t h = j->hidden;
    return (flip_lstm_block){(flip_real *)array + (g->first * j->steps + g->begin) * h,
                             j->steps * h, h};
}

/* The group in a kept array of n values a row and step. */
static flip_real *kept(const recurrent *j, const group *g, flip_real *array, int64_t n) {
    return array ? array + (g->first * j->steps + g->begin * g->m) * n : NULL;
}

/* h before the group. */
static flip_lstm_block h_before(const recurrent *j, const group *g) {
    const int64_t h = j->hidden;
    const flip_lstm_block own = states_of(j, g, j->y);
    if (g->begin > 0) return (flip_lstm_block){own.at - h, own.row, h};
    return (flip_lstm_block){j->begin[0] ? (flip_real *)j->begin[0] + g->first * h : NULL, h, 0};
}

static group first_group(const recurrent *j, int64_t first, int64_t m) {
    const int64_t most = group_steps(j);
    return (group){first, m, 0, most < j->steps ? most : j->steps};
}

/* ---- forward ---- */

/* c before the group's first step: of the kept group before, or as the last group left it. */
static flip_lstm_block c_before(const recurrent *j, const scratch *s, const group *g) {
    const int64_t h = j->hidden;
    if (g->begin == 0)
        return (flip_lstm_block){j->begin[1] ? (flip_real *)j->begin[1] + g->first * h : NULL, h,
                                 0};
    if (!j->cells) return (flip_lstm_block){s->c, h, 0};
    return (flip_lstm_block){kept(j, g, j->cells, h) - g->m * h, h, 0};
}

/* Writes y, and c and gates where they are kept; what stands there already is written again alike.
 */
static void forward_group(const recurrent *j, const scratch *s, const group *g, flip_real *gates,
                          bool stream) {
    const int64_t h = j->hidden;
    const bool fixed = j->constant > 0;
    flip_lstm_rows r = {.m = g->m,
                        .steps = g->n,
                        .hidden = h,
                        .dim = {j->dim[0], j->dim[1]},
                        .x = {input_of(j, s, g, 0), input_of(j, s, g, 1)},
                        .packed = j->packed,
                        .bias = fixed ? s->base : j->bias[0],
                        .bias_step = fixed ? j->width : 0,
                        .h_before = h_before(j, g),
                        .c_before = c_before(j, s, g),
                        .y = states_of(j, g, j->y),
                        .c = {s->c, h, 0},
                        .gates = {gates, j->width, g->m * j->width},
                        .stream = stream,
                        .work = s->staging};
    if (j->cells) r.c = (flip_lstm_block){kept(j, g, j->cells, h), h, g->m * h};
    j->fused->forward(&r);
}

static void forward_chunk(const recurrent *j, int64_t first, int64_t m) {
    const int64_t h = j->hidden;
    const scratch s = my_scratch(j, false);
    group g = first_group(j, first, m);
    recurrent_constant(j, first, m, s.base);
    for (; g.begin < j->steps; g.begin += g.n) {
        if (j->steps - g.begin < g.n) g.n = j->steps - g.begin;
        recurrent_decode(j, &g, s.x2);
        forward_group(j, &s, &g, kept(j, &g, j->gates, j->width), true);
    }
    const group end = {first, m, j->steps, group_steps(j)};
    const flip_lstm_block y = h_before(j, &end);
    const flip_real *c = j->cells ? kept(j, &end, j->cells, h) - m * h : s.c;
    if (j->end[0]) recurrent_copy(j, m, h, j->end[0] + first * h, h, y.at, y.row);
    if (j->end[1]) recurrent_copy(j, m, h, j->end[1] + first * h, h, c, h);
}

flip_status lstm_forward(recurrent *j, int64_t first, int64_t rows) {
    j->status = FLIP_OK;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i += CHUNK) {
        forward_chunk(j, first + i, rows - i < CHUNK ? rows - i : CHUNK);
        recurrent_keep_moving(j);
    }
    return j->status;
}

/* ---- backward ---- */

/* dG of step t of the group, out of the gates, and dh of the step before. */
static void cells_back(const recurrent *j, const scratch *s, const group *g, flip_real *gates,
                       int64_t t) {
    const int64_t h = j->hidden, w = j->width;
    flip_lstm_block dy = states_of(j, g, j->dy), c = {kept(j, g, j->cells, h), h, g->m * h},
                    soon = states_of(j, g, j->y);
    dy.at += t * h;
    c.at += t * c.step;
    soon.at += t * h;
    const flip_lstm_cells back = {.m = g->m,
                                  .hidden = h,
                                  .back = j->back,
                                  .gates = {gates + t * g->m * w, w, g->m * w},
                                  .dgates = {s->dgates + t * w, g->n * w, w},
                                  .c_before = t > 0 ? (flip_lstm_block){c.at - c.step, h, c.step}
                                                    : c_before(j, s, g),
                                  .c = c,
                                  .dy = dy,
                                  .dh = s->dh,
                                  .dc = s->dc,
                                  .sum = j->constant > 0 ? s->sum : NULL,
                                  .soon = soon,
                                  .more = t > 0,
                                  .work = s->staging};
    j->fused->backward(&back);
}

/* A copy of h before every step of the group. */
static void copy_states(const recurrent *j, const scratch *s, const group *g) {
    const int64_t h = j->hidden, row = g->n * h;
    const flip_lstm_block y = states_of(j, g, j->y), before = h_before(j, g);
    for (int64_t i = 0; i < g->m; i++) {
        flip_real *to = s->h_before + i * row;
        if (before.at)
            memcpy(to, before.at + i * before.row, (size_t)h * sizeof *to);
        else
            memset(to, 0, (size_t)h * sizeof *to);
        memcpy(to + h, y.at + i * y.row, (size_t)(row - h) * sizeof *to);
    }
}

/* The group's rows of x or x2 with all their steps `ld` apart: where they lie, or copied. */
static const flip_real *input_rows(const recurrent *j, const scratch *s, const group *g, int i,
                                   int64_t *ld) {
    const flip_lstm_block x = input_of(j, s, g, i);
    const int64_t dim = j->dim[i];
    *ld = x.step;
    if (g->n == j->steps || (i == 1 && j->coded)) return x.at;
    *ld = dim;
    j->tape->kernels->move(g->m, g->n, dim, s->part[i], g->n * dim, dim, x.at, x.row, x.step,
                           false);
    return s->part[i];
}

static void weights_back(const recurrent *j, const scratch *s, const group *g) {
    const int64_t w = j->width, h = j->hidden, rows = g->m * g->n;
    double *to = s->sums.weight;
    for (int i = 0; i < 2; to += j->dim[i++] * w) {
        int64_t ld;
        if (j->dim[i] == 0) continue;
        const flip_real *x = input_rows(j, s, g, i, &ld);
        j->tape->gemm_tn(rows, w, j->dim[i], x, ld, s->dgates, w, to, w);
    }
    j->tape->gemm_tn(rows, w, h, s->h_before, h, s->dgates, w, to, w);
    if (j->constant == 0) j->tape->kernels->column_sums(rows, w, s->dgates, w, s->sums.bias);
}

/* After all that reads x: dx may stand in its place. */
static void inputs_back(const recurrent *j, const scratch *s, const group *g) {
    const int64_t w = j->width, rows = g->m * g->n;
    int64_t column = 0;
    for (int i = 0; i < 2; column += j->dim[i++]) {
        const int64_t dim = j->dim[i], all = j->steps * dim;
        if (!j->dx[i]) continue;
        flip_real *to = j->dx[i] + g->first * all + g->begin * dim;
        const bool whole = g->n == j->steps;
        const flip_epilogue e = {.accumulate = whole && j->add[i]};
        j->tape->gemm_nn(rows, dim, w, s->dgates, w, j->turned + column, j->k,
                         whole ? to : s->part[i], dim, &e);
        if (!whole)
            j->tape->kernels->move(g->m, g->n, dim, to, all, dim, s->part[i], g->n * dim, dim,
                                   j->add[i]);
    }
}

static void backward_group(const recurrent *j, const scratch *s, const group *g) {
    const int64_t w = j->width;
    flip_real *gates = kept(j, g, j->gates, w);
    recurrent_decode(j, g, s->x2);
    if (!gates) {
        gates = s->gates;
        forward_group(j, s, g, gates, false);
    }
    for (int64_t t = g->n - 1; t >= 0; t--)
        cells_back(j, s, g, gates, t);
    copy_states(j, s, g);
    weights_back(j, s, g);
    inputs_back(j, s, g);
}

static void backward_chunk(const recurrent *j, const scratch *s, int64_t first, int64_t m) {
    const int64_t h = j->hidden, most = group_steps(j);
    if (j->constant > 0) memset(s->sum, 0, (size_t)(m * j->width) * sizeof *s->sum);
    if (!j->gates) recurrent_constant(j, first, m, s->base);
    recurrent_copy(j, m, h, s->dh, h, j->dend[0] ? j->dend[0] + first * h : NULL, h);
    recurrent_copy(j, m, h, s->dc, h, j->dend[1] ? j->dend[1] + first * h : NULL, h);
    for (int64_t begin = (j->steps - 1) / most * most; begin >= 0; begin -= most) {
        const group g = {first, m, begin, j->steps - begin < most ? j->steps - begin : most};
        backward_group(j, s, &g);
    }
    recurrent_constant_back(j, first, m, s->sum, &s->sums);
    if (j->dbegin[0]) recurrent_copy(j, m, h, j->dbegin[0] + first * h, h, s->dh, h);
    if (j->dbegin[1]) recurrent_copy(j, m, h, j->dbegin[1] + first * h, h, s->dc, h);
}

flip_status lstm_backward(recurrent *j, int64_t first, int64_t rows) {
    const int64_t span = span_rows(rows);
    j->status = FLIP_OK;
#pragma omp parallel for ordered schedule(static, 1)
    for (int64_t i = 0; i < rows; i += span) {
        const scratch s = my_scratch(j, true);
        const int64_t end = rows - i < span ? rows : i + span;
        recurrent_clear_sums(j, &s.sums);
        for (int64_t at = i; at < end; at += CHUNK) {
            backward_chunk(j, &s, first + at, end - at < CHUNK ? end - at : CHUNK);
            recurrent_keep_moving(j);
        }
#pragma omp ordered
        recurrent_add_sums(j, &s.sums);
    }
    return j->status;
}
