/* flipbook simulate p.h5 --ranks 2,4,…,1024: bytes counted from the graph, seconds modelled. */
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/words.h"
#include "train/simulate.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char flip_help_simulate[] =
    "Usage: flipbook simulate GRAPH [options]\n"
    "\n"
    "What an epoch of training would exchange and leave to each rank, in every distribution that\n"
    "the model has, on numbers of ranks that need not exist here. GRAPH is a container that\n"
    "flipbook partition wrote; without parts, nodes are dealt out in equal runs of ids.\n"
    "\n"
    "  --ranks LIST          default 2,4,8,16,32,64,128,256,512,1024\n"
    "  --model M             gcn, sage, gat, gin, tmgcn, cdgcn, evolvegcn-o, evolvegcn-h; default\n"
    "                        cdgcn\n"
    "  --temporal R          lstm or gru behind every layer of gcn, sage, gat or gin\n"
    "  --layers N --hidden N --heads N   default 2, 32 and 1; embeddings have the hidden width\n"
    "  --norm N --residual   layer or batch; add each layer's input to its output\n"
    "  --precompute on|off   is the first aggregation of constant features kept? default on\n"
    "  --inputs N            width of the features; default: the file's, or 2 (degrees)\n"
    "  --edge-life L --window B   default 1, 1\n"
    "  --steps N             the first N steps alone; default all\n"
    "  --bandwidth GB/s      that a rank sends; default 10\n"
    "  --latency us          of a message; default 5\n"
    "  --json                one JSON object instead of the table\n"
    "\n"
    "Counted, exactly, for the forward and backward pass of one epoch in one block, validation\n"
    "not counted: halo, redistribute, state, window and allreduce bytes over all ranks (window: 0\n"
    "where TM-GCN's band is kept with the first aggregation; allreduce: of the model itself, not\n"
    "of a task's head); graph-to-device bytes of full, delta and resident for a forward pass\n"
    "(resident: a run; in --json also differences, delta without its fallback to full); entries\n"
    "and multiply-adds of the busiest rank over the mean. Steps are dealt out by their edges, as\n"
    "in training.\n"
    "Modelled: the seconds, from aggregation, products and copies measured here for a moment and\n"
    "the network as stated, without any overlap. They are a model, not a measurement.\n"
    "\n"
    "Example:\n"
    "  flipbook simulate parts.h5 --ranks 4,64,1024 --model cdgcn --edge-life 10\n";

enum { MOST_RANKS = 1 << 20, MOST_COUNTS = 64 };

typedef struct command {
    const char *graph, *ranks, *model, *temporal, *norm, *precompute;
    int32_t heads, layers, hidden, inputs, edge_life, window, steps;
    double bandwidth, latency;
    bool json, residual;
    int32_t rank[MOST_COUNTS], n_ranks;
    flip_model_params params;
    flip_machine machine;
} command;

static flip_status parse_ranks(command *c) {
    const char *at = c->ranks;
    while (*at) {
        char *end;
        const long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > MOST_RANKS || (*end && *end != ',') ||
            c->n_ranks == MOST_COUNTS)
            return FLIP_FAIL(
                FLIP_ERROR_USAGE,
                "--ranks is '%s'; a list like 2,4,8 is expected, of at most %d numbers "
                "from 1 to %d",
                c->ranks, MOST_COUNTS, MOST_RANKS);
        c->rank[c->n_ranks++] = (int32_t)n;
        at = end + (*end == ',');
    }
    if (c->n_ranks == 0) return FLIP_FAIL(FLIP_ERROR_USAGE, "--ranks is empty");
    return FLIP_OK;
}

/* Which of `n` names (NULL: one without a name) the word is. */
static flip_status choose(int *index, const char *option, const char *word,
                          const char *const *names, int n) {
    char known[256] = "";
    for (int i = 0; i < n; i++) {
        if (strcmp(word, names[i]) == 0) {
            *index = i;
            return FLIP_OK;
        }
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
    }
    return FLIP_FAIL(FLIP_ERROR_USAGE, "%s is '%s'; one of %s is expected", option, word, known);
}

static flip_status parse_model(command *c) {
    static const char *const models[] = {"gcn",   "sage",  "gat",         "gin",
                                         "tmgcn", "cdgcn", "evolvegcn-o", "evolvegcn-h"};
    static const flip_model_kind kinds[] = {
        FLIP_MODEL_GCN,   FLIP_MODEL_SAGE,  FLIP_MODEL_GAT,         FLIP_MODEL_GIN,
        FLIP_MODEL_TMGCN, FLIP_MODEL_CDGCN, FLIP_MODEL_EVOLVEGCN_O, FLIP_MODEL_EVOLVEGCN_H};
    static const char *const cells[] = {"none", "lstm", "gru"},
                             *const norms[] = {"none", "layer", "batch"},
                             *const switches[] = {"off", "on"};
    static const flip_temporal temporals[] = {FLIP_TEMPORAL_NONE, FLIP_TEMPORAL_LSTM,
                                              FLIP_TEMPORAL_GRU};
    static const flip_norm norm_kinds[] = {FLIP_NORM_NONE, FLIP_NORM_LAYER, FLIP_NORM_BATCH};
    int at = 0;
    FLIP_TRY(choose(&at, "--model", c->model, models, 8));
    c->params.kind = kinds[at];
    FLIP_TRY(choose(&at, "--temporal", c->temporal, cells, 3));
    c->params.temporal = temporals[at];
    FLIP_TRY(choose(&at, "--norm", c->norm, norms, 3));
    c->params.norm = norm_kinds[at];
    FLIP_TRY(choose(&at, "--precompute", c->precompute, switches, 2));
    c->params.precompute = at == 1;
    c->params.residual = c->residual;
    return FLIP_OK;
}

static flip_status parse(command *c, int argc, char **argv) {
    static const char *const what[] = {"the graph"};
    const flip_option table[] = {{"--ranks", FLIP_OPTION_TEXT, &c->ranks},
                                 {"--model", FLIP_OPTION_TEXT, &c->model},
                                 {"--temporal", FLIP_OPTION_TEXT, &c->temporal},
                                 {"--norm", FLIP_OPTION_TEXT, &c->norm},
                                 {"--residual", FLIP_OPTION_FLAG, &c->residual},
                                 {"--precompute", FLIP_OPTION_TEXT, &c->precompute},
                                 {"--heads", FLIP_OPTION_I32, &c->heads},
                                 {"--layers", FLIP_OPTION_I32, &c->layers},
                                 {"--hidden", FLIP_OPTION_I32, &c->hidden},
                                 {"--inputs", FLIP_OPTION_I32, &c->inputs},
                                 {"--edge-life", FLIP_OPTION_I32, &c->edge_life},
                                 {"--window", FLIP_OPTION_I32, &c->window},
                                 {"--steps", FLIP_OPTION_I32, &c->steps},
                                 {"--bandwidth", FLIP_OPTION_REAL, &c->bandwidth},
                                 {"--latency", FLIP_OPTION_REAL, &c->latency},
                                 {"--json", FLIP_OPTION_FLAG, &c->json},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("simulate", argc, argv, table, &c->graph, what, 1));
    FLIP_TRY(parse_ranks(c));
    FLIP_TRY(parse_model(c));
    if (c->layers < 1 || c->hidden < 1 || c->inputs < 0 || c->edge_life < 1 || c->window < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--layers %d, --hidden %d, --edge-life %d, --window %d: each must be at "
                         "least 1, and --inputs %d at least 0",
                         c->layers, c->hidden, c->edge_life, c->window, c->inputs);
    if (c->steps < 0) return FLIP_FAIL(FLIP_ERROR_USAGE, "--steps is %d", c->steps);
    if (!(c->bandwidth > 0) || !(c->latency >= 0))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--bandwidth is %g and --latency %g; a bandwidth above 0 GB/s and a "
                         "latency of 0 us or more are expected",
                         c->bandwidth, c->latency);
    if (c->window > 1 && c->params.kind != FLIP_MODEL_TMGCN)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--window is of tmgcn; %s has no band", c->model);
    return FLIP_OK;
}

/* Seconds of one call, the shortest of five. */
static double shortest(void (*call)(void *), void *with) {
    double best = 1e30;
    for (int i = 0; i < 5; i++) {
        const double since = flip_seconds();
        call(with);
        const double took = flip_seconds() - since;
        if (took < best) best = took;
    }
    return best > 0 ? best : 1e-9;
}

typedef struct trial {
    const flip_adjacency *adjacency;
    int32_t dim;
    int64_t rows;
    flip_real *x, *y, *w;
} trial;

static void aggregate(void *with) {
    const trial *t = with;
    flip_kernels_get()->spmm(&t->adjacency->a, NULL, t->adjacency->a.n_rows, t->dim, t->y, t->x,
                             NULL, false);
}

static void multiply(void *with) {
    const trial *t = with;
    flip_kernels_get()->gemm_nn(t->rows, 4 * t->dim, t->dim, t->x, t->dim, t->w, 4 * t->dim, t->y,
                                4 * t->dim, NULL);
}

/* Aggregation on the graph's own last steps and products of the model's width. */
static flip_status calibrate(command *c, const flip_graph *g, const flip_adjacency_params *whole) {
    flip_status status;
    flip_adjacency *adjacency = NULL;
    flip_adjacency_params p = *whole;
    const int64_t n = flip_graph_about(g)->n_nodes;
    p.n_steps = whole->n_steps < 4 ? whole->n_steps : 4;
    p.first_step = whole->n_steps - p.n_steps;
    trial t = {.dim = c->hidden, .rows = n < 16384 ? n : 16384};
    const size_t values = (size_t)n * 4 * (size_t)c->hidden;
    FLIP_TRY_GOTO(flip_adjacency_create(&adjacency, NULL, flip_graph_rank_first(g), NULL,
                                        flip_graph_events(g), &p));
    FLIP_TRY_GOTO(flip_alloc_zero(&t.x, values, sizeof *t.x, "calibration"));
    FLIP_TRY_GOTO(flip_alloc_zero(&t.y, values, sizeof *t.y, "calibration"));
    FLIP_TRY_GOTO(flip_alloc_zero(&t.w, 4 * (size_t)c->hidden * (size_t)c->hidden, sizeof *t.w,
                                  "calibration"));
    for (size_t i = 0; i < values; i++) /* pages that were never written are all one */
        t.x[i] = t.y[i] = 1;
    t.adjacency = adjacency;
    const double entries = (double)adjacency->a.n_values * c->hidden;
    c->machine.seconds_a_value = entries > 0 ? shortest(aggregate, &t) / entries : 0;
    c->machine.flops = 8.0 * (double)t.rows * c->hidden * c->hidden / shortest(multiply, &t);
    c->machine.copy = flip_kernels_limits().copy_gbs * 1e9;
    c->machine.bandwidth = c->bandwidth * 1e9;
    c->machine.latency = c->latency * 1e-6;
done:
    flip_free(t.x);
    flip_free(t.y);
    flip_free(t.w);
    flip_adjacency_destroy(&adjacency);
    return status;
}

static double over_mean(double most, double all, int32_t ranks) {
    return all > 0 ? most * ranks / all : 1;
}

static double balance_of(const flip_simulation *s, const flip_machine *x) {
    return over_mean(s->values_most * x->seconds_a_value + s->flops_most / x->flops,
                     s->values_all * x->seconds_a_value + s->flops_all / x->flops, s->ranks);
}

static json_t *row_json(const flip_simulation *s, const flip_machine *x) {
    return json_pack(
        "{s:s, s:i, s:i, s:{s:I, s:I, s:I, s:I, s:I}, s:{s:I, s:I, s:I, s:I}, s:{s:f, s:f, s:f, "
        "s:f}, "
        "s:f, s:f}",
        "distribute", flip_simulated_names[s->distribute], "ranks", s->ranks, "chunks", s->n_time,
        "bytes", "halo", (json_int_t)s->halo, "redistribute", (json_int_t)s->redistribute, "state",
        (json_int_t)s->state, "window", (json_int_t)s->window, "allreduce",
        (json_int_t)s->allreduce, "graph_to_device", "full", (json_int_t)s->counts.full, "delta",
        (json_int_t)s->counts.delta, "differences", (json_int_t)s->counts.differences, "resident",
        (json_int_t)s->counts.resident, "work", "entries_most", (double)s->counts.values_most,
        "entries_mean", (double)s->counts.values_all / s->ranks, "flops_most", s->flops_most,
        "flops_mean", s->flops_all / s->ranks, "balance", balance_of(s, x), "seconds", s->seconds);
}

static void print_head(const command *c) {
    printf(
        "%s, %s with %d layers of %d; edge life %d. Bytes are counted; seconds are a model (%.2f "
        "ns a value,\n%.1f GFLOP/s, %.1f GB/s measured here; %g GB/s, %g us stated), an epoch's "
        "forward and backward pass.\n\n",
        c->graph, c->model, c->layers, c->hidden, c->edge_life, c->machine.seconds_a_value * 1e9,
        c->machine.flops / 1e9, c->machine.copy / 1e9, c->bandwidth, c->latency);
    printf("%6s  %-9s %11s %12s %11s %11s  %11s %11s %11s  %7s %10s\n", "ranks", "", "halo",
           "redistribute", "state", "allreduce", "full", "delta", "resident", "balance", "model s");
}

static void print_row(const flip_simulation *s, const flip_machine *x) {
    printf("%6d  %-9s %11s %12s %11s %11s  %11s %11s %11s  %7.2f %10.4g\n", s->ranks,
           flip_simulated_names[s->distribute], flip_byte_words((double)s->halo).s,
           flip_byte_words((double)s->redistribute).s, flip_byte_words((double)s->state).s,
           flip_byte_words((double)s->allreduce).s, flip_byte_words((double)s->counts.full).s,
           flip_byte_words((double)s->counts.delta).s,
           flip_byte_words((double)s->counts.resident).s, balance_of(s, x), s->seconds);
}

static flip_status print_all(command *c, const flip_volume *volume) {
    json_t *rows = json_array();
    flip_status status = rows ? FLIP_OK : FLIP_FAIL(FLIP_ERROR_MEMORY, "no memory for the rows");
    if (!c->json) print_head(c);
    for (int32_t i = 0; status == FLIP_OK && i < c->n_ranks; i++)
        for (int d = 0; status == FLIP_OK && d < FLIP_SIMULATED_COUNT; d++) {
            flip_simulation s;
            bool has;
            status = flip_simulate(&s, &has, volume, &c->params, (flip_simulated)d, c->rank[i],
                                   &c->machine);
            if (status != FLIP_OK || !has) continue;
            if (c->json)
                json_array_append_new(rows, row_json(&s, &c->machine));
            else
                print_row(&s, &c->machine);
        }
    if (status == FLIP_OK && c->json) {
        json_t *all = json_pack("{s:s, s:s, s:f, s:f, s:O}", "graph", c->graph, "seconds_are",
                                "a model", "ns_a_value", c->machine.seconds_a_value * 1e9, "gflops",
                                c->machine.flops / 1e9, "rows", rows);
        if (!all || json_dumpf(all, stdout, JSON_REAL_PRECISION(9)) != 0 || putchar('\n') == EOF)
            status = FLIP_FAIL(FLIP_ERROR_IO, "the result could not be written");
        json_decref(all);
    }
    json_decref(rows);
    return status;
}

/* First node of each part [*n_parts + 1], owned by the caller: the file's parts, or as many equal
 * runs of ids as the largest number of ranks needs. */
static flip_status open_parts(flip_gid **first, int32_t *n_parts, const command *c,
                              const flip_graph *graph) {
    const flip_graph_info *info = flip_graph_about(graph);
    *n_parts = info->n_parts;
    for (int32_t i = 0; i < c->n_ranks && info->n_parts == 0; i++)
        if (c->rank[i] > *n_parts) *n_parts = c->rank[i];
    FLIP_TRY(flip_alloc(first, (size_t)*n_parts + 1, sizeof **first, "parts"));
    if (info->n_parts > 0)
        return flip_reader_rows(flip_graph_reader(graph), "parts/first", FLIP_TYPE_I64, 0,
                                (int64_t)*n_parts + 1, *first);
    for (int64_t k = 0; k <= *n_parts; k++)
        (*first)[k] = (flip_gid)((double)info->n_nodes * (double)k / *n_parts);
    (*first)[*n_parts] = info->n_nodes;
    if (!c->json)
        printf("'%s' has no parts: nodes are dealt out in equal runs of ids; flipbook partition "
               "finds better ones.\n",
               c->graph);
    return FLIP_OK;
}

static flip_status run(command *c) {
    flip_status status;
    flip_graph *graph = NULL;
    flip_volume *volume = NULL;
    flip_gid *part_first = NULL;
    flip_comm *comm = NULL;
    int32_t n_parts;
    const flip_graph_params read = {.last_step = c->steps};
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    if (flip_comm_size(comm) > 1) {
        status = FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook simulate runs alone, not under mpirun -n %d",
                           flip_comm_size(comm));
        goto done;
    }
    FLIP_TRY_GOTO(flip_graph_open(&graph, comm, c->graph, &read));
    FLIP_TRY_GOTO(open_parts(&part_first, &n_parts, c, graph));
    const flip_graph_info *info = flip_graph_about(graph);
    c->params.in_dim = c->inputs > 0 ? c->inputs : info->n_features > 0 ? info->n_features : 2;
    c->params.out_dim = c->params.hidden = c->hidden;
    c->params.layers = c->layers;
    c->params.heads = c->heads;
    c->params.window = c->params.kind == FLIP_MODEL_TMGCN ? c->window : 0;
    flip_adjacency_params p = {.kind = flip_model_adjacency(&c->params),
                               .n_steps = info->n_steps,
                               .edge_life = c->edge_life,
                               .window = c->window};
    FLIP_TRY_GOTO(flip_volume_create(&volume, flip_graph_events(graph), n_parts, part_first, &p));
    p.kind = FLIP_ADJACENCY_GCN;
    FLIP_TRY_GOTO(calibrate(c, graph, &p));
    status = print_all(c, volume);
done:
    flip_free(part_first);
    flip_volume_destroy(&volume);
    flip_graph_close(&graph);
    flip_comm_destroy(&comm);
    return status;
}

int flip_command_simulate(int argc, char **argv) {
    command c = {.ranks = "2,4,8,16,32,64,128,256,512,1024",
                 .model = "cdgcn",
                 .temporal = "none",
                 .norm = "none",
                 .precompute = "on",
                 .heads = 1,
                 .layers = 2,
                 .hidden = 32,
                 .edge_life = 1,
                 .window = 1,
                 .bandwidth = 10,
                 .latency = 5,
                 .params = FLIP_MODEL_DEFAULTS};
    flip_status status = parse(&c, argc, argv);
    if (status == FLIP_OK) status = run(&c);
    return flip_command_end(status);
}
