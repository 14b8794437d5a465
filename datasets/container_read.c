/* Reading a container: verify every byte, look through the structure, then hand out rows.
 *
 * The seal catches accidents. The inspection is for files that were made to do harm (a valid seal
 * proves only who wrote the bytes last): HDF5 follows external files, external links and virtual
 * layouts to any path, and takes sizes on trust. */
#include "container_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OBJECTS_MAX = 65536, DEPTH_MAX = 4 };

typedef struct entry {
    char name[FLIP_NAME_BYTES];
    int n_dims;
    int64_t dims[3];
    flip_type type;
} entry;

struct flip_reader {
    char *path;    /* owned */
    int fd;        /* the file that was verified; -1 = none */
    hid_t hdf5;    /* -1 = none */
    int64_t bytes; /* seal included */
    flip_seal seal;
    entry *entries; /* [n_entries] owned, by name */
    int32_t n_entries, capacity, n_objects;
    int64_t claimed; /* bytes the datasets say they hold */
};

/* ---- the look through the structure ---- */

typedef struct visit {
    flip_reader *reader;
    const char *prefix; /* "events/" */
    int depth;
    flip_status status;
} visit;

static flip_status find_type(flip_type *out, hid_t dataset, const flip_reader *reader,
                             const char *name) {
    hid_t type = H5Dget_type(dataset);
    flip_status status = FLIP_OK;
    int found = -1;
    for (int t = FLIP_TYPE_I8; type >= 0 && found < 0 && t <= FLIP_TYPE_F64; t++)
        if (H5Tequal(type, flip_hdf5_disk_type((flip_type)t)) > 0) found = t;
    if (type >= 0) H5Tclose(type);
    if (found < 0)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s has a type that is none of int8, uint8, int32, int64, "
                           "float32, float64 (little-endian); a Flipbook container has no other",
                           reader->path, name);
    else
        *out = (flip_type)found;
    return status;
}

static flip_status inspect_layout(hid_t dataset, const flip_reader *reader, const char *name) {
    hid_t list = H5Dget_create_plist(dataset);
    flip_status status = FLIP_OK;
    if (list < 0) return FLIP_FAIL_HDF5("'%s' dataset %s", reader->path, name);
    H5D_layout_t layout = H5Pget_layout(list);
    int n_filters = H5Pget_nfilters(list);
    if (H5Pget_external_count(list) != 0)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s keeps its values in another file; a Flipbook container "
                           "keeps everything inside: do not trust this file",
                           reader->path, name);
    else if (layout == H5D_VIRTUAL || layout < 0)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s is a view of other files (virtual layout); a Flipbook "
                           "container keeps everything inside: do not trust this file",
                           reader->path, name);
    for (int i = 0; status == FLIP_OK && i < n_filters; i++) {
        unsigned flags;
        size_t n_values = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(list, (unsigned)i, &flags, &n_values, NULL, 0, NULL, NULL);
        if (filter != H5Z_FILTER_FLETCHER32)
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' dataset %s is stored with HDF5 filter %d; a Flipbook "
                               "container uses Fletcher32 (3) only: convert it with `h5repack`, or "
                               "import again",
                               reader->path, name, (int)filter);
    }
    if (n_filters < 0 && status == FLIP_OK)
        status = FLIP_FAIL_HDF5("'%s' dataset %s", reader->path, name);
    H5Pclose(list);
    return status;
}

/* The values that all datasets declare must fit the file, before anybody allocates for them. */
static flip_status inspect_size(entry *e, hid_t dataset, flip_reader *reader) {
    hid_t space = H5Dget_space(dataset);
    hsize_t dims[H5S_MAX_RANK];
    flip_status status = FLIP_OK;
    if (space < 0) return FLIP_FAIL_HDF5("'%s' dataset %s", reader->path, e->name);
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int n_dims = H5Sget_simple_extent_ndims(space);
    if (class != H5S_SIMPLE || n_dims < 1 || n_dims > 3 ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s has %d dimensions; a Flipbook container has 1 to 3",
                           reader->path, e->name, n_dims);
        goto done;
    }
    int64_t bytes = (int64_t)flip_type_size(e->type);
    bool fits = true;
    e->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) {
        fits = fits && dims[i] <= INT64_MAX;
        e->dims[i] = fits ? (int64_t)dims[i] : 0;
        fits = fits && !__builtin_mul_overflow(bytes, e->dims[i], &bytes);
        if (i > 0 && dims[i] == 0) {
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' dataset %s: dimension %d is 0; expected at least 1",
                               reader->path, e->name, i + 1);
            goto done;
        }
    }
    fits = fits && !__builtin_add_overflow(reader->claimed, bytes, &reader->claimed) &&
           reader->claimed <= reader->seal.n_bytes;
    if (!fits)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s declares %llu x %llu x %llu values of %s, more than "
                           "the file's %lld bytes can hold: do not trust this file",
                           reader->path, e->name, (unsigned long long)dims[0],
                           (unsigned long long)(n_dims > 1 ? dims[1] : 1),
                           (unsigned long long)(n_dims > 2 ? dims[2] : 1), flip_type_name(e->type),
                           (long long)reader->seal.n_bytes);
    else if (bytes > 0 && H5Dget_storage_size(dataset) < (hsize_t)bytes)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' dataset %s declares %lld bytes of values but stores %llu; write "
                           "the file again",
                           reader->path, e->name, (long long)bytes,
                           (unsigned long long)H5Dget_storage_size(dataset));
done:
    H5Sclose(space);
    return status;
}

static flip_status inspect_dataset(flip_reader *reader, hid_t dataset, const char *name) {
    entry e = {.n_dims = 0};
    snprintf(e.name, sizeof e.name, "%.*s", FLIP_NAME_BYTES - 1, name);
    FLIP_TRY(inspect_layout(dataset, reader, name));
    FLIP_TRY(find_type(&e.type, dataset, reader, name));
    FLIP_TRY(inspect_size(&e, dataset, reader));
    if (reader->n_entries == reader->capacity) {
        int32_t capacity = reader->capacity ? 2 * reader->capacity : 32;
        FLIP_TRY(flip_grow(&reader->entries, (size_t)reader->n_entries, (size_t)capacity, sizeof e,
                           "the list of datasets"));
        reader->capacity = capacity;
    }
    reader->entries[reader->n_entries++] = e;
    return FLIP_OK;
}

static flip_status inspect_group(flip_reader *reader, hid_t group, const char *prefix, int depth);

static flip_status inspect_link(visit *v, hid_t group, const char *name, const H5L_info_t *info) {
    flip_reader *reader = v->reader;
    char full[FLIP_NAME_BYTES + 1];
    flip_status status = FLIP_OK;
    int length = snprintf(full, sizeof full, "%s%s/", v->prefix, name);
    if (length >= (int)sizeof full || ++reader->n_objects > OBJECTS_MAX || v->depth >= DEPTH_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has names longer than %d bytes, more than %d objects or groups "
                         "deeper than %d (at %s%.40s); a Flipbook container does not",
                         reader->path, FLIP_NAME_BYTES - 1, OBJECTS_MAX, DEPTH_MAX, v->prefix,
                         name);
    if (info->type != H5L_TYPE_HARD)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has a %s at %s%s; a Flipbook container has none: do not trust this "
                         "file",
                         reader->path,
                         info->type == H5L_TYPE_SOFT       ? "soft link"
                         : info->type == H5L_TYPE_EXTERNAL ? "link to another file"
                                                           : "link of unknown type",
                         v->prefix, name);
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0) return FLIP_FAIL_HDF5("'%s': cannot open %s%s", reader->path, v->prefix, name);
    H5I_type_t type = H5Iget_type(object);
    if (type == H5I_GROUP) {
        status = inspect_group(reader, object, full, v->depth + 1);
    } else if (type == H5I_DATASET) {
        full[length - 1] = 0;
        status = inspect_dataset(reader, object, full);
    } else {
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' has an object at %s%s that is neither group nor dataset; a "
                           "Flipbook container does not",
                           reader->path, v->prefix, name);
    }
    H5Oclose(object);
    return status;
}

static herr_t visit_link(hid_t group, const char *name, const H5L_info_t *info, void *data) {
    visit *v = data;
    v->status = inspect_link(v, group, name, info);
    return v->status == FLIP_OK ? 0 : 1;
}

static flip_status inspect_group(flip_reader *reader, hid_t group, const char *prefix, int depth) {
    visit v = {.reader = reader, .prefix = prefix, .depth = depth};
    herr_t result = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_link, &v);
    if (v.status != FLIP_OK) return v.status;
    if (result < 0) return FLIP_FAIL_HDF5("'%s': cannot list group /%s", reader->path, prefix);
    return FLIP_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* ---- opening ---- */

static flip_status open_file(flip_reader *reader) {
    struct stat about;
    /* not blocking: a pipe would wait for its writer */
    reader->fd = open(reader->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (reader->fd < 0 || fstat(reader->fd, &about) != 0)
        return FLIP_FAIL(errno == ENOENT ? FLIP_ERROR_INPUT : FLIP_ERROR_IO, "cannot open '%s': %s",
                         reader->path, strerror(errno));
    if (!S_ISREG(about.st_mode))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' is a %s; expected a Flipbook container (a file)",
                         reader->path, S_ISDIR(about.st_mode) ? "folder" : "device or pipe");
    reader->bytes = about.st_size;
    return flip_seal_read(&reader->seal, reader->fd, reader->path);
}

/* Ranks of other machines could see another version under the same name. */
static flip_status same_everywhere(flip_reader *reader, flip_comm *comm) {
    int size = flip_comm_size(comm);
    flip_seal *all;
    flip_status status = FLIP_OK;
    if (size == 1) return FLIP_OK;
    FLIP_TRY(flip_alloc(&all, (size_t)size, sizeof *all, "seals"));
    status = flip_comm_gather_all(comm, all, &reader->seal, sizeof *all);
    for (int r = 1; status == FLIP_OK && r < size; r++)
        if (memcmp(all[r].table_hash, all[0].table_hash, sizeof all[0].table_hash) != 0)
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' has other contents on rank %d than on rank 0; give all ranks "
                               "the same file",
                               reader->path, r);
    flip_free(all);
    return status;
}

static flip_status open_hdf5(flip_reader *reader) {
    struct stat verified, opened;
    int *handle = NULL;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return FLIP_FAIL_HDF5("cannot prepare reading '%s'", reader->path);
    H5Pset_file_locking(access, false, true); /* it is never changed in place */
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    reader->hdf5 = H5Fopen(reader->path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (reader->hdf5 < 0)
        return FLIP_FAIL_HDF5("'%s' is whole but HDF5 cannot open it", reader->path);
    /* HDF5 opened by name: is it the file whose bytes were verified? */
    if (H5Fget_vfd_handle(reader->hdf5, H5P_DEFAULT, (void **)&handle) < 0 ||
        fstat(reader->fd, &verified) != 0 || fstat(*handle, &opened) != 0)
        return FLIP_FAIL_HDF5("cannot examine '%s'", reader->path);
    if (verified.st_ino != opened.st_ino || verified.st_dev != opened.st_dev ||
        verified.st_size != opened.st_size || verified.st_mtim.tv_sec != opened.st_mtim.tv_sec ||
        verified.st_mtim.tv_nsec != opened.st_mtim.tv_nsec)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' was replaced while it was opened; try again",
                         reader->path);
    return FLIP_OK;
}

static flip_status inspect(flip_reader *reader, const char *kind) {
    char format[64], found[64];
    int64_t version;
    hid_t root = H5Gopen2(reader->hdf5, "/", H5P_DEFAULT);
    if (root < 0) return FLIP_FAIL_HDF5("'%s' has no root group", reader->path);
    flip_status status = inspect_group(reader, root, "", 0);
    H5Gclose(root);
    FLIP_TRY(status);
    if (reader->n_entries > 0)
        qsort(reader->entries, (size_t)reader->n_entries, sizeof(entry), by_name);
    FLIP_TRY(flip_reader_attribute_text(reader, "/", "format", format, sizeof format));
    FLIP_TRY(flip_reader_attribute_text(reader, "/", "kind", found, sizeof found));
    FLIP_TRY(flip_reader_attribute_i64(reader, "/", "version", &version));
    if (strcmp(format, FLIP_FORMAT) != 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has format '%s'; expected '%s'", reader->path,
                         format, FLIP_FORMAT);
    if (version != FLIP_FORMAT_VERSION)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has format version %lld; this Flipbook reads version %d: use the "
                         "program that wrote it or write the file again",
                         reader->path, (long long)version, FLIP_FORMAT_VERSION);
    if (kind && strcmp(found, kind) != 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' holds a %s; expected a %s", reader->path, found,
                         kind);
    return FLIP_OK;
}

flip_status flip_reader_open(flip_reader **reader, flip_comm *comm, const char *path,
                             const char *kind) {
    flip_status status = FLIP_OK;
    flip_reader *r = NULL;
    *reader = NULL;
    flip_hdf5_start();
    FLIP_TRY_GOTO(flip_alloc_zero(&r, 1, sizeof *r, "the reader of a container"));
    *r = (flip_reader){.fd = -1, .hdf5 = -1};
    FLIP_TRY_GOTO(flip_alloc(&r->path, strlen(path) + 1, 1, "a file name"));
    strcpy(r->path, path);
    status = open_file(r);
    /* every rank first has a seal, then all compare, then each hashes its share */
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(same_everywhere(r, comm));
    status = flip_seal_verify(&r->seal, r->fd, path, flip_comm_rank(comm), flip_comm_size(comm));
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    status = open_hdf5(r);
    if (status == FLIP_OK) status = inspect(r, kind);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    *reader = r;
    return FLIP_OK;
done:
    flip_reader_close(&r);
    return status;
}

void flip_reader_close(flip_reader **reader) {
    flip_reader *r = *reader;
    if (!r) return;
    if (r->hdf5 >= 0) H5Fclose(r->hdf5);
    if (r->fd >= 0) close(r->fd);
    H5Eclear2(H5E_DEFAULT);
    flip_free(r->entries);
    flip_free(r->path);
    flip_free(r);
    *reader = NULL;
}

/* ---- what is in it ---- */

const char *flip_reader_path(const flip_reader *reader) {
    return reader->path;
}

int64_t flip_reader_bytes(const flip_reader *reader) {
    return reader->bytes;
}

static const entry *find(const flip_reader *reader, const char *name) {
    entry key;
    while (*name == '/')
        name++;
    snprintf(key.name, sizeof key.name, "%s", name);
    if (reader->n_entries == 0) return NULL;
    return bsearch(&key, reader->entries, (size_t)reader->n_entries, sizeof key, by_name);
}

bool flip_reader_has(const flip_reader *reader, const char *name) {
    return find(reader, name) != NULL;
}

int32_t flip_reader_n_datasets(const flip_reader *reader) {
    return reader->n_entries;
}

const char *flip_reader_dataset(const flip_reader *reader, int32_t i) {
    return reader->entries[i].name;
}

static flip_status need(const entry **e, const flip_reader *reader, const char *name) {
    *e = find(reader, name);
    return *e ? FLIP_OK
              : FLIP_FAIL(FLIP_ERROR_INPUT,
                          "'%s' has no dataset %s; `flipbook info` lists what "
                          "is there",
                          reader->path, name);
}

flip_status flip_reader_shape(const flip_reader *reader, const char *name, int64_t dims[3],
                              flip_type *type) {
    const entry *e;
    FLIP_TRY(need(&e, reader, name));
    memcpy(dims, e->dims, sizeof e->dims);
    if (type) *type = e->type;
    return FLIP_OK;
}

/* ---- rows ---- */

static flip_status read_selected(const flip_reader *reader, const entry *e, flip_type memory,
                                 const hsize_t start[3], const hsize_t count[3], void *out) {
    flip_conversion conversion;
    hid_t dataset = -1, space = -1, shape = -1;
    flip_status status = FLIP_OK;
    FLIP_TRY_GOTO(flip_conversion_init(&conversion, memory != e->type));
    dataset = H5Dopen2(reader->hdf5, e->name, H5P_DEFAULT);
    space = dataset < 0 ? -1 : H5Dget_space(dataset);
    shape = H5Screate_simple(e->n_dims, count, NULL);
    if (space < 0 || shape < 0 ||
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0)
        status = FLIP_FAIL_HDF5("'%s' dataset %s cannot be opened", reader->path, e->name);
    else if (H5Dread(dataset, flip_hdf5_memory_type(memory), shape, space, conversion.transfer,
                     out) < 0) {
        if (conversion.refused) {
            H5Eclear2(H5E_DEFAULT);
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "'%s' dataset %s: %.17g (in rows %lld … %lld) does not fit %s",
                               reader->path, e->name, conversion.value, (long long)start[0],
                               (long long)(start[0] + count[0] - 1), flip_type_name(memory));
        } else {
            status =
                FLIP_FAIL_HDF5("'%s' dataset %s, rows %lld … %lld, cannot be read", reader->path,
                               e->name, (long long)start[0], (long long)(start[0] + count[0] - 1));
        }
    }
done:
    if (shape >= 0) H5Sclose(shape);
    if (space >= 0) H5Sclose(space);
    if (dataset >= 0) H5Dclose(dataset);
    flip_conversion_finish(&conversion);
    return status;
}

flip_status flip_reader_block(const flip_reader *reader, const char *name, flip_type memory,
                              int64_t first, int64_t count, int64_t first2, int64_t count2,
                              void *out) {
    const entry *e;
    FLIP_TRY(need(&e, reader, name));
    int64_t wide = e->n_dims > 1 ? e->dims[1] : 1;
    if (first < 0 || count < 0 || first > e->dims[0] || count > e->dims[0] - first || first2 < 0 ||
        count2 < 0 || first2 > wide || count2 > wide - first2)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' dataset %s is [%lld, %lld]; rows %lld … %lld, columns %lld … %lld "
                         "were asked for",
                         reader->path, name, (long long)e->dims[0], (long long)wide,
                         (long long)first, (long long)(first + count - 1), (long long)first2,
                         (long long)(first2 + count2 - 1));
    if (count == 0 || count2 == 0 || (e->n_dims == 3 && e->dims[2] == 0)) return FLIP_OK;
    const hsize_t start[3] = {(hsize_t)first, (hsize_t)first2, 0},
                  size[3] = {(hsize_t)count, (hsize_t)count2, (hsize_t)e->dims[2]};
    return read_selected(reader, e, memory, start, size, out);
}

flip_status flip_reader_rows(const flip_reader *reader, const char *name, flip_type memory,
                             int64_t first, int64_t count, void *out) {
    const entry *e;
    FLIP_TRY(need(&e, reader, name));
    return flip_reader_block(reader, name, memory, first, count, 0, e->n_dims > 1 ? e->dims[1] : 1,
                             out);
}

/* ---- attributes ---- */

static bool object_exists(const flip_reader *reader, const char *object) {
    char path[FLIP_NAME_BYTES];
    if (strcmp(object, "/") == 0 || *object == 0) return true;
    /* HDF5 wants every step of a path to exist before it looks further */
    for (const char *at = object; *at; at++) {
        if (at == object || *at != '/') continue;
        snprintf(path, sizeof path, "%.*s", (int)(at - object), object);
        if (H5Lexists(reader->hdf5, path, H5P_DEFAULT) <= 0) return false;
    }
    return H5Lexists(reader->hdf5, object, H5P_DEFAULT) > 0;
}

bool flip_reader_has_attribute(const flip_reader *reader, const char *object, const char *name) {
    if (*object == 0) object = "/";
    return object_exists(reader, object) &&
           H5Aexists_by_name(reader->hdf5, object, name, H5P_DEFAULT) > 0;
}

/* Opens a scalar attribute of the class wanted. */
static flip_status open_attribute(hid_t *out, const flip_reader *reader, const char *object,
                                  const char *name, H5T_class_t class, const char *expected) {
    *out = -1;
    if (!flip_reader_has_attribute(reader, object, name))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' has no attribute '%s' on %s", reader->path, name,
                         object);
    hid_t id =
        H5Aopen_by_name(reader->hdf5, *object ? object : "/", name, H5P_DEFAULT, H5P_DEFAULT);
    hid_t type = id < 0 ? -1 : H5Aget_type(id), space = id < 0 ? -1 : H5Aget_space(id);
    bool right = type >= 0 && space >= 0 && H5Tget_class(type) == class &&
                 H5Sget_simple_extent_npoints(space) == 1 &&
                 (class != H5T_STRING || H5Tis_variable_str(type) == 0) &&
                 H5Tget_size(type) <= (class == H5T_STRING ? 65536 : 8);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (right) {
        *out = id;
        return FLIP_OK;
    }
    if (id >= 0) H5Aclose(id);
    H5Eclear2(H5E_DEFAULT);
    return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' attribute '%s' of %s is not %s", reader->path, name,
                     object, expected);
}

static flip_status read_number(const flip_reader *reader, const char *object, const char *name,
                               H5T_class_t class, const char *expected, hid_t memory, void *out) {
    hid_t id;
    flip_status status = FLIP_OK;
    FLIP_TRY(open_attribute(&id, reader, object, name, class, expected));
    if (H5Aread(id, memory, out) < 0)
        status = FLIP_FAIL_HDF5("'%s' attribute '%s' of %s", reader->path, name, object);
    H5Aclose(id);
    return status;
}

flip_status flip_reader_attribute_i64(const flip_reader *reader, const char *object,
                                      const char *name, int64_t *value) {
    return read_number(reader, object, name, H5T_INTEGER, "one whole number", H5T_NATIVE_INT64,
                       value);
}

flip_status flip_reader_attribute_f64(const flip_reader *reader, const char *object,
                                      const char *name, double *value) {
    return read_number(reader, object, name, H5T_FLOAT, "one real number", H5T_NATIVE_DOUBLE,
                       value);
}

flip_status flip_reader_attribute_text(const flip_reader *reader, const char *object,
                                       const char *name, char *out, size_t size) {
    hid_t id, type;
    char *text = NULL;
    flip_status status = FLIP_OK;
    FLIP_TRY(open_attribute(&id, reader, object, name, H5T_STRING, "text of fixed length"));
    type = H5Aget_type(id);
    size_t bytes = type < 0 ? 0 : H5Tget_size(type);
    FLIP_TRY_GOTO(flip_alloc_zero(&text, bytes + 1, 1, "an attribute"));
    if (type < 0 || H5Aread(id, type, text) < 0)
        status = FLIP_FAIL_HDF5("'%s' attribute '%s' of %s", reader->path, name, object);
    else if (strlen(text) >= size)
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' attribute '%s' of %s has %zu bytes; at most %zu are expected",
                           reader->path, name, object, strlen(text), size - 1);
    else
        strcpy(out, text);
done:
    flip_free(text);
    if (type >= 0) H5Tclose(type);
    H5Aclose(id);
    return status;
}
