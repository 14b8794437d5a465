/* Tests that run on the CPU run on a GPU, or an emulated one, where FLIP_TEST_DEVICE=cuda. */
#ifndef FLIPBOOK_TESTS_DEVICE_H
#define FLIPBOOK_TESTS_DEVICE_H

#include <flipbook/tape.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table that FLIP_TEST_DEVICE names; NULL, without it, for the CPU's own. Ends the test where
 * there is no such device. */
static inline const flip_kernels *test_kernels(void) {
    const char *device = getenv("FLIP_TEST_DEVICE");
    const flip_kernels *kernels = NULL;
    if (!device || strcmp(device, "cpu") == 0) return NULL;
    if (strcmp(device, "cuda") != 0 || flip_kernels_cuda(&kernels, 0) != FLIP_OK) {
        fprintf(stderr, "FLIP_TEST_DEVICE=%s: %s\n", device, flip_error_message());
        exit(1);
    }
    return kernels;
}

/* Do these parameters, and so their tape, lie where FLIP_TEST_DEVICE says? */
static inline bool test_placed(const flip_params *params) {
    const flip_kernels *kernels = test_kernels();
    return !kernels || flip_params_kernels(params) == kernels;
}

#endif
