/* What tests of the emulated device share: its memory, and faults that it must tell. */
#ifndef FLIPBOOK_TEST_EMULATED_H
#define FLIPBOOK_TEST_EMULATED_H

#include "kernels/cuda.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <cmocka.h>
}

#define stream flip_cuda_stream

template <typename type> static type *device(size_t n) {
    void *memory = NULL;
    assert_int_equal(cudaMalloc(&memory, n * sizeof(type)), cudaSuccess);
    return static_cast<type *>(memory);
}

template <typename type> static void fetch(type *host, const type *memory, size_t n) {
    assert_int_equal(
        cudaMemcpyAsync(host, memory, n * sizeof(type), cudaMemcpyDeviceToHost, stream),
        cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
}

/* Runs `fault` in a child, which must be ended by the device with `words` in its message. */
static void caught(void (*fault)(void), const char *words) {
    int ends[2], status = 0;
    char said[4096];
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        fault();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got;
         n < sizeof said - 1 && (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!strstr(said, words)) fail_msg("expected \"%s\", but it said \"%s\"", words, said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#endif
