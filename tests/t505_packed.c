/* Packed rows on the tape: models whose features are codes train as on the decoded rows given as
 * features, on 1-4 ranks; rows that stay for a run of steps are as good as every step's; operators
 * that do not decode refuse; no full-width table is made. */
#include <flipbook/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 41, EVENTS = 260, STEPS = 1, IN = 9, CLASSES = 4, PAIRS = 1, EPOCHS = 6 };
enum { WORLD_SEED = 9, PAIR_CLASSES = CLASSES };

#include "device.h"
#include "world.h"

/* ---- codes of the world's features -------------------------------------------------------------
 */

static float offset[IN], scale[IN];
static uint8_t codes[NODES * IN];
static flip_real decoded[NODES * IN];

static flip_packing packing = {.kind = FLIP_PACKING_SCALAR,
                               .dim = IN,
                               .stride = IN,
                               .bits = 8,
                               .offset = offset,
                               .scale = scale,
                               .dither = true,
                               .dither_seed = 5};

static void make_codes(void) {
    float row[IN];
    for (int j = 0; j < IN; j++) {
        offset[j] = -2 - (float)j / 8;
        scale[j] = -2 * offset[j] / 256;
    }
    for (int i = 0; i < NODES * IN; i++)
        codes[i] = (uint8_t)fmin(255, fmax(0, floor(((double)features[i] - (double)offset[i % IN]) /
                                                    (double)scale[i % IN])));
    for (int v = 0; v < NODES; v++) {
        flip_unpack_row(&packing, codes + v * IN, original[v], row);
        for (int j = 0; j < IN; j++)
            decoded[v * IN + j] = row[j];
    }
}

/* ---- a model on the whole graph or on this rank's part ---------------------------------------
 */

typedef struct run {
    bool whole;
    int32_t n_own;
    flip_gid from;
    flip_params *params;
    flip_model *model;
    flip_tape *tape;
    flip_adjacency *adjacency;
} run;

static const struct variant {
    const char *name;
    flip_model_params p;
} variants[] = {
    {"gcn", {.kind = FLIP_MODEL_GCN, .layers = 2, .hidden = 6, .heads = 1, .dropout = 0.3}},
    {"gcn wide", {.kind = FLIP_MODEL_GCN, .layers = 2, .hidden = 14, .heads = 1, .residual = true}},
    {"sage", {.kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 6, .heads = 1, .dropout = 0.3}},
    {"sage wide", {.kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 14, .heads = 1}},
    {"sage pool", {.kind = FLIP_MODEL_SAGE, .layers = 2, .hidden = 6, .heads = 1, .pool = true}},
    {"gat", {.kind = FLIP_MODEL_GAT, .layers = 2, .hidden = 8, .heads = 2, .residual = true}},
    {"gin", {.kind = FLIP_MODEL_GIN, .layers = 2, .hidden = 6, .heads = 1, .residual = true}},
    {"one layer", {.kind = FLIP_MODEL_SAGE, .layers = 1, .heads = 1}},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

static void open_run(run *r, const struct variant *c, bool whole) {
    static flip_gid d[EVENTS], s[EVENTS], all[2] = {0, NODES};
    flip_model_params p = c->p;
    flip_adjacency_params params = {.kind = flip_model_adjacency(&p), .n_steps = 1, .edge_life = 1};
    flip_events events = {.dst = d, .src = s};
    flip_comm *with = whole ? NULL : comm;
    *r = (run){.whole = whole, .n_own = whole ? NODES : (int32_t)(first[rank + 1] - first[rank])};
    r->from = whole ? 0 : first[rank];
    p.in_dim = IN;
    p.out_dim = CLASSES;
    CHECK_OK(flip_params_create(&r->params));
    CHECK_OK(flip_model_create(&r->model, r->params, &p));
    CHECK_OK(flip_params_finish(r->params, 4));
    for (int i = 0; i < EVENTS; i++)
        if (dst[i] >= r->from && dst[i] < r->from + r->n_own) {
            d[events.n] = dst[i];
            s[events.n++] = src[i];
        }
    CHECK_OK(flip_adjacency_create(&r->adjacency, with, whole ? all : first, original + r->from,
                                   &events, &params));
    flip_tape_params settings = {.comm = with,
                                 .params = r->params,
                                 .key = original + r->from,
                                 .n_own = r->n_own,
                                 .seed = 6,
                                 .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&r->tape, &settings));
    CHECK(test_placed(r->params), "the parameters are not on the device");
}

static void close_run(run *r) {
    flip_adjacency_destroy(&r->adjacency);
    flip_tape_destroy(&r->tape);
    flip_model_destroy(&r->model);
    flip_params_destroy(&r->params);
}

/* Losses of EPOCHS updates; `listed`: codes in another order, found by index. */
static void train(const struct variant *c, bool whole, bool packed, bool listed, double *losses) {
    static uint8_t turned[NODES * IN];
    int64_t key[NODES];
    int32_t index[NODES];
    run r;
    flip_optimiser *optimiser;
    flip_optimiser_params settings = FLIP_OPTIMISER_DEFAULTS;
    open_run(&r, c, whole);
    for (int32_t v = 0; v < r.n_own; v++) {
        index[v] = r.n_own - 1 - v;
        key[index[v]] = original[r.from + v];
        memcpy(turned + index[v] * IN, codes + (r.from + v) * IN, IN);
    }
    flip_packed_rows rows = {
        .packing = &packing, .codes = codes + r.from * IN, .key = original + r.from};
    if (listed)
        rows = (flip_packed_rows){.packing = &packing, .codes = turned, .key = key, .index = index};
    flip_block block = {.adjacency = r.adjacency,
                        .features = packed ? NULL : decoded + r.from * IN,
                        .packed = packed ? &rows : NULL,
                        .steps = 1,
                        .n_blocks = 1};
    CHECK_OK(flip_optimiser_create(&optimiser, r.params, &settings));
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        flip_tape_reset(r.tape, true, epoch);
        flip_var y = flip_model_forward(r.model, r.tape, &block);
        flip_labels labels = {.label = label + r.from};
        flip_var loss = flip_cross_entropy(r.tape, y, &labels);
        CHECK_OK(flip_tape_status(r.tape));
        losses[epoch] = flip_tape_scalar(r.tape, loss);
        flip_params_clear_gradients(r.params);
        CHECK_OK(flip_tape_backward(r.tape, loss));
        CHECK_OK(flip_params_reduce(r.params, whole ? NULL : comm));
        CHECK_OK(flip_optimiser_step(optimiser));
    }
    flip_optimiser_destroy(&optimiser);
    close_run(&r);
}

static void near_losses(const char *name, const char *what, const double *got, const double *want) {
    for (int e = 0; e < EPOCHS; e++)
        if (!(fabs(got[e] - want[e]) <= (wide ? 1e-9 : 1e-5) * fabs(want[e])))
            fail_msg("%s, %s: loss of epoch %d is %.12g, expected %.12g", name, what, e + 1, got[e],
                     want[e]);
}

static void as_decoded(void **state) {
    (void)state;
    for (int i = 0; i < N_VARIANTS; i++) {
        double plain[EPOCHS], packed[EPOCHS], listed[EPOCHS], ranks[EPOCHS];
        train(&variants[i], true, false, false, plain);
        train(&variants[i], true, true, false, packed);
        train(&variants[i], true, true, true, listed);
        train(&variants[i], false, true, false, ranks);
        assert_true(fabs(plain[EPOCHS - 1] - plain[0]) > 1e-3);
        near_losses(variants[i].name, "packed", packed, plain);
        near_losses(variants[i].name, "listed", listed, plain);
        near_losses(variants[i].name, "on ranks", ranks, plain);
    }
}

/* ---- operators --------------------------------------------------------------------------------
 */

enum { ROWS = 8192, DIM = 512, OUT = 2 };

static uint8_t bits_of[ROWS * DIM / 8];
static const flip_packing bits = {
    .kind = FLIP_PACKING_SCALAR, .dim = DIM, .stride = DIM / 8, .bits = 1};

static flip_real bit_value(int i, int j) {
    return (flip_real)(bits_of[i * (DIM / 8) + j / 8] >> j % 8 & 1) + (flip_real)0.5;
}

/* The loss of y, and its n gradients. */
static double differentiate(flip_tape *tape, flip_params *params, flip_var y,
                            const int32_t *classes, double *gradients, size_t n) {
    flip_labels labels = {.label = classes};
    flip_var loss = flip_cross_entropy(tape, y, &labels);
    CHECK_OK(flip_tape_status(tape));
    double value = flip_tape_scalar(tape, loss);
    CHECK_OK(flip_tape_backward(tape, loss));
    memcpy(gradients, flip_params_gradients(params), n * sizeof *gradients);
    return value;
}

static void same_step(double loss, double want, const double *packed, const double *plain,
                      size_t n) {
    if (!(fabs(loss - want) <= (wide ? 1e-12 : 1e-6) * want))
        fail_msg("loss %.12g, expected %.12g", loss, want);
    for (size_t i = 0; i < n; i++)
        assert_true(fabs(packed[i] - plain[i]) <= (wide ? 1e-12 : 1e-5));
}

/* relu(X w) of several chunks and its gradient of w; plain: the decoded rows, or NULL. Returns the
 * loss. */
static double one_step(const flip_real *plain, double *gradient, size_t *peak) {
    static int32_t classes[ROWS];
    flip_params *params;
    flip_tape *tape;
    for (int i = 0; i < ROWS; i++)
        classes[i] = i * 7 % 5 % OUT;
    CHECK_OK(flip_params_create(&params));
    flip_param w = flip_params_add(params, "w", DIM, OUT, FLIP_INIT_GLOROT);
    CHECK_OK(flip_params_finish(params, 1));
    flip_tape_params settings = {.params = params, .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&tape, &settings));
    flip_tape_reset(tape, true, 0);
    flip_packed_rows rows = {.packing = &bits, .codes = bits_of};
    flip_var x = plain ? flip_tape_input(tape, ROWS, 1, DIM, plain, false)
                       : flip_tape_packed_input(tape, ROWS, &rows);
    assert_int_equal(flip_tape_is_packed(tape, x), !plain);
    flip_act act = {.relu = true, .dropout = 0.25};
    flip_var y = flip_linear(tape, x, w, FLIP_PARAM_NONE, act);
    double value = differentiate(tape, params, y, classes, gradient, DIM * OUT);
    *peak = flip_tape_peak(tape);
    /* whoever does not decode refuses */
    flip_tape_reset(tape, true, 0);
    x = flip_tape_packed_input(tape, ROWS, &rows);
    assert_int_equal(flip_elu(tape, x), FLIP_VAR_NONE);
    assert_int_equal(flip_tape_status(tape), FLIP_ERROR_USAGE);
    assert_non_null(strstr(flip_error_message(), "packed features cannot enter 'elu'"));
    flip_error_clear();
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
    return value;
}

/* 8,192 rows of 512 columns: the loss and gradients of a table that never stands. */
static void chunks(void **state) {
    (void)state;
    static double packed[DIM * OUT], plain[DIM * OUT];
    flip_real *table;
    size_t peak, other;
    for (int i = 0; i < ROWS * DIM / 8; i++)
        bits_of[i] = (uint8_t)(i * 37 + i / 256);
    CHECK_OK(flip_alloc(&table, ROWS * DIM, sizeof *table, "decoded rows"));
    for (int i = 0; i < ROWS * DIM; i++)
        table[i] = bit_value(i / DIM, i % DIM);
    double loss = one_step(NULL, packed, &peak), want = one_step(table, plain, &other);
    flip_free(table);
    same_step(loss, want, packed, plain, DIM * OUT);
    if (test_kernels()) peak -= sizeof bits_of; /* a copy of the codes */
    assert_true(peak < (size_t)ROWS * DIM * sizeof(flip_real) / 16);
}

/* ---- products in codebook space ----------------------------------------------------------------
 * 22 columns in blocks of 5, of which the last has 2; 70 outputs: two tables of 32 columns and a
 * narrow one; enough rows that tables pay. */

enum { PQ_ROWS = 400, PQ_DIM = 22, PQ_WIDTH = 5, PQ_BLOCKS = 5, PQ_LENGTH = 37, PQ_OUT = 70 };

static float book[PQ_BLOCKS * PQ_LENGTH * PQ_WIDTH], pq_offset[PQ_DIM], pq_scale[PQ_DIM];
static uint8_t pq_codes[PQ_ROWS * PQ_BLOCKS];
static const flip_packing product = {.kind = FLIP_PACKING_PRODUCT,
                                     .dim = PQ_DIM,
                                     .stride = PQ_BLOCKS,
                                     .bits = 8,
                                     .offset = pq_offset,
                                     .scale = pq_scale,
                                     .width = PQ_WIDTH,
                                     .length = PQ_LENGTH,
                                     .blocks = PQ_BLOCKS,
                                     .codebook = book};

static double pq_draw(uint64_t a, int i) {
    return 2 * flip_random_uniform(5, FLIP_STREAM_TEST, a, (uint64_t)i) - 1;
}

/* The second level: to three of four of these rows a row of dithered 4-bit codes that stand in
 * another order. */

static uint8_t fine_codes[PQ_ROWS * PQ_DIM / 2];
static const flip_packing second = {.kind = FLIP_PACKING_SCALAR,
                                    .dim = PQ_DIM,
                                    .stride = PQ_DIM / 2,
                                    .bits = 4,
                                    .offset = pq_offset,
                                    .scale = pq_scale,
                                    .dither = true,
                                    .dither_seed = 8};

/* row i of `rows` by the definition */
static void defined(const flip_packed_rows *rows, int i, flip_real *out) {
    const flip_refinement *fine = &rows->fine;
    float one[PQ_DIM], more[PQ_DIM] = {0};
    int32_t c = rows->index ? rows->index[i] : i, at = fine->at ? fine->at[c] : c;
    flip_unpack_row(rows->packing, rows->codes + c * PQ_BLOCKS, c, one);
    if (fine->packing && at >= 0)
        flip_unpack_row(fine->packing, fine->codes + at * PQ_DIM / 2, fine->key[at], more);
    for (int j = 0; j < PQ_DIM; j++)
        out[j] = (flip_real)one[j] + (flip_real)more[j];
}

static int32_t second_at[PQ_ROWS];
static int64_t second_key[PQ_ROWS];

/* some: not to all. */
static flip_refinement refinement(bool some) {
    return (flip_refinement){
        .packing = &second, .codes = fine_codes, .key = second_key, .at = some ? second_at : NULL};
}

static void make_second(void) {
    int32_t n = 0;
    for (int i = 0; i < PQ_ROWS * PQ_DIM / 2; i++)
        fine_codes[i] = (uint8_t)(i * 41 + i / 100);
    for (int i = 0; i < PQ_ROWS; i++) {
        second_key[i] = 1000 + i * 7;
        second_at[PQ_ROWS - 1 - i] = i % 4 == 1 ? -1 : n++;
    }
}

/* relu(X w1 + X[turned] w2 + b) on packed rows, or on decoded ones; loss and gradients. */
static double pq_step(const flip_refinement *fine, bool packed, double *gradients, size_t n) {
    static flip_real plain[2][PQ_ROWS * PQ_DIM];
    static int32_t classes[PQ_ROWS], turned[PQ_ROWS];
    flip_params *params;
    flip_tape *tape;
    flip_var x[2];
    CHECK_OK(flip_params_create(&params));
    flip_param w1 = flip_params_add(params, "w1", PQ_DIM, PQ_OUT, FLIP_INIT_GLOROT);
    flip_param w2 = flip_params_add(params, "w2", PQ_DIM, PQ_OUT, FLIP_INIT_GLOROT);
    flip_param b = flip_params_add(params, "b", 1, PQ_OUT, FLIP_INIT_GLOROT);
    CHECK_OK(flip_params_finish(params, 1));
    flip_tape_params settings = {.params = params, .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&tape, &settings));
    flip_tape_reset(tape, true, 0);
    for (int i = 0; i < PQ_ROWS; i++) {
        classes[i] = i * 7 % 5;
        turned[i] = i * 3 % PQ_ROWS;
    }
    for (int k = 0; k < 2; k++) {
        flip_packed_rows rows = {
            .packing = &product, .codes = pq_codes, .index = k == 0 ? NULL : turned, .fine = *fine};
        for (int i = 0; i < PQ_ROWS; i++)
            defined(&rows, i, plain[k] + i * PQ_DIM);
        x[k] = packed ? flip_tape_packed_input(tape, PQ_ROWS, &rows)
                      : flip_tape_input(tape, PQ_ROWS, 1, PQ_DIM, plain[k], false);
    }
    flip_var y = flip_linear2(tape, x[0], w1, x[1], w2, b, (flip_act){.relu = true});
    double value = differentiate(tape, params, y, classes, gradients, n);
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
    return value;
}

static void in_codebook_space(void **state) {
    (void)state;
    enum { N = (2 * PQ_DIM + 1) * PQ_OUT };
    static double packed[N], plain[N];
    for (size_t i = 0; i < sizeof book / sizeof *book; i++)
        book[i] = (float)pq_draw(1, (int)i);
    for (int j = 0; j < PQ_DIM; j++) {
        pq_offset[j] = (float)pq_draw(2, j);
        pq_scale[j] = (float)(1.5 + pq_draw(3, j));
    }
    for (int i = 0; i < PQ_ROWS * PQ_BLOCKS; i++)
        pq_codes[i] = (uint8_t)((pq_draw(4, i) + 1) / 2 * PQ_LENGTH);
    for (int how = 0; how < 3; how++) { /* of one level, of two, of two where there is a second */
        const flip_refinement fine =
            how ? refinement(how == 2) : (flip_refinement){.packing = NULL};
        double loss = pq_step(&fine, true, packed, N), want = pq_step(&fine, false, plain, N);
        same_step(loss, want, packed, plain, N);
    }
}

/* ---- two levels ---------------------------------------------------------------------------- */

static void check_decoded(const flip_packed_rows *rows) {
    enum { FIRST = 7 };
    static flip_real out[PQ_ROWS * PQ_DIM];
    CHECK_OK(flip_packed_rows_decode(rows, flip_kernels_get(), FIRST, PQ_ROWS - FIRST, out));
    for (int i = FIRST; i < PQ_ROWS; i++) {
        flip_real want[PQ_DIM];
        defined(rows, i, want);
        for (int j = 0; j < PQ_DIM; j++)
            assert_true(fabs((double)out[(i - FIRST) * PQ_DIM + j] - (double)want[j]) < 1e-5);
    }
}

/* Row v sums v % 6 columns: some rows none, some columns twice. */
static void check_summed(const flip_packed_rows *rows, bool weighted) {
    enum { SUMS = 50 };
    static flip_real y[SUMS * PQ_DIM], value[SUMS * 6], of_row[SUMS], of_col[PQ_ROWS];
    int64_t ptr[SUMS + 1] = {0};
    int32_t col[SUMS * 6];
    for (int v = 0; v < SUMS; v++) {
        ptr[v + 1] = ptr[v] + v % 6;
        of_row[v] = (flip_real)(1 + v % 3) / 2;
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            col[e] = (int32_t)(e * 37 % PQ_ROWS) / 2 * 2;
            value[e] = (flip_real)(e % 7 - 3);
        }
    }
    for (int c = 0; c < PQ_ROWS; c++)
        of_col[c] = (flip_real)(c % 5 + 1) / 4;
    flip_csr a = {.n_rows = SUMS,
                  .n_cols = PQ_ROWS,
                  .n_own = PQ_ROWS,
                  .n_steps = 1,
                  .n_entries = ptr[SUMS],
                  .n_values = weighted ? ptr[SUMS] : 0,
                  .row_ptr = ptr,
                  .col = col,
                  .value = weighted ? value : NULL,
                  .row_scale = of_row,
                  .col_scale = weighted ? of_col : NULL};
    CHECK_OK(flip_packed_rows_sum(rows, flip_kernels_get(), &a, y));
    for (int v = 0; v < SUMS; v++) {
        double want[PQ_DIM] = {0};
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            flip_real row[PQ_DIM];
            double w =
                (double)of_row[v] * (weighted ? (double)value[e] * (double)of_col[col[e]] : 1);
            defined(rows, col[e], row);
            for (int j = 0; j < PQ_DIM; j++)
                want[j] += w * (double)row[j];
        }
        for (int j = 0; j < PQ_DIM; j++)
            assert_true(fabs((double)y[v * PQ_DIM + j] - want[j]) < 1e-4);
    }
}

/* Decoded and summed against one value after the other, by the host. */
static void two_levels(void **state) {
    (void)state;
    static int32_t index[PQ_ROWS];
    for (int i = 0; i < PQ_ROWS; i++)
        index[i] = i * 3 % PQ_ROWS;
    for (int how = 0; how < 4; how++) {
        flip_packed_rows rows = {.packing = &product,
                                 .codes = pq_codes,
                                 .index = how & 1 ? index : NULL,
                                 .fine = refinement(how & 2)};
        check_decoded(&rows);
        check_summed(&rows, false);
        check_summed(&rows, true);
    }
}

/* ---- runs of steps -----------------------------------------------------------------------------
 */

enum { RUN_ROWS = 300, RUN_STEPS = 4, RUN_OUT = 7, MOST_RUNS = RUN_ROWS * RUN_STEPS };

/* Rows of which a third change at a step; their codes are rows of `n_codes` in no order. */
static void make_runs(flip_packed_rows *rows, int32_t n_codes, int32_t *index, int64_t *run) {
    rows->n_runs = 0;
    for (int i = 0; i < MOST_RUNS; i++)
        if (i % RUN_STEPS == 0 || i * 7 % 3 == 0) {
            index[rows->n_runs] = (int32_t)(rows->n_runs * 29 % n_codes);
            run[rows->n_runs++] = i;
        }
    run[rows->n_runs] = MOST_RUNS;
    rows->index = index;
    rows->run = run;
    rows->steps = RUN_STEPS;
}

/* relu(X w1 + X w2 + b) of runs, or of every step's decoded row; loss and gradients. */
static double run_step(const flip_packing *p, const uint8_t *of, int32_t n_codes, bool packed,
                       double *gradients, size_t n) {
    static int32_t index[MOST_RUNS], classes[MOST_RUNS];
    static int64_t run[MOST_RUNS + 1];
    static flip_real plain[MOST_RUNS * DIM];
    static float row[DIM];
    flip_packed_rows rows = {.packing = p, .codes = of};
    flip_params *params;
    flip_tape *tape;
    make_runs(&rows, n_codes, index, run);
    for (int64_t k = 0; k < rows.n_runs; k++) {
        flip_unpack_row(p, of + (size_t)index[k] * p->stride, 0, row);
        for (int64_t i = run[k]; i < run[k + 1]; i++)
            for (int j = 0; j < p->dim; j++)
                plain[i * p->dim + j] = (flip_real)row[j];
    }
    for (int i = 0; i < MOST_RUNS; i++)
        classes[i] = i * 5 % RUN_OUT;
    CHECK_OK(flip_params_create(&params));
    flip_param w1 = flip_params_add(params, "w1", p->dim, RUN_OUT, FLIP_INIT_GLOROT);
    flip_param w2 = flip_params_add(params, "w2", p->dim, RUN_OUT, FLIP_INIT_GLOROT);
    flip_param b = flip_params_add(params, "b", 1, RUN_OUT, FLIP_INIT_GLOROT);
    CHECK_OK(flip_params_finish(params, 1));
    flip_tape_params settings = {.params = params, .kernels = test_kernels()};
    CHECK_OK(flip_tape_create(&tape, &settings));
    flip_tape_reset(tape, true, 0);
    flip_var x = packed ? flip_tape_packed_input(tape, RUN_ROWS, &rows)
                        : flip_tape_input(tape, RUN_ROWS, RUN_STEPS, p->dim, plain, false);
    flip_var y = flip_linear2(tape, x, w1, x, w2, b, (flip_act){.relu = true});
    double value = differentiate(tape, params, y, classes, gradients, n);
    /* runs that do not cover the steps are refused */
    flip_tape_reset(tape, true, 0);
    run[rows.n_runs]--;
    flip_tape_packed_input(tape, RUN_ROWS, &rows);
    assert_int_equal(flip_tape_status(tape), FLIP_ERROR_INTERNAL);
    flip_error_clear();
    flip_tape_destroy(&tape);
    flip_params_destroy(&params);
    return value;
}

/* A device does not read them yet: it says so. */
static void runs_refused(const flip_kernels *device) {
    static int32_t index[MOST_RUNS];
    static int64_t run[MOST_RUNS + 1];
    flip_packed_rows rows = {.packing = &product, .codes = pq_codes};
    flip_tape *tape;
    make_runs(&rows, PQ_ROWS, index, run);
    CHECK_OK(flip_tape_create(&tape, &(flip_tape_params){.kernels = device}));
    flip_tape_reset(tape, true, 0);
    assert_int_equal(flip_tape_packed_input(tape, RUN_ROWS, &rows), FLIP_VAR_NONE);
    assert_int_equal(flip_tape_status(tape), FLIP_ERROR_USAGE);
    assert_non_null(strstr(flip_error_message(), "use --device cpu"));
    flip_error_clear();
    flip_tape_destroy(&tape);
}

/* Several chunks of decoded rows, and sums of entries of codebooks. */
static void in_runs(void **state) {
    (void)state;
    if (test_kernels()) {
        runs_refused(test_kernels());
        return;
    }
    static double packed[(2 * DIM + 1) * RUN_OUT], plain[(2 * DIM + 1) * RUN_OUT];
    for (int k = 0; k < 2; k++) {
        const flip_packing *p = k ? &product : &bits;
        const uint8_t *of = k ? pq_codes : bits_of;
        int32_t n_codes = k ? PQ_ROWS : ROWS;
        size_t n = (size_t)(2 * p->dim + 1) * RUN_OUT;
        double loss = run_step(p, of, n_codes, true, packed, n);
        double want = run_step(p, of, n_codes, false, plain, n);
        same_step(loss, want, packed, plain, n);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    CHECK_OK(flip_comm_create(&comm, MPI_COMM_WORLD));
    rank = flip_comm_rank(comm);
    size = flip_comm_size(comm);
    make_world();
    make_codes();
    make_second();
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_decoded), cmocka_unit_test(chunks),
                                       cmocka_unit_test(in_codebook_space),
                                       cmocka_unit_test(two_levels), cmocka_unit_test(in_runs)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    flip_comm_destroy(&comm);
    MPI_Finalize();
    return failed;
}
