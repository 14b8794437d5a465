/* Flipbook: tape — operators record, backward walks back.
 *
 * A variable is a block [rows, steps, dim], row-major; steps = 1 is the static case. An operator is
 * one row of a table: shape rule, forward, backward. Calling it appends a record:
 *
 *     x [n, t, d] ──linear──▶ y [n, t, k] ──aggregate──▶ z [n, t, k] ──cross entropy──▶ loss [1]
 *          ◀── dX = dY W^T ──      ◀── dY = A^T dZ ──        ◀── softmax - one-hot ──
 *
 * Parameters live in one slab, their gradients in another (double), names and offsets in a table.
 * An operator that fails makes the tape sticky-failed: later operators return FLIP_VAR_NONE at once
 * and flip_tape_status tells, so models read like equations.
 *
 * Memory: values live in one pool. What an operator's backward does not read is not kept: sums and
 * means keep nothing, ReLU one bit, dropout its seed. The backward walk gives values and gradients
 * back as it passes, so its peak stays near forward's.
 *
 * Every operator that takes a flip_adjacency or flip_pairs is collective over the tape's ranks; so
 * are losses and batch norm. The others are local.
 */
#ifndef FLIPBOOK_TAPE_H
#define FLIPBOOK_TAPE_H

#include <flipbook/layout.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parameters ---- */
typedef struct flip_params flip_params;
typedef int32_t flip_param;
#define FLIP_PARAM_NONE (-1)
typedef enum flip_init {
    FLIP_INIT_ZERO,
    FLIP_INIT_ONE,
    FLIP_INIT_GLOROT,        /* uniform within sqrt(6 / (rows + cols)) */
    FLIP_INIT_UNIFORM_FAN_IN /* uniform within 1 / sqrt(rows) */
} flip_init;

flip_status flip_params_create(flip_params **params);
void flip_params_destroy(flip_params **params);
/* Before flip_params_finish. Shape [rows, cols]; a vector has rows = 1. Failing (memory, a name
 * taken twice) gives FLIP_PARAM_NONE and makes flip_params_finish fail. */
flip_param flip_params_add(flip_params *params, const char *name, int32_t rows, int32_t cols,
                           flip_init init);
/* State that is kept and checkpointed like a parameter but never optimised (running statistics).
 * It stands behind the parameters in the slab. */
flip_param flip_params_add_state(flip_params *params, const char *name, int32_t rows, int32_t cols,
                                 flip_init init);
/* Allocates the slabs and draws: element i of parameter p depends on (seed, p, i) alone. */
flip_status flip_params_finish(flip_params *params, uint64_t seed);
int32_t flip_params_count(const flip_params *params);
int64_t flip_params_size(const flip_params *params);      /* values in the slab, state included */
int64_t flip_params_trainable(const flip_params *params); /* the first so many are optimised */
/* The slabs [size] for host code, to read and write until the parameters are next used: where they
 * lie on a device, they are received by this call and sent back at that use. */
flip_real *flip_params_values(flip_params *params);
double *flip_params_gradients(flip_params *params); /* double */
/* After finish: values and gradients lie in these kernels' memory from now on; the slabs there, for
 * kernels to read and write. */
flip_status flip_params_place(flip_params *params, const flip_kernels *kernels);
const flip_kernels *flip_params_kernels(const flip_params *params);
flip_real *flip_params_placed_values(flip_params *params);
double *flip_params_placed_gradients(flip_params *params);
void flip_params_clear_gradients(flip_params *params);
const char *flip_params_name(const flip_params *params, flip_param p);
void flip_params_shape(const flip_params *params, flip_param p, int32_t *rows, int32_t *cols,
                       int64_t *offset);
flip_param flip_params_find(const flip_params *params, const char *name); /* or FLIP_PARAM_NONE */
/* Local gradients -> global: sums the gradient slab over ranks in double. Collective. */
flip_status flip_params_reduce(flip_params *params, flip_comm *comm);
/* Norm of the gradients, and the factor min(1, max_norm / (norm + 1e-6)) that clips them. */
double flip_params_norm(flip_params *params);
double flip_clip_factor(double norm, double max_norm);
void flip_params_scale_gradients(flip_params *params, double factor);

/* ---- optimisers: one pass over the slab ---- */
typedef enum flip_optimiser_kind {
    FLIP_OPTIMISER_ADAM,  /* weight decay is L2: added to the gradient */
    FLIP_OPTIMISER_ADAMW, /* decoupled: p *= 1 - lr decay */
    FLIP_OPTIMISER_SGD    /* m = momentum m + g;  p -= lr m */
} flip_optimiser_kind;

typedef struct flip_optimiser_params {
    flip_optimiser_kind kind;
    double lr, beta1, beta2, epsilon, weight_decay, momentum;
    double clip; /* global gradient norm above which gradients are scaled; 0 = off */
} flip_optimiser_params;
#define FLIP_OPTIMISER_DEFAULTS                                                                    \
    { .kind = FLIP_OPTIMISER_ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8 }

typedef struct flip_optimiser flip_optimiser;
/* params: borrowed, finished. */
flip_status flip_optimiser_create(flip_optimiser **optimiser, flip_params *params,
                                  const flip_optimiser_params *settings);
void flip_optimiser_destroy(flip_optimiser **optimiser);
/* Gradients must be global (flip_params_reduce). Local; the same bits on every rank. */
flip_status flip_optimiser_step(flip_optimiser *optimiser);
/* What a step that is repeated begins with: parameters and moments are where the kernels read them,
 * and *step is Adam's next one without clipping (of SGD nothing differs from step to step). */
flip_status flip_optimiser_next(flip_optimiser *optimiser, flip_adam_step *step);
double flip_optimiser_norm(const flip_optimiser *optimiser); /* gradient norm of the last step when
                                                                clip is on, else 0 */
/* For checkpoints: the moments as one slab, and the number of steps taken. */
flip_real *flip_optimiser_moments(flip_optimiser *optimiser, int64_t *n);
int64_t flip_optimiser_steps(const flip_optimiser *optimiser);
void flip_optimiser_set_steps(flip_optimiser *optimiser, int64_t steps);

/* ---- tape ---- */
typedef struct flip_tape flip_tape;
typedef int32_t flip_var;
#define FLIP_VAR_NONE (-1)

/* What happens to a tensor that backward will read. */
typedef enum flip_saved {
    FLIP_SAVED_KEEP,
    FLIP_SAVED_RECOMPUTE, /* recurrent layers make their gates anew: one product more */
    /* Lossy (ActNN, ICML'21): what the caller releases and backward will read waits in groups of
     * 256 values, 2, 4 or 8 bits a value, stochastically rounded; the gates of recurrent layers are
     * made anew. Bits of ReLU stay exact. */
    FLIP_SAVED_2BIT,
    FLIP_SAVED_4BIT,
    FLIP_SAVED_8BIT,
    FLIP_SAVED_HOST /* refused so far */
} flip_saved;
/* What a layer multiplies with, made of the stored weight. */
typedef enum flip_weights {
    FLIP_WEIGHTS_PLAIN,
    FLIP_WEIGHTS_MASK, /* this and the following are refused so far */
    FLIP_WEIGHTS_FAKE_QUANTISED,
    FLIP_WEIGHTS_LOW_BIT
} flip_weights;

typedef struct flip_tape_params {
    flip_comm *comm;     /* borrowed; NULL = one rank */
    flip_params *params; /* borrowed */
    const int64_t *key;  /* [n_own] original ids: dropout's random keys; NULL = row number */
    int32_t n_own;       /* length of key */
    uint64_t seed;
    bool bf16;                   /* products in bfloat16 */
    const flip_kernels *kernels; /* whose memory holds values and gradients; NULL: this CPU's */
    flip_saved saved;
    flip_weights weights;
} flip_tape_params;

flip_status flip_tape_create(flip_tape **tape, const flip_tape_params *params);
void flip_tape_destroy(flip_tape **tape);
/* Memory that holds no value goes back to the system, until a pass wants it again. */
void flip_tape_trim(flip_tape *tape);
/* Bits of a dropout's number within its epoch; the epoch's stand above them. */
enum { FLIP_EPOCH_DRAWS = 8 };
/* Forget all records, keep memory. training: dropout and batch statistics on; epoch numbers the
 * draws. Without training nothing is kept for backward. */
void flip_tape_reset(flip_tape *tape, bool training, int64_t epoch);

/* ---- blocks of the timeline ----
 * A timeline cut into blocks is walked forward once without records, keeping the recurrent
 * operators' states at the ends of blocks, and back block by block: the block's forward again, with
 * records, then its backward, which hands the states' gradients to the block before.
 *
 *     forward   block 0 ─state─▶ block 1 ─state─▶ block 2 (with records at once)
 *     backward  block 0 ◀─grad.─ block 1 ◀─grad.─ block 2
 *
 * An operator's slot is the number of its call among the carrying operators of a pass, the same in
 * every block. Its state is a run of values: lstm h [n, H] then c [n, H], gru h; band the window-1
 * steps before the block; matrix_lstm W then C, matrix_gru W. The rows n are those of the node
 * layout (redistribute, or one chunk), or of the time layout (wavefront: on chunk 0, at the
 * timeline's end on the last chunk). */
typedef struct flip_carry flip_carry;
/* kernels: in whose memory the states lie, those of the tape; NULL = flip_kernels_get(). */
flip_status flip_carry_create(flip_carry **carry, const flip_kernels *kernels, int32_t n_blocks);
void flip_carry_destroy(flip_carry **carry);
void flip_carry_clear(flip_carry *carry); /* a new pass: nothing carried, no gradients */
/* The same for a pass that begins at this block (a window), whose states begin at 0. */
void flip_carry_clear_at(flip_carry *carry, int32_t block);
/* The states at the beginning of this block: the next forward of the block before leaves them anew.
 */
void flip_carry_forget(flip_carry *carry, int32_t block);
size_t flip_carry_bytes(const flip_carry *carry);
/* The state at the timeline's beginning, before the first block's forward (copied, out of the
 * host's memory); otherwise 0. */
flip_status flip_carry_begin_with(flip_carry *carry, int32_t slot, const flip_real *state,
                                  size_t n);
/* The state at the beginning of a block (n_blocks: at the timeline's end), NULL before it is known;
 * and its gradient once that block was walked back (until the one before is). For the host: from a
 * device the values are received, and stand until the next of these calls. */
const flip_real *flip_carry_state(flip_carry *carry, int32_t slot, int32_t block, size_t *n);
const flip_real *flip_carry_gradient(flip_carry *carry, int32_t slot, int32_t block, size_t *n);
/* After flip_tape_reset: the pass is of block `block` of layout (borrowed; NULL = one block, one
 * rank's time). carry NULL: states begin at 0 and end here. recorded = false: nothing is kept for
 * backward, though dropout and batch statistics are those of training (running statistics are left
 * alone). Recurrent operators read their state at the block's beginning from carry and leave it
 * there for the next block. Dropout's keys are original id * timeline's steps + step. */
void flip_tape_block(flip_tape *tape, flip_layout *layout, flip_carry *carry, int32_t block,
                     bool recorded);
/* The states that this pass's operators so far have read at the block's beginning are asked for no
 * more in any pass, nor, after the last block, the timeline's: their memory is given back. */
void flip_tape_drop_carried(flip_tape *tape);

/* After flip_tape_reset: the pass is of a sampled batch (sample.h), whose rows' original ids are
 * key [n], borrowed: of any layer the first so many. Every rank has rows of its own; there is no
 * layout. */
void flip_tape_batch(flip_tape *tape, const int64_t *key, int32_t n);

flip_status flip_tape_status(const flip_tape *tape);
size_t
flip_tape_peak(const flip_tape *tape); /* bytes of the pool's highest address in use so far */

/* The most bytes that layers had put aside at the beginning of a backward walk so far: values that
 * it reads (not the caller's inputs), ReLU's bits, operators' own; without the loss's. */
size_t flip_tape_saved(const flip_tape *tape);

/* ---- a device ----
 * Host arrays that operators borrow are copied to the device at each pass, or, held, once; a held
 * array may be written only after it was let go, or is held again. On a CPU nothing is done. */
bool flip_tape_on_device(const flip_tape *tape);
flip_status flip_tape_hold(flip_tape *tape, const void *host, size_t bytes);
void flip_tape_let_go(flip_tape *tape, const void *host);
/* What a block reads, one block at a time: its adjacency and, after it, its inputs. backward: the
 * pass that reads them walks back, too. ahead: kernels still work on the block that was let go, and
 * send_ahead follows, which sends meanwhile as much as the last such pass read; a pass asks for the
 * rest. Let go, the host's arrays may be written or given back. NULL: the adjacency is not made
 * yet; it is held, not ahead, after inputs that were sent before it. */
flip_status flip_tape_hold_block(flip_tape *tape, const flip_adjacency *adjacency, bool backward,
                                 bool ahead);
flip_status flip_tape_hold_inputs(flip_tape *tape, const flip_real *values, size_t bytes);
flip_status flip_tape_send_ahead(flip_tape *tape);
void flip_tape_let_block_go(flip_tape *tape);
/* A host array as the kernels read it: itself on a CPU, else its copy on the device. */
flip_status flip_tape_reach(flip_tape *tape, const void *host, size_t bytes, void *out_pointer);
/* After flip_tape_reset: memory of the kernels themselves is given to operators in place of a host
 * array, until the next reset. */
flip_status flip_tape_lend(flip_tape *tape, const void *memory, size_t bytes);
/* Of one step. */
flip_status flip_tape_lend_adjacency(flip_tape *tape, const flip_adjacency *adjacency);

/* data [rows, steps, dim] is borrowed, never copied (but to a device) and never written. */
flip_var flip_tape_input(flip_tape *tape, int32_t rows, int32_t steps, int32_t dim,
                         const flip_real *data, bool needs_gradient);
/* The first `columns` (of its dim at most) of input x are the same at every step of a row, which a
 * recurrent layer that skips to x uses: it multiplies them once. */
void flip_tape_constant(flip_tape *tape, flip_var x, int32_t columns);
/* Packed rows as an input: [rows, steps, packing.dim], which linear maps decode as they read it,
 * some hundred rows at a time, and so do, on the host, linear maps of a weight a step, the skip of
 * recurrent layers and summaries of the best nodes; no other operator takes it, and it has no
 * gradient. Pointers borrowed. Of several steps a row of codes stands for a run of steps of one
 * row, and is decoded and multiplied once for all of them. The second level is added to what some
 * rows or all decode to, of one step. */
typedef struct flip_refinement {
    const flip_packing *packing; /* of the same dim; NULL = nothing is added */
    const uint8_t *codes;        /* [.., packing.stride] */
    const int64_t *key;          /* of rows of these codes, where they are dithered; or NULL */
    const int32_t *at;           /* [rows of the first level's codes] which row of these; -1 = none;
                                    NULL = in order */
    const int64_t *row_ptr; /* [rows + 1], the tape's own on a device: row i's is at[row_ptr[i]], or
                               none where row_ptr[i + 1] is the same. NULL elsewhere */
} flip_refinement;
/* What becomes of decoded rows before anybody reads them: [n, dim] in place, each row by itself.
 * For threads, on the host. */
typedef struct flip_rows_norm flip_rows_norm;
struct flip_rows_norm {
    void (*apply)(const flip_rows_norm *norm, int64_t n, flip_real *rows);
    int32_t dim;
    double *mean, *scale; /* [dim] for whoever wants them */
};
typedef struct flip_packed_rows flip_packed_rows;
struct flip_packed_rows {
    const flip_packing *packing;
    const uint8_t *codes; /* [.., packing.stride]; NULL = there are none */
    const int64_t *key;   /* of rows of codes: original ids, where they are dithered; or NULL */
    const int32_t *index; /* [rows], or [n_runs], which row of codes; NULL = in order */
    int32_t steps;        /* 0 = 1 */
    int64_t n_runs;
    const int64_t *run; /* [n_runs + 1] run k is rows * steps run[k] … run[k + 1] - 1; NULL = each
                           row alone. On the host alone */
    flip_refinement fine;
    const flip_rows_norm *norm;    /* NULL = none; on the host alone */
    const flip_packed_rows *nodes; /* where time is distributed: the same rows in the node layout,
                                      for who works on all steps there; NULL = not there */
};
/* out [n, dim]: rows first … of them. Local. */
flip_status flip_packed_rows_decode(const flip_packed_rows *rows, const flip_kernels *kernels,
                                    int64_t first, int64_t n, flip_real *out);
/* y [a.n_rows, dim] = a times the rows; a of one step, without runs. On the host. Local. */
flip_status flip_packed_rows_sum(const flip_packed_rows *rows, const flip_kernels *kernels,
                                 const flip_csr *a, flip_real *y);
/* So many packed rows as the kernels read them, until the next reset: see flip_tape_reach. */
flip_status flip_tape_reach_packed(flip_tape *tape, int32_t rows, const flip_packed_rows *packed,
                                   flip_packed_rows *out);
flip_var flip_tape_packed_input(flip_tape *tape, int32_t rows, const flip_packed_rows *packed);
bool flip_tape_is_packed(const flip_tape *tape, flip_var x);
void flip_tape_shape(const flip_tape *tape, flip_var x, int32_t *rows, int32_t *steps,
                     int32_t *dim);
/* Until backward passes the variable, or it is released; always for inputs and kept ones. NULL when
 * it is gone. For the host: on a device the values are received, and
 * stand until the next call; NULL where that failed, which the status tells. */
const flip_real *flip_tape_value(flip_tape *tape, flip_var x);
/* After backward, of inputs that need one; NULL if none. */
const flip_real *flip_tape_gradient(flip_tape *tape, flip_var x);
/* The caller will not read or use x again in forward: its memory is free as soon as no backward
 * needs it. */
void flip_tape_release(flip_tape *tape, flip_var x);
/* x's value stays until reset. */
void flip_tape_keep(flip_tape *tape, flip_var x);
/* A loss in double: the global value, the same on every rank. */
double flip_tape_scalar(const flip_tape *tape, flip_var loss);
/* late: the host waits for no loss (flip_tape_scalar is 0) until flip_tape_read_loss, after the
 * pass and before the next reset. For passes over the same items as the last one's, whose weights'
 * sum they take for theirs (the reading checks it), with one loss, on one rank. */
flip_status flip_tape_late_loss(flip_tape *tape, bool late);
flip_status flip_tape_read_loss(flip_tape *tape, double *loss);
/* Walk back from `loss`; FLIP_VAR_NONE: from what the next block handed back alone. Adds into the
 * parameters' gradients of this rank (local sums, not all-reduced). Collective where operators
 * exchange. */
flip_status flip_tape_backward(flip_tape *tape, flip_var loss);

/* ---- operators ---- */
/* Applied to an operator's output before it is stored: relu, then dropout with probability p. */
typedef struct flip_act {
    bool relu;
    double dropout;
} flip_act;
#define FLIP_ACT_NONE ((flip_act){.relu = false})
#define FLIP_ACT_RELU ((flip_act){.relu = true})

/* act(x w + b); b may be FLIP_PARAM_NONE. Like flip_linear2 and flip_linear_aggregate it also
 * takes packed rows. */
flip_var flip_linear(flip_tape *tape, flip_var x, flip_param w, flip_param b, flip_act act);
/* act(x1 w1 + x2 w2 + b) */
flip_var flip_linear2(flip_tape *tape, flip_var x1, flip_param w1, flip_var x2, flip_param w2,
                      flip_param b, flip_act act);
/* act(A x + y + b); y may be FLIP_VAR_NONE, b FLIP_PARAM_NONE. A has one step, or x's. y is
 * consumed: not to be used again. */
flip_var flip_aggregate(flip_tape *tape, const flip_adjacency *adjacency, flip_var x, flip_var y,
                        flip_param b, flip_act act);
/* act(x w_self + A (x w_neigh) + b), for w_neigh with fewer columns than rows; w_self and b may be
 * FLIP_PARAM_NONE */
flip_var flip_linear_aggregate(flip_tape *tape, const flip_adjacency *adjacency, flip_var x,
                               flip_param w_self, flip_param w_neigh, flip_param b, flip_act act);
/* y[v] = Σ w_e x[u] over the entries e = (v, u), weights a variable [entries, 1, 1] */
flip_var flip_aggregate_edges(flip_tape *tape, const flip_adjacency *adjacency, flip_var w,
                              flip_var x);
/* y[v,j] = max over entries (v, u) of x[u,j]; 0 without; A of kind PATTERN */
flip_var flip_max_pool(flip_tape *tape, const flip_adjacency *adjacency, flip_var x);
/* z [n, 1, heads * d], a_src and a_dst [heads, d]; A of kind ATTENTION. Attention weights are
 * dropped with probability `dropout`. */
flip_var flip_attention(flip_tape *tape, const flip_adjacency *adjacency, flip_var z,
                        flip_param a_src, flip_param a_dst, int32_t heads, double dropout);
/* Attention weights [entries, heads] of flip_attention's output, until backward passes it. */
const flip_real *flip_attention_weights(flip_tape *tape, flip_var y);
/* mean over heads: [n, t, heads * d] -> [n, t, d] */
flip_var flip_head_mean(flip_tape *tape, flip_var x, int32_t heads);
flip_var flip_bias(flip_tape *tape, flip_var x, flip_param b, flip_act act);
flip_var flip_activate(flip_tape *tape, flip_var x, flip_act act);
flip_var flip_elu(flip_tape *tape, flip_var x);
/* x * mask / (1 - p) with a given mask [rows * steps * dim] of 0 and 1, borrowed */
flip_var flip_mask(flip_tape *tape, flip_var x, const uint8_t *mask, double p);
flip_var flip_add(flip_tape *tape, flip_var x, flip_var y, flip_act act);
/* (1 + e) x + y, e a parameter [1, 1] */
flip_var flip_scaled_add(flip_tape *tape, flip_param e, flip_var x, flip_var y);
flip_var flip_concat(flip_tape *tape, flip_var x, flip_var y);
/* The first `rows` rows of x: a batch's destinations among its sources. */
flip_var flip_first_rows(flip_tape *tape, flip_var x, int32_t rows);
/* per row: gamma (x - mean) / sqrt(var + eps) + beta, var divides by dim */
flip_var flip_layer_norm(flip_tape *tape, flip_var x, flip_param gamma, flip_param beta, double eps,
                         flip_act act);
/* per column over the rows of all ranks; running mean and variance are states [1, dim] */
flip_var flip_batch_norm(flip_tape *tape, flip_var x, flip_param gamma, flip_param beta,
                         flip_param running_mean, flip_param running_var, double momentum,
                         double eps, flip_act act);
/* x / |x| a row; a row with |x| <= 1e-12 gives 0 */
flip_var flip_l2_normalise(flip_tape *tape, flip_var x);
/* TM-GCN: y_t = Σ_k M[t,k] x_k, M[t,k] = 1 / min(window, t + 1) on the band */
flip_var flip_band(flip_tape *tape, flip_var x, int32_t window);

/* ---- operators along time: x and the result in the time layout of the tape's block ----
 * Their exchange is the layout's; collective over layout->time. State: h (and c) of every node. */
enum {
    FLIP_RECURRENT_CHUNK = 168,       /* most rows that a thread takes through all steps at once */
    FLIP_LSTM_CHUNK = 84,             /* the same where an LSTM goes in one pass */
    FLIP_RECURRENT_GROUP = 512 << 10, /* bytes of the steps of them that it holds, or one step */
    FLIP_RECURRENT_DEVICE_CHUNK = 32 << 10, /* the same two of a GPU */
    FLIP_RECURRENT_DEVICE_GROUP = 256 << 20,
    FLIP_DEVICE_PIECE = 64 << 20 /* least bytes that a tape takes of a device at once */
};
/* [i f g o] = [x, x2] Wx + h Wh + b; c' = sig(f) c + sig(i) tanh(g); h' = sig(o) tanh(c'); y_t =
 * h'. Wx [dim (+ dim2), 4H], Wh [H, 4H], b [1, 4H]; x2 may be FLIP_VAR_NONE (its columns follow
 * x's). */
flip_var flip_lstm(flip_tape *tape, flip_var x, flip_var x2, flip_param wx, flip_param wh,
                   flip_param b);
/* [xr xz xn] = [x, x2] Wx + bx; [hr hz hn] = h Wh + bh; r = sig(xr+hr); z = sig(xz+hz);
 * n = tanh(xn + r hn); h' = (1-z) n + z h; y_t = h'. */
flip_var flip_gru(flip_tape *tape, flip_var x, flip_var x2, flip_param wx, flip_param wh,
                  flip_param bx, flip_param bh);
/* flip_band above: its state are the window-1 steps before the block. */

/* ---- EvolveGCN: weights that evolve (AAAI 2020, section 3) ----
 * Every rank computes the whole chain of a block; a chain is a variable [1, block's steps, F * F'],
 * the same on every rank, its gradient each rank's own share. State: W (and C). */
/* steps: this rank's, which are the block's where the tape has no layout.
 * W[-1] = w0, C[-1] = 0; a_k = Wg[k] W + Ug[k] W + Bg[k], k in (i f g o); as an LSTM cell.
 * wg, ug [4 F, F], bg [4 F, F']. */
flip_var flip_matrix_lstm(flip_tape *tape, int32_t steps, flip_param w0, flip_param wg,
                          flip_param ug, flip_param bg);
/* input [1, block's steps, F * F'] (column-major summary: [F, F']) or FLIP_VAR_NONE: the state
 * itself. R = sig(Wg0 X + Ug0 W + B0); Z = sig(Wg1 X + Ug1 W + B1); C = tanh(Wg2 X + Ug2 (R W) +
 * B2); W' = (1-Z) W + Z C. wg, ug [3 F, F], bg [3 F, F']. */
flip_var flip_matrix_gru(flip_tape *tape, int32_t steps, flip_var input, flip_param w0,
                         flip_param wg, flip_param ug, flip_param bg);
/* Of every step of the block: y = X p / |p| over the nodes of all ranks; the k largest (ties:
 * smaller original id), largest first; S = (X[idx] * tanh(y[idx]))^T as [F, k]. [1, block's steps,
 * F * k] on every rank. p [1, F]. Fewer than k nodes: refused. Collective over the layout's world.
 * A rank tells the other parts its best k of each own step in FLIP_TOPK_BYTES each; then F k values
 * of all steps are summed over all ranks, and once more backward (FLIP_BYTES_STATE). */
enum { FLIP_TOPK_BYTES = 24 };
flip_var flip_topk_summary(flip_tape *tape, flip_var x, flip_param p, int32_t k);
/* The chosen nodes' original ids [own steps, k], until backward passes the summary. */
const int64_t *flip_topk_nodes(flip_tape *tape, flip_var summary);
/* y_t = act(x_t W_t): own steps' weights out of a chain [1, block's steps, F * F']. */
flip_var flip_linear_steps(flip_tape *tape, flip_var x, flip_var chain, int32_t columns,
                           flip_act act);

/* ---- pairs of nodes at a step ---- */
typedef struct flip_pairs flip_pairs;
/* Collective. u, v [n] global ids, step [n] of `steps` (NULL = all 0): this rank's pairs, in any
 * order; of other ranks come, by a plan, the rows of the nodes and steps that are named. Borrows
 * nothing. */
flip_status flip_pairs_create(flip_pairs **pairs, flip_comm *comm, const flip_gid *rank_first,
                              int32_t steps, int64_t n, const flip_gid *u, const flip_gid *v,
                              const int32_t *step);
void flip_pairs_destroy(flip_pairs **pairs);
int64_t flip_pairs_rows_sent(const flip_pairs *pairs); /* by this rank, one forward pass */
/* [h_u, h_v] at the pair's step: [n_pairs, 1, 2 dim] */
flip_var flip_gather_pairs(flip_tape *tape, flip_var h, const flip_pairs *pairs);
/* h_u . h_v of gathered pairs: [n_pairs, 1, 2 dim] -> [n_pairs, 1, 1] */
flip_var flip_pair_dot(flip_tape *tape, flip_var gathered);

/* ---- losses: collective; rows of all ranks count; read by flip_tape_scalar ---- */
typedef struct flip_labels {
    const int32_t *label;       /* [rows * steps]; negative = not counted */
    const uint8_t *mask;        /* [rows * steps] 0 = not counted; NULL = all */
    const double *class_weight; /* [dim] or NULL = 1 */
    bool sample_mean;           /* divide by the number counted; else by their summed weights */
    double total;               /* divide by this instead, known beforehand (a timeline's blocks
                                   share one loss); 0 = as above */
} flip_labels;                  /* arrays are borrowed until backward is done */
/* Σ m w[y] (logsumexp(x) - x[y]) / Σ m w[y]  (or / Σ m) */
flip_var flip_cross_entropy(flip_tape *tape, flip_var logits, const flip_labels *labels);
/* binary, of logits [rows, steps, 1]: mean of max(s,0) - s y + log(1 + exp(-|s|)), y = label 0 or
 * 1; class_weight[2] weights the two */
flip_var flip_binary_cross_entropy(flip_tape *tape, flip_var logits, const flip_labels *labels);
/* mean of (x - target)^2 over the targets that are not NaN; target [rows, steps, dim] borrowed;
 * mask [rows * steps] or NULL; total: divide by this instead, 0 = by their number */
flip_var flip_squared_error(flip_tape *tape, flip_var x, const flip_real *target,
                            const uint8_t *mask, double total);
/* Σ weight * x over all ranks; weight [rows, steps, dim] borrowed */
flip_var flip_inner(flip_tape *tape, flip_var x, const flip_real *weight);

#ifdef __cplusplus
}
#endif
#endif
