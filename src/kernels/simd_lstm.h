/* What an LSTM's pass (simd_lstm.c) and its walk back (simd_lstm_back.c) share. */
#ifndef FLIPBOOK_KERNELS_SIMD_LSTM_H
#define FLIPBOOK_KERNELS_SIMD_LSTM_H

#include "kernels/simd_math.h"

enum {
    GATES = 4,
    LINE = 16,      /* floats in a cache line */
    APART = LINE,   /* floats between rows of a staged strip, off cache sets 4 KB apart */
    SAME_SET = 1024 /* floats apart that rows share cache sets at */
};

/* Rows of what is multiplied, and its columns in words. */
typedef struct term {
    const float *at;
    int64_t row, words;
} term;

static inline int64_t words_of(int64_t columns) {
    return (columns + PAIR - 1) / PAIR;
}

static inline const float *at_step(const flip_lstm_block *b, int64_t i, int64_t t) {
    return b->at + i * b->row + t * b->step;
}

/* flip_lstm_kernels' packed_back_values, pack_back and backward; and values of a thread's work. */
#define lstm_back_values SIMD_NAME(flip_lstm_back_values)
#define lstm_back_work SIMD_NAME(flip_lstm_back_work)
#define lstm_pack_back SIMD_NAME(flip_lstm_pack_back)
#define lstm_back SIMD_NAME(flip_lstm_back)
int64_t lstm_back_values(int64_t hidden);
int64_t lstm_back_work(int64_t hidden);
void lstm_pack_back(int64_t hidden, const float *turned, int64_t row, float *to, bool rounded);
void lstm_back(const flip_lstm_cells *p, bool rounded);

#endif
