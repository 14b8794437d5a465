/* What the files of the emulated device share. */
#ifndef FLIPBOOK_EMULATION_H
#define FLIPBOOK_EMULATION_H

#include "cuda_runtime.h"

#include <functional>
#include <stdarg.h>
#include <stdio.h>
#include <vector>

/* One line on stderr, then abort. */
void flip_emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* FLIP_EMULATION, read once: words apart by commas (README.md). */
struct flip_emulated_options {
    size_t bytes; /* the device's memory */
    bool eager;   /* work is done at the call */
    bool aware;   /* mpi.cpp: MPI takes the device's memory */
    int orders;   /* launches that are run in both orders: 0 none, 1 some, 2 all */
    int nccl_rank,
        nccl_group; /* nccl.cpp: whose NCCL fails, and from which group on; -1: nobody's */
    bool tell;      /* nccl.cpp: at the end, on stderr, what was sent */
};
const flip_emulated_options *flip_emulated_options_get(void);

/* ---- memory ---- */

/* What an operation does with an allocation; kept until every later one comes after it. */
struct flip_emulated_use {
    unsigned stream;
    uint64_t clock;  /* of that stream */
    size_t from, to; /* bytes of the allocation */
    bool writes;
    const char *what;
};

struct flip_emulated_allocation {
    char *start, *pages; /* `start` is as near to the end of its pages as alignment lets it */
    size_t bytes, page_bytes;
    bool pinned, open, freed, divided; /* divided: some argument pointed inside */
    char name[48];
    std::vector<flip_emulated_use> uses;
};

/* The live allocation that holds [memory, memory + bytes), or NULL. */
flip_emulated_allocation *flip_emulated_find(const void *memory, size_t bytes);
/* Of any address: the allocation, live or freed, whose pages or guards hold it, or NULL. */
flip_emulated_allocation *flip_emulated_near(const void *address);
cudaError_t flip_emulated_allocate(void **out, size_t bytes, bool pinned);
void flip_emulated_release(void *memory, bool pinned);
void flip_emulated_device_memory(size_t *free_bytes, size_t *total);
/* Device memory is closed to everybody but between these two; large allocations, which take long to
 * close, stay open from one work of a stream to the next. */
void flip_emulated_open(flip_emulated_allocation *a);
void flip_emulated_close(bool large_too);
/* Ends the run where something was written around the allocation. */
void flip_emulated_check_edges(const flip_emulated_allocation *a, const char *who);
/* Accesses that fault are told; called at every use of the runtime, as a test may have put its own
 * handler in place. */
void flip_emulated_watch(void);

/* ---- work of libraries ---- */

/* Memory of the device that such a work reads, or writes. */
struct flip_emulated_span {
    void *memory;
    size_t bytes;
    bool writes;
};
/* `perform` is called in the stream's turn, with that memory open, once `ready` says true. */
void flip_emulated_library(cudaStream_t stream, const char *what,
                           const std::vector<flip_emulated_span> &spans,
                           const std::function<bool()> &ready,
                           const std::function<void()> &perform);
/* All that waits in the stream is done now; the host is not told. */
void flip_emulated_go_on(cudaStream_t stream);
/* The host is told that the stream's works on this memory are done; `data` is what it wrote. */
void flip_emulated_ended(cudaStream_t stream, const flip_emulated_span &span, const void *data);

/* ---- kernels ---- */

/* What an argument points to. */
struct flip_emulated_reach {
    flip_emulated_allocation *allocation;
    const char *pointer;
    bool writes;
};

struct flip_emulated_kernel {
    const char *name;
    unsigned blocks;
    dim3 threads;
    size_t shared;
    flip_emulated_thread thread;
    void *arguments;
    std::vector<flip_emulated_reach> reach;
};

/* In which order threads, and blocks, take their turns. */
enum flip_emulated_order { FLIP_EMULATED_FORWARD, FLIP_EMULATED_REVERSE };
void flip_emulated_run(const flip_emulated_kernel *kernel, flip_emulated_order order);
/* "kernel k, block 3, thread 5", or NULL while none runs. */
const char *flip_emulated_where(void);
bool flip_emulated_is_stack_end(const void *address);
/* With the memory it reaches open, in both orders where that is asked for. */
void flip_emulated_perform(const flip_emulated_kernel *kernel);
/* Allocations that its arguments point to; ends the run where one points to other host memory. */
void flip_emulated_reached(flip_emulated_kernel *kernel, const flip_emulated_argument *arguments,
                           int n);

#endif
