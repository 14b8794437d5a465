/* Flipbook: codec — rows of numbers as packed codes, and back.
 *
 * A codec is learned once from rows [n, dim] and then only read. The same packed row stands in the
 * file, in host memory, in the cache and on the wire; the kernels that gather and aggregate decode
 * it on the way (kernels.h), so that no full-width table exists beside the codes:
 *
 *     rows [n, dim] ──encode──▶ codes [n, stride] bytes ──decode / gather+sum──▶ rows [m, dim]
 *                                 └ flip_packing tells kernels how a row is to be read
 *
 * Packed rows, one after the other, `stride` bytes each, no padding between them:
 *   FLOAT   dim float32                       HALF, BFLOAT  dim 16-bit floats
 *   SCALAR  dim codes of 1, 2, 4, 8 or 16 bits, column j in bits j*bits % 8 … of byte j*bits / 8
 *           (little-endian); value = offset[j] + scale[j] * level[code], where levels are shared by
 *           all columns ([2^bits]) or are each column's own ([dim, 2^bits]), or, AFFINE, the code
 *           itself stands for its level: value = offset[j] + scale[j] * (code + 1/2). Shared levels
 *           of 4 bits that are whole numbers, 0 … 127, are summed quickest
 *   PRODUCT blocks of `width` columns, each the number of an entry of its codebook
 *           [length, width]: 4 bits (length <= 16), 8 (<= 256) or 16 (<= 65,536) a code, packed as
 *           SCALAR; the last block may be narrower and uses the first columns of its codebook
 *   MIXED   columns in order of falling bits: the first mixed[0] have 8, the next mixed[1] 4, then
 *           mixed[2] of 2 and mixed[3] of 1; each of the four groups begins in a new byte and has
 *           one table of levels for its columns, one after another in `level` [256 | 16 | 4 | 2]:
 *           value = offset[j] + scale[j] * level of its group[code]. flip_packing_part gives a
 *           group as a SCALAR packing of its own
 *   SPARSE  exact for rows with few non-zero columns: `length` column numbers, ascending, of 16
 *           bits (32 where dim > 65,535; dim or more = no column, after all others), then the
 *           `length` values: float32 (bits 32), numbers of levels (bits 8) or nothing: all 1
 *           (bits 0)
 * With `dither`, SCALAR AFFINE codes are floor((x - offset)/scale + u - 1/2), and u - 1/2 is taken
 * off again, u = flip_dither(seed, key of the row, column): errors of alike rows are independent
 * (subtractive dither; BiFeat's Theorem 3.3 asks for it, facts 3.2).
 *
 * Codecs (sources: BiFeat, arXiv 2207.14696, and its code; Lloyd 1982, Max 1960; Jegou et al. 2011;
 * Ge et al. 2013, OPQ):
 *   fp32 fp16 bf16
 *   bifeat:K        sign and K-1 bits of log2 |x| in one global range; bifeat-hack:1 adds 0.1 to a
 *                   small mean as BiFeat's code does
 *   uniform:K       mid-bin levels in +-P99.5(|x|) of all columns; uniform:K:column: each its own
 *   dither:K        uniform, per column, with subtractive dither
 *   lloyd:K         a Lloyd-Max table a column;  lloyd:K:shared  columns brought to mean 0 and
 *                   deviation 1, then one table for all (the fast kernels' form)
 *   bifeat-vq:WxL   k-means by cosine, blocks of W columns, L entries
 *   pq:WxL          product quantisation, L2;  opq:WxL  after a learned rotation
 *   klt:B           principal axes, each with 0, 1, 2, 4 or 8 bits; a row takes floor(B dim / 8)
 *                   bytes, so B (which may be a fraction) is the bits a value on average
 *   near:B          the axes that a row shares with its neighbours (canonical variates of a row and
 *                   its neighbours' mean), 4 bits each, as many as go into floor(B dim / 8) bytes:
 *                   for models that sum along edges; needs those means (flip_codec_train_near)
 *   sparse[:L[:V]]  exact; L non-zero columns a row at most, V bits a value: 32, 8 (a table) or 0
 *                   (all are 1); what is left out is taken from the sample
 * Two of them joined, COARSE+REFINEMENT (pq:16x256+lloyd:2): a second code of each row, of what the
 * first leaves, kept and moved apart from it; who has both adds what they decode to.
 * Rows are float32 in every build. A rotation is not undone when decoding: the model learns its
 * first layer in the rotated space (mean(R x) = R mean(x)). flip_codec_rotation gives R for those
 * who need the original columns.
 *
 * Learning does not depend on ranks or threads: rows are drawn by the hash of their keys, and sums
 * run in a fixed order in double.
 */
#ifndef FLIPBOOK_CODEC_H
#define FLIPBOOK_CODEC_H

#include <flipbook/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum flip_packing_kind {
    FLIP_PACKING_FLOAT,
    FLIP_PACKING_HALF,
    FLIP_PACKING_BFLOAT,
    FLIP_PACKING_SCALAR,
    FLIP_PACKING_PRODUCT,
    FLIP_PACKING_MIXED,
    FLIP_PACKING_SPARSE
} flip_packing_kind;

/* What a kernel must know to read packed rows. All pointers borrowed from the codec. */
typedef struct flip_packing {
    flip_packing_kind kind;
    int32_t dim;         /* values of a decoded row */
    size_t stride;       /* bytes of a packed row */
    int32_t bits;        /* of a code: SCALAR, PRODUCT */
    const float *offset; /* [dim], NULL = 0 */
    const float *scale;  /* [dim], NULL = 1 */
    const float *level;  /* SCALAR: [2^bits] or, column_levels, [dim, 2^bits]; NULL = AFFINE.
                            MIXED: [256 + 16 + 4 + 2] */
    int32_t mixed[4];    /* MIXED: columns of 8, 4, 2, 1 bits; they add up to dim */
    bool column_levels;
    bool dither;
    uint64_t dither_seed;
    int32_t width, length, blocks; /* PRODUCT; SPARSE: length */
    const float *codebook;         /* [blocks, length, width] */
    const int8_t *codebook8;       /* the same numbers where they are whole, -128 … 127; or NULL:
                                      sums are then quick (offset and scale make them values) */
} flip_packing;

/* [0, 1), from the row's key (original id) and the column alone: 24 bits of
 * flip_dither_mix(flip_dither_row(seed, key) + column), Wellons' mixer "lowbias32". */
float flip_dither(uint64_t seed, int64_t key, int32_t column);
uint32_t flip_dither_row(uint64_t seed, int64_t key);

FLIP_EITHER uint32_t flip_dither_mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* Columns first … first+n-1 of one packed row: the definition of packed rows, which kernels and
 * codecs are held to. Codes must be numbers that the tables have; whoever takes codes from a file
 * checks them. */
void flip_unpack_columns(const flip_packing *packing, const uint8_t *row, int64_t key,
                         int32_t first, int32_t n, float *out /* [n] */);
void flip_unpack_row(const flip_packing *packing, const uint8_t *row, int64_t key,
                     float *out /* [dim] */);

/* Group i = 0 … 3 of a MIXED packing as a SCALAR packing with the same stride: its rows begin
 * *first_byte into the packed row, its columns are *first_column … + part->dim - 1. False where the
 * group has no column. */
enum { FLIP_MIXED_GROUPS = 4, FLIP_MIXED_LEVELS = 256 + 16 + 4 + 2 };
bool flip_packing_part(const flip_packing *packing, int32_t i, flip_packing *part,
                       int32_t *first_column, size_t *first_byte);

typedef struct flip_codec flip_codec;

/* How far learning has come, 0 … 1; on the calling rank; may be NULL. */
typedef void (*flip_codec_progress)(void *data, const char *what, double share);

/* A codec from its name ("lloyd:4", "opq:16x256"), learned from `sample` [n, dim] rows of all ranks
 * in ascending order of their keys (store.h: flip_rows_draw). Local and deterministic. Refuses
 * names it does not know (with the nearest), widths beyond dim, more entries than sample rows. */
flip_status flip_codec_train(flip_codec **codec, const char *name, int32_t dim, int64_t n,
                             const float *sample, uint64_t seed, flip_codec_progress progress,
                             void *progress_data);
/* The same for near:B, which learns from rows [n, dim] and, beside each, the mean of its
 * neighbours' rows (rows without neighbours left out); *strength = the largest correlation between
 * the two along an axis. flip_codec_train refuses near:B. */
flip_status flip_codec_train_near(flip_codec **codec, double *strength, const char *name,
                                  int32_t dim, int64_t n, const float *sample, const float *beside,
                                  flip_codec_progress progress, void *progress_data);
/* Is this the name of a codec, or of two levels? Refuses it in words where not. */
flip_status flip_codec_check_name(const char *name);
void flip_codec_destroy(flip_codec **codec);
const char *flip_codec_name(const flip_codec *codec);
const flip_packing *flip_codec_packing(const flip_codec *codec);
size_t flip_codec_stride(const flip_codec *codec); /* bytes of a row */
/* Tables, codebooks, rotation as they stand in a file (to_bytes). Numbers are kept there in 16 bits
 * where that is exact; codecs round codebooks, shared levels and rotations so that it is. */
size_t flip_codec_table_bytes(const flip_codec *codec);
/* [dim, dim_in] row-major: what rows are multiplied with before they are encoded; NULL = nothing.
 * dim of the packing may be below the rows' dim_in. */
const float *flip_codec_rotation(const flip_codec *codec, int32_t *dim_in);
/* Rows in the original columns, out [n, dim_in], of decoded rows [n, dim]: R^T times each (R has
 * orthonormal rows), or the same where there is no rotation. Refused where it was dropped. */
flip_status flip_codec_restore(const flip_codec *codec, int64_t n, const float *rows, float *out);
/* Forgets the rotation: who only trains on codes does not need it. encode is refused after that. */
void flip_codec_drop_rotation(flip_codec *codec);
/* codes [n, stride] of rows [n, dim_in]; key [n] (dither; may be NULL where there is none). Local,
 * thread count of the OpenMP runtime, the same bits for any; a row's codes do not depend on the
 * rows beside it. Only FLOAT, HALF and BFLOAT rows hold NaN and infinities: elsewhere they are
 * refused with row and column. */
flip_status flip_codec_encode(const flip_codec *codec, int64_t n, const float *rows,
                              const int64_t *key, uint8_t *codes);
/* rows [n, packing.dim] of codes: the plain definition that the kernels are held to. Refuses codes
 * that the tables do not have. */
flip_status flip_codec_decode(const flip_codec *codec, int64_t n, const uint8_t *codes,
                              const int64_t *key, float *rows);

/* Do the tables have every code of codes [n, stride], and are unused bits 0? Refuses the first row
 * and block where not (rows count from first_row in the message). */
flip_status flip_codec_check_codes(const flip_codec *codec, int64_t n, const uint8_t *codes,
                                   int64_t first_row);

/* share[i] of the variance of rows x [n, dim] that lies in their first 2^i principal axes; NaN
 * where there are fewer columns, or more than 1024 (nothing is measured then). */
flip_status flip_codec_spectrum(double *share, int32_t n_shares, const float *x, int64_t n,
                                int32_t dim);

/* ---- two levels: x ~ decode(coarse codes) + decode(refinement) ---- */

enum { FLIP_CODEC_NAME = 48 }; /* bytes of a codec's name, its end included */
/* "COARSE+REFINEMENT" taken apart; refinement "" where there is one level. Refuses what is no name,
 * and refinements that rotate or are sparse: levels are added column by column. */
flip_status flip_codec_split(const char *name, char coarse[FLIP_CODEC_NAME],
                             char refinement[FLIP_CODEC_NAME]);
/* What codes leave of rows [n, dim_in], in the columns they decode to: out [n, packing.dim], the
 * rows of the refinement. Local; refused where the rotation was dropped. */
flip_status flip_codec_residual(const flip_codec *codec, int64_t n, const float *rows,
                                const int64_t *key, const uint8_t *codes, float *out);
/* Can what the second decodes to be added to what the first does? Refuses it by name. */
flip_status flip_codec_check_refinement(const flip_codec *coarse, const flip_codec *refinement);

/* ---- tables as bytes: for files and broadcasts ---- */

/* One self-describing blob, little-endian, the same for the same codec; *out is the caller's
 * (flip_free). */
flip_status flip_codec_to_bytes(const flip_codec *codec, uint8_t **out, size_t *n);
/* Refuses, by name, whatever does not fit: sizes, widths, bits, non-finite numbers, trailing bytes.
 */
flip_status flip_codec_from_bytes(flip_codec **codec, const uint8_t *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif
