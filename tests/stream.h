/* A random stream of events, for tests of snapshots; a function of its seed. */
#ifndef FLIPBOOK_TESTS_STREAM_H
#define FLIPBOOK_TESTS_STREAM_H

#include <flipbook/graph.h>

#include <stdlib.h>

typedef struct stream {
    int32_t n, steps, life, window;
    int64_t n_events;
    flip_gid *dst, *src;
    int32_t *step;
    double *weight;    /* or NULL */
    int64_t *original; /* [n] a permutation */
    uint64_t seed;
} stream;

enum { ONES, FRACTIONS, CANCELLING };

static inline uint64_t draw(const stream *g, uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(g->seed, FLIP_STREAM_TEST, what, i, below);
}

/* Few pairs, so that edges come back while they live and after; doubled ones within a step; a step
 * without any event; loops, and an account that everybody pays; weights that cancel. */
static inline stream make_stream(uint64_t seed, int32_t n, int32_t steps, int32_t pairs,
                                 int64_t events, int weights) {
    stream g = {.seed = seed, .n = n, .steps = steps, .n_events = events};
    const size_t e = (size_t)events + 1;
    g.dst = calloc(e, sizeof *g.dst);
    g.src = calloc(e, sizeof *g.src);
    g.step = calloc(e, sizeof *g.step);
    g.weight = weights != ONES ? calloc(e, sizeof *g.weight) : NULL;
    g.original = calloc((size_t)n + 1, sizeof *g.original);
    for (int32_t v = 0; v < n; v++)
        g.original[v] = flip_random_permute(seed, FLIP_STREAM_TEST, n, v);
    const int32_t quiet = (int32_t)draw(&g, 1, 0, (uint64_t)steps);
    for (int64_t i = 0; i < events; i++) {
        const uint64_t k = (uint64_t)i, pair = draw(&g, 2, k, (uint64_t)pairs);
        g.dst[i] = draw(&g, 12, pair, 9) == 0 ? n / 2 : (flip_gid)draw(&g, 3, pair, (uint64_t)n);
        g.src[i] = draw(&g, 4, pair, 7) == 0 ? g.dst[i] : (flip_gid)draw(&g, 5, pair, (uint64_t)n);
        g.step[i] = (int32_t)draw(&g, 6, k, (uint64_t)steps);
        if (g.step[i] == quiet) g.step[i] = (quiet + 1) % steps;
        if (i > 0 && draw(&g, 7, k, 5) == 0) {
            g.dst[i] = g.dst[i - 1];
            g.src[i] = g.src[i - 1];
            if (draw(&g, 8, k, 2)) g.step[i] = g.step[i - 1];
        }
        if (!g.weight) continue;
        g.weight[i] = draw(&g, 9, k, 3) ? flip_random_uniform(seed, FLIP_STREAM_TEST, 10, k) : 1;
        if (weights == CANCELLING && draw(&g, 11, k, 3) == 0) g.weight[i] = -1;
    }
    return g;
}

static inline void free_stream(stream *g) {
    free(g->dst);
    free(g->src);
    free(g->step);
    free(g->weight);
    free(g->original);
}

#endif
