/* LSTM and GRU, chunk of rows by chunk of rows.
 *
 * A chunk's rows go through all steps while weights and gates stay in the second-level cache:
 *
 *     A_t = [x_t, x2_t, h_{t-1}]   G = A_t [Wx; Wh] + b   ─cell─▶ c_t, h_t ─▶ y_t and A_{t+1}
 *
 * Rows stand [rows, steps, …] in memory, where a step's rows lie far apart: a chunk reads and
 * writes a group of steps at once, row by row, which is one long stretch, and holds an A for each
 * of them.
 *
 * Columns of x2 that are the same at every step are multiplied once a chunk, their product stands
 * in b's place; their weights' gradient is that of the gates' summed over the steps.
 *
 * Backward likewise from the last step to the first, with dA = dG [Wx; Wh]^T in one product, which
 * takes A's place and whose last columns are the share of dh_{t-1}. A GRU's reset gate acts after
 * the product with Wh, so there the two products stay apart. Weight gradients of a chunk are summed
 * in double over its steps; chunks are added in ascending order. Where gates were not kept,
 * backward makes them anew from x, h and c: one product more.
 *
 * Where x2 is packed a group's rows of it are decoded before they are staged.
 *
 * An LSTM goes another way where the machine does a step's products and cells in one pass:
 * recurrent_lstm.c. */
#include "recurrent.h"

#include <omp.h>

/* ---- what both ways share ---- */

int64_t recurrent_even_groups(int64_t steps, int64_t most) {
    if (most < 1) most = 1;
    int64_t groups = (steps + most - 1) / most;
    return groups > 0 ? (steps + groups - 1) / groups : 1;
}

void *recurrent_carve(char **at, int64_t values, size_t size) {
    void *here = *at;
    *at += ((size_t)values * size + 63) / 64 * 64;
    return here;
}

static int64_t biases(const recurrent *j) {
    return j->gru ? 2 : 1;
}

void recurrent_carve_sums(const recurrent *j, char **at, recurrent_sums *s) {
    s->weight = recurrent_carve(at, j->k * j->width, sizeof *s->weight);
    s->fixed = recurrent_carve(at, j->constant * j->width, sizeof *s->fixed);
    s->bias = recurrent_carve(at, biases(j) * j->width, sizeof *s->bias);
}

void recurrent_clear_sums(const recurrent *j, const recurrent_sums *s) {
    const flip_kernels *kernels = j->tape->kernels;
    kernels->clear(s->weight, (size_t)(j->k * j->width) * sizeof *s->weight);
    kernels->clear(s->fixed, (size_t)(j->constant * j->width) * sizeof *s->fixed);
    kernels->clear(s->bias, (size_t)(biases(j) * j->width) * sizeof *s->bias);
}

void recurrent_add_sums(const recurrent *j, const recurrent_sums *s) {
    const flip_kernels *kernels = j->tape->kernels;
    const int64_t head = j->dim[0] * j->width, constant = j->constant * j->width;
    const int64_t inputs = j->inputs * j->width;
    kernels->add_doubles(head, j->dweight[0], s->weight);
    kernels->add_doubles(constant, j->dweight[0] + head, s->fixed);
    kernels->add_doubles(inputs - head, j->dweight[0] + head + constant, s->weight + head);
    kernels->add_doubles(j->hidden * j->width, j->dweight[1], s->weight + inputs);
    for (int64_t b = 0; b < biases(j); b++)
        if (j->dbias[b]) kernels->add_doubles(j->width, j->dbias[b], s->bias + b * j->width);
}

void recurrent_copy(const recurrent *j, int64_t m, int64_t n, flip_real *to, int64_t to_step,
                    const flip_real *from, int64_t from_step) {
    j->tape->kernels->move(m, 1, n, to, to_step, n, from, from_step, n, false);
}

/* A failure is told when all chunks are done. */
void recurrent_decode(const recurrent *j, const group *g, flip_real *to) {
    flip_status status;
    if (!j->coded) return;
    status = tape_decode_steps(j->coded, j->tape->kernels, g->first, g->m, g->begin, g->n, to);
    if (status == FLIP_OK) return;
#pragma omp atomic write
    ((recurrent *)j)->status = status;
}

/* x2 of row `first`, and how far its rows stand apart. */
static const flip_real *constant_rows(const recurrent *j, int64_t first, int64_t *step) {
    *step = j->steps * (j->constant + j->dim[1]);
    return j->x[1] + first * *step;
}

void recurrent_constant(const recurrent *j, int64_t first, int64_t m, flip_real *base) {
    int64_t step;
    if (j->constant == 0) return;
    const flip_real *x = constant_rows(j, first, &step);
    const flip_epilogue e = {.bias = j->bias[0]};
    j->tape->gemm_nn(m, j->width, j->constant, x, step, j->fixed, j->width, base, j->width, &e);
}

void recurrent_constant_back(const recurrent *j, int64_t first, int64_t m, const flip_real *sum,
                             const recurrent_sums *s) {
    int64_t step;
    if (j->constant == 0) return;
    const flip_real *x = constant_rows(j, first, &step);
    j->tape->gemm_tn(m, j->width, j->constant, x, step, sum, j->width, s->fixed, j->width);
    j->tape->kernels->column_sums(m, j->width, sum, j->width, s->bias);
}

/* Messages move on between chunks; MPI hears the first thread only. */
void recurrent_keep_moving(recurrent *j) {
    if (!j->layout || omp_get_thread_num() != 0) return;
    flip_status status = flip_layout_progress(j->layout);
    if (status != FLIP_OK) j->status = status;
}

/* ---- chunks and groups ---- */

/* Rows of a chunk: multiples of the products' strips; enough chunks for all threads, from the rows
 * alone. On a GPU one thread of the host does all chunks, one after the other, each with about as
 * many rows as its second-level cache holds. */
enum { CHUNK = FLIP_RECURRENT_CHUNK, CHUNK_LEAST = 84, CHUNKS = 16 };
enum { DEVICE_CHUNK = FLIP_RECURRENT_DEVICE_CHUNK, DEVICE_LEAST = 128 };

static bool on_device(const recurrent *j) {
    return j->tape->kernels->on_device;
}

static int64_t chunk_rows(const recurrent *j, int64_t rows) {
    if (on_device(j)) {
        int64_t chunks = (rows + DEVICE_CHUNK - 1) / DEVICE_CHUNK;
        int64_t each = chunks > 0 ? (rows + chunks - 1) / chunks : 1;
        return (each + DEVICE_LEAST - 1) / DEVICE_LEAST * DEVICE_LEAST;
    }
    int64_t n = (rows / CHUNKS + CHUNK_LEAST - 1) / CHUNK_LEAST * CHUNK_LEAST;
    return n < CHUNK_LEAST ? CHUNK_LEAST : n > CHUNK ? CHUNK : n;
}

/* Most rows of a chunk of this rank's. */
static int64_t most_rows(const recurrent *j) {
    return on_device(j) ? chunk_rows(j, j->rows) : CHUNK;
}

/* Steps of a group: their A's take half of a second-level cache (a GPU's: some of its memory);
 * groups are about equal. */
static int64_t group_steps(const recurrent *j) {
    int64_t bytes = most_rows(j) * (j->k + j->hidden) * (int64_t)sizeof(flip_real);
    int64_t most = (on_device(j) ? FLIP_RECURRENT_DEVICE_GROUP : FLIP_RECURRENT_GROUP) / bytes;
    return recurrent_even_groups(j->steps, most);
}

/* A thread's working memory. */
typedef struct scratch {
    flip_real *a;      /* [group + 1, chunk, k] */
    flip_real *x2;     /* [chunk, group, dim[1]] where it is packed */
    flip_real *dy;     /* [group, chunk, H] backward only */
    flip_real *gates;  /* [chunk, width] */
    flip_real *base;   /* [chunk, width] constant columns' product + b */
    flip_real *sum;    /* [chunk, width] gates' gradients over all steps, for them */
    flip_real *hidden; /* [chunk, width] GRU: h Wh + bh */
    flip_real *h;      /* [chunk, H] */
    flip_real *c[2];   /* [chunk, H] */
    flip_real *dh;     /* [chunk, H] */
    flip_real *dc;     /* [chunk, H] */
    recurrent_sums sums;
} scratch;

static size_t lay_out(const recurrent *j, scratch *s, char *base) {
    char *at = base;
    const int64_t chunk = most_rows(j), group = group_steps(j);
    int64_t gates = chunk * j->width, row = chunk * j->hidden;
    s->a = recurrent_carve(&at, (group + 1) * chunk * j->k, sizeof *s->a);
    s->x2 = recurrent_carve(&at, j->coded ? group * chunk * j->dim[1] : 0, sizeof *s->x2);
    s->dy = recurrent_carve(&at, group * row, sizeof *s->dy);
    s->gates = recurrent_carve(&at, gates, sizeof *s->gates);
    s->base = recurrent_carve(&at, j->constant > 0 ? gates : 0, sizeof *s->base);
    s->sum = recurrent_carve(&at, j->constant > 0 ? gates : 0, sizeof *s->sum);
    s->hidden = recurrent_carve(&at, j->gru ? gates : 0, sizeof *s->hidden);
    s->h = recurrent_carve(&at, row, sizeof *s->h);
    s->c[0] = recurrent_carve(&at, row, sizeof *s->h);
    s->c[1] = recurrent_carve(&at, row, sizeof *s->h);
    s->dh = recurrent_carve(&at, row, sizeof *s->dh);
    s->dc = recurrent_carve(&at, row, sizeof *s->dc);
    recurrent_carve_sums(j, &at, &s->sums);
    return (size_t)(at - base);
}

static void add_rows(const recurrent *j, int64_t m, int64_t n, flip_real *to, int64_t to_step,
                     const flip_real *from, int64_t from_step) {
    j->tape->kernels->move(m, 1, n, to, to_step, n, from, from_step, n, true);
}

flip_status recurrent_open(recurrent *j, bool backward) {
    scratch s;
    flip_real *weight, *turned = NULL;
    const flip_real *part[2] = {j->weight, j->turned}; /* Wx, Wh as the parameters have them */
    pool *p = j->tape->pool;
    FLIP_TRY(pool_alloc(p, &weight, (size_t)(j->k * j->width) * sizeof *weight));
    const int64_t head = j->dim[0] * j->width, skipped = head + j->constant * j->width;
    recurrent_copy(j, 1, head, weight, 0, part[0], 0);
    recurrent_copy(j, 1, j->dim[1] * j->width, weight + head, 0, part[0] + skipped, 0);
    recurrent_copy(j, 1, j->hidden * j->width, weight + j->inputs * j->width, 0, part[1], 0);
    j->weight = weight;
    j->fixed = part[0] + head;
    if (backward) {
        FLIP_TRY(pool_alloc(p, &turned, (size_t)(j->k * j->width) * sizeof *turned));
        j->tape->kernels->move(j->k, j->width, 1, turned, 1, j->k, weight, j->width, 1, false);
    }
    j->turned = turned;
    if (j->fused) return lstm_open(j, backward);
    j->work_size = lay_out(j, &s, NULL);
    const size_t threads = on_device(j) ? 1 : (size_t)omp_get_max_threads();
    return pool_alloc(p, &j->work, threads * j->work_size);
}

void recurrent_close(recurrent *j) {
    pool_free(j->tape->pool, (void *)j->weight);
    pool_free(j->tape->pool, (void *)j->turned);
    pool_free(j->tape->pool, j->packed);
    pool_free(j->tape->pool, j->work);
}

static scratch my_scratch(const recurrent *j) {
    scratch s;
    lay_out(j, &s, (char *)j->work + (size_t)omp_get_thread_num() * j->work_size);
    return s;
}

/* ---- rows in and out ---- */

/* A of the group's step t. */
static flip_real *a_of(const recurrent *j, const scratch *s, const group *g, int64_t t) {
    return s->a + (t - g->begin) * g->m * j->k;
}

/* Where [rows, steps, dim] has the group's first row, step `begin`. */
static int64_t first_at(const recurrent *j, const group *g, int64_t dim) {
    return (g->first * j->steps + g->begin) * dim;
}

/* to[t, i, :] = from[rows, steps, skipped + dim] of the group, without the first columns; to's rows
 * stand `step` apart. */
static void gather_group(const recurrent *j, const group *g, int64_t skipped, int64_t dim,
                         const flip_real *from, flip_real *to, int64_t step) {
    const int64_t wide = skipped + dim;
    j->tape->kernels->move(g->m, g->n, dim, to, step, g->m * step,
                           from + first_at(j, g, wide) + skipped, j->steps * wide, wide, false);
}

/* The other way, or added. */
static void scatter_group(const recurrent *j, const group *g, int64_t dim, const flip_real *from,
                          int64_t step, flip_real *to, bool add) {
    j->tape->kernels->move(g->m, g->n, dim, to + first_at(j, g, dim), j->steps * dim, dim, from,
                           step, g->m * step, add);
}

static void stage_inputs(const recurrent *j, const scratch *s, const group *g) {
    const int64_t dim = j->dim[0], dim2 = j->dim[1];
    if (dim > 0) gather_group(j, g, 0, dim, j->x[0], s->a, j->k);
    if (dim2 == 0) return;
    recurrent_decode(j, g, s->x2);
    if (j->coded)
        j->tape->kernels->move(g->m, g->n, dim2, s->a + dim, j->k, g->m * j->k, s->x2, g->n * dim2,
                               dim2, false);
    else
        gather_group(j, g, j->constant, dim2, j->x[1], s->a + dim, j->k);
}

/* The last columns of the first A: h before step 0. */
static void stage_begin(const recurrent *j, const scratch *s, const group *g) {
    const int64_t h = j->hidden;
    recurrent_copy(j, g->m, h, s->a + j->inputs, j->k,
                   j->begin[0] ? j->begin[0] + g->first * h : NULL, h);
}

/* The last columns of every A, out of y. */
static void stage_states(const recurrent *j, const scratch *s, const group *g) {
    group before = *g;
    flip_real *to = s->a + j->inputs;
    if (g->begin == 0) {
        stage_begin(j, s, g);
        to += g->m * j->k;
        before.n--;
    } else {
        before.begin--;
    }
    gather_group(j, &before, 0, j->hidden, j->y, to, j->k);
}

/* ---- forward ---- */

/* What the cell of step t begins with, out of A: gates (and hidden). */
static void multiply(const recurrent *j, const scratch *s, int64_t m, const flip_real *a,
                     flip_real *gates) {
    int64_t split = j->gru ? j->inputs : j->k;
    flip_epilogue e = {.bias = j->bias[0]}, e2 = {.bias = j->bias[1]};
    if (j->constant > 0) e = (flip_epilogue){.bias = s->base, .bias_step = j->width};
    j->tape->gemm_nn(m, j->width, split, a, j->k, j->weight, j->width, gates, j->width, &e);
    if (j->gru)
        j->tape->gemm_nn(m, j->width, j->hidden, a + split, j->k, j->weight + split * j->width,
                         j->width, s->hidden, j->width, &e2);
}

/* The place of step t in a kept array of n values a row. */
static flip_real *kept(const recurrent *j, flip_real *array, int64_t first, int64_t m, int64_t t,
                       int64_t n) {
    return array ? array + (first * j->steps + t * m) * n : NULL;
}

/* The cell of step t: h into the next A; returns c. */
static const flip_real *forward_step(const recurrent *j, const scratch *s, const group *g,
                                     int64_t t, const flip_real *before) {
    const flip_kernels *kernels = j->tape->kernels;
    const int64_t h = j->hidden, m = g->m;
    flip_real *a = a_of(j, s, g, t), *gates = kept(j, j->gates, g->first, m, t, j->width),
              *cell = kept(j, j->cells, g->first, m, t, h);
    if (!gates) gates = s->gates;
    multiply(j, s, m, a, gates);
    if (j->gru) {
        kernels->gru_forward(m, h, gates, s->hidden, a + j->inputs, j->k, s->h, h);
        if (cell) recurrent_copy(j, m, h, cell, h, s->hidden + 2 * h, j->width);
    } else {
        if (!cell) cell = s->c[t % 2];
        kernels->lstm_forward(m, h, gates, before, h, cell, s->h, h);
    }
    recurrent_copy(j, m, h, a + m * j->k + j->inputs, j->k, s->h, h);
    return cell;
}

static void forward_chunk(const recurrent *j, int64_t first, int64_t m) {
    const int64_t h = j->hidden, most = group_steps(j);
    scratch s = my_scratch(j);
    const flip_real *before = j->begin[1] ? j->begin[1] + first * h : NULL;
    group g = {.first = first, .m = m};
    stage_begin(j, &s, &g);
    recurrent_constant(j, first, m, s.base);
    for (; g.begin < j->steps; g.begin += g.n) {
        g.n = j->steps - g.begin < most ? j->steps - g.begin : most;
        stage_inputs(j, &s, &g);
        for (int64_t t = g.begin; t < g.begin + g.n; t++)
            before = forward_step(j, &s, &g, t, before);
        scatter_group(j, &g, h, s.a + m * j->k + j->inputs, j->k, j->y, false);
        recurrent_copy(j, m, h, s.a + j->inputs, j->k, a_of(j, &s, &g, g.begin + g.n) + j->inputs,
                       j->k);
    }
    if (j->end[0]) recurrent_copy(j, m, h, j->end[0] + first * h, h, s.a + j->inputs, j->k);
    if (j->end[1]) recurrent_copy(j, m, h, j->end[1] + first * h, h, before, h);
}

flip_status recurrent_forward(recurrent *j, int64_t first, int64_t rows) {
    int64_t chunk = chunk_rows(j, rows);
    if (j->fused) return lstm_forward(j, first, rows);
    j->status = FLIP_OK;
#pragma omp parallel for schedule(static) if (!on_device(j))
    for (int64_t i = 0; i < rows; i += chunk) {
        forward_chunk(j, first + i, rows - i < chunk ? rows - i : chunk);
        recurrent_keep_moving(j);
    }
    return j->status;
}

/* ---- backward ---- */

/* c before step t. */
static const flip_real *cell_before(const recurrent *j, int64_t first, int64_t m, int64_t t) {
    if (t > 0) return kept(j, j->cells, first, m, t - 1, j->hidden);
    return j->begin[1] ? j->begin[1] + first * j->hidden : NULL;
}

/* The activated gates of step t: kept, or made anew from A. */
static flip_real *find_gates(const recurrent *j, const scratch *s, const group *g, int64_t t) {
    const flip_kernels *kernels = j->tape->kernels;
    const int64_t h = j->hidden, first = g->first, m = g->m;
    const flip_real *a = a_of(j, s, g, t);
    flip_real *gates = kept(j, j->gates, first, m, t, j->width);
    if (gates) {
        if (j->gru)
            recurrent_copy(j, m, h, s->hidden + 2 * h, j->width, kept(j, j->cells, first, m, t, h),
                           h);
        return gates;
    }
    multiply(j, s, m, a, s->gates);
    if (j->gru)
        kernels->gru_forward(m, h, s->gates, s->hidden, a + j->inputs, j->k, s->h, h);
    else
        kernels->lstm_forward(m, h, s->gates, cell_before(j, first, m, t), h, s->c[0], s->h, h);
    return s->gates;
}

/* Gates' gradients into those of the weights, of x and of h before: dA where A stood. */
static void multiply_back(const recurrent *j, const scratch *s, int64_t m, flip_real *a,
                          const flip_real *gates) {
    const int64_t w = j->width, split = j->gru ? j->inputs : j->k;
    const bool wants = j->dx[0] || j->dx[1];
    j->tape->gemm_tn(m, w, split, a, j->k, gates, w, s->sums.weight, w);
    if (j->constant > 0)
        add_rows(j, 1, m * w, s->sum, 0, gates, 0);
    else
        j->tape->kernels->column_sums(m, w, gates, w, s->sums.bias);
    if (j->gru) {
        j->tape->gemm_tn(m, w, j->hidden, a + split, j->k, s->hidden, w, s->sums.weight + split * w,
                         w);
        j->tape->kernels->column_sums(m, w, s->hidden, w, s->sums.bias + w);
        if (wants) j->tape->gemm_nn(m, split, w, gates, w, j->turned, j->k, a, j->k, NULL);
        j->tape->gemm_nn(m, j->hidden, w, s->hidden, w, j->turned + split, j->k, a + split, j->k,
                         NULL);
        add_rows(j, m, j->hidden, s->dh, j->hidden, a + split, j->k);
        return;
    }
    /* columns of inputs that nobody asks for are left out: CD-GCN's first x2 is constant */
    const bool gap = j->dx[0] && !j->dx[1] && j->dim[1] > 0;
    int64_t from = j->dx[0] && !gap ? 0 : j->dx[1] ? j->dim[0] : j->inputs;
    if (gap) j->tape->gemm_nn(m, j->dim[0], w, gates, w, j->turned, j->k, a, j->k, NULL);
    j->tape->gemm_nn(m, j->k - from, w, gates, w, j->turned + from, j->k, a + from, j->k, NULL);
    recurrent_copy(j, m, j->hidden, s->dh, j->hidden, a + j->inputs, j->k);
}

static void backward_step(const recurrent *j, const scratch *s, const group *g, int64_t t) {
    const flip_kernels *kernels = j->tape->kernels;
    const int64_t h = j->hidden, m = g->m;
    flip_real *a = a_of(j, s, g, t), *gates = find_gates(j, s, g, t);
    add_rows(j, m, h, s->dh, h, s->dy + (t - g->begin) * m * h, h);
    if (j->gru)
        kernels->gru_backward(m, h, gates, s->hidden, a + j->inputs, j->k, s->dh);
    else
        kernels->lstm_backward(m, h, gates, cell_before(j, g->first, m, t), h,
                               kept(j, j->cells, g->first, m, t, h), h, s->dh, h, s->dc);
    multiply_back(j, s, m, a, gates);
}

static void give_inputs(const recurrent *j, const scratch *s, const group *g) {
    int64_t column = 0;
    for (int i = 0; i < 2; column += j->dim[i++])
        if (j->dx[i]) scatter_group(j, g, j->dim[i], s->a + column, j->k, j->dx[i], j->add[i]);
}

static void backward_chunk(const recurrent *j, const scratch *s, int64_t first, int64_t m) {
    const int64_t h = j->hidden, most = group_steps(j);
    const flip_kernels *kernels = j->tape->kernels;
    recurrent_clear_sums(j, &s->sums);
    if (j->constant > 0) kernels->clear(s->sum, (size_t)(m * j->width) * sizeof *s->sum);
    if (!j->gates) recurrent_constant(j, first, m, s->base);
    recurrent_copy(j, m, h, s->dh, h, j->dend[0] ? j->dend[0] + first * h : NULL, h);
    recurrent_copy(j, m, h, s->dc, h, j->dend[1] ? j->dend[1] + first * h : NULL, h);
    for (int64_t end = j->steps; end > 0;) {
        group g = {first, m, end > most ? end - most : 0, end > most ? most : end};
        stage_inputs(j, s, &g);
        stage_states(j, s, &g);
        gather_group(j, &g, 0, h, j->dy, s->dy, h);
        for (int64_t t = end - 1; t >= g.begin; t--)
            backward_step(j, s, &g, t);
        give_inputs(j, s, &g);
        end = g.begin;
    }
    recurrent_constant_back(j, first, m, s->sum, &s->sums);
    if (j->dbegin[0]) recurrent_copy(j, m, h, j->dbegin[0] + first * h, h, s->dh, h);
    if (j->dbegin[1]) recurrent_copy(j, m, h, j->dbegin[1] + first * h, h, s->dc, h);
}

flip_status recurrent_backward(recurrent *j, int64_t first, int64_t rows) {
    int64_t chunk = chunk_rows(j, rows);
    if (j->fused) return lstm_backward(j, first, rows);
    j->status = FLIP_OK;
#pragma omp parallel for ordered schedule(static, 1) if (!on_device(j))
    for (int64_t i = 0; i < rows; i += chunk) {
        scratch s = my_scratch(j);
        backward_chunk(j, &s, first + i, rows - i < chunk ? rows - i : chunk);
        recurrent_keep_moving(j);
#pragma omp ordered
        recurrent_add_sums(j, &s.sums);
    }
    return j->status;
}
