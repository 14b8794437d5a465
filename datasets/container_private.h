/* Private to the container: the one adapter for HDF5, and the seal (hash table and trailer). */
#ifndef FLIPBOOK_DATASETS_CONTAINER_PRIVATE_H
#define FLIPBOOK_DATASETS_CONTAINER_PRIVATE_H

#include <flipbook/container.h>

#include <hdf5.h>
#include <limits.h>

#define FLIP_FORMAT "flipbook"
enum { FLIP_FORMAT_VERSION = 1, FLIP_SLAB_BYTES = 1 << 20, FLIP_NAME_BYTES = 128 };

/* ---- HDF5 ---- */

/* Once a process, before any other call to HDF5: no printing, no plugins, and no work at exit (a
 * failed H5Fclose leaves the library in a state in which its exit handler crashes: h5py #914). */
void flip_hdf5_start(void);
/* Records `what` with the innermost message of HDF5's error stack; FLIP_ERROR_IO where the system
 * refused. */
flip_status flip_hdf5_fail(const char *function, const char *file, int line, const char *format,
                           ...) __attribute__((format(printf, 4, 5)));
#define FLIP_FAIL_HDF5(...) flip_hdf5_fail(__func__, __FILE__, __LINE__, __VA_ARGS__)
hid_t flip_hdf5_disk_type(flip_type type);   /* little-endian */
hid_t flip_hdf5_memory_type(flip_type type); /* this machine's */

/* What went wrong inside a transfer that converts: the first value that does not fit. */
typedef struct flip_conversion {
    hid_t transfer; /* property list */
    bool refused;
    double value;
} flip_conversion;
flip_status flip_conversion_init(flip_conversion *conversion, bool converts);
void flip_conversion_finish(flip_conversion *conversion);

/* ---- the seal ---- */

typedef struct flip_seal {
    int64_t n_bytes, n_slabs; /* of the HDF5 part */
    uint8_t table_hash[16];
} flip_seal;

/* Local. Hashes the file behind fd and appends table and trailer. path names it in messages. */
flip_status flip_seal_write(int fd, const char *path);
/* Local. Reads and checks the trailer. */
flip_status flip_seal_read(flip_seal *seal, int fd, const char *path);
/* Local. Checks rank's share of the slabs; rank 0 also the table. */
flip_status flip_seal_verify(const flip_seal *seal, int fd, const char *path, int rank, int size);

/* ---- a file that appears only when whole ---- */

typedef struct flip_temporary {
    int fd;                /* open for reading and writing; -1 = none */
    char target[PATH_MAX]; /* the final name, links followed */
    char name[PATH_MAX];   /* the temporary name beside it; "" = none */
} flip_temporary;

flip_status flip_temporary_create(flip_temporary *file, const char *path);
flip_status flip_temporary_commit(flip_temporary *file); /* sync, rename, sync of the folder */
void flip_temporary_finish(flip_temporary *file);        /* removes what was not committed */

#endif
