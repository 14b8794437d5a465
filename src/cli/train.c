/* flipbook train, evaluate, predict: settings in, library call, result out. */
#include "cli/commands.h"
#include "cli/settings.h"
#include "train/link_json.h"

#include <hwloc.h>
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ---- threads ---- */

static int cores_of_node(void) {
    hwloc_topology_t topology;
    int cores = 0;
    if (hwloc_topology_init(&topology) != 0) return 1;
    if (hwloc_topology_load(topology) == 0)
        cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    hwloc_topology_destroy(topology);
    return cores > 0 ? cores : 1;
}

/* Settles --threads auto, tells OpenMP, and warns where the ranks were bound to fewer cpus. */
static void settle_threads(flip_settings *settings, flip_comm *comm) {
    cpu_set_t mask;
    int allowed = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
    int share = cores_of_node() / flip_comm_node_size(comm);
    bool automatic = settings->threads == FLIP_UNSET;
    const char *asked = getenv("OMP_NUM_THREADS");
    if (automatic)
        settings->threads = asked && atoi(asked) > 0 ? atoi(asked) : share > 0 ? share : 1;
    if (settings->threads > allowed && flip_comm_rank(comm) == 0)
        fprintf(stderr,
                "flipbook: warning: rank 0 may use %d cpu%s for %lld threads; give mpirun "
                "--bind-to none (or --map-by slot:pe=%lld)\n",
                allowed, allowed == 1 ? "" : "s", (long long)settings->threads,
                (long long)settings->threads);
    if (automatic && settings->threads > allowed) settings->threads = allowed;
    omp_set_num_threads((int)settings->threads);
}

/* Settles --prefetch auto: a thread ahead is worth it where it has cores of its own, and it has
 * about half as much to do as the trainer. */
static void settle_prefetch(flip_settings *settings, flip_comm *comm) {
    enum { DEPTH = 2 };
    cpu_set_t mask;
    int allowed = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
    int cores = cores_of_node() / flip_comm_node_size(comm);
    int64_t spare = (cores < allowed ? cores : allowed) - settings->threads;
    if (settings->prefetch != FLIP_UNSET) return;
    bool worth = flip_settings_batched(settings) && 2 * spare >= settings->threads;
    settings->prefetch = worth && flip_comm_threaded(comm) ? DEPTH : 0;
    settings->prefetch_chosen = true;
}

bool flip_train_threads(int argc, char **argv) {
    flip_settings settings;
    flip_settings_default(&settings);
    flip_status status = flip_settings_parse(&settings, argc, argv, FLIP_FOR_TRAIN);
    flip_error_clear(); /* the command itself says what is wrong */
    return status == FLIP_OK && flip_settings_batched(&settings) && settings.prefetch != 0;
}

/* ---- what the library asks of the table ---- */

static char *to_json(const flip_settings *settings) {
    json_t *object = flip_settings_json(settings);
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
    return text;
}

static flip_status match(const flip_settings *settings, const char *json, const char *path) {
    const flip_key *table;
    size_t n = flip_settings_table(&table);
    flip_settings theirs = *settings;
    FLIP_TRY(flip_settings_from_json(&theirs, json));
    for (size_t i = 0; i < n; i++) {
        char mine[FLIP_PATH_SIZE], other[FLIP_PATH_SIZE];
        if (!table[i].result || (settings->grown && strncmp(table[i].name, "split", 5) == 0))
            continue; /* a longer timeline may be split anew */
        flip_settings_format(settings, &table[i], mine, sizeof mine);
        flip_settings_format(&theirs, &table[i], other, sizeof other);
        if (strcmp(mine, other) != 0)
            return FLIP_FAIL(FLIP_ERROR_USAGE,
                             "checkpoint '%s' was trained with --%s %s, this run has --%s %s; "
                             "resume with the same settings",
                             path, table[i].name, other, table[i].name, mine);
    }
    return FLIP_OK;
}

static flip_io make_io(flip_comm *comm, FILE *out) {
    return (flip_io){.out = flip_comm_rank(comm) == 0 ? out : NULL,
                     .print = flip_settings_print,
                     .to_json = to_json,
                     .from_json = flip_settings_from_json,
                     .match = match};
}

/* ---- train ---- */

static int help(const char *name, const char *what, const char *usage, const char *example,
                int command) {
    printf("flipbook %s: %s\n\nUsage: %s\n", name, what, usage);
    flip_settings_help(stdout, command);
    printf("\n%s", example);
    return 0;
}

static bool asks_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

int flip_command_train(int argc, char **argv) {
    flip_settings settings;
    flip_comm *comm = NULL;
    flip_result result;
    flip_status status;
    if (asks_help(argc, argv))
        return help("train", "train a graph neural network",
                    "[mpirun -n P] flipbook train GRAPH.h5 [--key value]…",
                    "Example: classes of accounts in a generated payment network, on two ranks\n"
                    "  flipbook generate payments -o pay.h5\n"
                    "  flipbook partition pay.h5 -o pay8.h5 --parts 8\n"
                    "  mpirun -n 2 flipbook train pay8.h5 --model sage --epochs 100 \\\n"
                    "      --report run.jsonl --checkpoint model.h5\n",
                    FLIP_FOR_TRAIN);
    flip_settings_default(&settings);
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    FLIP_TRY_GOTO(flip_settings_parse(&settings, argc, argv, FLIP_FOR_TRAIN));
    FLIP_TRY_GOTO(flip_settings_check(&settings));
    FLIP_TRY_GOTO(flip_settings_agree(&settings, comm));
    const flip_settings asked = settings;
    settle_threads(&settings, comm);
    settle_prefetch(&settings, comm);
    flip_io io = make_io(comm, stdout);
    io.asked = &asked;
    FLIP_TRY_GOTO(flip_train(&result, comm, &settings, &io));
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}

/* ---- evaluate, predict ---- */

/* The checkpoint's settings, with those of this command line on top. */
static flip_status settings_of_checkpoint(flip_settings *settings, flip_comm *comm,
                                          const flip_io *io, int argc, char **argv, int command) {
    flip_settings_default(settings);
    FLIP_TRY(flip_settings_parse(settings, argc, argv, command));
    if (!settings->checkpoint[0])
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "flipbook %s needs --checkpoint FILE, written by "
                         "flipbook train --checkpoint FILE",
                         argv[0]);
    FLIP_TRY(flip_settings_agree(settings, comm));
    flip_settings trained;
    flip_settings_default(&trained);
    FLIP_TRY(flip_checkpoint_settings(&trained, comm, settings->checkpoint, io));
    *settings = trained;
    FLIP_TRY(flip_settings_parse(settings, argc, argv, command));
    settle_threads(settings, comm);
    return FLIP_OK;
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_result(const flip_result *result, const flip_settings *settings) {
    if (!settings->json) {
        char train[FLIP_VALUE_SIZE], valid[FLIP_VALUE_SIZE], test[FLIP_VALUE_SIZE];
        printf("%s of '%s' on '%s' (epoch %lld): train %s, valid %s, test %s\n", result->metric,
               settings->checkpoint, settings->graph, (long long)result->best_epoch,
               flip_value_words(train, result->train), flip_value_words(valid, result->valid),
               flip_value_words(test, result->test));
        if (result->candidates[0]) flip_link_say(stdout, result);
        return;
    }
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o}", "graph", settings->graph, "checkpoint",
                  settings->checkpoint, "metric", result->metric, "epoch",
                  (json_int_t)result->best_epoch, "train", number(result->train), "valid",
                  number(result->valid), "test", number(result->test));
    if (result->candidates[0]) json_object_set_new(object, "link", flip_link_json(result));
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    printf("\n");
    json_decref(object);
}

int flip_command_evaluate(int argc, char **argv) {
    flip_settings settings;
    flip_comm *comm = NULL;
    flip_result result;
    flip_status status;
    if (asks_help(argc, argv))
        return help("evaluate", "measure a trained model on a graph",
                    "[mpirun -n P] flipbook evaluate GRAPH.h5 --checkpoint MODEL.h5 [--key value]…",
                    "Example:\n  mpirun -n 2 flipbook evaluate pay8.h5 --checkpoint model.h5 "
                    "--metric macro-f1 --json\n",
                    FLIP_FOR_EVALUATE);
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    flip_io io = make_io(comm, NULL);
    FLIP_TRY_GOTO(settings_of_checkpoint(&settings, comm, &io, argc, argv, FLIP_FOR_EVALUATE));
    FLIP_TRY_GOTO(flip_evaluate(&result, comm, &settings, &io));
    if (flip_comm_rank(comm) == 0) print_result(&result, &settings);
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}

int flip_command_predict(int argc, char **argv) {
    flip_settings settings;
    flip_comm *comm = NULL;
    flip_status status;
    if (asks_help(argc, argv))
        return help("predict", "write a trained model's predictions as CSV, with your own ids",
                    "[mpirun -n P] flipbook predict GRAPH.h5 --checkpoint MODEL.h5 [-o FILE.csv]",
                    "Example:\n  flipbook predict pay8.h5 --checkpoint model.h5 -o scores.csv\n  "
                    "head -3 scores.csv    # node,prediction,p(class),…\n",
                    FLIP_FOR_PREDICT);
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    flip_io io = make_io(comm, NULL);
    FLIP_TRY_GOTO(settings_of_checkpoint(&settings, comm, &io, argc, argv, FLIP_FOR_PREDICT));
    FLIP_TRY_GOTO(flip_predict(comm, &settings, &io));
    if (flip_comm_rank(comm) == 0 && settings.output[0]) printf("wrote %s\n", settings.output);
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}
