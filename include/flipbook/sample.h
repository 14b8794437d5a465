/* Flipbook: sample — batches: a few seeds, their drawn neighbours, the rows they read.
 *
 * A batch of L layers is a chain of message-flow graphs (mfg), outermost first. The destinations of
 * each are the first rows of its sources, and the sources of layer l+1's mfg are the destinations
 * of layer l's:
 *
 *     mfg[0]: n_src rows (features) ─▶ n_dst = mfg[1].n_src ─▶ … ─▶ mfg[L-1].n_dst = seeds
 *
 * Draws are keyed by (seed, epoch, hop, original id of the destination) alone, the order of seeds
 * by (seed, epoch): the same batches come out for any number of ranks and threads. Each rank takes
 * those seeds of a batch that it owns; all ranks take the same number of batches. Neighbours are
 * drawn by the owner of the destination, which has its in-edges: one exchange a hop brings ids
 * there and draws back.
 *
 * Sampling: `fanout` in-edges of a node, without replacement (all of them where it has fewer) or
 * with; a doubled edge counts twice. Uniform; by weight (Efraimidis & Spirakis 2006: the largest
 * u^(1/w)); LABOR (Balin & Catalyurek, NeurIPS'23, its LABOR-0): one draw r_u a source for all
 * destinations of a hop, entry (v, u) taken where r_u <= fanout / degree(v), so that destinations
 * share sources. Temporal: only events before the seed's step — of the `life` steps before it where
 * edges have a life —, at every hop, drawn or the most recent: what a snapshot of that step has.
 *
 * Values: a mean is that of the drawn entries; sums and GCN's normalised sums are scaled by degree
 * / drawn (LABOR: by 1 / probability), so that their expectation is the whole sum; GCN's own entry
 * is always there and exact. With fanout -1 every adjacency is the whole graph's.
 */
#ifndef FLIPBOOK_SAMPLE_H
#define FLIPBOOK_SAMPLE_H

#include <flipbook/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FLIP_SAMPLE_LAYERS = 8 }; /* most of a batch */

typedef enum flip_sample_kind {
    FLIP_SAMPLE_UNIFORM,
    FLIP_SAMPLE_WEIGHTED, /* events of weight 0 are never drawn */
    FLIP_SAMPLE_LABOR
} flip_sample_kind;

typedef struct flip_sampler_params {
    const flip_gid *rank_first; /* [size + 1] read at create */
    const int64_t *original;    /* [n_own] read at create: what draws are keyed by and orders
                                   follow; NULL = global ids */
    const flip_events *events;  /* of own destinations; read at create */
    int32_t layers;
    int32_t fanout[FLIP_SAMPLE_LAYERS]; /* from the seeds outwards, as users write it; -1 = all */
    flip_sample_kind kind;
    bool replace;
    bool temporal;                 /* only events with step < the seed's */
    int32_t steps;                 /* … which is at most this (read where batches are placed) */
    int32_t life;                  /* … and >= the seed's - life; 0 = from the first on */
    bool recent;                   /* … the most recent ones in place of drawn ones */
    flip_adjacency_kind adjacency; /* MEAN, SUM, GCN, GCN_INOUT, PATTERN or ATTENTION */
    bool in_place;       /* mfg[0] reads own rows where they stand: see flip_batch; of MEAN, SUM and
                            GCN alone */
    bool input_gradient; /* mfg[0] has its transpose too */
    uint64_t seed;
} flip_sampler_params;

typedef struct flip_sampler flip_sampler;
typedef struct flip_batch_memory flip_batch_memory;

typedef struct flip_mfg {
    flip_adjacency adjacency; /* n_own = n_dst rows, columns 0 … n_src-1; no halo, no plan */
    int32_t n_dst, n_src;
} flip_mfg;

/* One rank's share of a batch; memory is the batch's and is used again.
 *
 * Rows of all layers are numbered alike: seeds first, then what the first hop drew, then the next;
 * row i of any layer has original id original[i].
 *
 *     distinct   mfg[0] reads the n_input rows input[0 … n_input-1], each once
 *     in place   column c of mfg[0] is own row c where c < n_own (mfg[0].adjacency.a.n_own), else
 *                row c - n_own of the n_input rows of other ranks; column[i] is destination i's
 *
 * Of a placed sampler all arrays lie in its kernels' memory, and column has every row's own node,
 * a timeline's too.
 */
typedef struct flip_batch {
    int32_t layers;
    flip_mfg mfg[FLIP_SAMPLE_LAYERS];
    int32_t n_input, n_seeds;
    const flip_gid *input;     /* [n_input]; placed: NULL */
    const int64_t *original;   /* [mfg[0].n_src]; in place [mfg[0].n_dst]: dropout's keys */
    const int32_t *step;       /* temporal: likewise, the seed's step of each row; else NULL */
    const int32_t *column;     /* in place: [mfg[0].n_dst]; placed: as original; else NULL */
    flip_arena *arena;         /* owns everything above … */
    flip_batch_memory *memory; /* … but that of a placed sampler's */
} flip_batch;

/* Collective. */
flip_status flip_sampler_create(flip_sampler **sampler, flip_comm *comm,
                                const flip_sampler_params *params);
void flip_sampler_destroy(flip_sampler **sampler); /* collective */
flip_status flip_batch_create(flip_batch **batch);
void flip_batch_destroy(flip_batch **batch);
/* Collective. Draws for these seeds of this rank (own or not, distinct; temporal: distinct pairs of
 * seed and step) with these original ids (read); n_seeds may be 0. May be called by another thread
 * than the tape's, one call at a time a sampler: its exchanges have a communicator of their own. */
flip_status flip_sampler_draw(flip_sampler *sampler, flip_batch *batch, int32_t n_seeds,
                              const flip_gid *seeds, const int64_t *original, const int32_t *step,
                              int64_t epoch);
/* Where exchanges are counted from now on: a meter of the thread that draws; NULL = that of the
 * communicator it was made from. */
void flip_sampler_meter(flip_sampler *sampler, flip_meter *meter);
size_t flip_sampler_bytes(const flip_sampler *sampler);
/* What flip_sampler_create will hold, from counts alone. */
size_t flip_sampler_bytes_of(int64_t n_own, int64_t n_halo, int64_t n_events, bool weighted,
                             const flip_sampler_params *params);

/* ---- batches in a device's memory ----
 * A sampler may draw where the model computes: its rows are sent to the kernels' memory once, and
 * batches, the same to the last bit, are drawn and lie there. Only seeds and their steps are sent,
 * and sizes received. */

/* What keeps it on the host, in words; NULL: nothing. n_seeds: most of a batch. */
const char *flip_sampler_unplaced(const flip_sampler_params *params, int ranks, int64_t n_seeds,
                                  int64_t n_events);
/* Batches that are drawn from now on lie in these kernels' memory; they go before the kernels do.
 * The thread that draws is the one that calls the kernels. */
flip_status flip_sampler_place(flip_sampler *sampler, const flip_kernels *kernels);
/* What it takes of that memory, and what one batch takes of so many rows and entries a hop. LABOR
 * draws no set number: what is counted on is, a hop, three standard deviations more than a fanout a
 * row, as if all rows drew alike: fanout + 3 sqrt(fanout). A batch that draws more (neighbours that
 * many rows share, or doubled edges) takes more. */
size_t flip_sampler_placed_bytes_of(int64_t n_own, int64_t n_events, bool weighted,
                                    const flip_sampler_params *params);
/* Most rows after so many hops of n_seeds (all are distinct but of steps); LABOR's as above. */
int64_t flip_batch_most_rows(int64_t n_own, int64_t n_seeds, int64_t n_events,
                             const flip_sampler_params *params, int32_t hops);
size_t flip_batch_placed_bytes_of(int64_t n_own, int64_t n_seeds, int64_t n_events,
                                  const flip_sampler_params *params);

/* ---- the order of seeds ---- */

/* Items of all ranks in a seeded order, cut into n_batches of `batch` items, of which the last is
 * shorter: a new order each epoch. */
typedef struct flip_batches {
    int64_t n, n_mine, n_batches, batch; /* n: of all ranks */
    int64_t *number;                     /* [n_mine] owned: dense number of each own item */
    int64_t *item;                       /* [n_mine] owned: own items, batch after batch */
    int64_t *first;                      /* [n_batches + 1] owned: of item */
} flip_batches;
/* Collective. key [n_mine]: distinct over all ranks; the order depends on keys alone. batch: of all
 * ranks together, 0 = all items. */
flip_status flip_batches_create(flip_batches *batches, flip_comm *comm, int64_t n_mine,
                                const int64_t *key, int64_t batch);
/* item and first of this epoch. Local. */
flip_status flip_batches_shuffle(flip_batches *batches, uint64_t seed, int64_t epoch);
void flip_batches_finish(flip_batches *batches);

/* Collective. The batch is read once: adds to heat [n_own, steps] 1 for each own row that any
 * rank's batch has as input; steps 1: of a node at any step, else at the step before the seed's.
 * The sampler must not be in place. */
flip_status flip_sampler_count(flip_sampler *sampler, const flip_batch *batch, int32_t steps,
                               double *heat);
/* Collective. How often each own row is an input of a batch in one epoch (GNNLab's presampling), of
 * all ranks together: heat [n_own]. batches: of own nodes seed[item]. The sampler must not be in
 * place. */
flip_status flip_sampler_heat(flip_sampler *sampler, flip_batches *batches, const flip_gid *seed,
                              int64_t epoch, double *heat);
/* Collective. What is expected of that in one batch, drawn at random, without drawing any
 * (SALIENT++, MLSys'23): seed [n_own] -> heat [n_own]. seed: how often own nodes are seeds of a
 * batch, of all ranks. A row is read by a batch where it is a seed or drawn by a row of an earlier
 * hop,
 *
 *     heat_h+1(u) = 1 - prod over rows v that have u of (1 - heat_h(v) chance(v, u)),
 *
 * as if rows were independent, for each rank's rows v apart. Of a temporal sampler seeds and rows
 * are those of one step, `before` as a seed's step. saved [n_own] or NULL: bytes between ranks that
 * other ranks' questions about own nodes take in a batch, seeds' aside, which a list kept there
 * would save. */
flip_status flip_sampler_expect(flip_sampler *sampler, const double *seed, int32_t before,
                                double *heat, double *saved);

/* ---- lists of other ranks ----
 * A rank may keep the in-edges of other ranks' nodes; it then draws for them itself, the same
 * draws, and does not ask. Samplers of GCN's values, LABOR and steps keep none. */

/* Bytes of an own node's list on another rank; 0 = the sampler keeps none. */
size_t flip_sampler_list_bytes(const flip_sampler *sampler, int32_t v);
/* Collective. Lists of the own nodes with keep [n_own] go to every other rank, in place of those
 * that were kept before. */
flip_status flip_sampler_keep(flip_sampler *sampler, const uint8_t *keep);

typedef struct flip_sampler_counts {
    int64_t lists; /* kept here */
    size_t list_bytes;
    int64_t asked;  /* nodes asked for of other ranks, since create or flip_sampler_keep */
    int64_t listed; /* … and drawn from lists in place of that */
    uint64_t bytes; /* sent: 8 a question; for each that is answered two flip_real, 24 an entry */
} flip_sampler_counts;
flip_sampler_counts flip_sampler_counted(const flip_sampler *sampler);

#ifdef __cplusplus
}
#endif
#endif
