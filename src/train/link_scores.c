/* Link prediction against all pairs, step by step, and what the numbers mean. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* ---- all pairs, block by block ---- */

flip_status flip_link_steps_create(flip_link_steps *steps, int32_t n_steps) {
    steps->n_steps = n_steps;
    return flip_alloc_zero(&steps->at, (size_t)n_steps, sizeof *steps->at, "scores of steps");
}

void flip_link_steps_finish(flip_link_steps *steps) {
    flip_free(steps->at);
    memset(steps, 0, sizeof *steps);
}

/* True pairs of `part` whose embeddings are of step t, by row. Links are sorted by (target,
 * original id of the source): a source's stand together, sources in another order than rows. */
static flip_status true_pairs(const flip_links *links, flip_part part, int32_t target,
                              flip_gid first, int32_t n_rows, int32_t **row, flip_gid **v,
                              int64_t *n) {
    int64_t low, high, *at = NULL;
    flip_status status;
    flip_links_of_target(links, target, &low, &high);
    FLIP_TRY_GOTO(flip_alloc(row, (size_t)(high - low), sizeof **row, "true pairs"));
    FLIP_TRY_GOTO(flip_alloc(v, (size_t)(high - low), sizeof **v, "true pairs"));
    FLIP_TRY_GOTO(flip_alloc_zero(&at, (size_t)n_rows + 1, sizeof *at, "true pairs"));
    for (int64_t i = low; i < high; i++)
        if (links->part[i] == (int)part && !links->given[i]) at[links->u[i] - first + 1]++;
    for (int32_t r = 0; r < n_rows; r++)
        at[r + 1] += at[r];
    *n = at[n_rows];
    for (int64_t i = low; i < high; i++) {
        if (links->part[i] != (int)part || links->given[i]) continue;
        int64_t to = at[links->u[i] - first]++;
        (*row)[to] = (int32_t)(links->u[i] - first);
        (*v)[to] = links->v[i];
    }
done:
    flip_free(at);
    return status;
}

flip_status flip_link_steps_add(flip_link_steps *steps, const flip_link_view *view,
                                const flip_links *links, flip_part part, int32_t lead) {
    flip_head_split split;
    flip_real *a = NULL, *b = NULL;
    flip_gid first = view->first[flip_comm_rank(view->comm)];
    int32_t *row = NULL;
    flip_gid *v = NULL;
    flip_status status;
    FLIP_TRY(flip_head_take_apart(&split, view->head, view->params));
    size_t n = (size_t)view->n_rows * (size_t)split.width;
    status = flip_alloc(&a, n, sizeof *a, "embeddings as sources");
    if (status == FLIP_OK) status = flip_alloc(&b, n, sizeof *b, "embeddings as destinations");
    FLIP_TRY_GOTO(flip_comm_agree(view->comm, status));
    for (int32_t k = 0; k < view->steps; k++) {
        int32_t t = view->first_step + k;
        flip_true_pairs pairs = {0};
        status = true_pairs(links, part, t + lead, first, view->n_rows, &row, &v, &pairs.n);
        FLIP_TRY_GOTO(flip_comm_agree(view->comm, status));
        int64_t any = pairs.n;
        FLIP_TRY_GOTO(flip_comm_max_i64(view->comm, &any, 1));
        if (any > 0) {
            pairs.row = row;
            pairs.v = v;
            flip_head_ends(view->head, view->params, view->n_rows, view->h + (int64_t)k * view->dim,
                           (int64_t)view->steps * view->dim, a, b);
            flip_pair_rows rows = {split.width, split.w, split.bias, a, b};
            FLIP_TRY_GOTO(
                flip_all_pairs_measure(&steps->at[t], view->comm, view->first, &rows, &pairs));
            if (flip_comm_rank(view->comm) > 0) steps->at[t].true_pairs = 0; /* counted once */
        }
        flip_free(row);
        flip_free(v);
        row = NULL;
        v = NULL;
    }
done:
    flip_free(row);
    flip_free(v);
    flip_free(a);
    flip_free(b);
    return status;
}

flip_status flip_link_steps_mean(flip_link_scores *mean, const flip_link_steps *steps,
                                 flip_comm *comm) {
    enum { WIDTH = 5 };
    double *all, n = 0, n_auc = 0;
    *mean = (flip_link_scores){0, 0, {0, 0}, 0};
    FLIP_TRY(flip_alloc_zero(&all, (size_t)steps->n_steps * WIDTH, sizeof *all, "scores of steps"));
    for (int32_t t = 0; t < steps->n_steps; t++) {
        const flip_link_scores *s = &steps->at[t];
        double values[WIDTH] = {(double)s->true_pairs, s->ap, s->mrr[0], s->mrr[1], s->auc};
        if (s->true_pairs) memcpy(all + (size_t)t * WIDTH, values, sizeof values);
    }
    flip_status status = flip_comm_sum_f64(comm, all, (size_t)steps->n_steps * WIDTH);
    for (int32_t t = 0; t < steps->n_steps && status == FLIP_OK; t++) {
        const double *s = all + (size_t)t * WIDTH;
        if (s[0] == 0) continue;
        mean->true_pairs += (int64_t)s[0];
        mean->ap += s[1];
        mean->mrr[0] += s[2];
        mean->mrr[1] += s[3];
        n++;
        if (isnan(s[4])) continue;
        mean->auc += s[4];
        n_auc++;
    }
    mean->ap /= n; /* NaN without a step */
    mean->mrr[0] /= n;
    mean->mrr[1] /= n;
    mean->auc /= n_auc;
    flip_free(all);
    return status;
}

double flip_link_scores_metric(const flip_link_scores *scores, const flip_metric *metric) {
    switch (metric->kind) {
    case FLIP_METRIC_AUC:
        return scores->auc;
    case FLIP_METRIC_MRR:
        return scores->mrr[metric->filtered];
    default:
        return scores->ap;
    }
}

/* ---- sampled or pinned candidates ---- */

flip_status flip_link_scores_items(flip_link_scores *scores, flip_comm *comm,
                                   const flip_scored *items) {
    const flip_metric mrr[2] = {{.kind = FLIP_METRIC_MRR},
                                {.kind = FLIP_METRIC_MRR, .filtered = true}};
    const flip_metric map = {.kind = FLIP_METRIC_MAP}, auc = {.kind = FLIP_METRIC_AUC};
    FLIP_TRY(flip_metric_measure(&scores->ap, &map, comm, items));
    FLIP_TRY(flip_metric_measure(&scores->auc, &auc, comm, items));
    FLIP_TRY(flip_metric_measure(&scores->mrr[0], &mrr[0], comm, items));
    return flip_metric_measure(&scores->mrr[1], &mrr[1], comm, items);
}

/* ---- what the numbers mean ---- */

void flip_link_candidates(const flip_data *data, char *text, size_t size) {
    if (data->s.eval_negatives == FLIP_EVAL_ALL)
        snprintf(text, size,
                 "all %lld x %lld ordered pairs of nodes of a step, a node with itself too (self "
                 "loops are true pairs)",
                 (long long)data->info->n_nodes, (long long)data->info->n_nodes);
    else if (data->s.eval_negatives == FLIP_EVAL_GIVEN)
        snprintf(text, size, "the true pairs and the non-edges pinned in the file");
    else
        snprintf(text, size,
                 "the true pairs and %lld non-edges for each (same source, another destination, "
                 "seed %lld)",
                 (long long)data->s.eval_negatives, (long long)data->s.seed);
}

void flip_link_definition(const flip_data *data, char *text, size_t size) {
    bool all = data->s.eval_negatives == FLIP_EVAL_ALL;
    bool live = data->s.protocol == FLIP_PROTOCOL_LIVE;
    const char *steps = live  ? "mean over the steps, each scored before it is learned"
                        : all ? "mean over the steps"
                              : "mean over the steps by their true pairs";
    switch (data->metric.kind) {
    case FLIP_METRIC_MRR:
        snprintf(text, size,
                 "1 / rank among the source's candidates, its other true pairs left %s, equal "
                 "scores in the middle; mean over a source's true pairs, over the sources, %s",
                 data->metric.filtered ? "out" : "in", steps);
        break;
    case FLIP_METRIC_MAP:
        snprintf(text, size, "one average precision over all candidates of a step; %s", steps);
        break;
    default:
        snprintf(text, size, "over all candidates of %s%s", all || live ? "a step; " : "the split",
                 all || live ? steps : "");
    }
}
