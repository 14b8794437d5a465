/* Bytes as an edge list in memory, read, numbered and sorted; what must hold of the result is
 * checked. The first byte chooses among settings. Used by the mutation test and the fuzz target. */
#ifndef FLIP_TESTS_EDGES_FROM_BYTES_H
#define FLIP_TESTS_EDGES_FROM_BYTES_H

#include "datasets/read_edges.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void must_be_sorted(const flip_event_rows *e, int64_t n_rows, bool both_ways) {
    MUST(e->indptr[0] == 0 && e->indptr[e->n_nodes] == e->n);
    MUST(both_ways ? e->n >= n_rows && e->n <= 2 * n_rows : e->n == n_rows);
    for (int64_t v = 0; v < e->n_nodes; v++) {
        MUST(e->indptr[v] <= e->indptr[v + 1]);
        for (int64_t i = e->indptr[v]; i < e->indptr[v + 1]; i++) {
            MUST((int64_t)(e->key[i] & UINT32_MAX) < e->n_nodes);
            MUST(i == e->indptr[v] || e->key[i - 1] <= e->key[i]);
        }
    }
}

static flip_status settle_and_sort(flip_event_rows *events, flip_edges *edges,
                                   const flip_sort_params *params) {
    FLIP_TRY(flip_edges_settle(edges, params));
    return flip_event_rows_sort(events, edges, params);
}

static flip_status sort_read(flip_edges *edges, flip_ids *ids, bool both_ways) {
    flip_numbering numbering = {0};
    flip_event_rows events = {0};
    flip_binning binning = {.in_double = edges->time_double,
                            .start_integer = edges->time_least,
                            .start = edges->double_least,
                            .width = 7,
                            .whole_width = edges->time_double ? 0 : 7};
    int64_t n_rows = edges->n, span;
    double most = edges->double_most - edges->double_least;
    bool countable = edges->time_double
                         ? most < 1e9
                         : !__builtin_sub_overflow(edges->time_most, edges->time_least, &span) &&
                               span < 1000000000;
    flip_status status =
        flip_ids_number(ids, &numbering, &(flip_number_params){.n_known = -1, .n_edges = n_rows});
    MUST(status != FLIP_OK || n_rows == 0 || numbering.n_nodes > 0);
    if (status == FLIP_OK && (!edges->has_time || countable))
        status = settle_and_sort(&events, edges,
                                 &(flip_sort_params){.n_nodes = numbering.n_nodes,
                                                     .node = &numbering.node,
                                                     .binning = &binning,
                                                     .both_ways = both_ways});
    if (status == FLIP_OK && events.indptr) must_be_sorted(&events, n_rows, both_ways);
    flip_event_rows_finish(&events);
    flip_numbering_finish(&numbering);
    return status;
}

static flip_status edges_from_bytes(const uint8_t *bytes, size_t size) {
    static const char *const columns[] = {NULL,
                                          NULL,
                                          NULL,
                                          "src,dst,time",
                                          "src,dst,weight,time",
                                          "time,src,dst,src_class,dst_class",
                                          "src,dst,label",
                                          "src=2,dst=1"};
    unsigned choice = size ? bytes[0] : 0;
    const char *names = columns[choice & 7];
    if (names && choice & 128) names = "time,src,dst,dst_class";
    bool sign = (choice & 8) && (!names || strstr(names, "weight")), both_ways = choice & 16;
    flip_text text = {0};
    flip_layout layout = {0};
    flip_columns chosen = {0};
    flip_edges edges = {0};
    flip_ids ids;
    flip_names labels = {0}, classes = {0};
    flip_ids_init(&ids, &edges);
    flip_edge_reader reader = {.edges = &edges,
                               .ids = &ids,
                               .labels = &labels,
                               .classes = &classes,
                               .id_policy = choice & 32 ? FLIP_IDS_ONLY_TEXT : FLIP_IDS_AUTO,
                               .step = -1};
    flip_status status;
    if (size) bytes++, size--;
    FLIP_TRY_GOTO(flip_text_open_memory(&text, "bytes", bytes, size));
    FLIP_TRY_GOTO(flip_layout_detect(&layout, &text, &(flip_layout_params){0}));
    FLIP_TRY_GOTO(flip_columns_choose(&chosen, &layout, "bytes",
                                      &(flip_columns_params){.columns = names,
                                                             .label = sign ? "sign" : NULL,
                                                             .stepped = choice & 64}));
    edges.has_time = chosen.column[FLIP_ROLE_TIME] >= 0;
    edges.has_weight = chosen.column[FLIP_ROLE_WEIGHT] >= 0 && !chosen.sign;
    edges.has_label = chosen.column[FLIP_ROLE_LABEL] >= 0 || chosen.sign;
    if (edges.has_time && layout.kinds[chosen.column[FLIP_ROLE_TIME]] == 'd')
        reader.time_form = FLIP_TIME_DATE;
    FLIP_TRY_GOTO(flip_edges_read(&reader, &text, &layout, &chosen));
    FLIP_TRY_GOTO(sort_read(&edges, &ids, both_ways));
done:
    MUST((status == FLIP_OK) == (*flip_error_message() == '\0'));
    flip_error_clear();
    flip_edge_reader_finish(&reader);
    flip_names_finish(&labels);
    flip_names_finish(&classes);
    flip_ids_finish(&ids);
    flip_edges_finish(&edges);
    flip_columns_finish(&chosen);
    flip_layout_finish(&layout);
    flip_text_close(&text);
    return status;
}

#endif
