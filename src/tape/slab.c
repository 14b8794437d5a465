#include "slab.h"

flip_status slab_init(slab *s, size_t n, size_t size, const char *what) {
    *s = (slab){.bytes = n * size};
    FLIP_TRY(flip_alloc_zero(&s->host, n, size, what));
    s->placed = s->host;
    return FLIP_OK;
}

static void take_down(slab *s) {
    if (s->placed != s->host) s->kernels->give_back(s->placed);
    s->placed = s->host;
}

void slab_finish(slab *s) {
    take_down(s);
    flip_free(s->host);
    *s = (slab){.host = NULL};
}

flip_status slab_place(slab *s, const flip_kernels *kernels, const char *what) {
    slab_host(s);
    take_down(s);
    s->kernels = kernels;
    if (!kernels->on_device) return FLIP_OK;
    s->placed = NULL;
    return kernels->take(&s->placed, s->bytes, what);
}

void *slab_host(slab *s) {
    if (s->placed != s->host && !s->out) s->kernels->receive(s->host, s->placed, s->bytes);
    s->out = true;
    return s->host;
}

void *slab_placed(slab *s) {
    if (s->placed != s->host && s->out) s->kernels->send(s->placed, s->host, s->bytes);
    s->out = false;
    return s->placed;
}
