/* flipbook partition g.h5 -o p.h5 --parts K */
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/words.h"

#include <flipbook/partition.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char flip_help_partition[] =
    "Usage: flipbook partition GRAPH -o FILE [options]\n"
    "\n"
    "Cuts a graph into parts and writes it renumbered, each part a range of ids, for training on\n"
    "any number of ranks up to the number of parts (more run, but empty). The result does not\n"
    "depend on the number of ranks that partition (mpirun -n P flipbook partition …).\n"
    "\n"
    "  -o FILE               the container to write\n"
    "  --parts K             default 8; 4 to 16 for each rank that will train is good\n"
    "  --method M            metis, ldg, fennel (streamed: for graphs METIS cannot hold), block\n"
    "                        (ranges of the ids as they are), random; default metis\n"
    "  --objective O         cut (edges between parts) or volume (halo rows; slower); default cut\n"
    "  --balance LIST        of nodes, edges, train (training nodes); default nodes,edges\n"
    "  --imbalance X         largest part / mean that is allowed; default 1.05\n"
    "  --seed S              default 0\n"
    "  --json                print the figures as one JSON object\n"
    "\n"
    "Prints, for 1, 2, 4 … K ranks, the halo: rows (nodes) a rank needs of other ranks, which is\n"
    "what it receives in each exchange, beside that of a random partition; and the balance, the\n"
    "largest rank over the mean.\n"
    "\n"
    "Example: eight parts, then training on two ranks\n"
    "  flipbook partition payments.h5 -o parts.h5 --parts 8\n"
    "  mpirun -n 2 flipbook train parts.h5 --model sage --task node\n";

typedef struct command {
    const char *graph, *path, *method, *objective, *balance, *from;
    bool json;
    flip_partition_params params;
    int rank;
} command;

/* ---- options ---- */

static flip_status choice(const char *option, const char *word, const char *const *names, int n,
                          int *out) {
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0) {
            *out = i;
            return FLIP_OK;
        }
    char all[128] = "";
    for (int i = 0; i < n; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = flip_suggest(word, names, (size_t)n);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s is '%s'; did you mean '%s'? (one of %s)", option,
                         word, near, all);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "%s is '%s'; it must be one of %s", option, word, all);
}

static flip_status parse_balance(flip_partition_params *p, const char *list) {
    static const char *const names[] = {"nodes", "edges", "train"};
    bool *to[] = {&p->balance_nodes, &p->balance_edges, &p->balance_train};
    for (int i = 0; i < 3; i++)
        *to[i] = false;
    while (*list) {
        char word[32];
        size_t length = strcspn(list, ",");
        int which = 0;
        snprintf(word, sizeof word, "%.*s", (int)length, list);
        FLIP_TRY(choice("--balance", word, names, 3, &which));
        *to[which] = true;
        list += length + (list[length] == ',');
    }
    if (!p->balance_nodes && !p->balance_edges && !p->balance_train)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--balance is empty; it is a list of nodes, edges, train");
    return FLIP_OK;
}

static flip_status parse(command *c, int argc, char **argv) {
    static const char *const what[] = {"the graph to partition"};
    static const char *const objectives[] = {"cut", "volume"};
    const char *methods[5];
    int which = 0;
    const flip_option table[] = {{"-o", FLIP_OPTION_TEXT, &c->path},
                                 {"--parts", FLIP_OPTION_I32, &c->params.n_parts},
                                 {"--method", FLIP_OPTION_TEXT, &c->method},
                                 {"--objective", FLIP_OPTION_TEXT, &c->objective},
                                 {"--balance", FLIP_OPTION_TEXT, &c->balance},
                                 {"--imbalance", FLIP_OPTION_REAL, &c->params.imbalance},
                                 {"--seed", FLIP_OPTION_U64, &c->params.seed},
                                 {"--from", FLIP_OPTION_TEXT, &c->from},
                                 {"--json", FLIP_OPTION_FLAG, &c->json},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("partition", argc, argv, table, &c->graph, what, 1));
    if (c->from)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--from (repartitioning from an old partition) is not "
                                           "in this version of flipbook; leave it out to "
                                           "partition anew");
    if (!c->path)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook partition needs -o FILE, the file to write");
    for (int i = 0; i < 5; i++)
        methods[i] = flip_partition_method_name((flip_partition_method)i);
    if (c->method) FLIP_TRY(choice("--method", c->method, methods, 5, &which));
    c->params.method = (flip_partition_method)which;
    which = 0;
    if (c->objective) FLIP_TRY(choice("--objective", c->objective, objectives, 2, &which));
    c->params.volume = which == 1;
    if (c->balance) FLIP_TRY(parse_balance(&c->params, c->balance));
    if (c->params.n_parts < 1 || c->params.n_parts > FLIP_PARTITION_MOST_PARTS)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--parts is %d; it must be from 1 to %d",
                         c->params.n_parts, FLIP_PARTITION_MOST_PARTS);
    if (!(c->params.imbalance >= 1.001 && c->params.imbalance <= 1000))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--imbalance is %g; it must be from 1.001 to 1000 (largest part / mean)",
                         c->params.imbalance);
    return FLIP_OK;
}

/* ---- what is said ---- */

static flip_status tell_memory(const command *c, const flip_reader *reader) {
    int64_t rows[3], events[3], undirected = 0, steps = 1;
    FLIP_TRY(flip_reader_shape(reader, "events/indptr", rows, NULL));
    FLIP_TRY(flip_reader_shape(reader, "events/src", events, NULL));
    if (flip_reader_has_attribute(reader, "/", "undirected"))
        FLIP_TRY(flip_reader_attribute_i64(reader, "/", "undirected", &undirected));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "n_steps", &steps));
    if (c->rank != 0) return FLIP_OK;
    size_t need = flip_partition_bytes(rows[0] - 1, events[0] * (undirected ? 1 : 2), &c->params);
    size_t limit = flip_memory_available(), used = flip_memory_now();
    size_t have = limit > used ? limit - used : 0;
    fprintf(stderr, "%s: %s nodes, %s events", c->graph, flip_grouped(rows[0] - 1).s,
            flip_grouped(events[0]).s);
    if (steps > 1) fprintf(stderr, " in %s steps", flip_grouped(steps).s);
    fputc('\n', stderr);
    if (c->params.n_parts == 1) return FLIP_OK; /* nothing to cut */
    fprintf(stderr, "%s into %s parts needs at most %s on rank 0; %s are free: %s\n",
            flip_partition_method_name(c->params.method), flip_grouped(c->params.n_parts).s,
            flip_byte_words((double)need).s, flip_byte_words((double)have).s,
            need <= have ? "fits"
            : c->params.method == FLIP_PARTITION_METIS
                ? "may not fit; if the union over time does not, ldg takes its place"
                : "may not fit");
    return FLIP_OK;
}

static double stage(const command *c, const char *what, double since) {
    double now = flip_seconds();
    if (c->rank == 0) {
        if (since > 0) fprintf(stderr, " %.1f s\n", now - since);
        if (what) fprintf(stderr, "%s …", what);
        fflush(stderr);
    }
    return now;
}

static void tell(const command *c, const flip_partition *p, const flip_partition_row *rows,
                 const flip_partition_row *random, int32_t n_rows) {
    printf("%s into %s part%s: cut %s of %s events (%.1f %%); largest part / mean: nodes %.3f, "
           "events %.3f\n",
           flip_partition_method_name(p->method), flip_grouped(p->n_parts).s,
           p->n_parts == 1 ? "" : "s", flip_grouped(p->cut).s, flip_grouped(p->n_events).s,
           p->n_events ? 100. * (double)p->cut / (double)p->n_events : 0, p->node_balance,
           p->edge_balance);
    if (p->reason[0]) printf("note: %s\n", p->reason);
    printf("\n         halo rows a rank        random        largest / mean\n"
           "ranks         max        mean        mean        nodes  events\n");
    for (int32_t i = 0; i < n_rows; i++) {
        double ranks = rows[i].ranks;
        printf("%5d %11s %11s %11s        %5.2f   %5.2f\n", rows[i].ranks,
               flip_grouped(rows[i].halo_max).s,
               flip_grouped((int64_t)((double)rows[i].halo_sum / ranks + .5)).s,
               flip_grouped((int64_t)((double)random[i].halo_sum / ranks + .5)).s,
               rows[i].node_balance, rows[i].edge_balance);
    }
    printf("\nwritten: %s\n", c->path);
}

static void tell_json(const command *c, const flip_partition *p, const flip_partition_row *rows,
                      const flip_partition_row *random, int32_t n_rows) {
    json_t *list = json_array();
    for (int32_t i = 0; i < n_rows; i++)
        json_array_append_new(
            list, json_pack("{s:i, s:I, s:I, s:I, s:f, s:f}", "ranks", rows[i].ranks, "halo_max",
                            (json_int_t)rows[i].halo_max, "halo_sum", (json_int_t)rows[i].halo_sum,
                            "halo_sum_random", (json_int_t)random[i].halo_sum, "node_balance",
                            rows[i].node_balance, "edge_balance", rows[i].edge_balance));
    json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:f, s:o}", "file",
                            c->path, "method", flip_partition_method_name(p->method), "objective",
                            c->params.volume ? "volume" : "cut", "note", p->reason, "parts",
                            p->n_parts, "nodes", (json_int_t)p->n_nodes, "events",
                            (json_int_t)p->n_events, "cut", (json_int_t)p->cut, "node_balance",
                            p->node_balance, "edge_balance", p->edge_balance, "ranks", list);
    char *text = json_dumps(all, JSON_PRESERVE_ORDER);
    if (text) puts(text);
    free(text);
    json_decref(all);
}

/* The halo of a random partition of the same graph, for comparison. */
static flip_status measure_random(flip_partition_row *rows, flip_comm *comm,
                                  const flip_reader *reader, const flip_partition_params *p) {
    flip_partition *random = NULL;
    flip_partition_params params = *p;
    int32_t n = 0;
    params.method = FLIP_PARTITION_RANDOM;
    params.volume = false;
    flip_status status = flip_partition_compute(&random, comm, reader, &params);
    if (status == FLIP_OK) status = flip_partition_measure(rows, &n, comm, reader, random);
    flip_partition_destroy(&random);
    return status;
}

/* The output must not take the place of what it is made from. */
static flip_status check_output(const command *c, const char *input) {
    struct stat in, out;
    if (c->rank != 0 || stat(c->path, &out) != 0 || stat(input, &in) != 0) return FLIP_OK;
    if (in.st_dev != out.st_dev || in.st_ino != out.st_ino) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "-o %s would overwrite '%s', which is read; give the output another name",
                     c->path, input);
}

static flip_status run(command *c, flip_comm *comm) {
    flip_status status = FLIP_OK;
    flip_reader *reader = NULL;
    flip_partition *partition = NULL;
    flip_partition_row rows[FLIP_PARTITION_ROWS], random[FLIP_PARTITION_ROWS];
    int32_t n_rows = 0;
    double at = 0;
    FLIP_TRY_GOTO(flip_reader_open(&reader, comm, c->graph, "graph"));
    FLIP_TRY_GOTO(flip_comm_agree(comm, check_output(c, c->graph)));
    FLIP_TRY_GOTO(flip_container_writable(comm, c->path));
    FLIP_TRY_GOTO(tell_memory(c, reader));
    at = stage(c, "cutting", 0);
    FLIP_TRY_GOTO(flip_partition_compute(&partition, comm, reader, &c->params));
    at = stage(c, "counting halo rows", at);
    FLIP_TRY_GOTO(flip_partition_measure(rows, &n_rows, comm, reader, partition));
    FLIP_TRY_GOTO(measure_random(random, comm, reader, &c->params));
    at = stage(c, "writing", at);
    FLIP_TRY_GOTO(flip_partition_write(comm, reader, partition, &c->params, c->path));
    stage(c, NULL, at);
    if (c->rank == 0) (c->json ? tell_json : tell)(c, partition, rows, random, n_rows);
done:
    if (status != FLIP_OK && at > 0 && c->rank == 0) fputc('\n', stderr);
    flip_partition_destroy(&partition);
    flip_reader_close(&reader);
    return status;
}

int flip_command_partition(int argc, char **argv) {
    flip_status status = FLIP_OK;
    flip_comm *comm = NULL;
    command c = {.params = FLIP_PARTITION_DEFAULTS};
    FLIP_TRY_GOTO(parse(&c, argc, argv));
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    c.rank = flip_comm_rank(comm);
    FLIP_TRY_GOTO(run(&c, comm));
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}
