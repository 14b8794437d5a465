/* Long rows: found, and their partial sums added up. */
#include "kernels/cuda_rows.h"

enum {
    MOST_PARTIAL = 64 << 20, /* bytes of partial sums; segments grow where that is not enough */
    FIND_THREADS = 256,
    COMBINE_WARPS = 8 /* share a row's segments */
};

/* ---- memory that grows with what was asked for ---------------------------------------------- */

typedef struct scratch {
    void *memory;
    size_t bytes;
} scratch;

/* The memory kernels may still use is freed only once they are done (cudaFree waits). */
static bool reserve(scratch *s, size_t bytes) {
    if (bytes <= s->bytes) return true;
    if (s->memory) FLIP_CUDA_DO(cudaFree(s->memory));
    *s = scratch{NULL, 0};
    cudaError_t error = cudaMalloc(&s->memory, bytes);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        flip_cuda_note(error, "partial sums of long rows");
        return false;
    }
    s->bytes = bytes;
    return true;
}

/* ---- finding -------------------------------------------------------------------------------- */

__global__ static void find_kernel(flip_segments s, const int64_t *row_ptr, const int32_t *rows,
                                   int32_t n_rows) {
    FLIP_EACH(i, n_rows) {
        int32_t v = rows ? rows[i] : (int32_t)i;
        int64_t entries = row_ptr[v + 1] - row_ptr[v];
        if (entries <= s.length) continue;
        int32_t pieces = (int32_t)((entries + s.length - 1) / s.length);
        int32_t first = atomicAdd(&s.count[1], pieces), h = atomicAdd(&s.count[0], 1);
        s.row[h] = v;
        s.first[h] = first;
        s.pieces[h] = pieces;
        for (int32_t p = 0; p < pieces; p++)
            s.of[first + p] = h;
    }
}

/* Rows of more than `length` of n entries have fewer than 2 n / length segments together. */
void flip_segments_find(flip_segments *s, const flip_csr *a, const int32_t *rows, int32_t n_rows,
                        int64_t width) {
    static scratch lists, partial;
    const int64_t n = a->n_entries, row_bytes = width * (int64_t)sizeof(flip_real);
    *s = flip_segments{};
    s->length = INT64_MAX;
    if (n <= FLIP_SEGMENT || n_rows == 0) return;
    int64_t least = 2 * n * row_bytes / MOST_PARTIAL;
    int64_t length = (least / FLIP_SEGMENT + 1) * FLIP_SEGMENT;
    int64_t capacity = 2 * n / length + 1;
    if (!reserve(&lists, (size_t)(4 * capacity + 2) * sizeof(int32_t)) ||
        !reserve(&partial, (size_t)(capacity * row_bytes)))
        return;
    s->length = length;
    s->capacity = (int32_t)capacity;
    s->count = (int32_t *)lists.memory;
    s->row = s->count + 2;
    s->first = s->row + capacity;
    s->pieces = s->first + capacity;
    s->of = s->pieces + capacity;
    s->partial = (flip_real *)partial.memory;
    FLIP_CUDA_DO(cudaMemsetAsync(s->count, 0, 2 * sizeof *s->count, flip_cuda_stream));
    FLIP_LAUNCH(find_kernel, flip_cuda_blocks(n_rows, FIND_THREADS), FIND_THREADS, 0, *s,
                a->row_ptr, rows, n_rows);
}

/* ---- adding up ------------------------------------------------------------------------------ */

/* A block takes 32 columns of a long row; warp w the w-th eighth of its segments, in ascending
 * order; the eighths are added in ascending order, too. */
__global__ static void combine_kernel(flip_segments s, const flip_real *row_scale, int64_t width,
                                      flip_real *y, int64_t ld, bool accumulate) {
    __shared__ flip_real sums[COMBINE_WARPS][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64_t tiles = (width + 31) / 32, n = s.count[0] * tiles;
    for (int64_t at = blockIdx.x; at < n; at += gridDim.x) {
        const int32_t h = (int32_t)(at / tiles), pieces = s.pieces[h];
        const int64_t j = at % tiles * 32 + lane;
        const int32_t share = (pieces + COMBINE_WARPS - 1) / COMBINE_WARPS;
        const int32_t from = warp * share, to = from + share < pieces ? from + share : pieces;
        flip_real sum = 0;
        if (j < width)
#pragma unroll 4
            for (int32_t p = from; p < to; p++)
                sum += s.partial[(s.first[h] + (int64_t)p) * width + j];
        sums[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && j < width) {
            for (int w = 1; w < COMBINE_WARPS; w++)
                sum += sums[w][lane];
            flip_real *to_y = y + s.row[h] * ld + j;
            *to_y = (accumulate ? *to_y : 0) + (row_scale ? row_scale[s.row[h]] : 1) * sum;
        }
        __syncthreads();
    }
}

void flip_segments_combine(const flip_segments *s, const flip_real *row_scale, int64_t width,
                           flip_real *y, int64_t ld, bool accumulate) {
    int64_t most = s->capacity / 2 * ((width + 31) / 32);
    FLIP_LAUNCH(combine_kernel, flip_min64(most, FLIP_COMBINE_BLOCKS), 32 * COMBINE_WARPS, 0, *s,
                row_scale, width, y, ld, accumulate);
}
