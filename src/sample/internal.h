/* Inside the sampler: its own rows, drawn entries, and the numbering of a batch. */
#ifndef FLIPBOOK_SAMPLE_INTERNAL_H
#define FLIPBOOK_SAMPLE_INTERNAL_H

#include "graph/internal.h"

#include <flipbook/sample.h>

/* In-edges of other ranks' nodes, kept here (lists.c). All owned. */
typedef struct flip_lists {
    int64_t n, n_entries;
    flip_gid *gid;       /* [n] ascending */
    int64_t *first;      /* [n + 1] of a list's entries */
    int64_t *key;        /* [n] original ids */
    uint8_t *looped;     /* [n] ATTENTION: has a self-loop */
    flip_gid *id;        /* [n_entries], in the owner's order */
    int64_t *original;   /* [n_entries] */
    flip_real *weight;   /* [n_entries] where draws are by weight, else NULL */
    double *weight_sums; /* [n_entries] where they come again: of a list's weights before each */
} flip_lists;

typedef struct placed placed; /* place.c */

struct flip_sampler {
    flip_comm *comm; /* owned; NULL = one rank */
    flip_sampler_params p;
    int size;
    flip_gid *rank_first; /* [size + 1] */
    flip_gid first;       /* first own id */
    int32_t n_own, n_cols;
    int64_t *row_ptr;  /* [n_own + 1] */
    int32_t *col;      /* [entries] own row, or n_own + halo row; ascending by original id, temporal
                          ones by step first */
    flip_real *weight; /* [entries] or NULL = all 1 */
    double *weight_sums; /* [entries] drawn by weight again: of a row's before each; else NULL */
    int32_t *step;       /* [entries] temporal, else NULL */
    int64_t *original;   /* [n_cols] */
    flip_gid *halo;      /* [n_cols - n_own] */
    flip_real *factor, *factor_v; /* GCN: of sources [n_cols], of destinations [n_own] (may be
                                     `factor`) */
    uint8_t *looped;              /* ATTENTION: [n_own] has a self-loop among its events */
    float *chance;                /* LABOR: r_u [layers, n_cols] of chance_epoch */
    int64_t chance_epoch;
    flip_lists lists;
    flip_sampler_counts counts;
    /* numbering of a batch */
    int32_t *slot;    /* [n_own] row in the batch, -1 = not in it; temporal: NULL */
    flip_gid_map far; /* of other ranks' nodes; temporal: of all, by id and step together */
    placed *placed;   /* owned: where batches lie in a device's memory; else NULL */
};

/* Entries drawn for some destinations. Arena memory. */
typedef struct drawn {
    int64_t *first;    /* [n + 1] */
    int32_t *col;      /* [first[n]] columns of the sampler, then rows of the batch */
    flip_real *value;  /* [first[n]] or NULL = all 1 */
    flip_real *scale;  /* [n] times the entries' values, or NULL */
    flip_gid *id;      /* [first[n]] global ids, or NULL where col says it all (one rank) */
    int64_t *original; /* [first[n]] beside id */
} drawn;

/* The transpose of drawn entries (kernels.h: turn_entries). */
typedef struct turned {
    int64_t *ptr;
    int32_t *col;
    flip_real *value; /* or NULL = all 1 */
    int64_t *place;   /* or NULL */
} turned;

/* mfg.c: a layer of so many entries; the arrays stay the caller's. */
void sample_set_mfg(const flip_sampler *s, flip_batch *b, int32_t layer, const drawn *d,
                    int64_t n_entries, int32_t n_dst, int32_t n_src);
void sample_set_transpose(flip_adjacency *g, const turned *t);
void sample_forget_far(flip_sampler *s); /* s->far is empty */
/* place.c: the batch of own seeds in the memory of s->placed. */
flip_status sample_placed(flip_sampler *s, flip_batch *b, int32_t n_seeds, const flip_gid *seeds,
                          const int32_t *step, int64_t epoch);
void sample_placed_free(placed **p);
void sample_free_memory(flip_batch_memory **memory);

/* draw.c: draws for own rows at a hop. step [n]: temporal, else NULL. */
flip_status sample_rows(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                        const int32_t *row, const int32_t *step, int32_t hop, int64_t epoch);
/* ask.c: draws for any nodes, those of other ranks by their owners: id and original are set unless
 * there is one rank. Collective. */
flip_status sample_nodes(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                         const flip_gid *node, const int32_t *step, int32_t hop, int64_t epoch);

/* lists.c: draws for lists of other ranks' nodes; id and original are set. */
flip_status sample_lists(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                         const int64_t *list, int32_t hop, int64_t epoch);
int64_t sample_list_of(const flip_sampler *s, flip_gid id); /* -1 = none */
void sample_lists_finish(flip_lists *lists);
size_t sample_lists_bytes(const flip_sampler *s, int64_t n, int64_t n_entries);

/* draw.c: the draws of a hop, without rows and shared chances. */
flip_draws sample_draws(const flip_sampler *s, int32_t hop, int64_t epoch);
/* draw.c: room for the CPU's keys (flip_drawn), or NULL. */
flip_status sample_keys(flip_arena *arena, const flip_draws *d, double **keys);
/* draw.c: those chances at every hop: chance [layers, n_cols], original [n_cols] of k's memory. */
void sample_share_chances(const flip_sampler *s, const flip_kernels *k, const int64_t *original,
                          int64_t epoch, float *chance);

static inline flip_gid sample_id(const flip_sampler *s, int32_t col) {
    return col < s->n_own ? s->first + col : s->halo[col - s->n_own];
}

/* Bytes between ranks: a question, the answer to it, and each drawn entry. */
enum {
    SAMPLE_QUESTION = 2 * sizeof(int32_t),
    SAMPLE_ANSWER = 2 * sizeof(flip_real),
    SAMPLE_ENTRY = sizeof(flip_gid) + sizeof(int64_t) + 8
};

static inline bool sample_has_values(const flip_sampler *s) {
    return flip_kind_diagonal(s->p.adjacency);
}
static inline bool sample_has_scales(const flip_sampler *s) {
    return s->p.adjacency == FLIP_ADJACENCY_MEAN || s->p.adjacency == FLIP_ADJACENCY_SUM;
}

/* Does the layer need its transpose? */
static inline bool sample_turns(const flip_sampler *s, int32_t layer) {
    return layer > 0 || s->p.input_gradient || flip_kind_bare(s->p.adjacency);
}

#endif
