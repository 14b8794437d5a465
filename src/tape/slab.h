/* A slab of numbers that host code and kernels read and write in turns: one memory on a CPU; on a
 * device two, where it is received once the host asks for it and sent once the kernels do. */
#ifndef FLIP_TAPE_SLAB_H
#define FLIP_TAPE_SLAB_H

#include <flipbook/kernels.h>

typedef struct slab {
    const flip_kernels *kernels; /* whose memory has `placed`; NULL before it was placed */
    void *host, *placed;         /* on a CPU one */
    size_t bytes;
    bool out; /* in the host's hands */
} slab;

/* n zeros of `size` bytes, the host's. */
flip_status slab_init(slab *s, size_t n, size_t size, const char *what);
void slab_finish(slab *s);
/* It lies in these kernels' memory from now on, as it stands. */
flip_status slab_place(slab *s, const flip_kernels *kernels, const char *what);
void *slab_host(slab *s);   /* for the host, until slab_placed */
void *slab_placed(slab *s); /* for the kernels, until slab_host */

#endif
