/* Heads on pairs of embeddings: logits [n_pairs, 1, out_dim]
 *     dot     h_u . h_v
 *     linear  [h_u, h_v] U
 *     mlp     relu([h_u, h_v] V1 + a1) V2 + a2 */
#include <flipbook/model.h>

struct flip_head {
    flip_head_kind kind;
    flip_param u, v1, a1, v2, a2;
};

flip_status flip_head_create(flip_head **out, flip_params *params, const flip_head_params *p) {
    if (p->in_dim < 1 || p->out_dim < 1 || (p->kind == FLIP_HEAD_MLP && p->hidden < 1))
        return FLIP_FAIL(FLIP_ERROR_USAGE, "head of %d columns, hidden %d, %d outputs", p->in_dim,
                         p->hidden, p->out_dim);
    if (p->kind == FLIP_HEAD_DOT && p->out_dim != 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "a dot product has one output, not %d", p->out_dim);
    FLIP_TRY(flip_alloc_zero(out, 1, sizeof **out, "head"));
    flip_head *head = *out;
    head->kind = p->kind;
    int32_t both = 2 * p->in_dim;
    if (p->kind == FLIP_HEAD_LINEAR)
        head->u = flip_params_add(params, "U", both, p->out_dim, FLIP_INIT_GLOROT);
    if (p->kind == FLIP_HEAD_MLP) {
        head->v1 = flip_params_add(params, "V1", both, p->hidden, FLIP_INIT_GLOROT);
        head->a1 = flip_params_add(params, "a1", 1, p->hidden, FLIP_INIT_ZERO);
        head->v2 = flip_params_add(params, "V2", p->hidden, p->out_dim, FLIP_INIT_GLOROT);
        head->a2 = flip_params_add(params, "a2", 1, p->out_dim, FLIP_INIT_ZERO);
    }
    return FLIP_OK;
}

void flip_head_destroy(flip_head **head) {
    flip_free(*head);
    *head = NULL;
}

flip_var flip_head_forward(flip_head *head, flip_tape *tape, flip_var h, const flip_pairs *pairs) {
    flip_var z = flip_gather_pairs(tape, h, pairs), y;
    if (head->kind == FLIP_HEAD_DOT) {
        y = flip_pair_dot(tape, z);
    } else if (head->kind == FLIP_HEAD_LINEAR) {
        y = flip_linear(tape, z, head->u, FLIP_PARAM_NONE, FLIP_ACT_NONE);
    } else {
        flip_var s = flip_linear(tape, z, head->v1, head->a1, FLIP_ACT_RELU);
        y = flip_linear(tape, s, head->v2, head->a2, FLIP_ACT_NONE);
        flip_tape_release(tape, s);
    }
    flip_tape_release(tape, z);
    return y;
}
