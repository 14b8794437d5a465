/* The report: one JSON object a line. Rank 0 writes; a line is flushed when it is complete. */
#include "train/internal.h"
#include "train/link_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct flip_report {
    FILE *file;
    char path[FLIP_PATH_SIZE];
    char *pending; /* epochs of the run that is resumed, written after the settings; owned */
};

/* JSON has no NaN: what was not measured is null. */
static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static flip_status write_line(flip_report *report, json_t *object) {
    if (!report) {
        json_decref(object);
        return FLIP_OK;
    }
    int failed = json_dumpf(object, report->file, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
    if (failed || fputc('\n', report->file) == EOF || fflush(report->file) != 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot write report '%s': %s", report->path,
                         strerror(errno));
    return FLIP_OK;
}

/* The lines a resumed run keeps: epochs up to the checkpoint's. Returns text to write back. */
static flip_status kept_lines(const char *path, int64_t epoch, char **kept) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0, used = 0;
    ssize_t n;
    FLIP_TRY(flip_alloc(kept, 1, 1, "report"));
    (*kept)[0] = 0;
    if (!file) return FLIP_OK;
    flip_status status = FLIP_OK;
    while (status == FLIP_OK && (n = getline(&line, &room, file)) > 0) {
        json_t *object = json_loads(line, 0, NULL);
        const char *record = json_string_value(json_object_get(object, "record"));
        int64_t at = json_integer_value(json_object_get(object, "epoch"));
        bool keep = record && strcmp(record, "epoch") == 0 && at <= epoch;
        json_decref(object);
        if (!keep) continue;
        status = flip_grow(kept, used + 1, used + (size_t)n + 1, 1, "report");
        if (status != FLIP_OK) break;
        memcpy(*kept + used, line, (size_t)n + 1);
        used += (size_t)n;
    }
    free(line);
    fclose(file);
    return status;
}

flip_status flip_report_open(flip_report **report, const char *path, int64_t resumed_epoch) {
    FLIP_TRY(flip_alloc_zero(report, 1, sizeof **report, "report"));
    snprintf((*report)->path, FLIP_PATH_SIZE, "%s", path);
    if (resumed_epoch >= 0) FLIP_TRY(kept_lines(path, resumed_epoch, &(*report)->pending));
    (*report)->file = fopen(path, "w");
    if (!(*report)->file)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot write report '%s': %s", path, strerror(errno));
    return FLIP_OK;
}

void flip_report_close(flip_report **report) {
    if (!*report) return;
    if ((*report)->file) fclose((*report)->file);
    flip_free((*report)->pending);
    flip_free(*report);
    *report = NULL;
}

flip_status flip_report_settings(flip_report *report, const char *settings_json,
                                 const flip_trainer *trainer) {
    json_t *object = json_pack("{s:s}", "record", "settings");
    json_t *settings = json_loads(settings_json, 0, NULL);
    json_object_update(object, settings);
    json_decref(settings);
    json_object_set_new(object, "graph", json_string(trainer->data.s.graph));
    json_object_set_new(object, "ranks", json_integer(flip_comm_size(trainer->data.comm)));
    json_object_set_new(object, "parameters", json_integer(flip_params_trainable(trainer->params)));
    json_object_set_new(object, "in_dim", json_integer(trainer->data.in_dim));
    json_object_set_new(object, "real", json_string(FLIP_REAL_NAME));
    json_object_set_new(object, "kernels", json_string(trainer->kernels->name));
    json_object_set_new(object, "exchange", json_string(flip_device_exchange(trainer)));
    json_object_set_new(object, "version", json_string(FLIP_VERSION));
    FLIP_TRY(write_line(report, object));
    if (report && report->pending && fputs(report->pending, report->file) == EOF)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot write report '%s'", report->path);
    return FLIP_OK;
}

flip_status flip_report_epoch(flip_report *report, int64_t epoch, double loss, double valid,
                              double seconds, double eval_seconds) {
    if (!report) return FLIP_OK;
    json_t *object =
        json_pack("{s:s, s:I, s:f}", "record", "epoch", "epoch", (json_int_t)epoch, "loss", loss);
    json_object_set_new(object, "valid", number(valid));
    json_object_set_new(object, "seconds", json_real(seconds));
    json_object_set_new(object, "eval_seconds", json_real(eval_seconds));
    return write_line(report, object);
}

flip_status flip_report_live(flip_report *report, const flip_live *live, double seconds) {
    if (!report) return FLIP_OK;
    const flip_link_scores *s = &live->scores;
    json_t *object =
        json_pack("{s:s, s:i, s:I, s:I}", "record", "live", "step", live->step, "true_pairs",
                  (json_int_t)s->true_pairs, "epochs", (json_int_t)live->epochs);
    json_object_set_new(object, "map", number(s->ap));
    json_object_set_new(object, "mrr", number(s->mrr[0]));
    json_object_set_new(object, "mrr_filtered", number(s->mrr[1]));
    json_object_set_new(object, "auc", number(s->auc));
    json_object_set_new(object, "loss", number(live->loss));
    json_object_set_new(object, "held_out_loss", number(live->held));
    json_object_set_new(object, "seconds", json_real(seconds));
    return write_line(report, object);
}

const char *flip_value_words(char text[FLIP_VALUE_SIZE], double value) {
    snprintf(text, FLIP_VALUE_SIZE, isnan(value) ? "undefined" : "%.4f", value);
    return text;
}

void flip_link_say(FILE *out, const flip_result *result) {
    static const char *const names[] = {"train", "valid", "test"};
    char text[4][FLIP_VALUE_SIZE];
    for (int p = FLIP_PART_VALID; p < FLIP_PARTS; p++) {
        const flip_link_scores *s = &result->link[p];
        const double value[] = {s->ap, s->mrr[0], s->mrr[1], s->auc};
        if (s->true_pairs == 0) continue;
        for (int k = 0; k < 4; k++)
            flip_value_words(text[k], value[k]);
        fprintf(out, "%-9smap %s, mrr %s (filtered %s), auc %s\n", names[p], text[0], text[1],
                text[2], text[3]);
    }
    fprintf(out, "ranked   %s\n%-9s%s\n", result->candidates, result->metric, result->definition);
}

json_t *flip_link_json(const flip_result *result) {
    static const char *const names[] = {"train", "valid", "test"};
    json_t *object = json_object();
    for (int p = FLIP_PART_VALID; p < FLIP_PARTS; p++) {
        const flip_link_scores *s = &result->link[p];
        json_t *one = json_object();
        json_object_set_new(one, "map", number(s->ap));
        json_object_set_new(one, "mrr", number(s->mrr[0]));
        json_object_set_new(one, "mrr_filtered", number(s->mrr[1]));
        json_object_set_new(one, "auc", number(s->auc));
        json_object_set_new(one, "true_pairs", json_integer(s->true_pairs));
        json_object_set_new(object, names[p], one);
    }
    json_object_set_new(object, "candidates", json_string(result->candidates));
    json_object_set_new(object, "definition", json_string(result->definition));
    return object;
}

flip_status flip_report_summary(flip_report *report, const flip_result *result,
                                const flip_trainer *trainer, const json_t *counts) {
    if (!report) return FLIP_OK;
    json_t *object = json_pack("{s:s}", "record", "summary");
    json_object_set_new(object, "loss", number(result->loss));
    json_object_set_new(object, "metric", json_string(result->metric));
    json_object_set_new(object, "train", number(result->train));
    json_object_set_new(object, "valid", number(result->valid));
    json_object_set_new(object, "test", number(result->test));
    json_object_set_new(object, "best_epoch", json_integer(result->best_epoch));
    json_object_set_new(object, "epochs", json_integer(result->epochs));
    json_object_set_new(object, "ranks", json_integer(flip_comm_size(trainer->data.comm)));
    json_object_set_new(object, "threads", json_integer(trainer->data.s.threads));
    if (result->candidates[0]) json_object_set_new(object, "link", flip_link_json(result));
    json_object_update(object, (json_t *)counts);
    return write_line(report, object);
}
