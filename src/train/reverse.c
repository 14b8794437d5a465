/* --direction out: a node gathers from the nodes its events point to. Adjacencies, samplers and
 * estimates are made of the reversed events, which live with their sources; pairs, labels and
 * degrees as features stay as they are. */
#include "train/internal.h"

#include <stdlib.h>

typedef struct event {
    flip_gid dst, src;
    double weight;
    int32_t step;
} event;

static int by_destination(const void *a, const void *b) {
    const event *x = a, *y = b;
    if (x->dst != y->dst) return x->dst < y->dst ? -1 : 1;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    if (x->src != y->src) return x->src < y->src ? -1 : 1;
    return (x->weight > y->weight) - (x->weight < y->weight);
}

/* Sorted events to the owners of their destinations; *list is replaced. */
static flip_status send_to_owners(const flip_data *data, event **list, int64_t *n) {
    int64_t *send, total = 0;
    event *received;
    FLIP_TRY(flip_alloc_zero(&send, (size_t)flip_comm_size(data->comm), sizeof *send, "counts"));
    for (int64_t i = 0, r = 0; i < *n; i++) {
        while ((*list)[i].dst >= data->rank_first[r + 1])
            r++;
        send[r]++;
    }
    flip_status status =
        flip_comm_deal(data->comm, &received, &total, NULL, *list, send, sizeof **list);
    flip_free(send);
    if (status != FLIP_OK) return status;
    flip_free(*list);
    *list = received;
    *n = total;
    return FLIP_OK;
}

/* Replaces data->events by arrays of its own. */
static flip_status take_events(flip_data *data, const event *list, int64_t n) {
    bool steps = data->events.step != NULL, weights = data->events.weight != NULL;
    for (int k = 0; k < 4; k++) {
        flip_free(data->events_owned[k]);
        data->events_owned[k] = NULL;
    }
    FLIP_TRY(flip_alloc(&data->events_owned[0], (size_t)n, sizeof(flip_gid), "reversed events"));
    FLIP_TRY(flip_alloc(&data->events_owned[1], (size_t)n, sizeof(flip_gid), "reversed events"));
    FLIP_TRY(flip_alloc(&data->events_owned[2], (size_t)n, sizeof(int32_t), "reversed events"));
    FLIP_TRY(flip_alloc(&data->events_owned[3], (size_t)n, sizeof(double), "reversed events"));
    flip_gid *dst = data->events_owned[0], *src = data->events_owned[1];
    int32_t *step = data->events_owned[2];
    double *weight = data->events_owned[3];
    for (int64_t i = 0; i < n; i++) {
        dst[i] = list[i].dst;
        src[i] = list[i].src;
        step[i] = list[i].step;
        weight[i] = list[i].weight;
    }
    data->events = (flip_events){n, dst, src, steps ? step : NULL, weights ? weight : NULL};
    return FLIP_OK;
}

flip_status flip_data_reverse(flip_data *data) {
    const flip_events *events = &data->events;
    event *list = NULL;
    int64_t n = events->n;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&list, (size_t)n, sizeof *list, "reversed events"));
    for (int64_t i = 0; i < n; i++)
        list[i] = (event){.dst = events->src[i],
                          .src = events->dst[i],
                          .step = events->step ? events->step[i] : 0,
                          .weight = events->weight ? events->weight[i] : 1};
    qsort(list, (size_t)n, sizeof *list, by_destination);
    FLIP_TRY_GOTO(send_to_owners(data, &list, &n));
    FLIP_TRY_GOTO(take_events(data, list, n));
done:
    flip_free(list);
    return status;
}
