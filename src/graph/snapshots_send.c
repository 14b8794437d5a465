/* full and delta: what is sent so that the device holds the snapshots of a block. */
#include "graph/snapshots.h"

/* Step t, next to what the device holds on either side, or the first of all. */
static flip_status send_step(flip_snapshots *s, int32_t t, bool backward) {
    flip_device *d = &s->device;
    const bool first = d->low < 0, down = !first && t < d->low;
    const int32_t record = down ? t + 1 : t; /* the difference between record - 1 and record */
    uint64_t bytes = flip_timeline_full_bytes(&s->timeline, t);
    bool whole = first || s->transfer == FLIP_TRANSFER_FULL;
    if (!whole) {
        const uint64_t less = flip_timeline_delta_bytes(&s->timeline, record, down);
        whole = less > bytes;
        if (!whole) bytes = less;
    }
    if (whole) {
        FLIP_TRY(flip_timeline_snapshot(&s->timeline, t, &s->packet));
    } else {
        FLIP_TRY(flip_timeline_difference(&s->timeline, record, down, &s->packet));
    }
    FLIP_TRY(flip_device_send(d, t, &s->packet, whole));
    FLIP_TRY(flip_device_take(d, t));
    flip_snapshots_count(s, bytes, backward);
    return FLIP_OK;
}

flip_status flip_snapshots_send(flip_snapshots *s, const flip_adjacency_params *params,
                                bool towards_earlier) {
    flip_device *d = &s->device;
    const int32_t band = params->window > 1 ? params->window - 1 : 0;
    const int32_t low = params->first_step > band ? params->first_step - band : 0;
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
