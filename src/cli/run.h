/* Start and end of a run: MPI, and one voice when something fails. */
#ifndef FLIPBOOK_CLI_RUN_H
#define FLIPBOOK_CLI_RUN_H

#include <flipbook/base.h>

/* MPI_Init_thread and a communicator for the farewell. threads: asks for MPI_THREAD_MULTIPLE, else
 * FUNNELED. */
void flip_run_begin(int *argc, char ***argv, bool threads);
/* A failure (on every rank) when mpirun started different commands: they would wait for each other
 * for ever. Collective. */
flip_status flip_run_same_command(const char *name);

/* Prints the recorded error, if there is one, finalises MPI where it runs, and returns the exit
 * code. When every rank comes here, the message is printed once (by each rank its own where they
 * differ). When some rank does not come within two seconds it may be waiting for this one: the
 * message is printed and MPI_Abort ends the job, so that no rank waits for ever. */
int flip_run_end(int code);

#endif
