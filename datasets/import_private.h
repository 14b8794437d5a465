/* The parts of an import share this state. */
#ifndef FLIPBOOK_IMPORT_PRIVATE_H
#define FLIPBOOK_IMPORT_PRIVATE_H

#include "datasets/read_edges.h"
#include <flipbook/import.h>

typedef struct flip_import_state {
    const flip_import_params *p;
    flip_import_report *report;
    flip_writer *writer;

    /* paths: of the parameters, or found in a folder */
    char **file; /* [n_files] owned: edge lists */
    int32_t n_files;
    bool snapshots;
    char *features, *indptr, *indices, *values, *labels, *class_names, *targets,
        *splits; /* owned */

    /* edges */
    flip_edges edges;
    flip_ids ids;
    flip_names edge_labels, node_classes;
    flip_edge_reader reader;
    bool begun; /* the first file has told the columns */
    bool has_sign;
    bool weighted, labelled; /* what the events have in the end */
    bool upper;              /* the list may hold every edge once (edges.tsv) */
    double unit;             /* seconds in one unit of the file's times */
    flip_binning binning;
    bool stepped; /* times became steps */
    flip_event_rows events;
    flip_numbering numbering;

    /* several ranks */
    int64_t n_edges, n_events; /* of all */
    int64_t node_first[1025];  /* [size + 1] destinations of each rank */
    int64_t event_first[1025]; /* [size + 1] their events */
    uint64_t balance_before;   /* of this rank's edges, see flip_event_rows */

    /* rows of nodes */
    int64_t n_known;    /* nodes as the .npy files tell it; -1 = not */
    char known_by[128]; /* which file */
    int64_t n_steps;    /* of the graph */
    int64_t row_steps;  /* steps of features, labels and targets; 0 = they do not change */
    char steps_by[128]; /* which file */
    int64_t n_classes, feature_columns;
    uint32_t *table_code; /* [n_table] owned: code, later node, of each row of the node table */
    int64_t n_table;
    int32_t n_table_features;
    float *table_values;  /* [n_table, n_table_features] owned */
    int32_t *table_class; /* [n_table] owned: code in node_classes, -1 none; NULL = no labels */
    int8_t *table_split;  /* [n_table] owned, or NULL */
    int32_t *edge_class;  /* [n_nodes] owned: code of a class named on edges; or NULL */
} flip_import_state;

/* import_inputs.c: which files */
flip_status flip_import_find_inputs(flip_import_state *s);
bool flip_ends_with(const char *name, const char *end);
/* import_edges.c: files to s->edges; times to bins */
flip_status flip_import_read_edges(flip_import_state *s);
flip_status flip_import_bin_times(flip_import_state *s);
/* import_nodes.c: the node table */
flip_status flip_import_read_table(flip_import_state *s);
flip_status flip_import_write_table(flip_import_state *s);
/* import_rows.c: .npy files with a row a node */
flip_status
flip_import_look_at_rows(flip_import_state *s); /* sets n_known and steps, reads no values */
/* Are targets of two dimensions [nodes, K] or [steps, nodes]? Needs the number of nodes. */
flip_status flip_import_settle_targets(flip_import_state *s);
flip_status flip_import_write_rows(flip_import_state *s);
/* import_features.c */
typedef struct flip_sparse {
    int64_t *indptr;  /* [n + 1] */
    int32_t *indices; /* [nnz] */
    float *values;    /* [nnz], NULL = all 1 */
    int64_t n, nnz, n_columns;
} flip_sparse;
flip_status flip_import_write_features(flip_import_state *s);
flip_status flip_import_write_csr(flip_import_state *s, const flip_sparse *x, const char *path);
/* Refuses values that are not finite (unless --allow-nan), naming row and column of [.., width];
 * value 0 is element `first` of the file. Adds to *n_bad. */
flip_status flip_import_check_finite(flip_import_state *s, const char *path, const float *values,
                                     int64_t n, int64_t first, int64_t width, int64_t *n_bad);
/* --allow-nan: the container says that such values are there on purpose. */
flip_status flip_import_kept_nan(flip_import_state *s, int64_t n_bad);
/* NAME/node, NAME/step, NAME/LAST: the rows of [T, N, width] values that differ from the step
 * before, by (node, step). */
flip_status flip_import_write_changes(flip_import_state *s, const char *name, const char *last,
                                      flip_type type, const void *values, const int64_t *shape,
                                      int64_t width, int64_t *n_rows);
int64_t flip_import_window(int64_t width, size_t size); /* rows written at a time */
/* import_negatives.c */
flip_status flip_import_write_negatives(flip_import_state *s);
/* import_write.c */
flip_status flip_import_write_events(flip_import_state *s);
/* Text lines (class names) as uint8. */
flip_status flip_import_write_text(flip_import_state *s, const char *name, const char *text,
                                   size_t bytes);

/* import_ranks.c: each does nothing on one rank */
/* `read`: how reading went on this rank; then one numbering of names, ids and times for all. */
flip_status flip_import_join(flip_import_state *s, flip_status read);
/* Settled edges go to the owners of their destinations, both ways if so. */
flip_status flip_import_exchange(flip_import_state *s, bool both_ways);
flip_status flip_import_join_events(flip_import_state *s); /* counts of sorted events */
/* Rows first … first+n-1 of the array of which `mine` is this rank's piece (cuts [size + 1]) come
 * to rank 0. */
flip_status flip_import_gather(flip_import_state *s, const int64_t *cuts, const void *mine,
                               size_t item, int64_t first, int64_t n, void *out);
flip_status flip_import_or(void *state, uint64_t *bits, size_t n_words);
flip_status flip_import_range_f64(flip_import_state *s, double *least, double *most);

void flip_import_note(flip_import_state *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void flip_import_progress(flip_import_state *s, const char *stage, double fraction);

#endif
