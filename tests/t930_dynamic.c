/* t930: dynamic models on one to four ranks: every distribution, number of blocks and transfer
 * gives the curve of one rank, one block and a resident graph; the report tells that each mechanism
 * ran, and its bytes are those of the formulas. On a device (FLIP_TEST_DEVICE=cuda) fewer epochs
 * and numbers of blocks, against the CPU's one rank; every byte between ranks and to the device is
 * one that the CPU's ranks count. The graph has nodes that appear and vanish, edges that come
 * again, an empty snapshot, and more chunks of time than a block has steps. All runs are made in
 * this process. */
#include "device.h"
#include "in_process.h"
#include "sends.h"

#include <flipbook/container.h>
#include <flipbook/partition.h>
#include <flipbook/snapshots.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 40, STEPS = 7, LIFE = 2, FEATURES = 3, HIDDEN = 4 };
enum { EPOCHS = 6, FEW = 3, ON_DEVICE = 2 };

static const double tolerance = sizeof(flip_real) == 8 ? 1e-9 : 1e-5;
static int rank, size;
static bool on_device;

/* ---- the graph ---- */

static double drawn(uint64_t a, uint64_t b) {
    return flip_random_uniform(17, FLIP_STREAM_TEST, a, b);
}

/* Step 3 has no events; nodes above 30 appear at step 4, those below 5 vanish there. */
static bool joined(int v, int u, int t) {
    bool there = t < 4 ? v <= 30 && u <= 30 : v >= 5 && u >= 5;
    return there && t != 3 && u != v && drawn((uint64_t)(t * NODES + v), (uint64_t)u) < 0.08;
}

static int64_t count_events(void) {
    int64_t n = 0;
    for (int t = 0; t < STEPS; t++)
        for (int v = 0; v < NODES; v++)
            for (int u = 0; u < NODES; u++)
                n += joined(v, u, t);
    return n;
}

/* Entries of all snapshots: distinct pairs with an event in the last LIFE steps. */
static int64_t count_entries(void) {
    int64_t n = 0;
    for (int t = 0; t < STEPS; t++)
        for (int v = 0; v < NODES; v++)
            for (int u = 0; u < NODES; u++) {
                bool alive = false;
                for (int s = t - LIFE + 1; s <= t; s++)
                    alive = alive || (s >= 0 && joined(v, u, s));
                n += alive;
            }
    return n;
}

#define ROWS(name, type, n, width, depth, data)                                                    \
    CHECK_OK(                                                                                      \
        flip_writer_rows(writer, name, FLIP_TYPE_##type, FLIP_TYPE_##type, n, width, depth, data))

static void write_graph(void) {
    static int64_t indptr[NODES + 1];
    static int32_t src[NODES * NODES * STEPS], step[NODES * NODES * STEPS], label[NODES];
    static float features[NODES][FEATURES];
    static int8_t split[NODES];
    flip_writer *writer = NULL;
    int64_t n = 0;
    for (int v = 0; v < NODES; v++) {
        for (int t = 0; t < STEPS; t++)
            for (int u = 0; u < NODES; u++)
                if (joined(v, u, t)) {
                    src[n] = u;
                    step[n++] = t;
                }
        indptr[v + 1] = n;
        label[v] = v % 3;
        split[v] = (int8_t)(v % 4 == 3 ? 1 : v % 7 == 5 ? 2 : 0);
        for (int j = 0; j < FEATURES; j++)
            features[v][j] = (float)(drawn(9000 + (uint64_t)v, (uint64_t)j) - 0.5 + (j == v % 3));
    }
    CHECK_OK(flip_writer_create(&writer, NULL, "g.h5", "graph"));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_nodes", NODES));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_steps", STEPS));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_classes", 3));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "undirected", 0));
    ROWS("events/indptr", I64, NODES + 1, 0, 0, indptr);
    ROWS("events/src", I32, n, 0, 0, src);
    ROWS("events/step", I32, n, 0, 0, step);
    ROWS("features/values", F32, NODES, FEATURES, 0, features);
    ROWS("labels/class", I32, NODES, 0, 0, label);
    ROWS("splits", I8, 1, NODES, 0, split);
    CHECK_OK(flip_writer_commit(writer));
    flip_writer_destroy(&writer);
}

/* "p.h5", the same graph in parts for these ranks: what else every run from "g.h5" does first. */
static void write_parts(void) {
    flip_comm *comm = NULL;
    flip_reader *reader = NULL;
    flip_partition *p = NULL;
    flip_partition_params params = FLIP_PARTITION_DEFAULTS;
    params.n_parts = 4 * size;
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    CHECK_OK(flip_reader_open(&reader, comm, "g.h5", "graph"));
    CHECK_OK(flip_partition_compute(&p, comm, reader, &params));
    CHECK_OK(flip_partition_write(comm, reader, p, &params, "p.h5"));
    flip_partition_destroy(&p);
    flip_reader_close(&reader);
    flip_comm_destroy(&comm);
}

/* ---- a run ---- */

typedef struct outcome {
    double loss[EPOCHS], test;
    json_t *settings, *summary; /* rank 0 */
} outcome;

static void drop(outcome *o) {
    json_decref(o->settings);
    json_decref(o->summary);
}

static outcome run(MPI_Comm mpi, const char *graph, const char *arguments, int epochs,
                   const char *device) {
    char line[512];
    flip_comm *comm = NULL;
    flip_result result;
    flip_io io = {.to_json = to_json};
    outcome o = {.summary = NULL};
    snprintf(
        line, sizeof line,
        "train %s --epochs %d --hidden %d --edge-life %d --seed 5 --report r.jsonl --device %s "
        "%s",
        graph, epochs, HIDDEN, LIFE, device, arguments);
    flip_settings settings = read_settings(line);
    CHECK_OK(flip_comm_create(&comm, mpi));
    CHECK_OK(flip_train(&result, comm, &settings, &io));
    o.test = result.test;
    if (flip_comm_rank(comm) == 0) {
        read_losses(o.loss, EPOCHS);
        o.settings = read_record("settings");
        o.summary = read_record("summary");
    }
    flip_comm_destroy(&comm);
    return o;
}

static bool has_word(const json_t *object, const char *key, const char *word) {
    const char *value = json_string_value(json_object_get(object, key));
    return value && strcmp(value, word) == 0;
}

static double number(const outcome *o, const char *object, const char *key) {
    const json_t *value = json_object_get(o->summary, object);
    return json_number_value(key ? json_object_get(value, key) : value);
}

/* On all ranks; on a device beside the same on the CPU. */
static outcome run_all(const char *graph, const char *arguments, int epochs) {
    static const char *const counted[] = {"bytes", "bytes_run", "graph_to_device", "passes"};
    outcome many = run(MPI_COMM_WORLD, graph, arguments, epochs, on_device ? "cuda" : "cpu");
    if (!on_device) return many;
    outcome cpu = run(MPI_COMM_WORLD, graph, arguments, epochs, "cpu");
    CHECK(rank > 0 || has_word(many.settings, "kernels", "cuda"), "%s: no device", arguments);
    for (size_t i = 0; i < sizeof counted / sizeof *counted && rank == 0; i++)
        CHECK(json_equal(json_object_get(many.summary, counted[i]),
                         json_object_get(cpu.summary, counted[i])),
              "%s on %d ranks: other %s than on the CPU", arguments, size, counted[i]);
    drop(&cpu);
    return many;
}

/* ---- all of it ---- */

typedef struct model {
    const char *arguments;
    const char *distributions; /* that it has, by first letter: n t w(avefront) W(indow) g */
    int state;                 /* values a node of one layer's state */
} model;

static const model models[] = {
    {"--model cdgcn", "ntwg", 2 * HIDDEN},
    {"--model cdgcn --activations recompute --direction out", "nw", 2 * HIDDEN},
    {"--structure sage --temporal gru", "ntwg", HIDDEN},
    {"--model gat --heads 2 --temporal lstm", "nt", 2 * HIDDEN},
    {"--model tmgcn --window 3 --precompute off", "ntWg", 0},
    {"--model tmgcn --window 3 --residual", "W", 0},
    {"--model evolvegcn-o", "nt", 0},
    {"--model evolvegcn-o --cell gru --gcn-norm inout", "t", 0},
    {"--model evolvegcn-h", "ntg", 0},
    /* candidates enough to be scored in pieces where ranks or blocks are few */
    {"--model gcn --task link --eval-negatives 90 --class-weights 1,4", "nt", 0},
    {"--model tmgcn --task link --eval-negatives 5", "nt", 0},
    {"--model tmgcn --window 3 --residual --precompute off --task link --eval-negatives 5", "nW",
     0},
};

static const char *const transfers[] = {"full", "delta", "resident"};

static const char *name_of(char letter) {
    return letter == 'n'   ? "nodes"
           : letter == 't' ? "time"
           : letter == 'w' ? "wavefront" //
           : letter == 'W' ? "window"
                           : "grid";
}

/* The run was made with what was asked for. */
static void check_settings(const outcome *o, char distribution, int blocks, int transfer,
                           const char *what) {
    CHECK(has_word(o->settings, "distribute", name_of(distribution)), "%s: settings", what);
    CHECK(has_word(o->settings, "transfer", transfers[transfer]), "%s: settings", what);
    CHECK(json_integer_value(json_object_get(o->settings, "blocks")) == blocks, "%s: settings",
          what);
    CHECK(json_integer_value(json_object_get(o->settings, "ranks")) == size, "%s: settings", what);
}

/* Parts, chunks and blocks are what they should be; states wait between blocks. */
static void check_spread(const outcome *o, const model *m, char distribution, int blocks,
                         const char *what) {
    const int chunks = distribution == 'n' ? 1 : distribution == 'g' && size == 4 ? 2 : size;
    const bool evolves = strstr(m->arguments, "evolvegcn") != NULL;
    CHECK(has_word(o->summary, "distribution", name_of(distribution)), "%s", what);
    CHECK(number(o, "blocks", NULL) == blocks, "%s", what);
    CHECK(number(o, "chunks", NULL) == chunks && number(o, "parts", NULL) * chunks == size,
          "%s: %g chunks", what, number(o, "chunks", NULL));
    if (blocks > 1 && (m->state > 0 || evolves))
        CHECK(number(o, "carry_bytes", NULL) > 0, "%s: no state was carried", what);
    if (blocks == 1) CHECK(number(o, "carry_bytes", NULL) == 0, "%s: a state was carried", what);
    if (blocks > 1 && !strstr(m->arguments, "link"))
        CHECK(number(o, "passes", "recomputation") > 0, "%s: nothing was computed again", what);
}

/* That each mechanism ran, and its bytes. */
static void check_report(const outcome *o, const model *m, char distribution, int blocks,
                         int transfer, const char *what) {
    double w = sizeof(flip_real), passes = 0, entries = (double)count_entries();
    static const char *const kinds[] = {"forward", "backward", "recomputation"};
    for (int k = 0; k < 3; k++)
        passes += number(o, "passes", kinds[k]);
    check_settings(o, distribution, blocks, transfer, what);
    check_spread(o, m, distribution, blocks, what);
    CHECK(number(o, "bytes_run", "graph_to_device") > 0, "%s", what);
    if (!strstr(m->arguments, "link")) /* its last steps are not trained on */
        CHECK(fabs(passes - 3 + 1.0 / blocks) < 1e-12, "%s: %g passes", what, passes);
    if (transfer == FLIP_TRANSFER_FULL && size == 1 && blocks == 1 &&
        !strstr(m->arguments, "tmgcn"))
        CHECK(number(o, "bytes", "graph_to_device") == 12 * entries, "%s: %g, formula %g", what,
              number(o, "bytes", "graph_to_device"), 12 * entries);
    if (transfer == FLIP_TRANSFER_RESIDENT && size == 1)
        CHECK(number(o, "bytes_run", "graph_to_device") == 12 * (double)count_events(), "%s", what);
    if (transfer != FLIP_TRANSFER_RESIDENT)
        CHECK(number(o, "bytes", "graph_to_device") > 0, "%s", what);
    if (transfer != FLIP_TRANSFER_RESIDENT && blocks > 1 && !strstr(m->arguments, "link"))
        CHECK(number(o, "graph_to_device", "backward") > 0, "%s", what);
    if (size == 1) return;
    bool once = strstr(m->arguments, "residual") != NULL; /* the band of kept features: once */
    if ((distribution == 't' || distribution == 'g') && m->state > 0)
        CHECK(number(o, "bytes", "redistribute") > 0, "%s", what);
    if (distribution == 'w' && blocks == 1) {
        double bytes = w * (size - 1) * NODES * m->state * 2 * 2; /* two layers, two passes */
        CHECK(number(o, "bytes", "state") == bytes, "%s: %g, formula %g", what,
              number(o, "bytes", "state"), bytes);
    }
    if (distribution == 'w') CHECK(number(o, "bytes", "state") > 0, "%s", what);
    if (distribution == 'W' && blocks == 1 && !once)
        CHECK(number(o, "bytes", "window") > 0, "%s", what);
    if (distribution == 'n') CHECK(number(o, "bytes", "halo") > 0, "%s", what);
}

static void compare(const outcome *one, const outcome *many, int epochs, const char *what) {
    for (int i = 0; i < epochs && rank == 0; i++) {
        double d = fabs(one->loss[i] - many->loss[i]) / fabs(one->loss[i]);
        CHECK(d <= tolerance, "%s on %d ranks: epoch %d differs by %g", what, size, i + 1, d);
    }
    if (rank == 0 && epochs == EPOCHS)
        CHECK(fabs(one->test - many->test) < 0.06, "%s: test %g and %g", what, one->test,
              many->test);
}

/* Bytes to the device an epoch: differences were sent where a rank has steps that follow each
 * other, events once in the run. */
static void check_transfers(const double *bytes, char distribution, const char *what) {
    const bool follow = size == 1 || distribution == 'n';
    CHECK(bytes[FLIP_TRANSFER_RESIDENT] == 0, "%s: %g", what, bytes[FLIP_TRANSFER_RESIDENT]);
    CHECK(bytes[FLIP_TRANSFER_DELTA] <= bytes[FLIP_TRANSFER_FULL], "%s: %g and %g", what,
          bytes[FLIP_TRANSFER_DELTA], bytes[FLIP_TRANSFER_FULL]);
    if (follow)
        CHECK(bytes[FLIP_TRANSFER_DELTA] < bytes[FLIP_TRANSFER_FULL], "%s: %g", what,
              bytes[FLIP_TRANSFER_FULL]);
}

/* A matrix has the same bits whatever way its graph takes, and so has the loss [n]: the first
 * run's, which is kept, and every other's. */
static void same_bits(double *loss, const outcome *o, int n, const char *what) {
    for (int i = 0; i < n; i++) {
        CHECK(loss[i] == 0 || loss[i] == o->loss[i], "%s on %d ranks: epoch %d: %.17g, not %.17g",
              what, size, i + 1, o->loss[i], loss[i]);
        loss[i] = o->loss[i];
    }
}

/* Blocks of all numbers (one of a graph without parts), crossed with the transfers: one of them in
 * turn, and every one of the first model, over all epochs, the others over a few. Mean, attention
 * and sums have only `resident`. On a device one or two blocks; rows go by NCCL, of differences by
 * MPI. */
static void one_distribution(const model *m, int index, const outcome *one, char distribution) {
    static const int blocks[] = {1, 2, 5, STEPS};
    const bool resident = strstr(m->arguments, "gat") || strstr(m->arguments, "sage");
    for (int b = 0; b < (on_device ? 2 : 4); b++) {
        double bytes[3] = {0, 0, 0}, loss[FEW] = {0};
        char arguments[256];
        for (int transfer = resident ? FLIP_TRANSFER_RESIDENT : 0; transfer < 3; transfer++) {
            const bool whole = index == 0 || resident || transfer == (index + b + distribution) % 3;
            const bool by_mpi = !on_device || transfer == FLIP_TRANSFER_DELTA;
            const int epochs = on_device ? ON_DEVICE : whole ? EPOCHS : FEW;
            snprintf(arguments, sizeof arguments, "%s --distribute %s --blocks %d --transfer %s%s",
                     m->arguments, name_of(distribution), blocks[b], transfers[transfer],
                     by_mpi ? " --device-exchange mpi" : "");
            /* they take turns with every message; NCCL's own are its own */
            sends_synchronous = whole && blocks[b] == 2 && by_mpi;
            outcome many = run_all(blocks[b] == 1 ? "g.h5" : "p.h5", arguments, epochs);
            compare(one, &many, epochs, arguments);
            if (rank == 0) {
                check_report(&many, m, distribution, blocks[b], transfer, arguments);
                same_bits(loss, &many, epochs < FEW ? epochs : FEW, arguments);
                bytes[transfer] = number(&many, "bytes", "graph_to_device");
            }
            drop(&many);
        }
        if (rank == 0 && !resident) check_transfers(bytes, distribution, arguments);
    }
}

static void same_curves(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        outcome one = {.test = 0};
        if (rank == 0) {
            char arguments[256];
            snprintf(arguments, sizeof arguments, "%s --blocks 1", models[i].arguments);
            one = run(MPI_COMM_SELF, "g.h5", arguments, EPOCHS, "cpu");
            CHECK(one.loss[EPOCHS - 1] < one.loss[0], "%s does not learn", models[i].arguments);
        }
        MPI_Barrier(MPI_COMM_WORLD);
        for (const char *d = models[i].distributions; *d; d++)
            one_distribution(&models[i], (int)i, &one, *d);
        drop(&one);
    }
}

/* Windows: any number of ranks, and more history than steps is the whole past. */
static void windows(void **state) {
    (void)state;
    static const char *const cases[] = {
        "--model evolvegcn-o --task link --history 2 --eval-negatives 5",
        "--model evolvegcn-h --history 20 --transfer delta",
        "--model cdgcn --history 1",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        outcome one = {.test = 0};
        const int epochs = on_device ? ON_DEVICE : EPOCHS;
        if (rank == 0) one = run(MPI_COMM_SELF, "g.h5", cases[i], EPOCHS, "cpu");
        MPI_Barrier(MPI_COMM_WORLD);
        outcome many = run_all("g.h5", cases[i], epochs);
        compare(&one, &many, epochs, cases[i]);
        drop(&one);
        drop(&many);
    }
}

/* --distribute auto: the cheapest of all that the model has, the same every time, and its bytes are
 * those that were exchanged. */
static void check_choice(const outcome *o, const char *letters, const char *what) {
    const json_t *considered = json_object_get(o->summary, "considered"),
                 *predicted = json_object_get(o->summary, "predicted");
    double bytes = 0;
    static const char *const kinds[] = {"halo", "redistribute", "state", "window"};
    CHECK(json_array_size(considered) == strlen(letters), "%s: %zu considered, expected %s", what,
          json_array_size(considered), letters);
    for (size_t i = 0; i < strlen(letters); i++) {
        const json_t *c = json_array_get(considered, i);
        CHECK(has_word(c, "distribution", name_of(letters[i])), "%s: expected %s", what, letters);
        CHECK(json_number_value(json_object_get(c, "seconds")) >=
                  json_number_value(json_object_get(predicted, "seconds")),
              "%s: %s is cheaper", what, name_of(letters[i]));
    }
    CHECK(has_word(o->summary, "distribution",
                   json_string_value(json_object_get(predicted, "distribution"))),
          "%s", what);
    for (int k = 0; k < 4; k++)
        bytes += number(o, "bytes", kinds[k]);
    CHECK(json_number_value(json_object_get(predicted, "bytes")) == bytes,
          "%s: predicted %g bytes, %g were exchanged", what,
          json_number_value(json_object_get(predicted, "bytes")), bytes);
}

static void chosen(void **state) {
    (void)state;
    static const struct {
        const char *arguments, *letters; /* of what the model has; g with four ranks alone */
    } cases[] = {
        {"--model cdgcn", "ntwg"},
        {"--model tmgcn --window 3 --precompute off --residual", "ntWg"},
        {"--model evolvegcn-h --first-step 2", "ntg"},
        {"--structure sage --temporal gru --norm layer --first-step 1", "ntwg"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases && size > 1; i++) {
        char letters[8] = "", arguments[256];
        for (const char *c = cases[i].letters; *c; c++)
            if (*c != 'g' || size == 4) strncat(letters, c, 1);
        snprintf(arguments, sizeof arguments, "%s --blocks 1", cases[i].arguments);
        outcome one = run_all("g.h5", arguments, FEW);
        outcome two = run_all("g.h5", arguments, FEW);
        if (rank == 0) {
            check_choice(&one, letters, arguments);
            CHECK(json_equal(json_object_get(one.summary, "considered"),
                             json_object_get(two.summary, "considered")),
                  "%s: the same command, other predictions", arguments);
            CHECK(memcmp(one.loss, two.loss, FEW * sizeof *one.loss) == 0, "%s: other bits",
                  arguments);
        }
        drop(&one);
        drop(&two);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    on_device = test_kernels() != NULL;
    enter_folder();
    if (rank == 0) write_graph();
    MPI_Barrier(MPI_COMM_WORLD);
    write_parts();
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_curves), cmocka_unit_test(chosen),
                                       cmocka_unit_test(windows), cmocka_unit_test(sends_over)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    leave_folder();
    MPI_Finalize();
    return failed;
}
