/* How numbers travel: as they are, or in few bits. A communicator and those split from it share one
 * setting, which also numbers the messages of an epoch: what a message's draws are keyed by. */
#include "comm/internal.h"

#include "codec/groups.h"
#include "codec/mixed.h"

#include <string.h>

void flip_comm_wire(flip_comm *comm, flip_wire wire, uint64_t seed, int64_t epoch) {
    if (!comm) return;
    *comm->wire = (flip_wire_state){.wire = wire, .seed = seed, .epoch = epoch};
}

void flip_comm_wire_pause(flip_comm *comm, bool paused) {
    if (comm) comm->wire->paused = paused;
}

static int32_t bits_of(flip_wire wire) {
    return wire == FLIP_WIRE_BF16 ? 16 : wire == FLIP_WIRE_INT8 ? 8 : 4;
}

size_t flip_wire_bytes(flip_wire wire, size_t values) {
    if (wire == FLIP_WIRE_EXACT) return values * sizeof(flip_real);
    if (wire == FLIP_WIRE_ADAPTIVE) return flip_mixed_bytes((int64_t)values);
    return flip_groups_bytes((int64_t)values, bits_of(wire));
}

flip_status flip_wire_encode(flip_comm *comm, flip_wire wire, uint8_t *out, const flip_real *x,
                             size_t values) {
    flip_wire_state *s = comm->wire;
    flip_random4 r = flip_random(s->seed, FLIP_STREAM_WIRE, (uint64_t)s->epoch,
                                 s->messages++ << 16 | (uint64_t)comm->outer_rank);
    uint64_t key = (uint64_t)r.v[0] << 32 | r.v[1];
    if (wire == FLIP_WIRE_ADAPTIVE && flip_comm_direct(comm))
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "an adaptive wire's widths are chosen on the host");
    if (wire == FLIP_WIRE_ADAPTIVE) return flip_mixed_encode(out, x, (int64_t)values, key);
    flip_comm_kernels(comm)->encode_groups(out, x, (int64_t)values, bits_of(wire), key);
    return FLIP_OK;
}

flip_status flip_wire_decode(const flip_comm *comm, flip_wire wire, flip_real *x, const uint8_t *in,
                             size_t values) {
    if (wire == FLIP_WIRE_ADAPTIVE) return flip_mixed_decode(x, in, (int64_t)values);
    flip_comm_kernels(comm)->decode_groups(x, in, (int64_t)values, bits_of(wire));
    return FLIP_OK;
}
