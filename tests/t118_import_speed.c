/* import of plain numbers: at least 5 million edges a second of CPU, at most 40 bytes an edge. The
 * figures are printed; the speed is asserted in optimised builds only. */
#include "import_files.h"

#include <sys/resource.h>

enum { EDGES = 3000000, NODES = 300000 };

static double user_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec;
}

static void write_edges(const char *path, bool time) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    uint64_t x = 88172645463325252u; /* xorshift: only the shape of the file matters */
    for (int64_t i = 0; i < EDGES; i++) {
        uint64_t ends[2];
        for (int k = 0; k < 2; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            ends[k] = (x >> 11) % NODES;
        }
        if (time)
            fprintf(file, "%d %d %lld\n", (int)ends[0], (int)ends[1],
                    1082040961ll + 3 * (long long)i);
        else
            fprintf(file, "%d\t%d\n", (int)ends[0], (int)ends[1]);
    }
    assert_int_equal(fclose(file), 0);
}

static void fast_and_small(void **state) {
    (void)state;
    for (int time = 0; time < 2; time++) {
        const char *input = "edges.txt";
        flip_import_report report;
        flip_import_params params = {
            .inputs = &input, .n_inputs = 1, .output = "out.h5", .step = time ? "7d" : NULL};
        write_edges(input, time);
        double begin = user_seconds();
        if (flip_import(&params, &report) != FLIP_OK) fail_msg("%s", flip_error_message());
        double rate = EDGES / (user_seconds() - begin) / 1e6;
        double bytes = (double)(report.memory_peak - report.memory_base) / EDGES;
        print_message("# %s: %.1f million edges a second of CPU, %.1f bytes an edge\n",
                      time ? "src dst time" : "src dst", rate, bytes);
        assert_int_equal(report.n_events, EDGES);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        assert_true(bytes <= 40);
#ifdef __OPTIMIZE__
        assert_true(rate >= 5);
#endif
#endif
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fast_and_small)};
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
