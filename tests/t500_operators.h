/* t500_tape's table: each operator's call and its plain loops. */

static double value(const setup *s, int32_t v, int32_t t, int32_t j) {
    return (double)s->x[((int64_t)v * s->steps + t) * IN + j];
}

static double weight_of(const setup *s, flip_param p, int32_t i, int32_t j) {
    int32_t cols;
    int64_t offset;
    flip_params_shape(s->params, p, NULL, &cols, &offset);
    return (double)flip_params_values(s->params)[offset + (int64_t)i * cols + j];
}

/* (x w)[v, t, j] */
static double product(const setup *s, flip_param w, int32_t v, int32_t t, int32_t j) {
    double sum = 0;
    for (int32_t i = 0; i < IN; i++)
        sum += value(s, v, t, i) * weight_of(s, w, i, j);
    return sum;
}

/* Entries of the adjacency at step t: calls visit for each of row v (a static one has all steps).
 */
typedef void (*visitor)(const setup *s, int32_t u, double a, int32_t t, void *state);
static void visit(const setup *s, int32_t v, int32_t t, visitor call, void *state) {
    const flip_csr *a = &s->adjacency->a;
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        double scale = (a->row_scale ? (double)a->row_scale[v] : 1) *
                       (a->col_scale ? (double)a->col_scale[a->col[e]] : 1);
        if (!a->run_ptr) {
            call(s, a->col[e], scale * (a->value ? (double)a->value[e] : 1), t, state);
            continue;
        }
        for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++)
            for (int64_t i = a->value_ptr[r]; i < a->value_ptr[r + 1]; i++)
                if (a->run_first[r] + i - a->value_ptr[r] == t)
                    call(s, a->col[e], a->value ? (double)a->value[i] : 1, t, state);
    }
}

static void dropped_relu(int32_t v, int32_t t, int32_t steps, int32_t n, double *y) {
    for (int32_t j = 0; j < n; j++) {
        bool kept = flip_dropout_keep(3, 2 << 8, original[v] * steps + t, n, j, 0.3);
        y[j] = kept && y[j] > 0 ? y[j] / 0.7 : 0;
    }
}

static const flip_act both = {.relu = true, .dropout = 0.3};

/* ---- products ---- */

static flip_var build_linear(setup *s, flip_var x) {
    return flip_linear(s->tape, x, s->w1, s->b, both);
}
static void plain_linear(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < OUT; j++)
        y[j] = product(s, s->w1, v, t, j) + weight_of(s, s->b, 0, j);
    dropped_relu(v, t, s->steps, OUT, y);
}

/* Two layers, so that the second's gradient passes the first's ReLU and dropout in the product. */
static flip_var build_chain(setup *s, flip_var x) {
    flip_var h = flip_linear(s->tape, x, s->w1, s->b, both);
    flip_var y = flip_linear(s->tape, h, s->w3, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    flip_var z = flip_linear(s->tape, h, s->w3, FLIP_PARAM_NONE, FLIP_ACT_RELU);
    return flip_linear2(s->tape, y, s->w1, z, s->w2, FLIP_PARAM_NONE, FLIP_ACT_NONE);
}

static flip_var build_linear2(setup *s, flip_var x) {
    flip_var z = flip_scaled_add(s->tape, s->eps, x, x);
    return flip_linear2(s->tape, x, s->w1, z, s->w2, s->b, FLIP_ACT_NONE);
}
static void plain_linear2(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < OUT; j++)
        y[j] = product(s, s->w1, v, t, j) + weight_of(s, s->b, 0, j) +
               (2 + weight_of(s, s->eps, 0, 0)) * product(s, s->w2, v, t, j);
}

/* ---- aggregation ---- */

static void add_row(const setup *s, int32_t u, double a, int32_t t, void *state) {
    for (int32_t j = 0; j < IN; j++)
        ((double *)state)[j] += a * value(s, u, t, j);
}

static flip_var build_aggregate(setup *s, flip_var x) {
    return flip_aggregate(s->tape, s->adjacency, x, FLIP_VAR_NONE, FLIP_PARAM_NONE, FLIP_ACT_NONE);
}
static void plain_aggregate(const setup *s, int32_t v, int32_t t, double *y) {
    memset(y, 0, IN * sizeof *y);
    visit(s, v, t, add_row, y);
}

static flip_var build_aggregate_more(setup *s, flip_var x) {
    flip_var y = flip_bias(s->tape, x, s->beta, FLIP_ACT_NONE);
    return flip_aggregate(s->tape, s->adjacency, x, y, s->gamma, both);
}
static void plain_aggregate_more(const setup *s, int32_t v, int32_t t, double *y) {
    plain_aggregate(s, v, t, y);
    for (int32_t j = 0; j < IN; j++)
        y[j] += value(s, v, t, j) + weight_of(s, s->beta, 0, j) + weight_of(s, s->gamma, 0, j);
    dropped_relu(v, t, s->steps, IN, y);
}

static void add_product(const setup *s, int32_t u, double a, int32_t t, void *state) {
    for (int32_t j = 0; j < OUT; j++)
        ((double *)state)[j] += a * product(s, s->w2, u, t, j);
}

static flip_var build_narrow(setup *s, flip_var x) {
    return flip_linear_aggregate(s->tape, s->adjacency, x, s->w1, s->w2, s->b, both);
}
static void plain_narrow(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < OUT; j++)
        y[j] = product(s, s->w1, v, t, j) + weight_of(s, s->b, 0, j);
    visit(s, v, t, add_product, y);
    dropped_relu(v, t, s->steps, OUT, y);
}

static flip_var build_narrow_alone(setup *s, flip_var x) {
    return flip_linear_aggregate(s->tape, s->adjacency, x, FLIP_PARAM_NONE, s->w2, s->b,
                                 FLIP_ACT_NONE);
}
static void plain_narrow_alone(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < OUT; j++)
        y[j] = weight_of(s, s->b, 0, j);
    visit(s, v, t, add_product, y);
}

static void take_largest(const setup *s, int32_t u, double a, int32_t t, void *state) {
    (void)a;
    for (int32_t j = 0; j < IN; j++)
        ((double *)state)[j] = fmax(((double *)state)[j], value(s, u, t, j));
}

static flip_var build_max_pool(setup *s, flip_var x) {
    return flip_max_pool(s->tape, s->adjacency, x);
}
static void plain_max_pool(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < IN; j++)
        y[j] = -INFINITY;
    visit(s, v, t, take_largest, y);
    for (int32_t j = 0; j < IN; j++)
        y[j] = y[j] == -INFINITY ? 0 : y[j];
}

/* Weights of edges: a column of x of the edge's own, [entries, 1, 1] made from the entry number. */
static flip_var build_edges(setup *s, flip_var x) {
    static flip_real w[EVENTS + NODES];
    const flip_csr *a = &s->adjacency->a;
    int64_t base = s->adjacency->n_own == NODES ? 0 : first[rank];
    for (int64_t v = 0; v < a->n_rows; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++)
            w[e] = (flip_real)(0.1 * (double)(1 + (base + v) % 5 + e - a->row_ptr[v]));
    flip_var edges = flip_tape_input(s->tape, (int32_t)a->n_entries, 1, 1, w, true);
    return flip_aggregate_edges(s->tape, s->adjacency, edges, x);
}

/* ---- attention, from the equations ---- */

typedef struct scores {
    const setup *s;
    int32_t v, head;
    int64_t position; /* of the entry among those of its row that are alive */
    double total, sum[IN];
    double dropout;
} scores;

static double score(const setup *s, int32_t v, int32_t u, int32_t t, int32_t k) {
    double sum = 0;
    for (int32_t j = 0; j < IN / HEADS; j++)
        sum += weight_of(s, s->a_src, k, j) * value(s, u, t, k * (IN / HEADS) + j) +
               weight_of(s, s->a_dst, k, j) * value(s, v, t, k * (IN / HEADS) + j);
    return sum > 0 ? sum : 0.2 * sum;
}

static void attend(const setup *s, int32_t u, double a, int32_t t, void *state) {
    (void)a;
    scores *w = state;
    double weight = exp(score(s, w->v, u, t, w->head));
    int64_t place = w->position++ * HEADS + w->head, key = original[w->v] * s->steps + t;
    w->total += weight;
    if (w->dropout > 0 && !flip_dropout_keep(3, 2 << 8, key, 1 << 22, place, w->dropout)) return;
    for (int32_t j = 0; j < IN / HEADS; j++)
        w->sum[j] += weight * value(s, u, t, w->head * (IN / HEADS) + j);
}

static flip_var build_attention(setup *s, flip_var x) {
    return flip_attention(s->tape, s->adjacency, x, s->a_src, s->a_dst, HEADS, 0);
}
static void plain_weights(const setup *s, int32_t v, int32_t t, double dropout, double *y) {
    for (int32_t k = 0; k < HEADS; k++) {
        scores w = {.s = s, .v = v, .head = k, .dropout = dropout};
        visit(s, v, t, attend, &w);
        for (int32_t j = 0; j < IN / HEADS; j++)
            y[k * (IN / HEADS) + j] = w.total > 0 ? w.sum[j] / w.total / (1 - dropout) : 0;
    }
}
static void plain_attention(const setup *s, int32_t v, int32_t t, double *y) {
    plain_weights(s, v, t, 0, y);
}

static flip_var build_attention_dropped(setup *s, flip_var x) {
    return flip_attention(s->tape, s->adjacency, x, s->a_src, s->a_dst, HEADS, 0.4);
}

static void plain_attention_dropped(const setup *s, int32_t v, int32_t t, double *y) {
    plain_weights(s, v, t, 0.4, y);
}

static flip_var build_head_mean(setup *s, flip_var x) {
    return flip_head_mean(s->tape, x, HEADS);
}
static void plain_head_mean(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < IN / HEADS; j++)
        y[j] = (value(s, v, t, j) + value(s, v, t, IN / HEADS + j)) / 2;
}

/* ---- row by row ---- */

static flip_var build_activate(setup *s, flip_var x) {
    return act_of(s, x);
}
static void plain_activate(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < IN; j++)
        y[j] = value(s, v, t, j);
    dropped_relu(v, t, s->steps, IN, y);
}

static flip_var build_elu(setup *s, flip_var x) {
    return flip_elu(s->tape, x);
}
static void plain_elu(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < IN; j++)
        y[j] = value(s, v, t, j) > 0 ? value(s, v, t, j) : exp(value(s, v, t, j)) - 1;
}

static flip_var build_concat(setup *s, flip_var x) {
    flip_var z = flip_add(s->tape, flip_elu(s->tape, x), x, FLIP_ACT_RELU);
    return flip_concat(s->tape, x, z);
}
static void plain_concat(const setup *s, int32_t v, int32_t t, double *y) {
    plain_elu(s, v, t, y + IN);
    for (int32_t j = 0; j < IN; j++) {
        y[j] = value(s, v, t, j);
        y[IN + j] = fmax(0, y[IN + j] + y[j]);
    }
}

static flip_var build_layer_norm(setup *s, flip_var x) {
    return flip_layer_norm(s->tape, x, s->gamma, s->beta, 1e-5, both);
}
static void plain_layer_norm(const setup *s, int32_t v, int32_t t, double *y) {
    double mean = 0, var = 0;
    for (int32_t j = 0; j < IN; j++)
        mean += value(s, v, t, j) / IN;
    for (int32_t j = 0; j < IN; j++)
        var += pow(value(s, v, t, j) - mean, 2) / IN;
    for (int32_t j = 0; j < IN; j++)
        y[j] = weight_of(s, s->gamma, 0, j) * (value(s, v, t, j) - mean) / sqrt(var + 1e-5) +
               weight_of(s, s->beta, 0, j);
    dropped_relu(v, t, s->steps, IN, y);
}

static flip_var build_batch_norm(setup *s, flip_var x) {
    return flip_batch_norm(s->tape, x, s->gamma, s->beta, s->mean, s->var, 0.1, 1e-5,
                           FLIP_ACT_NONE);
}
static void plain_batch_norm(const setup *s, int32_t v, int32_t t, double *y) {
    for (int32_t j = 0; j < IN; j++) {
        double mean = 0, var = 0, n = NODES * s->steps;
        for (int32_t i = 0; i < NODES * s->steps; i++)
            mean += value(s, i / s->steps, i % s->steps, j) / n;
        for (int32_t i = 0; i < NODES * s->steps; i++)
            var += pow(value(s, i / s->steps, i % s->steps, j) - mean, 2) / n;
        y[j] = weight_of(s, s->gamma, 0, j) * (value(s, v, t, j) - mean) / sqrt(var + 1e-5) +
               weight_of(s, s->beta, 0, j);
    }
}

static flip_var build_l2(setup *s, flip_var x) {
    return flip_l2_normalise(s->tape, x);
}
static void plain_l2(const setup *s, int32_t v, int32_t t, double *y) {
    double square = 0;
    for (int32_t j = 0; j < IN; j++)
        square += pow(value(s, v, t, j), 2);
    for (int32_t j = 0; j < IN; j++)
        y[j] = value(s, v, t, j) / sqrt(square);
}

static flip_var build_band(setup *s, flip_var x) {
    return flip_band(s->tape, x, 3);
}
static void plain_band(const setup *s, int32_t v, int32_t t, double *y) {
    int32_t n = t + 1 < 3 ? t + 1 : 3;
    for (int32_t j = 0; j < IN; j++) {
        y[j] = 0;
        for (int32_t k = t - n + 1; k <= t; k++)
            y[j] += value(s, v, k, j) / n;
    }
}

/* ---- pairs ---- */

static flip_var build_gather(setup *s, flip_var x) {
    return flip_gather_pairs(s->tape, x, s->pairs);
}
static void plain_gather(const setup *s, int32_t i, int32_t t, double *y) {
    t = s->steps > 1 ? pair_step[i] : 0;
    for (int32_t j = 0; j < IN; j++) {
        y[j] = value(s, (int32_t)pair_u[i], t, j);
        y[IN + j] = value(s, (int32_t)pair_v[i], t, j);
    }
}

static flip_var build_dot(setup *s, flip_var x) {
    return flip_pair_dot(s->tape, flip_gather_pairs(s->tape, x, s->pairs));
}
static void plain_dot(const setup *s, int32_t i, int32_t t, double *y) {
    double z[2 * IN];
    plain_gather(s, i, t, z);
    y[0] = 0;
    for (int32_t j = 0; j < IN; j++)
        y[0] += z[j] * z[IN + j];
}

#define STATIC(kind) 1, 1, FLIP_ADJACENCY_##kind
#define WIDE(kind) STEPS, 1, FLIP_ADJACENCY_##kind
#define SNAPSHOTS(kind) STEPS, STEPS, FLIP_ADJACENCY_##kind

static const test_case cases[] = {
    {"linear", STATIC(MEAN), false, build_linear, plain_linear, true},
    {"linear, steps", WIDE(MEAN), false, build_linear, plain_linear, true},
    {"chain", WIDE(MEAN), false, build_chain, NULL, true},
    {"linear2", WIDE(MEAN), false, build_linear2, plain_linear2, false},
    {"mean", STATIC(MEAN), false, build_aggregate, plain_aggregate, false},
    {"mean, steps", WIDE(MEAN), false, build_aggregate, plain_aggregate, false},
    {"gcn, snapshots", SNAPSHOTS(GCN), false, build_aggregate, plain_aggregate, false},
    {"sum of weights, snapshots", SNAPSHOTS(WSUM), false, build_aggregate, plain_aggregate, false},
    {"aggregate onto", WIDE(GCN), false, build_aggregate_more, plain_aggregate_more, true},
    {"aggregate onto, snapshots", SNAPSHOTS(MEAN), false, build_aggregate_more,
     plain_aggregate_more, true},
    {"multiply first", STATIC(MEAN), false, build_narrow, plain_narrow, true},
    {"multiply first, snapshots", SNAPSHOTS(GCN), false, build_narrow, plain_narrow, true},
    {"multiply first alone", WIDE(GCN), false, build_narrow_alone, plain_narrow_alone, false},
    {"weights of edges", WIDE(ATTENTION), false, build_edges, NULL, false},
    {"max pool", STATIC(PATTERN), false, build_max_pool, plain_max_pool, true},
    {"max pool, steps", WIDE(PATTERN), false, build_max_pool, plain_max_pool, true},
    {"max pool, snapshots", SNAPSHOTS(PATTERN), false, build_max_pool, plain_max_pool, true},
    {"attention", STATIC(ATTENTION), false, build_attention, plain_attention, true},
    {"attention, steps", WIDE(ATTENTION), false, build_attention, plain_attention, true},
    {"attention, snapshots", SNAPSHOTS(ATTENTION), false, build_attention, plain_attention, true},
    {"attention, dropped", WIDE(ATTENTION), false, build_attention_dropped, plain_attention_dropped,
     true},
    {"attention, dropped, snapshots", SNAPSHOTS(ATTENTION), false, build_attention_dropped,
     plain_attention_dropped, true},
    {"mean over heads", WIDE(MEAN), false, build_head_mean, plain_head_mean, false},
    {"relu and dropout", WIDE(MEAN), false, build_activate, plain_activate, true},
    {"elu", WIDE(MEAN), false, build_elu, plain_elu, true},
    {"concat and add", WIDE(MEAN), false, build_concat, plain_concat, true},
    {"layer norm", WIDE(MEAN), false, build_layer_norm, plain_layer_norm, true},
    {"batch norm", WIDE(MEAN), false, build_batch_norm, plain_batch_norm, false},
    {"l2 normalise", WIDE(MEAN), false, build_l2, plain_l2, false},
    {"band", WIDE(MEAN), false, build_band, plain_band, false},
    {"pairs", STATIC(MEAN), true, build_gather, plain_gather, false},
    {"pairs at steps", WIDE(MEAN), true, build_gather, plain_gather, false},
    {"dot of pairs", WIDE(MEAN), true, build_dot, plain_dot, false},
};
