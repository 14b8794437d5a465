/* Packed rows on the GPU (codec.h says what the bytes mean): readers of four columns of a row. A
 * lane makes its reader once, for its columns, and then reads many rows with it. Reading is in two
 * halves, so that the bytes of several rows are under way before the first is decoded:
 *
 *     reader r(rows, table, j, n)     columns j … j+n-1, j a multiple of 4, n <= 4
 *     r.load(row) ─▶ bits             n columns' bytes and no others
 *     r.decode(bits, dither, out)     values before offset and scale, out[4]
 *
 * `table` is what the reader wants of the block's shared memory, filled by `fill`.
 */
#ifndef FLIPBOOK_KERNELS_CUDA_PACKED_H
#define FLIPBOOK_KERNELS_CUDA_PACKED_H

#include "kernels/cuda.h"

typedef struct packed_rows {
    flip_packing p;
    const uint8_t *codes;
    const int64_t *key;   /* or NULL: the row's number */
    const int32_t *index; /* or NULL */
    int32_t grain;        /* every row's address is a multiple of it: 1, 2, 4, 8 or 16 */
    int32_t lanes;        /* of a group: 4 columns each */
} packed_rows;

/* SPARSE rows, whose lanes have no columns of their own. */
typedef struct sparse_sums {
    packed_rows rows;
    const int32_t *col;
    const flip_real *value, *row_scale, *col_scale;
    flip_real *y;
    int64_t ld;
    bool accumulate;
} sparse_sums;
void flip_sparse_sum(const sparse_sums *sums, const flip_csr *a);
void flip_sparse_decode(const packed_rows *rows, int64_t n, flip_real *out, int64_t ld);

static __device__ __forceinline__ float as_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* `bytes` <= 4 bytes as a little-endian number; in one access where the address allows it. */
static __device__ __forceinline__ uint32_t read_little(const uint8_t *at, int bytes,
                                                       int32_t grain) {
    if (bytes == 4 && grain >= 4) return *reinterpret_cast<const uint32_t *>(at);
    if (bytes == 2 && grain >= 2) return *reinterpret_cast<const uint16_t *>(at);
    uint32_t x = 0;
    for (int b = 0; b < bytes; b++)
        x |= (uint32_t)at[b] << (8 * b);
    return x;
}

/* The same bits as flip_half_value: 16-bit floats are moved to the exponent's place of 32 bits. */
static __device__ __forceinline__ float half_value(uint32_t h) {
    const uint32_t size = h & 0x7fff, sign = (h & 0x8000) << 16;
    const float moved = as_float(size << 13) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &moved, sizeof bits);
    if (size >= 0x7c00) bits = size << 13 | 0x7f800000u;
    return as_float(bits | sign);
}

/* flip_dither_row and flip_dither, on the device. */
static __device__ __forceinline__ uint32_t dither_row(uint64_t seed, int64_t key) {
    uint64_t x = seed + ((uint64_t)key + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(x ^ x >> 32);
}

static __device__ __forceinline__ float dither_at(uint32_t row, int32_t column) {
    uint32_t x = row + (uint32_t)column;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return (float)((x ^ x >> 16) >> 8) * 0x1p-24f;
}

/* What most readers have: no table, no dither. */
struct plain_reader {
    static size_t table_bytes(const packed_rows &) {
        return 0;
    }
    static __device__ void fill(const packed_rows &, float *) {}
    static constexpr bool dithers = false;
};

/* ---- floats ---------------------------------------------------------------------------------- */

struct float_reader : plain_reader {
    struct bits {
        uint32_t v[4];
    };
    const int32_t at, n, grain;
    __device__ float_reader(const packed_rows &s, const float *, int32_t j, int32_t columns)
        : at(4 * j), n(columns), grain(s.grain) {}
    __device__ bits load(const uint8_t *row) const {
        bits x = {};
        if (n == 4 && grain == 16) {
            struct alignas(16) four {
                uint32_t v[4];
            };
            const four f = *reinterpret_cast<const four *>(row + at);
            for (int c = 0; c < 4; c++)
                x.v[c] = f.v[c];
            return x;
        }
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (c < n) x.v[c] = read_little(row + at + 4 * c, 4, grain);
        return x;
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = as_float(x.v[c]);
    }
};

/* Four 16-bit numbers; of 8 bytes at most. */
struct sixteen_bits {
    uint32_t v[2];
};

static __device__ __forceinline__ sixteen_bits load_sixteens(const uint8_t *row, int32_t n,
                                                             int32_t grain) {
    sixteen_bits x = {};
    if (n == 4 && grain >= 8) {
        struct alignas(8) two {
            uint32_t v[2];
        };
        const two t = *reinterpret_cast<const two *>(row);
        x.v[0] = t.v[0];
        x.v[1] = t.v[1];
        return x;
    }
#pragma unroll
    for (int c = 0; c < 4; c++)
        if (c < n) x.v[c / 2] |= read_little(row + 2 * c, 2, grain) << (c % 2 * 16);
    return x;
}

template <bool BFLOAT> struct half_reader : plain_reader {
    typedef sixteen_bits bits;
    const int32_t at, n, grain;
    __device__ half_reader(const packed_rows &s, const float *, int32_t j, int32_t columns)
        : at(2 * j), n(columns), grain(s.grain) {}
    __device__ bits load(const uint8_t *row) const {
        return load_sixteens(row + at, n, grain);
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const uint32_t h = x.v[c / 2] >> (c % 2 * 16) & 0xffff;
            out[c] = BFLOAT ? as_float(h << 16) : half_value(h);
        }
    }
};

/* ---- scalar codes ---------------------------------------------------------------------------- */

/* Where the levels are: codes themselves; shared by all columns, in shared memory; each column's
 * own, in shared memory, [code, 4, lanes] so that lanes meet in no bank; in the device's memory. */
enum level_place { AFFINE, SHARED, COLUMN, FAR };

template <int BITS, level_place PLACE> struct scalar_reader {
    typedef sixteen_bits bits;
    static constexpr bool dithers = true;
    const float *level;
    const int32_t j, n, grain, lanes;
    const bool column_levels, dither;

    __device__ scalar_reader(const packed_rows &s, const float *table, int32_t first,
                             int32_t columns)
        : level(PLACE == SHARED   ? table
                : PLACE == COLUMN ? table + first / 4 % s.lanes
                                  : s.p.level),
          j(first), n(columns), grain(s.grain), lanes(s.lanes), column_levels(s.p.column_levels),
          dither(s.p.dither) {}

    static size_t table_bytes(const packed_rows &s) {
        return PLACE == SHARED   ? sizeof(float) << BITS
               : PLACE == COLUMN ? (sizeof(float) << BITS) * 4 * (size_t)s.lanes
                                 : 0;
    }

    static __device__ void fill(const packed_rows &s, float *table) {
        if (PLACE == SHARED)
            for (int32_t i = threadIdx.x; i < 1 << BITS; i += blockDim.x)
                table[i] = s.p.level[i];
        if (PLACE == COLUMN)
            for (int32_t i = threadIdx.x; i < s.p.dim << BITS; i += blockDim.x) {
                const int32_t column = i >> BITS, code = i & ((1 << BITS) - 1);
                table[(code * 4 + column % 4) * s.lanes + column / 4] = s.p.level[i];
            }
    }

    __device__ bits load(const uint8_t *row) const {
        if (BITS == 16) return load_sixteens(row + 2 * j, n, grain);
        bits x = {};
        x.v[0] = read_little(row + j * BITS / 8, (n * BITS + 7) / 8, grain) >> (j * BITS % 8);
        return x;
    }

    __device__ void decode(const bits &x, uint32_t dither_bits, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const uint32_t code = x.v[c * BITS / 32] >> (c * BITS % 32) & ((1u << BITS) - 1);
            out[c] = 0;
            if (PLACE == AFFINE) out[c] = (float)code + 0.5f;
            if (PLACE == SHARED) out[c] = level[code];
            if (PLACE == COLUMN) out[c] = level[(code * 4 + c) * lanes];
            if (PLACE == FAR && c < n)
                out[c] = level[(column_levels ? (size_t)(j + c) << BITS : 0) + code];
            if (dither) out[c] -= dither_at(dither_bits, j + c) - 0.5f;
        }
    }
};

/* ---- product codes --------------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t code_at(const uint8_t *row, int32_t bits, int32_t b,
                                                   int32_t grain) {
    if (bits == 16) return read_little(row + 2 * b, 2, grain);
    if (bits == 8) return row[b];
    return row[b / 2] >> (b % 2 * 4) & 15;
}

/* Blocks of a multiple of four columns: four lie in one entry. */
struct wide_product_reader : plain_reader {
    typedef uint32_t bits;
    const float *entry;
    const int32_t block, n, width, code_bits, grain;
    __device__ wide_product_reader(const packed_rows &s, const float *, int32_t j, int32_t columns)
        : entry(s.p.codebook + (int64_t)(j / s.p.width) * s.p.length * s.p.width + j % s.p.width),
          block(j / s.p.width), n(columns), width(s.p.width), code_bits(s.p.bits), grain(s.grain) {}
    __device__ bits load(const uint8_t *row) const {
        return code_at(row, code_bits, block, grain);
    }
    __device__ void decode(const bits &code, uint32_t, float *out) const {
        struct alignas(16) four {
            float v[4];
        };
        const four f = *reinterpret_cast<const four *>(entry + (int64_t)code * width);
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = f.v[c];
    }
};

/* Any width: four columns may lie in four blocks. */
struct product_reader : plain_reader {
    struct bits {
        uint32_t v[4];
    };
    const float *codebook;
    const int32_t j, n, width, length, code_bits, grain;
    __device__ product_reader(const packed_rows &s, const float *, int32_t first, int32_t columns)
        : codebook(s.p.codebook), j(first), n(columns), width(s.p.width), length(s.p.length),
          code_bits(s.p.bits), grain(s.grain) {}
    __device__ bits load(const uint8_t *row) const {
        bits x = {};
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (c < n) x.v[c] = code_at(row, code_bits, (j + c) / width, grain);
        return x;
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const int64_t block = (j + c) / width;
            out[c] = c < n ? codebook[(block * length + x.v[c]) * width + (j + c) % width] : 0;
        }
    }
};

/* ---- mixed codes ----------------------------------------------------------------------------- */

/* Columns of 8, 4, 2 and 1 bits in groups: where each of the four columns lies is worked out once.
 */
struct mixed_reader {
    typedef uint32_t bits; /* a byte a column */
    static constexpr bool dithers = false;
    const float *table;
    const int32_t n;
    int32_t byte[4], shift[4], mask[4], base[4];

    static size_t table_bytes(const packed_rows &) {
        return sizeof(float) * FLIP_MIXED_LEVELS;
    }
    static __device__ void fill(const packed_rows &s, float *table) {
        for (int32_t i = threadIdx.x; i < FLIP_MIXED_LEVELS; i += blockDim.x)
            table[i] = s.p.level[i];
    }

    __device__ mixed_reader(const packed_rows &s, const float *levels, int32_t j, int32_t columns)
        : table(levels), n(columns) {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int32_t column = j + c, first_byte = 0, first_level = 0, width = 8;
#pragma unroll
            for (int g = 0; g < 3; g++)
                if (width == 8 >> g && column >= s.p.mixed[g]) { /* in a later group */
                    column -= s.p.mixed[g];
                    first_byte += (s.p.mixed[g] * width + 7) / 8;
                    first_level += 1 << width;
                    width /= 2;
                }
            byte[c] = first_byte + column * width / 8;
            shift[c] = column * width % 8;
            mask[c] = (1 << width) - 1;
            base[c] = first_level;
        }
    }
    __device__ bits load(const uint8_t *row) const {
        bits x = 0;
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (c < n) x |= (uint32_t)row[byte[c]] << (8 * c);
        return x;
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = table[base[c] + (int32_t)(x >> (8 * c + shift[c]) & (uint32_t)mask[c])];
    }
};

#endif
