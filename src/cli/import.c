/* flipbook import: text edge lists, snapshot folders and .npy files into one container. */
#include "cli/commands.h"
#include "cli/words.h"
#include "cli/run.h"

#include <flipbook/import.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char flip_help_import[] =
    "Usage: flipbook import FILE|FOLDER… -o GRAPH.h5 [options]\n"
    "\n"
    "Reads text edge lists (one edge a line; plain, gzip or zstd), a folder of snapshot files "
    "(one\n"
    "a step), or a folder with edges.tsv and .npy files, and writes one container.\n"
    "\n"
    "  -o, --output FILE      the container to write\n"
    "\n"
    "The edge list (found out by itself where nothing is said):\n"
    "  --columns LIST         what the columns are, in their order: src,dst,weight,time,label;\n"
    "                         '-' leaves one out, other names are for --label; or by header name\n"
    "                         or number: src=from,dst=to,time=4. src_class and dst_class are the\n"
    "                         classes of the two nodes\n"
    "  --delimiter D          auto, tab, space, comma, semicolon, bar, or one character\n"
    "  --header yes|no|auto\n"
    "  --comment CHARS        lines that begin with one of these are comments [#%]\n"
    "  --ids auto|number|text how node ids are read; 007 and 1.0 are text [auto]\n"
    "  --label sign|COLUMN    class of each edge: the weight's sign, or a column; the weight is\n"
    "                         then 1 if it was the label\n"
    "  --undirected           store every edge both ways, self loops once\n"
    "  --directed             never both ways (edges.tsv with u < v is, otherwise)\n"
    "  --snapshots            each FILE is one step, in the order given\n"
    "  --nodes N              ids are 0 … N-1, also those without an edge\n"
    "\n"
    "Time:\n"
    "  --step WIDTH           14d, 12h, 30min, 1200000s, 500ms, or a number in the file's unit.\n"
    "                         Step 0 starts at the first time (or --start); a time t is in step\n"
    "                         floor((t - start) / width)\n"
    "  --steps N              so many steps of equal width from the first to the last time\n"
    "  --start T              when step 0 starts: a number as in the file, or a date\n"
    "  --time-format F        auto, seconds, ms, us, ns, minutes, hours, days, weeks, iso, or a\n"
    "                         pattern: '%d.%m.%Y %H:%M' [auto: numbers are seconds, or ISO dates]\n"
    "\n"
    "Rows of nodes (.npy, plain, .gz or .zst; row i is node i):\n"
    "  --features F.npy       [N, F], or [T, N, F] for features that change\n"
    "  --features-csr PTR,IDX[,VAL]   sparse features; --feature-columns F says how wide\n"
    "  --labels L.npy         [N] or [T, N] classes, -1 none;  --class-names FILE, a line each\n"
    "  --targets Y.npy        [N], [N, K], [T, N] or [T, N, K], NaN none\n"
    "  --splits S.npy         [N] or [S, N]: 0 train, 1 valid, 2 test, -1 unused\n"
    "  --negatives FILE       pinned non-edges for --eval-negatives given: lines step source\n"
    "                         destination, or .npy [R, 3]; ids as in the edge list, steps from 0\n"
    "  --node-table FILE.csv  one row a node, in any order, in place of the above\n"
    "  --node-columns LIST    id=account,label=fraud,feature=age,feature=3-7,split=part\n"
    "  --allow-nan            keep NaN and infinite features\n"
    "\n"
    "Three columns of numbers without names are src,dst,time when a step is given, else\n"
    "src,dst,weight; four are src,dst,weight,time.\n"
    "\n"
    "Several ranks (mpirun -n 4 flipbook import …) share the edges and write the same bytes.\n"
    "\n"
    "Example: a signed trust network, a graph for every two weeks, the sign as edge class:\n"
    "  flipbook import soc-sign-bitcoinotc.csv -o otc.h5 --columns src,dst,weight,time \\\n"
    "           --step 14d --label sign\n"
    "  flipbook info otc.h5\n";

/* ---- options ---- */

typedef enum kind { TEXT, FLAG, COUNT } kind;

typedef struct option {
    const char *name;
    kind kind;
    void *target;
} option;

static flip_status parse_count(const option *o, const char *text) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s is '%s', expected a whole number above 0", o->name,
                         text);
    *(int64_t *)o->target = value;
    return FLIP_OK;
}

static bool is_option(const option *options, size_t n, const char *word) {
    for (size_t o = 0; o < n; o++)
        if (strcmp(options[o].name, word) == 0) return true;
    return false;
}

static flip_status take_option(const option *options, size_t n, char **argv, int argc, int *i) {
    const char *known[64], *word = argv[*i], *value = NULL;
    const char *equals = !strncmp(word, "--", 2) ? strchr(word, '=') : NULL;
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    for (size_t o = 0; o < n; o++) {
        known[o] = options[o].name;
        if (strlen(options[o].name) != length || strncmp(options[o].name, word, length) != 0)
            continue;
        if (options[o].kind == FLAG) {
            if (equals) return FLIP_FAIL(FLIP_ERROR_USAGE, "%s takes no value", options[o].name);
            *(bool *)options[o].target = true;
            return FLIP_OK;
        }
        if (equals)
            value = equals + 1;
        else if (*i + 1 < argc && !is_option(options, n, argv[*i + 1]))
            value = argv[++*i];
        else
            return FLIP_FAIL(FLIP_ERROR_USAGE, "%s needs a value", options[o].name);
        if (options[o].kind == COUNT) return parse_count(&options[o], value);
        *(const char **)options[o].target = value;
        return FLIP_OK;
    }
    return flip_unknown_option("import", word, known, n);
}

static flip_status parse(flip_import_params *p, const char **inputs, int argc, char **argv) {
    const option options[] = {
        {"-o", TEXT, &p->output},
        {"--output", TEXT, &p->output},
        {"--columns", TEXT, &p->columns},
        {"--delimiter", TEXT, &p->delimiter},
        {"--header", TEXT, &p->header},
        {"--comment", TEXT, &p->comment},
        {"--ids", TEXT, &p->ids},
        {"--label", TEXT, &p->label},
        {"--undirected", FLAG, &p->undirected},
        {"--directed", FLAG, &p->directed},
        {"--snapshots", FLAG, &p->snapshots},
        {"--nodes", COUNT, &p->n_nodes},
        {"--step", TEXT, &p->step},
        {"--steps", COUNT, &p->n_steps},
        {"--start", TEXT, &p->start},
        {"--time-format", TEXT, &p->time_format},
        {"--features", TEXT, &p->features},
        {"--features-csr", TEXT, &p->features_csr},
        {"--feature-columns", COUNT, &p->n_feature_columns},
        {"--labels", TEXT, &p->labels},
        {"--class-names", TEXT, &p->class_names},
        {"--targets", TEXT, &p->targets},
        {"--splits", TEXT, &p->splits},
        {"--negatives", TEXT, &p->negatives},
        {"--node-table", TEXT, &p->node_table},
        {"--node-columns", TEXT, &p->node_columns},
        {"--allow-nan", FLAG, &p->allow_nan},
    };
    bool words_only = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--") && !words_only)
            words_only = true;
        else if (argv[i][0] == '-' && argv[i][1] && !words_only)
            FLIP_TRY(take_option(options, sizeof options / sizeof *options, argv, argc, &i));
        else
            inputs[p->n_inputs++] = argv[i];
    }
    if (p->n_inputs == 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "import needs an edge list or a folder (flipbook import --help)");
    if (!p->output)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "import needs -o GRAPH.h5, the container to write");
    if (p->undirected && p->directed)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--undirected and --directed are both given; give one");
    return FLIP_OK;
}

/* ---- progress: a bar on a terminal, now and then a plain line elsewhere ---- */

typedef struct bar {
    bool terminal;
    const char *stage;
    double shown; /* when, seconds */
} bar;

static void show_progress(void *user, const char *stage, double fraction) {
    enum { WIDTH = 40 };
    bar *b = user;
    double now = flip_seconds();
    bool fresh = !b->stage || strcmp(b->stage, stage) != 0;
    if (b->terminal ? !fresh && now - b->shown < 0.1 : now - b->shown < 5) return;
    b->stage = stage;
    b->shown = now;
    if (!b->terminal) {
        fprintf(stderr, "import: %s, %.0f %%\n", stage, 100 * fraction);
        return;
    }
    int full = (int)(fraction * WIDTH);
    fprintf(stderr, "\r%-9s [%.*s%*s] %3.0f %%", stage, full,
            "########################################", WIDTH - full, "", 100 * fraction);
    fflush(stderr);
}

static void end_progress(const bar *b) {
    if (b->terminal && b->stage) fprintf(stderr, "\r%70s\r", "");
}

/* ---- the closing page ---- */

static void print_input(const flip_import_params *p, const flip_import_report *r) {
    printf("%s", p->inputs[0]);
    if (r->n_files > 1) printf(" … (%s files)", flip_grouped(r->n_files).s);
    printf(": %s edges, %s\n", flip_grouped(r->n_rows).s, r->packing);
    printf("  columns    %s%s; split at %s, %s header\n", r->columns,
           r->guessed ? " (by their places)" : "", r->delimiter, r->header ? "with a" : "no");
    if (r->n_comments)
        printf("  comments   %s lines left out, the first line %lld\n",
               flip_grouped(r->n_comments).s, (long long)r->first_comment);
}

static void print_graph(const flip_import_report *r) {
    printf("  nodes      %s; ids %s\n", flip_grouped(r->n_nodes).s, r->ids);
    if (r->n_isolated) printf("             %s without an edge\n", flip_grouped(r->n_isolated).s);
    printf("  events     %s%s; %s self loops, %s duplicates, at most %s into one node\n",
           flip_grouped(r->n_events).s,
           r->both_ways   ? " (every edge both ways)"
           : r->symmetric ? " (every edge is there in both directions)"
                          : "",
           flip_grouped(r->n_self_loops).s, flip_grouped(r->n_duplicates).s,
           flip_grouped(r->degree_most).s);
    if (*r->time || r->n_steps > 1) {
        printf("  steps      %s", flip_grouped(r->n_steps).s);
        if (r->most_events >= 0)
            printf("; %s to %s events a step, %s steps empty", flip_grouped(r->least_events).s,
                   flip_grouped(r->most_events).s, flip_grouped(r->n_empty_steps).s);
        printf("\n");
    }
    if (*r->time) printf("  times      %s\n", r->time);
    if (*r->weights) printf("  weights    %s\n", r->weights);
    if (*r->labels) printf("  edges      %s\n", r->labels);
    if (*r->features) printf("  features   %s\n", r->features);
    if (*r->nodes) printf("  labels     %s\n", r->nodes);
    if (*r->targets) printf("  targets    %s\n", r->targets);
    if (*r->splits) printf("  splits     %s\n", r->splits);
    if (*r->negatives) printf("  negatives  %s\n", r->negatives);
}

static double user_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec;
}

static void print_page(const flip_import_params *p, const flip_import_report *r, double user) {
    print_input(p, r);
    print_graph(r);
    for (int32_t i = 0; i < r->n_notes; i++)
        printf("  note       %s\n", r->notes[i]);
    double extra = r->memory_peak > r->memory_base ? (double)(r->memory_peak - r->memory_base) : 0;
    printf("wrote %s: %.1f MB in %.2f s, memory %.1f MB", p->output, (double)r->bytes / 1e6,
           r->seconds, extra / 1e6);
    if (user > 0.2 && flip_comm_size(p->comm) == 1)
        printf("; %.1f million edges a second of CPU", (double)r->n_rows / user / 1e6);
    printf("\n");
    printf("next: flipbook info %s   or: flipbook partition %s -o parts.h5 --parts 8\n", p->output,
           p->output);
}

/* Under mpirun or srun the ranks share the work; alone, MPI need not start at all. */
static flip_status join_ranks(flip_comm **comm, int *argc, char ***argv) {
    *comm = NULL;
    if (!getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMIX_RANK")) return FLIP_OK;
    flip_run_begin(argc, argv, false);
    return flip_comm_create(comm, MPI_COMM_WORLD);
}

static flip_status run(int argc, char **argv, const char **inputs) {
    flip_import_params params = {.inputs = inputs, .progress = show_progress};
    flip_import_report report;
    flip_comm *comm;
    FLIP_TRY(join_ranks(&comm, &argc, &argv));
    bar bar = {.terminal = isatty(STDERR_FILENO), .shown = flip_seconds()};
    bool speaks = flip_comm_rank(comm) == 0;
    params.comm = comm;
    params.user = &bar;
    if (!speaks) params.progress = NULL;
    flip_status status = parse(&params, inputs, argc, argv);
    if (status == FLIP_OK) {
        double user = user_seconds();
        status = flip_import(&params, &report);
        if (speaks) end_progress(&bar);
        if (speaks && status == FLIP_OK) print_page(&params, &report, user_seconds() - user);
    }
    flip_comm_destroy(&comm);
    return status;
}

int flip_command_import(int argc, char **argv) {
    const char **inputs;
    flip_status status = flip_alloc_zero(&inputs, (size_t)argc, sizeof *inputs, "arguments");
    if (status == FLIP_OK) status = run(argc, argv, inputs);
    flip_free(inputs);
    return flip_command_end(status);
}
