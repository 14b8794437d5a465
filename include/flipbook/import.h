/* Flipbook: import — graphs in the wild become a container.
 *
 *   edge lists  text, one edge a line: any delimiter, with or without header, plain, gzip or zstd
 *   snapshots   a folder (or list) of edge lists, one a step, in the order of their names
 *   folders     edges.tsv beside features, labels and splits as .npy files
 *
 *     lines ──▶ columns of edges ──▶ ids → nodes 0 … N-1, times → steps 0 … T-1 ──▶ sorted events
 *     .npy, node table ──▶ features, labels, targets, splits, one row a node ──▶ graph.h5
 *
 * Step 0 begins at the first time in the files (or at `start`); a time t lies in step
 * floor((t - start) / width). Events with equal ends and step stay separate events, self loops
 * stay. Nodes are numbered in ascending order of their ids (numbers by value, text by bytes).
 */
#ifndef FLIPBOOK_IMPORT_H
#define FLIPBOOK_IMPORT_H

#include <flipbook/container.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flip_import_params {
    flip_comm *comm;           /* borrowed; NULL = one process */
    const char *const *inputs; /* [n_inputs] files of one edge list, or one folder */
    int32_t n_inputs;
    const char *output;

    /* the edge list; NULL = found out */
    const char *columns;   /* "src,dst,weight,time": a name for each place; or "src=from,dst=to" */
    const char *delimiter; /* auto, tab, space, comma, semicolon, bar, or one character */
    const char *header;    /* auto, yes, no */
    const char *comment;   /* characters that begin a comment line, "#%" */
    const char *ids;       /* auto, number, text */
    const char *label;     /* of edges: "sign" of the weight, or a column */
    bool snapshots;        /* every input file is one step */
    bool undirected;       /* store every edge both ways, self loops once */
    bool directed;         /* never both ways, not even edges.tsv */
    int64_t n_nodes;       /* ids are 0 … n_nodes-1, used or not; 0 = from the ids */

    /* time */
    const char *step;        /* width: "14d", "12h", "1200000s", or a number in the file's unit */
    int64_t n_steps;         /* or: so many steps of equal width; 0 = not given */
    const char *start;       /* when step 0 begins: a number or a date; NULL = the first time */
    const char *time_format; /* auto, seconds, ms, us, ns, minutes, hours, days, iso, or a strptime
                                pattern */

    /* rows of nodes; .npy, plain or packed */
    const char *features;      /* [N, F], or [T, N, F] */
    const char *features_csr;  /* "PTR,IDX" or "PTR,IDX,VAL" */
    int64_t n_feature_columns; /* of the CSR; 0 = greatest index + 1 */
    const char *labels;        /* [N] or [T, N] integers, -1 none */
    const char *class_names;   /* text, a line each */
    const char *targets;       /* [N], [N, K], [T, N] or [T, N, K], NaN none */
    const char *splits;        /* [N] or [S, N]: 0 train, 1 valid, 2 test, -1 unused */
    const char *negatives;     /* step, source, destination of pinned non-edges: lines or [R, 3] */
    const char *node_table;    /* CSV with one row a node */
    const char *node_columns;  /* "id=account,label=fraud,feature=age,feature=3-7" */
    bool allow_nan;            /* keep NaN and inf in features */

    void (*progress)(void *user, const char *stage, double fraction); /* may be NULL */
    void *user;
} flip_import_params;

/* What was understood, for the closing page. */
typedef struct flip_import_report {
    int64_t n_files, n_rows, n_comments, first_comment, last_comment, n_empty;
    char packing[32], delimiter[32], columns[256];
    bool header, guessed, both_ways, symmetric, negative_weights;
    char ids[160];
    int64_t n_nodes, n_isolated, n_events, n_self_loops, n_duplicates, degree_most;
    int64_t n_steps, n_empty_steps, least_events, most_events; /* events a step */
    char time[320]; /* how times became steps; "" = static */
    char weights[96], labels[320], features[192], nodes[256], targets[96], splits[160],
        negatives[128];
    char notes[8][256]; /* things the user should look at */
    int32_t n_notes;
    int64_t bytes; /* of the container */
    double seconds, read_seconds, sort_seconds, write_seconds;
    size_t memory_base, memory_peak; /* bytes resident at the start, and the most */
} flip_import_report;

/* Collective over params->comm: every rank reads a part of the edges and sorts those of its range
 * of destinations; rank 0 reads the rows of nodes and writes, the same bytes for any number of
 * ranks. params->output appears at once at the end, or not at all. The report is whole on rank 0.
 */
flip_status flip_import(const flip_import_params *params, flip_import_report *report);

#ifdef __cplusplus
}
#endif
#endif
