/* Which keys are the largest: four rounds over 16 bits each, a histogram of all ranks a round. */
#include "store/choose.h"

#include <string.h>

enum { DIGIT = 16, BINS = 1 << DIGIT };

static void count_digits(int64_t *bins, int64_t n, const uint64_t *key, uint64_t prefix,
                         int shift) {
    memset(bins, 0, BINS * sizeof *bins);
    for (int64_t i = 0; i < n; i++) {
        uint64_t high = shift + DIGIT < 64 ? key[i] >> (shift + DIGIT) : 0;
        if (high == prefix) bins[key[i] >> shift & (BINS - 1)]++;
    }
}

/* `ties` equal keys are left for all ranks: how many of them are this rank's. */
static flip_status share_ties(flip_chosen *chosen, flip_comm *comm, int64_t n, const uint64_t *key,
                              int64_t ties) {
    int64_t mine = 0, before = 0, *all;
    for (int64_t i = 0; i < n; i++)
        mine += key[i] == chosen->above;
    FLIP_TRY(flip_alloc(&all, (size_t)flip_comm_size(comm), sizeof *all, "equal keys of ranks"));
    flip_status status = FLIP_OK;
    if (flip_comm_size(comm) > 1) status = flip_comm_gather_all(comm, all, &mine, sizeof mine);
    for (int r = 0; r < flip_comm_rank(comm); r++)
        before += all[r];
    flip_free(all);
    chosen->ties = ties <= before ? 0 : ties - before < mine ? ties - before : mine;
    return status;
}

flip_status flip_choose_largest(flip_chosen *chosen, flip_comm *comm, int64_t n,
                                const uint64_t *key, int64_t k) {
    flip_status status;
    int64_t *bins = NULL, all = n;
    uint64_t prefix = 0;
    *chosen = (flip_chosen){.above = UINT64_MAX};
    status = flip_alloc(&bins, BINS, sizeof *bins, "histogram of keys");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(flip_comm_sum_i64(comm, &all, 1));
    if (k > all) k = all;
    if (k <= 0) goto done;
    for (int shift = 64 - DIGIT; shift >= 0; shift -= DIGIT) {
        int64_t digit = BINS - 1;
        count_digits(bins, n, key, prefix, shift);
        FLIP_TRY_GOTO(flip_comm_sum_i64(comm, bins, BINS));
        while (bins[digit] < k)
            k -= bins[digit--];
        prefix = prefix << DIGIT | (uint64_t)digit;
    }
    chosen->above = prefix;
    status = share_ties(chosen, comm, n, key, k);
done:
    flip_free(bins);
    return status;
}
