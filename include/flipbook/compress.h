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
    uint64_t seed;
    flip_codec_progress progress; /* on rank 0; may be NULL */
    void *progress_data;
} flip_compress_params;
#define FLIP_COMPRESS_DEFAULTS ((flip_compress_params){.sample = 65536})

/* A codec that was learned and measured on the rows held out. */
typedef struct flip_compress_trial {
    char codec[48], why[96]; /* why: refused, or chosen, or passed over */
    size_t row_bytes, table_bytes;
    double ratio; /* native bytes / stored bytes */
    double error; /* squared error / squared distance from the mean; NaN = not measured */
    double seconds;
    bool fits, chosen;
} flip_compress_trial;
enum { FLIP_COMPRESS_TRIALS = 32, FLIP_COMPRESS_AXES = 8 };

typedef struct flip_compressed {
    int64_t n_nodes, n_columns, nonzeros;
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
} flip_compressed;

/* Collective. Writes `graph` with packed features to path. Refuses graphs without constant
 * features, features that are packed already, budgets that no codec meets (with the nearest).
 * `out` is complete on rank 0. */
flip_status flip_compress(flip_compressed *out, flip_comm *comm, const flip_reader *graph,
                          const char *path, const flip_compress_params *params);

#ifdef __cplusplus
}
#endif
#endif
