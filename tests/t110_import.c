/* import: small inputs of every kind with the exact container they make; packed, shuffled and
 * mutated inputs; and the public data sets, where they are at hand, with their published counts. */
#include "edges_from_bytes.h"
#include "import_files.h"
#include "import_kinds.h"

#include <zlib.h>
#include <zstd.h>

#define P(...) ((flip_import_params){__VA_ARGS__})

/* ---- edge lists ---- */

static void every_kind(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        put_text("e.txt", kinds[i].text);
        const char *got = import_as_text("e.txt", kinds[i].params);
        if (strcmp(got, kinds[i].container) != 0)
            fail_msg("%s\n  made     %s\n  expected %s", kinds[i].what, got, kinds[i].container);
    }
}

/* ---- the same, packed ---- */

static size_t gzip(const char *text, size_t size, uint8_t *out, size_t room) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (uint8_t *)text;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void packed_files(void **state) {
    (void)state;
    uint8_t packed[4096];
    char plain[4096] = "", many[2][2048] = {"", ""};
    for (int i = 0; i < 200; i++)
        snprintf(many[i / 100] + strlen(many[i / 100]), 2048 - strlen(many[i / 100]), "%d\t%d\n",
                 i % 17, i % 13);
    snprintf(plain, sizeof plain, "%s%s", many[0], many[1]);
    put_text("e.txt", plain);
    char *expected = strdup(import_as_text("e.txt", P(0)));
    size_t first = gzip(many[0], strlen(many[0]), packed, sizeof packed); /* two members */
    size_t both = first + gzip(many[1], strlen(many[1]), packed + first, sizeof packed - first);
    put_file("e.gz", packed, both);
    assert_string_equal(import_as_text("e.gz", P(0)), expected);
    size_t a = ZSTD_compress(packed, sizeof packed, many[0], strlen(many[0]), 3); /* two frames */
    size_t b = ZSTD_compress(packed + a, sizeof packed - a, many[1], strlen(many[1]), 3);
    put_file("named.txt", packed, a + b); /* the name says nothing */
    assert_string_equal(import_as_text("named.txt", P(0)), expected);
    free(expected);
}

/* Every way of cutting a packed file short is refused. */
static void cut_packed_files(void **state) {
    (void)state;
    uint8_t packed[2][512];
    char text[300] = "";
    for (int i = 0; i < 40; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d %d\n", i * i % 11, i);
    size_t size[2] = {gzip(text, strlen(text), packed[0], 512),
                      ZSTD_compress(packed[1], 512, text, strlen(text), 3)};
    for (int k = 0; k < 2; k++)
        for (size_t n = 4; n < size[k]; n++) {
            const char *input = "cut";
            flip_import_report report;
            put_file(input, packed[k], n);
            flip_import_params params = {.inputs = &input, .n_inputs = 1, .output = "cut.h5"};
            assert_int_equal(flip_import(&params, &report), FLIP_ERROR_INPUT);
            assert_non_null(strstr(flip_error_message(), "'cut': its "));
            assert_non_null(strstr(flip_error_message(), "packed bytes ("));
            flip_error_clear();
            assert_int_not_equal(access("cut.h5", F_OK), 0);
        }
}

/* ---- the order of the lines does not matter, beyond duplicates ---- */

static void lines_in_any_order(void **state) {
    (void)state;
    enum { LINES = 3000 };
    static char text[2][LINES * 24];
    static int order[LINES];
    size_t used[2] = {0, 0};
    for (int i = 0; i < LINES; i++)
        order[i] = i;
    for (int i = LINES - 1; i > 0; i--) {
        int j = (int)flip_random_below(7, FLIP_STREAM_TEST, 1, (uint64_t)i, (uint64_t)i + 1);
        int swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (int k = 0; k < 2; k++)
        for (int at = 0; at < LINES; at++) {
            int i = k ? order[at] : at; /* a hub of many hundred events, others of few */
            int src = i * 37 % 211 + 1, dst = i % 3 ? i % 97 * 1000 : 5000, time = i;
            used[k] += (size_t)snprintf(text[k] + used[k], sizeof text[k] - used[k],
                                        "%d,%d,%d,%d\n", src, dst, i % 7, time);
        }
    put_text("a.csv", text[0]);
    put_text("b.csv", text[1]);
    flip_import_report report;
    const char *inputs[] = {"a.csv", "b.csv"};
    flip_import_params params = {.n_inputs = 1, .step = "300"};
    for (int k = 0; k < 2; k++) {
        params.inputs = &inputs[k];
        params.output = k ? "b.h5" : "a.h5";
        assert_int_equal(flip_import(&params, &report), FLIP_OK);
    }
    flip_reader *a, *b;
    assert_int_equal(flip_reader_open(&a, NULL, "a.h5", "graph"), FLIP_OK);
    assert_int_equal(flip_reader_open(&b, NULL, "b.h5", "graph"), FLIP_OK);
    static const char *const names[] = {"events/src", "events/step"};
    for (int k = 0; k < 2; k++) {
        static int32_t x[LINES], y[LINES];
        assert_int_equal(flip_reader_rows(a, names[k], FLIP_TYPE_I32, 0, LINES, x), FLIP_OK);
        assert_int_equal(flip_reader_rows(b, names[k], FLIP_TYPE_I32, 0, LINES, y), FLIP_OK);
        assert_memory_equal(x, y, sizeof x);
    }
    flip_reader_close(&a);
    flip_reader_close(&b);
}

/* A hub with weights and labels against a plain stable sort by (step, source). */
typedef struct event {
    int step, src, line;
    float weight;
} event;

static int plain_order(const void *a, const void *b) {
    const event *x = a, *y = b;
    return x->step != y->step ? x->step - y->step
           : x->src != y->src ? x->src - y->src
                              : x->line - y->line;
}

static void hub_with_payload(void **state) {
    enum { EVENTS = 5000 };
    static event events[EVENTS];
    static char text[EVENTS * 32];
    static float weight[EVENTS];
    static int32_t src[EVENTS], label[EVENTS];
    const char *input = "hub.txt";
    size_t used = 0;
    flip_reader *reader;
    flip_import_report report;
    (void)state;
    for (int i = 0; i < EVENTS; i++) {
        flip_random4 r = flip_random(3, FLIP_STREAM_TEST, 2, (uint64_t)i);
        events[i] = (event){(int)(r.v[0] % 9), (int)(r.v[1] % 50), i, (float)i + 0.5f};
        used += (size_t)snprintf(text + used, sizeof text - used, "%d 0 %g %d c%02d\n",
                                 events[i].src, (double)events[i].weight, events[i].step, i % 13);
    }
    put_text(input, text);
    flip_import_params params = {.inputs = &input,
                                 .n_inputs = 1,
                                 .output = "hub.h5",
                                 .columns = "src,dst,weight,time,label",
                                 .step = "1",
                                 .n_nodes = 50};
    if (flip_import(&params, &report) != FLIP_OK) fail_msg("%s", flip_error_message());
    qsort(events, EVENTS, sizeof *events, plain_order);
    assert_int_equal(flip_reader_open(&reader, NULL, "hub.h5", "graph"), FLIP_OK);
    assert_int_equal(flip_reader_rows(reader, "events/src", FLIP_TYPE_I32, 0, EVENTS, src),
                     FLIP_OK);
    assert_int_equal(flip_reader_rows(reader, "events/weight", FLIP_TYPE_F32, 0, EVENTS, weight),
                     FLIP_OK);
    assert_int_equal(flip_reader_rows(reader, "events/label", FLIP_TYPE_I32, 0, EVENTS, label),
                     FLIP_OK);
    for (int i = 0; i < EVENTS; i++) {
        assert_int_equal(src[i], events[i].src);
        assert_true(weight[i] == events[i].weight);
        assert_int_equal(label[i], events[i].line % 13);
    }
    flip_reader_close(&reader);
}

/* Ids that leave direct mode in the middle of a batch, as sources and as targets; and text ids late
 * in the file, against numbers given at once. */
static void ids_change_kind_late(void **state) {
    (void)state;
    static char text[1 << 16];
    for (int late = 0; late < 3; late++) {
        size_t used = 0;
        for (int i = 0; i < 1500; i++)
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%d %d\n", i % 40, i % 39 + 1);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\n",
                                 late == 0   ? "3 -1"
                                 : late == 1 ? "5000000000 3"
                                             : "3 zebra");
        snprintf(text + used, sizeof text - used, "7 8\n");
        const char *input = "late.txt";
        flip_import_report report;
        flip_reader *reader;
        int64_t indptr[42];
        put_text(input, text);
        flip_import_params params = {.inputs = &input, .n_inputs = 1, .output = "late.h5"};
        if (flip_import(&params, &report) != FLIP_OK) fail_msg("%s", flip_error_message());
        assert_int_equal(report.n_nodes, 41);
        assert_int_equal(report.n_events, 1502);
        assert_int_equal(flip_reader_open(&reader, NULL, "late.h5", "graph"), FLIP_OK);
        assert_int_equal(flip_reader_rows(reader, "events/indptr", FLIP_TYPE_I64, 0, 42, indptr),
                         FLIP_OK);
        /* targets 1 to 39 have 38 or 39 events, 8 (and in one case 3) has one more */
        int64_t least = 1 << 20, most = 0;
        for (int v = 0; v < 41; v++) {
            int64_t n = indptr[v + 1] - indptr[v];
            if (n > 1 && n < least) least = n;
            if (n > most) most = n;
        }
        assert_int_equal(least, 38);
        assert_int_equal(most, 40);
        flip_reader_close(&reader);
    }
}

/* ---- parts of a file, as several ranks read them ---- */

/* Lines of part `part`, each with its number in front. */
static void lines_of_part(const char *path, int part, int parts, bool bare_cr, char *out) {
    flip_text text;
    assert_int_equal(flip_text_open_part(&text, path, part, parts, bare_cr), FLIP_OK);
    for (;;) {
        if (text.begin == text.limit) assert_int_equal(flip_text_fill(&text), FLIP_OK);
        if (text.begin == text.limit) break;
        char *next, *line = text.buffer + text.begin, *end = flip_line_end(line, &next);
        sprintf(out + strlen(out), "%lld:%.*s/", (long long)text.line, (int)(end - line), line);
        text.begin += (size_t)(next - line);
        text.line++;
    }
    flip_text_close(&text);
}

static void parts_make_the_whole(void **state) {
    static const char *const texts[] = {"a\nbb\nccc\n",         "a\nbb\nccc",
                                        "\n\n\nx\n\n",          "one long line and no end",
                                        "a\r\nbb\r\n\r\nd\r\n", "\xEF\xBB\xBFq\nr\nstuvw\n",
                                        "x\ry\rzz\r",           "\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char whole[512] = "";
        bool bare_cr = !strchr(texts[i], '\n') && strchr(texts[i], '\r');
        put_text("parts.txt", texts[i]);
        lines_of_part("parts.txt", 0, 1, bare_cr, whole);
        for (int parts = 2; parts < 40; parts++) {
            char joined[512] = "";
            for (int part = 0; part < parts; part++)
                lines_of_part("parts.txt", part, parts, bare_cr, joined);
            if (strcmp(joined, whole) != 0)
                fail_msg("%zu in %d parts: %s\n  not %s", i, parts, joined, whole);
        }
    }
}

/* ---- mutations: damaged text is read or refused, never worse ---- */

/* choice: the first byte of edges_from_bytes */
static const struct {
    uint8_t choice;
    const char *text;
} seeds[] = {
    {0x00, "0 1\n1 2\n2 0\n"},
    {0x40, "# c\n1\t2\t100\n2\t3\t90\n"},
    {0x0c, "src,dst,weight,time\r\n1,2,-3,5.5\r\n2,1,4,7\r\n"},
    {0x01, "\xEF\xBB\xBF\"a b\",\"c\"\"d\"\na b,e"},
    {0x00, "% asym\n-5 9223372036854775807\n007 1e5\nnan 3\n"},
    {0x03, "2;3;2010-11-08T18:45:11Z\n3;2;2010-11-09\n"},
    {0x05, "1291597340\t1098\t1784\tMED\tADM\r\n1291597360\t1784\t1098\tADM\tMED\r\n"},
    {0x16, "1|2|x\n2|3|\n2|2|y\n"},
};

static void mutations(void **state) {
    static const char spice[] = "\n\r\t ,;|\"#%-+.e019aN\0\xFF\x1F\x8B";
    (void)state;
    int read = 0, refused = 0;
    for (uint64_t trial = 0; trial < 20000; trial++) {
        uint8_t bytes[256];
        size_t which = trial % (sizeof seeds / sizeof *seeds), size = strlen(seeds[which].text) + 1;
        bytes[0] = seeds[which].choice;
        memcpy(bytes + 1, seeds[which].text, size - 1);
        for (uint64_t m = 0; m <= trial % 4; m++) {
            flip_random4 r = flip_random(1, FLIP_STREAM_TEST, trial, m);
            size_t at = r.v[1] % (size + 1);
            if (r.v[0] % 4 == 0 && at < size) { /* drop a byte */
                memmove(bytes + at, bytes + at + 1, size - at - 1);
                size--;
            } else if (r.v[0] % 4 == 1) { /* add one */
                memmove(bytes + at + 1, bytes + at, size - at);
                bytes[at] = (uint8_t)spice[r.v[2] % (sizeof spice - 1)];
                size++;
            } else if (r.v[0] % 4 == 2 && at < size) { /* flip a bit */
                bytes[at] ^= (uint8_t)(1u << r.v[2] % 8);
            } else { /* cut */
                size = at ? at : 1;
            }
        }
        if (edges_from_bytes(bytes, size) == FLIP_OK)
            read++;
        else
            refused++;
    }
    assert_true(read > 1000 && refused > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),           cmocka_unit_test(packed_files),
        cmocka_unit_test(cut_packed_files),     cmocka_unit_test(lines_in_any_order),
        cmocka_unit_test(hub_with_payload),     cmocka_unit_test(ids_change_kind_late),
        cmocka_unit_test(parts_make_the_whole), cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
