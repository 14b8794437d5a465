/* Tests of the store: a world of parts and rows, which rows are the hottest, which are asked for,
 * and how a program of them runs. */
#ifndef FLIPBOOK_TESTS_STORE_WORLD_H
#define FLIPBOOK_TESTS_STORE_WORLD_H

#include "ranks.h"

#include <flipbook/store.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 403, PARTS = 9, DIM = 6, MOST = 2000 };

static flip_comm *comm;
static int size, rank;

static inline uint64_t draw(uint64_t a, uint64_t b, uint64_t n) {
    return flip_random_below(11, FLIP_STREAM_TEST, a, b, n);
}

/* ---- a world: nine parts of which one is empty, dealt to the ranks so that one may be empty ----
 */

typedef struct world {
    flip_gid part_first[PARTS + 1], rank_first[5];
    double heat[NODES]; /* of all nodes */
    uint8_t *rows;      /* [own, stride] */
    size_t stride;
    flip_codec *codec;
    flip_store *store;
} world;

static inline float value(int64_t id, int32_t column) {
    return (float)(id * 10 + column);
}

/* Heat that falls inside parts, or does not. */
static inline void set_heat(world *w, bool falling, bool coarse) {
    for (int32_t p = 0; p < PARTS; p++) {
        double last = 1000;
        for (flip_gid v = w->part_first[p]; v < w->part_first[p + 1]; v++) {
            double u = flip_random_uniform(5, FLIP_STREAM_TEST, 1, (uint64_t)v);
            w->heat[v] = falling ? last * (0.8 + 0.2 * u) : 100 * u * u * u;
            if (coarse) w->heat[v] = floor(w->heat[v] / 40); /* many ties, many zeros */
            last = falling && !coarse ? w->heat[v] : last * 0.95;
        }
    }
}

static inline void codec_of(world *w, const float *all) {
    CHECK_OK(flip_codec_train(&w->codec, "uniform:4", DIM, NODES, all, 3, NULL, NULL));
    w->stride = flip_codec_stride(w->codec);
}

static inline void make_world(world *w, bool coded) {
    static const flip_gid bounds[] = {0, 60, 61, 150, 150, 201, 288, 290, 350, NODES};
    memset(w, 0, sizeof *w);
    memcpy(w->part_first, bounds, sizeof bounds);
    for (int r = 0; r <= size; r++) /* with four ranks, rank 1 owns the empty part alone */
        w->rank_first[r] = bounds[size == 4 ? (int[]){0, 3, 4, 6, 9}[r] : r * PARTS / size];
    float *all = malloc(sizeof *all * NODES * DIM);
    for (int64_t i = 0; i < NODES; i++)
        for (int32_t c = 0; c < DIM; c++)
            all[i * DIM + c] = value(i, c);
    w->stride = DIM * sizeof(float);
    if (coded) codec_of(w, all);
    int64_t n_own = w->rank_first[rank + 1] - w->rank_first[rank];
    w->rows = malloc((size_t)n_own * w->stride + 1);
    const float *mine = all + w->rank_first[rank] * DIM;
    if (coded)
        CHECK_OK(flip_codec_encode(w->codec, n_own, mine, NULL, w->rows));
    else
        memcpy(w->rows, mine, (size_t)n_own * w->stride);
    free(all);
}

static inline void end_world(world *w) {
    flip_store_destroy(&w->store);
    flip_codec_destroy(&w->codec);
    free(w->rows);
}

static inline flip_store_params params_of(const world *w, bool heat, bool anywhere,
                                          uint64_t bytes) {
    return (flip_store_params){.rank_first = w->rank_first,
                               .part_first = w->part_first,
                               .n_parts = PARTS,
                               .codec = w->codec,
                               .dim = DIM,
                               .rows = w->rows,
                               .heat = heat ? w->heat + w->rank_first[rank] : NULL,
                               .anywhere = anywhere,
                               .cache_bytes = bytes};
}

static inline void open_store(world *w, bool heat, bool anywhere, uint64_t bytes) {
    flip_store_params p = params_of(w, heat, anywhere, bytes);
    flip_store_destroy(&w->store);
    CHECK_OK(flip_store_create(&w->store, comm, &p));
}

/* The k hottest of n one by one. */
static inline void hottest(const double *heat, int64_t n, int64_t k, bool *in) {
    memset(in, 0, (size_t)n * sizeof *in);
    for (; k > 0; k--) {
        int64_t best = -1;
        for (int64_t v = 0; v < n; v++)
            if (!in[v] && (best < 0 || heat[v] > heat[best])) best = v;
        in[best] = true;
    }
}

/* ids of one of the patterns; how many. */
static inline int64_t pattern(const world *w, int kind, uint64_t turn, flip_gid *ids) {
    flip_gid own = w->rank_first[rank], n_own = w->rank_first[rank + 1] - own;
    int64_t n = (int64_t)draw(turn, 0, 300);
    if (kind == 0) return 0;                  /* nobody asks */
    if (kind == 1 && rank % 2 == 1) return 0; /* some ask */
    if (kind == 2) {                          /* all, in order */
        for (int64_t i = 0; i < NODES; i++)
            ids[i] = i;
        return NODES;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = (uint64_t)i * 8 + (uint64_t)rank;
        ids[i] = (flip_gid)draw(turn + 1, key, NODES);
        if (kind == 3 && n_own > 0) ids[i] = own + ids[i] % n_own; /* own alone */
        if (kind == 4 && n_own < NODES) ids[i] = (own + n_own + ids[i] % (NODES - n_own)) % NODES;
        if (kind == 5) ids[i] = 17 + ids[i] % 2; /* a hub */
    }
    return n;
}

/* Before and after the tests of a program; the ranks' communicator is `comm`. */
static inline bool begin_ranks(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return false;
    size = flip_comm_size(comm);
    rank = flip_comm_rank(comm);
    return true;
}

static inline int end_ranks(int failed) {
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed != 0;
}

#endif
