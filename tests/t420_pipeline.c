/* t420: batches made ahead of the trainer by a thread — the bits of the curve, the rows and the
 * bytes are those of --prefetch 0 for any depth, with plain rows, a cache and codes; the thread is
 * ahead by exactly the depth where the trainer is slow, and its time shows beside the trainer's; a
 * slow rank, a fetch or a step that fails leave nobody waiting; a resumed run ends with the same
 * bits. Sends end only when they are received (sends.h). All runs are made in this process. */
#include "faults.h"
#include "in_process.h"
#include "sends.h"

#include <flipbook/compress.h>
#include <flipbook/generate.h>
#include <flipbook/train.h>

#include <math.h>
#include <omp.h>
#include <string.h>
#include <unistd.h>

enum { NODES = 240, EPOCHS = 2, MOST = 4, PATIENCE = 120 };

static flip_comm *world;
static int rank, size, level;
static bool without_threads; /* MPI says that it has none */

/* ---- between the library and MPI ---- */

int MPI_Query_thread(int *provided) {
    int code = PMPI_Query_thread(provided);
    if (without_threads) *provided = MPI_THREAD_FUNNELED;
    return code;
}

/* The send waits for its receiver. */
int MPI_Sendrecv(const void *out, int n_out, MPI_Datatype out_type, int to, int out_tag, void *in,
                 int n_in, MPI_Datatype in_type, int from, int in_tag, MPI_Comm comm,
                 MPI_Status *status) {
    MPI_Request both[2];
    (void)status;
    PMPI_Irecv(in, n_in, in_type, from, in_tag, comm, &both[0]);
    PMPI_Issend(out, n_out, out_type, to, out_tag, comm, &both[1]);
    return PMPI_Waitall(2, both, MPI_STATUSES_IGNORE);
}

/* ---- a run ---- */

static flip_status match(const flip_settings *settings, const char *json, const char *path) {
    (void)settings, (void)json, (void)path;
    return FLIP_OK;
}

typedef struct outcome {
    flip_status status;
    flip_result result;
    double loss[MOST];
    json_t *summary; /* rank 0 */
} outcome;

static outcome run(const char *arguments, int depth, const char *more) {
    char line[512];
    flip_io io = {.to_json = to_json, .from_json = flip_settings_from_json, .match = match};
    outcome o = {.summary = NULL};
    snprintf(line, sizeof line,
             "train %s --epochs %d --hidden 8 --seed 5 --eval-every 2 --report r.jsonl "
             "--prefetch %d %s",
             arguments, EPOCHS, depth, more);
    flip_settings settings = read_settings(line);
    faults_set(faults_now);
    alarm(PATIENCE);
    o.status = flip_train(&o.result, world, &settings, &io);
    alarm(0);
    if (rank == 0 && o.status == FLIP_OK) {
        read_losses(o.loss, MOST);
        o.summary = read_record("summary");
    }
    MPI_Barrier(MPI_COMM_WORLD); /* the next run writes the report anew */
    return o;
}

static outcome good_run(const char *arguments, int depth, const char *more) {
    outcome o = run(arguments, depth, more);
    CHECK_OK(o.status);
    return o;
}

static double number(const outcome *o, const char *object, const char *key) {
    return json_number_value(json_object_get(json_object_get(o->summary, object), key));
}

/* ---- the same bits ---- */

static void compare(const outcome *a, const outcome *b, int epochs, const char *what, int depth) {
    static const char *const counted[][2] = {{"bytes_run", "remote_features"},
                                             {"bytes_run", "features_to_device"},
                                             {"bytes_run", "allreduce"},
                                             {"bytes", "remote_features"},
                                             {"store", "rows"},
                                             {"store", "hits"},
                                             {"store", "remote"}};
    /* a GPU sums the packed rows of what it draws, the CPU those of what the thread draws */
    const bool elsewhere = rank == 0 && size == 1 && strstr(what, "codes") &&
                           json_number_value(json_object_get(a->summary, "device_bytes_sent")) > 0;
    CHECK(a->result.test == b->result.test && a->result.valid == b->result.valid,
          "%s, %d ahead: other scores", what, depth);
    CHECK(a->result.loss == b->result.loss ||
              (elsewhere && fabs(a->result.loss - b->result.loss) <= 1e-6),
          "%s, %d ahead: other loss", what, depth);
    if (rank != 0) return;
    for (int e = 0; e < epochs; e++)
        CHECK(memcmp(&a->loss[e], &b->loss[e], sizeof *a->loss) == 0 ||
                  (elsewhere && fabs(a->loss[e] - b->loss[e]) <= 1e-6),
              "%s, %d ahead: %.17g and %.17g", what, depth, a->loss[e], b->loss[e]);
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        double one = number(a, counted[i][0], counted[i][1]);
        double other = number(b, counted[i][0], counted[i][1]);
        CHECK(one == other, "%s, %d ahead: %s %g, not %g", what, depth, counted[i][1], other, one);
    }
}

static void same_bits(void **state) {
    (void)state;
    enum { ALL_DEPTHS = 3 }; /* cases that are run with all of them */
    static const char *const cases[] = {
        "plain.h5 --model sage --batch 24 --fanout 3,2",
        "plain.h5 --model sage --batch 24 --fanout 3,2 --cache-bytes 3000",
        "codes.h5 --model sage --batch 24 --fanout 3,2",
        "plain.h5 --model gat --heads 2 --batch 24 --fanout 3,2 --sampling labor",
        "codes.h5 --model gat --heads 2 --batch 24 --fanout 3,2 --cache-bytes 400",
        "plain.h5 --model sage --batch 300 --fanout 2 --task link --negatives 1 --eval-negatives 5",
        "moving.h5 --model sage --batch 300 --fanout 2 --task link --eval-negatives 5",
    };
    static const int depths[] = {2, 1, 5, 1000};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome serial = good_run(cases[i], 0, "");
        CHECK(rank != 0 ||
                  json_object_size(json_object_get(serial.summary, "stage_seconds_ahead")) == 0,
              "%s: somebody was ahead", cases[i]);
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
            if (d > 0 && (i >= ALL_DEPTHS || (depths[d] == 1000 && i > 0))) continue;
            outcome ahead = good_run(cases[i], depths[d], "");
            compare(&serial, &ahead, EPOCHS, cases[i], depths[d]);
            CHECK(rank != 0 || number(&ahead, "stage_seconds_ahead", "sample") > 0,
                  "%s: nobody drew ahead", cases[i]);
            CHECK(rank != 0 || number(&ahead, "stage_seconds", "fetch") == 0,
                  "%s: the trainer fetched", cases[i]);
            json_decref(ahead.summary);
        }
        json_decref(serial.summary);
    }
}

/* Bytes over the bus are a run's own, not this process's. */
static void own_counts(void **state) {
    (void)state;
    static const char *const keys[] = {"device_bytes_sent_run", "device_bytes_received_run"};
    const char *sage = "plain.h5 --model sage --batch 24 --fanout 3,2";
    outcome one = good_run(sage, 0, ""), other = good_run(sage, 0, "");
    for (int k = 0; k < 2 && rank == 0; k++) {
        const json_t *a = json_object_get(one.summary, keys[k]), /* of a GPU */
            *b = json_object_get(other.summary, keys[k]);
        const bool gpu = json_object_get(one.summary, "peak_device_bytes_of_ranks") != NULL;
        CHECK((json_number_value(a) > 0) == gpu, "%s: %g", keys[k], json_number_value(a));
        CHECK(json_number_value(a) == json_number_value(b), "another %s", keys[k]);
    }
    json_decref(one.summary);
    json_decref(other.summary);
}

static void resumed(void **state) {
    (void)state;
    const char *sage = "plain.h5 --model sage --batch 24 --fanout 3,2";
    outcome whole = good_run(sage, 0, "--epochs 4");
    outcome part = good_run(sage, 2, "--epochs 2 --checkpoint c.h5");
    outcome rest = good_run(sage, 5, "--epochs 4 --checkpoint c.h5 --resume c.h5");
    CHECK(rank != 0 || memcmp(whole.loss, rest.loss, 4 * sizeof *whole.loss) == 0, "other bits");
    CHECK(whole.result.test == rest.result.test, "other scores");
    json_decref(whole.summary);
    json_decref(part.summary);
    json_decref(rest.summary);
}

/* ---- slow ones ---- */

/* The queue is full, never more, and what happened meanwhile is told. */
static void slow_trainer(void **state) {
    (void)state;
    const char *sage = "plain.h5 --model sage --batch 12 --fanout 3,2";
    for (int depth = 0; depth <= 5; depth += depth ? 3 : 2) {
        faults_now = (faults){.fetch_rank = -1, .step_rank = -1, .step_ms = 15, .full = depth + 1};
        outcome o = good_run(sage, depth, "--epochs 1");
        CHECK(faults_steps > 8 && faults_fetches == faults_steps, "%d steps, %d fetches",
              faults_steps, faults_fetches);
        CHECK(faults_lead == depth + 1, "--prefetch %d: %d ahead at most", depth, faults_lead - 1);
        double waited = number(&o, "stage_seconds_ahead", "wait");
        CHECK(rank != 0 || (waited > 0.005) == (depth > 0), "--prefetch %d: waited %g s for a slot",
              depth, waited);
        json_decref(o.summary);
    }
    faults_now = FAULTS_NONE;
}

/* Fetching takes longer than training: the trainer waits, for less than all of it. */
static void slow_fetch(void **state) {
    (void)state;
    const char *sage = "plain.h5 --model sage --batch 12 --fanout 3,2";
    faults_now = (faults){.fetch_rank = -1, .step_rank = -1, .fetch_ms = 15, .step_ms = 5};
    outcome o = good_run(sage, 2, "--epochs 1");
    double waited = number(&o, "stage_seconds", "wait"), n = faults_steps;
    CHECK(rank != 0 || waited > 0.01, "the trainer waited %g s", waited);
    CHECK(rank != 0 || number(&o, "stage_seconds", "fetch") == 0, "the trainer fetched");
    CHECK(rank != 0 || number(&o, "stage_seconds_ahead", "fetch") >= 0.015 * n,
          "%g fetches of 15 ms took %g s", n, number(&o, "stage_seconds_ahead", "fetch"));
    json_decref(o.summary);
    faults_now = FAULTS_NONE;
}

static void slow_rank(void **state) {
    (void)state;
    static const char *const cases[] = {
        "plain.h5 --model sage --batch 24 --fanout 3,2",
        "codes.h5 --model sage --batch 24 --fanout 3,2 --cache-bytes 400"};
    for (int i = 0; i < 2; i++) {
        outcome serial = good_run(cases[i], 0, "--epochs 1");
        for (int k = 0; k < 4; k++) {
            int who = k % 2 ? size - 1 : 0, in_fetch = k < 2 ? 8 : 0;
            faults_now = (faults){
                .fetch_rank = who, .step_rank = who, .fetch_ms = in_fetch, .step_ms = 8 - in_fetch};
            outcome o = good_run(cases[i], 2, "--epochs 1");
            compare(&serial, &o, 1, cases[i], 2);
            json_decref(o.summary);
        }
        faults_now = FAULTS_NONE;
        json_decref(serial.summary);
    }
}

/* ---- failing ones: on all ranks at once; on one alone: t422 ---- */

static void expect_failure(const char *arguments, int depth, faults planted, const char *message,
                           int steps) {
    faults_now = planted;
    outcome o = run(arguments, depth, "");
    CHECK(o.status == FLIP_ERROR_MEMORY, "status %d", o.status);
    CHECK(strstr(flip_error_message(), message), "'%s', not '%s'", flip_error_message(), message);
    CHECK(faults_steps == steps, "%d steps before it, not %d", faults_steps, steps);
    CHECK(faults_lead <= depth + 1, "%d ahead", faults_lead);
    faults_now = FAULTS_NONE;
    flip_error_clear();
}

static void failures(void **state) {
    (void)state;
    const char *sage = "plain.h5 --model sage --batch 12 --fanout 3,2";
    for (int depth = 0; depth <= 5; depth += depth ? 3 : 2)
        for (int at = 1; at <= 21; at += 10) {
            char text[64];
            snprintf(text, sizeof text, "planted: fetch %d fails", at);
            expect_failure(sage, depth,
                           (faults){.fetch_rank = -1, .step_rank = -1, .fetch_fails = at}, text,
                           at - 1);
            snprintf(text, sizeof text, "planted: step %d fails", at);
            expect_failure(sage, depth,
                           (faults){.fetch_rank = -1, .step_rank = -1, .step_fails = at}, text,
                           at - 1);
        }
    expect_failure(sage, 2,
                   (faults){.fetch_rank = -1, .step_rank = -1, .step_fails = 5, .fetch_ms = 10},
                   "planted: step 5 fails", 4); /* while the thread is at work */
    outcome o = good_run(sage, 2, "");
    json_decref(o.summary);
}

static void refused(void **state) {
    (void)state;
    const char *sage = "plain.h5 --model sage --batch 24 --fanout 3,2";
    without_threads = true;
    outcome none = run(sage, 0, ""), two = run(sage, 2, "");
    without_threads = false;
    CHECK_OK(none.status);
    CHECK(two.status == (size > 1 ? FLIP_ERROR_USAGE : FLIP_OK), "status %d", two.status);
    CHECK(size == 1 || strstr(flip_error_message(), "use --prefetch 0"), "%s",
          flip_error_message());
    flip_error_clear();
    json_decref(none.summary);
    json_decref(two.summary);
}

static void make_graphs(void) {
    flip_sbm_params sbm = FLIP_SBM_DEFAULTS;
    flip_generate_counts counts;
    flip_reader *reader = NULL;
    flip_compressed packed;
    flip_compress_params with = FLIP_COMPRESS_DEFAULTS;
    sbm.common.n_nodes = NODES;
    sbm.common.n_features = 10;
    sbm.common.train = 0.6;
    sbm.common.valid = 0.2;
    CHECK_OK(flip_generate_sbm(world, "plain.h5", &sbm, &counts));
    sbm.common.n_steps = 4;
    CHECK_OK(flip_generate_sbm(world, "moving.h5", &sbm, &counts));
    with.codec = "dither:4";
    CHECK_OK(flip_reader_open(&reader, world, "plain.h5", "graph"));
    CHECK_OK(flip_compress(&packed, world, reader, "codes.h5", &with));
    flip_reader_close(&reader);
}

int main(int argc, char **argv) {
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
    CHECK(level == MPI_THREAD_MULTIPLE, "this MPI has no threads");
    CHECK_OK(flip_comm_create(&world, MPI_COMM_WORLD));
    rank = flip_comm_rank(world);
    size = flip_comm_size(world);
    omp_set_num_threads(1);
    enter_folder();
    make_graphs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),    cmocka_unit_test(own_counts), cmocka_unit_test(resumed),
        cmocka_unit_test(slow_trainer), cmocka_unit_test(slow_fetch), cmocka_unit_test(slow_rank),
        cmocka_unit_test(failures),     cmocka_unit_test(refused),    cmocka_unit_test(sends_over)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    leave_folder();
    flip_comm_destroy(&world);
    MPI_Finalize();
    return failed;
}
