/* Streaming partitioners: one node after the other goes to the part that holds most of its
 * neighbours and is not too full. They need a few numbers a node and a part, never the graph.
 *
 *   LDG      max over parts p of  |N(v) in p| * (1 - load(p))               Stanton, Kliot, KDD
 * 2012 Fennel   max over parts p of  |N(v) in p| - a g size(p)^(g-1)           Tsourakakis et al.,
 * WSDM with g = 3/2, a = sqrt(K) m / n^(3/2)                          2014
 *
 * N(v) are v's in-neighbours, counted by events. The stream is walked several times, each node
 * being taken out of its part and placed again (restreaming: Nishimura, Ugander, KDD 2013). Load is
 * the largest of the balanced quantities over its allowance (balance.c). Among parts that hold no
 * neighbour only the lightest can win. */
#include "partition/internal.h"

#include <math.h>
#include <string.h>

enum { PASSES = 5 };

typedef struct stream {
    const flip_partition_params *p;
    int64_t n;
    int32_t *part; /* [n] -1 = not yet placed */
    uint8_t *free; /* [n] 1 = may be placed, NULL = all may */
    flip_balance balance;
    double alpha;
    int32_t *touched; /* [n_parts] parts that hold neighbours of the node at hand */
    int64_t *common;  /* [n_parts] how many */
} stream;

/* Fennel's size is the fullest quantity too, in units of mean nodes. */
static double score(const stream *s, int32_t part) {
    double common = (double)s->common[part];
    if (s->p->method == FLIP_PARTITION_LDG)
        return common * (1 - flip_balance_fullness(&s->balance, part));
    double size =
        flip_balance_fullness(&s->balance, part) * s->p->imbalance * (double)s->n / s->p->n_parts;
    return common - s->alpha * 1.5 * sqrt(size);
}

static int32_t choose(const stream *s, int64_t v, int32_t n_touched) {
    int32_t best = flip_balance_lightest(&s->balance); /* the lightest: where nothing else speaks */
    double best_score = score(s, best);
    for (int32_t i = 0; i < n_touched; i++) {
        int32_t k = s->touched[i];
        if (!flip_balance_room(&s->balance, v, k)) continue;
        double value = score(s, k);
        if (value > best_score ||
            (value == best_score && k == flip_balance_lighter(&s->balance, k, best))) {
            best = k;
            best_score = value;
        }
    }
    return best;
}

static void place_row(stream *s, int64_t v, const int64_t *src, int64_t n) {
    int32_t n_touched = 0;
    if (s->part[v] >= 0) flip_balance_hold(&s->balance, v, s->part[v], -1);
    for (int64_t e = 0; e < n; e++) {
        int32_t k = src[e] == v ? -1 : s->part[src[e]];
        if (k >= 0 && s->common[k]++ == 0) s->touched[n_touched++] = k;
    }
    s->part[v] = choose(s, v, n_touched);
    flip_balance_hold(&s->balance, v, s->part[v], 1);
    for (int32_t i = 0; i < n_touched; i++)
        s->common[s->touched[i]] = 0;
}

static flip_status walk(stream *s, const flip_reader *reader) {
    flip_status status = FLIP_OK;
    flip_scan scan = {0};
    FLIP_TRY_GOTO(flip_scan_open(&scan, reader, 0, 1));
    for (;;) {
        FLIP_TRY_GOTO(flip_scan_next(&scan));
        if (scan.n_rows == 0) break;
        for (int64_t i = 0; i < scan.n_rows; i++)
            if (!s->free || s->free[scan.first + i])
                place_row(s, scan.first + i, scan.src + scan.ptr[i], scan.ptr[i + 1] - scan.ptr[i]);
    }
done:
    flip_scan_close(&scan);
    return status;
}

static flip_status run(stream *s, const flip_reader *reader) {
    flip_status status = FLIP_OK;
    size_t k = (size_t)s->p->n_parts;
    int64_t dims[3];
    FLIP_TRY_GOTO(flip_balance_init(&s->balance, s->part, reader, s->n, s->p));
    FLIP_TRY_GOTO(flip_reader_shape(reader, "events/src", dims, NULL));
    s->alpha = sqrt((double)k) * (double)dims[0] / 2 / pow((double)s->n, 1.5);
    FLIP_TRY_GOTO(flip_alloc_zero(&s->common, k, sizeof *s->common, "part counts"));
    FLIP_TRY_GOTO(flip_alloc(&s->touched, k, sizeof *s->touched, "part counts"));
    for (int pass = 0; pass < PASSES; pass++)
        FLIP_TRY_GOTO(walk(s, reader));
done:
    flip_balance_free(&s->balance);
    flip_free(s->common);
    flip_free(s->touched);
    return status;
}

flip_status flip_partition_stream(int32_t *part, const flip_reader *reader, int64_t n,
                                  const flip_partition_params *p) {
    stream s = {.p = p, .n = n, .part = part};
    memset(part, 0xff, sizeof *part * (size_t)n);
    return run(&s, reader);
}

flip_status flip_partition_place(int32_t *part, const flip_reader *reader, int64_t n,
                                 const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    flip_partition_params ldg = *p;
    int64_t n_free = 0;
    ldg.method = FLIP_PARTITION_LDG;
    stream s = {.p = &ldg, .n = n, .part = part};
    FLIP_TRY_GOTO(flip_alloc(&s.free, (size_t)n, 1, "new nodes"));
    for (int64_t v = 0; v < n; v++)
        n_free += s.free[v] = part[v] < 0;
    if (n_free > 0) FLIP_TRY_GOTO(run(&s, reader));
done:
    flip_free(s.free);
    return status;
}
