/* Every model on 1-4 ranks trains as on one rank; keeping the first aggregation changes no bit;
 * gradients of all variants against finite differences (double build); memory as announced. */
#include <flipbook/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 41, EVENTS = 160, STEPS = 3, IN = 9, CLASSES = 4, PAIRS = 37 };
enum { EPOCHS = 6, ON_DEVICE = 2 };
enum { WORLD_SEED = 8, PAIR_CLASSES = CLASSES };

#include "device.h"
#include "world.h"

/* ---- a model on the whole graph or on this rank's part ---- */

typedef struct variant {
    const char *name;
    flip_model_params p;
    bool pairs; /* an edge head on pairs at steps */
    flip_head_kind head;
} variant;

typedef struct run {
    bool whole;
    int32_t steps, n_own;
    flip_gid from;
    flip_params *params;
    flip_model *model;
    flip_head *head;
    flip_tape *tape;
    flip_adjacency *adjacency;
    flip_pairs *pairs;
    int32_t n_pairs, pair_label[PAIRS];
} run;

static bool mine(const run *r, flip_gid v) {
    return r->whole || (v >= first[rank] && v < first[rank + 1]);
}

static int32_t steps_of(const flip_model_params *p) {
    return p->kind >= FLIP_MODEL_TMGCN || p->temporal != FLIP_TEMPORAL_NONE ? STEPS : 1;
}

static void open_graph(run *r, const variant *c) {
    static flip_gid d[EVENTS], s[EVENTS], all[2] = {0, NODES}, u[PAIRS], v[PAIRS];
    static int32_t t[EVENTS], at[PAIRS];
    flip_comm *with = r->whole ? NULL : comm;
    const flip_gid *ranges = r->whole ? all : first;
    flip_events events = {.dst = d, .src = s, .step = t};
    flip_adjacency_params params = {.kind = flip_model_adjacency(&c->p),
                                    .n_steps = r->steps,
                                    .edge_life = 2,
                                    .window = c->p.window};
    for (int i = 0; i < EVENTS; i++) {
        if (!mine(r, dst[i])) continue;
        d[events.n] = dst[i];
        s[events.n] = src[i];
        t[events.n++] = r->steps > 1 ? step_of[i] : 0;
    }
    CHECK_OK(
        flip_adjacency_create(&r->adjacency, with, ranges, original + r->from, &events, &params));
    for (int i = 0; i < PAIRS; i++) {
        if (!mine(r, pair_v[i])) continue;
        u[r->n_pairs] = pair_u[i];
        v[r->n_pairs] = pair_v[i];
        at[r->n_pairs] = r->steps > 1 ? pair_step[i] : 0;
        r->pair_label[r->n_pairs++] = c->head == FLIP_HEAD_DOT ? pair_label[i] % 2 : pair_label[i];
    }
    CHECK_OK(flip_pairs_create(&r->pairs, with, ranges, r->steps, r->n_pairs, u, v, at));
}

static void open_run(run *r, const variant *c, bool whole, bool precompute) {
    flip_model_params p = c->p;
    flip_head_params h = {
        .kind = c->head, .in_dim = CLASSES, .hidden = 5, .out_dim = c->head ? CLASSES : 1};
    *r = (run){.whole = whole, .steps = steps_of(&c->p)};
    r->n_own = whole ? NODES : (int32_t)(first[rank + 1] - first[rank]);
    r->from = whole ? 0 : first[rank];
    p.in_dim = IN;
    p.out_dim = CLASSES;
    p.precompute = precompute;
    CHECK_OK(flip_params_create(&r->params));
    CHECK_OK(flip_model_create(&r->model, r->params, &p));
    CHECK_OK(flip_head_create(&r->head, r->params, &h));
    CHECK_OK(flip_params_finish(r->params, 4));
    open_graph(r, c);
    flip_tape_params settings = {.comm = whole ? NULL : comm,
                                 .params = r->params,
                                 .key = original + r->from,
                                 .n_own = r->n_own,
                                 .seed = 6,
                                 .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&r->tape, &settings));
    CHECK(test_placed(r->params), "the parameters are not on the device");
}

static void close_run(run *r) {
    flip_pairs_destroy(&r->pairs);
    flip_adjacency_destroy(&r->adjacency);
    flip_head_destroy(&r->head);
    flip_model_destroy(&r->model);
    flip_tape_destroy(&r->tape);
    flip_params_destroy(&r->params);
}

static flip_var forward(run *r, const variant *c, int64_t epoch) {
    flip_tape_reset(r->tape, true, epoch);
    flip_var y = flip_model_forward(r->model, r->tape,
                                    &(flip_block){.adjacency = r->adjacency,
                                                  .features = features + r->from * r->steps * IN,
                                                  .steps = r->steps,
                                                  .n_blocks = 1});
    flip_labels labels = {.label = label + r->from * r->steps};
    if (c->pairs) {
        y = flip_head_forward(r->head, r->tape, y, r->pairs);
        labels.label = r->pair_label;
    }
    flip_var loss = c->pairs && c->head == FLIP_HEAD_DOT
                        ? flip_binary_cross_entropy(r->tape, y, &labels)
                        : flip_cross_entropy(r->tape, y, &labels);
    CHECK_OK(flip_tape_status(r->tape));
    return loss;
}

static void backward(run *r, flip_var loss) {
    flip_params_clear_gradients(r->params);
    CHECK_OK(flip_tape_backward(r->tape, loss));
    CHECK_OK(flip_params_reduce(r->params, r->whole ? NULL : comm));
}

/* Updates of a run; fewer on a device. */
static int n_epochs(void) {
    return test_kernels() ? ON_DEVICE : EPOCHS;
}

/* Losses of the updates, and the last parameters in r->params. */
static void train(run *r, const variant *c, double *losses) {
    flip_optimiser *optimiser;
    flip_optimiser_params settings = FLIP_OPTIMISER_DEFAULTS;
    settings.clip = 1;
    CHECK_OK(flip_optimiser_create(&optimiser, r->params, &settings));
    for (int epoch = 0; epoch < n_epochs(); epoch++) {
        flip_var loss = forward(r, c, epoch);
        losses[epoch] = flip_tape_scalar(r->tape, loss);
        backward(r, loss);
        CHECK_OK(flip_optimiser_step(optimiser));
    }
    flip_optimiser_destroy(&optimiser);
}

static const variant variants[] = {
    {"gcn", {.kind = FLIP_MODEL_GCN, .layers = 2, .hidden = 8}, false, 0},
    {"gcn, wide, residual, layer norm, dropout",
     {.kind = FLIP_MODEL_GCN,
      .layers = 3,
      .hidden = 12,
      .residual = true,
      .norm = FLIP_NORM_LAYER,
      .dropout = .3,
      .input_dropout = .2},
     false,
     0},
    {"sage", {.kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 8, .dropout = .5}, false, 0},
    {"sage, residual, batch norm",
     {.kind = FLIP_MODEL_SAGE,
      .layers = 3,
      .hidden = 16,
      .residual = true,
      .norm = FLIP_NORM_BATCH,
      .dropout = .2,
      .input_dropout = .1},
     false,
     0},
    {"sage, residual",
     {.kind = FLIP_MODEL_SAGE, .layers = 3, .hidden = 8, .residual = true},
     false,
     0},
    {"sage pool",
     {.kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 8, .pool = true, .pool_width = 5},
     false,
     0},
    {"sage, links",
     {.kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 8, .l2_normalise = true},
     true,
     FLIP_HEAD_DOT},
    {"gat",
     {.kind = FLIP_MODEL_GAT, .layers = 2, .hidden = 8, .heads = 4, .heads_last = 2, .dropout = .4},
     false,
     0},
    {"gat, residual, layer norm",
     {.kind = FLIP_MODEL_GAT,
      .layers = 2,
      .hidden = 8,
      .heads = 2,
      .residual = true,
      .norm = FLIP_NORM_LAYER,
      .input_dropout = .3},
     false,
     0},
    {"gin", {.kind = FLIP_MODEL_GIN, .layers = 2, .hidden = 8}, false, 0},
    {"gin, residual, batch norm",
     {.kind = FLIP_MODEL_GIN,
      .layers = 3,
      .hidden = 8,
      .residual = true,
      .norm = FLIP_NORM_BATCH,
      .dropout = .2,
      .input_dropout = .2},
     true,
     FLIP_HEAD_MLP},
    {"tmgcn",
     {.kind = FLIP_MODEL_TMGCN, .layers = 2, .hidden = 6, .window = 2},
     true,
     FLIP_HEAD_LINEAR},
    {"tmgcn, one layer, residual",
     {.kind = FLIP_MODEL_TMGCN, .layers = 1, .window = 3, .residual = true, .input_dropout = .2},
     true,
     FLIP_HEAD_MLP},
    {"cdgcn, dropout",
     {.kind = FLIP_MODEL_CDGCN,
      .layers = 2,
      .hidden = 6,
      .structure_width = 7,
      .output = true,
      .dropout = .3},
     false,
     0},
    {"cdgcn, pairs, layer norm",
     {.kind = FLIP_MODEL_CDGCN,
      .layers = 2,
      .hidden = 8,
      .norm = FLIP_NORM_LAYER,
      .input_dropout = .2},
     true,
     FLIP_HEAD_MLP},
    {"gcn and gru",
     {.kind = FLIP_MODEL_GCN, .layers = 2, .hidden = 8, .temporal = FLIP_TEMPORAL_GRU},
     true,
     FLIP_HEAD_DOT},
    {"sage and lstm, residual, dropout",
     {.kind = FLIP_MODEL_SAGE,
      .layers = 2,
      .hidden = 9,
      .temporal = FLIP_TEMPORAL_LSTM,
      .residual = true,
      .dropout = .2,
      .output = true},
     false,
     0},
    {"gat and gru, dropout",
     {.kind = FLIP_MODEL_GAT,
      .layers = 2,
      .hidden = 6,
      .heads = 2,
      .temporal = FLIP_TEMPORAL_GRU,
      .dropout = .2},
     true,
     FLIP_HEAD_LINEAR},
    {"gin and lstm, batch norm",
     {.kind = FLIP_MODEL_GIN,
      .layers = 2,
      .hidden = 6,
      .temporal = FLIP_TEMPORAL_LSTM,
      .norm = FLIP_NORM_BATCH,
      .output = true},
     false,
     0},
    {"evolvegcn-o, dropout",
     {.kind = FLIP_MODEL_EVOLVEGCN_O, .layers = 2, .hidden = 12, .dropout = .3},
     true,
     FLIP_HEAD_MLP},
    {"evolvegcn-o, gru, layer norm",
     {.kind = FLIP_MODEL_EVOLVEGCN_O,
      .layers = 3,
      .hidden = 6,
      .cell = FLIP_CELL_GRU,
      .norm = FLIP_NORM_LAYER,
      .input_dropout = .2},
     true,
     FLIP_HEAD_LINEAR},
    {"evolvegcn-h",
     {.kind = FLIP_MODEL_EVOLVEGCN_H, .layers = 2, .hidden = 7},
     true,
     FLIP_HEAD_DOT},
    {"evolvegcn-h, dropout",
     {.kind = FLIP_MODEL_EVOLVEGCN_H,
      .layers = 3,
      .hidden = 12,
      .dropout = .3,
      .input_dropout = .2},
     true,
     FLIP_HEAD_MLP},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

/* ---- the tests ---- */

static void ranks_equal(void **state) {
    (void)state;
    const double tolerance = wide ? 1e-11 : 5e-5, settings_lr = 0.01;
    for (int i = 0; i < VARIANTS; i++) {
        const variant *c = &variants[i];
        const int epochs = n_epochs();
        double one[EPOCHS], many[EPOCHS];
        run a, b;
        open_run(&a, c, true, true);
        open_run(&b, c, false, true);
        train(&a, c, one);
        train(&b, c, many);
        for (int e = 0; e < epochs; e++)
            CHECK(fabs(one[e] - many[e]) <= tolerance * fabs(one[e]),
                  "%s: epoch %d has loss %.12g on one rank, %.12g on %d", c->name, e, one[e],
                  many[e], size);
        int64_t n = flip_params_size(a.params);
        for (int64_t k = 0; k < n; k++) {
            double x = (double)flip_params_values(a.params)[k],
                   y = (double)flip_params_values(b.params)[k];
            /* where a gradient is 0 but for rounding, Adam takes its sign: a step of lr an epoch
             * either way */
            CHECK(fabs(x - y) <= (wide ? 1e-7 : 2 * epochs * settings_lr),
                  "%s: parameter value %lld is %.9g, %.9g", c->name, (long long)k, x, y);
        }
        CHECK(epochs < EPOCHS || one[EPOCHS - 1] < one[0] || c->p.dropout > 0, "%s does not learn",
              c->name);
        close_run(&a);
        close_run(&b);
    }
}

static void precompute_equal(void **state) {
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        const variant *c = &variants[i];
        double on[EPOCHS] = {0}, off[EPOCHS] = {0};
        run a, b;
        open_run(&a, c, false, true);
        open_run(&b, c, false, false);
        train(&a, c, on);
        train(&b, c, off);
        CHECK(memcmp(on, off, sizeof on) == 0, "%s: epoch 1 has loss %.17g kept, %.17g not",
              c->name, on[1], off[1]);
        CHECK(memcmp(flip_params_values(a.params), flip_params_values(b.params),
                     (size_t)flip_params_size(a.params) * sizeof(flip_real)) == 0,
              "%s: parameters differ", c->name);
        close_run(&a);
        close_run(&b);
    }
}

static void differences(void **state) {
    (void)state;
    const double h = 1e-6;
    for (int i = 0; wide && rank == 0 && i < VARIANTS; i++) {
        const variant *c = &variants[i];
        run a;
        open_run(&a, c, true, true);
        backward(&a, forward(&a, c, 1));
        int64_t n = flip_params_trainable(a.params);
        double most = 0;
        for (int64_t k = 0; k < n; k++)
            most = fmax(most, fabs(flip_params_gradients(a.params)[k]));
        for (int64_t k = 0; k < n; k += 1 + n / 60) {
            flip_real *p = &flip_params_values(a.params)[k], kept = *p;
            double side[2], got = flip_params_gradients(a.params)[k];
            for (int s = 0; s < 2; s++) {
                *p = kept + (flip_real)(s ? -h : h);
                side[s] = flip_tape_scalar(a.tape, forward(&a, c, 1));
            }
            *p = kept;
            double slope = (side[0] - side[1]) / (2 * h);
            CHECK(fabs(slope - got) <= 1e-7 * fmax(1, most),
                  "%s: gradient %lld is %.9g, difference %.9g", c->name, (long long)k, got, slope);
        }
        close_run(&a);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void halo_bytes(void **state) {
    (void)state;
    const variant *c = &variants[2]; /* sage: layer 2 multiplies first, CLASSES columns travel */
    run a;
    open_run(&a, c, false, true);
    flip_meter *meter = flip_comm_meter(comm);
    int64_t rows = a.adjacency->plan ? flip_plan_rows_sent(a.adjacency->plan) : 0;
    for (int epoch = 0; epoch < 2; epoch++) {
        uint64_t before = meter->bytes[FLIP_BYTES_HALO], want;
        backward(&a, forward(&a, c, epoch));
        want = (uint64_t)rows * CLASSES; /* forward */
        if (epoch == 0) want += (uint64_t)rows * IN;
        /* backward sends what the halo brought */
        int64_t halo = a.adjacency->plan ? a.adjacency->n_halo : 0;
        want += (uint64_t)halo * CLASSES;
        CHECK(meter->bytes[FLIP_BYTES_HALO] - before == want * sizeof(flip_real),
              "epoch %d sent %llu bytes, expected %llu", epoch,
              (unsigned long long)(meter->bytes[FLIP_BYTES_HALO] - before),
              (unsigned long long)(want * sizeof(flip_real)));
    }
    close_run(&a);
}

/* What the estimate says is at least what the tape takes, and not more than 1.6 times that. */
static void memory(void **state) {
    (void)state;
    enum { ROWS = 3000, DEGREE = 4 };
    static flip_gid d[ROWS * DEGREE], s[ROWS * DEGREE], all[2] = {0, ROWS};
    static flip_real x[ROWS * STEPS * IN];
    static int32_t y[ROWS * STEPS];
    if (rank == 0 && !test_kernels()) {
        for (int i = 0; i < ROWS * DEGREE; i++) {
            d[i] = i / DEGREE;
            s[i] = (flip_gid)draw(30, (uint64_t)i, ROWS);
        }
        for (int i = 0; i < VARIANTS; i++) {
            flip_model_params p = variants[i].p;
            p.in_dim = IN;
            p.out_dim = CLASSES;
            p.hidden *= 4;
            p.precompute = true;
            run r = {.whole = true, .steps = steps_of(&p)};
            flip_events events = {.n = ROWS * DEGREE, .dst = d, .src = s};
            flip_adjacency_params a = {.kind = flip_model_adjacency(&p), .n_steps = 1};
            CHECK_OK(flip_params_create(&r.params));
            CHECK_OK(flip_model_create(&r.model, r.params, &p));
            CHECK_OK(flip_params_finish(r.params, 0));
            CHECK_OK(flip_adjacency_create(&r.adjacency, NULL, all, NULL, &events, &a));
            /* of the CPU: a device also holds copies of what is borrowed */
            CHECK_OK(flip_tape_create(&r.tape, &(flip_tape_params){.params = r.params}));
            for (int epoch = 0; epoch < 2; epoch++) {
                flip_tape_reset(r.tape, true, epoch);
                flip_var z = flip_model_forward(
                    r.model, r.tape,
                    &(flip_block){
                        .adjacency = r.adjacency, .features = x, .steps = r.steps, .n_blocks = 1});
                backward(&r, flip_cross_entropy(r.tape, z, &(flip_labels){.label = y}));
            }
            double said = (double)flip_model_bytes(&p, ROWS, 0, r.adjacency->a.n_entries, r.steps);
            double took = (double)flip_tape_peak(r.tape);
            bool kept = p.kind != FLIP_MODEL_GAT && !p.pool;
            if (kept) took += (double)ROWS * r.steps * IN * sizeof(flip_real);
            CHECK(said >= 0.98 * took && said <= 1.6 * took, "%s: %.0f bytes announced, %.0f taken",
                  variants[i].name, said, took);
            close_run(&r);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        flip_model_params p;
        const char *says;
    } rows[] = {
        {{.kind = FLIP_MODEL_GAT, .layers = 2, .hidden = 10, .heads = 3}, "multiple of 3 heads"},
        {{.kind = FLIP_MODEL_GCN, .layers = 2, .hidden = 8, .pool = true}, "--aggregator pool"},
        {{.kind = FLIP_MODEL_GIN, .layers = 0, .hidden = 8}, "layers 0"},
        {{.kind = FLIP_MODEL_SAGE, .layers = 1, .dropout = 1}, "dropout 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        flip_params *params;
        flip_model *model = NULL;
        flip_model_params p = rows[i].p;
        p.in_dim = p.out_dim = 3;
        CHECK_OK(flip_params_create(&params));
        CHECK(flip_model_create(&model, params, &p) == FLIP_ERROR_USAGE && !model, "row %zu", i);
        CHECK(strstr(flip_error_message(), rows[i].says), "%s", flip_error_message());
        flip_error_clear();
        flip_params_destroy(&params);
    }
}

static bool has_param(const flip_params *params, const char *name) {
    for (int32_t i = 0; i < flip_params_count(params); i++)
        if (strcmp(flip_params_name(params, i), name) == 0) return true;
    return false;
}

/* A bias that batch norm takes away has a gradient of nothing but rounding: Adam would walk by it,
 * and evaluation (running means) would differ from rank count to rank count. */
static void no_bias_before_batch_norm(void **state) {
    (void)state;
    for (int kind = FLIP_MODEL_GCN; kind <= FLIP_MODEL_TMGCN; kind++)
        for (int norm = FLIP_NORM_NONE; norm <= FLIP_NORM_BATCH; norm++) {
            flip_params *params;
            flip_model *model = NULL;
            flip_model_params p = {.kind = (flip_model_kind)kind,
                                   .layers = 2,
                                   .hidden = 4,
                                   .heads = 2,
                                   .in_dim = 3,
                                   .out_dim = 3,
                                   .norm = (flip_norm)norm};
            CHECK_OK(flip_params_create(&params));
            CHECK_OK(flip_model_create(&model, params, &p));
            const char *first = kind == FLIP_MODEL_GIN ? "bb1" : "b1";
            const char *last = kind == FLIP_MODEL_GIN ? "bb2" : "b2";
            bool any = kind != FLIP_MODEL_TMGCN; /* has none at all */
            CHECK(has_param(params, first) == (any && norm != FLIP_NORM_BATCH), "model %d, norm %d",
                  kind, norm);
            CHECK(has_param(params, last) == any, "model %d, norm %d", kind, norm);
            flip_model_destroy(&model);
            flip_params_destroy(&params);
        }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    make_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_equal),
        cmocka_unit_test(precompute_equal),
        cmocka_unit_test(differences),
        cmocka_unit_test(halo_bytes),
        cmocka_unit_test(memory),
        cmocka_unit_test(refusals),
        cmocka_unit_test(no_bias_before_batch_norm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
