/* Non-edges: same source, another destination (or both ends), drawn by (seed, draw, step, pair) and
 * so the same on any number of ranks. A destination that is a true pair of the source in that step
 * is drawn again.
 */
#include "train/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- directory ---- */

typedef struct place {
    int64_t original;
    flip_gid gid;
} place;

static int by_original(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->original > y->original) - (x->original < y->original);
}

/* counts [size] of items sorted by original id, each for the rank that holds its block. */
static void count_blocks(const flip_directory *directory, const place *list, int64_t n,
                         int64_t *counts) {
    for (int64_t i = 0; i < n; i++)
        counts[list[i].original / directory->block]++;
}

flip_status flip_directory_create(flip_directory *directory, flip_comm *comm,
                                  const flip_graph *graph) {
    int size = flip_comm_size(comm), rank = flip_comm_rank(comm);
    int32_t n_own = flip_graph_n_own(graph);
    const int64_t *original = flip_graph_original(graph);
    int64_t first = flip_graph_rank_first(graph)[rank], n_nodes = flip_graph_about(graph)->n_nodes;
    int64_t block = (n_nodes + size - 1) / size, *counts = NULL, n = 0;
    place *list = NULL, *received = NULL;
    flip_status status;
    *directory = (flip_directory){comm, n_nodes, block > 0 ? block : 1, NULL};
    FLIP_TRY_GOTO(flip_alloc(&list, (size_t)n_own, sizeof *list, "directory"));
    FLIP_TRY_GOTO(flip_alloc_zero(&counts, (size_t)size, sizeof *counts, "directory"));
    FLIP_TRY_GOTO(
        flip_alloc(&directory->gid, (size_t)directory->block, sizeof(flip_gid), "directory"));
    for (int32_t i = 0; i < n_own; i++)
        list[i] = (place){original[i], first + i};
    qsort(list, (size_t)n_own, sizeof *list, by_original);
    count_blocks(directory, list, n_own, counts);
    FLIP_TRY_GOTO(flip_comm_deal(comm, &received, &n, NULL, list, counts, sizeof *list));
    for (int64_t i = 0; i < n; i++)
        directory->gid[received[i].original - rank * directory->block] = received[i].gid;
done:
    flip_free(list);
    flip_free(received);
    flip_free(counts);
    return status;
}

void flip_directory_finish(flip_directory *directory) {
    flip_free(directory->gid);
    directory->gid = NULL;
}

static int by_place(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->gid > y->gid) - (x->gid < y->gid);
}

flip_status flip_directory_find(const flip_directory *directory, int64_t n, const int64_t *original,
                                flip_gid *gid) {
    int size = flip_comm_size(directory->comm), rank = flip_comm_rank(directory->comm);
    place *list = NULL, *asked = NULL;
    int64_t *counts = NULL, n_asked = 0;
    flip_status status = FLIP_OK;
    if (size == 1) {
        for (int64_t i = 0; i < n; i++)
            gid[i] = directory->gid[original[i]];
        return FLIP_OK;
    }
    /* questions carry their place in gid[], answers come back in the order of the questions */
    FLIP_TRY_GOTO(flip_alloc(&list, (size_t)n, sizeof *list, "directory"));
    FLIP_TRY_GOTO(flip_alloc_zero(&counts, 2 * (size_t)size, sizeof *counts, "directory"));
    for (int64_t i = 0; i < n; i++)
        list[i] = (place){original[i], i};
    qsort(list, (size_t)n, sizeof *list, by_original);
    count_blocks(directory, list, n, counts);
    FLIP_TRY_GOTO(flip_comm_deal(directory->comm, &asked, &n_asked, counts + size, list, counts,
                                 sizeof *list));
    for (int64_t i = 0; i < n_asked; i++)
        asked[i].original = directory->gid[asked[i].original - rank * directory->block];
    FLIP_TRY_GOTO(
        flip_comm_all_to_all(directory->comm, asked, counts + size, list, counts, sizeof *list));
    qsort(list, (size_t)n, sizeof *list, by_place);
    for (int64_t i = 0; i < n; i++)
        gid[i] = list[i].original;
done:
    flip_free(list);
    flip_free(asked);
    flip_free(counts);
    return status;
}

/* ---- drawing ---- */

void flip_links_finish(flip_links *links) {
    flip_free(links->u);
    flip_free(links->v);
    flip_free(links->u_original);
    flip_free(links->v_original);
    flip_free(links->target);
    flip_free(links->part);
    flip_free(links->given);
    flip_free(links->share);
    flip_directory_finish(&links->directory);
    flip_free(links->active_first);
    flip_free(links->active);
    memset(links, 0, sizeof *links);
}

/* Is w in the sorted run v[first … end-1]? */
static bool among(const int64_t *v, int64_t first, int64_t end, int64_t w) {
    while (first < end) {
        int64_t middle = first + (end - first) / 2;
        if (v[middle] == w) return true;
        if (v[middle] < w)
            first = middle + 1;
        else
            end = middle;
    }
    return false;
}

/* Nodes that a destination is drawn of: from links->active[*first] on, or all. Returns how many. */
static uint64_t draw_pool(const flip_links *links, int32_t step, bool active, int64_t *first) {
    enum { RECENT = 10 };
    if (!active) return (uint64_t)links->n_nodes;
    *first = links->active_first[step + 1 > RECENT ? step + 1 - RECENT : 0];
    return (uint64_t)(links->active_first[step + 1] - *first);
}

/* A destination for the k-th non-edge of pair i, or -1 when 64 draws were all true pairs. Run:
 * the true pairs of the same source and step. */
static int64_t draw_one(const flip_links *links, int64_t i, int64_t first, int64_t end, int64_t k,
                        bool active, const flip_draw *d) {
    uint64_t n = (uint64_t)links->n_nodes;
    uint64_t pair = (uint64_t)links->u_original[i] * n + (uint64_t)links->v_original[i];
    int64_t from = 0;
    uint64_t pool = draw_pool(links, links->target[i] - d->lead, active, &from);
    for (uint64_t attempt = 0; attempt < 64 && pool > 0; attempt++) {
        /* 24 bits of draw, 20 of step, 14 of k, 6 of attempt */
        uint64_t a = d->draw << 40 | (uint64_t)links->target[i] << 20 | (uint64_t)k << 6 | attempt;
        int64_t w = (int64_t)flip_random_below(d->seed, FLIP_STREAM_NEGATIVE, a, pair, pool);
        if (active) w = links->active[from + w];
        if (w != links->u_original[i] && !among(links->v_original, first, end, w)) return w;
    }
    return -1;
}

/* Another source for it. Its own true pairs may be on other ranks: in a sparse graph the chance to
 * hit one is small. -1: the destination itself came. */
static int64_t draw_source(const flip_links *links, int64_t i, int64_t k, int64_t destination,
                           const flip_draw *d) {
    uint64_t n = (uint64_t)links->n_nodes;
    uint64_t pair = (uint64_t)links->u_original[i] * n + (uint64_t)links->v_original[i];
    uint64_t a = d->draw << 40 | (uint64_t)links->target[i] << 20 | (uint64_t)k << 6;
    int64_t u = (int64_t)flip_random_below(d->seed, FLIP_STREAM_NEGATIVE, a, n * n + pair, n);
    return u == destination ? -1 : u;
}

/* Is pair i in this draw? By lot, the same on any number of ranks. */
static bool drawn(const flip_links *links, int64_t i, const flip_draw *d) {
    if (!links->share || links->part[i] != FLIP_PART_TRAIN || links->given[i]) return true;
    uint64_t n = (uint64_t)links->n_nodes;
    uint64_t pair = (uint64_t)links->u_original[i] * n + (uint64_t)links->v_original[i];
    uint64_t a = d->draw << 40 | (uint64_t)links->target[i] << 20;
    return flip_random_uniform(d->seed, FLIP_STREAM_NEGATIVE, a, 2 * n * n + pair) <
           links->share[links->target[i]];
}

void flip_links_of_target(const flip_links *links, int32_t target, int64_t *first, int64_t *end) {
    int64_t low = 0, high = links->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (links->target[middle] < target)
            low = middle + 1;
        else
            high = middle;
    }
    for (*first = low; low < links->n && links->target[low] == target;)
        low++;
    *end = low;
}

typedef struct sample {
    int64_t n;
    int64_t *u_original, *w; /* original ids of the ends */
    flip_gid *u, *v;
    int32_t *step, *label;
} sample;

static void add(sample *s, int64_t u_original, int64_t w, int32_t step, int32_t label) {
    s->u_original[s->n] = u_original;
    s->w[s->n] = w;
    s->step[s->n] = step;
    s->label[s->n++] = label;
}

/* Pair i, pinned or true, with its non-edges. Run: as draw_one. */
static void add_pair(sample *s, const flip_links *links, int64_t i, int64_t first, int64_t end,
                     const flip_draw *d) {
    int64_t u = links->u_original[i];
    int32_t step = links->target[i] - d->lead;
    add(s, u, links->v_original[i], step, !links->given[i]);
    for (int64_t k = 0; k < d->per_pair && !links->given[i]; k++) {
        bool both = d->ends == FLIP_ENDS_BOTH || (d->ends == FLIP_ENDS_MIXED && k % 2);
        bool active = d->ends == FLIP_ENDS_ACTIVE || (d->ends == FLIP_ENDS_MIXED && !both);
        int64_t w = draw_one(links, i, first, end, k, active, d);
        int64_t from = both && w >= 0 ? draw_source(links, i, k, w, d) : u;
        if (w >= 0 && from >= 0) add(s, from, w, step, 0);
    }
}

static flip_status sample_allocate(sample *s, size_t most) {
    FLIP_TRY(flip_alloc(&s->u_original, most, sizeof *s->u_original, "sampled pairs"));
    FLIP_TRY(flip_alloc(&s->w, most, sizeof *s->w, "sampled pairs"));
    FLIP_TRY(flip_alloc(&s->u, most, sizeof *s->u, "sampled pairs"));
    FLIP_TRY(flip_alloc(&s->v, most, sizeof *s->v, "sampled pairs"));
    FLIP_TRY(flip_alloc(&s->step, most, sizeof *s->step, "sampled pairs"));
    return flip_alloc(&s->label, most, sizeof *s->label, "sampled pairs");
}

flip_status flip_links_sample(const flip_links *links, flip_pair_set *set,
                              const flip_layout *layout, flip_part part, const flip_draw *draw) {
    flip_comm *comm = layout->world;
    sample s = {0};
    flip_status status;
    int64_t most = 0, low = 0, high = links->n;
    if (draw->target) flip_links_of_target(links, draw->target, &low, &high);
    for (int64_t i = low; i < high; i++)
        if (links->part[i] == (int)part && drawn(links, i, draw)) most += 1 + draw->per_pair;
    flip_pair_set_finish(set);
    flip_meter_begin(flip_comm_meter(comm), FLIP_STAGE_SAMPLE);
    FLIP_TRY_GOTO(sample_allocate(&s, (size_t)most));
    for (int64_t first = low, end; first < high; first = end) {
        for (end = first; end < high && links->target[end] == links->target[first] &&
                          links->u[end] == links->u[first];)
            end++;
        for (int64_t i = first; i < end; i++)
            if (links->part[i] == (int)part && drawn(links, i, draw))
                add_pair(&s, links, i, first, end, draw);
    }
    FLIP_TRY_GOTO(flip_directory_find(&links->directory, s.n, s.u_original, s.u));
    FLIP_TRY_GOTO(flip_directory_find(&links->directory, s.n, s.w, s.v));
    *set = (flip_pair_set){.n = s.n, .u = s.u, .v = s.v, .step = s.step, .label = s.label};
    if (draw->for_batches) {
        set->u_original = s.u_original;
        set->v_original = s.w;
        s = (sample){0};
    } else {
        s = (sample){.w = s.w, .u_original = s.u_original};
        FLIP_TRY_GOTO(flip_pair_set_plan(set, layout, draw->target ? draw->target - draw->lead : -1,
                                         draw->draw == FLIP_DRAW_EVALUATE));
    }
done:
    flip_meter_end(flip_comm_meter(comm));
    flip_free(s.u);
    flip_free(s.v);
    flip_free(s.w);
    flip_free(s.u_original);
    flip_free(s.step);
    flip_free(s.label);
    return status;
}
