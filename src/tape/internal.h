/* Inside the tape: variables, records, the operator table's row, and what operators call.
 *
 * Life of a value: an operator's forward makes it (tape_output); `saved_by` counts the records
 * whose backward reads it; it goes back to the pool when that count is 0 and either the caller
 * released it or the backward walk has passed its own record. Life of a gradient: the first
 * consumer that walks back makes it (tape_gradient), later ones add, the producer's backward is the
 * last to read it. */
#ifndef FLIP_TAPE_INTERNAL_H
#define FLIP_TAPE_INTERNAL_H

#include <flipbook/tape.h>

/* ---- pool.c: memory that comes back in any order ---- */
typedef struct pool pool;
flip_status pool_create(pool **p, const char *name, const flip_kernels *kernels);
void pool_destroy(pool **p);
/* In the kernels' memory, 64-byte aligned (256 on a device), not cleared. */
flip_status pool_alloc(pool *p, void *out_pointer, size_t bytes);
void pool_free(pool *p, void *memory);               /* NULL is fine */
size_t pool_size(const pool *p, const void *memory); /* of an allocation; NULL: 0 */
void pool_reset(pool *p);                            /* everything is free */
size_t pool_peak(const pool *p);
void pool_trim(pool *p); /* what is free goes back to the system */

/* ---- reach.c: the host's arrays where the kernels reach them ---- */
typedef struct reach reach;
flip_status reach_create(reach **r);
void reach_destroy(reach **r, const flip_kernels *kernels);
void reach_reset(reach *r);
/* A host array as the kernels read it: itself, or its copy on the device, made at the first call
 * and kept until the tape is reset or it is let go: the host may not write it meanwhile. Host code
 * never reads what comes back. NULL stays NULL. */
flip_status tape_reach(flip_tape *tape, const void *host, size_t bytes, const void *out_pointer);
/* The same for all arrays of a matrix. */
flip_status tape_csr(flip_tape *tape, const flip_csr *a, flip_csr *out);
/* … for to_transposed [entries]. */
flip_status tape_turned(flip_tape *tape, const flip_adjacency *g, const int64_t **out);
/* A packing whose tables the kernels reach; it lasts as its tables do. */
flip_status tape_packing(flip_tape *tape, const flip_packing *packing, const flip_packing **out);
/* Values as host code reads them: themselves, or received, until the next call. NULL where the
 * device failed, which the tape's status tells. */
const flip_real *reach_host(flip_tape *tape, const flip_real *value, size_t bytes);

/* ---- the tape ---- */
typedef enum op {
    OP_LINEAR,
    OP_LINEAR2,
    OP_AGGREGATE,
    OP_LINEAR_AGGREGATE,
    OP_AGGREGATE_EDGES,
    OP_MAX_POOL,
    OP_ATTENTION,
    OP_HEAD_MEAN,
    OP_BIAS,
    OP_ELU,
    OP_MASK,
    OP_ADD,
    OP_SCALED_ADD,
    OP_CONCAT,
    OP_FIRST_ROWS,
    OP_LAYER_NORM,
    OP_BATCH_NORM,
    OP_L2_NORMALISE,
    OP_BAND,
    OP_LSTM,
    OP_LSTM_MOVED,
    OP_GRU,
    OP_GRU_MOVED,
    OP_MATRIX_LSTM,
    OP_MATRIX_GRU,
    OP_TOPK_SUMMARY,
    OP_LINEAR_STEPS,
    OP_GATHER_PAIRS,
    OP_PAIR_DOT,
    OP_CROSS_ENTROPY,
    OP_BINARY_CROSS_ENTROPY,
    OP_SQUARED_ERROR,
    OP_INNER,
    OP_COUNT
} op;

typedef struct variable {
    int32_t rows, steps, dim;
    flip_real *value;    /* [rows, steps, dim]; NULL when given back or taken over */
    flip_real *gradient; /* the same shape, or NULL */
    bool input;          /* value is borrowed from the caller and never written */
    bool needs_gradient, released, kept;
    int32_t constant;       /* of inputs: the first columns, the same at every step of a row */
    int32_t saved_by;       /* records whose backward still reads the value */
    int32_t readers;        /* places whose gradient has not come yet */
    flip_packed_rows coded; /* of inputs: rows that are decoded when they are read; value is NULL */
    int32_t producer;       /* record that made it; -1 for inputs */
    double scalar;          /* of a loss */
    uint8_t *packed;        /* the value in few bits, while `value` is NULL; pool memory */
} variable;

enum { MAX_INPUTS = 2, MAX_PARAMS = 4, MAX_SAVED = 6 };

typedef struct record {
    op op;
    flip_var in[MAX_INPUTS]; /* FLIP_VAR_NONE from the first that is absent on */
    flip_var out;
    flip_param param[MAX_PARAMS];
    flip_act act;
    uint8_t *bits; /* [rows * steps, (dim + 7) / 8] of act's relu, pool memory */
    uint64_t draw; /* of act's dropout, or the operator's own */
    const flip_adjacency *adjacency;
    const flip_pairs *pairs;
    flip_labels labels;
    const flip_real *real; /* borrowed numbers: targets, weights */
    const uint8_t *mask;
    double number[3];
    int32_t count; /* heads, window */
    bool recorded; /* backward will come */
    bool masked;   /* the last reader has applied act's bits to the gradient already */
    int32_t slot;  /* in the carry, of operators that carry */
    void *saved[MAX_SAVED];
    uint8_t read_later; /* bits of in[] still counted in saved_by */
} record;

enum { SAVES_IN0 = 1, SAVES_IN1 = 2, SAVES_OUT = 4 };
enum { DECODES_IN0 = 1, DECODES_IN1 = 2, DECODES_ON_HOST = 4 };

typedef struct shape {
    int32_t rows, steps, dim;
} shape;

/* A row of the operator table. */
typedef struct operator_row {
    const char *name;
    flip_stage stage;
    int inputs;      /* how many variables it needs */
    uint8_t saves;   /* whose values backward reads */
    bool acts;       /* forward applies record.act itself */
    uint8_t decodes; /* which inputs may be packed rows; on the host alone? */
    bool carries;    /* has a state that goes from block to block */
    flip_status (*shape)(const flip_tape *tape, const record *r, shape *out);
    flip_status (*forward)(flip_tape *tape, record *r);
    flip_status (*backward)(flip_tape *tape, record *r);
} operator_row;

extern const operator_row op_linear, op_linear2, op_aggregate, op_linear_aggregate,
    op_aggregate_edges, op_max_pool, op_attention, op_head_mean, op_bias, op_elu, op_mask, op_add,
    op_scaled_add, op_concat, op_first_rows, op_layer_norm, op_batch_norm, op_l2_normalise, op_band,
    op_lstm, op_lstm_moved, op_gru, op_gru_moved, op_matrix_lstm, op_matrix_gru, op_topk_summary,
    op_linear_steps, op_gather_pairs, op_pair_dot, op_cross_entropy, op_binary_cross_entropy,
    op_squared_error, op_inner;

/* ---- mirror.c: values that ranks exchange ---- */
typedef struct mirrors mirrors;
/* Values where the kernels have them, and where exchanges do: the same on a CPU, and with NCCL. */
typedef struct mirror {
    flip_real *values, *host;
} mirror;

flip_status mirrors_create(mirrors **all, const flip_kernels *kernels);
void mirrors_destroy(mirrors **all);
/* Of n values (NULL: of none), until it is closed; nothing is copied. */
flip_status mirror_open(flip_tape *tape, mirror *m, const flip_real *values, size_t n);
void mirror_close(flip_tape *tape, mirror *m); /* no message reads or writes it any more */
/* Values first … first+n-1 of the device to the host, there on return; and back. */
void mirror_receive(const flip_tape *tape, const mirror *m, size_t first, size_t n);
void mirror_send(const flip_tape *tape, const mirror *m, size_t first, size_t n);

struct flip_tape {
    flip_comm *comm;
    flip_meter *meter;
    flip_params *params;
    const flip_kernels *kernels;
    void (*gemm_nn)(int64_t, int64_t, int64_t, const flip_real *, int64_t, const flip_real *,
                    int64_t, flip_real *, int64_t, const flip_epilogue *);
    void (*gemm_nt)(int64_t, int64_t, int64_t, const flip_real *, int64_t, const flip_real *,
                    int64_t, flip_real *, int64_t, const flip_epilogue *);
    void (*gemm_tn)(int64_t, int64_t, int64_t, const flip_real *, int64_t, const flip_real *,
                    int64_t, double *, int64_t);
    uint64_t seed;
    size_t product_size;      /* bytes of a product's operand value */
    const int64_t *given_key; /* [n_own] or NULL */
    int64_t *key;             /* [key_rows, key_steps]: given_key * timeline + key_first + step */
    int32_t n_own, key_rows, key_steps, key_first;
    const int64_t *batch_key; /* [n_batch] of a batch's rows, or NULL */
    int32_t n_batch;
    bool training, recording; /* recording: backward will come */
    bool bf16;                /* products of operands in bfloat16 */
    bool recompute;           /* what backward can make anew is not kept */
    int32_t saved_bits;       /* of a value that waits for backward; 0 = as it is */
    size_t saved_bytes;       /* most that has waited for a backward walk since create */
    int64_t epoch;
    flip_layout *layout; /* or NULL; and block of it */
    flip_carry *carry;   /* or NULL */
    int32_t block, n_slots;
    uint64_t n_draws; /* dropouts since reset */
    flip_var loss;    /* where the walk back under way began */
    bool late;        /* the host does not read the loss while the pass runs (op_loss.c) */
    double *late_sums, late_scale; /* [2] the kernels' memory: it is the first times late_scale */
    double late_bottom;            /* the weights' sum that late_scale took for its own */
    double bottom;                 /* that of the last loss that was read at once */
    flip_status status;
    pool *pool;
    reach *reach;
    mirrors *mirrors;
    variable *vars;
    int32_t n_vars, max_vars;
    record *records;
    int32_t n_records, max_records;
};

/* ---- packed_rows.c ---- */
/* Row i of rows first … first+n-1 has row at[row_ptr[i]] of the second level's codes, or none where
 * row_ptr[i + 1] is the same; row_ptr [n + 1], at [n] out. */
void tape_second_rows(const flip_packed_rows *rows, int64_t first, int64_t n, int64_t *row_ptr,
                      int32_t *at);

/* ---- variables.c ---- */
flip_status tape_add_variable(flip_tape *tape, variable v, flip_var *out);
static inline bool tape_has(const flip_tape *tape, flip_var x) {
    return x >= 0 && x < tape->n_vars;
}
/* Its value goes back to the pool where nobody will read it. */
void tape_free_value(flip_tape *tape, variable *v);
/* A value that waits in few bits is there as numbers. */
flip_status tape_unpack(flip_tape *tape, variable *v);

/* ---- what operators call ---- */

/* A record with no inputs, parameters or act. */
record tape_record(op op);
/* Appends r, runs its forward and returns its output. */
flip_var tape_apply(flip_tape *tape, record *r);

static inline variable *tape_in(const flip_tape *tape, const record *r, int i) {
    return &tape->vars[r->in[i]];
}
static inline variable *tape_out(const flip_tape *tape, const record *r) {
    return &tape->vars[r->out];
}
static inline int64_t rows_of(const variable *v) {
    return (int64_t)v->rows * v->steps;
}
static inline int64_t size_of(const variable *v) {
    return rows_of(v) * v->dim;
}

/* Memory for the output's value; from >= 0: input `from`'s memory and contents where nobody else
 * reads them, else a copy of them. */
flip_status tape_output(flip_tape *tape, record *r, int from);
/* Pool memory that lives until r's backward is done. */
flip_status tape_save(flip_tape *tape, record *r, int slot, size_t bytes);

/* Where the gradient of input i goes. Every backward asks once for each of its inputs. */
typedef struct target {
    flip_real *gradient; /* NULL: it needs none */
    bool accumulate;     /* add to what is there; else write all of it */
    bool last;           /* no other reader's share is missing */
} target;
flip_status tape_gradient(flip_tape *tape, record *r, int i, target *to);
/* The same; in the memory of the input's value where only r's backward still reads it (and writes
 * no gradient before it has read the value). */
flip_status tape_gradient_in_place(flip_tape *tape, record *r, int i, target *to);
/* `from` (pool memory of input i's size) becomes, or is added to, its gradient. */
flip_status tape_give_gradient(flip_tape *tape, record *r, int i, flip_real *from);
/* The output's gradient becomes (or is added to) input i's, unchanged. */
flip_status tape_pass_gradient(flip_tape *tape, record *r, int i);
/* Backward will not read input i any more: its memory may serve the gradient. */
void tape_done_with(flip_tape *tape, record *r, int i);
/* y += x, both of x's shape. */
void tape_add(flip_tape *tape, const variable *shape, flip_real *y, const flip_real *x);
/* Input i's gradient (+)= from, of the first m rows of n, `from`'s rows ld apart. */
flip_status tape_copy_gradient(flip_tape *tape, record *r, int i, int64_t m, int64_t n,
                               const flip_real *from, int64_t ld);
/* The gradient of a loss. */
double tape_slope(const flip_tape *tape, const record *r);
/* What a product multiplies with: the weight transform's place. */
const flip_real *tape_weight(const flip_tape *tape, flip_param p);
double *tape_weight_gradient(const flip_tape *tape, flip_param p);

/* values [n] of the kernels' memory, and *more where it is not NULL, summed over comm's ranks:
 * through the host. Collective. */
flip_status tape_sum_ranks(flip_tape *tape, flip_comm *comm, double *values, size_t n,
                           double *more);

/* Dropout's keys of rows [rows * steps]; tape's own. */
flip_status tape_keys(flip_tape *tape, int32_t rows, int32_t steps, const int64_t **key);
uint64_t tape_draw(flip_tape *tape);
/* The epilogue of r's act on its output, for gemm_nn: makes r->bits when backward will come. */
flip_status tape_epilogue(flip_tape *tape, record *r, flip_epilogue *epilogue);

/* r's act on its output in place, after adding bias (or NULL): an operator that acts calls it. */
flip_status tape_act_in_place(flip_tape *tape, record *r, const flip_real *bias);

/* Of a pass without backward nothing that r saved stays. */
void tape_drop_saved(flip_tape *tape, record *r);

/* ---- carry.c: states that go from block to block ---- */
/* In forward, once: the operator's slot, for n values at each end of a block (the same in every
 * block on this rank). */
flip_status tape_carry(flip_tape *tape, record *r, size_t n);
/* The state at the block's beginning; NULL = there is none. */
const flip_real *tape_carry_state(const flip_tape *tape, const record *r);
/* Where forward leaves the state at the block's end; NULL: nobody wants it, or it is known. */
flip_real *tape_carry_next(flip_tape *tape, const record *r);
/* In backward: the gradient of the state at the block's end; NULL = none. */
const flip_real *tape_carry_gradient(const flip_tape *tape, const record *r);
/* Where backward writes the gradient of the state at the block's beginning (all of it; it may be
 * the memory of the one at the end, read before); NULL: there was no such state. */
flip_real *tape_carry_give(flip_tape *tape, const record *r);
/* The mirror of a whole state of the slot that goes round to the block's other end (forward), or of
 * its gradient: the message may be on its way until the next block's. Not to be closed. */
flip_status tape_carry_mirror(flip_tape *tape, const record *r, bool forward, flip_real *state,
                              mirror *m);
bool tape_carry_last(const flip_tape *tape); /* the timeline ends with this block */

/* ---- the block of the timeline: its steps on all ranks, of which own ones stand `offset` in ----
 */
static inline int32_t tape_block_steps(const flip_tape *tape, int32_t own) {
    const flip_layout *l = tape->layout;
    return l ? l->block_first[tape->block + 1] - l->block_first[tape->block] : own;
}
static inline int32_t tape_block_offset(const flip_tape *tape) {
    const flip_layout *l = tape->layout;
    return l ? flip_layout_first(l, tape->block) - l->block_first[tape->block] : 0;
}
/* Ranks with my steps; all ranks. */
static inline flip_comm *tape_space(const flip_tape *tape) {
    return tape->layout ? tape->layout->space : tape->comm;
}
static inline flip_comm *tape_world(const flip_tape *tape) {
    return tape->layout ? tape->layout->world : tape->comm;
}

/* ---- products, for operators that multiply (op_dense.c) ---- */
/* Weight r->param[i] fits an input of so many columns; *out: its own. Checks the bias param[2]. */
flip_status tape_weight_shape(const flip_tape *tape, const record *r, int i, int32_t columns,
                              int32_t *out);
/* y[m,n] = epilogue(x[m,k] w) */
void tape_product(flip_tape *tape, int64_t m, int64_t n, int64_t k, const flip_real *x,
                  flip_param w, flip_real *y, const flip_epilogue *e);
/* w's gradient += x[m,k]^T dy[m,n] */
void tape_product_weight(flip_tape *tape, int64_t m, int64_t n, int64_t k, const flip_real *x,
                         const flip_real *dy, flip_param w);
/* The same two of the first m rows of a variable, whose rows may be packed (op_packed.c). e of
 * packed rows: accumulate and bias alone. */
flip_status tape_multiply(flip_tape *tape, const variable *x, int64_t m, int64_t n, flip_param w,
                          flip_real *y, const flip_epilogue *e);
flip_status tape_multiply_weight(flip_tape *tape, const variable *x, int64_t m, int64_t n,
                                 const flip_real *dy, flip_param w);
/* out [m, n, dim]: rows first … first+m-1 at steps begin … begin+n-1, decoded (packed_rows.c). On
 * the host; for threads, too. */
flip_status tape_decode_steps(const flip_packed_rows *rows, const flip_kernels *kernels,
                              int64_t first, int64_t m, int64_t begin, int64_t n, flip_real *out);
/* Gradient of input i: dy w^T (+ dy2 w2^T; dy2 may be NULL, and has the output's rows, which may be
 * only the first of the input's), masked by the ReLU and dropout that
 * made the input when no other share is missing. */
flip_status tape_product_input(flip_tape *tape, record *r, int i, const flip_real *dy, flip_param w,
                               const flip_real *dy2, flip_param w2);
/* The ReLU and dropout that made input i, for whoever writes the last share `to` of its gradient:
 * their bits (NULL: none) and scale. The gradient must be masked by them. */
void tape_producer_mask(flip_tape *tape, const record *r, int i, const target *to,
                        const uint8_t **bits, flip_real *scale);
/* b's gradient += sums of the columns of the output's gradient; b may be FLIP_PARAM_NONE. */
flip_status tape_bias_gradient(flip_tape *tape, const record *r, flip_param b);

flip_status shape_same(const flip_tape *tape, const record *r, shape *out);  /* as input 0 */
flip_status shape_equal(const flip_tape *tape, const record *r, shape *out); /* both inputs alike */
void tape_traffic(flip_tape *tape, flip_stage stage, uint64_t bytes, uint64_t flops);

#endif
