/* The table of commands. */
#include "cli/commands.h"

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

flip_status flip_unknown_command(const char *word) {
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = flip_suggest(word, names, N_COMMANDS);
    if (near)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "unknown command '%s'; did you mean '%s'?", word, near);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "unknown command '%s' (flipbook --help lists them)", word);
}
