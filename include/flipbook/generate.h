/* Flipbook: generate — seeded synthetic graphs, written straight into a container.
 *
 * A generator is a set of pure functions: what an item (a node, an edge number, a ring) sends at a
 * step, and what a node's features, label and split are. Every draw is a function of (seed, item,
 * step, number), so the file has the same bytes for any number of ranks:
 *
 *     item, step ──emit──▶ events ──all-to-all──▶ owner of the destination ──sort──▶ container
 *
 * The destinations are walked in windows of about 4 million events, so no rank ever holds more than
 * its share of a window, whatever the size of the graph.
 *
 * All functions are collective over comm (NULL = one rank) and commit the file or leave nothing.
 * Errors: FLIP_ERROR_USAGE for parameters out of range (the message names the option and range),
 * FLIP_ERROR_IO and FLIP_ERROR_MEMORY as the writer reports them.
 */
#ifndef FLIPBOOK_GENERATE_H
#define FLIPBOOK_GENERATE_H

#include <flipbook/comm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What every generator has. Splits are drawn per node: train, then valid, the rest is test. */
typedef struct flip_generate_common {
    int64_t n_nodes;
    int32_t n_steps;    /* 1 = static */
    int32_t n_features; /* columns; 0 = none */
    int32_t n_splits;   /* independent draws of train / valid / test */
    double train, valid;
    double signal; /* distance of the class centres (sbm, rmat) or of a fraud account (payments), in
                      standard deviations of the noise, per column */
    double spectrum; /* sbm, rmat: columns are correlated, the i-th principal axis has variance
                        proportional to i^-spectrum, 1 a column on average; 0 = independent */
    uint64_t seed;
} flip_generate_common;

/* Stochastic block model, undirected (both directions stored). At every step each node proposes
 * degree_in / 2 neighbours in its own block and degree_out / 2 in others, anew at each step, so a
 * snapshot has about degree_in + degree_out neighbours a node; a pair drawn twice is stored once.
 * Blocks are scattered over the ids. With drift > 0 a node moves to another block with that chance
 * at each step. Label = block: of the last step, or, with labels_change, a row (node, step, class)
 * for the first step and each step at which the node moved. Features: the centre of the block in
 * which the node began plus unit noise, constant. */
typedef struct flip_sbm_params {
    flip_generate_common common;
    int32_t n_blocks;
    double degree_in, degree_out; /* average neighbours a node and step, inside and outside */
    double drift;                 /* chance that a node moves, each step */
    bool labels_change;
} flip_sbm_params;
#define FLIP_SBM_DEFAULTS                                                                          \
    {                                                                                              \
        .common = {.n_nodes = 10000,                                                               \
                   .n_steps = 1,                                                                   \
                   .n_features = 16,                                                               \
                   .n_splits = 1,                                                                  \
                   .train = .2,                                                                    \
                   .valid = .2,                                                                    \
                   .signal = .4},                                                                  \
        .n_blocks = 10, .degree_in = 8, .degree_out = 2                                            \
    }

/* R-MAT (Chakrabarti, Zhan, Faloutsos, SDM 2004): each edge descends ceil(log2 N) levels of a
 * quartered adjacency with chances a, b, c, 1-a-b-c. Ids are scrambled by a seeded bijection, so an
 * id says nothing about degree. Dynamic: step t has (1 + growth)^t times the edges of step 0 and,
 * likewise, only the first nodes (of a seeded order) take part, all of them at the last step.
 * Duplicates within a step are stored once; self loops are drawn again. Label = the top bits of the
 * unscrambled id (the model's own communities), features: the class centre plus unit noise. */
typedef struct flip_rmat_params {
    flip_generate_common common;
    int64_t n_edges; /* drawn over all steps, before duplicates are merged */
    int32_t n_classes;
    double a, b, c;
    double growth;   /* per step */
    bool undirected; /* store both directions */
} flip_rmat_params;
#define FLIP_RMAT_DEFAULTS                                                                         \
    {                                                                                              \
        .common = {.n_nodes = 16384,                                                               \
                   .n_steps = 1,                                                                   \
                   .n_features = 16,                                                               \
                   .n_splits = 1,                                                                  \
                   .train = .2,                                                                    \
                   .valid = .2,                                                                    \
                   .signal = .4},                                                                  \
        .n_edges = 131072, .n_classes = 8, .a = .57, .b = .19, .c = .19, .undirected = true        \
    }

/* A payment network that changes over time, with planted laundering rings.
 *
 * Accounts live in regions of about 200. Activity follows a power law; a payment goes to one of the
 * account's few regular partners, to a well-known account of the region, or to a well-known account
 * anywhere. Amounts are log-normal.
 *
 * A ring is 4 to 10 accounts of one kind: cycle (money goes round, a few per cent lost at each hop,
 * one hop a step), fan-in (all pay a collector within a step, who pays one on in the next) or
 * fan-out (the reverse). Rings run again and again over the whole timeline, beside the ordinary
 * payments of their accounts. For each ring two clubs pay in the same patterns for honest reasons,
 * so that the pattern alone convicts nobody.
 *
 * Events: payer -> payee, weight = amount in hundreds, label 0 ordinary, 1 laundering. Nodes: class
 * normal or fraud (in a ring); features (8, or more columns of noise): business, activity, age,
 * balance, and four habits (night, foreign, cash, new partners), of which the last four and the age
 * are shifted by `signal` for fraud accounts: each alone says little, a ring's accounts together
 * say much. */
typedef struct flip_payments_params {
    flip_generate_common common;
    int32_t n_rings;      /* 0 = one for 130 accounts */
    double payments;      /* ordinary payments an account and step, on average */
    double ring_activity; /* chance that a ring starts a round, each step */
} flip_payments_params;
#define FLIP_PAYMENTS_DEFAULTS                                                                     \
    {                                                                                              \
        .common = {.n_nodes = 20000,                                                               \
                   .n_steps = 60,                                                                  \
                   .n_features = 8,                                                                \
                   .n_splits = 1,                                                                  \
                   .train = .5,                                                                    \
                   .valid = .2,                                                                    \
                   .signal = .45},                                                                 \
        .n_rings = 0, .payments = .25, .ring_activity = .35                                        \
    }

/* What was written; equal on every rank. */
typedef struct flip_generate_counts {
    int64_t n_nodes, n_events, n_steps, n_rings, n_fraud;
} flip_generate_counts;

flip_status flip_generate_sbm(flip_comm *comm, const char *path, const flip_sbm_params *params,
                              flip_generate_counts *counts);
flip_status flip_generate_rmat(flip_comm *comm, const char *path, const flip_rmat_params *params,
                               flip_generate_counts *counts);
flip_status flip_generate_payments(flip_comm *comm, const char *path,
                                   const flip_payments_params *params,
                                   flip_generate_counts *counts);

#ifdef __cplusplus
}
#endif
#endif
