/* placeholder replaced below */
#include "kernels/internal.h"
void flip_kernels_use_bf16(flip_kernels *table) {
    table->name = "avx512+bf16";
}
