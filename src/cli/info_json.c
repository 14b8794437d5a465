/* flipbook info --json, and the estimate of training memory. */
#include "cli/info.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

double flip_info_train_bytes(const flip_survey *s, flip_model_kind kind, int ranks_log2) {
    int64_t own = s->rank_nodes[ranks_log2], halo = s->rank_halo[ranks_log2],
            events = s->rank_events[ranks_log2];
    flip_graph_info about = {
        .n_nodes = s->n_nodes,
        .n_events = s->n_events,
        .n_steps = (int32_t)s->n_steps,
        .n_features = (int32_t)s->n_features,
        .n_targets = (int32_t)s->n_targets,
        .n_splits = (int32_t)s->n_splits,
        .n_classes = s->labelled ? (int32_t)s->n_classes : 0,
        .weighted = s->weighted,
        .edge_labels = s->edge_class_count != NULL,
        .code_bytes = (int32_t)s->code_bytes,
        .refinement_bytes = (int32_t)s->refinement_bytes,
        .features_change = s->features == FLIP_SURVEY_CHANGING,
        .labels_change = s->labels_change,
    };
    flip_model_params model = FLIP_MODEL_DEFAULTS;
    model.kind = kind;
    model.hidden = 128;
    model.in_dim = s->n_features ? (int32_t)s->n_features : 2; /* degrees */
    model.out_dim = s->labelled    ? (int32_t)s->n_classes
                    : s->n_targets ? (int32_t)s->n_targets
                                   : 128;
    flip_adjacency_params adjacency = {
        .kind = flip_model_adjacency(&model), .n_steps = (int32_t)s->n_steps, .edge_life = 1};
    return (double)flip_graph_bytes(&about, own, events) +
           (double)flip_adjacency_bytes(own, halo, events, s->weighted, &adjacency) +
           (double)flip_model_bytes(&model, own, halo, events + own, (int32_t)s->n_steps);
}

static json_t *counts(const int64_t *values, int64_t n) {
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(values[i]));
    return list;
}

/* JSON knows no infinities: absent values are null. */
static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *degrees(const flip_survey_degrees *d) {
    return json_pack("{s:f, s:I, s:o}", "mean", d->mean, "largest", (json_int_t)d->most,
                     "bins_0_1_2_4_8", counts(d->bins, FLIP_SURVEY_DEGREES));
}

static json_t *overlaps(const flip_survey *s) {
    json_t *list = json_array();
    for (int l = 0; l < s->n_overlaps; l++) {
        const flip_survey_overlap *o = &s->overlap[l];
        json_array_append_new(list, json_pack("{s:i, s:f, s:f, s:o}", "edge_life", (int)o->life,
                                              "mean", o->mean, "edges", o->edges, "tenths",
                                              counts(o->bins, FLIP_SURVEY_TENTHS)));
    }
    return list;
}

static json_t *features(const flip_survey *s) {
    static const char *const kinds[] = {"none", "dense", "sparse", "changing", "packed"};
    if (s->features == FLIP_SURVEY_PACKED)
        return json_pack(
            "{s:s, s:s, s:I, s:i, s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:I, s:I}", "kind",
            kinds[s->features], "codec", s->codec, "columns", (json_int_t)s->n_features,
            "decoded_columns", s->decoded_columns, "code_bytes", (json_int_t)s->code_bytes,
            "table_bytes", (json_int_t)s->table_bytes, "refinement_bytes",
            (json_int_t)s->refinement_bytes, "native_bytes", (json_int_t)s->native_bytes,
            "relative_error", s->relative_error, "refined_error", s->refined_error, "norm",
            s->feature_norm, "rows", (json_int_t)s->n_feature_rows, "learned_steps",
            (json_int_t)s->learned_steps);
    json_t *object = json_pack("{s:s, s:I, s:I, s:I}", "kind", kinds[s->features], "columns",
                               (json_int_t)s->n_features, "rows", (json_int_t)s->n_feature_rows,
                               "nonzeros", (json_int_t)s->n_nonzero);
    if (s->features != FLIP_SURVEY_NONE) {
        json_object_set_new(object, "least", number(s->feature_least));
        json_object_set_new(object, "most", number(s->feature_most));
    }
    return object;
}

static json_t *splits(const flip_survey *s) {
    json_t *list = json_array();
    for (int64_t i = 0; i < s->n_splits; i++)
        json_array_append_new(
            list, json_pack("{s:I, s:I, s:I, s:I}", "train", (json_int_t)s->split[i][0], "valid",
                            (json_int_t)s->split[i][1], "test", (json_int_t)s->split[i][2],
                            "unused", (json_int_t)s->split[i][3]));
    return list;
}

static json_t *parts(const flip_survey *s) {
    json_t *list = json_array();
    for (int32_t p = 0; p < s->n_parts; p++)
        json_array_append_new(list, json_pack("{s:I, s:I}", "nodes",
                                              (json_int_t)(s->part_first[p + 1] - s->part_first[p]),
                                              "events", (json_int_t)s->part_events[p]));
    return list;
}

static json_t *memory(const flip_survey *s) {
    json_t *list = json_array();
    for (int i = 0; i < FLIP_SURVEY_RANKS; i++)
        json_array_append_new(
            list, json_pack("{s:i, s:I, s:I, s:I, s:f, s:f}", "ranks", 1 << i, "nodes",
                            (json_int_t)s->rank_nodes[i], "events", (json_int_t)s->rank_events[i],
                            "halo", (json_int_t)s->rank_halo[i], "gcn_bytes",
                            flip_info_train_bytes(s, FLIP_MODEL_GCN, i), "sage_bytes",
                            flip_info_train_bytes(s, FLIP_MODEL_SAGE, i)));
    return list;
}

static flip_status dump(json_t *object, const char *path) {
    bool written = object && json_dumpf(object, stdout, JSON_INDENT(2)) == 0 && putchar('\n') > 0;
    json_decref(object);
    return written ? FLIP_OK : FLIP_FAIL(FLIP_ERROR_IO, "cannot write the JSON about '%s'", path);
}

flip_status flip_info_json(const flip_survey *s, const char *path) {
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "file", path, "kind",
                  "graph", "bytes", (json_int_t)s->bytes, "nodes", (json_int_t)s->n_nodes, "events",
                  (json_int_t)s->n_events, "steps", (json_int_t)s->n_steps, "pairs",
                  (json_int_t)s->n_pairs, "self_loops", (json_int_t)s->n_loops, "repeated",
                  (json_int_t)s->n_doubled, "undirected", s->undirected);
    if (!object) return dump(NULL, path);
    if (s->has_time) {
        json_object_set_new(object, "step_zero", number(s->step_zero));
        json_object_set_new(object, "step_width", number(s->step_width));
    }
    if (s->weighted)
        json_object_set_new(object, "weights",
                            json_pack("{s:o, s:o, s:o, s:I}", "least", number(s->weight_least),
                                      "most", number(s->weight_most), "mean",
                                      number(s->weight_mean), "negative",
                                      (json_int_t)s->n_negative));
    json_object_set_new(object, "events_a_step", counts(s->step_events, s->n_steps));
    json_object_set_new(object, "degree_in", degrees(&s->in));
    json_object_set_new(object, "degree_out", degrees(&s->out));
    json_object_set_new(object, "degree_both", degrees(&s->both));
    json_object_set_new(object, "overlap", overlaps(s));
    json_object_set_new(object, "features", features(s));
    json_object_set_new(object, "targets", json_integer(s->n_targets));
    if (s->labelled) {
        json_object_set_new(object, "classes", counts(s->class_count, s->n_classes));
        json_object_set_new(object, "unlabelled", json_integer(s->class_count[s->n_classes]));
    }
    if (s->edge_class_count)
        json_object_set_new(object, "event_classes",
                            counts(s->edge_class_count, s->n_edge_classes));
    json_object_set_new(object, "splits", splits(s));
    json_object_set_new(object, "parts", parts(s));
    if (s->n_parts) json_object_set_new(object, "cut", json_integer(s->cut));
    json_object_set_new(object, "memory", memory(s));
    return dump(object, path);
}

flip_status flip_info_other_json(const flip_reader *reader, const char *kind) {
    json_t *list = json_array();
    for (int32_t i = 0; i < flip_reader_n_datasets(reader); i++) {
        int64_t dims[3];
        flip_type type;
        flip_status status = flip_reader_shape(reader, flip_reader_dataset(reader, i), dims, &type);
        if (status != FLIP_OK) {
            json_decref(list);
            return status;
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:o}", "name", flip_reader_dataset(reader, i),
                                        "type", flip_type_name(type), "shape",
                                        counts(dims, dims[2]   ? 3
                                                     : dims[1] ? 2
                                                               : 1)));
    }
    return dump(json_pack("{s:s, s:s, s:I, s:o}", "file", flip_reader_path(reader), "kind", kind,
                          "bytes", (json_int_t)flip_reader_bytes(reader), "datasets", list),
                flip_reader_path(reader));
}
