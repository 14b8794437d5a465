/* A payment network that changes over time, with planted laundering rings.
 *
 * The shape follows what AMLSim plants (Suzumura and Kanezashi 2021; Weber et al.,
 * arXiv:1812.00076): cycles, fan-in and fan-out over a background with a few regular partners an
 * account and power-law activity. An account has an id, scrambled, and a place: places are dealt to
 * regions in turn, and within a region the lowest ranks are the best known. */
#include "datasets/generate.h"

#include <math.h>
#include <string.h>

enum {
    REGION = 200, /* accounts a region, about */
    RING_LOW = 4, /* accounts a ring */
    RING_HIGH = 10,
    ROUND_STEPS = RING_HIGH, /* a round lasts at most so long */
    CLUBS = 2,               /* for each ring */
    HABITS = 4,
    FIXED_FEATURES = 4
};
enum { NORMAL, FRAUD };
enum { CYCLE, FAN_IN, FAN_OUT, KINDS };

typedef struct payments {
    const flip_payments_params *p;
    uint64_t seed;
    int64_t n, n_regions;
    int32_t n_rings;
    double mean_activity; /* makes the average over accounts 1 */
    uint8_t *fraud;       /* [n_nodes] */
    int64_t n_fraud;
} payments;

/* ---- accounts ---------------------------------------------------------------------------------
 */

static int64_t place_of(const payments *s, flip_gid account) {
    return flip_random_permute_back(s->seed, FLIP_STREAM_GENERATE, s->n, account);
}

static int64_t region_size(const payments *s, int64_t region) {
    return (s->n - region + s->n_regions - 1) / s->n_regions;
}

static flip_gid account_at(const payments *s, int64_t region, int64_t rank) {
    return flip_random_permute(s->seed, FLIP_STREAM_GENERATE, s->n, region + rank * s->n_regions);
}

/* Pareto with exponent 2.5, cut at 40 times its least value; mean 1 after division. */
static double raw_activity(const payments *s, flip_gid account) {
    double u = flip_draw_uniform(s->seed, FLIP_DRAW_ACTIVITY, 0, account, 0);
    return fmin(pow(1 - u, -1 / 1.5), 40);
}

static double activity(const payments *s, flip_gid account) {
    return raw_activity(s, account) / s->mean_activity;
}

/* A well-known account: low ranks are drawn more often (rank = size * u^2). */
static flip_gid known_account(const payments *s, flip_draw use, int64_t step, int64_t item,
                              int64_t k, int64_t region) {
    double u = flip_draw_uniform(s->seed, use, step, item, k);
    return account_at(s, region, (int64_t)((double)region_size(s, region) * u * u));
}

/* Partner number j of an account's regular ones: 2 to 5 of its own region. */
static flip_gid partner(const payments *s, flip_gid account, int64_t region, int64_t j) {
    return known_account(s, FLIP_DRAW_PARTNER, 0, account, 1 + j, region);
}

static void pay(flip_made_sink *sink, int32_t step, flip_gid from, flip_gid to, double amount,
                int32_t label) {
    if (from == to) return;
    flip_made_event e = {
        .dst = to, .src = from, .step = step, .label = label, .weight = (float)amount};
    flip_made_push(sink, &e);
}

/* exp(mu + sigma z) in hundreds: the median payment is 0.6. */
static double ordinary_amount(const payments *s, int32_t step, flip_gid account, int32_t k) {
    double habit = flip_draw_normal(s->seed, FLIP_DRAW_AMOUNT, 0, account, 1 << 20);
    double z = flip_draw_normal(s->seed, FLIP_DRAW_AMOUNT, step, account, k);
    return exp(-.5 + .5 * habit + .8 * z);
}

static void emit_account(const payments *s, int32_t step, flip_gid account, flip_made_sink *sink) {
    double mean = s->p->payments * activity(s, account);
    int32_t n = flip_draw_poisson(s->seed, FLIP_DRAW_COUNT, step, account, mean);
    if (n == 0) return;
    int64_t region = place_of(s, account) % s->n_regions;
    int64_t regular = 2 + flip_draw_below(s->seed, FLIP_DRAW_PARTNER, 0, account, 0, 4);
    for (int32_t k = 0; k < n; k++) {
        double u = flip_draw_uniform(s->seed, FLIP_DRAW_TARGET, step, account, 3 * k);
        flip_gid to;
        if (u < .6)
            to = partner(
                s, account, region,
                flip_draw_below(s->seed, FLIP_DRAW_TARGET, step, account, 3 * k + 1, regular));
        else {
            int64_t where = u < .92 ? region
                                    : flip_draw_below(s->seed, FLIP_DRAW_TARGET, step, account,
                                                      3 * k + 1, s->n_regions);
            to = known_account(s, FLIP_DRAW_TARGET, step, account, 3 * k + 2, where);
        }
        pay(sink, step, account, to, ordinary_amount(s, step, account, k), 0);
    }
}

/* ---- rings ------------------------------------------------------------------------------------
 */

/* Rings 0 … n_rings-1 launder; the next CLUBS * n_rings are clubs, groups that pay each other in
 * the same patterns for honest reasons, so that the pattern alone convicts nobody. */
typedef struct ring {
    int32_t kind, n, label;
    double scale;               /* of the amounts, logarithm */
    flip_gid member[RING_HIGH]; /* distinct */
} ring;

/* Members come from one region, one in three from anywhere; the best-known accounts of a region do
 * not take part, so that the number of payers does not give a ring away. */
static void ring_make(const payments *s, int64_t index, ring *out) {
    int64_t k = 0;
    out->label = index < s->n_rings;
    out->scale = out->label ? 1.2 : .6;
    out->kind = (int32_t)flip_draw_below(s->seed, FLIP_DRAW_RING, 0, index, k++, KINDS);
    int32_t want = (int32_t)(RING_LOW + flip_draw_below(s->seed, FLIP_DRAW_RING, 0, index, k++,
                                                        RING_HIGH - RING_LOW + 1));
    int64_t home = flip_draw_below(s->seed, FLIP_DRAW_RING, 0, index, k++, s->n_regions);
    out->n = 0;
    for (int32_t tries = 0; out->n < want && tries < 8 * RING_HIGH; tries++, k += 3) {
        int64_t region = home;
        if (flip_draw_uniform(s->seed, FLIP_DRAW_RING, 0, index, k) < 1. / 3)
            region = flip_draw_below(s->seed, FLIP_DRAW_RING, 0, index, k + 1, s->n_regions);
        int64_t known = region_size(s, region) / 4, unknown = region_size(s, region) - known;
        int64_t rank = known + flip_draw_below(s->seed, FLIP_DRAW_RING, 0, index, k + 2, unknown);
        flip_gid account = account_at(s, region, rank);
        bool twice = false;
        for (int32_t i = 0; i < out->n; i++)
            twice |= out->member[i] == account;
        if (!twice) out->member[out->n++] = account;
    }
}

static bool round_starts(const payments *s, int64_t index, int32_t step) {
    return step >= 0 &&
           flip_draw_uniform(s->seed, FLIP_DRAW_ROUND, step, index, 0) < s->p->ring_activity;
}

/* What a round that began at `start` pays at `step`. Each round begins at another member. */
static void emit_round(const payments *s, int64_t index, const ring *r, int32_t start, int32_t step,
                       flip_made_sink *sink) {
    int32_t age = step - start, n = r->n;
    double z = flip_draw_normal(s->seed, FLIP_DRAW_ROUND, start, index, 1);
    double amount = exp(r->scale + .4 * z), loss = .97;
    int32_t lead = (int32_t)flip_draw_below(s->seed, FLIP_DRAW_ROUND, start, index, 2, n);
    flip_gid hub = r->member[0];
    if (r->kind == CYCLE && age < n)
        pay(sink, step, r->member[(lead + age) % n], r->member[(lead + age + 1) % n],
            amount * pow(loss, age), r->label);
    if (r->kind == CYCLE || age > 1) return;
    int32_t other = 1 + lead % (n - 1);
    bool spread = (r->kind == FAN_IN) == (age == 0); /* the step of the many payments */
    if (!spread) {
        double whole = amount * (n - 1) * (age ? loss : 1 / loss) * .5;
        if (r->kind == FAN_IN)
            pay(sink, step, hub, r->member[other], whole, r->label);
        else
            pay(sink, step, r->member[other], hub, whole, r->label);
        return;
    }
    for (int32_t i = 1; i < n; i++) {
        double noise = flip_draw_normal(s->seed, FLIP_DRAW_ROUND, start, index, 3 + i);
        double part = amount * (1 + .05 * noise) * .5;
        if (r->kind == FAN_IN)
            pay(sink, step, r->member[i], hub, fmax(part, .01), r->label);
        else
            pay(sink, step, hub, r->member[i], fmax(part, .01), r->label);
    }
}

/* ---- the generator ----------------------------------------------------------------------------
 */

static int64_t n_items(void *self, int32_t step) {
    const payments *s = self;
    (void)step;
    return s->n + (1 + CLUBS) * (int64_t)s->n_rings;
}

static void emit(void *self, int32_t step, int64_t item, flip_made_sink *sink) {
    const payments *s = self;
    if (item < s->n) {
        emit_account(s, step, item, sink);
        return;
    }
    ring r = {.n = 0};
    for (int32_t start = step; start >= 0 && start > step - ROUND_STEPS; start--) {
        if (!round_starts(s, item - s->n, start)) continue;
        if (r.n == 0) ring_make(s, item - s->n, &r);
        if (r.n >= 2) emit_round(s, item - s->n, &r, start, step, sink);
    }
}

/* business, activity, age, balance; then night, foreign, cash, new partners; then noise. */
static void features(void *self, flip_gid account, float *out) {
    const payments *s = self;
    double shift = s->fraud[account] == FRAUD ? s->p->common.signal : 0;
    double active = log(activity(s, account));
    int64_t rank = place_of(s, account) / s->n_regions;
    double business = rank < region_size(s, 0) / 10 ? 1 : 0;
    for (int32_t j = 0; j < s->p->common.n_features; j++) {
        double z = flip_draw_normal(s->seed, FLIP_DRAW_NOISE, 0, account, j);
        double value = z;
        if (j == 0) value = z > 1.6 ? 1 - business : business; /* one in twenty is wrong */
        if (j == 1) value = active + .5 * z;
        if (j == 2) value = z - shift;
        if (j == 3) value = .5 * active + z;
        if (j >= FIXED_FEATURES && j < FIXED_FEATURES + HABITS) value = z + shift;
        out[j] = (float)value;
    }
}

static int32_t label(void *self, flip_gid account, int32_t step) {
    (void)step;
    return ((payments *)self)->fraud[account];
}

static flip_status check(const flip_payments_params *p) {
    FLIP_TRY(flip_generate_check(&p->common, "payments"));
    FLIP_TRY(flip_generate_range("nodes", (double)p->common.n_nodes, 50, 0x1p39));
    FLIP_TRY(flip_generate_range("rings", p->n_rings, 0, (double)p->common.n_nodes / RING_HIGH));
    FLIP_TRY(flip_generate_range("payments", p->payments, 0, 1000));
    FLIP_TRY(flip_generate_range("ring-activity", p->ring_activity, 0, 1));
    return FLIP_OK;
}

static void mark_fraud(payments *s) {
    for (int64_t i = 0; i < s->n_rings; i++) {
        ring r;
        ring_make(s, i, &r);
        for (int32_t m = 0; m < r.n; m++)
            s->fraud[r.member[m]] = FRAUD;
    }
    for (int64_t v = 0; v < s->n; v++)
        s->n_fraud += s->fraud[v];
}

flip_status flip_generate_payments(flip_comm *comm, const char *path,
                                   const flip_payments_params *params,
                                   flip_generate_counts *counts) {
    flip_status status = FLIP_OK;
    payments s = {.p = params, .seed = params->common.seed, .n = params->common.n_nodes};
    memset(counts, 0, sizeof *counts);
    FLIP_TRY_GOTO(check(params));
    s.n_regions = s.n / REGION > 1 ? s.n / REGION : 1;
    s.n_rings = params->n_rings ? params->n_rings : (int32_t)fmin((double)s.n / 130 + 1, INT32_MAX);
    FLIP_TRY_GOTO(flip_alloc_zero(&s.fraud, (size_t)s.n, 1, "fraud marks"));
    mark_fraud(&s);
    /* mean of min((1-u)^(-2/3), 40): the integral of u^(-2/3) above the cut, plus the cut */
    double cut = pow(40, -1.5);
    s.mean_activity = 3 * (1 - cbrt(cut)) + 40 * cut;
    flip_generator g = {.name = "payments",
                        .common = &params->common,
                        .n_classes = 2,
                        .class_names = "normal\nfraud",
                        .event_label_names = "ordinary\nlaundering",
                        .weighted = true,
                        .expected_events =
                            ((double)s.n * params->payments +
                             (1. + CLUBS) * s.n_rings * params->ring_activity * RING_HIGH) *
                            params->common.n_steps,
                        .self = &s,
                        .n_items = n_items,
                        .emit = emit,
                        .features = features,
                        .label = label};
    FLIP_TRY_GOTO(flip_generator_run(&g, comm, path, counts));
    counts->n_rings = s.n_rings;
    counts->n_fraud = s.n_fraud;
done:
    flip_free(s.fraud);
    return status;
}
