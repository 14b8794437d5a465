/* LSTM and GRU give the same bits whatever they are cut into: blocks of many groups of steps or of
 * one, one thread or three, gates kept or made anew; and a layer that reads a layer. One rank does
 * it all. */
#include "device.h"
#include "ranks.h"

#include <flipbook/tape.h>

#include <omp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 3, HIDDEN = 5 };

static int rank;

static double draw(uint64_t what, uint64_t a, uint64_t b) {
    return flip_random_uniform(what, FLIP_STREAM_TEST, a, b) * 2 - 1;
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
                                 .kernels = test_kernels(),
                                 .saved = recompute ? FLIP_SAVED_RECOMPUTE : FLIP_SAVED_KEEP};
    CHECK_OK(flip_tape_create(&tape, &settings));
    CHECK(test_placed(params), "the parameters are not on the device");
    CHECK_OK(flip_carry_create(&carry, test_kernels(), blocks));
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
        const double last = fabs((double)y[0][HELD_ROWS * HELD_STEPS * HIDDEN - 1]);
        CHECK(last > 0 && last < 1, "way %d: a cell does not give %g", way, last);
    }
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
                                 .kernels = test_kernels(),
                                 .saved = recompute ? FLIP_SAVED_RECOMPUTE : FLIP_SAVED_KEEP};
    CHECK_OK(flip_tape_create(&tape, &settings));
    CHECK(test_placed(params), "the parameters are not on the device");
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_threads)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
