/* Columns of edges in chunks; sorting them into events. */
#include "datasets/edges.h"

#include <math.h>
#include <string.h>

static const int64_t chunk_least = 1 << 14, chunk_most = 1 << 20; /* edges */

static flip_status allocate_columns(const flip_edges *edges, flip_edge_chunk *chunk) {
    size_t n = (size_t)chunk->capacity;
    FLIP_TRY(flip_alloc(&chunk->src, n, sizeof *chunk->src, "edges"));
    FLIP_TRY(flip_alloc(&chunk->dst, n, sizeof *chunk->dst, "edges"));
    if (edges->has_time) FLIP_TRY(flip_alloc(&chunk->time, n, sizeof *chunk->time, "times"));
    if (edges->has_weight)
        FLIP_TRY(flip_alloc(&chunk->weight, n, sizeof *chunk->weight, "weights"));
    if (edges->has_label) FLIP_TRY(flip_alloc(&chunk->label, n, sizeof *chunk->label, "labels"));
    return FLIP_OK;
}

flip_status flip_edges_adopt(flip_edges *edges, flip_edge_chunk **chunk) {
    if (edges->n_chunks == edges->chunk_capacity) {
        int32_t more = edges->chunk_capacity ? 2 * edges->chunk_capacity : 64;
        FLIP_TRY(flip_grow(&edges->chunk, (size_t)edges->n_chunks, (size_t)more,
                           sizeof *edges->chunk, "list of edge chunks"));
        edges->chunk_capacity = more;
    }
    *chunk = &edges->chunk[edges->n_chunks++];
    **chunk = (flip_edge_chunk){0};
    return FLIP_OK;
}

flip_status flip_edges_room(flip_edges *edges, int64_t room, flip_edge_chunk **chunk) {
    flip_edge_chunk *last = edges->n_chunks ? &edges->chunk[edges->n_chunks - 1] : NULL;
    if (!last || last->capacity - last->n < room) {
        int64_t capacity = last ? 2 * last->capacity : chunk_least;
        if (capacity > chunk_most) capacity = chunk_most;
        FLIP_TRY(flip_edges_adopt(edges, &last));
        last->capacity = capacity > room ? capacity : room;
        FLIP_TRY(allocate_columns(edges, last));
    }
    *chunk = last;
    return FLIP_OK;
}

void flip_edge_chunk_free(flip_edge_chunk *chunk) {
    flip_free(chunk->src);
    flip_free(chunk->dst);
    flip_free(chunk->time);
    flip_free(chunk->step);
    flip_free(chunk->weight);
    flip_free(chunk->label);
    *chunk = (flip_edge_chunk){0};
}

void flip_edges_finish(flip_edges *edges) {
    for (int32_t i = 0; i < edges->n_chunks; i++)
        flip_edge_chunk_free(&edges->chunk[i]);
    flip_free(edges->chunk);
    *edges = (flip_edges){0};
}

bool flip_edges_times_to_double(flip_edges *edges) {
    for (int32_t c = 0; c < edges->n_chunks; c++)
        for (int64_t i = 0; i < edges->chunk[c].n; i++) {
            int64_t time = edges->chunk[c].time[i];
            double value = (double)time;
            if (time > 1ll << 53 || time < -(1ll << 53)) return false;
            memcpy(&edges->chunk[c].time[i], &value, sizeof value);
        }
    edges->time_double = true;
    edges->double_least = (double)edges->time_least;
    edges->double_most = (double)edges->time_most;
    return true;
}

int64_t flip_binning_step(const flip_binning *b, int64_t time) {
    if (b->in_double) {
        double value;
        memcpy(&value, &time, sizeof value);
        double step = floor((value - b->start) / b->width);
        return b->count && step >= (double)b->count ? b->count - 1 : (int64_t)step;
    }
    int64_t since = time - b->start_integer;
    if (b->whole_width) return since / b->whole_width; /* since >= 0 */
    if (b->count) return (int64_t)((__int128)since * b->count / b->span);
    return (int64_t)floor((double)since / b->width);
}

/* ---- sorting ---- */

static flip_status times_to_steps(flip_edge_chunk *chunk, const flip_binning *binning) {
    if (!chunk->time) return FLIP_OK;
    FLIP_TRY(flip_alloc(&chunk->step, (size_t)chunk->n, sizeof *chunk->step, "steps"));
    for (int64_t i = 0; i < chunk->n; i++)
        chunk->step[i] =
            (int32_t)(binning ? flip_binning_step(binning, chunk->time[i]) : chunk->time[i]);
    flip_free(chunk->time);
    chunk->time = NULL;
    return FLIP_OK;
}

static flip_status settle_chunk(flip_edge_chunk *chunk, const flip_sort_params *p) {
    const uint32_t *node = *p->node;
    for (int64_t i = 0; i < chunk->n && node; i++) {
        chunk->src[i] = node[chunk->src[i]];
        chunk->dst[i] = node[chunk->dst[i]];
    }
    for (int64_t i = 0; i < chunk->n && chunk->label && p->label_class; i++)
        if (chunk->label[i] >= 0) chunk->label[i] = p->label_class[chunk->label[i]];
    return times_to_steps(chunk, p->binning);
}

flip_status flip_edges_settle(flip_edges *edges, const flip_sort_params *p) {
    for (int32_t c = 0; c < edges->n_chunks; c++)
        FLIP_TRY(settle_chunk(&edges->chunk[c], p));
    flip_free(*p->node);
    *p->node = NULL;
    return FLIP_OK;
}

static void count_chunk(const flip_edge_chunk *chunk, int64_t *count, const flip_sort_params *p) {
    for (int64_t i = 0; i < chunk->n; i++)
        count[chunk->dst[i] - p->first_node]++;
    for (int64_t i = 0; i < chunk->n && p->both_ways; i++)
        count[chunk->src[i] - p->first_node] += chunk->src[i] != chunk->dst[i];
}

static uint64_t mix(uint64_t x) { /* finaliser of splitmix64 */
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* A hash of the unordered pair and the step, plus for one direction and minus for the other: the
 * sum is 0 when every event has its reverse at the same step. */
uint64_t flip_pair_balance(uint64_t src, uint64_t dst, uint64_t step) {
    uint64_t least = src < dst ? src : dst, most = src < dst ? dst : src;
    uint64_t hash =
        mix(least * 0x9E3779B97F4A7C15u + most * 0xD1B54A32D192ED03u + step * 0x8CB92BA72F3D8DD7u);
    return src == dst ? 0 : src < dst ? hash : -hash;
}

static void put(flip_event_rows *events, int64_t at, const flip_edge_chunk *chunk, int64_t i,
                uint32_t src) {
    events->key[at] = (uint64_t)(chunk->step ? chunk->step[i] : 0) << 32 | src;
    if (events->weight) events->weight[at] = chunk->weight[i];
    if (events->label) events->label[at] = chunk->label[i];
}

/* Rows come in any order: where event i's will go is asked for AHEAD events before, its row's next
 * place twice as early (a processor stores in order, so it would wait for each miss in turn). */
enum { AHEAD = 16 };

FLIP_INLINE void ask_ahead(const uint64_t *key, const int64_t *next, const uint32_t *row, int64_t i,
                           int64_t n) {
    if (i + 2 * AHEAD >= n) return;
    __builtin_prefetch(&next[row[i + 2 * AHEAD]], 1);
    __builtin_prefetch(&key[next[row[i + AHEAD]]], 1);
}

/* next[v]: where the next event of row v goes. */
static void scatter_chunk(flip_event_rows *events, int64_t *next, const flip_edge_chunk *chunk,
                          const flip_sort_params *p) {
    int64_t n = chunk->n;
    next -= p->first_node;
    if (!p->both_ways && !chunk->step && !events->weight && !events->label) {
        const uint32_t *src = chunk->src, *dst = chunk->dst;
        uint64_t *key = events->key;
        for (int64_t i = 0; i < n; i++) {
            ask_ahead(key, next, dst, i, n);
            key[next[dst[i]]++] = src[i];
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint32_t src = chunk->src[i], dst = chunk->dst[i];
        ask_ahead(events->key, next, chunk->dst, i, n);
        if (p->both_ways) ask_ahead(events->key, next, chunk->src, i, n);
        put(events, next[dst]++, chunk, i, src);
        if (!p->both_ways || src == dst) continue;
        put(events, next[src]++, chunk, i, dst);
        events->balance_before +=
            flip_pair_balance(src, dst, chunk->step ? (uint64_t)chunk->step[i] : 0);
    }
}

enum { SHORT_ROW = 32 };

typedef struct scratch {
    uint64_t *key;            /* [capacity] */
    uint32_t *order, *turned; /* [capacity] */
    size_t capacity;
} scratch;

static flip_status scratch_room(scratch *s, size_t n, bool payload) {
    if (n <= s->capacity) return FLIP_OK;
    flip_free(s->key);
    flip_free(s->order);
    flip_free(s->turned);
    *s = (scratch){.capacity = n};
    if (!payload) return flip_alloc(&s->key, n, sizeof *s->key, "sorting a row");
    FLIP_TRY(flip_alloc(&s->order, n, sizeof *s->order, "sorting a row"));
    return flip_alloc(&s->turned, n, sizeof *s->turned, "sorting a row");
}

static void scratch_finish(scratch *s) {
    flip_free(s->key);
    flip_free(s->order);
    flip_free(s->turned);
}

static bool is_sorted(const uint64_t *key, int64_t n) {
    for (int64_t i = 1; i < n; i++)
        if (key[i - 1] > key[i]) return false;
    return true;
}

static void insertion(uint64_t *key, float *weight, int32_t *label, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        uint64_t k = key[i];
        int64_t j = i;
        if (key[i - 1] <= k) continue;
        float w = weight ? weight[i] : 0;
        int32_t l = label ? label[i] : 0;
        for (; j > 0 && key[j - 1] > k; j--) {
            key[j] = key[j - 1];
            if (weight) weight[j] = weight[j - 1];
            if (label) label[j] = label[j - 1];
        }
        key[j] = k;
        if (weight) weight[j] = w;
        if (label) label[j] = l;
    }
}

/* Bits in which keys differ: bytes without any need no pass. */
static uint64_t varying(const uint64_t *key, int64_t n) {
    uint64_t all = ~0ull, any = 0;
    for (int64_t i = 0; i < n; i++)
        all &= key[i], any |= key[i];
    return all ^ any;
}

static void radix_keys(uint64_t *key, uint64_t *other, int64_t n) {
    uint64_t bits = varying(key, n), *from = key, *to = other;
    for (int shift = 0; shift < 64; shift += 8) {
        int64_t at[257] = {0};
        if (!(bits >> shift & 255)) continue;
        for (int64_t i = 0; i < n; i++)
            at[(from[i] >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            at[b + 1] += at[b];
        for (int64_t i = 0; i < n; i++)
            to[at[from[i] >> shift & 255]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != key) memcpy(key, from, (size_t)n * sizeof *key);
}

/* The order that sorts the row: order[i] = which entry comes i-th. */
static uint32_t *radix_order(const uint64_t *key, scratch *s, int64_t n) {
    uint64_t bits = varying(key, n);
    uint32_t *from = s->order, *to = s->turned;
    for (int64_t i = 0; i < n; i++)
        from[i] = (uint32_t)i;
    for (int shift = 0; shift < 64; shift += 8) {
        int64_t at[257] = {0};
        if (!(bits >> shift & 255)) continue;
        for (int64_t i = 0; i < n; i++)
            at[(key[i] >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            at[b + 1] += at[b];
        for (int64_t i = 0; i < n; i++)
            to[at[key[from[i]] >> shift & 255]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* x[i] = x[order[i]], following the cycles, with the order itself as the list of what is done. */
static void permute_row(uint64_t *key, float *weight, int32_t *label, uint32_t *order, int64_t n) {
    for (int64_t start = 0; start < n; start++) {
        if (order[start] == UINT32_MAX) continue;
        uint64_t k = key[start];
        float w = weight ? weight[start] : 0;
        int32_t l = label ? label[start] : 0;
        int64_t at = start;
        for (;;) {
            int64_t from = order[at];
            order[at] = UINT32_MAX;
            if (from == start) break;
            key[at] = key[from];
            if (weight) weight[at] = weight[from];
            if (label) label[at] = label[from];
            at = from;
        }
        key[at] = k;
        if (weight) weight[at] = w;
        if (label) label[at] = l;
    }
}

static flip_status sort_row(flip_event_rows *events, scratch *s, int64_t first, int64_t n) {
    uint64_t *key = events->key + first;
    float *weight = events->weight ? events->weight + first : NULL;
    int32_t *label = events->label ? events->label + first : NULL;
    if (n <= SHORT_ROW) {
        insertion(key, weight, label, n);
        return FLIP_OK;
    }
    if (is_sorted(key, n)) return FLIP_OK;
    if (n >= UINT32_MAX)
        return FLIP_FAIL(FLIP_ERROR_INPUT, "a node with %lld events, more than %u", (long long)n,
                         UINT32_MAX - 1);
    FLIP_TRY(scratch_room(s, (size_t)n, weight || label));
    if (!weight && !label)
        radix_keys(key, s->key, n);
    else
        permute_row(key, weight, label, radix_order(key, s, n), n);
    return FLIP_OK;
}

/* Sorts every row and counts what the closing page tells. */
static flip_status sort_rows(flip_event_rows *events, const flip_sort_params *p) {
    scratch s = {0};
    flip_status status = FLIP_OK;
    for (int64_t v = 0; v < events->n_nodes && status == FLIP_OK; v++) {
        int64_t first = events->indptr[v], n = events->indptr[v + 1] - first;
        const uint64_t *key = events->key + first, own = (uint64_t)(p->first_node + v);
        status = sort_row(events, &s, first, n);
        if (n > events->degree_most) events->degree_most = n;
        for (int64_t i = 0; i < n; i++) {
            uint64_t src = key[i] & UINT32_MAX;
            events->n_self_loops += src == own;
            events->n_duplicates += i > 0 && key[i] == key[i - 1];
            events->balance += flip_pair_balance(src, own, key[i] >> 32);
        }
        if (p->progress && (v & 0xFFFF) == 0)
            p->progress(p->user, 0.5 + 0.5 * (double)v / (double)events->n_nodes);
    }
    scratch_finish(&s);
    return status;
}

/* Counts per row become row starts. */
static int64_t starts_from_counts(int64_t *count, int64_t n) {
    int64_t sum = 0;
    for (int64_t v = 0; v <= n; v++) {
        int64_t here = count[v];
        count[v] = sum;
        sum += here;
    }
    return sum;
}

flip_status flip_event_rows_sort(flip_event_rows *events, flip_edges *edges,
                                 const flip_sort_params *p) {
    flip_status status = FLIP_OK;
    *events = (flip_event_rows){.n_nodes = p->n_nodes, .balance_before = !p->both_ways};
    FLIP_TRY_GOTO(
        flip_alloc_zero(&events->indptr, (size_t)p->n_nodes + 1, sizeof(int64_t), "row starts"));
    for (int32_t c = 0; c < edges->n_chunks; c++)
        count_chunk(&edges->chunk[c], events->indptr, p);
    /* while scattering, indptr[v] runs from the start to the end of row v */
    events->n = starts_from_counts(events->indptr, p->n_nodes);
    FLIP_TRY_GOTO(flip_alloc(&events->key, (size_t)events->n, sizeof(uint64_t), "events"));
    if (edges->has_weight)
        FLIP_TRY_GOTO(flip_alloc(&events->weight, (size_t)events->n, sizeof(float), "weights"));
    if (edges->has_label)
        FLIP_TRY_GOTO(flip_alloc(&events->label, (size_t)events->n, sizeof(int32_t), "labels"));
    for (int32_t c = 0; c < edges->n_chunks; c++) {
        scatter_chunk(events, events->indptr, &edges->chunk[c], p);
        flip_edge_chunk_free(&edges->chunk[c]);
        if (p->progress) p->progress(p->user, 0.5 * (c + 1) / edges->n_chunks);
    }
    memmove(events->indptr + 1, events->indptr, (size_t)p->n_nodes * sizeof(int64_t));
    events->indptr[0] = 0; /* ends are starts again */
    flip_edges_finish(edges);
    FLIP_TRY_GOTO(sort_rows(events, p));
done:
    if (status != FLIP_OK) flip_event_rows_finish(events);
    return status;
}

void flip_events_release(flip_event_rows *events) {
    flip_free(events->indptr);
    flip_free(events->key);
    flip_free(events->weight);
    flip_free(events->label);
    events->indptr = NULL;
    events->key = NULL;
    events->weight = NULL;
    events->label = NULL;
}

void flip_event_rows_finish(flip_event_rows *events) {
    flip_events_release(events);
    *events = (flip_event_rows){0};
}
