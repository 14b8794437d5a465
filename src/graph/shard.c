/* What a shard answers: its arrays, degrees, names. */
#include "graph/internal.h"
#include "graph/shard.h"

#include <stdio.h>
#include <string.h>

const flip_graph_info *flip_graph_about(const flip_graph *graph) {
    return &graph->info;
}
const flip_gid *flip_graph_part_first(const flip_graph *graph, int32_t *n) {
    *n = graph->part_first ? graph->info.n_parts : 1;
    return graph->part_first ? graph->part_first : graph->rank_first; /* one rank */
}
bool flip_graph_partitioned_here(const flip_graph *graph) {
    return graph->partitioned_here;
}
const flip_reader *flip_graph_reader(const flip_graph *graph) {
    return graph->reader;
}
int32_t flip_graph_file_steps(const flip_graph *graph) {
    return graph->file_steps;
}
uint64_t flip_graph_fingerprint(const flip_graph *graph) {
    return graph->fingerprint;
}
const flip_gid *flip_graph_rank_first(const flip_graph *graph) {
    return graph->rank_first;
}
int32_t flip_graph_n_own(const flip_graph *graph) {
    return graph->n_own;
}
const int64_t *flip_graph_original(const flip_graph *graph) {
    return graph->original;
}
const flip_events *flip_graph_events(const flip_graph *graph) {
    return &graph->events;
}
const int32_t *flip_graph_event_labels(const flip_graph *graph) {
    return graph->event_label;
}
const int64_t *flip_graph_code_first(const flip_graph *graph) {
    return graph->code_first;
}

const int32_t *flip_graph_code_steps(const flip_graph *graph) {
    return graph->code_step;
}

int64_t flip_runs_last(const int32_t *from, int64_t low, int64_t high, int32_t step) {
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (from[middle] <= step)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int64_t flip_runs_row(const flip_runs *runs, int64_t node, int32_t step) {
    if (!runs->first) return node;
    return flip_runs_last(runs->step, runs->first[node], runs->first[node + 1], step);
}

const uint8_t *flip_graph_codes(const flip_graph *graph) {
    return graph->codes;
}

const flip_codec *flip_graph_codec(const flip_graph *graph) {
    return graph->codec;
}

const uint8_t *flip_graph_refinement(const flip_graph *graph) {
    return graph->refinement;
}

const flip_codec *flip_graph_refinement_codec(const flip_graph *graph) {
    return graph->refinement_codec;
}

const flip_real *flip_graph_features(const flip_graph *graph) {
    return graph->features;
}
const int32_t *flip_graph_labels(const flip_graph *graph) {
    return graph->labels;
}
const flip_real *flip_graph_targets(const flip_graph *graph) {
    return graph->targets;
}
const int8_t *flip_graph_split(const flip_graph *graph, int32_t k) {
    if (!graph->splits || k < 0 || k >= graph->info.n_splits) return NULL;
    return graph->splits + (size_t)k * (size_t)graph->n_own;
}

/* ---- sources ---- */

/* Column of every event's source: own, or n_own + number of the remote node. */
static flip_status number_sources(const flip_graph *g, flip_gid_map *remote, int32_t *column) {
    for (int64_t i = 0; i < g->events.n; i++) {
        int64_t local = g->src[i] - g->first;
        int32_t number;
        if ((uint64_t)local >= (uint64_t)g->n_own) {
            FLIP_TRY(flip_gid_map_add(remote, g->src[i], &number));
            FLIP_TRY(flip_narrow(&number, (int64_t)g->n_own + number, "own and remote nodes"));
            local = number;
        }
        column[i] = (int32_t)local;
    }
    return FLIP_OK;
}

/* Ids of the remote nodes in order of arrival. */
static flip_status list_remote(const flip_gid_map *remote, flip_gid **need) {
    FLIP_TRY(flip_alloc(need, (size_t)remote->n, sizeof **need, "remote nodes"));
    for (size_t i = 0; i <= remote->mask; i++)
        if (remote->value[i] >= 0) (*need)[remote->value[i]] = remote->key[i];
    return FLIP_OK;
}

flip_status flip_graph_sources(const flip_graph *g, flip_plan **plan, int32_t **column,
                               int32_t *n_halo) {
    flip_status status;
    flip_gid_map remote = {0};
    flip_gid *need = NULL;
    *plan = NULL;
    *column = NULL;
    status = flip_gid_map_init(&remote, 0);
    if (status == FLIP_OK)
        status = flip_alloc(column, (size_t)g->events.n, sizeof **column, "sources of events");
    if (status == FLIP_OK) status = number_sources(g, &remote, *column);
    if (status == FLIP_OK) status = list_remote(&remote, &need);
    *n_halo = remote.n;
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, status));
    if (flip_comm_size(g->comm) > 1)
        status = flip_plan_create(plan, g->comm, g->rank_first, need, remote.n, FLIP_BYTES_HALO);
done:
    flip_free(need);
    flip_gid_map_finish(&remote);
    if (status != FLIP_OK) {
        flip_free(*column);
        *column = NULL;
    }
    return status;
}

/* ---- degrees ---- */

/* Events alive: counts of each step, summed over the life. out [n_own, steps, 2], which: 0 in. */
static void spread(const flip_graph *g, double *counts, int32_t life, int which, double *scratch,
                   flip_real *out) {
    const size_t steps = (size_t)g->info.n_steps;
    for (size_t v = 0; v < (size_t)g->n_own; v++) {
        flip_window_sum(counts + v * steps, g->info.n_steps, 0, life, scratch);
        for (size_t t = 0; t < steps; t++)
            out[(v * steps + t) * 2 + (size_t)which] = (flip_real)counts[v * steps + t];
    }
}

flip_status flip_graph_degrees(const flip_graph *graph, const flip_events *events,
                               int32_t edge_life, flip_real *out) {
    flip_status status;
    flip_graph view = *graph; /* the same nodes with other events */
    const flip_graph *g = &view;
    if (events) {
        view.events = *events;
        view.dst = (flip_gid *)events->dst;
        view.src = (flip_gid *)events->src;
        view.step = (int32_t *)events->step;
    }
    flip_plan *plan = NULL;
    int32_t *column = NULL, n_halo;
    double *counts = NULL, *scratch = NULL;
    const size_t steps = (size_t)g->info.n_steps;
    int32_t life = edge_life < 1 ? 1 : edge_life > g->info.n_steps ? g->info.n_steps : edge_life;
    FLIP_TRY_GOTO(flip_graph_sources(g, &plan, &column, &n_halo));
    const size_t n = ((size_t)g->n_own + (size_t)n_halo) * steps;
    status = flip_alloc_zero(&counts, n, sizeof *counts, "degrees");
    if (status == FLIP_OK) status = flip_alloc(&scratch, 2 * steps, sizeof *scratch, "degrees");
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, status));
    for (int64_t i = 0; i < g->events.n; i++)
        counts[(size_t)column[i] * steps + (g->step ? (size_t)g->step[i] : 0)] += 1;
    if (plan)
        FLIP_TRY_GOTO(flip_plan_reduce_f64(plan, counts + (size_t)g->n_own * steps, steps, counts));
    spread(g, counts, life, 1, scratch, out);
    memset(counts, 0, (size_t)g->n_own * steps * sizeof *counts);
    for (int64_t i = 0; i < g->events.n; i++)
        counts[(size_t)(g->dst[i] - g->first) * steps + (g->step ? (size_t)g->step[i] : 0)] += 1;
    spread(g, counts, life, 0, scratch, out);
done:
    flip_plan_destroy(&plan);
    flip_free(column);
    flip_free(counts);
    flip_free(scratch);
    return status;
}

/* ---- names ---- */

/* Row of the file -> own node, for rows first … first+n-1; -1 for others' rows. Own rows of a
 * partition made in memory are scattered over the file, so each rank scans it once. */
static int64_t file_row(const flip_graph *g, int32_t v) {
    return g->file_row ? g->file_row[v] : g->first + v;
}

/* order [n_own]: own nodes by ascending row of the file. */
static flip_status read_numbers(flip_graph *g, const int32_t *order) {
    const int64_t most = flip_window_rows(sizeof(int64_t));
    int64_t *window, from = 0, until = 0;
    FLIP_TRY(flip_alloc(&g->number, (size_t)g->n_own, sizeof *g->number, "names of nodes"));
    FLIP_TRY(flip_alloc(&window, (size_t)most, sizeof *window, "names of nodes"));
    flip_status status = FLIP_OK;
    for (int32_t i = 0; i < g->n_own && status == FLIP_OK; i++) {
        int64_t row = file_row(g, order[i]);
        if (row >= until) {
            from = row;
            until = g->info.n_nodes - row < most ? g->info.n_nodes : row + most;
            status = flip_reader_rows(g->reader, "nodes/number", FLIP_TYPE_I64, from, until - from,
                                      window);
        }
        if (status == FLIP_OK) g->number[order[i]] = window[row - from];
    }
    flip_free(window);
    return status;
}

/* Where the text of each own node's name begins and how long it is; text itself follows. */
static flip_status read_name_pointers(flip_graph *g, const int32_t *order, int64_t *at) {
    const int64_t most = flip_window_rows(sizeof(int64_t));
    int64_t *window, from = 0, until = 0;
    FLIP_TRY(flip_alloc(&window, (size_t)most + 1, sizeof *window, "names of nodes"));
    flip_status status = FLIP_OK;
    for (int32_t i = 0; i < g->n_own && status == FLIP_OK; i++) {
        int64_t row = file_row(g, order[i]);
        if (row >= until) {
            from = row;
            until = g->info.n_nodes - row < most ? g->info.n_nodes : row + most;
            status = flip_reader_rows(g->reader, "nodes/name_ptr", FLIP_TYPE_I64, from,
                                      until - from + 1, window);
            if (status != FLIP_OK) break;
        }
        at[order[i]] = window[row - from];
        status = flip_narrow(&g->name_size[order[i]], window[row - from + 1] - window[row - from],
                             "the length of a name");
        if (status == FLIP_OK && g->name_size[order[i]] < 0)
            status = FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' nodes/name_ptr falls; import it again",
                               flip_reader_path(g->reader));
    }
    flip_free(window);
    return status;
}

/* Text of own nodes, read in runs of neighbouring names of up to a window. */
static flip_status read_name_text(flip_graph *g, const int32_t *order, const int64_t *at) {
    const int64_t most = flip_window_rows(1), gap = most / 1024; /* bytes */
    char *window = NULL;
    flip_status status = FLIP_OK;
    for (int32_t i = 0, j; i < g->n_own && status == FLIP_OK; i = j) {
        int64_t begin = at[order[i]], end = begin + g->name_size[order[i]];
        for (j = i + 1; j < g->n_own; j++) {
            int64_t next = at[order[j]];
            if (next < end || next - end > gap || next + g->name_size[order[j]] - begin > most)
                break;
            end = next + g->name_size[order[j]];
        }
        flip_free(window);
        FLIP_TRY(flip_alloc(&window, (size_t)(end - begin), 1, "names of nodes"));
        status =
            flip_reader_rows(g->reader, "nodes/name", FLIP_TYPE_U8, begin, end - begin, window);
        for (int32_t k = i; status == FLIP_OK && k < j; k++)
            memcpy(g->name + g->name_at[order[k]], window + (at[order[k]] - begin),
                   (size_t)g->name_size[order[k]]);
    }
    flip_free(window);
    return status;
}

static flip_status read_texts(flip_graph *g, const int32_t *order) {
    flip_status status;
    int64_t *at = NULL, bytes = 0;
    const size_t n = (size_t)g->n_own;
    FLIP_TRY_GOTO(flip_alloc(&at, n, sizeof *at, "names of nodes"));
    FLIP_TRY_GOTO(flip_alloc(&g->name_at, n, sizeof *g->name_at, "names of nodes"));
    FLIP_TRY_GOTO(flip_alloc(&g->name_size, n, sizeof *g->name_size, "names of nodes"));
    FLIP_TRY_GOTO(read_name_pointers(g, order, at));
    for (size_t v = 0; v < n; v++) {
        g->name_at[v] = bytes;
        bytes += g->name_size[v];
    }
    FLIP_TRY_GOTO(flip_alloc(&g->name, (size_t)bytes, 1, "names of nodes"));
    status = read_name_text(g, order, at);
done:
    flip_free(at);
    return status;
}

static flip_status read_names(flip_graph *g) {
    flip_status status;
    int32_t *order = NULL;
    int64_t *key = NULL;
    const size_t n = (size_t)g->n_own;
    FLIP_TRY_GOTO(flip_alloc(&order, n, sizeof *order, "names of nodes"));
    FLIP_TRY_GOTO(flip_alloc(&key, n, sizeof *key, "names of nodes"));
    for (int32_t v = 0; v < g->n_own; v++)
        key[v] = file_row(g, v);
    FLIP_TRY_GOTO(flip_order_by_key(order, key, g->n_own));
    if (flip_reader_has(g->reader, "nodes/number"))
        status = read_numbers(g, order);
    else if (flip_reader_has(g->reader, "nodes/name_ptr"))
        status = read_texts(g, order);
    g->names_read = status == FLIP_OK;
done:
    flip_free(order);
    flip_free(key);
    return status;
}

flip_status flip_graph_node_name(const flip_graph *graph, int32_t own, char *buffer, size_t size) {
    if (own < 0 || own >= graph->n_own)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "node %d of %d own nodes", own, graph->n_own);
    if (!graph->names_read) FLIP_TRY(read_names((flip_graph *)graph)); /* a cache, not content */
    int n = graph->name
                ? snprintf(buffer, size, "%.*s", (int)graph->name_size[own],
                           graph->name + graph->name_at[own])
                : snprintf(buffer, size, "%lld",
                           (long long)(graph->number ? graph->number[own] : graph->original[own]));
    if (n < 0 || (size_t)n >= size)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "the name of node %d has %d bytes, %zu fit", own, n,
                         size);
    return FLIP_OK;
}

flip_status flip_graph_name_size(const flip_graph *graph, size_t *size) {
    *size = 24; /* any number */
    if (!graph->names_read) FLIP_TRY(read_names((flip_graph *)graph));
    for (int32_t v = 0; graph->name && v < graph->n_own; v++)
        if ((size_t)graph->name_size[v] + 1 > *size) *size = (size_t)graph->name_size[v] + 1;
    return FLIP_OK;
}
