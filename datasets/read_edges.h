/* Lines of an edge list into columns of edges. */
#ifndef FLIPBOOK_READ_EDGES_H
#define FLIPBOOK_READ_EDGES_H

#include "datasets/read_columns.h"
#include "datasets/read_ids.h"

typedef enum flip_id_policy {
    FLIP_IDS_AUTO,
    FLIP_IDS_ONLY_NUMBERS,
    FLIP_IDS_ONLY_TEXT
} flip_id_policy;

typedef enum flip_time_form {
    FLIP_TIME_NUMBER,  /* integers or decimals */
    FLIP_TIME_DATE,    /* ISO 8601: seconds since 1970 */
    FLIP_TIME_PATTERN, /* strptime: seconds since 1970 */
} flip_time_form;

typedef struct flip_edge_reader {
    /* what to read into and how; set by the caller */
    flip_edges *edges;
    flip_ids *ids;
    flip_names *labels;  /* classes of edges, codes by first appearance */
    flip_names *classes; /* classes of nodes */
    flip_id_policy id_policy;
    flip_time_form time_form;
    const char *time_pattern;
    bool bounded; /* times before start are refused */
    double start;
    int64_t step; /* of all edges of a snapshot; -1: there are no snapshots */
    void (*progress)(void *user, double fraction);
    void *user;

    /* what was found */
    int64_t n_comments, n_empty;         /* lines */
    int64_t first_comment, last_comment; /* their numbers */
    int64_t n_unlabelled;
    bool weights_differ; /* some weight is not 1 */
    int64_t text_line;   /* of the first id that is text; 0 = none */
    char text_id[32];    /* its beginning */
    int32_t *node_class; /* [node_class_room] of a code, -1 none; owned */
    int64_t node_class_room;

    /* the file now being read */
    flip_text *text;
    const flip_layout *layout;
    const flip_columns *columns;
    flip_field *field; /* [n_columns] */
    flip_edge_chunk *chunk;
    int64_t n_batch;
    int64_t *src, *dst; /* [FLIP_EDGE_BATCH] ids; codes when ids are text */
} flip_edge_reader;

enum { FLIP_EDGE_BATCH = 512 };

/* Reads the rest of `text`. The reader can go on with another file afterwards. */
flip_status flip_edges_read(flip_edge_reader *reader, flip_text *text, const flip_layout *layout,
                            const flip_columns *columns);
void flip_edge_reader_finish(flip_edge_reader *reader);

#endif
