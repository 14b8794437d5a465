/* Parts without looking at edges: ranges of ids, and random. */
#include "partition/internal.h"

void flip_partition_block(int32_t *part, int64_t n, int32_t n_parts) {
    for (int32_t k = 0; k < n_parts; k++)
        for (int64_t v = flip_share(n, k, n_parts); v < flip_share(n, k + 1, n_parts); v++)
            part[v] = k;
}

/* Equal parts of a random order. */
void flip_partition_random(int32_t *part, int64_t n, int32_t n_parts, uint64_t seed) {
    for (int32_t k = 0; k < n_parts; k++)
        for (int64_t i = flip_share(n, k, n_parts); i < flip_share(n, k + 1, n_parts); i++)
            part[flip_random_permute(seed, FLIP_STREAM_PARTITION, n, i)] = k;
}
