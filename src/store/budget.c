/* One budget for rows, their second levels and lists of neighbours: greedily by the bytes that an
 * item saves between memories for each byte that it takes (DUCATI, SIGMOD'23, fills its two caches
 * so). The density at which the budget is full is found by halving; lists and second levels above
 * it are taken, the rest is the rows'. */
#include <flipbook/store.h>

static bool taken(const flip_budget_params *p, int64_t i, double least) {
    return p->list_bytes[i] > 0 && p->saved[i] > 0 &&
           p->saved[i] >= least * (double)p->list_bytes[i];
}

static bool refined(const flip_budget_params *p, int64_t i, double least) {
    return p->fine_heat && p->fine_heat[i] > 0 && p->fine_heat[i] >= least;
}

/* Bytes that items at least as dense as `least` take on the rank that takes most: rows stand on
 * all, lists on all but their owner. Collective. */
static flip_status bytes_above(int64_t *bytes, flip_comm *comm, const flip_budget_params *p,
                               double least) {
    int64_t sum[2] = {0}, own = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (p->heat[i] >= least) sum[0] += (int64_t)p->stride;
        if (refined(p, i, least)) sum[0] += (int64_t)p->fine_stride;
        if (taken(p, i, least)) own -= p->list_bytes[i];
    }
    sum[1] = -own;
    FLIP_TRY(flip_comm_sum_i64(comm, sum, 2));
    FLIP_TRY(flip_comm_max_i64(comm, &own, 1));
    *bytes = sum[0] + sum[1] + own;
    return FLIP_OK;
}

/* The least density whose items fit. Powers of two, then halves between them: items as dense as
 * one another are in or out together. Collective. */
static flip_status find_density(double *least, flip_comm *comm, const flip_budget_params *p) {
    enum { HALVINGS = 24, POWERS = 64 };
    double high = 0x1p40, low = 0;
    int64_t bytes;
    *least = 0;
    FLIP_TRY(bytes_above(&bytes, comm, p, 0));
    if ((uint64_t)bytes <= p->bytes) return FLIP_OK;
    for (int i = 0; i < 2 * POWERS; i++) {
        FLIP_TRY(bytes_above(&bytes, comm, p, high / 2));
        if ((uint64_t)bytes > p->bytes) break;
        high /= 2;
    }
    low = high / 2;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        FLIP_TRY(bytes_above(&bytes, comm, p, middle));
        if ((uint64_t)bytes <= p->bytes)
            high = middle;
        else
            low = middle;
    }
    *least = high;
    return FLIP_OK;
}

flip_status flip_budget_split(uint8_t *list, flip_budget_shares *shares, flip_comm *comm,
                              const flip_budget_params *p) {
    double least;
    int64_t sum[2] = {0}, own = 0;
    FLIP_TRY(find_density(&least, comm, p));
    for (int64_t i = 0; i < p->n; i++) {
        list[i] = taken(p, i, least);
        if (list[i]) own -= p->list_bytes[i];
        if (refined(p, i, least)) sum[1] += (int64_t)p->fine_stride;
    }
    sum[0] = -own;
    FLIP_TRY(flip_comm_sum_i64(comm, sum, 2));
    FLIP_TRY(flip_comm_max_i64(comm, &own, 1));
    uint64_t most = (uint64_t)(sum[0] + own + sum[1]);
    shares->fine_bytes = (uint64_t)sum[1];
    shares->row_bytes = most < p->bytes ? p->bytes - most : 0;
    return FLIP_OK;
}
