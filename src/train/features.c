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

static void shift_rows(const flip_rows_norm *norm, int64_t n, flip_real *rows) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < norm->dim; j++) {
            flip_real *x = &rows[i * norm->dim + j];
            *x = (flip_real)(((double)*x - norm->mean[j]) * norm->scale[j]);
        }
}

/* sum [dim] += f(x) over rows, each `times` times (NULL: once): x, or with a mean (x - mean)^2.
 * Returns how many that are. */
static int64_t add_columns(const flip_real *rows, int64_t n, int32_t dim, const int32_t *times,
                           const double *mean, double *sum) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; count += times ? times[i] : 1, i++)
        for (int32_t j = 0; j < dim; j++) {
            double x = (double)rows[i * dim + j];
            sum[j] += (times ? times[i] : 1) * (mean ? (x - mean[j]) * (x - mean[j]) : x);
        }
    return count;
}

/* The same of the rows that codes stand for, each for its steps where they change. */
static flip_status add_packed_columns(const flip_data *data, const double *mean, double *sum,
                                      int64_t *count) {
    enum { ROWS = 256 };
    const int64_t *first = flip_graph_code_first(data->graph);
    const int32_t *step = flip_graph_code_steps(data->graph);
    const int32_t dim = data->packed.packing->dim;
    int32_t times[ROWS], index[ROWS];
    flip_packed_rows some = data->packed;
    flip_real *rows;
    const int64_t all = first ? first[data->n_own] : data->n_own;
    int32_t n = 0;
    some.index = index;
    FLIP_TRY(flip_alloc(&rows, ROWS, (size_t)dim * sizeof *rows, "decoded rows"));
    flip_status status = FLIP_OK;
    for (int64_t v = 0; v < data->n_own && status == FLIP_OK; v++) {
        const int64_t end = first ? first[v + 1] : v + 1;
        for (int64_t i = first ? first[v] : v; i < end && status == FLIP_OK; i++) {
            index[n] = (int32_t)i;
            times[n++] = first ? (i + 1 < end ? step[i + 1] : data->steps) - step[i] : 1;
            if (n < ROWS && i + 1 < all) continue;
            status = flip_packed_rows_decode(&some, flip_kernels_get(), 0, n, rows);
            if (status == FLIP_OK) *count += add_columns(rows, n, dim, times, mean, sum);
            n = 0;
        }
    }
    flip_free(rows);
    return flip_comm_agree(data->comm, status);
}

/* Sums of all ranks' rows, or with rows NULL of their codes'. */
static flip_status column_sums(flip_data *data, const flip_real *rows, int64_t n, int32_t dim,
                               const double *mean, double *sum, int64_t *count) {
    memset(sum, 0, (size_t)dim * sizeof *sum);
    *count = 0;
    if (data->packed.packing)
        FLIP_TRY(add_packed_columns(data, mean, sum, count));
    else
        *count = add_columns(rows, n, dim, NULL, mean, sum);
    FLIP_TRY(flip_comm_sum_i64(data->comm, count, 1));
    return flip_comm_sum_f64(data->comm, sum, (size_t)dim);
}

/* Each column with mean 0 and standard deviation 1 over the nodes (and steps) of this graph; a
 * column of one value becomes 0. norm->mean [2 dim] is the caller's to free. */
static flip_status find_standard(flip_data *data, const flip_real *rows, int64_t n, int32_t dim,
                                 flip_rows_norm *norm) {
    int64_t count;
    *norm = (flip_rows_norm){.apply = shift_rows, .dim = dim};
    FLIP_TRY(flip_alloc(&norm->mean, 2 * (size_t)dim, sizeof *norm->mean, "means of features"));
    norm->scale = norm->mean + dim;
    FLIP_TRY(column_sums(data, rows, n, dim, NULL, norm->mean, &count));
    for (int32_t j = 0; j < dim; j++)
        norm->mean[j] /= (double)count;
    FLIP_TRY(column_sums(data, rows, n, dim, norm->mean, norm->scale, &count));
    for (int32_t j = 0; j < dim; j++) {
        double deviation = sqrt(norm->scale[j] / (double)count);
        norm->scale[j] = deviation > 1e-12 * fabs(norm->mean[j]) ? 1 / deviation : 0;
    }
    return FLIP_OK;
}

static flip_status standardise(flip_data *data, flip_real *rows, size_t n, int32_t dim) {
    flip_rows_norm norm;
    flip_status status = find_standard(data, rows, (int64_t)n, dim, &norm);
    if (status == FLIP_OK) shift_rows(&norm, (int64_t)n, rows);
    flip_free(norm.mean);
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

static void divide_rows(const flip_rows_norm *norm, int64_t n, flip_real *rows) {
    normalise_rows(rows, n, norm->dim);
}

static void take_logs(const flip_rows_norm *norm, int64_t n, flip_real *rows) {
    log_rows(rows, n * norm->dim);
}

flip_status flip_data_packed_norm(flip_data *data) {
    const int how = data->s.feature_norm;
    flip_rows_norm *norm = &data->packed_norm;
    if (!data->packed.packing || how == FLIP_FEATURE_NORM_NONE) return FLIP_OK;
    *norm = (flip_rows_norm){.apply = how == FLIP_FEATURE_NORM_LOG ? take_logs : divide_rows,
                             .dim = data->in_dim};
    if (how == FLIP_FEATURE_NORM_STANDARD)
        FLIP_TRY(find_standard(data, NULL, 0, data->in_dim, norm));
    data->packed.norm = norm;
    return FLIP_OK;
}

/* The file's codes, as they are: the first layer decodes what it reads. */
const char *flip_data_packed_off_device(const flip_data *data) {
    if (data->s.model > FLIP_MODEL_GIN) return "models of their own time read them on the CPU";
    if (data->s.feature_norm != FLIP_FEATURE_NORM_NONE)
        return "--feature-norm normalises them on the CPU";
    return data->steps > 1 ? "of several steps they are read on the CPU" : NULL;
}

static flip_status packed_features(flip_data *data) {
    const flip_settings *s = &data->s;
    const char *off_device = s->device > FLIP_DEVICE_CPU ? flip_data_packed_off_device(data) : NULL;
    const int64_t *first = flip_graph_code_first(data->graph);
    int32_t rows; /* are asked for by number */
    const char *why = NULL;
    if (data->steps > 1 && data->info->refinement_bytes > 0)
        why = "of several steps they have one level; compress without a second";
    else if (s->features == FLIP_FEATURES_GIVEN_DEGREE)
        why = "--features given+degree needs them unpacked";
    else if (s->input_dropout > 0)
        why = "--input-dropout acts on sums of their rows, which stand nowhere; use --dropout";
    else if (s->residual && s->model == FLIP_MODEL_SAGE && data->info->n_features == s->hidden)
        why = "--residual of sage adds them as they are";
    if (why || off_device)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "'%s' has packed features (codec %s): %s%s",
                         flip_reader_path(flip_graph_reader(data->graph)),
                         flip_codec_name(flip_graph_codec(data->graph)),
                         off_device ? off_device : why, off_device ? "; use --device cpu" : "");
    data->packed = (flip_packed_rows){.packing = flip_codec_packing(flip_graph_codec(data->graph)),
                                      .codes = flip_graph_codes(data->graph),
                                      .key = data->original};
    data->in_dim = data->info->n_features;
    data->s.precompute = false; /* A X would be as wide as unpacked features */
    return flip_comm_agree(data->comm, flip_narrow(&rows, first ? first[data->n_own] : data->n_own,
                                                   "the number of packed rows"));
}

/* The file's rows, copied only where they must change. */
static flip_status given_features(flip_data *data) {
    const flip_real *rows = flip_graph_features(data->graph);
    flip_columns *given = data->info->features_change ? &data->moving : &data->fixed;
    int32_t dim = data->info->n_features;
    if (flip_graph_codec(data->graph)) return packed_features(data);
    size_t n = (size_t)data->n_own * (size_t)(data->info->features_change ? data->steps : 1);
    data->in_dim = dim;
    *given = (flip_columns){.dim = dim, .values = rows};
    bool log = data->s.feature_norm == FLIP_FEATURE_NORM_LOG;
    bool standard = data->s.feature_norm == FLIP_FEATURE_NORM_STANDARD;
    if (data->s.feature_norm == FLIP_FEATURE_NORM_NONE)
        FLIP_TRY(tell_large(data, rows, n * (size_t)dim));
    if (!data->row_normalised && !log && !standard) return FLIP_OK;
    flip_real *own;
    FLIP_TRY(flip_alloc(&own, n * (size_t)dim, sizeof *own, "features"));
    given->values = given->owned = own;
    if (n > 0) memcpy(own, rows, n * (size_t)dim * sizeof *own);
    if (data->row_normalised) normalise_rows(own, (int64_t)n, dim);
    if (log) log_rows(own, (int64_t)n * dim);
    if (standard) FLIP_TRY(standardise(data, own, n, dim));
    return FLIP_OK;
}

/* [n, dim] of 0 that the caller fills, refused beforehand where they do not fit. */
static flip_status make_columns(flip_data *data, flip_columns *columns, size_t n, int32_t dim,
                                const char *what) {
    FLIP_TRY(flip_data_fits(data, (double)n * dim, what));
    columns->dim = data->in_dim = dim;
    FLIP_TRY(flip_alloc_zero(&columns->owned, n * (size_t)dim, sizeof *columns->owned, what));
    columns->values = columns->owned;
    return FLIP_OK;
}

/* In- and out-degree [n_own, steps, 2], counts of the events of that very step as in TM-GCN: not
 * over their lives. */
static flip_status degree_features(flip_data *data) {
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    FLIP_TRY(make_columns(data, &data->moving, n, 2, "degrees"));
    flip_real *rows = data->moving.owned;
    /* data->events: pairs held out for prediction are not to be seen in the degrees either */
    FLIP_TRY(flip_graph_degrees(data->graph, &data->events, 1, rows));
    if (data->row_normalised) normalise_rows(rows, (int64_t)n, 2);
    if (data->s.feature_norm == FLIP_FEATURE_NORM_STANDARD) FLIP_TRY(standardise(data, rows, n, 2));
    if (data->s.feature_norm == FLIP_FEATURE_NORM_LOG) log_rows(rows, 2 * (int64_t)n);
    return FLIP_OK;
}

/* ---- one-hot ---- */

/* `all` without repetitions of (destination, step, source), which stand together. The arrays of
 * *distinct are the caller's to free. */
static flip_status distinct_events(const flip_events *all, flip_events *distinct) {
    size_t n = (size_t)all->n;
    flip_gid *dst, *src;
    int32_t *step = NULL;
    FLIP_TRY(flip_alloc(&dst, n, sizeof *dst, "distinct events"));
    distinct->dst = dst;
    FLIP_TRY(flip_alloc(&src, n, sizeof *src, "distinct events"));
    distinct->src = src;
    if (all->step) FLIP_TRY(flip_alloc(&step, n, sizeof *step, "distinct events"));
    distinct->step = step;
    for (int64_t e = 0; e < all->n; e++) {
        int64_t last = distinct->n - 1;
        if (last >= 0 && dst[last] == all->dst[e] && src[last] == all->src[e] &&
            (!step || step[last] == all->step[e]))
            continue;
        dst[last + 1] = all->dst[e];
        src[last + 1] = all->src[e];
        if (step) step[last + 1] = all->step[e];
        distinct->n++;
    }
    return FLIP_OK;
}

/* Neighbours of each own node and step [n_own * steps]: distinct ones; of a directed graph those
 * before and behind it together. */
static flip_status count_neighbours(flip_data *data, int32_t **count) {
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    flip_events distinct = {0};
    flip_real *degrees = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(count, n, sizeof **count, "degrees"));
    FLIP_TRY_GOTO(flip_alloc(&degrees, 2 * n, sizeof *degrees, "degrees"));
    status = distinct_events(&data->events, &distinct);
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(flip_graph_degrees(data->graph, &distinct, 1, degrees));
    for (size_t i = 0; i < n; i++)
        (*count)[i] = (int32_t)(degrees[2 * i] + (data->info->undirected ? 0 : degrees[2 * i + 1]));
done:
    flip_free(degrees);
    flip_free((void *)distinct.dst);
    flip_free((void *)distinct.src);
    flip_free((void *)distinct.step);
    return status;
}

/* A column a degree; in the short form from 32 on eight columns an octave. */
static int32_t degree_column(int32_t degree, bool brief) {
    enum { EXACT = 32, OCTAVE = 8 };
    if (!brief || degree < EXACT) return degree;
    return EXACT + (int32_t)floor(OCTAVE * log2((double)degree / EXACT) + 1e-9);
}

/* One column for each number of neighbours up to the largest (at most 1023: more share the last
 * column), as the EvolveGCN code makes its inputs. */
static flip_status onehot_features(flip_data *data, bool brief) {
    enum { MOST = 1023 };
    size_t n = (size_t)data->n_own * (size_t)data->steps;
    int32_t *count = NULL;
    int64_t last = 0;
    flip_status status;
    FLIP_TRY_GOTO(count_neighbours(data, &count));
    for (size_t i = 0; i < n; i++) {
        count[i] = degree_column(count[i], brief);
        last = count[i] > last ? count[i] : last;
    }
    FLIP_TRY_GOTO(flip_comm_max_i64(data->comm, &last, 1));
    if (last > MOST) last = MOST;
    FLIP_TRY_GOTO(make_columns(data, &data->moving, n, (int32_t)last + 1, "one-hot features"));
    for (size_t i = 0; i < n; i++)
        data->moving.owned[i * (size_t)data->in_dim + (size_t)(count[i] < last ? count[i] : last)] =
            1;
done:
    flip_free(count);
    return status;
}

/* A column a node: its id before partitioning. */
static flip_status identity_features(flip_data *data) {
    int32_t dim;
    FLIP_TRY(flip_narrow(&dim, data->info->n_nodes, "inputs of --features identity"));
    FLIP_TRY(make_columns(data, &data->fixed, (size_t)data->n_own, dim, "identity features"));
    for (size_t i = 0; i < (size_t)data->n_own; i++)
        data->fixed.owned[i * (size_t)dim + (size_t)data->original[i]] = 1;
    return FLIP_OK;
}

flip_status flip_data_features(flip_data *data) {
    bool given = flip_graph_features(data->graph) != NULL || data->info->n_features > 0;
    bool words = data->info->features_binary ||
                 (data->info->features_sparse && !data->info->features_negative);
    flip_settings *s = &data->s;
    if (s->features == FLIP_FEATURES_AUTO)
        s->features = given ? FLIP_FEATURES_GIVEN : FLIP_FEATURES_DEGREE;
    bool both = s->features == FLIP_FEATURES_GIVEN_DEGREE;
    if ((s->features == FLIP_FEATURES_GIVEN || both) && !given)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--features given: '%s' has no features; import it with --features F.npy, "
                         "or train with --features degree",
                         s->graph);
    if (s->feature_norm == FLIP_FEATURE_NORM_AUTO && s->features == FLIP_FEATURES_GIVEN &&
        flip_graph_codec(data->graph))
        s->feature_norm = FLIP_FEATURE_NORM_NONE; /* codes stay as they are */
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
    case FLIP_FEATURES_ONEHOT_BRIEF:
        return onehot_features(data, s->features == FLIP_FEATURES_ONEHOT_BRIEF);
    case FLIP_FEATURES_IDENTITY:
        return identity_features(data);
    case FLIP_FEATURES_GIVEN_DEGREE:
        FLIP_TRY(given_features(data));
        return flip_data_add_degrees(data);
    default: /* rows are made by learned.c */
        data->in_dim = (int32_t)s->hidden;
        return FLIP_OK;
    }
}
