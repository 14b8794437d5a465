/* What the matrix LSTM and GRU share (op_matrix.c). */
#ifndef FLIP_TAPE_MATRIX_H
#define FLIP_TAPE_MATRIX_H

#include "internal.h"

typedef struct matrix {
    int64_t f, k, n; /* W is [f, k]; n = f k values */
    int64_t gates;   /* 4 or 3 */
    int32_t steps;   /* of the block */
    const flip_real *w0, *wg, *ug, *bg;
} matrix;

enum { W0, WG, UG, BG };               /* parameters */
enum { STATES, GATES, CELLS, INPUTS }; /* saved: [steps + 1, n] [steps, gates n] … */

matrix matrix_sizes(const flip_tape *tape, const record *r, int64_t gates);
flip_status matrix_shape(const flip_tape *tape, const record *r, int64_t gates, shape *out);
void matrix_turn(const flip_tape *tape, int64_t rows, int64_t cols, flip_real *to,
                 const flip_real *from);
flip_status matrix_begin(flip_tape *tape, record *r, const matrix *s, flip_real *h, flip_real *c);
void matrix_end(flip_tape *tape, record *r, const matrix *s, const flip_real *h,
                const flip_real *c);
flip_status matrix_save(flip_tape *tape, record *r, int slot, int64_t values);
void matrix_multiply(flip_tape *tape, bool transposed, int64_t m, int64_t n, int64_t k,
                     const flip_real *a, int64_t lda, const flip_real *b, flip_real *c, int64_t ldc,
                     bool add);
void matrix_weight_gradient(flip_tape *tape, const matrix *s, const flip_real *d, int64_t columns,
                            const flip_real *x, double *g);
void matrix_bias_gradient(flip_tape *tape, const record *r, const matrix *s,
                          const flip_real *gates);
void matrix_begin_gradient(flip_tape *tape, record *r, const matrix *s, flip_real *dh,
                           flip_real *dc);
void matrix_end_gradient(flip_tape *tape, record *r, const matrix *s, const flip_real *dh,
                         const flip_real *dc);
void matrix_add_chain_gradient(const flip_tape *tape, const matrix *s, flip_real *dh,
                               const flip_real *chain);

#endif
