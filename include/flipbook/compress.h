/* Flipbook: compress — a graph with its features packed.
 *
 *     graph.h5: rows ──draw──▶ sample ─┬─ 7 of 8 rows ─▶ candidates learned ─▶ measured on the 8th
 *                                      └───────────────▶ the chosen codec
 *     every rank: its rows ──encode──▶ features/codes, the rest of the file as it is
 *
 * A codec of two levels, COARSE+REFINEMENT, also writes features/refinement: codes of what the
 * coarse ones leave of each row. Stored bytes are codes, tables and padding, of both; the ratio is
 * to the native type, the smaller of dense float32 and CSR. The file does not depend on the number
 * of ranks and threads.
 *
 * Features that change from step to step: codebooks are learned from the rows of a few steps, the
 * first ones unless told otherwise, and stay as they are. Of a later step only rows whose codes
 * differ from what the node had are stored. How well the codebooks still fit is measured at every
 * step, on the rows that the file gives for it:
 *
 *     step   0 ─ learned ─ 3 │ 4   5   6 …        drift[t].error: squared error of a row over the
 *     error  .02 .02 .02 .02 │.02 .02 .05 …       variance of the steps learned from
 *
 * Where new rows come out of another distribution the error rises beside learned_error (in 6, 2.5
 * times); codebooks that are learned again at a step (retrain) tell how much of that they would
 * take away.
 */
#ifndef FLIPBOOK_COMPRESS_H
#define FLIPBOOK_COMPRESS_H

#include <flipbook/container.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_compress_norm {
    FLIP_COMPRESS_NORM_AUTO, /* as training does: row for 0/1 and non-negative sparse features */
    FLIP_COMPRESS_NORM_NONE,
    FLIP_COMPRESS_NORM_ROW /* rows are divided by their sum of |x| before they are encoded */
} flip_compress_norm;

typedef struct flip_compress_params {
    const char *codec; /* a name (codec.h), of one level or two, or NULL: */
    double budget;     /* the best codec of at least this ratio */
    flip_compress_norm norm;
    bool keep_rotation; /* else it is left out: training does not need it, new rows would */
    int64_t sample;     /* rows to learn from, at most */
    /* of features that change, else 0: */
    int32_t first_step, n_steps; /* steps to learn from; n_steps 0 = an eighth of them */
    int32_t retrain;             /* every so many steps behind those, learn again to compare; 0 */
    uint64_t seed;
    flip_codec_progress progress; /* on rank 0; may be NULL */
    void *progress_data;
} flip_compress_params;
#define FLIP_COMPRESS_DEFAULTS ((flip_compress_params){.sample = 65536})

/* A codec that was learned and measured on the rows held out. */
typedef struct flip_compress_trial {
    char codec[FLIP_CODEC_NAME], why[96]; /* why: refused, or chosen, or passed over */
    size_t row_bytes, table_bytes;
    double ratio; /* native bytes / stored bytes */
    double error; /* squared error / squared distance from the mean; NaN = not measured */
    double seconds;
    bool fits, chosen;
} flip_compress_trial;
enum { FLIP_COMPRESS_TRIALS = 32, FLIP_COMPRESS_AXES = 8 };

/* A row that changes takes the bytes of its node (int64) and step (int32) beside its codes. */
enum { FLIP_COMPRESS_BESIDE = 12 };
/* A step of features that change. */
typedef struct flip_compress_drift {
    int64_t given, stored; /* rows of the file before; of those, with other codes than the node had
                              (nodes without a row at step 0 get one of zeros: stored) */
    double error;          /* of the rows given; NaN = none */
    double retrained; /* … with codebooks learned at this step, on rows held out; NaN = not */
} flip_compress_drift;

typedef struct flip_compressed {
    int64_t n_nodes, n_columns, nonzeros;
    int64_t given_rows, stored_rows; /* a node each where features are constant */
    int64_t native_bytes, dense_bytes, csr_bytes, stored_bytes; /* of the features */
    bool row_normalised;
    int64_t learned, held; /* rows */
    flip_compress_trial trial[FLIP_COMPRESS_TRIALS];
    int32_t n_trials, chosen;
    int32_t refinement; /* the trial of the second level, measured with both; 0 = there is none */
    /* share of the variance in the first 1, 2, 4 … 128 principal axes; NaN where there are fewer or
     * they were not measured (more than 1024 columns) */
    double spectrum[FLIP_COMPRESS_AXES];
    double learn_seconds, encode_seconds;
    /* features that change, else 0 and NULL: */
    int32_t n_steps, learned_first, learned_steps;
    double learned_error;       /* of the rows of the steps learned from */
    flip_compress_drift *drift; /* [n_steps], owned */
} flip_compressed;
void flip_compressed_finish(flip_compressed *compressed);
/* Is a step's error above limit times learned_error? Of those behind the ones learned from that
 * have FLIP_DRIFT_LEAST rows or more. */
enum { FLIP_DRIFT_LEAST = 8 };
bool flip_compressed_above(const flip_compressed *compressed, int32_t step, double limit);
/* The first of these; -1 = none. */
int32_t flip_compressed_drifted(const flip_compressed *compressed, double limit);

/* Collective. Writes `graph` with packed features to path. Refuses graphs without features,
 * features that are packed already, budgets that no codec meets (with the nearest); of features
 * that change near:B and steps that hold no row. Of trials and figures `out` is complete on rank 0.
 */
flip_status flip_compress(flip_compressed *out, flip_comm *comm, const flip_reader *graph,
                          const char *path, const flip_compress_params *params);

#ifdef __cplusplus
}
#endif
#endif
