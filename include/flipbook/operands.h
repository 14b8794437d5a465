/* Flipbook: operands — what kernels (kernels.h) read and write.
 *
 * A multi-snapshot sparse matrix is one CSR over the union of all steps' entries; each entry lives
 * in runs of consecutive steps, each step with a value:
 *
 *     row_ptr [n_rows+1] ─▶ entry e: col[e] (local id), runs run_ptr[e] … run_ptr[e+1]-1
 *     run r: steps run_first[r] … run_first[r] + (value_ptr[r+1]-value_ptr[r]) - 1
 *            values value[value_ptr[r]] …
 *
 * Entries of a timeline's blocks take more memory than their values where lives are short; so runs
 * and values are numbered in 32 bits, and a matrix with more is refused when it is built.
 *
 * Static matrices (n_steps == 1) have run_ptr == run_first == value_ptr == NULL and value[e], or
 * value == NULL for all ones; they may carry row_scale and col_scale, applied as
 * A[v,u] = row_scale[v] * value * col_scale[u]. Dense blocks are row-major [n, steps, dim].
 *
 * Columns below n_own name the rank's own rows (x_own); the others the halo (x_halo, row col -
 * n_own).
 */
#ifndef FLIPBOOK_OPERANDS_H
#define FLIPBOOK_OPERANDS_H

#include <flipbook/codec.h>

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flip_csr {
    int32_t n_rows, n_cols, n_own; /* n_own: columns from here on are halo */
    int32_t n_steps;
    int64_t n_entries, n_values;
    const int64_t *row_ptr;     /* [n_rows + 1] */
    const int32_t *col;         /* [n_entries], in a row ascending by original id */
    const uint32_t *run_ptr;    /* [n_entries + 1] or NULL */
    const int32_t *run_first;   /* [n_runs] or NULL */
    const uint32_t *value_ptr;  /* [n_runs + 1] or NULL */
    const flip_real *value;     /* [n_values] or NULL = 1 */
    const flip_real *row_scale; /* [n_rows] or NULL, static only */
    const flip_real *col_scale; /* [n_cols] or NULL, static only */
    bool placed; /* made by a device: its arrays lie in the table's memory (snapshots.h) */
} flip_csr;

/* What happens to C = A B before it is stored, fused into the product, in the order of the fields.
 */
typedef struct flip_epilogue {
    bool accumulate; /* C + … */
    /* A second product of the same form is added: A2[m,k2] B2 (X W1 + (AX) W2 in one pass). */
    const flip_real *plus_a, *plus_b; /* or NULL */
    int64_t plus_k, plus_lda, plus_ldb;
    const flip_real *bias; /* [n] added, or NULL */
    int64_t bias_step;     /* 0, or from row to row of a bias [m, n] */
    bool relu;             /* NaN stays NaN */
    uint8_t *relu_bits;    /* NULL, or out: bit j%8 of byte [i * ((n+7)/8) + j/8] = was positive (if
                              relu) and kept (if dropout); bits past n are 0 */
    const uint8_t *mask;   /* NULL, or in: bits as above; where 0 the result is 0, where 1 it is
                              multiplied by mask_scale (gradient through relu and dropout) */
    flip_real mask_scale;
    double dropout;      /* p in [0,1): kept values are scaled by 1/(1-p) */
    uint64_t seed, draw; /* flip_random stream DROPOUT: a = draw, b = key[i] * n + j, four columns
                            share one call: see flip_dropout_keep */
    const int64_t *key;  /* [m] original row ids; NULL = i */
    int64_t apart;       /* rows of relu_bits, mask and key stand so many rows apart (C a step of a
                            block [rows, steps, n]); 0 = 1. Row i's key without `key` is i apart. */
} flip_epilogue;

/* m and v decay by beta1, beta2; the step is lr * (m / correct1) / (sqrt(v / correct2) + epsilon).
 */
typedef struct flip_adam_step {
    double lr, beta1, beta2, epsilon, weight_decay;
    bool decoupled;            /* AdamW */
    double correct1, correct2; /* 1 - beta^t */
    double grad_scale;         /* gradients are multiplied by it first (clipping) */
} flip_adam_step;

/* A band of TM-GCN's M over rows of steps, which are counted from the timeline's first. */
typedef struct flip_band_steps {
    int64_t rows;
    int32_t steps, dim;
    int32_t first;   /* the first of `steps` */
    int32_t earlier; /* steps at hand before it: window - 1, or all there are */
    int32_t window;
} flip_band_steps;
/* m = momentum m + grad_scale g + weight_decay p;  p -= lr m */
typedef struct flip_sgd_step {
    double lr, momentum, weight_decay, grad_scale;
} flip_sgd_step;

/* Rows of a loss. */
typedef struct flip_loss_rows {
    const int32_t *label;       /* [m], negative: not counted */
    const uint8_t *mask;        /* [m], 0: not counted; NULL: all are */
    const double *class_weight; /* by label; NULL = 1 */
    bool sample_mean;           /* a row's share of the denominator is 1, else its weight */
} flip_loss_rows;

/* Attention over the entries of rows: every step has `heads` heads of d columns. Dropout keeps
 * weight j of node v at step t, head j % heads of the entry that is number j / heads among the
 * row's with a weight at t, by the rule of flip_dropout_keep with row key[v, t] of FLIP_WEIGHT_KEYS
 * columns.
 */
typedef struct flip_heads {
    int32_t steps, heads, d;
    double dropout; /* p in [0,1) */
    uint64_t seed, draw;
    const int64_t *key; /* [rows, steps]; NULL where dropout is 0 */
    int32_t *count;     /* room [rows, steps], likewise */
} flip_heads;
/* Rows of more than 4 million weights would share draws. */
enum { FLIP_WEIGHT_KEYS = 1 << 22 };

/* Rows that are summed apart before the parts are, in ascending order: sums over rows do not depend
 * on threads. `room` of such a sum: flip_room(m, n) doubles for n sums over m rows. */
enum { FLIP_ROOM_ROWS = 1024 };
static inline size_t flip_room(int64_t m, int64_t n) {
    return (size_t)((m + FLIP_ROOM_ROWS - 1) / FLIP_ROOM_ROWS * n);
}

/* ---- graph differences (snapshots.h, which says what is sent) ----
 *
 *     key    row << 32 | place of the column among all columns: entries ascend by it
 *     word   row, place and, in the bits that these leave, an added entry's value: its float's bits
 *            or, where they are fewer than 32, a small whole number; all ones: the value follows */
typedef struct flip_word_form {
    int place_bits, value_bits; /* value_bits 2 … 32 */
} flip_word_form;

/* Bits that tell n >= 1 things apart. */
static inline int flip_bits_telling(int64_t n) {
    int bits = 0;
    while ((n - 1) >> bits > 0)
        bits++;
    return bits;
}

uint64_t flip_word_key(const flip_word_form *form, uint64_t word);
/* false: the value follows. */
bool flip_word_value(const flip_word_form *form, uint64_t word, flip_real *value);

/* What is sent of a difference. */
typedef struct flip_graph_words {
    flip_word_form form;
    int64_t n_removed, n_added, n_changed, n_extra;
    const uint64_t *word;   /* removed, added, changed; each ascending */
    const flip_real *value; /* [n_extra + n_changed] of those added that do not fit; new ones */
} flip_graph_words;

/* A snapshot: [n], keys ascending. */
typedef struct flip_entries {
    int64_t n;
    uint64_t *key;
    flip_real *value;
} flip_entries;

/* What differs between two snapshots: [n], keys ascending; a value may be flip_absent. */
typedef struct flip_changes {
    int64_t n;
    uint64_t *key;
    flip_real *was, *is;
} flip_changes;

/* Events of all steps by the entry they are of: entry p has events event_ptr[p] … event_ptr[p+1]-1.
 */
typedef struct flip_pair_events {
    int64_t n;
    const uint64_t *key;      /* [n] ascending */
    const int64_t *event_ptr; /* [n + 1] */
    const int32_t *step;      /* [events] ascending in a pair */
    const flip_real *weight;  /* [events] or NULL = 1 */
} flip_pair_events;

/* The value of an entry that is not there: a NaN that no sum makes. */
static inline flip_real flip_absent(void) {
    flip_real x;
#ifdef FLIP_REAL_DOUBLE
    const uint64_t bits = 0x7ffca5a5a5a5a5a5;
#else
    const uint32_t bits = 0x7fe5a5a5;
#endif
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline bool flip_same_bits(flip_real a, flip_real b) {
    return memcmp(&a, &b, sizeof a) == 0;
}
static inline bool flip_is_absent(flip_real x) {
    return flip_same_bits(x, flip_absent());
}

/* Bytes of `work` for a snapshot of n entries and so many changes (find_changes: of both snapshots'
 * entries). */
static inline size_t flip_changes_work(int64_t n, int64_t changes) {
    return 16 * (size_t)(changes + 64) + (size_t)n / 64 + 4096;
}

/* What snapshots hold, from one step to the last of a block: one of them, and what leads from each
 * to the next. */
typedef struct flip_block_entries {
    int32_t n_rows, n_steps;
    int32_t stay;                /* an entry stays so many steps more, as 0: a window's, less one */
    int32_t before;              /* the first steps are there for the window alone; <= stay */
    bool levels;                 /* values are whole numbers, each of whose ones is an entry: the
                                    k-th lives where the value is k or more; stay is 0 */
    int place_bits;              /* of the places in keys */
    const int32_t *order;        /* column at each place */
    const int32_t *own_place;    /* [n_rows] the place of the row's own column, which is an entry of
                                    all steps, 0 where no snapshot has it (levels: which, behind
                                    its others, is an entry where none has it); NULL: of none */
    flip_entries now;            /* any one of the snapshots */
    const flip_changes *changes; /* [n_steps - 1] from step t to t + 1: read at the call */
} flip_block_entries;

/* Mentions of entries: their rows' own columns, what a snapshot has, changes. */
static inline int64_t flip_mentions_of(const flip_block_entries *b) {
    int64_t n = b->now.n + (b->own_place ? b->n_rows : 0);
    for (int32_t t = 0; t + 1 < b->n_steps; t++)
        n += b->changes[t].n;
    return n;
}

/* The arrays of a flip_csr of several steps, to be written, and rows of entries. */
typedef struct flip_csr_arrays {
    int64_t *row_ptr;
    int32_t *col, *run_first;
    uint32_t *run_ptr, *value_ptr;
    flip_real *value;
    int32_t *row; /* [n_entries] of each entry, or NULL */
} flip_csr_arrays;

/* How the values of runs are scaled. */
typedef enum flip_run_scale {
    FLIP_RUNS_PLAIN,     /* as they are */
    FLIP_RUNS_SYMMETRIC, /* 1 more in a row's own column; times 1 / sqrt(1 + sum) of the row and of
                            the column's row, sums without that 1 */
    FLIP_RUNS_INOUT,     /* likewise, but of the column's own sum */
    FLIP_RUNS_MEAN       /* divided by the row's sum; 0 where that is 0 */
} flip_run_scale;

/* Scaled, values may be averaged: that of step t is the sum of the entry's at steps t-window+1 … t
 * (none before its run begins), over the steps that there were by then, window at most. The sum is
 * one of multiples of window … t, ascending, and, added to it, one of those before, descending. */
typedef struct flip_run_scaling {
    flip_run_scale how;
    int32_t window;         /* <= 1: none */
    int32_t first, before;  /* the timeline's number of the matrix's step 0; its first steps, which
                               are left out of what is written */
    int64_t n_runs;         /* of the matrix; without a window not looked at */
    const flip_csr *turned; /* INOUT: the transpose, rows in their own order, which columns are
                               summed in */
} flip_run_scaling;

/* Bytes of `work` for a matrix that so many mentions, or entries, tell of. */
static inline size_t flip_runs_work(int64_t mentions, int32_t n_rows, int32_t n_steps) {
    const size_t n = (size_t)mentions + 64, rows = (size_t)n_rows, steps = (size_t)n_steps;
    const size_t sorting = n * (28 + 2 * sizeof(flip_real)) + n / 256 + 16 * rows + 32 * steps;
    const size_t scaling = 2 * rows * steps * sizeof(flip_real) + n / 256 + 8 * steps;
    return 4096 + (sorting > scaling ? sorting : scaling);
}

/* Columns of sum_entries' table: one of 16 x 256 entries is half a megabyte. */
enum { FLIP_TABLE_COLUMNS = 32 };

/* An LSTM over several steps of some rows, products and cells in one pass. What a step multiplies,
 * [x, x2, h before], is read where it lies. Row i at step t of a block stands at
 * at + i * row + t * step. */
typedef struct flip_lstm_block {
    flip_real *at; /* NULL: absent */
    int64_t row, step;
} flip_lstm_block;

typedef struct flip_lstm_rows {
    int64_t m, steps, hidden;
    int64_t dim[2]; /* columns of x and x2, 0 where one is absent */
    flip_lstm_block x[2];
    const flip_real *packed;  /* the weights, by `pack` */
    const flip_real *bias;    /* [4 hidden] or NULL … */
    int64_t bias_step;        /* … 0, or from row to row of a bias [m, 4 hidden] */
    flip_lstm_block h_before; /* [m, hidden] before the first step; absent = 0 */
    flip_lstm_block c_before; /* likewise */
    flip_lstm_block y;        /* [m, steps, hidden] out: h of every step */
    flip_lstm_block c;        /* likewise; with step = 0 the last alone */
    flip_lstm_block gates;    /* [m, steps, 4 hidden] out: activated [i f g o], or absent */
    bool stream;              /* gates are read only much later: past the caches */
    flip_real *work;          /* [work_values] */
} flip_lstm_rows;

/* A step of the walk back: the gates' gradients dG, and dh = dG Wh^T for the step before. gates and
 * c as of lstm_backward below, but nothing of them is overwritten, and the gradient of h comes in
 * two parts. */
typedef struct flip_lstm_cells {
    int64_t m, hidden;
    const flip_real *back;         /* Wh, by `pack_back` */
    flip_lstm_block gates, dgates; /* [m, 4 hidden] in, out; gates row behind row */
    flip_lstm_block c_before, c;   /* c_before absent = 0 */
    flip_lstm_block dy;            /* [m, hidden] of h, from this step's readers */
    flip_real *dh, *dc; /* [m, hidden] of h and c: in from the next step, out for the one before */
    flip_real *sum;     /* [m, 4 hidden] += dgates, or NULL */
    flip_lstm_block soon; /* [m, hidden] that the caller reads next, or absent */
    bool more;       /* the step before stands one `step` before in every block: asked for early */
    flip_real *work; /* [work_values] */
} flip_lstm_cells;

typedef struct flip_lstm_kernels {
    /* Values of the packed weights, of the walk back's, and of a thread's work. */
    int64_t (*packed_values)(const int64_t dim[2], int64_t hidden);
    int64_t (*packed_back_values)(int64_t hidden);
    int64_t (*work_values)(const int64_t dim[2], int64_t hidden);
    /* weight [dim[0] + dim[1] + hidden, 4 hidden]: Wx over Wh */
    void (*pack)(const int64_t dim[2], int64_t hidden, const flip_real *weight, flip_real *packed);
    /* Wh^T [4 hidden, hidden], its rows `row` values apart */
    void (*pack_back)(int64_t hidden, const flip_real *turned, int64_t row, flip_real *packed);
    /* On the calling thread alone: callers share out rows. Sums run over the columns upwards. */
    void (*forward)(const flip_lstm_rows *rows);
    void (*backward)(const flip_lstm_cells *cells);
} flip_lstm_kernels;

/* ---- sampled batches (sample.h, which says what is drawn) ---- */

/* Rows that draw of their entries, of which a sampler's rows have col[row_ptr[v]] …; columns are
 * rows, and behind them others'. */
typedef struct flip_draws {
    int32_t n;             /* rows that draw */
    const int32_t *row;    /* [n] */
    const int32_t *before; /* [n] or NULL: entries of earlier steps alone … */
    int32_t life;          /* … of the last so many; 0 = all */
    const int64_t *row_ptr;
    const int32_t *col, *step; /* step: ascending in a row; NULL without `before` */
    const flip_real *weight;   /* or NULL = 1 */
    const double *weight_sums; /* by weight again: of a row's weights before each; else NULL */
    const int64_t *original;   /* of columns */
    int original_bits;         /* they are below 2^this; a device's draws of steps need it */
    const flip_real *factor, *factor_v; /* of columns and of rows: what values are made of, and a
                                           row's own entry is always drawn; NULL = no values */
    const uint8_t *looped; /* of rows: its own entry is drawn too where it is no candidate; NULL:
                              never */
    const float *chance;   /* of columns, shared by all rows: LABOR; else NULL */
    int64_t n_entries;     /* most candidates of the n rows together: a device's, where there are
                              chances or weights */
    bool replace, by_weight, recent;
    bool sums;           /* scales of sums; else of means */
    int32_t fanout;      /* -1 = all */
    uint64_t seed, draw; /* flip_random stream SAMPLE: a = draw, b = original id */
} flip_draws;

/* What they draw: row i's entries are first[i] … first[i+1]-1. */
typedef struct flip_drawn {
    const int64_t *first; /* [n + 1] */
    int32_t *col;         /* [first[n]] */
    flip_real *value;     /* [first[n]], or NULL without factors */
    flip_real *scale;     /* [n] times the entries' values, or NULL */
    double *key;          /* room for `fanout` a thread where draws are by weight; else NULL */
    int64_t most;         /* a device: entries that there is room for … */
    void *work;           /* … and work for as many; where there are steps */
} flip_drawn;

/* Columns as they come: slot[u] is the number of u, or FLIP_NO_SLOT. u is a node, or, of a
 * timeline, node * steps + step. */
enum { FLIP_NO_SLOT = INT32_MAX };
typedef struct flip_numbering {
    int32_t *slot;           /* of all columns */
    int32_t steps;           /* 0: columns are nodes */
    const int64_t *original; /* of nodes */
    int32_t *row;            /* by number: u, … */
    int64_t *key;            /* … original of its node, … */
    int32_t *node, *step;    /* … its node and its step; NULL without steps */
} flip_numbering;

/* Where a node's row at step t is: start[t] + node * width[t]. */
typedef struct flip_step_rows {
    int32_t steps;
    const int32_t *start, *width; /* [steps] */
} flip_step_rows;

/* Bytes of `work` for so many rows or entries. */
static inline size_t flip_draws_work(int64_t n) {
    return 21 * (size_t)n + (64 << 10);
}
/* Where every candidate is looked at, a device takes them in pieces of so many, each of one row, a
 * warp each: a row of a million keeps many warps busy, and none waits for another. */
static inline int32_t flip_draws_piece(int32_t fanout) {
    const int32_t wide = fanout > 1 << 25 ? fanout : 1 << 25; /* a whole piece has a whole draw */
    return fanout > 1 << 20 ? wide : fanout > 64 ? 32 * fanout : 2048;
}
/* Most pieces of n rows with n_entries candidates: rows that draw all of theirs have none. */
static inline int64_t flip_draws_pieces(int64_t n, int64_t n_entries, int32_t fanout) {
    const int64_t rows = n_entries / ((int64_t)fanout + 1);
    return (rows < n ? rows : n) + n_entries / flip_draws_piece(fanout);
}
/* Bytes of `work` for rows that draw; by weight each piece has the first of its own. */
static inline size_t flip_draws_room(int64_t n, int64_t n_entries, int32_t fanout, bool by_weight) {
    const int64_t pieces = fanout < 0 ? 0 : flip_draws_pieces(n, n_entries, fanout);
    const size_t first = by_weight && fanout > 0 ? (size_t)fanout * (sizeof(double) + 4) : 0;
    return flip_draws_work(n + pieces) + (size_t)pieces * first;
}

#ifdef __cplusplus
}
#endif
#endif
