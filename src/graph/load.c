/* flip_graph_open: a file's head, who owns what, and the loading of each part in turn. */
#include "graph/shard.h"

#include <flipbook/partition.h>

#include <malloc.h>
#include <string.h>

/* ---- the head ---- */

static flip_status attribute_or(const flip_reader *r, const char *name, int64_t absent,
                                int32_t *out) {
    int64_t value = absent;
    if (flip_reader_has_attribute(r, "/", name))
        FLIP_TRY(flip_reader_attribute_i64(r, "/", name, &value));
    return flip_narrow(out, value, name);
}

static flip_status head_error(const flip_reader *r, const char *what, int64_t found,
                              const char *expected) {
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': %s is %lld, expected %s; import it again",
                     flip_reader_path(r), what, (long long)found, expected);
}

/* First dimension of a dataset must be `rows`. */
static flip_status expect_rows(const flip_reader *r, const char *name, int64_t rows) {
    int64_t dims[3];
    FLIP_TRY(flip_reader_shape(r, name, dims, NULL));
    if (dims[0] != rows)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' %s has %lld rows, expected %lld; import it again",
                         flip_reader_path(r), name, (long long)dims[0], (long long)rows);
    return FLIP_OK;
}

static flip_status read_events_head(const flip_reader *r, flip_graph_info *info) {
    int64_t dims[3];
    FLIP_TRY(flip_reader_shape(r, "events/src", dims, NULL));
    info->n_events = dims[0];
    info->weighted = flip_reader_has(r, "events/weight");
    info->edge_labels = flip_reader_has(r, "events/label");
    FLIP_TRY(expect_rows(r, "events/indptr", info->n_nodes + 1));
    if (info->n_steps > 1) FLIP_TRY(expect_rows(r, "events/step", info->n_events));
    if (info->weighted) FLIP_TRY(expect_rows(r, "events/weight", info->n_events));
    if (info->edge_labels) FLIP_TRY(expect_rows(r, "events/label", info->n_events));
    return FLIP_OK;
}

static flip_status read_codes_head(flip_graph *g) {
    int64_t dims[3] = {0};
    FLIP_TRY(flip_container_codec(&g->codec, g->reader));
    FLIP_TRY(flip_container_refinement(&g->refinement_codec, g->reader, g->codec));
    g->info.features_change = flip_reader_has(g->reader, "features/node");
    if (g->info.features_change)
        FLIP_TRY(flip_reader_shape(g->reader, "features/node", dims, NULL));
    g->info.code_rows = g->info.features_change ? dims[0] : g->info.n_nodes;
    FLIP_TRY(expect_rows(g->reader, "features/codes", g->info.code_rows));
    if (g->info.features_change) FLIP_TRY(expect_rows(g->reader, "features/step", dims[0]));
    g->info.n_features = flip_codec_packing(g->codec)->dim;
    FLIP_TRY(flip_narrow(&g->info.code_bytes, (int64_t)flip_codec_stride(g->codec),
                         "bytes of a packed row"));
    if (!g->refinement_codec) return FLIP_OK;
    FLIP_TRY(expect_rows(g->reader, "features/refinement", g->info.n_nodes));
    return flip_narrow(&g->info.refinement_bytes, (int64_t)flip_codec_stride(g->refinement_codec),
                       "bytes of a packed row");
}

static flip_status read_features_head(flip_graph *g) {
    const flip_reader *r = g->reader;
    flip_graph_info *info = &g->info;
    int64_t dims[3] = {0}, width = 0;
    if (flip_reader_has(r, "features/codes") || flip_reader_has(r, "features/refinement"))
        return read_codes_head(g);
    info->features_sparse = flip_reader_has(r, "features/indptr");
    info->features_change = flip_reader_has(r, "features/node");
    if (info->features_sparse) {
        FLIP_TRY(expect_rows(r, "features/indptr", info->n_nodes + 1));
        FLIP_TRY(flip_reader_attribute_i64(r, "features", "n_columns", &width));
    } else if (flip_reader_has(r, "features/values")) {
        FLIP_TRY(flip_reader_shape(r, "features/values", dims, NULL));
        width = dims[1];
        if (info->features_change)
            FLIP_TRY(expect_rows(r, "features/node", dims[0]));
        else
            FLIP_TRY(expect_rows(r, "features/values", info->n_nodes));
        if (info->features_change) FLIP_TRY(expect_rows(r, "features/step", dims[0]));
    }
    return flip_narrow(&info->n_features, width, "the number of features");
}

static flip_status read_targets_head(const flip_reader *r, flip_graph *g) {
    int64_t dims[3];
    if (!flip_reader_has(r, "targets/values")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(r, "targets/values", dims, NULL));
    if (flip_reader_has(r, "targets/node")) {
        FLIP_TRY(expect_rows(r, "targets/node", dims[0]));
        FLIP_TRY(expect_rows(r, "targets/step", dims[0]));
        return flip_narrow(&g->info.n_targets, dims[1], "the number of targets");
    }
    FLIP_TRY(expect_rows(r, "targets/values", g->info.n_nodes));
    if (dims[1] != g->file_steps)
        return head_error(r, "the second dimension of targets/values", dims[1], "one a step");
    return flip_narrow(&g->info.n_targets, dims[2], "the number of targets");
}

static flip_status read_labels_head(const flip_reader *r, flip_graph_info *info) {
    int64_t dims[3];
    info->labels_change = flip_reader_has(r, "labels/node");
    if (flip_reader_has(r, "labels/class")) {
        FLIP_TRY(flip_reader_shape(r, "labels/class", dims, NULL));
        if (!info->labels_change) FLIP_TRY(expect_rows(r, "labels/class", info->n_nodes));
        if (info->labels_change) FLIP_TRY(expect_rows(r, "labels/node", dims[0]));
        if (info->labels_change) FLIP_TRY(expect_rows(r, "labels/step", dims[0]));
    }
    if (!flip_reader_has(r, "splits")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(r, "splits", dims, NULL));
    if (dims[1] != info->n_nodes)
        return head_error(r, "the second dimension of splits", dims[1], "the number of nodes");
    return flip_narrow(&info->n_splits, dims[0], "the number of splits");
}

static flip_status read_head(flip_graph *g, const flip_graph_params *params) {
    flip_graph_info *info = &g->info;
    const flip_reader *r = g->reader;
    int32_t undirected = 0;
    int64_t dims[3] = {0};
    FLIP_TRY(flip_reader_attribute_i64(r, "/", "n_nodes", &info->n_nodes));
    if (info->n_nodes < 0) return head_error(r, "n_nodes", info->n_nodes, "0 or more");
    FLIP_TRY(attribute_or(r, "n_steps", 1, &g->file_steps));
    FLIP_TRY(attribute_or(r, "n_classes", 0, &info->n_classes));
    FLIP_TRY(attribute_or(r, "undirected", 0, &undirected));
    if (g->file_steps < 1) return head_error(r, "n_steps", g->file_steps, "1 or more");
    if (params->last_step < 0 || params->last_step > g->file_steps)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' has %d step%s; the first %d were asked for; --first-step and "
                         "--split-steps (simulate: --steps) may sum to %d",
                         flip_reader_path(r), g->file_steps, g->file_steps == 1 ? "" : "s",
                         params->last_step, g->file_steps);
    info->n_steps = params->last_step > 0 ? params->last_step : g->file_steps;
    info->undirected = undirected != 0;
    FLIP_TRY(read_events_head(r, info));
    FLIP_TRY(read_features_head(g));
    FLIP_TRY(read_targets_head(r, g));
    FLIP_TRY(read_labels_head(r, info));
    if (!flip_reader_has(r, "parts/first")) return FLIP_OK;
    FLIP_TRY(flip_reader_shape(r, "parts/first", dims, NULL));
    if (dims[0] < 2) return head_error(r, "rows of parts/first", dims[0], "2 or more");
    return flip_narrow(&info->n_parts, dims[0] - 1, "the number of parts");
}

/* ---- who owns what ---- */

/* Ranges of the file's own parts. */
static flip_status own_parts(flip_loader *l) {
    flip_graph *g = l->g;
    int32_t n = g->info.n_parts;
    flip_gid *first;
    FLIP_TRY(flip_alloc(&first, (size_t)n + 1, sizeof *first, "parts"));
    g->part_first = first;
    flip_status status =
        flip_reader_rows(l->reader, "parts/first", FLIP_TYPE_I64, 0, (int64_t)n + 1, first);
    for (int32_t k = 0; status == FLIP_OK && k < n; k++)
        if (first[0] != 0 || first[k + 1] < first[k] || first[n] != l->n_nodes)
            status = head_error(l->reader, "a bound of parts/first", first[k + 1],
                                "ascending from 0 to the number of nodes; partition it again");
    if (status == FLIP_OK) flip_partition_ranks(n, first, flip_comm_size(g->comm), g->rank_first);
    return status;
}

/* From order[new] = old to new_id[old]. */
static flip_status invert(flip_loader *l, const flip_partition *p) {
    FLIP_TRY(flip_alloc(&l->new_id, (size_t)l->n_nodes, sizeof *l->new_id, "new node ids"));
    for (int64_t i = 0; i < l->n_nodes; i++)
        l->new_id[p->order[i]] = i;
    flip_graph *g = l->g;
    flip_gid first = g->rank_first[flip_comm_rank(g->comm)];
    int64_t n = g->rank_first[flip_comm_rank(g->comm) + 1] - first;
    FLIP_TRY(flip_alloc(&g->file_row, (size_t)n, sizeof *g->file_row, "rows of own nodes"));
    memcpy(g->file_row, p->order + first, (size_t)n * sizeof *g->file_row);
    return FLIP_OK;
}

static flip_status partition_here(flip_loader *l, const flip_graph_params *params) {
    flip_graph *g = l->g;
    flip_comm *comm = g->comm;
    flip_partition *p = NULL;
    flip_partition_params how = FLIP_PARTITION_DEFAULTS;
    int64_t wish =
        (int64_t)flip_comm_size(comm) * (params->parts_per_rank > 0 ? params->parts_per_rank : 4);
    if (wish > l->n_nodes) wish = l->n_nodes > 0 ? l->n_nodes : 1;
    FLIP_TRY(flip_narrow(&how.n_parts, wish, "the number of parts"));
    how.seed = params->seed;
    flip_meter_begin(flip_comm_meter(comm), FLIP_STAGE_PARTITION);
    flip_status status = flip_partition_compute(&p, comm, l->reader, &how);
    flip_meter_end(flip_comm_meter(comm));
    if (status != FLIP_OK) return status;
    flip_partition_ranks(p->n_parts, p->part_first, flip_comm_size(comm), g->rank_first);
    g->info.n_parts = p->n_parts;
    g->partitioned_here = true;
    g->part_first = p->part_first;
    p->part_first = NULL;
    status = flip_comm_agree(comm, invert(l, p));
    flip_partition_destroy(&p);
    return status;
}

static flip_status choose_owners(flip_loader *l, const flip_graph_params *params) {
    flip_graph *g = l->g;
    int size = flip_comm_size(g->comm), rank = flip_comm_rank(g->comm);
    l->in_place = g->info.n_parts > 0 || size == 1;
    flip_status status =
        flip_alloc_zero(&g->rank_first, (size_t)size + 1, sizeof *g->rank_first, "ranks' nodes");
    if (status == FLIP_OK && g->info.n_parts > 0) status = own_parts(l);
    FLIP_TRY(flip_comm_agree(g->comm, status));
    if (g->info.n_parts == 0 && size == 1) g->rank_first[1] = l->n_nodes;
    if (!l->in_place) FLIP_TRY(partition_here(l, params));
    g->first = g->rank_first[rank];
    status =
        flip_narrow(&g->n_own, g->rank_first[rank + 1] - g->first, "the number of nodes of a rank");
    return flip_comm_agree(g->comm, status);
}

/* ---- memory ---- */

size_t flip_graph_bytes(const flip_graph_info *info, int64_t n_own, int64_t n_events) {
    const size_t own = (size_t)n_own, events = (size_t)n_events, steps = (size_t)info->n_steps;
    size_t event = 2 * sizeof(flip_gid) + (steps > 1 ? sizeof(int32_t) : 0) +
                   (info->weighted ? sizeof(double) : 0) +
                   (info->edge_labels ? sizeof(int32_t) : 0);
    size_t features = (size_t)info->n_features * (info->features_change ? steps : 1);
    double rows = info->n_nodes > 0 ? (double)info->code_rows / (double)info->n_nodes : 0;
    int32_t row = info->code_bytes + info->refinement_bytes + (info->features_change ? 12 : 0);
    size_t packed = (size_t)(row * rows);
    size_t labels = info->n_classes > 0 ? (info->labels_change ? steps : 1) : 0;
    size_t node = sizeof(int64_t) + (packed > 0 ? packed : features * sizeof(flip_real)) +
                  labels * sizeof(int32_t) + (size_t)info->n_targets * steps * sizeof(flip_real) +
                  (size_t)info->n_splits;
    return events * event + own * node;
}

/* Said before anything large is allocated; a rank's share of events is taken as equal. */
static flip_status check_memory(const flip_graph *g) {
    int size = flip_comm_size(g->comm);
    size_t needed = flip_graph_bytes(&g->info, g->n_own, g->info.n_events / size + 1);
    size_t share = flip_memory_available() / (size_t)flip_comm_node_size(g->comm);
    if (needed > share)
        return FLIP_FAIL(FLIP_ERROR_MEMORY,
                         "'%s' needs %.1f MB on rank %d, its share of this machine is %.1f MB; use "
                         "more machines, or fewer steps",
                         flip_reader_path(g->reader), (double)needed / 1e6, flip_comm_rank(g->comm),
                         (double)share / 1e6);
    return FLIP_OK;
}

/* ---- open and close ---- */

static flip_status load(flip_loader *l, const flip_graph_params *params) {
    flip_graph *g = l->g;
    FLIP_TRY(flip_comm_agree(g->comm, read_head(g, params)));
    l->n_nodes = g->info.n_nodes;
    FLIP_TRY(choose_owners(l, params));
    FLIP_TRY(flip_comm_agree(g->comm, check_memory(g)));
    FLIP_TRY(flip_load_events(l));
    FLIP_TRY(flip_load_rows(l));
    flip_free(l->new_id);
    l->new_id = NULL;
    return flip_graph_take_fingerprint(g);
}

flip_status flip_graph_open(flip_graph **graph, flip_comm *comm, const char *path,
                            const flip_graph_params *params) {
    static const flip_graph_params defaults = {0};
    flip_status status;
    flip_graph *g = NULL;
    *graph = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_alloc_zero(&g, 1, sizeof *g, "graph")));
    g->comm = comm;
    flip_meter_begin(flip_comm_meter(comm), FLIP_STAGE_LOAD);
    flip_loader loader = {.g = g};
    status = flip_reader_open(&g->reader, comm, path, "graph");
    loader.reader = g->reader;
    if (status == FLIP_OK) status = load(&loader, params ? params : &defaults);
    flip_free(loader.new_id);
    flip_meter_end(flip_comm_meter(comm));
    if (status == FLIP_OK) *graph = g;
done:
    if (status != FLIP_OK) flip_graph_close(&g);
    malloc_trim(0); /* windows and slabs back to the system, so that peaks do not add up */
    return status;
}

void flip_graph_release_events(flip_graph *g) {
    flip_free(g->dst);
    flip_free(g->src);
    flip_free(g->step);
    flip_free(g->weight);
    flip_free(g->event_label);
    g->dst = g->src = NULL;
    g->step = g->event_label = NULL;
    g->weight = NULL;
    g->events = (flip_events){0};
    malloc_trim(0);
}

void flip_graph_release_features(flip_graph *g) {
    flip_free(g->features);
    flip_free(g->codes);
    flip_free(g->refinement);
    flip_free(g->code_first);
    flip_free(g->code_step);
    g->features = NULL;
    g->codes = g->refinement = NULL;
    g->code_first = NULL;
    g->code_step = NULL;
    malloc_trim(0);
}

void flip_graph_close(flip_graph **graph) {
    flip_graph *g = *graph;
    if (!g) return;
    flip_graph_release_events(g);
    flip_graph_release_features(g);
    flip_reader_close(&g->reader);
    flip_free(g->rank_first);
    flip_free(g->part_first);
    flip_free(g->file_row);
    flip_free(g->original);
    flip_codec_destroy(&g->codec);
    flip_codec_destroy(&g->refinement_codec);
    flip_free(g->labels);
    flip_free(g->targets);
    flip_free(g->splits);
    flip_free(g->number);
    flip_free(g->name_at);
    flip_free(g->name_size);
    flip_free(g->name);
    flip_free(g);
    *graph = NULL;
}
