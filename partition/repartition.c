/* Repartitioning: the parts of an old container, carried over to the graph as it is now.
 *
 *     old parts ─match─▶ home of each node, new ones placed (LDG) ─local pass─▶ few rows moved
 *                                                    │ halo above 1.2 times the last full result,
 *                                                    ▼ another number of parts, or out of balance
 *                            a full run, its parts renumbered to overlap the old ones most
 *
 * (Scratch-remap and diffusion in one, as in Schloegel, Karypis, Kumar, "A unified algorithm for
 * load-balancing adaptive scientific simulations" (2000): there a weighted sum of cut and moved
 * data chooses, here a bound on each.) Everything but the counting happens on rank 0, so the result
 * does not depend on the number of ranks. */
#include "partition/internal.h"
#include "partition/metis.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct state {
    flip_comm *comm;
    const flip_reader *graph, *old;
    flip_partition_params p;
    flip_repartition *r;
    int64_t n;
    int32_t *home, *part; /* [n] part in the old container, -1 = new; part now */
    double crossing;      /* of the last full run; -1 = unknown */
    int64_t full_halo;
    char narrow[160]; /* why the local pass saw in-neighbours only; "" = it saw all */
} state;

static bool first(const state *s) {
    return flip_comm_rank(s->comm) == 0;
}

static void because(state *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void because(state *s, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->r->why, sizeof s->r->why, format, arguments);
    va_end(arguments);
}

/* ---- what the old container says ---- */

static flip_status read_old(state *s) {
    int64_t numbers[4] = {0}; /* known, new, vanished, parts */
    flip_match m = {0};
    flip_status status = FLIP_OK;
    if (!flip_reader_has(s->old, "parts/first"))
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' is not partitioned; --from takes a container that flipbook "
                         "partition wrote",
                         flip_reader_path(s->old));
    if (first(s)) status = flip_match_nodes(&m, s->home, s->n, s->graph, s->old);
    FLIP_TRY(flip_comm_agree(s->comm, status));
    memcpy(numbers, (int64_t[]){m.n_known, m.n_new, m.n_vanished, m.n_parts}, sizeof numbers);
    FLIP_TRY(flip_comm_broadcast(s->comm, numbers, sizeof numbers, 0));
    FLIP_TRY(flip_comm_broadcast(s->comm, s->home, sizeof *s->home * (size_t)s->n, 0));
    s->r->n_known = numbers[0];
    s->r->n_new = numbers[1];
    s->r->n_vanished = numbers[2];
    s->r->old_parts = (int32_t)numbers[3];
    s->crossing = -1;
    s->full_halo = -1;
    if (!flip_reader_has_attribute(s->old, "partition", "full_crossing")) return FLIP_OK;
    FLIP_TRY(flip_reader_attribute_i64(s->old, "partition", "full_halo", &s->full_halo));
    return flip_reader_attribute_f64(s->old, "partition", "full_crossing", &s->crossing);
}

/* ---- counting ---- */

/* The row of as many ranks as parts, for part [n] as it is now. */
static flip_status weigh(state *s, int32_t n_parts, flip_partition_row *row, int64_t *cut) {
    flip_partition *now = NULL;
    flip_partition_row rows[FLIP_PARTITION_ROWS];
    int32_t n_rows = 0;
    flip_status status;
    FLIP_TRY(flip_partition_create(&now, s->comm, s->graph, n_parts));
    FLIP_TRY_GOTO(flip_comm_broadcast(s->comm, s->part, sizeof *s->part * (size_t)s->n, 0));
    FLIP_TRY_GOTO(flip_partition_assign(now, s->comm, s->graph, s->part, true));
    FLIP_TRY_GOTO(flip_partition_measure(rows, &n_rows, s->comm, s->graph, now));
    *row = rows[n_rows - 1];
    if (cut) *cut = now->cut;
done:
    flip_partition_destroy(&now);
    return status;
}

static int64_t moved_rows(const state *s) {
    int64_t moved = 0;
    for (int64_t v = 0; v < s->n; v++)
        moved += s->home[v] >= 0 && s->part[v] != s->home[v];
    return moved;
}

/* ---- the local pass ---- */

/* Old nodes at home, new ones placed: part [n] on rank 0. */
static flip_status carry_over(state *s) {
    flip_partition_params p = s->p;
    flip_status status = FLIP_OK;
    p.n_parts = s->r->old_parts;
    memcpy(s->part, s->home, sizeof *s->part * (size_t)s->n);
    if (first(s)) status = flip_partition_place(s->part, s->graph, s->n, &p);
    return flip_comm_agree(s->comm, status);
}

static flip_status mend(state *s, double *worst) {
    flip_status status = FLIP_OK;
    flip_union graph = {0};
    s->r->most_moved = (int64_t)(s->p.max_moved * (double)s->r->n_known);
    status = flip_union_build(&graph, s->comm, s->graph, &s->p, s->narrow);
    if (status == FLIP_ERROR_MEMORY) { /* on every rank alike */
        snprintf(s->narrow, sizeof s->narrow, "%s", flip_error_message());
        flip_error_clear();
        status = FLIP_OK;
    }
    FLIP_TRY(status);
    if (first(s)) {
        status = flip_partition_local(s->part, worst, s->home, s->n, s->r->most_moved, true, &graph,
                                      s->graph, &s->p);
        if (status == FLIP_OK) flip_partition_fill_empty(s->part, s->n, s->p.n_parts, NULL);
    }
    flip_union_free(&graph);
    FLIP_TRY(flip_comm_agree(s->comm, status));
    return flip_comm_broadcast(s->comm, worst, sizeof *worst, 0);
}

/* ---- a full run ---- */

typedef struct overlap {
    int64_t count;
    int32_t fresh, old;
} overlap;

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int most_first(const void *left, const void *right) {
    const overlap *a = left, *b = right;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    if (a->fresh != b->fresh) return a->fresh < b->fresh ? -1 : 1;
    return (a->old > b->old) - (a->old < b->old);
}

/* all [*n]: how many known nodes each new part shares with each old one. Owned by the caller. */
static flip_status count_overlaps(const state *s, overlap **all, int64_t *n) {
    flip_status status = FLIP_OK;
    uint64_t *pairs = NULL;
    int64_t kept = 0;
    FLIP_TRY_GOTO(flip_alloc(&pairs, (size_t)s->r->n_known, sizeof *pairs, "overlaps of parts"));
    for (int64_t v = 0; v < s->n; v++)
        if (s->home[v] >= 0) pairs[kept++] = (uint64_t)s->part[v] << 32 | (uint32_t)s->home[v];
    qsort(pairs, (size_t)kept, sizeof *pairs, ascending);
    *n = 0;
    for (int64_t i = 0; i < kept; i++)
        *n += i == 0 || pairs[i] != pairs[i - 1];
    FLIP_TRY_GOTO(flip_alloc(all, (size_t)*n, sizeof **all, "overlaps of parts"));
    for (int64_t i = 0, at = -1; i < kept; i++) {
        if (i == 0 || pairs[i] != pairs[i - 1])
            (*all)[++at] = (overlap){0, (int32_t)(pairs[i] >> 32), (int32_t)(uint32_t)pairs[i]};
        (*all)[at].count++;
    }
    qsort(*all, (size_t)*n, sizeof **all, most_first);
done:
    flip_free(pairs);
    return status;
}

/* Greedy matching: the pair that shares most takes the old number, and so on; what is left takes
 * the numbers that are left. */
static flip_status renumber(state *s) {
    flip_status status = FLIP_OK;
    int32_t k = s->p.n_parts, next = 0, *name = NULL;
    int8_t *taken = NULL;
    overlap *all = NULL;
    int64_t n = 0;
    FLIP_TRY_GOTO(flip_alloc(&name, (size_t)k, sizeof *name, "part numbers"));
    FLIP_TRY_GOTO(flip_alloc_zero(&taken, (size_t)k, 1, "part numbers"));
    FLIP_TRY_GOTO(count_overlaps(s, &all, &n));
    for (int32_t i = 0; i < k; i++)
        name[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (all[i].old >= k || taken[all[i].old] || name[all[i].fresh] >= 0) continue;
        name[all[i].fresh] = all[i].old;
        taken[all[i].old] = 1;
    }
    for (int32_t i = 0; i < k; i++) {
        if (name[i] >= 0) continue;
        while (taken[next])
            next++;
        name[i] = next;
        taken[next] = 1;
    }
    for (int64_t v = 0; v < s->n; v++)
        s->part[v] = name[s->part[v]];
done:
    flip_free(name);
    flip_free(taken);
    flip_free(all);
    return status;
}

/* part [n] on rank 0, as far in balance as it can be brought; *worst as mend() gives it. */
static flip_status run_full(state *s, flip_partition *out, double *worst) {
    flip_status status = FLIP_OK;
    FLIP_TRY(flip_partition_choose(s->part, out, s->comm, s->graph, &s->p));
    if (first(s)) { /* everyone is at home where the run put it: only relief, at any price */
        status =
            flip_partition_local(s->part, worst, s->part, s->n, s->n, false, NULL, s->graph, &s->p);
        if (status == FLIP_OK) flip_partition_fill_empty(s->part, s->n, s->p.n_parts, NULL);
        if (status == FLIP_OK) status = renumber(s);
    }
    FLIP_TRY(flip_comm_agree(s->comm, status));
    return flip_comm_broadcast(s->comm, worst, sizeof *worst, 0);
}

/* ---- together ---- */

/* Is the local result good enough? Sets why. */
static bool good_enough(state *s, const flip_spread *spread, double worst) {
    flip_repartition *r = s->r;
    if (s->crossing >= 0) r->expected = flip_spread_halo(spread, s->crossing);
    if (s->p.anew_above == 0) {
        because(s, "it was asked for");
        return false;
    }
    if (s->crossing < 0) {
        because(s, "'%s' does not say what a full result was", flip_reader_path(s->old));
        return false;
    }
    /* A cut with next to no halo must not be thrown away for a handful of rows. */
    double most = s->p.anew_above * fmax(r->expected, s->p.n_parts);
    if ((double)r->after.halo_sum > most) {
        because(s,
                "the local pass leaves %lld halo rows, above %g times the last full result (%.0f "
                "rows on this graph)",
                (long long)r->after.halo_sum, s->p.anew_above, r->expected);
        return false;
    }
    if (worst > s->p.imbalance) {
        because(s, "the local pass leaves a part at %.3f of the mean, above %.3g", worst,
                s->p.imbalance);
        return false;
    }
    return true;
}

/* A full run, and its result where it is better or has to be. worst: of the local result. */
static flip_status run_anew(state *s, flip_partition *out, const flip_spread *spread,
                            double worst) {
    flip_status status = FLIP_OK;
    flip_repartition *r = s->r;
    bool must = r->old_parts != s->p.n_parts || s->p.anew_above == 0;
    double worst_full = 0;
    int32_t *local = NULL;
    FLIP_TRY_GOTO(flip_comm_agree(
        s->comm, flip_alloc(&local, (size_t)s->n, sizeof *local, "parts of nodes")));
    memcpy(local, s->part, sizeof *local * (size_t)s->n);
    FLIP_TRY_GOTO(run_full(s, out, &worst_full));
    FLIP_TRY_GOTO(weigh(s, s->p.n_parts, &r->full, NULL));
    r->anew = true;
    r->full_method = out->method;
    s->full_halo = r->full.halo_sum;
    s->crossing = flip_spread_crossing(spread, r->full.halo_sum);
    r->kept = !must && r->full.halo_sum >= r->after.halo_sum &&
              (worst <= s->p.imbalance || worst_full >= worst);
    if (r->kept)
        memcpy(s->part, local, sizeof *local * (size_t)s->n);
    else
        r->after = r->full;
done:
    flip_free(local);
    return status;
}

static flip_status repartition(state *s, flip_partition *out, flip_spread *spread) {
    flip_repartition *r = s->r;
    double worst = 0;
    bool fine = false;
    FLIP_TRY(read_old(s));
    FLIP_TRY(flip_spread_count(spread, s->comm, s->graph, s->n, s->p.n_parts));
    FLIP_TRY(carry_over(s));
    FLIP_TRY(weigh(s, r->old_parts, &r->before, &r->cut_before));
    if (r->old_parts == s->p.n_parts) {
        FLIP_TRY(mend(s, &worst));
        FLIP_TRY(weigh(s, s->p.n_parts, &r->after, NULL));
        r->local = r->after;
        fine = good_enough(s, spread, worst);
    } else {
        because(s, "'%s' has %d parts, not %d", flip_reader_path(s->old), r->old_parts,
                s->p.n_parts);
    }
    if (!fine) FLIP_TRY(run_anew(s, out, spread, worst));
    if (!r->anew || r->kept) {
        out->method = FLIP_PARTITION_LOCAL;
        snprintf(out->reason, sizeof out->reason, "%s%s",
                 s->narrow[0] ? "by in-neighbours only: " : "", s->narrow);
    }
    FLIP_TRY(flip_partition_assign(out, s->comm, s->graph, s->part, true));
    out->full_halo = s->full_halo;
    out->full_crossing = s->crossing;
    r->moved = moved_rows(s);
    return FLIP_OK;
}

static flip_status check(const flip_partition_params *p) {
    if (p->method != FLIP_PARTITION_METIS && p->method != FLIP_PARTITION_LDG &&
        p->method != FLIP_PARTITION_FENNEL)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "repartitioning falls back on a method that looks at edges (metis, ldg, "
                         "fennel), not on %s",
                         flip_partition_method_name(p->method));
    if (!(p->max_moved >= 0 && p->max_moved <= 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "max_moved is %g; it is a share, 0 to 1", p->max_moved);
    if (!(p->anew_above == 0 || p->anew_above >= 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "anew_above is %g; it is 0 or at least 1",
                         p->anew_above);
    return FLIP_OK;
}

flip_status flip_repartition_compute(flip_partition **partition, flip_repartition *r,
                                     flip_comm *comm, const flip_reader *graph,
                                     const flip_reader *old, const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    flip_partition *out = NULL;
    flip_spread *spread = NULL;
    state s = {.comm = comm, .graph = graph, .old = old, .p = *p, .r = r};
    *partition = NULL;
    *r = (flip_repartition){0};
    FLIP_TRY(check(p));
    FLIP_TRY(flip_partition_create(&out, comm, graph, p->n_parts));
    s.n = out->n_nodes;
    status = flip_alloc(&s.home, (size_t)s.n, sizeof *s.home, "parts of nodes");
    if (status == FLIP_OK)
        status = flip_alloc(&s.part, (size_t)s.n, sizeof *s.part, "parts of nodes");
    if (status == FLIP_OK) status = flip_alloc(&spread, 1, sizeof *spread, "degrees");
    FLIP_TRY_GOTO(flip_comm_agree(comm, status));
    FLIP_TRY_GOTO(repartition(&s, out, spread));
done:
    flip_free(spread);
    flip_free(s.home);
    flip_free(s.part);
    if (status != FLIP_OK) flip_partition_destroy(&out);
    *partition = out;
    return status;
}
