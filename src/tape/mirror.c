/* Values that ranks exchange: MPI reads and writes the host's memory. On a CPU that is where they
 * lie; on a device they have a mirror in pinned memory, which is kept from call to call. An
 * attached communicator reads and writes the device's memory: there are no mirrors then. */
#include "internal.h"

typedef struct buffer {
    void *memory;
    size_t bytes;
    bool used;
} buffer;

struct mirrors {
    const flip_kernels *kernels;
    buffer *buffers;
    int32_t n, capacity;
};

flip_status mirrors_create(mirrors **out, const flip_kernels *kernels) {
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "mirrors of the device's memory"));
    (*out)->kernels = kernels;
    return FLIP_OK;
}

void mirrors_destroy(mirrors **out) {
    mirrors *all = *out;
    if (!all) return;
    for (int32_t i = 0; i < all->n; i++)
        all->kernels->give_back_pinned(all->buffers[i].memory);
    flip_free(all->buffers);
    flip_free(all);
    *out = NULL;
}

/* The smallest unused buffer that has so many bytes; else the largest unused one; else NULL. */
static buffer *find(mirrors *all, size_t bytes) {
    buffer *best = NULL;
    for (int32_t i = 0; i < all->n; i++) {
        buffer *b = &all->buffers[i];
        if (b->used) continue;
        const bool better =
            best && (best->bytes >= bytes ? b->bytes >= bytes && b->bytes < best->bytes
                                          : b->bytes > best->bytes);
        if (!best || better) best = b;
    }
    return best;
}

static flip_status add(mirrors *all, buffer **out) {
    if (all->n == all->capacity) {
        int32_t more = all->capacity ? 2 * all->capacity : 8;
        FLIP_TRY(flip_grow(&all->buffers, (size_t)all->n, (size_t)more, sizeof(buffer),
                           "mirrors of the device's memory"));
        all->capacity = more;
    }
    *out = &all->buffers[all->n++];
    **out = (buffer){.memory = NULL};
    return FLIP_OK;
}

/* What was sent out of a buffer's memory may still be on its way: it is waited for. */
static flip_status open_buffer(mirrors *all, size_t bytes, flip_real **host) {
    buffer *b = find(all, bytes);
    FLIP_TRY(all->kernels->wait());
    if (!b) FLIP_TRY(add(all, &b));
    if (!b->memory || b->bytes < bytes) {
        all->kernels->give_back_pinned(b->memory);
        b->memory = NULL;
        b->bytes = 0;
        FLIP_TRY(all->kernels->take_pinned(&b->memory, bytes, "what ranks exchange"));
        b->bytes = bytes;
    }
    b->used = true;
    *host = b->memory;
    return FLIP_OK;
}

flip_status mirror_open(flip_tape *tape, mirror *m, const flip_real *values, size_t n) {
    *m = (mirror){.values = (flip_real *)values, .host = (flip_real *)values};
    if (!values || !tape->kernels->on_device || flip_comm_direct(tape->comm)) return FLIP_OK;
    return open_buffer(tape->mirrors, n * sizeof *values, &m->host);
}

void mirror_close(flip_tape *tape, mirror *m) {
    mirrors *all = tape->mirrors;
    for (int32_t i = 0; m->host && i < all->n; i++)
        if (all->buffers[i].memory == m->host) all->buffers[i].used = false;
    *m = (mirror){.values = NULL};
}

void mirror_receive(const flip_tape *tape, const mirror *m, size_t first, size_t n) {
    if (m->host != m->values)
        tape->kernels->receive(m->host + first, m->values + first, n * sizeof *m->host);
}

void mirror_send(const flip_tape *tape, const mirror *m, size_t first, size_t n) {
    if (m->host != m->values)
        tape->kernels->send(m->values + first, m->host + first, n * sizeof *m->host);
}
