/* Flipbook: sample — batches: a few seeds, their drawn neighbours, the rows they read.
 *
 * A batch of L layers is a chain of message-flow graphs (mfg), outermost first. The destinations of
 * each are the first rows of its sources, and the sources of layer l+1's mfg are the destinations
 * of layer l's:
 *
 *     mfg[0]: n_src rows (read from the store) ─▶ n_dst = mfg[1].n_src ─▶ … ─▶ mfg[L-1].n_dst =
 * seeds
 *
 * Draws are keyed by (seed, epoch, layer, node) alone, the order of seeds by (seed, epoch): the
 * same batches come out for any number of ranks and threads. Each rank takes those seeds of a batch
 * that it owns; all ranks take the same number of batches. Neighbours are drawn by the owner of the
 * destination, which has its in-edges: one exchange a layer brings ids there and draws back.
 *
 * Sampling: `fanout` neighbours of a node, without replacement (all of them where it has fewer) or
 * with; uniform or by weight (Efraimidis & Spirakis 2006: the largest u^(1/w)); LABOR (Balin &
 * Catalyurek, NeurIPS'23): one draw r_u a source for all destinations of a layer, so that they
 * share sources; temporal: only events before the seed's time (step), the most recent or at random.
 */
#ifndef FLIPBOOK_SAMPLE_H
#define FLIPBOOK_SAMPLE_H

#include <flipbook/store.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FLIP_SAMPLE_LAYERS = 8 }; /* most of a batch */

typedef enum flip_sample_kind {
    FLIP_SAMPLE_UNIFORM,
    FLIP_SAMPLE_WEIGHTED,
    FLIP_SAMPLE_LABOR
} flip_sample_kind;

typedef struct flip_sampler_params {
    const flip_gid *rank_first; /* [size + 1] borrowed */
    const int64_t *original;    /* [n_own] borrowed: what draws are keyed by and orders follow */
    const flip_events *events;  /* of own destinations; read at create */
    int32_t layers;
    int32_t fanout[FLIP_SAMPLE_LAYERS]; /* from the seeds outwards, as users write it; -1 = all */
    flip_sample_kind kind;
    bool replace;
    bool temporal;                 /* only events with step < the seed's */
    flip_adjacency_kind adjacency; /* how drawn entries are weighted: MEAN, SUM, GCN, ATTENTION … */
    uint64_t seed;
} flip_sampler_params;

typedef struct flip_sampler flip_sampler;

typedef struct flip_mfg {
    flip_adjacency adjacency; /* n_own = n_dst rows, columns 0 … n_src-1; no halo, no plan */
    int32_t n_dst, n_src;
} flip_mfg;

/* One rank's share of a batch; memory is the batch's and is used again. */
typedef struct flip_batch {
    int32_t layers;
    flip_mfg mfg[FLIP_SAMPLE_LAYERS]; /* [0] reads the store */
    int32_t n_input, n_seeds;         /* mfg[0].n_src; mfg[layers-1].n_dst */
    const flip_gid *input;            /* [n_input] ids of the rows mfg[0] reads, seeds first */
    const int64_t *original;          /* [n_input] their original ids: dropout's keys */
    const int32_t *step;              /* [n_seeds] temporal; else NULL */
    flip_arena *arena;                /* owns everything above */
} flip_batch;

/* Collective. */
flip_status flip_sampler_create(flip_sampler **sampler, flip_comm *comm,
                                const flip_sampler_params *params);
void flip_sampler_destroy(flip_sampler **sampler);
flip_status flip_batch_create(flip_batch **batch);
void flip_batch_destroy(flip_batch **batch);
/* Collective. Draws for these seeds of this rank (own or not, distinct); n_seeds may be 0. May be
 * called by another thread than the tape's, one call at a time a sampler. */
flip_status flip_sampler_draw(flip_sampler *sampler, flip_batch *batch, int32_t n_seeds,
                              const flip_gid *seeds, const int32_t *step, int64_t epoch);
/* Collective. How often each own row is an input of a batch in one epoch (GNNLab's presampling), of
 * all ranks: heat [n_own]. seeds: this rank's training nodes; batch: of all ranks together. */
flip_status flip_sampler_heat(flip_sampler *sampler, int32_t n_seeds, const flip_gid *seeds,
                              int64_t batch, int64_t epoch, double *heat);
size_t flip_sampler_bytes(const flip_sampler *sampler);

/* ---- the order of seeds ---- */

/* Items 0 … n-1 of all ranks in the order of an epoch, cut into ceil(n / batch) batches; the last
 * is shorter. Which own items are in which batch: item [n_mine] (ascending inside a batch by their
 * place in the order) and first [n_batches + 1]. key [n_mine]: distinct over all ranks. Collective
 * (counts). */
typedef struct flip_batches {
    int64_t n, n_batches;
    int64_t *item, *first; /* owned */
} flip_batches;
flip_status flip_batches_create(flip_batches *batches, flip_comm *comm, int64_t n_mine,
                                const int64_t *key, int64_t batch, uint64_t seed, int64_t epoch);
void flip_batches_finish(flip_batches *batches);

#ifdef __cplusplus
}
#endif
#endif
