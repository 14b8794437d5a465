/* R-MAT: A Recursive Model for Graph Mining (Chakrabarti, Zhan, Faloutsos, SDM 2004). */
#include "datasets/generate.h"

#include <math.h>
#include <string.h>

typedef struct rmat {
    const flip_rmat_params *p;
    int levels;          /* ceil(log2 n_nodes) */
    int64_t *first_edge; /* [n_steps + 1] edges of step t: first_edge[t] … */
    int64_t *n_active;   /* [n_steps] places 0 … n_active-1 of the seeded order take part */
} rmat;

/* One walk down the quarters; draws 2 levels a counter word pair. */
static void descend(const rmat *r, int64_t edge, int32_t attempt, int64_t *row, int64_t *column) {
    const flip_rmat_params *p = r->p;
    *row = *column = 0;
    for (int level = 0; level < r->levels; level++) {
        double u = flip_draw_uniform(p->common.seed, FLIP_DRAW_TARGET, attempt, edge, level);
        int right = (u >= p->a && u < p->a + p->b) || u >= p->a + p->b + p->c;
        int down = u >= p->a + p->b;
        *row = *row << 1 | down;
        *column = *column << 1 | right;
    }
}

/* The node at a place of the recursion. */
static flip_gid node_of(const rmat *r, int64_t place) {
    return flip_random_permute(r->p->common.seed, FLIP_STREAM_GENERATE, r->p->common.n_nodes,
                               place);
}

static int64_t n_items(void *self, int32_t step) {
    const rmat *r = self;
    return r->first_edge[step + 1] - r->first_edge[step];
}

/* Which places take part at a step is drawn apart from the recursion, so that growth does not fill
 * one quarter after the other. */
static bool active(const rmat *r, int32_t step, int64_t place) {
    int64_t n = r->p->common.n_nodes;
    return r->n_active[step] >= n ||
           flip_random_permute(r->p->common.seed + 1, FLIP_STREAM_GENERATE, n, place) <
               r->n_active[step];
}

enum { ATTEMPTS = 256 };

static void emit(void *self, int32_t step, int64_t item, flip_made_sink *sink) {
    const rmat *r = self;
    int64_t edge = r->first_edge[step] + item, row, column, n = r->p->common.n_nodes;
    for (int32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        descend(r, edge, attempt, &row, &column);
        if (row >= n || column >= n || row == column) continue;
        if (!active(r, step, row) || !active(r, step, column)) continue;
        flip_gid u = node_of(r, row), v = node_of(r, column);
        flip_made_push(sink, &(flip_made_event){.dst = u, .src = v, .step = step, .weight = 1});
        if (r->p->undirected)
            flip_made_push(sink, &(flip_made_event){.dst = v, .src = u, .step = step, .weight = 1});
        return;
    }
}

static int32_t label(void *self, flip_gid node, int32_t step) {
    const rmat *r = self;
    int64_t n = r->p->common.n_nodes,
            place = flip_random_permute_back(r->p->common.seed, FLIP_STREAM_GENERATE, n, node);
    (void)step;
    return (int32_t)((double)place / (double)n * r->p->n_classes);
}

static void features(void *self, flip_gid node, float *out) {
    const rmat *r = self;
    flip_class_features(&r->p->common, node, label(self, node, 0), out);
}

static flip_status check(const flip_rmat_params *p) {
    FLIP_TRY(flip_generate_check(&p->common, "rmat"));
    FLIP_TRY(flip_generate_range("edges", (double)p->n_edges, 0, 0x1p40));
    FLIP_TRY(flip_generate_range("classes", p->n_classes, 1, (double)p->common.n_nodes));
    FLIP_TRY(flip_generate_range("a", p->a, 0, 1));
    FLIP_TRY(flip_generate_range("b", p->b, 0, 1));
    FLIP_TRY(flip_generate_range("c", p->c, 0, 1));
    FLIP_TRY(flip_generate_range("growth", p->growth, 0, 100));
    if (p->a + p->b + p->c > 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--a %g, --b %g and --c %g add up to more than 1", p->a,
                         p->b, p->c);
    return FLIP_OK;
}

/* Step t has (1 + growth)^t of step 0's edges, and the last step all nodes. */
static void schedule(rmat *r) {
    const flip_rmat_params *p = r->p;
    double total = 0, sum = 0;
    for (int32_t t = 0; t < p->common.n_steps; t++)
        total += pow(1 + p->growth, t - p->common.n_steps);
    for (int32_t t = 0; t < p->common.n_steps; t++) {
        sum += pow(1 + p->growth, t - p->common.n_steps);
        r->first_edge[t + 1] = (int64_t)llround((double)p->n_edges * fmin(1, sum / total));
        double share = pow(1 + p->growth, t + 1 - p->common.n_steps);
        int64_t n = (int64_t)ceil((double)p->common.n_nodes * share);
        r->n_active[t] = n < 2 ? 2 : n;
    }
    r->first_edge[p->common.n_steps] = p->n_edges;
}

flip_status flip_generate_rmat(flip_comm *comm, const char *path, const flip_rmat_params *params,
                               flip_generate_counts *counts) {
    flip_status status = FLIP_OK;
    rmat r = {.p = params};
    memset(counts, 0, sizeof *counts);
    FLIP_TRY_GOTO(check(params));
    size_t steps = (size_t)params->common.n_steps;
    FLIP_TRY_GOTO(flip_alloc_zero(&r.first_edge, steps + 1, sizeof *r.first_edge, "edge ranges"));
    FLIP_TRY_GOTO(flip_alloc_zero(&r.n_active, steps, sizeof *r.n_active, "growth"));
    while (((int64_t)1 << r.levels) < params->common.n_nodes)
        r.levels++;
    schedule(&r);
    flip_generator g = {.name = "rmat",
                        .common = &params->common,
                        .n_classes = params->n_classes,
                        .undirected = params->undirected,
                        .merge_duplicates = true,
                        .expected_events = (double)params->n_edges * (params->undirected ? 2 : 1),
                        .self = &r,
                        .n_items = n_items,
                        .emit = emit,
                        .features = features,
                        .label = label};
    FLIP_TRY_GOTO(flip_generator_run(&g, comm, path, counts));
done:
    flip_free(r.first_edge);
    flip_free(r.n_active);
    return status;
}
