/* The kernels' definition: plain C, one equation a function. */
#include "kernels/internal.h"

#include <pthread.h>

/* ---- sparse times dense --------------------------------------------------------------------- */

/* y[v,:] = row_scale[v] * sum_e value[e] * col_scale[col[e]] * x[col[e],:] */
static void row_static(const flip_csr *a, int64_t v, int32_t dim, flip_real *y,
                       const flip_real *x_own, const flip_real *x_halo, bool accumulate) {
    flip_real scale = a->row_scale ? a->row_scale[v] : 1;
    for (int32_t j = 0; j < dim; j++) {
        flip_real sum = 0;
        for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
            flip_real weight = a->value ? a->value[e] : 1;
            if (a->col_scale) weight *= a->col_scale[a->col[e]];
            sum += weight * flip_csr_row(a, e, dim, x_own, x_halo)[j];
        }
        y[v * dim + j] = (accumulate ? y[v * dim + j] : 0) + scale * sum;
    }
}

/* y[v,t,:] = sum over e and its runs r holding t of value[value_ptr[r] + t - run_first[r]] *
 * x[col[e],t,:] */
static void row_steps(const flip_csr *a, int64_t v, int32_t dim, flip_real *y,
                      const flip_real *x_own, const flip_real *x_halo, bool accumulate) {
    int64_t width = (int64_t)a->n_steps * dim;
    flip_real *out = y + v * width;
    if (!accumulate) memset(out, 0, (size_t)width * sizeof *out);
    for (int64_t e = a->row_ptr[v]; e < a->row_ptr[v + 1]; e++) {
        const flip_real *x = flip_csr_row(a, e, width, x_own, x_halo);
        for (int64_t r = a->run_ptr[e]; r < a->run_ptr[e + 1]; r++)
            for (int64_t i = a->value_ptr[r]; i < a->value_ptr[r + 1]; i++) {
                int64_t t = a->run_first[r] + (i - a->value_ptr[r]);
                flip_real weight = a->value ? a->value[i] : 1;
                for (int64_t j = t * dim; j < (t + 1) * dim; j++)
                    out[j] += weight * x[j];
            }
    }
}

static void spmm(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t dim, flip_real *y,
                 const flip_real *x_own, const flip_real *x_halo, bool accumulate) {
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t i = 0; i < n_rows; i++) {
        int64_t v = rows ? rows[i] : i;
        if (a->run_ptr)
            row_steps(a, v, dim, y, x_own, x_halo, accumulate);
        else
            row_static(a, v, dim, y, x_own, x_halo, accumulate);
    }
}

/* ---- what follows a product ----------------------------------------------------------------- */

bool flip_dropout_keep(uint64_t seed, uint64_t draw, int64_t key, int64_t n, int64_t j, double p) {
    uint64_t counter = (uint64_t)key * (uint64_t)((n + 3) / 4) + (uint64_t)(j / 4);
    return flip_random(seed, FLIP_STREAM_DROPOUT, draw, counter).v[j % 4] >= flip_keep_from(p);
}

/* The four columns 4q … 4q+3 of a row share one draw: bit b tells whether column 4q+b is kept. */
static unsigned keep_four(uint64_t seed, uint64_t draw, int64_t key, int64_t n, int64_t q,
                          uint64_t from) {
    flip_random4 r = flip_random(seed, FLIP_STREAM_DROPOUT, draw,
                                 (uint64_t)key * (uint64_t)((n + 3) / 4) + (uint64_t)q);
    unsigned bits = 0;
    for (unsigned b = 0; b < 4; b++)
        bits |= (unsigned)(r.v[b] >= from) << b;
    return bits;
}

static bool bit_at(const uint8_t *bits, int64_t n, int64_t i, int64_t j) {
    return bits[i * ((n + 7) / 8) + j / 8] >> (j % 8) & 1;
}

/* Bias, relu, mask and dropout of one row; c holds the sum already. */
static void epilogue_row(const flip_epilogue *e, int64_t i, int64_t n, flip_real *c) {
    uint64_t from = flip_keep_from(e->dropout);
    flip_real scale = (flip_real)(1 / (1 - e->dropout));
    int64_t at = e->apart > 0 ? i * e->apart : i, key = e->key ? e->key[at] : at;
    uint8_t *bits = e->relu_bits ? e->relu_bits + at * ((n + 7) / 8) : NULL;
    if (bits) memset(bits, 0, (size_t)((n + 7) / 8));
    for (int64_t j = 0; j < n; j++) {
        flip_real value = c[j] + (e->bias ? e->bias[i * e->bias_step + j] : 0);
        bool alive = !e->relu || !(value <= 0); /* a NaN passes */
        if (e->relu && !alive) value = 0;
        if (e->mask) value = bit_at(e->mask, n, at, j) ? value * e->mask_scale : 0;
        if (e->dropout > 0) {
            bool kept = keep_four(e->seed, e->draw, key, n, j / 4, from) >> (j % 4) & 1;
            value = kept ? value * scale : 0;
            alive = alive && kept;
        }
        if (bits) bits[j / 8] |= (uint8_t)(alive << (j % 8));
        c[j] = value;
    }
}

void flip_epilogue_apply(const flip_epilogue *e, int64_t first_row, int64_t n_rows, int64_t n,
                         flip_real *c, int64_t ldc) {
    if (!flip_epilogue_needed(e)) return;
    for (int64_t i = 0; i < n_rows; i++)
        epilogue_row(e, first_row + i, n, c + i * ldc);
}

/* ---- products ------------------------------------------------------------------------------- */

static flip_real same(flip_real value) {
    return value;
}

/* sum_l a[l] b[l, j]; B's element (l,j) stands at l*row + j*col. */
static flip_real dot(int64_t k, const flip_real *a, const flip_real *b, int64_t row, int64_t col,
                     int64_t j, flip_real sum, flip_real (*rounded)(flip_real)) {
    for (int64_t l = 0; l < k; l++)
        sum += rounded(a[l]) * rounded(b[l * row + j * col]);
    return sum;
}

/* C = epilogue(A B + A2 B2); ldb is B's step from row to row. */
static void product(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, bool transposed, flip_real *c, int64_t ldc,
                    const flip_epilogue *e, flip_real (*rounded)(flip_real)) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            flip_real sum =
                dot(k, a + i * lda, b, transposed ? 1 : ldb, transposed ? ldb : 1, j, 0, rounded);
            if (e && e->plus_a)
                sum = dot(e->plus_k, e->plus_a + i * e->plus_lda, e->plus_b,
                          transposed ? 1 : e->plus_ldb, transposed ? e->plus_ldb : 1, j, sum,
                          rounded);
            c[i * ldc + j] = (e && e->accumulate ? c[i * ldc + j] : 0) + sum;
        }
        flip_epilogue_apply(e, i, 1, n, c + i * ldc, ldc);
    }
}

static void gemm_nn(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *epilogue) {
    product(m, n, k, a, lda, b, ldb, false, c, ldc, epilogue, same);
}

static void gemm_nt(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *epilogue) {
    product(m, n, k, a, lda, b, ldb, true, c, ldc, epilogue, same);
}

static void gemm_nn_bf16(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                         const flip_epilogue *epilogue) {
    product(m, n, k, a, lda, b, ldb, false, c, ldc, epilogue, flip_bf16_round);
}

static void gemm_nt_bf16(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                         const flip_epilogue *epilogue) {
    product(m, n, k, a, lda, b, ldb, true, c, ldc, epilogue, flip_bf16_round);
}

/* g[l,j] += sum over blocks, in double, of (sum over the block's rows i of a[i,l] b[i,j]). */
static void gradient(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                     const flip_real *b, int64_t ldb, double *g, int64_t ldg,
                     flip_real (*rounded)(flip_real)) {
    int64_t block = flip_gradient_block(m);
#pragma omp parallel for schedule(static)
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t first = 0; first < m; first += block) {
                flip_real sum = 0;
                for (int64_t i = first; i < flip_min64(m, first + block); i++)
                    sum += rounded(a[i * lda + l]) * rounded(b[i * ldb + j]);
                g[l * ldg + j] += (double)sum;
            }
}

static void gemm_tn(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, double *g, int64_t ldg) {
    gradient(m, n, k, a, lda, b, ldb, g, ldg, same);
}

static void gemm_tn_bf16(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, double *g, int64_t ldg) {
    gradient(m, n, k, a, lda, b, ldb, g, ldg, flip_bf16_round);
}

static void epilogue(int64_t m, int64_t n, flip_real *c, int64_t ldc, const flip_epilogue *e) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        flip_epilogue_apply(e, i, 1, n, c + i * ldc, ldc);
}

/* g[j] += sum over blocks, in double, of (sum over the block's rows i of y[i,j]) */
static void column_sums(int64_t m, int64_t n, const flip_real *y, int64_t ldy, double *g) {
    int64_t block = flip_gradient_block(m);
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j++)
        for (int64_t first = 0; first < m; first += block) {
            flip_real sum = 0;
            for (int64_t i = first; i < flip_min64(m, first + block); i++)
                sum += y[i * ldy + j];
            g[j] += (double)sum;
        }
}

/* p = exp(x - max) / sum exp(x - max); log_sum_exp = max + log sum exp(x - max) */
static void softmax(int64_t m, int64_t n, const flip_real *x, int64_t ldx, flip_real *p,
                    int64_t ldp, double *log_sum_exp) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        const flip_real *from = x + i * ldx;
        flip_real *to = p + i * ldp;
        double most = (double)from[0], sum = 0;
        for (int64_t j = 1; j < n; j++)
            most = (double)from[j] > most ? (double)from[j] : most;
        for (int64_t j = 0; j < n; j++) {
            double e = exp((double)from[j] - most);
            to[j] = (flip_real)e;
            sum += e;
        }
        for (int64_t j = 0; j < n; j++)
            to[j] = (flip_real)((double)to[j] / sum);
        if (log_sum_exp) log_sum_exp[i] = most + log(sum);
    }
}

/* s = bias + sum_k w_k relu(a_k + b_k), or bias + sum_k a_k b_k */
static void pair_scores(int64_t m, int64_t n, int64_t width, const flip_real *a, const flip_real *b,
                        int64_t ldb, const flip_real *w, flip_real bias, flip_real *s,
                        int64_t lds) {
    for (int64_t i = 0; i < m; i++) {
        flip_real *to = s + i * lds;
        for (int64_t j = 0; j < n; j++)
            to[j] = bias;
        for (int64_t k = 0; k < width; k++) {
            flip_real mine = a[i * width + k];
            const flip_real *from = b + k * ldb;
            for (int64_t j = 0; j < n; j++) {
                flip_real sum = mine + from[j];
                if (w)
                    to[j] += w[k] * (sum < 0 ? 0 : sum); /* NaN stays NaN */
                else
                    to[j] += mine * from[j];
            }
        }
    }
}

/* ---- element by element --------------------------------------------------------------------- */

/* y = keep ? x / (1-p) : 0 */
static void dropout(int64_t m, int64_t n, flip_real *y, const flip_real *x, double p, uint64_t seed,
                    uint64_t draw, const int64_t *key) {
    uint64_t from = flip_keep_from(p);
    flip_real scale = (flip_real)(1 / (1 - p));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t q = 0; q < (n + 3) / 4; q++) {
            unsigned bits = keep_four(seed, draw, key ? key[i] : i, n, q, from);
            for (int64_t j = 4 * q; j < flip_min64(n, 4 * q + 4); j++)
                y[i * n + j] = bits >> (j % 4) & 1 ? x[i * n + j] * scale : 0;
        }
}

/* y (+)= alpha x */
static void scaled(int64_t m, int64_t n, flip_real *y, int64_t ldy, const flip_real *x, int64_t ldx,
                   flip_real alpha, bool accumulate) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        flip_real *to = y + i * ldy;
        const flip_real *from = x + i * ldx;
        if (accumulate)
            for (int64_t j = 0; j < n; j++)
                to[j] += alpha * from[j];
        else
            for (int64_t j = 0; j < n; j++)
                to[j] = alpha * from[j];
    }
}

/* dx = bit ? dy * scale : 0 */
static void mask_bits(int64_t m, int64_t n, flip_real *dx, const flip_real *dy, const uint8_t *bits,
                      flip_real scale) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            dx[i * n + j] = bit_at(bits, n, i, j) ? dy[i * n + j] * scale : 0;
}

/* Kingma and Ba, "Adam", ICLR 2015, algorithm 1; decoupled decay: Loshchilov and Hutter, ICLR 2019,
 * algorithm 2. */
static void adam(int64_t n, flip_real *p, const double *g, flip_real *m, flip_real *v,
                 const flip_adam_step *s) {
    flip_real beta1 = (flip_real)s->beta1, rest1 = (flip_real)(1 - s->beta1);
    flip_real beta2 = (flip_real)s->beta2, rest2 = (flip_real)(1 - s->beta2);
    flip_real decay = (flip_real)(s->decoupled ? 0 : s->weight_decay);
    flip_real shrink = (flip_real)(s->decoupled ? 1 - s->lr * s->weight_decay : 1);
    flip_real rate = (flip_real)(s->lr / s->correct1), root = (flip_real)(1 / sqrt(s->correct2));
    flip_real epsilon = (flip_real)s->epsilon;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        flip_real slope = (flip_real)(g[i] * s->grad_scale) + decay * p[i];
        m[i] = beta1 * m[i] + rest1 * slope;
        v[i] = beta2 * v[i] + rest2 * slope * slope;
        p[i] = shrink * p[i] - rate * m[i] / ((flip_real)sqrt((double)v[i]) * root + epsilon);
    }
}

static flip_kernels reference = {
    .name = "reference",
    .spmm = spmm,
    .gemm_nn = gemm_nn,
    .gemm_nt = gemm_nt,
    .gemm_tn = gemm_tn,
    .gemm_nn_bf16 = gemm_nn_bf16,
    .gemm_nt_bf16 = gemm_nt_bf16,
    .gemm_tn_bf16 = gemm_tn_bf16,
    .epilogue = epilogue,
    .column_sums = column_sums,
    .softmax = softmax,
    .pair_scores = pair_scores,
    .scaled = scaled,
    .dropout = dropout,
    .mask_bits = mask_bits,
    .adam = adam,
};

static void add_cells(void) {
    flip_kernels_use_memory(&reference);
    flip_kernels_use_losses(&reference);
    flip_kernels_use_cells(&reference);
    flip_kernels_use_packed(&reference);
    flip_kernels_use_steps(&reference);
    flip_kernels_use_changes(&reference);
    flip_kernels_use_runs(&reference);
    flip_kernels_use_norms(&reference);
    flip_kernels_use_evolve(&reference);
    flip_kernels_use_edges(&reference);
    flip_kernels_use_draws(&reference);
}

const flip_kernels *flip_kernels_reference(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, add_cells);
    return &reference;
}
