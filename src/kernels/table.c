/* Which kernels run: the reference, overridden step by step by what the machine has. */
#include "kernels/internal.h"

#include <pthread.h>

static flip_kernels tables[FLIP_KERNEL_TABLES];
static int n_tables;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static flip_kernels *add_table(void) {
    tables[n_tables] = tables[n_tables - 1];
    return &tables[n_tables++];
}

static void fill(void) {
    tables[0] = *flip_kernels_reference();
    n_tables = 1;
    flip_kernels_use_blas(add_table());
}

int flip_kernels_list(const flip_kernels *list[FLIP_KERNEL_TABLES]) {
    pthread_once(&once, fill);
    for (int i = 0; i < n_tables; i++)
        list[i] = &tables[i];
    return n_tables;
}

const flip_kernels *flip_kernels_get(void) {
    pthread_once(&once, fill);
    return &tables[n_tables - 1];
}
