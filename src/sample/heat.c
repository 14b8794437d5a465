/* How often rows are read: an epoch's batches drawn without training (GNNLab, EuroSys'22), or what
 * is expected of them without drawing (the vertex-wise inclusion probabilities of SALIENT++, Kaler
 * et al., MLSys'23, section 3). */
#include "internal.h"

#include "kernels/draws.h"

#include <math.h>
#include <string.h>

/* Input i of the batch among [n_nodes, steps]. */
static int64_t row_of(const flip_batch *b, int32_t i, int32_t steps) {
    return steps > 1 ? b->input[i] * steps + b->step[i] - 1 : b->input[i];
}

/* Rows of other ranks to their owners, which count them. */
static flip_status count_remote(flip_sampler *s, const flip_batch *b, int32_t steps, double *heat) {
    flip_status status;
    size_t size = (size_t)s->size;
    int64_t *to = NULL, *sorted = NULL, *received = NULL, n = 0;
    FLIP_TRY_GOTO(flip_alloc_zero(&to, size + 1, sizeof *to, "counts of rows"));
    FLIP_TRY_GOTO(flip_alloc(&sorted, (size_t)b->n_input, sizeof *sorted, "rows of a batch"));
    for (int r = 0; r < s->size; r++)
        for (int32_t i = 0; i < b->n_input; i++) {
            flip_gid id = b->input[i];
            bool own = id >= s->first && id < s->first + s->n_own;
            if (own || id < s->rank_first[r] || id >= s->rank_first[r + 1]) continue;
            sorted[n++] = row_of(b, i, steps);
            to[r]++;
        }
    FLIP_TRY_GOTO(flip_comm_deal(s->comm, &received, &n, NULL, sorted, to, sizeof *sorted));
    for (int64_t i = 0; i < n; i++)
        heat[received[i] - s->first * steps]++;
done:
    flip_free(to);
    flip_free(sorted);
    flip_free(received);
    return status;
}

flip_status flip_sampler_count(flip_sampler *s, const flip_batch *b, int32_t steps, double *heat) {
    if (s->p.in_place) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rows in place are not told apart");
    for (int32_t i = 0; i < b->n_input; i++)
        if (b->input[i] >= s->first && b->input[i] < s->first + s->n_own)
            heat[row_of(b, i, steps) - s->first * steps]++;
    return s->size > 1 ? count_remote(s, b, steps, heat) : FLIP_OK;
}

flip_status flip_sampler_heat(flip_sampler *s, flip_batches *batches, const flip_gid *seed,
                              int64_t epoch, double *heat) {
    flip_status status;
    flip_batch *b = NULL;
    flip_gid *ids = NULL;
    int64_t *original = NULL;
    memset(heat, 0, (size_t)s->n_own * sizeof *heat);
    if (s->p.in_place) return FLIP_FAIL(FLIP_ERROR_INTERNAL, "rows in place are not told apart");
    FLIP_TRY_GOTO(flip_batch_create(&b));
    FLIP_TRY_GOTO(flip_batches_shuffle(batches, s->p.seed, epoch));
    FLIP_TRY_GOTO(flip_alloc(&ids, (size_t)batches->n_mine, sizeof *ids, "seeds"));
    FLIP_TRY_GOTO(flip_alloc(&original, (size_t)batches->n_mine, sizeof *original, "seeds"));
    for (int64_t k = 0; k < batches->n_batches; k++) {
        int64_t first = batches->first[k], n = batches->first[k + 1] - first;
        for (int64_t i = 0; i < n; i++) {
            ids[i] = seed[batches->item[first + i]];
            original[i] = s->original[ids[i] - s->first];
        }
        FLIP_TRY_GOTO(flip_sampler_draw(s, b, (int32_t)n, ids, original, NULL, epoch));
        FLIP_TRY_GOTO(flip_sampler_count(s, b, 1, heat));
    }
done:
    flip_free(ids);
    flip_free(original);
    flip_batch_destroy(&b);
    return status;
}

/* ---- without drawing ---- */

/* -log(1 - chance) that a row read `times` times takes an entry that it takes with `chance`: what
 * adds up over the rows that have the entry. */
static double weight_of(double times, double chance) {
    if (times <= 1) return times * chance < 1 ? -log1p(-times * chance) : INFINITY;
    return chance < 1 ? -times * log1p(-chance) : INFINITY;
}

/* The chance of an entry with this share of its row's weight, among n. Draws by weight are taken
 * for independent ones; LABOR's destinations share theirs, so that its sources are read less often
 * than this says. */
static double chance_of(const flip_sampler *s, int32_t fanout, int64_t n, double share) {
    if (fanout < 0 || (!s->p.replace && n <= fanout)) return 1;
    bool again = s->p.replace || s->p.kind == FLIP_SAMPLE_WEIGHTED;
    return again ? -expm1(fanout * log1p(-share)) : fanout * share;
}

/* Entries of an own row that may be drawn; of the most recent ones those that are. */
static flip_candidates entries_of(const flip_draws *d, int32_t v, int32_t before) {
    flip_candidates r = flip_draws_candidates(d, v, before);
    if (d->recent && !flip_draws_all(d, r.n))
        return (flip_candidates){.begin = r.begin + r.n - d->fanout, .n = (uint32_t)d->fanout};
    return r;
}

/* sum [n_cols] += of a row read `times` times what it gives its sources, one [n_cols]: added up for
 * each, since a timeline's row has the same source at several steps and reads it once. */
static void take_ones(const flip_sampler *s, flip_candidates r, double times, double *one,
                      double *sum) {
    const int32_t *col = s->col + r.begin;
    for (uint32_t i = 0; i < r.n; i++) {
        if (one[col[i]] > 0) sum[col[i]] += weight_of(times, -expm1(-one[col[i]]));
        one[col[i]] = 0;
    }
}

/* sum [n_cols] += of each own row's entries. times [n_own]: how often own nodes are rows. one
 * [n_cols] of 0: of a temporal sampler, else NULL. */
static void spread(const flip_sampler *s, int32_t hop, int32_t before, const double *times,
                   double *one, double *sum) {
    const flip_real *weight = s->p.kind == FLIP_SAMPLE_WEIGHTED ? s->weight : NULL;
    const flip_draws d = sample_draws(s, hop, 0);
    const int32_t fanout = d.fanout;
    double *to = one ? one : sum;
    for (int32_t v = 0; v < s->n_own; v++) {
        double all = 0, each = one ? 1 : times[v];
        if (times[v] == 0) continue;
        flip_candidates r = entries_of(&d, v, before);
        int64_t first = r.begin, n = r.n, end = first + n;
        if (n == 0) continue;
        for (int64_t e = first; weight && e < end; e++)
            all += (double)weight[e];
        double same = weight_of(each, chance_of(s, fanout, n, 1 / (double)n));
        for (int64_t e = first; e < end; e++)
            to[s->col[e]] +=
                weight ? weight_of(each, chance_of(s, fanout, n, (double)weight[e] / all)) : same;
        if (one) take_ones(s, r, times[v], one, sum);
    }
}

/* Sums of halo rows as they go to their owners. */
typedef struct reading {
    flip_gid id;
    double times;
} reading;

typedef struct homeward {
    int64_t *to;    /* [size] */
    int32_t *place; /* [n_halo] where a halo row stands among those sent */
    reading *sent;
} homeward;

static flip_status order_halo(homeward *h, const flip_sampler *s) {
    size_t n_halo = (size_t)(s->n_cols - s->n_own);
    int64_t *at;
    FLIP_TRY(flip_alloc_zero(&h->to, 2 * (size_t)s->size, sizeof *h->to, "counts of rows"));
    FLIP_TRY(flip_alloc(&h->place, n_halo, sizeof *h->place, "order of the halo"));
    FLIP_TRY(flip_alloc(&h->sent, n_halo, sizeof *h->sent, "readings of the halo"));
    at = h->to + s->size;
    for (size_t i = 0; i < n_halo; i++)
        h->to[flip_owner_in(s->rank_first, s->size, s->halo[i])]++;
    for (int r = 1; r < s->size; r++)
        at[r] = at[r - 1] + h->to[r - 1];
    for (size_t i = 0; i < n_halo; i++) {
        h->place[i] = (int32_t)at[flip_owner_in(s->rank_first, s->size, s->halo[i])]++;
        h->sent[h->place[i]].id = s->halo[i];
    }
    return FLIP_OK;
}

/* heat [n_own] of sum [n_cols], far [n_own] what other ranks have of it: each rank reads a row at
 * most once a batch. Rows that a rank has are taken for those that it asks for, as parts are made
 * for. */
static flip_status gather_heat(const flip_sampler *s, homeward *h, const double *sum, double *heat,
                               double *far) {
    reading *received = NULL;
    int64_t n = 0;
    memset(far, 0, (size_t)s->n_own * sizeof *far);
    for (int32_t v = 0; v < s->n_own; v++)
        heat[v] = -expm1(-sum[v]);
    if (s->size == 1) return FLIP_OK;
    for (int32_t i = 0; i < s->n_cols - s->n_own; i++)
        h->sent[h->place[i]].times = -expm1(-sum[s->n_own + i]);
    flip_status status =
        flip_comm_deal(s->comm, &received, &n, NULL, h->sent, h->to, sizeof *h->sent);
    for (int64_t i = 0; status == FLIP_OK && i < n; i++) {
        heat[received[i].id - s->first] += received[i].times;
        far[received[i].id - s->first] += received[i].times;
    }
    flip_free(received);
    return status;
}

/* Bytes of others' questions about own nodes at a hop, and of their answers. */
static void add_saved(const flip_sampler *s, int32_t hop, const double *far, double *saved) {
    const flip_draws d = sample_draws(s, hop, 0);
    for (int32_t v = 0; v < s->n_own; v++) {
        int64_t n = s->row_ptr[v + 1] - s->row_ptr[v];
        double drawn = flip_draws_all(&d, (uint32_t)n) ? (double)n : d.fanout;
        saved[v] += far[v] * (SAMPLE_QUESTION + SAMPLE_ANSWER + SAMPLE_ENTRY * drawn);
    }
}

flip_status flip_sampler_expect(flip_sampler *s, const double *seed, int32_t before, double *heat,
                                double *saved) {
    flip_status status;
    double *sum = NULL, *far = NULL, *one = NULL;
    homeward h = {0};
    status = flip_alloc_zero(&sum, (size_t)s->n_cols, sizeof *sum, "expected readings");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&far, (size_t)s->n_own, sizeof *far, "expected readings");
    if (status == FLIP_OK && s->step)
        status = flip_alloc_zero(&one, (size_t)s->n_cols, sizeof *one, "expected readings");
    if (status == FLIP_OK && s->size > 1) status = order_halo(&h, s);
    if (s->size > 1) status = flip_comm_agree(s->comm, status);
    FLIP_TRY_GOTO(status);
    for (int32_t v = 0; v < s->n_own; v++) {
        heat[v] = seed[v];
        sum[v] = weight_of(seed[v] < 1 ? seed[v] : 1, 1);
    }
    if (saved) memset(saved, 0, (size_t)s->n_own * sizeof *saved);
    for (int32_t hop = 0; hop < s->p.layers; hop++) {
        if (saved) add_saved(s, hop, far, saved);
        spread(s, hop, before, heat, one, sum);
        FLIP_TRY_GOTO(gather_heat(s, &h, sum, heat, far));
    }
done:
    flip_free(sum);
    flip_free(far);
    flip_free(one);
    flip_free(h.to);
    flip_free(h.place);
    flip_free(h.sent);
    return status;
}
