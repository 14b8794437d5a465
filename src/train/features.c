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

/* The file's rows, repeated over the steps where they are constant. Copied only where they must
 * change. */
static flip_status given_features(flip_data *data) {
    const flip_real *rows = flip_graph_features(data->graph);
    int32_t dim = data->info->n_features;
    bool repeat = data->steps > 1 && !data->info->features_change;
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    data->in_dim = dim;
    data->features = rows;
    bool log = data->s.feature_norm == FLIP_FEATURE_NORM_LOG;
    if (!repeat && !data->row_normalised && !log) return FLIP_OK;
    FLIP_TRY(flip_alloc(&data->features_owned, n * (size_t)dim, sizeof *rows, "features"));
    for (size_t i = 0; i < n; i++)
        memcpy(data->features_owned + i * (size_t)dim,
               rows + (repeat ? i / (size_t)data->steps : i) * (size_t)dim,
               (size_t)dim * sizeof *rows);
    if (data->row_normalised) normalise_rows(data->features_owned, (int64_t)n, dim);
    if (log) log_rows(data->features_owned, (int64_t)n * dim);
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
