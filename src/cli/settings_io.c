/* Settings in and out: command line, YAML file, JSON, help text, printed list, agreement of ranks.
 */
#include "cli/commands.h"
#include "cli/settings.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MOST_KEYS = 96 };

/* ---- names ---- */

/* What other programs call our keys: for suggestions only. */
static const char *const other_names[][2] = {
    {"learning-rate", "lr"},        {"num-layers", "layers"},    {"n-layers", "layers"},
    {"hidden-dim", "hidden"},       {"hidden-size", "hidden"},   {"num-epochs", "epochs"},
    {"batch-size", "batch"},        {"optimiser", "optimizer"},  {"num-heads", "heads"},
    {"fanouts", "fanout"},          {"num-neighbors", "fanout"}, {"gpu", "device"},
    {"wd", "weight-decay"},         {"l2", "weight-decay"},      {"config", "settings"},
    {"early-stopping", "patience"}, {"num-threads", "threads"},
};
enum { N_OTHER = sizeof other_names / sizeof *other_names };

static const char *nearest(const char *word, const char *const *names, size_t n) {
    const char *others[N_OTHER], *near = flip_suggest(word, names, n);
    if (near) return near;
    for (size_t i = 0; i < N_OTHER; i++)
        others[i] = other_names[i][0];
    near = flip_suggest(word + strspn(word, "-"), others, N_OTHER);
    for (size_t i = 0; near && i < N_OTHER; i++)
        for (size_t k = 0; strcmp(near, others[i]) == 0 && k < n; k++)
            if (strcmp(names[k] + strspn(names[k], "-"), other_names[i][1]) == 0) return names[k];
    return NULL;
}

/* ---- command line ---- */

typedef struct line {
    int argc, at; /* argv[at] is being read */
    char **argv;
    int command; /* FLIP_FOR_… */
} line;

static flip_status unknown_key(const line *l, const char *word) {
    const flip_key *table;
    size_t n_keys = flip_settings_table(&table), n = 0;
    char dashed[MOST_KEYS][32];
    const char *names[MOST_KEYS];
    for (size_t i = 0; i < n_keys; i++)
        if (table[i].name && (table[i].commands & l->command)) {
            snprintf(dashed[n], sizeof *dashed, "--%s", table[i].name);
            names[n] = dashed[n];
            n++;
        }
    names[n++] = "--settings";
    names[n++] = "--help";
    const flip_key *key = strncmp(word, "--", 2) == 0 ? flip_settings_find(word + 2) : NULL;
    if (key)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "%s belongs to flipbook train; flipbook %s takes it from the checkpoint",
                         word, l->argv[0]);
    const char *near = nearest(word, names, n);
    if (near && near != flip_suggest(word, names, n))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "unknown option '%s' of flipbook %s; did you mean '%s'? (flipbook %s "
                         "--help lists them)",
                         word, l->argv[0], near, l->argv[0]);
    return flip_unknown_option(l->argv[0], word, names, n);
}

static flip_status positional(flip_settings *settings, const line *l) {
    const char *word = l->argv[l->at];
    if (settings->graph[0])
        return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook %s takes one graph; found '%s' and '%s'",
                         l->argv[0], settings->graph, word);
    if (strlen(word) >= FLIP_PATH_SIZE)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "the graph's path is longer than %d bytes",
                         FLIP_PATH_SIZE - 1);
    strcpy(settings->graph, word);
    return FLIP_OK;
}

/* `--key value`, `--key=value`, `--switch`. files: only obey --settings; else all but that. */
static flip_status option(flip_settings *settings, line *l, bool files) {
    char word[64];
    const char *typed = strcmp(l->argv[l->at], "-o") == 0 ? "--output" : l->argv[l->at];
    const char *value = strchr(typed, '=');
    snprintf(word, sizeof word, "%.*s", value ? (int)(value - typed) : 63, typed);
    if (value) value++;
    bool is_file = strcmp(word, "--settings") == 0;
    const flip_key *key = strncmp(word, "--", 2) == 0 ? flip_settings_find(word + 2) : NULL;
    if (!is_file && (!key || !(key->commands & l->command))) return unknown_key(l, word);
    const char *next = l->at + 1 < l->argc ? l->argv[l->at + 1] : NULL;
    if (!value && key && key->type == FLIP_KEY_SWITCH) {
        bool told = next && (strcmp(next, "on") == 0 || strcmp(next, "off") == 0);
        if (told) l->at++;
        value = told ? next : "on";
    } else if (!value) {
        if (!next)
            return FLIP_FAIL(FLIP_ERROR_USAGE, "%s needs a value (flipbook %s --help)", word,
                             l->argv[0]);
        value = next;
        l->at++;
    }
    if (is_file) return files ? flip_settings_load(settings, value, l->command) : FLIP_OK;
    return files ? FLIP_OK : flip_settings_set(settings, key, value, word);
}

flip_status flip_settings_parse(flip_settings *settings, int argc, char **argv, int command) {
    for (int files = 1; files >= 0; files--) {
        line l = {.argc = argc, .argv = argv, .command = command};
        for (l.at = 1; l.at < argc; l.at++) {
            bool dash = argv[l.at][0] == '-' && argv[l.at][1];
            if (dash) FLIP_TRY(option(settings, &l, files));
            if (!dash && !files) FLIP_TRY(positional(settings, &l));
        }
    }
    if (!settings->graph[0])
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "flipbook %s needs a graph file, made by flipbook import or flipbook "
                         "generate (flipbook %s --help has an example)",
                         argv[0], argv[0]);
    return FLIP_OK;
}

/* ---- YAML ---- */

/* libcyaml tells what is wrong through its log only: keep the lines. */
typedef struct yaml_log {
    char text[2048];
} yaml_log;

static void keep_log(cyaml_log_t level, void *context, const char *format, va_list arguments) {
    yaml_log *log = context;
    size_t used = strlen(log->text);
    if (level >= CYAML_LOG_ERROR)
        vsnprintf(log->text + used, sizeof log->text - used, format, arguments);
}

/* The nth line of the file whose key is `name`; 0 when there is none. */
static int line_of(const char *path, const char *name, int nth) {
    char buffer[4096];
    FILE *file = fopen(path, "r");
    int found = 0;
    for (int at = 1; file && !found && fgets(buffer, sizeof buffer, file); at++) {
        const char *start = buffer + strspn(buffer, " \t\"'");
        size_t n = strlen(name);
        if (strncmp(start, name, n) == 0 && strspn(start + n, " \"':") > 0 && --nth == 0)
            found = at;
    }
    if (file) fclose(file);
    return found;
}

static flip_status yaml_failed(const char *path, const yaml_log *log, cyaml_err_t error,
                               const cyaml_schema_field_t *fields, size_t n) {
    char word[64] = "";
    const char *at = strstr(log->text, "Unexpected key: ");
    if (error == CYAML_ERR_FILE_OPEN)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--settings: cannot open '%s': %s", path,
                         strerror(errno));
    if (at && sscanf(at, "Unexpected key: %63s", word) == 1) {
        const char *names[MOST_KEYS];
        for (size_t i = 0; i < n; i++)
            names[i] = fields[i].key;
        const char *near = nearest(word, names, n);
        return FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' line %d: unknown key '%s'%s%s%s", path,
                         line_of(path, word, 1), word, near ? "; did you mean '" : "",
                         near ? near : "", near ? "'?" : "");
    }
    at = strstr(log->text, "already seen: ");
    if (at && sscanf(at, "already seen: %63s", word) == 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' line %d: key '%s' stands twice; leave one out",
                         path, line_of(path, word, 2), word);
    /* the first line of the log says what, "(line: 3, column: 1)" of the rest says where the
     * mapping stood: a fault of syntax comes after it */
    int line = 0;
    const char *where = strstr(log->text, "line: ");
    if (where) sscanf(where, "line: %d", &line);
    const char *what = strncmp(log->text, "Load: ", 6) == 0 ? log->text + 6 : log->text;
    bool syntax = strncmp(what, "libyaml: ", 9) == 0;
    if (syntax) what += 9;
    bool after = syntax && line > 0; /* no mapping has begun: the first line */
    return FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' %sline %d: %.*s (expected lines of `key: value`)",
                     path, after ? "after " : "", line > 0 ? line : 1,
                     what[0] ? (int)strcspn(what, "\n") : 64,
                     what[0] ? what : cyaml_strerror(error));
}

static size_t yaml_schema(cyaml_schema_field_t *fields, int command) {
    const flip_key *table;
    size_t n_keys = flip_settings_table(&table), n = 0;
    for (size_t i = 0; i < n_keys; i++) {
        if (!table[i].name || !(table[i].commands & command)) continue;
        fields[n] =
            (cyaml_schema_field_t){.key = table[i].name,
                                   .data_offset = (uint32_t)(n * sizeof(char *)),
                                   .value = {.type = CYAML_STRING,
                                             .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                                             .data_size = sizeof(char),
                                             .string = {.min = 0, .max = CYAML_UNLIMITED}}};
        n++;
    }
    return n;
}

flip_status flip_settings_load(flip_settings *settings, const char *path, int command) {
    cyaml_schema_field_t fields[MOST_KEYS + 1] = {0}; /* ends with a NULL key */
    size_t n = yaml_schema(fields, command);
    const cyaml_schema_value_t top = {.type = CYAML_MAPPING,
                                      .flags = CYAML_FLAG_POINTER,
                                      .data_size = (uint32_t)(n * sizeof(char *)),
                                      .mapping = {.fields = fields}};
    yaml_log log = {""};
    const cyaml_config_t config = {
        .log_fn = keep_log, .log_ctx = &log, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
    char **values = NULL;
    cyaml_err_t error = cyaml_load_file(path, &config, &top, (cyaml_data_t **)&values, NULL);
    if (error != CYAML_OK) return yaml_failed(path, &log, error, fields, n);
    flip_status status = FLIP_OK;
    for (size_t i = 0; values && i < n && status == FLIP_OK; i++) {
        char where[FLIP_PATH_SIZE + 64];
        if (!values[i]) continue;
        snprintf(where, sizeof where, "'%s' line %d, %s", path, line_of(path, fields[i].key, 1),
                 fields[i].key);
        status = flip_settings_set(settings, flip_settings_find(fields[i].key), values[i], where);
    }
    cyaml_free(&config, &top, values, 0);
    return status;
}

/* ---- JSON ---- */

json_t *flip_settings_json(const flip_settings *settings) {
    const flip_key *table;
    size_t n = flip_settings_table(&table);
    json_t *object = json_object();
    for (size_t i = 0; i < n; i++) {
        char text[FLIP_PATH_SIZE];
        if (!table[i].name || !(table[i].commands & FLIP_FOR_TRAIN)) continue;
        flip_settings_format(settings, &table[i], text, sizeof text);
        bool number = table[i].type == FLIP_KEY_INT || table[i].type == FLIP_KEY_REAL ||
                      table[i].type == FLIP_KEY_BYTES;
        json_t *value = NULL;
        if (table[i].type == FLIP_KEY_SWITCH) value = json_boolean(strcmp(text, "on") == 0);
        if (number && strspn(text, "0123456789-+") > 0)
            value = table[i].type == FLIP_KEY_REAL ? json_real(strtod(text, NULL))
                                                   : json_integer(strtoll(text, NULL, 10));
        json_object_set_new(object, table[i].name, value ? value : json_string(text));
    }
    return object;
}

static void json_text(const json_t *value, char *text, size_t size) {
    if (json_is_boolean(value))
        snprintf(text, size, "%s", json_is_true(value) ? "on" : "off");
    else if (json_is_integer(value))
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, size, "%.17g", json_real_value(value));
    else
        snprintf(text, size, "%s", json_is_string(value) ? json_string_value(value) : "");
}

flip_status flip_settings_from_json(flip_settings *settings, const char *json) {
    json_error_t error;
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object)) {
        json_decref(object);
        return FLIP_FAIL(FLIP_ERROR_INPUT, "the checkpoint's settings are not JSON: %s",
                         error.text);
    }
    flip_status status = FLIP_OK;
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        char text[FLIP_PATH_SIZE], where[128];
        const flip_key *key = flip_settings_find(name);
        if (key && !key->result) continue;
        json_text(value, text, sizeof text);
        snprintf(where, sizeof where, "the checkpoint's setting '%.64s'", name);
        if (key) status = flip_settings_set(settings, key, text, where);
        if (!key) status = FLIP_FAIL(FLIP_ERROR_INPUT, "%s is not known to this version", where);
        if (status != FLIP_OK) break;
    }
    json_decref(object);
    return status;
}

/* ---- printed ---- */

void flip_settings_print(const flip_settings *settings, const flip_settings *asked, FILE *out) {
    const flip_key *table;
    size_t n = flip_settings_table(&table);
    flip_settings standard;
    flip_settings_default(&standard);
    int column = 0, pad = 0;
    fprintf(out, "settings (* = asked for)\n");
    for (size_t i = 0; i < n; i++) {
        char text[FLIP_PATH_SIZE], usual[FLIP_PATH_SIZE], wish[FLIP_PATH_SIZE];
        if (!table[i].name || !(table[i].commands & FLIP_FOR_TRAIN)) continue;
        flip_settings_format(settings, &table[i], text, sizeof text);
        flip_settings_format(&standard, &table[i], usual, sizeof usual);
        flip_settings_format(asked, &table[i], wish, sizeof wish);
        bool marked = strcmp(wish, usual) != 0;
        /* keys that have one value in this version are not worth a place */
        bool only =
            table[i].ready && strcmp(table[i].name, "model") != 0 && strcmp(text, usual) == 0;
        if (!text[0] || only) continue;
        bool wide = strlen(text) > 12;
        if (wide && column) {
            fprintf(out, "\n");
            pad = 0;
        }
        bool last = wide || column == 2;
        fprintf(out, "%*s  %c %-17s%s", pad, "", marked ? '*' : ' ', table[i].name, text);
        pad = last || strlen(text) > 12 ? 0 : 12 - (int)strlen(text);
        column = last ? 0 : column + 1;
        if (last) fprintf(out, "\n");
    }
    if (column) fprintf(out, "\n");
}

static void print_wrapped(FILE *out, const char *text, int indent) {
    int column = indent;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column + n > 98) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        }
        fprintf(out, "%s%.*s", column > indent ? " " : "", n, text);
        column += n + 1;
        text += n + (text[n] == ' ');
    }
    fprintf(out, "\n");
}

/* What may be given: of choices only those of this version. */
static void key_form(const flip_key *key, char *text, size_t size) {
    const char *words = key->choices ? key->choices : "N";
    if (key->type == FLIP_KEY_INT && key->choices) {
        snprintf(text, size, "N|%s", key->choices);
        return;
    }
    if (key->type == FLIP_KEY_REAL) words = "X";
    if (key->type == FLIP_KEY_BYTES) words = "BYTES";
    bool some = key->ready && key->type == FLIP_KEY_CHOICE;
    snprintf(text, size, "%.*s", some ? (int)strlen(key->ready) - 2 : (int)strlen(words),
             some ? key->ready + 1 : words);
}

/* Has the key one value only in this version? */
static bool has_no_choice(const flip_key *key) {
    return key->ready && !strchr(key->ready + 1, '|')[1];
}

void flip_settings_help(FILE *out, int command) {
    const flip_key *table;
    size_t n = flip_settings_table(&table);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        char head[256], form[200], text[1024];
        if (!(table[i].commands & command) || has_no_choice(&table[i])) continue;
        if (table[i].type == FLIP_KEY_HEAD) {
            fprintf(out, "\n%s\n", table[i].help);
            any = true;
            continue;
        }
        if (!any) fprintf(out, "\n"); /* keys of a chapter that is not this command's */
        any = true;
        key_form(&table[i], form, sizeof form);
        snprintf(head, sizeof head, "--%s %s", table[i].name, form);
        fprintf(out, strlen(head) < 26 ? "  %-26s" : "  %s\n                            ", head);
        bool shown = table[i].standard[0] != 0;
        bool ranged = (table[i].type == FLIP_KEY_INT || table[i].type == FLIP_KEY_REAL) &&
                      table[i].high < 1e6;
        char range[64] = "";
        if (ranged) snprintf(range, sizeof range, "%.6g to %.6g; ", table[i].low, table[i].high);
        if (shown)
            snprintf(text, sizeof text, "%s (%sdefault %s)", table[i].help, range,
                     table[i].standard);
        else
            snprintf(text, sizeof text, "%s", table[i].help);
        print_wrapped(out, text, 28);
    }
    fprintf(out, "\n  --settings FILE           YAML lines `key: value`; the command line wins\n");
}

/* ---- agreement ---- */

/* Hash of the running program: its own file. */
static uint64_t program_hash(void) {
    FILE *file = fopen("/proc/self/exe", "rb");
    XXH3_state_t *state = XXH3_createState();
    char *buffer = malloc(1 << 20);
    uint64_t hash = 0;
    if (file && state && buffer) {
        size_t n;
        XXH3_64bits_reset(state);
        while ((n = fread(buffer, 1, 1 << 20, file)) > 0)
            XXH3_64bits_update(state, buffer, n);
        hash = XXH3_64bits_digest(state);
    }
    if (file) fclose(file);
    free(buffer);
    XXH3_freeState(state);
    return hash;
}

flip_status flip_settings_agree(const flip_settings *settings, flip_comm *comm) {
    const flip_key *table;
    size_t n = flip_settings_table(&table);
    int size = flip_comm_size(comm);
    uint64_t mine[MOST_KEYS + 2] = {0}, *all = NULL;
    if (size == 1) return FLIP_OK;
    for (size_t i = 0; i < n; i++) {
        char text[FLIP_PATH_SIZE];
        if (!table[i].name) continue;
        flip_settings_format(settings, &table[i], text, sizeof text);
        mine[i] = XXH3_64bits(text, strlen(text));
    }
    mine[n] = XXH3_64bits(settings->graph, strlen(settings->graph));
    mine[n + 1] = program_hash();
    size_t bytes = (n + 2) * sizeof *mine;
    FLIP_TRY(flip_alloc(&all, (size_t)size * (n + 2), sizeof *all, "hashes of settings"));
    flip_status status = flip_comm_gather_all(comm, all, mine, bytes);
    for (size_t i = 0; i < n + 2 && status == FLIP_OK; i++)
        for (int r = 1; r < size && status == FLIP_OK; r++) {
            if (all[(size_t)r * (n + 2) + i] == all[i]) continue;
            if (i == n + 1)
                status = FLIP_FAIL(FLIP_ERROR_USAGE,
                                   "ranks 0 and %d run different builds of flipbook", r);
            else
                status = FLIP_FAIL(FLIP_ERROR_USAGE,
                                   "ranks 0 and %d disagree on %s%s; give every rank the same "
                                   "settings",
                                   r, i < n ? "--" : "", i < n ? table[i].name : "the graph file");
        }
    flip_free(all);
    return status;
}
