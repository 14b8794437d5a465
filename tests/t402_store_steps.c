/* Rows that change from step to step in the store, against a plain oracle: which are cached, what a
 * fetch brings, what is counted. */
#include "store_world.h"

enum { STEPS = 7 };

/* Rows of all nodes in order, each from a step on; some change at every step, some never. */
typedef struct changing {
    world w;
    int64_t n;                   /* rows */
    int64_t first[NODES + 1];    /* of nodes */
    int32_t step[NODES * STEPS]; /* [n] */
    int64_t own_first[NODES + 1];
    int64_t at; /* this rank's first row */
    double heat[NODES * STEPS];
    bool in[NODES * STEPS];
    int64_t cached, cached_nodes, mine;
} changing;

static int64_t row_at(const changing *c, flip_gid v, int32_t step) {
    int64_t row = c->first[v];
    while (row + 1 < c->first[v + 1] && c->step[row + 1] <= step)
        row++;
    return row;
}

static void numbers_of(float *to, int64_t row) {
    for (int32_t j = 0; j < DIM; j++)
        to[j] = value(row, j);
}

/* In place of rows: of own nodes. */
static void write_row(const void *of, int64_t node, int32_t step, void *to) {
    const changing *c = of;
    numbers_of(to, row_at(c, c->w.rank_first[rank] + node, step));
}

static void make_changing(changing *c) {
    memset(c, 0, sizeof *c);
    make_world(&c->w, false);
    for (flip_gid v = 0; v < NODES; v++) {
        c->first[v] = c->n;
        for (int32_t t = 0; t < STEPS; t++) {
            bool changes = v % 5 == 0 || (v % 5 > 1 && draw(50 + (uint64_t)v, (uint64_t)t, 3) == 0);
            if (t > 0 && !changes) continue;
            c->step[c->n] = t;
            c->heat[c->n++] = (double)draw(49, (uint64_t)(v * STEPS + t), 40);
        }
    }
    c->first[NODES] = c->n;
    flip_gid own = c->w.rank_first[rank], end = c->w.rank_first[rank + 1];
    c->at = c->first[own];
    for (flip_gid v = own; v <= end; v++)
        c->own_first[v - own] = c->first[v] - c->at;
    free(c->w.rows);
    c->w.rows = malloc((size_t)(c->first[end] - c->at) * c->w.stride + 1);
    for (int64_t r = c->at; r < c->first[end]; r++)
        numbers_of((float *)c->w.rows + (r - c->at) * DIM, r);
}

static void open_changing(changing *c, uint64_t bytes, bool written) {
    flip_store_params p = params_of(&c->w, true, true, bytes);
    p.heat = c->heat + c->at;
    p.runs = (flip_runs){.first = c->own_first, .step = c->step + c->at};
    p.steps = STEPS;
    if (written) {
        p.rows = NULL;
        p.write = write_row;
        p.writes = c;
    }
    flip_store_destroy(&c->w.store);
    CHECK_OK(flip_store_create(&c->w.store, comm, &p));
}

/* The hottest rows that fit with their index, whichever nodes they are of. */
static void check_changing(changing *c, uint64_t bytes) {
    const uint64_t map = (NODES + 63) / 64 * 12 + 4, each = c->w.stride + 12;
    uint64_t fit = bytes > map ? (bytes - map) / each : 0;
    c->cached = fit < (uint64_t)c->n ? (int64_t)fit : c->n;
    c->cached_nodes = c->mine = 0;
    hottest(c->heat, c->n, c->cached, c->in);
    for (flip_gid v = 0; v < NODES; v++) {
        bool some = false, own = v >= c->w.rank_first[rank] && v < c->w.rank_first[rank + 1];
        for (int64_t r = c->first[v]; r < c->first[v + 1]; r++) {
            some |= c->in[r];
            c->mine += own && c->in[r];
        }
        c->cached_nodes += some;
        for (int32_t t = 0; t < STEPS; t++)
            CHECK(flip_store_is_cached(c->w.store, v, t) == c->in[row_at(c, v, t)],
                  "%llu bytes: node %lld at step %d", (unsigned long long)bytes, (long long)v, t);
    }
    uint64_t used = (uint64_t)c->cached * (c->w.stride + 8) + 4 * (uint64_t)c->cached_nodes + map;
    CHECK(flip_store_cached_rows(c->w.store) == c->cached, "%lld rows",
          (long long)flip_store_cached_rows(c->w.store));
    CHECK(flip_store_cache_bytes(c->w.store) == (c->cached ? used : 0) &&
              (!c->cached || used <= bytes),
          "%zu bytes", flip_store_cache_bytes(c->w.store));
}

/* Rows of nodes at steps: what comes is what each was then. */
static void fetch_changing(changing *c, int kind, uint64_t turn, flip_store_counts *sum) {
    flip_gid ids[MOST], kept[MOST], own = c->w.rank_first[rank], end = c->w.rank_first[rank + 1];
    int32_t before[MOST];
    int64_t n = pattern(&c->w, kind, turn, ids);
    float want[DIM], *out = malloc((size_t)n * c->w.stride + 1);
    for (int64_t i = 0; i < n; i++)
        before[i] = 1 + (int32_t)draw(turn + 2, (uint64_t)(i * 8 + rank), STEPS);
    memcpy(kept, ids, (size_t)n * sizeof *ids);
    CHECK_OK(flip_store_fetch_begin(c->w.store, n, ids, before, (uint8_t *)out));
    memset(ids, 0, sizeof ids); /* begin has read them */
    CHECK_OK(flip_store_fetch_end(c->w.store));
    for (int64_t i = 0; i < n; i++) {
        int64_t row = row_at(c, kept[i], before[i] - 1);
        numbers_of(want, row);
        CHECK(memcmp(out + i * DIM, want, sizeof want) == 0, "node %lld at step %d: %g, not %g",
              (long long)kept[i], before[i] - 1, (double)out[i * DIM], (double)want[0]);
        if (c->in[row])
            sum->hits++;
        else if (kept[i] >= own && kept[i] < end)
            sum->own++;
        else
            sum->remote++;
    }
    sum->rows += n;
    free(out);
}

static void check_bytes(const changing *c, const flip_meter *before, const flip_store_counts *sum) {
    const flip_meter *meter = flip_comm_meter(comm);
    flip_store_counts n = flip_store_counted(c->w.store);
    CHECK(memcmp(&n, sum, sizeof n) == 0, "counted %lld %lld %lld %lld", (long long)n.rows,
          (long long)n.hits, (long long)n.own, (long long)n.remote);
    uint64_t device =
        meter->bytes[FLIP_BYTES_FEATURES_TO_DEVICE] - before->bytes[FLIP_BYTES_FEATURES_TO_DEVICE];
    CHECK(device == (uint64_t)(c->cached + n.own + n.remote) * c->w.stride,
          "%llu bytes to the device", (unsigned long long)device);
    int64_t both[2] = {(int64_t)(meter->bytes[FLIP_BYTES_REMOTE_FEATURES] -
                                 before->bytes[FLIP_BYTES_REMOTE_FEATURES]),
                       n.remote};
    both[0] -= (size - 1) * c->mine * (int64_t)c->w.stride;
    CHECK_OK(flip_comm_sum_i64(comm, both, 2));
    CHECK(both[0] == both[1] * (int64_t)c->w.stride, "%lld bytes sent, %lld rows asked for",
          (long long)both[0], (long long)both[1]);
}

static void rows_that_change(void **state) {
    (void)state;
    static changing c;
    make_changing(&c);
    uint64_t map = (NODES + 63) / 64 * 12 + 4, each = c.w.stride + 12, all = (uint64_t)c.n * each;
    uint64_t budgets[] = {0,       1,       map,           map + each - 1, map + each,
                          all / 5, all / 2, map + all - 1, map + all,      UINT64_MAX};
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        flip_meter before = *flip_comm_meter(comm);
        flip_store_counts sum = {0};
        open_changing(&c, budgets[b], b % 2);
        check_changing(&c, budgets[b]);
        for (int turn = 0; turn < 7; turn++)
            fetch_changing(&c, turn, (uint64_t)turn * 11 + b, &sum);
        check_bytes(&c, &before, &sum);
    }
    flip_gid id = 0;
    int32_t late = STEPS + 1;
    float out[DIM];
    CHECK(flip_store_fetch_begin(c.w.store, 1, &id, &late, (uint8_t *)out) != FLIP_OK, "step 7");
    CHECK(strstr(flip_error_message(), "a row of step 7 was asked for, there are 7"), "%s",
          flip_error_message());
    flip_error_clear();
    end_world(&c.w);
}

int main(int argc, char **argv) {
    if (!begin_ranks(argc, argv)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_that_change)};
    return end_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
