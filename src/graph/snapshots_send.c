/* full and delta: what is sent so that the device holds the snapshots of a block. */
#include "graph/snapshots.h"

void flip_packets_use(flip_snapshots *s, const flip_kernels *kernels) {
    for (int i = 0; i < FLIP_SNAPSHOTS_AHEAD; i++) {
        flip_packet_finish(&s->packet[i]);
        s->packet[i].kernels = kernels;
    }
}

/* A packet that nobody reads any more. Without `later` each has arrived when it was taken. */
static flip_status next_packet(flip_snapshots *s, flip_packet **out) {
    uint64_t found = 0;
    if (s->sent - s->arrived == FLIP_SNAPSHOTS_AHEAD) {
        FLIP_TRY(flip_device_settle(&s->device, &found, 1));
        s->arrived = s->sent;
    }
    *out = &s->packet[s->sent - s->arrived];
    s->sent++;
    return FLIP_OK;
}

/* With one block of few steps each pass finds its packets as the last one left them. */
static flip_status make_packet(flip_snapshots *s, flip_packet *p, int32_t step, bool whole,
                               bool backward) {
    if (p->made && p->step == step && p->whole == whole && (whole || p->backward == backward))
        return FLIP_OK;
    p->made = false;
    FLIP_TRY(whole ? flip_timeline_snapshot(&s->timeline, step, p)
                   : flip_timeline_difference(&s->timeline, step, backward, p));
    p->made = true;
    p->step = step;
    p->whole = whole;
    p->backward = backward;
    return FLIP_OK;
}

/* Step t, next to what the device holds on either side, or the first of all. */
static flip_status send_step(flip_snapshots *s, int32_t t, bool backward) {
    flip_device *d = &s->device;
    const bool first = d->low < 0, down = !first && t < d->low;
    const int32_t record = down ? t + 1 : t; /* the difference between record - 1 and record */
    flip_packet *packet;
    FLIP_TRY(next_packet(s, &packet));
    uint64_t bytes = flip_timeline_full_bytes(&s->timeline, t);
    bool whole = first || s->transfer == FLIP_TRANSFER_FULL;
    if (!whole) {
        const uint64_t less = flip_timeline_delta_bytes(&s->timeline, record, down);
        whole = less > bytes;
        if (!whole) bytes = less;
    }
    FLIP_TRY(make_packet(s, packet, whole ? t : record, whole, down));
    packet->n_between =
        whole && !first ? flip_difference_changes(&s->timeline.difference[record]) : -1;
    FLIP_TRY(flip_device_send(d, t, packet, whole));
    FLIP_TRY(flip_device_take(d, t));
    if (!d->later || (whole && !first)) s->arrived = s->sent; /* the host has waited */
    flip_snapshots_count(s, bytes, backward);
    return FLIP_OK;
}

flip_status flip_snapshots_send(flip_snapshots *s, const flip_adjacency_params *params,
                                bool towards_earlier) {
    flip_device *d = &s->device;
    const int32_t low = params->first_step - flip_steps_before(params);
    const int32_t high = params->first_step + params->n_steps - 1;
    if (d->low >= 0 && (low > d->high + 1 || high < d->low - 1)) flip_device_forget(d);
    if (d->low < 0) FLIP_TRY(send_step(s, low, towards_earlier));
    while (d->high < high)
        FLIP_TRY(send_step(s, d->high + 1, towards_earlier));
    while (d->low > low)
        FLIP_TRY(send_step(s, d->low - 1, towards_earlier));
    FLIP_TRY(flip_device_move(d, d->now < low ? low : d->now > high ? high : d->now));
    flip_device_keep(d, low, high);
    return FLIP_OK;
}
