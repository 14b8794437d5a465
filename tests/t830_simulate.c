/* What simulate counts for 1-4 ranks is what 1-4 ranks exchange. */
#include "ranks.h"

#include "train/simulate.h"

#include <flipbook/partition.h>

#include <stdlib.h>
#include <string.h>

static flip_comm *comm;
static int rank, size;

enum { NODES = 53, EVENTS = 400, STEPS = 11, PARTS = 9, IN = 3, HIDDEN = 5 };

static flip_gid dst[EVENTS], src[EVENTS], part_first[PARTS + 1], rank_first[9];
static int32_t step[EVENTS];
static int64_t original[NODES];
static flip_real ones[NODES * STEPS * 8];

static uint64_t draw(uint64_t what, uint64_t i, uint64_t below) {
    return flip_random_below(31, FLIP_STREAM_TEST, what, i, below);
}

static void make_graph(void) {
    for (uint64_t i = 0; i < EVENTS; i++) {
        const uint64_t pair = draw(0, i, EVENTS / 3);
        dst[i] = (flip_gid)draw(1, pair, NODES);
        src[i] = draw(2, pair, 6) ? (flip_gid)draw(3, pair, NODES) : dst[i];
        step[i] = (int32_t)draw(4, i, STEPS);
        if (draw(5, i, 3) == 0) step[i] = STEPS - 1; /* heavy at the end */
    }
    for (int k = 0; k <= PARTS; k++)
        part_first[k] = NODES * k * k / (PARTS * PARTS);
    for (int v = 0; v < NODES; v++)
        original[v] = flip_random_permute(31, FLIP_STREAM_TEST, NODES, v);
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        ones[i] = 1;
    flip_partition_ranks(PARTS, part_first, size, rank_first);
}

/* ---- a real epoch ---- */

static flip_layout *make_layout(const flip_simulation *s, int32_t stay) {
    flip_layout *layout;
    double work[STEPS] = {0}; /* as train deals steps out: events alive and a row each */
    for (int32_t t = 0; t < STEPS; t++) {
        work[t] = NODES;
        for (int i = 0; i < EVENTS; i++)
            work[t] += step[i] <= t && t - step[i] <= stay;
    }
    flip_layout_params p = {
        .n_time = s->n_time, .n_steps = STEPS, .n_blocks = 1, .slices = 3, .work = work};
    if (s->distribute == FLIP_SIMULATED_WAVEFRONT) p.exchange = FLIP_EXCHANGE_WAVEFRONT;
    if (s->distribute == FLIP_SIMULATED_WINDOW) p.exchange = FLIP_EXCHANGE_WINDOW;
    CHECK_OK(flip_layout_create(&layout, comm, rank_first, original + rank_first[rank], &p));
    return layout;
}

static void deal(flip_layout *layout, int32_t stay, flip_events *dealt) {
    flip_gid d[EVENTS], u[EVENTS];
    int32_t t[EVENTS];
    flip_events own = {.dst = d, .src = u, .step = t};
    for (int i = 0; i < EVENTS; i++) {
        if (dst[i] < rank_first[rank] || dst[i] >= rank_first[rank + 1]) continue;
        d[own.n] = dst[i];
        u[own.n] = src[i];
        t[own.n++] = step[i];
    }
    CHECK_OK(flip_layout_deal_events(layout, &own, stay, dealt));
}

static uint64_t sent(flip_bytes kind) {
    int64_t all = (int64_t)flip_comm_meter(comm)->bytes[kind];
    CHECK_OK(flip_comm_sum_i64(comm, &all, 1));
    return (uint64_t)all;
}

static void check_equal(const flip_simulation *s, const char *what, uint64_t got, uint64_t want) {
    CHECK(got == want, "%s on %d ranks: %s is %llu, counted %llu",
          flip_simulated_names[s->distribute], size, what, (unsigned long long)got,
          (unsigned long long)want);
}

static void check_transfers(const flip_simulation *s, flip_layout *layout,
                            const flip_events *events, const flip_adjacency_params *p) {
    const uint64_t want[] = {s->counts.full, s->counts.delta, s->counts.resident};
    for (int transfer = 0; transfer < 3; transfer++) {
        flip_snapshots *snapshots;
        const flip_adjacency *adjacency;
        const uint64_t before = sent(FLIP_BYTES_GRAPH_TO_DEVICE);
        CHECK_OK(flip_snapshots_create(&snapshots, layout, events, p, (flip_transfer)transfer));
        flip_snapshots_begin(snapshots);
        CHECK_OK(flip_snapshots_block(snapshots, 0, &adjacency));
        check_equal(s,
                    transfer == 0   ? "full"
                    : transfer == 1 ? "delta"
                                    : "resident",
                    sent(FLIP_BYTES_GRAPH_TO_DEVICE) - before, want[transfer]);
        int64_t values[2] = {adjacency->a.n_values, adjacency->a.n_values};
        if (flip_layout_steps(layout, 0) == 0) values[0] = values[1] = 0;
        CHECK_OK(flip_comm_sum_i64(comm, values, 1));
        CHECK_OK(flip_comm_max_i64(comm, values + 1, 1));
        check_equal(s, "entries", (uint64_t)values[0], (uint64_t)s->counts.values_all);
        check_equal(s, "most entries", (uint64_t)values[1], (uint64_t)s->counts.values_most);
        flip_snapshots_destroy(&snapshots);
    }
}

static void run_pass(flip_model *model, flip_tape *tape, flip_layout *layout,
                     const flip_adjacency *adjacency) {
    flip_block block = {.adjacency = adjacency,
                        .features = flip_model_done_with_features(model) ? NULL : ones,
                        .steps = flip_layout_steps(layout, 0),
                        .n_blocks = 1};
    flip_tape_reset(tape, true, 1);
    flip_tape_block(tape, layout, NULL, 0, true);
    flip_var y = flip_model_forward(model, tape, &block);
    CHECK_OK(flip_tape_status(tape));
    CHECK_OK(flip_tape_backward(tape, flip_inner(tape, y, ones)));
}

/* The second pass: the first one makes what is kept. */
static void check_epoch(const flip_simulation *s, const flip_model_params *m, flip_layout *layout,
                        const flip_adjacency *adjacency) {
    flip_params *params;
    flip_model *model;
    flip_tape *tape;
    CHECK_OK(flip_params_create(&params));
    CHECK_OK(flip_model_create(&model, params, m));
    CHECK_OK(flip_params_finish(params, 3));
    flip_tape_params settings = {
        .comm = comm, .params = params, .key = layout->original, .n_own = layout->n_rows};
    CHECK_OK(flip_tape_create(&tape, &settings));
    run_pass(model, tape, layout, adjacency);
    static const flip_bytes kinds[] = {FLIP_BYTES_HALO, FLIP_BYTES_REDISTRIBUTE, FLIP_BYTES_STATE,
                                       FLIP_BYTES_WINDOW};
    const uint64_t want[] = {s->halo, s->redistribute, s->state, s->window};
    uint64_t before[4], reduced = sent(FLIP_BYTES_ALLREDUCE);
    for (int i = 0; i < 4; i++)
        before[i] = sent(kinds[i]);
    run_pass(model, tape, layout, adjacency);
    for (int i = 0; i < 4; i++)
        check_equal(s, flip_bytes_name(kinds[i]), sent(kinds[i]) - before[i], want[i]);
    CHECK_OK(flip_params_reduce(params, comm));
    const uint64_t loss = 8 * 2 * (uint64_t)(size * (size - 1)); /* flip_inner's value and number */
    check_equal(s, "allreduce", sent(FLIP_BYTES_ALLREDUCE) - reduced - loss, s->allreduce);
    flip_tape_destroy(&tape);
    flip_model_destroy(&model);
    flip_params_destroy(&params);
}

static void check_distribution(const flip_volume *volume, const flip_model_params *m,
                               flip_simulated distribute, const flip_adjacency_params *p,
                               bool snapshots) {
    const flip_machine machine = {1e-10, 1e11, 1e10, 1e10, 1e-6};
    flip_simulation s;
    bool has;
    CHECK_OK(flip_simulate(&s, &has, volume, m, distribute, size, &machine));
    if (!has) return;
    const int32_t stay = p->edge_life + (p->window > 1 ? p->window : 1) - 2;
    flip_layout *layout = make_layout(&s, stay);
    flip_events dealt;
    flip_adjacency *adjacency;
    deal(layout, stay, &dealt);
    flip_adjacency_params mine = *p;
    mine.first_step = flip_layout_first(layout, 0);
    mine.n_steps = flip_layout_steps(layout, 0);
    if (mine.n_steps > 0) {
        CHECK_OK(flip_adjacency_create(&adjacency, layout->space, layout->part_first,
                                       layout->original, &dealt, &mine));
        if (snapshots) check_transfers(&s, layout, &dealt, p);
        check_epoch(&s, m, layout, adjacency);
        flip_adjacency_destroy(&adjacency);
    }
    CHECK(s.seconds > 0, "no seconds");
    flip_free((void *)dealt.dst);
    flip_free((void *)dealt.src);
    flip_free((void *)dealt.step);
    flip_free((void *)dealt.weight);
    flip_layout_destroy(&layout);
}

static const struct {
    flip_model_params m;
    bool snapshots; /* its matrix can travel as snapshots and differences */
} cases[] = {
    {{.kind = FLIP_MODEL_GCN, .precompute = true}, true},
    {{.kind = FLIP_MODEL_TMGCN, .precompute = true, .window = 3}, true},
    {{.kind = FLIP_MODEL_CDGCN, .precompute = true}, true},
    {{.kind = FLIP_MODEL_EVOLVEGCN_O, .precompute = true}, true},
    {{.kind = FLIP_MODEL_GCN, .precompute = true, .temporal = FLIP_TEMPORAL_GRU}, true},
    {{.kind = FLIP_MODEL_GCN, .residual = true, .norm = FLIP_NORM_BATCH}, true},
    {{.kind = FLIP_MODEL_TMGCN, .window = 4, .residual = true}, true},
    {{.kind = FLIP_MODEL_TMGCN, .window = 2, .residual = true, .precompute = true}, true},
    {{.kind = FLIP_MODEL_CDGCN, .structure_width = 2, .output = true}, true},
    {{.kind = FLIP_MODEL_EVOLVEGCN_O, .cell = FLIP_CELL_GRU}, true},
    {{.kind = FLIP_MODEL_EVOLVEGCN_H, .precompute = true, .norm = FLIP_NORM_LAYER}, true},
    {{.kind = FLIP_MODEL_EVOLVEGCN_H}, true},
    {{.kind = FLIP_MODEL_SAGE, .precompute = true, .temporal = FLIP_TEMPORAL_LSTM}, false},
    {{.kind = FLIP_MODEL_SAGE, .norm = FLIP_NORM_BATCH, .residual = true}, false},
    {{.kind = FLIP_MODEL_SAGE, .pool = true, .pool_width = 4}, false},
    {{.kind = FLIP_MODEL_GAT, .heads = HIDDEN, .heads_last = 3, .residual = true}, false},
    {{.kind = FLIP_MODEL_GAT, .heads = 1, .temporal = FLIP_TEMPORAL_LSTM}, false},
    {{.kind = FLIP_MODEL_GIN, .precompute = true, .temporal = FLIP_TEMPORAL_GRU, .output = true},
     false},
    {{.kind = FLIP_MODEL_GIN}, false},
};

/* Ranks that count together, each with its own nodes' events, find the same. */
static void check_shared(const flip_volume *whole, const flip_adjacency_params *p) {
    flip_gid d[EVENTS], u[EVENTS];
    int32_t t[EVENTS];
    flip_events own = {.dst = d, .src = u, .step = t};
    flip_volume *shared;
    for (int i = 0; i < EVENTS; i++) {
        if (dst[i] < rank_first[rank] || dst[i] >= rank_first[rank + 1]) continue;
        d[own.n] = dst[i];
        u[own.n] = src[i];
        t[own.n++] = step[i];
    }
    CHECK_OK(flip_volume_create_shared(&shared, comm, rank_first, &own, p));
    for (int32_t n_time = 1; n_time <= size; n_time++) {
        flip_volume_counts one, other;
        if (size % n_time) continue;
        CHECK_OK(flip_volume_count(whole, size, n_time, &one));
        CHECK_OK(flip_volume_count(shared, size, n_time, &other));
        other.full = one.full; /* not counted */
        other.delta = one.delta;
        other.differences = one.differences;
        CHECK(memcmp(&one, &other, sizeof one) == 0,
              "%d chunks, kind %d: halo %lld and %lld, values %lld and %lld", n_time, (int)p->kind,
              (long long)one.halo, (long long)other.halo, (long long)one.values_most,
              (long long)other.values_most);
    }
    flip_volume_destroy(&shared);
}

static void test_counts(void **state) {
    (void)state;
    const flip_events events = {.n = EVENTS, .dst = dst, .src = src, .step = step};
    make_graph();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flip_model_params m = cases[i].m;
        m.layers = 3;
        m.in_dim = IN;
        m.hidden = HIDDEN;
        m.out_dim = 4;
        const flip_adjacency_params p = {.kind = flip_model_adjacency(&m),
                                         .n_steps = STEPS,
                                         .edge_life = 1 + 2 * (int32_t)(i % 3),
                                         .window = m.window};
        flip_volume *volume;
        CHECK_OK(flip_volume_create(&volume, &events, PARTS, part_first, &p));
        for (int d = 0; d < FLIP_SIMULATED_COUNT; d++)
            check_distribution(volume, &m, (flip_simulated)d, &p, cases[i].snapshots);
        check_shared(volume, &p);
        flip_volume_destroy(&volume);
    }
}

/* Steps that only lend their events are not walked. */
static void test_first_step(void **state) {
    (void)state;
    const flip_events events = {.n = EVENTS, .dst = dst, .src = src, .step = step};
    const flip_adjacency_params p = {.kind = FLIP_ADJACENCY_GCN,
                                     .first_step = 4,
                                     .n_steps = STEPS - 4,
                                     .edge_life = 2,
                                     .window = 3};
    flip_volume *volume;
    flip_volume_counts c;
    CHECK_OK(flip_volume_create(&volume, &events, PARTS, part_first, &p));
    CHECK_OK(flip_volume_count(volume, size, size, &c));
    CHECK(flip_volume_steps(volume) == STEPS - 4 && flip_volume_nodes(volume) == NODES, "shape");
    CHECK(c.moved <= (int64_t)(STEPS - 4) * NODES * (size - 1), "%lld", (long long)c.moved);
    CHECK(c.handed == (int64_t)NODES * (size - 1), "%lld", (long long)c.handed);
    CHECK(c.band <= 2 * c.handed, "%lld", (long long)c.band);
    check_shared(volume, &p);
    flip_volume_destroy(&volume);
}

int main(int argc, char **argv) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (flip_comm_create(&comm, MPI_COMM_WORLD) != FLIP_OK) return 1;
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_first_step),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
