/* t422: how a run with --prefetch ends when something happens to it: one rank alone fails in its
 * thread or in its trainer, all fail together, or a signal comes in the middle of an epoch. No rank
 * waits for ever, the rank's own message arrives, and a stopped run goes on with the same bits. */
#include "pipeline.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EPOCHS = 4, LIMIT = 60 };
static const char *const sage = "train still.h5 --model sage --batch 10 --fanout 3,2 --hidden 16 "
                                "--seed 3 --threads 1";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The exit code, or -1 when the run takes longer than LIMIT seconds and is ended. */
static int run(int ranks, const char *faults, const char *more) {
    setenv("FLIP_FAULTS", faults, 1);
    double began = now();
    pid_t process = pipeline_start(ranks, "%s --epochs %d %s", sage, EPOCHS, more);
    int how = 0;
    while (waitpid(process, &how, WNOHANG) == 0) {
        if (now() - began > LIMIT) {
            kill(process, SIGTERM); /* mpirun ends its ranks */
            waitpid(process, &how, 0);
            fprintf(stderr, "# %s: still there after %d s\n", more, LIMIT);
            return -1;
        }
        usleep(5000);
    }
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

static void expect(int ranks, const char *faults, const char *more, int code, const char *message) {
    int got = run(ranks, faults, more);
    if (got != code) fprintf(stderr, "# %d ranks, %s: exit %d\n", ranks, faults, got);
    assert_true(pipeline_said(message));
    assert_int_equal(got, code);
}

static void one_rank_fails(void **state) {
    (void)state;
    expect(3, "2 2 0 0 0 6 0", "--prefetch 2", 1, "[rank 2] planted: step 6 fails");
    expect(2, "1 1 0 0 7 0 0", "--prefetch 2 --cache-bytes 400", 1,
           "[rank 1] planted: fetch 7 fails");
}

/* One's thread fails while another's trainer does. */
static void two_ranks_fail(void **state) {
    (void)state;
    expect(2, "1 0 0 30 6 4 0", "--prefetch 3", 1, "[rank 0] planted: step 4 fails");
}

static void all_fail(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 3; ranks += 3) {
        double began = now();
        expect(ranks, "-1 -1 0 0 0 0 0", "--prefetch 3 --task regression --lr 1e6 --optimizer sgd",
               1, "training diverged");
        assert_true(now() - began < LIMIT / 2);
        expect(ranks, "-1 -1 0 0 9 0 0", "--prefetch 3", 1, "flipbook: planted: fetch 9 fails");
    }
}

static void stopped(void **state) {
    (void)state;
    static const char *const none = "-1 -1 0 0 0 0 0";
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        assert_int_equal(run(ranks, none, "--prefetch 0 --report whole"), 0);
        expect(ranks, "0 0 2 2 0 0 8", "--prefetch 2 --report r --checkpoint c.h5", 85,
               "stopped by request after epoch 2;");
        assert_int_equal(run(ranks, none, "--prefetch 3 --report r --resume c.h5"), 0);
        report whole = pipeline_report("whole"), rest = pipeline_report("r");
        assert_int_equal(rest.n, EPOCHS);
        assert_memory_equal(whole.loss, rest.loss, EPOCHS * sizeof *rest.loss);
        assert_true(pipeline_number(&whole, "test") == pipeline_number(&rest, "test"));
        pipeline_drop(&whole);
        pipeline_drop(&rest);
    }
}

static void refusals(void **state) {
    (void)state;
    pipeline_refused("still.h5 --prefetch 2",
                     "--prefetch 2 belongs to sampled batches; add --batch N");
    assert_int_equal(pipeline_run(0, "train still.h5 --batch 8 --prefetch -1"), 2);
    assert_int_equal(pipeline_run(0, "train still.h5 --epochs 1 --prefetch 0"), 0);
    assert_int_equal(pipeline_run(0, "train still.h5 --epochs 1 --batch 16 --prefetch auto"), 0);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_rank_fails),
                                       cmocka_unit_test(two_ranks_fail), cmocka_unit_test(all_fail),
                                       cmocka_unit_test(stopped), cmocka_unit_test(refusals)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed != 0;
}
