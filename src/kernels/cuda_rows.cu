/* Long rows: found, and their partial sums added up. */
#include "kernels/cuda_rows.h"

enum {
    MOST_PARTIAL = 64 << 20, /* bytes of partial sums; segments grow where that is not enough */
    COMBINE_WARPS = 8,       /* share a row's segments */
    COMBINE_BLOCKS = 1056
};

/* ---- finding -------------------------------------------------------------------------------- */

__global__ static void find_kernel(flip_segments s, const int64_t *row_ptr, const int32_t *rows,
                                   int32_t n_rows) {
    FLIP_EACH(i, n_rows) {
        const int32_t v = rows ? rows[i] : (int32_t)i;
        const int64_t first = row_ptr[v], pieces = flip_segments_of(s, first, row_ptr[v + 1]);
        for (int64_t p = 0; pieces > 1 && p < pieces; p++)
            s.of[first / s.length + p] = v;
    }
}

void flip_segments_find(flip_segments *s, const flip_csr *a, const int32_t *rows, int32_t n_rows,
                        int64_t width) {
    static flip_cuda_room of, partial;
    const int64_t n = a->n_entries, row_bytes = width * (int64_t)sizeof(flip_real);
    *s = flip_segments{};
    s->length = INT64_MAX / 4;
    if (n < 2 * FLIP_SEGMENT || n_rows == 0) return;
    const int64_t least = n * row_bytes / MOST_PARTIAL;
    const int64_t length = (least / FLIP_SEGMENT + 1) * FLIP_SEGMENT, places = n / length + 1;
    const char *what = "partial sums of long rows";
    int32_t *rows_of = (int32_t *)flip_cuda_reserve(&of, (size_t)places * sizeof *rows_of, what);
    flip_real *sums = (flip_real *)flip_cuda_reserve(&partial, (size_t)(places * row_bytes), what);
    if (!rows_of || !sums) return;
    *s = flip_segments{length, places, rows_of, sums};
    FLIP_CUDA_DO(cudaMemsetAsync(s->of, 0xff, (size_t)places * sizeof *s->of, flip_cuda_stream));
    FLIP_LAUNCH_EACH(find_kernel, n_rows, *s, a->row_ptr, rows, n_rows);
}

/* ---- adding up ------------------------------------------------------------------------------ */

/* Column j of long row v, by all the block: warp w takes the w-th eighth of the row's segments, in
 * ascending order; the eighths are added in ascending order, too. The sum is warp 0's. */
static __device__ flip_real sum_of(const flip_segments &s, const int64_t *row_ptr, int32_t v,
                                   int64_t j, int64_t width, flip_real (*sums)[32]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t place = row_ptr[v] / s.length;
    const int64_t pieces = flip_segments_of(s, row_ptr[v], row_ptr[v + 1]);
    const int64_t share = (pieces + COMBINE_WARPS - 1) / COMBINE_WARPS, from = warp * share;
    const int64_t to = from + share < pieces ? from + share : pieces;
    flip_real sum = 0;
    if (j < width) {
#pragma unroll 4
        for (int64_t p = from; p < to; p++)
            sum += s.partial[(place + p) * width + j];
    }
    sums[warp][lane] = sum;
    __syncthreads();
    for (int w = 1; warp == 0 && w < COMBINE_WARPS; w++)
        sum += sums[w][lane];
    __syncthreads();
    return sum;
}

/* A block takes 32 places and 32 columns; each lane looks whether a row's first segment is there.
 */
__global__ static void combine_kernel(flip_segments s, const int64_t *row_ptr,
                                      const flip_real *row_scale, int64_t width, flip_real *y,
                                      int64_t ld, bool accumulate) {
    __shared__ flip_real sums[COMBINE_WARPS][32];
    const int lane = threadIdx.x % 32;
    const int64_t tiles = (width + 31) / 32, n = (s.places + 31) / 32 * tiles;
    for (int64_t at = blockIdx.x; at < n; at += gridDim.x) {
        const int64_t place = at / tiles * 32 + lane, j = at % tiles * 32 + lane;
        const int32_t row = place < s.places ? s.of[place] : -1;
        unsigned firsts =
            __ballot_sync(FLIP_ALL_LANES, row >= 0 && row_ptr[row] / s.length == place);
        for (; firsts; firsts &= firsts - 1) {
            const int32_t v = __shfl_sync(FLIP_ALL_LANES, row, __ffs((int)firsts) - 1);
            const flip_real sum = sum_of(s, row_ptr, v, j, width, sums);
            if (threadIdx.x >= 32 || j >= width) continue;
            flip_real *to = y + v * ld + j;
            *to = (accumulate ? *to : 0) + (row_scale ? row_scale[v] : 1) * sum;
        }
    }
}

void flip_segments_combine(const flip_segments *s, const flip_csr *a, int64_t width, flip_real *y,
                           int64_t ld, bool accumulate) {
    const int64_t items = (s->places + 31) / 32 * ((width + 31) / 32);
    FLIP_LAUNCH(combine_kernel, flip_min64(items, COMBINE_BLOCKS), 32 * COMBINE_WARPS, 0, *s,
                a->row_ptr, a->row_scale, width, y, ld, accumulate);
}
