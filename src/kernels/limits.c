/* This machine's limits, measured with the threads in use: bytes copied and multiply-adds done. */
#include "kernels/internal.h"

#include <omp.h>
#include <time.h>

enum { COPY_BYTES = 64 << 20, CHAINS = 12, TURNS = 1 << 18 };
/* Rounds of a measurement: it ends when its best three agree, at the latest after MOST. The short
 * ones are of about a millisecond, in the first of which a processor may not be at its pace. */
enum { MOST = 10, FEW_SHORT = 12, MOST_SHORT = 60 };

/* CHAINS independent multiply-adds, so that the units never wait for one another. */
#define MULTIPLY(name, bytes, isa)                                                                 \
    typedef flip_real name##_vector __attribute__((vector_size(bytes)));                           \
    __attribute__((target(isa), noinline)) static double name(void) {                              \
        name##_vector x = {0}, y = {0}, sum[CHAINS];                                               \
        x += (flip_real)0.999;                                                                     \
        y += (flip_real)1e-6;                                                                      \
        for (int c = 0; c < CHAINS; c++)                                                           \
            sum[c] = y * (flip_real)c;                                                             \
        for (int t = 0; t < TURNS; t++)                                                            \
            for (int c = 0; c < CHAINS; c++)                                                       \
                sum[c] = sum[c] * x + y;                                                           \
        for (int c = 1; c < CHAINS; c++)                                                           \
            sum[0] += sum[c];                                                                      \
        volatile flip_real sink = sum[0][0];                                                       \
        (void)sink;                                                                                \
        return 2.0 * CHAINS * TURNS * (double)((bytes) / sizeof(flip_real));                       \
    }

MULTIPLY(multiply_512, 64, "avx512f")
MULTIPLY(multiply_256, 32, "avx2,fma")
MULTIPLY(multiply_128, 16, "sse2")

static double multiply_once(void) {
    flip_isa isa = flip_isa_detect();
    return isa >= FLIP_ISA_AVX512 ? multiply_512()
           : isa == FLIP_ISA_AVX2 ? multiply_256()
                                  : multiply_128();
}

/* Processor time of the calling thread, so that what others run here counts less. */
static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Keeps the best three, the best first; whether they lie within a fiftieth of it. */
static bool agree(double best[3], double rate) {
    for (int i = 0; i < 3; i++)
        if (rate > best[i]) {
            const double less = best[i];
            best[i] = rate;
            rate = less;
        }
    return best[2] >= 0.98 * best[0];
}

/* The best round, all threads together. */
static double measure_multiply(void) {
    double best[3] = {0};
    bool same = false;
    for (int round = 1; round <= MOST_SHORT && !(same && round > FEW_SHORT); round++) {
        double rate = 0;
#pragma omp parallel reduction(+ : rate)
        {
            double start = thread_seconds(), work = multiply_once();
            rate += work / (thread_seconds() - start) * 1e-9;
        }
        same = agree(best, rate);
    }
    return best[0];
}

/* Bytes read and written a second by memcpy on blocks larger than the caches. */
static double measure_copy(void) {
    char *from = NULL, *to = NULL;
    double best[3] = {0};
    bool same = false;
    size_t threads = (size_t)omp_get_max_threads(), share = COPY_BYTES / threads + (16u << 20);
    if (flip_alloc(&from, threads, share, "copy limit") != FLIP_OK ||
        flip_alloc(&to, threads, share, "copy limit") != FLIP_OK) {
        flip_error_clear();
        goto done;
    }
    for (int round = 0; round <= MOST && !same; round++) {
        double rate = 0;
#pragma omp parallel reduction(+ : rate)
        {
            size_t first = (size_t)omp_get_thread_num() * share;
            if (round == 0) memset(from + first, 1, share), memset(to + first, 1, share);
            double start = thread_seconds();
            memcpy(to + first, from + first, share);
            rate += 2.0 * (double)share / (thread_seconds() - start) * 1e-9;
        }
        if (round > 0) same = agree(best, rate);
    }
done:
    flip_free(from);
    flip_free(to);
    return best[0];
}

flip_limits flip_kernels_limits(void) {
    static flip_limits limits;
    static int threads;
#pragma omp critical(flip_limits)
    if (threads != omp_get_max_threads()) {
        limits.multiply_gflops = measure_multiply();
        limits.copy_gbs = measure_copy();
        threads = omp_get_max_threads();
    }
    return limits;
}
