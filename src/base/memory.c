/* Checked allocation, arenas with marks, and what the machine lets us use. */
#include <flipbook/base.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64 };
static const size_t huge_page = 2u << 20;
/* Bytes of an arena's chunks: the first is small, since many arenas hold little; each is twice the
 * one before, up to the largest. A request beyond that has a chunk of its own size. */
static const size_t chunk_first = 64u << 10, chunk_most = 8u << 20;

flip_status flip_narrow(int32_t *out, int64_t value, const char *what) {
    if (value < INT32_MIN || value > INT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "%s is %lld, more than one rank can index (2147483647); use more ranks",
                         what, (long long)value);
    *out = (int32_t)value;
    return FLIP_OK;
}

static flip_status padded_size(size_t *bytes, size_t count, size_t size, const char *what) {
    if (__builtin_mul_overflow(count, size, bytes) || *bytes > SIZE_MAX - 2 * huge_page)
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "%s: %zu items of %zu bytes overflow the address space",
                         what, count, size);
    *bytes = (*bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (*bytes == 0) *bytes = ALIGNMENT;
    return FLIP_OK;
}

/* Large blocks sit on huge pages where the kernel gives them: fewer faults, fewer TLB misses. */
static void *aligned(size_t bytes) {
    bool large = bytes >= 2 * huge_page;
    if (large) { /* keep glibc from raising its threshold: freed blocks go back to the system */
        mallopt(M_MMAP_THRESHOLD, (int)(2 * huge_page));
        mallopt(M_TRIM_THRESHOLD, (int)(4 * huge_page));
    }
    void *memory = aligned_alloc(large ? huge_page : ALIGNMENT,
                                 large ? (bytes + huge_page - 1) / huge_page * huge_page : bytes);
    if (memory && large) madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

flip_status flip_alloc(void *out_pointer, size_t count, size_t size, const char *what) {
    size_t bytes;
    *(void **)out_pointer = NULL;
    FLIP_TRY(padded_size(&bytes, count, size, what));
    void *memory = aligned(bytes);
    if (!memory)
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot allocate %.1f MB for %s", (double)bytes / 1e6,
                         what);
    *(void **)out_pointer = memory;
    return FLIP_OK;
}

flip_status flip_alloc_zero(void *out_pointer, size_t count, size_t size, const char *what) {
    FLIP_TRY(flip_alloc(out_pointer, count, size, what));
    memset(*(void **)out_pointer, 0, count * size);
    return FLIP_OK;
}

flip_status flip_grow(void *pointer, size_t kept, size_t count, size_t size, const char *what) {
    void *bigger;
    FLIP_TRY(flip_alloc(&bigger, count, size, what));
    void *old = *(void **)pointer;
    if (old) memcpy(bigger, old, kept * size);
    free(old);
    *(void **)pointer = bigger;
    return FLIP_OK;
}

void flip_free(void *pointer) {
    free(pointer);
}

/* ---- arenas ---- */

typedef struct chunk {
    char *memory;
    size_t size, used;
} chunk;

struct flip_arena {
    char name[32];
    chunk *chunks;
    size_t n_chunks, capacity, current;
    size_t used, peak;
};

flip_status flip_arena_create(flip_arena **arena, const char *name) {
    FLIP_TRY(flip_alloc_zero(arena, 1, sizeof **arena, name));
    snprintf((*arena)->name, sizeof(*arena)->name, "%s", name);
    return FLIP_OK;
}

void flip_arena_destroy(flip_arena **arena) {
    if (!*arena) return;
    for (size_t i = 0; i < (*arena)->n_chunks; i++)
        flip_free((*arena)->chunks[i].memory);
    flip_free((*arena)->chunks);
    flip_free(*arena);
    *arena = NULL;
}

static flip_status add_chunk(flip_arena *arena, size_t bytes) {
    if (arena->n_chunks == arena->capacity) {
        size_t capacity = arena->capacity ? 2 * arena->capacity : 16;
        FLIP_TRY(flip_grow(&arena->chunks, arena->n_chunks, capacity, sizeof(chunk), arena->name));
        arena->capacity = capacity;
    }
    size_t size = chunk_first;
    for (size_t i = 0; i < arena->n_chunks && size < chunk_most; i++)
        size *= 2;
    chunk fresh = {.size = bytes > size ? bytes : size};
    FLIP_TRY(flip_alloc(&fresh.memory, 1, fresh.size, arena->name));
    arena->chunks[arena->n_chunks++] = fresh;
    return FLIP_OK;
}

flip_status flip_arena_alloc(flip_arena *arena, void *out_pointer, size_t count, size_t size) {
    size_t bytes;
    *(void **)out_pointer = NULL;
    FLIP_TRY(padded_size(&bytes, count, size, arena->name));
    while (arena->current < arena->n_chunks &&
           arena->chunks[arena->current].used + bytes > arena->chunks[arena->current].size)
        arena->current++;
    if (arena->current == arena->n_chunks) FLIP_TRY(add_chunk(arena, bytes));
    chunk *c = &arena->chunks[arena->current];
    *(void **)out_pointer = c->memory + c->used;
    c->used += bytes;
    arena->used += bytes;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return FLIP_OK;
}

flip_mark flip_arena_mark(const flip_arena *arena) {
    size_t c = arena->current;
    return (flip_mark){.chunk = c, .used = c < arena->n_chunks ? arena->chunks[c].used : 0};
}

void flip_arena_reset(flip_arena *arena, flip_mark mark) {
    for (size_t i = mark.chunk; i < arena->n_chunks; i++) {
        size_t keep = i == mark.chunk ? mark.used : 0;
        arena->used -= arena->chunks[i].used - keep;
        arena->chunks[i].used = keep;
    }
    arena->current = mark.chunk;
}

size_t flip_arena_used(const flip_arena *arena) {
    return arena->used;
}

size_t flip_arena_peak(const flip_arena *arena) {
    return arena->peak;
}

/* ---- the machine ---- */

static size_t status_kilobytes(const char *key) {
    char line[256];
    size_t value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) value = strtoull(line + strlen(key), NULL, 10);
    fclose(file);
    return value * 1024;
}

size_t flip_memory_now(void) {
    return status_kilobytes("VmRSS:");
}

size_t flip_memory_peak(void) {
    return status_kilobytes("VmHWM:");
}

/* A limit of a control group: "max" and unreadable files are none. */
static size_t limit_in(const char *path) {
    char text[64] = "";
    FILE *file = fopen(path, "r");
    if (!file) return SIZE_MAX;
    size_t limit = fgets(text, sizeof text, file) ? strtoull(text, NULL, 10) : 0;
    fclose(file);
    return limit > 0 ? limit : SIZE_MAX;
}

/* The smallest limit on the way from group `path` up to the root: a job's stands some levels up. */
static size_t limit_above(const char *root, char *path, const char *name) {
    size_t least = SIZE_MAX;
    for (;;) {
        char file[1024];
        int length = snprintf(file, sizeof file, "%s%s/%s", root, path, name);
        if (length > 0 && length < (int)sizeof file) {
            size_t limit = limit_in(file);
            least = limit < least ? limit : least;
        }
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

/* Lines "0::/group" (version 2) and "7:memory:/group" (version 1). */
static size_t group_limit(void) {
    char line[768];
    size_t least = SIZE_MAX;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && fgets(line, sizeof line, file)) {
        char *path = strchr(line, '/');
        if (!path) continue;
        path[strcspn(path, "\n")] = 0;
        size_t limit = strncmp(line, "0::", 3) == 0
                           ? limit_above("/sys/fs/cgroup", path, "memory.max")
                       : strstr(line, ":memory:")
                           ? limit_above("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
                           : SIZE_MAX;
        least = limit < least ? limit : least;
    }
    if (file) fclose(file);
    return least;
}

size_t flip_memory_available(void) {
    size_t total = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    size_t limit = group_limit();
    return limit < total ? limit : total;
}
