/* A timeline known whole to every rank, and the tape, carry and layout that pass over it in blocks,
 * in every distribution: for tests of operators along time. */
#ifndef FLIPBOOK_TESTS_RECURRENT_WORLD_H
#define FLIPBOOK_TESTS_RECURRENT_WORLD_H

#include "device.h"
#include "ranks.h"

#include <flipbook/tape.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef FLIP_REAL_DOUBLE
static const double tolerance = 1e-12;
#else
static const double tolerance = 2e-5;
#endif

enum { NODES = 29, STEPS = 7, DIM = 3, DIM2 = 2, HIDDEN = 5, MOST_IN = DIM + DIM2 };

static int rank, size;
static flip_comm *comm;
static flip_gid first[8];

static void begin_world(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
}

static double draw(uint64_t what, uint64_t a, uint64_t b) {
    return flip_random_uniform(what, FLIP_STREAM_TEST, a, b) * 2 - 1;
}

typedef struct plain {
    bool gru, second, begins; /* x2; a state before the first step */
    int constant;             /* first columns of x2, the same at every step */
    double x[NODES][STEPS][MOST_IN], up[NODES][STEPS][HIDDEN];
    double begin[2][NODES][HIDDEN];
    double wx[MOST_IN][4 * HIDDEN], wh[HIDDEN][4 * HIDDEN], b[2][4 * HIDDEN];
    /* results */
    double y[NODES][STEPS][HIDDEN], end[2][NODES][HIDDEN];
    double dx[NODES][STEPS][MOST_IN], dbegin[2][NODES][HIDDEN];
    double dwx[MOST_IN][4 * HIDDEN], dwh[HIDDEN][4 * HIDDEN], db[2][4 * HIDDEN];
} plain;

static int inputs_of(const plain *p) {
    return DIM + (p->second ? DIM2 : 0);
}

/* Values as flip_real has them. */
static void fill(double *to, size_t n, uint64_t what, double scale) {
    for (size_t i = 0; i < n; i++)
        to[i] = (double)(flip_real)(scale * draw(what, i, 0));
}

static plain *draw_plain(bool gru, bool second, bool begins) {
    plain *p = calloc(1, sizeof *p);
    *p = (plain){.gru = gru, .second = second, .begins = begins};
    fill(&p->x[0][0][0], sizeof p->x / sizeof(double), 1, 1);
    fill(&p->up[0][0][0], sizeof p->up / sizeof(double), 2, 1);
    fill(&p->begin[0][0][0], sizeof p->begin / sizeof(double), 3, 1);
    fill(&p->wx[0][0], sizeof p->wx / sizeof(double), 4, 0.7);
    fill(&p->wh[0][0], sizeof p->wh / sizeof(double), 5, 0.7);
    fill(&p->b[0][0], sizeof p->b / sizeof(double), 6, 0.5);
    return p;
}

/* ---- the same through the tape ---- */

typedef struct variant {
    int32_t n_time, n_blocks, slices;
    flip_temporal_exchange exchange;
    bool empty, recompute;
    int32_t first_step;
} variant;

typedef struct run {
    const plain *p;
    variant v;
    flip_layout *layout;
    flip_params *params;
    flip_param wx, wh, b, bh;
    flip_tape *tape;
    flip_carry *carry;
} run;

static void split_nodes(bool empty) {
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r * r / ((flip_gid)size * size);
    if (empty && size >= 3) first[2] = first[1];
}

static void set_values(run *r, flip_param p, const double *from, int32_t step) {
    int32_t rows, cols;
    int64_t offset;
    flip_params_shape(r->params, p, &rows, &cols, &offset);
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = 0; j < cols; j++)
            flip_params_values(r->params)[offset + (int64_t)i * cols + j] =
                (flip_real)from[i * step + j];
}

static run open_run(const plain *p, variant v) {
    run r = {.p = p, .v = v, .bh = FLIP_PARAM_NONE};
    int32_t width = (p->gru ? 3 : 4) * HIDDEN;
    split_nodes(v.empty);
    flip_layout_params shape = {.n_time = v.n_time,
                                .n_steps = STEPS,
                                .n_blocks = v.n_blocks,
                                .first_step = v.first_step,
                                .slices = v.slices,
                                .exchange = v.exchange};
    CHECK_OK(flip_layout_create(&r.layout, comm, first, NULL, &shape));
    CHECK_OK(flip_params_create(&r.params));
    r.wx = flip_params_add(r.params, "wx", inputs_of(p), width, FLIP_INIT_ZERO);
    r.wh = flip_params_add(r.params, "wh", HIDDEN, width, FLIP_INIT_ZERO);
    r.b = flip_params_add(r.params, "b", 1, width, FLIP_INIT_ZERO);
    if (p->gru) r.bh = flip_params_add(r.params, "bh", 1, width, FLIP_INIT_ZERO);
    CHECK_OK(flip_params_finish(r.params, 1));
    set_values(&r, r.wx, &p->wx[0][0], 4 * HIDDEN);
    set_values(&r, r.wh, &p->wh[0][0], 4 * HIDDEN);
    set_values(&r, r.b, p->b[0], 4 * HIDDEN);
    if (p->gru) set_values(&r, r.bh, p->b[1], 4 * HIDDEN);
    flip_tape_params settings = {.comm = comm,
                                 .params = r.params,
                                 .key = r.layout->original,
                                 .n_own = r.layout->n_rows,
                                 .kernels = test_kernels(),
                                 .saved = v.recompute ? FLIP_SAVED_RECOMPUTE : FLIP_SAVED_KEEP};
    CHECK_OK(flip_tape_create(&r.tape, &settings));
    CHECK(test_placed(r.params), "the parameters are not on the device");
    CHECK_OK(flip_carry_create(&r.carry, test_kernels(), v.n_blocks));
    return r;
}

static void close_run(run *r) {
    flip_carry_destroy(&r->carry);
    flip_tape_destroy(&r->tape);
    flip_params_destroy(&r->params);
    flip_layout_destroy(&r->layout);
}

/* This rank's rows and steps of a block, columns from … to-1 of [NODES, STEPS, width]. */
static flip_real *own_block(const run *r, int32_t block, const double *all, int width, int from,
                            int to) {
    const flip_layout *l = r->layout;
    int32_t steps = flip_layout_steps(l, block), dim = to - from;
    flip_real *x = malloc(((size_t)l->n_rows * (size_t)(steps * dim) + 1) * sizeof *x);
    for (int32_t i = 0; x && i < l->n_rows * steps * dim; i++) {
        int64_t v = l->part_first[l->part] + i / dim / steps;
        int32_t t = flip_layout_first(l, block) + i / dim % steps;
        x[i] = (flip_real)all[(v * STEPS + t) * width + from + i % dim];
    }
    return x;
}

static void near(const char *what, double got, double want, double scale) {
    CHECK(fabs(got - want) <= tolerance * (1 + fabs(scale)), "%s: %.15g, expected %.15g", what, got,
          want);
}

static void near_block(const run *r, int32_t block, const char *what, const flip_real *got,
                       const double *all, int width, int from, int to) {
    const flip_layout *l = r->layout;
    flip_real *want = own_block(r, block, all, width, from, to);
    int64_t n = (int64_t)l->n_rows * flip_layout_steps(l, block) * (to - from);
    CHECK(n == 0 || got, "%s is there", what);
    for (int64_t i = 0; i < n; i++)
        near(what, (double)got[i], (double)want[i], (double)want[i]);
    free(want);
}

/* One block: its forward, and backward when recorded; inputs' gradients are checked. */
static uint64_t all_bytes(flip_bytes kind) {
    int64_t sum = (int64_t)flip_comm_meter(comm)->bytes[kind];
    CHECK_OK(flip_comm_sum_i64(comm, &sum, 1));
    return (uint64_t)sum;
}

/* w dim sum over chunks of T_p (N - N_p) of a block, for every part. */
static uint64_t redistribute_bytes(const flip_layout *l, int32_t k, int32_t dim) {
    uint64_t sum = 0;
    const int32_t *border = l->chunk_first + k * (l->n_time + 1);
    for (int r = 0; r < size; r++) {
        int32_t part = r / l->n_time, c = r % l->n_time;
        int64_t n = l->part_first[part + 1] - l->part_first[part] - (first[r + 1] - first[r]);
        sum += (uint64_t)(n * (border[c + 1] - border[c]));
    }
    return sum * (uint64_t)dim * sizeof(flip_real);
}

#endif
