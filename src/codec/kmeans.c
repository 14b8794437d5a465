/* k-means (Lloyd's rounds from random rows), as FAISS does it: 25 rounds, empty entries filled by
 * splitting the largest. Rows are matched in parallel, entries summed in double in row order. */
#include "codec/kmeans.h"

enum { BLOCK = 512 };

static void begin(float *entry, const flip_kmeans_params *p, int64_t n, const float *x) {
    for (int32_t e = 0; e < p->length; e++) {
        int64_t row = flip_random_permute(p->seed ^ p->block << 32, FLIP_STREAM_CODEC, n, e);
        memcpy(entry + e * p->ld, x + row * p->width, (size_t)p->width * sizeof *x);
    }
}

static flip_status match_all(const flip_kmeans_params *p, const float *entry, float *match,
                             float *half, int64_t n, const float *x, int32_t *code) {
    flip_status status = FLIP_OK;
    flip_matcher_prepare(match, half, entry, p->length, p->width, p->ld, p->cosine);
    flip_matcher m = {.width = p->width,
                      .length = p->length,
                      .ld = p->ld,
                      .entry = entry,
                      .match = match,
                      .half = half,
                      .cosine = p->cosine};
#pragma omp parallel
    {
        float *scores = NULL;
        flip_status made =
            flip_alloc(&scores, FLIP_MATCH_ROWS * (size_t)p->length, sizeof *scores, "scores");
#pragma omp for schedule(static)
        for (int64_t first = 0; first < n; first += BLOCK)
            if (made == FLIP_OK)
                flip_match(&m, flip_codec_min(BLOCK, n - first), x + first * p->width, p->width,
                           code + first, scores);
        flip_free(scores);
#pragma omp critical
        if (made != FLIP_OK) status = made;
    }
    return status;
}

/* Entry e takes half of the largest one: two copies a little apart (FAISS, split_clusters). */
static void split(float *entry, double *count, const flip_kmeans_params *p, int32_t e) {
    int32_t largest = 0;
    for (int32_t i = 1; i < p->length; i++)
        if (count[i] > count[largest]) largest = i;
    for (int32_t j = 0; j < p->width; j++) {
        float value = entry[largest * p->ld + j], apart = j % 2 ? 0x1p-10f : -0x1p-10f;
        entry[e * p->ld + j] = value * (1 + apart);
        entry[largest * p->ld + j] = value * (1 - apart);
    }
    count[e] = count[largest] /= 2;
}

/* Entries to the mean of their rows; returns the sum of their moves. */
static double move(float *entry, double *sum, double *count, const flip_kmeans_params *p, int64_t n,
                   const float *x, const int32_t *code) {
    double moves = 0;
    memset(sum, 0, (size_t)p->length * (size_t)p->width * sizeof *sum);
    memset(count, 0, (size_t)p->length * sizeof *count);
    for (int64_t i = 0; i < n; i++) {
        double *to = sum + (size_t)code[i] * (size_t)p->width;
        count[code[i]]++;
        for (int32_t j = 0; j < p->width; j++)
            to[j] += (double)x[i * p->width + j];
    }
    for (int32_t e = 0; e < p->length; e++) {
        double square = 0;
        for (int32_t j = 0; j < p->width && count[e] > 0; j++) {
            float mean = (float)(sum[(size_t)e * (size_t)p->width + (size_t)j] / count[e]);
            double apart = (double)mean - (double)entry[e * p->ld + j];
            entry[e * p->ld + j] = mean;
            square += apart * apart;
        }
        moves += sqrt(square);
    }
    for (int32_t e = 0; e < p->length; e++)
        if (count[e] == 0) split(entry, count, p, e);
    return moves;
}

flip_status flip_kmeans(float *entry, const flip_kmeans_params *p, int64_t n, const float *x,
                        int32_t *code_out) {
    flip_status status = FLIP_OK;
    float *match = NULL, *half = NULL;
    double *sum = NULL, *count = NULL, bound = 0.03 * p->length;
    int32_t *code = NULL;
    FLIP_TRY_GOTO(flip_alloc(&match, (size_t)p->length * (size_t)p->ld, sizeof *match, "k-means"));
    FLIP_TRY_GOTO(flip_alloc(&half, (size_t)p->length, sizeof *half, "k-means"));
    FLIP_TRY_GOTO(flip_alloc(&sum, (size_t)p->length * (size_t)p->width, sizeof *sum, "k-means"));
    FLIP_TRY_GOTO(flip_alloc(&count, (size_t)p->length, sizeof *count, "k-means"));
    FLIP_TRY_GOTO(flip_alloc(&code, (size_t)n, sizeof *code, "k-means"));
    if (!p->warm) begin(entry, p, n, x);
    for (int32_t round = 0; round < p->rounds; round++) {
        FLIP_TRY_GOTO(match_all(p, entry, match, half, n, x, code));
        double moves = move(entry, sum, count, p, n, x, code);
        if (p->tiring && moves * moves < bound) break;
        bound *= 1.2;
    }
    if (code_out) memcpy(code_out, code, (size_t)n * sizeof *code);
done:
    flip_free(match);
    flip_free(half);
    flip_free(sum);
    flip_free(count);
    flip_free(code);
    return status;
}
