/* Pool: memory that comes back in any order.
 *
 * The tape gives tensors back in the order of the backward walk, which no stack of marks follows.
 * One range of addresses is reserved; a request takes the lowest free stretch that fits; a freed
 * block melts with free neighbours. Pages are touched only up to the highest address ever used, and
 * are kept: an epoch that repeats the last one's requests causes no page faults. A training step
 * has some hundred blocks, so plain lists are quick enough. */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

typedef struct block {
    size_t first, size; /* bytes from base */
    bool used;
} block;

struct pool {
    char name[32];
    char *base;
    size_t reserved, peak;
    block *blocks; /* by address, without gaps, up to the end of the reservation */
    size_t n_blocks, capacity;
};

enum { POOL_ALIGNMENT = 64 };

flip_status pool_create(pool **out, const char *name) {
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, name));
    pool *p = *out;
    snprintf(p->name, sizeof p->name, "%s", name);
    /* Addresses only: MAP_NORESERVE takes no memory. A limit on them (ulimit -v) halves the range.
     */
    p->base = MAP_FAILED;
    for (p->reserved = flip_memory_available(); p->reserved > (64u << 20); p->reserved /= 2) {
        p->base = mmap(NULL, p->reserved, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p->base != MAP_FAILED) break;
    }
    if (p->base == MAP_FAILED) {
        p->base = NULL;
        pool_destroy(out);
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot reserve addresses for %s", name);
    }
    madvise(p->base, p->reserved, MADV_HUGEPAGE);
    p->capacity = 256;
    flip_status status = flip_alloc(&p->blocks, p->capacity, sizeof(block), name);
    if (status != FLIP_OK)
        pool_destroy(out);
    else
        pool_reset(p);
    return status;
}

void pool_destroy(pool **out) {
    if (!*out) return;
    if ((*out)->base) munmap((*out)->base, (*out)->reserved);
    flip_free((*out)->blocks);
    flip_free(*out);
    *out = NULL;
}

void pool_reset(pool *p) {
    p->blocks[0] = (block){.first = 0, .size = p->reserved, .used = false};
    p->n_blocks = 1;
}

flip_status pool_alloc(pool *p, void *out_pointer, size_t bytes) {
    *(void **)out_pointer = NULL;
    if (bytes > p->reserved)
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "%s: %.1f MB do not fit this machine's %.1f MB",
                         p->name, (double)bytes / 1e6, (double)p->reserved / 1e6);
    bytes = bytes ? (bytes + POOL_ALIGNMENT - 1) / POOL_ALIGNMENT * POOL_ALIGNMENT : POOL_ALIGNMENT;
    if (p->n_blocks == p->capacity) {
        FLIP_TRY(flip_grow(&p->blocks, p->n_blocks, 2 * p->capacity, sizeof(block), p->name));
        p->capacity *= 2;
    }
    size_t i = 0;
    while (i < p->n_blocks && (p->blocks[i].used || p->blocks[i].size < bytes))
        i++;
    if (i == p->n_blocks)
        return FLIP_FAIL(FLIP_ERROR_MEMORY,
                         "%s: %.1f MB more do not fit this machine's %.1f MB; use more ranks, a "
                         "smaller --hidden or fewer --layers",
                         p->name, (double)bytes / 1e6, (double)p->reserved / 1e6);
    block *b = &p->blocks[i];
    if (b->size > bytes) {
        memmove(b + 2, b + 1, (p->n_blocks - i - 1) * sizeof *b);
        b[1] = (block){.first = b->first + bytes, .size = b->size - bytes, .used = false};
        p->n_blocks++;
    }
    b->size = bytes;
    b->used = true;
    if (b->first + bytes > p->peak) p->peak = b->first + bytes;
    *(void **)out_pointer = p->base + b->first;
    return FLIP_OK;
}

/* Block i and its successor become one. */
static void melt(pool *p, size_t i) {
    p->blocks[i].size += p->blocks[i + 1].size;
    memmove(&p->blocks[i + 1], &p->blocks[i + 2], (p->n_blocks - i - 2) * sizeof(block));
    p->n_blocks--;
}

static size_t find(const pool *p, const void *memory) {
    size_t first = (size_t)((const char *)memory - p->base), low = 0, high = p->n_blocks;
    while (high - low > 1) { /* the last block that begins at or before it */
        size_t middle = (low + high) / 2;
        if (p->blocks[middle].first <= first)
            low = middle;
        else
            high = middle;
    }
    return low;
}

size_t pool_size(const pool *p, const void *memory) {
    return memory ? p->blocks[find(p, memory)].size : 0;
}

void pool_free(pool *p, void *memory) {
    if (!memory) return;
    size_t low = find(p, memory);
    p->blocks[low].used = false;
    if (low + 1 < p->n_blocks && !p->blocks[low + 1].used) melt(p, low);
    if (low > 0 && !p->blocks[low - 1].used) melt(p, low - 1);
}

void pool_trim(pool *p) {
    const size_t page = 2u << 20; /* the largest in use; the reservation begins on a page */
    for (size_t i = 0; i < p->n_blocks; i++) {
        const size_t begin = (p->blocks[i].first + page - 1) / page * page;
        size_t end = p->blocks[i].first + p->blocks[i].size;
        end = end < p->peak ? end : p->peak; /* nothing was touched behind it */
        if (!p->blocks[i].used && begin < end) madvise(p->base + begin, end - begin, MADV_DONTNEED);
    }
}

size_t pool_peak(const pool *p) {
    return p->peak;
}
