/* import of public data sets with their published counts; needs the shared folder (FLIP_SHARED). */
#include "import_files.h"

static char output[300];

typedef struct known {
    const char *input;
    int64_t nodes, rows, events, steps, self_loops, duplicates, isolated;
    flip_import_params params;
} known;

static const known sets[] = {
    /* signed trust: 14 days (TM-GCN), 1,200,000 s (EvolveGCN) */
    {"bitcoin-otc/soc-sign-bitcoinotc.csv",
     5881,
     35592,
     35592,
     136,
     0,
     0,
     0,
     {.step = "14d", .label = "sign"}},
    {"bitcoin-otc/soc-sign-bitcoinotc.csv", 5881, 35592, 35592, 138, 0, 0, 0, {.step = "1200000s"}},
    {"bitcoin-alpha/soc-sign-bitcoinalpha.csv",
     3783,
     24186,
     24186,
     137,
     0,
     0,
     0,
     {.step = "1200000s"}},
    /* messages: SNAP's gzip and KONECT's text with % comments */
    {"uci-messages/CollegeMsg.txt.gz", 1899, 59835, 59835, 89, 0, -1, 0, {.step = "190080"}},
    {"uci-messages/out.opsahl-ucsocial.zst", 1899, 59835, 59835, 89, 0, -1, 0, {.step = "190080"}},
    {"email-eu-core/email-Eu-core-temporal.txt.gz",
     986,
     332334,
     332334,
     804,
     0,
     -1,
     0,
     {.step = "1d"}},
    {"email-eu-core/email-Eu-core-temporal-Dept1.txt.gz",
     309,
     61046,
     61046,
     804,
     0,
     -1,
     0,
     {.step = "1d"}},
    /* no duplicates within one step: 24,929 different pairs in all */
    {"email-eu-core/email-Eu-core-temporal.txt.gz",
     986,
     332334,
     332334,
     1,
     0,
     332334 - 24929,
     0,
     {.n_steps = 1}},
    {"sx-mathoverflow/sx-mathoverflow.txt.gz",
     24818,
     506550,
     506550,
     2351,
     116109,
     -1,
     0,
     {.step = "1d"}},
    {"enron/ia-enron-employees.edges", 151, 50572, 50572, 1138, 3484, -1, 0, {.step = "1d"}},
    {"enron/enron10_edges.tsv",
     184,
     2392,
     4784,
     11,
     0,
     0,
     41,
     {.columns = "time,src,dst", .undirected = true, .n_nodes = 184}},
    /* header, CRLF, a node table with classes */
    {"amlsim/20K_cycle200.transactions.csv.zst",
     20000,
     117805,
     117805,
     149,
     14,
     -1,
     20,
     {.node_table = "amlsim/20K_cycle200.nodes.csv", .node_columns = "id=nodeid,label=isFraud"}},
    /* contacts with the classes of both nodes on every line; tabs, CRLF, blanks */
    {"sociopatterns/thiers_2012.csv.zst",
     180,
     45047,
     90094,
     2027,
     0,
     -1,
     0,
     {.columns = "time,src,dst,src_class,dst_class", .step = "6min", .undirected = true}},
    {"sociopatterns/Contacts_Hospital.csv",
     75,
     32424,
     32424,
     1,
     0,
     32424 - 1139,
     0,
     {.columns = "time,src,dst,src_class,dst_class", .n_steps = 1}},
    {"sociopatterns/highschool_2011.txt",
     126,
     28561,
     28561,
     1,
     1,
     28561 - 1710,
     0,
     {.columns = "src,dst,time,src_class,dst_class", .n_steps = 1}},
    {"patent-temporal/patent.txt.zst",
     12214,
     41916,
     41916,
     891,
     0,
     0,
     0,
     {.n_steps = 891, .node_table = "patent-temporal/node2label.txt"}},
    /* regression: graphs that change, and targets over a static graph */
    {"pyg-temporal/england_covid_edges.tsv.zst",
     129,
     82529,
     82529,
     61,
     7869,
     0,
     0,
     {.columns = "time,src,dst,weight",
      .step = "1",
      .targets = "pyg-temporal/england_covid_y.npy"}},
    {"pyg-temporal/twitter_tennis_rg17_edges.tsv",
     1000,
     40839,
     40839,
     120,
     -1,
     0,
     -1,
     {.columns = "time,src,dst,weight",
      .targets = "pyg-temporal/twitter_tennis_rg17_y.npy",
      .n_nodes = 1000}},
    {"pyg-temporal/chickenpox_edges.tsv",
     20,
     102,
     102,
     521,
     20,
     0,
     0,
     {.targets = "pyg-temporal/chickenpox_X.npy"}},
    {"pyg-temporal/montevideo_edges.tsv",
     675,
     690,
     690,
     744,
     0,
     -1,
     0,
     {.targets = "pyg-temporal/montevideo_y.npy.zst"}},
    {"as-733/first100.tsv.zst",
     3569,
     606753,
     -1,
     100,
     -1,
     0,
     0,
     {.columns = "time,src,dst", .undirected = true}},
    /* static folders */
    {"cora", 2708, 5278, 10556, 1, 0, 0, 0, {0}},
    {"citeseer", 3327, 4552, 9104, 1, 0, 0, 48, {0}},
    {"pubmed", 19717, 44324, 88648, 1, 0, 0, 0, {0}},
    {"amazon-photo", 7650, 119081, 238162, 1, 0, 0, 115, {0}},
    {"amazon-computers", 13752, 245861, 491722, 1, 0, 0, 281, {0}},
    {"tolokers", 11758, 519000, 1038000, 1, 0, 0, 0, {0}},
    {"minesweeper", 10000, 39402, 78804, 1, 0, 0, 0, {0}},
    {"twitch-engb", 7126, 35324, 70648, 1, 0, 0, 0, {0}},
    {"twitch-engb/ENGB_edges.csv", 7126, 35324, 35324, 1, 0, 0, 0, {0}},
    {"karate-club", 34, 78, 156, 1, 0, 0, 0, {0}},
    /* the text version of Cora: ids with gaps, CRLF, a table of 1,435 columns */
    {"cora/cora.cites",
     2708,
     5429,
     5429,
     1,
     0,
     0,
     0,
     {.node_table = "cora/cora.content.zst", .node_columns = "id=1,feature=2-1434,label=1435"}},
};

/* -1: not published */
#define SAME(what, field)                                                                          \
    if (set->what >= 0 && report.field != set->what)                                               \
    fail_msg("%s: %s is %lld, published %lld", set->input, #what, (long long)report.field,         \
             (long long)set->what)

static void published_counts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        const known *set = &sets[i];
        flip_import_params params = set->params;
        flip_import_report report;
        int64_t n_checks;
        params.inputs = &set->input;
        params.n_inputs = 1;
        params.output = output;
        if (flip_import(&params, &report) != FLIP_OK)
            fail_msg("%s: %s", set->input, flip_error_message());
        SAME(nodes, n_nodes);
        SAME(rows, n_rows);
        SAME(events, n_events);
        SAME(steps, n_steps);
        SAME(self_loops, n_self_loops);
        SAME(duplicates, n_duplicates);
        SAME(isolated, n_isolated);
        if (flip_container_check(output, &n_checks) != FLIP_OK)
            fail_msg("%s: %s", set->input, flip_error_message());
    }
}

static flip_reader *open_import(const char *input, flip_import_params params) {
    flip_import_report report;
    flip_reader *reader;
    params.inputs = &input;
    params.n_inputs = 1;
    params.output = output;
    if (flip_import(&params, &report) != FLIP_OK) fail_msg("%s", flip_error_message());
    if (flip_reader_open(&reader, NULL, output, "graph") != FLIP_OK)
        fail_msg("%s", flip_error_message());
    return reader;
}

static void cora_in_detail(void **state) {
    static int32_t label[2708];
    static int8_t split[2708];
    static const int64_t classes[] = {351, 217, 418, 818, 426, 298, 180};
    int64_t dims[3], count[7] = {0}, parts[4] = {0}, columns;
    (void)state;
    flip_reader *reader = open_import("cora", (flip_import_params){0});
    assert_int_equal(flip_reader_shape(reader, "features/indices", dims, NULL), FLIP_OK);
    assert_int_equal(dims[0], 49216);
    assert_false(flip_reader_has(reader, "features/values")); /* binary */
    assert_int_equal(flip_reader_attribute_i64(reader, "features", "n_columns", &columns), FLIP_OK);
    assert_int_equal(columns, 1433);
    assert_int_equal(flip_reader_rows(reader, "labels/class", FLIP_TYPE_I32, 0, 2708, label),
                     FLIP_OK);
    assert_int_equal(flip_reader_rows(reader, "splits", FLIP_TYPE_I8, 0, 1, split), FLIP_OK);
    for (int v = 0; v < 2708; v++) {
        count[label[v]]++;
        parts[split[v] + 1]++;
    }
    assert_memory_equal(count, classes, sizeof classes);
    assert_int_equal(parts[1], 140);
    assert_int_equal(parts[2], 500);
    assert_int_equal(parts[3], 1000);
    flip_reader_close(&reader);
}

static void signs_of_bitcoin(void **state) {
    enum { EVENTS = 35592 };
    static int32_t label[EVENTS], step[EVENTS];
    static uint8_t names[5];
    int64_t negative = 0;
    double zero, width;
    (void)state;
    flip_reader *reader = open_import(
        "bitcoin-otc/soc-sign-bitcoinotc.csv",
        (flip_import_params){.columns = "src,dst,weight,time", .step = "14d", .label = "sign"});
    assert_false(flip_reader_has(reader, "events/weight"));
    assert_int_equal(flip_reader_rows(reader, "events/label", FLIP_TYPE_I32, 0, EVENTS, label),
                     FLIP_OK);
    assert_int_equal(flip_reader_rows(reader, "events/step", FLIP_TYPE_I32, 0, EVENTS, step),
                     FLIP_OK);
    assert_int_equal(flip_reader_rows(reader, "events/label_names", FLIP_TYPE_U8, 0, 5, names),
                     FLIP_OK);
    assert_memory_equal(names, "-1\n1\n", 5);
    for (int i = 0; i < EVENTS; i++) {
        negative += label[i] == 0;
        assert_in_range(step[i], 0, 135);
    }
    assert_int_equal(negative, 3563);
    assert_int_equal(flip_reader_attribute_f64(reader, "/", "step_zero", &zero), FLIP_OK);
    assert_int_equal(flip_reader_attribute_f64(reader, "/", "step_width", &width), FLIP_OK);
    assert_true(zero == 1289241911.72836 && width == 1209600);
    flip_reader_close(&reader);
}

/* 733 daily files, both directions of every pair, against the counts of each day in days.tsv. */
static void daily_snapshots(void **state) {
    (void)state;
    char command[700], days[300];
    snprintf(days, sizeof days, "%s/as", folder);
    snprintf(command, sizeof command,
             "mkdir '%s' && tar --zstd -xf as-733/as-733.tar.zst -C '%s' 2>/dev/null", days, days);
    if (system(command) != 0) {
        print_message("skipped: no tar that reads zstd\n");
        skip();
    }
    enum { EVENTS = 11965533 };
    flip_reader *reader = open_import(days, (flip_import_params){0});
    int64_t dims[3], steps, *count = calloc(733, sizeof *count), least = -1;
    int32_t *step = malloc(EVENTS * sizeof *step);
    assert_int_equal(flip_reader_attribute_i64(reader, "/", "n_steps", &steps), FLIP_OK);
    assert_int_equal(steps, 733);
    assert_int_equal(flip_reader_shape(reader, "events/step", dims, NULL), FLIP_OK);
    assert_int_equal(dims[0], EVENTS);
    assert_int_equal(flip_reader_rows(reader, "events/step", FLIP_TYPE_I32, 0, EVENTS, step),
                     FLIP_OK);
    for (int i = 0; i < EVENTS; i++)
        count[step[i]]++;
    for (int t = 0; t < 733; t++)
        if (least < 0 || count[t] < least) least = count[t];
    assert_int_equal(count[0],
                     2 * (5539 - 383) + 383); /* 1997-11-08: 5,539 edges, 383 of them loops */
    assert_int_equal(count[732], 2 * (13895 - 1323) + 1323); /* 2000-01-02 */
    assert_int_equal(flip_reader_shape(reader, "nodes/number", dims, NULL), FLIP_OK);
    assert_int_equal(dims[0], 7716);
    flip_reader_close(&reader);
    free(count);
    free(step);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_counts),
        cmocka_unit_test(cora_in_detail),
        cmocka_unit_test(signs_of_bitcoin),
        cmocka_unit_test(daily_snapshots),
    };
    char data[512];
    const char *shared = getenv("FLIP_SHARED");
    snprintf(data, sizeof data, "%s/data", shared && *shared ? shared : FLIP_SHARED_DEFAULT);
    if (access(data, R_OK) != 0) {
        printf("1..0 # SKIP no public data in %s (set FLIP_SHARED)\n", data);
        return 0;
    }
    if (enter_folder(NULL) != 0 || chdir(data) != 0) return 1;
    snprintf(output, sizeof output, "%s/out.h5", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return leave_folder(NULL) == 0 && failed == 0 ? 0 : 1;
}
