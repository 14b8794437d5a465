/* Over the entries of rows on the GPU: max pooling, weights that learn, heads. edges.c is the
 * definition. */
#include "kernels/cuda_columns.h"
#include "kernels/cuda_edges.h"

/* ---- heads ---- */

/* `lanes` lanes have an item, 32 / lanes of them a warp. */
__global__ static void head_dots_kernel(int64_t n, int32_t heads, int32_t d, int lanes,
                                        const flip_real *a, const flip_real *z, flip_real *out) {
    const int lane = threadIdx.x % FLIP_WARP, each = FLIP_WARP / lanes;
    FLIP_EACH_WARP(w, (n + each - 1) / each) {
        const int64_t i = w * each + lane / lanes;
        flip_real sum = 0;
        for (int32_t j = lane % lanes; i < n && j < d; j += lanes)
            sum += a[i % heads * d + j] * z[i * d + j];
        sum = flip_lanes_sum(sum, 1, lanes);
        if (i < n && lane % lanes == 0) out[i] = sum;
    }
}

static void head_dots(int64_t n, int32_t heads, int32_t d, const flip_real *a, const flip_real *z,
                      flip_real *out) {
    const int lanes = flip_lanes_for(d);
    FLIP_LAUNCH_WARPS(head_dots_kernel, (n * lanes + FLIP_WARP - 1) / FLIP_WARP, n, heads, d, lanes,
                      a, z, out);
}

struct head_term {
    int64_t width;
    int32_t heads, d;
    const flip_real *s, *z;
    __device__ void operator()(int64_t i, int64_t j, double *sums) const {
        sums[0] += (double)s[i * heads + j / d] * (double)z[i * width + j];
    }
};

static void head_gradients(int64_t n, int32_t steps, int32_t heads, int32_t d, const flip_real *s,
                           const flip_real *z, double *g, double *room) {
    const int64_t width = (int64_t)heads * d;
    if (n * steps == 0) return;
    const head_term term = {width, heads, d, s, z};
    flip_columns<1>(n * steps, width, (int64_t)FLIP_ROOM_ROWS * steps, term, room);
    FLIP_LAUNCH(flip_column_sums_kernel, flip_cuda_blocks(width, FLIP_WARP), FLIP_WARP, 0,
                (int64_t)flip_room(n, 1), width, room, g, true);
}

__global__ static void head_mean_kernel(int64_t m, int32_t heads, int64_t d, const flip_real *x,
                                        flip_real *y) {
    FLIP_EACH(at, m * d) {
        const int64_t i = at / d, j = at % d;
        flip_real sum = 0;
        for (int32_t k = 0; k < heads; k++)
            sum += x[(i * heads + k) * d + j];
        y[at] = sum / (flip_real)heads;
    }
}

static void head_mean(int64_t m, int32_t heads, int64_t d, const flip_real *x, flip_real *y) {
    FLIP_LAUNCH_EACH(head_mean_kernel, m * d, m, heads, d, x, y);
}

__global__ static void head_mean_back_kernel(int64_t m, int32_t heads, int64_t d,
                                             const flip_real *dy, flip_real *dx, bool accumulate) {
    const int64_t width = heads * d;
    FLIP_EACH(at, m * width)
    dx[at] = (accumulate ? dx[at] : 0) + dy[at / width * d + at % d] / (flip_real)heads;
}

static void head_mean_back(int64_t m, int32_t heads, int64_t d, const flip_real *dy, flip_real *dx,
                           bool accumulate) {
    FLIP_LAUNCH_EACH(head_mean_back_kernel, m * heads * d, m, heads, d, dy, dx, accumulate);
}

/* ---- max pooling: a warp has a row at a step ---- */

__global__ static void max_pool_kernel(flip_csr a, const int32_t *rows, int64_t n_rows,
                                       int32_t steps, int64_t dim, flip_real *y, int32_t *from,
                                       const flip_real *x_own, const flip_real *x_halo) {
    const int lane = threadIdx.x % FLIP_WARP;
    const int64_t width = steps * dim;
    FLIP_EACH_WARP(w, n_rows * steps) {
        const int64_t i = w / steps, v = rows ? rows[i] : i;
        const int32_t t = (int32_t)(w % steps);
        for (int64_t j = t * dim + lane; j < (t + 1) * dim; j += FLIP_WARP) {
            flip_real most = 0;
            int32_t who = -1;
            for (int64_t e = a.row_ptr[v]; e < a.row_ptr[v + 1]; e++) {
                if (!flip_lives(a, e, t)) continue;
                const flip_real value = flip_entry_row(a, e, width, x_own, x_halo)[j];
                const bool more = who < 0 || value > most;
                most = more ? value : most;
                who = more ? a.col[e] : who;
            }
            y[v * width + j] = most;
            from[v * width + j] = who;
        }
    }
}

static void max_pool(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t steps,
                     int32_t dim, flip_real *y, int32_t *from, const flip_real *x_own,
                     const flip_real *x_halo) {
    FLIP_LAUNCH_WARPS(max_pool_kernel, (int64_t)n_rows * steps, *a, rows, n_rows, steps, dim, y,
                      from, x_own, x_halo);
}

__global__ static void max_pool_back_kernel(flip_csr at, int32_t first, int64_t width,
                                            const flip_real *dy, const int32_t *from, flip_real *dx,
                                            bool accumulate) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, at.n_rows)
    for (int64_t j = lane; j < width; j += FLIP_WARP) {
        flip_real sum = accumulate ? dx[i * width + j] : 0;
        int64_t before = -1;
        for (int64_t e = at.row_ptr[i]; e < at.row_ptr[i + 1]; e++) {
            const int64_t v = at.col[e];
            if (v != before && from[v * width + j] == first + i) sum += dy[v * width + j];
            before = v;
        }
        dx[i * width + j] = sum;
    }
}

static void max_pool_back(const flip_csr *at, int32_t first, int64_t width, const flip_real *dy,
                          const int32_t *from, flip_real *dx, bool accumulate) {
    FLIP_LAUNCH_WARPS(max_pool_back_kernel, at->n_rows, *at, first, width, dy, from, dx,
                      accumulate);
}

/* ---- weights that learn ---- */

__global__ static void entry_dots_kernel(flip_csr a, int64_t width, const flip_real *dy,
                                         const flip_real *x_own, const flip_real *x_halo,
                                         flip_real *dw, bool accumulate) {
    const int lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(v, a.n_rows)
    for (int64_t e = a.row_ptr[v]; e < a.row_ptr[v + 1]; e++) {
        const flip_real *row = flip_entry_row(a, e, width, x_own, x_halo);
        flip_real sum = 0;
        for (int64_t j = lane; j < width; j += FLIP_WARP)
            sum += dy[v * width + j] * row[j];
        sum = flip_lanes_sum(sum);
        if (lane == 0) dw[e] = (accumulate ? dw[e] : 0) + sum;
    }
}

static void entry_dots(const flip_csr *a, int64_t width, const flip_real *dy,
                       const flip_real *x_own, const flip_real *x_halo, flip_real *dw,
                       bool accumulate) {
    FLIP_LAUNCH_WARPS(entry_dots_kernel, a->n_rows, *a, width, dy, x_own, x_halo, dw, accumulate);
}

__global__ static void place_kernel(int64_t n, const int64_t *place, const flip_real *x,
                                    flip_real *y) {
    FLIP_EACH(i, n) y[place[i]] = x[i];
}

static void place_values(int64_t n, const int64_t *place, const flip_real *x, flip_real *y) {
    FLIP_LAUNCH_EACH(place_kernel, n, n, place, x, y);
}

void flip_use_cuda_edges(flip_kernels *table) {
    table->head_dots = head_dots;
    table->head_gradients = head_gradients;
    table->head_mean = head_mean;
    table->head_mean_back = head_mean_back;
    table->max_pool = max_pool;
    table->max_pool_back = max_pool_back;
    table->entry_dots = entry_dots;
    table->place_values = place_values;
}
