/* Packed rows on the GPU: decoded, and summed along a sparse matrix with the decoding inside the
 * gather (definition: packed.c). A lane has four columns; offsets and scales of columns are applied
 * to the sums, with the sum of the weights. SPARSE rows: cuda_packed_sparse.cu. */
#include "kernels/cuda_packed.h"
#include "kernels/cuda_rows.h"

enum {
    DECODE_BLOCKS = 2112,  /* 16 for each multiprocessor */
    BATCH = 4,             /* rows whose bytes are under way at once */
    MOST_TABLE = 48 * 1024 /* bytes of shared memory, 3 blocks a multiprocessor */
};

/* ---- sums along rows ------------------------------------------------------------------------- */

/* Entries of a stretch. */
typedef struct entries {
    const int32_t *col;
    const flip_real *value; /* or NULL */
    int32_t n;
} entries;

/* Packed rows' numbers and weights of entries i … i+BATCH-1, where they are. */
static __device__ __forceinline__ void read_numbers(const packed_sums &g, const entries &l,
                                                    int32_t i, int32_t *row, flip_real *weight) {
    int32_t col[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++)
        col[b] = i + b < l.n ? l.col[i + b] : -1;
#pragma unroll
    for (int b = 0; b < BATCH; b++)
        weight[b] = l.value && col[b] >= 0 ? l.value[i + b] : 1;
    if (g.col_scale)
#pragma unroll
        for (int b = 0; b < BATCH; b++)
            if (col[b] >= 0) weight[b] *= g.col_scale[col[b]];
#pragma unroll
    for (int b = 0; b < BATCH; b++)
        row[b] = g.rows.index && col[b] >= 0 ? g.rows.index[col[b]] : col[b];
}

/* sum += weight * value of entries i …, before offset and scale, and *weights += weight; then the
 * numbers of the next batch are there. */
template <bool WHOLE, class reader>
static __device__ __forceinline__ void
add_batch(const packed_sums &g, const reader &r, const entries &l, int32_t i, int32_t *row,
          flip_real *weight, flip_real *sum, flip_real *weights) {
    const packed_rows &s = g.rows;
    typename reader::bits bits[BATCH];
    uint32_t dither[BATCH] = {};
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        bits[b] = typename reader::bits{};
        if (!WHOLE && i + b >= l.n) continue;
        bits[b] = r.load(s.codes + (size_t)row[b] * s.p.stride);
        if (reader::dithers && s.p.dither)
            dither[b] = dither_row(s.p.dither_seed, s.key ? s.key[row[b]] : row[b]);
    }
    flip_real next[BATCH];
    if (WHOLE) read_numbers(g, l, i + BATCH, row, next);
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        if (!WHOLE && i + b >= l.n) continue;
        float x[4];
        r.decode(bits[b], dither[b], x);
#pragma unroll
        for (int c = 0; c < 4; c++)
            sum[c] += weight[b] * x[c];
        *weights += weight[b];
        if (WHOLE) weight[b] = next[b];
    }
}

/* Adds the sum of weight * value to `sum`; returns the sum of the weights. */
template <class reader>
static __device__ __forceinline__ flip_real sum_rows(const packed_sums &g, const reader &r,
                                                     const flip_stretch &s, flip_real *sum) {
    const entries l = {g.col + s.first, g.value ? g.value + s.first : NULL,
                       (int32_t)(s.last - s.first)};
    int32_t row[BATCH], i = 0;
    flip_real weight[BATCH], weights = 0;
    read_numbers(g, l, 0, row, weight);
    for (; i + BATCH <= l.n; i += BATCH)
        add_batch<true>(g, r, l, i, row, weight, sum, &weights);
    if (i < l.n) add_batch<false>(g, r, l, i, row, weight, sum, &weights);
    return weights;
}

/* Columns j … j+n-1 of a stretch's sum, with offset and scale, to y or to the partial sums. */
static __device__ __forceinline__ void put(const packed_sums &g, const flip_walk &w,
                                           const flip_stretch &s, int32_t j, int32_t n,
                                           const flip_real *sum, flip_real weights) {
    const flip_packing &p = g.rows.p;
    const bool whole = s.segment < 0, old = whole && g.accumulate;
    const flip_real row_scale = whole && g.row_scale ? g.row_scale[s.v] : 1;
    flip_real *to =
        whole ? g.y + s.v * g.ld + j : w.segments.partial + s.segment * (int64_t)p.dim + j;
    flip_four out;
#pragma unroll
    for (int c = 0; c < 4; c++) {
        const bool inside = c < n;
        flip_real scaled = p.scale && inside ? p.scale[j + c] * sum[c] : sum[c];
        if (p.offset && inside) scaled += p.offset[j + c] * weights;
        out.v[c] = row_scale * scaled;
    }
    const bool fours = g.fours && n == 4;
    const flip_four before = old ? flip_load_four(to, n, fours) : flip_four{};
#pragma unroll
    for (int c = 0; c < 4; c++)
        out.v[c] += before.v[c];
    flip_store_four(to, out, n, fours);
}

template <class reader>
__global__ static void __launch_bounds__(FLIP_ROW_THREADS, reader::blocks)
    sum_kernel(const packed_sums g, const flip_walk w) {
    FLIP_SHARED(float, table);
    reader::fill(g.rows, table);
    __syncthreads();
    const int32_t lanes = g.rows.lanes, lane = threadIdx.x & (lanes - 1);
    flip_stretch s;
    for (flip_steps steps(w, threadIdx.x / lanes, FLIP_ROW_THREADS / lanes); steps.next(&s);) {
        const int32_t j = (s.tile * lanes + lane) * 4, left = g.rows.p.dim - j;
        if (left <= 0) continue;
        const int32_t n = left < 4 ? left : 4;
        const reader r(g.rows, table, j, n);
        flip_real sum[4] = {};
        const flip_real weights = sum_rows(g, r, s, sum);
        put(g, w, s, j, n, sum, weights);
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct decoding {
    packed_rows rows;
    int64_t n;
    int32_t tiles;
    flip_real *out;
    int64_t ld;
    bool fours; /* four values are written at once */
} decoding;

/* offset + scale * x to columns of a row; n of them. */
static __device__ __forceinline__ void put_row(flip_real *to, const float *x, const float *offset,
                                               const float *scale, int32_t n, bool fours) {
    flip_four out;
#pragma unroll
    for (int c = 0; c < 4; c++)
        out.v[c] = offset[c] + scale[c] * x[c];
    flip_store_four(to, out, n, fours);
}

/* A block has one tile of columns, so that a lane's reader, offsets and scales serve all its rows;
 * BATCH of them at once. */
template <class reader>
__global__ static void __launch_bounds__(FLIP_ROW_THREADS, 3) decode_kernel(const decoding d) {
    FLIP_SHARED(float, table);
    const packed_rows &s = d.rows;
    reader::fill(s, table);
    __syncthreads();
    const int32_t lane = threadIdx.x & (s.lanes - 1), groups = FLIP_ROW_THREADS / s.lanes;
    const int32_t j = ((int32_t)(blockIdx.x % d.tiles) * s.lanes + lane) * 4, left = s.p.dim - j;
    if (left <= 0) return;
    const int32_t n = left < 4 ? left : 4;
    const reader r(s, table, j, n);
    float offset[4] = {}, scale[4] = {1, 1, 1, 1};
    for (int c = 0; c < n; c++) {
        if (s.p.offset) offset[c] = s.p.offset[j + c];
        if (s.p.scale) scale[c] = s.p.scale[j + c];
    }
    const int64_t apart = (int64_t)(gridDim.x / d.tiles) * groups;
    for (int64_t i = (int64_t)(blockIdx.x / d.tiles) * groups + threadIdx.x / s.lanes; i < d.n;
         i += BATCH * apart) {
        typename reader::bits bits[BATCH];
        uint32_t dither[BATCH] = {};
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            const int64_t at = i + b * apart;
            bits[b] = typename reader::bits{};
            if (at >= d.n) continue;
            const int64_t row = s.index ? s.index[at] : at;
            bits[b] = r.load(s.codes + (size_t)row * s.p.stride);
            if (reader::dithers && s.p.dither)
                dither[b] = dither_row(s.p.dither_seed, s.key ? s.key[row] : row);
        }
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            const int64_t at = i + b * apart;
            float x[4];
            if (at >= d.n) continue;
            r.decode(bits[b], dither[b], x);
            put_row(d.out + at * d.ld + j, x, offset, scale, n, d.fours && n == 4);
        }
    }
}

/* ---- which reader ---------------------------------------------------------------------------- */

/* A job is run with the packing's reader: job.template run<reader>(); with `any` where the rows are
 * not as the reader wants them. */
template <class reader, class any, class job_type>
static void run_fitting(job_type &job, const packed_rows &s) {
    if (reader::fits(s))
        job.template run<reader>();
    else
        job.template run<any>();
}

template <int BITS, class job_type> static void run_scalar(job_type &job, const packed_rows &s) {
    typedef any_scalar_reader any;
    const flip_packing &p = s.p;
    if (!p.level && p.dither)
        run_fitting<scalar_reader<BITS, DITHER>, any>(job, s);
    else if (p.dither)
        job.template run<any>();
    else if (!p.level)
        run_fitting<scalar_reader<BITS, AFFINE>, any>(job, s);
    else if (BITS <= 8 && !p.column_levels)
        run_fitting<scalar_reader<(BITS <= 8 ? BITS : 8), SHARED>, any>(job, s);
    else if (BITS <= 4 && scalar_reader<BITS, COLUMN>::table_bytes(s) <= MOST_TABLE)
        run_fitting<scalar_reader<(BITS <= 4 ? BITS : 4), COLUMN>, any>(job, s);
    else if (p.dim % 4 == 0)
        run_fitting<scalar_reader<BITS, FAR>, any>(job, s);
    else
        job.template run<any>();
}

template <flip_packing_kind KIND, class job_type>
static void run_number(job_type &job, const packed_rows &s) {
    run_fitting<number_reader<KIND>, any_number_reader<KIND>>(job, s);
}

template <class job_type> static void run_with_reader(job_type &job, const packed_rows &s) {
    const flip_packing &p = s.p;
    if (p.kind == FLIP_PACKING_FLOAT) run_number<FLIP_PACKING_FLOAT>(job, s);
    if (p.kind == FLIP_PACKING_HALF) run_number<FLIP_PACKING_HALF>(job, s);
    if (p.kind == FLIP_PACKING_BFLOAT) run_number<FLIP_PACKING_BFLOAT>(job, s);
    if (p.kind == FLIP_PACKING_MIXED) job.template run<mixed_reader>();
    if (p.kind == FLIP_PACKING_PRODUCT) {
        if (p.bits == 4) run_fitting<product_reader<4>, any_product_reader>(job, s);
        if (p.bits == 8) run_fitting<product_reader<8>, any_product_reader>(job, s);
        if (p.bits == 16) run_fitting<product_reader<16>, any_product_reader>(job, s);
    }
    if (p.kind != FLIP_PACKING_SCALAR) return;
    if (p.bits == 1) run_scalar<1>(job, s);
    if (p.bits == 2) run_scalar<2>(job, s);
    if (p.bits == 4) run_scalar<4>(job, s);
    if (p.bits == 8) run_scalar<8>(job, s);
    if (p.bits == 16) run_scalar<16>(job, s);
}

static packed_rows packed_rows_of(const flip_packing *packing, const uint8_t *codes,
                                  const int64_t *key, const int32_t *index) {
    packed_rows s = {*packing, codes, key, index, 16, 1};
    while (s.grain > 1 && ((uintptr_t)codes | packing->stride) % (uintptr_t)s.grain != 0)
        s.grain /= 2;
    while (s.lanes < 32 && s.lanes * 4 < packing->dim)
        s.lanes *= 2;
    return s;
}

struct sum_job {
    packed_sums g;
    flip_walk w;
    template <class reader> void run() {
        auto kernel = sum_kernel<reader>;
        FLIP_LAUNCH(kernel, w.blocks, FLIP_ROW_THREADS, reader::table_bytes(g.rows), g, w);
    }
};

static void spmm_packed(const flip_csr *a, const flip_packing *packing, const uint8_t *codes,
                        const int64_t *key, const int32_t *index, flip_real *y, int64_t ld,
                        bool accumulate) {
    if (a->n_rows == 0 || packing->dim == 0) return;
    const packed_rows rows = packed_rows_of(packing, codes, key, index);
    const packed_sums sums = {rows,         a->col,       a->value,
                              a->row_scale, a->col_scale, y,
                              ld,           accumulate,   flip_fours_whole(packing->dim, ld, y)};
    if (packing->kind == FLIP_PACKING_SPARSE) {
        flip_sparse_sum(&sums, a);
        return;
    }
    sum_job job = {sums, flip_walk_begin(a, NULL, a->n_rows, packing->dim, tiles_of(rows),
                                         FLIP_ROW_THREADS / rows.lanes)};
    run_with_reader(job, rows);
    flip_segments_combine(&job.w.segments, a, packing->dim, y, ld, accumulate);
}

struct decode_job {
    decoding d;
    template <class reader> void run() {
        auto kernel = decode_kernel<reader>;
        const int64_t each = BATCH * (FLIP_ROW_THREADS / d.rows.lanes);
        const int64_t blocks = flip_min64((d.n + each - 1) / each, DECODE_BLOCKS) * d.tiles;
        FLIP_LAUNCH(kernel, blocks, FLIP_ROW_THREADS, reader::table_bytes(d.rows), d);
    }
};

static void decode_rows(const flip_packing *packing, const uint8_t *codes, const int64_t *key,
                        int64_t n, const int32_t *index, flip_real *out, int64_t ld) {
    const packed_rows rows = packed_rows_of(packing, codes, key, index);
    const bool fours = ld % 4 == 0 && (uintptr_t)out % sizeof(flip_four) == 0;
    decode_job job = {{rows, n, tiles_of(rows), out, ld, fours}};
    if (packing->kind == FLIP_PACKING_SPARSE)
        flip_sparse_decode(&rows, n, out, ld);
    else
        run_with_reader(job, rows);
}

void flip_use_cuda_packed(flip_kernels *table) {
    table->decode_rows = decode_rows;
    table->spmm_packed = spmm_packed;
}
