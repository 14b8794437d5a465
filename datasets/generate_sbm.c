/* Stochastic block model, static or drifting (Holland, Laskey, Leinhardt 1983; drifting blocks as
 * in EvolveGCN's synthetic set, Pareja et al., AAAI 2020, section 4.1). */
#include "datasets/generate.h"

#include <string.h>

typedef struct sbm {
    const flip_sbm_params *p;
    int32_t *block;   /* [n_nodes] block at the step being emitted */
    int64_t *first;   /* [n_blocks + 1] members of block b: member[first[b]] … */
    flip_gid *member; /* [n_nodes] ascending within a block */
    int32_t step;     /* of the three above */
} sbm;

static int32_t first_block(const flip_sbm_params *p, flip_gid v) {
    return (int32_t)flip_draw_below(p->common.seed, FLIP_DRAW_BLOCK, 0, v, 0, p->n_blocks);
}

/* The block of v at `step`, given the one at the step before. */
static int32_t next_block(const flip_sbm_params *p, flip_gid v, int32_t step, int32_t before) {
    if (p->n_blocks < 2 || p->drift <= 0 ||
        flip_draw_uniform(p->common.seed, FLIP_DRAW_MOVE, step, v, 0) >= p->drift)
        return before;
    int64_t to = flip_draw_below(p->common.seed, FLIP_DRAW_MOVE_TO, step, v, 0, p->n_blocks - 1);
    return (int32_t)(to + (to >= before));
}

static int32_t block_at(const flip_sbm_params *p, flip_gid v, int32_t step) {
    int32_t block = first_block(p, v);
    if (p->drift > 0)
        for (int32_t t = 1; t <= step; t++)
            block = next_block(p, v, t, block);
    return block;
}

static flip_status begin_step(void *self, int32_t step) {
    sbm *s = self;
    const flip_sbm_params *p = s->p;
    int64_t n = p->common.n_nodes;
    if (s->step == step || (step > 0 && p->drift <= 0 && s->step >= 0)) return FLIP_OK;
    for (flip_gid v = 0; v < n; v++)
        s->block[v] = step == 0 ? first_block(p, v) : next_block(p, v, step, s->block[v]);
    memset(s->first, 0, sizeof *s->first * ((size_t)p->n_blocks + 1));
    for (flip_gid v = 0; v < n; v++)
        s->first[s->block[v]]++;
    for (int32_t b = 1; b <= p->n_blocks; b++)
        s->first[b] += s->first[b - 1]; /* ends; filled from the back, they become beginnings */
    for (flip_gid v = n - 1; v >= 0; v--)
        s->member[--s->first[s->block[v]]] = v;
    s->step = step;
    return FLIP_OK;
}

static int64_t n_items(void *self, int32_t step) {
    (void)step;
    return ((sbm *)self)->p->common.n_nodes;
}

static void push_both(flip_made_sink *sink, flip_gid u, flip_gid v, int32_t step) {
    flip_made_push(sink, &(flip_made_event){.dst = u, .src = v, .step = step, .weight = 1});
    flip_made_push(sink, &(flip_made_event){.dst = v, .src = u, .step = step, .weight = 1});
}

static void emit(void *self, int32_t step, int64_t u, flip_made_sink *sink) {
    sbm *s = self;
    const flip_sbm_params *p = s->p;
    uint64_t seed = p->common.seed;
    int32_t b = s->block[u];
    int64_t size = s->first[b + 1] - s->first[b], n = p->common.n_nodes;
    int32_t inside = flip_draw_round(seed, FLIP_DRAW_COUNT, step, 2 * u, p->degree_in / 2);
    int32_t outside = flip_draw_round(seed, FLIP_DRAW_COUNT, step, 2 * u + 1, p->degree_out / 2);
    for (int32_t k = 0; k < inside && size > 1; k++) {
        int64_t j = flip_draw_below(seed, FLIP_DRAW_TARGET, step, u, k, size);
        flip_gid v = s->member[s->first[b] + j];
        if (v != u) push_both(sink, u, v, step);
    }
    for (int32_t k = 0; k < outside && size < n; k++) {
        /* the j-th node that is not of block b: skip b's members in the list by blocks */
        int64_t j = flip_draw_below(seed, FLIP_DRAW_TARGET, step, u, inside + k, n - size);
        if (j >= s->first[b]) j += size;
        push_both(sink, u, s->member[j], step);
    }
}

static void features(void *self, flip_gid node, float *out) {
    const flip_sbm_params *p = ((sbm *)self)->p;
    flip_class_features(&p->common, node, first_block(p, node), out);
}

static int32_t label(void *self, flip_gid node, int32_t step) {
    return block_at(((sbm *)self)->p, node, step);
}

static flip_status check(const flip_sbm_params *p) {
    FLIP_TRY(flip_generate_check(&p->common, "sbm"));
    FLIP_TRY(flip_generate_range("blocks", p->n_blocks, 1, 1 << 20));
    FLIP_TRY(flip_generate_range("degree-in", p->degree_in, 0, 1 << 20));
    FLIP_TRY(flip_generate_range("degree-out", p->degree_out, 0, 1 << 20));
    FLIP_TRY(flip_generate_range("drift", p->drift, 0, 1));
    return FLIP_OK;
}

flip_status flip_generate_sbm(flip_comm *comm, const char *path, const flip_sbm_params *params,
                              flip_generate_counts *counts) {
    flip_status status = FLIP_OK;
    sbm s = {.p = params, .step = -1};
    memset(counts, 0, sizeof *counts);
    FLIP_TRY_GOTO(check(params));
    size_t n = (size_t)params->common.n_nodes;
    FLIP_TRY_GOTO(flip_alloc(&s.block, n, sizeof *s.block, "blocks"));
    FLIP_TRY_GOTO(flip_alloc(&s.member, n, sizeof *s.member, "block members"));
    FLIP_TRY_GOTO(
        flip_alloc(&s.first, (size_t)params->n_blocks + 1, sizeof *s.first, "block ranges"));
    flip_generator g = {.name = "sbm",
                        .common = &params->common,
                        .n_classes = params->n_blocks,
                        .undirected = true,
                        .merge_duplicates = true,
                        .expected_events = (params->degree_in + params->degree_out) * (double)n *
                                           params->common.n_steps,
                        .self = &s,
                        .begin_step = begin_step,
                        .n_items = n_items,
                        .emit = emit,
                        .features = features,
                        .label = label,
                        .labels_change = params->labels_change};
    FLIP_TRY_GOTO(flip_generator_run(&g, comm, path, counts));
done:
    flip_free(s.block);
    flip_free(s.member);
    flip_free(s.first);
    return status;
}
