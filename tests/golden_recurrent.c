/* golden cases: operators along time, and of weights that evolve. */
#include "golden.h"
#include "device.h"

#include <string.h>

/* ---- LSTM and GRU of nodes, from a given state ---- */

/* [steps, rows, dim] of a tensor as [rows, steps, dim]. */
static flip_real *turned(golden *g, const char *tensor) {
    golden_tensor t = golden_load(g, tensor);
    flip_real *out = golden_memory(g, (size_t)t.n, sizeof *out);
    golden_swap_axes(t.shape[0], t.shape[1], t.shape[2], golden_real(g, tensor), out);
    return out;
}

/* h0 (and c0) as the state before the block. */
static void begin_with(golden *g, flip_carry *carry, bool cells) {
    int64_t n = golden_load(g, "h0").n;
    flip_real *state = golden_memory(g, 2 * (size_t)n, sizeof *state);
    memcpy(state, golden_real(g, "h0"), (size_t)n * sizeof *state);
    if (cells) memcpy(state + n, golden_real(g, "c0"), (size_t)n * sizeof *state);
    golden_try(g, flip_carry_begin_with(carry, 0, state, (cells ? 2 : 1) * (size_t)n));
}

static void compare_state_gradients(golden *g, flip_carry *carry, bool cells) {
    int64_t n = golden_load(g, "h0").n;
    size_t size;
    const flip_real *d = flip_carry_gradient(carry, 0, 0, &size);
    if (size != (cells ? 2 : 1) * (size_t)n) golden_fail(g, "a state's gradient has %zu", size);
    golden_compare_real(g, "grad_h0", d, n);
    if (cells) golden_compare_real(g, "grad_c0", d ? d + n : NULL, n);
}

/* bh NULL: an LSTM. */
static void recurrence(golden *g, const char *bias, const char *bh) {
    bool cells = !bh;
    flip_param wx = golden_param(g, "Wx"), wh = golden_param(g, "Wh"), b = golden_param(g, bias),
               b2 = bh ? golden_param(g, bh) : FLIP_PARAM_NONE;
    golden_tensor t = golden_load(g, "X");
    int32_t steps = (int32_t)t.shape[0], rows = (int32_t)t.shape[1], dim = (int32_t)t.shape[2];
    flip_carry *carry = NULL;
    golden_begin(g);
    golden_try(g, flip_carry_create(&carry, test_kernels(), 1));
    begin_with(g, carry, cells);
    if (g->failures) return;
    flip_tape_block(g->tape, NULL, carry, 0, true);
    flip_var x = flip_tape_input(g->tape, rows, steps, dim, turned(g, "X"), true);
    flip_var y = bh ? flip_gru(g->tape, x, FLIP_VAR_NONE, wx, wh, b, b2)
                    : flip_lstm(g->tape, x, FLIP_VAR_NONE, wx, wh, b);
    golden_try(g, flip_tape_status(g->tape));
    golden_compare_steps(g, "Y", flip_tape_value(g->tape, y));
    const flip_real *last = flip_carry_state(carry, 0, 1, NULL);
    int64_t n = golden_load(g, "h0").n;
    if (cells) golden_compare_real(g, "c_last", last ? last + n : NULL, n);
    golden_backward(g, flip_inner(g->tape, y, turned(g, "up_Y")));
    golden_compare_steps(g, "grad_X", flip_tape_gradient(g->tape, x));
    compare_state_gradients(g, carry, cells);
    flip_carry_destroy(&carry);
}

void case_lstm(golden *g) {
    recurrence(g, "b", NULL);
}

void case_gru(golden *g) {
    recurrence(g, "bx", "bh");
}

/* ---- weights that evolve ---- */

/* The gates' matrices of the case: Wg, Ug [gates, F, F] and Bg [gates, F, F'] one below the other.
 */
typedef struct gates {
    flip_param w, u, b;
} gates;

static flip_param stacked(golden *g, const char *tensor) {
    golden_tensor t = golden_load(g, tensor);
    return flip_params_add(g->params, tensor, (int32_t)(t.shape[0] * t.shape[1]),
                           (int32_t)t.shape[2], FLIP_INIT_ZERO);
}

static gates gates_of(golden *g) {
    return (gates){stacked(g, "Wg"), stacked(g, "Ug"), stacked(g, "Bg")};
}

void case_matrix_lstm(golden *g) {
    flip_param w0 = golden_param(g, "W0");
    gates k = gates_of(g);
    golden_begin(g);
    int32_t steps = (int32_t)golden_dim(g, "steps");
    flip_var y = flip_matrix_lstm(g->tape, steps, w0, k.w, k.u, k.b);
    golden_compare_var(g, "Ws", y);
    golden_backward(g, flip_inner(g->tape, y, golden_real(g, "up_Ws")));
}

/* One step; the state is the first parameter. */
void case_matrix_gru(golden *g) {
    flip_param h = golden_param(g, "H");
    gates k = gates_of(g);
    golden_begin(g);
    golden_tensor t = golden_load(g, "X");
    flip_var x = flip_tape_input(g->tape, 1, 1, (int32_t)t.n, golden_real(g, "X"), true);
    g->var[g->n_vars] = x;
    g->var_name[g->n_vars++] = "X";
    flip_var y = flip_matrix_gru(g->tape, 1, x, h, k.w, k.u, k.b);
    golden_compare_var(g, "H_new", y);
    golden_backward(g, flip_inner(g->tape, y, golden_real(g, "up_H_new")));
}

void golden_compare_nodes(golden *g, const char *tensor, flip_var summary) {
    const int64_t *nodes = flip_topk_nodes(g->tape, summary);
    int64_t n = golden_load(g, tensor).n;
    double *wide = golden_memory(g, (size_t)n, sizeof *wide);
    for (int64_t i = 0; nodes && i < n; i++)
        wide[i] = (double)nodes[i];
    golden_compare(g, tensor, nodes ? wide : NULL, n);
}

void case_topk_summary(golden *g) {
    flip_param p = golden_param(g, "p");
    golden_begin(g);
    flip_var s = flip_topk_summary(g->tape, golden_input(g, "X"), p, (int32_t)golden_dim(g, "k"));
    golden_compare_var(g, "S", s);
    golden_compare_nodes(g, "idx", s);
    golden_backward(g, flip_inner(g->tape, s, golden_real(g, "up_S")));
}
