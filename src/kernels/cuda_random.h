/* Chance on a device: flip_random and flip_dropout_keep, bit for bit. */
#ifndef FLIPBOOK_KERNELS_CUDA_RANDOM_H
#define FLIPBOOK_KERNELS_CUDA_RANDOM_H

#include "kernels/cuda.h"

#include <Random123/philox.h>

__device__ static inline flip_random4 flip_cuda_random(uint64_t seed, flip_stream stream,
                                                       uint64_t a, uint64_t b) {
    philox4x32_ctr_t counter = {
        {(uint32_t)b, (uint32_t)(b >> 32), (uint32_t)a, (uint32_t)(a >> 32)}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32) ^ ((uint32_t)stream << 24)}};
    philox4x32_ctr_t drawn = philox4x32(counter, key);
    return flip_random4{{drawn.v[0], drawn.v[1], drawn.v[2], drawn.v[3]}};
}

/* Columns 4q … 4q+3 of a row of n share one draw: bit b tells whether column 4q+b is kept. */
__device__ static inline unsigned flip_cuda_keep_four(uint64_t seed, uint64_t draw, int64_t key,
                                                      int64_t n, int64_t q, uint64_t from) {
    flip_random4 r = flip_cuda_random(seed, FLIP_STREAM_DROPOUT, draw,
                                      (uint64_t)key * (uint64_t)((n + 3) / 4) + (uint64_t)q);
    unsigned bits = 0;
    for (unsigned b = 0; b < 4; b++)
        bits |= (unsigned)(r.v[b] >= from) << b;
    return bits;
}

#endif
