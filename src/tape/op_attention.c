/* Graph attention (Veličković et al. 2018, equations 1-4), per head k, over entries e = (v, u):
 *     s_e = LeakyReLU_0.2(a_src . z[u] + a_dst . z[v])
 *     alpha_e = exp(s_e) / Σ_{e' of v} exp(s_e')
 *     y[v] = Σ_e keep_e alpha_e z[u] / (1 - p)
 *
 * Backward, with d_e = keep_e/(1-p) dy[v] . z[u]:
 *     ds_e = alpha_e (d_e - Σ_{e' of v} alpha_e' d_e') LeakyReLU'(s_e)
 *     dz[u] = Σ_e keep_e/(1-p) alpha_e dy[v] + (Σ_e ds_e) a_src;   dz[v] += (Σ_{e of v} ds_e) a_dst
 *     da_src = Σ_u (Σ_e ds_e) z[u];   da_dst = Σ_v (Σ_{e of v} ds_e) z[v]
 * The sums over u's entries run over the transpose, halo rows first. Several steps share a static
 * adjacency, or each has its snapshot's entries; entries not alive have alpha 0. */
#include "edges.h"
#include "internal.h"

#include <string.h>
#include <tgmath.h>

static const flip_real slope = (flip_real)0.2;
/* Columns that an entry's dropout key spans: rows of more than 4 million weights would share draws.
 */
enum { KEY_WIDTH = 1 << 22 };

/* One call's shapes and arrays. */
typedef struct attention {
    const flip_adjacency *g;
    int32_t steps, heads, d;
    int64_t width;  /* steps * heads * d */
    int64_t scores; /* steps * heads: values an entry or node has */
    const flip_real *z, *halo, *a_src, *a_dst;
    flip_real *src,
        *dst;         /* a . z of local nodes [n_own + n_halo, scores], of own [n_own, scores] */
    flip_real *alpha; /* [entries, scores] */
    double dropout;
    uint64_t seed, draw;
    const int64_t *key; /* [n_own, steps] */
    int32_t *count;     /* [n_own, steps] of keepers */
} attention;

enum { SAVED_HALO, SAVED_SRC, SAVED_DST, SAVED_ALPHA };

static flip_status attention_shape(const flip_tape *tape, const record *r, shape *out) {
    int32_t heads[2], d[2];
    for (int i = 0; i < 2; i++)
        flip_params_shape(tape->params, r->param[i], &heads[i], &d[i], NULL);
    FLIP_TRY(edges_shape(tape, r, 0, out));
    if (heads[0] != r->count || heads[1] != r->count || d[0] != d[1] ||
        out->dim != r->count * d[0] || !r->adjacency->to_transposed)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL,
                         "attention of %d heads over %d columns with vectors %d x %d", r->count,
                         out->dim, heads[0], d[0]);
    return FLIP_OK;
}

static attention attention_of(const flip_tape *tape, const record *r) {
    const variable *z = tape_in(tape, r, 0);
    return (attention){.g = r->adjacency,
                       .steps = z->steps,
                       .heads = r->count,
                       .d = z->dim / r->count,
                       .width = (int64_t)z->steps * z->dim,
                       .scores = (int64_t)z->steps * r->count,
                       .z = z->value,
                       .halo = r->saved[SAVED_HALO],
                       .src = r->saved[SAVED_SRC],
                       .dst = r->saved[SAVED_DST],
                       .alpha = r->saved[SAVED_ALPHA],
                       .a_src = tape_weight(tape, r->param[0]),
                       .a_dst = tape_weight(tape, r->param[1]),
                       .dropout = r->number[0],
                       .seed = tape->seed,
                       .draw = r->draw};
}

static flip_real leaky(flip_real s) {
    return s > 0 ? s : slope * s;
}

/* out[t, k] = a[k] . z[t, k] */
static void node_scores(const attention *at, const flip_real *a, const flip_real *z,
                        flip_real *out) {
    for (int64_t i = 0; i < at->scores; i++) {
        const flip_real *head = a + i % at->heads * at->d, *row = z + i * at->d;
        flip_real sum = 0;
        for (int32_t j = 0; j < at->d; j++)
            sum += head[j] * row[j];
        out[i] = sum;
    }
}

/* Which weights of row v dropout keeps, by the rule of flip_dropout_keep over rows of KEY_WIDTH
 * columns: a row is a node at a step of the timeline, and weight j of it is head j % heads of the
 * entry that is number j / heads among those alive at that step. So a draw does not depend on the
 * block or the rank. Four share one, so the last one is held. */
typedef struct keeper {
    const attention *at;
    int32_t v;
    int32_t *count; /* [steps] entries so far that are alive */
    int64_t quad;   /* j / 4 of `drawn`; -1 none */
    int32_t step;   /* … and its step */
    flip_random4 drawn;
} keeper;

static keeper keeper_of(const attention *at, int32_t v) {
    keeper k = {.at = at, .v = v, .count = at->count + (int64_t)v * at->steps, .quad = -1};
    memset(k.count, 0, (size_t)at->steps * sizeof *k.count);
    return k;
}

static bool kept(keeper *k, int32_t t, int32_t head) {
    const attention *at = k->at;
    if (!(at->dropout > 0)) return true;
    int64_t j = (int64_t)k->count[t] * at->heads + head;
    if (k->quad != j / 4 || k->step != t) {
        k->quad = j / 4;
        k->step = t;
        uint64_t row = (uint64_t)at->key[(int64_t)k->v * at->steps + t];
        k->drawn = flip_random(at->seed, FLIP_STREAM_DROPOUT, at->draw,
                               row * (KEY_WIDTH / 4) + (uint64_t)k->quad);
    }
    return (double)k->drawn.v[j % 4] >= at->dropout * 0x1p32;
}

/* After the last head of an entry at a step: was it alive? */
static void count_entry(keeper *k, int32_t t, const flip_real *alpha) {
    bool alive = false;
    for (int32_t h = 0; h < k->at->heads; h++)
        alive = alive || alpha[h] > 0;
    k->count[t] += alive;
}

/* alpha of the entries of row v: softmax of the scores, column by column of [entries, scores]. */
static void row_softmax(const attention *at, int32_t v, flip_real *sum, flip_real *most) {
    const flip_csr *a = &at->g->a;
    int64_t first = a->row_ptr[v], end = a->row_ptr[v + 1], n = at->scores;
    for (int64_t i = 0; i < n; i++) {
        most[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t e = first; e < end; e++) {
        const flip_real *src = at->src + a->col[e] * n, *dst = at->dst + v * n;
        flip_real *alpha = at->alpha + e * n;
        for (int64_t i = 0; i < n; i++)
            alpha[i] = -INFINITY; /* where e is not alive */
        for (edges_run run = edges_first(a, e, at->steps); run.more; run = edges_next(a, run))
            for (int64_t i = run.first * at->heads; i < run.end * at->heads; i++) {
                alpha[i] = leaky(src[i] + dst[i]);
                most[i] = alpha[i] > most[i] ? alpha[i] : most[i];
            }
    }
    for (int64_t e = first; e < end; e++)
        for (int64_t i = 0; i < n; i++) {
            flip_real *alpha = at->alpha + e * n + i;
            *alpha = *alpha > -INFINITY ? exp(*alpha - most[i]) : 0;
            sum[i] += *alpha;
        }
    for (int64_t e = first; e < end; e++)
        for (int64_t i = 0; i < n; i++)
            if (sum[i] > 0) at->alpha[e * n + i] /= sum[i];
}

/* y[v] = Σ_e keep alpha z[u] / (1 - p) */
static void row_sum(const attention *at, int32_t v, flip_real *y) {
    const flip_csr *a = &at->g->a;
    flip_real scale = (flip_real)(1 / (1 - at->dropout));
    keeper keep = keeper_of(at, v);
    memset(y, 0, (size_t)at->width * sizeof *y);
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        const flip_real *z = edges_row(at->g, a->col[e], at->width, at->z, at->halo);
        for (int32_t t = 0; t < at->steps; t++) {
            const flip_real *entry = at->alpha + e * at->scores + (int64_t)t * at->heads;
            for (int32_t h = 0; h < at->heads; h++) {
                int64_t i = (int64_t)t * at->heads + h;
                flip_real alpha = entry[h] * scale;
                if (alpha == 0 || !kept(&keep, t, h)) continue;
                for (int32_t j = 0; j < at->d; j++)
                    y[i * at->d + j] += alpha * z[i * at->d + j];
            }
            count_entry(&keep, t, entry);
        }
    }
}

/* Dropout's keys and counters. */
static flip_status prepare_keepers(flip_tape *tape, attention *at, int32_t rows) {
    size_t n = (size_t)rows * (size_t)at->steps;
    if (at->dropout > 0) FLIP_TRY(tape_keys(tape, rows, at->steps, &at->key));
    return pool_alloc(tape->pool, &at->count, n * sizeof *at->count);
}

static flip_status attention_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const variable *z = tape_in(tape, r, 0);
    attention at = attention_of(tape, r);
    if (!tape->training) r->number[0] = at.dropout = 0;
    if (at.dropout > 0) at.draw = r->draw = tape_draw(tape);
    FLIP_TRY(prepare_keepers(tape, &at, g->n_own));
    flip_real *halo;
    FLIP_TRY(edges_halo_begin(tape, g, z->value, (size_t)at.width, &halo));
    at.halo = r->saved[SAVED_HALO] = halo;
    int32_t n_src = edges_sources(g);
    size_t n_local = (size_t)n_src + (size_t)g->n_halo, per_node = (size_t)at.scores;
    FLIP_TRY(tape_save(tape, r, SAVED_SRC, n_local * per_node * sizeof(flip_real)));
    FLIP_TRY(tape_save(tape, r, SAVED_DST, (size_t)g->n_own * per_node * sizeof(flip_real)));
    FLIP_TRY(
        tape_save(tape, r, SAVED_ALPHA, (size_t)g->a.n_entries * per_node * sizeof(flip_real)));
    at.src = r->saved[SAVED_SRC];
    at.dst = r->saved[SAVED_DST];
    at.alpha = r->saved[SAVED_ALPHA];
    FLIP_TRY(tape_output(tape, r, -1));
    flip_real *y = tape_out(tape, r)->value;
#pragma omp parallel for schedule(static)
    for (int32_t u = 0; u < n_src; u++) {
        node_scores(&at, at.a_src, at.z + u * at.width, at.src + u * at.scores);
        if (u < g->n_own) node_scores(&at, at.a_dst, at.z + u * at.width, at.dst + u * at.scores);
    }
    FLIP_TRY(edges_halo_end(tape, g));
#pragma omp parallel for schedule(static)
    for (int64_t u = 0; u < g->n_halo; u++)
        node_scores(&at, at.a_src, halo + u * at.width, at.src + (n_src + u) * at.scores);
    flip_real *scratch; /* [2, scores] a row in work */
    FLIP_TRY(pool_alloc(tape->pool, &scratch, 2 * (size_t)g->n_own * per_node * sizeof(flip_real)));
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t v = 0; v < g->n_own; v++) {
        flip_real *mine = scratch + 2 * v * at.scores;
        row_softmax(&at, v, mine, mine + at.scores);
        row_sum(&at, v, y + v * at.width);
    }
    pool_free(tape->pool, scratch);
    pool_free(tape->pool, at.count);
    edges_meter(tape, &g->a, at.width + at.scores, g->n_own);
    return FLIP_OK;
}

/* Row v: ds and the kept alpha of its entries, at their places in the transpose; dst sums. */
static void row_gradients(const attention *at, int32_t v, const flip_real *dy, flip_real *ds_t,
                          flip_real *alpha_t, flip_real *dst_sum, flip_real *dot) {
    const flip_csr *a = &at->g->a;
    int64_t n = at->scores, first = a->row_ptr[v];
    flip_real scale = (flip_real)(1 / (1 - at->dropout));
    keeper keep = keeper_of(at, v);
    for (int64_t i = 0; i < n; i++)
        dot[i] = dst_sum[i] = 0;
    for (int64_t e = first; e < a->row_ptr[v + 1]; e++) {
        int64_t place = at->g->to_transposed[e] * n;
        const flip_real *z = edges_row(at->g, a->col[e], at->width, at->z, at->halo);
        for (int64_t i = 0; i < n; i++) {
            int32_t t = (int32_t)(i / at->heads), head = (int32_t)(i % at->heads);
            flip_real alpha = at->alpha[e * n + i], sum = 0;
            bool alive = alpha > 0 && kept(&keep, t, head);
            if (alive)
                for (int32_t j = 0; j < at->d; j++)
                    sum += dy[i * at->d + j] * z[i * at->d + j];
            alpha_t[place + i] = alive ? alpha * scale : 0;
            ds_t[place + i] = sum * scale; /* d_e for now */
            dot[i] += alpha * sum * scale;
            if (head == at->heads - 1)
                count_entry(&keep, t, at->alpha + e * n + (int64_t)t * at->heads);
        }
    }
    for (int64_t e = first; e < a->row_ptr[v + 1]; e++) {
        flip_real *ds = ds_t + at->g->to_transposed[e] * n;
        const flip_real *src = at->src + a->col[e] * n, *dst = at->dst + v * n;
        for (int64_t i = 0; i < n; i++) {
            flip_real steep = src[i] + dst[i] > 0 ? 1 : slope;
            ds[i] = at->alpha[e * n + i] * (ds[i] - dot[i]) * steep;
            dst_sum[i] += ds[i];
        }
    }
}

/* Row u of the transpose: dz[u] (+)= Σ alpha dy[v] + src_sum a_src */
static void pull_row(const attention *at, int32_t u, const flip_real *dy, const flip_real *ds_t,
                     const flip_real *alpha_t, flip_real *src_sum, flip_real *dz, bool accumulate) {
    const flip_csr *t = &at->g->at;
    int64_t n = at->scores;
    if (!accumulate) memset(dz, 0, (size_t)at->width * sizeof *dz);
    for (int64_t i = 0; i < n; i++)
        src_sum[i] = 0;
    for (int64_t e = t->row_ptr[u]; e < t->row_ptr[u + 1]; e++) {
        const flip_real *row = dy + t->col[e] * at->width;
        for (int64_t i = 0; i < n; i++) {
            flip_real alpha = alpha_t[e * n + i];
            src_sum[i] += ds_t[e * n + i];
            if (alpha == 0) continue;
            for (int32_t j = 0; j < at->d; j++)
                dz[i * at->d + j] += alpha * row[i * at->d + j];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < at->d; j++)
            dz[i * at->d + j] += src_sum[i] * at->a_src[i % at->heads * at->d + j];
}

enum { VECTOR_BLOCK = 1024 }; /* nodes; fixed, so that sums do not depend on threads */

/* g[k, j] += Σ_u sum[u, t, k] z[u, t, k, j], in double */
static flip_status vector_gradient(flip_tape *tape, const attention *at, int64_t n,
                                   const flip_real *sum, const flip_real *z, double *g) {
    int64_t blocks = (n + VECTOR_BLOCK - 1) / VECTOR_BLOCK, width = at->heads * at->d;
    double *partial;
    FLIP_TRY(pool_alloc(tape->pool, &partial, (size_t)(blocks * width) * sizeof(double)));
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *mine = partial + b * width;
        int64_t end = (b + 1) * VECTOR_BLOCK < n ? (b + 1) * VECTOR_BLOCK : n;
        memset(mine, 0, (size_t)width * sizeof(double));
        for (int64_t i = b * VECTOR_BLOCK * at->scores; i < end * at->scores; i++)
            for (int32_t j = 0; j < at->d; j++)
                mine[i % at->heads * at->d + j] += (double)sum[i] * (double)z[i * at->d + j];
    }
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < width; j++)
            g[j] += partial[b * width + j];
    pool_free(tape->pool, partial);
    return FLIP_OK;
}

static flip_status attention_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const flip_real *dy = tape_out(tape, r)->gradient;
    attention at = attention_of(tape, r);
    int32_t n_src = edges_sources(g);
    int64_t n = at.scores, n_local = (int64_t)n_src + g->n_halo;
    flip_real *ds_t, *alpha_t, *dst_sum, *src_sum, *dot, *halo = NULL;
    size_t edge_bytes = (size_t)(g->a.n_entries * n) * sizeof(flip_real);
    size_t node_bytes = (size_t)(n_local * n) * sizeof(flip_real);
    FLIP_TRY(prepare_keepers(tape, &at, g->n_own));
    FLIP_TRY(pool_alloc(tape->pool, &ds_t, edge_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &alpha_t, edge_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &dst_sum, node_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &src_sum, node_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &dot, node_bytes));
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t v = 0; v < g->n_own; v++)
        row_gradients(&at, v, dy + v * at.width, ds_t, alpha_t, dst_sum + v * n, dot + v * n);

    if (g->plan) {
        FLIP_TRY(pool_alloc(tape->pool, &halo, (size_t)(g->n_halo * at.width) * sizeof(flip_real)));
#pragma omp parallel for schedule(dynamic, 64)
        for (int32_t i = 0; i < g->n_halo; i++)
            pull_row(&at, n_src + i, dy, ds_t, alpha_t, src_sum + (n_src + i) * n,
                     halo + i * at.width, false);
    }
    FLIP_TRY(edges_return_begin(tape, g, halo, (size_t)at.width));
    target to;
    flip_real *dz;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    dz = to.gradient;
    if (!dz) /* z is an input that needs none: its rows are summed for a_src alone */
        FLIP_TRY(pool_alloc(tape->pool, &dz, (size_t)(n_src * at.width) * sizeof(flip_real)));
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t u = 0; u < n_src; u++) {
        pull_row(&at, u, dy, ds_t, alpha_t, src_sum + u * n, dz + u * at.width, to.accumulate);
        for (int64_t i = 0; u < g->n_own && i < n; i++)
            for (int32_t j = 0; j < at.d; j++)
                dz[u * at.width + i * at.d + j] +=
                    dst_sum[u * n + i] * at.a_dst[i % at.heads * at.d + j];
    }
    double *da_src = tape_weight_gradient(tape, r->param[0]),
           *da_dst = tape_weight_gradient(tape, r->param[1]);
    FLIP_TRY(vector_gradient(tape, &at, n_src, src_sum, at.z, da_src));
    FLIP_TRY(vector_gradient(tape, &at, g->n_halo, src_sum + n_src * n, at.halo, da_src));
    FLIP_TRY(vector_gradient(tape, &at, g->n_own, dst_sum, at.z, da_dst));
    FLIP_TRY(edges_return_end(tape, g, dz));
    void *temporary[] = {ds_t, alpha_t, dst_sum,  src_sum,
                         dot,  halo,    at.count, to.gradient ? NULL : dz};
    for (size_t i = 0; i < sizeof temporary / sizeof *temporary; i++)
        pool_free(tape->pool, temporary[i]);
    edges_meter(tape, &g->a, at.width + at.scores, g->n_own);
    edges_meter(tape, &g->at, at.width + at.scores, n_local);
    return FLIP_OK;
}

const operator_row op_attention = {.name = "attention",
                                   .stage = FLIP_STAGE_AGGREGATE,
                                   .inputs = 1,
                                   .saves = SAVES_IN0,
                                   .shape = attention_shape,
                                   .forward = attention_forward,
                                   .backward = attention_backward};

flip_var flip_attention(flip_tape *tape, const flip_adjacency *adjacency, flip_var z,
                        flip_param a_src, flip_param a_dst, int32_t heads, double dropout) {
    record r = tape_record(OP_ATTENTION);
    r.in[0] = z;
    r.param[0] = a_src;
    r.param[1] = a_dst;
    r.count = heads;
    r.number[0] = dropout;
    r.adjacency = adjacency;
    return tape_apply(tape, &r);
}

const flip_real *flip_attention_weights(const flip_tape *tape, flip_var y) {
    if (y < 0 || y >= tape->n_vars || tape->vars[y].producer < 0) return NULL;
    const record *r = &tape->records[tape->vars[y].producer];
    return r->op == OP_ATTENTION ? r->saved[SAVED_ALPHA] : NULL;
}

/* ---- mean over heads: y[j] = (1/heads) Σ_k x[k, j] ---- */

static flip_status mean_shape(const flip_tape *tape, const record *r, shape *out) {
    FLIP_TRY(shape_same(tape, r, out));
    if (out->dim % r->count != 0)
        return FLIP_FAIL(FLIP_ERROR_INTERNAL, "%d columns are not %d heads", out->dim, r->count);
    out->dim /= r->count;
    return FLIP_OK;
}

static flip_status mean_forward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0);
    FLIP_TRY(tape_output(tape, r, -1));
    variable *y = tape_out(tape, r);
    int64_t m = rows_of(y), d = y->dim;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < d; j++) {
            flip_real sum = 0;
            for (int32_t k = 0; k < r->count; k++)
                sum += x->value[i * x->dim + k * d + j];
            y->value[i * d + j] = sum / (flip_real)r->count;
        }
    return FLIP_OK;
}

static flip_status mean_backward(flip_tape *tape, record *r) {
    const variable *x = tape_in(tape, r, 0), *y = tape_out(tape, r);
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
    int64_t m = rows_of(y), d = y->dim;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < x->dim; j++)
            to.gradient[i * x->dim + j] = (to.accumulate ? to.gradient[i * x->dim + j] : 0) +
                                          y->gradient[i * d + j % d] / (flip_real)r->count;
    return FLIP_OK;
}

const operator_row op_head_mean = {.name = "mean over heads",
                                   .stage = FLIP_STAGE_POINTWISE,
                                   .inputs = 1,
                                   .shape = mean_shape,
                                   .forward = mean_forward,
                                   .backward = mean_backward};

flip_var flip_head_mean(flip_tape *tape, flip_var x, int32_t heads) {
    record r = tape_record(OP_HEAD_MEAN);
    r.in[0] = x;
    r.count = heads;
    return tape_apply(tape, &r);
}
