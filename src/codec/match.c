/* Blocks of columns against a codebook: products by BLAS find the few entries that can be the
 * nearest, sums in double decide among them, so that the choice depends on no machine. */
#include "codec/internal.h"

#include <cblas.h>
#include <float.h>

void flip_matcher_prepare(float *match, float *half, const float *entry, int32_t length,
                          int32_t width, int64_t ld, bool cosine) {
    for (int32_t e = 0; e < length; e++) {
        double square = 0;
        for (int32_t j = 0; j < width; j++)
            square += (double)entry[e * ld + j] * (double)entry[e * ld + j];
        double norm = sqrt(square);
        half[e] = cosine ? 0 : (float)(square / 2);
        for (int32_t j = 0; j < ld; j++)
            match[e * ld + j] = j >= width ? 0
                                : !cosine  ? entry[e * ld + j]
                                : norm > 0 ? (float)((double)entry[e * ld + j] / norm)
                                           : 0;
    }
}

/* How well entry e fits, exactly: -|x - e|^2, or x . e / |e|. */
static double fit(const flip_matcher *m, const float *x, int32_t e) {
    const float *entry = m->entry + e * m->ld;
    double sum = 0, square = 0;
    for (int32_t j = 0; j < m->width; j++) {
        double a = (double)x[j], b = (double)entry[j];
        sum += m->cosine ? a * b : -(a - b) * (a - b);
        square += b * b;
    }
    if (!m->cosine) return sum;
    return square > 0 ? sum / sqrt(square) : -INFINITY;
}

/* The largest score, and all that rounding could have kept below it, compared in double. Rounding
 * of a dot product of w terms is at most w 2^-24 |x| |e|, that of the half square less. */
static int32_t decide(const flip_matcher *m, const float *x, const float *score, double norm,
                      double size) {
    float top = -FLT_MAX;
#pragma omp simd reduction(max : top)
    for (int32_t e = 0; e < m->length; e++)
        top = score[e] > top ? score[e] : top;
    double slack = ((double)m->width + 6) * 0x1p-22 * (norm + size) * size;
    float limit = (float)((double)top - slack);
    double best = -INFINITY;
    int32_t found = 0;
    for (int32_t e = 0; e < m->length; e++) {
        if (score[e] < limit) continue;
        double here = fit(m, x, e);
        /* directions that are one and the same may differ in the last bit */
        if (here > best + (m->cosine ? 1e-13 * fabs(best < 0 ? 0 : best) : 0)) {
            best = here;
            found = e;
        }
    }
    return found;
}

/* The largest norm of an entry. */
static double widest(const flip_matcher *m) {
    float half = 0;
    for (int32_t e = 0; e < m->length; e++)
        half = m->half[e] > half ? m->half[e] : half;
    return m->cosine ? 1 : sqrt(2 * (double)half);
}

static double norm_of(const float *x, int32_t width) {
    double square = 0;
    for (int32_t j = 0; j < width; j++)
        square += (double)x[j] * (double)x[j];
    return sqrt(square);
}

void flip_match(const flip_matcher *m, int64_t n, const float *x, int64_t ldx, int32_t *code,
                float *scores) {
    double size = widest(m);
    for (int64_t first = 0; first < n; first += FLIP_MATCH_ROWS) {
        int64_t rows = flip_codec_min(FLIP_MATCH_ROWS, n - first);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, m->length, m->width, 1,
                    x + first * ldx, (int)ldx, m->match, (int)m->ld, 0, scores, m->length);
        for (int64_t i = 0; i < rows; i++) {
            float *score = scores + i * m->length;
            const float *row = x + (first + i) * ldx;
            double norm = norm_of(row, m->width);
            for (int32_t e = 0; e < m->length && !m->cosine; e++)
                score[e] -= m->half[e];
            if (m->cosine && norm < (double)m->near_zero)
                code[first + i] = m->length - 1;
            else if (m->cosine && norm == 0)
                code[first + i] = 0;
            else
                code[first + i] = decide(m, row, score, norm, size);
        }
    }
}
