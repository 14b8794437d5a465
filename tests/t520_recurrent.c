/* LSTM and GRU over a timeline in blocks, on 1-4 ranks in every distribution: values and gradients
 * against plain loops, those against finite differences, bytes against the formulas. */
#include "recurrent_world.h"

/* ---- the whole in plain loops ---- */

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

static plain *make_plain(bool gru, bool second, bool begins) {
    plain *p = draw_plain(gru, second, begins);
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

int main(int argc, char **argv) {
    begin_world(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain),
                                       cmocka_unit_test(test_recurrent),
                                       cmocka_unit_test(test_refusals)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
