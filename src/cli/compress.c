/* flipbook compress g.h5 -o c.h5 --codec NAME | --budget 16x */
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/words.h"

#include <flipbook/compress.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char flip_help_compress[] =
    "Usage: flipbook compress GRAPH -o FILE --codec NAME | --budget RATIO [options]\n"
    "\n"
    "Packs the features of a graph: each node's row becomes a few bytes of codes, which training\n"
    "reads as they are. The result does not depend on the number of ranks and threads\n"
    "(mpirun -n P flipbook compress …).\n"
    "\n"
    "  -o FILE           the container to write\n"
    "  --codec NAME      fp16, bf16; uniform:K, uniform:K:column, dither:K, lloyd:K,\n"
    "                    lloyd:K:shared, bifeat:K (K = 1, 2, 4, 8 bits a value); klt:B (principal\n"
    "                    axes, B bits a value on average, 0.5 or 1.9 will do); near:B (the\n"
    "                    axes that neighbours share); pq:WxL, opq:WxL,\n"
    "                    bifeat-vq:WxL (blocks of W columns, L entries); sparse (exact).\n"
    "                    COARSE+REFINEMENT (pq:16x256+lloyd:2): two levels, the second of what\n"
    "                    the first leaves; training reads it where --refine says\n"
    "  --budget RATIO    16x: tries the codecs that fit 1/16 of the native bytes, tables counted,\n"
    "                    and takes the one of least error on rows held out; near:B where\n"
    "                    neighbours' rows go together and not all axes fit\n"
    "  --feature-norm N  auto, row, none: what is done to rows before; auto as in training: row "
    "for\n"
    "                    0/1 features and words. Default auto\n"
    "  --rotation R      keep or drop: klt, near and opq store rows in rotated columns; training "
    "does "
    "not\n"
    "                    need the rotation, encoding further rows does. Default drop\n"
    "  --sample N        rows to learn from, at most; default 65536\n"
    "  --steps N         of features that change: steps to learn from; default an eighth of them\n"
    "  --first-step T    … the first of these; default 0. Codebooks then stay as they are: of a\n"
    "                    step only rows with other codes than before are stored\n"
    "  --drift-limit X   warn of steps whose error is above X times that of the steps learned "
    "from;\n"
    "                    default 1.5\n"
    "  --retrain N       learn again at every N-th step behind those, to compare; default 0 (not)\n"
    "  --seed S          default 0\n"
    "  --json            print the figures as one JSON object\n"
    "\n"
    "Prints stored bytes (codes, tables, padding) against the native ones (the smaller of dense\n"
    "float32 and CSR), the squared error over the squared distance from the mean, how much of the\n"
    "variance lies in the first principal axes, and the time.\n"
    "\n"
    "Example:\n"
    "  flipbook compress products.h5 -o packed.h5 --budget 16x\n"
    "  flipbook train packed.h5 --model sage --task node --batch 1024 --fanout 10,10\n";

enum { STEPS_SHOWN = 40 };

typedef struct command {
    double limit; /* of the drift */
    const char *graph, *path, *budget, *norm, *rotation;
    bool json, terminal, begun;
    double shown; /* seconds: the last line of progress */
    flip_compress_params params;
} command;

/* ---- options ---- */

static flip_status parse_budget(command *c) {
    char *end = NULL;
    if (!c->budget) return FLIP_OK;
    c->params.budget = strtod(c->budget, &end);
    if (end == c->budget || (*end && strcmp(end, "x") != 0) || !(c->params.budget >= 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--budget is '%s'; a ratio is expected, for example 16x",
                         c->budget);
    return FLIP_OK;
}

static flip_status choice(const char *option, const char *word, const char *const *names, size_t n,
                          int *out) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0) {
            *out = (int)i;
            return FLIP_OK;
        }
    const char *near = flip_suggest(word, names, n);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "%s is '%s'; did you mean '%s'?", option, word,
                     near ? near : names[0]);
}

static flip_status parse(command *c, int argc, char **argv) {
    static const char *const what[] = {"the graph to compress"};
    static const char *const norms[] = {"auto", "none", "row"}, *const kept[] = {"drop", "keep"};
    flip_compress_params *p = &c->params;
    int norm = 0, keep = 0;
    const flip_option table[] = {{"-o", FLIP_OPTION_TEXT, &c->path},
                                 {"--codec", FLIP_OPTION_TEXT, &p->codec},
                                 {"--budget", FLIP_OPTION_TEXT, &c->budget},
                                 {"--feature-norm", FLIP_OPTION_TEXT, &c->norm},
                                 {"--rotation", FLIP_OPTION_TEXT, &c->rotation},
                                 {"--sample", FLIP_OPTION_I64, &p->sample},
                                 {"--steps", FLIP_OPTION_I32, &p->n_steps},
                                 {"--first-step", FLIP_OPTION_I32, &p->first_step},
                                 {"--drift-limit", FLIP_OPTION_REAL, &c->limit},
                                 {"--retrain", FLIP_OPTION_I32, &p->retrain},
                                 {"--seed", FLIP_OPTION_U64, &p->seed},
                                 {"--json", FLIP_OPTION_FLAG, &c->json},
                                 {NULL, FLIP_OPTION_END, NULL}};
    FLIP_TRY(flip_options_parse("compress", argc, argv, table, &c->graph, what, 1));
    if (!c->path)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook compress needs -o FILE, the file to write");
    if (!p->codec == !c->budget)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "flipbook compress needs --codec NAME or --budget RATIO%s",
                         p->codec ? ", not both" : ", for example --budget 16x");
    if (c->norm) FLIP_TRY(choice("--feature-norm", c->norm, norms, 3, &norm));
    if (c->rotation) FLIP_TRY(choice("--rotation", c->rotation, kept, 2, &keep));
    p->norm = (flip_compress_norm)norm;
    p->keep_rotation = keep == 1;
    if (p->codec) FLIP_TRY(flip_codec_check_name(p->codec));
    if (!(c->limit >= 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--drift-limit is %g; 1 or more times the error of the steps learned from "
                         "is expected",
                         c->limit);
    return parse_budget(c);
}

/* ---- progress: a bar on a terminal, now and then a plain line elsewhere ---- */

static void show_progress(void *data, const char *what, double share) {
    enum { WIDTH = 30 };
    command *c = data;
    double now = flip_seconds();
    if (now - c->shown < (c->terminal ? 0.1 : 5)) return;
    c->shown = now;
    if (!c->terminal) {
        fprintf(stderr, "compress: %s, %.0f %%\n", what, 100 * share);
        return;
    }
    int full = (int)(share * WIDTH);
    c->begun = true;
    fprintf(stderr, "\r%-16s [%.*s%*s] %3.0f %%", what, full, "##############################",
            WIDTH - full, "", 100 * share);
    fflush(stderr);
}

/* ---- the page ---- */

static void print_trials(const flip_compressed *r) {
    printf("\ncodec             bytes a row    tables       ratio      error\n");
    for (int32_t i = 0; i < r->n_trials; i++) {
        const flip_compress_trial *t = &r->trial[i];
        printf("%-18s", t->codec);
        if (isnan(t->error))
            printf("%11s %9s %11s %10s  %s\n", "-", "-", "-", "-", t->why);
        else
            printf("%11zu %9zu %10.2fx %10.3g  %s\n", t->row_bytes, t->table_bytes, t->ratio,
                   t->error, t->why);
    }
}

static void print_spectrum(const flip_compressed *r) {
    if (isnan(r->spectrum[0])) return;
    printf("spectrum   ");
    for (int i = 0; i < FLIP_COMPRESS_AXES && !isnan(r->spectrum[i]); i++)
        printf("%s%.1f %% in %d", i ? ", " : "", 100 * r->spectrum[i], 1 << i);
    printf(" of %s axes\n", flip_grouped(r->n_columns).s);
}

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* ---- features that change: how well the codebooks still fit ---- */

static double beside_learned(const flip_compressed *r, double error) {
    return r->learned_error > 0 ? error / r->learned_error : error > 0 ? INFINITY : 1;
}

static void print_step(const command *c, const flip_compressed *r, int32_t t) {
    const flip_compress_drift *d = &r->drift[t];
    bool learned = t >= r->learned_first && t < r->learned_first + r->learned_steps;
    printf("%6d %12s %12s", t, flip_grouped(d->given).s, flip_grouped(d->stored).s);
    if (d->given == 0)
        printf("          -        -");
    else
        printf(" %10.3g %8.2f", d->error, beside_learned(r, d->error));
    if (c->params.retrain > 0 && isnan(d->retrained))
        printf("          -");
    else if (c->params.retrain > 0)
        printf(" %10.3g", d->retrained);
    bool above = flip_compressed_above(r, t, c->limit);
    printf("%s\n", learned ? "  learned from" : above ? "  above the limit" : "");
}

/* Long timelines are thinned out evenly; the first step above the limit is always there. */
static void print_drift(const command *c, const flip_compressed *r) {
    int32_t drifted = flip_compressed_drifted(r, c->limit);
    int32_t each = (r->n_steps + STEPS_SHOWN - 1) / STEPS_SHOWN;
    printf("\n  step   rows given  rows stored      error  x learned%s\n",
           c->params.retrain > 0 ? " relearned" : "");
    for (int32_t t = 0; t < r->n_steps; t++)
        if (t % each == 0 || t == drifted || t == r->n_steps - 1) print_step(c, r, t);
    if (drifted < 0) return;
    printf("\nwarning: at step %d rows are %.2f times as far from their codes as those that the "
           "codebooks were\n"
           "learned from (the limit is %g): they no longer fit. Learn them from there on: "
           "--first-step %d --steps %d\n",
           drifted, beside_learned(r, r->drift[drifted].error), c->limit, drifted,
           r->learned_steps < r->n_steps - drifted ? r->learned_steps : r->n_steps - drifted);
}

static json_t *drift_json(const command *c, const flip_compressed *r) {
    json_t *steps = json_array();
    for (int32_t t = 0; t < r->n_steps; t++) {
        const flip_compress_drift *d = &r->drift[t];
        json_array_append_new(steps,
                              json_pack("{s:I, s:I, s:o, s:o}", "given", (json_int_t)d->given,
                                        "stored", (json_int_t)d->stored, "error", number(d->error),
                                        "relearned", number(d->retrained)));
    }
    return json_pack("{s:i, s:i, s:o, s:f, s:i, s:o}", "first", (int)r->learned_first, "steps",
                     (int)r->learned_steps, "error", number(r->learned_error), "limit", c->limit,
                     "drifted", r->n_steps > 0 ? (int)flip_compressed_drifted(r, c->limit) : -1,
                     "step", steps);
}

static void tell(const command *c, const flip_compressed *r) {
    const flip_compress_trial *t = &r->trial[r->chosen];
    if (c->params.budget > 0) print_trials(r);
    printf("\n%s: %s columns in %s bytes a row%s\n", t->codec, flip_grouped(r->n_columns).s,
           flip_grouped((int64_t)t->row_bytes).s,
           r->row_normalised ? ", rows divided by their sums before" : "");
    printf("stored     %s = %s rows x %zu + tables %s%s; 1/%.2f of the native %s (%s)\n",
           flip_byte_words((double)r->stored_bytes).s, flip_grouped(r->stored_rows).s,
           t->row_bytes + (r->n_steps > 0 ? FLIP_COMPRESS_BESIDE : 0),
           flip_byte_words((double)t->table_bytes).s, r->refinement > 0 ? " + refinement" : "",
           (double)r->native_bytes / (double)r->stored_bytes,
           flip_byte_words((double)r->native_bytes).s,
           r->csr_bytes < r->dense_bytes ? "CSR" : "float32");
    if (r->refinement > 0) {
        const flip_compress_trial *f = &r->trial[r->refinement];
        printf("refinement %s in %zu bytes a row = %s + tables %s; with it error %.4g\n", f->codec,
               f->row_bytes, flip_byte_words((double)r->n_nodes * (double)f->row_bytes).s,
               flip_byte_words((double)f->table_bytes).s, f->error);
    }
    printf("error      %.4g of the variance, on %s rows held out; learned from %s\n", t->error,
           flip_grouped(r->held).s, flip_grouped(r->learned).s);
    print_spectrum(r);
    if (r->n_steps > 0) print_drift(c, r);
    printf("time       %.1f s to learn, %.1f s to encode and write\nwritten: %s\n",
           r->learn_seconds, r->encode_seconds, c->path);
}

static void tell_json(const command *c, const flip_compressed *r) {
    json_t *trials = json_array(), *spectrum = json_array();
    const flip_compress_trial *best = &r->trial[r->chosen];
    for (int32_t i = 0; i < r->n_trials; i++) {
        const flip_compress_trial *t = &r->trial[i];
        json_array_append_new(trials, json_pack("{s:s, s:I, s:I, s:f, s:o, s:f, s:b, s:s}", "codec",
                                                t->codec, "row_bytes", (json_int_t)t->row_bytes,
                                                "table_bytes", (json_int_t)t->table_bytes, "ratio",
                                                t->ratio, "error", number(t->error), "seconds",
                                                t->seconds, "fits", t->fits, "why", t->why));
    }
    for (int i = 0; i < FLIP_COMPRESS_AXES && !isnan(r->spectrum[i]); i++)
        json_array_append_new(spectrum, json_real(r->spectrum[i]));
    json_t *all = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:b, s:I, s:I, s:f, s:f, s:o, "
        "s:o, s:I, s:I, s:o}",
        "file", c->path, "codec", best->codec, "nodes", (json_int_t)r->n_nodes, "columns",
        (json_int_t)r->n_columns, "row_bytes", (json_int_t)best->row_bytes, "table_bytes",
        (json_int_t)best->table_bytes, "stored_bytes", (json_int_t)r->stored_bytes, "dense_bytes",
        (json_int_t)r->dense_bytes, "csr_bytes", (json_int_t)r->csr_bytes, "ratio",
        (double)r->native_bytes / (double)r->stored_bytes, "error", number(best->error),
        "row_normalised", r->row_normalised, "learned", (json_int_t)r->learned, "held",
        (json_int_t)r->held, "learn_seconds", r->learn_seconds, "encode_seconds", r->encode_seconds,
        "spectrum", spectrum, "trials", trials, "given_rows", (json_int_t)r->given_rows,
        "stored_rows", (json_int_t)r->stored_rows, "learned_from", drift_json(c, r));
    if (r->refinement > 0) {
        const flip_compress_trial *f = &r->trial[r->refinement];
        json_object_set_new(all, "refinement",
                            json_pack("{s:s, s:I, s:I, s:o}", "codec", f->codec, "row_bytes",
                                      (json_int_t)f->row_bytes, "table_bytes",
                                      (json_int_t)f->table_bytes, "error", number(f->error)));
    }
    char *text = json_dumps(all, JSON_PRESERVE_ORDER);
    if (text) puts(text);
    free(text);
    json_decref(all);
}

/* ---- the command ---- */

/* The output must not take the place of what it is made from. */
static flip_status check_output(const command *c) {
    struct stat in, out;
    if (stat(c->path, &out) != 0 || stat(c->graph, &in) != 0) return FLIP_OK;
    if (in.st_dev != out.st_dev || in.st_ino != out.st_ino) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "-o %s would overwrite '%s', which is read; give the output another name",
                     c->path, c->graph);
}

static flip_status run(command *c, flip_comm *comm) {
    flip_status status;
    flip_reader *reader = NULL;
    flip_compressed result = {0};
    bool speaks = flip_comm_rank(comm) == 0;
    c->terminal = isatty(STDERR_FILENO);
    c->shown = flip_seconds();
    if (speaks) {
        c->params.progress = show_progress;
        c->params.progress_data = c;
    }
    FLIP_TRY_GOTO(flip_reader_open(&reader, comm, c->graph, "graph"));
    FLIP_TRY_GOTO(flip_comm_agree(comm, check_output(c)));
    FLIP_TRY_GOTO(flip_container_writable(comm, c->path));
    status = flip_compress(&result, comm, reader, c->path, &c->params);
    if (c->begun) fprintf(stderr, "\r%70s\r", "");
    if (status == FLIP_OK && speaks) (c->json ? tell_json : tell)(c, &result);
done:
    flip_compressed_finish(&result);
    flip_reader_close(&reader);
    return status;
}

int flip_command_compress(int argc, char **argv) {
    flip_status status;
    flip_comm *comm = NULL;
    command c = {.params = FLIP_COMPRESS_DEFAULTS, .limit = 1.5};
    FLIP_TRY_GOTO(parse(&c, argc, argv));
    FLIP_TRY_GOTO(flip_comm_create(&comm, MPI_COMM_WORLD));
    FLIP_TRY_GOTO(run(&c, comm));
done:
    flip_comm_destroy(&comm);
    return flip_command_end(status);
}
