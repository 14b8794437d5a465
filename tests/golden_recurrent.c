/* golden cases: operators along time, and of weights that evolve. */
#include "golden.h"

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
