/* Files of a test's own folder; included after cmocka.h. */
#ifndef FLIPBOOK_TESTS_CONTAINER_FILES_H
#define FLIPBOOK_TESTS_CONTAINER_FILES_H

#include <flipbook/base.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != FLIP_OK) fail_msg("%s: %s", flip_error_where(), flip_error_message());       \
    } while (0)

static const char *file_in(const char *name) {
    static char paths[8][512];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static char *slurp(const char *path, size_t *bytes) {
    struct stat about;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &about), 0);
    char *data = malloc((size_t)about.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)about.st_size), about.st_size);
    close(fd);
    *bytes = (size_t)about.st_size;
    return data;
}

#endif
