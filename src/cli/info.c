/* flipbook info: what is in a file, on a page. */
#include "cli/info.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/words.h"

const char flip_help_info[] =
    "Usage: flipbook info FILE [--json]\n"
    "       flipbook info --build\n"
    "\n"
    "A page about a graph: sizes, events a step, degrees, how much snapshots overlap, features,\n"
    "classes, splits, parts, the memory training takes, and what to do next. Reads the file once\n"
    "in slabs; memory is some 30 bytes a node.\n"
    "\n"
    "  --json     the same as one JSON object\n"
    "  --build    what this program was built with and what it found on this machine\n"
    "\n"
    "Example: flipbook info otc.h5\n";

enum { BAR = 24, ROWS_MAX = 20 };

/* ---- words and bars ---- */

static flip_words percent(double share) {
    flip_words out;
    snprintf(out.s, sizeof out.s, share > 0 && share < 0.0995 ? "%.1f %%" : "%.0f %%", 100 * share);
    return out;
}

/* A bar of `share` of `width` characters, to an eighth of one. */
static void bar(double share, int width) {
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int n = (int)lround(share * 8 * width);
    if (n == 0 && share > 0) n = 1;
    for (int i = 0; i < n / 8; i++)
        fputs("█", stdout);
    fputs(eighths[n % 8], stdout);
}

/* Two spaces and a bar; `padded` to its width when more follows. */
static void bar_column(double share, int width, bool padded) {
    int n = (int)lround(share * 8 * width);
    if (n == 0 && share > 0) n = 1;
    if (n > 0 || padded) fputs("  ", stdout);
    bar(share, width);
    if (padded) printf("%*s", width - (n + 7) / 8, "");
}

static flip_words moment(double seconds) {
    flip_words out;
    struct tm parts;
    time_t whole = (time_t)floor(seconds);
    /* times since 1970 in seconds, as import stores them, of 1980 … 2200; others are numbers */
    if (seconds < 315532800.0 || seconds > 7258118400.0 || !gmtime_r(&whole, &parts) ||
        strftime(out.s, sizeof out.s, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        snprintf(out.s, sizeof out.s, "%g", seconds);
    return out;
}

static flip_words duration(double seconds) {
    static const struct {
        double length;
        const char *name;
    } units[] = {{86400, "days"}, {3600, "hours"}, {60, "minutes"}};
    flip_words out;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (seconds < units[i].length) continue;
        snprintf(out.s, sizeof out.s, "%.10g s (%.4g %s)", seconds, seconds / units[i].length,
                 units[i].name);
        return out;
    }
    snprintf(out.s, sizeof out.s, "%.10g", seconds);
    return out;
}

/* Line k of a text of lines, or its number. */
static flip_words class_name(const char *lines, int64_t k) {
    flip_words out;
    const char *at = lines;
    for (int64_t i = 0; at && i < k; i++) {
        at = strchr(at, '\n');
        if (at) at++;
    }
    if (at && *at)
        snprintf(out.s, sizeof out.s, "%.*s", (int)strcspn(at, "\r\n"), at);
    else
        snprintf(out.s, sizeof out.s, "%" PRId64, k);
    return out;
}

static double most_of(const int64_t *values, int64_t n) {
    int64_t most = 1;
    for (int64_t i = 0; i < n; i++)
        if (values[i] > most) most = values[i];
    return (double)most;
}

/* ---- the page ---- */

static void print_sizes(const flip_survey *s, const char *path) {
    printf("%s: a graph%s\n", path, s->n_steps > 1 ? " that changes" : "");
    printf("  %s, every byte verified%s%s\n\n", flip_byte_words((double)s->bytes).s,
           s->creator[0] ? "; made by " : "", s->creator);
    printf("  nodes    %12s   %s%s\n", flip_grouped(s->n_nodes).s,
           s->text_names     ? "with names"
           : s->number_names ? "with the numbers of the raw data"
                             : "numbered from 0",
           s->renumbered ? ", renumbered by part" : "");
    printf("  events   %12s   %s\n", flip_grouped(s->n_events).s,
           s->undirected ? "undirected: each edge is stored both ways" : "directed");
    printf(
        "  pairs    %12s   distinct (source, destination); %s self loops, %s repeated in a step\n",
        flip_grouped(s->n_pairs).s, flip_grouped(s->n_loops).s, flip_grouped(s->n_doubled).s);
    printf("  steps    %12s   ", flip_grouped(s->n_steps).s);
    if (s->has_time)
        printf("from %s, each %s\n", moment(s->step_zero).s, duration(s->step_width).s);
    else
        puts(s->n_steps > 1 ? "without times" : "a static graph");
    if (s->weighted)
        printf("  weights  %12s   %.4g … %.4g, mean %.4g; %s negative\n", "", s->weight_least,
               s->weight_most, s->weight_mean, flip_grouped(s->n_negative).s);
    else
        printf("  weights          none   every event counts 1\n");
}

/* At most 20 rows: several steps share one when there are more. */
static void print_steps(const flip_survey *s) {
    if (s->n_steps < 2) return;
    int64_t group = (s->n_steps + ROWS_MAX - 1) / ROWS_MAX, n = 0, empty = 0;
    double rows[ROWS_MAX], most = 1;
    for (int64_t first = 0; first < s->n_steps; first += group, n++) {
        int64_t last = first + group < s->n_steps ? first + group : s->n_steps;
        rows[n] = 0;
        for (int64_t t = first; t < last; t++) {
            rows[n] += (double)s->step_events[t] / (double)(last - first);
            empty += s->step_events[t] == 0;
        }
        if (rows[n] > most) most = rows[n];
    }
    printf("\nEvents a step%s; %s of %s steps are empty\n", group > 1 ? " (means)" : "",
           flip_grouped(empty).s, flip_grouped(s->n_steps).s);
    for (int64_t i = 0; i < n; i++) {
        int64_t first = i * group, last = first + group - 1;
        if (last >= s->n_steps) last = s->n_steps - 1;
        flip_words range, count = flip_grouped((int64_t)llround(rows[i]));
        if (group > 1)
            snprintf(range.s, sizeof range.s, "%" PRId64 "-%" PRId64, first, last);
        else
            snprintf(range.s, sizeof range.s, "%" PRId64, first);
        printf("  %11s %12s  ", range.s, count.s);
        bar(rows[i] / most, BAR);
        putchar('\n');
    }
}

static flip_words degree_range(int bin) {
    flip_words out;
    int64_t low = bin == 0 ? 0 : (int64_t)1 << (bin - 1), high = bin == 0 ? 0 : 2 * low - 1;
    if (low == high)
        snprintf(out.s, sizeof out.s, "%" PRId64, low);
    else
        snprintf(out.s, sizeof out.s, "%" PRId64 "-%" PRId64, low, high);
    return out;
}

static void print_degrees(const flip_survey *s) {
    const flip_survey_degrees *columns[] = {&s->in, &s->out, &s->both};
    static const char *const names[] = {"in", "out", "in + out"};
    int n = s->undirected ? 1 : 3, last = 0, width = n == 1 ? BAR : 10;
    for (int bin = 0; bin < FLIP_SURVEY_DEGREES; bin++)
        for (int c = 0; c < n; c++)
            if (columns[c]->bins[bin]) last = bin;
    printf("\nNodes by degree (events over all steps)\n  %11s", "");
    for (int c = 0; c < n; c++)
        printf("%12s%*s", n == 1 ? "nodes" : names[c], c < n - 1 ? width + 2 : 0, "");
    putchar('\n');
    for (int bin = 0; bin <= last; bin++) {
        printf("  %11s", degree_range(bin).s);
        for (int c = 0; c < n; c++) {
            printf("%12s", flip_grouped(columns[c]->bins[bin]).s);
            double share =
                (double)columns[c]->bins[bin] / most_of(columns[c]->bins, FLIP_SURVEY_DEGREES);
            bar_column(share, width, c < n - 1);
        }
        putchar('\n');
    }
    printf("  %11s", "mean");
    for (int c = 0; c < n; c++)
        printf("%12.1f%*s", columns[c]->mean, c < n - 1 ? width + 2 : 0, "");
    printf("\n  %11s", "largest");
    for (int c = 0; c < n; c++)
        printf("%12s%*s", flip_grouped(columns[c]->most).s, c < n - 1 ? width + 2 : 0, "");
    putchar('\n');
}

static void print_overlap(const flip_survey *s) {
    if (s->n_overlaps == 0) return;
    printf("\nOverlap of consecutive snapshots: edges in both / edges in either\n  %11s", "");
    for (int l = 0; l < s->n_overlaps; l++)
        printf("%10s %-*d", "edge life", l == 0 ? BAR / 2 + 3 : 1, s->overlap[l].life);
    putchar('\n');
    for (int bin = 0; bin < FLIP_SURVEY_TENTHS; bin++) {
        printf("  %3d - %3d %%", 10 * bin, 10 * bin + 10);
        for (int l = 0; l < s->n_overlaps; l++) {
            const flip_survey_overlap *o = &s->overlap[l];
            printf("%12s", flip_grouped(o->bins[bin]).s);
            double share = (double)o->bins[bin] / most_of(o->bins, FLIP_SURVEY_TENTHS);
            bar_column(share, BAR / 2, l == 0);
        }
        putchar('\n');
    }
    printf("  %11s", "mean");
    for (int l = 0; l < s->n_overlaps; l++)
        printf("%12s%*s", percent(s->overlap[l].mean).s, l == 0 ? BAR / 2 + 2 : 0, "");
    printf("\n  %11s", "edges");
    for (int l = 0; l < s->n_overlaps; l++)
        printf("%12s  %*s", flip_grouped((int64_t)llround(s->overlap[l].edges)).s,
               l == 0 ? BAR / 2 : 0, "");
    puts("a snapshot (mean)");
}

static void print_packed(const flip_survey *s) {
    const bool changes = s->learned_steps > 0;
    int64_t stored =
        s->n_feature_rows * (s->code_bytes + s->refinement_bytes + (changes ? 12 : 0)) +
        s->table_bytes;
    printf(" by %s, %s columns%s in %s bytes a row, tables %s bytes: 1/%.2f of %s; relative error "
           "%.4g",
           s->codec, flip_grouped(s->n_features).s,
           strcmp(s->feature_norm, "row") == 0 ? " (rows of sum 1)" : "",
           flip_grouped(s->code_bytes).s, flip_grouped(s->table_bytes).s,
           stored > 0 ? (double)s->native_bytes / (double)stored : 0,
           flip_byte_words((double)s->native_bytes).s, s->relative_error);
    if (s->refinement_bytes > 0)
        printf(", with %s bytes of refinement a row %.4g", flip_grouped(s->refinement_bytes).s,
               s->refined_error);
    if (changes)
        printf("; changing, %s rows of (node, step), learned from steps %lld to %lld",
               flip_grouped(s->n_feature_rows).s, (long long)s->learned_first,
               (long long)(s->learned_first + s->learned_steps - 1));
}

static void print_features(const flip_survey *s) {
    static const char *const kinds[] = {"none", "dense", "sparse", "changing", "packed"};
    printf("\nFeatures    %s", kinds[s->features]);
    if (s->features == FLIP_SURVEY_PACKED) {
        print_packed(s);
    } else if (s->features != FLIP_SURVEY_NONE) {
        double cells = (double)s->n_features *
                       (double)(s->features == FLIP_SURVEY_SPARSE ? s->n_nodes : s->n_feature_rows);
        printf(", %s columns, %s non-zeros (%s)", flip_grouped(s->n_features).s,
               flip_grouped(s->n_nonzero).s,
               percent(cells > 0 ? (double)s->n_nonzero / cells : 0).s);
        if (s->features == FLIP_SURVEY_CHANGING)
            printf(", %s rows of (node, step)", flip_grouped(s->n_feature_rows).s);
        if (s->feature_ones)
            printf(", all 1");
        else
            printf(", %.4g … %.4g", s->feature_least, s->feature_most);
    }
    printf("\nTargets     ");
    if (s->n_targets)
        printf("%s numbers a node and step\n", flip_grouped(s->n_targets).s);
    else
        puts("none");
}

static void print_class_rows(const char *title, const int64_t *count, int64_t n,
                             const char *names) {
    double most = most_of(count, n + 1), total = 0;
    for (int64_t k = 0; k <= n; k++)
        total += (double)count[k];
    printf("\n%s\n", title);
    for (int64_t k = 0; k <= n; k++) {
        if (k == n && count[k] == 0) continue;
        if (k >= ROWS_MAX && k < n) {
            if (k == ROWS_MAX) printf("  … and %s more\n", flip_grouped(n - ROWS_MAX).s);
            continue;
        }
        flip_words name = class_name(names, k);
        if (k == n) snprintf(name.s, sizeof name.s, "(none)");
        printf("  %-20.20s %12s %7s  ", name.s, flip_grouped(count[k]).s,
               percent((double)count[k] / (total > 0 ? total : 1)).s);
        bar((double)count[k] / most, BAR);
        putchar('\n');
    }
}

static void print_classes(const flip_survey *s) {
    if (s->labelled)
        print_class_rows(s->labels_change ? "Classes of nodes (rows of node and step)"
                                          : "Classes of nodes",
                         s->class_count, s->n_classes, s->class_names);
    if (s->edge_class_count)
        print_class_rows("Classes of events", s->edge_class_count, s->n_edge_classes,
                         s->edge_class_names);
    if (s->n_splits == 0) return;
    printf("\n%-11s %12s%12s%12s%12s\n", "Splits", "train", "valid", "test", "unused");
    for (int64_t i = 0; i < s->n_splits && i < 10; i++)
        printf("  %-9" PRId64 " %12s%12s%12s%12s\n", i, flip_grouped(s->split[i][0]).s,
               flip_grouped(s->split[i][1]).s, flip_grouped(s->split[i][2]).s,
               flip_grouped(s->split[i][3]).s);
    if (s->n_splits > 10) printf("  … and %s more\n", flip_grouped(s->n_splits - 10).s);
}

static void print_parts(const flip_survey *s) {
    if (s->n_parts == 0) return;
    int64_t most_nodes = 0, most_events = 0, empty = 0;
    for (int32_t p = 0; p < s->n_parts; p++) {
        int64_t nodes = s->part_first[p + 1] - s->part_first[p];
        if (nodes > most_nodes) most_nodes = nodes;
        if (s->part_events[p] > most_events) most_events = s->part_events[p];
        empty += nodes == 0;
    }
    printf("\nParts       %d; largest / mean: nodes %.2f, events %.2f; %s of the events cross "
           "parts; %s empty\n",
           s->n_parts, s->n_nodes ? (double)most_nodes * s->n_parts / (double)s->n_nodes : 1,
           s->n_events ? (double)most_events * s->n_parts / (double)s->n_events : 1,
           percent(s->n_events ? (double)s->cut / (double)s->n_events : 0).s,
           flip_grouped(empty).s);
    if (s->n_parts > ROWS_MAX) return;
    printf("  %-9s %12s%12s\n", "part", "nodes", "events");
    for (int32_t p = 0; p < s->n_parts; p++) {
        printf("  %-9d %12s%12s  ", p, flip_grouped(s->part_first[p + 1] - s->part_first[p]).s,
               flip_grouped(s->part_events[p]).s);
        bar((double)s->part_events[p] / (double)(most_events ? most_events : 1), BAR);
        putchar('\n');
    }
}

static void print_memory(const flip_survey *s) {
    static const struct {
        flip_model_kind kind;
        const char *name;
    } models[] = {{FLIP_MODEL_GCN, "gcn"}, {FLIP_MODEL_SAGE, "sage"}};
    printf("\nMemory to train, of the largest rank (2 layers, hidden 128)\n  %-12s", "ranks");
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++)
        printf("%12d", 1 << i);
    for (int m = 0; m < 2; m++) {
        printf("\n  %-12s", models[m].name);
        for (int i = 0; i < FLIP_SURVEY_RANKS; i++)
            printf("%12s", flip_byte_words(flip_info_train_bytes(s, models[m].kind, i)).s);
    }
    printf("\n  %-12s", "halo rows");
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++)
        printf("%12s", flip_grouped(s->rank_halo[i]).s);
    printf("\n  beside some 40 MB a rank for MPI and libraries; this machine gives %s\n",
           flip_byte_words((double)flip_memory_available()).s);
    if (s->n_parts == 0)
        puts("  halo rows: nodes of other ranks that a rank needs; with METIS there are fewer");
    else
        puts("  halo rows: nodes of other ranks that a rank needs");
}

static void print_next(const flip_survey *s, const char *path) {
    int n = (int)strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".h5") == 0) n -= 3;
    const char *task = s->labelled           ? "node"
                       : s->edge_class_count ? "edge"
                       : s->n_targets        ? "regression"
                                             : "link";
    const char *model = s->n_steps > 1                      ? "tmgcn"
                        : s->features == FLIP_SURVEY_SPARSE ? "gcn"
                                                            : "sage";
    puts("\nNext");
    if (s->n_parts == 0)
        printf("  flipbook partition %s -o %.*s-parts.h5 --parts 8\n", path, n, path);
    printf("  mpirun -n 2 flipbook train %.*s%s --model %s --task %s\n", n, path,
           s->n_parts == 0 ? "-parts.h5" : path + n, model, task);
}

static void print_page(const flip_survey *s, const char *path) {
    print_sizes(s, path);
    print_steps(s);
    print_degrees(s);
    print_overlap(s);
    print_features(s);
    print_classes(s);
    print_parts(s);
    print_memory(s);
    print_next(s, path);
}

/* ---- */

static flip_status print_datasets(const flip_reader *reader, const char *kind) {
    printf("%s: a %s of %s, every byte verified\n\n", flip_reader_path(reader), kind,
           flip_byte_words((double)flip_reader_bytes(reader)).s);
    for (int32_t i = 0; i < flip_reader_n_datasets(reader); i++) {
        const char *name = flip_reader_dataset(reader, i);
        int64_t dims[3];
        flip_type type;
        FLIP_TRY(flip_reader_shape(reader, name, dims, &type));
        printf("  %-28s %-8s %s", name, flip_type_name(type), flip_grouped(dims[0]).s);
        for (int d = 1; d < 3 && dims[d]; d++)
            printf(" x %s", flip_grouped(dims[d]).s);
        putchar('\n');
    }
    return FLIP_OK;
}

static flip_status info(const char *path, bool json) {
    flip_reader *reader = NULL;
    flip_survey survey = {.bytes = 0};
    char kind[64];
    flip_status status;
    FLIP_TRY_GOTO(flip_reader_open(&reader, NULL, path, NULL));
    FLIP_TRY_GOTO(flip_reader_attribute_text(reader, "/", "kind", kind, sizeof kind));
    if (strcmp(kind, "graph") != 0) {
        status = json ? flip_info_other_json(reader, kind) : print_datasets(reader, kind);
        goto done;
    }
    FLIP_TRY_GOTO(flip_survey_make(&survey, reader));
    if (json)
        status = flip_info_json(&survey, path);
    else
        print_page(&survey, path);
done:
    flip_survey_finish(&survey);
    flip_reader_close(&reader);
    return status;
}

int flip_command_info(int argc, char **argv) {
    static const char *const what[] = {"the file to look into"};
    const char *path[1] = {NULL};
    bool json = false, build = false;
    const flip_option options[] = {{"--json", FLIP_OPTION_FLAG, &json},
                                   {"--build", FLIP_OPTION_FLAG, &build},
                                   {NULL, FLIP_OPTION_END, NULL}};
    for (int i = 1; i < argc; i++)
        build = build || strcmp(argv[i], "--build") == 0;
    flip_status status = flip_options_parse("info", argc, argv, options, path, what, build ? 0 : 1);
    if (status == FLIP_OK) status = build ? flip_info_build() : info(path[0], json);
    return flip_command_end(status);
}
