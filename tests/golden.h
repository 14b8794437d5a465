/* Reading a golden case and comparing with it. See the folder's README for the conventions. */
#ifndef FLIP_TESTS_GOLDEN_H
#define FLIP_TESTS_GOLDEN_H

#include <flipbook.h>

#include <jansson.h>

enum { GOLDEN_VARS = 16, GOLDEN_MEMORY = 256 };

typedef struct golden_tensor {
    int32_t n_dims;
    int64_t shape[4], n;
    double *value;
} golden_tensor;

/* One case at work. Failures are counted and described in `why`. */
typedef struct golden {
    char folder[4096], why[512];
    json_t *json;
    double tolerance;
    int failures, compared;
    void *memory[GOLDEN_MEMORY]; /* freed at the end of the case */
    int n_memory;
    bool *checked; /* [tensors] */
    /* the pass */
    flip_params *params;
    flip_tape *tape;
    flip_var var[GOLDEN_VARS]; /* inputs that need gradients, with their names */
    const char *var_name[GOLDEN_VARS];
    int n_vars;
} golden;

bool golden_open(golden *g, const char *folder, const char *name);
void golden_close(golden *g);
void golden_fail(golden *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A call of the library must succeed. */
void golden_try(golden *g, flip_status status);

int64_t golden_dim(golden *g, const char *name);
double golden_setting(golden *g, const char *name);
bool golden_has(golden *g, const char *tensor);
golden_tensor golden_load(golden *g, const char *tensor);
flip_real *golden_real(golden *g, const char *tensor);
int32_t *golden_int(golden *g, const char *tensor);
int64_t *golden_long(golden *g, const char *tensor);
uint8_t *golden_mask(golden *g, const char *tensor);
void *golden_memory(golden *g, size_t count, size_t size); /* zeroed */

/* Compares n values with a tensor: max|got - want| <= tolerance * max|want|; integers equal. */
void golden_compare(golden *g, const char *tensor, const double *got, int64_t n);
void golden_compare_real(golden *g, const char *tensor, const flip_real *got, int64_t n);
void golden_compare_var(golden *g, const char *tensor, flip_var x);

/* ---- a pass through the tape on one rank ---- */
/* Registers a parameter under the case's name and shape. */
flip_param golden_param(golden *g, const char *tensor);
/* Finishes the parameters, fills those that the case names, opens a training tape. */
void golden_begin(golden *g);
void golden_reload(golden *g); /* the case's parameter values again */
/* An input of the tensor's shape, [rows, dim] or [rows, heads, d] as [rows, heads * d]; its
 * gradient is compared by golden_backward if the case has one. */
flip_var golden_input(golden *g, const char *tensor);
/* Backward from loss; compares the loss (if the case has it) and every gradient. */
void golden_backward(golden *g, flip_var loss);
/* The loss of cases without one: sum(up_Y * Y), Y compared. */
void golden_backward_up(golden *g, flip_var y);
/* The edge list src, dst (and w) of the case as an adjacency on one rank. */
flip_adjacency *golden_adjacency(golden *g, const flip_adjacency_params *params);

#endif
