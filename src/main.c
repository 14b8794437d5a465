#include <flipbook.h>

#include <stdio.h>

int main(int argc, char **argv) {
    flip_blas_mend(argv);
    (void)argc;
    printf("flipbook: OpenBLAS %s, kernels %s\n", flip_blas_core(),
           flip_isa_name(flip_isa_detect()));
    return 0;
}
