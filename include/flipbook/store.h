/* Flipbook: store — rows of features wherever they are: own, cached, on another rank.
 *
 * A rank holds the packed rows of its own nodes in host memory. In the device's memory (on the CPU
 * a separate allocation, so that the counters mean the same) stands the cache: the first C(p) rows
 * of every part p, its hottest, so that "is it cached, and where" is one subtraction and no map:
 *
 *     gid g of part p:  g - first[p] < C(p) ?  cache row before[p] + g - first[p]
 *                       else own                row of host memory  ──features_to_device──▶
 *                       else                    row of its owner    ──remote_features────▶
 *
 * Where the order inside parts (degree) is not that of the heat, `anywhere` lets the heat pick rows
 * one by one; a bit a node and a running count every 64 nodes, 1.5 bits a node in all, then say
 * where a row is. All ranks cache the same rows, chosen for the sum of their readings.
 *
 * Rows that change at steps: what is read of a node is its row of a step, and each row, which holds
 * for a run of steps, is cached by itself, so that none is served after it changed. The index then
 * says of each cached node which rows it has here and for which steps, 8 bytes a row and 4 a node
 * more:
 *
 *     node g at step t:  bit g, its i-th of the index: rows run[i] … run[i+1]-1, of which one may
 *                        have from <= t < to
 *
 * A rank knows nothing of the other rows of other ranks' nodes: it asks for node and step.
 *
 * Second levels of rows (codec.h) are a store of their own, of those nodes' codes: its own heat,
 * budget, counts, and an exchange at the same time.
 *
 * fetch brings packed rows (codes) of any ids together in a batch's order; they are decoded by the
 * kernels that read them. Bytes, with H hits, O own and R remote misses asked for by a rank, K rows
 * in the cache of which k are its own, and P ranks:
 *
 *     features_to_device = (K + O + R) * stride           K: once, when the cache is filled
 *     remote_features    = ((P-1) k + R') * stride        R' = what others asked of this rank
 *
 * counted by who sends; the ids asked for, 4 bytes each, are not counted.
 */
#ifndef FLIPBOOK_STORE_H
#define FLIPBOOK_STORE_H

#include <flipbook/codec.h>
#include <flipbook/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flip_store flip_store;

/* To `to` [stride]: the row of an own node (0 = the first) at a step. */
typedef void flip_row_writer(const void *of, int64_t node, int32_t step, void *to);

typedef struct flip_store_params {
    const flip_gid *rank_first; /* [size + 1] borrowed */
    const flip_gid *part_first; /* [n_parts + 1] borrowed; parts do not cross ranks */
    int32_t n_parts;
    const flip_codec *codec; /* borrowed; NULL = float32 rows of dim values */
    int32_t dim;             /* read where codec is NULL */
    const uint8_t *rows;     /* [n_rows, stride] packed rows of own nodes; borrowed; n_rows is n_own
                                but where they change: runs.first[n_own] */
    flip_runs runs;         /* of own rows that change at steps; borrowed; .first NULL = none do, on
                               all ranks alike */
    int32_t steps;          /* of the timeline; read where rows change */
    flip_row_writer *write; /* in place of rows, of own nodes; NULL = rows; called by any thread */
    const void *writes;     /* what it is called with; borrowed */
    const double *heat;     /* [n_rows] how often a row is read an epoch, of all ranks' readings
                               (flip_sampler_heat, or the degree), >= 0; read at create. NULL: parts
                               share the cache by their sizes */
    bool anywhere;        /* the cache takes the hottest rows wherever they stand in their parts */
    uint64_t cache_bytes; /* of device memory for rows and their index, on each rank; the least of
                             all ranks counts; 0 = no cache */
} flip_store_params;

/* Collective. Fills the cache: parts share it by heat, each part's prefix is brought from its
 * owner. Where heat does not fall inside a part, the prefix that gathers the most heat a row counts
 * (its concave hull). Ties go to lower ids. A budget below one row is a cache of nothing; above all
 * rows, all. */
flip_status flip_store_create(flip_store **store, flip_comm *comm, const flip_store_params *params);
void flip_store_destroy(flip_store **store); /* collective */
size_t flip_store_stride(const flip_store *store);
const flip_packing *flip_store_packing(const flip_store *store);
int64_t flip_store_cached_rows(const flip_store *store);
size_t flip_store_cache_bytes(const flip_store *store); /* cached rows and their index */
size_t flip_store_bytes(const flip_store *store);       /* held now, cache included */
/* Of a cache that holds rows wherever they stand, for so many nodes; of rows that change without
 * what stands for each row and cached node. */
uint64_t flip_store_index_bytes(int64_t n_nodes);
/* The row that the node has at the step. */
bool flip_store_is_cached(const flip_store *store, flip_gid id, int32_t step);

typedef struct flip_store_counts {
    int64_t rows, hits, own, remote; /* asked for; found in the cache; own misses; remote misses */
} flip_store_counts;

/* Collective. Packed rows of ids [n] (distinct or not; read by begin) into out [n, stride], device
 * memory of the caller; before [n], read where rows change: row i as it is at step before[i] - 1,
 * the last before a seed's (flip_batch.step). Between begin and end rows of other ranks are on
 * their way. begin may be called by another thread than the tape's, one fetch at a time a store:
 * its exchanges have a communicator of their own. An id that no rank owns is an error on every
 * rank. */
flip_status flip_store_fetch_begin(flip_store *store, int64_t n, const flip_gid *ids,
                                   const int32_t *before, uint8_t *out);
flip_status flip_store_fetch_end(flip_store *store);
flip_store_counts flip_store_counted(const flip_store *store); /* since create */
/* Where the bytes are counted from now on: a meter of the thread that fetches; NULL = that of the
 * communicator it was made from. */
void flip_store_meter(flip_store *store, flip_meter *meter);

/* Collective. heat [n]: how often own rows were read, of which most are few; expected [n] >= 0:
 * what is in proportion to how often they should be (flip_sampler_expect, or the degree). Adds
 * `weight` times what that lets expect, as the mean of a Poisson rate with a gamma prior does;
 * weight 1 / E: as if one more epoch than the E counted. The same hottest rows for any number of
 * ranks where sums of heat and `expected` are exact. */
flip_status flip_heat_smooth(flip_comm *comm, int64_t n, double *heat, const double *expected,
                             double weight);

/* What of one budget goes to lists of neighbours (sample.h: flip_sampler_keep), to rows, and to
 * their second levels. A row saves its bytes each time it is read, so that its density is its heat,
 * whatever its bytes, and a second level's is the heat of what is read with it. */
typedef struct flip_budget_params {
    uint64_t bytes;            /* of each rank, the same on all */
    int64_t n;                 /* own nodes */
    size_t stride;             /* bytes of a row */
    const double *heat;        /* [n] readings of a row, >= 0 */
    size_t fine_stride;        /* bytes of a second level */
    const double *fine_heat;   /* [n] readings of it, 0 where there are none; NULL = none at all */
    const double *saved;       /* [n] bytes between ranks that a list would save in the same time */
    const int64_t *list_bytes; /* [n] 0 = no list */
} flip_budget_params;
typedef struct flip_budget_shares {
    uint64_t row_bytes, fine_bytes; /* row_bytes: what is left for rows */
} flip_budget_shares;
/* Collective. By bytes saved a byte: list [n] is 1 where an own node's list is to be kept by the
 * other ranks. */
flip_status flip_budget_split(uint8_t *list, flip_budget_shares *shares, flip_comm *comm,
                              const flip_budget_params *params);

/* ---- rows to learn a codec from ---- */

/* Rows given out in pieces: rows first … first+count-1 of this rank's, float32 [count, dim]. */
typedef struct flip_row_source {
    int64_t n; /* rows of this rank */
    int32_t dim;
    const int64_t *key; /* [n] original ids, distinct over all ranks; borrowed */
    flip_status (*rows)(void *data, int64_t first, int64_t count, float *out);
    void *data;
} flip_row_source;
/* Collective. The `want` rows (all where there are fewer) with the smallest hashes of (seed, key),
 * in ascending order of their keys, on rank 0: *sample [*n, dim], the caller's (flip_free);
 * elsewhere NULL and 0. The same for any number of ranks. `rows` is called by each rank as often as
 * it has to be, so it must not be collective. */
flip_status flip_rows_draw(float **sample, int64_t *n, flip_comm *comm,
                           const flip_row_source *source, int64_t want, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
