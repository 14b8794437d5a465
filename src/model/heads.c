/* Heads on pairs of embeddings: logits [n_pairs, 1, out_dim]
 *     dot     h_u . h_v
 *     linear  [h_u, h_v] U
 *     mlp     relu([h_u, h_v] V1 + a1) V2 + a2 */
#include <flipbook/model.h>

#include <string.h>

struct flip_head {
    flip_head_kind kind;
    int32_t in_dim, hidden, out_dim;
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
    head->in_dim = p->in_dim;
    head->hidden = p->hidden;
    head->out_dim = p->out_dim;
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

/* Scores of gathered pairs z, which end here. */
static flip_var score(flip_head *head, flip_tape *tape, flip_var z) {
    flip_var y;
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

flip_var flip_head_forward(flip_head *head, flip_tape *tape, flip_var h, const flip_pairs *pairs) {
    return score(head, tape, flip_gather_pairs(tape, h, pairs));
}

flip_var flip_head_consume(flip_head *head, flip_tape *tape, flip_var h, const flip_pairs *pairs) {
    flip_var z = flip_gather_pairs(tape, h, pairs);
    flip_tape_release(tape, h);
    return score(head, tape, z);
}

/* ---- taken apart: [h_u, h_v] V1 = h_u V1a + h_v V1b, V1's upper and lower half ---- */

static const flip_real *values_of(flip_params *params, flip_param p) {
    int32_t rows, cols;
    int64_t offset;
    flip_params_shape(params, p, &rows, &cols, &offset);
    return flip_params_values(params) + offset;
}

flip_status flip_head_take_apart(flip_head_split *split, const flip_head *head,
                                 flip_params *params) {
    if (head->out_dim != 1)
        return FLIP_FAIL(FLIP_ERROR_USAGE, "all pairs are scored by a head of 1 output, not of %d",
                         head->out_dim);
    *split = (flip_head_split){.width = head->in_dim};
    if (head->kind == FLIP_HEAD_LINEAR) split->width = 2; /* (h_u Ua, 1) . (1, h_v Ub) */
    if (head->kind == FLIP_HEAD_MLP) {
        split->width = head->hidden;
        split->w = values_of(params, head->v2);
        split->bias = values_of(params, head->a2)[0];
    }
    return FLIP_OK;
}

/* y = x V (+ c): a row's sums in one order, whatever the number of rows. */
static void map_row(int32_t dim, int32_t width, const flip_real *x, const flip_real *v,
                    const flip_real *c, flip_real *y) {
    for (int32_t j = 0; j < width; j++)
        y[j] = c ? c[j] : 0;
    for (int32_t i = 0; i < dim; i++)
        for (int32_t j = 0; j < width; j++)
            y[j] += x[i] * v[(size_t)i * (size_t)width + (size_t)j];
}

void flip_head_ends(const flip_head *head, flip_params *params, int64_t n, const flip_real *h,
                    int64_t ld, flip_real *a, flip_real *b) {
    int32_t dim = head->in_dim, width = head->hidden;
    size_t half = (size_t)dim * (size_t)width;
    const flip_real *u = head->kind == FLIP_HEAD_LINEAR ? values_of(params, head->u) : NULL;
    const flip_real *v = head->kind == FLIP_HEAD_MLP ? values_of(params, head->v1) : NULL;
    const flip_real *c = head->kind == FLIP_HEAD_MLP ? values_of(params, head->a1) : NULL;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const flip_real *x = h + i * ld;
        if (head->kind == FLIP_HEAD_DOT) {
            memcpy(a + i * dim, x, (size_t)dim * sizeof *x);
            memcpy(b + i * dim, x, (size_t)dim * sizeof *x);
        } else if (head->kind == FLIP_HEAD_LINEAR) {
            map_row(dim, 1, x, u, NULL, a + 2 * i);
            map_row(dim, 1, x, u + dim, NULL, b + 2 * i + 1);
            a[2 * i + 1] = b[2 * i] = 1;
        } else {
            map_row(dim, width, x, v, c, a + i * width);
            map_row(dim, width, x, v + half, NULL, b + i * width);
        }
    }
}
