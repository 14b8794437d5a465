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
    "  --from OLD            repartition: start from the parts of OLD, which flipbook partition\n"
    "                        wrote when GRAPH was smaller or older; see below\n"
    "  --max-moved X%        with --from: rows of OLD that the local pass may move; default 10%\n"
    "  --anew-above X        with --from: METIS runs anew beyond X times the last full result;\n"
    "                        default 1.2, 0: in any case\n"
    "  --json                print the figures as one JSON object\n"
    "\n"
    "Prints, for 1, 2, 4 … K ranks, the halo: rows (nodes) a rank needs of other ranks, which is\n"
    "what it receives in each exchange, beside that of a random partition; and the balance, the\n"
    "largest rank over the mean.\n"
    "\n"
    "--from keeps nodes where they are: nodes are told by their names, new ones go to the part of\n"
    "most of their neighbours, and one local pass moves few of the old ones, first for balance,\n"
    "then for the cut. Options not given are OLD's. METIS runs anew, and its parts are numbered "
    "to\n"
    "overlap the old ones, when --parts differs, when balance cannot be reached, or when the halo\n"
    "exceeds --anew-above times the last full result. That result is kept in the file and scaled "
    "to the\n"
    "graph of today: the share of (source, destination) pairs that crossed between parts, applied\n"
    "to today's degrees. Checkpoints follow: flipbook train --resume FILE --grown on.\n"
    "\n"
    "Examples: eight parts, then training on two ranks; a month later\n"
    "  flipbook partition payments.h5 -o parts.h5 --parts 8\n"
    "  mpirun -n 2 flipbook train parts.h5 --model sage --task node\n"
    "  flipbook partition payments2.h5 -o parts2.h5 --from parts.h5\n";

typedef struct command {
    const char *graph, *path, *method, *objective, *balance, *from, *max_moved;
    bool json;
    bool imbalance_given, seed_given; /* else --from's */
    flip_partition_params params;
    flip_repartition moved; /* with --from */
    int rank;
} command;

/* Not given: whole and real numbers that no user can mean. */
enum { NO_PARTS = INT32_MIN };
#define NO_IMBALANCE (-1e300)
#define NO_SEED UINT64_MAX

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

static flip_status parse_share(double *out, const char *word) {
    char *end = NULL;
    double value = strtod(word, &end), unit = 1;
    if (*end == '%') {
        unit = 100;
        end++;
    }
    if (end == word || *end || !(value >= 0 && value <= unit))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--max-moved is '%s'; a share is expected, from 0%% to 100%%", word);
    *out = value / unit;
    return FLIP_OK;
}

static flip_status parse_words(command *c) {
    static const char *const objectives[] = {"cut", "volume"};
    const char *methods[5];
    int which = 0;
    for (int i = 0; i < 5; i++)
        methods[i] = flip_partition_method_name((flip_partition_method)i);
    if (c->method) FLIP_TRY(choice("--method", c->method, methods, 5, &which));
    c->params.method = (flip_partition_method)which;
    if (c->from && which > FLIP_PARTITION_FENNEL)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--from goes with --method metis, ldg or fennel, not %s",
                         c->method);
    which = 0;
    if (c->objective) FLIP_TRY(choice("--objective", c->objective, objectives, 2, &which));
    c->params.volume = which == 1;
    if (c->balance) FLIP_TRY(parse_balance(&c->params, c->balance));
    if (c->max_moved && !c->from)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--max-moved goes with --from OLD");
    if (!(c->params.anew_above == 0 || c->params.anew_above >= 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--anew-above is %g; it must be 0, or at least 1 (times the last full "
                         "result)",
                         c->params.anew_above);
    if (c->max_moved) FLIP_TRY(parse_share(&c->params.max_moved, c->max_moved));
    return FLIP_OK;
}

static flip_status parse(command *c, int argc, char **argv) {
    static const char *const what[] = {"the graph to partition"};
    const flip_partition_params standard = FLIP_PARTITION_DEFAULTS;
    flip_partition_params *p = &c->params;
    p->n_parts = NO_PARTS;
    p->imbalance = NO_IMBALANCE;
    p->seed = NO_SEED;
    const flip_option table[] = {{"-o", FLIP_OPTION_TEXT, &c->path},
                                 {"--parts", FLIP_OPTION_I32, &p->n_parts},
                                 {"--method", FLIP_OPTION_TEXT, &c->method},
                                 {"--objective", FLIP_OPTION_TEXT, &c->objective},
                                 {"--balance", FLIP_OPTION_TEXT, &c->balance},
                                 {"--imbalance", FLIP_OPTION_REAL, &p->imbalance},
                                 {"--seed", FLIP_OPTION_U64, &p->seed},
                                 {"--from", FLIP_OPTION_TEXT, &c->from},
                                 {"--max-moved", FLIP_OPTION_TEXT, &c->max_moved},
                                 {"--anew-above", FLIP_OPTION_REAL, &p->anew_above},
                                 {"--json", FLIP_OPTION_FLAG, &c->json},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("partition", argc, argv, table, &c->graph, what, 1));
    if (!c->path)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook partition needs -o FILE, the file to write");
    FLIP_TRY(parse_words(c));
    c->imbalance_given = p->imbalance != NO_IMBALANCE;
    c->seed_given = p->seed != NO_SEED;
    if (!c->imbalance_given) p->imbalance = standard.imbalance;
    if (!c->seed_given) p->seed = standard.seed;
    if (p->n_parts == NO_PARTS && !c->from) p->n_parts = standard.n_parts;
    if (p->n_parts != NO_PARTS && (p->n_parts < 1 || p->n_parts > FLIP_PARTITION_MOST_PARTS))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--parts is %d; it must be from 1 to %d", p->n_parts,
                         FLIP_PARTITION_MOST_PARTS);
    if (!(p->imbalance >= 1.001 && p->imbalance <= 1000))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--imbalance is %g; it must be from 1.001 to 1000 (largest part / mean)",
                         p->imbalance);
    return FLIP_OK;
}

/* What was not given is the old container's. */
static flip_status take_from(command *c, const flip_reader *old) {
    flip_partition_params *p = &c->params;
    char text[64];
    int64_t dims[3], seed;
    if (!flip_reader_has(old, "parts/first"))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' is not partitioned; --from takes a container that flipbook "
                         "partition wrote",
                         c->from);
    FLIP_TRY(flip_reader_shape(old, "parts/first", dims, NULL));
    if (p->n_parts == NO_PARTS) p->n_parts = (int32_t)(dims[0] - 1);
    if (!flip_reader_has_attribute(old, "partition", "method")) return FLIP_OK;
    if (!c->objective && p->method == FLIP_PARTITION_METIS) {
        FLIP_TRY(flip_reader_attribute_text(old, "partition", "objective", text, sizeof text));
        p->volume = strcmp(text, "volume") == 0;
    }
    if (!c->balance) {
        FLIP_TRY(flip_reader_attribute_text(old, "partition", "balance", text, sizeof text));
        if (text[0]) FLIP_TRY(parse_balance(p, text));
    }
    if (!c->imbalance_given)
        FLIP_TRY(flip_reader_attribute_f64(old, "partition", "imbalance", &p->imbalance));
    if (!c->seed_given) {
        FLIP_TRY(flip_reader_attribute_i64(old, "partition", "seed", &seed));
        p->seed = (uint64_t)seed;
    }
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

/* What --from did. */
static void tell_moved(const command *c, const flip_partition *p) {
    const flip_repartition *r = &c->moved;
    printf("from %s: %s nodes known, %s new, %s vanished\n", c->from, flip_grouped(r->n_known).s,
           flip_grouped(r->n_new).s, flip_grouped(r->n_vanished).s);
    printf(
        "  as they were:  parts %d, halo %s rows, cut %s, largest part / mean: nodes %.3f, events "
        "%.3f\n",
        r->old_parts, flip_grouped(r->before.halo_sum).s, flip_grouped(r->cut_before).s,
        r->before.node_balance, r->before.edge_balance);
    if (r->local.ranks > 0)
        printf("  local pass:    parts %d, halo %s rows, largest part / mean: nodes %.3f, events "
               "%.3f\n",
               r->local.ranks, flip_grouped(r->local.halo_sum).s, r->local.node_balance,
               r->local.edge_balance);
    if (r->expected > 0)
        printf("  the last full result, on this graph: halo %s rows\n",
               flip_grouped((int64_t)(r->expected + .5)).s);
    if (r->anew)
        printf("  %s ran anew, because %s: halo %s rows%s\n",
               r->full_method == FLIP_PARTITION_METIS ? "METIS"
                                                      : flip_partition_method_name(r->full_method),
               r->why, flip_grouped(r->full.halo_sum).s,
               r->kept ? "; no fewer, so the local result stays" : "");
    printf(
        "  the result:    parts %d, halo %s rows, cut %s, largest part / mean: nodes %.3f, events "
        "%.3f\n",
        p->n_parts, flip_grouped(r->after.halo_sum).s, flip_grouped(p->cut).s,
        r->after.node_balance, r->after.edge_balance);
    printf("  moved %s of %s old rows (%.2f %%)", flip_grouped(r->moved).s,
           flip_grouped(r->n_known).s,
           r->n_known ? 100. * (double)r->moved / (double)r->n_known : 0);
    if (r->local.ranks > 0 && (!r->anew || r->kept))
        printf("; the local pass may move %s", flip_grouped(r->most_moved).s);
    printf("\n\n");
}

static void tell(const command *c, const flip_partition *p, const flip_partition_row *rows,
                 const flip_partition_row *random, int32_t n_rows) {
    if (c->from) tell_moved(c, p);
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

static json_t *json_row(const flip_partition_row *row) {
    return json_pack("{s:i, s:I, s:I, s:f, s:f}", "ranks", row->ranks, "halo_max",
                     (json_int_t)row->halo_max, "halo_sum", (json_int_t)row->halo_sum,
                     "node_balance", row->node_balance, "edge_balance", row->edge_balance);
}

static json_t *json_moved(const command *c) {
    const flip_repartition *r = &c->moved;
    json_t *all =
        json_pack("{s:s, s:I, s:I, s:I, s:i, s:I, s:I, s:f, s:b, s:b, s:s, s:I}", "file", c->from,
                  "known", (json_int_t)r->n_known, "new", (json_int_t)r->n_new, "vanished",
                  (json_int_t)r->n_vanished, "parts", r->old_parts, "moved", (json_int_t)r->moved,
                  "most_moved", (json_int_t)r->most_moved, "expected_halo", r->expected, "anew",
                  r->anew, "kept", r->kept, "why", r->why, "cut_before", (json_int_t)r->cut_before);
    json_object_set_new(all, "before", json_row(&r->before));
    if (r->local.ranks > 0) json_object_set_new(all, "local", json_row(&r->local));
    if (r->anew) json_object_set_new(all, "full", json_row(&r->full));
    json_object_set_new(all, "after", json_row(&r->after));
    return all;
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
    if (c->from) json_object_set_new(all, "from", json_moved(c));
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
    flip_reader *reader = NULL, *old = NULL;
    flip_partition *partition = NULL;
    flip_partition_row rows[FLIP_PARTITION_ROWS], random[FLIP_PARTITION_ROWS];
    int32_t n_rows = 0;
    double at = 0;
    FLIP_TRY_GOTO(flip_reader_open(&reader, comm, c->graph, "graph"));
    FLIP_TRY_GOTO(flip_comm_agree(comm, check_output(c, c->graph)));
    if (c->from) {
        FLIP_TRY_GOTO(flip_reader_open(&old, comm, c->from, "graph"));
        FLIP_TRY_GOTO(flip_comm_agree(comm, check_output(c, c->from)));
        FLIP_TRY_GOTO(take_from(c, old));
    }
    FLIP_TRY_GOTO(flip_container_writable(comm, c->path));
    FLIP_TRY_GOTO(tell_memory(c, reader));
    at = stage(c, "cutting", 0);
    if (old)
        FLIP_TRY_GOTO(
            flip_repartition_compute(&partition, &c->moved, comm, reader, old, &c->params));
    else
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
    flip_reader_close(&old);
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
