/* Flipbook: container — the HDF5 file that everything is kept in.
 *
 * A file is an HDF5 file (format bounds V110, Fletcher32 on every chunk), followed by a table of
 * XXH3-128 hashes, one for each slab of 1 MiB of the HDF5 bytes, followed by a trailer of fixed
 * length with the table's hash and its own:
 *
 *     [ HDF5, n bytes ][ table: 16 bytes a slab ][ trailer: 64 bytes ]
 *
 * h5ls, h5dump and h5py read it as it is. Before HDF5 sees a byte, the ranks verify the slabs among
 * them. Files are written under a temporary name, synced and renamed.
 *
 * Schema of a graph (kind "graph"), little-endian, no compound types; N nodes, E events, T steps:
 *
 *   / attributes     format "flipbook", kind "graph", version 1, n_nodes, n_steps, n_classes,
 * undirected, step_zero, step_width (time of step 0's start and width, float64; absent if unknown),
 * creator events/indptr    int64 [N+1]  events of destination v: indptr[v] … indptr[v+1]-1, by
 * (step, source) events/src       int32 or int64 [E] events/step      int32 [E]            absent
 * when T = 1 events/weight    float32 [E]          absent when all are 1 events/label     int32 [E]
 * class of the edge, -1 none; absent without features/values  float32 [N, F]       constant dense
 * rows; or features/indptr  int64 [N+1], features/indices int32, features/values float32 (absent =
 * all 1): constant CSR, attribute n_columns; or features/node    int64 [R], features/step int32
 * [R], features/values float32 [R, F]: rows that change labels/class     int32 [N], -1 none; or
 * labels/node, labels/step, labels/class [R] targets/values   float32 [N, T, K] (or node, step,
 * values rows); NaN none splits           int8 [S, N]          0 train, 1 valid, 2 test, -1 unused
 *   nodes/original   int64 [N]            dense id before partitioning (absent = identity)
 *   nodes/name_ptr   int64 [N+1], nodes/name uint8 [bytes]: names that are text; or nodes/number
 * int64 [N]: numeric ids as the user gave them (absent = identity of original) labels/names     the
 * class names, text lines; events/label_names likewise parts/first      int64 [K+1]          node
 * ranges of the parts (absent = not partitioned) partition attributes: objective, cut, …
 */
#ifndef FLIPBOOK_CONTAINER_H
#define FLIPBOOK_CONTAINER_H

#include <flipbook/comm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_type {
    FLIP_TYPE_I8,
    FLIP_TYPE_U8,
    FLIP_TYPE_I32,
    FLIP_TYPE_I64,
    FLIP_TYPE_F32,
    FLIP_TYPE_F64
} flip_type;
size_t flip_type_size(flip_type type);

/* ---- writing: collective over comm (NULL = one process). Rank 0 writes, in rank order, so the
 * bytes do not depend on the number of ranks, and it never holds more than one buffer of another
 * rank. ---- */
typedef struct flip_writer flip_writer;

flip_status flip_writer_create(flip_writer **writer, flip_comm *comm, const char *path,
                               const char *kind);
flip_status flip_writer_attribute_i64(flip_writer *writer, const char *object, const char *name,
                                      int64_t value);
flip_status flip_writer_attribute_f64(flip_writer *writer, const char *object, const char *name,
                                      double value);
flip_status flip_writer_attribute_text(flip_writer *writer, const char *object, const char *name,
                                       const char *value);
/* Creates "group/name" with shape [rows, width...]; groups come by themselves. rank2 = 0 or the
 * second dimension, rank3 = 0 or the third. Data in memory has type `memory`, on disk `disk`. Each
 * rank's my_rows follow those of the ranks before it; total rows are the sum. */
flip_status flip_writer_rows(flip_writer *writer, const char *name, flip_type disk,
                             flip_type memory, int64_t my_rows, int64_t dim2, int64_t dim3,
                             const void *data);
/* Commits: hashes, trailer, fsync, rename, fsync of the folder. Without it destroy removes the
 * temporary file. */
flip_status flip_writer_commit(flip_writer *writer);
void flip_writer_destroy(flip_writer **writer);

/* ---- reading ---- */
typedef struct flip_reader flip_reader;

/* Collective. Verifies the whole file (each rank a part of it) and opens it. kind NULL = any. */
flip_status flip_reader_open(flip_reader **reader, flip_comm *comm, const char *path,
                             const char *kind);
void flip_reader_close(flip_reader **reader);
const char *flip_reader_path(const flip_reader *reader);
bool flip_reader_has(const flip_reader *reader, const char *name);
/* dims[3]: 0 for absent dimensions. Refuses ranks above 3, external storage, links out, unknown
 * filters. */
flip_status flip_reader_shape(const flip_reader *reader, const char *name, int64_t dims[3],
                              flip_type *type);
/* Local. Rows first … first+count-1 converted to `memory`. */
flip_status flip_reader_rows(const flip_reader *reader, const char *name, flip_type memory,
                             int64_t first, int64_t count, void *out);
flip_status flip_reader_attribute_i64(const flip_reader *reader, const char *object,
                                      const char *name, int64_t *value);
flip_status flip_reader_attribute_f64(const flip_reader *reader, const char *object,
                                      const char *name, double *value);
flip_status flip_reader_attribute_text(const flip_reader *reader, const char *object,
                                       const char *name, char *out, size_t size);

/* Everything `flipbook check` tests of a graph: hashes, schema, ranges, order, sums. Local, one
 * process. */
flip_status flip_container_check(const char *path, int64_t *n_checks);

#ifdef __cplusplus
}
#endif
#endif
