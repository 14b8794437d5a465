/* Every operator of the tape, on 1-4 ranks: values against plain loops over the whole graph,
 * gradients against finite differences (double build), and both against one rank's. One rank owns
 * nothing where there are three or more. */
#include "device.h"
#include "ranks.h"

#include <flipbook/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 23, EVENTS = 90, STEPS = 4, IN = 8, OUT = 5, HEADS = 2, PAIRS = 31 };

static flip_comm *comm;
static int rank, size;
static const double tolerance = sizeof(flip_real) == 8 ? 1e-11 : 2e-4;

/* ---- a graph that every rank knows whole ---- */

static flip_gid dst[EVENTS], src[EVENTS], first[8], pair_u[PAIRS], pair_v[PAIRS];
static int32_t step_of[EVENTS], pair_step[PAIRS];
static double weight[EVENTS];
static int64_t original[NODES];

static double uniform(uint64_t what, uint64_t i) {
    return flip_random_uniform(5, FLIP_STREAM_TEST, what, i);
}

static int64_t below(uint64_t what, uint64_t i, int64_t n) {
    return (int64_t)flip_random_below(5, FLIP_STREAM_TEST, what, i, (uint64_t)n);
}

static void make_world(void) {
    for (uint64_t i = 0; i < EVENTS; i++) { /* nodes NODES-2 and NODES-1 have no in-edges */
        dst[i] = below(1, i, NODES - 2);
        src[i] = below(2, i, NODES);
        step_of[i] = (int32_t)below(3, i, STEPS);
        weight[i] = 0.5 + uniform(4, i);
        if (i % 9 == 8) {
            dst[i] = dst[i - 1];
            src[i] = src[i - 1];
        }
    }
    for (uint64_t i = 0; i < PAIRS; i++) {
        pair_u[i] = below(5, i, NODES);
        pair_v[i] = i % 7 == 0 ? pair_u[i] : below(6, i, NODES);
        pair_step[i] = (int32_t)below(7, i, STEPS);
    }
    for (int32_t v = 0; v < NODES; v++)
        original[v] = (v * 7 + 3) % NODES;
    for (int r = 0; r <= size; r++)
        first[r] = (flip_gid)NODES * r * r / ((flip_gid)size * size);
    if (size >= 3) first[2] = first[1]; /* rank 1 owns nothing */
}

static int32_t n_own(void) {
    return (int32_t)(first[rank + 1] - first[rank]);
}

/* Whole on this process, or this rank's part. */
static flip_adjacency *adjacency_of(bool whole, flip_adjacency_kind kind, int32_t steps) {
    static flip_gid d[EVENTS], s[EVENTS], all[2] = {0, NODES};
    static int32_t t[EVENTS];
    static double w[EVENTS];
    flip_events events = {.dst = d, .src = s, .step = t, .weight = w};
    flip_adjacency_params params = {.kind = kind, .n_steps = steps, .edge_life = 2};
    flip_adjacency *adjacency;
    for (int i = 0; i < EVENTS; i++) {
        if (!whole && (dst[i] < first[rank] || dst[i] >= first[rank + 1])) continue;
        d[events.n] = dst[i];
        s[events.n] = src[i];
        t[events.n] = steps > 1 ? step_of[i] : 0;
        w[events.n++] = weight[i];
    }
    CHECK_OK(flip_adjacency_create(&adjacency, whole ? NULL : comm, whole ? all : first,
                                   whole ? original : original + first[rank], &events, &params));
    return adjacency;
}

/* ---- one operator at work ---- */

typedef struct setup {
    int32_t steps; /* of the input */
    flip_real x[NODES * STEPS * IN];
    flip_param w1, w2, w3, b, eps, a_src, a_dst, gamma, beta, mean, var;
    flip_params *params;
    flip_tape *tape;
    flip_adjacency *adjacency;
    flip_pairs *pairs;
} setup;

typedef struct test_case {
    const char *name;
    int32_t steps, graph_steps;
    flip_adjacency_kind kind;
    bool of_pairs; /* the output has a row a pair */
    flip_var (*build)(setup *s, flip_var x);
    void (*plain)(const setup *s, int32_t row, int32_t t,
                  double *y); /* y[row, t, :] of the whole */
    bool rough;               /* max and ReLU: finite differences may step over an edge */
} test_case;

static flip_var act_of(setup *s, flip_var x) {
    return flip_activate(s->tape, x, (flip_act){.relu = true, .dropout = 0.3});
}

static void add_params(setup *s) {
    flip_params *p = s->params;
    s->w1 = flip_params_add(p, "w1", IN, OUT, FLIP_INIT_GLOROT);
    s->w2 = flip_params_add(p, "w2", IN, OUT, FLIP_INIT_GLOROT);
    s->w3 = flip_params_add(p, "w3", OUT, IN, FLIP_INIT_UNIFORM_FAN_IN);
    s->b = flip_params_add(p, "b", 1, OUT, FLIP_INIT_UNIFORM_FAN_IN);
    s->eps = flip_params_add(p, "eps", 1, 1, FLIP_INIT_UNIFORM_FAN_IN);
    s->a_src = flip_params_add(p, "a_src", HEADS, IN / HEADS, FLIP_INIT_GLOROT);
    s->a_dst = flip_params_add(p, "a_dst", HEADS, IN / HEADS, FLIP_INIT_GLOROT);
    s->gamma = flip_params_add(p, "gamma", 1, IN, FLIP_INIT_UNIFORM_FAN_IN);
    s->beta = flip_params_add(p, "beta", 1, IN, FLIP_INIT_UNIFORM_FAN_IN);
    s->mean = flip_params_add_state(p, "mean", 1, IN, FLIP_INIT_ZERO);
    s->var = flip_params_add_state(p, "var", 1, IN, FLIP_INIT_ONE);
}

static void open_setup(setup *s, const test_case *c, bool whole) {
    static flip_gid all[2] = {0, NODES};
    memset(s, 0, sizeof *s);
    s->steps = c->steps;
    for (int32_t i = 0; i < NODES * c->steps * IN; i++)
        s->x[i] = (flip_real)(2 * uniform(10, (uint64_t)i) - 1);
    CHECK_OK(flip_params_create(&s->params));
    add_params(s);
    CHECK_OK(flip_params_finish(s->params, 9));
    s->adjacency = adjacency_of(whole, c->kind, c->graph_steps);
    flip_tape_params settings = {.comm = whole ? NULL : comm,
                                 .params = s->params,
                                 .key = whole ? original : original + first[rank],
                                 .n_own = whole ? NODES : n_own(),
                                 .seed = 3,
                                 .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&s->tape, &settings));
    CHECK(test_placed(s->params), "the parameters are not on the device");
    /* pairs belong to the owner of v */
    flip_gid u[PAIRS], v[PAIRS];
    int32_t t[PAIRS], n = 0;
    for (int i = 0; i < PAIRS; i++) {
        if (!whole && (pair_v[i] < first[rank] || pair_v[i] >= first[rank + 1])) continue;
        u[n] = pair_u[i];
        v[n] = pair_v[i];
        t[n++] = c->steps > 1 ? pair_step[i] : 0;
    }
    CHECK_OK(flip_pairs_create(&s->pairs, whole ? NULL : comm, whole ? all : first, c->steps, n, u,
                               v, t));
}

static void close_setup(setup *s) {
    flip_pairs_destroy(&s->pairs);
    flip_adjacency_destroy(&s->adjacency);
    flip_tape_destroy(&s->tape);
    flip_params_destroy(&s->params);
}

/* Number of row `local` of the output in the whole graph. */
static int32_t whole_row(const test_case *c, bool whole, int32_t local) {
    if (whole) return local;
    if (!c->of_pairs) return (int32_t)first[rank] + local;
    for (int i = 0; i < PAIRS; i++)
        if (pair_v[i] >= first[rank] && pair_v[i] < first[rank + 1] && local-- == 0) return i;
    return -1;
}

/* Forward on x's rows [from, …); the loss is Σ up y. Leaves y's values in `y` where it is given. */
static double run_forward(setup *s, const test_case *c, bool whole, flip_var *x, flip_var *loss,
                          flip_real *y) {
    static flip_real up[NODES * STEPS * 4 * IN];
    int32_t rows = whole ? NODES : n_own(), out_rows, out_steps, out_dim;
    const flip_real *data = s->x + (whole ? 0 : first[rank] * c->steps * IN);
    flip_tape_reset(s->tape, true, 2);
    *x = flip_tape_input(s->tape, rows, c->steps, IN, data, true);
    flip_var out = c->build(s, *x);
    CHECK_OK(flip_tape_status(s->tape));
    flip_tape_shape(s->tape, out, &out_rows, &out_steps, &out_dim);
    int64_t width = (int64_t)out_steps * out_dim;
    for (int32_t i = 0; i < out_rows; i++)
        for (int64_t j = 0; j < width; j++)
            up[i * width + j] =
                (flip_real)(uniform(11, (uint64_t)(whole_row(c, whole, i) * width + j)) - 0.4);
    if (y) memcpy(y, flip_tape_value(s->tape, out), (size_t)(out_rows * width) * sizeof(flip_real));
    *loss = flip_inner(s->tape, out, up);
    CHECK_OK(flip_tape_status(s->tape));
    return flip_tape_scalar(s->tape, *loss);
}

static double largest(int64_t n, const double *x) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

/* The whole graph's values and gradients on this process. */
typedef struct expected {
    flip_real y[NODES * STEPS * 4 * IN];
    double dx[NODES * STEPS * IN], loss;
    double dp[1024];
} expected;

static void run_whole(setup *s, const test_case *c, expected *want) {
    flip_var x, loss;
    want->loss = run_forward(s, c, true, &x, &loss, want->y);
    flip_params_clear_gradients(s->params);
    CHECK_OK(flip_tape_backward(s->tape, loss));
    const flip_real *dx = flip_tape_gradient(s->tape, x);
    CHECK(dx, "%s: no gradient", c->name);
    for (int32_t i = 0; i < NODES * c->steps * IN; i++)
        want->dx[i] = (double)dx[i];
    memcpy(want->dp, flip_params_gradients(s->params),
           (size_t)flip_params_size(s->params) * sizeof(double));
}

static void check_plain(setup *s, const test_case *c, const expected *want) {
    int32_t rows = c->of_pairs ? PAIRS : NODES, steps = c->of_pairs ? 1 : c->steps, dim;
    double y[4 * IN];
    flip_var x, loss;
    run_forward(s, c, true, &x, &loss, NULL);
    for (flip_var v = x; v < loss; v++) /* the last before the loss is the output */
        flip_tape_shape(s->tape, v, NULL, NULL, &dim);
    for (int32_t i = 0; c->plain && i < rows; i++)
        for (int32_t t = 0; t < steps; t++) {
            c->plain(s, i, t, y);
            for (int32_t j = 0; j < dim; j++) {
                double got = (double)want->y[((int64_t)i * steps + t) * dim + j];
                CHECK(fabs(got - y[j]) <= 4 * tolerance, "%s: y[%d,%d,%d] is %.9g, expected %.9g",
                      c->name, i, t, j, got, y[j]);
            }
        }
}

/* (loss(z + h) - loss(z - h)) / 2h against the tape's gradient, at every element in double. */
static void check_differences(setup *s, const test_case *c, const expected *want) {
    const double h = 1e-6, bound = c->rough ? 1e-5 : 1e-7;
    int64_t n_params = flip_params_trainable(s->params), n = (int64_t)NODES * c->steps * IN;
    double scale = fmax(1, fmax(largest(n, want->dx), largest(n_params, want->dp)));
    if (sizeof(flip_real) != 8) return;
    for (int64_t i = 0; i < n + n_params; i++) {
        flip_real *z = i < n ? &s->x[i] : &flip_params_values(s->params)[i - n], kept = *z;
        double got = i < n ? want->dx[i] : want->dp[i - n], side[2];
        flip_var x, loss;
        for (int k = 0; k < 2; k++) {
            *z = kept + (flip_real)(k ? -h : h);
            side[k] = run_forward(s, c, true, &x, &loss, NULL);
        }
        *z = kept;
        double slope = (side[0] - side[1]) / (2 * h);
        CHECK(fabs(slope - got) <= bound * scale, "%s: gradient %lld is %.9g, difference %.9g",
              c->name, (long long)i, got, slope);
    }
}

static void check_ranks(const test_case *c, const expected *want) {
    static flip_real y[NODES * STEPS * 4 * IN];
    setup s;
    flip_var x, loss;
    int32_t rows, steps, dim;
    open_setup(&s, c, false);
    double value = run_forward(&s, c, false, &x, &loss, y);
    CHECK(fabs(value - want->loss) <= tolerance * fmax(1, fabs(want->loss)),
          "%s: loss %.12g, %.12g", c->name, value, want->loss);
    flip_tape_shape(s.tape, loss - 1, &rows, &steps, &dim);
    int64_t width = (int64_t)steps * dim;
    for (int32_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++) {
            double is = (double)y[i * width + j],
                   was = (double)want->y[whole_row(c, false, i) * width + j];
            CHECK(fabs(is - was) <= tolerance, "%s: y[%d,%lld] is %.9g, on one rank %.9g", c->name,
                  i, (long long)j, is, was);
        }
    flip_params_clear_gradients(s.params);
    CHECK_OK(flip_tape_backward(s.tape, loss));
    CHECK_OK(flip_params_reduce(s.params, comm));
    int64_t n = (int64_t)n_own() * c->steps * IN, from = first[rank] * c->steps * IN;
    double most = fmax(1, largest((int64_t)NODES * c->steps * IN, want->dx));
    const flip_real *dx = flip_tape_gradient(s.tape, x);
    for (int64_t i = 0; i < n; i++)
        CHECK(fabs((double)dx[i] - want->dx[from + i]) <= tolerance * most,
              "%s: dx[%lld] is %.9g, on one rank %.9g", c->name, (long long)i, (double)dx[i],
              want->dx[from + i]);
    int64_t n_params = flip_params_trainable(s.params);
    most = fmax(1, largest(n_params, want->dp));
    for (int64_t i = 0; i < n_params; i++)
        CHECK(fabs(flip_params_gradients(s.params)[i] - want->dp[i]) <= tolerance * most,
              "%s: parameter gradient %lld is %.9g, on one rank %.9g", c->name, (long long)i,
              flip_params_gradients(s.params)[i], want->dp[i]);
    close_setup(&s);
}

static void check_case(const test_case *c) {
    static expected want;
    setup s;
    open_setup(&s, c, true);
    run_whole(&s, c, &want);
    check_plain(&s, c, &want);
    check_differences(&s, c, &want);
    close_setup(&s);
    check_ranks(c, &want);
}

#include "t500_operators.h"

static void operators(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(&cases[i]);
}

/* ---- losses ---- */

static int32_t label[NODES * STEPS];
static uint8_t mask[NODES * STEPS];
static flip_real wanted[NODES * STEPS * OUT];

static flip_var loss_entropy(setup *s, flip_var y, int64_t from) {
    static const double class_weight[OUT] = {1, .5, 2, 1.5, .25};
    flip_labels labels = {.label = label + from, .mask = mask + from, .class_weight = class_weight};
    return flip_cross_entropy(s->tape, y, &labels);
}

static flip_var loss_sample_mean(setup *s, flip_var y, int64_t from) {
    static const double class_weight[OUT] = {1, .5, 2, 1.5, .25};
    flip_labels labels = {.label = label + from, .class_weight = class_weight, .sample_mean = true};
    return flip_cross_entropy(s->tape, y, &labels);
}

static flip_var loss_error(setup *s, flip_var y, int64_t from) {
    return flip_squared_error(s->tape, y, wanted + from * OUT, mask + from, 0);
}

/* loss of x w1 + b with labels; gradients of w1 and b by differences, values on any rank count */
static double run_loss(setup *s, bool whole, flip_var (*build)(setup *, flip_var, int64_t),
                       flip_var *loss) {
    int64_t from = whole ? 0 : first[rank];
    flip_tape_reset(s->tape, true, 0);
    flip_var x = flip_tape_input(s->tape, whole ? NODES : n_own(), s->steps, IN,
                                 s->x + from * s->steps * IN, false);
    flip_var y = flip_linear(s->tape, x, s->w1, s->b, FLIP_ACT_NONE);
    *loss = build(s, y, from * s->steps);
    CHECK_OK(flip_tape_status(s->tape));
    return flip_tape_scalar(s->tape, *loss);
}

static void check_loss(const char *name, flip_var (*build)(setup *, flip_var, int64_t)) {
    const test_case c = {
        .name = name, .steps = STEPS, .graph_steps = 1, .kind = FLIP_ADJACENCY_MEAN};
    setup one, many;
    flip_var loss;
    open_setup(&one, &c, true);
    open_setup(&many, &c, false);
    double value = run_loss(&one, true, build, &loss);
    CHECK_OK(flip_tape_backward(one.tape, loss));
    double split = run_loss(&many, false, build, &loss);
    CHECK(fabs(value - split) <= 1e-2 * tolerance * fabs(value), "%s: %.15g on one rank, %.15g",
          name, value, split);
    CHECK_OK(flip_tape_backward(many.tape, loss));
    CHECK_OK(flip_params_reduce(many.params, comm));
    int64_t n = flip_params_trainable(one.params);
    for (int64_t i = 0; i < n; i++) {
        double got = flip_params_gradients(one.params)[i], h = 1e-6, side[2];
        CHECK(fabs(got - flip_params_gradients(many.params)[i]) <= tolerance,
              "%s: gradient %lld is %.9g on one rank, %.9g", name, (long long)i, got,
              flip_params_gradients(many.params)[i]);
        flip_real *p = &flip_params_values(one.params)[i], kept = *p;
        for (int k = 0; k < 2; k++) {
            *p = kept + (flip_real)(k ? -h : h);
            side[k] = run_loss(&one, true, build, &loss);
        }
        *p = kept;
        CHECK(sizeof(flip_real) != 8 || fabs((side[0] - side[1]) / (2 * h) - got) < 1e-8,
              "%s: gradient %lld is %.9g, difference %.9g", name, (long long)i, got,
              (side[0] - side[1]) / (2 * h));
    }
    close_setup(&one);
    close_setup(&many);
}

static void losses(void **state) {
    (void)state;
    for (int i = 0; i < NODES * STEPS; i++) {
        label[i] = (int32_t)below(20, (uint64_t)i, OUT + 1) - 1;
        mask[i] = uniform(21, (uint64_t)i) < 0.6;
        for (int j = 0; j < OUT; j++)
            wanted[i * OUT + j] = uniform(22, (uint64_t)(i * OUT + j)) < 0.2
                                      ? (flip_real)NAN
                                      : (flip_real)uniform(23, (uint64_t)(i * OUT + j));
    }
    check_loss("cross-entropy", loss_entropy);
    check_loss("cross-entropy by samples", loss_sample_mean);
    check_loss("squared error", loss_error);
}

/* ---- refusals, inference, memory ---- */

static void refusals(void **state) {
    (void)state;
    flip_tape *tape = NULL;
    flip_params *params;
    CHECK_OK(flip_params_create(&params));
    flip_param w = flip_params_add(params, "w", 3, 2, FLIP_INIT_ONE);
    CHECK_OK(flip_params_finish(params, 0));
    flip_tape_params settings = {
        .params = params, .saved = FLIP_SAVED_HOST, .kernels = test_kernels()};
    CHECK(flip_tape_create(&tape, &settings) == FLIP_ERROR_USAGE, "the host is accepted");
    CHECK(strstr(flip_error_message(), "host is not available"), "%s", flip_error_message());
    flip_error_clear();
    settings.saved = FLIP_SAVED_KEEP;
    settings.weights = FLIP_WEIGHTS_LOW_BIT;
    CHECK(flip_tape_create(&tape, &settings) == FLIP_ERROR_USAGE, "low-bit weights are accepted");
    flip_error_clear();
    settings.weights = FLIP_WEIGHTS_PLAIN;
    CHECK_OK(flip_tape_create(&tape, &settings));
    static const flip_real x[4] = {1, 2, 3, 4};
    flip_tape_reset(tape, true, 0);
    flip_var v = flip_tape_input(tape, 2, 1, 2, x, false);
    v = flip_linear(tape, v, w, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    CHECK(v == FLIP_VAR_NONE && flip_tape_status(tape) != FLIP_OK, "a wrong shape is accepted");
    CHECK(strstr(flip_error_message(), "'w' is 3 x 2"), "%s", flip_error_message());
    CHECK(flip_l2_normalise(tape, v) == FLIP_VAR_NONE, "a failed tape goes on");
    flip_error_clear();
    flip_tape_reset(tape, true, 0);
    CHECK(flip_tape_status(tape) == FLIP_OK, "reset leaves the failure");
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
}

/* Without training dropout is the identity and nothing is kept. */
static void inference(void **state) {
    (void)state;
    const test_case c = {.name = "inference", .steps = 1, .graph_steps = 1};
    setup s;
    open_setup(&s, &c, true);
    flip_tape_reset(s.tape, false, 0);
    flip_var x = flip_tape_input(s.tape, NODES, 1, IN, s.x, true);
    flip_var y = act_of(&s, x);
    for (int i = 0; i < NODES * IN; i++)
        CHECK(flip_tape_value(s.tape, y)[i] == (s.x[i] > 0 ? s.x[i] : 0), "element %d", i);
    flip_tape_release(s.tape, y);
    CHECK(flip_tape_value(s.tape, y) == NULL, "a released value stays");
    close_setup(&s);
}

/* Dropout's draws follow the rule, whatever the epilogue. */
static void draws(void **state) {
    (void)state;
    const test_case c = {.name = "draws", .steps = 1, .graph_steps = 1};
    setup s;
    open_setup(&s, &c, true);
    flip_tape_reset(s.tape, true, 6);
    flip_var x = flip_tape_input(s.tape, NODES, 1, IN, s.x, true);
    flip_activate(s.tape, x, (flip_act){.dropout = 0.5}); /* takes draw 0 */
    flip_var y = flip_activate(s.tape, x, (flip_act){.dropout = 0.4});
    for (int32_t v = 0; v < NODES; v++)
        for (int32_t j = 0; j < IN; j++) {
            bool kept = flip_dropout_keep(3, 6 << 8 | 1, original[v], IN, j, 0.4);
            double want = kept ? (double)s.x[v * IN + j] / 0.6 : 0;
            CHECK(fabs((double)flip_tape_value(s.tape, y)[v * IN + j] - want) < 1e-6,
                  "node %d column %d", v, j);
        }
    close_setup(&s);
}

/* A chain of layers: backward's peak is forward's and little more; an epoch repeats without growth.
 */
static void memory(void **state) {
    (void)state;
    enum { ROWS = 4096, DIM = 64, LAYERS = 4 };
    flip_params *params;
    flip_param w[LAYERS];
    flip_tape *tape;
    flip_real *x, *up;
    CHECK_OK(flip_alloc_zero(&x, ROWS * DIM, sizeof *x, "x"));
    CHECK_OK(flip_alloc_zero(&up, ROWS * DIM, sizeof *up, "up"));
    CHECK_OK(flip_params_create(&params));
    for (int l = 0; l < LAYERS; l++) {
        char name[8] = {'w', (char)('0' + l)};
        w[l] = flip_params_add(params, name, DIM, DIM, FLIP_INIT_GLOROT);
    }
    CHECK_OK(flip_params_finish(params, 1));
    CHECK_OK(
        flip_tape_create(&tape, &(flip_tape_params){.params = params, .kernels = test_kernels()}));
    size_t block = ROWS * DIM * sizeof(flip_real), forward = 0;
    for (int epoch = 0; epoch < 3; epoch++) {
        flip_tape_reset(tape, true, epoch);
        flip_var h = flip_tape_input(tape, ROWS, 1, DIM, x, false);
        for (int l = 0; l < LAYERS; l++) {
            flip_var y = flip_linear(tape, h, w[l], FLIP_PARAM_NONE, FLIP_ACT_RELU);
            flip_tape_release(tape, h);
            h = y;
        }
        flip_var loss = flip_inner(tape, h, up);
        if (epoch == 0) forward = flip_tape_peak(tape);
        CHECK_OK(flip_tape_backward(tape, loss));
        CHECK(flip_tape_peak(tape) <= forward + block + block / 4,
              "peak %zu after forward, %zu after backward", forward, flip_tape_peak(tape));
    }
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
    flip_free(x);
    flip_free(up);
}

/* Two updates of an optimiser that is made before the tape places the parameters, or after. */
static void two_updates(bool before, flip_real *values, flip_real *moments) {
    enum { ROWS = 5, DIM = 3 };
    flip_real x[ROWS * DIM], up[ROWS * DIM];
    flip_optimiser_params settings = FLIP_OPTIMISER_DEFAULTS;
    flip_params *params;
    flip_optimiser *optimiser;
    flip_tape *tape;
    int64_t n;
    for (int i = 0; i < ROWS * DIM; i++) {
        x[i] = (flip_real)(i % 4) - 1;
        up[i] = (flip_real)(i % 5) - 2;
    }
    CHECK_OK(flip_params_create(&params));
    flip_param w = flip_params_add(params, "w", DIM, DIM, FLIP_INIT_GLOROT);
    CHECK_OK(flip_params_finish(params, 1));
    if (before) CHECK_OK(flip_optimiser_create(&optimiser, params, &settings));
    CHECK_OK(
        flip_tape_create(&tape, &(flip_tape_params){.params = params, .kernels = test_kernels()}));
    if (!before) CHECK_OK(flip_optimiser_create(&optimiser, params, &settings));
    for (int update = 0; update < 2; update++) {
        flip_tape_reset(tape, true, update);
        flip_params_clear_gradients(params);
        flip_var in = flip_tape_input(tape, ROWS, 1, DIM, x, false);
        flip_var y = flip_linear(tape, in, w, FLIP_PARAM_NONE, FLIP_ACT_NONE);
        CHECK_OK(flip_tape_backward(tape, flip_inner(tape, y, up)));
        CHECK_OK(flip_optimiser_step(optimiser));
    }
    memcpy(values, flip_params_values(params), DIM * DIM * sizeof *values);
    memcpy(moments, flip_optimiser_moments(optimiser, &n), 2 * DIM * DIM * sizeof *moments);
    CHECK(n == 2 * DIM * DIM, "%lld moments", (long long)n);
    flip_optimiser_destroy(&optimiser);
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
}

static void placed_later(void **state) {
    (void)state;
    flip_real a[27], b[27];
    two_updates(true, a, a + 9);
    two_updates(false, b, b + 9);
    CHECK(a[9] != 0, "nothing was learned");
    CHECK(memcmp(a, b, sizeof a) == 0, "an optimiser made before its tape goes another way");
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    make_world();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators),    cmocka_unit_test(losses), cmocka_unit_test(refusals),
        cmocka_unit_test(inference),    cmocka_unit_test(draws),  cmocka_unit_test(memory),
        cmocka_unit_test(placed_later),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
