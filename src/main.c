/* flipbook: one program, one table of commands. */
#include "cli/commands.h"
#include "cli/run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const flip_command commands[] = {
    {"generate", "make a synthetic graph: sbm, rmat, payments", flip_help_generate,
     flip_command_generate, true, NULL},
    {"import", "edge lists, snapshots and .npy files to a container", flip_help_import,
     flip_command_import, false, NULL},
    {"info", "what is in a file, on a page; --build: about this program", flip_help_info,
     flip_command_info, false, NULL},
    {"check", "is a file whole, does it mean what it says", flip_help_check, flip_command_check,
     false, NULL},
    {"partition", "cut a graph into parts for training on ranks", flip_help_partition,
     flip_command_partition, true, NULL},
    {"compress", "pack the features of a graph into codes", flip_help_compress,
     flip_command_compress, true, NULL},
    {"train", "train a graph neural network, alone or under mpirun", NULL, flip_command_train, true,
     flip_train_threads},
    {"evaluate", "measure a trained model on a graph", NULL, flip_command_evaluate, true, NULL},
    {"predict", "write a trained model's predictions as CSV", NULL, flip_command_predict, true,
     NULL},
    {"simulate", "bytes of every distribution on up to thousands of ranks, counted; a time model",
     flip_help_simulate, flip_command_simulate, true, NULL},
    {"bench", "measure kernels, transfers and exchanges beside this machine's limits",
     flip_help_bench, flip_command_bench, true, NULL},
    {"completion", "print shell completion: eval \"$(flipbook completion bash)\"", NULL,
     flip_command_completion, false, NULL},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

size_t flip_commands(const flip_command **table) {
    *table = commands;
    return N_COMMANDS;
}

static int usage(FILE *out) {
    fprintf(out, "flipbook trains graph neural networks on graphs that change.\n\n"
                 "  flipbook COMMAND --help     options and a worked example\n"
                 "  flipbook --version\n\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\nExit codes: 0 done, 1 failed, 2 wrong usage, 85 stopped by request after a "
                 "checkpoint.\n");
    return out == stdout ? 0 : 2;
}

static flip_status unknown_command(const char *word) {
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = flip_suggest(word, names, N_COMMANDS);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "unknown command '%s'; did you mean '%s'?", word, near);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "unknown command '%s' (flipbook --help lists them)", word);
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static int run(const flip_command *command, int argc, char **argv) {
    bool help = wants_help(argc, argv);
    if (help && command->help) return fputs(command->help, stdout) < 0;
    if (command->mpi && !help) {
        flip_run_begin(&argc, &argv, command->threads && command->threads(argc, argv));
        flip_status status = flip_run_same_command(command->name);
        if (status != FLIP_OK) return flip_command_end(status);
    }
    return command->run(argc, argv);
}

int main(int argc, char **argv) {
    flip_start_mend(argv);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write, not the end */
    if (argc < 2) return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return usage(stdout);
    if (strcmp(argv[1], "help") == 0) { /* flipbook help [COMMAND] */
        if (argc < 3) return usage(stdout);
        char *asked[] = {argv[0], argv[2], "--help", NULL};
        return main(3, asked);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)
        return printf("flipbook %s (%s, %s kernels, OpenBLAS %s)\n", FLIP_VERSION, FLIP_REAL_NAME,
                      flip_isa_name(flip_isa_detect()), flip_blas_core()) < 0;
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return flip_run_end(run(&commands[i], argc - 1, argv + 1));
    return flip_run_end(flip_command_end(unknown_command(argv[1])));
}
