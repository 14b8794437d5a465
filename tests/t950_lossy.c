/* t950: rows on the wire and saved activations in few bits, in whole runs: fewer bytes than exact
 * by the widths' ratio, a loss near the exact one, the same bits twice and after a resume, nothing
 * rounded when it is off. */
#include "pipeline.h"

#include <math.h>
#include <string.h>

/* Bytes of groups of 256 beside float32: b bits and 4 bytes a group; short messages round up. */
static const struct {
    const char *arguments, *counter;
    const char *wire;
    double least, most; /* of exact's bytes */
} wires[] = {
    {"moving.h5 --model gcn --hidden 16 --distribute nodes", "bytes.halo", "bf16", 0.5, 0.5},
    {"moving.h5 --model gcn --hidden 16 --distribute nodes", "bytes.halo", "int8", 0.25, 0.27},
    {"moving.h5 --model gcn --hidden 16 --distribute nodes", "bytes.halo", "int4", 0.125, 0.145},
    {"moving.h5 --model gcn --hidden 16 --distribute nodes", "bytes.halo", "adaptive", 0.125, 0.15},
    {"moving.h5 --model cdgcn --hidden 16 --distribute time", "bytes.redistribute", "int8", 0.25,
     0.27},
    {"moving.h5 --model cdgcn --hidden 16 --distribute grid", "bytes.redistribute", "int4", 0.125,
     0.15},
    {"moving.h5 --model tmgcn --window 3 --hidden 16 --precompute off --distribute window",
     "bytes.window", "int8", 0.25, 0.27},
};

static report run(int ranks, const char *graph_and_model, const char *more) {
    assert_int_equal(
        pipeline_run(ranks, "train %s --task node --epochs 10 --split 0 --seed 3 --report r %s",
                     graph_and_model, more),
        0);
    return pipeline_report("r");
}

static void wire_bytes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++) {
        int ranks = strstr(wires[i].arguments, "grid") ? 4 : 3;
        char option[64];
        snprintf(option, sizeof option, "--wire-codec %s", wires[i].wire);
        report exact = run(ranks, wires[i].arguments, ""),
               lossy = run(ranks, wires[i].arguments, option),
               again = run(ranks, wires[i].arguments, option);
        double full = pipeline_number(&exact, wires[i].counter) * 4 / (double)sizeof(flip_real),
               share = pipeline_number(&lossy, wires[i].counter) / full;
        double off = pipeline_difference(&exact, &lossy, 10);
        if (share < wires[i].least || share > wires[i].most || off > 0.2 || off == 0)
            fprintf(stderr, "# %s, %s: share of bytes %.4f, losses off by %.4f\n",
                    wires[i].arguments, wires[i].wire, share, off);
        assert_true(full > 0);
        assert_true(share >= wires[i].least && share <= wires[i].most);
        assert_true(off > 0 && off < 0.2);
        assert_true(pipeline_difference(&lossy, &again, 10) == 0);
        pipeline_drop(&exact);
        pipeline_drop(&lossy);
        pipeline_drop(&again);
    }
}

static void saved_activations(void **state) {
    (void)state;
    static const char *const models[] = {
        "still.h5 --model sage --hidden 32 --layers 3",
        "moving.h5 --model cdgcn --hidden 16 --blocks 2",
        "moving.h5 --model gcn --hidden 16 --norm layer --residual on"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        report exact = run(1, models[i], ""), two = run(1, models[i], "--activations 2bit"),
               four = run(1, models[i], "--activations 4bit"),
               eight = run(1, models[i], "--activations 8bit"),
               again = run(1, models[i], "--activations 2bit");
        double all = pipeline_number(&exact, "saved_bytes");
        double share[3] = {pipeline_number(&two, "saved_bytes") / all,
                           pipeline_number(&four, "saved_bytes") / all,
                           pipeline_number(&eight, "saved_bytes") / all};
        double off[3] = {pipeline_difference(&exact, &two, 10),
                         pipeline_difference(&exact, &four, 10),
                         pipeline_difference(&exact, &eight, 10)};
        fprintf(stderr,
                "# %s: saved 2 bits %.3f, 4 bits %.3f, 8 bits %.3f; losses off by %.4f %.4f %.4f\n",
                models[i], share[0], share[1], share[2], off[0], off[1], off[2]);
        assert_true(all > 0 && share[0] < share[1] && share[1] < share[2] && share[2] < 0.75);
        assert_true(off[2] > 0 && off[2] < 0.05 && off[1] < 0.15 && off[0] < 0.4);
        assert_true(pipeline_difference(&two, &again, 10) == 0);
        pipeline_drop(&exact);
        pipeline_drop(&two);
        pipeline_drop(&four);
        pipeline_drop(&eight);
        pipeline_drop(&again);
    }
}

static void resumes_with_the_same_bits(void **state) {
    (void)state;
    static const char way[] =
        "moving.h5 --model cdgcn --hidden 16 --distribute time --wire-codec int4 "
        "--activations 2bit";
    report whole = run(2, way, "");
    assert_int_equal(
        pipeline_run(2, "train %s --task node --epochs 4 --split 0 --seed 3 --checkpoint c", way),
        0);
    report rest = run(2, way, "--resume c");
    assert_int_equal(rest.n + 4 >= whole.n, 1);
    assert_true(whole.loss[whole.n - 1] == rest.loss[rest.n - 1]);
    pipeline_drop(&whole);
    pipeline_drop(&rest);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(wire_bytes),
                                       cmocka_unit_test(saved_activations),
                                       cmocka_unit_test(resumes_with_the_same_bits)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
