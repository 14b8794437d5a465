/* Rows along time on the GPU. A thread has one value, or four that lie side by side; where fewer
 * than 2^31 are counted, in 32 bits, whose division is a quarter of the other's. */
#include "kernels/cuda_four.h"
#include "kernels/cuda_warp.h"

__device__ static void set(flip_real *to, flip_real from) {
    *to = from;
}
__device__ static void add(flip_real *to, flip_real from) {
    *to += from;
}
__device__ static void set(flip_four *to, const flip_four &from) {
    *to = from;
}
__device__ static void add(flip_four *to, const flip_four &from) {
    flip_four sum = *to;
    for (int i = 0; i < FLIP_FOUR; i++)
        sum.v[i] += from.v[i];
    *to = sum;
}

/* for (i of this thread; i < n; by the whole grid), counted in `count` */
#define EACH(count, i, n)                                                                          \
    for (count i = (count)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                          \
         i += (count)gridDim.x * blockDim.x)

static bool is_small(int64_t n) {
    return n < INT32_MAX;
}

/* ---- blocks moved ---- */

struct extent {
    int64_t n, d, y_row, y_step, x_row, x_step; /* in values of the kernel's */
};

template <typename count, typename value>
__global__ static void move_kernel(count total, extent e, value *y, const value *x,
                                   bool accumulate) {
    const count n = (count)e.n, d = (count)e.d;
    EACH(count, at, total) {
        count row = at / d, j = at - row * d, i = row / n, t = row - i * n;
        value *to = y + (int64_t)i * e.y_row + (int64_t)t * e.y_step + j;
        value from = x ? x[(int64_t)i * e.x_row + (int64_t)t * e.x_step + j] : value{};
        if (accumulate)
            add(to, from);
        else
            set(to, from);
    }
}

template <typename value>
static void launch_move(int64_t m, const extent &e, value *y, const value *x, bool accumulate) {
    const int64_t total = m * e.n * e.d;
    if (is_small(total))
        FLIP_LAUNCH_EACH((move_kernel<uint32_t, value>), total, (uint32_t)total, e, y, x,
                         accumulate);
    else
        FLIP_LAUNCH_EACH((move_kernel<int64_t, value>), total, total, e, y, x, accumulate);
}

static void move(int64_t m, int64_t n, int64_t d, flip_real *y, int64_t y_row, int64_t y_step,
                 const flip_real *x, int64_t x_row, int64_t x_step, bool accumulate) {
    if (!x && accumulate) return;
    if (y_step == d && (!x || x_step == d)) { /* a row's steps are one stretch */
        d *= n;
        n = 1;
        y_step = x_step = d;
    }
    if (flip_fours_whole(d, y_row, y) && y_step % FLIP_FOUR == 0 &&
        (!x || (flip_fours_whole(d, x_row, x) && x_step % FLIP_FOUR == 0))) {
        extent e = {n,
                    d / FLIP_FOUR,
                    y_row / FLIP_FOUR,
                    y_step / FLIP_FOUR,
                    x_row / FLIP_FOUR,
                    x_step / FLIP_FOUR};
        launch_move(m, e, (flip_four *)y, (const flip_four *)x, accumulate);
        return;
    }
    extent e = {n, d, y_row, y_step, x_row, x_step};
    launch_move(m, e, y, x, accumulate);
}

__global__ static void add_doubles_kernel(int64_t n, double *y, const double *x) {
    FLIP_EACH(i, n) y[i] += x[i];
}

static void add_doubles(int64_t n, double *y, const double *x) {
    FLIP_LAUNCH_EACH(add_doubles_kernel, n, n, y, x);
}

__global__ static void add_rounded_kernel(int64_t n, flip_real *y, const double *x) {
    FLIP_EACH(i, n) y[i] += (flip_real)x[i];
}

static void add_rounded(int64_t n, flip_real *y, const double *x) {
    FLIP_LAUNCH_EACH(add_rounded_kernel, n, n, y, x);
}

/* ---- TM-GCN's band ---- */

/* Column j of a row's steps. */
struct column {
    const flip_real *before, *x;
    int32_t first, earlier, dim;
    __device__ flip_real operator()(int32_t t) const {
        int32_t at = t - first;
        return at < 0 ? before[(int64_t)(at + earlier) * dim] : x[(int64_t)at * dim];
    }
};

/* A thread has one column of one piece of a row (see steps.c): its heads go up through y, then the
 * rests come down. */
template <typename count>
__global__ static void band_kernel(count total, int32_t pieces, flip_band_steps b, flip_real *y,
                                   const flip_real *before, const flip_real *x) {
    EACH(count, at, total) {
        const count group = at / (count)b.dim, j = at - group * (count)b.dim;
        const int64_t i = group / (count)pieces;
        const int32_t w = b.window, cut = (b.first / w + (int32_t)(group % (count)pieces)) * w;
        const int32_t begin = cut > b.first ? cut : b.first;
        const int32_t end = cut + w < b.first + b.steps ? cut + w : b.first + b.steps;
        const column of = {before ? before + i * b.earlier * b.dim + j : nullptr,
                           x + i * b.steps * b.dim + j, b.first, b.earlier, b.dim};
        flip_real *to = y + i * b.steps * b.dim + j;
        flip_real head = 0, rest = 0;
        for (int32_t k = cut; k < begin; k++)
            head += of(k);
        for (int32_t t = begin; t < end; t++)
            to[(int64_t)(t - b.first) * b.dim] = head += of(t);
        int32_t reached = cut;
        for (int32_t t = end - 1; t >= begin; t--) {
            for (const int32_t low = t - w + 1 > 0 ? t - w + 1 : 0; reached > low; reached--)
                rest += of(reached - 1);
            flip_real scale = 1 / (flip_real)(w < t + 1 ? w : t + 1);
            flip_real *sum = to + (int64_t)(t - b.first) * b.dim;
            *sum = scale * (rest + *sum);
        }
    }
}

static void band_sums(const flip_band_steps *b, flip_real *y, const flip_real *before,
                      const flip_real *x) {
    if (b->steps == 0) return;
    const int32_t pieces = (b->first + b->steps - 1) / b->window - b->first / b->window + 1;
    const int64_t total = b->rows * pieces * b->dim;
    if (is_small(total))
        FLIP_LAUNCH_EACH(band_kernel<uint32_t>, total, (uint32_t)total, pieces, *b, y, before, x);
    else
        FLIP_LAUNCH_EACH(band_kernel<int64_t>, total, total, pieces, *b, y, before, x);
}

/* A thread has one value of a step, or of one before. */
template <typename count>
__global__ static void band_back_kernel(count total, flip_band_steps b, const flip_real *dy,
                                        flip_real *dbefore, flip_real *dx, bool accumulate) {
    const count steps = (count)(b.earlier + b.steps);
    EACH(count, at, total) {
        const count group = at / (count)b.dim, j = at - group * (count)b.dim;
        const int64_t i = group / steps;
        const int32_t w = b.window, k = b.first - b.earlier + (int32_t)(group % steps);
        const bool own = k >= b.first;
        const int32_t end = k + w < b.first + b.steps ? k + w : b.first + b.steps;
        const flip_real *from = dy + i * b.steps * b.dim + j;
        flip_real *to = own ? dx + (i * b.steps + k - b.first) * b.dim + j
                            : dbefore + (i * b.earlier + k - b.first + b.earlier) * b.dim + j;
        flip_real sum = own && accumulate ? *to : 0;
        for (int32_t t = own ? k : b.first; t < end; t++)
            sum += 1 / (flip_real)(w < t + 1 ? w : t + 1) * from[(int64_t)(t - b.first) * b.dim];
        *to = sum;
    }
}

static void band_sums_back(const flip_band_steps *b, const flip_real *dy, flip_real *dbefore,
                           flip_real *dx, bool accumulate) {
    const int64_t total = b->rows * (b->earlier + b->steps) * b->dim;
    if (is_small(total))
        FLIP_LAUNCH_EACH(band_back_kernel<uint32_t>, total, (uint32_t)total, *b, dy, dbefore, dx,
                         accumulate);
    else
        FLIP_LAUNCH_EACH(band_back_kernel<int64_t>, total, total, *b, dy, dbefore, dx, accumulate);
}

/* ---- rows by number ---- */

template <typename count, typename value>
__global__ static void gather_kernel(count total, count dim, value *z, int64_t ldz,
                                     const int32_t *index, const value *x, const value *halo) {
    EACH(count, at, total) {
        const count i = at / dim, j = at - i * dim;
        const int64_t from = index[i];
        z[i * ldz + j] = from < 0 ? halo[(-1 - from) * dim + j] : x[from * dim + j];
    }
}

template <typename value>
static void launch_gather(int64_t n, int64_t dim, value *z, int64_t ldz, const int32_t *index,
                          const value *x, const value *halo) {
    const int64_t total = n * dim;
    if (is_small(total))
        FLIP_LAUNCH_EACH((gather_kernel<uint32_t, value>), total, (uint32_t)total, (uint32_t)dim, z,
                         ldz, index, x, halo);
    else
        FLIP_LAUNCH_EACH((gather_kernel<int64_t, value>), total, total, dim, z, ldz, index, x,
                         halo);
}

static void gather_rows(int64_t n, int64_t dim, flip_real *z, int64_t ldz, const int32_t *index,
                        const flip_real *x, const flip_real *halo) {
    if (flip_fours_whole(dim, ldz, z) && flip_fours_whole(dim, dim, x) &&
        flip_fours_whole(dim, dim, halo))
        launch_gather(n, dim / FLIP_FOUR, (flip_four *)z, ldz / FLIP_FOUR, index,
                      (const flip_four *)x, (const flip_four *)halo);
    else
        launch_gather(n, dim, z, ldz, index, x, halo);
}

/* A thread has a column of a row that is added to: no two threads meet, and the order is ptr's. */
template <typename value>
__global__ static void add_to_rows_kernel(int64_t n, int32_t dim, value *y, const int32_t *row,
                                          const int32_t *ptr, const int32_t *index,
                                          const value *x) {
    FLIP_EACH(at, n * dim) {
        const int64_t i = at / dim, j = at - i * dim;
        value *to = y + (int64_t)row[i] * dim + j;
        value sum = *to;
        for (int32_t k = ptr[i], end = ptr[i + 1]; k < end; k++)
            add(&sum, x[(int64_t)index[k] * dim + j]);
        *to = sum;
    }
}

static void add_to_rows(int64_t n, int64_t dim, flip_real *y, const int32_t *row,
                        const int32_t *ptr, const int32_t *index, const flip_real *x) {
    if (flip_fours_whole(dim, dim, y) && flip_fours_whole(dim, dim, x))
        FLIP_LAUNCH_EACH(add_to_rows_kernel<flip_four>, n * (dim / FLIP_FOUR), n,
                         (int32_t)(dim / FLIP_FOUR), (flip_four *)y, row, ptr, index,
                         (const flip_four *)x);
    else
        FLIP_LAUNCH_EACH(add_to_rows_kernel<flip_real>, n * dim, n, (int32_t)dim, y, row, ptr,
                         index, x);
}

/* A warp has a pair. */
__global__ static void pair_dot_kernel(int64_t m, int64_t d, const flip_real *z, flip_real *s) {
    const int64_t lane = threadIdx.x % FLIP_WARP;
    FLIP_EACH_WARP(i, m) {
        const flip_real *u = z + i * 2 * d, *v = u + d;
        flip_real sum = 0;
        for (int64_t j = lane; j < d; j += FLIP_WARP)
            sum += u[j] * v[j];
        for (int apart = FLIP_WARP / 2; apart > 0; apart /= 2)
            sum += __shfl_xor_sync(FLIP_ALL_LANES, sum, apart);
        if (lane == 0) s[i] = sum;
    }
}

static void pair_dot(int64_t m, int64_t d, const flip_real *z, flip_real *s) {
    FLIP_LAUNCH_WARPS(pair_dot_kernel, m, m, d, z, s);
}

__global__ static void pair_dot_back_kernel(int64_t m, int64_t d, const flip_real *z,
                                            const flip_real *ds, flip_real *dz, bool accumulate) {
    FLIP_EACH(at, m * 2 * d) {
        const int64_t i = at / (2 * d), j = at - i * 2 * d;
        flip_real share = ds[i] * z[j < d ? at + d : at - d];
        dz[at] = accumulate ? dz[at] + share : share;
    }
}

static void pair_dot_back(int64_t m, int64_t d, const flip_real *z, const flip_real *ds,
                          flip_real *dz, bool accumulate) {
    FLIP_LAUNCH_EACH(pair_dot_back_kernel, m * 2 * d, m, d, z, ds, dz, accumulate);
}

void flip_use_cuda_steps(flip_kernels *table) {
    table->move = move;
    table->add_doubles = add_doubles;
    table->add_rounded = add_rounded;
    table->band_sums = band_sums;
    table->band_sums_back = band_sums_back;
    table->gather_rows = gather_rows;
    table->add_to_rows = add_to_rows;
    table->pair_dot = pair_dot;
    table->pair_dot_back = pair_dot_back;
}
