/* The calls of training that are timed, and what each must at least do. */
#include "cli/bench_calls.h"

#include "codec/groups.h"

#include <string.h>

/* ---- what is timed ------------------------------------------------------------------------------
 */

static void run_spmm(void *argument) {
    flip_bench_case *c = argument;
    c->table->spmm(&c->graph, NULL, (int32_t)c->m, (int32_t)c->n, c->c, c->a, NULL, false);
}

/* k steps of n / k columns. */
static void run_spmm_steps(void *argument) {
    flip_bench_case *c = argument;
    c->table->spmm(&c->graph, NULL, (int32_t)c->m, (int32_t)(c->n / c->k), c->c, c->a, NULL, false);
}

static void run_spmm_packed(void *argument) {
    flip_bench_case *c = argument;
    c->table->spmm_packed(&c->graph, &c->packing, (const uint8_t *)c->a, NULL, NULL, c->c, c->n,
                          false);
}

static void run_decode(void *argument) {
    flip_bench_case *c = argument;
    c->table->decode_rows(&c->packing, (const uint8_t *)c->a, NULL, c->m, NULL, c->c, c->n);
}

static void run_nn(void *argument) {
    flip_bench_case *c = argument;
    c->table->gemm_nn(c->m, c->n, c->k, c->a, c->k, c->b, c->n, c->c, c->n, NULL);
}

/* As a layer does: bias, relu and dropout, keeping their bits. */
static void run_nn_relu(void *argument) {
    flip_bench_case *c = argument;
    flip_epilogue e = {
        .bias = c->b, .relu = true, .relu_bits = c->bits, .dropout = 0.5, .seed = 1, .key = c->key};
    c->table->gemm_nn(c->m, c->n, c->k, c->a, c->k, c->b, c->n, c->c, c->n, &e);
}

static void run_nt(void *argument) {
    flip_bench_case *c = argument;
    flip_epilogue e = {.mask = c->bits, .mask_scale = 2};
    c->table->gemm_nt(c->m, c->n, c->k, c->a, c->k, c->b, c->k, c->c, c->n, &e);
}

static void run_tn(void *argument) {
    flip_bench_case *c = argument;
    c->table->gemm_tn(c->m, c->n, c->k, c->a, c->k, c->c, c->n, c->g, c->n);
}

static void run_nn_bf16(void *argument) {
    flip_bench_case *c = argument;
    c->table->gemm_nn_bf16(c->m, c->n, c->k, c->a, c->k, c->b, c->n, c->c, c->n, NULL);
}

static void run_tn_bf16(void *argument) {
    flip_bench_case *c = argument;
    c->table->gemm_tn_bf16(c->m, c->n, c->k, c->a, c->k, c->c, c->n, c->g, c->n);
}

static void run_column_sums(void *argument) {
    flip_bench_case *c = argument;
    c->table->column_sums(c->m, c->n, c->a, c->n, c->g);
}

static void run_softmax(void *argument) {
    flip_bench_case *c = argument;
    c->table->softmax(c->m, c->n, c->a, c->n, c->c, c->n, NULL);
}

static void run_scaled(void *argument) {
    flip_bench_case *c = argument;
    c->table->scaled(c->m, c->n, c->c, c->n, c->a, c->n, (flip_real)0.75, false);
}

static void run_dropout(void *argument) {
    flip_bench_case *c = argument;
    c->table->dropout(c->m, c->n, c->c, c->a, 0.5, 1, 1, c->key);
}

static void run_mask(void *argument) {
    flip_bench_case *c = argument;
    c->table->mask_bits(c->m, c->n, c->c, c->a, c->bits, 2);
}

static void run_adam(void *argument) {
    flip_bench_case *c = argument;
    flip_adam_step s = {.lr = 1e-3,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-8,
                        .correct1 = 0.1,
                        .correct2 = 0.01,
                        .grad_scale = 1};
    c->table->adam(c->m, c->c, c->g, c->a, c->v, &s);
}

/* The rows as groups of k bits, into c and back from where they lie. */
static void run_encode_groups(void *argument) {
    flip_bench_case *c = argument;
    c->table->encode_groups((uint8_t *)c->c, c->a, c->m * c->n, (int32_t)c->k, 1);
}

static void run_decode_groups(void *argument) {
    flip_bench_case *c = argument;
    c->table->decode_groups(c->a, (const uint8_t *)c->c, c->m * c->n, (int32_t)c->k);
}

/* Recurrent cells of n hidden units: gates in a, every other block a part of c. */
static flip_real *part(const flip_bench_case *c, int64_t i) {
    return c->c + i * c->m * c->n;
}

static void run_lstm(void *argument) {
    flip_bench_case *c = argument;
    c->table->lstm_forward(c->m, c->n, c->a, part(c, 0), c->n, part(c, 1), part(c, 2), c->n);
}

static void run_lstm_back(void *argument) {
    flip_bench_case *c = argument;
    c->table->lstm_backward(c->m, c->n, c->a, part(c, 0), c->n, part(c, 1), c->n, part(c, 2), c->n,
                            part(c, 3));
}

static void run_gru(void *argument) {
    flip_bench_case *c = argument;
    c->table->gru_forward(c->m, c->n, c->a, part(c, 0), part(c, 3), c->n, part(c, 4), c->n);
}

static void run_gru_back(void *argument) {
    flip_bench_case *c = argument;
    c->table->gru_backward(c->m, c->n, c->a, part(c, 0), part(c, 3), c->n, part(c, 4));
}

/* ---- what it must at least do -------------------------------------------------------------------
 */

static double spmm_flops(const flip_bench_case *c) {
    return 2.0 * (double)c->graph.n_entries * (double)c->n;
}

/* No reuse at all: every entry reads its row. */
static double spmm_bytes(const flip_bench_case *c) {
    double e = (double)c->graph.n_entries, row = (double)c->n * sizeof(flip_real);
    double entry = row + sizeof(int32_t) + (c->graph.value ? sizeof(flip_real) : 0);
    return e * entry + (double)c->m * (row + sizeof(int64_t));
}

/* Every value reads its step of a row; an entry has one run. */
static double spmm_steps_flops(const flip_bench_case *c) {
    return 2.0 * (double)c->graph.n_values * (double)(c->n / c->k);
}

static double spmm_steps_bytes(const flip_bench_case *c) {
    double step = (double)(c->n / c->k) * sizeof(flip_real);
    return (double)c->graph.n_entries * 4 * sizeof(int32_t) +
           (double)c->graph.n_values * (step + sizeof(flip_real)) +
           (double)c->m * ((double)c->n * sizeof(flip_real) + sizeof(int64_t));
}

static double spmm_packed_bytes(const flip_bench_case *c) {
    double e = (double)c->graph.n_entries, row = (double)c->n * sizeof(flip_real);
    double entry = (double)c->packing.stride + sizeof(int32_t) + sizeof(flip_real);
    return e * entry + (double)c->m * (row + sizeof(int64_t));
}

static double decode_bytes(const flip_bench_case *c) {
    return (double)c->m * ((double)c->packing.stride + (double)c->n * sizeof(flip_real));
}

static double product_flops(const flip_bench_case *c) {
    return 2.0 * (double)c->m * (double)c->n * (double)c->k;
}

static double product_bytes(const flip_bench_case *c) {
    return (double)c->m * (double)(c->n + c->k) * sizeof(flip_real);
}

static double no_flops(const flip_bench_case *c) {
    (void)c;
    return 0;
}

static double pointwise_bytes(const flip_bench_case *c) {
    return 2.0 * (double)c->m * (double)c->n * sizeof(flip_real);
}

static double read_bytes(const flip_bench_case *c) {
    return (double)c->m * (double)c->n * sizeof(flip_real);
}

static double groups_bytes(const flip_bench_case *c) {
    return read_bytes(c) + (double)flip_groups_bytes(c->m * c->n, (int32_t)c->k);
}

static double adam_bytes(const flip_bench_case *c) { /* reads p, g, m, v; writes p, m, v */
    return (double)c->m * (6 * sizeof(flip_real) + sizeof(double));
}

/* Blocks [m, n] that a cell reads and writes. */
static double cell_bytes(const flip_bench_case *c, int blocks) {
    return (double)blocks * (double)c->m * (double)c->n * sizeof(flip_real);
}

static double lstm_bytes(const flip_bench_case *c) { /* gates twice, c before, c, h */
    return cell_bytes(c, 4 + 4 + 3);
}

static double
lstm_back_bytes(const flip_bench_case *c) { /* gates twice, c before, c, dh, dc twice */
    return cell_bytes(c, 4 + 4 + 5);
}

static double gru_bytes(const flip_bench_case *c) { /* gates twice, hidden, h before, h */
    return cell_bytes(c, 3 + 3 + 3 + 2);
}

static double
gru_back_bytes(const flip_bench_case *c) { /* gates and hidden twice, h before, dh twice */
    return cell_bytes(c, 6 + 6 + 3);
}

/* ---- the calls ---------------------------------------------------------------------------------
 */

static const flip_bench_call calls[] = {
    {"spmm", run_spmm, spmm_flops, spmm_bytes, .parts = {1}},
    {"spmm_steps", run_spmm_steps, spmm_steps_flops, spmm_steps_bytes, .parts = {1}},
    {"spmm_packed", run_spmm_packed, spmm_flops, spmm_packed_bytes, .parts = {1}, .packed = true},
    {"decode_rows", run_decode, no_flops, decode_bytes, .a_n = 1, .parts = {1}, .packed = true},
    {"gemm_nn", run_nn, product_flops, product_bytes, .a_k = 1, .parts = {1}, .product = true},
    {"gemm_nn+relu", run_nn_relu, product_flops, product_bytes, .a_k = 1, .parts = {1},
     .product = true, .bits = true},
    {"gemm_nt+mask", run_nt, product_flops, product_bytes, .a_k = 1, .parts = {1}, .product = true,
     .bits = true},
    {"gemm_tn", run_tn, product_flops, product_bytes, .a_k = 1, .parts = {1}, .product = true,
     .sums = FLIP_BENCH_WHOLE_SUMS},
    {"gemm_nn_bf16", run_nn_bf16, product_flops, product_bytes, .a_k = 1, .parts = {1},
     .product = true, .bf16 = true},
    {"gemm_tn_bf16", run_tn_bf16, product_flops, product_bytes, .a_k = 1, .parts = {1},
     .product = true, .bf16 = true, .sums = FLIP_BENCH_WHOLE_SUMS},
    {"column_sums", run_column_sums, no_flops, read_bytes, .a_n = 1, .sums = FLIP_BENCH_WHOLE_SUMS},
    {"softmax", run_softmax, no_flops, pointwise_bytes, .a_n = 1, .parts = {1}},
    {"scaled", run_scaled, no_flops, pointwise_bytes, .a_n = 1, .parts = {1}},
    {"dropout", run_dropout, no_flops, pointwise_bytes, .a_n = 1, .parts = {1}},
    {"mask_bits", run_mask, no_flops, pointwise_bytes, .a_n = 1, .parts = {1}, .bits = true},
    {"adam", run_adam, no_flops, adam_bytes, .a_n = 1, .parts = {1}, .sums = FLIP_BENCH_ROW_SUMS},
    {"encode_groups", run_encode_groups, no_flops, groups_bytes, .a_n = 1, .parts = {1}},
    {"decode_groups", run_decode_groups, no_flops, groups_bytes, .a_n = 1, .parts = {1}},
    {"lstm_forward", run_lstm, no_flops, lstm_bytes, .a_n = 4, .parts = {1, 1, 1}},
    {"lstm_backward", run_lstm_back, no_flops, lstm_back_bytes, .a_n = 4, .parts = {1, 1, 1, 1}},
    {"gru_forward", run_gru, no_flops, gru_bytes, .a_n = 3, .parts = {3, 1, 1}},
    {"gru_backward", run_gru_back, no_flops, gru_back_bytes, .a_n = 3, .parts = {3, 1, 1}},
};

void flip_bench_pack(flip_bench_case *c, int bits) {
    enum { WIDTH = 8, LENGTH = 256 };
    int32_t n = (int32_t)c->n;
    c->packing = (flip_packing){.kind = FLIP_PACKING_SCALAR,
                                .dim = n,
                                .bits = bits,
                                .stride = (size_t)(n * bits / 8),
                                .offset = c->numbers,
                                .scale = c->numbers + n};
    if (bits == 0)
        c->packing = (flip_packing){.kind = FLIP_PACKING_PRODUCT,
                                    .dim = n,
                                    .bits = 8,
                                    .stride = (size_t)(n / WIDTH),
                                    .width = WIDTH,
                                    .length = LENGTH,
                                    .blocks = n / WIDTH,
                                    .codebook = c->numbers + 2 * n};
}

const flip_bench_call *flip_bench_call_find(const char *kernel) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].kernel, kernel) == 0) return &calls[i];
    return NULL;
}
