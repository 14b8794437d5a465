/* Inside the graph stage: how snapshots reach the device. */
#ifndef FLIPBOOK_GRAPH_SNAPSHOTS_H
#define FLIPBOOK_GRAPH_SNAPSHOTS_H

#include <flipbook/snapshots.h>

struct flip_snapshots {
    flip_layout *layout; /* borrowed */
    flip_adjacency_params params;
    flip_transfer transfer;
    size_t event_bytes;         /* resident: of the events on the device */
    flip_adjacency **adjacency; /* [n_blocks] resident: all; else the one in use */
    int32_t block;              /* asked for last; -1 none */
    uint64_t forward, backward; /* bytes sent */
};

/* params of this rank's steps of a block; without steps one step without events. */
flip_adjacency_params flip_snapshots_params(const flip_snapshots *s, int32_t block);
/* Bytes towards the device, in the direction of the walk. */
void flip_snapshots_count(flip_snapshots *s, uint64_t bytes, bool backward);

/* snapshots_resident.c. Collective over layout->space. */
flip_status flip_resident_build(flip_snapshots *s, const flip_events *events);

#endif
