/* import on 1 to 4 ranks: the same bytes as one process makes, for every kind of input; faults far
 * into the file are told with their line, on every rank. */
#include "import_files.h"
#include "import_kinds.h"
#include "ranks.h"

#include <zlib.h>

static flip_comm *comm;
static int rank;

static void barrier(void) {
    MPI_Barrier(MPI_COMM_WORLD);
}

static char *slurp(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    CHECK(file, "no file %s", path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    CHECK(fread(bytes, 1, *size, file) == *size, "cannot read %s", path);
    fclose(file);
    return bytes;
}

/* Imports on all ranks and on rank 0 alone; the two files are equal, and so are the reports. */
static void same_on_ranks(const char *what, const char *const *inputs, int32_t n,
                          flip_import_params params) {
    flip_import_report many, one;
    params.inputs = inputs;
    params.n_inputs = n;
    params.output = "many.h5";
    params.comm = comm;
    barrier();
    flip_status status = flip_import(&params, &many);
    CHECK(status == FLIP_OK, "%s: %s at %s", what, flip_error_message(), flip_error_where());
    if (rank == 0) {
        size_t a, b;
        params.comm = NULL;
        params.output = "one.h5";
        status = flip_import(&params, &one);
        CHECK(status == FLIP_OK, "%s: %s", what, flip_error_message());
        char *x = slurp("many.h5", &a), *y = slurp("one.h5", &b);
        CHECK(a == b && !memcmp(x, y, a), "%s: other bytes\n  ranks %s\n  one   %s", what,
              dump_container("many.h5"), dump_container("one.h5"));
        CHECK(many.n_rows == one.n_rows && many.n_events == one.n_events &&
                  many.n_duplicates == one.n_duplicates && many.n_self_loops == one.n_self_loops &&
                  many.n_isolated == one.n_isolated && many.symmetric == one.symmetric &&
                  many.degree_most == one.degree_most && many.n_comments == one.n_comments &&
                  many.n_empty_steps == one.n_empty_steps && !strcmp(many.labels, one.labels) &&
                  !strcmp(many.weights, one.weights) && !strcmp(many.time, one.time) &&
                  !strcmp(many.ids, one.ids) && many.n_notes == one.n_notes,
              "%s: another report", what);
        free(x);
        free(y);
    }
    barrier();
}

static void every_kind(void **state) {
    (void)state;
    const char *input = "e.txt";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (rank == 0) put_text(input, kinds[i].text);
        same_on_ranks(kinds[i].what, &input, 1, kinds[i].params);
    }
}

/* ---- larger files, whose parts hold whole blocks of different lines ---- */

enum { LINES = 30000 };

static void write_lines(const char *path, int form, bool packed) {
    gzFile out = gzopen(path, packed ? "wb" : "wbT");
    CHECK(out, "cannot write %s", path);
    gzprintf(out, "# a comment\nsrc,dst,weight,time,kind\n");
    for (uint64_t i = 0; i < LINES; i++) {
        flip_random4 r = flip_random(5, FLIP_STREAM_TEST, (uint64_t)form, i);
        long long ends[2] = {r.v[0] % 700, r.v[1] % 5 ? r.v[1] % 700 : 3}; /* a hub */
        const char *text = form == 3 || (form == 4 && i == 29000) ? "n" : "";
        for (int k = 0; k < 2; k++)
            ends[k] = form == 1   ? 3 * ends[k] + 5
                      : form == 2 ? 1000000007ll * ends[k] - 9
                                  : ends[k];
        if (i % 1000 == 999) gzprintf(out, "# comment\n");
        gzprintf(out, "%s%lld,%s%lld,%d,%d%s,c%d\n", text, ends[0], text, ends[1],
                 (int)(r.v[2] % 9) - 4, 1000000 + (int)(i / 2), form == 1 && i == 20000 ? ".5" : "",
                 (int)(r.v[3] % (1 + i / 3000)));
    }
    gzclose(out);
}

static void larger_files(void **state) {
    static const char *const forms[] = {"0 to 699", "with gaps, one time with a fraction",
                                        "far apart and negative", "text", "text late in the file"};
    (void)state;
    const char *input = "large.csv", *packed = "large.csv.gz";
    for (int form = 0; form < 5; form++) {
        if (rank == 0) write_lines(input, form, false);
        if (rank == 0) write_lines(packed, form, true);
        same_on_ranks(forms[form], &input, 1,
                      (flip_import_params){.step = "1000", .label = "kind"});
        same_on_ranks(forms[form], &packed, 1,
                      (flip_import_params){.n_steps = 7, .undirected = true});
    }
}

static void several_files(void **state) {
    static const char *const files[] = {"a.csv", "b.csv", "c.csv", "d.csv", "e.csv"};
    (void)state;
    for (int i = 0; i < 5; i++)
        if (rank == 0) write_lines(files[i], i == 3 ? 1 : 0, false);
    same_on_ranks("one list in five files", files, 5, (flip_import_params){.step = "5000"});
    if (rank == 0) {
        mkdir("days", 0777);
        put_text("days/1.txt", "5 7\n7 5\n");
        put_text("days/2.txt", "# none\n");
        put_text("days/3.txt", "9 7\n");
        put_text("days/4.txt", "5 7\n");
    }
    const char *folder = "days";
    same_on_ranks("snapshots", &folder, 1, (flip_import_params){0});
}

static void rows_of_nodes(void **state) {
    static float x[700 * 3];
    static int32_t label[700];
    (void)state;
    const char *input = "large.csv", *small = "classes.txt";
    if (rank == 0) {
        for (int i = 0; i < 2100; i++)
            x[i] = (float)i / 7;
        for (int i = 0; i < 700; i++)
            label[i] = i % 5 - 1;
        write_lines(input, 0, false);
        put_npy("x.npy", "<f4", "(700, 3)", x, sizeof x);
        put_npy("l.npy", "<i4", "(700,)", label, sizeof label);
        put_text(small, "1 2 a b\n3 4 c a\n1 3 a c\n4 2 a b\n5 1 d a\n");
        put_text("n.csv", "id,class,age\n1,x,3\n4,y,1\n2,x,4\n3,,2\n5,y,6\n9,z,7\n");
    }
    same_on_ranks("features and labels", &input, 1,
                  (flip_import_params){.step = "100", .features = "x.npy", .labels = "l.npy"});
    same_on_ranks("classes on edges", &small, 1,
                  (flip_import_params){.columns = "src,dst,src_class,dst_class"});
    same_on_ranks("a node table", &small, 1,
                  (flip_import_params){.columns = "src,dst,-,-", .node_table = "n.csv"});
}

/* ---- faults ---- */

static void refuse(const char *input, flip_import_params params, const char *message) {
    flip_import_report report;
    params.inputs = &input;
    params.n_inputs = 1;
    params.output = "refused.h5";
    params.comm = comm;
    barrier();
    flip_status status = flip_import(&params, &report);
    CHECK(status == FLIP_ERROR_INPUT, "status %d", status);
    const char *said = flip_error_message(), *colon = strchr(said, ':');
    if (!strncmp(said, "rank ", 5) && colon) said = colon + 2; /* of the rank that met it */
    CHECK(!strcmp(said, message), "says %s\n  not %s", said, message);
    CHECK(access("refused.h5", F_OK) != 0, "a file is left");
    flip_error_clear();
    barrier();
}

static void faults(void **state) {
    (void)state;
    if (rank == 0) {
        FILE *file = fopen("bad.txt", "w");
        for (int i = 0; i < 5000; i++)
            fprintf(file, i == 4321 ? "%d\n" : "%d %d\n", i, i + 1);
        fclose(file);
        put_text("twice.txt", "1 2 a\n1 3 a\n1 4 a\n1 5 b\n");
        put_text("header.txt", "src,dst\n");
    }
    barrier();
    refuse("bad.txt", (flip_import_params){0},
           "bad.txt:4322: found 1 field, expected 2 (src, dst), split at blanks; mend the line, or "
           "name the delimiter with --delimiter");
    refuse("header.txt", (flip_import_params){0},
           "'header.txt' holds no edges, only a header; expected one edge a line");
    flip_import_report report;
    const char *input = "twice.txt";
    flip_import_params params = {.inputs = &input,
                                 .n_inputs = 1,
                                 .output = "refused.h5",
                                 .comm = comm,
                                 .columns = "src,dst,src_class"};
    CHECK(flip_import(&params, &report) == FLIP_ERROR_INPUT, "two classes of a node pass");
    flip_error_clear();
    barrier();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),    cmocka_unit_test(larger_files),
        cmocka_unit_test(several_files), cmocka_unit_test(rows_of_nodes),
        cmocka_unit_test(faults),
    };
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    int failed = rank == 0 ? enter_folder(NULL) : 0;
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    CHECK(!failed && (rank == 0 || chdir(folder) == 0), "no folder");
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    barrier();
    if (rank == 0) leave_folder(NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
