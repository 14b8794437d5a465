/* The commands of the program: one function each, one row each in the table of
 * commands.c.
 *
 *     static const flip_command commands[] = { {"check", "is a file whole", flip_help_check,
 *                                               flip_command_check, false, NULL}, … };
 *
 * A command gets its own arguments (argv[0] is its name) and returns the exit code. When it fails
 * it either leaves the message in the error record, which main prints with the rank and the exit
 * code of the status (`return flip_command_end(status)`), or prints itself and returns 1 or 2.
 */
#ifndef FLIPBOOK_CLI_COMMANDS_H
#define FLIPBOOK_CLI_COMMANDS_H

#include <flipbook/base.h>

typedef struct flip_command {
    const char *name;
    const char *summary; /* one line of `flipbook --help` */
    const char *help;    /* text of `flipbook NAME --help`, ends with a worked example; NULL: the
                            command prints it itself (it must then not need MPI for it) */
    int (*run)(int argc, char **argv);
    bool mpi;                               /* main initialises MPI before and finalises it after */
    bool (*threads)(int argc, char **argv); /* will several threads call MPI? NULL: no */
} flip_command;

int flip_command_generate(int argc, char **argv);
int flip_command_import(int argc, char **argv);
int flip_command_info(int argc, char **argv);
int flip_command_check(int argc, char **argv);
int flip_command_partition(int argc, char **argv);
int flip_command_compress(int argc, char **argv);
int flip_command_train(int argc, char **argv);
bool flip_train_threads(int argc, char **argv);
int flip_command_evaluate(int argc, char **argv);
int flip_command_predict(int argc, char **argv);
int flip_command_simulate(int argc, char **argv);
int flip_command_bench(int argc, char **argv);
int flip_command_completion(int argc, char **argv);

extern const char flip_help_generate[], flip_help_import[], flip_help_info[], flip_help_check[],
    flip_help_partition[], flip_help_compress[], flip_help_simulate[], flip_help_bench[];

/* The whole table; returns how many. */
size_t flip_commands(const flip_command **table);

/* Record "unknown command 'tarin'; did you mean 'train'?" and return FLIP_ERROR_USAGE. */
flip_status flip_unknown_command(const char *word);

/* Exit code of a command that ends with `status`; the message stays recorded for main. */
int flip_command_end(flip_status status);

/* Record "unknown option '--lerning-rate' of flipbook train; did you mean '--lr'?" and return
 * FLIP_ERROR_USAGE. `known`: names as typed, [n]. */
flip_status flip_unknown_option(const char *command, const char *word, const char *const *known,
                                size_t n);

#endif
