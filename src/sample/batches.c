/* The order of seeds: items get dense numbers once, which a seeded bijection shuffles each epoch.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* A bijection of 64 bits (splitmix64's finisher): distinct keys have distinct hashes. */
static uint64_t hash_of(int64_t key) {
    uint64_t z = (uint64_t)key + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

typedef struct hashed {
    uint64_t hash;
    int64_t at;
} hashed;

static int by_hash(const void *a, const void *b) {
    uint64_t x = ((const hashed *)a)->hash, y = ((const hashed *)b)->hash;
    return (x > y) - (x < y);
}

/* Ranks of hashes [n] among those of all ranks, given that each rank has those of its share of the
 * range: number [n]. Collective. */
static flip_status number_share(flip_comm *comm, int64_t *number, int64_t n, const uint64_t *hash) {
    flip_status status;
    size_t size = (size_t)flip_comm_size(comm);
    int64_t before = 0, *counts = NULL;
    hashed *order = NULL;
    FLIP_TRY_GOTO(flip_alloc(&counts, size, sizeof *counts, "counts of items"));
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)n, sizeof *order, "order of items"));
    counts[0] = n;
    FLIP_TRY_GOTO(flip_comm_gather_all(comm, counts, &n, sizeof n));
    for (int r = 0; r < flip_comm_rank(comm); r++)
        before += counts[r];
    for (int64_t i = 0; i < n; i++)
        order[i] = (hashed){.hash = hash[i], .at = i};
    qsort(order, (size_t)n, sizeof *order, by_hash);
    for (int64_t i = 0; i < n; i++)
        number[order[i].at] = before + i;
done:
    flip_free(counts);
    flip_free(order);
    return status;
}

/* Own hashes in the order of the ranks that number them: sorted [n], at [n] whose they are, to
 * [size]. */
static void sort_by_share(int size, int64_t *to, uint64_t *sorted, int64_t *at, int64_t n,
                          const int64_t *key) {
    memset(to, 0, (size_t)size * sizeof *to);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < n; i++) {
            uint64_t hash = hash_of(key[i]);
            size_t owner = (size_t)(((hash >> 32) * (uint64_t)size) >> 32);
            if (pass == 1) {
                at[to[owner]] = i;
                sorted[to[owner]] = hash;
            }
            to[owner]++;
        }
        int64_t sum = 0;
        for (int r = 0; r < size && pass == 0; r++) {
            int64_t count = to[r];
            to[r] = sum;
            sum += count;
        }
    }
    for (int r = size - 1; r > 0; r--) /* ends to counts */
        to[r] -= to[r - 1];
}

static flip_status number_items(flip_batches *b, flip_comm *comm, const int64_t *key) {
    flip_status status;
    size_t size = (size_t)flip_comm_size(comm), n = (size_t)b->n_mine;
    int64_t *to = NULL, *from, *at = NULL, *number = NULL, *back = NULL, n_share = 0;
    uint64_t *sorted = NULL, *share = NULL;
    FLIP_TRY_GOTO(flip_alloc(&to, 2 * size, sizeof *to, "counts of items"));
    from = to + size;
    FLIP_TRY_GOTO(flip_alloc(&at, n, sizeof *at, "order of items"));
    FLIP_TRY_GOTO(flip_alloc(&sorted, n, sizeof *sorted, "order of items"));
    FLIP_TRY_GOTO(flip_alloc(&back, n, sizeof *back, "numbers of items"));
    sort_by_share((int)size, to, sorted, at, b->n_mine, key);
    FLIP_TRY_GOTO(flip_comm_deal(comm, &share, &n_share, from, sorted, to, sizeof *sorted));
    FLIP_TRY_GOTO(flip_alloc(&number, (size_t)n_share, sizeof *number, "numbers of items"));
    FLIP_TRY_GOTO(number_share(comm, number, n_share, share));
    FLIP_TRY_GOTO(flip_comm_all_to_all(comm, number, from, back, to, sizeof *back));
    for (size_t i = 0; i < n; i++)
        b->number[at[i]] = back[i];
done:
    flip_free(to);
    flip_free(at);
    flip_free(number);
    flip_free(back);
    flip_free(sorted);
    flip_free(share);
    return status;
}

static flip_status allocate(flip_batches *b, int64_t n_mine, int64_t n, int64_t batch) {
    int32_t fits;
    *b = (flip_batches){.n = n, .n_mine = n_mine, .batch = batch > 0 && batch < n ? batch : n};
    b->n_batches = n > 0 ? (n + b->batch - 1) / b->batch : 0;
    FLIP_TRY(flip_narrow(&fits, n_mine, "the number of items to train on"));
    FLIP_TRY(flip_alloc(&b->number, (size_t)n_mine, sizeof *b->number, "numbers of items"));
    FLIP_TRY(flip_alloc(&b->item, (size_t)n_mine, sizeof *b->item, "order of items"));
    return flip_alloc(&b->first, (size_t)b->n_batches + 1, sizeof *b->first, "batches");
}

flip_status flip_batches_create(flip_batches *b, flip_comm *comm, int64_t n_mine,
                                const int64_t *key, int64_t batch) {
    flip_status status;
    int64_t n = n_mine;
    FLIP_TRY_GOTO(flip_comm_sum_i64(comm, &n, 1));
    FLIP_TRY_GOTO(flip_comm_agree(comm, allocate(b, n_mine, n, batch)));
    FLIP_TRY_GOTO(number_items(b, comm, key));
    FLIP_TRY_GOTO(flip_comm_agree(comm, flip_batches_shuffle(b, 0, 0)));
done:
    if (status != FLIP_OK) flip_batches_finish(b);
    return status;
}

flip_status flip_batches_shuffle(flip_batches *b, uint64_t seed, int64_t epoch) {
    flip_status status;
    flip_random4 r = flip_random(seed, FLIP_STREAM_BATCH, (uint64_t)epoch, 0);
    uint64_t mine = (uint64_t)r.v[0] << 32 | r.v[1];
    int64_t *place = NULL; /* of item i in the epoch's order */
    int32_t *order = NULL;
    FLIP_TRY_GOTO(flip_alloc(&place, (size_t)b->n_mine, sizeof *place, "order of items"));
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)b->n_mine, sizeof *order, "order of items"));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < b->n_mine; i++)
        place[i] = flip_random_permute(mine, FLIP_STREAM_BATCH, b->n, b->number[i]);
    FLIP_TRY_GOTO(flip_order_by_key(order, place, (int32_t)b->n_mine));
    memset(b->first, 0, (size_t)(b->n_batches + 1) * sizeof *b->first);
    for (int64_t i = 0; i < b->n_mine; i++) {
        b->item[i] = order[i];
        b->first[place[i] / b->batch + 1]++;
    }
    for (int64_t k = 0; k < b->n_batches; k++)
        b->first[k + 1] += b->first[k];
done:
    flip_free(place);
    flip_free(order);
    return status;
}

void flip_batches_finish(flip_batches *b) {
    flip_free(b->number);
    flip_free(b->item);
    flip_free(b->first);
    *b = (flip_batches){0};
}
