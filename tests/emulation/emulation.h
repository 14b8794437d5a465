/* What the files of the emulated device share. */
#ifndef FLIPBOOK_EMULATION_H
#define FLIPBOOK_EMULATION_H

#include "cuda_runtime.h"

/* A grid to be run: one kernel launch. */
struct flip_emulated_kernel {
    const char *name;
    unsigned blocks;
    dim3 threads;
    size_t shared;
    flip_emulated_thread thread;
    void *arguments;
};

/* In which order threads, and blocks, take their turns. */
enum flip_emulated_order { FLIP_EMULATED_FORWARD, FLIP_EMULATED_REVERSE };
void flip_emulated_run(const flip_emulated_kernel *kernel, flip_emulated_order order);

/* One line on stderr, then abort. */
void flip_emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
