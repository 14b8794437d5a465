/* What the files of a codec share: its tables, its name taken apart, and the tools they are made
 * with. */
#ifndef FLIPBOOK_CODEC_INTERNAL_H
#define FLIPBOOK_CODEC_INTERNAL_H

#include <flipbook/codec.h>

#include <math.h>
#include <string.h>

enum {
    FLIP_CODEC_ENTRIES = 65536, /* of a codebook, at most */
    FLIP_CODEC_SQUARE = 4096    /* columns that a learned rotation may have */
};

typedef enum flip_codec_family {
    FLIP_CODEC_FLOAT,
    FLIP_CODEC_HALF,
    FLIP_CODEC_BFLOAT,
    FLIP_CODEC_BIFEAT,
    FLIP_CODEC_UNIFORM,
    FLIP_CODEC_DITHER,
    FLIP_CODEC_LLOYD,
    FLIP_CODEC_BIFEAT_VQ,
    FLIP_CODEC_PQ,
    FLIP_CODEC_OPQ,
    FLIP_CODEC_KLT,
    FLIP_CODEC_NEAR,
    FLIP_CODEC_SPARSE
} flip_codec_family;

/* A name taken apart. */
typedef struct flip_codec_spec {
    flip_codec_family family;
    int32_t bits;          /* scalar codecs; SPARSE: of a value, -1 = from the sample */
    bool hack;             /* bifeat-hack:1 */
    bool column, shared;   /* uniform:K:column, lloyd:K:shared */
    int32_t width, length; /* products; SPARSE: length, 0 = from the sample */
    double average;        /* klt, near: bits a value */
} flip_codec_spec;
flip_status flip_codec_parse(flip_codec_spec *spec, const char *name);

/* How a value finds its code. */
typedef enum flip_codec_rule {
    FLIP_RULE_COPY,    /* FLOAT, HALF, BFLOAT */
    FLIP_RULE_NEAREST, /* the nearest level of (x - offset) / scale, ties to the lower */
    FLIP_RULE_FLOOR,   /* AFFINE: floor((x - offset) / scale), dithered or not */
    FLIP_RULE_LOG,     /* BiFeat: the bin of log2 |x| between least and most, and the sign */
    FLIP_RULE_L2,      /* the nearest entry of the block's codebook */
    FLIP_RULE_COSINE,  /* the entry of the largest x . e / |e| */
    FLIP_RULE_SPARSE,
    FLIP_RULE_COUNT
} flip_codec_rule;

struct flip_codec {
    char name[FLIP_CODEC_NAME];
    flip_packing packing; /* its pointers name the tables below */
    flip_codec_rule rule;
    int32_t dim_in;     /* columns of rows before the rotation */
    bool dropped;       /* there was a rotation */
    double least, most; /* LOG: fmin, fmax of facts' formula */
    /* owned; NULL = none */
    float *offset, *scale; /* [dim] */
    float *level;          /* as flip_packing.level */
    float *codebook;       /* [blocks, length, width] */
    float *near_zero;      /* [blocks] COSINE: blocks of a smaller norm take the last entry */
    float *rotation;       /* [dim, dim_in] */
    /* made from them, for encoding */
    float *turned; /* [dim_in, dim] rotation, transposed */
    float *match;  /* [blocks, length, width] what a block is multiplied with */
    float *half;   /* [blocks, length] and what is taken off: |e|^2 / 2, or 0 by cosine */
    float *real;   /* [blocks, length, width] entries as they decode: offset + scale * codebook */
    int8_t *codebook8; /* as flip_packing.codebook8 */
};

/* An empty codec of dim columns with this packing kind and rule; name copied. */
flip_status flip_codec_create(flip_codec **codec, const char *name, int32_t dim,
                              flip_packing_kind kind, flip_codec_rule rule);
/* The last step of every maker: pointers of the packing, stride, tables for encoding. */
flip_status flip_codec_finish(flip_codec *codec);
/* Numbers in the codec's tables; 0 = has no such table. Order of the file. */
enum { FLIP_CODEC_TABLES = 6 };
size_t flip_codec_table(flip_codec *codec, int32_t i, float ***table);
/* Allocates table i of that size. */
size_t flip_codec_stride_of(const flip_packing *packing);

/* ---- makers, from rows [n, dim] ---- */
typedef struct flip_codec_sample {
    int64_t n;
    int32_t dim;
    const float *x;      /* [n, dim] borrowed */
    const float *beside; /* [n, dim] means of neighbours' rows, borrowed; NULL = not known */
    double strength;     /* near: out, the largest correlation along edges */
    uint64_t seed;
    flip_codec_progress progress; /* or NULL */
    void *data;
} flip_codec_sample;

flip_status flip_codec_make_scalar(flip_codec **codec, const char *name,
                                   const flip_codec_spec *spec, const flip_codec_sample *sample);
flip_status flip_codec_make_lloyd(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                                  const flip_codec_sample *sample);
flip_status flip_codec_make_product(flip_codec **codec, const char *name,
                                    const flip_codec_spec *spec, const flip_codec_sample *sample);
flip_status flip_codec_make_opq(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                                const flip_codec_sample *sample);
flip_status flip_codec_make_klt(flip_codec **codec, const char *name, const flip_codec_spec *spec,
                                flip_codec_sample *sample);
flip_status flip_codec_make_sparse(flip_codec **codec, const char *name,
                                   const flip_codec_spec *spec, const flip_codec_sample *sample);
/* From tables given: column tables [dim, 2^bits], ascending; codebooks [blocks, length, width]. */
flip_status flip_codec_of_levels(flip_codec **codec, int32_t dim, int32_t bits, const float *level);
flip_status flip_codec_of_codebook(flip_codec **codec, int32_t dim, int32_t width, int32_t length,
                                   bool cosine, const float *codebook);
void flip_codec_tell(const flip_codec_sample *sample, const char *what, double share);

/* ---- blocks of columns against codebooks (match.c) ---- */
typedef struct flip_matcher {
    int32_t width, length;
    int64_t ld;         /* numbers from one entry to the next */
    const float *entry; /* [length, ld] */
    const float *match; /* [length, ld] entries, or entries of norm 1 */
    const float *half;  /* [length] */
    bool cosine;
    float near_zero; /* cosine: see flip_codec */
} flip_matcher;
/* match and half of one codebook. */
void flip_matcher_prepare(float *match, float *half, const float *entry, int32_t length,
                          int32_t width, int64_t ld, bool cosine);
/* The entry of each row of x [n, width] (row stride ldx), exactly: near ties are decided in double,
 * equal ones go to the lower entry. One thread; scores [FLIP_MATCH_ROWS, length] is room. */
enum { FLIP_MATCH_ROWS = 64 };
void flip_match(const flip_matcher *m, int64_t n, const float *x, int64_t ldx, int32_t *code,
                float *scores);

/* ---- tools ---- */
uint16_t flip_half_of(float x); /* nearest even; beyond 65504 the largest */
float flip_half_value(uint16_t h);
bool flip_half_exact(float x);
/* Rounds a table to halves where no number moves by more than 2^-11 of its group's range. */
void flip_halves(float *table, size_t n, size_t group);
/* The number at p % of the |x|, linear between neighbours (position p/100 (n-1)); step 1. */
double flip_percentile(const float *x, size_t n, double p);
/* As flip_percentile of |x[i * stride] - centre|. */
double flip_percentile_column(const float *x, int64_t n, int64_t stride, double centre, double p);
void flip_sort_floats(float *x, float *room, size_t n); /* ascending */
/* A table of `length` ascending levels of least squared error for x [n], which is sorted. */
flip_status flip_lloyd(float *level, int32_t length, float *x, int64_t n);
/* Levels of a table brought to whole numbers 0 … 127, *start + *step * level the old ones, which
 * fast kernels sum without rounding; left alone (step 1, start 0) where it would cost more than a
 * twentieth of the error on x [n], which is sorted: heavy tails. */
void flip_whole_levels(float *level, int32_t length, const float *x, int64_t n, double *start,
                       double *step);
/* mean [dim] and covariance [dim, dim] (or NULL) of rows, in double, rows in order. */
flip_status flip_moments(double *mean, double *covariance, const float *x, int64_t n, int32_t dim);
/* Eigenvalues, descending, and eigenvectors [dim, dim] a row each, over the covariance. */
flip_status flip_eigen(double *value, double *matrix, int32_t dim);
/* product [dim, dim] = x^T y of rows x, y [n, dim], in double, rows in order. */
flip_status flip_products(double *product, const float *x, const float *y, int64_t n, int32_t dim);
/* axis [dim, dim], in its first *k rows: an orthonormal basis, by falling variance (value [dim]),
 * of the *k axes along which rows x [n, dim] and `beside`, the means of their neighbours' rows, go
 * together most (near.c); *k falls to the rank of x. mean [dim] of x; *strength = the largest
 * correlation. */
flip_status flip_near_axes(double *axis, double *value, double *mean, int32_t *k, double *strength,
                           const float *x, const float *beside, int64_t n, int32_t dim);
/* The orthogonal matrix R nearest to c in the sense of max tr(R c): R = V U^T of c = U S V^T. */
flip_status flip_procrustes(double *rotation, double *c, int32_t dim);
/* y [n, dim] = rows x [n, dim_in] times turned [dim_in, dim], summed in double in order. */
void flip_turn(float *y, const float *x, int64_t n, const float *turned, int32_t dim_in,
               int32_t dim);

static inline int64_t flip_codec_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

#endif
