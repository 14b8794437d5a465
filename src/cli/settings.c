/* The table of settings: one row a key. Command line, YAML file, help, completion, the printed
 * settings and the report's settings record are all made from these rows. */
#include "cli/settings.h"

#include "cli/commands.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes of words ---- */

/* One or more numbers separated by commas. */
static bool is_list(const char *text) {
    for (;;) {
        char *end;
        double value = strtod(text, &end);
        if (end == text || !isfinite(value) || value < 0) return false;
        if (!*end) return true;
        if (*end != ',') return false;
        text = end + 1;
    }
}

static bool is_weights(const char *text) {
    return strcmp(text, "none") == 0 || strcmp(text, "auto") == 0 || is_list(text);
}

static bool is_metric(const char *text) {
    static const char *const names[] = {"auto", "accuracy", "macro-f1", "auc",
                                        "ap",   "map",      "mrr",      "rmse"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) return true;
    return strncmp(text, "f1:", 3) == 0 && text[3];
}

static bool is_split(const char *text) {
    long long train, valid, seed;
    int used = 0;
    if (strcmp(text, "auto") == 0) return true;
    if (sscanf(text, "random:%lld/%lld@%lld%n", &train, &valid, &seed, &used) == 3 && !text[used])
        return train > 0 && valid >= 0 && seed >= 0;
    if (sscanf(text, "random:%lld/%lld%n", &train, &valid, &used) == 2 && used && !text[used])
        return train > 0 && valid >= 0;
    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 9;
}

static bool is_split_steps(const char *text) {
    long long a, b, c;
    int used = 0;
    if (strcmp(text, "auto") == 0) return true;
    return sscanf(text, "%lld,%lld,%lld%n", &a, &b, &c, &used) == 3 && !text[used] && a > 0 &&
           b >= 0 && c >= 0 && a < INT32_MAX && b < INT32_MAX && c < INT32_MAX &&
           a + b + c < INT32_MAX;
}

static bool is_batch(const char *text) {
    return strcmp(text, "full") == 0 ||
           (*text && strspn(text, "0123456789") == strlen(text) && *text != '0');
}

static bool is_fanout(const char *text) {
    return strcmp(text, "all") == 0 || is_list(text);
}

static bool is_refine(const char *text) {
    double share;
    return strcmp(text, "auto") == 0 || flip_refine_share(text, &share);
}

static bool is_codec(const char *text) {
    return *text;
}

/* ---- the table ---- */

#define AT(field) offsetof(flip_settings, field)
#define T FLIP_FOR_TRAIN
#define E FLIP_FOR_EVALUATE
#define P FLIP_FOR_PREDICT
#define HEADING(text, who)                                                                         \
    { .type = FLIP_KEY_HEAD, .help = text, .commands = (who) }
#define INT(key, field, standard, low, high, who, result, help)                                    \
    {                                                                                              \
        key, FLIP_KEY_INT, AT(field), standard, low, high, false, NULL, NULL, NULL, who, result,   \
            help                                                                                   \
    }
#define INT_AUTO(key, field, low, high, who, result, help)                                         \
    { key, FLIP_KEY_INT, AT(field), "auto", low, high, true, NULL, NULL, NULL, who, result, help }
#define REAL(key, field, standard, low, high, help)                                                \
    { key, FLIP_KEY_REAL, AT(field), standard, low, high, false, NULL, NULL, NULL, T, true, help }
#define CHOICE_FOR(key, field, standard, choices, ready, who, result, help)                        \
    {                                                                                              \
        key, FLIP_KEY_CHOICE, AT(field), standard, 0, 0, false, choices, ready, NULL, who, result, \
            help                                                                                   \
    }
#define CHOICE(key, field, standard, choices, ready, result, help)                                 \
    CHOICE_FOR(key, field, standard, choices, ready, T, result, help)
#define SWITCH(key, field, standard, who, result, help)                                            \
    {                                                                                              \
        key, FLIP_KEY_SWITCH, AT(field), standard, 0, 0, false, "on|off", NULL, NULL, who, result, \
            help                                                                                   \
    }
#define WORD(key, field, standard, choices, ready, pattern, who, result, help)                     \
    {                                                                                              \
        key, FLIP_KEY_WORD, AT(field), standard, 0, 0, false, choices, ready, pattern, who,        \
            result, help                                                                           \
    }
#define PATH(key, field, who, help)                                                                \
    { key, FLIP_KEY_PATH, AT(field), "", 0, 0, false, "FILE", NULL, NULL, who, false, help }

static const flip_key keys[] = {
    HEADING("Model", T),
    CHOICE("model", model, "gcn", "gcn|sage|gat|gin|tmgcn|evolvegcn-o|evolvegcn-h|cdgcn", NULL,
           true, "graph neural network"),
    CHOICE("task", task, "auto", "auto|node|edge|link|regression", NULL, true,
           "what is learned; auto: by what the file has"),
    INT("layers", layers, "2", 1, 64, T, true, "layers of the network"),
    INT("hidden", hidden, "64", 1, 65536, T, true, "width of the hidden layers"),
    INT("heads", heads, "8", 1, 256, T, true, "attention heads (gat)"),
    CHOICE("aggregator", aggregator, "mean", "mean|pool", NULL, true, "neighbours in sage"),
    CHOICE("structure", structure, "auto", "auto|gcn|sage|gat|gin", NULL, true,
           "structural part of a layer, in place of --model; auto: as --model says"),
    CHOICE("temporal", temporal, "none", "none|lstm|gru", NULL, true,
           "recurrent part after each layer of gcn, sage, gat and gin (cdgcn has an lstm)"),
    CHOICE("cell", cell, "auto", "auto|lstm|gru", NULL, true,
           "how the weights of evolvegcn evolve; auto: -o by the paper's lstm, -h by its gru"),
    SWITCH("residual", residual, "off", T, true, "add each layer's input to its output"),
    CHOICE("norm", norm, "none", "none|layer|batch", NULL, true, "normalisation between layers"),
    CHOICE("edge-head", edge_head, "auto", "auto|dot|linear|mlp", NULL, true,
           "from two embeddings to a score; auto: edge linear, link dot"),

    HEADING("Optimisation", T),
    INT("epochs", epochs, "200", 0, 1e9, T, false, "passes over the training data"),
    INT("patience", patience, "0", 0, 1e9, T, true,
        "stop after so many epochs without a better validation; 0: never"),
    REAL("lr", lr, "0.01", 0, 1e6, "learning rate"),
    REAL("weight-decay", weight_decay, "0.0005", 0, 1e6,
         "L2 added to gradients (adamw: decoupled)"),
    REAL("momentum", momentum, "0.9", 0, 0.999999, "of sgd"),
    REAL("dropout", dropout, "0.5", 0, 0.99, "share of hidden values dropped in training"),
    {"input-dropout", FLIP_KEY_REAL, AT(input_dropout), "auto", 0, 0.99, true, NULL, NULL, NULL, T,
     true, "same on the first layer's input; auto: dropout for bag-of-words features, else 0"},
    REAL("clip", clip, "0", 0, 1e30, "largest norm of the gradient; 0: no clipping"),
    CHOICE("optimizer", optimizer, "adam", "adam|adamw|sgd", NULL, true, "how parameters move"),
    WORD("class-weights", class_weights, "none", "none|auto|A,B,…", NULL, is_weights, T, true,
         "weight of each class in the loss (link: of non-edges, of true pairs); auto: inverse "
         "frequency"),
    INT("seed", seed, "0", 0, 9e15, T, true, "of initial weights, dropout and negatives"),
    CHOICE("precision", precision, "fp32", "fp32|bf16", NULL, true, "operands of matrix products"),
    WORD("metric", metric, "auto", "accuracy|f1:CLASS|macro-f1|auc|ap|map|mrr|rmse", NULL,
         is_metric, T | E, true,
         "of validation; auto: node accuracy (two classes auc), edge accuracy (signs f1:-1), link "
         "map, regression rmse"),
    INT("pairs", pairs, "0", 0, 1e12, T, true,
        "true pairs of a step that an epoch draws in training, on average (link); 0: all"),
    INT("negatives", negatives, "1", 1, 10000, T, true,
        "sampled non-edges a pair in training (link)"),
    CHOICE(
        "negative-ends", negative_ends, "auto", "auto|destination|both|active|mixed", NULL, true,
        "what is drawn of a non-edge in training (link): any destination for the same source; "
        "both ends; a destination with in-events in the last 10 steps; mixed: active and both in "
        "turn; auto: both with --eval-negatives all, which ranks every pair, else destination"),
    {"eval-negatives", FLIP_KEY_INT, AT(eval_negatives), "100", 1, 10000, false, "all|given", NULL,
     NULL, T | E, true,
     "non-edges in validation and test (link): N sampled a pair; all: every pair of nodes of a "
     "step; given: those pinned in the file"},
    {"mrr", FLIP_KEY_CHOICE, AT(mrr), "unfiltered", 0, 0, false, "unfiltered|filtered", NULL, NULL,
     T | E, true, "filtered: a true pair is ranked without the other true pairs of its source"},
    INT("eval-every", eval_every, "1", 1, 1e9, T, true, "epochs between validations"),

    HEADING("Data", T | E),
    CHOICE("features", features, "auto",
           "auto|given|degree|onehot|learned|onehot-brief|identity|given+degree", NULL, true,
           "node inputs; auto: given when the file has them, else degree; onehot: of the number of "
           "neighbours; onehot-brief: with 8 columns an octave from 32 on; identity: of the node; "
           "given+degree: given, and log(1 + in-), log(1 + out-degree) of the snapshot's distinct "
           "edges"),
    CHOICE("feature-norm", feature_norm, "auto", "auto|row|none|log|standard", NULL, true,
           "row: divided by its sum; log: log(1 + x); standard: each column with mean 0 and "
           "deviation 1; auto: row where features are binary or bag-of-words, log for degrees"),
    WORD("split", split, "auto", "K|random:TRAIN/VALID@SEED", NULL, is_split, T | E, true,
         "split K of the file, or so many a class (pairs of nodes: percent); auto: 0, or "
         "random:20/30@0 without splits"),
    WORD("split-steps", split_steps, "auto", "A,B,C", NULL, is_split_steps, T, true,
         "first A steps train, B valid, C test, the rest left out; auto: 70/10/20 percent"),

    HEADING("Time", T),
    INT("edge-life", edge_life, "1", 1, 1e6, T, true, "steps an event stays in the graph"),
    INT("window", window, "1", 1, 1e6, T, true, "steps averaged by the M-transform (tmgcn)"),
    INT("first-step", first_step, "0", 0, 1e6, T, true,
        "steps before it only feed edge lives and degrees: nothing is learned or scored there"),
    CHOICE("protocol", protocol, "auto", "auto|whole|windows|live", NULL, true,
           "whole: the timeline is one sample; windows: each step with --history steps before it "
           "is one, of which the last step counts, an optimiser step each (EvolveGCN); live: each "
           "step "
           "is scored and then learned, at most --epochs times (ROLAND, links); auto: "
           "windows with --history, else whole"),
    INT("history", history, "0", 0, 1e6, T, true, "steps before the last of a window"),
    CHOICE("gcn-norm", gcn_norm, "row", "row|inout", NULL, true,
           "degrees of the GCN normalisation: row sums on both sides, or in and out"),

    CHOICE("direction", direction, "in", "in|out", NULL, true,
           "a node gathers from the sources of its events, or (out) from their destinations"),

    HEADING("Running", T | E | P),
    CHOICE_FOR("device", device, "auto", "auto|cpu|cuda|cuda-shared", NULL, T | E | P, false,
               "where to compute; cuda: a rank a GPU, cuda-shared: ranks may share one; auto: a "
               "GPU where every rank has one to itself, else the CPU"),
    CHOICE_FOR("device-exchange", device_exchange, "auto", "auto|nccl|mpi|mpi-cuda", NULL,
               T | E | P, false,
               "how rows travel between the ranks' GPUs: straight, by NCCL or by an MPI that is "
               "given their memory (mpi-cuda), or through pinned memory and MPI (mpi); auto: NCCL "
               "where it is found and every rank has a GPU to itself, else mpi-cuda where MPI says "
               "that it is CUDA-aware, else mpi; only mpi with --wire-codec adaptive"),
    INT_AUTO("threads", threads, 1, 4096, T | E | P, false,
             "a rank, BLAS included; auto: OMP_NUM_THREADS, or cores of the node / ranks on it"),
    WORD("batch", batch, "full", "full|N", NULL, is_batch, T, true,
         "training nodes (link: pairs) of all ranks together in a step of the optimiser, with "
         "sampled neighbours; full: the whole graph is one step"),
    WORD("fanout", fanout, "all", "all|10,10", NULL, is_fanout, T, true,
         "neighbours drawn of a node, a number a layer from the seeds outwards or one for all "
         "(--batch N)"),
    CHOICE("sampling", sampling, "uniform", "uniform|weighted|labor|recent", NULL, true,
           "how neighbours are drawn (--batch N): all alike; by the weight of their events; labor: "
           "all nodes of a layer share one draw a neighbour, so that they read fewer rows; recent: "
           "those of the latest events before the pair, on a timeline"),
    SWITCH("replace", replace, "off", T, true, "draw neighbours with replacement (--batch N)"),
    CHOICE("distribute", distribute, "auto", "auto|nodes|time|wavefront|window|grid", NULL, false,
           "nodes: some nodes, all steps a rank, halo rows exchanged; time: all nodes, some steps, "
           "all-to-all around the recurrent part; wavefront: as time, states handed on; window: as "
           "time, the steps before come from the neighbour (tmgcn); grid: some nodes, some steps; "
           "auto: the cheapest by bytes and work"),
    CHOICE("transfer", transfer, "resident", "full|delta|resident", NULL, false,
           "how snapshots reach the device: each, its difference, or all events once"),
    {"blocks", FLIP_KEY_INT, AT(blocks), "auto", 1, 1e6, true, "auto", NULL, NULL, T, false,
     "pieces of the timeline, of which one is in memory with its activations and the others are "
     "computed again in the backward pass; auto: the fewest that fit --memory"},
    {"memory", FLIP_KEY_BYTES, AT(memory), "auto", 1, 9e18, true, NULL, NULL, NULL, T, false,
     "bytes the ranks of a node may use together (8G); auto: 80 % of the machine or cgroup"},
    SWITCH("precompute", precompute, "on", T, false,
           "aggregate constant features once, not every epoch"),
    {"cache-bytes", FLIP_KEY_BYTES, AT(cache_bytes), "0", 0, 9e18, false, NULL, NULL, NULL, T,
     false,
     "for a cache on each rank's device: features, the hottest of all ranks, of a timeline each "
     "row for the steps it holds for, and lists of other ranks' neighbours where these save more "
     "(64M; --batch N)"},
    CHOICE("hot", hot, "expected", "expected|degree|presample", NULL, false,
           "which rows the cache holds: those that batches will read most often, worked out from "
           "seeds, fanouts and edges; nodes with the most out-edges, first ones of each part; or "
           "expected ones corrected by four epochs of batches drawn beforehand"),
    WORD("refine", refine, "auto", "auto|none|seeds|hot:F|all", NULL, is_refine, T, true,
         "nodes whose rows are read with their second level, where features have one (compress "
         "--codec A+B): those that have a label and a split (link, edge: all); the share F whose "
         "error labelled nodes feel most, hot:0.1; auto: seeds where there is a second level"),
    INT_AUTO("prefetch", prefetch, 0, 1000, T, false,
             "batches that a thread beside the trainer draws, fetches and decodes ahead of it "
             "(--batch N); 0: none; auto: 2 where a rank has half as many cores to spare as "
             "--threads"),
    WORD("codec", codec, "none", "none|CODEC", "|none|", is_codec, T, true, "of stored features"),
    CHOICE(
        "wire-codec", wire_codec, "none", "none|bf16|int8|int4|adaptive", NULL, true,
        "how rows and gradients travel between ranks in training: rounded stochastically, lossy; "
        "adaptive: 2, 4 or 8 bits, 4 on average, by where the error is"),
    CHOICE("activations", activations, "keep", "keep|recompute|2bit|4bit|8bit", NULL, true,
           "how saved tensors wait for the backward pass; recompute: gates of recurrent layers are "
           "computed again; 2bit, 4bit, 8bit: rounded stochastically, lossy"),
    INT("parts-per-rank", parts_per_rank, "4", 1, 4096, T | E | P, false,
        "parts a rank when the file is not partitioned"),

    HEADING("Files", T | E | P),
    PATH("report", report, T | E, "JSON lines: settings, one a epoch, summary"),
    PATH("checkpoint", checkpoint, T | E | P, "trained state; train writes it, others read it"),
    INT("checkpoint-every", checkpoint_every, "0", 0, 1e9, T, false,
        "epochs between checkpoints; 0: at the end only"),
    PATH("resume", resume, T, "continue from this checkpoint"),
    SWITCH("grown", grown, "off", T | E | P, false,
           "the checkpoint may be of this graph before it grew: rows of nodes go by their names"),
    {"output", FLIP_KEY_PATH, AT(output), "", 0, 0, false, "FILE", NULL, NULL, P, false,
     "CSV of the predictions; default: standard output"},
    SWITCH("json", json, "off", E, false, "print the result as JSON"),
};
#undef T
#undef E
#undef P
enum { N_KEYS = sizeof keys / sizeof *keys };

size_t flip_settings_table(const flip_key **table) {
    *table = keys;
    return N_KEYS;
}

const flip_key *flip_settings_find(const char *name) {
    for (int i = 0; i < N_KEYS; i++)
        if (keys[i].name && strcmp(keys[i].name, name) == 0) return &keys[i];
    return NULL;
}

/* ---- one value ---- */

static void *field(flip_settings *settings, const flip_key *key) {
    return (char *)settings + key->offset;
}

/* Is `word` one of "a|b|c"? Its index, or -1. */
static int choice_index(const char *choices, const char *word) {
    size_t length = strlen(word);
    for (int i = 0; *choices; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && memcmp(choices, word, n) == 0) return i;
        choices += n + (choices[n] == '|');
    }
    return -1;
}

static flip_status bad_choice(const flip_key *key, const char *text, const char *where) {
    char words[256];
    const char *names[16];
    size_t n = 0;
    snprintf(words, sizeof words, "%s", key->choices);
    for (char *word = strtok(words, "|"); word && n < 16; word = strtok(NULL, "|"))
        names[n++] = word;
    const char *near = flip_suggest(text, names, n);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: '%s' is not one of %s%s%s%s", where, text, key->choices,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static flip_status set_number(void *out, const flip_key *key, const char *text, const char *where) {
    char *end;
    errno = 0;
    bool whole = key->type != FLIP_KEY_REAL;
    double value = strtod(text, &end);
    bool number = end != text && isfinite(value);
    if (number && key->type == FLIP_KEY_BYTES && *end) {
        static const char suffixes[] = "KMGT";
        const char *at = strchr(suffixes, toupper((unsigned char)*end));
        if (at && *at) {
            value *= pow(1024, (double)(at - suffixes + 1));
            end++;
            if (toupper((unsigned char)*end) == 'B') end++;
        }
        value = floor(value);
    }
    if (!number || *end || (whole && value != floor(value)))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: '%s' is not %s%s%s", where, text,
                         whole ? "a whole number" : "a number",
                         key->type == FLIP_KEY_BYTES ? " of bytes (8G, 512M, …)"
                         : key->choices              ? " or one of "
                                                     : "",
                         key->choices ? key->choices : "");
    if (value < key->low || value > key->high)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: %s is out of range, expected %.15g to %.15g", where,
                         text, key->low, key->high);
    if (whole)
        *(int64_t *)out = (int64_t)value;
    else
        *(double *)out = value;
    return FLIP_OK;
}

static flip_status set_switch(bool *out, const char *text, const char *where) {
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes"};
    for (int i = 0; i < 6; i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i % 2;
            return FLIP_OK;
        }
    return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: '%s' is neither on nor off", where, text);
}

flip_status flip_settings_set(flip_settings *settings, const flip_key *key, const char *text,
                              const char *where) {
    void *out = field(settings, key);
    if (key->can_be_auto && strcmp(text, "auto") == 0) {
        if (key->type == FLIP_KEY_REAL)
            *(double *)out = FLIP_UNSET;
        else
            *(int64_t *)out = FLIP_UNSET;
        return FLIP_OK;
    }
    if (key->type == FLIP_KEY_INT && key->choices && choice_index(key->choices, text) >= 0) {
        *(int64_t *)out = FLIP_WORD_VALUE(choice_index(key->choices, text));
        return FLIP_OK;
    }
    switch (key->type) {
    case FLIP_KEY_INT:
    case FLIP_KEY_REAL:
    case FLIP_KEY_BYTES:
        return set_number(out, key, text, where);
    case FLIP_KEY_CHOICE: {
        int index = choice_index(key->choices, text);
        if (index < 0) return bad_choice(key, text, where);
        *(int32_t *)out = index;
        return FLIP_OK;
    }
    case FLIP_KEY_SWITCH:
        return set_switch(out, text, where);
    default: {
        size_t size = key->type == FLIP_KEY_PATH ? FLIP_PATH_SIZE : FLIP_WORD_SIZE;
        if (key->pattern && !key->pattern(text))
            return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: '%s' is not %s %s", where, text,
                             strpbrk(key->choices, "@,") ? "of the form" : "one of", key->choices);
        if (strlen(text) >= size)
            return FLIP_FAIL(FLIP_ERROR_USAGE, "%s: longer than %zu bytes", where, size - 1);
        strcpy(out, text);
        return FLIP_OK;
    }
    }
}

/* The index-th of the key's choices. */
static void format_choice(const flip_key *key, int64_t index, char *text, size_t size) {
    const char *word = key->choices;
    for (int64_t i = 0; i < index; i++)
        word += strcspn(word, "|") + 1;
    snprintf(text, size, "%.*s", (int)strcspn(word, "|"), word);
}

void flip_settings_format(const flip_settings *settings, const flip_key *key, char *text,
                          size_t size) {
    const void *at = (const char *)settings + key->offset;
    if (key->type == FLIP_KEY_INT && key->choices && *(const int64_t *)at <= FLIP_WORD_VALUE(0)) {
        format_choice(key, FLIP_WORD_VALUE(0) - *(const int64_t *)at, text, size);
        return;
    }
    switch (key->type) {
    case FLIP_KEY_INT:
    case FLIP_KEY_BYTES:
        if (key->can_be_auto && *(const int64_t *)at == FLIP_UNSET)
            snprintf(text, size, "auto");
        else
            snprintf(text, size, "%lld", (long long)*(const int64_t *)at);
        break;
    case FLIP_KEY_REAL:
        if (key->can_be_auto && *(const double *)at == FLIP_UNSET)
            snprintf(text, size, "auto");
        else
            snprintf(text, size, "%.15g", *(const double *)at);
        break;
    case FLIP_KEY_CHOICE:
        format_choice(key, *(const int32_t *)at, text, size);
        break;
    case FLIP_KEY_SWITCH:
        snprintf(text, size, "%s", *(const bool *)at ? "on" : "off");
        break;
    default:
        snprintf(text, size, "%s", (const char *)at);
    }
}

void flip_settings_default(flip_settings *settings) {
    memset(settings, 0, sizeof *settings);
    for (int i = 0; i < N_KEYS; i++)
        if (keys[i].name && keys[i].standard[0])
            (void)flip_settings_set(settings, &keys[i], keys[i].standard, keys[i].name);
}

/* ---- whole settings ---- */

/* Settings that belong to some models only. */
static flip_status check_model(const flip_settings *s) {
    int model = s->model;
    bool layered = model <= FLIP_MODEL_GIN;
    bool evolves = model == FLIP_MODEL_EVOLVEGCN_O || model == FLIP_MODEL_EVOLVEGCN_H;
    if (s->window > 1 && model != FLIP_MODEL_TMGCN)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--window belongs to --model tmgcn");
    if (s->structure && (!layered || (model != FLIP_MODEL_GCN && model != s->structure - 1)))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--structure takes the place of --model gcn, sage, gat or gin; give one "
                         "of the two");
    if (s->temporal && !layered)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--temporal belongs to --model or --structure gcn, sage, gat and gin");
    if (s->cell && !evolves)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--cell belongs to --model evolvegcn-o or evolvegcn-h");
    if (s->cell == FLIP_CELL_LSTM && model == FLIP_MODEL_EVOLVEGCN_H)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--model evolvegcn-h has a gru only; use --cell gru");
    int structure = s->structure ? s->structure - 1 : model;
    if (s->aggregator && structure != FLIP_MODEL_SAGE)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--aggregator pool belongs to --model sage");
    if (s->gcn_norm && structure != FLIP_MODEL_GCN && layered)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--gcn-norm inout belongs to --model gcn, tmgcn, evolvegcn or cdgcn");
    return FLIP_OK;
}

flip_status flip_settings_check(const flip_settings *settings) {
    char text[FLIP_PATH_SIZE], mark[FLIP_PATH_SIZE + 2];
    if (strcmp(settings->codec, "none") != 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--codec %s: features are packed beforehand; flipbook compress GRAPH -o "
                         "FILE --codec %s, then train FILE",
                         settings->codec, settings->codec);
    for (int i = 0; i < N_KEYS; i++) {
        if (!keys[i].name || !keys[i].ready) continue;
        flip_settings_format(settings, &keys[i], text, sizeof text);
        snprintf(mark, sizeof mark, "|%s|", text);
        if (strstr(keys[i].ready, mark)) continue;
        int n = (int)strlen(keys[i].ready) - 2;
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--%s %s is not in this version of flipbook (it has %.*s)", keys[i].name,
                         text, n, keys[i].ready + 1);
    }
    FLIP_TRY(check_model(settings));
    FLIP_TRY(flip_protocol_check(settings));
    FLIP_TRY(flip_batch_check(settings));
    if (settings->checkpoint_every > 0 && !settings->checkpoint[0])
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--checkpoint-every needs --checkpoint FILE");
    if (settings->task == FLIP_TASK_EDGE && settings->edge_head == FLIP_EDGE_HEAD_DOT)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--edge-head dot gives one score; --task edge needs linear or mlp");
    return FLIP_OK;
}
