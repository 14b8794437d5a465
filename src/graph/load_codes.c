/* Packed features, to their owners: one row a node, or rows (node, step, codes) that change, of
 * which a node has one at step 0 and then those that differ from the one before. */
#include "graph/shard.h"

#include <string.h>

/* ---- one row a node ---- */

static flip_status read_codes(const flip_loader *l, const void *what, int64_t first, int64_t count,
                              void *out) {
    return flip_reader_rows(l->reader, what, FLIP_TYPE_U8, first, count, out);
}

static flip_status load_level(flip_loader *l, const char *name, const flip_codec *codec,
                              uint8_t **codes) {
    flip_graph *g = l->g;
    const size_t bytes = flip_codec_stride(codec);
    flip_status status = flip_alloc(codes, (size_t)g->n_own, bytes, "packed features");
    FLIP_TRY(flip_comm_agree(g->comm, status));
    FLIP_TRY(flip_load_node_rows(l, read_codes, name, bytes, *codes));
    return flip_comm_agree(g->comm, flip_codec_check_codes(codec, g->n_own, *codes, g->first));
}

static flip_status load_constant(flip_loader *l) {
    flip_graph *g = l->g;
    FLIP_TRY(load_level(l, "features/codes", g->codec, &g->codes));
    if (!g->refinement_codec) return FLIP_OK;
    return load_level(l, "features/refinement", g->refinement_codec, &g->refinement);
}

/* ---- rows that change ---- */

static void count_row(void *to, int32_t node, int32_t step, const void *row) {
    flip_graph *g = to;
    (void)step;
    (void)row;
    g->code_first[node + 1]++;
}

/* Behind the node's rows that came before. */
typedef struct filling {
    flip_graph *g;
    int64_t *next; /* [n_own] */
} filling;

static void put_row(void *to, int32_t node, int32_t step, const void *row) {
    const filling *f = to;
    size_t bytes = (size_t)f->g->info.code_bytes;
    int64_t at = f->next[node]++;
    f->g->code_step[at] = step;
    memcpy(f->g->codes + (size_t)at * bytes, row, bytes);
}

/* Rows first … end-1 of one node by step: they come so, but where two ranks read them. */
static void sort_node(flip_graph *g, int64_t first, int64_t end, uint8_t *row) {
    size_t bytes = (size_t)g->info.code_bytes;
    for (int64_t i = first + 1; i < end; i++) {
        int32_t step = g->code_step[i];
        int64_t to = i;
        while (to > first && g->code_step[to - 1] > step)
            to--;
        if (to == i) continue;
        memcpy(row, g->codes + (size_t)i * bytes, bytes);
        memmove(g->codes + (size_t)(to + 1) * bytes, g->codes + (size_t)to * bytes,
                (size_t)(i - to) * bytes);
        memmove(g->code_step + to + 1, g->code_step + to, (size_t)(i - to) * sizeof *g->code_step);
        memcpy(g->codes + (size_t)to * bytes, row, bytes);
        g->code_step[to] = step;
    }
}

static flip_status check_node(const flip_graph *g, int32_t v) {
    const int64_t first = g->code_first[v], end = g->code_first[v + 1];
    if (first == end || g->code_step[first] != 0)
        return FLIP_FAIL(FLIP_ERROR_INPUT,
                         "'%s' features/node: the node with original id %lld has no packed row at "
                         "step 0; compress it again",
                         flip_reader_path(g->reader), (long long)g->original[v]);
    for (int64_t i = first + 1; i < end; i++)
        if (g->code_step[i] == g->code_step[i - 1])
            return FLIP_FAIL(FLIP_ERROR_INPUT,
                             "'%s' features/node: the node with original id %lld has two packed "
                             "rows at step %d; compress it again",
                             flip_reader_path(g->reader), (long long)g->original[v],
                             g->code_step[i]);
    return FLIP_OK;
}

static flip_status order_nodes(flip_graph *g) {
    uint8_t *row;
    FLIP_TRY(flip_alloc(&row, 1, (size_t)g->info.code_bytes, "a packed row"));
    flip_status status = FLIP_OK;
    for (int32_t v = 0; v < g->n_own && status == FLIP_OK; v++) {
        sort_node(g, g->code_first[v], g->code_first[v + 1], row);
        status = check_node(g, v);
    }
    flip_free(row);
    return status;
}

static flip_status allocate(flip_graph *g, filling *f) {
    const size_t n = (size_t)g->n_own;
    for (size_t v = 0; v < n; v++)
        g->code_first[v + 1] += g->code_first[v];
    const size_t rows = (size_t)g->code_first[n];
    FLIP_TRY(flip_alloc(&g->codes, rows, (size_t)g->info.code_bytes, "packed features"));
    FLIP_TRY(flip_alloc(&g->code_step, rows, sizeof *g->code_step, "steps of packed features"));
    FLIP_TRY(flip_alloc(&f->next, n, sizeof *f->next, "packed features"));
    if (n > 0) memcpy(f->next, g->code_first, n * sizeof *f->next);
    return FLIP_OK;
}

/* Read twice: first how many rows a node has, then the rows. */
static flip_status load_changing(flip_loader *l) {
    flip_graph *g = l->g;
    filling f = {.g = g};
    flip_status status;
    flip_row_changes rows = {.node = "features/node",
                             .step = "features/step",
                             .values = "features/codes",
                             .type = FLIP_TYPE_U8,
                             .width = g->info.code_bytes};
    flip_row_changes count = rows;
    count.values = "features/step";
    count.type = FLIP_TYPE_I32;
    count.width = 1;
    status = flip_alloc_zero(&g->code_first, (size_t)g->n_own + 1, sizeof *g->code_first,
                             "packed features");
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, status));
    FLIP_TRY_GOTO(flip_load_changes(l, &count, count_row, g));
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, allocate(g, &f)));
    FLIP_TRY_GOTO(flip_load_changes(l, &rows, put_row, &f));
    FLIP_TRY_GOTO(flip_comm_agree(g->comm, order_nodes(g)));
    status = flip_comm_agree(
        g->comm, flip_codec_check_codes(g->codec, g->code_first[g->n_own], g->codes, 0));
done:
    flip_free(f.next);
    return status;
}

/* Packed rows stay packed. Values are not looked at: a codec's are neither 0 and 1 nor words. */
flip_status flip_load_codes(flip_loader *l) {
    l->g->info.features_negative = true;
    return l->g->info.features_change ? load_changing(l) : load_constant(l);
}
