/* Seeded graphs in memory, for the benchmarks: each row's columns ascend, none twice, with random
 * values of about 1 / degree. */
#ifndef FLIPBOOK_CLI_BENCH_GRAPHS_H
#define FLIPBOOK_CLI_BENCH_GRAPHS_H

#include <flipbook/kernels.h>

/* Recursive matrix (Chakrabarti, Zhan, Faloutsos, SDM 2004; .57 .19 .19 .05) of the largest power
 * of two that `rows` holds, `degree` entries drawn a row on average; ids are scrambled: hubs lie
 * anywhere and neighbours far apart. */
flip_status flip_bench_rmat(flip_csr *graph, int64_t rows, int64_t degree);
/* Communities of 1000 rows that stand together, as a partition leaves them: power-law degrees,
 * `degree` on average, four entries of five inside. */
flip_status flip_bench_communities(flip_csr *graph, int64_t rows, int64_t degree);
/* The same over `steps` steps: an entry lives a run of 1 … steps of them, half of them on average.
 */
flip_status flip_bench_lives(flip_csr *graph, int64_t rows, int64_t degree, int32_t steps);
/* Without values, and a column may stand twice: degrees and popularity fall as powers, degrees as
 * degree / 2 / sqrt(u), neighbours as n u^2, scrambled. */
flip_status flip_bench_skewed(flip_csr *graph, int64_t n, int64_t degree);
void flip_bench_graph_free(flip_csr *graph);

#endif
