/* The seal of a container: XXH3-128 of each slab, and a trailer that vouches for the table.
 *
 * HDF5's own checksums leave gaps (and its parser has had heap overflows), so no byte reaches it
 * before the whole file is known to be the one that was written. */
#include "container_private.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { HASH_BYTES = 16, TRAILER_BYTES = 64, SEAL_VERSION = 1 };
static const char magic[8] = "FLIPSEAL";
static const uint8_t hdf5_signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static void hash(uint8_t out[HASH_BYTES], const void *data, size_t bytes) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(out, canonical.digest, HASH_BYTES);
}

static void put_le(uint8_t *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)in[i] << 8 * i;
    return value;
}

static flip_status read_at(int fd, const char *path, void *out, size_t bytes, int64_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(fd, (char *)out + done, bytes - done, (off_t)(offset + (int64_t)done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return FLIP_FAIL(FLIP_ERROR_IO, "cannot read '%s': %s", path, strerror(errno));
        if (got == 0)
            return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' became shorter while it was read", path);
        done += (size_t)got;
    }
    return FLIP_OK;
}

static flip_status write_at(int fd, const char *path, const void *in, size_t bytes,
                            int64_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t put =
            pwrite(fd, (const char *)in + done, bytes - done, (off_t)(offset + (int64_t)done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0)
            return FLIP_FAIL(FLIP_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
        done += (size_t)put;
    }
    return FLIP_OK;
}

static int64_t slab_bytes(int64_t n_bytes, int64_t slab) {
    int64_t rest = n_bytes - slab * FLIP_SLAB_BYTES;
    return rest < FLIP_SLAB_BYTES ? rest : FLIP_SLAB_BYTES;
}

flip_status flip_seal_write(int fd, const char *path) {
    struct stat about;
    uint8_t *slab = NULL, *table = NULL, trailer[TRAILER_BYTES];
    flip_status status = FLIP_OK;
    if (fstat(fd, &about) != 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot examine '%s': %s", path, strerror(errno));
    int64_t n = about.st_size, n_slabs = (n + FLIP_SLAB_BYTES - 1) / FLIP_SLAB_BYTES;
    size_t table_bytes = (size_t)n_slabs * HASH_BYTES;
    FLIP_TRY_GOTO(flip_alloc(&slab, FLIP_SLAB_BYTES, 1, "a slab of the file"));
    FLIP_TRY_GOTO(flip_alloc(&table, table_bytes, 1, "the table of hashes"));
    for (int64_t i = 0; i < n_slabs; i++) {
        size_t bytes = (size_t)slab_bytes(n, i);
        FLIP_TRY_GOTO(read_at(fd, path, slab, bytes, i * FLIP_SLAB_BYTES));
        hash(table + i * HASH_BYTES, slab, bytes);
    }
    memcpy(trailer, magic, sizeof magic);
    put_le(trailer + 8, SEAL_VERSION, 4);
    put_le(trailer + 12, FLIP_SLAB_BYTES, 4);
    put_le(trailer + 16, (uint64_t)n, 8);
    put_le(trailer + 24, (uint64_t)n_slabs, 8);
    hash(trailer + 32, table, table_bytes);
    hash(trailer + 48, trailer, 48);
    FLIP_TRY_GOTO(write_at(fd, path, table, table_bytes, n));
    FLIP_TRY_GOTO(write_at(fd, path, trailer, sizeof trailer, n + (int64_t)table_bytes));
done:
    flip_free(slab);
    flip_free(table);
    return status;
}

/* Without a seal: say what it looks like instead, since that decides what to do. */
static flip_status fail_unsealed(int fd, const char *path, int64_t bytes) {
    uint8_t head[8] = {0};
    if (bytes == 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "'%s' is empty; expected a Flipbook container", path);
    if (bytes >= (int64_t)sizeof head) FLIP_TRY(read_at(fd, path, head, sizeof head, 0));
    if (memcmp(head, hdf5_signature, sizeof head) == 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' is an HDF5 file of %lld bytes without Flipbook's seal at its end: "
                         "it was cut short, changed, or written by another program; write it again",
                         path, (long long)bytes);
    return FLIP_FAIL(FLIP_ERROR_INPUT,
                     "'%s' is not a Flipbook container; make one from raw data with "
                     "`flipbook import`",
                     path);
}

flip_status flip_seal_read(flip_seal *seal, int fd, const char *path) {
    struct stat about;
    uint8_t trailer[TRAILER_BYTES], expected[HASH_BYTES], head[48];
    if (fstat(fd, &about) != 0)
        return FLIP_FAIL(FLIP_ERROR_IO, "cannot examine '%s': %s", path, strerror(errno));
    if (about.st_size < TRAILER_BYTES) return fail_unsealed(fd, path, about.st_size);
    FLIP_TRY(read_at(fd, path, trailer, sizeof trailer, about.st_size - TRAILER_BYTES));
    if (memcmp(trailer, magic, sizeof magic) != 0) return fail_unsealed(fd, path, about.st_size);
    hash(expected, trailer, 48);
    if (memcmp(expected, trailer + 48, HASH_BYTES) != 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' is damaged: the trailer does not match its own hash; restore it "
                         "from a copy or write it again",
                         path);
    if (get_le(trailer + 8, 4) != SEAL_VERSION || get_le(trailer + 12, 4) != FLIP_SLAB_BYTES)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has a seal of version %u with slabs of %u bytes; this Flipbook "
                         "reads version %d with %d: use the newer program",
                         path, (unsigned)get_le(trailer + 8, 4), (unsigned)get_le(trailer + 12, 4),
                         SEAL_VERSION, FLIP_SLAB_BYTES);
    uint64_t n = get_le(trailer + 16, 8), n_slabs = get_le(trailer + 24, 8);
    uint64_t size = (uint64_t)about.st_size;
    if (n > size || n_slabs != (n + FLIP_SLAB_BYTES - 1) / FLIP_SLAB_BYTES ||
        n + n_slabs * HASH_BYTES + TRAILER_BYTES != size)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' has %llu bytes, but its trailer speaks of %llu bytes of data in "
                         "%llu slabs: it was cut or joined with another file; restore it from a "
                         "copy or write it again",
                         path, (unsigned long long)size, (unsigned long long)n,
                         (unsigned long long)n_slabs);
    /* Only the checksummed superblocks (version 2 and up), at offset 0, with 8-byte addresses and
     * an end of file that is ours: the older ones carry no checksum. */
    if (n < sizeof head) return fail_unsealed(fd, path, about.st_size);
    FLIP_TRY(read_at(fd, path, head, sizeof head, 0));
    if (memcmp(head, hdf5_signature, 8) != 0 || head[8] < 2 || head[8] > 3 || head[9] != 8 ||
        head[10] != 8 || get_le(head + 28, 8) != n)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' is sealed but does not begin with the HDF5 superblock (version 2 or "
                         "3, %llu bytes) that Flipbook writes; it was made by another program",
                         path, (unsigned long long)n);
    *seal = (flip_seal){.n_bytes = (int64_t)n, .n_slabs = (int64_t)n_slabs};
    memcpy(seal->table_hash, trailer + 32, HASH_BYTES);
    return FLIP_OK;
}

static flip_status verify_table(const flip_seal *seal, int fd, const char *path, uint8_t *slab) {
    XXH3_state_t *state = XXH3_createState();
    XXH128_canonical_t found;
    flip_status status = FLIP_OK;
    int64_t bytes = seal->n_slabs * HASH_BYTES;
    if (!state)
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate the state of a hash for '%s'", path);
    XXH3_128bits_reset(state);
    for (int64_t at = 0; at < bytes; at += FLIP_SLAB_BYTES) {
        size_t piece = (size_t)(bytes - at < FLIP_SLAB_BYTES ? bytes - at : FLIP_SLAB_BYTES);
        FLIP_TRY_GOTO(read_at(fd, path, slab, piece, seal->n_bytes + at));
        XXH3_128bits_update(state, slab, piece);
    }
    XXH128_canonicalFromHash(&found, XXH3_128bits_digest(state));
    if (memcmp(found.digest, seal->table_hash, HASH_BYTES) != 0)
        status =
            FLIP_FAIL(FLIP_ERROR_INPUT,
                      "'%s' is damaged: the table of hashes (bytes %lld … %lld) does not match "
                      "the trailer; restore it from a copy or write it again",
                      path, (long long)seal->n_bytes, (long long)(seal->n_bytes + bytes - 1));
done:
    XXH3_freeState(state);
    return status;
}

flip_status flip_seal_verify(const flip_seal *seal, int fd, const char *path, int rank, int size) {
    uint8_t *slab = NULL, found[HASH_BYTES], expected[HASH_BYTES];
    flip_status status = FLIP_OK;
    int64_t first = seal->n_slabs * rank / size, last = seal->n_slabs * (rank + 1) / size;
    FLIP_TRY(flip_alloc(&slab, FLIP_SLAB_BYTES, 1, "a slab of the file"));
    if (rank == 0) FLIP_TRY_GOTO(verify_table(seal, fd, path, slab));
    for (int64_t i = first; i < last; i++) {
        size_t bytes = (size_t)slab_bytes(seal->n_bytes, i);
        FLIP_TRY_GOTO(read_at(fd, path, slab, bytes, i * FLIP_SLAB_BYTES));
        FLIP_TRY_GOTO(read_at(fd, path, expected, HASH_BYTES, seal->n_bytes + i * HASH_BYTES));
        hash(found, slab, bytes);
        if (memcmp(found, expected, HASH_BYTES) == 0) continue;
        status = FLIP_FAIL(FLIP_ERROR_INPUT,
                           "'%s' is damaged: bytes %lld … %lld (slab %lld of %lld) do not match "
                           "their hash; restore it from a copy or write it again",
                           path, (long long)(i * FLIP_SLAB_BYTES),
                           (long long)(i * FLIP_SLAB_BYTES + (int64_t)bytes - 1), (long long)i + 1,
                           (long long)seal->n_slabs);
        break;
    }
done:
    flip_free(slab);
    return status;
}
