/* Over the entries of rows, in plain C: the definition. Attention (Veličković et al. 2018,
 * equations 1-4), max pooling (Hamilton et al. 2017, equation 3), sums with weights that learn. */
#include "kernels/internal.h"

#include <tgmath.h>

/* Steps at which entry e lives, run by run:
 *     for (entry_run run = entry_first(a, e, steps); run.more; run = entry_next(a, run))
 *         for (int32_t t = run.first; t < run.end; t++) …
 * An entry of a static matrix lives in all `steps`. */
typedef struct entry_run {
    int64_t run, last;
    int32_t first, end;
    bool more;
} entry_run;

static inline entry_run entry_at(const flip_csr *a, int64_t run, int64_t last) {
    entry_run out = {.run = run, .last = last, .more = run < last};
    if (!out.more) return out;
    out.first = a->run_first[run];
    out.end = out.first + (int32_t)(a->value_ptr[run + 1] - a->value_ptr[run]);
    return out;
}

static inline entry_run entry_first(const flip_csr *a, int64_t e, int32_t steps) {
    if (!a->run_ptr) return (entry_run){.first = 0, .end = steps, .more = true};
    return entry_at(a, a->run_ptr[e], a->run_ptr[e + 1]);
}

static inline entry_run entry_next(const flip_csr *a, entry_run run) {
    if (!a->run_ptr) return (entry_run){.more = false};
    return entry_at(a, run.run + 1, run.last);
}

static const flip_real slope = (flip_real)0.2;

static flip_real leaky(flip_real s) {
    return s > 0 ? s : slope * s;
}

static void head_dots(int64_t n, int32_t heads, int32_t d, const flip_real *a, const flip_real *z,
                      flip_real *out) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const flip_real *head = a + i % heads * d, *row = z + i * d;
        flip_real sum = 0;
        for (int32_t j = 0; j < d; j++)
            sum += head[j] * row[j];
        out[i] = sum;
    }
}

/* ---- attention ---- */

/* Values that an entry or a node has; columns of a row of x. */
static int64_t scores_of(const flip_heads *h) {
    return (int64_t)h->steps * h->heads;
}

static int64_t width_of(const flip_heads *h) {
    return scores_of(h) * h->d;
}

/* Which weights of row v dropout keeps (flip_heads). Four share a draw, so the last one is held. */
typedef struct keeper {
    const flip_heads *of;
    int64_t v;
    int32_t *count; /* [steps] entries so far that are alive */
    int64_t quad;   /* j / 4 of `drawn`; -1 none */
    int32_t step;   /* … and its step */
    flip_random4 drawn;
} keeper;

static keeper keeper_of(const flip_heads *h, int64_t v) {
    keeper k = {.of = h, .v = v, .quad = -1};
    if (!(h->dropout > 0)) return k;
    k.count = h->count + v * h->steps;
    memset(k.count, 0, (size_t)h->steps * sizeof *k.count);
    return k;
}

static bool kept(keeper *k, int32_t t, int32_t head) {
    const flip_heads *h = k->of;
    if (!(h->dropout > 0)) return true;
    int64_t j = (int64_t)k->count[t] * h->heads + head;
    if (k->quad != j / 4 || k->step != t) {
        k->quad = j / 4;
        k->step = t;
        uint64_t row = (uint64_t)h->key[k->v * h->steps + t];
        k->drawn = flip_random(h->seed, FLIP_STREAM_DROPOUT, h->draw,
                               row * (FLIP_WEIGHT_KEYS / 4) + (uint64_t)k->quad);
    }
    return (double)k->drawn.v[j % 4] >= h->dropout * 0x1p32;
}

/* After the last head of an entry at a step: was it alive? */
static void count_entry(keeper *k, int32_t t, const flip_real *alpha) {
    bool alive = false;
    if (!(k->of->dropout > 0)) return;
    for (int32_t h = 0; h < k->of->heads; h++)
        alive = alive || alpha[h] > 0;
    k->count[t] += alive;
}

/* alpha of the entries of row v: softmax of the scores, column by column of [entries, scores]. */
static void row_softmax(const flip_csr *a, const flip_heads *h, int64_t v, const flip_real *src,
                        const flip_real *dst, flip_real *alpha, flip_real *room) {
    int64_t first = a->row_ptr[v], end = a->row_ptr[v + 1], n = scores_of(h);
    flip_real *sum = room + 2 * v * n, *most = sum + n;
    for (int64_t i = 0; i < n; i++) {
        most[i] = -INFINITY;
        sum[i] = 0;
    }
    for (int64_t e = first; e < end; e++) {
        const flip_real *from = src + a->col[e] * n, *to = dst + v * n;
        flip_real *score = alpha + e * n;
        for (int64_t i = 0; i < n; i++)
            score[i] = -INFINITY; /* where e is not alive */
        for (entry_run run = entry_first(a, e, h->steps); run.more; run = entry_next(a, run))
            for (int64_t i = run.first * h->heads; i < run.end * h->heads; i++) {
                score[i] = leaky(from[i] + to[i]);
                most[i] = score[i] > most[i] ? score[i] : most[i];
            }
    }
    for (int64_t e = first; e < end; e++)
        for (int64_t i = 0; i < n; i++) {
            flip_real *weight = alpha + e * n + i;
            *weight = *weight > -INFINITY ? exp(*weight - most[i]) : 0;
            sum[i] += *weight;
        }
    for (int64_t e = first; e < end; e++)
        for (int64_t i = 0; i < n; i++)
            if (sum[i] > 0) alpha[e * n + i] /= sum[i];
}

/* y[v] = Σ_e keep alpha x[u] / (1 - p) */
static void row_sum(const flip_csr *a, const flip_heads *heads, int64_t v, const flip_real *alphas,
                    const flip_real *x_own, const flip_real *x_halo, flip_real *y) {
    flip_real scale = (flip_real)(1 / (1 - heads->dropout));
    int64_t width = width_of(heads), n = scores_of(heads);
    keeper keep = keeper_of(heads, v);
    memset(y, 0, (size_t)width * sizeof *y);
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        const flip_real *z = flip_csr_row(a, e, width, x_own, x_halo);
        for (int32_t t = 0; t < heads->steps; t++) {
            const flip_real *entry = alphas + e * n + (int64_t)t * heads->heads;
            for (int32_t h = 0; h < heads->heads; h++) {
                int64_t i = (int64_t)t * heads->heads + h;
                flip_real alpha = entry[h] * scale;
                if (alpha == 0 || !kept(&keep, t, h)) continue;
                for (int32_t j = 0; j < heads->d; j++)
                    y[i * heads->d + j] += alpha * z[i * heads->d + j];
            }
            count_entry(&keep, t, entry);
        }
    }
}

static void attention(const flip_csr *a, const flip_heads *heads, const flip_real *src,
                      const flip_real *dst, const flip_real *x_own, const flip_real *x_halo,
                      flip_real *alpha, flip_real *y, flip_real *room) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t v = 0; v < a->n_rows; v++) {
        row_softmax(a, heads, v, src, dst, alpha, room);
        row_sum(a, heads, v, alpha, x_own, x_halo, y + v * width_of(heads));
    }
}

/* Row v: d_e = keep / (1-p) dy[v] . x[u] and the kept alpha, at the entries' places in the
 * transpose; dot = Σ_e alpha_e d_e. */
static void row_slopes(const flip_csr *a, const flip_heads *heads, int64_t v,
                       const flip_real *x_own, const flip_real *x_halo, const flip_real *alphas,
                       const flip_real *dy, const int64_t *place, flip_real *d_t,
                       flip_real *alpha_t, flip_real *dot) {
    int64_t n = scores_of(heads), width = width_of(heads);
    flip_real scale = (flip_real)(1 / (1 - heads->dropout));
    keeper keep = keeper_of(heads, v);
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        int64_t to = place[e] * n;
        const flip_real *z = flip_csr_row(a, e, width, x_own, x_halo);
        for (int64_t i = 0; i < n; i++) {
            int32_t t = (int32_t)(i / heads->heads), head = (int32_t)(i % heads->heads);
            flip_real alpha = alphas[e * n + i], sum = 0;
            bool alive = alpha > 0 && kept(&keep, t, head);
            if (alive)
                for (int32_t j = 0; j < heads->d; j++)
                    sum += dy[i * heads->d + j] * z[i * heads->d + j];
            alpha_t[to + i] = alive ? alpha * scale : 0;
            d_t[to + i] = sum * scale;
            dot[i] += alpha * sum * scale;
            if (head == heads->heads - 1)
                count_entry(&keep, t, alphas + e * n + (int64_t)t * heads->heads);
        }
    }
}

/* ds_e = alpha_e (d_e - Σ_{e' of v} alpha_e' d_e') LeakyReLU'(s_e) */
static void row_scores_back(const flip_csr *a, int64_t n, int64_t v, const flip_real *src,
                            const flip_real *dst, const flip_real *alpha, const int64_t *place,
                            const flip_real *dot, flip_real *ds_t, flip_real *dst_sum) {
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        flip_real *ds = ds_t + place[e] * n;
        const flip_real *from = src + a->col[e] * n, *to = dst + v * n;
        for (int64_t i = 0; i < n; i++) {
            flip_real steep = from[i] + to[i] > 0 ? 1 : slope;
            ds[i] = alpha[e * n + i] * (ds[i] - dot[i]) * steep;
            dst_sum[i] += ds[i];
        }
    }
}

static void attention_back(const flip_csr *a, const flip_heads *heads, const flip_real *src,
                           const flip_real *dst, const flip_real *x_own, const flip_real *x_halo,
                           const flip_real *alpha, const flip_real *dy, const int64_t *place,
                           flip_real *ds_t, flip_real *alpha_t, flip_real *dst_sum,
                           flip_real *room) {
    int64_t n = scores_of(heads), width = width_of(heads);
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t v = 0; v < a->n_rows; v++) {
        flip_real *dot = room + v * n, *sum = dst_sum + v * n;
        for (int64_t i = 0; i < n; i++)
            dot[i] = sum[i] = 0;
        row_slopes(a, heads, v, x_own, x_halo, alpha, dy + v * width, place, ds_t, alpha_t, dot);
        row_scores_back(a, n, v, src, dst, alpha, place, dot, ds_t, sum);
    }
}

/* Row u of the transpose: dx[u] (+)= Σ alpha dy[v] + src_sum a_src */
static void pull_weights(const flip_csr *at, const flip_heads *h, int64_t u, const flip_real *dy,
                         const flip_real *ds_t, const flip_real *alpha_t, const flip_real *a_src,
                         flip_real *src_sum, flip_real *dx, bool accumulate) {
    int64_t n = scores_of(h), width = width_of(h), d = h->d;
    if (!accumulate) memset(dx, 0, (size_t)width * sizeof *dx);
    for (int64_t i = 0; i < n; i++)
        src_sum[i] = 0;
    for (int64_t e = at->row_ptr[u]; e < at->row_ptr[u + 1]; e++) {
        const flip_real *row = dy + at->col[e] * width;
        for (int64_t i = 0; i < n; i++) {
            flip_real alpha = alpha_t[e * n + i];
            src_sum[i] += ds_t[e * n + i];
            if (alpha == 0) continue;
            for (int32_t j = 0; j < d; j++)
                dx[i * d + j] += alpha * row[i * d + j];
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int32_t j = 0; j < d; j++)
            dx[i * d + j] += src_sum[i] * a_src[i % h->heads * d + j];
}

static void attention_pull(const flip_csr *at, const flip_heads *h, const flip_real *dy,
                           const flip_real *ds_t, const flip_real *alpha_t, const flip_real *a_src,
                           flip_real *src_sum, const flip_real *a_dst, const flip_real *dst_sum,
                           int32_t n_dst, flip_real *dx, bool accumulate) {
    int64_t n = scores_of(h), d = h->d;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t u = 0; u < at->n_rows; u++) {
        flip_real *row = dx + u * n * d;
        pull_weights(at, h, u, dy, ds_t, alpha_t, a_src, src_sum + u * n, row, accumulate);
        for (int64_t i = 0; u < n_dst && i < n; i++)
            for (int32_t j = 0; j < d; j++)
                row[i * d + j] += dst_sum[u * n + i] * a_dst[i % h->heads * d + j];
    }
}

static void head_gradients(int64_t n, int32_t steps, int32_t heads, int32_t d, const flip_real *s,
                           const flip_real *z, double *g, double *room) {
    int64_t blocks = (n + FLIP_ROOM_ROWS - 1) / FLIP_ROOM_ROWS, width = (int64_t)heads * d;
    int64_t scores = (int64_t)steps * heads;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *mine = room + b * width;
        int64_t end = flip_min64((b + 1) * FLIP_ROOM_ROWS, n);
        memset(mine, 0, (size_t)width * sizeof(double));
        for (int64_t i = b * FLIP_ROOM_ROWS * scores; i < end * scores; i++)
            for (int32_t j = 0; j < d; j++)
                mine[i % heads * d + j] += (double)s[i] * (double)z[i * d + j];
    }
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < width; j++)
            g[j] += room[b * width + j];
}

static void head_mean(int64_t m, int32_t heads, int64_t d, const flip_real *x, flip_real *y) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < d; j++) {
            flip_real sum = 0;
            for (int32_t k = 0; k < heads; k++)
                sum += x[(i * heads + k) * d + j];
            y[i * d + j] = sum / (flip_real)heads;
        }
}

static void head_mean_back(int64_t m, int32_t heads, int64_t d, const flip_real *dy, flip_real *dx,
                           bool accumulate) {
    int64_t width = heads * d;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < width; j++)
            dx[i * width + j] =
                (accumulate ? dx[i * width + j] : 0) + dy[i * d + j % d] / (flip_real)heads;
}

/* ---- max pooling ---- */

/* Row v: y and the local column that attained it (-1: none). */
static void pool_row(const flip_csr *a, int64_t v, int32_t steps, int64_t dim,
                     const flip_real *x_own, const flip_real *x_halo, flip_real *y, int32_t *from) {
    int64_t width = steps * dim;
    memset(y, 0, (size_t)width * sizeof *y);
    memset(from, -1, (size_t)width * sizeof *from);
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        int32_t u = a->col[e];
        const flip_real *row = flip_csr_row(a, e, width, x_own, x_halo);
        for (entry_run run = entry_first(a, e, steps); run.more; run = entry_next(a, run))
            for (int64_t j = run.first * dim; j < run.end * dim; j++) {
                bool more = from[j] < 0 || row[j] > y[j];
                y[j] = more ? row[j] : y[j];
                from[j] = more ? u : from[j];
            }
    }
}

static void max_pool(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t steps,
                     int32_t dim, flip_real *y, int32_t *from, const flip_real *x_own,
                     const flip_real *x_halo) {
    int64_t width = (int64_t)steps * dim;
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t i = 0; i < n_rows; i++) {
        int64_t v = rows ? rows[i] : i;
        pool_row(a, v, steps, dim, x_own, x_halo, y + v * width, from + v * width);
    }
}

/* A doubled edge stands twice in the row and counts once. */
static void max_pool_back(const flip_csr *at, int32_t first, int64_t width, const flip_real *dy,
                          const int32_t *from, flip_real *dx, bool accumulate) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t i = 0; i < at->n_rows; i++) {
        flip_real *row = dx + i * width;
        int64_t before = -1;
        if (!accumulate) memset(row, 0, (size_t)width * sizeof *row);
        for (int64_t e = at->row_ptr[i]; e < at->row_ptr[i + 1]; e++) {
            int64_t v = at->col[e];
            if (v == before) continue;
            before = v;
            for (int64_t j = 0; j < width; j++)
                if (from[v * width + j] == first + i) row[j] += dy[v * width + j];
        }
    }
}

/* ---- weights that learn ---- */

static void entry_dots(const flip_csr *a, int64_t width, const flip_real *dy,
                       const flip_real *x_own, const flip_real *x_halo, flip_real *dw,
                       bool accumulate) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t v = 0; v < a->n_rows; v++)
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            const flip_real *row = flip_csr_row(a, e, width, x_own, x_halo);
            flip_real sum = 0;
            for (int64_t j = 0; j < width; j++)
                sum += dy[v * width + j] * row[j];
            dw[e] = (accumulate ? dw[e] : 0) + sum;
        }
}

static void place_values(int64_t n, const int64_t *place, const flip_real *x, flip_real *y) {
    for (int64_t i = 0; i < n; i++)
        y[place[i]] = x[i];
}

void flip_kernels_use_edges(flip_kernels *table) {
    table->head_dots = head_dots;
    table->attention = attention;
    table->attention_back = attention_back;
    table->attention_pull = attention_pull;
    table->head_gradients = head_gradients;
    table->head_mean = head_mean;
    table->head_mean_back = head_mean_back;
    table->max_pool = max_pool;
    table->max_pool_back = max_pool_back;
    table->entry_dots = entry_dots;
    table->place_values = place_values;
}
