/* t800: the table of settings. Every key: text -> value -> text, YAML -> value, JSON -> value, a
 * row in the help; every kind of bad value with its exact message. */
#include "cli/commands.h"
#include "cli/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A value of the key that is not its default. */
static void other_value(const flip_key *key, char *text, size_t size) {
    const char *second = key->choices ? strchr(key->choices, '|') : NULL;
    switch (key->type) {
    case FLIP_KEY_INT:
    case FLIP_KEY_BYTES:
        if (second) /* words that may stand for the number */
            snprintf(text, size, "%s", second + 1);
        else
            snprintf(text, size, "%.0f", key->low + 10 <= key->high ? key->low + 10 : key->high);
        break;
    case FLIP_KEY_REAL:
        snprintf(text, size, "0.125");
        break;
    case FLIP_KEY_CHOICE:
        snprintf(text, size, "%.*s", (int)strcspn(second + 1, "|"), second + 1);
        break;
    case FLIP_KEY_SWITCH:
        snprintf(text, size, "%s", strcmp(key->standard, "on") == 0 ? "off" : "on");
        break;
    case FLIP_KEY_PATH:
        snprintf(text, size, "some/file");
        break;
    default:
        if (strcmp(key->name, "metric") == 0)
            snprintf(text, size, "f1:-1");
        else if (strcmp(key->name, "split") == 0)
            snprintf(text, size, "random:20/30@7");
        else if (strcmp(key->name, "split-steps") == 0)
            snprintf(text, size, "95,20,20");
        else if (strcmp(key->name, "class-weights") == 0)
            snprintf(text, size, "0.1,0.9");
        else if (strcmp(key->name, "batch") == 0)
            snprintf(text, size, "1024");
        else if (strcmp(key->name, "fanout") == 0)
            snprintf(text, size, "10,10");
        else if (strcmp(key->name, "refine") == 0)
            snprintf(text, size, "hot:0.125");
        else
            snprintf(text, size, "pq8");
    }
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static char path[64];

static void keys_agree(void **state) {
    (void)state;
    const flip_key *table;
    size_t n = flip_settings_table(&table), names = 0;
    flip_settings base;
    flip_settings_default(&base);
    for (size_t i = 0; i < n; i++) {
        char text[256], back[FLIP_PATH_SIZE], yaml[512], standard[FLIP_PATH_SIZE];
        if (!table[i].name) continue;
        names++;
        flip_settings_format(&base, &table[i], standard, sizeof standard);
        assert_string_equal(standard, table[i].standard);
        other_value(&table[i], text, sizeof text);
        assert_string_not_equal(text, standard);
        flip_settings by_text = base, by_yaml = base, by_json = base;
        assert_int_equal(flip_settings_set(&by_text, &table[i], text, "test"), FLIP_OK);
        flip_settings_format(&by_text, &table[i], back, sizeof back);
        assert_string_equal(back, text);
        /* the same through a file */
        snprintf(yaml, sizeof yaml, "# a comment\n%s: %s\n", table[i].name, text);
        write_file(path, yaml);
        assert_int_equal(flip_settings_load(&by_yaml, path, table[i].commands), FLIP_OK);
        assert_memory_equal(&by_yaml, &by_text, sizeof by_text);
        /* the same through JSON, for the keys that a checkpoint carries */
        if (!table[i].result) continue;
        json_t *object = flip_settings_json(&by_text);
        char *dump = json_dumps(object, 0);
        assert_int_equal(flip_settings_from_json(&by_json, dump), FLIP_OK);
        flip_settings_format(&by_json, &table[i], back, sizeof back);
        assert_string_equal(back, text);
        free(dump);
        json_decref(object);
    }
    assert_true(names >= 45);
}

static void help_lists_every_key(void **state) {
    (void)state;
    const flip_key *table;
    size_t n = flip_settings_table(&table);
    for (int command = 1; command <= 4; command *= 2) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        flip_settings_help(out, command);
        fclose(out);
        for (size_t i = 0; i < n; i++) {
            char word[64];
            if (!table[i].name) continue;
            snprintf(word, sizeof word, "  --%s ", table[i].name);
            const char *ready = table[i].ready, *bar = ready ? strchr(ready + 1, '|') : NULL;
            bool one_value = bar && !bar[1];
            assert_int_equal(strstr(text, word) != NULL,
                             (table[i].commands & command) != 0 && !one_value);
        }
        free(text);
    }
}

/* One bad command line or file and the message it must give. */
static void refused(const char *arguments, const char *yaml, const char *message) {
    char line[512], *argv[16], *save = NULL;
    int argc = 0;
    flip_settings settings;
    flip_settings_default(&settings);
    flip_error_clear();
    snprintf(line, sizeof line, "train %s", arguments);
    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    if (yaml) write_file(path, yaml);
    flip_status status = flip_settings_parse(&settings, argc, argv, FLIP_FOR_TRAIN);
    if (status == FLIP_OK) status = flip_settings_check(&settings);
    if (strcmp(flip_error_message(), message) != 0)
        fprintf(stderr, "# %s\n#   got      %s\n#   expected %s\n", arguments, flip_error_message(),
                message);
    assert_string_equal(flip_error_message(), message);
    assert_int_equal(flip_exit_code(status), 2);
}

static void bad_command_lines(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "flipbook train needs a graph file, made by flipbook import or flipbook generate "
             "(flipbook train --help has an example)"},
        {"a.h5 b.h5", "flipbook train takes one graph; found 'a.h5' and 'b.h5'"},
        {"g --lerning-rate 1",
         "unknown option '--lerning-rate' of flipbook train; did you mean '--lr'? (flipbook train "
         "--help lists them)"},
        {"g --epoch 3", "unknown option '--epoch' of flipbook train; did you mean '--epochs'? "
                        "(flipbook train --help lists them)"},
        {"g --hiden=8", "unknown option '--hiden' of flipbook train; did you mean '--hidden'? "
                        "(flipbook train --help lists them)"},
        {"g --lr", "--lr needs a value (flipbook train --help)"},
        {"g --lr fast", "--lr: 'fast' is not a number"},
        {"g --lr 0.1x", "--lr: '0.1x' is not a number"},
        {"g --lr -1", "--lr: -1 is out of range, expected 0 to 1000000"},
        {"g --lr nan", "--lr: 'nan' is not a number"},
        {"g --layers 0", "--layers: 0 is out of range, expected 1 to 64"},
        {"g --layers 1.5", "--layers: '1.5' is not a whole number"},
        {"g --dropout 1", "--dropout: 1 is out of range, expected 0 to 0.99"},
        {"g --seed 99999999999999999999", "--seed: 99999999999999999999 is out of range, expected "
                                          "0 to 9e+15"},
        {"g --model gnc", "--model: 'gnc' is not one of "
                          "gcn|sage|gat|gin|tmgcn|evolvegcn-o|evolvegcn-h|cdgcn; did you mean "
                          "'gcn'?"},
        {"g --model transformer", "--model: 'transformer' is not one of "
                                  "gcn|sage|gat|gin|tmgcn|evolvegcn-o|evolvegcn-h|cdgcn"},
        {"g --structure sage --model tmgcn",
         "--structure takes the place of --model gcn, sage, gat "
         "or gin; give one of the two"},
        {"g --structure sage --model gat", "--structure takes the place of --model gcn, sage, gat "
                                           "or gin; give one of the two"},
        {"g --temporal lstm --model cdgcn",
         "--temporal belongs to --model or --structure gcn, sage, gat and gin"},
        {"g --cell gru", "--cell belongs to --model evolvegcn-o or evolvegcn-h"},
        {"g --cell lstm --model evolvegcn-h", "--model evolvegcn-h has a gru only; use --cell gru"},
        {"g --history 3 --protocol whole", "--history belongs to --protocol windows"},
        {"g --protocol windows", "--protocol windows needs --history H, the steps before the last "
                                 "of a window"},
        {"g --history 3 --distribute time",
         "sliding windows and live updates go step by step: ranks can only share the nodes; use "
         "--distribute nodes"},
        {"g --protocol live --blocks 2", "--blocks belongs to --protocol whole"},
        {"g --protocol live --checkpoint c.h5",
         "--protocol live writes and takes no checkpoint: the states of nodes belong to the "
         "parameters of all the steps before"},
        {"g --protocol live --split-steps 3,2,1",
         "--protocol live scores every step and then learns it: it takes no --split-steps and no "
         "pinned non-edges"},
        {"g --norm batch --blocks 2",
         "--norm batch needs the statistics of all steps at once; use --blocks 1 and --protocol "
         "whole, or --norm layer"},
        {"g --batch 0", "--batch: '0' is not one of full|N"},
        {"g --codec pq:8x256", "--codec pq:8x256: features are packed beforehand; flipbook "
                               "compress GRAPH -o FILE --codec pq:8x256, then train FILE"},
        {"g --device gpu", "--device: 'gpu' is not one of auto|cpu|cuda|cuda-shared; did you mean "
                           "'cpu'?"},
        {"g --memory 8Q", "--memory: '8Q' is not a whole number of bytes (8G, 512M, …)"},
        {"g --residual=maybe", "--residual: 'maybe' is neither on nor off"},
        {"g --metric f2", "--metric: 'f2' is not one of "
                          "accuracy|f1:CLASS|macro-f1|auc|ap|map|mrr|rmse"},
        {"g --split random:20",
         "--split: 'random:20' is not of the form K|random:TRAIN/VALID@SEED"},
        {"g --split-steps 95,20", "--split-steps: '95,20' is not of the form A,B,C"},
        {"g --class-weights 1,x", "--class-weights: '1,x' is not of the form none|auto|A,B,…"},
        {"g --window 20", "--window belongs to --model tmgcn"},
        {"g --aggregator pool", "--aggregator pool belongs to --model sage"},
        {"g --checkpoint-every 5", "--checkpoint-every needs --checkpoint FILE"},
        {"g --task edge --edge-head dot",
         "--edge-head dot gives one score; --task edge needs linear or mlp"},
        {"g --settings nowhere.yaml",
         "--settings: cannot open 'nowhere.yaml': No such file or directory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], NULL, cases[i][1]);
}

static void bad_files(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"epochs: 3\nlerning: 1\n", "line 2: unknown key 'lerning'"},
        {"epoch: 3\n", "line 1: unknown key 'epoch'; did you mean 'epochs'?"},
        {"model: gcn\n\nlr: fast\n", "line 3, lr: 'fast' is not a number"},
        {"layers: 99\n", "line 1, layers: 99 is out of range, expected 1 to 64"},
        {"lr:\n  - 1\n", NULL},
        {"- 1\n- 2\n", NULL},
        {"lr: 1\nlr: 2\n", NULL},
        {"lr: [1, 2\n", NULL},
        {"\tlr: 1\n", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flip_settings settings;
        char message[256];
        flip_settings_default(&settings);
        flip_error_clear();
        write_file(path, cases[i][0]);
        assert_int_equal(flip_settings_load(&settings, path, FLIP_FOR_TRAIN), FLIP_ERROR_USAGE);
        if (cases[i][1]) {
            snprintf(message, sizeof message, "'%s' %s", path, cases[i][1]);
            assert_string_equal(flip_error_message(), message);
        } else { /* libcyaml's words, but always with file and line */
            snprintf(message, sizeof message, "'%s' ", path);
            const char *line = strstr(flip_error_message(), "line ");
            assert_memory_equal(flip_error_message(), message, strlen(message));
            assert_true(line && atoi(line + 5) >= 1);
        }
    }
}

static void command_line_wins(void **state) {
    (void)state;
    flip_settings settings;
    char *argv[] = {"train", "--lr",       "0.5",        "--settings", path,
                    "g.h5",  "--residual", "--hidden=9", "--hidden",   "10"};
    flip_settings_default(&settings);
    flip_error_clear();
    write_file(path, "lr: 0.25\nepochs: 7\nresidual: off\n");
    assert_int_equal(flip_settings_parse(&settings, 10, argv, FLIP_FOR_TRAIN), FLIP_OK);
    assert_true(settings.lr == 0.5 && settings.epochs == 7 && settings.residual);
    assert_int_equal(settings.hidden, 10);
    assert_string_equal(settings.graph, "g.h5");
}

static void suggestions(void **state) {
    (void)state;
    static const char *const words[] = {"train", "partition", "predict", "import"};
    assert_string_equal(flip_suggest("trian", words, 4), "train");
    assert_string_equal(flip_suggest("partitoin", words, 4), "partition");
    assert_null(flip_suggest("zebra", words, 4));
    assert_null(flip_suggest("", words, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_agree),        cmocka_unit_test(help_lists_every_key),
        cmocka_unit_test(bad_command_lines), cmocka_unit_test(bad_files),
        cmocka_unit_test(command_line_wins), cmocka_unit_test(suggestions)};
    snprintf(path, sizeof path, "/tmp/flipbook-t800-%d.yaml", (int)getpid());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
