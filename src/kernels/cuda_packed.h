/* Packed rows on the GPU (codec.h says what the bytes mean): readers of four columns of a row. A
 * lane makes its reader once, for its columns, and then reads many rows with it. Reading is in two
 * halves, so that the bytes of several rows are under way before the first is decoded:
 *
 *     reader r(rows, table, j, n)     columns j … j+n-1, j a multiple of 4, n <= 4
 *     r.load(row) ─▶ bits             n columns' bytes and no others
 *     r.decode(bits, dither, out)     values before offset and scale, out[4]
 *
 * `table` is what the reader wants of the block's shared memory, filled by `fill`. Where rows begin
 * at even addresses and have a multiple of four columns, a load is one access without conditions;
 * the readers called any_… take all other rows.
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

/* Sums of them along the rows of a matrix. */
typedef struct packed_sums {
    packed_rows rows;
    const int32_t *col;
    const flip_real *value, *row_scale, *col_scale;
    flip_real *y;
    int64_t ld;
    bool accumulate, fours; /* fours: four values of y, and of partial sums, are written at once */
} packed_sums;

/* SPARSE rows, whose lanes have no columns of their own. */
void flip_sparse_sum(const packed_sums *sums, const flip_csr *a);
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
    static constexpr int blocks = 3; /* of a multiprocessor, at least: registers enough, no more */
};

/* ---- floats ---------------------------------------------------------------------------------- */

template <int N> struct words { uint32_t v[N]; };

/* N words in one access; the address is a multiple of their size. */
template <int N> static __device__ __forceinline__ words<N> read_words(const uint8_t *at) {
    struct alignas(4 * N) aligned {
        words<N> w;
    };
    return reinterpret_cast<const aligned *>(at)->w;
}

template <flip_packing_kind KIND>
static __device__ __forceinline__ float number_at(const uint32_t *v, int c) {
    if (KIND == FLIP_PACKING_FLOAT) return as_float(v[c]);
    const uint32_t h = v[c / 2] >> (c % 2 * 16) & 0xffff;
    return KIND == FLIP_PACKING_HALF ? half_value(h) : as_float(h << 16);
}

/* FLOAT, HALF and BFLOAT */
template <flip_packing_kind KIND> struct number_reader : plain_reader {
    enum { WORDS = KIND == FLIP_PACKING_FLOAT ? 4 : 2 };
    typedef words<WORDS> bits;
    const int32_t at;
    __device__ number_reader(const packed_rows &, const float *, int32_t j, int32_t)
        : at(j * WORDS) {}
    static bool fits(const packed_rows &s) {
        return s.p.dim % 4 == 0 && s.grain >= 4 * WORDS;
    }
    __device__ bits load(const uint8_t *row) const {
        return read_words<WORDS>(row + at);
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = number_at<KIND>(x.v, c);
    }
};

template <flip_packing_kind KIND> struct any_number_reader : plain_reader {
    typedef words<4> bits;
    const int32_t at, n, grain;
    __device__ any_number_reader(const packed_rows &s, const float *, int32_t j, int32_t columns)
        : at(j), n(columns), grain(s.grain) {}
    __device__ bits load(const uint8_t *row) const {
        bits x = {};
        for (int c = 0; c < n; c++)
            if (KIND == FLIP_PACKING_FLOAT)
                x.v[c] = read_little(row + 4 * (at + c), 4, grain);
            else
                x.v[c / 2] |= read_little(row + 2 * (at + c), 2, grain) << (c % 2 * 16);
        return x;
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = number_at<KIND>(x.v, c);
    }
};

/* ---- scalar codes ---------------------------------------------------------------------------- */

/* Where the levels are: codes themselves, with dither or without; shared by all columns, in shared
 * memory; each column's own, in shared memory, [code, tile, 4, lanes] so that lanes meet in no
 * bank; in the device's memory. */
enum level_place { AFFINE, DITHER, SHARED, COLUMN, FAR };

/* Tiles of columns, a group's each. */
static __host__ __device__ inline int32_t tiles_of(const packed_rows &s) {
    return (s.p.dim + 4 * s.lanes - 1) / (4 * s.lanes);
}

static __host__ __device__ inline int32_t padded_columns(const packed_rows &s) {
    return tiles_of(s) * 4 * s.lanes;
}

static __device__ __forceinline__ int32_t column_place(const packed_rows &s, int32_t column) {
    const int32_t tile = column / (4 * s.lanes), c = column % 4;
    return (tile * 4 + c) * s.lanes + column / 4 % s.lanes;
}

template <int BITS, level_place PLACE> struct scalar_reader {
    typedef words<BITS == 16 ? 2 : 1> bits;
    static constexpr bool dithers = PLACE == DITHER;
    static constexpr int blocks = PLACE == FAR ? 2 : 3;
    const float *level;
    const int32_t j, lanes, padded, apart; /* FAR: from a column's levels to the next one's */

    __device__ scalar_reader(const packed_rows &s, const float *table, int32_t first, int32_t)
        : level(PLACE == SHARED   ? table
                : PLACE == COLUMN ? table + column_place(s, first)
                                  : s.p.level),
          j(first), lanes(s.lanes), padded(padded_columns(s)),
          apart(s.p.column_levels ? 1 << BITS : 0) {
        if (PLACE == FAR) level += (int64_t)first * apart;
    }

    static bool fits(const packed_rows &s) {
        return BITS <= 2 || (s.p.dim % 4 == 0 && s.grain >= BITS / 2);
    }

    static size_t table_bytes(const packed_rows &s) {
        return PLACE == SHARED   ? sizeof(float) << BITS
               : PLACE == COLUMN ? (sizeof(float) << BITS) * (size_t)padded_columns(s)
                                 : 0;
    }

    static __device__ void fill(const packed_rows &s, float *table) {
        if (PLACE == SHARED)
            for (int32_t i = threadIdx.x; i < 1 << BITS; i += blockDim.x)
                table[i] = s.p.level[i];
        if (PLACE == COLUMN)
            for (int32_t i = threadIdx.x; i < s.p.dim << BITS; i += blockDim.x) {
                const int32_t column = i >> BITS, code = i & ((1 << BITS) - 1);
                table[code * padded_columns(s) + column_place(s, column)] = s.p.level[i];
            }
    }

    __device__ bits load(const uint8_t *row) const {
        bits x;
        const uint8_t *at = row + j * BITS / 8;
        if (BITS == 16) return read_words < BITS == 16 ? 2 : 1 > (at);
        if (BITS == 8) return read_words < BITS == 16 ? 2 : 1 > (at);
        x.v[0] = BITS == 4 ? *reinterpret_cast<const uint16_t *>(at) : *at;
        if (BITS == 1) x.v[0] >>= j & 4;
        return x;
    }

    __device__ void decode(const bits &x, uint32_t dither_bits, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const uint32_t code = x.v[c * BITS / 32] >> (c * BITS % 32) & ((1u << BITS) - 1);
            if (PLACE == AFFINE) out[c] = (float)code + 0.5f;
            if (PLACE == DITHER) out[c] = (float)code + 1 - dither_at(dither_bits, j + c);
            if (PLACE == SHARED) out[c] = level[code];
            if (PLACE == COLUMN) out[c] = level[(int32_t)code * padded + c * lanes];
            if (PLACE == FAR) out[c] = level[(int64_t)c * apart + code];
        }
    }
};

struct any_scalar_reader {
    typedef words<4> bits;
    static constexpr bool dithers = true;
    static constexpr int blocks = 2;
    const float *level;
    const int32_t j, n, code_bits, grain;
    const bool column_levels, dither;
    static size_t table_bytes(const packed_rows &) {
        return 0;
    }
    static __device__ void fill(const packed_rows &, float *) {}
    __device__ any_scalar_reader(const packed_rows &s, const float *, int32_t first,
                                 int32_t columns)
        : level(s.p.level), j(first), n(columns), code_bits(s.p.bits), grain(s.grain),
          column_levels(s.p.column_levels), dither(s.p.dither) {}
    __device__ bits load(const uint8_t *row) const {
        bits x = {};
        for (int c = 0; c < n; c++) {
            const int32_t at = (j + c) * code_bits;
            const uint32_t byte = read_little(row + at / 8, code_bits == 16 ? 2 : 1, grain);
            x.v[c] = byte >> at % 8 & ((1u << code_bits) - 1);
        }
        return x;
    }
    __device__ void decode(const bits &x, uint32_t dither_bits, float *out) const {
        for (int c = 0; c < 4; c++) {
            const int64_t first = column_levels ? (int64_t)(j + c) << code_bits : 0;
            out[c] = !level ? (float)x.v[c] + 0.5f : c < n ? level[first + x.v[c]] : 0;
            if (dither) out[c] -= dither_at(dither_bits, j + c) - 0.5f;
        }
    }
};

/* ---- product codes --------------------------------------------------------------------------- */

/* Blocks of a multiple of four columns: four lie in one entry. */
template <int BITS> struct product_reader : plain_reader {
    typedef uint32_t bits;
    const float *entry;
    const int32_t block, width;
    __device__ product_reader(const packed_rows &s, const float *, int32_t j, int32_t)
        : entry(s.p.codebook + (int64_t)(j / s.p.width) * s.p.length * s.p.width + j % s.p.width),
          block(j / s.p.width), width(s.p.width) {}
    static bool fits(const packed_rows &s) {
        return s.p.width % 4 == 0 && (uintptr_t)s.p.codebook % 16 == 0 && s.grain >= BITS / 8;
    }
    __device__ bits load(const uint8_t *row) const {
        if (BITS == 16) return reinterpret_cast<const uint16_t *>(row)[block];
        if (BITS == 8) return row[block];
        return row[block / 2] >> (block % 2 * 4) & 15;
    }
    __device__ void decode(const bits &code, uint32_t, float *out) const {
        const words<4> w =
            read_words<4>(reinterpret_cast<const uint8_t *>(entry + (int64_t)code * width));
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = as_float(w.v[c]);
    }
};

/* Any width: four columns may lie in four blocks. */
struct any_product_reader : plain_reader {
    static constexpr int blocks = 2;
    typedef words<4> bits;
    const float *codebook;
    const int32_t j, n, width, length, code_bits, grain;
    __device__ any_product_reader(const packed_rows &s, const float *, int32_t first,
                                  int32_t columns)
        : codebook(s.p.codebook), j(first), n(columns), width(s.p.width), length(s.p.length),
          code_bits(s.p.bits), grain(s.grain) {}
    __device__ bits load(const uint8_t *row) const {
        bits x = {};
        for (int c = 0; c < n; c++) {
            const int32_t at = (j + c) / width * code_bits;
            const uint32_t byte = read_little(row + at / 8, code_bits == 16 ? 2 : 1, grain);
            x.v[c] = byte >> at % 8 & ((1u << code_bits) - 1);
        }
        return x;
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
        for (int c = 0; c < 4; c++) {
            const int64_t block = (j + c) / width;
            out[c] = c < n ? codebook[(block * length + x.v[c]) * width + (j + c) % width] : 0;
        }
    }
};

/* ---- mixed codes ----------------------------------------------------------------------------- */

/* Columns of 8, 4, 2 and 1 bits in groups: where each of the four columns lies is worked out once,
 * for those behind the last as for the first. */
struct mixed_reader {
    typedef uint32_t bits; /* a byte a column */
    static constexpr bool dithers = false;
    static constexpr int blocks = 3;
    const float *table;
    int32_t byte[4], shift[4], mask[4], base[4];

    static size_t table_bytes(const packed_rows &) {
        return sizeof(float) * FLIP_MIXED_LEVELS;
    }
    static __device__ void fill(const packed_rows &s, float *table) {
        for (int32_t i = threadIdx.x; i < FLIP_MIXED_LEVELS; i += blockDim.x)
            table[i] = s.p.level[i];
    }

    __device__ mixed_reader(const packed_rows &s, const float *levels, int32_t j, int32_t columns)
        : table(levels) {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int32_t column = j + (c < columns ? c : 0), first_byte = 0, first_level = 0, width = 8;
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
            x |= (uint32_t)row[byte[c]] << (8 * c);
        return x;
    }
    __device__ void decode(const bits &x, uint32_t, float *out) const {
#pragma unroll
        for (int c = 0; c < 4; c++)
            out[c] = table[base[c] + (int32_t)(x >> (8 * c + shift[c]) & (uint32_t)mask[c])];
    }
};

#endif
