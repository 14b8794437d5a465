/* Pairs of nodes: labelled events for edge classification, true pairs for link prediction. */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

void flip_pair_set_finish(flip_pair_set *set) {
    flip_free(set->u);
    flip_free(set->v);
    flip_free(set->step);
    flip_free(set->label);
    flip_free(set->u_original);
    flip_free(set->v_original);
    flip_free(set->first);
    for (int32_t k = 0; set->pairs && k < set->piece[set->n_blocks]; k++)
        flip_pairs_destroy(&set->pairs[k]);
    flip_free(set->piece);
    flip_free(set->pairs);
    memset(set, 0, sizeof *set);
}

/* end[k]: pairs before the end of block k. */
static void find_ends(const flip_pair_set *set, const flip_layout *layout, int64_t *end) {
    int64_t at = 0;
    for (int32_t k = 0; k < layout->n_blocks; k++) {
        while (at < set->n && set->step[at] < layout->block_first[k + 1])
            at++;
        end[k] = at;
    }
}

/* set->piece. Gathered rows of a piece take half of what the block's embeddings do, or little.
 * Collective. */
static flip_status cut_blocks(flip_pair_set *set, const flip_layout *layout, const int64_t *end,
                              bool cut) {
    enum { LEAST = 4096, SHARE = 4 };
    flip_status status;
    int64_t *pieces = NULL, total = 0;
    size_t n_blocks = (size_t)layout->n_blocks;
    FLIP_TRY_GOTO(flip_alloc(&set->piece, n_blocks + 1, sizeof *set->piece, "pairs"));
    FLIP_TRY_GOTO(flip_alloc(&pieces, n_blocks, sizeof *pieces, "pairs"));
    for (int32_t k = 0; k < layout->n_blocks; k++) {
        int64_t n = end[k] - (k > 0 ? end[k - 1] : 0);
        int64_t most = (int64_t)layout->n_rows * flip_layout_steps(layout, k) / SHARE;
        if (most < LEAST) most = LEAST;
        pieces[k] = cut && n > most ? (n + most - 1) / most : 1;
    }
    if (cut) FLIP_TRY_GOTO(flip_comm_max_i64(layout->world, pieces, n_blocks));
    set->piece[0] = 0;
    for (int32_t k = 0; k < layout->n_blocks; k++) {
        total += pieces[k];
        FLIP_TRY_GOTO(flip_narrow(&set->piece[k + 1], total, "pieces of pairs"));
    }
done:
    flip_free(pieces);
    return status;
}

/* The pieces of block k. Collective. */
static flip_status plan_block(flip_pair_set *set, const flip_layout *layout, int32_t k,
                              int64_t begin, int64_t end, int32_t *step, bool wanted) {
    int64_t n = end - begin, pieces = set->piece[k + 1] - set->piece[k];
    for (int64_t i = begin; i < end; i++)
        step[i] = set->step[i] - flip_layout_first(layout, k);
    for (int32_t i = 0; i < pieces; i++) {
        int32_t p = set->piece[k] + i;
        int64_t first = begin + n * i / pieces, last = begin + n * (i + 1) / pieces;
        set->first[p] = first;
        if (!wanted) continue;
        FLIP_TRY(flip_pairs_create(&set->pairs[p], layout->space, layout->part_first,
                                   flip_layout_steps(layout, k), last - first, set->u + first,
                                   set->v + first, step + first));
    }
    return FLIP_OK;
}

flip_status flip_pair_set_plan(flip_pair_set *set, const flip_layout *layout, int32_t only,
                               bool cut) {
    int32_t n_blocks = layout->n_blocks, *step = NULL;
    int64_t *end = NULL;
    size_t plans;
    flip_status status;
    set->n_blocks = n_blocks;
    FLIP_TRY_GOTO(flip_alloc(&step, (size_t)set->n, sizeof *step, "steps of pairs"));
    FLIP_TRY_GOTO(flip_alloc(&end, (size_t)n_blocks, sizeof *end, "pairs"));
    find_ends(set, layout, end);
    FLIP_TRY_GOTO(cut_blocks(set, layout, end, cut));
    plans = (size_t)set->piece[n_blocks];
    FLIP_TRY_GOTO(flip_alloc(&set->first, plans + 1, sizeof *set->first, "pairs"));
    FLIP_TRY_GOTO(flip_alloc_zero(&set->pairs, plans, sizeof *set->pairs, "pairs"));
    set->first[plans] = end[n_blocks - 1];
    for (int32_t k = 0; k < n_blocks; k++)
        FLIP_TRY_GOTO(plan_block(set, layout, k, k > 0 ? end[k - 1] : 0, end[k], step,
                                 only < 0 || flip_layout_first(layout, k) == only));
done:
    flip_free(step);
    flip_free(end);
    return status;
}

static int32_t step_of(const flip_events *events, int64_t e) {
    return events->step ? events->step[e] : 0;
}

uint64_t flip_pair_key(int64_t a, int64_t b, int64_t n_nodes) {
    return a < b ? (uint64_t)a * (uint64_t)n_nodes + (uint64_t)b
                 : (uint64_t)b * (uint64_t)n_nodes + (uint64_t)a;
}

/* part [n_events] of every event, by its step. */
static flip_status part_by_step(flip_data *data, int8_t *part) {
    const flip_events *events = flip_graph_events(data->graph);
    int64_t sizes[3];
    if (data->s.protocol == FLIP_PROTOCOL_LIVE) { /* each in its turn, see live.c */
        memset(part, FLIP_PART_TRAIN, (size_t)events->n);
        return FLIP_OK;
    }
    if (strcmp(data->s.split, "auto") != 0)
        return FLIP_FAIL(
            FLIP_ERROR_USAGE,
            "--split %s: events of a graph with several steps are split by --split-steps "
            "A,B,C",
            data->s.split);
    FLIP_TRY(flip_data_step_split(data, sizes));
    for (int64_t e = 0; e < events->n; e++) {
        int64_t t = step_of(events, e) - data->s.first_step;
        part[e] = (int8_t)(t < sizes[0]                         ? FLIP_PART_TRAIN
                           : t < sizes[0] + sizes[1]            ? FLIP_PART_VALID
                           : t < sizes[0] + sizes[1] + sizes[2] ? FLIP_PART_TEST
                                                                : -1);
    }
    flip_data_note(data, "steps for train, valid and test: %s", data->s.split_steps);
    return FLIP_OK;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t sort_unique(int64_t *list, int64_t n) {
    int64_t kept = 0;
    qsort(list, (size_t)n, sizeof *list, ascending);
    for (int64_t i = 0; i < n; i++)
        if (kept == 0 || list[kept - 1] != list[i]) list[kept++] = list[i];
    return kept;
}

/* Original ids of the events' sources [n_events]: asked from their owners. */
static flip_status source_originals(const flip_data *data, int64_t *original) {
    const flip_events *events = flip_graph_events(data->graph);
    int64_t first = data->rank_first[flip_comm_rank(data->comm)];
    flip_gid *need = NULL;
    int64_t *halo = NULL, n = 0;
    flip_plan *plan = NULL;
    flip_status status;
    FLIP_TRY(flip_alloc(&need, (size_t)events->n, sizeof *need, "sources"));
    for (int64_t e = 0; e < events->n; e++)
        if (events->src[e] < first || events->src[e] >= first + data->n_own)
            need[n++] = events->src[e];
    n = sort_unique(need, n);
    int32_t narrow;
    FLIP_TRY_GOTO(flip_narrow(&narrow, n, "sources of other ranks"));
    FLIP_TRY_GOTO(flip_alloc(&halo, (size_t)n, sizeof *halo, "sources"));
    FLIP_TRY_GOTO(
        flip_plan_create(&plan, data->comm, data->rank_first, need, narrow, FLIP_BYTES_HALO));
    FLIP_TRY_GOTO(flip_plan_fetch(plan, data->original, sizeof *halo, halo));
    for (int64_t e = 0; e < events->n; e++) {
        int64_t u = events->src[e];
        bool own = u >= first && u < first + data->n_own;
        const int64_t *at = own ? NULL : bsearch(&u, need, (size_t)n, sizeof *need, ascending);
        original[e] = own ? data->original[u - first] : halo[at - need];
    }
done:
    flip_plan_destroy(&plan);
    flip_free(need);
    flip_free(halo);
    return status;
}

/* part [n_events] of a static graph: by a seeded draw on the pair, train and valid percent or as
 * --split says. */
static flip_status part_by_draw(flip_data *data, int8_t *part, const int64_t *source,
                                long long train, long long valid) {
    const flip_events *events = flip_graph_events(data->graph);
    int64_t first = data->rank_first[flip_comm_rank(data->comm)];
    long long seed = 0;
    bool automatic = strcmp(data->s.split, "auto") == 0;
    if ((!automatic && sscanf(data->s.split, "random:%lld/%lld@%lld", &train, &valid, &seed) < 2) ||
        train > 100 || valid > 100 - train)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--split %s: pairs of nodes are split by percent, as --split "
                         "random:60/20@0 (the rest is test)",
                         data->s.split);
    for (int64_t e = 0; e < events->n; e++) {
        int64_t v = data->original[events->dst[e] - first];
        part[e] = (int8_t)flip_part_drawn((uint64_t)seed,
                                          flip_pair_key(source[e], v, data->info->n_nodes),
                                          (int)train, (int)valid);
    }
    snprintf(data->s.split, sizeof data->s.split, "random:%lld/%lld@%lld", train, valid, seed);
    flip_data_note(data, "pairs split at random: %lld/%lld/%lld percent, seed %lld", train, valid,
                   100 - train - valid, seed);
    return FLIP_OK;
}

/* ---- edge classification ---- */

/* The list of pairs, from the events that have a class and a split. source: or NULL. */
static flip_status list_edges(flip_data *data, const int8_t *part, const int64_t *source) {
    const flip_events *events = flip_graph_events(data->graph);
    const int32_t *label = flip_graph_event_labels(data->graph);
    int64_t n = 0, first = data->rank_first[flip_comm_rank(data->comm)];
    for (int64_t e = 0; e < events->n; e++)
        n += part[e] >= 0 && label[e] >= 0;
    FLIP_TRY(flip_alloc(&data->pairs, (size_t)n, sizeof *data->pairs, "pairs"));
    for (int64_t e = 0; e < events->n; e++)
        if (part[e] >= 0 && label[e] >= 0)
            data->pairs[data->n_pairs++] =
                (flip_pair_item){.u = events->src[e],
                                 .v = events->dst[e],
                                 .u_original = source ? source[e] : 0,
                                 .v_original = data->original[events->dst[e] - first],
                                 .step = step_of(events, e),
                                 .label = label[e],
                                 .part = part[e]};
    return FLIP_OK;
}

flip_status flip_data_edge_pairs(flip_data *data) {
    const flip_events *events = flip_graph_events(data->graph);
    const int32_t *label = flip_graph_event_labels(data->graph);
    int8_t *part = NULL;
    int64_t *source = NULL, classes = 0;
    flip_status status;
    for (int64_t e = 0; label && e < events->n; e++)
        classes = label[e] >= classes ? label[e] + 1 : classes;
    FLIP_TRY(flip_comm_max_i64(data->comm, &classes, 1));
    data->n_classes = (int32_t)classes;
    if (classes < 2)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--task edge: '%s' has no two classes of events; import it with --label "
                         "sign or --label COLUMN",
                         data->s.graph);
    FLIP_TRY(flip_alloc(&part, (size_t)events->n, 1, "split of events"));
    if (data->steps == 1 || flip_settings_batched(&data->s)) {
        FLIP_TRY_GOTO(flip_alloc(&source, (size_t)events->n, sizeof *source, "sources"));
        FLIP_TRY_GOTO(source_originals(data, source));
    }
    FLIP_TRY_GOTO(data->steps > 1 ? part_by_step(data, part)
                                  : part_by_draw(data, part, source, 60, 20));
    FLIP_TRY_GOTO(list_edges(data, part, source));
done:
    flip_free(part);
    flip_free(source);
    return status;
}

/* ---- link prediction ---- */

/* One step: the adjacency must not contain the pairs that are to be predicted. */
static flip_status hold_out(flip_data *data, const int8_t *part) {
    const flip_events *events = flip_graph_events(data->graph);
    size_t size[4] = {sizeof(flip_gid), sizeof(flip_gid), sizeof(int32_t), sizeof(double)};
    const void *from[4] = {events->dst, events->src, events->step, events->weight};
    int64_t n = 0;
    for (int64_t e = 0; e < events->n; e++)
        n += part[e] == FLIP_PART_TRAIN;
    for (int k = 0; k < 4; k++) {
        if (!from[k]) continue;
        FLIP_TRY(flip_alloc(&data->events_owned[k], (size_t)n, size[k], "training events"));
        char *to = data->events_owned[k];
        for (int64_t e = 0; e < events->n; e++) {
            if (part[e] != FLIP_PART_TRAIN) continue;
            memcpy(to, (const char *)from[k] + (size_t)e * size[k], size[k]);
            to += size[k];
        }
    }
    data->events = (flip_events){n, data->events_owned[0], data->events_owned[1],
                                 data->events_owned[2], data->events_owned[3]};
    return FLIP_OK;
}

flip_status flip_data_link_pairs(flip_data *data) {
    const flip_events *events = flip_graph_events(data->graph);
    int64_t first = data->rank_first[flip_comm_rank(data->comm)], *source = NULL;
    int8_t *part = NULL;
    flip_status status;
    data->lead = data->steps > 1;
    data->n_classes = 1;
    if (!data->lead && data->s.eval_negatives == FLIP_EVAL_ALL)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--eval-negatives all: '%s' has one step; all pairs are ranked in the "
                         "steps after the embeddings'",
                         data->s.graph);
    FLIP_TRY_GOTO(flip_alloc(&part, (size_t)events->n, 1, "split of events"));
    FLIP_TRY_GOTO(flip_alloc(&source, (size_t)events->n, sizeof *source, "sources"));
    FLIP_TRY_GOTO(flip_alloc(&data->pairs, (size_t)events->n, sizeof *data->pairs, "true pairs"));
    FLIP_TRY_GOTO(source_originals(data, source));
    if (data->lead)
        FLIP_TRY_GOTO(part_by_step(data, part));
    else
        FLIP_TRY_GOTO(part_by_draw(data, part, source, 85, 5));
    if (!data->lead) FLIP_TRY_GOTO(hold_out(data, part));
    FLIP_TRY_GOTO(flip_directory_create(&data->links.directory, data->comm, data->graph));
    for (int64_t e = 0; e < events->n; e++) {
        int32_t t = step_of(events, e);
        if (t < data->lead) continue; /* no embedding before the first step */
        data->pairs[data->n_pairs++] =
            (flip_pair_item){.u = events->src[e],
                             .v = events->dst[e],
                             .u_original = source[e],
                             .v_original = data->original[events->dst[e] - first],
                             .step = t,
                             .part = part[e]};
    }
    if (data->s.negative_ends >= FLIP_ENDS_ACTIVE) FLIP_TRY_GOTO(flip_data_active(data));
    if (data->s.eval_negatives == FLIP_EVAL_GIVEN) FLIP_TRY_GOTO(flip_data_given(data));
done:
    flip_free(part);
    flip_free(source);
    return status;
}

/* ---- in the time layout ---- */

/* Which of `n` ranges, the i-th from first[i] on, holds id? */
static int range_of(const flip_gid *first, int n, flip_gid id) {
    int low = 0;
    while (n > 1) {
        int half = n / 2;
        if (first[low + half] <= id) low += half;
        n -= half;
    }
    return low;
}

/* The rank that has the pair: of the source's part, where non-edges are drawn source by source, or
 * of the destination's, which has read the event; of the embeddings' step. */
static int rank_of(const flip_data *data, const flip_pair_item *item) {
    const flip_layout *layout = data->layout;
    int32_t block;
    flip_gid id = data->s.task == FLIP_TASK_LINK ? item->u : item->v;
    int part = range_of(layout->part_first, layout->n_space, id);
    return part * layout->n_time + flip_layout_chunk_of(layout, item->step - data->lead, &block);
}

/* Every pair to its rank; those before the first step, which has no embeddings, are dropped. The
 * order of pairs for the same rank stays. */
static flip_status deal_pairs(flip_data *data) {
    int size = flip_comm_size(data->comm);
    flip_pair_item *sorted = NULL, *received = NULL;
    int64_t *send = NULL, *at, n = 0, kept = 0;
    flip_status status;
    for (int64_t i = 0; i < data->n_pairs; i++)
        if (data->pairs[i].step - data->lead >= data->layout->block_first[0])
            data->pairs[kept++] = data->pairs[i];
    data->n_pairs = kept;
    if (size == 1) return FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc_zero(&send, 2 * (size_t)size, sizeof *send, "counts"));
    FLIP_TRY_GOTO(flip_alloc(&sorted, (size_t)data->n_pairs, sizeof *sorted, "pairs"));
    at = send + size;
    for (int64_t i = 0; i < data->n_pairs; i++)
        send[rank_of(data, &data->pairs[i])]++;
    for (int r = 1; r < size; r++)
        at[r] = at[r - 1] + send[r - 1];
    for (int64_t i = 0; i < data->n_pairs; i++)
        sorted[at[rank_of(data, &data->pairs[i])]++] = data->pairs[i];
    FLIP_TRY_GOTO(flip_comm_deal(data->comm, &received, &n, NULL, sorted, send, sizeof *sorted));
    flip_free(data->pairs);
    data->pairs = received;
    data->n_pairs = n;
done:
    flip_free(send);
    flip_free(sorted);
    return status;
}

/* Pairs of one split, block after block; inside a block in the list's order. */
static flip_status fill_edge_set(flip_data *data, flip_part p) {
    flip_pair_set *set = &data->set[p];
    const flip_layout *layout = data->layout;
    const bool batched = p == FLIP_PART_TRAIN && flip_settings_batched(&data->s);
    int64_t *at;
    int32_t k;
    FLIP_TRY(flip_alloc_zero(&at, (size_t)layout->n_blocks + 1, sizeof *at, "pairs of blocks"));
    flip_status status;
    for (int64_t i = 0; i < data->n_pairs; i++) {
        if (data->pairs[i].part != (int)p) continue;
        flip_layout_chunk_of(layout, data->pairs[i].step, &k);
        at[k + 1]++;
        set->n++;
    }
    for (k = 0; k < layout->n_blocks; k++)
        at[k + 1] += at[k];
    FLIP_TRY_GOTO(flip_alloc(&set->u, (size_t)set->n, sizeof *set->u, "pairs"));
    FLIP_TRY_GOTO(flip_alloc(&set->v, (size_t)set->n, sizeof *set->v, "pairs"));
    FLIP_TRY_GOTO(flip_alloc(&set->step, (size_t)set->n, sizeof *set->step, "pairs"));
    FLIP_TRY_GOTO(flip_alloc(&set->label, (size_t)set->n, sizeof *set->label, "pairs"));
    if (batched) {
        size_t n = (size_t)set->n;
        FLIP_TRY_GOTO(flip_alloc(&set->u_original, n, sizeof *set->u_original, "pairs"));
        FLIP_TRY_GOTO(flip_alloc(&set->v_original, n, sizeof *set->v_original, "pairs"));
    }
    for (int64_t i = 0; i < data->n_pairs; i++) {
        const flip_pair_item *item = &data->pairs[i];
        if (item->part != (int)p) continue;
        flip_layout_chunk_of(layout, item->step, &k);
        int64_t to = at[k]++;
        set->u[to] = item->u;
        set->v[to] = item->v;
        set->step[to] = item->step;
        set->label[to] = item->label;
        if (!batched) continue;
        set->u_original[to] = item->u_original;
        set->v_original[to] = item->v_original;
    }
    data->n_items[p] = set->n;
    /* batches train on pairs of their own */
    FLIP_TRY_GOTO(flip_pair_set_plan(set, layout, -1, p != FLIP_PART_TRAIN || batched));
done:
    flip_free(at);
    return status;
}

static int by_target(const void *a, const void *b) {
    const flip_pair_item *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    if (x->u_original != y->u_original) return x->u_original < y->u_original ? -1 : 1;
    return (x->v_original > y->v_original) - (x->v_original < y->v_original);
}

/* A true pair stands before the same one pinned as a non-edge. */
static int by_target_and_kind(const void *a, const void *b) {
    const flip_pair_item *x = a, *y = b;
    int order = by_target(a, b);
    return order ? order : x->given - y->given;
}

/* Sorted, without duplicates, into the arrays of links. Self loops are no pairs, unless every pair
 * is a candidate, a node with itself too. */
static flip_status keep_links(flip_data *data) {
    flip_links *links = &data->links;
    flip_pair_item *list = data->pairs;
    bool loops = data->s.eval_negatives == FLIP_EVAL_ALL;
    int64_t kept = 0;
    qsort(list, (size_t)data->n_pairs, sizeof *list, by_target_and_kind);
    for (int64_t i = 0; i < data->n_pairs; i++)
        if ((loops || list[i].u != list[i].v) &&
            (kept == 0 || by_target(&list[kept - 1], &list[i]) != 0))
            list[kept++] = list[i];
    links->n = kept;
    links->n_nodes = data->info->n_nodes;
    FLIP_TRY(flip_alloc(&links->u, (size_t)kept, sizeof *links->u, "true pairs"));
    FLIP_TRY(flip_alloc(&links->v, (size_t)kept, sizeof *links->v, "true pairs"));
    FLIP_TRY(flip_alloc(&links->u_original, (size_t)kept, sizeof(int64_t), "true pairs"));
    FLIP_TRY(flip_alloc(&links->v_original, (size_t)kept, sizeof(int64_t), "true pairs"));
    FLIP_TRY(flip_alloc(&links->target, (size_t)kept, sizeof *links->target, "true pairs"));
    FLIP_TRY(flip_alloc(&links->part, (size_t)kept, 1, "true pairs"));
    FLIP_TRY(flip_alloc(&links->given, (size_t)kept, sizeof *links->given, "true pairs"));
    for (int64_t i = 0; i < kept; i++) {
        links->u[i] = list[i].u;
        links->v[i] = list[i].v;
        links->u_original[i] = list[i].u_original;
        links->v_original[i] = list[i].v_original;
        links->target[i] = list[i].step;
        links->part[i] = (int8_t)list[i].part;
        links->given[i] = list[i].given;
        if (list[i].part >= 0) data->n_items[list[i].part] += !list[i].given;
    }
    return FLIP_OK;
}

/* The share of each step's training pairs that --pairs asks for. Collective. */
static flip_status share_links(flip_data *data) {
    flip_links *links = &data->links;
    flip_status status;
    int64_t *count = NULL;
    if (data->s.pairs == 0) return FLIP_OK;
    FLIP_TRY_GOTO(flip_alloc_zero(&count, (size_t)data->steps, sizeof *count, "pairs of steps"));
    FLIP_TRY_GOTO(
        flip_alloc(&links->share, (size_t)data->steps, sizeof *links->share, "pairs of steps"));
    for (int64_t i = 0; i < links->n; i++)
        count[links->target[i]] += links->part[i] == FLIP_PART_TRAIN && !links->given[i];
    FLIP_TRY_GOTO(flip_comm_sum_i64(data->comm, count, (size_t)data->steps));
    for (int32_t t = 0; t < data->steps; t++)
        links->share[t] = count[t] > data->s.pairs ? (double)data->s.pairs / (double)count[t] : 1;
done:
    flip_free(count);
    return status;
}

flip_status flip_data_sample(flip_data *data, flip_part part, uint64_t draw) {
    int64_t asked = part == FLIP_PART_TRAIN ? data->s.negatives : data->s.eval_negatives;
    /* a metric wants all candidates of a source on one rank: other sources in training alone */
    flip_draw d = {.per_pair = asked > 0 ? asked : 0,
                   .seed = (uint64_t)data->s.seed,
                   .draw = draw,
                   .lead = data->lead,
                   .ends =
                       draw == FLIP_DRAW_EVALUATE ? FLIP_ENDS_DESTINATION : data->s.negative_ends,
                   .for_batches = part == FLIP_PART_TRAIN && draw != FLIP_DRAW_EVALUATE &&
                                  flip_settings_batched(&data->s)};
    return flip_links_sample(&data->links, &data->set[part], data->layout, part, &d);
}

flip_status flip_data_place_pairs(flip_data *data) {
    bool links = data->s.task == FLIP_TASK_LINK;
    FLIP_TRY(deal_pairs(data));
    if (links) FLIP_TRY(keep_links(data));
    if (links) FLIP_TRY(share_links(data));
    for (int p = 0; p < FLIP_PARTS && !links; p++)
        FLIP_TRY(fill_edge_set(data, (flip_part)p));
    for (int p = FLIP_PART_VALID; p < FLIP_PARTS && links; p++)
        FLIP_TRY(flip_data_sample(data, (flip_part)p, FLIP_DRAW_EVALUATE));
    flip_free(data->pairs);
    data->pairs = NULL;
    return flip_comm_sum_i64(data->comm, data->n_items, FLIP_PARTS);
}
