#include "cli/commands.h"

flip_status flip_unknown_option(const char *command, const char *word, const char *const *known,
                                size_t n) {
    const char *near = flip_suggest(word, known, n);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "unknown option '%s' of flipbook %s; did you mean '%s'? (flipbook %s "
                         "--help lists them)",
                         word, command, near, command);
    return FLIP_FAIL(FLIP_ERROR_USAGE,
                     "unknown option '%s' of flipbook %s (flipbook %s --help lists them)", word,
                     command, command);
}

int flip_command_end(flip_status status) {
    return flip_exit_code(status);
}
