/* t948: models of their own time, and time that is distributed, on packed features, changing or
 * constant: the curve is one rank's on the decoded features, for every model, distribution, number
 * of blocks and transfer, on one to four ranks; so it is with rows that are normalised as they are
 * decoded, in whole graphs and in batches. All runs are made in this process. */
#include "in_process.h"

#include <flipbook/compress.h>

#include <math.h>

enum { NODES = 60, STEPS = 7, DIM = 12, DRIFT = 100, EPOCHS = 3 };
#include "changing.h"
#include "packed_steps.h"

static const double tolerance = sizeof(flip_real) == 8 ? 1e-9 : 2e-5;
static int rank, size;

/* ---- files ---- */

#define ROWS(name, type, n, width, data)                                                           \
    CHECK_OK(flip_writer_rows(writer, name, FLIP_TYPE_##type, FLIP_TYPE_##type, n, width, 0, data))

/* Of node v, an event from some other at about a third of the steps. */
static void write_graph(const char *name, bool change) {
    static int64_t indptr[NODES + 1];
    static int32_t src[NODES * STEPS * 2], step[NODES * STEPS * 2], label[NODES];
    static float features[NODES][DIM];
    static int8_t split[NODES];
    flip_writer *writer = NULL;
    int64_t n = 0;
    for (int64_t v = 0; v < NODES; v++) {
        for (int64_t i = 0; i < 2 * STEPS; i++)
            if (changing_uniform(2, v, i) < 0.35) {
                src[n] = (int32_t)(changing_uniform(3, v, i) * NODES);
                step[n++] = (int32_t)(i / 2);
            }
        indptr[v + 1] = n;
        label[v] = (int32_t)(v % 3);
        split[v] = (int8_t)(v % 5 == 3 ? 1 : v % 7 == 5 ? 2 : 0);
        for (int j = 0; j < DIM; j++)
            features[v][j] = (float)(changing_uniform(4, v, j) - 0.4);
    }
    CHECK_OK(flip_writer_create(&writer, NULL, name, "graph"));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_nodes", NODES));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_steps", STEPS));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_classes", 3));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "undirected", 0));
    ROWS("events/indptr", I64, NODES + 1, 0, indptr);
    ROWS("events/src", I32, n, 0, src);
    ROWS("events/step", I32, n, 0, step);
    ROWS("labels/class", I32, NODES, 0, label);
    ROWS("splits", I8, 1, NODES, split);
    if (change)
        changing_write(writer, NULL, 1);
    else
        ROWS("features/values", F32, NODES, DIM, features);
    CHECK_OK(flip_writer_commit(writer));
    flip_writer_destroy(&writer);
}

/* "packed.h5" and "decoded.h5". */
static void make_files(bool change, const char *codec) {
    flip_compress_params params = FLIP_COMPRESS_DEFAULTS;
    flip_compressed out;
    flip_comm *alone = NULL;
    flip_reader *reader = NULL;
    MPI_Barrier(MPI_COMM_WORLD);
    params.codec = codec;
    if (change) params.n_steps = 2;
    if (rank == 0) {
        write_graph("graph.h5", change);
        CHECK_OK(flip_comm_create(&alone, MPI_COMM_SELF));
        CHECK_OK(flip_reader_open(&reader, alone, "graph.h5", "graph"));
        CHECK_OK(flip_compress(&out, alone, reader, "packed.h5", &params));
        flip_compressed_finish(&out);
        flip_reader_close(&reader);
        flip_comm_destroy(&alone);
        decode("packed.h5", "decoded.h5");
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* ---- runs ---- */

static void run(MPI_Comm mpi, const char *graph, const char *arguments, double *loss) {
    char line[512];
    flip_comm *comm = NULL;
    flip_result result;
    flip_io io = {.to_json = to_json};
    snprintf(line, sizeof line,
             "train %s --epochs %d --hidden 6 --seed 5 --input-dropout 0 --report r.jsonl %s",
             graph, EPOCHS, arguments);
    flip_settings settings = read_settings(line);
    CHECK_OK(flip_comm_create(&comm, mpi));
    CHECK_OK(flip_train(&result, comm, &settings, &io));
    if (flip_comm_rank(comm) == 0) read_losses(loss, EPOCHS);
    flip_comm_destroy(&comm);
}

/* On all ranks, against one rank's curve. */
static void compare(const char *arguments, const char *more, const double *want) {
    char line[384];
    double loss[EPOCHS], apart = 0;
    snprintf(line, sizeof line, "%s %s", arguments, more);
    run(MPI_COMM_WORLD, "packed.h5", line, loss);
    for (int e = 0; rank == 0 && e < EPOCHS; e++)
        apart = fmax(apart, fabs(loss[e] - want[e]) / fabs(want[e]));
    CHECK(apart <= tolerance, "%s: the losses are %g apart", line, apart);
}

typedef struct task {
    const char *arguments, *distributions; /* beside nodes */
} task;

static void check_tasks(const task *tasks, int n) {
    static const char *const transfers[] = {"full", "delta", "resident"};
    for (int i = 0; i < n; i++) {
        double want[EPOCHS];
        char distributions[64], *save = NULL, more[128];
        if (rank == 0) run(MPI_COMM_SELF, "decoded.h5", tasks[i].arguments, want);
        compare(tasks[i].arguments, "", want);
        snprintf(distributions, sizeof distributions, "%s", tasks[i].distributions);
        for (char *d = strtok_r(distributions, " ", &save); d; d = strtok_r(NULL, " ", &save)) {
            snprintf(more, sizeof more, "--distribute %s --blocks %d --transfer %s", d,
                     1 + (i + size) % 3, transfers[(i + size / 2) % 3]);
            compare(tasks[i].arguments, more, want);
        }
    }
}

static const task models[] = {
    {"--feature-norm none --model cdgcn --task node --blocks 2", "time wavefront grid"},
    {"--feature-norm none --model tmgcn --window 3 --task node --blocks 3", "window time grid"},
    {"--feature-norm none --model evolvegcn-h --task node --blocks 2", "time grid"},
    {"--feature-norm none --model evolvegcn-o --task node --edge-life 2", "time"},
    {"--feature-norm none --model cdgcn --task link --eval-negatives 5 --activations recompute",
     "time wavefront"},
    {"--feature-norm none --model tmgcn --window 2 --residual on --task node --blocks 4",
     "window time"},
    {"--feature-norm none --model gcn --residual on --task node --edge-life 2", "time grid"},
    {"--feature-norm none --model sage --temporal gru --task node", "wavefront time"},
    {"--feature-norm none --model evolvegcn-h --task node --protocol windows --history 2", ""},
};

static void changing(void **state) {
    (void)state;
    static const char *const codecs[] = {"dither:4", "klt:1.9", "pq:4x16"};
    make_files(true, codecs[size % 3]);
    check_tasks(models, sizeof models / sizeof *models);
}

static void constant(void **state) {
    (void)state;
    make_files(false, "dither:4");
    check_tasks(models, 6);
}

/* Rows normalised as they are decoded: in products and in sums, for models that read them so and
 * so, and in batches. */
static void normalised(void **state) {
    (void)state;
    static const task tasks[] = {
        {"--feature-norm standard --model gcn --residual on --task node --blocks 2", "time"},
        {"--feature-norm log --model cdgcn --task node", "time"},
        {"--feature-norm row --model evolvegcn-h --task node --blocks 2", "grid"},
        {"--feature-norm standard --model tmgcn --window 3 --task node", "window"},
        {"--feature-norm row --model sage --task node --batch 30 --fanout 3,2", ""},
        {"--feature-norm log --model gin --lr 0.001 --task node --batch 30 --fanout 3,2", ""},
    };
    make_files(true, size % 2 ? "pq:4x16" : "lloyd:2");
    check_tasks(tasks, sizeof tasks / sizeof *tasks);
    make_files(false, "pq:4x16");
    check_tasks(tasks, 2);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    enter_folder();
    const struct CMUnitTest tests[] = {cmocka_unit_test(changing), cmocka_unit_test(constant),
                                       cmocka_unit_test(normalised)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    leave_folder();
    MPI_Finalize();
    return failed;
}
