/* t945: once codes are loaded no full-width table stands anywhere: a run on packed features,
 * sampled or full batch, evaluation included, has its peak memory well below that table
 * alone; a run on the table itself does not. */
#include "pipeline.h"

enum { NODES = 131072, FEATURES = 256 };
static const double table = (double)sizeof(flip_real) * NODES * FEATURES; /* 134 MB of float */
static const double margin = 0.75;

static void below_the_table(void **state) {
    (void)state;
    const char *batch = "--hidden 8 --model sage --batch 1024 --fanout 3,3";
    assert_int_equal(pipeline_run(0,
                                  "generate rmat --nodes %d --edges 200000 --features %d --seed 1 "
                                  "--train .1 -o wide.h5",
                                  NODES, FEATURES),
                     0);
    assert_int_equal(pipeline_run(0, "compress wide.h5 --codec lloyd:2:shared -o packed.h5"), 0);
    assert_true(pipeline_peak("packed.h5", batch, table) < margin * table);
    assert_true(pipeline_peak("packed.h5",
                              "--hidden 8 --model sage --batch 1024 --fanout 3,3 --cache-bytes 1M",
                              table) < margin * table);
    assert_true(pipeline_peak("packed.h5", "--hidden 8 --model gcn", table) < margin * table);
    assert_true(pipeline_peak("wide.h5", batch, table) > table);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(below_the_table)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed != 0;
}
