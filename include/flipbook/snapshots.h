/* Flipbook: snapshots — how the changing graph reaches the device.
 *
 *   host: this rank's events        device: the adjacency of one block of steps
 *   ┌───────────────────────────┐   full      every snapshot's entries (row, column, value):
 *   │ (dst, src, step, weight)  │             12 bytes each
 *   │                           │   delta     the first snapshot in full, then what changes:
 *   │                           │             8 bytes a removed or added entry, 12 a changed one
 *   └───────────────────────────┘   resident  the events once a run: 12 bytes each
 *
 * Snapshot t holds the distinct (row, column) pairs with an event in t-life+1 … t, value = sum of
 * their weights (SC'21 section 3.2, "graph difference"). What is sent are these raw values; the
 * device normalises (degrees, diagonal, TM-GCN's band), so that a value that changes only with its
 * row's degree travels never.
 *
 * An added or removed entry is one 64-bit word: row, column and, in the bits that these leave, the
 * value (removed: unused); a value that does not fit there costs 4 bytes more. New values are sent,
 * never increments; the words of a block and the values they replaced stay on the device, so that
 * going back to earlier steps restores the same bits. Where a difference would be larger than the
 * snapshot, the snapshot is sent. Patching happens on the device's copy.
 *
 * A forward pass over the timeline begins afresh: its first snapshot in full. Blocks that follow
 * each other, in either direction, continue by differences from the snapshot the device has; a
 * chunk that does not adjoin it begins in full. With a window of b, the b-1 snapshots before a
 * block are part of what it needs. A block that is asked for again while the device holds it costs
 * nothing: so one block's backward pass sends nothing.
 *
 * On the CPU the device's memory is a separate allocation. Bytes count as
 * FLIP_BYTES_GRAPH_TO_DEVICE. A GPU has what is sent (flip_snapshots_use) where its rank has all
 * nodes: it patches, and makes the matrix and its transpose there. Otherwise the host does, and the
 * matrix goes to the GPU as any other array that it reads.
 */
#ifndef FLIPBOOK_SNAPSHOTS_H
#define FLIPBOOK_SNAPSHOTS_H

#include <flipbook/layout.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_transfer {
    FLIP_TRANSFER_FULL,
    FLIP_TRANSFER_DELTA,
    FLIP_TRANSFER_RESIDENT
} flip_transfer;

typedef struct flip_snapshots flip_snapshots;
/* Collective over layout->world. events: those of flip_layout_deal_events (steps of the timeline,
 * destinations in this rank's part), borrowed until flip_snapshots_destroy, or, resident, until
 * this returns. params: n_steps is the timeline's. */
flip_status flip_snapshots_create(flip_snapshots **snapshots, flip_layout *layout,
                                  const flip_events *events, const flip_adjacency_params *params,
                                  flip_transfer transfer);
/* Steps' differences that are sent to a GPU before the host waits for it. */
enum { FLIP_SNAPSHOTS_AHEAD = 32 };
/* Bytes that the host has of so many steps beside a rank's events, full and delta. */
size_t flip_snapshots_steps_bytes(int32_t n_steps, int64_t n_events);
/* Why kernels do not make the matrices of snapshots where these lie; NULL: they can, unless a block
 * has too many entries. n_space: the layout's. */
const char *flip_snapshots_by_host(flip_transfer transfer, int32_t n_space);
/* Before the first block: snapshots lie, are patched, and become matrices in these kernels' memory,
 * bit for bit those that the host makes (flip_csr: placed). Where *why is not NULL then, nothing
 * has changed, and it tells why. Local, but layout->space is one rank where it is NULL. */
flip_status flip_snapshots_use(flip_snapshots *snapshots, const flip_kernels *kernels,
                               const char **why);
void flip_snapshots_destroy(flip_snapshots **snapshots);
/* A pass over the timeline begins: full and delta forget what the device holds. */
void flip_snapshots_begin(flip_snapshots *snapshots);
/* The adjacency of this rank's steps of a block, on the device: [n_rows x (n_rows | halo)] over
 * layout->space, n_steps = own steps of the block; rows without steps of their own give an
 * adjacency of 1 step that nobody aggregates over. Owned by snapshots; valid until the next call.
 * The same bits for every transfer. Collective over layout->space. */
flip_status flip_snapshots_block(flip_snapshots *snapshots, int32_t block,
                                 const flip_adjacency **adjacency);
/* Bytes sent to this rank's device since the beginning, walking forward and back (to an earlier
 * block); their sum is what the meter has. */
void flip_snapshots_sent(const flip_snapshots *snapshots, uint64_t *forward, uint64_t *backward);

/* What a pass sends, from the events alone (no device): stored entries of every snapshot, and
 * removed, added and changed ones against the snapshot before; [n_steps] each, of this rank's rows.
 */
typedef struct flip_difference {
    int64_t entries, added, removed, changed;
} flip_difference;
flip_status flip_snapshots_differences(flip_difference *differences, const flip_events *events,
                                       const flip_adjacency_params *params);

#ifdef __cplusplus
}
#endif
#endif
