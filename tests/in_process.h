/* For tests that make whole runs in their own process: a folder that all ranks share, settings read
 * as the program reads them, and what the report "r.jsonl" says. */
#ifndef FLIPBOOK_TESTS_IN_PROCESS_H
#define FLIPBOOK_TESTS_IN_PROCESS_H

#include "cli/settings.h"
#include "ranks.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char shared_folder[64];

/* Makes it and goes there, all ranks together; leave_folder removes it. */
static void enter_folder(void) {
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    strcpy(shared_folder, "/tmp/flipbook-test-XXXXXX");
    CHECK(rank != 0 || mkdtemp(shared_folder), "no folder");
    MPI_Bcast(shared_folder, sizeof shared_folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    CHECK(chdir(shared_folder) == 0, "no folder");
}

static void leave_folder(void) {
    int rank;
    char command[128];
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank != 0) return;
    snprintf(command, sizeof command, "rm -rf '%s'", shared_folder);
    if (chdir("/") != 0 || system(command) != 0) fprintf(stderr, "%s stays\n", shared_folder);
}

/* For flip_io. */
static char *to_json(const flip_settings *settings) {
    json_t *object = flip_settings_json(settings);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

/* Those of the command, on one thread; cuts the line into words. */
static flip_settings read_settings(char *line) {
    char *argv[64], *save = NULL;
    int argc = 0;
    flip_settings settings;
    for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    flip_settings_default(&settings);
    CHECK_OK(flip_settings_parse(&settings, argc, argv, FLIP_FOR_TRAIN));
    CHECK_OK(flip_settings_check(&settings));
    settings.threads = 1;
    return settings;
}

/* The report's records of a kind, in order; free with json_decref. */
static json_t *read_records(const char *kind) {
    static char line[1 << 16];
    json_t *records = json_array();
    FILE *file = fopen("r.jsonl", "r");
    CHECK(file != NULL, "no report");
    while (fgets(line, sizeof line, file)) {
        json_t *object = json_loads(line, 0, NULL);
        if (strcmp(json_string_value(json_object_get(object, "record")), kind) == 0)
            json_array_append(records, object);
        json_decref(object);
    }
    fclose(file);
    return records;
}

/* The last of them; it is there. */
static inline json_t *read_record(const char *kind) {
    json_t *records = read_records(kind);
    size_t n = json_array_size(records);
    CHECK(n > 0, "no record '%s'", kind);
    json_t *last = json_incref(json_array_get(records, n - 1));
    json_decref(records);
    return last;
}

/* Losses of the epochs up to `most`. */
static inline void read_losses(double *loss, int64_t most) {
    json_t *records = read_records("epoch"), *object;
    size_t i;
    CHECK(json_array_size(records) > 0, "no epochs");
    json_array_foreach(records, i, object) {
        int64_t epoch = json_integer_value(json_object_get(object, "epoch"));
        if (epoch >= 1 && epoch <= most)
            loss[epoch - 1] = json_real_value(json_object_get(object, "loss"));
    }
    json_decref(records);
}

#endif
