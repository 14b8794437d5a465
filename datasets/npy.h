/* NumPy's .npy files, plain or packed with gzip or zstd: one array of numbers [shape].
 *
 * Kinds i1..i8, u1..u8, f2, f4, f8 and bool, either byte order, either memory order; objects and
 * records are refused. Values convert to the type asked for: an integer that does not fit, or a
 * float with a fraction asked for as an integer, is an error that names the element. */
#ifndef FLIPBOOK_NPY_H
#define FLIPBOOK_NPY_H

#include <flipbook/container.h>

enum { FLIP_NPY_DIMS = 4 };

typedef struct flip_npy {
    int32_t n_dims;
    int64_t shape[FLIP_NPY_DIMS]; /* 1 beyond n_dims */
    int64_t n_values;
    char kind;                  /* 'i', 'u', 'f', 'b' */
    int32_t width;              /* bytes a value */
    bool fortran;               /* first index fastest */
    bool swap;                  /* the other byte order */
    int64_t done;               /* values read so far */
    struct flip_source *source; /* owned */
} flip_npy;

/* Reads the header; an array larger than this machine's memory is refused. */
flip_status flip_npy_open(flip_npy **npy, const char *path);
void flip_npy_close(flip_npy **npy);
const char *flip_npy_path(const flip_npy *npy);
/* The next `count` values in the file's order (C order, or 1-D, only). After the last value the
 * file must end. */
flip_status flip_npy_read(flip_npy *npy, flip_type memory, int64_t count, void *out);
/* The whole array in C order. *data is the caller's to flip_free; shape [FLIP_NPY_DIMS]. */
flip_status flip_npy_load(const char *path, flip_type memory, void *data, int32_t *n_dims,
                          int64_t *shape);

#endif
