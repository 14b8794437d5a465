/* Bytes of a file, unpacked on the way: plain, gzip (also several members) or zstd (also several
 * frames), told apart by their first bytes and never by the name. Other archives are named and
 * refused. Reading is sequential; memory is one packed block (256 KiB) and the decoder's window. */
#ifndef FLIPBOOK_READ_SOURCE_H
#define FLIPBOOK_READ_SOURCE_H

#include <flipbook/base.h>

typedef enum flip_wrapping {
    FLIP_WRAPPING_PLAIN,
    FLIP_WRAPPING_GZIP,
    FLIP_WRAPPING_ZSTD
} flip_wrapping;
const char *flip_wrapping_name(flip_wrapping wrapping);

typedef struct flip_source flip_source;

flip_status flip_source_open(flip_source **source, const char *path);
/* Bytes in memory in place of a file (borrowed); `name` stands in messages. */
flip_status flip_source_open_memory(flip_source **source, const char *name, const void *bytes,
                                    size_t size);
void flip_source_close(flip_source **source);
/* Fills `out` with `capacity` bytes; fewer only at the end of the data. */
flip_status flip_source_read(flip_source *source, void *out, size_t capacity, size_t *got);
const char *flip_source_path(const flip_source *source);
flip_wrapping flip_source_wrapping(const flip_source *source);
int64_t flip_source_size(const flip_source *source); /* bytes on disk; -1 where unknown (a pipe) */
int64_t flip_source_done(const flip_source *source); /* bytes on disk taken so far */

#endif
