/* What follows a product on the GPU: one pass over C. A thread takes four columns of a row, which
 * share one draw of dropout; two neighbours make one byte of relu_bits, so a warp writes whole
 * bytes. */
#include "kernels/cuda_four.h"
#include "kernels/cuda_random.h"
#include "kernels/cuda_warp.h"

enum { QUAD = FLIP_FOUR };

/* What epilogue_kernel needs beside the epilogue itself. */
typedef struct pass {
    int64_t first; /* row of the whole of c's row 0 */
    int64_t n, ldc;
    unsigned count, quads; /* threads' worth of work; quads a row, an even number */
    uint64_t keep_from;
    flip_real keep_scale;
    bool empty, vector; /* vector: four columns lie on 16 bytes */
    const flip_cuda_now *now;
} pass;

/* Bias, relu, mask and dropout of columns 4q … of row i; returns the four bits of what lives. */
__device__ static unsigned finish(const flip_epilogue &e, const pass &p, int64_t i, int64_t q,
                                  flip_real *c) {
    const int64_t j = q * QUAD, left = p.n - j, bytes = (p.n + 7) / 8;
    const int64_t at = e.apart > 0 ? i * e.apart : i;
    unsigned alive = left < QUAD ? (1u << left) - 1 : 15u, kept = 15, through = 15;
    if (e.mask) through = e.mask[at * bytes + j / 8] >> (j % 8);
    if (e.dropout > 0)
        kept = flip_cuda_keep_four(e.seed, flip_cuda_draw(e.draw, p.now), e.key ? e.key[at] : at,
                                   p.n, q, p.keep_from);
    flip_four x = {};
    if (!p.empty) x = flip_load_four(c, left, p.vector);
    for (int b = 0; b < QUAD; b++) {
        flip_real value = x.v[b];
        if (e.bias && b < left) value += e.bias[i * e.bias_step + j + b];
        if (e.relu && value <= 0) { /* a NaN passes */
            value = 0;
            alive &= ~(1u << b);
        }
        if (e.mask) value = through >> b & 1 ? value * e.mask_scale : 0;
        if (e.dropout > 0) value = kept >> b & 1 ? value * p.keep_scale : 0;
        x.v[b] = value;
    }
    flip_store_four(c, x, left, p.vector);
    return alive & kept;
}

__global__ static void epilogue_kernel(const flip_epilogue e, const pass p, flip_real *c) {
    for (unsigned base = blockIdx.x * blockDim.x; base < p.count; base += gridDim.x * blockDim.x) {
        const unsigned item = base + threadIdx.x, i = item / p.quads, q = item % p.quads;
        const bool mine = item < p.count && (int64_t)q * QUAD < p.n;
        unsigned bits = 0;
        if (mine) bits = finish(e, p, p.first + i, q, c + (int64_t)i * p.ldc + (int64_t)q * QUAD);
        if (!e.relu_bits) continue;
        const unsigned high = __shfl_down_sync(FLIP_ALL_LANES, bits, 1);
        if (mine && q % 2 == 0) {
            const int64_t row = p.first + i, at = e.apart > 0 ? row * e.apart : row;
            e.relu_bits[at * ((p.n + 7) / 8) + q / 2] = (uint8_t)(bits | high << 4);
        }
    }
}

void flip_cuda_epilogue(const flip_epilogue *e, int64_t first, int64_t m, int64_t n, flip_real *c,
                        int64_t ldc, bool empty) {
    const flip_epilogue nothing = {};
    if (n == 0) return;
    if (!flip_epilogue_needed(e)) {
        if (!empty) return;
        e = &nothing;
    }
    const double p = e->dropout;
    pass pass = {};
    pass.n = n;
    pass.ldc = ldc;
    pass.quads = (unsigned)((n + 7) / 8 * 2);
    pass.keep_from = flip_keep_from(p);
    pass.keep_scale = (flip_real)(1 / (1 - p));
    pass.empty = empty;
    pass.vector = flip_fours_whole(n, ldc, c);
    pass.now = flip_cuda_recorded_now;
    const int64_t most = flip_fours_rows(pass.quads);
    for (int64_t done = 0; done < m; done += most) {
        pass.first = first + done;
        pass.count = (unsigned)flip_min64(most, m - done) * pass.quads;
        FLIP_LAUNCH_EACH(epilogue_kernel, pass.count, *e, pass, c + done * ldc);
    }
}

static void epilogue(int64_t m, int64_t n, flip_real *c, int64_t ldc, const flip_epilogue *e) {
    flip_cuda_epilogue(e, 0, m, n, c, ldc, false);
}

/* y = keep ? x / (1-p) : 0, a thread the four columns of a draw */
__global__ static void dropout_kernel(unsigned count, unsigned quads, int64_t first, int64_t n,
                                      flip_real *y, const flip_real *x, uint64_t from,
                                      flip_real scale, uint64_t seed, uint64_t draw,
                                      const flip_cuda_now *now, const int64_t *key, bool whole) {
    draw = flip_cuda_draw(draw, now);
    FLIP_EACH_ITEM(item, count) {
        const int64_t q = item % quads, i = first + item / quads, at = i * n + q * QUAD;
        const unsigned kept = flip_cuda_keep_four(seed, draw, key ? key[i] : i, n, q, from);
        flip_four z = flip_load_four(x + at, n - q * QUAD, whole);
        for (int b = 0; b < QUAD; b++)
            z.v[b] = kept >> b & 1 ? z.v[b] * scale : 0;
        flip_store_four(y + at, z, n - q * QUAD, whole);
    }
}

static void dropout(int64_t m, int64_t n, flip_real *y, const flip_real *x, double p, uint64_t seed,
                    uint64_t draw, const int64_t *key) {
    const int64_t quads = (n + QUAD - 1) / QUAD, most = flip_fours_rows(quads);
    const bool whole = flip_fours_whole(n, n, x) && flip_fours_whole(n, n, y);
    for (int64_t done = 0; n > 0 && done < m; done += most) {
        const int64_t count = flip_min64(most, m - done) * quads;
        FLIP_LAUNCH_EACH(dropout_kernel, count, (unsigned)count, (unsigned)quads, done, n, y, x,
                         flip_keep_from(p), (flip_real)(1 / (1 - p)), seed, draw,
                         flip_cuda_recorded_now, key, whole);
    }
}

void flip_use_cuda_epilogue(flip_kernels *table) {
    table->epilogue = epilogue;
    table->dropout = dropout;
}
