/* Options of the short commands. */
#include "cli/options.h"

#include "cli/commands.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPTIONS = 64 };

static flip_status parse_whole(const char *command, const char *name, const char *text, int64_t low,
                               int64_t high, int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s of flipbook %s is '%s'; a whole number is expected",
                         name, command, text);
    if (errno || value < low || value > high)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s of flipbook %s is %s; it must be from %lld to %lld",
                         name, command, text, (long long)low, (long long)high);
    *out = value;
    return FLIP_OK;
}

static flip_status parse_value(const char *command, const flip_option *o, const char *text) {
    int64_t whole = 0;
    char *end;
    switch (o->kind) {
    case FLIP_OPTION_I32:
        FLIP_TRY(parse_whole(command, o->name, text, INT32_MIN, INT32_MAX, &whole));
        *(int32_t *)o->value = (int32_t)whole;
        return FLIP_OK;
    case FLIP_OPTION_I64:
        return parse_whole(command, o->name, text, INT64_MIN, INT64_MAX, o->value);
    case FLIP_OPTION_U64:
        FLIP_TRY(parse_whole(command, o->name, text, 0, INT64_MAX, &whole));
        *(uint64_t *)o->value = (uint64_t)whole;
        return FLIP_OK;
    case FLIP_OPTION_REAL: {
        double value = strtod(text, &end);
        if (end == text || *end || !isfinite(value))
            return FLIP_FAIL(FLIP_ERROR_USAGE, "%s of flipbook %s is '%s'; a number is expected",
                             o->name, command, text);
        *(double *)o->value = value;
        return FLIP_OK;
    }
    default:
        *(const char **)o->value = text;
        return FLIP_OK;
    }
}

/* "--name=value" matches "--name" too; *value is then the text behind the sign. */
static const flip_option *find(const flip_option *table, const char *word, const char **value) {
    *value = NULL;
    for (const flip_option *o = table; o->kind != FLIP_OPTION_END; o++) {
        size_t n = strlen(o->name);
        if (strncmp(word, o->name, n) != 0) continue;
        if (word[n] == '=' && o->name[1] == '-') *value = word + n + 1;
        if (word[n] == 0 || *value) return o;
    }
    return NULL;
}

static flip_status unknown(const char *command, const char *word, const flip_option *table) {
    const char *known[MOST_OPTIONS];
    size_t n = 0;
    for (const flip_option *o = table; o->kind != FLIP_OPTION_END && n < MOST_OPTIONS; o++)
        known[n++] = o->name;
    return flip_unknown_option(command, word, known, n);
}

flip_status flip_options_parse(const char *command, int argc, char **argv, const flip_option *table,
                               const char **words, const char *const *what, int n_words) {
    int given = 0;
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (argv[i][0] != '-' || argv[i][1] == 0) {
            if (given == n_words)
                return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook %s does not know what to do with '%s'",
                                 command, argv[i]);
            words[given++] = argv[i];
            continue;
        }
        const flip_option *o = find(table, argv[i], &value);
        if (!o) return unknown(command, argv[i], table);
        if (o->kind == FLIP_OPTION_FLAG) {
            if (value)
                return FLIP_FAIL(FLIP_ERROR_USAGE, "%s of flipbook %s takes no value", o->name,
                                 command);
            *(bool *)o->value = true;
            continue;
        }
        if (!value && i + 1 == argc)
            return FLIP_FAIL(FLIP_ERROR_USAGE, "%s of flipbook %s needs a value", o->name, command);
        FLIP_TRY(parse_value(command, o, value ? value : argv[++i]));
    }
    if (given < n_words)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "flipbook %s needs %s (flipbook %s --help)", command,
                         what[given], command);
    return FLIP_OK;
}
