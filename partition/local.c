/* The local pass: a partition that has aged is mended, not made anew.
 *
 * Two kinds of sweeps over the nodes, in the order of their ids. With w(v, p) the weight of v's
 * edges into part p, moving v from p to q gains w(v, q) - w(v, p): so much less is cut.
 *
 *   relief   parts above an allowance give nodes to parts with room, where that loses least for
 *            each unit of load given, until they are within it
 *   gain     nodes at the boundary go where they gain most, if there is room
 *
 * Old nodes may leave the part they come from as long as the budget lasts; who has left already,
 * and new nodes, whose rows lie nowhere yet, move free. A first look at all gains finds the least
 * one that the budget can pay for, the sweep then moves (gains are taken anew at each node, since
 * its neighbours have moved), so the budget goes to the best moves without a queue over the graph.
 * Sweeps end when few nodes move. The idea of mending with few moves and their trade against the
 * cut: Schloegel, Karypis, Kumar, "Multilevel diffusion schemes for repartitioning of adaptive
 * meshes" (1997).
 *
 * Rows come from the union over time where it fits into memory, else from the file (in-neighbours
 * only, as the streams see them). */
#include "partition/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAIN_SWEEPS = 8, RELIEF_SWEEPS = 8 };

typedef struct offer {
    double value; /* gain, or gain a unit of load */
    double load;
    int32_t part;
} offer;

typedef struct pass {
    int64_t n;
    int32_t *part;       /* [n] */
    const int32_t *home; /* [n] part in the old container, -1 = new */
    int64_t budget;      /* old nodes that may still leave home */
    flip_balance balance;
    int64_t *common;  /* [n_parts] weight of the row's edges into each part */
    int32_t *touched; /* [n_parts] */
    int32_t n_touched;
    double *least; /* [n_parts] relief: the least value that goes */
    offer *offers; /* [capacity] owned */
    int64_t n_offers, offers_capacity;
    double threshold; /* gain: the least that an old node may cost budget for */
    int64_t moved;
} pass;

/* ---- rows -------------------------------------------------------------------------------------
 */

static flip_status walk_union(pass *s, const flip_union *g, flip_scan_visit each) {
    flip_status status = FLIP_OK;
    int64_t longest = 0, *row = NULL;
    for (int64_t v = 0; v < g->n; v++)
        if (g->ptr[v + 1] - g->ptr[v] > longest) longest = g->ptr[v + 1] - g->ptr[v];
    FLIP_TRY_GOTO(flip_alloc(&row, (size_t)longest, sizeof *row, "a row of the union"));
    for (int64_t v = 0; v < g->n; v++) {
        int64_t n = g->ptr[v + 1] - g->ptr[v];
        for (int64_t i = 0; i < n; i++)
            row[i] = g->adj[g->ptr[v] + i];
        FLIP_TRY_GOTO(each(s, v, row, g->weight + g->ptr[v], n));
    }
done:
    flip_free(row);
    return status;
}

static flip_status walk(pass *s, const flip_union *g, const flip_reader *reader,
                        flip_scan_visit each) {
    return g && g->n > 0 ? walk_union(s, g, each) : flip_scan_walk(reader, 0, 1, each, s);
}

/* s->common, touched: what the row holds in each part. */
static void add_up(pass *s, int64_t v, const int64_t *other, const int32_t *weight, int64_t n) {
    s->n_touched = 0;
    for (int64_t e = 0; e < n; e++) {
        if (other[e] == v) continue;
        int32_t k = s->part[other[e]];
        if (s->common[k] == 0) s->touched[s->n_touched++] = k;
        s->common[k] += weight[e];
    }
}

static void clear(pass *s) {
    for (int32_t i = 0; i < s->n_touched; i++)
        s->common[s->touched[i]] = 0;
}

/* The part with room that v is tied to most; ties go to the lighter one. anywhere: the lightest
 * part too, where nothing ties. -1 = none. */
static int32_t best_part(const pass *s, int64_t v, bool anywhere) {
    int32_t best = -1, own = s->part[v];
    for (int32_t i = 0; i < s->n_touched; i++) {
        int32_t k = s->touched[i];
        if (k == own || (best >= 0 && s->common[k] < s->common[best])) continue;
        if (!flip_balance_room(&s->balance, v, k)) continue;
        if (best < 0 || s->common[k] > s->common[best] ||
            flip_balance_lighter(&s->balance, best, k) == k)
            best = k;
    }
    if (best >= 0 || !anywhere) return best;
    best = flip_balance_lightest(&s->balance);
    return best != own && flip_balance_room(&s->balance, v, best) ? best : -1;
}

/* What the budget pays for v's move to `to`: 1, 0, or -1 where it comes home. */
static int64_t price(const pass *s, int64_t v, int32_t to) {
    if (s->home[v] < 0) return 0;
    return (to != s->home[v]) - (s->part[v] != s->home[v]);
}

static void move(pass *s, int64_t v, int32_t to) {
    s->budget -= price(s, v, to);
    flip_balance_hold(&s->balance, v, s->part[v], -1);
    s->part[v] = to;
    flip_balance_hold(&s->balance, v, to, 1);
    s->moved++;
}

static flip_status make_offer(pass *s, offer made) {
    if (s->n_offers == s->offers_capacity) {
        int64_t more = s->offers_capacity ? 2 * s->offers_capacity : 4096;
        FLIP_TRY(flip_grow(&s->offers, (size_t)s->n_offers, (size_t)more, sizeof made,
                           "moves to choose from"));
        s->offers_capacity = more;
    }
    s->offers[s->n_offers++] = made;
    return FLIP_OK;
}

/* By part, best first. */
static int best_first(const void *left, const void *right) {
    const offer *a = left, *b = right;
    if (a->part != b->part) return a->part < b->part ? -1 : 1;
    if (a->value != b->value) return a->value > b->value ? -1 : 1;
    return (a->load < b->load) - (a->load > b->load);
}

/* ---- gain -------------------------------------------------------------------------------------
 */

static flip_status see_gain(void *sweep, int64_t v, const int64_t *other, const int32_t *weight,
                            int64_t n) {
    pass *s = sweep;
    add_up(s, v, other, weight, n);
    int32_t to = best_part(s, v, false);
    flip_status status = FLIP_OK;
    int64_t gain = to < 0 ? 0 : s->common[to] - s->common[s->part[v]];
    if (gain > 0 && price(s, v, to) > 0) status = make_offer(s, (offer){.value = (double)gain});
    clear(s);
    return status;
}

static flip_status take_gain(void *sweep, int64_t v, const int64_t *other, const int32_t *weight,
                             int64_t n) {
    pass *s = sweep;
    add_up(s, v, other, weight, n);
    int32_t to = best_part(s, v, false);
    int64_t gain = to < 0 ? 0 : s->common[to] - s->common[s->part[v]];
    int64_t cost = to < 0 ? 0 : price(s, v, to);
    if (gain > 0 && (cost <= 0 || (cost <= s->budget && (double)gain >= s->threshold)))
        move(s, v, to);
    clear(s);
    return FLIP_OK;
}

static flip_status gain_sweeps(pass *s, const flip_union *g, const flip_reader *reader) {
    for (int sweep = 0; sweep < GAIN_SWEEPS; sweep++) {
        s->n_offers = s->moved = 0;
        FLIP_TRY(walk(s, g, reader, see_gain));
        s->threshold = 0;
        if (s->n_offers > s->budget) {
            qsort(s->offers, (size_t)s->n_offers, sizeof *s->offers, best_first);
            s->threshold = s->budget > 0 ? s->offers[s->budget - 1].value : INFINITY;
        }
        FLIP_TRY(walk(s, g, reader, take_gain));
        if (s->moved <= s->n / 1000) break;
    }
    return FLIP_OK;
}

/* ---- relief -----------------------------------------------------------------------------------
 */

/* The quantity that a part holds most of, against its allowance; *excess is above 0 where that is
 * too much. */
static int fullest(const flip_balance *b, int32_t part, double *excess) {
    int worst = 0;
    for (int c = 1; c < b->loads.n; c++)
        if (b->held[part * 3 + c] / b->allowance[c] >
            b->held[part * 3 + worst] / b->allowance[worst])
            worst = c;
    *excess = b->held[part * 3 + worst] - b->allowance[worst];
    return worst;
}

/* Where v goes from a part that is too full, and what that is worth; -1 = it stays. */
static int32_t way_out(pass *s, int64_t v, offer *made) {
    int32_t own = s->part[v];
    double excess;
    int c = fullest(&s->balance, own, &excess);
    double load = (double)s->balance.loads.load[c][v];
    if (excess <= 0 || load <= 0) return -1;
    int32_t to = best_part(s, v, true);
    if (to < 0) return -1;
    *made = (offer){(double)(s->common[to] - s->common[own]) / load, load, own};
    return to;
}

static flip_status see_relief(void *sweep, int64_t v, const int64_t *other, const int32_t *weight,
                              int64_t n) {
    pass *s = sweep;
    flip_status status = FLIP_OK;
    offer made;
    double excess;
    fullest(&s->balance, s->part[v], &excess);
    if (excess <= 0) return FLIP_OK;
    add_up(s, v, other, weight, n);
    if (way_out(s, v, &made) >= 0) status = make_offer(s, made);
    clear(s);
    return status;
}

static flip_status take_relief(void *sweep, int64_t v, const int64_t *other, const int32_t *weight,
                               int64_t n) {
    pass *s = sweep;
    offer made;
    double excess;
    fullest(&s->balance, s->part[v], &excess);
    if (excess <= 0) return FLIP_OK;
    add_up(s, v, other, weight, n);
    int32_t to = way_out(s, v, &made);
    if (to >= 0 && made.value >= s->least[s->part[v]] && price(s, v, to) <= s->budget)
        move(s, v, to);
    clear(s);
    return FLIP_OK;
}

/* least [n_parts]: the best offers of a part that together are its excess. */
static void choose_relief(pass *s) {
    qsort(s->offers, (size_t)s->n_offers, sizeof *s->offers, best_first);
    for (int32_t k = 0; k < s->balance.n_parts; k++)
        s->least[k] = INFINITY;
    for (int64_t i = 0; i < s->n_offers;) {
        int32_t k = s->offers[i].part;
        double excess, sum = 0;
        fullest(&s->balance, k, &excess);
        for (; i < s->n_offers && s->offers[i].part == k; i++) {
            if (sum >= excess) continue;
            sum += s->offers[i].load;
            s->least[k] = s->offers[i].value;
        }
    }
}

static flip_status relief_sweeps(pass *s, const flip_union *g, const flip_reader *reader) {
    for (int sweep = 0; sweep < RELIEF_SWEEPS; sweep++) {
        bool full = false;
        for (int32_t k = 0; k < s->balance.n_parts; k++)
            full |= flip_balance_fullness(&s->balance, k) > 1;
        if (!full) break;
        s->n_offers = s->moved = 0;
        FLIP_TRY(walk(s, g, reader, see_relief));
        choose_relief(s);
        FLIP_TRY(walk(s, g, reader, take_relief));
        if (s->moved == 0) break;
    }
    return FLIP_OK;
}

/* ---- the pass ---------------------------------------------------------------------------------
 */

/* Largest part over the mean, the heaviest node taken off: what cannot be divided is not held
 * against it. */
static double worst_share(const flip_balance *b) {
    double worst = 0;
    for (int c = 0; c < b->loads.n; c++) {
        double most = 0;
        for (int32_t k = 0; k < b->n_parts; k++)
            most = fmax(most, b->held[k * 3 + c]);
        if (b->total[c] > 0 && most > b->allowance[c])
            worst = fmax(worst, (most - b->heaviest[c]) * b->n_parts / b->total[c]);
    }
    return worst;
}

flip_status flip_partition_local(int32_t *part, double *worst, const int32_t *home, int64_t n,
                                 int64_t budget, bool gains, const flip_union *g,
                                 const flip_reader *reader, const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    size_t k = (size_t)p->n_parts;
    pass s = {.n = n, .part = part, .home = home, .budget = budget};
    for (int64_t v = 0; v < n; v++)
        s.budget -= home[v] >= 0 && part[v] != home[v];
    FLIP_TRY_GOTO(flip_balance_init(&s.balance, part, reader, n, p));
    FLIP_TRY_GOTO(flip_alloc_zero(&s.common, k, sizeof *s.common, "part counts"));
    FLIP_TRY_GOTO(flip_alloc(&s.touched, k, sizeof *s.touched, "part counts"));
    FLIP_TRY_GOTO(flip_alloc(&s.least, k, sizeof *s.least, "part counts"));
    FLIP_TRY_GOTO(relief_sweeps(&s, g, reader));
    if (gains) FLIP_TRY_GOTO(gain_sweeps(&s, g, reader));
    *worst = worst_share(&s.balance);
done:
    flip_balance_free(&s.balance);
    flip_free(s.common);
    flip_free(s.touched);
    flip_free(s.least);
    flip_free(s.offers);
    return status;
}
