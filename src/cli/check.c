/* flipbook check: is a file whole, does it mean what it says. */
#include "cli/commands.h"
#include "cli/options.h"

#include <flipbook/container.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

const char flip_help_check[] =
    "Usage: flipbook check FILE [--json]\n"
    "\n"
    "Verifies every byte of a container against its hashes, then everything the schema says:\n"
    "types and sizes, ids and steps in range, order of the events, classes, splits, parts.\n"
    "Prints what passed; the first thing that is wrong is named with its place, what was\n"
    "expected and what mends it. Memory: a few MiB, whatever the size of the file.\n"
    "\n"
    "  --json     one JSON object instead of lines\n"
    "\n"
    "Exit code: 0 whole, 1 not, 2 wrong usage.\n"
    "\n"
    "Example: flipbook check otc.h5 && echo whole\n";

static void print_passed(void *data, const char *what, const char *found) {
    (void)data;
    printf("ok  %-20s%s\n", what, found);
}

static void append_passed(void *data, const char *what, const char *found) {
    json_array_append_new(data, json_pack("{s:s, s:s}", "check", what, "found", found));
}

static flip_status check_json(const char *path) {
    int64_t n = 0;
    json_t *list = json_array();
    flip_status status = flip_container_check_each(path, append_passed, list, &n);
    json_t *object = json_pack("{s:s, s:b, s:I, s:o}", "file", path, "whole", status == FLIP_OK,
                               "passed", (json_int_t)n, "checks", list);
    if (object && status != FLIP_OK)
        json_object_set_new(object, "error", json_string(flip_error_message()));
    if (!object || json_dumpf(object, stdout, JSON_INDENT(2)) != 0)
        status = FLIP_FAIL(FLIP_ERROR_IO, "cannot write the JSON of '%s'", path);
    putchar('\n');
    json_decref(object);
    return status;
}

static flip_status check_lines(const char *path) {
    int64_t n = 0;
    FLIP_TRY(flip_container_check_each(path, print_passed, NULL, &n));
    printf("%s is whole: %lld checks passed\n", path, (long long)n);
    return FLIP_OK;
}

int flip_command_check(int argc, char **argv) {
    static const char *const what[] = {"the file to check"};
    const char *path[1] = {NULL};
    bool json = false;
    const flip_option options[] = {{"--json", FLIP_OPTION_FLAG, &json},
                                   {NULL, FLIP_OPTION_END, NULL}};
    flip_status status = flip_options_parse("check", argc, argv, options, path, what, 1);
    if (status == FLIP_OK) status = json ? check_json(path[0]) : check_lines(path[0]);
    return flip_command_end(status);
}
