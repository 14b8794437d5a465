/* SPARSE packed rows on the GPU: exact rows of few non-zero columns. A block of one warp sums a row
 * of y in shared memory: its lanes take an entry's non-zero columns, which all differ, one entry
 * after the other. */
#include "kernels/cuda_packed.h"
#include "kernels/cuda_rows.h"

enum {
    LANES = 32,
    TILE = 4096, /* columns that a block sums at once */
    BATCH = 4,   /* entries whose columns are under way at once */
    DECODE_THREADS = 128
};

/* Non-zero i of a row: its column (dim or more: none) and value. */
typedef struct nonzero {
    uint32_t column;
    float value;
} nonzero;

static __device__ __forceinline__ nonzero read_nonzero(const packed_rows &s, const uint8_t *row,
                                                       int32_t i) {
    const int32_t id_bytes = s.p.dim > 65535 ? 4 : 2;
    const uint8_t *values = row + (size_t)s.p.length * id_bytes;
    nonzero x = {(uint32_t)s.p.dim, 1};
    if (i >= s.p.length) return x;
    x.column = read_little(row + (size_t)i * id_bytes, id_bytes, s.grain);
    if (s.p.bits == 8) x.value = s.p.level[values[i]];
    if (s.p.bits == 32)
        x.value = as_float(
            read_little(values + 4 * (size_t)i, 4, s.p.length * id_bytes % 4 == 0 ? s.grain : 1));
    return x;
}

/* ---- sums along rows ------------------------------------------------------------------------- */

/* sums[0 … TILE) += weight * the columns from `first_column` on of BATCH entries from e on. */
static __device__ __forceinline__ void add_entries(const packed_sums &g, int64_t e, int64_t last,
                                                   uint32_t first_column, flip_real *sums) {
    const packed_rows &s = g.rows;
    const uint8_t *row[BATCH];
    flip_real weight[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        row[b] = NULL;
        weight[b] = 0;
        if (e + b >= last) continue;
        const int32_t col = g.col[e + b];
        weight[b] = g.value ? g.value[e + b] : 1;
        if (g.col_scale) weight[b] *= g.col_scale[col];
        row[b] = s.codes + (size_t)(s.index ? s.index[col] : col) * s.p.stride;
    }
    for (int32_t i = 0; i < s.p.length; i += LANES) {
        nonzero x[BATCH];
#pragma unroll
        for (int b = 0; b < BATCH; b++)
            x[b] = row[b] ? read_nonzero(s, row[b], i + (int32_t)threadIdx.x)
                          : nonzero{(uint32_t)s.p.dim, 0};
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            const uint32_t at = x[b].column - first_column;
            if (x[b].column < (uint32_t)s.p.dim && at < TILE) sums[at] += weight[b] * x[b].value;
            __syncthreads(); /* the next entry's lanes may meet this one's columns */
        }
    }
}

__global__ static void __launch_bounds__(LANES) sum_kernel(const packed_sums g, const flip_walk w) {
    FLIP_SHARED(flip_real, sums);
    flip_stretch s;
    for (flip_steps steps(w, 0, 1); steps.next(&s);) {
        const int32_t first = s.tile * TILE, left = g.rows.p.dim - first;
        const int32_t columns = left < TILE ? left : TILE;
        for (int32_t j = threadIdx.x; j < columns; j += LANES)
            sums[j] = 0;
        __syncthreads();
        for (int64_t e = s.first; e < s.last; e += BATCH)
            add_entries(g, e, s.last, (uint32_t)first, sums);
        const bool whole = s.segment < 0, old = whole && g.accumulate;
        const flip_real scale = whole && g.row_scale ? g.row_scale[s.v] : 1;
        flip_real *to =
            whole ? g.y + s.v * g.ld : w.segments.partial + s.segment * (int64_t)g.rows.p.dim;
        for (int32_t j = threadIdx.x; j < columns; j += LANES)
            to[first + j] = (old ? to[first + j] : 0) + scale * sums[j];
        __syncthreads();
    }
}

void flip_sparse_sum(const packed_sums *g, const flip_csr *a) {
    const int64_t dim = g->rows.p.dim, tiles = (dim + TILE - 1) / TILE;
    const flip_walk w = flip_walk_begin(a, NULL, a->n_rows, dim, tiles, 1);
    FLIP_LAUNCH(sum_kernel, w.blocks, LANES, (size_t)flip_min64(dim, TILE) * sizeof(flip_real), *g,
                w);
    flip_segments_combine(&w.segments, a, dim, g->y, g->ld, g->accumulate);
}

/* ---- rows ------------------------------------------------------------------------------------ */

__global__ static void __launch_bounds__(DECODE_THREADS)
    decode_kernel(const packed_rows s, int64_t n, flip_real *out, int64_t ld) {
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        const uint8_t *row = s.codes + (size_t)(s.index ? s.index[i] : i) * s.p.stride;
        for (int32_t j = threadIdx.x; j < s.p.dim; j += DECODE_THREADS)
            out[i * ld + j] = 0;
        __syncthreads();
        for (int32_t k = threadIdx.x; k < s.p.length; k += DECODE_THREADS) {
            const nonzero x = read_nonzero(s, row, k);
            if (x.column < (uint32_t)s.p.dim) out[i * ld + x.column] = x.value;
        }
        __syncthreads();
    }
}

void flip_sparse_decode(const packed_rows *s, int64_t n, flip_real *out, int64_t ld) {
    FLIP_LAUNCH(decode_kernel, flip_cuda_blocks(n, 1), DECODE_THREADS, 0, *s, n, out, ld);
}
