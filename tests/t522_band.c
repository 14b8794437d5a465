/* The band of a timeline in blocks, on 1-4 ranks in every distribution: the bits of the whole on
 * one rank, that and gradients against plain loops, bytes against the formulas. */
#include "recurrent_world.h"

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
    CHECK_OK(
        flip_tape_create(&tape, &(flip_tape_params){.n_own = NODES, .kernels = test_kernels()}));
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
    plain *p = draw_plain(false, false, false);
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
    p = draw_plain(false, false, false);
    const variant wave = {.n_time = size, .n_blocks = 1, .exchange = FLIP_EXCHANGE_WAVEFRONT};
    run r = open_run(p, wave);
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

int main(int argc, char **argv) {
    begin_world(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_band)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
