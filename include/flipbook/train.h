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
    FLIP_FEATURES_LEARNED
} flip_features_kind;
typedef enum flip_feature_norm {
    FLIP_FEATURE_NORM_AUTO,
    FLIP_FEATURE_NORM_ROW,
    FLIP_FEATURE_NORM_NONE
} flip_feature_norm;
typedef enum flip_head { FLIP_HEAD_AUTO, FLIP_HEAD_LINEAR, FLIP_HEAD_MLP, FLIP_HEAD_DOT } flip_head;
typedef enum flip_optimizer_choice {
    FLIP_CHOICE_ADAM,
    FLIP_CHOICE_ADAMW,
    FLIP_CHOICE_SGD
} flip_optimizer_choice;

enum { FLIP_PATH_SIZE = 1024, FLIP_WORD_SIZE = 128 };
#define FLIP_UNSET (-1) /* `auto` of a number */

typedef struct flip_settings {
    /* model */
    int32_t model; /* flip_model_kind, then the models of later versions */
    int32_t task;  /* flip_task */
    int64_t layers, hidden, heads;
    int32_t aggregator; /* 0 mean, 1 pool */
    int32_t structure, temporal, cell;
    bool residual;
    int32_t norm; /* flip_norm */
    int32_t edge_head;
    /* optimisation */
    int64_t epochs, patience;
    double lr, weight_decay, momentum, dropout, input_dropout, clip;
    int32_t optimizer;
    char class_weights[FLIP_WORD_SIZE]; /* none, auto or a,b,… */
    int64_t seed;
    int32_t precision; /* 0 fp32, 1 bf16 */
    char metric[FLIP_WORD_SIZE];
    int64_t negatives, eval_negatives, eval_every;
    /* data */
    int32_t features, feature_norm;
    char split[FLIP_WORD_SIZE]; /* auto, K or random:20/30@SEED */
    char split_steps[FLIP_WORD_SIZE];
    /* time */
    int64_t edge_life, window, history;
    int32_t gcn_norm; /* 0 row, 1 inout */
    /* running */
    int32_t device;
    int64_t threads;
    char batch[FLIP_WORD_SIZE], fanout[FLIP_WORD_SIZE];
    int32_t distribute, transfer;
    int64_t blocks, memory;
    bool precompute;
    int64_t cache_bytes;
    char codec[FLIP_WORD_SIZE], wire_codec[FLIP_WORD_SIZE];
    int32_t activations;
    int64_t parts_per_rank;
    /* files */
    char report[FLIP_PATH_SIZE], checkpoint[FLIP_PATH_SIZE], resume[FLIP_PATH_SIZE];
    int64_t checkpoint_every;
    /* evaluate and predict */
    char output[FLIP_PATH_SIZE];
    bool json;
    char graph[FLIP_PATH_SIZE];
} flip_settings;

#ifdef __cplusplus
}
#endif
#endif
