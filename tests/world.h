/* A small changing graph known whole to every rank, for tests of models. Before it: NODES, EVENTS,
 * STEPS, IN, CLASSES, PAIRS, WORLD_SEED and PAIR_CLASSES. */
#ifndef FLIPBOOK_TESTS_WORLD_H
#define FLIPBOOK_TESTS_WORLD_H

#include "ranks.h"

static flip_comm *comm;
static int rank, size;
static const bool wide = sizeof(flip_real) == 8;

static flip_gid dst[EVENTS], src[EVENTS], first[8], pair_u[PAIRS], pair_v[PAIRS];
static int32_t step_of[EVENTS], pair_step[PAIRS], label[NODES * STEPS], pair_label[PAIRS];
static int64_t original[NODES];
static flip_real features[NODES * STEPS * IN];

static uint64_t draw(uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(WORLD_SEED, FLIP_STREAM_TEST, what, i, below);
}

/* Node NODES-1 has no in-edges; with three ranks or more rank 1 owns nothing. */
static void make_world(void) {
    for (uint64_t i = 0; i < EVENTS; i++) {
        dst[i] = (flip_gid)draw(1, i, NODES - 1);
        src[i] = (flip_gid)draw(2, i, NODES);
        step_of[i] = (int32_t)draw(3, i, STEPS);
    }
    for (uint64_t i = 0; i < PAIRS; i++) {
        pair_u[i] = (flip_gid)draw(4, i, NODES);
        pair_v[i] = (flip_gid)draw(5, i, NODES);
        pair_step[i] = (int32_t)draw(6, i, STEPS);
        pair_label[i] = (int32_t)draw(7, i, PAIR_CLASSES);
    }
    for (int32_t v = 0; v < NODES; v++)
        original[v] = (v * 11 + 5) % NODES;
    for (int32_t i = 0; i < NODES * STEPS; i++)
        label[i] = (int32_t)draw(8, (uint64_t)i, CLASSES + 1) - 1;
    for (uint64_t i = 0; i < NODES * STEPS * IN; i++)
        features[i] = (flip_real)(flip_random_normal(WORLD_SEED, FLIP_STREAM_TEST, 9, i) / 2);
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r * r / ((flip_gid)size * size);
    if (size >= 3) first[2] = first[1];
}

#endif
