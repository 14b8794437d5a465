/* Training on sampled batches. Data flow: batch_items.c takes the items of a batch and their seeds,
 * src/sample draws, batch_rows.c brings the rows that the first layer reads, pipeline.c has that
 * done by the trainer itself or by a thread ahead of it, batch.c runs model, loss, backward and a
 * step of the optimiser.
 *
 *     slot k+1 … k+N: seeds ─▶ draw ─▶ rows │ slot k: forward, backward, reduce, step
 *
 * Where the model computes on a GPU and graph and features fit beside it, draw and rows are the
 * GPU's own work (batch_place.c), and there is one slot.
 */
#ifndef FLIPBOOK_TRAIN_BATCH_H
#define FLIPBOOK_TRAIN_BATCH_H

#include "train/internal.h"

#include <pthread.h>

/* What of a batch is read of the features; memory of the most there has been. */
typedef struct flip_batch_rows {
    flip_real *input;      /* in place: rows of other ranks [n_input, in_dim]; else all, those of
                              mfg[0]'s destinations first */
    flip_real *self;       /* in place or packed: [n_dst, in_dim] of mfg[0]'s destinations */
    flip_real *aggregated; /* aggregates: [n_dst, in_dim] mfg[0] times its sources */
    uint8_t *codes;        /* of the store: packed rows [n_input, stride] */
    struct {               /* of its second one: rows with a second level, in the input's order */
        int32_t n, *at;    /* [n_input] which of them a row's is, -1 = none */
        flip_gid *id;
        int64_t *key;
        uint8_t *codes; /* [n, stride] */
        size_t room[4];
    } fine;
    const flip_real *x; /* input, or self where sums are made with the rows */
    int64_t *key;       /* on a timeline: dropout's, of nodes and steps [mfg[0].n_src] */
    size_t room[5];     /* rows */
} flip_batch_rows;

/* What batches are made of. */
typedef enum flip_batch_kind {
    FLIP_BATCH_NODES, /* labelled nodes, each at its step */
    FLIP_BATCH_EDGES, /* labelled events */
    FLIP_BATCH_LINKS  /* true pairs with their non-edges, others every epoch */
} flip_batch_kind;
flip_batch_kind flip_batch_kind_of(const flip_data *data);

/* One batch, complete: all that the trainer reads of it. Memory is used again. */
typedef struct flip_batch_slot {
    flip_batch *batch;
    flip_batch_rows rows;
    int32_t n_seeds;
    size_t room;
    flip_gid *seed;    /* [n_seeds] */
    int64_t *original; /* [n_seeds] */
    int32_t *step;     /* [n_seeds] on a timeline: the step behind the embedding's; else NULL */
    int32_t *label;    /* of seeds, edges and links: of pairs */
    flip_real *target; /* [n_seeds, n_classes] regression */
    flip_gid *end;     /* edges, links: rows of both ends among the seeds */
    flip_pairs *pairs; /* edges, links: of these rows */
} flip_batch_slot;

/* Batches of an epoch on their way to the trainer. Batch k is in slot k % n_slots; between the
 * trainer's and that of the thread ahead stand at most n_slots - 1 complete ones. */
typedef struct flip_pipeline {
    flip_batch_slot *slot; /* [n_slots] */
    int32_t n_slots;       /* --prefetch + 1 */
    int threads;           /* OpenMP's of the thread ahead */
    const flip_data *data;
    int64_t epoch;
    flip_meter meter; /* of the thread ahead; WAIT: for a free slot */
    pthread_t thread;
    bool running, lost;        /* lost: the thread waits for a rank that is no more */
    pthread_mutex_t lock;      /* of what follows */
    pthread_cond_t come, gone; /* a batch was made, or will never be; a slot is free */
    int64_t made, used;        /* batches complete; batches the trainer is done with */
    bool closed;               /* no slot becomes free any more */
    flip_status status;        /* of the batch after the last that was made */
} flip_pipeline;

/* A timeline's features where batches are placed. */
typedef struct flip_placed_features {
    flip_real *fixed, *moving; /* as flip_data has them; NULL = no such columns */
    flip_step_rows rows;       /* of `moving` */
    int32_t *step_rows;        /* owned: rows.start, rows.width */
    int32_t *index;            /* of a batch's rows */
    size_t room;
} flip_placed_features;

struct flip_batching {
    flip_comm *comm; /* of rows as they come; NULL on one rank or with a store */
    flip_sampler *sampler;
    flip_batches order;
    flip_pipeline pipe;
    flip_meter *meter;  /* where batches are counted: the trainer's, or that of the thread ahead */
    bool in_place;      /* the first layer reads own rows where they stand */
    bool aggregates;    /* … and reads sums, which are made with the rows */
    flip_store *store;  /* NULL without a cache: rows come as they are */
    flip_store *fine;   /* of second levels; NULL without */
    flip_runs runs;     /* of a store's own rows that change at steps; .first NULL = none do */
    int64_t *run_first; /* owned: those of columns that change, else NULL */
    int32_t *run_step;
    const flip_kernels *placed; /* in whose memory batches and their rows lie; NULL = the host's */
    flip_tape *tape;            /* of these: what it has of the features … */
    flip_placed_features there; /* … and what is of a timeline's */
    int64_t n_items;
    int64_t *item; /* nodes: [n_items] own row * steps + step; edges, links: [n_items + 1] first
                      pair in the set */
};

/* Items that are the same in every epoch. Collective. */
flip_status flip_batch_items(flip_batching *b, const flip_data *data);
/* The epoch's items and their order. Collective. */
flip_status flip_batch_epoch(flip_batching *b, const flip_data *data, int64_t epoch);
/* This rank's seeds, labels and pairs of batch k. Local. */
flip_status flip_batch_seeds(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                             int64_t k);
/* Seeds and draws of batch k. Collective over the sampler's communicator. */
flip_status flip_batch_draw(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                            int64_t epoch, int64_t k);
/* The rows of the slot's batch. Collective over b->comm or the store's communicator. */
flip_status flip_batch_rows_fetch(flip_batching *b, flip_batch_slot *slot, const flip_data *data);
/* How often an own row is read an epoch by all ranks' batches, as --hot has it found: heat [n_own,
 * steps], of which the first ones are filled, one a row (b->runs); and bytes between ranks that
 * lists of own nodes would save, saved [n_own]. b->order is made. Collective. */
flip_status flip_batch_heat(flip_batching *b, flip_data *data, double *heat, double *saved);
/* b->store, where the settings want a cache; b->order is made. Collective. */
flip_status flip_batch_store_create(flip_batching *b, flip_data *data);
/* Do rows come out of a store? With a cache, and packed ones on several ranks. */
bool flip_batch_stored(const flip_data *data);
/* Does a batch have packed rows of its own? Those of one step and one rank are read where they
 * stand, unless there is a cache. */
bool flip_batch_codes(const flip_data *data);
/* Rows [n_input, stride] out of the store, and into slot->rows.fine those of second levels.
 * Collective. */
flip_status flip_batch_store_fetch(flip_batching *b, flip_batch_slot *slot, const flip_data *data,
                                   void *rows);
/* n items of room, with some to spare: batches differ little. */
flip_status flip_batch_room(void *pointer, size_t *room, int64_t n, size_t bytes);
void flip_batch_rows_finish(flip_batch_rows *rows, const flip_kernels *placed);
void flip_batch_seeds_finish(flip_batch_slot *slot);

flip_status flip_batch_read_fanout(const flip_settings *s, int32_t *fanout);
/* Without fanouts. */
flip_sampler_params flip_batch_sampler_params(const flip_data *data);
int64_t flip_batch_most_seeds(const flip_data *data); /* of a rank's share of a batch, about */

/* ---- batches on a GPU (batch_place.c) ---- */

/* The features as the kernels read them, plain or packed. */
flip_status flip_batching_reach(flip_batching *b, const flip_data *data, const flip_real **features,
                                flip_packed_rows *packed);
/* Rows [n_input, in_dim] of a timeline's batch and its keys. */
flip_status flip_batching_gather(flip_batching *b, const flip_batch *batch, const flip_data *data,
                                 flip_real *rows, int64_t *key);
void flip_batching_unplace(flip_batching *b);
/* After flip_tape_reset: the tape reads what lies there. Nothing where batches are the host's. */
flip_status flip_batching_lend(const flip_batching *b, const flip_batch_slot *slot,
                               const flip_data *data);

/* ---- batches in order ---- */

/* Slots for --prefetch. Local. */
flip_status flip_pipeline_create(flip_batching *b, const flip_data *data);
void flip_pipeline_finish(flip_batching *b);
/* Batches 0 … n_batches - 1 of b->order, each between next and done; end stops where it is, with
 * the trainer's status so far. begin … end: the communicators of sampler, store and b->comm belong
 * to the thread ahead. */
flip_status flip_pipeline_begin(flip_batching *b, const flip_data *data, int64_t epoch);
flip_status flip_pipeline_next(flip_batching *b, flip_batch_slot **slot);
void flip_pipeline_done(flip_batching *b);
flip_status flip_pipeline_end(flip_batching *b, flip_status status);

#endif
