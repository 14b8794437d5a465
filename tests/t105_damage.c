/* container: damage and hostile files are refused, a full disk is an orderly failure, and a killed
 * writer never harms the final name. One process, no MPI: it forks. */
#include <flipbook/container.h>

#include <fcntl.h>
#include <hdf5.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "container_files.h"

#include "datasets/container_private.h"

/* Sanitizer build: HDF5 loses a few bytes of its own when a write fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

static void spill(const char *path, const void *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
}

/* ---- damage ---- */

static void small_container(const char *path, int tag) {
    flip_writer *w;
    int64_t numbers[500];
    float values[64][8];
    for (int i = 0; i < 500; i++)
        numbers[i] = i * tag;
    for (int i = 0; i < 512; i++)
        values[i / 8][i % 8] = (float)(i + tag);
    assert_ok(flip_writer_create(&w, NULL, path, "test"));
    assert_ok(flip_writer_attribute_i64(w, "/", "tag", tag));
    assert_ok(flip_writer_rows(w, "x/numbers", FLIP_TYPE_I64, FLIP_TYPE_I64, 500, 0, 0, numbers));
    assert_ok(flip_writer_rows(w, "x/values", FLIP_TYPE_F32, FLIP_TYPE_F32, 64, 8, 0, values));
    assert_ok(flip_writer_commit(w));
    flip_writer_destroy(&w);
}

/* Opening must fail in an orderly way; the message is for people. */
static void refused(const char *path, const char *words) {
    flip_reader *r = NULL;
    flip_error_clear();
    flip_status status = flip_reader_open(&r, NULL, path, NULL);
    if (status == FLIP_OK) fail_msg("'%s' was accepted (%s)", path, words ? words : "damaged");
    assert_null(r);
    if (words && !strstr(flip_error_message(), words))
        fail_msg("expected '%s' in: %s", words, flip_error_message());
    assert_true(strlen(flip_error_message()) > 10);
    flip_error_clear();
}

static void bit_flips(void **state) {
    (void)state;
    size_t bytes;
    const char *path = file_in("flip.h5");
    small_container(path, 1);
    char *whole = slurp(path, &bytes);
    int fd = open(path, O_WRONLY);
    flip_reader *r;
    for (uint64_t trial = 0; trial < 10000; trial++) {
        /* one in four in table and trailer, so that they are met as often as the rest */
        uint64_t tail = 64 + 16 * ((bytes - 64) / FLIP_SLAB_BYTES + 1);
        uint64_t at = trial % 4 == 0
                          ? bytes - 1 - flip_random_below(1, FLIP_STREAM_TEST, 1, trial, tail)
                          : flip_random_below(1, FLIP_STREAM_TEST, 1, trial, bytes);
        char flipped =
            (char)(whole[at] ^ (1 << flip_random_below(1, FLIP_STREAM_TEST, 2, trial, 8)));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)at), 1);
        refused(path, NULL);
        assert_int_equal(pwrite(fd, whole + at, 1, (off_t)at), 1);
    }
    assert_ok(flip_reader_open(&r, NULL, path, "test"));
    flip_reader_close(&r);
    close(fd);
    free(whole);
}

static void truncation(void **state) {
    (void)state;
    size_t bytes;
    const char *path = file_in("cut.h5");
    small_container(path, 1);
    char *whole = slurp(path, &bytes);
    for (size_t n = 0; n < bytes; n += n < bytes - 200 ? 61 : 1) {
        spill(path, whole, n);
        refused(path, NULL);
    }
    char *twice = malloc(2 * bytes);
    memcpy(twice, whole, bytes);
    memcpy(twice + bytes, whole, bytes);
    spill(path, twice, 2 * bytes);
    refused(path, "cut or joined");
    spill(path, twice, bytes + 1);
    refused(path, NULL);
    free(twice);
    free(whole);
}

static void not_containers(void **state) {
    (void)state;
    char zeros[4096] = {0};
    refused(file_in("absent.h5"), "No such file");
    refused(folder, "is a folder");
    spill(file_in("empty"), zeros, 0);
    refused(file_in("empty"), "is empty");
    spill(file_in("text"), "1 2\n3 4\n", 8);
    refused(file_in("text"), "flipbook import");
    spill(file_in("zeros"), zeros, sizeof zeros);
    refused(file_in("zeros"), "not a Flipbook container");
    assert_int_equal(mkfifo(file_in("pipe"), 0600), 0);
    refused(file_in("pipe"), "device or pipe");
    small_container(file_in("kind.h5"), 1);
    flip_reader *r;
    assert_int_equal(flip_reader_open(&r, NULL, file_in("kind.h5"), "graph"), FLIP_ERROR_INPUT);
    assert_non_null(strstr(flip_error_message(), "holds a test; expected a graph"));
    flip_error_clear();
}

/* ---- hostile files: a valid seal over what no writer of ours makes ---- */

static hid_t hostile_file;

static void hostile_begin(const char *path) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    hostile_file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    assert_true(hostile_file >= 0);
    H5Pclose(access);
}

static void hostile_end(const char *path, const char *words) {
    const char *texts[2][2] = {{"format", "flipbook"}, {"kind", "graph"}};
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    int64_t version = 1;
    H5Tset_size(type, 16);
    for (int i = 0; i < 2; i++) {
        char text[16] = {0};
        snprintf(text, sizeof text, "%s", texts[i][1]);
        hid_t a = H5Acreate2(hostile_file, texts[i][0], type, space, H5P_DEFAULT, H5P_DEFAULT);
        H5Awrite(a, type, text);
        H5Aclose(a);
    }
    hid_t a = H5Acreate2(hostile_file, "version", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_INT64, &version);
    H5Aclose(a);
    H5Tclose(type);
    H5Sclose(space);
    assert_true(H5Fclose(hostile_file) >= 0);
    int fd = open(path, O_RDWR);
    assert_ok(flip_seal_write(fd, path));
    close(fd);
    if (words) {
        refused(path, words);
    } else {
        flip_reader *r;
        assert_ok(flip_reader_open(&r, NULL, path, "graph"));
        flip_reader_close(&r);
    }
}

static void hostile_dataset(hid_t create, hid_t type, int rank, const hsize_t *dims) {
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t d = H5Dcreate2(hostile_file, "x", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    assert_true(d >= 0);
    H5Dclose(d);
    H5Sclose(space);
}

static void hostile(void **state) {
    (void)state;
    const char *p = file_in("hostile.h5");
    hsize_t ten[4] = {10, 1, 1, 1}, huge[3] = {(hsize_t)1 << 40, 1, 1},
            wrap[3] = {(hsize_t)1 << 31, (hsize_t)1 << 31, 4};
    hid_t create;

    hostile_begin(p); /* the control: nothing wrong, accepted */
    hostile_end(p, NULL);

    hostile_begin(p);
    create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(create, "/etc/passwd", 0, 40);
    hostile_dataset(create, H5T_STD_I32LE, 1, ten);
    H5Pclose(create);
    hostile_end(p, "keeps its values in another file");

    hostile_begin(p);
    H5Lcreate_soft("/nowhere", hostile_file, "x", H5P_DEFAULT, H5P_DEFAULT);
    hostile_end(p, "has a soft link at x");

    hostile_begin(p);
    H5Lcreate_external("/etc/passwd", "/", hostile_file, "x", H5P_DEFAULT, H5P_DEFAULT);
    hostile_end(p, "has a link to another file at x");

    hostile_begin(p); /* a group inside itself */
    hid_t group = H5Gcreate2(hostile_file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(hostile_file, "/", group, "up", H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(group);
    hostile_end(p, "groups deeper than");

    hostile_begin(p);
    create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, ten, NULL);
    H5Pset_virtual(create, space, "/etc/passwd", "/x", space);
    hostile_dataset(create, H5T_STD_I32LE, 1, ten);
    H5Sclose(space);
    H5Pclose(create);
    hostile_end(p, "virtual layout");

    hostile_begin(p);
    hostile_dataset(H5P_DEFAULT, H5T_STD_I32LE, 1, huge);
    hostile_end(p, "declares 1099511627776 x 1 x 1 values of int32, more than");

    hostile_begin(p);
    hostile_dataset(H5P_DEFAULT, H5T_STD_I32LE, 3, wrap); /* 2^66 bytes: 0 modulo 2^64 */
    hostile_end(p, "more than the file's");

    hostile_begin(p); /* fits the file but nothing is stored */
    hostile_dataset(H5P_DEFAULT, H5T_STD_I32LE, 1, ten);
    hostile_end(p, "declares 40 bytes of values but stores 0");

    hostile_begin(p);
    create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 1, ten);
    H5Pset_deflate(create, 9);
    hostile_dataset(create, H5T_STD_I32LE, 1, ten);
    H5Pclose(create);
    hostile_end(p, "stored with HDF5 filter 1");

    hostile_begin(p);
    create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 1, ten);
    H5Pset_filter(create, 32000, H5Z_FLAG_OPTIONAL, 0, NULL);
    hostile_dataset(create, H5T_STD_I32LE, 1, ten);
    H5Pclose(create);
    hostile_end(p, "stored with HDF5 filter 32000");

    hostile_begin(p);
    hostile_dataset(H5P_DEFAULT, H5T_STD_I32LE, 4, ten);
    hostile_end(p, "has 4 dimensions");

    hostile_begin(p);
    space = H5Screate(H5S_SCALAR);
    hid_t d =
        H5Dcreate2(hostile_file, "x", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(d);
    H5Sclose(space);
    hostile_end(p, "has 0 dimensions");

    hostile_begin(p);
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    hostile_dataset(H5P_DEFAULT, text, 1, ten);
    H5Tclose(text);
    hostile_end(p, "has a type that is none of");

    hostile_begin(p);
    hostile_dataset(H5P_DEFAULT, H5T_STD_I32BE, 1, ten);
    hostile_end(p, "has a type that is none of");

    hostile_begin(p);
    hid_t named = H5Tcopy(H5T_STD_I32LE);
    H5Tcommit2(hostile_file, "x", named, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(named);
    hostile_end(p, "neither group nor dataset");

    /* the unchecksummed superblock of old formats, sealed */
    hid_t f = H5Fcreate(p, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(f);
    int fd = open(p, O_RDWR);
    assert_ok(flip_seal_write(fd, p));
    close(fd);
    refused(p, "superblock");
}

/* ---- writers that fail or die ---- */

static int temporaries(void) {
    char command[512];
    snprintf(command, sizeof command, "ls %s | grep -c '[.]tmp[.]'", folder);
    FILE *f = popen(command, "r");
    int n = -1;
    assert_non_null(f);
    if (fscanf(f, "%d", &n) != 1) n = -1;
    pclose(f);
    return n;
}

static void refuses_targets(void **state) {
    (void)state;
    flip_writer *w;
    assert_int_equal(flip_writer_create(&w, NULL, folder, "test"), FLIP_ERROR_USAGE);
    flip_error_clear();
    assert_int_equal(flip_writer_create(&w, NULL, "/dev/null", "test"), FLIP_ERROR_USAGE);
    flip_error_clear();
    assert_int_equal(flip_writer_create(&w, NULL, "", "test"), FLIP_ERROR_USAGE);
    flip_error_clear();
    assert_int_equal(flip_writer_create(&w, NULL, file_in("no/such/folder.h5"), "test"),
                     FLIP_ERROR_IO);
    assert_non_null(strstr(flip_error_message(), "No such file or directory"));
    flip_error_clear();
    small_container(file_in("real.h5"), 1);
    assert_int_equal(symlink("real.h5", file_in("link.h5")), 0);
    small_container(file_in("link.h5"), 2); /* replaces what the link leads to */
    struct stat about;
    assert_int_equal(lstat(file_in("link.h5"), &about), 0);
    assert_true(S_ISLNK(about.st_mode));
    flip_reader *r;
    int64_t tag;
    assert_ok(flip_reader_open(&r, NULL, file_in("real.h5"), NULL));
    assert_ok(flip_reader_attribute_i64(r, "/", "tag", &tag));
    assert_int_equal(tag, 2);
    flip_reader_close(&r);
    /* not committed: nothing is left, the old file stands */
    assert_ok(flip_writer_create(&w, NULL, file_in("real.h5"), "test"));
    flip_writer_destroy(&w);
    assert_int_equal(temporaries(), 0);
    assert_ok(flip_reader_open(&r, NULL, file_in("real.h5"), NULL));
    flip_reader_close(&r);
}

/* A full disk: refused with the system's words, the process can go on and ends by its own code. */
static void disk_full(void **state) {
    (void)state;
    for (rlim_t limit = 0; limit < 20000; limit += 1013) {
        pid_t child = fork();
        if (child == 0) {
            int64_t numbers[2000] = {0};
            flip_writer *w;
            struct rlimit cap = {limit, RLIM_INFINITY};
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &cap);
            flip_status status = flip_writer_create(&w, NULL, file_in("full.h5"), "test");
            if (status == FLIP_OK)
                status =
                    flip_writer_rows(w, "x", FLIP_TYPE_I64, FLIP_TYPE_I64, 2000, 0, 0, numbers);
            if (status == FLIP_OK) status = flip_writer_commit(w);
            if (status == FLIP_OK) _exit(9);
            if (!strstr(flip_error_message(), "File too large")) _exit(8);
            flip_writer_destroy(&w);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
            flip_error_clear();
            small_container(file_in("after.h5"), 3);
            flip_reader *r;
            if (flip_reader_open(&r, NULL, file_in("after.h5"), NULL) != FLIP_OK) _exit(7);
            flip_reader_close(&r);
            exit(3); /* through the exit handlers */
        }
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(limit > 16000 || WIFEXITED(result));
        if (WIFEXITED(result) && WEXITSTATUS(result) == 9) {
            assert_true(limit > 16000);
            continue;
        }
        if (!WIFEXITED(result) || WEXITSTATUS(result) != 3)
            fail_msg("limit %d: child ended with %x", (int)limit, result);
        assert_int_equal(access(file_in("full.h5"), F_OK), -1);
    }
}

/* kill -9 at any moment: the final name holds a whole file, old or new; leftovers go at the next
 * start. */
static void killed(void **state) {
    (void)state;
    const char *path = file_in("killed.h5");
    int commits = 0, leftovers = 0;
    int64_t last = 1;
    small_container(path, 1);
    for (int trial = 0; trial < 100; trial++) {
        pid_t child = fork();
        if (child == 0) {
            for (int tag = (int)last + 1;; tag++)
                small_container(path, tag);
        }
        usleep((useconds_t)flip_random_below(1, FLIP_STREAM_TEST, 3, (uint64_t)trial, 20000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        flip_reader *r;
        int64_t tag, number;
        assert_ok(flip_reader_open(&r, NULL, path, "test"));
        assert_ok(flip_reader_attribute_i64(r, "/", "tag", &tag));
        assert_ok(flip_reader_rows(r, "x/numbers", FLIP_TYPE_I64, 499, 1, &number));
        assert_int_equal(number, 499 * tag);
        assert_true(tag >= last);
        commits += tag > last;
        last = tag;
        flip_reader_close(&r);
        leftovers += temporaries();
        assert_true(temporaries() <= 1);
    }
    print_message("# %d of 100 killed writers had committed, %d leftovers\n", commits, leftovers);
    small_container(path, 1);
    assert_int_equal(temporaries(), 0);
}

/* ---- */

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/flipbook-t105-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bit_flips),      cmocka_unit_test(truncation),
        cmocka_unit_test(not_containers), cmocka_unit_test(hostile),
        cmocka_unit_test(disk_full),      cmocka_unit_test(refuses_targets),
        cmocka_unit_test(killed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
