/* Rows to learn a codec from: those with the smallest hashes of their keys, whoever has them. */
#include "store/choose.h"

#include <flipbook/store.h>

#include <stdlib.h>
#include <string.h>

enum { WINDOW_BYTES = 4 << 20 }; /* of rows that are read together */

/* A bijection of 64 bits (splitmix64's finisher) behind the seed: distinct keys have distinct
 * hashes, so that nothing depends on who is asked first. */
static uint64_t hash_of(uint64_t seed, int64_t key) {
    uint64_t z = ((uint64_t)key ^ seed * 0xD1342543DE82EF95u) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Rows of this rank that are drawn. */
typedef struct drawn {
    int64_t n;
    int64_t *key; /* [n] */
    float *rows;  /* [n, dim] */
} drawn;

/* *row [*n]: numbers of own rows that are drawn, ascending. */
static flip_status choose_rows(int64_t **row, int64_t *n, flip_comm *comm,
                               const flip_row_source *source, int64_t want, uint64_t seed) {
    flip_status status;
    uint64_t *hash = NULL;
    flip_chosen chosen;
    *n = 0;
    status = flip_alloc(&hash, (size_t)source->n, sizeof *hash, "hashes of rows");
    if (status == FLIP_OK) status = flip_alloc(row, (size_t)source->n, sizeof **row, "drawn rows");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    for (int64_t i = 0; i < source->n; i++) /* the smallest are the largest complements */
        hash[i] = ~hash_of(seed, source->key[i]);
    FLIP_TRY_GOTO(flip_choose_largest(&chosen, comm, source->n, hash, want));
    for (int64_t i = 0; i < source->n; i++)
        if (flip_chosen_next(&chosen, hash[i])) (*row)[(*n)++] = i;
done:
    flip_free(hash);
    return status;
}

/* Reads windows of rows, each from a drawn row on, and keeps the drawn ones. */
static flip_status read_rows(drawn *d, const flip_row_source *source, const int64_t *row) {
    flip_status status = FLIP_OK;
    size_t bytes = (size_t)source->dim * sizeof(float);
    int64_t most = (int64_t)(WINDOW_BYTES / (bytes ? bytes : 1)) + 1;
    float *window = NULL;
    FLIP_TRY_GOTO(flip_alloc(&d->key, (size_t)d->n, sizeof *d->key, "drawn rows"));
    FLIP_TRY_GOTO(flip_alloc(&d->rows, (size_t)d->n, bytes, "drawn rows"));
    FLIP_TRY_GOTO(flip_alloc(&window, (size_t)most, bytes, "a window of rows"));
    for (int64_t i = 0, end; i < d->n; i = end) {
        for (end = i + 1; end < d->n && row[end] - row[i] < most; end++)
            ;
        FLIP_TRY_GOTO(source->rows(source->data, row[i], row[end - 1] - row[i] + 1, window));
        for (int64_t j = i; j < end; j++) {
            d->key[j] = source->key[row[j]];
            memcpy((char *)d->rows + (size_t)j * bytes,
                   (char *)window + (size_t)(row[j] - row[i]) * bytes, bytes);
        }
    }
done:
    flip_free(window);
    return status;
}

typedef struct keyed {
    int64_t key, at;
} keyed;

static int by_key(const void *a, const void *b) {
    int64_t x = ((const keyed *)a)->key, y = ((const keyed *)b)->key;
    return (x > y) - (x < y);
}

/* Everything to rank 0. `all` is empty elsewhere. */
static flip_status gather(drawn *all, flip_comm *comm, const drawn *mine, size_t bytes) {
    flip_status status;
    size_t size = (size_t)flip_comm_size(comm);
    int64_t *to = NULL, *from;
    FLIP_TRY_GOTO(flip_alloc_zero(&to, 2 * size, sizeof *to, "counts of rows"));
    from = to + size;
    to[0] = mine->n;
    FLIP_TRY_GOTO(flip_comm_deal(comm, &all->key, &all->n, from, mine->key, to, sizeof *all->key));
    status = flip_alloc(&all->rows, (size_t)all->n, bytes, "drawn rows");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    status = flip_comm_all_to_all(comm, mine->rows, to, all->rows, from, bytes);
done:
    flip_free(to);
    return status;
}

static flip_status sort_rows(float **sample, const drawn *all, size_t bytes) {
    flip_status status;
    keyed *order = NULL;
    FLIP_TRY_GOTO(flip_alloc(&order, (size_t)all->n, sizeof *order, "drawn rows"));
    FLIP_TRY_GOTO(flip_alloc(sample, (size_t)all->n, bytes, "drawn rows"));
    for (int64_t i = 0; i < all->n; i++)
        order[i] = (keyed){.key = all->key[i], .at = i};
    qsort(order, (size_t)all->n, sizeof *order, by_key);
    for (int64_t i = 0; i < all->n; i++)
        memcpy((char *)*sample + (size_t)i * bytes, (char *)all->rows + (size_t)order[i].at * bytes,
               bytes);
done:
    flip_free(order);
    return status;
}

flip_status flip_rows_draw(float **sample, int64_t *n, flip_comm *comm,
                           const flip_row_source *source, int64_t want, uint64_t seed) {
    flip_status status;
    drawn mine = {0}, all = {0};
    int64_t *row = NULL;
    size_t bytes = (size_t)source->dim * sizeof(float);
    *sample = NULL;
    *n = 0;
    FLIP_TRY_GOTO(choose_rows(&row, &mine.n, comm, source, want, seed));
    FLIP_TRY_GOTO(flip_comm_agree(comm, read_rows(&mine, source, row)));
    FLIP_TRY_GOTO(gather(&all, comm, &mine, bytes));
    status = flip_comm_rank(comm) == 0 ? sort_rows(sample, &all, bytes) : FLIP_OK;
    status = flip_comm_agree(comm, status);
    if (status == FLIP_OK && *sample) *n = all.n;
done:
    if (status != FLIP_OK) {
        flip_free(*sample);
        *sample = NULL;
    }
    flip_free(row);
    flip_free(mine.key);
    flip_free(mine.rows);
    flip_free(all.key);
    flip_free(all.rows);
    return status;
}
