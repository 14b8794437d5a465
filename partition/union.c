/* The union over time, symmetric: what METIS sees.
 *
 * Each rank reads rows that hold an equal share of the events, and sends the two ends of every
 * (destination, source) to the owners of those nodes (equal ranges of ids):
 *
 *     event u -> v in w steps   ──▶  row v: (u, w)    at the owner of v
 *                               ──▶  row u: (v, w)    at the owner of u
 *
 * once to count and once to fill, in rounds of one block a rank, so that beside the result nobody
 * holds more than a block. Then rows are sorted, doubles summed, and the shares gathered on rank 0.
 */
#include "partition/internal.h"
#include "partition/metis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arc {
    int32_t at, other, weight;
} arc;

typedef struct builder {
    flip_comm *comm;
    int rank, size;
    int64_t n;
    flip_gid first, last;   /* own nodes */
    arc *out, *sorted, *in; /* of a round */
    int64_t n_out, out_capacity, in_capacity;
    int64_t *send, *receive, *table, *next; /* [size], table [size, size] */
    int32_t *count;                         /* of a row */
    int64_t count_capacity;
    int64_t *ptr;      /* [own + 1] */
    uint64_t *entries; /* [ptr[own]] other << 32 | weight */
} builder;

static int owner_of(const builder *b, int64_t node) {
    int r = (int)((double)node / (double)b->n * b->size);
    if (r >= b->size) r = b->size - 1;
    while (r > 0 && node < flip_share(b->n, r, b->size))
        r--;
    while (r + 1 < b->size && node >= flip_share(b->n, r + 1, b->size))
        r++;
    return r;
}

static flip_status reserve(void *array, int64_t *capacity, int64_t kept, int64_t wanted,
                           size_t size) {
    if (wanted <= *capacity) return FLIP_OK;
    int64_t more = wanted + wanted / 2;
    FLIP_TRY(flip_grow(array, (size_t)kept, (size_t)more, size, "a round of union edges"));
    *capacity = more;
    return FLIP_OK;
}

/* The block's events as arcs, both ways. */
static flip_status block_arcs(builder *b, flip_scan *s) {
    int64_t n = s->n_rows ? s->ptr[s->n_rows] : 0;
    b->n_out = 0;
    FLIP_TRY(reserve(&b->out, &b->out_capacity, 0, 2 * n, sizeof *b->out));
    FLIP_TRY(reserve(&b->count, &b->count_capacity, 0, n, sizeof *b->count));
    for (int64_t i = 0; i < s->n_rows; i++) {
        int64_t *src = s->src + s->ptr[i];
        int32_t v = (int32_t)(s->first + i);
        int64_t k = flip_scan_collapse(src, s->step ? s->step + s->ptr[i] : NULL,
                                       s->ptr[i + 1] - s->ptr[i], b->count);
        for (int64_t e = 0; e < k; e++) {
            int32_t u = (int32_t)src[e];
            if (u == v) continue;
            b->out[b->n_out++] = (arc){v, u, b->count[e]};
            b->out[b->n_out++] = (arc){u, v, b->count[e]};
        }
    }
    return FLIP_OK;
}

/* One round's arcs to their owners: *arcs [*n], valid until the next round. */
static flip_status trade(builder *b, const arc **arcs, int64_t *n) {
    *arcs = b->out;
    *n = b->n_out;
    if (b->size == 1) return FLIP_OK;
    memset(b->send, 0, sizeof *b->send * (size_t)b->size);
    for (int64_t i = 0; i < b->n_out; i++)
        b->send[owner_of(b, b->out[i].at)]++;
    b->next[0] = 0;
    for (int r = 1; r < b->size; r++)
        b->next[r] = b->next[r - 1] + b->send[r - 1];
    for (int64_t i = 0; i < b->n_out; i++)
        b->sorted[b->next[owner_of(b, b->out[i].at)]++] = b->out[i];
    FLIP_TRY(flip_comm_gather_all(b->comm, b->table, b->send, sizeof *b->send * (size_t)b->size));
    *n = 0;
    for (int r = 0; r < b->size; r++)
        *n += b->receive[r] = b->table[r * b->size + b->rank];
    FLIP_TRY(flip_comm_agree(b->comm, reserve(&b->in, &b->in_capacity, 0, *n, sizeof *b->in)));
    *arcs = b->in;
    return flip_comm_all_to_all(b->comm, b->sorted, b->send, b->in, b->receive, sizeof(arc));
}

/* One pass over all events. entries NULL: counts into ptr[1 + row]; else fills at ptr[row]. */
static flip_status pass(builder *b, const flip_reader *reader, bool fill) {
    flip_status status = FLIP_OK;
    flip_scan scan = {0};
    FLIP_TRY_GOTO(flip_comm_agree(b->comm, flip_scan_open(&scan, reader, b->rank, b->size)));
    for (;;) {
        const arc *arcs = NULL;
        int64_t n = 0, sorted_capacity = b->out_capacity;
        flip_status mine = flip_scan_next(&scan);
        if (mine == FLIP_OK) mine = block_arcs(b, &scan);
        if (mine == FLIP_OK && b->size > 1 && (b->out_capacity > sorted_capacity || !b->sorted))
            mine = flip_grow(&b->sorted, 0, (size_t)b->out_capacity, sizeof *b->sorted,
                             "a round of union edges");
        FLIP_TRY_GOTO(flip_comm_agree(b->comm, mine));
        int64_t more = scan.n_rows;
        FLIP_TRY_GOTO(flip_comm_max_i64(b->comm, &more, 1));
        if (more == 0) break;
        FLIP_TRY_GOTO(trade(b, &arcs, &n));
        for (int64_t i = 0; i < n; i++) {
            int64_t row = arcs[i].at - b->first;
            if (fill)
                b->entries[b->ptr[row]++] =
                    (uint64_t)arcs[i].other << 32 | (uint32_t)arcs[i].weight;
            else
                b->ptr[row + 1]++;
        }
    }
done:
    flip_scan_close(&scan);
    return status;
}

static int by_key(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Rows ascending, doubles summed, in place. Before: ptr[row] = end of row (filling moved it). */
static void merge_rows(builder *b) {
    int64_t kept = 0, begin = 0, rows = b->last - b->first;
    for (int64_t row = 0; row < rows; row++) {
        int64_t end = b->ptr[row];
        uint64_t *e = b->entries;
        qsort(e + begin, (size_t)(end - begin), sizeof *e, by_key);
        int64_t first = kept;
        for (int64_t i = begin; i < end; i++) {
            if (kept == first || e[kept - 1] >> 32 != e[i] >> 32) {
                e[kept++] = e[i];
                continue;
            }
            uint64_t sum = (e[kept - 1] & UINT32_MAX) + (e[i] & UINT32_MAX);
            e[kept - 1] = (e[i] >> 32 << 32) | (sum < INT32_MAX ? sum : INT32_MAX);
        }
        b->ptr[row] = first;
        begin = end;
    }
    b->ptr[rows] = kept;
}

static flip_status build_share(builder *b, const flip_reader *reader) {
    int64_t rows = b->last - b->first;
    FLIP_TRY(flip_comm_agree(
        b->comm, flip_alloc_zero(&b->ptr, (size_t)rows + 1, sizeof *b->ptr, "union rows")));
    FLIP_TRY(pass(b, reader, false));
    for (int64_t row = 0; row < rows; row++)
        b->ptr[row + 1] += b->ptr[row];
    FLIP_TRY(flip_comm_agree(
        b->comm, flip_alloc(&b->entries, (size_t)b->ptr[rows], sizeof *b->entries, "union edges")));
    FLIP_TRY(pass(b, reader, true));
    merge_rows(b);
    return FLIP_OK;
}

/* Everyone's `mine` [n] one behind the other at rank 0. counts [size] is filled there too. */
static flip_status gather(builder *b, void *all, const void *mine, int64_t n, size_t item) {
    FLIP_TRY(flip_comm_gather_all(b->comm, b->table, &n, sizeof n));
    for (int r = 0; r < b->size; r++) {
        b->send[r] = r == 0 ? n : 0;
        b->receive[r] = b->rank == 0 ? b->table[r] : 0;
    }
    return flip_comm_all_to_all(b->comm, mine, b->send, all, b->receive, item);
}

static flip_status gather_union(builder *b, flip_union *g, int64_t total) {
    flip_status status = FLIP_OK;
    int64_t rows = b->last - b->first;
    uint64_t *entries = NULL;
    if (b->size == 1) {
        g->ptr = b->ptr;
        entries = b->entries;
        b->ptr = NULL;
        b->entries = NULL;
    } else {
        if (b->rank == 0) {
            status = flip_alloc(&g->ptr, (size_t)b->n + 1, sizeof *g->ptr, "union rows");
            if (status == FLIP_OK)
                status = flip_alloc(&entries, (size_t)total, sizeof *entries, "union edges");
        }
        FLIP_TRY_GOTO(flip_comm_agree(b->comm, status));
        int64_t own = b->ptr[rows];
        for (int64_t row = 0; row < rows; row++)
            b->ptr[row] = b->ptr[row + 1] - b->ptr[row]; /* lengths */
        FLIP_TRY_GOTO(gather(b, g->ptr ? g->ptr + 1 : NULL, b->ptr, rows, sizeof *b->ptr));
        FLIP_TRY_GOTO(gather(b, entries, b->entries, own, sizeof *entries));
    }
    if (b->rank == 0) {
        FLIP_TRY_GOTO(flip_alloc(&g->adj, (size_t)total, sizeof *g->adj, "union edges"));
        FLIP_TRY_GOTO(flip_alloc(&g->weight, (size_t)total, sizeof *g->weight, "union edges"));
        if (b->size > 1) {
            g->ptr[0] = 0;
            for (int64_t v = 0; v < b->n; v++)
                g->ptr[v + 1] += g->ptr[v];
        }
        for (int64_t e = 0; e < total; e++) {
            g->adj[e] = (int32_t)(entries[e] >> 32);
            g->weight[e] = (int32_t)(entries[e] & UINT32_MAX);
        }
        g->n = b->n;
    }
done:
    flip_free(entries);
    return flip_comm_agree(b->comm, status);
}

/* Room for METIS on rank 0, known to all: "" or why not. */
static flip_status room(builder *b, int64_t total, const flip_partition_params *p, char *refusal) {
    size_t need = flip_partition_bytes(b->n, total, p), have = flip_memory_available();
    size_t used = flip_memory_now();
    refusal[0] = 0;
    if (total >= INT32_MAX)
        snprintf(refusal, 160, "%lld union entries, METIS's 32-bit indices hold %d",
                 (long long)total, INT32_MAX - 1);
    else if (have > 0 && need + used > have)
        snprintf(refusal, 160, "METIS would need %.1f GB, %.1f GB are free", (double)need / 1e9,
                 have > used ? (double)(have - used) / 1e9 : 0);
    return flip_comm_broadcast(b->comm, refusal, 160, 0);
}

static flip_status prepare(builder *b, const flip_reader *reader) {
    int64_t dims[3];
    size_t size = (size_t)b->size;
    FLIP_TRY(flip_reader_shape(reader, "events/indptr", dims, NULL));
    b->n = dims[0] - 1;
    b->first = flip_share(b->n, b->rank, b->size);
    b->last = flip_share(b->n, b->rank + 1, b->size);
    FLIP_TRY(flip_alloc(&b->send, size, sizeof *b->send, "counts"));
    FLIP_TRY(flip_alloc(&b->receive, size, sizeof *b->receive, "counts"));
    FLIP_TRY(flip_alloc(&b->next, size, sizeof *b->next, "counts"));
    return flip_alloc(&b->table, size * size, sizeof *b->table, "counts");
}

flip_status flip_union_build(flip_union *g, flip_comm *comm, const flip_reader *reader,
                             const flip_partition_params *p, char refusal[160]) {
    flip_status status = FLIP_OK;
    builder b = {.comm = comm, .rank = flip_comm_rank(comm), .size = flip_comm_size(comm)};
    *g = (flip_union){0};
    refusal[0] = 0;
    FLIP_TRY_GOTO(flip_comm_agree(comm, prepare(&b, reader)));
    if (b.n > INT32_MAX / 2) {
        snprintf(refusal, 160, "%lld nodes, METIS's 32-bit indices hold %d", (long long)b.n,
                 INT32_MAX / 2);
        goto done;
    }
    FLIP_TRY_GOTO(build_share(&b, reader));
    int64_t total = b.ptr[b.last - b.first];
    FLIP_TRY_GOTO(flip_comm_sum_i64(comm, &total, 1));
    FLIP_TRY_GOTO(room(&b, total, p, refusal));
    if (!refusal[0]) FLIP_TRY_GOTO(gather_union(&b, g, total));
done:
    if (status != FLIP_OK) flip_union_free(g);
    void *all[] = {b.out,   b.sorted, b.in,    b.send, b.receive,
                   b.table, b.next,   b.count, b.ptr,  b.entries};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        flip_free(all[i]);
    return status;
}

void flip_union_free(flip_union *g) {
    flip_free(g->ptr);
    flip_free(g->adj);
    flip_free(g->weight);
    *g = (flip_union){0};
}
