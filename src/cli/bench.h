/* What the benchmarks share: repeated timing and lines for people or programs. */
#ifndef FLIPBOOK_CLI_BENCH_H
#define FLIPBOOK_CLI_BENCH_H

#include <flipbook/comm.h>
#include <flipbook/kernels.h>

typedef struct flip_bench {
    bool json; /* one object a line instead of a table */
    int32_t threads;
    int64_t rows, table_rows;
    int64_t accounts; /* transfer: of the payment network, with steps, life and payments */
    int32_t steps, life;
    double payments; /* an account and step */
    double seconds;  /* a measurement takes at least this long, and three runs */
    flip_limits limits;
    const flip_kernels *device; /* NULL: this machine's CPU */
} flip_bench;

/* Seconds of the fastest of the runs: processor time on one thread (others may use the machine),
 * wall time on more. */
double flip_bench_time(const flip_bench *b, void (*run)(void *), void *argument);

flip_status flip_bench_kernels(const flip_bench *b);
/* The same on b->device, held against the CPU (bench_device.c). */
flip_status flip_bench_device(const flip_bench *b);
/* Payments [n_events] between n accounts (bench_network.c). */
typedef struct flip_bench_network {
    int64_t n, regions, n_events;
    flip_gid *dst, *src;
    int32_t *step;
    double *weight;
} flip_bench_network;
flip_status flip_bench_network_init(flip_bench_network *network, const flip_bench *b);
void flip_bench_network_finish(flip_bench_network *network);

/* Blocks and snapshots to the device (bench_transfer.c). */
flip_status flip_bench_transfer(const flip_bench *b);
/* Rows gathered from fp32 and from packed tables (bench_packed.c). */
flip_status flip_bench_packed(const flip_bench *b);

#endif
