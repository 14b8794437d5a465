/* Scores of a split's items, and how good they are. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

void flip_scored_finish(flip_scored *items) {
    flip_free((void *)items->score);
    flip_free((void *)items->label);
    flip_free((void *)items->target);
    flip_free((void *)items->step);
    flip_free((void *)items->source);
    memset(items, 0, sizeof *items);
}

static bool wants(int wanted, int part) {
    return wanted >> part & 1;
}

/* Nodes whose labels are constant are items once, of the chunk that has the first step. */
static bool counts_here(const flip_data *data) {
    const flip_layout *layout = data->layout;
    int32_t block;
    return !data->label_constant ||
           flip_layout_chunk_of(layout, layout->block_first[0], &block) == layout->chunk;
}

/* Rows of a mask: one a (node, step), or one a node where labels are constant; the mask of every
 * step is the same then. */
static int64_t count_rows(const flip_data *data, const uint8_t *mask) {
    int64_t n = 0, rows = flip_data_rows(data);
    for (int64_t i = 0; i < rows; i++)
        n += mask[i] != 0;
    return data->label_constant && data->layout->own_steps > 0 ? n / data->layout->own_steps : n;
}

static flip_status alloc_nodes(const flip_trainer *trainer, flip_part part, flip_scored *items) {
    const flip_data *data = &trainer->data;
    size_t dim = (size_t)data->n_classes;
    items->dim = data->n_classes;
    items->n = counts_here(data) ? count_rows(data, data->mask[part]) : 0;
    size_t n = (size_t)items->n;
    FLIP_TRY(flip_alloc(&items->score, n * dim, sizeof *items->score, "scores"));
    if (data->target)
        FLIP_TRY(flip_alloc(&items->target, n * dim, sizeof *items->target, "targets"));
    if (data->label) FLIP_TRY(flip_alloc(&items->label, n, sizeof *items->label, "labels"));
    return FLIP_OK;
}

static flip_status copy(const void *out_pointer, const void *from, int64_t n, size_t size) {
    void *to;
    FLIP_TRY(flip_alloc(&to, (size_t)n, size, "scores"));
    if (n > 0) memcpy(to, from, (size_t)n * size);
    *(const void **)out_pointer = to;
    return FLIP_OK;
}

static flip_status alloc_pairs(const flip_trainer *trainer, flip_part part, flip_scored *items) {
    const flip_data *data = &trainer->data;
    const flip_pair_set *set = &data->set[part];
    items->n = set->n;
    items->dim = data->n_classes;
    items->pairs = data->s.task == FLIP_TASK_LINK;
    FLIP_TRY(flip_alloc(&items->score, (size_t)(set->n * items->dim), sizeof(flip_real), "scores"));
    FLIP_TRY(copy(&items->label, set->label, set->n, sizeof *set->label));
    FLIP_TRY(copy(&items->step, set->step, set->n, sizeof *set->step));
    return copy(&items->source, set->u, set->n, sizeof *set->u);
}

/* Is the split measured against all pairs of nodes? */
static bool against_all(const flip_data *data, int part) {
    return data->s.task == FLIP_TASK_LINK && data->s.eval_negatives == FLIP_EVAL_ALL &&
           part != FLIP_PART_TRAIN;
}

flip_status flip_scores_begin(flip_scores *scores, const flip_trainer *trainer, int wanted) {
    const flip_data *data = &trainer->data;
    memset(scores, 0, sizeof *scores);
    for (int p = 0; p < FLIP_PARTS; p++) {
        if (!wants(wanted, p)) continue;
        if (against_all(data, p) && !(wanted & FLIP_SCORE_ITEMS)) {
            FLIP_TRY(flip_link_steps_create(&scores->all[p], data->steps));
            continue;
        }
        FLIP_TRY(trainer->head ? alloc_pairs(trainer, (flip_part)p, &scores->part[p])
                               : alloc_nodes(trainer, (flip_part)p, &scores->part[p]));
    }
    if (!data->label_constant) return FLIP_OK;
    return flip_alloc_zero(&scores->sum, (size_t)data->layout->n_rows * (size_t)data->n_classes,
                           sizeof *scores->sum, "scores");
}

void flip_scores_finish(flip_scores *scores) {
    for (int p = 0; p < FLIP_PARTS; p++)
        flip_scored_finish(&scores->part[p]);
    for (int p = 0; p < FLIP_PARTS; p++)
        flip_link_steps_finish(&scores->all[p]);
    flip_free(scores->sum);
    memset(scores, 0, sizeof *scores);
}

/* ---- a block's items ---- */

/* Sums over the steps. */
static void add_steps(flip_scores *scores, const flip_data *data, int32_t steps,
                      const flip_real *value) {
    int32_t dim = data->n_classes;
    for (int64_t v = 0; v < data->layout->n_rows; v++)
        for (int32_t t = 0; t < steps; t++)
            for (int32_t j = 0; j < dim; j++)
                scores->sum[v * dim + j] += (double)value[(v * steps + t) * dim + j];
}

/* Row i of the time layout's arrays is an item with these scores. */
static void add_row(flip_scored *items, int64_t at, const flip_data *data, int64_t i,
                    const flip_real *score) {
    size_t dim = (size_t)items->dim;
    memcpy((flip_real *)items->score + at * items->dim, score, dim * sizeof *score);
    if (items->target)
        memcpy((flip_real *)items->target + at * items->dim, data->target + i * items->dim,
               dim * sizeof *score);
    if (items->label) ((int32_t *)items->label)[at] = data->label[i];
}

static void score_rows(flip_scores *scores, const flip_data *data, int32_t block, int p,
                       const flip_real *value) {
    flip_scored *items = &scores->part[p];
    int64_t first = flip_data_block_row(data, block), end = flip_data_block_row(data, block + 1);
    for (int64_t i = first; i < end && items->score; i++)
        if (data->mask[p][i])
            add_row(items, scores->filled[p]++, data, i, value + (i - first) * items->dim);
}

/* The head on a block's pairs of a split, piece after piece. */
static flip_status score_pairs(flip_scores *scores, flip_trainer *trainer, int32_t block, int p,
                               flip_var y) {
    const flip_pair_set *set = &trainer->data.set[p];
    flip_scored *items = &scores->part[p];
    if (!items->score) return FLIP_OK;
    for (int32_t i = set->piece[block]; i < set->piece[block + 1]; i++) {
        flip_var logits = flip_head_forward(trainer->head, trainer->tape, y, set->pairs[i]);
        const flip_real *value = flip_tape_value(trainer->tape, logits);
        FLIP_TRY(flip_tape_status(trainer->tape));
        int64_t n = set->first[i + 1] - set->first[i];
        if (n > 0)
            memcpy((flip_real *)items->score + scores->filled[p] * items->dim, value,
                   (size_t)(n * items->dim) * sizeof(flip_real));
        scores->filled[p] += n;
        flip_tape_release(trainer->tape, logits);
    }
    return FLIP_OK;
}

/* All pairs of a block's steps. */
static flip_status score_all_pairs(flip_scores *scores, flip_trainer *trainer, int32_t block, int p,
                                   flip_var y) {
    const flip_data *data = &trainer->data;
    int32_t rows, steps, dim;
    if (!scores->all[p].at) return FLIP_OK;
    flip_tape_shape(trainer->tape, y, &rows, &steps, &dim);
    const flip_real *h = flip_tape_value(trainer->tape, y);
    FLIP_TRY(flip_tape_status(trainer->tape));
    flip_link_view view = {.comm = data->layout->space,
                           .first = data->layout->part_first,
                           .head = trainer->head,
                           .params = trainer->params,
                           .h = h,
                           .n_rows = rows,
                           .steps = steps,
                           .dim = dim,
                           .first_step = flip_layout_first(data->layout, block)};
    return flip_link_steps_add(&scores->all[p], &view, &data->links, (flip_part)p, data->lead);
}

flip_status flip_scores_block(flip_scores *scores, flip_trainer *trainer, int32_t block,
                              flip_var y) {
    const flip_data *data = &trainer->data;
    const bool read = !trainer->head || scores->sum;
    const flip_real *value = read ? flip_tape_value(trainer->tape, y) : NULL;
    FLIP_TRY(flip_tape_status(trainer->tape));
    if (scores->sum) add_steps(scores, data, flip_layout_steps(data->layout, block), value);
    for (int p = 0; p < FLIP_PARTS; p++) {
        if (trainer->head) FLIP_TRY(score_pairs(scores, trainer, block, p, y));
        if (trainer->head) FLIP_TRY(score_all_pairs(scores, trainer, block, p, y));
        if (!trainer->head && !scores->sum) score_rows(scores, data, block, p, value);
    }
    return FLIP_OK;
}

/* Means over all steps, where labels are constant. */
flip_status flip_scores_end(flip_scores *scores, const flip_trainer *trainer) {
    const flip_data *data = &trainer->data;
    const flip_layout *layout = data->layout;
    int32_t dim = data->n_classes, steps = layout->n_steps - layout->block_first[0];
    int64_t n = (int64_t)layout->n_rows * dim;
    flip_real *mean;
    if (!scores->sum) return FLIP_OK;
    FLIP_TRY(flip_comm_sum_f64(layout->n_time > 1 ? layout->time : NULL, scores->sum, (size_t)n));
    FLIP_TRY(flip_alloc(&mean, (size_t)n, sizeof *mean, "scores"));
    for (int64_t i = 0; i < n; i++)
        mean[i] = (flip_real)(scores->sum[i] / steps);
    int32_t own = flip_layout_steps(layout, 0);
    for (int p = 0; p < FLIP_PARTS && counts_here(data); p++)
        for (int64_t v = 0; v < layout->n_rows && scores->part[p].score; v++)
            if (data->mask[p][v * own])
                add_row(&scores->part[p], scores->filled[p]++, data, v * own, mean + v * dim);
    flip_free(mean);
    return FLIP_OK;
}

flip_status flip_scores_take(flip_scores *scores, flip_trainer *trainer, int wanted) {
    flip_var y;
    FLIP_TRY(flip_scores_begin(scores, trainer, wanted));
    flip_trainer_begin(trainer);
    for (int32_t k = 0; k < trainer->data.layout->n_blocks; k++) {
        FLIP_TRY(flip_trainer_forward(trainer, k, &y)); /* of windows, all of a step's */
        FLIP_TRY(flip_scores_block(scores, trainer, k, y));
    }
    return flip_scores_end(scores, trainer);
}

/* ---- loss of items ---- */

static double cross_entropy(const flip_real *x, int32_t dim, int32_t label) {
    double top = (double)x[0], sum = 0;
    for (int32_t j = 1; j < dim; j++)
        top = fmax(top, (double)x[j]);
    for (int32_t j = 0; j < dim; j++)
        sum += exp((double)x[j] - top);
    return top + log(sum) - (double)x[label];
}

static double item_loss(const flip_scored *items, int64_t i) {
    const flip_real *x = items->score + i * items->dim;
    double sum = 0, s = (double)x[0];
    if (items->pairs) return fmax(s, 0) - s * (double)items->label[i] + log1p(exp(-fabs(s)));
    if (items->label) return cross_entropy(x, items->dim, items->label[i]);
    for (int32_t j = 0; j < items->dim; j++) {
        double e = (double)x[j] - (double)items->target[i * items->dim + j];
        if (!isnan(e)) sum += e * e;
    }
    return sum;
}

flip_status flip_scores_loss(const flip_scored *items, flip_comm *comm, double *loss) {
    double sums[2] = {0, (double)items->n};
    for (int64_t i = 0; i < items->n; i++)
        sums[0] += item_loss(items, i);
    FLIP_TRY(flip_comm_sum_f64(comm, sums, 2));
    *loss = sums[1] > 0 ? sums[0] / sums[1] : NAN;
    return FLIP_OK;
}

/* Against all pairs there is no loss: it is taken of sampled pairs. */
static flip_status measure_part(const flip_data *data, const flip_scores *scores, int p,
                                double *metric, double *loss) {
    const flip_scored *items = &scores->part[p];
    flip_link_scores mean;
    if (scores->all[p].at) {
        FLIP_TRY(flip_link_steps_mean(&mean, &scores->all[p], data->comm));
        *metric = flip_link_scores_metric(&mean, &data->metric);
        return FLIP_OK;
    }
    FLIP_TRY(flip_scores_loss(items, data->comm, loss));
    return flip_metric_measure(metric, &data->metric, data->comm, items);
}

flip_status flip_measure(flip_trainer *trainer, int wanted, double metric[FLIP_PARTS],
                         double loss[FLIP_PARTS]) {
    const flip_data *data = &trainer->data;
    flip_scores scores = {0};
    flip_status status;
    for (int p = 0; p < FLIP_PARTS; p++) {
        metric[p] = loss[p] = NAN;
        if (data->n_items[p] == 0) wanted &= ~(1 << p);
    }
    if (!wanted) return FLIP_OK;
    FLIP_TRY_GOTO(flip_scores_take(&scores, trainer, wanted));
    for (int p = 0; p < FLIP_PARTS; p++)
        if (wants(wanted, p)) FLIP_TRY_GOTO(measure_part(data, &scores, p, &metric[p], &loss[p]));
done:
    flip_scores_finish(&scores);
    return status;
}

flip_status flip_scores_links(flip_link_scores *link, const flip_data *data,
                              const flip_scores *scores, flip_part p) {
    if (scores->all[p].at) return flip_link_steps_mean(link, &scores->all[p], data->comm);
    FLIP_TRY(flip_link_scores_items(link, data->comm, &scores->part[p]));
    link->true_pairs = data->n_items[p];
    return FLIP_OK;
}

flip_status flip_measure_result(flip_trainer *trainer, flip_result *result) {
    flip_data *data = &trainer->data;
    flip_scores scores = {0};
    double *metric[FLIP_PARTS] = {&result->train, &result->valid, &result->test}, loss;
    bool links = data->s.task == FLIP_TASK_LINK;
    flip_status status;
    int wanted = 0;
    if (links) /* the candidates of training: --negatives a pair */
        FLIP_TRY(flip_data_sample(data, FLIP_PART_TRAIN, FLIP_DRAW_EVALUATE));
    for (int p = 0; p < FLIP_PARTS; p++) {
        *metric[p] = NAN;
        result->link[p] = (flip_link_scores){NAN, NAN, {NAN, NAN}, 0};
        if (data->n_items[p] > 0) wanted |= 1 << p;
    }
    FLIP_TRY_GOTO(flip_scores_take(&scores, trainer, wanted));
    for (int p = 0; p < FLIP_PARTS; p++) {
        if (!wants(wanted, p)) continue;
        FLIP_TRY_GOTO(measure_part(data, &scores, p, metric[p], &loss));
        if (links) FLIP_TRY_GOTO(flip_scores_links(&result->link[p], data, &scores, (flip_part)p));
    }
    strcpy(result->metric, data->s.metric);
    if (links) {
        flip_link_candidates(data, result->candidates, sizeof result->candidates);
        flip_link_definition(data, result->definition, sizeof result->definition);
    }
done:
    flip_scores_finish(&scores);
    return status;
}
