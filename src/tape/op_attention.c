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

/* One call's shapes and arrays, as the kernels reach them. */
typedef struct attention {
    const flip_adjacency *g;
    flip_csr a;
    flip_heads heads;
    int64_t width;  /* steps * heads * d */
    int64_t scores; /* steps * heads: values an entry or node has */
    const flip_real *z, *halo, *a_src, *a_dst;
    flip_real *src,
        *dst;         /* a . z of local nodes [n_own + n_halo, scores], of own [n_own, scores] */
    flip_real *alpha; /* [entries, scores] */
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

static flip_status attention_of(flip_tape *tape, const record *r, attention *at) {
    const variable *z = tape_in(tape, r, 0);
    *at = (attention){.g = r->adjacency,
                      .width = (int64_t)z->steps * z->dim,
                      .scores = (int64_t)z->steps * r->count,
                      .z = z->value,
                      .halo = r->saved[SAVED_HALO],
                      .src = r->saved[SAVED_SRC],
                      .dst = r->saved[SAVED_DST],
                      .alpha = r->saved[SAVED_ALPHA],
                      .a_src = tape_weight(tape, r->param[0]),
                      .a_dst = tape_weight(tape, r->param[1])};
    at->heads = (flip_heads){.steps = z->steps,
                             .heads = r->count,
                             .d = z->dim / r->count,
                             .dropout = r->number[0],
                             .seed = tape->seed,
                             .draw = r->draw};
    FLIP_TRY(tape_csr(tape, &at->g->a, &at->a));
    at->a.n_own = edges_sources(at->g);
    if (!(r->number[0] > 0)) return FLIP_OK;
    size_t n = (size_t)at->g->n_own * (size_t)z->steps;
    FLIP_TRY(tape_keys(tape, at->g->n_own, z->steps, &at->heads.key));
    return pool_alloc(tape->pool, &at->heads.count, n * sizeof *at->heads.count);
}

/* a . z of the nodes from `first` on */
static void node_scores(const flip_tape *tape, const attention *at, const flip_real *a,
                        const flip_real *z, int64_t n, flip_real *out) {
    tape->kernels->head_dots(n * at->scores, at->heads.heads, at->heads.d, a, z, out);
}

static flip_status save_scores(flip_tape *tape, record *r, attention *at) {
    size_t bytes = (size_t)at->scores * sizeof(flip_real);
    size_t n_local = (size_t)edges_sources(at->g) + (size_t)at->g->n_halo;
    FLIP_TRY(tape_save(tape, r, SAVED_SRC, n_local * bytes));
    FLIP_TRY(tape_save(tape, r, SAVED_DST, (size_t)at->g->n_own * bytes));
    FLIP_TRY(tape_save(tape, r, SAVED_ALPHA, (size_t)at->g->a.n_entries * bytes));
    at->src = r->saved[SAVED_SRC];
    at->dst = r->saved[SAVED_DST];
    at->alpha = r->saved[SAVED_ALPHA];
    return FLIP_OK;
}

static flip_status attention_forward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const flip_real *z = tape_in(tape, r, 0)->value;
    attention at;
    flip_real *room;
    edges_trip trip;
    if (!tape->training) r->number[0] = 0;
    if (r->number[0] > 0) r->draw = tape_draw(tape);
    FLIP_TRY(attention_of(tape, r, &at));
    FLIP_TRY(edges_halo_begin(tape, g, z, (size_t)at.width, &trip));
    r->saved[SAVED_HALO] = trip.halo;
    FLIP_TRY(save_scores(tape, r, &at));
    FLIP_TRY(tape_output(tape, r, -1));
    int64_t n_src = edges_sources(g);
    node_scores(tape, &at, at.a_src, z, n_src, at.src);
    node_scores(tape, &at, at.a_dst, z, g->n_own, at.dst);
    FLIP_TRY(edges_halo_end(tape, g, &trip));
    node_scores(tape, &at, at.a_src, trip.halo, g->n_halo, at.src + n_src * at.scores);
    FLIP_TRY(pool_alloc(tape->pool, &room, 2 * (size_t)(g->n_own * at.scores) * sizeof(flip_real)));
    tape->kernels->attention(&at.a, &at.heads, at.src, at.dst, z, trip.halo, at.alpha,
                             tape_out(tape, r)->value, room);
    pool_free(tape->pool, room);
    pool_free(tape->pool, at.heads.count);
    edges_meter(tape, &g->a, at.width + at.scores, g->n_own);
    return FLIP_OK;
}

/* g [heads, d] += Σ_u sum[u] z[u] of n nodes */
static flip_status vector_gradient(flip_tape *tape, const attention *at, int64_t n,
                                   const flip_real *sum, const flip_real *z, double *g) {
    const flip_heads *h = &at->heads;
    double *room;
    FLIP_TRY(
        pool_alloc(tape->pool, &room, flip_room(n, (int64_t)h->heads * h->d) * sizeof(double)));
    tape->kernels->head_gradients(n, h->steps, h->heads, h->d, sum, z, g, room);
    pool_free(tape->pool, room);
    return FLIP_OK;
}

/* Room of the walk back. */
typedef struct slopes {
    flip_real *ds_t, *alpha_t;           /* [entries, scores], in the transpose's order */
    flip_real *dst_sum, *src_sum, *room; /* [local nodes, scores] */
    edges_trip trip;                     /* of the halo's gradients */
    flip_real *unwanted; /* dz of an input that needs none: its rows are summed for a_src alone */
} slopes;

static flip_status slopes_init(flip_tape *tape, const attention *at, slopes *s) {
    const flip_adjacency *g = at->g;
    int64_t n_local = (int64_t)edges_sources(g) + g->n_halo;
    size_t edge_bytes = (size_t)(g->a.n_entries * at->scores) * sizeof(flip_real);
    size_t node_bytes = (size_t)(n_local * at->scores) * sizeof(flip_real);
    *s = (slopes){.ds_t = NULL};
    FLIP_TRY(pool_alloc(tape->pool, &s->ds_t, edge_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &s->alpha_t, edge_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &s->dst_sum, node_bytes));
    FLIP_TRY(pool_alloc(tape->pool, &s->src_sum, node_bytes));
    return pool_alloc(tape->pool, &s->room, node_bytes);
}

static void slopes_finish(flip_tape *tape, slopes *s) {
    void *temporary[] = {s->ds_t, s->alpha_t,   s->dst_sum, s->src_sum,
                         s->room, s->trip.halo, s->unwanted};
    for (size_t i = 0; i < sizeof temporary / sizeof *temporary; i++)
        pool_free(tape->pool, temporary[i]);
}

static flip_status entries_back(flip_tape *tape, const attention *at, const flip_real *dy,
                                slopes *s) {
    const flip_adjacency *g = at->g;
    const int64_t *place;
    FLIP_TRY(tape_turned(tape, g, &place));
    tape->kernels->attention_back(&at->a, &at->heads, at->src, at->dst, at->z, at->halo, at->alpha,
                                  dy, place, s->ds_t, s->alpha_t, s->dst_sum, s->room);
    return FLIP_OK;
}

/* Both vectors' gradients; the halo's share of a_src's is summed here too. */
static flip_status vector_gradients(flip_tape *tape, const record *r, const attention *at,
                                    const slopes *s) {
    int64_t n_src = edges_sources(at->g);
    double *da_src = tape_weight_gradient(tape, r->param[0]);
    FLIP_TRY(vector_gradient(tape, at, n_src, s->src_sum, at->z, da_src));
    FLIP_TRY(vector_gradient(tape, at, at->g->n_halo, s->src_sum + n_src * at->scores, at->halo,
                             da_src));
    return vector_gradient(tape, at, at->g->n_own, s->dst_sum, at->z,
                           tape_weight_gradient(tape, r->param[1]));
}

static flip_status attention_backward(flip_tape *tape, record *r) {
    const flip_adjacency *g = r->adjacency;
    const flip_kernels *use = tape->kernels;
    const flip_real *dy = tape_out(tape, r)->gradient;
    int32_t n_src = edges_sources(g);
    attention at;
    slopes s;
    flip_csr transposed;
    FLIP_TRY(attention_of(tape, r, &at));
    FLIP_TRY(slopes_init(tape, &at, &s));
    FLIP_TRY(entries_back(tape, &at, dy, &s));
    FLIP_TRY(tape_csr(tape, &g->at, &transposed));
    flip_csr own = edges_rows(&transposed, 0, n_src),
             copies = edges_rows(&transposed, n_src, g->n_halo);
    FLIP_TRY(edges_trip_open(tape, g, (size_t)at.width, &s.trip));
    if (g->plan)
        use->attention_pull(&copies, &at.heads, dy, s.ds_t, s.alpha_t, at.a_src,
                            s.src_sum + n_src * at.scores, NULL, NULL, 0, s.trip.halo, false);
    FLIP_TRY(edges_return_begin(tape, g, &s.trip));
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient)
        FLIP_TRY(
            pool_alloc(tape->pool, &s.unwanted, (size_t)(n_src * at.width) * sizeof(flip_real)));
    flip_real *dz = to.gradient ? to.gradient : s.unwanted;
    use->attention_pull(&own, &at.heads, dy, s.ds_t, s.alpha_t, at.a_src, s.src_sum, at.a_dst,
                        s.dst_sum, g->n_own, dz, to.accumulate);
    FLIP_TRY(vector_gradients(tape, r, &at, &s));
    FLIP_TRY(edges_return_end(tape, g, &s.trip, dz));
    slopes_finish(tape, &s);
    pool_free(tape->pool, at.heads.count);
    edges_meter(tape, &g->a, at.width + at.scores, g->n_own);
    edges_meter(tape, &g->at, at.width + at.scores, (int64_t)n_src + g->n_halo);
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

const flip_real *flip_attention_weights(flip_tape *tape, flip_var y) {
    if (!tape_has(tape, y) || tape->vars[y].producer < 0) return NULL;
    const record *r = &tape->records[tape->vars[y].producer];
    if (r->op != OP_ATTENTION) return NULL;
    size_t n =
        (size_t)r->adjacency->a.n_entries * (size_t)tape_out(tape, r)->steps * (size_t)r->count;
    return reach_host(tape, r->saved[SAVED_ALPHA], n * sizeof(flip_real));
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
    tape->kernels->head_mean(rows_of(y), r->count, y->dim, x->value, y->value);
    return FLIP_OK;
}

static flip_status mean_backward(flip_tape *tape, record *r) {
    const variable *y = tape_out(tape, r);
    target to;
    FLIP_TRY(tape_gradient(tape, r, 0, &to));
    if (!to.gradient) return FLIP_OK;
    tape->kernels->head_mean_back(rows_of(y), r->count, y->dim, y->gradient, to.gradient,
                                  to.accumulate);
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
