/* Which nodes' rows are read with their second level: --refine. A set of nodes, the same in every
 * batch, epoch and evaluation and on any number of ranks, so that a node has one row wherever it is
 * read.
 *
 * The error of node u's row reaches the sums of the first layer of a labelled node v with the
 * weight that v gives u. Errors of different rows are nearly independent (BiFeat's assumption 3.1),
 * so that what adds up is their squares:
 *
 *     s(u) = sum over labelled v of w(v, u)^2,   w(v, v) = 1,   w(v, u) = 1 / events into v
 *
 * `seeds` are those with the term 1, labelled nodes themselves (F2CGT, PVLDB'24, keeps those
 * finer); `hot:F` goes on with in-neighbours of labelled nodes of few events, by s. Labelled: with
 * a place in training, validation or test. Sums are of whole numbers, so that they do not depend on
 * ranks.
 */
#include "train/internal.h"

#include "store/choose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = -1 };

bool flip_refine_share(const char *word, double *share) {
    char *end;
    *share = strcmp(word, "all") == 0 ? 1 : strcmp(word, "seeds") == 0 ? SEEDS : 0;
    if (*share != 0 || strcmp(word, "none") == 0) return true;
    if (strncmp(word, "hot:", 4) != 0) return false;
    *share = strtod(word + 4, &end);
    return end > word + 4 && *end == '\0' && *share > 0 && *share <= 1;
}

/* ---- s(u), in units of 2^-30 ---- */

static const double UNIT = 1 << 30;

typedef struct sent {
    flip_gid id;
    int64_t weight;
} sent;

typedef struct sums {
    int32_t *events; /* [n_own] into own nodes */
    int64_t *s;      /* [n_own] */
    int64_t *to;     /* [2 size + 1] what is sent to each rank, and where its next one goes */
    sent *sent;
} sums;

static bool labelled(const flip_data *data, int32_t v) {
    for (int p = 0; p < FLIP_PARTS; p++)
        if (data->mask[p] && data->mask[p][v]) return true;
    return false;
}

/* Weights of events into own labelled nodes, to their sources' owners. */
static flip_status collect(sums *w, const flip_data *data) {
    const flip_events *e = &data->events;
    const int size = flip_comm_size(data->comm), rank = flip_comm_rank(data->comm);
    const flip_gid first = data->rank_first[rank];
    size_t n_own = (size_t)data->n_own;
    FLIP_TRY(flip_alloc_zero(&w->events, n_own, sizeof *w->events, "events of nodes"));
    FLIP_TRY(flip_alloc_zero(&w->s, n_own, sizeof *w->s, "what nodes' errors weigh"));
    FLIP_TRY(flip_alloc_zero(&w->to, 2 * (size_t)size + 1, sizeof *w->to, "counts of nodes"));
    int64_t *at = w->to + size;
    for (int64_t i = 0; i < e->n; i++)
        w->events[e->dst[i] - first]++;
    for (int64_t i = 0; i < e->n; i++)
        if (labelled(data, (int32_t)(e->dst[i] - first)))
            w->to[flip_owner_in(data->rank_first, size, e->src[i])]++;
    for (int r = 0; r < size; r++)
        at[r + 1] = at[r] + w->to[r];
    FLIP_TRY(flip_alloc(&w->sent, (size_t)at[size], sizeof *w->sent, "what nodes' errors weigh"));
    for (int64_t i = 0; i < e->n; i++) {
        int32_t v = (int32_t)(e->dst[i] - first);
        if (!labelled(data, v)) continue;
        double weight = 1. / w->events[v];
        w->sent[at[flip_owner_in(data->rank_first, size, e->src[i])]++] =
            (sent){e->src[i], (int64_t)(UNIT * weight * weight)};
    }
    return FLIP_OK;
}

static flip_status add_up(sums *w, const flip_data *data) {
    sent *received = NULL;
    int64_t n = 0;
    const flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    FLIP_TRY(flip_comm_agree(data->comm, collect(w, data)));
    FLIP_TRY(flip_comm_deal(data->comm, &received, &n, NULL, w->sent, w->to, sizeof *w->sent));
    for (int64_t i = 0; i < n; i++)
        w->s[received[i].id - first] += received[i].weight;
    for (int32_t v = 0; v < data->n_own; v++)
        if (labelled(data, v)) w->s[v] += (int64_t)UNIT;
    flip_free(received);
    return FLIP_OK;
}

/* Keys that differ: s to a 2^-20th, up to 2^13, then the lower original id. */
static uint64_t key_of(int64_t s, int64_t original) {
    enum { MOST = 33, LOW = 31 };
    uint64_t high = (uint64_t)s >> 10;
    if (high >> MOST) high = (1ull << MOST) - 1;
    return high << LOW | (((1ull << LOW) - 1) & ~(uint64_t)original);
}

/* ---- the set ---- */

/* mine [n_own]: the share of all nodes of largest s. */
static flip_status choose_hot(uint8_t *mine, const flip_data *data, double share) {
    flip_status status;
    sums w = {0};
    uint64_t *key = NULL;
    flip_chosen chosen;
    FLIP_TRY_GOTO(add_up(&w, data));
    status = flip_alloc(&key, (size_t)data->n_own, sizeof *key, "what nodes' errors weigh");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    for (int32_t v = 0; v < data->n_own; v++)
        key[v] = key_of(w.s[v], data->original[v]);
    FLIP_TRY_GOTO(flip_choose_largest(&chosen, data->comm, data->n_own, key,
                                      (int64_t)ceil(share * (double)data->info->n_nodes)));
    for (int32_t v = 0; v < data->n_own; v++)
        mine[v] = flip_chosen_next(&chosen, key[v]);
done:
    flip_free(w.events);
    flip_free(w.s);
    flip_free(w.to);
    flip_free(w.sent);
    flip_free(key);
    return status;
}

static flip_status choose(uint8_t *mine, const flip_data *data, double share) {
    if (share > 0) return choose_hot(mine, data, share);
    for (int32_t v = 0; v < data->n_own; v++)
        mine[v] = labelled(data, v);
    return FLIP_OK;
}

/* Own nodes of the set, told to all. */
static flip_status set_refined(flip_data *data, double share) {
    flip_status status;
    uint8_t *mine = NULL;
    size_t words = ((size_t)data->info->n_nodes + 63) / 64, n_own = (size_t)data->n_own;
    const flip_gid first = data->rank_first[flip_comm_rank(data->comm)];
    status = flip_alloc_zero(&mine, n_own, 1, "refined nodes");
    if (status == FLIP_OK)
        status = flip_alloc_zero(&data->refined, words, sizeof *data->refined, "refined nodes");
    if (status == FLIP_OK)
        status = flip_alloc(&data->refined_at, n_own, sizeof *data->refined_at, "refined nodes");
    FLIP_TRY_GOTO(flip_comm_agree(data->comm, status));
    FLIP_TRY_GOTO(choose(mine, data, share));
    for (int32_t v = 0; v < data->n_own; v++) {
        data->refined_at[v] = mine[v] ? v : -1;
        if (mine[v]) data->refined[(first + v) >> 6] |= 1ull << ((first + v) & 63);
    }
    FLIP_TRY_GOTO(flip_comm_or_u64(data->comm, data->refined, words));
    data->packed.fine.at = data->refined_at;
done:
    flip_free(mine);
    return status;
}

flip_status flip_data_refine(flip_data *data) {
    const flip_codec *codec = flip_graph_refinement_codec(data->graph);
    const char *word = data->s.refine;
    bool pairs = data->s.task == FLIP_TASK_LINK || data->s.task == FLIP_TASK_EDGE;
    double share = 0;
    if (strcmp(word, "auto") == 0) word = codec && data->packed.packing ? "seeds" : "none";
    if (!flip_refine_share(word, &share))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "--refine %s: none, seeds, hot:F (0 < F <= 1) or all",
                         word);
    if (share == 0) return FLIP_OK;
    if (!codec || !data->packed.packing)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--refine %s: features of '%s' have no second level; flipbook compress "
                         "GRAPH -o FILE --codec COARSE+REFINEMENT makes one",
                         word, data->s.graph);
    if (share > 0 && share < 1 && pairs)
        return FLIP_FAIL(FLIP_ERROR_USAGE,
                         "--refine %s goes by labels of nodes, which tasks of pairs do not have; "
                         "use seeds, all or none",
                         word);
    data->packed.fine = (flip_refinement){.packing = flip_codec_packing(codec),
                                          .codes = flip_graph_refinement(data->graph),
                                          .key = data->original};
    return share == 1 || pairs ? FLIP_OK : set_refined(data, share);
}
