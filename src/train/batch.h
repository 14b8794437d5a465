/* Training on sampled batches. Data flow: batch.c takes the items of a batch and their seeds,
 * src/sample draws, batch_rows.c brings the rows that the first layer reads, batch_step.c runs
 * model, loss, backward and a step of the optimiser. */
#ifndef FLIPBOOK_TRAIN_BATCH_H
#define FLIPBOOK_TRAIN_BATCH_H

#include "train/internal.h"

/* What of a batch is read of the features; memory of the most there has been. */
typedef struct flip_batch_rows {
    flip_real *input;      /* in place: rows of other ranks [n_input, in_dim]; else all */
    flip_real *self;       /* in place: [n_dst, in_dim] of mfg[0]'s destinations */
    flip_real *aggregated; /* in place: [n_dst, in_dim] mfg[0] times its sources */
    size_t room[3];        /* rows */
} flip_batch_rows;

struct flip_batching {
    flip_sampler *sampler;
    flip_batch *batch;
    flip_batches order;
    bool in_place; /* the first layer reads own rows where they stand */
    flip_batch_rows rows;
    int64_t *item; /* node tasks: [order.n_mine] own row of each item; pairs: first pair of each */
    int64_t n_items, n_pairs;
    /* of one batch: seeds, and labels of seeds or pairs */
    int32_t n_seeds, n_labels;
    size_t room;
    flip_gid *seed;    /* [n_seeds] */
    int64_t *original; /* [n_seeds] */
    int32_t *label;    /* [n_labels] */
    flip_real *target; /* [n_labels, n_classes] regression */
    flip_pairs *pairs; /* of rows of seeds; NULL for node tasks */
};

/* The rows of b->batch. Collective. */
flip_status flip_batch_rows_fetch(flip_batching *b, const flip_data *data);
void flip_batch_rows_finish(flip_batch_rows *rows);

#endif
