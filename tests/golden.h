/* Reading a golden case and comparing with it. See the folder's README for the conventions. */
#ifndef FLIP_TESTS_GOLDEN_H
#define FLIP_TESTS_GOLDEN_H

#include <flipbook.h>

#include <jansson.h>

enum { GOLDEN_VARS = 16, GOLDEN_MEMORY = 1024 };

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
/* [a, b, dim] -> [b, a, dim] */
void golden_swap_axes(int64_t a, int64_t b, int64_t dim, const flip_real *x, flip_real *out);
/* A block [nodes, steps, dim] against a tensor [steps, nodes, dim]. */
void golden_compare_steps(golden *g, const char *tensor, const flip_real *x);

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
/* The case's pairs, their binary loss, and an optimiser's settings. */
flip_pairs *golden_pairs(golden *g);
flip_var golden_link_loss(golden *g, flip_var score);
flip_optimiser_params golden_optimiser(golden *g, flip_optimiser_kind kind);

/* ---- models ---- */
int32_t golden_columns(golden *g, const char *tensor);
/* Model, parameters of the case, a training tape. NULL on failure. */
flip_model *golden_model(golden *g, const flip_model_params *p);
/* Nodes chosen by flip_topk_summary [steps, k] against a tensor. */
void golden_compare_nodes(golden *g, const char *tensor, flip_var summary);
/* Every parameter against its tensor final_<name>. */
void golden_compare_final(golden *g);

/* ---- the cases: golden_operators.c, golden_models.c, golden_snapshots.c, golden_recurrent.c,
 * golden_dynamic.c, golden_codecs.c ---- */
void case_linear(golden *g);
void case_layer_norm(golden *g);
void case_batch_norm(golden *g);
void case_dropout(golden *g);
void case_l2_normalise(golden *g);
void case_ce_weighted_mean(golden *g);
void case_ce_sample_mean(golden *g);
void case_spmm_sum(golden *g);
void case_spmm_mean(golden *g);
void case_spmm_wmean(golden *g);
void case_spmm_gcn(golden *g);
void case_spmm_gcn_inout(golden *g);
void case_maxpool(golden *g);
void case_gat_attention(golden *g);
void case_link_dot(golden *g);
void case_link_mlp(golden *g);
void case_adam(golden *g);
void case_adamw(golden *g);
void case_sgd(golden *g);
void case_clip_norm(golden *g);
void case_gcn(golden *g);
void case_sage_mean(golden *g);
void case_sage_pool(golden *g);
void case_gin(golden *g);
void case_gat(golden *g);
void case_sage_mean_l2(golden *g);
void case_train_sage(golden *g);
void case_tmgcn(golden *g);
void case_prep(golden *g);
void case_lstm(golden *g);
void case_gru(golden *g);
void case_matrix_lstm(golden *g);
void case_matrix_gru(golden *g);
void case_topk_summary(golden *g);
void case_evolve_o(golden *g);
void case_evolve_o_code(golden *g);
void case_evolve_h(golden *g);
void case_cdgcn(golden *g);
void case_train_cdgcn(golden *g);
void case_codec_bifeat(golden *g);
void case_codec_uniform(golden *g);
void case_codec_lloyd(golden *g);
void case_codec_pq(golden *g);

#endif
