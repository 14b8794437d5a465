/* --direction out: a node gathers from the nodes its events point to. The adjacency is built of the
 * reversed events, which live with their sources; pairs and labels stay as they are. */
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

/* Sorted events to the owners of their destinations; *received from flip_alloc. */
static flip_status send_to_owners(const flip_data *data, const event *list, int64_t n,
                                  event **received, int64_t *n_received) {
    int size = flip_comm_size(data->comm);
    int64_t *counts;
    flip_status status;
    FLIP_TRY(flip_alloc_zero(&counts, 3 * (size_t)size, sizeof *counts, "counts"));
    int64_t *send = counts, *receive = counts + size, *one = counts + 2 * size;
    for (int64_t i = 0, r = 0; i < n; i++) {
        while (list[i].dst >= data->rank_first[r + 1])
            r++;
        send[r]++;
    }
    for (int r = 0; r < size; r++)
        one[r] = 1;
    FLIP_TRY_GOTO(flip_comm_all_to_all(data->comm, send, one, receive, one, sizeof *send));
    *n_received = 0;
    for (int r = 0; r < size; r++)
        *n_received += receive[r];
    FLIP_TRY_GOTO(flip_alloc(received, (size_t)*n_received, sizeof *list, "reversed events"));
    FLIP_TRY_GOTO(flip_comm_all_to_all(data->comm, list, send, *received, receive, sizeof *list));
done:
    flip_free(counts);
    return status;
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
    event *list = NULL, *received = NULL;
    int64_t n = events->n, n_received = 0;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc(&list, (size_t)n, sizeof *list, "reversed events"));
    for (int64_t i = 0; i < n; i++)
        list[i] = (event){.dst = events->src[i],
                          .src = events->dst[i],
                          .step = events->step ? events->step[i] : 0,
                          .weight = events->weight ? events->weight[i] : 1};
    qsort(list, (size_t)n, sizeof *list, by_destination);
    if (flip_comm_size(data->comm) > 1) {
        FLIP_TRY_GOTO(send_to_owners(data, list, n, &received, &n_received));
        flip_free(list);
        list = received;
        n = n_received;
    }
    FLIP_TRY_GOTO(take_events(data, list, n));
done:
    flip_free(list);
    return status;
}
