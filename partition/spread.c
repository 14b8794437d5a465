/* What a full result would cost after the graph has grown.
 *
 * A node is a halo row of each part, other than its own, that holds a destination of its events.
 * Let a share f of all (source, destination) pairs cross, to any of the K-1 other parts alike. A
 * source with d distinct destinations is then expected in
 *
 *     (K-1) (1 - (1 - f/(K-1))^d)        of them,
 *
 * and the sum over nodes is the halo. f is fitted to the halo that a full run found; with the same
 * f and the degrees of today the sum says what that run's quality would mean on today's graph: more
 * nodes count more, and more edges too, but ever less where a node is wanted everywhere already. On
 * an unchanged graph it is the full run's halo itself. (Halo per node would call growing density a
 * worse cut, halo per edge would never call anything one once most rows are halo.) */
#include "partition/internal.h"

#include <math.h>

/* How many distinct destinations each node sends to. */
static flip_status count_destinations(void *degrees, int64_t row, const int64_t *src,
                                      const int32_t *count, int64_t n) {
    int64_t *degree = degrees;
    (void)count;
    for (int64_t e = 0; e < n; e++)
        degree[src[e]] += src[e] != row;
    return FLIP_OK;
}

flip_status flip_spread_count(flip_spread *s, flip_comm *comm, const flip_reader *reader,
                              int64_t n_nodes, int32_t n_parts) {
    flip_status status = FLIP_OK;
    int64_t *degree = NULL;
    *s = (flip_spread){.n_parts = n_parts};
    status = flip_alloc_zero(&degree, (size_t)n_nodes, sizeof *degree, "degrees");
    if (status == FLIP_OK)
        status = flip_scan_walk(reader, flip_comm_rank(comm), flip_comm_size(comm),
                                count_destinations, degree);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_comm_sum_i64(comm, degree, (size_t)n_nodes));
    for (int64_t v = 0; v < n_nodes; v++) {
        const int32_t d = degree[v] < FLIP_SPREAD_MOST ? (int32_t)degree[v] : FLIP_SPREAD_MOST - 1;
        s->nodes[d]++;
        if (d > s->most) s->most = d;
    }
done:
    flip_free(degree);
    return status;
}

double flip_spread_halo(const flip_spread *s, double crossing) {
    double others = s->n_parts - 1, sum = 0;
    if (others < 1) return 0;
    for (int32_t d = 1; d <= s->most; d++)
        if (s->nodes[d] > 0)
            sum += (double)s->nodes[d] * others * (1 - pow(1 - crossing / others, d));
    return sum;
}

/* By bisection: the sum grows with f. */
double flip_spread_crossing(const flip_spread *s, int64_t halo) {
    double low = 0, high = 1;
    if (halo <= 0) return 0;
    if (flip_spread_halo(s, high) <= (double)halo) return high;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (flip_spread_halo(s, middle) < (double)halo)
            low = middle;
        else
            high = middle;
    }
    return high;
}
