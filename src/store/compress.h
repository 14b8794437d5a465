/* Inside compress: rows of a file as training sees them, trials of codecs. */
#ifndef FLIPBOOK_STORE_COMPRESS_H
#define FLIPBOOK_STORE_COMPRESS_H

#include <flipbook/compress.h>
#include <flipbook/store.h>

enum { FLIP_FEW_VALUES = 255 };

/* A rank's rows of a file, first … last-1 of n_rows, made dense and normalised on the way. A row is
 * a node's, or, where features change, a node's at a step, by (node, step). */
typedef struct flip_feature_rows {
    flip_comm *comm;
    const flip_reader *reader;
    int64_t n_nodes, n_rows, first, last;
    int32_t dim, n_steps; /* n_steps: 0 = constant */
    bool sparse, row_normalised;
    int64_t beside; /* bytes of a row beside its values: of node and step */
    int64_t
        *key; /* [last - first] distinct for every row: original ids (* n_steps + step), owned */
    int32_t *step; /* [last - first] owned; NULL = constant */
    /* of all ranks' rows, before normalising */
    int64_t nonzeros;
    bool ones, negative; /* every number other than 0 is 1; some are below 0 */
    /* … and after */
    int32_t widest;   /* most non-zero columns of a row */
    int32_t n_values; /* distinct numbers other than 0; 256 = more than 255 */
    float value[FLIP_FEW_VALUES + 1];
} flip_feature_rows;

/* Collective: opens and looks through all rows once, or twice. */
flip_status flip_feature_rows_open(flip_feature_rows *rows, flip_comm *comm,
                                   const flip_reader *reader, flip_compress_norm norm);
void flip_feature_rows_finish(flip_feature_rows *rows);
/* Rows first … of the file (not of this rank), float32 [count, dim]. Local. */
flip_status flip_feature_rows_read(const flip_feature_rows *rows, int64_t first, int64_t count,
                                   float *out);
/* Original ids of nodes first … of the file. Local. */
flip_status flip_feature_rows_keys(const flip_feature_rows *rows, int64_t first, int64_t count,
                                   int64_t *key);

/* Collective: a sample of the rows of steps first … end-1, or of all where features are constant;
 * sample, n: see flip_rows_draw. */
flip_status flip_feature_rows_draw(float **sample, int64_t *n, const flip_feature_rows *rows,
                                   int32_t first, int32_t end, const flip_compress_params *params);

/* Rows that have neighbours, and the means of those. */
typedef struct flip_neighbour_rows {
    int64_t n;
    double spread;     /* sum over rows of 1 / neighbours that went into the mean */
    float *x, *beside; /* [n, dim] owned */
} flip_neighbour_rows;
/* Of all nodes, or, of more than `most` (or 64 MB of rows), of 8192 evenly apart and 8 neighbours
 * each. Local. */
flip_status flip_neighbour_rows_read(flip_neighbour_rows *out, const flip_feature_rows *rows,
                                     int64_t most);
void flip_neighbour_rows_finish(flip_neighbour_rows *rows);

/* What trials are made of; rank 0 alone. */
typedef struct flip_trials {
    const flip_feature_rows *rows;
    const flip_compress_params *params;
    flip_compressed *out;
    int64_t n, n_held;   /* rows of learn and held */
    float *learn, *held; /* [n, dim], [n_held, dim] borrowed */
    double spread;       /* sum of |x - mean|^2 of held */
    flip_neighbour_rows near;
    double strength; /* of the last near:B: the largest correlation along edges */
} flip_trials;
/* What the codec leaves of rows x [n, dim], in its columns: *left, the caller's. Local. */
flip_status flip_trial_residual(float **left, const flip_codec *codec, int64_t n, const float *x);
/* Squared error on the rows held out over their spread; refinement NULL = one level. Local. */
flip_status flip_trial_measure(double *error, const flip_trials *trials, const flip_codec *codec,
                               const flip_codec *refinement);
/* Sets the spread: the sum of |x - mean|^2 over the rows held out. Local. */
flip_status flip_trial_spread(flip_trials *trials);
/* The codec to use, the caller's: the one asked for, or the best within the budget; *refinement:
 * the one of its second level, NULL = there is one level. */
flip_status flip_trials_run(flip_trials *trials, flip_codec **codec, flip_codec **refinement);

/* What rows are packed with. */
typedef struct flip_levels {
    flip_codec *coarse, *refinement; /* owned; refinement NULL = there is one level */
    double variance;                 /* of a row of those held out */
} flip_levels;
void flip_levels_finish(flip_levels *levels);
/* Rank 0: the codecs to use from a sample [n, dim], of which an eighth is held out. The sample is
 * put into another order. */
flip_status flip_compress_learn(flip_compressed *out, const flip_feature_rows *rows,
                                const flip_compress_params *params, float **sample, int64_t n,
                                flip_levels *levels);

/* compress_steps.c: rows that change, encoded, those that differ written; out's drift. variance: of
 * a row of the steps learned from. Collective. */
flip_status flip_compress_changes(flip_compressed *out, flip_writer *writer,
                                  const flip_feature_rows *rows, const flip_codec *codec,
                                  double variance, const flip_compress_params *params);

#endif
