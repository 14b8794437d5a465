/* Lists of in-edges that other ranks own, kept here and drawn from without asking. A list stands as
 * it does with its owner, and draws are keyed by original ids: they are the same. Values of GCN,
 * the shared draws of LABOR and steps need more than a list: such samplers keep none. */
#include "internal.h"

#include "kernels/draws.h"

#include <omp.h>
#include <string.h>

static bool has_lists(const flip_sampler *s) {
    return s->size > 1 && !sample_has_values(s) && s->p.kind != FLIP_SAMPLE_LABOR && !s->p.temporal;
}

static bool has_weights(const flip_sampler *s) {
    return s->p.kind == FLIP_SAMPLE_WEIGHTED && s->weight;
}

static bool has_sums(const flip_sampler *s) {
    return has_weights(s) && s->p.replace;
}

size_t sample_lists_bytes(const flip_sampler *s, int64_t n, int64_t n_entries) {
    const size_t sums = has_sums(s) ? sizeof(double) : 0;
    size_t entry =
        sizeof(flip_gid) + sizeof(int64_t) + (has_weights(s) ? sizeof(flip_real) : 0) + sums;
    return (size_t)n * (sizeof(flip_gid) + 2 * sizeof(int64_t) + 1) + (size_t)n_entries * entry;
}

size_t flip_sampler_list_bytes(const flip_sampler *s, int32_t v) {
    return has_lists(s) ? sample_lists_bytes(s, 1, s->row_ptr[v + 1] - s->row_ptr[v]) : 0;
}

/* ---- bringing them ---- */

void sample_lists_finish(flip_lists *l) {
    flip_free(l->gid);
    flip_free(l->first);
    flip_free(l->key);
    flip_free(l->looped);
    flip_free(l->id);
    flip_free(l->original);
    flip_free(l->weight);
    flip_free(l->weight_sums);
    *l = (flip_lists){0};
}

static flip_status allocate(flip_lists *l, const flip_sampler *s, int64_t n, int64_t n_entries) {
    size_t lists = (size_t)n, entries = (size_t)n_entries;
    *l = (flip_lists){0};
    FLIP_TRY(flip_alloc(&l->gid, lists, sizeof *l->gid, "lists of neighbours"));
    FLIP_TRY(flip_alloc_zero(&l->first, lists + 1, sizeof *l->first, "lists of neighbours"));
    FLIP_TRY(flip_alloc(&l->key, lists, sizeof *l->key, "lists of neighbours"));
    FLIP_TRY(flip_alloc_zero(&l->looped, lists, 1, "lists of neighbours"));
    FLIP_TRY(flip_alloc(&l->id, entries, sizeof *l->id, "lists of neighbours"));
    FLIP_TRY(flip_alloc(&l->original, entries, sizeof *l->original, "lists of neighbours"));
    if (has_weights(s))
        FLIP_TRY(flip_alloc(&l->weight, entries, sizeof *l->weight, "lists of neighbours"));
    l->n = n;
    l->n_entries = n_entries;
    return FLIP_OK;
}

/* Own lists as they travel; first [n + 1]: lengths. */
static void pack(flip_lists *l, const flip_sampler *s, const uint8_t *keep) {
    int64_t k = 0, at = 0;
    for (int32_t v = 0; v < s->n_own; v++) {
        if (!keep[v]) continue;
        l->gid[k] = s->first + v;
        l->key[k] = s->original[v];
        l->looped[k] = s->looped && s->looped[v];
        l->first[k++] = s->row_ptr[v + 1] - s->row_ptr[v];
        for (int64_t e = s->row_ptr[v]; e < s->row_ptr[v + 1]; e++, at++) {
            l->id[at] = sample_id(s, s->col[e]);
            l->original[at] = s->original[s->col[e]];
            if (l->weight) l->weight[at] = s->weight[e];
        }
    }
}

/* Rank r's lists to all: from `mine` there, to the places from `list` and `entry` on elsewhere. */
static flip_status bring(flip_sampler *s, flip_lists *mine, int r, const int64_t count[2],
                         int64_t list, int64_t entry) {
    flip_lists *l = flip_comm_rank(s->comm) == r ? mine : &s->lists;
    size_t n = (size_t)count[0], m = (size_t)count[1];
    if (l == mine) list = entry = 0;
    FLIP_TRY(flip_comm_broadcast(s->comm, l->gid + list, n * sizeof *l->gid, r));
    FLIP_TRY(flip_comm_broadcast(s->comm, l->first + list, n * sizeof *l->first, r));
    FLIP_TRY(flip_comm_broadcast(s->comm, l->key + list, n * sizeof *l->key, r));
    FLIP_TRY(flip_comm_broadcast(s->comm, l->looped + list, n, r));
    FLIP_TRY(flip_comm_broadcast(s->comm, l->id + entry, m * sizeof *l->id, r));
    FLIP_TRY(flip_comm_broadcast(s->comm, l->original + entry, m * sizeof *l->original, r));
    if (!has_weights(s)) return FLIP_OK;
    return flip_comm_broadcast(s->comm, l->weight + entry, m * sizeof *l->weight, r);
}

static void lengths_to_places(flip_lists *l) {
    for (int64_t i = 0, at = 0; i <= l->n; i++) {
        int64_t length = i < l->n ? l->first[i] : 0;
        l->first[i] = at;
        at += length;
    }
}

static void sum_weights(flip_lists *l) {
    for (int64_t i = 0; i < l->n; i++)
        flip_draws_sums(l->first[i + 1] - l->first[i], l->weight + l->first[i],
                        l->weight_sums + l->first[i]);
}

flip_status flip_sampler_keep(flip_sampler *s, const uint8_t *keep) {
    flip_status status;
    flip_lists mine = {0};
    int64_t count[2] = {0}, *all = NULL, sum[2] = {0}, at[2] = {0};
    sample_lists_finish(&s->lists);
    s->counts = (flip_sampler_counts){0};
    if (!has_lists(s)) return FLIP_OK;
    for (int32_t v = 0; v < s->n_own; v++) {
        count[0] += keep[v];
        if (keep[v]) count[1] += s->row_ptr[v + 1] - s->row_ptr[v];
    }
    status = flip_alloc(&all, 2 * (size_t)s->size, sizeof *all, "counts of lists");
    FLIP_TRY_GOTO(flip_comm_agree(s->comm, status));
    FLIP_TRY_GOTO(flip_comm_gather_all(s->comm, all, count, sizeof count));
    for (int r = 0; r < 2 * s->size; r++)
        sum[r % 2] += all[r];
    status = allocate(&mine, s, count[0], count[1]);
    if (status == FLIP_OK) status = allocate(&s->lists, s, sum[0] - count[0], sum[1] - count[1]);
    if (status == FLIP_OK && has_sums(s))
        status = flip_alloc(&s->lists.weight_sums, (size_t)(sum[1] - count[1]),
                            sizeof *s->lists.weight_sums, "lists of neighbours");
    FLIP_TRY_GOTO(flip_comm_agree(s->comm, status));
    pack(&mine, s, keep);
    for (int r = 0; r < s->size; r++) {
        FLIP_TRY_GOTO(bring(s, &mine, r, all + (size_t)r * 2, at[0], at[1]));
        for (int i = 0; i < 2 && r != flip_comm_rank(s->comm); i++)
            at[i] += all[2 * r + i];
    }
    lengths_to_places(&s->lists);
    if (has_sums(s)) sum_weights(&s->lists);
done:
    if (status != FLIP_OK) sample_lists_finish(&s->lists);
    sample_lists_finish(&mine);
    flip_free(all);
    return status;
}

int64_t sample_list_of(const flip_sampler *s, flip_gid id) {
    int64_t low = 0, high = s->lists.n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (s->lists.gid[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->lists.n && s->lists.gid[low] == id ? low : -1;
}

/* ---- drawing from them ---- */

typedef struct request {
    const flip_sampler *s;
    const int64_t *list;
    flip_draws draws; /* what of it does not tell rows */
} request;

static int32_t candidates(const flip_lists *l, int64_t i) {
    return (int32_t)(l->first[i + 1] - l->first[i]);
}

/* Attention's own entry, where no event makes one. */
static int own_entry(const flip_sampler *s, int64_t i) {
    return s->looped && !s->lists.looped[i];
}

/* As the kernels fill a row (draws.c), on ids. */
static void fill_list(const request *r, drawn *out, int32_t i, double *key) {
    const flip_lists *l = &r->s->lists;
    int64_t list = r->list[i], begin = l->first[list], at = out->first[i];
    int32_t n = candidates(l, list), own = own_entry(r->s, list);
    int32_t k = (int32_t)(out->first[i + 1] - at) - own, *pick = out->col + at + own;
    bool all = flip_draws_all(&r->draws, (uint32_t)n);
    for (int32_t j = 0; all && j < k; j++)
        pick[j] = j;
    const flip_real *weight = l->weight ? l->weight + begin : NULL;
    const double *sums = l->weight_sums ? l->weight_sums + begin : NULL;
    if (!all)
        flip_draws_pick(&r->draws, l->key[list], (uint32_t)n, weight, sums, k, (uint32_t *)pick,
                        key);
    int32_t place = 0; /* of the own entry: in front, or in the order of a whole row */
    while (own && all && place < k && l->original[begin + pick[place]] < l->key[list])
        place++;
    for (int32_t j = 0, to = 0; j < k; j++, to++) {
        to += own && j == place;
        out->id[at + to] = l->id[begin + pick[j]];
        out->original[at + to] = l->original[begin + pick[j]];
    }
    if (own) {
        out->id[at + place] = l->gid[list];
        out->original[at + place] = l->key[list];
    }
    if (!out->scale) return;
    double boost = all ? 1 : (double)n / k;
    out->scale[i] = (flip_real)(r->s->p.adjacency == FLIP_ADJACENCY_SUM ? boost
                                : k > 0                                 ? 1.0 / k
                                                                        : 0);
}

flip_status sample_lists(flip_sampler *s, flip_arena *arena, drawn *out, int32_t n,
                         const int64_t *list, int32_t hop, int64_t epoch) {
    request r = {.s = s, .list = list, .draws = sample_draws(s, hop, epoch)};
    const int32_t fanout = r.draws.fanout;
    int threads = omp_get_max_threads();
    double *keys = NULL;
    *out = (drawn){0};
    FLIP_TRY(flip_arena_alloc(arena, &out->first, (size_t)n + 1, sizeof *out->first));
    out->first[0] = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t all = candidates(&s->lists, list[i]);
        out->first[i + 1] = out->first[i] + own_entry(s, list[i]) +
                            (flip_draws_all(&r.draws, (uint32_t)all) ? all : fanout);
    }
    size_t entries = (size_t)out->first[n];
    FLIP_TRY(flip_arena_alloc(arena, &out->col, entries, sizeof *out->col));
    FLIP_TRY(flip_arena_alloc(arena, &out->id, entries, sizeof *out->id));
    FLIP_TRY(flip_arena_alloc(arena, &out->original, entries, sizeof *out->original));
    if (sample_has_scales(s))
        FLIP_TRY(flip_arena_alloc(arena, &out->scale, (size_t)n, sizeof *out->scale));
    size_t most = s->lists.weight && fanout > 0 ? (size_t)fanout : 0;
    FLIP_TRY(flip_arena_alloc(arena, &keys, (size_t)threads * most, sizeof *keys));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int32_t i = 0; i < n; i++)
        fill_list(&r, out, i, keys + (size_t)omp_get_thread_num() * most);
    return FLIP_OK;
}
