/* What this processor can do, and which kernels OpenBLAS picks on it. */
#include <flipbook/base.h>

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char *openblas_get_corename(void);

/* VCVTPH2PS; every processor with AVX2 so far has it. clang 14 has no name for it. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

flip_isa flip_isa_detect(void) {
    flip_isa best = FLIP_ISA_C;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2") && has_f16c())
        best = FLIP_ISA_AVX2;
    if (best == FLIP_ISA_AVX2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        best = FLIP_ISA_AVX512;
        if (__builtin_cpu_supports("avx512bf16")) best = FLIP_ISA_AVX512_BF16;
    }
    const char *wish = getenv("FLIP_ISA");
    if (wish && strcmp(wish, "c") == 0) return FLIP_ISA_C;
    if (wish && strcmp(wish, "avx2") == 0 && best > FLIP_ISA_AVX2) return FLIP_ISA_AVX2;
    if (wish && strcmp(wish, "avx512") == 0 && best > FLIP_ISA_AVX512) return FLIP_ISA_AVX512;
    return best;
}

const char *flip_isa_name(flip_isa isa) {
    static const char *const names[] = {"c", "avx2", "avx512", "avx512+bf16"};
    return names[isa];
}

bool flip_cpu_pairs_lines(void) {
    __builtin_cpu_init();
    return __builtin_cpu_is("intel");
}

/* AMD family 0x1A (Zen 5) and later are unknown to OpenBLAS 0.3.21's dynamic.c, which then runs
 * PRESCOTT. */
static bool blas_is_slow(flip_isa isa) {
    static const char *const slow[] = {"Prescott", "Core2", "Nehalem"};
    const char *core = flip_blas_core();
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++)
        if (strcasecmp(core, slow[i]) == 0 && isa >= FLIP_ISA_AVX2) return true;
    return false;
}

/* Threads that wait between parallel regions spin for milliseconds unless told otherwise; where
 * ranks share a node's cores the spinning keeps the others from working. A short spin (about 30
 * microseconds) still catches the next region of a small graph. */
static bool waits_actively(void) {
    return !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT");
}

void flip_start_mend(char **argv) {
    flip_isa isa = flip_isa_detect();
    bool blas = blas_is_slow(isa) && !getenv("OPENBLAS_CORETYPE"), waiting = waits_actively();
    if ((!blas && !waiting) || !argv) return;
    if (blas) setenv("OPENBLAS_CORETYPE", isa >= FLIP_ISA_AVX512 ? "SKYLAKEX" : "HASWELL", 1);
    if (waiting) {
        setenv("OMP_WAIT_POLICY", "passive", 1); /* LLVM's libomp */
        setenv("GOMP_SPINCOUNT", "10000", 1);    /* libgomp: goes before the policy */
    }
    execv("/proc/self/exe", argv); /* both libraries read these when they are loaded */
}

const char *flip_blas_core(void) {
    return openblas_get_corename();
}
