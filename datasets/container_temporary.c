/* A file that appears under its name only when it is whole: temporary name, sync, rename, sync of
 * the folder. */
#include "container_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where `path` really leads: a symbolic link keeps pointing, its target is replaced. Only regular
 * files may be replaced: renaming onto /dev/null would remove the device. */
static flip_status resolve(char out[PATH_MAX], const char *path) {
    struct stat about;
    if (*path == 0) return FLIP_FAIL(FLIP_ERROR_USAGE, "the name of the output file is empty");
    if (strlen(path) + 128 > PATH_MAX)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "the name of the output file has %zu bytes; at most %d",
                         strlen(path), PATH_MAX - 128);
    snprintf(out, PATH_MAX, "%s", path);
    if (lstat(path, &about) != 0) return FLIP_OK;
    if (S_ISLNK(about.st_mode)) {
        if (!realpath(path, out) || stat(out, &about) != 0)
            return FLIP_FAIL(FLIP_ERROR_IO, "cannot follow the link '%s': %s", path,
                             strerror(errno));
    }
    if (S_ISDIR(about.st_mode))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' is a folder; name the file to write, for example '%s%sgraph.h5'",
                         path, path, path[strlen(path) - 1] == '/' ? "" : "/");
    if (!S_ISREG(about.st_mode))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' is not a regular file and will not be replaced; choose another name",
                         path);
    return FLIP_OK;
}

static void folder_of(char out[PATH_MAX], const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(out, PATH_MAX, ".");
    else
        snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static void this_host(char out[65]) {
    if (gethostname(out, 65) != 0) snprintf(out, 65, "host");
    out[64] = 0;
}

/* `graph.h5.tmp.<host>.<pid>.<n>` of a process of this host that lives no more. */
static void remove_stale(const char *target) {
    char folder[PATH_MAX], prefix[PATH_MAX], host[65];
    const char *slash = strrchr(target, '/');
    folder_of(folder, target);
    this_host(host);
    int length = snprintf(prefix, sizeof prefix, "%s.tmp.%s.", slash ? slash + 1 : target, host);
    DIR *listing = opendir(folder);
    if (!listing || length <= 0 || length >= (int)sizeof prefix) {
        if (listing) closedir(listing);
        return;
    }
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (strncmp(entry->d_name, prefix, (size_t)length) != 0) continue;
        char *end;
        long pid = strtol(entry->d_name + length, &end, 10);
        if (pid > 0 && *end == '.' && kill((pid_t)pid, 0) != 0 && errno == ESRCH)
            unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
}

flip_status flip_temporary_create(flip_temporary *file, const char *path) {
    static int counter;
    char host[65];
    *file = (flip_temporary){.fd = -1};
    FLIP_TRY(resolve(file->target, path));
    remove_stale(file->target);
    this_host(host);
    for (int attempt = 0; attempt < 100 && file->fd < 0; attempt++) {
        int length = snprintf(file->name, sizeof file->name, "%s.tmp.%s.%ld.%d", file->target, host,
                              (long)getpid(), counter++);
        if (length <= 0 || length >= (int)sizeof file->name)
            errno = ENAMETOOLONG;
        else
            file->fd = open(file->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file->fd < 0 && errno != EEXIST) break;
    }
    if (file->fd >= 0) return FLIP_OK;
    file->name[0] = 0;
    return FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
}

/* The mode of the file that is replaced, else what open(…, 0666) would have given. */
static mode_t final_mode(const char *target) {
    struct stat about;
    if (stat(target, &about) == 0) return about.st_mode & 0777;
    mode_t mask = umask(077);
    umask(mask);
    return 0666 & ~mask;
}

static flip_status sync_folder(const char *target) {
    char folder[PATH_MAX];
    folder_of(folder, target);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot open folder '%s': %s", folder, strerror(errno));
    /* EINVAL: a file system that does not sync folders */
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    if (failed)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot sync folder '%s': %s", folder, strerror(failed));
    return FLIP_OK;
}

flip_status flip_temporary_commit(flip_temporary *file) {
    if (fchmod(file->fd, final_mode(file->target)) != 0 || fsync(file->fd) != 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s': %s", file->target, strerror(errno));
    if (close(file->fd) != 0) {
        file->fd = -1;
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s': %s", file->target, strerror(errno));
    }
    file->fd = -1;
    if (rename(file->name, file->target) != 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot rename '%s' to '%s': %s", file->name, file->target,
                         strerror(errno));
    file->name[0] = 0;
    return sync_folder(file->target);
}

void flip_temporary_finish(flip_temporary *file) {
    if (file->fd >= 0) close(file->fd);
    if (file->name[0]) unlink(file->name);
    file->fd = -1;
    file->name[0] = 0;
}
