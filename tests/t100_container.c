/* container: every type and shape comes back on 1 to 4 ranks, the bytes do not depend on their
 * number, and values that do not fit are refused. */
#include <flipbook/container.h>

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "container_files.h"

static flip_comm *comm;

/* ---- round trip ---- */

typedef struct shape {
    const char *name;
    flip_type type;
    int64_t rows, dim2, dim3;
} shape;

/* Larger and smaller than a chunk, rows wider than a chunk, none at all. */
static const shape shapes[] = {
    {"a/i8", FLIP_TYPE_I8, 1000, 0, 0},         {"a/u8", FLIP_TYPE_U8, 3000001, 0, 0},
    {"a/i32", FLIP_TYPE_I32, 300000, 0, 0},     {"b/i64", FLIP_TYPE_I64, 400001, 0, 0},
    {"b/f32", FLIP_TYPE_F32, 7001, 129, 0},     {"f64", FLIP_TYPE_F64, 501, 7, 33},
    {"b/deep/f32", FLIP_TYPE_F32, 5, 3, 2},     {"empty/none", FLIP_TYPE_I32, 0, 0, 0},
    {"empty/wide", FLIP_TYPE_F32, 0, 16, 0},    {"wide/i8", FLIP_TYPE_I8, 3, 2500000, 0},
    {"wide/f32", FLIP_TYPE_F32, 2, 3, 400000},  {"one", FLIP_TYPE_F64, 1, 0, 0},
    {"exact", FLIP_TYPE_I64, 2 * 131072, 0, 0},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static size_t row_values(const shape *s) {
    return (size_t)((s->dim2 ? s->dim2 : 1) * (s->dim3 ? s->dim3 : 1));
}

static void fill(const shape *s, char *out, int64_t first, int64_t rows) {
    size_t width = row_values(s);
    for (size_t i = 0; i < (size_t)rows * width; i++) {
        uint64_t at = (uint64_t)first * width + i, x = at * 0x9e3779b97f4a7c15u;
        switch (s->type) {
        case FLIP_TYPE_I8:
            ((int8_t *)out)[i] = (int8_t)(x >> 56);
            break;
        case FLIP_TYPE_U8:
            ((uint8_t *)out)[i] = (uint8_t)(x >> 56);
            break;
        case FLIP_TYPE_I32:
            ((int32_t *)out)[i] = (int32_t)(x >> 32);
            break;
        case FLIP_TYPE_I64:
            ((int64_t *)out)[i] = (int64_t)x;
            break;
        case FLIP_TYPE_F32:
            ((float *)out)[i] = (float)(x >> 40) - 8e6f;
            break;
        case FLIP_TYPE_F64:
            ((double *)out)[i] = (double)(x >> 11) * 1e-9;
            break;
        }
    }
}

/* Rank r of `size` has uneven rows, some ranks none. */
static int64_t share(int64_t rows, int rank, int size) {
    int64_t weights[4] = {3, 0, 5, 2}, sum = 0, before = 0;
    for (int r = 0; r < size; r++)
        sum += weights[r];
    for (int r = 0; r < rank; r++)
        before += weights[r];
    return rows * before / sum;
}

static void write_all(const char *path, flip_comm *c, int windows) {
    flip_writer *w;
    assert_ok(flip_writer_create(&w, c, path, "test"));
    assert_ok(flip_writer_attribute_i64(w, "/", "n", -5));
    for (int k = 0; k < windows; k++) {
        for (int i = 0; i < N_SHAPES; i++) {
            const shape *s = &shapes[i];
            int64_t begin = s->rows * k / windows, end = s->rows * (k + 1) / windows;
            int size = flip_comm_size(c), rank = flip_comm_rank(c);
            int64_t first = begin + share(end - begin, rank, size),
                    last = begin + share(end - begin, rank + 1, size);
            char *data = malloc((size_t)(last - first) * row_values(s) * 8 + 1);
            fill(s, data, first, last - first);
            assert_ok(flip_writer_rows(w, s->name, s->type, s->type, last - first, s->dim2, s->dim3,
                                       data));
            free(data);
        }
    }
    assert_ok(flip_writer_attribute_f64(w, "b", "pi", M_PI));
    assert_ok(flip_writer_attribute_text(w, "group/alone", "words", "grün \"quoted\"\nline"));
    assert_ok(flip_writer_attribute_text(w, "one", "none", ""));
    assert_ok(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

static void check_all(const char *path) {
    flip_reader *r;
    assert_ok(flip_reader_open(&r, comm, path, "test"));
    assert_int_equal(flip_reader_n_datasets(r), N_SHAPES);
    for (int i = 0; i < N_SHAPES; i++) {
        const shape *s = &shapes[i];
        int64_t dims[3];
        flip_type type;
        assert_true(flip_reader_has(r, s->name));
        assert_ok(flip_reader_shape(r, s->name, dims, &type));
        assert_int_equal(type, s->type);
        assert_int_equal(dims[0], s->rows);
        assert_int_equal(dims[1], s->dim2);
        assert_int_equal(dims[2], s->dim3);
        size_t width = row_values(s) * flip_type_size(s->type);
        char *expected = malloc((size_t)s->rows * width + 1),
             *found = malloc((size_t)s->rows * width + 1);
        fill(s, expected, 0, s->rows);
        assert_ok(flip_reader_rows(r, s->name, s->type, 0, s->rows, found));
        assert_true(memcmp(expected, found, (size_t)s->rows * width) == 0);
        int64_t first = s->rows / 3, count = s->rows / 2;
        assert_ok(flip_reader_rows(r, s->name, s->type, first, count, found));
        assert_true(memcmp(expected + (size_t)first * width, found, (size_t)count * width) == 0);
        assert_int_equal(flip_reader_rows(r, s->name, s->type, s->rows, 1, found),
                         FLIP_ERROR_INPUT);
        flip_error_clear();
        free(expected);
        free(found);
    }
    int8_t two[6], all[3];
    assert_ok(flip_reader_block(r, "wide/i8", FLIP_TYPE_I8, 0, 3, 1999999, 2, two));
    for (int i = 0; i < 3; i++) {
        char one[2];
        shape cell = {"", FLIP_TYPE_I8, 0, 0, 0};
        fill(&cell, one, i * 2500000 + 1999999, 2);
        assert_memory_equal(one, two + 2 * i, 2);
    }
    (void)all;
    flip_reader_close(&r);
}

static void check_attributes(const char *path) {
    flip_reader *r;
    int64_t n;
    double pi;
    char text[64];
    assert_ok(flip_reader_open(&r, comm, path, NULL));
    assert_ok(flip_reader_attribute_i64(r, "/", "n", &n));
    assert_int_equal(n, -5);
    assert_ok(flip_reader_attribute_f64(r, "b", "pi", &pi));
    assert_true(pi == M_PI);
    assert_ok(flip_reader_attribute_text(r, "group/alone", "words", text, sizeof text));
    assert_string_equal(text, "grün \"quoted\"\nline");
    assert_ok(flip_reader_attribute_text(r, "one", "none", text, sizeof text));
    assert_string_equal(text, "");
    assert_true(flip_reader_has_attribute(r, "one", "none"));
    assert_false(flip_reader_has_attribute(r, "one", "other"));
    assert_false(flip_reader_has_attribute(r, "nowhere/at/all", "other"));
    assert_int_equal(flip_reader_attribute_i64(r, "b", "pi", &n), FLIP_ERROR_INPUT);
    assert_string_equal(strrchr(flip_error_message(), '\'') - 2,
                        "pi' of b is not one whole number");
    flip_error_clear();
    assert_int_equal(flip_reader_attribute_text(r, "group/alone", "words", text, 4),
                     FLIP_ERROR_INPUT);
    flip_error_clear();
    flip_reader_close(&r);
}

static void round_trip(void **state) {
    (void)state;
    write_all(file_in("parallel.h5"), comm, 1);
    check_all(file_in("parallel.h5"));
    check_attributes(file_in("parallel.h5"));
    write_all(file_in("windows.h5"), comm, 3);
    check_all(file_in("windows.h5"));
}

/* Rank 0 alone writes the same contents: the same bytes. */
static void same_bytes(void **state) {
    (void)state;
    if (flip_comm_rank(comm) == 0) {
        size_t n, m;
        for (int windows = 1; windows <= 3; windows += 2) {
            const char *many = file_in(windows == 1 ? "parallel.h5" : "windows.h5");
            write_all(file_in("alone.h5"), NULL, windows);
            char *a = slurp(many, &n), *b = slurp(file_in("alone.h5"), &m);
            assert_int_equal(n, m);
            assert_true(memcmp(a, b, n) == 0);
            free(a);
            free(b);
        }
        sleep(1); /* no times inside */
        write_all(file_in("later.h5"), NULL, 1);
        char *a = slurp(file_in("parallel.h5"), &n), *b = slurp(file_in("later.h5"), &m);
        assert_true(n == m && memcmp(a, b, n) == 0);
        free(a);
        free(b);
    }
    flip_comm_agree(comm, FLIP_OK);
}

/* ---- conversions ---- */

static void conversions(void **state) {
    (void)state;
    flip_writer *w;
    flip_reader *r;
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    int64_t ids[2] = {rank, -rank};
    double reals[4] = {NAN, INFINITY, -INFINITY, 0.1};
    assert_ok(flip_writer_create(&w, comm, file_in("types.h5"), "test"));
    assert_ok(flip_writer_rows(w, "ids", FLIP_TYPE_I32, FLIP_TYPE_I64, 2, 0, 0, ids));
    assert_ok(flip_writer_rows(w, "reals", FLIP_TYPE_F32, FLIP_TYPE_F64, 1, 4, 0, reals));
    assert_ok(flip_writer_commit(w));
    flip_writer_destroy(&w);
    assert_ok(flip_reader_open(&r, comm, file_in("types.h5"), NULL));
    int64_t wide[2];
    double back[4];
    assert_ok(flip_reader_rows(r, "ids", FLIP_TYPE_I64, 2 * (size - 1), 2, wide));
    assert_true(wide[0] == size - 1 && wide[1] == 1 - size);
    assert_ok(flip_reader_rows(r, "reals", FLIP_TYPE_F64, 0, 1, back));
    assert_true(isnan(back[0]) && back[1] == INFINITY && back[2] == -INFINITY &&
                back[3] == (double)0.1f);
    flip_reader_close(&r);

    /* the last rank brings a value that int32 does not hold: every rank learns it */
    int64_t large = rank == size - 1 ? (int64_t)1 << 31 : 7;
    assert_ok(flip_writer_create(&w, comm, file_in("large.h5"), "test"));
    flip_status status = flip_writer_rows(w, "x", FLIP_TYPE_I32, FLIP_TYPE_I64, 1, 0, 0, &large);
    if (status == FLIP_OK) status = flip_writer_commit(w);
    assert_int_equal(status, FLIP_ERROR_INPUT);
    if (rank == 0) assert_non_null(strstr(flip_error_message(), "2147483648"));
    flip_error_clear();
    flip_writer_destroy(&w);
    assert_int_equal(access(file_in("large.h5"), F_OK), -1);
}

/* ---- */

static int setup(void **state) {
    (void)state;
    if (flip_comm_rank(comm) == 0) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/flipbook-t100-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(folder)) return -1;
    }
    return flip_comm_broadcast(comm, folder, sizeof folder, 0) == FLIP_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[512];
    if (flip_comm_rank(comm) != 0) return 0;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(conversions),
    };
    MPI_Init(&argc, &argv);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
