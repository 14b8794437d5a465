/* Flipbook: train — from a graph and settings to a trained model, its scores and its files.
 *
 *     settings ─▶ data (features, masks, pairs) ─▶ loop: forward, loss, backward, reduce, step
 *                                                   │ every epoch: validation, one line, one record
 *                                                   ├─▶ checkpoint (HDF5, every N epochs, at the
 * end) └─▶ report (JSON lines), table of time and bytes
 *
 * Tasks
 *   node        class of a node. Labels may change with the step. Where they do not and the graph
 *               has several steps, every step is trained towards the label and the prediction is
 *               the mean of the steps' logits.
 *   edge        class of an event (source, destination, step) from the two embeddings at its step.
 *   link        is there an edge: on several steps, the pairs of step t+1 from embeddings of step
 * t; on one step, held-out pairs that the adjacency does not contain. Non-edges are sampled: same
 * source, another destination. regression  numbers of a node and step; NaN where there is none.
 *
 * Time: the whole timeline is one sample, walked block by block where that saves memory (--blocks);
 * or with --history H each step and the H steps before it are one, states restarting, of which the
 * last step counts, and the optimiser moves once a window (EvolveGCN's protocol; the epoch's loss
 * is the mean of the windows'). Evaluation scores a step in the same way.
 * With --protocol live steps arrive one after the other: the pairs of step t+1 are scored from step
 * t by the model that has learned the steps before, then learned, at most --epochs times, until the
 * loss of a held-out tenth has not fallen for --patience epochs; metrics are means over the steps
 * (ROLAND: You et al., KDD 2022, whose code ranks a source's best true pair alone: here all of
 * them count). Gradients stop at a step's beginning; the optimiser begins anew at each step.
 *
 * Selection: the epoch with the best validation metric, among equals the smaller validation loss.
 * Train, validation and test scores of the summary are taken once, with that epoch's parameters.
 */
#ifndef FLIPBOOK_TRAIN_H
#define FLIPBOOK_TRAIN_H

#include <flipbook/container.h>
#include <flipbook/model.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- settings: the meaning of every key is told by the table in src/cli/settings.c ---- */

typedef enum flip_task {
    FLIP_TASK_AUTO,
    FLIP_TASK_NODE,
    FLIP_TASK_EDGE,
    FLIP_TASK_LINK,
    FLIP_TASK_REGRESSION
} flip_task;
typedef enum flip_features_kind {
    FLIP_FEATURES_AUTO,
    FLIP_FEATURES_GIVEN,
    FLIP_FEATURES_DEGREE,
    FLIP_FEATURES_ONEHOT,
    FLIP_FEATURES_LEARNED,
    FLIP_FEATURES_ONEHOT_BRIEF,
    FLIP_FEATURES_IDENTITY,
    FLIP_FEATURES_GIVEN_DEGREE
} flip_features_kind;
/* What a rank holds of nodes x steps (layout.h). */
typedef enum flip_distribute {
    FLIP_DISTRIBUTE_AUTO,
    FLIP_DISTRIBUTE_NODES,
    FLIP_DISTRIBUTE_TIME,
    FLIP_DISTRIBUTE_WAVEFRONT,
    FLIP_DISTRIBUTE_WINDOW,
    FLIP_DISTRIBUTE_GRID
} flip_distribute;
/* Where a run computes. */
enum {
    FLIP_DEVICE_AUTO, /* a GPU where every rank has one to itself, else the CPU */
    FLIP_DEVICE_CPU,
    FLIP_DEVICE_CUDA,       /* a rank a GPU */
    FLIP_DEVICE_CUDA_SHARED /* ranks may share one */
};
/* How rows travel between the ranks' GPUs. */
enum {
    FLIP_DEVICE_EXCHANGE_AUTO, /* the first of NCCL, a CUDA-aware MPI, staging that is to be had */
    FLIP_DEVICE_EXCHANGE_NCCL,
    FLIP_DEVICE_EXCHANGE_MPI,     /* staged through pinned memory of the hosts */
    FLIP_DEVICE_EXCHANGE_MPI_CUDA /* MPI is given the GPUs' memory */
};
/* What one training sample is. */
typedef enum flip_protocol {
    FLIP_PROTOCOL_AUTO,
    FLIP_PROTOCOL_WHOLE,   /* the timeline */
    FLIP_PROTOCOL_WINDOWS, /* a step with the steps before it, states restarting (EvolveGCN) */
    FLIP_PROTOCOL_LIVE     /* a step after the other, each scored before it is learned (ROLAND) */
} flip_protocol;
typedef enum flip_feature_norm {
    FLIP_FEATURE_NORM_AUTO,
    FLIP_FEATURE_NORM_ROW,
    FLIP_FEATURE_NORM_NONE,
    FLIP_FEATURE_NORM_LOG,
    FLIP_FEATURE_NORM_STANDARD
} flip_feature_norm;
/* settings.edge_head: flip_head_kind + 1, 0 = auto */
typedef enum flip_edge_head {
    FLIP_EDGE_HEAD_AUTO,
    FLIP_EDGE_HEAD_DOT,
    FLIP_EDGE_HEAD_LINEAR,
    FLIP_EDGE_HEAD_MLP
} flip_edge_head;

enum { FLIP_PATH_SIZE = 1024, FLIP_WORD_SIZE = 128 };
#define FLIP_UNSET (-1) /* `auto` of a number */
/* Words that may stand for a number are stored as -2, -3, … */
#define FLIP_WORD_VALUE(i) (-2 - (i))
enum { FLIP_ENDS_AUTO, FLIP_ENDS_DESTINATION, FLIP_ENDS_BOTH, FLIP_ENDS_ACTIVE, FLIP_ENDS_MIXED };
enum {
    FLIP_EVAL_ALL = FLIP_WORD_VALUE(0),  /* every pair of nodes is a candidate */
    FLIP_EVAL_GIVEN = FLIP_WORD_VALUE(1) /* the non-edges that the file pins */
};

typedef enum flip_hot { FLIP_HOT_EXPECTED, FLIP_HOT_DEGREE, FLIP_HOT_PRESAMPLE } flip_hot;

enum { FLIP_SAMPLING_RECENT = 3 }; /* uniform, but the latest neighbours instead of drawn ones */

/* --refine as a share of nodes: none 0, all 1, hot:F F, seeds -1; false = it is none of these. */
bool flip_refine_share(const char *word, double *share);

typedef struct flip_settings {
    /* model */
    int32_t model; /* flip_model_kind, then the models of later versions */
    int32_t task;  /* flip_task */
    int64_t layers, hidden, heads;
    int32_t aggregator; /* 0 mean, 1 pool */
    int32_t structure, temporal, cell;
    bool residual;
    int32_t norm;      /* flip_norm */
    int32_t edge_head; /* flip_edge_head */
    /* optimisation */
    int64_t epochs, patience;
    double lr, weight_decay, momentum, dropout, input_dropout, clip;
    int32_t optimizer;                  /* flip_optimiser_kind */
    char class_weights[FLIP_WORD_SIZE]; /* none, auto or a,b,… */
    int64_t seed;
    int32_t precision; /* 0 fp32, 1 bf16 */
    char metric[FLIP_WORD_SIZE];
    int64_t pairs;                                 /* of a step in training; 0 all */
    int64_t negatives, eval_negatives, eval_every; /* eval_negatives: a number, or FLIP_EVAL_… */
    int32_t mrr;                                   /* 0 unfiltered, 1 filtered */
    int32_t negative_ends;                         /* FLIP_ENDS_… */
    /* data */
    int32_t features, feature_norm;
    char split[FLIP_WORD_SIZE]; /* auto, K or random:20/30@SEED */
    char split_steps[FLIP_WORD_SIZE];
    /* time */
    int64_t edge_life, window, first_step, history;
    int32_t protocol;  /* flip_protocol */
    int32_t gcn_norm;  /* 0 row, 1 inout */
    int32_t direction; /* 0 in, 1 out */
    /* running */
    int32_t device;          /* FLIP_DEVICE_… */
    int32_t device_exchange; /* FLIP_DEVICE_EXCHANGE_… */
    int64_t threads;
    char batch[FLIP_WORD_SIZE], fanout[FLIP_WORD_SIZE];
    int32_t sampling; /* flip_sample_kind, or FLIP_SAMPLING_RECENT */
    bool replace;
    int32_t distribute, transfer; /* flip_distribute, flip_transfer */
    int64_t blocks, memory;
    bool precompute;
    int64_t cache_bytes;
    int32_t hot; /* flip_hot */
    char refine[FLIP_WORD_SIZE];
    int64_t prefetch;     /* batches made ahead by a thread; 0 none */
    bool prefetch_chosen; /* by the program */
    char codec[FLIP_WORD_SIZE];
    int32_t wire_codec;  /* flip_wire */
    int32_t activations; /* flip_saved */
    int64_t parts_per_rank;
    /* files */
    char report[FLIP_PATH_SIZE], checkpoint[FLIP_PATH_SIZE], resume[FLIP_PATH_SIZE];
    int64_t checkpoint_every;
    bool grown; /* a checkpoint of this graph as it was before is taken */
    /* evaluate and predict */
    char output[FLIP_PATH_SIZE];
    bool json;
    char graph[FLIP_PATH_SIZE];
} flip_settings;

/* ---- metrics ----------------------------------------------------------------------------------
 * Over all items of all ranks; exact for any number of ranks, ties included.
 *
 * accuracy: share of items whose largest score (the first among equals) is their class.
 *
 * f1:C: 2 TP / (2 TP + FP + FN) of class C; 0 where that is 0/0.
 *
 * macro-f1: mean of f1 over the classes that are a label or a prediction at least once.
 *
 * auc: P(score of a positive > of a negative) + P(equal) / 2; more than two classes: mean of one
 * against the rest over the classes that have both.
 *
 * ap: sum of (R_n - R_n-1) P_n over the distinct scores, descending (area under the steps of the
 * precision-recall curve); more than two classes: mean of one against the rest.
 *
 * map: of links, one ap over all candidate pairs of a step, averaged over the steps weighted by
 * their true pairs; of classes, as ap.
 *
 * mrr: of links, per step and source the mean over its true pairs of 1 / rank among that source's
 * candidates (the other true pairs stay in, or, filtered, are left out), mean over the step's
 * sources, and over the steps weighted by their true pairs; of classes, mean of 1 / rank of the
 * label. Rank of equal scores: the middle of theirs.
 *
 * rmse: sqrt of the mean squared error over the targets that are not NaN; smaller is better.
 *
 * Candidates of link metrics are the true pairs and sampled non-edges for each (--eval-negatives N)
 * or pinned ones (given). With `all` every ordered pair of nodes is one, and steps weigh the same,
 * as the EvolveGCN code weighs them by pairs scored; there is no validation loss then.
 */
typedef enum flip_metric_kind {
    FLIP_METRIC_ACCURACY,
    FLIP_METRIC_F1,
    FLIP_METRIC_MACRO_F1,
    FLIP_METRIC_AUC,
    FLIP_METRIC_AP,
    FLIP_METRIC_MAP,
    FLIP_METRIC_MRR,
    FLIP_METRIC_RMSE
} flip_metric_kind;

typedef struct flip_metric {
    flip_metric_kind kind;
    int32_t class_index; /* F1 */
    bool filtered;       /* MRR of links */
} flip_metric;

/* Items of one split on this rank. Owned by whoever filled it. */
typedef struct flip_scored {
    int64_t n;
    int32_t dim;             /* classes, targets, or 1 */
    const flip_real *score;  /* [n, dim] */
    const int32_t *label;    /* [n] class, or 0/1 of a pair; NULL for numbers */
    const flip_real *target; /* [n, dim], NaN = none; NULL for classes */
    bool pairs;              /* link: step and source are set; all of a source on one rank */
    const int32_t *step;     /* [n] */
    const flip_gid *source;  /* [n] */
} flip_scored;

/* Collective; the same bits on every rank. NaN when there is nothing to measure. */
flip_status flip_metric_measure(double *value, const flip_metric *metric, flip_comm *comm,
                                const flip_scored *items);
bool flip_metric_better(const flip_metric *metric, double a, double b); /* a strictly */

/* ---- link prediction against all pairs -----------------------------------------------------
 * Every ordered pair (u, v) of the nodes of a step is a candidate, u = v too, as in the EvolveGCN
 * code; ranks of equal scores are in the middle of theirs. Exact, on any number of ranks. */

/* score(u, v) = bias + sum_k w[k] relu(a_u[k] + b_v[k]), or with w NULL bias + sum_k a_u[k] b_v[k]
 */
typedef struct flip_pair_rows {
    int32_t width;
    const flip_real *w; /* [width] or NULL */
    flip_real bias;
    const flip_real *a, *b; /* [n_own, width] of own nodes: as a source, as a destination */
} flip_pair_rows;

/* Distinct true pairs whose source this rank owns, a source's together. */
typedef struct flip_true_pairs {
    int64_t n;
    const int32_t *row; /* [n] ascending: source, among own nodes */
    const flip_gid *v;  /* [n] destination */
} flip_true_pairs;

typedef struct flip_link_scores {
    double ap, auc;     /* over all pairs of the step */
    double mrr[2];      /* mean over the sources of the mean over their true pairs of 1 / rank;
                           [1]: the source's other true pairs left out */
    int64_t true_pairs; /* of all ranks; 0: the others are NaN */
} flip_link_scores;

/* Collective over comm, whose rank r owns nodes first[r] … first[r+1]-1; the same on every rank.
 * No rank holds more than a chunk of others' rows at a time. */
flip_status flip_all_pairs_measure(flip_link_scores *scores, flip_comm *comm, const flip_gid *first,
                                   const flip_pair_rows *rows, const flip_true_pairs *pairs);

/* ---- running ------------------------------------------------------------------------------ */

/* What the library needs of the caller's settings table, and where its words go. The functions are
 * src/cli/settings.h's. */
typedef struct flip_io {
    FILE *out;                  /* lines for people, on rank 0; NULL = silent */
    const flip_settings *asked; /* as the user gave them, before anything was decided */
    void (*print)(const flip_settings *settings, const flip_settings *asked, FILE *out);
    char *(*to_json)(const flip_settings *settings); /* one object; caller frees with free() */
    /* Take the settings that shape the result from JSON made by to_json. */
    flip_status (*from_json)(flip_settings *settings, const char *json);
    /* Refuse, naming the first key, when `settings` would give another result than those in `json`,
     * which belong to checkpoint `path`. */
    flip_status (*match)(const flip_settings *settings, const char *json, const char *path);
} flip_io;

typedef struct flip_result {
    int64_t epochs, best_epoch;
    double loss;               /* training loss of the last epoch */
    double train, valid, test; /* metric with the best epoch's parameters; NaN = none */
    char metric[FLIP_WORD_SIZE];
    flip_link_scores link[3]; /* link prediction: train, valid, test by every metric; ap: MAP */
    char candidates[256], definition[256]; /* of link prediction: what is ranked, and how */
} flip_result;

/* Refuses what sliding windows cannot be combined with. Local; flip_train and the others ask it, a
 * program may ask earlier. */
flip_status flip_protocol_check(const flip_settings *settings);

/* Refuses what sampled batches (--batch N) cannot be combined with. Local, as above. */
flip_status flip_batch_check(const flip_settings *settings);
bool flip_settings_batched(const flip_settings *settings); /* batch is not "full" */

/* Collective. Trains as the settings say and writes report and checkpoint. FLIP_STOPPED after a
 * checkpoint when some rank got SIGUSR1 or SIGTERM. */
flip_status flip_train(flip_result *result, flip_comm *comm, const flip_settings *settings,
                       const flip_io *io);
/* Collective. The settings a checkpoint was trained with (those that shape the result). */
flip_status flip_checkpoint_settings(flip_settings *settings, flip_comm *comm, const char *path,
                                     const flip_io *io);
/* Collective. Metric of the three splits with the checkpoint's best parameters. */
flip_status flip_evaluate(flip_result *result, flip_comm *comm, const flip_settings *settings,
                          const flip_io *io);
/* Collective. Rank 0 writes CSV with the ids and class names of the original data: one line a node
 * (and step where labels change), in the order of the original ids; edge tasks one line a labelled
 * event, link prediction one a test candidate. */
flip_status flip_predict(flip_comm *comm, const flip_settings *settings, const flip_io *io);

#ifdef __cplusplus
}
#endif
#endif
