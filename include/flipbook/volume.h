/* Flipbook: volume — what a distribution moves and leaves to each rank, counted from the graph.
 *
 * One rank holds all events of a graph in parts and counts, for any number of ranks, what they
 * would exchange and aggregate in one pass over the timeline in one block; or all ranks, each with
 * the events of its own nodes, count the same for themselves. Nothing is estimated: halo rows are
 * those of the real partition, differences those of the real snapshots.
 */
#ifndef FLIPBOOK_VOLUME_H
#define FLIPBOOK_VOLUME_H

#include <flipbook/snapshots.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flip_volume flip_volume;
/* Local. events of all nodes 0 … part_first[n_parts] - 1. params: kind (GCN and attention have a
 * diagonal), steps first_step … first_step + n_steps - 1 are walked, edge_life, window. */
flip_status flip_volume_create(flip_volume **volume, const flip_events *events, int32_t n_parts,
                               const flip_gid *part_first, const flip_adjacency_params *params);
/* Collective: every rank brings the events of its own nodes, rank_first [size + 1]; a part is what
 * a rank owns. Counts of full and delta transfers are left 0. comm is borrowed until the end. */
flip_status flip_volume_create_shared(flip_volume **volume, flip_comm *comm,
                                      const flip_gid *rank_first, const flip_events *events,
                                      const flip_adjacency_params *params);
void flip_volume_destroy(flip_volume **volume);
int64_t flip_volume_nodes(const flip_volume *volume);
int32_t flip_volume_steps(const flip_volume *volume); /* that are walked */

typedef struct flip_volume_counts {
    int64_t halo;   /* sum over ranks of halo rows x own steps: times w width, an exchange */
    int64_t moved;  /* sum over ranks of T_p (N - N_p): rows x steps that change layout */
    int64_t handed; /* nodes whose state goes to the next chunk */
    int64_t band;   /* sum over chunks of N min(window - 1, steps before it): rows x steps */
    uint64_t full, delta, resident;  /* bytes to the devices, a forward pass; resident: a run */
    uint64_t differences;            /* delta without falling back to full */
    int64_t values_most, values_all; /* entries x steps aggregated, with the diagonal */
    int64_t cells_most;              /* rows x steps in the time layout */
    int64_t own_most;                /* rows x steps in the node layout */
    int32_t steps_most;              /* steps of a rank */
} flip_volume_counts;
/* ranks: a multiple of n_time; ranks beyond the parts are empty. Of a shared volume: collective,
 * and ranks are those of comm. */
flip_status flip_volume_count(const flip_volume *volume, int32_t ranks, int32_t n_time,
                              flip_volume_counts *counts);

#ifdef __cplusplus
}
#endif
#endif
