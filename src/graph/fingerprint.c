/* A number for what the file says, whoever owns it: hashes of nodes and of events under their
 * original ids, summed. Sums do not depend on order, so neither on ranks nor on the partition. */
#include "graph/shard.h"

#include <string.h>
#include <xxhash.h>

static uint64_t hash_nodes(const flip_graph *g) {
    const flip_graph_info *info = &g->info;
    const size_t n = (size_t)g->n_own, steps = (size_t)info->n_steps;
    const size_t features =
        (size_t)info->n_features * (info->features_change ? steps : 1) * sizeof *g->features;
    const size_t labels = (info->labels_change ? steps : 1) * sizeof *g->labels;
    const size_t targets = steps * (size_t)info->n_targets * sizeof *g->targets;
    uint64_t sum = 0;
    for (size_t v = 0; v < n; v++) {
        uint64_t h = XXH3_64bits_withSeed(&g->original[v], sizeof *g->original, 1);
        if (g->features)
            h = XXH3_64bits_withSeed((const char *)g->features + v * features, features, h);
        if (g->codes) {
            size_t bytes = (size_t)info->code_bytes;
            size_t first = g->code_first ? (size_t)g->code_first[v] : v;
            size_t rows = g->code_first ? (size_t)g->code_first[v + 1] - first : 1;
            h = XXH3_64bits_withSeed(g->codes + first * bytes, rows * bytes, h);
            if (g->code_step)
                h = XXH3_64bits_withSeed(g->code_step + first, rows * sizeof *g->code_step, h);
        }
        if (g->refinement) {
            size_t bytes = (size_t)info->refinement_bytes;
            h = XXH3_64bits_withSeed(g->refinement + v * bytes, bytes, h);
        }
        if (g->labels) h = XXH3_64bits_withSeed((const char *)g->labels + v * labels, labels, h);
        if (g->targets)
            h = XXH3_64bits_withSeed((const char *)g->targets + v * targets, targets, h);
        for (size_t k = 0; g->splits && k < (size_t)info->n_splits; k++)
            h = XXH3_64bits_withSeed(&g->splits[k * n + v], 1, h);
        sum += h;
    }
    return sum;
}

/* original [own | halo] of the events' sources by column. */
static uint64_t hash_events(const flip_graph *g, const int32_t *column, const int64_t *original) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < g->events.n; i++) {
        struct {
            int64_t dst, src;
            double weight;
            int32_t step, label;
        } event = {.dst = g->original[g->dst[i] - g->first],
                   .src = original[column[i]],
                   .weight = g->weight ? g->weight[i] : 1,
                   .step = g->step ? g->step[i] : 0,
                   .label = g->event_label ? g->event_label[i] : 0};
        sum += XXH3_64bits_withSeed(&event, sizeof event, 2);
    }
    return sum;
}

flip_status flip_graph_take_fingerprint(flip_graph *g) {
    flip_status status;
    flip_plan *plan = NULL;
    int32_t *column = NULL, n_halo;
    int64_t *original = NULL;
    const size_t own = (size_t)g->n_own;
    FLIP_TRY_GOTO(flip_graph_sources(g, &plan, &column, &n_halo));
    status = flip_alloc(&original, own + (size_t)n_halo, sizeof *original, "original ids");
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, status));
    memcpy(original, g->original, own * sizeof *original);
    if (plan) FLIP_TRY_GOTO(flip_plan_fetch(plan, original, sizeof *original, original + own));
    int64_t sum = (int64_t)(hash_nodes(g) + hash_events(g, column, original));
    FLIP_TRY_GOTO(flip_comm_sum_i64(g->comm, &sum, 1));
    g->fingerprint = XXH3_64bits_withSeed(&sum, sizeof sum, (uint64_t)g->info.n_steps);
done:
    flip_plan_destroy(&plan);
    flip_free(column);
    flip_free(original);
    return status;
}
