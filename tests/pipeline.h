/* For tests that drive the program as a user does: graphs written for the purpose, commands run,
 * reports read. argv[1] of such a test is the program. */
#ifndef FLIPBOOK_TESTS_PIPELINE_H
#define FLIPBOOK_TESTS_PIPELINE_H

#include <flipbook/container.h>

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/types.h>

#include <cmocka.h>

/* Folder of this test's files, made by pipeline_begin and removed by pipeline_end. */
extern char pipeline_folder[64];
void pipeline_begin(const char *program);
void pipeline_end(void);

/* `flipbook ARGUMENTS` in that folder on `ranks` ranks (0: without mpirun); output goes to "out".
 * Returns the exit code. */
int pipeline_run(int ranks, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A run that ends well. */
void pipeline_good(int ranks, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `flipbook train ARGUMENTS` ends with 2 and says the message. */
void pipeline_refused(const char *arguments, const char *message);
/* The same as pipeline_run, not waited for; returns the process, mpirun's or the program's. */
pid_t pipeline_start(int ranks, const char *format, ...) __attribute__((format(printf, 2, 3)));
int pipeline_wait(pid_t process);
/* A child of the process (a rank of mpirun's), or the process itself without mpirun. */
pid_t pipeline_rank(pid_t process, int ranks);
/* Does "out" contain the text? */
bool pipeline_said(const char *text);

/* A report: losses of the epochs, and the last record. Free with pipeline_drop. */
typedef struct report {
    int n;
    double *loss;    /* [n] */
    json_t *summary; /* NULL = none */
} report;
report pipeline_report(const char *name);
void pipeline_drop(report *r);
/* A number of the last record, by the names on the way to it: "store.rows"; NAN = there is none. */
double pipeline_number(const report *r, const char *path);
int pipeline_epochs_done(const char *name); /* complete epoch records so far */
/* Largest relative difference of the first n losses. */
double pipeline_difference(const report *a, const report *b, int n);
/* Of two reports by name, the first of which has n epochs. */
double pipeline_apart(const char *a, const char *b, int n);

/* Peak memory of `train GRAPH ARGUMENTS` for one epoch of one thread, told beside `table` bytes. */
double pipeline_peak(const char *graph, const char *arguments, double table);

/* Two graphs of 96 nodes in the folder, cut into 6 parts: "still.h5" (one step) and "moving.h5" (6
 * steps), both with features, classes of nodes and events, targets and a split. */
void pipeline_graphs(void);

#endif
