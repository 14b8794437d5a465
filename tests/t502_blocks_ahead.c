/* Blocks that are sent to a device while it works on the one before: sums over their entries, and
 * their inputs, are those of a CPU, which waits for each. What stands in one place of the host's
 * memory after the other must have left it in time, and no kernel may read it too early, or what
 * comes too soon: which an emulated device tells. */
#include "device.h"
#include "ranks.h"

#include <math.h>
#include <stdlib.h>

enum { NODES = 60, EVENTS = 500, DIM = 5, BLOCKS = 9 };

static const flip_adjacency_kind kinds[] = {FLIP_ADJACENCY_GCN, FLIP_ADJACENCY_SUM,
                                            FLIP_ADJACENCY_MEAN};
enum { KINDS = sizeof kinds / sizeof *kinds };

static flip_adjacency *adjacency[KINDS];
static flip_real input[NODES * DIM]; /* of the block that is read or sent: one after the other */

static void make_adjacency(int k) {
    static flip_gid dst[EVENTS], src[EVENTS], all[2] = {0, NODES};
    static int64_t original[NODES];
    const flip_events events = {.n = EVENTS - 100 * k, .dst = dst, .src = src};
    const flip_adjacency_params params = {.kind = kinds[k], .n_steps = 1, .edge_life = 1};
    for (int64_t i = 0; i < events.n; i++) {
        const uint64_t pair =
            flip_random_below(7, FLIP_STREAM_TEST, (uint64_t)k, (uint64_t)i, NODES * NODES);
        dst[i] = (flip_gid)(pair / NODES);
        src[i] = (flip_gid)(pair % NODES);
    }
    for (int i = 0; i < NODES; i++)
        original[i] = i;
    CHECK_OK(flip_adjacency_create(&adjacency[k], NULL, all, original, &events, &params));
}

static void set_input(int block) {
    for (int i = 0; i < NODES * DIM; i++)
        input[i] = (flip_real)((i * 7 + block * 11) % 23 - 9);
}

static flip_tape *open_tape(const flip_kernels *kernels) {
    flip_tape *tape;
    CHECK_OK(flip_tape_create(&tape, &(flip_tape_params){.n_own = NODES, .kernels = kernels}));
    flip_tape_reset(tape, false, 0);
    return tape;
}

static flip_var read_block(flip_tape *tape, int block) {
    const flip_var x = flip_tape_input(tape, NODES, 1, DIM, input, false);
    const flip_var y = flip_aggregate(tape, adjacency[block % KINDS], x, FLIP_VAR_NONE,
                                      FLIP_PARAM_NONE, (flip_act){.relu = false});
    CHECK_OK(flip_tape_status(tape));
    return y;
}

/* Ahead, inputs of every third block are sent before its matrix is there. */
static void hold(flip_tape *tape, int block, bool ahead) {
    const bool inputs_first = ahead && block % 3 == 2;
    const flip_adjacency *g = adjacency[block % KINDS];
    set_input(block);
    CHECK_OK(flip_tape_hold_block(tape, inputs_first ? NULL : g, block % 2, ahead));
    CHECK_OK(flip_tape_hold_inputs(tape, input, sizeof input));
    if (ahead) CHECK_OK(flip_tape_send_ahead(tape));
    if (!inputs_first) return;
    CHECK_OK(flip_tape_hold_block(tape, g, block % 2, false));
    CHECK_OK(flip_tape_send_ahead(tape));
}

/* All blocks, with nothing that waits in between. `unread`: one that is sent and let go, and comes
 * again when it is asked for. */
static void read_ahead(flip_tape *tape, int unread, flip_var *y) {
    hold(tape, 0, false);
    for (int k = 0; k < BLOCKS; k++) {
        y[k] = read_block(tape, k);
        flip_tape_let_block_go(tape);
        if (k + 1 == BLOCKS) break;
        hold(tape, k + 1, true);
        if (k + 1 != unread) continue;
        flip_tape_let_block_go(tape);
        hold(tape, k + 1, false);
    }
}

/* What is sent waits for no block that was let go just now, which the device still works on. */
static const flip_kernels *kernels;
static const void *let_go_last;
static uint64_t sent, sent_at_once, received;

static void watch_end(void **event) {
    kernels->mark_end(event);
    let_go_last = *event;
}

static void watch_ahead(void *to, const void *host, size_t bytes, void *after) {
    CHECK(after != let_go_last, "%zu bytes are sent after the block before them", bytes);
    kernels->send_ahead(to, host, bytes, after);
    sent += bytes;
}

static void watch_send(void *to, const void *host, size_t bytes) {
    kernels->send(to, host, bytes);
    sent_at_once += bytes;
}

static void watch_receive(void *host, const void *from, size_t bytes) {
    kernels->receive(host, from, bytes);
    received += bytes;
}

static void check_blocks(int unread) {
    flip_kernels watched = *kernels;
    watched.mark_end = watch_end;
    watched.send_ahead = watch_ahead;
    watched.send = watch_send;
    watched.receive = watch_receive;
    flip_tape *here = open_tape(NULL), *there = open_tape(&watched);
    flip_var y[BLOCKS];
    const flip_device_counts before = kernels->counts();
    sent = sent_at_once = received = 0;
    read_ahead(there, unread, y);
    const flip_device_counts after = kernels->counts();
    CHECK(sent > (BLOCKS - 3) * sizeof input && after.ahead - before.ahead == sent,
          "%llu bytes ahead", (unsigned long long)sent);
    CHECK(after.sent - before.sent == sent + sent_at_once && sent_at_once > 0,
          "%llu bytes over the bus", (unsigned long long)(after.sent - before.sent));
    for (int k = 0; k < BLOCKS; k++) {
        set_input(k);
        flip_tape_reset(here, false, 0);
        const flip_real *want = flip_tape_value(here, read_block(here, k)),
                        *got = flip_tape_value(there, y[k]);
        for (int i = 0; i < NODES * DIM; i++)
            CHECK(fabs((double)(got[i] - want[i])) <= 1e-4, "value %d of block %d: %g, not %g", i,
                  k, (double)got[i], (double)want[i]);
    }
    CHECK(received > 0 && kernels->counts().received - before.received == received,
          "%llu bytes back", (unsigned long long)(kernels->counts().received - before.received));
    flip_tape_destroy(&here);
    flip_tape_destroy(&there);
}

static void blocks(void **state) {
    (void)state;
    check_blocks(-1);
    for (int unread = 3; unread < BLOCKS; unread++)
        check_blocks(unread);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks)};
    MPI_Init(&argc, &argv);
    kernels = test_kernels();
    CHECK(kernels, "FLIP_TEST_DEVICE=cuda runs this test");
    for (int k = 0; k < KINDS; k++)
        make_adjacency(k);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int k = 0; k < KINDS; k++)
        flip_adjacency_destroy(&adjacency[k]);
    MPI_Finalize();
    return failed;
}
