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

static int64_t count_rows(const flip_data *data, const uint8_t *mask, int32_t stride) {
    int64_t n = 0;
    for (int64_t i = 0; i < (int64_t)data->n_own * data->steps; i += stride)
        n += mask[i] != 0;
    return n;
}

/* Rows of own nodes: one a (node, step), or the mean over steps where labels are constant. */
static flip_status score_nodes(flip_trainer *trainer, flip_var y, flip_part part,
                               flip_scored *items) {
    const flip_data *data = &trainer->data;
    const flip_real *value = flip_tape_value(trainer->tape, y);
    const uint8_t *mask = data->mask[part];
    int32_t dim = data->n_classes, stride = data->label_constant ? data->steps : 1;
    int64_t at = 0, n = count_rows(data, mask, stride);
    flip_real *score, *target = NULL;
    int32_t *label = NULL;
    *items = (flip_scored){.n = n, .dim = dim};
    FLIP_TRY(flip_alloc(&score, (size_t)n * (size_t)dim, sizeof *score, "scores"));
    items->score = score;
    if (data->target)
        FLIP_TRY(flip_alloc(&target, (size_t)n * (size_t)dim, sizeof *target, "targets"));
    items->target = target;
    if (data->label) FLIP_TRY(flip_alloc(&label, (size_t)n, sizeof *label, "labels"));
    items->label = label;
    for (int64_t i = 0; i < (int64_t)data->n_own * data->steps; i += stride) {
        if (!mask[i]) continue;
        for (int32_t j = 0; j < dim; j++) {
            double sum = 0;
            for (int32_t t = 0; t < stride; t++)
                sum += (double)value[(i + t) * dim + j];
            score[at * dim + j] = (flip_real)(sum / stride);
        }
        if (target) memcpy(target + at * dim, data->target + i * dim, (size_t)dim * sizeof *target);
        if (label) label[at] = data->label[i];
        at++;
    }
    return FLIP_OK;
}

static flip_status copy(const void **out, const void *from, int64_t n, size_t size) {
    void *to;
    FLIP_TRY(flip_alloc(&to, (size_t)n, size, "scores"));
    memcpy(to, from, (size_t)n * size);
    *out = to;
    return FLIP_OK;
}

static flip_status score_pairs(flip_trainer *trainer, flip_var y, flip_part part,
                               flip_scored *items) {
    const flip_data *data = &trainer->data;
    const flip_pair_set *set = &data->set[part];
    flip_var logits = flip_head_forward(trainer->head, trainer->tape, y, set->pairs);
    FLIP_TRY(flip_tape_status(trainer->tape));
    *items =
        (flip_scored){.n = set->n, .dim = data->n_classes, .pairs = data->s.task == FLIP_TASK_LINK};
    FLIP_TRY(copy((const void **)&items->score, flip_tape_value(trainer->tape, logits),
                  set->n * items->dim, sizeof(flip_real)));
    FLIP_TRY(copy((const void **)&items->label, set->label, set->n, sizeof *set->label));
    FLIP_TRY(copy((const void **)&items->step, set->step, set->n, sizeof *set->step));
    FLIP_TRY(copy((const void **)&items->source, set->u, set->n, sizeof *set->u));
    flip_tape_release(trainer->tape, logits);
    return FLIP_OK;
}

flip_status flip_score_part(flip_trainer *trainer, flip_var y, flip_part part, flip_scored *items) {
    return trainer->head ? score_pairs(trainer, y, part, items)
                         : score_nodes(trainer, y, part, items);
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

flip_status flip_measure_part(flip_trainer *trainer, flip_var y, flip_part part, double *metric,
                              double *loss) {
    const flip_data *data = &trainer->data;
    flip_scored items = {0};
    double sums[2] = {0, 0};
    flip_status status;
    *metric = *loss = NAN;
    if (data->n_items[part] == 0) return FLIP_OK;
    FLIP_TRY_GOTO(flip_score_part(trainer, y, part, &items));
    for (int64_t i = 0; i < items.n; i++)
        sums[0] += item_loss(&items, i);
    sums[1] = (double)items.n;
    FLIP_TRY_GOTO(flip_comm_sum_f64(data->comm, sums, 2));
    *loss = sums[1] > 0 ? sums[0] / sums[1] : NAN;
    FLIP_TRY_GOTO(flip_metric_measure(metric, &data->metric, data->comm, &items));
done:
    flip_scored_finish(&items);
    return status;
}
