#include "pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char pipeline_folder[64];
static char program[4096];

void pipeline_begin(const char *path) {
    if (!realpath(path, program)) exit(fprintf(stderr, "no program '%s'\n", path) > 0);
    strcpy(pipeline_folder, "/tmp/flipbook-test-XXXXXX");
    if (!mkdtemp(pipeline_folder) || chdir(pipeline_folder) != 0) exit(1);
}

void pipeline_end(void) {
    char command[128];
    if (getenv("FLIP_KEEP")) return;
    snprintf(command, sizeof command, "rm -rf '%s'", pipeline_folder);
    if (chdir("/") != 0 || system(command) != 0) fprintf(stderr, "%s stays\n", pipeline_folder);
}

/* Leaks are looked for in the tests of one process. In whole programs LeakSanitizer's own tracer
 * crashes now and then when MPI has ended ("Tracer caught signal 11"), and the program's exit code
 * is lost. */
static void no_leak_check(void) {
#ifdef __SANITIZE_ADDRESS__
    const char *given = getenv("ASAN_OPTIONS");
    char options[512];
    snprintf(options, sizeof options, "%s:detect_leaks=0", given ? given : "");
    setenv("ASAN_OPTIONS", options, 1);
#endif
}

static pid_t start(int ranks, const char *arguments) {
    char line[4096], number[16], *argv[80], *save = NULL;
    int n = 0;
    snprintf(line, sizeof line, "%s", arguments);
    snprintf(number, sizeof number, "%d", ranks);
    if (ranks > 0) {
        static char *const launcher[] = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n"};
        for (int i = 0; i < 5; i++)
            argv[n++] = launcher[i];
        argv[n++] = number;
    }
    argv[n++] = program;
    for (char *word = strtok_r(line, " ", &save); word && n < 79; word = strtok_r(NULL, " ", &save))
        argv[n++] = word;
    argv[n] = NULL;
    pid_t process = fork();
    if (process) return process;
    int out = open("out", O_CREAT | O_TRUNC | O_WRONLY, 0644), in = open("/dev/null", O_RDONLY);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    no_leak_check();
    execvp(argv[0], argv);
    _exit(127);
}

#define FORMATTED(text, format)                                                                    \
    char text[4096];                                                                               \
    va_list arguments;                                                                             \
    va_start(arguments, format);                                                                   \
    vsnprintf(text, sizeof text, format, arguments);                                               \
    va_end(arguments)

int pipeline_wait(pid_t process) {
    int how = 0;
    while (waitpid(process, &how, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

int pipeline_run(int ranks, const char *format, ...) {
    FORMATTED(text, format);
    return pipeline_wait(start(ranks, text));
}

void pipeline_good(int ranks, const char *format, ...) {
    FORMATTED(text, format);
    int code = pipeline_wait(start(ranks, text));
    if (code) pipeline_said("nothing, but this:");
    assert_int_equal(code, 0);
}

void pipeline_refused(const char *arguments, const char *message) {
    int code = pipeline_run(0, "train %s --epochs 1", arguments);
    bool said = pipeline_said(message);
    if (code != 2 || !said) fprintf(stderr, "# %s: exit %d\n", arguments, code);
    assert_true(said);
    assert_int_equal(code, 2);
}

pid_t pipeline_start(int ranks, const char *format, ...) {
    FORMATTED(text, format);
    return start(ranks, text);
}

pid_t pipeline_rank(pid_t process, int ranks) {
    char path[64];
    int child = 0;
    if (ranks == 0) return process;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)process, (int)process);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%d", &child) != 1) child = 0;
    if (file) fclose(file);
    return child;
}

static char *whole_file(const char *name) {
    FILE *file = fopen(name, "r");
    char *text = calloc(1, 1 << 22);
    if (file) {
        size_t n = fread(text, 1, (1 << 22) - 1, file);
        text[n] = 0;
        fclose(file);
    }
    return text;
}

bool pipeline_said(const char *text) {
    char *out = whole_file("out");
    bool found = strstr(out, text) != NULL;
    if (!found) fprintf(stderr, "# not said: %s\n# but: %.600s\n", text, out);
    free(out);
    return found;
}

report pipeline_report(const char *name) {
    report r = {0};
    char *text = whole_file(name), *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *object = json_loads(line, 0, NULL);
        const char *record = json_string_value(json_object_get(object, "record"));
        if (record && strcmp(record, "epoch") == 0) {
            r.loss = realloc(r.loss, (size_t)(r.n + 1) * sizeof *r.loss);
            r.loss[r.n++] = json_number_value(json_object_get(object, "loss"));
            if (json_integer_value(json_object_get(object, "epoch")) != r.n) r.loss[r.n - 1] = NAN;
        }
        if (record && strcmp(record, "summary") == 0) r.summary = json_incref(object);
        json_decref(object);
    }
    free(text);
    return r;
}

void pipeline_drop(report *r) {
    free(r->loss);
    json_decref(r->summary);
    memset(r, 0, sizeof *r);
}

double pipeline_number(const report *r, const char *path) {
    const json_t *value = r->summary;
    char words[64], *save = NULL;
    snprintf(words, sizeof words, "%s", path);
    for (char *word = strtok_r(words, ".", &save); word; word = strtok_r(NULL, ".", &save))
        value = json_object_get(value, word);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

int pipeline_epochs_done(const char *name) {
    char *text = whole_file(name);
    int n = 0;
    for (const char *at = text; (at = strstr(at, "\"record\":\"epoch\"")) && strchr(at, '\n'); at++)
        n++;
    free(text);
    return n;
}

double pipeline_difference(const report *a, const report *b, int n) {
    double most = 0;
    if (a->n < n || b->n < n) return INFINITY;
    for (int i = 0; i < n; i++) {
        double d = fabs(a->loss[i] - b->loss[i]) / fmax(fabs(a->loss[i]), 1e-30);
        if (!(d <= most)) most = d;
    }
    return isnan(most) ? INFINITY : most;
}

double pipeline_apart(const char *a, const char *b, int n) {
    report one = pipeline_report(a), other = pipeline_report(b);
    double d = pipeline_difference(&one, &other, n);
    assert_int_equal(one.n, n);
    pipeline_drop(&one);
    pipeline_drop(&other);
    return d;
}

double pipeline_peak(const char *graph, const char *arguments, double table) {
    unsetenv("MALLOC_PERTURB_"); /* meson's: touches memory that a run leaves alone */
    pipeline_good(0, "train %s --epochs 1 --seed 1 --threads 1 --device cpu %s --report r", graph,
                  arguments);
    report r = pipeline_report("r");
    double bytes = pipeline_number(&r, "peak_rss_bytes");
    fprintf(stderr, "# %s %s: peak %.0f MB, the table %.0f MB\n", graph, arguments, bytes / 1e6,
            table / 1e6);
    pipeline_drop(&r);
    return bytes;
}

/* ---- graphs ---- */

enum { NODES = 96, FEATURES = 10, CLASSES = 3, TARGETS = 2 };

static double drawn(uint64_t a, uint64_t b) {
    return flip_random_uniform(11, FLIP_STREAM_TEST, a, b);
}

/* Is there an event u -> v at step t? More often inside a class. */
static bool joined(int v, int u, int t) {
    double chance = u % CLASSES == v % CLASSES ? 0.10 : 0.03;
    return u != v && drawn((uint64_t)(t * NODES + v), (uint64_t)u) < chance;
}

#define OK(call) assert_int_equal(call, FLIP_OK)
#define ROWS(name, disk, n, width, depth, data)                                                    \
    OK(flip_writer_rows(writer, name, FLIP_TYPE_##disk, FLIP_TYPE_##disk, n, width, depth, data))

static void write_events(flip_writer *writer, int steps) {
    static int64_t indptr[NODES + 1];
    static int32_t src[NODES * NODES], step[NODES * NODES], label[NODES * NODES];
    int64_t n = 0;
    for (int v = 0; v < NODES; v++) {
        for (int t = 0; t < steps; t++)
            for (int u = 0; u < NODES; u++) {
                if (!joined(v, u, t)) continue;
                src[n] = u;
                step[n] = t;
                label[n++] = (u * 7 + v * 3 + t) % 5 == 0 ? 0 : u % CLASSES == v % CLASSES ? 1 : 2;
            }
        indptr[v + 1] = n;
    }
    ROWS("events/indptr", I64, NODES + 1, 0, 0, indptr);
    ROWS("events/src", I32, n, 0, 0, src);
    if (steps > 1) ROWS("events/step", I32, n, 0, 0, step);
    ROWS("events/label", I32, n, 0, 0, label);
}

static void write_nodes(flip_writer *writer, int steps) {
    static float features[NODES][FEATURES], targets[NODES * 8 * TARGETS];
    static int32_t label[NODES];
    static int8_t split[NODES];
    for (int v = 0; v < NODES; v++) {
        label[v] = v % CLASSES;
        split[v] = (int8_t)(v % 5 == 0 ? 1 : v % 5 == 1 ? 2 : v % 17 == 3 ? -1 : 0);
        for (int j = 0; j < FEATURES; j++)
            features[v][j] = (float)(drawn(1000 + (uint64_t)v, (uint64_t)j) - 0.5 +
                                     (j % CLASSES == label[v] ? 0.3 : 0));
        for (int t = 0; t < steps; t++)
            for (int k = 0; k < TARGETS; k++)
                targets[(v * steps + t) * TARGETS + k] =
                    (v + t) % 7 == 0 ? NAN : features[v][k] * (float)(t + 1);
    }
    ROWS("features/values", F32, NODES, FEATURES, 0, features);
    ROWS("targets/values", F32, NODES, steps, TARGETS, targets);
    ROWS("labels/class", I32, NODES, 0, 0, label);
    ROWS("splits", I8, 1, NODES, 0, split);
}

static void write_graph(const char *name, int steps) {
    flip_writer *writer = NULL;
    OK(flip_writer_create(&writer, NULL, name, "graph"));
    OK(flip_writer_attribute_i64(writer, "/", "n_nodes", NODES));
    OK(flip_writer_attribute_i64(writer, "/", "n_steps", steps));
    OK(flip_writer_attribute_i64(writer, "/", "n_classes", CLASSES));
    OK(flip_writer_attribute_i64(writer, "/", "undirected", 0));
    write_events(writer, steps);
    write_nodes(writer, steps);
    OK(flip_writer_commit(writer));
    flip_writer_destroy(&writer);
}

void pipeline_graphs(void) {
    write_graph("still0.h5", 1);
    write_graph("moving0.h5", 6);
    assert_int_equal(pipeline_run(0, "check still0.h5"), 0);
    assert_int_equal(pipeline_run(0, "check moving0.h5"), 0);
    assert_int_equal(pipeline_run(0, "partition still0.h5 -o still.h5 --parts 6"), 0);
    assert_int_equal(pipeline_run(0, "partition moving0.h5 -o moving.h5 --parts 6"), 0);
}
