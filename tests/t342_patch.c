/* Snapshots patched by every kernel table, in its own memory: random streams of events walked
 * forward, back and into the middle, held against snapshots that are summed up afresh. */
#include "graph/device.h"
#include "runs_check.h"
#include "stream.h"

/* ---- what each step holds ---- */

static const stream *sorted_stream;

static int by_pair(const void *a, const void *b) {
    const stream *g = sorted_stream;
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    if (g->dst[i] != g->dst[j]) return g->dst[i] < g->dst[j] ? -1 : 1;
    if (g->src[i] != g->src[j]) return g->src[i] < g->src[j] ? -1 : 1;
    if (g->step[i] != g->step[j]) return g->step[i] < g->step[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Events t-life+1 … t, sorted and summed. */
static flip_entries snapshot_of(const stream *g, int32_t t) {
    int64_t *event = calloc((size_t)g->n_events + 1, sizeof *event), n = 0;
    for (int64_t i = 0; i < g->n_events; i++)
        if (g->step[i] <= t && g->step[i] > t - g->life) event[n++] = i;
    sorted_stream = g;
    qsort(event, (size_t)n, sizeof *event, by_pair);
    flip_entries s = {.key = calloc((size_t)n + 1, sizeof *s.key),
                      .value = calloc((size_t)n + 1, sizeof *s.value)};
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t key = (uint64_t)g->dst[event[i]] << 32 | (uint64_t)g->src[event[i]];
        if (s.n == 0 || s.key[s.n - 1] != key) {
            s.key[s.n++] = key;
            sum = 0;
        }
        sum += g->weight ? (double)(flip_real)g->weight[event[i]] : 1;
        s.value[s.n - 1] = (flip_real)sum;
    }
    free(event);
    return s;
}

/* ---- the device's snapshot ---- */

static void expect_ok(flip_status status) {
    if (status != FLIP_OK) fail_msg("%s", flip_error_message());
}

static void *received(const flip_kernels *k, const void *from, size_t bytes) {
    void *host = malloc(bytes + 1);
    k->receive(host, from, bytes);
    return host;
}

static void check_entries(const flip_device *d, const flip_entries *want, int32_t t) {
    const char *name = d->kernels->name;
    if (d->now != t || d->n != want->n)
        fail_msg("%s: step %d with %lld entries, want step %d with %lld", name, d->now,
                 (long long)d->n, t, (long long)want->n);
    const size_t n = (size_t)d->n;
    uint64_t *key = received(d->kernels, d->key[0], n * sizeof *key);
    flip_real *value = received(d->kernels, d->value[0], n * sizeof *value);
    for (size_t i = 0; i < n; i++)
        if (key[i] != want->key[i] || !flip_same_bits(value[i], want->value[i]))
            fail_msg("%s: step %d, entry %zu is [%d, %d] %.9g, want [%d, %d] %.9g", name, t, i,
                     flip_key_row(key[i]), flip_key_place(key[i]), (double)value[i],
                     flip_key_row(want->key[i]), flip_key_place(want->key[i]),
                     (double)want->value[i]);
    free(key);
    free(value);
}

/* Rows, columns and scales of the snapshot the device has. */
static void check_matrix(const flip_device *d, const flip_entries *want, int32_t n,
                         const int32_t *order) {
    const flip_kernels *k = d->kernels;
    int64_t *row_ptr = get((size_t)n + 1, sizeof *row_ptr);
    int32_t *col = get((size_t)want->n + 1, sizeof *col);
    flip_real *scale = get((size_t)n, sizeof *scale);
    const flip_entries e = {.n = d->n, .key = d->key[0], .value = d->value[0]};
    for (int mean = 0; mean < 2; mean++) {
        CALL(k, keys_to_csr, &e, mean ? order : NULL, n, row_ptr, col);
        CALL(k, degree_scales, n, row_ptr, d->value[0], mean, scale);
        int64_t i = 0;
        for (int32_t v = 0; v < n; v++) {
            assert_int_equal(row_ptr[v], i);
            double sum = 0;
            for (; i < want->n && flip_key_row(want->key[i]) == v; i++) {
                const int32_t place = flip_key_place(want->key[i]);
                assert_int_equal(col[i], mean ? order[place] : place);
                sum += (double)want->value[i];
            }
            const flip_real expected =
                (flip_real)(mean ? (fabs(sum) > 1e-9 ? 1 / sum : 0) : 1 / sqrt(1 + sum));
            if (1 + sum <= 1e-9 || (mean && fabs(sum) <= 1e-9)) continue; /* weights that cancel */
            near(k->name, &scale[v], &expected, 1,
                 4 * ROUNDING * (double)(fabs(expected) + fabs(expected * expected * 20)));
        }
        assert_int_equal(row_ptr[n], want->n);
    }
    RELEASE(row_ptr, col, scale);
}

static void check_live(const flip_kernels *k, const flip_timeline *x, const flip_entries *want) {
    const size_t pairs = (size_t)x->n_pairs, events = (size_t)x->n_events;
    uint64_t *key = get(pairs, sizeof *key), *to_key = get(pairs + 1, sizeof *to_key);
    int64_t *event_ptr = get(pairs + 1, sizeof *event_ptr);
    int32_t *step = get(events + 1, sizeof *step);
    flip_real *weight = get(events + 1, sizeof *weight), *value = get(pairs + 1, sizeof *value);
    void *work = get(flip_changes_work(0, x->n_pairs), 1);
    memcpy(key, x->key, pairs * sizeof *key);
    memcpy(event_ptr, x->event_ptr, (pairs + 1) * sizeof *event_ptr);
    memcpy(step, x->step, events * sizeof *step);
    if (x->weight) memcpy(weight, x->weight, events * sizeof *weight);
    const flip_pair_events p = {.n = x->n_pairs,
                                .key = key,
                                .event_ptr = event_ptr,
                                .step = step,
                                .weight = x->weight ? weight : NULL};
    for (int32_t t = 0; t < x->n_steps; t++) {
        const flip_entries to = {.n = want[t].n, .key = to_key, .value = value};
        CALL(k, live_entries, &to, &p, t, x->life, work);
        assert_memory_equal(to_key, want[t].key, (size_t)to.n * sizeof *to_key);
        assert_memory_equal(value, want[t].value, (size_t)to.n * sizeof *value);
    }
    RELEASE(key, to_key, event_ptr, step, weight, value, work);
}

/* ---- walks ---- */

enum { BLOCKS = 3, DENSE = 40 };

typedef struct world {
    stream g;
    flip_timeline timeline;
    flip_entries *want;           /* [steps] */
    int32_t *order;               /* [n] reversed, reached by every table */
    matrix kept[BLOCKS][MAKINGS]; /* the first table's, of blocks that every table makes */
} world;

/* value_bits 0: as the sizes say. */
static world make_world(const stream *g, int value_bits) {
    world w = {.g = *g, .want = calloc((size_t)g->steps, sizeof *w.want)};
    const flip_events events = {
        .n = g->n_events, .dst = g->dst, .src = g->src, .step = g->step, .weight = g->weight};
    const flip_gid range[2] = {0, g->n};
    const flip_adjacency_params params = {
        .kind = FLIP_ADJACENCY_WSUM, .n_steps = g->steps, .edge_life = g->life};
    expect_ok(flip_timeline_init(&w.timeline, NULL, range, NULL, &events, &params));
    if (value_bits > 0) {
        w.timeline.form.value_bits = value_bits;
        flip_timeline_count(&w.timeline);
    }
    for (int32_t t = 0; t < g->steps; t++)
        w.want[t] = snapshot_of(g, t);
    w.order = get((size_t)g->n, sizeof *w.order);
    for (int32_t v = 0; v < g->n; v++)
        w.order[v] = g->n - 1 - v;
    return w;
}

static void free_world(world *w) {
    for (int32_t t = 0; t < w->g.steps; t++) {
        free(w->want[t].key);
        free(w->want[t].value);
    }
    free(w->want);
    release(w->order);
    for (int i = 0; i < BLOCKS * MAKINGS; i++)
        free_matrix(&w->kept[i / MAKINGS][i % MAKINGS]);
    flip_timeline_finish(&w->timeline);
}

/* `at` has no rows of entries. */
static void same_arrays(const char *what, const flip_csr_arrays *x, const flip_csr_arrays *y,
                        int32_t n, const int64_t count[4]) {
    const size_t entries = (size_t)count[0], runs = (size_t)count[1],
                 values = x->value ? (size_t)count[3] : 0;
    if (memcmp(x->row_ptr, y->row_ptr, ((size_t)n + 1) * sizeof *x->row_ptr) != 0 ||
        memcmp(x->col, y->col, entries * sizeof *x->col) != 0 ||
        memcmp(x->row, y->row, entries * sizeof *x->row) != 0)
        fail_msg("%s: other entries", what);
    if (memcmp(x->run_ptr, y->run_ptr, (entries + 1) * sizeof *x->run_ptr) != 0 ||
        memcmp(x->run_first, y->run_first, runs * sizeof *x->run_first) != 0 ||
        memcmp(x->value_ptr, y->value_ptr, (runs + 1) * sizeof *x->value_ptr) != 0)
        fail_msg("%s: other runs", what);
    for (size_t i = 0; i < values; i++)
        if (!same_value(x->value[i], y->value[i]))
            fail_msg("%s: value %zu is %.9g, not %.9g", what, i, (double)x->value[i],
                     (double)y->value[i]);
}

/* The first table's matrix is what the snapshots say, and all the others' are its. */
static void check_matrices(world *w, const flip_kernels *k, const flip_block_entries *b,
                           int32_t low, int block, int how) {
    matrix m = make_matrix(k, b, low, makings[how]), *kept = &w->kept[block][how];
    if (kept->a.row_ptr) {
        if (memcmp(m.count, kept->count, sizeof m.count) != 0)
            fail_msg("%s: other numbers of entries, runs or values", k->name);
        same_arrays(k->name, &m.a, &kept->a, b->n_rows, m.count);
        same_arrays(k->name, &m.at, &kept->at, b->n_rows, m.count);
        if (memcmp(m.turned, kept->turned, (size_t)m.count[0] * sizeof *m.turned) != 0)
            fail_msg("%s: other places in the transpose", k->name);
        free_matrix(&m);
        return;
    }
    *kept = m;
    if (b->n_rows > DENSE) return;
    if (b->levels)
        check_levels(&m, b, w->want + low);
    else
        check_dense(&m, b, w->want + low);
    if (!b->levels) check_scaled(&m, b->n_rows);
    check_turned(&m, b->n_rows, w->order);
}

static bool loops(const making *how) {
    return how->levels || how->how == FLIP_RUNS_SYMMETRIC || how->how == FLIP_RUNS_INOUT;
}

/* The block that the device holds; its snapshot is of any step. */
static void check_block(world *w, const flip_device *d, int block) {
    flip_changes *changes = calloc((size_t)d->n_steps, sizeof *changes);
    for (int32_t t = d->low + 1; t <= d->high; t++)
        changes[t - d->low - 1] = (flip_changes){.n = d->record[t].n,
                                                 .key = d->record[t].key,
                                                 .was = d->record[t].before,
                                                 .is = d->record[t].after};
    flip_block_entries b = {.n_rows = w->g.n,
                            .n_steps = d->high - d->low + 1,
                            .place_bits = d->form.place_bits,
                            .order = w->order,
                            .now = {.n = d->n, .key = d->key[0], .value = d->value[0]},
                            .changes = changes};
    for (int how = 0; how < MAKINGS; how++) {
        if (b.n_rows > DENSE && (how + block) % 2) continue; /* as many, but in half the time */
        b.levels = makings[how].levels;
        if (b.levels && w->g.weight) continue;
        b.own_place = loops(&makings[how]) ? w->order : NULL;
        b.stay = makings[how].window - 1;
        b.before = b.stay < b.n_steps - 1 ? b.stay : b.n_steps - 1;
        check_matrices(w, d->kernels, &b, d->low, block, how);
    }
    free(changes);
}

/* Step t arrives beside what is held, as a snapshot or a difference. */
static void send(world *w, flip_device *d, flip_packet *p, int32_t t, bool whole) {
    const bool backward = d->low >= 0 && t < d->low;
    if (whole)
        expect_ok(flip_timeline_snapshot(&w->timeline, t, p));
    else
        expect_ok(flip_timeline_difference(&w->timeline, backward ? t + 1 : t, backward, p));
    expect_ok(flip_device_send(d, t, p, whole));
    expect_ok(flip_device_take(d, t));
    check_entries(d, &w->want[t], t);
    check_matrix(d, &w->want[t], w->g.n, w->order);
}

static void move(const world *w, flip_device *d, int32_t t) {
    expect_ok(flip_device_move(d, t));
    check_entries(d, &w->want[t], t);
}

static void walk(world *w, const flip_kernels *k, bool ahead) {
    const int32_t last = w->g.steps - 1, middle = w->g.steps / 2;
    flip_packet p = {.kernels = k};
    flip_device d;
    expect_ok(flip_device_init(&d, k, w->g.steps, w->timeline.form));
    if (ahead) {
        d.most_entries = w->g.n_events;
        d.most_changes = w->g.n_events / w->g.steps * 4;
    }
    for (int32_t t = 0; t <= last; t++) /* forward by differences, each walked back and again */
        send(w, &d, &p, t, t == 0);
    check_block(w, &d, 0);
    for (int32_t t = last; t >= 0; t--)
        move(w, &d, t);
    move(w, &d, last);
    flip_device_keep(&d, middle, last);
    for (int32_t t = middle - 1; t >= 0; t--) /* what was dropped, towards earlier steps */
        send(w, &d, &p, t, false);
    move(w, &d, middle);
    flip_device_forget(&d);
    send(w, &d, &p, middle, true); /* both ways from the middle, snapshots among differences */
    for (int32_t t = 1; middle - t >= 0 || middle + t <= last; t++) {
        if (middle + t <= last) send(w, &d, &p, middle + t, t % 2 == 0);
        if (middle - t >= 0) send(w, &d, &p, middle - t, t % 2);
    }
    for (int32_t t = 0; t <= last; t++)
        move(w, &d, t);
    move(w, &d, middle);
    check_block(w, &d, 1);
    flip_device_keep(&d, middle, middle);
    check_block(w, &d, 2); /* of one step */
    flip_device_finish(&d);
    flip_packet_finish(&p);
}

static void check_stream(uint64_t seed, int32_t n, int32_t steps, int32_t life, int64_t events,
                         int weights, int value_bits) {
    stream g = make_stream(seed, n, steps, 3 * n, events, weights);
    g.life = life;
    world w = make_world(&g, value_bits);
    for (int t = 0; t < n_tables; t++) {
        check_live(list[t], &w.timeline, w.want);
        walk(&w, list[t], false);
        if (list[t]->on_device) walk(&w, list[t], true);
    }
    free_world(&w);
    free_stream(&g);
}

static void small_streams(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        for (int weights = ONES; weights <= CANCELLING; weights++)
            check_stream(seed, 3 + (int32_t)seed * 5, 9, 1 + (int32_t)seed % 4,
                         (int64_t)seed * 40 - 40, weights, seed % 3 ? 0 : 2);
}

/* Beyond a block's and a tile's entries and changes. */
static void large_streams(void **state) {
    (void)state;
    check_stream(11, 1500, 5, 2, 22000, FRACTIONS, 20);
    check_stream(12, 2500, 4, 1, 30000, CANCELLING, 0);
}

/* ---- changes that do not fit ---- */

enum { ROWS = 5 };

typedef struct wrong {
    const char *what;
    int64_t removed, added, changed;
    uint64_t keys[3];
} wrong;

/* The snapshot holds [1, 1] and [3, 2]. */
static const wrong wrongs[] = {
    {"removed, not there", 1, 0, 0, {(uint64_t)2 << 32 | 4}},
    {"added, there", 0, 1, 0, {(uint64_t)1 << 32 | 1}},
    {"changed, not there", 0, 0, 1, {(uint64_t)4 << 32 | 4}},
    {"removed and added", 1, 1, 0, {(uint64_t)3 << 32 | 2, (uint64_t)3 << 32 | 2}},
    {"added and changed", 0, 1, 1, {(uint64_t)0 << 32 | 2, (uint64_t)0 << 32 | 2}},
};

static void check_wrong(const flip_kernels *k, const wrong *w) {
    const flip_word_form form = flip_word_form_of(ROWS, ROWS);
    flip_device d;
    flip_packet p = {.kernels = k, .room = 8};
    char told[64];
    expect_ok(flip_device_init(&d, k, 2, form));
    expect_ok(k->take_pinned(&p.word, 8 * sizeof *p.word, "test"));
    expect_ok(k->take_pinned(&p.value, 8 * sizeof *p.value, "test"));
    p.word[0] = (uint64_t)1 << 32 | 1;
    p.word[1] = (uint64_t)3 << 32 | 2;
    p.value[0] = p.value[1] = 1;
    p.n_added = 2;
    expect_ok(flip_device_send(&d, 0, &p, true));
    expect_ok(flip_device_take(&d, 0));
    p.n_removed = w->removed;
    p.n_added = w->added;
    p.n_changed = w->changed;
    for (int64_t i = 0; i < w->removed + w->added + w->changed; i++)
        flip_word_pack(&form, w->keys[i], 7, &p.word[i]);
    p.value[0] = 9;
    expect_ok(flip_device_send(&d, 1, &p, false));
    const flip_status status = flip_device_take(&d, 1);
    snprintf(told, sizeof told, "row %d, column %d", flip_key_row(w->keys[0]),
             flip_key_place(w->keys[0]));
    if (status != FLIP_ERROR_INTERNAL || !strstr(flip_error_message(), told))
        fail_msg("%s, %s: status %d, '%s'", k->name, w->what, (int)status, flip_error_message());
    flip_error_clear();
    flip_device_finish(&d);
    flip_packet_finish(&p);
}

static void wrong_changes(void **state) {
    (void)state;
    for (int t = 0; t < n_tables; t++)
        for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++)
            check_wrong(list[t], &wrongs[i]);
}

/* ---- how many changes there are between two snapshots, told or not ---- */

/* Step 0 holds [1, 1] and [3, 2]; step 1 [1, 1] with another value and [4, 4]. */
static void set_snapshot(flip_packet *p, int step, int64_t n_between) {
    p->word[0] = (uint64_t)1 << 32 | 1;
    p->word[1] = step ? (uint64_t)4 << 32 | 4 : (uint64_t)3 << 32 | 2;
    p->value[0] = p->value[1] = (flip_real)(step + 1);
    p->n_added = 2;
    p->n_between = n_between;
}

/* Step 1, or, quiet, step 0 again, arrives as a snapshot beside step 0. */
static void check_between(const flip_kernels *k, bool quiet, int64_t told) {
    const int64_t changes = quiet ? 0 : 3;
    flip_device d;
    flip_packet p = {.kernels = k, .room = 2};
    expect_ok(flip_device_init(&d, k, 2, flip_word_form_of(ROWS, ROWS)));
    expect_ok(k->take_pinned(&p.word, 2 * sizeof *p.word, "test"));
    expect_ok(k->take_pinned(&p.value, 2 * sizeof *p.value, "test"));
    set_snapshot(&p, 0, -1);
    expect_ok(flip_device_send(&d, 0, &p, true));
    expect_ok(flip_device_take(&d, 0));
    set_snapshot(&p, !quiet, told);
    expect_ok(flip_device_send(&d, 1, &p, true));
    const flip_status status = flip_device_take(&d, 1);
    if (told >= 0 && told != changes) {
        if (status != FLIP_ERROR_INTERNAL || !strstr(flip_error_message(), "changes lead to"))
            fail_msg("%s: %lld changes, not %lld: status %d, '%s'", k->name, (long long)changes,
                     (long long)told, (int)status, flip_error_message());
        flip_error_clear();
    } else {
        expect_ok(status);
        assert_int_equal(d.record[1].n, changes);
        if (told == 0) assert_int_equal(d.record[1].room, 0);
        expect_ok(flip_device_move(&d, 0));
        expect_ok(flip_device_move(&d, 1));
    }
    flip_device_finish(&d);
    flip_packet_finish(&p);
}

/* No more are written than there is room for; all are counted. */
static void check_room(const flip_kernels *k, int64_t room) {
    enum { ENTRIES = 600 };
    uint64_t *key = get(ENTRIES, sizeof *key), *to = get(ENTRIES, sizeof *to);
    flip_real *value = get(ENTRIES, sizeof *value), *was = get(ENTRIES, sizeof *was),
              *is = get(ENTRIES, sizeof *is);
    int64_t *count = get(1, sizeof *count);
    void *work = get(flip_changes_work(0, ENTRIES), 1);
    for (int64_t i = 0; i < ENTRIES; i++) {
        key[i] = (uint64_t)(i * 3 / 2) << 32;
        value[i] = 1;
        to[i] = UINT64_MAX;
        was[i] = is[i] = -7;
    }
    const flip_entries old = {.n = ENTRIES / 2, .key = key, .value = value},
                       new = {.n = ENTRIES / 2, .key = key + ENTRIES / 2, .value = value};
    const flip_changes c = {.n = room, .key = to, .was = was, .is = is};
    CALL(k, find_changes, &c, count, &old, &new, work);
    assert_int_equal(*count, ENTRIES);
    for (int64_t i = 0; i < ENTRIES; i++)
        if ((to[i] == key[i] && was[i] != -7 && is[i] != -7) != (i < room) ||
            (i >= room && (to[i] != UINT64_MAX || was[i] != -7 || is[i] != -7)))
            fail_msg("%s: room for %lld, change %lld", k->name, (long long)room, (long long)i);
    RELEASE(key, to, value, was, is, count, work);
}

static void told_changes(void **state) {
    (void)state;
    for (int t = 0; t < n_tables; t++) {
        for (int64_t told = -1; told <= 4; told++) {
            check_between(list[t], false, told);
            if (told <= 1) check_between(list[t], true, told);
        }
        check_room(list[t], 600);
        check_room(list[t], 450);
        check_room(list[t], 200);
        check_room(list[t], 0);
    }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_streams),
        cmocka_unit_test(large_streams),
        cmocka_unit_test(wrong_changes),
        cmocka_unit_test(told_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
