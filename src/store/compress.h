/* Inside compress: rows of a file as training sees them, trials of codecs. */
#ifndef FLIPBOOK_STORE_COMPRESS_H
#define FLIPBOOK_STORE_COMPRESS_H

#include <flipbook/compress.h>
#include <flipbook/store.h>

enum { FLIP_FEW_VALUES = 255 };

/* A rank's rows of a file, first … last-1, made dense and normalised on the way. */
typedef struct flip_feature_rows {
    flip_comm *comm;
    const flip_reader *reader;
    int64_t n_nodes, first, last;
    int32_t dim;
    bool sparse, row_normalised;
    int64_t *key; /* [last - first] original ids, owned */
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
/* Original ids of those rows. Local. */
flip_status flip_feature_rows_keys(const flip_feature_rows *rows, int64_t first, int64_t count,
                                   int64_t *key);

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
/* Numbers of rows, for keys of dither: *key [n], the caller's. Local. */
flip_status flip_trial_keys(int64_t n, int64_t **key);
/* What the codec leaves of rows x [n, dim], in its columns: *left, the caller's. Local. */
flip_status flip_trial_residual(float **left, const flip_codec *codec, int64_t n, const float *x,
                                const int64_t *key);
/* Squared error on the rows held out over their spread; refinement NULL = one level. Local. */
flip_status flip_trial_measure(double *error, const flip_trials *trials, const flip_codec *codec,
                               const flip_codec *refinement);
/* Sets the spread: the sum of |x - mean|^2 over the rows held out. Local. */
flip_status flip_trial_spread(flip_trials *trials);
/* The codec to use, the caller's: the one asked for, or the best within the budget; *refinement:
 * the one of its second level, NULL = there is one level. */
flip_status flip_trials_run(flip_trials *trials, flip_codec **codec, flip_codec **refinement);

#endif
