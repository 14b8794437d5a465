/* Metrics: counts are summed over ranks; metrics of order sort by (step, score) over all ranks. */
#include <flipbook/train.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- counts ---- */

static int32_t largest(const flip_real *score, int32_t dim) {
    int32_t best = 0;
    for (int32_t j = 1; j < dim; j++)
        if (score[j] > score[best]) best = j;
    return best;
}

/* One score decides between two classes by its sign. */
static int32_t classes_of(const flip_scored *items) {
    return items->dim == 1 ? 2 : items->dim;
}

/* counts [classes, 3]: true positives, labels, predictions of each class. */
static flip_status confusion(int64_t **counts, flip_comm *comm, const flip_scored *items) {
    const int32_t classes = classes_of(items);
    FLIP_TRY(flip_alloc_zero(counts, 3 * (size_t)classes, sizeof **counts, "class counts"));
    for (int64_t i = 0; i < items->n; i++) {
        int32_t is = items->label[i];
        int32_t said = items->dim == 1 ? items->score[i] > 0
                                       : largest(items->score + i * items->dim, items->dim);
        if (is < 0 || is >= classes) continue;
        (*counts)[3 * is] += said == is;
        (*counts)[3 * is + 1]++;
        (*counts)[3 * said + 2]++;
    }
    flip_status status = flip_comm_sum_i64(comm, *counts, 3 * (size_t)classes);
    if (status != FLIP_OK) flip_free(*counts);
    return status;
}

static double f1(const int64_t *count) {
    int64_t below = count[1] + count[2]; /* 2 TP + FP + FN */
    return below ? 2.0 * (double)count[0] / (double)below : 0;
}

static flip_status measure_counts(double *value, const flip_metric *metric, flip_comm *comm,
                                  const flip_scored *items) {
    int64_t *counts, right = 0, all = 0;
    double sum = 0;
    int32_t seen = 0;
    FLIP_TRY(confusion(&counts, comm, items));
    for (int32_t c = 0; c < classes_of(items); c++) {
        right += counts[3 * c];
        all += counts[3 * c + 1];
        if (counts[3 * c + 1] + counts[3 * c + 2] == 0) continue;
        sum += f1(counts + 3 * c);
        seen++;
    }
    if (metric->kind == FLIP_METRIC_ACCURACY) *value = all ? (double)right / (double)all : NAN;
    if (metric->kind == FLIP_METRIC_MACRO_F1) *value = seen ? sum / seen : NAN;
    if (metric->kind == FLIP_METRIC_F1) *value = all ? f1(counts + 3 * metric->class_index) : NAN;
    flip_free(counts);
    return FLIP_OK;
}

static flip_status measure_rmse(double *value, flip_comm *comm, const flip_scored *items) {
    double sums[2] = {0, 0};
    for (int64_t i = 0; i < items->n * items->dim; i++) {
        double e = (double)items->score[i] - (double)items->target[i];
        if (isnan(items->target[i])) continue;
        sums[0] += e * e;
        sums[1] += 1;
    }
    FLIP_TRY(flip_comm_sum_f64(comm, sums, 2));
    *value = sums[1] > 0 ? sqrt(sums[0] / sums[1]) : NAN;
    return FLIP_OK;
}

/* ---- order ---- */

typedef struct ranked {
    double score;
    int32_t step;
    int32_t positive;
} ranked;

/* Ascending step, descending score; NaN counts as the lowest score. */
static int order(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    return (x->score < y->score) - (x->score > y->score);
}

/* Sends items so that rank 0 holds the first of the global order, and so on; equal items meet on
 * one rank. *list (from flip_alloc) is replaced. */
static flip_status sort_over_ranks(ranked **list, int64_t *n, flip_comm *comm) {
    enum { SAMPLES = 64 };
    int size = flip_comm_size(comm);
    qsort(*list, (size_t)*n, sizeof **list, order);
    if (size == 1) return FLIP_OK;
    ranked mine[SAMPLES], *all = NULL, *received;
    int64_t *send = NULL, total = 0;
    flip_status status;
    /* a rank without items samples "after everything" */
    for (int i = 0; i < SAMPLES; i++)
        mine[i] = *n ? (*list)[*n * i / SAMPLES] : (ranked){.step = INT32_MAX, .score = -INFINITY};
    FLIP_TRY_GOTO(flip_alloc(&all, (size_t)size * SAMPLES, sizeof *all, "samples"));
    FLIP_TRY_GOTO(flip_alloc_zero(&send, (size_t)size, sizeof *send, "counts"));
    FLIP_TRY_GOTO(flip_comm_gather_all(comm, all, mine, sizeof mine));
    qsort(all, (size_t)size * SAMPLES, sizeof *all, order);
    for (int64_t i = 0, to = 0; i < *n; i++) {
        while (to < size - 1 && order(&(*list)[i], &all[(to + 1) * SAMPLES]) >= 0)
            to++;
        send[to]++;
    }
    FLIP_TRY_GOTO(flip_comm_deal(comm, &received, &total, NULL, *list, send, sizeof *received));
    qsort(received, (size_t)total, sizeof *received, order);
    flip_free(*list);
    *list = received;
    *n = total;
done:
    flip_free(all);
    flip_free(send);
    return status;
}

/* Per step: items and positives on all ranks, and on the ranks before this one. */
typedef struct tally {
    int64_t all, positive;
} tally;

static flip_status count_steps(tally **total, tally **before, int32_t n_steps, const ranked *list,
                               int64_t n, flip_comm *comm) {
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    size_t width = (size_t)n_steps;
    tally *mine = NULL, *every = NULL;
    flip_status status;
    FLIP_TRY_GOTO(flip_alloc_zero(total, width, sizeof **total, "step counts"));
    FLIP_TRY_GOTO(flip_alloc_zero(before, width, sizeof **before, "step counts"));
    FLIP_TRY_GOTO(flip_alloc_zero(&mine, width, sizeof *mine, "step counts"));
    FLIP_TRY_GOTO(flip_alloc(&every, width * (size_t)size, sizeof *every, "step counts"));
    for (int64_t i = 0; i < n; i++) {
        mine[list[i].step].all++;
        mine[list[i].step].positive += list[i].positive;
    }
    FLIP_TRY_GOTO(flip_comm_gather_all(comm, every, mine, width * sizeof *mine));
    for (int r = 0; r < size; r++)
        for (int32_t t = 0; t < n_steps; t++) {
            const tally *x = &every[(size_t)r * width + (size_t)t];
            (*total)[t].all += x->all;
            (*total)[t].positive += x->positive;
            if (r < rank) (*before)[t].all += x->all;
            if (r < rank) (*before)[t].positive += x->positive;
        }
done:
    flip_free(mine);
    flip_free(every);
    return status;
}

/* For every step its area: auc (sum over groups of equal scores: positives * (negatives below +
 * half of the equal ones)) or ap. areas [n_steps], local part. */
static void add_areas(double *areas, const ranked *list, int64_t n, const tally *total,
                      const tally *before, bool auc) {
    tally seen = {0, 0};
    for (int64_t i = 0, end; i < n; i = end) {
        int32_t t = list[i].step;
        tally group = {0, 0};
        if (i == 0 || list[i - 1].step != t) seen = before[t];
        for (end = i; end < n && order(&list[i], &list[end]) == 0; end++) {
            group.all++;
            group.positive += list[end].positive;
        }
        double negatives = (double)(group.all - group.positive);
        double below =
            (double)((total[t].all - total[t].positive) - (seen.all - seen.positive)) - negatives;
        seen.all += group.all;
        seen.positive += group.positive;
        if (auc)
            areas[t] += (double)group.positive * (below + 0.5 * negatives);
        else
            areas[t] += (double)group.positive * ((double)seen.positive / (double)seen.all);
    }
}

/* Mean over the steps of ap or auc, weighted by positives. Steps without both kinds are left out of
 * auc, steps without positives of ap. Consumes list. */
static flip_status measure_area(double *value, flip_comm *comm, ranked *list, int64_t n, bool auc) {
    tally *total = NULL, *before = NULL;
    double *areas = NULL, sum = 0, weight = 0;
    int64_t last = -1;
    for (int64_t i = 0; i < n; i++)
        last = list[i].step > last ? list[i].step : last;
    flip_status status = flip_comm_max_i64(comm, &last, 1);
    *value = NAN;
    if (status != FLIP_OK || last < 0) goto done;
    FLIP_TRY_GOTO(sort_over_ranks(&list, &n, comm));
    FLIP_TRY_GOTO(count_steps(&total, &before, (int32_t)last + 1, list, n, comm));
    FLIP_TRY_GOTO(flip_alloc_zero(&areas, (size_t)last + 1, sizeof *areas, "areas"));
    add_areas(areas, list, n, total, before, auc);
    FLIP_TRY_GOTO(flip_comm_sum_f64(comm, areas, (size_t)last + 1));
    for (int64_t t = 0; t <= last; t++) {
        double positives = (double)total[t].positive;
        double negatives = (double)total[t].all - positives;
        if (positives == 0 || (auc && negatives == 0)) continue;
        sum += auc ? areas[t] / negatives : areas[t]; /* times positives / positives */
        weight += positives;
    }
    if (weight > 0) *value = sum / weight;
done:
    flip_free(list);
    flip_free(total);
    flip_free(before);
    flip_free(areas);
    return status;
}

/* One class against the rest (class < 0: the second of two, or the pair's label). */
static flip_status measure_class(double *value, flip_comm *comm, const flip_scored *items,
                                 int32_t class, bool auc, bool by_step) {
    ranked *list;
    int32_t d = items->dim;
    FLIP_TRY(flip_alloc(&list, (size_t)items->n, sizeof *list, "scores"));
    for (int64_t i = 0; i < items->n; i++) {
        const flip_real *x = items->score + i * d;
        double score = x[0];
        if (class >=
            0) { /* log-odds of the softmax: what a one-against-rest probability orders by */
            double top = -INFINITY, rest = 0;
            for (int32_t j = 0; j < d; j++)
                if (j != class && (double)x[j] > top) top = (double)x[j];
            for (int32_t j = 0; j < d; j++)
                if (j != class) rest += exp((double)x[j] - top);
            score = (double)x[class] - top - log(rest);
        }
        /* in float: equal logits in another order are equal, whatever the rounding of the sum */
        if (class >= 0) score = (double)(float)score;
        list[i] = (ranked){.score = isnan(score) ? -INFINITY : score,
                           .step = by_step ? items->step[i] : 0,
                           .positive = items->label[i] == (class >= 0 ? class : 1)};
    }
    return measure_area(value, comm, list, items->n, auc);
}

static flip_status measure_order(double *value, flip_comm *comm, const flip_scored *items, bool auc,
                                 bool by_step) {
    if (items->dim == 1) return measure_class(value, comm, items, -1, auc, by_step);
    if (items->dim == 2) return measure_class(value, comm, items, 1, auc, by_step);
    double sum = 0, one;
    int32_t n = 0;
    for (int32_t c = 0; c < items->dim; c++) {
        FLIP_TRY(measure_class(&one, comm, items, c, auc, by_step));
        if (isnan(one)) continue;
        sum += one;
        n++;
    }
    *value = n ? sum / n : NAN;
    return FLIP_OK;
}

/* ---- reciprocal ranks ---- */

static double reciprocal_rank(const flip_real *score, int64_t n, int64_t stride, flip_real mine) {
    int64_t above = 0, equal = 0;
    for (int64_t j = 0; j < n; j++) {
        above += score[j * stride] > mine;
        equal += score[j * stride] == mine;
    }
    return 1.0 / ((double)above + 0.5 * (double)(equal + 1));
}

static flip_status measure_class_mrr(double *value, flip_comm *comm, const flip_scored *items) {
    double sums[2] = {0, (double)items->n};
    for (int64_t i = 0; i < items->n; i++) {
        const flip_real *x = items->score + i * items->dim;
        sums[0] += reciprocal_rank(x, items->dim, 1, x[items->label[i]]);
    }
    FLIP_TRY(flip_comm_sum_f64(comm, sums, 2));
    *value = sums[1] > 0 ? sums[0] / sums[1] : NAN;
    return FLIP_OK;
}

typedef struct candidate {
    flip_gid source;
    int32_t step, positive;
    flip_real score;
} candidate;

static int by_source(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return (x->score < y->score) - (x->score > y->score);
}

/* Mean over one source's true pairs of 1 / rank; list is sorted by descending score. Filtered: the
 * other true pairs are no candidates. */
static double source_mrr(const candidate *list, int64_t n, bool filtered, int64_t *positives) {
    double sum = 0;
    *positives = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        int64_t hits = 0;
        for (end = i; end < n && list[end].score == list[i].score; end++)
            hits += list[end].positive;
        if (end == i) end++; /* NaN equals nothing */
        int64_t above = filtered ? i - *positives : i;
        int64_t equal = filtered ? end - i - hits + 1 : end - i;
        sum += (double)hits / ((double)above + 0.5 * (double)(equal + 1));
        *positives += hits;
    }
    return *positives ? sum / (double)*positives : 0;
}

static flip_status measure_link_mrr(double *value, flip_comm *comm, const flip_scored *items,
                                    bool filtered) {
    candidate *list = NULL;
    double *sums = NULL, weighted = 0, weight = 0; /* [steps, 3]: Σ, sources, true pairs */
    int64_t last = -1;
    flip_status status;
    FLIP_TRY(flip_alloc(&list, (size_t)items->n, sizeof *list, "candidates"));
    for (int64_t i = 0; i < items->n; i++) {
        list[i] =
            (candidate){items->source[i], items->step[i], items->label[i] == 1, items->score[i]};
        last = list[i].step > last ? list[i].step : last;
    }
    qsort(list, (size_t)items->n, sizeof *list, by_source);
    FLIP_TRY_GOTO(flip_comm_max_i64(comm, &last, 1));
    FLIP_TRY_GOTO(flip_alloc_zero(&sums, 3 * (size_t)(last + 1), sizeof *sums, "sums"));
    for (int64_t i = 0, end; i < items->n; i = end) {
        for (end = i; end < items->n && list[end].source == list[i].source &&
                      list[end].step == list[i].step;)
            end++;
        int64_t positives;
        double mean = source_mrr(list + i, end - i, filtered, &positives),
               *sum = sums + 3 * list[i].step;
        if (!positives) continue;
        sum[0] += mean;
        sum[1] += 1;
        sum[2] += (double)positives;
    }
    FLIP_TRY_GOTO(flip_comm_sum_f64(comm, sums, 3 * (size_t)(last + 1)));
    for (int64_t t = 0; t <= last; t++) {
        if (sums[3 * t + 1] == 0) continue;
        weighted += sums[3 * t + 2] * (sums[3 * t] / sums[3 * t + 1]);
        weight += sums[3 * t + 2];
    }
    *value = weight > 0 ? weighted / weight : NAN;
done:
    flip_free(list);
    flip_free(sums);
    return status;
}

/* ---- all ---- */

flip_status flip_metric_measure(double *value, const flip_metric *metric, flip_comm *comm,
                                const flip_scored *items) {
    switch (metric->kind) {
    case FLIP_METRIC_RMSE:
        return measure_rmse(value, comm, items);
    case FLIP_METRIC_AUC:
        return measure_order(value, comm, items, true, false);
    case FLIP_METRIC_AP:
        return measure_order(value, comm, items, false, false);
    case FLIP_METRIC_MAP:
        return measure_order(value, comm, items, false, items->pairs);
    case FLIP_METRIC_MRR:
        return items->pairs ? measure_link_mrr(value, comm, items, metric->filtered)
                            : measure_class_mrr(value, comm, items);
    default:
        return measure_counts(value, metric, comm, items);
    }
}

bool flip_metric_better(const flip_metric *metric, double a, double b) {
    if (isnan(a)) return false;
    if (isnan(b)) return true;
    return metric->kind == FLIP_METRIC_RMSE ? a < b : a > b;
}
