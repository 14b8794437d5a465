/* Ranks that are slow or fail, planted between the trainer and the thread that makes its batches:
 * the linker (--wrap) puts these before flip_batch_rows_fetch and flip_optimiser_step. */
#ifndef FLIPBOOK_TESTS_FAULTS_H
#define FLIPBOOK_TESTS_FAULTS_H

#include <stdatomic.h>

/* A program takes them from the environment: FLIP_FAULTS="fetch_rank step_rank fetch_ms
 * step_ms fetch_fails step_fails signal_at". */
typedef struct faults {
    int fetch_rank, step_rank; /* who does what follows; -1: all */
    int fetch_ms, step_ms;     /* longer than it takes anyway */
    int fetch_fails;           /* number of the call, from 1; 0: none */
    int step_fails;
    int signal_at; /* before this step the process gets SIGUSR1 */
    int full;      /* the first step waits until so many fetches have begun, 10 s at most */
} faults;
#define FAULTS_NONE ((faults){.fetch_rank = -1, .step_rank = -1})

extern faults faults_now;
extern atomic_int faults_fetches, faults_steps; /* calls so far */
extern atomic_int faults_lead;  /* most fetches begun beyond the steps done, at the end of a step */
void faults_set(faults wanted); /* counts from 0 again */

#endif
