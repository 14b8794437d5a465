/* Plain, gzip and zstd files as one sequence of bytes. */
#include "datasets/read_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { BLOCK = 256 << 10 }; /* packed bytes read at a time */

struct flip_source {
    char *path;
    int file; /* -1: bytes in memory */
    int64_t size, done;
    flip_wrapping wrapping;
    uint8_t *block; /* owned; or borrowed memory when file is -1 */
    size_t begin, end;
    bool ended;  /* the file has no more bytes */
    bool inside; /* in the middle of a gzip member or zstd frame */
    z_stream inflate;
    bool inflating;
    ZSTD_DStream *zstd;
};

const char *flip_wrapping_name(flip_wrapping wrapping) {
    static const char *const names[] = {"plain", "gzip", "zstd"};
    return names[wrapping];
}

/* Formats people pass by mistake: say what it is and what to do. */
static const struct {
    const char *bytes;
    size_t length;
    const char *what, *remedy;
} foreign[] = {
    {"PK\003\004", 4, "a zip archive", "unpack it first: unzip"},
    {"BZh", 3, "a bzip2 file", "unpack it first: bunzip2"},
    {"\xFD"
     "7zXZ",
     5, "an xz file", "unpack it first: unxz"},
    {"\x04\x22\x4D\x18", 4, "an lz4 file", "unpack it first: lz4 -d"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file", "flipbook info reads Flipbook's own files"},
    {"PAR1", 4, "a Parquet file", "write it as CSV first"},
    {"SQLite format 3", 15, "an SQLite database", "export a table as CSV first"},
    {"\xFF\xFE", 2, "UTF-16 text", "convert it first: iconv -f UTF-16 -t UTF-8"},
    {"\xFE\xFF", 2, "UTF-16 text", "convert it first: iconv -f UTF-16 -t UTF-8"},
};

static flip_status refill(flip_source *source) {
    source->begin = source->end = 0;
    while (source->end < BLOCK && !source->ended) {
        ssize_t n = read(source->file, source->block + source->end, BLOCK - source->end);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return FLIP_FAIL(FLIP_ERROR_IO, "'%s': cannot read after %lld bytes: %s", source->path,
                             (long long)source->done, strerror(errno));
        if (n == 0) source->ended = true;
        source->end += (size_t)n;
        source->done += n;
    }
    return FLIP_OK;
}

static flip_status start_decoder(flip_source *source) {
    const uint8_t *head = source->block;
    size_t length = source->end;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (length >= foreign[i].length && !memcmp(head, foreign[i].bytes, foreign[i].length))
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' is %s, expected text, plain or packed with gzip or zstd; %s",
                             source->path, foreign[i].what, foreign[i].remedy);
    if (length >= 2 && head[0] == 0x1F && head[1] == 0x8B) {
        source->wrapping = FLIP_WRAPPING_GZIP;
        if (inflateInit2(&source->inflate, 15 + 16) != Z_OK)
            return FLIP_FAIL(FLIP_ERROR_MEMORY, "'%s': zlib cannot start", source->path);
        source->inflating = true;
    } else if (length >= 4 && !memcmp(head, "\x28\xB5\x2F\xFD", 4)) {
        source->wrapping = FLIP_WRAPPING_ZSTD;
        source->zstd = ZSTD_createDStream();
        if (!source->zstd)
            return FLIP_FAIL(FLIP_ERROR_MEMORY, "'%s': zstd cannot start", source->path);
    }
    return FLIP_OK;
}

static flip_status open_file(flip_source *source, const char *path) {
    struct stat info;
    source->file = open(path, O_RDONLY | O_CLOEXEC);
    if (source->file < 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(source->file, &info) != 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot look at '%s': %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' is a folder, expected a file", path);
    source->size = S_ISREG(info.st_mode) ? info.st_size : -1;
    FLIP_TRY(flip_alloc(&source->block, 1, BLOCK, "read buffer"));
    return refill(source);
}

static flip_status create(flip_source **source, const char *path) {
    FLIP_TRY(flip_alloc_zero(source, 1, sizeof **source, "source"));
    (*source)->file = -1;
    (*source)->path = strdup(path);
    if (!(*source)->path) return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate a file name");
    return FLIP_OK;
}

flip_status flip_source_open(flip_source **source, const char *path) {
    flip_status status;
    *source = NULL;
    FLIP_TRY_GOTO(create(source, path));
    FLIP_TRY_GOTO(open_file(*source, path));
    FLIP_TRY_GOTO(start_decoder(*source));
    return FLIP_OK;
done:
    flip_source_close(source);
    return status;
}

flip_status flip_source_open_memory(flip_source **source, const char *name, const void *bytes,
                                    size_t size) {
    flip_status status;
    *source = NULL;
    FLIP_TRY_GOTO(create(source, name));
    (*source)->block = (uint8_t *)bytes;
    (*source)->end = size;
    (*source)->size = (*source)->done = (int64_t)size;
    (*source)->ended = true;
    FLIP_TRY_GOTO(start_decoder(*source));
    return FLIP_OK;
done:
    flip_source_close(source);
    return status;
}

void flip_source_close(flip_source **source) {
    flip_source *s = *source;
    if (!s) return;
    if (s->inflating) inflateEnd(&s->inflate);
    ZSTD_freeDStream(s->zstd);
    if (s->file >= 0) {
        close(s->file);
        flip_free(s->block);
    }
    free(s->path);
    flip_free(s);
    *source = NULL;
}

/* What a packed file that stops early or holds garbage says. */
static flip_status broken(flip_source *source, const char *why) {
    return FLIP_FAIL(
        FLIP_ERROR_INPUT,
        "'%s': its %s data is broken after %lld packed bytes (%s); copy or download the file again",
        source->path, flip_wrapping_name(source->wrapping),
        (long long)(source->done - (int64_t)(source->end - source->begin)), why);
}

static flip_status read_plain(flip_source *source, uint8_t *out, size_t capacity, size_t *got) {
    size_t n = source->end - source->begin;
    if (n > capacity) n = capacity;
    memcpy(out, source->block + source->begin, n);
    source->begin += n;
    *got = n;
    while (*got < capacity && !source->ended) { /* straight into the caller's block */
        ssize_t more = read(source->file, out + *got, capacity - *got);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0)
            return FLIP_FAIL(FLIP_ERROR_IO, "'%s': cannot read after %lld bytes: %s", source->path,
                             (long long)source->done, strerror(errno));
        if (more == 0) source->ended = true;
        *got += (size_t)more;
        source->done += more;
    }
    return FLIP_OK;
}

/* One call of zlib: from the packed block into out; sets *made. */
static flip_status step_gzip(flip_source *source, uint8_t *out, size_t capacity, size_t *made) {
    z_stream *z = &source->inflate;
    if (!source->inside) { /* a further member, or the end; zeros after the end are padding */
        while (source->begin < source->end && source->block[source->begin] == 0 && source->done)
            source->begin++;
        if (source->begin == source->end) {
            *made = 0;
            return FLIP_OK;
        }
        inflateReset(z);
        source->inside = true;
    }
    z->next_in = source->block + source->begin;
    z->avail_in = (uInt)(source->end - source->begin);
    z->next_out = out;
    z->avail_out = (uInt)(capacity < 1u << 30 ? capacity : 1u << 30);
    uInt room = z->avail_out;
    int code = inflate(z, Z_NO_FLUSH);
    source->begin = source->end - z->avail_in;
    *made = room - z->avail_out;
    if (code == Z_STREAM_END)
        source->inside = false;
    else if (code != Z_OK && code != Z_BUF_ERROR)
        return broken(source, z->msg ? z->msg : "not a gzip member");
    return FLIP_OK;
}

static flip_status step_zstd(flip_source *source, uint8_t *out, size_t capacity, size_t *made) {
    ZSTD_inBuffer in = {source->block, source->end, source->begin};
    ZSTD_outBuffer to = {out, capacity, 0};
    size_t code = ZSTD_decompressStream(source->zstd, &to, &in);
    if (ZSTD_isError(code)) return broken(source, ZSTD_getErrorName(code));
    source->begin = in.pos;
    source->inside = code != 0;
    *made = to.pos;
    return FLIP_OK;
}

flip_status flip_source_read(flip_source *source, void *out, size_t capacity, size_t *got) {
    *got = 0;
    if (source->wrapping == FLIP_WRAPPING_PLAIN) return read_plain(source, out, capacity, got);
    while (*got < capacity) {
        size_t before, made = 0;
        if (source->begin == source->end && !source->ended) FLIP_TRY(refill(source));
        if (source->begin == source->end && !source->inside) break;
        before = source->begin;
        uint8_t *to = (uint8_t *)out + *got;
        FLIP_TRY(source->wrapping == FLIP_WRAPPING_GZIP
                     ? step_gzip(source, to, capacity - *got, &made)
                     : step_zstd(source, to, capacity - *got, &made));
        *got += made;
        bool starved = source->begin == source->end && source->ended;
        if (made == 0 && source->begin == before && (starved || source->begin < source->end)) {
            if (source->inside) return broken(source, "it ends too early");
            break;
        }
    }
    return FLIP_OK;
}

const char *flip_source_path(const flip_source *source) {
    return source->path;
}

flip_wrapping flip_source_wrapping(const flip_source *source) {
    return source->wrapping;
}

int64_t flip_source_size(const flip_source *source) {
    return source->size;
}

int64_t flip_source_done(const flip_source *source) {
    return source->done;
}
