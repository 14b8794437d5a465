/* Rows of features as training sees them, read in windows, and what is to know of them all. */
#include "store/compress.h"

#include <math.h>
#include <string.h>

enum { WINDOW_BYTES = 4 << 20 };

/* ---- reading --------------------------------------------------------------------------------
 */

static flip_status fill_row(const flip_feature_rows *r, int64_t node, int64_t n,
                            const int32_t *index, const float *value, float *row) {
    for (int64_t k = 0; k < n; k++) {
        if (index[k] < 0 || index[k] >= r->dim)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' features/indices of node %lld: %d, expected 0 to %d; import it "
                             "again",
                             flip_reader_path(r->reader), (long long)node, index[k], r->dim - 1);
        row[index[k]] += value ? value[k] : 1;
    }
    return FLIP_OK;
}

static flip_status read_sparse(const flip_feature_rows *r, int64_t first, int64_t count,
                               float *out) {
    const flip_reader *f = r->reader;
    flip_status status;
    int64_t *ptr = NULL, n = 0;
    int32_t *index = NULL;
    float *value = NULL;
    FLIP_TRY_GOTO(flip_alloc(&ptr, (size_t)count + 1, sizeof *ptr, "sparse features"));
    FLIP_TRY_GOTO(flip_reader_rows(f, "features/indptr", FLIP_TYPE_I64, first, count + 1, ptr));
    for (int64_t i = 0; i < count && n >= 0; i++)
        n = ptr[i + 1] < ptr[i] ? -1 : ptr[i + 1] - ptr[0];
    if (n < 0) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' features/indptr falls; import it again",
                           flip_reader_path(f));
        goto done;
    }
    FLIP_TRY_GOTO(flip_alloc(&index, (size_t)n, sizeof *index, "sparse features"));
    FLIP_TRY_GOTO(flip_reader_rows(f, "features/indices", FLIP_TYPE_I32, ptr[0], n, index));
    if (flip_reader_has(f, "features/values")) {
        FLIP_TRY_GOTO(flip_alloc(&value, (size_t)n, sizeof *value, "sparse features"));
        FLIP_TRY_GOTO(flip_reader_rows(f, "features/values", FLIP_TYPE_F32, ptr[0], n, value));
    }
    memset(out, 0, (size_t)count * (size_t)r->dim * sizeof *out);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = ptr[i] - ptr[0];
        FLIP_TRY_GOTO(fill_row(r, first + i, ptr[i + 1] - ptr[i], index + at,
                               value ? value + at : NULL, out + i * r->dim));
    }
done:
    flip_free(ptr);
    flip_free(index);
    flip_free(value);
    return status;
}

/* The same division as --feature-norm row of training. */
static void normalise(float *rows, int64_t n, int32_t dim) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int32_t j = 0; j < dim; j++)
            sum += fabs((double)rows[i * dim + j]);
        for (int32_t j = 0; sum > 0 && j < dim; j++)
            rows[i * dim + j] = (float)((double)rows[i * dim + j] / sum);
    }
}

flip_status flip_feature_rows_read(const flip_feature_rows *r, int64_t first, int64_t count,
                                   float *out) {
    if (count == 0) return FLIP_OK;
    if (r->sparse)
        FLIP_TRY(read_sparse(r, first, count, out));
    else
        FLIP_TRY(flip_reader_rows(r->reader, "features/values", FLIP_TYPE_F32, first, count, out));
    if (r->row_normalised) normalise(out, count, r->dim);
    return FLIP_OK;
}

/* ---- what there is --------------------------------------------------------------------------
 */

static flip_status refuse(const flip_reader *r, const char *why) {
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' %s", flip_reader_path(r), why);
}

static flip_status find_changes(flip_feature_rows *r) {
    const flip_reader *f = r->reader;
    int64_t dims[3], steps;
    FLIP_TRY(flip_reader_attribute_i64(f, "/", "n_steps", &steps));
    FLIP_TRY(flip_narrow(&r->n_steps, steps, "the number of steps"));
    FLIP_TRY(flip_reader_shape(f, "features/node", dims, NULL));
    r->n_rows = dims[0];
    r->beside = FLIP_COMPRESS_BESIDE;
    FLIP_TRY(flip_reader_shape(f, "features/step", dims, NULL));
    if (r->sparse || dims[0] != r->n_rows || r->n_steps < 1)
        return refuse(f, "has features of another shape than their steps; flipbook check tells "
                         "more");
    if (r->n_nodes > INT64_MAX / r->n_steps)
        return refuse(f, "has more nodes times steps than 64 bits can number");
    return FLIP_OK;
}

static flip_status find_kind(flip_feature_rows *r) {
    const flip_reader *f = r->reader;
    int64_t dims[3] = {0}, columns;
    if (flip_reader_has(f, "features/codes"))
        return refuse(f, "has packed features already; compress the file they were made from");
    r->sparse = flip_reader_has(f, "features/indptr");
    if (!r->sparse && !flip_reader_has(f, "features/values"))
        return refuse(f, "has no features to pack; import it with --features F.npy");
    FLIP_TRY(flip_reader_attribute_i64(f, "/", "n_nodes", &r->n_nodes));
    FLIP_TRY(flip_reader_shape(f, r->sparse ? "features/indptr" : "features/values", dims, NULL));
    columns = dims[1];
    if (r->sparse) {
        FLIP_TRY(flip_reader_attribute_i64(f, "features", "n_columns", &columns));
        dims[0]--;
    }
    r->n_rows = r->n_nodes;
    if (flip_reader_has(f, "features/node")) FLIP_TRY(find_changes(r));
    if (dims[0] != r->n_rows || columns < 1)
        return refuse(f, "has features of another shape than its nodes; flipbook check tells more");
    return flip_narrow(&r->dim, columns, "the number of features");
}

flip_status flip_feature_rows_keys(const flip_feature_rows *r, int64_t first, int64_t count,
                                   int64_t *key) {
    if (count > 0 && flip_reader_has(r->reader, "nodes/original"))
        return flip_reader_rows(r->reader, "nodes/original", FLIP_TYPE_I64, first, count, key);
    for (int64_t i = 0; i < count; i++)
        key[i] = first + i;
    return FLIP_OK;
}

static flip_status out_of_order(const flip_feature_rows *r, int64_t row, int64_t node,
                                int32_t step) {
    return FLIP_FAIL(
        FLIP_ERROR_INPUT,
        "'%s' features/node: row %lld is node %lld at step %d; expected rows by (node, "
        "step), nodes 0 to %lld, steps 0 to %d; import it again",
        flip_reader_path(r->reader), (long long)row, (long long)node, step,
        (long long)r->n_nodes - 1, r->n_steps - 1);
}

/* node [n + 1], step [n + 1]: of own rows, before them the one that stands there (or -1). */
static flip_status read_places(const flip_feature_rows *r, int64_t n, int64_t *node,
                               int32_t *step) {
    const int64_t before = r->first > 0 ? 1 : 0;
    node[0] = -1;
    step[0] = -1;
    FLIP_TRY(flip_reader_rows(r->reader, "features/node", FLIP_TYPE_I64, r->first - before,
                              n + before, node + 1 - before));
    FLIP_TRY(flip_reader_rows(r->reader, "features/step", FLIP_TYPE_I32, r->first - before,
                              n + before, step + 1 - before));
    for (int64_t i = 1; i <= n; i++) {
        bool in = node[i] >= 0 && node[i] < r->n_nodes && step[i] >= 0 && step[i] < r->n_steps;
        bool after = node[i] > node[i - 1] || (node[i] == node[i - 1] && step[i] > step[i - 1]);
        if (!in || !after) return out_of_order(r, r->first + i - 1, node[i], step[i]);
    }
    return FLIP_OK;
}

static flip_status change_keys(flip_feature_rows *r, int64_t n) {
    flip_status status;
    int64_t *node = NULL, *original = NULL;
    int32_t *step = NULL;
    FLIP_TRY_GOTO(flip_alloc(&node, (size_t)n + 1, sizeof *node, "rows that change"));
    FLIP_TRY_GOTO(flip_alloc(&step, (size_t)n + 1, sizeof *step, "rows that change"));
    FLIP_TRY_GOTO(flip_alloc(&r->step, (size_t)n, sizeof *r->step, "rows that change"));
    if (n == 0) goto done;
    FLIP_TRY_GOTO(read_places(r, n, node, step));
    FLIP_TRY_GOTO(
        flip_alloc(&original, (size_t)(node[n] - node[1] + 1), sizeof *original, "original ids"));
    FLIP_TRY_GOTO(flip_feature_rows_keys(r, node[1], node[n] - node[1] + 1, original));
    for (int64_t i = 0; i < n; i++) {
        r->key[i] = original[node[i + 1] - node[1]] * r->n_steps + step[i + 1];
        r->step[i] = step[i + 1];
    }
done:
    flip_free(node);
    flip_free(step);
    flip_free(original);
    return status;
}

static flip_status read_keys(flip_feature_rows *r) {
    int64_t n = r->last - r->first;
    FLIP_TRY(flip_alloc(&r->key, (size_t)n, sizeof *r->key, "original ids"));
    return r->n_steps > 0 ? change_keys(r, n) : flip_feature_rows_keys(r, r->first, n, r->key);
}

/* ---- rows of some steps ---------------------------------------------------------------------
 */

/* A rank's rows of some steps, or all where features are constant. */
typedef struct step_rows {
    const flip_feature_rows *rows;
    int64_t n, *key, *at; /* [n] own rows; owned, NULL = all */
} step_rows;

static flip_status all_rows(void *data, int64_t first, int64_t count, float *out) {
    const step_rows *some = data;
    return flip_feature_rows_read(some->rows, some->rows->first + first, count, out);
}

/* Those of the steps out of windows of all: one by one each would take a chunk of the file. */
static flip_status listed_rows(void *data, int64_t first, int64_t count, float *out) {
    const step_rows *some = data;
    const flip_feature_rows *r = some->rows;
    const int64_t *at = some->at + first, dim = r->dim;
    int64_t most = WINDOW_BYTES / (dim * (int64_t)sizeof(float)) + 1;
    flip_status status = FLIP_OK;
    float *window;
    FLIP_TRY(flip_alloc(&window, (size_t)most, (size_t)dim * sizeof *window, "rows"));
    for (int64_t i = 0, end; i < count && status == FLIP_OK; i = end) {
        for (end = i + 1; end < count && at[end] - at[i] < most; end++)
            ;
        status = flip_feature_rows_read(r, r->first + at[i], at[end - 1] - at[i] + 1, window);
        for (int64_t k = i; k < end && status == FLIP_OK; k++)
            memcpy(out + k * dim, window + (at[k] - at[i]) * dim, (size_t)dim * sizeof *out);
    }
    flip_free(window);
    return status;
}

/* Those of steps first … end-1. */
static flip_status list_rows(step_rows *some, int32_t first, int32_t end) {
    const flip_feature_rows *r = some->rows;
    int64_t n = r->last - r->first;
    for (int64_t i = 0; i < n; i++)
        some->n += r->step[i] >= first && r->step[i] < end;
    FLIP_TRY(flip_alloc(&some->key, (size_t)some->n, sizeof *some->key, "rows of steps"));
    FLIP_TRY(flip_alloc(&some->at, (size_t)some->n, sizeof *some->at, "rows of steps"));
    some->n = 0;
    for (int64_t i = 0; i < n; i++) {
        if (r->step[i] < first || r->step[i] >= end) continue;
        some->key[some->n] = r->key[i];
        some->at[some->n++] = i;
    }
    return FLIP_OK;
}

flip_status flip_feature_rows_draw(float **sample, int64_t *n, const flip_feature_rows *r,
                                   int32_t first, int32_t end, const flip_compress_params *p) {
    flip_status status;
    step_rows some = {.rows = r};
    flip_row_source source = {
        .n = r->last - r->first, .dim = r->dim, .key = r->key, .rows = all_rows, .data = &some};
    if (r->n_steps > 0) {
        FLIP_TRY_GOTO(flip_comm_agree(r->comm, list_rows(&some, first, end)));
        source.n = some.n;
        source.key = some.key;
        source.rows = listed_rows;
    }
    status = flip_rows_draw(sample, n, r->comm, &source, p->sample, p->seed);
done:
    flip_free(some.key);
    flip_free(some.at);
    return status;
}

/* Adds x to ascending values; *n = 256 once there are more than 255. */
static void add_value(float *value, int32_t *n, float x) {
    int32_t low = 0, high = *n;
    if (*n > FLIP_FEW_VALUES) return;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (value[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < *n && value[low] == x) return;
    if (*n < FLIP_FEW_VALUES) {
        memmove(value + low + 1, value + low, (size_t)(*n - low) * sizeof *value);
        value[low] = x;
    }
    ++*n;
}

static void look(flip_feature_rows *r, const float *rows, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        int32_t filled = 0;
        for (int32_t j = 0; j < r->dim; j++) {
            float x = rows[i * r->dim + j];
            if (x == 0) continue;
            filled++;
            r->negative |= x < 0;
            r->ones &= x == 1;
            if (r->n_values <= FLIP_FEW_VALUES && x == x) add_value(r->value, &r->n_values, x);
        }
        r->nonzeros += filled;
        r->widest = filled > r->widest ? filled : r->widest;
    }
}

static flip_status look_through(flip_feature_rows *r) {
    int64_t most = WINDOW_BYTES / ((int64_t)r->dim * (int64_t)sizeof(float)) + 1;
    float *window;
    flip_status status = FLIP_OK;
    r->n_values = 0;
    FLIP_TRY(flip_alloc(&window, (size_t)most * (size_t)r->dim, sizeof *window, "rows"));
    for (int64_t at = r->first; at < r->last && status == FLIP_OK; at += most) {
        int64_t n = r->last - at < most ? r->last - at : most;
        status = flip_feature_rows_read(r, at, n, window);
        if (status == FLIP_OK) look(r, window, n);
    }
    flip_free(window);
    return status;
}

typedef struct few_values {
    int32_t n;
    float value[FLIP_FEW_VALUES + 1];
} few_values;

/* What each rank saw becomes what all saw. */
static flip_status join(flip_feature_rows *r) {
    few_values mine = {.n = r->n_values}, *all;
    int size = flip_comm_size(r->comm);
    int64_t most[2] = {r->widest, r->negative}, sums[2] = {r->nonzeros, !r->ones};
    memcpy(mine.value, r->value, sizeof mine.value);
    FLIP_TRY(flip_comm_agree(r->comm, flip_alloc(&all, (size_t)size, sizeof *all, "values")));
    flip_status status = flip_comm_gather_all(r->comm, all, &mine, sizeof mine);
    if (status == FLIP_OK) status = flip_comm_max_i64(r->comm, most, 2);
    if (status == FLIP_OK) status = flip_comm_sum_i64(r->comm, sums, 2);
    for (int k = 0; status == FLIP_OK && k < size; k++) {
        if (all[k].n > FLIP_FEW_VALUES) r->n_values = FLIP_FEW_VALUES + 1;
        for (int32_t i = 0; i < all[k].n && r->n_values <= FLIP_FEW_VALUES; i++)
            add_value(r->value, &r->n_values, all[k].value[i]);
    }
    r->widest = (int32_t)most[0];
    r->negative = most[1] != 0;
    r->nonzeros = sums[0];
    r->ones = sums[1] == 0;
    flip_free(all);
    return status;
}

flip_status flip_feature_rows_open(flip_feature_rows *r, flip_comm *comm, const flip_reader *reader,
                                   flip_compress_norm norm) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    *r = (flip_feature_rows){.comm = comm, .reader = reader, .ones = true};
    FLIP_TRY(flip_comm_agree(comm, find_kind(r)));
    r->first = r->n_rows / size * rank + r->n_rows % size * rank / size;
    r->last = r->n_rows / size * (rank + 1) + r->n_rows % size * (rank + 1) / size;
    FLIP_TRY(flip_comm_agree(comm, read_keys(r)));
    FLIP_TRY(flip_comm_agree(comm, look_through(r)));
    FLIP_TRY(join(r));
    bool words = r->ones || (r->sparse && !r->negative);
    r->row_normalised =
        norm == FLIP_COMPRESS_NORM_ROW || (norm == FLIP_COMPRESS_NORM_AUTO && words);
    if (!r->row_normalised) return FLIP_OK;
    const flip_feature_rows before = *r; /* values again, as they are divided */
    FLIP_TRY(flip_comm_agree(comm, look_through(r)));
    FLIP_TRY(join(r));
    r->nonzeros = before.nonzeros;
    r->ones = before.ones;
    r->negative = before.negative;
    return FLIP_OK;
}

void flip_feature_rows_finish(flip_feature_rows *r) {
    flip_free(r->key);
    flip_free(r->step);
    r->key = NULL;
    r->step = NULL;
}
