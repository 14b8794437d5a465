/* A graph of doubled edges and a sampler on it, known whole to every rank, for tests of sampled
 * batches. */
#ifndef FLIPBOOK_TESTS_SAMPLE_WORLD_H
#define FLIPBOOK_TESTS_SAMPLE_WORLD_H

#include <flipbook/sample.h>

#include "ranks.h"

enum { NODES = 60, EVENTS = 900, STEPS = 7, LAYERS = 2, SEEDS = 9 };

static flip_comm *comm;
static int rank, size;
static flip_gid dst[EVENTS], src[EVENTS], first[8];
static int32_t step_of[EVENTS];
static double weight_of[EVENTS];
static int64_t original[NODES];
static int64_t times[NODES][NODES]; /* events of (destination, source) */

static uint64_t draw(uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(99, FLIP_STREAM_TEST, what, i, below);
}

/* Node NODES-1 has no in-edges, node 0 a hundred; edges are doubled; with three ranks or more rank
 * 1 owns nothing. Weights grow with the source. */
static void make_world(void) {
    for (uint64_t i = 0; i < EVENTS; i++) {
        dst[i] = i < 100 ? 0 : (flip_gid)draw(1, i, NODES - 1);
        src[i] = i % 5 == 4 ? src[i - 1] : (flip_gid)draw(2, i, NODES);
        if (i % 5 == 4) dst[i] = dst[i - 1];
        step_of[i] = (int32_t)draw(3, i, STEPS);
        weight_of[i] = i % 31 == 0 ? 0 : 0.25 + (double)src[i] / NODES;
        times[dst[i]][src[i]]++;
    }
    for (int32_t v = 0; v < NODES; v++)
        original[v] = (v * 11 + 5) % NODES;
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r * r / ((flip_gid)size * size);
    if (size >= 3) first[2] = first[1];
}

static void begin_world(void) {
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    make_world();
}

/* This rank's events; arrays by the caller. */
static flip_events own_events(flip_gid *d, flip_gid *s, int32_t *t, double *w, bool steps,
                              bool weighted) {
    int64_t n = 0;
    for (int i = 0; i < EVENTS; i++) {
        if (dst[i] < first[rank] || dst[i] >= first[rank + 1]) continue;
        d[n] = dst[i];
        s[n] = src[i];
        t[n] = step_of[i];
        w[n++] = weight_of[i];
    }
    return (flip_events){
        .n = n, .dst = d, .src = s, .step = steps ? t : NULL, .weight = weighted ? w : NULL};
}

static flip_sampler *make_sampler(flip_sampler_params p, bool weighted) {
    static flip_gid d[EVENTS], s[EVENTS];
    static int32_t t[EVENTS];
    static double w[EVENTS];
    flip_events events = own_events(d, s, t, w, p.temporal, weighted);
    flip_sampler *sampler;
    p.rank_first = first;
    p.original = original + first[rank];
    p.events = &events;
    if (p.layers == 0) p.layers = LAYERS;
    CHECK_OK(flip_sampler_create(&sampler, comm, &p));
    return sampler;
}

/* Seeds of this rank in the batch whose seeds, of all ranks, are node[n]. */
static int32_t own_seeds(flip_gid *mine, int64_t *ids, const flip_gid *node, int32_t n) {
    int32_t k = 0;
    for (int32_t i = 0; i < n; i++)
        if (node[i] >= first[rank] && node[i] < first[rank + 1]) {
            ids[k] = original[node[i]];
            mine[k++] = node[i];
        }
    return k;
}

static void take(flip_sampler *s, flip_batch *b, const flip_gid *node, int32_t n, int64_t epoch) {
    flip_gid mine[NODES];
    int64_t ids[NODES];
    int32_t k = own_seeds(mine, ids, node, n);
    CHECK_OK(flip_sampler_draw(s, b, k, mine, ids, NULL, epoch));
}

static flip_gid id_of_original(int64_t o) {
    for (int32_t v = 0; v < NODES; v++)
        if (original[v] == o) return v;
    return -1;
}

/* Global id of row i of any layer. */
static flip_gid row_id(const flip_batch *b, int32_t i) {
    return id_of_original(b->original[i]);
}

#endif
