/* t820: the checkpoint file. Its table of parameters covers the slab; the same run writes the same
 * bytes; damage is never accepted; a checkpoint that cannot be written leaves the one before it. */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned char *file_bytes(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    unsigned char *bytes = malloc(1 << 22);
    *n = fread(bytes, 1, 1 << 22, file);
    fclose(file);
    return bytes;
}

static void write_bytes(const char *path, const unsigned char *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void train(const char *more) {
    int code =
        pipeline_run(0, "train still.h5 --model sage --hidden 8 --norm batch --epochs 6 %s", more);
    assert_int_equal(code, 0);
}

static int by_offset(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (x[2] > y[2]) - (x[2] < y[2]);
}

/* parameters/shape and names describe parameters/current without gaps. */
static void table_covers_the_slab(void **state) {
    (void)state;
    flip_reader *reader = NULL;
    int64_t dims[3], slab[3], shape[64][3], lines = 0, at = 0;
    flip_type type;
    char names[4096] = "";
    train("--checkpoint c.h5");
    assert_int_equal(flip_reader_open(&reader, NULL, "c.h5", "checkpoint"), FLIP_OK);
    assert_int_equal(flip_reader_shape(reader, "parameters/current", slab, &type), FLIP_OK);
    assert_int_equal(type, sizeof(flip_real) == 8 ? FLIP_TYPE_F64 : FLIP_TYPE_F32);
    assert_int_equal(flip_reader_shape(reader, "parameters/shape", dims, &type), FLIP_OK);
    assert_true(dims[0] > 0 && dims[0] < 64 && dims[1] == 3);
    assert_int_equal(flip_reader_rows(reader, "parameters/shape", FLIP_TYPE_I64, 0, dims[0], shape),
                     FLIP_OK);
    qsort(shape, (size_t)dims[0], sizeof *shape, by_offset); /* running statistics stand behind */
    for (int64_t p = 0; p < dims[0]; p++) {
        assert_true(shape[p][2] >= at && shape[p][2] < at + 64); /* aligned, no overlap */
        at = shape[p][2] + shape[p][0] * shape[p][1];
    }
    assert_true(at <= slab[0] && slab[0] < at + 64);
    int64_t bytes[3];
    assert_int_equal(flip_reader_shape(reader, "parameters/names", bytes, &type), FLIP_OK);
    assert_true(bytes[0] < 4096);
    assert_int_equal(flip_reader_rows(reader, "parameters/names", FLIP_TYPE_U8, 0, bytes[0], names),
                     FLIP_OK);
    for (const char *c = names; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, dims[0]);
    flip_reader_close(&reader);
}

static void same_run_same_bytes(void **state) {
    (void)state;
    size_t n, m;
    train("--checkpoint c.h5");
    unsigned char *a = file_bytes("c.h5", &n);
    train("--checkpoint c.h5");
    unsigned char *b = file_bytes("c.h5", &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

static void damage_is_refused(void **state) {
    (void)state;
    size_t n;
    train("--checkpoint c.h5");
    unsigned char *bytes = file_bytes("c.h5", &n);
    for (uint64_t i = 0; i < 300; i++) { /* one bit each */
        uint64_t bit = flip_random_below(1, FLIP_STREAM_TEST, i, 0, 8 * n);
        flip_reader *reader = NULL;
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_bytes("d.h5", bytes, n);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        flip_error_clear();
        assert_int_not_equal(flip_reader_open(&reader, NULL, "d.h5", "checkpoint"), FLIP_OK);
        assert_non_null(strstr(flip_error_message(), "d.h5"));
        flip_reader_close(&reader);
    }
    for (size_t at = 0; at < n; at += 509) { /* cut short */
        flip_reader *reader = NULL;
        write_bytes("d.h5", bytes, at);
        flip_error_clear();
        assert_int_not_equal(flip_reader_open(&reader, NULL, "d.h5", "checkpoint"), FLIP_OK);
        flip_reader_close(&reader);
    }
    /* and through the program */
    write_bytes("d.h5", bytes, n / 2);
    assert_int_equal(pipeline_run(0, "evaluate still.h5 --checkpoint d.h5"), 1);
    assert_int_equal(pipeline_run(2, "train still.h5 --model sage --resume d.h5"), 1);
    assert_true(pipeline_said("d.h5"));
    free(bytes);
}

/* What cannot be written is told before the first epoch. (Full disks: t105.) */
static void the_one_before_stays(void **state) {
    (void)state;
    size_t n, m;
    train("--checkpoint c.h5");
    unsigned char *before = file_bytes("c.h5", &n);
    assert_int_equal(mkdir("folder", 0755), 0);
    static const char *const bad[] = {"nowhere/c.h5", "folder", "c.h5/c.h5"};
    for (int i = 0; i < 3; i++) {
        int code = pipeline_run(0, "train still.h5 --epochs 2 --checkpoint %s", bad[i]);
        assert_true(code == 1 || code == 2);
        assert_true(pipeline_said(bad[i]));
        size_t size;
        unsigned char *out = file_bytes("out", &size);
        out[size] = 0;
        assert_null(strstr((char *)out, "epoch   1"));
        free(out);
    }
    unsigned char *after = file_bytes("c.h5", &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    free(before);
    free(after);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    pipeline_begin(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_covers_the_slab), cmocka_unit_test(same_run_same_bytes),
        cmocka_unit_test(damage_is_refused), cmocka_unit_test(the_one_before_stays)};
    pipeline_graphs();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pipeline_end();
    return failed;
}
