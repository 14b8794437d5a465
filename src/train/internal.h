/* What the files of src/train share. Data flow: data.c opens and resolves, features.c and splits.c
 * fill it in the node layout as the file gives it, place.c and inputs.c deal it out to the time
 * layout, block after block, pairs.c and negatives.c make the pairs of edge tasks there, loop.c
 * trains on it, score.c measures, checkpoint.c, report.c and table.c write.
 *
 * Arrays over nodes and steps of the time layout stand block after block: the values of block k are
 * [n_rows, own steps of k, …] from row flip_data_block_row(data, k) on. */
#ifndef FLIPBOOK_TRAIN_INTERNAL_H
#define FLIPBOOK_TRAIN_INTERNAL_H

#include <flipbook/sample.h>
#include <flipbook/snapshots.h>
#include <flipbook/store.h>
#include <flipbook/train.h>
#include <jansson.h>

typedef enum flip_part { FLIP_PART_TRAIN, FLIP_PART_VALID, FLIP_PART_TEST, FLIP_PARTS } flip_part;

/* Pairs of one split on this rank (those whose step is among its own), with their labels, block
 * after block. All owned. */
typedef struct flip_pair_set {
    int64_t n;
    flip_gid *u, *v;                  /* [n] global ids: source, destination */
    int32_t *step;                    /* [n] step of the embeddings, of the timeline */
    int32_t *label;                   /* [n] class, or 1 true pair, 0 non-edge */
    int64_t *u_original, *v_original; /* [n] where they are for batches, else NULL */
    int32_t n_blocks;
    int32_t *piece; /* [n_blocks + 1]: of block k, piece[k] … piece[k + 1] - 1, on all ranks */
    int64_t *first; /* [pieces + 1]: pairs of piece i from first[i] on */
    flip_pairs **pairs; /* [pieces] the exchange plans, over layout->space */
} flip_pair_set;
void flip_pair_set_finish(flip_pair_set *set);
/* first and pairs of a set whose other arrays stand block after block. only >= 0: pairs of the
 * block of that step alone. cut: into pieces no larger than a part of the block's embeddings, where
 * they are only scored; else one. Collective. */
flip_status flip_pair_set_plan(flip_pair_set *set, const flip_layout *layout, int32_t only,
                               bool cut);
/* One number for both directions of a pair, so that a pair stored both ways is not torn. */
uint64_t flip_pair_key(int64_t a, int64_t b, int64_t n_nodes);

/* Where is the node with this original id? Original ids are dealt out in blocks over the ranks. */
typedef struct flip_directory {
    flip_comm *comm; /* borrowed */
    int64_t n_nodes, block;
    flip_gid *gid; /* [block] owned: global id of original id rank * block + i */
} flip_directory;
flip_status flip_directory_create(flip_directory *directory, flip_comm *comm,
                                  const flip_graph *graph);
void flip_directory_finish(flip_directory *directory);
/* Collective. */
flip_status flip_directory_find(const flip_directory *directory, int64_t n, const int64_t *original,
                                flip_gid *gid);

/* A labelled or a true pair, with what places it. */
typedef struct flip_pair_item {
    flip_gid u, v;
    int64_t u_original, v_original; /* link, and edge where it is for batches */
    int32_t step;                   /* of the event */
    int32_t label;                  /* edge: class */
    int32_t part;                   /* flip_part, -1 unused */
    bool given;                     /* a non-edge that the file pins */
} flip_pair_item;

/* True pairs of link prediction that this rank places: its part has the source, its steps have the
 * embeddings' step. Sorted by (target step, source,
 * original id of the destination), no duplicates. All arrays owned. */
typedef struct flip_links {
    int64_t n, n_nodes;
    int64_t *u_original, *v_original; /* [n] */
    flip_gid *u, *v;                  /* [n] */
    int32_t *target;                  /* [n] step in which the pair is an edge */
    int8_t *part;                     /* [n] flip_part, -1 unused */
    bool *given;                      /* [n] not a true pair but a non-edge that the file pins */
    double *share; /* [steps] of the pairs with that target that an epoch draws, or NULL = all */
    flip_directory directory;
    /* --negative-ends active, mixed: nodes with an in-event, step after step, of all ranks */
    int64_t *active_first; /* [steps + 1] or NULL */
    int64_t *active;       /* original ids, a step's ascending */
} flip_links;
void flip_links_finish(flip_links *links);
/* Non-edges are drawn by (seed, draw, step, pair). */
typedef struct flip_draw {
    int64_t per_pair; /* non-edges for each true pair */
    uint64_t seed, draw;
    int32_t lead;     /* steps between the embeddings and the target (1, or 0 on one step) */
    int32_t ends;     /* FLIP_ENDS_… */
    int32_t target;   /* pairs of this target alone; 0 = all (with a lead, none has target 0) */
    bool for_batches; /* original ids are kept, and no exchange plan is made of all pairs */
} flip_draw;
/* Pairs first … end-1 have this target. */
void flip_links_of_target(const flip_links *links, int32_t target, int64_t *first, int64_t *end);
/* Pairs of `part` with their non-edges, those that the file pins too. Collective. */
flip_status flip_links_sample(const flip_links *links, flip_pair_set *set,
                              const flip_layout *layout, flip_part part, const flip_draw *draw);
#define FLIP_DRAW_EVALUATE ((uint64_t)0xFFFFFF) /* not an epoch */

/* Columns of the features. */
typedef struct flip_columns {
    int32_t dim;             /* 0 = none */
    const flip_real *values; /* NULL: none, or the model reads them no more */
    flip_real *owned;        /* NULL where the graph's own are used */
} flip_columns;

typedef struct flip_packed_steps flip_packed_steps; /* packed.c */

/* Everything that training and evaluation read. */
typedef struct flip_data {
    flip_settings s; /* with every auto resolved */
    flip_comm *comm; /* borrowed */
    flip_graph *graph;
    const flip_graph_info *info;
    const flip_gid *rank_first; /* [size + 1] */
    const int64_t *original;    /* [n_own] */
    int32_t n_own;              /* nodes of this rank in the node layout */
    int32_t steps;              /* of the timeline */
    int32_t in_dim, n_classes;  /* n_classes: also targets of a regression */
    int n_time;                 /* chunks of time, and how they are coupled */
    flip_temporal_exchange exchange;
    flip_layout *layout; /* owned */
    flip_events events;  /* of the adjacency: without held-out pairs */
    void *events_owned[4];
    flip_adjacency *adjacency; /* of a graph of one step */
    flip_snapshots *snapshots; /* of one with several */
    int64_t *halo_rows;        /* [n_blocks] owned: rows sent for a block's halo, one exchange */
    /* Until flip_data_place everything of nodes is in the node layout [n_own, steps, …], then in
     * the time layout, block after block. Features (inputs.c): a node's columns that are the same
     * at every step stand once, [n_own, dim], then [n_rows, dim]; those that change stand apart. */
    flip_columns fixed, moving; /* together in_dim columns, fixed ones first */
    flip_real *set_out; /* [n_rows, most steps of a block, in_dim] both side by side, or NULL */
    const flip_real *features;  /* [n_own, in_dim] of a graph of one step; NULL: several, or none */
    int32_t set_out_block;      /* of this block */
    flip_packed_rows packed;    /* the file's codes, in place of features; packing NULL = none */
    flip_rows_norm packed_norm; /* of them; its mean is owned */
    /* --refine some: who has a second level. NULL: all of packed.fine's, or none */
    uint64_t *refined;               /* owned: bit id % 64 of word id / 64, of all ranks' nodes */
    int32_t *refined_at;             /* [n_own] owned: packed.fine.at, the node's own row or -1 */
    flip_packed_steps *packed_steps; /* of a graph of several steps: what the device has of them */
    bool row_normalised;
    /* node tasks */
    int32_t *label;
    uint8_t *mask[FLIP_PARTS];
    const flip_real *target; /* n_classes wide */
    flip_real *target_owned; /* NULL where the graph's own are used */
    bool label_constant;     /* the prediction is the mean over steps */
    /* edge tasks */
    flip_pair_item *pairs; /* [n_pairs] in the node layout, until they are placed */
    int64_t n_pairs;
    flip_pair_set set[FLIP_PARTS];
    flip_links links;
    int32_t lead; /* link: target step - step of the embeddings */
    double *class_weight;
    int64_t *train_items; /* [n_blocks] owned: items to train on, of all ranks */
    int32_t train_blocks; /* blocks up to the last that has something to train on */
    double loss_total;    /* denominator of the training loss over all blocks; 0 = one block */
    flip_metric metric;
    char **class_name;           /* [n_classes] owned, or NULL */
    int64_t n_items[FLIP_PARTS]; /* over all ranks */
    char notes[1024];            /* what was decided, one line each */
} flip_data;

/* Collective. Opens the graph, resolves every auto in settings, builds features, labels, masks and
 * pairs; not yet the adjacency. */
flip_status flip_data_open(flip_data *data, flip_comm *comm, const flip_settings *settings);
flip_status flip_data_adjacency(flip_data *data); /* collective */
void flip_data_close(flip_data *data);
void flip_data_note(flip_data *data, const char *format, ...) __attribute__((format(printf, 2, 3)));
flip_adjacency_params flip_data_adjacency_params(const flip_data *data);
flip_model_params flip_data_model_params(const flip_data *data);

/* Rows of the time layout on this rank: of all blocks, and before block k. */
static inline int64_t flip_data_rows(const flip_data *data) {
    return (int64_t)data->layout->n_rows * data->layout->own_steps;
}
static inline int64_t flip_data_block_row(const flip_data *data, int32_t k) {
    return (int64_t)data->layout->n_rows * data->layout->own_before[k];
}
/* Is the timeline walked in windows or step by step? Then every step is a block. */
bool flip_data_pieces(const flip_data *data);
/* Do the two layouts hold the same rows in the same order? */
bool flip_data_same_rows(const flip_layout *layout);
/* Creates the layout and brings everything from the node layout to it. Collective. */
flip_status flip_data_place(flip_data *data);
flip_status flip_data_check_items(const flip_data *data); /* is there something to train on? */
/* data->loss_total; pairs of link prediction must have been drawn. Collective. */
flip_status flip_data_loss_total(flip_data *data);
/* The adjacency of a block, valid until the next call. Collective over layout->space. */
flip_status flip_data_block(flip_data *data, int32_t block, const flip_adjacency **adjacency);

/* data->events with sources and destinations exchanged. Collective. */
flip_status flip_data_reverse(flip_data *data);
flip_status flip_data_features(flip_data *data);
/* The second level of packed features, where --refine wants it; after the items. Collective. */
flip_status flip_data_refine(flip_data *data);
/* --feature-norm of packed features: their rows are normalised as they are decoded, wherever that
 * is; after flip_data_refine, whose rows they are. Collective. */
flip_status flip_data_packed_norm(flip_data *data);
/* Two columns more: degrees of the snapshots' distinct edges (features given+degree). Collective.
 */
flip_status flip_data_add_degrees(flip_data *data);
/* Refuses `count` values of `what` that this rank cannot have beside what it holds, before anything
 * of them is allocated. Collective. */
flip_status flip_data_fits(const flip_data *data, double count, const char *what);
/* inputs.c: the features in the time layout (collective); a block's [n_rows, own steps, in_dim],
 * valid until the next block's, or NULL where there are none (learned, released). */
flip_status flip_data_place_inputs(flip_data *data);
flip_status flip_data_inputs(flip_data *data, int32_t block, const flip_real **x);
/* Where an own node at a step stands in the arrays of the time layout, of a rank that has the whole
 * timeline. */
int64_t flip_data_row_of(const flip_data *data, int64_t node, int32_t step);
/* to [in_dim]: what an own node has at a step, likewise. */
void flip_data_row(const flip_data *data, int64_t node, int32_t step, flip_real *to);
/* packed.c: the packed features of a block, as they stand on the device once what it lacks of them
 * was sent; valid until the next block's. Local. */
flip_status flip_data_packed(flip_data *data, int32_t block, flip_packed_rows *rows);
/* Why a GPU does not read packed features under these settings and steps; NULL: it does. */
const char *flip_data_packed_off_device(const flip_data *data);
/* Rows of codes to the ranks that have their steps; the file's go where nobody reads them any more.
 * Collective. */
flip_status flip_data_place_packed(flip_data *data);
/* Which rows of codes own nodes have. */
flip_runs flip_data_code_runs(const flip_data *data);
/* A pass over the timeline begins: transfers full and delta forget what the device has. */
void flip_data_packed_begin(flip_data *data);
void flip_data_packed_finish(flip_data *data);
/* Are several steps of a block set out from rows that stand once? */
bool flip_data_sets_out(const flip_data *data, int32_t steps);
/* The model reads the features no more; they are NULL from here on. */
void flip_data_release_inputs(flip_data *data);
flip_status flip_data_node_splits(flip_data *data); /* label, mask, n_items */
/* a, b, c of settings.split_steps, or shares of the steps. */
flip_status flip_data_step_split(flip_data *data, int64_t sizes[3]);
/* train/valid/test by a seeded draw with these shares in percent; key: any number. */
flip_part flip_part_drawn(uint64_t seed, uint64_t key, int train, int valid);
/* data->pairs, in the node layout. */
flip_status flip_data_edge_pairs(flip_data *data);
flip_status flip_data_link_pairs(flip_data *data);
/* data->links.active: of all ranks, on every rank. Collective. */
flip_status flip_data_active(flip_data *data);
/* Appends the file's pinned non-edges of validation and test to data->pairs. Collective. */
flip_status flip_data_given(flip_data *data);
/* data->pairs to the ranks that have their steps, and the sets made of them. Collective. */
flip_status flip_data_place_pairs(flip_data *data);
/* Non-edges of one split, drawn anew (FLIP_DRAW_EVALUATE: the candidates of evaluation; training
 * pairs keep their own number of non-edges). Collective. */
flip_status flip_data_sample(flip_data *data, flip_part part, uint64_t draw);
flip_status flip_data_class_weights(flip_data *data);
flip_status flip_data_metric(flip_data *data);

/* ---- learned features ---- */

typedef struct flip_learned {
    int32_t n_own, dim;
    flip_real *values, *best; /* [n_own, dim] */
    flip_real *moments;       /* [2, n_own, dim] */
    double *gradient;         /* [n_own, dim] */
    flip_real *input;         /* [n_own, most steps of a block, dim] where that is above 1 */
    int64_t *name;            /* [n_own] hashes of names, read when a checkpoint needs them */
} flip_learned;
flip_status flip_learned_create(flip_learned **learned, const flip_data *data);
void flip_learned_destroy(flip_learned **learned);
flip_var flip_learned_input(flip_learned *learned, flip_tape *tape, int32_t steps);
void flip_learned_clear(flip_learned *learned);
/* After backward of a block: adds the gradient of the input x. */
flip_status flip_learned_add(flip_learned *learned, flip_tape *tape, flip_var x);
/* One step of the settings' optimiser (clipping is for the model's parameters). */
void flip_learned_step(flip_learned *learned, const flip_settings *settings, int64_t epoch);
/* Rows in rank order, with original ids and hashes of names. Collective. */
flip_status flip_learned_write(flip_learned *learned, const flip_data *data, flip_writer *writer,
                               flip_type type);
/* Each row goes to its owner, however the graph is cut now. state: current values and moments too,
 * else the best values. other: the graph is not the one trained on; rows go by names where the
 * checkpoint has them, and a node without a row is refused unless the settings say grown. n_taken:
 * nodes of this graph that got a row. Collective. */
flip_status flip_learned_read(flip_learned *learned, const flip_data *data,
                              const flip_reader *reader, flip_type type, bool state, bool other,
                              int64_t *n_taken);

/* ---- trainer: data, model and their state ---- */

/* Blocks walked; recomputation: forward once more, with records. */
typedef struct flip_passes {
    int64_t forward, backward, recomputation;
} flip_passes;

/* Estimated bytes of this rank: now, features of a block, adjacency, and beside that either what
 * building it takes or training. Where a GPU computes, training is in its memory, and `device` all
 * that it holds. */
typedef struct flip_estimate {
    size_t base, held, placed, adjacency, building, training, device;
    size_t available, together;               /* of this node */
    size_t device_available, device_together; /* of a GPU, and of the ranks that share it */
    bool draws_on_device;                     /* sampled batches: graph and rows lie there */
    int ranks_here, ranks_of_device;          /* ranks of this node, and of a GPU */
} flip_estimate;

/* ---- sampled batches (batch.h) ---- */
typedef struct flip_batching flip_batching;

/* What a distribution costs an epoch of one block: bytes of all ranks, and seconds, a model. */
typedef struct flip_cost {
    int32_t distribute;
    double bytes, seconds;
} flip_cost;

/* A pass that comes again (repeat.c). */
typedef struct flip_repeat {
    flip_recording *recording; /* or NULL */
    bool begun;                /* a pass of this run is done: memory is taken, features prepared */
    bool refused;              /* it cannot be recorded */
    int64_t epoch;             /* of the recorded pass */
    flip_meter counted;        /* what it counted, without seconds */
} flip_repeat;

typedef struct flip_trainer {
    flip_data data;
    flip_estimate estimate;
    flip_cost cost; /* of the distribution that `auto` chose */
    flip_cost considered[5];
    int32_t n_considered;
    flip_params *params;
    flip_model *model;
    flip_head *head;       /* NULL for node tasks */
    flip_learned *learned; /* NULL unless features are learned */
    flip_tape *tape;
    flip_carry *carry;  /* states between blocks; NULL with one block */
    flip_passes passes; /* of training, so far */
    flip_repeat repeat;
    flip_optimiser *optimiser;
    flip_batching *batching;           /* NULL unless training is on sampled batches */
    const flip_kernels *kernels;       /* of the device that computes */
    flip_device_counts counted_before; /* by them, in this process's runs before */
    const flip_adjacency *on_device;   /* held there; or NULL */
    int32_t on_device_block;           /* whose it is */
    const char *matrices_by_cpu;       /* why blocks' matrices are not made on the GPU that reads
                                          them; NULL: they are, or are made once */
    const flip_real *features;         /* likewise */
    /* state */
    int64_t epoch, best_epoch; /* done; 0 = none */
    double loss;               /* of the last epoch */
    double best_metric, best_loss;
    flip_real *best; /* [params size] owned: parameters of the best epoch */
    char grown[256]; /* what the graph has more than the checkpoint's; "" = it is the same */
} flip_trainer;

/* Counts that an estimate is made of. */
typedef struct flip_shares {
    int64_t rows, n_halo; /* of the part */
    int32_t steps;        /* of the timeline that are trained */
    int64_t *before;      /* [steps of the graph + 1] events of the part's rows before a step */
    int64_t *pairs;       /* [steps of the graph] that an epoch trains on, without non-edges */
    int64_t scored;       /* pairs of validation and test with their candidates */
} flip_shares;
/* After data->n_time and exchange are chosen. Collective. */
flip_status flip_shares_find(flip_shares *shares, const flip_data *data);
void flip_shares_finish(flip_shares *shares);
/* placed, adjacency, building and training with so many blocks. Local. */
void flip_estimate_blocks(flip_estimate *estimate, const flip_trainer *trainer,
                          const flip_shares *shares, int32_t n_blocks);
/* Does it fit `times` what this node and its GPUs have? */
bool flip_estimate_fits(const flip_estimate *estimate, double times);

/* ---- the device (device.c) ---- */
/* The kernels of --device. Collective. */
flip_status flip_device_choose(flip_data *data, const flip_kernels **kernels);
/* How the ranks' GPUs exchange rows: once the layout is there. A note says why NCCL is not what
 * `auto` came to. */
flip_status flip_device_connect(flip_trainer *trainer);
const char *
flip_device_exchange(const flip_trainer *trainer); /* "nccl", "mpi-cuda", "mpi"; "none": one rank */
/* What stays on the GPU for the whole run: keys, labels, masks. */
flip_status flip_device_hold(flip_trainer *trainer);
/* A block's adjacency: made, unless it is there, and, lazily, on the GPU. backward: the pass that
 * reads it walks back, too. Collective, as flip_data_block. */
flip_status flip_device_enter(flip_trainer *trainer, int32_t block, bool backward,
                              const flip_adjacency **adjacency);
/* Its inputs after that, as flip_data_inputs. */
flip_status flip_device_inputs(flip_trainer *trainer, int32_t block, const flip_real **x);
/* The same for the block that comes next, inputs first, while the GPU works on what it was given:
 * to be called once all of that was. Collective; on a CPU nothing is done. */
flip_status flip_device_look_ahead(flip_trainer *trainer, int32_t block, bool backward);
/* Before snapshots begin anew. */
void flip_device_leave(flip_trainer *trainer);

/* The parameters' names and shapes: nothing large is allocated yet. */
flip_status flip_trainer_declare(flip_trainer *trainer);
/* After flip_data_open, before flip_data_place: settles --distribute and --blocks. base: bytes of
 * the process before the data. Collective. */
flip_status flip_trainer_distribute(flip_trainer *trainer, size_t base);
/* --distribute auto: the cheapest of those that the model has. Collective. */
flip_status flip_cost_choose(flip_trainer *trainer);
/* Distinct sources of data->events outside the nodes first … end-1. Local. */
flip_status flip_data_count_halo(const flip_data *data, flip_gid first, flip_gid end,
                                 int64_t *n_halo);
/* Model, tape and optimiser on placed data. */
flip_status flip_trainer_build(flip_trainer *trainer);
/* All of it from a checkpoint, with its best parameters in place. Collective. */
flip_status flip_trainer_load(flip_trainer *trainer, flip_comm *comm, const flip_settings *settings,
                              const flip_io *io);
void flip_trainer_close(flip_trainer *trainer); /* closes the data too */
/* One epoch: forward, loss, backward, reduce, step; sets epoch and loss. Collective. */
flip_status flip_trainer_epoch(flip_trainer *trainer);
/* The part of it that is the same from epoch to epoch where the whole graph is one step of the
 * optimiser: from zero gradients to the parameters' new values. */
flip_status flip_trainer_pass(flip_trainer *trainer, double *loss);
/* The same, repeated from what was recorded, where that can be: *done; else nothing is done. */
flip_status flip_repeat_pass(flip_trainer *trainer, double *loss, bool *done);
void flip_repeat_finish(flip_trainer *trainer);
/* Refuses a loss that is no number. */
flip_status flip_trainer_check_loss(const flip_trainer *trainer, double loss);
/* What the features' store has done on this rank; zeros without one. */
typedef struct flip_store_use {
    flip_store_counts counts, fine; /* fine: of second levels */
    flip_sampler_counts sampler;
    int64_t cached_rows, cache_bytes; /* rows, second levels, their indices, lists of neighbours */
    int64_t fine_rows, fine_bytes;    /* second levels, of it */
} flip_store_use;
flip_store_use flip_batching_store(const flip_batching *batching);
/* Sampler and order of items, where the settings ask for batches; before flip_data_adjacency, which
 * lets the events go. Collective. */
flip_status flip_batching_create(flip_batching **batching, flip_data *data);
void flip_batching_destroy(flip_batching **batching);
/* All batches of the next epoch, a step of the optimiser each; loss: the mean over the items.
 * Collective. */
flip_status flip_batching_epoch(flip_trainer *trainer, double *loss);
/* --prefetch: of all ranks the least, auto is 0 here; refused where MPI has no threads.
 * Collective. */
flip_status flip_batch_settle(flip_data *data);
/* Seconds, traffic and work of the thread that makes batches ahead, so far; zeros without one. */
flip_meter flip_batching_ahead(const flip_batching *batching);
/* Bytes of this rank for sampler, one batch, and the forward pass of an evaluation over so many
 * steps at once, from counts alone. */
size_t flip_batch_bytes(const flip_data *data, int64_t n_halo, int64_t steps);
/* Are batches to be drawn on the GPU? Where they can be and it all fits, what that takes is added
 * to estimate->device. */
void flip_batch_estimate_place(flip_estimate *estimate, const flip_data *data);
/* The estimate is made: a note says where batches are drawn, and why on the CPU. */
void flip_batch_settle_place(flip_trainer *trainer);
/* The sampler and the features to the GPU, where that was settled; once the tape is there. */
flip_status flip_batching_place(flip_trainer *trainer);
/* One epoch of one block that begins at the states it was left: gradients go no further back.
 * Collective. */
flip_status flip_trainer_update(flip_trainer *trainer, int32_t block);
flip_status flip_trainer_restart(flip_trainer *trainer); /* the optimiser, anew */
/* The current parameters become the best ones. */
void flip_trainer_keep(flip_trainer *trainer);
/* Exchange current and best parameters. */
void flip_trainer_swap(flip_trainer *trainer);
/* A pass over the timeline begins: nothing is carried. */
void flip_trainer_begin(flip_trainer *trainer);
/* Forward of one block without training: *y is the logits of nodes, or embeddings [n_rows, own
 * steps, out]; blocks in ascending order after flip_trainer_begin. Collective. */
flip_status flip_trainer_forward(flip_trainer *trainer, int32_t block, flip_var *y);

/* ---- link prediction against all pairs ---- */

typedef struct flip_link_steps {
    int32_t n_steps;
    flip_link_scores *at; /* [n_steps] owned; true_pairs 0 where the step was not this rank's */
} flip_link_steps;
/* Embeddings of a block as all pairs need them. */
typedef struct flip_link_view {
    flip_comm *comm;       /* the ranks with these steps */
    const flip_gid *first; /* [size + 1] their nodes */
    const flip_head *head;
    flip_params *params;
    const flip_real *h; /* [n_rows, steps, dim] */
    int32_t n_rows, steps, dim, first_step;
} flip_link_view;
flip_status flip_link_steps_create(flip_link_steps *steps, int32_t n_steps);
void flip_link_steps_finish(flip_link_steps *steps);
/* The steps of the view, where `part` has true pairs. Collective over view->comm. */
flip_status flip_link_steps_add(flip_link_steps *steps, const flip_link_view *view,
                                const flip_links *links, flip_part part, int32_t lead);
/* Means over the steps that have true pairs. Collective over all ranks. */
flip_status flip_link_steps_mean(flip_link_scores *mean, const flip_link_steps *steps,
                                 flip_comm *comm);
double flip_link_scores_metric(const flip_link_scores *scores, const flip_metric *metric);
/* MAP (as ap), MRR and AUC of sampled or pinned candidates. Collective. */
flip_status flip_link_scores_items(flip_link_scores *scores, flip_comm *comm,
                                   const flip_scored *items);
/* What is ranked, and how the metric comes from it. */
void flip_link_candidates(const flip_data *data, char *text, size_t size);
void flip_link_definition(const flip_data *data, char *text, size_t size);

/* ---- scores ---- */

/* Items of the splits with their scores, filled block by block. */
typedef struct flip_scores {
    flip_scored part[FLIP_PARTS];    /* of the wanted splits; arrays owned */
    int64_t filled[FLIP_PARTS];      /* items that have their scores */
    double *sum;                     /* [n_rows, dim] over steps, where labels are constant */
    flip_link_steps all[FLIP_PARTS]; /* --eval-negatives all: in place of the part's items */
} flip_scores;
enum {
    FLIP_SCORE_TRAIN = 1,
    FLIP_SCORE_VALID = 2,
    FLIP_SCORE_TEST = 4,
    FLIP_SCORE_ALL = 7,
    FLIP_SCORE_ITEMS = 8 /* items of the sets, also where metrics are of all pairs */
};
/* One pass over the timeline; no block's embeddings outlive it. wanted: FLIP_SCORE_…. Collective.
 */
flip_status flip_scores_take(flip_scores *scores, flip_trainer *trainer, int wanted);
void flip_scores_finish(flip_scores *scores);
/* The steps of flip_scores_take: memory for the wanted splits; the items of block `block` from y of
 * flip_trainer_forward; what is missing until all blocks are there. Collective. */
flip_status flip_scores_begin(flip_scores *scores, const flip_trainer *trainer, int wanted);
flip_status flip_scores_block(flip_scores *scores, flip_trainer *trainer, int32_t block,
                              flip_var y);
flip_status flip_scores_end(flip_scores *scores, const flip_trainer *trainer);
/* Metric and mean loss (unweighted) of the wanted splits; NaN where one is empty. Collective. */
flip_status flip_measure(flip_trainer *trainer, int wanted, double metric[FLIP_PARTS],
                         double loss[FLIP_PARTS]);
/* The three splits with the current parameters, link prediction by every metric: the result's
 * scores. Collective. */
flip_status flip_measure_result(flip_trainer *trainer, flip_result *result);

/* Mean loss of items, unweighted; NaN without any. Collective. */
flip_status flip_scores_loss(const flip_scored *items, flip_comm *comm, double *loss);
/* Pairs of a split by every metric of link prediction. Collective. */
flip_status flip_scores_links(flip_link_scores *link, const flip_data *data,
                              const flip_scores *scores, flip_part p);

/* ---- live updates ---- */

typedef struct flip_live {
    int32_t step;            /* the last that came */
    int64_t epochs;          /* it was learned */
    double loss, held;       /* of its last epoch; of its held-out pairs, with what was kept */
    flip_link_scores scores; /* of its pairs, before it was learned */
    flip_link_steps steps;   /* of all, on rank 0 */
} flip_live;
/* Blocks (of a step each) in ascending order between begin and result. Collective. */
flip_status flip_live_begin(flip_live *live, flip_trainer *trainer);
flip_status flip_live_step(flip_live *live, flip_trainer *trainer, int32_t block);
flip_status flip_live_result(const flip_live *live, flip_trainer *trainer, flip_result *result);
void flip_live_finish(flip_live *live);

/* ---- checkpoint ---- */
flip_status flip_checkpoint_write(const flip_trainer *trainer, const char *path, const flip_io *io);
/* Before a run is spread out that resumes: what is left to the program, distribution and blocks,
 * stays as the first part of the run found it, on as many ranks and with as much memory; else a
 * machine with less memory to spare would go on with other blocks, and other bits. Collective. */
flip_status flip_checkpoint_choices(flip_settings *settings, flip_comm *comm, const char *path);
/* Into a built trainer. state: optimiser and counters too (resume), else the best parameters. */
flip_status flip_checkpoint_read(flip_trainer *trainer, const char *path, const flip_io *io,
                                 bool state);

/* ---- report and table ---- */

/* What the run counted: the epochs, the validations, and everything before and after. */
typedef struct flip_tally {
    flip_meter train, evaluate, rest; /* sums of this rank */
    flip_meter first;                 /* the first epoch, part of train: it aggregates the
                                         constant first layer, once */
    uint64_t graph[2]; /* bytes of the graph to the device in epochs: walking forward, and back */
    flip_device_counts device, device_first; /* in epochs; the first of them */
    int64_t epochs, evaluations;
    double *seconds, *cpu; /* [epochs] of this rank */
    double total_seconds;
    size_t loaded_bytes; /* resident before the first epoch: graph, features, pairs, layout */
} flip_tally;

typedef struct flip_report flip_report; /* rank 0 only; NULL = none */
flip_status flip_report_open(flip_report **report, const char *path, int64_t resumed_epoch);
void flip_report_close(flip_report **report);
flip_status flip_report_settings(flip_report *report, const char *settings_json,
                                 const flip_trainer *trainer);
flip_status flip_report_epoch(flip_report *report, int64_t epoch, double loss, double valid,
                              double seconds, double eval_seconds);
/* A step of live updates. */
flip_status flip_report_live(flip_report *report, const flip_live *live, double seconds);
flip_status flip_report_summary(flip_report *report, const flip_result *result,
                                const flip_trainer *trainer, const json_t *counts);

/* Collective: the tallies of all ranks as the report's fields (rank 0; NULL elsewhere). */
flip_status flip_tally_json(json_t **counts, const flip_tally *tally, const flip_trainer *trainer);
/* Collective: prints where time and bytes went, on rank 0. */
flip_status flip_tally_print(const flip_tally *tally, const flip_trainer *trainer, FILE *out);

#endif
