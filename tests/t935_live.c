/* t935: live updates. On one to four ranks the same steps; nothing of a step is known before it is
 * scored; without learning the scores are those of an evaluation of the whole timeline; the
 * parameters kept are those of the least held-out loss, and the states left for the next step are
 * theirs. The graph has communities, so that there is something to learn, a step without events,
 * and nodes that appear late. */
#include "in_process.h"
#include "train/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 45, STEPS = 8, FEATURES = 3, CHANGED = 5 };

static const double tolerance = sizeof(flip_real) == 8 ? 1e-9 : 2e-5;
static int rank, size;

static double drawn(uint64_t a, uint64_t b) {
    return flip_random_uniform(23, FLIP_STREAM_TEST, a, b);
}

/* other: the steps from CHANGED on are others. */
static bool joined(int v, int u, int t, bool other) {
    uint64_t world = other && t >= CHANGED ? 7 : 0;
    bool there = t != 4 && u != v && (t > 2 || (u < 40 && v < 40));
    double chance = u % 3 == v % 3 ? 0.15 : 0.01;
    return there && drawn(world * 100000 + (uint64_t)(t * NODES + v), (uint64_t)u) < chance;
}

#define ROWS(name, type, n, width, data)                                                           \
    CHECK_OK(flip_writer_rows(writer, name, FLIP_TYPE_##type, FLIP_TYPE_##type, n, width, 0, data))

static void write_graph(const char *path, bool other) {
    static int64_t indptr[NODES + 1];
    static int32_t src[NODES * NODES * STEPS], step[NODES * NODES * STEPS];
    static float features[NODES][FEATURES];
    flip_writer *writer = NULL;
    int64_t n = 0;
    for (int v = 0; v < NODES; v++) {
        for (int t = 0; t < STEPS; t++)
            for (int u = 0; u < NODES; u++)
                if (joined(v, u, t, other)) {
                    src[n] = u;
                    step[n++] = t;
                }
        indptr[v + 1] = n;
        for (int j = 0; j < FEATURES; j++)
            features[v][j] = (float)(drawn(9000 + (uint64_t)v, (uint64_t)j) - 0.5 + (j == v % 3));
    }
    CHECK_OK(flip_writer_create(&writer, NULL, path, "graph"));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_nodes", NODES));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "n_steps", STEPS));
    CHECK_OK(flip_writer_attribute_i64(writer, "/", "undirected", 0));
    ROWS("events/indptr", I64, NODES + 1, 0, indptr);
    ROWS("events/src", I32, n, 0, src);
    ROWS("events/step", I32, n, 0, step);
    ROWS("features/values", F32, NODES, FEATURES, features);
    CHECK_OK(flip_writer_commit(writer));
    flip_writer_destroy(&writer);
}

/* ---- a run ---- */

static flip_settings settings_of(const char *graph, const char *arguments) {
    char line[1024];
    snprintf(line, sizeof line, "train %s --task link --hidden 8 --dropout 0.1 --seed 5 %s", graph,
             arguments);
    return read_settings(line);
}

/* Fields of the report's live records, and the result. */
enum { MRR, MAP, LOSS, HELD, TAKEN, FIELDS };
static const char *const fields[FIELDS] = {"mrr", "map", "loss", "held_out_loss", "epochs"};
typedef struct outcome {
    double at[STEPS][FIELDS]; /* rank 0; NaN where null */
    int n;
    flip_result result;
} outcome;

/* Reads the report on rank 0. */
static void read_steps(outcome *o) {
    json_t *records = read_records("live"), *object;
    size_t i;
    json_array_foreach(records, i, object) {
        CHECK(json_integer_value(json_object_get(object, "step")) == o->n, "steps in order");
        for (int k = 0; k < FIELDS; k++) {
            json_t *value = json_object_get(object, fields[k]);
            o->at[o->n][k] = json_is_number(value) ? json_number_value(value) : NAN;
        }
        o->n++;
    }
    json_decref(records);
}

static outcome run(MPI_Comm mpi, const char *graph, const char *arguments) {
    char with_report[512];
    outcome o = {.n = 0};
    flip_comm *comm = NULL;
    flip_io io = {.to_json = to_json};
    snprintf(with_report, sizeof with_report, "%s --report r.jsonl", arguments);
    flip_settings settings = settings_of(graph, with_report);
    CHECK_OK(flip_comm_create(&comm, mpi));
    CHECK_OK(flip_train(&o.result, comm, &settings, &io));
    if (flip_comm_rank(comm) == 0) read_steps(&o);
    flip_comm_destroy(&comm);
    return o;
}

static const char *const models[] = {
    "--model gcn --eval-negatives 7",
    "--model sage --temporal gru --eval-negatives all --edge-head mlp",
    "--model cdgcn --transfer delta --eval-negatives 7 --negatives 3",
    "--model evolvegcn-h --eval-negatives 7 --class-weights 1,3 --negative-ends mixed",
    "--model evolvegcn-o --eval-negatives all --features degree --pairs 30",
    "--model tmgcn --window 3 --edge-life 2 --transfer full --eval-negatives 7",
};

static void same_steps(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char arguments[256];
        outcome one = {.n = 0};
        snprintf(arguments, sizeof arguments, "%s --protocol live --epochs 4 --patience 2",
                 models[m]);
        if (rank == 0) one = run(MPI_COMM_SELF, "g.h5", arguments);
        MPI_Barrier(MPI_COMM_WORLD);
        outcome many = run(MPI_COMM_WORLD, "g.h5", arguments);
        if (rank > 0) continue;
        CHECK(one.n == STEPS - 1 && many.n == STEPS - 1, "%s: %d steps", arguments, many.n);
        for (int t = 0; t < STEPS - 1; t++)
            for (int k = 0; k < FIELDS; k++) {
                double a = one.at[t][k], b = many.at[t][k];
                bool equal = isnan(a) ? isnan(b) : fabs(a - b) <= tolerance * (1 + fabs(a));
                CHECK(equal, "%s, %d ranks, step %d: %s %g and %g", arguments, size, t, fields[k],
                      a, b);
                CHECK(k == TAKEN || isnan(a) == (t + 1 == 4), "step %d: %s %g", t, fields[k], a);
            }
        CHECK(fabs(one.result.test - many.result.test) <= tolerance, "%s", arguments);
        double mean = 0;
        for (int t = 0; t < STEPS - 1; t++)
            mean += t + 1 == 4 ? 0 : one.at[t][MRR] / (STEPS - 2);
        CHECK(fabs(mean - one.result.test) < 1e-12, "%s: %g, mean %g", arguments, one.result.test,
              mean);
    }
}

/* What comes in step CHANGED shows in the scores of its pairs (step CHANGED - 1's record), not
 * before. */
static void not_ahead(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char arguments[256];
        snprintf(arguments, sizeof arguments, "%s --protocol live --epochs 3", models[m]);
        outcome a = run(MPI_COMM_SELF, "g.h5", arguments);
        outcome b = run(MPI_COMM_SELF, "other.h5", arguments);
        for (int t = 0; t < CHANGED - 1; t++)
            for (int k = 0; k < FIELDS; k++)
                CHECK(isnan(a.at[t][k]) ? isnan(b.at[t][k]) : a.at[t][k] == b.at[t][k],
                      "%s: step %d knows of step %d", arguments, t, CHANGED);
        CHECK(a.at[CHANGED - 1][MAP] != b.at[CHANGED - 1][MAP], "%s", arguments);
    }
}

/* Without learning, steps are scored as an evaluation of the whole timeline scores them; with it,
 * better. */
static void learns(void **state) {
    (void)state;
    static const char *const model = "--model gcn --temporal gru --dropout 0 --lr 0.05";
    char arguments[256];
    snprintf(arguments, sizeof arguments,
             "%s --epochs 0 --eval-negatives all --metric mrr --split-steps 2,0,6", model);
    outcome whole = run(MPI_COMM_SELF, "g.h5", arguments);
    snprintf(arguments, sizeof arguments, "%s --epochs 0 --eval-negatives all --protocol live",
             model);
    outcome live = run(MPI_COMM_SELF, "g.h5", arguments);
    double mean = 0;
    for (int t = 1; t < STEPS - 1; t++) /* pairs of steps 2 … 7 without the empty one */
        mean += t + 1 == 4 ? 0 : live.at[t][MRR] / (STEPS - 3);
    CHECK(fabs(mean - whole.result.test) < 1e-6, "%g, whole %g", mean, whole.result.test);
    snprintf(arguments, sizeof arguments, "%s --epochs 0 --protocol live", model);
    outcome none = run(MPI_COMM_SELF, "g.h5", arguments);
    double before = none.result.link[FLIP_PART_TEST].auc;
    snprintf(arguments, sizeof arguments, "%s --epochs 20 --protocol live", model);
    live = run(MPI_COMM_SELF, "g.h5", arguments);
    double after = live.result.link[FLIP_PART_TEST].auc;
    CHECK(after > before + 0.04, "AUC %g, without learning %g", after, before);
    CHECK(live.at[0][MRR] == none.at[0][MRR], "the first pairs were learned before they came");
    CHECK(strstr(live.result.definition, "each scored before it is learned") != NULL, "%s",
          live.result.definition);
}

/* ---- inside ---- */

/* Held-out loss of the block by the current parameters, the pairs being those last drawn. */
static double held_now(flip_trainer *trainer, int32_t block) {
    flip_scores scores = {0};
    flip_var y;
    double loss;
    CHECK_OK(flip_scores_begin(&scores, trainer, 1 << FLIP_PART_VALID | FLIP_SCORE_ITEMS));
    CHECK_OK(flip_trainer_forward(trainer, block, &y));
    CHECK_OK(flip_scores_block(&scores, trainer, block, y));
    CHECK_OK(flip_scores_loss(&scores.part[FLIP_PART_VALID], trainer->data.comm, &loss));
    flip_scores_finish(&scores);
    return loss;
}

/* The state left for the next block is what a forward by the kept parameters gives. */
static void check_states(flip_trainer *trainer, int32_t block, int slots) {
    flip_var y;
    for (int slot = 0; slot < slots; slot++) {
        size_t n, again;
        const flip_real *state = flip_carry_state(trainer->carry, slot, block + 1, &n);
        CHECK(state != NULL && n > 0, "no state after block %d", block);
        flip_real *left = malloc(n * sizeof *left);
        memcpy(left, state, n * sizeof *left);
        flip_carry_forget(trainer->carry, block + 1);
        CHECK_OK(flip_trainer_forward(trainer, block, &y));
        state = flip_carry_state(trainer->carry, slot, block + 1, &again);
        CHECK(again == n && memcmp(state, left, n * sizeof *left) == 0, "block %d, slot %d", block,
              slot);
        free(left);
    }
}

static void best_is_kept(void **state) {
    (void)state;
    flip_settings settings = settings_of("g.h5", "--model gcn --temporal gru --eval-negatives 7 "
                                                 "--protocol live --epochs 12 --lr 0.2");
    flip_trainer trainer = {0};
    flip_comm *comm = NULL;
    flip_live live;
    bool fell = false, rose = false;
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    CHECK_OK(flip_data_open(&trainer.data, comm, &settings));
    CHECK_OK(flip_trainer_distribute(&trainer, flip_memory_now()));
    CHECK_OK(flip_data_place(&trainer.data));
    CHECK_OK(flip_data_adjacency(&trainer.data));
    CHECK_OK(flip_trainer_build(&trainer));
    CHECK_OK(flip_live_begin(&live, &trainer));
    for (int32_t k = 0; k < STEPS - 1; k++) {
        CHECK_OK(flip_live_step(&live, &trainer, k));
        check_states(&trainer, k, 2);
        if (k + 1 == 4) continue;
        CHECK(held_now(&trainer, k) == live.held, "step %d: the parameters are not the best", k);
        fell = fell || live.epochs > 0;
        flip_trainer_swap(&trainer); /* those of the last epoch */
        double last = held_now(&trainer, k);
        flip_trainer_swap(&trainer);
        CHECK(last >= live.held, "step %d: the last epoch is better, %g below %g", k, last,
              live.held);
        rose = rose || last > live.held;
    }
    CHECK(fell && rose, "the best was the last everywhere");
    flip_live_finish(&live);
    flip_trainer_close(&trainer);
    flip_comm_destroy(&comm);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    enter_folder();
    if (rank == 0) write_graph("g.h5", false);
    if (rank == 0) write_graph("other.h5", true);
    MPI_Barrier(MPI_COMM_WORLD);
    const struct CMUnitTest all[] = {cmocka_unit_test(same_steps), cmocka_unit_test(best_is_kept)};
    const struct CMUnitTest alone[] = {cmocka_unit_test(not_ahead), cmocka_unit_test(learns)};
    int failed = cmocka_run_group_tests(all, NULL, NULL);
    if (size == 1) failed += cmocka_run_group_tests(alone, NULL, NULL);
    leave_folder();
    MPI_Finalize();
    return failed;
}
