/* CUDA's own libraries are found when a device is opened, not linked: one program starts on every
 * machine, and takes the libraries of the toolkit or of Python's wheels, wherever they lie. */
#include "kernels/internal.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 1024 };

/* `folder` of `length` bytes; 0 = where the loader looks. NULL where it is not there. */
static void *open_in(const char *folder, size_t length, const char *file) {
    char path[PATH_BYTES];
    int n = length ? snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, file)
                   : snprintf(path, sizeof path, "%s", file);
    return n < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL;
}

/* The companion is named without a folder by the library that needs it, and found again by its
 * name once it is loaded. */
static void *open_pair(const char *folder, size_t length, const flip_cuda_file *file) {
    if (length && file->companion) (void)open_in(folder, length, file->companion);
    return open_in(folder, length, file->name);
}

static void *open_files(const char *folder, size_t length, const flip_cuda_file *files) {
    void *library = NULL;
    for (; files->name && !library; files++)
        library = open_pair(folder, length, files);
    return library;
}

/* Folders between colons. */
static void *open_list(const char *list, const flip_cuda_file *files) {
    void *library = NULL;
    while (list && *list && !library) {
        size_t length = strcspn(list, ":");
        if (length) library = open_files(list, length, files);
        list += length + (list[length] == ':');
    }
    return library;
}

static void *open_anywhere(const flip_cuda_file *files) {
    const char *home = getenv("CUDA_HOME");
    char toolkit[PATH_BYTES] = "";
    if (home && *home && strlen(home) < sizeof toolkit - 8)
        snprintf(toolkit, sizeof toolkit, "%s/lib64", home);
    void *library = open_list(getenv("FLIP_CUDA_LIBRARIES"), files);
    if (!library) library = open_list(toolkit, files);
    if (!library) library = open_files("", 0, files);
    if (!library) library = open_list("/usr/local/cuda/lib64", files);
    return library;
}

flip_status flip_cuda_library(const char *name, const flip_cuda_file *files,
                              const char *const *symbols, void **functions) {
    void *library = open_anywhere(files);
    if (!library)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY,
                         "%s is not found: name the folder of %s in FLIP_CUDA_LIBRARIES "
                         "(a toolkit's lib64, or nvidia/*/lib under Python's site-packages)",
                         name, files->name);
    for (; *symbols; symbols++, functions++) {
        *functions = dlsym(library, *symbols);
        if (!*functions)
            return FLIP_FAIL(FLIP_ERROR_LIBRARY, "%s has no %s: a version that is too old", name,
                             *symbols);
    }
    return FLIP_OK;
}
