/* Models of graphs that change, on 1-4 ranks: every distribution that a model has, every cut of the
 * timeline into blocks, with dropout — the same losses and gradients as one rank with one block. */
#include <flipbook/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    NODES = 31,
    EVENTS = 170,
    STEPS = 7,
    IN = 6,
    CLASSES = 3,
    PAIRS = 53,
    UPDATES = 2,
    LIFE = 2,
    WORLD_SEED = 15,
    PAIR_CLASSES = 2
};

#include "device.h"
#include "sends.h"
#include "world.h"

/* Step 4 has no events of life 1; 3 those of 2. */
static void empty_a_step(void) {
    for (int i = 0; i < EVENTS; i++)
        if (step_of[i] == 3) step_of[i] = 2;
}

/* ---- a model on the whole timeline or on this rank's share of it ---- */

typedef struct variant {
    const char *name;
    flip_model_params p;
    bool pairs; /* links scored at steps; else classes of nodes */
} variant;

typedef struct way {
    int32_t n_time, n_blocks;
    flip_temporal_exchange exchange;
} way;

typedef struct block {
    flip_adjacency *adjacency;
    flip_pairs *pairs;
    int32_t pair_label[PAIRS], *label; /* [rows * steps] */
    flip_real *features;               /* [rows, steps, IN] */
    int32_t steps;
} block;

typedef struct run {
    const variant *c;
    bool whole;
    flip_layout *layout; /* NULL: the whole */
    flip_carry *carry;
    int32_t n_blocks, rows;
    flip_gid from; /* first node of the part */
    block blocks[STEPS];
    double total; /* what the loss is divided by */
    flip_params *params;
    flip_model *model;
    flip_head *head;
    flip_tape *tape;
} run;

static flip_status make_adjacency(run *r, block *b, int32_t first_step) {
    static flip_gid d[EVENTS], s[EVENTS], all[2] = {0, NODES};
    static int32_t t[EVENTS];
    flip_events events = {.dst = d, .src = s, .step = t};
    flip_adjacency_params params = {.kind = flip_model_adjacency(&r->c->p),
                                    .n_steps = b->steps > 0 ? b->steps : 1,
                                    .first_step = first_step,
                                    .edge_life = LIFE,
                                    .window = r->c->p.window};
    for (int i = 0; i < EVENTS; i++) {
        if (dst[i] < r->from || dst[i] >= r->from + r->rows) continue;
        d[events.n] = dst[i];
        s[events.n] = src[i];
        t[events.n++] = step_of[i];
    }
    return flip_adjacency_create(&b->adjacency, r->whole ? NULL : r->layout->space,
                                 r->whole ? all : r->layout->part_first, original + r->from,
                                 &events, &params);
}

static flip_status make_pairs(run *r, block *b, int32_t first_step) {
    static flip_gid u[PAIRS], v[PAIRS], all[2] = {0, NODES};
    static int32_t at[PAIRS];
    int32_t n = 0;
    for (int i = 0; i < PAIRS; i++) {
        int32_t t = pair_step[i] - first_step;
        if (pair_v[i] < r->from || pair_v[i] >= r->from + r->rows || t < 0 || t >= b->steps)
            continue;
        u[n] = pair_u[i];
        v[n] = pair_v[i];
        at[n] = t;
        b->pair_label[n++] = pair_label[i];
    }
    return flip_pairs_create(&b->pairs, r->whole ? NULL : r->layout->space,
                             r->whole ? all : r->layout->part_first, b->steps, n, u, v, at);
}

static void make_block(run *r, int32_t k) {
    block *b = &r->blocks[k];
    int32_t from = r->whole ? 0 : flip_layout_first(r->layout, k);
    b->steps = r->whole ? STEPS : flip_layout_steps(r->layout, k);
    size_t cells = (size_t)r->rows * (size_t)b->steps;
    CHECK_OK(flip_alloc(&b->features, cells * IN, sizeof(flip_real), "features"));
    CHECK_OK(flip_alloc(&b->label, cells, sizeof(int32_t), "labels"));
    for (int32_t v = 0; v < r->rows; v++)
        for (int32_t t = 0; t < b->steps; t++) {
            int64_t here = (int64_t)v * b->steps + t, there = (r->from + v) * STEPS + from + t;
            b->label[here] = label[there];
            memcpy(b->features + here * IN, features + there * IN, IN * sizeof(flip_real));
        }
    CHECK_OK(make_adjacency(r, b, from));
    CHECK_OK(make_pairs(r, b, from));
}

static void open_model(run *r) {
    flip_model_params p = r->c->p;
    flip_head_params h = {.kind = FLIP_HEAD_MLP, .in_dim = CLASSES, .hidden = 5, .out_dim = 1};
    p.in_dim = IN;
    p.out_dim = CLASSES;
    p.precompute = true;
    CHECK_OK(flip_params_create(&r->params));
    CHECK_OK(flip_model_create(&r->model, r->params, &p));
    CHECK_OK(flip_head_create(&r->head, r->params, &h));
    CHECK_OK(flip_params_finish(r->params, 4));
    flip_tape_params settings = {.comm = r->whole ? NULL : comm,
                                 .params = r->params,
                                 .key = original + r->from,
                                 .n_own = r->rows,
                                 .seed = 6,
                                 .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&r->tape, &settings));
    CHECK(test_placed(r->params), "the parameters are not on the device");
}

/* how NULL: the whole timeline on this process. */
static void open_run(run *r, const variant *c, const way *how) {
    *r = (run){.c = c, .whole = !how, .n_blocks = how ? how->n_blocks : 1, .rows = NODES};
    if (how) {
        flip_layout_params params = {.n_time = how->n_time,
                                     .n_steps = STEPS,
                                     .n_blocks = how->n_blocks,
                                     .slices = 3,
                                     .exchange = how->exchange};
        CHECK_OK(flip_layout_create(&r->layout, comm, first, original + first[rank], &params));
        CHECK_OK(flip_carry_create(&r->carry, test_kernels(), how->n_blocks));
        r->rows = r->layout->n_rows;
        r->from = r->layout->part_first[r->layout->part];
    }
    for (int32_t k = 0; k < r->n_blocks; k++)
        make_block(r, k);
    for (int i = 0; i < (c->pairs ? PAIRS : NODES * STEPS); i++)
        r->total += c->pairs || label[i] >= 0;
    open_model(r);
}

static void close_run(run *r) {
    for (int32_t k = 0; k < r->n_blocks; k++) {
        flip_pairs_destroy(&r->blocks[k].pairs);
        flip_adjacency_destroy(&r->blocks[k].adjacency);
        flip_free(r->blocks[k].features);
        flip_free(r->blocks[k].label);
    }
    flip_head_destroy(&r->head);
    flip_model_destroy(&r->model);
    flip_tape_destroy(&r->tape);
    flip_params_destroy(&r->params);
    flip_carry_destroy(&r->carry);
    flip_layout_destroy(&r->layout);
}

/* ---- one pass: forward over the blocks, back over them ---- */

static flip_var forward(run *r, int32_t k, bool recorded, int64_t epoch) {
    const block *b = &r->blocks[k];
    flip_tape_reset(r->tape, true, epoch);
    flip_tape_block(r->tape, r->layout, r->carry, k, recorded);
    flip_block of = {.adjacency = b->adjacency,
                     .features = flip_model_done_with_features(r->model) ? NULL : b->features,
                     .steps = b->steps,
                     .index = k,
                     .n_blocks = r->n_blocks,
                     .states_only = !recorded};
    flip_var y = flip_model_forward(r->model, r->tape, &of);
    CHECK_OK(flip_tape_status(r->tape));
    return y;
}

static double block_loss(run *r, int32_t k, int64_t epoch) {
    const block *b = &r->blocks[k];
    flip_labels labels = {.label = b->label, .total = r->total};
    flip_var y = forward(r, k, true, epoch), loss;
    if (r->c->pairs) {
        labels.label = b->pair_label;
        y = flip_head_forward(r->head, r->tape, y, b->pairs);
        loss = flip_binary_cross_entropy(r->tape, y, &labels);
    } else {
        loss = flip_cross_entropy(r->tape, y, &labels);
    }
    CHECK_OK(flip_tape_status(r->tape));
    CHECK_OK(flip_tape_backward(r->tape, loss));
    return flip_tape_scalar(r->tape, loss);
}

static double pass(run *r, int64_t epoch) {
    double sum = 0;
    flip_params_clear_gradients(r->params);
    if (r->carry) flip_carry_clear(r->carry);
    for (int32_t k = 0; k < r->n_blocks - 1; k++)
        forward(r, k, false, epoch);
    for (int32_t k = r->n_blocks - 1; k >= 0; k--)
        sum += block_loss(r, k, epoch);
    CHECK_OK(flip_params_reduce(r->params, r->whole ? NULL : comm));
    return sum;
}

/* p -= g: large enough a step for the second pass to see other weights. */
static void step_down(run *r) {
    for (int64_t i = 0; i < flip_params_trainable(r->params); i++)
        flip_params_values(r->params)[i] -= (flip_real)flip_params_gradients(r->params)[i];
}

/* ---- the models ---- */

#define LINKS true
#define CLASSES_OF_NODES false
static const variant variants[] = {
    {"evolvegcn-o",
     {.kind = FLIP_MODEL_EVOLVEGCN_O, .layers = 2, .hidden = 5, .dropout = .3},
     LINKS},
    {"evolvegcn-o by gru",
     {.kind = FLIP_MODEL_EVOLVEGCN_O, .layers = 2, .hidden = 8, .cell = FLIP_CELL_GRU},
     CLASSES_OF_NODES},
    {"evolvegcn-h",
     {.kind = FLIP_MODEL_EVOLVEGCN_H,
      .layers = 3,
      .hidden = 7,
      .dropout = .2,
      .input_dropout = .2,
      .norm = FLIP_NORM_LAYER},
     LINKS},
    {"cdgcn",
     {.kind = FLIP_MODEL_CDGCN,
      .layers = 2,
      .hidden = 5,
      .structure_width = 4,
      .output = true,
      .dropout = .3,
      .input_dropout = .2},
     CLASSES_OF_NODES},
    {"tmgcn",
     {.kind = FLIP_MODEL_TMGCN, .layers = 2, .hidden = 5, .window = 3, .dropout = .3},
     LINKS},
    {"gcn", {.kind = FLIP_MODEL_GCN, .layers = 2, .hidden = 5, .dropout = .3}, CLASSES_OF_NODES},
    {"gcn and lstm",
     {.kind = FLIP_MODEL_GCN,
      .layers = 2,
      .hidden = 5,
      .temporal = FLIP_TEMPORAL_LSTM,
      .residual = true},
     LINKS},
    {"sage and gru",
     {.kind = FLIP_MODEL_SAGE,
      .layers = 2,
      .hidden = 5,
      .temporal = FLIP_TEMPORAL_GRU,
      .norm = FLIP_NORM_LAYER,
      .dropout = .2,
      .output = true},
     CLASSES_OF_NODES},
    {"gat and lstm",
     {.kind = FLIP_MODEL_GAT,
      .layers = 2,
      .hidden = 3,
      .heads = 3,
      .temporal = FLIP_TEMPORAL_LSTM,
      .dropout = .2},
     LINKS},
    {"gin and gru",
     {.kind = FLIP_MODEL_GIN, .layers = 2, .hidden = 5, .temporal = FLIP_TEMPORAL_GRU},
     LINKS},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* ---- the tests ---- */

typedef struct expected {
    double loss[UPDATES];
    double *gradient[UPDATES]; /* [n] */
    int64_t n;
} expected;

static void compare(const variant *c, const way *how, const expected *want) {
    static const char *const names[] = {"redistribute", "wavefront", "window"};
    const double tolerance = wide ? 1e-11 : 2e-5;
    run r;
    open_run(&r, c, how);
    for (int e = 0; e < UPDATES; e++) {
        double loss = pass(&r, e), most = 0;
        CHECK(fabs(loss - want->loss[e]) <= tolerance * fabs(want->loss[e]),
              "%s, %d chunks by %s, %d blocks: pass %d has loss %.15g, one rank %.15g", c->name,
              how->n_time, names[how->exchange], how->n_blocks, e, loss, want->loss[e]);
        for (int64_t i = 0; i < want->n; i++)
            most = fmax(most, fabs(want->gradient[e][i]));
        for (int64_t i = 0; i < want->n; i++) {
            double got = flip_params_gradients(r.params)[i], is = want->gradient[e][i];
            CHECK(fabs(got - is) <= 10 * tolerance * most,
                  "%s, %d chunks by %s, %d blocks: pass %d, gradient %lld is %.12g, one rank %.12g",
                  c->name, how->n_time, names[how->exchange], how->n_blocks, e, (long long)i, got,
                  is);
        }
        step_down(&r);
    }
    close_run(&r);
}

static void expect_whole(const variant *c, expected *want) {
    run r;
    open_run(&r, c, NULL);
    want->n = flip_params_trainable(r.params);
    for (int e = 0; e < UPDATES; e++) {
        CHECK_OK(flip_alloc(&want->gradient[e], (size_t)want->n, sizeof(double), "gradients"));
        want->loss[e] = pass(&r, e);
        memcpy(want->gradient[e], flip_params_gradients(r.params),
               (size_t)want->n * sizeof(double));
        step_down(&r);
    }
    close_run(&r);
}

static bool has(const variant *c, const way *how) {
    flip_model_params p = c->p;
    p.in_dim = IN;
    p.out_dim = CLASSES;
    bool fits = flip_model_distribution_fits(&p, how->n_time, how->exchange) == FLIP_OK;
    flip_error_clear();
    return fits;
}

/* On a device, blocks of two numbers. */
static void every_way(void **state) {
    (void)state;
    static const int32_t blocks[] = {1, 2, 5, STEPS};
    const int n_blocks = test_kernels() ? 2 : 4;
    for (int i = 0; i < VARIANTS; i++) {
        const variant *c = &variants[i];
        expected want;
        expect_whole(c, &want);
        for (int32_t n_time = 1; n_time <= size; n_time++)
            for (int x = FLIP_EXCHANGE_REDISTRIBUTE; x <= FLIP_EXCHANGE_WINDOW; x++)
                for (int b = 0; b < n_blocks; b++) {
                    way how = {n_time, blocks[b], (flip_temporal_exchange)x};
                    if (size % n_time != 0 || (n_time == 1 && x > 0) || !has(c, &how)) continue;
                    compare(c, &how, &want);
                }
        for (int e = 0; e < UPDATES; e++)
            flip_free(want.gradient[e]);
    }
}

/* What a model has: one line a refusal, and everything has the first two. */
static void distributions(void **state) {
    (void)state;
    static const struct {
        flip_model_kind kind;
        flip_temporal temporal;
        bool wavefront, window;
    } rows[] = {
        {FLIP_MODEL_GCN, FLIP_TEMPORAL_NONE, false, false},
        {FLIP_MODEL_GCN, FLIP_TEMPORAL_GRU, true, false},
        {FLIP_MODEL_TMGCN, FLIP_TEMPORAL_NONE, false, true},
        {FLIP_MODEL_EVOLVEGCN_O, FLIP_TEMPORAL_NONE, false, false},
        {FLIP_MODEL_EVOLVEGCN_H, FLIP_TEMPORAL_NONE, false, false},
        {FLIP_MODEL_CDGCN, FLIP_TEMPORAL_NONE, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        variant c = {"", {.kind = rows[i].kind, .layers = 2, .hidden = 4}, false};
        c.p.temporal = rows[i].temporal;
        bool got[] = {has(&c, &(way){1, 1, FLIP_EXCHANGE_REDISTRIBUTE}),
                      has(&c, &(way){3, 1, FLIP_EXCHANGE_REDISTRIBUTE}),
                      has(&c, &(way){3, 1, FLIP_EXCHANGE_WAVEFRONT}),
                      has(&c, &(way){3, 1, FLIP_EXCHANGE_WINDOW})};
        CHECK(got[0] && got[1] && got[2] == rows[i].wavefront && got[3] == rows[i].window,
              "row %zu: %d %d %d %d", i, got[0], got[1], got[2], got[3]);
    }
}

/* EvolveGCN-O sends nothing of the nodes' size where time is cut; -H sends what the summaries need,
 * counted as state. */
static void evolve_bytes(void **state) {
    (void)state;
    if (size == 1) return;
    flip_meter *meter = flip_comm_meter(comm);
    for (int i = 0; i < 3; i += 2) {
        run r;
        way how = {size, 2, FLIP_EXCHANGE_REDISTRIBUTE};
        open_run(&r, &variants[i], &how);
        uint64_t before[FLIP_BYTES_COUNT];
        memcpy(before, meter->bytes, sizeof before);
        pass(&r, 0);
        uint64_t moved = meter->bytes[FLIP_BYTES_REDISTRIBUTE] - before[FLIP_BYTES_REDISTRIBUTE],
                 halo = meter->bytes[FLIP_BYTES_HALO] - before[FLIP_BYTES_HALO],
                 sent = meter->bytes[FLIP_BYTES_STATE] - before[FLIP_BYTES_STATE], want = 0;
        const int32_t wide_in[] = {IN, 7, 7}, k[] = {7, 7, CLASSES};
        for (int32_t b = 0; i == 2 && b < 2; b++)
            for (int l = 0; l < 3; l++) { /* block 0 is walked forward twice; one sum in backward */
                int32_t steps = r.layout->block_first[b + 1] - r.layout->block_first[b];
                want += (b == 0 ? 3 : 2) *
                        flip_comm_sum_bytes(comm, (size_t)(steps * wide_in[l] * k[l]));
            }
        CHECK(moved == 0 && halo == 0 && sent == want,
              "%s: %llu redistributed, %llu halo, %llu state, expected %llu", variants[i].name,
              (unsigned long long)moved, (unsigned long long)halo, (unsigned long long)sent,
              (unsigned long long)want);
        close_run(&r);
    }
}

/* After all passes of all models no send is left that nobody waited for. */
int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    make_world();
    empty_a_step();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way),
        cmocka_unit_test(distributions),
        cmocka_unit_test(evolve_bytes),
        cmocka_unit_test(sends_over),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
