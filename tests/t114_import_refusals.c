/* import refuses what it cannot understand: file, line and column, what was found, what was
 * expected, the remedy; and leaves no file behind. */
#include "import_files.h"

#include <math.h>

#define IN FLIP_ERROR_INPUT
#define USE FLIP_ERROR_USAGE

typedef struct refusal {
    const char *text; /* of e.txt; NULL: no such file */
    flip_status status;
    const char *message;
    flip_import_params params;
} refusal;

static const refusal refusals[] = {
    /* the file */
    {NULL, FLIP_ERROR_IO, "cannot open 'e.txt': No such file or directory", {0}},
    {"",
     IN,
     "e.txt:1: the file holds no rows (it is empty, or all comments); expected one edge a line",
     {0}},
    {"# a\n% b\n\n",
     IN,
     "e.txt:1: the file holds no rows (it is empty, or all comments); expected one edge a line",
     {0}},
    {"src,dst\n", IN, "'e.txt' holds no edges, only a header; expected one edge a line", {0}},
    {"PK\003\004xx",
     IN,
     "'e.txt' is a zip archive, expected text, plain or packed with gzip or zstd; unpack it first: "
     "unzip",
     {0}},
    {"\xFF\xFE"
     "1",
     IN,
     "'e.txt' is UTF-16 text, expected text, plain or packed with gzip or zstd; convert it first: "
     "iconv -f UTF-16 -t UTF-8",
     {0}},
    {"\x1F\x8B\x08",
     IN,
     "'e.txt': its gzip data is broken after 3 packed bytes (it ends too early); copy or download "
     "the file again",
     {0}},
    {"\x28\xB5\x2F\xFD",
     IN,
     "'e.txt': its zstd data is broken after 4 packed bytes (it ends too early); copy or download "
     "the file again",
     {0}},
    /* lines */
    {"1 2\n3\n",
     IN,
     "e.txt:2: found 1 field, expected 2 (src, dst), split at blanks; mend the line, or name the "
     "delimiter with --delimiter",
     {0}},
    {"1,2,3\n1,2\n",
     IN,
     "e.txt:2: found 2 fields, expected 3 (src, dst, weight), split at comma; mend the line, or "
     "name the delimiter with --delimiter",
     {0}},
    {"1,2\n1,2,3\n1,2,4\n",
     IN,
     "e.txt:1: found 2 fields, expected 3 (src, dst, weight), split at comma; mend the line, or "
     "name the delimiter with --delimiter",
     {0}},
    {"from,to,x,y\n1,2,3\n1,2,4\n",
     IN,
     "e.txt:1: the header has 4 names, but most lines below have 3 fields; mend the header",
     {0}},
    {"1,2,3\n3,4,5\n\n# x\n1,2,3,4\n",
     IN,
     "e.txt:5: found 4 fields, expected 3 (src, dst, weight), split at comma; mend the line, or "
     "name the delimiter with --delimiter",
     {.delimiter = ","}},
    {"1,\"a\n",
     IN,
     "e.txt:1: a quoted field does not end on its line (or text follows its closing quote); write "
     "it on one line, quotes inside doubled",
     {0}},
    {"1\n2\n",
     IN,
     "e.txt:1: found one column, expected at least a source and a target; is the delimiter right? "
     "(--delimiter)",
     {0}},
    /* ids */
    {"1 2\n2 99999999999999999999\n",
     IN,
     "e.txt:2:3: column 2 (dst) is '99999999999999999999', expected an id below 2^63; --ids text "
     "keeps such ids as text",
     {0}},
    {"1 2\n-9223372036854775809 1\n",
     IN,
     "e.txt:2:1: column 1 (src) is '-9223372036854775809', expected an id below 2^63; --ids text "
     "keeps such ids as text",
     {0}},
    {"1 2\nNA 3\n",
     IN,
     "e.txt:2:1: column 1 (src) is 'NA', expected a node id; --ids text takes the word as a name",
     {0}},
    {"1,2\n,3\n", IN, "e.txt:2:1: column 1 (src) is '', expected a node id", {0}},
    {"1 2\n3 x4\n",
     IN,
     "e.txt:2:3: column 2 (dst) is 'x4', expected an integer id (--ids number)",
     {.ids = "number"}},
    {"0 1\n1 2\n",
     IN,
     "the edges have 3 different ids up to 2, but --nodes has 2 rows; row i belongs to id i, so "
     "ids must be below 2 (or there must be exactly as many ids as rows, in ascending order)",
     {.n_nodes = 2}},
    {"a b\nb c\n",
     IN,
     "the edges have 3 different ids, but --nodes has 5 rows; rows stand for the ids in ascending "
     "order, so the two must be equal",
     {.n_nodes = 5}},
    /* weights */
    {"1 2 3\n2 3 nan\n",
     IN,
     "e.txt:2:5: column 3 (weight) is 'nan', expected a finite number; leave the line or the "
     "column out",
     {0}},
    {"1 2 3\n2 3 -Inf\n",
     IN,
     "e.txt:2:5: column 3 (weight) is '-Inf', expected a finite number; leave the line or the "
     "column out",
     {0}},
    {"1 2 3\n2 3 1e39\n",
     IN,
     "e.txt:2:5: column 3 (weight) is '1e39', expected a number within the range of 32-bit floats "
     "(3.4e38)",
     {0}},
    {"1 2 3\n2 3 1e999\n",
     IN,
     "e.txt:2:5: column 3 (weight) is '1e999', expected a number within the range of 32-bit floats "
     "(3.4e38)",
     {0}},
    {"1 2 3\n2 3 4\n2 3 4,5\n",
     IN,
     "e.txt:3:5: column 3 (weight) is '4,5', expected a number; other columns: --columns src,dst,- "
     "leaves this one out",
     {0}},
    {"1 2 3\n2 3 0x10\n",
     IN,
     "e.txt:2:5: column 3 (weight) is '0x10', expected a number; other columns: --columns "
     "src,dst,- leaves this one out",
     {0}},
    {"1 2 0\n",
     IN,
     "e.txt:1:5: column 3 (weight) is '0', expected a number above or below 0, as --label sign "
     "takes its sign",
     {.label = "sign"}},
    /* times */
    {"1 2 5\n2 3 x\n",
     IN,
     "e.txt:2:5: column 3 (time) is 'x', expected a time in numbers; for dates see --time-format",
     {.step = "1"}},
    {"1 2 5\n2 3 NaN\n",
     IN,
     "e.txt:2:5: column 3 (time) is 'NaN', expected a time; leave the line out",
     {.step = "1"}},
    {"1,2,2010-01-01\n2,3,2010-02-30\n",
     IN,
     "e.txt:2:5: column 3 (time) is '2010-02-30', expected a date such as 2010-11-08 or "
     "2010-11-08T18:45:11Z; another form: --time-format '%d.%m.%Y'",
     {.step = "1d"}},
    {"1;2;01.02.2010\n1;2;2010-02-01\n",
     IN,
     "e.txt:2:5: column 3 (time) is '2010-02-01', expected a date of the form given by "
     "--time-format",
     {.step = "1d", .time_format = "%d.%m.%Y", .columns = "src=1,dst=2,time=3"}},
    {"1 2 9007199254740993\n1 2 1.5\n",
     IN,
     "e.txt:2:5: column 3 (time) is '1.5', expected an integer, as times before it are integers "
     "beyond 2^53",
     {.step = "1"}},
    {"1 2 5\n2 3 4\n",
     IN,
     "e.txt:2:5: column 3 (time) is '4', expected a time not before --start",
     {.step = "1", .start = "5"}},
    {"1 2 5\n", USE, "--step is '0', expected more than 0", {.step = "0"}},
    {"1 2 5\n", USE, "--step is '-5d', expected more than 0", {.step = "-5d"}},
    {"1 2 5\n",
     USE,
     "--step is '14x', expected a duration such as 14d, 12h, 30min, 1200000s, 500ms, or a number "
     "in the unit of the times",
     {.step = "14x"}},
    {"1 2 5\n",
     USE,
     "--steps is -1, expected 1 to 2147483647",
     {.columns = "src,dst,time", .n_steps = -1}},
    {"1 2 5\n", USE, "--steps is 3000000000, expected 1 to 2147483647", {.n_steps = 3000000000}},
    {"1 2 5\n",
     USE,
     "--step and --steps are both given; give the width or the number",
     {.step = "1", .n_steps = 3}},
    {"1 2 5\n1 2 4000000000005\n",
     USE,
     "--step 1ms makes 4e+15 steps, more than 2147483647; take longer steps (or is the unit of the "
     "times another? --time-format ms)",
     {.step = "1ms"}},
    {"1 2 -9223372036854775808\n1 2 9223372036854775807\n",
     USE,
     "--step 1 makes 1.845e+19 steps, more than 2147483647; take longer steps (or is the unit of "
     "the times another? --time-format ms)",
     {.step = "1"}},
    {"1 2 -9223372036854775808\n1 2 9223372036854775807\n",
     IN,
     "'e.txt': times from -9223372036854775808 to 9223372036854775807 are too far apart",
     {.n_steps = 3}},
    {"1 2 3 4\n1 2 3 99999999\n",
     USE,
     "'e.txt' has times from 4 to 99999999, and no --step says how long a step is; --step 7d makes "
     "166 steps, --steps 1 a static graph",
     {0}},
    {"1 2\n",
     USE,
     "--step needs times, and 'e.txt' has no time column; name it with --columns src,dst,time",
     {.step = "1d"}},
    {"1 2 5\n",
     USE,
     "--start is 'soon', expected a time as in the file, or a date such as 2010-11-08",
     {.step = "1", .start = "soon"}},
    {"1 2 5\n",
     USE,
     "--time-format is 'epoch', expected auto, seconds, ms, us, ns, minutes, hours, days, weeks, "
     "iso, or a pattern such as '%d.%m.%Y %H:%M'",
     {.step = "1", .time_format = "epoch"}},
    /* columns */
    {"from,to,amount\n1,2,3\n",
     USE,
     "'e.txt' has no column 'amuont'; did you mean 'amount'?",
     {.label = "amuont"}},
    {"from,to,amount\n1,2,3\n",
     USE,
     "'e.txt' has no column 'form'; did you mean 'from'?",
     {.columns = "src=form,dst=to"}},
    {"1,2,3\n",
     USE,
     "--columns names 2 columns, but 'e.txt' has 3; give every column a name, '-' for one to leave "
     "out",
     {.columns = "src,dst"}},
    {"1,2,3\n",
     USE,
     "--columns 'src,a,b' names no dst column; it needs src and dst",
     {.columns = "src,a,b"}},
    {"1,2,3\n",
     USE,
     "'e.txt': columns 1 and 2 are both src; --columns says which is meant",
     {.columns = "src,src,dst"}},
    {"1,2,3\n",
     USE,
     "--columns has 'sorce', expected src, dst, weight, time, label, src_class or dst_class before "
     "'='; did you mean 'src'?",
     {.columns = "sorce=1,dst=2"}},
    {"1 2 3 4 5\n",
     USE,
     "'e.txt' has 5 columns and no header that names them; say what they are: --columns "
     "src,dst,weight,time ('-' leaves one out)",
     {0}},
    {"who,whom,what,why,when\n1,2,3,4,5\n",
     USE,
     "'e.txt': its header does not say which columns are the ends of an edge (the first is 'who'); "
     "say it: --columns src=COLUMN,dst=COLUMN",
     {0}},
    {"1 2\n",
     USE,
     "'e.txt' has no column 'kind' and no header; give a number from 1 to 2, or names with "
     "--columns",
     {.label = "kind"}},
    {"1 2\n", USE, "--label names column 2, which is the dst column", {.label = "dst"}},
    {"1 2\n",
     USE,
     "--label sign needs a weight column, and 'e.txt' has none; name it with --columns "
     "src,dst,weight,time",
     {.label = "sign"}},
    {"5 6 A\n5 7 B\n",
     IN,
     "e.txt:2:5: column 3 (src_class) is 'B', expected 'A', the class of the same node in lines "
     "above",
     {.columns = "src,dst,src_class"}},
    /* settings */
    {"1 2\n", USE, "--ids is 'nubmer', expected auto, number or text", {.ids = "nubmer"}},
    {"1 2\n",
     USE,
     "--delimiter is 'xx', expected one character or auto, tab, space, comma, semicolon, bar",
     {.delimiter = "xx"}},
    {"1 2\n", USE, "--header is 'maybe', expected auto, yes or no", {.header = "maybe"}},
    {"1 2\n",
     USE,
     "--comment is '0123456789abcdefgh', expected at most 15 characters",
     {.comment = "0123456789abcdefgh"}},
    {"1 2\n",
     USE,
     "--features and --features-csr are both given; give one",
     {.features = "a", .features_csr = "b,c"}},
    {"1 2\n",
     USE,
     "--features-csr is 'b', expected PTR.npy,IDX.npy or PTR.npy,IDX.npy,VAL.npy",
     {.features_csr = "b"}},
};

/* The import of e.txt fails with this message, and no output (nor a temporary file) stays. */
static void expect_refusal(const char *input, flip_import_params params, flip_status status,
                           const char *message) {
    flip_import_report report;
    flip_error_clear();
    params.inputs = &input;
    params.n_inputs = 1;
    params.output = "refused.h5";
    flip_status got = flip_import(&params, &report);
    if (got != status || strcmp(flip_error_message(), message) != 0)
        fail_msg("status %d, message  %s\n     expected %d, message  %s", got, flip_error_message(),
                 status, message);
    flip_error_clear();
    assert_int_equal(system("test -z \"$(ls -A | grep refused)\""), 0);
}

static void every_refusal(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        unlink("e.txt");
        if (refusals[i].text) put_text("e.txt", refusals[i].text);
        expect_refusal("e.txt", refusals[i].params, refusals[i].status, refusals[i].message);
    }
}

/* Bytes that a C string cannot hold. */
static void nul_bytes(void **state) {
    (void)state;
    put_file("e.txt", "1 2\n3 \0 4\n", 10);
    expect_refusal(
        "e.txt", (flip_import_params){0}, IN,
        "e.txt:2:3: found a NUL byte, expected text; the file is binary, damaged or UTF-16");
}

/* The line of a fault far into the file, in a later block and after ids changed their kind. */
static void line_numbers_hold(void **state) {
    (void)state;
    FILE *file = fopen("long.txt", "w");
    assert_non_null(file);
    for (int i = 0; i < 900000; i++)
        fprintf(file, i == 400000 ? "%d a%d\n" : "%d %d\n", i, i);
    fprintf(file, "7 8 9\n");
    fclose(file);
    expect_refusal("long.txt", (flip_import_params){0}, IN,
                   "long.txt:900001: found 3 fields, expected 2 (src, dst), split at blanks; mend "
                   "the line, or name the delimiter with --delimiter");
}

/* ---- rows of nodes ---- */

typedef struct bad_rows {
    const char *descr, *shape;
    double values[8];
    size_t n;
    flip_status status;
    const char *message;
    flip_import_params params;
} bad_rows;

static const bad_rows rows[] = {
    {"<f4",
     "(2, 1)",
     {1, 2},
     2,
     IN,
     "the edges have 3 different ids up to 2, but 'x.npy' has 2 rows; row i belongs to id i, so "
     "ids must be below 2 (or there must be exactly as many ids as rows, in ascending order)",
     {.features = "x.npy"}},
    {"<f4",
     "(3, 1)",
     {1, NAN, 3},
     3,
     IN,
     "'x.npy': row 1, column 0 (counted from 0) is NaN, expected a finite number; --allow-nan "
     "keeps such values",
     {.features = "x.npy"}},
    {"<f4",
     "(3, 2)",
     {1, 2, 3, 4, 5, -INFINITY},
     6,
     IN,
     "'x.npy': row 2, column 1 (counted from 0) is infinite, expected a finite number; --allow-nan "
     "keeps such values",
     {.features = "x.npy"}},
    {"<f4",
     "(3, 0)",
     {0},
     0,
     IN,
     "'x.npy' has no columns, expected [nodes, features]",
     {.features = "x.npy"}},
    {"<f4",
     "(1, 1, 3, 1)",
     {1, 2, 3},
     3,
     IN,
     "'x.npy' has shape [1, 1, 3, 1], expected [nodes, features] or [steps, nodes, features]",
     {.features = "x.npy"}},
    {"<f4",
     "()",
     {1},
     1,
     IN,
     "'x.npy' has shape [], expected [nodes, features] or [steps, nodes, features]",
     {.features = "x.npy"}},
    {"<f4",
     "(3, 1)",
     {1, 2},
     2,
     IN,
     "'x.npy' has 136 bytes, but its header (shape and type) needs 140; copy or write the file "
     "again",
     {.features = "x.npy"}},
    {"<f4",
     "(3, 1)",
     {1, 2, 3, 4},
     4,
     IN,
     "'x.npy' has 144 bytes, but its header (shape and type) needs 140; copy or write the file "
     "again",
     {.features = "x.npy"}},
    {"|O",
     "(3, 1)",
     {1, 2, 3},
     3,
     IN,
     "'x.npy' is not a usable .npy file: it holds Python objects (a pickle); save it with a "
     "numeric dtype",
     {.features = "x.npy"}},
    {"<c8",
     "(3, 1)",
     {1, 2, 3},
     3,
     IN,
     "'x.npy' is not a usable .npy file: its type is '<c8', 'fort, expected i1..i8, u1..u8, f2, "
     "f4, f8 or bool",
     {.features = "x.npy"}},
    {"<f4",
     "(3, 9223372036854775807)",
     {1, 2, 3},
     3,
     IN,
     "'x.npy' is not a usable .npy file: a shape beyond any memory",
     {.features = "x.npy"}},
    {"<f4",
     "(3, x)",
     {1, 2, 3},
     3,
     IN,
     "'x.npy' is not a usable .npy file: a shape that is not numbers",
     {.features = "x.npy"}},
    {"<f4",
     "(3,)",
     {0, 1.5, 2},
     3,
     IN,
     "'x.npy': element 1 (counted from 0) is 1.5, expected an integer",
     {.labels = "x.npy"}},
    {"<f4",
     "(3,)",
     {0, -2, 2},
     3,
     IN,
     "'x.npy': element 1 (counted from 0) is -2, expected a class from 0 to 1048575, or -1 for "
     "none",
     {.labels = "x.npy"}},
    {"<f4",
     "(3,)",
     {0, 3e9, 2},
     3,
     IN,
     "'x.npy': element 1 (counted from 0) is 3000000000, expected a 32-bit integer",
     {.labels = "x.npy"}},
    {"<f4",
     "(4,)",
     {0, 1, 2, 0},
     4,
     IN,
     "'x.npy' has 4 rows (nodes), but --nodes says 3; they must be equal",
     {.labels = "x.npy", .n_nodes = 3}},
    {"<f4",
     "(3,)",
     {0, 1, 2},
     3,
     IN,
     "'names.txt' names 2 classes, but the labels go up to class 2",
     {.labels = "x.npy", .class_names = "names.txt"}},
    {"<f4",
     "(3,)",
     {0, 3, 2},
     3,
     IN,
     "'x.npy': split 0, node 1 is 3, expected 0 (train), 1 (valid), 2 (test) or -1 (unused)",
     {.splits = "x.npy"}},
    {"<f4",
     "(3, 2)",
     {0, 1, 2, 0, 1, 2},
     6,
     IN,
     "the edges have 3 different ids up to 2, but 'x.npy' has 2 rows; row i belongs to id i, so "
     "ids must be below 2 (or there must be exactly as many ids as rows, in ascending order)",
     {.splits = "x.npy"}},
    {"<f4",
     "(1, 3, 1)",
     {1, 2, 3},
     3,
     IN,
     "'x.npy' has 1 steps, but the events make 2 (0 to 1; step 0 starts at 0, width 1)",
     {.targets = "x.npy", .step = "1"}},
    {"<f4",
     "(2, 2)",
     {1, 2, 3, 4},
     4,
     IN,
     "'x.npy' has shape [2, 2], expected [nodes, K] or [steps, nodes] with 3 nodes",
     {.targets = "x.npy", .step = "1"}},
};

static void every_bad_array(void **state) {
    (void)state;
    put_text("e.txt", "0 1 0\n1 2 1\n");
    put_text("names.txt", "a\nb\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float values[8];
        for (size_t k = 0; k < rows[i].n; k++)
            values[k] = (float)rows[i].values[k];
        put_npy("x.npy", rows[i].descr, rows[i].shape, values, rows[i].n * sizeof *values);
        expect_refusal("e.txt", rows[i].params, rows[i].status, rows[i].message);
    }
    put_text("x.npy", "not an array");
    expect_refusal("e.txt", (flip_import_params){.features = "x.npy"}, IN,
                   "'x.npy' is not a usable .npy file: it does not begin with \\x93NUMPY");
}

static void bad_sparse_features(void **state) {
    static const struct {
        int64_t ptr[4];
        int32_t idx[3];
        const char *message;
    } cases[] = {
        {{0, 1, 2, 4},
         {0, 1, 2},
         "'p.npy' runs from 0 to 4, expected from 0 to 3 (the length of 'i.npy')"},
        {{0, 2, 1, 3}, {0, 1, 2}, "'p.npy': element 2 is 1, expected ascending row starts up to 3"},
        {{0, 9, 1, 3}, {0, 1, 2}, "'p.npy': element 1 is 9, expected ascending row starts up to 3"},
        {{0, 1, 2, 3}, {0, -1, 2}, "'i.npy': element 1 is column -1, expected 0 to 2147483646"},
        {{0, 2, 2, 3},
         {5, 5, 2},
         "'i.npy': row 0 has column 5 twice; add the two values up or drop one"},
    };
    (void)state;
    put_text("e.txt", "0 1\n1 2\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_npy("p.npy", "<i8", "(4,)", cases[i].ptr, sizeof cases[i].ptr);
        put_npy("i.npy", "<i4", "(3,)", cases[i].idx, sizeof cases[i].idx);
        expect_refusal("e.txt", (flip_import_params){.features_csr = "p.npy,i.npy"}, IN,
                       cases[i].message);
    }
}

static void bad_node_tables(void **state) {
    static const struct {
        const char *text, *columns;
        flip_status status;
        const char *message;
    } cases[] = {
        {"id,age\n0,1\n1,2\n", NULL, IN,
         "'n.csv' has no row for node '2' of the edges; every node needs its features"},
        {"id,age\n0,1\n1,2\n0,3\n", NULL, IN,
         "n.csv:4:1: column 1 (id) is '0', expected each node once; it stands in line 2 too"},
        {"id,age\n0,1\n1,x\n2,3\n", NULL, IN,
         "n.csv:3:3: column 2 (age) is 'x', expected a number (as --node-columns or the lines "
         "above make it a feature)"},
        {"id,age\n0,1\n1,\n2,3\n", NULL, IN,
         "n.csv:3:3: column 2 (age) is '', expected a finite number; --allow-nan keeps such "
         "values"},
        {"id,age\n0,1\n1\n", NULL, IN, "n.csv:3: found 1 fields, expected 2, split at comma"},
        {"id,part\n0,train\n1,tset\n", "id=id,split=part", IN,
         "n.csv:3:3: column 2 (part) is 'tset', expected train, valid, test or none (0, 1, 2, -1)"},
        {"id,age\n0,1\n", "id=id,feature=aeg", USE,
         "'n.csv' has no column 'aeg'; did you mean 'age'?"},
        {"id,age\n0,1\n", "id=id,faeture=age", USE,
         "--node-columns has 'faeture', expected id=COLUMN, label=COLUMN, feature=COLUMN or "
         "split=COLUMN; did you mean 'feature'?"},
        {"id,age\n0,1\n", "feature=age", USE,
         "--node-columns 'feature=age' names no id column; add id=COLUMN"},
        {"0 1 2\n", NULL, USE,
         "'n.csv' has 3 columns and no header that names them; say what they are: --node-columns "
         "id=1,label=2,feature=3-3"},
        {"", NULL, IN,
         "n.csv:1: the file holds no rows (it is empty, or all comments); expected one edge a "
         "line"},
    };
    (void)state;
    put_text("e.txt", "0 1\n1 2\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text("n.csv", cases[i].text);
        expect_refusal(
            "e.txt", (flip_import_params){.node_table = "n.csv", .node_columns = cases[i].columns},
            cases[i].status, cases[i].message);
    }
}

static void folders(void **state) {
    (void)state;
    assert_int_equal(mkdir("empty", 0777), 0);
    expect_refusal("empty", (flip_import_params){0}, IN,
                   "the folder 'empty' holds no edges.tsv and no snapshot files; expected "
                   "edges.tsv with .npy files beside it, or one edge list a step");
    assert_int_equal(mkdir("two", 0777), 0);
    put_text("two/a.txt", "0 1\n1 2\n");
    put_text("two/b.txt", "0 1 5\n1 2 6\n");
    expect_refusal("two", (flip_import_params){0}, IN,
                   "'two/b.txt' has other columns than 'two/a.txt' (src, dst); all files of a "
                   "graph need the same");
    const char *files[] = {"two/a.txt", "empty"};
    flip_import_report report;
    flip_import_params params = {.inputs = files, .n_inputs = 2, .output = "refused.h5"};
    assert_int_equal(flip_import(&params, &report), FLIP_ERROR_INPUT);
    assert_string_equal(flip_error_message(), "'empty' is a folder, expected a file");
    flip_error_clear();
    params.n_inputs = 1;
    params.output = "no-such-folder/x.h5";
    assert_int_not_equal(flip_import(&params, &report), FLIP_OK);
    assert_non_null(strstr(flip_error_message(), "no-such-folder/x.h5"));
    flip_error_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(line_numbers_hold),
        cmocka_unit_test(every_bad_array),
        cmocka_unit_test(bad_sparse_features),
        cmocka_unit_test(bad_node_tables),
        cmocka_unit_test(folders),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
