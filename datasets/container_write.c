/* Writing a container. Rank 0 owns the file; the other ranks send their rows in pieces of at most
 * one chunk.
 *
 * A dataset is born when its first band of chunks is full, or at commit: so a small one has exactly
 * its size in a single chunk, a large one grows by chunks of about 1 MiB, and the bytes depend on
 * the sequence of rows alone, not on who held them.
 *
 *     rank 0 rows ──────────────┐
 *     rank 1 rows ── pieces ──▶ band [chunk rows, dim2, dim3] ──▶ H5Dwrite (Fletcher32)
 */
#include "container_private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TAG_ROWS = 7100, PIECE_BYTES = 64 << 20 };

typedef struct pending {
    char name[FLIP_NAME_BYTES];
    flip_type disk, memory;
    int64_t dim2, dim3, columns; /* columns: values a row */
    int64_t chunk[3];
    size_t row_bytes; /* in memory */
    int64_t written;  /* rows in the file */
    char *band;       /* [chunk[0], dim2, dim3] owned: rows not yet in the file */
    int64_t in_band;  /* rows there */
    hid_t dataset;
    flip_conversion conversion;
} pending;

typedef struct attribute {
    char object[FLIP_NAME_BYTES], name[FLIP_NAME_BYTES];
    enum { WHOLE, REAL, TEXT } kind;
    int64_t i;
    double d;
    char *text; /* owned */
} attribute;

struct flip_writer {
    flip_comm *comm; /* borrowed */
    int rank, size;
    flip_status status;  /* rank 0: the first failure; later calls do nothing */
    flip_temporary file; /* rank 0 */
    hid_t hdf5;          /* rank 0; -1 = closed */
    pending **datasets;  /* rank 0, in order of birth */
    size_t n_datasets, datasets_capacity;
    attribute *attributes; /* rank 0 */
    size_t n_attributes, attributes_capacity;
    int64_t *rows; /* [size] of the call in progress */
};

/* ---- opening ---- */

static flip_status open_hdf5(flip_writer *w) {
    flip_status status = FLIP_OK;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    if (access < 0 || create < 0 ||
        H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 ||
        H5Pset_fclose_degree(access, H5F_CLOSE_SEMI) < 0 ||
        H5Pset_obj_track_times(create, false) < 0)
        status = FLIP_FAIL_HDF5("cannot prepare '%s'", w->file.target);
    /* The name is ours alone, and shared file systems often lack locks. */
    if (status == FLIP_OK) H5Pset_file_locking(access, false, true);
    if (status == FLIP_OK) w->hdf5 = H5Fcreate(w->file.name, H5F_ACC_TRUNC, create, access);
    if (status == FLIP_OK && w->hdf5 < 0)
        status = FLIP_FAIL_HDF5("cannot write '%s'", w->file.target);
    if (access > 0) H5Pclose(access);
    if (create > 0) H5Pclose(create);
    return status;
}

flip_status flip_writer_create(flip_writer **writer, flip_comm *comm, const char *path,
                               const char *kind) {
    flip_status status = FLIP_OK;
    flip_writer *w = NULL;
    *writer = NULL;
    flip_hdf5_start();
    FLIP_TRY_GOTO(flip_alloc_zero(&w, 1, sizeof *w, "the writer of a container"));
    *w = (flip_writer){
        .comm = comm, .rank = flip_comm_rank(comm), .size = flip_comm_size(comm), .hdf5 = -1};
    w->file.fd = -1;
    FLIP_TRY_GOTO(flip_alloc_zero(&w->rows, (size_t)w->size, sizeof *w->rows, "row counts"));
    if (w->rank != 0) goto done;
    FLIP_TRY_GOTO(flip_temporary_create(&w->file, path));
    FLIP_TRY_GOTO(open_hdf5(w));
done:
    status = flip_comm_agree(comm, status);
    if (status != FLIP_OK) {
        flip_writer_destroy(&w);
        return status;
    }
    flip_writer_attribute_text(w, "/", "format", FLIP_FORMAT);
    flip_writer_attribute_text(w, "/", "kind", kind);
    flip_writer_attribute_i64(w, "/", "version", FLIP_FORMAT_VERSION);
    *writer = w;
    return FLIP_OK;
}

/* ---- groups and attributes ---- */

/* Opens, and creates where absent, the group `name` ("" = root). HDF5's own intermediate groups
 * would carry times. */
static flip_status open_group(hid_t *out, hid_t file, const char *name) {
    char part[FLIP_NAME_BYTES];
    hid_t group = H5Gopen2(file, "/", H5P_DEFAULT);
    for (const char *at = name; *at && group >= 0;) {
        size_t length = strcspn(at, "/");
        snprintf(part, sizeof part, "%.*s", (int)length, at);
        at += length + (at[length] == '/');
        if (length == 0) continue;
        hid_t inner = -1;
        if (H5Lexists(group, part, H5P_DEFAULT) > 0) {
            inner = H5Oopen(group, part, H5P_DEFAULT);
        } else {
            hid_t create = H5Pcreate(H5P_GROUP_CREATE);
            if (create >= 0 && H5Pset_obj_track_times(create, false) >= 0)
                inner = H5Gcreate2(group, part, H5P_DEFAULT, create, H5P_DEFAULT);
            if (create >= 0) H5Pclose(create);
        }
        H5Oclose(group);
        group = inner;
    }
    *out = group;
    return group >= 0 ? FLIP_OK : FLIP_FAIL_HDF5("cannot create group '%s'", name);
}

static flip_status write_attribute(hid_t file, const attribute *a) {
    flip_status status = FLIP_OK;
    hid_t object = -1, space = -1, type = -1, memory = -1, id = -1;
    const void *data = a->kind == WHOLE ? (const void *)&a->i : &a->d;
    FLIP_TRY(open_group(&object, file, a->object));
    space = H5Screate(H5S_SCALAR);
    if (a->kind == TEXT) {
        type = H5Tcopy(H5T_C_S1);
        if (type >= 0 &&
            (H5Tset_size(type, strlen(a->text) + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0))
            status = FLIP_FAIL_HDF5("cannot shape attribute '%s'", a->name);
        memory = H5Tcopy(type);
        data = a->text;
    } else {
        type = H5Tcopy(flip_hdf5_disk_type(a->kind == WHOLE ? FLIP_TYPE_I64 : FLIP_TYPE_F64));
        memory = H5Tcopy(flip_hdf5_memory_type(a->kind == WHOLE ? FLIP_TYPE_I64 : FLIP_TYPE_F64));
    }
    if (status == FLIP_OK && H5Aexists(object, a->name) > 0) H5Adelete(object, a->name);
    if (status == FLIP_OK) id = H5Acreate2(object, a->name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (status == FLIP_OK && (id < 0 || H5Awrite(id, memory, data) < 0))
        status = FLIP_FAIL_HDF5("cannot write attribute '%s' of '%s'", a->name, a->object);
    if (id >= 0 && H5Aclose(id) < 0 && status == FLIP_OK)
        status = FLIP_FAIL_HDF5("cannot write attribute '%s' of '%s'", a->name, a->object);
    if (type >= 0) H5Tclose(type);
    if (memory >= 0) H5Tclose(memory);
    if (space >= 0) H5Sclose(space);
    H5Oclose(object);
    return status;
}

static void keep_attribute(flip_writer *w, const char *object, const char *name, attribute a) {
    flip_status status = FLIP_OK;
    if (w->rank != 0 || w->status != FLIP_OK) return;
    while (*object == '/')
        object++;
    if (strlen(object) >= sizeof a.object || strlen(name) >= sizeof a.name || *name == 0) {
        w->status =
            FLIP_FAIL(FLIP_ERROR_INTERNAL, "attribute '%s' of '%s': names have 1 to %d bytes", name,
                      object, FLIP_NAME_BYTES - 1);
        return;
    }
    snprintf(a.object, sizeof a.object, "%s", object);
    snprintf(a.name, sizeof a.name, "%s", name);
    if (a.text) { /* borrowed so far */
        size_t bytes = strlen(a.text) + 1;
        char *copy;
        if (bytes > 60000) {
            w->status =
                FLIP_FAIL(FLIP_ERROR_INPUT, "attribute '%s' of '%s' has %zu bytes; at most 60000",
                          name, *object ? object : "/", bytes - 1);
            return;
        }
        FLIP_TRY_GOTO(flip_alloc(&copy, bytes, 1, "an attribute"));
        memcpy(copy, a.text, bytes);
        a.text = copy;
    }
    if (w->n_attributes == w->attributes_capacity) {
        size_t capacity = w->attributes_capacity ? 2 * w->attributes_capacity : 32;
        FLIP_TRY_GOTO(flip_grow(&w->attributes, w->n_attributes, capacity, sizeof a, "attributes"));
        w->attributes_capacity = capacity;
    }
    w->attributes[w->n_attributes++] = a;
done:
    if (status != FLIP_OK) w->status = status;
}

flip_status flip_writer_attribute_i64(flip_writer *writer, const char *object, const char *name,
                                      int64_t value) {
    keep_attribute(writer, object, name, (attribute){.kind = WHOLE, .i = value});
    return FLIP_OK;
}

flip_status flip_writer_attribute_f64(flip_writer *writer, const char *object, const char *name,
                                      double value) {
    keep_attribute(writer, object, name, (attribute){.kind = REAL, .d = value});
    return FLIP_OK;
}

flip_status flip_writer_attribute_text(flip_writer *writer, const char *object, const char *name,
                                       const char *value) {
    keep_attribute(writer, object, name, (attribute){.kind = TEXT, .text = (char *)value});
    return FLIP_OK;
}

/* ---- datasets ---- */

static int64_t at_most(int64_t value, int64_t limit) {
    return value < limit ? value : limit;
}

/* Chunks of about 1 MiB, whole rows where a row is smaller. */
static void choose_chunk(pending *d) {
    int64_t size = (int64_t)flip_type_size(d->disk), wide2 = d->dim2 ? d->dim2 : 1,
            wide3 = d->dim3 ? d->dim3 : 1;
    d->columns = wide2 * wide3;
    d->chunk[2] = at_most(wide3, FLIP_SLAB_BYTES / size);
    d->chunk[1] = at_most(wide2, FLIP_SLAB_BYTES / (size * d->chunk[2]));
    if (d->chunk[1] < 1) d->chunk[1] = 1;
    d->chunk[0] = FLIP_SLAB_BYTES / (size * d->chunk[2] * d->chunk[1]);
    if (d->chunk[1] < wide2 || d->chunk[2] < wide3 || d->chunk[0] < 1) d->chunk[0] = 1;
}

static flip_status new_dataset(flip_writer *w, pending **out, const char *name, flip_type disk,
                               flip_type memory, int64_t dim2, int64_t dim3) {
    pending *d;
    if (strlen(name) >= FLIP_NAME_BYTES)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "dataset name '%s' is longer than %d bytes", name,
                         FLIP_NAME_BYTES - 1);
    if (w->n_datasets == w->datasets_capacity) {
        size_t capacity = w->datasets_capacity ? 2 * w->datasets_capacity : 32;
        FLIP_TRY(flip_grow(&w->datasets, w->n_datasets, capacity, sizeof d, "datasets"));
        w->datasets_capacity = capacity;
    }
    FLIP_TRY(flip_alloc_zero(&d, 1, sizeof *d, "a dataset"));
    *d = (pending){.disk = disk, .memory = memory, .dim2 = dim2, .dim3 = dim3, .dataset = -1};
    snprintf(d->name, sizeof d->name, "%s", name);
    choose_chunk(d);
    w->datasets[w->n_datasets++] = d;
    *out = d;
    size_t values;
    if (__builtin_mul_overflow((size_t)d->columns, flip_type_size(memory), &d->row_bytes) ||
        __builtin_mul_overflow(d->row_bytes, (size_t)d->chunk[0], &values))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "dataset '%s': rows of %lld values are too long", name,
                         (long long)d->columns);
    FLIP_TRY(flip_conversion_init(&d->conversion, disk != memory));
    return flip_alloc(&d->band, (size_t)d->chunk[0], d->row_bytes, "a band of rows");
}

static flip_status find_dataset(flip_writer *w, pending **out, const char *name, flip_type disk,
                                flip_type memory, int64_t dim2, int64_t dim3) {
    for (size_t i = 0; i < w->n_datasets; i++) {
        pending *d = w->datasets[i];
        if (strcmp(d->name, name) != 0) continue;
        *out = d;
        if (d->disk == disk && d->memory == memory && d->dim2 == dim2 && d->dim3 == dim3)
            return FLIP_OK;
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "dataset '%s' began as %s [rows, %lld, %lld] and goes on as %s [rows, "
                         "%lld, %lld]",
                         name, flip_type_name(d->disk), (long long)d->dim2, (long long)d->dim3,
                         flip_type_name(disk), (long long)dim2, (long long)dim3);
    }
    return new_dataset(w, out, name, disk, memory, dim2, dim3);
}

static int n_dims(const pending *d) {
    return d->dim3 ? 3 : d->dim2 ? 2 : 1;
}

/* rows: those it has for good, or -1 while more may come. An empty one has no chunks at all. */
static flip_status create_dataset(flip_writer *w, pending *d, int64_t rows) {
    flip_status status = FLIP_OK;
    hsize_t dims[3] = {rows < 0 ? 0 : (hsize_t)rows, (hsize_t)d->dim2, (hsize_t)d->dim3};
    hsize_t most[3] = {rows < 0 ? H5S_UNLIMITED : (hsize_t)rows, dims[1], dims[2]};
    hsize_t chunk[3] = {(hsize_t)d->chunk[0], (hsize_t)d->chunk[1], (hsize_t)d->chunk[2]};
    char group_name[FLIP_NAME_BYTES];
    const char *slash = strrchr(d->name, '/');
    hid_t group = -1, space = -1, create = -1;
    if (rows > 0) chunk[0] = (hsize_t)at_most(d->chunk[0], rows);
    snprintf(group_name, sizeof group_name, "%.*s", slash ? (int)(slash - d->name) : 0, d->name);
    FLIP_TRY(open_group(&group, w->hdf5, group_name));
    space = H5Screate_simple(n_dims(d), dims, most);
    create = H5Pcreate(H5P_DATASET_CREATE);
    if (space < 0 || create < 0 || H5Pset_obj_track_times(create, false) < 0 ||
        (rows != 0 &&
         (H5Pset_chunk(create, n_dims(d), chunk) < 0 || H5Pset_fletcher32(create) < 0)))
        status = FLIP_FAIL_HDF5("cannot shape dataset '%s'", d->name);
    if (status == FLIP_OK)
        d->dataset = H5Dcreate2(group, slash ? slash + 1 : d->name, flip_hdf5_disk_type(d->disk),
                                space, H5P_DEFAULT, create, H5P_DEFAULT);
    if (status == FLIP_OK && d->dataset < 0)
        status = FLIP_FAIL_HDF5("cannot create dataset '%s' in '%s'", d->name, w->file.target);
    if (create >= 0) H5Pclose(create);
    if (space >= 0) H5Sclose(space);
    H5Oclose(group);
    return status;
}

static flip_status write_band(flip_writer *w, pending *d, const void *data, int64_t rows) {
    flip_status status = FLIP_OK;
    hsize_t start[3] = {(hsize_t)d->written, 0, 0},
            count[3] = {(hsize_t)rows, (hsize_t)d->dim2, (hsize_t)d->dim3},
            total[3] = {(hsize_t)(d->written + rows), count[1], count[2]}, most[3], now[3];
    hid_t space = H5Dget_space(d->dataset), memory = H5Screate_simple(n_dims(d), count, NULL);
    if (space < 0 || memory < 0 || H5Sget_simple_extent_dims(space, now, most) < 0)
        status = FLIP_FAIL_HDF5("cannot extend dataset '%s'", d->name);
    if (status == FLIP_OK && now[0] < total[0]) {
        H5Sclose(space);
        space = H5Dset_extent(d->dataset, total) < 0 ? -1 : H5Dget_space(d->dataset);
    }
    if (status == FLIP_OK &&
        (space < 0 || H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0))
        status = FLIP_FAIL_HDF5("cannot extend dataset '%s'", d->name);
    if (status == FLIP_OK && H5Dwrite(d->dataset, flip_hdf5_memory_type(d->memory), memory, space,
                                      d->conversion.transfer, data) < 0) {
        if (d->conversion.refused) {
            H5Eclear2(H5E_DEFAULT);
            status = FLIP_FAIL(FLIP_ERROR_INPUT,
                               "dataset '%s': %.17g (in rows %lld … %lld) does not fit %s", d->name,
                               d->conversion.value, (long long)d->written,
                               (long long)(d->written + rows - 1), flip_type_name(d->disk));
        } else {
            status = FLIP_FAIL_HDF5("cannot write dataset '%s' of '%s'", d->name, w->file.target);
        }
    }
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    d->written += rows;
    return status;
}

static flip_status flush_band(flip_writer *w, pending *d, const void *data, int64_t rows) {
    if (d->dataset < 0) FLIP_TRY(create_dataset(w, d, -1));
    return write_band(w, d, data, rows);
}

/* ---- rows from every rank ---- */

static flip_status send_bytes(flip_comm *comm, const char *data, size_t bytes) {
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        int piece = (int)(bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
        if (MPI_Send(data + at, piece, MPI_BYTE, 0, TAG_ROWS, flip_comm_mpi(comm)) != MPI_SUCCESS)
            return FLIP_FAIL(FLIP_ERROR_LIBRARY, "MPI could not send %d bytes to rank 0", piece);
    }
    return FLIP_OK;
}

static flip_status receive_bytes(flip_comm *comm, char *data, size_t bytes, int from) {
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        int piece = (int)(bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES);
        if (MPI_Recv(data + at, piece, MPI_BYTE, from, TAG_ROWS, flip_comm_mpi(comm),
                     MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return FLIP_FAIL(FLIP_ERROR_LIBRARY, "MPI could not receive %d bytes from rank %d",
                             piece, from);
    }
    return FLIP_OK;
}

/* The rows of rank `from` go through the band; both sides cut them at the same places: where the
 * band is full. After a failure rank 0 still receives, so that nobody waits for ever. */
static void take_rows(flip_writer *w, pending *d, int from, const char *own) {
    int64_t rows = w->rows[from];
    for (int64_t at = 0; at < rows;) {
        int64_t piece = at_most(rows - at, d->chunk[0] - d->in_band);
        const char *source = own ? own + (size_t)at * d->row_bytes : NULL;
        char *room = d->band + (size_t)d->in_band * d->row_bytes;
        flip_status status = FLIP_OK;
        at += piece;
        if (own && piece == d->chunk[0]) { /* a whole band of our own: no copy */
            if (w->status == FLIP_OK) w->status = flush_band(w, d, source, piece);
            continue;
        }
        if (own)
            memcpy(room, source, (size_t)piece * d->row_bytes);
        else
            status = receive_bytes(w->comm, room, (size_t)piece * d->row_bytes, from);
        d->in_band += piece;
        if (d->in_band == d->chunk[0]) {
            if (status == FLIP_OK && w->status == FLIP_OK)
                status = flush_band(w, d, d->band, d->in_band);
            d->in_band = 0;
        }
        if (w->status == FLIP_OK) w->status = status;
    }
}

static flip_status send_rows(flip_writer *w, int64_t in_band, int64_t chunk, size_t row_bytes,
                             const char *data) {
    for (int r = 0; r < w->rank; r++)
        in_band = (in_band + w->rows[r]) % chunk;
    for (int64_t at = 0; at < w->rows[w->rank];) {
        int64_t piece = at_most(w->rows[w->rank] - at, chunk - in_band);
        FLIP_TRY(send_bytes(w->comm, data + (size_t)at * row_bytes, (size_t)piece * row_bytes));
        at += piece;
        in_band = (in_band + piece) % chunk;
    }
    return FLIP_OK;
}

flip_status flip_writer_rows(flip_writer *writer, const char *name, flip_type disk,
                             flip_type memory, int64_t my_rows, int64_t dim2, int64_t dim3,
                             const void *data) {
    flip_writer *w = writer;
    pending *d = NULL;
    int64_t plan[2] = {0, 1}; /* rows in the band before this call, rows of a band */
    flip_status status = w->rank == 0 ? w->status : FLIP_OK;
    if (status == FLIP_OK && (my_rows < 0 || dim2 < 0 || dim3 < 0 || (dim3 && !dim2)))
        status = FLIP_FAIL(FLIP_ERROR_INTERNAL, "dataset '%s' with shape [%lld, %lld, %lld]", name,
                           (long long)my_rows, (long long)dim2, (long long)dim3);
    if (status == FLIP_OK && w->rank == 0)
        status = find_dataset(w, &d, name, disk, memory, dim2, dim3);
    status = flip_comm_agree(w->comm, status);
    if (status != FLIP_OK) {
        if (w->rank == 0) w->status = status;
        return status;
    }
    if (d) plan[0] = d->in_band, plan[1] = d->chunk[0];
    FLIP_TRY(flip_comm_gather_all(w->comm, w->rows, &my_rows, sizeof my_rows));
    FLIP_TRY(flip_comm_broadcast(w->comm, plan, sizeof plan, 0));
    if (w->size == 1) w->rows[0] = my_rows;
    if (w->rank == 0) {
        for (int r = 0; r < w->size; r++)
            take_rows(w, d, r, r == 0 ? data : NULL);
        status = w->status;
    } else {
        size_t row_bytes = (size_t)((dim2 ? dim2 : 1) * (dim3 ? dim3 : 1)) * flip_type_size(memory);
        status = send_rows(w, plan[0], plan[1], row_bytes, data);
    }
    return flip_comm_agree(w->comm, status);
}

/* ---- the end ---- */

static flip_status finish_datasets(flip_writer *w) {
    for (size_t i = 0; i < w->n_datasets; i++) {
        pending *d = w->datasets[i];
        if (d->dataset < 0) FLIP_TRY(create_dataset(w, d, d->in_band));
        if (d->in_band > 0) FLIP_TRY(write_band(w, d, d->band, d->in_band));
        d->in_band = 0;
        hid_t dataset = d->dataset;
        d->dataset = -1;
        if (H5Dclose(dataset) < 0)
            return FLIP_FAIL_HDF5("cannot write dataset '%s' of '%s'", d->name, w->file.target);
    }
    return FLIP_OK;
}

static flip_status commit_here(flip_writer *w) {
    FLIP_TRY(w->status);
    FLIP_TRY(finish_datasets(w));
    for (size_t i = 0; i < w->n_attributes; i++)
        FLIP_TRY(write_attribute(w->hdf5, &w->attributes[i]));
    hid_t file = w->hdf5;
    w->hdf5 = -1; /* after a failed close the identifier must not be used again */
    if (H5Fclose(file) < 0) return FLIP_FAIL_HDF5("cannot write '%s'", w->file.target);
    FLIP_TRY(flip_seal_write(w->file.fd, w->file.target));
    return flip_temporary_commit(&w->file);
}

flip_status flip_writer_commit(flip_writer *writer) {
    if (writer->rank == 0) writer->status = commit_here(writer);
    flip_status status = flip_comm_agree(writer->comm, writer->status);
    /* a second commit, or rows after it, are mistakes of the caller */
    if (writer->rank == 0 && status == FLIP_OK) writer->status = FLIP_ERROR_INTERNAL;
    return status;
}

void flip_writer_destroy(flip_writer **writer) {
    flip_writer *w = *writer;
    if (!w) return;
    for (size_t i = 0; i < w->n_datasets; i++) {
        if (w->datasets[i]->dataset >= 0) H5Dclose(w->datasets[i]->dataset);
        flip_conversion_finish(&w->datasets[i]->conversion);
        flip_free(w->datasets[i]->band);
        flip_free(w->datasets[i]);
    }
    for (size_t i = 0; i < w->n_attributes; i++)
        flip_free(w->attributes[i].text);
    if (w->hdf5 >= 0) H5Fclose(w->hdf5);
    H5Eclear2(H5E_DEFAULT);
    flip_temporary_finish(&w->file);
    flip_free(w->datasets);
    flip_free(w->attributes);
    flip_free(w->rows);
    flip_free(w);
    *writer = NULL;
}

flip_status flip_container_writable(flip_comm *comm, const char *path) {
    flip_temporary probe = {.fd = -1};
    flip_status status = FLIP_OK;
    if (flip_comm_rank(comm) == 0 && *path) status = flip_temporary_create(&probe, path);
    flip_temporary_finish(&probe);
    return flip_comm_agree(comm, status);
}
