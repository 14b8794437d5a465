/* Flipbook: kernels — the one seam to the machine: a table of entries, and what makes one. What
 * they read and write is operands.h's. */
#ifndef FLIPBOOK_KERNELS_H
#define FLIPBOOK_KERNELS_H

#include <flipbook/operands.h>

#ifdef __cplusplus
extern "C" {
#endif

/* About the most bytes of a device that its table takes for itself: cuBLAS's workspace, and scratch
 * memory, which rounded operands need most of. */
enum { FLIP_DEVICE_OWN = 128 << 20 };
/* … and of the host's pinned memory, for what it sends ahead. */
enum { FLIP_STAGING_BYTES = 8 << 20 };

/* Since a device was opened; of a CPU 0. */
typedef struct flip_device_counts {
    uint64_t waits;             /* times that the host waited until all of its work was done */
    uint64_t ahead;             /* bytes that `send_ahead` sent */
    uint64_t sent, received;    /* bytes over the bus, those ahead among them */
    uint64_t replays, replayed; /* passes that were replayed; kernels, copies and sets in them */
} flip_device_counts;

/* sum += now - before */
static inline void flip_device_counts_add(flip_device_counts *sum, const flip_device_counts *now,
                                          const flip_device_counts *before) {
    sum->waits += now->waits - before->waits;
    sum->ahead += now->ahead - before->ahead;
    sum->sent += now->sent - before->sent;
    sum->received += now->received - before->received;
    sum->replays += now->replays - before->replays;
    sum->replayed += now->replayed - before->replayed;
}

/* Calls of a table that are repeated as they were. */
typedef struct flip_recording flip_recording;

/* The table. Every pointer is set, but for lstm where a table has none. `rows` lists the rows to do
 * (NULL = 0 … n_rows-1). Thread count is that of the OpenMP runtime; results do not depend on it.
 *
 * Where arrays of the entries lie: on a CPU in ordinary memory; on a device in the table's own
 * memory, or in the host's pinned memory. Structs, and the pointers of flip_epilogue and flip_csr
 * in them, are read at the call; what they point to is the device's. On a device entries return
 * before their work is done, which is done in the order of the calls; what went wrong there shows
 * at the next `wait`. One host thread at a time calls the entries of a device. */
typedef struct flip_kernels {
    const char *name; /* "reference", "c", "avx2", "avx512", "avx512+bf16", "cuda" */
    bool on_device;   /* host code may not read what the entries read and write */
    char device[96];  /* its name and where it is; "" on a CPU */
    /* An LSTM in one pass, or NULL: step by step then. [1]: operands rounded to bfloat16. */
    const flip_lstm_kernels *lstm[2];

    /* Memory, aligned to 64 bytes, not cleared; zero bytes give a valid pointer; NULL is given back
     * in peace. Pinned memory is the host's own, which a device reaches too. */
    flip_status (*take)(void *out_pointer, size_t bytes, const char *what);
    void (*give_back)(void *memory);
    flip_status (*take_pinned)(void *out_pointer, size_t bytes, const char *what);
    void (*give_back_pinned)(void *memory);
    size_t (*available)(void); /* bytes that `take` could still give, about */
    size_t (*peak)(void);      /* most bytes of a device that were taken at once; 0 on a CPU */
    /* Host to device: the host's memory may be written again on return, unless it is pinned (then
     * after wait). Device to host: there on return. Within. To zero. */
    void (*send)(void *to, const void *host, size_t bytes);
    void (*receive)(void *host, const void *from, size_t bytes);
    void (*copy)(void *to, const void *from, size_t bytes);
    void (*clear)(void *to, size_t bytes);
    /* All that was called is done; FLIP_ERROR_LIBRARY, with its words, where something failed. */
    flip_status (*wait)(void);

    /* Ahead of the entries: what later ones read travels while earlier ones work.
     *
     *     entries  … read M │mark_end            … │join_ahead │ read M …
     *     copies            └──▶ send_ahead to M ──┘
     *
     * mark_end: *event (NULL at first; drop_end) stands for the end of all that was called so far.
     * send_ahead: after `after`, the end of what used the memory before, or NULL where nothing did;
     * the host's memory may be written again on return. join_ahead: entries called from now on come
     * after all that was sent ahead. The host waits for no entry called since `after`, and for
     * none at all where FLIP_STAGING_BYTES hold all that is on its way. */
    void (*mark_end)(void **event);
    void (*drop_end)(void **event);
    void (*send_ahead)(void *to, const void *host, size_t bytes, void *after);
    void (*join_ahead)(void);
    flip_device_counts (*counts)(void);

    /* y[i,j] = alpha x[i,j] (+ y[i,j] where accumulate), rows ldx and ldy apart; y may be x */
    void (*scaled)(int64_t m, int64_t n, flip_real *y, int64_t ldy, const flip_real *x, int64_t ldx,
                   flip_real alpha, bool accumulate);

    /* y[v,t,:] (+)= sum over entries e of row v and steps t in its runs of value * x[col[e], t, :].
     * x and y are [rows, n_steps, dim]; y must not overlap x. A row's entries are added in order;
     * on a device in an order that the matrix alone fixes.
     */
    void (*spmm)(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t dim, flip_real *y,
                 const flip_real *x_own, const flip_real *x_halo, bool accumulate);

    /* Packed rows (codec.h). out[i,:] = row index[i] of codes decoded (index NULL = i), i < n; key
     * [rows of codes] original ids where rows are dithered, else NULL; ld: row stride of out. */
    void (*decode_rows)(const flip_packing *packing, const uint8_t *codes, const int64_t *key,
                        int64_t n, const int32_t *index, flip_real *out, int64_t ld);
    /* y[v,:] (+)= sum over entries e of row v of value * row index[col[e]] of codes decoded (index
     * NULL = col[e]): spmm of one step with the decoding inside; a's scales are applied. A row's
     * entries are added in order; offsets and scales of columns may be applied to the sum. */
    void (*spmm_packed)(const flip_csr *a, const flip_packing *packing, const uint8_t *codes,
                        const int64_t *key, const int32_t *index, flip_real *y, int64_t ld,
                        bool accumulate);

    /* Rows as sums of table entries, which their one-byte codes name: out[i, j] (+)= bias[j] +
     * sum_b table[b, codes[index[i] * stride + b], j], j < columns <= FLIP_TABLE_COLUMNS (index
     * NULL = i, bias NULL = 0); table [blocks, length, FLIP_TABLE_COLUMNS], on whole cache lines.
     * With table = codebook times weight, product-quantised rows are multiplied without being
     * decoded. */
    void (*sum_entries)(int64_t n, int32_t blocks, int32_t length, const uint8_t *codes,
                        size_t stride, const int32_t *index, const flip_real *table,
                        const flip_real *bias, int32_t columns, flip_real *out, int64_t ld,
                        bool accumulate);

    /* C[m,n] (ldc) = epilogue(A[m,k] (lda) * B[k,n] (ldb)); with k = 0, A and B may be NULL */
    void (*gemm_nn)(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *epilogue /* or NULL */);
    /* C[m,n] = epilogue(A[m,k] * B[n,k]^T) : input gradients dX = dY W^T */
    void (*gemm_nt)(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                    const flip_epilogue *epilogue /* or NULL */);
    /* G[k,n] += A[m,k]^T * B[m,n], G in double: weight gradients dW = X^T dY. Rows are taken in
     * fixed blocks, each block's product in flip_real, the blocks summed in double in ascending
     * order. (A device has blocks of its own, more and smaller ones, which fill it, and sums eight
     * shares of them; both follow from the shape alone, too.) */
    void (*gemm_tn)(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                    const flip_real *b, int64_t ldb, double *g, int64_t ldg);
    /* the same three with operands rounded to bfloat16, sums in flip_real (--precision bf16) */
    void (*gemm_nn_bf16)(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                         const flip_epilogue *epilogue);
    void (*gemm_nt_bf16)(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, flip_real *c, int64_t ldc,
                         const flip_epilogue *epilogue);
    void (*gemm_tn_bf16)(int64_t m, int64_t n, int64_t k, const flip_real *a, int64_t lda,
                         const flip_real *b, int64_t ldb, double *g, int64_t ldg);

    /* The epilogue alone, in place on C; accumulate and plus_* are not looked at. */
    void (*epilogue)(int64_t m, int64_t n, flip_real *c, int64_t ldc,
                     const flip_epilogue *epilogue);
    /* g[j] += sum_i y[i,j], in fixed blocks of rows as gemm_tn: bias gradients */
    void (*column_sums)(int64_t m, int64_t n, const flip_real *y, int64_t ldy, double *g);
    /* p[i,:] = exp(x[i,:] - log_sum_exp[i]), n >= 1; log_sum_exp [m] or NULL. p may be x. */
    void (*softmax)(int64_t m, int64_t n, const flip_real *x, int64_t ldx, flip_real *p,
                    int64_t ldp, double *log_sum_exp);
    /* Scores of every row i of a [m, width] with every column j of b [width, n] (ldb):
     * s[i,j] = bias + sum_k w[k] relu(a[i,k] + b[k,j]), or with w NULL bias + sum_k a[i,k] b[k,j].
     * The bits of a pair do not depend on m, n and its place. On the calling thread alone: callers
     * share out rows. */
    void (*pair_scores)(int64_t m, int64_t n, int64_t width, const flip_real *a, const flip_real *b,
                        int64_t ldb, const flip_real *w, flip_real bias, flip_real *s, int64_t lds);

    /* Recurrent cells on m rows of hidden width n; rows of h, c and their gradients stand ld apart
     * (a step of a [rows, steps, n] block), rows of gates are contiguous. before NULL = zeros.
     * lstm: gates [m, 4n] in = x Wx + h Wh + b, out = activated [i f g o]; c = f c_before + i g,
     * h = o tanh(c). backward: gates activated in, their gradients (before activation) out;
     * dh: gradient of h; dc [m, n] contiguous, in: of c from later steps, out: of c_before. */
    void (*lstm_forward)(int64_t m, int64_t n, flip_real *gates, const flip_real *c_before,
                         int64_t ld_before, flip_real *c, flip_real *h, int64_t ld);
    void (*lstm_backward)(int64_t m, int64_t n, flip_real *gates, const flip_real *c_before,
                          int64_t ld_before, const flip_real *c, int64_t ld, const flip_real *dh,
                          int64_t ld_dh, flip_real *dc);
    /* gru: gates [m, 3n] in = x Wx + bx, hidden [m, 3n] in = h Wh + bh; out: gates = activated
     * [r z n]; hidden's third part stays (hn). h = (1-z) n + z h_before. backward: gates and hidden
     * as forward left them in, their gradients out (gates: of x Wx + bx, hidden: of h Wh + bh);
     * dh in: gradient of h [m, n] contiguous, out: its direct share for h_before (dh z). */
    void (*gru_forward)(int64_t m, int64_t n, flip_real *gates, const flip_real *hidden,
                        const flip_real *h_before, int64_t ld_before, flip_real *h, int64_t ld);
    void (*gru_backward)(int64_t m, int64_t n, flip_real *gates, flip_real *hidden,
                         const flip_real *h_before, int64_t ld_before, flip_real *dh);

    /* y[i,t,j] (+)= x[i,t,j], i < m, t < n, j < d: from i to i + 1 so many values as *_row, from t
     * to t + 1 as *_step; x NULL = zeros. Blocks [rows, steps, d] are cut, joined and turned. */
    void (*move)(int64_t m, int64_t n, int64_t d, flip_real *y, int64_t y_row, int64_t y_step,
                 const flip_real *x, int64_t x_row, int64_t x_step, bool accumulate);
    void (*add_doubles)(int64_t n, double *y, const double *x);    /* y += x */
    void (*add_rounded)(int64_t n, flip_real *y, const double *x); /* y += (flip_real)x */
    /* Malik et al. 2021, section 2: y_t = sum of x_k over t-window < k <= t, divided by min(window,
     * t + 1). x, y [rows, steps, dim], before [rows, earlier, dim] the steps before them. Steps are
     * cut every `window`; a sum is the rest of one piece, added from its end backwards, plus the
     * next one's beginning. */
    void (*band_sums)(const flip_band_steps *band, flip_real *y, const flip_real *before,
                      const flip_real *x);
    /* Its transpose, t ascending: dbefore is written, dx written, or added to. */
    void (*band_sums_back)(const flip_band_steps *band, const flip_real *dy, flip_real *dbefore,
                           flip_real *dx, bool accumulate);
    /* z[i, 0 … dim-1] = row index[i] of x, or row -1 - index[i] of halo where that is negative;
     * rows of z are ldz apart */
    void (*gather_rows)(int64_t n, int64_t dim, flip_real *z, int64_t ldz, const int32_t *index,
                        const flip_real *x, const flip_real *halo);
    /* y[row[i],:] += x[index[k],:] for k = ptr[i] … ptr[i+1]-1, one after the other, i < n; rows
     * are distinct */
    void (*add_to_rows)(int64_t n, int64_t dim, flip_real *y, const int32_t *row,
                        const int32_t *ptr, const int32_t *index, const flip_real *x);
    /* s[i] = u_i . v_i of z[i,:] = [u_i, v_i], d values each; dz[i,:] (+)= ds[i] [v_i, u_i] */
    void (*pair_dot)(int64_t m, int64_t d, const flip_real *z, flip_real *s);
    void (*pair_dot_back)(int64_t m, int64_t d, const flip_real *z, const flip_real *ds,
                          flip_real *dz, bool accumulate);

    /* dropout forward on [m,n]: y = keep ? x / (1-p) : 0; the backward pass calls it on gradients.
     * y may be x. */
    void (*dropout)(int64_t m, int64_t n, flip_real *y, const flip_real *x, double p, uint64_t seed,
                    uint64_t draw, const int64_t *key);
    /* gradient through fused relu+dropout: dx = bit ? dy * scale : 0. dx may be dy. */
    void (*mask_bits)(int64_t m, int64_t n, flip_real *dx, const flip_real *dy, const uint8_t *bits,
                      flip_real scale);
    /* y = x > 0 ? x : exp(x) - 1, in place;  dy *= y > 0 ? 1 : y + 1 */
    void (*elu)(int64_t n, flip_real *y);
    void (*elu_gradient)(int64_t n, flip_real *dy, const flip_real *y);
    /* x = mask ? x scale : 0, in place */
    void (*mask_bytes)(int64_t n, flip_real *x, const uint8_t *mask, flip_real scale);
    /* y += (1 + *e) x (GIN), and its gradients: dx (+)= (1 + *e) dz; *de += Σ dz x, in fixed blocks
     * of 2048, in double */
    void (*add_scaled)(int64_t n, flip_real *y, const flip_real *x, const flip_real *e,
                       bool accumulate);
    void (*dot)(int64_t n, const flip_real *x, const flip_real *y, double *sum);

    /* Losses. sums[0] = Σ of the rows' terms, sums[1] = Σ of their shares of the denominator, in
     * double, by fixed blocks of 1024 rows. Gradients are scale times the term's; (+)= where they
     * may accumulate.
     * cross_entropy: weight (log_sum_exp - x[label]); gradient in place of the softmax.
     * binary: of one column, labels 0 and 1: max(s,0) - s y + log(1 + exp(-|s|)).
     * squared_error: (x - target)^2 where target is a number; share: 1 each. inner: x weight. */
    void (*cross_entropy)(int64_t m, int64_t n, const flip_real *x, const double *log_sum_exp,
                          const flip_loss_rows *rows, double *sums);
    void (*cross_entropy_gradient)(int64_t m, int64_t n, flip_real *softmax,
                                   const flip_loss_rows *rows, double scale);
    void (*binary)(int64_t m, const flip_real *x, const flip_loss_rows *rows, double *sums);
    void (*binary_gradient)(int64_t m, const flip_real *x, const flip_loss_rows *rows, double scale,
                            flip_real *dx, bool accumulate);
    void (*squared_error)(int64_t m, int64_t n, const flip_real *x, const flip_real *target,
                          const uint8_t *mask, double *sums);
    void (*squared_error_gradient)(int64_t m, int64_t n, const flip_real *x,
                                   const flip_real *target, const uint8_t *mask, double scale,
                                   flip_real *dx, bool accumulate);
    void (*inner)(int64_t m, int64_t n, const flip_real *x, const flip_real *weight, double *sums);

    void (*sgd)(int64_t n, flip_real *p, const double *g, flip_real *m, const flip_sgd_step *step);
    /* p[i] -= Adam step; one pass over a parameter slab. decay is L2 (added to g) or decoupled. */
    void (*adam)(int64_t n, flip_real *p, const double *g, flip_real *m, flip_real *v,
                 const flip_adam_step *step);

    /* Graph differences. work: flip_changes_work bytes of the table's memory, whose CPU entries do
     * not look at it. *fault: in UINT64_MAX; out the least key that does not fit, if any.
     * unpack_words: the three lists as one, ascending; was: flip_absent of those added, of others 0
     * (not known yet). A key that two lists name does not fit. changes->n is the words' number. */
    void (*unpack_words)(const flip_changes *changes, const flip_graph_words *words, void *work,
                         uint64_t *fault);
    /* `to` = `from` with the changes made; to has room for from->n + changes->n, and its n is what
     * must come out. was: what is found, where `learn` (it must be flip_absent already where
     * nothing is), else it must be what is found. Walking back: was and is exchanged. */
    void (*merge_changes)(const flip_entries *to, const flip_entries *from,
                          const flip_changes *changes, bool learn, void *work, uint64_t *fault);
    /* The changes that lead from one snapshot to the other: *n of them, of which the first
     * changes->n, for which there is room, are written. */
    void (*find_changes)(const flip_changes *changes, int64_t *n, const flip_entries *from,
                         const flip_entries *to, void *work);
    /* Snapshot t of events that stay: entries with an event in t-life+1 … t, value = the sum of
     * these events' weights in double, in order. to has room for pairs->n, and its n is what must
     * come out. work: of no entries and pairs->n changes. */
    void (*live_entries)(const flip_entries *to, const flip_pair_events *pairs, int32_t t,
                         int32_t life, void *work);
    /* row_ptr [n_rows + 1], col [entries->n] = order[place], order NULL = place */
    void (*keys_to_csr)(const flip_entries *entries, const int32_t *order, int32_t n_rows,
                        int64_t *row_ptr, int32_t *col);
    /* scale[v] = 1 / sqrt(1 + sum of row v's values), or, mean, 1 / sum (0 of 0); sums in double */
    void (*degree_scales)(int32_t n_rows, const int64_t *row_ptr, const flip_real *value, bool mean,
                          flip_real *scale);

    /* ---- sampled batches (draws.c). work: flip_draws_work bytes of the table's memory, whose CPU
     *      entries do not look at it ---- */
    /* chance[u] in [0, 1), in steps of 2^-24: word 0 of flip_random(seed, SAMPLE, draw,
     * original[u]) without its last 8 bits */
    void (*share_chances)(int64_t n, const int64_t *original, uint64_t seed, uint64_t draw,
                          float *chance);
    /* first [n + 1]: how many entries each row draws, as sums of all before. work:
     * flip_draws_room */
    void (*count_draws)(const flip_draws *draws, int64_t *first, void *work);
    /* work: as count_draws left it */
    void (*draw_entries)(const flip_draws *draws, const flip_drawn *out, void *work);
    /* The columns col[0 … *n_entries - 1], at most `most` (n_entries NULL: as many), are numbered:
     * those without a number get n, n + 1 … as they come; *n_rows numbers are there then, below
     * FLIP_NO_SLOT - most. col becomes numbers. work: of `most` */
    void (*number_rows)(const flip_numbering *numbering, int32_t n, int64_t most,
                        const int64_t *n_entries, int32_t *col, int64_t *n_rows, void *work);
    /* Columns of n rows of drawn entries become columns of a timeline: those of row i at the step
     * before[i], col = col * steps + before[i] */
    void (*set_at_steps)(int32_t n, const int64_t *first, const int32_t *before, int32_t steps,
                         int32_t *col);
    /* Of node[i] at the step t = before[i] - 1: index[i], its row, and key[i] = original[i] *
     * steps + t; either may be NULL */
    void (*find_step_rows)(int64_t n, const flip_step_rows *rows, const int32_t *node,
                           const int32_t *before, const int64_t *original, int32_t *index,
                           int64_t *key);
    /* slot[row[i]] = FLIP_NO_SLOT */
    void (*forget_rows)(int64_t n, const int32_t *row, int32_t *slot);
    /* The transpose of a matrix of one step: ptr [n_cols + 2], the last of which is room, col and
     * value [n_entries] (value NULL: it has none), rows ascending; place[e]: entry e there, or
     * NULL. work: of n_entries */
    void (*turn_entries)(const flip_csr *a, int64_t *ptr, int32_t *col, flip_real *value,
                         int64_t *place, void *work);

    /* ---- norms (norms.c), all sums in double ---- */
    /* y = gamma (x - mean) rstd + beta, mean and rstd = 1 / sqrt(variance + eps) [m] of the row:
     * out */
    void (*layer_norm)(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                       const flip_real *gamma, const flip_real *beta, double eps, double *mean,
                       double *rstd);
    /* dx (+)= rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma, means over the row */
    void (*layer_norm_back)(int64_t m, int64_t n, flip_real *dx, const flip_real *x,
                            const flip_real *dy, const flip_real *gamma, const double *mean,
                            const double *rstd, bool accumulate);
    /* dgamma[j] += sum_i dy xhat, dbeta[j] += sum_i dy; xhat = (x - mean) rstd, both a row's [m]
     * (by_row) or a column's [n]; room for 2 n sums */
    void (*norm_gradients)(int64_t m, int64_t n, const flip_real *x, const flip_real *dy,
                           bool by_row, const double *mean, const double *rstd, double *dgamma,
                           double *dbeta, double *room);
    /* sum[j] = sum_i (x[i,j] - centre[j])^power, power 1 or 2; centre NULL = 0; room for n sums */
    void (*column_moments)(int64_t m, int64_t n, const flip_real *x, const double *centre,
                           int power, double *sum, double *room);
    /* mean = sum / count */
    void (*batch_mean)(int64_t n, double *mean, const double *sum, double count);
    /* var = sum / count; rstd = 1 / sqrt(var + eps); and, where running is not NULL, of both
     * running = (1 - momentum) running + momentum batch, the variance's divided by count - 1 */
    void (*batch_spread)(int64_t n, double *rstd, const double *sum, const double *mean,
                         double count, double eps, double momentum, flip_real *running_mean,
                         flip_real *running_var);
    /* the same two from what runs along */
    void (*batch_given)(int64_t n, double *mean, double *rstd, const flip_real *running_mean,
                        const flip_real *running_var, double eps);
    /* y = gamma (x - mean) rstd + beta, mean and rstd [n] */
    void (*batch_norm)(int64_t m, int64_t n, flip_real *y, const flip_real *x,
                       const flip_real *gamma, const flip_real *beta, const double *mean,
                       const double *rstd);
    /* dx (+)= gamma rstd (dy - sum[n + j] / count - xhat sum[j] / count) */
    void (*batch_norm_back)(int64_t m, int64_t n, flip_real *dx, const flip_real *x,
                            const flip_real *dy, const flip_real *gamma, const double *mean,
                            const double *rstd, const double *sum, double count, bool accumulate);
    /* rows of y divided by their length; inverse [m] out: 1 / length, 0 where it is <= 1e-12 */
    void (*unit_rows)(int64_t m, int64_t n, flip_real *y, double *inverse);
    /* dy = (dy - y (y . dy)) inverse */
    void (*unit_rows_back)(int64_t m, int64_t n, flip_real *dy, const flip_real *y,
                           const double *inverse);

    /* ---- the matrix GRU and top-k of EvolveGCN (evolve.c) ---- */
    /* A GRU whose reset gate acts before the product. open: r and z of gates [m, 3n] activated,
     * reset [m, n] = r h; close: c activated, next = (1-z) h + z c. close_back: the gradients of z
     * and c take their places, dh in: of next, out: dh (1-z), reset = r h; open_back: r's gradient
     * takes its place, with d the gradient of r h; dh += d r. */
    void (*reset_gru_open)(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                           flip_real *reset);
    void (*reset_gru_close)(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                            flip_real *next);
    void (*reset_gru_close_back)(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                 flip_real *dh, flip_real *reset);
    void (*reset_gru_open_back)(int64_t m, int64_t n, flip_real *gates, const flip_real *h,
                                const flip_real *d, flip_real *dh);
    /* g [cols, rows] += (sum_t x[t, rows, cols])^T, in double, t ascending */
    void (*turn_sum)(int64_t rows, int64_t cols, int64_t steps, const flip_real *x, double *g);
    /* unit [n + 1]: p / |p|, then |p| */
    void (*unit_vector)(int64_t n, const flip_real *p, double *unit);
    /* s[i] = x[i,:] . p, in double */
    void (*row_dots)(int64_t m, int64_t n, const flip_real *x, const double *p, double *s);
    /* Choice i of steps * k is row[i] (-1: elsewhere) of x [rows, steps, f] at step i / k, its
     * score y: values[i,:] = that row; summary [steps, f, k] = row tanh(y), column i % k. */
    void (*topk_take)(int64_t steps, int64_t k, int64_t f, const int32_t *row, const double *score,
                      const flip_real *x, flip_real *values, double *summary);
    /* With b = tanh(y), g [f] the column's gradient in `up` [steps, f, k], a = (1 - b^2) (g . x):
     * dx[row] += g b + a unit (dx NULL: not wanted), dp += a (x - y unit) / |p|, i ascending; room
     * [steps * k] */
    void (*topk_back)(int64_t steps, int64_t k, int64_t f, const int32_t *row, const double *score,
                      const flip_real *values, const double *up, const double *unit, flip_real *dx,
                      double *dp, double *room);

    /* ---- over the entries of rows (edges.c); a static matrix's live at all steps; values and
     *      scales are not looked at ---- */
    /* out[i] = a[i % heads, :] . z[i, :], i < n, d values each */
    void (*head_dots)(int64_t n, int32_t heads, int32_t d, const flip_real *a, const flip_real *z,
                      flip_real *out);
    /* alpha [entries, steps, heads] = softmax over a row's of LeakyReLU_0.2(src[col] + dst[row]),
     * src and dst [nodes, steps, heads]; 0 where an entry does not live. y[row] = sum alpha x[col]
     * of what dropout keeps / (1 - p). room [rows, 2, steps, heads] */
    void (*attention)(const flip_csr *a, const flip_heads *heads, const flip_real *src,
                      const flip_real *dst, const flip_real *x_own, const flip_real *x_halo,
                      flip_real *alpha, flip_real *y, flip_real *room);
    /* place[e]: entry e in the transpose. There: alpha_t = what was kept of alpha / (1 - p); ds_t =
     * the score's gradient. dst_sum[row] = sum of its ds. room [rows, steps, heads] */
    void (*attention_back)(const flip_csr *a, const flip_heads *heads, const flip_real *src,
                           const flip_real *dst, const flip_real *x_own, const flip_real *x_halo,
                           const flip_real *alpha, const flip_real *dy, const int64_t *place,
                           flip_real *ds_t, flip_real *alpha_t, flip_real *dst_sum,
                           flip_real *room);
    /* Rows of the transpose: src_sum[u] = sum of its ds_t; dx[u] (+)= sum alpha_t dy[col] +
     * src_sum[u] a_src, and, of the first n_dst rows, dst_sum[u] a_dst; a [heads, d] */
    void (*attention_pull)(const flip_csr *at, const flip_heads *heads, const flip_real *dy,
                           const flip_real *ds_t, const flip_real *alpha_t, const flip_real *a_src,
                           flip_real *src_sum, const flip_real *a_dst, const flip_real *dst_sum,
                           int32_t n_dst, flip_real *dx, bool accumulate);
    /* g[k,j] += sum_{i,t} s[i,t,k] z[i,t,k,j], in double, i < n; room for heads * d sums over n */
    void (*head_gradients)(int64_t n, int32_t steps, int32_t heads, int32_t d, const flip_real *s,
                           const flip_real *z, double *g, double *room);
    /* y[i,j] = mean over k of x[i,k,j]; back: dx[i,k,j] (+)= dy[i,j] / heads */
    void (*head_mean)(int64_t m, int32_t heads, int64_t d, const flip_real *x, flip_real *y);
    void (*head_mean_back)(int64_t m, int32_t heads, int64_t d, const flip_real *dy, flip_real *dx,
                           bool accumulate);
    /* y[v,t,j] = max of x[col,t,j] over the entries that live at t, 0 without; from: the column of
     * the first that attained it, -1 without. rows as in spmm. */
    void (*max_pool)(const flip_csr *a, const int32_t *rows, int32_t n_rows, int32_t steps,
                     int32_t dim, flip_real *y, int32_t *from, const flip_real *x_own,
                     const flip_real *x_halo);
    /* Row i of at stands for column u = first + i: dx[i] (+)= sum of dy[v] where from[v] = u */
    void (*max_pool_back)(const flip_csr *at, int32_t first, int64_t width, const flip_real *dy,
                          const int32_t *from, flip_real *dx, bool accumulate);
    /* dw[e] (+)= dy[row] . x[col], rows of `width` values */
    void (*entry_dots)(const flip_csr *a, int64_t width, const flip_real *dy,
                       const flip_real *x_own, const flip_real *x_halo, flip_real *dw,
                       bool accumulate);
    /* y[place[i]] = x[i] */
    void (*place_values)(int64_t n, const int64_t *place, const flip_real *x, flip_real *y);

    /* ---- values put aside or on their way in few bits: what flip_groups_encode and _decode
     *      (codec/groups.h) do, to the bit; a device's codes on whole words ---- */
    void (*encode_groups)(uint8_t *codes, const flip_real *x, int64_t n, int32_t bits,
                          uint64_t key);
    void (*decode_groups)(flip_real *x, const uint8_t *codes, int64_t n, int32_t bits);

    /* ---- passes that come again (memory.c, cuda_graphs.cu) ----
     * record: what is called until record_end is kept and not done; false, and nothing changes,
     * where a table does not record (a CPU's). record_end: what was kept; NULL where something in
     * between took, gave back, sent, received or waited: it did not, and what was received is 0.
     * replay: all of it is done once, with the same operands, sizes and numbers, but for draws of
     * dropout, to which `draws` is added, and Adam's factors, which are those of *adam (NULL: there
     * is no Adam in it); false, and nothing is done, where memory was given back since. */
    bool (*record)(void);
    flip_recording *(*record_end)(void);
    bool (*replay)(flip_recording *recording, uint64_t draws, const flip_adam_step *adam);
    void (*drop_recording)(flip_recording **recording); /* NULL then; NULL is let be */

    /* ---- the matrix of a block of snapshots (runs.c) ----
     * work: flip_runs_work bytes; mentions, entries, runs and values are each fewer than 2^31.
     * Values that are numbers go through all calls as the same bits on every table: sums in double,
     * one entry of a row after the other. Where 1 + sum is negative a factor is a NaN, of any bits.
     */
    /* count [4]: entries, runs and values of the block, values of steps from `before` on. */
    void (*count_runs)(const flip_block_entries *block, int64_t *count, void *work);
    /* All of `to`, values, unless NULL, as the snapshots have them; after count_runs, with what
     * that left in work. */
    void (*lay_runs)(const flip_block_entries *block, const flip_csr_arrays *to, void *work);
    /* A square matrix that has runs; row [n_entries]. to->value out: without a window it may be
     * a's; with one, run_first and value_ptr of what is not left out, too, which no run is all of.
     * No more of `to` is looked at: entries and the numbers of their runs are a's. */
    void (*scale_runs)(const flip_csr *a, const int32_t *row, const flip_run_scaling *scaling,
                       const flip_csr_arrays *to, void *work);
    /* The transpose of a square matrix that has runs, with its values, if any: rows in the order of
     * place [n_rows], which is below 2^place_bits, or, NULL, in their own; turned [n_entries] out,
     * unless NULL: where each entry stands there; to->row is not looked at. */
    void (*turn_runs)(const flip_csr *a, const int32_t *row, const int32_t *place, int place_bits,
                      const flip_csr_arrays *to, int64_t *turned, void *work);
} flip_kernels;

/* Is element (row key, column j of n) kept by dropout p? The definition every implementation
 * follows: word j%4 of flip_random(seed, DROPOUT, draw, key * ceil(n/4) + j/4) >= p * 2^32. */
bool flip_dropout_keep(uint64_t seed, uint64_t draw, int64_t key, int64_t n, int64_t j, double p);

/* The table for this machine's CPU (or FLIP_ISA). Never NULL. */
const flip_kernels *flip_kernels_get(void);
/* The table of CUDA device `device` of those that this process sees; one device a process, chosen
 * by the first call. FLIP_ERROR_LIBRARY, in one sentence, where there is none: a build without
 * CUDA, no driver, no such device, a library that is not found. */
flip_status flip_kernels_cuda(const flip_kernels **table, int device);
int flip_kernels_cuda_devices(void); /* devices that this process sees; 0 without CUDA */
const flip_kernels *flip_kernels_reference(void); /* plain C, the definition */
/* Room for `bytes` of these kernels' memory in *room (NULL at first), of which *held are there;
 * what was there is lost where it grows. */
flip_status flip_kernels_reserve(const flip_kernels *kernels, void *room_pointer, size_t *held,
                                 size_t bytes, const char *what);
/* A copy of the host's bytes in these kernels' memory; none: NULL. They stay until wait. */
flip_status flip_kernels_copy_of(const flip_kernels *kernels, void *out_pointer, const void *host,
                                 size_t bytes, const char *what);
/* Every table this machine can run (FLIP_ISA lowers it), reference first; returns how many. */
enum { FLIP_KERNEL_TABLES = 5 };
int flip_kernels_list(const flip_kernels *tables[FLIP_KERNEL_TABLES]);

/* This machine's limits, measured once (about 0.3 s), one call for all threads in use. */
typedef struct flip_limits {
    double copy_gbs, multiply_gflops;
} flip_limits;
flip_limits flip_kernels_limits(void);

#ifdef __cplusplus
}
#endif
#endif
