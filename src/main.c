/* flipbook: one program, one table of commands (cli/commands.c). */
#include "cli/commands.h"
#include "cli/run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static int usage(FILE *out) {
    fprintf(out, "flipbook trains graph neural networks on graphs that change.\n\n"
                 "  flipbook COMMAND --help     options and a worked example\n"
                 "  flipbook --version\n\n");
    const flip_command *table;
    const size_t n = flip_commands(&table);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-12s%s\n", table[i].name, table[i].summary);
    fprintf(out, "\nExit codes: 0 done, 1 failed, 2 wrong usage, 85 stopped by request after a "
                 "checkpoint.\n");
    return out == stdout ? 0 : 2;
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
    const flip_command *table;
    const size_t n = flip_commands(&table);
    for (size_t i = 0; i < n; i++)
        if (strcmp(argv[1], table[i].name) == 0)
            return flip_run_end(run(&table[i], argc - 1, argv + 1));
    return flip_run_end(flip_command_end(flip_unknown_command(argv[1])));
}
