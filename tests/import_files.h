/* For the tests of import: files with given bytes, .npy files, and a container as one line of text.
 *
 *   N3 T2 C0 U0 | 1<0@0*2.5:1 2<1@1*1:0 | number 5 7 9 | features 1 2; 3 4; 5 6 | …
 *
 * event "dst<src@step*weight:label", absent columns left out; then the datasets that exist. */
#ifndef FLIP_TESTS_IMPORT_FILES_H
#define FLIP_TESTS_IMPORT_FILES_H

#include <flipbook/import.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char home[256], folder[256];

/* Every test file lives in a fresh folder, which is the working folder: messages name short paths.
 */
static inline int enter_folder(void **state) {
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/flipbook-import-XXXXXX", root ? root : "/tmp");
    if (!getcwd(home, sizeof home) || !mkdtemp(folder)) return -1;
    return chdir(folder);
}

static inline int leave_folder(void **state) {
    (void)state;
    char command[300];
    if (chdir(home) != 0) return -1;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline void put_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void put_text(const char *path, const char *text) {
    put_file(path, text, strlen(text));
}

/* shape as in Python: "(3, 2)" */
static inline void put_npy_as(const char *path, const char *descr, const char *order,
                              const char *shape, const void *data, size_t bytes) {
    char header[256];
    int length =
        snprintf(header + 10, sizeof header - 10,
                 "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, order, shape);
    while ((10 + length + 1) % 64)
        header[10 + length++] = ' ';
    header[10 + length++] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(length & 255);
    header[9] = (char)(length >> 8);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(header, 1, (size_t)(10 + length), file);
    if (bytes) fwrite(data, 1, bytes, file);
    assert_int_equal(fclose(file), 0);
}

static inline void put_npy(const char *path, const char *descr, const char *shape, const void *data,
                           size_t bytes) {
    put_npy_as(path, descr, "False", shape, data, bytes);
}

/* ---- a container as text ---- */

typedef struct dump {
    char text[16384];
    size_t used;
    flip_reader *reader;
} dump;

static inline void add(dump *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void add(dump *d, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(d->text + d->used, sizeof d->text - d->used, format, arguments);
    va_end(arguments);
    d->used += (size_t)n;
    assert_true(d->used < sizeof d->text);
}

/* All of a dataset as doubles; NULL if it is absent. */
static inline double *take(const dump *d, const char *name, int64_t dims[3], int64_t *n) {
    *n = 0;
    if (!flip_reader_has(d->reader, name)) return NULL;
    assert_int_equal(flip_reader_shape(d->reader, name, dims, NULL), FLIP_OK);
    *n = dims[0] * (dims[1] ? dims[1] : 1) * (dims[2] ? dims[2] : 1);
    double *values = malloc((size_t)*n * sizeof *values + 1);
    assert_int_equal(flip_reader_rows(d->reader, name, FLIP_TYPE_F64, 0, dims[0], values), FLIP_OK);
    return values;
}

static inline void add_values(dump *d, const char *name) {
    int64_t dims[3], n;
    double *values = take(d, name, dims, &n);
    if (!values) return;
    int64_t width = n && dims[0] ? n / dims[0] : 1;
    add(d, " | %s", name);
    for (int64_t i = 0; i < n; i++)
        add(d, "%s%.9g", width > 1 && i && i % width == 0 ? "; " : " ", values[i]);
    free(values);
}

static inline void add_text(dump *d, const char *name) {
    int64_t dims[3], n;
    double *values = take(d, name, dims, &n);
    if (!values) return;
    add(d, " | %s ", name);
    for (int64_t i = 0; i < n; i++)
        add(d, "%c", values[i] == '\n' ? '/' : (char)values[i]);
    free(values);
}

static inline void add_events(dump *d) {
    int64_t dims[3], n, e;
    double *indptr = take(d, "events/indptr", dims, &n), *src = take(d, "events/src", dims, &e);
    double *step = take(d, "events/step", dims, &e), *weight = take(d, "events/weight", dims, &e);
    double *label = take(d, "events/label", dims, &e);
    assert_true(indptr && src);
    add(d, " |");
    for (int64_t v = 0; v + 1 < n; v++)
        for (int64_t i = (int64_t)indptr[v]; i < (int64_t)indptr[v + 1]; i++) {
            add(d, " %lld<%.0f", (long long)v, src[i]);
            if (step) add(d, "@%.0f", step[i]);
            if (weight) add(d, "*%.9g", weight[i]);
            if (label) add(d, ":%.0f", label[i]);
        }
    free(indptr);
    free(src);
    free(step);
    free(weight);
    free(label);
}

static inline const char *dump_container(const char *path) {
    static const char *const values[] = {"features/indptr", "features/indices", "features/node",
                                         "features/step",   "features/values",  "labels/node",
                                         "labels/step",     "labels/class",     "targets/values",
                                         "splits",          "nodes/number",     "nodes/name_ptr"};
    static dump d;
    int64_t nodes, steps, classes, undirected, n_checks;
    if (flip_container_check(path, &n_checks) != FLIP_OK) fail_msg("%s", flip_error_message());
    d = (dump){0};
    if (flip_reader_open(&d.reader, NULL, path, "graph") != FLIP_OK)
        fail_msg("%s", flip_error_message());
    assert_int_equal(flip_reader_attribute_i64(d.reader, "/", "n_nodes", &nodes), FLIP_OK);
    assert_int_equal(flip_reader_attribute_i64(d.reader, "/", "n_steps", &steps), FLIP_OK);
    assert_int_equal(flip_reader_attribute_i64(d.reader, "/", "n_classes", &classes), FLIP_OK);
    assert_int_equal(flip_reader_attribute_i64(d.reader, "/", "undirected", &undirected), FLIP_OK);
    add(&d, "N%lld T%lld C%lld U%lld", (long long)nodes, (long long)steps, (long long)classes,
        (long long)undirected);
    add_events(&d);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        add_values(&d, values[i]);
    add_text(&d, "nodes/name");
    add_text(&d, "labels/names");
    add_text(&d, "events/label_names");
    flip_reader_close(&d.reader);
    return d.text;
}

/* Imports one file (or folder) and returns its container as text. */
static inline const char *import_as_text(const char *input, flip_import_params params) {
    flip_import_report report;
    params.inputs = &input;
    params.n_inputs = 1;
    params.output = "out.h5";
    if (flip_import(&params, &report) != FLIP_OK) fail_msg("%s: %s", input, flip_error_message());
    return dump_container("out.h5");
}

#endif
