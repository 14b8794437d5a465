/* t219: draws of sampled batches, the numbers of the rows that they name, and their transpose: the
 * definition against plain checks, every table against the definition to the last bit. How often
 * what is drawn is t410's. */
#include "kernels/draws.h"
#include "outputs.h"

enum {
    ROWS = 60,
    COLUMNS = 1000,
    FEW_COLUMNS = 73,
    HUB = 5000,
    MOST = 8192,
    SPARE = 17,
    SHARED = 4 << 8 | 129,
    STEPS = 6
};

typedef struct draws_case {
    int32_t fanout;
    bool replace, values, weighted, loops, sums, scales, shared;
    bool steps, recent;
    int32_t life;
    bool by_weight, ties;
} draws_case;

/* Rows without entries, one of many, doubled entries and loops; columns ascend. */
static int64_t *draw_rows(int32_t **out_col) {
    int64_t *ptr = get(ROWS + 1, sizeof *ptr), n = 0;
    for (int64_t v = 0; v < ROWS; v++)
        ptr[v + 1] = n += v % 5 == 0 ? 0 : v == 3 ? HUB : (int64_t)chance(1, 1, (uint64_t)v, 14);
    int32_t *col = get((size_t)n, sizeof *col);
    for (int64_t v = 0; v < ROWS; v++)
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            int32_t c = e == ptr[v] && v % 3 == 0
                            ? (int32_t)v
                            : (int32_t)chance(2, 2, (uint64_t)e, v == 3 ? COLUMNS : FEW_COLUMNS);
            int64_t at = e;
            for (; at > ptr[v] && col[at - 1] > c; at--)
                col[at] = col[at - 1];
            col[at] = c;
        }
    *out_col = col;
    return ptr;
}

/* Entries by step, columns of a step and from step to step descend. */
static int32_t *draw_steps(const int64_t *ptr, int32_t *col) {
    int32_t *step = get((size_t)ptr[ROWS], sizeof *step);
    for (int64_t v = 0; v < ROWS; v++) {
        const int64_t begin = ptr[v], n = ptr[v + 1] - begin;
        for (int64_t e = 0; e < n; e++)
            step[begin + e] = (int32_t)(e * STEPS / n);
        for (int64_t e = 0; e < n / 2; e++) {
            const int32_t low = col[begin + e];
            col[begin + e] = col[begin + n - 1 - e];
            col[begin + n - 1 - e] = low;
        }
    }
    return step;
}

/* By weight: above 0; ties: some are endless, which come first, and some 0, which come last. */
static flip_real *weights_of(const draws_case *c, int64_t n) {
    flip_real *weight = noise(n, 3);
    for (int64_t e = 0; c->by_weight && e < n; e++) {
        weight[e] = e % 3 == 0 ? 1 : (flip_real)1.01 + weight[e];
        if (!c->ties && e / 500 == 9) weight[e] *= 1000; /* the hub's last piece has the first */
        if (c->ties && e % 97 == 0) weight[e] = (flip_real)INFINITY;
        if (c->ties && e % 4 == 1) weight[e] = 0;
    }
    return weight;
}

/* With replacement: of a row's weights before each. */
static double *sums_of(const int64_t *ptr, const flip_real *weight) {
    double *sums = get((size_t)ptr[ROWS], sizeof *sums);
    for (int64_t v = 0; v < ROWS; v++)
        flip_draws_sums(ptr[v + 1] - ptr[v], weight + ptr[v], sums + ptr[v]);
    return sums;
}

static flip_draws draws_of(const draws_case *c) {
    float *chance = get(COLUMNS, sizeof *chance);
    int32_t *col, *row = get(ROWS, sizeof *row), *before = get(ROWS, sizeof *before);
    int64_t *ptr = draw_rows(&col), *original = get(COLUMNS, sizeof *original);
    int32_t *step = c->steps ? draw_steps(ptr, col) : NULL;
    uint8_t *looped = get(ROWS, 1);
    for (int32_t v = 0; v < ROWS; v++) {
        row[v] = (v * 7 + 5) % ROWS;
        before[v] = v % (STEPS + 1);
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++)
            looped[v] |= col[e] == v;
    }
    for (int32_t u = 0; u < COLUMNS; u++)
        original[u] = 3 * u + ((int64_t)1 << 33);
    list[0]->share_chances(COLUMNS, original, 9, SHARED, chance);
    const flip_real *weight = c->weighted || c->by_weight ? weights_of(c, ptr[ROWS]) : NULL;
    return (flip_draws){.n = ROWS - 1,
                        .row = row,
                        .before = c->steps ? before : (release(before), NULL),
                        .life = c->life,
                        .row_ptr = ptr,
                        .col = col,
                        .step = step,
                        .weight = weight,
                        .weight_sums = c->by_weight && c->replace ? sums_of(ptr, weight) : NULL,
                        .by_weight = c->by_weight,
                        .original = original,
                        .original_bits = 34,
                        .factor = c->values ? noise(COLUMNS, 4) : NULL,
                        .factor_v = c->values ? noise(ROWS, 5) : NULL,
                        .looped = c->loops ? looped : (release(looped), NULL),
                        .chance = c->shared ? chance : (release(chance), NULL),
                        .n_entries = ptr[ROWS] * (c->steps ? STEPS : 1),
                        .replace = c->replace,
                        .recent = c->recent,
                        .sums = c->sums,
                        .fanout = c->fanout,
                        .seed = 9,
                        .draw = 4 << 8 | 1};
}

static void free_draws(flip_draws *d) {
    RELEASE((void *)d->row, (void *)d->row_ptr, (void *)d->col, (void *)d->weight,
            (void *)d->original, (void *)d->factor, (void *)d->factor_v, (void *)d->looped,
            (void *)d->weight_sums, (void *)d->chance, (void *)d->before, (void *)d->step);
}

/* What came of a case: memory of every table. */
typedef struct result {
    int64_t *first, *n_rows, *key, *ptr, *place;
    int32_t *col, *number, *slot, *row, *node, *step, *turned;
    flip_real *value, *scale, *turned_value;
    int32_t n_seeds;
} result;

/* Columns, of steps: a node's are side by side. */
static int32_t n_columns(const flip_draws *d) {
    return COLUMNS * (d->step ? STEPS + 1 : 1);
}

static int32_t column(const flip_draws *d, int32_t node, int32_t i) {
    return d->step ? node * (STEPS + 1) + d->before[i] : node;
}

static void number(const flip_kernels *table, const flip_draws *d, result *r, void *work) {
    const size_t columns = (size_t)n_columns(d);
    r->slot = get(columns, sizeof *r->slot);
    r->row = get(columns, sizeof *r->row);
    r->key = get(columns, sizeof *r->key);
    r->node = get(columns, sizeof *r->node);
    r->step = get(columns, sizeof *r->step);
    r->n_rows = get(1, sizeof *r->n_rows);
    int64_t entries = r->first[d->n];
    int32_t *seeds = get(ROWS, sizeof *seeds);
    for (size_t u = 0; u < columns; u++)
        r->slot[u] = FLIP_NO_SLOT;
    for (int32_t i = 0; i < d->n; i++)
        seeds[i] = column(d, d->row[i], i);
    flip_numbering to = {.slot = r->slot,
                         .steps = d->step ? STEPS + 1 : 0,
                         .original = d->original,
                         .row = r->row,
                         .key = r->key,
                         .node = r->node,
                         .step = r->step};
    CALL(table, number_rows, &to, 0, d->n, NULL, seeds, r->n_rows, work);
    r->n_seeds = (int32_t)*r->n_rows;
    r->number = get((size_t)entries + SPARE, sizeof *r->number);
    memcpy(r->number, r->col, (size_t)entries * sizeof *r->number);
    memset(r->number + entries, 0x7f, SPARE * sizeof *r->number); /* no column */
    if (d->step) CALL(table, set_at_steps, d->n, r->first, d->before, STEPS + 1, r->number);
    CALL(table, number_rows, &to, r->n_seeds, entries + SPARE, r->first + d->n, r->number,
         r->n_rows, work);
    release(seeds);
}

static flip_csr matrix_of(const flip_draws *d, const result *r) {
    return (flip_csr){.n_rows = d->n,
                      .n_cols = (int32_t)*r->n_rows,
                      .n_own = (int32_t)*r->n_rows,
                      .n_steps = 1,
                      .n_entries = r->first[d->n],
                      .n_values = r->first[d->n],
                      .row_ptr = r->first,
                      .col = r->number,
                      .value = r->value};
}

static result draw(const flip_kernels *table, const draws_case *c, const flip_draws *d) {
    result r = {.first = get(ROWS + 1, sizeof *r.first)};
    void *work = get(flip_draws_work(MOST), 1);
    void *left = get(flip_draws_room(d->n, d->n_entries, d->fanout, c->by_weight), 1);
    double *key = get(2 * (size_t)(c->fanout > 0 ? c->fanout : 1), sizeof *key);
    CALL(table, count_draws, d, r.first, left);
    const size_t entries = (size_t)r.first[d->n];
    assert_true(entries + SPARE < MOST);
    r.col = get(entries + SPARE, sizeof *r.col);
    if (c->values) r.value = get(entries, sizeof *r.value);
    if (c->scales) r.scale = get(ROWS, sizeof *r.scale);
    const flip_drawn out = {.first = r.first,
                            .col = r.col,
                            .value = r.value,
                            .scale = r.scale,
                            .key = c->by_weight ? key : NULL,
                            .most = (int64_t)entries + SPARE,
                            .work = work};
    CALL(table, draw_entries, d, &out, left);
    RELEASE(left, key);
    number(table, d, &r, work);
    const flip_csr a = matrix_of(d, &r);
    r.ptr = get((size_t)a.n_cols + 2, sizeof *r.ptr);
    r.turned = get(entries, sizeof *r.turned);
    r.place = get(entries, sizeof *r.place);
    if (c->values) r.turned_value = get(entries, sizeof *r.turned_value);
    CALL(table, turn_entries, &a, r.ptr, r.turned, r.turned_value, r.place, work);
    release(work);
    return r;
}

static void free_result(result *r) {
    RELEASE(r->first, r->n_rows, r->key, r->ptr, r->place, r->col, r->number, r->slot, r->row,
            r->node, r->step, r->turned, r->value, r->scale, r->turned_value);
}

#define KEEP(out, name, x, n)                                                                      \
    do {                                                                                           \
        double *to_ = add_output(out, name, (x) ? (n) : 0);                                        \
        for (int64_t i_ = 0; (x) && i_ < (n); i_++)                                                \
            to_[i_] = (double)(x)[i_];                                                             \
    } while (0)

static void run_draws(const flip_kernels *table, const void *of, outputs *out) {
    flip_draws d = draws_of(of);
    result r = draw(table, of, &d);
    const int64_t entries = r.first[d.n], rows = *r.n_rows;
    KEEP(out, "first", r.first, d.n + 1);
    KEEP(out, "col", r.col, entries);
    KEEP(out, "value", r.value, entries);
    KEEP(out, "scale", r.scale, d.n);
    KEEP(out, "number", r.number, entries);
    KEEP(out, "rows", r.n_rows, 1);
    KEEP(out, "row", r.row, rows);
    KEEP(out, "key", r.key, rows);
    KEEP(out, "node", r.node, d.step ? rows : 0);
    KEEP(out, "step", r.step, d.step ? rows : 0);
    KEEP(out, "slot", r.slot, n_columns(&d));
    KEEP(out, "ptr", r.ptr, rows + 1);
    KEEP(out, "turned", r.turned, entries);
    KEEP(out, "turned value", r.turned_value, entries);
    KEEP(out, "place", r.place, entries);
    CALL(table, forget_rows, rows, r.row, r.slot);
    for (int32_t u = 0; u < n_columns(&d); u++)
        assert_true(r.slot[u] == FLIP_NO_SLOT);
    free_result(&r);
    free_draws(&d);
}

/* ---- plain checks ---- */

/* LABOR: those of n candidates whose own draw, to be had from flip_random alone, is below fanout /
 * n, in order. */
static int64_t check_shared(const flip_draws *d, const result *r, int64_t at, const int32_t *from,
                            int64_t n) {
    int64_t k = 0;
    for (int64_t e = 0; e < n; e++) {
        const uint64_t key = (uint64_t)d->original[from[e]];
        const double drawn =
            (flip_random(9, FLIP_STREAM_SAMPLE, SHARED, key).v[0] >> 8) / 16777216.0;
        if (drawn * (double)n < d->fanout) assert_true(r->col[at + k++] == from[e]);
    }
    return k;
}

/* By weight: of n candidates, entries[n], those with the largest log(u) / weight, which libm finds,
 * in this order; equal ones as they stand. */
static void check_heavy(const flip_draws *d, const int32_t *col, int64_t original,
                        const int64_t *entry, int64_t n) {
    flip_luck l =
        flip_luck_from(flip_random(d->seed, FLIP_STREAM_SAMPLE, d->draw, (uint64_t)original));
    double key[HUB];
    for (int64_t i = 0; i < n; i++)
        key[i] =
            log((double)((flip_luck_next(&l) >> 11) + 1) * 0x1p-53) / (double)d->weight[entry[i]];
    for (int64_t j = 0; j < d->fanout; j++) {
        int64_t most = -1;
        for (int64_t i = 0; i < n; i++)
            if (!isnan(key[i]) && (most < 0 || key[i] > key[most])) most = i;
        assert_int_equal(col[j], d->col[entry[most]]);
        key[most] = NAN;
    }
}

/* With replacement: in the candidate drawn the sum of weights, here a plain one, comes to the share
 * that was drawn, but for rounding. */
static void check_again(const flip_draws *d, const int32_t *col, int64_t original,
                        const int64_t *entry, int64_t n) {
    flip_luck l =
        flip_luck_from(flip_random(d->seed, FLIP_STREAM_SAMPLE, d->draw, (uint64_t)original));
    long double all = 0;
    for (int64_t i = 0; i < n; i++)
        all += (long double)d->weight[entry[i]];
    for (int64_t j = 0; j < d->fanout; j++) {
        const long double share = (long double)((flip_luck_next(&l) >> 11) + 1) * 0x1p-53L;
        long double sum = 0;
        bool found = false;
        for (int64_t i = 0; i < n; i++) {
            const bool begun = sum <= share * all + 1e-12L * all;
            sum += (long double)d->weight[entry[i]];
            found =
                found || (begun && sum >= share * all - 1e-12L * all && col[j] == d->col[entry[i]]);
        }
        assert_true(found);
    }
}

static void check_row(const draws_case *c, const flip_draws *d, const result *r, int32_t i) {
    const int32_t v = d->row[i];
    const int64_t first = r->first[i];
    int32_t times[COLUMNS] = {0}, from[HUB];
    int64_t entry[HUB], n = 0;
    for (int64_t e = d->row_ptr[v]; e < d->row_ptr[v + 1]; e++) {
        if (d->step &&
            (d->step[e] >= d->before[i] || (c->life > 0 && d->step[e] < d->before[i] - c->life)))
            continue;
        entry[n] = e;
        from[n++] = d->col[e];
        times[d->col[e]]++;
    }
    const bool all = c->fanout < 0 || n == 0 || (!c->replace && n <= c->fanout);
    const bool own = c->values || (c->loops && times[v] == 0);
    const int64_t k = all ? n : c->shared ? check_shared(d, r, first + own, from, n) : c->fanout;
    assert_true(r->first[i + 1] - first == k + own);
    times[v] += own;
    for (int64_t e = 0; c->recent && !all && e < k; e++)
        assert_true(r->col[first + own + e] == from[n - k + e]);
    for (int64_t e = first; e < first + k + own; e++) {
        assert_true(r->col[e] >= 0 && r->col[e] < COLUMNS && times[r->col[e]] > 0);
        times[r->col[e]] -= !c->replace;
        if (all && e > first) assert_true(r->col[e - 1] <= r->col[e]);
    }
    if (own && !all) assert_true(r->col[first] == v);
    if (c->by_weight && c->replace && !all)
        check_again(d, r->col + first + own, d->original[v], entry, n);
    if (c->by_weight && !c->replace && !all)
        check_heavy(d, r->col + first + own, d->original[v], entry, n);
    for (int32_t u = 0; all && !c->replace && u < COLUMNS; u++)
        assert_true(times[u] == 0);
    const double boost = all ? 1 : (double)n / (double)(c->shared ? c->fanout : k);
    if (r->scale) {
        const double want = c->sums ? boost : k > 0 ? 1.0 / (double)k : 0;
        assert_true(fabs((double)r->scale[i] - want) <= 4 * ROUNDING * (1 + want));
    }
    for (int64_t e = first + 1; r->value && !c->weighted && !all && e < first + k + own; e++) {
        const double want = (double)d->factor_v[v] * (double)d->factor[r->col[e]] * boost;
        assert_true(fabs((double)r->value[e] - want) <= 8 * ROUNDING * (1 + fabs(want)));
    }
}

/* Numbers count up as columns first come; in the transpose a column's entries stand in order. */
static void check_numbers(const flip_draws *d, const result *r) {
    int32_t seen = r->n_seeds;
    assert_int_equal(seen, d->n);
    for (int32_t i = 0; i < seen; i++)
        assert_true(r->row[i] == column(d, d->row[i], i) && r->key[i] == d->original[d->row[i]]);
    for (int32_t i = 0; i < d->n; i++)
        for (int64_t e = r->first[i]; e < r->first[i + 1]; e++) {
            const int32_t number = r->number[e];
            assert_true(number <= seen && number < *r->n_rows);
            assert_true(r->row[number] == column(d, r->col[e], i));
            assert_true(!d->step ||
                        (r->node[number] == r->col[e] && r->step[number] == d->before[i]));
            seen += number == seen;
            const int64_t at = r->place[e];
            assert_true(at >= r->ptr[number] && at < r->ptr[number + 1] && r->turned[at] == i);
            assert_true(!r->value || r->turned_value[at] == r->value[e]);
            for (int64_t f = 0; f < e; f++)
                assert_true(r->number[f] != number || r->place[f] < at);
        }
    assert_true(seen == *r->n_rows && r->ptr[0] == 0 && r->ptr[seen] == r->first[d->n]);
}

static void draws(void **state) {
    (void)state;
    static const draws_case cases[] = {
        {.fanout = 3, .scales = true},
        {.fanout = 10, .sums = true, .scales = true},
        {.fanout = 1, .values = true},
        {.fanout = 5, .values = true, .weighted = true},
        {.fanout = 4, .replace = true, .scales = true},
        {.fanout = 60, .replace = true, .sums = true, .scales = true},
        {.fanout = 48, .loops = true},
        {.fanout = 49, .loops = true},
        {.fanout = 170, .values = true},
        {.fanout = -1, .values = true, .weighted = true},
        {.fanout = -1, .loops = true},
        {.fanout = -1, .scales = true},
        {.fanout = 4, .shared = true, .scales = true},
        {.fanout = 1, .shared = true, .sums = true, .scales = true},
        {.fanout = 5, .shared = true, .values = true, .weighted = true},
        {.fanout = 60, .shared = true, .loops = true},
        {.fanout = -1, .shared = true, .values = true},
        {.fanout = 3, .steps = true, .scales = true},
        {.fanout = 5, .steps = true, .life = 2, .sums = true, .scales = true},
        {.fanout = 4, .steps = true, .loops = true},
        {.fanout = 20, .steps = true, .life = 3, .loops = true, .recent = true},
        {.fanout = 6, .steps = true, .replace = true, .scales = true},
        {.fanout = -1, .steps = true, .loops = true, .life = 1},
        {.fanout = -1, .steps = true, .scales = true},
        {.fanout = 4, .steps = true, .shared = true, .loops = true, .life = 3},
        {.fanout = 1, .by_weight = true, .sums = true, .scales = true},
        {.fanout = 5, .by_weight = true, .scales = true},
        {.fanout = 8, .by_weight = true, .ties = true, .loops = true},
        {.fanout = 33, .by_weight = true, .ties = true, .scales = true},
        {.fanout = 100, .by_weight = true, .loops = true},
        {.fanout = -1, .by_weight = true, .loops = true},
        {.fanout = 1, .by_weight = true, .replace = true, .loops = true},
        {.fanout = 7, .by_weight = true, .replace = true, .scales = true},
        {.fanout = 3, .by_weight = true, .replace = true, .steps = true, .life = 2},
        {.fanout = -1, .by_weight = true, .replace = true, .scales = true},
        {.fanout = 4, .by_weight = true, .steps = true, .life = 3, .loops = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flip_draws d = draws_of(&cases[i]);
        result r = draw(list[0], &cases[i], &d);
        for (int32_t v = 0; v < d.n; v++)
            check_row(&cases[i], &d, &r, v);
        check_numbers(&d, &r);
        free_result(&r);
        free_draws(&d);
        same_bits(run_draws, &cases[i]);
    }
}

/* ---- more entries than a block has, and columns of three digits ---- */

static void run_turn(const flip_kernels *table, const void *of, outputs *out) {
    const int32_t n_cols = *(const int32_t *)of, n_rows = 300;
    const int64_t n = n_cols > 0 ? 5000 : 0;
    int64_t *row_ptr = get((size_t)n_rows + 1, sizeof *row_ptr);
    int32_t *col = get((size_t)n, sizeof *col), *turned = get((size_t)n, sizeof *turned);
    int64_t *ptr = get((size_t)n_cols + 2, sizeof *ptr), *place = get((size_t)n, sizeof *place);
    void *work = get(flip_draws_work(n), 1);
    for (int64_t v = 0; v <= n_rows; v++) /* every third row is empty */
        row_ptr[v] = v / 3 * n / (n_rows / 3) + (v % 3 == 2 ? n / n_rows : 0);
    for (int64_t e = 0; e < n; e++)
        col[e] = (int32_t)chance(6, 6, (uint64_t)e, (uint64_t)(e % 4 ? n_cols : 3));
    const flip_csr a = {.n_rows = n_rows,
                        .n_cols = n_cols,
                        .n_own = n_cols,
                        .n_steps = 1,
                        .n_entries = n,
                        .n_values = n,
                        .row_ptr = row_ptr,
                        .col = col};
    CALL(table, turn_entries, &a, ptr, turned, NULL, place, work);
    KEEP(out, "ptr", ptr, n_cols + 1);
    KEEP(out, "turned", turned, n);
    KEEP(out, "place", place, n);
    RELEASE(row_ptr, col, turned, ptr, place, work);
}

/* ---- logarithms ---- */

static void check_log(uint64_t x, double *most) {
    const uint64_t gap = ((uint64_t)1 << 53) - x, got = flip_luck_log(x);
    const long double want = -log1pl(-(long double)gap * 0x1p-53L) / logl(2) * 0x1p57L;
    *most = fmax(*most, fabs((double)((long double)got - want)));
    for (int w = 1; w < 9; w += 2) { /* nobody is late who comes before the last */
        const double time = flip_luck_time(x, (flip_real)w / 2);
        assert_true(!flip_luck_late(x, (flip_real)w / 2, nextafter(time, INFINITY)));
    }
}

/* Against libm's in 64 bits, in units of 2^-57. */
static void logarithms(void **state) {
    (void)state;
    double most = 0;
    for (int e = 0; e <= 53; e++)
        for (int i = 0; i < 3000; i++) {
            const uint64_t one = (uint64_t)1 << e,
                           near = i < 40 ? (uint64_t)i : chance(7, (uint64_t)e, (uint64_t)i, one);
            if (e < 53 && near < one) check_log(one + near, &most);
            if (near < one) check_log(one - near, &most);
        }
    for (uint64_t i = 0; i < 200;
         i++) /* of sqrt(2), where it goes over from one side to the other */
        check_log(0x16A09E667F3BCCu - 100 + i, &most);
    print_message("# off by %g at most\n", most);
    assert_true(most <= 16);
}

static void run_chances(const flip_kernels *table, const void *of, outputs *out) {
    const int64_t n = *(const int64_t *)of;
    int64_t *original = get((size_t)n, sizeof *original);
    float *chance = get((size_t)n, sizeof *chance);
    for (int64_t u = 0; u < n; u++)
        original[u] = u << 30 | 5;
    CALL(table, share_chances, n, original, 9, SHARED, chance);
    KEEP(out, "chance", chance, n);
    RELEASE(original, chance);
}

static void chances(void **state) {
    (void)state;
    static const int64_t n[] = {0, 1, 3000};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        same_bits(run_chances, &n[i]);
}

static void transposes(void **state) {
    (void)state;
    static const int32_t columns[] = {0, 3, 256, 257, 70000};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        same_bits(run_turn, &columns[i]);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws), cmocka_unit_test(chances),
                                       cmocka_unit_test(logarithms), cmocka_unit_test(transposes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
