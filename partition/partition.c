/* From a graph to a numbering: a method gives each node a part, then parts and nodes get numbers.
 */
#include "partition/internal.h"
#include "partition/metis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const method_names[] = {"metis", "ldg", "fennel", "block", "random", "local"};

const char *flip_partition_method_name(flip_partition_method method) {
    return method_names[method];
}

size_t flip_partition_bytes(int64_t n_nodes, int64_t n_entries, const flip_partition_params *p) {
    int constraints = p->balance_nodes + p->balance_edges + p->balance_train;
    if (p->method != FLIP_PARTITION_METIS) return (size_t)n_nodes * (4 + 8 * (size_t)constraints);
    /* adjacency and weights, beside the entries they are unpacked from */
    size_t graph = (size_t)n_entries * 16 + (size_t)n_nodes * (8 + 8 * (size_t)constraints);
    return graph + flip_metis_bytes(n_nodes, n_entries, constraints);
}

void flip_partition_destroy(flip_partition **partition) {
    if (!*partition) return;
    flip_free((*partition)->order);
    flip_free((*partition)->part_first);
    flip_free(*partition);
    *partition = NULL;
}

static flip_status check(const flip_partition_params *p) {
    if (p->n_parts < 1 || p->n_parts > FLIP_PARTITION_MOST_PARTS)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%d parts asked for; it must be from 1 to %d",
                         p->n_parts, FLIP_PARTITION_MOST_PARTS);
    if (!(p->imbalance >= 1.001 && p->imbalance <= 1000))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "imbalance %g; it must be from 1.001 to 1000",
                         p->imbalance);
    if (p->method > FLIP_PARTITION_RANDOM)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "%s is no method to begin with",
                         flip_partition_method_name(p->method));
    if (p->volume && p->method != FLIP_PARTITION_METIS)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "only METIS knows the objective volume, not %s",
                         flip_partition_method_name(p->method));
    return FLIP_OK;
}

/* ---- a part for each node ---------------------------------------------------------------------
 */

/* METIS on rank 0. *reason tells what was mended; a status other than FLIP_OK (without a recorded
 * error) means that another method must do it. */
static flip_status run_metis(int32_t *part, const flip_union *g, const flip_reader *reader,
                             const flip_partition_params *p, char *reason) {
    flip_loads loads = {0};
    flip_status status = flip_loads_read(&loads, reader, g->n, p);
    if (status != FLIP_OK) {
        snprintf(reason, FLIP_METIS_REASON, "%s", flip_error_message());
        flip_error_clear();
        return status;
    }
    flip_metis_graph graph = {.n = g->n,
                              .ptr = g->ptr,
                              .adj = g->adj,
                              .weight = g->weight,
                              .n_constraints = loads.n,
                              .load = {loads.load[0], loads.load[1], loads.load[2]}};
    flip_metis_params params = {
        .n_parts = p->n_parts, .volume = p->volume, .imbalance = p->imbalance, .seed = p->seed};
    status = flip_metis_partition(part, &graph, &params, reason);
    flip_loads_free(&loads);
    return status;
}

/* Collective: METIS, or the reason why it cannot be. part is filled on rank 0. */
static flip_status try_metis(int32_t *part, bool *done, flip_comm *comm, const flip_reader *reader,
                             const flip_partition_params *p, char reason[192]) {
    flip_union graph;
    char why[FLIP_METIS_REASON] = "";
    flip_status status = flip_union_build(&graph, comm, reader, p, why);
    if (status == FLIP_ERROR_MEMORY) { /* on every rank alike */
        snprintf(why, sizeof why, "%s", flip_error_message());
        flip_error_clear();
    } else if (status != FLIP_OK) {
        return status;
    }
    int64_t ok = 0;
    if (!why[0] && flip_comm_rank(comm) == 0)
        ok = run_metis(part, &graph, reader, p, why) == FLIP_OK;
    flip_union_free(&graph);
    FLIP_TRY(flip_comm_broadcast(comm, &ok, sizeof ok, 0));
    FLIP_TRY(flip_comm_broadcast(comm, why, sizeof why, 0));
    *done = ok;
    snprintf(reason, 192, "%s%s", ok ? "" : "not METIS: ", why);
    if (ok) snprintf(reason, 192, "%s", why);
    return FLIP_OK;
}

flip_status flip_partition_choose(int32_t *part, flip_partition *out, flip_comm *comm,
                                  const flip_reader *reader, const flip_partition_params *p) {
    flip_partition_params now = *p;
    flip_status status = FLIP_OK;
    int64_t n = out->n_nodes;
    if (p->n_parts == 1 || n <= p->n_parts) {
        if (p->n_parts > 1) {
            now.method = FLIP_PARTITION_BLOCK;
            snprintf(out->reason, sizeof out->reason, "%lld nodes for %d parts", (long long)n,
                     p->n_parts);
        }
        out->method = now.method;
        for (int64_t v = 0; v < n; v++)
            part[v] = p->n_parts == 1 ? 0 : (int32_t)v;
        return FLIP_OK;
    }
    if (now.method == FLIP_PARTITION_METIS) {
        bool done = false;
        FLIP_TRY(try_metis(part, &done, comm, reader, p, out->reason));
        if (!done) now.method = FLIP_PARTITION_LDG;
        out->method = now.method;
        if (done) return FLIP_OK;
    }
    out->method = now.method;
    if (flip_comm_rank(comm) == 0) {
        if (now.method == FLIP_PARTITION_BLOCK)
            flip_partition_block(part, n, p->n_parts);
        else if (now.method == FLIP_PARTITION_RANDOM)
            flip_partition_random(part, n, p->n_parts, p->seed);
        else
            status = flip_partition_stream(part, reader, n, &now);
        if (status == FLIP_OK) {
            int64_t moved = flip_partition_fill_empty(part, n, p->n_parts, NULL);
            size_t used = strlen(out->reason);
            if (moved > 0)
                snprintf(out->reason + used, sizeof out->reason - used,
                         "%s%lld empty parts filled with a node each", used ? "; " : "",
                         (long long)moved);
        }
    }
    status = flip_comm_agree(comm, status);
    if (status == FLIP_OK) status = flip_comm_broadcast(comm, out->reason, sizeof out->reason, 0);
    return status;
}

/* ---- what the events say of the parts ---------------------------------------------------------
 */

typedef struct survey {
    int64_t cut;
    int64_t *degree;      /* [n_nodes] events in and out */
    int64_t *part_events; /* [n_parts] in-events */
    int64_t *graph;       /* [n_parts, n_parts] events between parts, or NULL */
} survey;

static void survey_block(survey *s, const flip_scan *scan, const int32_t *part, int32_t n_parts) {
    for (int64_t i = 0; i < scan->n_rows; i++) {
        int64_t v = scan->first + i, begin = scan->ptr[i], end = scan->ptr[i + 1];
        int32_t p = part[v];
        s->degree[v] += end - begin;
        s->part_events[p] += end - begin;
        for (int64_t e = begin; e < end; e++) {
            int64_t u = scan->src[e];
            int32_t q = part[u];
            s->degree[u]++;
            if (p == q) continue;
            s->cut++;
            if (!s->graph) continue;
            s->graph[(int64_t)p * n_parts + q]++;
            s->graph[(int64_t)q * n_parts + p]++;
        }
    }
}

/* Collective: each rank its share of the events, then sums. */
static flip_status survey_events(survey *s, flip_comm *comm, const flip_reader *reader,
                                 const int32_t *part, int64_t n, int32_t n_parts) {
    flip_status status = FLIP_OK;
    flip_scan scan = {0};
    size_t parts = (size_t)n_parts;
    FLIP_TRY_GOTO(flip_alloc_zero(&s->degree, (size_t)n, sizeof *s->degree, "degrees"));
    FLIP_TRY_GOTO(flip_alloc_zero(&s->part_events, parts, sizeof *s->part_events, "part loads"));
    if (n_parts > 1 && n_parts <= FLIP_NUMBER_MOST)
        FLIP_TRY_GOTO(
            flip_alloc_zero(&s->graph, parts * parts, sizeof *s->graph, "the graph of parts"));
    FLIP_TRY_GOTO(flip_scan_open(&scan, reader, flip_comm_rank(comm), flip_comm_size(comm)));
    do {
        FLIP_TRY_GOTO(flip_scan_next(&scan));
        survey_block(s, &scan, part, n_parts);
    } while (scan.n_rows > 0);
done:
    flip_scan_close(&scan);
    FLIP_TRY(flip_comm_agree(comm, status));
    FLIP_TRY(flip_comm_sum_i64(comm, &s->cut, 1));
    FLIP_TRY(flip_comm_sum_i64(comm, s->degree, (size_t)n));
    FLIP_TRY(flip_comm_sum_i64(comm, s->part_events, parts));
    if (s->graph) FLIP_TRY(flip_comm_sum_i64(comm, s->graph, parts * parts));
    return FLIP_OK;
}

static void survey_free(survey *s) {
    flip_free(s->degree);
    flip_free(s->part_events);
    flip_free(s->graph);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

typedef struct ranked {
    int64_t degree;
    flip_gid node;
} ranked;

static int hot_first(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    if (a->degree != b->degree) return a->degree > b->degree ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

/* order: parts one behind the other, hot nodes first, ties by id. place[old part] = new part. */
static flip_status order_nodes(flip_partition *out, const int32_t *part, const int32_t *place,
                               const int64_t *degree) {
    flip_status status = FLIP_OK;
    int64_t n = out->n_nodes, *next = NULL;
    ranked *nodes = NULL;
    FLIP_TRY_GOTO(flip_alloc(&nodes, (size_t)n, sizeof *nodes, "nodes in order"));
    FLIP_TRY_GOTO(flip_alloc(&next, (size_t)out->n_parts, sizeof *next, "part places"));
    memset(out->part_first, 0, sizeof *out->part_first * ((size_t)out->n_parts + 1));
    for (int64_t v = 0; v < n; v++)
        out->part_first[place[part[v]] + 1]++;
    for (int32_t k = 0; k < out->n_parts; k++)
        out->part_first[k + 1] += out->part_first[k];
    memcpy(next, out->part_first, sizeof *next * (size_t)out->n_parts);
    for (int64_t v = 0; v < n; v++)
        nodes[next[place[part[v]]]++] = (ranked){degree[v], v};
    for (int32_t k = 0; k < out->n_parts; k++)
        qsort(nodes + out->part_first[k], (size_t)(out->part_first[k + 1] - out->part_first[k]),
              sizeof *nodes, hot_first);
    for (int64_t i = 0; i < n; i++)
        out->order[i] = nodes[i].node;
done:
    flip_free(nodes);
    flip_free(next);
    return status;
}

static void balances(flip_partition *out, const int64_t *part_events) {
    double nodes = 0, events = 0, k = out->n_parts;
    for (int32_t p = 0; p < out->n_parts; p++) {
        nodes = fmax(nodes, (double)(out->part_first[p + 1] - out->part_first[p]));
        events = fmax(events, (double)part_events[p]);
    }
    out->node_balance = out->n_nodes > 0 ? nodes * k / (double)out->n_nodes : 1;
    out->edge_balance = out->n_events > 0 ? events * k / (double)out->n_events : 1;
}

flip_status flip_partition_assign(flip_partition *out, flip_comm *comm, const flip_reader *reader,
                                  const int32_t *part, bool keep) {
    flip_status status = FLIP_OK;
    survey s = {0};
    int32_t *place = NULL;
    FLIP_TRY_GOTO(survey_events(&s, comm, reader, part, out->n_nodes, out->n_parts));
    FLIP_TRY_GOTO(flip_alloc(&place, (size_t)out->n_parts, sizeof *place, "part numbers"));
    for (int32_t k = 0; k < out->n_parts; k++)
        place[k] = k;
    if (s.graph && !keep) FLIP_TRY_GOTO(flip_partition_number(place, s.graph, out->n_parts));
    FLIP_TRY_GOTO(order_nodes(out, part, place, s.degree));
    out->cut = s.cut;
    balances(out, s.part_events);
done:
    survey_free(&s);
    flip_free(place);
    return flip_comm_agree(comm, status);
}

flip_status flip_partition_create(flip_partition **partition, flip_comm *comm,
                                  const flip_reader *graph, int32_t n_parts) {
    flip_status status = FLIP_OK;
    flip_partition *out = NULL;
    int64_t dims[3], events[3];
    *partition = NULL;
    FLIP_TRY(flip_reader_shape(graph, "events/indptr", dims, NULL));
    FLIP_TRY(flip_reader_shape(graph, "events/src", events, NULL));
    if (dims[0] < 1)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s': events/indptr is empty", flip_reader_path(graph));
    FLIP_TRY_GOTO(flip_alloc_zero(&out, 1, sizeof *out, "a partition"));
    out->n_nodes = dims[0] - 1;
    out->n_events = events[0];
    out->n_parts = n_parts;
    out->full_halo = -1;
    FLIP_TRY_GOTO(flip_alloc(&out->order, (size_t)out->n_nodes, sizeof *out->order,
                             "the new order of nodes"));
    FLIP_TRY_GOTO(
        flip_alloc(&out->part_first, (size_t)n_parts + 1, sizeof *out->part_first, "parts"));
done:
    status = flip_comm_agree(comm, status);
    if (status != FLIP_OK) flip_partition_destroy(&out);
    *partition = out;
    return status;
}

/* What this result costs, for those who will start from it. */
static flip_status keep_result(flip_partition *out, flip_comm *comm, const flip_reader *graph) {
    flip_partition_row rows[FLIP_PARTITION_ROWS];
    flip_spread *spread = NULL;
    flip_status status = FLIP_OK;
    int32_t n_rows = 0;
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_alloc(&spread, 1, sizeof *spread, "degrees")));
    FLIP_TRY_GOTO(flip_partition_measure(rows, &n_rows, comm, graph, out));
    FLIP_TRY_GOTO(flip_spread_count(spread, comm, graph, out->n_nodes, out->n_parts));
    out->full_halo = rows[n_rows - 1].halo_sum;
    out->full_crossing = flip_spread_crossing(spread, out->full_halo);
done:
    flip_free(spread);
    return status;
}

flip_status flip_partition_compute(flip_partition **partition, flip_comm *comm,
                                   const flip_reader *graph, const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    flip_partition *out = NULL;
    int32_t *part = NULL;
    *partition = NULL;
    FLIP_TRY(check(p));
    FLIP_TRY(flip_partition_create(&out, comm, graph, p->n_parts));
    size_t n = (size_t)out->n_nodes;
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_alloc(&part, n, sizeof *part, "parts of nodes")));
    FLIP_TRY_GOTO(flip_partition_choose(part, out, comm, graph, p));
    FLIP_TRY_GOTO(flip_comm_broadcast(comm, part, sizeof *part * n, 0));
    FLIP_TRY_GOTO(flip_partition_assign(out, comm, graph, part, false));
    if (p->method <= FLIP_PARTITION_FENNEL) FLIP_TRY_GOTO(keep_result(out, comm, graph));
done:
    flip_free(part);
    if (status != FLIP_OK) flip_partition_destroy(&out);
    *partition = out;
    return status;
}

void flip_partition_ranks(int32_t n_parts, const flip_gid *part_first, int size,
                          flip_gid *rank_first) {
    int64_t n = part_first[n_parts];
    int32_t k = 0, before = 0;
    rank_first[0] = 0;
    for (int r = 1; r < size; r++) {
        /* the part boundary nearest to the r-th equal share */
        int64_t wanted = flip_share(n, r, size);
        while (k < n_parts && part_first[k + 1] <= wanted)
            k++;
        if (k < n_parts && part_first[k + 1] - wanted < wanted - part_first[k]) k++;
        if (n_parts >= size) { /* a part for each rank, behind this one too */
            if (k <= before) k = before + 1;
            if (k > n_parts - (size - r)) k = n_parts - (size - r);
        }
        rank_first[r] = part_first[k];
        before = k;
    }
    rank_first[size] = n;
}
