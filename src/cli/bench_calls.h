/* The calls of training that `flipbook bench kernels` times, on a CPU and on a device. */
#ifndef FLIPBOOK_CLI_BENCH_CALLS_H
#define FLIPBOOK_CLI_BENCH_CALLS_H

#include <flipbook/kernels.h>

/* Operands of one call on m rows, where the table's memory is:
 *
 *     a [m, width]   tall operand, or the rows that spmm gathers (all of the graph's)
 *     b [k, n]       small operand; the bias
 *     c              the call's parts, one after another: [m, parts[i] * n]
 *     packing        of the rows that spmm_packed gathers, codes lying in a; its tables in numbers
 *     v [m] and g [m] or [k, n]: Adam's and the gradients'; bits [m, (n + 7) / 8] */
typedef struct flip_bench_case {
    const flip_kernels *table;
    int64_t m, n, k;
    flip_csr graph;
    flip_real *a, *b, *c, *v;
    uint8_t *bits;
    double *g;
    flip_packing packing;
    float *numbers;     /* offsets [n], scales [n], codebooks */
    const int64_t *key; /* what dropout takes the rows for; NULL = 0 … m-1 */
} flip_bench_case;

enum { FLIP_BENCH_PARTS = 4 };

typedef enum flip_bench_sums {
    FLIP_BENCH_NO_SUMS,
    FLIP_BENCH_ROW_SUMS,  /* g [m] is read, one number a row */
    FLIP_BENCH_WHOLE_SUMS /* every row adds to g [k, n] */
} flip_bench_sums;

typedef struct flip_bench_call {
    const char *kernel;
    void (*run)(void *); /* of a flip_bench_case */
    double (*flops)(const flip_bench_case *);
    double (*bytes)(const flip_bench_case *); /* that it must at least move */
    int a_n, a_k; /* a row of a is a_n * n + a_k * k values; 0, 0: rows are gathered */
    int parts[FLIP_BENCH_PARTS + 1]; /* of c: widths in n, ended by 0 */
    flip_bench_sums sums;
    bool product, bf16, bits, packed;
} flip_bench_call;

/* Rows of n columns as codes of 8, 4 or 2 bits, or (bits 0) of 256 entries for 8 columns each, with
 * tables in `numbers`; sets case->packing. */
enum { FLIP_BENCH_NUMBERS = 2 * 256 + 256 * 256 };
void flip_bench_pack(flip_bench_case *c, int bits);

/* NULL where there is none of that name. */
const flip_bench_call *flip_bench_call_find(const char *kernel);

size_t flip_bench_width(const flip_bench_call *call, const flip_bench_case *c); /* of rows of a */

/* Puts `there`'s operands back to the host's, makes one call and holds the result against the CPU's
 * on rows of the beginning, the middle and the end (sums over all rows: whole). error: the largest
 * difference over the largest value of an array. */
flip_status flip_bench_agree(const flip_bench_call *call, flip_bench_case *there,
                             const flip_bench_case *host, double *error);

#endif
