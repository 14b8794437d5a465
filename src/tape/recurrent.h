/* LSTM and GRU: the work on rows that hold all their steps, which does not know of ranks, and the
 * records whose rows travel to it. */
#ifndef FLIP_TAPE_RECURRENT_H
#define FLIP_TAPE_RECURRENT_H

#include "internal.h"

/* What a record saves (op_recurrent.c). */
enum { GATES, CELLS, MOVED_X, MOVED_X2, MOVED_Y, BEGIN };

/* Arrays over rows begin at row 0 of the operator's rows; a call does a range of them. */
typedef struct recurrent {
    flip_tape *tape;
    bool gru;
    int64_t rows; /* of all calls together */
    int32_t steps;
    int64_t hidden, dim[2];   /* H, columns of x and of x2 (0: absent) that a step multiplies */
    int64_t constant;         /* LSTM: columns of x2 before those, the same at every step */
    int64_t inputs, k;        /* dim[0] + dim[1];  inputs + H: what a row multiplies */
    int64_t width;            /* 4 H, GRU 3 H */
    const flip_real *weight;  /* [k, width] Wx over Wh, without those of constant columns … */
    const flip_real *fixed;   /* … [constant, width] */
    const flip_real *turned;  /* [width, k] its transpose; backward only */
    const flip_real *bias[2]; /* [width] b; GRU: bx, bh */
    double *dweight[2];       /* of Wx [dim[0] + constant + dim[1], width] and Wh [H, width] */
    double *dbias[2];         /* of the biases */

    const flip_real *x[2];         /* [rows, steps, dim]; x2 [rows, steps, constant + dim] */
    const flip_packed_rows *coded; /* x2's, which are decoded group by group; NULL = x[1] */
    flip_real *y;                  /* [rows, steps, H] */
    const flip_real *begin[2];     /* h, c [rows, H] before the first step; NULL = 0 */
    flip_real *end[2];             /* … after the last; NULL = nobody asks */
    /* kept for backward, or NULL. LSTM: activated gates and c. GRU: gates and the product's share
     * of the candidate, h Wh + bh. */
    flip_real *gates; /* [rows * steps, width], chunk by chunk, in a chunk step by step … */
    flip_real *cells; /* [rows * steps, H] likewise; with `fused` group of steps by group */

    const flip_real *dy;      /* [rows, steps, H] */
    flip_real *dx[2];         /* [rows, steps, dim]; NULL: not wanted. May be x */
    bool add[2];              /* add to dx */
    const flip_real *dend[2]; /* gradients of end, NULL = 0 */
    flip_real *dbegin[2];     /* … of begin, NULL: not wanted. May be dend */

    const flip_lstm_kernels *fused; /* recurrent_lstm.c does the work; NULL: recurrent.c */
    flip_real *packed, *back;       /* its weights and those of the walk back, one pool memory */

    flip_layout *layout; /* messages to keep moving, or NULL */
    flip_real *work;     /* [threads, work_size] pool memory; on a GPU of one thread */
    size_t work_size;
    flip_status status; /* of what keeps the messages moving, and of decoding */
} recurrent;

/* Weights in one piece, work for all threads (pool memory, given back by recurrent_close). */
flip_status recurrent_open(recurrent *j, bool backward);
void recurrent_close(recurrent *j);
/* Rows first … first+rows-1. Chunks of a call do not depend on threads. */
flip_status recurrent_forward(recurrent *j, int64_t first, int64_t rows);
flip_status recurrent_backward(recurrent *j, int64_t first, int64_t rows);
/* Between chunks. */
void recurrent_keep_moving(recurrent *j);

/* ---- what both ways of the work share (recurrent.c) ---- */

/* The sums of a thread's share of the weights' gradients. */
typedef struct recurrent_sums {
    double *weight; /* [k, width] */
    double *fixed;  /* [constant, width] */
    double *bias;   /* [2, width], of an LSTM one */
} recurrent_sums;

/* Rows first … first+m-1 at steps begin … begin+n-1. */
typedef struct group {
    int64_t first, m, begin, n;
} group;

/* The next values of a thread's working memory, `size` bytes each. */
void *recurrent_carve(char **at, int64_t values, size_t size);
void recurrent_carve_sums(const recurrent *j, char **at, recurrent_sums *sums);
void recurrent_clear_sums(const recurrent *j, const recurrent_sums *sums);
void recurrent_add_sums(const recurrent *j, const recurrent_sums *sums);
/* to[i * to_step …] = from[i * from_step …], n values of m rows; zeros without from. */
void recurrent_copy(const recurrent *j, int64_t m, int64_t n, flip_real *to, int64_t to_step,
                    const flip_real *from, int64_t from_step);
/* Of m rows: base [m, width] = constant columns' product + b; and their weights' and b's gradients
 * += out of sum [m, width], the gates' gradients over all steps. */
void recurrent_constant(const recurrent *j, int64_t first, int64_t m, flip_real *base);
void recurrent_constant_back(const recurrent *j, int64_t first, int64_t m, const flip_real *sum,
                             const recurrent_sums *sums);
/* x2's rows of a group where they are packed: to [m, n, dim[1]]. */
void recurrent_decode(const recurrent *j, const group *g, flip_real *to);
/* As few steps at a time as `most` allows, in groups that are about equal. */
int64_t recurrent_even_groups(int64_t steps, int64_t most);

/* recurrent_lstm.c: the same where `fused` is set; the weights are in one piece already. */
flip_status lstm_open(recurrent *j, bool backward);
flip_status lstm_forward(recurrent *j, int64_t first, int64_t rows);
flip_status lstm_backward(recurrent *j, int64_t first, int64_t rows);

/* ---- of a record (op_recurrent.c) ---- */

/* h, then c: the parts of a state of all rows. */
void recurrent_set_state(const recurrent *j, flip_real *state, int64_t rows, flip_real *part[2]);
/* recurrent_moved.c: where rows travel to the node layout. */
flip_status recurrent_forward_moved(flip_tape *tape, record *r, recurrent *j);
flip_status recurrent_backward_moved(flip_tape *tape, record *r, recurrent *j);

#endif
