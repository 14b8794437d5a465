/* What one epoch of training would exchange and compute in a distribution on any number of ranks:
 * bytes counted, seconds modelled. */
#ifndef FLIPBOOK_TRAIN_SIMULATE_H
#define FLIPBOOK_TRAIN_SIMULATE_H

#include <flipbook/model.h>
#include <flipbook/volume.h>

typedef enum flip_simulated {
    FLIP_SIMULATED_NODES,
    FLIP_SIMULATED_TIME,
    FLIP_SIMULATED_WAVEFRONT,
    FLIP_SIMULATED_WINDOW,
    FLIP_SIMULATED_GRID,
    FLIP_SIMULATED_COUNT
} flip_simulated;
extern const char *const flip_simulated_names[FLIP_SIMULATED_COUNT];

/* This machine, measured, and a network, stated. */
typedef struct flip_machine {
    double seconds_a_value; /* of an aggregation: one entry at one step, one column */
    double flops;           /* of products, a second */
    double copy;            /* bytes a second read or written */
    double bandwidth;       /* bytes a second a rank sends */
    double latency;         /* seconds a message */
} flip_machine;

/* One epoch: forward and backward of the training pass, one block. Bytes are sums over ranks; those
 * of a task's head and its pairs are not among them. */
typedef struct flip_simulation {
    flip_simulated distribute;
    int32_t ranks, n_time;
    uint64_t halo, redistribute, state, window, allreduce;
    flip_volume_counts counts;
    double flops_most, flops_all;   /* dense, of the busiest rank and of all */
    double recurrent_most;          /* of these, the busiest rank's in recurrent parts */
    double values_most, values_all; /* entries x steps x columns aggregated */
    double touched_most;            /* bytes read or written between products and aggregations */
    double seconds;                 /* a model */
} flip_simulation;

/* Chunks of time of a grid: the largest divisor of the ranks up to their square root, above 1; 0:
 * there is none. */
int32_t flip_grid_chunks(int32_t ranks);

/* Any model. *has: the model and this number of ranks have the distribution. Collective where the
 * volume is shared. */
flip_status flip_simulate(flip_simulation *out, bool *has, const flip_volume *volume,
                          const flip_model_params *model, flip_simulated distribute, int32_t ranks,
                          const flip_machine *machine);

#endif
