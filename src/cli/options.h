/* Options of the short commands: a table of names and places, `--name value` or `--name=value`. */
#ifndef FLIPBOOK_CLI_OPTIONS_H
#define FLIPBOOK_CLI_OPTIONS_H

#include <flipbook/base.h>

typedef enum flip_option_kind {
    FLIP_OPTION_FLAG, /* bool */
    FLIP_OPTION_I32,
    FLIP_OPTION_I64,
    FLIP_OPTION_U64,
    FLIP_OPTION_REAL, /* double, finite */
    FLIP_OPTION_TEXT, /* const char *, borrowed from argv */
    FLIP_OPTION_END
} flip_option_kind;

typedef struct flip_option {
    const char *name; /* "--parts", or "-o" */
    flip_option_kind kind;
    void *value;
} flip_option;

/* Fills the places of `table` (ends with kind END) from argv[1 …]; other words go to `words`
 * [n_words], which must all be given (`what[i]` names them in messages). FLIP_ERROR_USAGE names
 * the option and the nearest known one. */
flip_status flip_options_parse(const char *command, int argc, char **argv, const flip_option *table,
                               const char **words, const char *const *what, int n_words);

#endif
