/* What each part holds of the balanced quantities, and which part is the lightest.
 *
 * Fullness of a part is the largest of its quantities over their allowances (imbalance times the
 * mean part). A tournament tree over the parts knows the lightest one after each change. */
#include "partition/internal.h"

#include <math.h>

double flip_balance_fullness(const flip_balance *b, int32_t part) {
    double most = 0;
    for (int c = 0; c < b->loads.n; c++)
        most = fmax(most, b->held[part * 3 + c] / b->allowance[c]);
    return most;
}

int32_t flip_balance_lighter(const flip_balance *b, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return left < 0 ? right : left;
    double full_left = flip_balance_fullness(b, left), full_right = flip_balance_fullness(b, right);
    return full_right < full_left || (full_right == full_left && right < left) ? right : left;
}

int32_t flip_balance_lightest(const flip_balance *b) {
    return b->tree[1];
}

static void tree_play(flip_balance *b, int32_t i) {
    b->tree[i] = flip_balance_lighter(b, b->tree[2 * i], b->tree[2 * i + 1]);
}

void flip_balance_hold(flip_balance *b, int64_t v, int32_t part, double sign) {
    for (int c = 0; c < b->loads.n; c++)
        b->held[part * 3 + c] += sign * (double)b->loads.load[c][v];
    for (int32_t i = (b->leaves + part) / 2; i >= 1; i /= 2)
        tree_play(b, i);
}

bool flip_balance_room(const flip_balance *b, int64_t v, int32_t part) {
    for (int c = 0; c < b->loads.n; c++)
        if (b->loads.load[c][v] > 0 &&
            b->held[part * 3 + c] + (double)b->loads.load[c][v] > b->allowance[c])
            return false;
    return true;
}

flip_status flip_balance_init(flip_balance *b, const int32_t *part, const flip_reader *reader,
                              int64_t n, const flip_partition_params *p) {
    flip_status status = FLIP_OK;
    int32_t k = p->n_parts;
    *b = (flip_balance){.n_parts = k, .leaves = 1};
    FLIP_TRY_GOTO(flip_loads_read(&b->loads, reader, n, p));
    while (b->leaves < k)
        b->leaves *= 2;
    FLIP_TRY_GOTO(flip_alloc_zero(&b->held, (size_t)k * 3, sizeof *b->held, "part loads"));
    FLIP_TRY_GOTO(flip_alloc(&b->tree, (size_t)b->leaves * 2, sizeof *b->tree, "part order"));
    for (int c = 0; c < b->loads.n; c++) {
        for (int64_t v = 0; v < n; v++) {
            b->total[c] += (double)b->loads.load[c][v];
            b->heaviest[c] = fmax(b->heaviest[c], (double)b->loads.load[c][v]);
            if (part[v] >= 0) b->held[part[v] * 3 + c] += (double)b->loads.load[c][v];
        }
        b->allowance[c] = fmax(1, b->total[c] * p->imbalance / k);
    }
    for (int32_t i = 0; i < b->leaves; i++)
        b->tree[b->leaves + i] = i < k ? i : -1;
    for (int32_t i = b->leaves - 1; i >= 1; i--)
        tree_play(b, i);
done:
    if (status != FLIP_OK) flip_balance_free(b);
    return status;
}

void flip_balance_free(flip_balance *b) {
    flip_loads_free(&b->loads);
    flip_free(b->held);
    flip_free(b->tree);
    *b = (flip_balance){0};
}
