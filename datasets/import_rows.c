/* .npy files with a row a node: a first look at all of them;
 * labels, targets and splits. */
#include "datasets/import_private.h"
#include "datasets/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a first look: how many nodes and steps do the files speak of? ---- */

static flip_status know_nodes(flip_import_state *s, int64_t n, const char *path) {
    if (s->n_known >= 0 && s->n_known != n)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has %lld rows (nodes), but %s says %lld; they must be equal", path,
                         (long long)n, s->known_by, (long long)s->n_known);
    if (n < 1 || n > FLIP_NODES_MOST)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has %lld rows (nodes), expected 1 to %d", path,
                         (long long)n, FLIP_NODES_MOST);
    s->n_known = n;
    snprintf(s->known_by, sizeof s->known_by, "'%s'", path);
    return FLIP_OK;
}

static flip_status know_steps(flip_import_state *s, int64_t n, const char *path) {
    if (s->row_steps && s->row_steps != n)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has %lld steps, but %s has %lld; they must be equal", path,
                         (long long)n, s->steps_by, (long long)s->row_steps);
    if (n < 1 || n > INT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has %lld steps, expected 1 to 2147483647", path,
                         (long long)n);
    s->row_steps = n;
    snprintf(s->steps_by, sizeof s->steps_by, "'%s'", path);
    return FLIP_OK;
}

static void shape_text(const flip_npy *npy, char out[96]) {
    int used = snprintf(out, 96, "[");
    for (int32_t d = 0; d < npy->n_dims; d++)
        used += snprintf(out + used, (size_t)(96 - used), "%s%lld", d ? ", " : "",
                         (long long)npy->shape[d]);
    snprintf(out + used, (size_t)(96 - used), "]");
}

static flip_status bad_shape(const flip_npy *npy, const char *expected) {
    char shape[96];
    shape_text(npy, shape);
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has shape %s, expected %s", flip_npy_path(npy), shape,
                     expected);
}

static flip_status look_at(flip_import_state *s, const char *path,
                           flip_status (*judge)(flip_import_state *, const flip_npy *)) {
    flip_npy *npy;
    if (!path) return FLIP_OK;
    FLIP_TRY(flip_npy_open(&npy, path));
    flip_status status = judge(s, npy);
    flip_npy_close(&npy);
    return status;
}

static flip_status judge_features(flip_import_state *s, const flip_npy *npy) {
    const char *path = flip_npy_path(npy);
    if (npy->n_dims == 3) {
        FLIP_TRY(know_steps(s, npy->shape[0], path));
        return know_nodes(s, npy->shape[1], path);
    }
    if (npy->n_dims < 1 || npy->n_dims > 2)
        return bad_shape(npy, "[nodes, features] or [steps, nodes, features]");
    return know_nodes(s, npy->shape[0], path);
}

static flip_status judge_indptr(flip_import_state *s, const flip_npy *npy) {
    if (npy->n_dims != 1 || npy->shape[0] < 2) return bad_shape(npy, "[nodes + 1] row starts");
    return know_nodes(s, npy->shape[0] - 1, flip_npy_path(npy));
}

static flip_status judge_labels(flip_import_state *s, const flip_npy *npy) {
    if (npy->n_dims == 1) return know_nodes(s, npy->shape[0], flip_npy_path(npy));
    if (npy->n_dims != 2) return bad_shape(npy, "[nodes] or [steps, nodes]");
    FLIP_TRY(know_steps(s, npy->shape[0], flip_npy_path(npy)));
    return know_nodes(s, npy->shape[1], flip_npy_path(npy));
}

static flip_status judge_splits(flip_import_state *s, const flip_npy *npy) {
    if (npy->n_dims < 1 || npy->n_dims > 2) return bad_shape(npy, "[nodes] or [splits, nodes]");
    return know_nodes(s, npy->shape[npy->n_dims - 1], flip_npy_path(npy));
}

static flip_status judge_targets(flip_import_state *s, const flip_npy *npy) {
    if (npy->n_dims == 2) return FLIP_OK; /* [nodes, K] or [steps, nodes]: told apart later */
    if (npy->n_dims == 1) return know_nodes(s, npy->shape[0], flip_npy_path(npy));
    if (npy->n_dims != 3)
        return bad_shape(npy, "[nodes], [nodes, K], [steps, nodes] or [steps, nodes, K]");
    FLIP_TRY(know_steps(s, npy->shape[0], flip_npy_path(npy)));
    return know_nodes(s, npy->shape[1], flip_npy_path(npy));
}

/* Of two forms of the same features the smaller one: 4 bytes a value against 4 or 8 a non-zero. */
static flip_status choose_features(flip_import_state *s) {
    flip_npy *dense = NULL, *indices = NULL;
    flip_status status;
    if (!s->features || !s->indptr) return FLIP_OK;
    FLIP_TRY_GOTO(flip_npy_open(&dense, s->features));
    FLIP_TRY_GOTO(flip_npy_open(&indices, s->indices));
    int64_t sparse_bytes = indices->n_values * (s->values ? 8 : 4) + 8 * dense->shape[0];
    bool sparse = dense->n_dims == 2 && sparse_bytes < 4 * dense->n_values;
    if (sparse && !s->feature_columns) s->feature_columns = dense->shape[1];
    if (sparse) {
        free(s->features);
        s->features = NULL;
    } else {
        free(s->indptr);
        s->indptr = NULL;
    }
done:
    flip_npy_close(&dense);
    flip_npy_close(&indices);
    return status;
}

flip_status flip_import_look_at_rows(flip_import_state *s) {
    s->n_known = -1;
    s->feature_columns = s->p->n_feature_columns;
    if (s->p->n_nodes) {
        FLIP_TRY(know_nodes(s, s->p->n_nodes, "--nodes"));
        snprintf(s->known_by, sizeof s->known_by, "--nodes");
    }
    FLIP_TRY(choose_features(s));
    FLIP_TRY(look_at(s, s->features, judge_features));
    FLIP_TRY(look_at(s, s->indptr, judge_indptr));
    FLIP_TRY(look_at(s, s->labels, judge_labels));
    FLIP_TRY(look_at(s, s->targets, judge_targets));
    return look_at(s, s->splits, judge_splits);
}

/* ---- labels ---- */

static flip_status check_labels(flip_import_state *s, const int32_t *label, int64_t n) {
    enum { CLASSES_MOST = 1 << 20 };
    for (int64_t i = 0; i < n; i++) {
        if (label[i] < -1 || label[i] >= CLASSES_MOST)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s': element %lld (counted from 0) is %d, expected a class from 0 "
                             "to %d, or -1 for none",
                             s->labels, (long long)i, label[i], CLASSES_MOST - 1);
        if (label[i] >= s->n_classes) s->n_classes = label[i] + 1;
    }
    return FLIP_OK;
}

static flip_status write_labels(flip_import_state *s) {
    int32_t *label, n_dims;
    int64_t shape[FLIP_NPY_DIMS], n_rows = 0, n_none = 0;
    FLIP_TRY(flip_npy_load(s->labels, FLIP_TYPE_I32, &label, &n_dims, shape));
    int64_t n = shape[0] * shape[1];
    flip_status status;
    FLIP_TRY_GOTO(check_labels(s, label, n));
    if (n_dims == 1)
        FLIP_TRY_GOTO(flip_writer_rows(s->writer, "labels/class", FLIP_TYPE_I32, FLIP_TYPE_I32, n,
                                       0, 0, label));
    else
        FLIP_TRY_GOTO(flip_import_write_changes(s, "labels", "class", FLIP_TYPE_I32, label, shape,
                                                1, &n_rows));
    for (int64_t i = 0; i < n; i++)
        n_none += label[i] < 0;
    snprintf(s->report->nodes, sizeof s->report->nodes, "%lld classes%s, %lld %s without one",
             (long long)s->n_classes, n_dims == 1 ? "" : ", changing", (long long)n_none,
             n_dims == 1 ? "nodes" : "node steps");
done:
    flip_free(label);
    return status;
}

/* A line a class; more lines than classes seen are classes without nodes. */
static flip_status write_class_names(flip_import_state *s) {
    flip_text text;
    int64_t n_lines = 0;
    FLIP_TRY(flip_text_open(&text, s->class_names));
    flip_status status;
    FLIP_TRY_GOTO(flip_text_fill(&text));
    for (char *at = text.buffer + text.begin, *next; at < text.buffer + text.limit; at = next) {
        char *end = flip_line_end(at, &next);
        if (end == at) {
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "%s:%lld: an empty line, expected the name of class %lld",
                               s->class_names, (long long)n_lines + 1, (long long)n_lines);
            goto done;
        }
        *end = '\n';
        FLIP_TRY_GOTO(flip_import_write_text(s, "labels/names", at, (size_t)(end + 1 - at)));
        n_lines++;
    }
    if (n_lines < s->n_classes) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' names %lld classes, but the labels go up to class %lld",
                           s->class_names, (long long)n_lines, (long long)s->n_classes - 1);
        goto done;
    }
    s->n_classes = n_lines;
done:
    flip_text_close(&text);
    return status;
}

/* ---- targets and splits ---- */

/* [T, N, K] as the file has it; 2-D files are told apart by the number of nodes. */
static flip_status target_shape(flip_import_state *s, const char *path, int32_t n_dims,
                                const int64_t *shape, int64_t *steps, int64_t *width) {
    int64_t n = s->numbering.n_nodes;
    *steps = n_dims == 3 ? shape[0] : 1;
    *width = n_dims == 3 ? shape[2] : 1;
    if (n_dims == 2 && shape[1] == n && (shape[0] != n || s->n_steps > 1))
        *steps = shape[0];
    else if (n_dims == 2 && shape[0] == n)
        *width = shape[1];
    else if (n_dims == 2)
        return FLIP_FAIL(
            FLIP_ERROR_INPUT,
            "'%s' has shape [%lld, %lld], expected [nodes, K] or [steps, nodes] with %lld nodes",
            path, (long long)shape[0], (long long)shape[1], (long long)n);
    if (*width < 1) return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has no values", path);
    if (n_dims == 2 && *steps > 1) FLIP_TRY(know_steps(s, *steps, path));
    return FLIP_OK;
}

static flip_status turn_targets(flip_import_state *s, const float *in, float *buffer, int64_t rows,
                                int64_t steps, int64_t width) {
    int64_t n = s->numbering.n_nodes, all = s->n_steps;
    for (int64_t first = 0; first < n; first += rows) {
        int64_t some = n - first < rows ? n - first : rows;
        for (int64_t v = 0; v < some; v++)
            for (int64_t t = 0; t < all; t++)
                for (int64_t k = 0; k < width; k++)
                    buffer[(v * all + t) * width + k] =
                        t < steps ? in[(t * n + first + v) * width + k] : NAN;
        FLIP_TRY(flip_writer_rows(s->writer, "targets/values", FLIP_TYPE_F32, FLIP_TYPE_F32, some,
                                  all, width, buffer));
    }
    return FLIP_OK;
}

static flip_status write_targets(flip_import_state *s) {
    float *values, *buffer = NULL;
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS], steps, width;
    FLIP_TRY(flip_npy_load(s->targets, FLIP_TYPE_F32, &values, &n_dims, shape));
    flip_status status;
    FLIP_TRY_GOTO(target_shape(s, s->targets, n_dims, shape, &steps, &width));
    int64_t rows = flip_import_window(s->n_steps * width, sizeof(float));
    FLIP_TRY_GOTO(
        flip_alloc(&buffer, (size_t)(rows * s->n_steps * width), sizeof *buffer, "targets"));
    FLIP_TRY_GOTO(turn_targets(s, values, buffer, rows, steps, width));
    snprintf(s->report->targets, sizeof s->report->targets, "%lld a node and step, %lld steps",
             (long long)width, (long long)steps);
done:
    flip_free(values);
    flip_free(buffer);
    return status;
}

static flip_status write_splits(flip_import_state *s) {
    int8_t *split;
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS], count[4] = {0};
    FLIP_TRY(flip_npy_load(s->splits, FLIP_TYPE_I8, &split, &n_dims, shape));
    int64_t n = shape[n_dims - 1], n_splits = n_dims == 2 ? shape[0] : 1;
    flip_status status = FLIP_OK;
    for (int64_t i = 0; i < n * n_splits && status == FLIP_OK; i++) {
        if (split[i] < -1 || split[i] > 2)
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s': split %lld, node %lld is %d, expected 0 (train), 1 (valid), "
                               "2 (test) or -1 (unused)",
                               s->splits, (long long)(i / n), (long long)(i % n), split[i]);
        else if (i < n)
            count[split[i] + 1]++;
    }
    if (status == FLIP_OK && count[1] == 0)
        flip_import_note(s, "split 0 of '%s' has no training nodes", s->splits);
    if (status == FLIP_OK)
        status = flip_writer_rows(s->writer, "splits", FLIP_TYPE_I8, FLIP_TYPE_I8, n_splits, n, 0,
                                  split);
    snprintf(s->report->splits, sizeof s->report->splits,
             "%lld; the first: %lld train, %lld valid, %lld test, %lld unused", (long long)n_splits,
             (long long)count[1], (long long)count[2], (long long)count[3], (long long)count[0]);
    flip_free(split);
    return status;
}

flip_status flip_import_settle_targets(flip_import_state *s) {
    flip_npy *npy;
    int64_t steps, width;
    if (!s->targets) return FLIP_OK;
    FLIP_TRY(flip_npy_open(&npy, s->targets));
    flip_status status = target_shape(s, s->targets, npy->n_dims, npy->shape, &steps, &width);
    flip_npy_close(&npy);
    return status;
}

flip_status flip_import_write_rows(flip_import_state *s) {
    FLIP_TRY(flip_import_write_features(s));
    if (s->labels) FLIP_TRY(write_labels(s));
    if (s->labels && s->class_names) FLIP_TRY(write_class_names(s));
    if (s->targets) FLIP_TRY(write_targets(s));
    return s->splits ? write_splits(s) : FLIP_OK;
}
