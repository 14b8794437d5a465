/* Streaming partitioners: one node after the other goes to the part that holds most of its
 * neighbours and is not too full. They need a few numbers a node and a part, never the graph.
 *
 *   LDG      max over parts p of  |N(v) in p| * (1 - load(p))               Stanton, Kliot, KDD
 * 2012 Fennel   max over parts p of  |N(v) in p| - a g size(p)^(g-1)           Tsourakakis et al.,
 * WSDM with g = 3/2, a = sqrt(K) m / n^(3/2)                          2014
 *
 * N(v) are v's in-neighbours, counted by events. The stream is walked several times, each node
 * being taken out of its part and placed again (restreaming: Nishimura, Ugander, KDD 2013). Load is
 * the largest of the balanced quantities over its allowance. Among parts that hold no neighbour
 * only the lightest can win, and a tournament tree knows it. */
#include "partition/internal.h"

#include <math.h>
#include <string.h>

enum { PASSES = 5 };

typedef struct stream {
    const flip_partition_params *p;
    int64_t n;
    int32_t *part; /* [n] -1 = not yet placed */
    flip_loads loads;
    double allowance[3]; /* of a part, each quantity */
    double *held;        /* [n_parts, 3] */
    double alpha;
    int32_t *touched; /* [n_parts] parts that hold neighbours of the node at hand */
    int64_t *common;  /* [n_parts] how many */
    int32_t *tree;    /* [2 * leaves] the lighter part of each pair; tree[1] the lightest */
    int32_t leaves;
} stream;

static double fullness(const stream *s, int32_t part) {
    double most = 0;
    for (int c = 0; c < s->loads.n; c++)
        most = fmax(most, s->held[part * 3 + c] / s->allowance[c]);
    return most;
}

static int32_t lighter(const stream *s, int32_t a, int32_t b) {
    if (a < 0 || b < 0) return a < 0 ? b : a;
    double full_a = fullness(s, a), full_b = fullness(s, b);
    return full_b < full_a || (full_b == full_a && b < a) ? b : a;
}

static void tree_update(stream *s, int32_t part) {
    for (int32_t i = (s->leaves + part) / 2; i >= 1; i /= 2)
        s->tree[i] = lighter(s, s->tree[2 * i], s->tree[2 * i + 1]);
}

static void tree_build(stream *s) {
    for (int32_t k = 0; k < s->leaves; k++)
        s->tree[s->leaves + k] = k < s->p->n_parts ? k : -1;
    for (int32_t i = s->leaves - 1; i >= 1; i--)
        s->tree[i] = lighter(s, s->tree[2 * i], s->tree[2 * i + 1]);
}

static void hold(stream *s, int64_t v, int32_t part, double sign) {
    for (int c = 0; c < s->loads.n; c++)
        s->held[part * 3 + c] += sign * (double)s->loads.load[c][v];
    tree_update(s, part);
}

static bool has_room(const stream *s, int64_t v, int32_t part) {
    for (int c = 0; c < s->loads.n; c++)
        if (s->held[part * 3 + c] + (double)s->loads.load[c][v] > s->allowance[c] &&
            s->loads.load[c][v] > 0)
            return false;
    return true;
}

/* Fennel's size is the fullest quantity too, in units of mean nodes. */
static double score(const stream *s, int32_t part) {
    double common = (double)s->common[part];
    if (s->p->method == FLIP_PARTITION_LDG) return common * (1 - fullness(s, part));
    double size = fullness(s, part) * s->p->imbalance * (double)s->n / s->p->n_parts;
    return common - s->alpha * 1.5 * sqrt(size);
}

static int32_t choose(const stream *s, int64_t v, int32_t n_touched) {
    int32_t best = s->tree[1]; /* the lightest: where nothing else speaks */
    double best_score = score(s, best);
    for (int32_t i = 0; i < n_touched; i++) {
        int32_t k = s->touched[i];
        if (!has_room(s, v, k)) continue;
        double value = score(s, k);
        if (value > best_score || (value == best_score && k == lighter(s, k, best))) {
            best = k;
            best_score = value;
        }
    }
    return best;
}

static void place_row(stream *s, int64_t v, const int64_t *src, int64_t n) {
    int32_t n_touched = 0;
    if (s->part[v] >= 0) hold(s, v, s->part[v], -1);
    for (int64_t e = 0; e < n; e++) {
        int32_t k = src[e] == v ? -1 : s->part[src[e]];
        if (k >= 0 && s->common[k]++ == 0) s->touched[n_touched++] = k;
    }
    s->part[v] = choose(s, v, n_touched);
    hold(s, v, s->part[v], 1);
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
            place_row(s, scan.first + i, scan.src + scan.ptr[i], scan.ptr[i + 1] - scan.ptr[i]);
    }
done:
    flip_scan_close(&scan);
    return status;
}

static flip_status stream_init(stream *s, const flip_reader *reader) {
    int32_t k = s->p->n_parts;
    int64_t dims[3];
    FLIP_TRY(flip_loads_read(&s->loads, reader, s->n, s->p));
    FLIP_TRY(flip_reader_shape(reader, "events/src", dims, NULL));
    s->alpha = sqrt(k) * (double)dims[0] / 2 / pow((double)s->n, 1.5);
    for (int c = 0; c < s->loads.n; c++) {
        double total = 0;
        for (int64_t v = 0; v < s->n; v++)
            total += (double)s->loads.load[c][v];
        s->allowance[c] = fmax(1, total * s->p->imbalance / k);
    }
    for (s->leaves = 1; s->leaves < k;)
        s->leaves *= 2;
    FLIP_TRY(flip_alloc_zero(&s->held, (size_t)k * 3, sizeof *s->held, "part loads"));
    FLIP_TRY(flip_alloc_zero(&s->common, (size_t)k, sizeof *s->common, "part counts"));
    FLIP_TRY(flip_alloc(&s->touched, (size_t)k, sizeof *s->touched, "part counts"));
    FLIP_TRY(flip_alloc(&s->tree, (size_t)s->leaves * 2, sizeof *s->tree, "part order"));
    memset(s->part, 0xff, sizeof *s->part * (size_t)s->n);
    tree_build(s);
    return FLIP_OK;
}

flip_status flip_partition_stream(int32_t *part, const flip_reader *reader, int64_t n,
                                  const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    stream s = {.p = p, .n = n, .part = part};
    FLIP_TRY_GOTO(stream_init(&s, reader));
    for (int pass = 0; pass < PASSES; pass++)
        FLIP_TRY_GOTO(walk(&s, reader));
done:
    flip_loads_free(&s.loads);
    flip_free(s.held);
    flip_free(s.common);
    flip_free(s.touched);
    flip_free(s.tree);
    return status;
}
