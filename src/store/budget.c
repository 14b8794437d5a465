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

/* Bytes of rows, second levels and lists. */
typedef struct bytes {
    int64_t rows, fine, lists;
} bytes;

static int64_t sum_of(const bytes *b) {
    return b->rows + b->fine + b->lists;
}

/* Those that items at least as dense as `least` take on the rank that takes most: rows stand on
 * all, lists on all but their owner. Collective. */
static flip_status bytes_above(bytes *all, flip_comm *comm, const flip_budget_params *p,
                               double least) {
    int64_t sum[3] = {0}, own = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (p->heat[i] >= least) sum[0] += (int64_t)p->stride;
        if (refined(p, i, least)) sum[1] += (int64_t)p->fine_stride;
        if (taken(p, i, least)) own -= p->list_bytes[i];
    }
    sum[2] = -own;
    FLIP_TRY(flip_comm_sum_i64(comm, sum, 3));
    FLIP_TRY(flip_comm_max_i64(comm, &own, 1));
    *all = (bytes){.rows = sum[0], .fine = sum[1], .lists = sum[2] + own};
    return FLIP_OK;
}

/* The least density whose items fit. Powers of two, then halves between them: items as dense as
 * one another are in or out together. Collective. */
static flip_status find_density(double *least, flip_comm *comm, const flip_budget_params *p) {
    enum { HALVINGS = 24, POWERS = 64 };
    double high = 0x1p40, low = 0;
    bytes all;
    *least = 0;
    FLIP_TRY(bytes_above(&all, comm, p, 0));
    if ((uint64_t)sum_of(&all) <= p->bytes) return FLIP_OK;
    for (int i = 0; i < 2 * POWERS; i++) {
        FLIP_TRY(bytes_above(&all, comm, p, high / 2));
        if ((uint64_t)sum_of(&all) > p->bytes) break;
        high /= 2;
    }
    low = high / 2;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        FLIP_TRY(bytes_above(&all, comm, p, middle));
        if ((uint64_t)sum_of(&all) <= p->bytes)
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
    bytes all;
    FLIP_TRY(find_density(&least, comm, p));
    FLIP_TRY(bytes_above(&all, comm, p, least));
    for (int64_t i = 0; i < p->n; i++)
        list[i] = taken(p, i, least);
    uint64_t most = (uint64_t)(all.fine + all.lists);
    shares->fine_bytes = (uint64_t)all.fine;
    shares->row_bytes = most < p->bytes ? p->bytes - most : 0;
    return FLIP_OK;
}
