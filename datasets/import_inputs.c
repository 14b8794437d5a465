/* Which files an import reads: those named, or what stands in a folder. */
#include "datasets/import_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static flip_status no_memory(void) {
    return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate a file name");
}

static flip_status copy_path(char **out, const char *path) {
    free(*out);
    *out = path ? strdup(path) : NULL;
    return path && !*out ? no_memory() : FLIP_OK;
}

static flip_status add_file(flip_import_state *s, const char *folder, const char *name) {
    char *path = NULL;
    if ((folder ? asprintf(&path, "%s/%s", folder, name) : asprintf(&path, "%s", name)) < 0)
        return no_memory();
    if ((s->n_files & (s->n_files - 1)) == 0) {
        flip_status status =
            flip_grow(&s->file, (size_t)s->n_files, s->n_files ? 2 * (size_t)s->n_files : 1,
                      sizeof *s->file, "list of files");
        if (status != FLIP_OK) {
            free(path);
            return status;
        }
    }
    s->file[s->n_files++] = path;
    return FLIP_OK;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* folder/name, or with .zst or .gz behind it, if it exists and *out is not given already. */
static flip_status find_in(const char *folder, const char *name, char **out) {
    static const char *const suffix[] = {"", ".zst", ".gz"};
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix && !*out; i++) {
        struct stat info;
        if (asprintf(out, "%s/%s%s", folder, name, suffix[i]) < 0) {
            *out = NULL;
            return no_memory();
        }
        if (stat(*out, &info) != 0 || !S_ISREG(info.st_mode)) {
            free(*out);
            *out = NULL;
        }
    }
    return FLIP_OK;
}

/* A static folder: edges.tsv and arrays beside it. */
static flip_status static_folder(flip_import_state *s, const char *folder, bool *found) {
    static const char *const names[] = {"edges.tsv", "edges.csv", "edges.txt"};
    char *edges = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !edges; i++)
        FLIP_TRY(find_in(folder, names[i], &edges));
    *found = edges != NULL;
    if (!edges) return FLIP_OK;
    flip_status status = add_file(s, NULL, edges);
    free(edges);
    FLIP_TRY(status);
    bool own_features = s->features || s->indptr || s->p->node_table;
    if (!own_features) {
        FLIP_TRY(find_in(folder, "features.npy", &s->features));
        FLIP_TRY(find_in(folder, "features_indptr.npy", &s->indptr));
        FLIP_TRY(find_in(folder, "features_indices.npy", &s->indices));
        FLIP_TRY(find_in(folder, "features_values.npy", &s->values));
        if (s->indptr && !s->indices)
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' has features_indptr.npy but no features_indices.npy", folder);
    }
    if (!s->p->node_table) FLIP_TRY(find_in(folder, "labels.npy", &s->labels));
    FLIP_TRY(find_in(folder, "class_names.txt", &s->class_names));
    FLIP_TRY(find_in(folder, "targets.npy", &s->targets));
    return find_in(folder, "splits.npy", &s->splits);
}

bool flip_ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

/* Files of a snapshot folder: all but hidden ones and those that cannot be edge lists. */
static int is_snapshot(const struct dirent *entry) {
    static const char *const other[] = {".md",   ".npy",     ".npz",    ".json", ".h5",
                                        ".hdf5", ".tar",     ".tar.gz", ".tgz",  ".tar.zst",
                                        ".zip",  ".npy.zst", ".npy.gz", ".pdf"};
    const char *name = entry->d_name;
    if (name[0] == '.' || !strncasecmp(name, "readme", 6) || !strncasecmp(name, "license", 7))
        return 0;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (flip_ends_with(name, other[i])) return 0;
    return 1;
}

/* By name, runs of digits by value: day2 before day10, as19971108 before as19971109. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    int order = strverscmp((*a)->d_name, (*b)->d_name);
    return order ? order : strcmp((*a)->d_name, (*b)->d_name);
}

static flip_status snapshot_folder(flip_import_state *s, const char *folder) {
    struct dirent **entries;
    int n = scandir(folder, &entries, is_snapshot, by_name);
    if (n < 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot list the folder '%s': %s", folder, strerror(errno));
    flip_status status = FLIP_OK;
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) path = NULL;
        if (status == FLIP_OK && path && !is_folder(path)) status = add_file(s, NULL, path);
        free(path);
        free(entries[i]);
    }
    free(entries);
    FLIP_TRY(status);
    s->snapshots = true;
    if (s->n_files == 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "the folder '%s' holds no edges.tsv and no snapshot files; expected "
                         "edges.tsv with .npy files beside it, or one edge list a step",
                         folder);
    return FLIP_OK;
}

/* "PTR,IDX[,VAL]" */
static flip_status split_csr(flip_import_state *s) {
    if (!s->p->features_csr) return FLIP_OK;
    char *copy = strdup(s->p->features_csr), *rest = copy, *part[4] = {0};
    int n = 0;
    if (!copy) return no_memory();
    while (rest && n < 4)
        part[n++] = strsep(&rest, ",");
    flip_status status = FLIP_OK;
    if (n < 2 || n > 3 || !*part[0] || !*part[1])
        status =
            FLIP_FAIL(FLIP_ERROR_USAGE,
                      "--features-csr is '%s', expected PTR.npy,IDX.npy or PTR.npy,IDX.npy,VAL.npy",
                      s->p->features_csr);
    if (status == FLIP_OK) status = copy_path(&s->indptr, part[0]);
    if (status == FLIP_OK) status = copy_path(&s->indices, part[1]);
    if (status == FLIP_OK) status = copy_path(&s->values, part[2]);
    free(copy);
    return status;
}

static bool called_edges_tsv(const char *path) {
    const char *slash = strrchr(path, '/');
    return !strncmp(slash ? slash + 1 : path, "edges.tsv", 9);
}

flip_status flip_import_find_inputs(flip_import_state *s) {
    const flip_import_params *p = s->p;
    if (p->n_inputs < 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "no input; give an edge list or a folder");
    if (p->features && p->features_csr)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--features and --features-csr are both given; give one");
    if (p->node_table && (p->labels || p->features || p->features_csr))
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--node-table does not go with --features, --features-csr or --labels, "
                         "whose rows are nodes in another order; give one kind");
    FLIP_TRY(copy_path(&s->features, p->features));
    FLIP_TRY(copy_path(&s->labels, p->labels));
    FLIP_TRY(copy_path(&s->class_names, p->class_names));
    FLIP_TRY(copy_path(&s->targets, p->targets));
    FLIP_TRY(copy_path(&s->splits, p->splits));
    FLIP_TRY(split_csr(s));
    s->snapshots = p->snapshots;
    if (!is_folder(p->inputs[0])) {
        for (int32_t i = 0; i < p->n_inputs; i++)
            FLIP_TRY(add_file(s, NULL, p->inputs[i]));
        s->upper = s->n_files == 1 && called_edges_tsv(s->file[0]);
        return FLIP_OK;
    }
    if (p->n_inputs > 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "'%s' is a folder, which stands for all inputs; give it alone",
                         p->inputs[0]);
    bool is_static = false;
    if (!p->snapshots) FLIP_TRY(static_folder(s, p->inputs[0], &is_static));
    s->upper = is_static;
    return is_static ? FLIP_OK : snapshot_folder(s, p->inputs[0]);
}
