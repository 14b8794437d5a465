/* Features of nodes from .npy files: constant rows, rows that change, sparse rows. */
#include "datasets/import_private.h"
#include "datasets/npy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t window_bytes = 4 << 20;

int64_t flip_import_window(int64_t width, size_t size) {
    int64_t n = window_bytes / ((width > 0 ? width : 1) * (int64_t)size);
    return n > 0 ? n : 1;
}

/* Counts values that are not finite; refuses the first unless they are allowed. */
flip_status flip_import_check_finite(flip_import_state *s, const char *path, const float *values,
                                     int64_t n, int64_t first, int64_t width, int64_t *n_bad) {
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(values[i])) continue;
        ++*n_bad;
        if (s->p->allow_nan) continue;
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s': row %lld, column %lld (counted from 0) is %s, expected a finite "
                         "number; --allow-nan keeps such values",
                         path, (long long)((first + i) / width), (long long)((first + i) % width),
                         isnan(values[i]) ? "NaN" : "infinite");
    }
    return FLIP_OK;
}

flip_status flip_import_kept_nan(flip_import_state *s, int64_t n_bad) {
    flip_import_note(s, "features hold %lld values that are not finite", (long long)n_bad);
    return flip_writer_attribute_i64(s->writer, "features", "allow_nan", 1);
}

static flip_status write_constant_rows(flip_import_state *s, flip_npy *npy, const float *all,
                                       float *buffer) {
    int64_t n = npy->shape[0], width = npy->n_dims == 1 ? 1 : npy->shape[1], n_bad = 0;
    int64_t rows = flip_import_window(width, sizeof(float));
    for (int64_t first = 0; first < n; first += rows) {
        int64_t some = n - first < rows ? n - first : rows;
        const float *values = all ? all + first * width : buffer;
        if (!all) FLIP_TRY(flip_npy_read(npy, FLIP_TYPE_F32, some * width, buffer));
        FLIP_TRY(flip_import_check_finite(s, s->features, values, some * width, first * width,
                                          width, &n_bad));
        FLIP_TRY(flip_writer_rows(s->writer, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32, some,
                                  width, 0, values));
        flip_import_progress(s, "features", (double)(first + some) / (double)n);
    }
    if (n_bad) FLIP_TRY(flip_import_kept_nan(s, n_bad));
    snprintf(s->report->features, sizeof s->report->features, "%lld columns, dense, constant",
             (long long)width);
    return FLIP_OK;
}

static flip_status write_dense(flip_import_state *s) {
    flip_npy *npy;
    float *all = NULL, *buffer = NULL;
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS];
    flip_status status;
    FLIP_TRY(flip_npy_open(&npy, s->features));
    int64_t width = npy->n_dims == 1 ? 1 : npy->shape[1];
    if (width < 1) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has no columns, expected [nodes, features]",
                           s->features);
        goto done;
    }
    if (npy->fortran)
        FLIP_TRY_GOTO(flip_npy_load(s->features, FLIP_TYPE_F32, &all, &n_dims, shape));
    else
        FLIP_TRY_GOTO(flip_alloc(&buffer,
                                 (size_t)(flip_import_window(width, sizeof(float)) * width),
                                 sizeof(float), "features"));
    FLIP_TRY_GOTO(write_constant_rows(s, npy, all, buffer));
done:
    flip_npy_close(&npy);
    flip_free(all);
    flip_free(buffer);
    return status;
}

/* Rows of [T, N, width] that differ from the step before, by (node, step): at most `room` of them
 * from *node, *step on, which move on. */
typedef struct change_walk {
    const char *values; /* [n_steps, n_nodes, bytes] */
    int64_t n_steps, n_nodes, bytes;
    int64_t node, step;
} change_walk;

static const char *walk_row(const change_walk *w, int64_t step) {
    return w->values + (step * w->n_nodes + w->node) * w->bytes;
}

static int64_t walk(change_walk *w, int64_t room, int64_t *node, int32_t *step, char *rows) {
    int64_t n = 0;
    for (; w->node < w->n_nodes; w->node++, w->step = 0)
        for (; w->step < w->n_steps; w->step++) {
            const char *row = walk_row(w, w->step);
            if (w->step > 0 && !memcmp(row, walk_row(w, w->step - 1), (size_t)w->bytes)) continue;
            if (n == room) return n;
            node[n] = w->node;
            step[n] = (int32_t)w->step;
            memcpy(rows + n * w->bytes, row, (size_t)w->bytes);
            n++;
        }
    return n;
}

/* Writes NAME/node, NAME/step and NAME/LAST for [T, N, width] values; *n_rows of them. */
flip_status flip_import_write_changes(flip_import_state *s, const char *name, const char *last,
                                      flip_type type, const void *values, const int64_t *shape,
                                      int64_t width, int64_t *n_rows) {
    change_walk w = {values, shape[0], shape[1], width * (int64_t)flip_type_size(type), 0, 0};
    int64_t room = flip_import_window(width, flip_type_size(type)), n, *node = NULL;
    int32_t *step = NULL;
    char *rows = NULL, path[64];
    flip_status status;
    if (room > 1 << 16) room = 1 << 16;
    *n_rows = 0;
    FLIP_TRY_GOTO(flip_alloc(&node, (size_t)room, sizeof *node, "changing rows"));
    FLIP_TRY_GOTO(flip_alloc(&step, (size_t)room, sizeof *step, "changing rows"));
    FLIP_TRY_GOTO(flip_alloc(&rows, (size_t)room, (size_t)w.bytes, "changing rows"));
    while ((n = walk(&w, room, node, step, rows)) > 0) {
        snprintf(path, sizeof path, "%s/node", name);
        FLIP_TRY_GOTO(
            flip_writer_rows(s->writer, path, FLIP_TYPE_I64, FLIP_TYPE_I64, n, 0, 0, node));
        snprintf(path, sizeof path, "%s/step", name);
        FLIP_TRY_GOTO(
            flip_writer_rows(s->writer, path, FLIP_TYPE_I32, FLIP_TYPE_I32, n, 0, 0, step));
        snprintf(path, sizeof path, "%s/%s", name, last);
        FLIP_TRY_GOTO(flip_writer_rows(s->writer, path, type, type, n,
                                       strcmp(last, "class") ? width : 0, 0, rows));
        *n_rows += n;
    }
done:
    flip_free(node);
    flip_free(step);
    flip_free(rows);
    return status;
}

static flip_status write_changing(flip_import_state *s) {
    float *values;
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS], n_bad = 0, n_rows;
    FLIP_TRY(flip_npy_load(s->features, FLIP_TYPE_F32, &values, &n_dims, shape));
    flip_status status;
    FLIP_TRY_GOTO(flip_import_check_finite(s, s->features, values, shape[0] * shape[1] * shape[2],
                                           0, shape[2], &n_bad));
    FLIP_TRY_GOTO(flip_import_write_changes(s, "features", "values", FLIP_TYPE_F32, values, shape,
                                            shape[2], &n_rows));
    if (n_bad) FLIP_TRY_GOTO(flip_import_kept_nan(s, n_bad));
    snprintf(s->report->features, sizeof s->report->features,
             "%lld columns, changing: %lld rows kept of %lld nodes × %lld steps",
             (long long)shape[2], (long long)n_rows, (long long)shape[1], (long long)shape[0]);
done:
    flip_free(values);
    return status;
}

static flip_status load_vector(const char *path, flip_type type, void *data, int64_t *n) {
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS];
    FLIP_TRY(flip_npy_load(path, type, data, &n_dims, shape));
    *n = shape[0];
    if (n_dims == 1) return FLIP_OK;
    flip_free(*(void **)data);
    *(void **)data = NULL;
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has %d dimensions, expected one", path, n_dims);
}

/* Ascending columns in every row; a column twice in a row is refused. */
static flip_status order_row(flip_import_state *s, flip_sparse *x, int64_t row) {
    for (int64_t i = x->indptr[row] + 1; i < x->indptr[row + 1]; i++) {
        int32_t column = x->indices[i];
        float value = x->values ? x->values[i] : 1;
        int64_t j = i;
        for (; j > x->indptr[row] && x->indices[j - 1] > column; j--) {
            x->indices[j] = x->indices[j - 1];
            if (x->values) x->values[j] = x->values[j - 1];
        }
        x->indices[j] = column;
        if (x->values) x->values[j] = value;
    }
    for (int64_t i = x->indptr[row] + 1; i < x->indptr[row + 1]; i++)
        if (x->indices[i] == x->indices[i - 1])
            return FLIP_FAIL(
                FLIP_ERROR_INPUT,
                "'%s': row %lld has column %d twice; add the two values up or drop one", s->indices,
                (long long)row, x->indices[i]);
    return FLIP_OK;
}

static flip_status check_csr(flip_import_state *s, flip_sparse *x) {
    int64_t most = -1, limit = s->feature_columns ? s->feature_columns : INT32_MAX;
    if (x->indptr[0] != 0 || x->indptr[x->n] != x->nnz)
        return FLIP_FAIL(
            FLIP_ERROR_INPUT,
            "'%s' runs from %lld to %lld, expected from 0 to %lld (the length of '%s')", s->indptr,
            (long long)x->indptr[0], (long long)x->indptr[x->n], (long long)x->nnz, s->indices);
    for (int64_t v = 0; v < x->n; v++)
        if (x->indptr[v + 1] < x->indptr[v] || x->indptr[v + 1] > x->nnz)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': element %lld is %lld, expected ascending row starts up to %lld",
                             s->indptr, (long long)v + 1, (long long)x->indptr[v + 1],
                             (long long)x->nnz);
    for (int64_t i = 0; i < x->nnz; i++) {
        if (x->indices[i] < 0 || x->indices[i] >= limit)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': element %lld is column %d, expected 0 to %lld", s->indices,
                             (long long)i, x->indices[i], (long long)limit - 1);
        if (x->indices[i] > most) most = x->indices[i];
    }
    x->n_columns = s->feature_columns ? s->feature_columns : most + 1;
    for (int64_t v = 0; v < x->n; v++)
        FLIP_TRY(order_row(s, x, v));
    return FLIP_OK;
}

flip_status flip_import_write_csr(flip_import_state *s, const flip_sparse *x, const char *path) {
    int64_t n_bad = 0;
    bool ones = true;
    if (x->values)
        FLIP_TRY(flip_import_check_finite(s, path, x->values, x->nnz, 0, x->nnz > 0 ? x->nnz : 1,
                                          &n_bad));
    for (int64_t i = 0; i < x->nnz && x->values && ones; i++)
        ones = x->values[i] == 1;
    FLIP_TRY(flip_writer_rows(s->writer, "features/indptr", FLIP_TYPE_I64, FLIP_TYPE_I64, x->n + 1,
                              0, 0, x->indptr));
    FLIP_TRY(flip_writer_rows(s->writer, "features/indices", FLIP_TYPE_I32, FLIP_TYPE_I32, x->nnz,
                              0, 0, x->indices));
    if (!ones)
        FLIP_TRY(flip_writer_rows(s->writer, "features/values", FLIP_TYPE_F32, FLIP_TYPE_F32,
                                  x->nnz, 0, 0, x->values));
    if (n_bad) FLIP_TRY(flip_import_kept_nan(s, n_bad));
    snprintf(s->report->features, sizeof s->report->features,
             "%lld columns, sparse, %lld non-zeros%s", (long long)x->n_columns, (long long)x->nnz,
             ones ? ", all 1" : "");
    return flip_writer_attribute_i64(s->writer, "features", "n_columns", x->n_columns);
}

static flip_status write_sparse(flip_import_state *s) {
    flip_sparse x = {0};
    int64_t n, n_values = 0;
    flip_status status;
    FLIP_TRY_GOTO(load_vector(s->indptr, FLIP_TYPE_I64, &x.indptr, &n));
    x.n = n - 1;
    FLIP_TRY_GOTO(load_vector(s->indices, FLIP_TYPE_I32, &x.indices, &x.nnz));
    if (s->values) FLIP_TRY_GOTO(load_vector(s->values, FLIP_TYPE_F32, &x.values, &n_values));
    if (s->values && n_values != x.nnz) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has %lld values, but '%s' has %lld indices",
                           s->values, (long long)n_values, s->indices, (long long)x.nnz);
        goto done;
    }
    FLIP_TRY_GOTO(check_csr(s, &x));
    FLIP_TRY_GOTO(flip_import_write_csr(s, &x, s->values));
done:
    flip_free(x.indptr);
    flip_free(x.indices);
    flip_free(x.values);
    return status;
}

flip_status flip_import_write_features(flip_import_state *s) {
    flip_npy *npy;
    if (s->indptr) return write_sparse(s);
    if (!s->features) return FLIP_OK;
    FLIP_TRY(flip_npy_open(&npy, s->features));
    bool changing = npy->n_dims == 3;
    flip_npy_close(&npy);
    return changing ? write_changing(s) : write_dense(s);
}
