/* Sparse times dense on the GPU (definition: reference.c). What costs is gathering rows of x: one
 * group of lanes sums a row of y, each lane its own columns in registers, with the loads of BATCH
 * entries under way at once and the column numbers of the next BATCH asked for meanwhile. Long rows
 * are cut (cuda_rows.h). Lanes of a group read the same column number and value: one access, and
 * the next ones of its sector hit the first-level cache. */
#include "kernels/cuda_rows.h"

typedef struct gather {
    const int32_t *col;
    const uint32_t *run_ptr, *value_ptr;
    const int32_t *run_first;
    const flip_real *value, *row_scale, *col_scale;
    const flip_real *own, *halo;
    flip_real *y;
    int64_t width; /* values in a row of x and y */
    int32_t n_own, dim;
    bool accumulate;
} gather;

static __device__ __forceinline__ const flip_real *row_of(const gather &g, int32_t col) {
    const bool own = col < g.n_own;
    return (own ? g.own : g.halo) + (int64_t)(own ? col : col - g.n_own) * g.width;
}

/* ---- one step ------------------------------------------------------------------------------- */

/* What a group of lanes sums: n entries, and where the lane's columns of rows of x lie. */
template <int PARTS> struct lane {
    const int32_t *col;
    const flip_real *value, *col_scale; /* or NULL */
    int32_t n, n_own, row_bytes;
    const char *own, *halo; /* indexed by column number, both */
    int32_t part[PARTS];    /* bytes to each vector */
};

/* Lanes behind the last column read the first, and put nothing. */
template <int V, int PARTS>
static __device__ __forceinline__ lane<PARTS> lane_of(const gather &g, const flip_stretch &s,
                                                      int32_t j, int32_t apart) {
    lane<PARTS> l;
    l.col = g.col + s.first;
    l.value = g.value ? g.value + s.first : NULL;
    l.col_scale = g.col_scale;
    l.n = (int32_t)(s.last - s.first);
    l.n_own = g.n_own;
    l.row_bytes = g.dim * (int32_t)sizeof(flip_real);
    l.own = reinterpret_cast<const char *>(g.own);
    l.halo = reinterpret_cast<const char *>(g.halo) - (int64_t)l.n_own * l.row_bytes;
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        l.part[p] = j + p * apart < g.dim ? (j + p * apart) * (int32_t)sizeof(flip_real) : 0;
    return l;
}

/* Column numbers and values of entries i … i+BATCH-1, where they are. */
template <int PARTS, int BATCH>
static __device__ __forceinline__ void read_entries(const lane<PARTS> &l, int32_t i, int32_t *col,
                                                    flip_real *weight) {
#pragma unroll
    for (int b = 0; b < BATCH; b++)
        if (i + b < l.n) col[b] = l.col[i + b];
    if (l.value)
#pragma unroll
        for (int b = 0; b < BATCH; b++)
            if (i + b < l.n) weight[b] = l.value[i + b];
}

/* sum += value * col_scale * x of entries i …, a whole batch or what is left; then the numbers of
 * the next batch are there. */
template <bool WHOLE, int V, int PARTS, int BATCH>
static __device__ __forceinline__ void add_batch(const lane<PARTS> &l, int32_t i, int32_t *col,
                                                 flip_real *weight, flip_pack<V> *sum) {
    flip_pack<V> x[BATCH][PARTS];
    flip_real scale[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        const bool here = WHOLE || i + b < l.n;
        const char *row = (col[b] < l.n_own ? l.own : l.halo) + (int64_t)col[b] * l.row_bytes;
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            x[b][p] =
                here ? *reinterpret_cast<const flip_pack<V> *>(row + l.part[p]) : flip_pack<V>{};
        scale[b] = l.col_scale && here ? l.col_scale[col[b]] : 1;
    }
    flip_real next[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++)
        next[b] = 1;
    if (WHOLE) read_entries<PARTS, BATCH>(l, i + BATCH, col, next);
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        const flip_real w = weight[b] * scale[b];
#pragma unroll
        for (int p = 0; p < PARTS; p++)
#pragma unroll
            for (int v = 0; v < V; v++)
                sum[p].v[v] += w * x[b][p].v[v];
        weight[b] = next[b];
    }
}

template <int V, int PARTS, int BATCH>
static __device__ __forceinline__ void sum_row(const lane<PARTS> &l, flip_pack<V> *sum) {
    int32_t col[BATCH], i = 0;
    flip_real weight[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
        col[b] = 0;
        weight[b] = 1;
    }
    read_entries<PARTS, BATCH>(l, 0, col, weight);
    for (; i + BATCH <= l.n; i += BATCH)
        add_batch<true, V, PARTS, BATCH>(l, i, col, weight, sum);
    if (i < l.n) add_batch<false, V, PARTS, BATCH>(l, i, col, weight, sum);
}

/* Where column j of a stretch's sum goes. */
static __device__ __forceinline__ flip_real *target(const gather &g, const flip_walk &w,
                                                    const flip_stretch &s, int64_t j) {
    return s.segment < 0 ? g.y + s.v * g.width + j : w.segments.partial + s.segment * g.width + j;
}

/* y (+)= scale * sum; segments are scaled when they are combined. */
template <int V>
static __device__ __forceinline__ void put(const gather &g, const flip_walk &w,
                                           const flip_stretch &s, int64_t j,
                                           const flip_pack<V> &sum) {
    flip_pack<V> *to = reinterpret_cast<flip_pack<V> *>(target(g, w, s, j)), out = {};
    const bool whole = s.segment < 0;
    const flip_real scale = whole && g.row_scale ? g.row_scale[s.v] : 1;
    if (whole && g.accumulate) out = *to;
#pragma unroll
    for (int v = 0; v < V; v++)
        out.v[v] += scale * sum.v[v];
    *to = out;
}

/* LANES lanes a row. */
template <int LANES, int V, int PARTS, int BATCH>
__global__ static void __launch_bounds__(FLIP_ROW_THREADS)
    static_kernel(const gather g, const flip_walk w) {
    const int32_t place = threadIdx.x % LANES;
    flip_stretch s;
    for (flip_steps steps(w, threadIdx.x / LANES, FLIP_ROW_THREADS / LANES); steps.next(&s);) {
        const int32_t j = (s.tile * PARTS * LANES + place) * V;
        flip_pack<V> sum[PARTS] = {};
        sum_row<V, PARTS, BATCH>(lane_of<V, PARTS>(g, s, j, LANES * V), sum);
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            if (j + p * LANES * V < g.dim) put<V>(g, w, s, j + p * LANES * V, sum[p]);
    }
}

template <int LANES, int V, int PARTS, int BATCH>
static flip_segments run_static(const gather &g, const flip_csr *a, const int32_t *rows,
                                int32_t n_rows) {
    const int64_t tile = LANES * V * PARTS, tiles = (g.width + tile - 1) / tile;
    const flip_walk w = flip_walk_begin(a, rows, n_rows, g.width, tiles, FLIP_ROW_THREADS / LANES);
    auto run = static_kernel<LANES, V, PARTS, BATCH>;
    FLIP_LAUNCH(run, w.blocks, FLIP_ROW_THREADS, 0, g, w);
    return w.segments;
}

/* Values that every row's pointers allow to be read at once: 16 bytes at most. */
static int pack_of(const gather &g, int64_t values) {
    uintptr_t at = (uintptr_t)g.own | (uintptr_t)g.halo | (uintptr_t)g.y;
    int most = (int)(16 / sizeof(flip_real));
    for (; most > 1; most /= 2)
        if (values % most == 0 && at % (most * sizeof(flip_real)) == 0) break;
    return most;
}

/* Few lanes a row where vectors are wide: a load of a warp then brings about 512 bytes. */
static flip_segments spmm_static(const gather &g, const flip_csr *a, const int32_t *rows,
                                 int32_t n) {
    const int32_t dim = g.dim;
    const int pack = pack_of(g, dim);
    if (pack == 4) {
        if (dim <= 16) return run_static<4, 4, 1, 4>(g, a, rows, n);
        if (dim <= 32) return run_static<8, 4, 1, 4>(g, a, rows, n);
        if (dim <= 64) return run_static<16, 4, 1, 4>(g, a, rows, n);
        if (dim <= 128) return run_static<32, 4, 1, 4>(g, a, rows, n);
        return run_static<32, 4, 2, 4>(g, a, rows, n);
    }
    if (pack == 2) {
        if (dim <= 32) return run_static<16, 2, 1, 8>(g, a, rows, n);
        if (dim <= 64) return run_static<32, 2, 1, 8>(g, a, rows, n);
        return run_static<32, 2, 2, 4>(g, a, rows, n);
    }
    if (dim <= 4) return run_static<4, 1, 1, 8>(g, a, rows, n);
    if (dim <= 8) return run_static<8, 1, 1, 8>(g, a, rows, n);
    if (dim <= 16) return run_static<16, 1, 1, 8>(g, a, rows, n);
    if (dim <= 32) return run_static<32, 1, 1, 8>(g, a, rows, n);
    if (dim <= 64) return run_static<32, 1, 2, 4>(g, a, rows, n);
    return run_static<32, 1, 4, 4>(g, a, rows, n);
}

/* ---- several steps -------------------------------------------------------------------------- */

/* One warp has 32 V values of a row, a lane's V being columns of one step t. Of 32 entries each
 * lane looks at one: those whose run reaches into the warp's steps are voted for, and the warp adds
 * these, RUNS at once. Further runs of the same entries follow after that. */
enum { RUNS = 4 };

typedef struct run {
    int32_t col, first, steps; /* steps 0: none */
    uint32_t value;
} run;

/* The runs that `hits` names, RUNS of them, from the lanes that hold them; the rest of `hits`. */
static __device__ __forceinline__ unsigned take_runs(unsigned hits, const run &mine, run *taken) {
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
        const int lane = hits ? __ffs((int)hits) - 1 : 0;
        taken[i].col = __shfl_sync(FLIP_ALL_LANES, mine.col, lane);
        taken[i].first = __shfl_sync(FLIP_ALL_LANES, mine.first, lane);
        taken[i].steps = hits ? __shfl_sync(FLIP_ALL_LANES, mine.steps, lane) : 0;
        taken[i].value = __shfl_sync(FLIP_ALL_LANES, mine.value, lane);
        hits &= hits - 1;
    }
    return hits;
}

template <int V>
static __device__ __forceinline__ void add_runs(const gather &g, const run *runs, int32_t t,
                                                int64_t j, flip_pack<V> *sum) {
    flip_pack<V> x[RUNS];
    flip_real weight[RUNS];
#pragma unroll
    for (int i = 0; i < RUNS; i++) {
        const uint32_t inside = (uint32_t)(t - runs[i].first);
        x[i] = flip_pack<V>{};
        weight[i] = 1;
        if (inside >= (uint32_t)runs[i].steps || j >= g.width) continue;
        x[i] = *reinterpret_cast<const flip_pack<V> *>(row_of(g, runs[i].col) + j);
        if (g.value) weight[i] = g.value[(int64_t)runs[i].value + inside];
    }
#pragma unroll
    for (int i = 0; i < RUNS; i++)
#pragma unroll
        for (int v = 0; v < V; v++)
            sum->v[v] += weight[i] * x[i].v[v];
}

template <int V>
static __device__ __forceinline__ void sum_runs(const gather &g, int64_t first, int64_t last,
                                                int64_t j, flip_pack<V> *sum) {
    const int32_t lane = threadIdx.x % 32, t = (int32_t)(j / g.dim);
    const int32_t from = __shfl_sync(FLIP_ALL_LANES, t, 0), to = __shfl_sync(FLIP_ALL_LANES, t, 31);
    for (int64_t at = first; at < last; at += 32) {
        const int64_t e = at + lane;
        run mine = {0, 0, 0, 0};
        uint32_t r = 0, end = 0;
        if (e < last) {
            mine.col = g.col[e];
            r = g.run_ptr[e];
            end = g.run_ptr[e + 1];
        }
        for (; __ballot_sync(FLIP_ALL_LANES, r < end); r++) {
            mine.steps = 0;
            if (r < end) {
                mine.first = g.run_first[r];
                mine.value = g.value_ptr[r];
                mine.steps = (int32_t)(g.value_ptr[r + 1] - mine.value);
            }
            const bool hit = mine.steps > 0 && mine.first <= to && mine.first + mine.steps > from;
            for (unsigned hits = __ballot_sync(FLIP_ALL_LANES, hit); hits;) {
                run runs[RUNS];
                hits = take_runs(hits, mine, runs);
                add_runs<V>(g, runs, t, j, sum);
            }
        }
    }
}

template <int V>
__global__ static void __launch_bounds__(FLIP_ROW_THREADS)
    steps_kernel(const gather g, const flip_walk w) {
    flip_stretch s;
    for (flip_steps steps(w, threadIdx.x / 32, FLIP_ROW_THREADS / 32); steps.next(&s);) {
        const int64_t j = ((int64_t)s.tile * 32 + threadIdx.x % 32) * V;
        flip_pack<V> sum = {};
        sum_runs<V>(g, s.first, s.last, j, &sum);
        if (j < g.width) put<V>(g, w, s, j, sum);
    }
}

template <int V>
static flip_segments run_steps(const gather &g, const flip_csr *a, const int32_t *rows,
                               int32_t n_rows) {
    const int64_t tiles = (g.width + 32 * V - 1) / (32 * V);
    const flip_walk w = flip_walk_begin(a, rows, n_rows, g.width, tiles, FLIP_ROW_THREADS / 32);
    auto run = steps_kernel<V>;
    FLIP_LAUNCH(run, w.blocks, FLIP_ROW_THREADS, 0, g, w);
    return w.segments;
}

static flip_segments spmm_steps(const gather &g, const flip_csr *a, const int32_t *rows,
                                int32_t n) {
    const int pack = pack_of(g, g.dim);
    return pack == 1   ? run_steps<1>(g, a, rows, n)
           : pack == 2 ? run_steps<2>(g, a, rows, n)
                       : run_steps<4>(g, a, rows, n);
}

static void spmm(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t dim, flip_real *y,
                 const flip_real *x_own, const flip_real *x_halo, bool accumulate) {
    const gather g = {a->col,
                      a->run_ptr,
                      a->value_ptr,
                      a->run_first,
                      a->value,
                      a->row_scale,
                      a->col_scale,
                      x_own,
                      x_halo,
                      y,
                      (int64_t)a->n_steps * dim,
                      a->n_own,
                      dim,
                      accumulate};
    if (n_rows == 0 || dim == 0) return;
    const flip_segments s =
        a->run_ptr ? spmm_steps(g, a, rows, n_rows) : spmm_static(g, a, rows, n_rows);
    flip_segments_combine(&s, a, g.width, y, g.width, accumulate);
}

void flip_use_cuda_spmm(flip_kernels *table) {
    table->spmm = spmm;
}
