/* Numbers for parts, so that any run of parts is compact: recursive bisection of the part graph.
 *
 * A segment of the order is cut into two halves with little weight between them, then each half the
 * same way. Parts left and right of the segment pull too: a part that talks to those on the left
 * belongs into the left half, so that neighbours end near each other even across cuts (terminal
 * propagation: Dunlop and Kernighan 1985). That pull counts half: runs of a half, a quarter … of
 * the order pay for what is cut inside, only runs that lie across pay for the rest. Each half grows
 * from a seed part, then swaps pairs while that helps (Kernighan and Lin 1970). */
#include "partition/internal.h"

#include <string.h>

enum { SEEDS = 8, SWAPS_EXACT = 256 };

typedef struct numbering {
    const int64_t *w; /* [n, n] symmetric */
    int32_t n;
    int32_t *order;  /* [n] parts in their order so far */
    int64_t *bias;   /* [n] pull to the left less pull to the right, from outside the segment */
    int64_t *gain;   /* [n] */
    int8_t *left;    /* [n] 1 = left half */
    int8_t *best;    /* [n] */
    int32_t *before; /* [n] */
} numbering;

static int64_t between(const numbering *b, int32_t p, int32_t q) {
    return b->w[(int64_t)p * b->n + q];
}

/* Inside a segment weights count twice, against `bias`. */
static int64_t weight(const numbering *b, int32_t p, int32_t q) {
    return 2 * between(b, p, q);
}

/* What the sides cost: weight between the halves, and pulls not followed. */
static int64_t cost(const numbering *b, const int32_t *segment, int32_t n) {
    int64_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t p = segment[i];
        if (!b->left[p]) sum += b->bias[p];
        for (int32_t j = 0; j < n && b->left[p]; j++)
            if (!b->left[segment[j]]) sum += weight(b, p, segment[j]);
    }
    return sum;
}

/* gain[p]: what moving p to the left half would save. */
static void grow(numbering *b, const int32_t *segment, int32_t n, int32_t half, int32_t seed) {
    for (int32_t i = 0; i < n; i++) {
        int32_t p = segment[i];
        b->left[p] = 0;
        b->gain[p] = b->bias[p];
        for (int32_t j = 0; j < n; j++)
            if (j != i) b->gain[p] -= weight(b, p, segment[j]);
    }
    for (int32_t k = 0, next = seed; k < half; k++) {
        b->left[next] = 1;
        int32_t best = -1;
        for (int32_t i = 0; i < n; i++) {
            int32_t p = segment[i];
            if (b->left[p]) continue;
            b->gain[p] += 2 * weight(b, p, next);
            if (best < 0 || b->gain[p] > b->gain[best]) best = p;
        }
        next = best;
    }
}

/* gain[p]: what moving p to the other half would save. */
static void gains(numbering *b, const int32_t *segment, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        int32_t p = segment[i];
        int64_t to_left = 0, to_right = 0;
        for (int32_t j = 0; j < n; j++) {
            if (j == i) continue;
            if (b->left[segment[j]])
                to_left += weight(b, p, segment[j]);
            else
                to_right += weight(b, p, segment[j]);
        }
        int64_t save = to_left - to_right + b->bias[p];
        b->gain[p] = b->left[p] ? -save : save;
    }
}

/* The best pair to swap; in long segments the best of each side only. */
static int64_t best_swap(const numbering *b, const int32_t *segment, int32_t n, int32_t *from_left,
                         int32_t *from_right) {
    int32_t top_left = -1, top_right = -1;
    for (int32_t i = 0; i < n; i++) {
        int32_t p = segment[i], *top = b->left[p] ? &top_left : &top_right;
        if (*top < 0 || b->gain[p] > b->gain[*top]) *top = p;
    }
    *from_left = top_left;
    *from_right = top_right;
    if (top_left < 0 || top_right < 0) return 0;
    int64_t best = b->gain[top_left] + b->gain[top_right] - 2 * weight(b, top_left, top_right);
    for (int32_t i = 0; i < n && n <= SWAPS_EXACT; i++)
        for (int32_t j = 0; j < n && b->left[segment[i]]; j++) {
            int32_t p = segment[i], q = segment[j];
            if (b->left[q] || b->gain[p] + b->gain[q] <= best) continue;
            int64_t save = b->gain[p] + b->gain[q] - 2 * weight(b, p, q);
            if (save <= best) continue;
            best = save;
            *from_left = p;
            *from_right = q;
        }
    return best;
}

static void refine(numbering *b, const int32_t *segment, int32_t n) {
    gains(b, segment, n);
    for (int32_t swaps = 0; swaps < n; swaps++) {
        int32_t p, q;
        if (best_swap(b, segment, n, &p, &q) <= 0) return;
        b->left[p] = 0;
        b->left[q] = 1;
        gains(b, segment, n);
    }
}

/* Seeds worth trying: the strongest pull to the left first, then parts spread over the segment. */
static int32_t seed_of(const numbering *b, const int32_t *segment, int32_t n, int32_t k) {
    if (k > 0) return segment[(int64_t)(k - 1) * n / SEEDS];
    int32_t best = segment[0];
    for (int32_t i = 1; i < n; i++)
        if (b->bias[segment[i]] > b->bias[best]) best = segment[i];
    return best;
}

static void bisect(numbering *b, int32_t first, int32_t last) {
    int32_t n = last - first, half = (n + 1) / 2, *segment = b->order + first;
    if (n < 2) return;
    for (int32_t i = 0; i < n; i++) {
        int32_t p = segment[i];
        b->bias[p] = 0;
        for (int32_t j = 0; j < first; j++)
            b->bias[p] += between(b, p, b->order[j]);
        for (int32_t j = last; j < b->n; j++)
            b->bias[p] -= between(b, p, b->order[j]);
    }
    int64_t least = INT64_MAX;
    for (int32_t k = 0; k <= SEEDS; k++) {
        grow(b, segment, n, half, seed_of(b, segment, n, k));
        refine(b, segment, n);
        int64_t now = cost(b, segment, n);
        if (now >= least) continue;
        least = now;
        for (int32_t i = 0; i < n; i++)
            b->best[segment[i]] = b->left[segment[i]];
    }
    memcpy(b->before, segment, sizeof *segment * (size_t)n);
    int32_t at_left = 0, at_right = half;
    for (int32_t i = 0; i < n; i++)
        segment[b->best[b->before[i]] ? at_left++ : at_right++] = b->before[i];
    bisect(b, first, first + half);
    bisect(b, first + half, last);
}

flip_status flip_partition_number(int32_t *place, const int64_t *graph, int32_t n) {
    flip_status status = FLIP_OK;
    numbering b = {.w = graph, .n = n};
    size_t size = (size_t)n;
    FLIP_TRY_GOTO(flip_alloc(&b.order, size, sizeof *b.order, "part order"));
    FLIP_TRY_GOTO(flip_alloc(&b.bias, size, sizeof *b.bias, "part order"));
    FLIP_TRY_GOTO(flip_alloc(&b.gain, size, sizeof *b.gain, "part order"));
    FLIP_TRY_GOTO(flip_alloc(&b.left, size, sizeof *b.left, "part order"));
    FLIP_TRY_GOTO(flip_alloc(&b.best, size, sizeof *b.best, "part order"));
    FLIP_TRY_GOTO(flip_alloc(&b.before, size, sizeof *b.before, "part order"));
    for (int32_t p = 0; p < n; p++)
        b.order[p] = p;
    bisect(&b, 0, n);
    for (int32_t i = 0; i < n; i++)
        place[b.order[i]] = i;
done:
    flip_free(b.order);
    flip_free(b.bias);
    flip_free(b.gain);
    flip_free(b.left);
    flip_free(b.best);
    flip_free(b.before);
    return status;
}
