/* t295: flipbook bench kernels --device cuda, on a device of a few hundred rows: every call of the
 * table is timed, agrees with the CPU, and its rates are those that its bytes and seconds give. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

#define REAL ((double)sizeof(flip_real))

static double number(json_t *row, const char *key) {
    json_t *value = json_object_get(row, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const char *word(json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    assert_non_null(text);
    return text;
}

/* `within`: what the decimals of the two leave open; seconds have five digits. */
static void near(double got, double want, double within) {
    if (!(fabs(got - want) <= 2e-4 * fabs(want) + within)) fail_msg("%g is not %g", got, want);
}

/* What the header of bench_device.c counts for spmm, from the row's own shape. */
static void spmm_row(json_t *row) {
    double m = number(row, "m"), n = number(row, "n"), e = number(row, "entries");
    assert_true(e > 5 * m && e < 60 * m);
    assert_true(number(row, "bytes") == e * (4 + REAL + n * REAL) + m * (8 + n * REAL));
    near(number(row, "gflops"), 2 * e * n / number(row, "seconds") * 1e-9, 0.006);
}

static void rates(json_t *row, double copy) {
    double rate = number(row, "gb_per_second"), seconds = number(row, "seconds");
    near(rate, number(row, "bytes") / seconds * 1e-9, 0.006);
    near(number(row, "of_copy_rate"), rate / copy, 6e-4 + 0.006 * (1 + rate / copy) / copy);
    near(number(row, "fraction"), number(row, "limit_seconds") / seconds, 6e-4);
}

static void rows_agree(void **state) {
    static const char *const calls[] = {
        "spmm",         "spmm_steps",   "spmm_packed:8", "spmm_packed:pq", "decode_rows:2",
        "gemm_nn",      "gemm_nn+relu", "gemm_nt+mask",  "gemm_tn",        "gemm_nn_bf16",
        "gemm_tn_bf16", "column_sums",  "softmax",       "scaled",         "dropout",
        "mask_bits",    "adam",         "lstm_forward",  "lstm_backward",  "gru_forward",
        "gru_backward"};
    enum { N = sizeof calls / sizeof *calls };
    int seen[N] = {0};
    double copy = 0;
    char path[128], line[2048];
    (void)state;
    pipeline_good(0, "bench kernels --device cuda --rows 300 --seconds 0 --threads 1 --json");
    snprintf(path, sizeof path, "%s/out", pipeline_folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        if (strcmp(word(row, "bench"), "limits") == 0)
            copy = number(row, "copy_gb_per_second");
        else {
            for (int i = 0; i < N; i++)
                seen[i] += strcmp(word(row, "kernel"), calls[i]) == 0;
            if (!json_is_true(json_object_get(row, "agrees"))) fail_msg("differs: %s", line);
            assert_true(number(row, "error") <= 1e-2);
            rates(row, copy);
            if (strcmp(word(row, "kernel"), "spmm") == 0) spmm_row(row);
        }
        json_decref(row);
    }
    fclose(file);
    assert_true(copy > 0);
    for (int i = 0; i < N; i++)
        if (!seen[i]) fail_msg("no row of %s", calls[i]);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_agree)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed != 0;
}
