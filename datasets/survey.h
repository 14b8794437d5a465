/* What a graph file holds, counted in one pass over each dataset: for `flipbook info`. */
#ifndef FLIPBOOK_DATASETS_SURVEY_H
#define FLIPBOOK_DATASETS_SURVEY_H

#include <flipbook/container.h>

enum {
    FLIP_SURVEY_DEGREES = 42, /* bins: 0, 1, 2-3, 4-7, … */
    FLIP_SURVEY_TENTHS = 10,
    FLIP_SURVEY_LIVES = 2,
    FLIP_SURVEY_RANKS = 4 /* 1, 2, 4, 8 */
};

typedef struct flip_survey_degrees {
    int64_t bins[FLIP_SURVEY_DEGREES];
    int64_t most;
    double mean;
} flip_survey_degrees;

/* |E_t ∩ E_t+1| / |E_t ∪ E_t+1| over consecutive snapshots of distinct edges; pairs of empty
 * snapshots are left out. */
typedef struct flip_survey_overlap {
    int32_t life; /* a snapshot holds the events of so many steps */
    int64_t bins[FLIP_SURVEY_TENTHS], n;
    double mean, edges; /* edges: distinct ones a snapshot, mean */
} flip_survey_overlap;

typedef enum flip_survey_features {
    FLIP_SURVEY_NONE,
    FLIP_SURVEY_DENSE,
    FLIP_SURVEY_SPARSE,
    FLIP_SURVEY_CHANGING,
    FLIP_SURVEY_PACKED
} flip_survey_features;

/* Everything owned; counts of classes have "none" last. */
typedef struct flip_survey {
    int64_t bytes, n_nodes, n_steps, n_events, n_classes;
    bool undirected, has_time;
    double step_zero, step_width;
    char creator[256];

    int64_t *step_events; /* [n_steps] */
    int64_t n_pairs;      /* distinct (source, destination), any step */
    int64_t n_doubled;    /* events beyond the first of a pair in a step */
    int64_t n_loops;
    flip_survey_degrees in, out, both; /* events over all steps */
    flip_survey_overlap overlap[FLIP_SURVEY_LIVES];
    int n_overlaps; /* 0 when there is one step */

    bool weighted;
    double weight_least, weight_most, weight_mean;
    int64_t n_negative;

    flip_survey_features features;
    int64_t n_features, n_feature_rows, n_feature_values, n_nonzero;
    bool feature_ones; /* sparse, without values */
    double feature_least, feature_most;
    /* packed: */
    char codec[112], feature_norm[16];             /* of two levels: both names, joined by + */
    int64_t code_bytes, table_bytes, native_bytes; /* of a row; of the codecs; before */
    int64_t refinement_bytes;                      /* of a row's second level; 0 = there is none */
    int32_t decoded_columns;
    double relative_error, refined_error; /* with the second level */
    int64_t learned_first, learned_steps; /* of codes that change, else 0 */
    int64_t n_targets;

    bool labelled, labels_change;
    int64_t *class_count;   /* [n_classes + 1] or NULL */
    char *class_names;      /* lines, or NULL */
    int64_t n_edge_classes; /* 0 = events without classes */
    int64_t *edge_class_count, n_edge_none;
    char *edge_class_names;

    int64_t n_splits;
    int64_t (*split)[4]; /* [n_splits]: train, valid, test, unused */

    bool text_names, number_names, renumbered;
    int32_t n_parts;      /* 0 = not partitioned */
    int64_t *part_first;  /* [n_parts + 1] */
    int64_t *part_events; /* [n_parts]: in-events */
    int64_t cut;          /* events between parts */

    /* Ranges of nodes for 1, 2, 4, 8 ranks (runs of parts, else equal): the largest of any rank. */
    int64_t rank_nodes[FLIP_SURVEY_RANKS], rank_events[FLIP_SURVEY_RANKS],
        rank_halo[FLIP_SURVEY_RANKS];
} flip_survey;

/* Local. Memory: some 30 bytes a node, a few numbers a step, one node's events. */
flip_status flip_survey_make(flip_survey *survey, const flip_reader *reader);
void flip_survey_finish(flip_survey *survey);

#endif
