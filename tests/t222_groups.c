/* Values in few bits: bounds, expectation, repetition, odd lengths, numbers that are none; the same
 * bits from every table of kernels; widths of their own; what waits for the walk back. */
#include "device.h"
#include "kernels_check.h"
#include "ranks.h"

#include "codec/groups.h"
#include "codec/mixed.h"

static double draw(uint64_t i) {
    static const double scale[] = {2, 1e-3, 0.2};
    return flip_random_normal(7, FLIP_STREAM_TEST, 0, i) * scale[i / FLIP_GROUP % 3];
}

/* The range of value i's group, widened as bfloat16 may widen it; of 2 bits, from the group's low
 * to the high of the value's quarter, which is rounded up to a 255th of the group's. */
static double range_at(const flip_real *x, int64_t n, int64_t i, int32_t bits) {
    const int64_t first = i / FLIP_GROUP * FLIP_GROUP;
    double low = INFINITY, high = -INFINITY, quarter_high = -INFINITY;
    for (int64_t j = first; j < first + FLIP_GROUP && j < n; j++) {
        low = fmin(low, (double)x[j]);
        high = fmax(high, (double)x[j]);
        if (j / FLIP_QUARTER == i / FLIP_QUARTER) quarter_high = fmax(quarter_high, (double)x[j]);
    }
    const double widened = (fabs(low) + fabs(high)) * 0x1p-7, range = high - low + widened;
    return bits == 2 ? fmin(range, quarter_high - low + widened + range / 255) : range;
}

/* How far apart two levels about value i can be. Those of two bits are uneven: two of 0 < a < b <
 * 16 sixteenths that follow each other are at most 14 apart. */
static double step_at(const flip_real *x, int64_t n, int64_t i, int32_t bits) {
    const double range = range_at(x, n, i, bits);
    return bits == 2 ? range * 14 / 16 : range / ((1 << bits) - 1);
}

static void check_length(int64_t n, int32_t bits) {
    size_t bytes = flip_groups_bytes(n, bits);
    flip_real *x = malloc(((size_t)n + 1) * sizeof *x), *y = malloc(((size_t)n + 1) * sizeof *y);
    uint8_t *code = malloc(bytes + 1), *again = malloc(bytes + 1);
    code[bytes] = again[bytes] = 0xA5;
    y[n] = 42;
    for (int64_t i = 0; i < n; i++)
        x[i] = (flip_real)draw((uint64_t)i);
    flip_groups_encode(code, x, n, bits, 5);
    flip_groups_encode(again, x, n, bits, 5);
    CHECK(memcmp(code, again, bytes + 1) == 0, "%lld values, %d bits: not the same twice",
          (long long)n, bits);
    CHECK(code[bytes] == 0xA5, "%lld values, %d bits: written past the end", (long long)n, bits);
    flip_groups_decode(y, code, n, bits);
    CHECK(y[n] == 42, "%lld values, %d bits: decoded past the end", (long long)n, bits);
    for (int64_t i = 0; i < n; i++) {
        double bound =
            bits == 16 ? fabs((double)x[i]) * 0x1p-8 : step_at(x, n, i, bits) * (1 + 1e-5);
        CHECK(fabs((double)y[i] - (double)x[i]) <= bound, "%d bits: value %lld is %g, was %g", bits,
              (long long)i, (double)y[i], (double)x[i]);
    }
    free(x);
    free(y);
    free(code);
    free(again);
}

static void lengths(void **state) {
    (void)state;
    static const int64_t ns[] = {0,   1,   2,   3,   5,   64,  65,   70,
                                 129, 140, 193, 255, 256, 257, 1000, 70001};
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (int32_t bits = 2; bits <= 16; bits *= 2)
            check_length(ns[i], bits);
}

/* The mean of many draws is the value: within 5 standard errors of each; their squared error is
 * what flip_groups_error says. */
static void expectation(void **state) {
    (void)state;
    enum { N = 300, DRAWS = 2000 };
    flip_real x[N], y[N];
    double sum[N] = {0}, square[N] = {0};
    uint8_t code[512];
    for (int i = 0; i < N; i++)
        x[i] = (flip_real)draw((uint64_t)i);
    for (int32_t bits = 2; bits <= 8; bits *= 2) {
        memset(sum, 0, sizeof sum);
        memset(square, 0, sizeof square);
        for (int d = 0; d < DRAWS; d++) {
            flip_groups_encode(code, x, N, bits, (uint64_t)d * 977);
            flip_groups_decode(y, code, N, bits);
            for (int i = 0; i < N; i++) {
                sum[i] += (double)y[i];
                square[i] += (double)y[i] * (double)y[i];
            }
        }
        double error = 0, told = flip_groups_error(x, FLIP_GROUP, bits) +
                                 flip_groups_error(x + FLIP_GROUP, N - FLIP_GROUP, bits);
        for (int i = 0; i < N; i++)
            error += (square[i] - 2 * sum[i] * (double)x[i]) / DRAWS + (double)(x[i] * x[i]);
        CHECK(fabs(error - told) < 0.03 * told, "%d bits: squared error %g, told %g", bits, error,
              told);
        int far = 0;
        for (int i = 0; i < N; i++) {
            double mean = sum[i] / DRAWS, var = square[i] / DRAWS - mean * mean;
            double error = sqrt(fmax(var, 0) / DRAWS) + 1e-6 * fabs((double)x[i]) +
                           step_at(x, N, i, bits) / DRAWS; /* never drawn */
            far += fabs(mean - (double)x[i]) > 5 * error;
        }
        CHECK(far == 0, "%d bits: %d of %d means are off", bits, far, N);
    }
}

/* Expected squared error of a group whose quarters have levels at 0, a, b and 16 sixteenths of the
 * way from the group's least value to the quarter's greatest. */
static double error_with(const flip_real *x, int a, int b) {
    const double place[4] = {0, a, b, 16};
    double low = INFINITY, error = 0;
    for (int i = 0; i < FLIP_GROUP; i++)
        low = fmin(low, (double)x[i]);
    for (int q = 0; q < FLIP_GROUP; q += FLIP_QUARTER) {
        double high = low, sum = 0;
        for (int i = q; i < q + FLIP_QUARTER; i++)
            high = fmax(high, (double)x[i]);
        for (int i = q; i < q + FLIP_QUARTER; i++) {
            const double p = ((double)x[i] - low) / (high - low) * 16;
            const int k = (p >= a) + (p >= b);
            sum += p < 16 ? (place[k + 1] - p) * (p - place[k]) : 0;
        }
        error += sum * pow((high - low) / 16, 2);
    }
    return error;
}

/* No other pair of inner levels would err less, but for the rounding of ranges and positions:
 * values as they are after an activation, many zeros, columns and rows of different sizes among
 * them. */
static void levels(void **state) {
    (void)state;
    flip_real x[FLIP_GROUP];
    double chosen = 0, best = 0, even = 0;
    for (uint64_t g = 0; g < 150; g++) {
        for (uint64_t i = 0; i < FLIP_GROUP; i++) {
            double v = flip_random_normal(3, FLIP_STREAM_TEST, g, i);
            if (g % 3 > 0) v *= exp(flip_random_normal(3, FLIP_STREAM_TEST, 1000, i % 64));
            if (i / 64 == g % 4) v *= 0.1;
            x[i] = (flip_real)(g % 3 > 1 && v < 0 ? 0 : v);
        }
        double least = INFINITY;
        for (int a = 1; a < 16; a++)
            for (int b = a + 1; b < 16; b++)
                least = fmin(least, error_with(x, a, b));
        const double error = flip_groups_error(x, FLIP_GROUP, 2);
        CHECK(error <= 1.15 * least, "group %d: error %g, levels with %g were possible", (int)g,
              error, least);
        chosen += error;
        best += least;
        even += fmin(error_with(x, 5, 11), error_with(x, 5, 10));
    }
    CHECK(chosen <= 1.02 * best, "error %g, the best levels have %g", chosen, best);
    CHECK(chosen <= 0.8 * even, "error %g, even levels have %g", chosen, even);
}

static void no_numbers(void **state) {
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, 3.3e38};
    flip_real x[600], y[600];
    uint8_t code[1024];
    for (size_t k = 0; k < 3 * sizeof bad / sizeof *bad; k++) {
        const int32_t bits = 2 << k % 3;
        for (int i = 0; i < 600; i++)
            x[i] = (flip_real)(i % 10);
        x[300] = (flip_real)bad[k / 3];
        x[301] = k / 3 == 3 ? (flip_real)-3.3e38 : 0; /* a range that is not finite */
        flip_groups_encode(code, x, 600, bits, 1);
        flip_groups_decode(y, code, 600, bits);
        CHECK(isnan((double)y[300]) && isnan((double)y[511]), "%d bits: %g comes back as a number",
              bits, bad[k / 3]);
        CHECK(!isnan((double)y[255]) && !isnan((double)y[512]), "%d bits: %g spoils other groups",
              bits, bad[k / 3]);
        CHECK(flip_groups_error(x + 256, 256, bits) == 0, "an error of no number");
    }
    for (int i = 0; i < 600; i++)
        x[i] = (flip_real)0.5;
    flip_groups_encode(code, x, 600, 2, 1);
    flip_groups_decode(y, code, 600, 2);
    CHECK(y[0] == x[0] && y[599] == x[599], "a constant is %g, was 0.5", (double)y[0]);
}

/* The factor from values to places would be more than a float is where a quarter's range is a small
 * part of a tiny group's. */
static void tiny(void **state) {
    (void)state;
    enum { DRAWS = 1000 };
    flip_real x[FLIP_GROUP] = {0}, y[FLIP_GROUP];
    uint8_t code[FLIP_GROUP];
    double mean = 0, square = 0;
    x[0] = (flip_real)3e-38;
    x[1] = (flip_real)1e-38;
    x[255] = (flip_real)1e-36;
    for (uint64_t d = 0; d < DRAWS; d++) {
        flip_groups_encode(code, x, FLIP_GROUP, 2, d * 977);
        flip_groups_decode(y, code, FLIP_GROUP, 2);
        mean += (double)y[1] / DRAWS;
        for (int i = 0; i < FLIP_GROUP; i++)
            square += pow((double)y[i] - (double)x[i], 2) / DRAWS;
    }
    const double told = flip_groups_error(x, FLIP_GROUP, 2);
    CHECK(fabs(mean - (double)x[1]) < 0.2e-38, "the mean is %g, was 1e-38", mean);
    CHECK(fabs(square - told) < 0.2 * told, "squared error %g, told %g", square, told);
}

/* ---- tables of kernels ---- */

/* Value i of a case, as what groups are: drawn, zeros of both signs, all the same, tinier than
 * tiny, with a value in the middle that is none, or too far from another, and tiny, with quarters
 * that are tinier. */
static flip_real value_of(int kind, int64_t i, int64_t n) {
    static const double odd[] = {NAN, -INFINITY, 3.3e38};
    if (kind == 1) return (flip_real)(i * 7 % 3 ? 0.0 : -0.0);
    if (kind == 2) return (flip_real)0.3;
    if (kind == 3) return (flip_real)(draw((uint64_t)i) * 1e-40);
    if (kind == 7) return (flip_real)(fabs(draw((uint64_t)i)) * (i / 64 % 2 ? 3e-36 : 3e-38));
    if (kind >= 4 && i == n / 2) return (flip_real)odd[kind - 4];
    return (flip_real)(kind == 6 && i == n / 3 ? -3.3e38 : draw((uint64_t)i));
}

static void check_table(const flip_kernels *table, int kind, int64_t n, int32_t bits) {
    const size_t bytes = flip_groups_bytes(n, bits), room = (size_t)n + 1;
    flip_real *x = get(room, sizeof *x), *y = get(room, sizeof *y), *want = get(room, sizeof *y);
    uint8_t *codes = get(bytes + 1, 1), *wanted = get(bytes + 1, 1);
    const uint64_t key = 0x9876543210abcdef + (uint64_t)n;
    for (int64_t i = 0; i < n; i++)
        x[i] = value_of(kind, i, n);
    codes[bytes] = wanted[bytes] = 0xA5;
    y[n] = want[n] = 42;
    flip_groups_encode(wanted, x, n, bits, key);
    flip_groups_decode(want, wanted, n, bits);
    CALL(table, encode_groups, codes, x, n, bits, key);
    CALL(table, decode_groups, y, codes, n, bits);
    for (size_t i = 0; i <= bytes; i++)
        CHECK(codes[i] == wanted[i],
              "%s, case %d: byte %zu of %lld values of %d bits is %d, not %d", table->name, kind, i,
              (long long)n, bits, codes[i], wanted[i]);
    for (int64_t i = 0; i <= n; i++)
        CHECK(y[i] == want[i] || (isnan((double)y[i]) && isnan((double)want[i])),
              "%s, case %d: value %lld of %lld of %d bits is %g, not %g", table->name, kind,
              (long long)i, (long long)n, bits, (double)y[i], (double)want[i]);
    RELEASE(x, y, want, codes, wanted);
}

static void tables(void **state) {
    (void)state;
    static const int64_t ns[] = {0, 1, 3, 7, 8, 64, 65, 129, 193, 255, 256, 257, 385, 1001, 20003};
    for (int t = 0; t < n_tables; t++)
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
            for (int32_t bits = 2; bits <= 16; bits *= 2)
                for (int kind = 0; kind < 8; kind++)
                    check_table(list[t], kind, ns[i], bits);
}

/* ---- widths of their own ---- */

/* The same bytes as 4 bits everywhere and a width's entry, less error where ranges differ. */
static void mixed(void **state) {
    (void)state;
    static const int64_t ns[] = {0, 1, 4, 10, 11, 64, 100, 256, 257, 266, 5000, 25600};
    for (size_t k = 0; k < sizeof ns / sizeof *ns; k++) {
        int64_t n = ns[k];
        flip_real *x = calloc((size_t)n + 1, sizeof *x), *y = calloc((size_t)n + 1, sizeof *y);
        size_t bytes = flip_mixed_bytes(n);
        uint8_t *code = malloc(bytes + 1);
        double error[2] = {0, 0};
        code[bytes] = 0xA5;
        for (int64_t i = 0; i < n; i++)
            x[i] = (flip_real)draw((uint64_t)i);
        CHECK(bytes ==
                  flip_groups_bytes(n, 4) + (size_t)((n + FLIP_GROUP - 1) / FLIP_GROUP + 3) / 4,
              "%lld values: %zu bytes", (long long)n, bytes);
        CHECK_OK(flip_mixed_encode(code, x, n, 3));
        CHECK(code[bytes] == 0xA5, "written past the end");
        CHECK_OK(flip_mixed_decode(y, code, n));
        for (int64_t i = 0; i < n; i++) {
            error[0] += pow((double)(y[i] - x[i]), 2);
            CHECK(fabs((double)(y[i] - x[i])) <=
                      fmax(step_at(x, n, i, 2), step_at(x, n, i, 4)) * (1 + 1e-5),
                  "value %lld of %lld is %g, was %g", (long long)i, (long long)n, (double)y[i],
                  (double)x[i]); /* two bits at least */
        }
        uint8_t *four = malloc(bytes + 1);
        flip_groups_encode(four, x, n, 4, 3);
        flip_groups_decode(y, four, n, 4);
        for (int64_t i = 0; i < n; i++)
            error[1] += pow((double)(y[i] - x[i]), 2);
        CHECK(n < 5000 || error[0] < 0.5 * error[1], "%lld values: error %g, with 4 bits %g",
              (long long)n, error[0], error[1]);
        if (n > 0) {
            code[0] |= 3; /* no width */
            CHECK(flip_mixed_decode(y, code, n) != FLIP_OK, "a width that there is not");
            flip_error_clear();
        }
        free(x);
        free(y);
        free(code);
        free(four);
    }
}

/* A group that errs more in 4 bits than in 2, whose levels fit its quarters, gets 8 at once: two of
 * eight, for which there is room. */
static void jumps(void **state) {
    (void)state;
    enum { N = 8 * FLIP_GROUP };
    static const double large[] = {0.3, 0.45, 0.7, 1};
    flip_real x[N];
    uint8_t code[N];
    int groups_in[4] = {0};
    for (int i = 0; i < N; i++) {
        const int at = i % FLIP_GROUP;
        x[i] = (flip_real)(at < 60 ? 0 : at < 64 ? large[at - 60] : (i * 37 % 101) * 1e-4);
    }
    for (int i = 0; i < N; i += FLIP_GROUP)
        CHECK(flip_groups_error(x + i, FLIP_GROUP, 2) < flip_groups_error(x + i, FLIP_GROUP, 4),
              "not the case that is asked for");
    CHECK_OK(flip_mixed_encode(code, x, N, 3));
    for (int g = 0; g < N / FLIP_GROUP; g++)
        groups_in[code[g / 4] >> g % 4 * 2 & 3]++;
    CHECK(groups_in[0] == 6 && groups_in[2] == 2, "%d groups in 2 bits, %d in 8", groups_in[0],
          groups_in[2]);
}

/* ---- on the tape ---- */

enum { ROWS = 1024, DIM = 64, LAYERS = 3 };

static void run_network(flip_params *params, const flip_param *w, flip_saved saved, uint64_t seed,
                        const flip_real *x, const flip_real *up, size_t *bytes) {
    flip_tape *tape;
    CHECK_OK(flip_tape_create(
        &tape, &(flip_tape_params){
                   .params = params, .seed = seed, .saved = saved, .kernels = test_kernels()}));
    CHECK(test_placed(params), "the parameters are not on the device");
    flip_tape_reset(tape, true, 1);
    flip_params_clear_gradients(params);
    flip_var h = flip_tape_input(tape, ROWS, 1, DIM, x, false);
    for (int l = 0; l < LAYERS; l++) {
        flip_var y = flip_linear(tape, h, w[l], FLIP_PARAM_NONE,
                                 l < LAYERS - 1 ? FLIP_ACT_RELU : FLIP_ACT_NONE);
        flip_tape_release(tape, h);
        h = y;
    }
    CHECK_OK(flip_tape_backward(tape, flip_inner(tape, h, up)));
    *bytes = flip_tape_saved(tape);
    flip_tape_destroy(&tape);
}

/* Gradients with quantised activations are right on average; two bits take a tenth of the bytes. */
static void activations(void **state) {
    (void)state;
    enum { SIZE = DIM * DIM * LAYERS };
    const int draws = test_kernels() ? 10 : 200;
    static const flip_saved ways[] = {FLIP_SAVED_2BIT, FLIP_SAVED_4BIT, FLIP_SAVED_8BIT};
    flip_params *params;
    flip_param w[LAYERS];
    flip_real *x = calloc(ROWS * DIM, sizeof *x), *up = calloc(ROWS * DIM, sizeof *up);
    double *exact = calloc(SIZE, sizeof *exact), *mean = calloc(SIZE, sizeof *mean);
    size_t kept, bytes;
    for (size_t i = 0; i < ROWS * DIM; i++) {
        x[i] = (flip_real)draw(i * 3);
        up[i] = (flip_real)(draw(i * 3 + 1) / ROWS);
    }
    CHECK_OK(flip_params_create(&params));
    for (int l = 0; l < LAYERS; l++) {
        char name[8] = {'w', (char)('0' + l)};
        w[l] = flip_params_add(params, name, DIM, DIM, FLIP_INIT_GLOROT);
    }
    CHECK_OK(flip_params_finish(params, 1));
    run_network(params, w, FLIP_SAVED_KEEP, 0, x, up, &kept);
    memcpy(exact, flip_params_gradients(params), SIZE * sizeof *exact);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        double one = 0, off = 0, norm = 0;
        memset(mean, 0, SIZE * sizeof *mean);
        for (int d = 0; d < draws; d++) {
            run_network(params, w, ways[k], (uint64_t)d, x, up, &bytes);
            const double *g = flip_params_gradients(params);
            for (int i = 0; i < SIZE; i++) {
                mean[i] += g[i] / draws;
                if (d == 0) one += pow(g[i] - exact[i], 2);
            }
        }
        for (int i = 0; i < SIZE; i++) {
            off += pow(mean[i] - exact[i], 2);
            norm += exact[i] * exact[i];
        }
        /* the mean of D draws is off by 1 / sqrt(D) of one draw's error; a bias would stay */
        CHECK(one > 0, "way %zu changes nothing", k);
        CHECK(off < 2.0 / draws * one + 1e-12 * norm,
              "way %zu: mean of %d draws is off by %g, one by %g", k, draws, sqrt(off), sqrt(one));
        if (ways[k] == FLIP_SAVED_2BIT && sizeof(flip_real) == 4)
            CHECK(10 * bytes <= kept, "2 bits keep %zu bytes of %zu", bytes, kept);
    }
    flip_params_destroy(&params);
    free(x);
    free(up);
    free(exact);
    free(mean);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),    cmocka_unit_test(expectation), cmocka_unit_test(levels),
        cmocka_unit_test(no_numbers), cmocka_unit_test(tables),      cmocka_unit_test(mixed),
        cmocka_unit_test(jumps),      cmocka_unit_test(tiny),        cmocka_unit_test(activations),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
