/* Flipbook: container — the HDF5 file that everything is kept in.
 *
 * A file is an HDF5 file (format bounds V110, Fletcher32 on every chunk) and behind it its seal: a
 * table of XXH3-128 hashes, one for each slab of 1 MiB of the HDF5 bytes, and a trailer of fixed
 * length with the table's hash and its own:
 *
 *     [ HDF5, n bytes ][ table: 16 bytes a slab ][ trailer: 64 bytes ]
 *
 *     trailer   0 "FLIPSEAL"   8 version u32   12 slab bytes u32   16 n u64   24 slabs u64
 *              32 hash of the table, 16 bytes      48 hash of bytes 0 … 47 of the trailer
 *
 * h5ls, h5dump and h5py read it as it is. Before HDF5 sees a byte, the ranks verify the slabs among
 * them. Files are written under a temporary name, synced and renamed, so that the final name always
 * holds a whole file, the old one or the new one.
 *
 * Schema of a graph (kind "graph"), little-endian, no compound types; N nodes, E events, T steps:
 *
 *   / attributes      format "flipbook", kind "graph", version 1, n_nodes, n_steps, n_classes,
 *                     undirected, creator; step_zero, step_width: time of step 0's start and width
 *                     (float64; absent if unknown)
 *
 *   events/indptr     int64 [N+1]    events of destination v: indptr[v] … indptr[v+1]-1,
 *                                    by (step, source)
 *   events/src        int32 or int64 [E]
 *   events/step       int32 [E]      absent when T = 1
 *   events/weight     float32 [E]    absent when all are 1
 *   events/label      int32 [E]      class of the edge, -1 none; absent without
 *   events/label_names  uint8 [bytes]  names of those classes, a line each
 *
 *   features/values   float32 [N, F] constant dense rows; or
 *   features/indptr   int64 [N+1], features/indices int32 [nnz], features/values float32 [nnz]
 *                     (absent = all 1): constant CSR, attribute n_columns of the group; or
 *   features/node     int64 [R], features/step int32 [R], features/values float32 [R, F]:
 *                     rows that change, by (node, step).
 *                     Attribute allow_nan of the group: NaN and infinities are meant; or
 *   features/codes    uint8 [N, stride], features/codec uint8 [bytes]: packed rows and the codec
 *                     (flip_codec_to_bytes) that reads them, keyed by nodes/original. Attributes of
 *                     the group: n_columns (of rows before encoding), norm ("row", "none": what was
 *                     done to them), native_bytes (of the features as they came: the smaller of
 *                     dense float32 and CSR), relative_error (on rows held out). Beside them,
 * perhaps: features/refinement uint8 [N, stride], features/refinement_codec uint8 [bytes]: the
 * second level, codes of what the first leaves; attribute refined_error, with both; or
 *   features/node     int64 [R], features/step int32 [R], features/codes uint8 [R, stride],
 *                     features/codec: packed rows that change, by (node, step): one at step 0 for
 *                     every node, then those whose codes differ from the node's before. The codec
 *                     was learned from learned_steps steps from learned_first on (attributes)
 *
 *   labels/class      int32 [N], -1 none; or labels/node int64 [R], labels/step, labels/class [R]
 *   labels/names      uint8 [bytes]  the class names, a line each
 *   targets/values    float32 [N, T, K], NaN none; or targets/node int64 [R], targets/step,
 *                     targets/values float32 [R, K]
 *   splits            int8 [S, N]    0 train, 1 valid, 2 test, -1 unused
 *
 *   negatives/step    int32 [R], negatives/source, negatives/destination int64 [R]: pinned
 * non-edges of link prediction, strictly ascending; nodes by their dense ids before partitioning
 *
 *   nodes/original    int64 [N]      dense id before partitioning (absent = identity)
 *   nodes/name_ptr    int64 [N+1], nodes/name uint8 [bytes]: names that are text; or
 *   nodes/number      int64 [N]      numeric ids as the user gave them (absent = original)
 *
 *   parts/first       int64 [K+1]    node ranges of the parts (absent = not partitioned)
 *   partition         group whose attributes say how: objective, cut, …; full_halo, full_crossing:
 *                     the last full result, handed on by repartitioning (partition.h)
 */
#ifndef FLIPBOOK_CONTAINER_H
#define FLIPBOOK_CONTAINER_H

#include <flipbook/codec.h>
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
const char *flip_type_name(flip_type type); /* "int32", "float32", … */

/* ---- writing --------------------------------------------------------------------------------
 * Collective over comm (NULL = one process) and with the same result on every rank. Rank 0 writes,
 * in rank order, so the bytes do not depend on the number of ranks, and it never holds more than
 * one chunk (about 1 MiB, or one row) of a dataset beside its own rows. */
typedef struct flip_writer flip_writer;

/* Opens a temporary file beside `path`; leftovers of killed writers of this host are removed. */
flip_status flip_writer_create(flip_writer **writer, flip_comm *comm, const char *path,
                               const char *kind);
/* Attributes of "/", a group (created if need be) or a dataset. Kept on rank 0 and written by
 * commit, in the order given; they cannot fail before. Text up to 60,000 bytes. */
flip_status flip_writer_attribute_i64(flip_writer *writer, const char *object, const char *name,
                                      int64_t value);
flip_status flip_writer_attribute_f64(flip_writer *writer, const char *object, const char *name,
                                      double value);
flip_status flip_writer_attribute_text(flip_writer *writer, const char *object, const char *name,
                                       const char *value);
/* Appends rows to "group/name", shape [rows, dim2, dim3] (0 = no such dimension); the first call
 * creates it, later ones have the same types and widths. Inside a call each rank's my_rows
 * [my_rows, dim2, dim3] of type `memory` follow those of the ranks before it. Values that do not
 * fit the type on disk are refused (FLIP_ERROR_INPUT). */
flip_status flip_writer_rows(flip_writer *writer, const char *name, flip_type disk,
                             flip_type memory, int64_t my_rows, int64_t dim2, int64_t dim3,
                             const void *data);
/* Seals the file (hashes, trailer), fsync, rename, fsync of the folder. Without it destroy removes
 * the temporary file. */
flip_status flip_writer_commit(flip_writer *writer);
void flip_writer_destroy(flip_writer **writer);
/* Collective. Could a writer begin there? Asked before hours of work whose result goes to `path`.
 * "" is no output: fine. */
flip_status flip_container_writable(flip_comm *comm, const char *path);

/* ---- reading -------------------------------------------------------------------------------- */
typedef struct flip_reader flip_reader;

/* Collective. Verifies the whole file (each rank a part of it), then looks through its structure
 * before anything is allocated for it: refuses ranks above 3, external storage, links other than
 * hard ones, virtual layouts, filters other than Fletcher32, types other than flip_type, and sizes
 * the file cannot hold. kind NULL = any. */
flip_status flip_reader_open(flip_reader **reader, flip_comm *comm, const char *path,
                             const char *kind);
void flip_reader_close(flip_reader **reader);
const char *flip_reader_path(const flip_reader *reader);
int64_t flip_reader_bytes(const flip_reader *reader); /* of the file, seal included */
/* Is there a dataset of this name? */
bool flip_reader_has(const flip_reader *reader, const char *name);
int32_t flip_reader_n_datasets(const flip_reader *reader);
const char *flip_reader_dataset(const flip_reader *reader, int32_t i); /* names, ascending */
/* dims[3]: 0 for absent dimensions. type may be NULL. */
flip_status flip_reader_shape(const flip_reader *reader, const char *name, int64_t dims[3],
                              flip_type *type);
/* Local. Rows first … first+count-1 converted to `memory`; what does not fit is refused. */
flip_status flip_reader_rows(const flip_reader *reader, const char *name, flip_type memory,
                             int64_t first, int64_t count, void *out);
/* Local. Columns first2 … first2+count2-1 of those rows: out [count, count2, dim3]. */
flip_status flip_reader_block(const flip_reader *reader, const char *name, flip_type memory,
                              int64_t first, int64_t count, int64_t first2, int64_t count2,
                              void *out);
bool flip_reader_has_attribute(const flip_reader *reader, const char *object, const char *name);
/* Absent or of another type: FLIP_ERROR_INPUT. */
flip_status flip_reader_attribute_i64(const flip_reader *reader, const char *object,
                                      const char *name, int64_t *value);
flip_status flip_reader_attribute_f64(const flip_reader *reader, const char *object,
                                      const char *name, double *value);
flip_status flip_reader_attribute_text(const flip_reader *reader, const char *object,
                                       const char *name, char *out, size_t size);

/* ---- from one file to another ---------------------------------------------------------------
 * Collective: both files are open on every rank of comm. */

/* Attributes of "/", "features" or "partition" that a graph may have and this one has. */
flip_status flip_container_copy_attributes(flip_writer *writer, const flip_reader *reader,
                                           const char *object);
/* A dataset as it is, in windows of about 4 MiB through rank 0. */
flip_status flip_container_copy_dataset(flip_writer *writer, const flip_reader *reader,
                                        flip_comm *comm, const char *name);

/* Local. The codec of features/codes, the caller's; NULL where the file has none. Refuses tables
 * that do not fit, by name, and codes of another width. */
flip_status flip_container_codec(flip_codec **codec, const flip_reader *reader);
/* The same of features/refinement, which adds to what `coarse` decodes to; refused beside rows that
 * change. */
flip_status flip_container_refinement(flip_codec **refinement, const flip_reader *reader,
                                      const flip_codec *coarse);

/* Everything `flipbook check` tests of a graph: hashes, schema, ranges, order, sums. Local, one
 * process; memory is a few MiB and a bit a node. n_checks (may be NULL): how many passed. Kinds
 * other than "graph" are verified and read through. */
flip_status flip_container_check(const char *path, int64_t *n_checks);
/* The same; `report` hears of each check that passed. */
typedef void (*flip_check_report)(void *data, const char *what, const char *found);
flip_status flip_container_check_each(const char *path, flip_check_report report, void *data,
                                      int64_t *n_checks);

#ifdef __cplusplus
}
#endif
#endif
