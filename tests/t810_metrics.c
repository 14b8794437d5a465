/* t810: metrics on 1 to 4 ranks against their plain definitions, computed pair by pair on all
 * items; scores are drawn from few values, so that ties are everywhere. */
#include <flipbook/train.h>

#include "ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct items {
    int64_t n;
    int32_t dim;
    flip_real *score, *target;
    int32_t *label, *step;
    flip_gid *source;
} items;

static double drawn(uint64_t a, uint64_t b) {
    return flip_random_uniform(5, FLIP_STREAM_TEST, a, b);
}

/* The same items on every rank; values: distinct scores. */
static items make(uint64_t seed, int64_t n, int32_t dim, int classes, int values, bool pairs) {
    items x = {.n = n, .dim = dim};
    x.score = malloc((size_t)(n * dim + 1) * sizeof *x.score);
    x.target = malloc((size_t)(n * dim + 1) * sizeof *x.target);
    x.label = malloc((size_t)(n + 1) * sizeof *x.label);
    x.step = malloc((size_t)(n + 1) * sizeof *x.step);
    x.source = malloc((size_t)(n + 1) * sizeof *x.source);
    for (int64_t i = 0; i < n; i++) {
        uint64_t k = seed * 100000 + (uint64_t)i;
        x.label[i] = (int32_t)(drawn(k, 1) * classes);
        if (pairs) x.label[i] = drawn(k, 1) < 0.2;
        x.step[i] = (int32_t)(drawn(k, 2) * 4);
        x.source[i] = (flip_gid)(drawn(k, 3) * 12);
        for (int32_t j = 0; j < dim; j++) {
            uint64_t c = 10 + (uint64_t)j;
            x.score[i * dim + j] = (flip_real)(floor(drawn(k, c) * values) / 8 - 1);
            x.target[i * dim + j] =
                drawn(k, 100 + c) < 0.1 ? (flip_real)NAN : (flip_real)drawn(k, 200 + c);
        }
    }
    return x;
}

static void drop(items *x) {
    free(x->score);
    free(x->target);
    free(x->label);
    free(x->step);
    free(x->source);
}

/* This rank's share: link items by source (a source lives on one rank), others dealt unevenly. */
static flip_scored share(const items *x, bool pairs, int rank, int size, items *own) {
    *own = make(0, x->n, x->dim, 1, 1, false);
    own->n = 0;
    for (int64_t i = 0; i < x->n; i++) {
        int64_t owner = pairs ? x->source[i] % size : (i * i + i / 3) % size;
        if (size > 2 && !pairs && owner == 1) owner = 0; /* a rank with nothing */
        if (owner != rank) continue;
        int64_t at = own->n++;
        memcpy(own->score + at * x->dim, x->score + i * x->dim, (size_t)x->dim * sizeof *x->score);
        memcpy(own->target + at * x->dim, x->target + i * x->dim,
               (size_t)x->dim * sizeof *x->score);
        own->label[at] = x->label[i];
        own->step[at] = x->step[i];
        own->source[at] = x->source[i];
    }
    return (flip_scored){.n = own->n,
                         .dim = x->dim,
                         .score = own->score,
                         .label = own->label,
                         .target = own->target,
                         .pairs = pairs,
                         .step = own->step,
                         .source = own->source};
}

/* ---- plain definitions ---- */

static double probability(const items *x, int64_t i, int32_t c) {
    double sum = 0;
    if (x->dim == 1) return (double)x->score[i];
    for (int32_t j = 0; j < x->dim; j++)
        sum += exp((double)x->score[i * x->dim + j]);
    return exp((double)x->score[i * x->dim + c]) / sum;
}

/* Equal within rounding: the softmax of equal logits may differ in the last place. */
static bool same(double a, double b) {
    return fabs(a - b) < 1e-12;
}

static double plain_auc(const items *x, int32_t c) {
    double wins = 0, pairs = 0;
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < x->n; j++) {
            if (x->label[i] != c || x->label[j] == c) continue;
            double p = probability(x, i, x->dim == 1 ? 0 : c);
            double q = probability(x, j, x->dim == 1 ? 0 : c);
            wins += same(p, q) ? 0.5 : p > q;
            pairs++;
        }
    return pairs > 0 ? wins / pairs : NAN;
}

/* Every positive contributes the precision at its own threshold. step < 0: all. */
static double plain_ap(const items *x, int32_t c, int32_t step, double *positives) {
    double sum = 0;
    *positives = 0;
    for (int64_t i = 0; i < x->n; i++) {
        if (x->label[i] != c || (step >= 0 && x->step[i] != step)) continue;
        double above = 0, true_above = 0, p = probability(x, i, x->dim == 1 ? 0 : c);
        for (int64_t j = 0; j < x->n; j++) {
            double q = probability(x, j, x->dim == 1 ? 0 : c);
            if ((step >= 0 && x->step[j] != step) || (q < p && !same(p, q))) continue;
            above++;
            true_above += x->label[j] == c;
        }
        sum += true_above / above;
        ++*positives;
    }
    return *positives > 0 ? sum / *positives : NAN;
}

static double plain_map(const items *x) {
    double sum = 0, weight = 0;
    for (int32_t t = 0; t < 4; t++) {
        double positives, ap = plain_ap(x, 1, t, &positives);
        if (positives == 0) continue;
        sum += positives * ap;
        weight += positives;
    }
    return sum / weight;
}

static double plain_mrr(const items *x, bool filtered) {
    double sum = 0, weight = 0;
    for (int32_t t = 0; t < 4; t++) {
        double step_sum = 0, sources = 0, step_pairs = 0;
        for (flip_gid u = 0; u < 12; u++) {
            double mean = 0, n = 0;
            for (int64_t i = 0; i < x->n; i++) {
                if (x->step[i] != t || x->source[i] != u || !x->label[i]) continue;
                double above = 0, equal = 0;
                for (int64_t j = 0; j < x->n; j++) {
                    if (x->step[j] != t || x->source[j] != u) continue;
                    if (filtered && x->label[j] && j != i) continue;
                    above += x->score[j] > x->score[i];
                    equal += x->score[j] == x->score[i];
                }
                mean += 1 / (above + (equal + 1) / 2);
                n++;
            }
            if (n == 0) continue;
            step_sum += mean / n;
            sources++;
            step_pairs += n;
        }
        if (sources == 0) continue;
        sum += step_pairs * step_sum / sources;
        weight += step_pairs;
    }
    return sum / weight;
}

static int32_t said(const items *x, int64_t i) {
    int32_t best = 0;
    for (int32_t j = 1; j < x->dim; j++)
        if (x->score[i * x->dim + j] > x->score[i * x->dim + best]) best = j;
    return best;
}

static double plain_f1(const items *x, int32_t c, bool *seen) {
    double tp = 0, fp = 0, fn = 0;
    for (int64_t i = 0; i < x->n; i++) {
        tp += x->label[i] == c && said(x, i) == c;
        fp += x->label[i] != c && said(x, i) == c;
        fn += x->label[i] == c && said(x, i) != c;
    }
    *seen = tp + fp + fn > 0;
    return *seen ? 2 * tp / (2 * tp + fp + fn) : 0;
}

static double plain(const items *x, const flip_metric *metric, bool pairs) {
    double sum = 0, n = 0, unused;
    bool seen;
    switch (metric->kind) {
    case FLIP_METRIC_ACCURACY:
        for (int64_t i = 0; i < x->n; i++)
            sum += said(x, i) == x->label[i];
        return sum / (double)x->n;
    case FLIP_METRIC_F1:
        return plain_f1(x, metric->class_index, &seen);
    case FLIP_METRIC_MACRO_F1:
        for (int32_t c = 0; c < x->dim; c++) {
            double f = plain_f1(x, c, &seen);
            sum += seen ? f : 0;
            n += seen;
        }
        return sum / n;
    case FLIP_METRIC_RMSE:
        for (int64_t i = 0; i < x->n * x->dim; i++) {
            if (isnan(x->target[i])) continue;
            sum += pow((double)x->score[i] - (double)x->target[i], 2);
            n++;
        }
        return sqrt(sum / n);
    case FLIP_METRIC_MRR:
        if (pairs) return plain_mrr(x, metric->filtered);
        for (int64_t i = 0; i < x->n; i++) {
            double above = 0, equal = 0;
            for (int32_t j = 0; j < x->dim; j++) {
                above += x->score[i * x->dim + j] > x->score[i * x->dim + x->label[i]];
                equal += x->score[i * x->dim + j] == x->score[i * x->dim + x->label[i]];
            }
            sum += 1 / (above + (equal + 1) / 2);
        }
        return sum / (double)x->n;
    default:
        break;
    }
    bool auc = metric->kind == FLIP_METRIC_AUC;
    if (pairs && metric->kind == FLIP_METRIC_MAP) return plain_map(x);
    if (x->dim <= 2) return auc ? plain_auc(x, 1) : plain_ap(x, 1, -1, &unused);
    for (int32_t c = 0; c < x->dim; c++) {
        double one = auc ? plain_auc(x, c) : plain_ap(x, c, -1, &unused);
        sum += isnan(one) ? 0 : one;
        n += !isnan(one);
    }
    return sum / n;
}

/* ---- the comparison ---- */

static flip_comm *comm;

static void compare(int64_t n, int32_t dim, int values, bool pairs, uint64_t seed) {
    static const flip_metric metrics[] = {{.kind = FLIP_METRIC_ACCURACY},
                                          {.kind = FLIP_METRIC_F1, .class_index = 1},
                                          {.kind = FLIP_METRIC_MACRO_F1},
                                          {.kind = FLIP_METRIC_AUC},
                                          {.kind = FLIP_METRIC_AP},
                                          {.kind = FLIP_METRIC_MAP},
                                          {.kind = FLIP_METRIC_MRR},
                                          {.kind = FLIP_METRIC_RMSE},
                                          {.kind = FLIP_METRIC_MRR, .filtered = true}};
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    items all = make(seed, n, dim, dim == 1 ? 2 : dim, values, pairs), own;
    flip_scored scored = share(&all, pairs, rank, size, &own);
    for (size_t k = 0; k < sizeof metrics / sizeof *metrics; k++) {
        double value, expected;
        bool counts = metrics[k].kind < FLIP_METRIC_AUC;
        if (dim == 1 && counts) continue;
        if (dim == 1 && !pairs && metrics[k].kind == FLIP_METRIC_MRR) continue;
        CHECK_OK(flip_metric_measure(&value, &metrics[k], comm, &scored));
        expected = plain(&all, &metrics[k], pairs);
        CHECK(fabs(value - expected) < 1e-12 * fmax(1, fabs(expected)),
              "metric %d, dim %d: %.17g, plainly %.17g", (int)metrics[k].kind, dim, value,
              expected);
    }
    drop(&all);
    drop(&own);
}

static void nothing_to_measure(void) {
    double value = 0;
    flip_scored none = {.dim = 2};
    flip_metric auc = {.kind = FLIP_METRIC_AUC}, accuracy = {.kind = FLIP_METRIC_ACCURACY};
    CHECK_OK(flip_metric_measure(&value, &auc, comm, &none));
    CHECK(isnan(value), "%g of nothing", value);
    CHECK_OK(flip_metric_measure(&value, &accuracy, comm, &none));
    CHECK(isnan(value), "%g of nothing", value);
}

/* One score for two classes: its sign decides. */
static void one_score(void) {
    const flip_real score[] = {1, -1, (flip_real)0.5, (flip_real)-0.5, -2};
    const int32_t label[] = {1, 0, 0, 1, 0};
    int rank = flip_comm_rank(comm);
    flip_scored mine = {.n = rank == 0 ? 5 : 0, .dim = 1, .score = score, .label = label};
    flip_metric accuracy = {.kind = FLIP_METRIC_ACCURACY},
                f1 = {.kind = FLIP_METRIC_F1, .class_index = 1};
    double value = 0;
    CHECK_OK(flip_metric_measure(&value, &accuracy, comm, &mine));
    CHECK(fabs(value - 0.6) < 1e-15, "accuracy %.17g", value);
    CHECK_OK(flip_metric_measure(&value, &f1, comm, &mine));
    CHECK(fabs(value - 0.5) < 1e-15, "f1 %.17g", value);
}

static void better(void) {
    flip_metric accuracy = {.kind = FLIP_METRIC_ACCURACY}, rmse = {.kind = FLIP_METRIC_RMSE};
    CHECK(flip_metric_better(&accuracy, 0.9, 0.8) && !flip_metric_better(&accuracy, 0.8, 0.8),
          "order of scores");
    CHECK(flip_metric_better(&rmse, 0.1, 0.2) && !flip_metric_better(&rmse, 0.2, 0.1),
          "order of scores");
    CHECK(flip_metric_better(&rmse, 0.1, NAN) && !flip_metric_better(&rmse, NAN, 0.1),
          "order of scores");
}

/* ---- all pairs of a step ---- */

/* N nodes with rows of few distinct values, so that scores tie; the same on every rank. */
typedef struct world {
    int32_t n, width;
    flip_real *a, *b, *w; /* w NULL: dot products */
    flip_real bias;
    uint8_t *edge; /* [n, n] */
} world;

static world make_world(uint64_t seed, int32_t n, int32_t width, bool mlp, int values,
                        double density) {
    world x = {.n = n, .width = width, .bias = (flip_real)0.125};
    x.a = malloc((size_t)(n * width + 1) * sizeof *x.a);
    x.b = malloc((size_t)(n * width + 1) * sizeof *x.b);
    x.w = mlp ? malloc((size_t)width * sizeof *x.w) : NULL;
    x.edge = calloc((size_t)n * (size_t)n + 1, 1);
    for (int32_t i = 0; i < n * width; i++) {
        x.a[i] = (flip_real)(floor(drawn(seed, 1000 + (uint64_t)i) * values) / 4 - 1);
        x.b[i] = (flip_real)(floor(drawn(seed, 90000 + (uint64_t)i) * values) / 4 - 1);
    }
    for (int32_t k = 0; mlp && k < width; k++)
        x.w[k] = (flip_real)(drawn(seed, 7 + (uint64_t)k) - 0.5);
    for (int32_t i = 0; i < n * n; i++)
        x.edge[i] = drawn(seed + 1, (uint64_t)i) < density;
    return x;
}

static void drop_world(world *x) {
    free(x->a);
    free(x->b);
    free(x->w);
    free(x->edge);
}

/* The same sum as the library takes, so that equal scores are equal here too. */
static flip_real world_score(const world *x, int32_t u, int32_t v) {
    flip_real s;
    flip_kernels_get()->pair_scores(1, 1, x->width, x->a + (size_t)u * (size_t)x->width,
                                    x->b + (size_t)v * (size_t)x->width, 1, x->w, x->bias, &s, 1);
    return isnan(s) ? (flip_real)-INFINITY : s;
}

/* Straight from the definitions, on the N x N scores of all pairs. */
static flip_link_scores plain_scores(const world *x) {
    int32_t n = x->n;
    int64_t all = (int64_t)n * n;
    flip_real *s = malloc((size_t)(all + 1) * sizeof *s);
    flip_link_scores out = {0, 0, {0, 0}, 0};
    double rows = 0;
    for (int32_t u = 0; u < n; u++)
        for (int32_t v = 0; v < n; v++)
            s[(int64_t)u * n + v] = world_score(x, u, v);
    for (int64_t i = 0; i < all; i++)
        out.true_pairs += x->edge[i];
    for (int64_t i = 0; i < all; i++) {
        double at_least = 0, true_at_least = 0;
        for (int64_t j = 0; x->edge[i] && j < all; j++) {
            at_least += s[j] >= s[i];
            true_at_least += s[j] >= s[i] && x->edge[j];
            if (!x->edge[j]) out.auc += s[i] > s[j] ? 1 : s[i] == s[j] ? 0.5 : 0;
        }
        if (x->edge[i]) out.ap += true_at_least / at_least / (double)out.true_pairs;
    }
    out.auc /= (double)out.true_pairs * (double)(all - out.true_pairs);
    for (int32_t u = 0; u < n; u++) {
        double sum[2] = {0, 0}, positives = 0;
        const flip_real *row = s + (int64_t)u * n;
        const uint8_t *edge = x->edge + (int64_t)u * n;
        for (int32_t v = 0; v < n; v++) {
            double above[2] = {0, 0}, equal[2] = {0, 0};
            if (!edge[v]) continue;
            for (int32_t k = 0; k < n; k++)
                for (int f = 0; f < 2; f++) {
                    if (f && edge[k] && k != v) continue;
                    above[f] += row[k] > row[v];
                    equal[f] += row[k] == row[v];
                }
            for (int f = 0; f < 2; f++)
                sum[f] += 1 / (above[f] + (equal[f] + 1) / 2);
            positives++;
        }
        if (positives == 0) continue;
        for (int f = 0; f < 2; f++)
            out.mrr[f] += sum[f] / positives;
        rows++;
    }
    for (int f = 0; f < 2; f++)
        out.mrr[f] /= rows;
    free(s);
    return out;
}

static void near(const char *what, double value, double expected) {
    CHECK(isnan(expected) ? isnan(value) : fabs(value - expected) < 1e-12 * fmax(1, fabs(expected)),
          "%s %.17g, plainly %.17g", what, value, expected);
}

/* uneven: the last rank but one owns nothing. */
static void compare_all_pairs(const world *x, bool uneven) {
    int rank = flip_comm_rank(comm), size = flip_comm_size(comm);
    flip_gid first[16] = {0};
    flip_link_scores got, want = plain_scores(x);
    for (int r = 1; r <= size; r++)
        first[r] = x->n * r / size;
    if (uneven && size > 1) first[size - 1] = first[size - 2];
    int32_t own = (int32_t)first[rank], n_own = (int32_t)(first[rank + 1] - first[rank]);
    int32_t *row = malloc((size_t)(n_own * x->n + 1) * sizeof *row);
    flip_gid *v = malloc((size_t)(n_own * x->n + 1) * sizeof *v);
    flip_true_pairs pairs = {.row = row, .v = v};
    for (int32_t i = 0; i < n_own; i++)
        for (int32_t k = x->n - 1; k >= 0; k--) /* destinations in no order */
            if (x->edge[(int64_t)(own + i) * x->n + k]) {
                row[pairs.n] = i;
                v[pairs.n++] = k;
            }
    flip_pair_rows rows = {x->width, x->w, x->bias, x->a + (size_t)own * (size_t)x->width,
                           x->b + (size_t)own * (size_t)x->width};
    CHECK_OK(flip_all_pairs_measure(&got, comm, first, &rows, &pairs));
    CHECK(got.true_pairs == want.true_pairs, "%lld true pairs", (long long)got.true_pairs);
    near("ap", got.ap, want.true_pairs ? want.ap : NAN);
    near("auc", got.auc, want.auc);
    near("mrr", got.mrr[0], want.mrr[0]);
    near("filtered mrr", got.mrr[1], want.mrr[1]);
    free(row);
    free(v);
}

/* A head taken apart scores as on the tape. */
static void check_head(flip_head_kind kind) {
    enum { N = 7, STEPS = 3, DIM = 5, HIDDEN = 6 };
    flip_params *params;
    flip_head *head;
    flip_tape *tape;
    flip_pairs *pairs;
    flip_head_split split;
    flip_gid first[] = {0, N}, u[N * N], v[N * N];
    int32_t step[N * N];
    flip_real h[N * STEPS * DIM], a[N * HIDDEN], b[N * HIDDEN], s;
    CHECK_OK(flip_params_create(&params));
    flip_head_params p = {.kind = kind, .in_dim = DIM, .hidden = HIDDEN, .out_dim = 1};
    CHECK_OK(flip_head_create(&head, params, &p));
    CHECK_OK(flip_params_finish(params, 3));
    for (int64_t i = 0; i < flip_params_size(params); i++) /* biases are 0 at first */
        flip_params_values(params)[i] += (flip_real)(drawn(21, (uint64_t)i) - 0.5);
    for (int i = 0; i < N * STEPS * DIM; i++)
        h[i] = (flip_real)(drawn(22, (uint64_t)i) - 0.5);
    for (int i = 0; i < N * N; i++) {
        u[i] = i / N;
        v[i] = i % N;
        step[i] = 1;
    }
    flip_tape_params t = {.params = params, .n_own = N};
    CHECK_OK(flip_tape_create(&tape, &t));
    CHECK_OK(flip_pairs_create(&pairs, NULL, first, STEPS, N * N, u, v, step));
    flip_tape_reset(tape, false, 0);
    flip_var y =
        flip_head_forward(head, tape, flip_tape_input(tape, N, STEPS, DIM, h, false), pairs);
    CHECK_OK(flip_tape_status(tape));
    CHECK_OK(flip_head_take_apart(&split, head, params));
    flip_head_ends(head, params, N, h + DIM, STEPS * DIM, a, b);
    for (int i = 0; i < N * N; i++) {
        const flip_real *from = b + v[i] * split.width;
        flip_kernels_get()->pair_scores(1, 1, split.width, a + u[i] * split.width, from, 1, split.w,
                                        split.bias, &s, 1);
        double want = (double)flip_tape_value(tape, y)[i];
        CHECK(fabs((double)s - want) < (sizeof s == 8 ? 1e-14 : 1e-5), "head %d: %g, not %g",
              (int)kind, (double)s, want);
    }
    flip_pairs_destroy(&pairs);
    flip_tape_destroy(&tape);
    flip_head_destroy(&head);
    flip_params_destroy(&params);
}

static void heads(void **state) {
    (void)state;
    check_head(FLIP_HEAD_DOT);
    check_head(FLIP_HEAD_LINEAR);
    check_head(FLIP_HEAD_MLP);
}

static void all_pairs(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        world x = make_world(seed, 47, 5, seed % 2, seed < 4 ? 3 : 1000000, 0.05);
        compare_all_pairs(&x, seed % 3 == 0);
        drop_world(&x);
    }
    world one = make_world(9, 3, 2, true, 4, 0.4); /* fewer nodes than ranks */
    compare_all_pairs(&one, false);
    drop_world(&one);
    world none = make_world(10, 20, 2, true, 4, 0); /* no true pair */
    compare_all_pairs(&none, false);
    drop_world(&none);
    world every = make_world(11, 12, 2, false, 4, 2); /* no non-edge */
    compare_all_pairs(&every, false);
    drop_world(&every);
    world equal = make_world(12, 30, 3, true, 1, 0.2); /* one score */
    compare_all_pairs(&equal, true);
    drop_world(&equal);
    world broken = make_world(13, 30, 3, true, 5, 0.2);
    broken.a[3 * 3] = broken.b[3 * 8 + 1] = (flip_real)NAN; /* NaN is the lowest score */
    broken.a[3 * 11] = (flip_real)1e38;
    compare_all_pairs(&broken, false);
    drop_world(&broken);
    world wide = make_world(14, 2100, 2, true, 1000000, 0); /* more than one chunk */
    for (int i = 0; i < 40; i++)
        wide.edge[(int64_t)(drawn(1, (uint64_t)i) * 2100) * 2100 +
                  (int64_t)(drawn(2, (uint64_t)i) * 2100)] = 1;
    compare_all_pairs(&wide, true);
    drop_world(&wide);
}

static void against_definitions(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        compare(300, 2, 9, false, seed);
        compare(300, 5, 4, false, seed);
        compare(400, 1, 11, true, seed);
        compare(400, 1, 1000000, true, seed);
        compare(3, 2, 2, false, seed);  /* fewer items than ranks */
        compare(200, 1, 1, true, seed); /* all scores equal */
    }
}

static void edges(void **state) {
    (void)state;
    nothing_to_measure();
    one_score();
    better();
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_definitions),
                                       cmocka_unit_test(edges), cmocka_unit_test(all_pairs),
                                       cmocka_unit_test(heads)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
