/* Pool: memory that comes back in any order.
 *
 * The tape gives tensors back in the order of the backward walk, which no stack of marks follows.
 * A request takes the lowest free stretch that fits; a freed block melts with free neighbours. On a
 * CPU one range of addresses is reserved: pages are touched only up to the highest address ever
 * used, and are kept, so that an epoch that repeats the last one's requests causes no page faults.
 * On a device memory is taken in pieces, when nothing that it has fits. A training step has some
 * hundred blocks, so plain lists are quick enough. */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Blocks of a piece stand by address, without gaps, up to its end; the pieces one after the other.
 */
typedef struct block {
    char *first;
    size_t size;
    int32_t piece;
    bool used;
} block;

typedef struct piece {
    char *base;
    size_t size, before; /* bytes of the pieces before it */
} piece;

struct pool {
    char name[32];
    const flip_kernels *kernels;
    piece *pieces; /* one on a CPU */
    int32_t n_pieces, max_pieces;
    size_t peak;
    block *blocks;
    size_t n_blocks, capacity;
};

enum { CPU_ALIGNMENT = 64, DEVICE_ALIGNMENT = 256 };

/* Addresses only: MAP_NORESERVE takes no memory. A limit on them (ulimit -v) halves the range. */
static flip_status reserve(pool *p) {
    piece *all = &p->pieces[0];
    all->base = MAP_FAILED;
    for (all->size = flip_memory_available(); all->size > (64u << 20); all->size /= 2) {
        all->base = mmap(NULL, all->size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (all->base != MAP_FAILED) break;
    }
    if (all->base == MAP_FAILED) {
        all->base = NULL;
        return FLIP_FAIL(FLIP_ERROR_MEMORY, "cannot reserve addresses for %s", p->name);
    }
    madvise(all->base, all->size, MADV_HUGEPAGE);
    p->n_pieces = 1;
    return FLIP_OK;
}

flip_status pool_create(pool **out, const char *name, const flip_kernels *kernels) {
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, name));
    pool *p = *out;
    snprintf(p->name, sizeof p->name, "%s", name);
    p->kernels = kernels;
    p->capacity = 256;
    p->max_pieces = 1;
    flip_status status = flip_alloc(&p->blocks, p->capacity, sizeof(block), name);
    if (status == FLIP_OK) status = flip_alloc_zero(&p->pieces, 1, sizeof(piece), name);
    if (status == FLIP_OK && !kernels->on_device) status = reserve(p);
    if (status != FLIP_OK)
        pool_destroy(out);
    else
        pool_reset(p);
    return status;
}

void pool_destroy(pool **out) {
    pool *p = *out;
    if (!p) return;
    for (int32_t i = 0; i < p->n_pieces; i++) {
        if (p->kernels->on_device)
            p->kernels->give_back(p->pieces[i].base);
        else
            munmap(p->pieces[i].base, p->pieces[i].size);
    }
    flip_free(p->pieces);
    flip_free(p->blocks);
    flip_free(p);
    *out = NULL;
}

void pool_reset(pool *p) {
    for (int32_t i = 0; i < p->n_pieces; i++)
        p->blocks[i] = (block){.first = p->pieces[i].base, .size = p->pieces[i].size, .piece = i};
    p->n_blocks = (size_t)p->n_pieces;
}

static flip_status make_room(pool *p, size_t blocks) {
    if (blocks <= p->capacity) return FLIP_OK;
    FLIP_TRY(flip_grow(&p->blocks, p->n_blocks, 2 * blocks, sizeof(block), p->name));
    p->capacity = 2 * blocks;
    return FLIP_OK;
}

/* A further piece of the device's memory, of at least so many bytes and a quarter of what there is,
 * so that there are few. */
static flip_status add_piece(pool *p, size_t bytes) {
    const piece *last = p->n_pieces > 0 ? &p->pieces[p->n_pieces - 1] : NULL;
    const size_t before = last ? last->before + last->size : 0;
    const size_t least = FLIP_DEVICE_PIECE;
    size_t size = before / 4 > least ? before / 4 : least;
    if (size > p->kernels->available() / 2) size = bytes;
    if (size < bytes) size = bytes;
    if (p->n_pieces == p->max_pieces) {
        FLIP_TRY(flip_grow(&p->pieces, (size_t)p->n_pieces, 2 * (size_t)p->max_pieces,
                           sizeof(piece), p->name));
        p->max_pieces *= 2;
    }
    FLIP_TRY(make_room(p, p->n_blocks + 1));
    piece *new = &p->pieces[p->n_pieces];
    FLIP_TRY(p->kernels->take(&new->base, size, p->name));
    new->size = size;
    new->before = before;
    p->blocks[p->n_blocks++] = (block){.first = new->base, .size = size, .piece = p->n_pieces++};
    return FLIP_OK;
}

/* The lowest free block that fits; n_blocks: none does. */
static size_t find_free(const pool *p, size_t bytes) {
    size_t i = 0;
    while (i < p->n_blocks && (p->blocks[i].used || p->blocks[i].size < bytes))
        i++;
    return i;
}

static flip_status no_room(const pool *p, size_t bytes) {
    return FLIP_FAIL(FLIP_ERROR_MEMORY,
                     "%s: %.1f MB more do not fit this machine's %.1f MB; use more ranks, a "
                     "smaller --hidden or fewer --layers",
                     p->name, (double)bytes / 1e6, (double)p->pieces[0].size / 1e6);
}

flip_status pool_alloc(pool *p, void *out_pointer, size_t bytes) {
    const size_t unit = p->kernels->on_device ? DEVICE_ALIGNMENT : CPU_ALIGNMENT;
    *(void **)out_pointer = NULL;
    if (bytes > SIZE_MAX - unit) return no_room(p, bytes);
    bytes = bytes ? (bytes + unit - 1) / unit * unit : unit;
    size_t i = find_free(p, bytes);
    if (i == p->n_blocks && p->kernels->on_device) FLIP_TRY(add_piece(p, bytes));
    FLIP_TRY(make_room(p, p->n_blocks + 1));
    if (i == p->n_blocks) return no_room(p, bytes);
    block *b = &p->blocks[i];
    if (b->size > bytes) {
        memmove(b + 2, b + 1, (p->n_blocks - i - 1) * sizeof *b);
        b[1] = (block){.first = b->first + bytes, .size = b->size - bytes, .piece = b->piece};
        p->n_blocks++;
    }
    b->size = bytes;
    b->used = true;
    const piece *in = &p->pieces[b->piece];
    const size_t end = in->before + (size_t)(b->first - in->base) + bytes;
    if (end > p->peak) p->peak = end;
    *(void **)out_pointer = b->first;
    return FLIP_OK;
}

/* Block i and its successor become one. */
static void melt(pool *p, size_t i) {
    p->blocks[i].size += p->blocks[i + 1].size;
    memmove(&p->blocks[i + 1], &p->blocks[i + 2], (p->n_blocks - i - 2) * sizeof(block));
    p->n_blocks--;
}

static bool joins(const pool *p, size_t i) {
    return i + 1 < p->n_blocks && !p->blocks[i].used && !p->blocks[i + 1].used &&
           p->blocks[i].piece == p->blocks[i + 1].piece;
}

/* The piece it lies in. */
static int32_t piece_of(const pool *p, const char *memory) {
    int32_t i = 0;
    while (i + 1 < p->n_pieces &&
           !(memory >= p->pieces[i].base && memory < p->pieces[i].base + p->pieces[i].size))
        i++;
    return i;
}

static size_t find(const pool *p, const void *memory) {
    const int32_t in = piece_of(p, memory);
    size_t low = 0, high = p->n_blocks;
    while (high - low > 1) { /* the last block that begins at or before it */
        size_t middle = (low + high) / 2;
        const block *b = &p->blocks[middle];
        if (b->piece < in || (b->piece == in && b->first <= (const char *)memory))
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
    if (joins(p, low)) melt(p, low);
    if (low > 0 && joins(p, low - 1)) melt(p, low - 1);
}

/* A device's pieces stay: giving them back waits for the device. */
void pool_trim(pool *p) {
    const size_t page = 2u << 20; /* the largest in use; the reservation begins on a page */
    for (size_t i = 0; i < p->n_blocks && !p->kernels->on_device; i++) {
        char *base = p->pieces[0].base;
        const size_t first = (size_t)(p->blocks[i].first - base);
        const size_t begin = (first + page - 1) / page * page;
        size_t end = first + p->blocks[i].size;
        end = end < p->peak ? end : p->peak; /* nothing was touched behind it */
        if (!p->blocks[i].used && begin < end) madvise(base + begin, end - begin, MADV_DONTNEED);
    }
}

size_t pool_peak(const pool *p) {
    return p->peak;
}
