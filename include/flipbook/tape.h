/* Flipbook: tape — operators record, backward walks back.
 *
 * A variable is a block [rows, steps, dim], row-major; steps = 1 is the static case. Parameters
 * live in one slab, their gradients in another (double), names and offsets in a table. An operator
 * that fails makes the tape sticky-failed: later operators return FLIP_VAR_NONE at once and
 * flip_tape_status tells, so models read like equations.
 */
#ifndef FLIPBOOK_TAPE_H
#define FLIPBOOK_TAPE_H

#include <flipbook/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parameters ---- */
typedef struct flip_params flip_params;
typedef int32_t flip_param;
typedef enum flip_init {
    FLIP_INIT_ZERO,
    FLIP_INIT_ONE,
    FLIP_INIT_GLOROT,
    FLIP_INIT_UNIFORM_FAN_IN
} flip_init;

flip_status flip_params_create(flip_params **params);
void flip_params_destroy(flip_params **params);
/* Before flip_params_finish. Shape [rows, cols]; a vector has rows = 1. */
flip_param flip_params_add(flip_params *params, const char *name, int32_t rows, int32_t cols,
                           flip_init init);
flip_status flip_params_finish(flip_params *params,
                               uint64_t seed); /* allocates the slabs and draws */
int32_t flip_params_count(const flip_params *params);
int64_t flip_params_size(const flip_params *params); /* values in the slab */
flip_real *flip_params_values(flip_params *params);  /* slab */
double *flip_params_gradients(flip_params *params);  /* slab, double */
const char *flip_params_name(const flip_params *params, flip_param p);
void flip_params_shape(const flip_params *params, flip_param p, int32_t *rows, int32_t *cols,
                       int64_t *offset);

/* ---- tape ---- */
typedef struct flip_tape flip_tape;
typedef int32_t flip_var;
#define FLIP_VAR_NONE (-1)

typedef struct flip_tape_params {
    flip_comm *comm;     /* borrowed; NULL = one rank */
    flip_params *params; /* borrowed */
    const int64_t *key;  /* [n_own] original ids: dropout's random keys; NULL = row number */
    uint64_t seed;
    bool bf16; /* products in bfloat16 */
} flip_tape_params;

flip_status flip_tape_create(flip_tape **tape, const flip_tape_params *params);
void flip_tape_destroy(flip_tape **tape);
/* Forget all records, keep memory. training: dropout and batch statistics on; epoch numbers the
 * draws. */
void flip_tape_reset(flip_tape *tape, bool training, int64_t epoch);
flip_status flip_tape_status(const flip_tape *tape);
size_t flip_tape_peak(const flip_tape *tape); /* bytes */

flip_var flip_tape_input(flip_tape *tape, int32_t rows, int32_t steps, int32_t dim,
                         const flip_real *data, bool needs_gradient);
void flip_tape_shape(const flip_tape *tape, flip_var x, int32_t *rows, int32_t *steps,
                     int32_t *dim);
const flip_real *flip_tape_value(const flip_tape *tape, flip_var x);
const flip_real *flip_tape_gradient(const flip_tape *tape,
                                    flip_var x); /* after backward; NULL if none */
/* Walk back from `loss`. Adds into the parameters' gradients of this rank (local sums, not
 * all-reduced) and frees what is no longer needed on the way. Collective where operators exchange.
 */
flip_status flip_tape_backward(flip_tape *tape, flip_var loss);
/* Local gradients -> global: sums the gradient slab over ranks in double. Collective. */
flip_status flip_params_reduce(flip_params *params, flip_comm *comm);

#ifdef __cplusplus
}
#endif
#endif
