/* k-means over blocks of columns. */
#ifndef FLIPBOOK_CODEC_KMEANS_H
#define FLIPBOOK_CODEC_KMEANS_H

#include "codec/internal.h"

typedef struct flip_kmeans_params {
    int32_t width, length;
    int64_t ld; /* numbers from one entry to the next */
    int32_t rounds;
    bool cosine; /* entries are chosen by angle; they remain the mean of their members */
    bool tiring; /* BiFeat's end: (sum of the entries' moves)^2 below a bound that begins at
                    0.03 length and grows by a fifth each round */
    bool warm;   /* begin with the entries given */
    uint64_t seed, block; /* which rows begin: FLIP_STREAM_CODEC, a = block */
} flip_kmeans_params;

/* entry [length, ld] from rows x [n, width], contiguous, n >= length; code [n] (may be NULL): each
 * row's entry before the last move. The same for any number of threads. Empty entries take half of
 * the largest. */
flip_status flip_kmeans(float *entry, const flip_kmeans_params *params, int64_t n, const float *x,
                        int32_t *code);

#endif
