/* From a file and settings to what the loop reads: everything that is `auto` is decided here. */
#include "train/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void flip_data_note(flip_data *data, const char *format, ...) {
    size_t used = strlen(data->notes), room = sizeof data->notes - used;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(data->notes + used, room, format, arguments);
    va_end(arguments);
    if (n >= 0 && (size_t)n + 1 < room) strcpy(data->notes + used + n, "\n");
}

/* ---- names of classes ---- */

/* Bytes of a class's name: predictions and reports repeat it in every line. */
enum { CLASS_NAME_MOST = 120 };

/* data->class_name from a dataset of text lines, when the file has it. */
static flip_status read_class_names(flip_data *data, const char *dataset) {
    const flip_reader *reader = flip_graph_reader(data->graph);
    int64_t dims[3];
    flip_type type;
    char *text = NULL;
    flip_status status;
    if (!flip_reader_has(reader, dataset)) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(reader, dataset, dims, &type));
    FLIP_TRY(flip_alloc(&text, (size_t)dims[0] + 1, 1, "class names"));
    FLIP_TRY_GOTO(flip_reader_rows(reader, dataset, FLIP_TYPE_U8, 0, dims[0], text));
    text[dims[0]] = 0;
    FLIP_TRY_GOTO(flip_alloc_zero(&data->class_name, (size_t)data->n_classes,
                                  sizeof *data->class_name, "class names"));
    char *line = text;
    for (int32_t c = 0; c < data->n_classes; c++) {
        char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        if (n > CLASS_NAME_MOST) {
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "class %d of '%s' has a name of %zu bytes, more than %d ('%.20s…'); "
                               "import it with shorter names",
                               c, data->s.graph, n, CLASS_NAME_MOST, line);
            goto done;
        }
        FLIP_TRY_GOTO(flip_alloc(&data->class_name[c], n + 1, 1, "class name"));
        memcpy(data->class_name[c], line, n);
        data->class_name[c][n] = 0;
        line += n + (end != NULL);
    }
done:
    flip_free(text);
    return status;
}

static int32_t class_index(const flip_data *data, const char *name) {
    for (int32_t c = 0; data->class_name && c < data->n_classes; c++)
        if (strcmp(data->class_name[c], name) == 0) return c;
    char *end;
    long index = strtol(name, &end, 10);
    bool named = data->class_name != NULL;
    return !named && end != name && !*end && index >= 0 && index < data->n_classes ? (int32_t)index
                                                                                   : -1;
}

/* ---- metric ---- */

/* Settings "auto" to a name. */
static void choose_metric(flip_data *data) {
    char *name = data->s.metric;
    size_t size = sizeof data->s.metric;
    if (strcmp(name, "auto") != 0) return;
    if (data->s.protocol == FLIP_PROTOCOL_LIVE)
        snprintf(name, size, "mrr"); /* ROLAND's */
    else if (data->s.task == FLIP_TASK_REGRESSION)
        snprintf(name, size, "rmse");
    else if (data->s.task == FLIP_TASK_LINK)
        snprintf(name, size, "map");
    else if (data->s.task == FLIP_TASK_EDGE && class_index(data, "-1") >= 0)
        snprintf(name, size, "f1:-1");
    else if (data->s.task == FLIP_TASK_NODE && data->n_classes == 2)
        snprintf(name, size, "auc");
    else
        snprintf(name, size, "accuracy");
}

flip_status flip_data_metric(flip_data *data) {
    static const char *const names[] = {"accuracy", "f1:", "macro-f1", "auc",
                                        "ap",       "map", "mrr",      "rmse"};
    static const char *const tasks[] = {"auto", "node", "edge", "link", "regression"};
    choose_metric(data);
    const char *name = data->s.metric;
    for (int k = 0; k < 8; k++)
        if (strncmp(name, names[k], k == FLIP_METRIC_F1 ? 3 : 16) == 0)
            data->metric.kind = (flip_metric_kind)k;
    bool numbers = data->s.task == FLIP_TASK_REGRESSION, links = data->s.task == FLIP_TASK_LINK;
    bool fits = numbers == (data->metric.kind == FLIP_METRIC_RMSE);
    if (links &&
        (data->metric.kind == FLIP_METRIC_F1 || data->metric.kind == FLIP_METRIC_MACRO_F1 ||
         data->metric.kind == FLIP_METRIC_ACCURACY))
        fits = false;
    if (!fits)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--metric %s does not measure --task %s (%s)", name,
                         tasks[data->s.task],
                         numbers ? "use rmse"
                         : links ? "use map, mrr, auc or ap"
                                 : "use accuracy");
    data->metric.filtered = data->s.mrr == 1;
    if (data->metric.kind != FLIP_METRIC_F1) return FLIP_OK;
    data->metric.class_index = class_index(data, name + 3);
    if (data->metric.class_index >= 0) return FLIP_OK;
    char known[256] = "";
    for (int32_t c = 0; data->class_name && c < data->n_classes && strlen(known) < 200; c++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%.40s", c ? ", " : "",
                 data->class_name[c]);
    if (!known[0]) snprintf(known, sizeof known, "0 to %d", data->n_classes - 1);
    return FLIP_FAIL(FLIP_ERROR_USAGE, "--metric %s: no class '%s'; '%s' has %s", name, name + 3,
                     data->s.graph, known);
}

/* ---- class weights ---- */

/* Classes that weights are given for: of link prediction, non-edges and true pairs. */
static int32_t weighted_classes(const flip_data *data) {
    return data->s.task == FLIP_TASK_LINK ? 2 : data->n_classes;
}

/* Training items of each class over all ranks [weighted_classes]. */
static flip_status count_classes(const flip_data *data, int64_t *counts) {
    const flip_pair_set *set = &data->set[FLIP_PART_TRAIN];
    if (data->s.task == FLIP_TASK_LINK) { /* pairs are drawn later, so many of each */
        counts[0] = data->n_items[FLIP_PART_TRAIN] * data->s.negatives;
        counts[1] = data->n_items[FLIP_PART_TRAIN];
        return FLIP_OK;
    }
    if (data->s.task == FLIP_TASK_EDGE)
        for (int64_t i = 0; i < set->n; i++)
            counts[set->label[i]]++;
    else
        for (int64_t i = 0; i < flip_data_rows(data); i++)
            if (data->mask[FLIP_PART_TRAIN][i]) counts[data->label[i]]++;
    return flip_comm_sum_i64(data->comm, counts, (size_t)data->n_classes);
}

static flip_status weights_by_frequency(flip_data *data) {
    int64_t *counts, all = 0;
    int32_t classes = weighted_classes(data);
    FLIP_TRY(flip_alloc_zero(&counts, (size_t)classes, sizeof *counts, "class counts"));
    flip_status status = count_classes(data, counts);
    for (int32_t c = 0; c < classes; c++)
        all += counts[c];
    for (int32_t c = 0; c < classes; c++)
        data->class_weight[c] = counts[c] ? (double)all / ((double)classes * (double)counts[c]) : 0;
    flip_free(counts);
    return status;
}

/* A word of warning where one class is nearly everything: its share is the accuracy of a model that
 * has learned nothing. */
static flip_status note_imbalance(flip_data *data) {
    int64_t *counts, all = 0;
    int32_t most = 0;
    bool classes = data->s.task == FLIP_TASK_NODE || data->s.task == FLIP_TASK_EDGE;
    if (!classes || data->metric.kind != FLIP_METRIC_ACCURACY) return FLIP_OK;
    FLIP_TRY(flip_alloc_zero(&counts, (size_t)data->n_classes, sizeof *counts, "class counts"));
    flip_status status = count_classes(data, counts);
    for (int32_t c = 0; c < data->n_classes; c++) {
        all += counts[c];
        if (counts[c] > counts[most]) most = c;
    }
    double share = all ? 100.0 * (double)counts[most] / (double)all : 0;
    char number[16];
    snprintf(number, sizeof number, "%d", most);
    if (share >= 80)
        flip_data_note(data,
                       "%.0f %% of the training items are of class %s: consider --class-weights "
                       "auto and --metric macro-f1 or f1:CLASS",
                       share, data->class_name ? data->class_name[most] : number);
    flip_free(counts);
    return status;
}

flip_status flip_data_class_weights(flip_data *data) {
    const char *text = data->s.class_weights;
    int32_t n = 0, classes = weighted_classes(data);
    if (strcmp(text, "none") == 0) return note_imbalance(data);
    if (data->s.task == FLIP_TASK_REGRESSION)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--class-weights belongs to --task node, edge or link");
    FLIP_TRY(
        flip_alloc_zero(&data->class_weight, (size_t)classes, sizeof(double), "class weights"));
    if (strcmp(text, "auto") == 0) return weights_by_frequency(data);
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (n < classes) data->class_weight[n] = strtod(at, NULL);
        n++;
    }
    if (n != classes && data->s.task == FLIP_TASK_LINK)
        return FLIP_FAIL(
            FLIP_ERROR_USAGE,
            "--class-weights %s gives %d weights; --task link has 2 classes, non-edges "
            "and true pairs",
            text, n);
    if (n != classes)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--class-weights %s gives %d weights; '%s' has %d classes", text, n,
                         data->s.graph, classes);
    double sum = 0;
    for (int32_t c = 0; c < n; c++)
        sum += data->class_weight[c];
    if (!(sum > 0))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--class-weights %s: at least one must be above 0",
                         text);
    return FLIP_OK;
}

/* ---- tasks ---- */

static bool has_labels(const flip_data *data) {
    const flip_reader *reader = flip_graph_reader(data->graph);
    return flip_reader_has(reader, "labels/class");
}

static flip_status choose_task(flip_data *data) {
    flip_settings *s = &data->s;
    const flip_graph_info *info = data->info;
    if (s->task == FLIP_TASK_AUTO) {
        s->task = has_labels(data)      ? FLIP_TASK_NODE
                  : info->edge_labels   ? FLIP_TASK_EDGE
                  : info->n_targets > 0 ? FLIP_TASK_REGRESSION
                                        : FLIP_TASK_LINK;
    }
    if (s->task == FLIP_TASK_NODE && !has_labels(data))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--task node: '%s' has no node labels; import it with --labels "
                         "L.npy or a --node-table%s",
                         s->graph, info->edge_labels ? ", or use --task edge" : "");
    if (s->task == FLIP_TASK_REGRESSION && info->n_targets == 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--task regression: '%s' has no targets; import it with --targets Y.npy",
                         s->graph);
    if (s->task == FLIP_TASK_EDGE && !info->edge_labels)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--task edge: '%s' has no classes of events; import it with --label sign "
                         "or --label COLUMN",
                         s->graph);
    if (s->protocol == FLIP_PROTOCOL_LIVE && (s->task != FLIP_TASK_LINK || data->steps == 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--protocol live predicts the links of the next step: it needs --task "
                         "link and a graph of several steps");
    if (s->negative_ends == FLIP_ENDS_AUTO)
        s->negative_ends =
            s->eval_negatives == FLIP_EVAL_ALL ? FLIP_ENDS_BOTH : FLIP_ENDS_DESTINATION;
    if (s->edge_head == FLIP_EDGE_HEAD_AUTO)
        s->edge_head = s->task == FLIP_TASK_LINK ? FLIP_EDGE_HEAD_DOT : FLIP_EDGE_HEAD_LINEAR;
    if (s->task == FLIP_TASK_EDGE && s->edge_head == FLIP_EDGE_HEAD_DOT)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--edge-head dot gives one score; --task edge needs "
                                           "linear or mlp");
    return FLIP_OK;
}

static flip_status node_labels(flip_data *data) {
    const int32_t *given = flip_graph_labels(data->graph);
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    data->n_classes = data->info->n_classes;
    if (data->n_classes < 2)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "--task node: the labels of '%s' name %d class%s, at least 2 are needed; "
                         "import it with --labels L.npy",
                         data->s.graph, data->n_classes, data->n_classes == 1 ? "" : "es");
    data->label_constant = data->steps > 1 && !data->info->labels_change;
    FLIP_TRY(flip_alloc(&data->label, n, sizeof *data->label, "labels"));
    for (size_t i = 0; i < n; i++)
        data->label[i] = given[data->info->labels_change ? i : i / (size_t)data->steps];
    return FLIP_OK;
}

static flip_status make_items(flip_data *data) {
    switch (data->s.task) {
    case FLIP_TASK_NODE:
        FLIP_TRY(node_labels(data));
        FLIP_TRY(read_class_names(data, "labels/names"));
        FLIP_TRY(flip_data_node_splits(data));
        break;
    case FLIP_TASK_REGRESSION:
        data->target = flip_graph_targets(data->graph);
        data->n_classes = data->info->n_targets;
        FLIP_TRY(flip_data_node_splits(data));
        break;
    case FLIP_TASK_EDGE:
        FLIP_TRY(flip_data_edge_pairs(data));
        FLIP_TRY(read_class_names(data, "events/label_names"));
        break;
    default:
        FLIP_TRY(flip_data_link_pairs(data));
    }
    return FLIP_OK;
}

flip_status flip_data_check_items(const flip_data *data) {
    static const char *const items[] = {[FLIP_TASK_NODE] = "labelled node",
                                        [FLIP_TASK_EDGE] = "labelled event",
                                        [FLIP_TASK_LINK] = "pair of two nodes",
                                        [FLIP_TASK_REGRESSION] = "target"};
    if (data->n_items[FLIP_PART_TRAIN] > 0) return FLIP_OK;
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "nothing to train on: the split of '%s' leaves no %s; give another by %s",
                     data->s.graph, items[data->s.task],
                     strcmp(data->s.split_steps, "auto") != 0 ? "--split-steps A,B,C"
                     : data->target                           ? "import --splits S.npy"
                                                              : "--split random:TRAIN/VALID");
}

/* ---- open and close ---- */

/* Steps after a+b+c are not read. */
static int32_t last_step_wanted(const flip_settings *s) {
    long long a, b, c;
    if (sscanf(s->split_steps, "%lld,%lld,%lld", &a, &b, &c) != 3) return 0;
    return (int32_t)(s->first_step + a + b + c);
}

static flip_status describe_steps(flip_data *data) {
    int32_t n_steps = flip_graph_file_steps(data->graph);
    if (n_steps > data->steps)
        flip_data_note(data, "steps after the first %d of %d are left out", data->steps, n_steps);
    if (flip_graph_partitioned_here(data->graph))
        flip_data_note(data,
                       "the file is not partitioned: partitioned in memory into %d parts "
                       "(flipbook partition does it once for all)",
                       data->info->n_parts);
    return FLIP_OK;
}

flip_status flip_protocol_check(const flip_settings *s) {
    bool nodes = s->distribute == FLIP_DISTRIBUTE_AUTO || s->distribute == FLIP_DISTRIBUTE_NODES;
    bool windows = s->protocol == FLIP_PROTOCOL_WINDOWS ||
                   (s->protocol == FLIP_PROTOCOL_AUTO && s->history > 0);
    bool live = s->protocol == FLIP_PROTOCOL_LIVE, pieces = windows || live;
    if (s->norm == FLIP_NORM_BATCH && (s->blocks > 1 || pieces))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--norm batch needs the statistics of all steps at once; use --blocks 1 "
                         "and --protocol whole, or --norm layer");
    if (s->history > 0 && !windows)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--history belongs to --protocol windows");
    if (windows && s->history == 0)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--protocol windows needs --history H, the steps before "
                                           "the last of a window");
    if (pieces && !nodes)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "sliding windows and live updates go step by step: ranks can only share "
                         "the nodes; use --distribute nodes");
    if (windows && s->model == FLIP_MODEL_TMGCN)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--model tmgcn averages over --window steps itself; it has no --history");
    if (pieces && s->blocks > 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--blocks belongs to --protocol whole");
    if (live && (s->checkpoint[0] || s->resume[0]))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--protocol live writes and takes no checkpoint: the states of nodes "
                         "belong to the parameters of all the steps before");
    if (live && (s->eval_negatives == FLIP_EVAL_GIVEN || strcmp(s->split_steps, "auto") != 0))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--protocol live scores every step and then learns it: it takes no "
                         "--split-steps and no pinned non-edges");
    if (pieces && s->features == FLIP_FEATURES_LEARNED)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--features learned belongs to --protocol whole");
    return FLIP_OK;
}

flip_status flip_data_open(flip_data *data, flip_comm *comm, const flip_settings *settings) {
    memset(data, 0, sizeof *data);
    data->s = *settings;
    data->comm = comm;
    FLIP_TRY(flip_protocol_check(settings));
    FLIP_TRY(flip_batch_check(settings));
    FLIP_TRY(flip_batch_settle(data));
    flip_graph_params params = {.parts_per_rank = (int32_t)settings->parts_per_rank,
                                .last_step = last_step_wanted(settings)};
    FLIP_TRY(flip_graph_open(&data->graph, comm, settings->graph, &params));
    data->info = flip_graph_about(data->graph);
    data->rank_first = flip_graph_rank_first(data->graph);
    data->original = flip_graph_original(data->graph);
    data->n_own = flip_graph_n_own(data->graph);
    data->steps = data->info->n_steps;
    data->events = *flip_graph_events(data->graph);
    if (data->s.structure) data->s.model = data->s.structure - 1; /* the choices' order */
    if (data->s.model <= FLIP_MODEL_GIN) data->s.structure = data->s.model + 1;
    if (flip_settings_batched(&data->s)) data->s.precompute = false; /* features stay in use */
    if (data->s.protocol == FLIP_PROTOCOL_AUTO)
        data->s.protocol = data->s.history > 0 ? FLIP_PROTOCOL_WINDOWS : FLIP_PROTOCOL_WHOLE;
    /* a step's states are made anew once it is learned: the band of kept features would not be */
    if (data->s.protocol == FLIP_PROTOCOL_LIVE && data->s.model == FLIP_MODEL_TMGCN)
        data->s.precompute = false;
    FLIP_TRY(describe_steps(data));
    FLIP_TRY(choose_task(data));
    FLIP_TRY(make_items(data));
    FLIP_TRY(flip_data_features(data));
    if (data->s.direction == 1) FLIP_TRY(flip_data_reverse(data));
    FLIP_TRY(flip_data_refine(data));
    FLIP_TRY(flip_data_packed_norm(data));
    return flip_data_metric(data);
}

flip_model_params flip_data_model_params(const flip_data *data) {
    const flip_settings *s = &data->s;
    bool pairs = s->task == FLIP_TASK_EDGE || s->task == FLIP_TASK_LINK;
    flip_model_params p = {.kind = (flip_model_kind)s->model,
                           .layers = (int32_t)s->layers,
                           .hidden = (int32_t)s->hidden,
                           .heads = (int32_t)s->heads,
                           .in_dim = data->in_dim,
                           .out_dim = pairs ? (int32_t)s->hidden : data->n_classes,
                           .pool = s->aggregator == 1,
                           .residual = s->residual,
                           .norm = (flip_norm)s->norm,
                           .dropout = s->dropout,
                           .input_dropout = s->input_dropout,
                           .window = (int32_t)s->window,
                           .temporal = (flip_temporal)s->temporal,
                           .cell = (flip_cell)s->cell,
                           .saved = (flip_saved)s->activations,
                           .precompute = s->precompute};
    p.output = flip_model_recurrent(&p) && !pairs;
    return p;
}

flip_adjacency_params flip_data_adjacency_params(const flip_data *data) {
    flip_model_params model = flip_data_model_params(data);
    flip_adjacency_kind kind = flip_model_adjacency(&model);
    if (kind == FLIP_ADJACENCY_GCN && data->s.gcn_norm == 1) kind = FLIP_ADJACENCY_GCN_INOUT;
    return (flip_adjacency_params){.kind = kind,
                                   .forward_only = flip_settings_batched(&data->s),
                                   .n_steps = data->steps,
                                   .edge_life = (int32_t)data->s.edge_life,
                                   .window = (int32_t)data->s.window};
}

/* The device's snapshots, from the events of this rank's rows and steps. */
static flip_status make_snapshots(flip_data *data) {
    flip_adjacency_params params = flip_data_adjacency_params(data);
    int32_t stay = params.edge_life + (params.window > 1 ? params.window : 1) - 2;
    if (data->layout->n_time > 1) {
        flip_events dealt;
        FLIP_TRY(flip_layout_deal_events(data->layout, &data->events, stay, &dealt));
        for (int k = 0; k < 4; k++)
            flip_free(data->events_owned[k]);
        data->events = dealt;
        data->events_owned[0] = (void *)dealt.dst;
        data->events_owned[1] = (void *)dealt.src;
        data->events_owned[2] = (void *)dealt.step;
        data->events_owned[3] = (void *)dealt.weight;
        flip_graph_release_events(data->graph);
    }
    return flip_snapshots_create(&data->snapshots, data->layout, &data->events, &params,
                                 (flip_transfer)data->s.transfer);
}

static flip_status make_adjacency(flip_data *data) {
    const flip_adjacency_params params = flip_data_adjacency_params(data);
    if (data->steps > 1) return make_snapshots(data);
    return flip_adjacency_create(&data->adjacency, data->comm, data->rank_first, data->original,
                                 &data->events, &params);
}

flip_status flip_data_adjacency(flip_data *data) {
    flip_meter *meter = flip_comm_meter(data->comm);
    FLIP_TRY(flip_alloc_zero(&data->halo_rows, (size_t)data->layout->n_blocks,
                             sizeof *data->halo_rows, "halo rows"));
    flip_meter_begin(meter, FLIP_STAGE_ADJACENCY);
    const flip_status status = make_adjacency(data);
    flip_meter_end(meter);
    FLIP_TRY(status);
    const flip_real *given = flip_graph_features(data->graph);
    if (given && data->fixed.values != given && data->moving.values != given)
        flip_graph_release_features(data->graph);
    if (data->steps > 1 && data->s.transfer != FLIP_TRANSFER_RESIDENT) return FLIP_OK;
    for (int k = 0; k < 4; k++) {
        flip_free(data->events_owned[k]);
        data->events_owned[k] = NULL;
    }
    data->events = (flip_events){0};
    flip_graph_release_events(data->graph);
    return FLIP_OK;
}

void flip_data_close(flip_data *data) {
    flip_adjacency_destroy(&data->adjacency);
    flip_snapshots_destroy(&data->snapshots);
    flip_free(data->halo_rows);
    flip_free(data->train_items);
    flip_layout_destroy(&data->layout);
    for (int p = 0; p < FLIP_PARTS; p++) {
        flip_pair_set_finish(&data->set[p]);
        flip_free(data->mask[p]);
    }
    for (int k = 0; k < 4; k++)
        flip_free(data->events_owned[k]);
    for (int32_t c = 0; data->class_name && c < data->n_classes; c++)
        flip_free(data->class_name[c]);
    flip_free(data->class_name);
    flip_links_finish(&data->links);
    flip_free(data->pairs);
    flip_free(data->label);
    flip_free(data->target_owned);
    flip_free(data->fixed.owned);
    flip_free(data->moving.owned);
    flip_free(data->set_out);
    flip_data_packed_finish(data);
    flip_free(data->packed_norm.mean);
    flip_free(data->class_weight);
    flip_free(data->refined);
    flip_free(data->refined_at);
    flip_graph_close(&data->graph);
    memset(data, 0, sizeof *data);
}
