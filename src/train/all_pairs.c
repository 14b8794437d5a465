/* Link prediction of one step against every pair of nodes. N^2 scores are never stored: sources
 * stay where they are, destinations go round in chunks, and scores are counted as they come.
 *
 * What a metric of the order needs of N^2 scores is how many lie between the scores of the true
 * pairs, which are few: first their scores are taken and sorted (the cuts), then every score is put
 * into its gap. Counts are whole numbers, so the result does not depend on ranks or threads. */
#include <flipbook/train.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 2048, ROWS = 16, BUCKETS = 1 << 15 };

/* The distinct scores of the true pairs of all ranks, ascending. */
typedef struct cuts {
    int64_t n, positives;
    flip_real *at;       /* [n] */
    int64_t *true_pairs; /* [n] with that score */
    int64_t *bucket; /* [BUCKETS + 1] cuts before each of equal intervals of at[0] … at[n-1] */
    flip_real scale;
} cuts;

typedef struct work {
    flip_comm *comm;
    const flip_gid *first; /* [size + 1] */
    const flip_pair_rows *rows;
    const flip_true_pairs *pairs;
    int32_t n_own;
    flip_real *chunk;  /* [width, CHUNK] destinations, columns by columns */
    flip_real *score;  /* [pairs] */
    int64_t *of_row;   /* [n_own + 1] pairs before a row's */
    int64_t *above;    /* [pairs] candidates of the source with a larger score */
    int64_t *equal;    /* [pairs] with the same one, itself among them */
    int64_t *by_place; /* [pairs] pairs by ascending destination */
    cuts cuts;
    int64_t *gaps; /* [2 n + 1] scores below cut 0, equal to it, between 0 and 1, … */
} work;

/* NaN is the lowest score. */
static flip_real seen(flip_real x) {
    return isnan(x) ? (flip_real)-INFINITY : x;
}

/* ---- destinations, chunk by chunk ---- */

typedef struct place {
    int rank;
    flip_gid first;
    int64_t n;
} place;

/* The next chunk after `at` (rank -1 before the first); false at the end. */
static bool next_chunk(const work *w, place *at) {
    flip_gid from = at->rank < 0 ? 0 : at->first + at->n;
    int rank = at->rank < 0 ? 0 : at->rank;
    while (rank < flip_comm_size(w->comm) && from >= w->first[rank + 1])
        rank++;
    if (rank == flip_comm_size(w->comm)) return false;
    int64_t left = w->first[rank + 1] - from;
    *at = (place){rank, from, left < CHUNK ? left : CHUNK};
    return true;
}

/* The owner turns its rows into columns and everybody gets them. */
static flip_status fetch_chunk(work *w, const place *at) {
    int64_t width = w->rows->width;
    if (at->rank == flip_comm_rank(w->comm)) {
        const flip_real *b = w->rows->b + (at->first - w->first[at->rank]) * width;
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < width; k++)
            for (int64_t j = 0; j < at->n; j++)
                w->chunk[k * at->n + j] = b[j * width + k];
    }
    return flip_comm_broadcast(w->comm, w->chunk, (size_t)(width * at->n) * sizeof *w->chunk,
                               at->rank);
}

/* ---- scores of the true pairs ---- */

static int by_destination(const void *a, const void *b, void *destinations) {
    const flip_gid *v = destinations;
    flip_gid x = v[*(const int64_t *)a], y = v[*(const int64_t *)b];
    return (x > y) - (x < y);
}

static flip_status score_true_pairs(work *w) {
    const flip_pair_rows *r = w->rows;
    int64_t done = 0, n = w->pairs->n;
    place at = {.rank = -1};
    for (int64_t i = 0; i < n; i++)
        w->by_place[i] = i;
    qsort_r(w->by_place, (size_t)n, sizeof *w->by_place, by_destination, (void *)w->pairs->v);
    while (next_chunk(w, &at)) {
        FLIP_TRY(fetch_chunk(w, &at));
        for (; done < n && w->pairs->v[w->by_place[done]] < at.first + at.n; done++) {
            int64_t i = w->by_place[done], j = w->pairs->v[i] - at.first;
            flip_kernels_get()->pair_scores(1, 1, r->width,
                                            r->a + (int64_t)w->pairs->row[i] * r->width,
                                            w->chunk + j, at.n, r->w, r->bias, &w->score[i], 1);
            w->score[i] = seen(w->score[i]);
        }
    }
    return FLIP_OK;
}

static int ascending(const void *a, const void *b) {
    flip_real x = *(const flip_real *)a, y = *(const flip_real *)b;
    return (x > y) - (x < y);
}

/* Scores of the true pairs of all ranks. */
static flip_status gather_scores(const work *w, flip_real **all, int64_t *n) {
    int size = flip_comm_size(w->comm), rank = flip_comm_rank(w->comm);
    int64_t *counts, at = 0;
    flip_status status;
    FLIP_TRY(flip_alloc(&counts, (size_t)size, sizeof *counts, "counts of true pairs"));
    counts[0] = w->pairs->n;
    if (size > 1)
        FLIP_TRY_GOTO(flip_comm_gather_all(w->comm, counts, &w->pairs->n, sizeof *counts));
    *n = 0;
    for (int r = 0; r < size; r++)
        *n += counts[r];
    status = flip_alloc(all, (size_t)*n, sizeof **all, "scores of true pairs");
    FLIP_TRY_GOTO(flip_comm_agree(w->comm, status));
    for (int r = 0; r < size; r++) {
        if (r == rank && counts[r]) memcpy(*all + at, w->score, (size_t)counts[r] * sizeof **all);
        FLIP_TRY_GOTO(flip_comm_broadcast(w->comm, *all + at, (size_t)counts[r] * sizeof **all, r));
        at += counts[r];
    }
    status = FLIP_OK;
done:
    flip_free(counts);
    return status;
}

static int64_t bucket_of(const cuts *c, flip_real x) {
    int64_t b = c->scale > 0 ? (int64_t)((x - c->at[0]) * c->scale) : 0;
    return b < BUCKETS ? b : BUCKETS - 1;
}

static flip_status make_cuts(work *w) {
    cuts *c = &w->cuts;
    int64_t n = 0;
    FLIP_TRY(gather_scores(w, &c->at, &c->positives));
    qsort(c->at, (size_t)c->positives, sizeof *c->at, ascending);
    FLIP_TRY(flip_alloc_zero(&c->true_pairs, (size_t)c->positives, sizeof(int64_t), "true pairs"));
    FLIP_TRY(flip_alloc_zero(&c->bucket, BUCKETS + 1, sizeof(int64_t), "buckets"));
    for (int64_t i = 0; i < c->positives; i++) {
        if (n == 0 || c->at[n - 1] != c->at[i]) c->at[n++] = c->at[i];
        c->true_pairs[n - 1]++;
    }
    c->n = n;
    /* an interval that is not finite has scale 0: one bucket for all */
    if (n > 1 && isfinite(c->at[0])) c->scale = (flip_real)BUCKETS / (c->at[n - 1] - c->at[0]);
    if (!isfinite(c->scale)) c->scale = 0;
    for (int64_t i = 0; i < n; i++)
        c->bucket[bucket_of(c, c->at[i]) + 1]++;
    for (int64_t b = 0; b < BUCKETS; b++)
        c->bucket[b + 1] += c->bucket[b];
    return flip_alloc_zero(&w->gaps, 2 * (size_t)n + 1, sizeof *w->gaps, "counts of scores");
}

/* Index into gaps. bucket_of never decreases with x, so cuts of other buckets need no look. */
static int64_t gap_of(const cuts *c, flip_real x) {
    if (x < c->at[0]) return 0;
    if (x > c->at[c->n - 1]) return 2 * c->n;
    int64_t b = bucket_of(c, x), low = c->bucket[b], high = c->bucket[b + 1];
    while (low < high) { /* the first cut that is not below x */
        int64_t middle = low + (high - low) / 2;
        if (c->at[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return 2 * low + (low < c->n && c->at[low] == x);
}

/* ---- all scores ---- */

static void count_row(const work *w, int32_t row, const flip_real *score, int64_t n) {
    for (int64_t i = w->of_row[row]; i < w->of_row[row + 1]; i++) {
        flip_real mine = w->score[i];
        int32_t above = 0, equal = 0;
        for (int64_t j = 0; j < n; j++) {
            above += score[j] > mine;
            equal += score[j] == mine;
        }
        w->above[i] += above;
        w->equal[i] += equal;
    }
}

/* This thread's rows against the chunk at hand. */
static void count_rows(const work *w, int64_t n, int32_t first, int32_t end, flip_real *score,
                       int64_t *gaps) {
    const flip_pair_rows *r = w->rows;
    flip_kernels_get()->pair_scores(end - first, n, r->width, r->a + (int64_t)first * r->width,
                                    w->chunk, n, r->w, r->bias, score, n);
    for (int32_t i = first; i < end; i++) {
        flip_real *mine = score + (i - first) * n;
        for (int64_t j = 0; j < n; j++)
            mine[j] = seen(mine[j]);
        count_row(w, i, mine, n);
        for (int64_t j = 0; j < n; j++)
            gaps[gap_of(&w->cuts, mine[j])]++;
    }
}

static flip_status count_all(work *w) {
    int threads = omp_get_max_threads();
    size_t n_gaps = 2 * (size_t)w->cuts.n + 1;
    flip_real *score = NULL;
    int64_t *gaps = NULL;
    place at = {.rank = -1};
    flip_status status;
    status = flip_alloc(&score, (size_t)threads * ROWS * CHUNK, sizeof *score, "scores");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&gaps, (size_t)threads * n_gaps, sizeof *gaps, "score counts");
    FLIP_TRY_GOTO(flip_comm_agree(w->comm, status));
    while (next_chunk(w, &at)) {
        FLIP_TRY_GOTO(fetch_chunk(w, &at));
#pragma omp parallel for schedule(static)
        for (int32_t first = 0; first < w->n_own; first += ROWS) {
            int t = omp_get_thread_num();
            int32_t end = w->n_own - first < ROWS ? w->n_own : first + ROWS;
            count_rows(w, at.n, first, end, score + (size_t)t * ROWS * CHUNK,
                       gaps + (size_t)t * n_gaps);
        }
    }
    for (int t = 0; t < threads; t++)
        for (size_t g = 0; g < n_gaps; g++)
            w->gaps[g] += gaps[(size_t)t * n_gaps + g];
    status = flip_comm_sum_i64(w->comm, w->gaps, n_gaps);
done:
    flip_free(score);
    flip_free(gaps);
    return status;
}

/* ---- from counts to metrics ---- */

/* Σ over distinct scores, descending, of (share of the true pairs) * precision there. */
static double average_precision(const work *w) {
    const cuts *c = &w->cuts;
    double sum = 0;
    int64_t all = w->gaps[2 * c->n], positives = 0;
    for (int64_t i = c->n - 1; i >= 0; i--) {
        all += w->gaps[2 * i + 1];
        positives += c->true_pairs[i];
        sum += (double)c->true_pairs[i] * ((double)positives / (double)all);
        all += w->gaps[2 * i];
    }
    return sum / (double)c->positives;
}

static double area_under_curve(const work *w) {
    const cuts *c = &w->cuts;
    int64_t below = 0, negatives = -c->positives;
    double sum = 0;
    for (int64_t g = 0; g <= 2 * c->n; g++)
        negatives += w->gaps[g];
    for (int64_t i = 0; i < c->n; i++) {
        int64_t equal = w->gaps[2 * i + 1] - c->true_pairs[i];
        below += w->gaps[2 * i];
        sum += (double)c->true_pairs[i] * ((double)below + 0.5 * (double)equal);
        below += equal;
    }
    return sum / ((double)c->positives * (double)negatives); /* NaN without non-edges */
}

/* 1 / rank of pair i among its source's candidates, in the middle of equal ones; filtered: the
 * source's other true pairs are no candidates. */
static double reciprocal_rank(const work *w, int64_t i, bool filtered) {
    int64_t above = w->above[i], equal = w->equal[i];
    int32_t row = w->pairs->row[i];
    for (int64_t k = w->of_row[row]; filtered && k < w->of_row[row + 1]; k++) {
        above -= w->score[k] > w->score[i];
        equal -= k != i && w->score[k] == w->score[i];
    }
    return 1 / ((double)above + 0.5 * (double)(equal + 1));
}

static flip_status mean_ranks(const work *w, double mrr[2]) {
    double sums[3] = {0, 0, 0};
    for (int32_t row = 0; row < w->n_own; row++) {
        int64_t first = w->of_row[row], end = w->of_row[row + 1];
        if (first == end) continue;
        for (int f = 0; f < 2; f++) {
            double sum = 0;
            for (int64_t i = first; i < end; i++)
                sum += reciprocal_rank(w, i, f);
            sums[f] += sum / (double)(end - first);
        }
        sums[2] += 1;
    }
    FLIP_TRY(flip_comm_sum_f64(w->comm, sums, 3));
    mrr[0] = sums[0] / sums[2];
    mrr[1] = sums[1] / sums[2];
    return FLIP_OK;
}

/* ---- all of it ---- */

static flip_status prepare(work *w) {
    size_t n = (size_t)w->pairs->n;
    FLIP_TRY(flip_alloc(&w->chunk, (size_t)w->rows->width * CHUNK, sizeof *w->chunk,
                        "a chunk of destinations"));
    FLIP_TRY(flip_alloc(&w->score, n, sizeof *w->score, "scores"));
    FLIP_TRY(flip_alloc_zero(&w->of_row, (size_t)w->n_own + 1, sizeof *w->of_row, "rows"));
    FLIP_TRY(flip_alloc_zero(&w->above, n, sizeof *w->above, "ranks"));
    FLIP_TRY(flip_alloc_zero(&w->equal, n, sizeof *w->equal, "ranks"));
    FLIP_TRY(flip_alloc(&w->by_place, n, sizeof *w->by_place, "pairs"));
    for (int64_t i = 0; i < w->pairs->n; i++)
        w->of_row[w->pairs->row[i] + 1]++;
    for (int32_t row = 0; row < w->n_own; row++)
        w->of_row[row + 1] += w->of_row[row];
    return FLIP_OK;
}

static void finish(work *w) {
    flip_free(w->chunk);
    flip_free(w->score);
    flip_free(w->of_row);
    flip_free(w->above);
    flip_free(w->equal);
    flip_free(w->by_place);
    flip_free(w->cuts.at);
    flip_free(w->cuts.true_pairs);
    flip_free(w->cuts.bucket);
    flip_free(w->gaps);
}

flip_status flip_all_pairs_measure(flip_link_scores *scores, flip_comm *comm, const flip_gid *first,
                                   const flip_pair_rows *rows, const flip_true_pairs *pairs) {
    int rank = flip_comm_rank(comm);
    work w = {.comm = comm, .first = first, .rows = rows, .pairs = pairs};
    flip_status status;
    *scores = (flip_link_scores){NAN, NAN, {NAN, NAN}, 0};
    status = flip_narrow(&w.n_own, first[rank + 1] - first[rank], "own nodes");
    if (status == FLIP_OK) status = prepare(&w);
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(score_true_pairs(&w));
    FLIP_TRY_GOTO(flip_comm_agree(comm, make_cuts(&w)));
    scores->true_pairs = w.cuts.positives;
    if (w.cuts.positives == 0) goto done;
    FLIP_TRY_GOTO(count_all(&w));
    scores->ap = average_precision(&w);
    scores->auc = area_under_curve(&w);
    status = mean_ranks(&w, scores->mrr);
done:
    finish(&w);
    return status;
}
