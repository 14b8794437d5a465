/* Import from end to end; the stages stand in the order the data flows. */
#include "datasets/import_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void flip_import_note(flip_import_state *s, const char *format, ...) {
    enum { NOTES = sizeof s->report->notes / sizeof *s->report->notes };
    va_list arguments;
    if (s->report->n_notes == NOTES) return;
    va_start(arguments, format);
    vsnprintf(s->report->notes[s->report->n_notes++], sizeof *s->report->notes, format, arguments);
    va_end(arguments);
}

void flip_import_progress(flip_import_state *s, const char *stage, double fraction) {
    if (s->p->progress) s->p->progress(s->p->user, stage, fraction);
}

static void sort_progress(void *user, double fraction) {
    flip_import_progress(user, "sorting", fraction);
}

/* ---- from codes to nodes ---- */

static void describe_ids(flip_import_state *s) {
    const flip_numbering *n = &s->numbering;
    char *out = s->report->ids;
    size_t room = sizeof s->report->ids;
    if (n->name_ptr && s->reader.text_line)
        snprintf(out, room, "text (as '%s' in line %lld), numbered in ascending order",
                 s->reader.text_id, (long long)s->reader.text_line);
    else if (n->name_ptr)
        snprintf(out, room, "text, numbered in ascending order");
    else if (n->number)
        snprintf(out, room, "integers %lld to %lld, numbered in ascending order",
                 (long long)n->number[0], (long long)n->number[n->n_nodes - 1]);
    else
        snprintf(out, room, "integers 0 to %lld, kept", (long long)n->n_nodes - 1);
}

static uint32_t node_of(const flip_import_state *s, uint32_t code) {
    return s->numbering.node ? s->numbering.node[code] : code;
}

/* edges.tsv names each edge once, the smaller end first: then both directions are meant. */
static bool every_edge_once(const flip_import_state *s) {
    for (int32_t c = 0; c < s->edges.n_chunks; c++) {
        const flip_edge_chunk *chunk = &s->edges.chunk[c];
        for (int64_t i = 0; i < chunk->n; i++)
            if (node_of(s, chunk->src[i]) >= node_of(s, chunk->dst[i])) return false;
    }
    return true;
}

static flip_status choose_ways(flip_import_state *s, bool *both_ways) {
    int64_t other = 0; /* some edge is not named smaller end first */
    *both_ways = s->p->undirected;
    if (s->p->undirected || !s->upper || s->p->directed) return FLIP_OK;
    other = !every_edge_once(s);
    FLIP_TRY(flip_comm_max_i64(s->p->comm, &other, 1));
    *both_ways = !other;
    return FLIP_OK;
}

/* Rows of the node table and classes named on edges: from codes to nodes, while codes are known. */
static flip_status settle_nodes(flip_import_state *s) {
    for (int64_t i = 0; i < s->n_table; i++)
        s->table_code[i] = node_of(s, s->table_code[i]);
    if (!s->reader.node_class) return FLIP_OK;
    int64_t n = s->numbering.n_nodes;
    FLIP_TRY(flip_alloc(&s->edge_class, (size_t)n, sizeof *s->edge_class, "classes of nodes"));
    for (int64_t v = 0; v < n; v++)
        s->edge_class[v] = -1;
    for (int64_t code = 0; code < s->ids.n && code < s->reader.node_class_room; code++)
        s->edge_class[node_of(s, (uint32_t)code)] = s->reader.node_class[code];
    if (s->table_class)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "classes of nodes stand in '%s' and in the edge list (src_class, "
                         "dst_class); leave one out",
                         s->p->node_table);
    return FLIP_OK;
}

/* Steps of the events and of rows that change must agree; rows may go on after the last event. */
static flip_status settle_steps(flip_import_state *s) {
    int64_t events = s->stepped ? s->binning.n_steps : 1;
    FLIP_TRY(flip_import_settle_targets(s));
    s->n_steps = events > s->row_steps ? events : s->row_steps;
    if (s->row_steps && s->row_steps < events)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "%s has %lld steps, but the events make %lld (%s)",
                         s->steps_by, (long long)s->row_steps, (long long)events, s->report->time);
    if (s->row_steps > 1 && events == 1)
        flip_import_note(
            s, "the edges are all at step 0 and %s has %lld steps: train with --edge-life %lld",
            s->steps_by, (long long)s->row_steps, (long long)s->row_steps);
    else if (s->row_steps > events)
        flip_import_note(s, "the last event is in step %lld, %s goes on to step %lld",
                         (long long)events - 1, s->steps_by, (long long)s->row_steps - 1);
    return FLIP_OK;
}

static flip_status number_nodes(flip_import_state *s) {
    FLIP_TRY(flip_ids_number(&s->ids, &s->numbering,
                             &(flip_number_params){.n_known = s->n_known,
                                                   .who = s->known_by,
                                                   .n_edges = s->n_edges,
                                                   .join = flip_import_or,
                                                   .user = s}));
    describe_ids(s);
    if (s->n_known >= 0 && (s->numbering.number || s->numbering.name_ptr))
        flip_import_note(s, "row i of %s stands for the i-th id in ascending order", s->known_by);
    return settle_nodes(s);
}

static flip_status label_order(flip_import_state *s, int32_t **class_of) {
    uint32_t *order;
    bool integers;
    *class_of = NULL;
    if (s->has_sign || s->edge_labels.n == 0) return FLIP_OK;
    FLIP_TRY(flip_alloc(class_of, (size_t)s->edge_labels.n, sizeof **class_of, "order of labels"));
    FLIP_TRY(flip_alloc(&order, (size_t)s->edge_labels.n, sizeof *order, "order of labels"));
    flip_status status = flip_names_order(&s->edge_labels, order, &integers);
    for (int64_t c = 0; c < s->edge_labels.n; c++)
        (*class_of)[order[c]] = (int32_t)c;
    flip_free(order);
    return status;
}

/* Codes become nodes, times steps; edges go to the ranks that own their destinations and are sorted
 * there. */
static flip_status sort_edges(flip_import_state *s) {
    flip_comm *comm = s->p->comm;
    int32_t *class_of = NULL;
    int me = flip_comm_rank(comm);
    bool several = flip_comm_size(comm) > 1, both_ways;
    flip_status status;
    FLIP_TRY_GOTO(choose_ways(s, &both_ways));
    FLIP_TRY_GOTO(label_order(s, &class_of));
    if (s->edges.has_weight && !s->reader.weights_differ)
        s->edges.has_weight = false; /* all are 1 */
    s->weighted = s->edges.has_weight;
    s->labelled = s->edges.has_label;
    s->report->both_ways = both_ways;
    s->node_first[1] = s->numbering.n_nodes; /* one rank owns all */
    flip_sort_params p = {.node = &s->numbering.node,
                          .binning = s->stepped && !s->snapshots ? &s->binning : NULL,
                          .label_class = class_of,
                          .both_ways = both_ways && !several,
                          .progress = sort_progress,
                          .user = s};
    FLIP_TRY_GOTO(flip_edges_settle(&s->edges, &p));
    if (several) FLIP_TRY_GOTO(flip_import_exchange(s, both_ways));
    p.first_node = s->node_first[me];
    p.n_nodes = s->node_first[me + 1] - p.first_node;
    status = flip_comm_agree(comm, flip_event_rows_sort(&s->events, &s->edges, &p));
    if (status == FLIP_OK) status = flip_import_join_events(s);
done:
    flip_free(class_of);
    return status;
}

static void describe_events(flip_import_state *s) {
    s->report->symmetric = s->events.balance == 0;
    s->report->n_nodes = s->numbering.n_nodes;
    s->report->n_events = s->n_events;
    s->report->n_self_loops = s->events.n_self_loops;
    s->report->n_duplicates = s->events.n_duplicates;
    s->report->degree_most = s->events.degree_most;
    s->report->n_steps = s->n_steps;
}

/* ---- attributes and end ---- */

static flip_status write_attributes(flip_import_state *s) {
    flip_writer *w = s->writer;
    int64_t edge_classes = s->has_sign ? 2 : s->edge_labels.n;
    FLIP_TRY(flip_writer_attribute_i64(w, "/", "n_nodes", s->numbering.n_nodes));
    FLIP_TRY(flip_writer_attribute_i64(w, "/", "n_steps", s->n_steps));
    FLIP_TRY(
        flip_writer_attribute_i64(w, "/", "n_classes", s->n_classes ? s->n_classes : edge_classes));
    FLIP_TRY(flip_writer_attribute_i64(w, "/", "undirected",
                                       s->report->both_ways || s->report->symmetric));
    if (s->stepped && !s->snapshots) {
        FLIP_TRY(flip_writer_attribute_f64(w, "/", "step_zero", s->binning.start));
        FLIP_TRY(flip_writer_attribute_f64(w, "/", "step_width", s->binning.width));
    }
    return FLIP_OK;
}

static void final_notes(flip_import_state *s) {
    if (s->p->undirected && s->events.balance_before == 0 &&
        s->report->n_events > s->report->n_self_loops)
        flip_import_note(
            s, "the file holds every edge in both directions already, and --undirected stored each "
               "twice over; leave it out");
    if (s->report->negative_weights)
        flip_import_note(s, "some weights are negative, which GCN normalisation refuses; --label "
                            "sign makes the sign the edge's class");
    if (s->reader.n_comments &&
        s->reader.last_comment > s->reader.first_comment + s->reader.n_comments - 1 &&
        s->n_files == 1)
        flip_import_note(s,
                         "comment lines stand among the data (up to line %lld); --comment '' reads "
                         "them as edges",
                         (long long)s->reader.last_comment);
}

/* What rank 0 does alone: rows of nodes, attributes, the end. */
static flip_status write_rest(flip_import_state *s) {
    FLIP_TRY(flip_import_write_rows(s));
    FLIP_TRY(flip_import_write_table(s));
    FLIP_TRY(flip_import_write_negatives(s));
    FLIP_TRY(write_attributes(s));
    return flip_writer_commit(s->writer);
}

static flip_status run(flip_import_state *s) {
    flip_import_report *r = s->report;
    flip_comm *comm = s->p->comm;
    bool writes = flip_comm_rank(comm) == 0;
    double begin = flip_seconds();
    FLIP_TRY(flip_import_find_inputs(s));
    FLIP_TRY(flip_import_look_at_rows(s));
    FLIP_TRY(flip_comm_agree(
        comm, writes ? flip_writer_create(&s->writer, NULL, s->p->output, "graph") : FLIP_OK));
    flip_status status = flip_import_read_edges(s);
    if (status == FLIP_OK) status = flip_import_read_table(s);
    FLIP_TRY(flip_import_join(s, status));
    if (s->n_edges == 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' holds no edges, only a header; expected one edge a line",
                         s->file[0]);
    FLIP_TRY(flip_import_bin_times(s));
    FLIP_TRY(number_nodes(s));
    FLIP_TRY(settle_steps(s));
    r->read_seconds = flip_seconds() - begin;
    FLIP_TRY(sort_edges(s));
    describe_events(s);
    r->sort_seconds = flip_seconds() - begin - r->read_seconds;
    FLIP_TRY(flip_import_write_events(s));
    flip_events_release(&s->events); /* before features come */
    FLIP_TRY(flip_comm_agree(comm, writes ? write_rest(s) : FLIP_OK));
    final_notes(s);
    r->write_seconds = flip_seconds() - begin - r->read_seconds - r->sort_seconds;
    return FLIP_OK;
}

static void finish(flip_import_state *s) {
    flip_writer_destroy(&s->writer);
    for (int32_t i = 0; i < s->n_files; i++)
        free(s->file[i]);
    flip_free(s->file);
    char *paths[] = {s->features, s->indptr,      s->indices, s->values,
                     s->labels,   s->class_names, s->targets, s->splits};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        free(paths[i]);
    flip_edges_finish(&s->edges);
    flip_ids_finish(&s->ids);
    flip_names_finish(&s->edge_labels);
    flip_names_finish(&s->node_classes);
    flip_edge_reader_finish(&s->reader);
    flip_event_rows_finish(&s->events);
    flip_numbering_finish(&s->numbering);
    flip_free(s->table_code);
    flip_free(s->table_values);
    flip_free(s->table_class);
    flip_free(s->table_split);
    flip_free(s->edge_class);
}

flip_status flip_import(const flip_import_params *params, flip_import_report *report) {
    flip_import_state s = {.p = params, .report = report, .n_known = -1};
    double begin = flip_seconds();
    *report = (flip_import_report){.memory_base = flip_memory_now()};
    flip_status status = run(&s);
    finish(&s);
    report->seconds = flip_seconds() - begin;
    report->memory_peak = flip_memory_peak();
    struct stat info;
    if (status == FLIP_OK && stat(params->output, &info) == 0) report->bytes = info.st_size;
    return status;
}
