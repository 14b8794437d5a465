/* Rows and columns on the GPU: softmax, sums of columns and of partial products, all pairs. */
#include "kernels/cuda_warp.h"

enum { THREADS = 256 };

/* ---- softmax -------------------------------------------------------------------------------- */

/* `lanes` neighbouring threads a row; a row's numbers are read again from L1, as the reference
 * reads them again. */
template <int lanes>
__global__ static void softmax_kernel(int64_t m, int64_t n, const flip_real *x, int64_t ldx,
                                      flip_real *p, int64_t ldp, double *log_sum_exp) {
    const int lane = threadIdx.x % lanes, rows = THREADS / lanes;
    for (int64_t base = (int64_t)blockIdx.x * rows; base < m; base += (int64_t)gridDim.x * rows) {
        const int64_t i = base + threadIdx.x / lanes;
        const bool mine = i < m;
        const flip_real *from = x + (mine ? i : 0) * ldx;
        flip_real *to = p + (mine ? i : 0) * ldp;
        double most = -INFINITY, sum = 0;
        for (int64_t j = lane; mine && j < n; j += lanes)
            most = (double)from[j] > most ? (double)from[j] : most;
        most = flip_lanes_max(most, 1, lanes);
        for (int64_t j = lane; mine && j < n; j += lanes) {
            const double e = exp((double)from[j] - most);
            to[j] = (flip_real)e;
            sum += e;
        }
        for (int step = lanes / 2; step > 0; step /= 2)
            sum += __shfl_xor_sync(FLIP_ALL_LANES, sum, step);
        for (int64_t j = lane; mine && j < n; j += lanes)
            to[j] = (flip_real)((double)to[j] / sum);
        if (mine && lane == 0 && log_sum_exp) log_sum_exp[i] = most + log(sum);
    }
}

static void softmax(int64_t m, int64_t n, const flip_real *x, int64_t ldx, flip_real *p,
                    int64_t ldp, double *log_sum_exp) {
    if (n <= 4)
        FLIP_LAUNCH(softmax_kernel<2>, flip_cuda_blocks(m, THREADS / 2), THREADS, 0, m, n, x, ldx,
                    p, ldp, log_sum_exp);
    else if (n <= 32)
        FLIP_LAUNCH(softmax_kernel<8>, flip_cuda_blocks(m, THREADS / 8), THREADS, 0, m, n, x, ldx,
                    p, ldp, log_sum_exp);
    else
        FLIP_LAUNCH(softmax_kernel<32>, flip_cuda_blocks(m, THREADS / 32), THREADS, 0, m, n, x, ldx,
                    p, ldp, log_sum_exp);
}

/* ---- sums of parts -------------------------------------------------------------------------- */

enum { SLICES = THREADS / FLIP_WARP };

/* A warp's lanes are 32 neighbouring elements, its number a slice of the parts: each slice is
 * summed in ascending order, then the slices are. */
__global__ static void sum_parts_kernel(int64_t count, int64_t k, int64_t n, const flip_real *part,
                                        double *g, int64_t ldg) {
    __shared__ double sums[SLICES][FLIP_WARP];
    const int lane = threadIdx.x % FLIP_WARP, slice = threadIdx.x / FLIP_WARP;
    const int64_t each = (count + SLICES - 1) / SLICES, last = (slice + 1) * each;
    const int64_t at = (int64_t)blockIdx.x * FLIP_WARP + lane;
    double sum = 0;
    for (int64_t b = slice * each; at < k * n && b < (last < count ? last : count); b++)
        sum += (double)part[b * k * n + at];
    sums[slice][lane] = sum;
    __syncthreads();
    if (slice > 0 || at >= k * n) return;
    for (int s = 1; s < SLICES; s++)
        sum += sums[s][lane];
    g[at / n * ldg + at % n] += sum;
}

void flip_cuda_sum_parts(int64_t count, int64_t k, int64_t n, const flip_real *part, double *g,
                         int64_t ldg) {
    if (count == 0) return;
    FLIP_LAUNCH(sum_parts_kernel, (k * n + FLIP_WARP - 1) / FLIP_WARP, THREADS, 0, count, k, n,
                part, g, ldg);
}

/* ---- column sums ---------------------------------------------------------------------------- */

/* Block b of rows, columns first …: threads of a slice take `width` neighbouring columns of every
 * so many-th row. part [blocks, n]. */
__global__ static void column_parts_kernel(int64_t m, int64_t n, const flip_real *y, int64_t ldy,
                                           int64_t block, int width, int64_t first_block,
                                           flip_real *part) {
    __shared__ flip_real sums[THREADS];
    const int column = threadIdx.x % width, slice = threadIdx.x / width, slices = THREADS / width;
    const int64_t first = (first_block + blockIdx.x) * block;
    const int64_t end = first + block < m ? first + block : m;
    for (int64_t base = 0; base < n; base += width) {
        const int64_t j = base + column;
        flip_real sum = 0;
        for (int64_t i = first + slice; j < n && i < end; i += slices)
            sum += y[i * ldy + j];
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (int s = 1; slice == 0 && s < slices; s++)
            sum += sums[s * width + column];
        if (slice == 0 && j < n) part[blockIdx.x * n + j] = sum;
        __syncthreads(); /* before sums are written again */
    }
}

static void column_sums(int64_t m, int64_t n, const flip_real *y, int64_t ldy, double *g) {
    if (m == 0 || n == 0) return;
    const int64_t block = flip_cuda_gradient_block(m), blocks = (m + block - 1) / block;
    int64_t most = FLIP_CUDA_SCRATCH / ((int64_t)sizeof(flip_real) * n);
    if (most < 1) most = 1;
    flip_real *part = (flip_real *)flip_cuda_scratch((size_t)(most * n) * sizeof(flip_real));
    if (!part) return;
    int width = 1;
    while (width < (int)FLIP_WARP && width < n)
        width *= 2;
    for (int64_t done = 0; done < blocks; done += most) {
        const int64_t now = flip_min64(most, blocks - done);
        FLIP_LAUNCH(column_parts_kernel, now, THREADS, 0, m, n, y, ldy, block, width, done, part);
        flip_cuda_sum_parts(now, 1, n, part, g, n);
    }
}

/* ---- all pairs ------------------------------------------------------------------------------ */

enum { PAIR_ROWS = 8, PAIR_COLUMNS = 128, PAIR_DEPTH = 32 };

/* A block PAIR_ROWS rows of a against PAIR_COLUMNS columns of b, a thread one column and all the
 * rows, whose numbers pass through shared memory. A pair's sum runs over k in order, whatever its
 * place: the same bits as alone. */
__global__ static void pairs_kernel(int64_t m, int64_t n, int64_t width, const flip_real *a,
                                    const flip_real *b, int64_t ldb, const flip_real *w,
                                    flip_real bias, flip_real *s, int64_t lds,
                                    int64_t column_blocks) {
    __shared__ flip_real mine[PAIR_DEPTH][PAIR_ROWS], weight[PAIR_DEPTH];
    const int64_t row = blockIdx.x / column_blocks * PAIR_ROWS;
    const int64_t j = blockIdx.x % column_blocks * PAIR_COLUMNS + threadIdx.x;
    flip_real sum[PAIR_ROWS];
    for (int r = 0; r < PAIR_ROWS; r++)
        sum[r] = bias;
    for (int64_t first = 0; first < width; first += PAIR_DEPTH) {
        const int depth = width - first < PAIR_DEPTH ? (int)(width - first) : (int)PAIR_DEPTH;
        for (int at = threadIdx.x; at < PAIR_ROWS * depth; at += PAIR_COLUMNS) {
            const int r = at / depth, d = at % depth;
            mine[d][r] = row + r < m ? a[(row + r) * width + first + d] : 0;
        }
        if (w && (int)threadIdx.x < depth) weight[threadIdx.x] = w[first + threadIdx.x];
        __syncthreads();
        for (int d = 0; j < n && d < depth; d++) {
            const flip_real theirs = b[(first + d) * ldb + j];
            for (int r = 0; r < PAIR_ROWS; r++) {
                const flip_real both = mine[d][r] + theirs;
                sum[r] += w ? weight[d] * (both < 0 ? 0 : both) /* NaN stays NaN */
                            : mine[d][r] * theirs;
            }
        }
        __syncthreads(); /* before they are written again */
    }
    for (int r = 0; j < n && r < PAIR_ROWS && row + r < m; r++)
        s[(row + r) * lds + j] = sum[r];
}

static void pair_scores(int64_t m, int64_t n, int64_t width, const flip_real *a, const flip_real *b,
                        int64_t ldb, const flip_real *w, flip_real bias, flip_real *s,
                        int64_t lds) {
    const int64_t column_blocks = (n + PAIR_COLUMNS - 1) / PAIR_COLUMNS;
    const int64_t most = ((int64_t)1 << 30) / (column_blocks + 1) * PAIR_ROWS + PAIR_ROWS;
    for (int64_t done = 0; done < m; done += most) {
        const int64_t now = flip_min64(most, m - done);
        FLIP_LAUNCH(pairs_kernel, (now + PAIR_ROWS - 1) / PAIR_ROWS * column_blocks, PAIR_COLUMNS,
                    0, now, n, width, a + done * width, b, ldb, w, bias, s + done * lds, lds,
                    column_blocks);
    }
}

void flip_use_cuda_sums(flip_kernels *table) {
    table->softmax = softmax;
    table->column_sums = column_sums;
    table->pair_scores = pair_scores;
}
