/* Attention on the GPU: edges.c is the definition. A warp has a row of entries, and where values of
 * nodes are summed a row at a step; entries go in order. Where few columns leave lanes idle, groups
 * of lanes take every so manyeth entry. */
#include "kernels/cuda_edges.h"
#include "kernels/cuda_random.h"

#define SLOPE ((flip_real)0.2)

/* The shapes, as kernels take them. */
struct heads_of {
    int32_t steps, heads, d;
    flip_real scale; /* 1 / (1 - p) */
    double dropped;  /* p 2^32 */
    uint64_t seed, draw;
    const int64_t *key;
    const flip_cuda_now *now;
    __device__ int64_t scores() const {
        return (int64_t)steps * heads;
    }
    __device__ int64_t width() const {
        return scores() * d;
    }
    /* Is the weight of head h of the count-th entry of row v at step t kept? */
    __device__ bool keeps(int64_t v, int32_t t, int32_t h, int64_t count) const {
        const int64_t j = count * heads + h;
        const uint64_t row = (uint64_t)key[v * steps + t];
        const flip_random4 drawn =
            flip_cuda_random(seed, FLIP_STREAM_DROPOUT, flip_cuda_draw(draw, now),
                             row * (FLIP_WEIGHT_KEYS / 4) + (uint64_t)(j / 4));
        return (double)drawn.v[j % 4] >= dropped;
    }
};

static heads_of shapes(const flip_heads *h) {
    return {h->steps,
            h->heads,
            h->d,
            (flip_real)(1 / (1 - h->dropout)),
            h->dropout * 4294967296.0,
            h->seed,
            h->draw,
            h->key,
            flip_cuda_recorded_now};
}

static int64_t scores_of(const flip_heads *h) {
    return (int64_t)h->steps * h->heads;
}

/* Has any head of an entry at a step a weight? alpha: its first head's. Asked by a whole warp. */
__device__ static bool has_weight(const flip_real *alpha, int32_t heads) {
    bool mine = false;
    for (int32_t h = threadIdx.x % FLIP_WARP; h < heads; h += FLIP_WARP)
        mine = mine || alpha[h] > 0;
    return __ballot_sync(FLIP_ALL_LANES, mine) != 0;
}

/* ---- forward ---- */

/* `lanes` lanes have a column each, 32 / lanes groups of them every so manyeth entry. */
__global__ static void softmax_kernel(flip_csr a, heads_of s, int lanes, const flip_real *src,
                                      const flip_real *dst, flip_real *alpha) {
    const int lane = threadIdx.x % FLIP_WARP, group = lane / lanes, groups = FLIP_WARP / lanes;
    const int64_t n = s.scores();
    FLIP_EACH_WARP(v, a.n_rows)
    for (int64_t first = 0; first < n; first += lanes) {
        const int64_t i = first + lane % lanes, end = i < n ? a.row_ptr[v + 1] : 0;
        const int64_t begin = a.row_ptr[v] + group;
        flip_real most = -INFINITY, sum = 0;
        for (int64_t e = begin; e < end; e += groups) {
            flip_real score = -INFINITY;
            if (flip_lives(a, e, (int32_t)(i / s.heads))) {
                score = src[a.col[e] * n + i] + dst[v * n + i];
                score = score > 0 ? score : SLOPE * score;
            }
            alpha[e * n + i] = score;
            most = score > most ? score : most;
        }
        most = flip_lanes_max(most, lanes);
        for (int64_t e = begin; e < end; e += groups) {
            const flip_real score = alpha[e * n + i];
            const flip_real weight = score > -INFINITY ? exp(score - most) : 0;
            alpha[e * n + i] = weight;
            sum += weight;
        }
        sum = flip_lanes_sum(sum, lanes);
        for (int64_t e = begin; e < end && sum > 0; e += groups)
            alpha[e * n + i] /= sum;
    }
}

template <bool DROPS>
__global__ static void sum_kernel(flip_csr a, heads_of s, const flip_real *alphas,
                                  const flip_real *x_own, const flip_real *x_halo, flip_real *y) {
    const int lane = threadIdx.x % FLIP_WARP;
    const int64_t n = s.scores(), width = s.width(), columns = (int64_t)s.heads * s.d;
    FLIP_EACH_WARP(w, (int64_t)a.n_rows * s.steps) {
        const int64_t v = w / s.steps;
        const int32_t t = (int32_t)(w % s.steps);
        for (int64_t first = 0; first < columns; first += FLIP_WARP) {
            const int64_t column = first + lane, j = t * columns + column;
            const bool mine = column < columns;
            const int32_t h = mine ? (int32_t)(column / s.d) : 0;
            flip_real sum = 0;
            int64_t count = 0;
            for (int64_t e = a.row_ptr[v]; e < a.row_ptr[v + 1]; e++) {
                const flip_real *entry = alphas + e * n + (int64_t)t * s.heads;
                const flip_real alpha = mine ? entry[h] * s.scale : 0;
                if (alpha != 0 && (!DROPS || s.keeps(v, t, h, count)))
                    sum += alpha * flip_entry_row(a, e, width, x_own, x_halo)[j];
                if (DROPS) count += has_weight(entry, s.heads);
            }
            if (mine) y[v * width + j] = sum;
        }
    }
}

static void attention(const flip_csr *a, const flip_heads *heads, const flip_real *src,
                      const flip_real *dst, const flip_real *x_own, const flip_real *x_halo,
                      flip_real *alpha, flip_real *y, flip_real *room) {
    (void)room;
    const heads_of s = shapes(heads);
    const int64_t items = (int64_t)a->n_rows * heads->steps;
    FLIP_LAUNCH_WARPS(softmax_kernel, a->n_rows, *a, s, flip_lanes_for(scores_of(heads)), src, dst,
                      alpha);
    if (heads->dropout > 0)
        FLIP_LAUNCH_WARPS(sum_kernel<true>, items, *a, s, alpha, x_own, x_halo, y);
    else
        FLIP_LAUNCH_WARPS(sum_kernel<false>, items, *a, s, alpha, x_own, x_halo, y);
}

/* ---- backward ---- */

/* d_e = keep / (1-p) dy[v] . x[u] and the kept alpha, at the entries' places in the transpose; dot
 * = Σ_e alpha_e d_e. A head has `lanes` lanes. */
template <bool DROPS>
__global__ static void slopes_kernel(flip_csr a, heads_of s, int lanes, const flip_real *x_own,
                                     const flip_real *x_halo, const flip_real *alphas,
                                     const flip_real *dy, const int64_t *place, flip_real *d_t,
                                     flip_real *alpha_t, flip_real *dots) {
    const int lane = threadIdx.x % FLIP_WARP, group = lane / lanes, groups = FLIP_WARP / lanes;
    const int64_t n = s.scores(), width = s.width();
    FLIP_EACH_WARP(w, (int64_t)a.n_rows * s.steps) {
        const int64_t v = w / s.steps;
        const int32_t t = (int32_t)(w % s.steps);
        for (int32_t first = 0; first < s.heads; first += groups) {
            const int32_t h = first + group;
            const bool mine = h < s.heads;
            const int64_t i = (int64_t)t * s.heads + h;
            flip_real dot = 0;
            int64_t count = 0;
            for (int64_t e = a.row_ptr[v]; e < a.row_ptr[v + 1]; e++) {
                const flip_real alpha = mine ? alphas[e * n + i] : 0;
                const bool alive = alpha > 0 && (!DROPS || s.keeps(v, t, h, count));
                const flip_real *z = flip_entry_row(a, e, width, x_own, x_halo);
                flip_real sum = 0;
                for (int32_t j = lane % lanes; alive && j < s.d; j += lanes)
                    sum += dy[v * width + i * s.d + j] * z[i * s.d + j];
                sum = flip_lanes_sum(sum, 1, lanes);
                if (mine && lane % lanes == 0) {
                    alpha_t[place[e] * n + i] = alive ? alpha * s.scale : 0;
                    d_t[place[e] * n + i] = sum * s.scale;
                    dot += alpha * sum * s.scale;
                }
                if (DROPS) count += has_weight(alphas + e * n + (int64_t)t * s.heads, s.heads);
            }
            if (mine && lane % lanes == 0) dots[v * n + i] = dot;
        }
    }
}

/* ds_e = alpha_e (d_e - dot) LeakyReLU'(s_e), and their sums; lanes as in softmax_kernel */
__global__ static void scores_back_kernel(flip_csr a, heads_of s, int lanes, const flip_real *src,
                                          const flip_real *dst, const flip_real *alpha,
                                          const int64_t *place, const flip_real *dots,
                                          flip_real *ds_t, flip_real *dst_sum) {
    const int lane = threadIdx.x % FLIP_WARP, group = lane / lanes, groups = FLIP_WARP / lanes;
    const int64_t n = s.scores();
    FLIP_EACH_WARP(v, a.n_rows)
    for (int64_t first = 0; first < n; first += lanes) {
        const int64_t i = first + lane % lanes, end = i < n ? a.row_ptr[v + 1] : 0;
        flip_real sum = 0;
        for (int64_t e = a.row_ptr[v] + group; e < end; e += groups) {
            const flip_real steep = src[a.col[e] * n + i] + dst[v * n + i] > 0 ? 1 : SLOPE;
            flip_real *ds = ds_t + place[e] * n + i;
            *ds = alpha[e * n + i] * (*ds - dots[v * n + i]) * steep;
            sum += *ds;
        }
        sum = flip_lanes_sum(sum, lanes);
        if (i < n && group == 0) dst_sum[v * n + i] = sum;
    }
}

static void attention_back(const flip_csr *a, const flip_heads *heads, const flip_real *src,
                           const flip_real *dst, const flip_real *x_own, const flip_real *x_halo,
                           const flip_real *alpha, const flip_real *dy, const int64_t *place,
                           flip_real *ds_t, flip_real *alpha_t, flip_real *dst_sum,
                           flip_real *room) {
    const heads_of s = shapes(heads);
    const int64_t items = (int64_t)a->n_rows * heads->steps;
    const int lanes = flip_lanes_for(heads->d);
    if (heads->dropout > 0)
        FLIP_LAUNCH_WARPS(slopes_kernel<true>, items, *a, s, lanes, x_own, x_halo, alpha, dy, place,
                          ds_t, alpha_t, room);
    else
        FLIP_LAUNCH_WARPS(slopes_kernel<false>, items, *a, s, lanes, x_own, x_halo, alpha, dy,
                          place, ds_t, alpha_t, room);
    FLIP_LAUNCH_WARPS(scores_back_kernel, a->n_rows, *a, s, flip_lanes_for(scores_of(heads)), src,
                      dst, alpha, place, room, ds_t, dst_sum);
}

__global__ static void pull_kernel(flip_csr at, heads_of s, const flip_real *dy,
                                   const flip_real *ds_t, const flip_real *alpha_t,
                                   const flip_real *a_src, flip_real *src_sum,
                                   const flip_real *a_dst, const flip_real *dst_sum, int32_t n_dst,
                                   flip_real *dx, bool accumulate) {
    const int lane = threadIdx.x % FLIP_WARP;
    const int64_t n = s.scores(), width = s.width(), columns = (int64_t)s.heads * s.d;
    FLIP_EACH_WARP(w, (int64_t)at.n_rows * s.steps) {
        const int64_t u = w / s.steps, t = w % s.steps;
        for (int64_t column = lane; column < columns; column += FLIP_WARP) {
            const int64_t i = t * s.heads + column / s.d, j = t * columns + column;
            flip_real sum = accumulate ? dx[u * width + j] : 0, scores = 0;
            for (int64_t e = at.row_ptr[u]; e < at.row_ptr[u + 1]; e++) {
                const flip_real alpha = alpha_t[e * n + i];
                scores += ds_t[e * n + i];
                if (alpha != 0) sum += alpha * dy[at.col[e] * width + j];
            }
            sum += scores * a_src[column];
            if (u < n_dst) sum += dst_sum[u * n + i] * a_dst[column];
            dx[u * width + j] = sum;
            if (column % s.d == 0) src_sum[u * n + i] = scores;
        }
    }
}

static void attention_pull(const flip_csr *at, const flip_heads *heads, const flip_real *dy,
                           const flip_real *ds_t, const flip_real *alpha_t, const flip_real *a_src,
                           flip_real *src_sum, const flip_real *a_dst, const flip_real *dst_sum,
                           int32_t n_dst, flip_real *dx, bool accumulate) {
    FLIP_LAUNCH_WARPS(pull_kernel, (int64_t)at->n_rows * heads->steps, *at, shapes(heads), dy, ds_t,
                      alpha_t, a_src, src_sum, a_dst, dst_sum, n_dst, dx, accumulate);
}

void flip_use_cuda_attention(flip_kernels *table) {
    table->attention = attention;
    table->attention_back = attention_back;
    table->attention_pull = attention_pull;
}
