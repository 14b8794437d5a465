/* Node inputs: given rows, degrees, one-hot degrees, or rows that are learned. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* Rows divided by the sum of their absolute values; empty rows stay empty. */
static void normalise_rows(flip_real *rows, int64_t n, int32_t dim) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int32_t j = 0; j < dim; j++)
            sum += fabs((double)rows[i * dim + j]);
        if (sum == 0) continue;
        for (int32_t j = 0; j < dim; j++)
            rows[i * dim + j] = (flip_real)((double)rows[i * dim + j] / sum);
    }
}

static void log_rows(flip_real *rows, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        rows[i] = (flip_real)copysign(log1p(fabs((double)rows[i])), (double)rows[i]);
}

/* Column sums of f(x) over the rows of all ranks: x, or with a mean (x - mean)^2. */
static flip_status column_sums(flip_data *data, const flip_real *rows, size_t n, int32_t dim,
                               const double *mean, double *sum) {
    memset(sum, 0, (size_t)dim * sizeof *sum);
    for (size_t i = 0; i < n; i++)
        for (int32_t j = 0; j < dim; j++) {
            double x = (double)rows[i * (size_t)dim + (size_t)j];
            sum[j] += mean ? (x - mean[j]) * (x - mean[j]) : x;
        }
    return flip_comm_sum_f64(data->comm, sum, (size_t)dim);
}

/* Each column with mean 0 and standard deviation 1 over the nodes (and steps) of this graph; a
 * column of one value becomes 0. */
static flip_status standardise(flip_data *data, flip_real *rows, size_t n, int32_t dim) {
    double *mean = NULL, *square = NULL;
    int64_t count = (int64_t)n;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&mean, (size_t)dim, sizeof *mean, "means of features"));
    FLIP_TRY_GOTO(flip_alloc(&square, (size_t)dim, sizeof *square, "deviations of features"));
    FLIP_TRY_GOTO(flip_comm_sum_i64(data->comm, &count, 1));
    FLIP_TRY_GOTO(column_sums(data, rows, n, dim, NULL, mean));
    for (int32_t j = 0; j < dim; j++)
        mean[j] /= (double)count;
    FLIP_TRY_GOTO(column_sums(data, rows, n, dim, mean, square));
    for (int32_t j = 0; j < dim; j++) {
        double deviation = sqrt(square[j] / (double)count);
        square[j] = deviation > 1e-12 * fabs(mean[j]) ? 1 / deviation : 0;
    }
    for (size_t i = 0; i < n; i++)
        for (int32_t j = 0; j < dim; j++) {
            flip_real *x = &rows[i * (size_t)dim + (size_t)j];
            *x = (flip_real)(((double)*x - mean[j]) * square[j]);
        }
done:
    flip_free(mean);
    flip_free(square);
    return status;
}

/* Inputs in the thousands make first losses in the thousands. */
static flip_status tell_large(flip_data *data, const flip_real *rows, size_t n) {
    enum { LARGE = 100 };
    int64_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        double x = fabs((double)rows[i]);
        if (x < 1e15 && (int64_t)x > largest) largest = (int64_t)x;
    }
    FLIP_TRY(flip_comm_max_i64(data->comm, &largest, 1));
    if (largest >= LARGE)
        flip_data_note(data,
                       "features reach %lld; --feature-norm standard (mean 0, deviation 1 a "
                       "column) usually trains better",
                       (long long)largest);
    return FLIP_OK;
}

/* The file's rows; those that are constant stand once a node. Copied only where they must change.
 */
static flip_status given_features(flip_data *data) {
    const flip_real *rows = flip_graph_features(data->graph);
    int32_t dim = data->info->n_features;
    size_t n = (size_t)data->n_own * (size_t)(data->info->features_change ? data->steps : 1);
    data->in_dim = dim;
    data->features = rows;
    data->features_constant = !data->info->features_change;
    bool log = data->s.feature_norm == FLIP_FEATURE_NORM_LOG;
    bool standard = data->s.feature_norm == FLIP_FEATURE_NORM_STANDARD;
    if (data->s.feature_norm == FLIP_FEATURE_NORM_NONE)
        FLIP_TRY(tell_large(data, rows, n * (size_t)dim));
    if (!data->row_normalised && !log && !standard) return FLIP_OK;
    FLIP_TRY(flip_alloc(&data->features_owned, n * (size_t)dim, sizeof *rows, "features"));
    if (n > 0) memcpy(data->features_owned, rows, n * (size_t)dim * sizeof *rows);
    if (data->row_normalised) normalise_rows(data->features_owned, (int64_t)n, dim);
    if (log) log_rows(data->features_owned, (int64_t)n * dim);
    if (standard) FLIP_TRY(standardise(data, data->features_owned, n, dim));
    data->features = data->features_owned;
    return FLIP_OK;
}

/* In- and out-degree [n_own, steps, 2], counts of the events of that very step as in TM-GCN: not
 * over their lives. */
static flip_status degree_features(flip_data *data) {
    data->in_dim = 2;
    FLIP_TRY(flip_alloc(&data->features_owned, 2 * (size_t)data->n_own * (size_t)data->steps,
                        sizeof *data->features_owned, "degrees"));
    /* data->events: pairs held out for prediction are not to be seen in the degrees either */
    FLIP_TRY(flip_graph_degrees(data->graph, &data->events, 1, data->features_owned));
    if (data->row_normalised)
        normalise_rows(data->features_owned, (int64_t)data->n_own * data->steps, 2);
    if (data->s.feature_norm == FLIP_FEATURE_NORM_STANDARD &&
        data->s.features == FLIP_FEATURES_DEGREE)
        FLIP_TRY(
            standardise(data, data->features_owned, (size_t)data->n_own * (size_t)data->steps, 2));
    if (data->s.feature_norm == FLIP_FEATURE_NORM_LOG && data->s.features == FLIP_FEATURES_DEGREE)
        log_rows(data->features_owned, 2 * (int64_t)data->n_own * data->steps);
    data->features = data->features_owned;
    return FLIP_OK;
}

/* One column for each sum of in- and out-degree up to the largest (at most 1023: more share the
 * last column), as the EvolveGCN code makes its inputs. */
static flip_status onehot_features(flip_data *data) {
    enum { MOST = 1023 };
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    FLIP_TRY(degree_features(data));
    flip_real *degrees = data->features_owned;
    int64_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t d = (int64_t)(degrees[2 * i] + degrees[2 * i + 1]);
        largest = d > largest ? d : largest;
    }
    flip_status status = flip_comm_max_i64(data->comm, &largest, 1);
    data->features_owned = NULL;
    if (largest > MOST) largest = MOST;
    data->in_dim = (int32_t)largest + 1;
    FLIP_TRY_GOTO(status);
    FLIP_TRY_GOTO(flip_alloc_zero(&data->features_owned, n * (size_t)data->in_dim, sizeof *degrees,
                                  "one-hot features"));
    for (size_t i = 0; i < n; i++) {
        int64_t d = (int64_t)(degrees[2 * i] + degrees[2 * i + 1]);
        data->features_owned[i * (size_t)data->in_dim + (size_t)(d < largest ? d : largest)] = 1;
    }
    data->features = data->features_owned;
done:
    flip_free(degrees);
    return status;
}

flip_status flip_data_features(flip_data *data) {
    bool given = flip_graph_features(data->graph) != NULL || data->info->n_features > 0;
    bool words = data->info->features_binary ||
                 (data->info->features_sparse && !data->info->features_negative);
    flip_settings *s = &data->s;
    if (s->features == FLIP_FEATURES_AUTO)
        s->features = given ? FLIP_FEATURES_GIVEN : FLIP_FEATURES_DEGREE;
    if (s->features == FLIP_FEATURES_GIVEN && !given)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--features given: '%s' has no features; import it with --features F.npy, "
                         "or train with --features degree",
                         s->graph);
    if (s->feature_norm == FLIP_FEATURE_NORM_AUTO)
        s->feature_norm = s->features == FLIP_FEATURES_DEGREE           ? FLIP_FEATURE_NORM_LOG
                          : s->features == FLIP_FEATURES_GIVEN && words ? FLIP_FEATURE_NORM_ROW
                                                                        : FLIP_FEATURE_NORM_NONE;
    data->row_normalised = s->feature_norm == FLIP_FEATURE_NORM_ROW;
    if (s->input_dropout == FLIP_UNSET)
        s->input_dropout =
            s->features == FLIP_FEATURES_GIVEN && data->row_normalised ? s->dropout : 0;
    switch (s->features) {
    case FLIP_FEATURES_GIVEN:
        return given_features(data);
    case FLIP_FEATURES_DEGREE:
        return degree_features(data);
    case FLIP_FEATURES_ONEHOT:
        return onehot_features(data);
    default: /* rows are made by learned.c */
        data->in_dim = (int32_t)s->hidden;
        return FLIP_OK;
    }
}
