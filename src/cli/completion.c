/* flipbook completion bash: a completion script made from the table of commands. The options of a
 * command are the --words of its help text, or its keys in the table of settings. */
#include "cli/commands.h"
#include "cli/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void print_options(const char *help) {
    const char *stop = strstr(help, "\nExample"); /* shows options of other commands too */
    for (const char *at = help; (at = strstr(at, "--")) && (!stop || at < stop);) {
        const char *end = at + 2;
        while (isalnum((unsigned char)*end) || *end == '-')
            end++;
        bool starts = at == help || isspace((unsigned char)at[-1]) || at[-1] == '[';
        if (starts && end > at + 2) printf("%.*s ", (int)(end - at), at);
        at = end;
    }
}

/* The keys of train, evaluate or predict. */
static void print_keys(const char *command) {
    const flip_key *keys;
    size_t n = flip_settings_table(&keys);
    int who = strcmp(command, "train") == 0      ? FLIP_FOR_TRAIN
              : strcmp(command, "evaluate") == 0 ? FLIP_FOR_EVALUATE
              : strcmp(command, "predict") == 0  ? FLIP_FOR_PREDICT
                                                 : 0;
    for (size_t i = 0; i < n; i++)
        if (keys[i].name && (keys[i].commands & who)) printf("--%s ", keys[i].name);
    if (who) printf("--settings ");
}

int flip_command_completion(int argc, char **argv) {
    const flip_command *table;
    size_t n = flip_commands(&table);
    if (argc != 2 || strcmp(argv[1], "bash") != 0) {
        printf("Usage: flipbook completion bash\n\nExample: eval \"$(flipbook completion "
               "bash)\"   # then press TAB\n");
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    printf("_flipbook() {\n"
           "  local word=${COMP_WORDS[COMP_CWORD]} options=\n"
           "  if [ \"$COMP_CWORD\" = 1 ]; then options='--help --version ");
    for (size_t i = 0; i < n; i++)
        printf("%s ", table[i].name);
    printf("'\n  else case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < n; i++) {
        printf("    %s) options='--help ", table[i].name);
        if (table[i].help) print_options(table[i].help);
        if (!table[i].help) print_keys(table[i].name);
        printf("';;\n");
    }
    printf("  esac; fi\n"
           "  COMPREPLY=($(compgen -W \"$options\" -- \"$word\") $(compgen -f -- \"$word\"))\n"
           "}\ncomplete -F _flipbook flipbook\n");
    return 0;
}
