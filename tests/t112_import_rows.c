/* import: features, labels, targets and splits from .npy, static folders, snapshot folders and node
 * tables, each with the exact container it makes. */
#include "import_files.h"

#include "datasets/npy.h"
#include <flipbook/partition.h>

#include <math.h>
#include <zstd.h>

#define P(...) ((flip_import_params){__VA_ARGS__})
#define EXPECT(input, params, text) assert_string_equal(import_as_text(input, params), text)

static const char edges[] = "0 1\n1 2\n"; /* three nodes */

/* ---- .npy ---- */

static void every_type_of_npy(void **state) {
    (void)state;
    static const int8_t i1[] = {-1, 2};
    static const uint8_t u1[] = {1, 200}, bits[] = {1, 0};
    static const int16_t i2[] = {-300, 4};
    static const uint16_t u2[] = {300, 65535};
    static const int32_t i4[] = {-70000, 4};
    static const uint32_t u4[] = {7, 4000000000u};
    static const int64_t i8[] = {-5000000000, 4};
    static const uint64_t u8[] = {7, 1ull << 40};
    static const uint16_t f2[] = {0x3C00, 0xC500}; /* 1, -5 */
    static const float f4[] = {0.5f, -2};
    static const double f8[] = {0.25, -4};
    static const uint8_t big_i4[] = {0, 0, 1, 0, 255, 255, 255, 255};
    static const uint8_t big_f8[] = {0x3F, 0xF8, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0};
    static const struct {
        const char *descr;
        const void *data;
        size_t bytes;
        double values[2];
    } cases[] = {
        {"|i1", i1, 2, {-1, 2}},
        {"|u1", u1, 2, {1, 200}},
        {"|b1", bits, 2, {1, 0}},
        {"<i2", i2, 4, {-300, 4}},
        {"<u2", u2, 4, {300, 65535}},
        {"<i4", i4, 8, {-70000, 4}},
        {"<u4", u4, 8, {7, 4e9}},
        {"<i8", i8, 16, {-5e9, 4}},
        {"<u8", u8, 16, {7, 1099511627776}},
        {"<f2", f2, 4, {1, -5}},
        {"<f4", f4, 8, {0.5, -2}},
        {"<f8", f8, 16, {0.25, -4}},
        {">i4", big_i4, 8, {256, -1}},
        {">f8", big_f8, 16, {1.5, -2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double *values;
        int32_t n_dims;
        int64_t shape[FLIP_NPY_DIMS];
        put_npy("a.npy", cases[i].descr, "(2,)", cases[i].data, cases[i].bytes);
        if (flip_npy_load("a.npy", FLIP_TYPE_F64, &values, &n_dims, shape) != FLIP_OK)
            fail_msg("%s: %s", cases[i].descr, flip_error_message());
        assert_int_equal(n_dims, 1);
        assert_int_equal(shape[0], 2);
        assert_true(values[0] == cases[i].values[0] && values[1] == cases[i].values[1]);
        flip_free(values);
    }
}

static void fortran_order_turns(void **state) {
    static const int32_t columns_first[] = {0, 10, 1, 11, 2, 12}; /* [2, 3], first index fastest */
    int32_t *values, n_dims;
    int64_t shape[FLIP_NPY_DIMS];
    (void)state;
    put_npy_as("f.npy", "<i4", "True", "(2, 3)", columns_first, sizeof columns_first);
    assert_int_equal(flip_npy_load("f.npy", FLIP_TYPE_I32, &values, &n_dims, shape), FLIP_OK);
    static const int32_t rows[] = {0, 1, 2, 10, 11, 12};
    assert_memory_equal(values, rows, sizeof rows);
    flip_free(values);
}

/* Every bit of a small file flipped, and every way of cutting it short: read or refused. */
static void damaged_npy(void **state) {
    static const float f4[] = {1, 2, 3, 4, 5, 6};
    uint8_t bytes[256];
    (void)state;
    put_npy("whole.npy", "<f4", "(3, 2)", f4, sizeof f4);
    FILE *file = fopen("whole.npy", "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t bit = 0; bit < 9 * size; bit++) {
        double *values;
        int32_t n_dims;
        int64_t shape[FLIP_NPY_DIMS];
        size_t kept = bit < 8 * size ? size : bit - 8 * size;
        if (bit < 8 * size) bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put_file("hurt.npy", bytes, kept);
        if (bit < 8 * size) bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (flip_npy_load("hurt.npy", FLIP_TYPE_F64, &values, &n_dims, shape) == FLIP_OK) {
            assert_true(kept == size && n_dims >= 0 && n_dims <= FLIP_NPY_DIMS);
            flip_free(values);
        } else {
            assert_non_null(strstr(flip_error_message(), "hurt.npy"));
            flip_error_clear();
        }
    }
}

/* ---- rows of nodes ---- */

static void dense_features(void **state) {
    static const float f4[] = {1, 2, 3, 4, 5, 6.5f};
    static const double f8[] = {1, 2, 3, 4, 5, 6.5}, turned[] = {1, 3, 5, 2, 4, 6.5};
    static const uint8_t bits[] = {1, 0, 0, 1, 1, 1};
    const char *expected = "N3 T1 C0 U0 | 1<0 2<1 | features/values 1 2; 3 4; 5 6.5";
    (void)state;
    put_text("e.txt", edges);
    put_npy("x.npy", "<f4", "(3, 2)", f4, sizeof f4);
    EXPECT("e.txt", P(.features = "x.npy"), expected);
    put_npy("x.npy", "<f8", "(3, 2)", f8, sizeof f8);
    EXPECT("e.txt", P(.features = "x.npy"), expected);
    put_npy_as("x.npy", "<f8", "True", "(3, 2)", turned, sizeof turned);
    EXPECT("e.txt", P(.features = "x.npy"), expected);
    put_npy("x.npy", "|b1", "(3, 2)", bits, sizeof bits);
    EXPECT("e.txt", P(.features = "x.npy"),
           "N3 T1 C0 U0 | 1<0 2<1 | features/values 1 0; 0 1; 1 1");
    put_npy("x.npy", "<f4", "(3,)", f4, 12);
    EXPECT("e.txt", P(.features = "x.npy"), "N3 T1 C0 U0 | 1<0 2<1 | features/values 1 2 3");
    static const float nan[] = {1, NAN, INFINITY};
    put_npy("x.npy", "<f4", "(3,)", nan, 12);
    EXPECT("e.txt", P(.features = "x.npy", .allow_nan = true),
           "N3 T1 C0 U0 | 1<0 2<1 | features/values 1 nan inf");
}

/* Rows give the number of nodes: ids are kept, or rows stand for the ids in ascending order. */
static void rows_and_ids(void **state) {
    static const float f4[] = {1, 2, 3, 4};
    (void)state;
    put_npy("x.npy", "<f4", "(4, 1)", f4, sizeof f4);
    put_text("e.txt", "0 1\n1 2\n"); /* node 3 has no edge */
    EXPECT("e.txt", P(.features = "x.npy"), "N4 T1 C0 U0 | 1<0 2<1 | features/values 1 2 3 4");
    put_text("e.txt", "10 20\n20 40\n30 40\n");
    EXPECT("e.txt", P(.features = "x.npy"),
           "N4 T1 C0 U0 | 1<0 3<1 3<2 | features/values 1 2 3 4 | nodes/number 10 20 30 40");
    put_text("e.txt", "b a\nd c\n");
    EXPECT("e.txt", P(.features = "x.npy"),
           "N4 T1 C0 U0 | 0<1 2<3 | features/values 1 2 3 4 | nodes/name_ptr 0 1 2 3 4 | "
           "nodes/name abcd");
}

static void changing_features(void **state) {
    /* [3 steps, 2 nodes, 2]: node 0 changes at step 1, node 1 at step 2 */
    static const float x[] = {1, 2, 3, 4, 9, 2, 3, 4, 9, 2, 3, 5};
    static const float same[] = {1, 2, 3, 4, 1, 2, 3, 4};
    (void)state;
    put_text("e.txt", "0 1 5\n1 0 7\n");
    put_npy("x.npy", "<f4", "(3, 2, 2)", x, sizeof x);
    EXPECT("e.txt", P(.features = "x.npy", .step = "1"),
           "N2 T3 C0 U0 | 0<1@2 1<0@0 | features/node 0 0 1 1 | features/step 0 1 0 2 | "
           "features/values 1 2; 9 2; 3 4; 3 5");
    /* rows that go on after the last event, and rows over a static graph */
    put_text("e.txt", "0 1 5\n1 0 6\n");
    EXPECT("e.txt", P(.features = "x.npy", .step = "1"),
           "N2 T3 C0 U0 | 0<1@1 1<0@0 | features/node 0 0 1 1 | features/step 0 1 0 2 | "
           "features/values 1 2; 9 2; 3 4; 3 5");
    put_text("e.txt", "0 1\n");
    put_npy("x.npy", "<f4", "(2, 2, 2)", same, sizeof same);
    EXPECT(
        "e.txt", P(.features = "x.npy"),
        "N2 T2 C0 U0 | 1<0@0 | features/node 0 1 | features/step 0 0 | features/values 1 2; 3 4");
}

static void sparse_features(void **state) {
    static const int64_t ptr[] = {0, 2, 2, 3};
    static const int32_t idx[] = {4, 1, 0}; /* the first row is out of order */
    static const float val[] = {40, 10, 7}, ones[] = {1, 1, 1};
    (void)state;
    put_text("e.txt", edges);
    put_npy("p.npy", "<i8", "(4,)", ptr, sizeof ptr);
    put_npy("i.npy", "<i4", "(3,)", idx, sizeof idx);
    put_npy("v.npy", "<f4", "(3,)", val, sizeof val);
    EXPECT("e.txt", P(.features_csr = "p.npy,i.npy,v.npy"),
           "N3 T1 C0 U0 | 1<0 2<1 | features/indptr 0 2 2 3 | features/indices 1 4 0 | "
           "features/values 10 40 7");
    put_npy("v.npy", "<f4", "(3,)", ones, sizeof ones);
    const char *binary = "N3 T1 C0 U0 | 1<0 2<1 | features/indptr 0 2 2 3 | features/indices 1 4 0";
    EXPECT("e.txt", P(.features_csr = "p.npy,i.npy,v.npy"), binary);
    EXPECT("e.txt", P(.features_csr = "p.npy,i.npy", .n_feature_columns = 9), binary);
    flip_reader *reader;
    int64_t columns;
    assert_int_equal(flip_reader_open(&reader, NULL, "out.h5", "graph"), FLIP_OK);
    assert_int_equal(flip_reader_attribute_i64(reader, "features", "n_columns", &columns), FLIP_OK);
    assert_int_equal(columns, 9);
    flip_reader_close(&reader);
}

static void labels_and_splits(void **state) {
    static const int64_t i8[] = {2, -1, 0};
    static const double f8[] = {2, -1, 0};
    static const int32_t moving[] = {0, 1, 0, 0, 1, 1}; /* [2 steps, 3 nodes] */
    static const uint8_t one[] = {0, 1, 2};
    static const int8_t two[] = {0, 1, 2, -1, 0, 0};
    const char *expected = "N3 T1 C3 U0 | 1<0 2<1 | labels/class 2 -1 0";
    (void)state;
    put_text("e.txt", edges);
    put_npy("l.npy", "<i8", "(3,)", i8, sizeof i8);
    EXPECT("e.txt", P(.labels = "l.npy"), expected);
    put_npy("l.npy", "<f8", "(3,)", f8, sizeof f8);
    EXPECT("e.txt", P(.labels = "l.npy"), expected);
    put_text("names.txt", "red\r\ngreen\nblue\nnone seen\n");
    EXPECT("e.txt", P(.labels = "l.npy", .class_names = "names.txt"),
           "N3 T1 C4 U0 | 1<0 2<1 | labels/class 2 -1 0 | labels/names red/green/blue/none seen/");
    put_npy("l.npy", "<i4", "(2, 3)", moving, sizeof moving);
    put_text("t.txt", "0 1 0\n1 2 1\n");
    EXPECT("t.txt", P(.labels = "l.npy", .step = "1"),
           "N3 T2 C2 U0 | 1<0@0 2<1@1 | labels/node 0 1 2 2 | labels/step 0 0 0 1 | labels/class 0 "
           "1 0 1");
    put_npy("s.npy", "|u1", "(3,)", one, sizeof one);
    EXPECT("e.txt", P(.splits = "s.npy"), "N3 T1 C0 U0 | 1<0 2<1 | splits 0 1 2");
    put_npy("s.npy", "|i1", "(2, 3)", two, sizeof two);
    EXPECT("e.txt", P(.splits = "s.npy"), "N3 T1 C0 U0 | 1<0 2<1 | splits 0 1 2; -1 0 0");
}

static void targets(void **state) {
    static const float x[] = {1, 2, 3, 4, 5, NAN};
    (void)state;
    put_text("e.txt", edges);
    put_text("t.txt", "0 1 0\n1 2 1\n");
    put_npy("y.npy", "<f4", "(3,)", x, 12);
    EXPECT("e.txt", P(.targets = "y.npy"), "N3 T1 C0 U0 | 1<0 2<1 | targets/values 1 2 3");
    put_npy("y.npy", "<f4", "(3, 2)", x, sizeof x); /* [nodes, 2] */
    EXPECT("e.txt", P(.targets = "y.npy"),
           "N3 T1 C0 U0 | 1<0 2<1 | targets/values 1 2; 3 4; 5 nan");
    put_npy("y.npy", "<f4", "(2, 3)", x, sizeof x); /* [steps, nodes] */
    EXPECT("t.txt", P(.targets = "y.npy", .step = "1"),
           "N3 T2 C0 U0 | 1<0@0 2<1@1 | targets/values 1 4; 2 5; 3 nan");
    EXPECT("e.txt", P(.targets = "y.npy"),
           "N3 T2 C0 U0 | 1<0@0 2<1@0 | targets/values 1 4; 2 5; 3 nan");
    put_npy("y.npy", "<f4", "(1, 3, 2)", x,
            sizeof x); /* fewer steps than the events are refused: see t114 */
    EXPECT("e.txt", P(.targets = "y.npy"),
           "N3 T1 C0 U0 | 1<0 2<1 | targets/values 1 2; 3 4; 5 nan");
}

/* ---- folders ---- */

static void static_folder(void **state) {
    static const int64_t ptr[] = {0, 1, 2, 3, 3};
    static const int32_t idx[] = {0, 3, 5}, labels[] = {0, 1, 1, 0};
    static const int8_t split[] = {0, 1, 2, -1};
    static float dense[4 * 8];
    (void)state;
    assert_int_equal(mkdir("static", 0777), 0);
    put_text("static/edges.tsv", "0\t1\n0\t2\n1\t2\n"); /* u < v: stored both ways */
    put_text("static/README.md", "not read");
    put_npy("static/features_indptr.npy", "<i8", "(5,)", ptr, sizeof ptr);
    put_npy("static/features_indices.npy", "<i4", "(3,)", idx, sizeof idx);
    put_npy("static/labels.npy", "<i4", "(4,)", labels, sizeof labels);
    put_npy("static/splits.npy", "|i1", "(1, 4)", split, sizeof split);
    put_text("static/class_names.txt", "a\nb\n");
    const char *expected =
        "N4 T1 C2 U1 | 0<1 0<2 1<0 1<2 2<0 2<1 | features/indptr 0 1 2 3 3 | features/indices 0 3 5"
        " | labels/class 0 1 1 0 | splits 0 1 2 -1 | labels/names a/b/";
    EXPECT("static", P(0), expected);
    /* the same features, dense and packed beside: the smaller form is kept, the width is the dense
     * one's */
    dense[0] = dense[8 + 3] = dense[16 + 5] = 1;
    uint8_t packed[1024], plain[1024];
    put_npy("static/features.npy", "<f4", "(4, 8)", dense, sizeof dense);
    FILE *file = fopen("static/features.npy", "rb");
    size_t size = fread(plain, 1, sizeof plain, file);
    fclose(file);
    assert_int_equal(unlink("static/features.npy"), 0);
    put_file("static/features.npy.zst", packed,
             ZSTD_compress(packed, sizeof packed, plain, size, 1));
    EXPECT("static", P(0), expected);
    flip_reader *reader;
    int64_t columns;
    assert_int_equal(flip_reader_open(&reader, NULL, "out.h5", "graph"), FLIP_OK);
    assert_int_equal(flip_reader_attribute_i64(reader, "features", "n_columns", &columns), FLIP_OK);
    assert_int_equal(columns, 8);
    flip_reader_close(&reader);
    EXPECT("static", P(.directed = true),
           "N4 T1 C2 U0 | 1<0 2<0 2<1 | features/indptr 0 1 2 3 3 | features/indices 0 3 5"
           " | labels/class 0 1 1 0 | splits 0 1 2 -1 | labels/names a/b/");
    put_text("static/edges.tsv", "0\t1\n2\t0\n"); /* not u < v everywhere: as it stands */
    EXPECT("static", P(.features = "static/features.npy.zst", .labels = "static/labels.npy"),
           "N4 T1 C2 U0 | 0<2 1<0 | features/values 1 0 0 0 0 0 0 0; 0 0 0 1 0 0 0 0; 0 0 0 0 0 1 "
           "0 0; 0 0 0 0 0 0 0 0"
           " | labels/class 0 1 1 0 | splits 0 1 2 -1 | labels/names a/b/");
}

static void snapshot_folder(void **state) {
    (void)state;
    assert_int_equal(mkdir("days", 0777), 0);
    put_text("days/day10.txt", "# third\n5\t7\n7\t5\n9\t9\n");
    put_text("days/day2.txt", "# second\n"); /* a step without edges */
    put_text("days/day1.txt", "# first\n5\t7\n7\t5\n");
    put_text("days/README.md", "not read");
    put_text("days/.hidden", "not read");
    const char *expected = "N3 T3 C0 U1 | 0<1@0 0<1@2 1<0@0 1<0@2 2<2@2 | nodes/number 5 7 9";
    EXPECT("days", P(0), expected);
    const char *files[] = {"days/day1.txt", "days/day2.txt", "days/day10.txt"};
    flip_import_report report;
    flip_import_params params = {
        .inputs = files, .n_inputs = 3, .output = "out.h5", .snapshots = true};
    assert_int_equal(flip_import(&params, &report), FLIP_OK);
    assert_string_equal(dump_container("out.h5"), expected);
    assert_int_equal(report.n_empty_steps, 1);
    params.snapshots = false; /* one edge list in three files */
    files[1] = "days/day1.txt";
    assert_int_equal(flip_import(&params, &report), FLIP_OK);
    assert_string_equal(dump_container("out.h5"),
                        "N3 T1 C0 U1 | 0<1 0<1 0<1 1<0 1<0 1<0 2<2 | nodes/number 5 7 9");
}

/* ---- node table ---- */

static void node_table(void **state) {
    (void)state;
    put_text("e.csv", "from,to\na,b\nb,c\n");
    put_text("n.csv",
             "id,class,age,height,note\nc,x,3,1.5,\"n, o\"\na,y,1,0.5,\nd,x,4,2,z\nb,,2,-1,\n");
    EXPECT("e.csv", P(.node_table = "n.csv"),
           "N4 T1 C2 U0 | 1<0 2<1 | features/values 1 0.5; 2 -1; 3 1.5; 4 2 | labels/class 1 -1 0 0"
           " | nodes/name_ptr 0 1 2 3 4 | nodes/name abcd | labels/names x/y/");
    EXPECT("e.csv", P(.node_table = "n.csv", .node_columns = "id=id,feature=height,label=age"),
           "N4 T1 C4 U0 | 1<0 2<1 | features/values 0.5 -1 1.5 2 | labels/class 0 1 2 3"
           " | nodes/name_ptr 0 1 2 3 4 | nodes/name abcd | labels/names 1/2/3/4/");
    /* no header, numbers, a split; ids of the table that no edge has are nodes too */
    put_text("e.txt", "7 9\n");
    put_text("n.txt", "9 1 test\n8 0 train\n7 1 valid\n");
    EXPECT("e.txt", P(.node_table = "n.txt", .node_columns = "id=1,label=2,split=3"),
           "N3 T1 C2 U0 | 2<0 | labels/class 1 0 1 | splits 1 0 2 | nodes/number 7 8 9 | "
           "labels/names 0/1/");
    put_text("n.txt", "9 3\n");
    EXPECT("e.txt", P(.node_table = "n.txt"),
           "N2 T1 C1 U0 | 1<0 | labels/class -1 0 | nodes/number 7 9 | labels/names 3/");
    /* mostly zero columns are kept sparse */
    char wide[4096] = "";
    put_text("e.txt", "0 1\n1 2\n");
    for (int v = 0; v < 3; v++) {
        sprintf(wide + strlen(wide), "%d", v);
        for (int c = 0; c < 20; c++)
            sprintf(wide + strlen(wide), " %d", c == 5 * v ? 2 + v : 0);
        strcat(wide, "\n");
    }
    put_text("w.txt", wide);
    EXPECT("e.txt", P(.node_table = "w.txt", .node_columns = "id=1,feature=2-21"),
           "N3 T1 C0 U0 | 1<0 2<1 | features/indptr 0 1 2 3 | features/indices 0 5 10 | "
           "features/values 2 3 4");
}

/* ---- pinned non-edges ---- */

/* "step source>destination …" of a container. */
static const char *negatives_of(const char *path) {
    static char text[256];
    int64_t dims[3], column[3][16];
    flip_reader *reader;
    assert_int_equal(flip_reader_open(&reader, NULL, path, "graph"), FLIP_OK);
    assert_int_equal(flip_reader_shape(reader, "negatives/step", dims, NULL), FLIP_OK);
    static const char *const names[] = {"negatives/step", "negatives/source",
                                        "negatives/destination"};
    for (int k = 0; k < 3; k++)
        assert_int_equal(flip_reader_rows(reader, names[k], FLIP_TYPE_I64, 0, dims[0], column[k]),
                         FLIP_OK);
    text[0] = 0;
    for (int64_t i = 0; i < dims[0]; i++)
        sprintf(text + strlen(text), "%s%d %d>%d", i ? " " : "", (int)column[0][i],
                (int)column[1][i], (int)column[2][i]);
    flip_reader_close(&reader);
    return text;
}

static void pin(const char *input, const char *negatives, const char *expected) {
    flip_import_report report;
    flip_import_params p = {.inputs = &input,
                            .n_inputs = 1,
                            .output = "n.h5",
                            .columns = "src,dst,time",
                            .step = "1",
                            .negatives = negatives};
    if (flip_import(&p, &report) != FLIP_OK) {
        assert_string_equal(flip_error_message(), expected);
        flip_error_clear();
        return;
    }
    assert_string_equal(negatives_of("n.h5"), expected);
    assert_int_equal(flip_container_check("n.h5", NULL), FLIP_OK);
}

static void negatives(void **state) {
    (void)state;
    static const int64_t rows[] = {2, 9, 5, 0, 5, 7}, outside[] = {3, 5, 7};
    put_text("e.txt", "5 7 0\n7 9 1\n9 5 2\n");
    /* sorted, once each; a header is seen */
    put_text("n.tsv", "step\tsrc\tdst\n1\t9\t5\n0\t7\t5\n1\t9\t5\n1\t5\t5\n");
    pin("e.txt", "n.tsv", "0 1>0 1 0>0 1 2>0");
    put_npy("n.npy", "<i8", "(2, 3)", rows, sizeof rows);
    pin("e.txt", "n.npy", "0 0>1 2 2>0");
    put_text("t.txt", "anna bob 0\nbob carl 1\n");
    put_text("n.txt", "1 carl anna\n0 bob carl\n");
    pin("t.txt", "n.txt", "0 1>2 1 2>0");
    put_text("n.txt", "1 carl an\n");
    pin("t.txt", "n.txt",
        "--negatives 'n.txt' line 1: destination 'an' is no node of the edge list");
    put_text("n.txt", "0 5 7\n3 5 7\n");
    pin("e.txt", "n.txt", "--negatives 'n.txt' line 2: step '3' is not one of 0 to 2");
    put_npy("n.npy", "<i8", "(1, 3)", outside, sizeof outside);
    pin("e.txt", "n.npy", "--negatives 'n.npy' row 0: step '3' is not one of 0 to 2");
    put_text("n.txt", "0 5\n");
    pin("e.txt", "n.txt", "--negatives 'n.txt' line 1: expected step, source, destination");
    put_npy("n.npy", "<i8", "(3, 1)", outside, sizeof outside);
    pin("e.txt", "n.npy",
        "--negatives 'n.npy': expected an array [rows, 3] of step, source, destination");
}

/* They name nodes by the ids before partitioning, and go with the graph. */
static void partitioned_negatives(void **state) {
    (void)state;
    flip_reader *reader;
    flip_partition *partition;
    flip_partition_params p = FLIP_PARTITION_DEFAULTS;
    p.n_parts = 2;
    p.method = FLIP_PARTITION_RANDOM;
    put_text("n.txt", "1 9 5\n0 7 5\n");
    put_text("e.txt", "5 7 0\n7 9 1\n9 5 2\n");
    pin("e.txt", "n.txt", "0 1>0 1 2>0");
    assert_int_equal(flip_reader_open(&reader, NULL, "n.h5", "graph"), FLIP_OK);
    assert_int_equal(flip_partition_compute(&partition, NULL, reader, &p), FLIP_OK);
    assert_int_equal(flip_partition_write(NULL, reader, partition, &p, "p.h5"), FLIP_OK);
    flip_partition_destroy(&partition);
    flip_reader_close(&reader);
    assert_string_equal(negatives_of("p.h5"), "0 1>0 1 2>0");
    assert_int_equal(flip_container_check("p.h5", NULL), FLIP_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_npy), cmocka_unit_test(fortran_order_turns),
        cmocka_unit_test(damaged_npy),       cmocka_unit_test(dense_features),
        cmocka_unit_test(rows_and_ids),      cmocka_unit_test(changing_features),
        cmocka_unit_test(sparse_features),   cmocka_unit_test(labels_and_splits),
        cmocka_unit_test(targets),           cmocka_unit_test(static_folder),
        cmocka_unit_test(snapshot_folder),   cmocka_unit_test(node_table),
        cmocka_unit_test(negatives),         cmocka_unit_test(partitioned_negatives),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
