/* Training on sampled batches. Data flow: batch_items.c takes the items of a batch and their seeds,
 * src/sample draws, batch_rows.c brings the rows that the first layer reads, batch.c runs model,
 * loss, backward and a step of the optimiser. */
#ifndef FLIPBOOK_TRAIN_BATCH_H
#define FLIPBOOK_TRAIN_BATCH_H

#include "train/internal.h"

/* What of a batch is read of the features; memory of the most there has been. */
typedef struct flip_batch_rows {
    flip_real *input;      /* in place: rows of other ranks [n_input, in_dim]; else all, those of
                              mfg[0]'s destinations first */
    flip_real *self;       /* in place or packed: [n_dst, in_dim] of mfg[0]'s destinations */
    flip_real *aggregated; /* aggregates: [n_dst, in_dim] mfg[0] times its sources */
    uint8_t *codes;        /* of the store: packed rows [n_input, stride] */
    const flip_real *x;    /* input, or self where sums are made with the rows */
    size_t room[4];        /* rows */
} flip_batch_rows;

struct flip_batching {
    flip_sampler *sampler;
    flip_batch *batch;
    flip_batches order;
    bool in_place;   /* the first layer reads own rows where they stand */
    bool aggregates; /* … and reads sums, which are made with the rows */
    flip_batch_rows rows;
    flip_store *store; /* NULL without a cache: rows come as they are */
    int64_t n_items;
    int64_t *item; /* node tasks: [n_items] own row; link: [n_items + 1] first pair in the set */
    /* of one batch */
    int32_t n_seeds;
    size_t room;
    flip_gid *seed;    /* [n_seeds] */
    int64_t *original; /* [n_seeds] */
    int32_t *label;    /* of seeds, link: of pairs */
    flip_real *target; /* [n_seeds, n_classes] regression */
    flip_gid *end;     /* link: rows of both ends among the seeds */
    flip_pairs *pairs; /* link: of these rows */
};

/* Items that are the same in every epoch. Collective. */
flip_status flip_batch_items(flip_batching *b, const flip_data *data);
/* The epoch's items and their order. Collective. */
flip_status flip_batch_epoch(flip_batching *b, const flip_data *data, int64_t epoch);
/* This rank's seeds, labels and pairs of batch k. Local. */
flip_status flip_batch_seeds(flip_batching *b, const flip_data *data, int64_t k);
void flip_batch_seeds_finish(flip_batching *b);
/* The rows of b->batch. Collective. */
flip_status flip_batch_rows_fetch(flip_batching *b, const flip_data *data);
/* b->store, where the settings want a cache; b->order is made. Collective. */
flip_status flip_batch_store_create(flip_batching *b, const flip_data *data);
/* Do rows come out of a store? With a cache, and packed ones on several ranks. */
bool flip_batch_stored(const flip_data *data);
/* Rows [n_input, stride] out of the store. Collective. */
flip_status flip_batch_store_fetch(flip_batching *b, void *rows);
void flip_batch_rows_finish(flip_batch_rows *rows);

#endif
