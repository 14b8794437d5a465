/* kernels: recurrent cells of every table against their equations taken here in double, with rows
 * apart and together, with and without a state before; bit for bit on two threads; the logistic
 * function and tanh inside them over their whole range. */
#include "kernels_check.h"

static double logistic(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* Blocks of one case: rows of `wide` stand ld apart, of `close` n. */
typedef struct cell_case {
    int64_t m, n, ld;
    bool first; /* no state before */
} cell_case;

static void scale(flip_real *x, int64_t n, double by) {
    for (int64_t i = 0; i < n; i++)
        x[i] *= (flip_real)by;
}

/* ---- LSTM ----------------------------------------------------------------------------------- */

typedef struct lstm_blocks {
    flip_real *gates, *before, *c, *h, *dh, *dc; /* before, dh: strides of their own */
} lstm_blocks;

static lstm_blocks lstm_draw(const cell_case *k, uint64_t seed) {
    lstm_blocks b = {
        noise(k->m * 4 * k->n + 1, seed),        noise(k->m * (k->ld + 2) + 1, seed + 1),
        noise(k->m * k->ld + 1, seed + 2),       noise(k->m * k->ld + 1, seed + 3),
        noise(k->m * (k->ld + 1) + 1, seed + 4), noise(k->m * k->n + 1, seed + 5)};
    scale(b.gates, k->m * 4 * k->n, 6);
    scale(b.before, k->m * (k->ld + 2), 3);
    return b;
}

static void lstm_free(lstm_blocks *b) {
    RELEASE(b->gates, b->before, b->c, b->h, b->dh, b->dc);
}

static void lstm_run(const flip_kernels *table, const cell_case *k, lstm_blocks *b,
                     flip_real *activated) {
    flip_real *before = k->first ? NULL : b->before;
    CALL(table, lstm_forward, k->m, k->n, b->gates, before, k->ld + 2, b->c, b->h, k->ld);
    memcpy(activated, b->gates, (size_t)(k->m * 4 * k->n) * sizeof *activated);
    CALL(table, lstm_backward, k->m, k->n, b->gates, before, k->ld + 2, b->c, k->ld, b->dh,
         k->ld + 1, b->dc);
}

/* The equations, overwriting the drawn blocks. */
static void lstm_expect(const cell_case *k, lstm_blocks *b, flip_real *activated) {
    int64_t n = k->n;
    for (int64_t i = 0; i < k->m; i++)
        for (int64_t j = 0; j < n; j++) {
            flip_real *g = b->gates + i * 4 * n + j, *act = activated + i * 4 * n + j;
            double in = logistic((double)g[0]), forget = logistic((double)g[n]);
            double cell = tanh((double)g[2 * n]), out = logistic((double)g[3 * n]);
            double old = k->first ? 0 : (double)b->before[i * (k->ld + 2) + j];
            double c = forget * old + in * cell, dh = (double)b->dh[i * (k->ld + 1) + j];
            double dc = (double)b->dc[i * n + j] + dh * out * (1 - tanh(c) * tanh(c));
            act[0] = (flip_real)in;
            act[n] = (flip_real)forget;
            act[2 * n] = (flip_real)cell;
            act[3 * n] = (flip_real)out;
            b->c[i * k->ld + j] = (flip_real)c;
            b->h[i * k->ld + j] = (flip_real)(out * tanh(c));
            g[0] = (flip_real)(dc * cell * in * (1 - in));
            g[n] = (flip_real)(dc * old * forget * (1 - forget));
            g[2 * n] = (flip_real)(dc * in * (1 - cell * cell));
            g[3 * n] = (flip_real)(dh * tanh(c) * out * (1 - out));
            b->dc[i * n + j] = (flip_real)(dc * forget);
        }
}

static void check_lstm(const cell_case *k) {
    int64_t gates = k->m * 4 * k->n;
    flip_real *want_act = get((size_t)gates + 1, sizeof *want_act);
    flip_real *act = get((size_t)gates + 1, sizeof *act);
    lstm_blocks want = lstm_draw(k, 90);
    lstm_expect(k, &want, want_act);
    for (int t = 0; t < n_tables; t++) {
        lstm_blocks got[2] = {lstm_draw(k, 90), lstm_draw(k, 90)};
        for (int two = 0; two < 2; two++) {
            omp_set_num_threads(1 + two);
            lstm_run(list[t], k, &got[two], act);
            omp_set_num_threads(1);
        }
        /* the same bits; what lies between rows stays: it was drawn alike */
        assert_memory_equal(got[0].gates, got[1].gates, (size_t)gates * sizeof *act);
        assert_memory_equal(got[0].h, got[1].h, (size_t)(k->m * k->ld) * sizeof *act);
        assert_memory_equal(got[0].dc, got[1].dc, (size_t)(k->m * k->n) * sizeof *act);
        near(list[t]->name, act, want_act, gates, 6 * ROUNDING);
        near(list[t]->name, got[0].gates, want.gates, gates, 40 * ROUNDING);
        near(list[t]->name, got[0].c, want.c, k->m * k->ld, 20 * ROUNDING);
        near(list[t]->name, got[0].h, want.h, k->m * k->ld, 20 * ROUNDING);
        near(list[t]->name, got[0].dc, want.dc, k->m * k->n, 20 * ROUNDING);
        lstm_free(&got[0]);
        lstm_free(&got[1]);
    }
    lstm_free(&want);
    RELEASE(want_act, act);
}

/* ---- GRU ------------------------------------------------------------------------------------ */

typedef struct gru_blocks {
    flip_real *gates, *hidden, *before, *h, *dh;
} gru_blocks;

static gru_blocks gru_draw(const cell_case *k, uint64_t seed) {
    gru_blocks b = {noise(k->m * 3 * k->n + 1, seed), noise(k->m * 3 * k->n + 1, seed + 1),
                    noise(k->m * (k->ld + 2) + 1, seed + 2), noise(k->m * k->ld + 1, seed + 3),
                    noise(k->m * k->n + 1, seed + 4)};
    scale(b.gates, k->m * 3 * k->n, 4);
    scale(b.hidden, k->m * 3 * k->n, 3);
    return b;
}

static void gru_free(gru_blocks *b) {
    RELEASE(b->gates, b->hidden, b->before, b->h, b->dh);
}

static void gru_run(const flip_kernels *table, const cell_case *k, gru_blocks *b,
                    flip_real *activated) {
    flip_real *before = k->first ? NULL : b->before;
    CALL(table, gru_forward, k->m, k->n, b->gates, b->hidden, before, k->ld + 2, b->h, k->ld);
    memcpy(activated, b->gates, (size_t)(k->m * 3 * k->n) * sizeof *activated);
    CALL(table, gru_backward, k->m, k->n, b->gates, b->hidden, before, k->ld + 2, b->dh);
}

static void gru_expect(const cell_case *k, gru_blocks *b, flip_real *activated) {
    int64_t n = k->n;
    for (int64_t i = 0; i < k->m; i++)
        for (int64_t j = 0; j < n; j++) {
            flip_real *g = b->gates + i * 3 * n + j, *hid = b->hidden + i * 3 * n + j;
            flip_real *act = activated + i * 3 * n + j, *dh = b->dh + i * n + j;
            double reset = logistic((double)g[0] + (double)hid[0]);
            double keep = logistic((double)g[n] + (double)hid[n]);
            double next = tanh((double)g[2 * n] + reset * (double)hid[2 * n]);
            double old = k->first ? 0 : (double)b->before[i * (k->ld + 2) + j];
            double d_next = (double)*dh * (1 - keep) * (1 - next * next);
            double d_keep = (double)*dh * (old - next) * keep * (1 - keep);
            double d_reset = d_next * (double)hid[2 * n] * reset * (1 - reset);
            act[0] = (flip_real)reset;
            act[n] = (flip_real)keep;
            act[2 * n] = (flip_real)next;
            b->h[i * k->ld + j] = (flip_real)((1 - keep) * next + keep * old);
            g[0] = hid[0] = (flip_real)d_reset;
            g[n] = hid[n] = (flip_real)d_keep;
            g[2 * n] = (flip_real)d_next;
            hid[2 * n] = (flip_real)(d_next * reset);
            *dh = (flip_real)((double)*dh * keep);
        }
}

static void check_gru(const cell_case *k) {
    int64_t gates = k->m * 3 * k->n;
    flip_real *want_act = get((size_t)gates + 1, sizeof *want_act);
    flip_real *act = get((size_t)gates + 1, sizeof *act);
    gru_blocks want = gru_draw(k, 70);
    gru_expect(k, &want, want_act);
    for (int t = 0; t < n_tables; t++) {
        gru_blocks got[2] = {gru_draw(k, 70), gru_draw(k, 70)};
        for (int two = 0; two < 2; two++) {
            omp_set_num_threads(1 + two);
            gru_run(list[t], k, &got[two], act);
            omp_set_num_threads(1);
        }
        assert_memory_equal(got[0].gates, got[1].gates, (size_t)gates * sizeof *act);
        assert_memory_equal(got[0].hidden, got[1].hidden, (size_t)gates * sizeof *act);
        assert_memory_equal(got[0].h, got[1].h, (size_t)(k->m * k->ld) * sizeof *act);
        near(list[t]->name, act, want_act, gates, 10 * ROUNDING);
        near(list[t]->name, got[0].gates, want.gates, gates, 40 * ROUNDING);
        near(list[t]->name, got[0].hidden, want.hidden, gates, 40 * ROUNDING);
        near(list[t]->name, got[0].h, want.h, k->m * k->ld, 20 * ROUNDING);
        near(list[t]->name, got[0].dh, want.dh, k->m * k->n, 10 * ROUNDING);
        gru_free(&got[0]);
        gru_free(&got[1]);
    }
    gru_free(&want);
    RELEASE(want_act, act);
}

static void check_both(int64_t m, int64_t n, int64_t ld, bool first) {
    cell_case k = {m, n, ld, first};
    check_lstm(&k);
    check_gru(&k);
}

static void cells(void **state) {
    (void)state;
    for (int w = 0; w < N_WIDTHS; w++)
        for (int first = 0; first < 2; first++) {
            int64_t n = widths[w];
            check_both(0, n, n, first);
            check_both(1, n, n, first);
            check_both(19, n, 3 * n + 5, first);
        }
    for (int first = 0; first < 2; first++) { /* enough for a team of threads */
        check_both(1100, 32, 96, first);
        check_both(300, 100, 100, first);
    }
}

/* ---- the functions inside ------------------------------------------------------------------- */

/* Relative to the value, or to the smallest normal number where that is larger. */
static void close_to(const char *table, const char *what, double x, double got, double want) {
    double least = sizeof(flip_real) == 4 ? 1.2e-38 : 2.3e-308;
    if (!(fabs(got - want) <= 8 * ROUNDING * fabs(want) + 2 * least))
        fail_msg("%s: %s(%.9g) is %.9g, not %.9g", table, what, x, got, want);
}

/* The output gate shows the logistic function of its input, the cell gate tanh. */
static void check_functions(const flip_real *x, int64_t n) {
    for (int t = 0; t < n_tables; t++) {
        flip_real *gates = get((size_t)n * 4, sizeof *gates), *c = copy_of(x, n),
                  *h = copy_of(x, n);
        memcpy(gates + 2 * n, x, (size_t)n * sizeof *x);
        memcpy(gates + 3 * n, x, (size_t)n * sizeof *x);
        CALL(list[t], lstm_forward, 1, n, gates, NULL, 0, c, h, n);
        for (int64_t i = 0; i < n; i++) {
            close_to(list[t]->name, "tanh", (double)x[i], (double)gates[2 * n + i],
                     tanh((double)x[i]));
            close_to(list[t]->name, "logistic", (double)x[i], (double)gates[3 * n + i],
                     logistic((double)x[i]));
        }
        RELEASE(gates, c, h);
    }
}

static void functions(void **state) {
    (void)state;
    enum { FINE = 20000, DECADES = 76 * 50 };
    flip_real *x = get(FINE + 2 * DECADES + 4, sizeof *x);
    int64_t n = 0;
    for (int i = 0; i < FINE; i++) /* -100 … 100 */
        x[n++] = (flip_real)((i - FINE / 2) * 0.01);
    for (int i = 0; i < DECADES; i++) { /* ±1e-38 … ±1e38 */
        x[n++] = (flip_real)pow(10, i / 50.0 - 38);
        x[n] = -x[n - 1];
        n++;
    }
    x[n++] = (flip_real)0.0;
    x[n++] = (flip_real)-0.0;
    x[n++] = (flip_real)INFINITY;
    x[n++] = (flip_real)-INFINITY;
    check_functions(x, n);
    release(x);
}

/* A NaN anywhere is seen in h, and only in its own element. */
static void nan_is_seen(void **state) {
    (void)state;
    enum { N = 21 };
    for (int t = 0; t < n_tables; t++)
        for (int gate = 0; gate < 4; gate++) {
            flip_real *gates = get(4 * N, sizeof *gates), *hidden = get(3 * N, sizeof *gates);
            flip_real *before = get(N, sizeof *gates), *c = get(N, sizeof *c),
                      *h = get(N, sizeof *h);
            for (int j = 0; j < N; j++)
                before[j] = 1;
            gates[gate * N + 17] = (flip_real)NAN;
            CALL(list[t], lstm_forward, 1, N, gates, before, N, c, h, N);
            assert_true(isnan(h[17]) && !isnan(h[16]) && !isnan(h[18]));
            memset(gates, 0, 4 * N * sizeof *gates);
            gates[gate % 3 * N + 17] = (flip_real)NAN;
            hidden[2 * N + 17] = 1;
            CALL(list[t], gru_forward, 1, N, gates, hidden, before, N, h, N);
            assert_true(isnan(h[17]) && !isnan(h[16]) && !isnan(h[18]));
            RELEASE(gates, hidden, before, c, h);
        }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells),
        cmocka_unit_test(functions),
        cmocka_unit_test(nan_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
