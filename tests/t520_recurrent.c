/* LSTM, GRU and the band of a timeline in blocks, on 1-4 ranks in every distribution: values and
 * gradients against plain loops, those against finite differences, bytes against the formulas. */
#include "ranks.h"

#include <flipbook/tape.h>

#include <math.h>
#include <omp.h>
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

static double draw(uint64_t what, uint64_t a, uint64_t b) {
    return flip_random_uniform(what, FLIP_STREAM_TEST, a, b) * 2 - 1;
}

/* ---- the whole in plain loops ---- */

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

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* What a step keeps for the way back. */
typedef struct cell {
    double h[HIDDEN], c[HIDDEN], gate[4][HIDDEN], hn[HIDDEN];
} cell;

static double product(const plain *p, const double *x, const double *h, int column) {
    double sum = p->b[0][column];
    for (int l = 0; l < inputs_of(p); l++)
        sum += x[l] * p->wx[l][column];
    for (int l = 0; h && l < HIDDEN; l++)
        sum += h[l] * p->wh[l][column];
    return sum;
}

static void step_forward(const plain *p, const double *x, const cell *before, cell *now) {
    for (int j = 0; j < HIDDEN; j++) {
        double a[4], k[4] = {0};
        for (int g = 0; g < (p->gru ? 3 : 4); g++) {
            a[g] = product(p, x, p->gru ? NULL : before->h, g * HIDDEN + j);
            k[g] = p->b[1][g * HIDDEN + j];
            for (int l = 0; l < HIDDEN; l++)
                k[g] += before->h[l] * p->wh[l][g * HIDDEN + j];
        }
        if (p->gru) {
            double r = sigmoid(a[0] + k[0]), z = sigmoid(a[1] + k[1]), n = tanh(a[2] + r * k[2]);
            now->gate[0][j] = r;
            now->gate[1][j] = z;
            now->gate[2][j] = n;
            now->hn[j] = k[2];
            now->h[j] = (1 - z) * n + z * before->h[j];
            now->c[j] = 0;
            continue;
        }
        double i = sigmoid(a[0]), f = sigmoid(a[1]), g = tanh(a[2]), o = sigmoid(a[3]);
        now->gate[0][j] = i;
        now->gate[1][j] = f;
        now->gate[2][j] = g;
        now->gate[3][j] = o;
        now->c[j] = f * before->c[j] + i * g;
        now->h[j] = o * tanh(now->c[j]);
    }
}

/* dh, dc: gradients of the step's state in, of the state before out. */
static void step_backward(plain *p, int v, int t, const cell *before, const cell *now, double *dh,
                          double *dc) {
    double da[4 * HIDDEN] = {0}, dk[4 * HIDDEN] = {0}, dh_before[HIDDEN] = {0};
    int width = (p->gru ? 3 : 4) * HIDDEN;
    for (int j = 0; j < HIDDEN; j++) {
        const double i = now->gate[0][j], f = now->gate[1][j], g = now->gate[2][j],
                     o = now->gate[3][j];
        if (p->gru) { /* r = i, z = f, n = g */
            double dn = dh[j] * (1 - f) * (1 - g * g);
            da[j] = dk[j] = dn * now->hn[j] * i * (1 - i);
            da[HIDDEN + j] = dk[HIDDEN + j] = dh[j] * (before->h[j] - g) * f * (1 - f);
            da[2 * HIDDEN + j] = dn;
            dk[2 * HIDDEN + j] = dn * i;
            dh_before[j] = dh[j] * f;
            continue;
        }
        double d = dc[j] + dh[j] * o * (1 - tanh(now->c[j]) * tanh(now->c[j]));
        da[j] = d * g * i * (1 - i);
        da[HIDDEN + j] = d * before->c[j] * f * (1 - f);
        da[2 * HIDDEN + j] = d * i * (1 - g * g);
        da[3 * HIDDEN + j] = dh[j] * tanh(now->c[j]) * o * (1 - o);
        dc[j] = d * f;
    }
    if (!p->gru) memcpy(dk, da, sizeof dk);
    for (int w = 0; w < width; w++) {
        p->db[0][w] += da[w];
        if (p->gru) p->db[1][w] += dk[w];
        for (int l = 0; l < inputs_of(p); l++) {
            p->dwx[l][w] += p->x[v][t][l] * da[w];
            p->dx[v][t][l] += p->wx[l][w] * da[w];
        }
        for (int l = 0; l < HIDDEN; l++) {
            p->dwh[l][w] += before->h[l] * dk[w];
            dh_before[l] += p->wh[l][w] * dk[w];
        }
    }
    memcpy(dh, dh_before, sizeof dh_before);
}

static double plain_loss(plain *p) {
    static cell path[STEPS + 1];
    double loss = 0;
    memset(p->dx, 0, sizeof p->dx);
    memset(p->dwx, 0, sizeof p->dwx);
    memset(p->dwh, 0, sizeof p->dwh);
    memset(p->db, 0, sizeof p->db);
    for (int v = 0; v < NODES; v++) {
        memset(path, 0, sizeof path);
        for (int j = 0; p->begins && j < HIDDEN; j++) {
            path[0].h[j] = p->begin[0][v][j];
            path[0].c[j] = p->begin[1][v][j];
        }
        for (int t = 0; t < STEPS; t++) {
            step_forward(p, p->x[v][t], &path[t], &path[t + 1]);
            for (int j = 0; j < HIDDEN; j++) {
                p->y[v][t][j] = path[t + 1].h[j];
                loss += p->up[v][t][j] * path[t + 1].h[j];
            }
        }
        memcpy(p->end[0][v], path[STEPS].h, sizeof path->h);
        memcpy(p->end[1][v], path[STEPS].c, sizeof path->c);
        double dh[HIDDEN] = {0}, dc[HIDDEN] = {0};
        for (int t = STEPS - 1; t >= 0; t--) {
            for (int j = 0; j < HIDDEN; j++)
                dh[j] += p->up[v][t][j];
            step_backward(p, v, t, &path[t], &path[t + 1], dh, dc);
        }
        memcpy(p->dbegin[0][v], dh, sizeof dh);
        memcpy(p->dbegin[1][v], dc, sizeof dc);
    }
    return loss;
}

/* Values as flip_real has them. */
static void fill(double *to, size_t n, uint64_t what, double scale) {
    for (size_t i = 0; i < n; i++)
        to[i] = (double)(flip_real)(scale * draw(what, i, 0));
}

static plain *make_plain(bool gru, bool second, bool begins) {
    plain *p = calloc(1, sizeof *p);
    *p = (plain){.gru = gru, .second = second, .begins = begins};
    fill(&p->x[0][0][0], sizeof p->x / sizeof(double), 1, 1);
    fill(&p->up[0][0][0], sizeof p->up / sizeof(double), 2, 1);
    fill(&p->begin[0][0][0], sizeof p->begin / sizeof(double), 3, 1);
    fill(&p->wx[0][0], sizeof p->wx / sizeof(double), 4, 0.7);
    fill(&p->wh[0][0], sizeof p->wh / sizeof(double), 5, 0.7);
    fill(&p->b[0][0], sizeof p->b / sizeof(double), 6, 0.5);
    plain_loss(p);
    return p;
}

/* An LSTM whose x2 has constant columns. */
static plain *make_constant(int constant) {
    plain *p = make_plain(false, true, true);
    p->constant = constant;
    for (int v = 0; v < NODES; v++)
        for (int t = 1; t < STEPS; t++)
            for (int j = 0; j < constant; j++)
                p->x[v][t][DIM + j] = p->x[v][0][DIM + j];
    plain_loss(p);
    return p;
}

/* The plain gradients against differences of the plain loss. */
static void check_difference(plain *p, double *value, const double *gradient, size_t n,
                             const char *name) {
    for (size_t i = 0; i < n; i += 1 + n / 40) {
        double want = gradient[i], at = value[i], h = 1e-5;
        value[i] = at + h;
        double up = plain_loss(p);
        value[i] = at - h;
        double down = plain_loss(p);
        value[i] = at;
        plain_loss(p);
        CHECK(fabs((up - down) / (2 * h) - want) < 1e-7 * (1 + fabs(want)), "%s[%zu]: %g, %g", name,
              i, (up - down) / (2 * h), want);
    }
}

static void test_plain(void **state) {
    (void)state;
    for (int i = 0; i < 2 && rank == 0; i++) {
        plain *p = make_plain(i, true, true);
        check_difference(p, &p->x[0][0][0], &p->dx[0][0][0], sizeof p->x / 8, "x");
        check_difference(p, &p->wx[0][0], &p->dwx[0][0], sizeof p->wx / 8, "Wx");
        check_difference(p, &p->wh[0][0], &p->dwh[0][0], sizeof p->wh / 8, "Wh");
        check_difference(p, &p->b[0][0], &p->db[0][0], sizeof p->b / 8 / (i ? 1 : 2), "b");
        check_difference(p, &p->begin[0][0][0], &p->dbegin[0][0][0],
                         sizeof p->begin / 8 / (i ? 2 : 1), "begin");
        free(p);
    }
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
                                 .saved = v.recompute ? FLIP_SAVED_RECOMPUTE : FLIP_SAVED_KEEP};
    CHECK_OK(flip_tape_create(&r.tape, &settings));
    CHECK_OK(flip_carry_create(&r.carry, v.n_blocks));
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
static void pass_block(run *r, int32_t block, bool recorded) {
    const plain *p = r->p;
    const flip_layout *l = r->layout;
    int32_t steps = flip_layout_steps(l, block);
    flip_tape *tape = r->tape;
    flip_tape_reset(tape, true, 1);
    flip_tape_block(tape, r->layout, r->carry, block, recorded);
    flip_real *x[2] = {own_block(r, block, &p->x[0][0][0], MOST_IN, 0, DIM),
                       own_block(r, block, &p->x[0][0][0], MOST_IN, DIM, MOST_IN)},
              *up = own_block(r, block, &p->up[0][0][0], HIDDEN, 0, HIDDEN);
    flip_var a = flip_tape_input(tape, l->n_rows, steps, DIM, x[0], true),
             b = p->second ? flip_tape_input(tape, l->n_rows, steps, DIM2, x[1], !p->constant)
                           : FLIP_VAR_NONE;
    flip_tape_constant(tape, b, p->constant);
    flip_var y = p->gru ? flip_gru(tape, a, b, r->wx, r->wh, r->b, r->bh)
                        : flip_lstm(tape, a, b, r->wx, r->wh, r->b);
    CHECK_OK(flip_tape_status(tape));
    near_block(r, block, "y", flip_tape_value(tape, y), &p->y[0][0][0], HIDDEN, 0, HIDDEN);
    if (recorded) {
        flip_var loss = flip_inner(tape, y, up);
        CHECK_OK(flip_tape_backward(tape, loss));
        near_block(r, block, "dx", flip_tape_gradient(tape, a), &p->dx[0][0][0], MOST_IN, 0, DIM);
        if (p->second && !p->constant)
            near_block(r, block, "dx2", flip_tape_gradient(tape, b), &p->dx[0][0][0], MOST_IN, DIM,
                       MOST_IN);
    }
    free(x[0]);
    free(x[1]);
    free(up);
}

static void near_gradient(const run *r, flip_param p, const double *want, const char *what) {
    int32_t rows, cols;
    int64_t offset;
    if (p == FLIP_PARAM_NONE) return;
    flip_params_shape(r->params, p, &rows, &cols, &offset);
    double most = 0;
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = 0; j < cols; j++)
            most = fmax(most, fabs(want[i * 4 * HIDDEN + j]));
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = 0; j < cols; j++)
            near(what, flip_params_gradients(r->params)[offset + (int64_t)i * cols + j],
                 want[i * 4 * HIDDEN + j], most);
}

/* Rows whose states this rank carries at the timeline's beginning (end = false) or end. */
static int32_t state_rows(const run *r, bool end, flip_gid *from) {
    const flip_layout *l = r->layout;
    bool wave = l->n_time > 1 && r->v.exchange == FLIP_EXCHANGE_WAVEFRONT;
    *from = wave ? l->part_first[l->part] : first[rank];
    if (!wave) return l->n_own;
    return l->chunk == (end ? l->n_time - 1 : 0) ? l->n_rows : 0;
}

static int states_of(const plain *p) {
    return p->gru ? 1 : 2;
}

static void give_begin(run *r) {
    const flip_layout *l = r->layout;
    bool wave = l->n_time > 1 && r->v.exchange == FLIP_EXCHANGE_WAVEFRONT;
    bool middle = wave && l->chunk > 0 && l->chunk < l->n_time - 1;
    flip_gid from;
    state_rows(r, false, &from);
    size_t rows = (size_t)(middle ? 0 : wave ? l->n_rows : l->n_own);
    flip_real *state = calloc(rows * 2 * HIDDEN + 1, sizeof *state);
    for (size_t i = 0; state && i < rows * (size_t)states_of(r->p) * HIDDEN; i++)
        state[i] =
            (flip_real)
                r->p->begin[i / (rows * HIDDEN)][from + (flip_gid)(i / HIDDEN % rows)][i % HIDDEN];
    CHECK_OK(flip_carry_begin_with(r->carry, 0, state, rows * (size_t)states_of(r->p) * HIDDEN));
    free(state);
}

static void near_state(const run *r, bool end, const double (*want)[NODES][HIDDEN]) {
    flip_gid from;
    size_t rows = (size_t)state_rows(r, end, &from), n;
    const flip_real *got = end ? flip_carry_state(r->carry, 0, r->v.n_blocks, &n)
                               : flip_carry_gradient(r->carry, 0, 0, &n);
    if (rows == 0) return;
    CHECK(got && n == rows * (size_t)states_of(r->p) * HIDDEN, "%zu values of a state", n);
    for (size_t i = 0; i < n; i++)
        near(end ? "end" : "gradient of the beginning", (double)got[i],
             want[i / (rows * HIDDEN)][from + (flip_gid)(i / HIDDEN % rows)][i % HIDDEN], 1);
}

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

static void check_bytes(const run *r, const uint64_t *before) {
    const flip_layout *l = r->layout;
    uint64_t moved = 0, state = 0;
    uint64_t blocks = (uint64_t)r->v.n_blocks, chunks = (uint64_t)l->n_time;
    int32_t inputs = inputs_of(r->p);
    bool wave = r->v.exchange == FLIP_EXCHANGE_WAVEFRONT;
    for (int32_t k = 0; k < r->v.n_blocks; k++) { /* forward once or twice, backward once */
        uint64_t passes = k + 1 < r->v.n_blocks ? 3 : 2;
        moved += passes * redistribute_bytes(l, k, inputs + HIDDEN);
        if (r->p->constant) moved -= redistribute_bytes(l, k, DIM2); /* x2 has no gradient */
    }
    if (chunks > 1) /* hand-overs: forward, again, backward; between blocks: forward, backward */
        state = (2 * blocks - 1 + blocks) * (chunks - 1) + 2 * (blocks - 1);
    state *= (uint64_t)(NODES * states_of(r->p) * HIDDEN) * sizeof(flip_real);
    uint64_t sent[2] = {all_bytes(FLIP_BYTES_REDISTRIBUTE) - before[0],
                        all_bytes(FLIP_BYTES_STATE) - before[1]};
    CHECK(sent[0] == (wave ? 0 : moved), "redistribute: %llu bytes, formula %llu",
          (unsigned long long)sent[0], (unsigned long long)(wave ? 0 : moved));
    CHECK(sent[1] == (wave ? state : 0), "state: %llu bytes, formula %llu",
          (unsigned long long)sent[1], (unsigned long long)(wave ? state : 0));
}

static void check_pass(run *r) {
    uint64_t before[2] = {all_bytes(FLIP_BYTES_REDISTRIBUTE), all_bytes(FLIP_BYTES_STATE)};
    int32_t last = r->v.n_blocks - 1;
    flip_params_clear_gradients(r->params);
    flip_carry_clear(r->carry);
    if (r->p->begins) give_begin(r);
    for (int32_t k = 0; k < last; k++)
        pass_block(r, k, false);
    for (int32_t k = last; k >= 0; k--)
        pass_block(r, k, true);
    check_bytes(r, before);
    CHECK_OK(flip_params_reduce(r->params, comm));
    near_gradient(r, r->wx, &r->p->dwx[0][0], "dWx");
    near_gradient(r, r->wh, &r->p->dwh[0][0], "dWh");
    near_gradient(r, r->b, r->p->db[0], "db");
    near_gradient(r, r->bh, r->p->db[1], "dbh");
    near_state(r, true, (const double(*)[NODES][HIDDEN])r->p->end);
    if (r->p->begins) near_state(r, false, (const double(*)[NODES][HIDDEN])r->p->dbegin);
    /* a pass that is not for training leaves nothing behind */
    flip_carry_clear(r->carry);
    if (r->p->begins) give_begin(r);
    for (int32_t k = 0; k <= last; k++)
        pass_block(r, k, false);
}

static void test_recurrent(void **state) {
    (void)state;
    static const int32_t blocks[] = {1, 2, 5, STEPS};
    int done = 0;
    for (int kind = 0; kind < 8 + DIM2; kind++) {
        plain *p = kind < 8 ? make_plain(kind & 1, kind & 2, kind & 4) : make_constant(kind - 7);
        for (int32_t n_time = 1; n_time <= size; n_time++)
            for (int i = 0; size % n_time == 0 && i < 8; i++, done++) {
                variant v = {n_time,
                             blocks[i / 2],
                             done % 3 + 1,
                             i % 2 ? FLIP_EXCHANGE_WAVEFRONT : FLIP_EXCHANGE_REDISTRIBUTE,
                             done % 5 < 2,
                             done % 7 < 3,
                             0};
                run r = open_run(p, v);
                check_pass(&r);
                check_pass(&r); /* memory of the last pass serves again */
                close_run(&r);
            }
        free(p);
    }
}

/* ---- more steps than a chunk holds at once ---- */

enum { HELD_ROWS = 100, HELD_STEPS = 120, PARTS = 4 };

/* y and dx of HELD_STEPS steps in `blocks` blocks, on this rank alone. */
static void long_pass(bool gru, bool recompute, int blocks, flip_real *y, flip_real *dx) {
    const int32_t steps = HELD_STEPS / blocks, width = (gru ? 3 : 4) * HIDDEN;
    flip_params *params;
    flip_tape *tape;
    flip_carry *carry;
    CHECK_OK(flip_params_create(&params));
    flip_param wx = flip_params_add(params, "wx", DIM, width, FLIP_INIT_GLOROT),
               wh = flip_params_add(params, "wh", HIDDEN, width, FLIP_INIT_GLOROT);
    CHECK_OK(flip_params_finish(params, 1));
    flip_tape_params settings = {.params = params,
                                 .n_own = HELD_ROWS,
                                 .saved = recompute ? FLIP_SAVED_RECOMPUTE : FLIP_SAVED_KEEP};
    CHECK_OK(flip_tape_create(&tape, &settings));
    CHECK_OK(flip_carry_create(&carry, blocks));
    flip_real *x = malloc((size_t)(HELD_ROWS * steps * DIM) * sizeof *x),
              *up = malloc((size_t)(HELD_ROWS * steps * HIDDEN) * sizeof *up);
    flip_carry_clear(carry);
    for (int pass = 0; pass < 2 * blocks; pass++) { /* forward, then back */
        const int k = pass < blocks ? pass : 2 * blocks - 1 - pass;
        for (int i = 0; i < HELD_ROWS * steps; i++) {
            const uint64_t at = (uint64_t)(i / steps * HELD_STEPS + k * steps + i % steps);
            for (int j = 0; j < DIM; j++)
                x[i * DIM + j] = (flip_real)draw(7, at, (uint64_t)j);
            for (int j = 0; j < HIDDEN; j++)
                up[i * HIDDEN + j] = (flip_real)draw(8, at, (uint64_t)j);
        }
        flip_tape_reset(tape, true, 1);
        flip_tape_block(tape, NULL, carry, k, pass >= blocks);
        flip_var in = flip_tape_input(tape, HELD_ROWS, steps, DIM, x, true),
                 out = gru ? flip_gru(tape, in, FLIP_VAR_NONE, wx, wh, FLIP_PARAM_NONE,
                                      FLIP_PARAM_NONE)
                           : flip_lstm(tape, in, FLIP_VAR_NONE, wx, wh, FLIP_PARAM_NONE);
        CHECK_OK(flip_tape_status(tape));
        for (int i = 0; i < HELD_ROWS; i++)
            memcpy(y + (i * HELD_STEPS + k * steps) * HIDDEN,
                   flip_tape_value(tape, out) + i * steps * HIDDEN,
                   (size_t)(steps * HIDDEN) * sizeof *y);
        if (pass < blocks) continue;
        CHECK_OK(flip_tape_backward(tape, flip_inner(tape, out, up)));
        for (int i = 0; i < HELD_ROWS; i++)
            memcpy(dx + (i * HELD_STEPS + k * steps) * DIM,
                   flip_tape_gradient(tape, in) + i * steps * DIM,
                   (size_t)(steps * DIM) * sizeof *dx);
    }
    free(x);
    free(up);
    flip_carry_destroy(&carry);
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
}

/* A block of many groups of steps, and blocks of one group each: a step's values are the same bits.
 */
static void test_groups(void **state) {
    (void)state;
    static flip_real y[2][HELD_ROWS * HELD_STEPS * HIDDEN], dx[2][HELD_ROWS * HELD_STEPS * DIM];
    const int64_t held = FLIP_RECURRENT_GROUP /
                         (FLIP_RECURRENT_CHUNK * (DIM + 2 * HIDDEN) * (int64_t)sizeof(flip_real));
    CHECK(held < HELD_STEPS, "a chunk holds %lld of %d steps", (long long)held, HELD_STEPS);
    for (int way = 0; way < 4; way++) {
        long_pass(way & 1, way & 2, 1, y[0], dx[0]);
        long_pass(way & 1, way & 2, PARTS, y[1], dx[1]);
        CHECK(memcmp(y[0], y[1], sizeof y[0]) == 0, "values, way %d", way);
        CHECK(memcmp(dx[0], dx[1], sizeof dx[0]) == 0, "gradients, way %d", way);
    }
}

static void test_refusals(void **state) {
    (void)state;
    plain *p = make_plain(false, false, false);
    run r = open_run(p, (variant){.n_time = size, .n_blocks = 2, .exchange = FLIP_EXCHANGE_WINDOW});
    flip_real *x = own_block(&r, 0, &p->x[0][0][0], MOST_IN, 0, DIM);
    flip_tape_reset(r.tape, true, 1);
    flip_tape_block(r.tape, r.layout, r.carry, 0, true);
    flip_var a =
        flip_tape_input(r.tape, r.layout->n_rows, flip_layout_steps(r.layout, 0), DIM, x, true);
    flip_error_clear();
    flip_lstm(r.tape, a, FLIP_VAR_NONE, r.wx, r.wh, r.b);
    CHECK(size == 1 ? flip_tape_status(r.tape) == FLIP_OK
                    : flip_tape_status(r.tape) == FLIP_ERROR_USAGE &&
                          strstr(flip_error_message(), "use --distribute time"),
          "%s", flip_error_message());
    /* block 1 before block 0 */
    flip_error_clear();
    flip_carry_clear(r.carry);
    close_run(&r);
    r = open_run(p, (variant){.n_time = 1, .n_blocks = 2});
    free(x);
    x = own_block(&r, 1, &p->x[0][0][0], MOST_IN, 0, DIM);
    flip_tape_reset(r.tape, true, 1);
    flip_tape_block(r.tape, r.layout, r.carry, 1, true);
    a = flip_tape_input(r.tape, r.layout->n_rows, flip_layout_steps(r.layout, 1), DIM, x, true);
    flip_lstm(r.tape, a, FLIP_VAR_NONE, r.wx, r.wh, r.b);
    CHECK(flip_tape_status(r.tape) == FLIP_ERROR_INTERNAL &&
              strstr(flip_error_message(), "before block 0 left its state"),
          "%s", flip_error_message());
    flip_error_clear();
    /* more constant columns than there are */
    flip_tape_reset(r.tape, true, 1);
    a = flip_tape_input(r.tape, r.layout->n_rows, flip_layout_steps(r.layout, 1), DIM, x, true);
    flip_tape_constant(r.tape, a, DIM);
    CHECK_OK(flip_tape_status(r.tape));
    flip_tape_constant(r.tape, a, DIM + 1);
    CHECK(flip_tape_status(r.tape) == FLIP_ERROR_INTERNAL &&
              strstr(flip_error_message(), "constant columns"),
          "%s", flip_error_message());
    flip_error_clear();
    close_run(&r);
    free(x);
    free(p);
}

/* ---- the band ---- */

/* y, dx of the whole for `window`, steps counted from `origin`. */
static void plain_band(const plain *p, int window, int origin, double (*y)[STEPS][DIM],
                       double (*dx)[STEPS][DIM]) {
    memset(y, 0, NODES * sizeof *y);
    memset(dx, 0, NODES * sizeof *dx);
    for (int v = 0; v < NODES; v++)
        for (int t = origin; t < STEPS; t++)
            for (int k = t; k >= origin && k > t - window; k--)
                for (int j = 0; j < DIM; j++) {
                    int n = t - origin + 1;
                    double m = 1.0 / (window < n ? window : n);
                    y[v][t][j] += m * p->x[v][k][j];
                    dx[v][k][j] += m * p->up[v][t][j];
                }
}

/* All nodes and steps on this rank alone. */
static void whole_band(const plain *p, int window, int origin, flip_real *y) {
    static flip_real x[NODES * STEPS * DIM];
    int32_t steps = STEPS - origin;
    flip_tape *tape;
    CHECK_OK(flip_tape_create(&tape, &(flip_tape_params){.n_own = NODES}));
    flip_tape_reset(tape, false, 0);
    for (int i = 0; i < NODES * steps * DIM; i++)
        x[i] = (flip_real)p->x[i / DIM / steps][origin + i / DIM % steps][i % DIM];
    flip_var in = flip_tape_input(tape, NODES, steps, DIM, x, false);
    const flip_real *got = flip_tape_value(tape, flip_band(tape, in, window));
    CHECK(got, "%s", flip_error_message());
    for (int i = 0; i < NODES * steps * DIM; i++)
        y[(i / DIM / steps * STEPS + origin + i / DIM % steps) * DIM + i % DIM] = got[i];
    flip_tape_destroy(&tape);
}

static uint64_t window_bytes(const flip_layout *l, int32_t k, int32_t before) {
    uint64_t steps = 0;
    for (int32_t c = 0; c < l->n_time; c++) {
        const int32_t *border = l->chunk_first + k * (l->n_time + 1) + c;
        for (int32_t t = border[0] - before; border[1] > border[0] && t < border[0]; t++)
            steps += t >= l->block_first[0] && flip_layout_chunk_of(l, t, NULL) != c;
    }
    return steps * (uint64_t)(NODES * DIM) * sizeof(flip_real);
}

static void band_block(run *r, int32_t block, bool recorded, int window, const flip_real *want,
                       const double *dx) {
    const flip_layout *l = r->layout;
    int32_t steps = flip_layout_steps(l, block);
    flip_tape_reset(r->tape, true, 1);
    flip_tape_block(r->tape, r->layout, r->carry, block, recorded);
    flip_real *x = own_block(r, block, &r->p->x[0][0][0], MOST_IN, 0, DIM),
              *up = own_block(r, block, &r->p->up[0][0][0], HIDDEN, 0, DIM);
    flip_var in = flip_tape_input(r->tape, l->n_rows, steps, DIM, x, true);
    flip_var y = flip_band(r->tape, in, window);
    CHECK_OK(flip_tape_status(r->tape));
    const flip_real *got = flip_tape_value(r->tape, y);
    for (int64_t i = 0; i < (int64_t)l->n_rows * steps; i++) {
        int64_t at =
            (l->part_first[l->part] + i / steps) * STEPS + flip_layout_first(l, block) + i % steps;
        CHECK(memcmp(got + i * DIM, want + at * DIM, DIM * sizeof *got) == 0,
              "row %lld of block %d: %g, the whole has %g", (long long)i, block,
              (double)got[i * DIM], (double)want[at * DIM]);
    }
    if (recorded) {
        CHECK_OK(flip_tape_backward(r->tape, flip_inner(r->tape, y, up)));
        near_block(r, block, "dx", flip_tape_gradient(r->tape, in), dx, DIM, 0, DIM);
    }
    free(x);
    free(up);
}

static void check_band(run *r, int window) {
    static double y[NODES][STEPS][DIM], dx[NODES][STEPS][DIM];
    static flip_real whole[NODES * STEPS * DIM];
    const flip_layout *l = r->layout;
    int32_t last = r->v.n_blocks - 1, origin = l->block_first[0];
    uint64_t before[2] = {all_bytes(FLIP_BYTES_REDISTRIBUTE), all_bytes(FLIP_BYTES_WINDOW)};
    plain_band(r->p, window, origin, y, dx);
    whole_band(r->p, window, origin, whole);
    for (int v = 0; v < NODES; v++)
        for (int t = origin; t < STEPS; t++)
            for (int j = 0; j < DIM; j++)
                near("band", (double)whole[(v * STEPS + t) * DIM + j], y[v][t][j], 1);
    flip_carry_clear(r->carry);
    for (int32_t k = 0; k < last; k++)
        band_block(r, k, false, window, whole, &dx[0][0][0]);
    for (int32_t k = last; k >= 0; k--)
        band_block(r, k, true, window, whole, &dx[0][0][0]);
    uint64_t want[2] = {0, 0};
    bool looks = r->v.exchange == FLIP_EXCHANGE_WINDOW;
    for (int32_t k = 0; k <= last; k++) {
        want[0] += (k < last ? 6 : 4) * redistribute_bytes(l, k, DIM);
        want[1] += (k < last ? 3 : 2) * window_bytes(l, k, window - 1);
    }
    for (int i = 0; i < 2; i++) {
        uint64_t sent = all_bytes(i ? FLIP_BYTES_WINDOW : FLIP_BYTES_REDISTRIBUTE) - before[i];
        uint64_t formula = looks == (i == 1) ? want[i] : 0;
        CHECK(sent == formula, "%s: %llu bytes, formula %llu", i ? "window" : "redistribute",
              (unsigned long long)sent, (unsigned long long)formula);
    }
}

static void test_band(void **state) {
    (void)state;
    static const int32_t blocks[] = {1, 2, 3, STEPS - 1};
    static const int windows[] = {1, 2, 3, 4, STEPS + 5};
    plain *p = make_plain(false, false, false);
    int done = 0;
    for (int w = 0; w < 5; w++)
        for (int32_t n_time = 1; n_time <= size; n_time++)
            for (int i = 0; size % n_time == 0 && i < 8; i++, done++) {
                variant v = {.n_time = n_time,
                             .n_blocks = blocks[i / 2],
                             .first_step = done % 2,
                             .slices = done % 3 + 1,
                             .exchange = i % 2 ? FLIP_EXCHANGE_WINDOW : FLIP_EXCHANGE_REDISTRIBUTE,
                             .empty = done % 5 < 2};
                run r = open_run(p, v);
                check_band(&r, windows[w]);
                close_run(&r);
            }
    free(p);
    if (size == 1) return;
    p = make_plain(false, false, false);
    run r =
        open_run(p, (variant){.n_time = size, .n_blocks = 1, .exchange = FLIP_EXCHANGE_WAVEFRONT});
    flip_real *x = own_block(&r, 0, &p->x[0][0][0], MOST_IN, 0, DIM);
    flip_tape_reset(r.tape, true, 1);
    flip_tape_block(r.tape, r.layout, r.carry, 0, true);
    flip_error_clear();
    flip_band(
        r.tape,
        flip_tape_input(r.tape, r.layout->n_rows, flip_layout_steps(r.layout, 0), DIM, x, false),
        3);
    CHECK(flip_tape_status(r.tape) == FLIP_ERROR_USAGE &&
              strstr(flip_error_message(), "use --distribute window"),
          "%s", flip_error_message());
    flip_error_clear();
    close_run(&r);
    free(x);
    free(p);
}

/* ---- many rows: threads, and a layer that reads a layer ---- */

enum { ROWS = 700, WIDE = 16, LONG = 5 };

/* lstm(gru(relu(x W))), gradients of all parameters and of x into out. */
static void deep(int threads, bool recompute, double *out, int64_t n_out) {
    flip_params *params;
    flip_tape *tape;
    static flip_real x[ROWS * LONG * WIDE], up[ROWS * LONG * WIDE];
    omp_set_num_threads(threads);
    for (int i = 0; i < ROWS * LONG * WIDE; i++) {
        x[i] = (flip_real)draw(11, (uint64_t)i, 0);
        up[i] = (flip_real)draw(12, (uint64_t)i, 0);
    }
    CHECK_OK(flip_params_create(&params));
    flip_param w = flip_params_add(params, "w", WIDE, WIDE, FLIP_INIT_GLOROT),
               gx = flip_params_add(params, "gx", 2 * WIDE, 3 * WIDE, FLIP_INIT_GLOROT),
               gh = flip_params_add(params, "gh", WIDE, 3 * WIDE, FLIP_INIT_GLOROT),
               bx = flip_params_add(params, "bx", 1, 3 * WIDE, FLIP_INIT_GLOROT),
               bh = flip_params_add(params, "bh", 1, 3 * WIDE, FLIP_INIT_GLOROT),
               lx = flip_params_add(params, "lx", WIDE, 4 * WIDE, FLIP_INIT_GLOROT),
               lh = flip_params_add(params, "lh", WIDE, 4 * WIDE, FLIP_INIT_GLOROT),
               b = flip_params_add(params, "b", 1, 4 * WIDE, FLIP_INIT_GLOROT);
    CHECK_OK(flip_params_finish(params, 3));
    flip_tape_params settings = {.params = params,
                                 .n_own = ROWS,
                                 .saved = recompute ? FLIP_SAVED_RECOMPUTE : FLIP_SAVED_KEEP};
    CHECK_OK(flip_tape_create(&tape, &settings));
    flip_tape_reset(tape, true, 1);
    flip_var in = flip_tape_input(tape, ROWS, LONG, WIDE, x, true);
    flip_var h = flip_linear(tape, in, w, FLIP_PARAM_NONE, FLIP_ACT_RELU);
    flip_var g = flip_gru(tape, h, in, gx, gh, bx, bh);
    flip_var y = flip_lstm(tape, g, FLIP_VAR_NONE, lx, lh, b);
    flip_tape_release(tape, h);
    flip_tape_release(tape, g);
    CHECK_OK(flip_tape_backward(tape, flip_inner(tape, y, up)));
    CHECK(n_out == flip_params_size(params) + ROWS * LONG * WIDE, "size");
    memcpy(out, flip_params_gradients(params), (size_t)flip_params_size(params) * sizeof *out);
    for (int i = 0; i < ROWS * LONG * WIDE; i++)
        out[flip_params_size(params) + i] = (double)flip_tape_gradient(tape, in)[i];
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
    omp_set_num_threads(1);
}

static void test_threads(void **state) {
    (void)state;
    if (rank > 0) return;
    enum { PARAMS = WIDE * WIDE * (1 + 6 + 3 + 4 + 4) + WIDE * 10 };
    enum { N = PARAMS + ROWS * LONG * WIDE };
    double *one = malloc(N * sizeof *one), *other = malloc(N * sizeof *other);
    deep(1, false, one, N);
    deep(3, false, other, N);
    CHECK(memcmp(one, other, N * sizeof *one) == 0, "3 threads make other bits than one");
    deep(2, true, other, N);
    CHECK(memcmp(one, other, N * sizeof *one) == 0, "gates made anew make other bits");
    free(one);
    free(other);
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),  cmocka_unit_test(test_recurrent),
        cmocka_unit_test(test_groups), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_band),   cmocka_unit_test(test_threads),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
